"""The story of a critical low at night, told at two clinics; each step is something that somebody does or hears."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, time
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from alerts.team import Contact, Practitioner, QuietHours, Role
from gateway.people import Patient
from ingest.vital import Unit
from tests.scenarios.steps import Clinic, Scene, Words, shift

Step: TypeAlias = Callable[[Scene], Awaitable[None]]


def _contacts(*pairs: tuple[str, str]) -> tuple[Contact, ...]:
    return tuple(Contact(channel=channel, address=address) for channel, address in pairs)


def _one(role: Role, id_: str, name: str, *contacts: tuple[str, str], zone: str, language: str) -> Practitioner:
    return Practitioner(
        id=id_, name=name, roles=frozenset({role}), language=language, zone=zone, contacts=_contacts(*contacts)
    )


_SHANGHAI: Final[dict[str, Any]] = {"zone": "Asia/Shanghai", "language": "zh_CN"}
SHANGHAI: Final = Clinic(
    patient=Patient(id="p-017", name="张伟", **_SHANGHAI),
    contacts=_contacts(("sms", "+8613800000017"), ("app", "zhang")),
    quiet=QuietHours(start=time(22), end=time(7)),
    staff=(
        _one(Role.NURSE, "wang", "王丽", ("mail", "wang@ward.example"), ("sms", "+8613800000001"), **_SHANGHAI),
        _one(Role.DOCTOR, "li", "李强", ("app", "li"), ("mail", "li@ward.example"), **_SHANGHAI),
        _one(Role.COORDINATOR, "chen", "陈静", ("mail", "chen@ward.example"), **_SHANGHAI),
    ),
    shifts=(
        shift(Role.NURSE, "wang", "Asia/Shanghai", "20:00", "08:00"),
        shift(Role.DOCTOR, "li", "Asia/Shanghai"),
    ),
    low=datetime(2026, 3, 3, 2, 10, tzinfo=ZoneInfo("Asia/Shanghai")),
    trace="6.4 6.0 5.6 5.2 4.8 4.4 4.0 3.6 3.2 2.8 2.5 2.3 2.1 1.9 1.8",
    recovery="1.8 1.9 2.0 2.3 3.1 4.0 4.6 5.2 5.6",
    words=Words("以 {} 的身份确认", "{} 已确认此警报。", "谢谢！诊所会查看您的回答。"),
)
_BERLIN: Final[dict[str, Any]] = {"zone": "Europe/Berlin", "language": "en"}
BERLIN: Final = Clinic(
    patient=Patient(id="p-018", name="Anna Miller", glucose_unit=Unit.MG_DL, **_BERLIN),
    contacts=_contacts(("sms", "+4915100000018"), ("app", "miller")),
    staff=(
        _one(Role.NURSE, "weber", "Ruth Weber", ("mail", "weber@ward.example"), ("sms", "+4915100000001"), **_BERLIN),
        _one(Role.DOCTOR, "adler", "Paul Adler", ("app", "adler"), ("mail", "adler@ward.example"), **_BERLIN),
        _one(Role.COORDINATOR, "koch", "Eva Koch", ("mail", "koch@ward.example"), **_BERLIN),
    ),
    shifts=(
        shift(Role.NURSE, "weber", "Europe/Berlin", "20:00", "08:00"),
        shift(Role.DOCTOR, "adler", "Europe/Berlin"),
    ),
    low=datetime(2026, 3, 3, 2, 10, tzinfo=ZoneInfo("Europe/Berlin")),
    trace="115 108 101 94 86 79 72 65 58 50 45 41 38 34 32",
    recovery="32 34 36 41 56 72 83 94 101",
    words=Words(
        "Acknowledge as {}", "{} has acknowledged this alert.", "Thank you. Your clinic reads what you wrote."
    ),
)


async def the_glucose_is_critically_low_and_patient_and_nurse_are_told(scene: Scene) -> None:
    await scene.are_told(0, scene.patient, scene.address(Role.NURSE), "desk@ward.example")
    (alert,) = await scene.alerts("open")
    assert (alert["patient"], alert["priority"]) == (scene.clinic.patient.id, "high")


async def nobody_answers_and_the_doctor_is_told(scene: Scene) -> None:
    await scene.are_told(15, scene.address(Role.DOCTOR))


async def the_doctor_acknowledges_by_the_link(scene: Scene) -> None:
    await scene.goes_on_to(17)
    doctor, words = scene.clinic.one(Role.DOCTOR), scene.clinic.words
    link = scene.link(scene.address(Role.DOCTOR))
    assert words.acknowledge.format(doctor.name) in await scene.page(link)
    (alert,) = await scene.alerts("open")
    assert alert["acknowledged_by"] is None, "a mail scanner opens links too"
    assert words.acknowledged.format(doctor.name) in await scene.send(link)
    (alert,) = await scene.alerts("open")
    assert alert["acknowledged_by"] == doctor.name


async def the_patient_does_not_answer_the_telephone(scene: Scene) -> None:
    await scene.goes_on_to(18)
    doctor = scene.clinic.one(Role.DOCTOR).name
    (follow_up,) = await scene.ask("follow-ups")
    assert (follow_up["assigned_to"], follow_up["why"], follow_up["state"]) == (doctor, "alert", "in-progress")
    tried = await scene.write(
        f"follow-ups/{follow_up['id']}/attempts", by=doctor, channel="telephone", result="no-answer"
    )
    assert (tried["attempts"], tried["due_at"]) == (1, scene.moment(33))


async def the_second_try_reaches_the_patient(scene: Scene) -> None:
    await scene.goes_on_to(33, by=5)
    doctor = scene.clinic.one(Role.DOCTOR).name
    (follow_up,) = await scene.ask("follow-ups")
    tried = await scene.write(
        f"follow-ups/{follow_up['id']}/attempts", by=doctor, channel="telephone", result="reached", note="juice"
    )
    assert (tried["attempts"], tried["reached_at"]) == (2, scene.moment(33))


async def the_low_is_over_and_all_who_were_told_are_told(scene: Scene) -> None:
    await scene.goes_on_to(40, by=7)
    (alert,) = await scene.alerts("open")
    assert alert["condition_gone_at"] == scene.moment(40)


async def the_doctor_writes_the_outcome_down(scene: Scene) -> None:
    await scene.goes_on_to(50, by=5)
    doctor = scene.clinic.one(Role.DOCTOR).name
    (follow_up,) = await scene.ask("follow-ups")
    await scene.write(
        f"follow-ups/{follow_up['id']}/close", by=doctor, outcome="advice", note="Less insulin at night"
    )
    (alert,) = await scene.alerts("closed")
    assert (alert["closed_by"], alert["outcome"]) == (doctor, "advice")


async def the_patient_is_asked_how_it_was(scene: Scene) -> None:
    await scene.goes_on_to(410, by=30)
    (survey,) = await scene.ask("surveys")
    assert survey["sent_at"] is not None


async def the_patient_gives_two_of_five(scene: Scene) -> None:
    await scene.goes_on_to(415, by=5)
    link = scene.link(scene.patient)
    assert 'name="score"' in await scene.page(link)
    assert scene.clinic.words.thanks in await scene.send(link, score="2")


async def a_task_is_open_for_the_nurse(scene: Scene) -> None:
    await scene.goes_on_to(420, by=5)
    (task,) = await scene.ask("follow-ups")
    assert (task["why"], task["role"], task["state"]) == ("patient", "nurse", "open")
    assert task["because"] == {"en": "The patient gave 2 of 5.", "zh": "患者评分 2/5。"}


STORY: Final[tuple[Step, ...]] = (
    the_glucose_is_critically_low_and_patient_and_nurse_are_told,
    nobody_answers_and_the_doctor_is_told,
    the_doctor_acknowledges_by_the_link,
    the_patient_does_not_answer_the_telephone,
    the_second_try_reaches_the_patient,
    the_low_is_over_and_all_who_were_told_are_told,
    the_doctor_writes_the_outcome_down,
    the_patient_is_asked_how_it_was,
    the_patient_gives_two_of_five,
    a_task_is_open_for_the_nurse,
)

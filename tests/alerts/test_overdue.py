"""A follow-up whose time has passed: noted once for each time, told to who has it, then to the coordinators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from alerts.alert import Audience, Outcome, Priority, Symptom, Text
from alerts.database import METADATA
from alerts.escalation_book import EscalationBook
from alerts.follow_up import (
    Attempt,
    Close,
    FollowUp,
    HandOver,
    Open,
    Postpone,
    Result,
    What,
    Why,
    decide,
    replay,
    worsened,
)
from alerts.follow_up import opened as opened_step
from alerts.follow_up_book import FollowUpBook
from alerts.messages import overdue_message
from alerts.team import Absence, Contact, QuietHours, Role
from alerts.team_book import TeamBook
from gateway.schema import open_database
from tests.alerts.telling import BAO, BASE, LI, WANG, Clinic, shift
from tests.alerts.test_telling import Ear
from tests.alerts.ward import START, finding, minute

BECAUSE = Text(en="Glucose below 3.9 mmol/L.", zh="血糖低于 3.9 mmol/L。")
NIGHT = QuietHours(start=time(1), end=time(6))


@pytest.fixture
def app() -> Ear:
    return Ear("app")


@pytest.fixture
def sms() -> Ear:
    return Ear("sms", trusted=False)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Clinic]]:
    with ExitStack() as stack:
        yield lambda *channels, **more: stack.enter_context(closing(Clinic(tmp_path, channels, **more)))


@pytest.fixture
def clinic(opened: Callable[..., Clinic], app: Ear, sms: Ear) -> Clinic:
    clinic = opened(app, sms)
    clinic.staff()
    return clinic


def opening(priority: Priority = Priority.MEDIUM, key: str = "k", **changed: object) -> Open:
    plain = Open(
        patient="p-1",
        why=Why.STAFF,
        key=key,
        because=BECAUSE,
        at=START,
        role=Role.NURSE,
        priority=priority,
        assigned_to="王丽",
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def tried(follow_up: FollowUp, at: float, result: Result = Result.NO_ANSWER) -> Attempt:
    return Attempt(follow_up=follow_up.id, by="王丽", at=minute(at), channel="telephone", result=result)


def facts(clinic: Clinic, follow_up: FollowUp) -> list[What]:
    return [fact.what for fact in clinic.follow_ups.history(follow_up.id)]


async def test_an_acknowledged_alert_without_an_act_is_told_to_who_has_it_and_then_to_the_coordinators(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = opened(app, sms)
    clinic.staff()
    alert = clinic.alarm()
    await clinic.skip(1)
    clinic.take(alert.id, "王丽")
    for minutes in (31, 32, 60, 61, 62, 300):  # each by a hub that was started anew
        now = clinic.now
        clinic.close()
        clinic = opened(app, sms)
        clinic.now = now
        await clinic.skip(minutes)
        rounds = {31: 0, 32: 0, 60: 0, 61: 0, 62: 1, 300: 2}[minutes]
        assert sorted(app.whom()) == sorted(["wang"] * (1 if minutes == 31 else 2) + ["wang", "li", "bao"] * rounds)
    follow_up = clinic.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    assert facts(clinic, follow_up) == [What.OPENED, What.OVERDUE]
    assert replay(clinic.follow_ups.history(follow_up.id)) == follow_up
    assert app.heard[1][1].subject.en == "High priority: a follow-up is overdue since 2 Mar 02:31, patient p-1"
    assert app.heard[1][1].link == f"https://hub.example/alerts/{alert.id}"


async def test_a_critical_alert_whose_patient_nobody_reached_is_told_again_and_again_until_somebody_does(
    clinic: Clinic, app: Ear
) -> None:
    alert = clinic.alarm()
    await clinic.skip(1)
    clinic.take(alert.id, "Li")
    follow_up = clinic.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    for at in (2, 3, 4):
        given_up = clinic.care(tried(follow_up, at))
    assert (given_up.role, given_up.assigned_to) == (Role.COORDINATOR, None)
    app.heard.clear()
    await clinic.skip(5)
    assert app.whom() == ["bao"]  # as one that was given to coordinators
    app.heard.clear()
    await clinic.skip(20)
    await clinic.skip(49)
    assert app.whom() == ["li"]  # no coordinator is on duty: who had it goes on hearing
    for minutes in (50, 80, 600):
        app.heard.clear()
        await clinic.skip(minutes)
        assert sorted(app.whom()) == ["bao", "li", "wang"]
    app.heard.clear()
    clinic.care(tried(follow_up, 600.5, Result.REACHED))
    await clinic.skip(632)
    assert app.whom() == ["wang"]
    for minutes in (663, 3000):
        await clinic.skip(minutes)
        assert sorted(app.whom()) == ["bao", "li", "wang", "wang"]


async def test_a_number_that_was_found_wrong_is_marked_in_what_staff_are_told_until_it_is_put_right(
    clinic: Clinic, app: Ear
) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    follow_up = clinic.care(tried(clinic.open(opening()), 2, Result.WRONG_NUMBER))
    assert follow_up.care is not None
    assert follow_up.care.en.endswith(": 1, the last 1 without an answer (wrong number).")
    assert follow_up.care.zh.endswith("患者 1 次，最近 1 次未联系到（号码有误）。")
    mark = Text(
        en="Take care (2 Mar 02:02): The contact for telephone is wrong, says 王丽. Find out the right one.\n",
        zh="请注意（3月2日 02:02）：王丽 反映电话联系方式有误，请核实。\n",
    )
    await clinic.skip(63)
    (late,) = (each for who, each in app.heard if who == "wang" and each.link.endswith(follow_up.id))
    assert late.body.en.startswith(f"Patient: 张伟; telephone 010-1234.\n{mark.en}What it is about: ")
    assert late.body.zh.startswith(f"患者：张伟；电话 010-1234。\n{mark.zh}事由：")
    clinic.alarm()
    await clinic.skip(65)
    alarms = [each.body for _, each in app.heard if "Acknowledge with" in each.body.en]
    assert alarms
    assert all(f"telephone 010-1234.\n{mark.en}What happened" in each.en for each in alarms)
    assert all(f"电话 010-1234。\n{mark.zh}情况" in each.zh for each in alarms)
    (task,) = clinic.follow_ups.doubts(["p-1"])["p-1"]
    deed = Close(follow_up=task.id, by="Bao", at=clinic.now, outcome=Outcome.NO_ACTION, note="010-5678")
    clinic.care(deed)
    app.heard.clear()
    await clinic.skip(500)
    assert app.heard
    assert not any("Take care" in each.body.en for _, each in app.heard)


async def test_symptoms_found_at_a_try_are_told_at_once_to_the_doctor_and_who_has_it_until_it_is_closed(
    clinic: Clinic, app: Ear
) -> None:
    follow_up = clinic.open(opening(problem="blood-pressure-high"))
    chest_pain = replace(tried(follow_up, 5, Result.REACHED), symptoms=frozenset({Symptom.CHEST_PAIN}))
    await clinic.skip(5)
    assert clinic.care(chest_pain).priority is Priority.HIGH
    await clinic.skip(6)
    assert sorted(app.whom()) == ["li", "wang"]
    await clinic.skip(10)
    clinic.care(replace(chest_pain, at=minute(10), symptoms=frozenset()))
    await clinic.skip(35)
    assert sorted(app.whom()) == ["li", "wang"]
    for minutes in (36, 66, 500):
        app.heard.clear()
        await clinic.skip(minutes)
        assert sorted(app.whom()) == ["bao", "li", "wang"]
    message = app.heard[0][1]
    assert "emergency, the patient has chest pain; a follow-up is overdue since" in message.subject.en
    assert "急症，患者有胸痛；随访自" in message.subject.zh
    assert "The patient has chest pain: have the emergency number (120 in China) called now." in message.body.en
    assert message.body.en.endswith(
        "What to do: Have the emergency number (120 in China) called now, and close it with the outcome “Emergency "
        "services” (emergency): no other is taken."
    )
    assert message.body.zh.endswith("不能选择其他结果。")


async def test_no_further_reading_makes_less_of_an_emergency_and_who_hears_of_one_hears_of_it(
    clinic: Clinic, app: Ear
) -> None:
    pressure = finding("bp-severe", priority=Priority.HIGH)
    clinic.hear(pressure)
    (alert,) = clinic.book.alerts(patient="p-1", limit=1)
    await clinic.skip(1)
    clinic.take(alert.id, "王丽")
    taken = clinic.follow_ups.of_alert(alert.id)
    assert taken is not None
    known = clinic.care(replace(tried(taken, 2, Result.REACHED), symptoms=frozenset({Symptom.CHEST_PAIN})))
    await clinic.skip(3)
    app.heard.clear()
    now = clinic.now
    (again,) = clinic.hear_again(replace(pressure, known_at=now, emergency_at=now, evidence=("r-2",)))
    assert again.follow_up.due_at == known.due_at
    assert again.follow_up.is_overdue(now)
    assert again.fact.rule == Text(
        en=f"{pressure.because.en} The patient has chest pain: have the emergency number (120 in China) called now.",
        zh=f"{pressure.because.zh}患者有胸痛：请立即呼叫急救（中国大陆 120）。",
    )
    await clinic.skip(4)
    heard = [message for _, message in app.heard if message.subject.en.startswith("High priority: ")]
    assert heard
    for body in (message.body for message in heard):
        assert "\nWhat was done: In follow-up by 王丽; tries to reach the patient: 1. An emergency: the " in body.en
        assert "the patient has chest pain.\nWhat to do: Have the emergency number (120 in China) called" in body.en
        assert "已尝试联系患者 1 次。属于急症：患者有胸痛。\n请处理：请立即呼叫急救" in body.zh
        assert "Ask for" not in body.en
    app.heard.clear()
    await clinic.skip(34)
    assert set(app.whom()) == {"li", "wang", "bao"}
    assert any("emergency, the patient has chest pain" in message.subject.en for _, message in app.heard)


async def test_what_is_overdue_is_not_told_again_once_its_alert_is_over(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm()
    await clinic.skip(1)
    clinic.take(alert.id, "王丽")
    await clinic.skip(70)
    clinic.over()
    await clinic.skip(100)
    told = app.whom()
    await clinic.skip(1500)
    assert app.whom() == told


async def test_who_gave_an_overdue_one_to_a_role_does_not_go_on_hearing_of_it(clinic: Clinic, app: Ear) -> None:
    follow_up = clinic.open(opening(Priority.HIGH))
    for at in (1, 2, 3):
        clinic.care(tried(follow_up, at))
    clinic.care(HandOver(follow_up=follow_up.id, by="王丽", at=minute(4), note="my shift ends", role=Role.DOCTOR))
    await clinic.skip(5)
    assert app.whom() == ["li"]  # that it was given
    await clinic.skip(19)
    assert app.whom() == ["li", "li"]  # that it is overdue


def test_the_message_says_what_since_when_how_many_tries_and_what_to_do(clinic: Clinic) -> None:
    follow_up = replace(clinic.open(opening(assigned_to=None)), attempts=3, unanswered=2, due_at=minute(240))
    written = overdue_message(follow_up, zone="Asia/Shanghai", now=minute(275))
    assert written.subject == Text(
        en="Medium priority: a follow-up is overdue since 2 Mar 06:00, patient p-1",
        zh="中优先级：随访自 3月2日 06:00 起逾期，患者 p-1",
    )
    assert written.body == Text(
        en="What it is about: Glucose below 3.9 mmol/L.\n"
        "Was due: 2 Mar 06:00, 35 min ago. To be acted on within 4 h.\n"
        "Who has it: nobody (nurse).\n"
        "Tries to reach the patient: 3, the last 2 without an answer.\n"
        "What to do: Reach the patient and note the try, hand it over with a note, or close it with an outcome.",
        zh="事由：血糖低于 3.9 mmol/L。\n"
        "应于 3月2日 06:00 处理，已逾期 35 分钟。须在 4 小时内处理。\n"
        "负责人：无（护士）。\n"
        "已尝试联系 3 次，最近 2 次未联系到。\n"
        "请处理：请联系患者并记录，或附说明转交，或填写处理结果后结束。",
    )
    known = decide(follow_up, tried(follow_up, 30, Result.REACHED))[0].follow_up
    reached = overdue_message(known, zone="UTC", now=minute(275))
    assert "Who has it: 王丽.\n" in reached.body.en
    assert reached.body.zh.endswith("已联系到患者：请填写处理结果后结束，或另约时间。")


@pytest.mark.parametrize(
    ("seconds", "en", "zh"),
    [
        (0, ", less than 1 min ago. ", "已逾期不到 1 分钟。"),
        (59, ", less than 1 min ago. ", "已逾期不到 1 分钟。"),
        (60, ", 1 min ago. ", "已逾期 1 分钟。"),
    ],
)
def test_what_is_overdue_since_a_moment_ago_is_said_to_be_so(clinic: Clinic, seconds: int, en: str, zh: str) -> None:
    follow_up = clinic.open(opening())
    said = overdue_message(follow_up, zone="UTC", now=follow_up.due_at + timedelta(seconds=seconds)).body
    assert (en in said.en, zh in said.zh) == (True, True)


def test_of_tries_and_episodes_the_newest_says_what_to_do(clinic: Clinic) -> None:
    alert = replace(clinic.alarm(), problem="blood-pressure-high")
    new = opened_step(opening(Priority.HIGH, problem="blood-pressure-high")).follow_up
    reached = decide(new, tried(new, 5, Result.REACHED))[0].follow_up
    missed = decide(reached, tried(reached, 10))[0].follow_up
    (comes_again,) = worsened(alert, reached, minute(20))
    again_reached = decide(missed, tried(missed, 12, Result.REACHED))[0].follow_up
    (handed_over,) = decide(
        reached, HandOver(follow_up=new.id, by="王丽", at=minute(8), note="my shift ends", to="Li")
    )
    for about, of_reached in (
        (new, False),
        (reached, True),
        (missed, False),
        (comes_again.follow_up, False),
        (again_reached, True),
        (handed_over.follow_up, True),
    ):
        said = overdue_message(about, zone="UTC", now=minute(100)).body
        assert ("The patient was reached: close it with an outcome" in said.en) is of_reached
        assert ("Reach the patient and note the try" in said.en) is not of_reached
        assert said.en.endswith(
            " Still to be asked: chest pain, back pain, breathlessness, numbness or weakness, "
            "change of vision, change of speech, severe headache, vomiting."
        )
        assert said.zh.endswith(
            "。仍需询问以下症状：胸痛、背痛、呼吸困难、麻木或无力、视力改变、言语不清、剧烈头痛、呕吐。"
        )
    asked = replace(tried(reached, 12, Result.REACHED), symptoms=frozenset())
    said = overdue_message(decide(reached, asked)[0].follow_up, zone="UTC", now=minute(100)).body
    assert said.en.endswith("or agree on another time.")


def test_what_is_overdue_since_another_year_is_told_with_the_year(clinic: Clinic) -> None:
    follow_up = replace(clinic.open(opening()), due_at=datetime(2025, 12, 31, 16, tzinfo=UTC))
    said = overdue_message(follow_up, zone="UTC", now=START)
    assert "overdue since 31 Dec 2025 16:00, " in said.subject.en
    assert "应于 2025年12月31日 16:00 处理" in said.body.zh
    here = overdue_message(follow_up, zone="Asia/Shanghai", now=START)
    assert here.subject.zh == "中优先级：随访自 1月1日 00:00 起逾期，患者 p-1"


async def test_what_gets_another_time_is_told_again_when_that_has_passed_and_not_before(
    clinic: Clinic, app: Ear
) -> None:
    follow_up = clinic.open(opening())
    await clinic.skip(100)
    clinic.care(tried(follow_up, 100))
    await clinic.skip(160)
    assert app.whom() == []
    await clinic.skip(161)
    assert app.whom() == ["wang"]
    await clinic.skip(200)
    clinic.care(tried(follow_up, 200))
    await clinic.skip(260)
    assert app.whom() == ["wang"]
    await clinic.skip(261 + 239)
    assert app.whom() == ["wang", "wang"]
    clinic.care(Close(follow_up=follow_up.id, by="王丽", at=clinic.now, outcome=Outcome.NO_ACTION, note="moved away"))
    await clinic.skip(261 + 500)
    assert app.whom() == ["wang", "wang"]
    assert facts(clinic, follow_up).count(What.OVERDUE) == 2
    assert clinic.escalation.next_due() is None


async def test_what_nobody_has_is_told_to_the_role_on_duty(clinic: Clinic, app: Ear) -> None:
    made = clinic.open(opening(assigned_to=None, role=Role.DOCTOR))
    clinic.open(opening(key="l", assigned_to="somebody of another clinic"))
    await clinic.skip(241)
    assert sorted(app.whom()) == ["li", "wang"]
    assert [each.link for address, each in app.heard if address == "li"] == [f"{BASE}/follow-ups/{made.id}"]


async def test_who_is_away_is_stood_in_for_and_where_nobody_is_there_the_coordinators_are_told_at_once(
    clinic: Clinic, app: Ear
) -> None:
    clinic.team.add_absence(Absence(practitioner="wang", start=START, end=minute(500), substitute="li"), now=START)
    clinic.open(opening())
    await clinic.skip(241)
    assert app.whom() == ["li"]
    clinic.team.add_absence(Absence(practitioner="wang", start=START, end=minute(1000)), now=clinic.now)
    clinic.open(opening(key="l", due_at=minute(300)))
    await clinic.skip(301)
    assert app.whom() == ["li", "bao"]


async def test_quiet_hours_put_off_what_is_not_urgent(clinic: Clinic, app: Ear) -> None:
    clinic.team.put(replace(WANG, quiet=NIGHT), now=START)
    clinic.open(opening(Priority.HIGH))
    clinic.open(opening(key="l", due_at=minute(40)))
    await clinic.skip(31)
    assert app.whom() == ["wang"]
    await clinic.skip(239)
    assert app.whom().count("wang") == 2  # of the urgent one again
    await clinic.skip(240)
    assert app.whom().count("wang") == 3


async def test_what_is_of_low_priority_is_told_once_a_day_in_one_message(clinic: Clinic, app: Ear) -> None:
    made = [clinic.open(opening(Priority.LOW, key=str(n), due_at=minute(n + 1))) for n in range(3)]
    await clinic.skip(30)
    clinic.care(Postpone(follow_up=made[1].id, by="王丽", at=clinic.now, until=minute(1441), note="travels"))
    await clinic.skip(359)
    assert app.whom() == []
    await clinic.skip(360)  # 8:00 in Shanghai
    assert app.whom() == ["wang"]
    (message,) = (message for _, message in app.heard)
    assert message.subject.zh == "低优先级：2 项随访自 3月2日 02:01 起逾期，患者 p-1"
    assert message.body.en.count("Low priority: a follow-up is overdue since") == 2
    await clinic.skip(360 + 1440)
    assert app.whom() == ["wang", "wang"]
    assert "since 3 Mar 02:01" in app.heard[1][1].subject.en


async def test_what_waits_for_the_morning_is_told_to_who_is_on_duty_in_the_morning(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    clinic = opened(app)
    clinic.staff(nurse=(8, 20))
    night = replace(WANG, id="min", name="赵敏", contacts=(Contact(channel="app", address="min"),))
    clinic.team.put(night, now=START)
    clinic.team.add_shift(shift("min", Role.NURSE, 20, 8), now=START)
    clinic.open(opening(Priority.LOW, assigned_to=None, due_at=minute(10)))
    given = opening(Priority.LOW, "given", assigned_to=None, by="Li", note="by telephone", due_at=minute(1000))
    step = opened_step(given)
    clinic.follow_ups.record([step])
    await clinic.skip(359)
    assert app.whom() == []
    await clinic.skip(360)  # 8:00 in Shanghai
    assert app.whom() == ["wang"]
    assert app.heard[0][1].subject.zh == "2 条消息汇总"
    clinic.open(opening(Priority.LOW, "day", assigned_to=None, due_at=minute(900)))
    clinic.team.add_absence(
        Absence(practitioner="wang", start=minute(1000), end=minute(9000), substitute="min"), now=clinic.now
    )
    await clinic.skip(360 + 1440)
    assert app.whom() == ["wang", "min"]


async def test_what_is_joined_says_by_an_untrusted_channel_that_it_is_overdue_and_what_to_do(
    clinic: Clinic, app: Ear, sms: Ear
) -> None:
    app.cut = True
    for n in range(2):
        clinic.open(opening(Priority.LOW, key=str(n), patient=f"p-{n}", due_at=minute(n + 1)))
    await clinic.skip(30)
    await clinic.skip(480)
    message = sms.heard[0][1]
    assert message.subject == Text(en="2 follow-ups are overdue", zh="有 2 项随访已逾期")
    assert message.body.en.startswith(
        "Low priority, several patients: the first overdue since 2 Mar 02:01. What to do: open the link, sign in and "
        "read what they are about; "
    )
    assert message.body.zh.startswith(
        "低优先级，多名患者：最早自 3月2日 02:01 起逾期。请处理：打开链接，登录查看事由；"
    )
    assert message.link == f"{BASE}/follow-ups?of=all"


async def test_one_that_is_overdue_for_two_reasons_is_told_once_in_the_morning_by_the_newest(
    clinic: Clinic, app: Ear
) -> None:
    """To one person as who has it and as a coordinator."""
    until_9 = QuietHours(start=time(1), end=time(9))
    clinic.team.put(replace(WANG, roles=frozenset({Role.NURSE, Role.COORDINATOR}), quiet=until_9), now=START)
    made = clinic.open(opening(due_at=minute(5)))
    for minutes in (7, 247, 422):
        await clinic.skip(minutes)
    assert app.whom().count("wang") == 1
    (message,) = (each for who, each in app.heard if who == "wang")
    assert message.subject.en == "Medium priority: a follow-up is overdue since 2 Mar 02:05, patient p-1"
    assert message.link == f"{BASE}/follow-ups/{made.id}"


async def test_what_is_told_as_one_names_the_longest_overdue_first(clinic: Clinic, app: Ear) -> None:
    for key, due in (("a", 40), ("b", 20)):
        clinic.open(opening(Priority.HIGH, key=key, due_at=minute(due), because=Text(en=f"{due}.", zh=f"{due}。")))
    await clinic.skip(45)
    ((_, message),) = app.heard
    assert message.subject.en == "High priority: 2 follow-ups are overdue since 2 Mar 02:20, patient p-1"
    assert message.body.en.index("about: 20.") < message.body.en.index("about: 40.")


async def test_several_overdue_follow_ups_of_a_patient_are_told_again_in_one_message_that_names_each(
    clinic: Clinic, app: Ear, sms: Ear
) -> None:
    made = [
        clinic.open(opening(Priority.HIGH, key=str(n), due_at=minute(due), because=Text(en=f"No. {n}.", zh=f"{n}。")))
        for n, due in enumerate((10, 10, 24))
    ]
    other = clinic.open(opening(Priority.HIGH, patient="p-2", due_at=minute(11)))
    await clinic.at(24)
    assert app.whom() == ["wang", "wang"]  # of the first two, and of the other patient
    both = app.heard[0][1]
    assert both.subject.en == "High priority: 2 follow-ups are overdue since 2 Mar 02:10, patient p-1"
    assert both.link == f"{BASE}/patients/p-1"
    assert all(f"What it is about: No. {n}." in both.body.en for n in (0, 1))
    assert "事由：0。" in both.body.zh
    app.heard.clear()
    await clinic.at(40)
    assert app.whom() == ["wang"]  # of the third
    await clinic.at(60)
    for end in (75, 105):  # again and again: one about each patient to each
        app.heard.clear()
        await clinic.at(end)
        assert {who: app.whom().count(who) for who in ("wang", "li", "bao")} == {"wang": 2, "li": 2, "bao": 2}
        assert sum("3 follow-ups are overdue" in each.subject.en for _, each in app.heard) == 3
    clinic.care(Close(follow_up=made[0].id, by="王丽", at=clinic.now, outcome=Outcome.NO_ACTION, note="doubled"))
    app.heard.clear()
    await clinic.at(150)
    assert not any("No. 0." in each.body.en for _, each in app.heard)
    assert sum(each.link == f"{BASE}/follow-ups/{other.id}" for _, each in app.heard) >= 3
    results = {each.result for each in clinic.timers(made[1].id) if each.kind == "check" and each.done_at}
    assert results == {"delivered"}
    assert sms.heard == []


async def test_who_is_told_by_two_steps_of_an_overdue_one_is_told_of_it_once_beside_another_one(
    clinic: Clinic, app: Ear
) -> None:
    """Each minute in which the nurse hears of the first: as who has it and as who is on duty."""
    clinic.open(opening(Priority.HIGH, key="hers", due_at=minute(20), because=Text(en="No. 1.", zh="1。")))
    clinic.open(opening(Priority.HIGH, key="nobody's", assigned_to=None, due_at=minute(71)))
    told = []
    for at in range(1, 180):
        app.heard.clear()
        await clinic.at(at)
        told += [at for who, each in app.heard if who == "wang" and "No. 1." in each.body.en]
    assert told == [21, 51, 72, 102, 132, 162]


async def test_what_one_is_told_with_is_not_told_again_by_another_step_of_it_that_comes_the_first_time(
    clinic: Clinic, app: Ear
) -> None:
    clinic.open(opening(Priority.HIGH, key="a", due_at=minute(20), because=Text(en="No. 1.", zh="1。")))
    clinic.open(opening(Priority.HIGH, key="b", due_at=minute(40)))
    told = []
    for at in range(1, 120):
        app.heard.clear()
        await clinic.at(at)
        told += [(who, at) for who, each in app.heard if "No. 1." in each.body.en]
    assert [at for who, at in told if who == "wang"] == [21, 51, 71, 101]
    assert [at for who, at in told if who == "li"] == [51, 71, 101]


async def test_an_emergency_is_never_joined_with_what_else_is_overdue(clinic: Clinic, app: Ear) -> None:
    emergency = clinic.open(opening(problem="blood-pressure-high", assigned_to=None))
    clinic.open(opening(Priority.HIGH, key="l", due_at=minute(5), assigned_to=None))
    found = frozenset({Symptom.CHEST_PAIN})
    clinic.care(replace(tried(emergency, 4, Result.REACHED), symptoms=found))
    await clinic.skip(6)
    subjects = [each.subject.en for who, each in app.heard if who == "wang"]
    assert len(subjects) == 2
    assert "emergency, the patient has chest pain" in subjects[0]


async def test_what_gets_more_urgent_while_it_is_overdue_is_told_as_such(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm(Priority.LOW)
    await clinic.skip(0)
    clinic.take(alert.id, "王丽")
    await clinic.skip(2880 + 1)
    known, worse = clinic.follow_ups.of_alert(alert.id), replace(alert, priority=Priority.HIGH)
    assert known is not None
    assert known.overdue_at == minute(2881)
    clinic.now += timedelta(seconds=1)
    clinic.follow_ups.record(worsened(worse, known, clinic.now))
    await clinic.skip(2882)
    assert app.whom() == ["wang"]
    assert app.heard[0][1].subject.en.startswith("High priority: a follow-up is overdue")


async def test_who_gets_an_overdue_one_is_told_and_the_coordinators_are_told_no_later(
    clinic: Clinic, app: Ear
) -> None:
    follow_up = clinic.open(opening())
    await clinic.skip(241)
    assert app.whom() == ["wang"]
    await clinic.skip(300)
    deed = HandOver(follow_up=follow_up.id, by="王丽", at=clinic.now, note="has not answered twice", to="Li")
    assert clinic.care(deed).due_at == follow_up.due_at
    await clinic.skip(301)
    assert app.whom() == ["wang", "li"]
    assert "Who has it: Li.\n" in app.heard[1][1].body.en
    await clinic.skip(480)
    assert app.whom() == ["wang", "li"]
    await clinic.skip(482)
    assert app.whom() == ["wang", "li", "bao"]
    clinic.care(replace(deed, at=clinic.now, to=None, role=Role.NURSE))
    await clinic.skip(484)
    assert app.whom() == ["wang", "li", "bao", "wang"]
    await clinic.skip(482 + 239)
    assert app.whom().count("bao") == 1
    await clinic.skip(482 + 243)
    assert app.whom().count("bao") == 2


async def test_an_overdue_one_whose_alert_is_told_again_is_told_again(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm(Priority.LOW)
    await clinic.skip(0)
    clinic.take(alert.id, "王丽")
    await clinic.skip(2881)
    await clinic.skip(2880 + 400)
    assert app.whom() == ["wang"]
    known = clinic.follow_ups.of_alert(alert.id)
    assert known is not None
    clinic.follow_ups.record(worsened(alert, known, clinic.now))
    await clinic.skip(2880 + 401)
    await clinic.skip(2880 + 1440 + 400)
    assert app.whom() == ["wang", "wang"]


async def test_an_overdue_one_whose_alert_has_a_new_episode_is_overdue_by_a_new_time(
    clinic: Clinic, app: Ear
) -> None:
    follow_up = clinic.open(opening(Priority.HIGH))
    await clinic.skip(31)
    assert app.whom() == ["wang"]
    await clinic.skip(40)
    known = clinic.follow_ups.get(follow_up.id)
    assert known is not None
    alert = clinic.alarm(Priority.HIGH, "p-2")
    clinic.follow_ups.record(worsened(alert, known, clinic.now, anew=True))
    overdue = "High priority: a follow-up is overdue since"
    for minutes, since in ((69, ["02:30"]), (71, ["02:30", "03:10"]), (101, ["02:30", *["03:10"] * 4])):
        await clinic.skip(minutes)
        told = [message.subject.en for _, message in app.heard if message.subject.en.startswith(overdue)]
        assert told == [f"{overdue} 2 Mar {each}, patient p-1" for each in since]


async def test_a_channel_that_is_not_trusted_hears_that_one_is_overdue_since_when_and_what_to_do(
    clinic: Clinic, app: Ear, sms: Ear
) -> None:
    app.cut = True
    clinic.team.put(replace(WANG, zone="Europe/Berlin"), now=START)
    made = clinic.open(opening(Priority.HIGH))
    await clinic.skip(35)
    message = sms.heard[0][1]
    assert message.subject == Text(en="A follow-up is overdue", zh="有一项随访已逾期")
    assert message.body == Text(
        en="High priority, patient p-1: overdue since 1 Mar 19:30 UTC+1. What to do: open the link, sign in and read "
        "what it is about; then contact the patient and note the try, hand it over with a note, or close it with an "
        "outcome.",
        zh="高优先级，患者 p-1：自 3月1日 19:30 UTC+1 起逾期。请处理：打开链接，登录查看事由；随后联系患者并记录，"
        "或附说明转交，或填写处理结果后结束。",
    )
    assert message.link == f"{BASE}/follow-ups/{made.id}"


async def test_a_channel_that_is_not_trusted_asks_for_what_is_to_be_noted_of_an_appointment(
    clinic: Clinic, app: Ear, sms: Ear
) -> None:
    app.cut = True
    of_one = opening(problem="kept:m-1", due_at=minute(10))
    clinic.open(of_one)
    clinic.open(replace(of_one, patient="p-2", key="l", priority=Priority.LOW))
    clinic.open(opening(Priority.LOW, "other", patient="p-3", due_at=minute(11)))
    await clinic.skip(15)
    await clinic.skip(480)
    alone, joined = (message.body for who, message in sms.heard if who == sms.heard[0][0])
    assert alone.en.endswith(
        "sign in and read what it is about; then find out whether the patient came to the appointment, and note it "
        "there."
    )
    assert alone.zh.endswith("登录查看事由；随后了解患者是否到诊，并在该页面记录。")
    assert joined.en.endswith("read what they are about; then do what is asked for each.")
    assert joined.zh.endswith("登录查看事由；随后按各项要求处理。")


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_clinic_without_a_register_hears_of_it_through_the_channels_of_the_house(
    tmp_path: Path, trusted: bool
) -> None:
    desk = Ear("desk", trusted=trusted, audiences=frozenset({Audience.STAFF}))
    with closing(Clinic(tmp_path, broadcast=[desk])) as clinic:
        clinic.open(opening(Priority.LOW, due_at=minute(10)))
        made = clinic.open(opening(key="l"))
        await clinic.skip(500)
        ((_, message),) = desk.heard
        if trusted:
            assert message.subject.zh == "中优先级：随访自 3月1日 22:00 UTC 起逾期，患者 p-1"
            assert message.body.zh.startswith("患者：张伟；未登记电话号码，请在患者页面登记。\n事由：")
        else:
            assert message.subject.zh == "有一项随访已逾期"
            assert message.body.zh.startswith("中优先级，患者 p-1：自 3月1日 22:00 UTC 起逾期。请处理：打开链接，")
        assert message.link == f"{BASE}/follow-ups/{made.id}"


async def test_where_nobody_can_be_told_it_is_said_and_tried_again(clinic: Clinic, app: Ear) -> None:
    for one in (WANG, BAO):
        clinic.team.put(replace(one, contacts=()), now=START)
    follow_up = clinic.open(opening())
    await clinic.skip(250)
    assert app.whom() == []
    assert clinic.escalation.untold([follow_up.id]) == [follow_up.id]
    clinic.team.put(BAO, now=clinic.now)
    await clinic.skip(300)
    assert app.whom() == ["bao"]
    assert clinic.escalation.untold([follow_up.id]) == []


def test_two_hubs_note_and_tell_it_once(database_url: str) -> None:
    engines = [open_database(database_url) for _ in range(2)]
    books = [EscalationBook(each, channels={}, patients_of=Clinic.patients_of) for each in engines]
    made = FollowUpBook(engines[0])
    team = TeamBook(engines[0])
    team.put(WANG, now=START)
    steps = [opened_step(opening(key=str(n))) for n in range(20)]
    made.record(steps)
    with ThreadPoolExecutor(2) as pool:
        noted = list(pool.map(lambda book: book.note_overdue(minute(241), lambda _db, _notices: None), books * 3))
    assert sum(noted) == 20
    for step in steps:
        name = step.follow_up.id
        assert [fact.what for fact in made.history(name)] == [What.OPENED, What.OVERDUE]
        assert len(books[0].timers(name)) == 2
    for engine in engines:
        engine.dispose()


def in_two_shifts(clinic: Clinic) -> Clinic:
    """Nurse Wang until 03:00 in Shanghai, an hour after START; then nurse Chen."""
    clinic.staff(nurse=(22, 3))
    chen = replace(WANG, id="chen", name="陈静", contacts=(Contact(channel="app", address="chen"),))
    clinic.team.put(chen, now=clinic.now)
    clinic.team.add_shift(shift("chen", Role.NURSE, 3, 22), now=clinic.now)
    return clinic


async def test_who_comes_on_duty_is_told_once_what_is_overdue_of_high_priority(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = in_two_shifts(opened(app, sms))
    alert = clinic.alarm()
    await clinic.skip(1)
    clinic.take(alert.id, "王丽")
    await clinic.at(59)
    assert app.whom() == ["wang"] * 2
    await clinic.at(61)
    assert app.whom() == ["wang", "wang", "chen"]
    await clinic.at(91)
    assert sorted(app.whom()[3:]) == ["bao", "chen", "li", "wang"]
    assert app.heard[2][1].subject.en == "High priority: a follow-up is overdue since 2 Mar 02:31, patient p-1"


@pytest.mark.parametrize("due", [29.5, 30.5], ids=["at the change of the shift", "a minute later"])
async def test_who_comes_on_duty_as_it_is_told_again_is_told_once(
    opened: Callable[..., Clinic], app: Ear, sms: Ear, due: float
) -> None:
    clinic = in_two_shifts(opened(app, sms))
    made = clinic.open(opening(Priority.HIGH, due_at=minute(due)))
    await clinic.at(62)
    assert sorted(app.whom()) == ["bao", "chen", "li", "wang", "wang"]
    assert clinic.escalation.untold([made.id]) == []
    await clinic.at(92)
    assert sorted(app.whom()[5:]) == ["bao", "chen", "li", "wang"]


async def test_who_has_two_roles_is_told_once_by_two_steps_of_one_moment(clinic: Clinic, app: Ear) -> None:
    clinic.team.put(replace(LI, roles=frozenset({Role.DOCTOR, Role.COORDINATOR})), now=START)
    clinic.alarm()
    await clinic.at(31)
    assert sorted(app.whom()) == ["bao", "li", "li", "wang"]


async def test_who_comes_on_duty_is_told_of_what_was_overdue_before_an_update(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = in_two_shifts(opened(app, sms))
    for priority in (Priority.HIGH, Priority.MEDIUM):
        clinic.open(opening(priority, priority.name, due_at=minute(30)))
    await clinic.at(40)
    of_runs = METADATA.tables["escalations"]
    with clinic.engine.begin() as db:
        assert db.execute(delete(of_runs).where(of_runs.c.kind == "handover")).rowcount == 1
    assert clinic.escalation.begin_handovers(clinic.now) == 1
    await clinic.at(59)
    assert "chen" not in app.whom()
    await clinic.at(60)
    assert app.whom().count("chen") == 1

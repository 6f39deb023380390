"""What a rule says to a patient, beside what the alert's ladder tells at the same moment: one message, never none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts import escalation_book
from alerts.alert import ActKind, Alert, Audience, Finding, Priority, Text, Verdict, together
from alerts.escalation import Ladder, Result, Step, TimerKind
from alerts.first_aid import FOR_STAFF, advice, advice_late
from alerts.machine import hear_findings
from alerts.team import Contact, Role
from tests.alerts.telling import Clinic
from tests.alerts.test_telling import Ear, app, clinic, opened, sms
from tests.alerts.ward import START, finding

__all__ = ["app", "clinic", "opened", "sms"]

LADDER, RULE = "请立即关注：", "请注意："
SAID = Text(en="Sensor glucose 32 mg/dL (1.8 mmol/L). Limit: 40.", zh="动态血糖 1.8 mmol/L（32 mg/dL）。限值：2.2。")
CRITICALLY_LOW = "血糖低至危急值"
_NOTHING = Text(en="", zh="")
TO_STAFF = together((SAID, FOR_STAFF), _NOTHING)
TO_PATIENT = together((SAID, advice(very_low=True)), _NOTHING)
NURSE = Step(to=Role.NURSE, after=timedelta())
AT_ONCE = Step(to="patient", after=timedelta())


@pytest.fixture(autouse=True)
def _reached(clinic: Clinic) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"), Contact(channel="sms", address="+8610"))


def staff(rule: str = "low-critical", because: Text = TO_STAFF, priority: Priority = Priority.HIGH) -> Finding:
    return replace(finding(rule, priority=priority), because=because)


def own(rule: str = "low-critical", because: Text = TO_PATIENT, priority: Priority = Priority.HIGH) -> Finding:
    return replace(finding(rule, priority=priority, audience=Audience.PATIENT), because=because)


def come(clinic: Clinic, *found: Finding) -> Alert:
    """They are found at one moment."""
    heard = hear_findings(clinic.book.standing(["p-1"]), found, clinic.now)
    clinic.book.record(heard.changes, heard.notices)
    (alert,) = clinic.book.alerts(patient="p-1", limit=1)
    return alert


def read_by_patient(app: Ear) -> list[str]:
    return [message.subject.zh for address, message in app.heard if address == "p"]


def became_of_notice(clinic: Clinic) -> list[Result | None]:
    notices = [each for each, _ in clinic.book.to_patient("p-1", 10) if each.recipient is None]
    timers = [timer for each in notices for timer in clinic.timers(each.id)]
    assert {timer.kind for timer in timers} <= {TimerKind.NOTICE}
    return [timer.result for timer in timers]


async def test_a_patient_reads_one_message_of_one_emergency(clinic: Clinic, app: Ear) -> None:
    come(clinic, staff(), own())
    await clinic.at(0)
    assert read_by_patient(app) == [LADDER + CRITICALLY_LOW]
    assert became_of_notice(clinic) == [Result.TOLD_WITH_ALERT]
    await clinic.at(10)
    assert read_by_patient(app) == [LADDER + CRITICALLY_LOW]
    # Both stand in the list of what was told, and of the one it is known where it is said.
    listed = [each for each, _ in clinic.book.to_patient("p-1", 10)]
    assert [each.subject.zh for each in listed if each.recipient is None] == [RULE + CRITICALLY_LOW]
    assert len(listed) == 2
    handed_on = clinic.escalation.handed_on([each.id for each in listed])
    assert handed_on == {each.id: Result.TOLD_WITH_ALERT for each in listed if each.recipient is None}


async def test_what_comes_again_is_one_message_as_well(clinic: Clinic, app: Ear) -> None:
    come(clinic, staff(), own())
    await clinic.at(1)
    come(clinic, finding("low-critical", Verdict.CLEAR))
    await clinic.at(30)
    app.heard.clear()
    again = [replace(each, since=clinic.now, known_at=clinic.now) for each in (staff(), own())]
    come(clinic, *again)
    await clinic.at(31)
    assert read_by_patient(app) == [LADDER + CRITICALLY_LOW]


# Each of these tells the patient by the rule as ever.


def _is_over(clinic: Clinic) -> None:
    come(clinic, finding("low-critical", Verdict.CLEAR))


def _is_seen(clinic: Clinic) -> None:
    clinic.act(clinic.book.alerts(patient="p-1")[0].id, ActKind.ACKNOWLEDGE)


def _is_closed(clinic: Clinic) -> None:
    clinic.act(clinic.book.alerts(patient="p-1")[0].id, ActKind.CLOSE)


@pytest.mark.parametrize("rounds", [0, 1], ids=["before its ladder began", "before its first step"])
@pytest.mark.parametrize("comes", [_is_over, _is_seen, _is_closed])
async def test_what_ends_the_patients_step_leaves_the_rules_message(
    clinic: Clinic, app: Ear, comes: Callable[[Clinic], None], rounds: int
) -> None:
    come(clinic, staff(), own())
    for _ in range(rounds):
        clinic.escalation.run_due(clinic.now)
    comes(clinic)
    await clinic.at(1)
    assert read_by_patient(app)[:1] == [RULE + CRITICALLY_LOW]
    assert not any(subject.startswith(LADDER) for subject in read_by_patient(app))
    assert became_of_notice(clinic) == [Result.TOLD]


@pytest.mark.parametrize(
    ("steps", "reads"),
    [
        ([NURSE], [RULE]),
        ([NURSE, Step(to="patient", after=timedelta(minutes=2))], [RULE, LADDER]),
        # By one channel alone: it has fewer ways to the patient.
        ([replace(AT_ONCE, channel="app"), NURSE], [LADDER, RULE]),
        ([replace(AT_ONCE, repeat=timedelta(minutes=5)), NURSE], [LADDER]),
    ],
)
async def test_a_ladder_that_does_not_tell_the_patient_at_once_and_by_all_contacts_leaves_the_rules_message(
    clinic: Clinic, app: Ear, steps: Sequence[Step], reads: list[str]
) -> None:
    clinic.escalation.ladders = [Ladder(priority=Priority.HIGH, steps=tuple(steps))]
    come(clinic, staff(), own())
    await clinic.at(3)
    assert read_by_patient(app) == [words + CRITICALLY_LOW for words in reads]


@pytest.mark.parametrize(
    ("for_staff", "for_patient"),
    [
        # Another rule; a number that staff do not read so; another advice; one that asks for something more.
        (staff(), own("low-event-2")),
        (staff(because=together((Text(en="Sensor glucose 31.", zh="动态血糖 1.7。"), FOR_STAFF))), own()),
        (staff(), own(because=replace(TO_PATIENT, zh=SAID.zh + advice_late(very_low=True).zh))),
        (staff(), own(because=replace(TO_PATIENT, en=TO_PATIENT.en + " Please measure by finger."))),
        # The ladder is milder.
        (staff(priority=Priority.MEDIUM), own()),
        # A pair of severe pressures asks for symptoms, and who has ketones has an advice of their own.
        (staff("bp-severe", SAID), own("bp-severe", replace(SAID, en=SAID.en + " With chest pain call 120 now."))),
        (staff("ketone", SAID), own("ketone", replace(SAID, zh=SAID.zh + "请联系医生。"))),
    ],
)
async def test_what_the_ladders_message_leaves_out_is_told_beside_it(
    clinic: Clinic, app: Ear, for_staff: Finding, for_patient: Finding
) -> None:
    steps = (AT_ONCE, NURSE)
    clinic.escalation.ladders = [Ladder(priority=each, steps=steps) for each in (Priority.HIGH, Priority.MEDIUM)]
    come(clinic, for_staff, for_patient)
    await clinic.at(0)
    assert {subject.split("：")[0] + "：" for subject in read_by_patient(app)} == {LADDER, RULE}
    assert became_of_notice(clinic) == [Result.TOLD]


async def test_of_two_troubles_of_one_moment_each_is_told(clinic: Clinic, app: Ear) -> None:
    come(clinic, staff(), own(), staff("ketone", SAID), own("ketone", replace(SAID, zh=SAID.zh + "请联系医生。")))
    await clinic.at(0)
    assert len(read_by_patient(app)) == 3
    assert RULE + CRITICALLY_LOW not in read_by_patient(app)


async def test_what_came_before_the_ladder_began_is_told_by_itself(clinic: Clinic, app: Ear) -> None:
    heard = hear_findings({}, [own()], clinic.now)
    clinic.book.record(heard.changes, heard.notices)
    clinic.now += timedelta(seconds=1)
    come(clinic, staff())
    await clinic.at(1)
    assert read_by_patient(app) == [RULE + CRITICALLY_LOW, LADDER + CRITICALLY_LOW]


async def test_where_no_staff_are_registered_the_ladder_tells_the_patient_and_that_is_one_message(
    clinic: Clinic, app: Ear
) -> None:
    for one in clinic.team.staff():
        clinic.team.put(replace(one, active=False), now=START)
    come(clinic, staff(), own())
    await clinic.at(1)
    assert app.whom() == ["p"]


async def test_where_neither_can_be_sent_none_is_said_to_be_told(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="pigeon", address="p"))
    come(clinic, staff(), own())
    await clinic.at(1)
    assert app.whom() == ["wang"]
    assert became_of_notice(clinic) == [Result.NOBODY]


async def test_what_is_put_off_because_much_was_told_is_joined_with_both(clinic: Clinic, app: Ear) -> None:
    clinic.escalation.ladders = [Ladder(priority=Priority.MEDIUM, steps=(AT_ONCE, NURSE))]
    for number in range(6):
        clinic.hear(replace(own("low-event-2"), since=START - timedelta(minutes=number)))
    await clinic.at(0)
    app.heard.clear()
    come(clinic, staff(priority=Priority.MEDIUM), own(priority=Priority.MEDIUM))
    await clinic.at(11)
    ((_, digest),) = [each for each in app.heard if each[0] == "p"]
    assert (LADDER + CRITICALLY_LOW in digest.body.zh, RULE + CRITICALLY_LOW in digest.body.zh) == (True, True)
    assert sorted(map(str, became_of_notice(clinic))) == [Result.PUT_OFF, *[Result.TOLD] * 6]


async def test_a_step_that_fails_for_a_fault_of_ours_does_not_keep_the_rules_message(
    clinic: Clinic, app: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    come(clinic, staff(), own())
    with monkeypatch.context() as patched:
        patched.setattr(escalation_book, "alert_message", fail)
        while clinic.escalation.run_due(clinic.now).taken:
            pass
    await clinic.speaker.speak()
    assert read_by_patient(app) == [RULE + CRITICALLY_LOW]
    await clinic.at(1)
    assert read_by_patient(app) == [RULE + CRITICALLY_LOW, LADDER + CRITICALLY_LOW]


async def test_what_is_not_written_in_one_transaction_is_told_by_both(
    clinic: Clinic, app: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(escalation_book, "_AT_ONCE", 1)  # as another hub, or a batch that is full
    come(clinic, staff(), own())
    await clinic.at(0)
    assert read_by_patient(app) == [LADDER + CRITICALLY_LOW, RULE + CRITICALLY_LOW]


async def test_a_crash_between_the_ladders_begin_and_its_first_step_changes_nothing(
    opened: Callable[..., Clinic], clinic: Clinic, app: Ear, sms: Ear
) -> None:
    come(clinic, staff(), own())
    clinic.escalation.run_due(clinic.now)
    clinic.close()
    clinic = opened(app, sms)
    await clinic.at(1)
    assert read_by_patient(app) == [LADDER + CRITICALLY_LOW]

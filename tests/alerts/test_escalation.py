from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, time, timedelta

import pytest

from alerts.alert import Priority
from alerts.escalation import (
    CRITICAL_WITHIN,
    DEFAULT_LADDERS,
    MOST_STEPS,
    PREFERRED,
    Ladder,
    LadderError,
    Result,
    Step,
    Timer,
    TimerKind,
    Until,
    after_check,
    after_telling,
    after_waiting,
    begin,
    is_over,
    ladder_for,
    people,
    put_off_until,
    read_ladders,
    waits_until,
    ways,
)
from alerts.team import EVERY_DAY, Contact, Practitioner, QuietHours, Recipient, Role, Rota, Shift
from tests.alerts.timer_table import DRAWING
from tests.alerts.ward import START, minute

MIN = timedelta(minutes=1)
PATIENT = Recipient(owner="patient:p-1", name="王芳", language="zh_CN", zone="Asia/Shanghai")
LI = Practitioner(id="li", name="Li", roles=frozenset({Role.DOCTOR}), zone="Asia/Shanghai")
WANG = Practitioner(id="wang", name="Wang", roles=frozenset({Role.NURSE}), zone="Asia/Shanghai")


def run_of(priority: Priority, *, staffed: bool = True) -> tuple[Timer, ...]:
    return begin("a-1", ladder_for((), priority, None), START, staffed=staffed)


def done(timers: Sequence[Timer], number: int, result: Result) -> list[Timer]:
    return [replace(each, done_at=START, result=result) if each.number == number else each for each in timers]


def shift(who: str, role: Role, start: int = 8, end: int = 16) -> Shift:
    return Shift(
        role=role,
        practitioner=who,
        weekdays=EVERY_DAY,
        start=time(start),
        end=time(end),
        zone="Asia/Shanghai",
        first=date(2026, 1, 1),
    )


def test_the_default_ladder_of_a_critical_alert() -> None:
    told = [
        (timer.step.to, timer.due - START, timer.step.everyone, timer.step.repeat)
        for timer in run_of(Priority.HIGH)
        if timer.step
    ]
    assert told == [
        ("patient", 0 * MIN, False, None),
        (Role.NURSE, 0 * MIN, False, None),
        (Role.DOCTOR, 15 * MIN, False, None),
        (Role.DOCTOR, 30 * MIN, True, 30 * MIN),
        (Role.COORDINATOR, 30 * MIN, True, 30 * MIN),
    ]


def test_the_other_default_ladders() -> None:
    medium, low = (
        [(s.to, s.after, s.next_shift) for s in ladder_for((), p, None).steps]
        for p in (Priority.MEDIUM, Priority.LOW)
    )
    assert medium == [
        (Role.NURSE, 0 * MIN, False),
        (Role.DOCTOR, 240 * MIN, False),
        (Role.COORDINATOR, timedelta(days=1), False),
    ]
    assert low == [(Role.NURSE, 0 * MIN, True), (Role.COORDINATOR, timedelta(days=2), False)]


def test_without_a_register_of_staff_only_the_patient_is_told() -> None:
    assert [timer.step.to for timer in run_of(Priority.HIGH, staffed=False) if timer.step] == ["patient"]
    assert run_of(Priority.LOW, staffed=False) == ()


def test_a_programme_has_its_own_ladder_the_others_the_clinics() -> None:
    steps = (Step(to=Role.DOCTOR, after=timedelta()),)
    own = Ladder(priority=Priority.HIGH, steps=steps, programme="pregnancy")
    clinic = Ladder(priority=Priority.HIGH, steps=(*steps, Step(to=Role.NURSE, after=MIN)))
    assert ladder_for((own, clinic), Priority.HIGH, "pregnancy") == own
    assert ladder_for((own, clinic), Priority.HIGH, "grass roots") == clinic
    assert ladder_for((own, clinic), Priority.LOW, "pregnancy") == DEFAULT_LADDERS[2]


def test_a_step_that_told_somebody_is_seen_to_and_repeated_while_the_condition_lasts() -> None:
    run = run_of(Priority.HIGH)
    now = minute(30)
    after = after_telling(run[3], Result.TOLD, run, now, present=True)
    assert [(each.kind, each.due - now, each.count) for each in after.plans] == [
        (TimerKind.CHECK, 4 * MIN, 0),
        (TimerKind.STEP, 30 * MIN, 1),
    ]
    assert after.brings_forward == ()
    gone = after_telling(run[3], Result.TOLD, run, now, present=False)
    assert [each.kind for each in gone.plans] == [TimerKind.CHECK]


def test_what_was_put_off_is_not_looked_for() -> None:
    run = run_of(Priority.MEDIUM)
    assert after_telling(run[0], Result.PUT_OFF, run, START, present=True).plans == ()


def test_nobody_on_duty_passes_on_to_the_next_step_at_once() -> None:
    run = done(run_of(Priority.HIGH), 0, Result.TOLD)
    after = after_telling(run[1], Result.NOBODY, run, START, present=True)
    assert [each.number for each in after.brings_forward] == [2]
    run = done(done(run, 1, Result.NOBODY), 2, Result.NOBODY)
    after = after_telling(run[2], Result.NOBODY, run, START, present=True)
    assert [each.number for each in after.brings_forward] == [3, 4]


def test_a_patient_without_a_contact_does_not_wake_the_doctor() -> None:
    run = run_of(Priority.HIGH)
    after = after_telling(run[0], Result.NOBODY, run, START, present=True)
    assert (after.plans, after.brings_forward) == ((), ())


def test_it_is_not_passed_on_while_one_beside_it_was_told() -> None:
    run = done(run_of(Priority.HIGH), 4, Result.TOLD)
    assert after_telling(run[3], Result.NOBODY, run, START, present=False).brings_forward == ()


def test_the_last_step_that_finds_nobody_is_tried_again() -> None:
    run = run_of(Priority.MEDIUM)
    run = tuple(done(done(run, 0, Result.NOBODY), 1, Result.NOBODY))
    (again,) = after_telling(run[2], Result.NOBODY, run, START, present=True).plans
    assert (again.kind, again.number, again.count, again.due - START) == (TimerKind.STEP, 2, 1, 30 * MIN)
    assert again.id != run[2].id


def test_a_step_that_reached_nobody_is_passed_on() -> None:
    run = done(run_of(Priority.HIGH), 1, Result.TOLD)
    (check,) = after_telling(run[1], Result.TOLD, run, START, present=True).plans
    assert [each.number for each in after_check(check, run, delivered=False).brings_forward] == [2]
    assert after_check(check, run, delivered=True).brings_forward == ()


def test_the_drawing_in_the_docs_is_what_becomes_of_the_timers() -> None:
    assert DRAWING.redrawn == DRAWING.text, "docs/telling.md is out of date: python -m tests.alerts.timer_table"


def test_an_acknowledgement_ends_the_steps_that_wait_for_it() -> None:
    timer = run_of(Priority.HIGH)[2]
    assert timer.step is not None
    stays = replace(timer, step=replace(timer.step, until=Until.CLOSED))
    assert is_over(timer, acknowledged_at=minute(1), closed_at=None) is Result.ACKNOWLEDGED
    assert is_over(timer, acknowledged_at=minute(-1), closed_at=None) is None  # of the run before
    assert is_over(stays, acknowledged_at=minute(1), closed_at=None) is None
    assert is_over(stays, acknowledged_at=minute(1), closed_at=minute(2)) is Result.CLOSED


def test_what_is_over_is_told_to_the_patient_no_more() -> None:
    own, of_staff = run_of(Priority.HIGH)[:2]
    assert is_over(own, acknowledged_at=None, closed_at=None, gone=True) is Result.CONDITION_GONE
    assert is_over(of_staff, acknowledged_at=None, closed_at=None, gone=True) is None


def test_what_is_not_urgent_waits_for_the_next_shift() -> None:
    rota = Rota(staff=[WANG], shifts=[shift("wang", Role.NURSE)])
    timer = run_of(Priority.LOW)[0]
    begins = waits_until(timer, rota, START)  # 02:00 in Shanghai
    assert begins == minute(6 * 60)
    (waiting,) = after_waiting(timer, begins).plans
    assert waiting.due == begins
    assert waits_until(waiting, rota, begins) is None
    assert waits_until(timer, Rota(staff=[WANG]), START) is None
    assert waits_until(run_of(Priority.HIGH)[1], rota, START) is None


def test_who_is_to_be_told() -> None:
    rota = Rota(staff=[LI, WANG], shifts=[shift("wang", Role.NURSE, 0, 8)])
    on_duty, everyone = Step(to=Role.DOCTOR, after=MIN), Step(to=Role.DOCTOR, after=MIN, everyone=True)
    assert people(Step(to="patient", after=MIN), rota, PATIENT, START) == (PATIENT,)
    assert people(Step(to=Role.NURSE, after=MIN), rota, PATIENT, START) == (WANG.recipient(),)
    assert people(on_duty, rota, PATIENT, START) == ()
    assert people(everyone, rota, PATIENT, START) == (LI.recipient(),)
    assert people(Step(to="staff:li", after=MIN), rota, PATIENT, START) == (LI.recipient(),)
    assert people(Step(to="staff:gone", after=MIN), rota, PATIENT, START) == ()


def test_the_ways_to_a_person() -> None:
    sms, mail, fax, phone = (Contact(channel=each, address="x") for each in ("sms", "mail", "fax", "telephone"))
    person = replace(PATIENT, contacts=(fax, sms, mail, phone))
    assert ways(person, PREFERRED, {"sms", "mail"}) == (sms, mail, phone)
    assert ways(person, "mail", {"sms", "mail"}) == (mail,)
    assert ways(person, "wecom", {"sms", "mail", "wecom"}) == (sms, mail, phone)
    assert ways(PATIENT, PREFERRED, {"sms"}) == ()


def test_quiet_hours_never_put_off_what_is_critical() -> None:
    quiet = replace(PATIENT, owner="staff:li", quiet=QuietHours(start=time(22), end=time(7)))
    assert put_off_until(quiet, Priority.MEDIUM, START) == minute(300)
    assert put_off_until(quiet, Priority.LOW, START) == minute(300)
    assert put_off_until(quiet, Priority.HIGH, START) is None
    assert put_off_until(quiet, Priority.LOW, minute(300)) is None
    assert put_off_until(PATIENT, Priority.LOW, START) is None


def test_quiet_hours_do_not_keep_from_a_patient_what_is_to_be_done_at_once() -> None:
    quiet = replace(PATIENT, quiet=QuietHours(start=time(22), end=time(7)))
    assert put_off_until(quiet, Priority.MEDIUM, START) is None
    assert put_off_until(quiet, Priority.LOW, START) == minute(300)


def ladders(text: str) -> tuple[Ladder, ...]:
    return read_ladders(tomllib.loads(text)["ladder"])


def test_a_ladder_is_read_from_toml() -> None:
    found = ladders("""
        [[ladder]]
        priority = "high"
        programme = "pregnancy"
        [[ladder.step]]
        to = "doctor"
        after = "30 min"
        everyone = true
        repeat = "1 h"
        until = "closed"
        [[ladder.step]]
        to = "staff:li"
        after = "0 s"
        channel = "sms"
        [[ladder]]
        priority = "low"
        [[ladder.step]]
        to = "nurse"
        after = "0 min"
        when = "next-shift"
    """)
    assert found == (
        Ladder(
            priority=Priority.HIGH,
            programme="pregnancy",
            steps=(
                Step(to="staff:li", after=0 * MIN, channel="sms"),
                Step(to="doctor", after=30 * MIN, everyone=True, repeat=60 * MIN, until=Until.CLOSED),
            ),
        ),
        Ladder(priority=Priority.LOW, steps=(Step(to="nurse", after=0 * MIN, next_shift=True),)),
    )


ONE = 'to = "nurse"\nafter = "0 min"'


@pytest.mark.parametrize(
    ("priority", "step", "said"),
    [
        ("urgent", ONE, "ladder 1: priority is 'urgent'; write low, medium or high"),
        ("low", 'to = "porter"\nafter = "0 min"', "ladder 1, step 1: to is 'porter'; write patient, doctor, nurse"),
        ("low", 'to = "nurse"\nafter = 15', "step 1: after is 15; write a whole number with its unit, such as"),
        ("low", 'to = "nurse"', "step 1: after is None; write a whole number with its unit"),
        ("low", 'to = "nurse"\nafter = "9 d"', "after is '9 d'; write at most 7 d"),
        ("low", ONE + '\nrepeat = "1 min"', "repeat is less than 5 min; write a longer time"),
        ("low", ONE + '\nuntil = "noon"', "until is 'noon'; write acknowledged or closed"),
        ("low", ONE + '\nwhen = "later"', "when is 'later'; write \"next-shift\", or take the key out"),
        ("low", ONE + "\neveryone = 1", "everyone is 1; write true or false"),
        ("low", ONE + '\nchannel = ""', "channel is ''; write the name of a channel"),
        ("low", ONE + "\nevery = 1", "step 1: unknown key every; known are after, channel"),
        ("low", 'to = "patient"\nafter = "0 s"', "no step is for the staff; add one"),
        ("high", 'to = "nurse"\nafter = "16 min"', "somebody of the staff is told within 15 min; add such a step"),
        ("high", ONE + '\nwhen = "next-shift"', "somebody of the staff is told within 15 min"),
    ],
)
def test_a_ladder_that_cannot_be_used_is_refused_with_its_place(priority: str, step: str, said: str) -> None:
    with pytest.raises(LadderError) as refused:
        ladders(f'[[ladder]]\npriority = "{priority}"\n[[ladder.step]]\n{step}')
    assert said in str(refused.value)


def test_ladders_are_short_and_each_is_there_once() -> None:
    one = f'[[ladder]]\npriority = "low"\n[[ladder.step]]\n{ONE}\n'
    with pytest.raises(LadderError, match="two ladders of priority low for all programmes"):
        ladders(one + one)
    with pytest.raises(LadderError, match="a ladder has 1 to 8 steps"):
        ladders(one + f"[[ladder.step]]\n{ONE}\n" * MOST_STEPS)
    with pytest.raises(LadderError, match="ladder 1: unknown key steps; known are priority, programme, step"):
        ladders('[[ladder]]\npriority = "low"\nsteps = 1')
    with pytest.raises(LadderError, match="a ladder has 1 to 8 steps"):
        ladders('[[ladder]]\npriority = "low"')
    with pytest.raises(LadderError, match="programme is 3"):
        ladders(f'[[ladder]]\npriority = "low"\nprogramme = 3\n[[ladder.step]]\n{ONE}')


def test_the_defaults_keep_their_own_rules() -> None:
    high = DEFAULT_LADDERS[0]
    assert any(not step.is_for_patient and step.after <= CRITICAL_WITHIN for step in high.steps)
    assert all(len(ladder.steps) <= MOST_STEPS for ladder in DEFAULT_LADDERS)
    assert all(list(ladder.steps) == sorted(ladder.steps, key=lambda step: step.after) for ladder in DEFAULT_LADDERS)

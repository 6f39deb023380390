"""Escalation: who is told of an alert, after how long, by which way, and until what. Pure.

A **ladder** is data: at most eight steps for a priority, and for a programme where that has its own. Each time an
alert is told anew (opened, worse, again) a **run** of its ladder begins, and what was left of the run before ends. Of
each step there is a stored **timer**; what is due is done in one transaction with the notices it writes.

| what comes                     | what becomes of the run                                                           |
|--------------------------------|-----------------------------------------------------------------------------------|
| a step is due, somebody there  | told; seen to after `patience`; again after `repeat`, while the condition lasts   |
| ... nobody is there            | passed on at once; the last one is tried again after `RETRY`                      |
|                                | so is what repeats, while nobody was told in this run                             |
| ... not before the next shift  | waits for it; without one within a week it is taken now                           |
| a step has reached nobody      | passed on; its messages are tried on all the same                                 |
| somebody acknowledges          | steps `until` acknowledged end                                                    |
| somebody puts it off           | steps of the staff end; at its end the alert is told anew, if its condition lasts |
| the condition is over          | what is for the patient and what repeats end; the other steps stay, for nobody has|
|                                | seen it; all who were told are told so                                            |
| somebody comes on duty         | told once, where the role was told before and no step of it is still to come;     |
|                                | after the end of the condition only the first, and of high priority               |
| told anew                      | the run ends, the next begins                                                     |
| closed                         | ends                                                                              |

To be **passed on** means that the next steps (those of the next later `after`) are due now. A step of the staff is
passed on unless another one of the same `after` has told somebody or is still to come; what is for the patient is
passed on only where no step of the staff stands beside it. So no step is skipped, and none is taken twice.

**Quiet hours** of a person put what is not of high priority off to their end, where it is joined into one message.
They never put off what is of high priority, nor what is of medium priority to a patient: that is to be acted on at
once (very low glucose: sugar now), and who sleeps through it may not wake.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

from alerts.alert import HOUSE, Priority, Text
from alerts.team import TELEPHONE, Contact, Recipient, Role, Rota

PREFERRED: Final = "preferred"
PATIENT: Final = "patient"
MOST_STEPS: Final = 8
LONGEST: Final = timedelta(days=7)
SHORTEST_REPEAT: Final = timedelta(minutes=5)
# A critical alert is told to somebody of the staff within this, whatever a configuration says.
CRITICAL_WITHIN: Final = timedelta(minutes=15)

# Escalation times are set by each programme: no standard was found. Usual tiers of vendors and programmes: critical
# 15 to 60 min with a second person if nobody answers, high the same day (4 h), medium 24 h, low 48 to 72 h.
SOURCE: Final = Text(
    en="usual tiers of monitoring programmes; no standard exists, each programme sets its own",
    zh="各监测项目的常用分级时限；尚无统一标准，由各项目自行设定",
)

_MIN: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
# What is overdue and of low priority is told once a day, in one message, and surveys go by day. Homeward's own.
MORNING: Final = time(8)
EVENING: Final = time(20)
# After so long without a delivery the next contact of a person is tried.
PATIENCE: Final[Mapping[Priority, timedelta]] = {
    Priority.HIGH: 2 * _MIN,
    Priority.MEDIUM: 15 * _MIN,
    Priority.LOW: 15 * _MIN,
}
# After so long a step that found nobody, with no further step behind it, is tried again.
RETRY: Final[Mapping[Priority, timedelta]] = {
    Priority.HIGH: 5 * _MIN,
    Priority.MEDIUM: 30 * _MIN,
    Priority.LOW: 240 * _MIN,
}
# Who comes on duty is told as the shift begins; who is there otherwise, as a stand-in, after no more than this.
HAND_OVER_WITHIN: Final = 30 * _MIN
# To one person, of what is not of high priority; more is joined into one message.
MOST_MESSAGES: Final = 6
MESSAGES_WITHIN: Final = 10 * _MIN


class LadderError(ValueError):
    """A ladder of the configuration cannot be used. The text says which, why, and what to write."""


class Until(StrEnum):
    """What ends a step."""

    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a ladder.

    to: "patient", a role, or "staff:ID". after: from when the alert was last told anew. channel: a channel's name,
    or PREFERRED for each person's own order. repeat: again after so long, None for once. everyone: all who have the
    role, on duty or not. next_shift: not before the next shift in this role begins.
    """

    to: str
    after: timedelta
    channel: str = PREFERRED
    until: Until = Until.ACKNOWLEDGED
    repeat: timedelta | None = None
    everyone: bool = False
    next_shift: bool = False

    @property
    def is_for_patient(self) -> bool:
        """Whether it is for the patient and not for the staff."""
        return self.to == PATIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The steps for a priority, in the order of their `after`; programme None: of all that have none of their own."""

    priority: Priority
    steps: tuple[Step, ...]
    programme: str | None = None


_HALF_HOUR: Final = 30 * _MIN
DEFAULT_LADDERS: Final = (
    Ladder(
        priority=Priority.HIGH,
        steps=(
            Step(to=PATIENT, after=timedelta()),
            Step(to=Role.NURSE, after=timedelta()),
            Step(to=Role.DOCTOR, after=15 * _MIN),
            Step(to=Role.DOCTOR, after=_HALF_HOUR, repeat=_HALF_HOUR, everyone=True),
            Step(to=Role.COORDINATOR, after=_HALF_HOUR, repeat=_HALF_HOUR, everyone=True),
        ),
    ),
    Ladder(
        priority=Priority.MEDIUM,
        steps=(
            Step(to=Role.NURSE, after=timedelta()),
            Step(to=Role.DOCTOR, after=timedelta(hours=4)),
            Step(to=Role.COORDINATOR, after=timedelta(hours=24), everyone=True),
        ),
    ),
    Ladder(
        priority=Priority.LOW,
        steps=(
            Step(to=Role.NURSE, after=timedelta(), next_shift=True),
            Step(to=Role.COORDINATOR, after=timedelta(hours=48), everyone=True),
        ),
    ),
    # What is wrong with the house itself is for those who see to it.
    Ladder(
        priority=Priority.MEDIUM,
        programme=HOUSE,
        steps=(
            Step(to=Role.NURSE, after=timedelta()),
            Step(to=Role.COORDINATOR, after=timedelta()),
            Step(to=Role.COORDINATOR, after=_HALF_HOUR, everyone=True),
        ),
    ),
)


def overdue_ladder(
    priority: Priority, holders: Sequence[str], role: Role, *, after: timedelta, emergency: bool = False
) -> Ladder:
    """Who is told that a follow-up is overdue: roles or "staff:ID" at once, and after so long the coordinators.

    Of high priority after so long also its role (of the coordinators': the nurses) and the doctor on duty, and all
    again and again. emergency: the doctor on duty at once as well.
    """
    urgent = priority is Priority.HIGH
    at_once = dict.fromkeys([*holders, *([Role.DOCTOR.value] if emergency else [])])
    beside = [Role.NURSE if role is Role.COORDINATOR else role, Role.DOCTOR] if urgent else []
    repeat = _HALF_HOUR if urgent else None
    steps = (
        *(Step(to=to, after=timedelta(), repeat=repeat) for to in at_once),
        *(Step(to=to, after=after, repeat=repeat) for to in dict.fromkeys(beside) if to.value not in at_once),
        Step(to=Role.COORDINATOR, after=after, repeat=repeat, everyone=True),
    )
    return Ladder(priority=priority, steps=steps)


def ladder_for(ladders: Iterable[Ladder], priority: Priority, programme: str | None) -> Ladder:
    """The programme's own ladder, else the clinic's, else the default."""
    own = {(each.priority, each.programme): each for each in ladders_in_force(ladders)}
    return own.get((priority, programme)) or own[priority, None]


def ladders_in_force(ladders: Iterable[Ladder]) -> list[Ladder]:
    """The clinic's own, and the defaults of the priorities for which it has none."""
    return list({(each.priority, each.programme): each for each in (*DEFAULT_LADDERS, *ladders)}.values())


# Timers


class TimerKind(StrEnum):
    """What is done when a timer is due."""

    BEGIN = "begin"  # the ladder of an alert is looked up, and its steps are written
    STEP = "step"
    CHECK = "check"  # whether a step has reached anybody
    HANDOVER = "handover"  # who has come on duty since is told as well
    ALL_CLEAR = "all-clear"
    NOTICE = "notice"  # what a rule says to the patient goes to the patient's own contacts
    GIVEN = "given"  # who was given a follow-up by somebody is told
    JOIN = "join"  # what was put off for somebody is joined into one message
    APPOINTMENT = "appointment"  # the patient is told that one was made, moved or called off
    REMINDER = "reminder"  # the patient is reminded of an appointment
    KEPT = "kept"  # who made an appointment is asked whether it was kept


BESIDE_RUNS: Final = frozenset({TimerKind.ALL_CLEAR, TimerKind.GIVEN})  # these are of no ladder


class Result(StrEnum):
    """What became of a timer."""

    TOLD = "told"
    TOLD_WITH_ALERT = "told-with-alert"  # of a NOTICE: all of it stands in what a ladder told the patient then
    PUT_OFF = "put-off"  # for quiet hours, or because much was told already
    NOBODY = "nobody"  # nobody on duty, or no contact: passed on
    DELIVERED = "delivered"
    NOT_DELIVERED = "not-delivered"  # no contact has been reached in time: passed on
    TO_BE_CALLED = "to-be-called"  # said of what was told, where nothing dials and a person is asked to
    WAITS = "waits"  # for the next shift
    DONE = "done"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    CLOSED = "closed"
    CONDITION_GONE = "condition-gone"
    TOLD_ANEW = "told-anew"


_ROLES: Final = frozenset(Role)
# With these a step was taken; with the others it waits, or has ended untaken.
_TAKEN: Final = frozenset({Result.TOLD, Result.PUT_OFF, Result.NOBODY, Result.NOT_DELIVERED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A step of a run, or something else that is to be done at a moment. Moments are aware UTC.

    subject: the alert, and of NOTICE and JOIN the notice and the recipient. run: when the run began. number: of the
    step in its ladder, and how often an appointment was changed. count: how often the step was taken before. who:
    names of those who were told.
    """

    subject: str
    kind: TimerKind
    run: datetime
    priority: Priority
    due: datetime
    number: int = 0
    count: int = 0
    step: Step | None = None
    done_at: datetime | None = None
    result: Result | None = None
    who: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Derived from what it is for: planned twice, it is the same."""
        return _timer_id(self.subject, self.kind, self.run, self.number, self.count)

    @property
    def is_for_staff(self) -> bool:
        """Whether it is a step of the staff, or sees to one."""
        return self.step is not None and not self.step.is_for_patient

    @property
    def tells_patient_at_once(self) -> bool:
        """Whether it is a step that tells the patient when its run begins."""
        at_once = self.step is not None and self.step.is_for_patient and not self.step.after
        return at_once and self.kind is TimerKind.STEP and self.count == 0

    @property
    def is_pending_step(self) -> bool:
        """Whether it is a step that has not been taken a first time."""
        return self.kind is TimerKind.STEP and self.done_at is None and self.count == 0


@lru_cache(maxsize=8192)  # of the timers of one transaction it is asked for again and again
def _timer_id(subject: str, kind: TimerKind, run: datetime, number: int, count: int) -> str:
    parts = (subject, kind, run.isoformat(), str(number), str(count))
    return "t-" + sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def begin(alert: str, ladder: Ladder, run: datetime, *, staffed: bool = True) -> tuple[Timer, ...]:
    """The timers of a new run. staffed: False where no staff are registered; then only the patient is told."""
    return tuple(
        Timer(
            subject=alert,
            kind=TimerKind.STEP,
            run=run,
            priority=ladder.priority,
            due=run + step.after,
            number=number,
            step=step,
        )
        for number, step in enumerate(ladder.steps)
        if staffed or step.is_for_patient
    )


def is_handed_over(ladder: Ladder) -> bool:
    """Whether in a run of it who comes on duty is to be looked for."""
    return ladder.priority is Priority.HIGH or (
        ladder.priority is Priority.MEDIUM and any(step.repeat for step in ladder.steps)
    )


def lacks_handover(timers: Iterable[Timer]) -> Timer | None:
    """One timer of the newest run, where an older Homeward began it without looking who comes on duty; else None."""
    of_runs = [timer for timer in timers if timer.kind not in BESIDE_RUNS]
    newest = max((timer.run for timer in of_runs), default=None)
    run = [timer for timer in of_runs if timer.run == newest]
    steps = tuple(timer.step for timer in run if timer.step and timer.is_for_staff)
    if not steps or any(timer.kind is TimerKind.HANDOVER for timer in run):
        return None
    return run[0] if is_handed_over(Ladder(priority=run[0].priority, steps=steps)) else None


def roles_to_hand_over(run: Iterable[Timer]) -> set[Role]:
    """Roles told in a run of which no step is still to come: who comes on duty in them hears of it by no other way.

    Of less than high priority only while a step is repeated.
    """
    steps = [
        (each, each.step) for each in run if each.kind is TimerKind.STEP and each.step and each.step.to in _ROLES
    ]
    left = [(each, step) for each, step in steps if each.done_at is None]
    urgent = any(each.priority is Priority.HIGH for each, _ in steps)
    if not urgent and not any(each.count and step.repeat for each, step in left):
        return set()
    taken = {step.to for each, step in steps if each.result in _TAKEN}
    return {Role(to) for to in taken - {step.to for _, step in left}}


def next_look(rota: Rota, now: datetime) -> datetime:
    """When it is looked again who has come on duty (aware UTC)."""
    starts = [start for role in Role if (start := rota.next_shift(role, now))]
    return min([now + HAND_OVER_WITHIN, *starts])


def is_over(
    timer: Timer,
    *,
    acknowledged_at: datetime | None,
    closed_at: datetime | None,
    snoozed: bool = False,
    gone: bool = False,
) -> Result | None:
    """Why a step need not be taken any more, by what is known of its alert; None: it is to be taken."""
    if closed_at is not None:
        return Result.CLOSED
    if gone and timer.step and timer.step.is_for_patient:
        return Result.CONDITION_GONE
    if snoozed and timer.is_for_staff:
        return Result.SNOOZED
    seen = acknowledged_at is not None and acknowledged_at >= timer.run
    until = timer.step.until if timer.step else Until.ACKNOWLEDGED
    return Result.ACKNOWLEDGED if seen and until is Until.ACKNOWLEDGED else None


def ends(timer: Timer, result: Result) -> bool:
    """Whether a timer that is still to come ends with what has come to its alert."""
    if timer.kind is TimerKind.ALL_CLEAR:
        return False
    if result is Result.SNOOZED:
        return timer.is_for_staff
    if result is Result.ACKNOWLEDGED:
        return timer.step is None or timer.step.until is Until.ACKNOWLEDGED
    if result is Result.CONDITION_GONE:
        is_repeated = timer.kind is TimerKind.STEP and timer.step is not None and timer.step.repeat is not None
        return (timer.step is not None and timer.step.is_for_patient) or (is_repeated and timer.count > 0)
    return True


def people(step: Step, rota: Rota, patient: Recipient, now: datetime) -> tuple[Recipient, ...]:
    """Who is to be told in a step, as far as somebody is there."""
    if step.is_for_patient:
        return (patient,)
    if step.to.startswith("staff:"):
        there = rota.there(step.to.removeprefix("staff:"), now)
        return (there.recipient(),) if there else ()
    role = Role(step.to)
    found = rota.all_of(role, now) if step.everyone else rota.on_duty(role, now)
    return tuple(one.recipient() for one in found)


def ways(recipient: Recipient, channel: str, configured: Collection[str]) -> tuple[Contact, ...]:
    """The contacts to be tried one after the other: of this channel, where the person has one, else all in order.

    A telephone that nothing dials is one too: a person is asked to dial it.
    """
    usable = [each for each in recipient.contacts if each.channel in configured or each.channel == TELEPHONE]
    wanted = [each for each in usable if each.channel == channel]
    return tuple(wanted or usable)


def waits_until(timer: Timer, rota: Rota, now: datetime) -> datetime | None:
    """For which shift a step waits that is not to be taken before the next one; None: for none."""
    step = timer.step
    if step is None or not step.next_shift or timer.count or step.is_for_patient or step.to.startswith("staff:"):
        return None
    return rota.next_shift(Role(step.to), now)


def is_day(recipient: Recipient, now: datetime) -> bool:
    """Whether what can wait may be told: by day on the recipient's own clock, and not in quiet hours."""
    local = now.astimezone(ZoneInfo(recipient.zone)).time()
    return MORNING <= local < EVENING and put_off_until(recipient, Priority.LOW, now) is None


def morning(recipient: Recipient, now: datetime) -> datetime:
    """The next begin of work on the recipient's own clock, and not in quiet hours (aware UTC)."""
    zone = ZoneInfo(recipient.zone)
    today = datetime.combine(now.astimezone(zone).date(), MORNING, zone)
    begins = (today if today > now else datetime.combine(today.date() + _DAY, MORNING, zone)).astimezone(UTC)
    return put_off_until(recipient, Priority.LOW, begins) or begins


def put_off_until(recipient: Recipient, priority: Priority, now: datetime) -> datetime | None:
    """The end of the recipient's quiet hours, where what is told falls into them and can wait for their end."""
    urgent = Priority.MEDIUM if recipient.is_patient else Priority.HIGH
    if priority >= urgent or recipient.quiet is None:
        return None
    return recipient.quiet.until(now, ZoneInfo(recipient.zone))


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What follows a step: new timers, and steps that are due now."""

    plans: tuple[Timer, ...] = ()
    brings_forward: tuple[Timer, ...] = ()


def after_waiting(timer: Timer, until: datetime) -> Next:
    """A step waits for a shift; then it is taken."""
    return Next(plans=(replace(timer, due=until, count=timer.count + 1, done_at=None, result=None),))


def after_telling(timer: Timer, result: Result, run: Sequence[Timer], now: datetime, *, present: bool) -> Next:
    """What follows a step that has told somebody, put all of it off, or found nobody.

    run: the timers of its run, itself included. present: whether it is to be repeated, for the condition lasts.
    """
    assert timer.step is not None  # noqa: S101  every step has one
    again = timer.step.repeat if present else None
    if result is not Result.NOBODY:
        check = replace(timer, kind=TimerKind.CHECK, due=now + 2 * PATIENCE[timer.priority])
        checks = (check,) if result is Result.TOLD and timer.kind is TimerKind.STEP else ()
        return Next(plans=(*checks, _again(timer, now + again)) if again else checks)
    forward = _passed_on(timer, run)
    if again:
        is_known = any(each.is_for_staff and each.result in {Result.TOLD, Result.PUT_OFF} for each in run)
        wait = again if is_known else min(again, RETRY[timer.priority])
        return Next(plans=(_again(timer, now + wait),), brings_forward=forward)
    behind = any(each.is_pending_step for each in run if each.number != timer.number)
    if behind or timer.step.is_for_patient:
        return Next(brings_forward=forward)
    return Next(plans=(_again(timer, now + RETRY[timer.priority]),))


def after_check(timer: Timer, run: Sequence[Timer], *, delivered: bool) -> Next:
    """What follows when it was seen whether a step has reached anybody."""
    return Next() if delivered else Next(brings_forward=_passed_on(timer, run))


def _again(timer: Timer, due: datetime) -> Timer:
    return replace(timer, due=due, count=timer.count + 1, done_at=None, result=None, who=())


def _passed_on(timer: Timer, run: Sequence[Timer]) -> tuple[Timer, ...]:
    """The steps that are due now because this one has reached nobody."""
    mine = timer.step
    assert mine is not None  # noqa: S101  every step has one
    steps = [(each, each.step) for each in run if each.kind is TimerKind.STEP and each.step]
    beside = [
        each
        for each, step in steps
        if step.after == mine.after and each.number != timer.number and not step.is_for_patient
    ]
    if mine.is_for_patient and beside:
        return ()
    if any(each.is_pending_step or each.result in {Result.TOLD, Result.PUT_OFF} for each in beside):
        return ()
    later = [(each, step.after) for each, step in steps if each.is_pending_step and step.after > mine.after]
    soonest = min((after for _, after in later), default=None)
    return tuple(each for each, after in later if after == soonest)


# Ladders of the configuration

_DURATION: Final = re.compile(r"(\d{1,6}) ?(s|min|h|d)")
_UNITS: Final = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
_LADDER_KEYS: Final = frozenset({"priority", "programme", "step"})
_STEP_KEYS: Final = frozenset({"to", "after", "channel", "until", "repeat", "everyone", "when"})


def read_ladders(tables: Sequence[Mapping[str, Any]]) -> tuple[Ladder, ...]:
    """The `[[ladder]]` tables of a configuration. Raises LadderError."""
    ladders = tuple(_ladder(table, f"ladder {number}") for number, table in enumerate(tables, 1))
    known: set[tuple[Priority, str | None]] = set()
    for ladder in ladders:
        if (ladder.priority, ladder.programme) in known:
            whose = f"programme {ladder.programme}" if ladder.programme else "all programmes"
            raise LadderError(
                f"there are two ladders of priority {ladder.priority.name.lower()} for {whose}; write their steps "
                "under one"
            )
        known.add((ladder.priority, ladder.programme))
    return ladders


def _ladder(table: Mapping[str, Any], place: str) -> Ladder:
    _refuse_unknown(table, _LADDER_KEYS, place)
    names = {priority.name.lower(): priority for priority in Priority}
    given = table.get("priority")
    if given not in names:
        raise LadderError(f"{place}: priority is {given!r}; write {_either(names)}")
    priority = names[given]
    programme = table.get("programme")
    if programme is not None and not (isinstance(programme, str) and programme.strip()):
        raise LadderError(f"{place}: programme is {programme!r}; write a programme's name, or take the key out")
    found = table.get("step")
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_STEPS:
        raise LadderError(f"{place}: a ladder has 1 to {MOST_STEPS} steps; write each as [[ladder.step]]")
    steps = sorted(
        (_step(each, f"{place}, step {number}") for number, each in enumerate(found, 1)), key=lambda one: one.after
    )
    if priority is Priority.HIGH:
        _refuse_late(steps, place)
    if all(step.is_for_patient for step in steps):
        raise LadderError(f"{place}: no step is for the staff; add one, for an alert ends with a person")
    return Ladder(priority=priority, programme=programme, steps=tuple(steps))


def _refuse_late(steps: Iterable[Step], place: str) -> None:
    within = f"{CRITICAL_WITHIN // _MIN} min"
    if not any(not step.is_for_patient and step.after <= CRITICAL_WITHIN and not step.next_shift for step in steps):
        raise LadderError(f"{place}: of high priority somebody of the staff is told within {within}; add such a step")


def _step(table: object, place: str) -> Step:
    if not isinstance(table, Mapping):
        raise LadderError(f"{place}: it is no table; write it as [[ladder.step]]")
    _refuse_unknown(table, _STEP_KEYS, place)
    to = table.get("to")
    roles = [PATIENT, *Role, "staff:ID"]
    if not isinstance(to, str) or not (to in roles[:-1] or re.fullmatch(r"staff:[A-Za-z0-9_.:-]{1,64}", to)):
        raise LadderError(f"{place}: to is {to!r}; write {_either(roles)}")
    until = table.get("until", Until.ACKNOWLEDGED)
    if until not in list(Until):
        raise LadderError(f"{place}: until is {until!r}; write {_either(Until)}")
    when = table.get("when")
    if when not in (None, "next-shift"):
        raise LadderError(f'{place}: when is {when!r}; write "next-shift", or take the key out')
    channel, everyone = table.get("channel", PREFERRED), table.get("everyone", False)
    if not isinstance(channel, str) or not channel:
        raise LadderError(f'{place}: channel is {channel!r}; write the name of a channel, or "{PREFERRED}"')
    if not isinstance(everyone, bool):
        raise LadderError(f"{place}: everyone is {everyone!r}; write true or false")
    repeat = _duration(table["repeat"], f"{place}: repeat") if "repeat" in table else None
    if repeat is not None and repeat < SHORTEST_REPEAT:
        raise LadderError(f"{place}: repeat is less than {SHORTEST_REPEAT // _MIN} min; write a longer time")
    return Step(
        to=to,
        after=_duration(table.get("after"), f"{place}: after"),
        channel=channel,
        until=Until(until),
        repeat=repeat,
        everyone=everyone,
        next_shift=when is not None,
    )


def _duration(given: object, place: str) -> timedelta:
    match = _DURATION.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise LadderError(
            f'{place} is {given!r}; write a whole number with its unit, such as "15 min", "4 h" or "0 s"'
        )
    span = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if span > LONGEST:
        raise LadderError(f"{place} is {given!r}; write at most {LONGEST.days} d")
    return span


def _refuse_unknown(table: Mapping[str, Any], known: Collection[str], place: str) -> None:
    if unknown := sorted(table.keys() - known):
        raise LadderError(f"{place}: unknown key {unknown[0]}; known are {', '.join(sorted(known))}")


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"

"""What comes to the timers of a run, and what follows a step; docs/telling.md draws what the code makes of each.

`python -m tests.alerts.timer_table` renews the drawing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from alerts.escalation import (
    DEFAULT_LADDERS,
    Next,
    Result,
    Timer,
    TimerKind,
    Until,
    after_check,
    after_telling,
    begin,
    ends,
)
from tests.alerts.drawing import Drawing, diagram, table
from tests.alerts.ward import START

HIGH, MEDIUM = (begin("a-1", ladder, START) for ladder in DEFAULT_LADDERS[:2])
OWN, NURSE, DOCTOR, ALL = HIGH[:4]
MIN: Final = timedelta(minutes=1)


def timer(kind: TimerKind, step: Timer | None = None) -> Timer:
    return replace(step or NURSE, kind=kind, step=step.step if step else None)


# What is still to come in a run, and what may come to its alert by then.
TIMERS: Final = {
    "the ladder begins": timer(TimerKind.BEGIN),
    "step of the patient": OWN,
    "step of the staff": NURSE,
    "... until closed": replace(NURSE, step=replace(DEFAULT_LADDERS[0].steps[1], until=Until.CLOSED)),
    "... again": replace(ALL, count=1),
    "was it delivered": timer(TimerKind.CHECK, NURSE),
    "who comes on duty": timer(TimerKind.HANDOVER),
    "the all-clear": timer(TimerKind.ALL_CLEAR),
}
EVENTS: Final = {
    "told anew: the next run begins": Result.TOLD_ANEW,
    "acknowledged": Result.ACKNOWLEDGED,
    "put off": Result.SNOOZED,
    "the condition is over": Result.CONDITION_GONE,
    "closed": Result.CLOSED,
}


def settled(run: Sequence[Timer], **by_number: Result) -> tuple[Timer, ...]:
    """A run of which some steps were taken; "n3" is the step of number 3."""
    return tuple(
        replace(each, done_at=START, result=by_number[f"n{each.number}"]) if f"n{each.number}" in by_number else each
        for each in run
    )


# Which step it is, its run, and whether the condition lasts.
STEPS: Final[dict[str, tuple[Timer, Sequence[Timer], bool]]] = {
    "others to come": (DOCTOR, settled(HIGH, n0=Result.TOLD, n1=Result.NOBODY), True),
    "one beside it has told": (ALL, settled(HIGH, n4=Result.TOLD), False),
    "the last": (MEDIUM[2], settled(MEDIUM, n0=Result.NOBODY, n1=Result.NOBODY), True),
    "the last, repeated": (ALL, settled(HIGH, n1=Result.TOLD, n2=Result.TOLD, n4=Result.NOBODY), True),
    "... nobody was told yet": (ALL, settled(HIGH, n1=Result.NOBODY, n2=Result.NOBODY, n4=Result.NOBODY), True),
    "of the patient": (OWN, HIGH, True),
    "of the patient alone": (OWN, [each for each in HIGH if each is not NURSE], True),
}
FOUND: Final = {
    "somebody is told": Result.TOLD,
    "it is put off for quiet hours": Result.PUT_OFF,
    "nobody is there": Result.NOBODY,
    "delivered": Result.DELIVERED,
    "not delivered in time": Result.NOT_DELIVERED,
}


def follows(which: str, found: str) -> Next:
    """What follows a step of which this was found."""
    step, run, present = STEPS[which]
    result = FOUND[found]
    if result in {Result.DELIVERED, Result.NOT_DELIVERED}:
        told = settled(run, **{f"n{step.number}": Result.TOLD})
        return after_check(replace(step, kind=TimerKind.CHECK), told, delivered=result is Result.DELIVERED)
    return after_telling(step, result, run, START, present=present)


def _cell(which: str, found: str) -> str:
    comes = follows(which, found)
    said = []
    for each in comes.plans:
        wait = f"{(each.due - START) // MIN} min"
        said.append(f"looked at in {wait}" if each.kind is TimerKind.CHECK else f"again in {wait}")
    if comes.brings_forward:
        said.append("**passed on**")
    return ", ".join(said) or "–"


def _ways() -> dict[tuple[str, str], list[str]]:
    """How a step of the staff goes from one state to another."""
    states = {Result.TOLD: "told", Result.PUT_OFF: "put off", Result.NOBODY: "passed on"}
    ways: dict[tuple[str, str], list[str]] = {("none", "to come"): ["the ladder begins"]}
    for found, result in FOUND.items():
        comes = follows("others to come", found)
        there = "passed on" if comes.brings_forward else states.get(result, "reached")
        ways.setdefault(("told" if result not in states else "to come", there), []).append(found)
    if any(each.kind is TimerKind.STEP for each in follows("the last, repeated", "somebody is told").plans):
        ways["told", "to come"] = ["it is repeated"]
    if any(each.kind is TimerKind.STEP for each in follows("the last", "nobody is there").plans):
        ways["passed on", "to come"] = ["it is the last"]
    ways["to come", "ended"] = [event for event, result in EVENTS.items() if ends(NURSE, result)]
    return ways


def draw() -> str:
    """Two tables and a diagram: what ends what is to come, what follows a step, and the life of a step."""
    ended = [
        [event, *("ends" if ends(each, result) else "stays" for each in TIMERS.values())]
        for event, result in EVENTS.items()
    ]
    followed = [[found, *(_cell(which, found) for which in STEPS)] for found in FOUND]
    ways = _ways()
    states = dict.fromkeys(state for way in ways for state in way)
    return "\n".join([table(list(TIMERS), ended), table(list(STEPS), followed), diagram(states, ways)])


DRAWING: Final = Drawing("telling.md", "timer_table", draw)

if __name__ == "__main__":
    DRAWING.renew()

"""Every state of a follow-up, and everything that can come; docs/follow_up.md draws what becomes of each.

`python -m tests.alerts.care_table` renews the drawing there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from alerts.alert import IllegalAct, Outcome, Priority, Text
from alerts.follow_up import (
    MOST_TRIES,
    Attempt,
    Claim,
    Close,
    Deed,
    FollowUp,
    HandOver,
    Open,
    Postpone,
    Result,
    State,
    Step,
    What,
    Why,
    decide,
    has_written,
    joined,
    opened,
    overdue,
    unreached,
    worsened,
)
from alerts.machine import hear
from alerts.team import Role
from tests.alerts.drawing import Drawing, diagram, table
from tests.alerts.ward import START, finding, minute

NOW: Final = minute(5)
BECAUSE: Final = Text(en="Asked to be called", zh="请求致电")
OPENS: Final = Open(
    patient="p-1",
    why=Why.STAFF,
    key="k",
    because=BECAUSE,
    at=START,
    role=Role.NURSE,
    priority=Priority.MEDIUM,
    by="Dr Li",
)
NAME: Final = OPENS.follow_up
ALERT: Final = hear(None, finding(priority=Priority.HIGH), START).changes[0].alert


def attempt(result: Result, by: str = "Dr Wu") -> Attempt:
    return Attempt(follow_up=NAME, by=by, at=NOW, channel="telephone", result=result, note="n")


def after(follow_up: FollowUp, *deeds: Deed) -> FollowUp:
    for deed in deeds:
        follow_up = decide(follow_up, deed)[0].follow_up
    return follow_up


CLOSE: Final = Close(follow_up=NAME, by="Dr Li", at=NOW, outcome=Outcome.ADVICE, note="n")
OPEN: Final = opened(OPENS).follow_up
STANDING: Final[dict[str, FollowUp | None]] = {
    "none": None,
    "open": OPEN,
    "in progress": after(OPEN, Claim(follow_up=NAME, by="Nurse Chen", at=START)),
    "closed": after(OPEN, CLOSE),
}
Event = Deed | Callable[[FollowUp | None], tuple[Step, ...]]


def _of_open(steps: Callable[[FollowUp], tuple[Step, ...]]) -> Event:
    """What the house does to a follow-up that is not closed, and to no other: so the book asks for them."""
    return lambda follow_up: steps(follow_up) if follow_up and not follow_up.closed_at else ()


def _third(follow_up: FollowUp | None) -> tuple[Step, ...]:
    tried = replace(follow_up, unanswered=MOST_TRIES - 1) if follow_up else None
    return decide(tried, attempt(Result.NO_ANSWER))


def _is_late(follow_up: FollowUp) -> tuple[Step, ...]:
    return (overdue(follow_up, follow_up.due_at + timedelta(minutes=1)),)


EVENTS: Final[dict[str, Event]] = {
    "opened": lambda follow_up: () if follow_up else (opened(OPENS),),
    "taken": Claim(follow_up=NAME, by="Dr Wu", at=NOW),
    "handed over to a role": HandOver(follow_up=NAME, by="Dr Li", at=NOW, note="n", role=Role.DIETITIAN),
    "handed over to a person": HandOver(follow_up=NAME, by="Dr Li", at=NOW, note="n", to="Dr Wu"),
    "a try: reached, or declined": attempt(Result.REACHED),
    "a try: not reached": attempt(Result.NO_ANSWER),
    "a third one in a row: not reached": _third,
    "a try: wrong number": attempt(Result.WRONG_NUMBER),
    "put off": Postpone(follow_up=NAME, by="Dr Li", at=NOW, until=minute(60), note="asleep"),
    "its alert is told again": _of_open(lambda each: worsened(ALERT, each, NOW)),
    "the patient writes": _of_open(
        lambda each: (joined(each, has_written("p-1", "dizzy", NOW, Priority.MEDIUM), "dizzy"),)
    ),
    "no message reaches the patient": _of_open(lambda each: (unreached(each, OPENS),)),
    "its time passes": _of_open(_is_late),
    "closed": CLOSE,
}


def meet(state: str, event: str) -> tuple[Step, ...]:
    """What comes of an event. Raises IllegalAct."""
    standing, what = STANDING[state], EVENTS[event]
    return what(standing) if callable(what) else decide(standing, what)


def place(follow_up: FollowUp) -> str:
    return {State.IN_PROGRESS: "in progress"}.get(follow_up.state, follow_up.state.value)


def _cell(state: str, event: str) -> str:
    try:
        steps = meet(state, event)
    except IllegalAct:
        return "refused"
    if not steps:
        return "–"
    first, *others = steps
    there = place(first.follow_up)
    who = f" ({first.follow_up.role})" if first.fact.what is What.ATTEMPTED and there == "open" else ""
    also = "".join(f"; another one: {each.follow_up.role}" for each in others)
    return f"{first.fact.what}{'' if there == state else f' → {there}{who}'}{also}"


def draw() -> str:
    """The table and the diagram of all that can come to all that can be."""
    ways: dict[tuple[str, str], list[str]] = {}
    for state in STANDING:
        for event in EVENTS:
            try:
                steps = meet(state, event)
            except IllegalAct:
                continue
            if steps and (there := place(steps[0].follow_up)) != state:
                ways.setdefault((state, there), []).append(event)
    rows = [[event, *(_cell(state, event) for state in STANDING)] for event in EVENTS]
    return table(list(STANDING), rows) + "\n" + diagram(STANDING, ways)


DRAWING: Final = Drawing("follow_up.md", "care_table", draw)

if __name__ == "__main__":
    DRAWING.renew()

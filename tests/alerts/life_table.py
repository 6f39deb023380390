"""Every state of an alert, and everything that can come; docs/alerts.md draws what `hear` and `wake` make of each.

`python -m tests.alerts.life_table` renews the drawing there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from alerts.alert import Act, ActKind, Alert, Audience, Finding, IllegalAct, Outcome, Priority, Verdict
from alerts.machine import Heard, hear, wake
from tests.alerts.drawing import Drawing, diagram, table
from tests.alerts.ward import START, finding, minute

LATER = minute(60)
RAISED = finding()
PATIENT = finding("low-event-1", audience=Audience.PATIENT, priority=Priority.LOW)
LOW_STAFF = finding("low-event-1", priority=Priority.LOW)
WORSE = finding(priority=Priority.HIGH)
AS_URGENT = finding("low-extended", priority=Priority.MEDIUM)
ANEW = finding(since=minute(80))
ANEW_LOW = finding("low-event-1", priority=Priority.LOW, since=minute(80))
EMERGENCY = replace(RAISED, known_at=minute(80), emergency_at=minute(80))
HELD = finding(verdict=Verdict.HOLD)
OVER = finding(verdict=Verdict.CLEAR)
OTHER_OVER = finding("low-event-1", verdict=Verdict.CLEAR)


def after(heard: Heard) -> Alert:
    return heard.changes[-1].alert


def acknowledge(alert: Alert, by: str = "Dr Li", note: str = "", outcome: Outcome | None = None) -> Act:
    return Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by=by, at=LATER, note=note, outcome=outcome)


def close(
    alert: Alert, by: str = "Dr Li", note: str = "called, ate sugar", outcome: Outcome | None = Outcome.ADVICE
) -> Act:
    return Act(kind=ActKind.CLOSE, alert=alert.id, by=by, at=LATER, note=note, outcome=outcome)


def put_off(alert: Alert) -> Act:
    return Act(kind=ActKind.SNOOZE, alert=alert.id, by="Dr Li", at=LATER, note="eats now", until=minute(75))


OPEN = after(hear(None, RAISED, START))
TWO_RULES = after(hear(OPEN, LOW_STAFF, START))
SEEN = after(hear(OPEN, acknowledge(OPEN), LATER))
GONE = after(hear(OPEN, OVER, LATER))
SEEN_GONE = after(hear(SEEN, OVER, LATER))
BACK = after(hear(GONE, replace(RAISED, audience=Audience.PATIENT), LATER))
SEEN_BACK = after(hear(SEEN_GONE, replace(RAISED, audience=Audience.PATIENT), LATER))
PUT_OFF = after(hear(OPEN, put_off(OPEN), LATER))
PUT_OFF_GONE = after(hear(PUT_OFF, OVER, LATER))
CLOSED_EARLY = after(hear(OPEN, close(OPEN), LATER))
CLOSED = after(hear(GONE, close(GONE), LATER))

STATES: dict[str, Alert | None] = {
    "none": None,
    "open": OPEN,
    "two rules": TWO_RULES,
    "seen": SEEN,
    "gone": GONE,
    "seen and gone": SEEN_GONE,
    "back": BACK,
    "seen and back": SEEN_BACK,
    "put off": PUT_OFF,
    "put off and gone": PUT_OFF_GONE,
    "closed early": CLOSED_EARLY,
    "closed": CLOSED,
}
EVENTS: dict[str, Finding | Callable[[Alert], Act] | None] = {  # None: the time until which it was put off
    "raise": RAISED,
    "raise worse": WORSE,
    "raise other rule": LOW_STAFF,
    "raise anew": ANEW,
    "raise other rule anew": ANEW_LOW,
    "raise emergency": EMERGENCY,
    "raise for patient": PATIENT,
    "hold": HELD,
    "clear": OVER,
    "clear other rule": OTHER_OVER,
    "acknowledge": acknowledge,
    "close": close,
    "close without outcome": lambda alert: close(alert, outcome=None),
    "raise as urgent": AS_URGENT,
    "put off": put_off,
    "time": None,
}
NOW = minute(90)


def meet(state: str, event: str) -> Heard:
    """What comes of an event. Raises IllegalAct."""
    alert, what = STATES[state], EVENTS[event]
    if what is None:
        return wake(alert, NOW) if alert else Heard()
    return hear(alert, what(alert or OPEN) if callable(what) else what, NOW)


# The drawing

# What each event is for who reads the table; of the others, this is said of their kind.
SAID: Final = {
    "raise": "raised, nothing new",
    "raise other rule": "raised by a milder rule",
    "raise as urgent": "raised by another rule as urgent",
    "raise worse": "raised, worse",
    "raise emergency": "an emergency",
    "raise anew": "a new episode",
    "raise for patient": "raised for the patient",
    "hold": "neither raised nor over",
    "clear": "over",
    "put off": "put off",
    "time": "its time comes",
    "acknowledge": "acknowledged",
    "close": "closed",
}
# What no alert is drawn as, for it is as another one: of two rules one may clear.
PLACES: Final = {name: name for name in STATES if name != "two rules"} | {
    "open": "open",
    "gone": "open, over",
    "seen and gone": "seen, over",
    "back": "open, untold",
    "seen and back": "seen, untold",
    "put off and gone": "put off, over",
    "closed early": "closed, present",
    "closed": "closed, over",
}


def place(alert: Alert | None) -> str:
    """Where an alert stands, by its facts alone."""
    if alert is None:
        return PLACES["none"]
    kind = (
        "closed"
        if alert.closed_at
        else "seen"
        if alert.acknowledged_at
        else "put off"
        if alert.snoozed_until
        else "open"
    )
    if alert.raising:
        if alert.closed_at:
            return "closed, present"
        return f"{kind}, untold" if alert.untold_since else kind
    return f"{kind}, over"


def draw() -> str:
    """The table and the diagram of all that can come to all that can be, as `hear` and `wake` have it."""
    rows = [[SAID[event], *(_cell(state, event) for state in PLACES)] for event in SAID]
    return table(list(PLACES.values()), rows) + "\n" + diagram(PLACES.values(), _ways())


def _cell(state: str, event: str) -> str:
    try:
        heard = meet(state, event)
    except IllegalAct:
        return "refused"
    if not heard.changes:
        return "–"
    what = ", ".join(change.fact.what for change in heard.changes)
    told = any(notice.audience is Audience.STAFF for notice in heard.notices)
    there = place(heard.changes[-1].alert)
    where = "" if there == PLACES[state] else f" → {there}"
    return (f"**{what}**" if told else what) + where


def _ways() -> dict[tuple[str, str], list[str]]:
    ways: dict[tuple[str, str], list[str]] = {}
    for state in PLACES:
        for event in SAID:
            try:
                heard = meet(state, event)
            except IllegalAct:
                continue
            there = place(heard.changes[-1].alert) if heard.changes else PLACES[state]
            if there != PLACES[state]:
                ways.setdefault((PLACES[state], there), []).append(SAID[event])
    return ways


DRAWING: Final = Drawing("alerts.md", "life_table", draw)

if __name__ == "__main__":
    DRAWING.renew()

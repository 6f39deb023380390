"""What an alert's card shows beside its sentence: newest and worst value, episodes, and for how long it has waited.

The sentence is of the moment at which staff were told. The values are read from the journal when the card is looked
at, so that it does not grow stale while nobody has anything to tell.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import Final, NamedTuple, TypeVar

from alerts.alert import Alert, Outcome, Text, together
from alerts.devices import UNRELIABLE
from alerts.follow_up import FollowUp, possible_for
from alerts.machine import Fact, FactKind
from alerts.scene import SPOT_GAP
from gateway.view import HouseView
from ingest.journal import Span
from ingest.reading import Flag, Reading
from ingest.vital import Vital

_GLUCOSE: Final = (Vital.CGM, Vital.GLUCOSE)
# By problem: the vitals it is about, and whether their lowest value is the worst.
_ABOUT: Final[Mapping[str, tuple[tuple[Vital, ...], bool]]] = {
    "glucose-low": (_GLUCOSE, True),
    "glucose-high": (_GLUCOSE, False),
    "ketone": ((Vital.KETONE,), False),
    "blood-pressure-high": ((Vital.BLOOD_PRESSURE,), False),
    "blood-pressure-low": ((Vital.BLOOD_PRESSURE,), True),
}
# Before what may tell the reader what to eat, or to sit down.
_TO_PATIENT: Final = Text(en="The patient alone was told:", zh="仅通知了患者：")
_AHEAD: Final = timedelta(hours=1)  # a device's clock may be so far ahead
_OFF_SCALE: Final = {Flag.BELOW_RANGE: -math.inf, Flag.ABOVE_RANGE: math.inf}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """newest, worst: readings since the alert's episode began; None where it is about none, or none is stored.

    doubted: one that is worse than the worst, but that the device itself doubts; None where there is none.
    glucose: of a ketone, the newest glucose measured with it or since; the sentence knows only what came before it.
    low: whether the worst is the lowest. because: the newest episode's sentence, also where only the patient was told
    of it. episodes: their first facts, oldest first. waiting_since: since when nobody has acknowledged it; None where
    somebody has, or it is closed. follow_up: what is done about it; None where there is none. overdue_since: since
    when somebody should have acted on that; None where it is in time, or closed. possible: with which outcomes it can
    be closed now.
    """

    newest: Reading | None
    worst: Reading | None
    doubted: Reading | None
    glucose: Reading | None
    low: bool
    because: Text
    episodes: tuple[Fact, ...]
    waiting_since: datetime | None
    follow_up: FollowUp | None
    overdue_since: datetime | None
    possible: Sequence[Outcome]


async def cards(house: HouseView, alerts: Sequence[Alert]) -> dict[str, Card]:
    """By alert."""
    return await asyncio.to_thread(_cards, house, alerts)


def headlines(house: HouseView, alerts: Iterable[str]) -> dict[str, Text]:
    """The sentences of these alerts' cards, by alert. Blocks."""
    known = house.book.some(alerts)
    facts = house.book.histories(list(known))
    return {name: _headline(alert, facts.get(name, ())) for name, alert in known.items()}


def _cards(house: HouseView, alerts: Sequence[Alert]) -> dict[str, Card]:
    facts = house.book.histories([alert.id for alert in alerts])
    followed = house.follow_ups.of_alerts(alert.id for alert in alerts)
    appointed = house.follow_ups.with_appointment(each.id for each in followed.values())
    now = house.now()
    latest = now + _AHEAD
    asked = {alert.id: _Asked.of(alert, alert.closed_at or latest) for alert in alerts}
    newest = _found(asked, lambda each: each.spans, house.journal.newest)
    beside = _found(asked, lambda each: each.beside, house.journal.newest)
    extremes: dict[str, list[list[Reading]]] = {}
    for low in (True, False):
        of_these = {name: each for name, each in asked.items() if each.low is low}
        extremes |= _found(
            of_these, lambda each: each.spans, partial(house.journal.extremes, doubts=UNRELIABLE, low=low)
        )
    return {
        alert.id: _card(
            alert,
            facts.get(alert.id, ()),
            newest=_latest(newest[alert.id]),
            beside=_latest(beside[alert.id]),
            extremes=list(chain.from_iterable(extremes[alert.id])),
            low=asked[alert.id].low,
            follow_up=(care := followed.get(alert.id)),
            possible=possible_for(alert, care, has_appointment=care is not None and care.id in appointed),
            now=now,
        )
        for alert in alerts
    }


class _Asked(NamedTuple):
    """What the journal is asked for a card: of which spans, of which glucose beside them, whether low is worst."""

    spans: tuple[Span, ...]
    beside: tuple[Span, ...]
    low: bool

    @classmethod
    def of(cls, alert: Alert, end: datetime) -> _Asked:
        vitals, low = _ABOUT.get(alert.problem, ((), False))
        around = _GLUCOSE if Vital.KETONE in vitals else ()
        return cls(
            tuple(Span(alert.patient, vital, alert.since, end) for vital in vitals),
            tuple(Span(alert.patient, vital, alert.since - SPOT_GAP, end) for vital in around),
            low,
        )


def _found(
    asked: Mapping[str, _Asked], of: Callable[[_Asked], Sequence[Span]], ask: Callable[[Sequence[Span]], list[_T]]
) -> dict[str, list[_T]]:
    """By alert what the journal has of its spans; one question for all, for a page has many cards."""
    spans = {name: of(each) for name, each in asked.items()}
    answers = iter(ask([span for each in spans.values() for span in each]))
    return {name: list(islice(answers, len(each))) for name, each in spans.items()}


def _card(
    alert: Alert,
    facts: Sequence[Fact],
    *,
    newest: Reading | None,
    beside: Reading | None,
    extremes: Sequence[Reading],
    low: bool,
    follow_up: FollowUp | None,
    possible: Sequence[Outcome],
    now: datetime,
) -> Card:
    worst = _extreme((each for each in extremes if UNRELIABLE.isdisjoint(each.flags)), low=low)
    of_all = _extreme(extremes, low=low)
    episodes = [fact for fact in facts if fact.what in (FactKind.OPENED, FactKind.RELAPSED)]
    return Card(
        newest=newest,
        glucose=beside,
        worst=worst,
        doubted=of_all if of_all and not (worst and _value(of_all) == _value(worst)) else None,
        low=low,
        because=_headline(alert, facts),
        episodes=tuple(episodes),
        waiting_since=_waiting_since(alert, facts),
        follow_up=follow_up,
        overdue_since=follow_up.due_at if follow_up and follow_up.is_overdue(now) else None,
        possible=possible,
    )


def _latest(readings: Iterable[Reading | None]) -> Reading | None:
    return max((each for each in readings if each), key=lambda each: each.taken_at, default=None)


def _extreme(readings: Iterable[Reading], *, low: bool) -> Reading | None:
    """The lowest or highest, and of equal ones the newest; HI and LO are beyond all numbers."""
    return max(readings, key=lambda each: (-_value(each) if low else _value(each), each.taken_at), default=None)


def _value(reading: Reading) -> float:
    number = reading.values[0]
    if number is None:
        return next((beyond for flag, beyond in _OFF_SCALE.items() if flag in reading.flags), math.nan)
    return number


def _headline(alert: Alert, facts: Sequence[Fact]) -> Text:
    """What was said last of staff, or of an episode after it."""
    said = max((place for place, fact in enumerate(facts) if fact.because == alert.because), default=-1)
    later = [fact.because for fact in facts[said + 1 :] if fact.what is FactKind.RELAPSED and fact.because]
    return together((_TO_PATIENT, later[-1])) if later else alert.because


def _waiting_since(alert: Alert, facts: Sequence[Fact]) -> datetime | None:
    """What came again or became worse after somebody had acknowledged the alert waits anew."""
    if alert.acknowledged_at or alert.closed_at:
        return None
    seen = max((place for place, fact in enumerate(facts) if fact.what is FactKind.ACKNOWLEDGED), default=None)
    if seen is None:
        return alert.opened_at
    anew = (FactKind.RELAPSED, FactKind.WORSENED)
    return next((fact.at for fact in facts[seen:] if fact.what in anew), alert.opened_at)

"""What the limits of a patient come to for a glucose sensor: levels with their ladders. Pure, made once for many."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, NamedTuple

from alerts.alert import Audience, Priority
from alerts.cuff import Unremarkable
from alerts.rule import COUNT, MG_DL, RATE, SWITCH, Comparison, Limits, Rule
from alerts.sensor_rules import (
    FALLING_FAST,
    GLUCOSE_REFERRAL,
    HIGH_EVENT_1,
    HIGH_EVENT_2,
    HIGH_EXTENDED,
    HIGH_PROLONGED,
    LOW_CRITICAL,
    LOW_EVENT_1,
    LOW_EVENT_2,
    LOW_EXTENDED,
    LOW_PROLONGED,
    PREDICTED_LOW,
    PREDICTED_URGENT_LOW,
    RISING_FAST,
    SENSOR_COMPRESSION,
    SENSOR_JUMP,
    SENSOR_STUCK,
    SENSOR_WARM_UP,
)
from ingest.vital import Unit

EVENT: Final = timedelta(minutes=15)
# An extended high is 90 of 120 minutes, counted in cells of 5 minutes.
CELL: Final = timedelta(minutes=5)
SPACED_S: Final = 240.0  # points are kept so far apart
# Rates are taken between readings at least so far apart (s), and at most.
RATE_SPAN_S: Final = (480.0, 1000.0)


# A glucose that stays far too high is told when it has lasted so many times the hours after which it is urgent.
_TOLD_AGAIN: Final = (1, 2, 3, 4)


class Bound(NamedTuple):
    """A level's limit and clear limit in one unit; place, includes and share as of `Level`."""

    place: int  # of the level in `Plan.levels`
    limit: float
    clear: float
    low: bool
    includes: bool
    share: int


class Rung(NamedTuple):
    """A step of a ladder: after so long an event is told like this.

    after: a "staff-after" counts from the onset, to a reading so long after it; at the earliest it is known.
    covers: the readings have to stand for the time, their own intervals included, as the consensus counts; else a
    reading so long after the onset still shows it. unbroken: the time counts from the last reading that was not
    beyond the limit. until_over: so long after the onset readings between the limit and the clear limit bring it
    about as well, for the event is not over; None: they never do.
    """

    rule: Rule
    after: timedelta
    audience: Audience
    priority: Priority
    covers: bool = False
    unbroken: bool = False
    until_over: timedelta | None = None


class Level(NamedTuple):
    """One limit with its ladder, as it holds for a patient.

    share: so many of the last 24 cells of 5 minutes, instead of readings in a row. held: the ladders for a reason to
    wait, by the name of its rule.
    """

    rule: Rule
    low: bool
    includes: bool  # the limit itself is beyond it
    bounds: dict[Unit, tuple[float, float]]
    hold: timedelta
    rungs: tuple[Rung, ...]
    held: dict[str, tuple[Rung, ...]]
    share: int = 0

    def ladder(self, held: Rule | None) -> tuple[Rung, ...]:
        """The rungs, for an event that is held for this reason."""
        return self.held[held.name] if held else self.rungs


class Ahead(NamedTuple):
    """A level (mg/dL) that is looked ahead for, the limit of the level of the same number in `Plan.levels`.

    warm_up: of a sensor, in which nothing is foretold.
    """

    rule: Rule
    level: float
    on: bool
    warm_up: timedelta


class Plan:
    """What the limits of a patient come to as readings come; shared by all who have the same."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.levels = _levels(limits)
        self.level_of = {rung.rule.name: place for place, level in enumerate(self.levels) for rung in level.rungs}
        self.bounds = {
            unit: tuple(
                Bound(place, *level.bounds[unit], level.low, level.includes, level.share)
                for place, level in enumerate(self.levels)
            )
            for unit in (Unit.MG_DL, Unit.MMOL_L)
        }
        self.very_low = {unit: limits.value(LOW_EVENT_2.name, "limit", unit) for unit in (Unit.MG_DL, Unit.MMOL_L)}
        self.calm = {unit: _calm(self.levels, unit) for unit in (Unit.MG_DL, Unit.MMOL_L)}
        self.fresh = {key.rule: limits.minutes(*key[:2]) for key in limits.values if key.parameter == "fresh-sensor"}
        self.falling = -limits.value(FALLING_FAST.name, "limit", RATE)
        self.rising = limits.value(RISING_FAST.name, "limit", RATE)
        self.jump = limits.value(SENSOR_JUMP.name, "limit", RATE)
        self.first_day = limits.minutes(SENSOR_WARM_UP.name, "first-day")
        self.fall = -limits.value(SENSOR_COMPRESSION.name, "fall", RATE)
        self.stuck = int(limits.value(SENSOR_STUCK.name, "count", COUNT))
        self.stuck_hold = limits.minutes(SENSOR_STUCK.name, "hold")
        # Changes (mg/dL) since the last point, and since one of those before it, that are no rate any rule minds.
        self.drop, self.leap = self.fall * SPACED_S / 60, self.jump * SPACED_S / 60
        self.down, self.up = self.falling * RATE_SPAN_S[0] / 60, self.rising * RATE_SPAN_S[0] / 60
        self.ahead = tuple(
            Ahead(
                rule=rule,
                level=limits.value(low.name, "limit", MG_DL),
                on=limits.value(rule.name, "on", SWITCH) == 1,
                warm_up=limits.minutes(rule.name, "warm-up"),
            )
            for rule, low in ((PREDICTED_LOW, LOW_EVENT_1), (PREDICTED_URGENT_LOW, LOW_EVENT_2))
        )
        self.unremarkable = Unremarkable.within(limits)
        low, very_low = self.ahead
        self.ahead_levels = low.level, very_low.level


def _levels(limits: Limits) -> tuple[Level, ...]:
    patient, staff, weekly = Audience.PATIENT, Audience.STAFF, Audience.WEEKLY
    low, medium = Priority.LOW, Priority.MEDIUM

    def after(rule: Rule, name: str) -> timedelta:
        return limits.minutes(rule.name, name)

    def extended(rule: Rule, first: timedelta) -> tuple[Rung, Rung]:
        return (
            Rung(rule, first, patient, low, covers=True),
            Rung(rule, after(rule, "staff-after"), staff, low),
        )

    return (
        _level(
            limits,
            LOW_EVENT_1,
            after(LOW_EVENT_1, "hold"),
            Rung(LOW_EVENT_1, timedelta(), patient, low, covers=True),
            *extended(LOW_EXTENDED, after(LOW_EXTENDED, "hold")),
        ),
        _level(
            limits,
            LOW_EVENT_2,
            after(LOW_EVENT_2, "hold"),
            *_very_low(limits, timedelta()),
            held={
                rule.name: _very_low(limits, after(rule, "staff-after"))
                for rule in (SENSOR_WARM_UP, SENSOR_COMPRESSION)
            },
        ),
        _level(
            limits,
            LOW_CRITICAL,
            after(LOW_CRITICAL, "hold"),
            *_critical(timedelta()),
            held={
                rule.name: _critical(after(LOW_CRITICAL, "staff-after-doubt"))
                for rule in (SENSOR_WARM_UP, SENSOR_COMPRESSION)
            },
        ),
        _level(
            limits,
            HIGH_EVENT_1,
            after(HIGH_EVENT_1, "hold"),
            Rung(HIGH_EVENT_1, timedelta(), weekly, low, covers=True),
            *extended(HIGH_EVENT_1, after(HIGH_EVENT_1, "patient-after")),
        ),
        _level(
            limits,
            HIGH_EVENT_2,
            after(HIGH_EVENT_2, "hold"),
            Rung(HIGH_EVENT_2, timedelta(), weekly, low, covers=True),
        ),
        _level(
            limits,
            HIGH_EVENT_2,
            EVENT,
            *extended(HIGH_EXTENDED, timedelta()),
            share=after(HIGH_EXTENDED, "hold") // CELL,
        ),
        _level(
            limits,
            GLUCOSE_REFERRAL,
            EVENT,
            Rung(GLUCOSE_REFERRAL, after(GLUCOSE_REFERRAL, "hold"), staff, medium, covers=True, unbroken=True),
            Rung(HIGH_PROLONGED, after(HIGH_PROLONGED, "hold"), patient, medium),
            *(Rung(HIGH_PROLONGED, n * after(HIGH_PROLONGED, "hold"), staff, Priority.HIGH) for n in _TOLD_AGAIN),
        ),
    )


def _level(
    limits: Limits,
    rule: Rule,
    hold: timedelta,
    *rungs: Rung,
    share: int = 0,
    held: dict[str, tuple[Rung, ...]] | None = None,
) -> Level:
    return Level(
        rule=rule,
        low=rule.comparison is Comparison.BELOW,
        includes=rule.comparison is Comparison.AT_LEAST,
        bounds={
            unit: (limits.value(rule.name, "limit", unit), limits.value(rule.name, "clear", unit))
            for unit in (Unit.MG_DL, Unit.MMOL_L)
        },
        hold=hold,
        rungs=_in_order(rungs),
        held=held or {},
        share=share,
    )


def _very_low(limits: Limits, wait: timedelta) -> tuple[Rung, ...]:
    """The ladder of a level-2 low, of which staff hear only after `wait`."""
    handed = max(wait, limits.minutes(LOW_EVENT_2.name, "staff-after"))
    urgent = max(handed, limits.minutes(LOW_EVENT_2.name, "unrecovered"))
    prolonged = limits.minutes(LOW_PROLONGED.name, "hold")
    extended = limits.minutes(LOW_EXTENDED.name, "hold")
    rungs = [
        Rung(LOW_EVENT_2, timedelta(), Audience.PATIENT, Priority.MEDIUM, covers=True),
        Rung(LOW_EVENT_2, urgent, Audience.STAFF, Priority.HIGH, until_over=extended),
        Rung(LOW_PROLONGED, prolonged, Audience.STAFF, Priority.HIGH, covers=True, unbroken=True),
    ]
    if handed < urgent:
        known = limits.minutes(LOW_EVENT_2.name, "hold")
        at_once = timedelta() if handed <= known else handed
        rungs.append(Rung(LOW_EVENT_2, at_once, Audience.STAFF, Priority.MEDIUM))
    return _in_order(rungs)


def _critical(wait: timedelta) -> tuple[Rung, ...]:
    """The ladder of a low of which staff hear as soon as it is known, or after `wait` unless it is over by then."""
    return (
        Rung(LOW_CRITICAL, timedelta(), Audience.PATIENT, Priority.HIGH, covers=True),
        Rung(LOW_CRITICAL, wait, Audience.STAFF, Priority.HIGH, covers=True, until_over=3 * wait),
    )


def _in_order(rungs: Iterable[Rung]) -> tuple[Rung, ...]:
    return tuple(sorted(rungs, key=lambda rung: rung.after))


def _calm(levels: Iterable[Level], unit: Unit) -> tuple[float, float, float]:
    """Values that no limit minds: the first and the second are the lowest and highest, all below the third."""
    lows, highs, top = [-math.inf], [math.inf], math.inf
    for level in levels:
        (lows if level.low else highs).extend(level.bounds[unit])
        if level.includes:
            top = min(top, level.bounds[unit][0])
    return max(lows), min(highs), top

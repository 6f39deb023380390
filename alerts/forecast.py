"""Predicted low and predicted urgent low: a warning 10 to 60 minutes before glucose falls below 70 or 54 mg/dL.

A `Forecast` looks at each reading of a sensor once, keeps 27 numbers and nothing else, and knows nothing later than
the reading. Its terms are computed by +, -, x, / and |x|, for numbers here and for arrays where they are fitted.

What is seen: how far glucose is above the level, how far it is from its own averages over 5 to 80 minutes (which are
slopes on five scales, right for readings at any distance), the last valley and the last peak, the time since the last
low, and the patient: pace, noise, mean, spread, share of readings low and near it. What is judged: a weighted sum of
`terms`, compared with a threshold. The weights (`alerts/forecast_weights.py`) are those of a least-squares fit of
what a warning now is worth against waiting for the next reading; docs/forecast.md tells how, with the figures of
subjects that were not fitted, and benchmarks/fit_forecast.py does it again.

Values are mg/dL; a reading in mmol/L is converted by 18.01559. Times are minutes on any clock that only goes forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Final

from alerts.forecast_weights import FAST, SLOW, Weights

LEVELS: Final = (70.0, 54.0)
HORIZON: Final = 20.0  # minutes ahead of `Forewarning.expected`
REST: Final = 45.0  # minutes between two warnings of one level: 30 and 60 gave more false ones at equal sensitivity
RECOVERY: Final = 10.0  # minutes at or above the level after a low without a warning: it is not over
CEILING: Final = 60.0  # mg/dL above the level from which nothing is looked at
CLOSEST: Final = 4.0  # minutes: a reading nearer to the last one says little but noise, and is passed over
YOUNGEST: Final = 10.0  # minutes after a gap without a warning: there is no slope yet
GAP: Final = 20.0  # minutes without a reading after which, or 2.5 cadences, everything short is forgotten
SLOW_CADENCE: Final = 8.5  # minutes between readings from which the weights of 15-minute sensors hold
MEMORY: Final = 4320.0  # minutes (three days) over which a patient is known
RECENT: Final = 180.0  # minutes after which a low says nothing about the next
STEADY: Final = 12.0  # readings over which the cadence is known
MARGIN: Final = 15.0  # mg/dL above the level that are near it
BELOW_RANGE: Final = 39.0  # mg/dL for the word "Low" of a sensor, as in the scoring of the consensus events
ABOVE_RANGE: Final = 401.0

_LAGS: Final = (5.0, 10.0, 20.0, 40.0, 80.0)
_TICKS: Final = 4  # steps of the table per minute
_LONGEST_CADENCE: Final = 15.0
_LONG_AGO: Final = -1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Forewarning:
    """A level will probably be crossed within the hour: what a sentence about it needs.

    level, glucose (now) and expected (after `HORIZON` minutes, if things go on as they do) in mg/dL, rate in
    mg/dL/min smoothed over 10 minutes. `expected` alone does not decide and can be above the level: after a low, a
    next one can be told while glucose still rises from the last. since_low: minutes since a reading below the level,
    None when that is three hours ago or more.
    """

    level: float
    glucose: float
    rate: float
    expected: float
    since_low: float | None


def _steps() -> tuple[tuple[float, ...], ...]:
    """For each distance in ticks: how much of each lag stays, and how much of the change of glucose enters it.

    An average with time constant T moves on a straight line between two readings dt apart: its lag behind the reading
    becomes lag * exp(-dt/T) + change * T/dt * (1 - exp(-dt/T)).
    """
    longest = round(max(GAP, 2.5 * _LONGEST_CADENCE) * _TICKS) + 1
    rows = []
    for tick in range(1, longest + 1):
        stay = [math.exp(-tick / _TICKS / lag) for lag in _LAGS]
        enter = [lag * _TICKS / tick * (1 - each) for lag, each in zip(_LAGS, stay, strict=True)]
        rows.append(tuple(number for pair in zip(stay, enter, strict=True) for number in pair))
    return (rows[0], *rows)


_STEPS: Final = _steps()


def _above(value: Any, knee: float) -> Any:
    """max(value - knee, 0) for a number or an array, by the same operations."""
    over = value - knee
    return 0.5 * (over + abs(over))


def _within(value: Any, bound: float) -> Any:
    """The value clipped to -bound .. bound."""
    return 0.5 * (abs(value + bound) - abs(value - bound))


def expected_change(weights: Weights, lag5: Any, lag10: Any, lag20: Any, lag40: Any, lag80: Any) -> Any:
    """How much glucose is expected to change within `HORIZON` minutes (mg/dL): linear in the five lags."""
    a, b, c, d, e = weights.drift
    return a * lag5 + b * lag10 + c * lag20 + d * lag40 + e * lag80


def terms(
    over: Any,
    ahead: Any,
    lags: tuple[Any, Any, Any, Any, Any],
    shape: tuple[Any, Any, Any],
    since_low: Any,
    person: tuple[Any, Any, Any, Any, Any, Any],
) -> list[Any]:
    """The terms of the weighted sum, for numbers or for arrays of one shape.

    over: glucose less the level; ahead: expected glucose less the level; lags: glucose less its averages;
    shape: above the last valley, below the last peak (mg/dL), minutes since that peak; since_low: minutes since the
    last reading below the level; person: pace (mg/dL/min), noise, spread, mean less the level (mg/dL), share of
    readings within 15 mg/dL of the level or below, share below it.
    """
    lag5, lag10, lag20, lag40, lag80 = lags
    y, p = _within(over * 0.1, 6.0), _within(ahead * 0.1, 6.0)
    a, b, d = _within(lag5 * 0.2, 4.0), _within(lag10 * 0.1, 4.0), _within(lag40 * 0.05, 4.0)
    half = ahead * 0.2
    near = 0.5 - 0.5 * half / (1.0 + abs(half))  # 1 far below the level, 0 far above
    pace, noise, spread, mean, share_near, share_low = person
    who = (
        _within(pace, 2.0),
        _within(noise * 0.2, 3.0),
        _within(spread * 0.02, 2.0),
        _within(mean * 0.02, 4.0),
        _within(share_near * 10.0, 3.0),
        _within(share_low * 10.0, 2.0),
        _above(-since_low, -RECENT) * (1 / 180),
        _above(-since_low, -60.0) * (1 / 60),
        _within(shape[0] * 0.1, 4.0),
        _within(shape[1] * 0.025, 4.0),
        _within(shape[2] * (1 / 60), 3.0),
    )
    # max(value - knee, 0), written out: calls would cost as much as all the rest.
    row = [y, p, a, b, _within(lag20 * 0.08, 4.0), d, _within(lag80 * 0.03, 4.0)]
    row += [0.5 * (over - knee + abs(over - knee)) for knee in (4.0, 9.0, 15.0, 25.0)]
    row += [0.5 * (ahead - knee + abs(ahead - knee)) for knee in (-30.0, -20.0, -12.0, -6.0, -1.0, 4.0, 8.0)]
    row += [0.5 * (lag5 - knee + abs(lag5 - knee)) for knee in (-8.0, -4.0, 0.0)]
    row += [0.5 * (lag10 - knee + abs(lag10 - knee)) for knee in (-8.0, -3.0, 0.0)]
    row += [0.5 * (lag40 - knee + abs(lag40 - knee)) for knee in (-25.0, -12.0, -4.0)]
    row += [y * y, y * p, y * b, y * d, y * a, p * p, p * b, p * d, p * a, b * b, b * d, b * a, d * d, d * a, a * a]
    row += [near, near * y, near * a, near * d]
    row += who
    row += [near * each for each in who]
    return row


class _Near:
    """What is kept for one level: shares of readings, the last low, the last warning."""

    __slots__ = ("below", "last_low", "level", "near", "warned")

    def __init__(self, level: float) -> None:
        self.level = level
        self.near = 0.03
        self.below = 0.02
        self.last_low = _LONG_AGO
        self.warned = _LONG_AGO


class Forecast:
    """The warnings of one patient, reading by reading."""

    __slots__ = (
        "cadence", "crest", "crest_at", "floor", "glucose", "lag5", "lag10", "lag20", "lag40", "lag80", "mean",
        "minute", "near", "noise", "pace", "rate", "since", "spread", "steps", "weight",
    )  # fmt: skip

    def __init__(self, levels: Sequence[float] = LEVELS) -> None:
        """levels: mg/dL, those that count as low and as very low; the weights are those of `LEVELS`."""
        self.near = tuple(_Near(level) for level in levels)
        self.minute = self.since = self.crest_at = _LONG_AGO
        self.glucose = self.floor = self.crest = self.mean = 140.0
        self.lag5 = self.lag10 = self.lag20 = self.lag40 = self.lag80 = self.rate = 0.0
        self.cadence, self.steps = 5.0, 1.0
        self.spread, self.pace, self.noise = 35.0, 1.0, 2.0
        self.weight = MEMORY / 3

    def take(self, minute: float, glucose: float) -> bool:
        """Take a reading in; False when it was passed over.

        minute: when it was taken; glucose: mg/dL, `BELOW_RANGE` or `ABOVE_RANGE` for a word. A reading that is not
        at least `CLOSEST` minutes later than the last one (repeated, out of order) changes nothing.
        """
        apart = minute - self.minute
        if apart < CLOSEST:
            return False
        if apart > GAP and apart > 2.5 * self.cadence:
            share = self._pause(minute, glucose)
        else:
            share = self._move(minute, glucose, apart)
        self.mean = mean = self.mean + share * (glucose - self.mean)
        self.spread += share * (abs(glucose - mean) - self.spread)
        keep = 1.0 - share
        for near in self.near:
            over = glucose - near.level
            if over >= MARGIN:
                near.near *= keep
                near.below *= keep
            else:
                near.near = near.near * keep + share
                if over < 0.0:
                    near.below = near.below * keep + share
                    near.last_low = minute
                else:
                    near.below *= keep
        self.minute, self.glucose = minute, glucose
        return True

    def _pause(self, minute: float, glucose: float) -> float:
        """The share of a reading after a gap: everything short is forgotten."""
        self.lag5 = self.lag10 = self.lag20 = self.lag40 = self.lag80 = self.rate = 0.0
        self.floor = self.crest = glucose
        self.since = self.crest_at = minute
        return CLOSEST / self.weight

    def _move(self, minute: float, glucose: float, apart: float) -> float:
        change = glucose - self.glucose
        rate = change / apart
        s5, e5, s10, e10, s20, e20, s40, e40, s80, e80 = _STEPS[int(apart * _TICKS + 0.5)]
        self.lag5 = s5 * self.lag5 + e5 * change
        self.lag10 = s10 * self.lag10 + e10 * change
        self.lag20 = s20 * self.lag20 + e20 * change
        self.lag40 = s40 * self.lag40 + e40 * change
        self.lag80 = s80 * self.lag80 + e80 * change
        floor = self.floor + 0.25 * apart
        if glucose < floor:
            floor = glucose
        self.floor = floor
        crest = self.crest - 0.3 * apart
        if glucose >= crest:
            self.crest, self.crest_at = glucose, minute
        else:
            self.crest = crest
        steps = self.steps
        cadence = apart
        if cadence > _LONGEST_CADENCE:
            cadence = _LONGEST_CADENCE
        self.cadence += (cadence - self.cadence) / steps
        if steps < STEADY:
            self.steps = steps + 1.0
        weight = self.weight + apart
        if weight > MEMORY:
            weight = MEMORY
        self.weight = weight
        share = apart / weight
        pace, turn = abs(rate), 5.0 * abs(rate - self.rate)
        if pace > 5.0:
            pace = 5.0
        if turn > 20.0:
            turn = 20.0
        self.pace += share * (pace - self.pace)
        self.noise += share * (turn - self.noise)
        self.rate = rate
        return share

    def seen(self, near: _Near, weights: Weights) -> tuple[float, list[float]]:
        """Expected glucose after `HORIZON` minutes (mg/dL), and the terms, for one level."""
        lags = (self.lag5, self.lag10, self.lag20, self.lag40, self.lag80)
        glucose, level, minute = self.glucose, near.level, self.minute
        expected = glucose + expected_change(weights, *lags)
        person = (self.pace, self.noise, self.spread, self.mean - level, near.near, near.below)
        shape = (glucose - self.floor, self.crest - glucose, minute - self.crest_at)
        return expected, terms(glucose - level, expected - level, lags, shape, minute - near.last_low, person)

    @property
    def near_levels(self) -> Sequence[int]:
        """The numbers of the levels that the glucose expected comes so near to that a `warning` is thought of."""
        glucose, numbers = self.glucose, []
        weights = SLOW if self.cadence >= SLOW_CADENCE else FAST
        a, b, c, d, e = weights[0].drift
        change = a * self.lag5 + b * self.lag10 + c * self.lag20 + d * self.lag40 + e * self.lag80
        for number, near in enumerate(self.near):
            over = glucose - near.level
            if over + change < weights[number].reach and 0.0 <= over < CEILING:
                numbers.append(number)
        return numbers

    def warning(self, number: int) -> Forewarning | None:
        """The warning of one of the levels that are near, after the reading taken last."""
        near, minute = self.near[number], self.minute
        if minute - near.warned < REST or minute - near.last_low < RECOVERY or minute - self.since < YOUNGEST:
            return None
        weights = (SLOW if self.cadence >= SLOW_CADENCE else FAST)[number]
        expected, row = self.seen(near, weights)
        if not sum(map(mul, weights.terms, row), weights.constant) > weights.threshold:
            return None
        near.warned = minute
        since_low = minute - near.last_low
        return Forewarning(
            level=near.level,
            glucose=self.glucose,
            rate=self.lag10 / 10.0,
            expected=expected,
            since_low=since_low if since_low < RECENT else None,
        )

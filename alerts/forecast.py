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
from typing import Any, Final, NamedTuple

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
_AHEAD: Final = 60.0  # minutes over which a warning holds
NONE: Final[Sequence[int]] = ()


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
    half = ahead * 0.2
    near = 0.5 - 0.5 * half / (1.0 + abs(half))  # 1 far below the level, 0 far above
    pace, noise, spread, mean, share_near, share_low = person
    # Written out, for calls and small lists would cost as much as the sums. First what is clipped to -bound .. bound.
    y, p = over * 0.1, ahead * 0.1
    y, p = 0.5 * (abs(y + 6.0) - abs(y - 6.0)), 0.5 * (abs(p + 6.0) - abs(p - 6.0))
    a, b, c, d, e = lag5 * 0.2, lag10 * 0.1, lag20 * 0.08, lag40 * 0.05, lag80 * 0.03
    a, b = 0.5 * (abs(a + 4.0) - abs(a - 4.0)), 0.5 * (abs(b + 4.0) - abs(b - 4.0))
    c, d = 0.5 * (abs(c + 4.0) - abs(c - 4.0)), 0.5 * (abs(d + 4.0) - abs(d - 4.0))
    e = 0.5 * (abs(e + 4.0) - abs(e - 4.0))
    noise, spread, mean, share_near, share_low = (
        noise * 0.2, spread * 0.02, mean * 0.02, share_near * 10.0, share_low * 10.0,
    )  # fmt: skip
    floor, crest, crest_at = shape[0] * 0.1, shape[1] * 0.025, shape[2] * (1 / 60)
    recent, just = RECENT - since_low, 60.0 - since_low
    who = [
        0.5 * (abs(pace + 2.0) - abs(pace - 2.0)),
        0.5 * (abs(noise + 3.0) - abs(noise - 3.0)),
        0.5 * (abs(spread + 2.0) - abs(spread - 2.0)),
        0.5 * (abs(mean + 4.0) - abs(mean - 4.0)),
        0.5 * (abs(share_near + 3.0) - abs(share_near - 3.0)),
        0.5 * (abs(share_low + 2.0) - abs(share_low - 2.0)),
        0.5 * (recent + abs(recent)) * (1 / 180),
        0.5 * (just + abs(just)) * (1 / 60),
        0.5 * (abs(floor + 4.0) - abs(floor - 4.0)),
        0.5 * (abs(crest + 4.0) - abs(crest - 4.0)),
        0.5 * (abs(crest_at + 3.0) - abs(crest_at - 3.0)),
    ]
    # Each hinge is what is above its knee, and else 0.
    return [
        y, p, a, b, c, d, e,
        0.5 * (over - 4.0 + abs(over - 4.0)),
        0.5 * (over - 9.0 + abs(over - 9.0)),
        0.5 * (over - 15.0 + abs(over - 15.0)),
        0.5 * (over - 25.0 + abs(over - 25.0)),
        0.5 * (ahead + 30.0 + abs(ahead + 30.0)),
        0.5 * (ahead + 20.0 + abs(ahead + 20.0)),
        0.5 * (ahead + 12.0 + abs(ahead + 12.0)),
        0.5 * (ahead + 6.0 + abs(ahead + 6.0)),
        0.5 * (ahead + 1.0 + abs(ahead + 1.0)),
        0.5 * (ahead - 4.0 + abs(ahead - 4.0)),
        0.5 * (ahead - 8.0 + abs(ahead - 8.0)),
        0.5 * (lag5 + 8.0 + abs(lag5 + 8.0)),
        0.5 * (lag5 + 4.0 + abs(lag5 + 4.0)),
        0.5 * (lag5 + abs(lag5)),
        0.5 * (lag10 + 8.0 + abs(lag10 + 8.0)),
        0.5 * (lag10 + 3.0 + abs(lag10 + 3.0)),
        0.5 * (lag10 + abs(lag10)),
        0.5 * (lag40 + 25.0 + abs(lag40 + 25.0)),
        0.5 * (lag40 + 12.0 + abs(lag40 + 12.0)),
        0.5 * (lag40 + 4.0 + abs(lag40 + 4.0)),
        y * y, y * p, y * b, y * d, y * a, p * p, p * b, p * d, p * a, b * b, b * d, b * a, d * d, d * a, a * a,
        near, near * y, near * a, near * d,
        *who,
        *[near * each for each in who],
    ]  # fmt: skip


class Near(NamedTuple):
    """What is kept for one level: shares of readings near it and below, minutes of the last low and warning."""

    near: float
    below: float
    last_low: float
    warned: float


class State(NamedTuple):
    """All that is kept of a patient. The last eight are a `Near` for each level."""

    minute: float = _LONG_AGO
    since: float = _LONG_AGO
    glucose: float = 140.0
    lag5: float = 0.0
    lag10: float = 0.0
    lag20: float = 0.0
    lag40: float = 0.0
    lag80: float = 0.0
    rate: float = 0.0
    floor: float = 140.0
    crest: float = 140.0
    crest_at: float = _LONG_AGO
    cadence: float = 5.0
    steps: float = 1.0
    weight: float = MEMORY / 3
    pace: float = 1.0
    noise: float = 2.0
    mean: float = 140.0
    spread: float = 35.0
    near_low: float = 0.03
    below_low: float = 0.02
    last_low: float = _LONG_AGO
    warned_low: float = _LONG_AGO
    near_very_low: float = 0.03
    below_very_low: float = 0.02
    last_very_low: float = _LONG_AGO
    warned_very_low: float = _LONG_AGO

    @property
    def near(self) -> tuple[Near, Near]:
        """Of each level."""
        return Near(*self[-8:-4]), Near(*self[-4:])


_WARNED: Final = ("warned_low", "warned_very_low")


def _may_warn(over: float, since_low: float, since_warned: float) -> bool:
    """Of a level that glucose is so far above (mg/dL), these minutes after a low and a warning."""
    return 0.0 <= over < CEILING and since_low >= RECOVERY and since_warned >= REST


class Forecast:
    """The warnings of one patient, reading by reading.

    Its numbers, those of `State`, are a plain tuple: packed into octets they took 500 bytes less, but 6 % of the
    instructions of watching more.
    """

    __slots__ = ("_numbers", "levels")

    def __init__(self, levels: tuple[float, float] = LEVELS) -> None:
        """levels: mg/dL, those that count as low and as very low; the weights are those of `LEVELS`."""
        self.levels = levels
        self._numbers: tuple[float, ...] = State()

    @property
    def state(self) -> State:
        """What is known of the patient."""
        return State._make(self._numbers)

    @property
    def unwell(self) -> bool:
        """Whether the last reading was low, a low was foretold in the hour before, or it was very low within 3 h."""
        state = self.state
        low, very_low = state.near
        return (
            state.glucose < self.levels[0]
            or state.minute - max(low.warned, very_low.warned) <= _AHEAD
            or state.minute - very_low.last_low <= RECENT
        )

    def take(self, minute: float, glucose: float) -> Sequence[int] | None:
        """Take a reading in; the numbers of the levels that a `warning` is thought of. None: it was passed over.

        minute: when it was taken; glucose: mg/dL, `BELOW_RANGE` or `ABOVE_RANGE` for a word. A reading that is not
        at least `CLOSEST` minutes later than the last one (repeated, out of order) changes nothing.
        """
        # In one piece, for it is done with every reading: calls would cost more than the steps.
        (
            before, since, last, lag5, lag10, lag20, lag40, lag80, slope, floor, crest, crest_at, cadence, steps,
            weight, pace, noise, mean, spread,
            near_low, below_low, last_low, warned_low, near_very, below_very, last_very, warned_very,
        ) = self._numbers  # fmt: skip
        apart = minute - before
        if apart < CLOSEST:
            return None
        if apart > GAP and apart > 2.5 * cadence:
            lag5 = lag10 = lag20 = lag40 = lag80 = rate = 0.0  # as `begin`
            floor = crest = glucose
            since = crest_at = minute
            share = CLOSEST / weight
        else:
            change = glucose - last
            rate = change / apart
            s5, e5, s10, e10, s20, e20, s40, e40, s80, e80 = _STEPS[int(apart * _TICKS + 0.5)]
            lag5 = s5 * lag5 + e5 * change
            lag10 = s10 * lag10 + e10 * change
            lag20 = s20 * lag20 + e20 * change
            lag40 = s40 * lag40 + e40 * change
            lag80 = s80 * lag80 + e80 * change
            floor += 0.25 * apart
            if glucose < floor:
                floor = glucose
            crest -= 0.3 * apart
            if glucose >= crest:
                crest, crest_at = glucose, minute
            pause = apart
            if pause > _LONGEST_CADENCE:
                pause = _LONGEST_CADENCE
            cadence += (pause - cadence) / steps
            if steps < STEADY:
                steps += 1.0
            weight += apart
            if weight > MEMORY:
                weight = MEMORY
            share = apart / weight
            speed, turn = abs(rate), 5.0 * abs(rate - slope)
            if speed > 5.0:
                speed = 5.0
            if turn > 20.0:
                turn = 20.0
            pace += share * (speed - pace)
            noise += share * (turn - noise)
        mean += share * (glucose - mean)
        spread += share * (abs(glucose - mean) - spread)
        keep = 1.0 - share
        near_low *= keep
        below_low *= keep
        near_very *= keep
        below_very *= keep
        low, very_low = self.levels
        over, over_very = glucose - low, glucose - very_low
        if over < MARGIN:
            near_low += share
            if over < 0.0:
                below_low += share
                last_low = minute
        if over_very < MARGIN:
            near_very += share
            if over_very < 0.0:
                below_very += share
                last_very = minute
        self._numbers = (
            minute, since, glucose, lag5, lag10, lag20, lag40, lag80, rate, floor, crest, crest_at, cadence, steps,
            weight, pace, noise, mean, spread,
            near_low, below_low, last_low, warned_low, near_very, below_very, last_very, warned_very,
        )  # fmt: skip
        if (over >= CEILING and over_very >= CEILING) or minute - since < YOUNGEST:
            return NONE
        weights = SLOW if cadence >= SLOW_CADENCE else FAST
        change = expected_change(weights[0], lag5, lag10, lag20, lag40, lag80)
        numbers = []
        if over + change < weights[0].reach and _may_warn(over, minute - last_low, minute - warned_low):
            numbers.append(0)
        if over_very + change < weights[1].reach and _may_warn(over_very, minute - last_very, minute - warned_very):
            numbers.append(1)
        return numbers

    def follow(self, other: Forecast) -> None:
        """Know what another sensor has shown of the patient, all but its trace and rhythm; to be called first."""
        new = State()
        self._numbers = other.state._replace(minute=new.minute, cadence=new.cadence, steps=new.steps)

    def begin(self, minute: float, glucose: float) -> None:
        """Forget slopes, valley and peak, as after a gap: from this reading, not yet taken, a new trace begins."""
        lags = {"lag5": 0.0, "lag10": 0.0, "lag20": 0.0, "lag40": 0.0, "lag80": 0.0}
        self._numbers = self.state._replace(
            **lags, rate=0.0, glucose=glucose, floor=glucose, crest=glucose, since=minute, crest_at=minute
        )

    def seen(self, number: int) -> tuple[float, list[float], Weights]:
        """Expected glucose after `HORIZON` minutes (mg/dL), the terms, and their weights, for one level."""
        (
            minute, _, glucose, lag5, lag10, lag20, lag40, lag80, _, floor, crest, crest_at, cadence, _,
            _, pace, noise, mean, spread, *nears,
        ) = self._numbers  # fmt: skip
        near, below, last_low, _ = nears[4 * number : 4 * number + 4]
        weights = (SLOW if cadence >= SLOW_CADENCE else FAST)[number]
        level, lags = self.levels[number], (lag5, lag10, lag20, lag40, lag80)
        expected = glucose + expected_change(weights, *lags)
        person = (pace, noise, spread, mean - level, near, below)
        shape = (glucose - floor, crest - glucose, minute - crest_at)
        return expected, terms(glucose - level, expected - level, lags, shape, minute - last_low, person), weights

    def warning(self, number: int) -> Forewarning | None:
        """The warning of one of the levels that `take` has named, after the reading taken last."""
        expected, row, weights = self.seen(number)
        if not sum(map(mul, weights.terms, row), weights.constant) > weights.threshold:
            return None
        state = self.state
        self._numbers = state._replace(**{_WARNED[number]: state.minute})
        since_low = state.minute - state.near[number].last_low
        return Forewarning(
            level=self.levels[number],
            glucose=state.glucose,
            rate=state.lag10 / 10.0,
            expected=expected,
            since_low=since_low if since_low < RECENT else None,
        )

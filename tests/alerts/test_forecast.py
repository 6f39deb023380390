from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.forecast import (
    _STEPS,
    BELOW_RANGE,
    CEILING,
    CLOSEST,
    GAP,
    MARGIN,
    MEMORY,
    RECOVERY,
    REST,
    SLOW_CADENCE,
    STEADY,
    YOUNGEST,
    Forecast,
    Forewarning,
    State,
    expected_change,
)
from alerts.forecast_weights import FAST, SLOW
from ingest.vital import MG_DL_PER_MMOL_L

Told = list[tuple[float, Forewarning]]


def tell(minutes: Sequence[float], glucose: Sequence[float], forecast: Forecast | None = None) -> Told:
    forecast = forecast or Forecast()
    return [
        (m, warning)
        for m, g in zip(minutes, glucose, strict=True)
        for number in forecast.take(m, g) or ()
        if (warning := forecast.warning(number))
    ]


def fall(apart: float, per_minute: float, *, start: float = 150.0, flat: int = 24) -> tuple[list[float], list[float]]:
    """Flat for some readings, then down in a straight line to 45 mg/dL."""
    glucose = [start] * flat
    while glucose[-1] > 45:
        glucose.append(glucose[-1] + per_minute * apart)
    return [apart * n for n in range(len(glucose))], glucose


@pytest.mark.parametrize(("apart", "per_minute"), [(5.0, -1.0), (5.0, -2.0), (5.0, -3.0), (15.0, -1.0), (15.0, -1.5)])
def test_a_steady_fall_is_told_10_to_60_minutes_before_each_level(apart: float, per_minute: float) -> None:
    minutes, glucose = fall(apart, per_minute)
    told = tell(minutes, glucose)
    for level in (70.0, 54.0):
        crossed = next(m for m, g in zip(minutes, glucose, strict=True) if g < level)
        first = next(m for m, warning in told if warning.level == level)
        assert 10 <= crossed - first <= 60


def test_what_a_warning_says_is_what_was_measured() -> None:
    minutes, glucose = fall(5.0, -1.0)
    at, warning = tell(minutes, glucose)[0]
    assert warning.level == 70
    assert warning.glucose == glucose[minutes.index(at)]
    assert warning.rate == pytest.approx(-1.0, abs=0.01)  # averaged over 10 minutes, and the fall is an hour old
    assert warning.glucose - 20 < warning.expected < warning.glucose  # most falls slow down
    assert warning.since_low is None


@pytest.mark.parametrize("steady", [72.0, 85.0, 120.0, 250.0])
def test_nothing_is_told_of_glucose_that_stays(steady: float) -> None:
    assert tell([5.0 * n for n in range(288)], [steady] * 288) == []


def test_nothing_is_told_of_a_low_that_is_known() -> None:
    minutes, glucose = [5.0 * n for n in range(60)], [66.0 + n % 3 for n in range(60)]
    assert tell(minutes, glucose) == []
    minutes, glucose = [*minutes, 300.0], [*glucose, 72.0]
    assert tell(minutes, glucose) == []


def test_a_next_low_is_told_with_the_last_one() -> None:
    glucose = [100.0, 95, 85, 76, 66, 63, 66, 70, 74, 77, 78, 77, 75, 73, 71]
    told = tell([5.0 * n for n in range(15)], glucose)
    assert [warning.since_low for m, warning in told if m > 30 and warning.level == 70] == [30.0]


def test_nothing_is_told_of_glucose_that_rises() -> None:
    assert tell([5.0 * n for n in range(40)], [75.0 + 3 * n for n in range(40)]) == []


def test_one_warning_of_a_level_and_then_rest() -> None:
    minutes = [5.0 * n for n in range(400)]
    glucose = [90 + 30 * np.sin(m / 20) for m in minutes]
    told = [m for m, warning in tell(minutes, glucose) if warning.level == 70]
    assert told
    assert min(np.diff(told), default=REST) >= REST


def test_repeated_and_disordered_readings_change_nothing() -> None:
    minutes, glucose = fall(5.0, -1.5)
    dirty_minutes, dirty_glucose = [], []
    for n, (m, g) in enumerate(zip(minutes, glucose, strict=True)):
        dirty_minutes += [m, m, m - 5.0, m - 300.0]
        dirty_glucose += [g, 40.0 + n % 7, 400.0, 50.0]
    told = tell(dirty_minutes, dirty_glucose)
    assert told == tell(minutes, glucose)
    assert told


def test_after_a_gap_the_fall_before_it_is_forgotten() -> None:
    minutes, glucose = fall(5.0, -2.0, start=200.0)
    stop = next(n for n, g in enumerate(glucose) if g <= 120)
    later = [minutes[stop] + 25.0, minutes[stop] + 30.0]
    forecast = Forecast()
    tell(minutes[: stop + 1], glucose[: stop + 1], forecast)
    assert tell(later, [90.0, 90.0], forecast) == []
    assert forecast.state.rate == 0.0
    assert forecast.state.since == later[0]


def test_a_forecast_that_begins_anew_forgets_what_a_gap_would_make_it_forget_and_keeps_the_patient() -> None:
    minutes, glucose = fall(5.0, -2.0, start=200.0)
    stop = next(n for n, g in enumerate(glucose) if g <= 120)
    forecast = Forecast()
    tell(minutes[:stop], glucose[:stop], forecast)
    before, minute = forecast.state, minutes[stop]
    forecast.begin(minute, 150.0)
    changed = {"lag5", "lag10", "lag20", "lag40", "lag80", "rate", "floor", "crest", "glucose", "since", "crest_at"}
    shape = {"floor": 150.0, "crest": 150.0, "glucose": 150.0, "since": minute, "crest_at": minute}
    assert forecast.state == before._replace(**(dict.fromkeys(changed, 0.0) | shape))
    forecast.take(minute, 150.0)
    assert (forecast.state.rate, forecast.state.lag40, forecast.state.since) == (0.0, 0.0, minute)


def test_a_15_minute_sensor_is_learned_and_its_readings_are_no_gap() -> None:
    forecast = Forecast()
    tell([15.0 * n for n in range(30)], [120.0] * 30, forecast)
    assert forecast.state.cadence == 15.0
    assert forecast.state.since == 0.0
    forecast.take(29 * 15.0 + 30.0, 118.0)  # one reading lost
    assert forecast.state.since == 0.0
    forecast.take(29 * 15.0 + 30.0 + 45.0, 118.0)
    assert forecast.state.since == 29 * 15.0 + 75.0


def test_the_averages_lag_as_worked_out_by_hand() -> None:
    # On a line of r mg/dL/min an average of time constant T lags r * T * (1 - exp(-t/T)) behind, at any distance.
    forecast = Forecast()
    for minute in (0.0, 5.0, 11.0, 19.0, 24.0, 38.0):
        forecast.take(minute, 200.0 - 2.0 * minute)
    assert forecast.state.lag10 == pytest.approx(-2 * 10 * (1 - np.exp(-3.8)))
    assert forecast.state.lag40 == pytest.approx(-2 * 40 * (1 - np.exp(-0.95)))


def test_a_word_counts_as_a_value_beyond_the_range() -> None:
    forecast = Forecast()
    tell([0.0, 5.0, 10.0], [60.0, 50.0, BELOW_RANGE], forecast)
    assert [near.last_low for near in forecast.state.near] == [10.0, 10.0]


def test_mmol_is_the_same_after_conversion() -> None:
    minutes, glucose = fall(5.0, -1.5)
    mmol = [round(g / MG_DL_PER_MMOL_L, 1) * MG_DL_PER_MMOL_L for g in glucose]
    assert [warning.level for _, warning in tell(minutes, mmol)] == [70, 54]


def test_there_is_a_weight_for_every_term() -> None:
    forecast = Forecast()
    forecast.take(0.0, 100.0)
    for number, (fast, slow) in enumerate(zip(FAST, SLOW, strict=True)):
        _, row, _ = forecast.seen(number)
        assert len(row) == len(fast.terms) == len(slow.terms)


STEPS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 1.0, 5.0, 5.0, 5.0, 15.0, -5.0, 31.0, 200.0]), st.floats(-20.0, 60.0)),
        st.one_of(st.floats(-12.0, 8.0), st.floats(-100.0, 100.0)),
    ),
    min_size=1,
    max_size=120,
)


def walk(steps: Sequence[tuple[float, float]], start: float) -> tuple[list[float], list[float]]:
    minute, value = 0.0, start
    minutes, glucose = [], []
    for apart, change in steps:
        minute += apart
        value = min(max(value + change, 39.0), 401.0)
        minutes.append(minute)
        glucose.append(value)
    return minutes, glucose


@settings(deadline=None)
@given(STEPS, st.floats(60.0, 160.0), st.integers(1, 119))
def test_nothing_told_hangs_on_what_comes_later(steps: list[tuple[float, float]], start: float, cut: int) -> None:
    minutes, glucose = walk(steps, start)
    part = tell(minutes[:cut], glucose[:cut])
    assert tell(minutes, glucose)[: len(part)] == part


def plain(state: State, minute: float, glucose: float, levels: tuple[float, float]) -> tuple[State, list[int]]:
    """`Forecast.take`, a line for each number; the levels it names."""
    apart, far = minute - state.minute, 2.5 * state.cadence
    if apart < CLOSEST:
        return state, []
    new = dict.fromkeys(("lag5", "lag10", "lag20", "lag40", "lag80", "rate"), 0.0)
    if apart > GAP and apart > far:
        new |= {"floor": glucose, "crest": glucose, "crest_at": minute, "since": minute}
        share = CLOSEST / state.weight
    else:
        change = glucose - state.glucose
        stays = iter(_STEPS[int(apart * 4 + 0.5)])
        for name in ("lag5", "lag10", "lag20", "lag40", "lag80"):
            new[name] = next(stays) * getattr(state, name) + next(stays) * change
        new["rate"] = rate = change / apart
        new["floor"] = min(glucose, state.floor + 0.25 * apart)
        new["crest"] = max(glucose, state.crest - 0.3 * apart)
        new["crest_at"] = minute if new["crest"] == glucose else state.crest_at
        new["cadence"] = state.cadence + (min(apart, 15.0) - state.cadence) / state.steps
        new["steps"] = min(state.steps + 1, STEADY)
        new["weight"] = min(state.weight + apart, MEMORY)
        share = apart / new["weight"]
        new["pace"] = state.pace + share * (min(abs(rate), 5.0) - state.pace)
        new["noise"] = state.noise + share * (min(5.0 * abs(rate - state.rate), 20.0) - state.noise)
    new["mean"] = state.mean + share * (glucose - state.mean)
    new["spread"] = state.spread + share * (abs(glucose - new["mean"]) - state.spread)
    state = state._replace(minute=minute, glucose=glucose, **new)
    weights = SLOW if state.cadence >= SLOW_CADENCE else FAST
    change = expected_change(weights[0], state.lag5, state.lag10, state.lag20, state.lag40, state.lag80)
    named = []
    for number, (name, level) in enumerate(zip(("low", "very_low"), levels, strict=True)):
        near, over = state.near[number], glucose - level
        state = state._replace(
            **{
                f"near_{name}": near.near * (1.0 - share) + (share if over < MARGIN else 0.0),
                f"below_{name}": near.below * (1.0 - share) + (share if over < 0 else 0.0),
                f"last_{name}": minute if over < 0 else near.last_low,
            }
        )
        rested = minute - near.warned >= REST and minute - state.since >= YOUNGEST
        recovered = minute - state.near[number].last_low >= RECOVERY
        if 0 <= over < CEILING and over + change < weights[number].reach and rested and recovered:
            named.append(number)
    return state, named


@settings(deadline=None)
@given(STEPS, st.floats(60.0, 160.0), st.sampled_from([(70.0, 54.0), (72.5, 60.1)]))
def test_each_reading_moves_each_number_as_the_plain_form_does(
    steps: list[tuple[float, float]], start: float, levels: tuple[float, float]
) -> None:
    forecast, state = Forecast(levels), State()
    for minute, glucose in zip(*walk(steps, start), strict=True):
        state, named = plain(state, minute, glucose, levels)
        assert list(forecast.take(minute, glucose) or ()) == named
        assert forecast.state == state  # to the last bit
        for number in named:
            if forecast.warning(number):
                state = state._replace(**{("warned_low", "warned_very_low")[number]: minute})

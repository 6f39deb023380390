"""Bodies: the traces tell the stories of their SOURCE.md; the synthetic ones are plausible and repeatable."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simulators
from simulators.bodies import (
    DAY_MIN,
    HI,
    LO,
    replay_glucose,
    replay_pressure,
    synthetic_cgm,
    synthetic_meter,
    synthetic_pressure,
)

TRACES = Path(simulators.__file__).parent / "traces"
CGM = ["cgm_very_low", "cgm_low", "cgm_high", "cgm_quiet"]


def first_hour(trace: str) -> list[Decimal]:
    return [value for minute, value in replay_glucose(trace) if minute <= 60]


def longest_run_min(samples: list[tuple[float, Decimal]], limit: int) -> float:
    longest = start = 0.0
    below = False
    for minute, value in samples:
        if value >= limit:
            below = False
        elif below:
            longest = max(longest, minute - start)
        else:
            below, start = True, minute
    return longest


def test_very_low_comes_within_the_hour_and_keeps_the_sensors_word() -> None:
    early = [(minute, value) for minute, value in replay_glucose("cgm_very_low") if minute <= 60]
    assert longest_run_min(early, 54) >= 15
    assert LO in first_hour("cgm_very_low")


def test_low_is_level_1_only() -> None:
    early = [(minute, value) for minute, value in replay_glucose("cgm_low") if minute <= 65]
    assert longest_run_min(early, 70) >= 15
    assert min(value for _, value in replay_glucose("cgm_low")) >= 54


def test_high_is_above_300_within_the_hour() -> None:
    assert sum(value > 300 for value in first_hour("cgm_high")) >= 3


def test_quiet_is_quiet() -> None:
    assert all(70 <= value <= 180 for _, value in replay_glucose("cgm_quiet"))


@pytest.mark.parametrize("trace", CGM)
def test_a_cgm_trace_is_two_days_in_the_sensors_cadence(trace: str) -> None:
    minutes = [minute for minute, _ in replay_glucose(trace)]
    steps = sorted(later - earlier for earlier, later in pairwise(minutes))
    assert minutes[0] == 0.0
    assert minutes[-1] > 46 * 60
    assert steps[0] > 0
    assert steps[len(steps) // 2] == pytest.approx(5.0, abs=0.05)


def test_severe_pressure_is_confirmed_and_quiet_is_not_high() -> None:
    severe = [reading for _, reading in replay_pressure("bp_severe")]
    assert any(one.systolic >= 160 and other.systolic >= 160 for one, other in pairwise(severe))
    first, second, *_ = [reading for _, reading in replay_pressure("bp_first_high")]
    assert first.diastolic >= 110 > second.diastolic
    assert all(one.systolic < 130 and one.diastolic < 80 for _, one in replay_pressure("bp_quiet"))


def test_meter_traces() -> None:
    assert sum(value < 54 for _, value in replay_glucose("meter_lows")) >= 5
    assert all(54 <= value <= 300 for _, value in replay_glucose("meter_quiet"))


def test_every_trace_has_its_source() -> None:
    told = (TRACES / "SOURCE.md").read_text()
    assert all(path.name in told for path in TRACES.glob("*.csv"))
    assert sum(path.stat().st_size for path in TRACES.iterdir()) < 200_000


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_synthetic_bodies_repeat_and_stay_possible(seed: int) -> None:
    glucose = list(synthetic_cgm(seed))
    assert glucose == list(synthetic_cgm(seed))
    assert len(glucose) == 288
    assert all(value in {LO, HI} or 40 <= value <= 400 for _, value in glucose)
    assert max(value for _, value in glucose) > 140
    pressures = list(synthetic_pressure(seed, mean=(131.0, 80.0)))
    assert len(pressures) == 28
    assert all(one.systolic > one.diastolic for _, one in pressures)
    assert [minute for minute, _ in pressures] == sorted(minute for minute, _ in pressures)
    meter = list(synthetic_meter(seed, days=3))
    assert len(meter) == 12
    assert [minute for minute, _ in meter] == sorted(minute for minute, _ in meter)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(60, DAY_MIN - 60))
def test_a_low_comes_when_it_is_asked_for(seed: int, middle: int) -> None:
    assert longest_run_min(list(synthetic_cgm(seed, low_at_min=middle)), 54) >= 20


def test_first_reading_of_a_pair_is_high_on_average() -> None:
    readings = [one.systolic for _, one in synthetic_pressure(7, days=200)]
    excess = [first - second for first, second in zip(readings[::2], readings[1::2], strict=True)]
    assert 2 < sum(excess) / len(excess) < 6

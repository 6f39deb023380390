from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import segments
from alerts.metrics import (
    BINS,
    DAY_US,
    LOW_1,
    MINUTE_US,
    TARGETS,
    Lack,
    Population,
    Summary,
    Target,
    TimeInRanges,
    Traces,
    arrange,
    gather,
    profile,
    summarise,
    time_in_ranges,
    wall_clock,
    weeks,
)
from ingest.reading import Flag, to_us
from ingest.vital import Unit
from tests.alerts.traces import MONDAY, Point, even, numbers, traces
from tests.alerts.ward import cgm

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "metrics.json").read_text())
FORTNIGHT = timedelta(days=14)
DAY = 288


def value_of(summary: Summary, name: str) -> float:
    return float(getattr(summary.time if hasattr(TimeInRanges, name) else summary, name)[0])


@pytest.mark.parametrize("vector", VECTORS["hand"], ids=lambda vector: vector["name"])
def test_metrics_worked_by_hand(vector: dict[str, Any]) -> None:
    shown = vector.get("shown") or [value for value, times in vector["times"] for _ in range(times)]
    one = traces(even(shown), mmol=vector["unit"] == "mmol/L")
    summary = summarise(one, FORTNIGHT, Population(vector.get("population", "adult")))
    got = {name: value_of(summary, name) for name in vector["expect"]}
    assert got == pytest.approx(vector["expect"], abs=5e-6)


def test_gmi_agrees_with_the_published_table() -> None:
    means, published = zip(*VECTORS["gmi"]["rows"], strict=True)
    gmi = summarise(traces(*(even([mean]) for mean in means)), FORTNIGHT).gmi
    assert np.round(gmi, 1).tolist() == list(published)


def test_metrics_agree_with_iglu() -> None:
    vector = VECTORS["iglu"]
    one = traces(even(np.concatenate(vector["shown"]).tolist()))
    summary = summarise(one, timedelta(days=1))
    assert {name: value_of(summary, name) for name in vector["expect"]} == pytest.approx(vector["expect"], abs=1e-9)
    pregnant = summarise(one, timedelta(days=1), Population.PREGNANCY)
    assert {name: value_of(pregnant, name) for name in vector["pregnant"]} == pytest.approx(vector["pregnant"])
    assert pregnant.gri[0] == summary.gri[0]


def test_quantiles_agree_with_iglu() -> None:
    micro = np.round(np.concatenate(VECTORS["iglu"]["shown"]) * 1e6).astype(np.int64)
    found, counts = segments.quantiles(np.zeros(DAY, dtype=np.int64), micro, 1, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert (found[0] / 1e6).tolist() == pytest.approx(VECTORS["iglu"]["percentiles"])
    assert counts.tolist() == [DAY]


def test_values_are_compared_in_the_unit_received() -> None:
    """3.9 mmol/L is 70.26 mg/dL and in range; 3.85 mmol/L is 69.4 mg/dL and shown below 3.9."""
    taken = MONDAY + np.arange(4) * 5 * MINUTE_US
    both = Traces(
        offsets=np.array([0, 4]),
        taken_us=taken,
        clock_us=taken,
        shown=np.array([3.9, 70.0, 3.85, 69.0]),
        mmol=np.array([True, False, True, False]),
    )
    assert both.below(LOW_1).tolist() == [False, False, True, True]
    assert both.mg_dl.tolist() == pytest.approx([70.260801, 70.0, 69.360022, 69.0], abs=1e-6)


def test_no_readings_give_nan_and_nothing_is_claimed() -> None:
    summary = summarise(traces([], even([100.0]), []), FORTNIGHT)
    assert summary.readings.tolist() == [0, 1, 0]
    for each in (summary, summary.time):
        for name in (field.name for field in fields(each)):
            if name not in {"span", "readings", "wear", "out_of_range", "time"}:
                assert np.isnan(getattr(each, name)[[0, 2]]).all(), name
    assert math.isnan(summary.sd[1])
    assert summary.mean[1] == 100.0
    assert summary.wear[0] == 0.0
    assert summary.lacks(0) == (Lack.READINGS,)
    assert not TARGETS[Population.ADULT][0].missed(summary.time)[0]


def test_nobody_at_all() -> None:
    empty = gather([])
    assert len(empty) == 0
    assert summarise(empty, FORTNIGHT).mean.shape == (0,)
    assert profile(empty).smoothed.shape == (0, BINS, 5)
    assert weeks(empty).monday.shape == (0,)


@pytest.mark.parametrize(
    ("days", "kept", "span", "lacks"),
    [
        (14, 0.70, 14, ()),
        (14, 0.695, 14, (Lack.READINGS,)),
        (3, 1.0, 14, (Lack.READINGS,)),
        (7, 1.0, 7, (Lack.DAYS,)),
        (7, 0.5, 7, (Lack.DAYS, Lack.READINGS)),
    ],
)
def test_what_a_summary_lacks_is_said(days: int, kept: float, span: int, lacks: tuple[Lack, ...]) -> None:
    shown = even([120.0] * math.ceil(days * DAY * kept))
    summary = summarise(traces(shown), timedelta(days=span))
    assert summary.wear[0] == pytest.approx(100 * days / span * kept, abs=0.03)
    assert summary.lacks(0) == lacks
    assert summary.sufficient[0] == (not lacks)


def test_wear_is_readings_over_expected_readings_and_scans_do_not_count_twice() -> None:
    """A day of a 15-minute sensor with an hour lost (4 of 96 readings), and the same with a scan in every hour."""
    stored = [(minute, value) for minute, value in even([110.0] * 96, 15.0) if not 600 <= minute < 660]
    scans = [(minute + 7, value) for minute, value in stored if minute % 60 == 0]
    wear = summarise(traces(stored, [*stored, *scans], stored[:1]), timedelta(days=1)).wear
    assert wear.tolist() == pytest.approx([100 * 92 / 96, 100 * 92 / 96, 100 * 5 / 1440])


def test_a_meter_never_passes_for_a_worn_sensor() -> None:
    meter = even([120.0] * 14 * 6, 240.0)
    assert summarise(traces(meter), FORTNIGHT).wear[0] == pytest.approx(100 * 6 * 15 / 1440)


def test_a_trace_longer_than_its_span_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 7 days"):
        summarise(traces(even([100.0] * 10, 1440.0)), timedelta(days=7))


def test_targets_of_each_population() -> None:
    shares = {"tbr_2": 0.5, "tbr_1": 1.5, "tir": 60.0, "tar_1": 30.0, "tar_2": 8.0}
    time = TimeInRanges(**{name: np.array([share]) for name, share in shares.items()})
    missed = {who: [each.share for each in targets if each.missed(time)[0]] for who, targets in TARGETS.items()}
    assert missed == {
        Population.ADULT: ["tir", "tar", "tar_2"],
        Population.OLDER: ["tbr"],
        Population.PREGNANCY_TYPE_1: ["tir", "tar"],
        Population.PREGNANCY: ["tar"],
    }


@pytest.mark.parametrize(("share", "missed"), [(69.9, True), (70.0, True), (70.1, False)])
def test_a_target_of_more_than_70_is_missed_at_70(share: float, missed: bool) -> None:
    time = TimeInRanges(**{name: np.array([share]) for name in ("tbr_2", "tbr_1", "tir", "tar_1", "tar_2")})
    assert Target("tir", 70.0, at_least=True).missed(time).tolist() == [missed]


# The ambulatory glucose profile


def bin_trace(quarter: int, values: list[float], *, first_day: int = 0) -> list[Point]:
    """One value a day at a quarter of an hour."""
    return [((first_day + day) * 1440 + quarter * 15 + 3, value) for day, value in enumerate(values)]


def test_percentiles_of_a_bin_by_hand() -> None:
    """Of 100, 110, ..., 140 the 5th percentile lies 0.2 of a step above the lowest: 102."""
    one = profile(traces(bin_trace(40, [120, 100, 140, 110, 130])))
    assert one.raw[0, 40].tolist() == pytest.approx([102, 110, 120, 130, 138])
    assert one.smoothed[0, 40].tolist() == pytest.approx([102, 110, 120, 130, 138])
    assert one.counts[0].sum() == 5


def test_a_bin_with_fewer_than_5_readings_is_refused() -> None:
    four = profile(traces(bin_trace(40, [100.0] * 4), bin_trace(40, [100.0] * 5)))
    assert np.isnan(four.raw[0]).all()
    assert np.isnan(four.smoothed[0]).all()
    assert np.isnan(four.smoothed[1, [39, 41]]).all()
    assert four.smoothed[1, 40].tolist() == [100.0] * 5


def test_smoothing_goes_around_midnight_and_leaves_refused_neighbours_out() -> None:
    shown = [*bin_trace(0, [90.0] * 5), *bin_trace(95, [120.0] * 5), *bin_trace(1, [150.0] * 5)]
    smoothed = profile(traces(shown)).smoothed[0, :, 2]
    assert smoothed[0] == pytest.approx((120 + 90 + 150) / 3)
    assert smoothed[95] == pytest.approx((120 + 90) / 2)
    assert smoothed[1] == pytest.approx((90 + 150) / 2)
    assert np.isnan(smoothed[2])


def test_the_profile_goes_by_the_wearers_clock() -> None:
    """22:03 UTC is 06:03 in Shanghai."""
    moments = to_us(datetime(2026, 3, 1, 22, 3, tzinfo=UTC)) + np.arange(5) * DAY_US
    one = Traces(
        offsets=np.array([0, 5]),
        taken_us=moments,
        clock_us=wall_clock(moments, ZoneInfo("Asia/Shanghai")),
        shown=np.full(5, 99.0),
        mmol=np.zeros(5, dtype=bool),
    )
    assert np.flatnonzero(profile(one).counts[0]).tolist() == [24]


def test_the_wall_clock_follows_daylight_saving_both_ways() -> None:
    zone = ZoneInfo("Europe/Berlin")
    moments = [
        datetime(2026, 3, 29, 0, 59, tzinfo=UTC),  # 01:59
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # 03:00
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # 02:30
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),  # 02:30 again
        datetime(2026, 3, 29, 0, 59, tzinfo=UTC),
    ]
    clock = wall_clock(np.array([to_us(moment) for moment in moments]), zone)
    shown = [datetime(1970, 1, 1) + timedelta(microseconds=int(each)) for each in clock]
    assert [f"{each:%m-%d %H:%M}" for each in shown] == [
        "03-29 01:59",
        "03-29 03:00",
        "10-25 02:30",
        "10-25 02:30",
        "03-29 01:59",
    ]


# Weeks


def test_weeks_run_from_monday_to_sunday_and_change_needs_two_full_ones() -> None:
    """Three weeks: TIR 100 %, then 75 %, then a week worn for three days only."""
    first = [120.0] * 7 * DAY
    second = [120.0, 120.0, 120.0, 200.0] * (7 * DAY // 4)
    third = [200.0] * 3 * DAY
    found = weeks(traces(even([120.0]), even([*first, *second, *third])))
    assert found.trace.tolist() == [0, 1, 1, 1]
    assert [str(monday) for monday in found.monday] == ["2026-01-05", "2026-01-05", "2026-01-12", "2026-01-19"]
    assert found.summary.time.tir.tolist() == pytest.approx([100, 100, 75, 0])
    assert found.summary.wear.tolist() == pytest.approx([100 * 5 / 10080, 100, 100, 100 * 3 / 7])
    assert found.summary.worn_enough.tolist() == [False, True, True, False]
    assert found.change(found.summary.time.tir).tolist() == pytest.approx([np.nan, np.nan, -25, np.nan], nan_ok=True)
    assert found.change(found.summary.mean)[2] == pytest.approx(20.0)


def test_weeks_go_by_the_wearers_clock_and_change_stays_with_the_patient() -> None:
    """The clock is eight hours ahead: what is measured from 16:00 UTC on Sunday is Monday's."""
    one = traces(even([120.0] * 7 * DAY, first=-480.0), even([200.0] * 7 * DAY, first=7 * 1440 - 480.0))
    found = weeks(replace(one, clock_us=one.taken_us + 480 * MINUTE_US))
    assert [str(monday) for monday in found.monday] == ["2026-01-05", "2026-01-12"]
    assert found.summary.worn_enough.all()
    assert np.isnan(found.change(found.summary.mean)).all()


def test_change_is_not_taken_over_a_week_without_data() -> None:
    week = even([120.0] * 7 * DAY)
    later = even([200.0] * 7 * DAY, first=14 * 1440)
    assert np.isnan(weeks(traces([*week, *later])).change(weeks(traces([*week, *later])).summary.mean)).all()


def test_a_clock_set_back_on_monday_opens_no_second_week() -> None:
    taken = MONDAY - 60 * MINUTE_US + np.arange(24) * 5 * MINUTE_US
    clock = taken.copy()
    clock[14:] -= 30 * MINUTE_US  # from 00:10 on Monday back to 23:40 on Sunday
    one = Traces(
        offsets=np.array([0, 24]),
        taken_us=taken,
        clock_us=clock,
        shown=np.full(24, 100.0),
        mmol=np.zeros(24, dtype=bool),
    )
    found = weeks(one)
    assert found.summary.readings.tolist() == [12, 12]
    assert [str(monday) for monday in found.monday] == ["2025-12-29", "2026-01-05"]


# What comes in


def test_readings_of_the_house_become_traces() -> None:
    low, high = frozenset({Flag.BELOW_RANGE}), frozenset({Flag.ABOVE_RANGE})
    readings = [
        cgm(10, None, flags=high),
        cgm(0, 3.9, Unit.MMOL_L),
        cgm(5, 0.0007, Unit.KG_L),
        cgm(5, 99.0),
        cgm(15, None, flags=low),
        cgm(20, None),
    ]
    found = gather([([], UTC), (readings, ZoneInfo("Asia/Shanghai"))])
    assert found.readings.tolist() == [0, 4]
    assert found.shown.tolist() == [3.9, 70.0, np.inf, -np.inf]
    assert found.mmol.tolist() == [True, False, False, False]
    assert found.mg_dl.tolist() == pytest.approx([70.260801, 70, 401, 39])
    assert (found.clock_us - found.taken_us).tolist() == [8 * 60 * MINUTE_US] * 4


GOOD = traces(even([100.0, 110.0]), even([120.0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mmol": np.zeros(2, dtype=bool)}, "differ in length"),
        ({"offsets": np.array([0, 2])}, "offsets"),
        ({"offsets": np.array([0, 3, 2, 3])}, "offsets"),
        ({"offsets": np.array([0, 3])}, "reading 2 is not later"),
        ({"shown": np.array([100.0, np.nan, 100.0])}, "no possible glucose"),
        ({"shown": np.array([100.0, 0.0, 100.0])}, "no possible glucose"),
    ],
)
def test_what_is_no_trace_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(GOOD, **change)


# Properties

VALUES = st.one_of(st.integers(40, 400).map(float), st.sampled_from([53.9, 54.0, 69.9, 70.0, 180.0, 180.1, 250.0]))
TRACES = st.lists(
    st.lists(st.tuples(st.integers(0, 2000).map(float), VALUES), max_size=40, unique_by=lambda point: point[0]),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(TRACES)
def test_many_at_once_are_what_each_is_alone(points: list[list[Point]]) -> None:
    together = traces(*points)
    whole, picture, week = summarise(together, FORTNIGHT), profile(together), weeks(together)
    for number, each in enumerate(points):
        alone = traces(each)
        one = summarise(alone, FORTNIGHT)
        for name in ("readings", "wear", "mean", "sd", "cv", "lbgi", "hbgi", "gri"):
            assert getattr(whole, name)[number] == pytest.approx(getattr(one, name)[0], rel=1e-9, nan_ok=True), name
        assert whole.time.tir[number] == pytest.approx(one.time.tir[0], nan_ok=True)
        np.testing.assert_allclose(picture.smoothed[number], profile(alone).smoothed[0])
        mine = week.trace == number
        np.testing.assert_allclose(week.summary.mean[mine], weeks(alone).summary.mean)


@settings(deadline=None)
@given(TRACES, st.randoms(use_true_random=False))
def test_order_and_repeats_change_nothing(points: list[list[Point]], random: Any) -> None:
    tidy = traces(*points)
    mixed = [list(each) for each in points]
    for each in mixed:
        random.shuffle(each)
        each.extend((minute, 300.0) for minute, _ in random.choices(each, k=3) if each) if each else None
    again = traces(*mixed)
    assert again.shown.tolist() == tidy.shown.tolist()
    assert again.taken_us.tolist() == tidy.taken_us.tolist()
    assert again.offsets.tolist() == tidy.offsets.tolist()


@settings(deadline=None)
@given(TRACES, st.sampled_from(Population))
def test_the_bands_share_out_all_readings(points: list[list[Point]], population: Population) -> None:
    time = time_in_ranges(traces(*points), population)
    total = time.tbr + time.tir + time.tar
    assert total[[bool(each) for each in points]].tolist() == pytest.approx([100.0] * sum(map(bool, points)))


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=30), st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.95]))
def test_quantiles_are_numpys(values: list[float], wanted: float) -> None:
    whole = np.array(values).round().astype(np.int64)
    found, _ = segments.quantiles(np.full(len(values), 1), whole, 3, [wanted])
    assert found[1, 0] == pytest.approx(np.quantile(whole, wanted))
    assert np.isnan(found[[0, 2]]).all()


def test_arranged_readings_keep_the_first_of_a_moment() -> None:
    found = arrange(
        np.array([1, 0, 1]),
        2,
        taken_us=np.array([7, 5, 7]),
        clock_us=np.array([70, 50, 71]),
        shown=numbers([100, 90, 200]),
        mmol=np.zeros(3, dtype=bool),
    )
    assert (found.offsets.tolist(), found.shown.tolist(), found.clock_us.tolist()) == ([0, 1, 2], [90, 100], [50, 70])

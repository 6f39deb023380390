from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.glucose_events import (
    EXTENDED_HIGH,
    EXTENDED_LOW,
    KINDS,
    LEVEL_1_HIGH,
    LEVEL_1_LOW,
    LEVEL_2_HIGH,
    LEVEL_2_LOW,
    PROLONGED_LOW,
    Events,
    Finder,
    Kind,
    night_lows,
)
from alerts.metrics import HIGH_2, LOW_2, MINUTE_US, Traces, arrange
from tests.alerts.traces import MONDAY, Point, even, traces
from tests.conftest import RECORDED

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "metrics.json").read_text())

Event = tuple[float, float, bool]


def find(one: Traces, kind: Kind) -> list[Event]:
    """(start, end) in minutes, and whether it recovered."""
    return told(Finder(one).find(kind))


def told(events: Events) -> list[Event]:
    starts, ends = ((each - MONDAY) / MINUTE_US for each in (events.start_us, events.end_us))
    return list(zip(starts.tolist(), ends.tolist(), events.recovered.tolist(), strict=True))


def test_a_low_begins_with_the_first_of_three_and_ends_with_the_first_of_three() -> None:
    one = traces(even([90, 69, 68, 69, 71, 72, 69, 70, 70, 70, 90]))
    assert find(one, LEVEL_1_LOW) == [(5, 35, True)]


def test_two_readings_below_are_no_event_and_70_is_not_below() -> None:
    assert find(traces(even([90, 69, 69, 70, 69, 69, 90, 90])), LEVEL_1_LOW) == []


def test_a_level_2_low_lasts_until_70() -> None:
    shown = [80, 53, 53, 53, 60, 60, 60, 60, 53, 53, 53, 69, 70, 71, 72]
    assert find(traces(even(shown)), LEVEL_2_LOW) == [(5, 60, True)]
    assert find(traces(even(shown)), Kind(LOW_2, LOW_2, low=True, minutes=15.0)) == [(5, 20, True), (40, 55, True)]


def test_one_reading_of_a_15_minute_sensor_is_an_event() -> None:
    assert find(traces(even([90, 69, 70, 90], 15.0)), LEVEL_1_LOW) == [(15, 30, True)]


def test_a_sensor_that_keeps_4_58_is_a_five_minute_sensor() -> None:
    assert len(find(traces(even([90, 69, 69, 69, 90, 90, 90], 4 + 58 / 60)), LEVEL_1_LOW)) == 1


def test_words_are_beyond_every_limit() -> None:
    one = traces(even([80, "LO", "LO", "LO", 80, 80, 80, "HI", "HI", "HI", 180, 180, 180]))
    assert find(one, LEVEL_2_LOW) == [(5, 20, True)]
    assert find(one, LEVEL_2_HIGH) == [(35, 50, True)]


def test_events_are_judged_in_the_unit_received() -> None:
    shown = [5.0, 3.9, 3.9, 3.9, 3.8, 3.8, 3.8, 3.9, 3.9, 3.9, 10.0, 10.1, 10.1, 10.1, 10.0, 10.0, 10.0]
    one = traces(even(shown), mmol=True)
    assert find(one, LEVEL_1_LOW) == [(20, 35, True)]
    assert find(one, LEVEL_1_HIGH) == [(55, 70, True)]


def test_highs_end_at_180_whatever_their_level() -> None:
    shown = [170, 251, 251, 251, 200, 200, 200, 200, 251, 251, 251, 180, 179, 178]
    assert find(traces(even(shown)), LEVEL_2_HIGH) == [(5, 55, True)]
    assert find(traces(even(shown)), LEVEL_1_HIGH) == [(5, 55, True)]
    assert find(traces(even(shown)), Kind(HIGH_2, HIGH_2, low=False, minutes=15.0)) == [(5, 20, True), (40, 55, True)]


def test_a_gap_ends_an_event_and_what_goes_on_after_it_is_another_that_has_not_settled() -> None:
    """21 minutes without a reading; 20 would be none."""
    before, after = even([90, *[90] * 6, 60, 60, 60]), even([60, 60, 60, 60, 90, 90, 90], first=45 + 21)
    events = Finder(traces([*before, *after])).find(LEVEL_1_LOW)
    assert told(events) == [(35, 45, False), (66, 86, True)]
    assert events.settled.tolist() == [True, False]
    whole = even([60, 60, 60, 60, 90, 90, 90], first=45 + 20)
    assert find(traces([*before, *whole]), LEVEL_1_LOW) == [(35, 85, True)]


def test_a_low_that_is_still_going_on_has_not_recovered() -> None:
    events = Finder(traces(even([90, 60, 60, 60, 90, 90]), even([90]), even([60, 60, 60]))).find(LEVEL_1_LOW)
    assert told(events) == [(5, 25, False), (0, 10, False)]
    assert events.trace.tolist() == [0, 2]
    assert events.per_trace(3).tolist() == [1, 0, 1]
    assert events.minutes.tolist() == [20, 10]


@pytest.mark.parametrize(("readings", "is_event"), [(23, False), (24, True)])
def test_a_prolonged_low_is_120_minutes_below_54(readings: int, is_event: bool) -> None:
    assert bool(find(traces(even([80, *[53] * readings, 80, 80, 80])), PROLONGED_LOW)) == is_event


@pytest.mark.parametrize(("readings", "is_event"), [(24, False), (25, True)])
def test_an_extended_low_is_more_than_120_minutes_below_70(readings: int, is_event: bool) -> None:
    assert bool(find(traces(even([80, *[69] * readings, 80, 80, 80])), EXTENDED_LOW)) == is_event


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([*[251] * 18, *[170] * 4], [(0, 90, True)]),  # 90 minutes at once
        ([*[251] * 17, *[170] * 4], []),
        ([*[251] * 9, *[240] * 6, *[251] * 9, *[170] * 3], [(0, 120, True)]),  # 90 of 120
        ([*[251] * 9, *[240] * 7, *[251] * 9, *[170] * 3], []),  # 90 of 125
        ([251, *[240] * 8, *[251] * 18, *[170] * 3], [(45, 135, True)]),  # what came long before is not part of it
        ([*[251] * 9, *[180] * 3, *[251] * 9, *[170] * 3], []),  # recovered in between
        ([*[251] * 9, *[180] * 2, *[251] * 9, *[170] * 3], [(0, 100, True)]),
    ],
)
def test_an_extended_high_is_90_of_120_minutes_above_250(shown: list[float], expected: list[Event]) -> None:
    assert find(traces(even(shown)), EXTENDED_HIGH) == expected


def test_counts_agree_with_iglu() -> None:
    """Where the definitions agree: level 2 of iglu ends at its own limit."""
    one, ends = traces(even(np.concatenate(VECTORS["iglu"]["shown"]).tolist())), {"level-2-low": LOW_2}
    ends["level-2-high"] = HIGH_2
    for name, count in VECTORS["iglu"]["events"].items():
        kind = KINDS[name]
        assert len(find(one, kind._replace(end=ends.get(name, kind.end)))) == count, name


# Against a plain reading of the rule, one reading after the other


def plainly(points: list[Point], level: float, end: float, *, low: bool) -> list[Event]:
    """Events of one sorted trace, by a loop that remembers what it has seen."""
    sign = 1 if low else -1
    times = [minute for minute, _ in points]
    steps = np.diff(times)
    cadence = float(np.median(steps)) if len(steps) else 5.0
    pace = round(cadence)
    need = -(-15 // pace) if pace else 1
    found: list[Event] = []
    begun: float | None = None
    beyond = back = 0
    for index, (minute, value) in enumerate(points):
        if index and minute - times[index - 1] > max(20.0, 2.5 * cadence):
            if begun is not None:
                found.append((begun, times[index - 1], False))
            begun, beyond, back = None, 0, 0
        beyond = beyond + 1 if sign * value < sign * level else 0
        back = back + 1 if sign * value >= sign * end else 0
        if begun is None and beyond == need:
            begun, back = times[index - need + 1], 0
        if begun is not None and back == need:
            found.append((begun, times[index - need + 1], True))
            begun, beyond = None, 0
        assert minute == times[index]
    if begun is not None:
        found.append((begun, times[-1], False))
    return found


LEVELS = ((LEVEL_1_LOW, 70, 70), (LEVEL_2_LOW, 54, 70), (LEVEL_1_HIGH, 180, 180), (LEVEL_2_HIGH, 250, 180))
VALUES = st.sampled_from([40.0, 53.0, 54.0, 60.0, 69.0, 70.0, 110.0, 180.0, 181.0, 220.0, 250.0, 251.0, 300.0])
RUNS = st.lists(st.tuples(VALUES, st.integers(1, 5), st.sampled_from([0, 0, 0, 5, 16, 30])), max_size=25)


def spun(runs: list[tuple[float, int, int]], cadence: int) -> list[Point]:
    points, minute = [], 0.0
    for value, length, pause in runs:
        minute += pause
        for _ in range(length):
            points.append((minute, value))
            minute += cadence
    return points


@settings(deadline=None)
@given(st.lists(st.tuples(RUNS, st.sampled_from([1, 3, 5, 15])), min_size=1, max_size=4))
def test_events_are_those_of_a_plain_loop(made: list[tuple[list[tuple[float, int, int]], int]]) -> None:
    each = [spun(runs, cadence) for runs, cadence in made]
    finder = Finder(traces(*each))
    for kind, level, end in LEVELS:
        expected = [event for points in each for event in plainly(points, level, end, low=kind.low)]
        assert told(finder.find(kind)) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(RUNS, st.sampled_from([3, 5, 15])), min_size=1, max_size=4))
def test_events_of_many_are_those_of_each_alone(made: list[tuple[list[tuple[float, int, int]], int]]) -> None:
    each = [spun(runs, cadence) for runs, cadence in made]
    together = Finder(traces(*each))
    for kind in KINDS.values():
        assert told(together.find(kind)) == [event for points in each for event in find(traces(points), kind)]


@pytest.mark.recorded
@pytest.mark.parametrize("name", ["cgm-shanghai-t2dm", "cgm-physiocgm"])
def test_events_of_real_series_are_those_of_a_plain_loop(name: str) -> None:
    words = {"low": -np.inf, "high": np.inf}
    rows: dict[str, dict[float, float]] = {}
    for line in (RECORDED / name / "cgm.csv").read_text().splitlines()[1:]:
        subject, time, value = line.split(",")
        moment = datetime.fromisoformat(time).replace(tzinfo=UTC)
        seconds = (moment - datetime(2020, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
        rows.setdefault(subject, {}).setdefault(seconds / 60, words.get(value.lower()) or float(value))
    each = [sorted(points.items()) for points in rows.values()]
    minutes = np.array([minute for points in each for minute, _ in points])
    taken = np.round(minutes * MINUTE_US).astype(np.int64)
    together = arrange(
        np.repeat(np.arange(len(each)), [len(points) for points in each]),
        len(each),
        taken_us=taken,
        clock_us=taken,
        shown=np.array([value for points in each for _, value in points]),
        mmol=np.zeros(len(taken), dtype=bool),
    )
    finder = Finder(together)
    for kind, level, end in LEVELS:
        events = finder.find(kind)
        expected = [event for points in each for event in plainly(points, level, end, low=kind.low)]
        found = np.stack([events.start_us, events.end_us], axis=1) / MINUTE_US
        np.testing.assert_allclose(found, np.array([event[:2] for event in expected]), atol=1e-4)
        assert len(expected) > 10


# Nights


def night(day: int, lows: dict[int, float], *, until: int = 360) -> list[Point]:
    """Every 5 minutes of a night at 100 mg/dL, but for 20 minutes from each minute given."""
    return [
        (day * 1440.0 + minute, next((value for at, value in lows.items() if at <= minute < at + 20), 100.0))
        for minute in range(0, until, 5)
    ]


def test_nights_with_lows_are_counted_by_hour() -> None:
    """A low at 02:50 lies in two hours; two in the same hour are one night; at 06:00 the night is over."""
    sleeper = [*night(0, {170: 60.0}), *night(1, {120: 60.0, 150: 62.0}), *night(2, {}), *night(3, {}, until=240)]
    morning = even([100, 60, 60, 60, 60, 100, 100, 100], first=360.0 - 5)
    one = traces(sleeper, morning)
    found = night_lows(one, Finder(one).find(LEVEL_1_LOW))
    assert found.lows.tolist() == [[0, 0, 2, 1, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert found.nights.tolist() == [3, 0]  # the fourth has 48 of 72 readings


def test_a_dip_that_is_no_event_is_no_low_of_the_night() -> None:
    one = traces([*night(0, {}), (1440.0 + 60, 60.0), (1440.0 + 65, 100.0), (1440.0 + 70, 100.0)])
    assert night_lows(one, Finder(one).find(LEVEL_1_LOW)).lows.sum() == 0


def test_an_hour_without_a_reading_below_70_is_not_low_though_the_event_goes_on() -> None:
    one = traces(even([60, 60, 60, 72, 72], first=105.0))  # low at 01:45 to 01:55, then 72 and no more
    assert night_lows(one, Finder(one).find(LEVEL_1_LOW)).lows.tolist() == [[0, 1, 0, 0, 0, 0]]

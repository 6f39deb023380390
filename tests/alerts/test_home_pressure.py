from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.home_pressure import Component, HomePressure, Lack, Pressures, home_pressure
from alerts.metrics import MINUTE_US
from ingest.reading import to_us
from tests.alerts.traces import MONDAY
from tests.conftest import RECORDED

JHS = RECORDED / "bp-jhs" / "bp.csv"


Cuff = tuple[int, str, float, float]


def pressures(*each: Sequence[Cuff]) -> Pressures:
    """Readings of (day from 0, "hh:mm", systolic, diastolic), oldest first."""
    rows = [row for patient in each for row in patient]
    taken = [MONDAY + (day * 1440 + int(at[:2]) * 60 + int(at[3:])) * MINUTE_US for day, at, _, _ in rows]
    return Pressures(
        offsets=np.cumsum([0, *(len(patient) for patient in each)]),
        taken_us=np.array(taken, dtype=np.int64),
        clock_us=np.array(taken, dtype=np.int64),
        systolic=np.array([row[2] for row in rows], dtype=np.float64),
        diastolic=np.array([row[3] for row in rows], dtype=np.float64),
    )


def twice(day: int, at: str, first: tuple[float, float], second: tuple[float, float]) -> list[Cuff]:
    """A session of two readings a minute apart."""
    return [(day, at, *first), (day, f"{at[:3]}{int(at[3:]) + 1:02}", *second)]


# Day 0 is dropped; the daily means are 130, 140 and 134 systolic.
WEEK: list[Cuff] = [
    *twice(0, "07:00", (170, 100), (160, 98)),
    *twice(0, "20:00", (150, 95), (150, 93)),
    *twice(1, "07:00", (140, 86), (136, 84)),
    *twice(1, "20:00", (124, 80), (120, 76)),
    *twice(2, "07:30", (150, 90), (146, 88)),
    *twice(2, "20:00", (132, 82), (132, 80)),
    *twice(3, "06:00", (142, 86), (140, 86)),
    *twice(3, "23:50", (130, 78), (124, 78)),
]


def test_a_week_worked_by_hand() -> None:
    found = home_pressure(pressures(WEEK))
    whole = {name: getattr(found, name)[0] for name in ("readings", "sessions", "days", "days_measured", "pairs")}
    assert whole == {"readings": 12, "sessions": 6, "days": 3, "days_measured": 4, "pairs": 8}
    assert (found.mornings[0], found.evenings[0]) == (3, 3)
    systolic = found.systolic
    # Sessions 138, 122, 148, 132, 141, 127.
    assert systolic.mean[0] == pytest.approx(808 / 6)
    assert systolic.morning[0] == pytest.approx(427 / 3)
    assert systolic.evening[0] == pytest.approx(381 / 3)
    assert systolic.morning_less_evening[0] == pytest.approx(46 / 3)
    # Days 130, 140, 134: their mean is 134.67, the squares of the differences add up to 50.67.
    assert systolic.day_sd[0] == pytest.approx((152 / 3 / 2) ** 0.5)
    assert systolic.arv[0] == pytest.approx((10 + 6) / 2)
    # 10, 0, 4, 4, 4, 0, 2, 6.
    assert systolic.first_excess[0] == pytest.approx(30 / 8)
    assert systolic.first_excess_sd[0] == pytest.approx(((188 - 30**2 / 8) / 7) ** 0.5)
    # Sessions 85, 78, 89, 81, 86, 78.
    assert found.diastolic.mean[0] == pytest.approx(497 / 6)
    assert found.sufficient[0]
    assert found.lacks(0) == ()


def test_in_steady_measuring_no_day_is_dropped() -> None:
    found = home_pressure(pressures(WEEK), drop_first_day=False)
    assert (found.readings[0], found.days[0]) == (16, 4)
    assert found.systolic.mean[0] == pytest.approx((808 + 165 + 150) / 8)


def test_the_last_two_of_a_session_count_and_a_single_one_counts() -> None:
    session: list[Cuff] = [(0, "08:00", 190, 99), (0, "08:10", 150, 90), (0, "08:20", 130, 80), (0, "08:31", 120, 70)]
    found = home_pressure(pressures(session), drop_first_day=False)
    assert (found.sessions[0], found.readings[0], found.pairs[0]) == (2, 3, 1)
    assert found.systolic.mean[0] == pytest.approx((140 + 120) / 2)
    assert found.systolic.first_excess[0] == 40


@pytest.mark.parametrize(
    ("at", "mornings", "evenings"),
    [
        ("04:00", 1, 0),
        ("11:59", 1, 0),
        ("12:00", 0, 0),
        ("15:59", 0, 0),
        ("16:00", 0, 1),
        ("03:59", 0, 1),
    ],
)
def test_parts_of_the_day(at: str, mornings: int, evenings: int) -> None:
    found = home_pressure(pressures([(1, at, 120, 80)]), drop_first_day=False)
    assert (found.mornings[0], found.evenings[0], found.sessions[0]) == (mornings, evenings, 1)


def test_what_is_measured_after_midnight_belongs_to_the_evening_before() -> None:
    late: list[Cuff] = [(0, "08:00", 150, 90), (1, "00:30", 130, 80), (1, "08:00", 120, 70), (2, "00:30", 110, 60)]
    found = home_pressure(pressures(late))
    assert (found.days[0], found.days_measured[0]) == (1, 2)
    assert found.systolic.mean[0] == pytest.approx(115)
    assert np.isnan(found.systolic.day_sd[0])
    assert np.isnan(found.systolic.arv[0])


def test_a_clock_set_back_takes_no_session_back_to_the_day_before() -> None:
    """Measured at 04:10, then at 05:00, when the clock, an hour back, says 04:00 less ten minutes."""
    good = pressures([(0, "08:00", 150, 90), (1, "04:10", 130, 80), (1, "05:00", 120, 70), (2, "08:00", 140, 80)])
    moved = replace(good, clock_us=good.clock_us - np.array([0, 0, 70, 0]) * MINUTE_US)
    assert home_pressure(moved).systolic.day_sd[0] == pytest.approx(np.std([125, 140], ddof=1))


@pytest.mark.parametrize(
    ("kept", "lacks"),
    [
        (lambda cuff: True, ()),
        (lambda cuff: cuff != WEEK[-1], (Lack.READINGS,)),
        (lambda cuff: int(cuff[1][:2]) < 12, (Lack.READINGS, Lack.EVENING)),
        (lambda cuff: int(cuff[1][:2]) > 12, (Lack.READINGS, Lack.MORNING)),
        (lambda cuff: cuff[0] < 2, (Lack.READINGS, Lack.DAYS)),
        (lambda cuff: cuff[0] < 1, (Lack.READINGS, Lack.DAYS, Lack.MORNING, Lack.EVENING)),
        (lambda cuff: False, (Lack.READINGS, Lack.DAYS, Lack.MORNING, Lack.EVENING)),
    ],
)
def test_what_the_measuring_lacks_is_said(kept: Any, lacks: tuple[Lack, ...]) -> None:
    found = home_pressure(pressures([cuff for cuff in WEEK if kept(cuff)]))
    assert found.lacks(0) == lacks
    assert found.sufficient[0] == (not lacks)


def test_nobody_and_nothing() -> None:
    assert home_pressure(pressures()).readings.shape == (0,)
    found = home_pressure(pressures([], [], WEEK, []))
    assert found.readings.tolist() == [0, 0, 12, 0]
    assert np.isnan(found.systolic.mean[[0, 1, 3]]).all()


CUFFS = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)),
        st.integers(90, 200).map(float),
        st.integers(50, 89).map(float),
    ),
    max_size=30,
).map(lambda cuffs: sorted(cuffs, key=lambda cuff: cuff[:2]))


@settings(deadline=None)
@given(st.lists(CUFFS, min_size=1, max_size=4), st.booleans())
def test_many_at_once_are_what_each_is_alone(each: list[list[Cuff]], drop: bool) -> None:
    together = home_pressure(pressures(*each), drop_first_day=drop)
    for number, cuffs in enumerate(each):
        alone = home_pressure(pressures(cuffs), drop_first_day=drop)
        assert together.lacks(number) == alone.lacks(0)
        for whole, one in ((together.systolic, alone.systolic), (together.diastolic, alone.diastolic)):
            for name in Component.__dataclass_fields__:
                assert getattr(whole, name)[number] == pytest.approx(getattr(one, name)[0], nan_ok=True), name


@settings(deadline=None)
@given(CUFFS)
def test_means_are_those_of_a_plain_loop(cuffs: list[Cuff]) -> None:
    found = home_pressure(pressures(cuffs))
    expected = plainly(cuffs)
    assert found.systolic.mean[0] == pytest.approx(np.mean(expected) if expected else np.nan, nan_ok=True)
    assert found.sessions[0] == len(expected)


def plainly(cuffs: list[Cuff]) -> list[float]:
    """Systolic session values of all days but the first."""
    sessions: list[list[Cuff]] = []
    before = -1000
    for cuff in cuffs:
        minute = cuff[0] * 1440 + int(cuff[1][:2]) * 60 + int(cuff[1][3:])
        if minute - before > 10:
            sessions.append([])
        sessions[-1].append(cuff)
        before = minute
    days = [session[0][0] - (session[0][1] < "04:00") for session in sessions]
    return [
        sum(cuff[2] for cuff in session[-2:]) / len(session[-2:])
        for day, session in zip(days, sessions, strict=True)
        if day > days[0]
    ]


def test_what_is_no_series_of_pressures_is_refused() -> None:
    good = pressures(WEEK)
    arrays = {name: getattr(good, name) for name in Pressures.__dataclass_fields__}
    for change, words in (
        ({"taken_us": good.taken_us[::-1]}, "order"),
        ({"systolic": np.where(np.arange(16) == 3, np.nan, good.systolic)}, "finite"),
        ({"diastolic": good.diastolic[1:]}, "length"),
        ({"offsets": np.array([0, 5])}, "offsets"),
    ):
        with pytest.raises(ValueError, match=words):
            Pressures(**{**arrays, **change})


@pytest.mark.recorded
def test_first_readings_of_a_real_man_are_higher() -> None:
    """Second less first reading: -4.1 +/- 7.4 in 35 sessions; of days SD 5.8, ARV 5.6 (there of all readings)."""
    rows = list(csv.DictReader(JHS.read_text().splitlines()))
    taken = np.array([to_us(datetime.fromisoformat(row["time"]).replace(tzinfo=UTC)) for row in rows])
    found: HomePressure = home_pressure(
        Pressures(
            offsets=np.array([0, len(rows)]),
            taken_us=taken,
            clock_us=taken,
            systolic=np.array([float(row["systolic"]) for row in rows]),
            diastolic=np.array([float(row["diastolic"]) for row in rows]),
        ),
        drop_first_day=False,
    )
    assert found.pairs[0] == 35
    assert found.systolic.first_excess[0] == pytest.approx(4.06, abs=0.005)
    assert found.systolic.first_excess_sd[0] == pytest.approx(7.40, abs=0.005)
    assert found.systolic.day_sd[0] == pytest.approx(5.8, abs=0.5)
    assert found.systolic.arv[0] == pytest.approx(5.6, abs=0.5)

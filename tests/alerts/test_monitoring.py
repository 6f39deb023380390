"""Months of monitoring: days, minutes and live contacts, by windows on the patient's clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.monitoring import Care, CareTime, Window, monitored, windows

SHANGHAI = ZoneInfo("Asia/Shanghai")
MARCH = date(2026, 3, 1)


def spent(minutes: int, at: datetime, *, live: bool = False) -> CareTime:
    return CareTime(patient="p-1", at=at, by="Zhao", minutes=minutes, live=live)


def care(days: int = 0, *times: CareTime, spoken: tuple[datetime, ...] = ()) -> Care:
    measured = frozenset(MARCH + timedelta(days=number) for number in range(days))
    return Care(patient="p-1", zone=SHANGHAI, programme="dm", days=measured, times=times, spoken_at=spoken)


def test_windows_are_whole_months_or_thirty_days_from_the_first() -> None:
    first, last = date(2026, 1, 15), date(2026, 3, 2)
    assert list(windows(first, last, Window.MONTH)) == [
        (date(2026, 1, 1), date(2026, 1, 31)),
        (date(2026, 2, 1), date(2026, 2, 28)),
        (date(2026, 3, 1), date(2026, 3, 31)),
    ]
    assert list(windows(first, last, Window.DAYS_30)) == [
        (date(2026, 1, 15), date(2026, 2, 13)),
        (date(2026, 2, 14), date(2026, 3, 15)),
    ]
    assert list(windows(date(2028, 2, 29), date(2028, 2, 29), Window.MONTH)) == [
        (date(2028, 2, 1), date(2028, 2, 29))
    ]


@pytest.mark.parametrize(
    ("days", "threshold"),
    [(0, ""), (1, ""), (2, "2-15 d: 99445"), (15, "2-15 d: 99445"), (16, "16-30 d: 99454"), (30, "16-30 d: 99454")],
)
def test_days_with_data_go_by_thirty_days(days: int, threshold: str) -> None:
    (row,) = monitored(care(days), MARCH, date(2026, 3, 30), Window.DAYS_30)
    assert (row.days, row.threshold.en) == (days, threshold)
    (month,) = monitored(care(days), MARCH, date(2026, 3, 30), Window.MONTH)
    assert (month.days, month.threshold.en) == (days, "")


@pytest.mark.parametrize(
    ("minutes", "threshold"),
    [
        (9, ""),
        (10, "10-19 min: 99470"),
        (19, "10-19 min: 99470"),
        (20, "20 min: 99457"),
        (39, "20 min: 99457"),
        (40, "20 min: 99457, 1 x 99458"),
        (65, "20 min: 99457, 2 x 99458"),
    ],
)
def test_minutes_go_by_the_month_and_need_a_live_contact(minutes: int, threshold: str) -> None:
    at = datetime(2026, 3, 9, 2, tzinfo=UTC)
    spoken = care(0, spent(minutes - 1, at), spent(1, at, live=True))
    (row,) = monitored(spoken, MARCH, MARCH, Window.MONTH)
    assert (row.minutes, row.live, row.threshold.en) == (minutes, date(2026, 3, 9), threshold)
    assert row.threshold.zh == threshold.replace(" min: ", " 分钟：").replace(", ", "，")
    (silent,) = monitored(care(0, spent(minutes, at)), MARCH, MARCH, Window.MONTH)
    assert (silent.minutes, silent.live, silent.threshold.en) == (minutes, None, "")


def test_the_patients_clock_says_in_which_month_it_was() -> None:
    last_of_february, first_of_march = (
        datetime(2026, 2, 28, 15, 59, tzinfo=UTC),
        datetime(2026, 2, 28, 16, tzinfo=UTC),
    )
    both = care(0, spent(7, last_of_february, live=True), spent(11, first_of_march))
    february, march = monitored(both, date(2026, 2, 1), MARCH, Window.MONTH)
    assert (february.minutes, february.live) == (7, date(2026, 2, 28))
    assert (march.minutes, march.live) == (11, None)


def test_the_first_contact_counts_whether_by_an_attempt_or_by_the_time_written_down() -> None:
    at = datetime(2026, 3, 20, 2, tzinfo=UTC)
    reached = (at - timedelta(days=3), at + timedelta(days=3))
    (row,) = monitored(care(0, spent(5, at, live=True), spoken=reached), MARCH, MARCH, Window.MONTH)
    assert row.live == date(2026, 3, 17)


@pytest.mark.parametrize("minutes", [0, -3, 1441])
def test_minutes_that_cannot_be_are_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="write 1 to 1440"):
        spent(minutes, datetime(2026, 3, 9, tzinfo=UTC))

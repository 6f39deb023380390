from __future__ import annotations

import pytest

from alerts.alert import Audience, Verdict
from alerts.plan import Plan
from ingest.vital import Vital
from tests.alerts.spot_ward import Home, at_home, day, meter, minute

RAISE, CLEAR = Verdict.RAISE, Verdict.CLEAR
TWICE_DAILY = Plan(vital=Vital.BLOOD_PRESSURE, times=2, days=7, since=minute(day(-1)))
THREE_DAYS = Plan(vital=Vital.GLUCOSE, times=1, days=3, since=minute(day(-20)))


def both(number: int) -> list[object]:
    return [*at_home(number, (120, 75), (119, 74)), *at_home(number, (120, 75), (119, 74), clock="19:00")]


def test_a_week_as_planned_is_no_news_and_the_next_reminder_would_be_at_eight() -> None:
    home = Home(plans=[TWICE_DAILY]).take(*[each for n in range(7) for each in both(n)])  # type: ignore[arg-type]
    assert home.review(day(6, "21:00"))["missed-measurement"].verdict is CLEAR
    assert home.reviewed(day(6, "19:59")).again == minute(day(6, "20:00"))
    assert home.reviewed(day(6, "20:00")).again == minute(day(7, "20:00"))


def test_a_session_counts_once_and_the_day_under_way_counts_from_eight_in_the_evening() -> None:
    home = Home(plans=[TWICE_DAILY]).take(*[each for n in range(6) for each in both(n)])  # type: ignore[arg-type]
    home.take(*at_home(6, (120, 75), (119, 74)))  # Sunday morning, one occasion of two readings
    assert home.review(day(6, "19:59"))["missed-measurement"].verdict is CLEAR
    found = home.review(day(6, "20:00"))["missed-measurement"]
    assert (found.verdict, found.audience) == (RAISE, Audience.PATIENT)
    assert found.because.en == (
        "Blood pressure: measured as planned (2 times a day) on 6 of the 7 days that the plan asks for, 2026-03-02 "
        "to 2026-03-08. Please measure today."
    )


def test_what_is_missing_of_one_vital_is_not_ended_by_another_and_of_both_is_one_finding() -> None:
    every_day = [each for n in range(7) for each in both(n)]
    home = Home(plans=[THREE_DAYS, TWICE_DAILY]).take(*every_day)  # type: ignore[arg-type]
    (found,) = [each for each in home.reviewed(day(6, "21:00")).findings if each.rule == "missed-measurement"]
    assert (found.verdict, found.because.en[:13]) == (RAISE, "Meter glucose")
    home = Home(plans=[THREE_DAYS, TWICE_DAILY])
    (found,) = [each for each in home.reviewed(day(6, "21:00")).findings if each.rule == "missed-measurement"]
    assert found.because.en.count("measured as planned") == 2


def test_three_days_of_any_seven_leave_four_free() -> None:
    home = Home(plans=[THREE_DAYS]).take(meter(day(0), 100), meter(day(1), 100), meter(day(2), 100))
    assert home.review(day(6, "21:00"))["missed-measurement"].verdict is CLEAR
    assert home.review(day(7, "21:00"))["missed-measurement"].verdict is RAISE
    home.take(meter(day(7, "21:30"), 100))
    assert home.review(day(7, "22:00"))["missed-measurement"].verdict is CLEAR


def test_a_reminder_is_one_a_week() -> None:
    home = Home(plans=[THREE_DAYS])
    assert len({home.review(day(n, "21:00"))["missed-measurement"].since for n in range(7)}) == 1


def test_the_reminder_of_a_week_comes_in_the_evening_and_no_monday_morning_begins_the_next() -> None:
    home = Home(plans=[THREE_DAYS])
    sunday, morning, evening = (
        home.review(at)["missed-measurement"] for at in (day(6, "20:00"), day(7, "08:00"), day(7, "20:00"))
    )
    assert (morning.verdict, morning.since) == (RAISE, sunday.since)  # told by now, or the house was down
    assert (evening.verdict, evening.since) == (RAISE, minute(day(7, "00:00")))


@pytest.mark.parametrize(
    ("clock", "asks", "again"),
    [
        ("03:30", False, "08:00"),
        ("07:59", False, "08:00"),
        ("08:00", True, "20:00"),
        ("20:00", True, "44:00"),
        ("20:59", True, "44:00"),
        ("21:00", False, "32:00"),
    ],
)
def test_nobody_is_woken_by_a_reminder(clock: str, asks: bool, again: str) -> None:
    found = Home(plans=[THREE_DAYS]).reminders(day(6, clock))
    assert [each.rule for each in found.findings] == ["missed-measurement"] * asks
    assert found.again == minute(day(6, again))


def test_whoever_measures_as_planned_is_looked_at_again_at_eight_and_not_before() -> None:
    home = Home(plans=[TWICE_DAILY]).take(*[each for n in range(7) for each in both(n)])  # type: ignore[arg-type]
    assert home.reminders(day(6, "21:30")) == ((), minute(day(7, "20:00")))
    assert home.reminders(day(7, "03:30")) == ((), minute(day(7, "20:00")))


def test_less_than_half_of_the_plan_is_a_line_of_the_weekly_list() -> None:
    some = [each for n in (0, 2, 4) for each in both(n)]
    found = Home(plans=[TWICE_DAILY]).take(*some).review(day(7, "05:00"))["plan-not-kept"]  # type: ignore[arg-type]
    assert (found.verdict, found.audience) == (RAISE, Audience.WEEKLY)
    assert "on 3 of the 7 days" in found.because.en
    enough = [each for n in (0, 2, 4, 6) for each in both(n)]
    home = Home(plans=[TWICE_DAILY]).take(*enough)  # type: ignore[arg-type]
    assert home.review(day(7, "05:00"))["plan-not-kept"].verdict is CLEAR


def test_a_plan_asks_for_nothing_from_before_it_was_agreed() -> None:
    new = Plan(vital=Vital.GLUCOSE, times=1, days=7, since=minute(day(5)))
    home = Home(plans=[new])
    assert home.review(day(5, "21:00"))["missed-measurement"].verdict is CLEAR
    assert home.review(day(5, "21:00"))["missed-measurement"].because.en == (
        "Meter glucose: the plan (once a day) asks for no day up to 2026-03-07."
    )
    because = home.review(day(6, "21:00"))["missed-measurement"].because
    assert because.en == (
        "Meter glucose: measured as planned (once a day) on 0 of the 1 day that the plan asks for, 2026-03-08. "
        "Please measure today."
    )
    assert because.zh == "指尖血糖：2026-03-08 计划测量 1 天（每天 1 次），其中 0 天按计划完成。请今天测量。"
    assert "0 of the 2 days that the plan asks for, 2026-03-08 to 2026-03-09." in (
        home.review(day(7, "21:00"))["missed-measurement"].because.en
    )


@pytest.mark.parametrize(("times", "days"), [(0, 7), (25, 7), (1, 0), (1, 8)])
def test_a_plan_that_no_week_can_hold_is_refused(times: int, days: int) -> None:
    with pytest.raises(ValueError, match="1 to 24 times a day"):
        Plan(vital=Vital.GLUCOSE, times=times, days=days, since=minute(0))

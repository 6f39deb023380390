"""What a cuff says over days; every mean is worked out by hand."""

from __future__ import annotations

import math

import pytest

from alerts.alert import Audience, Verdict
from alerts.cuff import pressures
from alerts.cuff_review import homes, review
from alerts.rule import Group
from alerts.scene import Scene
from ingest.reading import Flag, Reading
from tests.alerts.spot_ward import ZONE, Home, at_home, cuff, day, limits, minute

RAISE, HOLD, CLEAR = Verdict.RAISE, Verdict.HOLD, Verdict.CLEAR


def week(first: int, morning: tuple[float, float], evening: tuple[float, float], *, days: int = 7) -> list[Reading]:
    """Two readings, a minute apart, each morning and each evening."""
    return [
        each
        for number in range(first, first + days)
        for clock, value in (("07:30", morning), ("19:30", evening))
        for each in at_home(number, value, value, clock=clock)
    ]


def test_the_home_mean_is_of_days_2_to_7() -> None:
    # Day 1 at 170/100, then 6 days of 136/84 and 134/82: mean 135/83 of 24 readings.
    home = Home().take(*at_home(0, (170, 100), (170, 100)), *week(1, (136, 84), (134, 82), days=6))
    found = home.review(day(6, "22:00"))["bp-not-at-goal"]
    assert (found.verdict, found.audience) == (RAISE, Audience.WEEKLY)
    assert found.because.en == (
        "Home blood pressure 135/83 mmHg, mean of 24 readings of 2026-03-02 to 2026-03-08: at or above 135 mmHg "
        "systolic (home limit, ESH 2023, ESC 2024, China 2024)."
    )


def test_in_steady_measuring_no_day_is_the_first() -> None:
    steady = [
        *week(0, (120, 75), (120, 75)),
        *at_home(7, (170, 100), (170, 100)),
        *week(8, (134, 82), (134, 82), days=6),
    ]
    # The second week: a session of 170/100 and twelve of 134/82, mean (170 + 12 * 134) / 13 = 136.8.
    found = Home().take(*steady).review(day(13, "22:00"))["bp-not-at-goal"]
    assert found.verdict is RAISE
    assert "137/83 mmHg, mean of 26 readings" in found.because.en


def test_fewer_than_12_readings_or_no_evenings_say_nothing() -> None:
    few = week(0, (150, 95), (150, 95), days=3)  # the first day dropped: 8 readings
    found = Home().take(*few).review(day(2, "22:00"))["bp-not-at-goal"]
    assert found.verdict is HOLD
    assert "8 readings that count" in found.because.en
    mornings = [each for n in range(7) for each in at_home(n, (150, 95), (150, 95))]
    assert Home().take(*mornings).review(day(6, "22:00"))["bp-not-at-goal"].verdict is HOLD


def test_far_from_goal_is_for_staff_and_goal_ends_it() -> None:
    assert Home().take(*week(0, (146, 88), (146, 88))).review(day(6, "22:00"))["bp-not-at-goal"].audience is (
        Audience.STAFF
    )
    assert Home().take(*week(0, (132, 78), (132, 78))).review(day(6, "22:00"))["bp-not-at-goal"].verdict is HOLD
    assert Home().take(*week(0, (129, 79), (129, 79))).review(day(6, "22:00"))["bp-not-at-goal"].verdict is CLEAR
    assert (
        Home(Group.OLDER).take(*week(0, (138, 84), (138, 84))).review(day(6, "22:00"))["bp-not-at-goal"].verdict
        is HOLD
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((124, 76), (134, 76), RAISE),
        ((124, 76), (133.5, 76), CLEAR),
        ((124, 76), (124, 83), RAISE),
        ((134, 82), (120, 72), CLEAR),
    ],
)
def test_a_rise_beyond_the_noise_of_two_weekly_means(
    before: tuple[float, float], after: tuple[float, float], expected: Verdict
) -> None:
    home = Home().take(*week(0, before, before), *week(7, after, after))
    assert home.review(day(13, "22:00"))["bp-rising"].verdict is expected


def test_a_rise_needs_eight_readings_in_each_week() -> None:
    thin = [*week(0, (120, 75), (120, 75), days=2), *week(7, (140, 85), (140, 85))]
    assert Home().take(*thin).review(day(13, "22:00"))["bp-rising"].verdict is RAISE  # 8 and 28
    assert Home().take(*thin[1:]).review(day(13, "22:00"))["bp-rising"].verdict is HOLD


def test_morning_hypertension_is_said_with_its_difference_from_the_evening() -> None:
    found = Home().take(*week(0, (142, 84), (124, 76))).review(day(6, "22:00"))
    assert found["bp-not-at-goal"].verdict is HOLD  # mean 133/80
    morning = found["bp-morning"]
    assert (morning.verdict, morning.audience) == (RAISE, Audience.WEEKLY)
    assert "Morning blood pressure 142/84 mmHg, mean of 6 sessions" in morning.because.en
    assert "18 mmHg above the evenings (124)" in morning.because.en
    assert Home().take(*week(0, (134, 84), (140, 84))).review(day(6, "22:00"))["bp-morning"].verdict is CLEAR


def test_variability_is_the_spread_of_the_daily_means() -> None:
    # Daily means 110 and 140 in turn over 8 days: sample SD 15 * sqrt(8 / 7) = 16.04.
    swinging = [each for n in range(8) for each in at_home(n, *[(140 if n % 2 else 110, 75)] * 2)]
    found = Home().take(*swinging).review(day(7, "22:00"))["bp-variability"]
    assert found.verdict is RAISE
    assert "SD of 16.0/0.0 mmHg over 8 days" in found.because.en
    assert math.isclose(15 * math.sqrt(8 / 7), 16.0357, abs_tol=1e-4)
    steady = [each for n in range(8) for each in at_home(n, *[(132 if n % 2 else 118, 75)] * 2)]
    assert Home().take(*steady).review(day(7, "22:00"))["bp-variability"].verdict is CLEAR
    assert Home().take(*swinging[:12]).review(day(7, "22:00"))["bp-variability"].verdict is HOLD  # 6 days


def nights(pressure: tuple[float, float], count: int = 3) -> list[Reading]:
    return [cuff(day(n, clock), *pressure) for n in range(1, count + 1) for clock in ("02:00", "03:00", "04:00")]


def test_a_pressure_that_does_not_fall_by_night() -> None:
    days = [each for n in range(4) for each in at_home(n, (130, 80), (130, 80), clock="10:00")]
    found = Home().take(*days, *nights((124, 76))).review(day(4))["bp-non-dipping"]
    assert found.verdict is RAISE  # 1 - 124 / 130 = 4.6 %
    assert "falls by 5 % by night: 124/76 mmHg in 3 nights after 130/80 mmHg by day (9 and 8 readings)" in (
        found.because.en
    )
    assert "rises by 5 %" in Home().take(*days, *nights((137, 84))).review(day(4))["bp-non-dipping"].because.en
    assert Home().take(*days, *nights((117, 70))).review(day(4))["bp-non-dipping"].verdict is CLEAR  # 10 %
    assert Home().take(*days, *nights((124, 76), 2)).review(day(4))["bp-non-dipping"].verdict is HOLD


def test_who_is_awake_at_two_is_not_taken_for_asleep_and_who_sleeps_not_for_awake() -> None:
    awake = [each for n in range(1, 7) for each in at_home(n, (150, 92), (148, 90), clock="02:00")]
    home = Home().take(*at_home(0, (120, 75), (120, 75)), *awake)
    assert home.review(day(6, "22:00"))["bp-non-dipping"].verdict is HOLD
    asleep = Home().take(*week(0, (136, 84), (136, 84)), *nights((100, 60), 6))
    assert "136/84 mmHg, mean of 24 readings" in asleep.review(day(6, "22:00"))["bp-not-at-goal"].because.en


def pulse(number: int, *irregular: bool) -> list[Reading]:
    return [
        cuff(day(number, "07:30") + place, 128, 78, flags={Flag.IRREGULAR_PULSE} if each else ())
        for place, each in enumerate(irregular)
    ]


def test_an_irregular_pulse_counts_when_two_of_three_carry_it_on_two_days() -> None:
    home = Home().take(*pulse(0, True, False, True), *pulse(1, False, True, False))
    assert home.review(day(1, "22:00"))["bp-irregular-pulse"].verdict is HOLD
    found = home.take(*pulse(4, True, True)).review(day(4, "22:00"))["bp-irregular-pulse"]
    assert (found.verdict, found.audience, len(found.evidence)) == (RAISE, Audience.STAFF, 4)
    assert "on 2 days (2026-03-02, 2026-03-06)" in found.because.en
    assert found.since == minute(day(4, "07:31"))
    assert home.take(*pulse(20, False, False)).review(day(20, "22:00"))["bp-irregular-pulse"].verdict is CLEAR


def test_a_cuff_that_is_used_badly_again_and_again_is_the_patients_to_mend() -> None:
    loose = [cuff(day(n, "08:00"), 130, 80, flags={Flag.CUFF_LOOSE, Flag.BODY_MOVEMENT}) for n in range(3)]
    good = [cuff(day(n, "20:00"), 130, 80) for n in range(7)]
    found = Home().take(*loose, *good).review(day(6, "22:00"))["bp-cuff-error"]
    assert (found.verdict, found.audience) == (RAISE, Audience.PATIENT)
    assert found.because.en == (
        "Your cuff reported a fault in 3 of 10 measurements of the last 7 days, at least 3 and 30 % "
        "(Homeward default, to be confirmed by the clinic). Please sit still and do not talk, and close the cuff "
        "so that two fingers fit below it."
    )
    assert Home().take(*loose[:2], *good).review(day(6, "22:00"))["bp-cuff-error"].verdict is CLEAR


def test_measurements_that_gave_no_value_count_among_the_faults_of_a_cuff() -> None:
    scene = Scene("p-1", limits(), minute(day(6, "22:00")), ZONE)
    failed = [minute(day(n, "08:01")) for n in (1, 2, 4)]
    good = [cuff(day(n, "20:00"), 130, 80) for n in range(6)]
    (found,) = [each for each in review(scene, good, failed) if each.rule == "bp-cuff-error"]
    assert (found.verdict, found.audience, found.evidence) == (RAISE, Audience.PATIENT, ())
    assert "in 3 of 9 measurements of the last 7 days, 3 of them without a value, at least 3" in found.because.en
    assert "其中 3 次无数值" in found.because.zh
    assert (found.since, found.known_at) == (minute(day(0, "00:00")), failed[-1])
    assert [each.verdict for each in review(scene, (), failed)] == [RAISE]  # a cuff that only fails
    assert [each.verdict for each in review(scene, (), failed[:2])] == [CLEAR]
    long_past = Scene("p-1", limits(), minute(day(12)), ZONE)
    assert [each.verdict for each in review(long_past, (), failed)] == [CLEAR]


def test_homes_of_several_stretches_are_each_its_own() -> None:
    one, other = (pressures(week(first, value, value, days=3)) for first, value in ((0, (120, 70)), (3, (140, 90))))
    scene = Scene("p-1", limits(), minute(day(6)), ZONE)
    first, nothing, second = homes(scene, one, (), other)
    assert (first.mean[:2], second.mean[:2]) == ((120, 70), (140, 90))
    assert nothing.mean.readings == 0
    assert math.isnan(nothing.mean.systolic)

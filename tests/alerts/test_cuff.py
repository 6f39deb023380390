"""A cuff at home, read aloud: a severe reading that is never judged alone, sessions, and low pressures."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.alert import Audience, Priority, Verdict
from alerts.cuff import _SYMPTOMS
from alerts.meter import _KETONE_ADVICE
from alerts.rule import MIN, MMHG, Group, Key
from ingest.reading import Flag, Reading
from ingest.vital import Unit
from tests.alerts.spot_ward import Home, at_home, cuff, day, minute

RAISE, HOLD, CLEAR = Verdict.RAISE, Verdict.HOLD, Verdict.CLEAR
STAFF, PATIENT = Audience.STAFF, Audience.PATIENT
INSTANT = timedelta(microseconds=1)


# Severe


def test_a_patient_hears_anew_of_a_pair_that_is_worse_and_of_what_was_measured_again() -> None:
    home, onsets = Home(), []
    for at, systolic, diastolic in ((0, 182, 112), (2, 182, 112), (30, 182, 112), (32, 236, 136), (34, 184, 112)):
        found = home.take(cuff(at, systolic, diastolic)).asked(at)["bp-severe"]
        onsets.append((found.since, found.priority))
    pair, again, worse = minute(2), minute(30), minute(32)
    assert onsets == [
        (minute(0), Priority.MEDIUM),
        (pair, Priority.MEDIUM),
        (again, Priority.MEDIUM),
        (worse, Priority.HIGH),
        (worse, Priority.HIGH),
    ]


def test_a_first_severe_reading_asks_the_patient_and_a_second_calls_staff() -> None:
    home = Home().take(cuff(0, 186, 104))
    asked = home.at(0)["bp-severe"]
    assert (asked.verdict, asked.audience) == (RAISE, PATIENT)
    assert "measure again in 1 to 5 minutes" in asked.because.en
    assert "1 至 5 分钟后再测一次" in asked.because.zh
    assert home.judged(0).again == minute(15) + INSTANT
    pair = home.take(cuff(3, 182, 100)).at(3)["bp-severe"]
    assert (pair.verdict, pair.audience, pair.priority) == (RAISE, STAFF, Priority.MEDIUM)
    assert pair.evidence == (cuff(0, 186, 104).key, cuff(3, 182, 100).key)
    assert home.judged(3).again is None


def test_two_severe_readings_that_come_together_tell_the_patient_what_one_alone_would() -> None:
    together = Home().take(cuff(0, 186, 104, arrives=30), cuff(3, 182, 100, arrives=30))
    said = together.asked(30)["bp-severe"].because
    assert said.en.startswith("Blood pressure 186/104 mmHg at 2026-03-02 07:00 and 182/100 mmHg at 2026-03-02 07:03")
    for words in ("Please sit still", "call your doctor or clinic now", "measure again", "call the emergency number"):
        assert words in said.en
    assert "请静坐，立即联系医生或诊所，5 分钟后再测一次；如有胸痛" in said.zh
    assert "emergency number" not in together.at(30)["bp-severe"].because.en


def test_of_one_severe_case_the_patient_hears_at_the_first_at_the_pair_and_when_measured_again() -> None:
    home, told = Home(), []
    for at, systolic in ((0, 186), (3, 184), (4, 185), (40, 190)):
        asked = home.take(cuff(at, systolic, 104)).asked(at)["bp-severe"]
        told.append(asked.since)
    assert told == [minute(0), minute(3), minute(3), minute(40)]


def test_a_pair_is_as_urgent_as_the_worse_of_the_two() -> None:
    for first, second in (((196, 124), (190, 122)), ((196, 124), (184, 112)), ((184, 112), (196, 124))):
        assert Home().take(cuff(0, *first), cuff(2, *second)).at(2)["bp-severe"].priority is Priority.HIGH
    assert Home().take(cuff(0, 196, 120), cuff(2, 190, 120)).at(2)["bp-severe"].priority is Priority.MEDIUM


def test_a_second_reading_that_is_not_severe_ends_it_without_staff() -> None:
    home = Home().take(cuff(0, 186, 104), cuff(3, 168, 98))
    assert home.verdict("bp-severe", 3) is CLEAR
    assert home.verdict("bp-severe", 60) is CLEAR
    assert home.judged(3).again is None


def test_a_second_reading_whose_time_is_not_known_ends_nothing() -> None:
    home = Home().take(cuff(0, 190, 100), cuff(2, 130, 80, flags={Flag.TIME_FAULT}))
    assert home.at(2)["bp-severe"].audience is PATIENT
    assert home.at(16)["bp-severe"].audience is STAFF


def test_no_second_reading_in_15_minutes_raises_on_the_first_alone_and_says_so() -> None:
    home = Home().take(cuff(0, 186, 104))
    assert home.at(15)["bp-severe"].audience is PATIENT
    alone = home.at(15.1)["bp-severe"]
    assert (alone.verdict, alone.audience) == (RAISE, STAFF)
    assert "none came within 15 min" in alone.because.en
    # One reading raised it, one ends it.
    assert home.take(cuff(20, 160, 95)).verdict("bp-severe", 20) is CLEAR


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (cuff(2, 198, 118, flags={Flag.BODY_MOVEMENT}), "198/118 mmHg at 07:02 (the arm moved)"),
        (cuff(2, 196, 190), "196/190 mmHg at 07:02 (pulse pressure 6 mmHg)"),
        (cuff(0.9, 198, 118), "198/118 mmHg at 07:00 (only 54 s after the first)"),
        (cuff(2, 130, 80, flags={Flag.TIME_FAULT}), "130/80 mmHg at 07:02 (time uncertain)"),
    ],
)
def test_what_came_and_does_not_count_is_said(second: Reading, why: str) -> None:
    asked = Home().take(cuff(0, 195, 125), second).asked(3)["bp-severe"]
    assert asked.since == second.taken_at  # answered for itself
    assert f"Not counted: {why}. Please sit still and measure again in 1 to 5 minutes" in asked.because.en
    alone = Home().take(cuff(0, 195, 125), second).at(16)["bp-severe"]
    assert alone.audience is STAFF
    assert alone.because.en.endswith(
        f"none that counts came within 15 min. Not counted: {why}. Times are of Asia/Shanghai."
    )


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ((195, 118), "and above 180 mmHg systolic (above 180/120, AHA/ACC 2025), on one reading alone"),
        ((195, 125), "and above 180/120 mmHg (above 180/120, AHA/ACC 2025), on one reading alone"),
    ],
)
def test_one_alone_names_the_limit_by_which_staff_hear_so_soon(values: tuple[float, float], limit: str) -> None:
    assert limit in Home().take(cuff(0, *values)).at(15.1)["bp-severe"].because.en
    assert "and above" not in Home().take(cuff(0, 175, 112)).at(45.1)["bp-severe"].because.en


def test_what_the_cuff_doubts_and_is_told_all_the_same_is_named() -> None:
    home = Home().take(cuff(0, 192, 116, flags={Flag.BODY_MOVEMENT}))
    said = home.at(0)["bp-severe"].because
    assert "Of 192/116 mmHg the cuff says: the arm moved. Please sit still" in said.en
    assert "192/116 mmHg 测量时血压计提示：测量时手臂移动。请静坐" in said.zh
    assert "the arm moved" in home.at(46)["bp-severe"].because.en
    assert "Of 192/116 mmHg the cuff says" in home.take(cuff(2, 190, 114)).at(2)["bp-severe"].because.en


def test_who_measures_again_as_asked_after_a_severe_pair_is_answered() -> None:
    home = Home().take(cuff(0, 192, 116), cuff(2, 190, 114))
    pair = home.asked(2)["bp-severe"]
    assert home.take(cuff(4, 191, 115)).asked(4)["bp-severe"].since == pair.since  # nobody asked for that one
    third = home.take(cuff(8, 188, 114)).asked(8)["bp-severe"]
    assert third.since == minute(8)
    for at, since in ((4.5, 4), (5.5, 4), (9, 9)):  # also where a round five minutes lie between them
        later = Home().take(cuff(0, 192, 116), cuff(4, 190, 114), cuff(at, 191, 115)).asked(at)["bp-severe"]
        assert later.since == minute(since)
    assert "188/114 mmHg at 2026-03-02 07:08" in third.because.en
    assert "call your doctor or clinic now" in third.because.en


def test_the_sentence_names_the_pressure_that_is_beyond_its_limit() -> None:
    def said(*values: tuple[float, float]) -> str:
        taken = [cuff(2 * place, *each) for place, each in enumerate(values)]
        found = Home().take(*taken).at(2)
        return (found["bp-severe"] if values[0][0] > 100 else found["bp-low"]).because.en

    assert "both at or above 180 mmHg systolic (grade 3" in said((190, 95), (188, 92))
    assert "both at or above 110 mmHg diastolic (grade 3" in said((150, 112), (182, 115))
    assert "both at or above 180/110 mmHg (grade 3" in said((190, 115), (188, 112))
    assert "both at or above 180 mmHg systolic (" in said((190, 100), (170, 112))
    assert "or 110 mmHg diastolic (" in said((190, 100), (170, 112))
    assert "below 90 mmHg systolic (hypotension" in said((85, 62), (84, 61))


@pytest.mark.parametrize(
    ("reading", "waits"), [((180, 100), 45), ((150, 110), 45), ((181, 90), 15), ((150, 121), 15)]
)
def test_below_180_over_120_there_is_time_for_a_repetition_half_an_hour_later(
    reading: tuple[float, float], waits: int
) -> None:
    home = Home().take(cuff(0, *reading))
    assert home.judged(0).again == minute(waits) + INSTANT
    assert home.at(waits)["bp-severe"].audience is PATIENT
    assert home.at(waits + 0.1)["bp-severe"].audience is STAFF


def test_a_second_one_that_was_taken_in_time_and_comes_late_still_ends_it() -> None:
    home = Home().take(cuff(0, 186, 104), cuff(4, 152, 92, arrives=40))
    assert home.at(20)["bp-severe"].audience is STAFF
    assert home.verdict("bp-severe", 40) is CLEAR


def test_the_waiting_time_begins_when_the_patient_can_be_asked() -> None:
    home = Home().take(cuff(0, 186, 104, arrives=60))
    assert home.at(61)["bp-severe"].audience is PATIENT
    assert home.take(cuff(70, 188, 105)).at(70)["bp-severe"].audience is STAFF


def test_a_repetition_within_the_minute_confirms_nothing() -> None:
    assert Home().take(cuff(0, 186, 104), cuff(0.5, 185, 104)).at(1)["bp-severe"].audience is PATIENT


def test_a_confirmed_severe_pressure_is_ended_by_two_readings() -> None:
    home = Home().take(cuff(0, 186, 104), cuff(3, 184, 102), cuff(120, 150, 90))
    assert home.verdict("bp-severe", 120) is RAISE
    assert home.take(cuff(122, 148, 88)).verdict("bp-severe", 122) is CLEAR


@pytest.mark.parametrize("flags", [set(), {Flag.BODY_MOVEMENT}])
def test_a_severe_reading_hours_after_a_pair_leaves_the_pair_to_be_ended_by_two(flags: set[Flag]) -> None:
    home = Home().take(cuff(0, 190, 115), cuff(3, 188, 114), cuff(180, 190, 115, flags=flags))
    assert home.take(cuff(184, 172, 105)).verdict("bp-severe", 184) is RAISE
    assert home.take(cuff(186, 170, 104)).verdict("bp-severe", 186) is CLEAR


def test_what_counts_for_nothing_does_not_end_a_pair_of_long_ago_nor_does_one_reading() -> None:
    home, late = Home().take(cuff(0, 190, 115), cuff(3, 188, 114)), day(9)
    for at, flags, stands in ((0, {Flag.BODY_MOVEMENT}, HOLD), (2, set(), HOLD), (4, {Flag.CUFF_LOOSE}, HOLD)):
        home.take(cuff(late + at, 150, 90, flags=flags))
        assert home.verdict("bp-severe", late + at) is stands
    home.take(cuff(late + 6, 150, 90))
    assert home.verdict("bp-severe", late + 6) is CLEAR


def test_who_is_told_of_an_emergency_is_told_its_number_in_china() -> None:
    for said in (_SYMPTOMS, *_KETONE_ADVICE.values()):
        assert ("emergency number" in said.en) == ("(120 in China)" in said.en)
        assert ("急救电话" in said.zh) == ("中国大陆 120" in said.zh)


def test_one_calm_reading_between_severe_ones_does_not_end_it() -> None:
    home = Home().take(cuff(0, 186, 104), cuff(3, 184, 102), cuff(5, 170, 99), cuff(7, 183, 101), cuff(9, 160, 90))
    found = home.at(9)["bp-severe"]
    assert (found.verdict, found.since) == (RAISE, minute(0))


def test_a_severe_reading_long_after_the_last_begins_a_case_of_its_own() -> None:
    home = Home().take(cuff(0, 186, 104), cuff(3, 184, 102), cuff(300, 185, 103))
    found = home.at(300)["bp-severe"]
    assert (found.audience, found.since) == (PATIENT, minute(300))


def test_a_severe_pair_that_came_late_is_told_as_of_then_and_asks_for_a_measurement_now() -> None:
    late = Home().take(cuff(0, 186, 104, arrives=180), cuff(3, 182, 100, arrives=180))
    for said in (late.at(180)["bp-severe"].because, late.asked(180)["bp-severe"].because):
        assert "186/104 mmHg at 2026-03-02 07:00 and 182/100 mmHg at 2026-03-02 07:03" in said.en
        assert "This came late, at 2026-03-02 10:00: by then it may have been otherwise." in said.en
        assert "数据迟至 2026-03-02 10:00 才到达：届时情况可能已有变化。" in said.zh
    said = late.asked(180)["bp-severe"].because
    assert "measure again now, and call your doctor or clinic if it is still as high; with chest" in said.en
    assert "in 5 minutes" not in said.en
    assert "现在再测一次，如仍如此之高，请联系医生或诊所；如有胸痛" in said.zh


def test_a_severe_or_low_reading_that_came_late_asks_for_one_now_and_is_told_alone_with_that() -> None:
    for first, rule, last in (
        (cuff(0, 186, 104, arrives=180), "bp-severe", 200),
        (cuff(0, 72, 50, arrives=180), "bp-low", 200),
    ):
        home = Home().take(first)
        asked, alone = home.at(180)[rule], home.at(last)[rule]
        assert (asked.audience, alone.audience) == (PATIENT, STAFF)
        assert "measure again now; " in asked.because.en
        assert "现在再测一次；" in asked.because.zh
        for said in (asked, alone):
            assert "This came late, at 2026-03-02 10:00" in said.because.en


def test_a_severe_reading_of_yesterday_raises_nothing_today() -> None:
    home = Home().take(cuff(0, 186, 104, arrives=1440), cuff(2, 188, 104, arrives=1440))
    assert home.verdict("bp-severe", 1440) is HOLD


@pytest.mark.parametrize("flag", [Flag.BODY_MOVEMENT, Flag.CUFF_LOOSE, Flag.IMPROPER_POSITION])
def test_a_reading_taken_badly_asks_for_another_but_neither_confirms_nor_ends(flag: Flag) -> None:
    asked = Home().take(cuff(0, 190, 104, flags={flag})).at(0)["bp-severe"]
    assert (asked.verdict, asked.audience) == (RAISE, PATIENT)
    unconfirmed = Home().take(cuff(0, 186, 104), cuff(3, 188, 104, flags={flag}))
    assert unconfirmed.at(3)["bp-severe"].audience is PATIENT
    assert unconfirmed.at(16)["bp-severe"].audience is STAFF
    not_ended = Home().take(cuff(0, 186, 104), cuff(3, 120, 80, flags={flag}))
    assert not_ended.verdict("bp-severe", 3) is RAISE


def test_a_pulse_pressure_that_nobody_has_confirms_nothing() -> None:
    assert Home().take(cuff(0, 186, 104), cuff(3, 190, 180)).at(3)["bp-severe"].audience is PATIENT


def test_two_wide_pulse_pressures_that_agree_confirm_each_other() -> None:
    home = Home().take(cuff(0, 230, 95))
    assert home.at(0)["bp-severe"].audience is PATIENT
    pair = home.take(cuff(2, 228, 92)).at(2)["bp-severe"]
    assert pair.audience is STAFF
    assert "Pulse pressure 135 mmHg and 136 mmHg, outside 15 to 130 mmHg" in pair.because.en


def test_hi_on_the_display_is_severe() -> None:
    home = Home().take(cuff(0, "HI"))
    assert home.at(0)["bp-severe"].because.en.startswith("Blood pressure HI at 2026-03-02 07:00")
    assert home.judged(0).again == minute(15) + INSTANT
    assert home.take(cuff(2, "HI")).at(2)["bp-severe"].priority is Priority.HIGH


def test_in_pregnancy_160_over_110_is_severe_and_confirmed_of_high_priority() -> None:
    home = Home(Group.PREGNANCY).take(cuff(0, 160, 90))
    assert home.at(0)["bp-severe"].audience is PATIENT
    pair = home.take(cuff(4, 162, 92)).at(4)["bp-severe"]
    assert (pair.audience, pair.priority) == (STAFF, Priority.HIGH)
    assert Home().take(cuff(0, 160, 90), cuff(1440, 160, 90)).verdict("bp-severe", 1440) is CLEAR


@pytest.mark.parametrize(
    ("groups", "source"),
    [
        ((), "110 mmHg diastolic (grade 3, ESH 2023)"),
        ((Group.CHINA,), "110 mmHg diastolic (grade 3, China public health service)"),
        ((Group.CHINA, Group.PREGNANCY), "110 mmHg diastolic (severe in pregnancy, ACOG and China 2020)"),
    ],
)
def test_where_a_limit_comes_from_is_said_by_region_and_population(groups: tuple[Group, ...], source: str) -> None:
    assert source in Home(*groups).take(cuff(0, 150, 112)).asked(0)["bp-severe"].because.en


def test_a_programme_may_shorten_the_wait() -> None:
    own = {Key("bp-severe", "wait-severe", MIN): 20.0}
    assert Home(given=own).take(cuff(0, 180, 100)).judged(0).again == minute(20) + INSTANT


# Sessions


def test_one_high_blood_pressure_holds_and_the_mean_of_two_is_judged() -> None:
    home = Home().take(cuff(0, 150, 95))
    assert home.verdict("bp-session-high", 0) is HOLD
    found = home.take(cuff(2, 130, 85)).at(2)["bp-session-high"]
    assert found.because.zh.endswith("请休息，并按平时的时间继续测量；下次就诊时请出示这些数值。")
    assert (found.verdict, found.priority, found.audience) == (RAISE, Priority.LOW, PATIENT)
    assert found.because.en == (
        "Home blood pressure 140/90 mmHg (mean of 150/95 mmHg and 130/85 mmHg, session of 2026-03-02 07:00), "
        "at or above 135/85 mmHg (home limit, ESH 2023, ESC 2024, China 2024). Please rest, and go on measuring at "
        "your usual times; bring these values to your next visit."
    )
    alone = Home().take(cuff(0, 150, 80), cuff(2, 140, 78)).at(2)["bp-session-high"]
    assert "at or above 135 mmHg systolic (home limit" in alone.because.en
    assert "达到或高于 135 mmHg（收缩压；" in alone.because.zh
    home.take(cuff(4, 136, 84))  # the last two: 133/84.5, between the goal and the limit
    assert home.verdict("bp-session-high", 4) is HOLD
    home.take(cuff(720, 128, 78), cuff(722, 126, 77))
    assert home.verdict("bp-session-high", 722) is CLEAR


def test_a_mean_that_only_the_first_reading_carries_over_the_limit_holds() -> None:
    assert Home().take(cuff(0, 150, 90), cuff(3, 128, 80)).verdict("bp-session-high", 3) is HOLD
    assert Home().take(cuff(0, 128, 80), cuff(3, 150, 90)).verdict("bp-session-high", 3) is RAISE


def test_readings_more_than_ten_minutes_apart_are_two_sessions() -> None:
    assert Home().take(cuff(0, 150, 95), cuff(11, 150, 95)).verdict("bp-session-high", 11) is HOLD


def test_a_reading_taken_badly_enters_no_mean() -> None:
    home = Home().take(cuff(0, 128, 78), cuff(2, 160, 98, flags={Flag.BODY_MOVEMENT}), cuff(4, 126, 76))
    assert home.verdict("bp-session-high", 4) is CLEAR


def test_high_sessions_of_most_days_are_told_once_a_week() -> None:
    home, onsets = Home(), set()
    for number in range(7):
        home.take(*at_home(number, (140, 88), (138, 87)))
        onsets.add(home.at(day(number, "07:32"))["bp-session-high"].since)
    assert onsets == {minute(30)}
    home.take(*at_home(7, (140, 88), (138, 87)))
    assert home.at(day(7, "07:32"))["bp-session-high"].since == minute(day(7, "07:30"))


def test_staff_hear_of_sessions_far_above_the_limit_on_three_days_of_seven() -> None:
    home = Home()
    for number in (0, 1):
        home.take(*at_home(number, (164, 96), (162, 95)), *at_home(number, (164, 96), (162, 95), clock="19:30"))
    assert home.at(day(1, "19:32"))["bp-session-high"].audience is PATIENT  # two days, four sessions
    home.take(*at_home(3, (150, 92), (148, 90)))
    assert home.at(day(3, "07:32"))["bp-session-high"].audience is PATIENT  # high, but not so high
    home.take(*at_home(4, (164, 96), (162, 95)))
    found = home.at(day(4, "07:32"))["bp-session-high"]
    assert (found.audience, found.priority, found.since) == (STAFF, Priority.LOW, minute(30))
    assert "On 3 of the last 7 days at or above 160 mmHg systolic (" in found.because.en


def test_kilopascal_are_judged_and_said_as_received() -> None:
    home = Home().take(cuff(0, 18.0, 11.3, Unit.KPA), cuff(2, 18.0, 11.3, Unit.KPA))
    found = home.at(2)["bp-session-high"]
    assert found.verdict is RAISE  # 135.01 mmHg
    assert "18/11.3 kPa" in found.because.en


def test_older_people_have_a_limit_of_their_own() -> None:
    session = [cuff(0, 138, 82), cuff(2, 138, 82)]
    assert Home().take(*session).verdict("bp-session-high", 2) is RAISE
    assert Home(Group.OLDER).take(*session).verdict("bp-session-high", 2) is HOLD


# Low


def test_a_low_pressure_asks_the_patient_and_a_second_one_tells_staff() -> None:
    home = Home().take(cuff(0, 88, 58))
    asked = home.at(0)["bp-low"]
    assert (asked.verdict, asked.audience) == (RAISE, PATIENT)
    assert "sit or lie down" in asked.because.en
    found = home.take(cuff(5, 86, 57)).at(5)["bp-low"]
    assert (found.audience, found.priority) == (STAFF, Priority.LOW)
    assert found.because.en == (
        "Blood pressure 88/58 mmHg at 2026-03-02 07:00 and 86/57 mmHg at 2026-03-02 07:05: below 90/60 mmHg "
        "(hypotension, usual definition). Times are of Asia/Shanghai."
    )
    assert found.because.zh.startswith(
        "2026-03-02 07:00 血压 88/58 mmHg，2026-03-02 07:05 血压 86/57 mmHg：低于 90/60 mmHg"
    )


def test_a_second_reading_that_is_not_low_ends_it() -> None:
    home = Home().take(cuff(0, 88, 58), cuff(5, 104, 66))
    assert home.verdict("bp-low", 5) is CLEAR
    assert Home().take(cuff(0, 88, 58), cuff(5, 92, 62)).verdict("bp-low", 5) is HOLD  # too near to be over


def test_two_readings_below_80_are_of_medium_priority() -> None:
    assert Home().take(cuff(0, 78, 50), cuff(5, 76, 48)).at(5)["bp-low"].priority is Priority.MEDIUM


@pytest.mark.parametrize("pair", [((79, 48), (84, 52)), ((84, 52), (79, 48))])
def test_a_pair_with_one_below_80_is_no_less_urgent_than_one_alone_and_names_that_limit(
    pair: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    found = Home().take(cuff(0, *pair[0]), cuff(5, *pair[1])).at(5)["bp-low"]
    assert (found.audience, found.priority) == (STAFF, Priority.MEDIUM)
    assert "Very low: below 80 mmHg systolic (Homeward default" in found.because.en
    assert "严重偏低：低于 80 mmHg（收缩压；" in found.because.zh
    milder = Home().take(cuff(0, 84, 52), cuff(5, 82, 50)).at(5)["bp-low"]
    assert milder.priority is Priority.LOW
    assert "80 mmHg" not in milder.because.en


def test_the_patient_is_told_what_to_do_also_where_two_very_low_pressures_come_at_once() -> None:
    home = Home().take(cuff(0, 70, 40, arrives=6), cuff(5, 72, 42, arrives=6.1))  # each in its own packet
    asked = home.asked(7)["bp-low"]
    assert "sit or lie down" in asked.because.en
    assert "call for help" in asked.because.en
    assert (home.at(7)["bp-low"].audience, home.at(7)["bp-low"].priority) == (STAFF, Priority.MEDIUM)
    assert Home().take(cuff(0, 70, 40), cuff(5, 72, 42)).asked(5) == {}  # asked at the first already


def test_a_patient_hears_of_a_very_low_pressure_also_after_a_milder_one_in_the_same_week() -> None:
    home = Home().take(cuff(day(0), 88, 58))
    first = home.asked(day(0))["bp-low"].since
    assert home.take(cuff(day(1), 86, 58)).asked(day(1))["bp-low"].since == first
    assert home.take(cuff(day(2), 70, 40)).asked(day(2))["bp-low"].since == minute(day(2))


@pytest.mark.parametrize("pair", [((70, 58), (68, 56)), ((85, 72), (84, 72))])
def test_two_low_pressures_with_a_weak_pulse_tell_staff_and_say_what_is_odd(
    pair: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    home = Home().take(cuff(0, *pair[0]))
    assert home.at(0)["bp-low"].audience is PATIENT
    found = home.take(cuff(4, *pair[1])).at(4)["bp-low"]
    assert found.audience is STAFF
    assert "mmHg, outside 15 to 130 mmHg: measured wrongly, or a sign itself" in found.because.en
    moved = Home().take(cuff(0, *pair[0]), cuff(4, *pair[1], flags={Flag.BODY_MOVEMENT}))
    assert moved.at(4)["bp-low"].audience is PATIENT


@pytest.mark.parametrize("value", [(60, 35), ("LO",)])
def test_a_very_low_pressure_after_which_nothing_better_comes_tells_staff(value: tuple[float, float]) -> None:
    home = Home().take(cuff(0, *value))
    assert home.judged(0).again == minute(15) + INSTANT
    assert home.at(15)["bp-low"].audience is PATIENT
    found = home.at(15.1)["bp-low"]
    assert (found.audience, found.priority, found.known_at) == (STAFF, Priority.MEDIUM, minute(15))
    assert "nothing better came within 15 min" in found.because.en
    assert home.judged(16).again is None
    # A second one of another session does not begin the wait anew, one taken badly does not end it.
    assert Home().take(cuff(0, *value), cuff(12, 66, 40)).at(15.1)["bp-low"].audience is STAFF
    moved = cuff(3, 110, 70, flags={Flag.BODY_MOVEMENT})
    assert Home().take(cuff(0, *value), moved).at(15.1)["bp-low"].audience is STAFF
    assert home.take(cuff(20, 110, 70)).verdict("bp-low", 20) is CLEAR


def test_one_pressure_that_is_low_but_not_very_low_stays_with_the_patient() -> None:
    home = Home().take(cuff(0, 105, 58))
    assert home.judged(0).again is None
    assert home.at(300)["bp-low"].audience is PATIENT


def test_a_limit_can_be_the_patients_own() -> None:
    own = {Key("bp-low", "diastolic", MMHG): 50.0}
    assert Home(given=own).take(cuff(0, 110, 55)).verdict("bp-low", 0) is not RAISE


def test_of_two_that_contradict_each_other_no_mean_is_formed() -> None:
    home = Home().take(cuff(0, 192, 110), cuff(3, 140, 88))  # their mean is 166/99
    found = home.at(3)["bp-session-high"]
    assert found.verdict is HOLD
    assert "they contradict each other and have no mean" in found.because.en
    assert home.take(cuff(6, 138, 87)).verdict("bp-session-high", 6) is RAISE

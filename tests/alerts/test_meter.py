"""A meter at home, read aloud: what it shows at which minute, and who hears of what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts import scene
from alerts.alert import Act, ActKind, Audience, Finding, Outcome, Priority, Verdict
from alerts.machine import hear, hear_findings
from alerts.rule import MG_DL, Group, Key
from ingest.reading import Flag, Reading
from ingest.vital import Unit
from tests.alerts.spot_ward import Home, day, ketone, meter, minute, sensor
from tests.alerts.ward import said

RAISE, HOLD, CLEAR = Verdict.RAISE, Verdict.HOLD, Verdict.CLEAR
STAFF, PATIENT, WEEKLY = Audience.STAFF, Audience.PATIENT, Audience.WEEKLY
# In quantities that everybody has at home.
SUGAR = "15 to 20 g of fast sugar (half a glass of juice, 150 ml, or 3 to 4 sugar cubes; with acarbose: glucose)"


# Lows


def test_a_low_asks_the_patient_to_eat_and_to_measure_again() -> None:
    found = Home().take(meter(0, 62)).at(0)["meter-low"]
    assert (found.verdict, found.audience, found.priority) == (RAISE, PATIENT, Priority.LOW)
    assert found.because.en == (
        "Meter glucose 62 mg/dL (3.4 mmol/L) at 2026-03-02 07:00: below 70 mg/dL (3.9 mmol/L). Limit: ADA and CDS "
        f"2024, level 1. Please eat or drink {SUGAR} now and measure again in 15 min; if it is still low, "
        "do so again."
    )
    assert found.because.zh.startswith(
        "2026-03-02 07:00 指尖血糖 62 mg/dL（3.4 mmol/L）：低于 70 mg/dL（3.9 mmol/L）。"
    )
    assert found.evidence == (meter(0, 62).key,)


def test_a_low_that_passes_is_nobody_elses_business() -> None:
    home = Home().take(meter(0, 62), meter(16, 95))
    assert home.verdict("meter-low", 16) is CLEAR
    assert home.verdict("meter-low", 300) is CLEAR


def test_a_low_that_is_still_low_a_quarter_of_an_hour_later_goes_to_staff() -> None:
    home = Home().take(meter(0, 62), meter(8, 64))
    assert home.at(8)["meter-low"].audience is PATIENT
    found = home.take(meter(16, 66)).at(16)["meter-low"]
    assert (found.verdict, found.audience, found.since) == (RAISE, STAFF, minute(0))
    assert "62 mg/dL (3.4 mmol/L) at 2026-03-02 07:00" in found.because.en
    assert "66 mg/dL (3.7 mmol/L) after 16 min: not recovered by then" in found.because.en


def test_an_unanswered_low_of_level_1_stays_with_the_patient() -> None:
    assert Home().take(meter(0, 62)).at(600)["meter-low"].audience is PATIENT


def test_a_very_low_asks_first_and_staff_hear_when_no_answer_comes_in_half_an_hour() -> None:
    home = Home().take(meter(0, 48))
    judged = home.judged(0)
    asked = home.at(0)["meter-very-low"]
    assert (asked.verdict, asked.audience, asked.priority) == (RAISE, PATIENT, Priority.MEDIUM)
    assert judged.again == minute(30) + timedelta(microseconds=1)
    assert home.at(30)["meter-very-low"].audience is PATIENT
    found = home.at(30.1)["meter-very-low"]
    assert (found.audience, found.priority, found.since) == (STAFF, Priority.MEDIUM, minute(0))
    assert found.known_at == minute(30)
    assert "asked to measure again; no recovery was seen in 30 min" in found.because.en
    assert home.judged(31).again is None


def test_a_very_low_value_that_comes_late_asks_to_measure_now_and_counts_from_when_it_asked() -> None:
    home = Home().take(meter(0, 45, arrives=200))
    asked = home.at(200)["meter-very-low"]
    assert asked.audience is PATIENT
    assert asked.because.en.endswith(
        f"This value came late. Please measure by finger now, and eat or drink {SUGAR} if you are "
        "still low or feel unwell; measure again in 15 min; if it is not better, do so again and call for help. Do "
        "not stay alone. Who is drowsy or unconscious gets nothing by mouth: "
        "call the emergency number (120 in China) at once."
    )
    assert "no recovery was seen in 31 min" in home.at(231)["meter-very-low"].because.en
    assert "came late" not in Home().take(meter(0, 45, arrives=15)).at(15)["meter-very-low"].because.en


def test_a_value_that_the_meter_doubts_ends_no_low_and_is_answered_by_another_measurement() -> None:
    home = Home().take(meter(0, 48), meter(16, 95, flags={Flag.STRIP_ERROR}))
    asked = home.at(16)["meter-very-low"]
    assert (asked.verdict, asked.audience, asked.since) == (RAISE, PATIENT, minute(16))
    assert asked.because.en == (
        "Meter glucose 48 mg/dL (2.7 mmol/L) at 2026-03-02 07:00, below 54 mg/dL (3.0 mmol/L), and 95 mg/dL "
        "(5.3 mmol/L) after 16 min: whether it recovered is not sure. Limit: ADA and CDS 2024, level 2. Of 95 mg/dL "
        "(5.3 mmol/L) the meter says: something was wrong with the strip. Please use a new strip. Please measure "
        "again now; if it is still low, do as before."
    )
    assert "是否已恢复尚不能确定" in asked.because.zh
    assert "请现在再测一次" in asked.because.zh
    assert home.at(30.1)["meter-very-low"].audience is STAFF
    assert home.take(meter(31, 96)).verdict("meter-very-low", 31) is CLEAR


def test_the_patient_is_asked_once_by_the_worse_of_two_rules() -> None:
    found = Home().take(meter(0, 48)).at(0)
    assert "meter-low" not in found
    assert found["meter-very-low"].verdict is RAISE


def test_a_very_low_that_recovers_in_time_never_reaches_staff() -> None:
    home = Home().take(meter(0, 48), meter(17, 88))
    for now in (17, 31, 120):
        assert home.verdict("meter-very-low", now) is CLEAR
        assert home.judged(now).again is None


def test_a_very_low_confirmed_after_15_min_is_for_staff_and_after_30_min_of_high_priority() -> None:
    home = Home().take(meter(0, 48), meter(15, 52))
    found = home.at(15)["meter-very-low"]
    assert (found.audience, found.priority) == (STAFF, Priority.MEDIUM)
    assert home.judged(15).again == minute(30) + timedelta(microseconds=1)
    found = home.take(meter(30, 50)).at(30.1)["meter-very-low"]
    assert (found.audience, found.priority) == (STAFF, Priority.HIGH)


@pytest.mark.parametrize(
    ("value", "unit", "audience"),
    [(40, Unit.MG_DL, PATIENT), (39, Unit.MG_DL, STAFF), (2.2, Unit.MMOL_L, PATIENT), ("LO", Unit.MG_DL, STAFF)],
)
def test_staff_hear_at_once_of_a_value_at_which_nobody_acts_alone(
    value: float | str, unit: Unit, audience: Audience
) -> None:
    found = Home().take(meter(0, value, unit)).at(0)["meter-very-low"]
    assert (found.audience, found.priority) == (audience, Priority.HIGH if audience is STAFF else Priority.MEDIUM)
    doubtful = Home().take(meter(0, 35, flags={Flag.SAMPLE_INSUFFICIENT})).at(0)["meter-very-low"]
    assert doubtful.audience is PATIENT


@pytest.mark.parametrize("closed_at", [15, 31])  # of medium priority, and of high as not recovered
def test_what_nobody_acts_on_alone_is_told_after_a_milder_low_was_closed(closed_at: float) -> None:
    home, alert = Home(), None
    told: dict[str, tuple[float, Audience, Priority]] = {}
    for at, mmol_l in [(0, 2.9), (15, 2.7), (31, 2.6), (33, 2.5), (35, 2.1), (37, 2.0), (39, 2.6)]:
        findings = home.take(meter(at, mmol_l, Unit.MMOL_L)).judged(at).findings
        heard = hear_findings({("p-1", "glucose-low"): alert} if alert else {}, findings, minute(at))
        for notice in heard.notices:
            told.setdefault(notice.id, (at, notice.audience, notice.priority))
        alert = heard.changes[-1].alert if heard.changes else alert
        if at == closed_at:
            assert alert
            act = Act(
                kind=ActKind.CLOSE, alert=alert.id, by="Li", at=minute(at + 1), note="sugar", outcome=Outcome.ADVICE
            )
            alert = hear(alert, act, minute(at + 1)).changes[-1].alert
    later = [each for each in told.values() if each[0] > 31]
    # Whoever closed it last, before 2.6 or before 2.5, hears of that as well.
    closed_last = [(33.0, STAFF, Priority.HIGH)] if closed_at == 31 else []
    assert later == [*closed_last, (35, STAFF, Priority.HIGH), (35, PATIENT, Priority.HIGH)]


def test_a_patient_is_asked_also_where_staff_hear_at_once() -> None:
    (found,) = Home().take(meter(0, 35)).asked(0).values()
    assert (found.rule, found.priority) == ("meter-very-low", Priority.HIGH)  # by the worse level, not by 70 mg/dL
    assert "below 54 mg/dL" in found.because.en
    assert f"eat or drink {SUGAR} now" in found.because.en


@pytest.mark.parametrize(("mg_dl", "rule"), [(50, "meter-very-low"), (65, "meter-low")])
def test_a_patient_is_asked_also_where_two_readings_come_at_once_and_staff_hear(mg_dl: float, rule: str) -> None:
    together = Home().take(meter(0, mg_dl, arrives=18), meter(17, mg_dl - 1, arrives=18))
    raised = [each for each in together.judged(18).findings if each.verdict is RAISE]
    assert {each.audience for each in raised if each.rule == rule} == {STAFF, PATIENT}
    assert f"eat or drink {SUGAR} now" in together.asked(18)[rule].because.en
    assert "still" not in together.asked(18)[rule].because.en.split("measure again")[0]  # nobody was asked before


def answers(home: Home, *readings: Reading) -> list[str]:
    """What is new to the patient as one reading after the other comes, from the limit's source on."""
    told: dict[str, str] = {}
    for each in readings:
        now = (each.received_at - minute(0)) / timedelta(minutes=1)
        for found in home.take(each).asked(now).values():
            (notice,) = hear(None, found, minute(now)).notices
            told.setdefault(notice.id, found.because.en)
    return list(told.values())


def test_whoever_measures_again_as_asked_and_is_still_low_is_answered_with_the_next_step() -> None:
    said = answers(Home(), *[meter(16 * n, mg_dl) for n, mg_dl in enumerate((62, 63, 64, 66))])
    assert len(said) == 4
    assert "It is still low" not in said[0]
    assert f"It is still low. Please eat or drink {SUGAR} now" in said[1]
    for each in said[2:]:
        assert "It is still low: please call your doctor or clinic now, and somebody who can come to you." in each
        assert "Please eat or drink 15 to 20 g" in each


def test_who_stays_very_low_is_told_to_call_the_emergency_number() -> None:
    call = "It is still very low: please call the emergency number (120 in China) now"
    said = answers(Home(), *[meter(16 * n, mmol_l, Unit.MMOL_L) for n, mmol_l in enumerate((2.8, 2.9, 2.7, 3.4))])
    assert [call in each for each in said] == [False, False, True, False]
    assert "It is still low. Please eat" in said[1]
    assert "It is still low: please call your doctor or clinic now" in said[3]
    lo = answers(Home(), meter(0, "LO"), meter(3, "LO"), meter(7, "LO"))
    assert [call in each for each in lo] == [False, True]  # that of minute 3 was asked for by nobody
    third = Home().take(*[meter(16 * n, 2.8, Unit.MMOL_L) for n in range(3)])
    assert [third.asked(16 * n)["meter-very-low"].priority for n in range(3)] == [
        Priority.MEDIUM,
        Priority.MEDIUM,
        Priority.HIGH,  # quiet hours go by it
    ]
    later = Home().take(meter(0, 48), meter(16, 50)).asked(300)["meter-very-low"]
    assert later.since == minute(16)  # told once however often it is judged


def test_a_device_gone_mad_is_answered_every_five_minutes_and_not_each_time() -> None:
    assert len(answers(Home(), *[meter(n / 4, 60) for n in range(80)])) == 4


@pytest.mark.parametrize("start", range(10))
@pytest.mark.parametrize(("value", "unit"), [(60, Unit.MG_DL), ("HI", Unit.MG_DL)])
def test_two_measurements_of_one_moment_have_one_answer_and_two_of_five_minutes_have_two(
    start: int, value: float | str, unit: Unit
) -> None:
    at = start / 2
    assert len(answers(Home(), meter(at, value, unit), meter(at + 0.5, value, unit))) == 1
    assert len(answers(Home(), meter(at, value, unit), meter(at + 5, value, unit))) == 2


def test_the_newest_alone_of_a_device_gone_mad_are_answered_no_oftener() -> None:
    flood = [meter(n / 4, 60) for n in range(400)]
    newest = {scene.answers(flood[n : n + 100])[-1].key for n in range(300)}
    assert len(newest) <= 300 / 4 / 5 + 2


def test_a_value_between_the_levels_does_not_end_a_very_low() -> None:
    home = Home().take(meter(0, 48), meter(14, 60))
    assert home.at(14)["meter-very-low"].audience is PATIENT
    assert home.at(31)["meter-very-low"].audience is STAFF  # asked, and not recovered in half an hour


@pytest.mark.parametrize("unit", [Unit.MG_DL, Unit.MMOL_L])
def test_a_very_low_that_is_still_low_at_the_second_measurement_is_told_by_its_own_limit(unit: Unit) -> None:
    first, second = (48, 61) if unit is Unit.MG_DL else (2.7, 3.4)
    found = Home().take(meter(0, first, unit), meter(16, second, unit)).at(16)["meter-very-low"]
    assert (found.audience, found.priority) == (STAFF, Priority.MEDIUM)
    assert "Limit: ADA and CDS 2024, level 2" in found.because.en
    home = Home().take(meter(0, first, unit), meter(16, second, unit))
    assert home.at(31)["meter-very-low"].priority is Priority.MEDIUM  # no longer very low
    heard = hear_findings({}, home.judged(16).findings, minute(16))
    (staff,) = [each for each in heard.notices if each.audience is STAFF]
    assert (staff.priority, staff.subject.en) == (Priority.MEDIUM, "Medium priority: Very low glucose on the meter")


def test_the_limit_by_which_staff_hear_at_once_is_named() -> None:
    found = Home().take(meter(0, 2.1, Unit.MMOL_L)).at(0)["meter-very-low"].because
    assert "2.1 mmol/L (38 mg/dL) is below 2.2 mmol/L (40 mg/dL), of which staff hear at once (Homeward" in found.en
    assert "低于 2.2 mmol/L（40 mg/dL），须立即通知医护" in found.zh
    assert "Usual first help: 15 to 20 g of fast sugar" in found.en
    assert "staff" not in Home().take(meter(0, 2.1, Unit.MMOL_L)).asked(0)["meter-very-low"].because.en


@pytest.mark.parametrize(
    ("readings", "rule"),
    [
        ([meter(0, "LO", arrives=90)], "meter-very-low"),
        ([meter(0, 60, arrives=90), meter(16, 61, arrives=90)], "meter-low"),
        ([meter(0, "HI", arrives=90)], "meter-crisis"),
        ([meter(0, 310, arrives=90), meter(60, 320, arrives=90)], "meter-high-twice"),
        ([ketone(0, 3.1, arrives=90)], "ketone"),
    ],
)
def test_what_came_late_says_so_to_staff(readings: list[Reading], rule: str) -> None:
    late = Home().take(*readings).at(90)[rule]
    assert late.audience is STAFF
    assert "This came late, at 2026-03-02 08:30: by then it may have been otherwise." in late.because.en
    assert "数据迟至 2026-03-02 08:30 才到达：届时情况可能已有变化。" in late.because.zh
    in_time = Home().take(*[replace(each, received_at=each.taken_at) for each in readings]).at(90)[rule]
    assert "came late" not in in_time.because.en


def test_what_the_meter_says_was_wrong_is_named_and_a_new_strip_asked_for() -> None:
    little = meter(0, 1.0, Unit.MMOL_L, flags={Flag.SAMPLE_INSUFFICIENT})
    asked = Home().take(little).asked(0)["meter-very-low"].because
    assert "the meter says: there was too little blood on the strip." in asked.en
    assert "too little blood on the strip. Please use a new strip. Please measure again now. If you" in asked.en
    assert "血糖仪提示：采血量不足。请使用新试纸。请立即复测。" in asked.zh
    twice = meter(0, "LO", flags={Flag.STRIP_ERROR}), meter(8, "LO", flags={Flag.STRIP_ERROR})
    both = Home().take(*twice).asked(8)["meter-very-low"].because
    assert (both.en.count("something was wrong with the strip"), both.zh.count("试纸异常")) == (1, 1)
    high = Home().take(meter(0, 350, flags={Flag.STRIP_ERROR})).asked(0)["meter-high"].because
    assert "something was wrong with the strip. Please use a new strip. Please drink water" in high.en


def test_the_waiting_time_begins_when_the_patient_can_be_asked() -> None:
    home = Home().take(meter(0, 48, arrives=60))
    assert home.at(61)["meter-very-low"].audience is PATIENT
    assert home.at(91)["meter-very-low"].audience is STAFF


def test_what_the_meter_calls_a_faulty_strip_confirms_nothing() -> None:
    home = Home().take(meter(0, 48), meter(16, 45, flags={Flag.STRIP_ERROR}))
    assert home.at(16)["meter-very-low"].audience is PATIENT
    assert home.at(31)["meter-very-low"].audience is STAFF  # no answer that counts


def test_a_value_whose_time_is_not_known_ends_nothing_and_says_so() -> None:
    undated = meter(2, 108, flags={Flag.TIME_FAULT})
    home = Home().take(meter(-8, 48), undated)
    assert home.verdict("meter-very-low", 2) is RAISE
    assert home.at(23)["meter-very-low"].audience is STAFF
    assert home.take(meter(25, 108)).verdict("meter-very-low", 25) is CLEAR
    said = Home().take(meter(0, 48, flags={Flag.TIME_FAULT})).at(0)["meter-very-low"].because
    assert said.en.startswith("Meter glucose 48 mg/dL (2.7 mmol/L, time uncertain) at 2026-03-02 07:00: below")
    assert "48 mg/dL（2.7 mmol/L，时间存疑）" in said.zh


def test_limits_are_compared_in_the_unit_received() -> None:
    # 3.9 mmol/L is 70.26 mg/dL: neither it nor 70 mg/dL is low; 3.8 and 69 are.
    assert Home().take(meter(0, 3.9, Unit.MMOL_L)).verdict("meter-low", 0) is CLEAR
    assert Home().take(meter(0, 70)).verdict("meter-low", 0) is CLEAR
    assert Home().take(meter(0, 3.8, Unit.MMOL_L)).verdict("meter-low", 0) is RAISE
    assert Home().take(meter(0, 69)).verdict("meter-low", 0) is RAISE
    assert Home().take(meter(0, 3.0, Unit.MMOL_L)).verdict("meter-very-low", 0) is HOLD
    assert Home().take(meter(0, 2.9, Unit.MMOL_L)).verdict("meter-very-low", 0) is RAISE
    assert Home().take(meter(0, 0.00069, Unit.KG_L)).verdict("meter-low", 0) is RAISE
    assert Home().take(meter(0, 0.0039, Unit.MOL_L)).verdict("meter-low", 0) is CLEAR


def test_hi_and_lo_are_beyond_every_limit() -> None:
    low = Home().take(meter(0, "LO")).at(0)
    assert low["meter-very-low"].verdict is RAISE
    assert "LO (below the device's range)" in low["meter-very-low"].because.en
    assert low["meter-high"].verdict is CLEAR
    high = Home().take(meter(0, "HI", Unit.MMOL_L)).at(0)
    assert high["meter-crisis"].verdict is RAISE
    assert high["meter-high"].verdict is HOLD  # the patient is told by the worse
    assert high["meter-low"].verdict is high["meter-very-low"].verdict is CLEAR


def test_a_sensor_ends_a_low_of_the_meter_once_its_lag_is_over() -> None:
    home = Home().take(meter(0, 62), sensor(5, 90))
    assert home.verdict("meter-low", 5) is RAISE
    assert home.take(sensor(15, 92)).verdict("meter-low", 15) is CLEAR


def test_a_sensor_raises_nothing_here() -> None:
    found = Home().take(meter(0, 90), sensor(20, 45)).at(20)
    assert not [each for each in found.values() if each.verdict is RAISE]


def test_what_is_long_past_raises_nothing_when_it_arrives() -> None:
    found = Home().take(meter(0, 40, arrives=721), meter(1, 310, arrives=722)).at(722)
    assert not [each for each in found.values() if each.verdict is RAISE]


def test_a_low_more_than_two_hours_after_the_last_one_is_another() -> None:
    home = Home().take(meter(0, 62), meter(121, 61))
    assert home.at(121)["meter-low"].since == minute(121)


# The referral level


def test_chinas_referral_level_includes_its_limits() -> None:
    for value, unit, expected in (
        (3.9, Unit.MMOL_L, RAISE),
        (4.0, Unit.MMOL_L, HOLD),
        (70, Unit.MG_DL, RAISE),
        (71, Unit.MG_DL, HOLD),
        (16.6, Unit.MMOL_L, HOLD),
        (16.7, Unit.MMOL_L, RAISE),
        (299, Unit.MG_DL, HOLD),
        (300, Unit.MG_DL, RAISE),
    ):
        found = Home(Group.CHINA).take(meter(0, value, unit)).at(0)["meter-referral"]
        assert (found.verdict, found.audience) == (expected, STAFF), value


def test_a_second_reading_at_referral_level_within_a_day_is_of_medium_priority() -> None:
    home = Home(Group.CHINA).take(meter(0, 310))
    assert home.at(0)["meter-referral"].priority is Priority.LOW
    assert home.take(meter(5, 305)).at(5)["meter-referral"].priority is Priority.LOW  # the same once more
    found = home.take(meter(300, 320)).at(300)["meter-referral"]
    assert (found.priority, found.since) == (Priority.MEDIUM, minute(0))
    assert found.because.en == (
        "Meter glucose 320 mg/dL (17.8 mmol/L) at 2026-03-02 12:00 after 310 mg/dL (17.2 mmol/L) at 2026-03-02 07:00"
        ": at or above 300 mg/dL (16.7 mmol/L). Limit: China basic public health service: referral at 3.9 mmol/L or "
        "less, 16.7 mmol/L or more. Times are of Asia/Shanghai."
    )
    assert "meter-high-twice" not in home.at(300)  # one item, not two


def test_where_chinas_rule_is_off_two_high_readings_of_a_day_reach_staff_by_a_rule_of_their_own() -> None:
    home = Home().take(meter(0, 300))
    assert "meter-referral" not in home.at(0)
    assert home.verdict("meter-high-twice", 0) is HOLD
    assert home.take(meter(29, 310)).verdict("meter-high-twice", 29) is HOLD  # the same once more
    assert home.take(meter(300, 16.7, Unit.MMOL_L)).at(300)["meter-high-twice"].priority is Priority.MEDIUM
    found = home.at(300)["meter-high-twice"]
    assert (found.verdict, found.audience, found.since, found.problem) == (RAISE, STAFF, minute(0), "glucose-high")
    assert "Homeward default" in found.because.en
    calm = [meter(day(n), 140) for n in range(1, 8)]
    assert home.take(*calm).verdict("meter-high-twice", day(1)) is HOLD
    assert "meter-high-twice" not in home.review(day(6))
    assert home.review(day(7, "12:01"))["meter-high-twice"].verdict is CLEAR
    next_day = Home().take(meter(0, 310), meter(day(1) + 1, 310))
    assert next_day.verdict("meter-high-twice", day(1) + 1) is HOLD


def test_a_referral_stands_for_the_two_weeks_in_which_it_is_to_be_followed_up() -> None:
    home = Home(Group.CHINA).take(
        meter(0, 3.7, Unit.MMOL_L), *[meter(day(n), 6.1, Unit.MMOL_L) for n in range(1, 15)]
    )
    assert home.verdict("meter-referral", day(1)) is HOLD
    assert "meter-referral" not in home.review(day(13))
    assert home.review(day(14, "08:00"))["meter-referral"].verdict is CLEAR


def test_a_very_low_reading_is_a_referral_once_it_has_recovered_and_never_both() -> None:
    home = Home(Group.CHINA).take(meter(0, 50))
    assert home.verdict("meter-referral", 0) is home.verdict("meter-referral", 31) is HOLD
    answered = Home(Group.CHINA).take(meter(0, 50), meter(12, 62), meter(20, 95))
    assert answered.verdict("meter-referral", 12) is HOLD
    found = answered.at(20)["meter-referral"]
    assert (found.verdict, found.since, found.known_at) == (RAISE, minute(12), minute(20))
    late = Home(Group.CHINA).take(meter(0, 50), meter(40, 95))
    assert late.verdict("meter-referral", 40) is HOLD  # staff have heard at 30
    confirmed = Home(Group.CHINA).take(meter(0, 50), meter(16, 52), meter(25, 95))
    assert confirmed.verdict("meter-referral", 25) is HOLD
    assert Home(Group.CHINA).take(meter(0, 35), meter(10, 95)).verdict("meter-referral", 10) is HOLD


# Crisis


@pytest.mark.parametrize(
    ("value", "unit"),
    [("HI", Unit.MG_DL), (600, Unit.MG_DL), (500, Unit.MG_DL), (27.8, Unit.MMOL_L), ("HI", Unit.MMOL_L)],
)
def test_glucose_as_in_a_hyperosmolar_state_is_for_staff_at_once(value: float | str, unit: Unit) -> None:
    home = Home().take(meter(0, value, unit))
    found = home.at(0)
    assert (found["meter-crisis"].audience, found["meter-crisis"].priority) == (STAFF, Priority.MEDIUM)
    assert "a hyperosmolar state has 600 mg/dL (33.3 mmol/L) and more" in found["meter-crisis"].because.en
    (asked,) = home.asked(0).values()
    assert (asked.rule, asked.priority) == ("meter-crisis", Priority.HIGH)
    assert "call the emergency number (120 in China) now" in asked.because.en
    assert "请立即拨打急救电话（中国大陆 120）" in asked.because.zh
    assert found["meter-high-twice"].verdict is HOLD
    assert home.take(meter(5, value, unit)).at(5)["meter-crisis"].priority is Priority.HIGH
    assert home.take(meter(60, 350)).verdict("meter-crisis", 60) is RAISE
    assert home.take(meter(90, 290)).verdict("meter-crisis", 90) is CLEAR


def test_hi_is_said_as_the_display_shows_it_and_counted_as_the_limit() -> None:
    found = Home().take(meter(0, "HI")).at(0)["meter-crisis"]
    assert found.because.en.startswith(
        "Meter glucose HI (above the device's range) at 2026-03-02 07:00: HI counts as at or above 500 mg/dL "
        "(27.8 mmol/L)."
    )
    assert "HI（高于设备量程）：HI 视为不低于 500 mg/dL（27.8 mmol/L）。" in found.because.zh
    assert "07:00: at or above 500 mg/dL" in Home().take(meter(0, 610)).at(0)["meter-crisis"].because.en


@pytest.mark.parametrize(
    ("meal", "when"), [("bedtime", "07:00, at bedtime: above"), ("casual", "07:00: above"), (None, "07:00: above")]
)
def test_when_a_value_was_measured_reads_as_people_say_it(meal: str | None, when: str) -> None:
    assert when in Home().take(meter(0, 230, meal=meal)).at(0)["meter-high"].because.en


def test_a_meal_that_is_unknown_is_said_so() -> None:
    home = Home().take(meter(0, 230, meal="breakfast", flags={Flag.MEAL_UNKNOWN}))
    said = home.asked(0)["meter-high"].because
    assert "at 2026-03-02 07:00, meal unknown: above 180 mg/dL" in said.en
    assert "07:00 餐别未知指尖血糖 230 mg/dL" in said.zh


def test_a_crisis_needs_a_value_at_its_limit_that_is_in_no_doubt() -> None:
    assert Home().take(meter(0, 499)).verdict("meter-crisis", 0) is HOLD
    asked = Home().take(meter(0, "HI", flags={Flag.STRIP_ERROR})).at(0)["meter-crisis"]
    assert asked.audience is PATIENT


@pytest.mark.parametrize(
    ("rule", "doubted", "better", "as_bad"),
    [
        ("meter-crisis", meter(0, "HI", flags={Flag.STRIP_ERROR}), meter(4, 190), meter(4, 520)),
        ("meter-crisis", meter(0, 550, flags={Flag.SAMPLE_INSUFFICIENT}), meter(4, 410), meter(4, "HI")),
        ("meter-very-low", meter(0, "LO", flags={Flag.STRIP_ERROR}), meter(4, 96), meter(4, 38)),
        (
            "meter-very-low",
            meter(0, 1.9, Unit.MMOL_L, flags={Flag.STRIP_ERROR}),
            meter(4, 4.2, Unit.MMOL_L),
            meter(4, "LO"),
        ),
    ],
)
def test_an_emergency_by_a_faulty_strip_asks_for_another_at_once_and_staff_hear_where_none_comes(
    rule: str, doubted: Reading, better: Reading, as_bad: Reading
) -> None:
    asked = Home().take(doubted).asked(0)
    assert set(asked) == {rule}
    assert "measure again now" in asked[rule].because.en
    assert "立即复测" in asked[rule].because.zh
    assert "Please use a new strip. Please" in asked[rule].because.en
    assert asked[rule].priority is Priority.HIGH
    judged = Home().take(doubted).judged(15)
    assert {each.audience for each in judged.findings if each.rule == rule} == {PATIENT}
    assert judged.again == minute(15) + timedelta(microseconds=1)
    alone = Home().take(doubted).at(15.1)[rule]
    assert (alone.audience, alone.verdict, alone.priority) == (STAFF, RAISE, Priority.MEDIUM)
    assert "The patient was asked to measure again" in alone.because.en
    assert STAFF not in {each.audience for each in raised(Home().take(doubted, better), 16)}
    assert Home().take(doubted, as_bad).at(4)[rule].audience is STAFF
    # A second one in doubt says nothing more.
    again = replace(doubted, taken_at=minute(6), received_at=minute(6))
    assert Home().take(doubted, again).asked(6)[rule].since == minute(6)
    assert Home().take(doubted, again).at(15)[rule].audience is PATIENT
    assert Home().take(doubted, again).at(15.1)[rule].audience is STAFF


def raised(home: Home, now: float) -> list[Finding]:
    return [each for each in home.judged(now).findings if each.verdict is RAISE]


# Goals by meal


@pytest.mark.parametrize(
    ("meal", "mmol_l", "expected"),
    [
        ("fasting", 7.2, CLEAR),
        ("fasting", 7.3, RAISE),
        ("before-meal", 7.3, RAISE),
        ("after-meal", 9.9, CLEAR),
        ("after-meal", 10.0, RAISE),
        ("bedtime", 9.9, CLEAR),
        ("casual", 9.9, CLEAR),
        (None, 9.9, CLEAR),
        ("something else", 10.0, RAISE),
    ],
)
def test_the_goal_is_that_of_the_meal(meal: str | None, mmol_l: float, expected: Verdict) -> None:
    found = Home().take(meter(0, mmol_l, Unit.MMOL_L, meal=meal)).at(0)["meter-high"]
    assert found.verdict is expected
    assert found.audience is PATIENT or expected is CLEAR


def test_populations_have_goals_of_their_own() -> None:
    fasting = meter(0, 7.1, Unit.MMOL_L, meal="fasting")
    assert Home().take(fasting).verdict("meter-high", 0) is CLEAR
    found = Home(Group.CHINA).take(fasting).at(0)["meter-high"]
    assert found.verdict is RAISE
    assert "mmol/L (128 mg/dL) at 2026-03-02 07:00, fasting: above 7.0 mmol/L (126 mg/dL)" in found.because.en
    assert Home(Group.OLDER).take(meter(0, 8.3, Unit.MMOL_L, meal="fasting")).verdict("meter-high", 0) is CLEAR
    assert Home(Group.PREGNANCY).take(meter(0, 5.4, Unit.MMOL_L, meal="fasting")).verdict("meter-high", 0) is RAISE
    assert Home(Group.PREGNANCY).take(meter(0, 7.8, Unit.MMOL_L, meal="after-meal")).verdict("meter-high", 0) is RAISE


def test_a_patient_is_told_of_goals_once_a_week_and_of_very_high_once_a_day() -> None:
    home = Home()
    onsets = set()
    for number in range(7):  # Monday to Sunday
        home.take(meter(day(number, "07:00"), 140, meal="fasting"), meter(day(number, "12:00"), 120))
        onsets.add(home.at(day(number, "07:00"))["meter-high"].since)
    assert onsets == {minute(0)}
    very = home.take(meter(day(7, "07:00"), 260), meter(day(7, "09:00"), 270)).at(day(7, "09:00"))["meter-high"]
    assert very.since == minute(day(7, "07:00"))
    assert "measure ketones too" in very.because.en
    assert home.take(meter(day(8, "07:00"), 255)).at(day(8, "07:00"))["meter-high"].since == minute(day(8, "07:00"))


def test_the_higher_a_glucose_the_more_urgent_is_what_the_patient_hears() -> None:
    said = [Home().take(meter(0, each, Unit.MMOL_L)).asked(0).values() for each in (13.0, 14.5, 16.7, 26.0, 28.0, 40)]
    urgent = [each.priority for (each,) in said]
    low, medium, high = Priority.LOW, Priority.MEDIUM, Priority.HIGH
    assert urgent == [low, low, medium, medium, high, high]
    ((referral,), (crisis,)) = said[2], said[4]
    assert "at or above 16.7 mmol/L (300 mg/dL)" in referral.because.en
    assert "if it is still so high, call your doctor or clinic the same day" in referral.because.en
    assert "measure again now" in crisis.because.en
    china = Home(Group.CHINA).take(meter(0, 30.0, Unit.MMOL_L)).at(0)
    assert (china["meter-crisis"].audience, china["meter-crisis"].priority) == (STAFF, medium)
    assert china["meter-referral"].verdict is HOLD  # one item, not two


def test_whoever_measures_again_and_is_still_very_high_is_answered() -> None:
    rising = answers(Home(), meter(0, 22.0, Unit.MMOL_L), meter(100, 30.0, Unit.MMOL_L))
    assert len(rising) == 2
    assert "measure again now" in rising[1]
    said = answers(Home(), meter(0, "HI"), meter(7, "HI"), meter(120, 20.0, Unit.MMOL_L), meter(240, 350))
    assert len(said) == 4
    assert "It is still so high: please call the emergency number (120 in China)" in said[1]
    assert len(answers(Home(), meter(0, 260), meter(120, 265))) == 1  # below the level of referral once a day


@pytest.mark.parametrize(
    ("mmol_l", "glucose", "rules"),
    [(3.4, 18.0, {"ketone"}), (3.4, "HI", {"ketone"}), (1.7, 18.0, {"ketone"}),
     (1.7, "HI", {"meter-crisis", "ketone"}), (0.8, 18.0, {"meter-high", "ketone"}), (0.8, 12.0, {"ketone"})],
)  # fmt: skip
def test_beside_a_ketone_the_patient_is_not_told_what_a_glucose_asks_for_that_is_no_worse(
    mmol_l: float, glucose: float | str, rules: set[str]
) -> None:
    home = Home().take(ketone(0, mmol_l), meter(0, glucose, Unit.MMOL_L))
    assert home.asked(0).keys() == rules
    apart = Home().take(ketone(0, mmol_l), meter(180, 18.0, Unit.MMOL_L)).asked(180)
    assert set(apart) == {"ketone", "meter-high"}


def test_a_ketone_that_was_asked_for_is_answered_also_beside_a_crisis() -> None:
    home = Home().take(meter(0, 520))
    assert home.asked(0).keys() == {"meter-crisis"}
    assert "ketone" in home.take(ketone(10, 2.2)).asked(10)


# Ketones


@pytest.mark.parametrize(
    ("mmol_l", "verdict", "audience", "priority"),
    [
        (0.5, CLEAR, STAFF, Priority.MEDIUM),
        (0.6, RAISE, PATIENT, Priority.LOW),
        (1.4, RAISE, PATIENT, Priority.LOW),
        (1.5, RAISE, STAFF, Priority.MEDIUM),
        (2.9, RAISE, STAFF, Priority.MEDIUM),
        (3.0, RAISE, STAFF, Priority.HIGH),
        ("HI", RAISE, STAFF, Priority.HIGH),
    ],
)
def test_ketones_by_level(mmol_l: float | str, verdict: Verdict, audience: Audience, priority: Priority) -> None:
    found = Home().take(ketone(0, mmol_l)).at(0)["ketone"]
    assert (found.verdict, found.audience, found.priority) == (verdict, audience, priority)


@pytest.mark.parametrize(
    ("mmol_l", "todo", "priority"),
    [
        (0.6, "drink water and measure glucose and ketone again in 2 h", Priority.LOW),
        (1.5, "Please call your doctor or clinic now", Priority.MEDIUM),
        (2.9, "Please call your doctor or clinic now", Priority.MEDIUM),
        (3.0, "the emergency number (120 in China) or have yourself brought to a hospital now", Priority.HIGH),
        ("HI", "the emergency number (120 in China) or have yourself brought to a hospital now", Priority.HIGH),
    ],
)
def test_the_patient_is_told_what_to_do_at_every_level_of_ketone(
    mmol_l: float | str, todo: str, priority: Priority
) -> None:
    found = Home().take(ketone(0, mmol_l)).asked(0)["ketone"]
    assert todo in found.because.en
    assert found.priority is priority
    assert "insulin" not in found.because.en


def test_a_patient_is_told_of_each_level_of_ketone_once_while_it_lasts_and_of_an_emergency_each_time() -> None:
    home, told = Home(), []
    for hour, mmol_l in enumerate([0.8, 1.0, 1.7, 1.9, 3.2, 3.1, 1.6]):
        asked = home.take(ketone(60 * hour, mmol_l)).asked(60 * hour)["ketone"]
        told.append(hear(None, asked, minute(60 * hour)).notices[0].id)
    assert [told.index(each) for each in told] == [0, 0, 2, 2, 4, 5, 5]  # nobody is told to do less


def told_of_ketones(*readings: Reading) -> list[tuple[Audience, Priority]]:
    """Of whom a notice is new as one reading after the other is judged, or the newest as the device corrects it."""
    told: dict[str, tuple[Audience, Priority]] = {}
    alert = None
    for number, each in enumerate(readings):
        kept = [other for other in readings[: number + 1] if other.taken_at != each.taken_at or other is each]
        now = (each.received_at - minute(0)) / timedelta(minutes=1) + each.rev
        for found in said(Home().take(*kept).judged(now).findings, "ketone"):
            heard = hear(alert, found, minute(now))
            alert = heard.changes[-1].alert if heard.changes else alert
            told |= {notice.id: (notice.audience, notice.priority) for notice in heard.notices}
    return list(told.values())


def test_a_ketone_that_the_device_corrects_to_an_emergency_is_told_as_such() -> None:
    first = ketone(0, 1.0)
    told = told_of_ketones(first, replace(ketone(0, 3.2), rev=2))
    assert told == [(PATIENT, Priority.LOW), (PATIENT, Priority.HIGH), (STAFF, Priority.HIGH)]


def test_a_ketone_that_fell_below_a_level_and_reaches_it_again_is_told_again() -> None:
    told = told_of_ketones(ketone(0, 3.2), ketone(120, 1.0), ketone(240, 3.4), ketone(300, 3.5))
    assert told == [(PATIENT, Priority.HIGH), (STAFF, Priority.HIGH), *[(PATIENT, Priority.HIGH)] * 2]


@pytest.mark.parametrize("second", [3.6, 3.2])
def test_a_ketone_that_is_measured_again_at_the_level_of_an_emergency_is_answered_and_staff_read_it(
    second: float,
) -> None:
    assert told_of_ketones(ketone(0, 3.4), ketone(2, 3.4), ketone(30, second)) == [
        (PATIENT, Priority.HIGH),
        (STAFF, Priority.HIGH),
        (PATIENT, Priority.HIGH),
    ]
    home, alert = Home().take(ketone(0, 3.4, arrives=70)), None
    for at in (70, 71, 99, 100, 101):
        home.take(*[ketone(99, second)] * (at == 99))
        heard = hear(alert, home.at(at)["ketone"], minute(at))
        assert len(heard.changes) == (at in (70, 99))
        assert len(heard.notices) == (at == 70)
        alert = heard.changes[-1].alert if heard.changes else alert
    assert alert
    assert f"{second} mmol/L" in alert.because.en
    assert "This came late" not in alert.because.en


def test_a_ketone_emergency_that_came_together_with_a_better_one_is_told_all_the_same() -> None:
    home = Home().take(ketone(0, 3.2, arrives=120), ketone(120, 1.0))
    asked, found = home.asked(120)["ketone"], home.at(120)["ketone"]
    assert "This is an emergency" in asked.because.en
    assert (found.audience, found.priority, found.emergency_at) == (STAFF, Priority.HIGH, minute(120))
    assert found.because.en.startswith(
        "Blood ketone 3.2 mmol/L at 2026-03-02 07:00: at or above 3 mmol/L, and 1.0 mmol/L at 2026-03-02 09:00."
    )
    assert "2026-03-02 07:00 血酮 3.2 mmol/L：不低于 3 mmol/L，2026-03-02 09:00 1.0 mmol/L。" in found.because.zh


def test_a_ketone_with_high_glucose_meets_the_criteria_of_ketoacidosis_and_without_is_still_urgent() -> None:
    found = Home().take(meter(0, 200), ketone(10, 3.1)).at(10)["ketone"]
    assert found.because.en == (
        "Blood ketone 3.1 mmol/L at 2026-03-02 07:10: at or above 3 mmol/L. With glucose 200 mg/dL (11.1 mmol/L) "
        "this meets the ketone and glucose criteria of ketoacidosis; whether there is acidosis is not known. "
        "Limit: usual advice on blood ketone (ISPAD, ADA). Times are of Asia/Shanghai."
    )
    assert found.evidence == (meter(0, 200).key, ketone(10, 3.1).key)
    normal = Home().take(meter(0, 150), ketone(10, 3.1)).at(10)["ketone"]
    assert normal.priority is Priority.HIGH
    assert "criteria" not in normal.because.en


def test_a_glucose_nearer_to_a_ketone_is_in_the_alert_from_then_on_and_nobody_is_told_again() -> None:
    home = Home().take(meter(0, 2.0, Unit.MMOL_L), ketone(8, 1.7))
    opened = hear(None, home.at(8)["ketone"], minute(8)).changes[-1].alert
    assert "Glucose beside it: 2.0 mmol/L" in opened.because.en
    heard = hear(opened, home.take(meter(9, 28.5, Unit.MMOL_L)).at(9)["ketone"], minute(9))
    assert not heard.notices
    (change,) = heard.changes
    assert "Glucose beside it: 28.5 mmol/L" in change.alert.because.en
    assert "同时血糖 28.5 mmol/L" in change.alert.because.zh
    assert not hear(change.alert, home.at(10)["ketone"], minute(10)).changes


def test_ketones_that_stay_up_are_one_trouble() -> None:
    home = Home().take(ketone(0, 1.6), ketone(180, 1.8), ketone(360, 0.7))
    assert home.at(180)["ketone"].since == minute(0)
    assert home.at(360)["ketone"].since == minute(0)
    assert "1.8 mmol/L at 2026-03-02 10:00" in home.asked(360)["ketone"].because.en
    assert home.take(ketone(500, 0.3)).verdict("ketone", 500) is CLEAR


# Patterns of a week


def test_highs_on_three_mornings_are_a_line_of_the_weekly_list() -> None:
    mornings = [150, 118, 162, 110, 171, 120]  # 3 of 6 above 130, mean (150+118+162+110+171+120)/6 = 138.5
    home = Home().take(*[meter(day(n), value, meal="fasting") for n, value in enumerate(mornings)])
    found = home.review(day(6))["meter-repeated-high"]
    assert (found.verdict, found.audience, len(found.evidence)) == (RAISE, WEEKLY, 3)
    assert found.because.en == (
        "Meter glucose in the last 7 days before meals: 3 of 6 readings on 3 days above 130 mg/dL (7.2 mmol/L), mean "
        "138 mg/dL (7.7 mmol/L) (limit: ADA goal before meals)."
    )
    in_mmol = [8.4, 6.5, 9.0, 6.1, 9.5, 6.7]  # mean 7.7
    home = Home().take(*[meter(day(n), value, Unit.MMOL_L, meal="fasting") for n, value in enumerate(in_mmol)])
    assert "mean 7.7 mmol/L (139 mg/dL) (limit" in home.review(day(6))["meter-repeated-high"].because.en


def test_highs_on_one_day_or_among_many_good_values_are_no_pattern() -> None:
    one_day = [meter(day(0, f"{hour:02}:00"), 200) for hour in (8, 12, 18, 22)]
    assert Home().take(*one_day).review(day(1))["meter-repeated-high"].verdict is CLEAR
    many = [meter(day(n, f"{hour:02}:00"), 140 if hour > 8 else 190) for n in range(7) for hour in (8, 12, 18, 22)]
    assert Home().take(*many).review(day(7))["meter-repeated-high"].verdict is CLEAR  # 7 of 28


def test_lows_on_two_days_are_a_line_of_the_weekly_list() -> None:
    home = Home().take(meter(day(0), 65), meter(day(1), 100), meter(day(3), 52), meter(day(9), 99))
    found = home.review(day(4))["meter-repeated-low"]
    assert (found.verdict, found.audience) == (RAISE, WEEKLY)
    assert "2 of 3 readings on 2 days below 70 mg/dL (3.9 mmol/L), lowest 52 mg/dL (2.9 mmol/L)" in found.because.en
    assert found.since == home.review(day(5))["meter-repeated-low"].since
    assert home.review(day(10))["meter-repeated-low"].verdict is CLEAR


def test_a_patients_own_limit_moves_the_finding() -> None:
    own = {Key("meter-low", "limit", MG_DL): 80.0}
    found = Home(given=own).take(meter(0, 78)).at(0)["meter-low"]
    assert found.verdict is RAISE
    assert "Limit: set for this patient." in found.because.en


def test_a_value_above_its_goal_says_what_to_do() -> None:
    found = Home().take(meter(0, 200)).at(0)["meter-high"]
    assert found.because.en.endswith(" Nothing needs to be done at once: please measure again before your next meal.")
    assert found.because.zh.endswith("无需立即处理：请在下一餐前复测。")


def test_what_is_too_high_to_be_believed_confirms_no_crisis() -> None:
    home = Home().take(meter(0, 550), meter(10, 1100))
    assert home.at(10)["meter-crisis"].priority is Priority.MEDIUM
    assert (
        Home().take(meter(0, 550), meter(10, 560), meter(20, 1100)).at(20)["meter-crisis"].priority is Priority.HIGH
    )

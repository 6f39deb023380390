from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Audience, Priority, Verdict
from alerts.rules import RULES, parse_limits
from alerts.scene import MINUTE
from alerts.watch import Expected
from alerts.window import COUNT, LATE, Window
from ingest.reading import Flag
from ingest.vital import Unit, Vital
from tests.alerts.ward import Ward, cgm, cuff, meter, minute, trace

RAISE, HOLD, CLEAR = Verdict.RAISE, Verdict.HOLD, Verdict.CLEAR

# A sensor at night, every 5 minutes: down to 48, sugar taken, back up.
NIGHT = [92, 88, 81, 76, 71, 66, 61, 57, 53, 51, 49, 48, 50, 55, 62, 69, 78, 90, 101, 110]
BELOW_54 = [8, 9, 10, 11, 12]
SPOT = (Vital.GLUCOSE, Vital.BLOOD_PRESSURE)


def test_a_night_with_a_level_2_low_reads_as_it_happened() -> None:
    ward, seen = Ward(), []
    for each in trace(NIGHT):
        ward.take(each)
        now = ward.at(each.taken_at)
        seen.append((now["glucose-low"].verdict, now["glucose-very-low"].verdict))
    low, very_low = zip(*seen, strict=True)
    assert [n for n, verdict in enumerate(very_low) if verdict is RAISE] == [*range(10, 18)]
    assert very_low[18] is CLEAR  # three readings at or above 70
    assert low[6] is HOLD
    assert low[7] is RAISE  # 66, 61, 57: fifteen minutes


def test_the_sentence_says_what_how_much_since_when_and_against_which_limit() -> None:
    found = Ward().take(*trace(NIGHT[:12])).at(55)["glucose-very-low"]
    assert found.because.en == (
        "Sensor glucose below 54 mg/dL (3.0 mmol/L) since 2026-03-02 02:40, not yet recovered: 15 min, 4 readings, "
        "lowest 48 mg/dL (2.7 mmol/L); now 48 mg/dL (2.7 mmol/L). Limit: Battelino 2019, level 2; CDS 2024."
    )
    assert found.because.zh == (
        "动态血糖自 2026-03-02 02:40 起低于 54 mg/dL (3.0 mmol/L)，尚未恢复：15 分钟，4 次读数，"
        "最低 48 mg/dL（2.7 mmol/L）；目前 48 mg/dL（2.7 mmol/L）。"
        "限值依据：Battelino 2019 共识 2 级；CDS 2024 指南。"
    )
    assert found.since == minute(40)
    assert found.evidence[0] == cgm(40, 53).key
    assert found.evidence[-1] == cgm(55, 48).key
    assert (found.priority, found.audience) == (Priority.MEDIUM, Audience.STAFF)


def test_a_level_2_low_that_does_not_recover_in_30_minutes_becomes_high_priority() -> None:
    ward = Ward().take(*trace([90, 80, 70, 53, 52, 51, 50, 52, 56]))
    assert ward.at(40)["glucose-very-low"].priority is Priority.MEDIUM
    ward.take(cgm(45, 58))  # 30 minutes since the onset, above 54 and not recovered
    assert ward.at(45)["glucose-very-low"].priority is Priority.HIGH


def test_a_level_1_low_is_the_patients_own_until_it_has_lasted_three_hours() -> None:
    ward = Ward().take(*trace([90, 80] + [65] * 35))
    early = ward.at(180)["glucose-low"]
    assert (early.verdict, early.audience) == (RAISE, Audience.PATIENT)
    ward.take(cgm(185, 65))  # the 36th reading below 70
    late = ward.at(185)["glucose-low"]
    assert (late.verdict, late.audience, late.priority) == (RAISE, Audience.STAFF, Priority.LOW)


def test_a_dip_of_ten_minutes_raises_nothing() -> None:
    ward = Ward()
    for each in trace([90, 80, 69, 68, 75, 69, 80, 90]):
        ward.take(each)
        assert ward.at(each.taken_at)["glucose-low"].verdict is not RAISE


def test_a_sensor_that_reports_every_15_minutes_raises_on_one_reading() -> None:
    ward = Ward().take(*trace([120, 100, 80, 53], every=15))
    assert ward.verdict("glucose-very-low", 45) is RAISE


def test_a_sensor_that_reports_every_minute_needs_fifteen_readings() -> None:
    ward = Ward().take(*trace([100, 80] + [50] * 14, every=1))
    assert ward.verdict("glucose-very-low", 15) is HOLD
    assert ward.take(cgm(16, 50)).verdict("glucose-very-low", 16) is RAISE


def test_jitter_of_the_sensors_minute_does_not_delay() -> None:
    ward = Ward().take(cgm(0, 90), cgm(5, 80), cgm(10, 53), cgm(14.9, 52), cgm(19.8, 51))
    assert ward.verdict("glucose-very-low", 20) is RAISE


def test_a_gap_breaks_a_run_and_does_not_clear_it() -> None:
    ward = Ward().take(*trace([90, 53, 52, None, None, None, None, None, 51, 50]))
    assert ward.verdict("glucose-very-low", 45) is HOLD
    assert ward.take(cgm(50, 50)).verdict("glucose-very-low", 50) is RAISE
    assert ward.at(50)["glucose-very-low"].since == minute(40)


def test_one_missing_reading_is_no_gap() -> None:
    assert Ward().take(*trace([90, 53, 52, None, 51])).verdict("glucose-very-low", 20) is RAISE


def test_limits_are_compared_in_the_unit_received() -> None:
    # 3.9 mmol/L is 70.26 mg/dL, and 70 mg/dL is shown as 3.9 mmol/L: neither is low. 3.8 and 69 are.
    assert Ward().take(*trace([3.9] * 3, unit=Unit.MMOL_L)).verdict("glucose-low", 10) is CLEAR
    assert Ward().take(*trace([70.0] * 3)).verdict("glucose-low", 10) is CLEAR
    low = Ward().take(*trace([3.8] * 3, unit=Unit.MMOL_L)).at(10)["glucose-low"]
    assert low.verdict is RAISE
    assert "Sensor glucose below 3.9 mmol/L (70 mg/dL)" in low.because.en
    assert "now 3.8 mmol/L (68 mg/dL)" in low.because.en
    assert Ward().take(*trace([69.0] * 3)).verdict("glucose-low", 10) is RAISE


def test_a_value_on_the_limit_is_not_beyond_it() -> None:
    assert Ward().take(*trace([54] * 3)).verdict("glucose-very-low", 10) is HOLD
    assert Ward().take(*trace([3.0] * 3, unit=Unit.MMOL_L)).verdict("glucose-very-low", 10) is HOLD
    assert Ward().take(*trace([53] * 3)).verdict("glucose-very-low", 10) is RAISE
    assert Ward().take(meter(0, 250)).verdict("glucose-very-high", 0) is HOLD
    assert Ward().take(meter(0, 251)).verdict("glucose-very-high", 0) is RAISE


def test_bluetooth_units_are_shown_as_a_display_would() -> None:
    found = Ward().take(meter(0, 0.00051, Unit.KG_L)).at(1)["glucose-very-low"]
    assert "51 mg/dL" in found.because.en


def test_hi_and_lo_are_beyond_every_limit() -> None:
    low = Ward().take(meter(0, None, flags=frozenset({Flag.BELOW_RANGE}))).at(1)
    assert low["glucose-very-low"].verdict is RAISE
    assert "LO (below the device's range)" in low["glucose-very-low"].because.en
    assert low["glucose-referral"].verdict is CLEAR
    high = Ward().take(meter(0, None, Unit.MMOL_L, flags=frozenset({Flag.ABOVE_RANGE}))).at(1)
    assert high["glucose-referral"].verdict is RAISE
    assert high["glucose-low"].verdict is CLEAR


def test_a_value_that_is_missing_is_neither_low_nor_recovered() -> None:
    assert Ward().take(meter(0, None)).verdict("glucose-low", 1) is HOLD


def test_a_meter_speaks_at_once_and_a_low_goes_to_staff() -> None:
    found = Ward().take(meter(0, 66)).at(1)
    assert (found["glucose-low"].verdict, found["glucose-low"].audience) == (RAISE, Audience.STAFF)
    assert found["glucose-very-low"].verdict is HOLD
    assert Ward().take(meter(0, 66), meter(15, 88)).verdict("glucose-low", 16) is CLEAR


def test_the_chinese_referral_level_includes_its_limit() -> None:
    assert Ward().take(meter(0, 16.7, Unit.MMOL_L)).verdict("glucose-referral", 1) is RAISE
    assert Ward().take(meter(0, 16.6, Unit.MMOL_L)).verdict("glucose-referral", 1) is HOLD


def test_a_sensor_high_goes_to_the_patient_and_to_staff_when_it_lasts() -> None:
    ward = Ward()
    seen = []
    for each in trace([170] + [260] * 73):
        found = ward.take(each).at(each.taken_at)["glucose-very-high"]
        seen.append(found.audience if found.verdict is RAISE else None)
    assert seen.index(Audience.PATIENT) == 24  # two hours
    assert seen.index(Audience.STAFF) == 72  # six hours


def test_what_is_long_past_raises_nothing_when_it_arrives_late() -> None:
    late = [replace(each, received_at=minute(600)) for each in trace([90, 53, 50, 48, 47])]
    assert Ward().take(*late).verdict("glucose-very-low", 600) is HOLD
    recovered = [replace(each, received_at=minute(600)) for each in trace(NIGHT)]
    assert Ward().take(*recovered).verdict("glucose-very-low", 600) is CLEAR


def test_a_patients_own_limit_moves_the_finding() -> None:
    limits = parse_limits({"glucose-low": {"limit": {"value": 80, "unit": "mg/dL"}}})
    found = Ward(limits).take(*trace([78] * 3)).at(10)["glucose-low"]
    assert found.verdict is RAISE
    assert found.because.en.endswith("Limit: set for this patient.")


def test_a_meter_does_not_silence_a_sensor_that_still_falls_nor_the_other_way_round() -> None:
    ward = Ward().take(*trace([80, 53, 52, 51]), meter(16, 95))
    assert ward.verdict("glucose-very-low", 16) is RAISE
    # The meter was low, and the sensor has shown recovery since.
    ward = Ward().take(meter(0, 66), *trace([75, 80, 85], start=1))
    assert ward.verdict("glucose-low", 11) is RAISE
    assert ward.take(cgm(16, 90)).verdict("glucose-low", 16) is CLEAR


def test_two_sensors_at_once_are_judged_each_alone() -> None:
    low = [cgm(5.0 * n, value, device="cgm-2") for n, value in enumerate([80, 53, 52, 51])]
    assert Ward().take(*trace([120] * 4), *low).verdict("glucose-very-low", 15) is RAISE


# Blood pressure


def test_one_high_blood_pressure_holds_and_the_mean_of_two_is_judged() -> None:
    ward = Ward().take(cuff(0, 150, 95))
    assert ward.verdict("blood-pressure-high", 0) is HOLD
    ward.take(cuff(2, 130, 85))
    found = ward.at(2)["blood-pressure-high"]
    assert (found.verdict, found.priority, found.audience) == (RAISE, Priority.LOW, Audience.STAFF)
    assert found.because.en == (
        "Home blood pressure 140/90 mmHg (mean of 150/95 mmHg and 130/85 mmHg, session of 2026-03-02 02:00), "
        "at or above 135/85 mmHg (home limit, ESH 2023, ESC 2024, China 2024)."
    )
    ward.take(cuff(4, 136, 84))  # the last two: 133/84, between the goal and the limit
    assert ward.verdict("blood-pressure-high", 4) is HOLD
    ward.take(cuff(720, 128, 78), cuff(722, 126, 77))
    assert ward.verdict("blood-pressure-high", 722) is CLEAR


def test_a_mean_that_only_the_first_reading_carries_over_the_limit_holds() -> None:
    assert Ward().take(cuff(0, 192, 121), cuff(3, 128, 80)).verdict("blood-pressure-high", 3) is HOLD
    assert Ward().take(cuff(0, 128, 80), cuff(3, 192, 121)).verdict("blood-pressure-high", 3) is RAISE


def test_readings_more_than_ten_minutes_apart_are_two_sessions() -> None:
    assert Ward().take(cuff(0, 150, 95), cuff(11, 150, 95)).verdict("blood-pressure-high", 11) is HOLD


def test_kilopascal_are_judged_and_said_as_received() -> None:
    found = Ward().take(cuff(0, 18.0, 11.3, Unit.KPA), cuff(2, 18.0, 11.3, Unit.KPA)).at(2)["blood-pressure-high"]
    assert found.verdict is RAISE  # 135.01 mmHg
    assert "18/11.3 kPa" in found.because.en


def test_a_first_severe_reading_asks_the_patient_and_a_second_calls_staff() -> None:
    ward = Ward().take(cuff(0, 186, 104))
    asked = ward.at(0)["blood-pressure-severe"]
    assert (asked.verdict, asked.audience) == (RAISE, Audience.PATIENT)
    assert "measure again in 1 to 5 minutes" in asked.because.en
    assert "1 至 5 分钟后再测一次" in asked.because.zh
    ward.take(cuff(3, 182, 100))
    pair = ward.at(3)["blood-pressure-severe"]
    assert (pair.verdict, pair.audience, pair.priority) == (RAISE, Audience.STAFF, Priority.MEDIUM)
    assert pair.evidence == (cuff(0, 186, 104).key, cuff(3, 182, 100).key)


def test_a_pair_above_the_crisis_limit_is_of_high_priority() -> None:
    pair = Ward().take(cuff(0, 196, 124), cuff(2, 190, 122)).at(2)["blood-pressure-severe"]
    assert pair.priority is Priority.HIGH


def test_a_second_reading_that_is_not_severe_ends_it_without_staff() -> None:
    ward = Ward().take(cuff(0, 186, 104), cuff(3, 168, 98))
    assert ward.verdict("blood-pressure-severe", 3) is CLEAR
    assert ward.verdict("blood-pressure-severe", 60) is CLEAR


def test_no_second_reading_in_15_minutes_raises_on_the_first_alone_and_says_so() -> None:
    ward = Ward().take(cuff(0, 186, 104))
    assert ward.at(15)["blood-pressure-severe"].audience is Audience.PATIENT
    alone = ward.at(15.1)["blood-pressure-severe"]
    assert (alone.verdict, alone.audience) == (RAISE, Audience.STAFF)
    assert "none came within 15 min" in alone.because.en
    # One reading raised it, one ends it.
    assert ward.take(cuff(20, 160, 95)).verdict("blood-pressure-severe", 20) is CLEAR


def test_the_waiting_time_begins_when_the_patient_can_be_asked() -> None:
    ward = Ward().take(cuff(0, 186, 104, arrives=minute(60)))
    assert ward.at(61)["blood-pressure-severe"].audience is Audience.PATIENT
    assert ward.take(cuff(70, 188, 105)).at(70)["blood-pressure-severe"].audience is Audience.STAFF


def test_a_repetition_within_the_minute_confirms_nothing() -> None:
    ward = Ward().take(cuff(0, 186, 104), cuff(0.5, 185, 104))
    assert ward.at(1)["blood-pressure-severe"].audience is Audience.PATIENT


def test_a_confirmed_severe_pressure_is_ended_by_two_readings() -> None:
    ward = Ward().take(cuff(0, 186, 104), cuff(3, 184, 102), cuff(120, 150, 90))
    assert ward.verdict("blood-pressure-severe", 120) is RAISE
    assert ward.take(cuff(122, 148, 88)).verdict("blood-pressure-severe", 122) is CLEAR


def test_a_severe_reading_of_yesterday_raises_nothing_today() -> None:
    ward = Ward().take(cuff(0, 186, 104, arrives=minute(1440)), cuff(2, 188, 104, arrives=minute(1440)))
    assert ward.verdict("blood-pressure-severe", 1440) is HOLD


# No data

SENSOR = Expected(device="cgm-1", vital=Vital.CGM, silence=timedelta(hours=6), since=minute(0))


def test_silence_is_aged_by_arrival_and_never_before_the_device_was_expected() -> None:
    ward = Ward(expected=[SENSOR])
    assert ward.verdict("no-data", 359) is CLEAR
    assert ward.verdict("no-data", 360) is RAISE
    # A backfill of old readings is a sign of life; the moment they were taken does not matter.
    ward.take(*[replace(each, received_at=minute(400)) for each in trace([110] * 5)])
    assert ward.verdict("no-data", 400) is CLEAR
    assert ward.verdict("no-data", 759) is CLEAR
    found = ward.at(760)["no-data"]
    assert (found.verdict, found.priority, found.since) == (RAISE, Priority.LOW, minute(760))
    assert found.because.en == (
        "Sensor glucose: nothing from device cgm-1 since 2026-03-02 08:40 (360 min; expected within 360 min)."
    )
    assert "设备 cgm-1" in found.because.zh


def test_silence_of_one_of_two_devices_names_it() -> None:
    cuff_too = Expected(device="cuff-1", vital=Vital.BLOOD_PRESSURE, silence=timedelta(hours=48), since=minute(0))
    ward = Ward(expected=[cuff_too, SENSOR]).take(cuff(300, 120, 75))
    found = ward.at(400)["no-data"]
    assert found.verdict is RAISE
    assert "cuff-1" not in found.because.en


def test_a_device_that_is_no_longer_expected_clears() -> None:
    assert Ward().at(10_000)["no-data"].verdict is CLEAR


# The window


def test_order_of_arrival_and_repeats_change_no_finding() -> None:
    readings = [*trace(NIGHT[:12]), meter(20, 75), cuff(5, 150, 96), cuff(7, 145, 95)]
    straight = Ward().take(*readings).at(55)
    for seed in range(20):
        shuffled = readings + readings[::3]
        random.Random(seed).shuffle(shuffled)
        assert Ward().take(*shuffled).at(55) == straight


def test_the_window_forgets_what_is_older_than_its_span_and_does_not_take_it_back() -> None:
    window = Window("p-1", trace([100] * 12, every=10), span=timedelta(hours=1))
    (_, kept), *_ = window.traces(Vital.CGM)
    assert [each.taken_at for each in kept] == [minute(10 * n) for n in range(5, 12)]
    assert not window.add(cgm(0, 100))
    assert not window.add(cgm(110, 100))
    assert window.add(cgm(105, 100))


def test_the_window_holds_no_more_than_its_count() -> None:
    window = Window("p-1", trace([100] * (COUNT + 5), every=1))
    (_, kept), *_ = window.traces(Vital.CGM)
    assert len(kept) == COUNT
    assert not window.add(cgm(0, 100))


def test_the_window_refuses_another_patients_reading() -> None:
    with pytest.raises(ValueError, match="p-2"):
        Window("p-1").add(replace(cgm(0, 100), patient="p-2"))


def test_the_newest_arrival_counts_whatever_the_order() -> None:
    window = Window("p-1", [cgm(0, 100, arrives=minute(30)), cgm(5, 100, arrives=minute(6))])
    newest = window.arrivals("cgm-1")
    assert newest is not None
    assert newest.received_at == minute(30)
    assert window.arrivals("cgm-2") is None


def test_a_device_without_clock_and_number_may_send_two_values_at_once() -> None:
    both = [replace(meter(0, value), device_time=None) for value in (100, 45)]
    ward = Ward().take(*both, *both)
    assert len(ward.window.readings(Vital.GLUCOSE)) == 2
    assert ward.verdict("glucose-very-low", 0) is RAISE


@pytest.mark.parametrize(("vital", "name"), [(Vital.CGM, "fresh-sensor"), *((v, "fresh-meter") for v in SPOT)])
def test_no_device_comes_late_and_still_too_early_to_be_told(vital: Vital, name: str) -> None:
    for rule in RULES.values():
        if vital in rule.vitals:
            assert all(LATE[vital] <= each.lower * MINUTE for each in rule.parameters if each.name == name)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(20, 400)), max_size=60), st.integers(0, 800))
def test_any_history_is_judged_the_same_twice_and_every_finding_speaks_both_languages(
    history: list[tuple[int, int]], now: int
) -> None:
    readings = [cgm(at, value) for at, value in history] + [meter(at, value) for at, value in history[::4]]
    ward = Ward().take(*readings)
    found = ward.at(now)
    assert found == ward.at(now)
    for each in found.values():
        assert each.because.en.endswith(".")
        assert each.because.zh.endswith("。")
        assert "p-1" not in each.because.en

"""A sensor's troubles as they happen: who hears of what when, and what is held back with the reason."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Audience, Finding, Notice, Priority, Text, Verdict
from alerts.bed import Bed
from alerts.ladder import Plan
from alerts.machine import hear_findings
from alerts.rule import Group
from alerts.rules import DEFAULTS, RULES, limits_for, parse_overrides
from alerts.scene import Scene, span
from alerts.sensor import Sensor, Told, Value, built
from alerts.sensor_words import finding
from ingest.reading import Flag, Reading
from ingest.vital import Unit, Vital
from tests.alerts.ward import START, ZONE, Ward, cgm, meter, minute, reading, said, trace

RAISE, CLEAR = Verdict.RAISE, Verdict.CLEAR
PATIENT, STAFF, WEEKLY = Audience.PATIENT, Audience.STAFF, Audience.WEEKLY
DAY = 1440.0
# In quantities that everybody has at home.
SUGAR = "15 to 20 g of fast sugar (half a glass of juice, 150 ml, or 3 to 4 sugar cubes; with acarbose: glucose)"

# A sensor every 5 minutes: down to 48, sugar taken, back up.
LOW = [92, 88, 84, 80, 75, 70, 66, 61, 57, 53, 51, 49, 48, 50, 55, 62, 69, 78, 90, 101, 110]


def worn(limits=DEFAULTS) -> Ward:  # type: ignore[no-untyped-def]
    """A patient whose sensor has shown 95 for more than a day."""
    ward = Ward(limits)
    ward.comes(*trace([95 + n % 2 for n in range(300)], start=-1500))
    ward.found.clear()
    return ward


def heard(found: Sequence[Finding]) -> list[tuple[str, Verdict, Audience]]:
    return [(each.rule, each.verdict, each.audience) for each in found]


def at(finding: Finding) -> float:
    return (finding.known_at - START) / timedelta(minutes=1)


# A new sensor


@pytest.mark.parametrize("restarts", [False, True])
def test_a_new_sensor_goes_on_with_what_is_known_of_the_patient(restarts: bool) -> None:
    ward = worn()
    (warned,) = said(ward.comes(*trace(LOW[:5])), "predicted-low")
    before = ward.bed._sensors["cgm-1"].forecast.state
    ward.comes(cgm(60, 120, device="cgm-2"))
    if restarts:
        ward.restart(61)
    state = ward.bed._sensors["cgm-2"].forecast.state
    assert (state.mean, state.spread, state.pace) == pytest.approx((before.mean, before.spread, before.pace), rel=0.1)
    assert state.warned_low == warned.since.timestamp() / 60
    assert (state.glucose, state.lag40, state.since) == (120, 0, minute(60).timestamp() / 60)


@pytest.mark.parametrize(("last", "told_at"), [(310, 115), (290, 220)])
def test_so_high_for_hours_counts_over_a_change_of_sensor_unless_it_was_broken(last: float, told_at: float) -> None:
    ward = worn()
    ward.comes(*trace([310 + n % 2 for n in range(20)]), cgm(100, last))
    ward.comes(*(cgm(105 + 5 * n, 312 + n % 2, device="cgm-2") for n in range(30)))
    (told,) = said(ward.found, "glucose-referral")
    assert (told.audience, at(told)) == (STAFF, told_at)
    assert told.since == (START if last == 310 else minute(105))


# Events and their ladder


def test_a_low_of_both_levels_reads_as_it_happened() -> None:
    found = worn().comes(*trace(LOW))
    assert [(at(each), each.rule, each.verdict) for each in found] == [
        (20, "predicted-low", RAISE),
        (30, "predicted-urgent-low", RAISE),
        (40, "low-event-1", RAISE),  # 66, 61, 57: fifteen minutes
        (55, "low-event-2", RAISE),  # 53, 51, 49
    ]
    assert [(each.audience, each.priority) for each in found] == [
        (PATIENT, Priority.LOW),
        (PATIENT, Priority.MEDIUM),
        (PATIENT, Priority.LOW),
        (PATIENT, Priority.MEDIUM),
    ]


def test_the_sentence_says_what_how_much_since_when_and_against_which_limit() -> None:
    (found,) = said(worn().comes(*trace(LOW[:12])), "low-event-2")
    assert found.because.en == (
        "Sensor glucose below 54 mg/dL (3.0 mmol/L) since 2026-03-02 02:45, not recovered by 2026-03-02 02:55 "
        "(10 min): lowest 49 mg/dL (2.7 mmol/L), then 49 mg/dL (2.7 mmol/L), steady. Limit: Battelino 2019, level 2; "
        f"CDS 2024. Please eat or drink {SUGAR} now and measure again in 15 min; if it is not "
        "better, do so again and call for help. Do not stay alone. Who is drowsy or unconscious gets nothing by "
        "mouth: call the emergency number (120 in China) at once."
    )
    assert found.because.zh == (
        "动态血糖自 2026-03-02 02:45 起低于 54 mg/dL（3.0 mmol/L），至 2026-03-02 02:55（10 分钟）尚未恢复："
        "最低 49 mg/dL（2.7 mmol/L），当时 49 mg/dL（2.7 mmol/L），平稳。"
        "限值依据：Battelino 2019 共识 2 级；CDS 2024 指南。"
        "请立即进食速效糖 15 至 20 克（如果汁半杯 150 ml，或方糖 3 至 4 块；服用阿卡波糖者须用葡萄糖），"
        "15 分钟后复测；如未好转，请再次补糖并呼救。"
        "请勿独处。如嗜睡或意识不清，切勿喂食，请他人立即拨打急救电话（中国大陆 120）。"
    )
    assert found.since == minute(45)
    assert found.evidence == (cgm(45, 53).key, cgm(55, 49).key)


@pytest.mark.parametrize("late", [15, 16])
def test_a_low_that_is_told_late_says_when_it_came_and_asks_to_measure(late: float) -> None:
    ward = worn()
    ward.comes(*trace(LOW[:11]))
    (found,) = said(ward.comes(cgm(55, 49, arrives=minute(55 + late))), "low-event-2")
    came = (
        "This came late, at 2026-03-02 03:11: by then it may have been otherwise. Please measure by finger now, and "
        f"eat or drink {SUGAR} if you are still low or feel unwell; measure again in 15 min; if it is "
        "not better, do so again and call for help. Do not stay alone. Who is drowsy or unconscious gets nothing by "
        "mouth: call the emergency number (120 in China) at once."
    )
    assert found.because.en.endswith(came) is (late == 16)
    assert ("数据迟至 2026-03-02 03:11 才到达：届时情况可能已有变化。请现在测指尖血糖" in found.because.zh) is (
        late == 16
    )
    assert (f"{SUGAR} now and" in found.because.en) is (late == 15)


def test_staff_hear_of_a_level_2_low_that_shows_itself_half_an_hour_after_its_onset() -> None:
    ward = worn()
    ward.comes(*trace([*LOW[:9], 53, 52, 51, 50, 52, 53]))  # 25 minutes
    assert STAFF not in {each.audience for each in ward.found}
    assert ward.comes(cgm(75, 56)) == []
    (handed,) = ward.comes(cgm(80, 53))  # 35 minutes after the onset it is below again, without recovery
    assert (handed.rule, handed.audience, handed.priority, handed.since) == (
        "low-event-2",
        STAFF,
        Priority.HIGH,
        minute(45),
    )


def test_at_high_risk_staff_hear_of_a_level_2_low_at_once_and_again_when_it_does_not_recover() -> None:
    ward = worn(limits_for(population=Group.OLDER))
    found = said(ward.comes(*trace([*LOW[:9], *[53] * 7])), "low-event-2")
    assert [(at(each), each.audience, each.priority) for each in found] == [
        (55, PATIENT, Priority.MEDIUM),
        (55, STAFF, Priority.MEDIUM),
        (75, STAFF, Priority.HIGH),
    ]


def test_a_prolonged_low_is_no_second_item_for_staff_who_know_of_it() -> None:
    ward = worn()
    found = said(ward.comes(*trace([*LOW[:9], *[50] * 30])), "low-prolonged")
    assert [(at(each), each.audience) for each in found] == [(160, WEEKLY)]  # 24 readings: 120 min
    assert found[0].priority is Priority.HIGH
    assert found[0].because.en.endswith("for 120 min, each reading with its interval: Danne 2017, prolonged low.")


@pytest.mark.parametrize(("then", "told"), [(56, [120]), (69, [120]), (53, [30]), (72, [])])
def test_a_level_2_low_that_does_not_recover_is_told_to_staff_though_it_is_above_its_limit(
    then: float, told: list[float]
) -> None:
    ward = worn()
    ward.comes(*trace([*LOW[:9], 53, 52, 52, *[then, then - 1] * 30]))
    staff = [each for each in said(ward.found, "low-event-2") if (each.verdict, each.audience) == (RAISE, STAFF)]
    assert [at(each) - 45 for each in staff] == told
    assert {each.priority for each in staff} <= {Priority.HIGH}
    if then == 56:
        assert staff[0].because.en.startswith(
            "Sensor glucose went below 54 mg/dL (3.0 mmol/L) at 2026-03-02 02:45, not recovered by 2026-03-02 04:45 "
            "(120 min): lowest 52 mg/dL (2.9 mmol/L), then 55 mg/dL (3.1 mmol/L), steady. Limit: "
        )
        assert staff[0].because.en.endswith(
            " Usual first help: 15 to 20 g of fast sugar, and a look again after 15 min (ADA, CDS). "
            "Times are of Asia/Shanghai."
        )


def lo(start: float, end: float) -> list[Reading]:
    """A sensor's display says LO every 5 minutes."""
    return [cgm(each, None, flags=frozenset({Flag.BELOW_RANGE})) for each in range(int(start), int(end), 5)]


def critical(ward: Ward) -> list[tuple[float, Audience]]:
    return [(at(each), each.audience) for each in said(ward.found, "low-critical") if each.verdict is RAISE]


def test_staff_hear_of_a_sensor_at_lo_as_soon_as_it_is_known() -> None:
    ward = worn()
    ward.comes(*lo(0, 15))
    assert critical(ward) == [(10, PATIENT), (10, STAFF)]
    told, asked = said(ward.found, "low-critical")[::-1]
    assert (told.priority, told.emergency_at) == (Priority.HIGH, minute(10))
    assert "below 40 mg/dL (2.2 mmol/L)" in told.because.en
    assert "15" in asked.because.en  # grams of sugar
    assert "emergency number" in asked.because.en


@pytest.mark.parametrize(("value", "unit", "heard_by"), [(39.6, Unit.MG_DL, 2), (40.0, Unit.MG_DL, 0)])
def test_critical_is_a_value_below_40(value: float, unit: Unit, heard_by: int) -> None:
    ward = worn()
    ward.comes(*trace([value] * 3, unit=unit))
    assert len(critical(ward)) == heard_by


def test_in_a_sensors_first_day_lo_waits_half_an_hour_and_for_an_end() -> None:
    lasting, brief, hovering = Ward(), Ward(), Ward()
    lasting.comes(*trace([100] * 12, start=-60), *lo(0, 40))
    assert critical(lasting) == [(10, PATIENT), (25, STAFF)]  # six readings of 5 minutes stand for half an hour
    (asked,) = (each for each in said(lasting.found, "low-critical") if each.audience is PATIENT)
    assert "Staff are told after 30 min instead of at once: the sensor is in its first day." in asked.because.en
    assert "传感器处于首日，30 分钟后（而非立即）通知医护" in asked.because.zh
    brief.comes(*trace([100] * 12, start=-60), *lo(0, 20), *trace([75] * 40, start=20))
    assert critical(brief) == [(10, PATIENT)]
    hovering.comes(*trace([100] * 12, start=-60), *lo(0, 20), *trace([58, 59] * 10, start=20))
    assert critical(hovering) == [(10, PATIENT), (90, STAFF)]


def test_a_level_2_low_that_was_above_its_limit_and_comes_back_is_told_to_staff_at_once() -> None:
    ward = worn()
    ward.comes(*trace([*LOW[:9], 53, 52, 52, *[56] * 8, 53]))
    staff = [each for each in said(ward.found, "low-event-2") if (each.verdict, each.audience) == (RAISE, STAFF)]
    assert [at(each) - 45 for each in staff] == [55]


def test_an_extended_low_is_told_to_the_patient_at_two_hours_and_handed_on_at_eight() -> None:
    found = said(worn().comes(*trace([90, 80, 75, *[65] * 100])), "low-extended")
    assert [(at(each), each.audience) for each in found] == [
        (130, PATIENT),
        (495, STAFF),
    ]  # eight hours after its onset at 15


def test_a_dip_of_ten_minutes_is_no_event() -> None:
    found = worn().comes(*trace([90, 80, 69, 68, 75, 69, 80, 90]))
    assert [each.rule for each in found] == ["predicted-low", "predicted-urgent-low"]


def test_an_event_is_over_after_fifteen_minutes_on_the_right_side() -> None:
    ward = worn()
    ward.comes(*trace([80, 75, 66, 66, 66, 71, 72]))
    (ahead,) = ward.comes(*trace([69, 66, 66, 66, 71, 72, 73], start=35))  # still the same event, over at the end
    assert (ahead.rule, at(ahead)) == ("predicted-low", 65)
    (_, again) = ward.comes(*trace([66, 66, 66], start=70))
    assert (again.rule, again.since) == ("low-event-1", minute(70))


def test_staff_who_were_told_hear_of_the_end() -> None:
    found = worn().comes(*trace([*LOW[:9], *[53] * 8, 60, 70, 75, 80]))
    assert heard(found)[-2:] == [("low-event-2", RAISE, STAFF), ("low-event-2", CLEAR, STAFF)]
    assert found[-1].because.en == (
        "Sensor glucose 80 mg/dL (4.4 mmol/L) at 2026-03-02 03:40, at or above 70 mg/dL (3.9 mmol/L) for 15 min. "
        "Limit: Danne 2017: a low ends at 70 mg/dL held 15 min. Times are of Asia/Shanghai."
    )


def test_a_sensor_that_reports_every_15_minutes_needs_one_reading() -> None:
    ward = Ward()
    found = ward.comes(*trace([120, 100, 80, 53], every=15))
    assert heard(found) == [("low-event-1", RAISE, PATIENT), ("low-event-2", RAISE, PATIENT)]
    assert found[1].because.en.startswith(
        "Sensor glucose 53 mg/dL (2.9 mmol/L), falling by 1.8 mg/dL/min at 2026-03-02 02:45: below 54 mg/dL "
        "(3.0 mmol/L)."
    )


def test_a_sensor_that_reports_every_minute_needs_fifteen_readings() -> None:
    ward = Ward()
    assert said(ward.comes(*trace([100, 80] + [50] * 14, every=1)), "low-event-2") == []
    assert len(said(ward.comes(cgm(16, 50)), "low-event-2")) == 1


def test_a_gap_breaks_an_event_and_is_no_recovery() -> None:
    ward = worn()
    ward.comes(*trace([*LOW[:9], *[53] * 8]))
    assert ward.comes(*trace([52, 51], start=120)) == []
    found = ward.comes(cgm(130, 50))
    assert [(each.rule, each.since, each.audience) for each in found] == [
        ("low-event-1", minute(120), PATIENT),
        ("low-event-2", minute(120), PATIENT),
        ("low-event-2", minute(45), STAFF),
    ]
    ward.standing = {"low-event-2": minute(45)}  # of which staff had been told
    ward.bed.settle(ward.standing, minute(130))
    assert ward.comes(cgm(200, 90), cgm(205, 90)) == []
    assert heard(ward.comes(cgm(210, 90))) == [("low-event-2", CLEAR, STAFF)]


@pytest.mark.parametrize(("gap", "since"), [(26, [0]), (45, [0]), (46, [0, 91])])
def test_a_low_with_a_gap_is_one_low_for_staff_as_long_as_nothing_shows_its_end(
    gap: float, since: list[float]
) -> None:
    ward = worn()
    ward.comes(*trace([53, 52] * 5), *trace([52, 53] * 5, start=45 + gap))
    told = [each.since for each in said(ward.found, "low-event-2") if (each.verdict, each.audience) == (RAISE, STAFF)]
    assert sorted(set(told)) == [minute(each) for each in since]


def test_a_recovery_between_two_lows_makes_them_two_for_staff() -> None:
    ward = worn()
    ward.comes(*trace([*[53, 52] * 5, 71, 72, 75]), *trace([52, 53] * 5, start=86))
    told = [each.since for each in said(ward.found, "low-event-2") if (each.verdict, each.audience) == (RAISE, STAFF)]
    assert told == [minute(0), minute(86)]


def test_a_low_whose_readings_come_rarely_is_told_all_the_same() -> None:
    ward = worn()
    ward.comes(*trace([40, 41] * 8, every=25))
    assert [(at(each), each.audience) for each in said(ward.found, "low-event-2")] == [(75, PATIENT), (100, STAFF)]


def test_one_missing_reading_and_a_jittering_clock_are_no_gap() -> None:
    assert len(said(worn().comes(*trace([90, 80, 53, 52, None, 51])), "low-event-2")) == 1
    jitter = [cgm(0, 90), cgm(5, 80), cgm(10, 53), cgm(14.9, 52), cgm(19.8, 51)]
    assert len(said(worn().comes(*jitter), "low-event-2")) == 1


@pytest.mark.parametrize(("gap", "goes_on"), [(30, True), (120, True), (125, False)])
def test_a_high_goes_on_over_a_short_gap_and_is_not_told_anew(gap: float, goes_on: bool) -> None:
    ward = worn()
    ward.comes(*trace([350, 351] * 30), *trace([350, 351] * 30, start=295 + gap))
    handed = [(each.rule, at(each)) for each in ward.found if each.audience is STAFF]
    then = ("high-prolonged", max(360, 295 + gap)) if goes_on else ("glucose-referral", 295 + gap + 115)
    assert handed == [("glucose-referral", 115), then]
    if goes_on:
        sentence = said(ward.found, "high-prolonged")[0].because.en
        assert "went at or above 300 mg/dL" in sentence
        assert "not recovered by" in sentence


def test_a_high_all_day_with_a_gap_every_four_hours_is_prolonged() -> None:
    ward = worn()
    day = [cgm(5 * n, 350 + n % 2) for n in range(360) if 5 * n < 240 or 5 * n % 240 >= 30]
    handed = [(each.rule, at(each)) for each in ward.comes(*day) if each.audience is STAFF]
    assert handed == [("glucose-referral", 115), *(("high-prolonged", each) for each in (360, 750, 1080, 1470))]


def test_a_high_that_was_seen_to_recover_before_a_gap_does_not_go_on_after_it() -> None:
    ward = worn()
    ward.comes(*trace([350, 351] * 30), *trace([240, 241, 240], start=300), *trace([350, 351] * 30, start=350))
    assert said(ward.found, "high-prolonged") == []


def test_highs_are_known_then_told_to_the_patient_then_handed_on() -> None:
    found = worn().comes(*trace([110, 130, 150, 170, 190, 210, 230, 250, *[260, 261] * 65]))
    assert [(at(each), each.rule, each.audience) for each in found if each.rule != "rising-fast"] == [
        (30, "high-event-1", WEEKLY),
        (50, "high-event-2", WEEKLY),
        (125, "high-extended", PATIENT),  # 18 cells of 5 minutes: 90 of 120 minutes
        (255, "high-event-1", PATIENT),  # four hours: 48 readings
        (640, "high-extended", STAFF),  # ten hours after its onset at 40
    ]


def test_the_referral_level_includes_its_limit_and_is_handed_to_staff_after_two_hours() -> None:
    values = [11.0, 13.0, 15.0, *[16.7] * 24]
    found = said(Ward().comes(*trace(values, unit=Unit.MMOL_L)), "glucose-referral")
    assert [(at(each), each.audience, each.priority) for each in found] == [(130, STAFF, Priority.MEDIUM)]
    assert "at or above 16.7 mmol/L (300 mg/dL)" in found[0].because.en
    just_below = [11.0, 13.0, 15.0, *[16.6] * 30]
    assert said(Ward().comes(*trace(just_below, unit=Unit.MMOL_L)), "glucose-referral") == []


def test_the_referral_level_is_chinas_in_china_and_homewards_own_elsewhere() -> None:
    values = [11.0, 13.0, 15.0, *[16.7] * 24]
    for limits, source in ((limits_for(region=Group.CHINA), "China basic public"), (DEFAULTS, "Homeward default")):
        (found,) = said(Ward(limits).comes(*trace(values, unit=Unit.MMOL_L)), "glucose-referral")
        assert f"Limit: {source}" in found.because.en


# Values


def test_limits_are_compared_in_the_unit_received() -> None:
    # 3.9 mmol/L is 70.26 mg/dL, and 70 mg/dL is shown as 3.9 mmol/L: neither is low. 3.8 and 69 are.
    assert Ward().comes(*trace([3.9] * 6, unit=Unit.MMOL_L)) == []
    assert Ward().comes(*trace([70.0] * 6)) == []
    (found,) = Ward().comes(*trace([3.8] * 3, unit=Unit.MMOL_L))
    assert "Sensor glucose below 3.9 mmol/L (70 mg/dL)" in found.because.en
    assert "3.8 mmol/L (68 mg/dL), steady" in found.because.en
    assert len(Ward().comes(*trace([69.0] * 3))) == 1
    assert len(Ward().comes(*trace([0.00069] * 3, unit=Unit.KG_L))) == 1
    assert len(Ward().comes(*trace([0.0038] * 3, unit=Unit.MOL_L))) == 1


def test_a_value_on_the_limit_is_not_beyond_it() -> None:
    for unit, value in ((Unit.MG_DL, 54.0), (Unit.MMOL_L, 3.0)):
        assert said(Ward().comes(*trace([value] * 6, unit=unit)), "low-event-2") == []


def words(values: Sequence[Flag]) -> list[Reading]:
    return [cgm(5.0 * n, None, flags=frozenset({flag})) for n, flag in enumerate(values)]


def test_hi_and_lo_are_beyond_every_limit() -> None:
    found = said(Ward().comes(*words([Flag.BELOW_RANGE] * 3)), "low-event-2")
    assert "LO (below the device's range)" in found[0].because.en
    assert len(said(Ward().comes(*words([Flag.ABOVE_RANGE] * 24)), "glucose-referral")) == 1


def test_a_value_that_is_missing_or_doubted_by_the_device_says_nothing() -> None:
    assert Ward().comes(*[cgm(5.0 * n, None) for n in range(6)]) == []
    broken = frozenset({Flag.SENSOR_MALFUNCTION})
    assert Ward().comes(*[cgm(5.0 * n, 45, flags=broken) for n in range(6)]) == []


# Rates and artefacts


def test_a_fast_fall_and_a_fast_rise_are_told_to_the_patient_once() -> None:
    ward = Ward()
    fall = said(ward.comes(*trace([220, 200, 180, 160, 140, 120, 100])), "falling-fast")
    assert [(at(each), each.audience) for each in fall] == [(10, PATIENT)]
    assert "falls fast: from 220 mg/dL (12.2 mmol/L) to 180 mg/dL (10.0 mmol/L) within 10 min" in fall[0].because.en
    assert "(4.0 mg/dL/min). Limit: 3.0 mg/dL/min, double arrow" in fall[0].because.en
    rise = said(ward.comes(*trace([100, 101, 118, 135, 152], start=35)), "rising-fast")
    assert len(rise) == 1


def test_a_fall_from_far_above_is_told_only_when_a_low_is_within_reach() -> None:
    """20.9 to 18.1 mmol/L in a quarter of an hour is no news; the same fall is told where it would come to a low."""
    ward = worn()
    ward.comes(*trace([376, 376, 376, 376]))
    assert said(ward.comes(*trace([359, 342, 325, 308], start=20)), "falling-fast") == []
    (fall,) = said(ward.comes(*trace([291, 274, 257, 240, 223, 206, 189, 172, 155, 138], start=40)), "falling-fast")
    assert at(fall) == 80  # 155, by 3.4 mg/dL/min: below 70 in half an hour


def test_a_fast_change_says_what_to_do() -> None:
    ward = Ward()
    (fall,) = said(ward.comes(*trace([220, 200, 180, 160, 140, 120, 100])), "falling-fast")
    assert fall.because.en.endswith(" Please have sugar at hand, do not drive, and look again in 15 min.")
    assert fall.because.zh.endswith("请备好糖，勿驾车，15 分钟后再看读数。")
    assert "由 220 mg/dL（12.2 mmol/L）至 " in fall.because.zh
    (rise,) = said(ward.comes(*trace([100, 101, 118, 135, 152], start=35)), "rising-fast")
    assert rise.because.en.endswith(
        " Please look again in 30 min, and do what you have agreed with your doctor for such a rise."
    )
    assert rise.because.zh.endswith("请 30 分钟后再看读数；请按医生事先交代的方法处理。")


def test_a_change_over_a_change_of_unit_is_said_in_whole_numbers() -> None:
    ward = worn()
    before = trace([6.8, 6.8, 6.8, 6.8], unit=Unit.MMOL_L)
    found = [*ward.comes(*before), *ward.comes(*trace([105, 88, 70], start=20))]
    (fall,) = said(found, "falling-fast")
    assert "from 123 mg/dL (6.8 mmol/L) to 70 mg/dL" in fall.because.en


def test_there_is_no_rate_from_or_to_a_word() -> None:
    low = trace([95, 88, 80, 72, 64, 56])
    words = [cgm(30 + 5 * n, None, flags=frozenset({Flag.BELOW_RANGE})) for n in range(6)]
    found = worn().comes(*low, *words, *trace([60, 85, 88], start=60))
    assert [each.rule for each in found if each.rule in {"falling-fast", "rising-fast", "sensor-jump"}] == []


def test_a_rate_over_15_minutes_is_told_when_10_and_20_minutes_ago_it_was_none() -> None:
    ward = worn()
    ward.comes(*trace([90, 100, 110, 118, 145, 122, 107]))
    fall = said(ward.comes(cgm(35, 100)), "falling-fast")
    assert len(fall) == 1
    assert "from 145 mg/dL (8.0 mmol/L) to 100 mg/dL (5.6 mmol/L) within 15 min" in fall[0].because.en


def test_a_jump_is_noted_and_not_taken_for_a_trend() -> None:
    found = worn().comes(*trace([95, 96, 130, 131, 130]))
    assert [(each.rule, each.audience) for each in found] == [("sensor-jump", WEEKLY)]
    assert "jumped from 96 mg/dL (5.3 mmol/L) to 130 mg/dL (7.2 mmol/L) within 5 min" in found[0].because.en


PRESSED = [95, 95, 94, 78, 62, 50, 49, 48, 47, 46, 47, 48, 48, 75, 96]


def test_a_steep_fall_at_night_from_a_steady_trace_waits_longer_and_its_rebound_is_recognised() -> None:
    ward = worn()
    found = ward.comes(*trace(PRESSED))
    (low,) = [each for each in found if each.rule == "low-event-2" and each.verdict is RAISE]
    assert low.audience is PATIENT
    assert low.because.en.endswith(
        "Staff are told after 60 min instead of 30: a steep fall at night from a steady trace may be pressure on the "
        "sensor. Please measure by finger."
    )
    (seen,) = said(found, "sensor-compression")
    assert seen.audience is WEEKLY
    assert "came back by 29 mg/dL within 20 min" in seen.because.en


def test_pressure_that_does_not_end_is_handed_to_staff_all_the_same() -> None:
    ward = worn()
    found = said(ward.comes(*trace([*PRESSED[:6], *[47] * 20])), "low-event-2")
    assert [(at(each), each.audience) for each in found] == [(35, PATIENT), (85, STAFF)]


def test_the_same_fall_by_day_is_a_low_like_any_other() -> None:
    ward = Ward()
    ward.comes(*trace([95 + n % 2 for n in range(400)], start=-1400))
    found = said(ward.comes(*trace([*PRESSED[:6], *[47] * 8], start=600)), "low-event-2")
    assert [(at(each), each.audience) for each in found] == [(635, PATIENT), (655, STAFF)]


def test_on_its_first_day_a_sensors_low_is_handed_to_staff_after_two_hours() -> None:
    ward = Ward()
    ward.comes(*trace([95 + n % 2 for n in range(60)], start=-300))
    found = said(ward.comes(*trace([*LOW[:9], *[53] * 30])), "low-event-2")
    assert [(at(each), each.audience) for each in found] == [(55, PATIENT), (165, STAFF)]
    assert "the sensor is in its first day" in found[0].because.en
    assert "传感器处于首日" in found[0].because.zh


FIVE_DAYS = [120 + n % 4 for n in range(5 * 288)]


@pytest.mark.parametrize(("numbered", "handed"), [(True, 30), (False, 120)])
def test_a_sensor_that_is_back_after_a_day_is_a_new_one_unless_its_session_goes_on(
    numbered: bool, handed: float
) -> None:
    ward = Ward()
    back = 5 * DAY + 25 * 60
    low = [*trace(FIVE_DAYS[:30], start=back), *trace([*range(112, 48, -8), *[50, 51] * 15], start=back + 150)]
    readings = [*trace(FIVE_DAYS), *low]
    if numbered:
        readings = [replace(each, sequence=int((each.taken_at - START) / timedelta(minutes=1))) for each in readings]
    ward.comes(*readings)
    (staff,) = [each for each in said(ward.found, "low-event-2") if each.audience is STAFF]
    assert at(staff) - (staff.since - START) / timedelta(minutes=1) == handed


@pytest.mark.parametrize("late", [False, True])
def test_a_first_day_of_two_days_is_over_also_for_a_state_that_is_built_again(late: bool) -> None:
    given = {"sensor-warm-up": {"first-day": {"value": 2880, "unit": "min"}}}
    plan = Plan(limits_for(parse_overrides(given, "patient")))
    stored = trace([*FIVE_DAYS, *range(112, 48, -8)])
    now = stored[-1].taken_at
    earlier = [
        (each.taken_at.timestamp() / 60, 120.0)
        for each in stored
        if timedelta(hours=25) < now - each.taken_at < timedelta(days=3)
    ]
    recent = [each for each in stored if now - each.taken_at <= timedelta(hours=25)]
    sensor = built(plan, "cgm-1", ZONE, recent, earlier)
    if late:
        sensor, _ = sensor.rebuilt(recent, now)
    low = trace([50, 51] * 8, start=5 * DAY + 40)
    told = [one for each in low for one in sensor.take(each, each.taken_at) or ()]
    assert [one.reading.taken_at for one in told if one.audience is STAFF] == [low[6].taken_at]


def test_a_sensor_that_does_not_move_for_an_hour_is_told_to_the_patient_once() -> None:
    found = worn().comes(*trace([110, 116, *[123] * 40]))
    assert [(at(each), each.rule, each.audience) for each in found] == [(70, "sensor-stuck", PATIENT)]
    assert (
        "has been 123 mg/dL (6.8 mmol/L) without any change since 2026-03-02 02:10: 13 readings, 60 min."
        in found[0].because.en
    )
    floor = said(worn().comes(*trace([40] * 40)), "sensor-stuck")
    assert floor == []  # the end of the scale


@pytest.mark.parametrize(
    ("minutes", "en", "zh"),
    [
        (14.98, "15 min", "15 分钟"),
        (120, "120 min", "120 分钟"),
        (121, "2 h 1 min", "2 小时 1 分钟"),
        (480, "8 h", "8 小时"),
        (2879, "47 h 59 min", "47 小时 59 分钟"),
        (4320, "3 days", "3 天"),
        (4390, "3 days 1 h", "3 天 1 小时"),
    ],
)
def test_two_hours_are_said_in_minutes_and_what_is_longer_in_hours_and_days(minutes: float, en: str, zh: str) -> None:
    assert span(timedelta(minutes=minutes)) == Text(en=en, zh=zh)


# What is ahead

FALLING = [93, 90, 87, 84, 81, 78, 75]


def ahead(found: Sequence[Finding]) -> list[tuple[str, float]]:
    return [(each.rule, at(each)) for each in found if each.rule.startswith("predicted")]


def test_a_low_ahead_is_told_to_the_patient_with_its_numbers() -> None:
    (found,) = worn().comes(*trace(FALLING))
    assert (found.rule, found.audience, found.priority) == ("predicted-low", PATIENT, Priority.LOW)
    assert found.because.en == (
        "Sensor glucose 75 mg/dL (4.2 mmol/L) at 2026-03-02 02:30, changing by -0.6 mg/dL/min; about 71 mg/dL "
        "(3.9 mmol/L) is expected in 20 min, and it may fall below 70 mg/dL (3.9 mmol/L) within 60 min. "
        "Limit: Battelino 2019, level 1; CDS 2024. Please have sugar at hand and look again in 15 min; if you feel "
        "low, take 10 to 15 g (2 to 3 sugar cubes)."
    )
    assert found.because.zh == (
        "2026-03-02 02:30 动态血糖 75 mg/dL（4.2 mmol/L），变化 -0.6 mg/dL/min；预计 20 分钟后约 71 mg/dL"
        "（3.9 mmol/L），60 分钟内可能低于 70 mg/dL（3.9 mmol/L）。"
        "限值依据：Battelino 2019 共识 1 级；CDS 2024 指南。"
        "请备好糖，15 分钟后再看读数；如有低血糖感觉，请补糖 10 至 15 克（方糖 2 至 3 块）。"
    )
    assert found.evidence == (cgm(30, 75).key,)


def test_a_very_low_ahead_says_what_to_do() -> None:
    (urgent,) = said(worn().comes(*trace([*FALLING, 72, 68, 64, 60, 56])), "predicted-urgent-low")
    assert "have sugar at hand and do not drive" in urgent.because.en
    assert "take 10 to 15 g now (2 to 3 sugar cubes), and look again in 15 min." in urgent.because.en
    assert urgent.because.zh.endswith("请立即补糖 10 至 15 克（方糖 2 至 3 块），15 分钟后再看读数。")


def test_a_low_that_came_back_above_its_limit_between_is_not_said_to_have_been_below_it_all_the_time() -> None:
    ward = worn()
    ward.comes(*trace([53, 52, 50, 58, 60, 62]))  # below 54 for a quarter of an hour, then above, never recovered
    (found,) = [each for each in said(ward.comes(*trace([52], start=30)), "low-event-2") if each.audience is STAFF]
    assert found.because.en.startswith("Sensor glucose went below 54 mg/dL (3.0 mmol/L) at 2026-03-02 02:00, not ")
    assert "降至低于 54 mg/dL" in found.because.zh


def test_a_low_after_a_gap_says_that_it_was_so_before_the_gap() -> None:
    ward = worn()
    ward.comes(*trace([53, 52, 45, 50]))
    (found,) = said(ward.comes(*trace([49, 48, 47], start=215)), "low-event-2")
    assert found.since == minute(215)
    assert (
        "It was so before a gap in the data as well, from 2026-03-02 02:00 to 2026-03-02 02:15, lowest 45 mg/dL "
        "(2.5 mmol/L). Limit:" in found.because.en
    )
    assert "数据中断前亦如此：2026-03-02 02:00 至 2026-03-02 02:15，最低 45 mg/dL" in found.because.zh


def test_a_low_that_was_over_before_a_gap_is_not_told_again() -> None:
    ward = worn()
    ward.comes(*trace([53, 52, 45, 50, 90, 95, 99, 99]))
    (found,) = said(ward.comes(*trace([49, 48, 47], start=235)), "low-event-2")
    assert "before a gap" not in found.because.en


def test_what_is_ahead_is_said_in_the_unit_received() -> None:
    found = worn().comes(*trace([5.2, 5.0, 4.8, 4.7, 4.5, 4.3, 4.2, 4.0], unit=Unit.MMOL_L))
    words = found[0].because.en
    assert "changing by -0.0" in words
    assert "it may fall below 3.9 mmol/L (70 mg/dL) within 60 min." in words


def test_a_very_low_ahead_is_told_for_itself_while_a_low_goes_on() -> None:
    ward = worn()
    found = ward.comes(*trace([*FALLING, 72, 68, 64, 60, 56]))
    assert [name for name, _ in ahead(found)] == ["predicted-low", "predicted-urgent-low"]
    assert [each.priority for each in said(found, "predicted-urgent-low")] == [Priority.MEDIUM]


def test_what_is_ahead_is_looked_for_at_the_patients_own_limits() -> None:
    given = {"low-event-1": {"limit": {"value": 85, "unit": "mg/dL"}}}
    limits = limits_for(parse_overrides(given, "patient"))
    usual, own = (ahead(worn(each).comes(*trace(FALLING)))[0] for each in (DEFAULTS, limits))
    assert own[1] < usual[1]


@pytest.mark.parametrize("rule", ["predicted-low", "predicted-urgent-low"])
def test_each_warning_can_be_switched_off(rule: str) -> None:
    limits = limits_for(parse_overrides({rule: {"on": {"value": 0, "unit": "switch"}}}, "patient"))
    names = {name for name, _ in ahead(worn(limits).comes(*trace([*FALLING, 72, 68, 64, 60, 56])))}
    assert names == {"predicted-low", "predicted-urgent-low"} - {rule}


def test_what_comes_more_than_a_quarter_of_an_hour_late_foretells_nothing() -> None:
    comes = [replace(each, received_at=each.taken_at + timedelta(minutes=16)) for each in trace(FALLING)]
    assert ahead(worn().comes(*comes)) == []


def test_in_the_first_hour_of_a_sensor_nothing_is_foretold() -> None:
    ward = Ward()
    ward.comes(*trace([95, 96], start=-10))
    assert ahead(ward.comes(*trace(FALLING))) == []
    ward = Ward()
    ward.comes(*trace([95, 96] * 6, start=-60))
    assert ahead(ward.comes(*trace(FALLING)))


def test_nothing_is_foretold_from_the_end_of_the_range() -> None:
    ward = worn()
    ward.comes(*(cgm(at, None, flags=frozenset({Flag.ABOVE_RANGE})) for at in range(0, 60, 5)))
    assert ahead(ward.comes(*trace([110, 110, 111, 110, 109, 110], start=60))) == []


def test_right_after_a_jump_nothing_is_foretold() -> None:
    ward = worn()
    ward.comes(*trace([115, 116] * 6, start=-60))
    (found,) = ward.comes(*trace([115, 116, 78]))
    assert found.rule == "sensor-jump"
    assert ward.comes(*trace([79, 78] * 6, start=15)) == []  # the jump is no slope for what comes after it either
    assert ahead(ward.comes(*trace([86, 84, 81, 77, 73, 70], start=75)))


def test_what_may_be_pressure_on_the_sensor_is_foretold_with_that_reason() -> None:
    found = said(worn().comes(*trace([95, 95, 94, 82])), "predicted-low")
    assert (
        "But a steep fall at night from a steady trace may be pressure on the sensor: please measure by finger."
    ) in found[0].because.en
    assert "但夜间由平稳骤降，可能为传感器受压：请测指尖血糖。" in found[0].because.zh


def test_a_warning_is_not_given_again_after_a_restart() -> None:
    ward = worn()
    assert ahead(ward.comes(*trace(FALLING)))
    ward.restart(32)
    assert ahead(ward.comes(*trace([73, 72], start=35))) == []


def test_after_a_low_a_warning_says_when_it_was() -> None:
    glucose = [100.0, 95, 85, 76, 66, 63, 66, 70, 74, 77, 78, 77, 75, 73, 71]
    found = said(worn().comes(*trace(glucose)), "predicted-low")
    assert "The last value below it was 30 min before." in found[-1].because.en


def test_of_a_low_that_is_foretold_while_the_value_rises_it_is_said_why() -> None:
    sensor = cgm(40, 74)
    told = Told(
        rule=RULES["predicted-low"],
        verdict=RAISE,
        audience=PATIENT,
        priority=Priority.LOW,
        since=sensor.taken_at,
        reading=sensor,
        value=Value(74, Unit.MG_DL, 74),
        numbers=(0.4, 76.0, 10.0),
    )
    scene = Scene("p-1", DEFAULTS, sensor.taken_at, ZONE)
    assert (
        "It rises just now, but the last value below it was only 10 min before, and a further low can follow."
    ) in finding(scene, told).because.en
    without = finding(scene, told._replace(numbers=(0.4, 76.0))).because
    assert "It rises just now, but its course over the last 80 min" in without.en
    assert "目前虽在上升" in without.zh
    assert "rises" not in finding(scene, told._replace(numbers=(-0.4, 70.0))).because.en


# Late, repeated and several


def late(readings: Sequence[Reading], arrives: float) -> list[Reading]:
    return [replace(each, received_at=minute(arrives)) for each in readings]


def test_what_is_long_past_raises_nothing_when_it_arrives_late() -> None:
    assert worn().comes(*late(trace(LOW), 600)) == []
    assert worn().comes(*late(trace(LOW[:13]), 600)) == []


def test_a_low_that_goes_on_is_told_at_its_first_fresh_reading() -> None:
    ward = worn()
    ward.comes(*late(trace([80, 70, *[53] * 30]), 200))
    assert [(at(each), each.audience) for each in said(ward.found, "low-event-2")] == [(200, PATIENT), (200, STAFF)]


@pytest.mark.parametrize(("arrives", "told"), [(64, True), (66, False)])
def test_a_late_reading_completes_an_event_that_has_not_been_over_for_15_minutes(arrives: float, told: bool) -> None:
    ward = worn()
    low = trace([90, 70, 65, 60, 56, 53, 52, 51, 60, 66, 75, 80, 85])  # over at 50 by the readings up to 60
    missing = low.pop(6)
    ward.comes(*low)
    assert said(ward.found, "low-event-2") == []
    found = said(ward.comes(replace(missing, received_at=minute(arrives))), "low-event-2")
    # Its end is told with it, for an alert that stands would be held up.
    assert [(each.verdict, each.since) for each in found] == [(RAISE, minute(25)), (CLEAR, minute(60))] * told
    if found:
        assert found[0].because.en.startswith(
            "Sensor glucose was below 54 mg/dL (3.0 mmol/L) from 2026-03-02 02:25 on, lowest 51 mg/dL (2.8 mmol/L); "
            "85 mg/dL (4.7 mmol/L), rising by 1.3 mg/dL/min at 2026-03-02 03:00. Limit: "
        )
        assert "sugar" not in found[0].because.en  # it is over


def test_a_late_reading_that_shows_an_earlier_onset_tells_nothing_again() -> None:
    ward = worn()
    low = trace([90, 70, 53, 53, 52, 51, 51])
    first = low.pop(2)
    ward.comes(*low)
    assert ward.comes(replace(first, received_at=minute(31))) == []


def test_a_late_reading_does_not_hush_what_is_stored_already_and_still_to_come() -> None:
    ward = Ward()
    ward.comes(*trace([220, 221, 220, None, 220]))
    falling = trace([200, 180, 160], start=25)
    for each in falling:
        ward.stored.add(each)
    assert ward.comes(replace(cgm(15, 221), received_at=minute(21))) == []
    found = [one for each in falling for one in ward.bed.take(each, each.taken_at)]
    assert [each.rule for each in found] == ["falling-fast"]


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
@pytest.mark.parametrize(
    ("since_its_end", "told"),
    [(0, [PATIENT, PATIENT, PATIENT, STAFF]), (10, [PATIENT, PATIENT, PATIENT, STAFF]), (20, [])],
)
def test_what_comes_together_is_judged_as_a_whole_in_any_order(
    order: int, since_its_end: int, told: list[Audience]
) -> None:
    ward = worn()
    low = trace([*[45 + n % 2 for n in range(24)], *[112 + n % 2 for n in range(since_its_end // 5 + 1)]])
    came = low[-1].taken_at
    found = ward.packet(*[replace(each, received_at=came) for each in low][::order])
    lows = [each for each in found if each.rule.startswith("low-") and each.verdict is RAISE]
    lows = [each for each in lows if each.audience is not WEEKLY]
    assert sorted(each.audience for each in lows) == told
    assert all("112 mg/dL" in each.because.en or "113 mg/dL" in each.because.en for each in lows)
    ward.comes(*trace([112, 113] * 6, start=(came - START) / timedelta(minutes=1) + 5))
    # What was long over when it came is told once, as that.
    to_staff = [each.rule for each in ward.found if each.verdict is RAISE and each.audience is STAFF]
    assert to_staff == (["low-event-2"] if told else ["late-emergency"])


def test_what_is_ahead_is_told_though_it_comes_with_old_readings() -> None:
    ward = worn()
    falling = trace([95, *range(94, 71, -3)])
    found = ward.packet(*[replace(each, received_at=falling[-1].taken_at) for each in falling])
    assert [each.rule for each in found] == ["predicted-low"]


def test_a_repeated_reading_changes_nothing() -> None:
    once, twice = worn(), worn()
    once.comes(*trace(LOW))
    for each in trace(LOW):
        twice.comes(each, each)
        twice.bed.take(each, each.received_at)  # and past the journal, which would have known it
        twice.bed.look(twice.stored, each.received_at)
    assert [each.because for each in twice.found] == [each.because for each in once.found]


def test_a_low_stands_until_no_sensor_shows_it() -> None:
    ward = Ward()
    both = [(cgm(5.0 * n, 53), cgm(5.0 * n + 1, 90, device="cgm-2")) for n in range(6)]
    ward.comes(*[each for pair in both for each in pair])
    ward.standing = {"low-event-2": minute(0)}
    ward.bed.settle(ward.standing, minute(26))
    assert ward.comes(cgm(31, 90, device="cgm-2")) == []
    over = [cgm(30 + 5.0 * n, 90, device="cgm-2") for n in range(1, 5)]
    assert ward.comes(*over[:2]) == []  # the other one showed it fifteen minutes ago
    assert heard(ward.comes(*over[2:3])) == [("low-event-2", CLEAR, STAFF)]


def test_a_low_that_two_sensors_show_is_told_once() -> None:
    ward = worn()
    ward.comes(
        *trace([95 + n % 2 for n in range(300)], start=-1500.5),
        *(replace(each, device="cgm-2") for each in trace([95 + n % 2 for n in range(300)], start=-1498)),
    )
    ward.found.clear()
    both = [(cgm(5.0 * n, 52), cgm(5.0 * n + 7, 53, device="cgm-2")) for n in range(30)]
    ward.comes(*sorted((each for pair in both for each in pair), key=lambda each: each.taken_at))
    assert heard(said(ward.found, "low-event-1")) == [("low-event-1", RAISE, PATIENT)]
    assert heard(said(ward.found, "low-extended")) == [("low-extended", RAISE, PATIENT)]
    assert heard(said(ward.found, "low-event-2")) == [("low-event-2", RAISE, PATIENT), ("low-event-2", RAISE, STAFF)]


def test_a_high_that_two_sensors_show_is_told_once() -> None:
    one = [cgm(5.0 * n, 271 + n % 2) for n in range(60)]
    other = [cgm(5.0 * n + 2, 266 + n % 2, device="cgm-2") for n in range(60)]
    alone, both = Ward(), Ward()
    alone.comes(*one)
    both.comes(*sorted([*one, *other], key=lambda each: each.taken_at))
    told, again = ([(*each, "high" in each[0]) for each in heard(ward.found)] for ward in (alone, both))
    assert [each for each in again if each[-1]] == [each for each in told if each[-1]] != []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_new_sensor_goes_on_with_a_low_and_its_wait(restarts: bool) -> None:
    ward = worn()
    ward.comes(*trace([53, 52] * 2), *(cgm(20.0 + 5 * n, 52, device="cgm-2") for n in range(2)))
    if restarts:
        ward.restart(26)
    (staff,) = [
        each
        for each in ward.comes(*(cgm(30.0 + 5 * n, 52, device="cgm-2") for n in range(6)))
        if each.audience is STAFF
    ]
    assert (staff.rule, staff.since, at(staff)) == ("low-event-2", minute(0), 30)


@pytest.mark.parametrize("shown", [2, 4])  # readings of the old sensor: not yet an event, and one
@pytest.mark.parametrize(("warm_up", "restarts"), [(30, False), (30, True), (60, False), (120, True), (160, False)])
def test_a_new_sensor_goes_on_with_a_low_from_before_its_warm_up(warm_up: int, shown: int, restarts: bool) -> None:
    ward = worn()
    ward.comes(*trace([53, 52, 53, 52][:shown]))
    start = 5 * shown + warm_up
    new = [cgm(start + 5.0 * n, 52 + n % 2, device="cgm-2") for n in range(4)]
    found = ward.comes(new[0])
    if restarts:
        ward.restart(start + 1)
    found += ward.comes(*new[1:])
    (staff,) = [each for each in found if each.audience is STAFF]
    assert (staff.rule, staff.since, staff.priority) == ("low-event-2", minute(0), Priority.HIGH)
    assert at(staff) == max(30, start + 10)


@pytest.mark.parametrize(
    ("start", "values"),
    [(200, [52] * 6), (60, [110] * 4 + [52] * 6)],  # too long after the old one's low; recovered meanwhile
)
def test_a_low_of_a_new_sensor_that_the_old_one_did_not_show_waits_as_any_of_its_first_day(
    start: int, values: list[float]
) -> None:
    ward = worn()
    ward.comes(*trace([53, 52, 53]))
    found = ward.comes(*(cgm(start + 5.0 * n, value + n % 2, device="cgm-2") for n, value in enumerate(values)))
    (asked,) = [each for each in found if each.rule == "low-event-2" and each.verdict is RAISE]
    assert asked.audience is PATIENT
    assert "Staff are told after 120 min instead of 30: the sensor is in its first day" in asked.because.en
    # With no weaker advice than any other.
    assert f"Please eat or drink {SUGAR} now" in asked.because.en
    assert "call the emergency number (120 in China)" in asked.because.en


def test_a_limit_that_is_changed_during_a_low_tells_it_to_nobody_again() -> None:
    ward = worn()
    ward.comes(*trace([70, *[53] * 4, *[48, 47] * 3]))
    assert len([each for each in ward.found if each.audience is STAFF]) == 1
    ward.standing = {"low-event-2": minute(5)}
    ward.limits = limits_for(parse_overrides({"low-event-2": {"limit": {"value": 50, "unit": "mg/dL"}}}, "patient"))
    ward.restart(50)
    assert said(ward.comes(*trace([47, 48] * 4, start=55)), "low-event-2") == []


def test_a_low_that_the_device_takes_back_is_over_by_readings_after_its_onset_and_says_so() -> None:
    ward = worn()
    ward.standing = {"low-event-2": minute(20)}
    ward.restart(60)
    found = ward.comes(*(replace(each, rev=2, received_at=minute(61)) for each in trace([121] * 6, start=5)))
    (over, *_) = said(found, "low-event-2")
    assert (over.verdict, over.since) == (CLEAR, minute(20))
    assert over.because.en.startswith(
        "Sensor glucose 121 mg/dL (6.7 mmol/L) at 2026-03-02 02:20, at or above 70 mg/dL (3.9 mmol/L) for 15 min. "
        "The device has corrected its readings. Limit: "
    )
    assert "设备已更正其读数" in over.because.zh


def test_a_meter_does_not_change_what_the_sensor_has_to_tell() -> None:
    alone, beside = worn(), worn()
    alone.comes(*trace(LOW))
    beside.comes(*[each for one in trace(LOW) for each in (one, meter((one.taken_at - START).seconds / 60 + 1, 95))])
    of_sensor = [each for each in beside.found if each.rule.startswith(("low", "predicted"))]
    assert [each.because for each in of_sensor] == [each.because for each in alone.found]


# Properties

VALUES = st.sampled_from([95, 110, 45, 53, 53, 54, 66, 69, 70, 75, 100, 150, 181, 251, 260, 300, 310, 320])


@st.composite
def traces(draw: st.DrawFn) -> list[Reading]:
    """Less than a day of a sensor, in stretches of one rhythm, with gaps."""
    readings: list[Reading] = []
    at = 0.0
    for _ in range(draw(st.integers(1, 5))):
        every = draw(st.sampled_from([5, 5, 15, 1, 3]))
        value = draw(VALUES)
        for n in range(draw(st.integers(1, 14))):
            at += every
            readings.append(cgm(at, value + draw(st.sampled_from([0, 0, 1, -4])) + n % 2))
        at += draw(st.sampled_from([0, 0, 0, 10, 30, 90]))
    return readings


def state(sensor: Sensor) -> object:
    """All of a sensor's state but what was told, and the moments it only keeps to compare with."""
    slots = [
        (slot.back, slot.run, slot.open, slot.since if slot.open else None, slot.worst if slot.run else None)
        for slot in sensor.slots or ()
    ]
    if not slots:
        slots = [(sensor.calm, 0, False, None, None)] * len(sensor.plan.levels)
    return slots, sensor.rhythm, sensor.last_at, sensor.points, sensor.same, sensor.ended, sensor.started_at


def sensor_of(ward: Ward) -> Sensor:
    return ward.bed._sensors["cgm-1"]


@settings(deadline=None, max_examples=60)
@given(traces(), st.randoms(use_true_random=False), st.integers(0, 2))
def test_any_order_of_delivery_ends_in_the_same_state_as_in_order(
    readings: list[Reading], order: random.Random, repeats: int
) -> None:
    straight, shuffled = Ward(), Ward()
    straight.comes(*readings)
    last = readings[-1].taken_at
    mixed = readings * (repeats + 1)
    order.shuffle(mixed)
    shuffled.comes(*[replace(each, received_at=last) for each in mixed])
    assert state(sensor_of(shuffled)) == state(sensor_of(straight))


@settings(deadline=None, max_examples=60)
@given(traces())
def test_a_state_that_is_built_again_is_the_same(readings: list[Reading]) -> None:
    ward = Ward()
    ward.comes(*readings)
    before = state(sensor_of(ward))
    ward.restart(readings[-1].taken_at)
    assert state(sensor_of(ward)) == before


@st.composite
def disturbed(draw: st.DrawFn) -> list[Reading]:
    """A trace as it may come in: with words for values, values that are doubted, repeats, and what comes late."""
    readings = draw(traces())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(readings) - 1))
        flag = draw(st.sampled_from([Flag.BELOW_RANGE, Flag.ABOVE_RANGE, Flag.SENSOR_MALFUNCTION]))
        readings[at] = replace(readings[at], values=(None,), sent=(None,), flags=frozenset({flag}))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(readings) - 1))
        again = readings[at] if draw(st.booleans()) else readings.pop(at)
        readings.insert(min(len(readings), at + draw(st.integers(1, 6))), again)
    return readings


def found_in(beds: dict[str, Bed], batch: Sequence[Reading], now: datetime) -> dict[str, list[Finding]]:
    """What is found of each patient of what comes at once, as the ward asks for it."""
    found: dict[str, list[Finding]] = {each.patient: [] for each in batch}
    for each in batch:
        found[each.patient] += beds[each.patient].take(each, now)
    for name, findings in found.items():
        if beds[name].holds:
            findings += beds[name].taken_together(now)
    return found


@settings(deadline=None, max_examples=60)
@given(st.lists(disturbed(), min_size=2, max_size=4), st.integers(1, 50))
def test_a_batch_of_many_patients_finds_what_each_patient_alone_finds(many: list[list[Reading]], size: int) -> None:
    mixed = [replace(each, patient=f"p-{n}") for turn in zip_longest(*many) for n, each in enumerate(turn) if each]
    batches = [mixed[first : first + size] for first in range(0, len(mixed), size)]
    plan, names = Plan(DEFAULTS), [f"p-{n}" for n in range(len(many))]
    beds = {name: Bed(name, plan=plan, zone=ZONE, expected=()) for name in names}
    alone = {name: Bed(name, plan=Plan(DEFAULTS), zone=ZONE, expected=()) for name in names}
    for batch in batches:
        now = max(each.taken_at for each in batch)
        own = {each.patient: [one for one in batch if one.patient == each.patient] for each in batch}
        parts = [found_in({name: alone[name]}, readings, now) for name, readings in own.items()]
        assert found_in(beds, batch, now) == {name: each for part in parts for name, each in part.items()}


@settings(deadline=None, max_examples=60)
@given(disturbed(), st.integers(2, 3))
def test_what_comes_together_in_time_is_judged_as_one_by_one(readings: list[Reading], size: int) -> None:
    beds = [{"p-1": Bed("p-1", plan=Plan(DEFAULTS), zone=ZONE, expected=())} for _ in range(2)]
    for first in range(0, len(readings), size):
        batch = readings[first : first + size]
        now = max(each.taken_at for each in readings[: first + size])
        if now - min(each.taken_at for each in batch) > timedelta(minutes=15):
            continue  # what is old is judged as a whole, so that nothing on the way is told
        singly = [found for each in batch for found in found_in(beds[0], [each], now)["p-1"]]
        assert found_in(beds[1], batch, now)["p-1"] == singly


@settings(deadline=None, max_examples=60)
@given(traces())
def test_every_finding_speaks_both_languages_and_names_its_limit(readings: list[Reading]) -> None:
    ward = Ward()
    ward.comes(*readings)
    for each in ward.found:
        assert each.because.en.endswith(".")
        assert each.because.zh.endswith("。")
        assert "Limit: " in each.because.en
        assert "p-1" not in each.because.en
        assert each.audience is PATIENT or not each.rule.startswith("predicted")
        assert each.evidence


# Real traces, cut down, with what the scorer eval_hypo.py found in the whole of each

TRACES = Path(__file__).parents[2] / "simulators" / "traces"


def real(name: str) -> list[Reading]:
    readings = []
    for row in csv.reader((TRACES / f"{name}.csv").open(encoding="utf-8")):
        if row[0] == "minute":
            continue
        flag = {"Low": Flag.BELOW_RANGE, "High": Flag.ABOVE_RANGE}.get(row[1])
        value = None if flag else float(row[1])
        moment = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=float(row[0]))
        flags = frozenset({flag}) if flag else frozenset()
        readings.append(reading(Vital.CGM, moment, (value,), Unit.MG_DL, device="cgm-1", flags=flags))
    return readings


def scored(readings: Sequence[Reading], level: float, end: float) -> list[datetime]:
    """Onsets by the definition of the scorer: 3 readings of a 5-minute sensor, over after 3 at or above the end."""
    onsets: list[datetime] = []
    run: list[datetime] = []
    opened, up = False, 0
    before: datetime | None = None
    for each in readings:
        value = each.sent[0]
        shown = value if value is not None else (39.0 if Flag.BELOW_RANGE in each.flags else 401.0)
        if before and each.taken_at - before > timedelta(minutes=20):
            run, opened = [], False
        before = each.taken_at
        if opened:
            up = up + 1 if shown >= end else 0
            opened = up < 3
            continue
        run = [*run, each.taken_at] if shown < level else []
        if len(run) == 3:
            onsets.append(run[0])
            run, opened, up = [], True, 0
    return onsets


@pytest.mark.parametrize("name", ["cgm_very_low", "cgm_low", "cgm_high", "cgm_quiet"])
def test_every_event_of_a_real_trace_is_found_in_time_and_none_else(name: str) -> None:
    readings = real(name)
    sensor, told = Sensor(Plan(DEFAULTS), "cgm-1", ZONE), []
    for each in readings:
        told += [one for one in sensor.take(each, each.taken_at) or () if one.verdict is RAISE]
    for rule, level in (("low-event-2", 54.0), ("low-event-1", 70.0)):
        first = [one for one in told if one.rule.name == rule and one.audience is PATIENT]
        assert [one.since for one in first] == scored(readings, level, 70.0)
        assert all(one.reading.taken_at - one.since <= timedelta(minutes=15) for one in first)


def test_a_changed_limit_is_told_at_the_next_reading_with_its_true_onset_and_not_of_what_is_past() -> None:
    ward = Ward()
    ward.comes(*trace([75] * 24))
    ward.limits = limits_for(parse_overrides({"low-event-1": {"limit": {"value": 80, "unit": "mg/dL"}}}, "patient"))
    ward.restart(240)  # two hours after the last reading
    assert not said(ward.at(240), "low-event-1")
    ward.restart(118)
    assert not said(ward.at(118), "low-event-1")
    (told, *_) = said(ward.comes(cgm(120, 75)), "low-event-1")
    assert (told.verdict, told.since) == (Verdict.RAISE, minute(0))
    assert "02:00" in told.because.en
    calm = Ward()
    calm.comes(*trace([*[75] * 12, *[100] * 6]))
    calm.limits = ward.limits
    calm.restart(88)
    assert not said(calm.comes(cgm(90, 101)), "low-event-1")


@pytest.mark.parametrize(("after", "told"), [(15, 10), (20, 20), (25, 25), (30, 30), (45, 45)])
def test_staff_after_counts_from_the_onset_and_at_the_earliest_from_when_the_low_is_known(
    after: int, told: int
) -> None:
    given = {"low-event-2": {"staff-after": {"value": after, "unit": "min"}}}
    found = worn(limits_for(parse_overrides(given, "patient"))).comes(*trace([52 + n % 2 for n in range(12)]))
    staff = [each for each in found if each.audience is STAFF and each.verdict is RAISE]
    assert at(staff[0]) == told


def test_a_patient_is_not_told_that_staff_will_hear_of_what_staff_hear_of_now() -> None:
    late = Ward()
    low = [replace(each, received_at=minute(150)) for each in trace([50, 51] * 15)]
    told = [each for each in late.comes(*trace([100] * 12, start=-60), *low) if each.rule == "low-event-2"]
    assert {each.audience for each in told} == {PATIENT, STAFF}
    asked, _now = (each for each in told if each.audience is PATIENT)
    assert asked.because.en.endswith("Please measure by finger: the sensor is in its first day.")
    assert asked.because.zh.endswith("请测指尖血糖：传感器处于首日。")


def one_by_one(readings: Sequence[Reading], ward: Ward) -> list[Notice]:
    """Stored readings come a second apart, each in a message of its own; what the patient is told."""
    told: list[Notice] = []
    for number, each in enumerate(readings):
        come = replace(each, received_at=minute(0) + timedelta(seconds=number))
        found = [one for one in ward.comes(come) if one.verdict is RAISE]
        told += [one for one in hear_findings({}, found, come.received_at).notices if one.audience is PATIENT]
        ward.standing = {**ward.standing, **{one.rule: one.since for one in found if one.audience is STAFF}}
    return told


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    ("flag", "hours", "title", "todo"),
    [
        (Flag.ABOVE_RANGE, 7, "Far too high glucose for hours", "Please drink water, measure by finger and ketones"),
        (Flag.BELOW_RANGE, 2, "Critically low glucose", "Please eat or drink 15 to 20 g of fast sugar"),
    ],
)
def test_what_was_told_by_a_late_reading_is_told_once_more_by_one_of_now(
    flag: Flag, hours: int, title: str, todo: str, restarts: bool
) -> None:
    ward, first = Ward(), -60 * hours
    ward.comes(*trace([105 + n % 2 for n in range(300)], start=first - 1500))
    stored = [cgm(at, None, flags=frozenset({flag})) for at in range(first, 1, 5)]
    told = one_by_one(stored[:-5], ward)
    if restarts:
        ward.restart(0)
    told += one_by_one(stored[-5:], ward)
    ours = [each for each in told if title in each.subject.en]
    assert len(ours) == len({each.id for each in ours}) == 2
    assert "This came late" in ours[0].body.en
    assert todo not in ours[0].body.en
    assert todo in ours[1].body.en
    assert "late" not in ours[1].body.en


def test_staffs_alert_of_what_was_told_late_says_how_it_is_now_and_nobody_is_told_again() -> None:
    ward, alert, told = Ward(), None, []
    ward.comes(*trace([95 + n % 2 for n in range(300)], start=-1655))
    for number, each in enumerate(trace([80, 70, *[48] * 30], start=-155)):
        come = replace(each, received_at=minute(0) + timedelta(seconds=number))
        found = [one for one in ward.comes(come) if one.problem == "glucose-low"]
        heard_of = hear_findings({("p-1", "glucose-low"): alert} if alert else {}, found, come.received_at)
        told += [one.body.en for one in heard_of.notices if one.audience is STAFF]
        alert = heard_of.changes[-1].alert if heard_of.changes else alert
    assert alert is not None
    assert ["came late" in each for each in told] == [True]
    assert "came late" not in alert.because.en
    assert "not recovered by 2026-03-02 01:50" in alert.because.en

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.alert import Audience, Priority, Verdict
from alerts.rule import Group
from ingest.reading import Flag, Reading
from ingest.vital import Unit
from tests.alerts.spot_ward import START, Home, cuff, ketone, meter, minute, sensor

RAISE, HOLD, CLEAR = Verdict.RAISE, Verdict.HOLD, Verdict.CLEAR
STAFF = Audience.STAFF
MMOL = Unit.MMOL_L


@pytest.mark.parametrize(
    ("by_meter", "by_sensor", "expected"),
    [
        (100, 140, CLEAR),  # 40 apart
        (60, 101, RAISE),  # 41 apart, 40 % of 101 is 40.4
        (100, 160, CLEAR),  # 60 apart, 40 % of 160 is 64
        (100, 170, RAISE),  # 70 apart, 68
        (300, 190, CLEAR),  # 110 apart, 120
        (300, 170, RAISE),  # 130 apart
    ],
)
def test_a_meter_and_a_sensor_may_differ_by_40_and_by_40_percent(
    by_meter: float, by_sensor: float, expected: Verdict
) -> None:
    found = Home().take(sensor(-5, by_sensor), meter(0, by_meter)).at(0)["contradiction"]
    assert (found.verdict, found.audience) == (expected, Audience.PATIENT)


def test_the_sentence_names_both_and_asks_for_a_third() -> None:
    home = Home().take(sensor(-5, 9.8, Unit.MMOL_L), meter(0, 4.1, Unit.MMOL_L))
    found = home.at(0)["contradiction"]
    assert found.because.en == (
        "Your meter showed 4.1 mmol/L (74 mg/dL) at 2026-03-02 07:00 and your sensor nothing nearer than 9.8 mmol/L "
        "(177 mg/dL) within 15 min: they differ by more than 2.2 mmol/L / 40 % (Homeward default, to be confirmed "
        "by the clinic). Please wash your hands and measure again; if the meter is right, the sensor "
        "needs to be calibrated or replaced."
    )
    assert set(found.evidence) == {each.key for each in home.readings}


def test_a_sensor_that_passes_the_value_within_15_minutes_agrees() -> None:
    falling = [sensor(at, value) for at, value in ((-15, 220), (-10, 190), (-5, 160), (0, 130), (5, 90), (10, 60))]
    assert Home().take(*falling, meter(0, 75)).verdict("contradiction", 10) is CLEAR
    assert Home().take(sensor(-16, 250), meter(0, 75)).verdict("contradiction", 0) is CLEAR


def test_words_stand_for_the_end_of_the_range() -> None:
    assert Home().take(sensor(0, 180), meter(0, "LO")).verdict("contradiction", 0) is RAISE
    assert Home().take(sensor(0, "LO"), meter(0, 42)).verdict("contradiction", 0) is CLEAR
    assert Home().take(sensor(0, "HI"), meter(0, "HI")).verdict("contradiction", 0) is CLEAR


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (sensor(0, "HI"), meter(0, 680), CLEAR),
        (sensor(0, "HI"), meter(0, 1000), CLEAR),
        (sensor(0, "HI"), meter(0, 240), CLEAR),  # 160 below 400, 40 % of it
        (sensor(0, "HI"), meter(0, 239), RAISE),
        (sensor(0, "LO"), meter(0, 12), CLEAR),
        (sensor(0, "LO"), meter(0, 81), RAISE),  # 41 above 40
        (sensor(0, 500), meter(0, "HI"), CLEAR),
        (meter(0, 990), meter(3, "HI"), CLEAR),
        (meter(0, "LO"), meter(3, 10), CLEAR),
        (ketone(0, "HI"), ketone(3, 14.0), CLEAR),
        (ketone(0, 0.9), ketone(3, "HI"), RAISE),
    ],
)
def test_words_stand_for_all_that_is_beyond_the_end_of_the_range(
    one: Reading, other: Reading, expected: Verdict
) -> None:
    assert Home().take(one, other).verdict("contradiction", 3) is expected


@pytest.mark.parametrize(
    ("first", "second", "what_to_do"),
    [
        (ketone(0, 3.1), ketone(5, 0.4), "have yourself brought to a hospital now, also if you feel well."),
        (ketone(0, 0.4), ketone(5, 3.1), "have yourself brought to a hospital now, also if you feel well."),
        (meter(0, "LO"), meter(3, 122), "call the emergency number (120 in China) at once."),
        (meter(0, "HI"), meter(3, 122), "you feel ill or drowsy, call the emergency number (120 in China) now."),
        (sensor(0, 150), meter(0, "LO"), "call the emergency number (120 in China) at once."),
        (
            cuff(0, 206, 124),
            cuff(3, 142, 88),
            "trouble seeing or speaking, call the emergency number (120 in China) now.",
        ),
        (cuff(0, 74, 40), cuff(3, 142, 88), "If you faint or feel very unwell, call for help."),
    ],
)
def test_what_to_do_about_an_emergency_is_the_last_word_also_where_another_value_contradicts_it(
    first: Reading, second: Reading, what_to_do: str
) -> None:
    found = Home().take(first, second).asked(5)["contradiction"]
    last = found.because
    assert found.priority is Priority.HIGH
    assert last.en.endswith(what_to_do)
    # What it asks for itself is said once.
    assert "easure again now" not in last.en
    assert not any(each in last.zh for each in ("请立即复测", "请洗手后立即复测"))
    assert last.zh.endswith(("急救电话（中国大陆 120）。", "送往医院。", "请呼救。"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ketone(0, 3.1), ketone(5, 5.2)),
        (meter(0, 520), meter(3, 800)),
        (meter(0, 10), meter(3, 52)),
        (cuff(0, 186, 112), cuff(3, 232, 140)),
    ],
)
def test_of_two_that_are_the_same_emergency_no_third_is_asked_for(first: Reading, second: Reading) -> None:
    assert "contradiction" not in Home().take(first, second).asked(5)


def test_two_of_a_meter_contradict_and_a_third_outvotes_one() -> None:
    home = Home().take(meter(0, 310), meter(3, 140))
    assert home.verdict("contradiction", 3) is RAISE
    assert home.take(meter(6, 136)).verdict("contradiction", 6) is CLEAR
    assert Home().take(meter(0, 140), meter(3, 310), meter(6, 138)).verdict("contradiction", 6) is CLEAR
    assert Home().take(meter(0, 140), meter(3, 310), meter(6, 208)).verdict("contradiction", 6) is RAISE


def test_what_blood_can_do_in_the_time_is_no_contradiction() -> None:
    assert Home().take(meter(0, 60), meter(15, 118)).verdict("contradiction", 15) is CLEAR  # 58 in 15 min
    assert Home().take(meter(0, 60), meter(5, 118)).verdict("contradiction", 5) is RAISE


def test_two_of_a_cuff_in_a_session() -> None:
    assert Home().take(cuff(0, 150, 90), cuff(2, 115, 80)).verdict("contradiction", 2) is CLEAR
    home = Home().take(cuff(0, 151, 90), cuff(2, 115, 80))
    assert "Your cuff showed 151/90 mmHg and 2 min later, at 2026-03-02 07:02, 115/80 mmHg" in (
        home.at(2)["contradiction"].because.en
    )
    assert home.take(cuff(4, 118, 79)).verdict("contradiction", 4) is CLEAR
    assert Home().take(cuff(0, 151, 90), cuff(30, 115, 80)).verdict("contradiction", 30) is CLEAR


def test_of_two_contradictions_the_newest_is_told() -> None:
    home = Home().take(meter(0, 100), meter(5, 200), cuff(60, 150, 90), cuff(62, 90, 60))
    assert home.at(62)["contradiction"].since == minute(62)


# What is in doubt ends nothing


@pytest.mark.parametrize(
    ("rule", "first", "better", "third"),
    [
        ("meter-very-low", [meter(0, "LO")], meter(3, 6.8, MMOL), meter(9, 6.6, MMOL)),
        ("meter-crisis", [meter(0, "HI"), meter(2, "HI")], meter(13, 9.0, MMOL), meter(18, 9.4, MMOL)),
        ("ketone", [ketone(0, 4.0)], ketone(3, 0.2), ketone(8, 0.3)),
        ("bp-severe", [cuff(0, 206, 124), cuff(2, 150, 95)], cuff(6, 104, 62), cuff(9, 106, 64)),
        ("bp-low", [cuff(0, 74, 40), cuff(2, 75, 41)], cuff(6, 128, 78), cuff(9, 126, 77)),
    ],
)
def test_a_better_value_that_cannot_be_believed_ends_nothing_until_a_third_agrees_with_it(
    rule: str, first: list[Reading], better: Reading, third: Reading
) -> None:
    home = Home().take(*first, better)
    came = (better.taken_at - START) / timedelta(minutes=1)
    assert home.verdict(rule, came) is (RAISE if rule == "meter-very-low" else HOLD)  # RAISE goes on
    assert home.verdict(rule, came + 13 * 60) is HOLD  # also when nobody is asked for a third any more
    assert home.take(third).verdict(rule, came + 13 * 60) is CLEAR


@pytest.mark.parametrize(
    "readings",
    [
        [meter(0, 38), meter(3, 310)],
        [meter(0, "LO", flags={Flag.STRIP_ERROR})],
        [sensor(0, "HI"), meter(0, 90)],
        [ketone(0, "HI"), ketone(3, 0.4)],
        [meter(0, 2.1, MMOL), meter(16, "HI")],
    ],
)
def test_there_is_no_blank_behind_a_full_width_bracket(readings: list[Reading]) -> None:
    found = Home().take(*readings).judged(16).findings
    assert any("）" in each.because.zh for each in found)
    assert [each.because.zh for each in found if "） " in each.because.zh] == []


def test_a_ketone_beyond_the_range_is_said_as_such() -> None:
    found = Home().take(ketone(0, "HI")).at(0)["ketone"].because
    assert found.en.startswith(
        "Blood ketone HI (above the device's range) at 2026-03-02 07:00: at or above 3 mmol/L."
    )
    assert "血酮 HI（高于设备量程）：不低于 3 mmol/L" in found.zh
    asked = Home().take(ketone(0, "HI"), ketone(3, 0.4)).asked(3)["contradiction"].because
    assert asked.en.startswith("Your blood ketone was HI (above the device's range) and 3 min later")
    assert asked.zh.startswith("血酮先后为 HI（高于设备量程）和 0.4 mmol/L（")


def test_what_the_third_value_says_was_right_goes_on() -> None:
    home = Home().take(meter(0, "LO"), meter(3, 6.8, MMOL), meter(6, 2.0, MMOL))
    assert home.verdict("meter-very-low", 6) is RAISE


@pytest.mark.parametrize("group", [Group.INTERNATIONAL, Group.CHINA])
def test_a_very_low_that_a_better_value_contradicts_is_told_with_both_when_no_third_comes(group: Group) -> None:
    home = Home(group).take(meter(0, 45), meter(4, 150))
    waits = home.judged(4)
    assert waits.again == minute(30) + timedelta(microseconds=1)
    assert [each.rule for each in waits.findings if each.verdict is RAISE and each.audience is STAFF] == []
    assert home.asked(4)["meter-very-low"].since == minute(0)  # asked once
    told = home.at(30.1)["meter-very-low"]
    assert (told.verdict, told.audience, told.known_at) == (RAISE, STAFF, minute(30))
    assert "45 mg/dL" in told.because.en
    assert (
        "150 mg/dL (8.3 mmol/L) at 2026-03-02 07:04 contradicts the value before it, and no third one has come"
        in (told.because.en)
    )
    assert "与前一数值相互矛盾，未收到第三次测量" in told.because.zh
    for third in (meter(8, 146), sensor(20, 120)):
        home = Home(group).take(meter(0, 45), meter(4, 150), third)
        assert home.at(60)["meter-very-low"].verdict is not RAISE


def test_what_the_meter_itself_doubts_is_ended_by_a_value_that_contradicts_it() -> None:
    home = Home().take(meter(0, 35, flags={Flag.STRIP_ERROR}), meter(4, 150))
    assert home.at(60)["meter-very-low"].verdict is HOLD


def test_a_recovery_that_can_be_ends_a_low() -> None:
    assert Home().take(meter(0, "LO"), meter(15, 4.4, MMOL)).verdict("meter-very-low", 15) is CLEAR


def test_two_ketones_contradict_and_the_patient_is_asked_for_a_third() -> None:
    home = Home().take(ketone(0, 4.0), ketone(3, 0.2))
    assert home.asked(3)["contradiction"].because.en == (
        "Your blood ketone was 4.0 mmol/L and 3 min later, at 2026-03-02 07:03, 0.2 mmol/L: they differ by more "
        "than 0.6 mmol/L / 40 % (Homeward default, to be confirmed by the clinic). Please measure a third time, with "
        "clean hands and a new strip. Until it says otherwise this is an emergency: please call the emergency number "
        "(120 in China) or have yourself brought to a hospital now, also if you feel well."
    )
    assert home.take(ketone(6, 0.3)).verdict("contradiction", 6) is CLEAR
    assert Home().take(ketone(0, 4.0), ketone(15, 2.5)).verdict("contradiction", 15) is CLEAR

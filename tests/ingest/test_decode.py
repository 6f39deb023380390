"""Packets of every channel become measurements in the words of the house."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decode import decode
from ingest.reading import DecodeError, Flag, Measurement, Packet, Session
from ingest.vital import Unit, Vital

ARRIVED = datetime(2026, 10, 5, 12, tzinfo=UTC)
START = datetime(2026, 10, 1, 8, 0)


def packet(channel, octets, **extra):
    data = bytes.fromhex(octets) if isinstance(octets, str) else octets
    return Packet(link="ble", sender="AA:BB", channel=channel, data=data, received_at=ARRIVED, **extra)


def one(channel, octets, **extra):
    (outcome,) = decode(packet(channel, octets, **extra))
    assert isinstance(outcome, Measurement), outcome
    return outcome


def error(channel, octets, **extra):
    (outcome,) = decode(packet(channel, octets, **extra))
    assert isinstance(outcome, DecodeError), outcome
    return outcome


class TestGlucose:
    def test_a_real_meter(self):
        octets = "0b0400e407050e0c311d4e0168b0f80000"
        assert one("2a18", octets) == Measurement(
            device="AA:BB",
            vital=Vital.GLUCOSE,
            sent=(0.00104,),
            unit=Unit.KG_L,
            device_time=datetime(2020, 5, 14, 12, 49, 29) + timedelta(minutes=334),
            sequence=4,
            context={"sample_type": "undetermined-plasma"},
            raw=bytes.fromhex(octets),
        )

    def test_mol_per_litre_stays_so(self):
        reading = one("2a18", "060100ea07010203040538c011")
        assert (reading.sent, reading.unit) == ((0.0056,), Unit.MOL_L)

    @pytest.mark.parametrize(
        ("sfloat", "flags"),
        [
            ("fe07", {Flag.ABOVE_RANGE}),
            ("0208", {Flag.BELOW_RANGE}),
            ("ff07", set()),
            ("0008", set()),
            ("0108", set()),
        ],
    )
    def test_a_special_is_no_number(self, sfloat, flags):
        reading = one("2a18", f"020700ea070102030405{sfloat}11")
        assert (reading.sent, reading.flags) == ((None,), flags)

    @pytest.mark.parametrize(
        ("status", "flags"),
        [
            ("0100", {Flag.BATTERY_LOW}),
            ("0200", {Flag.SENSOR_MALFUNCTION}),
            ("0400", {Flag.SAMPLE_INSUFFICIENT}),
            ("1802", {Flag.STRIP_ERROR}),
            ("8001", {Flag.TEMPERATURE_ERROR}),
            ("0004", {Flag.SENSOR_MALFUNCTION}),
            ("0008", {Flag.TIME_FAULT}),
            ("00f0", set()),
        ],
    )
    def test_status_bits_are_flags(self, status, flags):
        reading = one("2a18", f"0a0700ea07010203040570b011{status}")
        assert (reading.sent, reading.flags) == ((0.00112,), flags)

    @pytest.mark.parametrize(("status", "flag"), [("2000", Flag.ABOVE_RANGE), ("4000", Flag.BELOW_RANGE)])
    def test_a_number_the_device_could_not_measure_is_none(self, status, flag):
        reading = one("2a18", f"0a0700ea0701020304050000 11{status}")
        assert (reading.sent, reading.flags) == ((None,), {flag})

    @pytest.mark.parametrize(("sfloat", "status"), [("0000", "6000"), ("fe07", "4000"), ("0208", "2000")])
    def test_above_and_below_at_once_is_nothing_to_believe(self, sfloat, status):
        assert "above and below" in error("2a18", f"0a0700ea070102030405{sfloat}11{status}").reason

    def test_no_concentration_is_a_measurement_without_value(self):
        reading = one("2a18", "002a00e807030f0e1e2d")
        assert (reading.sent, reading.unit) == ((None,), Unit.MG_DL)

    @pytest.mark.parametrize("date", ["e8070d010a1e00", "0000010203040 5".replace(" ", ""), "e807021e000000"])
    def test_an_impossible_or_unknown_date_is_no_time(self, date):
        assert one("2a18", f"000100{date}").device_time is None

    @pytest.mark.parametrize("offset", ["ff7f", "0080"])
    def test_an_offset_out_of_its_range_leaves_no_time_to_believe(self, offset):
        reading = one("2a18", f"010100ea070102030405{offset}")
        assert reading.device_time is None
        assert reading.flags == {Flag.TIME_FAULT}

    def test_an_offset_past_the_last_year_is_no_time(self):
        assert one("2a18", "0101000f270c1f173b3b0100").device_time is None

    @pytest.mark.parametrize("nibbles", ["1a", "41"])
    def test_control_solution_is_flagged(self, nibbles):
        assert Flag.CONTROL_SOLUTION in one("2a18", f"020700ea07010203040570b0{nibbles}").flags

    def test_the_context_is_told_in_words(self):
        companion = bytes.fromhex("ff0700b3032dd004123c003204d2f459f1")
        reading = one("2a18", "120700ea07010203040570b011", companion=companion)
        assert reading.context == {
            "sample_type": "capillary-whole-blood",
            "sample_location": "finger",
            "carbohydrate": "dinner",
            "carbohydrate_g": 45.0,
            "meal": "casual",
            "tester": "health-care-professional",
            "health": "minor-issues",
            "exercise_s": 60,
            "exercise_intensity_pct": 50,
            "medication": "long-acting-insulin",
            "medication_ml": 123400.0,
            "hba1c_pct": 34.5,
        }

    def test_medication_in_kilograms_is_milligrams_without_noise(self):
        companion = bytes.fromhex("10070001 0790".replace(" ", ""))
        assert one("2a18", "120700ea07010203040570b011", companion=companion).context["medication_mg"] == 0.7

    def test_what_is_not_available_is_left_out_and_what_is_reserved_keeps_its_number(self):
        companion = bytes.fromhex("0e070006ffffff64")
        reading = one("2a18", "120700ea07010203040570b0f1", companion=companion)
        assert reading.context == {
            "sample_type": "capillary-whole-blood",
            "meal": "reserved-6",
            "exercise_s": "overrun",
            "exercise_intensity_pct": 100,
        }

    @pytest.mark.parametrize("companion", ["02080002", "ff0700"], ids=["of another record", "cut"])
    def test_a_bad_context_is_a_part_of_its_own_and_leaves_the_glucose_alone(self, companion):
        glucose, context = decode(packet("2a18", "120700ea07010203040570b011", companion=bytes.fromhex(companion)))
        assert glucose.sent == (0.00112,)
        assert "meal" not in glucose.context
        assert isinstance(context, DecodeError)


class TestBloodPressure:
    def test_all_of_it(self):
        octets = "1e7800500058 00ea07021c173b3b4800012700".replace(" ", "")
        reading = one("2a35", octets)
        assert (reading.vital, reading.unit) == (Vital.BLOOD_PRESSURE, Unit.MMHG)
        assert reading.sent == (120.0, 80.0, 88.0, 72.0)
        assert reading.device_time == datetime(2026, 2, 28, 23, 59, 59)
        assert reading.flags == {
            Flag.BODY_MOVEMENT,
            Flag.CUFF_LOOSE,
            Flag.IRREGULAR_PULSE,
            Flag.IMPROPER_POSITION,
        }
        assert reading.context == {"user_id": 1}
        assert reading.raw == bytes.fromhex(octets)

    def test_kilopascal_stays_so(self):
        reading = one("2a35", "15bdf00b009ff03c001200")
        assert (reading.sent, reading.unit) == ((18.9, 11.0, 15.9, 60.0), Unit.KPA)
        assert reading.flags == {Flag.CUFF_LOOSE, Flag.PULSE_BELOW_RANGE}
        assert reading.device_time is None

    def test_a_failed_measurement_has_no_pressure(self):
        assert one("2a35", "04ff07ff07ff074800").sent == (None, None, None, 72.0)

    @pytest.mark.parametrize("mean", ["0000", "ff07"])
    def test_a_mean_that_was_not_worked_out_is_none(self, mean):
        assert one("2a35", f"0078005000{mean}").sent == (120.0, 80.0, None, None)

    def test_an_unknown_user_is_nobody(self):
        assert one("2a35", "08780050000000ff").context == {}

    def test_pulse_above_range(self):
        assert one("2a35", "107800500000000800").flags == {Flag.PULSE_ABOVE_RANGE}

    def test_the_pressure_of_an_inflating_cuff_is_no_reading(self):
        assert decode(packet("2a36", "00d7f000000000")) == ()


class TestCgm:
    SESSION = Session(session_start=START)

    def test_each_record_stands_at_its_minute(self):
        first, second = decode(packet("2aa7", "06000c10050006000c100600", session=self.SESSION))
        assert (first.vital, first.unit, first.sent) == (Vital.CGM, Unit.MG_DL, (120.0,))
        assert (first.sequence, first.device_time) == (5, START + timedelta(minutes=5))
        assert (second.sequence, second.device_time) == (6, START + timedelta(minutes=6))
        assert second.raw == bytes.fromhex("06000c100600")

    def test_annunciation_trend_and_quality(self):
        reading = one("2aa7", "0de396003c000f350101006200", session=self.SESSION)
        assert reading.flags == {
            Flag.SESSION_STOPPED,
            Flag.BATTERY_LOW,
            Flag.SENSOR_MALFUNCTION,
            Flag.TIME_FAULT,
            Flag.CALIBRATION_NEEDED,
            Flag.TEMPERATURE_ERROR,
        }
        assert reading.context == {"trend_mg_dl_min": 1.0, "quality_pct": 98.0}

    @pytest.mark.parametrize(("warning", "flag"), [("80", Flag.ABOVE_RANGE), ("40", Flag.BELOW_RANGE)])
    def test_beyond_what_the_sensor_can_process(self, warning, flag):
        reading = one("2aa7", f"0720000 03c00{warning}".replace(" ", ""), session=self.SESSION)
        assert (reading.sent, reading.flags) == ((None,), {flag})

    def test_above_and_below_at_once_costs_its_own_record_only(self):
        both, high, good = decode(packet("2aa7", "072000003c00c00720fe073d004006000c100600", session=self.SESSION))
        assert [(each.reason[:32], each.offset) for each in (both, high)] == [
            ("the value is said to be above an", 0),
            ("the value is said to be above an", 7),
        ]
        assert good.sequence == 6

    def test_an_aware_session_start_gives_aware_times(self):
        start = START.replace(tzinfo=timezone(timedelta(hours=8)))
        reading = one("2aa7", "06000c100500", session=Session(session_start=start))
        assert reading.device_time == start + timedelta(minutes=5)

    @pytest.mark.parametrize("session", [None, Session()])
    def test_without_session_start_it_says_so(self, session):
        assert "no session start" in error("2aa7", "06000c100500", session=session).reason

    def test_a_wrong_crc_costs_its_own_record_only(self):
        octets = "06000c100500 08000c100600586f 08000c100600596f".replace(" ", "")
        first, bad, last = decode(packet("2aa7", octets, session=self.SESSION))
        assert (first.sequence, last.sequence) == (5, 6)
        assert (bad.kind, bad.offset) == ("invalid", 6)

    def test_records_before_a_cut_one_are_kept(self):
        first, cut = decode(packet("2aa7", "06000c10050006000c10", session=self.SESSION))
        assert first.sequence == 5
        assert (cut.kind, cut.offset) == ("too_short", 6)


def test_json_comes_with_its_sender():
    fields = {"version": 1, "device": "AA:BB", "kind": "glucose", "sequence": 1, "value": 5.6, "unit": "mmol/L"}
    assert one("json", json.dumps(fields).encode()).sent == (5.6,)
    assert "speaks for device" in error("json", json.dumps(fields | {"device": "CC:DD"}).encode()).reason


def test_a_fault_of_the_link_is_its_reason():
    assert error("json", b"{}", fault="the payload has more than 65536 octets").reason.startswith("the payload has")


@pytest.mark.parametrize("channel", ["2a34", "2a37", "", "x" * 1000])
def test_another_channel_is_named(channel):
    assert repr(channel[:40]) in error(channel, "00").reason


def test_cut_octets_say_so():
    assert error("2a18", "1b0000e207041a0b091e1e00120501").kind == "too_short"


SESSIONS = st.none() | st.builds(
    Session, session_start=st.none() | st.datetimes() | st.datetimes(timezones=st.timezones())
)


@given(
    st.sampled_from(["2a18", "2a35", "2a36", "2aa7", "json", "2a34"]),
    st.binary(max_size=40),
    st.none() | st.binary(max_size=20),
    SESSIONS,
)
def test_any_octets_on_any_channel_are_outcomes(channel, octets, companion, session):
    outcomes = decode(packet(channel, octets, companion=companion, session=session))
    assert isinstance(outcomes, tuple)
    assert all(isinstance(outcome, Measurement | DecodeError) for outcome in outcomes)
    for outcome in outcomes:
        if isinstance(outcome, Measurement):
            assert len(outcome.sent) == (4 if outcome.vital is Vital.BLOOD_PRESSURE else 1)

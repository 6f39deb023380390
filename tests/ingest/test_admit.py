"""Admission: whose, when, and can it be true?"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ingest.admit import Roster, Wearing, admit
from ingest.reading import Flag, Measurement, Packet, Reading, Refusal, RefusalReason, Session, TimeBasis
from ingest.vital import Unit, Vital, canonical, family, impossible

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


def packet(received_at: datetime = NOON, offset: timedelta | None = None) -> Packet:
    return Packet(
        link="ble",
        sender="m1",
        channel="2a18",
        data=b"",
        received_at=received_at,
        session=Session(clock_offset=offset),
    )


def glucose(
    value: float | None, unit: Unit = Unit.MG_DL, at: datetime | None = NOON, flags: frozenset[Flag] = frozenset()
) -> Measurement:
    return Measurement(
        device="m1", vital=Vital.GLUCOSE, sent=(value,), unit=unit, device_time=at, sequence=7, flags=flags
    )


def pressure(*sent: float | None, unit: Unit = Unit.MMHG) -> Measurement:
    return Measurement(device="m1", vital=Vital.BLOOD_PRESSURE, sent=sent, unit=unit, device_time=NOON)


def worn(**changes: object) -> Roster:
    wearing = {"device": "m1", "patient": "anna", "zone": SHANGHAI, **changes}
    return Roster([Wearing(**wearing)])  # type: ignore[arg-type]


def admitted(measurement: Measurement, arrived: Packet | None = None, roster: Roster | None = None) -> Reading:
    outcome = admit(measurement, arrived or packet(), roster or worn())
    assert isinstance(outcome, Reading), outcome
    return outcome


def refused(measurement: Measurement, roster: Roster | None = None) -> Refusal:
    outcome = admit(measurement, packet(), roster or worn())
    assert isinstance(outcome, Refusal), outcome
    return outcome


def test_a_naive_device_time_is_the_wearers_local_time() -> None:
    reading = admitted(glucose(100, at=datetime(2026, 3, 2, 19, 30)))
    assert reading.taken_at == datetime(2026, 3, 2, 11, 30, tzinfo=UTC)
    assert reading.time_basis is TimeBasis.DEVICE


def test_an_aware_device_time_needs_no_zone() -> None:
    at = datetime.fromisoformat("2026-03-02T13:30:00+02:00")
    assert admitted(glucose(100, at=at)).taken_at == datetime(2026, 3, 2, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("offset", "basis", "moved"),
    [
        (None, TimeBasis.DEVICE, timedelta(0)),
        (timedelta(seconds=60), TimeBasis.DEVICE, timedelta(0)),
        (timedelta(seconds=-61), TimeBasis.CORRECTED, timedelta(seconds=61)),
        (timedelta(days=400), TimeBasis.CORRECTED, timedelta(days=-400)),
    ],
)
def test_a_known_clock_error_is_taken_off_once(offset: timedelta | None, basis: TimeBasis, moved: timedelta) -> None:
    true = NOON - timedelta(hours=1)
    shown = true - moved
    reading = admitted(glucose(100, at=shown.astimezone(SHANGHAI).replace(tzinfo=None)), packet(offset=offset))
    assert (reading.taken_at, reading.time_basis) == (true, basis)
    assert reading.clock_offset == offset
    assert reading.device_time == shown.astimezone(SHANGHAI).replace(tzinfo=None)


@pytest.mark.parametrize(
    "at",
    [
        None,
        datetime(2000, 1, 1, 0, 3),
        datetime(2031, 1, 1),
        NOON + timedelta(minutes=11),
        datetime.min,
        datetime.max,
    ],
)
def test_an_unbelievable_time_falls_back_to_the_arrival_and_says_so(at: datetime | None) -> None:
    reading = admitted(glucose(100, at=at))
    assert (reading.taken_at, reading.time_basis, reading.device_time) == (NOON, TimeBasis.ARRIVAL, at)


def test_ten_minutes_ahead_is_still_believed() -> None:
    reading = admitted(glucose(100, at=NOON + timedelta(minutes=10)))
    assert reading.time_basis is TimeBasis.DEVICE


def test_the_hour_that_happens_twice_is_its_first() -> None:
    roster = worn(zone=ZoneInfo("Europe/Berlin"))
    arrived = packet(received_at=datetime(2026, 10, 25, 6, tzinfo=UTC))
    reading = admitted(glucose(100, at=datetime(2026, 10, 25, 2, 30)), arrived, roster)
    assert reading.taken_at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_the_wearer_is_who_wore_it_when_it_was_taken() -> None:
    handed_over = NOON - timedelta(days=1)
    roster = Roster(
        [
            Wearing(device="m1", patient="anna", zone=SHANGHAI, until=handed_over),
            Wearing(device="m1", patient="bo", zone=ZoneInfo("Europe/Berlin"), since=handed_over),
        ]
    )
    yesterday = handed_over - timedelta(minutes=1)
    assert admitted(glucose(100, at=yesterday), roster=roster).patient == "anna"
    assert admitted(glucose(100, at=handed_over), roster=roster).patient == "bo"


def test_nobody_wears_it() -> None:
    refusal = refused(glucose(100), Roster())
    assert refusal.reason is RefusalReason.UNASSIGNED
    assert "pair it" in refusal.because


def test_taken_before_it_was_worn() -> None:
    refusal = refused(glucose(100), worn(since=NOON + timedelta(days=1)))
    assert refusal.reason is RefusalReason.UNASSIGNED
    assert "when this was taken" in refusal.because


@pytest.mark.parametrize(
    ("measurement", "reason", "says"),
    [
        (glucose(1001), RefusalReason.IMPOSSIBLE, "1001 mg/dL is outside"),
        (glucose(9.9), RefusalReason.IMPOSSIBLE, "10 to 1000 mg/dL"),
        (glucose(-0.1, Unit.KG_L), RefusalReason.IMPOSSIBLE, "outside"),
        (glucose(30.0, Unit.KG_L), RefusalReason.IMPOSSIBLE, "outside"),
        (glucose(90, Unit.MMOL_L), RefusalReason.IMPOSSIBLE, "outside"),
        (glucose(None), RefusalReason.NO_VALUE, "failed measurement"),
        (glucose(100, flags=frozenset({Flag.CONTROL_SOLUTION})), RefusalReason.CONTROL_SOLUTION, "control solution"),
        (pressure(None, None, None, 72), RefusalReason.NO_VALUE, "ask for a new one"),
        (pressure(120, None, None, None), RefusalReason.NO_VALUE, "failed"),
        (pressure(80, 120, None, None), RefusalReason.IMPOSSIBLE, "not above"),
        (pressure(16, 10, None, 400, unit=Unit.KPA), RefusalReason.IMPOSSIBLE, "pulse 400 1/min"),
    ],
)
def test_refusals_say_why(measurement: Measurement, reason: RefusalReason, says: str) -> None:
    refusal = refused(measurement)
    assert refusal.reason is reason
    assert says in refusal.because


@pytest.mark.parametrize("flag", [Flag.ABOVE_RANGE, Flag.BELOW_RANGE])
def test_hi_and_lo_are_values(flag: Flag) -> None:
    reading = admitted(glucose(None, flags=frozenset({flag})))
    assert reading.values == (None,)
    assert flag in reading.flags


def test_values_are_kept_as_sent_and_in_the_canonical_unit() -> None:
    reading = admitted(glucose(5.6, Unit.MMOL_L))
    assert (reading.sent, reading.unit) == ((5.6,), Unit.MMOL_L)
    assert reading.values == (100.887304,)
    cuff = admitted(pressure(18.9, 11.0, None, 60, unit=Unit.KPA))
    assert cuff.values == (141.761718, 82.50682, None, 60)
    assert cuff.sent == (18.9, 11.0, None, 60)


def test_conversion_noise_never_crosses_a_limit() -> None:
    for mg_dl in range(10, 601):
        assert canonical(Vital.GLUCOSE, (mg_dl / 100_000,), Unit.KG_L) == (float(mg_dl),)
        assert family(mg_dl / 100_000, Unit.KG_L) == (float(mg_dl), Unit.MG_DL)
    for tenths in range(11, 333):
        assert family(tenths / 10_000, Unit.MOL_L) == (tenths / 10, Unit.MMOL_L)


def test_a_glucose_is_never_sent_in_millimetres_of_mercury() -> None:
    with pytest.raises(KeyError):
        canonical(Vital.GLUCOSE, (5.6,), Unit.MMHG)


def test_the_possible_is_a_closed_interval() -> None:
    assert impossible(Vital.GLUCOSE, (10.0,), Unit.MG_DL) is None
    assert impossible(Vital.GLUCOSE, (1000.0,), Unit.KG_L) is None
    assert impossible(Vital.BLOOD_PRESSURE, (120.0, 80.0, None, None), Unit.KPA) is None


@pytest.mark.parametrize(
    ("vital", "sent", "unit", "said"),
    [
        (
            Vital.GLUCOSE,
            (0.3,),
            Unit.MMOL_L,
            "glucose 0.3 mmol/L (5.4 mg/dL) is outside the possible 0.6 to 55.5 mmol/L",
        ),
        (  # a number that a tenth would show as possible
            Vital.GLUCOSE,
            (55.52,),
            Unit.MMOL_L,
            "glucose 55.52 mmol/L (1000.23 mg/dL) is outside the possible 0.6 to 55.5 mmol/L (10 to 1000 mg/dL)",
        ),
        (
            Vital.BLOOD_PRESSURE,
            (34.7, 10.0, None, 70.0),
            Unit.KPA,
            "systolic 34.7 kPa (260.27 mmHg) is outside the possible 6.7 to 34.6 kPa (50 to 260 mmHg)",
        ),
        (
            Vital.CGM,
            (0.0005,),
            Unit.MOL_L,
            "glucose 0.5 mmol/L (9.01 mg/dL) is outside the possible 0.6 to 55.5 mmol/L (10 to 1000 mg/dL)",
        ),
        (Vital.GLUCOSE, (0.00005,), Unit.KG_L, "glucose 5 mg/dL is outside the possible 10 to 1000 mg/dL"),
        (
            Vital.BLOOD_PRESSURE,
            (40.0, 10.0, None, 70.0),
            Unit.KPA,
            "systolic 40 kPa (300.02 mmHg) is outside the possible 6.7 to 34.6 kPa (50 to 260 mmHg)",
        ),
        (
            Vital.BLOOD_PRESSURE,
            (10.0, 12.0, None, 70.0),
            Unit.KPA,
            "systolic 10 kPa (75.01 mmHg) is not above diastolic 12 kPa (90.01 mmHg)",
        ),
        (
            Vital.BLOOD_PRESSURE,
            (16.0, 10.0, None, 300.0),
            Unit.KPA,
            "pulse 300 1/min is outside the possible 30 to 220 1/min",
        ),
    ],
)
def test_the_impossible_is_said_in_the_unit_that_was_sent(
    vital: Vital, sent: tuple[float | None, ...], unit: Unit, said: str
) -> None:
    assert said in (impossible(vital, canonical(vital, sent, unit), unit) or "")


def test_an_unbelievable_time_is_flagged_and_an_absent_one_is_not() -> None:
    assert admitted(glucose(100, at=datetime(2000, 1, 1))).flags == {Flag.TIME_FAULT}
    assert admitted(glucose(100, at=None)).flags == frozenset()


def test_the_clocks_error_is_told_for_the_one_whose_reading_it_is() -> None:
    """The session was held when nobody was known to wear the meter, by a clinic in another zone."""
    session = Session(clock_offset=timedelta(hours=7), utc_offset=timedelta(hours=1))
    arrived = Packet(link="ble", sender="m1", channel="2a18", data=b"", received_at=NOON, session=session)
    reading = admitted(glucose(100, at=datetime(2026, 3, 2, 19, 0)), arrived)
    assert (reading.taken_at, reading.time_basis) == (NOON - timedelta(hours=1), TimeBasis.DEVICE)
    assert reading.clock_offset == timedelta(0)


def test_a_record_from_before_a_reset_says_so() -> None:
    arrived = packet(offset=timedelta(days=-1500))
    reading = admitted(glucose(100, at=datetime(2026, 3, 1, 20, 0)), arrived)
    assert (reading.taken_at, reading.time_basis) == (NOON - timedelta(days=1), TimeBasis.BEFORE_RESET)


def test_a_sensors_records_count_from_its_start() -> None:
    start = datetime(2026, 10, 24, 12, 0)
    arrived = Packet(
        link="ble",
        sender="m1",
        channel="2aa7",
        data=b"",
        received_at=datetime(2026, 10, 25, 12, tzinfo=UTC),
        session=Session(session_start=start),
    )
    measurement = glucose(100, at=start + timedelta(days=1))
    reading = admitted(measurement, arrived, worn(zone=ZoneInfo("Europe/Berlin")))
    assert reading.taken_at == datetime(2026, 10, 25, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("meal", "unknown"),
    [
        ("before-meal", False),
        ("casual", False),
        ("breakfast", True),
        ("Before-Meal", True),
        ("reserved-9", True),
        (2.0, True),
    ],
)
def test_a_meal_that_is_no_known_word_is_said_to_be_unknown_and_kept(meal: str | float, unknown: bool) -> None:
    reading = admitted(replace(glucose(100), context={"meal": meal}))
    assert (Flag.MEAL_UNKNOWN in reading.flags) is unknown
    assert reading.context["meal"] == meal
    assert admitted(replace(pressure(120, 80), context={"meal": meal})).flags == frozenset()
    assert admitted(replace(glucose(100), context={"carbohydrate_g": 20.0})).flags == frozenset()

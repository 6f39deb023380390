"""Devices that differ from the specification, read over every radio: each ends with exactly its readings."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ingest import quirks
from ingest.decode import decode
from ingest.reading import DecodeError, Flag, Measurement
from ingest.vital import Vital
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseContext, GlucoseRecord, PressureRecord
from simulators.gatt_server import DeviceClock
from simulators.meter import GlucoseMeter
from simulators.quirky import MAKES
from tests.bluetooth.person import Person
from tests.bluetooth.radio import SLOWER, Radio
from tests.bluetooth.ward import BRISK, NOON, Ward, known

ADDRESS = "C4:00:00:00:00:09"
GAP_S = 0.02  # between two requests, where a real device wants longer
PATIENT = replace(BRISK, first_indication=5.0 * SLOWER, next_indication=0.3 * SLOWER, rest=0.05 * SLOWER)


@pytest.fixture
def brisk_quirks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quirks with shorter pauses."""

    def brisk(quirk: quirks.Quirk) -> quirks.Quirk:
        manner = quirk.manner
        pause, rest = (1.5 * GAP_S if manner.pause else 0.0), (None if manner.rest is None else BRISK.rest)
        return replace(quirk, manner=replace(manner, pause=pause, rest=rest))

    monkeypatch.setattr(quirks, "QUIRKS", tuple(map(brisk, quirks.QUIRKS)))


@pytest.fixture
async def ward(radio: Radio, brisk_quirks: None) -> AsyncIterator[Ward]:
    """A ward with somebody at hand who types passkeys."""
    ward = Ward(radio)
    logger = logging.getLogger("ingest.links")
    logger.addHandler(ward)
    async with radio.offer(Person(passkey=MAKES["accu_chek"].make.passkey)):
        yield ward
    logger.removeHandler(ward)


def stored(ward: Ward) -> list[Measurement]:
    """What the ward has, each reading once, as the journal would keep it."""
    once: dict[Any, Measurement] = {}
    for packet in ward.packets:
        for outcome in decode(packet):
            assert isinstance(outcome, Measurement), outcome
            once.setdefault((outcome.vital, outcome.sequence, outcome.device_time), outcome)
    return sorted(once.values(), key=lambda measurement: str(measurement.device_time))


async def put(ward: Ward, quirk: str, *, error: timedelta = timedelta(0), **own: Any) -> Any:
    return await MAKES[quirk].on(ward.radio.air, ADDRESS, DeviceClock(lambda: NOON, error), **own)


async def read(ward: Ward, quirk: str, count: int) -> None:
    """Read until one session has ended well and all is here."""
    before = ward.sessions_ended
    async with ward.reading(known(MAKES[quirk].kind, ADDRESS), timings=PATIENT):
        await ward.until(lambda: ward.sessions_ended > before and len(stored(ward)) >= count)
        assert ward.health(ADDRESS).error is None
    session = ward.packets[-1].session
    assert session is not None
    assert session.quirk == quirk


def fill(meter: GlucoseMeter, *mg_dl: int, contexts: bool = False) -> None:
    for number, value in enumerate(mg_dl, start=1):
        meter.add(
            GlucoseRecord(
                sequence=number,
                base_time=NOON - timedelta(hours=len(mg_dl) - number),
                concentration=Decimal(value).scaleb(-5),
                context=GlucoseContext(meal=2) if contexts else None,
            )
        )


def fill_cuff(cuff: BloodPressureCuff, *systolics: int) -> None:
    for number, systolic in enumerate(systolics):
        cuff.add(
            PressureRecord(
                systolic=Decimal(systolic),
                diastolic=Decimal(80),
                mean=Decimal(0),
                time=NOON - timedelta(hours=len(systolics) - number),
                pulse=Decimal(63 + number),
                status=4,
            )
        )


def values(ward: Ward) -> list[float | None]:
    return [measurement.sent[0] for measurement in stored(ward)]


async def test_an_and_cuff_sends_when_asked_takes_its_time_and_hangs_up(ward: Ward) -> None:
    cuff = await put(ward, "and_ua651ble", error=timedelta(hours=3))
    fill_cuff(cuff, 118, 131, 145)
    await ward.started(cuff)
    await read(ward, "and_ua651ble", 3)
    assert values(ward) == [118.0, 131.0, 145.0]
    assert not cuff.unsent
    assert abs(cuff.clock.error) < timedelta(seconds=1)
    assert ward.packets[0].session.clock_offset == timedelta(hours=3)  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [timedelta(minutes=15), timedelta(minutes=5)])
async def test_an_omron_cuff_is_bonded_first_and_set_when_it_shows_its_time(ward: Ward, error: timedelta) -> None:
    cuff = await put(ward, "omron_blesmart", error=error)
    fill_cuff(cuff, 118, 131)
    await ward.started(cuff)
    await read(ward, "omron_blesmart", 2)
    assert values(ward) == [118.0, 131.0]
    assert cuff.dropped == 0
    assert cuff.clock.error == (error if error < cuff.LEAST_ERROR else timedelta(0))


async def test_a_beurer_cuff_means_what_its_display_shows(ward: Ward) -> None:
    cuff = await put(ward, "beurer_bm85")
    fill_cuff(cuff, 118, 131)
    await ward.started(cuff)
    await read(ward, "beurer_bm85", 2)
    first, second = stored(ward)
    assert first.sent == (118.0, 80.0, None, 63.0)
    assert second.sent == (131.0, 80.0, None, 64.0)
    assert first.context == {"user_id": cuff.USER}
    assert first.flags == {Flag.IRREGULAR_PULSE}


async def test_a_contour_meter_is_set_in_utc_in_the_service_of_its_maker(ward: Ward) -> None:
    meter = await put(ward, "contour_next_one", error=timedelta(minutes=-20))
    fill(meter, 112, 65, 240)
    await ward.started(meter)
    await read(ward, "contour_next_one", 3)
    assert values(ward) == [0.00112, 0.00065, 0.0024]
    assert abs(meter.clock.error) < timedelta(seconds=1)


async def test_an_accu_chek_opens_to_its_passkey_and_may_forget_a_context(ward: Ward) -> None:
    meter = await put(ward, "accu_chek", error=timedelta(minutes=-20))
    fill(meter, 112, 65, 240, contexts=True)
    meter.forgets = {2}
    await ward.started(meter)
    await read(ward, "accu_chek", 3)
    assert values(ward) == [0.00112, 0.00065, 0.0024]
    assert [measurement.context.get("meal") for measurement in stored(ward)] == ["after-meal", None, "after-meal"]


async def test_a_caresens_in_january_with_a_ketone_and_in_no_hurry(ward: Ward) -> None:
    meter = await put(ward, "caresens", error=timedelta(minutes=-20), gap=GAP_S)
    january = NOON.replace(month=1)
    for number, (tenths, meal) in enumerate([(112, 2), (12, 6), (45, 1)], start=1):
        meter.add(
            GlucoseRecord(
                sequence=number,
                base_time=january + timedelta(hours=number),
                concentration=Decimal(tenths).scaleb(-5),
                context=GlucoseContext(meal=meal),
            )
        )
    await ward.started(meter)
    await read(ward, "caresens", 3)
    assert [(m.vital, m.sent, m.device_time) for m in stored(ward)] == [
        (Vital.GLUCOSE, (0.00112,), january + timedelta(hours=1)),
        (Vital.KETONE, (1.2,), january + timedelta(hours=2)),
        (Vital.GLUCOSE, (0.00045,), january + timedelta(hours=3)),
    ]
    assert meter.hurried == 0
    assert abs(meter.clock.error) < timedelta(seconds=1)


async def test_a_taidoc_that_numbers_from_the_newest_is_read_whole_and_stored_once(ward: Ward) -> None:
    meter = await put(ward, "taidoc")
    fill(meter, 112, 65, 240)
    await ward.started(meter)
    await read(ward, "taidoc", 3)
    meter.add(GlucoseRecord(sequence=0, base_time=NOON + timedelta(hours=1), concentration=Decimal("0.00098")))
    await read(ward, "taidoc", 4)
    assert values(ward) == [0.00112, 0.00065, 0.0024, 0.00098]


async def test_a_failed_measurement_of_my_glucose_has_no_value(ward: Ward) -> None:
    meter = await put(ward, "my_glucose")
    fill(meter, 112)
    meter.add(GlucoseRecord(sequence=2, base_time=NOON + timedelta(hours=1), concentration=Decimal("NaN")))
    await ward.started(meter)
    await read(ward, "my_glucose", 2)
    assert values(ward) == [0.00112, None]
    assert ward.packets[-1].data.endswith(b"\xff\xff\x11")


@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("quirk", ["cgm_warning_first", "cgm_warning_second"])
async def test_a_sensors_annunciation_is_read_in_its_own_order(ward: Ward, quirk: str, crc: bool) -> None:
    sensor = await put(ward, quirk, session_start=NOON - timedelta(hours=1), zone_quarters=32, dst=0, crc=crc)
    sensor.add(CgmRecord(offset_min=0, glucose=Decimal(90), status=0x02, calibration=0x04, warning=0x00))
    sensor.add(CgmRecord(offset_min=5, glucose=Decimal(54), status=0x00, warning=0x40, trend=Decimal("-2.1")))
    sensor.add(CgmRecord(offset_min=10, glucose=Decimal(91)))
    await ward.started(sensor)
    async with ward.reading(known("cgm", ADDRESS), timings=PATIENT):
        await ward.until(lambda: len(stored(ward)) == 3)
    assert [set(measurement.flags) for measurement in stored(ward)] == [
        {Flag.BATTERY_LOW, Flag.CALIBRATION_NEEDED},
        {Flag.BELOW_RANGE},
        set(),
    ]
    assert values(ward) == [90.0, None, 91.0]


class TestWithoutItsQuirk:
    """The simulated devices do differ: nothing above would pass without the rules."""

    @pytest.fixture(autouse=True)
    def _no_quirks(self, monkeypatch: pytest.MonkeyPatch, brisk_quirks: None) -> None:
        monkeypatch.setattr(quirks, "QUIRKS", ())

    async def test_an_omron_cuff_hangs_up(self, ward: Ward) -> None:
        cuff = await put(ward, "omron_blesmart")
        await ward.started(cuff)
        async with ward.reading(known("cuff", ADDRESS), timings=PATIENT):
            await ward.until(lambda: cuff.dropped)

    async def test_a_beurer_cuff_is_refused(self, ward: Ward) -> None:
        cuff = await put(ward, "beurer_bm85")
        fill_cuff(cuff, 118)
        await ward.started(cuff)
        async with ward.reading(known("cuff", ADDRESS), timings=PATIENT):
            await ward.until(lambda: ward.packets)
        (refusal,) = decode(ward.packets[0])
        assert isinstance(refusal, DecodeError)

    async def test_a_caresens_is_asked_too_fast(self, ward: Ward) -> None:
        meter = await put(ward, "caresens", gap=GAP_S)
        fill(meter, 12)
        await ward.started(meter)
        async with ward.reading(known("meter", ADDRESS), timings=PATIENT):
            await ward.until(lambda: meter.hurried)

    async def test_a_sensors_low_is_not_seen(self, ward: Ward) -> None:
        sensor = await put(ward, "cgm_warning_first", session_start=NOON, zone_quarters=32, dst=0)
        sensor.add(CgmRecord(offset_min=0, glucose=Decimal(90), status=0x02, warning=0x40))
        await ward.started(sensor)
        async with ward.reading(known("cgm", ADDRESS), timings=PATIENT):
            await ward.until(lambda: ward.packets)
        assert values(ward) == [90.0]

"""One session with one device over every radio: what it is, its clock, its manners, and what is done on demand."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bleak import BleakClient, BleakScanner
from bleak.uuids import normalize_uuid_str
from bumble import gatt

from ingest import quirks
from ingest.cgm_control import (
    GET_INTERVAL,
    RESET_DEVICE_ALERT,
    START_SESSION,
    STOP_SESSION,
    Level,
    get_level,
    set_interval,
    set_level,
)
from ingest.decode import decode
from ingest.links.ble_gatt import Heard, SessionError
from ingest.links.ble_session import DeviceFacts, DeviceSession, Kind
from ingest.quirks import ClockWrite, DeviceIdentity, Manner, Match, Quirk, VendorClock, VendorWrite
from ingest.racp import Ending, between, count, delete, report, up_to
from ingest.reading import DecodeError, Packet, Session
from simulators import encode
from simulators.cgm import CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, PressureRecord
from simulators.gatt_server import STANDARD, Make, service
from simulators.meter import GlucoseMeter
from simulators.record_access import Fault, Misbehaviour
from tests.bluetooth.radio import Radio
from tests.bluetooth.ward import BRISK, CGM, CUFF, METER, NOON, NOW, SHANGHAI, Ward, a_clock

MAKERS, MAKERS_CLOCK, MAKERS_DOOR = (normalize_uuid_str(uuid) for uuid in ("fff0", "fff1", "fff2"))


class Held(DeviceSession):
    """A session that keeps what it takes."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind, self._keep, self._kept_at_once, now=lambda: NOW, timings=BRISK)
        self.taken: list[tuple[str, bytes, bytes | None, Session]] = []

    async def _keep(self, heard: Heard, companion: bytes | None, session: Session) -> None:
        self.taken.append((heard.channel, heard.data, companion, session))

    async def _kept_at_once(self) -> None:
        return

    def data(self) -> list[bytes]:
        return [data for _, data, _, _ in self.taken]


@asynccontextmanager
async def held(
    radio: Radio, address: str, kind: Kind, zone: tzinfo | None = SHANGHAI, *, prepared: bool = True
) -> AsyncIterator[Held]:
    found = await BleakScanner.find_device_by_address(address, timeout=BRISK.connect, **radio.scanner_kwargs)
    assert found is not None
    session = Held(kind)
    async with BleakClient(found, session.lost, timeout=BRISK.connect, **radio.client_kwargs) as client:
        session.client = client  # type: ignore[attr-defined]
        if prepared:
            await session.prepare(client, zone)
        yield session


@pytest.fixture
def ward(radio: Radio) -> Ward:
    return Ward(radio)


async def test_a_device_tells_what_it_is(radio: Radio, ward: Ward) -> None:
    make = Make(manufacturer="Ward", model="GM 1", serial="77", firmware="2.1")
    meter = await ward.meter(3, make)
    meter.battery_pct = 17
    meter.clock.error = timedelta(minutes=4)
    async with held(radio, METER, "meter") as session:
        before = session.facts
        await session.read_stored(after=None)
        after = session.facts
    assert before == DeviceFacts(
        manufacturer="Ward",
        model="GM 1",
        serial="77",
        firmware="2.1",
        battery_pct=17,
        clock_offset=timedelta(minutes=4),
    )
    assert after == replace(before, clock_set=True)
    assert meter.clock.error == timedelta(0)
    assert {taken.clock_offset for _, _, _, taken in session.taken} == {timedelta(minutes=4)}
    assert {taken.utc_offset for _, _, _, taken in session.taken} == {timedelta(hours=8)}


@pytest.mark.parametrize(
    ("make", "error", "clock_set"),
    [
        (STANDARD, timedelta(seconds=60), None),
        (STANDARD, timedelta(seconds=-61), True),
        (replace(STANDARD, clock_refuses=True), timedelta(hours=2), False),
        (replace(STANDARD, has_clock=False), timedelta(hours=2), None),
    ],
)
async def test_a_clock_is_set_when_it_is_off_and_read_back(
    radio: Radio, ward: Ward, make: Make, error: timedelta, clock_set: bool | None
) -> None:
    meter = await ward.meter(2, make)
    meter.clock.error = error
    async with held(radio, METER, "meter") as session:
        await session.read_stored(after=None)
        assert session.facts.clock_set is clock_set
        assert len(session.taken) == 2
    assert meter.clock.error == (timedelta(0) if clock_set else error)


async def test_a_clock_is_not_set_when_records_are_missing_or_nobodys_zone_is_known(radio: Radio, ward: Ward) -> None:
    meter = await ward.meter(2)
    meter.clock.error = timedelta(hours=1)
    async with held(radio, METER, "meter", zone=None) as session:
        await session.read_stored(after=None)
        assert session.taken[0][3].clock_offset == timedelta(hours=9), "ahead of UTC, which is all that is known"
    async with held(radio, METER, "meter") as session:
        meter.access.fault = Fault(kind=Misbehaviour.SILENCE, after=1)
        with pytest.raises(SessionError, match="said nothing"):
            await session.read_stored(after=None)
    assert meter.clock.error == timedelta(hours=1)


# On demand ----------------------------------------------------------------------------------------------------------


async def test_records_are_counted_chosen_and_deleted_on_demand(radio: Radio, ward: Ward) -> None:
    meter = await ward.meter(20)
    async with held(radio, METER, "meter") as session:
        assert (await session.ask(count())).count == 20
        assert (await session.ask(report(between(3, 5)))).complete
        assert session.data() == [encode.glucose_measurement(record) for record in meter.records[2:5]]
        assert (await session.ask(delete(up_to(18)))).complete
        assert (await session.ask(report(up_to(18)))).ending is Ending.NO_RECORDS
    assert [record.sequence for record in meter.records] == [19, 20]


async def test_a_reading_is_stopped_on_request(radio: Radio, ward: Ward) -> None:
    await ward.meter(1000)
    async with held(radio, METER, "meter") as session:
        keep = session._keep

        async def keep_a_few(*heard: Any) -> None:
            await keep(*heard)
            if len(session.taken) == 5:
                session.abort()

        session._take = keep_a_few
        with pytest.raises(SessionError, match="stopped on request"):
            await session.read_stored(after=None)
        assert 5 <= len(session.taken) < 1000
        session._take = keep
        assert (await session.ask(count())).count == 1000, "the meter is not left in the middle of it"


@pytest.mark.parametrize("crc", [False, True])
async def test_a_sensor_is_started_on_demand_and_told_the_wearers_time(radio: Radio, ward: Ward, crc: bool) -> None:
    sensor = CgmSensor(await radio.air.device("cgm", CGM), a_clock(), crc=crc)
    await sensor.start()
    async with held(radio, CGM, "cgm", ZoneInfo("Asia/Kathmandu")) as session:
        assert "no session runs in the sensor" in (session.facts.sensor or "")
        with pytest.raises(SessionError, match="no session runs"):
            await session.listen()
        await session.start_sensor()
        facts = session.facts
        with pytest.raises(SessionError, match="will not start its session: it could not carry it out now"):
            await session.operate(START_SESSION)
    assert (facts.sensor, facts.session_ends) == (None, NOW + timedelta(days=14))
    assert sensor.session_start == datetime(2026, 11, 21, 9, 45)
    assert (sensor.zone_quarters, sensor.dst) == (23, 0)


@pytest.mark.parametrize("crc", [False, True])
async def test_a_sensor_does_what_it_is_asked(radio: Radio, ward: Ward, crc: bool) -> None:
    sensor = await ward.sensor(2, crc=crc)
    async with held(radio, CGM, "cgm") as session:
        assert session.facts.session_ends == NOW + timedelta(days=14, hours=-1)
        await session.operate(set_interval(1))
        assert (await session.operate(GET_INTERVAL)).interval_min == 1
        await session.operate(set_level(Level.HYPO, Decimal("54.5")))
        assert (await session.operate(get_level(Level.HYPO))).level == 54.5
        await session.operate(RESET_DEVICE_ALERT)
        with pytest.raises(SessionError, match="does not know this operation"):
            await session.operate(get_level(Level.HYPER))
        await session.operate(STOP_SESSION)
    assert (sensor.interval_min, sensor.session_start) == (1, None)


async def test_a_record_without_the_crc_that_the_sensor_promised_is_damaged(radio: Radio, ward: Ward) -> None:
    sensor = await ward.sensor(2, crc=True)
    bare = CgmRecord(offset_min=50, glucose=Decimal(88))

    async def report_bare(record: CgmRecord) -> None:
        await sensor.notify(sensor._measurement, encode.cgm_measurement(record, crc=record is not bare))

    sensor.access._report = report_bare
    sensor.add(bare)
    async with held(radio, CGM, "cgm") as session:
        await session.read_stored(after=None)
    outcomes = [
        decode(Packet(link="ble", sender=CGM, channel=channel, data=data, received_at=NOW, session=told))[0]
        for channel, data, _, told in session.taken
    ]
    assert [isinstance(outcome, DecodeError) for outcome in outcomes] == [False, False, True]
    assert "lacks the E2E-CRC" in str(outcomes[2])


# Manners ------------------------------------------------------------------------------------------------------------


class MakersMeter(GlucoseMeter):
    """With a service of its maker, into which a clock and a request can be written."""

    def services(self) -> list[gatt.Service]:
        self.written: list[tuple[str, bytes]] = []
        self.asked = asyncio.Event()
        clock = self.characteristic(0xFFF1, write=lambda _link, value: self._write("clock", value))
        door = self.characteristic(0xFFF2, write=lambda _link, value: self._write("door", value))
        return [service(0xFFF0, [clock, door]), *super().services()]

    def _write(self, what: str, value: bytes) -> None:
        self.written.append((what, value))


async def a_makers_meter(radio: Radio) -> MakersMeter:
    meter = MakersMeter(await radio.air.device("Maker 9", METER), a_clock())
    await meter.start()
    await meter.measure(Decimal("0.00112"))
    await meter.measure(Decimal("0.00113"))
    return meter


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(manner: Manner, name: str = "odd", match: Match | None = None) -> None:
        one = Quirk(
            name=name,
            device="a device of a test",
            match=match or Match(name=re.compile("Maker .*")),
            reason="for a test",
            source="this test",
            manner=manner,
        )
        monkeypatch.setattr(quirks, "QUIRKS", (*quirks.QUIRKS, one))

    monkeypatch.setattr(quirks, "QUIRKS", ())
    return make


async def test_a_devices_manner_steers_the_session(radio: Radio, rule: Any) -> None:
    rule(
        Manner(
            clock_slack=timedelta(minutes=5),
            vendor_clock=VendorClock(service=MAKERS, characteristic=MAKERS_CLOCK, head=b"\xc0\x03\x01\x00", utc=True),
            ask=VendorWrite(service=MAKERS, characteristic=MAKERS_DOOR, data=b"\x02\x00\xe1"),
            part=VendorWrite(service=MAKERS, characteristic=MAKERS_DOOR, data=b"\x02\x01\x03"),
            rest=90.0,
        )
    )
    meter = await a_makers_meter(radio)
    meter.clock.error = timedelta(minutes=5)
    async with held(radio, METER, "meter") as session:
        await session.read_stored(after=None)
        assert (session.rest, session.facts.quirk, session.taken[0][3].quirk) == (90.0, "odd", "odd")
        assert session.facts.clock_set is None
    meter.clock.error = timedelta(minutes=6)
    async with held(radio, METER, "meter") as session:
        await session.read_stored(after=None)
        assert session.facts.clock_set is False, "the maker's clock was written, and the standard one not moved"
    opened, closed = ("door", b"\x02\x00\xe1"), ("door", b"\x02\x01\x03")
    utc = encode.date_time(NOW.replace(tzinfo=None))
    assert meter.written == [opened, closed, opened, ("clock", b"\xc0\x03\x01\x00" + utc + b"\xe0\x01"), closed]


class SlowCuff(BloodPressureCuff):
    """A cuff that, as on a real radio, is not gone before what is written meanwhile has reached it."""

    waits = False

    async def hang_up(self) -> None:
        while self.waits and self.clock.error:  # noqa: ASYNC110  the clock has no event of its own
            await asyncio.sleep(0)
        await super().hang_up()


@pytest.mark.parametrize("write", [ClockWrite.NEVER, ClockWrite.WITH_RECORDS])
async def test_a_clock_is_set_when_the_device_wants_it(radio: Radio, rule: Any, write: ClockWrite) -> None:
    rule(Manner(clock_write=write), match=Match(model=re.compile("SIM-1")))
    cuff = SlowCuff(await radio.air.device("cuff", CUFF), a_clock(), hangs_up=True)
    cuff.waits = write is ClockWrite.WITH_RECORDS
    cuff.clock.error = timedelta(minutes=20)
    for systolic in (118, 131):
        cuff.add(PressureRecord(systolic=Decimal(systolic), diastolic=Decimal(80), mean=Decimal(95), time=NOON))
    await cuff.start()
    async with held(radio, CUFF, "cuff") as session:
        await session.read_stored(after=None)
    assert len(session.taken) == 2
    assert {taken.clock_offset for _, _, _, taken in session.taken} == {timedelta(minutes=20)}
    assert cuff.clock.error == (timedelta(0) if write is ClockWrite.WITH_RECORDS else timedelta(minutes=20))


async def test_two_rules_for_one_device_are_an_error_that_names_them(radio: Radio, ward: Ward, rule: Any) -> None:
    rule(Manner(), name="one", match=Match(model=re.compile("SIM-.*")))
    rule(Manner(), name="other", match=Match(manufacturer=re.compile("Homeward.*")))
    assert quirks.quirk_of(DeviceIdentity(model="SIM-1")) is not None
    await ward.meter(1)
    async with held(radio, METER, "meter", prepared=False) as session:
        with pytest.raises(SessionError, match="one, other"):
            await session.prepare(session.client, SHANGHAI)  # type: ignore[attr-defined]

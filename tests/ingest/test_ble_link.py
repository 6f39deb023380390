"""The Bluetooth link against simulated devices: the real bleak API, real ATT octets, no radio."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
)
from bumble import gatt
from bumble.device import Connection, Device

from ingest.decode import decode
from ingest.links.ble import BleLink, DeviceHealth, KnownDevice, Wiring, probe
from ingest.links.ble_faults import adapter_fault, session_fault
from ingest.links.ble_gatt import Heard
from ingest.links.ble_session import ContextJoin, Timings, session_start
from ingest.reading import DecodeError, Measurement, Packet
from simulators import encode
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.cgm import CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseContext, GlucoseRecord, PressureRecord
from simulators.gatt_server import STANDARD, DeviceClock, GattServer, Make, Security, service
from simulators.meter import GlucoseMeter
from simulators.record_access import Fault, Misbehaviour

PATIENCE_S = 10.0
SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
NOON = datetime(2026, 11, 21, 12, 0)  # the same moment on a clock in Shanghai
METER, CGM, CUFF = "C4:00:00:00:00:01", "C4:00:00:00:00:02", "C4:00:00:00:00:03"
BRISK = Timings(
    connect=5.0,
    session=PATIENCE_S,
    silence=0.3,
    drain=0.02,
    first_indication=0.3,
    next_indication=0.1,
    scan=0.5,
    rest=0.01,
    retry=0.01,
    retry_most=0.02,
    roster=0.02,
)


class Ward(logging.Handler):
    """Stands where the house will: keeps what is delivered and knows what is stored. Wakes whoever waits `until`."""

    def __init__(self, air: Air, central: Central) -> None:
        super().__init__()
        self.air = air
        self.central = central
        self.known: list[KnownDevice] = []
        self.packets: list[Packet] = []
        self.stored: dict[str, int] = {}
        self.commits = True
        self.zone: ZoneInfo | None = SHANGHAI
        self.sessions_ended = 0
        self.link: BleLink
        self._news = asyncio.Event()

    async def deliver(self, packet: Packet, settled: Callable[[], None]) -> None:
        self.packets.append(packet)
        self._news.set()
        if self.commits:
            for measurement in decode(packet):
                if isinstance(measurement, Measurement) and measurement.sequence is not None:
                    self.stored[packet.sender] = measurement.sequence
            settled()

    def wiring(self, timings: Timings) -> Wiring:
        return Wiring(
            deliver=self.deliver,
            now=lambda: NOW,
            zone_of=lambda _address: self.zone,
            resume=self.stored.get,
            timings=timings,
            scanner_kwargs=self.central.scanner_kwargs,
            client_kwargs=self.central.client_kwargs,
        )

    @asynccontextmanager
    async def reading(self, *known: KnownDevice, timings: Timings = BRISK) -> AsyncIterator[None]:
        self.known = list(known)
        self.link = BleLink(self.roster, self.wiring(timings))
        running = asyncio.create_task(self.link.run())
        try:
            yield
        finally:
            assert not running.done(), "the link must survive whatever a device does"
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    def roster(self) -> list[KnownDevice]:
        self._news.set()
        return self.known

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for whatever makes the condition true: a packet, a log line, the end of a session, a new roster."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def emit(self, record: logging.LogRecord) -> None:
        self._news.set()

    def follow(self, server: GattServer) -> None:
        def ended(_reason: int) -> None:
            self.sessions_ended += 1
            self._news.set()

        server.device.on(Device.EVENT_CONNECTION, lambda link: link.on(Connection.EVENT_DISCONNECTION, ended))

    def health(self, address: str = METER) -> DeviceHealth:
        unheard_of = DeviceHealth(address=address, kind="meter")
        return next((device for device in self.link.health().devices if device.address == address), unheard_of)

    def data(self) -> list[tuple[str, bytes, bytes | None]]:
        return [(packet.channel, packet.data, packet.companion) for packet in self.packets]

    async def meter(
        self, records: int, make: Make = STANDARD, *, clock_error: timedelta = timedelta(0)
    ) -> GlucoseMeter:
        clock = DeviceClock(lambda: NOON, clock_error)
        meter = GlucoseMeter(await self.air.device("meter+1", METER), clock, make)
        for sequence in range(1, records + 1):
            meter.add(a_record(sequence))
        await meter.start()
        self.follow(meter)
        return meter


def a_record(sequence: int) -> GlucoseRecord:
    """Every fourth one has a context."""
    return GlucoseRecord(
        sequence=sequence,
        base_time=NOON + timedelta(minutes=sequence),
        concentration=Decimal(70 + sequence % 300).scaleb(-5),
        context=GlucoseContext(meal=sequence % 5 + 1) if sequence % 4 == 0 else None,
    )


def octets(records: list[GlucoseRecord]) -> list[tuple[str, bytes, bytes | None]]:
    return [
        (
            "2a18",
            encode.glucose_measurement(record),
            encode.glucose_context(record.sequence, record.context) if record.context else None,
        )
        for record in records
    ]


@pytest.fixture
async def ward() -> AsyncIterator[Ward]:
    async with Air() as air:
        ward = Ward(air, await Central.open(air))
        logger = logging.getLogger("ingest.links")
        logger.addHandler(ward)
        yield ward
        logger.removeHandler(ward)


A_METER = KnownDevice(address=METER, kind="meter")
A_CGM = KnownDevice(address=CGM, kind="cgm")
A_CUFF = KnownDevice(address=CUFF, kind="cuff")


async def test_a_meter_tells_every_record_bit_for_bit(ward: Ward) -> None:
    meter = await ward.meter(1000, clock_error=timedelta(minutes=-7))
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.sessions_ended)
    assert ward.data() == octets(meter.records)
    packet = ward.packets[-1]
    assert (packet.link, packet.sender, packet.received_at) == ("ble", METER, NOW)
    assert packet.session is not None
    assert packet.session.clock_offset == timedelta(minutes=-7)
    assert ward.health() == DeviceHealth(address=METER, kind="meter", last_seen=NOW, last_read=NOW, packets=1000)


async def test_a_later_session_reads_only_what_is_newer(ward: Ward) -> None:
    meter = await ward.meter(10)
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.sessions_ended == 2)
        assert len(ward.packets) == 10
        added = await meter.measure(Decimal("0.00112"))
        await ward.until(lambda: len(ward.packets) == 11)
    assert ward.data()[10:] == octets([added])
    assert ward.health().error is None


async def test_what_was_not_committed_is_read_again(ward: Ward) -> None:
    meter = await ward.meter(5)
    ward.commits = False
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.sessions_ended)
        assert ward.health().last_read is None
        ward.commits = True
        await ward.until(lambda: ward.stored.get(METER) == 5)
    assert ward.data()[-5:] == octets(meter.records)


async def test_a_meter_that_hangs_up_is_read_on_from_the_last_stored_record(ward: Ward) -> None:
    meter = await ward.meter(30)
    meter.access.fault = Fault(kind=Misbehaviour.HANG_UP, after=13)
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.health().failures)
        assert "lost before the device had reported all" in (ward.health().error or "")
        meter.access.fault = None
        await ward.until(lambda: ward.stored.get(METER) == 30)
    assert ward.data() == octets(meter.records)


async def test_a_record_is_not_passed_on_without_its_context_when_the_link_breaks(ward: Ward) -> None:
    meter = await ward.meter(4)
    report = meter._report

    async def break_off(record: GlucoseRecord) -> None:
        if record.sequence < 4:
            await report(record)
        else:
            await meter.notify(meter._measurement, encode.glucose_measurement(record))
            await meter.hang_up()

    meter.access._report = break_off
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.health().failures)
        assert len(ward.packets) == 3
        meter.access._report = report
        await ward.until(lambda: len(ward.packets) == 4)
    assert ward.data()[3:] == octets([a_record(4)])


async def test_a_report_broken_off_by_the_meter_is_continued(ward: Ward) -> None:
    meter = await ward.meter(20)
    meter.access.fault = Fault(kind=Misbehaviour.FAIL, after=8)
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.stored.get(METER) == 20)
    assert sorted(set(ward.data())) == sorted(octets(meter.records))


async def test_a_silent_meter_is_given_up_by_the_procedures_own_timer(ward: Ward) -> None:
    meter = await ward.meter(5)
    meter.access.fault = Fault(kind=Misbehaviour.SILENCE, after=2)
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.health().failures)
        assert ward.health().error == "the device began to report its records and then said nothing for 0.3 s"
        assert len(ward.packets) == 2
        meter.access.fault = None
        await ward.until(lambda: ward.stored.get(METER) == 5)
        await ward.until(lambda: ward.sessions_ended == 3)
    assert ward.data() == octets(meter.records)
    assert ward.health().error is None


async def test_a_session_has_one_deadline(ward: Ward) -> None:
    meter = await ward.meter(5)
    meter.access.fault = Fault(kind=Misbehaviour.SILENCE, after=2)
    async with ward.reading(A_METER, timings=replace(BRISK, session=0.5, silence=60.0)):
        await ward.until(lambda: ward.health().failures)
        assert ward.health().error == "the session was not finished after 0.5 s"
        await ward.until(lambda: ward.sessions_ended)


async def test_a_house_that_is_slow_is_no_silence_of_the_device(ward: Ward) -> None:
    """Back-pressure holds the records in the link for longer than the procedure's timer allows for silence."""
    meter = await ward.meter(3)
    deliver = ward.deliver

    async def slowly(packet: Packet, settled: Callable[[], None]) -> None:
        held_up = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * BRISK.silence, held_up.set)
        await held_up.wait()
        await deliver(packet, settled)

    ward.deliver = slowly  # type: ignore[method-assign]
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.sessions_ended)
    assert ward.data() == octets(meter.records)
    assert ward.health().error is None


async def test_an_absent_device_keeps_nobody_waiting(ward: Ward) -> None:
    await ward.meter(2)
    async with ward.reading(KnownDevice(address="C4:00:00:00:00:99", kind="cuff"), A_METER):
        await ward.until(lambda: ward.sessions_ended)
        absent = ward.health("C4:00:00:00:00:99")
    assert len(ward.packets) == 2
    assert absent == DeviceHealth(address="C4:00:00:00:00:99", kind="cuff")


async def test_a_device_that_vanishes_between_sight_and_connection_is_said_to_be_away(ward: Ward) -> None:
    meter = await ward.meter(2)
    connect = ward.central.connect
    vanished = False

    async def vanish_and_connect(*args: Any) -> Connection:
        nonlocal vanished
        if not vanished:
            vanished = True
            await ward.air.remove(meter.device)
        return await connect(*args)

    ward.central.connect = vanish_and_connect  # type: ignore[method-assign]
    async with ward.reading(A_METER, timings=replace(BRISK, connect=0.1)):
        await ward.until(lambda: ward.health().failures)
        assert ward.health().error == (
            "the device was seen but did not answer; it may be too far away or switched off"
        )
        back = await ward.meter(2)
        await ward.until(lambda: ward.stored.get(METER) == 2)
    assert ward.data() == octets(back.records)


async def test_a_device_paired_while_the_link_runs_is_read_and_a_retired_one_is_left(ward: Ward) -> None:
    meter = await ward.meter(1)
    async with ward.reading():
        ward.known = [A_METER]
        await ward.until(lambda: ward.sessions_ended)
        assert len(ward.packets) == 1
        ward.known = []
        await ward.until(lambda: not ward.link.health().devices)
        await meter.measure(Decimal("0.00112"))
        ward.known = [A_METER]
        await ward.until(lambda: len(ward.packets) == 2)


async def test_a_meter_that_wants_pairing_is_paired(ward: Ward) -> None:
    meter = await ward.meter(6, Make(security=Security.ENCRYPTED))
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.sessions_ended)
    assert ward.data() == octets(meter.records)


class TwoControlPoints(GlucoseMeter):
    """As the Accu-Chek family: its maker's own service has a 2A52 too."""

    def services(self) -> list[gatt.Service]:
        makers = self.characteristic(0x2A52, write=lambda _link, _request: None, indicate=True)
        return [service(0xFFF0, [makers]), *super().services()]


async def test_a_second_control_point_of_the_maker_is_left_alone(ward: Ward) -> None:
    meter = TwoControlPoints(await ward.air.device("meter+2", METER), DeviceClock(lambda: NOON))
    meter.add(a_record(4))
    await meter.start()
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.packets)
    assert ward.data() == octets(meter.records)


async def test_a_device_of_another_kind_is_named(ward: Ward) -> None:
    await ward.meter(1)
    async with ward.reading(KnownDevice(address=METER, kind="cuff")):
        await ward.until(lambda: ward.health().failures)
        assert ward.health().error == "this is no blood pressure cuff: it lacks the service 1810"


async def test_a_cuff_indicates_what_it_has_and_hangs_up(ward: Ward) -> None:
    clock = DeviceClock(lambda: NOON)
    cuff = BloodPressureCuff(
        await ward.air.device("cuff", CUFF), clock, replace(STANDARD, sleeps=True), hangs_up=True
    )
    await cuff.start()
    ward.follow(cuff)
    for systolic in (118, 131, 145):
        cuff.add(PressureRecord(systolic=Decimal(systolic), diastolic=Decimal(80), mean=Decimal(95), time=NOON))
    await cuff.wake()
    async with ward.reading(A_CUFF):
        await ward.until(lambda: len(ward.packets) == 3)
        await ward.until(lambda: ward.sessions_ended)
        later = await cuff.measure(Decimal(122), Decimal(79))
        await ward.until(lambda: len(ward.packets) == 4)
    assert ward.data() == [("2a35", encode.blood_pressure(record), None) for record in [*cuff.records[:3], later]]
    assert ward.health(CUFF).error is None


async def test_a_cuff_with_nothing_to_tell_is_left_after_a_while(ward: Ward) -> None:
    cuff = BloodPressureCuff(await ward.air.device("cuff", CUFF), DeviceClock(lambda: NOON))
    await cuff.start()
    ward.follow(cuff)
    async with ward.reading(A_CUFF):
        await ward.until(lambda: ward.sessions_ended)
        assert ward.health(CUFF).error is None
    assert not ward.packets


@pytest.mark.parametrize("crc", [False, True])
async def test_a_sensor_tells_its_past_and_then_each_value_live(ward: Ward, crc: bool) -> None:
    sensor = await a_sensor(ward, crc=crc)
    async with ward.reading(A_CGM):
        await ward.until(lambda: len(ward.packets) == 12)
        await ward.until(lambda: sensor.subscribed(sensor._measurement))
        await sensor.measure(Decimal(54))
        await ward.until(lambda: len(ward.packets) == 13)
        # A drop-out: what was measured meanwhile is read afterwards, and nothing else.
        await sensor.hang_up()
        sensor.add(CgmRecord(offset_min=65, glucose=Decimal(52)))
        await ward.until(lambda: len(ward.packets) == 14)
    assert [packet.data for packet in ward.packets] == [
        encode.cgm_measurement(record, crc=crc) for record in sensor.records
    ]
    measured = [measurement for packet in ward.packets for measurement in decode(packet)]
    assert not any(isinstance(measurement, DecodeError) for measurement in measured)
    session = ward.packets[0].session
    assert session is not None
    assert session.session_start == NOW - timedelta(hours=1)
    assert session.clock_offset == timedelta(0)


async def test_a_live_value_stored_ahead_of_a_backfill_that_breaks_leaves_no_hole(ward: Ward) -> None:
    sensor = await a_sensor(ward)
    report = sensor.access._report

    async def break_off(record: CgmRecord) -> None:
        await report(record)
        if record.offset_min == 57:
            sensor.access._report = report
            await sensor.measure(Decimal(77))
            await ward.until(lambda: ward.stored[CGM] == 60)
            await sensor.hang_up()

    async with ward.reading(A_CGM):
        await ward.until(lambda: len(ward.packets) == 12)
        sensor.access._report = break_off
        for offset_min in (56, 57, 58, 59):
            sensor.add(CgmRecord(offset_min=offset_min, glucose=Decimal(80)))
        await sensor.hang_up()
        everything = {encode.cgm_measurement(record, crc=False) for record in sensor.records}
        await ward.until(lambda: everything <= {packet.data for packet in ward.packets})
    assert encode.cgm_measurement(sensor.records[-1], crc=False) in [packet.data for packet in ward.packets[:15]]


async def test_a_new_sensor_session_is_read_from_its_beginning(ward: Ward) -> None:
    sensor = await a_sensor(ward)
    async with ward.reading(A_CGM):
        await ward.until(lambda: len(ward.packets) == 12)
        sensor.records[:] = [
            CgmRecord(offset_min=0, glucose=Decimal(101)),
            CgmRecord(offset_min=5, glucose=Decimal(99)),
        ]
        sensor.session_start = NOON
        await sensor.hang_up()
        await ward.until(lambda: len(ward.packets) == 14)
    assert ward.packets[-1].session is not None
    assert ward.packets[-1].session.session_start == NOW


async def test_a_sensor_that_falls_silent_is_connected_anew(ward: Ward) -> None:
    await a_sensor(ward)
    async with ward.reading(A_CGM, timings=replace(BRISK, live_silence=0.2)):
        await ward.until(lambda: ward.sessions_ended == 2)
        assert ward.health(CGM).error == "connected, but no notification for 0.2 s"


async def test_the_stay_with_a_sensor_ends(ward: Ward) -> None:
    await a_sensor(ward)
    async with ward.reading(A_CGM, timings=replace(BRISK, stay=0.05)):
        await ward.until(lambda: ward.sessions_ended == 2)
        assert ward.health(CGM).error is None
    assert len(ward.packets) == 12


async def a_sensor(ward: Ward, *, crc: bool = False) -> CgmSensor:
    """One that was started an hour ago and has a value every five minutes."""
    sensor = CgmSensor(
        await ward.air.device("cgm", CGM),
        DeviceClock(lambda: NOON),
        session_start=NOON - timedelta(hours=1),
        zone_quarters=32,
        dst=0,
        crc=crc,
    )
    for number in range(12):
        sensor.add(CgmRecord(offset_min=5 * number, glucose=Decimal(90 - number)))
    await sensor.start()
    ward.follow(sensor)
    return sensor


async def test_an_adapter_at_fault_is_reported_and_tried_again(ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
    await ward.meter(1)
    start_scan = ward.central.start_scan
    failing = True

    async def start(*args: Any, **kwargs: Any) -> None:
        if failing:
            raise BleakBluetoothNotAvailableError("off", BleakBluetoothNotAvailableReason.POWERED_OFF)
        await start_scan(*args, **kwargs)

    ward.central.start_scan = start  # type: ignore[method-assign]
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.link.health().adapter)
        assert "switched off" in (ward.link.health().adapter or "")
        failing = False
        await ward.until(lambda: ward.sessions_ended)
        await ward.until(lambda: ward.link.health().adapter is None)
    assert [record.message for record in caplog.records if "adapter" in record.message] == [
        "Bluetooth: the adapter is switched off; `rfkill unblock bluetooth` and `bluetoothctl power on` switch it on",
        "Bluetooth: the adapter works again",
    ]


@pytest.fixture
def no_system_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")


@pytest.mark.usefixtures("no_system_bus")
async def test_the_probe_says_what_is_wrong_with_a_real_adapter() -> None:
    assert "install and start `dbus` and `bluez`" in (await probe() or "")


async def test_the_probe_is_content_with_an_adapter_that_scans(ward: Ward) -> None:
    assert await probe(ward.central.scanner_kwargs) is None


@pytest.mark.usefixtures("no_system_bus")
async def test_a_house_without_bluetooth_goes_on(ward: Ward) -> None:
    wiring = replace(ward.wiring(BRISK), scanner_kwargs={}, client_kwargs={})
    ward.link = BleLink(lambda: [A_METER], wiring)
    running = asyncio.create_task(ward.link.run())
    await ward.until(lambda: ward.link.health().adapter)
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BleakDBusError("org.freedesktop.DBus.Error.ServiceUnknown", ["gone"]), "BlueZ is not running"),
        (BleakDBusError("org.bluez.Error.NotReady", []), "switched off"),
        (BleakBluetoothNotAvailableError("", BleakBluetoothNotAvailableReason.NO_BLUETOOTH), "plug one in"),
        (BleakBluetoothNotAvailableError("", BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM), "denied"),
        (TimeoutError(), "does not answer"),
        (BleakError("odd"), "odd"),
    ],
)
def test_a_fault_of_the_adapter_is_told_in_words(error: Exception, words: str) -> None:
    assert words in adapter_fault(error)


def test_a_refused_pairing_is_told_in_words() -> None:
    error = BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"])
    assert "pairing mode" in session_fault(error, bonded=False).says
    assert "no longer knows its pairing" in session_fault(error, bonded=True).says


class TestContextJoin:
    MEASUREMENT = bytes.fromhex("10 0700 ea070b150c0000")
    PLAIN = bytes.fromhex("00 0800 ea070b150c0000")
    CONTEXT = bytes.fromhex("02 0700 03")

    @staticmethod
    def heard(channel: str, data: bytes) -> Heard:
        return Heard(channel, data, NOW, 0.0)

    def test_a_context_goes_with_its_measurement(self) -> None:
        join = ContextJoin()
        measurement = self.heard("2a18", self.MEASUREMENT)
        assert join.hear(measurement) == []
        assert join.hear(self.heard("2a34", self.CONTEXT)) == [(measurement, self.CONTEXT)]
        assert join.release() == []

    def test_an_announced_context_that_does_not_come_holds_nothing_up(self) -> None:
        join = ContextJoin()
        measurement, plain = self.heard("2a18", self.MEASUREMENT), self.heard("2a18", self.PLAIN)
        join.hear(measurement)
        assert join.hear(plain) == [(measurement, None), (plain, None)]
        join.hear(measurement)
        assert join.release() == [(measurement, None)]

    def test_a_context_of_no_measurement_is_passed_on_by_itself(self) -> None:
        context = self.heard("2a34", self.CONTEXT)
        assert ContextJoin().hear(context) == [(context, None)]


def test_a_session_start_that_cannot_be_used_is_none() -> None:
    assert session_start(b"") is None
    assert session_start(bytes.fromhex("e20704180d08180804e0c3")) is None, "a wrong CRC"
    assert session_start(bytes.fromhex("000000000000008000")) is None, "never set"
    assert session_start(encode.cgm_session_start(NOON, -128, 255, crc=False)) == NOON

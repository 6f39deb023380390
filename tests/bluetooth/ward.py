"""The Bluetooth link over a radio, with a test where the house will be: it keeps what is delivered."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from bumble.device import Connection, Device

from ingest.decode import decode
from ingest.links.ble import BleLink, DeviceHealth, KnownDevice, Wiring
from ingest.links.ble_session import Kind, Timings
from ingest.links.bluez_adapter import BluezAdapters
from ingest.reading import Measurement, Packet
from simulators import encode
from simulators.cgm import CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseContext, GlucoseRecord, PressureRecord
from simulators.gatt_server import STANDARD, DeviceClock, GattServer, Make
from simulators.meter import GlucoseMeter
from tests.bluetooth.radio import SLOWER, Radio

AServer = TypeVar("AServer", bound=GattServer)

PATIENCE_S = 20.0 * SLOWER
SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
NOON = datetime(2026, 11, 21, 12, 0)  # the same moment on a clock in Shanghai
METER, CGM, CUFF = "C4:00:00:00:00:01", "C4:00:00:00:00:02", "C4:00:00:00:00:03"
BRISK = Timings(
    connect=5.0 * SLOWER,
    session=PATIENCE_S,
    silence=0.5 * SLOWER,
    drain=0.02 * SLOWER,
    first_indication=0.3 * SLOWER,
    next_indication=0.1 * SLOWER,
    scan=0.5 * SLOWER,
    rest=0.01 * SLOWER,
    retry=0.01 * SLOWER,
    retry_most=0.02 * SLOWER,
    retry_person=0.02 * SLOWER,
    look=0.05 * SLOWER,
    hold=0.2 * SLOWER,
    deaf=PATIENCE_S,
    roster=0.02 * SLOWER,
)


class Ward(logging.Handler):
    """Keeps what is delivered and knows what is stored. Wakes whoever waits `until`."""

    def __init__(self, radio: Radio) -> None:
        super().__init__()
        self.radio = radio
        self.known: list[KnownDevice] = []
        self.packets: list[Packet] = []
        self.stored: dict[str, int] = {}
        self.commits = True
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
            zone_of=lambda _address: SHANGHAI,
            resume=self.stored.get,
            timings=timings,
            scanner_kwargs=self.radio.scanner_kwargs,
            client_kwargs=self.radio.client_kwargs,
            control=None if self.radio.level == "A" else BluezAdapters(),
        )

    @asynccontextmanager
    async def reading(self, *known: KnownDevice, timings: Timings = BRISK) -> AsyncIterator[None]:
        """Have these devices read, while the test may change `known`."""
        self.known = list(known)

        def roster() -> list[KnownDevice]:
            self._news.set()
            return self.known

        self.link = BleLink(roster, self.wiring(timings))
        running = asyncio.create_task(self.link.run())
        try:
            yield
        finally:
            assert not running.done(), "the link must survive whatever a radio does"
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    async def until(self, condition: Callable[[], Any], patience: float = PATIENCE_S) -> None:
        """Wait for whatever makes the condition true: a packet, a log line, the end of a session, the roster."""
        async with asyncio.timeout(patience):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def emit(self, record: logging.LogRecord) -> None:
        self._news.set()

    def health(self, address: str) -> DeviceHealth:
        unheard_of = DeviceHealth(address=address, kind="meter")
        return next((device for device in self.link.health().devices if device.address == address), unheard_of)

    def of(self, address: str) -> list[Packet]:
        return [packet for packet in self.packets if packet.sender == address]

    def data(self, address: str) -> list[tuple[str, bytes, bytes | None]]:
        return [(packet.channel, packet.data, packet.companion) for packet in self.of(address)]

    async def meter(self, count: int, make: Make = STANDARD, *, address: str = METER) -> GlucoseMeter:
        meter = GlucoseMeter(await self.radio.air.device(f"meter+{address[-2:]}", address), a_clock(), make)
        for sequence in range(1, count + 1):
            meter.add(a_record(sequence))
        return await self.started(meter)

    async def cuff(
        self, *systolics: int, make: Make = STANDARD, hangs_up: bool = False, address: str = CUFF
    ) -> BloodPressureCuff:
        device = await self.radio.air.device(f"cuff+{address[-2:]}", address)
        cuff = BloodPressureCuff(device, a_clock(), make, hangs_up=hangs_up)
        for systolic in systolics:
            cuff.add(PressureRecord(systolic=Decimal(systolic), diastolic=Decimal(80), mean=Decimal(95), time=NOON))
        return await self.started(cuff)

    async def sensor(self, count: int, make: Make = STANDARD, *, crc: bool = False, address: str = CGM) -> CgmSensor:
        """One that was started an hour ago and has a value every five minutes."""
        sensor = CgmSensor(
            await self.radio.air.device(f"cgm+{address[-2:]}", address),
            a_clock(),
            make,
            session_start=NOON - timedelta(hours=1),
            zone_quarters=32,
            dst=0,
            crc=crc,
        )
        for number in range(count):
            sensor.add(CgmRecord(offset_min=5 * number, glucose=Decimal(90 - number)))
        return await self.started(sensor)

    async def started(self, server: AServer) -> AServer:
        """Put a device on the air, and count the sessions with it."""

        def ended(_reason: int) -> None:
            self.sessions_ended += 1
            self._news.set()

        server.device.on(Device.EVENT_CONNECTION, lambda link: link.on(Connection.EVENT_DISCONNECTION, ended))
        await server.start()
        return server


def a_record(sequence: int) -> GlucoseRecord:
    """Every fourth one has a context."""
    return GlucoseRecord(
        sequence=sequence,
        base_time=NOON + timedelta(minutes=sequence),
        concentration=Decimal(70 + sequence % 300).scaleb(-5),
        context=GlucoseContext(meal=sequence % 5 + 1) if sequence % 4 == 0 else None,
    )


def a_clock() -> DeviceClock:
    return DeviceClock(lambda: NOON)


def known(kind: Kind, address: str) -> KnownDevice:
    return KnownDevice(address=address, kind=kind)


def of_meter(meter: GlucoseMeter) -> list[tuple[str, bytes, bytes | None]]:
    """What the ward must have got from a meter, in order."""
    return [
        (
            "2a18",
            encode.glucose_measurement(record),
            encode.glucose_context(record.sequence, record.context) if record.context else None,
        )
        for record in meter.records
    ]


def of_cuff(cuff: BloodPressureCuff) -> list[tuple[str, bytes, bytes | None]]:
    return [("2a35", encode.blood_pressure(record), None) for record in cuff.records]


def of_sensor(sensor: CgmSensor) -> list[tuple[str, bytes, bytes | None]]:
    return [("2aa7", encode.cgm_measurement(record, crc=sensor.crc), None) for record in sensor.records]

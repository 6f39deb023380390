"""Many devices on one adapter, and a day of wearing a sensor: nothing is missing, and what it costs."""

import resource
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.house import House
from gateway.house import Radio as HouseRadio
from gateway.people import DeviceKind, DeviceLink
from ingest.reading import Reading
from ingest.vital import Vital
from simulators.cgm import CgmSensor
from simulators.gatt_server import STANDARD, DeviceClock
from tests.bluetooth.radio import Radio
from tests.bluetooth.ward import BRISK, Ward, known, of_cuff, of_meter, of_sensor
from tests.real_house import HandClock, enrol, real_house, until

# By level: how many devices, and seconds they may take.
MANY = {"A": (100, 120.0), "B": (50, 120.0), "C": (10, 300.0)}


async def test_many_devices_of_three_kinds_are_all_read(ward: Ward, record_testsuite_property: Any) -> None:
    count, patience = MANY[ward.radio.level]
    often = replace(STANDARD, interval_ms=200.0 if count > 50 else 100.0)
    cuffs = {a: await ward.cuff(118, 131, make=often, address=a) for a in _addresses(2, count * 3 // 10)}
    sensors = {a: await ward.sensor(12, often, address=a) for a in _addresses(3, count * 3 // 10)}
    meters = {a: await ward.meter(40, often, address=a) for a in _addresses(1, count - len(cuffs) - len(sensors))}
    everyone = [
        *(known("meter", address) for address in meters),
        *(known("cuff", address) for address in cuffs),
        *(known("cgm", address) for address in sensors),
    ]
    assert len(everyone) == count
    expected = 40 * len(meters) + 2 * len(cuffs) + 12 * len(sensors)
    began = time.perf_counter()
    async with ward.reading(*everyone, timings=replace(BRISK, session=60.0, rest=600.0, silence=5.0)):
        await ward.until(lambda: len(ward.packets) == expected, patience=patience)
        took = time.perf_counter() - began
        assert not [device for device in ward.link.health().devices if device.error]
    for address, meter in meters.items():
        assert ward.data(address) == of_meter(meter)
    for address, cuff in cuffs.items():
        assert ward.data(address) == of_cuff(cuff)
    for address, sensor in sensors.items():
        assert ward.data(address) == of_sensor(sensor)
    _tell(record_testsuite_property, f"{count} devices on one adapter ({ward.radio.level}), s", round(took, 1))
    _tell(record_testsuite_property, f"{count} devices ({ward.radio.level}), peak RSS MiB", _peak_mib())


def _addresses(group: int, count: int) -> list[str]:
    return [f"C4:00:00:00:{group:02X}:{n:02X}" for n in range(count)]


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _tell(record: Any, name: str, value: float) -> None:
    record(name, value)
    print(f"{name}: {value}")  # noqa: T201 (for whoever runs it with -s)


SENSOR = "C4:00:00:00:00:02"
EIGHT_HOURS = 8 * 12  # values, one every five minutes
FIVE_MINUTES = timedelta(minutes=5)


class Wear:
    """A patient wears a sensor in the real house, while the clock is moved by hand."""

    def __init__(self, radio: Radio, folder: Path) -> None:
        self.radio = radio
        self.folder = folder
        self.clock = HandClock()
        self.house: House
        self.sensor: CgmSensor

    def local(self) -> datetime:
        return (self.clock.now() + timedelta(hours=8)).replace(tzinfo=None)

    async def put_on(self) -> None:
        await self._on_the_air()
        self.sensor.session_start = self.local()

    async def out_of_range(self) -> None:
        await self.radio.air.remove(self.sensor.device)

    async def back_in_range(self) -> None:
        """The same sensor over a new radio: what it has stored is with it."""
        before = self.sensor
        await self._on_the_air()
        self.sensor.session_start = before.session_start
        self.sensor.records += before.records

    async def measure(self, *, silently: bool = False) -> None:
        self.clock.advance(FIVE_MINUTES)
        number = len(self.sensor.records)
        glucose = Decimal(100 + number % 40)
        if silently:  # it measures and stores, and does not notify
            report, self.sensor.access._report = self.sensor._report, self.sensor.access._report
            self.sensor._report = _nothing  # type: ignore[method-assign]
            await self.sensor.measure(glucose)
            self.sensor._report = report  # type: ignore[method-assign]
        else:
            await self.sensor.measure(glucose)

    @asynccontextmanager
    async def gateway(self) -> Any:
        timings = replace(BRISK, live_silence=1.0)
        radio = HouseRadio(
            scanner_kwargs=self.radio.scanner_kwargs, client_kwargs=self.radio.client_kwargs, timings=timings
        )
        async with real_house(self.folder, self.clock, radio=radio) as house:
            self.house = house
            if house.people.patient("p-1") is None:
                await enrol(house, "p-1", SENSOR, DeviceKind.CGM, DeviceLink.BLE)
            yield house

    async def has_all(self) -> None:
        """Wait until the journal has every value that the sensor has."""
        await until(lambda: len(self.readings()) >= len(self.sensor.records))

    def readings(self) -> list[Reading]:
        start = self.clock.now() - timedelta(days=1)
        return self.house.journal.readings("p-1", Vital.CGM, start, self.clock.now() + timedelta(days=1))

    async def _on_the_air(self) -> None:
        self.sensor = CgmSensor(
            await self.radio.air.device("cgm", SENSOR), DeviceClock(self.local), zone_quarters=32, dst=0
        )
        await self.sensor.start()


async def _nothing(_record: object) -> None:
    return


async def test_eight_hours_of_wear_with_drop_outs_leave_no_hole(
    radio: Radio, tmp_path: Path, record_testsuite_property: Any
) -> None:
    """Links lost, out of range for an hour and a half, the gateway away for an hour, a sensor that falls silent."""
    if radio.level == "C":
        pytest.skip("an emulated processor does not keep up with eight hours in a few seconds")
    wear = Wear(radio, tmp_path)
    await wear.put_on()
    began = time.perf_counter()
    async with wear.gateway():
        for number in range(36):
            await wear.measure()
            if number % 12 == 5:
                await wear.has_all()
                await wear.sensor.hang_up()
        await wear.has_all()
        await wear.out_of_range()
        for _ in range(18):
            await wear.measure()
        await wear.back_in_range()
        await wear.has_all()
    for _ in range(12):
        await wear.measure()
    async with wear.gateway():
        await wear.has_all()
        for _ in range(6):
            await wear.measure(silently=True)
        await wear.has_all()
        for _ in range(EIGHT_HOURS - len(wear.sensor.records)):
            await wear.measure()
        await wear.has_all()
        readings = wear.readings()
        letters = wear.house.journal.counts()["letters.waiting"]
    assert [reading.sent[0] for reading in readings] == [float(r.glucose) for r in wear.sensor.records]
    moments = [reading.taken_at for reading in readings]
    assert len(moments) == EIGHT_HOURS
    assert {later - earlier for earlier, later in pairwise(moments)} == {FIVE_MINUTES}
    assert letters == 0
    _tell(record_testsuite_property, f"eight hours of wear ({radio.level}), s", round(time.perf_counter() - began, 1))

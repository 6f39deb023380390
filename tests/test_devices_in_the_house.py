"""The devices in the real house: how they do, what they are asked, and whom their batteries concern."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from alerts.alert import Audience, Notice
from alerts.book import _notice, _notices
from gateway.check import check
from gateway.config import Config
from gateway.house import House, Radio
from gateway.people import DeviceKind, DeviceLink
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.encode import GlucoseRecord
from simulators.gatt_server import STANDARD, DeviceClock, Make, Security
from simulators.meter import GlucoseMeter
from tests.bluetooth.ward import BRISK
from tests.real_house import HandClock, enrol, real_house, stored, until

METER = "C4:00:00:00:00:01"
LOCAL = datetime(2026, 3, 2, 20, 0)  # NOW in Shanghai
STATUS_BATTERY_LOW = 0x0001


@pytest.fixture
async def air() -> AsyncIterator[Air]:
    async with Air() as air:
        yield air


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def a_radio(air: Air, **timings: float) -> Radio:
    central = await Central.open(air)
    return Radio(
        scanner_kwargs=central.scanner_kwargs,
        client_kwargs=central.client_kwargs,
        timings=replace(BRISK, **timings),
    )


async def a_meter(air: Air, make: Make = STANDARD, *, records: int = 3) -> GlucoseMeter:
    meter = GlucoseMeter(await air.device("meter+1", METER), DeviceClock(lambda: LOCAL), make)
    for sequence in range(1, records + 1):
        meter.add(
            GlucoseRecord(
                sequence=sequence,
                base_time=LOCAL - timedelta(minutes=60 - sequence),
                concentration=Decimal("0.00112"),
            )
        )
    return meter


def notices(house: House) -> list[Notice]:
    """What was written for patients, oldest first."""
    query = select(_notices).where(_notices.c.audience == Audience.PATIENT).order_by(_notices.c.written_at_us)
    with house.book._engine.connect() as db:
        return [_notice(row) for row in db.execute(query)]


async def test_how_a_device_does_is_told_and_outlasts_a_restart(air: Air, tmp_path: Path, clock: HandClock) -> None:
    meter = await a_meter(air)
    meter.clock.error = timedelta(minutes=-7)
    meter.battery_pct = 80
    await meter.start()
    radio = await a_radio(air, rest=3600.0)
    async with real_house(tmp_path, clock, radio=radio) as house:
        await enrol(house, "p-1", METER, DeviceKind.METER, DeviceLink.BLE)
        await stored(house, 3)
        await until(lambda: house.device_states()[METER].facts.battery_pct == 80)
        await until(lambda: house.device_states()[METER].facts.clock_set is not None)
        await house.tick()
        async with httpx.AsyncClient(base_url=house.address) as web:
            (device,) = (await web.get("/api/v1/devices")).json()
    health = device["health"]
    assert (health["battery_pct"], health["model"], health["firmware"]) == (80, "SIM-1", "1.0")
    assert (health["clock_error_s"], health["clock_set"]) == (-420.0, True)
    assert (health["fault"], health["failures"], health["zone"]) == (None, 0, "Asia/Shanghai")
    assert health["last_read"] == health["last_seen"] == "2026-03-02T20:00:00+08:00"
    await air.remove(meter.device)
    async with (
        real_house(tmp_path, clock, radio=radio) as house,
        httpx.AsyncClient(base_url=house.address) as web,
    ):
        assert (await web.get("/api/v1/devices")).json() == [device]


async def test_everything_is_read_once_more_and_nothing_is_counted_twice(
    air: Air, tmp_path: Path, clock: HandClock
) -> None:
    meter = await a_meter(air, records=20)
    await meter.start()
    async with real_house(tmp_path, clock, radio=await a_radio(air, rest=3600.0)) as house:
        await enrol(house, "p-1", METER, DeviceKind.METER, DeviceLink.BLE)
        before = await stored(house, 20)
        assert house.ble is not None
        await until(lambda: house.ble.health().devices[0].packets == 20)
        async with httpx.AsyncClient(base_url=house.address) as web:
            assert (await web.post(f"/api/v1/devices/{METER}/read-fully")).status_code == 202
        await until(lambda: house.ble.health().devices[0].packets == 40)
        assert await stored(house, 20) == before
        assert house.journal.counts()["letters.waiting"] == 0


async def test_a_low_battery_is_told_to_the_patient_once(air: Air, tmp_path: Path, clock: HandClock) -> None:
    meter = await a_meter(air)
    meter.battery_pct = 12
    await meter.start()
    radio = await a_radio(air)
    async with real_house(tmp_path, clock, radio=radio) as house:
        await enrol(house, "p-1", METER, DeviceKind.METER, DeviceLink.BLE)
        await until(lambda: house.device_states()[METER].facts.battery_pct == 12)
        for _ in range(3):
            await house.tick()
            clock.advance(timedelta(hours=1))
        (notice,) = notices(house)
        assert f"The battery of your glucose meter ({METER}) is low" in notice.body.en
        assert f"您的血糖仪（{METER}）电量不足" in notice.body.zh
        assert not house.book.open_alerts()
    async with real_house(tmp_path, clock, radio=radio) as house:
        await until(lambda: house.ble is not None and any(device.facts for device in house.ble.health().devices))
        await house.tick()
        assert notices(house) == [notice], "a restart is no reason to say it again"
        meter.battery_pct = 100
        await until(lambda: house.device_states()[METER].facts.battery_pct == 100)
        await house.tick()
        meter.battery_pct = 9
        await until(lambda: house.device_states()[METER].facts.battery_pct == 9)
        await house.tick()
        assert len(notices(house)) == 2


async def test_a_reading_that_calls_the_battery_low_is_told_to_the_patient_too(
    air: Air, tmp_path: Path, clock: HandClock
) -> None:
    meter = await a_meter(air)
    meter.records[-1] = replace(meter.records[-1], status=STATUS_BATTERY_LOW)
    await meter.start()
    async with real_house(tmp_path, clock, radio=await a_radio(air)) as house:
        await enrol(house, "p-1", METER, DeviceKind.METER, DeviceLink.BLE)
        await stored(house, 3)
        await house.tick()
        await house.tick()
        assert len(notices(house)) == 1


async def test_what_is_wrong_with_a_device_stands_in_the_check_and_in_the_health(
    air: Air, tmp_path: Path, clock: HandClock
) -> None:
    """A bond that the device has lost: one sentence, the same wherever it is told."""
    meter = await a_meter(air, replace(STANDARD, security=Security.ENCRYPTED))
    await meter.start()
    async with real_house(tmp_path, clock, radio=await a_radio(air)) as house:
        await house.feel()
        assert "There is no Bluetooth device to read" in house.health()["parts"]["bluetooth"]["detail"]
        await enrol(house, "p-1", METER, DeviceKind.METER, DeviceLink.BLE)
        await stored(house, 3)
        assert meter.device.keystore is not None
        await until(lambda: meter.connection is None)
        await meter.device.keystore.delete_all()
        await until(lambda: "no longer knows" in (house.device_states()[METER].fault or ""))
        await house.tick()
        said = house.health()["parts"][f"device {METER}"]["detail"]
        config = Config.model_validate({"data": tmp_path / "data", "bluetooth": {}})
        found = {finding.part: finding.says for finding in await check(config) if not finding.ok}
        await house.retire(METER)
        await house.tick()
        assert house.device_states()[METER].fault is None
        assert f"device {METER}" not in {finding.part for finding in await check(config)}, "it is out of use"
    assert "no longer knows its pairing" in said
    assert said.startswith(found[f"device {METER}"])

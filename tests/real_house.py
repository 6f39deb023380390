"""The real house for tests: every part is the one that runs at a clinic; only the clock is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from gateway.config import Config
from gateway.house import House, Radio, keep_house
from gateway.people import Device, DeviceKind, DeviceLink, Patient
from ingest.reading import Reading
from ingest.vital import Vital
from tests.bluetooth.radio import SLOWER

PATIENCE = 20.0 * SLOWER
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class HandClock:
    """Stands still until it is moved: it goes on (`advance`), or somebody sets it (`set`)."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now
        self._elapsed = timedelta()
        self._sleepers: list[tuple[datetime, asyncio.Event]] = []

    def elapsed(self) -> timedelta:
        return self._elapsed

    runtime = elapsed

    def now(self) -> datetime:
        return self._now

    async def sleep(self, duration: timedelta) -> None:
        if duration <= timedelta(0):
            return
        woken = asyncio.Event()
        self._sleepers.append((self._now + duration, woken))
        await woken.wait()

    def set(self, now: datetime) -> None:
        self._now = now
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= now]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > now]
        for _, woken in due:
            woken.set()

    def advance(self, duration: timedelta) -> None:
        self._elapsed += duration
        self.set(self._now + duration)


@asynccontextmanager
async def ticking(clock: HandClock) -> AsyncIterator[None]:
    """While the block runs the time goes on, so that what waits for its next try gets it."""

    async def tick() -> None:
        while True:
            clock.advance(timedelta(milliseconds=20))
            await asyncio.to_thread(lambda: None)

    going = asyncio.create_task(tick())
    try:
        yield
    finally:
        going.cancel()


@asynccontextmanager
async def real_house(
    folder: Path, clock: HandClock, *, radio: Radio | None = None, **sections: Any
) -> AsyncIterator[House]:
    """A house with its data in `folder`, its page on a free port and, unless `sections` say otherwise, a listener."""
    ways_in = {"listener", "broker", "bluetooth"} & sections.keys()
    config = Config.model_validate(
        {
            "data": folder / "data",
            "web": {"port": 0},
            **({} if ways_in else {"listener": {"port": 0}}),
            **sections,
        }
    )
    async with keep_house(config, clock, radio=radio) as house:
        yield house


# A patient of whose sensor's lows staff hear when they are confirmed, on the sensor's first day as well.
AT_ONCE: Final[dict[str, Any]] = {
    "low-event-2": {"staff-after": {"value": 15, "unit": "min"}},
    "sensor-warm-up": {"first-day": {"value": 0, "unit": "min"}},
    "sensor-compression": {"staff-after": {"value": 15, "unit": "min"}},
}


async def enrol(
    house: House, patient: str, device: str, kind: DeviceKind, link: DeviceLink = DeviceLink.MQTT, **known: Any
) -> None:
    """A patient, if not known yet, who wears a device."""
    if house.people.patient(patient) is None:
        house.people.add_patient(
            Patient(**{"id": patient, "name": f"Name of {patient}", "zone": "Asia/Shanghai", **known}),
            now=house.now(),
        )
    house.people.add_device(Device(id=device, kind=kind, link=link), now=house.now())
    await house.pair(device, patient)


async def stored(house: House, count: int) -> list[Reading]:
    """Wait until the journal holds so many readings, and give all of them in the order of arrival."""
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(house.journal.tail) < count:  # noqa: ASYNC110  it has no event of its own
            await asyncio.sleep(0)
    return [reading for _, reading in house.journal.since(0, 1_000_000)]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; for states that have no event of their own."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.to_thread(lambda: None)


async def all_sent(house: House) -> None:
    """Wait until InfluxDB has everything that the journal has."""
    assert house.influx is not None
    async with asyncio.timeout(PATIENCE):
        while (await house.influx.health()).lag:  # noqa: ASYNC110  it has no event of its own
            await asyncio.sleep(0)


async def same_in_both_stores(house: House, patient: str, vital: Vital) -> int:
    """Assert that journal and InfluxDB give the same series, bit for bit; how many readings it has."""
    span = NOW - timedelta(days=30), NOW + timedelta(days=30)
    journal = await house.series(patient, vital, *span)
    influx = await house.series(patient, vital, *span, source="influxdb")
    assert journal.taken_us.tolist() == influx.taken_us.tolist()
    assert journal.values.tobytes() == influx.values.tobytes()
    return len(journal.taken_us)

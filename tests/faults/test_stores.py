"""What readings go to fails or stalls: InfluxDB for a week, a disk, a page that does not read, a slow webhook."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from math import inf
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from urllib.parse import urlsplit

from gateway.house import House
from tests.accounts import assert_balanced
from tests.faults.houses import furnish
from tests.faults.load import (
    Device,
    History,
    assert_each_once,
    assert_each_once_everywhere,
    assert_same_in_influx,
    meant,
)
from tests.influx_facade import Bucket, Fault
from tests.post_on_full_disk import on_a_small_disk
from tests.real_house import PATIENCE, HandClock, all_sent, real_house, ticking, until

STEP = timedelta(minutes=15)
PATIENTS = 2000
# Readings of a patient: the ward and the week are to scale. With HOMEWARD_FULL=1 it is one in a quarter of an hour,
# as of a flash glucose sensor, 1 344 000 in all (`--junitxml FILE` holds the figures).
A_DAY = 96 if os.environ.get("HOMEWARD_FULL") == "1" else 2


def influxdb(bucket: Bucket) -> dict[str, str]:
    settings = bucket.settings
    return {"url": settings.url, "token": settings.token, "org": settings.org, "bucket": settings.bucket}


async def send(house: House, devices: list[Device], at_once: int = 200) -> None:
    """Devices publish what they have, so many at the same time."""
    places = asyncio.Semaphore(at_once)

    async def one(device: Device) -> None:
        async with places:
            await device.run()

    async with asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(one(device))


def devices_of(house: House, names: list[str], count: int, clock: HandClock, *, each: int = 1) -> list[Device]:
    assert house.listener is not None
    port = house.listener.port
    return [
        Device(name, History(name, clock.now(), count, each=each, step=STEP), port=lambda: port) for name in names
    ]


async def test_influxdb_is_away_for_a_week_at_two_thousand_patients(
    tmp_path: Path, influx_bucket: Bucket, record_testsuite_property: Callable[[str, object], None]
) -> None:
    clock, names = HandClock(), [f"cgm-{n}" for n in range(PATIENTS)]
    furnish(tmp_path / "data", names)
    facade = influx_bucket.facade
    async with real_house(tmp_path, clock, influxdb=influxdb(influx_bucket)) as house:
        began = clock.now()
        facade.faults.extend([Fault(status=503)] * 100_000)
        for _ in range(7):
            clock.advance(timedelta(days=1))
            await send(house, devices_of(house, names, A_DAY, clock, each=A_DAY))
        total = PATIENTS * A_DAY * 7
        assert house.influx is not None
        assert (await house.influx.health()).lag == total
        facade.faults.clear()
        clock.advance(timedelta(minutes=5))
        back = time.perf_counter()
        async with ticking(clock):
            while (lag := (await house.influx.health()).lag) and time.perf_counter() - back < PATIENCE + total / 1000:
                facade.writes.clear()  # nobody asks for them, and they are many
                facade.bodies.clear()
        took = time.perf_counter() - back
        assert lag == 0
        record_testsuite_property("readings", total)
        record_testsuite_property("seconds_to_send_them", round(took, 1))
        record_testsuite_property("peak_memory_with_the_sensors_mib", getrusage(RUSAGE_SELF).ru_maxrss >> 10)
        assert_balanced(house)
        span = began - timedelta(days=1), began + timedelta(days=8)
        for first in range(0, PATIENTS, 100):
            sent = {
                name: meant(
                    message
                    for day in range(1, 8)
                    for message in History(name, began + timedelta(days=day), A_DAY, each=A_DAY, step=STEP)
                )
                for name in names[first : first + 100]
            }
            assert_each_once_everywhere(house.journal, influx_bucket, span, sent)
        assert house.journal.tail() == total


async def test_a_file_of_a_home_post_cannot_be_written_and_then_it_can(tmp_path: Path) -> None:
    """Neither file may run ahead of the other for good, nor anything be acknowledged that is in neither."""
    clock, names = HandClock(), [f"cgm-{n}" for n in range(4)]
    furnish(tmp_path / "hub" / "data", names)
    listener = {"port": 0, "posts": {"home": "secret"}}
    async with real_house(tmp_path / "hub", clock, listener=listener) as hub:
        assert hub.listener is not None
        uplink = {"host": "127.0.0.1", "port": hub.listener.port, "post": "home", "password": "secret", "tls": False}
        async with real_house(tmp_path / "home", clock, listener={"port": 0}, uplink=uplink) as home:
            sensors = devices_of(home, names, 1000, clock)
            assert home.packets is not None
            sending = asyncio.create_task(send(home, sensors))

            def acknowledged() -> int:
                return sum(sensor.acknowledged for sensor in sensors)

            for store in (home.packets, home.journal, home.packets):
                some = acknowledged() + 100
                async with ticking(clock):  # who found the file full as it was freed waits for the next try as well
                    await until(lambda some=some: acknowledged() > some)  # type: ignore[misc]
                with store._lock:  # another thread is at it
                    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
                    store._db.execute(f"PRAGMA max_page_count={pages}")
                # In the log of packets what the hub has confirmed makes room for the next ones, if there is any.
                some = inf if store is home.journal else acknowledged() + 100
                await until(lambda some=some: home.path.patience.trouble is not None or acknowledged() > some)  # type: ignore[misc]
                assert home.path.patience.trouble is None or "full" in home.path.patience.trouble
                assert not sending.done()
                with store._lock:
                    store._db.execute("PRAGMA max_page_count=1000000")
            assert home.uplink is not None
            async with asyncio.timeout(30), ticking(clock):
                await sending
                while (await home.uplink.health()).waiting:  # noqa: ASYNC110  it has no event of its own
                    await asyncio.sleep(0)
        assert_each_once(hub.journal, meant(m for sensor in sensors for m in sensor.messages))
        assert_balanced(hub)


def test_a_home_post_on_a_full_disk_goes_on_when_its_hub_is_back(tmp_path: Path) -> None:
    """A disk without a free octet: the log drains, and what it forgets is room for the journal as well."""
    for name in ("disk", "elsewhere"):
        (tmp_path / name).mkdir()
    post = on_a_small_disk(tmp_path / "disk", 64, "post", str(tmp_path / "disk"), str(tmp_path / "elsewhere"))
    assert post.returncode == 0, post.stderr


@asynccontextmanager
async def deaf(port_of: str) -> AsyncIterator[asyncio.StreamWriter]:
    """A page that asks for the events and never reads one."""
    address = urlsplit(port_of)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
    writer.write(f"GET /api/v1/events HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    try:
        yield writer
    finally:
        writer.close()


async def test_consumers_that_stall_hold_up_nobody(tmp_path: Path, influx_bucket: Bucket) -> None:
    """A deaf page, a webhook and an InfluxDB that take the connection and never answer."""
    clock, names = HandClock(), [f"cgm-{n}" for n in range(50)]
    furnish(tmp_path / "data", names)
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    nowhere = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    sections = {"influxdb": influxdb(influx_bucket) | {"url": nowhere}, "webhook": {"url": nowhere}}
    async with real_house(tmp_path, clock, **sections) as house, deaf(house.address):
        await until(lambda: house.bulletin.clients == 1)
        sensors = devices_of(house, names, 200, clock)
        await send(house, sensors)  # every reading is acknowledged although nobody listens
        sent = meant(m for sensor in sensors for m in sensor.messages)
        assert_each_once(house.journal, sent)
        assert_balanced(house)
        assert house.influx is not None
        assert (await house.influx.health()).lag == len(sent)
    silent.close()
    async with real_house(tmp_path, clock, influxdb=influxdb(influx_bucket)) as house:
        async with ticking(clock):
            await all_sent(house)
        assert_same_in_influx(house.journal, influx_bucket)

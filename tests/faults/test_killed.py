"""kill -9 of the house under load, again and again, while InfluxDB refuses now and then."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from gateway.clock import SystemClock
from gateway.house import JOURNAL, PACKETS
from ingest.influx import BATCH, InfluxSettings, place_of
from ingest.journal import Journal
from ingest.packet_log import PacketLog
from tests.accounts import assert_all_accounted_for
from tests.faults.houses import HouseProcess, furnish
from tests.faults.load import Device, assert_each_once, assert_same_in_influx, history, meant, seeded
from tests.influx_facade import Bucket, Fault
from tests.peers import free_port

KILLS = 20
DEVICES = 10
MESSAGES = 600
STEP = timedelta(minutes=5)
REFUSALS = (Fault(status=503), Fault(status=503, retry_after=1), Fault(status=429), Fault(status=500))


def _influxdb(settings: InfluxSettings) -> dict[str, str]:
    return {"url": settings.url, "token": settings.token, "org": settings.org, "bucket": settings.bucket}


async def test_killed_at_random_moments_under_load(tmp_path: Path, influx_bucket: Bucket) -> None:
    chance = seeded()
    data, port, now = tmp_path / "data", free_port(), SystemClock().now()
    names = [f"cgm-{n}" for n in range(DEVICES)]
    furnish(data, names)
    house = HouseProcess(data=str(data), listener={"port": port}, influxdb=_influxdb(influx_bucket.settings))

    # Progress of the devices is the clock of this test: a kill falls due when so many messages are acknowledged.
    moments = sorted(chance.sample(range(1, DEVICES * MESSAGES), KILLS))
    due = asyncio.Event()
    done = 0

    def progress() -> None:
        nonlocal done
        done += 1
        if moments and done >= moments[0]:
            due.set()

    devices = [
        Device(
            name,
            history(name, now, MESSAGES, step=STEP),
            port=lambda: port,
            open_now=house.is_open,
            progress=progress,
        )
        for name in names
    ]
    async with asyncio.timeout(150), asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(device.run())
        while moments:
            await house.start()
            influx_bucket.facade.faults.clear()  # else many would come together, and the last wait be long
            influx_bucket.facade.faults.extend(chance.choices(REFUSALS, k=chance.randrange(3)))
            await due.wait()
            await house.kill()
            moments.pop(0)
            due.clear()
            if moments and done >= moments[0]:
                due.set()  # the next one dies as soon as it stands
        await house.start()

    assert sum(device.repeats for device in devices), "no kill fell while messages were under way"
    journal = Journal(data / JOURNAL)
    await _all_in_influx(journal, influx_bucket)
    await house.stop()
    readings = assert_each_once(journal, meant(message for device in devices for message in device.messages))
    assert_same_in_influx(journal, influx_bucket)
    for name in names:
        numbers = [reading.sequence for reading in readings if reading.device == name]
        assert numbers == sorted(numbers), "order of one device"
    followed = {"influxdb": journal.progress(place_of(influx_bucket.settings))}
    journal.close()
    assert_all_accounted_for(data / JOURNAL, followed)


async def test_killed_again_and_again_while_influxdb_catches_up(tmp_path: Path, influx_bucket: Bucket) -> None:
    chance = seeded()
    data, port, now = tmp_path / "data", free_port(), SystemClock().now()
    names, outage = [f"cgm-{n}" for n in range(20)], 2000
    furnish(data, names)
    listener, facade = {"port": port}, influx_bucket.facade
    before = [
        Device(name, history(name, now - timedelta(days=1), outage, each=500, step=STEP), port=lambda: port)
        for name in names
    ]
    house = HouseProcess(data=str(data), listener=listener)
    await house.start()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for device in before:
            group.create_task(device.run())
    await house.stop()

    house = HouseProcess(data=str(data), listener=listener, influxdb=_influxdb(influx_bucket.settings))
    since = [
        Device(name, history(name, now, 50, step=STEP), port=lambda: port, open_now=house.is_open) for name in names
    ]
    journal, follower = Journal(data / JOURNAL), place_of(influx_bucket.settings)
    found = []
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for device in since:
            group.create_task(device.run())
        for _ in range(5):
            facade.faults.clear()
            facade.faults.extend(chance.choices(REFUSALS, k=chance.randrange(2)))
            enough = len(facade.writes) + chance.randrange(1, 5)
            await house.start()
            while len(facade.writes) < enough and journal.progress(follower).upto < journal.tail():  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # a thread's
            await house.kill()
            found.append(journal.progress(follower))
        facade.faults.clear()
        await house.start()
    assert any(progress.ahead for progress in found), "no kill fell into the catching up"
    await _all_in_influx(journal, influx_bucket)
    await house.stop()
    assert_each_once(journal, meant(message for device in (*before, *since) for message in device.messages))
    assert_same_in_influx(journal, influx_bucket)
    sent = sum(body.count(b"\n") + 1 for body in facade.writes)
    assert sent <= journal.tail() + 6 * 2 * BATCH, "a crash repeats a batch, and so does a refusal"
    followers = {"influxdb": journal.progress(follower)}
    journal.close()
    assert_all_accounted_for(data / JOURNAL, followers)


async def _all_in_influx(journal: Journal, bucket: Bucket) -> None:
    """The house is another process: it can only be asked for what it has written down."""
    follower = place_of(bucket.settings)
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(journal.progress, follower)).upto < journal.tail():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_home_post_and_hub_are_killed_in_turn(tmp_path: Path) -> None:
    chance = seeded()
    now, home_port, hub_port = SystemClock().now(), free_port(), free_port()
    names = [f"cgm-{n}" for n in range(4)]
    furnish(tmp_path / "hub", names)
    hub = HouseProcess(data=str(tmp_path / "hub"), listener={"port": hub_port, "posts": {"home": "secret"}})
    uplink = {"host": "127.0.0.1", "port": hub_port, "post": "home", "password": "secret", "tls": False}
    home = HouseProcess(data=str(tmp_path / "home"), listener={"port": home_port}, uplink=uplink)
    devices = [
        Device(
            name, history(name, now, 500, step=timedelta(minutes=5)), port=lambda: home_port, open_now=home.is_open
        )
        for name in names
    ]
    await asyncio.gather(hub.start(), home.start())
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(device.run())
        journal = Journal(tmp_path / "hub" / JOURNAL)
        for victim in chance.sample([home, hub] * 4, 8):
            goal = journal.tail() + chance.randrange(1, 200)
            while await asyncio.to_thread(journal.tail) < min(goal, 2000):  # noqa: ASYNC110  another process's
                await asyncio.sleep(0.01)
            await victim.kill()
            await victim.start()
    async with asyncio.timeout(60):
        while await asyncio.to_thread(journal.tail) < 2000:  # noqa: ASYNC110  another process's
            await asyncio.sleep(0.01)
    await home.stop()
    await hub.stop()
    readings = assert_each_once(journal, meant(message for device in devices for message in device.messages))
    for name in names:
        numbers = [reading.sequence for reading in readings if reading.device == name]
        assert numbers == sorted(numbers), "order of one device"
    journal.close()
    for data in (tmp_path / "hub", tmp_path / "home"):
        assert_all_accounted_for(data / JOURNAL)
    with closing(PacketLog(tmp_path / "home" / PACKETS)) as log:
        kept = log.forwarded(f"127.0.0.1:{hub_port} home")
    assert kept.packets == kept.confirmed + kept.waiting >= 2000

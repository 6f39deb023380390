"""Deliveries that come twice, late and in any order while the hub's clock jumps; a broker that restarts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from gateway.house import BROKER
from ingest.links.broker_memory import recall
from ingest.reading import TimeBasis
from tests.accounts import assert_balanced
from tests.faults.houses import HouseProcess, furnish
from tests.faults.load import (
    Device,
    Message,
    Said,
    assert_each_once,
    history,
    kept,
    meant,
    message,
    said,
    seeded,
)
from tests.peers import mosquitto_broker
from tests.real_house import NOW, HandClock, real_house, stored, until

STEP = timedelta(minutes=5)


def shuffled(readings: Sequence[Said], chance: random.Random) -> list[Message]:
    """Every reading twice or more, in any order, alone or with others."""
    often = [reading for reading in readings for _ in range(chance.randrange(2, 4))]
    chance.shuffle(often)
    parcels = []
    while often:
        size = chance.choice((1, 1, 3, 40))
        parcels.append(message(often[:size]))
        del often[:size]
    return parcels


async def test_twice_late_and_in_any_order_while_the_clock_jumps(tmp_path: Path) -> None:
    chance = seeded()
    clock, names = HandClock(), [f"cgm-{n}" for n in range(10)]
    furnish(tmp_path / "data", names)
    async with real_house(tmp_path, clock) as house:
        assert house.listener is not None
        port = house.listener.port
        parts = {name: [m.readings[0] for m in history(name, NOW, 300, step=STEP)] for name in names}
        devices = [Device(name, shuffled(parts[name], chance), port=lambda: port) for name in names]
        jumps = [timedelta(days=-4000), timedelta(days=400), timedelta(days=-2), timedelta(hours=-1), timedelta(0)]
        total = sum(len(device.messages) for device in devices)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for device in devices:
                group.create_task(device.run())
            for number, jump in enumerate(jumps, 1):
                clock.set(NOW + jump)
                goal = total * number // (len(jumps) + 1)
                await until(lambda goal=goal: sum(d.acknowledged for d in devices) >= goal)  # type: ignore[misc]
        readings = assert_each_once(house.journal, meant(m for device in devices for m in device.messages))
        assert_balanced(house)
        # What came while the clock was wrong could not be placed by its own time, and says so.
        assert {r.time_basis for r in readings} == {TimeBasis.DEVICE, TimeBasis.ARRIVAL}
        assert all((r.taken_at == r.device_time) == (r.time_basis is TimeBasis.DEVICE) for r in readings)
        assert not house.journal.letters()


async def test_the_broker_is_restarted_under_load(tmp_path: Path, mosquitto: str) -> None:
    names = [f"cgm-{n}" for n in range(5)]
    furnish(tmp_path / "data", names)
    (tmp_path / "mosquitto").mkdir()
    with mosquitto_broker(mosquitto, tmp_path / "mosquitto") as broker:
        async with real_house(tmp_path, HandClock(), broker={"host": "127.0.0.1", "port": broker.port}) as house:
            link = house.broker
            assert link is not None
            await until(lambda: link.trouble is None)
            up = asyncio.Event()
            up.set()
            devices = [
                Device(name, history(name, NOW, 400, step=STEP), port=lambda: broker.port, open_now=up)
                for name in names
            ]
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                for device in devices:
                    group.create_task(device.run())
                for share in (0.2, 0.5, 0.8):
                    goal = int(share * 2000)
                    await until(lambda goal=goal: sum(d.acknowledged for d in devices) >= goal)  # type: ignore[misc]
                    up.clear()
                    await asyncio.to_thread(broker.stop)
                    await asyncio.to_thread(broker.start)
                    up.set()
            assert sum(device.repeats for device in devices)
            await stored(house, 2000)
            assert link.counts.connections >= 2
            assert_each_once(house.journal, meant(m for device in devices for m in device.messages))
            assert_balanced(house)


async def test_the_broker_is_killed_under_load(
    tmp_path: Path, mosquitto: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """What a killed broker had acknowledged and not delivered is lost; devices that tell it again are heard.

    It comes back with its last snapshot, in which our session is, but hardly a message of today.
    """
    names = [f"cgm-{n}" for n in range(5)]
    furnish(tmp_path / "data", names)
    (tmp_path / "mosquitto").mkdir()
    histories = {name: history(name, NOW, 400, step=STEP) for name in names}
    sent = meant(m for messages in histories.values() for m in messages)
    with mosquitto_broker(mosquitto, tmp_path / "mosquitto") as broker:
        async with real_house(tmp_path, HandClock(), broker={"host": "127.0.0.1", "port": broker.port}) as house:
            link = house.broker
            assert link is not None
            await until(lambda: link.trouble is None)
            await asyncio.to_thread(broker.save)
            up = asyncio.Event()
            up.set()
            devices = [Device(name, histories[name], port=lambda: broker.port, open_now=up) for name in names]
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                for device in devices:
                    group.create_task(device.run())
                for kill, share in enumerate((0.2, 0.5, 0.8), 1):
                    goal = int(share * len(sent))
                    await until(
                        lambda goal=goal, kill=kill: (  # type: ignore[misc]
                            sum(d.acknowledged for d in devices) >= goal and link.counts.connections == kill
                        )
                    )
                    up.clear()
                    await asyncio.to_thread(broker.kill)
                    await asyncio.to_thread(broker.start)
                    up.set()
            assert sum(device.repeats for device in devices)
            await until(lambda: link.counts.connections == 4 and not len(link))
            assert house.accounts().parts == link.counts.messages, "all that was ever delivered is kept"
            stored_now = {said(reading) for reading in kept(house.journal)}
            assert stored_now <= sent
            record_testsuite_property("lost_with_a_killed_broker", len(sent - stored_now))
            again = [Device(name, histories[name], port=lambda: broker.port) for name in names]
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                for device in again:
                    group.create_task(device.run())
            await stored(house, len(sent))
            assert_each_once(house.journal, sent)
            assert_balanced(house)


async def test_hub_and_broker_are_killed_and_the_hub_knows_that_its_session_is_gone(
    tmp_path: Path, mosquitto: str
) -> None:
    remembered = tmp_path / "data" / BROKER
    with mosquitto_broker(mosquitto, tmp_path) as broker:
        where = f"127.0.0.1:{broker.port} homeward"
        hub = HouseProcess(data=tmp_path / "data", broker={"host": "127.0.0.1", "port": broker.port})
        await hub.start()
        await until(lambda: recall(remembered, where).session)
        await hub.kill()
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        assert recall(remembered, where).forgotten == 0
        await hub.start()
        await until(lambda: recall(remembered, where).forgotten == 1)
        await hub.stop()

"""Two lanes: what is urgent does not stand behind a backfill, and every device keeps its order."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.door import HISTORY_OCTETS, SLICE, Delivery, Door, Errand
from gateway.people import DeviceKind
from ingest.reading import Packet
from tests.real_house import NOW, HandClock, enrol, real_house, stored


def packet(sender: str, number: int, octets: int = 100) -> Packet:
    return Packet(link="listener", sender=sender, channel="json", data=b"%0*d" % (octets, number), received_at=NOW)


async def put(door: Door, *packets: Packet) -> None:
    for each in packets:
        await door.deliver(Delivery(each, lambda: None))


def names(door: Door) -> list[str]:
    return [item.packet.sender for item in door.take()[0] if isinstance(item, Delivery)]


async def test_one_packet_passes_those_of_a_device_that_sends_many() -> None:
    door = Door()
    await put(door, *(packet("busy", n) for n in range(3000)), packet("urgent", 0))
    first = names(door)
    assert first == ["busy"] * 4 + ["urgent"]
    await put(door, packet("urgent", 1))
    assert names(door) == ["busy"] * SLICE
    assert names(door) == ["urgent"]
    assert names(door) == ["busy"] * 1000


async def test_a_large_packet_waits_with_history_and_so_does_what_follows_it() -> None:
    door = Door()
    await put(door, packet("storm", 0, 100_000), packet("storm", 1), packet("urgent", 0))
    assert names(door) == ["urgent"]
    assert names(door) == ["storm", "storm"]
    await put(door, *(packet(f"storm-{n}", n, 100_000) for n in range(9)))
    assert len(names(door)) == HISTORY_OCTETS // 100_000 + 1


async def test_an_errand_waits_for_what_came_before_and_the_last_one_for_everything() -> None:
    door = Door()

    async def nothing() -> None:
        return

    def errand() -> Errand:
        return Errand(nothing, asyncio.get_running_loop().create_future())

    await put(door, *(packet("busy", n) for n in range(6)))
    await door.send(errand())
    await door.send(errand(), last=True)
    await put(door, packet("urgent", 0))
    assert [type(item) for item in door.take()[0]] == [Delivery] * 4 + [Errand, Delivery]
    assert [type(item) for item in door.take()[0]] == [Delivery] * 2 + [Errand]


@given(
    st.lists(st.one_of(st.tuples(st.integers(0, 1), st.sampled_from([10, 5000, 70_000])), st.none()), max_size=300)
)
def test_whatever_comes_leaves_once_and_in_the_order_of_its_device(steps: list[tuple[int, int] | None]) -> None:
    async def run() -> None:
        door = Door()
        left: dict[str, list[bytes]] = defaultdict(list)
        sent: dict[str, list[bytes]] = defaultdict(list)

        def take() -> bool:
            items = door.take()[0]
            for item in items:
                assert isinstance(item, Delivery)
                left[item.packet.sender].append(item.packet.data)
            return bool(items)

        for number, step in enumerate(steps):
            if step is None:
                take()  # a turn of either lane
                continue
            one = packet(f"d{step[0]}", number, step[1])
            sent[one.sender].append(one.data)
            await put(door, one)
        while take():
            pass
        assert left == sent

    asyncio.run(run())


def history(device: str, first: int, count: int) -> bytes:
    """Readings of the weeks before, one each five minutes."""
    readings = [
        {
            "kind": "cgm_glucose",
            "value": 100 + number % 60,
            "unit": "mg/dL",
            "time": (NOW - timedelta(days=10) + timedelta(minutes=5 * number)).isoformat(),
            "sequence": number,
        }
        for number in range(first, first + count)
    ]
    return json.dumps({"version": 1, "device": device, "readings": readings}).encode()


async def test_an_urgent_reading_is_told_while_fifty_thousand_of_a_backfill_wait(tmp_path: Path) -> None:
    clock = HandClock()
    devices, packets, each = 20, 250, 10
    async with real_house(tmp_path, clock) as house:
        for number in range(devices):
            await enrol(house, f"p-{number}", f"cgm-{number}", DeviceKind.CGM)
        await enrol(house, "p-urgent", "meter", DeviceKind.METER)
        settled: list[str] = []
        all_settled = asyncio.Event()

        def settle(sender: str) -> None:
            settled.append(sender)
            if len(settled) == devices * packets + 1:
                all_settled.set()

        async def send(sender: str, data: bytes) -> None:
            one = Packet(link="listener", sender=sender, channel="json", data=data, received_at=NOW)
            await house.path.deliver(one, lambda: settle(sender))

        for part in range(packets):
            for number in range(devices):
                await send(f"cgm-{number}", history(f"cgm-{number}", part * each, each))
        before = len(settled)
        low = {
            "version": 1,
            "device": "meter",
            "kind": "glucose",
            "value": 38,
            "unit": "mg/dL",
            "time": NOW.isoformat(),
        }
        with house.bulletin.subscribe(types=frozenset({"alert"}), patient="p-urgent") as news:
            await send("meter", json.dumps(low).encode())
            await anext(news)
        # The batch on which the worker was, a turn of each lane, and the first packets of each device.
        assert len(settled) - before <= 2 * 1000 + devices * 4
        assert len(settled) < devices * packets / 2
        assert [alert.problem for alert in house.book.open_alerts()] == ["glucose-low"]
        async with asyncio.timeout(60):
            await all_settled.wait()
        readings = await stored(house, devices * packets * each + 1)
        by_device: dict[str, list[int | None]] = defaultdict(list)
        for reading in readings:
            by_device[reading.device].append(reading.sequence)
        assert by_device.pop("meter") == [None]
        assert len(by_device) == devices
        for numbers in by_device.values():
            assert numbers == list(range(packets * each))

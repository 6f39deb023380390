from __future__ import annotations

import asyncio
import json

from gateway import bulletin as board
from gateway.bulletin import Bulletin, Subscription

LOW = {"type": "alert", "alert": "a-1", "patient": "p-1"}


def parts(frame: bytes) -> tuple[str, str, dict[str, str]]:
    fields = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n"))
    return fields["id"], fields["event"], json.loads(fields["data"])


async def hear(client: Subscription) -> tuple[str, str, dict[str, str]]:
    async with asyncio.timeout(5):
        return parts(await anext(client))


async def test_every_client_hears_the_same_bytes_and_ids_count_up() -> None:
    bulletin = Bulletin()
    with bulletin.subscribe() as one, bulletin.subscribe() as two:
        bulletin.publish(LOW)
        bulletin.publish({**LOW, "patient": "王"})
        first, second = await hear(one), await hear(one)
        assert first[1:] == ("alert", LOW)
        assert second[2]["patient"] == "王"
        assert first[0] != second[0]
        assert [await hear(two), await hear(two)] == [first, second]
    assert bulletin.clients == 0


async def test_a_client_hears_only_what_it_asked_for() -> None:
    bulletin = Bulletin()
    with bulletin.subscribe(types=frozenset({"alert"}), patient="p-2") as client:
        bulletin.publish({"type": "reading", "patient": "p-2", "vital": "glucose"})
        bulletin.publish(LOW)
        bulletin.publish({"type": "health"})
        bulletin.publish({**LOW, "patient": "p-2"})
        assert (await hear(client))[2]["patient"] == "p-2"


async def test_a_slow_client_loses_its_backlog_to_one_resync_and_goes_on() -> None:
    bulletin = Bulletin(depth=3)
    with bulletin.subscribe() as slow, bulletin.subscribe() as quick:
        for number in range(4):
            bulletin.publish({**LOW, "alert": f"a-{number}"})
            assert (await hear(quick))[2]["alert"] == f"a-{number}"
        assert (await hear(slow))[1] == "resync"
        bulletin.publish(LOW)
        assert (await hear(slow))[1:] == ("alert", LOW)


async def test_a_client_that_comes_back_is_told_to_resync_only_when_it_missed_something() -> None:
    bulletin = Bulletin()
    with bulletin.subscribe() as client:
        bulletin.publish(LOW)
        last, _, _ = await hear(client)
    with bulletin.subscribe(last_event_id=last) as client:
        bulletin.publish(LOW)
        assert (await hear(client))[1] == "alert"
    with bulletin.subscribe(last_event_id=last) as client:
        assert (await hear(client))[1] == "resync"
    with Bulletin().subscribe(last_event_id=last) as client:  # the house was started again
        assert (await hear(client))[1] == "resync"


async def test_silence_is_broken_by_a_comment(monkeypatch) -> None:
    monkeypatch.setattr(board, "HEARTBEAT_S", 0.0)
    with Bulletin().subscribe() as client:
        async with asyncio.timeout(5):
            assert (await anext(client)).startswith(b":")


async def test_closing_ends_every_subscription_however_far_behind() -> None:
    bulletin = Bulletin(depth=2)
    with bulletin.subscribe() as behind, bulletin.subscribe() as listening:
        waiting = asyncio.create_task(_all(listening))
        for _ in range(2):
            behind.put(b"data: x\n\n", b"")
        bulletin.close()
        async with asyncio.timeout(5):
            assert [frame async for frame in behind] == []
            assert await waiting == []
    with bulletin.subscribe() as late:
        async with asyncio.timeout(5):
            assert [frame async for frame in late] == []


async def test_a_client_that_left_in_the_turn_of_many_events_is_let_go() -> None:
    bulletin = Bulletin(depth=2)
    with bulletin.subscribe() as client:
        waiting = asyncio.create_task(_all(client))
        await asyncio.sleep(0)
        client.end()
        for _ in range(5):
            bulletin.publish(LOW)
        async with asyncio.timeout(5):
            assert await waiting == []


async def _all(client: Subscription) -> list[bytes]:
    return [frame async for frame in client]

"""What the listener knows of a client over a lost connection and a restart: QoS 2, sessions, wills."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from ingest.links.listener import Listener, ListenerSettings
from ingest.links.sessions import LONGEST, Exact, Sessions
from tests.ingest import octets
from tests.ingest.house import NOW, PATIENCE, House, now, until
from tests.ingest.raw_client import Client, dialled, greeted

TOPIC = "homeward/v1/gm-1/readings"
SETTINGS = ListenerSettings(port=0, stop_timeout=0.1)
HOUR = b"\x11\x00\x00\x0e\x10"
both = pytest.mark.parametrize("version", [4, 5])


def exactly(payload: bytes, packet_id: int, version: int = 5, *, again: bool = False) -> bytes:
    written = octets.publish(TOPIC, payload, packet_id, version=version, qos=2)
    return bytes((written[0] | again << 3,)) + written[1:]


@asynccontextmanager
async def staying(listener: Listener, version: int = 5, *, present: bool = False) -> AsyncIterator[Client]:
    """A client whose session outlives its connections."""
    greeting = octets.connect(version, clean=False, properties=HOUR if version == 5 else b"")
    async with dialled(listener, greeting) as client:
        assert (await client.packet())[2:4] == bytes((present, 0))
        yield client


async def gone(listener: Listener) -> None:
    await until(lambda: listener.counts.connections == 0)


# QoS 2.


@both
async def test_pubrec_comes_only_after_settled_and_pubcomp_ends_it(version: int) -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener, version) as client:
        client.send(exactly(b"5.5", 0x0102, version))
        packet, settled = await house.take()
        assert (packet.sender, packet.data, packet.fault) == ("gm-1", b"5.5", None)
        await client.said_nothing()
        settled()
        assert await client.packet() == b"\x50\x02\x01\x02"
        client.send(octets.release(0x0102))
        assert await client.packet() == b"\x70\x02\x01\x02"
        client.send(octets.release(0x0102))  # as after a connection that was lost before PUBCOMP
        assert await client.packet() == b"\x70\x02\x01\x02"
        assert listener.counts.acknowledged == 1
        assert len(house.packets) == 1


@both
async def test_what_comes_again_before_its_release_is_one_message(version: int) -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        async with staying(listener, version) as client:
            client.send(exactly(b"5.5", 7, version))
            assert await client.packet() == b"\x50\x02\x00\x07"
        await gone(listener)
        async with staying(listener, version, present=True) as client:
            client.send(exactly(b"5.5", 7, version, again=True))
            assert await client.packet() == b"\x50\x02\x00\x07"
            client.send(octets.release(7))
            assert await client.packet() == b"\x70\x02\x00\x07"
            client.send(exactly(b"5.5", 7, version))
            assert await client.packet() == b"\x50\x02\x00\x07"
    assert [packet.data for packet in house.packets] == [b"5.5", b"5.5"]


async def test_what_comes_again_before_it_is_settled_is_one_message_and_answered_on_the_new_connection() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        async with staying(listener) as client:
            client.send(exactly(b"5.5", 7))
            _, settled = await house.take()
        await gone(listener)
        async with staying(listener, present=True) as client:
            client.send(exactly(b"5.5", 7, again=True))
            await client.said_nothing()
            settled()
            assert await client.packet() == b"\x50\x02\x00\x07"
    assert len(house.packets) == 1


async def test_a_client_that_lost_its_memory_loses_no_message() -> None:
    """It comes back under its old session and begins to count anew, with another message under a known id."""
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        async with staying(listener) as client:
            client.send(exactly(b"before", 1))
            assert await client.packet() == b"\x50\x02\x00\x01"
        await gone(listener)
        async with staying(listener, present=True) as client:
            client.send(exactly(b"after", 1))
            assert await client.packet() == b"\x50\x02\x00\x01"
    assert [packet.data for packet in house.packets] == [b"before", b"after"]


async def test_a_clean_start_forgets_the_ids() -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        async with staying(listener) as client:
            client.send(exactly(b"5.5", 1))
            await client.packet()
        async with greeted(listener) as client:
            client.send(exactly(b"5.5", 1))
            await client.packet()
    assert len(house.packets) == 2


@both
async def test_what_was_received_is_known_after_a_restart(tmp_path: Path, version: int) -> None:
    house, file = House(prompt=True), tmp_path / "sessions.db"
    for number in range(2):
        listener = Listener(SETTINGS, house.deliver, now, session_file=file)
        async with listener.running(), staying(listener, version, present=number > 0) as client:
            for packet_id in range(1, 51):
                client.send(exactly(b"%d" % packet_id, packet_id, version, again=number > 0))
                assert await client.packet() == b"\x50\x02\x00%c" % packet_id
    assert [packet.data for packet in house.packets] == [b"%d" % packet_id for packet_id in range(1, 51)]


async def test_pubrec_means_that_the_id_is_on_the_disk_and_pubcomp_that_it_is_not(tmp_path: Path) -> None:
    house, file = House(prompt=True), tmp_path / "sessions.db"

    def ids() -> list[int]:
        with sqlite3.connect(file) as other:
            return [packet_id for (packet_id,) in other.execute("SELECT packet_id FROM received")]

    listener = Listener(SETTINGS, house.deliver, now, session_file=file)
    async with listener.running(), staying(listener) as client:
        client.send(exactly(b"5.5", 7))
        assert await client.packet() == b"\x50\x02\x00\x07"
        assert ids() == [7]
        client.send(octets.release(7))
        assert await client.packet() == b"\x70\x02\x00\x07"
        assert ids() == []


async def test_a_file_that_cannot_be_written_keeps_clients_waiting(tmp_path: Path) -> None:
    house, file = House(prompt=True), tmp_path / "sessions.db"
    listener = Listener(SETTINGS, house.deliver, now, session_file=file)
    async with listener.running(), staying(listener) as client:
        with sqlite3.connect(file) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON received BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        client.send(exactly(b"5.5", 7))
        await until(lambda: listener.trouble is not None)
        assert "disk full" in str(listener.trouble)
        await client.said_nothing()
        with sqlite3.connect(file) as other:
            other.execute("DROP TRIGGER full")
        assert await client.packet() == b"\x50\x02\x00\x07"
        assert listener.trouble is None


async def test_a_release_before_its_time_ends_the_connection() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener) as client:
        client.send(exactly(b"5.5", 7))
        await house.take()
        client.send(octets.release(7))
        assert await client.rest() == b"\xe0\x01\x82"


async def test_a_refused_message_frees_its_id_at_once() -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        async with greeted(listener) as client:
            client.send(octets.publish("elsewhere", b"5.5", 7, qos=2))
            assert await client.packet() == b"\x50\x03\x00\x07\x90"
            client.send(exactly(b"5.6", 7))
            assert await client.packet() == b"\x50\x02\x00\x07"
        async with greeted(listener, 4) as client:  # 3.1.1 has no words for it and goes on to the release
            client.send(octets.publish("elsewhere", b"5.5", 7, qos=2, version=4))
            assert await client.packet() == b"\x50\x02\x00\x07"
            client.send(octets.release(7))
            assert await client.packet() == b"\x70\x02\x00\x07"
    assert [packet.fault is None for packet in house.packets] == [False, True, False]


async def test_the_receive_maximum_counts_until_the_release() -> None:
    listener = Listener(ListenerSettings(port=0, window=2), House(prompt=True).deliver, now)
    async with listener.running(), greeted(listener) as client:
        client.send(exactly(b"1", 1), exactly(b"2", 2))
        assert await client.packet() + await client.packet() == bytes.fromhex("50020001 50020002")
        client.send(octets.release(1))
        assert await client.packet() == b"\x70\x02\x00\x01"
        client.send(exactly(b"3", 3))
        assert await client.packet() == b"\x50\x02\x00\x03"
        client.send(octets.publish(TOPIC, b"4", 4))
        assert await client.packet() == b"\x40\x02\x00\x04"
        client.send(exactly(b"5", 5))
        assert await client.rest() == b"\xe0\x01\x93"


# The file.


async def written(sessions: Sessions) -> None:
    writing = asyncio.create_task(sessions.run())
    async with asyncio.timeout(PATIENCE):
        await sessions.written()
    writing.cancel()
    await asyncio.wait([writing])


async def test_sessions_survive_a_power_cut_and_expire(tmp_path: Path) -> None:
    file, found = tmp_path / "sessions.db", list[tuple[str, bool]]()

    def opens(sessions: Sessions, client: str, moment: timedelta = timedelta(0)) -> None:
        sessions.open(
            client, clean_start=False, expiry=3600, now=NOW + moment,
            then=lambda session, present: found.append((session.client, present)),
        )  # fmt: skip

    sessions = Sessions(file, NOW)
    opens(sessions, "stays")
    opens(sessions, "left")
    ended = sessions.open("left long ago", clean_start=True, expiry=60, now=NOW, then=lambda *_: None)
    sessions.end(ended, NOW)
    await written(sessions)
    assert found == [("stays", False), ("left", False)]
    found.clear()

    later = NOW + timedelta(days=10)  # a connection that stood all the time has not begun to expire
    again = Sessions(file, later)
    assert len(again) == 2
    opens(again, "stays", timedelta(days=10, minutes=59))
    opens(again, "left", timedelta(days=10, minutes=61))
    opens(again, "left long ago", timedelta(days=10))
    await written(again)
    assert found == [("stays", True), ("left", False), ("left long ago", False)]


async def test_a_session_outlives_its_connection_for_at_most_ninety_days() -> None:
    sessions = Sessions(None, NOW)
    assert sessions.open("m", clean_start=False, expiry=0xFFFFFFFF, now=NOW, then=lambda *_: None).expiry == LONGEST


async def test_what_nobody_can_come_back_to_is_not_written(tmp_path: Path) -> None:
    sessions, said = Sessions(tmp_path / "sessions.db", NOW), list[str]()
    session = sessions.open("m", clean_start=True, expiry=0, now=NOW, then=lambda *_: said.append("open"))
    message = Exact(1, b"", lambda: said.append("kept"))
    session.received[1] = message
    sessions.keep(session, message)
    sessions.release(session, 1, lambda: said.append("released"))
    sessions.end(session, NOW)
    assert said == ["open", "kept", "released"]
    await written(sessions)
    assert len(sessions) == 0


# Wills.


def with_will(delay: int = 0, client_id: str = "m", expiry: bytes = b"") -> bytes:
    greeting = octets.connect(
        5, client_id, clean=not expiry, properties=expiry, will=("homeward/v1/gm-1/gone", b"gone")
    )
    if not delay:
        return greeting
    properties = b"\x05\x18" + delay.to_bytes(4, "big")
    return octets.packet(
        0x10,
        greeting[2:].replace(
            b"\0" + octets.field("homeward/v1/gm-1/gone"), properties + octets.field("homeward/v1/gm-1/gone")
        ),
    )


@pytest.mark.parametrize(
    ("end", "missed"),
    [
        (lambda client: client.abort(), True),
        (lambda client: client.send(octets.PING[:1] + b"\x01\x00"), True),
        (lambda client: client.send(b"\xe0\x01\x04"), True),
        (lambda client: client.send(octets.DISCONNECT), False),
    ],
    ids=["lost", "violation", "disconnect with will", "farewell"],
)
async def test_a_device_that_left_a_will_is_missed(end: Callable[[Client], None], missed: bool) -> None:
    listener = Listener(SETTINGS, House(prompt=True).deliver, now)
    async with listener.running():
        async with dialled(listener, with_will()) as client:
            await client.packet()
            end(client)
            await gone(listener)
        await asyncio.sleep(0)
        assert [(one.device, one.since) for one in listener.gone.values()] == [("gm-1", NOW)] * missed
        async with dialled(listener, with_will()) as client:
            await client.packet()
            assert not listener.gone


async def test_a_device_that_comes_back_before_its_will_is_due_is_not_missed() -> None:
    listener = Listener(SETTINGS, House(prompt=True).deliver, now)
    async with listener.running():
        for _ in range(2):
            async with dialled(listener, with_will(3600, expiry=HOUR)) as client:
                await client.packet()
                client.abort()
                await gone(listener)
            await asyncio.sleep(0)
            assert not listener.gone


async def test_a_stop_of_ours_is_no_loss_of_a_device() -> None:
    listener = Listener(SETTINGS, House(prompt=True).deliver, now)
    async with listener.running():
        client = dialled(listener, with_will())
        await (await client.__aenter__()).packet()
    await gone(listener)
    await client.__aexit__(None, None, None)
    assert not listener.gone

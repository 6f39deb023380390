"""Slow, silent, greedy and very many peers: they cost the listener little, and the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from ingest.links.listener import Listener, ListenerSettings
from tests.ingest import octets
from tests.ingest.house import PATIENCE, House, now, until
from tests.ingest.raw_client import Client, dialled, greeted

TOPIC = "homeward/v1/gm-1/readings"
SETTINGS = ListenerSettings(port=0, stop_timeout=0.1)
MANY = 2000


async def works(client: Client, house: House) -> None:
    client.send(octets.publish(TOPIC, b"5.5", 1))
    assert await client.packet() == b"\x40\x02\x00\x01"


async def test_an_octet_now_and_then_does_not_extend_the_time_for_a_connect() -> None:
    listener = Listener(replace(SETTINGS, connect_timeout=0.3), House().deliver, now)
    greeting = octets.connect(client_id="x" * 200)

    async def drip(client: Client) -> None:
        for octet in greeting:
            client.send(bytes((octet,)))
            await asyncio.sleep(0.01)  # the peer's own slowness: what is waited for is the listener's clock

    async with listener.running(), dialled(listener) as client:
        dripping = asyncio.create_task(drip(client))
        with contextlib.suppress(ConnectionError):
            assert await client.rest() == b""
        dripping.cancel()
    assert (listener.counts.timeouts, listener.counts.accepted) == (1, 0)


async def test_who_never_reads_his_acknowledgements_is_let_go_and_holds_up_nobody() -> None:
    house = House(prompt=True)
    listener = Listener(replace(SETTINGS, stall_timeout=0.1), house.deliver, now)
    async with listener.running(), greeted(listener, client_id="good") as good:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.connect(("127.0.0.1", listener.port))
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        flood = octets.connect(client_id="deaf") + octets.PING * 4_000_000  # a kernel holds a megabyte or two
        pouring = asyncio.create_task(loop.sock_sendall(deaf, flood))
        await until(lambda: listener.counts.timeouts == 1)
        with contextlib.suppress(ConnectionError):
            await pouring
        deaf.close()
        await works(good, house)


async def test_packets_that_are_begun_and_never_ended_do_not_fill_the_memory() -> None:
    house = House(prompt=True)
    listener = Listener(replace(SETTINGS, max_unsettled_octets=1_000_000), house.deliver, now)
    begun = octets.publish(TOPIC, bytes(500_000), 1)[:-1]
    async with listener.running(), greeted(listener, client_id="good") as good, AsyncExitStack() as stack:
        greedy = [
            await stack.enter_async_context(greeted(listener, client_id=f"greedy-{number}")) for number in range(4)
        ]
        for client in greedy:
            client.send(begun)
        await until(lambda: listener.counts.violations >= 1)
        assert listener.unfinished < 1_300_000
        letter, _ = await house.take()
        assert letter.fault is not None
        assert letter.data == begun[:4096]
        await works(good, house)
    assert listener.unfinished == 0


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_peer_that_vanishes_with_everything_in_flight_costs_nobody_anything(qos: int) -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener, client_id="good") as good:
        async with greeted(listener) as client:
            client.send(*(octets.publish(TOPIC, b"x", number, qos=qos) for number in range(1, 501)))
            taken = await house.take_many(500)
            client.abort()
        await until(lambda: listener.counts.connections == 1)
        for _, settled in taken:
            settled()
        house.prompt = True
        await works(good, house)
        assert listener.intake.unsettled == 0


async def test_two_thousand_devices_stay_connected_and_each_reading_is_stored_once() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= 2 * MANY + 600, "this test needs 4600 open files (ulimit -n)"
    house = House(prompt=True)
    listener = Listener(replace(SETTINGS, max_connections=2 * MANY), house.deliver, now)
    everybody = asyncio.Event()

    async def device(number: int) -> None:
        version, qos = 4 + number % 2, number % 3
        topic = f"homeward/v1/d-{number}/readings"
        async with greeted(listener, version, client_id=f"d-{number}") as client:
            if listener.counts.connections == MANY:
                everybody.set()
            async with asyncio.timeout(6 * PATIENCE):
                await everybody.wait()
            for reading in range(1, 4):
                message = octets.publish(topic, b"%d" % reading, reading if qos else 0, version=version, qos=qos)
                client.send(message)
                if qos:
                    assert (await client.packet())[2:4] == bytes((0, reading))
            await client.said_nothing()

    async with listener.running():
        await asyncio.gather(*map(device, range(MANY)))
        assert listener.counts.accepted == MANY
    arrived = sorted((packet.sender, packet.data) for packet in house.packets)
    assert arrived == sorted((f"d-{number}", b"%d" % reading) for number in range(MANY) for reading in range(1, 4))


async def test_the_system_is_asked_for_the_files_that_the_connections_need() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    listener = Listener(replace(SETTINGS, max_connections=1500), House().deliver, now)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        async with listener.running():
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 1500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

"""A virtual air with a plain Bumble central on it, which asks what it wants by UUID."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any, Self

import pytest
from bumble.core import UUID
from bumble.device import Connection, Device, Peer
from bumble.gatt_client import CharacteristicProxy

from simulators.air import Air
from simulators.gatt_server import DeviceClock, GattServer

NOON = datetime(2026, 11, 21, 12, 0)
PATIENCE_S = 5.0


class Client:
    """A connected central. `heard` gathers every value that came, in order, as (UUID, value)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.peer = Peer(connection)
        self.heard: list[tuple[int, bytes]] = []
        self.ended = asyncio.Event()
        self._news = asyncio.Event()
        connection.on(Connection.EVENT_DISCONNECTION, lambda _reason: self._end())

    @classmethod
    async def of(cls, central: Device, server: GattServer) -> Self:
        """Connect to a simulated device and discover everything."""
        connection = await central.connect(server.device.random_address, timeout=PATIENCE_S)
        client = cls(connection)
        await client.peer.request_mtu(247)
        await client.peer.discover_services()
        await client.peer.discover_characteristics()
        return client

    def __getitem__(self, uuid: int) -> CharacteristicProxy[bytes]:
        (characteristic,) = self.peer.get_characteristics_by_uuid(UUID.from_16_bits(uuid))
        return characteristic

    async def read(self, uuid: int) -> bytes:
        return await self.peer.read_value(self[uuid])

    async def write(self, uuid: int, value: bytes) -> None:
        await self.peer.write_value(self[uuid], value, with_response=True)

    async def subscribe(self, *uuids: int) -> None:
        for uuid in uuids:
            await self.peer.discover_descriptors(self[uuid])
            await self.peer.subscribe(self[uuid], partial(self._hear, uuid))

    async def answer(self, uuid: int, request: bytes) -> bytes:
        """Write to a control point and wait for its indication."""
        before = len(self.values(uuid))
        await self.write(uuid, request)
        await self.until(lambda: len(self.values(uuid)) > before)
        return self.values(uuid)[before]

    def values(self, uuid: int) -> list[bytes]:
        return [value for source, value in self.heard if source == uuid]

    async def until(self, condition: Any) -> None:
        """Wait until something that is heard (or the end of the link) makes the condition true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _hear(self, uuid: int, value: bytes) -> None:
        self.heard.append((uuid, value))
        self._news.set()

    def _end(self) -> None:
        self.ended.set()
        self._news.set()


class HandMovedTime:
    """The true wearer's time, moved by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def clock(self) -> DeviceClock:
        return DeviceClock(lambda: self.now)


@pytest.fixture
async def air() -> AsyncIterator[Air]:
    async with Air() as air:
        yield air


@pytest.fixture
async def central(air: Air) -> Device:
    return await air.device("central", "C0:FF:EE:00:00:01")


@pytest.fixture
def time() -> HandMovedTime:
    return HandMovedTime()

"""A raw MQTT client: what it writes is what the test says, right or wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ingest.links.listener import Listener
from tests.ingest import octets
from tests.ingest.house import PATIENCE


class Client:
    """A raw client: writes octets and reads until it has what it expects."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *blocks: bytes) -> None:
        self._writer.write(b"".join(blocks))

    async def packet(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            head = await self._reader.readexactly(2)
            assert head[1] < 128
            return head + await self._reader.readexactly(head[1])

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    async def said_nothing(self) -> None:
        """A PINGREQ is answered before anything else: so nothing else was written until now."""
        self.send(octets.PING)
        assert await self.packet() == b"\xd0\x00"

    def abort(self) -> None:
        """Hang up without a word."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def dialled(listener: Listener, *greeting: bytes) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", listener.port))
    client.send(*greeting)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def greeted(listener: Listener, version: int = 5, **options: Any) -> AsyncIterator[Client]:
    async with dialled(listener, octets.connect(version, **options)) as client:
        assert (await client.packet())[3] == 0
        yield client

"""A house that commits when the test says so, or at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from ingest.reading import Packet

PATIENCE = 10.0
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def now() -> datetime:
    return NOW


class House:
    """Takes packets as the gateway does. prompt: settle each at once; else the test calls what `take` gave it."""

    def __init__(self, *, prompt: bool = False) -> None:
        self.prompt = prompt
        self.door_open = asyncio.Event()
        self.door_open.set()
        self.packets: list[Packet] = []
        self._waiting: asyncio.Queue[tuple[Packet, Callable[[], None]]] = asyncio.Queue()

    async def deliver(self, packet: Packet, settled: Callable[[], None]) -> None:
        await self.door_open.wait()
        self.packets.append(packet)
        self._waiting.put_nowait((packet, settled))
        if self.prompt:
            settled()

    async def take(self) -> tuple[Packet, Callable[[], None]]:
        async with asyncio.timeout(PATIENCE):
            return await self._waiting.get()

    async def take_many(self, count: int) -> list[tuple[Packet, Callable[[], None]]]:
        return [await self.take() for _ in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; for states that have no event of their own."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (what is waited for belongs to the code under test)
            await asyncio.sleep(0)

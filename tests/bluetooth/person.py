"""A person at hand when something pairs: answers as the test says, and keeps every question."""

import asyncio
from typing import Any

from ingest.links.pairing import Capability


class Person:
    """A `PairingAgent` that answers at once, or thinks for ever. `asked` keeps every question."""

    def __init__(
        self,
        capability: Capability = "KeyboardDisplay",
        *,
        passkey: int | None = None,
        agrees: bool = True,
        thinks: bool = False,
    ) -> None:
        self.capability = capability
        self._passkey = passkey
        self._agrees = agrees
        self._thinks = thinks
        self.asked: list[tuple[str, Any]] = []
        self.question = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def passkey(self, device: str) -> int | None:
        await self._hear("passkey", device)
        return self._passkey

    async def show(self, device: str, passkey: int) -> None:
        await self._hear("show", passkey)

    async def confirm(self, device: str, passkey: int) -> bool:
        await self._hear("confirm", passkey)
        return self._agrees

    async def authorize(self, device: str) -> bool:
        await self._hear("authorize", device)
        return self._agrees

    async def _hear(self, name: str, value: Any) -> None:
        self.asked.append((name, value))
        self.question.set()
        if self._thinks:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

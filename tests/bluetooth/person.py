"""A person at hand when BlueZ pairs: an org.bluez.Agent1, as the gateway's own will be.

No `from __future__ import annotations` here: dbus-fast reads the D-Bus types of the agent's methods from them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbus_fast import BusType, DBusError, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, method


class Person(ServiceInterface):
    """An agent that answers at once, or thinks for ever. `asked` keeps every question."""

    def __init__(self, *, passkey: int | None = None, agrees: bool = True, thinks: bool = False) -> None:
        super().__init__("org.bluez.Agent1")
        self._passkey = passkey
        self._agrees = agrees
        self._thinks = thinks
        self.asked: list[tuple[str, Any]] = []
        self.question = asyncio.Event()
        self.cancelled = asyncio.Event()

    @method()
    async def RequestPasskey(self, device: "o") -> "u":  # type: ignore[name-defined]  # noqa: N802, F821
        await self._hear("RequestPasskey", device)
        if self._passkey is None:
            raise DBusError("org.bluez.Error.Rejected", "no passkey")
        return self._passkey

    @method()
    async def RequestConfirmation(self, device: "o", passkey: "u"):  # type: ignore  # noqa
        await self._hear("RequestConfirmation", passkey)
        if not self._agrees:
            raise DBusError("org.bluez.Error.Rejected", "not the same number")

    @method()
    async def RequestAuthorization(self, device: "o"):  # type: ignore  # noqa
        await self._hear("RequestAuthorization", device)

    @method()
    async def DisplayPasskey(self, device: "o", passkey: "u", entered: "q"):  # type: ignore  # noqa
        await self._hear("DisplayPasskey", passkey)

    @method()
    def Cancel(self):  # type: ignore  # noqa
        self.cancelled.set()

    async def _hear(self, name: str, value: Any) -> None:
        self.asked.append((name, value))
        self.question.set()
        if self._thinks:
            await asyncio.Event().wait()


@asynccontextmanager
async def agent(person: Person, capability: str) -> AsyncIterator[None]:
    """The person as the default agent, as the gateway will be."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    bus.export("/test/agent", person)
    for member, signature, body in (
        ("RegisterAgent", "os", ["/test/agent", capability]),
        ("RequestDefaultAgent", "o", ["/test/agent"]),
    ):
        reply = await bus.call(
            Message(
                destination="org.bluez",
                path="/org/bluez",
                interface="org.bluez.AgentManager1",
                member=member,
                signature=signature,
                body=body,
            )
        )
        assert reply.message_type is MessageType.METHOD_RETURN, reply.body
    try:
        yield
    finally:
        bus.disconnect()
        await bus.wait_for_disconnect()

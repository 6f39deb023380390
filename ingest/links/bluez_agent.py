"""A `PairingAgent` on the system's D-Bus, as org.bluez.Agent1. Source: BlueZ 5.66, doc/agent-api.txt.

No `from __future__ import annotations` here: dbus-fast reads the D-Bus types of the agent's methods from them.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from bleak.exc import BleakDBusError
from dbus_fast import DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, method

from ingest.links.bluez_bus import BLUEZ, BUS, BUS_PATH, PROPERTIES, call, system_bus
from ingest.links.pairing import PairingAgent

_T = TypeVar("_T")

_PATH: Final = "/homeward/agent"
_MANAGER: Final = f"{BLUEZ}.AgentManager1"
_MANAGER_PATH: Final = "/org/bluez"
_OWNER_GONE: Final = f"type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{BLUEZ}'"


@asynccontextmanager
async def offered(agent: PairingAgent) -> AsyncIterator[asyncio.Event]:
    """Be the default agent, see `ingest.links.pairing.Offer`. Raises BleakDBusError when BlueZ does not take it."""
    forgotten = asyncio.Event()
    async with system_bus() as bus:
        watch = asyncio.create_task(_watch_bus(bus, forgotten))
        try:
            bus.add_message_handler(lambda message: _hear(message, forgotten))
            await call(bus, BUS, BUS_PATH, f"{BUS}.AddMatch", "s", _OWNER_GONE)
            bus.export(_PATH, _Agent(agent, forgotten))
            await call(bus, BLUEZ, _MANAGER_PATH, f"{_MANAGER}.RegisterAgent", "os", _PATH, agent.capability)
            await call(bus, BLUEZ, _MANAGER_PATH, f"{_MANAGER}.RequestDefaultAgent", "o", _PATH)
            yield forgotten
        finally:
            watch.cancel()
            if bus.connected:
                # Leaving the bus would do, but only some time later: the next agent would not be the default one.
                with suppress(BleakDBusError, EOFError, OSError):
                    await call(bus, BLUEZ, _MANAGER_PATH, f"{_MANAGER}.UnregisterAgent", "o", _PATH)


async def trust(path: str) -> None:
    """Mark a device (path of its object) as one that BlueZ need not ask about again.

    Raises BleakDBusError, OSError or EOFError.
    """
    async with system_bus() as bus:
        trusted = (f"{BLUEZ}.Device1", "Trusted", Variant("b", True))
        await call(bus, BLUEZ, path, f"{PROPERTIES}.Set", "ssv", *trusted)


async def _watch_bus(bus: MessageBus, forgotten: asyncio.Event) -> None:
    with suppress(EOFError, OSError):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    forgotten.set()


def _hear(message: Message, forgotten: asyncio.Event) -> bool:
    if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
        name, former, _present = message.body
        if name == BLUEZ and former:
            forgotten.set()
    return False


class _Agent(ServiceInterface):
    """One question at a time, as bluetoothd asks them."""

    def __init__(self, agent: PairingAgent, forgotten: asyncio.Event) -> None:
        super().__init__("org.bluez.Agent1")
        self._agent = agent
        self._forgotten = forgotten
        self._question: asyncio.Task[Any] | None = None

    @method()
    async def RequestPasskey(self, device: "o") -> "u":  # type: ignore[name-defined]  # noqa: N802, F821
        passkey = await self._ask(self._agent.passkey(_address(device)))
        if passkey is None:
            raise _rejected("nobody gave the passkey")
        return passkey

    @method()
    async def DisplayPasskey(self, device: "o", passkey: "u", entered: "q") -> None:  # type: ignore[name-defined]  # noqa: N802, F821
        if entered == 0:  # told again for each digit that is typed
            await self._ask(self._agent.show(_address(device), passkey))

    @method()
    async def RequestConfirmation(self, device: "o", passkey: "u") -> None:  # type: ignore[name-defined]  # noqa: N802, F821
        if not await self._ask(self._agent.confirm(_address(device), passkey)):
            raise _rejected("it is not the same number")

    @method()
    async def RequestAuthorization(self, device: "o") -> None:  # type: ignore[name-defined]  # noqa: N802, F821
        if not await self._ask(self._agent.authorize(_address(device))):
            raise _rejected("the device may not pair")

    @method()
    def Cancel(self) -> None:  # noqa: N802
        if self._question is not None:
            self._question.cancel()

    @method()
    def Release(self) -> None:  # noqa: N802
        self._forgotten.set()

    async def _ask(self, question: Coroutine[Any, Any, _T]) -> _T:
        self._question = asked = asyncio.create_task(question)
        await asyncio.wait([asked])
        if asked.cancelled():
            raise DBusError("org.bluez.Error.Canceled", "the question was taken back")
        return asked.result()


def _rejected(because: str) -> DBusError:
    return DBusError("org.bluez.Error.Rejected", because)


def _address(path: str) -> str:
    """The address in the path of a device's object: /org/bluez/hci0/dev_C4_00_00_00_00_01."""
    return path.rpartition("/dev_")[2].replace("_", ":").upper()

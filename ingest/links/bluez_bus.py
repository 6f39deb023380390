"""The system's D-Bus, as far as BlueZ is spoken to beside bleak. What goes wrong is what bleak raises, or OSError."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from bleak.exc import BleakDBusError
from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

BLUEZ: Final = "org.bluez"
BUS: Final = "org.freedesktop.DBus"
BUS_PATH: Final = "/org/freedesktop/DBus"
PROPERTIES: Final = f"{BUS}.Properties"
_ANSWER_S: Final = 10.0


@asynccontextmanager
async def system_bus() -> AsyncIterator[MessageBus]:
    """A connection of one's own. Raises OSError when there is no bus, or when it does not let this user in."""
    try:
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    except DBusFastError as error:
        raise ConnectionError(f"the system's D-Bus refuses this user ({error}); see its policy") from error
    try:
        yield bus
    finally:
        bus.disconnect()


async def call(
    bus: MessageBus, destination: str, path: str, method: str, signature: str = "", *arguments: Any
) -> list[Any]:
    """Call INTERFACE.MEMBER. Raises BleakDBusError when that is refused, TimeoutError when nothing is answered.

    The limit is for a bluetoothd that hangs: whoever ends the program would wait for it without end.
    """
    interface, _, member = method.rpartition(".")
    message = Message(
        destination=destination,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=list(arguments),
    )
    async with asyncio.timeout(_ANSWER_S):
        reply = await bus.call(message)
    if reply.message_type is not MessageType.METHOD_RETURN:
        raise BleakDBusError(reply.error_name or "", reply.body)
    return list(reply.body)

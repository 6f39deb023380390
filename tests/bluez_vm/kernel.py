"""Level C: the adapter that kernel and bluetoothd see, and the moment at which bluetoothd has powered it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus

from simulators.air import Air
from simulators.vhci import kernel_adapter

PATIENCE_S = 30.0
_numbers = count(1)


@asynccontextmanager
async def plugged_in(air: Air) -> AsyncIterator[None]:
    """An adapter of the kernel on this air, powered by bluetoothd.

    Each has an address of its own: bluetoothd keeps bonds and attribute tables by the adapter's address.
    """
    address = f"00:1B:DC:00:00:{next(_numbers):02X}"
    async with kernel_adapter(air, address) as name:
        await _powered(f"/org/bluez/{name}", address)
        yield


async def _powered(path: str, address: str) -> None:
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    news = asyncio.Event()
    bus.add_message_handler(lambda message: news.set() if message.message_type is MessageType.SIGNAL else None)
    try:
        for member in ("InterfacesAdded", "PropertiesChanged"):
            rule = f"type='signal',sender='org.bluez',member='{member}'"
            await _call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.AddMatch", rule)
        async with asyncio.timeout(PATIENCE_S):
            while not _is_powered(await _managed(bus), path, address):
                await news.wait()
                news.clear()
    finally:
        bus.disconnect()


async def _managed(bus: MessageBus) -> dict[str, Any]:
    (objects,) = await _call(bus, "org.bluez", "/", "org.freedesktop.DBus.ObjectManager.GetManagedObjects")
    return objects


def _is_powered(objects: dict[str, Any], path: str, address: str) -> bool:
    adapter = objects.get(path, {}).get("org.bluez.Adapter1")
    return bool(adapter) and adapter["Address"].value == address and adapter["Powered"].value


async def _call(bus: MessageBus, destination: str, path: str, method: str, *arguments: str) -> list[Any]:
    interface, _, member = method.rpartition(".")
    reply = await bus.call(
        Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature="s" * len(arguments),
            body=list(arguments),
        )
    )
    assert reply is not None
    assert reply.message_type is MessageType.METHOD_RETURN, (method, reply.body)
    return reply.body

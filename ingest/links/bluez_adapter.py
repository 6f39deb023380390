"""The adapters of BlueZ, watched and switched over D-Bus: what bleak does not tell.

bleak learns that an adapter was pulled out only by the next request that fails, and a device that is merely listened
to makes none. Source: BlueZ 5.66, doc/adapter-api.txt.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from ingest.links.ble_scan import EVERYTHING, Changed

_BLUEZ: Final = "org.bluez"
_ADAPTER: Final = "org.bluez.Adapter1"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
_BUS: Final = "org.freedesktop.DBus"
_RULES: Final = (
    f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{_BLUEZ}'",
    f"type='signal',sender='{_BLUEZ}',interface='{_OBJECTS}'",
    f"type='signal',sender='{_BLUEZ}',interface='{_PROPERTIES}',member='PropertiesChanged',arg0='{_ADAPTER}'",
)
_RETRY_S: Final = 10.0


class BluezAdapters:
    """The adapters of this computer's bluetoothd."""

    async def watch(self, changed: Changed) -> None:
        """See AdapterControl. Without a system bus it waits for one."""
        while True:
            try:
                await self._watch(changed)
                changed(EVERYTHING, False)
            except (OSError, EOFError):
                pass
            await asyncio.sleep(_RETRY_S)

    async def power_cycle(self) -> None:
        """See AdapterControl."""
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        try:
            (objects,) = await _call(bus, _BLUEZ, "/", f"{_OBJECTS}.GetManagedObjects")
            for path in [path for path, interfaces in objects.items() if _ADAPTER in interfaces]:
                for powered in (False, True):
                    value = (_ADAPTER, "Powered", Variant("b", powered))
                    await _call(bus, _BLUEZ, path, f"{_PROPERTIES}.Set", "ssv", *value)
        finally:
            bus.disconnect()

    async def _watch(self, changed: Changed) -> None:
        """Until the bus goes away."""
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()

        def hear(message: Message) -> None:
            for path, there in _told(message):
                changed(path, there)

        try:
            bus.add_message_handler(hear)
            for rule in _RULES:
                await _call(bus, _BUS, "/org/freedesktop/DBus", f"{_BUS}.AddMatch", "s", rule)
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        finally:
            bus.disconnect()


def _told(message: Message) -> list[tuple[str, bool]]:
    """What a signal tells about adapters."""
    if message.message_type is not MessageType.SIGNAL:
        return []
    match message.member, message.body:
        case "NameOwnerChanged", [_, _, owner] if message.body[0] == _BLUEZ:
            return [(EVERYTHING, bool(owner))]
        case "InterfacesAdded", [path, interfaces] if _ADAPTER in interfaces:
            return [(path, True)]
        case "InterfacesRemoved", [path, interfaces] if _ADAPTER in interfaces:
            return [(path, False)]
        case "PropertiesChanged", [interface, properties, _] if interface == _ADAPTER and "Powered" in properties:
            return [(message.path or EVERYTHING, properties["Powered"].value)]
    return []


async def _call(
    bus: MessageBus, destination: str, path: str, method: str, signature: str = "", *body: Any
) -> list[Any]:
    interface, _, member = method.rpartition(".")
    message = Message(
        destination=destination,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=list(body),
    )
    reply = await bus.call(message)
    if reply.message_type is not MessageType.METHOD_RETURN:
        raise OSError(f"{method}: {reply.error_name}")
    return list(reply.body)

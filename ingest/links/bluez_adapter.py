"""The adapters of BlueZ, watched and switched over D-Bus: what bleak does not tell.

bleak learns that an adapter was pulled out only by the next request that fails, and a device that is merely listened
to makes none. Source: BlueZ 5.66, doc/adapter-api.txt.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from bleak.exc import BleakError
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from ingest.links.ble_scan import EVERYTHING, Changed
from ingest.links.bluez_bus import BLUEZ, BUS, BUS_PATH, PROPERTIES, call, system_bus

_logger = logging.getLogger(__name__)

_ADAPTER: Final = f"{BLUEZ}.Adapter1"
_OBJECTS: Final = f"{BUS}.ObjectManager"
_RULES: Final = (
    f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{BLUEZ}'",
    f"type='signal',sender='{BLUEZ}',interface='{_OBJECTS}'",
    f"type='signal',sender='{BLUEZ}',interface='{PROPERTIES}',member='PropertiesChanged',arg0='{_ADAPTER}'",
)
_RETRY_S: Final = 10.0
_SWITCH_ON_TRIES: Final = 5
_BUSY_S: Final = 1.0


class BluezAdapters:
    """The adapters of this computer's bluetoothd."""

    async def watch(self, changed: Changed) -> None:
        """See AdapterControl. Without a system bus it waits for one."""
        while True:
            try:
                await self._watch(changed)
                changed(EVERYTHING, False)
            except (BleakError, OSError, EOFError) as error:
                _logger.debug("the adapters cannot be watched: %s", error)
            await asyncio.sleep(_RETRY_S)

    async def power_cycle(self) -> None:
        """See AdapterControl. An adapter that somebody has switched off stays so."""
        async with system_bus() as bus:
            (objects,) = await call(bus, BLUEZ, "/", f"{_OBJECTS}.GetManagedObjects")
            for path, interfaces in objects.items():
                if _ADAPTER in interfaces and interfaces[_ADAPTER]["Powered"].value:
                    await _off_and_on(bus, path)

    async def _watch(self, changed: Changed) -> None:
        """Until the bus goes away."""

        def hear(message: Message) -> None:
            for path, there in _told(message):
                changed(path, there)

        async with system_bus() as bus:
            bus.add_message_handler(hear)
            for rule in _RULES:
                await call(bus, BUS, BUS_PATH, f"{BUS}.AddMatch", "s", rule)
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


async def _off_and_on(bus: MessageBus, path: str) -> None:
    """Whatever happens meanwhile: an adapter that was left off would read nothing until somebody comes."""
    try:
        await _switch(bus, path, on=False)
    finally:
        await _switch_on(bus, path)


async def _switch_on(bus: MessageBus, path: str) -> None:
    """Also one that is still busy with being switched off."""
    for _ in range(_SWITCH_ON_TRIES - 1):
        with suppress(BleakError):
            return await _switch(bus, path, on=True)
        await asyncio.sleep(_BUSY_S)
    return await _switch(bus, path, on=True)


async def _switch(bus: MessageBus, path: str, *, on: bool) -> None:
    await call(bus, BLUEZ, path, f"{PROPERTIES}.Set", "ssv", _ADAPTER, "Powered", Variant("b", on))


def _told(message: Message) -> list[tuple[str, bool]]:
    """What a signal tells about adapters."""
    if message.message_type is not MessageType.SIGNAL:
        return []
    match message.member, message.body:
        case "NameOwnerChanged", [_, _, owner] if message.body[0] == BLUEZ:
            return [(EVERYTHING, bool(owner))]
        case "InterfacesAdded", [path, interfaces] if _ADAPTER in interfaces:
            return [(path, True)]
        case "InterfacesRemoved", [path, interfaces] if _ADAPTER in interfaces:
            return [(path, False)]
        case "PropertiesChanged", [interface, properties, _] if interface == _ADAPTER and "Powered" in properties:
            return [(message.path or EVERYTHING, properties["Powered"].value)]
    return []

"""The Bluetooth LE link: follows the list of known devices and keeps a task for each, over one adapter.

    link = BleLink(devices, Wiring(deliver=..., now=..., zone_of=..., resume=...))
    await link.run()

Only bleak's public API is used; what makes the radio a virtual one travels in `scanner_kwargs` and `client_kwargs`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bleak import BleakScanner

from ingest.links.ble_device import Bond, DeviceHealth, DeviceTask, KnownDevice, Wiring
from ingest.links.ble_faults import RADIO_ERRORS, adapter_fault
from ingest.links.ble_scan import Adapter
from ingest.links.ble_session import SERVICES

__all__ = ["BleHealth", "BleLink", "Bond", "DeviceHealth", "KnownDevice", "Wiring", "probe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BleHealth:
    """How the link does. adapter: what is wrong with it and what to do, as a sentence; None = nothing known."""

    adapter: str | None
    devices: tuple[DeviceHealth, ...]


class BleLink:
    """The supervisor. `devices` is asked again and again, so a device paired while it runs is read soon after."""

    def __init__(self, devices: Callable[[], Iterable[KnownDevice]], wiring: Wiring) -> None:
        self._devices = devices
        self._wiring = wiring
        self._adapter = Adapter(wiring.timings, wiring.scanner_kwargs, wiring.control, self._seen)
        self._tasks: dict[str, DeviceTask] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Read the known devices until cancelled. A fault of a device or of the adapter never ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._adapter.run())
            if self._wiring.control is not None:
                group.create_task(self._wiring.control.watch(self._adapter_changed))
            while True:
                self._follow_roster(group)
                await asyncio.sleep(self._wiring.timings.roster)

    def health(self) -> BleHealth:
        """The state of the adapter and of every known device."""
        return BleHealth(adapter=self._adapter.fault, devices=tuple(task.health for task in self._tasks.values()))

    def read_fully(self, address: str) -> None:
        """Read everything that a device has stored, as soon as it is in reach. Raises KeyError for an unknown one."""
        self._tasks[address].read_fully()

    def _follow_roster(self, group: asyncio.TaskGroup) -> None:
        known = {device.address: device for device in self._devices()}
        for address, task in list(self._tasks.items()):
            running = self._running[address]
            if known.get(address) != task.known:
                running.cancel()
            if running.done():
                del self._tasks[address], self._running[address]
        for address, device in known.items():
            # A device that has changed waits until its old task has hung up.
            if address not in self._tasks:
                self._tasks[address] = DeviceTask(device, self._adapter, self._wiring)
                self._running[address] = group.create_task(self._tasks[address].run())

    def _adapter_changed(self, path: str, there: bool) -> None:
        if not there:
            for task in self._tasks.values():
                task.adapter_went(path)
        self._adapter.changed()

    def _seen(self, address: str) -> None:
        if task := self._tasks.get(address):
            task.seen()


_PROBE_LIMIT: Final = 10.0


async def probe(scanner_kwargs: Mapping[str, Any] | None = None) -> str | None:
    """Try to scan. None when that works, else a sentence that says what is wrong and what to do."""
    try:
        async with asyncio.timeout(_PROBE_LIMIT):
            async with BleakScanner(service_uuids=list(SERVICES.values()), **(scanner_kwargs or {})):
                return None
    except RADIO_ERRORS as error:
        return adapter_fault(error)

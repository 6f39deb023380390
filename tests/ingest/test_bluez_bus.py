"""The system's D-Bus beside bleak: a bus that lets nobody in, and an adapter that must not be left switched off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bleak.exc import BleakDBusError
from dbus_fast import Variant

from ingest.links import bluez_adapter
from ingest.links.bluez_adapter import BluezAdapters
from ingest.links.bluez_bus import system_bus
from ingest.links.pairing import Unattended, keep_offered, offer_to_system


@pytest.fixture
async def closed_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Queue[None]]:
    """A bus that lets this user not in, as one does inside a container; each try is in the queue."""
    tries: asyncio.Queue[None] = asyncio.Queue()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.put_nowait(None)
        while await reader.readline():
            writer.write(b"REJECTED EXTERNAL\r\n")
        writer.close()

    async with await asyncio.start_unix_server(refuse, tmp_path / "bus"):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
        yield tries


@pytest.mark.usefixtures("closed_bus")
async def test_a_bus_that_lets_nobody_in_is_told_as_such() -> None:
    with pytest.raises(OSError, match="refuses this user"):
        async with system_bus():
            pass


async def test_neither_the_agent_nor_the_watch_ends_with_it(
    closed_bus: asyncio.Queue[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either would take the whole hub along."""
    monkeypatch.setattr(bluez_adapter, "_RETRY_S", 0.0)
    agent = keep_offered(Unattended(lambda _device: True), offer_to_system, pause=0.0)
    for work in (agent, BluezAdapters().watch(lambda _path, _there: None)):
        task = asyncio.create_task(work)
        async with asyncio.timeout(5.0):
            for _ in range(3):
                await closed_bus.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class Bluez:
    """Two adapters, the second switched off; the first is busy for a while after it was switched off."""

    def __init__(self, busy: int) -> None:
        self.powered = {"/org/bluez/hci0": True, "/org/bluez/hci1": False}
        self.busy = busy

    async def call(self, _bus: Any, _to: str, path: str, method: str, _signature: str = "", *body: Any) -> list[Any]:
        if method.endswith("GetManagedObjects"):
            return [{p: {"org.bluez.Adapter1": {"Powered": Variant("b", on)}} for p, on in self.powered.items()}]
        on = body[-1].value
        if on and self.busy:
            self.busy -= 1
            raise BleakDBusError("org.bluez.Error.Busy", [])
        self.powered[path] = on
        return []


@asynccontextmanager
async def no_bus() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(("busy", "comes_back"), [(0, True), (4, True), (5, False)])
async def test_an_adapter_is_switched_on_again_also_when_it_is_busy(
    monkeypatch: pytest.MonkeyPatch, busy: int, comes_back: bool
) -> None:
    bluez = Bluez(busy)
    monkeypatch.setattr(bluez_adapter, "call", bluez.call)
    monkeypatch.setattr(bluez_adapter, "system_bus", no_bus)
    monkeypatch.setattr(bluez_adapter, "_BUSY_S", 0.0)
    if comes_back:
        await BluezAdapters().power_cycle()
    else:
        with pytest.raises(BleakDBusError):
            await BluezAdapters().power_cycle()
    assert bluez.powered == {"/org/bluez/hci0": comes_back, "/org/bluez/hci1": False}

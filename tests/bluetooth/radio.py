"""One set of tests, several radios: what stands between bleak's public API and the simulated devices.

A   bleak with the virtual radio as its backend.
B   bleak's own BlueZ backend, unmodified, against a bluetoothd of ours on a private D-Bus.
C   bleak's own BlueZ backend, unmodified, against the real bluetoothd and an adapter of the kernel: only inside the
    machine of `make test-bluez-vm`, which chooses it.

HOMEWARD_BLUETOOTH_LEVEL chooses, "A,B" when it is not set.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ingest.links.pairing import Offer, offer_to_system
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.bluez import FakeBluez
from simulators.private_bus import private_bus
from tests.bluez_vm.kernel import plugged_in
from tests.conftest import need

LEVELS = os.environ.get("HOMEWARD_BLUETOOTH_LEVEL", "A,B").split(",")
SLOWER = 5 if "C" in LEVELS else 1  # by how much every wait is longer where the processor is emulated


@dataclass(frozen=True, kw_only=True)
class Radio:
    """air: where simulated devices are put. The kwargs are for every BleakScanner and BleakClient.

    offer: how an agent is put where pairings happen. bluez: the bluetoothd of level B, its adapter to be pulled out.
    """

    level: str
    air: Air
    offer: Offer = offer_to_system
    scanner_kwargs: dict[str, Any] = field(default_factory=dict)
    client_kwargs: dict[str, Any] = field(default_factory=dict)
    bluez: FakeBluez | None = None


@asynccontextmanager
async def _virtual() -> AsyncIterator[Radio]:
    async with Air() as air:
        central = await Central.open(air)
        yield Radio(
            level="A",
            air=air,
            offer=central.offer,
            scanner_kwargs=central.scanner_kwargs,
            client_kwargs=central.client_kwargs,
        )


@asynccontextmanager
async def _over_bluez(bus: str) -> AsyncIterator[Radio]:
    async with Air() as air, FakeBluez(air, bus) as bluez:
        yield Radio(level="B", air=air, bluez=bluez)


@asynccontextmanager
async def _over_the_kernel() -> AsyncIterator[Radio]:
    async with Air() as air, plugged_in(air):
        yield Radio(level="C", air=air)


@pytest.fixture
def bluez_bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A D-Bus for this test alone, which is its system bus."""
    with private_bus(need("dbus-daemon", "`apt-get install dbus-daemon`")) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        yield address


@pytest.fixture(params=LEVELS)
async def radio(request: pytest.FixtureRequest) -> AsyncIterator[Radio]:
    """Each level in turn."""
    async with _opened(request) as radio:
        yield radio


def _opened(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Radio]:
    match request.param:
        case "A":
            return _virtual()
        case "B":
            return _over_bluez(request.getfixturevalue("bluez_bus"))
        case "C":
            return _over_the_kernel()
        case unknown:
            raise ValueError(f"HOMEWARD_BLUETOOTH_LEVEL: there is no level {unknown!r}")


@pytest.fixture
async def bluez_radio(request: pytest.FixtureRequest) -> AsyncIterator[Radio]:
    """For what only a bluetoothd can do: level C where that is chosen, else B."""
    opened = _over_the_kernel() if "C" in LEVELS else _over_bluez(request.getfixturevalue("bluez_bus"))
    async with opened as radio:
        yield radio

"""The virtual air, where it differs from the link and controller of Bumble."""

from __future__ import annotations

import asyncio

import pytest
from bumble.core import TimeoutError as BumbleTimeoutError
from bumble.device import Device, Peer
from bumble.hci import OwnAddressType

from simulators.air import Air
from tests.simulators.conftest import PATIENCE_S


async def advertising(air: Air, address: str) -> Device:
    device = await air.device("device", address)
    await device.start_advertising(advertising_interval_min=20, advertising_interval_max=20)
    return device


async def test_an_absent_device_costs_no_more_than_its_timeout(air: Air, central: Device) -> None:
    with pytest.raises(BumbleTimeoutError):
        await central.connect("C4:00:00:00:00:99", timeout=0.05)
    present = await advertising(air, "C4:00:00:00:00:01")
    connection = await central.connect(present.random_address, timeout=PATIENCE_S)
    assert connection.peer_address == present.random_address


async def test_a_central_with_a_public_address_is_heard(air: Air) -> None:
    central = await air.device("central", "00:11:22:33:44:55/P")
    device = await advertising(air, "C4:00:00:00:00:01")
    connection = await central.connect(
        device.random_address, own_address_type=OwnAddressType.PUBLIC, timeout=PATIENCE_S
    )
    async with asyncio.timeout(PATIENCE_S):
        services = await Peer(connection).discover_services()
    assert "1800" in {service.uuid.to_hex_str() for service in services}


async def test_forty_devices_are_connected_at_once(air: Air, central: Device) -> None:
    devices = [await advertising(air, f"C4:00:00:00:01:{number:02X}") for number in range(40)]
    connections = [await central.connect(device.random_address, timeout=PATIENCE_S) for device in devices]
    async with asyncio.timeout(PATIENCE_S):
        found = await asyncio.gather(*(Peer(connection).discover_services() for connection in connections))
    assert all(found)
    assert len(central.connections) == 40

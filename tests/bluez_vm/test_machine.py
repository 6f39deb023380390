"""What only the real bluetoothd and the kernel can tell. What is true on every level is in tests/bluetooth."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest
from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.exc import BleakDBusError
from bleak.uuids import normalize_uuid_str

from ingest.links.bluez_agent import offered
from simulators.air import Air
from simulators.gatt_server import STANDARD, Security
from tests.bluetooth.person import Person
from tests.bluetooth.radio import Radio
from tests.bluetooth.ward import METER, PATIENCE_S, Ward, known, of_meter
from tests.bluez_vm.kernel import plugged_in

NEEDS_BOND = replace(STANDARD, security=Security.ENCRYPTED)
NEEDS_PASSKEY = replace(STANDARD, security=Security.PASSKEY, passkey=907312)
CONTROL_POINT = normalize_uuid_str("2a52")
FAILED = "org.bluez.Error.AuthenticationFailed"
LONG_S = 8.0  # what is answered at all is answered within a second


@pytest.fixture
async def ward() -> AsyncIterator[Ward]:
    """Without an adapter: the tests plug it in."""
    async with Air() as air:
        ward = Ward(Radio(level="C", air=air))
        logger = logging.getLogger("ingest.links")
        logger.addHandler(ward)
        yield ward
        logger.removeHandler(ward)


@pytest.fixture
async def adapter(ward: Ward) -> AsyncIterator[None]:
    async with plugged_in(ward.radio.air):
        yield


async def found() -> BLEDevice:
    device = await BleakScanner.find_device_by_address(METER, timeout=PATIENCE_S)
    assert device is not None
    return device


async def subscribe(client: BleakClient) -> None:
    await client.start_notify(CONTROL_POINT, lambda *_: None)


async def test_without_an_agent_even_just_works_is_refused(ward: Ward, adapter: None) -> None:
    await ward.meter(1, NEEDS_BOND)
    with pytest.raises(BleakDBusError) as refused:
        await BleakClient(await found(), pair=True).connect()
    assert refused.value.dbus_error == FAILED


async def test_just_works_asks_an_agent_whether_it_may(ward: Ward, adapter: None) -> None:
    await ward.meter(1, NEEDS_BOND)
    person = Person()
    async with offered(person), BleakClient(await found()) as client:
        await subscribe(client)
    assert [question for question, _ in person.asked] == ["RequestAuthorization"]


@pytest.mark.parametrize("person", [{"passkey": 907313}, {"passkey": None}], ids=["wrong", "refused"])
async def test_a_wrong_passkey_is_told_to_whoever_asked_for_the_bond(
    ward: Ward, adapter: None, person: dict[str, int | None]
) -> None:
    await ward.meter(1, NEEDS_PASSKEY)
    async with offered(Person(**person)):
        with pytest.raises(BleakDBusError) as refused:
            await BleakClient(await found(), pair=True).connect()
    assert refused.value.dbus_error == FAILED


async def test_a_request_that_waits_for_a_pairing_that_fails_is_never_answered(ward: Ward, adapter: None) -> None:
    """bluetoothd forgets the device with the request in its hands, and bleak waits: every request needs a limit."""
    await ward.meter(1, NEEDS_BOND)
    async with BleakClient(await found()) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LONG_S):
                await subscribe(client)


async def test_the_link_goes_on_when_the_adapter_is_pulled_out_and_put_back(ward: Ward) -> None:
    meter = await ward.meter(20)
    async with ward.reading(known("meter", METER)):
        async with plugged_in(ward.radio.air):
            await ward.until(lambda: len(ward.packets) == 20)
        await ward.until(lambda: ward.link.health().adapter)
        await meter.measure(Decimal("0.00112"))
        async with plugged_in(ward.radio.air):
            await ward.until(lambda: len(ward.packets) == 21)
    assert ward.data(METER) == of_meter(meter)


async def test_ten_meters_are_all_read(ward: Ward, adapter: None) -> None:
    meters = {
        address: await ward.meter(12, address=address) for address in (f"{METER[:-2]}{n:02X}" for n in range(10))
    }
    async with ward.reading(*[known("meter", address) for address in meters]):
        await ward.until(lambda: all(ward.stored.get(address) == 12 for address in meters))
    for address, meter in meters.items():
        assert ward.data(address) == of_meter(meter)

"""What only BlueZ has between bleak and the device: agents, bonds, an adapter that goes away, sockets, strangers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.exc import BleakDBusError, BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str
from bumble.pairing import PairingConfig, PairingDelegate
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from ingest.links.ble import probe
from ingest.links.bluez_agent import offered
from simulators.bluez import FakeBluez
from simulators.gatt_server import STANDARD, Make, Security
from simulators.meter import GlucoseMeter
from tests.bluetooth.person import Person
from tests.bluetooth.radio import SLOWER, Radio
from tests.bluetooth.ward import METER, PATIENCE_S, Ward, known, of_meter

NEEDS_PASSKEY = replace(STANDARD, security=Security.PASSKEY, passkey=907312)
NEEDS_BOND = replace(STANDARD, security=Security.ENCRYPTED)
ADAPTER, PROPERTIES = "/org/bluez/hci0", "org.freedesktop.DBus.Properties"
MEASUREMENT, CONTROL_POINT = normalize_uuid_str("2a18"), normalize_uuid_str("2a52")


@pytest.fixture
def ward(bluez_ward: Ward) -> Ward:
    return bluez_ward


@pytest.fixture
async def person_at_hand(bluez_radio: Radio) -> AsyncIterator[Person]:
    """One who agrees to everything. Without an agent bluetoothd pairs nothing, Just Works neither."""
    person = Person()
    async with offered(person):
        yield person


async def found(address: str = METER) -> BLEDevice:
    device = await BleakScanner.find_device_by_address(address, timeout=PATIENCE_S)
    assert device is not None
    return device


async def count_of_records(client: BleakClient) -> bytes:
    """What a protected meter tells: how many records it has."""
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    await client.start_notify(CONTROL_POINT, lambda _characteristic, value: answered.set_result(bytes(value)))
    await client.write_gatt_char(CONTROL_POINT, b"\x04\x01", response=True)
    async with asyncio.timeout(PATIENCE_S):
        answer = await answered
    await client.stop_notify(CONTROL_POINT)
    return answer


SIX_RECORDS = bytes.fromhex("05000600")


# The agent


@pytest.mark.parametrize("pair_first", [True, False], ids=["asked for", "on demand"])
async def test_the_right_passkey_opens_the_meter_and_the_bond_lasts(ward: Ward, pair_first: bool) -> None:
    await ward.meter(6, NEEDS_PASSKEY)
    person = Person("KeyboardOnly", passkey=907312)
    async with offered(person):
        device = await found()
        async with BleakClient(device, pair=pair_first) as client:
            assert await count_of_records(client) == SIX_RECORDS
    assert person.asked == [("passkey", METER)]
    async with BleakClient(await found()) as client:
        assert await count_of_records(client) == SIX_RECORDS, "without an agent, for the bond is enough"


@pytest.mark.parametrize("person", [{"passkey": 907313}, {"passkey": None}], ids=["wrong", "refused"])
async def test_a_wrong_passkey_is_told_as_such(ward: Ward, person: dict[str, Any]) -> None:
    await ward.meter(6, NEEDS_PASSKEY)
    async with offered(Person(**person)):
        with pytest.raises(BleakDBusError) as caught:
            await BleakClient(await found(), pair=True).connect()
        assert caught.value.dbus_error == "org.bluez.Error.AuthenticationFailed"
        await stays_closed()


@pytest.mark.parametrize("make", [NEEDS_PASSKEY, NEEDS_BOND], ids=["passkey", "Just Works"])
async def test_without_an_agent_what_is_protected_stays_closed(ward: Ward, make: Make) -> None:
    await ward.meter(6, make)
    with pytest.raises(BleakDBusError) as caught:
        await BleakClient(await found(), pair=True).connect()
    assert caught.value.dbus_error == "org.bluez.Error.AuthenticationFailed"
    await stays_closed()


async def stays_closed() -> None:
    """Ours says why. The real bluetoothd answers 0x0E, or forgets the device and never answers the request."""
    async with BleakClient(await found()) as client:
        with pytest.raises((BleakError, TimeoutError)):
            async with asyncio.timeout(1.0 * SLOWER):
                await count_of_records(client)


async def test_through_the_link_with_a_person_at_hand(ward: Ward) -> None:
    meter = await ward.meter(6, NEEDS_PASSKEY)
    async with offered(Person("KeyboardOnly", passkey=907312)), ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.sessions_ended)
        assert ward.health(METER).error is None
    assert ward.data(METER) == of_meter(meter)


async def test_a_meter_that_goes_while_the_person_reads_takes_its_question_back(ward: Ward) -> None:
    meter = await ward.meter(6, NEEDS_PASSKEY)
    person = Person("KeyboardOnly", thinks=True)
    async with offered(person):
        connecting = asyncio.create_task(BleakClient(await found(), pair=True).connect())
        async with asyncio.timeout(PATIENCE_S):
            await person.question.wait()
            await meter.hang_up()
            with pytest.raises(BleakDBusError) as caught:
                await connecting
            await person.cancelled.wait()
    assert caught.value.dbus_error == "org.bluez.Error.AuthenticationCanceled"


async def test_a_pairing_is_cancelled(ward: Ward) -> None:
    await ward.meter(6, NEEDS_PASSKEY)
    person = Person("KeyboardOnly", thinks=True)
    async with offered(person):
        device = await found()
        connecting = asyncio.create_task(BleakClient(device, pair=True).connect())
        async with asyncio.timeout(PATIENCE_S):
            await person.question.wait()
            await call(device.details["path"], "org.bluez.Device1", "CancelPairing")
            with pytest.raises(BleakDBusError) as caught:
                await connecting
            await person.cancelled.wait()
    assert caught.value.dbus_error == "org.bluez.Error.AuthenticationCanceled"


async def call(path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
    """Call a method of bluetoothd as bluetoothctl would."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    message = Message(
        destination="org.bluez",
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=list(body),
    )
    reply = await bus.call(message)
    bus.disconnect()
    await bus.wait_for_disconnect()
    assert reply.message_type is MessageType.METHOD_RETURN, (reply.error_name, reply.body)
    return reply.body


class PeerScreen(PairingDelegate):
    """A device with a screen and two buttons, or with digits only. `shown` is what it shows or was given."""

    def __init__(self, capability: PairingDelegate.IoCapability, typed: "asyncio.Future[int] | None" = None) -> None:
        super().__init__(capability)
        self._typed = typed
        self.shown = 0

    async def compare_numbers(self, number: int, digits: int) -> bool:
        self.shown = number
        return True

    async def get_number(self) -> int | None:
        assert self._typed is not None
        return await self._typed


def with_delegate(meter: GlucoseMeter, delegate: PairingDelegate) -> None:
    meter.device.pairing_config_factory = lambda _link: PairingConfig(mitm=True, delegate=delegate)


@pytest.mark.parametrize("agrees", [True, False])
async def test_two_screens_are_compared(ward: Ward, agrees: bool) -> None:
    meter = await ward.meter(6, NEEDS_PASSKEY)
    screen = PeerScreen(PairingDelegate.IoCapability.DISPLAY_OUTPUT_AND_YES_NO_INPUT)
    with_delegate(meter, screen)
    person = Person("DisplayYesNo", agrees=agrees)
    async with offered(person):
        client = BleakClient(await found(), pair=True)
        if agrees:
            async with client:
                assert await count_of_records(client) == SIX_RECORDS
        else:
            with pytest.raises(BleakDBusError, match="Authentication Failed"):
                await client.connect()
    assert person.asked == [("confirm", screen.shown)]


async def test_a_passkey_is_shown_for_a_device_with_keys(ward: Ward) -> None:
    meter = await ward.meter(6, NEEDS_PASSKEY)
    typed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with_delegate(meter, PeerScreen(PairingDelegate.IoCapability.KEYBOARD_INPUT_ONLY, typed))
    person = Person("DisplayOnly")
    async with offered(person):
        connecting = asyncio.create_task((client := BleakClient(await found(), pair=True)).connect())
        async with asyncio.timeout(PATIENCE_S):
            await person.question.wait()
            ((question, passkey),) = person.asked
            typed.set_result(passkey)
            await connecting
        assert question == "show"
        assert await count_of_records(client) == SIX_RECORDS
        await client.disconnect()


async def test_a_device_that_asks_for_security_by_itself_is_paired(ward: Ward, person_at_hand: Person) -> None:
    meter = await ward.meter(6, NEEDS_BOND)
    async with BleakClient(await found()) as client:
        assert meter.connection is not None
        meter.connection.request_pairing()
        assert await count_of_records(client) == SIX_RECORDS
    assert await is_paired()
    assert person_at_hand.asked == [("authorize", METER)]


async def is_paired() -> bool:
    return bool((await found()).details["props"]["Paired"])


# The bond


@pytest.mark.usefixtures("person_at_hand")
async def test_a_bond_that_is_removed_is_made_anew(ward: Ward) -> None:
    await ward.meter(6, NEEDS_BOND)
    async with BleakClient(await found(), pair=True) as client:
        assert await count_of_records(client) == SIX_RECORDS
        await client.unpair()
    assert not await is_paired()
    with pytest.raises(BleakDeviceNotFoundError):
        await BleakClient("C4:00:00:00:00:99").unpair()


@pytest.mark.usefixtures("person_at_hand")
async def test_a_bond_that_the_device_has_lost_ends_the_connection(ward: Ward) -> None:
    """As the kernel does; only removing the bond here as well helps."""
    if ward.radio.level == "C":
        pytest.skip("Linux 6.1.192 breaks on it (a list corrupted in hci_chan_del), and the whole machine with it")
    meter = await ward.meter(6, NEEDS_BOND)
    async with BleakClient(await found(), pair=True) as client:
        await count_of_records(client)
    assert meter.device.keystore is not None
    await meter.device.keystore.delete_all()
    client = BleakClient(await found())
    with pytest.raises(BleakError, match="device disconnected"):
        await client.connect()
    await client.unpair()
    async with BleakClient(await found()) as again:
        assert await count_of_records(again) == SIX_RECORDS


@pytest.mark.usefixtures("person_at_hand")
async def test_bonds_outlast_the_adapter(ward: Ward, bluez: FakeBluez) -> None:
    await ward.meter(6, NEEDS_BOND)
    async with BleakClient(await found(), pair=True) as client:
        await count_of_records(client)
    await bluez.unplug()
    await bluez.plug_in()
    await adapter_is_back()
    assert await is_paired()
    async with BleakClient(await found()) as client:
        assert await count_of_records(client) == SIX_RECORDS


# The adapter


async def adapter_is_back() -> None:
    """Wait until bleak has heard of it, which it does without a word."""
    async with asyncio.timeout(PATIENCE_S):
        while await probe() is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_an_adapter_that_is_pulled_out_and_put_back(ward: Ward, bluez: FakeBluez) -> None:
    meter = await ward.meter(300)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: len(ward.packets) > 20)
        await bluez.unplug()
        await ward.until(lambda: ward.link.health().adapter)
        assert "plug one in" in (ward.link.health().adapter or "")
        await bluez.plug_in()
        await ward.until(lambda: ward.stored.get(METER) == 300)
        await ward.until(lambda: ward.link.health().adapter is None)
    assert list(dict.fromkeys(ward.data(METER))) == of_meter(meter)


async def test_an_adapter_that_is_pulled_out_while_it_connects(ward: Ward, bluez: FakeBluez) -> None:
    meter = await ward.meter(6)
    device = await found()
    await ward.radio.air.remove(meter.device)
    connecting = asyncio.create_task(BleakClient(device, timeout=PATIENCE_S).connect())
    assert bluez.central is not None
    async with asyncio.timeout(PATIENCE_S):
        while not bluez.central.device.is_le_connecting:  # noqa: ASYNC110 (Bumble has no event for it)
            await asyncio.sleep(0)
        await bluez.unplug()
        with pytest.raises(BleakDBusError, match="br-connection-canceled"):
            await connecting
    await ward.meter(6)
    await bluez.plug_in()
    await adapter_is_back()
    async with BleakClient(await found()) as client:
        assert await count_of_records(client) == SIX_RECORDS


async def test_an_adapter_that_is_switched_off_and_on(ward: Ward, bluez: FakeBluez) -> None:
    meter = await ward.meter(300)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: len(ward.packets) > 20)
        await bluez.power(False)
        await ward.until(lambda: ward.link.health().adapter)
        assert "switched off" in (ward.link.health().adapter or "")
        await bluez.power(True)
        await ward.until(lambda: ward.stored.get(METER) == 300)
    assert list(dict.fromkeys(ward.data(METER))) == of_meter(meter)


@pytest.mark.usefixtures("bluez_radio")
async def test_the_power_switch_of_bluetoothctl() -> None:
    async def powered() -> bool:
        (all_properties,) = await call(ADAPTER, PROPERTIES, "GetAll", "s", "org.bluez.Adapter1")
        ((value),) = await call(ADAPTER, PROPERTIES, "Get", "ss", "org.bluez.Adapter1", "Powered")
        assert all_properties["Powered"] == value
        return bool(value.value)

    assert await powered()
    await call(ADAPTER, PROPERTIES, "Set", "ssv", "org.bluez.Adapter1", "Powered", Variant("b", False))
    assert not await powered()
    with pytest.raises(AssertionError, match=r"org\.bluez\.Error\.NotReady"):
        await call(ADAPTER, "org.bluez.Adapter1", "StartDiscovery")
    with pytest.raises(AssertionError, match="PropertyReadOnly"):
        await call(ADAPTER, PROPERTIES, "Set", "ssv", "org.bluez.Adapter1", "Address", Variant("s", METER))


async def test_a_scan_ends_with_whoever_wanted_it(ward: Ward) -> None:
    await ward.meter(1)
    stranger = await MessageBus(bus_type=BusType.SYSTEM).connect()
    await stranger.call(
        Message(destination="org.bluez", path=ADAPTER, interface="org.bluez.Adapter1", member="StartDiscovery")
    )
    assert (await call(ADAPTER, PROPERTIES, "Get", "ss", "org.bluez.Adapter1", "Discovering"))[0].value
    stranger.disconnect()
    await stranger.wait_for_disconnect()
    async with asyncio.timeout(PATIENCE_S):
        while (await call(ADAPTER, PROPERTIES, "Get", "ss", "org.bluez.Adapter1", "Discovering"))[0].value:
            pass


async def test_a_device_that_nobody_wants_is_forgotten(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulators.bluez_device._TEMPORARY_S", 0.05)
    meter = await ward.meter(1)
    device = await found()
    await ward.radio.air.remove(meter.device)
    async with asyncio.timeout(PATIENCE_S):
        while METER in str(await call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")):
            pass
    with pytest.raises(BleakError, match="not found"):
        await BleakClient(device).connect()


@pytest.mark.usefixtures("bluez_bus")
async def test_a_bus_without_bluez_is_told_in_words() -> None:
    assert "BlueZ is not running" in (await probe() or "")


@pytest.mark.usefixtures("bluez_radio")
async def test_the_probe_is_content() -> None:
    assert await probe() is None


@pytest.mark.usefixtures("bluez_radio")
async def test_an_absent_device_costs_no_more_than_its_time(ward: Ward) -> None:
    meter = await ward.meter(6)
    device = await found()
    await ward.radio.air.remove(meter.device)
    with pytest.raises(TimeoutError):
        await BleakClient(device, timeout=0.1).connect()
    await ward.meter(6)
    async with BleakClient(await found()) as client:
        assert await count_of_records(client) == SIX_RECORDS


# Values


async def test_by_sockets_every_value_comes_too(ward: Ward) -> None:
    await ward.meter(100)
    async with BleakClient(await found()) as client:
        values: list[bytes] = []
        everything = asyncio.Event()

        def heard(_characteristic: Any, value: bytearray) -> None:
            values.append(bytes(value))
            if len(values) == 100:
                everything.set()

        await client.start_notify(MEASUREMENT, heard, bluez={"use_start_notify": False})
        assert await count_of_records(client) == bytes.fromhex("05006400")
        await client.start_notify(CONTROL_POINT, lambda *_: None)
        await client.write_gatt_char(CONTROL_POINT, b"\x01\x01", response=True)
        async with asyncio.timeout(PATIENCE_S):
            await everything.wait()
        await client.stop_notify(MEASUREMENT)
        await client.start_notify(MEASUREMENT, heard)


async def test_a_socket_closes_with_the_connection(ward: Ward) -> None:
    meter = await ward.meter(1)
    ended = asyncio.Event()
    client = BleakClient(await found(), lambda _client: ended.set())
    await client.connect()
    await client.start_notify(MEASUREMENT, lambda *_: None, bluez={"use_start_notify": False})
    await meter.hang_up()
    async with asyncio.timeout(PATIENCE_S):
        await ended.wait()
    async with BleakClient(await found()) as again:
        await again.start_notify(MEASUREMENT, lambda *_: None, bluez={"use_start_notify": False})


async def test_what_a_device_refuses_is_told_by_its_code(ward: Ward) -> None:
    await ward.meter(1)
    async with BleakClient(await found()) as client:
        with pytest.raises(BleakGATTProtocolError) as caught:
            await client.read_gatt_char(MEASUREMENT)
        assert caught.value.code == 0x02
        with pytest.raises(BleakDBusError, match="Operation is not supported"):
            await client.start_notify(normalize_uuid_str("2a51"), lambda *_: None)
        await client.start_notify(MEASUREMENT, lambda *_: None)
        await client.start_notify(MEASUREMENT, lambda *_: None)  # bluetoothd does not mind


async def test_the_services_wanted_are_the_only_ones_seen(ward: Ward) -> None:
    await ward.meter(1)
    await ward.cuff(120)
    seen = await BleakScanner.discover(timeout=0.3, service_uuids=[normalize_uuid_str("1808")])
    assert [device.address for device in seen] == [METER]

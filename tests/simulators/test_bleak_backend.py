"""The real bleak API over the virtual air: what bleak promises must hold on this backend too."""

import asyncio
from datetime import datetime
from decimal import Decimal

import pytest
from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str
from bumble.att import ATT_PDU
from bumble.device import Device

from simulators import encode
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.cgm import CgmSensor
from simulators.encode import GlucoseContext, GlucoseRecord
from simulators.gatt_server import STANDARD, DeviceClock, Make, Security
from simulators.meter import GlucoseMeter
from simulators.record_access import Fault, Misbehaviour
from tests.simulators.conftest import NOON, HandMovedTime

PATIENCE_S = 5.0
METER = "C4:00:00:00:00:01"
GLUCOSE_SERVICE = normalize_uuid_str("1808")


@pytest.fixture
async def adapter(air: Air) -> Central:
    return await Central.open(air)


async def a_meter(air: Air, clock: DeviceClock, make: Make = STANDARD, *, records: int = 0) -> GlucoseMeter:
    meter = GlucoseMeter(await air.device("meter+1", METER), clock, make)
    for sequence in range(1, records + 1):
        context = GlucoseContext(meal=2) if sequence % 4 == 0 else None
        meter.add(
            GlucoseRecord(
                sequence=sequence, base_time=NOON, concentration=Decimal(sequence % 900).scaleb(-5), context=context
            )
        )
    await meter.start()
    return meter


async def find(adapter: Central, address: str = METER) -> BLEDevice:
    device = await BleakScanner.find_device_by_address(address, timeout=PATIENCE_S, **adapter.scanner_kwargs)
    assert device is not None
    return device


async def test_a_scan_by_service_tells_what_is_advertised(air: Air, adapter: Central, time: HandMovedTime) -> None:
    await a_meter(air, time.clock())
    await CgmSensor(await air.device("cgm-1", "C4:00:00:00:00:02"), time.clock()).start()
    heard: asyncio.Queue[tuple[BLEDevice, AdvertisementData]] = asyncio.Queue()
    scanner = BleakScanner(
        lambda device, data: heard.put_nowait((device, data)), [GLUCOSE_SERVICE], **adapter.scanner_kwargs
    )
    async with scanner, asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            device, data = await heard.get()
            assert (device.address, device.name) == (METER, "meter+1")
            assert data.local_name == "meter+1"
            assert data.service_uuids == [GLUCOSE_SERVICE]
    assert [device.address for device in scanner.discovered_devices] == [METER]
    assert not adapter.device.is_scanning


async def test_two_scanners_share_one_receiver(air: Air, adapter: Central, time: HandMovedTime) -> None:
    await a_meter(air, time.clock())
    async with BleakScanner(**adapter.scanner_kwargs):
        assert await find(adapter)
        assert adapter.device.is_scanning
    assert not adapter.device.is_scanning


async def test_services_are_those_of_the_device(air: Air, adapter: Central, time: HandMovedTime) -> None:
    await a_meter(air, time.clock())
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        service = client.services.get_service(GLUCOSE_SERVICE)
        assert service is not None
        control = service.get_characteristic(normalize_uuid_str("2a52"))
        assert control is not None
        assert control.properties == ["write", "indicate"]
        assert [descriptor.uuid for descriptor in control.descriptors] == [normalize_uuid_str("2902")]
        assert client.mtu_size == 23
        assert control.max_write_without_response_size == 20
        assert client.name == "meter+1"
    with pytest.raises(BleakError, match="Service Discovery"):
        _ = client.services


async def test_values_are_read_and_written(air: Air, adapter: Central, time: HandMovedTime) -> None:
    meter = await a_meter(air, time.clock())
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        assert await client.read_gatt_char("2a2b") == encode.current_time(NOON)
        set_to = datetime(2026, 1, 2, 3, 4, 5)
        await client.write_gatt_char("2a08", encode.date_time(set_to), response=True)
        assert meter.clock.read() == set_to


async def test_att_errors_keep_their_code(air: Air, adapter: Central, time: HandMovedTime) -> None:
    await a_meter(air, time.clock())
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        with pytest.raises(BleakGATTProtocolError) as not_configured:
            await client.write_gatt_char("2a52", b"\x01\x01", response=True)
        assert not_configured.value.code == 0xFD
        with pytest.raises(BleakGATTProtocolError) as wrong_length:
            await client.write_gatt_char("2a08", b"\x01", response=True)
        assert wrong_length.value.code == 0x0D


async def test_a_thousand_records_come_in_order_and_before_their_answer(
    air: Air, adapter: Central, time: HandMovedTime
) -> None:
    meter = await a_meter(air, time.clock(), records=1000)
    heard: list[tuple[str, bytes]] = []
    answered = asyncio.Event()
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        await client.start_notify("2a18", lambda _, data: heard.append(("2a18", bytes(data))))
        await client.start_notify("2a34", lambda _, data: heard.append(("2a34", bytes(data))))
        await client.start_notify("2a52", lambda _, data: (heard.append(("2a52", bytes(data))), answered.set())[1])
        await client.write_gatt_char("2a52", b"\x01\x01", response=True)
        async with asyncio.timeout(3 * PATIENCE_S):
            await answered.wait()
    expected: list[tuple[str, bytes]] = []
    for record in meter.records:
        expected.append(("2a18", encode.glucose_measurement(record)))
        if record.context:
            expected.append(("2a34", encode.glucose_context(record.sequence, record.context)))
    assert heard == [*expected, ("2a52", bytes.fromhex("06000101"))]


async def test_a_callback_that_fails_does_not_stop_the_indications(
    air: Air, adapter: Central, time: HandMovedTime, caplog: pytest.LogCaptureFixture
) -> None:
    await a_meter(air, time.clock())
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    def hear(_sender: object, data: bytearray) -> None:
        answers.put_nowait(bytes(data))
        raise RuntimeError("a bug in the application")

    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client, asyncio.timeout(PATIENCE_S):
        await client.start_notify("2a52", hear)
        for _ in range(2):
            await client.write_gatt_char("2a52", b"\x04\x01", response=True)
            assert await answers.get() == bytes.fromhex("05000000")
        await client.stop_notify("2a52")
        with pytest.raises(BleakGATTProtocolError):
            await client.write_gatt_char("2a52", b"\x04\x01", response=True)
    assert "a bug in the application" in caplog.text


async def test_a_device_that_hangs_up_is_told_to_the_application(
    air: Air, adapter: Central, time: HandMovedTime
) -> None:
    meter = await a_meter(air, time.clock(), records=3)
    meter.access.fault = Fault(kind=Misbehaviour.HANG_UP, after=2)
    ended = asyncio.Event()
    client = BleakClient(await find(adapter), lambda _client: ended.set(), **adapter.client_kwargs)
    await client.connect()
    await client.start_notify("2a18", lambda _, data: None)
    await client.start_notify("2a52", lambda _, data: None)
    await client.write_gatt_char("2a52", b"\x01\x01", response=True)
    async with asyncio.timeout(PATIENCE_S):
        await ended.wait()
    assert not client.is_connected
    with pytest.raises(BleakError):
        await client.start_notify("2a18", lambda _, data: None)
    await client.disconnect()
    await client.disconnect()


async def test_a_request_pending_at_the_disconnection_fails_as_an_error(
    air: Air, adapter: Central, time: HandMovedTime
) -> None:
    meter = await a_meter(air, time.clock())
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        reading = asyncio.create_task(client.read_gatt_char("2a2b"))
        await asyncio.sleep(0)
        await air.remove(meter.device)
        with pytest.raises(BleakError):
            async with asyncio.timeout(PATIENCE_S):
                await reading


@pytest.mark.parametrize("uuid", ["2a2b", "2a18"], ids=["answered", "refused"])
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(
    air: Air, adapter: Central, time: HandMovedTime, uuid: str
) -> None:
    await a_meter(air, time.clock())
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        reading = asyncio.create_task(client.read_gatt_char(uuid))
        (link,) = adapter.device.connections.values()
        heard = link.gatt_client.on_gatt_pdu

        def hear_and_cancel(pdu: ATT_PDU) -> None:
            heard(pdu)
            reading.cancel()

        link.gatt_client.on_gatt_pdu = hear_and_cancel  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_ones_own_cancellation_stays_a_cancellation(air: Air, adapter: Central, time: HandMovedTime) -> None:
    await a_meter(air, time.clock())
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        reading = asyncio.create_task(client.read_gatt_char("2a2b"))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert client.is_connected


async def test_an_absent_device_times_out_and_blocks_nobody(air: Air, adapter: Central, time: HandMovedTime) -> None:
    gone = GlucoseMeter(await air.device("gone", "C4:00:00:00:00:09"), time.clock())
    await gone.start()
    known = await find(adapter, "C4:00:00:00:00:09")
    await air.remove(gone.device)
    with pytest.raises(TimeoutError):
        await BleakClient(known, timeout=0.05, **adapter.client_kwargs).connect()
    # Cancelled from outside, the controller's pending connection must be cancelled too.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await BleakClient(known, timeout=60, **adapter.client_kwargs).connect()
    await a_meter(air, time.clock())
    async with BleakClient(await find(adapter), **adapter.client_kwargs) as client:
        assert client.is_connected


async def test_an_unknown_address_is_not_found(adapter: Central) -> None:
    with pytest.raises(BleakDeviceNotFoundError):
        await BleakClient("C4:00:00:00:00:77", timeout=0.05, **adapter.client_kwargs).connect()


async def test_an_address_alone_is_looked_for(air: Air, adapter: Central, time: HandMovedTime) -> None:
    await a_meter(air, time.clock())
    client = BleakClient(METER, timeout=PATIENCE_S, **adapter.client_kwargs)
    await client.connect()
    with pytest.raises(BleakError, match="already connected"):
        await client.connect()
    await client.disconnect()


async def test_a_protected_value_pairs_on_demand_and_a_bond_is_used_again(
    air: Air, adapter: Central, time: HandMovedTime
) -> None:
    await a_meter(air, time.clock(), Make(security=Security.ENCRYPTED))
    device = await find(adapter)
    async with BleakClient(device, **adapter.client_kwargs) as client, asyncio.timeout(PATIENCE_S):
        assert await client.read_gatt_char("2a08") == encode.date_time(NOON)
    pairings: list[object] = []
    adapter.device.on(Device.EVENT_CONNECTION, lambda link: link.on(link.EVENT_PAIRING_START, pairings.append))
    device = await find(adapter)
    async with BleakClient(device, **adapter.client_kwargs) as client, asyncio.timeout(PATIENCE_S):
        assert await client.read_gatt_char("2a08") == encode.date_time(NOON)
        await client.unpair()
        assert not client.is_connected
        with pytest.raises(BleakDeviceNotFoundError):
            await client.unpair()
    assert not pairings


async def test_many_devices_are_connected_at_once(air: Air, adapter: Central, time: HandMovedTime) -> None:
    for number in range(20):
        device = await air.device(f"meter+{number}", f"C4:00:00:00:01:{number:02X}")
        await GlucoseMeter(device, time.clock(), Make(serial=str(number))).start()

    async def serial(number: int) -> bytes:
        client = BleakClient(f"C4:00:00:00:01:{number:02X}", timeout=PATIENCE_S, **adapter.client_kwargs)
        async with client:
            together.release()
            await all_connected.wait()
            return bytes(await client.read_gatt_char("2a25"))

    together = asyncio.Semaphore(0)
    all_connected = asyncio.Event()

    async def open_the_gate() -> None:
        for _ in range(20):
            await together.acquire()
        all_connected.set()

    async with asyncio.timeout(4 * PATIENCE_S):
        *serials, _ = await asyncio.gather(*(serial(number) for number in range(20)), open_the_gate())
    assert serials == [str(number).encode() for number in range(20)]

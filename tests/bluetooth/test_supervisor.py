"""The supervisor over every radio: everybody gets a turn, faults are told in words, the adapter may come and go."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any, Self

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError
from bumble import gatt
from bumble.device import Connection, Device

from ingest.links.ble import Bond, probe
from ingest.links.ble_faults import (
    ADAPTER_DEAF,
    ADAPTER_LEFT,
    BOND_LOST,
    HUNG_UP,
    NO_ADAPTER,
    NO_ANSWER,
    NO_BLUEZ,
    NOT_PAIRED,
    SWITCHED_OFF,
    UNKNOWN_MODEL,
    pairing_fault,
)
from ingest.links.ble_scan import CONNECTIONS
from ingest.links.bluez_adapter import BluezAdapters
from simulators.bluez import FakeBluez
from simulators.encode import CgmRecord
from simulators.gatt_server import STANDARD, Security, service
from simulators.meter import GlucoseMeter
from simulators.record_access import Fault, Misbehaviour
from tests.bluetooth.person import Person
from tests.bluetooth.radio import SLOWER
from tests.bluetooth.ward import (
    BRISK,
    CGM,
    CUFF,
    METER,
    PATIENCE_S,
    Ward,
    a_clock,
    known,
    of_cuff,
    of_meter,
    of_sensor,
)

NEEDS_BOND = replace(STANDARD, security=Security.ENCRYPTED)
NEEDS_PASSKEY = replace(STANDARD, security=Security.PASSKEY, passkey=907312)
OFTEN = replace(STANDARD, interval_ms=50.0)


# Everybody's turn


async def test_thirty_devices_one_absent_one_that_hangs_one_that_always_fails(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 10 if ward.radio.level == "C" else 27
    hangs, fails, absent = "C4:00:00:00:09:01", "C4:00:00:00:09:02", "C4:00:00:00:09:03"
    meters = {address: await ward.meter(8, OFTEN, address=address) for address in _addresses(1, many)}
    await ward.meter(1, OFTEN, address=hangs)
    await ward.meter(1, OFTEN, address=fails)
    tries = {hangs: 0, fails: 0}

    class Odd(BleakClient):
        async def connect(self, **kwargs: Any) -> None:
            if self.address in tries:
                tries[self.address] += 1
            if self.address == hangs:
                await asyncio.Event().wait()
            if self.address == fails:
                raise OSError("a fault of its own")
            await super().connect(**kwargs)

    monkeypatch.setattr("ingest.links.ble_device.BleakClient", Odd)
    everyone = [known("meter", address) for address in (absent, hangs, fails, *meters)]
    timings = replace(BRISK, connect=1.5 * SLOWER, farewell=0.5 * SLOWER, rest=0.0, retry_most=0.2 * SLOWER)
    async with ward.reading(*everyone, timings=timings):
        await ward.until(lambda: all(ward.stored.get(address) == 8 for address in meters))
        # The healthy ones want to be read again and again, and still everybody has a turn.
        await ward.until(lambda: tries[hangs] >= 2 and tries[fails] >= 2)
        assert ward.health(hangs).error == NO_ANSWER
        assert ward.health(fails).error == "the connection failed (a fault of its own)"
        assert ward.health(absent).last_seen is None
        assert not [address for address in meters if ward.health(address).error]
    for address, meter in meters.items():
        assert ward.data(address) == of_meter(meter)


async def test_a_cancellation_that_a_library_loses_still_ends_the_reading(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ward.meter(1)
    connecting = asyncio.Event()

    class Forgetful(BleakClient):
        async def connect(self, **_kwargs: Any) -> None:
            connecting.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise OSError("it was just then that the answer came") from None

    monkeypatch.setattr("ingest.links.ble_device.BleakClient", Forgetful)
    async with ward.reading(known("meter", METER), timings=replace(BRISK, connect=PATIENCE_S)):
        async with asyncio.timeout(PATIENCE_S):
            await connecting.wait()
        # Leaving the block cancels the link and waits for its end.


@pytest.mark.parametrize("loses", [OSError("it was just then that the answer came"), None])
async def test_a_cancellation_that_a_library_loses_still_ends_the_looking_around(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, loses: OSError | None
) -> None:
    await ward.meter(1)
    starting = asyncio.Event()

    class Forgetful(BleakScanner):
        async def __aenter__(self) -> Self:
            starting.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if loses:
                    raise loses from None
            return self

        async def __aexit__(self, *_error: object) -> None:
            return

    monkeypatch.setattr("ingest.links.ble_scan.BleakScanner", Forgetful)
    timings = replace(BRISK, scan=PATIENCE_S, look=0.01)
    async with ward.reading(known("meter", METER), timings=timings):
        async with asyncio.timeout(PATIENCE_S):
            await starting.wait()


def _addresses(group: int, count: int) -> list[str]:
    return [f"C4:00:00:00:{group:02X}:{n:02X}" for n in range(count)]


async def test_sensors_that_stay_connected_make_room(ward: Ward) -> None:
    """More sensors than an adapter holds, and then a meter and a cuff: all are read, and no sensor loses a value."""
    sensors = {address: await ward.sensor(6, OFTEN, address=address) for address in _addresses(3, CONNECTIONS + 2)}
    most = 0

    def connected() -> int:
        nonlocal most
        now = sum(sensor.connection is not None for sensor in sensors.values())
        most = max(most, now)
        return now

    async with ward.reading(*[known("cgm", address) for address in sensors]):
        await ward.until(lambda: connected() and all(len(ward.of(address)) == 6 for address in sensors))
        await ward.until(lambda: connected() == CONNECTIONS)
        meter, cuff = await ward.meter(10, OFTEN), await ward.cuff(118, make=OFTEN)
        for sensor in sensors.values():
            await sensor.emit(CgmRecord(offset_min=90, glucose=Decimal(61)))
        ward.known = [*ward.known, known("meter", METER), known("cuff", CUFF)]
        await ward.until(lambda: connected() and len(ward.of(METER)) == 10 and len(ward.of(CUFF)) == 1)
        await ward.until(lambda: connected() and all(len(ward.of(address)) >= 7 for address in sensors))
    assert most <= CONNECTIONS
    for address, sensor in sensors.items():
        assert ward.data(address) == of_sensor(sensor)
    assert ward.data(METER) == of_meter(meter)
    assert ward.data(CUFF) == of_cuff(cuff)


async def test_a_cuff_need_not_wait_until_a_sensor_has_been_listened_to_for_long(ward: Ward) -> None:
    sensors = {address: await ward.sensor(2, OFTEN, address=address) for address in _addresses(3, CONNECTIONS)}
    async with ward.reading(*[known("cgm", address) for address in sensors], timings=replace(BRISK, hold=3600.0)):
        await ward.until(lambda: all(sensor.connection for sensor in sensors.values()))
        await ward.until(lambda: len(ward.packets) == 2 * CONNECTIONS)
        await ward.cuff(118, make=OFTEN)
        ward.known = [*ward.known, known("cuff", CUFF)]
        await ward.until(lambda: ward.of(CUFF))


async def test_a_device_is_read_fully_when_that_is_asked_for(ward: Ward) -> None:
    meter = await ward.meter(10)
    async with ward.reading(known("meter", METER), timings=replace(BRISK, rest=3600.0)):
        await ward.until(lambda: ward.sessions_ended)
        assert len(ward.packets) == 10
        ward.link.read_fully(METER)
        await ward.until(lambda: len(ward.packets) == 20)
        with pytest.raises(KeyError):
            ward.link.read_fully("C4:00:00:00:00:99")
    assert ward.data(METER) == of_meter(meter) * 2


async def test_a_sensor_is_read_fully_while_it_is_listened_to(ward: Ward) -> None:
    await ward.sensor(12)
    async with ward.reading(known("cgm", CGM), timings=replace(BRISK, rest=3600.0)):
        await ward.until(lambda: len(ward.packets) == 12)
        ward.link.read_fully(CGM)
        await ward.until(lambda: len(ward.packets) == 24)


async def test_a_full_read_that_fails_is_not_forgotten(ward: Ward) -> None:
    meter = await ward.meter(10)
    async with ward.reading(known("meter", METER), timings=replace(BRISK, rest=3600.0)):
        await ward.until(lambda: ward.sessions_ended)
        meter.access.fault = Fault(kind=Misbehaviour.HANG_UP, after=3)
        ward.link.read_fully(METER)
        await ward.until(lambda: ward.health(METER).failures)
        meter.access.fault = None
        await ward.until(lambda: len(ward.packets) >= 23)
    assert ward.data(METER)[-10:] == of_meter(meter)


async def test_the_link_can_be_ended_whatever_it_is_doing(ward: Ward) -> None:
    """Cancelled at each of the first moments of a session, it ends at once and lets the device go."""
    meter = await ward.meter(30)
    for moment in (1, 2, 5, 10, 30):
        running = ward.reading(known("meter", METER))
        ward.packets.clear()
        ward.stored.clear()
        async with asyncio.timeout(BRISK.farewell), running:
            await ward.until(lambda enough=moment: len(ward.packets) >= enough)
        await ward.until(lambda: meter.connection is None)


# What goes wrong with a device, in words


async def test_a_bond_that_the_device_has_lost_is_explained_and_not_made_anew(ward: Ward) -> None:
    if ward.radio.level == "C":
        pytest.skip("Linux 6.1.192 breaks on it, and the whole machine with it (docs/bluetooth.md)")
    meter = await ward.meter(6, NEEDS_BOND)
    async with ward.radio.offer(Person()):
        async with ward.reading(known("meter", METER), timings=replace(BRISK, rest=3600.0)):
            await ward.until(lambda: ward.sessions_ended)
            assert ward.health(METER).error is None
        assert meter.device.keystore is not None
        await meter.device.keystore.delete_all()
        ended = ward.sessions_ended
        async with ward.reading(known("meter", METER), timings=replace(BRISK, retry_person=3600.0)):
            await ward.until(lambda: ward.health(METER).error == BOND_LOST)
            assert ward.health(METER).bond is Bond.LOST
            tries = ward.health(METER).failures
            assert tries <= 2
            await ward.until(lambda: ward.sessions_ended == ended + tries)
        assert not await meter.device.keystore.get_all(), "it must not be paired again by itself"


@pytest.mark.usefixtures("bluez")
async def test_a_bonded_device_that_hangs_up_once_has_not_lost_its_bond(bluez_ward: Ward) -> None:
    """A cuff at the edge of the range: sent away for ten minutes, it would be missed."""
    ward = bluez_ward
    meter = await ward.meter(6, NEEDS_BOND)
    async with ward.radio.offer(Person()), ward.reading(known("meter", METER), timings=replace(BRISK, rest=3600.0)):
        await ward.until(lambda: ward.sessions_ended)
    hang_ups: list[asyncio.Task[None]] = []

    def hang_up(link: Connection) -> None:
        if not hang_ups:
            hang_ups.append(asyncio.create_task(link.disconnect()))

    def once_encrypted(link: Connection) -> None:
        link.on(Connection.EVENT_CONNECTION_ENCRYPTION_CHANGE, lambda: hang_up(link))

    meter.device.on(Device.EVENT_CONNECTION, once_encrypted)
    said: list[str | None] = []

    def read_again() -> bool:
        said.append(ward.health(METER).error)
        return len(ward.packets) == 12

    async with ward.reading(known("meter", METER), timings=replace(BRISK, retry_person=3600.0)):
        await ward.until(read_again)
        assert HUNG_UP in said
        assert BOND_LOST not in said
        assert ward.health(METER).bond is Bond.BONDED


@pytest.mark.usefixtures("bluez")
async def test_a_device_that_was_never_paired_is_said_to_want_it(bluez_ward: Ward) -> None:
    """The real bluetoothd says 0x0E, or nothing at all (docs/bluetooth.md)."""
    ward = bluez_ward
    await ward.meter(6, NEEDS_BOND)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.health(METER).failures)
        assert ward.health(METER).error == NOT_PAIRED
        assert ward.health(METER).bond is Bond.NONE


@pytest.mark.parametrize(
    ("answers", "given", "words"),
    [({"passkey": 907313}, True, "did not accept the passkey"), ({"passkey": None}, False, "refused to be paired")],
    ids=["wrong passkey", "refused"],
)
async def test_a_pairing_that_fails_is_told_in_words(
    ward: Ward, answers: dict[str, Any], given: bool, words: str
) -> None:
    await ward.meter(6, NEEDS_PASSKEY)
    device = await BleakScanner.find_device_by_address(METER, **ward.radio.scanner_kwargs)
    assert device is not None
    async with ward.radio.offer(Person(**answers)):
        with pytest.raises(BleakError) as failed:
            await BleakClient(device, pair=True, **ward.radio.client_kwargs).connect()
    assert words in pairing_fault(failed.value, passkey_given=given)


class Lamp(GlucoseMeter):
    """Says that it is a meter, and is something else."""

    def services(self) -> list[gatt.Service]:
        return [service(0xFFF0, [self.characteristic(0xFFF1, read=lambda: b"\x01")])]


async def test_a_model_that_cannot_be_read_is_named_as_such(ward: Ward) -> None:
    await ward.started(Lamp(await ward.radio.air.device("lamp", METER), a_clock()))
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.health(METER).failures)
        assert ward.health(METER).error == UNKNOWN_MODEL
        assert ward.health(METER).fault is not None
        assert ward.health(METER).fault.needs_person


# The adapter


async def test_a_sensor_that_is_listened_to_is_given_up_at_once_when_the_adapter_is_pulled_out(
    bluez_ward: Ward, bluez: FakeBluez
) -> None:
    ward = bluez_ward
    sensor = await ward.sensor(12)
    async with ward.reading(known("cgm", CGM), timings=replace(BRISK, retry=0.3, retry_most=0.3)):
        await ward.until(lambda: len(ward.packets) == 12)
        await ward.until(lambda: sensor.subscribed(sensor._measurement))
        await bluez.unplug()
        await ward.until(lambda: ward.health(CGM).failures)
        assert ward.health(CGM).error == ADAPTER_LEFT
        await ward.until(lambda: ward.link.health().adapter)
        assert ward.link.health().adapter == NO_ADAPTER
        sensor.add(CgmRecord(offset_min=65, glucose=Decimal(52)))
        await bluez.plug_in()
        await ward.until(lambda: of_sensor(sensor)[-1] in ward.data(CGM))
        await ward.until(lambda: ward.link.health().adapter is None and ward.health(CGM).error is None)
    assert list(dict.fromkeys(ward.data(CGM))) == of_sensor(sensor)


async def test_it_is_said_that_the_adapter_is_missing_also_when_nothing_is_due(
    bluez_ward: Ward, bluez: FakeBluez
) -> None:
    ward = bluez_ward
    await ward.meter(2)
    async with ward.reading(known("meter", METER), timings=replace(BRISK, rest=3600.0)):
        await ward.until(lambda: ward.sessions_ended)
        await bluez.unplug()
        await ward.until(lambda: ward.link.health().adapter == NO_ADAPTER)
        await bluez.plug_in()
        await ward.until(lambda: ward.link.health().adapter is None)


async def test_an_adapter_that_is_switched_off_ends_the_sessions_and_is_named(
    bluez_ward: Ward, bluez: FakeBluez
) -> None:
    ward = bluez_ward
    sensor = await ward.sensor(12)
    async with ward.reading(known("cgm", CGM)):
        await ward.until(lambda: len(ward.packets) == 12)
        await bluez.power(False)
        await ward.until(lambda: ward.link.health().adapter)
        assert ward.link.health().adapter == SWITCHED_OFF
        assert await probe() == SWITCHED_OFF
        await bluez.power(True)
        await ward.until(lambda: ward.link.health().adapter is None and sensor.connection)


async def test_a_bluetoothd_that_is_started_anew(bluez_ward: Ward, bluez: FakeBluez) -> None:
    ward = bluez_ward
    sensor = await ward.sensor(12)
    async with ward.reading(known("cgm", CGM)):
        await ward.until(lambda: len(ward.packets) >= 12)
        await bluez.__aexit__(None, None, None)
        await ward.until(lambda: ward.health(CGM).error == ADAPTER_LEFT)
        await ward.until(lambda: ward.link.health().adapter)
        await bluez.__aenter__()
        sensor.add(CgmRecord(offset_min=65, glucose=Decimal(52)))
        await ward.until(lambda: of_sensor(sensor)[-1] in ward.data(CGM))
        await ward.until(lambda: ward.link.health().adapter is None)
    assert list(dict.fromkeys(ward.data(CGM))) == of_sensor(sensor)


async def test_a_deaf_adapter_is_switched_off_and_on_and_then_a_person_is_told(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scans go well, and nothing is heard, until the adapter has been switched off and on twice."""
    await ward.meter(2)
    cycles = 0

    class Control:
        async def watch(self, changed: Any) -> None:
            await asyncio.Event().wait()

        async def power_cycle(self) -> None:
            nonlocal cycles
            cycles += 1

    class Deaf(BleakScanner):
        async def start(self) -> None:
            if cycles == 2:
                await super().start()

        async def stop(self) -> None:
            if cycles == 2:
                await super().stop()

    monkeypatch.setattr("ingest.links.ble_scan.BleakScanner", Deaf)
    wiring = ward.wiring(replace(BRISK, scan=0.02, deaf=0.05))
    monkeypatch.setattr(ward, "wiring", lambda _timings: replace(wiring, control=Control()))
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: cycles == 1)
        assert ward.link.health().adapter is None
        await ward.until(lambda: ward.link.health().adapter == ADAPTER_DEAF)
        await ward.until(lambda: ward.sessions_ended)
        await ward.until(lambda: ward.link.health().adapter is None)


async def test_bluez_switches_its_adapter_off_and_on(bluez_ward: Ward) -> None:
    control = BluezAdapters()
    told: list[str] = []
    watching = asyncio.create_task(control.watch(lambda _path, there: told.append("on" if there else "off")))
    async with asyncio.timeout(5.0 * SLOWER):
        while "off on" not in " ".join(told):  # until the watch is up, nobody hears of it
            await control.power_cycle()
    watching.cancel()
    assert await probe() is None


@pytest.mark.usefixtures("bluez_bus")
async def test_without_bluez_the_sentence_is_the_same_as_in_the_check() -> None:
    assert await probe() == NO_BLUEZ

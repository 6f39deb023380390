"""A bleak backend whose radio is a Bumble device on the virtual air.

The code under test uses the real bleak API; below it, real GATT, ATT, SMP, L2CAP and HCI octets travel through the
air. Nothing but the radio and the operating system's Bluetooth daemon is missing.

    central = await Central.open(air)
    scanner = BleakScanner(**central.scanner_kwargs)
    client = BleakClient(device, **central.client_kwargs)

Behaviour follows bleak 3.1's BlueZ backend where the two could differ: a protected characteristic pairs on demand, a
bonded peer is encrypted right after connecting, services are gone after a disconnection.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol, Self, TypeVar, cast

from bleak.args import SizedBuffer
from bleak.assigned_numbers import CharacteristicPropertyName
from bleak.backends.characteristic import BleakGATTCharacteristic, GattCharacteristicsFlags
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDBusError, BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str
from bumble import att, core, gatt_client, hci
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement, Connection, Device
from bumble.keys import JsonKeyStore
from bumble.pairing import PairingConfig, PairingDelegate

from simulators.air import Air

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

CENTRAL_ADDRESS: Final = "F0:F1:F2:F3:F4:F5"
_MTU: Final = 517
_CCCD: Final = normalize_uuid_str("2902")
_NEEDS_SECURITY: Final = frozenset((0x05, 0x0F))  # insufficient authentication, insufficient encryption
_Type = AdvertisingData.Type


class Listener(Protocol):
    """Whoever wants to hear advertisements."""

    def heard(self, advertisement: Advertisement) -> None:
        """Take one advertisement."""


class Agent(Protocol):
    """Whoever answers what a pairing asks; capability in the words of org.bluez.Agent1."""

    @property
    def capability(self) -> str: ...  # noqa: D102
    async def passkey(self, device: str) -> int | None: ...  # noqa: D102
    async def show(self, device: str, passkey: int) -> None: ...  # noqa: D102
    async def confirm(self, device: str, passkey: int) -> bool: ...  # noqa: D102
    async def authorize(self, device: str) -> bool: ...  # noqa: D102


class Central:
    """One adapter on the air: it scans, connects, and lends itself to bleak through the keyword arguments below."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._scanners: set[Listener] = set()
        self._scan_change = asyncio.Lock()
        self._connecting = asyncio.Lock()
        self.bonded: frozenset[str] = frozenset()  # peers, as they were when the last scan began
        self.asked_for: set[Connection] = set()  # links on which this side has asked for a pairing
        device.on(Device.EVENT_ADVERTISEMENT, self._on_advertisement)
        # bleak takes a class and makes the object itself, so the adapter travels as a class attribute.
        self.scanner_kwargs: dict[str, Any] = {"backend": type("BumbleScanner", (_Scanner,), {"central": self})}
        self.client_kwargs: dict[str, Any] = {"backend": type("BumbleClient", (_Client,), {"central": self})}

    @classmethod
    async def open(
        cls, air: Air, *, name: str = "gateway", address: str = CENTRAL_ADDRESS, bonds: Path | None = None
    ) -> Self:
        """Put an adapter on the air. `address` is a static random address; bonds: a file to keep them in."""
        device = await air.device(name, address)
        if bonds is not None:
            device.keystore = JsonKeyStore(address, str(bonds))
        return cls(device)

    @asynccontextmanager
    async def offer(self, agent: Agent) -> AsyncIterator[asyncio.Event]:
        """Let an agent answer what pairings ask, as long as the context lasts. The event is never set.

        Without one every device may bond that asks nothing of a person, where BlueZ would refuse.
        """
        former = self.device.pairing_config_factory
        mitm = agent.capability != "NoInputNoOutput"
        self.device.pairing_config_factory = lambda link: PairingConfig(
            mitm=mitm, delegate=_Asking(agent, self, link)
        )
        try:
            yield asyncio.Event()
        finally:
            self.device.pairing_config_factory = former

    async def start_scan(self, scanner: Listener, *, active: bool) -> None:
        """Let a scanner hear advertisements; the first one switches the receiver on, and its mode holds for all."""
        async with self._scan_change:
            if self.device.keystore is not None:
                self.bonded = frozenset(peer for peer, _keys in await self.device.keystore.get_all())
            if not self._scanners:
                await self.device.start_scanning(active=active)
            self._scanners.add(scanner)

    async def stop_scan(self, scanner: Listener) -> None:
        """Stop a scanner; the last one switches the receiver off. Safe to call twice."""
        async with self._scan_change:
            if scanner not in self._scanners:
                return
            self._scanners.discard(scanner)
            if not self._scanners:
                await self.device.stop_scanning()

    async def connect(self, address: hci.Address, limit: float) -> Connection:
        """Connect to an address within `limit` seconds. A controller has one pending connection at a time."""
        async with self._connecting:
            attempt = asyncio.create_task(self.device.connect(address, timeout=limit))
            try:
                return await asyncio.shield(attempt)
            except asyncio.CancelledError:
                await self._abandon(attempt)
                raise

    async def _abandon(self, attempt: asyncio.Task[Connection]) -> None:
        """End an attempt whose caller was cancelled; left pending, it would forbid every later connection."""
        while not (attempt.done() or self.device.is_le_connecting):  # noqa: ASYNC110 - Bumble has no event for it
            await asyncio.sleep(0)  # only what is pending can be cancelled
        if not attempt.done():
            await self.device.cancel_connection()  # type: ignore[no-untyped-call]
        with suppress(core.BaseBumbleError):
            await (await attempt).disconnect()

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        for scanner in tuple(self._scanners):
            scanner.heard(advertisement)


class _Asking(PairingDelegate):
    """Bumble's questions during one pairing, put to an agent. The end of the link takes them back."""

    def __init__(self, agent: Agent, central: Central, link: Connection) -> None:
        super().__init__(_CAPABILITIES[agent.capability])
        self._agent = agent
        self._central = central
        self._link = link
        self._device = link.peer_address.to_string(with_type_qualifier=False)

    async def confirm(self, auto: bool = False) -> bool:  # noqa: ARG002
        return self._link in self._central.asked_for or await self._agent.authorize(self._device)

    async def get_number(self) -> int | None:
        return await self._agent.passkey(self._device) or None  # Bumble hangs on 000000

    async def compare_numbers(self, number: int, digits: int) -> bool:  # noqa: ARG002
        return await self._agent.confirm(self._device, number)

    async def generate_passkey(self) -> int:
        return 1 + secrets.randbelow(999_999)

    async def display_number(self, number: int, digits: int) -> None:  # noqa: ARG002
        await self._agent.show(self._device, number)


_Io = PairingDelegate.IoCapability
_CAPABILITIES: Final[dict[str, PairingDelegate.IoCapability]] = {
    "DisplayOnly": _Io.DISPLAY_OUTPUT_ONLY,
    "DisplayYesNo": _Io.DISPLAY_OUTPUT_AND_YES_NO_INPUT,
    "KeyboardOnly": _Io.KEYBOARD_INPUT_ONLY,
    "NoInputNoOutput": _Io.NO_OUTPUT_NO_INPUT,
    "KeyboardDisplay": _Io.DISPLAY_OUTPUT_AND_KEYBOARD_INPUT,
}


class _Scanner(BaseBleakScanner):
    central: ClassVar[Central]

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: Literal["active", "passive"],
        **_kwargs: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._active = scanning_mode == "active"

    async def start(self) -> None:
        self.seen_devices = {}
        await self.central.start_scan(self, active=self._active)

    async def stop(self) -> None:
        await self.central.stop_scan(self)

    def heard(self, advertisement: Advertisement) -> None:
        data = advertisement_data(advertisement)
        if not self.is_allowed_uuid(data.service_uuids):
            return
        address = advertisement.address.to_string(with_type_qualifier=False)
        name = data.local_name or address.replace(":", "-")
        # "props" as BlueZ tells them, as far as anybody asks for them.
        details = {
            "address": advertisement.address,
            "props": {"Paired": str(advertisement.address) in self.central.bonded},
        }
        device = self.create_or_update_device(address, address, name, details, data)
        self.call_detection_callbacks(device, data)


def advertisement_data(advertisement: Advertisement) -> AdvertisementData:
    """What bleak tells of an advertisement. Undecodable structures are left out, as BlueZ does."""
    name: str | None = None
    uuids: list[str] = []
    manufacturer: dict[int, bytes] = {}
    service_data: dict[str, bytes] = {}
    tx_power: int | None = None
    for kind, octets in advertisement.data.ad_structures:
        if kind in (_Type.COMPLETE_LOCAL_NAME, _Type.SHORTENED_LOCAL_NAME):
            name = octets.decode("utf-8", errors="replace")
        elif size := _UUID_LISTS.get(kind):
            uuids += [_uuid(octets[at : at + size]) for at in range(0, len(octets) - size + 1, size)]
        elif (size := _SERVICE_DATA.get(kind)) and len(octets) >= size:
            service_data[_uuid(octets[:size])] = octets[size:]
        elif kind == _Type.MANUFACTURER_SPECIFIC_DATA and len(octets) >= 2:
            manufacturer[int.from_bytes(octets[:2], "little")] = octets[2:]
        elif kind == _Type.TX_POWER_LEVEL and len(octets) == 1:
            tx_power = int.from_bytes(octets, "little", signed=True)
    return AdvertisementData(
        local_name=name,
        manufacturer_data=manufacturer,
        service_data=service_data,
        service_uuids=list(dict.fromkeys(uuids)),  # a scan response repeats them
        tx_power=tx_power,
        rssi=advertisement.rssi,
        platform_data=(advertisement,),
    )


_UUID_LISTS: Final[dict[int, int]] = {
    _Type.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
    _Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
    _Type.INCOMPLETE_LIST_OF_32_BIT_SERVICE_CLASS_UUIDS: 4,
    _Type.COMPLETE_LIST_OF_32_BIT_SERVICE_CLASS_UUIDS: 4,
    _Type.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
    _Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
}
_SERVICE_DATA: Final[dict[int, int]] = {
    _Type.SERVICE_DATA_16_BIT_UUID: 2,
    _Type.SERVICE_DATA_32_BIT_UUID: 4,
    _Type.SERVICE_DATA_128_BIT_UUID: 16,
}


def _uuid(octets: bytes) -> str:
    return normalized(UUID.from_bytes(octets))


def normalized(uuid: UUID) -> str:
    """The UUID as bleak and BlueZ write it: 128 bits, lower case."""
    return normalize_uuid_str(uuid.to_hex_str("-"))


class _Client(BaseBleakClient):
    central: ClassVar[Central]

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        services: set[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(address_or_ble_device, **kwargs)
        self._known = address_or_ble_device if isinstance(address_or_ble_device, BLEDevice) else None
        self._wanted_services = services
        self._link: Connection | None = None

    @property
    def name(self) -> str:
        return (self._known.name if self._known else None) or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        return self._connected().att_mtu

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    async def connect(self, pair: bool, **_kwargs: Any) -> None:
        if self._link is not None:
            raise BleakError("already connected")
        address = await self._find()
        with _bleak_errors():
            link = await self.central.connect(address, self._timeout)
        self._link = link
        link.on(link.EVENT_DISCONNECTION, self._on_disconnection)
        try:
            with _bleak_errors():
                await self._secure(link, pair=pair)
                await link.gatt_client.request_mtu(_MTU)
                self.services = await self._discover(link)
        except BaseException:
            await self.disconnect()
            raise

    async def disconnect(self) -> None:
        link = self._link
        if link is None:
            return
        with suppress(core.BaseBumbleError):  # it is going away by itself
            await link.disconnect()

    async def pair(self, *_args: Any, **_kwargs: Any) -> None:
        link = self._connected()
        if not await self._bonded(link):
            with _bleak_errors():
                await self._pair(link)

    async def unpair(self) -> None:
        keys = self.central.device.keystore
        peer = str(await self._find())
        if keys is None or await keys.get(peer) is None:
            raise BleakDeviceNotFoundError(self.address, f"{self.address} is not paired")
        await keys.delete(peer)
        await self.disconnect()

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        return await self._read(characteristic.handle, use_cached)

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        return await self._read(descriptor.handle, use_cached)

    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
    ) -> None:
        await self._write(characteristic.handle, data, response=response)

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        await self._write(descriptor.handle, data, response=True)

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_kwargs: Any
    ) -> None:
        client = self._connected().gatt_client
        if "notify" in characteristic.properties:
            subscribers, value = client.notification_subscribers, b"\x01\x00"
        elif "indicate" in characteristic.properties:
            subscribers, value = client.indication_subscribers, b"\x02\x00"
        else:
            raise BleakError(f"{characteristic} can neither notify nor indicate")
        # Before the write: a notification may come ahead of its response.
        subscribers[characteristic.handle] = {_guarded(characteristic, callback)}
        try:
            await self._write(_cccd_of(characteristic).handle, value, response=True)
        except BaseException:
            subscribers.pop(characteristic.handle, None)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        client = self._connected().gatt_client
        await self._write(_cccd_of(characteristic).handle, b"\x00\x00", response=True)
        client.notification_subscribers.pop(characteristic.handle, None)
        client.indication_subscribers.pop(characteristic.handle, None)

    def _connected(self) -> Connection:
        if self._link is None:
            raise BleakError("not connected")
        return self._link

    def _on_disconnection(self, _reason: int) -> None:
        self._link = None
        self.services = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def _find(self) -> hci.Address:
        """The peer's address with its type, which only an advertisement (or the bond) tells."""
        if self._known is None:
            self._known = await self._scan_for(self.address.upper())
        return cast(hci.Address, self._known.details["address"])

    async def _scan_for(self, address: str) -> BLEDevice:
        found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()

        def detected(device: BLEDevice, _advertisement: AdvertisementData) -> None:
            if device.address == address and not found.done():
                found.set_result(device)

        scanner = self.central.scanner_kwargs["backend"](detected, None, "active")
        await scanner.start()
        try:
            async with asyncio.timeout(self._timeout):
                return await found
        except TimeoutError:
            raise BleakDeviceNotFoundError(address, f"device {address} was not found") from None
        finally:
            await scanner.stop()

    async def _secure(self, link: Connection, *, pair: bool) -> None:
        if await self._bonded(link):
            try:
                await link.encrypt()
            except hci.HCI_Error as error:
                # The peer has lost the bond; this is what bleak says when the kernel then hangs up.
                raise BleakError("failed to discover services, device disconnected") from error
        elif pair:
            await self._pair(link)

    async def _bonded(self, link: Connection) -> bool:
        keys = self.central.device.keystore
        return keys is not None and await keys.get(str(link.peer_address)) is not None

    async def _pair(self, link: Connection) -> None:
        self.central.asked_for.add(link)
        try:
            await link.pair()
        except core.ProtocolError as error:  # the words of BlueZ, so that nobody needs to know ours
            raise BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"]) from error
        finally:
            self.central.asked_for.discard(link)

    async def _discover(self, link: Connection) -> BleakGATTServiceCollection:
        client = link.gatt_client
        client.services.clear()
        await client.discover_services()
        collection = BleakGATTServiceCollection()
        for found in client.services:
            uuid = normalized(found.uuid)
            if self._wanted_services and uuid not in self._wanted_services:
                continue
            service = BleakGATTService(found, found.handle, uuid)
            collection.add_service(service)
            for proxy in await client.discover_characteristics((), found):
                await _add_characteristic(client, collection, service, proxy)
        return collection

    async def _read(self, handle: int, use_cached: bool) -> bytearray:
        client = self._connected().gatt_client
        if use_cached and handle in client.cached_values:
            return bytearray(client.cached_values[handle][1])
        return bytearray(await self._request(lambda: client.read_value(handle)))

    async def _write(self, handle: int, data: SizedBuffer, *, response: bool) -> None:
        client = self._connected().gatt_client
        value = bytes(data)
        await self._request(lambda: client.write_value(handle, value, with_response=response))

    async def _request(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """Do an ATT operation; where the device demands security, pair and do it once more, as BlueZ does."""
        with _bleak_errors():
            try:
                return await operation()
            except att.ATT_Error as error:
                if int(error.error_code) not in _NEEDS_SECURITY:
                    raise
                await self._connected().pair()
                return await operation()


async def _add_characteristic(
    client: gatt_client.Client,
    collection: BleakGATTServiceCollection,
    service: BleakGATTService,
    proxy: gatt_client.CharacteristicProxy[bytes],
) -> None:
    characteristic = BleakGATTCharacteristic(
        proxy,
        proxy.handle,
        normalized(proxy.uuid),
        property_names(int(proxy.properties)),
        lambda: client.mtu - 3,
        service,
    )
    collection.add_characteristic(characteristic)
    for descriptor in await client.discover_descriptors(proxy):
        collection.add_descriptor(
            BleakGATTDescriptor(descriptor, descriptor.handle, normalized(descriptor.type), characteristic)
        )


def property_names(bits: int) -> list[CharacteristicPropertyName]:
    """The names that bleak and BlueZ give to the bits of a characteristic's properties."""
    names = [flag.name.replace("_", "-") for flag in GattCharacteristicsFlags if bits & flag.value]
    return cast(list[CharacteristicPropertyName], names)


def _cccd_of(characteristic: BleakGATTCharacteristic) -> BleakGATTDescriptor:
    descriptor = characteristic.get_descriptor(_CCCD)
    if descriptor is None:
        raise BleakError(f"{characteristic} has no client characteristic configuration")
    return descriptor


def _guarded(characteristic: BleakGATTCharacteristic, callback: NotifyCallback) -> Callable[[bytes], None]:
    """The callback, made unable to raise: Bumble would never confirm the indication, and the server would wait."""

    def deliver(value: bytes) -> None:
        try:
            callback(bytearray(value))
        except Exception:
            _logger.exception("notification callback of %s failed", characteristic)

    return deliver


@contextmanager
def _bleak_errors() -> Iterator[None]:
    """Turn what Bumble raises into what bleak's users expect."""
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        yield
    except att.ATT_Error as error:
        raise BleakGATTProtocolError(int(error.error_code)) from error
    except core.TimeoutError as error:
        raise TimeoutError("the device did not answer in time") from error
    except core.BaseBumbleError as error:
        raise BleakError(str(error)) from error
    except asyncio.CancelledError:
        # Bumble cancels what is pending at a disconnection; the caller's own cancellation must stay one.
        if task is None or task.cancelling():
            raise
        raise BleakError("disconnected") from None
    finally:
        # Bumble waits by `asyncio.wait_for`, which before Python 3.12 loses a cancellation that meets the answer.
        if task and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError

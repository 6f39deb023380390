"""What every simulated device has in common: its clock, its identity, its security and its life on the air.

A device runs on any powered-on Bumble `Device`: on the virtual air, or behind a real dongle.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from struct import unpack
from typing import Any, ClassVar, Final, TypeVar

from bumble import att, data_types, gatt
from bumble.core import UUID, AdvertisingData
from bumble.device import Connection, Device
from bumble.pairing import PairingConfig, PairingDelegate

from simulators import encode

_log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

DEVICE_INFORMATION: Final = 0x180A
BATTERY: Final = 0x180F
CURRENT_TIME: Final = 0x1805

DATA_FIELD_IGNORED: Final = 0x80  # Current Time Service: the write was not taken as it stands


class Security(Enum):
    """What a link must have before the device lets its health data be read, written or subscribed."""

    OPEN = "open"
    ENCRYPTED = "encrypted"  # Just Works is enough
    PASSKEY = "passkey"  # the six digits on the device's display


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """How a device is made: what it tells of itself, and how it behaves on the air.

    interval_ms: advertising interval (take 200 and more when hundreds advertise). sleeps: advertises only from a new
    measurement until a link has ended, as real meters and cuffs do. has_clock: the clock can be read and set.
    clock_refuses: it can be read, and refuses to be set. max_mtu: 23 as in most meters. passkey: never 0, on which
    Bumble hangs.
    """

    manufacturer: str = "Homeward Simulators"
    model: str = "SIM-1"
    serial: str = "0001"
    firmware: str = "1.0"
    security: Security = Security.OPEN
    passkey: int = 123456
    interval_ms: float = 20.0
    sleeps: bool = False
    has_clock: bool = True
    clock_refuses: bool = False
    max_mtu: int = 23


STANDARD: Final = Make()


class DeviceClock:
    """A device's own clock: naive wearer's time, wrong by `error`.

    now: gives the true wearer's time (naive). A client that sets the clock changes the error.
    """

    def __init__(self, now: Callable[[], datetime], error: timedelta = timedelta(0)) -> None:
        self._now = now
        self.error = error

    def read(self) -> datetime:
        """What the device believes the time is."""
        return self._now() + self.error

    def set(self, moment: datetime) -> None:
        """Make the device believe that it is `moment` now."""
        self.error = moment - self._now()


class _PasskeyDisplay(PairingDelegate):
    """A device with a display and no keys, which shows the same passkey every time."""

    def __init__(self, passkey: int) -> None:
        super().__init__(PairingDelegate.IoCapability.DISPLAY_OUTPUT_ONLY)
        self._passkey = passkey

    async def generate_passkey(self) -> int:
        return self._passkey


async def _demand(security: Security, bearer: att.Bearer) -> None:
    """Refuse a link that is not secure enough.

    Bumble calls every encrypted link authenticated, Just Works too, so the key itself is asked.
    """
    if security is Security.OPEN:
        return
    connection = bearer.connection if att.is_enhanced_bearer(bearer) else bearer
    if not connection.encryption:
        raise att.ATT_Error(att.ErrorCode.INSUFFICIENT_AUTHENTICATION)
    if security is Security.PASSKEY:
        store = connection.device.keystore
        keys = await store.get(str(connection.peer_address)) if store else None
        key = keys and (keys.ltk or keys.ltk_central or keys.ltk_peripheral)
        if not (key and key.authenticated):
            raise att.ATT_Error(att.ErrorCode.INSUFFICIENT_AUTHENTICATION)


class _Cccd(gatt.Descriptor):
    """A client configuration that demands the security of its characteristic, which Bumble's own does not."""

    def __init__(self, security: Security, value: att.AttributeValueV2[bytes]) -> None:
        super().__init__(
            gatt.GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR,
            att.Attribute.Permissions.READABLE | att.Attribute.Permissions.WRITEABLE,
            value,
        )
        self._security = security

    async def write_value(self, bearer: att.Bearer, value: bytes) -> None:
        await _demand(self._security, bearer)
        if len(value) != 2:
            raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)
        await super().write_value(bearer, value)


class Guarded(gatt.Characteristic[bytes]):
    """A characteristic that refuses what it does not offer, demands its security, and answers every request.

    Bumble checks none of this, and a handler that raises leaves the client waiting for 30 seconds.
    """

    def __init__(
        self,
        uuid: int | str,
        *,
        security: Security,
        read: Callable[[], bytes] | None,
        write: Callable[[Connection, bytes], None] | None,
        properties: gatt.Characteristic.Properties,
    ) -> None:
        readable_and_writeable = att.Attribute.Permissions.READABLE | att.Attribute.Permissions.WRITEABLE
        super().__init__(_uuid(uuid), properties, readable_and_writeable)
        self._security = security
        self._read = read
        self._write = write

    async def read_value(self, bearer: att.Bearer) -> bytes:
        """Answer a read. Raises ATT_Error 0x02 when there is nothing to read, 0x0E when the device is at fault."""
        if self._read is None:
            raise att.ATT_Error(att.ErrorCode.READ_NOT_PERMITTED)
        await _demand(self._security, bearer)
        return self._answer(self._read)

    async def write_value(self, bearer: att.Bearer, value: bytes) -> None:
        """Take a write. Raises ATT_Error 0x03 when nothing can be written, 0x0E when the device is at fault."""
        write = self._write
        if write is None:
            raise att.ATT_Error(att.ErrorCode.WRITE_NOT_PERMITTED)
        await _demand(self._security, bearer)
        connection = bearer.connection if att.is_enhanced_bearer(bearer) else bearer
        self._answer(lambda: write(connection, value))

    def _answer(self, handler: Callable[[], _Answer]) -> _Answer:
        try:
            return handler()
        except att.ATT_Error:
            raise
        except Exception as error:
            _log.exception("a handler of %s failed", self.uuid)
            raise att.ATT_Error(att.ErrorCode.UNLIKELY_ERROR) from error


class GattServer(ABC):
    """A device on the air: advertises its service, is read by one central at a time, and advertises again.

    Subclasses give `service_uuid` and `services()`. battery_pct and clock may be changed at any time.
    """

    service_uuid: ClassVar[int]

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD) -> None:
        self.device = device
        self.clock = clock
        self.make = make
        self.battery_pct = 100
        self.connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Build the attribute table and, unless the device sleeps, advertise. Call once."""
        self.device.gatt_server.max_mtu = self.make.max_mtu
        self.device.add_services([*self.services(), *self._own_services()])
        self.device.pairing_config_factory = lambda _connection: self._pairing()
        self.device.on(Device.EVENT_CONNECTION, self._on_connection)
        if not self.make.sleeps:
            await self._advertise()

    async def wake(self) -> None:
        """Advertise, as a device does that was switched on. Nothing happens when it is awake already."""
        if self.connection is None and not self.device.is_advertising:
            await self._advertise()

    @abstractmethod
    def services(self) -> list[gatt.Service]:
        """The health services of the device."""

    def characteristic(
        self,
        uuid: int | str,
        *,
        read: Callable[[], bytes] | None = None,
        write: Callable[[Connection, bytes], None] | None = None,
        notify: bool = False,
        indicate: bool = False,
        security: Security | None = None,
    ) -> Guarded:
        """A characteristic of this device, with the device's security unless another is given."""
        demanded = self.make.security if security is None else security
        offered = gatt.Characteristic.Properties
        properties = offered(0)
        for property_, offer in (
            (offered.READ, read),
            (offered.WRITE, write),
            (offered.NOTIFY, notify),
            (offered.INDICATE, indicate),
        ):
            properties |= property_ if offer else offered(0)
        made = Guarded(uuid, security=demanded, read=read, write=write, properties=properties)
        if notify or indicate:
            made.descriptors = [_Cccd(demanded, self.device.gatt_server.make_descriptor_value(made))]
        return made

    def date_time(self) -> list[Guarded]:
        """The clock as a Date Time (2A08) characteristic; none when the device has no clock to show."""
        if not self.make.has_clock:
            return []
        return [
            self.characteristic(0x2A08, read=lambda: encode.date_time(self.clock.read()), write=self._set_date_time)
        ]

    def subscribed(self, characteristic: Guarded) -> bool:
        """Whether the central wants this characteristic's notifications or indications."""
        return self.connection is not None and any(self.device.gatt_server.read_cccd(self.connection, characteristic))

    async def notify(self, characteristic: Guarded, value: bytes) -> None:
        """Notify the central if it wants it, and wait until the controller has sent it."""
        if (connection := self.connection) is not None:
            await self.device.gatt_server.notify_subscriber(connection, characteristic, value)
            if self.connection is connection:  # the central may have ended the link meanwhile
                await connection.drain()

    async def indicate(self, characteristic: Guarded, value: bytes) -> None:
        """Indicate to the central if it wants it, and wait for its confirmation."""
        if self.connection is not None:
            await self.device.gatt_server.indicate_subscriber(self.connection, characteristic, value)

    async def hang_up(self) -> None:
        """End the link, once everything that was sent before has gone out."""
        if (connection := self.connection) is not None:
            await connection.drain()
            if self.connection is connection:  # the central may have ended the link meanwhile
                await connection.disconnect()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do some work beside the request that asked for it; it is cancelled when the link ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _advertise(self) -> None:
        flags = AdvertisingData.Flags.LE_GENERAL_DISCOVERABLE_MODE | AdvertisingData.Flags.BR_EDR_NOT_SUPPORTED
        data = AdvertisingData(
            [
                data_types.Flags(flags),
                data_types.CompleteListOf16BitServiceUUIDs([UUID.from_16_bits(self.service_uuid)]),
                data_types.CompleteLocalName(self.device.name),
            ]
        )
        await self.device.start_advertising(
            auto_restart=not self.make.sleeps,
            advertising_data=bytes(data),
            advertising_interval_min=self.make.interval_ms,
            advertising_interval_max=self.make.interval_ms,
        )

    def _on_connection(self, connection: Connection) -> None:
        self.connection = connection
        connection.on(Connection.EVENT_DISCONNECTION, self._on_disconnection)

    def _on_disconnection(self, _reason: int) -> None:
        self.connection = None
        for task in self._tasks:
            task.cancel()

    def _pairing(self) -> PairingConfig:
        if self.make.security is Security.PASSKEY:
            return PairingConfig(mitm=True, delegate=_PasskeyDisplay(self.make.passkey))
        return PairingConfig(mitm=False)

    def _own_services(self) -> list[gatt.Service]:
        texts = {
            0x2A29: self.make.manufacturer,
            0x2A24: self.make.model,
            0x2A25: self.make.serial,
            0x2A26: self.make.firmware,
        }
        about = [self.characteristic(uuid, read=text.encode, security=Security.OPEN) for uuid, text in texts.items()]
        battery = self.characteristic(0x2A19, read=lambda: bytes((self.battery_pct,)), security=Security.OPEN)
        return [service(DEVICE_INFORMATION, about), service(BATTERY, [battery]), *self._current_time_service()]

    def _current_time_service(self) -> list[gatt.Service]:
        if not self.make.has_clock:
            return []
        clock = self.characteristic(
            0x2A2B, read=lambda: encode.current_time(self.clock.read()), write=self._set_current_time
        )
        return [service(CURRENT_TIME, [clock])]

    def _set_date_time(self, _connection: Connection, value: bytes) -> None:
        self._set_clock(parse_date_time(value, 7))

    def _set_current_time(self, _connection: Connection, value: bytes) -> None:
        self._set_clock(parse_date_time(value, 10))

    def _set_clock(self, moment: datetime) -> None:
        if self.make.clock_refuses:
            raise att.ATT_Error(DATA_FIELD_IGNORED)
        self.clock.set(moment)


def service(uuid: int | str, characteristics: list[Guarded]) -> gatt.Service:
    """A primary service; a maker's own has all 128 bits."""
    return gatt.Service(_uuid(uuid), characteristics)


def _uuid(uuid: int | str) -> UUID:
    return UUID.from_16_bits(uuid) if isinstance(uuid, int) else UUID(uuid)


def parse_date_time(value: bytes, length: int) -> datetime:
    """The Date Time at the start of what a client wrote.

    Raises ATT_Error 0x0D when the value is not `length` octets long, 0xFF when it is no date.
    """
    if len(value) != length:
        raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)
    try:
        return datetime(*unpack("<H5B", value[:7]))  # noqa: DTZ001 (wearer's time has no zone)
    except ValueError as error:
        raise att.ATT_Error(att.ErrorCode.OUT_OF_RANGE) from error

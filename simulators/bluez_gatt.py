"""GATT servers as bluetoothd shows them on the bus: GattService1, GattCharacteristic1 and GattDescriptor1.

Source: BlueZ 5.66 src/gatt-client.c. The texts of errors matter: bleak tells ATT errors apart by comparing them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from bumble import gatt_client
from bumble.core import UUID
from dbus_fast import DBusError, Message, Variant

from simulators.bleak_backend import normalized, property_names
from simulators.dbus_objects import Method, ObjectTree, Reply

_T = TypeVar("_T")
_ERROR: Final = "org.bluez.Error."
_SERVICE: Final = "org.bluez.GattService1"
_CHARACTERISTIC: Final = "org.bluez.GattCharacteristic1"
_DESCRIPTOR: Final = "org.bluez.GattDescriptor1"
_GENERIC_ACCESS: Final = UUID.from_16_bits(0x1800)  # bluetoothd keeps it to itself
_CCCD: Final = UUID.from_16_bits(0x2902)
_OFF, _NOTIFY, _INDICATE = b"\x00\x00", b"\x01\x00", b"\x02\x00"


def failed(text: str) -> DBusError:
    """org.bluez.Error.Failed with this text."""
    return DBusError(_ERROR + "Failed", text)


def att_failure(code: int) -> DBusError:
    """What bluetoothd answers when the device refuses a request (create_gatt_dbus_error)."""
    match code:
        case 0x02:
            return DBusError(_ERROR + "NotPermitted", "Read not permitted")
        case 0x03:
            return DBusError(_ERROR + "NotPermitted", "Write not permitted")
        case 0x05 | 0x0C | 0x0F:
            return DBusError(_ERROR + "NotPermitted", "Not paired")
        case 0x06:
            return DBusError(_ERROR + "NotSupported", "Operation is not supported")
        case 0x07:
            return DBusError(_ERROR + "InvalidArguments", "Invalid offset")
        case 0x08:
            return DBusError(_ERROR + "NotAuthorized", "Operation Not Authorized")
        case 0x0D:
            return DBusError(_ERROR + "InvalidArguments", "Invalid Length")
        case _:
            return failed(f"Operation failed with ATT error: 0x{code:02x}")


class Link(Protocol):
    """The connection that the objects of one device share."""

    async def request(self, operation: Callable[[gatt_client.Client], Awaitable[_T]]) -> _T:
        """Do an ATT operation, securing the link if the device demands it. Raises DBusError."""

    @property
    def gatt(self) -> gatt_client.Client | None:
        """The client of the present connection, None without one."""


class Server:
    """What has been discovered of one device. The objects outlive a connection, as bluetoothd's cache does."""

    def __init__(self, tree: ObjectTree, device: str, link: Link) -> None:
        self._tree = tree
        self._device = device
        self._link = link
        self._characteristics: dict[str, _Characteristic] = {}

    async def discover(self, client: gatt_client.Client) -> list[str]:
        """Ask the device for everything it offers and show it. Gives the UUIDs of its services."""
        client.services.clear()
        await client.discover_services()
        shown: set[str] = set()
        for service in client.services:
            if service.uuid != _GENERIC_ACCESS:
                await self._show_service(client, service, shown)
        for path in self._tree.below(self._device):
            if path not in shown:
                self._characteristics.pop(path, None)
                self._tree.remove(path)
        for characteristic in self._characteristics.values():
            await characteristic.resume()
        return [normalized(service.uuid) for service in client.services]

    def disconnected(self) -> None:
        """Tell that nothing notifies any more. Who wanted notifications gets them again on the next connection."""
        for characteristic in self._characteristics.values():
            characteristic.pause()

    async def left(self, sender: str) -> None:
        """Stop what somebody wanted who has left the bus."""
        for characteristic in list(self._characteristics.values()):
            await characteristic.left(sender)

    def close(self) -> None:
        """Give back the sockets of AcquireNotify."""
        for characteristic in self._characteristics.values():
            characteristic.close()

    async def _show_service(
        self, client: gatt_client.Client, service: gatt_client.ServiceProxy, shown: set[str]
    ) -> None:
        path = f"{self._device}/service{service.handle:04x}"
        properties = {
            "UUID": Variant("s", normalized(service.uuid)),
            "Device": Variant("o", self._device),
            "Primary": Variant("b", True),
            "Includes": Variant("ao", []),
        }
        self._show(path, _SERVICE, properties, {}, shown)
        for proxy in await client.discover_characteristics((), service):
            await client.discover_descriptors(proxy)
            characteristic = _Characteristic(self._tree, path, proxy, self._link)
            if self._show(
                characteristic.path, _CHARACTERISTIC, characteristic.properties(), characteristic.methods, shown
            ):
                self._characteristics[characteristic.path] = characteristic
            else:
                self._characteristics[characteristic.path].proxy = proxy
            for descriptor in proxy.descriptors:
                self._show_descriptor(characteristic.path, descriptor, shown)

    def _show_descriptor(self, characteristic: str, descriptor: gatt_client.DescriptorProxy, shown: set[str]) -> None:
        handle = descriptor.handle

        async def read(_call: Message) -> Reply:
            value = await self._link.request(lambda client: client.read_value(handle))
            return Reply("ay", [bytes(value)])

        async def write(call: Message) -> None:
            if descriptor.type == _CCCD:
                raise att_failure(0x03)  # StartNotify is the way
            value = bytes(call.body[0])
            await self._link.request(lambda client: client.write_value(handle, value, with_response=True))

        properties = {
            "UUID": Variant("s", normalized(descriptor.type)),
            "Characteristic": Variant("o", characteristic),
            "Value": Variant("ay", b""),
        }
        path = f"{characteristic}/desc{handle:04x}"
        self._show(path, _DESCRIPTOR, properties, {"ReadValue": read, "WriteValue": write}, shown)

    def _show(
        self, path: str, interface: str, properties: dict[str, Variant], methods: dict[str, Method], shown: set[str]
    ) -> bool:
        """Whether the object is new; one with the same handle and UUID is the same as before."""
        shown.add(path)
        if path in self._tree:
            if self._tree.get(path, interface, "UUID") == properties["UUID"].value:
                return False
            self._tree.remove(path)
        self._tree.add(path, interface, properties, methods)
        return True


class _Characteristic:
    def __init__(
        self, tree: ObjectTree, service: str, proxy: gatt_client.CharacteristicProxy[bytes], link: Link
    ) -> None:
        # The handle of the declaration, one before that of the value.
        self.path = f"{service}/char{proxy.handle - 1:04x}"
        self.proxy = proxy
        self.methods: dict[str, Method] = {
            "ReadValue": self._read,
            "WriteValue": self._write,
            "StartNotify": self._start_notify,
            "StopNotify": self._stop_notify,
            "AcquireNotify": self._acquire_notify,
        }
        self._tree = tree
        self._service = service
        self._link = link
        self._flags = property_names(int(proxy.properties))
        self._senders: set[str] = set()
        self._acquired: socket.socket | None = None
        self._writing = False
        self._subscribing = asyncio.Lock()

    def properties(self) -> dict[str, Variant]:
        shown = {
            "UUID": Variant("s", normalized(self.proxy.uuid)),
            "Service": Variant("o", self._service),
            "Value": Variant("ay", b""),
            "Flags": Variant("as", list(self._flags)),
            "MTU": Variant("q", self.proxy.client.mtu),
        }
        if self._subscription is not None:
            shown["Notifying"] = Variant("b", False)
        if "notify" in self._flags:
            shown["NotifyAcquired"] = Variant("b", False)
        return shown

    async def resume(self) -> None:
        if self._senders or self._acquired:
            await self._subscribe()

    def pause(self) -> None:
        self.close()
        if self._subscription is not None and self._tree.get(self.path, _CHARACTERISTIC, "Notifying"):
            self._tell("Notifying", Variant("b", False))

    async def left(self, sender: str) -> None:
        if sender in self._senders:
            self._senders.discard(sender)
            await self._unsubscribe_if_unwanted()

    def close(self) -> None:
        if self._acquired is not None:
            asyncio.get_running_loop().remove_reader(self._acquired)
            self._acquired.close()
            self._acquired = None
            self._tell("NotifyAcquired", Variant("b", False))

    @property
    def _subscription(self) -> bytes | None:
        if "notify" in self._flags:
            return _NOTIFY
        return _INDICATE if "indicate" in self._flags else None

    async def _read(self, _call: Message) -> Reply:
        value = await self._link.request(lambda client: client.read_value(self.proxy.handle))
        self._tell("Value", Variant("ay", bytes(value)))  # so that a subscriber hears it twice, as on BlueZ
        return Reply("ay", [bytes(value)])

    async def _write(self, call: Message) -> None:
        value, options = bytes(call.body[0]), call.body[1]
        with_response = "type" not in options or options["type"].value != "command"
        if ("write" if with_response else "write-without-response") not in self._flags:
            raise att_failure(0x06)
        if self._writing:
            raise DBusError(_ERROR + "InProgress", "In Progress")
        self._writing = True
        try:
            await self._link.request(
                lambda client: client.write_value(self.proxy.handle, value, with_response=with_response)
            )
        finally:
            self._writing = False

    async def _start_notify(self, call: Message) -> None:
        sender = call.sender or ""
        if self._subscription is None:
            raise att_failure(0x06)
        if self._acquired is not None:
            raise DBusError(_ERROR + "NotPermitted", "Notify acquired")
        if sender in self._senders:
            return  # as bluetoothd 5.66 does; it says nothing
        self._senders.add(sender)
        try:
            await self._subscribe()
        except BaseException:
            self._senders.discard(sender)
            raise

    async def _stop_notify(self, call: Message) -> None:
        if call.sender not in self._senders:
            raise failed("No notify session started")
        await self.left(call.sender)

    async def _acquire_notify(self, _call: Message) -> Reply:
        if "notify" not in self._flags:
            raise att_failure(0x06)
        if self._acquired is not None or self._senders:
            raise DBusError(_ERROR + "NotPermitted", "Notify acquired")
        self._acquired, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._acquired.setblocking(False)
        try:
            await self._subscribe()
        except BaseException:
            theirs.close()
            self.close()
            raise
        asyncio.get_running_loop().add_reader(self._acquired, self._hung_up)
        self._tell("NotifyAcquired", Variant("b", True))
        return Reply("hq", [0, self.proxy.client.mtu], [theirs.detach()])

    def _hung_up(self) -> None:
        self.close()
        self._tree.spawn(self._unsubscribe_if_unwanted())

    async def _subscribe(self) -> None:
        async with self._subscribing:
            client, value = self._link.gatt, self._subscription
            if client is None or value is None or self._tree.get(self.path, _CHARACTERISTIC, "Notifying"):
                return
            subscribers = client.notification_subscribers if value == _NOTIFY else client.indication_subscribers
            # Before the write: a notification may come ahead of its response.
            subscribers[self.proxy.handle] = {self._heard}
            try:
                await self._write_cccd(value)
            except BaseException:
                subscribers.pop(self.proxy.handle, None)
                raise
            self._tell("Notifying", Variant("b", True))

    async def _unsubscribe_if_unwanted(self) -> None:
        async with self._subscribing:
            client = self._link.gatt
            if self._senders or self._acquired or client is None:
                return
            self._tell("Notifying", Variant("b", False))
            try:
                await self._write_cccd(_OFF)
            except DBusError:
                return  # the link has ended meanwhile, or the device insists
            client.notification_subscribers.pop(self.proxy.handle, None)
            client.indication_subscribers.pop(self.proxy.handle, None)

    async def _write_cccd(self, value: bytes) -> None:
        cccd = self.proxy.get_descriptor(_CCCD)
        if cccd is None:
            raise att_failure(0x06)
        await self._link.request(lambda client: client.write_value(cccd.handle, value, with_response=True))

    def _heard(self, value: bytes) -> None:
        if self._acquired is None:
            self._tell("Value", Variant("ay", bytes(value)))
            return
        with suppress(OSError):  # full or closed: bluetoothd drops the value too
            self._acquired.send(value)

    def _tell(self, name: str, value: Variant) -> None:
        if self.path in self._tree:
            self._tree.change(self.path, _CHARACTERISTIC, {name: value})

"""org.bluez without Bluetooth: bluetoothd's objects on a bus of one's own, over the virtual air.

bleak's own BlueZ backend, unmodified, runs against it as in a patient's home: D-Bus, agent, the names and texts of
errors. Below it are the octets of the virtual radio, as they are with `bleak_backend`.

    with private_bus("/usr/bin/dbus-daemon") as address:
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address
        async with Air() as air, FakeBluez(air, address) as bluez: ...

Source: BlueZ 5.66, src/adapter.c, where nothing else is said.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

from bumble import hci
from bumble.device import Advertisement, Connection
from bumble.keys import KeyStore
from bumble.pairing import PairingConfig
from dbus_fast import DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from simulators.air import Air
from simulators.bleak_backend import CENTRAL_ADDRESS, Central, advertisement_data
from simulators.bluez_agent import AgentManager
from simulators.bluez_device import Adapter, RemoteDevice
from simulators.bluez_gatt import failed
from simulators.dbus_objects import ObjectTree, connected_bus

_ERROR: Final = "org.bluez.Error."
_PATH: Final = "/org/bluez/hci0"
_ADAPTER: Final = "org.bluez.Adapter1"
_SOMEBODY_LEFT: Final = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''"
_ANY: Final[frozenset[str]] = frozenset()


class FakeBluez:
    """bluetoothd with one adapter. Use it as an asynchronous context manager: the adapter is plugged in and on.

    address: of a bus where the name org.bluez is free. central: the adapter's radio, None while it is pulled out.
    """

    def __init__(self, air: Air, address: str) -> None:
        self._air = air
        self._address = address
        self._bus: MessageBus
        self._tree: ObjectTree
        self._agents: AgentManager
        self.central: Central | None = None
        self._adapter: Adapter
        self._devices: dict[str, RemoteDevice] = {}
        self._filters: dict[str, frozenset[str]] = {}  # who set one: the services wanted, none for any
        self._discovering: set[str] = set()
        self._bonds: KeyStore | None = None

    async def plug_in(self) -> None:
        """Put the adapter into its socket. Its bonds are those it had before."""
        self.central = central = await Central.open(self._air, name="hci0", address=CENTRAL_ADDRESS)
        if self._bonds is not None:
            central.device.keystore = self._bonds
        self._bonds = central.device.keystore
        central.device.pairing_config_factory = self._pairing_config
        self._adapter = Adapter(_PATH, central, self._tree, self._agents, self._forget)
        properties = {
            "Address": Variant("s", CENTRAL_ADDRESS),
            "AddressType": Variant("s", "random"),
            "Name": Variant("s", "hci0"),
            "Alias": Variant("s", "hci0"),
            "Powered": Variant("b", True),
            "Discoverable": Variant("b", False),
            "Pairable": Variant("b", True),
            "Discovering": Variant("b", False),
            "Roles": Variant("as", ["central"]),
            "UUIDs": Variant("as", []),
        }
        methods = {
            "SetDiscoveryFilter": self._set_discovery_filter,
            "StartDiscovery": self._start_discovery,
            "StopDiscovery": self._stop_discovery,
            "RemoveDevice": self._remove_device,
        }
        self._tree.add(_PATH, _ADAPTER, properties, methods, {"Powered": self.power})
        if self._bonds is not None:
            for peer, _keys in await self._bonds.get_all():
                self._add(hci.Address(peer), paired=True)

    async def unplug(self) -> None:
        """Pull the adapter out. Its objects vanish; the devices hear no more of it."""
        central, self.central = self.central, None
        if central is None:
            return
        self._filters.clear()
        self._discovering.clear()
        for device in list(self._devices.values()):
            self._forget(device)
        self._tree.remove(_PATH)
        await self._air.remove(central.device)

    async def power(self, on: bool) -> None:
        """Switch the adapter's radio on or off, as `bluetoothctl power` and rfkill do."""
        if not on:
            self._discovering.clear()
            self._filters.clear()
            await self._follow_discovery()
            for device in self._devices.values():
                await device.drop()
        self._tree.change(_PATH, _ADAPTER, {"Powered": Variant("b", on)})

    def heard(self, advertisement: Advertisement) -> None:
        """Take an advertisement from the radio."""
        address = advertisement.address.to_string(with_type_qualifier=False)
        device = self._devices.get(address)
        if device is not None and not device.due:
            return
        data = advertisement_data(advertisement)
        if device is None:
            if not self._wanted(data.service_uuids):
                return
            device = self._add(advertisement.address, paired=False, name=data.local_name)
        device.advertised(data)

    async def __aenter__(self) -> Self:
        self._bus = await connected_bus(self._address)
        self._tree = ObjectTree(self._bus)
        self._agents = AgentManager(self._tree)
        await self._bus.call(_to_bus("AddMatch", _SOMEBODY_LEFT))
        self._bus.add_message_handler(self._on_signal)
        await self.plug_in()
        await self._bus.request_name("org.bluez")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tree.close()
        await self.unplug()
        self._bus.disconnect()
        await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    # Methods of Adapter1

    async def _set_discovery_filter(self, call: Message) -> None:
        self._demand_power()
        wanted = call.body[0].get("UUIDs")
        self._filters[call.sender or ""] = frozenset(uuid.lower() for uuid in wanted.value) if wanted else _ANY

    async def _start_discovery(self, call: Message) -> None:
        self._demand_power()
        sender = call.sender or ""
        if sender in self._discovering:
            raise DBusError(_ERROR + "InProgress", "Operation already in progress")
        self._discovering.add(sender)
        await self._follow_discovery()

    async def _stop_discovery(self, call: Message) -> None:
        self._demand_power()
        if call.sender not in self._discovering:
            raise failed("No discovery started")
        self._discovering.discard(call.sender)
        await self._follow_discovery()

    async def _remove_device(self, call: Message) -> None:
        device = next((device for device in self._devices.values() if device.path == call.body[0]), None)
        if device is None:
            raise DBusError(_ERROR + "DoesNotExist", "Does Not Exist")
        self._demand_power()
        await device.drop()
        if self._bonds is not None and await self._bonds.get(device.address) is not None:
            await self._bonds.delete(device.address)
        self._forget(device)

    def _demand_power(self) -> None:
        if not self._tree.get(_PATH, _ADAPTER, "Powered"):
            raise DBusError(_ERROR + "NotReady", "Resource Not Ready")

    # Discovery

    async def _follow_discovery(self) -> None:
        """Scan while anybody wants it."""
        central = self.central
        if central is None:
            return
        wanted = bool(self._discovering)
        was = self._tree.get(_PATH, _ADAPTER, "Discovering")
        if wanted and not was:
            self._tree.change(_PATH, _ADAPTER, {"Discovering": Variant("b", True)})
            await central.start_scan(self, active=True)
        elif was and not wanted:
            self._tree.change(_PATH, _ADAPTER, {"Discovering": Variant("b", False)})
            await central.stop_scan(self)
            for device in self._devices.values():
                device.out_of_sight()

    def _wanted(self, uuids: list[str]) -> bool:
        filters = [self._filters.get(sender, _ANY) for sender in self._discovering]
        return any(not wanted or wanted.intersection(uuids) for wanted in filters)

    # Devices

    def _add(self, address: hci.Address, *, paired: bool, name: str | None = None) -> RemoteDevice:
        device = RemoteDevice(self._adapter, address, paired=paired, name=name)
        self._devices[device.address] = device
        return device

    def _forget(self, device: RemoteDevice) -> None:
        self._devices.pop(device.address, None)
        device.remove()

    def _pairing_config(self, link: Connection) -> PairingConfig:
        device = self._devices.get(link.peer_address.to_string(with_type_qualifier=False))
        return device.pairing_config() if device else PairingConfig(mitm=False)

    def _on_signal(self, message: Message) -> bool:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            self._tree.spawn(self._left(message.body[0]))
        return False

    async def _left(self, name: str) -> None:
        self._agents.left(name)
        self._filters.pop(name, None)
        if name in self._discovering:
            self._discovering.discard(name)
            await self._follow_discovery()
        await asyncio.gather(*(device.left(name) for device in self._devices.values()))


def _to_bus(member: str, argument: Any) -> Message:
    return Message(
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member=member,
        signature="s",
        body=[argument],
    )

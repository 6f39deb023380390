"""A device as bluetoothd shows it on the bus: Device1, its connection, its bond.

Source: BlueZ 5.66 src/device.c for errors and their texts, net/bluetooth of Linux 6.1 for what the kernel does alone.
One thing is quicker here: bluetoothd waits two seconds before it ends a connection that it is asked to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from bleak.backends.scanner import AdvertisementData
from bumble import att, core, gatt_client, hci
from bumble.device import Connection
from bumble.pairing import PairingConfig
from dbus_fast import DBusError, Message, Variant

from simulators.bleak_backend import Central
from simulators.bluez_agent import AgentManager, AskingDelegate, pairing_config
from simulators.bluez_gatt import Server, att_failure, failed
from simulators.dbus_objects import ObjectTree

_T = TypeVar("_T")
_ERROR: Final = "org.bluez.Error."
DEVICE: Final = "org.bluez.Device1"
_CONNECT_LIMIT_S: Final = 20.0  # HCI_LE_CONN_TIMEOUT of the kernel
_TEMPORARY_S: Final = 30.0  # TemporaryTimeout of bluetoothd's main.conf
_RETELL_S: Final = 0.25
_MTU: Final = 517
_NEEDS_SECURITY: Final = frozenset((0x05, 0x0F))  # insufficient authentication, insufficient encryption
_LINK_ENDED: Final = 0x0E  # what is pending when the link ends is answered as an unlikely error


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a device needs of the adapter it is seen by. forget: called when the device is gone for good."""

    path: str
    central: Central
    tree: ObjectTree
    agents: AgentManager
    forget: Callable[[RemoteDevice], None]


class RemoteDevice:
    """One device that was seen or is paired."""

    def __init__(self, adapter: Adapter, address: hci.Address, *, paired: bool, name: str | None = None) -> None:
        self.address = address.to_string(with_type_qualifier=False)
        self.path = f"{adapter.path}/dev_{self.address.replace(':', '_')}"
        self._adapter = adapter
        self._tree = adapter.tree
        self._hci_address = address
        self._server = Server(self._tree, self.path, self)
        self._link: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._securing: asyncio.Task[None] | None = None
        self._delegate: AskingDelegate | None = None
        self._bonder: str | None = None  # who has called Pair and waits
        self._cancelled = False
        self._told_at = float("-inf")
        self._temporary = not paired
        self._expiry: asyncio.TimerHandle | None = None
        self._add(paired, name)

    def _add(self, paired: bool, name: str | None) -> None:
        properties = {
            "Address": Variant("s", self.address),
            "AddressType": Variant("s", "public" if self._hci_address.is_public else "random"),
            **({"Name": Variant("s", name)} if name else {}),
            "Alias": Variant("s", name or self.address.replace(":", "-")),
            "Adapter": Variant("o", self._adapter.path),
            "Paired": Variant("b", paired),
            "Bonded": Variant("b", paired),
            "Trusted": Variant("b", False),
            "Blocked": Variant("b", False),
            "LegacyPairing": Variant("b", False),
            "Connected": Variant("b", False),
            "ServicesResolved": Variant("b", False),
            "UUIDs": Variant("as", []),
        }
        methods = {
            "Connect": self._connect,
            "Disconnect": self._disconnect,
            "Pair": self._pair,
            "CancelPairing": self._cancel_pairing,
        }
        self._tree.add(self.path, DEVICE, properties, methods, {"Trusted": self._set_trusted})

    # What the adapter tells the device

    @property
    def due(self) -> bool:
        """Whether an advertisement is worth telling of.

        The kernel filters repetitions; what passes is the noise of the signal strength, for which a few times a
        second stand in.
        """
        return asyncio.get_running_loop().time() - self._told_at >= _RETELL_S

    def advertised(self, data: AdvertisementData) -> None:
        """Tell of an advertisement."""
        self._told_at = asyncio.get_running_loop().time()
        self._postpone_expiry()
        changed = {"RSSI": Variant("n", data.rssi)}
        if data.local_name:
            changed |= {"Name": Variant("s", data.local_name), "Alias": Variant("s", data.local_name)}
        if data.service_uuids and not self._tree.get(self.path, DEVICE, "ServicesResolved"):
            known = self._tree.get(self.path, DEVICE, "UUIDs")
            changed["UUIDs"] = Variant("as", list(dict.fromkeys([*known, *data.service_uuids])))
        if data.manufacturer_data:
            manufacturers = {company: Variant("ay", value) for company, value in data.manufacturer_data.items()}
            changed["ManufacturerData"] = Variant("a{qv}", manufacturers)
        if data.service_data:
            changed["ServiceData"] = Variant(
                "a{sv}", {uuid: Variant("ay", value) for uuid, value in data.service_data.items()}
            )
        if data.tx_power is not None:
            changed["TxPower"] = Variant("n", data.tx_power)
        self._change(**changed)

    def out_of_sight(self) -> None:
        """The discovery has ended, and with it all knowledge of the signal."""
        self._told_at = float("-inf")
        self._tree.change(self.path, DEVICE, {}, ("RSSI", "TxPower"))

    async def left(self, sender: str) -> None:
        """Give up what somebody wanted who has left the bus."""
        if sender == self._bonder:
            self._give_up_pairing()
        await self._server.left(sender)

    async def drop(self) -> None:
        """End the connection, or the attempt to make one."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            with suppress(core.BaseBumbleError):  # it is going away by itself
                await self._link.disconnect()

    def remove(self) -> None:
        """Vanish from the bus. Nothing says that the connection has ended: on BlueZ the objects just go."""
        if self._expiry is not None:
            self._expiry.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._server.close()
        self._tree.remove(self.path)

    def pairing_config(self) -> PairingConfig:
        """How the pairing that is under way is to be done."""
        return pairing_config(self._delegate)

    # Methods of Device1

    async def _connect(self, _call: Message) -> None:
        if self._link is None:
            await self._establish()

    async def _disconnect(self, _call: Message) -> None:
        await self.drop()

    async def _pair(self, call: Message) -> None:
        if self._bonder is not None:
            raise DBusError(_ERROR + "InProgress", "In Progress")
        if self._tree.get(self.path, DEVICE, "Paired"):
            raise DBusError(_ERROR + "AlreadyExists", "Already Exists")
        self._bonder, self._cancelled = call.sender, False
        try:
            if self._link is None:
                try:
                    await self._establish()
                except DBusError as error:
                    raise DBusError(_ERROR + "ConnectionAttemptFailed", "Page Timeout") from error
            await self._secure()
        finally:
            self._bonder = None

    async def _cancel_pairing(self, _call: Message) -> None:
        if self._bonder is None:
            raise DBusError(_ERROR + "DoesNotExist", "Does Not Exist")
        self._give_up_pairing()

    async def _set_trusted(self, trusted: bool) -> None:
        self._change(Trusted=Variant("b", trusted))

    # The connection

    @property
    def gatt(self) -> gatt_client.Client | None:
        """The GATT client of the present connection, None without one."""
        return self._link.gatt_client if self._link else None

    async def request(self, operation: Callable[[gatt_client.Client], Awaitable[_T]]) -> _T:
        """Do an ATT operation; if the device demands security, secure the link and do it once more."""
        client = self.gatt
        if client is None:
            raise failed("Not connected")
        try:
            try:
                return await operation(client)
            except att.ATT_Error as error:
                if int(error.error_code) not in _NEEDS_SECURITY:
                    raise
                try:
                    await self._secure()
                except DBusError:
                    raise error from None
                return await operation(client)
        except att.ATT_Error as error:
            raise att_failure(int(error.error_code)) from error
        except core.BaseBumbleError as error:
            raise att_failure(_LINK_ENDED) from error
        except asyncio.CancelledError:
            _raise_own_cancellation()
            raise att_failure(_LINK_ENDED) from None

    async def _establish(self) -> None:
        if self._connecting is not None:
            raise failed("Operation already in progress")
        self._temporary = False
        self._postpone_expiry()
        attempt = asyncio.create_task(self._adapter.central.connect(self._hci_address, _CONNECT_LIMIT_S))
        self._connecting = attempt
        try:
            link = await attempt
        except core.BaseBumbleError as error:
            raise failed("le-connection-abort-by-local") from error
        except asyncio.CancelledError:
            attempt.cancel()
            _raise_own_cancellation()
            raise failed("br-connection-canceled") from None
        finally:
            self._connecting = None
        self._link = link
        link.on(link.EVENT_DISCONNECTION, self._on_disconnection)
        link.on(link.EVENT_SECURITY_REQUEST, lambda _wanted: self._tree.spawn(self._obey_security_request()))
        self._change(Connected=Variant("b", True))
        self._tree.spawn(self._resolve(link))

    async def _resolve(self, link: Connection) -> None:
        """Secure the link if there is a bond, and look at what the device offers."""
        try:
            if self._tree.get(self.path, DEVICE, "Paired"):
                await link.encrypt()
            await link.gatt_client.request_mtu(_MTU)
            uuids = await self._server.discover(link.gatt_client)
        except hci.HCI_Error:
            # The device has lost the bond. The kernel does not pair again by itself: it hangs up.
            await self.drop()
        except (core.BaseBumbleError, DBusError):
            await self.drop()
        except asyncio.CancelledError:
            _raise_own_cancellation()
        else:
            self._change(UUIDs=Variant("as", uuids))
            self._change(ServicesResolved=Variant("b", True))

    def _on_disconnection(self, _reason: int) -> None:
        self._link = None
        if self.path not in self._tree:
            return
        self._server.disconnected()
        if self._tree.get(self.path, DEVICE, "ServicesResolved"):
            self._change(ServicesResolved=Variant("b", False))
        self._change(Connected=Variant("b", False))
        self._told_at = float("-inf")

    # The bond

    async def _secure(self) -> None:
        """Pair, or wait for the pairing that is under way."""
        if self._securing is None or self._securing.done():
            self._securing = asyncio.create_task(self._pair_now())
        await asyncio.shield(self._securing)

    async def _pair_now(self) -> None:
        link = self._link
        if link is None:
            raise failed("Not connected")
        agent = self._adapter.agents.of(self._bonder)
        if agent is None:  # even a pairing that asks nothing of a person is refused then: new_auth of src/device.c
            raise DBusError(_ERROR + "AuthenticationFailed", "Authentication Failed")
        self._delegate = AskingDelegate(agent, self.path, wanted=self._bonder is not None)
        try:
            await link.pair()
        except core.BaseBumbleError as error:
            if self._cancelled:
                raise DBusError(_ERROR + "AuthenticationCanceled", "Authentication Canceled") from error
            raise DBusError(_ERROR + "AuthenticationFailed", "Authentication Failed") from error
        except asyncio.CancelledError:
            _raise_own_cancellation()
            raise DBusError(_ERROR + "AuthenticationCanceled", "Authentication Canceled") from None
        finally:
            self._delegate = None
        self._change(Paired=Variant("b", True), Bonded=Variant("b", True))

    async def _obey_security_request(self) -> None:
        """Do what the kernel does when the device asks for a secure link."""
        link = self._link
        if link is None or link.encryption or (self._securing and not self._securing.done()):
            return
        with suppress(DBusError, core.BaseBumbleError):
            if self._tree.get(self.path, DEVICE, "Paired"):
                await link.encrypt()
            else:
                await self._secure()

    def _give_up_pairing(self) -> None:
        self._cancelled = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._delegate is not None:
            self._delegate.cancel()

    # The object

    def _change(self, **changed: Variant) -> None:
        if self.path in self._tree:
            self._tree.change(self.path, DEVICE, changed)

    def _postpone_expiry(self) -> None:
        """A device that nobody has connected or paired is forgotten a while after it was last heard."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self._temporary:
            self._expiry = asyncio.get_running_loop().call_later(_TEMPORARY_S, self._adapter.forget, self)


def _raise_own_cancellation() -> None:
    """Bumble cancels what is pending when a link ends; the cancellation of this very task must stay one."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise asyncio.CancelledError

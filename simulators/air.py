"""The virtual air: Bumble controllers on one link, without a radio.

Every device on the air is a whole Bumble host over a virtual controller, so what passes between two of them is HCI,
L2CAP, SMP, ATT and GATT, octet for octet. Only the radio is missing: no loss, no distance, no encryption of the air
itself (long-term keys are compared), and no scan response of its own (advertising data is repeated as one).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from bumble import hci, ll
from bumble.controller import Controller
from bumble.core import PhysicalTransport
from bumble.device import Device
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink


class VLink(LocalLink):
    """Bumble's link, made right for public addresses and fast for hundreds of devices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._by_address: dict[hci.Address, Controller] = {}
        self._listening: set[Controller] = set()

    def add_controller(self, controller: Controller) -> None:
        """Put a controller on the link, to be found by its public address and by each random one it takes."""
        super().add_controller(controller)
        self._by_address[controller.public_address] = controller

    def remove_controller(self, controller: Controller) -> None:
        """Take a controller off the link."""
        super().remove_controller(controller)
        self._listening.discard(controller)
        self._by_address = {address: owner for address, owner in self._by_address.items() if owner is not controller}

    def on_address_changed(self, controller: Controller) -> None:
        """Follow a controller to its new random address."""
        self._by_address[controller.random_address] = controller

    def find_le_controller(self, address: hci.Address) -> Controller | None:
        """The controller that has this address, without the search of the original through all connections."""
        return self._by_address.get(address)

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        """Carry data to the peer under the address that the connection was made with.

        The original always gives the sender's random address: a host with a public address is never heard.
        """
        connection = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if connection is not None and receiver is not None:
            loop = asyncio.get_running_loop()
            loop.call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)

    def listen(self, controller: Controller, listening: bool) -> None:
        """Note whether a controller scans or waits for an advertiser."""
        (self._listening.add if listening else self._listening.discard)(controller)

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """Carry a connection request to its advertiser, and anything else to those who listen.

        The original gives every packet to every controller, which is N squared for N advertisers.
        """
        if isinstance(packet, ll.ConnectInd):
            advertiser = self.find_le_controller(packet.advertiser_address)
            receivers = {advertiser} if advertiser is not None else set()
        else:
            receivers = self._listening - {sender_controller}
        loop = asyncio.get_running_loop()
        for receiver in receivers:
            loop.call_soon(receiver.on_ll_advertising_pdu, packet)


class VController(Controller):
    """Bumble's virtual controller, made to cancel a connection, to say when it listens, and to vanish."""

    def __init__(self, name: str, link: VLink, public_address: hci.Address | None = None) -> None:
        super().__init__(name, link=link, public_address=public_address)
        self._air = link
        self._vanished = False

    def on_hci_command_packet(self, command: hci.HCI_Command) -> None:
        """Obey the host, then tell the link whether advertisements are wanted from now on."""
        super().on_hci_command_packet(command)
        self._air.listen(self, self.le_scan_enable or self.pending_le_connection is not None)

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """End the pending connection as Vol 4, Part E, 7.8.13 asks: LE Connection Complete, status 0x02.

        The original only answers with success; the host then waits for ever and may not connect again.
        """
        if self.pending_le_connection is not None:
            peer = self.pending_le_connection.peer_address
            self.pending_le_connection = None
            cancelled = hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=peer.address_type,
                peer_address=peer,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            )
            asyncio.get_running_loop().call_soon(self.send_hci_packet, cancelled)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def send_advertising_pdu(self, packet: ll.AdvertisingPdu) -> None:
        """Advertise, unless vanished: then stop whatever the host, knowing nothing of it, has started again."""
        if not self._vanished:
            super().send_advertising_pdu(packet)
            return
        for advertising_set in self.advertising_sets.values():
            advertising_set.stop()

    def vanish(self) -> None:
        """Fall silent, as out of reach or with a dead battery: each connection ends by its supervision timeout."""
        self._vanished = True
        for connection in list(self.le_connections.values()):
            connection.send_ll_control_pdu(ll.TerminateInd(hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR))
            self.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)


class Air:
    """One virtual air. Use it as an asynchronous context manager: leaving it silences every device."""

    def __init__(self) -> None:
        self._link = VLink()
        self._controllers: dict[Device, VController] = {}

    async def device(self, name: str, address: str) -> Device:
        """Put a powered-on Bumble device on the air.

        address: six octets, "C4:…" (a static random address) or "00:…/P" (a public one).
        """
        own = hci.Address(address)
        controller = self.controller(name, own if own.is_public else None)
        device = Device(name=name, address=own, host=Host(controller, AsyncPipeSink(controller)))
        self._controllers[device] = controller
        await device.power_on()
        return device

    def controller(self, name: str, public_address: hci.Address | None = None) -> VController:
        """Put a bare controller on the air, for a host that is not Bumble's. Whoever asks for it silences it."""
        return VController(name, self._link, public_address)

    def silence(self, controller: VController) -> None:
        """Take a controller off the air without a farewell."""
        controller.vanish()
        self._link.remove_controller(controller)

    async def remove(self, device: Device) -> None:
        """Take a device off the air without a farewell: its peers see a supervision timeout."""
        self.silence(self._controllers.pop(device))
        while device.connections:  # noqa: ASYNC110 (its own host hears of it a turn of the loop later)
            await asyncio.sleep(0)
        await device.power_off()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for device in list(self._controllers):
            await self.remove(device)

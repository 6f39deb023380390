"""An adapter of the kernel (hciN) on the virtual air, by the driver hci_vhci: to BlueZ it is a real adapter.

For Linux only, as root, with the module hci_vhci loaded. Keep it away from a computer whose Bluetooth is in use.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bumble import hci

from simulators.air import Air, VController

_CREATE: Final = bytes(
    (0xFF, 0x00)
)  # vendor packet, primary controller: include/net/bluetooth/hci.h, drivers/bluetooth
_CREATED: Final = 0xFF  # the answer: FF, opcode, index u16
_PACKET_MOST: Final = 4096


class _Kernel:
    """Where the controller sends what it has for the kernel. The driver takes one packet per write."""

    def __init__(self, vhci: int) -> None:
        self._vhci = vhci

    def on_packet(self, packet: bytes) -> None:
        os.write(self._vhci, packet)


@asynccontextmanager
async def kernel_adapter(air: Air, address: str, vhci: Path = Path("/dev/vhci")) -> AsyncIterator[str]:
    """Plug an adapter into the kernel, and pull it out again at the end.

    address: its public address, six octets. vhci: the device of the driver. Gives the adapter's name, "hci0".
    Raises OSError when there is no such device or it may not be opened.
    """
    loop = asyncio.get_running_loop()
    plug = os.open(vhci, os.O_RDWR | os.O_NONBLOCK)
    created: asyncio.Future[str] = loop.create_future()
    controller = air.controller("vhci", hci.Address(address, hci.Address.PUBLIC_DEVICE_ADDRESS))
    # The kernel would use both; Bumble's controller announces more of them than it obeys.
    controller.le_features &= ~(hci.LeFeatureMask.LL_PRIVACY | hci.LeFeatureMask.LE_EXTENDED_ADVERTISING)
    controller.host = _Kernel(plug)
    try:
        loop.add_reader(plug, _pass_on, plug, controller, created)
        os.write(plug, _CREATE)
        yield await created
    finally:
        loop.remove_reader(plug)
        air.silence(controller)
        controller.host = None
        await asyncio.sleep(0)  # what is under way arrives: the farewell at the peers, the last events at the kernel
        os.close(plug)


def _pass_on(plug: int, controller: VController, created: asyncio.Future[str]) -> None:
    packet = os.read(plug, _PACKET_MOST)
    if packet[0] == _CREATED:
        created.set_result(f"hci{int.from_bytes(packet[2:4], 'little')}")
    else:
        controller.on_packet(packet)

"""Pairing: who answers while a device and this computer agree on a bond.

A `PairingAgent` answers; an `Offer` puts it where the pairing happens: with BlueZ as org.bluez.Agent1
(`ingest.links.bluez_agent`), with a virtual radio as that radio has it. macOS and Windows ask the person themselves.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, Literal, Protocol, TypeAlias

from bleak.exc import BleakError

_logger = logging.getLogger(__name__)

Capability: TypeAlias = Literal["DisplayOnly", "DisplayYesNo", "KeyboardOnly", "NoInputNoOutput", "KeyboardDisplay"]
"""What whoever answers can do, in the words of org.bluez.Agent1: it decides what a device will ask for."""


class PairingAgent(Protocol):
    """Answers what a pairing asks. device: a Bluetooth address in upper case.

    A question that is not wanted any more (the device has gone, the time is up) is cancelled.
    """

    @property
    def capability(self) -> Capability:
        """What this agent can do."""
        ...

    async def passkey(self, device: str) -> int | None:
        """The six digits that the device shows; None refuses the pairing."""
        ...

    async def show(self, device: str, passkey: int) -> None:
        """Show six digits that are to be typed into the device."""
        ...

    async def confirm(self, device: str, passkey: int) -> bool:
        """Whether the device shows these six digits too."""
        ...

    async def authorize(self, device: str) -> bool:
        """Whether a pairing may be made that the device asked for and that nobody can verify (Just Works)."""
        ...


Offer: TypeAlias = Callable[[PairingAgent], AbstractAsyncContextManager[asyncio.Event]]
"""Makes an agent the one that is asked, as long as the context lasts. The event says that it was forgotten.

Raises BleakError, OSError or EOFError when there is nobody to offer it to.
"""


def offer_to_system(agent: PairingAgent) -> AbstractAsyncContextManager[asyncio.Event]:
    """The `Offer` of this computer's own Bluetooth."""
    if sys.platform != "linux":
        return nullcontext(asyncio.Event())
    from ingest.links.bluez_agent import offered  # dbus-fast is there on Linux alone

    return offered(agent)


class Unattended:
    """Answers while nobody is at hand: a known device may bond, where that asks nothing of a person."""

    capability: Final = "NoInputNoOutput"

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known

    async def passkey(self, device: str) -> int | None:
        """Refused: nobody can read it."""
        self._refuse(device, "it asks for a passkey")
        return None

    async def show(self, device: str, passkey: int) -> None:  # noqa: ARG002
        """Nobody can type it; the pairing ends by itself."""
        self._refuse(device, "it wants a passkey to be typed into it")

    async def confirm(self, device: str, passkey: int) -> bool:  # noqa: ARG002
        """Refused: nobody can compare."""
        self._refuse(device, "it wants two numbers to be compared")
        return False

    async def authorize(self, device: str) -> bool:
        """Granted to known devices."""
        if not self._known(device):
            self._refuse(device, "it is not known here")
            return False
        return True

    def _refuse(self, device: str, because: str) -> None:
        _logger.warning("Bluetooth device %s was not paired: %s; run `homeward pair` beside it", device, because)


async def keep_offered(agent: PairingAgent, offer: Offer, *, pause: float) -> None:
    """Offer an agent until cancelled, again after `pause` seconds whenever it was forgotten or nobody was there.

    A bluetoothd that was started anew knows no agent, and without one it pairs nothing.
    """
    while True:
        try:
            async with offer(agent) as forgotten:
                await forgotten.wait()
        except (BleakError, OSError, EOFError) as error:
            _logger.debug("no agent for pairing: %s", error)  # what is wrong with the adapter is told by the scan
        await asyncio.sleep(pause)

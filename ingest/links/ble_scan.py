"""The adapter, shared by all devices: it scans, and gives each its turn to be connected.

An adapter does one thing at a time and holds few connections. So there is one loop: scan until somebody who waits is
in sight, let the one whose turn it is connect, scan on. Cuffs come first, for they advertise for seconds only; the
others in the order in which they began to wait. What fails waits anew, behind those who have waited.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from ingest.links.ble_faults import ADAPTER_DEAF, RADIO_ERRORS, adapter_fault
from ingest.links.ble_session import Timings

_logger = logging.getLogger(__name__)

# CSR's USB adapters hold five links of LE and lose one of them at the sixth (bleak-retry-connector, pull request 67).
CONNECTIONS: Final = 5


EVERYTHING: Final = "/org/bluez"  # above the paths of all adapters

Changed: TypeAlias = Callable[[str, bool], None]
"""changed(path, there): the D-Bus path of an adapter, or `EVERYTHING`, and whether it came or went."""


class AdapterControl(Protocol):
    """What the system tells of its adapters, and does to them, beside scanning and connecting."""

    async def watch(self, changed: Changed) -> None:
        """Tell of adapters that come and go, until cancelled."""
        ...

    async def power_cycle(self) -> None:
        """Switch the adapters off and on. Raises BleakError, OSError or EOFError when that is refused."""
        ...


def system_adapters() -> AdapterControl | None:
    """The adapters of this computer; None where its system does not tell of them."""
    if sys.platform != "linux":
        return None
    from ingest.links.bluez_adapter import BluezAdapters  # dbus-fast is there on Linux alone

    return BluezAdapters()


class Step(Enum):
    """What to do about an adapter that hears nothing."""

    POWER_CYCLE = "power-cycle"
    TELL = "tell"  # only a person can help now; the adapter is switched off and on again now and then all the same


class Watchdog:
    """Decides what to do about an adapter that hears nothing while somebody is sought. Times: monotonic seconds.

    The mildest remedy, a scan that is started anew, is each look around. After `patience` the adapter is to be
    switched off and on; if nothing is heard for as long again, a person is to be told, too.
    """

    def __init__(self, patience: float, now: float) -> None:
        self._patience = patience
        self._next = now + patience
        self._steps = 0

    def heard(self, now: float) -> None:
        """Any advertisement of any device, or anything from a connected one."""
        self._next = now + self._patience
        self._steps = 0

    @property
    def given_up(self) -> bool:
        """Whether a person was told, and nothing was heard since."""
        return self._steps > 1

    def step(self, now: float) -> Step | None:
        """What is to be done now; asked after each look around. None: nothing."""
        if now < self._next:
            return None
        self._next = now + self._patience
        self._steps += 1
        return Step.POWER_CYCLE if self._steps == 1 else Step.TELL


class Place:
    """A device's place among the connected ones. Until `connected` or `leave` it holds the adapter as well.

    found: the device as it was seen. asked_back: whether a device that had lent its place was asked for it.
    """

    def __init__(self, found: BLEDevice, left: Callable[[Place], None]) -> None:
        self.found = found
        self.lent_at: float | None = None
        self.asked_back = False
        self.adapter_free = asyncio.Event()
        self._left = left
        self._give_back: Callable[[], None]

    def connected(self) -> None:
        """Give the adapter on."""
        self.adapter_free.set()

    def lend(self, give_back: Callable[[], None]) -> None:
        """What must be read is read: whoever waits may have the place after a while, and calls for it."""
        self.lent_at = asyncio.get_running_loop().time()
        self._give_back = give_back

    def ask_back(self) -> None:
        """Have a place given back that is lent; any other one is still needed."""
        if self.lent_at is not None and not self.asked_back:
            self.asked_back = True
            self._give_back()

    def leave(self) -> None:
        """Give everything back. Safe to call twice."""
        self.adapter_free.set()
        self._left(self)


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting:
    urgent: bool
    since: float
    turn: asyncio.Future[Place]


class Adapter:
    """One adapter.

    seen: told the address of each device that advertises. control: None where nothing can switch the adapter.
    """

    def __init__(
        self,
        timings: Timings,
        scanner_kwargs: Mapping[str, Any],
        control: AdapterControl | None,
        seen: Callable[[str], None],
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        self.fault: str | None = None
        self._timings = timings
        self._scanner_kwargs = scanner_kwargs
        self._control = control
        self._seen = seen
        self._connections = connections
        self._watchdog = Watchdog(timings.deaf, 0.0)
        self._waiting: dict[str, _Waiting] = {}
        self._in_sight: dict[str, BLEDevice] = {}
        self._places: set[Place] = set()
        self._news = asyncio.Event()
        self._changed = asyncio.Event()  # the adapter came or went

    async def place(self, address: str, *, urgent: bool) -> Place:
        """Wait, however long that takes, until the device is in sight and it is its turn to connect."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(urgent=urgent, since=loop.time(), turn=loop.create_future())
        self._waiting[address] = waiting
        self._news.set()
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                waiting.turn.result().leave()
            raise
        finally:
            del self._waiting[address]

    def alive(self) -> None:
        """Something was heard from a connected device, so the adapter works."""
        self._watchdog.heard(asyncio.get_running_loop().time())

    def changed(self) -> None:
        """The adapter came or went: whatever is waited for, look at once."""
        self._changed.set()
        self._news.set()

    async def run(self) -> None:
        """Scan and give turns; wait longer and longer while the adapter is at fault."""
        failures = 0
        while True:
            await self._wanted()
            self._changed.clear()
            try:
                await self._look()
            except RADIO_ERRORS as error:
                heed_cancellation()
                failures += 1
                self.alive()  # a scan that fails hears nothing, and that means nothing
                self._report(adapter_fault(error))
                await self._pause(pause(failures, self._timings))
                continue
            failures = 0
            await self._watch_over()
            heed_cancellation()
            if servable := self._servable():
                await self._give_turn(min(servable, key=self._order))

    async def _wanted(self) -> None:
        """Wait until somebody waits, or the adapter is to be tried: it has changed, or did not work the last time."""
        while not (self._waiting or self._changed.is_set() or self.fault not in (None, ADAPTER_DEAF)):
            await self._news.wait()
            self._news.clear()
            self.alive()  # nothing was listened for until now, so that nothing was heard means nothing

    async def _look(self) -> None:
        """Scan until somebody can be served, or for the time of one scan."""
        timings = self._timings
        self._in_sight.clear()
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(timings.scan + timings.farewell):
            async with BleakScanner(self._advertised, **self._scanner_kwargs):
                with suppress(TimeoutError):
                    async with asyncio.timeout(timings.scan):
                        while not self._enough(loop.time() - began):
                            await self._something_new()

    async def _something_new(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timings.look):
                await self._news.wait()
        self._news.clear()

    def _advertised(self, device: BLEDevice, _advertisement: AdvertisementData) -> None:
        address = device.address.upper()
        self.alive()
        self._seen(address)
        if address in self._waiting and address not in self._in_sight:
            self._in_sight[address] = device
            self._news.set()

    def _enough(self, looked: float) -> bool:
        """Whether to look no further. A cuff cannot wait; else who has waited longest is given time to show."""
        servable = self._servable()
        if self._changed.is_set() or not self._waiting or any(self._waiting[each].urgent for each in servable):
            return True
        return bool(servable) and (looked >= self._timings.look or len(self._in_sight) >= len(self._waiting))

    def _servable(self) -> list[str]:
        """Those who wait, are in sight, and can have a place; who lends the place is asked to go."""
        in_sight = [address for address in self._in_sight if address in self._waiting]
        if len(self._places) < self._connections:
            return in_sight
        if in_sight:
            self._ask_for_a_place(any(self._waiting[address].urgent for address in in_sight))
        return []

    def _ask_for_a_place(self, urgent: bool) -> None:
        lent = {place.lent_at: place for place in self._places if place.lent_at is not None}
        if not lent or any(place.asked_back for place in lent.values()):
            return
        longest = min(lent)
        if urgent or asyncio.get_running_loop().time() - longest >= self._timings.hold:
            lent[longest].ask_back()

    def _order(self, address: str) -> tuple[bool, float]:
        waiting = self._waiting[address]
        return not waiting.urgent, waiting.since

    async def _give_turn(self, address: str) -> None:
        turn = self._waiting[address].turn
        if turn.done():  # it was given up in this very moment
            return
        place = Place(self._in_sight.pop(address), self._left)
        self._places.add(place)
        turn.set_result(place)
        await place.adapter_free.wait()

    def _left(self, place: Place) -> None:
        self._places.discard(place)
        self._news.set()

    async def _watch_over(self) -> None:
        """Do something about an adapter that scans and hears nothing."""
        match self._watchdog.step(asyncio.get_running_loop().time()):
            case None:
                self._report(ADAPTER_DEAF if self._watchdog.given_up else None)
                return
            case Step.TELL:
                self._report(ADAPTER_DEAF)
        if self._control is not None:
            _logger.warning("Bluetooth: nothing at all was heard; the adapter is switched off and on")
            try:
                async with asyncio.timeout(self._timings.farewell):
                    await self._control.power_cycle()
            except RADIO_ERRORS as error:
                _logger.warning("Bluetooth: the adapter could not be switched off and on: %s", error)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _report(self, fault: str | None) -> None:
        if fault != self.fault:
            _logger.warning("Bluetooth: %s", fault or "the adapter works again")
        self.fault = fault


def heed_cancellation() -> None:
    """End the task if that was asked for and a library lost it, as `asyncio.wait_for` does before Python 3.12."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def pause(failures: int, timings: Timings) -> float:
    """Seconds to wait after the n-th failure in a row, at most."""
    return min(timings.retry * 2.0 ** min(failures - 1, 30), timings.retry_most)

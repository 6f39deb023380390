"""The Bluetooth LE link: finds the known devices, reads each in a task of its own, and brings a failed task back.

    link = BleLink(devices, Wiring(deliver=..., now=..., zone_of=..., resume=...))
    await link.run()

Only bleak's public API is used; what makes the radio a virtual one travels in `scanner_kwargs` and `client_kwargs`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final

from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from ingest.links.ble_faults import NO_ANSWER, RADIO_ERRORS, adapter_fault, is_bonded, session_fault
from ingest.links.ble_gatt import Heard, SessionError
from ingest.links.ble_session import SERVICES, DeviceSession, Kind, Timings
from ingest.links.delivery import Deliver
from ingest.racp import Progress
from ingest.reading import Packet, Session

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevice:
    """A paired device. address: upper case, as bleak gives it (on macOS a UUID)."""

    address: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the link is given.

    now: aware UTC. zone_of: where the wearer of a device (address) lives, or None. resume: the last sequence number
    (CGM: time offset in minutes) of a device that is safely stored, or None to read everything; it must not move
    before `settled` was called, for that is how a record lost between here and the disk is read again.
    """

    deliver: Deliver
    now: Callable[[], datetime]
    zone_of: Callable[[str], tzinfo | None]
    resume: Callable[[str], int | None]
    timings: Timings = field(default_factory=Timings)
    scanner_kwargs: Mapping[str, Any] = field(default_factory=dict)
    client_kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHealth:
    """How one device does. Times are aware UTC, None = never since the start.

    last_seen: an advertisement or a connection. last_read: a packet was stored. packets: stored since the start.
    failures: sessions failed in a row; error: the last one's reason as a sentence, None after a good session.
    """

    address: str
    kind: Kind
    last_seen: datetime | None = None
    last_read: datetime | None = None
    packets: int = 0
    failures: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BleHealth:
    """How the link does. adapter: what is wrong with it and what to do, as a sentence; None = nothing known."""

    adapter: str | None
    devices: tuple[DeviceHealth, ...]


class _Scanner:
    """Looks for the devices that are sought. One scan or one connection attempt at a time holds the radio."""

    def __init__(self, wiring: Wiring, seen: Callable[[str], None]) -> None:
        self._wiring = wiring
        self._seen = seen
        self._sought: dict[str, asyncio.Future[BLEDevice]] = {}
        self._anything_sought = asyncio.Event()
        self.radio = asyncio.Lock()
        self.fault: str | None = None

    async def find(self, address: str) -> BLEDevice:
        """Wait until the device advertises, however long that takes."""
        found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()
        self._sought[address] = found
        self._anything_sought.set()
        try:
            return await found
        finally:
            self._forget(address)

    async def run(self) -> None:
        """Scan while anything is sought; wait longer and longer while the adapter is at fault."""
        failures = 0
        while True:
            await self._anything_sought.wait()
            try:
                async with self.radio:
                    await self._scan()
            except RADIO_ERRORS as error:
                failures += 1
                self._report(adapter_fault(error))
                await asyncio.sleep(_pause(failures, self._wiring.timings))
            else:
                failures = 0
                self._report(None)

    async def _scan(self) -> None:
        found = asyncio.Event()

        def advertised(device: BLEDevice, _advertisement: AdvertisementData) -> None:
            address = device.address.upper()
            self._seen(address)
            sought = self._sought.get(address)
            if sought is not None and not sought.done():
                sought.set_result(device)
                self._forget(address)
                found.set()

        async with BleakScanner(advertised, list(SERVICES.values()), **self._wiring.scanner_kwargs):
            # The first find ends the scan: a cuff advertises for a few seconds only, and must be connected in them.
            try:
                async with asyncio.timeout(self._wiring.timings.scan):
                    await found.wait()
            except TimeoutError:
                pass

    def _forget(self, address: str) -> None:
        self._sought.pop(address, None)
        if not self._sought:
            self._anything_sought.clear()

    def _report(self, fault: str | None) -> None:
        if fault != self.fault:
            _logger.warning("Bluetooth: %s", fault or "the adapter works again")
        self.fault = fault


class _DeviceTask:
    """Reads one device again and again."""

    def __init__(self, known: KnownDevice, scanner: _Scanner, wiring: Wiring) -> None:
        self.known = known
        self._scanner = scanner
        self._wiring = wiring
        self._last_seen: datetime | None = None
        self._last_read: datetime | None = None
        self._packets = 0
        self._failures = 0
        self._error: str | None = None
        self._progress = Progress()
        self._whole: bytes | None = None  # the CGM session of which nothing was missing when its reading ended

    @property
    def health(self) -> DeviceHealth:
        return DeviceHealth(
            address=self.known.address,
            kind=self.known.kind,
            last_seen=self._last_seen,
            last_read=self._last_read,
            packets=self._packets,
            failures=self._failures,
            error=self._error,
        )

    def seen(self) -> None:
        self._last_seen = self._wiring.now()

    async def run(self) -> None:
        timings = self._wiring.timings
        while True:
            found = await self._scanner.find(self.known.address)
            self._note(await self._attempt(found))
            if self._failures:
                await asyncio.sleep(_pause(self._failures, timings))
            else:
                # A CGM has lost its link, and its values wait; the others have just told everything.
                await asyncio.sleep(timings.retry if self.known.kind == "cgm" else timings.rest)

    async def _attempt(self, found: BLEDevice) -> str | None:
        """Hold one session; the sentence says what went wrong."""
        deadline = asyncio.timeout(None)
        try:
            await self._hold_session(found, deadline)
        except TimeoutError:
            if deadline.expired():
                return f"the session was not finished after {self._wiring.timings.session:g} s"
            return NO_ANSWER
        except (SessionError, *RADIO_ERRORS) as error:
            return session_fault(error, bonded=is_bonded(found)).says
        except Exception as error:
            _logger.exception("reading %s failed in an unexpected way", self.known.address)
            return f"unexpected failure, see the log: {error!r}"
        return None

    async def _hold_session(self, found: BLEDevice, deadline: asyncio.Timeout) -> None:
        wiring, timings, kind = self._wiring, self._wiring.timings, self.known.kind
        session = DeviceSession(kind, self._take, now=wiring.now, timings=timings)
        client = BleakClient(found, session.lost, timeout=timings.connect, **wiring.client_kwargs)
        try:
            async with deadline:
                async with self._scanner.radio:
                    # From here on: waiting for one's turn at the radio is no fault of the device.
                    deadline.reschedule(asyncio.get_running_loop().time() + timings.session)
                    await client.connect()
                self.seen()
                await session.prepare(client, wiring.zone_of(self.known.address))
                after = self._resume_point(session)
                self._whole = None
                await session.read_stored(after=after, progress=self._progress)
                self._whole = session.cgm_session
            if kind == "cgm":
                self._note(None)
                await session.listen()
        finally:
            await self._farewell(client)

    def _resume_point(self, session: DeviceSession) -> int | None:
        """Where to go on.

        A CGM's time offsets begin anew in each of its sessions, and a live value may be stored ahead of older ones
        that are still to be read. So what is stored only counts in a session that this process has read to the end
        before; else everything is asked for once more, and the journal drops what it knows.
        """
        if self.known.kind == "cgm" and (session.cgm_session is None or session.cgm_session != self._whole):
            return None
        return self._wiring.resume(self.known.address)

    async def _take(self, heard: Heard, companion: bytes | None, session: Session) -> None:
        packet = Packet(
            link="ble",
            sender=self.known.address,
            channel=heard.channel,
            data=heard.data,
            received_at=heard.received_at,
            companion=companion,
            session=session,
        )
        await self._wiring.deliver(packet, lambda: self._settled(packet))

    def _settled(self, packet: Packet) -> None:
        self._packets += 1
        self._last_read = packet.received_at
        self._progress.kept(packet.channel, packet.data)

    async def _farewell(self, client: BleakClient) -> None:
        try:
            async with asyncio.timeout(self._wiring.timings.farewell):
                await client.disconnect()
        except RADIO_ERRORS as error:
            _logger.debug("disconnecting from %s: %s", self.known.address, error)

    def _note(self, error: str | None) -> None:
        self._failures = self._failures + 1 if error else 0
        if error and error != self._error:
            _logger.warning("Bluetooth device %s: %s", self.known.address, error)
        self._error = error


class BleLink:
    """The supervisor. `devices` is asked again and again, so a device paired while it runs is read soon after."""

    def __init__(self, devices: Callable[[], Iterable[KnownDevice]], wiring: Wiring) -> None:
        self._devices = devices
        self._wiring = wiring
        self._scanner = _Scanner(wiring, self._seen)
        self._tasks: dict[str, _DeviceTask] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Read the known devices until cancelled. A fault of a device or of the adapter never ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scanner.run())
            while True:
                self._follow_roster(group)
                await asyncio.sleep(self._wiring.timings.roster)

    def health(self) -> BleHealth:
        """The state of the adapter and of every known device."""
        return BleHealth(adapter=self._scanner.fault, devices=tuple(task.health for task in self._tasks.values()))

    def _follow_roster(self, group: asyncio.TaskGroup) -> None:
        known = {device.address: device for device in self._devices()}
        for address, task in list(self._tasks.items()):
            running = self._running[address]
            if known.get(address) != task.known:
                running.cancel()
            if running.done():
                del self._tasks[address], self._running[address]
        for address, device in known.items():
            # A device that has changed waits until its old task has hung up.
            if address not in self._tasks:
                self._tasks[address] = _DeviceTask(device, self._scanner, self._wiring)
                self._running[address] = group.create_task(self._tasks[address].run())

    def _seen(self, address: str) -> None:
        if task := self._tasks.get(address):
            task.seen()


_PROBE_LIMIT: Final = 10.0


async def probe(scanner_kwargs: Mapping[str, Any] | None = None) -> str | None:
    """Try to scan. None when that works, else a sentence that says what is wrong and what to do."""
    try:
        async with asyncio.timeout(_PROBE_LIMIT):
            async with BleakScanner(service_uuids=list(SERVICES.values()), **(scanner_kwargs or {})):
                return None
    except RADIO_ERRORS as error:
        return adapter_fault(error)


def _pause(failures: int, timings: Timings) -> float:
    """Seconds to wait after the n-th failure in a row."""
    return min(timings.retry * 2.0 ** min(failures - 1, 30), timings.retry_most)

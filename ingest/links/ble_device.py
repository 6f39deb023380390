"""One known device: waits for its turn, is read, rests, and is read again. Its failures are told in words."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import Any

from bleak import BleakClient
from bleak.backends.device import BLEDevice

from ingest.links.ble_faults import (
    ADAPTER_LEFT,
    BOND_LOST,
    RADIO_ERRORS,
    Fault,
    UnknownModel,
    is_bonded,
    session_fault,
)
from ingest.links.ble_gatt import Heard, SessionError
from ingest.links.ble_scan import EVERYTHING, Adapter, AdapterControl, Place, heed_cancellation, pause
from ingest.links.ble_session import SERVICES, DeviceFacts, DeviceSession, Kind, Timings
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
    control: the system's adapters, None where nothing tells of them. chance: 0 to 1, so that devices which failed
    together do not all come back together.
    """

    deliver: Deliver
    now: Callable[[], datetime]
    zone_of: Callable[[str], tzinfo | None]
    resume: Callable[[str], int | None]
    timings: Timings = field(default_factory=Timings)
    scanner_kwargs: Mapping[str, Any] = field(default_factory=dict)
    client_kwargs: Mapping[str, Any] = field(default_factory=dict)
    control: AdapterControl | None = None
    chance: Callable[[], float] = random.random


class Bond(StrEnum):
    """What is known of a device's bond with this computer."""

    NONE = "none"
    BONDED = "bonded"
    LOST = "lost"  # we keep it, the device does not


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHealth:
    """How one device does. Times are aware UTC, None = never since the start.

    last_seen: an advertisement or a connection. last_read: a packet was stored. packets: stored since the start.
    failures: sessions failed in a row; fault: why the last one did, None after a good session.
    bond: None where the system does not tell, or the device was not seen yet. facts: of the newest session.
    """

    address: str
    kind: Kind
    last_seen: datetime | None = None
    last_read: datetime | None = None
    packets: int = 0
    failures: int = 0
    fault: Fault | None = None
    bond: Bond | None = None
    facts: DeviceFacts | None = None

    @property
    def error(self) -> str | None:
        """What went wrong last, as a sentence."""
        return self.fault.says if self.fault else None


class DeviceTask:
    """Reads one device again and again."""

    def __init__(self, known: KnownDevice, adapter: Adapter, wiring: Wiring) -> None:
        self.known = known
        self._adapter = adapter
        self._wiring = wiring
        self._last_seen: datetime | None = None
        self._last_read: datetime | None = None
        self._packets = 0
        self._failures = 0
        self._fault: Fault | None = None
        self._bond: Bond | None = None
        self._progress = Progress()
        self._unsettled = 0
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self._whole: bytes | None = None  # the CGM session of which nothing was missing when its reading ended
        self._facts: DeviceFacts | None = None
        self._own_rest: float | None = None
        self._fully = False
        self._place: Place | None = None
        self._deadline: asyncio.Timeout | None = None
        self._adapter_left = False
        self._hurry = asyncio.Event()

    @property
    def health(self) -> DeviceHealth:
        """How it does now."""
        return DeviceHealth(
            address=self.known.address,
            kind=self.known.kind,
            last_seen=self._last_seen,
            last_read=self._last_read,
            packets=self._packets,
            failures=self._failures,
            fault=self._fault,
            bond=self._bond,
            facts=self._facts,
        )

    def seen(self) -> None:
        """It advertises, or answers."""
        self._last_seen = self._wiring.now()

    def read_fully(self) -> None:
        """Ask for everything in the next session, and let that be soon."""
        self._fully = True
        self._hurry.set()
        if self._place is not None:
            self._place.ask_back()

    def adapter_went(self, path: str) -> None:
        """End the session at once if it went over that adapter: nothing else tells that the connection is gone."""
        place, deadline = self._place, self._deadline
        if place is None or deadline is None or deadline.expired():
            return
        if path == EVERYTHING or _path_of(place.found).startswith(f"{path}/"):
            self._adapter_left = True
            deadline.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait_until_kept()
            place = await self._adapter.place(self.known.address, urgent=self.known.kind == "cuff")
            self._place, self._adapter_left = place, False
            try:
                self._note(await self._attempt(place))
            finally:
                self._place = None
                place.leave()
            heed_cancellation()
            await self._rest(given_up=place.asked_back)

    async def _wait_until_kept(self) -> None:
        """What is not kept yet would be asked for once more; what the house never keeps has to be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wiring.timings.kept):
                await self._all_settled.wait()

    async def _rest(self, *, given_up: bool) -> None:
        timings = self._wiring.timings
        if self._fault:
            most = timings.retry_person if self._fault.needs_person else pause(self._failures, timings)
            seconds = most * (1 + self._wiring.chance()) / 2
        elif self.known.kind == "cgm" and not given_up:
            seconds = timings.retry  # it has lost its link, and its values wait
        else:
            seconds = timings.rest  # it has just told everything
        if self._own_rest is not None:
            seconds = max(seconds, self._own_rest) if self._fault else self._own_rest
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        self._hurry.clear()

    async def _attempt(self, place: Place) -> Fault | None:
        """Hold one session; the fault says what went wrong."""
        bonded = is_bonded(place.found)
        if bonded is not None:
            self._bond = Bond.BONDED if bonded else Bond.NONE
        deadline = asyncio.timeout(self._wiring.timings.session)
        try:
            await self._hold_session(place, deadline)
        except (SessionError, *RADIO_ERRORS) as error:
            if self._adapter_left:
                return Fault(says=ADAPTER_LEFT)
            if isinstance(error, TimeoutError) and deadline.expired():
                return Fault(says=f"the session was not finished after {self._wiring.timings.session:g} s")
            fault = session_fault(error, bonded=bonded, before=self._fault.says if self._fault else None)
            if fault.says == BOND_LOST:
                self._bond = Bond.LOST
            return fault
        except Exception as error:
            _logger.exception("reading %s failed in an unexpected way", self.known.address)
            return Fault(says=f"unexpected failure, see the log: {error!r}")
        return None

    async def _hold_session(self, place: Place, deadline: asyncio.Timeout) -> None:
        wiring, timings = self._wiring, self._wiring.timings
        session = DeviceSession(self.known.kind, self._take, self._all_settled.wait, now=wiring.now, timings=timings)
        client = BleakClient(place.found, session.lost, timeout=timings.connect, **wiring.client_kwargs)
        try:
            async with deadline:
                self._deadline = deadline
                # bleak keeps a limit of its own, but not while it tidies up, and others wait for the adapter.
                async with asyncio.timeout(timings.connect + timings.farewell):
                    await client.connect()
                place.connected()
                self.seen()
                if not any(client.services.get_service(service) for service in SERVICES.values()):
                    raise UnknownModel
                await session.prepare(client, wiring.zone_of(self.known.address))
                self._facts = session.facts
                await self._read_stored(session)
                self._facts = session.facts
                if self.known.kind == "cgm":
                    if session.facts.sensor is None:  # else it fails now, as often in a row as it does
                        self._note(None)
                    deadline.reschedule(None)
                    place.lend(session.abort)
                    if not self._fully:
                        await session.listen()
        finally:
            self._deadline = None
            self._own_rest = session.rest
            await self._farewell(client)

    async def _read_stored(self, session: DeviceSession) -> None:
        fully, self._fully = self._fully, False
        try:
            after = None if fully else self._resume_point(session)
            self._whole = None
            await session.read_stored(after=after, progress=self._progress)
            self._whole = session.cgm_session
        except BaseException:
            self._fully = self._fully or fully
            raise

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
        self._adapter.alive()
        self.seen()
        packet = Packet(
            link="ble",
            sender=self.known.address,
            channel=heard.channel,
            data=heard.data,
            received_at=heard.received_at,
            companion=companion,
            session=session,
        )
        self._unsettled += 1
        self._all_settled.clear()
        try:
            await self._wiring.deliver(packet, lambda: self._settled(packet))
        except BaseException:  # it was not accepted, so nothing will settle it
            self._one_settled()
            raise

    def _one_settled(self) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._all_settled.set()

    def _settled(self, packet: Packet) -> None:
        self._one_settled()
        self._packets += 1
        self._last_read = packet.received_at
        self._progress.kept(packet.channel, packet.data)

    async def _farewell(self, client: BleakClient) -> None:
        try:
            async with asyncio.timeout(self._wiring.timings.farewell):
                await client.disconnect()
        except RADIO_ERRORS as error:
            _logger.debug("disconnecting from %s: %s", self.known.address, error)

    def _note(self, fault: Fault | None) -> None:
        self._failures = self._failures + 1 if fault else 0
        if fault and fault != self._fault:
            _logger.warning("Bluetooth device %s: %s", self.known.address, fault.says)
        self._fault = fault


def _path_of(device: BLEDevice) -> str:
    """The D-Bus path of a device, "" where it has none."""
    return str(device.details.get("path", "")) if isinstance(device.details, dict) else ""

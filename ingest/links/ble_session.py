"""One session with one Bluetooth device: what is asked of it, in which order, until it has told everything.

What it is comes first (a quirk may change all that follows), then its clock, so that every record can carry the
clock's error; then the records, and the clock is set when all of them are safely kept: what is lost on the way to the
disk is read again, by the clock as it is then. A glucose meter and a CGM report theirs through the Record Access
Control Point, a cuff indicates what it has stored by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias, TypeVar

from bleak import BleakClient
from bleak.exc import BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str

from ingest import gatt
from ingest.cgm_control import START_SESSION, ControlError, Operation, answer, with_crc
from ingest.device_clock import offset_of, place, session_start_octets
from ingest.links.ble_clock import ClockOnAir
from ingest.links.ble_gatt import (
    BATTERY,
    CURRENT_TIME,
    DEVICE_INFORMATION,
    Attributes,
    Event,
    Heard,
    SessionError,
    Sign,
)
from ingest.quirks import ClockWrite, DeviceIdentity, Manner, Quirk, VendorWrite, quirk_of
from ingest.racp import (
    DRAIN,
    SILENCE,
    STOPPED,
    Action,
    Answer,
    Conversation,
    Mark,
    Outcome,
    Pair,
    Progress,
    RecordAccess,
    Request,
    Sieve,
    Subscribe,
    Write,
    everything,
    later,
    mark_of,
    newer,
)
from ingest.reading import DecodeError, Session

_logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["meter", "cgm", "cuff"]

# Full 128-bit lower case: BlueZ compares the filter's strings, and "1808" would match nothing.
SERVICES: Final[dict[Kind, str]] = {
    "meter": normalize_uuid_str("1808"),
    "cgm": normalize_uuid_str("181f"),
    "cuff": normalize_uuid_str("1810"),
}
_NAMES: Final[dict[Kind, str]] = {
    "meter": "glucose meter",
    "cgm": "continuous glucose monitor",
    "cuff": "blood pressure cuff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long the link waits, in seconds.

    connect: for the connection. request: for one read, write or subscription, a pairing on its way included.
    session: for everything up to the last stored record. silence, drain: of a record-access procedure
    (`ingest.racp`). first_indication, next_indication: for a cuff to begin, and to go on. stay: how long a CGM is
    listened to (None: as long as the connection lives); live_silence: without a notification for this long it is
    connected anew. kept: for what was read to be on disk, before the clock is set. farewell: for the disconnection.
    scan: one look around. rest: between two sessions with a meter or cuff (A&D cuffs want 40 s). retry, retry_most:
    first and longest pause after a failure, doubled each time; a cuff that advertises for a minute must not be slept
    through. retry_person: pause after a failure that only a person can mend. look: how long a scan gives others to
    show when one that waits is in sight. hold: after this long a CGM that has told everything makes room for others.
    deaf: without any advertisement for this long something is done about the adapter. roster: between two looks at
    the list of known devices.
    """

    connect: float = 30.0
    request: float = 60.0
    session: float = 600.0
    silence: float = SILENCE
    drain: float = DRAIN
    first_indication: float = 20.0
    next_indication: float = 3.0
    stay: float | None = None
    live_silence: float = 1200.0
    kept: float = 10.0
    farewell: float = 10.0
    scan: float = 30.0
    rest: float = 40.0
    retry: float = 5.0
    retry_most: float = 60.0
    retry_person: float = 600.0
    look: float = 1.0
    hold: float = 60.0
    deaf: float = 900.0
    roster: float = 5.0


Take: TypeAlias = Callable[[Heard, bytes | None, Session], Awaitable[None]]
"""`await take(heard, companion, session)`: pass on one measurement, with its context where it has one."""

Kept: TypeAlias = Callable[[], Awaitable[object]]
"""`await kept()`: wait until all that was passed on is safely kept."""


Joined: TypeAlias = list[tuple[Heard, bytes | None]]
"""Measurements in order of arrival, each with its context or None."""


class ContextJoin:
    """Puts each Glucose Measurement Context (2A34) to its measurement (2A18), by sequence number.

    A measurement that announces a context is held until that comes, or until the next measurement shows that it will
    not (some meters announce and do not send). Order is kept, so a link that breaks loses only what it can ask again.
    """

    def __init__(self) -> None:
        self._held: Heard | None = None

    def hear(self, heard: Heard) -> Joined:
        """What is ready to be passed on now. A context without its measurement is passed on by itself."""
        if heard.channel == "2a34" and self._held and _sequence(self._held.data) == _sequence(heard.data):
            held, self._held = self._held, None
            return [(held, heard.data)]
        if heard.channel != "2a18":
            return [(heard, None)]
        ready = self.release()
        if len(heard.data) >= 3 and heard.data[0] & 0x10:
            self._held = heard
            return ready
        return [*ready, (heard, None)]

    def release(self) -> Joined:
        """What was held, without a context."""
        held, self._held = self._held, None
        return [(held, None)] if held else []


def _sequence(data: bytes) -> bytes:
    return data[1:3]


def session_start(octets: bytes) -> datetime | None:
    """The moment in a Session Start Time (2AAA): aware or naive as the sensor knows its zone, None if unusable."""
    try:
        start = gatt.cgm_session_start(octets)
    except DecodeError:
        return None
    return None if start.crc == "bad" else start.moment


def _text(octets: bytes | None) -> str:
    return (octets or b"").decode(errors="replace").strip("\0 ")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a device tells of itself beside its records; "" and None where it says nothing.

    battery_pct: 0 to 100. clock_offset: its clock less the wearer's local time when it was read. clock_set: True =
    set since and verified, False = it would not take the time, None = nothing had to be set, or it cannot be read
    back. session_ends: when a CGM's session will be over (UTC). sensor: why a CGM has no values to give and what to
    do, as a sentence. quirk: the name of its rule in `ingest.quirks`.
    """

    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""
    battery_pct: int | None = None
    clock_offset: timedelta | None = None
    clock_set: bool | None = None
    session_ends: datetime | None = None
    sensor: str | None = None
    quirk: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sensor:
    """The session of a CGM. octets: of 2AAA, which name it. start: as `session_start`. crc: one is promised."""

    octets: bytes | None
    start: datetime | None
    crc: bool
    stopped: bool
    hours: int | None

    @property
    def trouble(self) -> str | None:
        if self.stopped:
            return (
                "no session runs in the sensor: it was never started, or it has ended; start it, or put on a new one"
            )
        if self.start is None:
            return "the sensor does not know when its session began, so its values have no time; start it anew"
        return None


class DeviceSession:
    """Reads one device over one connection.

    First `prepare`, then `read_stored`, then for a CGM `listen`; `ask`, `operate` and `start_sensor` on demand,
    after `prepare` and never beside another. `now` gives aware UTC. All raise SessionError, BleakError or
    TimeoutError; what was taken before stays taken.
    """

    def __init__(self, kind: Kind, take: Take, kept: Kept, *, now: Callable[[], datetime], timings: Timings) -> None:
        self._kind = kind
        self._service = SERVICES[kind]
        self._take = take
        self._kept = kept
        self._now = now
        self._timings = timings
        self._attributes = Attributes(now=now, limit=timings.request)
        self._join = ContextJoin()
        self._session = Session()
        self._manner = Manner()
        self._told = DeviceFacts()
        self._zone: tzinfo = UTC
        self._clock = ClockOnAir(self._attributes, self._service, now=now)
        self._clock_write = ClockWrite.NEVER
        self._sensor: _Sensor | None = None
        self._subscribed: set[str] = set()
        self._sieve: Sieve | None = None

    @property
    def facts(self) -> DeviceFacts:
        """What is known of the device by now."""
        told = replace(self._told, clock_set=self._clock.was_set)
        if self._sensor is None:
            return told
        return replace(told, session_ends=self._session_ends(self._sensor), sensor=self._sensor.trouble)

    @property
    def cgm_session(self) -> bytes | None:
        """What names the sensor's session (octets of 2AAA), outside which its time offsets mean nothing."""
        return self._sensor.octets if self._sensor else None

    @property
    def rest(self) -> float | None:
        """Seconds to stay away from this model after a session, None = as from any device."""
        return self._manner.rest

    def lost(self, _client: BleakClient) -> None:
        """To be called when the connection ends (bleak's disconnected_callback)."""
        self._attributes.put(Sign.LOST)

    def abort(self) -> None:
        """Stop reading: the device is told, and `read_stored` raises SessionError; `listen` returns."""
        self._attributes.put(Sign.STOP)

    async def prepare(self, client: BleakClient, zone: tzinfo | None) -> None:
        """Learn over a new connection what is needed to hold the session and to place the device's times.

        zone: where the wearer lives; None = not known, and the clock is not set.
        """
        self._attributes.attach(client)
        if client.services.get_service(self._service) is None:
            raise SessionError(f"this is no {_NAMES[self._kind]}: it lacks the service {self._service[4:8]}")
        self._zone = zone or UTC
        quirk = await self._recognise()
        may_set = zone is not None and self._kind != "cgm"
        self._clock_write = self._manner.clock_write if may_set else ClockWrite.NEVER
        await self._clock.read(self._zone, self._manner)
        if self._kind == "cgm":
            self._sensor = await self._read_sensor()
        self._told = replace(
            self._told,
            battery_pct=await self._battery(),
            clock_offset=self._clock.error,
            quirk=quirk.name if quirk else None,
        )
        self._learn()

    async def read_stored(self, *, after: int | None, progress: Progress | None = None) -> None:
        """Read what the device has stored after the record with sequence number (or CGM time offset) `after`.

        None: everything. progress: of this meter over its sessions, without which its numbers say nothing, so that
        everything is read. Then the clock is set, or, where the disk is slow, in a later session. Records that are
        known may come again.
        """
        if self._kind == "cuff":
            await self._await_indications()
        else:
            await self._report(after, progress or Progress())
        if self._clock_write is ClockWrite.AFTER_RECORDS and self._clock.to_be_set and await self._all_kept():
            await self._clock.correct()
        if self._manner.part is not None:
            await self._part(self._manner.part)

    async def ask(self, request: Request) -> Outcome:
        """One procedure of the control point: a count, a deletion, or a report of some records."""
        await self._subscribe_to_records()
        return (await self._procedure(request)).outcome

    async def listen(self) -> None:
        """Take live notifications until the connection ends or the stay is over."""
        if (trouble := self._sensor and self._sensor.trouble) is not None:
            raise SessionError(trouble)
        leave = None if self._timings.stay is None else self._tick() + self._timings.stay
        while True:
            silent = self._tick() + self._timings.live_silence
            event = await self._attributes.next(silent if leave is None else min(silent, leave))
            if isinstance(event, Sign):
                return
            if event is not None:
                await self._pass_on(event)
            elif leave is not None and self._tick() >= leave:
                return
            else:
                raise SessionError(f"connected, but no notification for {self._timings.live_silence:g} s")

    async def operate(self, operation: Operation) -> gatt.CgmOperation:
        """Have a sensor do something (`ingest.cgm_control`). Its refusal is a SessionError that says why."""
        await self._subscribe("2aac")
        crc = self._session.e2e_crc
        try:
            await self._attributes.write(self._service, "2aac", operation.octets(crc=crc))
        except BleakGATTProtocolError as error:
            raise SessionError(
                f"the sensor refused to {operation.what} (ATT error 0x{int(error.code):02X})"
            ) from error
        until = self._tick() + self._timings.silence
        while isinstance(event := await self._attributes.next(until), Heard):
            if event.channel != "2aac":
                await self._pass_on(event)
                continue
            try:
                if found := answer(operation, event.data, crc=crc):
                    return found
            except ControlError as error:
                raise SessionError(str(error)) from error
        raise SessionError(f"the sensor was asked to {operation.what} and did not answer")

    async def start_sensor(self) -> None:
        """Start a sensor's session on demand, and tell it the wearer's time with zone and summer time."""
        await self.operate(START_SESSION)
        octets = session_start_octets(self._now(), self._zone)
        await self._attributes.write(self._service, "2aaa", with_crc(octets) if self._session.e2e_crc else octets)
        await self._clock.read(self._zone, self._manner)  # the sensor may have set it by the time that it was told
        self._told = replace(self._told, clock_offset=self._clock.error)
        self._sensor = await self._read_sensor()
        self._learn()
        if self._sensor.trouble is not None:
            raise SessionError(f"the sensor was started, and yet {self._sensor.trouble}")

    async def _recognise(self) -> Quirk | None:
        """Learn what the device is, and how it wants to be treated."""
        name = self._attributes.name
        quirk = self._adopt(DeviceIdentity(name=name))
        if self._manner.bond_first:
            await self._attributes.pair()
        bonded = self._manner.bond_first
        said = [_text(await self._attributes.read(DEVICE_INFORMATION, c)) for c in ("2a29", "2a24", "2a25", "2a26")]
        manufacturer, model, serial, firmware = said
        self._told = DeviceFacts(manufacturer=manufacturer, model=model, serial=serial, firmware=firmware)
        quirk = self._adopt(DeviceIdentity(name=name, manufacturer=manufacturer, model=model, firmware=firmware))
        if self._manner.bond_first and not bonded:
            await self._attributes.pair()
        return quirk

    def _adopt(self, identity: DeviceIdentity) -> Quirk | None:
        try:
            quirk = quirk_of(identity)
        except ValueError as error:
            raise SessionError(str(error)) from error
        self._manner = quirk.manner if quirk else Manner()
        self._attributes.pause = self._manner.pause
        return quirk

    async def _battery(self) -> int | None:
        level = await self._attributes.read(BATTERY, "2a19")
        return level[0] if level and level[0] <= 100 else None

    async def _read_sensor(self) -> _Sensor:
        octets = await self._attributes.read(self._service, "2aaa")
        feature = _decoded(gatt.cgm_feature, await self._attributes.read(self._service, "2aa8"))
        status = _decoded(gatt.cgm_status, await self._attributes.read(self._service, "2aa9"))
        hours = _decoded(gatt.cgm_run_time, await self._attributes.read(self._service, "2aab"))
        return _Sensor(
            octets=octets,
            start=session_start(octets or b""),
            crc=feature is not None and bool(feature.features >> _E2E_CRC & 1),
            stopped=status is not None and bool(status.status >> _SESSION_STOPPED & 1),
            hours=hours.hours if hours is not None else None,
        )

    def _session_ends(self, sensor: _Sensor) -> datetime | None:
        if sensor.start is None or sensor.hours is None:
            return None
        placed = place(sensor.start, self._clock.ahead, self._zone, self._now())
        return placed[0] + timedelta(hours=sensor.hours) if placed else None

    def _learn(self) -> None:
        """Keep what each packet must carry along."""
        error = self._clock.error
        self._session = Session(
            clock_offset=error,
            utc_offset=None if error is None else offset_of(self._zone, self._now()),
            session_start=self._sensor.start if self._sensor else None,
            e2e_crc=self._sensor is not None and self._sensor.crc,
            quirk=self._told.quirk,
        )

    def _conversation(self, after: int | None, known: Mark | None) -> Conversation:
        if after is None or not self._manner.selects_newer:
            return everything()
        if self._kind == "cgm":
            return later(after)
        return newer(known) if known is not None and known.number == after else everything()

    async def _report(self, after: int | None, progress: Progress) -> None:
        conversation = self._conversation(after, progress.known)
        await self._subscribe_to_records()
        if self._manner.ask is not None:
            await self._vendor_write(self._manner.ask)
        sure = progress.begin()
        told: list[Mark] = []
        step = next(conversation)
        while True:
            self._sieve = sieve = Sieve(step)
            answered = await self._procedure(step.request)
            self._sieve = None
            told += () if sieve.threw_away else answered.told
            try:
                step = conversation.send(answered)
            except StopIteration as end:
                outcome: Outcome = end.value
                break
        progress.ended(outcome, told, sure=sure)
        if not outcome.complete:
            raise SessionError(outcome.because)

    async def _subscribe_to_records(self) -> None:
        """The measurements first and the control point last."""
        await self._subscribe("2aa7" if self._kind == "cgm" else "2a18")
        if self._attributes.offers(SERVICES["meter"], "2a34"):
            await self._subscribe("2a34")
        await self._subscribe("2a52")
        await self._subscribe_to_clock()

    async def _subscribe_to_clock(self) -> None:
        if self._clock_write is ClockWrite.ON_NOTIFICATION and self._attributes.offers(
            CURRENT_TIME, "2a2b", "notify"
        ):
            await self._attributes.subscribe(CURRENT_TIME, "2a2b")

    async def _await_indications(self) -> None:
        await self._subscribe("2a35")
        await self._subscribe_to_clock()
        if self._manner.ask is not None:
            await self._vendor_write(self._manner.ask)
        event = await self._attributes.next(self._tick() + self._timings.first_indication)
        if event is Sign.LOST:
            raise SessionError("the cuff hung up before it sent a measurement; if it shows one, pair it again")
        while isinstance(event, Heard):
            await self._pass_on(event)
            event = await self._attributes.next(self._tick() + self._timings.next_indication)
        if event is Sign.STOP:
            raise SessionError(STOPPED)

    async def _procedure(self, request: Request) -> Answer:
        procedure = RecordAccess(request, silence=self._timings.silence, drain=self._timings.drain)
        told: list[Mark] = []
        actions = procedure.start()
        while procedure.outcome is None:
            if actions:
                actions = (*await self._perform(procedure, actions[0]), *actions[1:])
            else:
                actions = await self._hear(procedure, told)
        held = self._join.release()
        if procedure.outcome.complete:
            for heard, companion in held:
                await self._hand_over(heard, companion)
        elif held and told:
            del told[-1]  # its context was still to come, so it has to be reported again
        return Answer(procedure.outcome, tuple(told))

    async def _perform(self, procedure: RecordAccess, action: Action) -> tuple[Action, ...]:
        match action:
            case Pair():
                await self._attributes.pair()
            case Subscribe():
                await self._attributes.subscribe(self._service, "2a52")
            case Write(data):
                try:
                    await self._attributes.write(self._service, "2a52", data)
                except BleakGATTProtocolError as error:
                    return procedure.refused(int(error.code))
                return procedure.written(self._tick())
        return ()

    async def _hear(self, procedure: RecordAccess, told: list[Mark]) -> tuple[Action, ...]:
        event: Event | None = await self._attributes.next(procedure.deadline)
        match event:
            case None:
                return procedure.elapsed()
            case Sign.LOST:
                return procedure.lost()
            case Sign.STOP:
                return procedure.abort()
            case Heard(channel="2a52"):
                return procedure.answered(event.data, event.tick)
        if (mark := mark_of(event.channel, event.data)) is not None:
            told.append(mark)
        await self._pass_on(event)
        return procedure.record(event.tick)

    async def _pass_on(self, heard: Heard) -> None:
        if heard.channel == "2a2b":
            self._clock.notified(heard.data)
            await self._clock.correct()
            return
        for ready, companion in self._join.hear(heard):
            await self._hand_over(ready, companion)

    async def _hand_over(self, heard: Heard, companion: bytes | None) -> None:
        if self._sieve and not self._sieve.keeps(mark_of(heard.channel, heard.data)):
            return
        await self._take(heard, companion, self._session)
        if self._clock_write is ClockWrite.WITH_RECORDS:
            await self._clock.correct()

    async def _all_kept(self) -> bool:
        try:
            async with asyncio.timeout(self._timings.kept):
                await self._kept()
        except TimeoutError:
            _logger.warning("what was read is not on disk yet, so the device's clock is left as it is")
            return False
        return True

    async def _subscribe(self, channel: str) -> None:
        if channel not in self._subscribed:
            await self._attributes.subscribe(self._service, channel)
            self._subscribed.add(channel)

    async def _vendor_write(self, vendor: VendorWrite) -> None:
        await self._attributes.write(vendor.service, vendor.characteristic, vendor.data)

    async def _part(self, vendor: VendorWrite) -> None:
        """Some devices hang up on it at once, before they have answered the write."""
        try:
            await self._vendor_write(vendor)
        except (BleakError, SessionError) as error:
            _logger.debug("parting: %s", error)

    @staticmethod
    def _tick() -> float:
        return asyncio.get_running_loop().time()


_E2E_CRC: Final = 12
_SESSION_STOPPED: Final = 0

_Decoded = TypeVar("_Decoded", gatt.CgmFeature, gatt.CgmStatus, gatt.CgmRunTime)


def _decoded(decoder: Callable[[bytes], _Decoded], octets: bytes | None) -> _Decoded | None:
    """What a sensor tells, None when it tells nothing or what it tells is damaged."""
    try:
        found = decoder(octets or b"")
    except DecodeError:
        return None
    return None if found.crc == "bad" else found

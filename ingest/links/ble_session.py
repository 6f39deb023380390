"""One session with one Bluetooth device: what is asked of it, in which order, until it has told everything.

The clock comes first, so that every record can carry the clock's error; then the records. A glucose meter and a CGM
report theirs through the Record Access Control Point, a cuff indicates what it has stored by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import BleakDBusError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str

from ingest import gatt
from ingest.racp import DRAIN, SILENCE, Action, Outcome, Pair, RecordAccess, Subscribe, Write
from ingest.reading import DecodeError, Session

_logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["meter", "cgm", "cuff"]

# Full 128-bit lower case: BlueZ compares the filter's strings, and "1808" would match nothing.
SERVICES: Final[dict[Kind, str]] = {
    "meter": normalize_uuid_str("1808"),
    "cgm": normalize_uuid_str("181f"),
    "cuff": normalize_uuid_str("1810"),
}
_CURRENT_TIME: Final = normalize_uuid_str("1805")
_NAMES: Final[dict[Kind, str]] = {
    "meter": "glucose meter",
    "cgm": "continuous glucose monitor",
    "cuff": "blood pressure cuff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long the link waits, in seconds.

    connect: for the connection. session: for everything up to the last stored record. silence, drain: of a
    record-access procedure (`ingest.racp`). first_indication, next_indication: for a cuff to begin, and to go on.
    stay: how long a CGM is listened to (None: as long as the connection lives); live_silence: without a notification
    for this long it is connected anew. farewell: for the disconnection. scan: one look around. rest: between two
    sessions with a meter or cuff (A&D cuffs want 40 s). retry, retry_most: first and longest pause after a failure,
    doubled each time; a cuff that advertises for a minute must not be slept through. roster: between two looks at the
    list of known devices.
    """

    connect: float = 30.0
    session: float = 600.0
    silence: float = SILENCE
    drain: float = DRAIN
    first_indication: float = 20.0
    next_indication: float = 3.0
    stay: float | None = None
    live_silence: float = 1200.0
    farewell: float = 10.0
    scan: float = 30.0
    rest: float = 40.0
    retry: float = 5.0
    retry_most: float = 60.0
    roster: float = 5.0


class SessionError(Exception):
    """The session cannot go on. The text is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One notification or indication. `tick` is its monotonic time, by which silence is judged."""

    channel: str
    data: bytes
    received_at: datetime
    tick: float


class _Lost:
    """The connection ended; nothing comes after this."""


_LOST: Final = _Lost()

Take: TypeAlias = Callable[[Heard, bytes | None, Session], Awaitable[None]]
"""`await take(heard, companion, session)`: pass on one measurement, with its context where it has one."""


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


def clock_offset(shown: datetime, zone: tzinfo, now: datetime) -> timedelta:
    """Device clock minus true time, for a clock that shows the wearer's local time (naive) at `now` (aware).

    In the hour that a change to winter time repeats, the clock is taken to be as right as it can be.
    """
    readings = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) - now for fold in (0, 1))
    return min(readings, key=abs)


def session_start(octets: bytes) -> datetime | None:
    """The moment in a Session Start Time (2AAA): aware or naive as the sensor knows its zone, None if unusable."""
    try:
        start = gatt.cgm_session_start(octets)
    except DecodeError:
        return None
    return None if start.crc == "bad" else start.moment


def shown_time(channel: str, octets: bytes) -> datetime | None:
    """The naive local time in a Date Time (2A08) or Current Time (2A2B), None if the device does not know it."""
    try:
        shown = gatt.current_time(octets).value if channel == "2a2b" else gatt.clock(octets).value
    except DecodeError:
        return None
    return shown if isinstance(shown, datetime) else None


class DeviceSession:
    """Reads one device over one connection.

    First `prepare`, then `read_stored`, then for a CGM `listen`. `now` gives aware UTC. All raise SessionError,
    BleakError or TimeoutError; what was taken before stays taken.
    """

    def __init__(self, kind: Kind, take: Take, *, now: Callable[[], datetime], timings: Timings) -> None:
        self._kind = kind
        self._take = take
        self._now = now
        self._timings = timings
        # Unbounded: the device's own memory bounds it, and a notification cannot be held back.
        self._events: asyncio.Queue[Heard | _Lost] = asyncio.Queue()
        self._join = ContextJoin()
        self._session = Session()
        self._client: BleakClient
        self.cgm_session: bytes | None = None

    def lost(self, _client: BleakClient) -> None:
        """To be called when the connection ends (bleak's disconnected_callback)."""
        self._events.put_nowait(_LOST)

    async def prepare(self, client: BleakClient, zone: tzinfo | None) -> None:
        """Learn over a new connection what is needed to place the device's times.

        zone: where the wearer lives; None = not known, and the clock's error cannot be told. Afterwards `cgm_session`
        holds what names the sensor's session (octets of 2AAA), outside which its time offsets mean nothing.
        """
        self._client = client
        if client.services.get_service(SERVICES[self._kind]) is None:
            raise SessionError(f"this is no {_NAMES[self._kind]}: it lacks the service {SERVICES[self._kind][4:8]}")
        start = None
        if self._kind == "cgm":
            self.cgm_session = await self._read(SERVICES["cgm"], "2aaa")
            start = session_start(self.cgm_session or b"")
        offset = await self._clock_offset(zone) if zone else None
        self._session = Session(clock_offset=offset, session_start=start)

    async def read_stored(self, *, after: int | None) -> None:
        """Read what the device has stored above sequence number (or CGM time offset) `after`; None: everything."""
        if self._kind == "cuff":
            await self._await_indications()
            return
        await self._subscribe("2aa7" if self._kind == "cgm" else "2a18")
        if self._kind == "meter" and self._find(SERVICES["meter"], "2a34"):
            await self._subscribe("2a34")
        await self._subscribe("2a52")
        outcome = await self._run(RecordAccess(after=after, silence=self._timings.silence, drain=self._timings.drain))
        if not outcome.complete:
            raise SessionError(outcome.because)
        for heard, companion in self._join.release():
            await self._take(heard, companion, self._session)

    async def listen(self) -> None:
        """Take live notifications until the connection ends or the stay is over."""
        leave = None if self._timings.stay is None else self._clock() + self._timings.stay
        while True:
            silent = self._clock() + self._timings.live_silence
            event = await self._next(silent if leave is None else min(silent, leave))
            if isinstance(event, _Lost):
                return
            if event is not None:
                await self._pass_on(event)
            elif leave is not None and self._clock() >= leave:
                return
            else:
                raise SessionError(f"connected, but no notification for {self._timings.live_silence:g} s")

    async def _await_indications(self) -> None:
        await self._subscribe("2a35")
        event = await self._next(self._clock() + self._timings.first_indication)
        if isinstance(event, _Lost):
            raise SessionError("the cuff hung up before it sent a measurement; if it shows one, pair it again")
        while isinstance(event, Heard):
            await self._pass_on(event)
            event = await self._next(self._clock() + self._timings.next_indication)

    async def _run(self, procedure: RecordAccess) -> Outcome:
        actions = procedure.start()
        while procedure.outcome is None:
            if actions:
                actions = (*await self._perform(procedure, actions[0]), *actions[1:])
            else:
                actions = await self._hear(procedure)
        return procedure.outcome

    async def _perform(self, procedure: RecordAccess, action: Action) -> tuple[Action, ...]:
        match action:
            case Pair():
                await self._client.pair()
            case Subscribe():
                await self._subscribe("2a52")
            case Write(data):
                try:
                    await self._client.write_gatt_char(self._own("2a52"), data, response=True)
                except BleakGATTProtocolError as error:
                    return procedure.refused(int(error.code))
                return procedure.written(self._clock())
        return ()

    async def _hear(self, procedure: RecordAccess) -> tuple[Action, ...]:
        event = await self._next(procedure.deadline)
        if event is None:
            return procedure.elapsed()
        if isinstance(event, _Lost):
            return procedure.lost()
        if event.channel == "2a52":
            return procedure.answered(event.data, event.tick)
        await self._pass_on(event)
        return procedure.record(event.tick)

    async def _next(self, until: float | None) -> Heard | _Lost | None:
        """The next event, or None when `until` has passed. What already waits counts, however late it is fetched."""
        try:
            async with asyncio.timeout_at(until):
                event = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(event, _Lost):
            self._events.put_nowait(event)  # whoever asks next must hear of it too
        return event

    async def _pass_on(self, heard: Heard) -> None:
        for ready, companion in self._join.hear(heard):
            await self._take(ready, companion, self._session)

    async def _subscribe(self, channel: str) -> None:
        def heard(_characteristic: BleakGATTCharacteristic, data: bytearray) -> None:
            self._events.put_nowait(Heard(channel, bytes(data), self._now(), self._clock()))

        await self._client.start_notify(self._own(channel), heard)

    async def _clock_offset(self, zone: tzinfo) -> timedelta | None:
        """Device clock minus true time, or None when the device has no readable clock."""
        own = SERVICES[self._kind]
        for service, channel in ((_CURRENT_TIME, "2a2b"), (own, "2a08"), (_CURRENT_TIME, "2a08")):
            shown = shown_time(channel, await self._read(service, channel) or b"")
            if shown is not None:
                return clock_offset(shown, zone, self._now())
        return None

    async def _read(self, service: str, channel: str) -> bytes | None:
        """A characteristic's value, or None when the device lacks it or will not tell."""
        characteristic = self._find(service, channel)
        if characteristic is None or "read" not in characteristic.properties:
            return None
        try:
            return bytes(await self._client.read_gatt_char(characteristic))
        except (BleakGATTProtocolError, BleakDBusError) as error:
            _logger.debug("%s cannot be read: %s", channel, error)
            return None

    def _find(self, service: str, channel: str) -> BleakGATTCharacteristic | None:
        # Through its service: some meters have a second 2A52 in a service of their maker.
        found = self._client.services.get_service(service)
        return found.get_characteristic(normalize_uuid_str(channel)) if found else None

    def _own(self, channel: str) -> BleakGATTCharacteristic:
        characteristic = self._find(SERVICES[self._kind], channel)
        if characteristic is None:
            raise SessionError(f"the {_NAMES[self._kind]} lacks the characteristic {channel}")
        return characteristic

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()

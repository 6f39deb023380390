"""The Record Access Control Point (2A52) from the collector's side: one procedure as a pure state machine.

Events come in as method calls with the monotonic time at which they happened; actions for the radio come out. The
machine never waits: it names a `deadline`, and whoever drives it calls `elapsed` when that passes in silence.

Sources: GATT Specification Supplement (record access control point); the procedure's 30 s timer, restarted by each
record, and "no new procedure on a link that timed out" are the text of the Glucose Profile as quoted in public
collectors. The remedies for the ATT errors and the drain are Homeward's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final, TypeAlias

from ingest.gatt import RecordResponse, record_access
from ingest.reading import DecodeError

SILENCE: Final = 30.0
"""Seconds without a record or an answer after which a procedure has failed."""

DRAIN: Final = 0.2
"""Seconds in which notifications may still arrive after the procedure's answer has overtaken them."""

ALL: Final = bytes((0x01, 0x01))
ABORT: Final = bytes((0x03, 0x00))

_REPORT, _ABORT = 0x01, 0x03
_SUCCESS, _NO_RECORDS, _NOT_COMPLETED = 0x01, 0x06, 0x08
_CODES: Final = {
    2: "operation not supported",
    3: "invalid operator",
    4: "operator not supported",
    5: "invalid operand",
    7: "abort unsuccessful",
    9: "operand not supported",
    10: "server busy",
}
# A meter that cannot select by sequence number says so with one of these; it can always report everything.
_CANNOT_SELECT: Final = frozenset((0x04, 0x09))


def newer_than(last: int) -> bytes:
    """The request for all records whose sequence number (glucose) or time offset (CGM) is above `last`.

    The 16-bit number wraps: after 0xFFFF comes 0, and nothing can be excluded, so everything is asked for.
    """
    if last >= 0xFFFF:
        return ALL
    return bytes((0x01, 0x03, 0x01)) + (last + 1).to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class Write:
    """Write these octets to the control point, with response, then report `written` or `refused`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Switch the control point's indications on again: the device says that they are off."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Pair with the device: it demands an authenticated or encrypted link."""


Action: TypeAlias = Write | Subscribe | Pair

_REMEDIES: Final[dict[int, Action]] = {
    0x05: Pair(),  # insufficient authentication
    0x0F: Pair(),  # insufficient encryption
    0xFD: Subscribe(),  # client characteristic configuration improperly configured
    0xFE: Write(ABORT),  # procedure already in progress: left over from a link that died
}


class Ending(StrEnum):
    """How a procedure ended."""

    COMPLETE = "complete"
    NO_RECORDS = "no-records"
    PARTIAL = "partial"  # code 8: keep what came, resume after it
    REFUSED = "refused"
    SILENT = "silent"  # the link must not be used for another procedure
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a procedure, with a sentence for a person. `complete` means that nothing is missing."""

    ending: Ending
    because: str

    @property
    def complete(self) -> bool:
        """Whether every record asked for has been sent."""
        return self.ending in (Ending.COMPLETE, Ending.NO_RECORDS)


class _State(Enum):
    IDLE = auto()
    WRITING = auto()
    RUNNING = auto()
    ABORTING = auto()  # an old procedure is being cleared out of the way
    DRAINING = auto()
    ENDED = auto()


class RecordAccess:
    """One "report stored records" procedure: everything, or what is newer than `after`.

    Subscribe to the measurements first and to the control point last; then perform `start()` and the actions that
    each event returns, in their order, until `outcome` is set. `deadline` is the monotonic time (seconds) at which
    `elapsed` is due, or None while a write is under way (the stack limits that itself).
    """

    def __init__(self, *, after: int | None = None, silence: float = SILENCE, drain: float = DRAIN) -> None:
        request = ALL if after is None else newer_than(after)
        self._requests = [request] if request == ALL else [request, ALL]
        self._silence = silence
        self._drain = drain
        self._state = _State.IDLE
        self._tried: set[Action] = set()
        self._verdict: Outcome | None = None
        self.deadline: float | None = None
        self.outcome: Outcome | None = None

    def start(self) -> tuple[Action, ...]:
        """Begin."""
        return self._ask()

    def written(self, now: float) -> tuple[Action, ...]:
        """The device accepted the last Write."""
        if self._state is _State.WRITING:
            self._state = _State.RUNNING
        self.deadline = now + self._silence
        return ()

    def refused(self, code: int) -> tuple[Action, ...]:
        """The device answered the last Write with an ATT error. Each remedy is tried once."""
        remedy = _REMEDIES.get(code)
        if remedy is None or remedy in self._tried or self._state is not _State.WRITING:
            return self._end(Ending.REFUSED, f"the device refused the request for records (ATT error 0x{code:02X})")
        self._tried.add(remedy)
        if isinstance(remedy, Write):
            self._state = _State.ABORTING
            return (remedy,)
        return (remedy, *self._ask())

    def record(self, now: float) -> tuple[Action, ...]:
        """A record, or a part of one (2A18, 2A34, 2AA7), arrived."""
        if self.deadline is not None:
            self.deadline = now + (self._drain if self._state is _State.DRAINING else self._silence)
        return ()

    def answered(self, data: bytes, now: float) -> tuple[Action, ...]:
        """The control point indicated. An answer to something else, or a malformed one, changes nothing."""
        try:
            answer = record_access(data)
        except DecodeError:
            return ()
        if isinstance(answer, RecordResponse):
            if self._state is _State.ABORTING and answer.request == _ABORT:
                return self._ask()
            if self._state is _State.RUNNING and answer.request == _REPORT:
                return self._reported(answer.code, now)
        return ()

    def elapsed(self) -> tuple[Action, ...]:
        """The deadline passed with no event."""
        if self._state is _State.DRAINING:
            self._finish()
            return ()
        return self._end(
            Ending.SILENT, f"the device began to report its records and then said nothing for {self._silence:g} s"
        )

    def lost(self) -> tuple[Action, ...]:
        """The link is gone."""
        if self._state is _State.DRAINING:
            self._finish()
            return ()
        return self._end(Ending.LOST, "the connection was lost before the device had reported all its records")

    def _ask(self) -> tuple[Action, ...]:
        self._state = _State.WRITING
        self.deadline = None
        return (Write(self._requests[0]),)

    def _reported(self, code: int, now: float) -> tuple[Action, ...]:
        if code in _CANNOT_SELECT and len(self._requests) > 1:
            del self._requests[0]
            return self._ask()
        if code == _NO_RECORDS:
            return self._end(Ending.NO_RECORDS, "the device has no such records")
        if code == _SUCCESS:
            return self._drain_until(now, Ending.COMPLETE, "the device has reported all its records")
        if code == _NOT_COMPLETED:
            return self._drain_until(
                now, Ending.PARTIAL, "the device broke off before it had reported all its records"
            )
        reason = _CODES.get(code, "unknown reason")
        return self._end(Ending.REFUSED, f"the device will not report its records: {reason} (code {code})")

    def _drain_until(self, now: float, ending: Ending, because: str) -> tuple[Action, ...]:
        self._verdict = Outcome(ending=ending, because=because)
        self._state = _State.DRAINING
        self.deadline = now + self._drain
        return ()

    def _finish(self) -> None:
        self._state = _State.ENDED
        self.deadline = None
        self.outcome = self._verdict

    def _end(self, ending: Ending, because: str) -> tuple[Action, ...]:
        self._verdict = Outcome(ending=ending, because=because)
        self._finish()
        return ()

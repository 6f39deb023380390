"""The Record Access Control Point (2A52) from the collector's side, pure: one procedure, and which to ask for.

`RecordAccess` is one procedure as a state machine. Events come in as method calls with the monotonic time at which
they happened; actions for the radio come out. The machine never waits: it names a `deadline`, and whoever drives it
calls `elapsed` when that passes in silence.

`newer`, `later` and `everything` are conversations made of such procedures: generators that yield a Step, want to be
sent its Answer, and return the Outcome of the whole. They are where record numbers are distrusted, because numbers
wrap (after 65535 comes 0), are begun anew by a meter that was reset, and count downwards in some meters. "Newer than
the last one I have" is then not what "a higher number" gives. What is reported from the last known record on (that
one included) is only believed to be all that is new when

- the first record reported is the known one, with the base time it had: the numbers are still the same,
- the others follow it without a gap: this meter counts upwards, and reports in the order in which it took them, and
- the last record of the meter (operator 06) is among what was reported: nothing newer has a lower number.

Else everything is read once more; whoever keeps the records knows those it has by number and time.

Sources: GATT Specification Supplement (record access control point); the procedure's 30 s timer, restarted by each
record, "no new procedure on a link that timed out" and the two answers to an abort that comes too late are the text
of the Glucose Profile as quoted in public collectors. The remedies for the ATT errors and the drain are Homeward's.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum, auto
from typing import Final, TypeAlias

from ingest.gatt import RecordCount, RecordResponse, cgm_measurements, record_access
from ingest.reading import DecodeError

SILENCE: Final = 30.0
"""Seconds without a record or an answer after which a procedure has failed."""

DRAIN: Final = 0.2
"""Seconds in which notifications may still arrive after the procedure's answer has overtaken them."""

STOPPED: Final = "the reading was stopped on request"

_U16_MAX: Final = 0xFFFF
_BY_NUMBER: Final = 0x01  # the filter type: sequence number (glucose) or time offset (CGM)


class Op(IntEnum):
    """What is asked for."""

    REPORT = 0x01
    DELETE = 0x02
    ABORT = 0x03
    COUNT = 0x04


@dataclass(frozen=True, slots=True)
class Which:
    """Which records are meant: an operator, and the numbers of its filter (sequence numbers, or CGM time offsets).

    Raises ValueError for a number that sixteen bits do not hold.
    """

    operator: int
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= number <= _U16_MAX for number in self.numbers):
            raise ValueError(f"record numbers are 0 to {_U16_MAX}, not {self.numbers}")

    @property
    def octets(self) -> bytes:
        """Operator and operand as they travel."""
        filter_type = (_BY_NUMBER,) if self.numbers else ()
        return bytes((self.operator, *filter_type)) + b"".join(n.to_bytes(2, "little") for n in self.numbers)


EVERY: Final = Which(0x01)
FIRST: Final = Which(0x05)
LAST: Final = Which(0x06)


def up_to(highest: int) -> Which:
    """The records with this number and those with lower ones."""
    return Which(0x02, (highest,))


def from_number(lowest: int) -> Which:
    """The records with this number and those with higher ones."""
    return Which(0x03, (lowest,))


def between(lowest: int, highest: int) -> Which:
    """The records with numbers in this range, both ends included. Raises ValueError for an empty range."""
    if lowest > highest:
        raise ValueError(f"no record number lies between {lowest} and {highest}")
    return Which(0x04, (lowest, highest))


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the control point."""

    op: Op
    which: Which

    @property
    def octets(self) -> bytes:
        """The request as it is written."""
        return bytes((self.op,)) + self.which.octets


def report(which: Which = EVERY) -> Request:
    """Ask for stored records."""
    return Request(Op.REPORT, which)


def count(which: Which = EVERY) -> Request:
    """Ask how many records there are."""
    return Request(Op.COUNT, which)


def delete(which: Which) -> Request:
    """Have records deleted."""
    return Request(Op.DELETE, which)


ABORT: Final = Request(Op.ABORT, Which(0x00))

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

_CLEAR: Final = Write(ABORT.octets)
_REMEDIES: Final[dict[int, Action]] = {
    0x05: Pair(),  # insufficient authentication
    0x0F: Pair(),  # insufficient encryption
    0xFD: Subscribe(),  # client characteristic configuration improperly configured
    0xFE: _CLEAR,  # procedure already in progress: left over from a link that died
}


class Ending(StrEnum):
    """How a procedure ended."""

    COMPLETE = "complete"
    NO_RECORDS = "no-records"
    PARTIAL = "partial"  # code 8: keep what came, resume after it
    REFUSED = "refused"
    ABORTED = "aborted"
    SILENT = "silent"  # the link must not be used for another procedure
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a procedure, with a sentence for a person. `complete` means that nothing is missing.

    count: what the device answered to "how many", else None.
    """

    ending: Ending
    because: str
    count: int | None = None

    @property
    def complete(self) -> bool:
        """Whether all that was asked for has been done or sent."""
        return self.ending in (Ending.COMPLETE, Ending.NO_RECORDS)


class _State(Enum):
    IDLE = auto()
    WRITING = auto()
    RUNNING = auto()
    CLEARING = auto()  # an old procedure is being cleared out of the way
    ABORTING = auto()  # this procedure is not wanted any more
    DRAINING = auto()
    ENDED = auto()


class RecordAccess:
    """One procedure: a report, a count or a deletion.

    Subscribe to the measurements first and to the control point last; then perform `start()` and the actions that
    each event returns, in their order, until `outcome` is set. `deadline` is the monotonic time (seconds) at which
    `elapsed` is due, or None while a write is under way (whoever writes limits that).
    """

    def __init__(self, request: Request, *, silence: float = SILENCE, drain: float = DRAIN) -> None:
        self._request = request
        self._silence = silence
        self._drain = drain
        self._state = _State.IDLE
        self._tried: set[Action] = set()
        self._verdict: Outcome | None = None
        self.deadline: float | None = None
        self.outcome: Outcome | None = None

    def start(self) -> tuple[Action, ...]:
        """Begin."""
        self._state = _State.WRITING
        self.deadline = None
        return (Write(self._request.octets),)

    def abort(self) -> tuple[Action, ...]:
        """Somebody does not want the rest. Records may still arrive until the outcome is set."""
        if self._state is _State.CLEARING:
            self._state = _State.ABORTING
        elif self._state is _State.RUNNING:
            self._state = _State.ABORTING
            self.deadline = None
            return (_CLEAR,)
        return ()

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
        if remedy is _CLEAR:
            self._state = _State.CLEARING
            return (remedy,)
        return (remedy, *self.start())

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
        match self._state, answer:
            case _State.CLEARING, RecordResponse(request=Op.ABORT):
                return self.start()
            case _State.ABORTING, RecordResponse(request=Op.ABORT, code=code):
                return self._stopped(code, now)
            case ((_State.RUNNING | _State.ABORTING), RecordResponse(request=asked, code=code)) if (
                asked == self._request.op
            ):
                return self._answered(code, now)
            case _State.RUNNING, RecordCount(count=stored) if self._request.op is Op.COUNT:
                return self._end(Ending.COMPLETE, f"the device has {stored} such records", stored)
        return ()

    def elapsed(self) -> tuple[Action, ...]:
        """The deadline passed with no event."""
        if self._verdict is not None:
            self._finish()
            return ()
        return self._end(
            Ending.SILENT, f"the device began to report its records and then said nothing for {self._silence:g} s"
        )

    def lost(self) -> tuple[Action, ...]:
        """The link is gone."""
        if self._verdict is not None:
            self._finish()
            return ()
        return self._end(Ending.LOST, "the connection was lost before the device had reported all its records")

    def _answered(self, code: int, now: float) -> tuple[Action, ...]:
        if code == _NO_RECORDS:
            return self._conclude(Ending.NO_RECORDS, "the device has no such records", now)
        if code == _SUCCESS:
            return self._conclude(Ending.COMPLETE, "the device has reported all its records", now)
        if code == _NOT_COMPLETED:
            because = "the device broke off before it had reported all its records"
            return self._conclude(Ending.PARTIAL, because, now)
        reason = _CODES.get(code, "unknown reason")
        return self._conclude(Ending.REFUSED, f"the device will not report its records: {reason} (code {code})", now)

    def _conclude(self, ending: Ending, because: str, now: float) -> tuple[Action, ...]:
        """The procedure was answered. An abort that is under way is answered too; late records still come."""
        self._verdict = Outcome(ending=ending, because=because)
        if self._state is _State.ABORTING:
            return ()
        if self._request.op is Op.REPORT and ending in (Ending.COMPLETE, Ending.PARTIAL):
            self._drain_from(now)
        else:
            self._finish()
        return ()

    def _stopped(self, code: int, now: float) -> tuple[Action, ...]:
        if self._verdict is not None:
            self._drain_from(now)
        elif code == _SUCCESS:
            self._end(Ending.ABORTED, STOPPED)
        else:
            self._state = _State.RUNNING  # it would not stop, so it is heard to its end
        return ()

    def _drain_from(self, now: float) -> None:
        self._state = _State.DRAINING
        self.deadline = now + self._drain

    def _finish(self) -> None:
        self._state = _State.ENDED
        self.deadline = None
        self.outcome = self._verdict

    def _end(self, ending: Ending, because: str, stored: int | None = None) -> tuple[Action, ...]:
        self._verdict = Outcome(ending=ending, because=because, count=stored)
        self._finish()
        return ()


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells one record of a device from another: its number and, in a meter, the octets of its base time."""

    number: int
    base_time: bytes = b""


def mark_of(channel: str, data: bytes) -> Mark | None:
    """The mark of a record (2A18), or of the last of several (2AA7); None where there is none to be read."""
    if channel == "2a18" and len(data) >= 10:
        return Mark(int.from_bytes(data[1:3], "little"), data[3:10])
    last = None
    if channel == "2aa7":
        with suppress(DecodeError):
            for last in cgm_measurements(data):  # noqa: B007  the last one is meant
                pass
    return Mark(last.time_offset_min) if last else None


@dataclass(frozen=True, slots=True)
class Step:
    """What to ask next, and what to do with the records that come.

    first: they are only worth keeping if this known one comes first; then they follow it. kept: False = they are
    asked for to be compared with others, and not to be kept: kept too early they would hide what is still missing.
    """

    request: Request
    first: Mark | None = None
    kept: bool = True


class Progress:
    """How far a meter has been read: its last record that is safely kept, and whether all before that one are kept.

    For one process: after a restart everything is read once more. A report that broke off only counts when its
    records came one after the other upwards; else those that are missing may lie before the last one.
    """

    def __init__(self) -> None:
        self._last: Mark | None = None
        self._sure = False

    @property
    def known(self) -> Mark | None:
        """The record to go on from, None when everything is to be read."""
        return self._last if self._sure else None

    def kept(self, channel: str, data: bytes) -> None:
        """A record is safely kept."""
        self._last = mark_of(channel, data) or self._last

    def begin(self) -> bool:
        """A session begins to read; unless it says how it `ended`, nothing is sure. What was sure comes back."""
        sure, self._sure = self._sure, False
        return sure

    def ended(self, outcome: Outcome, told: Sequence[Mark], *, sure: bool) -> None:
        """It has ended. told: the records that were not thrown away. sure: what was before it began."""
        in_order = len(told) > 1 and _gapless(told)
        self._sure = outcome.complete or in_order or (sure and not told)


class Sieve:
    """Tells which records of one step are to be kept."""

    def __init__(self, step: Step) -> None:
        self._first = step.first
        self._open = step.kept

    def keeps(self, mark: Mark | None) -> bool:
        """Whether the next record, with this mark, is to be kept; the known one itself is there already."""
        if self._first is None or mark is None:
            return self._open
        first, self._first = self._first, None
        self._open = mark == first
        return False

    @property
    def threw_away(self) -> bool:
        """Whether the records were of no use."""
        return not self._open


@dataclass(frozen=True, slots=True)
class Answer:
    """How a procedure ended, and the records that it brought, in order of arrival."""

    outcome: Outcome
    told: tuple[Mark, ...]


Conversation: TypeAlias = Generator[Step, Answer, Outcome]


def everything() -> Conversation:
    """Read all records."""
    outcome, told, whole = yield from _reported(EVERY)
    if whole or not outcome.complete or (other_side := _other_side(told)) is None:
        return outcome
    # Gone on with by number, the report has ended at 65535 or 0; where the numbers wrap, that was not the end.
    answer = yield Step(report(other_side))
    return answer.outcome


def newer(known: Mark) -> Conversation:
    """Read what a meter took after the record that is known; all, where its numbers cannot be relied on."""
    outcome, told, _ = yield from _reported(from_number(known.number), known)
    if outcome.ending in _OVER:
        return outcome
    if told and told[0] == known:
        if outcome.ending is Ending.PARTIAL:
            return outcome
        if _gapless(told) and (verdict := (yield from _verified(outcome, told))):
            return verdict
    return (yield from everything())


def later(offset: int) -> Conversation:
    """Read what a CGM measured after a time offset (minutes) of the session that runs: these only ever rise."""
    outcome, _, _ = yield from _reported(from_number(offset + 1) if offset < _U16_MAX else EVERY)
    return (yield from everything()) if outcome.ending is Ending.REFUSED else outcome


# After these nothing more may be asked on the link.
_OVER: Final = frozenset({Ending.LOST, Ending.SILENT, Ending.ABORTED})


def _reported(which: Which, first: Mark | None = None) -> Generator[Step, Answer, tuple[Outcome, list[Mark], bool]]:
    """A report, gone on with where the device breaks it off; whether it came whole, with one request."""
    answer = yield Step(report(which), first)
    told, whole = list(answer.told), True
    if first is not None and told[:1] != [first]:
        return answer.outcome, told, whole
    while answer.outcome.ending is Ending.PARTIAL and (rest := _rest(told)) is not None:
        answer = yield Step(report(rest))
        whole = False
        if not set(answer.told) - set(told):
            break
        told += answer.told
    return answer.outcome, told, whole


def _rest(told: list[Mark]) -> Which | None:
    """What comes after the records told, in the direction in which their numbers go; None where that is not known."""
    if not told:
        return None
    last = told[-1].number
    if len(told) > 1 and last < told[-2].number:
        return up_to(last - 1) if last else None
    return from_number(last + 1) if last < _U16_MAX else None


def _gapless(told: Sequence[Mark]) -> bool:
    return all(mark.number == told[0].number + at for at, mark in enumerate(told))


def _other_side(told: list[Mark]) -> Which | None:
    """All numbers that lie against the direction in which the report went from its first record."""
    first = told[0].number
    if len(told) > 1 and told[1].number < first:
        return from_number(first + 1) if first < _U16_MAX else None
    return up_to(first - 1) if first else None


def _verified(outcome: Outcome, told: list[Mark]) -> Generator[Step, Answer, Outcome | None]:
    """The outcome, if the last record of the device is among those told; None if not, or where it cannot be asked."""
    answer = yield Step(report(LAST), kept=False)
    if answer.outcome.ending in _OVER:
        return answer.outcome
    return outcome if answer.outcome.complete and answer.told and answer.told[-1] in told else None

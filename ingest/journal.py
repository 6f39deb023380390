"""The journal: every reading that was admitted, and every byte that was not, with its reason.

SQLite, WAL, synchronous=FULL: what `append` returned from is on disk. One writer; any number of readers beside it.
Readings are clustered by (patient and vital, moment), so that a chart is one short scan. Followers (InfluxDB, the
watch) read `arrivals` by cursor. Times are integer microseconds UTC. All calls block; all are safe from any thread.

A reading's identity is (device, vital, sequence, device_time). Where the device's clock is believed, the clustered
key itself holds it. Where the moment was corrected or is the arrival, the same record read again would get another
moment, so its claim is kept in `claims` (few rows: no secondary index on the busy path). The same identity with
another value is a revision: `readings` holds the newest one, `superseded` what was said before.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Final, Literal, NamedTuple

import numpy as np

from ingest import line_protocol
from ingest.accounts import Accounts, accounts
from ingest.checkpoint import Checkpointer
from ingest.journal_format import FORMAT, prepare
from ingest.line_protocol import Point
from ingest.progress import Progress, Stretch
from ingest.quick import quick
from ingest.reading import (
    DecodeError,
    Flag,
    Packet,
    Reading,
    Refusal,
    RefusalReason,
    Session,
    TimeBasis,
    from_us,
    to_us,
)
from ingest.rows import (
    CLAIM,
    CLAIM_ZONE,
    COLUMNS,
    RECEIVED,
    REV,
    Row,
    claim_key,
    from_row,
    identity,
    is_anonymous,
    revised,
    same_value,
    to_glucose,
    to_row,
)
from ingest.series import GlucoseSeries, Series
from ingest.vital import COMPONENTS, Vital

_US: Final = timedelta(microseconds=1)
_DEVICE: Final = TimeBasis.DEVICE  # looked up once: it is asked for with each reading
_LAST: Final = 2**63 - 1  # no sequence number is higher

_R: Final = ", ".join(f"r.{column}" for column in f"{COLUMNS}, rev".split(", "))
_SAME: Final = "sequence IS ? AND claim_us IS ? AND claim_zone_s IS ?"
# Readings inserted by one statement, since Python gives its lock away at each; where one of them is known already
# all of its run are tried again one by one.
_RUN: Final = 40
_VALUES: Final = f"({','.join('?' * len(COLUMNS.split(', ')))})"
# When a device was heard last. Of what comes now its newest arrival says it and not the latest moment, or one reading
# that came while the clock was ahead would say it for ever; a letter that is admitted later, or a packet that a home
# post had first, came before.
_HEARD: Final = "coalesce(:now, max(last_received_us, :before), :before, last_received_us)"
_INSERT: Final = f"INSERT OR IGNORE INTO readings({COLUMNS}) VALUES{_VALUES}"
_ARRIVE: Final = "INSERT INTO arrivals(series, taken_us, device, n) VALUES(?,?,?,?)"
_ARRIVED: Final = (
    "arrivals a JOIN readings r ON r.series=a.series AND r.taken_us=a.taken_us AND r.device=a.device AND r.n=a.n "
    "JOIN series s ON s.id=a.series JOIN devices d ON d.id=a.device"
)
_POINTS: Final = (
    "SELECT a.seq, s.vital, s.patient, d.name, r.taken_us, r.n, a.rev, v0, v1, v2, v3, coalesce(s0, v0), "
    "coalesce(s1, v1), coalesce(s2, v2), coalesce(s3, v3), unit, basis, received_us, flags, r.rev "
    f"FROM {_ARRIVED}"
)
# sqlite3 looks in three places for how to adapt a None before it finds that it need not: 0.4 us each, and most of a
# row is NULL. An empty dictionary, which gives None for None, is found in the first place.
_AS_IT_IS: Final[dict[None, None]] = {}
sqlite3.register_adapter(type(None), _AS_IT_IS.get)

Outcome = Reading | Refusal | DecodeError
REJECTED: Final = "rejected"  # the reason of a letter that a follower's store refused for good
TOO_MANY: Final = "too-many"  # the reason of the one that says that further ones of its device are not kept
MOST_WAITING: Final = 16 * 1_048_576  # octets of letters that wait of one device; three months of a sensor's readings
_LETTER: Final = 300  # octets that a letter takes beside what came
_DISCARDED: Final = " | discarded: "  # begins the remark behind the sentence of a discarded letter
_TOLD: Final = 5  # sentences of which the parts of one letter say what is wrong
Fate = tuple[int, Reading] | None  # what is kept under its sequence number; None for what is known already
# What a part becomes: the names of counters, beside those of the refusals.
UNDECODABLE, ADMITTED, REVISED, DUPLICATE = "undecodable", "admitted", "revised", "duplicate"
UNKEPT: Final = "aside.unkept"  # parts of which no letter was kept, for too many of their device wait
FORGOTTEN: Final = "aside.discarded"  # parts of discarded letters that were dropped since
REPEATED: Final = "aside.repeated"  # parts that came again while the same octets waited


class LetterState(StrEnum):
    """Where a letter stands."""

    WAITING = "waiting"
    ADMITTED = "admitted"  # everything in it has become readings
    REPLACED = "replaced"  # it was tried again, and what is left of it waits as other letters
    DISCARDED = "discarded"


class Span(NamedTuple):
    """Readings of one vital of a patient with start <= taken_at < end."""

    patient: str
    vital: Vital
    start: datetime
    end: datetime


class _Rest(NamedTuple):
    """What waits of a packet, of one part of it."""

    reason: str
    because: str
    device: str
    anonymous: bool = False


Left = dict[int, _Rest]  # by part


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One packet and what became of each of its parts (position = part)."""

    packet: Packet
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Bytes that could not be admitted, kept until a person or a change of the roster helps.

    reason: a RefusalReason, "too_short", "invalid", "rejected" (by a follower's store), "conflict" (another value of
    a known record, in a journal from before revisions), or "too-many" (it stands for all that is not kept of its
    device, and holds nothing). parts: the positions in the packet that wait. packet: as it came, so that it can be
    tried again. followed_by: the letters in which what is left of a replaced one waits.
    """

    id: int
    state: LetterState
    reason: str
    because: str
    device: str
    parts: tuple[int, ...]
    packet: Packet
    followed_by: tuple[int, ...]

    @property
    def counted_parts(self) -> str:
        """Its parts as people count them, from 1: "2, 3"."""
        return ", ".join(str(part + 1) for part in self.parts)

    @property
    def others(self) -> str:
        """The letters in which what is left of it waits: "letter 58, letter 59"."""
        return ", ".join(f"letter {number}" for number in self.followed_by)

    @property
    def whereabouts(self) -> str:
        """Where one that does not wait is: "it is admitted", "it goes on as letter 58"."""
        return f"it goes on as {self.others}" if self.followed_by else f"it is {self.state}"


@dataclass(slots=True, kw_only=True)
class Appended:
    """What one commit did: new readings with their sequence numbers, and the readings that were known already."""

    new: list[tuple[int, Reading]] = field(default_factory=list)
    duplicates: int = 0
    letters: int = 0


class _Brought:
    """What a commit brings: what became of each part, and what was heard of each device. Written once, at its end.

    before: whether all of it came at another time.
    """

    def __init__(self, *, before: bool = False) -> None:
        self.appended = Appended()
        self.became: list[tuple[str, str]] = []  # what a part became, and its link
        self._sequences: dict[str, int | None] = {}
        self._before = before
        self._heard_now: dict[str, int] = {}
        self._heard_before: dict[str, int] = {}

    def told(self, device: str, sequence: int | None) -> None:
        """The number of the last record of a packet, None where it has none."""
        if sequence is not None or device not in self._sequences:
            self._sequences[device] = sequence

    def kept(self, fate: tuple[int, Reading], packet: Packet) -> None:
        """A new reading, or a revision."""
        self.appended.new.append(fate)
        device, received = fate[1].device, to_us(packet.received_at)
        if self._before or packet.is_named:
            self._heard_before[device] = max(received, self._heard_before.get(device, received))
        else:
            self._heard_now[device] = received

    def devices(self) -> Iterator[tuple[str, int | None, int | None, int | None]]:
        """(device, last sequence, last arrival of something new in microseconds: now, and before) of each."""
        for device, sequence in self._sequences.items():
            yield device, sequence, self._heard_now.get(device), self._heard_before.get(device)

    def tally(self) -> Counter[str]:
        """What to add to the counters: that of the parts is the sum of what they became."""
        tally: Counter[str] = Counter()
        for (what, link), count in Counter(self.became).items():
            tally["parts"] += count
            tally[what] += count
            if what != UNDECODABLE:
                tally["decoded"] += count
            if what in {ADMITTED, REVISED}:
                tally[f"{what}.{link}"] += count
        return tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Octets on disk: of the file, of the room in it that new readings will use first, of its write-ahead log."""

    octets: int
    spare: int
    wal: int


class JournalError(Exception):
    """The journal file cannot be used. The text says why and what to do."""


class Journal:
    """The journal in one file; creates it when it is not there. Raises JournalError.

    durable: False where nothing is lost with it (a replay), so that no commit waits for the disk. checkpoints: who
    takes the write-ahead log into the file: the writer itself now and again; a thread beside it, which only the one
    program may have that keeps the file open for long; or nobody, for that program may be at it.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = True,
        checkpoints: Literal["by the writer", "beside it", "by nobody"] = "by the writer",
    ) -> None:
        self._path = path
        self._synchronous = "FULL" if durable else "OFF"
        self._lock = Lock()
        self._numbers_hold = False
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._connect()
            self._db.execute("PRAGMA cache_size=-65536")  # of the writer alone: there may be many readers
            self._db.execute("PRAGMA temp_store=MEMORY")  # what a savepoint may have to undo: a page for each reading
            self._prepare()
            if checkpoints != "by the writer":
                self._db.execute("PRAGMA wal_autocheckpoint=0")
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"cannot use the journal {path}: {error}; check the path, its owner and the disk"
            ) from error
        self._load_numbers()
        self._checkpointer = Checkpointer(self._connect, self._lock) if checkpoints == "beside it" else None

    def close(self) -> None:
        """Close every connection; the journal must not be used afterwards."""
        if self._checkpointer:
            self._checkpointer.close()
        with self._lock:
            self._db.close()
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def append(self, arrivals: Sequence[Arrival]) -> Appended:
        """Commit a batch: readings that are new, letters for the rest, counters. On return it is on disk.

        A reading that is known already is counted and dropped; the same identity with another value becomes a
        revision, which is believed from then on and stands where the first one stood. Raises sqlite3.Error when
        nothing was written (disk full, for one).
        """
        with self._writing() as db:
            brought = _Brought()
            fates = iter(self._insert_all(db, (one for each in arrivals for one in each.outcomes)))
            for arrival in arrivals:
                left = _settle(arrival.packet, enumerate(arrival.outcomes), fates, brought)
                if left and (left := self._keepable(db, arrival.packet, left)):
                    brought.appended.letters += len(self._write_letters(db, arrival.packet, left))
            self._note_heard(db, brought)
            links = Counter([arrival.packet.link for arrival in arrivals])
            self._count(db, {**brought.tally(), **{f"packets.{link}": count for link, count in links.items()}})
        return brought.appended

    def readmit(self, tried: Iterable[tuple[Letter, tuple[Outcome, ...]]]) -> Appended:
        """Letters were tried again: each with the outcomes of its whole packet; only the parts that wait count.

        A letter of which nothing could be admitted waits on, and says why it does now; of the others the rest waits
        as a letter of its own.
        """
        with self._writing() as db:
            brought = _Brought(before=True)
            for letter, outcomes in tried:
                if not letter.parts or letter.parts[-1] >= len(outcomes):
                    # It holds nothing, or is cut into other parts than it was: nothing says what became of its own.
                    continue
                parts = [(part, outcomes[part]) for part in letter.parts]
                fates = iter(self._insert_all(db, (outcome for _, outcome in parts)))
                left = _settle(letter.packet, parts, fates, brought)
                if {part: rest.reason for part, rest in left.items()} == dict.fromkeys(letter.parts, letter.reason):
                    said = _sentence(left.values())
                    db.execute("UPDATE letters SET because=? WHERE id=? AND because<>?", (said, letter.id, said))
                else:
                    state = LetterState.REPLACED if left else LetterState.ADMITTED
                    db.execute("UPDATE letters SET state=? WHERE id=?", (state, letter.id))
                    others = self._write_letters(db, letter.packet, left)
                    if others:
                        db.execute("UPDATE letters SET followed_by=? WHERE id=?", (json.dumps(others), letter.id))
            self._note_heard(db, brought)
            known = {ADMITTED, REVISED, DUPLICATE}
            self._count(db, {f"readmitted.{what}": n for what, n in brought.tally().items() if what in known})
            self._waiting.clear()
        return brought.appended

    def discard(self, letter: int, because: str) -> bool:
        """Take a letter off the waiting list; its bytes stay. False when no such letter waits."""
        return self._move(letter, LetterState.DISCARDED, f"{_DISCARDED}{because}")

    def take_back(self, letter: int) -> bool:
        """Have a discarded letter wait again. False when it is not discarded, or the same waits as another letter."""
        said = "substr(because, 1, instr(because || :remark, :remark) - 1)"
        with self._writing() as db:
            changed = db.execute(
                f"UPDATE OR IGNORE letters SET state=:waits, because={said} WHERE id=:letter AND state=:discarded",
                {
                    "remark": _DISCARDED, "waits": LetterState.WAITING, "letter": letter,
                    "discarded": LetterState.DISCARDED,
                },
            )  # fmt: skip
            self._waiting.clear()
            return changed.rowcount == 1

    def set_aside(self, follower: str, seq: int, line: bytes, status: int, answer: str) -> None:
        """Keep the line of a reading that a follower's store refused for good, with the store's answer."""
        with self._writing() as db:
            vital, patient, device, received = db.execute(
                f"SELECT s.vital, s.patient, d.name, r.received_us FROM {_ARRIVED} WHERE a.seq=?", (seq,)
            ).fetchone()
            packet = Packet(link=follower, sender=device, channel="line", data=line, received_at=from_us(received))
            because = (
                f"{follower} refused arrival {seq}, {vital} of patient {patient}, for good with status {status}: "
                f"{answer}"
            )
            self._write_letters(db, packet, {0: _Rest(REJECTED, because, device)})
            self._count(db, {f"rejected.{follower}": 1})

    def since(self, cursor: int, limit: int) -> list[tuple[int, Reading]]:
        """Readings in the order in which they were committed, after sequence number `cursor`, at most `limit`."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT a.seq, a.rev, {_R}, s.patient, s.vital, d.name FROM {_ARRIVED} "
                "WHERE a.seq > ? ORDER BY a.seq LIMIT ?",
                (cursor, limit),
            )
            return [(row[0], from_row(_as_of(db, row[1], row[2:]))) for row in rows]

    def points(self, cursor: int, limit: int) -> list[Point]:
        """The same readings as points, which takes a fraction of the time."""
        with self._reading() as db:
            rows = db.execute(f"{_POINTS} WHERE a.seq > ? ORDER BY a.seq LIMIT ?", (cursor, limit)).fetchall()
        return [Point._make(row[:-1]) if row[-1] == row[6] else self._older(row[0]) for row in rows]

    def _older(self, seq: int) -> Point:
        """A reading that was revised since then, as it was."""
        [(_, reading)] = self.since(seq - 1, 1)
        return line_protocol.point(reading, seq)

    def arrived(
        self, cursor: int, patients: Collection[str], vital: Vital, start: datetime
    ) -> tuple[int, set[tuple[str, int, int]]]:
        """What came after sequence number `cursor` of a vital of these patients, taken from `start` on.

        Returns the highest sequence number there is, and (device, taken_us, n) of the readings, as in their key.
        """
        marks = ",".join("?" * len(patients))
        with self._reading() as db, moment(db):
            rows = db.execute(
                # The + keeps SQLite from looking for the series first: there is one stretch of arrivals to read.
                "SELECT d.name, a.taken_us, a.n FROM arrivals a JOIN devices d ON d.id=a.device WHERE a.seq>? AND "
                f"a.taken_us>=? AND +a.series IN (SELECT id FROM series WHERE vital=? AND patient IN ({marks}))",
                (cursor, to_us(start), vital, *patients),
            )
            return _journaled(db), set(rows)

    def tail(self) -> int:
        """The highest sequence number given so far, 0 when there is none."""
        with self._reading() as db:
            return _journaled(db)

    def progress(self, follower: str) -> Progress:
        """How far a follower has come."""
        with self._reading() as db, moment(db):
            return _progress(db, follower)

    def confirm(self, follower: str, stretch: Stretch, *, came_from: Progress) -> None:
        """Remember that a follower has dealt with a stretch, if nobody has set it elsewhere meanwhile."""
        with self._writing() as db:
            if _progress(db, follower) == came_from:
                _move(db, follower, came_from.confirming(stretch))

    def start_over(self, follower: str) -> None:
        """Have a follower begin again with the first reading."""
        with self._writing() as db:
            _move(db, follower, Progress())

    def readings(
        self, patient: str, vital: Vital, start: datetime, end: datetime, limit: int | None = None
    ) -> list[Reading]:
        """Readings of one vital with start <= taken_at < end, oldest first; with a limit, the newest of them."""
        query = (
            f"SELECT {_R}, s.patient, s.vital, d.name FROM series s "
            "JOIN readings r ON r.series=s.id JOIN devices d ON d.id=r.device "
            "WHERE s.patient=? AND s.vital=? AND r.taken_us>=? AND r.taken_us<? ORDER BY r.taken_us DESC LIMIT ?"
        )
        with self._reading() as db:
            rows = db.execute(query, (patient, vital, to_us(start), to_us(end), -1 if limit is None else limit))
            return [from_row(row) for row in rows][::-1]

    def said_before(self, reading: Reading) -> Reading | None:
        """What the device said of a reading before its newest revision; None where it said nothing else."""
        query = (
            f"SELECT {_R}, s.patient, s.vital, d.name FROM superseded r "
            "JOIN series s ON s.id=r.series JOIN devices d ON d.id=r.device "
            "WHERE s.patient=? AND s.vital=? AND r.taken_us=? AND d.name=? AND r.n=? AND r.rev=?"
        )
        place = (reading.patient, reading.vital, to_us(reading.taken_at), reading.device, reading.twin)
        with self._reading() as db:
            row = db.execute(query, (*place, reading.rev - 1)).fetchone()
            return from_row(row) if row else None

    def count(self, patient: str, device: str, start: datetime | None, end: datetime | None) -> int:
        """How many readings of a device a patient has with start <= taken_at < end; None: without that bound."""
        query = (
            "SELECT count(*) FROM readings WHERE taken_us>=? AND taken_us<? "
            "AND series IN (SELECT id FROM series WHERE patient=?) AND device=(SELECT id FROM devices WHERE name=?)"
        )
        span = (-_LAST if start is None else to_us(start), _LAST if end is None else to_us(end))
        with self._reading() as db:
            return int(db.execute(query, (*span, patient, device)).fetchone()[0])

    def newest(self, spans: Sequence[Span]) -> list[Reading | None]:
        """The newest reading of each span, None where it has none; many spans cost one query."""
        return self._first_of(spans, "1", "taken_us DESC")

    def extremes(self, spans: Sequence[Span], doubts: Iterable[Flag], *, low: bool) -> list[list[Reading]]:
        """The lowest or the highest of each span by the first component, then the second, the newest.

        One of those without any of the flags in `doubts` and one of those with one, where there are such. LO and HI
        are beyond all numbers.
        """
        down = "" if low else "DESC"
        doubted = f"flags IS NOT NULL AND ({' OR '.join(_flagged(flag) for flag in doubts)})"
        beyond = f"CASE WHEN {_flagged(Flag.BELOW_RANGE)} THEN -1e9 WHEN {_flagged(Flag.ABOVE_RANGE)} THEN 1e9 END"
        value = f"coalesce(v0, {beyond})"
        found = (
            self._first_of(
                spans, f"{value} IS NOT NULL AND {only} ({doubted})", f"{value} {down}, v1 {down}, taken_us DESC"
            )
            for only in ("NOT", "")
        )
        return [[reading for reading in both if reading] for both in zip(*found, strict=True)]

    def _first_of(self, spans: Sequence[Span], which: str, order: str) -> list[Reading | None]:
        """Of each span the first one of those `which`, in this order. Both in SQL, of the columns of readings."""
        query = (
            f"SELECT {_R}, s.patient, s.vital, d.name, q.key FROM json_each(?) q JOIN series s "
            "ON s.patient=json_extract(q.value, '$[0]') AND s.vital=json_extract(q.value, '$[1]') JOIN readings r "
            "ON r.series=s.id AND (r.taken_us, r.device, r.n)=(SELECT taken_us, device, n FROM readings "
            "WHERE series=s.id AND taken_us>=json_extract(q.value, '$[2]') "
            "AND taken_us<json_extract(q.value, '$[3]') "
            f"AND {which} ORDER BY {order} LIMIT 1) JOIN devices d ON d.id=r.device"
        )
        asked = json.dumps([(span.patient, span.vital, to_us(span.start), to_us(span.end)) for span in spans])
        found: list[Reading | None] = [None] * len(spans)
        with self._reading() as db:
            for *row, place in db.execute(query, (asked,)):
                found[place] = from_row(tuple(row))
        return found

    def series(self, patient: str, vital: Vital, start: datetime, end: datetime) -> Series:
        """See `ingest.series.SeriesSource`."""
        width = len(COMPONENTS[vital])
        columns = ", ".join(f"v{i}" for i in range(width))
        with self._reading() as db:
            rows = db.execute(
                f"SELECT taken_us, {columns} FROM readings WHERE taken_us>=? AND taken_us<? AND "
                "series=(SELECT id FROM series WHERE patient=? AND vital=?) ORDER BY taken_us, device, n",
                (to_us(start), to_us(end), patient, vital),
            ).fetchall()
        # By columns, which is twice as fast as by rows. Floats hold microseconds exactly until the year 2255.
        table = np.array(tuple(zip(*rows, strict=True)), dtype=np.float64).reshape(1 + width, len(rows))
        return Series(taken_us=table[0].astype(np.int64), values=table[1:].T)

    def measured(
        self, patient: str, spans: Sequence[tuple[datetime, datetime]], vital: Vital | None = None
    ) -> list[bool]:
        """In which spans, start <= taken_at < end, a vital of a patient (None: any) was measured: one seek a span."""
        query = (
            "SELECT d.key FROM json_each(?) d WHERE EXISTS(SELECT 1 FROM series s JOIN readings r ON r.series=s.id "
            "WHERE s.patient=? AND s.vital=coalesce(?, s.vital) AND r.taken_us>=json_extract(d.value, '$[0]') "
            "AND r.taken_us<json_extract(d.value, '$[1]'))"
        )
        told = json.dumps([(to_us(start), to_us(end)) for start, end in spans])
        with self._reading() as db:
            found = {place for (place,) in db.execute(query, (told, patient, vital))}
        return [place in found for place in range(len(spans))]

    def knows(self, patient: str) -> bool:
        """Whether a patient ever had a reading."""
        with self._reading() as db:
            return db.execute("SELECT 1 FROM series WHERE patient=?", (patient,)).fetchone() is not None

    def glucose(self, patient: str, vital: Vital, start: datetime, end: datetime) -> GlucoseSeries:
        """Glucose with start <= taken_at < end as displays showed it; of one moment what came first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT r.taken_us, coalesce(r.s0, r.v0), r.unit, r.flags, d.name FROM readings r "
                "JOIN devices d ON d.id=r.device WHERE r.taken_us>=? AND r.taken_us<? AND "
                "r.series=(SELECT id FROM series WHERE patient=? AND vital=?) "
                "ORDER BY r.taken_us, r.received_us",
                (to_us(start), to_us(end), patient, vital),
            ).fetchall()
        return to_glucose(rows)

    def last_arrival(self, device: str) -> datetime | None:
        """When a device last brought a new reading (UTC), None if it never did."""
        with self._reading() as db:
            row = db.execute("SELECT last_received_us FROM devices WHERE name=?", (device,)).fetchone()
        return from_us(row[0]) if row and row[0] else None

    def last_arrivals(self) -> dict[str, datetime]:
        """When each device last brought a new reading (UTC), for those that ever did."""
        with self._reading() as db:
            rows = db.execute("SELECT name, last_received_us FROM devices WHERE last_received_us IS NOT NULL")
            return {name: from_us(received) for name, received in rows}

    def patients_beyond(
        self, vital: Vital, start: datetime, *, below: float, reaching: tuple[float, float] = (math.inf, math.inf)
    ) -> list[str]:
        """Who has readings of a vital, taken from `start` on, that are beyond these limits (canonical).

        The first component is `below` its limit, or the first or second is `reaching` its own, or the first has no
        number, as where a display shows HI or LO.
        """
        query = (
            "SELECT DISTINCT s.patient FROM series s JOIN readings r ON r.series=s.id "
            "WHERE s.vital=? AND r.taken_us>=? AND (r.v0<? OR r.v0>=? OR r.v1>=? OR r.v0 IS NULL)"
        )
        with self._reading() as db:
            return [patient for (patient,) in db.execute(query, (vital, to_us(start), below, *reaching))]

    def resume_point(self, device: str) -> int | None:
        """The number of the last record of a device whose fate is on disk; None when all are still to be read."""
        with self._reading() as db:
            row = db.execute("SELECT last_sequence FROM devices WHERE name=?", (device,)).fetchone()
        return row[0] if row else None

    def letter(self, number: int) -> Letter | None:
        """One letter, whatever its state."""
        with self._reading() as db:
            row = db.execute("SELECT * FROM letters WHERE id=?", (number,)).fetchone()
        return _letter(row) if row else None

    def letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Letter]:
        """Letters, newest first; `before` is the id of the last one of the page before."""
        where, values = _such(state, device, reason, before)
        with self._reading() as db:
            rows = db.execute(f"SELECT * FROM letters WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit))
            return [_letter(row) for row in rows]

    def count_letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
    ) -> int:
        """How many such letters there are; see `letters`."""
        where, values = _such(state, device, reason, before)
        with self._reading() as db:
            return int(db.execute(f"SELECT count(*) FROM letters WHERE {where}", values).fetchone()[0])

    def waiting_devices(self, reason: str) -> list[str]:
        """The devices of which letters wait for this reason."""
        query = "SELECT DISTINCT device FROM letters WHERE state=? AND reason=? ORDER BY device"
        with self._reading() as db:
            return [device for (device,) in db.execute(query, (LetterState.WAITING, reason))]

    def oldest_letters(self, device: str, reason: str, after: int, limit: int) -> list[Letter]:
        """Letters of a device that wait for this reason, oldest first; `after` is the last id of the page before."""
        query = "SELECT * FROM letters WHERE state=? AND device=? AND reason=? AND id>? ORDER BY id LIMIT ?"
        with self._reading() as db:
            return [_letter(row) for row in db.execute(query, (LetterState.WAITING, device, reason, after, limit))]

    def letters_since(self, reason: str, start: datetime, after: int, limit: int) -> list[Letter]:
        """Letters for this reason that came from `start` on and wait or were discarded, oldest first.

        `after` is the last id of the page before.
        """
        # What is left of a replaced letter is in others.
        query = (
            "SELECT * FROM letters WHERE state IN ('waiting', 'discarded') AND reason=? AND received_us>=? AND id>? "
            "ORDER BY id LIMIT ?"
        )
        with self._reading() as db:
            return [_letter(row) for row in db.execute(query, (reason, to_us(start), after, limit))]

    def failures(self, device: str, start: datetime, end: datetime) -> list[datetime]:
        """When measurements that a device reported as failed came in, start <= then < end, oldest first."""
        # What is left of a replaced letter waits in others.
        query = (
            "SELECT received_us, parts FROM letters WHERE state IN ('waiting', 'discarded') AND device=? "
            "AND reason=? AND received_us>=? AND received_us<? ORDER BY received_us"
        )
        with self._reading() as db:
            rows = db.execute(query, (device, RefusalReason.NO_VALUE, to_us(start), to_us(end)))
            return [from_us(received) for received, parts in rows for _ in json.loads(parts)]

    def counts(self) -> dict[str, int]:
        """All counters since the journal began; letters.waiting is counted now."""
        with self._reading() as db:
            return {**_counters(db), "letters.waiting": _waiting_letters(db)}

    def accounts(self, followers: Mapping[str, Progress]) -> Accounts:
        """What was counted, with what still waits for each follower that has come so far; all of one moment."""
        with self._reading() as db, moment(db):
            return accounts_of(db, followers)

    def rejected(self, follower: str) -> int:
        """How many lines wait that this follower's store refused for good."""
        query = "SELECT count(*) FROM letters WHERE state='waiting' AND reason='rejected' AND link=?"  # as its index
        with self._reading() as db:
            return int(db.execute(query, (follower,)).fetchone()[0])

    def settle(self, letter: int) -> bool:
        """A letter became what it should, by another way than `readmit`. False when no such letter waits."""
        return self._move(letter, LetterState.ADMITTED, "")

    def drop(self, confirmed: int, received_before: datetime, limit: int, *, now: datetime) -> int:
        """Drop the oldest readings in order of arrival, at most `limit`; how many were dropped.

        It stops at the first that is younger, or that lies behind `confirmed`, the cursor of the slowest follower.
        One that came later than now came while the clock was ahead: it is as old as the first behind it that did not.
        A record that was dropped and is told once more by its device is a new reading.
        """
        with self._writing() as db:
            last = before = self._dropped(db)
            honest, came = last, to_us(now)
            for seq, rev, *row in db.execute(
                f"SELECT a.seq, a.rev, {_R}, s.vital FROM {_ARRIVED} WHERE a.seq<=? ORDER BY a.seq LIMIT ?",
                (confirmed, limit),
            ).fetchall():
                said = _as_of(db, rev, tuple(row))
                if said[RECEIVED] <= to_us(now):
                    came = said[RECEIVED]
                elif seq > honest:
                    honest, came = self._next_arrival(db, seq, now)
                if came >= to_us(received_before):
                    break
                self._delete(db, said, newest=row[REV] == rev)
                last = seq
            db.execute("DELETE FROM arrivals WHERE seq<=?", (last,))
            if last > before:
                self._count(db, {"dropped": last - before})
            return last - before

    def drop_letters(self, received_before: datetime | None, limit: int) -> int:
        """Drop the oldest letters that nobody waits for any more, at most `limit`; how many were dropped.

        received_before: None for all, whenever they came. Their readings are kept, or a person has discarded them.
        """
        query = (
            "SELECT id, state, json_array_length(parts), reason FROM letters WHERE state<>? AND received_us<? "
            "ORDER BY id LIMIT ?"
        )
        before = _LAST if received_before is None else to_us(received_before)
        with self._writing() as db:
            gone = db.execute(query, (LetterState.WAITING, before, limit)).fetchall()
            if gone:
                db.executemany("DELETE FROM letters WHERE id=?", [(number,) for number, *_ in gone])
                discarded = [n for _, state, n, why in gone if state == LetterState.DISCARDED and why != REJECTED]
                self._count(db, {FORGOTTEN: sum(discarded)})
            return len(gone)

    def size(self) -> Size:
        """How large the journal is on disk now."""
        with self._reading() as db:
            page, pages, spare = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
            )
        wal = Path(f"{self._path}-wal")
        return Size(octets=page * pages, spare=page * spare, wal=wal.stat().st_size if wal.exists() else 0)

    def checkpoint(self) -> bool:
        """Take the write-ahead log into the file and empty it. False when somebody was at work: another time."""
        with self._lock, closing(sqlite3.connect(self._path, isolation_level=None, timeout=0)) as db:
            try:
                busy: int = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError:  # locked
                return False
            return not busy

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={self._synchronous}")
        return db

    def _prepare(self) -> None:
        if (found := prepare(self._db)) != FORMAT:
            raise JournalError(
                f"{self._path} has journal format {found}, this Homeward reads {FORMAT}; update Homeward"
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._numbers_hold:
                self._end_transaction()
                self._load_numbers()
            self._db.execute("BEGIN IMMEDIATE")
            self._numbers_hold = False  # what is numbered here is forgotten unless it is committed
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._end_transaction()
                raise
            self._numbers_hold = True
            if self._checkpointer:
                self._checkpointer.note_commit()

    def _end_transaction(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _load_numbers(self) -> None:
        """Read the numbers of devices and series from the file, all of them or none; forget the rest."""
        devices: dict[str, int] = dict(self._db.execute("SELECT name, id FROM devices"))
        rows = self._db.execute("SELECT id, patient, vital FROM series")
        series: dict[tuple[str, str], int] = {(patient, vital): number for number, patient, vital in rows}
        claimants = {device for (device,) in self._db.execute("SELECT DISTINCT device FROM claims")}
        self._devices, self._series, self._claimants = devices, series, claimants
        self._waiting: dict[str, int] = {}  # octets of letters by device, where they were asked for
        self._numbers_hold = True

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._idle.get_nowait()
        except Empty:
            db = self._connect()
        try:
            yield db
        finally:
            self._idle.put(db)

    def _note_heard(self, db: sqlite3.Connection, brought: _Brought) -> None:
        db.executemany(
            f"UPDATE devices SET last_sequence=coalesce(:sequence, last_sequence), last_received_us={_HEARD} "
            "WHERE id=:device",
            [
                {"sequence": sequence, "now": now, "before": before, "device": self._device_id(db, device)}
                for device, sequence, now, before in brought.devices()
            ],
        )

    def _insert_all(self, db: sqlite3.Connection, outcomes: Iterable[Outcome]) -> list[Fate]:
        """Insert the readings among these, in order; see `_insert`."""
        fates: list[Fate] = []
        run: dict[Row, Reading] = {}  # by the clustered key
        rows: list[Row] = []
        for reading in outcomes:
            if not isinstance(reading, Reading):
                continue
            row = to_row(reading, self._series_id(db, reading), self._device_id(db, reading.device))
            key = row[:4]
            if (
                reading.time_basis is _DEVICE
                and row[CLAIM_ZONE] is not None
                and row[2] not in self._claimants
                and key not in run
            ):
                run[key] = reading
                rows.append(row)
                if len(rows) < _RUN:
                    continue
                fates += self._insert_run(db, run, rows)
            else:
                fates += self._insert_run(db, run, rows)
                fates.append(self._insert(db, reading, row))
            run, rows = {}, []
        return fates + self._insert_run(db, run, rows)

    def _insert_run(self, db: sqlite3.Connection, run: Mapping[Row, Reading], rows: Sequence[Row]) -> list[Fate]:
        """Insert readings of which the clustered key says it all: at once, when none of them is known."""
        if len(rows) > 1:
            more = len(rows) - 1
            db.execute("SAVEPOINT run")
            inserted = db.execute(_INSERT + f",{_VALUES}" * more, tuple(chain.from_iterable(rows))).rowcount
            db.execute("RELEASE run" if inserted == len(rows) else "ROLLBACK TO run")
            if inserted == len(rows):
                last = db.execute(_ARRIVE + ",(?,?,?,?)" * more, tuple(chain.from_iterable(run))).lastrowid
                assert last is not None  # noqa: S101  an INSERT has a row id
                return list(enumerate(run.values(), last - more))
            db.execute("RELEASE run")
        return [self._insert(db, reading, row) for reading, row in zip(run.values(), rows, strict=True)]

    def _insert(self, db: sqlite3.Connection, reading: Reading, row: Row) -> Fate:
        """Store a new reading or a revision and give its sequence number; None for what is known already."""
        known = self._find(db, reading, row)
        if known is not None:
            return self._revise(db, known, row)
        if db.execute(_INSERT, row).rowcount == 0:
            if not is_anonymous(row) and (same := self._same_moment(db, row)):
                return self._revise(db, same, row)
            if reading.named and any(same_value(known, row) for known in self._at_moment(db, row)):
                return None
            (n,) = db.execute(
                "SELECT max(n) + 1 FROM readings WHERE series=? AND taken_us=? AND device=?", row[:3]
            ).fetchone()
            row = (*row[:3], n, *row[4:])
            db.execute(_INSERT, row)
        if reading.time_basis is not TimeBasis.DEVICE and not is_anonymous(row):
            self._claim(db, reading, row)
        seq = db.execute(_ARRIVE, row[:4]).lastrowid
        assert seq is not None  # noqa: S101  an INSERT has a row id
        return seq, reading

    def _revise(self, db: sqlite3.Connection, known: Row, row: Row) -> Fate:
        """The same record again: None where this value of it is known, else it stands above what was said before.

        A value that was revised and comes again is a late delivery, not a change of mind.
        """
        place = known[:4]
        chain = db.execute(f"SELECT {_R} FROM superseded r WHERE series=? AND taken_us=? AND device=? AND n=?", place)
        if any(same_value(said, row) for said in (known, *chain)):
            return None
        newest = revised(known, row)
        marks = ",".join("?" * len(newest))
        db.execute(f"INSERT INTO superseded({COLUMNS}, rev) VALUES({marks})", known)
        db.execute(f"INSERT OR REPLACE INTO readings({COLUMNS}, rev) VALUES({marks})", newest)
        arrived = db.execute(
            "INSERT INTO arrivals(series, taken_us, device, n, rev) VALUES(?,?,?,?,?)", (*place, newest[REV])
        )
        names = db.execute(
            "SELECT s.patient, s.vital, d.name FROM series s, devices d WHERE s.id=? AND d.id=?", (place[0], place[2])
        ).fetchone()
        assert arrived.lastrowid is not None  # noqa: S101  an INSERT has a row id
        return arrived.lastrowid, from_row((*newest, *names))

    def _find(self, db: sqlite3.Connection, reading: Reading, row: Row) -> Row | None:
        """Find the same record where it may have been given another moment; most cannot have been."""
        if is_anonymous(row):
            return None
        believed = reading.time_basis is TimeBasis.DEVICE
        if (row[2] in self._claimants or not believed) and (claimed := self._claimed(db, reading, row)):
            return claimed
        if row[CLAIM] is None or (believed and row[CLAIM_ZONE] is not None):
            return None
        return self._same_moment(db, row) or self._same_claim(db, row)

    def _same_moment(self, db: sqlite3.Connection, row: Row) -> Row | None:
        return next(self._at_moment(db, row), None)

    def _at_moment(self, db: sqlite3.Connection, row: Row) -> Iterator[Row]:
        query = f"SELECT {_R} FROM readings r WHERE series=? AND taken_us=? AND device=? AND {_SAME}"
        return db.execute(query, (*row[:3], *identity(row)))

    def _same_claim(self, db: sqlite3.Connection, row: Row) -> Row | None:
        """A record whose clock was believed lies within a day of its wall clock, in whatever zone its wearer was."""
        day = 86_400_000_000
        found: Row | None = db.execute(
            f"SELECT {_R} FROM readings r WHERE series=? AND taken_us BETWEEN ? AND ? AND device=? AND {_SAME}",
            (row[0], row[CLAIM] - day, row[CLAIM] + day, row[2], *identity(row)),
        ).fetchone()
        return found

    def _claimed(self, db: sqlite3.Connection, reading: Reading, row: Row) -> Row | None:
        found: Row | None = db.execute(
            f"SELECT {_R} FROM claims c JOIN readings r ON r.series=c.series AND r.taken_us=c.taken_us AND "
            "r.device=c.device AND r.n=c.n WHERE c.device=? AND c.vital=? AND c.sequence=? AND c.claim_us=? AND "
            "c.claim_zone_s=?",
            claim_key(reading.vital, row),
        ).fetchone()
        return found

    def _claim(self, db: sqlite3.Connection, reading: Reading, row: Row) -> None:
        db.execute(
            "INSERT INTO claims VALUES(?,?,?,?,?,?,?,?)", (*claim_key(reading.vital, row), row[0], row[1], row[3])
        )
        self._claimants.add(row[2])

    def _delete(self, db: sqlite3.Connection, row: Row, *, newest: bool) -> None:
        """Delete one revision of a reading, given with the name of its vital behind it."""
        if not newest:
            db.execute(
                "DELETE FROM superseded WHERE series=? AND taken_us=? AND device=? AND n=? AND rev=?",
                (*row[:4], row[REV]),
            )
            return
        db.execute("DELETE FROM readings WHERE series=? AND taken_us=? AND device=? AND n=?", row[:4])
        if row[2] in self._claimants:
            db.execute(
                "DELETE FROM claims WHERE device=? AND vital=? AND sequence=? AND claim_us=? AND claim_zone_s=?",
                claim_key(row[-1], row),
            )

    def _next_arrival(self, db: sqlite3.Connection, seq: int, now: datetime) -> tuple[int, int]:
        """The first arrival behind this one that did not come later than now: its number and when it came."""
        query = (
            f"SELECT a.seq, r.received_us FROM {_ARRIVED} WHERE a.seq>? AND r.received_us<=? ORDER BY a.seq LIMIT 1"
        )
        found: tuple[int, int] | None = db.execute(query, (seq, to_us(now))).fetchone()
        return found or (_LAST, to_us(now))

    def _dropped(self, db: sqlite3.Connection) -> int:
        row = db.execute("SELECT n FROM counters WHERE name='dropped'").fetchone()
        return int(row[0]) if row else 0

    def _move(self, letter: int, state: LetterState, remark: str) -> bool:
        with self._writing() as db:
            changed = db.execute(
                "UPDATE letters SET state=?, because=because || ? WHERE id=? AND state=?",
                (state, remark, letter, LetterState.WAITING),
            )
            self._waiting.clear()
            return changed.rowcount == 1

    def _write_letters(self, db: sqlite3.Connection, packet: Packet, left: Left) -> list[int]:
        """One letter for each reason, so that a batch whose parts fail alike is kept once and not once a part.

        Their numbers. What comes again and still cannot be admitted waits once, and is counted.
        """
        numbers: list[int] = []
        by_reason: dict[tuple[str, str], list[int]] = {}
        for part, rest in left.items():
            by_reason.setdefault((rest.reason, rest.device), []).append(part)
        for (reason, device), parts in by_reason.items():
            session = _session_json(packet.session)
            # Equal octets may be two readings; where the stamp alone tells them apart, it does. It tells a redelivery
            # apart as well, as it does where the device is worn: rather twice than not at all.
            by_stamp = packet.is_named or any(left[part].anonymous for part in parts)
            stamp = [packet.received_at.isoformat()] if by_stamp else []
            said = json.dumps([reason, device, parts, packet.link, packet.channel, session, packet.fault, *stamp])
            digest = blake2b(packet.data + b"|" + (packet.companion or b""), key=blake2b(said.encode()).digest())
            values = (
                LetterState.WAITING, reason, _sentence([left[part] for part in parts]), device, json.dumps(parts),
                to_us(packet.received_at), packet.link, packet.channel, packet.data, packet.companion, session,
                packet.fault, digest.digest(),
            )  # fmt: skip
            written = db.execute(
                "INSERT OR IGNORE INTO letters(state, reason, because, device, parts, received_us, link, channel, "
                "data, companion, session, fault, digest) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
                values,
            )
            if not written.rowcount and reason != REJECTED:
                self._count(db, {REPEATED: len(parts)})
            if written.rowcount and reason != REJECTED and device in self._waiting:
                self._waiting[device] += len(packet.data) + len(packet.companion or b"") + _LETTER
            same = "SELECT id FROM letters WHERE digest=? AND state='waiting'"  # as its index
            numbers += db.execute(same, (digest.digest(),)).fetchone()
        return numbers

    def _keepable(self, db: sqlite3.Connection, packet: Packet, left: Left) -> Left:
        """What of it may wait. Of a device of which too much waits the rest is counted, and one letter says so.

        Else whoever may send could fill the disk with what nobody has looked at yet.
        """
        full = {device for _, _, device, _ in left.values() if self._octets_waiting(db, device) >= MOST_WAITING}
        if not full:
            return left
        kept = {part: rest for part, rest in left.items() if rest.device not in full}
        self._count(db, {UNKEPT: len(left) - len(kept), **{f"unkept.{device}": 1 for device in full}})
        for device in full:
            self._tell_unkept(db, packet, device)
        return kept

    def _octets_waiting(self, db: sqlite3.Connection, device: str) -> int:
        """How much waits of a device; what a follower's store refused is no matter of the device."""
        if device not in self._waiting:
            query = (
                f"SELECT sum(length(data) + coalesce(length(companion), 0) + {_LETTER}) FROM letters "
                "WHERE state=? AND device=? AND reason<>?"
            )
            self._waiting[device] = db.execute(query, (LetterState.WAITING, device, REJECTED)).fetchone()[0] or 0
        return self._waiting[device]

    def _tell_unkept(self, db: sqlite3.Connection, packet: Packet, device: str) -> None:
        (count,) = db.execute("SELECT n FROM counters WHERE name=?", (f"unkept.{device}",)).fetchone()
        because = (
            f"{count} packets of device {device} were counted and not kept, the last of "
            f"{packet.received_at:%Y-%m-%d %H:%M} UTC, for letters of {MOST_WAITING // 1_048_576} MiB wait of it; "
            "pair the device or discard its letters, then this one"
        )
        digest = blake2b(json.dumps([TOO_MANY, device]).encode()).digest()
        db.execute(
            "INSERT INTO letters(state, reason, because, device, parts, received_us, link, channel, data, digest) "
            "VALUES('waiting', ?, ?, ?, '[]', ?, ?, ?, x'', ?) "
            "ON CONFLICT(digest) WHERE state='waiting' DO UPDATE SET because=excluded.because",
            (TOO_MANY, because, device, to_us(packet.received_at), packet.link, packet.channel, digest),
        )

    def _count(self, db: sqlite3.Connection, tally: Mapping[str, int]) -> None:
        db.executemany(
            "INSERT INTO counters VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET n = n + excluded.n", tally.items()
        )

    def _series_id(self, db: sqlite3.Connection, reading: Reading) -> int:
        key = (reading.patient, reading.vital)
        known = self._series.get(key)
        if known is None:
            known = db.execute("INSERT INTO series(patient, vital) VALUES(?, ?)", key).lastrowid
            assert known is not None  # noqa: S101  an INSERT has a row id
            self._series[key] = known
        return known

    def _device_id(self, db: sqlite3.Connection, name: str) -> int:
        known = self._devices.get(name)
        if known is None:
            known = db.execute("INSERT INTO devices(name) VALUES(?)", (name,)).lastrowid
            assert known is not None  # noqa: S101  an INSERT has a row id
            self._devices[name] = known
        return known


def _flagged(flag: Flag) -> str:
    """In SQL, whether a row of readings has a flag."""
    return f"instr(' ' || flags || ' ', ' {flag} ') > 0"


def _settle(packet: Packet, parts: Iterable[tuple[int, Outcome]], fates: Iterator[Fate], brought: _Brought) -> Left:
    """Note what became of parts of a packet, of which the readings have these fates, in their order; what is left."""
    left: Left = {}
    last: dict[str, int | None] = {}
    link, became = packet.link, brought.became
    for part, outcome in parts:
        if isinstance(outcome, DecodeError):
            left[part] = _Rest(outcome.kind, str(outcome), packet.sender)
            became.append((UNDECODABLE, link))
            continue
        last[outcome.device] = outcome.sequence
        if isinstance(outcome, Refusal):
            left[part] = _Rest(outcome.reason, outcome.because, outcome.device, outcome.anonymous)
            became.append((f"refused.{outcome.reason}", link))
        elif (fate := next(fates)) is None:
            became.append((DUPLICATE, link))
            brought.appended.duplicates += 1
        else:
            became.append((ADMITTED if fate[1].rev == 1 else REVISED, link))
            brought.kept(fate, packet)
    for device, sequence in last.items():
        brought.told(device, sequence)
    return left


def _counters(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT name, n FROM counters ORDER BY name"))


def _waiting_letters(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM letters WHERE state=?", (LetterState.WAITING,)).fetchone()[0])


def _parts_aside(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """How many parts of packets wait, and how many were discarded, by (state, reason); those that are still here."""
    rows = db.execute(
        "SELECT state, reason, sum(json_array_length(parts)) FROM letters WHERE reason NOT IN (?, ?) AND "
        "state IN (?, ?) GROUP BY state, reason",
        (REJECTED, TOO_MANY, LetterState.WAITING, LetterState.DISCARDED),
    )
    return {(state, reason): parts for state, reason, parts in rows}


def _such(
    state: LetterState, device: str | None, reason: str | None, before: int | None
) -> tuple[str, list[str | int]]:
    """The condition for letters of that kind, with its values."""
    wanted = {"state=?": state.value, "device=?": device, "reason=?": reason, "id<?": before}
    given = {clause: value for clause, value in wanted.items() if value is not None}
    return " AND ".join(given), list(given.values())


def _journaled(db: sqlite3.Connection) -> int:
    """How many sequence numbers were given; they have no gaps, for a rollback takes them back."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name='arrivals'").fetchone()
    return int(row[0]) if row else 0


def accounts_of(db: sqlite3.Connection, followers: Mapping[str, Progress]) -> Accounts:
    """The accounts of an open journal file, see `Journal.accounts`."""
    waiting = {name: (progress, *_waiting(db, progress)) for name, progress in followers.items()}
    return accounts(_counters(db), _journaled(db), _waiting_letters(db), _parts_aside(db), waiting)


@contextmanager
def moment(db: sqlite3.Connection) -> Iterator[None]:
    """All that is read in the block is of one moment."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")


def _progress(db: sqlite3.Connection, follower: str) -> Progress:
    row = db.execute("SELECT seq FROM cursors WHERE follower=?", (follower,)).fetchone()
    ahead = db.execute("SELECT after, last FROM ahead WHERE follower=? ORDER BY after", (follower,))
    return Progress(upto=row[0] if row else 0, ahead=tuple(ahead))


def _move(db: sqlite3.Connection, follower: str, progress: Progress) -> None:
    db.execute("INSERT OR REPLACE INTO cursors VALUES(?, ?)", (follower, progress.upto))
    db.execute("DELETE FROM ahead WHERE follower=?", (follower,))
    db.executemany("INSERT INTO ahead VALUES(?, ?, ?)", [(follower, *stretch) for stretch in progress.ahead])


def _waiting(db: sqlite3.Connection, progress: Progress) -> tuple[int, int]:
    """How many readings a follower has not confirmed, and how many of them lie below what it has."""
    count = "SELECT count(*) FROM arrivals WHERE seq>? AND seq<=?"
    older = sum(db.execute(count, gap).fetchone()[0] for gap in progress.gaps)
    return older + db.execute(count, (progress.head, _LAST)).fetchone()[0], older


def _as_of(db: sqlite3.Connection, rev: int, row: Row) -> Row:
    """The row of a reading (with its names) as it was in an earlier revision."""
    if row[REV] == rev:
        return row
    query = f"SELECT {_R} FROM superseded r WHERE series=? AND taken_us=? AND device=? AND n=? AND rev=?"
    said: Row = db.execute(query, (*row[:4], rev)).fetchone()
    return (*said, *row[REV + 1 :])


def _sentence(rests: Iterable[_Rest]) -> str:
    """What is wrong with each part of a letter, said once; of too many sentences the first."""
    said = list(dict.fromkeys(rest.because for rest in rests))
    told = "; ".join(said[:_TOLD])
    text = f"{told}; and {len(said) - _TOLD} more of this kind" if len(said) > _TOLD else told
    # A sentence may quote hostile input; half of a surrogate pair is no text that SQLite can store.
    return text.encode(errors="replace").decode()


def _session_json(session: Session | None) -> str | None:
    if session is None:
        return None
    offset, ahead, start = session.clock_offset, session.utc_offset, session.session_start
    return json.dumps(
        {
            "clock_offset_us": None if offset is None else offset // _US,
            "utc_offset_us": None if ahead is None else ahead // _US,
            "session_start": None if start is None else start.isoformat(),
            "e2e_crc": session.e2e_crc,
            "quirk": session.quirk,
        }
    )


def _session(text: str | None) -> Session | None:
    if text is None:
        return None
    found = json.loads(text)
    offset, ahead, start = found["clock_offset_us"], found.get("utc_offset_us"), found["session_start"]
    return Session(
        clock_offset=None if offset is None else offset * _US,
        utc_offset=None if ahead is None else ahead * _US,
        session_start=None if start is None else datetime.fromisoformat(start),
        e2e_crc=found.get("e2e_crc", False),
        quirk=found.get("quirk"),
    )


def _letter(row: Row) -> Letter:
    (number, state, reason, because, device, parts, received, link, channel, data, companion, session, fault, _,
     followed_by) = row  # fmt: skip
    packet = Packet(
        link=link,
        sender=device,
        channel=channel,
        data=data,
        received_at=from_us(received),
        companion=companion,
        session=_session(session),
        fault=fault,
    )
    return Letter(
        id=number,
        state=LetterState(state),
        reason=reason,
        because=because,
        device=device,
        parts=tuple(json.loads(parts)),
        packet=packet,
        followed_by=tuple(json.loads(followed_by or "[]")),
    )

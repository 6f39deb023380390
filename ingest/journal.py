"""The journal: every reading that was admitted, and every byte that was not, with its reason.

SQLite, WAL, synchronous=FULL: what `append` returned from is on disk. One writer; any number of readers beside it.
Readings are clustered by (patient and vital, moment), so that a chart is one short scan. Followers (InfluxDB, the
watch) read `arrivals` by cursor. Times are integer microseconds UTC. All calls block; all are safe from any thread.

A reading's identity is (device, vital, sequence, device_time). Where the device's clock is believed, the clustered
key itself holds it. Where the moment was corrected or is the arrival, the same record read again would get another
moment, so its claim is kept in `claims` (few rows: no secondary index on the busy path).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Final

import numpy as np

from ingest.reading import (
    EPOCH,
    DecodeError,
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
    Row,
    claim_key,
    compare,
    from_row,
    identity,
    is_anonymous,
    to_row,
)
from ingest.series import Series
from ingest.vital import COMPONENTS, Vital

FORMAT: Final = 1
_US: Final = timedelta(microseconds=1)

_SCHEMA: Final = """
CREATE TABLE devices(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_sequence INTEGER,
                     last_received_us INTEGER);
CREATE TABLE series(id INTEGER PRIMARY KEY, patient TEXT NOT NULL, vital TEXT NOT NULL, UNIQUE(patient, vital));
CREATE TABLE readings(
    series INTEGER NOT NULL, taken_us INTEGER NOT NULL, device INTEGER NOT NULL,
    n INTEGER NOT NULL,                     -- 0; counts up where one device took several at the same moment
    v0 REAL, v1 REAL, v2 REAL, v3 REAL,     -- canonical units
    unit TEXT NOT NULL, s0 REAL, s1 REAL, s2 REAL, s3 REAL,  -- as sent; all NULL where the unit is canonical
    basis TEXT NOT NULL, offset_us INTEGER,
    claim_us INTEGER, claim_zone_s INTEGER, -- the device's own time: wall clock as if UTC, and its zone if it has one
    sequence INTEGER, flags TEXT, context TEXT, received_us INTEGER NOT NULL, raw BLOB,
    PRIMARY KEY(series, taken_us, device, n)) WITHOUT ROWID;
CREATE TABLE arrivals(seq INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER NOT NULL, taken_us INTEGER NOT NULL,
                      device INTEGER NOT NULL, n INTEGER NOT NULL);
CREATE TABLE claims(device INTEGER NOT NULL, vital TEXT NOT NULL, sequence INTEGER NOT NULL,
                    claim_us INTEGER NOT NULL, claim_zone_s INTEGER NOT NULL,
                    series INTEGER NOT NULL, taken_us INTEGER NOT NULL, n INTEGER NOT NULL,
                    PRIMARY KEY(device, vital, sequence, claim_us, claim_zone_s)) WITHOUT ROWID;
CREATE TABLE letters(id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, reason TEXT NOT NULL,
                     because TEXT NOT NULL, device TEXT NOT NULL, parts TEXT NOT NULL, received_us INTEGER NOT NULL,
                     link TEXT NOT NULL, channel TEXT NOT NULL, data BLOB NOT NULL, companion BLOB, session TEXT,
                     fault TEXT, digest BLOB NOT NULL);
CREATE UNIQUE INDEX letters_once ON letters(digest) WHERE state = 'waiting';
CREATE INDEX letters_by_device ON letters(state, device);
CREATE TABLE cursors(follower TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
"""

_R: Final = ", ".join(f"r.{column}" for column in COLUMNS.split(", "))
_SAME: Final = "sequence IS ? AND claim_us IS ? AND claim_zone_s IS ?"
_RUN: Final = 32  # readings inserted at once; one that is known costs its run a second try, one by one
_INSERT: Final = f"INSERT OR IGNORE INTO readings({COLUMNS}) VALUES({','.join('?' * len(COLUMNS.split(', ')))})"
_ARRIVE: Final = "INSERT INTO arrivals(series, taken_us, device, n) VALUES(?,?,?,?)"
Outcome = Reading | Refusal | DecodeError
# The sequence number of a new reading, None for one that is known, or a sentence for a conflict.
Fate = int | str | None


class LetterState(StrEnum):
    """Where a letter stands."""

    WAITING = "waiting"
    ADMITTED = "admitted"  # everything in it has become readings
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One packet and what became of each of its parts (position = part)."""

    packet: Packet
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Bytes that could not be admitted, kept until a person or a change of the roster helps.

    reason: a RefusalReason, "too_short", "invalid", or "rejected" (by a follower's store). parts: the positions in
    the packet that wait. packet: as it came, so that it can be tried again.
    """

    id: int
    state: LetterState
    reason: str
    because: str
    device: str
    parts: tuple[int, ...]
    packet: Packet


@dataclass(slots=True, kw_only=True)
class Appended:
    """What one commit did: new readings with their sequence numbers, and the readings that were known already."""

    new: list[tuple[int, Reading]] = field(default_factory=list)
    duplicates: int = 0
    letters: int = 0


class _Heard:
    """What a commit brought of each device, written once a device."""

    def __init__(self) -> None:
        self._sequences: dict[str, int | None] = {}
        self._received: dict[str, datetime] = {}

    def told(self, device: str, sequence: int | None) -> None:
        """The number of the last record of a packet, None where it has none."""
        if sequence is not None or device not in self._sequences:
            self._sequences[device] = sequence

    def brought(self, device: str, received_at: datetime) -> None:
        """A new reading came."""
        self._received[device] = max(received_at, self._received.get(device, received_at))

    def devices(self) -> Iterator[tuple[str, int | None, int | None]]:
        """(device, last sequence, last arrival of something new in microseconds) of each."""
        for device, sequence in self._sequences.items():
            received = self._received.get(device)
            yield device, sequence, None if received is None else to_us(received)


class JournalError(Exception):
    """The journal file cannot be used. The text says why and what to do."""


class Journal:
    """The journal in one file; creates it when it is not there. Raises JournalError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._connect()
            self._db.execute("PRAGMA wal_autocheckpoint=4000")
            self._db.execute("PRAGMA cache_size=-65536")  # of the writer alone: there may be many readers
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"cannot use the journal {path}: {error}; check the path, its owner and the disk"
            ) from error
        self._load_numbers()

    def close(self) -> None:
        """Close every connection; the journal must not be used afterwards."""
        with self._lock:
            self._db.close()
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def append(self, arrivals: Sequence[Arrival]) -> Appended:
        """Commit a batch: readings that are new, letters for the rest, counters. On return it is on disk.

        A reading that is known already is counted and dropped; the same identity with another value becomes a letter
        ("conflict"). Raises sqlite3.Error when nothing was written (disk full, for one).
        """
        with self._writing() as db:
            appended = Appended()
            tally: Counter[str] = Counter()
            heard = _Heard()
            fates = iter(self._insert_all(db, [one for each in arrivals for one in each.outcomes]))
            for arrival in arrivals:
                tally[f"packets.{arrival.packet.link}"] += 1
                left = self._store(arrival, enumerate(arrival.outcomes), fates, appended, tally, heard)
                if left:
                    self._write_letters(db, arrival.packet, left)
                    appended.letters += len({reason for reason, _, _ in left.values()})
            self._note_heard(db, heard)
            self._count(db, tally)
        return appended

    def readmit(self, tried: Iterable[tuple[Letter, tuple[Outcome, ...]]]) -> Appended:
        """Letters were tried again: each with the outcomes of its whole packet; only the parts that wait count.

        A letter of which nothing could be admitted waits on; of the others the rest waits as a letter of its own.
        """
        with self._writing() as db:
            appended = Appended()
            tally: Counter[str] = Counter()
            heard = _Heard()
            for letter, outcomes in tried:
                parts = [(part, outcomes[part]) for part in letter.parts if part < len(outcomes)]
                fates = iter(self._insert_all(db, [outcome for _, outcome in parts]))
                arrival = Arrival(packet=letter.packet, outcomes=outcomes)
                left = self._store(arrival, parts, fates, appended, tally, heard)
                if {part: reason for part, (reason, _, _) in left.items()} != dict.fromkeys(
                    letter.parts, letter.reason
                ):
                    db.execute("UPDATE letters SET state=? WHERE id=?", (LetterState.ADMITTED, letter.id))
                    self._write_letters(db, letter.packet, left)
            self._note_heard(db, heard)
            again = {f"readmitted.{name}": n for name, n in tally.items() if name in {"admitted", "duplicate"}}
            self._count(db, Counter(again))
        return appended

    def discard(self, letter: int, because: str) -> bool:
        """Take a letter off the waiting list; its bytes stay. False when no such letter waits."""
        with self._writing() as db:
            changed = db.execute(
                "UPDATE letters SET state=?, because=because || ' | discarded: ' || ? WHERE id=? AND state=?",
                (LetterState.DISCARDED, because, letter, LetterState.WAITING),
            )
            return changed.rowcount == 1

    def set_aside(self, follower: str, seq: int, line: bytes, status: int, answer: str) -> None:
        """Keep a line that a follower's store refused for good, with the store's answer."""
        packet = Packet(link=follower, sender=str(seq), channel="line", data=line, received_at=EPOCH)
        because = f"{follower} refused arrival {seq} for good with status {status}: {answer}"
        with self._writing() as db:
            self._write_letters(db, packet, {0: ("rejected", because, follower)})
            self._count(db, Counter({f"rejected.{follower}": 1}))

    def since(self, cursor: int, limit: int) -> list[tuple[int, Reading]]:
        """Readings in the order in which they were committed, after sequence number `cursor`, at most `limit`."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT a.seq, {_R}, s.patient, s.vital, d.name FROM arrivals a "
                "JOIN readings r ON r.series=a.series AND r.taken_us=a.taken_us AND r.device=a.device AND r.n=a.n "
                "JOIN series s ON s.id=a.series JOIN devices d ON d.id=a.device "
                "WHERE a.seq > ? ORDER BY a.seq LIMIT ?",
                (cursor, limit),
            )
            return [(row[0], from_row(row[1:])) for row in rows]

    def tail(self) -> int:
        """The highest sequence number given so far, 0 when there is none."""
        with self._reading() as db:
            return int(db.execute("SELECT coalesce(max(seq), 0) FROM arrivals").fetchone()[0])

    def cursor(self, follower: str) -> int:
        """How far a follower has come, 0 at the beginning."""
        with self._reading() as db:
            row = db.execute("SELECT seq FROM cursors WHERE follower=?", (follower,)).fetchone()
            return int(row[0]) if row else 0

    def advance(self, follower: str, cursor: int) -> None:
        """Remember how far a follower has come."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO cursors VALUES(?, ?)", (follower, cursor))

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
        return Series(
            taken_us=np.array([row[0] for row in rows], dtype=np.int64),
            values=np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), width),
        )

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

    def patients_reaching(self, vital: Vital, start: datetime, values: tuple[float, ...]) -> list[str]:
        """Whose first or second component of a vital, taken from `start` on, reaches the value (canonical)."""
        query = (
            "SELECT DISTINCT s.patient FROM series s JOIN readings r ON r.series=s.id "
            "WHERE s.vital=? AND r.taken_us>=? AND (r.v0>=? OR r.v1>=?)"
        )
        with self._reading() as db:
            return [patient for (patient,) in db.execute(query, (vital, to_us(start), *values))]

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
        query, values = "SELECT * FROM letters WHERE state=?", [state.value]
        for clause, value in (("device=?", device), ("reason=?", reason), ("id<?", before)):
            if value is not None:
                query += f" AND {clause}"
                values.append(value)  # type: ignore[arg-type]
        with self._reading() as db:
            return [_letter(row) for row in db.execute(f"{query} ORDER BY id DESC LIMIT ?", (*values, limit))]

    def counts(self) -> dict[str, int]:
        """All counters since the journal began; letters.waiting is counted now."""
        with self._reading() as db:
            waiting = db.execute("SELECT count(*) FROM letters WHERE state=?", (LetterState.WAITING,)).fetchone()[0]
            return {**dict(db.execute("SELECT name, n FROM counters ORDER BY name")), "letters.waiting": waiting}

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        return db

    def _prepare(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
        elif found != FORMAT:
            raise JournalError(
                f"{self._path} has journal format {found}, this Homeward reads {FORMAT}; update Homeward"
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._load_numbers()
                raise

    def _load_numbers(self) -> None:
        """Read the numbers of devices and series from the file: at start, and when a transaction was rolled back."""
        self._devices: dict[str, int] = dict(self._db.execute("SELECT name, id FROM devices"))
        series = self._db.execute("SELECT id, patient, vital FROM series")
        self._series: dict[tuple[str, str], int] = {(patient, vital): number for number, patient, vital in series}
        self._claimants = {device for (device,) in self._db.execute("SELECT DISTINCT device FROM claims")}

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

    def _store(
        self,
        arrival: Arrival,
        parts: Iterable[tuple[int, Outcome]],
        fates: Iterator[Fate],
        appended: Appended,
        tally: Counter[str],
        heard: _Heard,
    ) -> dict[int, tuple[str, str, str]]:
        """Tell what became of the parts, of which the readings have these fates, in their order.

        Gives back what is left: part -> (reason, because, device).
        """
        left: dict[int, tuple[str, str, str]] = {}
        last: dict[str, int | None] = {}
        for part, outcome in parts:
            tally["parts"] += 1
            if isinstance(outcome, DecodeError):
                left[part] = (outcome.kind, str(outcome), arrival.packet.sender)
                tally["undecodable"] += 1
                continue
            last[outcome.device] = outcome.sequence
            if isinstance(outcome, Refusal):
                left[part] = (outcome.reason, outcome.because, outcome.device)
                tally[f"refused.{outcome.reason}"] += 1
                continue
            seq = next(fates)
            if isinstance(seq, int):
                appended.new.append((seq, outcome))
                heard.brought(outcome.device, arrival.packet.received_at)
                tally["admitted"] += 1
                tally[f"admitted.{arrival.packet.link}"] += 1
            elif seq is None:
                appended.duplicates += 1
                tally["duplicate"] += 1
            else:
                left[part] = (RefusalReason.CONFLICT, seq, outcome.device)
                tally[f"refused.{RefusalReason.CONFLICT}"] += 1
        for device, sequence in last.items():
            heard.told(device, sequence)
        return left

    def _note_heard(self, db: sqlite3.Connection, heard: _Heard) -> None:
        db.executemany(
            "UPDATE devices SET last_sequence=coalesce(?, last_sequence), "
            "last_received_us=coalesce(max(last_received_us, ?), ?, last_received_us) WHERE id=?",
            [
                (sequence, received, received, self._device_id(db, device))
                for device, sequence, received in heard.devices()
            ],
        )

    def _insert_all(self, db: sqlite3.Connection, outcomes: Sequence[Outcome]) -> list[Fate]:
        """Insert the readings among these, in order; see `_insert`."""
        readings = [outcome for outcome in outcomes if isinstance(outcome, Reading)]
        fates: list[Fate] = []
        for first in range(0, len(readings), _RUN):
            run = readings[first : first + _RUN]
            fates += self._insert_run(db, run) or [self._insert(db, reading) for reading in run]
        return fates

    def _insert_run(self, db: sqlite3.Connection, readings: Sequence[Reading]) -> Sequence[int] | None:
        """Insert readings at once, when the clustered key says it all and none of them is known; else nothing."""
        rows = []
        for reading in readings:
            row = to_row(reading, self._series_id(db, reading), self._device_id(db, reading.device))
            if reading.time_basis is not TimeBasis.DEVICE or row[CLAIM_ZONE] is None or row[2] in self._claimants:
                return None
            rows.append(row)
        db.execute("SAVEPOINT run")
        if db.executemany(_INSERT, rows).rowcount < len(rows):
            db.execute("ROLLBACK TO run")
            db.execute("RELEASE run")
            return None
        db.execute("RELEASE run")
        db.executemany(_ARRIVE, [row[:4] for row in rows])
        (last,) = db.execute("SELECT last_insert_rowid()").fetchone()
        return range(last - len(rows) + 1, last + 1)

    def _insert(self, db: sqlite3.Connection, reading: Reading) -> Fate:
        """Give the sequence number of a new reading, None for one that is known, or a sentence for a conflict."""
        series, device = self._series_id(db, reading), self._device_id(db, reading.device)
        row = to_row(reading, series, device)
        known = self._find(db, reading, row)
        if known is not None:
            return compare(known, row)
        if db.execute(_INSERT, row).rowcount == 0:
            if not is_anonymous(row) and (same := self._same_moment(db, row)):
                return compare(same, row)
            (n,) = db.execute(
                "SELECT max(n) + 1 FROM readings WHERE series=? AND taken_us=? AND device=?", row[:3]
            ).fetchone()
            row = (*row[:3], n, *row[4:])
            db.execute(_INSERT, row)
        if reading.time_basis is not TimeBasis.DEVICE and not is_anonymous(row):
            self._claim(db, reading, row)
        seq = db.execute(_ARRIVE, row[:4]).lastrowid
        assert seq is not None  # noqa: S101  an INSERT has a row id
        return seq

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
        found: Row | None = db.execute(
            f"SELECT {_R} FROM readings r WHERE series=? AND taken_us=? AND device=? AND {_SAME}",
            (*row[:3], *identity(row)),
        ).fetchone()
        return found

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
            claim_key(reading, row),
        ).fetchone()
        return found

    def _claim(self, db: sqlite3.Connection, reading: Reading, row: Row) -> None:
        db.execute("INSERT INTO claims VALUES(?,?,?,?,?,?,?,?)", (*claim_key(reading, row), row[0], row[1], row[3]))
        self._claimants.add(row[2])

    def _write_letters(
        self, db: sqlite3.Connection, packet: Packet, left: Mapping[int, tuple[str, str, str]]
    ) -> None:
        """One letter for each reason, so that a batch whose parts fail alike is kept once and not once a part."""
        by_reason: dict[tuple[str, str], list[int]] = {}
        for part, (reason, _, device) in left.items():
            by_reason.setdefault((reason, device), []).append(part)
        for (reason, device), parts in by_reason.items():
            session = _session_json(packet.session)
            said = json.dumps([reason, device, parts, packet.link, packet.channel, session, packet.fault])
            digest = blake2b(packet.data + b"|" + (packet.companion or b""), key=blake2b(said.encode()).digest())
            values = (
                LetterState.WAITING, reason, _storable(left[parts[0]][1]), device, json.dumps(parts),
                to_us(packet.received_at), packet.link, packet.channel, packet.data, packet.companion, session,
                packet.fault, digest.digest(),
            )  # fmt: skip
            # What comes again and still cannot be admitted waits once.
            db.execute(
                "INSERT OR IGNORE INTO letters(state, reason, because, device, parts, received_us, link, channel, "
                "data, companion, session, fault, digest) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
                values,
            )

    def _count(self, db: sqlite3.Connection, tally: Counter[str]) -> None:
        db.executemany(
            "INSERT INTO counters VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET n = n + excluded.n", tally.items()
        )

    def _series_id(self, db: sqlite3.Connection, reading: Reading) -> int:
        key = (reading.patient, reading.vital.value)
        if key not in self._series:
            new = db.execute("INSERT INTO series(patient, vital) VALUES(?, ?)", key).lastrowid
            assert new is not None  # noqa: S101  an INSERT has a row id
            self._series[key] = new
        return self._series[key]

    def _device_id(self, db: sqlite3.Connection, name: str) -> int:
        if name not in self._devices:
            new = db.execute("INSERT INTO devices(name) VALUES(?)", (name,)).lastrowid
            assert new is not None  # noqa: S101  an INSERT has a row id
            self._devices[name] = new
        return self._devices[name]


def _storable(text: str) -> str:
    """A reason may quote hostile input; half of a surrogate pair is no text that SQLite can store."""
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
    number, state, reason, because, device, parts, received, link, channel, data, companion, session, fault, _ = row
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
    )

"""What a home post keeps for the hub: every packet as it came, until long after the hub has confirmed it.

SQLite, WAL, synchronous=FULL, in a file of its own. A packet is kept before its source is acknowledged, and forgotten
only when the hub has confirmed it, in the order in which they came, and it is older than KEPT or the disk is full.
All calls block; all are safe from any thread.

On a full disk even a deletion needs room, for the write-ahead log. A file beside it holds some in reserve, to be
given up then. From that moment on the log does not grow: what the hub has confirmed makes room in it for what comes,
and, beyond that, on the disk for the journal.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

from ingest.accounts import Forwarded
from ingest.envelope import sealed
from ingest.journal import JournalError
from ingest.reading import Packet, from_us, to_us

FORMAT: Final = 1
KEPT: Final = timedelta(days=30)  # after this time a hub that lost its disk cannot be filled again from here
RESERVE: Final = 8 * 1_048_576  # octets: twice what SQLite lets the write-ahead log grow to before it empties it
_FORGOTTEN_AT_ONCE: Final = 1000
_ANY_SIZE: Final = 2**32 - 2  # pages; SQLite's own bound
_SPARE: Final = 256  # pages of a full disk that the log keeps for what comes
_GIVEN_BACK: Final = 128  # pages at once: to move them takes room in the write-ahead log
_FEWER_AND_FEWER: Final = (_FORGOTTEN_AT_ONCE, 30, 1)  # packets to forget where the last octets have to do
_US: Final = timedelta(microseconds=1)
# Packets that were read from a socket in one turn bear one stamp; so many of them at most.
_ONE_TURN: Final = timedelta(milliseconds=100)

_SCHEMA: Final = """
CREATE TABLE packets(number INTEGER PRIMARY KEY AUTOINCREMENT, received_us INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE cursors(hub TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_OLDEST: Final = "SELECT number, received_us FROM packets WHERE number<=? ORDER BY number LIMIT ?"
_T = TypeVar("_T")


class PacketLog:
    """The log in one file; creates it when it is not there. Raises JournalError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stamps: dict[str, datetime] = {}
        self._reserve = path.with_name(f"{path.name}-reserve")
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"cannot use {path}: {error}; check the path, its owner and the disk") from error
        if found not in {0, FORMAT}:
            raise JournalError(f"{path} has format {found}, this Homeward reads {FORMAT}; update Homeward")
        self.keep_reserve()

    def close(self) -> None:
        """Close the file; the log must not be used afterwards."""
        with self._lock:
            self._db.close()

    def append(self, packets: Sequence[Packet], hub: str = "") -> None:
        """Keep packets in this order. On return they are on disk. Raises sqlite3.Error when nothing was written.

        hub: on a full disk, what it has confirmed makes room.
        """
        rows = [(to_us(packet.received_at), sealed(packet)) for packet in map(self._stamped, packets)]
        insert = "INSERT INTO packets(received_us, sealed) VALUES(?, ?)"
        self._write(hub, lambda db: db.executemany(insert, rows))

    def since(self, number: int, limit: int, octets: float = inf) -> list[tuple[int, bytes]]:
        """Packets after a number in the order in which they came, sealed for the hub.

        At most `limit`, and none after the one with which they come to so many octets.
        """
        query = "SELECT number, sealed FROM packets WHERE number>? ORDER BY number LIMIT ?"
        found: list[tuple[int, bytes]] = []
        with self._lock:
            for packet in self._db.execute(query, (number, limit)):
                found.append(packet)
                octets -= len(packet[1])
                if octets <= 0:
                    break
        return found

    def cursor(self, hub: str) -> int:
        """The number of the last packet that this hub has confirmed, 0 when there is none."""
        with self._lock:
            return self._cursor(hub)

    def advance(self, hub: str, number: int, now: datetime, *, came_from: int) -> None:
        """Remember that this hub has confirmed everything up to a number, and forget some of what is old.

        Only if nobody has set the cursor elsewhere meanwhile.
        """
        young = to_us(now - KEPT), to_us(now)  # a stamp of the future keeps nothing: that clock was wrong

        def move(db: sqlite3.Connection) -> None:
            if self._cursor(hub) != came_from:
                return
            db.execute("INSERT OR REPLACE INTO cursors VALUES(?, ?)", (hub, number))
            last = 0
            for at, received in db.execute(_OLDEST, (number, _FORGOTTEN_AT_ONCE)):
                if young[0] <= received <= young[1]:
                    break
                last = at
            db.execute("DELETE FROM packets WHERE number<=?", (last,))

        self._write(hub, move)
        if self.free() < RESERVE:
            self._give_back(hub)

    def start_over(self, hub: str) -> int:
        """Have everything that is still kept forwarded to this hub once more; how many packets that are."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO cursors VALUES(?, 0)", (hub,))
            return int(db.execute("SELECT count(*) FROM packets").fetchone()[0])

    def make_room(self, hub: str, limit: int) -> int:
        """Forget the oldest packets that this hub has confirmed, young ones as well; how many were forgotten."""
        return self._write(hub, lambda db: self._forget(db, hub, limit))

    def keep_reserve(self) -> None:
        """Set the reserve aside, and let the log grow, unless the disk has too little room for that."""
        if not self._reserve.exists():
            if self.free() < 2 * RESERVE:
                return
            try:
                self._reserve.touch(mode=0o600)
                self._reserve.write_bytes(bytes(RESERVE))
            except OSError:  # others were quicker
                self._reserve.unlink(missing_ok=True)
                return
        with self._lock:
            self._db.execute(f"PRAGMA max_page_count={_ANY_SIZE}")

    def size(self) -> tuple[int, int]:
        """Octets of the file, and of the room in it that new packets use first."""
        with self._lock:
            page, pages, spare = (
                self._db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
        return page * pages, page * spare

    def waiting(self, hub: str) -> tuple[int, datetime | None]:
        """How many packets this hub has not confirmed, and when the oldest of them came (UTC)."""
        query = "SELECT count(*), min(received_us) FROM packets WHERE number>?"
        cursor = self.cursor(hub)
        with self._lock:
            count, oldest = self._db.execute(query, (cursor,)).fetchone()
        return count, None if oldest is None else from_us(oldest)

    def forwarded(self, hub: str) -> Forwarded:
        """What was kept since the log began, and how much of it this hub has; all of one moment."""
        query = (
            "WITH log AS (SELECT coalesce(max(seq), 0) AS last FROM sqlite_sequence WHERE name='packets'), "
            "place AS (SELECT coalesce(max(number), 0) AS here FROM cursors WHERE hub=?) "
            # What was forgotten lies before the first that is kept: some hub had it.
            "SELECT last, max(here, coalesce((SELECT min(number) - 1 FROM packets), last)), "
            "(SELECT count(*) FROM packets WHERE number>here) FROM log, place"
        )
        with self._lock:
            packets, confirmed, waiting = self._db.execute(query, (hub,)).fetchone()
        return Forwarded(packets=packets, confirmed=confirmed, waiting=waiting)

    def free(self) -> int:
        """Octets that the disk of the log still has room for."""
        return shutil.disk_usage(self._path).free

    def _cursor(self, hub: str) -> int:
        row = self._db.execute("SELECT number FROM cursors WHERE hub=?", (hub,)).fetchone()
        return int(row[0]) if row else 0

    def _write(self, hub: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do it in one transaction; on a full disk once more, when what this hub has has made room."""
        try:
            with self._writing() as db:
                return work(db)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
        self._give_way(hub)
        with self._writing() as db:
            return work(db)

    def _give_way(self, hub: str) -> None:
        """Make room in the file and in the write-ahead log, whose own room is used again once it is empty.

        A file that grew in the log alone could not be written when the log is emptied: so it may not grow.
        """
        self._reserve.unlink(missing_ok=True)
        for limit in _FEWER_AND_FEWER:
            with suppress(sqlite3.OperationalError):
                with self._lock:
                    self._db.execute("PRAGMA wal_checkpoint(RESTART)")
                    self._stop_growing()
                with self._writing() as db:
                    self._forget(db, hub, limit)
                return

    def _give_back(self, hub: str) -> None:
        """Give the disk some room of what the hub has, and the reserve when it has all.

        A file from before it could shrink keeps the room for itself.
        """
        with suppress(sqlite3.OperationalError):
            self.make_room(hub, _FORGOTTEN_AT_ONCE)
        with self._lock, suppress(sqlite3.OperationalError):
            (spare,) = self._db.execute("PRAGMA freelist_count").fetchone()
            if spare > _SPARE:
                self._db.execute(f"PRAGMA incremental_vacuum({min(spare - _SPARE, _GIVEN_BACK)})").fetchall()
                self._db.execute("PRAGMA wal_checkpoint(RESTART)")
                self._stop_growing()
        if not self.waiting(hub)[0]:
            with self._lock:
                self._stop_growing()
            self._reserve.unlink(missing_ok=True)

    def _stop_growing(self) -> None:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        self._db.execute(f"PRAGMA max_page_count={pages}")

    def _forget(self, db: sqlite3.Connection, hub: str, limit: int) -> int:
        oldest = db.execute(_OLDEST, (self._cursor(hub), limit)).fetchall()
        if oldest:
            db.execute("DELETE FROM packets WHERE number<=?", (oldest[-1][0],))
        return len(oldest)

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
                raise

    def _stamped(self, packet: Packet) -> Packet:
        """A packet with a stamp that no other of its sender has: at the hub it is part of the packet's name."""
        last = self._stamps.get(packet.sender)
        if last is not None and packet.received_at <= last < packet.received_at + _ONE_TURN:
            packet = replace(packet, received_at=last + _US)
        self._stamps[packet.sender] = packet.received_at
        return packet

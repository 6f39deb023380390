"""What a home post keeps for the hub: every packet as it came, until long after the hub has confirmed it.

SQLite, WAL, synchronous=FULL, in a file of its own. A packet is kept before its source is acknowledged, and forgotten
only when the hub has confirmed it, in the order in which they came, and it is older than KEPT or the disk is full.
All calls block; all are safe from any thread.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final

from ingest.accounts import Forwarded
from ingest.envelope import sealed
from ingest.journal import JournalError
from ingest.reading import Packet, from_us, to_us

FORMAT: Final = 1
KEPT: Final = timedelta(days=30)  # after this time a hub that lost its disk cannot be filled again from here
_FORGOTTEN_AT_ONCE: Final = 1000
_US: Final = timedelta(microseconds=1)
# Packets that were read from a socket in one turn bear one stamp; so many of them at most.
_ONE_TURN: Final = timedelta(milliseconds=100)

_SCHEMA: Final = """
CREATE TABLE packets(number INTEGER PRIMARY KEY AUTOINCREMENT, received_us INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE cursors(hub TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_OLDEST: Final = "SELECT number, received_us FROM packets WHERE number<=? ORDER BY number LIMIT ?"


class PacketLog:
    """The log in one file; creates it when it is not there. Raises JournalError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stamps: dict[str, datetime] = {}
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"cannot use {path}: {error}; check the path, its owner and the disk") from error
        if found not in {0, FORMAT}:
            raise JournalError(f"{path} has format {found}, this Homeward reads {FORMAT}; update Homeward")

    def close(self) -> None:
        """Close the file; the log must not be used afterwards."""
        with self._lock:
            self._db.close()

    def append(self, packets: Sequence[Packet]) -> None:
        """Keep packets in this order. On return they are on disk. Raises sqlite3.Error when nothing was written."""
        with self._writing() as db:
            rows = [(to_us(packet.received_at), sealed(packet)) for packet in map(self._stamped, packets)]
            db.executemany("INSERT INTO packets(received_us, sealed) VALUES(?, ?)", rows)

    def since(self, number: int, limit: int) -> list[tuple[int, bytes]]:
        """Packets after a number in the order in which they came, at most `limit`, sealed for the hub."""
        with self._lock:
            query = "SELECT number, sealed FROM packets WHERE number>? ORDER BY number LIMIT ?"
            return self._db.execute(query, (number, limit)).fetchall()

    def cursor(self, hub: str) -> int:
        """The number of the last packet that this hub has confirmed, 0 when there is none."""
        with self._lock:
            return self._cursor(hub)

    def advance(self, hub: str, number: int, now: datetime, *, came_from: int) -> None:
        """Remember that this hub has confirmed everything up to a number, and forget some of what is old.

        Only if nobody has set the cursor elsewhere meanwhile.
        """
        young = to_us(now - KEPT), to_us(now)  # a stamp of the future keeps nothing: that clock was wrong
        with self._writing() as db:
            if self._cursor(hub) != came_from:
                return
            db.execute("INSERT OR REPLACE INTO cursors VALUES(?, ?)", (hub, number))
            last = 0
            for at, received in db.execute(_OLDEST, (number, _FORGOTTEN_AT_ONCE)):
                if young[0] <= received <= young[1]:
                    break
                last = at
            db.execute("DELETE FROM packets WHERE number<=?", (last,))

    def start_over(self, hub: str) -> int:
        """Have everything that is still kept forwarded to this hub once more; how many packets that are."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO cursors VALUES(?, 0)", (hub,))
            return int(db.execute("SELECT count(*) FROM packets").fetchone()[0])

    def make_room(self, hub: str, limit: int) -> int:
        """Forget the oldest packets that this hub has confirmed, young ones as well; how many were forgotten."""
        with self._writing() as db:
            oldest = db.execute(_OLDEST, (self._cursor(hub), limit)).fetchall()
            if oldest:
                db.execute("DELETE FROM packets WHERE number<=?", (oldest[-1][0],))
            return len(oldest)

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

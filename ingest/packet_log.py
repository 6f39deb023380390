"""What a home post keeps for the hub: every packet as it came, until long after the hub has confirmed it.

SQLite, WAL, synchronous=FULL, in a file of its own. A packet is kept before its source is acknowledged, and forgotten
only when the hub has confirmed it and it is older than KEPT. All calls block; all are safe from any thread.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
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
        with self._lock:
            rows = [(to_us(packet.received_at), sealed(packet)) for packet in map(self._stamped, packets)]
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT INTO packets(received_us, sealed) VALUES(?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def since(self, number: int, limit: int) -> list[tuple[int, bytes]]:
        """Packets after a number in the order in which they came, at most `limit`, sealed for the hub."""
        with self._lock:
            query = "SELECT number, sealed FROM packets WHERE number>? ORDER BY number LIMIT ?"
            return self._db.execute(query, (number, limit)).fetchall()

    def cursor(self, hub: str) -> int:
        """The number of the last packet that this hub has confirmed, 0 when there is none."""
        with self._lock:
            row = self._db.execute("SELECT number FROM cursors WHERE hub=?", (hub,)).fetchone()
            return int(row[0]) if row else 0

    def advance(self, hub: str, number: int, now: datetime) -> None:
        """Remember that this hub has confirmed everything up to a number, and forget some of what is old."""
        old = "SELECT number, received_us FROM packets WHERE number<=? ORDER BY number LIMIT ?"
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("INSERT OR REPLACE INTO cursors VALUES(?, ?)", (hub, number))
                self._db.execute(
                    f"DELETE FROM packets WHERE number IN (SELECT number FROM ({old}) WHERE received_us<?)",
                    (number, _FORGOTTEN_AT_ONCE, to_us(now - KEPT)),
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

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
            "WITH log AS (SELECT max(seq) AS last FROM sqlite_sequence WHERE name='packets'), "
            "place AS (SELECT coalesce(max(number), 0) AS here FROM cursors WHERE hub=?), "
            # What was forgotten lies up to here: some hub had it.
            "had AS (SELECT max(coalesce((SELECT max(number) FROM cursors), 0), "
            "coalesce((SELECT min(number) - 1 FROM packets), last, 0)) AS top FROM log) "
            "SELECT coalesce(last, 0), top - (SELECT count(*) FROM packets WHERE number>here AND number<=top), "
            "(SELECT count(*) FROM packets WHERE number>here) FROM log, place, had"
        )
        with self._lock:
            packets, confirmed, waiting = self._db.execute(query, (hub,)).fetchone()
        return Forwarded(packets=packets, confirmed=confirmed, waiting=waiting)

    def free(self) -> int:
        """Octets that the disk of the log still has room for."""
        return shutil.disk_usage(self._path).free

    def _stamped(self, packet: Packet) -> Packet:
        """A packet with a stamp that no other of its sender has: at the hub it is part of the packet's name."""
        last = self._stamps.get(packet.sender)
        if last is not None and packet.received_at <= last < packet.received_at + _ONE_TURN:
            packet = replace(packet, received_at=last + _US)
        self._stamps[packet.sender] = packet.received_at
        return packet

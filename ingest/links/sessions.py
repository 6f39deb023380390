"""What the listener remembers of its clients over a lost connection and over a restart: their sessions.

A server that sends no messages has little session state (MQTT 5.0, 4.1): that the session exists, so that a client
keeps what it has sent and not seen acknowledged; and the packet ids of QoS 2 messages that are committed and not yet
released, so that their redelivery is not taken for news. An id is written down after its message is committed and
before PUBREC, and is gone from the file before PUBCOMP. Between the two commits a power cut can only make a message
come again, which the journal knows; it cannot make a new one pass for an old one.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ingest.reading import from_us, to_us

_log = logging.getLogger(__name__)

LONGEST: Final = 90 * 86_400  # seconds that a session may outlive its connection
_MOST: Final = 100_000
_RETRY: Final = 1.0  # seconds until a file that could not be written is tried again
_TABLES: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS sessions (client TEXT PRIMARY KEY, expiry INTEGER NOT NULL, ended_us INTEGER);
CREATE TABLE IF NOT EXISTS received (
    client TEXT NOT NULL, packet_id INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (client, packet_id)
) WITHOUT ROWID;
"""


@dataclass(slots=True, eq=False)
class Exact:
    """One QoS 2 message that has come and is not yet released.

    digest: of its topic and payload. A client that lost its memory may use the packet id for another message, and
    that one must not be lost. answer: called once the message and its id are on the disk; the connection on which it
    came last replaces it. kept: whether they are.
    """

    packet_id: int
    digest: bytes
    answer: Callable[[], None]
    kept: bool = False


@dataclass(slots=True, eq=False)
class Session:
    """One client's session. expiry: seconds that it outlives its connection; ended: when that was lost, or None."""

    client: str
    expiry: int = 0
    ended: datetime | None = None
    received: dict[int, Exact] = field(default_factory=dict)
    dropped: bool = False

    def present(self, now: datetime) -> bool:
        """Whether a client that comes back now finds it."""
        return self.ended is None or now - self.ended < timedelta(seconds=self.expiry)


class Sessions:
    """All sessions, in memory and, but for those that end with their connection, in a file.

    The file is written by `run`, many changes in one commit; what has to wait for it gives a callback.
    Raises sqlite3.Error when the file cannot be used. trouble: why it cannot be written just now, in a sentence.
    """

    def __init__(self, path: Path | None, now: datetime) -> None:
        self.trouble: str | None = None
        self._file = str(path or ":memory:")
        self._lock = threading.Lock()
        self._db = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        self._sessions: dict[str, Session] = {}
        self._changes: list[tuple[str, tuple[Any, ...]]] = []
        self._then: list[Callable[[], None]] = []
        self._due = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._db.executescript(_TABLES)
        self._load(now)

    def __len__(self) -> int:
        """How many sessions are known."""
        return len(self._sessions)

    def _load(self, now: datetime) -> None:
        for client, expiry, ended_us in self._db.execute("SELECT client, expiry, ended_us FROM sessions").fetchall():
            # A connection that stood when the power went has ended; nobody knows when, so it begins to expire now.
            session = Session(client, expiry, now if ended_us is None else from_us(ended_us))
            if session.present(now):
                self._sessions[client] = session
            else:
                self._forget(session)
        for client, packet_id, digest in self._db.execute("SELECT client, packet_id, digest FROM received"):
            if client in self._sessions:
                self._sessions[client].received[packet_id] = Exact(packet_id, digest, _nobody, kept=True)

    def open(
        self, client: str, *, clean_start: bool, expiry: int, now: datetime, then: Callable[[Session, bool], None]
    ) -> Session:
        """A client has connected: then(session, present) is called once the disk knows of it.

        present: whether the session was there before. expiry: seconds, at most LONGEST are granted.
        """
        old = self._sessions.get(client)
        present = old is not None and not clean_start and old.present(now)
        if old is not None and not present:
            self._forget(old)
        session = old if old is not None and present else Session(client)
        session.ended = None
        self._sessions[client] = session
        self.expire_after(session, expiry)
        if len(self._sessions) > _MOST:
            oldest = next((one for one in self._sessions.values() if one.ended is not None), session)
            self._forget(oldest)
        self._when_written(lambda: then(session, present), wait=session.expiry > 0)
        return session

    def expire_after(self, session: Session, expiry: int) -> None:
        """Let a session outlive its connection by so many seconds, at most LONGEST."""
        had_to_be_written = session.expiry > 0
        session.expiry = min(expiry, LONGEST)
        if session.expiry or had_to_be_written:
            self._write(session)

    def end(self, session: Session, now: datetime) -> None:
        """Its connection has gone."""
        session.ended = now
        if session.expiry:
            # At the end of the order in which sessions are forgotten when there are too many.
            self._sessions[session.client] = self._sessions.pop(session.client, session)
            self._write(session)
        else:
            self._forget(session)

    def keep(self, session: Session, message: Exact) -> None:
        """A QoS 2 message has been committed: remember its id, then answer."""
        if session.dropped or session.received.get(message.packet_id) is not message:
            return
        if session.expiry:
            values = (session.client, message.packet_id, message.digest)
            self._change("INSERT OR REPLACE INTO received VALUES (?, ?, ?)", values)

        def answer() -> None:
            message.kept = True
            message.answer()

        self._when_written(answer, wait=session.expiry > 0)

    def release(self, session: Session, packet_id: int, then: Callable[[], None]) -> None:
        """Forget the id of a QoS 2 message, then call back."""
        if session.received.pop(packet_id, None) is not None and session.expiry:
            values = (session.client, packet_id)
            self._change("DELETE FROM received WHERE client = ? AND packet_id = ?", values)
        # Also for an id that is not known any more: its deletion may still be on its way to the disk.
        self._when_written(then, wait=session.expiry > 0)

    def _forget(self, session: Session) -> None:
        session.dropped = True
        if self._sessions.get(session.client) is session:
            del self._sessions[session.client]
        if session.expiry:
            for table in ("sessions", "received"):
                self._change(f"DELETE FROM {table} WHERE client = ?", (session.client,))

    def _write(self, session: Session) -> None:
        ended_us = None if session.ended is None else to_us(session.ended)
        self._change("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", (session.client, session.expiry, ended_us))

    def _change(self, statement: str, values: tuple[Any, ...]) -> None:
        self._changes.append((statement, values))
        self._idle.clear()
        self._due.set()

    def _when_written(self, then: Callable[[], None], *, wait: bool) -> None:
        if wait and not self._idle.is_set():
            self._then.append(then)
            self._due.set()
        else:
            then()

    async def run(self) -> None:
        """Write changes down until cancelled. A file that cannot be written is tried again; answers wait for it."""
        while True:
            await self._due.wait()
            self._due.clear()
            changes, then = self._changes[:], self._then
            self._then = []
            while not await asyncio.to_thread(self._commit, changes):  # noqa: ASYNC110 (a disk sends no events)
                await asyncio.sleep(_RETRY)
            del self._changes[: len(changes)]
            if not self._changes:
                self._idle.set()
            for answer in then:
                answer()

    async def written(self) -> None:
        """Wait until the disk knows everything."""
        await self._idle.wait()

    def close(self) -> None:
        """Close the file, with what is still to be written."""
        self._commit(self._changes)
        self._db.close()

    def _commit(self, changes: list[tuple[str, tuple[Any, ...]]]) -> bool:
        try:
            with self._lock, self._db:
                self._db.execute("BEGIN IMMEDIATE")
                for statement, values in changes:
                    self._db.execute(statement, values)
        except sqlite3.Error as error:
            if self.trouble is None:
                _log.warning("the sessions of MQTT clients cannot be written: %s", error)
            self.trouble = f"{self._file} cannot be written ({error}); check the disk"
            return False
        self.trouble = None
        return True


def _nobody() -> None:
    """The answer to a message of a connection that is no more."""

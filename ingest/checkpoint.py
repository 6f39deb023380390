"""Checkpoints beside the writer: SQLite's write-ahead log is taken into the file, and no commit waits for it.

Until 3.51.3 SQLite could lose a commit that began the log anew beneath another connection's checkpoint (its page on
WAL, "The WAL-Reset Bug"). So a reader stands by during each: in a log that somebody reads nothing can begin anew, and
where it reads the file alone, because all of the log is in it already, nothing can be taken in.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Final

_log = logging.getLogger(__name__)

# A page that many commits change is written once in so long. With shorter pauses more commits had to wait for the
# disk: p99 until durable at 5000 readings/s was 12 to 17 ms with 0.1 s, 11 to 12 with 0.5 s, 6 to 8 with this.
PAUSE_S: Final = 1.0
LONG: Final = 16_000  # pages of a log that is to begin anew, 64 MB


class Checkpointer:
    """Takes the log into the file a while after each commit that it is told of, on a thread of its own.

    A writer that goes on meanwhile leaves some pages over, so the log would never begin anew: when it is LONG, they
    are taken in while the writer waits.

    connect: makes a connection that any thread may use. writing: held by the writer during its transactions.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], writing: Lock) -> None:
        self._db, self._reader = connect(), connect()
        self._writing = writing
        self._committed = Event()
        self._closed = Event()
        self._hindered = ""
        self._thread = Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def note_commit(self) -> None:
        """There is something in the log."""
        self._committed.set()

    def close(self) -> None:
        """End. What the log holds then stays in it until somebody takes it in."""
        self._closed.set()
        self._committed.set()
        self._thread.join()
        self._reader.close()
        self._db.close()

    def _run(self) -> None:
        while self._committed.wait() and not self._closed.wait(PAUSE_S):
            self._committed.clear()
            if self._closed.is_set():  # as the pause ended; what has just been cleared is not set again
                return
            try:
                self._take_in()
            except sqlite3.Error as error:
                self._complain(str(error))
            else:
                self._hindered = ""

    def _complain(self, why: str) -> None:
        if why != self._hindered:
            _log.warning("the journal's write-ahead log cannot be taken into its file, and grows: %s", why)
        self._hindered = why

    def _take_in(self) -> None:
        with self._reading():
            pages = self._checkpoint()
        if pages >= LONG:
            with self._writing, self._reading():
                self._checkpoint()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            self._reader.execute("BEGIN")
            self._reader.execute("SELECT 1 FROM sqlite_schema").fetchone()
            yield
        finally:
            if self._reader.in_transaction:
                self._reader.execute("COMMIT")

    def _checkpoint(self) -> int:
        """Take in what no reader needs to be left; the pages of the log."""
        pages: int = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        return pages

"""Checkpoints beside the writer: SQLite's write-ahead log is taken into the file, and no commit waits for it.

Until 3.51.3 SQLite could lose a commit that began the log anew beneath another connection's checkpoint (its page on
WAL, "The WAL-Reset Bug"). A log in which a reader stands cannot begin anew. So one stands there for as long as a
checkpoint is made beside the writer; the few pages that then are left are taken in now and again while the writer
waits, and the log begins anew after that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Final

# A page that many commits change is written once in so long. With shorter pauses more commits had to wait for the
# disk: p99 until durable at 5000 readings/s was 12 to 17 ms with 0.1 s, 11 to 12 with 0.5 s, 6 to 8 with this.
PAUSE_S: Final = 1.0
LONG: Final = 16_000  # pages of a log that is to begin anew, 64 MB


class Checkpointer:
    """Takes the log into the file a while after each commit that it is told of, on a thread of its own.

    connect: makes a connection that any thread may use. writing: held by the only writer during its transactions.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], writing: Lock) -> None:
        self._db, self._reader = connect(), connect()
        self._writing = writing
        self._is_new = False  # something was committed since all that was known is being taken in
        self._committed = Event()
        self._closed = Event()
        self._thread = Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def note_commit(self) -> None:
        """There is something in the log. The caller holds `writing`."""
        self._is_new = True
        self._committed.set()

    def note_empty(self) -> None:
        """The log was taken in by somebody else. The caller holds `writing`."""
        self._is_new = False

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
            # What hinders it (a full disk, a file that is held) hinders the next commit too, which tells of it.
            with suppress(sqlite3.Error):
                self._take_in()

    def _take_in(self) -> None:
        reader = self._reader
        try:
            with self._writing:
                if not self._is_new:
                    return  # a reader would stand in the file, and not in the log
                self._is_new = False
                reader.execute("BEGIN")
                reader.execute("SELECT 1 FROM sqlite_schema").fetchone()
            pages = self._checkpoint()
        finally:
            if reader.in_transaction:
                reader.execute("COMMIT")
        if pages >= LONG:
            with self._writing:
                self._checkpoint()
                self._is_new = False

    def _checkpoint(self) -> int:
        """Take in what no reader needs to be left; the pages of the log."""
        pages: int = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        return pages

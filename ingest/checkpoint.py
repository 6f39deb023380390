"""Checkpoints beside the writer: SQLite's write-ahead log is taken into the file, and no commit waits for it."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from threading import Event, Thread
from typing import Final

# Long enough that a page which changes with every commit is written a few times a second, and short enough that what
# is left to the commit by which the log is full is the work of a millisecond.
PAUSE_S: Final = 0.25


class Checkpointer:
    """Takes the log into the file a while after each commit that it is told of, on a thread of its own.

    A commit by which the log reaches `wal_autocheckpoint` takes in what is left, so the log begins anew however
    steadily is written. Without this it took in everything: 10 ms and more of every second at 1000 readings/s.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """db: a connection of its own, which close() closes; made with check_same_thread=False."""
        self._db = db
        self._committed = Event()
        self._closed = Event()
        self._thread = Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def note_commit(self) -> None:
        """There is something in the log."""
        self._committed.set()

    def close(self) -> None:
        """Stop, and close the connection. What the log holds then stays in it until somebody takes it in."""
        self._closed.set()
        self._committed.set()
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while self._committed.wait() and not self._closed.wait(PAUSE_S):
            self._committed.clear()
            # What hinders it (a full disk, a file that is held) hinders the next commit too, which tells of it.
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

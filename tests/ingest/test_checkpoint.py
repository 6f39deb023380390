"""Checkpoints beside the writer: the log comes into the file by itself, stays small, and its thread ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from threading import enumerate as threads

from ingest.checkpoint import Checkpointer

PAGE = 4096
LIMIT_S = 20.0


def connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    return db


def until(holds: Callable[[], bool]) -> None:
    """Another thread is waited for; an Event that nobody sets is the pause."""
    pause = Event()
    for _ in range(int(LIMIT_S / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to hold")


def test_what_is_committed_comes_into_the_file_though_the_writer_never_takes_it_in(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(connected(path)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("CREATE TABLE t (x)")
        with closing(Checkpointer(connected(path))) as checkpointer:
            size = path.stat().st_size
            writer.execute("INSERT INTO t VALUES (zeroblob(?))", (50 * PAGE,))
            checkpointer.note_commit()
            until(lambda: path.stat().st_size > size + 40 * PAGE)


def test_the_log_begins_anew_however_steadily_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(connected(path)) as writer, closing(Checkpointer(connected(path))) as checkpointer:
        writer.execute("PRAGMA wal_autocheckpoint=100")
        writer.execute("PRAGMA synchronous=OFF")
        writer.execute("CREATE TABLE t (x)")
        for _ in range(2000):
            writer.execute("INSERT INTO t VALUES (zeroblob(?))", (2 * PAGE,))
            checkpointer.note_commit()
        # 2000 inserts are at least 4000 pages. A commit that meets the other at work goes on, so some more may wait.
        assert Path(f"{path}-wal").stat().st_size < 2000 * PAGE


def test_a_file_that_is_held_is_taken_up_again_with_the_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(connected(path)) as writer, closing(connected(path)) as reader:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("CREATE TABLE t (x)")
        with closing(Checkpointer(connected(path))) as checkpointer:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM t").fetchall()
            size = path.stat().st_size
            writer.execute("INSERT INTO t VALUES (zeroblob(?))", (50 * PAGE,))
            checkpointer.note_commit()
            reader.execute("COMMIT")
            writer.execute("INSERT INTO t VALUES (1)")
            checkpointer.note_commit()
            until(lambda: path.stat().st_size > size + 40 * PAGE)


def test_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    before = set(threads())
    checkpointer = Checkpointer(connected(tmp_path / "a.db"))
    (thread,) = set(threads()) - before
    checkpointer.close()
    assert not thread.is_alive()
    checkpointer.close()

"""Checkpoints beside the writer: the log comes into the file, and begins anew, but never beneath a checkpoint."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Lock
from threading import enumerate as threads
from typing import Any

import pytest

from ingest import checkpoint
from ingest.checkpoint import Checkpointer

PAGE = 4096
LIMIT_S = 20.0


class Watched(sqlite3.Connection):
    """Calls `after` when a checkpoint was made and has not yet been heard of."""

    after: Callable[[], None] = staticmethod(lambda: None)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """As it is."""
        cursor = super().execute(sql, *parameters)
        if "wal_checkpoint" in sql:
            self.after()
        return cursor


class Store:
    """A writer with a log of its own, and what a test may ask of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writing = Lock()
        self.db = self.connect()
        self.db.execute("PRAGMA wal_autocheckpoint=0")
        self.db.execute("CREATE TABLE t (x)")

    def connect(self) -> sqlite3.Connection:
        """As the journal does."""
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, factory=Watched)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        return db

    def commit(self, beside: Checkpointer, pages: int = 1) -> None:
        """Write so many pages."""
        with self.writing:
            self.db.execute("INSERT INTO t VALUES (zeroblob(?))", (pages * PAGE,))
            beside.note_commit()

    @property
    def size(self) -> int:
        """Octets of the file, without the log."""
        return self.path.stat().st_size

    @property
    def log(self) -> bytes:
        """The salt of the log, another one whenever it has begun anew."""
        with Path(f"{self.path}-wal").open("rb") as file:
            return file.read(24)[16:]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(checkpoint, "PAUSE_S", 0.0)
    monkeypatch.setattr(checkpoint, "LONG", 100)
    store = Store(tmp_path / "a.db")
    with closing(store.db):
        yield store


@contextmanager
def beside(store: Store) -> Iterator[Checkpointer]:
    with closing(Checkpointer(store.connect, store.writing)) as checkpointer:
        yield checkpointer


def until(holds: Callable[[], bool]) -> None:
    """Another thread is waited for; an Event that nobody sets is the pause."""
    pause = Event()
    for _ in range(int(LIMIT_S / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to hold")


def test_what_is_committed_comes_into_the_file_though_the_writer_never_takes_it_in(store: Store) -> None:
    with beside(store) as checkpointer:
        size = store.size
        store.commit(checkpointer, 50)
        until(lambda: store.size > size + 40 * PAGE)


def test_the_log_begins_anew_though_something_is_committed_beside_each_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = {store.log}
    with beside(store) as checkpointer:

        def after() -> None:
            if store.writing.acquire(timeout=0.2):  # the other half is made while the writer waits
                store.db.execute("INSERT INTO t VALUES (zeroblob(?))", (20 * PAGE,))
                checkpointer.note_commit()
                store.writing.release()

        def begun_anew() -> bool:
            store.commit(checkpointer)
            logs.add(store.log)
            return len(logs) >= 3

        monkeypatch.setattr(Watched, "after", staticmethod(after))
        until(begun_anew)


def test_the_log_does_not_begin_anew_beneath_a_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite before 3.51.3 could lose what is committed then; after a whole checkpoint any commit begins it anew."""
    seen: list[bool] = []
    heard = Event()

    def after() -> None:
        if heard.is_set():
            return
        before = store.log
        store.db.execute("INSERT INTO t VALUES (1)")
        seen.append(store.log == before)
        heard.set()

    monkeypatch.setattr(Watched, "after", staticmethod(after))
    with beside(store) as checkpointer:
        store.commit(checkpointer, 5)
        assert heard.wait(LIMIT_S)
    assert seen == [True]


def test_nothing_is_taken_in_where_all_is_in_the_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the reader stands in the file, and a commit does begin the log anew."""
    heard = Event()
    monkeypatch.setattr(Watched, "after", staticmethod(heard.set))
    store.db.execute("INSERT INTO t VALUES (zeroblob(?))", (50 * PAGE,))
    with closing(store.connect()) as other:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    heard.clear()
    before, size = store.log, store.size

    def after() -> None:
        store.db.execute("INSERT INTO t VALUES (zeroblob(?))", (50 * PAGE,))
        heard.set()

    monkeypatch.setattr(Watched, "after", staticmethod(after))
    with beside(store) as checkpointer:
        checkpointer.note_commit()
        assert heard.wait(LIMIT_S)
    assert store.log != before
    assert store.size == size
    assert store.db.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_what_hinders_it_is_told_once_and_it_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails = iter([True, True, False])
    done = Event()

    def after() -> None:
        if next(fails, False):
            raise sqlite3.OperationalError("disk I/O error")
        done.set()

    monkeypatch.setattr(Watched, "after", staticmethod(after))
    with beside(store) as checkpointer:

        def committed() -> bool:
            store.commit(checkpointer)
            return done.is_set()

        until(committed)
    assert [record.message for record in caplog.records] == [
        "the journal's write-ahead log cannot be taken into its file, and grows: disk I/O error"
    ]


def test_a_log_that_is_read_is_taken_in_after_the_next_commit(store: Store) -> None:
    with beside(store) as checkpointer, closing(store.connect()) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()
        size = store.size
        store.commit(checkpointer, 50)
        reader.execute("COMMIT")
        store.commit(checkpointer)
        until(lambda: store.size > size + 40 * PAGE)


def test_no_thread_and_no_file_is_left_at_the_end(store: Store) -> None:
    before = set(threads())
    checkpointer = Checkpointer(store.connect, store.writing)
    (thread,) = set(threads()) - before
    checkpointer.close()
    assert not thread.is_alive()
    store.db.close()
    assert not Path(f"{store.path}-wal").exists()  # the last connection takes it away


def test_who_closes_just_as_a_pause_ends_does_not_wait_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ClosedMeanwhile(Event):
        def clear(self) -> None:
            checkpointer._closed.set()
            self.set()
            super().clear()

    monkeypatch.setattr(checkpoint, "Event", ClosedMeanwhile)
    checkpointer = Checkpointer(store.connect, store.writing)
    checkpointer.note_commit()
    checkpointer._thread.join(LIMIT_S)
    assert not checkpointer._thread.is_alive()
    checkpointer.close()

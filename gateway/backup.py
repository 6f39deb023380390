"""`homeward backup`: copies of a data directory's databases, all of one moment, beside a running hub as well."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.config import BOOK
from gateway.house import JOURNAL, PACKETS, SESSIONS, HouseError
from gateway.hub_name import NAME

# The moments of the copies lie some milliseconds apart. In this order nothing is lost by that: a book that is older
# than the journal watches the last readings again, and a session that is older than the journal takes a message again
# that is known; the other way round both would be left out. Packets that the journal has not are forwarded as well.
_IN_ORDER: Final = (BOOK, SESSIONS, JOURNAL, PACKETS)
_OURS: Final = re.compile(f"({'|'.join(map(re.escape, _IN_ORDER))})(-journal|-wal|-shm)?|{NAME}")


def backup(data: Path, folder: Path) -> Mapping[str, int]:
    """Copy what a data directory holds into a new folder; octets of each file. The hub goes on meanwhile.

    The folder has its name only when all of it is on disk. Raises HouseError.
    """
    if data.resolve() in folder.resolve().parents:
        raise HouseError(f"{folder} is in the data directory, and would be lost with it; name a folder elsewhere")
    partial = folder.with_name(f"{folder.name}.partial")
    with ExitStack() as stack:
        try:
            if folder.exists():
                raise FileExistsError(f"{folder} is there already; name a new folder")
            stack.enter_context(_empty(partial))
        except OSError as error:
            raise HouseError(f"cannot write a backup to {folder}: {error}") from error
        try:
            sizes = _copy_all(data, partial)
            partial.rename(folder)
            _sync(folder.parent)
        except (sqlite3.Error, OSError) as error:
            raise HouseError(
                f"{data} could not be copied to {folder}: {error}; check both, and the room there"
            ) from error
    return sizes


@contextmanager
def _empty(folder: Path) -> Iterator[None]:
    """A folder of nobody else, gone at the end. What a backup that was killed has left in it is removed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"another backup writes to {folder}; wait for its end") from None
        left = sorted(folder.iterdir())
        if strangers := [path.name for path in left if not _OURS.fullmatch(path.name)]:
            raise FileExistsError(f"{folder} holds {strangers[0]}, which is of no backup; move it away")
        for path in left:
            path.unlink()
        folder.chmod(0o700)
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _copy_all(data: Path, folder: Path) -> dict[str, int]:
    names = [name for name in _IN_ORDER if (data / name).exists() and (data / name).stat().st_size]
    if JOURNAL not in names:
        raise HouseError(f"there is no journal in {data}: `homeward run` makes it at its first start")
    with ExitStack() as stack:
        sources = [(name, stack.enter_context(closing(_as_it_is_now(data / name)))) for name in names]
        for name, source in sources:
            copy = folder / name
            copy.touch(mode=0o600)
            with closing(sqlite3.connect(copy)) as target:
                source.backup(target)
    if (data / NAME).exists():
        shutil.copy2(data / NAME, folder)
    _sync(folder)
    return {name: (folder / name).stat().st_size for name in names}


def _as_it_is_now(path: Path) -> sqlite3.Connection:
    """A connection that sees the file as it is now, whatever is written meanwhile."""
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    try:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

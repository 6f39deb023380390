"""Looking after a journal file: is it whole, and can it be smaller. Both block and open the file themselves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ingest.accounts import balance
from ingest.journal import JournalError, accounts_of, moment
from ingest.journal_format import FORMAT, see

_TOLD: Final = 5  # of what SQLite finds wrong in a damaged file
_RESTORE: Final = "stop Homeward, move its data directory away and restore a backup, as docs/backup.md says"


def verify(path: Path) -> list[str]:
    """A sentence for everything that is not as it must be, beside a running hub as well; changes nothing.

    A file of an earlier format is as it must be when it can be upgraded to a whole one of today.

    Reads the whole file: about a minute for 10 million readings.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)) as db:
            damage = [said for (said,) in db.execute("PRAGMA integrity_check")]
            if damage != ["ok"]:
                return [*_some(" ".join(said.split()) for said in damage), f"{path} is damaged; {_RESTORE}"]
            with moment(db):
                if (found := see(db)) == 0:
                    return [f"{path} holds no journal; check the path"]
                if found > FORMAT:
                    return [f"{path} has journal format {found}, this Homeward reads {FORMAT}; update Homeward"]
                faults = [*_relations(db), *balance(accounts_of(db, {}))]
    except sqlite3.Error as error:
        return [hindrance(path, error)]
    return [f"{path}: {said}" for said in faults]


def compact(path: Path) -> tuple[int, int]:
    """Write the file anew without spare room; its size in octets before and after. No hub may use it.

    Raises JournalError when it is damaged, or the disk has no room for the copy that this takes.
    """
    before = path.stat().st_size
    free = shutil.disk_usage(path.parent).free
    if free < 2 * before:
        raise JournalError(f"compacting {path} takes {2 * before} octets of free disk, and {free} are free")
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise JournalError(hindrance(path, error)) from error
    return before, path.stat().st_size


def hindrance(path: Path, error: Exception) -> str:
    """Why the journal cannot be used, and what to do: to wait helps against a lock, and not against damage."""
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return f"{path} is damaged ({error}); {_RESTORE}"
    return f"the journal {path} cannot be used now: {error}; free the disk, or end what holds the file, and try again"


def _some(said: Iterable[str]) -> list[str]:
    every = list(said)
    return every if len(every) <= _TOLD else [*every[:_TOLD], f"... and {len(every) - _TOLD} more"]


def _relations(db: sqlite3.Connection) -> Iterator[str]:
    def one(query: str) -> int:
        return int(db.execute(query).fetchone()[0] or 0)

    given = one("SELECT seq FROM sqlite_sequence WHERE name='arrivals' UNION ALL SELECT 0 LIMIT 1")
    dropped = one("SELECT sum(n) FROM counters WHERE name='dropped'")
    listed = one("SELECT count(*) FROM arrivals")
    kept = one("SELECT count(*) FROM readings") + one("SELECT count(*) FROM superseded")
    if listed + dropped != given:
        yield f"{listed} readings are listed and {dropped} dropped, but {given} were journaled"
    if kept != listed:
        yield f"{kept} readings and revisions are kept, but {listed} are listed in their order of arrival"
    homeless = one(
        "SELECT count(*) FROM arrivals a LEFT JOIN readings r ON r.series=a.series AND r.taken_us=a.taken_us "
        "AND r.device=a.device AND r.n=a.n WHERE r.rev IS NULL OR r.rev<a.rev"
    )
    if homeless:
        yield f"{homeless} of the listed readings are missing"

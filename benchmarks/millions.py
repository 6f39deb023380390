"""A journal with as many readings as asked, quickly: one a patient goes through the journal, the others are copies.

The rows of those are read back from the file and written again with other numbers, so that the schema is the
journal's, whatever it is. In order of arrival: every patient's reading of a minute, then the next minute.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import BenchError
from ingest.journal import Arrival, Journal
from ingest.reading import Packet, Reading, TimeBasis, to_us
from ingest.vital import Unit, Vital

_STEP: Final = timedelta(minutes=5)
_CHUNK: Final = 50_000
_KEPT: Final = timedelta(hours=12)
_NUMBERS: Final = ("series", "taken_us", "device", "n")


def ten_million(path: Path, count: int, patients: int, say: Callable[[str], None] = print) -> None:
    """`count` CGM readings (a multiple of `patients`), of each patient one every five minutes until now.

    A file of an earlier call is kept. Raises BenchError.
    """
    if path.exists():
        if _is_usable(path, count):
            return
        path.unlink()
    half = path.with_suffix(".building")
    for stale in half.parent.glob(f"{half.name}*"):
        stale.unlink()
    _begin(half, patients)
    began = time.monotonic()
    with closing(sqlite3.connect(half, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-1000000")
        for done in _fill(db, count, patients):
            if done % 1_000_000 < _CHUNK and count > 1_000_000:
                say(f"  {done:,} of {count:,} readings, {time.monotonic() - began:.0f} s".replace(",", " "))
        if (found := _count(db)) != count:
            raise BenchError(f"{half} was built with {found} of {count} readings")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.move(half, path)


def _begin(path: Path, patients: int) -> None:
    """One reading of every patient, through the journal."""
    start = datetime.now(UTC)
    journal = Journal(path)
    arrivals = []
    for i in range(patients):
        reading = Reading(
            patient=f"p{i:06}",
            device=f"cgm-{i:06}",
            vital=Vital.CGM,
            values=(110.0,),
            sent=(110.0,),
            unit=Unit.MG_DL,
            taken_at=start,
            time_basis=TimeBasis.DEVICE,
            received_at=start,
            device_time=start,
            sequence=0,
        )
        packet = Packet(link="listener", sender=reading.device, channel="json", data=b"", received_at=start)
        arrivals.append(Arrival(packet=packet, outcomes=(reading,)))
    journal.append(arrivals)
    journal.close()


def _fill(db: sqlite3.Connection, count: int, patients: int) -> Iterator[int]:
    names, rows = _rows(db, "readings")
    arrival_names, arrivals = _rows(db, "arrivals")
    at = {name: names.index(name) for name in (*_NUMBERS, "v0", "claim_us", "sequence", "received_us")}
    where = {name: arrival_names.index(name) for name in ("seq", *_NUMBERS)}
    now = to_us(datetime.now(UTC))
    depth = count // patients
    step = _STEP // timedelta(microseconds=1)
    by_device = {row[at["device"]]: row for row in rows}
    templates = [(by_device[entry[where["device"]]], entry) for entry in arrivals]
    seq = 0
    for table in ("readings", "arrivals"):
        db.execute(f"DELETE FROM {table}")

    def made() -> Iterator[tuple[list[Any], list[Any]]]:
        nonlocal seq
        for n in range(depth):
            moment = now - (depth - n) * step
            for i, (row, entry) in enumerate(templates):
                seq += 1
                taken = moment + i  # a microsecond apart
                reading, arrival = list(row), list(entry)
                reading[at["taken_us"]] = reading[at["claim_us"]] = reading[at["received_us"]] = taken
                reading[at["v0"]], reading[at["sequence"]] = float(90 + (i + 3 * n) % 70), n + 1
                arrival[where["seq"]], arrival[where["taken_us"]] = seq, taken
                yield reading, arrival

    all_rows = made()
    marks = ",".join("?" * len(names)), ",".join("?" * len(arrival_names))
    while pairs := list(islice(all_rows, _CHUNK)):
        db.execute("BEGIN")
        db.executemany(f"INSERT INTO readings VALUES({marks[0]})", [reading for reading, _ in pairs])
        db.executemany(f"INSERT INTO arrivals VALUES({marks[1]})", [arrival for _, arrival in pairs])
        db.execute("COMMIT")
        yield seq


def _rows(db: sqlite3.Connection, table: str) -> tuple[list[str], list[Any]]:
    found = db.execute(f"SELECT * FROM {table} ORDER BY rowid" if table == "arrivals" else f"SELECT * FROM {table}")
    return [column[0] for column in found.description], found.fetchall()


def _is_usable(path: Path, count: int) -> bool:
    """Whether it is whole, of today's schema, and young enough that its last 14 days are the last 14 days."""
    if time.time() - path.stat().st_mtime > _KEPT.total_seconds():
        return False
    fresh = path.with_suffix(".schema")
    Journal(fresh).close()
    try:
        with closing(sqlite3.connect(path)) as found, closing(sqlite3.connect(fresh)) as wanted:
            schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
            same = found.execute(schema).fetchall() == wanted.execute(schema).fetchall()
            return same and _count(found) == count
    finally:
        for stale in fresh.parent.glob(f"{fresh.name}*"):
            stale.unlink()


def _count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM arrivals").fetchone()[0])

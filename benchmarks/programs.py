"""What is measured: Homeward as a clinic runs it, and the floors; each a process of its own with a durable store."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, Self
from zoneinfo import ZoneInfo

from sqlalchemy import insert

from alerts.database import METADATA
from alerts.review_book import STANDINGS, standing_row
from alerts.risk import Standing
from benchmarks.load import Enrolled, Key
from benchmarks.machine import BenchError, Program, floor_python, module, script
from gateway.config import BOOK
from gateway.house import JOURNAL
from gateway.past import round_of
from gateway.people import Patient
from gateway.schema import open_database
from ingest.journal import Journal
from ingest.reading import to_us
from tests.peers import free_port

_PATIENCE_S: Final = 300.0
_SILENCE_S: Final = 120.0
_POLL_S: Final = 0.0003


class Receiver(Protocol):
    """A program under load: where its readings are durable, and what it costs."""

    prefix: str
    program: Program
    copies: bool  # whether a reading that is sent twice is kept twice

    def tail(self) -> int:
        """How many readings are durable; as cheap as can be."""
        ...

    def keys(self, after: int) -> list[Key]:
        """The readings stored after a tail, in order."""
        ...


class Homeward:
    """`homeward run` with a configuration file, its data in `folder`; use it as a context."""

    prefix = "homeward"
    copies = False

    def __init__(
        self, folder: Path, enrolled: Iterable[Enrolled], *, broker: int | None = None, **sections: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self.port, self.page = free_port(), free_port()
        ways: dict[str, Mapping[str, Any]] = {"broker": {"host": "127.0.0.1", "port": broker}} if broker else {}
        said = {"web": {"port": self.page}, "listener": {"port": self.port}, **ways, **sections}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "homeward.toml").write_text(_toml({"data": str(folder / "data")}, said))
        enrol(folder / "data", enrolled)
        self._journal = Journal(folder / "data" / JOURNAL)
        self.program: Program

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self._journal.close()

    def start(self) -> float:
        """Start it (again); seconds until it says that it is open."""
        began = time.monotonic()
        log = self.folder / "homeward.log"
        log.unlink(missing_ok=True)
        config = self.folder / "homeward.toml"
        self.program = Program(module("gateway.cli", "run", "-c", config), log)
        self.program.wait_for("Homeward is open at", _PATIENCE_S)
        return time.monotonic() - began

    def tail(self) -> int:
        """See Receiver."""
        return self._journal.tail()

    def keys(self, after: int) -> list[Key]:
        """See Receiver."""
        return [(reading.device, reading.sequence or 0) for _, reading in self._journal.since(after, 10_000_000)]


class Floor:
    """One of the floors (`benchmarks/floors.py`), with its rows in `folder`. which: lib or raw."""

    copies = True

    def __init__(self, which: str, folder: Path, broker: int) -> None:
        self.prefix = f"floor{which}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{which}.db"
        command = script(floor_python(), "floors.py", which, broker, self.prefix, path)
        self.program = Program(command, folder / f"{which}.log")
        self.program.wait_for("floor is ready")
        self._db = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self._db.close()

    def tail(self) -> int:
        """See Receiver."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0])

    def keys(self, after: int) -> list[Key]:
        """See Receiver."""
        return list(self._db.execute("SELECT device, sequence FROM journal WHERE seq > ? ORDER BY seq", (after,)))


def enrol(data: Path, enrolled: Iterable[Enrolled]) -> None:
    """Write patients, devices and wearings into the register, all in one transaction.

    The rounds of the last night are done and those of the next are hours away, as at most times of a day: they take a
    fifth of a core, which would be counted as the readings' cost.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_database(f"sqlite:///{data / BOOK}")
    at = datetime.now(UTC)
    now, zone = to_us(at), _zone_of_noon(at)
    patients: list[dict[str, Any]] = []
    devices: list[dict[str, Any]] = []
    wearings: list[dict[str, Any]] = []
    visits: list[dict[str, Any]] = []
    for one in enrolled:
        known = Patient(id=one.patient, name=f"Name of {one.patient}", zone=zone.key)
        visits.append(
            standing_row(Standing(patient=one.patient, day=round_of(one.patient, zone, at).day, made_at=at))
        )
        patients.append({name: getattr(known, name) for name in Patient.__slots__})
        for device, kind in one.devices.items():
            devices.append({"id": device, "kind": kind, "link": "mqtt", "model": ""})
            wearings.append({"device": device, "patient": one.patient, "slot": 0, "assigned_us": now})
    with engine.begin() as db:
        for table, rows in (("patients", patients), ("devices", devices), ("wearings", wearings)):
            if rows:
                db.execute(insert(METADATA.tables[table]), rows)
        if visits:
            db.execute(insert(STANDINGS), visits)
    engine.dispose()


def _zone_of_noon(at: datetime) -> ZoneInfo:
    ahead = 12 - at.hour
    return ZoneInfo(f"Etc/GMT{-ahead:+d}")  # their names count westwards


class Watched:
    """What was durable when: looks at a store again and again while a load runs."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.before = receiver.tail()
        self._seen: list[tuple[float, int]] = []

    def until(self, count: int) -> float:
        """Look until so many more readings are durable; the moment when they were. Raises BenchError."""
        end = time.monotonic() + _SILENCE_S
        tail = self.before
        while tail < self.before + count:
            time.sleep(_POLL_S)
            found = self._receiver.tail()
            now = time.monotonic()
            if found != tail:
                tail, end = found, now + _SILENCE_S
                self._seen.append((now, tail))
            elif now > end:
                raise BenchError(
                    f"{self._receiver.prefix}: only {tail - self.before} of {count} readings were stored and "
                    f"nothing more for {_SILENCE_S:.0f} s; its output is {self._receiver.program.log}"
                )
        return self._seen[-1][0]

    def moments(self) -> dict[Key, float]:
        """When each reading was found durable, at its first time."""
        moments: dict[Key, float] = {}
        seen = iter(self._seen)
        at, tail = next(seen)
        for place, key in enumerate(self._receiver.keys(self.before), self.before + 1):
            while place > tail:
                at, tail = next(seen, (at, sys.maxsize))  # what came after the last look
            moments.setdefault(key, at)
        return moments


def _toml(top: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> str:
    # A JSON string, number or truth value is TOML as well.
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in keys.items())]
    return "\n".join(lines) + "\n"

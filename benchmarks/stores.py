"""(c) Into InfluxDB; (d, e) out of many stored readings."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from alerts.book import Book
from benchmarks.bench import Bench
from benchmarks.follow import stored
from benchmarks.load import Ward
from benchmarks.machine import CACHE, BenchError, Program, external, module
from benchmarks.millions import ten_million
from benchmarks.programs import Homeward
from benchmarks.report import Case
from gateway.config import BOOK
from gateway.house import JOURNAL
from gateway.schema import open_database
from ingest.journal import Journal
from ingest.vital import Vital

_SENDERS: Final = {
    "ours": "Homeward",
    "library": "influxdb-client, batching",
    "bodies": "bodies made before",
}


@dataclass(frozen=True, slots=True)
class _Into:
    """Sends a journal of `count` readings into an engine of InfluxDB, by the facade at `url`."""

    case: Case
    bench: Bench
    engine: str
    url: str
    journal: Path
    count: int

    def follow(self, sender: str) -> None:
        """All of it, against the clock."""
        place, command = self._placed(sender)
        with Program(command, place / "follow.log") as running:
            found = _done(running)
        program = _SENDERS[sender]
        self.case.add(program, "points", "1/s", found["points"] / found["seconds"], "points into InfluxDB")
        self.case.add(program, "CPU of 100 000 points", "s", found["cpu"] / found["points"] * 100_000)
        if found["stored"] != self.count:
            raise BenchError(f"{program}: {found['stored']} of {self.count} points were stored")

    def kill(self, sender: str) -> None:
        """Until it is killed on the way; what it had accepted by then and never arrives."""
        place, command = self._placed(sender)
        with Program(command, place / "follow.log") as running:
            running.wait_for("under way")
            running.kill()
        said = running.log.read_text().splitlines()
        handed = sum(int(line.split()[1]) for line in said if line.startswith("handed"))
        if sender == "ours":
            running.log.unlink()
            with Program(command, place / "follow.log") as again:
                handed, kept = self.count, _done(again)["stored"]
        else:
            kept = stored(self.engine, place.name)
        self.case.add(_SENDERS[sender], "accepted and lost by kill -9", "points", handed - kept)

    def _placed(self, sender: str) -> tuple[Path, list[str]]:
        place = self.bench.place(sender)
        shutil.copy(self.journal, place / JOURNAL)
        return place, module("benchmarks.follow", sender, self.engine, self.url, place / JOURNAL, place.name)


def _done(running: Program) -> dict[str, Any]:
    running.wait_for("done", 300)
    found: dict[str, Any] = json.loads(running.wait_for('{"points"'))
    return found


def follower(bench: Bench) -> Case:
    """(c) Points a second into InfluxDB, and what a kill costs."""
    from tests.influx_facade import running_engine

    case = Case("c", "(c) Into InfluxDB 1.6.7 behind a v2 write facade")
    count = bench.size.follow
    influxd = external(
        "influxd", "`apt-get download influxdb && dpkg-deb -x influxdb_*.deb DIR` gives DIR/usr/bin/influxd"
    )
    seeded = bench.place("seeded") / JOURNAL
    ten_million(seeded, count, 100, bench.say)
    with ExitStack() as stack:
        engine = stack.enter_context(running_engine(influxd, bench.place("influxd")))
        command = module("benchmarks.follow", "facade", engine)
        log = bench.place("facade") / "facade.log"
        facade = stack.enter_context(Program(command, log))
        url = facade.wait_for("facade http").split()[1]

        into = _Into(case, bench, engine, url, seeded, count)
        for sender in bench.rounds(*_SENDERS):
            into.follow(sender)
        for sender in ("ours", "library"):
            into.kill(sender)
    case.close()
    case.at_least(
        "points/s / influxdb-client's batching writer",
        case.ratio(("Homeward", "points"), ("influxdb-client, batching", "points")),
        3.0,
    )
    case.at_most("lost by kill -9", case.value("Homeward", "accepted and lost by kill -9"), 0)
    bound = case.ratio(("bodies made before", "points"), ("influxdb-client, batching", "points"))
    case.notes.append(
        "Bodies made before are requests that were compressed before the clock started, sent one after the other: "
        f"the server's own bound, {bound:.2g} times the batching writer."
    )
    return case


def reading_back(bench: Bench) -> Case:
    """(d) 14 days of one patient, and (e) memory and start with many readings stored."""
    count = bench.size.stored
    case = Case("d", f"(d, e) {count / 1e6:g} million stored readings: read 14 days, memory, start")
    patients = 1000
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"stored-{count}.db"
    ten_million(path, count, patients, bench.say)
    place = bench.place("stored")
    house_folder = place / "house"
    (house_folder / "data").mkdir(parents=True)
    copy = house_folder / "data" / JOURNAL
    shutil.copy(path, copy)
    journal = Journal(copy)
    try:
        end = datetime.now(UTC)
        for number in range(max(bench.size.rounds, 5) * 8):
            who = f"p{bench.chance.randrange(patients):06}"
            for what, call in (("series", journal.series), ("readings", journal.readings)):
                before = time.perf_counter()
                found = call(who, Vital.CGM, end - timedelta(days=14), end)
                took = (time.perf_counter() - before) * 1000
                length = len(found.taken_us) if hasattr(found, "taken_us") else len(found)
                if number:
                    case.add(
                        "Homeward",
                        f"14 days as {what}",
                        "ms",
                        took,
                        "14 days of one patient" if what == "series" else "",
                    )
        case.notes.append(f"The last call returned {length} readings; the machine's page cache was warm.")
    finally:
        journal.close()
    if bench.size.peers:
        _start(case, house_folder, Ward(patients), count)
    case.close()
    case.at_most("14 days as series, p50, ms", case.value("Homeward", "14 days as series"), 5.0)
    return case


def _start(case: Case, house_folder: Path, ward: Ward, count: int) -> None:
    book = Book(open_database(f"sqlite:///{house_folder / 'data' / BOOK}"), routes={})
    book.record(cursor=count)  # a house that has watched them all
    with Homeward(house_folder, ward.enrolled()) as house:
        for _ in range(3):
            house.program.stop()
            case.add("Homeward", "start", "s", house.start())
            house.program.settle(120)
            case.add("Homeward", "memory after the start", "MB", house.program.resident() / 1e6)

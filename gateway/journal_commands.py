"""`homeward status` and `homeward journal`: beside a running hub and without one."""

from __future__ import annotations

import argparse
import csv
import errno
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final, TextIO
from zoneinfo import ZoneInfo

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from alerts.book import Book
from gateway.check import address_of_hub, is_running
from gateway.config import Config, load
from gateway.house import JOURNAL, PACKETS, HouseError, sole_tenant
from gateway.hub_name import hub_name
from gateway.keeper import WATCH
from gateway.people import People
from gateway.schema import SchemaError, is_filled, open_database, remedy, said, shown
from ingest import export, influx
from ingest.accounts import Accounts, Aside, balance
from ingest.journal import Journal, JournalError, Letter
from ingest.journal_care import compact, hindrance, verify
from ingest.links import uplink
from ingest.packet_log import PacketLog
from ingest.progress import Progress
from ingest.reading import Reading

_PAGE: Final = 5000
_TELL_EVERY: Final = 100_000


def configured(options: argparse.Namespace) -> Config:
    """The configuration, with the data directory that was named instead of its own."""
    config = load(options.config)
    return config.model_copy(update={"data": options.data}) if options.data else config


@contextmanager
def opened(config: Config) -> Iterator[Journal]:
    """The journal, which must be there. Raises JournalError."""
    path = _path(config)
    with closing(Journal(path, checkpoints="by nobody")) as journal:
        try:
            yield journal
        except sqlite3.Error as error:
            raise JournalError(hindrance(path, error)) from error


def status(options: argparse.Namespace) -> int:
    """What came, what became of it, who has it, and how the running hub does.

    Exit status: 0 all is well, 1 something needs attention, letters that wait among it, 2 no hub runs.
    """
    config = configured(options)
    health = _health(config)  # the hub asks its parts for it, so that both are of one moment
    with opened(config) as journal:
        found = _accounts(config, journal)
    faults = balance(found)
    if options.json:
        print(json.dumps({"accounts": asdict(found), "faults": faults, "health": health}))
    else:
        accounts = [f"FAIL accounts: {fault}" for fault in faults]
        accounts = accounts or ["ok   accounts: everything that came is accounted for"]
        if found.letters:
            accounts.append(f"WAIT letters: {found.letters} wait for a person; `homeward letters` says what helps")
        for line in (*_said(found), "", *accounts, *_health_lines(health, but="letters" if found.letters else "")):
            print(line)
    if health is None:
        return 2
    return 1 if faults or found.letters or health["status"] != "ok" else 0


def journal(options: argparse.Namespace) -> int:
    """`homeward journal ACTION`."""
    config = configured(options)
    match options.action:
        case "status":
            return _status(config, as_json=options.json)
        case "verify":
            return _verify(config)
        case "compact":
            return _compact(config)
        case "refill":
            return _forward_again(config) if options.follower == "uplink" else _refill(config)
        case _:
            return _export(config, options)


def _path(config: Config) -> Path:
    path = config.data / JOURNAL
    if not path.exists():
        raise JournalError(
            f"there is no journal at {path}: `homeward run` makes it at its first start. If a hub has run already, "
            "it uses another data directory"
        )
    return path


@contextmanager
def in_the_book(config: Config) -> Iterator[Engine | None]:
    """The database of patients and alerts; None where there is none."""
    url = config.database_url
    if config.database is None and not is_filled(url):
        yield None
        return
    try:
        engine = open_database(url)
    except SchemaError as error:
        raise HouseError(str(error)) from error
    try:
        yield engine
    except DatabaseError as error:
        raise HouseError(f"cannot use {shown(url)}: {said(error)}; {remedy(url)}") from error
    finally:
        engine.dispose()


def _progress(config: Config, journal: Journal) -> dict[str, Progress]:
    """As `gateway.house.House.progress`."""
    with in_the_book(config) as engine:
        book = engine and Book(engine, routes={}, hub=hub_name(config))
        followers = {WATCH: Progress(upto=book.cursor())} if book else {}
    if config.influxdb:
        followers["influxdb"] = journal.progress(influx.place_of(config.influxdb.settings()))
    return followers


def _accounts(config: Config, journal: Journal) -> Accounts:
    """As `gateway.house.House.accounts`."""
    found = journal.accounts(_progress(config, journal))
    path = config.data / PACKETS
    if config.uplink is None or not path.exists():
        return found
    with closing(PacketLog(path)) as log:
        return replace(found, uplink=log.forwarded(uplink.place_of(config.uplink.settings())))


def _said(found: Accounts) -> Iterator[str]:
    yield f"arrived   {found.parts}: decoded {found.decoded}, undecodable {found.undecodable}"
    yield (
        f"decoded   {found.decoded}: admitted {found.admitted}, revised {found.revised}, duplicate "
        f"{found.duplicate}, refused {_by_reason(found.refused)}"
    )
    yield f"set aside {found.aside.total} (refused and undecodable): {_aside(found.aside)}"
    yield (
        f"journaled {found.journaled}: {found.aside.readings} of them waited as letters first; "
        f"{found.dropped} were dropped by age"
    )
    yield from _followers(found)
    if hub := found.uplink:
        yield f"uplink    kept {hub.packets} packets: confirmed {hub.confirmed}, waiting {hub.waiting}"
    yield f"letters   {found.letters} wait"


def _by_reason(counts: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()))
    return f"{sum(counts.values())}{f' ({reasons})' if reasons else ''}"


def _aside(aside: Aside) -> str:
    """Where the parts are that could not be admitted when they came."""
    said = (
        f"became readings {aside.readings}, known already {aside.duplicate}, came again {aside.repeated}, "
        f"not kept {aside.unkept}, discarded {aside.discarded}, wait {_by_reason(aside.waiting)}"
    )
    return f"{said}, came again before that was counted {aside.untold}" if aside.untold else said


def _followers(found: Accounts) -> Iterator[str]:
    for name, follower in found.followers.items():
        refused = found.rejected.get(name)
        refused_of = f" ({refused} of them it refused for good)" if refused else ""
        older = f" ({follower.older} of them behind newer ones)" if follower.older else ""
        yield f"{name:<9} confirmed {follower.confirmed}{refused_of}, waiting {follower.waiting}{older}"


def _health(config: Config) -> dict[str, Any] | None:
    """What the hub says of itself; None when none runs."""
    if not is_running(config.data):
        return None
    try:
        return Hub(config).health()
    except HouseError as error:
        return {"status": "degraded", "as_of": None, "parts": {"hub": {"status": "degraded", "detail": str(error)}}}


def _health_lines(health: Mapping[str, Any] | None, *, but: str) -> Iterator[str]:
    """but: the part of which something else is said."""
    if health is None:
        yield "FAIL hub: it does not run; start it with `homeward run`"
        return
    if health["as_of"]:
        yield f"as of {datetime.fromisoformat(health['as_of']):%Y-%m-%d %H:%M:%SZ}"
    for name, part in health["parts"].items():
        if name != but:
            yield f"{'ok  ' if part['status'] == 'ok' else 'FAIL'} {name}: {part['detail']}"


def _status(config: Config, *, as_json: bool) -> int:
    with opened(config) as journal:
        size, found = journal.size(), journal.accounts(_progress(config, journal))
        first = journal.since(0, 1)
    oldest = first[0][1].received_at if first else None
    told: dict[str, Any] = {
        "path": str(_path(config)),
        "octets": size.octets,
        "spare_octets": size.spare,
        "log_octets": size.wal,
        "readings": found.journaled - found.dropped,
        "dropped": found.dropped,
        "oldest_arrival": oldest.isoformat() if oldest else None,
        "waiting": {name: follower.waiting for name, follower in found.followers.items()},
        "letters": found.letters,
    }
    if as_json:
        print(json.dumps(told))
        return 0
    mega, spare, log = (f"{octets / 1e6:.1f} MB" for octets in (size.octets, size.spare, size.wal))
    print(f"file      {told['path']}")
    print(f"size      {mega}, of which {spare} are free for new readings; write-ahead log {log}")
    print(f"readings  {told['readings']}, each revision counted as one; {found.dropped} were dropped by age")
    if oldest:
        print(f"oldest    came {oldest:%Y-%m-%d %H:%M:%SZ}")
    for line in _followers(found):
        print(line)
    print(f"letters   {found.letters} wait")
    return 0


def _verify(config: Config) -> int:
    path = _path(config)
    faults = verify(path)
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{path} is whole, and everything that came is accounted for.")
    return 1 if faults else 0


def _compact(config: Config) -> int:
    path = _path(config)
    with sole_tenant(config.data):
        before, after = compact(path)
    print(f"{path} took {before} octets and takes {after} now.")
    return 0


def _refill(config: Config) -> int:
    if config.influxdb is None:
        raise JournalError("InfluxDB is not configured; add a section [influxdb]")
    settings = config.influxdb.settings()
    with opened(config) as journal:
        journal.start_over(influx.place_of(settings))
        kept = journal.accounts({"influxdb": Progress()}).followers["influxdb"].waiting
    print(f"{settings.bucket} at {settings.url} will get all {kept} readings again. {_when(config)}")
    return 0


def _forward_again(config: Config) -> int:
    path = config.data / PACKETS
    if config.uplink is None:
        raise JournalError("this is no home post; name its configuration, with a section [uplink], with -c")
    if not path.exists():
        raise JournalError(f"nothing was forwarded from {config.data} yet")
    settings = config.uplink.settings()
    with closing(PacketLog(path)) as log:
        kept = log.start_over(uplink.place_of(settings))
    print(
        f"The hub {settings.host}:{settings.port} will get all {kept} packets again that are still kept here. "
        f"{_when(config)}"
    )
    return 0


def _when(config: Config) -> str:
    return f"Homeward begins {'within 15 s' if is_running(config.data) else 'when it is started'}."


def _export(config: Config, options: argparse.Namespace) -> int:
    with in_the_book(config) as engine:
        zones = {} if engine is None else {patient.id: patient.zone for patient in People(engine).patients()}
    options.since, options.until = (_moment(each, config) for each in (options.since, options.until))
    with opened(config) as journal:
        if options.patient and options.patient not in zones and not journal.knows(options.patient):
            raise JournalError(f"no patient has the id {options.patient}")
        with _output(options.output) as out:
            written = _write_all(journal, zones, options, out)
    print(f"{written} readings and revisions written", file=sys.stderr)
    return 0


def _moment(said: date | None, config: Config) -> datetime | None:
    """A moment as it was given; of a day the midnight with which it begins in the clinic's zone."""
    if said is None or isinstance(said, datetime):
        return said
    return datetime.combine(said, time(), ZoneInfo(config.clinic.zone))


def _write_all(journal: Journal, zones: Mapping[str, str], options: argparse.Namespace, out: TextIO) -> int:
    """Write what is wanted, in its order of arrival; how many readings and revisions that were."""
    write = _csv(out) if options.format == "csv" else _json_lines(out)
    seen = written = cursor = 0
    last = journal.tail()
    while cursor < last and (page := journal.since(cursor, _PAGE)):
        cursor = page[-1][0]
        for seq, reading in page:
            if seq <= last and _wanted(reading, options):
                write(reading, zones.get(reading.patient, ""))
                written += 1
        seen += len(page)
        if seen % _TELL_EVERY == 0:
            print(f"{seen} readings looked at, {written} written", file=sys.stderr, flush=True)
    return written


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    # A file of health data is for its owner's eyes only, one that is there is not written over, half of one is none.
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        partial.touch(mode=0o600, exist_ok=False)
        try:
            with partial.open("w", encoding="utf-8", newline="") as out:
                yield out
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror or error}; name another file with -o") from error


def _csv(out: TextIO) -> Callable[[Reading, str], None]:
    writer = csv.writer(out)
    writer.writerow(export.COLUMNS)
    return lambda reading, zone: writer.writerows(export.rows(reading, zone))


def _json_lines(out: TextIO) -> Callable[[Reading, str], None]:
    def write(reading: Reading, zone: str) -> None:
        out.write(json.dumps(export.document(reading, zone), ensure_ascii=False) + "\n")

    return write


def _wanted(reading: Reading, options: argparse.Namespace) -> bool:
    return (
        options.patient in {None, reading.patient}
        and options.vital in {None, reading.vital.value}
        and (options.since is None or reading.taken_at >= options.since)
        and (options.until is None or reading.taken_at < options.until)
    )


class Hub:
    """The hub that runs, over its API."""

    def __init__(self, config: Config) -> None:
        token = config.web.token
        self._http = httpx.Client(
            base_url=f"{address_of_hub(config)}/api/v1",
            headers={"Authorization": f"Bearer {token.get_secret_value()}"} if token else {},
            trust_env=False,
            timeout=30.0,
        )

    def health(self) -> dict[str, Any]:
        """Its health. Raises HouseError."""
        found: dict[str, Any] = self._ask("GET", "/health").json()
        return found

    def retry(self, letter: Letter) -> str:
        """What it says against it, "" when it has tried."""
        answer = self._ask("POST", f"/letters/{letter.id}/retry")
        return "" if answer.is_success else str(answer.json().get("detail", answer.status_code))

    def _ask(self, method: str, path: str) -> httpx.Response:
        try:
            answer = self._http.request(method, path)
            if answer.status_code in {401, 421}:
                answer.raise_for_status()
        except httpx.HTTPError as error:
            raise HouseError(
                f"a hub uses this data directory but does not answer at {self._http.base_url}: {error}; "
                "name its own configuration with -c"
            ) from error
        return answer

"""(g) The worklist and a cycle of due timers, with as many alerts open and closed as asked, on each database.

Three alerts go through the house as they would: one waits for an answer, one is acknowledged, one is closed with its
follow-up and survey. The others are copies of their rows in every table, made by the database itself, so that the
schema is the house's, whatever it is; each is another patient's or of another problem, and of another moment. What is
only ever added to and looked up by its own name is not copied: the audit, and the notices of closed alerts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as wall
from functools import partial
from typing import Any, Final

import httpx
from sqlalchemy import Connection, Table, insert, select, text, update

from alerts.alert import Act, ActKind, Alert, Outcome, Verdict
from alerts.book import Try
from alerts.database import METADATA, connect
from alerts.follow_up import Attempt, Result
from alerts.review_book import STANDINGS, standing_row
from alerts.risk import Standing
from alerts.team import EVERY_DAY, Contact, Practitioner, Role, Shift, patient
from alerts.week import Figures
from benchmarks.bench import Bench
from benchmarks.machine import BenchError
from benchmarks.millions import ten_million
from benchmarks.report import Case
from gateway.guard import WebSettings
from gateway.people import Patient
from gateway.web import create_app
from ingest.reading import to_us
from tests.gateway.small_house import SmallHouse, very_low
from tests.postgres import running_server

_PAGES: Final = {"worklist, page": "/", "worklist, API": "/api/v1/alerts"}
_PAGE_MS: Final = 50.0
_CYCLE_S: Final = 1.0
_PROBLEMS: Final = ("glucose-low", "glucose-high", "blood-pressure-high", "no-data")
_READINGS: Final = 12  # of each patient
_ON_DUTY: Final = {Role.NURSE: 1, Role.DOCTOR: 2, Role.COORDINATOR: 1}
_MICROSECOND: Final = timedelta(microseconds=1)
_OPENED_WITHIN: Final = {"open": timedelta(days=30), "closed": timedelta(days=730)}
# Names of rows, which are to differ; and numbers that the database gives.
_NAMES: Final = frozenset({"id", "alert", "notice", "follow_up", "timer"})
_COUNTED: Final = frozenset({"seq", "fact"})
# What belongs to an alert: by which column of the table, and of what it is the name.
_OF_ALERTS: Final = {"alert_facts": "alert", "notices": "alert", "escalations": "subject", "follow_ups": "alert"}
_OF_NOTICES: Final = ("deliveries", "delivery_tries", "personal_deliveries")
_OF_FOLLOW_UPS: Final = ("follow_up_facts", "surveys")


def follow_up(bench: Bench) -> Case:
    """(g) See the module."""
    opened, closed = bench.size.alerts
    case = Case("g", f"(g) Worklist and due timers, {opened:,} alerts open and {closed:,} closed".replace(",", " "))
    for name, url in _databases(bench, case):
        began = time.monotonic()
        with _house(bench, url) as house:
            bench.say(f"  {name}: filled in {time.monotonic() - began:.0f} s")
            asyncio.run(_measure(bench, case, name, house))
    case.close()
    for name in dict.fromkeys(figure.program for figure in case.figures):
        for page in _PAGES:
            case.at_most(f"{name}: {page}, p50, ms", case.value(name, page), _PAGE_MS)
        for cycle in _cycles(bench):
            case.at_most(f"{name}: {cycle}, p50, s", case.value(name, cycle), _CYCLE_S)
    case.notes.append(
        "A page is the first one, as server time: from the call of the application to the last octet, without a "
        "network. A cycle ends when nothing is due any more: its notices are written, not sent. The machine's page "
        "cache was warm."
    )
    return case


def _databases(bench: Bench, case: Case) -> Iterator[tuple[str, str]]:
    yield "Homeward, SQLite", f"sqlite:///{bench.place('sqlite') / 'hub.db'}"
    try:
        with running_server() as server, server.database() as url:
            yield "Homeward, PostgreSQL", url
    except FileNotFoundError as error:
        case.notes.append(f"PostgreSQL was not measured: {error}.")


async def _measure(bench: Bench, case: Case, name: str, house: SmallHouse) -> None:
    transport = httpx.ASGITransport(create_app(house, WebSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        for what, path in _PAGES.items():
            await _get(client, path)  # templates are read once
            for _ in range(bench.size.rounds * 4):
                case.add(name, what, "ms", 1000 * await _timed(partial(_get, client, path)), "first page")
    due, none_due = _cycles(bench)
    for _ in range(bench.size.rounds):
        case.add(name, none_due, "s", await _timed(house.duty.go))
        _make_due(house, bench.size.due)
        case.add(name, due, "s", await _timed(house.duty.go))


def _cycles(bench: Bench) -> tuple[str, str]:
    return f"cycle, {bench.size.due} due", "cycle, none due"


async def _get(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    if answer.status_code != 200:
        raise BenchError(f"{path}: {answer.status_code} {answer.text[:200]}")


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    before = time.perf_counter()
    await call()
    return time.perf_counter() - before


@contextmanager
def _house(bench: Bench, url: str) -> Iterator[SmallHouse]:
    """A house with all of it."""
    opened, closed = bench.size.alerts
    patients = opened // len(_PROBLEMS)
    folder = bench.place("house")
    ten_million(folder / "journal.sqlite", patients * _READINGS, patients, bench.say)
    with closing(SmallHouse(folder, url)) as house:
        house.time = datetime.now(UTC)
        _employ(house)
        waiting = opened * 6 // 10
        crowds = (
            (_told(house, "like-0"), waiting, "open"),
            (_acknowledged(house, "like-1"), opened - waiting, "open"),
            (_closed(house, "like-2"), closed, "closed"),
        )
        with _filling(url) as db:
            _enrol(db, range(patients))
            first = 0
            for like, count, state in crowds:
                apart = _OPENED_WITHIN[state] // _MICROSECOND // count
                opened_us = f"{to_us(house.time)} - CAST(i - {first} AS bigint) * {apart}"
                _fill(db, like, range(first, first + count), patients, opened_us)
                first += count
        yield house


@contextmanager
def _filling(url: str) -> Iterator[Connection]:
    """A connection that waits for no disk; with the figures that the database plans by when the block is left."""
    engine = connect(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        is_sqlite = engine.dialect.name == "sqlite"
        for said in ("synchronous=OFF", "cache_size=-2000000") if is_sqlite else ():
            db.exec_driver_sql(f"PRAGMA {said}")
        yield db
        db.exec_driver_sql("ANALYZE" if is_sqlite else "VACUUM ANALYZE")
        if is_sqlite:
            db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def _employ(house: SmallHouse) -> None:
    for role, count in _ON_DUTY.items():
        for number in range(count):
            who = f"{role}-{number}"
            ways = tuple(Contact(channel=channel, address=who) for channel in ("app", "sms"))
            one = Practitioner(id=who, name=who, roles=frozenset({role}), zone="Asia/Shanghai", contacts=ways)
            house.duty.team.put(one, now=house.time)
            always = Shift(
                role=role,
                practitioner=who,
                weekdays=EVERY_DAY,
                start=wall(),
                end=wall(),
                zone="Asia/Shanghai",
                first=date(2026, 1, 1),
            )
            house.duty.team.add_shift(always, now=house.time)


def _told(house: SmallHouse, name: str) -> Alert:
    """An alert of which the nurses were told; the next steps of its ladder are to come."""
    person = Patient(id=name, name=name, zone="Asia/Shanghai", language="zh_CN")
    house.people.add_patient(person, now=house.time)
    house.duty.team.put_contacts(patient(name), [Contact(channel="app", address=name)], now=house.time)
    alert = house.find(replace(very_low(person), since=house.time, known_at=house.time))
    asyncio.run(house.duty.go())
    for delivery in house.duty.outbox.pending_notices("app", house.time, 100):
        tried = Try(notice=delivery.notice.id, channel="app", at=house.time, error=None, address=delivery.address)
        house.duty.outbox.note_try(tried, due=None, reaches_people=True)
    return alert


def _acknowledged(house: SmallHouse, name: str) -> Alert:
    act = Act(kind=ActKind.ACKNOWLEDGE, alert=_told(house, name).id, by="nurse-0", at=house.time)
    return asyncio.run(house.act(act))


def _closed(house: SmallHouse, name: str) -> Alert:
    alert, now = _acknowledged(house, name), house.time
    found = house.follow_ups.of_alert(alert.id)
    if found is None:
        raise BenchError(f"{alert.id} was acknowledged and has no follow-up")
    reached = Attempt(follow_up=found.id, by="nurse-0", at=now, channel="telephone", result=Result.REACHED)
    asyncio.run(house.care(reached))
    house.find(replace(very_low(), patient=name, verdict=Verdict.CLEAR))
    close = Act(kind=ActKind.CLOSE, alert=alert.id, by="nurse-0", at=now, note="ate", outcome=Outcome.ADVICE)
    closed = asyncio.run(house.act(close))
    asyncio.run(house.duty.go())
    return closed


def _enrol(db: Connection, numbers: range) -> None:
    """Patients with a contact, of whom it is known how they stand."""
    week = Figures(
        readings=1875, wear=93.0, tir=61.0, tbr=5.0, tbr_2=1.0, tar=34.0, tar_2=9.0, mean=170.0, cv=38.0, gmi=7.4,
        lbgi=2.8, hbgi=6.0, gri=52.0,
    )  # fmt: skip
    standing = Standing(patient="like-0", day=date(2026, 3, 3), made_at=datetime.now(UTC), week=week, sensor=1.0)
    db.execute(insert(STANDINGS).values(**standing_row(standing)))
    who = _patient(numbers.stop)
    tables = METADATA.tables
    people, ways = tables["patients"], tables["contacts"]
    _copy(db, people, people.c.id == "like-0", numbers, id=who, name=who, pseudonym=f"'pseudonym-' || {who}")
    _copy(db, ways, ways.c.owner == patient("like-0"), numbers, owner=f"'patient:' || {who}")
    _copy(db, STANDINGS, STANDINGS.c.patient == "like-0", numbers, patient=who)


def _patient(patients: int) -> str:
    """The patient of number i, in SQL; named as in the journal."""
    return f"'p' || substr(CAST(1000000 + i % {patients} AS text), 2)"


def _fill(db: Connection, like: Alert, numbers: range, patients: int, opened: str) -> None:
    """An alert of each number with all that belongs to it. opened: when that was, in SQL, in us."""
    tables = METADATA.tables
    who = _patient(patients)
    cases = " ".join(f"WHEN {number} THEN '{name}'" for number, name in enumerate(_PROBLEMS))
    problem = f"CASE i / {patients} % {len(_PROBLEMS)} {cases} END"
    alerts, notices, follow_ups = tables["alerts"], tables["notices"], tables["follow_ups"]
    own = {"patient": who, "problem": problem, "priority": "1 + i % 3"}
    _copy(db, alerts, alerts.c.id == like.id, numbers, **own, opened_at_us=opened, since_us=opened)
    is_told = like.closed_at is None
    for name, column in _OF_ALERTS.items():
        table = tables[name]
        if name == "notices" and not is_told:
            continue
        later = {"due_us": f"t.due_us + {timedelta(days=1) // _MICROSECOND}"} if name == "escalations" else {}
        renamed = {column: _renamed(column)}
        _copy(db, table, table.c[column] == like.id, numbers, patient=who, **renamed, **later)
    of_these = (
        (_OF_NOTICES if is_told else (), "notice", select(notices.c.id).where(notices.c.alert == like.id)),
        (_OF_FOLLOW_UPS, "follow_up", select(follow_ups.c.id).where(follow_ups.c.alert == like.id)),
    )
    for names, column, known in of_these:
        for name in names:
            _copy(db, tables[name], tables[name].c[column].in_(known), numbers, patient=who, written_us=opened)


def _copy(db: Connection, table: Table, like: Any, numbers: range, **own: str) -> None:
    """The rows of a table that are alike, once for each number. own: in SQL, columns that differ by the number i."""
    columns = [column.name for column in table.columns if column.name not in _COUNTED]
    said = [own.get(name) or (_renamed(name) if name in _NAMES else f't."{name}"') for name in columns]
    names = ", ".join(f'"{name}"' for name in columns)
    where = like.compile(db.engine, compile_kwargs={"literal_binds": True})
    said_in_sql = (
        f"INSERT INTO {table.name} ({names}) WITH RECURSIVE numbers(i) AS (SELECT {numbers.start} UNION ALL "
        f"SELECT i + 1 FROM numbers WHERE i < {numbers.stop - 1}) SELECT {', '.join(said)} FROM numbers, "
        f"(SELECT * FROM {table.name} WHERE {where}) AS t"
    )
    db.execute(text(said_in_sql.replace(":", r"\:")))  # a colon names no parameter here


def _renamed(column: str) -> str:
    return f"substr(t.{column}, 1, 12) || '-' || CAST(i AS text)"


def _make_due(house: SmallHouse, count: int) -> None:
    """So many timers are due now: all that is to come of some alerts that wait."""
    timers, ways = METADATA.tables["escalations"], METADATA.tables["personal_deliveries"]
    left = select(timers.c.subject, timers.c.id).where(timers.c.done_us.is_(None))
    left = left.order_by(timers.c.subject, timers.c.number).limit(count)
    with house.engine.begin() as db:
        for subject in set(db.scalars(left)):
            stored = {
                (row.kind, row.number, row.count_): row.id
                for row in db.execute(
                    select(timers.c.id, timers.c.kind, timers.c.number, timers.c["count"].label("count_")).where(
                        timers.c.subject == subject
                    )
                )
            }
            for timer in house.duty.escalation.timers(subject):
                # The name of a timer says what it is for, and a copy has that of another one.
                copy = stored[timer.kind, timer.number, timer.count]
                db.execute(update(ways).where(ways.c.timer == copy).values(timer=timer.id))
                db.execute(update(timers).where(timers.c.id == copy).values(id=timer.id))
        due = timers.c.id.in_(left.with_only_columns(timers.c.id))
        found = db.execute(update(timers).where(due).values(due_us=to_us(house.time))).rowcount
    if found != count:
        raise BenchError(f"{found} timers could be made due, not {count}")

"""Two hubs on one PostgreSQL: no notice is sent twice, no finding and no act is lost to the other hub."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from alerts.alert import Act, ActKind, Alert, Audience, IllegalAct, Notice, Outcome, Priority
from alerts.book import CLAIM, Book, Overtaken, Try
from alerts.channels import Message, Speaker
from alerts.follow_up_book import FollowUpBook
from alerts.machine import hear
from gateway.bulletin import Bulletin
from gateway.guard import WebSettings
from gateway.hub_name import NAME
from gateway.people import DeviceKind, People
from gateway.schema import open_database
from gateway.ward import Ward
from gateway.web import create_app
from ingest.journal import Journal
from tests.alerts.ward import START, finding, minute
from tests.gateway.test_accounts_and_letters import send
from tests.postgres import Server
from tests.real_house import HandClock, enrol, real_house, stored

ROUTES = {Audience.STAFF: ("desk",)}


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    engine = open_database(postgresql_url)
    yield engine
    engine.dispose()


def hub(engine: Engine, name: str = "hub-a") -> Book:
    return Book(engine, routes=ROUTES, hub=name)


def write(book: Book, patients: Iterable[str], priority: Priority = Priority.MEDIUM) -> list[Notice]:
    heard = [hear(None, finding(patient=patient, priority=priority), START) for patient in patients]
    return book.record([change for one in heard for change in one.changes], [n for one in heard for n in one.notices])


def test_each_of_500_notices_is_sent_once_by_two_programs_at_once(
    engine: Engine, postgresql_url: str, tmp_path: Path
) -> None:
    notices = write(hub(engine), [f"p-{number}" for number in range(500)])
    said = tmp_path / "said"
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.two_hubs", postgresql_url, name, said],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
        )
        for name in ("hub-a", "hub-b")
    ]  # fmt: skip
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.close()
    assert [program.wait(60) for program in programs] == [0, 0]
    lines = [line.split() for line in said.read_text().splitlines()]
    assert Counter(notice for notice, _ in lines) == Counter(notice.id for notice in notices)
    assert {name for _, name in lines} == {"hub-a", "hub-b"}


def test_what_a_dead_hub_has_claimed_is_the_others_after_the_time_of_its_claim(engine: Engine) -> None:
    dead, other = hub(engine, "hub-a"), hub(engine, "hub-b")
    (notice,) = write(dead, ["p-1"])
    assert [delivery.notice.id for delivery in dead.pending_notices("desk", minute(1))] == [notice.id]
    assert other.pending_notices("desk", minute(1) + CLAIM - timedelta(seconds=1)) == []
    assert len(dead.pending_notices("desk", minute(1))) == 1, (
        "started again, it goes on at once with what was its own"
    )
    (taken,) = other.pending_notices("desk", minute(1) + CLAIM)
    assert taken.begin_by == minute(1) + CLAIM + CLAIM / 2
    # The dead one was only slow, and says so late: what the other has delivered meanwhile stays delivered.
    other.note_try(Try(notice=notice.id, channel="desk", at=minute(4), error=None), due=None, reaches_people=True)
    late = Try(notice=notice.id, channel="desk", at=minute(5), error="no answer")
    dead.note_try(late, due=minute(6), reaches_people=True)
    assert other.undelivered() == {}
    assert [one.error for one in other.tries(notice.id)] == [None, "no answer"]


def test_what_has_failed_may_be_tried_by_either(engine: Engine) -> None:
    first, other = hub(engine, "hub-a"), hub(engine, "hub-b")
    (notice,) = write(first, ["p-1"])
    first.pending_notices("desk", minute(1))
    failed = Try(notice=notice.id, channel="desk", at=minute(1), error="away")
    first.note_try(failed, due=minute(1.5), reaches_people=True)
    assert [delivery.tries for delivery in other.pending_notices("desk", minute(1.5))] == [1]
    assert first.pending_notices("desk", minute(1.5)) == []


class SlowDesk:
    """Each delivery takes a while, by the clock of the hub."""

    name = "desk"
    audiences = frozenset({Audience.STAFF})
    trusted = True
    reaches_people = True
    replies = True

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.said: list[str] = []

    async def deliver(self, message: Message) -> None:
        self.said.append(message.notice.id)
        self._clock.advance(timedelta(seconds=25))


async def test_a_slow_hub_begins_nothing_that_may_be_the_others_before_it_is_done(engine: Engine) -> None:
    clock = HandClock(minute(1))
    book, desk = hub(engine), SlowDesk(clock)
    write(book, [f"p-{number}" for number in range(6)])
    speaker = Speaker(book, [desk], base_url="", clock=clock.now)
    assert await speaker.speak() == 3, "the fourth would have begun after 75 s of 120"
    assert await speaker.speak() == 3
    assert len(set(desk.said)) == 6


class Hasty(Book):
    """Right after it has read what stands, something else happens: once."""

    meanwhile: Callable[[], Any] | None = None

    def standing(self, patients: Iterable[str] | None = None) -> dict[tuple[str, str], Alert]:
        return self._then(super().standing(patients))

    def alert(self, alert: str) -> Alert | None:
        return self._then(super().alert(alert))

    def _then(self, found: Any) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        return found


@pytest.fixture
def ward(engine: Engine, tmp_path: Path) -> Iterator[tuple[Ward, Hasty]]:
    journal, book = Journal(tmp_path / "journal.db"), Hasty(engine, routes=ROUTES, hub="hub-a")
    people, follow_ups, clock = People(engine), FollowUpBook(engine), HandClock(minute(1))
    yield Ward(journal, people, book, follow_ups, Bulletin(), clock=clock, told=lambda: None), book
    journal.close()


async def test_an_alert_that_two_hubs_open_at_once_is_one(ward: tuple[Ward, Hasty], engine: Engine) -> None:
    ours, book = ward
    other = hub(engine, "hub-b")
    book.meanwhile = lambda: write(other, ["p-1"], Priority.LOW)
    await ours.hear([finding(priority=Priority.MEDIUM)])
    (alert,) = book.open_alerts()
    assert (alert.priority, alert.opened_at) == (Priority.MEDIUM, START)
    assert [fact.what for fact in book.history(alert.id)] == ["opened", "worsened"]
    assert len(book.notices(alert.id)) == 2


async def test_what_another_hub_has_closed_meanwhile_stays_closed(ward: tuple[Ward, Hasty], engine: Engine) -> None:
    ours, book = ward
    other = hub(engine, "hub-b")
    write(other, ["p-1"], Priority.LOW)
    (alert,) = other.open_alerts()
    closing = Act(kind=ActKind.CLOSE, alert=alert.id, by="Dr Li", at=minute(1), note="called", outcome=Outcome.ADVICE)
    book.meanwhile = lambda: other.record(hear(alert, closing, minute(1)).changes)
    await ours.hear([finding(priority=Priority.MEDIUM)])
    closed, opened = book.alert(alert.id), *book.open_alerts()
    assert closed is not None
    assert (closed.closed_by, closed.outcome) == ("Dr Li", Outcome.ADVICE)
    assert (opened.id != alert.id, opened.priority) == (True, Priority.MEDIUM)


async def test_of_two_who_acknowledge_at_two_hubs_the_second_is_told(
    ward: tuple[Ward, Hasty], engine: Engine
) -> None:
    ours, book = ward
    other = hub(engine, "hub-b")
    write(other, ["p-1"])
    (alert,) = other.open_alerts()

    def seen(by: str) -> Act:
        return Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by=by, at=minute(1), note="")

    book.meanwhile = lambda: other.record(hear(alert, seen("Dr Li"), minute(1)).changes, seen=[alert])
    with pytest.raises(IllegalAct, match="Dr Li"):
        await ours.act(seen("Wu"))
    with pytest.raises(Overtaken):
        other.record(hear(alert, seen("Wu"), minute(1)).changes, seen=[alert])
    assert [fact.by for fact in book.history(alert.id)] == [None, "Dr Li"]


def test_each_hub_follows_its_own_journal(engine: Engine) -> None:
    first, other = hub(engine, "hub-a"), hub(engine, "hub-b")
    first.record(cursor=7)
    other.record(cursor=3)
    first.record(cursor=9)
    assert (first.cursor(), other.cursor(), hub(engine, "hub-c").cursor()) == (9, 3, 0)


def test_a_restart_of_the_server_is_survived(postgresql: Server, engine: Engine) -> None:
    book = hub(engine)
    book.record(cursor=7)
    postgresql.restart()
    assert book.cursor() == 7


async def test_a_house_goes_on_where_it_was(tmp_path: Path, postgresql_url: str) -> None:
    database = {"url": postgresql_url}
    async with real_house(tmp_path, HandClock(), database=database) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, 5.6)
        await stored(house, 1)
        await house.tick()
    name = (tmp_path / "data" / NAME).read_text()
    assert (tmp_path / "data" / "hub.db").stat().st_size == 0
    async with real_house(tmp_path, HandClock(), database=database) as house:
        assert house.book.cursor() == 1
        assert [patient.id for patient in house.people.patients()] == ["anna"]
        assert (tmp_path / "data" / NAME).read_text() == name


@contextmanager
def together_into(table: str) -> Iterator[None]:
    """Two programs that have both looked, and both write into a table only then."""
    both = Barrier(2, timeout=30)

    def wait(*said: Any) -> None:
        if said[2].startswith(f"INSERT INTO {table} "):
            both.wait()

    event.listen(Engine, "before_cursor_execute", wait)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", wait)


@pytest.mark.parametrize(
    ("path", "table", "body"),
    [
        ("patients", "patients", {"id": "anna", "name": "Anna", "zone": "Asia/Shanghai"}),
        ("devices", "devices", {"id": "cgm-1", "kind": "cgm", "link": "mqtt"}),
        ("staff", "practitioners", {"id": "wang", "name": "Wang", "roles": ["nurse"], "by": "Chen"}),
    ],
)
async def test_what_both_hubs_enter_in_one_moment_is_entered_once_and_refused_once(
    tmp_path: Path, postgresql_url: str, path: str, table: str, body: dict[str, Any]
) -> None:
    database, clock = {"url": postgresql_url}, HandClock()
    async with (
        real_house(tmp_path / "a", clock, database=database) as one,
        real_house(tmp_path / "b", clock, database=database) as other,
    ):
        webs = [
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(house, WebSettings())), base_url="http://localhost:8080"
            )
            for house in (one, other)
        ]
        with together_into(table):
            answers = await asyncio.gather(*(web.post(f"/api/v1/{path}", json=body) for web in webs))
        alone = await webs[0].post(f"/api/v1/{path}", json=body)
    made, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert (made.status_code, refused.status_code) == (201, 409)
    assert refused.json() == alone.json()

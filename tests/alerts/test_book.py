from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from alerts.alert import Act, ActKind, Audience, Finding, Outcome, Priority, Reason, Verdict
from alerts.book import Book, Overtaken, Try
from alerts.database import connect
from alerts.machine import FactKind, hear, hear_findings
from gateway.schema import open_database
from tests.alerts.ward import START, finding, minute

ROUTES = {Audience.STAFF: ("log", "desk"), Audience.PATIENT: ("log",)}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def book(engine: Engine) -> Book:
    return Book(engine, routes=ROUTES)


def open_one(book: Book, *, patient: str = "p-1", at: float = 0, priority: Priority = Priority.MEDIUM) -> str:
    heard = hear(None, finding(patient=patient, priority=priority), minute(at))
    book.record(heard.changes, heard.notices)
    return heard.changes[0].alert.id


def test_sqlite_is_durable(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hub.db'}")
    with engine.connect() as db:
        settings = [db.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert settings == ["wal", 2]
        assert db.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_whole_life_survives_reopening(book: Book, engine: Engine, database_url: str) -> None:
    heard = hear(None, finding(evidence=("r-1", "r-2")), START)
    book.record(heard.changes, heard.notices, cursor=7)
    alert = heard.changes[0].alert
    steps: tuple[Finding | Act, ...] = (
        Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="李医生", at=minute(5), note="seen"),
        finding(verdict=Verdict.CLEAR),
        Act(kind=ActKind.CLOSE, alert=alert.id, by="李医生", at=minute(20), note="叮嘱加餐", outcome=Outcome.ADVICE),
    )
    for number, act in enumerate(steps):
        step = hear(book.alert(alert.id), act, minute(10))
        book.record(step.changes, step.notices, cursor=8 + number)
        alert = step.changes[-1].alert
    engine.dispose()

    again = Book(open_database(database_url), routes=ROUTES)
    assert again.alert(alert.id) == alert
    assert again.cursor() == 10
    assert [(fact.what, fact.by) for fact in again.history(alert.id)] == [
        (FactKind.OPENED, None),
        (FactKind.ACKNOWLEDGED, "李医生"),
        (FactKind.CONDITION_GONE, None),
        (FactKind.CLOSED, "李医生"),
    ]
    assert again.history(alert.id)[3].note == "advice: 叮嘱加餐"
    assert [notice.subject.en for notice in again.notices(alert.id)] == [
        "Medium priority: Very low glucose",
        "Condition over: Very low glucose",
    ]
    assert again.undelivered() == {"desk": 2, "log": 2}


def test_an_alert_closed_early_still_stands_after_a_restart(book: Book, engine: Engine) -> None:
    alert = book.alert(open_one(book))
    assert alert is not None
    act = Act(
        kind=ActKind.CLOSE,
        alert=alert.id,
        by="Dr Li",
        at=minute(1),
        note="known",
        outcome=Outcome.NO_ACTION,
        reason=Reason.ACCEPTED,
    )
    book.record(hear(alert, act, minute(1)).changes)
    restarted = Book(engine, routes=ROUTES)
    assert restarted.alerts()[0].reason is Reason.ACCEPTED
    assert restarted.open_alerts() == []
    standing = restarted.standing(["p-1"])
    assert not hear_findings(standing, [finding()], minute(2)).changes
    over = hear_findings(standing, [finding(verdict=Verdict.CLEAR)], minute(3))
    restarted.record(over.changes, over.notices)
    assert restarted.standing() == {}


def test_the_database_refuses_a_second_open_alert_of_one_trouble(book: Book) -> None:
    open_one(book)
    with pytest.raises(Overtaken):
        open_one(book, at=1)
    assert len(book.alerts()) == 1


def test_a_step_is_written_whole_or_not_at_all(book: Book) -> None:
    open_one(book)
    heard = hear(None, finding(), minute(1))
    with pytest.raises(Overtaken):
        book.record(heard.changes, heard.notices, cursor=99)
    assert book.cursor() == 0
    assert book.history(heard.changes[0].alert.id) == []
    assert book.notices(heard.changes[0].alert.id) == []


def test_the_worklist_begins_with_the_most_urgent_then_the_oldest(book: Book) -> None:
    open_one(book, patient="p-1", at=1)
    open_one(book, patient="p-2", at=2, priority=Priority.HIGH)
    open_one(book, patient="p-3", at=0)
    assert [alert.patient for alert in book.open_alerts()] == ["p-2", "p-3", "p-1"]
    assert [alert.patient for alert in book.open_alerts(["p-1", "p-2"])] == ["p-2", "p-1"]
    assert set(book.standing(["p-1", "p-3"])) == {("p-1", "glucose-low"), ("p-3", "glucose-low")}


def test_of_a_long_worklist_the_most_urgent_and_newest_are_read_and_all_are_counted(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        open_one(book, patient=f"p-{at}", at=at, priority=Priority.HIGH if at == 1 else Priority.LOW)
        for at in range(4)
    ]
    waiting, handled = book.worklist(2)
    assert ([alert.id for alert in waiting.alerts], waiting.in_all) == ([made[1], made[3]], 4)
    assert handled == ([], 0)
    monkeypatch.setattr("alerts.book.COUNTED", 2)
    assert book.worklist(2)[0].in_all == 3  # more than are counted
    act = Act(kind=ActKind.ACKNOWLEDGE, alert=made[3], by="Dr Li", at=minute(5))
    book.record(hear(book.alert(made[3]), act, minute(5)).changes)
    waiting, handled = book.worklist(9)
    assert [alert.id for alert in waiting.alerts] == [made[1], made[2], made[0]]
    assert [alert.id for alert in handled.alerts] == [made[3]]


def test_the_worklist_is_read_from_its_index_however_many_were_closed(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    book, asked = Book(engine, routes={}), list[tuple[str, Any]]()
    event.listen(engine, "before_cursor_execute", lambda _db, _cursor, said, values, *_: asked.append((said, values)))
    book.worklist(0)
    book.alerts(state="open")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as db:
        plans = [
            next(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {said}", values) if "alerts" in row[3])
            for said, values in asked
        ]
    engine.dispose()
    used = [plan.partition("INDEX ")[2].split()[0] for plan in plans]
    waiting, handled = ["alerts_waiting"] * 2, ["alerts_handled"] * 2
    assert used == [*waiting, *handled, "alerts_open_by_time"]


def test_pages_of_alerts_miss_none_and_repeat_none(book: Book) -> None:
    ids = [open_one(book, patient=f"p-{count}", at=count // 3) for count in range(10)]
    pages, before = [], None
    while page := book.alerts(state="open", limit=4, before=before):
        pages.append([alert.id for alert in page])
        before = page[-1].id
    assert [len(page) for page in pages] == [4, 4, 2]
    assert sorted(each for page in pages for each in page) == sorted(ids)
    assert book.alerts(state="closed") == []
    assert [alert.patient for alert in book.alerts(patient="p-4")] == ["p-4"]
    with pytest.raises(KeyError):
        book.alerts(before="a-none")


def test_a_notice_is_written_once(book: Book) -> None:
    asked = hear(None, finding("low-event-1", audience=Audience.PATIENT), START).notices
    assert book.record(notices=asked) == list(asked)
    assert book.record(notices=asked) == []
    assert len(book.pending_notices("log", START)) == 1
    assert book.pending_notices("desk", START) == []


def test_tries_are_kept_and_the_first_delivery_to_people_is_the_notification(book: Book) -> None:
    alert = open_one(book)
    (delivery,) = book.pending_notices("desk", START)
    notice = delivery.notice.id
    book.note_try(Try(notice=notice, channel="log", at=START, error=None), due=None, reaches_people=False)
    failed = Try(notice=notice, channel="desk", at=minute(1), error="HTTP 500")
    book.note_try(failed, due=minute(2), reaches_people=True)
    before = book.alert(alert)
    assert before is not None
    assert before.notified_at is None
    assert book.pending_notices("desk", minute(1)) == []
    assert [due.tries for due in book.pending_notices("desk", minute(2))] == [1]
    assert book.undelivered() == {"desk": 1}
    delivered = Try(notice=notice, channel="desk", at=minute(2), error=None)
    book.note_try(delivered, due=None, reaches_people=True)
    told = book.alert(alert)
    assert told is not None
    assert told.notified_at == minute(2)
    assert book.history(alert)[-1].what is FactKind.NOTIFIED
    assert book.tries(notice)[1:] == [failed, delivered]
    assert book.undelivered() == {}
    # An alert in hand that does not know of it must not undo it.
    book.record(hear(before, finding(priority=Priority.HIGH), minute(3)).changes)
    changed = book.alert(alert)
    assert changed is not None
    assert (changed.priority, changed.notified_at) == (Priority.HIGH, minute(2))


def test_the_urgent_goes_out_first(book: Book) -> None:
    open_one(book, patient="p-1", at=0, priority=Priority.LOW)
    open_one(book, patient="p-2", at=1, priority=Priority.HIGH)
    assert [due.notice.patient for due in book.pending_notices("desk", minute(2))] == ["p-2", "p-1"]


def test_a_step_without_news_writes_nothing(tmp_path: Path) -> None:
    book = Book(open_database(f"sqlite:///{tmp_path / 'hub.sqlite'}"), routes=ROUTES)
    asked = hear(None, finding("low-event-1", audience=Audience.PATIENT), START).notices
    book.record(notices=asked)
    with closing(sqlite3.connect(tmp_path / "hub.sqlite")) as watcher:
        before = watcher.execute("PRAGMA data_version").fetchone()
        book.record(notices=asked)
        assert watcher.execute("PRAGMA data_version").fetchone() == before
        book.record(cursor=1)
        assert watcher.execute("PRAGMA data_version").fetchone() != before


def test_moments_are_exact_to_the_microsecond(book: Book) -> None:
    odd = START + timedelta(microseconds=1)
    heard = hear(None, finding(since=odd), odd)
    book.record(heard.changes)
    assert book.alerts() == [heard.changes[0].alert]

"""What the quality report reads from a real database, and by which index it finds it among a million."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Select, text

from alerts.alert import Act, ActKind, Alert, Audience, Outcome, Priority, Reason
from alerts.audit import entries
from alerts.book import Book, Try
from alerts.machine import hear
from alerts.monitoring import CareTime, Correction
from alerts.quality_book import QualityBook, alerts_opened, facts_of_opened
from gateway.schema import open_database
from tests.gateway.small_house import MILLER, WANG, severe_pressure, very_low

START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
MIN = timedelta(minutes=1)
HOME = {WANG.id: "dm", MILLER.id: None}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    yield engine
    engine.dispose()


@pytest.fixture
def book(engine: Engine) -> Book:
    return Book(engine, routes={Audience.STAFF: ("mail",)})


def step(book: Book, event: Any, at: datetime) -> Alert:
    if isinstance(event, Act):
        standing = book.alert(event.alert)
    else:
        standing = book.standing().get((event.patient, event.problem))
    heard = hear(standing, event, at)
    for notice in book.record(heard.changes, heard.notices):
        if notice.audience is Audience.STAFF:
            tried = Try(notice=notice.id, channel="mail", at=at + MIN, error=None)
            book.note_try(tried, due=None, reaches_people=True)
    return heard.changes[-1].alert


def act(book: Book, alert: Alert, kind: ActKind, at: datetime, outcome: Outcome | None = None) -> Alert:
    reason = Reason.FALSE_READING if outcome is Outcome.NO_ACTION else None
    what = Act(kind=kind, alert=alert.id, by="Li", at=at, note="sensor error", outcome=outcome, reason=reason)
    return step(book, what, at)


def test_an_alert_is_read_with_its_rule_its_first_answer_and_whether_it_became_worse(
    book: Book, engine: Engine
) -> None:
    opened = step(book, very_low(since=START, known_at=START, priority=Priority.MEDIUM), START)
    act(book, opened, ActKind.ACKNOWLEDGE, START + 10 * MIN)
    again = START + 30 * MIN  # an emergency after it was acknowledged: it is told again and waits anew
    step(book, very_low(since=START, known_at=again, emergency_at=again), again)
    act(book, opened, ActKind.ACKNOWLEDGE, START + 40 * MIN)
    act(book, opened, ActKind.CLOSE, START + 60 * MIN, Outcome.NO_ACTION)
    worse = step(book, severe_pressure(MILLER), START + 70 * MIN)
    step(book, very_low(MILLER, problem="blood-pressure-high", rule="bp-severe", since=START), START + 80 * MIN)
    low, pressure = sorted(QualityBook(engine).alerts(START, END, HOME), key=lambda row: row.opened_at)
    assert (low.id, low.patient, low.programme, low.rule) == (opened.id, WANG.id, "dm", "low-event-2")
    assert (low.opened_at, low.notified_at, low.acknowledged_at) == (START, START + MIN, START + 10 * MIN)
    assert (low.closed_at, low.outcome, low.note) == (START + 60 * MIN, Outcome.NO_ACTION, "sensor error")
    assert low.reason is Reason.FALSE_READING
    assert (low.worsened, low.steps, low.priority) == (False, 0, Priority.HIGH)
    assert (pressure.id, pressure.rule, pressure.worsened) == (worse.id, "bp-severe", True)
    assert (pressure.programme, pressure.acknowledged_at, pressure.outcome) == (None, None, None)


def test_the_period_is_half_open(book: Book, engine: Engine) -> None:
    for number, at in enumerate((START - MIN, START, END - MIN, END)):
        step(book, very_low(patient=WANG, problem=f"glucose-low-{number}", since=at, known_at=at), at)
    found = {row.opened_at for row in QualityBook(engine).alerts(START, END, HOME)}
    assert found == {START, END - MIN}


def test_a_rule_of_another_homeward_is_not_guessed(book: Book, engine: Engine) -> None:
    step(book, very_low(since=START, known_at=START), START)
    with engine.begin() as db:
        db.execute(text("UPDATE notices SET subject_en = 'High priority: Something of before'"))
    (row,) = QualityBook(engine).alerts(START, END, HOME)
    assert row.rule is None


@pytest.mark.parametrize("query", [alerts_opened(START, END), facts_of_opened(START, END)])
def test_a_month_is_found_by_the_index_of_time_and_not_by_reading_all(
    book: Book, engine: Engine, query: Select[Any]
) -> None:
    said = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as db:
        plan = [row.detail for row in db.execute(text(f"EXPLAIN QUERY PLAN {said}"))]
    assert any(
        re.search(r"SEARCH alerts USING (COVERING )?INDEX alerts_by_time \(opened_at_us>", each) for each in plan
    )
    assert not [each for each in plan if each.startswith("SCAN")]


def test_minutes_of_care_are_kept_as_they_were_written(engine: Engine) -> None:
    book = QualityBook(engine)
    first = CareTime(patient=WANG.id, at=START, by="Zhao", minutes=12, live=True, note="说了低血糖", follow_up="f-1")
    last = CareTime(patient=MILLER.id, at=END - MIN, by="Li", minutes=3)
    times = (last, first, CareTime(patient=WANG.id, at=END, by="Zhao", minutes=1))
    assert [book.note_care(time, END).number for time in times] == [1, 2, 3]
    assert book.care_times(START, END) == [replace(first, number=2), replace(last, number=1)]
    assert book.care_times(START, END, patient=MILLER.id) == [replace(last, number=1)]
    assert book.spoken(START, END) == []


def test_minutes_are_corrected_and_what_they_were_stays(engine: Engine) -> None:
    book = QualityBook(engine)
    for _ in range(2):
        book.note_care(CareTime(patient=WANG.id, at=START, by="Zhao", minutes=900, live=True), END)
    typo = Correction(at=END + MIN, by="Li", minutes=90, live=True, because="typed 900 for 90")
    twice = Correction(at=END + 2 * MIN, by="Zhao", minutes=0, live=True, because="entered twice")
    book.correct_care(2, typo)
    corrected = book.correct_care(2, twice)
    assert book.care_time(2) == corrected
    assert (corrected.minutes, corrected.corrections) == (900, (typo, twice))
    assert [(each.number, each.counted, each.spoke) for each in book.care_times(START, END)] == [
        (1, 900, True),
        (2, 0, False),
    ]
    with pytest.raises(KeyError):
        book.correct_care(3, typo)
    assert book.care_time(3) is None
    kept = [
        (each.what, each.who, each.at, each.before, each.after) for each in entries(engine, subject="care-time:2")
    ]
    assert kept[:2] == [
        ("corrected", "Zhao", twice.at, {"minutes": 90}, {"minutes": 0, "because": "entered twice"}),
        ("corrected", "Li", typo.at, {"minutes": 900}, {"minutes": 90, "because": "typed 900 for 90"}),
    ]
    assert (kept[2][0], kept[2][1], kept[2][4]["minutes"]) == ("noted", "Zhao", 900)

"""What the quality report reads of follow-ups, attempts, surveys and ladders, as their own books wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert

from alerts import follow_up, follow_up_book
from alerts.alert import Outcome, Priority, Text
from alerts.book import Book
from alerts.database import METADATA
from alerts.machine import hear
from alerts.quality_book import QualityBook
from alerts.team import Role
from gateway.schema import open_database
from tests.gateway.small_house import WANG, very_low

START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
MIN = timedelta(minutes=1)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def open_alert(engine: Engine, at: datetime) -> str:
    heard = hear(None, very_low(since=at, known_at=at), at)
    Book(engine, routes={}).record(heard.changes, heard.notices)
    return heard.changes[-1].alert.id


def open_follow_up(engine: Engine, at: datetime, alert: str | None = None, programme: str | None = None) -> str:
    step = follow_up.opened(
        follow_up.Open(
            patient=WANG.id,
            why=follow_up.Why.ALERT if alert else follow_up.Why.STAFF,
            key=f"{alert}-{at}",
            because=Text(en="a low", zh="低血糖"),
            at=at,
            role=Role.NURSE,
            priority=Priority.MEDIUM,
            alert=alert,
            programme=programme,
        )
    )
    follow_up_book.FollowUpBook(engine).record([step])
    return str(step.follow_up.id)


def attempt(engine: Engine, name: str, at: datetime, result: str, channel: str = "telephone") -> None:
    book = follow_up_book.FollowUpBook(engine)
    deed = follow_up.Attempt(follow_up=name, by="Zhao", at=at, channel=channel, result=follow_up.Result(result))
    book.record(follow_up.decide(book.get(name), deed))


def test_follow_ups_of_the_period_and_of_its_alerts_with_all_their_attempts(engine: Engine) -> None:
    alert = open_alert(engine, END - MIN)
    later = open_follow_up(engine, END + 5 * MIN, alert)
    own = open_follow_up(engine, START, programme="dm")
    open_follow_up(engine, END)
    before = open_follow_up(engine, START - MIN)
    attempt(engine, later, END + 9 * MIN, "no-answer")
    attempt(engine, later, END + 20 * MIN, "reached")
    attempt(engine, own, START + MIN, "reached", "sms")
    attempt(engine, before, START + MIN, "reached")
    found = QualityBook(engine).care(START, END, {WANG.id: "bp"})
    assert {(each.id, each.role, each.programme, each.alert, each.in_period) for each in found.follow_ups} == {
        (later, "nurse", "bp", alert, False),
        (own, "nurse", "dm", None, True),
    }
    assert sorted((each.follow_up, each.at, each.result) for each in found.attempts) == sorted(
        [
            (later, END + 9 * MIN, "no-answer"),
            (later, END + 20 * MIN, "reached"),
            (own, START + MIN, "reached"),
        ]
    )
    # A message that was delivered is no talk; who was spoken to counts in the time of the talk.
    assert QualityBook(engine).spoken(START, END) == [(WANG.id, START + MIN)]
    assert QualityBook(engine).spoken(END, END + 30 * MIN) == [(WANG.id, END + 20 * MIN)]


def test_surveys_count_when_they_were_made_with_what_was_said(engine: Engine) -> None:
    from alerts.survey import Answer

    book = follow_up_book.FollowUpBook(engine)
    name = open_follow_up(engine, START - 9 * MIN, programme="dm")
    attempt(engine, name, START - MIN, "reached")
    close = follow_up.Close(follow_up=name, by="Zhao", at=START, outcome=Outcome.ADVICE, note="ate something")
    book.record(follow_up.decide(book.get(name), close))
    quality = QualityBook(engine)
    (asked,) = quality.care(START, END, {}).surveys
    assert (asked.made_at, asked.role, asked.programme, asked.answered, asked.score) == (
        START, "nurse", "dm", False, None,
    )  # fmt: skip
    (sent,) = book.surveys(START, END)
    book.answer(sent.id, Answer(helpful=True, solved=False, score=2, call_again=True), START + MIN)
    (said,) = quality.care(START, END, {}).surveys
    assert (said.answered, said.helpful, said.solved, said.score, said.call_again) == (True, True, False, 2, True)
    assert quality.care(START + MIN, END, {}).surveys == []


def test_a_step_that_comes_after_a_while_and_told_somebody_is_an_escalation(engine: Engine) -> None:
    timers = METADATA.tables["escalations"]
    alert = open_alert(engine, START)
    plain = {"subject": alert, "kind": "step", "run_us": 1, "count": 0, "priority": 3, "due_us": 1, "who": []}
    with engine.begin() as db:
        for number, (after_s, result) in enumerate([(0, "told"), (900, "told"), (1800, "told"), (3600, "nobody")]):
            step = {"after_s": after_s}
            db.execute(
                insert(timers).values(plain | {"id": f"t-{number}", "number": number, "step": step, "result": result})
            )
        check = {"id": "t-9", "number": 1, "kind": "check", "step": {"after_s": 900}, "result": "told"}
        db.execute(insert(timers).values(plain | check))
    (row,) = QualityBook(engine).alerts(START, END, {})
    assert row.steps == 2

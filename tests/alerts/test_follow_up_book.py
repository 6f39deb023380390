"""What is done about patients is written whole, read as it was, and never lost between two people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from alerts.alert import Act, ActKind, Audience, IllegalAct, Outcome, Priority, Reason, Verdict
from alerts.audit import entries
from alerts.book import Book
from alerts.care_plan import Condition, Interval
from alerts.database import METADATA
from alerts.follow_up import (
    Attempt,
    Claim,
    Close,
    FollowUp,
    HandOver,
    Open,
    Postpone,
    Result,
    State,
    Symptom,
    Why,
    decide,
    follow,
    opened,
    replay,
)
from alerts.follow_up_book import FollowUpBook, Given, take_survey
from alerts.machine import hear
from alerts.survey import Answer
from alerts.team import Contact, Role
from alerts.team_book import TeamBook
from gateway.schema import open_database
from tests.alerts.test_care_plan import WEEK, plan, review, said, week
from tests.alerts.test_follow_up import BECAUSE, NURSE, opens
from tests.alerts.test_invitation import FIRST
from tests.alerts.ward import START, finding, minute


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def book(engine: Engine) -> FollowUpBook:
    return FollowUpBook(engine)


def put(book: FollowUpBook, act: Open | None = None) -> FollowUp:
    step = opened(act or opens())
    book.record([step])
    return step.follow_up


def do(book: FollowUpBook, kind: type, follow_up: FollowUp, at: float = 10, **more: object) -> FollowUp:
    deed = kind(follow_up=follow_up.id, by=NURSE, at=minute(at), **more)
    steps = decide(book.get(follow_up.id), deed)
    book.record(steps)
    return steps[0].follow_up


def reach(book: FollowUpBook, follow_up: FollowUp, at: float = 10, outcome: Outcome = Outcome.ADVICE) -> FollowUp:
    do(book, Attempt, follow_up, at, channel="telephone", result=Result.REACHED)
    return do(book, Close, follow_up, at + 1, outcome=outcome, note="done")


def test_a_whole_life_is_read_as_it_was(book: FollowUpBook, engine: Engine) -> None:
    made = put(book, opens(problem="blood-pressure-high", alert="a-1", programme="bp", note="please"))
    do(book, Claim, made)
    do(book, Attempt, made, 11, channel="telephone", result=Result.BUSY, note="engaged")
    do(book, Attempt, made, 12, channel="sms", result=Result.REACHED, symptoms=frozenset())
    do(book, HandOver, made, 13, note="wants to know", role=Role.DIETITIAN, to="Ms Sun")
    do(book, Postpone, made, 14, until=minute(60), note="shopping")
    now = do(book, Close, made, 60, outcome=Outcome.EMERGENCY, note="n", symptoms=frozenset({Symptom.VISION}))
    again = FollowUpBook(engine)
    assert again.get(made.id) == now == again.of_alert("a-1") == again.of_alerts(["a-1", "a-2"])["a-1"]
    facts = again.history(made.id)
    assert replay(facts) == now
    assert [fact.channel for fact in facts if fact.channel] == ["telephone", "sms"]
    assert facts[0].note == "please"
    assert again.of_patient("p-1") == [now]
    assert again.opened_in(START, minute(1)) == [now]
    assert again.opened_in(minute(1), minute(2)) == []
    first, second = again.attempts(START, minute(100))
    assert (first.by, first.at, first.channel, first.result, first.note, first.symptoms) == (
        NURSE,
        minute(11),
        "telephone",
        Result.BUSY,
        "engaged",
        None,
    )
    assert second.symptoms == frozenset()
    assert again.attempts(minute(12), minute(12)) == []


def test_lists_of_what_is_due_by_role_and_person_page_by_page(book: FollowUpBook) -> None:
    for number in range(6):
        role = Role.NURSE if number % 2 else Role.DOCTOR
        put(
            book,
            opens(
                patient=f"p-{number}",
                role=role,
                due_at=minute(10 - number),
                assigned_to="Ms Sun" if number == 3 else None,
            ),
        )
    due = [each.due_at for each in book.due()]
    assert due == sorted(due)
    assert len(due) == 6
    assert [each.patient for each in book.due(until=minute(7))] == ["p-5", "p-4"]
    assert [each.patient for each in book.due(role=Role.NURSE)] == ["p-5", "p-3", "p-1"]
    assert [each.patient for each in book.due(person="Ms Sun")] == ["p-3"]
    first = book.due(limit=4)
    assert first + book.due(limit=4, after=first[-1].id) == book.due()
    assert book.count_open(minute(7)) == (6, 2)
    reach(book, book.due()[0])
    assert book.count_open(minute(7)) == (5, 1)


def test_what_is_overdue_is_listed_by_its_priority_then_by_its_time(book: FollowUpBook) -> None:
    priorities = Priority.LOW, Priority.HIGH, Priority.MEDIUM, Priority.HIGH, Priority.LOW, Priority.HIGH
    for number, priority in enumerate(priorities, 1):
        put(book, opens(patient=f"p-{number}", priority=priority, due_at=minute(number)))
    now = minute(4.5)  # the last two are not due yet
    listed = book.due(now=now)
    assert [each.patient for each in listed] == ["p-2", "p-4", "p-3", "p-1", "p-5", "p-6"]
    for after in range(1, 6):
        assert book.due(now=now, after=listed[after - 1].id) == listed[after:]
    assert book.due(now=now, until=now) == listed[:4]
    with pytest.raises(KeyError):
        book.due(after="f-none")


def test_of_two_who_act_at_once_one_is_told_and_nothing_is_lost(book: FollowUpBook) -> None:
    made = put(book)
    seen = book.get(made.id)
    one = decide(seen, Claim(follow_up=made.id, by=NURSE, at=minute(1)))
    two = decide(seen, Claim(follow_up=made.id, by="Dr Wu", at=minute(1)))
    book.record(one)
    with pytest.raises(IllegalAct, match=r"Somebody else has just acted on f-.*; nothing of yours was written") as no:
        book.record(two)
    assert "刚被他人处理" in no.value.text.zh
    found = book.get(made.id)
    assert found == one[0].follow_up
    assert len(book.history(made.id)) == 2


def test_what_was_opened_before_stays_as_it_is(book: FollowUpBook) -> None:
    made = put(book)
    taken = do(book, Claim, made)
    put(book)
    assert book.get(made.id) == taken
    assert len(book.history(made.id)) == 2


def test_an_alert_and_its_follow_up_are_written_together_or_not_at_all(engine: Engine, book: FollowUpBook) -> None:
    alerts = Book(engine, routes={Audience.STAFF: ("log",)})
    heard = hear(None, finding(priority=Priority.HIGH), START)
    alerts.record(heard.changes, heard.notices)
    alert = heard.changes[0].alert
    seen = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by=NURSE, at=minute(1))
    step = hear(alert, seen, minute(1))
    steps = follow(step.changes[0].alert, seen, None)
    alerts.record(step.changes, also=book.writing(steps))
    stale = book.of_alert(alert.id)
    assert stale is not None
    do(book, Attempt, stale, 2, channel="telephone", result=Result.NO_ANSWER)

    ended = replace(seen, kind=ActKind.CLOSE, at=minute(3), note="n", outcome=Outcome.NO_ACTION, reason=Reason.OTHER)
    close = hear(alerts.alert(alert.id), ended, minute(3))
    with pytest.raises(IllegalAct, match="Somebody else"):
        alerts.record(close.changes, also=book.writing(follow(close.changes[0].alert, ended, stale)))
    found = alerts.alert(alert.id)
    assert found is not None
    assert found.closed_at is None, "the alert stays open with its follow-up"
    assert book.writing(()) is None
    alerts.record(close.changes, also=book.writing(follow(close.changes[0].alert, ended, book.of_alert(alert.id))))
    done = book.of_alert(alert.id)
    assert done is not None
    assert done.state is State.CLOSED


def test_a_plan_keeps_that_an_alert_of_high_priority_made_it_early(book: FollowUpBook) -> None:
    book.set_plan(plan(Condition.DIABETES))
    low = put(book, opens(Priority.HIGH, problem="glucose-low", alert="a-1"))
    reach(book, low)
    alarmed = book.plan("p-1", Condition.DIABETES)
    assert alarmed is not None
    assert (alarmed.interval, alarmed.due_at, alarmed.alarm) == (Interval.ALARM, minute(11) + WEEK, BECAUSE)
    book.judge(review(week(0.5), said("meter-repeated-high", Verdict.CLEAR)))
    again = book.plan("p-1", Condition.DIABETES)
    assert again is not None
    assert (again.due_at, again.alarmed_at) == (alarmed.due_at, minute(11))
    (made,) = book.open_due(alarmed.open_at)
    assert (made.due_at, made.because) == (alarmed.due_at, alarmed.because)


def test_a_plan_opens_its_follow_up_and_goes_on_when_that_is_closed(book: FollowUpBook) -> None:
    book.set_plan(plan())
    assert book.open_due(week(3) - timedelta(seconds=1)) == []
    (made,) = book.open_due(week(3))
    assert (made.why, made.due_at) == (Why.PLAN, week(4))
    assert book.open_due(week(5)) == [], "one is open"
    standing = book.plan("p-1", Condition.HYPERTENSION)
    assert standing is not None
    assert standing.follow_up == made.id
    at = (week(4) - START) / timedelta(minutes=1)
    ended = reach(book, made, at, Outcome.MEDICATION_CHANGED)
    now = book.plan("p-1", Condition.HYPERTENSION)
    assert now is not None
    assert (now.follow_up, now.interval, now.since) == (None, Interval.CHANGED_WELL, ended.closed_at)
    assert now.due_at == minute(at + 1) + timedelta(weeks=4)


def test_a_review_changes_the_plan_and_what_was_set_meanwhile_stays(book: FollowUpBook) -> None:
    book.set_plan(plan())
    book.set_plan(plan(Condition.DIABETES))
    book.judge(review(week(1), said("bp-not-at-goal", Verdict.RAISE)))
    by_condition = {each.condition: each for each in book.plans("p-1")}
    assert by_condition[Condition.HYPERTENSION].interval is Interval.MISSED
    assert by_condition[Condition.DIABETES].interval is Interval.UNKNOWN
    stale = plan()
    with pytest.raises(IllegalAct, match="Somebody else has just acted on p-1/hypertension"):
        book.set_plan(stale)
    with pytest.raises(IllegalAct, match="Somebody else"):
        book.set_plan(replace(by_condition[Condition.HYPERTENSION], version=1))
    assert book.end_plan("p-1", Condition.DIABETES, now=START, by="Li")
    assert not book.end_plan("p-1", Condition.DIABETES, now=START, by="Li")
    assert [each.condition for each in book.plans("p-1")] == [Condition.HYPERTENSION]


def test_who_was_reached_is_asked_and_a_poor_answer_opens_a_follow_up(book: FollowUpBook, engine: Engine) -> None:
    first = reach(book, put(book))
    reach(book, put(book, opens(key="2")), at=100)  # within the week: not asked again
    closed = put(book, opens(key="3", patient="p-2"))
    do(book, Close, closed, 5, outcome=Outcome.NO_ACTION, note="n")  # never reached
    (survey,) = book.surveys(START, minute(100))
    assert (survey.follow_up, survey.patient) == (first.id, "p-1")
    assert book.unsent_surveys(minute(12)) == [], "the patient has no contact"
    TeamBook(engine).put_contacts("patient:p-1", [Contact(channel="sms", address="+1")], now=START)
    assert book.unsent_surveys(minute(12)) == [survey]
    assert book.unsent_surveys(survey.expires_at) == []
    with engine.begin() as db:
        assert [take_survey(db, survey.id, minute(at)) for at in (12, 99)] == [True, False]
    assert book.unsent_surveys(minute(12)) == []
    answer = Answer(helpful=False, solved=False, score=2, text="头晕", call_again=True)
    done, task = book.answer(survey.id, answer, minute(200))
    assert task is not None
    assert book.get(task.id) == task
    assert (task.why, task.role) == (Why.PATIENT, Role.NURSE)
    assert (
        book.survey(survey.id) == done == replace(survey, sent_at=minute(12), answered_at=minute(200), answer=answer)
    )
    assert book.surveys(START, minute(100)) == [done]
    with pytest.raises(IllegalAct, match="answered already"):
        book.answer(survey.id, Answer(), minute(201))
    with pytest.raises(KeyError):
        book.answer("s-none", Answer(), minute(201))
    assert book.survey("s-none") is None


def test_answers_and_what_was_given_to_read_are_in_the_audit(book: FollowUpBook, engine: Engine) -> None:
    task = put(book)
    book.give(Given(patient="p-1", follow_up=task.id, material="measure-pressure", by=NURSE, at=minute(1)))
    given = entries(engine, limit=1)[0]
    assert (given.what, given.subject, given.who, given.at) == (
        "education-given", f"follow-up:{task.id}", NURSE, minute(1),
    )  # fmt: skip
    assert given.before is None
    assert given.after == {"patient": "p-1", "follow_up": task.id, "material": "measure-pressure", "by": NURSE}
    book.give(Given(patient="p-1", follow_up=task.id, material="measure-pressure", by="Li", at=minute(2)))
    assert [(each.by, each.at) for each in book.given("p-1")] == [(NURSE, minute(1))], "the same text, once"
    assert entries(engine, limit=1)[0] == given
    reach(book, task, at=2)
    (survey,) = book.surveys(START, minute(100))
    book.answer(survey.id, Answer(solved=True, score=2, text="头晕"), minute(30))
    (answered,) = entries(engine, subject=f"survey:{survey.id}")
    assert (answered.what, answered.who, answered.at) == ("answered", "patient:p-1", minute(30))
    nothing = dict.fromkeys(("answered_at_us", "solved", "score", "text"))
    assert answered.before == nothing
    said = {"solved": True, "score": 2, "text": "头晕"}
    assert answered.after == {"answered_at_us": int(minute(30).timestamp()) * 1_000_000, **said}


def test_what_was_given_is_looked_for_by_the_patient(book: FollowUpBook, engine: Engine) -> None:
    task = put(book)
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _db, _cursor, said, values, *_: asked.append((said, values)))
    book.give(Given(patient="p-1", follow_up=task.id, material="measure-pressure", by=NURSE, at=minute(1)))
    (found,) = [each for each in asked if each[0].startswith("SELECT") and "FROM education_given" in each[0]]
    assert "education_given.patient = " in found[0]
    if engine.dialect.name == "sqlite":
        with engine.connect() as db:
            plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {found[0]}", found[1]).all()
        assert [row[3].startswith("SEARCH education_given USING INDEX") for row in plan] == [True], plan


def test_a_good_answer_opens_nothing(book: FollowUpBook) -> None:
    reach(book, put(book))
    (survey,) = book.surveys(START, minute(100))
    _, task = book.answer(survey.id, Answer(score=5, solved=True), minute(30))
    assert task is None
    assert book.due() == []


@pytest.mark.parametrize("act", ["give", "appointment", "close"])
def test_what_was_looked_at_before_a_step_stays_so_until_the_step_is_written(
    book: FollowUpBook, engine: Engine, act: str
) -> None:
    made = put(book)
    appointment = replace(FIRST, follow_up=made.id)
    no_action = Close(follow_up=made.id, by="Dr Wu", at=minute(5), outcome=Outcome.NO_ACTION, note="well")
    closed = decide(made, no_action)
    called_off = replace(appointment, cancelled=True, sequence=1)
    closed_so = decide(made, replace(no_action, by=NURSE, outcome=Outcome.APPOINTMENT))
    given = Given(patient="p-1", follow_up=made.id, material="low-sugar", by=NURSE, at=minute(5))
    looks, mine, others = {
        "give": ("FROM follow_ups", lambda: book.give(given), lambda: book.record(closed)),
        "appointment": (
            "FROM follow_ups",
            lambda: book.put_appointment(appointment, by=NURSE),
            lambda: book.record(closed),
        ),
        "close": (
            "FROM appointments",
            lambda: book.record(closed_so),
            lambda: book.put_appointment(called_off, by="Dr Wu"),
        ),
    }[act]
    if act == "close":
        book.put_appointment(appointment, by=NURSE)
    assert not written_between(engine, looks, mine, others), "the other act waits until this one is written"


def written_between(engine: Engine, looks: str, mine: Callable[[], None], others: Callable[[], None]) -> bool:
    """Whether what somebody else writes, once the first such look is done, is written before mine is."""
    with ThreadPoolExecutor(1) as pool:
        other: list[Future[None]] = []
        between: list[Future[None]] = []

        @event.listens_for(engine, "after_cursor_execute")
        def look(_db: object, _cursor: object, statement: str, *_more: object) -> None:
            if looks in statement and not other:
                other.append(pool.submit(others))
                between.extend(wait(other, timeout=1).done)

        mine()
        other[0].result()
        return bool(between)


def test_what_was_given_to_read_and_appointments_are_kept(book: FollowUpBook) -> None:
    given = [
        Given(patient="p-1", follow_up="f-1", material=name, by=NURSE, at=minute(number))
        for number, name in enumerate(("measure-pressure", "glucose-goals"))
    ]
    for each in given:
        book.give(each)
    assert book.given("p-1") == given[::-1]
    book.put_appointment(FIRST, by=NURSE)
    later = replace(FIRST, place="Room 4", sequence=1)
    book.put_appointment(later, by=NURSE)
    with pytest.raises(IllegalAct, match="Somebody else has just acted on m-1"):
        book.put_appointment(replace(FIRST, place="Room 5", sequence=1), by=NURSE)
    with pytest.raises(IllegalAct, match="Somebody else has just acted on m-1"):
        book.put_appointment(FIRST, by=NURSE)
    assert book.appointment("m-1") == later
    assert book.appointments("f-1") == [later]
    came = replace(later, kept=True)
    book.note_kept(came, at=minute(3), by=NURSE)
    with pytest.raises(IllegalAct, match="just acted on m-1"):
        book.put_appointment(replace(later, cancelled=True, sequence=later.sequence + 1), by=NURSE)
    assert book.appointment("m-1") == came
    assert book.appointment("m-2") is None


def test_the_first_page_of_a_hundred_thousand_is_there_at_once(book: FollowUpBook, engine: Engine) -> None:
    put(book)
    other = {
        "id": "'f-' || i",
        "due_at_us": "due_at_us + CAST((i * 7919) % 100000 AS BIGINT) * 1000000",
        "role": "CASE i % 5 WHEN 0 THEN 'nurse' WHEN 1 THEN 'doctor' ELSE 'coordinator' END",
        "assigned_to": "CASE i % 50 WHEN 0 THEN 'Dr Wu' END",
    }
    names = [column.name for column in METADATA.tables["follow_ups"].columns]
    values = ", ".join(other.get(name, name) for name in names)
    with engine.begin() as db:
        db.execute(
            text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
                f"INSERT INTO follow_ups ({', '.join(names)}) SELECT {values} FROM follow_ups, n"
            )
        )
        db.execute(text("ANALYZE follow_ups"))  # as PostgreSQL does by itself
    thousands_overdue = book.due(limit=1)[0].due_at + timedelta(seconds=3000)
    for ask in (
        lambda: book.due(),
        lambda: book.due(role=Role.NURSE),
        lambda: book.due(person="Dr Wu"),
        lambda: book.due(until=START + timedelta(days=2), role=Role.DOCTOR),
        lambda: book.due(role=Role.NURSE, after="f-50000"),
        lambda: book.due(now=thousands_overdue),
    ):
        took = []
        for _ in range(5):
            began = time.perf_counter()
            assert len(ask()) == 100
            took.append(time.perf_counter() - began)
        assert min(took) < 0.05

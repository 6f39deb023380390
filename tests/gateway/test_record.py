"""`homeward check --record`: alerts and follow-ups that are not as their records make them are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from alerts import record
from alerts.alert import Act, ActKind, Outcome, Priority, Symptom
from alerts.audit import entries
from alerts.book import Book, rebuilt
from alerts.follow_up import Attempt, Claim, HandOver, Open, Result, Why, decide, opened, overdue, worsened
from alerts.follow_up_book import FollowUpBook
from alerts.machine import hear
from alerts.team import Role
from gateway.check import Finding, beside_record
from gateway.cli import main
from gateway.config import BOOK, Config, load
from gateway.replies import Replies, Reply, ReplyResult
from gateway.schema import open_database
from ingest.reading import to_us
from tests.alerts.ward import START, finding, minute


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Path:
    """The file of a hub whose data are in this folder."""
    file = tmp_path / "homeward.toml"
    assert make_url(database_url).database == str(tmp_path / BOOK) or "postgresql" in database_url
    database = f"[database]\nurl = '{database_url}'\n" if "postgresql" in database_url else ""
    file.write_text(f"data = '{tmp_path}'\n[web]\nport = 18099\n{database}", encoding="utf-8")
    return file


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Of a ward with an alert that is closed, one that is open, and a follow-up that somebody has claimed."""
    engine = open_database(database_url)
    book = Book(engine, routes={})
    for patient in ("p-1", "p-2"):
        book.record(hear(None, finding(priority=Priority.MEDIUM, patient=patient), START).changes)
    name = closed(engine)
    for kind, at, outcome in ((ActKind.ACKNOWLEDGE, 1, None), (ActKind.CLOSE, 2, Outcome.ADVICE)):
        act = Act(kind=kind, alert=name, by="Li", at=minute(at), note="叮嘱加餐", outcome=outcome)
        book.record(hear(book.alert(name), act, minute(at)).changes)
    step = opened(
        Open(
            patient="p-1",
            why=Why.STAFF,
            key="k",
            because=finding().because,
            at=START,
            role=Role.NURSE,
            priority=Priority.LOW,
        )
    )
    follow_ups = FollowUpBook(engine)
    follow_ups.record([step])
    follow_ups.record(decide(step.follow_up, Claim(follow_up=step.follow_up.id, by="Wang", at=minute(1))))
    yield engine
    engine.dispose()


def closed(engine: Engine) -> str:
    (alert,) = Book(engine, routes={}).alerts(patient="p-1")
    return alert.id


def asked(config: Path) -> list[Finding]:
    return list(beside_record(load(config), lambda _: None))


def test_a_house_that_nobody_touched_is_as_its_record(
    engine: Engine, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_PAGE", 1)
    monkeypatch.setattr(record, "_TOLD_EVERY", 2)
    main(["check", "-c", str(config), "--record"])
    told = capsys.readouterr()
    assert told.out.endswith("ok   record: all 3 alerts and follow-ups are as their records make them\n")
    assert told.err == "2 of 3 alerts and follow-ups compared\n"
    name = closed(engine)
    (alert,) = Book(engine, routes={}).some([name]).values()
    assert alert.outcome is Outcome.ADVICE
    made = rebuilt(entries(engine, subject=f"alert:{name}")[::-1])
    assert (made.closed_by, made.outcome, made.updated_at) == ("Li", Outcome.ADVICE, alert.updated_at)


def test_a_reply_about_an_alert_changes_nothing_of_it(engine: Engine, config: Path) -> None:
    late = Reply(
        at=minute(3),
        sender="wang",
        person="staff:wang",
        alert=closed(engine),
        text="收到",
        result=ReplyResult.ALREADY,
    )
    Replies(engine).add(late, "Wang")
    (found,) = asked(config)
    assert found.ok


def test_without_being_asked_for_it_is_not_compared(
    engine: Engine, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "-c", str(config)])
    assert "record:" not in capsys.readouterr().out


def test_what_was_changed_by_hand_is_named(engine: Engine, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = closed(engine)
    with engine.begin() as db:
        db.execute(text("UPDATE alerts SET closed_by = 'Bao', outcome = 'no-action' WHERE patient = 'p-1'"))
        db.execute(text("UPDATE alerts SET present = false, priority = 9 WHERE patient = 'p-2'"))
        db.execute(text("UPDATE follow_ups SET assigned_to = 'Bao'"))
        other = db.scalar(text("SELECT id FROM alerts WHERE patient = 'p-2'"))
    (follow_up,) = FollowUpBook(engine).of_patient("p-1")
    *found, last = asked(config)
    assert not any(each.ok for each in (*found, last))
    assert {each.says for each in found} == {
        f"alert:{name} differs from its record in closed_by, outcome",
        f"alert:{other} differs from its record in priority, present",
        f"follow-up:{follow_up.id} differs from its record in assigned_to",
    }
    assert last.says.startswith("3 alerts and follow-ups, of 3, are not as their records make them: ")
    assert "restore a backup" in last.says
    assert main(["check", "-c", str(config), "--record"]) == 1
    assert f"FAIL record: alert:{name} differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "later", "differs"),
    [
        ([], 0, ()),
        ([], 1, ("overdue_at_us",)),
        ([Symptom.CHEST_PAIN], 0, ("symptoms",)),
    ],
    ids=["an older Homeward", "overdue at another moment", "symptoms were found"],
)
def test_what_an_older_homeward_made_by_its_rules_is_as_its_record_and_what_nobody_made_is_named(
    engine: Engine, config: Path, found: list[Symptom], later: int, differs: tuple[str, ...]
) -> None:
    follow_ups = FollowUpBook(engine)
    (alert,) = Book(engine, routes={}).alerts(patient="p-2")
    act = Open(
        patient="p-2",
        why=Why.STAFF,
        key="k",
        because=alert.because,
        at=START,
        role=Role.NURSE,
        priority=Priority.MEDIUM,
        problem="blood-pressure-high",
    )
    tried = Attempt(
        follow_up=act.follow_up,
        by="Wang",
        at=minute(1),
        channel="telephone",
        result=Result.REACHED,
        symptoms=frozenset(found),
    )
    given = HandOver(follow_up=act.follow_up, by="Wang", at=minute(301), note="please call", role=Role.DOCTOR)
    steps = [opened(act)]
    steps += decide(steps[-1].follow_up, tried)
    steps.append(overdue(steps[-1].follow_up, minute(300)))
    steps += decide(steps[-1].follow_up, given)
    steps += worsened(alert, steps[-1].follow_up, minute(302))
    follow_ups.record(steps)
    # By the rules of then it stayed noted, and that there were no symptoms stayed known.
    then = to_us(minute(300)) + later
    with engine.begin() as db:
        values = {"at": then, "name": act.follow_up}
        db.execute(text("UPDATE follow_ups SET overdue_at_us = :at, symptoms = '[]' WHERE id = :name"), values)
    *named, last = asked(config)
    assert [each.says for each in named] == [
        f"follow-up:{act.follow_up} differs from its record in {name}" for name in differs
    ]
    assert last.ok is not bool(differs)


def test_what_was_taken_away_and_what_was_put_there_by_hand_is_named(engine: Engine, config: Path) -> None:
    name = closed(engine)
    (follow_up,) = FollowUpBook(engine).of_patient("p-1")
    with engine.begin() as db:
        db.execute(text("DELETE FROM alert_facts WHERE alert = :name"), {"name": name})
        db.execute(text("DELETE FROM alerts WHERE id = :name"), {"name": name})
        db.execute(text("DELETE FROM follow_up_facts"))
    *found, _ = asked(config)
    assert {each.says for each in found} == {
        f"alert:{name} is in the record, but not in the database any more",
        f"follow-up:{follow_up.id} has no record of its opening",
    }


def test_alerts_of_before_the_audit_are_counted(engine: Engine, config: Path) -> None:
    (later,) = Book(engine, routes={}).alerts(patient="p-2")
    columns = "patient, problem, priority, because_en, because_zh, evidence, raising, since_us, updated_at_us"
    with engine.begin() as db:
        for name, us in (("a-old", -1), ("a-new", 1)):
            db.execute(
                text(
                    f"INSERT INTO alerts (id, present, closed_at_us, opened_at_us, {columns}) SELECT :name, false, "
                    f"1, opened_at_us + :us, {columns} FROM alerts WHERE id = :later"
                ),
                {"name": name, "us": us, "later": later.id},
            )
    assert [(each.ok, each.says.partition(" (")[0]) for each in asked(config)[:1]] == [
        (False, "alert:a-new has no record of its opening")
    ]
    with engine.begin() as db:
        db.execute(text("DELETE FROM alerts WHERE id = 'a-new'"))
    (found,) = asked(config)
    assert found == Finding(
        part="record",
        ok=True,
        says="all 3 alerts and follow-ups are as their records make them; alerts of before the audit, which cannot "
        "be compared: 1",
    )


def test_a_hub_that_was_never_started_has_nothing_to_compare(tmp_path: Path) -> None:
    (found,) = beside_record(Config(data=tmp_path), lambda _: None)
    assert (found.ok, found.says) == (True, "there are no alerts and follow-ups yet")


def test_a_value_that_cannot_be_read_is_told_without_a_traceback(engine: Engine, config: Path) -> None:
    if engine.dialect.name == "postgresql":
        return  # it takes no such value
    with engine.begin() as db:
        db.execute(text("UPDATE alerts SET raising = '[low' WHERE patient = 'p-1'"))
    (found,) = asked(config)
    assert not found.ok
    assert found.says.startswith(f"cannot read on in {load(config).data / BOOK}: ")

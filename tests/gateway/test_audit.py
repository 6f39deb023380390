"""The audit: every change of an alert, patient, device, wearing, plan and limit, on both kinds of database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DatabaseError

from alerts.alert import Act, ActKind, Audience, IllegalAct, Outcome, Priority, Text
from alerts.audit import entries
from alerts.book import Book, Try
from alerts.follow_up import Attempt, Claim, Open, Result, Why, decide, opened
from alerts.follow_up_book import FollowUpBook
from alerts.machine import hear
from alerts.team import EVERY_DAY, Absence, Contact, Practitioner, QuietHours, Role, Shift
from alerts.team_book import TeamBook
from gateway.people import Device, DeviceKind, DeviceLink, MeasuringPlan, Patient, People
from gateway.schema import open_database
from ingest.vital import Vital
from tests.alerts.ward import START, finding, minute
from tests.gateway.small_house import SmallHouse, furnish, very_low
from tests.gateway.test_schema import without_reasons
from tests.gateway.test_web import browser

LI = Practitioner(
    id="li", name="Li", roles=frozenset({Role.DOCTOR}), contacts=(Contact(channel="sms", address="+1"),)
)
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ANNA = Patient(id="anna", name="Anna Berg", zone="Europe/Berlin")
CGM = Device(id="cgm-1", kind=DeviceKind.CGM, link=DeviceLink.MQTT)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def told(engine: Engine, subject: str) -> list[tuple[Any, ...]]:
    """(what, who, at, before, after), the oldest first."""
    return [(e.what, e.who, e.at, e.before, e.after) for e in reversed(entries(engine, subject=subject))]


def test_the_life_of_an_alert(engine: Engine) -> None:
    book = Book(engine, routes={Audience.STAFF: ("desk",)})
    heard = hear(None, finding(priority=Priority.MEDIUM), START)
    (notice,) = book.record(heard.changes, heard.notices)
    name = heard.changes[0].alert.id
    book.note_try(Try(notice=notice.id, channel="desk", at=minute(1), error=None), due=None, reaches_people=True)
    for kind, at, more in (
        (ActKind.ACKNOWLEDGE, 2, {"note": "seen"}),
        (ActKind.CLOSE, 3, {"note": "叮嘱加餐", "outcome": Outcome.ADVICE}),
    ):
        act = Act(kind=kind, alert=name, by="李医生", at=minute(at), **more)
        book.record(hear(book.alert(name), act, minute(at)).changes)
    opened, notified, acknowledged, closed = told(engine, f"alert:{name}")
    assert opened[:4] == ("opened", None, START, None)
    assert (opened[4]["patient"], opened[4]["priority"], opened[4]["closed_at_us"]) == ("p-1", 2, None)
    at_us = int(START.timestamp()) * 1_000_000
    assert notified == (
        "notified", None, minute(1),
        {"notified_at_us": None}, {"notified_at_us": at_us + 60_000_000, "channel": "desk"},
    )  # fmt: skip
    assert acknowledged == (
        "acknowledged", "李医生", minute(2),
        {"acknowledged_at_us": None, "acknowledged_by": None, "acknowledged_note": None},
        {"acknowledged_at_us": at_us + 120_000_000, "acknowledged_by": "李医生", "acknowledged_note": "seen"},
    )  # fmt: skip
    assert closed[:3] == ("closed", "李医生", minute(3))
    assert closed[3] == dict.fromkeys(("closed_at_us", "closed_by", "outcome", "closing_note"))
    assert (closed[4]["outcome"], closed[4]["closing_note"]) == ("advice", "叮嘱加餐")


def test_what_is_changed_of_a_patient(engine: Engine) -> None:
    people = People(engine)
    people.add_patient(ANNA, now=NOW, by="Wu")
    limits = {"low-event-2": {"limit": [{"value": 60, "unit": "mg/dL"}]}}
    people.change_patient(replace(ANNA, name="Anna B.", limits=limits), now=NOW, by="Li")
    people.change_patient(replace(ANNA, name="Anna B.", limits=limits), now=NOW, by="nobody changes anything")
    plan = MeasuringPlan(
        vital=Vital.GLUCOSE, times=2, days=7, first=date(2026, 3, 2), last=None, author="Li", entered_at=NOW
    )
    people.set_plan("anna", Vital.GLUCOSE, plan, now=NOW)
    people.end_plan("anna", 1, by="Wu", now=NOW)
    added, changed, planned, ended = told(engine, "patient:anna")
    assert added[:4] == ("added", "Wu", NOW, None)
    assert added[4]["name"] == "Anna Berg"
    assert "pseudonym" not in added[4], "who reads the audit is not to know whose data InfluxDB holds"
    assert changed == (
        "changed", "Li", NOW, {"name": "Anna Berg", "limits": {}},
        {"name": "Anna B.", "limits": {
            "low-event-2": {"limit": [{"value": 60, "unit": "mg/dL", "entered_at": "2026-03-02T08:00:00Z"}]}
        }},
    )  # fmt: skip
    assert planned == (
        "plan-set", "Li", NOW, None,
        {"vital": "glucose", "times": 2, "days": 7, "first": "2026-03-02", "last": None, "author": "Li", "plan": 1},
    )  # fmt: skip
    assert ended == ("plan-ended", "Wu", NOW, {"ended_at": None}, {"ended_at": "2026-03-02T08:00:00Z"})


def test_what_becomes_of_a_device(engine: Engine) -> None:
    people = People(engine)
    people.add_patient(ANNA, now=NOW)
    people.add_device(CGM, now=NOW, by="Wu")
    wearing = people.assign("cgm-1", "anna", since=NOW, now=NOW, by="Wu")
    earlier = NOW - timedelta(hours=2)
    people.correct(replace(wearing, since=earlier), by="Li", note="typed late", now=NOW)
    people.release("cgm-1", now=NOW, by="Wu")
    people.assign("cgm-1", "anna", since=NOW, now=NOW)
    people.retire("cgm-1", now=NOW, by="Li")
    found = told(engine, "device:cgm-1")
    assert [(what, who) for what, who, *_ in found] == [
        ("added", "Wu"), ("assigned", "Wu"), ("corrected", "Li"), ("released", "Wu"), ("assigned", None),
        ("released", "Li"), ("retired", "Li"),
    ]  # fmt: skip
    assert found[1][4] == {"wearing": 1, "patient": "anna", "since": "2026-03-02T08:00:00Z", "until": None}
    assert found[2][3:] == (
        {"since": "2026-03-02T08:00:00Z"}, {"since": "2026-03-02T06:00:00Z", "note": "typed late"}
    )  # fmt: skip
    assert found[6][3:] == ({"retired_at": None}, {"retired_at": "2026-03-02T08:00:00Z"})


_ENTRY = "INTO audit (seq, at_us, who, what, subject) VALUES (1, 0, 'forger', 'added', 'patient:anna')"
_REWRITTEN = {
    "sqlite": (
        f"INSERT OR REPLACE {_ENTRY}",
        f"REPLACE {_ENTRY}",
        "REPLACE INTO audit SELECT seq, at_us, 'forger', what, subject, before, after FROM audit",
        "UPDATE OR REPLACE audit SET who = 'forger'",
        f"INSERT {_ENTRY} ON CONFLICT (seq) DO UPDATE SET who = excluded.who",
    ),
    "postgresql": (
        "TRUNCATE audit",
        f"INSERT {_ENTRY} ON CONFLICT (seq) DO UPDATE SET who = excluded.who",
    ),
}


def test_the_database_itself_keeps_it_as_it_was_written(engine: Engine) -> None:
    _refuses_to_rewrite(engine)


def test_an_audit_of_before_cannot_be_replaced_either(engine: Engine) -> None:
    with engine.begin() as db:
        if engine.dialect.name == "sqlite":
            db.execute(text("DROP TRIGGER audit_no_replace"))
        without_reasons(db)
        db.execute(text("UPDATE alembic_version SET version_num = '0013'"))
    later = open_database(engine.url)
    _refuses_to_rewrite(later)
    later.dispose()


def _refuses_to_rewrite(engine: Engine) -> None:
    people = People(engine)
    people.add_patient(ANNA, now=NOW)
    written = entries(engine)
    for statement in ("UPDATE audit SET who = 'me'", "DELETE FROM audit", *_REWRITTEN[engine.dialect.name]):
        with pytest.raises(DatabaseError, match="the audit is only ever added to"), engine.begin() as db:
            db.execute(text(statement))
        assert entries(engine) == written, statement
    people.change_patient(replace(ANNA, name="Anna B."), now=NOW, by="Li")
    assert [(entry.seq, entry.who) for entry in entries(engine)] == [(2, "Li"), (1, None)]


def test_a_change_that_cannot_be_audited_is_not_made(engine: Engine) -> None:
    @event.listens_for(engine, "before_cursor_execute")
    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO audit"):
            raise RuntimeError("a fault on the way to the audit")

    with pytest.raises(RuntimeError):
        People(engine).add_patient(ANNA, now=NOW)
    heard = hear(None, finding(), START)
    book = Book(engine, routes={})
    with pytest.raises(RuntimeError):
        book.record(heard.changes, heard.notices)
    assert (People(engine).patients(), book.alerts()) == ([], [])


def test_pages_of_it_follow_each_other(engine: Engine) -> None:
    people = People(engine)
    for number in range(5):
        people.add_patient(replace(ANNA, id=f"p-{number}", pseudonym=f"w-{number}"), now=NOW)
    first = entries(engine, limit=3)
    assert [entry.subject for entry in first] == ["patient:p-4", "patient:p-3", "patient:p-2"]
    assert [entry.subject for entry in entries(engine, before=first[-1].seq)] == ["patient:p-1", "patient:p-0"]


def test_the_life_of_a_follow_up(engine: Engine) -> None:
    book = FollowUpBook(engine)
    because = Text(en="asked to be called", zh="请求回电")
    start = opened(
        Open(
            patient="anna", why=Why.PATIENT, key="k", because=because, at=NOW, role=Role.NURSE, priority=Priority.LOW
        )
    )
    book.record([start])
    name, later = start.follow_up.id, NOW + timedelta(minutes=5)
    taken = decide(start.follow_up, Claim(follow_up=name, by="Chen", at=NOW))
    book.record(taken)
    with pytest.raises(IllegalAct):  # decided on what is not so any more: nothing is written, nor audited
        book.record(decide(start.follow_up, Claim(follow_up=name, by="Li", at=NOW)))
    tried = Attempt(follow_up=name, by="Chen", at=later, channel="telephone", result=Result.NO_ANSWER)
    book.record(decide(taken[0].follow_up, tried))
    first, second, third = told(engine, f"follow-up:{name}")
    assert first[:4] == ("opened", None, NOW, None)
    assert first[4]["role"] == "nurse"
    assert second == ("claimed", "Chen", NOW, {"assigned_to": None}, {"assigned_to": "Chen"})
    assert third[:3] == ("attempted", "Chen", later)
    assert (third[3]["attempts"], third[4]["attempts"]) == (0, 1)


def test_staff_shifts_absences_and_contacts(engine: Engine) -> None:
    team = TeamBook(engine)
    team.put(LI, now=NOW, by="Wu")
    team.put(replace(LI, active=False), now=NOW, by="Wu")
    team.put(replace(LI, active=False), now=NOW, by="Wu")  # changes nothing
    assert [(e[0], e[1], e[3]) for e in told(engine, "staff:li")] == [
        ("added", "Wu", None), ("changed", "Wu", {"active": True}),
    ]  # fmt: skip
    assert told(engine, "contacts:staff:li") == [
        ("added", "Wu", NOW, None, {"contacts": [["sms", "+1"]], "quiet": None})
    ]
    quiet = QuietHours(start=time(22), end=time(7))
    team.put_contacts("patient:anna", [Contact(channel="sms", address="+2")], quiet, now=NOW)
    team.put_contacts("patient:anna", [], quiet, now=NOW, by="Wu")
    assert told(engine, "contacts:patient:anna")[1] == (
        "changed", "Wu", NOW, {"contacts": [["sms", "+2"]]}, {"contacts": []},
    )  # fmt: skip
    shift = team.add_shift(
        Shift(
            role=Role.DOCTOR, practitioner="li", weekdays=EVERY_DAY, start=time(8), end=time(20), zone="UTC",
            first=date(2026, 3, 1),
        ),
        now=NOW,
        by="Wu",
    )  # fmt: skip
    team.end_shift(shift.id, date(2026, 3, 9), now=NOW, by="Wu")
    added, ended = told(engine, f"shift:{shift.id}")
    assert (added[0], added[4]["first"]) == ("added", "2026-03-01")
    assert ended == ("changed", "Wu", NOW, {"last": None}, {"last": "2026-03-09"})
    away = team.add_absence(Absence(practitioner="li", start=NOW, end=NOW + timedelta(days=9)), now=NOW, by="Wu")
    team.end_absence(away.id, NOW + timedelta(days=1), now=NOW, by="Wu")
    team.end_absence(away.id + 1, NOW, now=NOW, by="Wu")  # there is none
    assert [e[0] for e in told(engine, f"absence:{away.id}")] == ["added", "changed"]
    assert told(engine, f"absence:{away.id + 1}") == []


async def test_the_audit_is_read_by_the_api_page_by_page(tmp_path: Path) -> None:
    house = SmallHouse(tmp_path)
    furnish(house)
    alert = house.find(very_low()).id
    async with browser(house) as web:
        await web.post(f"/api/v1/alerts/{alert}/acknowledge", json={"by": "Dr Li"})
        everything = (await web.get("/api/v1/audit")).json()
        page = (await web.get("/api/v1/audit?limit=2")).json()
        next_one = (await web.get(f"/api/v1/audit?limit=2&before={page[-1]['seq']}")).json()
        of_alert = (await web.get(f"/api/v1/audit?subject=alert:{alert}")).json()
        assert (await web.get("/api/v1/audit?before=0")).status_code == 422
    house.close()
    assert [*page, *next_one] == everything[:4]
    assert [each["seq"] for each in everything] == sorted((each["seq"] for each in everything), reverse=True)
    assert [(each["what"], each["who"]) for each in of_alert] == [("acknowledged", "Dr Li"), ("opened", None)]
    assert of_alert[0]["at"].endswith("+08:00")
    assert of_alert[0]["after"]["acknowledged_by"] == "Dr Li"

"""What a person is told whose act cannot be written down: soon, in a sentence, and the truth."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from alerts.alert import Alert
from alerts.database import connect, hurried
from alerts.machine import hear
from gateway.house import House
from gateway.people import DeviceKind
from ingest.journal import Arrival
from ingest.reading import DecodeError, Packet
from tests.full_disk import FullDisk
from tests.gateway.small_house import very_low
from tests.gateway.test_health import MANY, publishing
from tests.real_house import PATIENCE, HandClock, enrol, real_house, until


@asynccontextmanager
async def browser(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=house.address, trust_env=False, timeout=PATIENCE) as web:
        yield web


async def an_alert(house: House) -> Alert:
    await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
    heard = hear(None, very_low(house.people.patients()[0]), house.now())
    house.book.record(heard.changes, heard.notices)
    return heard.changes[-1].alert


async def test_on_a_full_disk_nothing_hangs_and_nothing_is_done_later(
    full_disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    async with real_house(full_disk.path, clock) as house, browser(house) as web:
        alert = await an_alert(house)
        full_disk.fill()
        patient = {"name": "Bo", "zone": "UTC"}
        for number in range(1000):  # what the write-ahead log has room for
            answer = await web.post("/api/v1/patients", json={**patient, "id": f"p-{number}"})
            if answer.status_code != 201:
                break
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].startswith(
            "this could not be written down: database or disk is full; make room"
        )
        assert house.people.patient(f"p-{number}") is None
        page = await web.post("/patients", data={**patient, "id": "p-1000"})
        assert page.status_code == 503
        assert "make room on the disk" in page.text
        assert 'name="id" value="p-1000"' in page.text  # the form is as it was left
        logged = [  # the rounds, which see the new patient meanwhile, may say it too
            record
            for record in caplog.records
            if "database or disk is full" in record.getMessage() and record.name == "gateway.web"
        ]
        assert [(record.getMessage().split(":")[0], record.exc_info) for record in logged] == [
            ("POST /api/v1/patients", None),
            ("POST /patients", None),
        ]
        for act, body in (("acknowledge", {}), ("close", {"outcome": "no-action", "reason": "other", "note": "ate"})):
            answer = await web.post(f"/api/v1/alerts/{alert.id}/{act}", json={"by": "Wu", **body})
            assert (answer.status_code, "not be written down" in answer.json()["detail"]) == (503, True)
        full_disk.clear()
        await house.tick()
        assert house.book.alert(alert.id) == alert
        answer = await web.post(f"/api/v1/alerts/{alert.id}/acknowledge", json={"by": "Wu"})
        assert (answer.status_code, answer.json()["acknowledged_by"]) == (200, "Wu")


async def test_an_act_behind_what_waits_for_the_disk_is_told_and_not_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house, browser(house) as web:
        alert = await an_alert(house)
        monkeypatch.setattr("gateway.house.ANSWER_S", 0.05)
        pages = house.journal._db.execute("PRAGMA page_count").fetchone()[0]
        house.journal._db.execute(f"PRAGMA max_page_count={pages}")
        async with publishing(house, MANY) as sending:
            await until(lambda: house.path.patience.trouble is not None)
            answer = await web.post(f"/api/v1/alerts/{alert.id}/acknowledge", json={"by": "Wu"})
            assert answer.status_code == 503
            assert "database or disk is full" in answer.json()["detail"]
            assert answer.json()["detail"].endswith("it was not done: do it again later")
            for act in ("unpair", "retire"):
                answer = await web.post(f"/api/v1/devices/cgm-1/{act}")
                assert (answer.status_code, "this was not done" in answer.json()["detail"]) == (503, True)
            house.journal._db.execute("PRAGMA max_page_count=1000000")
            while not sending.done():
                clock.advance(timedelta(seconds=1))
                await asyncio.to_thread(lambda: None)
        await house.tick()  # behind it, if it were still there
        found = house.book.alert(alert.id)
        assert found is not None
        assert found.acknowledged_at is None
        assert house.people.wearings("cgm-1")[0].until is None


async def test_an_act_that_has_begun_may_still_be_done_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_house(tmp_path, HandClock()) as house, browser(house) as web:
        alert = await an_alert(house)
        await house.tick()
        monkeypatch.setattr("gateway.house.ANSWER_S", 0.2)
        with closing(sqlite3.connect(tmp_path / "data" / "hub.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = await web.post(f"/api/v1/alerts/{alert.id}/acknowledge", json={"by": "Wu"})
            assert answer.status_code == 503
            assert "it may still be done: look before you do it again" in answer.json()["detail"]
            other.execute("ROLLBACK")
        await house.tick()  # behind it
        found = house.book.alert(alert.id)
        assert found is not None
        assert found.acknowledged_by == "Wu"


@pytest.mark.parametrize(
    "call", [("patients", {"id": "bo", "name": "Bo", "zone": "UTC"}), ("devices/cgm-1/unpair", None)]
)
async def test_nobody_waits_half_a_minute_for_a_register_that_another_program_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, dict[str, str] | None]
) -> None:
    monkeypatch.setattr("alerts.database._HURRIED_MS", 50)
    path, body = call
    async with real_house(tmp_path, HandClock()) as house, browser(house) as web:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await house.tick()
        with closing(sqlite3.connect(tmp_path / "data" / "hub.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(5):
                answer = await web.post(f"/api/v1/{path}", json=body)
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith("this could not be written down: database is locked")
            other.execute("ROLLBACK")
        assert (await web.post(f"/api/v1/{path}", json=body)).status_code < 300


def test_what_nobody_waits_for_goes_on_waiting_half_a_minute(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hub.db'}")

    def waits() -> int:
        with engine.connect() as db:
            return int(db.exec_driver_sql("PRAGMA busy_timeout").scalar_one())

    assert waits() == 30_000
    with hurried():
        assert waits() == 4_000
    assert waits() == 30_000


async def test_what_cannot_be_begun_soon_is_not_done_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with real_house(tmp_path, HandClock()) as house, browser(house) as web:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        monkeypatch.setattr("gateway.house.ANSWER_S", 0.05)
        free = asyncio.Event()
        before = asyncio.create_task(house.path.errand(free.wait))
        answer = await web.post("/api/v1/devices/cgm-1/unpair")
        assert (answer.status_code, "this was not done" in answer.json()["detail"]) == (503, True)
        free.set()
        await before
        await house.tick()  # behind it, if it were still there
        assert house.people.wearings("cgm-1")[0].until is None


async def test_a_letter_is_tried_once_for_a_person_who_is_told(tmp_path: Path) -> None:
    async with real_house(tmp_path, HandClock()) as house, browser(house) as web:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        fields = {"kind": "cgm_glucose", "value": 100, "unit": "mg/dL", "context": {"n": "x" * 60}}
        readings = [{**fields, "sequence": number} for number in range(MANY // 2)]
        data = json.dumps({"version": 1, "device": "cgm-1", "readings": readings}).encode()
        packet = Packet(link="listener", sender="cgm-1", channel="json", data=data, received_at=house.now())
        refused = (DecodeError("invalid", "by an older Homeward"),) * len(readings)
        house.journal.append([Arrival(packet=packet, outcomes=refused)])
        pages = house.journal._db.execute("PRAGMA page_count").fetchone()[0]
        house.journal._db.execute(f"PRAGMA max_page_count={pages}")
        answer = await web.post("/api/v1/letters/1/retry")
        assert (answer.status_code, "not be written down" in answer.json()["detail"]) == (503, True)
        house.journal._db.execute("PRAGMA max_page_count=1000000")
        assert (await web.post("/api/v1/letters/1/retry")).json()["state"] == "admitted"

"""An alert's card while values, episodes and answers go on: on the page in both languages, and in the API."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from alerts.alert import Act, ActKind, Audience, Priority, Text
from alerts.follow_up import Attempt, Result
from ingest.journal import Arrival
from ingest.reading import Flag, Packet, Reading
from ingest.rows import Row, from_row
from ingest.vital import Vital
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, over, reading, severe_pressure, very_low


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    house = SmallHouse(tmp_path)
    for patient in (WANG, MILLER):
        house.people.add_patient(patient, now=NOW)
    yield house
    house.close()


def keep(house: SmallHouse, *readings: Reading) -> None:
    packet = Packet(link="listener", sender="cgm-1", channel="json", data=b"", received_at=NOW)
    house.journal.append([Arrival(packet=packet, outcomes=readings)])


def cgm(minutes_ago: float, mmol_l: float | None) -> Reading:
    flags = frozenset({Flag.BELOW_RANGE} if mmol_l is None else ())
    return replace(reading(Vital.CGM, NOW - timedelta(minutes=minutes_ago), mmol_l), flags=flags)


async def words_of(web: httpx.AsyncClient, path: str, language: str) -> str:
    page = (await web.get(path, headers={"Accept-Language": language})).text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


OVERDUE_AND_NOBODYS = {
    "en": "Follow-up Nobody has it; for: coordinator , 3 tries so far, "
    "overdue since 3 Mar 2026, 14:45 UTC+8 (45 min)",
    "zh": "随访 尚无人负责；岗位：协调员 , 已联系 3 次, 自 2026年3月3日 14:45 UTC+8 起逾期（已 45 分钟）",
}


async def test_a_card_says_who_has_its_follow_up_that_nobody_has_and_since_when_it_is_overdue(house, web) -> None:
    alert = house.find(very_low())
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=NOW))
    assert "Follow-up In follow-up by Dr Li , next try by 3 Mar 2026, 15:00 UTC+8" in await words_of(web, "/", "en")
    (listed,) = (await web.get("/api/v1/alerts")).json()
    follow_up = house.follow_ups.of_alert(alert.id)
    care = {
        "follow_up": follow_up.id,
        "role": "nurse",
        "assigned_to": "Dr Li",
        "attempts": 0,
        "due_at": "2026-03-03T15:00:00+08:00",
        "overdue_since": None,
        "closed_at": None,
    }
    assert listed["care"] == care
    tried = Attempt(follow_up=follow_up.id, by="Dr Li", at=NOW, channel="telephone", result=Result.NO_ANSWER)
    for _ in range(3):
        await house.care(tried)
    house.time += timedelta(hours=1)
    for path in ("/", f"/alerts/{alert.id}", f"/patients/{WANG.id}"):
        for language, says in OVERDUE_AND_NOBODYS.items():
            assert says in await words_of(web, path, language)
    (listed,) = (await web.get("/api/v1/alerts")).json()
    due = {"due_at": "2026-03-03T14:45:00+08:00", "overdue_since": "2026-03-03T14:45:00+08:00"}
    assert listed["care"] == {**care, **due, "role": "coordinator", "assigned_to": None, "attempts": 3}


async def test_the_follow_ups_of_all_cards_are_read_in_one_statement(house, web) -> None:
    asked: list[str] = []
    event.listen(house.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    for patient in (WANG, MILLER):
        alert = house.find(very_low(patient))
        await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=NOW))
        for path in ("/", "/api/v1/alerts"):
            asked.clear()
            assert (await web.get(path)).status_code == 200
            assert ["FROM follow_ups" in said for said in asked].count(True) == 1


async def test_after_somebody_has_seen_it_a_card_goes_on_to_show_the_newest_and_the_worst_value(house, web) -> None:
    alert = house.find(very_low(minutes_ago=20), 5)
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=NOW))
    keep(house, cgm(30, 2.0), cgm(20, 2.8), cgm(15, 2.6), cgm(10, None), cgm(5, 2.4))
    for path in ("/", f"/alerts/{alert.id}", f"/patients/{WANG.id}"):
        assert "Newest value Glucose, sensor 2.4 mmol/L , 3 Mar 2026, 14:25 UTC+8" in await words_of(web, path, "en")
        told = await words_of(web, path, "zh")
        assert "最低值 血糖（传感器） LO" in told
        assert "最新数值 血糖（传感器） 2.4 mmol/L" in told
    shown = (await web.get(f"/api/v1/alerts/{alert.id}")).json()["alert"]
    assert (shown["newest"]["taken_at"], shown["newest"]["values"][0]["unit"]) == (
        "2026-03-03T14:25:00+08:00",
        "mg/dL",
    )
    assert (shown["worst"]["taken_at"], shown["worst"]["flags"]) == ("2026-03-03T14:20:00+08:00", ["below-range"])
    keep(house, cgm(0, 2.3))
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert shown["newest"]["sent"][0] == {"name": "glucose", "value": 2.3, "unit": "mmol/L"}


async def test_a_worst_value_that_the_device_doubts_is_shown_as_doubted_beside_the_worst_that_it_does_not(
    house, web
) -> None:
    house.find(very_low(minutes_ago=20), 5)
    doubted = replace(cgm(12, 2.0), flags=frozenset({Flag.SENSOR_MALFUNCTION}))
    keep(house, doubted)
    assert "Lower, but doubted by the device Glucose, sensor 2.0 mmol/L (sensor malfunction)" in (
        await words_of(web, "/", "en")
    )
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert shown["worst"] is None
    keep(house, cgm(20, 2.8), cgm(15, 2.6))
    told = await words_of(web, "/", "zh")
    assert "最低值 血糖（传感器） 2.6 mmol/L" in told
    assert "更低值（设备提示不可靠） 血糖（传感器） 2.0 mmol/L" in told
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert (shown["worst"]["sent"][0]["value"], shown["doubted"]["sent"][0]["value"]) == (2.6, 2.0)
    keep(house, cgm(10, 1.9))
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert (shown["worst"]["sent"][0]["value"], shown["doubted"]) == (1.9, None)


def of_four_weeks() -> list[Reading]:
    """A sensor's, every 5 minutes, LO at the first and at the last, and in between once HI."""
    minutes = range(28 * 24 * 60, 0, -5)
    found = [cgm(at, 5 + number % 7 / 10) for number, at in enumerate(minutes)]
    found[0], found[-1] = cgm(minutes[0], None), cgm(minutes[-1], None)
    return found


async def test_of_an_alert_of_four_weeks_only_what_is_shown_is_read_whole(
    house, web, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = of_four_weeks()
    keep(house, *readings)
    house.find(very_low(minutes_ago=28 * 24 * 60), 5)
    made: list[datetime] = []

    def counted(row: Row) -> Reading:
        made.append(NOW)
        return from_row(row)

    monkeypatch.setattr("ingest.journal.from_row", counted)
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert (shown["worst"]["taken_at"], shown["worst"]["flags"]) == ("2026-03-03T14:25:00+08:00", ["below-range"])
    assert len(made) < 5


async def test_the_worst_pressure_of_a_severe_one_is_the_highest(house, web) -> None:
    at = NOW - timedelta(minutes=45)
    pressures = [(206.0, 126.0), (218.0, 134.0), (218.0, 121.0), (190.0, 118.0)]
    keep(
        house,
        *(
            replace(
                reading(Vital.BLOOD_PRESSURE, at + timedelta(minutes=5 * n), *each, None, None), patient=MILLER.id
            )
            for n, each in enumerate(pressures)
        ),
    )
    house.find(severe_pressure())
    told = await words_of(web, "/", "en")
    assert "Newest value Blood pressure 190/118 mmHg" in told
    assert "Highest value Blood pressure 218/134 mmHg" in told


async def test_the_card_of_a_ketone_shows_a_glucose_that_was_measured_later(house, web) -> None:
    house.find(very_low(minutes_ago=60, rule="ketone", problem="ketone"))
    assert "Newest glucose" not in await words_of(web, "/", "en")
    keep(house, cgm(200, 7.0))  # too long before it to say anything about it
    assert "Newest glucose" not in await words_of(web, "/", "en")
    keep(house, cgm(150, 9.0))
    assert "Newest glucose Glucose, sensor 9.0 mmol/L" in await words_of(web, "/", "en")
    keep(house, reading(Vital.GLUCOSE, NOW - timedelta(minutes=10), 0.0261))
    assert "Newest glucose Glucose, meter 26.1 mmol/L , 3 Mar 2026, 14:20 UTC+8" in await words_of(web, "/", "en")
    assert "最新血糖 血糖（血糖仪） 26.1 mmol/L" in await words_of(web, "/", "zh")
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert (shown["newest"], shown["glucose"]["taken_at"]) == (None, "2026-03-03T14:20:00+08:00")


async def test_an_alert_that_came_again_unanswered_keeps_since_when_it_waits_and_its_episodes(house, web) -> None:
    alert = house.find(very_low(minutes_ago=900, because=Text(en="First.", zh="第一次。")), 890)
    house.find(over(very_low(minutes_ago=800)), 800)
    house.find(very_low(minutes_ago=20, because=Text(en="Second.", zh="第二次。")), 10)
    told = await words_of(web, "/", "en")
    assert told.index("Second.") < told.index("First.")
    assert "Waits for an answer since 2 Mar 2026, 23:40 UTC+8 (14 h 50 min)" in told
    assert "2 episodes before this one 2 Mar 2026, 23:40 UTC+8 First." in told
    assert "等待处理自 2026年3月2日 23:40" in await words_of(web, "/", "zh")
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert (shown["id"], shown["waiting_since"]) == (alert.id, "2026-03-02T23:40:00+08:00")
    assert [each["because"]["en"] for each in shown["episodes"]] == ["Second.", "First."]
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=NOW))
    assert (await web.get("/api/v1/alerts")).json()[0]["waiting_since"] is None


async def test_an_episode_of_which_only_the_patient_was_told_stands_first_on_the_card(house, web) -> None:
    house.find(very_low(minutes_ago=200, because=Text(en="First.", zh="第一次。")), 190)
    house.find(over(very_low(minutes_ago=100)), 100)
    again = very_low(minutes_ago=20, because=Text(en="Sugar, please.", zh="请吃糖。"), priority=Priority.MEDIUM)
    house.find(replace(again, audience=Audience.PATIENT), 10)
    assert '<p class="because">The patient alone was told: Sugar, please.</p>' in (await web.get("/")).text
    assert "before this one 3 Mar 2026, 11:20 UTC+8 First." in await words_of(web, "/", "en")


async def test_an_emergency_after_the_acknowledgement_waits_from_then_on(house, web) -> None:
    alert = house.find(very_low(minutes_ago=200), 190)
    seen = NOW - timedelta(minutes=150)
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=seen))
    house.find(very_low(minutes_ago=200, emergency_at=NOW - timedelta(minutes=30)), 30)
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert shown["waiting_since"] == "2026-03-03T14:00:00+08:00"


async def test_what_became_worse_after_somebody_had_seen_it_waits_since_then(house, web) -> None:
    alert = house.find(very_low(rule="low-event-1", priority=Priority.MEDIUM), 20)
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=NOW - timedelta(minutes=15)))
    house.find(very_low(), 10)
    (shown,) = (await web.get("/api/v1/alerts")).json()
    assert (shown["acknowledged_by"], shown["waiting_since"]) == (None, "2026-03-03T14:20:00+08:00")

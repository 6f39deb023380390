"""The days with readings and a word of encouragement, where the patient reads and on the page of the staff."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from alerts.alert import Audience, Priority
from gateway.adherence import goals_of
from gateway.people import MeasuringPlan
from ingest.vital import Vital
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, furnish, very_low
from tests.gateway.test_message_page import SENT, read, told
from tests.gateway.test_survey_page import asked, reached

WELL_DONE = "最近 7 天您测了 3 天，已达到目标，做得非常好！"
GOAL = "指尖血糖，您的目标：7 天中测 3 天"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    """王芳 has measured with the meter on 3 days, and is to on 3 of 7."""
    house = SmallHouse(tmp_path)
    furnish(house)
    agree(house, Vital.GLUCOSE, 3)
    yield house
    house.close()


def agree(house: SmallHouse, vital: Vital, days: int) -> None:
    first = date(2026, 2, 1)
    plan = MeasuringPlan(vital=vital, times=1, days=days, first=first, last=None, author="Li", entered_at=NOW)
    house.people.set_plan(WANG.id, vital, plan, now=NOW)


async def test_each_vital_that_is_agreed_has_its_goal_and_who_measures_without_a_plan_none(house: SmallHouse) -> None:
    agree(house, Vital.BLOOD_PRESSURE, 7)
    pressure, glucose = sorted(await goals_of(house, WANG), key=lambda each: -(each.goal or 0))
    assert (pressure.days, pressure.goal, pressure.said.en) == (
        7,
        7,
        "You have measured on all of the last 7 days. Very well done!",
    )
    assert (glucose.days, glucose.goal, glucose.said.zh) == (3, 3, WELL_DONE)
    assert await goals_of(house, MILLER) == [], "nothing was agreed and nothing measured"
    for plan in house.people.plans([WANG.id])[WANG.id]:
        house.people.end_plan(WANG.id, plan.number, by="Li", now=NOW)
    (all_of_it,) = await goals_of(house, WANG)
    assert (all_of_it.vital, all_of_it.goal, all_of_it.days) == (None, None, 7)
    house.time += timedelta(days=30)
    assert await goals_of(house, WANG) == []


async def test_the_patient_reads_it_when_the_survey_is_answered(house: SmallHouse, web: httpx.AsyncClient) -> None:
    await reached(house, house.find(very_low()))
    (message,) = (await asked(house, WANG.id)).heard
    path = message.link.removeprefix(SENT)
    assert WELL_DONE not in read(await web.get(path))
    thanks = read(await web.post(path, data={"score": "5"}))
    assert thanks[thanks.index(GOAL) + 1] == WELL_DONE


@pytest.mark.parametrize("priority", [Priority.MEDIUM, Priority.HIGH])
async def test_the_page_of_a_message_has_it_unless_something_is_to_be_done_now(
    house: SmallHouse, web: httpx.AsyncClient, priority: Priority
) -> None:
    alone = very_low(audience=Audience.PATIENT, priority=priority)
    message = await told(house, WANG, alone=alone)
    page = read(await web.get(message.link.removeprefix(SENT)))
    assert (WELL_DONE in page) is (GOAL in page) is (priority is Priority.MEDIUM)


async def test_staff_see_what_the_patient_reads(house: SmallHouse, web: httpx.AsyncClient) -> None:
    said = " ".join(read(await web.get(f"/patients/{WANG.id}")))
    assert "Meter glucose: readings on 3 of the last 7 days (goal: 3 of 7)" in said
    assert "You have measured on 3 of the last 7 days: you have reached your goal." in said

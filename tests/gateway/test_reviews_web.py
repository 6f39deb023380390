"""The weekly list, the risk of the patients and the worklist's order, on the page and in the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from jsonschema import Draft202012Validator

from alerts.alert import Priority
from gateway.guard import WebSettings
from gateway.web import create_app
from tests.alerts.test_review import MONDAY, START, judged, week
from tests.alerts.test_risk import CALM
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, furnish, no_data, very_low

WEEK = timedelta(days=7)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    """Wang's week was poor, Miller's was well."""
    house = SmallHouse(tmp_path)
    furnish(house)
    poor = judged(week((672, 5.0), start=START - WEEK) | week((60, 3.5), (612, 12.0)), mmol=True)
    house.reviews.write(
        replace(CALM, patient=WANG.id, week=poor.week, before=poor.before), replace(poor, patient=WANG.id)
    )
    house.reviews.write(replace(CALM, patient=MILLER.id), replace(judged(week((672, 100.0))), patient=MILLER.id))
    yield house
    house.close()


def browser(house: SmallHouse, **headers: str) -> httpx.AsyncClient:
    app = create_app(house, WebSettings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080", headers=headers)


async def test_the_weekly_list_has_who_had_a_pattern_with_numbers_limits_and_sources(house) -> None:
    async with browser(house) as web:
        page = (await web.get("/weekly")).text
        assert re.findall(r'<article class="card low" id="(.*?)"', page) == [WANG.id]
        assert "Time in range below target · Too much time below range" in page
        assert "Time in range (3.9-10.0 mmol/L) was 0.0 % in the week from 2026-03-02 to 2026-03-08" in page
        assert "Battelino 2019" in page
        assert "2026-W10" in page
        assert 'href="/patients/p-017#risk"' in page
        empty = (await web.get("/weekly?week=2026-02-25")).text
        assert "No patterns here." in empty
    async with browser(house, **{"Accept-Language": "zh-CN"}) as web:
        page = (await web.get("/weekly")).text
        assert "一周内目标范围内时间（3.9-10.0 mmol/L）为 0.0%" in page
        assert "目标范围内时间未达标" in page


async def test_the_weekly_list_of_the_api_holds_the_same(house) -> None:
    async with browser(house) as web:
        (found,) = (await web.get("/api/v1/weekly")).json()
        assert (found["patient"], found["week"], found["monday"]) == (WANG.id, "2026-W10", "2026-03-02")
        assert found["made_at"].endswith("+08:00")
        assert found["figures"]["tbr_pct"] == 8.9
        assert found["before"]["tir_pct"] == 100.0
        raised = [finding["rule"] for finding in found["findings"] if finding["verdict"] == "raise"]
        assert raised == ["week-tir", "week-tbr", "week-tar", "week-tir-falling"]
        # Any day of the week names it.
        assert (await web.get("/api/v1/weekly?week=2026-03-08")).json() == [found]
        assert (await web.get("/api/v1/weekly?week=2026-03-09")).json() == []
        for wrong in ("0001-01-01", "9999-12-31", "next"):
            answer = await web.get("/api/v1/weekly", params={"week": wrong})
            assert answer.status_code == 422
            assert answer.json()["detail"]
        reviews = (await web.get(f"/api/v1/patients/{MILLER.id}/reviews")).json()
        assert [finding["verdict"] for finding in reviews[0]["findings"]].count("raise") == 0
        assert (await web.get("/api/v1/patients/p-999/reviews")).status_code == 404


async def test_a_line_of_the_weekly_list_is_ticked_off_once_by_a_named_person(house) -> None:
    line = f"/api/v1/patients/{WANG.id}/reviews/2026-03-02/week-tir/done"
    async with browser(house) as web:
        assert 'action="/weekly/p-017/2026-03-02/week-tbr/done"' in (await web.get("/weekly")).text
        assert (await web.post(line, json={"by": " "})).status_code == 422
        answer = await web.post(line, json={"by": "Dr Li"})
        ticked = {each["rule"]: (each["done_by"], each["done_at"]) for each in answer.json()["findings"]}
        assert ticked["week-tir"] == ("Dr Li", NOW.astimezone(ZoneInfo(WANG.zone)).isoformat())
        assert ticked["week-tbr"] == (None, None)
        again = await web.post(line, json={"by": "Nurse Wu"})
        assert again.status_code == 409
        assert again.json()["detail"].startswith(
            "Dr Li has dealt with Time in range below target of that week already, at "
        )
        for missing in (
            "p-017/reviews/2026-03-02/week-wear",
            "p-017/reviews/2026-03-09/week-tir",
            "x/reviews/2026-03-02/y",
        ):
            assert (await web.post(f"/api/v1/patients/{missing}/done", json={"by": "Dr Li"})).status_code in {
                404,
                422,
            }
        page = await web.post("/weekly/p-017/2026-03-02/week-tbr/done", data={"by": "Nurse Wu"})
        assert page.status_code == 303
        shown = (await web.get(page.headers["location"])).text
        assert "Dealt with by Dr Li" in shown
        assert "Dealt with by Nurse Wu" in shown
        assert '<input type="hidden" name="by" value="Nurse Wu">' in shown  # the name is remembered for the next line


async def test_patients_are_listed_by_risk_with_the_reasons(house) -> None:
    async with browser(house) as web:
        page = (await web.get("/patients")).text
        assert page.index("王芳") < page.index("Anna Miller")
        assert "Time in range fell from 100.0 % to 0.0 % within a week" in page
        risk = (await web.get("/api/v1/risk")).json()
        assert [place["patient"] for place in risk] == [WANG.id, MILLER.id]
        assert risk[0]["points"] == sum(reason["points"] for reason in risk[0]["reasons"]) > 0
        assert (risk[0]["standing_day"], risk[0]["week"]["tir_pct"]) == ("2026-03-09", 0.0)
        assert (risk[1]["points"], risk[1]["reasons"]) == (0, [])
        # An alert that nobody has answered outweighs all of it.
        house.find(very_low(MILLER))
        risk = (await web.get("/api/v1/risk?limit=1")).json()
        assert [place["patient"] for place in risk] == [MILLER.id]
        assert risk[0]["reasons"][0]["because"]["en"].startswith("High priority, nobody has answered: Glucose 2.8")
        page = (await web.get("/patients")).text
        assert page.index("Anna Miller") < page.index("王芳")


async def test_the_worklist_puts_the_patient_at_risk_first_among_alerts_of_one_priority(house) -> None:
    first = house.find(no_data(WANG), 60)
    second = house.find(no_data(MILLER), 10)
    third = house.find(replace(very_low(MILLER), priority=Priority.MEDIUM), 5)
    async with browser(house) as web:
        page = (await web.get("/")).text
        assert re.findall(r'id="(a-[0-9a-f]+)"', page) == [third.id, second.id, first.id]
        await web.post(f"/alerts/{third.id}/close", data={"by": "Dr Li", "outcome": "advice", "note": "ate"})
        page = (await web.get("/")).text
        assert re.findall(r'id="(a-[0-9a-f]+)"', page) == [first.id, second.id]
        points = {place["patient"]: place["points"] for place in (await web.get("/api/v1/risk")).json()}
        assert f"Risk {points[WANG.id]}<" in page


async def test_a_patients_page_says_why_and_shows_the_weeks(house) -> None:
    async with browser(house) as web:
        page = (await web.get(f"/patients/{WANG.id}")).text
        assert "2026-W10: 4 patterns" in page
        assert "Time in range fell from 100.0 % to 0.0 % within a week" in page
        page = (await web.get(f"/patients/{MILLER.id}")).text
        assert "2026-W10: nothing to report" in page
        assert "No reason to look at this patient before others." in page
    assert NOW.date() > date(2026, 3, 2) >= MONDAY


@pytest.mark.parametrize(
    ("language", "words"), [("en", "2026-W10: too little data"), ("zh-CN", "2026-W10: 数据不足")]
)
async def test_a_week_in_which_nothing_could_be_judged_is_not_called_well(house, language, words) -> None:
    few = judged(week((96, 100.0), start=START + timedelta(days=6)))
    assert few.findings
    assert not few.raised
    house.reviews.write(replace(CALM, patient="p-019"), replace(few, patient="p-019"))
    house.people.add_patient(replace(MILLER, id="p-019", pseudonym="few"), now=house.now())
    async with browser(house, **{"Accept-Language": language}) as web:
        page = (await web.get("/patients/p-019")).text
    assert words in page


async def test_the_examples_in_the_description_are_what_it_describes(house) -> None:
    async with browser(house) as web:
        schema = (await web.get("/api/v1/openapi.json")).json()
    for name in ("RiskOut", "ReviewOut", "FiguresOut"):
        described = schema["components"]["schemas"][name]
        checker = Draft202012Validator({**described, "components": schema["components"]})
        assert described["examples"]
        for example in described["examples"]:
            checker.validate(example)

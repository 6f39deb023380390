"""The API's description of itself. Its examples are calls that were made: they are made again, and compared.

    python -m tests.gateway.test_openapi

writes down anew what is answered to the calls of gateway/examples.json. Read the difference before it is committed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

import gateway
from alerts.alert import Audience, Finding, Priority, Text, Verdict
from gateway.guard import WebSettings
from gateway.openapi import calls
from gateway.web import create_app
from tests.alerts.test_care_plan import review
from tests.alerts.test_risk import CALM
from tests.gateway.small_house import NOW, WANG, SmallHouse, furnish, no_data, severe_pressure, very_low

TOKEN = "one-day-at-a-small-clinic"
NOT_AT_GOAL = Finding(
    patient=WANG.id,
    rule="bp-not-at-goal",
    problem="blood-pressure-not-at-goal",
    verdict=Verdict.RAISE,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    because=Text(
        en="Home mean 141/84 mmHg of 24 readings on 6 days, goal below 135/85 mmHg.",
        zh="家庭血压均值 141/84 mmHg（6 天 24 次测量），目标低于 135/85 mmHg。",
    ),
    since=NOW,
    known_at=NOW,
)


def opened(folder: Path) -> SmallHouse:
    """The clinic at the beginning of the day that the examples tell of."""
    house = SmallHouse(folder)
    furnish(house)
    for finding in (very_low(), severe_pressure(), no_data()):
        house.find(finding)
    found = review(NOW, NOT_AT_GOAL)
    house.reviews.write(replace(CALM, patient=WANG.id), replace(found, patient=WANG.id))
    return house


def browser(house: SmallHouse) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(house, WebSettings(token=TOKEN)))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8080")


async def made(web: httpx.AsyncClient, call: dict[str, Any]) -> httpx.Response:
    signed = {} if call["status"] == 401 else {"Authorization": f"Bearer {TOKEN}"}
    path = call["path"].format(**call.get("where", {}))
    return await web.request(call["method"], path, params=call.get("query"), json=call.get("body"), headers=signed)


def told(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    house = opened(tmp_path)
    yield house
    house.close()


async def test_every_example_is_what_the_api_answers(house: SmallHouse) -> None:
    async with browser(house) as web:
        for call in calls():
            answer = await made(web, call)
            told_of = f"{call['method']} {call['path']} (docstring of tests/gateway/test_openapi.py: how to renew it)"
            assert (answer.status_code, told(answer)) == (call["status"], call["answer"]), told_of


async def test_every_parameter_body_and_answer_has_an_example_that_fits(house: SmallHouse) -> None:
    async with browser(house) as web:
        schema = (await web.get("/api/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})).json()
    missing = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            for name, place in _places(operation):
                found = [place["example"]] if "example" in place else place["schema"].get("examples", [])
                shape = Draft202012Validator({**place["schema"], "components": schema["components"]})
                missing += [f"{method} {path}: {name}"] * (not found)
                for example in found:
                    shape.validate(example)
    assert missing == []


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_a_query_parameter_that_an_operation_does_not_describe_is_refused_with_those_it_does(
    house: SmallHouse, language: str
) -> None:
    async with browser(house) as web:
        web.headers.update({"Authorization": f"Bearer {TOKEN}", "Accept-Language": language})
        paths = (await web.get("/api/v1/openapi.json")).json()["paths"]
        for path, methods in paths.items():
            for method, operation in methods.items():
                described = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
                answer = await web.request(method, path, params={"pateint": "p-017"})
                assert answer.status_code == 422, (method, path)
                none = {
                    "en": "there is no query parameter pateint here, and no other",
                    "zh-CN": "此处没有查询参数 pateint，也没有其他查询参数",
                }[language]
                some = {
                    "en": f"there is no query parameter pateint here; there is {', '.join(described)}",
                    "zh-CN": f"此处没有查询参数 pateint；可用：{', '.join(described)}",
                }[language]
                assert answer.json()["detail"] == (some if described else none)
        assert (await web.get("/alerts?pateint=p-017")).status_code == 200, "a page takes what others add to its link"


async def test_what_is_refused_is_described_as_it_is_sent(house: SmallHouse) -> None:
    async with browser(house) as web:
        answer = await web.get("/api/v1/patients")
        assert answer.status_code == 401
        signed = {"Authorization": f"Bearer {TOKEN}"}
        schema = (await web.get("/api/v1/openapi.json", headers=signed)).json()
    responses = schema["paths"]["/api/v1/patients"]["get"]["responses"]
    assert list(responses["401"]["content"]) == [answer.headers["content-type"]]
    assert responses["401"]["content"][answer.headers["content-type"]]["example"] == answer.json()


def _places(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where the description of an operation has a schema."""
    for parameter in operation.get("parameters", []):
        yield parameter["name"], parameter
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield "body", content
    for status, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            if "schema" in content:
                yield status, content


async def _renew() -> None:
    given = calls()
    with TemporaryDirectory() as folder:
        house = opened(Path(folder))
        async with browser(house) as web:
            for call in given:
                answer = await made(web, call)
                call["status"], call["answer"] = answer.status_code, told(answer)
        house.close()
    path = Path(gateway.__file__).with_name("examples.json")
    path.write_text(json.dumps(given, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_renew())

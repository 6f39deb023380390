"""Whatever stands in a request, the answer is no fault of ours: nothing raises, and every refusal is a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import api, contact_api, follow_up_pages, pages, team_api, team_pages
from gateway.guard import WebSettings
from gateway.web import create_app
from tests.alerts.telling import LI
from tests.gateway.small_house import SmallHouse, furnish, very_low

ROUTES = {
    method: sorted(
        route.path
        for router in (
            api.router,
            pages.router,
            follow_up_pages.router,
            team_api.router,
            contact_api.router,
            team_pages.router,
        )
        for route in router.routes
        if isinstance(route, APIRoute) and method in route.methods
    )
    for method in ("GET", "POST", "PATCH")
}
SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
MOMENTS = st.sampled_from(
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+08:00",
        "0001-01-02T00:00:00Z",
        "1899-12-31T23:59:59Z",
        "1900-01-01T00:00:00Z",
        "2026-03-03T00:00:00Z",
        "2030-01-01T00:00:00Z",
        "2199-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "2026-02-30T00:00:00Z",
        "1e400",
        "-1e30",
        "99999999999999999999",
    ]
)
NUMBERS = st.sampled_from(
    ["0", "1", "-1", "1000", str(2**31), str(2**63 - 1), str(2**63), "9" * 23, "9" * 5000, "1e3"]
)
KNOWN = st.sampled_from(
    [
        "p-017",
        "p-018",
        "li",
        "nurse",
        "08:30",
        "app",
        "try",
        "cgm-1",
        "cuff-2",
        "C0:26:DA:00:12:34",
        "glucose",
        "cgm_glucose",
        "blood_pressure",
        "journal",
    ]
) | st.sampled_from(
    [
        "influxdb",
        "open",
        "closed",
        "all",
        "waiting",
        "discarded",
        "24h",
        "pressure",
        "en",
        "UTC",
        "/",
        "//evil.example",
    ]
)
# What cannot be part of a request line is not of interest: a client would not send it.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ODD = st.sampled_from(["", " ", "\0", "\x1b[2J", "..", "../../etc/passwd", "王芳", "'\"--", "x" * 5000, "%", "{}"])
VALUE = st.one_of(KNOWN, MOMENTS, NUMBERS, ODD, TEXT)
NAMES = ["vital", "start", "end", "limit", "source", "state", "patient", "before", "range", "next", "week"]
QUERY = st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=4)

LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    KNOWN,
    MOMENTS,
    ODD,
    st.sampled_from(["\ud800", "ble", "mqtt", "meter", "mmol/L", "mg/dL", "advice", "2030-01-01T00:00:00Z"]),
)
RULES = ["low-event-1", "no-data", "\ud800", "x"]
LIMIT = st.fixed_dictionaries({}, optional={"value": LEAF, "unit": LEAF, "\ud800": LEAF})
LIMITS = st.dictionaries(
    st.sampled_from(RULES),
    st.one_of(LEAF, st.dictionaries(st.sampled_from(["limit", "hold", "\ud800"]), st.one_of(LEAF, LIMIT))),
)
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
FIELDS = ["id", "name", "zone", "language", "glucose_unit", "kind", "link", "model", "by", "note", "outcome"]
FIELDS += ["staff", "role", "roles", "start", "end", "weekdays", "from", "to", "substitute", "active"]
FIELDS += ["contacts", "quiet", "channel", "address", "do", "patient", "since", "\ud800"]
BODY = st.one_of(
    JSON,
    st.fixed_dictionaries({}, optional={**dict.fromkeys(FIELDS, JSON), "limits": st.one_of(JSON, LIMITS)}),
    st.fixed_dictionaries({"limits": LIMITS}),
)


@dataclass(frozen=True, slots=True)
class Door:
    """A client of a furnished house; what the application raises is raised in the test."""

    client: httpx.AsyncClient
    alert: str

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = await self.client.request(method, path, **more)
        assert answer.status_code < 500 or answer.status_code == 503
        if answer.status_code >= 400 and answer.request.url.path.startswith("/api/"):
            assert answer.json()["detail"]
        return answer

    def path(self, data: st.DataObject, method: str) -> str:
        """One of the routes, with anything in its places."""
        path = data.draw(st.sampled_from(ROUTES[method]))
        return re.sub(r"\{.*?\}", lambda _: quote(data.draw(st.just(self.alert) | VALUE), safe=""), path)


JSON_TYPE = {"Content-Type": "application/json"}


@pytest.fixture(params=[None, "s3cret"], ids=["open", "token"])
async def door(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    house = SmallHouse(tmp_path)
    furnish(house)
    house.duty.team.put(LI, now=house.now())
    alert = house.find(very_low()).id
    house.bulletin.close()  # so that an event stream ends
    app = create_app(house, WebSettings(token=request.param))
    headers = {"Authorization": f"Bearer {request.param}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080", headers=headers) as client:
        yield Door(client, alert)
    house.close()


@SETTINGS
@given(data=st.data(), query=QUERY)
async def test_an_address_and_a_query(door: Door, data: st.DataObject, query: dict[str, str]) -> None:
    await door.send("GET", door.path(data, "GET"), params=query)


@SETTINGS
@given(data=st.data(), body=BODY, method=st.sampled_from(["POST", "POST", "PATCH"]))
async def test_a_body_of_json(door: Door, data: st.DataObject, body: Any, method: str) -> None:
    await door.send(method, door.path(data, method), content=json.dumps(body), headers=JSON_TYPE)


@SETTINGS
@given(data=st.data(), form=st.dictionaries(st.sampled_from([*FIELDS[:-1], "next", "token"]), VALUE))
async def test_a_form(door: Door, data: st.DataObject, form: dict[str, str]) -> None:
    await door.send("POST", door.path(data, "POST"), data=form)


@SETTINGS
@given(
    data=st.data(), body=st.binary() | st.sampled_from([b"[" * 60_000, b"9" * 5000, b'"\\ud800"', b"%ff=%00&id=%ff"])
)
async def test_octets(door: Door, data: st.DataObject, body: bytes) -> None:
    await door.send("POST", door.path(data, "POST"), content=body)


@pytest.mark.parametrize("depth", range(50, 1000, 50))
async def test_a_body_nested_deeply(door: Door, depth: int) -> None:
    body = '{"limits":{"low-event-1":{"limit":{"value":1,"unit":' + "[" * depth + "]" * depth + "}}}}"
    answer = await door.send("PATCH", "/api/v1/patients/p-017", content=body, headers=JSON_TYPE)
    assert answer.status_code in {400, 422}


HEADERS = [
    "Host",
    "Origin",
    "Referer",
    "Cookie",
    "Authorization",
    "Accept-Language",
    "Last-Event-ID",
    "Content-Length",
]
HEADERS += ["Content-Type", "Sec-Fetch-Site", "If-None-Match", "If-Modified-Since", "Range"]
VALUES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        (
            b"[ http://[ [::1 localhost:x localhost:99999999 localhost -1 \xb2 999999999999999999999999999999 "
            b"homeward_name=%ff%00 homeward_login=\xff homeward_language=x bytes=9-1,"
        ).split()
    ),
)


@SETTINGS
@given(data=st.data(), headers=st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=4))
async def test_headers(door: Door, data: st.DataObject, headers: dict[str, bytes]) -> None:
    method = data.draw(st.sampled_from(["GET", "POST"]))
    await door.send(method, door.path(data, method), headers=headers)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (f"/api/v1/letters?before={10**23}", "before: use 9223372036854775807 or less"),
        (f"/letters?before={10**23}", "What was sent along: use 9223372036854775807 or less"),
        ("/api/v1/letters?before=-1", "before: "),
        (
            "/api/v1/patients/p-017/series?vital=glucose&end=0001-01-01T00:00:00Z",
            "end: use a moment from the years 19",
        ),
        ("/api/v1/patients/p-017/series?vital=glucose&start=0001-01-01T00:00:00%2B08:00", "start: use a moment"),
        ("/api/v1/patients/p-017/readings?vital=glucose&end=9999-12-31T23:59:59-08:00", "end: use a moment"),
    ],
)
async def test_what_no_store_can_hold_is_refused_with_a_sentence(door: Door, path: str, says: str) -> None:
    answer = await door.send("GET", path)
    assert answer.status_code == 422
    assert says in answer.text


@pytest.mark.parametrize(
    "path", ["/static/%00", "/static/..%2f..%2fweb.py", "/static/" + "x" * 5000, "/%ff", "/patients/%00"]
)
async def test_a_path_that_is_nowhere_is_not_found(door: Door, path: str) -> None:
    assert (await door.send("GET", path)).status_code == 404

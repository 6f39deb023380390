from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter

import httpx
import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_file
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

import gateway
from alerts.alert import HOUSE, OUTCOME_WORDS, Alert, Audience, Outcome, Priority, Text
from alerts.book import Book, Try
from alerts.devices import LastHeard
from alerts.follow_up import What
from alerts.machine import FactKind, hear
from alerts.rules import DEFAULTS, PROBLEMS, RULES, parse_book
from gateway.care_words import DONE
from gateway.device_book import DeviceState
from gateway.forms import flaws_located, flaws_told
from gateway.guard import WebSettings
from gateway.language import choose, load_languages
from gateway.people import DeviceKind, DeviceLink, Patient
from gateway.web import create_app
from gateway.words import (
    BONDS,
    FACTS,
    FLAGS,
    KINDS,
    LINKS,
    PARAMETERS,
    REASONS,
    UNITS,
    VITALS,
    WHAT_HELPS,
    clock_word,
)
from ingest.journal import Arrival
from ingest.links import ble_faults
from ingest.links.ble import Bond
from ingest.links.ble_faults import BOND_LOST
from ingest.links.ble_session import DeviceFacts
from ingest.reading import DecodeError, Flag, Packet, Refusal, RefusalReason
from ingest.vital import Vital
from tests.alerts.telling import BAO
from tests.gateway.serving import serving
from tests.gateway.small_house import (
    MILLER,
    NOW,
    WANG,
    SmallHouse,
    furnish,
    no_data,
    over,
    reading,
    severe_pressure,
    very_low,
)

ROOT = Path(gateway.__file__).parent


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    house = SmallHouse(tmp_path)
    yield house
    house.close()


@pytest.fixture
def furnished(house: SmallHouse) -> SmallHouse:
    furnish(house)
    return house


def browser(house: SmallHouse, settings: WebSettings | None = None, **headers: str) -> httpx.AsyncClient:
    app = create_app(house, settings or WebSettings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080", headers=headers)


# The API


async def test_patients_and_devices_are_added_paired_changed_and_taken_back(house, web) -> None:
    made = await web.post("/api/v1/patients", json={"id": "p-1", "name": "Li Na", "zone": "Asia/Shanghai"})
    assert made.status_code == 201
    assert made.json()["glucose_unit"] == "mmol/L"
    assert "pseudonym" not in made.text
    assert (await web.post("/api/v1/devices", json={"id": "cgm-1", "kind": "cgm", "link": "mqtt"})).status_code == 201
    since = "2026-03-01T08:00:00+08:00"
    worn = (await web.post("/api/v1/devices/cgm-1/pair", json={"patient": "p-1", "since": since})).json()
    assert (worn["since"], worn["until"], worn["zone"]) == (since, None, "Asia/Shanghai")
    assert (await web.get("/api/v1/devices")).json()[0]["wearing"] == worn
    limit = {"value": 4.4, "unit": "mmol/L", "author": "Dr Li"}
    limits = {"low-event-1": {"limit": limit}}
    changed = await web.patch("/api/v1/patients/p-1", json={"name": "Li Nana", "limits": limits})
    assert changed.json()["limits"] == {"low-event-1": {"limit": [{**limit, "entered_at": "2026-03-03T06:30:00Z"}]}}
    found = (await web.get("/api/v1/patients/p-1")).json()
    assert (found["name"], found["zone"], found["wearings"]) == ("Li Nana", "Asia/Shanghai", [worn])
    ended = (await web.post("/api/v1/devices/cgm-1/unpair")).json()
    assert datetime.fromisoformat(ended["until"]) == NOW
    assert (await web.get("/api/v1/devices")).json()[0]["wearing"] is None
    retired = (await web.post("/api/v1/devices/cgm-1/retire")).json()
    assert retired["retired_at"] == "2026-03-03T06:30:00Z"
    (listed,) = (await web.get("/api/v1/devices")).json()
    assert {**listed, "health": None} == retired
    await web.post("/api/v1/devices/cgm-1/pair", json={"patient": "p-1"})
    assert (await web.get("/api/v1/devices")).json()[0]["retired_at"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/patients/p-9", None, 404, "no patient has the id p-9"),
        ("GET", "/patients/p-9/readings?vital=glucose", None, 404, "p-9"),
        ("GET", "/patients/p-017/readings?vital=height", None, 422, "vital: "),
        (
            "GET",
            "/patients/p-017/readings?vital=glucose&start=2026-03-01T08:00:00",
            None,
            422,
            "start: write a moment with its offset",
        ),
        ("GET", "/patients/p-017/readings?vital=glucose&start=2027-01-01T00:00:00Z", None, 422, "is not before end"),
        ("GET", "/patients/p-017/readings?vital=glucose&limit=0", None, 422, "limit: "),
        ("GET", "/patients/p-017/series?vital=glucose&source=influxdb", None, 503, "InfluxDB is not configured"),
        ("POST", "/patients", {"id": "p-017", "name": "x", "zone": "UTC"}, 409, "p-017 exists already"),
        ("POST", "/patients", {"id": "p-1", "name": "x", "zone": "Mars/Base"}, 422, "zone: no time zone is called"),
        ("POST", "/patients", {"id": "p-1", "name": " ", "zone": "UTC"}, 422, "name: "),
        ("POST", "/patients", {"id": "../x", "name": "x", "zone": "UTC"}, 422, "id: "),
        ("POST", "/patients", {"id": "p-1", "name": "x", "zone": "UTC", "nmae": "y"}, 422, "nmae: "),
        ("PATCH", "/patients/p-017", {"limits": {"low-event-1": {"limit": 4}}}, 422, "a number without a unit"),
        ("POST", "/devices/cgm-1/pair", {"patient": "p-018"}, 409, "wears device cgm-1"),
        ("POST", "/devices/cuff-2/pair", {"patient": "p-018", "since": "2026-03-03T06:30:01Z"}, 422, "in the future"),
        ("POST", "/devices", {"id": "cuff-3", "kind": "cuff", "link": "ble"}, 422, "CUFF-3 is no Bluetooth address"),
        ("POST", "/devices", {"id": "C0:26:DA:00:12", "kind": "cuff", "link": "ble"}, 422, "is no Bluetooth address"),
        ("POST", "/devices/cgm-7/pair", {"patient": "p-018"}, 404, "no device has the id cgm-7"),
        ("POST", "/devices/cuff-2/unpair", None, 404, "nobody wears device cuff-2"),
        ("POST", "/devices/cgm-7/retire", None, 404, "no device has the id cgm-7"),
        ("GET", "/alerts/a-9", None, 404, "no alert has the id a-9"),
        ("GET", "/alerts?before=a-9", None, 404, "no alert has the id a-9"),
        ("POST", "/alerts/a-9/acknowledge", {"by": "Dr Li"}, 404, "no alert has the id a-9"),
        ("POST", "/alerts/a-9/acknowledge", {"note": "x"}, 422, "by: this is needed"),
        ("POST", "/alerts/a-9/close", {"by": "Dr Li", "outcome": "advice"}, 422, "note: this is needed"),
        ("GET", "/letters?reason=foo", None, 422, "reason: no letter has the reason 'foo'; the reasons are unass"),
        ("GET", "/nothing", None, 404, "Not Found"),
    ],
)
async def test_errors_are_problem_details_with_a_sentence(furnished, method, path, body, status, says) -> None:
    async with browser(furnished) as web:
        answer = await web.request(method, f"/api/v1{path}", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "en", "zh"),
    [
        ("POST", "/patients", {"id": "../x", "name": "x", "zone": "UTC"},
         "id: use letters, digits and _ . : - only, at most 64 of them",
         "id：只能用字母、数字和 _ . : -，最多 64 个"),
        ("POST", "/patients", {"id": "p-1", "zone": "UTC", "nmae": 1},
         "name: this is needed; nmae: nothing is called so here; leave it out, or see how it is spelt",
         "name：必填；nmae：没有此字段；请去掉，或检查拼写"),
        ("POST", "/alerts/a-9/close", {"by": "Dr Li"},
         ("outcome: this is needed: one of advice, medication-changed, appointment, emergency, no-action; about "
          "Homeward itself one of mended, false-alarm, no-action; "
          "note: this is needed: what was done, or why nothing was"),
         ("outcome：必填，可选：已给予建议（advice）、已调整用药（medication-changed）、已预约就诊（appointment）、"
         "已呼叫急救（emergency）、无需处理（no-action）；涉及本系统自身时可选："
          "已修复（mended）、误报（false-alarm）、无需处理（no-action）；note：必填：做了什么，或为何无需处理")),
        ("POST", "/follow-ups/f-9/close", {"by": "Dr Li", "note": " "},
         ("outcome: this is needed: one of advice, medication-changed, appointment, emergency, no-action; "
          "note: this is needed: what was done, or why nothing was"),
         ("outcome：必填，可选：已给予建议（advice）、已调整用药（medication-changed）、已预约就诊（appointment）、"
         "已呼叫急救（emergency）、无需处理（no-action）；"
          "note：必填：做了什么，或为何无需处理")),
        ("POST", "/follow-ups/f-9/hand-over", {"by": "Dr Li", "note": "", "role": "doctor"},
         "note: this is needed: what is known, what was tried, what is to be done",
         "note：必填：已知情况、已做的联系和接下来要做的事"),
        ("POST", "/follow-ups/f-9/postpone", {"by": "Dr Li", "until": "2026-03-05T09:00:00+08:00"},
         "note: this is needed: why, and what was agreed with the patient", "note：必填：原因以及与患者的约定"),
        ("POST", "/alerts/a-9/snooze", {"by": "Dr Li", "until": "2026-03-05T09:00:00+08:00", "note": ""},
         "note: this is needed: why it can wait", "note：必填：为何可以等待"),
        ("POST", "/patients", {"id": "p-1", "name": 3, "zone": "Mars/Base", "glucose_unit": "kg"},
         ("name: write a text in quotes; zone: no time zone is called 'Mars/Base'; use an IANA name such as "
         "Asia/Shanghai; glucose_unit: use one of 'mmol/L', 'mg/dL'"),
         ("name：请填写带引号的文本；zone：没有名为 'Mars/Base' 的时区；请用 IANA 名称，如 Asia/Shanghai；"
         "glucose_unit：可用的有：'mmol/L', 'mg/dL'")),
        ("POST", "/patients", [], "body: send a JSON object", "body：请发送 JSON 对象"),
        ("GET", "/letters?limit=x&before=0", None, "limit: write a whole number; before: use 1 or more",
         "limit：请填写整数；before：不得小于 1"),
        ("GET", "/events?type=alert&type=foo", None,
         "type.1: use one of 'alert', 'follow-up', 'reading', 'health'",
         "type.1：可用的有：'alert', 'follow-up', 'reading', 'health'"),
        ("GET", "/patients/p-017/readings?vital=glucose&start=2026-03-01T08:00:00", None,
         "start: write a moment with its offset from UTC, as in 2026-03-01T08:00:00+08:00",
         "start：请填写带 UTC 偏移的时间，例如 2026-03-01T08:00:00+08:00"),
        ("PATCH", "/patients/p-017", {"limits": {"low-event-1": {"limit": 4}}}, "a number without a unit", "单位"),
        ("GET", "/patients/p-9", None, "no patient has the id p-9", "没有编号为 p-9 的患者"),
    ],
)  # fmt: skip
async def test_a_program_is_refused_in_the_language_it_asks_for_with_the_path_of_the_field(
    furnished, method, path, body, en, zh
) -> None:
    async with browser(furnished) as web:
        for language, says in ((None, en), ("en", en), ("zh-CN", zh)):
            headers = {"Accept-Language": language} if language else {}
            answer = await web.request(method, f"/api/v1{path}", json=body, headers=headers)
            assert answer.status_code in {404, 422}
            assert says in answer.json()["detail"]
            assert "pattern" not in answer.text
            assert answer.headers["content-language"] == (language or "en")


JSON = {"Content-Type": "application/json"}


async def test_what_is_no_json_is_refused_with_the_place(furnished) -> None:
    async with browser(furnished, **{"Accept-Language": "zh-CN"}) as web:
        answer = await web.post(
            "/api/v1/patients", content=b'{"id": x}', headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 422
    assert answer.json()["detail"] == "7：不是有效的 JSON：Expecting value"


@pytest.mark.parametrize(
    ("given", "kept", "link"),
    [
        ("c0:26:da:00:12:3f", "C0:26:DA:00:12:3F", "ble"),
        ("6b9f0c2e-1d3a-4f7e-9a51-0c2d7e8f9a10", "6B9F0C2E-1D3A-4F7E-9A51-0C2D7E8F9A10", "ble"),
        ("c0:26:da:00:12:3f", "c0:26:da:00:12:3f", "mqtt"),
    ],
)
async def test_a_bluetooth_address_is_kept_as_the_radio_gives_it(house, web, given, kept, link) -> None:
    answer = await web.post("/api/v1/devices", json={"id": given, "kind": "meter", "link": link})
    assert (answer.status_code, answer.json()["id"]) == (201, kept)
    again = await web.post("/devices", data={"id": given, "kind": "meter", "link": link, "model": ""})
    assert again.status_code == 409
    assert [device.id for device in house.people.devices()] == [kept]


async def test_readings_come_with_units_zone_and_the_value_as_sent(house, web) -> None:
    house.people.add_patient(WANG, now=house.now())
    sent = [
        reading(Vital.GLUCOSE, NOW - timedelta(hours=2), 0.0056),
        reading(Vital.GLUCOSE, NOW - timedelta(hours=1), None, flags=frozenset({Flag.ABOVE_RANGE})),
    ]
    house.journal.append([Arrival(packet=_packet(), outcomes=tuple(sent))])
    first, second = (await web.get("/api/v1/patients/p-017/readings?vital=glucose")).json()
    assert first["sent"] == [{"name": "glucose", "value": 0.0056, "unit": "mol/L"}]
    assert first["values"] == [{"name": "glucose", "value": 100.887304, "unit": "mg/dL"}]
    assert (first["taken_at"], first["zone"]) == ("2026-03-03T12:30:00+08:00", "Asia/Shanghai")
    assert (second["values"][0]["value"], second["flags"]) == (None, ["above-range"])
    (newest,) = (await web.get("/api/v1/patients/p-017/readings?vital=glucose&limit=1")).json()
    assert newest == second
    series = (await web.get("/api/v1/patients/p-017/series?vital=glucose")).json()
    assert series["taken_at"] == [first["taken_at"], second["taken_at"]]
    assert series["columns"] == [{"name": "glucose", "unit": "mg/dL", "values": [100.887304, None]}]


async def test_an_alert_is_acknowledged_once_and_closed_with_outcome_and_note(furnished) -> None:
    alert = furnished.find(very_low())
    async with browser(furnished) as web:
        path = f"/api/v1/alerts/{alert.id}"
        seen = (await web.post(f"{path}/acknowledge", json={"by": " Dr Li ", "note": "Calling"})).json()
        assert (seen["acknowledged_by"], seen["acknowledged_note"]) == ("Dr Li", "Calling")
        again = await web.post(f"{path}/acknowledge", json={"by": "Dr Wu"})
        assert again.status_code == 409
        assert "was acknowledged by Dr Li" in again.json()["detail"]
        assert [found["id"] for found in (await web.get("/api/v1/alerts")).json()] == [alert.id]
        done = {"by": "Dr Li", "outcome": "emergency", "note": "Ate 15 g sugar, 5.8 mmol/L"}
        assert (await web.post(f"{path}/close", json=done)).json()["outcome"] == "emergency"
        assert (await web.post(f"{path}/close", json=done)).status_code == 409
        assert (await web.get("/api/v1/alerts")).json() == []
        assert len((await web.get("/api/v1/alerts?state=closed&patient=p-017")).json()) == 1
        detail = (await web.get(path)).json()
    assert [(fact["what"], fact["by"]) for fact in detail["history"]] == [
        ("opened", None),
        ("acknowledged", "Dr Li"),
        ("closed", "Dr Li"),
    ]
    assert detail["alert"]["zone"] == "Asia/Shanghai"
    assert detail["alert"]["since"].endswith("+08:00")
    assert detail["notices"][0]["priority"] == "high"
    kept = furnished.book.alert(alert.id)
    assert kept is not None
    assert kept.outcome is Outcome.EMERGENCY


async def test_alerts_are_paged_newest_first(furnished) -> None:
    for minutes, finding in ((60, no_data()), (40, severe_pressure()), (20, very_low())):
        furnished.find(finding, minutes)
    async with browser(furnished) as web:
        first = (await web.get("/api/v1/alerts?limit=2")).json()
        rest = (await web.get(f"/api/v1/alerts?limit=2&before={first[-1]['id']}")).json()
    assert [alert["problem"] for alert in first + rest] == ["glucose-low", "blood-pressure-high", "no-data"]


async def test_the_page_of_the_health_shows_of_which_moment_it_is(furnished, monkeypatch) -> None:
    async def cannot() -> None:
        """The parts have not answered yet."""

    monkeypatch.setattr(furnished, "feel", cannot)
    furnished.time += timedelta(minutes=7)
    async with browser(furnished) as web:
        page = (await web.get("/health")).text
    assert "14:30" in page
    assert "14:37" not in page


async def test_letters_and_health_say_what_is_wrong(furnished) -> None:
    furnished.trouble = "InfluxDB refuses the token"
    async with browser(furnished) as web:
        (letter,) = (await web.get("/api/v1/letters")).json()
        health = (await web.get("/api/v1/health")).json()
    assert (letter["device"], letter["reason"]) == ("cgm-9", "invalid")
    assert letter["data"] == '{"version":1,"value":"5.6"'
    assert health["status"] == "degraded"
    assert health["parts"]["influxdb"]["detail"] == "InfluxDB refuses the token"


async def test_which_parts_of_a_packet_wait_is_counted_from_one_on_the_page(house, web) -> None:
    packet = Packet(link="listener", sender="d-1", channel="json", data=b"[]", received_at=NOW)
    fault = DecodeError("invalid", "value: is missing")
    other = DecodeError("too_short", "cut")
    house.journal.append([Arrival(packet=packet, outcomes=(other, fault, fault))])
    page = (await web.get("/letters")).text
    assert 'value: is missing</span> <span class="soft">(parts 2, 3)</span>' in page
    assert "cut</span></td>" in page, "the first part alone is mostly all of it"
    assert (await web.get("/api/v1/letters?reason=invalid")).json()[0]["parts"] == [1, 2]


async def test_the_api_describes_itself_and_needs_nothing_from_elsewhere(web) -> None:
    schema = (await web.get("/api/v1/openapi.json")).json()
    assert len([path for path in schema["paths"] if path.startswith("/api/v1/")]) == len(schema["paths"]) == 68
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
    assert (await web.get("/docs")).status_code == 404


# Events


async def test_events_arrive_live_and_a_returning_client_is_told_to_resync(furnished) -> None:
    async with serving(create_app(furnished, WebSettings())) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("GET", "/api/v1/events?type=alert") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            assert await anext(lines) == "retry: 2000"
            alert = furnished.find(very_low())
            told = await _event(lines)
            assert json.loads(told["data"]) == {"type": "alert", "alert": alert.id, "patient": "p-017"}
            furnished.find(over(very_low()))
            await _event(lines)
        async with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": told["id"]}) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            assert (await _event(lines))["event"] == "resync"
        async with asyncio.timeout(5):
            while furnished.bulletin.clients:  # a client that left is forgotten
                await asyncio.wait({asyncio.ensure_future(client.get("/api/v1/health"))})


async def _event(lines: AsyncIterator[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    async with asyncio.timeout(5):
        async for line in lines:
            if line:
                name, _, value = line.partition(": ")
                found[name] = value
            elif "event" in found:
                return found
    raise AssertionError("the stream ended")


# The guard


async def test_a_foreign_name_for_this_machine_gets_nothing(house) -> None:
    async with browser(house) as web:
        for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""):
            refused = await web.get("/", headers={"Host": host})
            assert refused.status_code == 421
            assert "set base_url under [web]" in refused.json()["detail"]
        for host in ("localhost", "127.0.0.1:8080", "[::1]:8080"):
            assert (await web.get("/", headers={"Host": host})).status_code == 200
    async with browser(house, WebSettings(host_names=frozenset({"ward.local"}))) as web:
        assert (await web.get("/", headers={"Host": "ward.local:8080"})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),  # a program
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://localhost:8080"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost:9999"}, False),
        ({"Origin": "null"}, False),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/alerts/{}/acknowledge", "/alerts/{}/acknowledge"])
async def test_only_our_own_pages_change_anything(furnished, path, headers, allowed) -> None:
    alert = furnished.find(very_low())
    body = {"json": {"by": "Dr Li"}} if path.startswith("/api") else {"data": {"by": "Dr Li"}}
    async with browser(furnished) as web:
        answer = await web.post(path.format(alert.id), headers=headers, **body)
    assert (answer.status_code < 400) is allowed
    assert (furnished.book.alert(alert.id).acknowledged_at is not None) is allowed


async def test_a_large_or_endless_body_is_refused_before_it_is_read(web) -> None:
    assert (await web.post("/api/v1/patients", content=b"x" * 70_000)).status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"

    assert (await web.post("/patients", content=endless())).status_code == 411


async def test_with_a_token_nothing_is_answered_without_it(furnished) -> None:
    async with browser(furnished, WebSettings(token="s3cret-Token")) as web:
        refused = await web.get("/api/v1/patients")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await web.get("/api/v1/patients", headers={"Authorization": "Bearer wrong"})).status_code == 401
        assert (await web.get("/api/v1/events")).status_code == 401
        given = await web.get("/api/v1/patients", headers={"Authorization": "Bearer s3cret-Token"})
        assert len(given.json()) == 2
        sent = await web.get("/patients/p-017")
        assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/patients/p-017")
        assert "王芳" not in sent.text
        assert (await web.get("/static/style.css")).status_code == 200
        wrong = await web.post("/login", data={"token": "guess", "next": "/patients/p-017"})
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        entered = await web.post("/login", data={"token": "s3cret-Token", "next": "/patients/p-017"})
        assert entered.headers["location"] == "/patients/p-017"
        assert "httponly" in entered.headers["set-cookie"].lower()
        assert "s3cret" not in entered.headers["set-cookie"]
        assert (await web.get("/patients/p-017")).status_code == 200
        assert (await web.get("/api/v1/patients", headers={"Host": "ward.example"})).status_code == 200


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_no_form_sends_anybody_to_another_site(web, target) -> None:
    assert (await web.get("/language/en", params={"next": target})).headers["location"] == "/"
    assert (await web.post("/login", data={"next": target, "token": ""})).headers["location"] == "/"


@pytest.mark.parametrize(
    ("referer", "next_page"),
    [
        ("http://localhost:8080/patients/p-017?range=3d", "/patients/p-017%3Frange%3D3d"),
        ("http://localhost:8080/patients/p-017/limits", "/patients/p-017"),  # it was refused before
        ("http://localhost:8080/nowhere", "/patients/p-017"),
        ("https://evil.example/x", "/patients/p-017"),
        (None, "/patients/p-017"),
    ],
)
async def test_the_language_of_a_refused_form_leads_to_the_page_of_the_form(furnished, referer, next_page) -> None:
    async with browser(furnished) as web:
        headers = {"Referer": referer} if referer else {}
        refused = await web.post("/patients/p-017/limits", data={"value": "1"}, headers=headers)
    assert refused.status_code == 422
    assert f'href="/language/zh_CN?next={next_page}"' in refused.text


async def test_pages_run_no_script_but_ours(furnished) -> None:
    furnished.find(very_low())
    async with browser(furnished) as web:
        for path in PAGES:
            answer = await web.get(path)
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self';" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", answer.text)
            assert not re.search(r"\son\w+=|https?://", answer.text)


# Pages

PAGES = (
    "/",
    "/alerts",
    "/weekly",
    "/patients",
    "/patients/p-017",
    "/patients/p-018",
    "/devices",
    "/letters",
    "/team",
    "/health",
    "/me",
)


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_every_page_speaks_the_language(furnished, language) -> None:
    furnished.find(very_low())
    furnished.find(no_data())
    async with browser(furnished, **{"Accept-Language": language}) as web:
        for path in PAGES:
            page = await web.get(path)
            assert page.status_code == 200, path
            assert f'<html lang="{language}">' in page.text
            assert ("工作列表" in page.text) is (language == "zh-CN")


async def test_what_is_over_is_called_on_the_pages_as_it_was(furnished) -> None:
    critical = very_low(rule="meter-very-low", evidence=("glucose/2026-03-03T06:10:00+00:00/m",))
    alert = furnished.find(critical)
    async with browser(furnished, **{"Accept-Language": "zh-CN"}) as web:
        for path in ("/alerts", f"/alerts/{alert.id}"):
            assert "指尖血糖严重偏低" in (await web.get(path)).text
        furnished.find(over(critical))
        for path in ("/alerts", f"/alerts/{alert.id}"):
            assert "指尖血糖严重偏低" in (await web.get(path)).text


async def test_empty_pages_say_so_in_words(house, web) -> None:
    house.people.add_patient(MILLER, now=house.now())
    assert "No open alerts." in (await web.get("/")).text
    assert "No alerts here." in (await web.get("/alerts")).text
    assert "Nothing waits here" in (await web.get("/letters")).text
    assert "No devices yet." in (await web.get("/devices")).text
    assert "No readings yet." in (await web.get("/patients/p-018")).text


async def test_the_worklist_has_the_most_urgent_first_and_what_is_acknowledged_below(furnished) -> None:
    furnished.find(no_data(), 60)
    furnished.find(severe_pressure(), 40)
    furnished.find(very_low(), 20)
    furnished.find(very_low(MILLER), 10)
    async with browser(furnished) as web:
        page = (await web.get("/")).text
        ids = re.findall(r'id="(a-[0-9a-f]+)"', page)
        order = [furnished.book.alert(found) for found in ids]
        assert [alert.priority for alert in order] == [Priority.HIGH, Priority.HIGH, Priority.MEDIUM, Priority.LOW]
        assert order[0].patient == MILLER.id  # newer than the other of its priority
        for told in (
            "Glucose 2.8 mmol/L at",
            "High priority",
            "by nobody yet",
            "UTC+8",
            "not seen to be over",
            "(20 min ago)",
        ):
            assert told in page
        await web.post(f"/alerts/{order[0].id}/acknowledge", data={"by": "李医生"})
        page = (await web.get("/")).text
    assert re.findall(r'id="(a-[0-9a-f]+)"', page) == [*ids[1:], ids[0]]
    assert "by 李医生" in page


async def test_of_a_long_worklist_the_first_are_shown_and_all_are_counted(furnished, monkeypatch) -> None:
    for number in range(21):
        patient = Patient(id=f"q-{number}", name=f"Q {number}", zone="Europe/Berlin")
        furnished.people.add_patient(patient, now=NOW)
        furnished.find(no_data(patient), number)
    urgent = furnished.find(very_low(), 60)
    async with browser(furnished) as web:
        page = (await web.get("/")).text
        listed = await web.get("/", headers={"Accept-Language": "zh-CN"})
        for at in ("alerts.book.COUNTED", "gateway.pages.COUNTED"):
            monkeypatch.setattr(at, 20)
        longer = (await web.get("/")).text
    ids = re.findall(r'id="(a-[0-9a-f]+)"', page)
    assert (len(ids), ids[0]) == (15, urgent.id)
    assert furnished.book.alert(ids[1]).patient == "q-0"  # the newest
    assert "22 alerts wait for an answer." in page
    assert "The 15 most urgent of 22 are shown." in page
    assert '<a href="/alerts?state=open">All open alerts</a>' in page
    assert "共 22 条，此处显示最紧急的 15 条。" in listed.text
    for said in ("(20+) Worklist", "20+ alerts wait for an answer.", "The 15 most urgent of 20+ are shown."):
        assert said in longer


async def test_an_alert_of_the_house_itself_has_no_patient_and_is_dealt_with_like_any_other(furnished) -> None:
    dead = no_data(patient=replace(MILLER, id=HOUSE), rule="channel-dead", problem="channel-dead:sms")
    alert = furnished.find(dead)
    async with browser(furnished) as web:
        for path in ("/", "/alerts", f"/alerts/{alert.id}"):
            page = (await web.get(path)).text
            assert "A channel does not deliver" in page
            assert f"/patients/{HOUSE}" not in page
        assert "通知渠道无法送达" in (await web.get("/", headers={"Accept-Language": "zh-CN"})).text
        (listed,) = (await web.get("/api/v1/alerts")).json()
        assert (listed["patient"], listed["zone"]) == (HOUSE, "Asia/Shanghai")
        form = {"by": "Bao", "outcome": "no-action", "note": "renewed the password"}
        assert (await web.post(f"/alerts/{alert.id}/acknowledge", data={"by": "Bao"})).status_code == 303
        assert (await web.post(f"/alerts/{alert.id}/close", data=form)).status_code == 303
        assert "renewed the password" in (await web.get(f"/alerts/{alert.id}")).text
        assert (await web.get("/api/v1/follow-ups")).json() == []


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ["Mended", "False alarm", "No action needed"]), ("zh-CN", ["已修复", "误报", "无需处理"])],
)
async def test_an_alert_of_the_house_itself_is_closed_with_what_fits_a_house_and_a_patients_is_not(
    furnished, language: str, words: list[str]
) -> None:
    house = furnished.find(
        no_data(patient=replace(MILLER, id=HOUSE), rule="channel-dead", problem="channel-dead:sms")
    )
    patient = furnished.find(very_low())

    async def refused(web: httpx.AsyncClient, alert: str, outcome: str) -> str:
        answer = await web.post(f"/api/v1/alerts/{alert}/close", json={"by": "Bao", "outcome": outcome, "note": "n"})
        assert answer.status_code == 409
        said: str = answer.json()["detail"]
        return said

    async with browser(furnished, **{"Accept-Language": language}) as web:
        for path in ("/", f"/alerts/{house.id}"):
            form = (await web.get(path)).text.split(f'action="/alerts/{house.id}/close"')[1].split("</form>")[0]
            assert re.findall(r'<option value="[a-z-]+">([^<]*)<', form) == words
        assert '<option value="mended"' not in (await web.get(f"/alerts/{patient.id}")).text
        for outcome in ("advice", "medication-changed", "appointment", "emergency"):
            assert await refused(web, house.id, outcome) == (
                f"Alert {house.id} is about Homeward itself, and no patient: it cannot be closed with the outcome "
                f"{outcome}. Possible: mended, false-alarm, no-action."
                if language == "en"
                else f"警报 {house.id} 涉及本系统自身，与患者无关，"
                f"不能以{OUTCOME_WORDS[Outcome(outcome)].zh}（{outcome}）"
                "作为处理结果关闭。"
                "可选：已修复（mended）、误报（false-alarm）、无需处理（no-action）。"
            )
        for outcome in ("mended", "false-alarm"):
            assert await refused(web, patient.id, outcome) == (
                f"Alert {patient.id} is about a patient: it cannot be closed with the outcome {outcome}. "
                "Possible: advice, medication-changed, appointment, emergency, no-action."
                if language == "en"
                else f"警报 {patient.id} 涉及患者，不能以{OUTCOME_WORDS[Outcome(outcome)].zh}（{outcome}）"
                "作为处理结果关闭。"
                "可选：已给予建议（advice）、已调整用药（medication-changed）、已预约就诊（appointment）、"
                "已呼叫急救（emergency）、无需处理（no-action）。"
            )
        done = {"by": "Bao", "outcome": "mended", "note": "renewed the password"}
        closed = (await web.post(f"/api/v1/alerts/{house.id}/close", json=done)).json()
        assert closed["outcome"] == "mended"
        assert words[0] in (await web.get(f"/alerts/{house.id}")).text


async def test_without_javascript_a_form_acknowledges_remembers_the_name_and_closes(furnished) -> None:
    alert = furnished.find(very_low())
    async with browser(furnished) as web:
        answer = await web.post(
            f"/alerts/{alert.id}/acknowledge", data={"by": "李医生", "next": f"/alerts/{alert.id}"}
        )
        follow_up = furnished.follow_ups.of_alert(alert.id)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/follow-ups/{follow_up.id}")
        page = (await web.get(f"/alerts/{alert.id}")).text
        assert page.count("李医生") >= 3  # the facts, the history, and the name that the browser remembers
        late = await web.post(f"/alerts/{alert.id}/acknowledge", data={"by": "Dr Wu"})
        assert late.status_code == 409
        assert "李医生 has acknowledged the alert" in late.text
        form = {"by": "李医生", "outcome": "no-action", "reason": "false-reading", "note": "<b>sensor</b> pressed"}
        unsaid = await web.post(f"/alerts/{alert.id}/close", data={**form, "reason": ""})
        assert (unsaid.status_code, "needs a reason: false reading (pressure on" in unsaid.text) == (409, True)
        assert "&lt;b&gt;sensor&lt;/b&gt; pressed</textarea>" in unsaid.text
        form["reason"] = "false-reading"
        assert (await web.post(f"/alerts/{alert.id}/close", data=form)).status_code == 303
        page = (await web.get(f"/alerts/{alert.id}")).text
    assert "No action needed, because: false reading (pressure on the sensor, interference)" in page
    assert "&lt;b&gt;sensor&lt;/b&gt; pressed" in page
    assert furnished.book.open_alerts() == []


async def test_a_form_that_is_not_right_is_answered_with_a_sentence(furnished) -> None:
    alert = furnished.find(very_low())
    async with browser(furnished) as web:
        answer = await web.post(f"/alerts/{alert.id}/close", data={"by": "Dr Li", "note": "x"})
    assert answer.status_code == 422
    assert "Outcome: this is needed" in answer.text
    assert f'data-page="/alerts/{alert.id}"' in answer.text


def refused_form(page: str, action: str) -> str:
    """The one form of a page that says why it was refused."""
    forms = re.findall(r"<form[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", page, re.DOTALL)
    (told,) = [(to, inside) for to, inside in forms if 'role="alert"' in inside]
    assert (told[0], page.count('class="warning refused" role="alert"')) == (action, 1)
    return told[1]


@pytest.mark.parametrize(
    ("language", "because"),
    [("en", "a patient with the id p-017 exists already"), ("zh-CN", "编号为 p-017 的患者已存在")],
)
async def test_a_refused_patient_stands_in_the_form_as_it_was_left(furnished, language, because) -> None:
    fields = {"name": "O'Hara", "id": "p-017", "zone": "UTC", "language": "zh_CN", "glucose_unit": "mg/dL"}
    async with browser(furnished, **{"Accept-Language": language}) as web:
        answer = await web.post("/patients", data=fields)
        form = refused_form(answer.text, "/patients")
        assert (answer.status_code, because in form, 'lang="en"' in form) == (409, True, False)
        for kept in ('value="O&#39;Hara"', 'name="id" value="p-017"', 'list="zones" value="UTC"'):
            assert kept in form
        assert re.findall(r"<option([^>]*) selected>", form) == [' value="zh_CN"', ""]
        mars = refused_form((await web.post("/patients", data={**fields, "zone": "Mars"})).text, "/patients")
        assert "Mars" in mars
        assert ("时区：没有名为" in mars) is (language == "zh-CN")


async def test_a_refused_closing_stands_open_on_the_page_where_it_was_written(furnished) -> None:
    alert, other = furnished.find(very_low()), furnished.find(very_low(MILLER))
    at, form = f"/alerts/{alert.id}/close", {"by": "李医生", "note": "吃糖 <15 g>"}
    async with browser(furnished, **{"Accept-Language": "zh-CN"}) as web:
        answer = await web.post(at, data=form, headers={"Referer": "http://localhost:8080/"})
    inside = refused_form(answer.text, at)
    assert answer.status_code == 422
    assert "处理结果：必填" in inside
    assert 'value="李医生"' in inside
    assert ">吃糖 &lt;15 g&gt;</textarea>" in inside
    assert answer.text.count("<details open>") == 1
    assert f"/alerts/{other.id}/close" in answer.text


LIMIT_FORM = {"which": "low-event-1 limit mg/dL", "value": "66", "author": "Li"}
PLAN_FORM = {"vital": "glucose", "times": "2", "days": "7", "author": "Li"}
CHOICE_FORM = {"rule": "x", "parameter": "x", "entry": "4", "by": "Li"}
AT_WANG = "/patients/p-017"


@pytest.mark.parametrize(
    ("path", "fields", "because"),
    [
        (f"{AT_WANG}/limits/end", {"by": "Li"}, "界限：必填"),
        (f"{AT_WANG}/limits/end", CHOICE_FORM, "界限：请从列表中选择"),
        (
            f"{AT_WANG}/limits",
            {**LIMIT_FORM, "value": "2"},
            "“低血糖”的界限：2 mg/dL 不安全。请选 60 至 100 mg/dL（默认 70）。",
        ),
        (f"{AT_WANG}/limits", {**LIMIT_FORM, "from": "0001-01-01"}, "起始日：请用 1900 年至 2199 年之间的日期"),
        (
            f"{AT_WANG}/limits",
            {**LIMIT_FORM, "which": "predicted-low on switch", "value": "0.5"},
            "0.5 既不是 1（开）也不是 0（关）。请填写其中之一。",
        ),
        (f"{AT_WANG}/plans", {**PLAN_FORM, "from": "0001-01-01"}, "起始日：请用 1900 年至 2199 年之间的日期"),
        (f"{AT_WANG}/plans/x/end", {}, "所提交的内容：请填写整数"),
        ("/letters/x/discard", {"by": "Li", "because": "x"}, "所提交的内容：请填写整数"),
        ("/weekly/p-017/2026-13-99/x/done", {"by": "Li"}, "所提交的内容：这不是日期；请写作 2026-03-01"),
    ],
)
async def test_a_refusal_in_chinese_names_no_field_of_ours_and_is_no_english(
    furnished, path, fields, because
) -> None:
    async with browser(furnished, **{"Accept-Language": "zh-CN"}) as web:
        answer = await web.post(path, data=fields)
    assert answer.status_code == 422
    (said,) = re.findall(r'<p class="(?:warning refused|because)"([^>]*)>(.*?)</p>', answer.text)
    assert "lang=" not in said[0]
    assert html.unescape(said[1]).endswith(because)


def test_what_pydantic_says_itself_is_never_shown() -> None:
    flaw = {"type": "a_new_one", "loc": ("body", "x"), "msg": "Input should be a whatever", "ctx": {}}
    doubt = {"type": "value_error", "loc": ("by",), "msg": "Value error, odd", "ctx": {"error": ValueError("odd")}}
    told = flaws_told([flaw, doubt, flaw])
    assert told == "What was sent along: this cannot be used; Your name: this cannot be used"
    assert load_languages()["zh_CN"].sentence(told) == "所提交的内容：这项内容无法使用；您的姓名：这项内容无法使用"


def test_what_a_program_is_told_holds_no_pattern_and_what_has_no_other_words_is_as_it_was() -> None:
    flaw = {"type": "string_pattern_mismatch", "loc": ("body", "which"), "msg": "x", "ctx": {"pattern": r"^\\S+$"}}
    doubt = {"type": "value_error", "loc": ("by",), "msg": "Value error, odd", "ctx": {"error": ValueError("odd")}}
    assert flaws_located([flaw, doubt, doubt]) == "which: this cannot be used; by: odd"


async def test_what_was_refused_is_told_above_where_its_form_is_gone(furnished) -> None:
    alert = furnished.find(very_low())
    async with browser(furnished, **{"Accept-Language": "zh-CN"}) as web:
        await web.post(f"/alerts/{alert.id}/acknowledge", data={"by": "Dr Li"})
        late = await web.post(f"/alerts/{alert.id}/acknowledge", data={"by": "Dr Wu"})
        nobody = await web.post("/patients/p-9/limits", data={"by": "Dr Wu"})
    assert late.status_code == 409
    assert re.search(
        r'<p class="warning refused"[^>]*>Dr Li 已于 2026年3月3日 .* 确认 王芳 的警报“血糖严重偏低”', late.text
    )
    assert (nobody.status_code, "没有编号为 p-9 的患者" in nobody.text) == (404, True)


async def test_the_page_of_an_alert_has_words_for_what_it_rests_on_and_by_what_staff_were_told(furnished) -> None:
    told = furnished.find(very_low(minutes_ago=5))
    silent, house = furnished.find(no_data()), furnished.find(no_data(replace(WANG, id=HOUSE)))
    gone = furnished.find(very_low(MILLER, evidence=("glucose/2026-03-03T06:10:00.000000Z/meter-9", "hub/a")))
    for alert, channel in ((told, "email ward@clinic.example"), (gone, "webhook")):
        (notice,) = furnished.book.notices(alert.id)
        sent = Try(notice=notice.id, channel=channel, at=NOW, error=None)
        furnished.book.note_try(sent, due=None, reaches_people=True)

    async def said(alert: Alert, language: str) -> tuple[str, str]:
        page = html.unescape((await web.get(f"/alerts/{alert.id}", headers={"Accept-Language": language})).text)
        words = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", page.partition('id="history"')[2]))
        return words, page.partition('<ul class="keys">')[2].partition("</ul>")[0]

    async with browser(furnished) as web:
        for language, ways, rests in (
            (
                "en",
                ("through e-mail ward@clinic.example", "through the clinic's webhook"),
                "Glucose, sensor 7.3 mmol/L",
            ),
            (
                "zh-CN",
                ("渠道：电子邮件 ward@clinic.example", "渠道：医疗机构的 webhook"),
                "血糖（传感器） 7.3 mmol/L",
            ),
        ):
            history, keys = await said(told, language)
            assert ways[0] in history
            assert rests in keys
            history, keys = await said(gone, language)
            assert ways[1] in history
            assert (keys.count("<li>"), "meter-9" in keys, "Z/meter-9" in keys) == (1, True, False)
        assert "血糖（血糖仪），" in (await said(gone, "zh-CN"))[1].replace(", ", "，")
        assert "无：此警报针对未收到的读数。" in (await said(silent, "zh-CN"))[1]
        assert "无：此警报针对 Homeward 系统本身。" in (await said(house, "zh-CN"))[1]


@pytest.mark.parametrize("page", ["/", "/alerts/{id}"])
async def test_who_closes_too_late_keeps_the_text_and_hears_who_was_first_on_the_clock_of_the_page(
    furnished, page
) -> None:
    alert = furnished.find(very_low())
    at = f"/alerts/{alert.id}/close"
    form = {"by": "Dr Wu", "outcome": "no-action", "reason": "accepted", "note": "called <her>"}
    async with browser(furnished) as web:
        await web.post(at, data={**form, "by": "Dr Li", "note": "ate 15 g"})
        late = await web.post(at, data=form, headers={"Referer": "http://localhost:8080" + page.format(id=alert.id)})
    (told,) = re.findall(r'<p class="warning refused"[^>]*>(.*?)</p>', late.text)
    assert late.status_code == 409
    assert told.startswith("Dr Li has closed the alert “Very low glucose” of 王芳 already, on 3 Mar 2026, ")
    assert "(No action needed, because: known and accepted for this patient: ate 15 g)" in told
    assert re.search(r"<textarea [^>]*readonly>called &lt;her&gt;</textarea>", late.text)


async def test_what_the_patient_was_told_is_read_on_the_patients_page(furnished) -> None:
    async with browser(furnished, **{"Accept-Language": "zh-CN"}) as web:
        assert "暂无。" in (await web.get("/patients/p-017")).text
        furnished.find(very_low())  # told to staff alone
        asked = very_low(audience=Audience.PATIENT, because=Text(en="Please eat.", zh="请立即进食。"))
        (notice,) = hear(None, asked, NOW).notices
        book = Book(furnished.engine, routes={Audience.PATIENT: ("log", "webhook")})
        book.record((), [notice, replace(notice, id="n-other", patient=MILLER.id)])
        page = (await web.get("/patients/p-017")).text
        told = page[page.index('id="told"') : page.index("<h2", page.index('id="told"'))]
        assert (told.count("<li>"), "请立即进食。" in told) == (1, True)
        assert re.search(r'webhook: <span class="missing">尚未送达，已尝试 0 次', told)
        for channel in ("log", "webhook"):
            sent = Try(notice=notice.id, channel=channel, at=NOW + timedelta(minutes=1), error=None)
            book.note_try(sent, due=None, reaches_people=channel != "log")
        page = (await web.get("/patients/p-017", headers={"Accept-Language": "en"})).text
    assert re.search(r"Please eat\.\s.*webhook: delivered <time[^>]*>3 Mar 2026, 14:31 UTC\+8", page)
    assert "log: " not in page  # nobody is called by it


async def test_a_device_cannot_be_given_in_the_future_with_a_form(furnished) -> None:
    async with browser(furnished) as web:
        late = (NOW + timedelta(seconds=1)).isoformat()
        answer = await web.post("/devices/cuff-2/pair", data={"patient": "p-018", "since": late})
        assert answer.status_code == 422
        assert "in the future" in answer.text
        assert furnished.people.wearings(device="cuff-2") == []
        since = NOW - timedelta(days=1)
        await web.post("/devices/cuff-2/pair", data={"patient": "p-018", "since": since.isoformat()})
        assert furnished.people.wearings(device="cuff-2")[0].since == since


async def test_the_patients_own_limits_are_shown_in_words(furnished) -> None:
    async with browser(furnished) as web:
        assert "The usual limits hold for this patient." in (await web.get("/patients/p-017")).text
        by = {"author": "Dr Li"}
        limit, hold = {"value": 4.4, "unit": "mmol/L", **by}, {"value": 0, "unit": "min", **by}
        await web.patch("/api/v1/patients/p-017", json={"limits": {"low-event-1": {"limit": limit, "hold": hold}}})
        page = (await web.get("/patients/p-017")).text
        assert re.search(r"Low glucose: limit <b>4\.4 mmol/L</b> .*\(usually 3\.9 mmol/L\)", page)
        assert re.search(r"Low glucose: has to last <b>0 min</b> .*\(usually 15 min\)", page)
        chinese = (await web.get("/patients/p-017", headers={"Accept-Language": "zh-CN"})).text
        assert re.search(r"低血糖: 界限 <b>4\.4 mmol/L</b> .*默认 3\.9 mmol/L", chinese)


async def test_a_limit_is_set_refused_replaced_and_ended_on_the_patients_page(furnished) -> None:
    week = {"from": "2026-03-03", "to": "2026-03-09"}
    form = {"which": "low-event-1 limit mmol/L", "value": "4.2", "author": "Dr Li", **week}
    path = "/patients/p-017/limits"

    def set_now() -> list[tuple[float, str]]:
        numbers = furnished.people.patient("p-017").limits.get("low-event-1", {}).get("limit", [])
        return [(each["value"], each["unit"]) for each in numbers]

    async with browser(furnished) as web:
        await web.post(path, data=form)
        page = (await web.get("/patients/p-017")).text
        assert re.search(r"<b>4\.2 mmol/L</b> .*Dr Li from 2026-03-03 to 2026-03-09", page)
        for wrong, because in (
            ({"value": "2"}, "2 mmol/L is not safe. Choose a value from"),
            ({"which": "low-event-1 limit min"}, "does not fit"),
            ({"to": "2026-03-01"}, "it would end on 2026-03-01, before it begins"),
            ({"author": " "}, "Your name: this is needed"),
            ({"which": "low-event-1 limit"}, "Limit: choose one of the list"),
            ({"value": "much"}, "New value: this is not a number"),
            ({"from": "soon"}, "From day: this is not a day"),
        ):
            refused = await web.post(path, data={**form, **wrong})
            kept = refused_form(refused.text, path)
            assert (refused.status_code, because in kept) == (422, True), wrong
            chosen = {**form, **wrong}
            for name in ("value", "from", "to", "author"):
                assert f'name="{name}" value="{chosen[name]}"' in kept
        unsafe = {**form, "value": "2"}
        chinese = await web.post(path, data=unsafe, headers={"Accept-Language": "zh-CN"})
        assert "2 mmol/L 不安全。请选 3.3 至 5.6 mmol/L" in refused_form(chinese.text, path)
        assert re.findall(r'<option value="(low[^"]*)"[^>]* selected>', chinese.text) == [form["which"]]
        assert set_now() == [(4.2, "mmol/L")]
        await web.post(path, data={"which": "low-event-1 limit mg/dL", "value": "74", "author": "Dr Wu"})
        assert set_now() == [(74, "mg/dL")]  # it leaves the first one no day
        page = (await web.get("/patients/p-017")).text
        assert "Former limits (1)" in page
        (entry,) = re.findall(r'name="entry" value="(.*?)"', page)
        choice = {"rule": "low-event-1", "parameter": "limit", "entry": html.unescape(entry)}
        await web.post(f"{path}/end", data={**choice, "by": "Dr Li"})
        assert set_now() == []
        chinese = (await web.get("/patients/p-017", headers={"Accept-Language": "zh-CN"})).text
        assert "以往的界限 (2)" in chinese
        assert "该患者适用默认界限。" in chinese
        gone = await web.post(f"{path}/end", data={**choice, "by": "Dr Li"})
        assert (gone.status_code, "has ended or was changed meanwhile" in gone.text) == (409, True)


async def test_the_units_of_limits_are_words_of_the_language(furnished) -> None:
    rule = next(rule for rule in RULES.values() if any(each.unit == "switch" for each in rule.parameters))
    own = next(each for each in rule.parameters if each.unit == "switch")
    entry = {rule.name: {own.name: {"value": 1, "unit": "switch", "author": "Dr Li"}}}
    furnished.people.change_patient(replace(WANG, limits=entry), now=NOW)
    async with browser(furnished) as web:
        pages = {
            language: (await web.get("/patients/p-017", headers={"Accept-Language": language})).text
            for language in ("en", "zh-CN")
        }
    for word in ("（1：开，0：关）", "天", "分钟", "次", "晚", "个百分点", "（1：低，2：中，3：高；IEC 60601-1-8）"):
        assert f", {word} (" in pages["zh-CN"]
    for unit in {each.unit for rule in RULES.values() for each in rule.parameters} & UNITS.keys():
        assert f", {unit} (" not in pages["zh-CN"]
        assert re.search(rf'<option value="[^"]* {unit}"', pages["zh-CN"])  # what is sent is no word
    assert "<b>1 （1：开，0：关）</b>" in pages["zh-CN"]
    assert "<b>1 (1: on, 0: off)</b>" in pages["en"]


async def test_a_limit_of_every_unit_that_the_page_offers_can_be_set(furnished) -> None:
    async with browser(furnished) as web:
        page = (await web.get("/patients/p-017")).text
        (choices,) = re.findall(r'name="which"[^>]*>(.*?)</select>', page, re.DOTALL)
        groups = re.findall(r'<optgroup label="(.*?)">(.*?)</optgroup>', choices, re.DOTALL)
        assert len(groups) == len({label for label, _ in groups}) == sum(bool(r.parameters) for r in RULES.values())
        assert [label for label, inside in groups if "low-event-1 limit mmol/L" in inside] == [
            "Glucose, sensor · Low glucose"
        ]
        assert 'data-says="Low glucose, limit: usually 3.9 mmol/L; from 3.3 to 5.6 mmol/L"' in choices
        offered = [html.unescape(each) for each in re.findall(r'value="(.*?)"', choices)]
        assert len(offered) == sum(len(rule.parameters) for rule in RULES.values())
        for which in {each.split(" ", 2)[2]: each for each in offered}.values():
            form = {"which": which, "value": str(DEFAULTS.value(*which.split(" ", 2))), "author": "Dr Li"}
            assert (await web.post("/patients/p-017/limits", data=form)).status_code == 303, which


async def test_a_plan_of_measuring_is_set_replaced_and_ended_by_api_and_form(furnished) -> None:
    async with browser(furnished) as web:
        path = "/api/v1/patients/p-017/plans"
        body = {"times": 2, "days": 7, "author": "Dr Li", "to": "2026-04-30"}
        (plan,) = (await web.put(f"{path}/blood_pressure", json=body)).json()
        assert (plan["times"], plan["days"], plan["from"], plan["to"]) == (2, 7, "2026-03-03", "2026-04-30")
        fields = {"vital": "blood_pressure", "times": "1", "days": "3", "from": "2026-03-05", "author": "Dr Wu"}
        await web.post("/patients/p-017/plans", data=fields)
        before, now = (await web.get(path)).json()
        assert (before["ended_at"], before["to"], now["ended_at"]) == (None, "2026-04-30", None)
        page = (await web.get("/patients/p-017")).text
        assert '<li class="soft">Blood pressure: <b>1 times a day on 3 of 7 days</b>' in page
        assert re.search(r"Dr Wu from 2026-03-05\s*</span> does not hold today", page)
        assert re.search(r"<li>Blood pressure: .*Dr Li from 2026-03-03 to 2026-04-30", page)
        furnished.time += timedelta(days=2)
        await web.put(f"{path}/blood_pressure", json={**body, "to": None, "author": "Dr He"})
        first, second, third = (await web.get(path)).json()
        assert (first["ended_at"][:10], first["ended_by"]) == ("2026-03-05", "Dr He")
        assert (second["ended_at"][:10], second["ended_by"]) == ("2026-03-05", "Dr He")
        assert (third["from"], third["to"], third["ended_at"]) == ("2026-03-05", None, None)
        now = third["number"]
        page = (await web.get("/patients/p-017")).text
        assert "Former plans (2)" in page
        assert re.search(r"Dr Wu from 2026-03-05\s*; ended <time[^>]*>5 Mar 2026, .*\(Dr He\)", page)
        assert page.count("End the plan") == 1
        nobody = await web.post(f"/patients/p-017/plans/{now}/end")
        assert "Your name: this is needed" in refused_form(nobody.text, f"/patients/p-017/plans/{now}/end")
        await web.post(f"/patients/p-017/plans/{now}/end", data={"by": "Nurse Wu"})
        ended = [(each["ended_at"], each["ended_by"]) for each in (await web.get(path)).json()]
        assert [by for _, by in ended] == ["Dr He", "Dr He", "Nurse Wu"]
        furnished.time += timedelta(days=1)
        await web.post(f"/patients/p-017/plans/{now}/end", data={"by": "Dr Late"})
        await web.put(f"{path}/blood_pressure", json=body)
        again = [(each["ended_at"], each["ended_by"]) for each in (await web.get(path)).json()]
        assert (again[:3], again[3]) == (ended, (None, None))
        none = await web.post("/patients/p-017/plans/99/end", data={"by": "Nurse Wu"})
        assert (none.status_code, "no plan of the number 99" in none.text) == (404, True)
        missing = await web.post("/patients/p-017/plans", data={**fields, "times": ""})
        assert "Times a day: this is needed" in refused_form(missing.text, "/patients/p-017/plans")
        assert (await web.put(f"{path}/ketone", json=body)).status_code == 422
        assert (await web.put(f"{path}/glucose", json={**body, "author": " "})).status_code == 422
        assert (await web.put(f"{path}/glucose", json={**body, "to": "2026-03-01"})).status_code == 422
        glucose = (await web.put(f"{path}/glucose", json=body)).json()[-1]["number"]
        gone = (await web.delete(f"{path}/{glucose}", params={"by": "Dr Li"})).json()[-1]
        assert (bool(gone["ended_at"]), gone["ended_by"]) == (True, "Dr Li")


async def test_a_plan_for_two_weeks_stands_over_a_lasting_one_which_holds_again(furnished) -> None:
    lasting = {"vital": "glucose", "times": "1", "days": "3", "author": "Dr Li"}
    weeks = {
        "vital": "glucose",
        "times": "4",
        "days": "7",
        "from": "2026-03-05",
        "to": "2026-03-18",
        "author": "Dr Wu",
    }

    async def counts() -> list[str]:
        page = (await web.get("/patients/p-017")).text
        return re.findall(r"<li>Glucose, meter: <b>(.*?) on", page)

    async with browser(furnished) as web:
        for form in (lasting, weeks):
            await web.post("/patients/p-017/plans", data=form)
        assert await counts() == ["1 times a day"]
        furnished.time += timedelta(days=2)
        assert await counts() == ["4 times a day"]
        furnished.time += timedelta(days=14)
        assert await counts() == ["1 times a day", "4 times a day"]  # the latter among the former ones
        page = (await web.get("/patients/p-017")).text
        assert re.search(r"Former plans \(1\).*Dr Wu from 2026-03-05 to 2026-03-18", page, re.DOTALL)


LOW_1 = {"value": 62, "unit": "mg/dL", "author": "Dr Li"}
STAFF_AFTER = {"value": 15, "unit": "min", "author": "Dr Li"}
CHIEF = parse_book({"clinic": {"low-event-2": {"limit": {"value": 64, "unit": "mg/dL", "author": "Chief"}}}})


async def test_what_contradicts_the_clinic_is_left_out_and_said_and_the_rest_holds(furnished) -> None:
    own = {"low-event-1": {"limit": LOW_1}, "low-event-2": {"staff-after": STAFF_AFTER}}
    furnished.people.change_patient(replace(WANG, limits=own), now=NOW)
    furnished.rules = CHIEF
    limits = furnished.limits(furnished.people.patient("p-017")).limits
    assert limits.value("low-event-1", "limit", "mg/dL") == 70
    assert limits.value("low-event-2", "limit", "mg/dL") == 64
    assert limits.value("low-event-2", "staff-after", "min") == 15
    async with browser(furnished) as web:
        page = (await web.get("/patients/p-017")).text
    assert "limit of “Very low glucose” is 64 mg/dL, above limit of “Low glucose” with 62 mg/dL" in page
    assert re.search(r'<li class="soft">Low glucose: limit <b>62 mg/dL</b>.* does not hold today', page)
    assert re.search(r"<li>Very low glucose: from the onset, staff are told after <b>15 min</b>.*Dr Li", page)


async def test_a_limit_whose_days_are_over_is_shown_as_such_and_not_drawn(furnished) -> None:
    limit = {"value": 62, "unit": "mg/dL", "author": "Dr Li", "from": "2026-02-01", "to": "2026-02-28"}
    async with browser(furnished) as web:
        await web.patch("/api/v1/patients/p-017", json={"limits": {"low-event-1": {"limit": limit}}})
        page = (await web.get("/patients/p-017")).text
    assert "Dr Li from 2026-02-01 to 2026-02-28</span> does not hold today" in page
    assert furnished.limits(furnished.people.patient("p-017")).limits.value("low-event-1", "limit", "mg/dL") == 70


async def test_limits_of_different_days_do_not_contradict_each_other(furnished) -> None:
    march = {"value": 60, "unit": "mg/dL", "author": "Dr Li", "from": "2026-03-01", "to": "2026-03-31"}
    april = {"value": 65, "unit": "mg/dL", "author": "Dr Li", "from": "2026-04-01"}
    limits = {"low-event-1": {"limit": march}, "low-event-2": {"limit": april}}
    async with browser(furnished) as web:
        assert (await web.patch("/api/v1/patients/p-017", json={"limits": limits})).status_code == 200
        limits["low-event-2"]["limit"] = {**april, "from": "2026-03-31"}
        answer = await web.patch("/api/v1/patients/p-017", json={"limits": limits})
    assert answer.status_code == 422
    assert "low-event-2.limit is 65 mg/dL, above low-event-1.limit with 60 mg/dL" in answer.json()["detail"]


@pytest.mark.parametrize("author", [{}, {"author": ""}, {"author": " "}])
async def test_a_limit_says_who_sets_it(furnished, author) -> None:
    limits = {"low-event-1": {"limit": {"value": 62, "unit": "mg/dL", **author}}}
    async with browser(furnished) as web:
        answer = await web.patch("/api/v1/patients/p-017", json={"limits": limits})
    assert answer.status_code == 422
    assert "low-event-1.limit: say who sets it" in answer.json()["detail"]


async def test_a_limit_that_is_replaced_stays_as_a_former_one_and_the_others_keep_their_day(furnished) -> None:
    own = {"low-event-1": {"limit": LOW_1}, "low-event-2": {"staff-after": STAFF_AFTER}}
    async with browser(furnished) as web:
        await web.patch("/api/v1/patients/p-017", json={"limits": own})
        furnished.time += timedelta(days=1)
        changed = {**own, "low-event-1": {"limit": {**LOW_1, "value": 63, "author": "Dr Wu"}}}
        now = (await web.patch("/api/v1/patients/p-017", json={"limits": changed})).json()["limits"]
        assert now["low-event-1"]["limit"][0]["entered_at"] == "2026-03-04T06:30:00Z"
        assert now["low-event-2"]["staff-after"][0]["entered_at"] == "2026-03-03T06:30:00Z"
        (former,) = (await web.get("/api/v1/patients/p-017/limits/former")).json()
    assert former["entry"] == {**LOW_1, "entered_at": "2026-03-03T06:30:00Z"}
    assert (former["rule"], former["ended_at"]) == ("low-event-1", "2026-03-04T06:30:00Z")


async def test_who_ends_a_limit_on_the_page_says_so_and_it_is_kept(furnished) -> None:
    async with browser(furnished) as web:
        await web.patch("/api/v1/patients/p-017", json={"limits": {"low-event-1": {"limit": LOW_1}}})
        own = (await web.get("/api/v1/patients/p-017")).json()["limits"]["low-event-1"]["limit"][0]
        form = {"rule": "low-event-1", "parameter": "limit", "entry": json.dumps(own)}
        assert (await web.post("/patients/p-017/limits/end", data=form)).status_code == 422
        ended = await web.post("/patients/p-017/limits/end", data={**form, "by": "Nurse Wu"})
        assert (ended.status_code, "homeward_name=Nurse" in ended.headers["set-cookie"]) == (303, True)
        page = (await web.get("/patients/p-017")).text
        assert re.search(r"Former limits.*62 mg/dL.*ended .*\(Nurse Wu\)", page, re.DOTALL)
        await web.patch("/api/v1/patients/p-017", json={"limits": {"low-event-1": {"limit": LOW_1}}})
        await web.patch("/api/v1/patients/p-017", json={"limits": {}})
        former = (await web.get("/api/v1/patients/p-017/limits/former")).json()
    assert [each["ended_by"] for each in former] == ["Nurse Wu", None]


async def test_a_limit_that_was_over_keeps_its_end_when_it_is_replaced(furnished) -> None:
    week = {**LOW_1, "from": "2026-03-01", "to": "2026-03-02"}
    async with browser(furnished) as web:
        await web.patch("/api/v1/patients/p-017", json={"limits": {"low-event-1": {"limit": week}}})
        form = {"which": "low-event-1 limit mg/dL", "value": "66", "author": "Dr Wu"}
        await web.post("/patients/p-017/limits", data=form)
        (former,) = (await web.get("/api/v1/patients/p-017/limits/former")).json()
    assert (former["ended_at"], former["ended_by"]) == ("2026-03-02T16:00:00Z", None)  # midnight in Shanghai


async def test_population_and_programme_are_set_by_api_and_form_and_move_the_limits(furnished) -> None:
    furnished.rules = parse_book({"programme": {"gdm": {"bp-severe": {"systolic": {"value": 155, "unit": "mmHg"}}}}})

    def limit(rule: str, parameter: str, unit: str) -> float:
        return furnished.limits(furnished.people.patient("p-017")).limits.value(rule, parameter, unit)

    async with browser(furnished) as web:
        both = {"population": "pregnancy", "programme": "gdm"}
        assert (await web.patch("/api/v1/patients/p-017", json=both)).json()["programme"] == "gdm"
        assert limit("low-event-1", "limit", "mg/dL") == 63
        assert limit("bp-severe", "systolic", "mmHg") == 155
        assert '<option value="pregnancy" selected>' in (await web.get("/patients/p-017")).text
        await web.post("/patients/p-017/care", data={"population": "", "programme": "gdm"})
        assert limit("low-event-1", "limit", "mg/dL") == 70
        unknown = await web.patch("/api/v1/patients/p-017", json={"programme": "heart"})
        assert unknown.status_code == 422
        assert "there is no programme 'heart'" in unknown.json()["detail"]
        assert (await web.patch("/api/v1/patients/p-017", json={"programme": None})).json()["programme"] is None


async def test_limits_that_an_older_homeward_took_are_shown_with_the_reason_and_can_be_ended(furnished) -> None:
    gone = {"glucose-gone": {"limit": {"value": 4, "unit": "mmol/L"}}}
    furnished.people.change_patient(replace(WANG, limits=gone), now=NOW)
    async with browser(furnished) as web:
        page = (await web.get("/patients/p-017")).text
        assert re.search(
            r"glucose-gone: limit <b>4 mmol/L</b>.*cannot be used.*glucose-gone: there is no such rule", page
        )
        assert "these do not hold" not in page
        chinese = (await web.get("/patients/p-017", headers={"Accept-Language": "zh-CN"})).text
        assert "glucose-gone：没有这条规则" in chinese
        assert (await web.get("/patients/p-017/figure/glucose")).status_code == 200
        new = {"which": "low-event-1 limit mg/dL", "value": "66", "author": "Dr Wu"}
        assert (await web.post("/patients/p-017/limits", data=new)).status_code == 303
        assert set(furnished.people.patient("p-017").limits) == {"glucose-gone", "low-event-1"}
        end = {"rule": "glucose-gone", "parameter": "limit", "by": "Dr Wu"}
        (entry,) = [each for each in re.findall(r'name="entry" value="(.*?)"', page) if "mmol" in each]
        assert (
            await web.post("/patients/p-017/limits/end", data={**end, "entry": html.unescape(entry)})
        ).status_code == 303
        (former,) = (await web.get("/api/v1/patients/p-017/limits/former")).json()
    assert set(furnished.people.patient("p-017").limits) == {"low-event-1"}
    assert (former["rule"], former["ended_by"]) == ("glucose-gone", "Dr Wu")


@pytest.mark.parametrize(
    ("stored", "name"), [({"limit": 4}, "limit"), ({"limit": [4, None]}, "limit"), ([4], "?"), ("4", "?")]
)
async def test_a_stored_limit_that_is_no_mapping_is_shown_with_the_reason_and_can_be_ended(
    furnished, stored, name
) -> None:
    with furnished.engine.begin() as db:
        written = {"limits": json.dumps({"low-event-1": stored})}
        db.execute(text("UPDATE patients SET limits = :limits WHERE id = 'p-017'"), written)
    async with browser(furnished) as web:
        page = await web.get("/patients/p-017")
        assert page.status_code == 200
        assert "cannot be used" in page.text
        end = {"rule": "low-event-1", "parameter": name, "by": "Dr Wu"}
        for entry in re.findall(r'name="entry" value="(.*?)"', page.text):
            form = {**end, "entry": html.unescape(entry)}
            assert (await web.post("/patients/p-017/limits/end", data=form)).status_code == 303
        assert not furnished.people.patient("p-017").limits
        page = (await web.get("/patients/p-017")).text
        former = await web.get("/api/v1/patients/p-017/limits/former")
    assert "cannot be used" not in page
    assert "Former limits" in page
    assert former.json()[0]["ended_by"] == "Dr Wu"


async def test_a_patient_and_a_device_are_added_and_paired_with_forms(house, web) -> None:
    fields = {
        "id": "p-1",
        "name": "O'Brien & <Söhne>",
        "zone": "Europe/Berlin",
        "language": "en",
        "glucose_unit": "mg/dL",
    }
    assert (await web.post("/patients", data=fields)).headers["location"] == "/patients/p-1"
    await web.post("/devices", data={"id": "C0:26:DA:00:12:34", "kind": "meter", "link": "ble", "model": ""})
    await web.post("/devices/C0:26:DA:00:12:34/pair", data={"patient": "p-1"})
    assert "O&#39;Brien &amp; &lt;Söhne&gt;" in (await web.get("/devices")).text
    assert "Blood glucose meter" in (await web.get("/patients/p-1")).text
    await web.post("/devices/C0:26:DA:00:12:34/unpair", data={"by": "Nurse Wu"})
    assert house.people.wearings()[0].until == NOW


async def test_the_patients_page_shows_newest_values_in_the_patients_unit(furnished) -> None:
    low = replace(reading(Vital.GLUCOSE, NOW, None), flags=frozenset({Flag.BELOW_RANGE}))
    furnished.journal.append([Arrival(packet=_packet(), outcomes=(low,))])
    furnished.people.change_patient(replace(WANG, glucose_unit=MILLER.glucose_unit), now=NOW)
    async with browser(furnished) as web:
        page = (await web.get("/patients/p-017?range=3d")).text
        assert re.search(r'class="value">\s*130\s*<small>mg/dL', page)  # 7.2 mmol/L as the sensor sent it
        assert re.search(r'class="value">\s*LO\s*<small>', page)
        assert re.search(r'class="value">\s*138/86\s*<small>mmHg, pulse 70/min', page)
        assert "130 mg/dL (7.2 mmol/L)" in page  # the table says too what the device sent
        assert "below what the device can measure" in page
        for name in re.findall(r'data-figure="([^"]+)"', page):
            figure = (await web.get(name.replace("&amp;", "&"))).json()
            assert {"data", "layout"} <= set(figure)
        assert len(figure["data"]) == 2
        names = [trace["name"] for trace in (await web.get("/patients/p-017/figure/glucose?range=3d")).json()["data"]]
        assert [name[:2] for name in names] == ["Se", "Me", "HI", "LO"]
        assert (await web.get("/patients/p-017/figure/height")).status_code == 404


async def test_trouble_of_the_house_itself_stands_above_the_worklist(furnished) -> None:
    furnished.trouble = "InfluxDB refuses the token"
    async with browser(furnished) as web:
        assert "InfluxDB refuses the token" in (await web.get("/")).text


# Words


@pytest.mark.parametrize(
    ("cookie", "header", "code"),
    [
        (None, None, "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh_CN"),
        (None, "zh-Hans-SG", "zh_CN"),
        (None, "en-GB,en;q=0.9,zh;q=0.1", "en"),
        (None, "de,zh;q=0.3,en;q=0.7", "en"),
        (None, "fr", "en"),
        (None, "zh;q=0,en", "en"),
        (None, ";;,q=,zh;q=x", "en"),
        ("zh_CN", "en", "zh_CN"),
        ("../../etc", "en", "en"),
    ],
)
def test_the_language_is_what_was_chosen_or_what_the_browser_asks_for(cookie, header, code) -> None:
    assert choose(cookie, header) == code


@given(st.text())
def test_any_accept_language_gives_a_language(header) -> None:
    assert choose(None, header) in {"en", "zh_CN"}


def messages() -> set[str | tuple[str, ...]]:
    found = set()
    for path in (*ROOT.glob("*.py"), *ROOT.glob("templates/*.html")):
        method = "python" if path.suffix == ".py" else "jinja2.ext:babel_extract"
        extracted = extract_from_file(method, path, keywords={**DEFAULT_KEYWORDS, "say": None, "Sentence": None})
        found |= {message for _, message, _, _ in extracted}
    return found


def test_every_message_has_a_translation_with_the_same_places() -> None:
    chinese = load_languages()["zh_CN"]
    found = messages()
    assert len(found) > 100
    for message in found:
        one = message if isinstance(message, str) else message[0]
        said = chinese.gettext(one) if isinstance(message, str) else chinese.ngettext(*message, 2)
        assert said != one or one == "Homeward", f"no translation of {one!r}"
        assert _places(said) == _places(one)


SAID_OF_A_DEVICE = DeviceState(
    last_seen=NOW - timedelta(minutes=2),
    bond=Bond.LOST,
    failures=3,
    fault=BOND_LOST,
    facts=DeviceFacts(
        manufacturer="Ascensia",
        model="Contour Next One",
        firmware="2.1",
        serial="77-12",
        battery_pct=12,
        clock_offset=timedelta(minutes=-7),
        clock_set=True,
    ),
    battery_low=NOW - timedelta(days=1),
)


async def test_how_a_device_does_is_told_with_units_and_zone(furnished, web) -> None:
    furnished.states["C0:26:DA:00:12:34"] = SAID_OF_A_DEVICE
    devices = {device["id"]: device for device in (await web.get("/api/v1/devices")).json()}
    health = devices["C0:26:DA:00:12:34"]["health"]
    assert health["zone"] == "Asia/Shanghai"
    assert health["last_seen"] == "2026-03-03T14:28:00+08:00"
    assert health["last_read"] == "2026-03-03T13:30:20+08:00"
    assert (health["battery_pct"], health["clock_error_s"], health["clock_set"]) == (12, -420.0, True)
    assert (health["bond"], health["failures"], health["fault"]) == ("lost", 3, BOND_LOST)
    assert devices["cuff-2"]["health"]["last_read"] is None


async def test_a_device_that_another_hub_hears_says_so(furnished, web, monkeypatch) -> None:
    there = {"cgm-1": LastHeard(NOW - timedelta(hours=1))}
    monkeypatch.setattr(furnished.book, "heard_elsewhere", lambda now: there)
    devices = {device["id"]: device["health"] for device in (await web.get("/api/v1/devices")).json()}
    assert devices["cgm-1"]["heard_elsewhere"] == "2026-03-03T13:30:00+08:00"
    assert devices["cuff-2"]["heard_elsewhere"] is None
    page = (await web.get("/devices", headers={"Accept-Language": "zh-CN"})).text
    assert page.count("另一台主机最近收到数据") == 1


async def test_a_device_that_brought_a_reading_was_seen(furnished, web) -> None:
    furnished.states["C0:26:DA:00:12:34"] = DeviceState(last_seen=NOW - timedelta(days=1))
    devices = {device["id"]: device["health"] for device in (await web.get("/api/v1/devices")).json()}
    health = devices["C0:26:DA:00:12:34"]
    assert health["last_seen"] == health["last_read"] == "2026-03-03T13:30:20+08:00"
    assert devices["cgm-1"]["last_seen"] is None


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            ["no longer knows its pairing", "failed 3 times in a row", "12 %", "7 min slow, set right since", "lost"],
        ),
        ("zh-CN", ["设备已不再记得与本机的配对", "连续失败 3 次", "12 %", "慢 7 分钟, 之后已校准", "配对已丢失"]),
    ],
)
async def test_the_page_of_the_devices_says_how_each_does(furnished, web, language, words) -> None:
    furnished.states["C0:26:DA:00:12:34"] = SAID_OF_A_DEVICE
    page = (await web.get("/devices", headers={"Accept-Language": language})).text
    for word in [*words, "Contour Next One", "2.1", "77-12"]:
        assert word in page


async def test_a_device_is_asked_for_everything(furnished, web) -> None:
    path = "/devices/C0:26:DA:00:12:34/read-fully"
    assert (await web.post(f"/api/v1{path}")).status_code == 202
    answer = await web.post(path)
    assert answer.status_code == 303
    assert "All that C0:26:DA:00:12:34 has stored is read" in (await web.get(answer.headers["location"])).text
    assert "has stored is read" not in (await web.get("/devices?asked=nobody")).text
    assert furnished.asked_fully == ["C0:26:DA:00:12:34"] * 2
    assert (await web.post("/api/v1/devices/none/read-fully")).status_code == 404
    refused = await web.post("/api/v1/devices/cgm-1/read-fully")
    assert (refused.status_code, "not read over Bluetooth" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize("name", [name for name in vars(ble_faults) if name.isupper() and not name.startswith("_")])
def test_every_sentence_about_bluetooth_has_a_translation(name: str) -> None:
    sentence = getattr(ble_faults, name)
    if isinstance(sentence, str):
        assert load_languages()["zh_CN"].gettext(sentence) != sentence


def test_a_clock_is_told_in_words() -> None:
    english = load_languages()["en"]
    said = [
        clock_word(error, was_set, english) for error, was_set in ((59.9, None), (419.5, False), (-90000.0, True))
    ]
    assert said == ["right", "7 min fast, would not be set", "1 d 1 h slow, set right since"]


def test_every_noun_of_the_house_has_a_word() -> None:
    assert set(BONDS) == set(Bond)
    assert set(FLAGS) == set(Flag)
    assert set(VITALS) == set(Vital)
    assert set(OUTCOME_WORDS) == set(Outcome)
    assert {*RefusalReason, "too_short", "invalid", "rejected", "conflict", "too-many"} == set(REASONS)
    assert set(KINDS) == set(DeviceKind)
    assert set(LINKS) == set(DeviceLink)
    assert set(FACTS) == set(FactKind)
    assert {*DONE, What.OPENED} == set(What)
    assert {parameter.name for rule in RULES.values() for parameter in rule.parameters} == set(PARAMETERS)
    assert {rule.problem for rule in RULES.values()} <= set(PROBLEMS)


def test_durations_are_written_in_two_units() -> None:
    english, chinese = load_languages()["en"], load_languages()["zh_CN"]
    spans = [timedelta(seconds=s) for s in (-5, 59, 60, 3 * 3600 + 60, 90_000)]
    assert [english.duration(span) for span in spans] == [
        "less than 1 min",
        "less than 1 min",
        "1 min",
        "3 h 1 min",
        "1 d 1 h",
    ]
    assert chinese.duration(spans[3]) == "3 小时 1 分钟"


def _places(message: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(message) if name}


def _packet() -> Packet:
    return Packet(link="listener", sender="cgm-1", channel="json", data=b"{}", received_at=NOW)


async def test_a_device_that_was_heard_is_offered_on_the_page(house, web) -> None:
    said = b'{"version":1,"device":"cuff-77","kind":"blood_pressure"}'
    packet = Packet(link="listener", sender="cuff-77", channel="json", data=said, received_at=NOW)
    refusal = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device="cuff-77")
    house.journal.append([Arrival(packet=packet, outcomes=(refusal,))])
    page = (await web.get("/devices")).text
    assert "Heard, but not known yet" in page
    assert '<option value="cuff" selected>' in page
    await web.post("/devices", data={"id": "cuff-77", "kind": "cuff", "link": "mqtt", "model": ""})
    assert "Heard, but not known yet" not in (await web.get("/devices")).text


async def test_a_device_is_retired_on_the_page_and_given_out_again(furnished, web) -> None:
    await web.post("/devices/cgm-1/retire", data={"by": "Nurse Wu"})
    page = (await web.get("/devices")).text
    assert page.count("retired<br>") == 1
    assert "/devices/cgm-1/retire" not in page
    assert [wearing.until for wearing in furnished.people.wearings(device="cgm-1")] == [furnished.now()]
    await web.post("/devices/cgm-1/pair", data={"patient": "p-018"})
    assert "retired<br>" not in (await web.get("/devices")).text


@pytest.mark.parametrize(("act", "what"), [("unpair", ["released"]), ("retire", ["retired", "released"])])
async def test_who_takes_a_device_from_a_patient_is_asked_and_kept(furnished, web, act: str, what: list[str]) -> None:
    page = (await web.get("/devices")).text
    says = f"{WANG.name} wears it. What it measures from then on is set aside: it opens no alert, and nobody is told."
    assert page.count(says) == 6  # three devices are worn, each taken back or retired
    nameless = await web.post(f"/devices/cgm-1/{act}", headers={"Referer": "http://localhost:8080/devices"})
    assert nameless.status_code == 422
    assert "Your name: this is needed" in nameless.text
    assert furnished.people.wearings(device="cgm-1")[0].until is None
    assert (await web.post(f"/devices/cgm-1/{act}", data={"by": " Nurse Wu "})).status_code == 303
    found = (await web.get("/api/v1/audit?subject=device:cgm-1")).json()
    assert [(each["what"], each["who"]) for each in found[: len(what)]] == [(each, "Nurse Wu") for each in what]


@pytest.mark.parametrize("act", ["unpair", "retire"])
async def test_a_program_may_name_who_takes_a_device_back_and_it_is_one_of_the_team(furnished, web, act: str) -> None:
    furnished.duty.team.put(BAO, now=NOW)
    refused = await web.post(f"/api/v1/devices/cgm-1/{act}", json={"by": "Nobody"})
    assert refused.status_code == 409
    assert furnished.people.wearings(device="cgm-1")[0].until is None
    assert (await web.post(f"/api/v1/devices/cgm-1/{act}", json={"by": BAO.name})).status_code == 200
    newest = (await web.get("/api/v1/audit?subject=device:cgm-1")).json()[0]
    assert newest["who"] == BAO.name


def _set_aside(house: SmallHouse, *devices: str) -> list[int]:
    """A letter of each device that nobody wears; their numbers."""
    for number, device in enumerate(devices):
        packet = Packet(link="listener", sender=device, channel="json", data=b"%d" % number, received_at=NOW)
        refusal = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device=device)
        house.journal.append([Arrival(packet=packet, outcomes=(refusal,))])
    return [letter.id for letter in reversed(house.journal.letters())]


async def test_letters_are_tried_again_and_discarded_on_the_page(house, web) -> None:
    first, _, third = _set_aside(house, "d-1", "d-2", "d-1")
    page = (await web.get("/letters?device=d-1")).text
    assert "2 of 2 shown" in page
    assert page.count('href="/letters?state=waiting&amp;device=d-1"') == 2
    assert (await web.get("/letters?reason=invalid")).text.count("<tr>") == 0
    unknown = await web.get("/letters?reason=foo")
    assert (unknown.status_code, "no letter has the reason" in unknown.text) == (422, True)
    tried = await web.post(f"/letters/{first}/retry", follow_redirects=True)
    assert f"Number {first} still cannot become a reading." in tried.text
    answer = await web.post(f"/letters/{third}/discard", data={"by": "Wu", "because": "a test"})
    assert answer.headers["location"] == "/letters"
    assert "a test (Wu)" not in (await web.get("/letters")).text
    discarded = (await web.get("/letters?state=discarded")).text
    assert "a test (Wu)" in discarded
    assert f"/letters/{third}/retry" in discarded
    assert f"/letters/{third}/discard" not in discarded
    await web.post(f"/letters/{third}/retry")
    assert "1 of 1 shown" not in (await web.get("/letters?state=discarded")).text
    foreign = await web.post(
        f"/letters/{first}/discard", data={"by": "X", "because": "y"}, headers={"Origin": "https://elsewhere.example"}
    )
    assert foreign.status_code == 403


async def test_what_cannot_be_seen_is_written_out_on_the_page(house, web) -> None:
    packet = Packet(
        link="listener", sender="d-1", channel="json", data=b"\x00\x07<\x1b[2J\xc2\x85\xff", received_at=NOW
    )
    house.journal.append([Arrival(packet=packet, outcomes=(DecodeError("invalid", "not JSON"),))])
    page = (await web.get("/letters")).text
    assert r"\x00\x07&lt;\x1b[2J\x85" in page
    assert all(char.isprintable() or char == "\n" for char in page)


async def test_the_chinese_page_says_in_chinese_why_a_letter_waits_and_what_helps(house) -> None:
    _set_aside(house, "cgm-9")
    async with browser(house, **{"Accept-Language": "zh-CN"}) as web:
        page = (await web.get("/letters")).text
    assert (
        '请将设备分配给患者，或更正开始使用的时间；之后会自动重新处理。<br>英文原文： <span class="soft" lang="en">'
        in page
    )
    assert WHAT_HELPS.keys() == REASONS.keys()


async def test_digits_and_points_of_a_chinese_keyboard_are_taken_and_a_note_stays_as_it_was_written(
    furnished,
) -> None:
    alert = furnished.find(very_low())
    limit = {"which": "low-event-1 limit mmol/L", "value": "４．４", "author": "李医生"}
    days = {"from": "２０２６－０３－０４", "to": "２０２６－０４－０１"}
    plan = {"vital": "glucose", "times": "２", "days": " ７", "author": "李医生", **days}
    async with browser(furnished) as web:
        assert (await web.post("/patients/p-017/limits", data={**limit, **days})).status_code == 303
        assert (await web.post("/patients/p-017/limits", data={**limit, "value": "4。5"})).status_code == 303
        assert (await web.post("/patients/p-017/plans", data=plan)).status_code == 303
        (agreed,) = (await web.get("/api/v1/patients/p-017/plans")).json()
        given = (await web.get("/api/v1/patients/p-017")).json()["limits"]["low-event-1"]["limit"]
        await web.post(
            f"/alerts/{alert.id}/close",
            data={"by": "李", "outcome": "no-action", "reason": "other", "note": "糖１５ｇ，好。"},
        )
        assert "糖１５ｇ，好。" in (await web.get(f"/alerts/{alert.id}")).text
    assert (agreed["times"], agreed["days"], agreed["from"], agreed["to"]) == (2, 7, "2026-03-04", "2026-04-01")
    assert [each["value"] for each in given] == [4.5]


async def test_an_alert_is_called_what_holds_it_up(furnished) -> None:
    alert = furnished.find(severe_pressure())
    for language, word in (("en", "Severe blood pressure"), ("zh-CN", "血压重度升高")):
        async with browser(furnished, **{"Accept-Language": language}) as web:
            for page in ("/", f"/alerts/{alert.id}"):
                assert f'<span class="problem">{word}</span></h' in (await web.get(page)).text
            assert word in (await web.get("/alerts")).text


async def test_a_page_of_letters_says_how_many_there_are(house, web) -> None:
    _set_aside(house, *(f"d-{n}" for n in range(120)))
    page = (await web.get("/letters")).text
    assert "100 of 120 shown" in page
    older = re.search('href="(/letters.before=[^"]*|/letters.state=waiting&amp;before=[^"]*)"', page)
    assert older
    last = (await web.get(older[1].replace("&amp;", "&"))).text
    assert last.count("/retry") == 20
    assert "20 of 20 shown" in last
    assert "before=" not in last


async def test_a_device_is_given_from_a_moment_on_the_patients_clock(furnished, web) -> None:
    early = {"patient": "p-018", "since": "2026-03-01T09:00"}
    await web.post("/devices/cuff-2/pair", data=early)
    (wearing,) = furnished.people.wearings(device="cuff-2")
    assert wearing.since == datetime(2026, 3, 1, 8, 0, tzinfo=UTC)  # Berlin
    form = {"by": "Wu", "patient": "p-018"}
    await web.post(f"/devices/cuff-2/wearings/{wearing.number}", data=form)
    assert furnished.people.wearings(device="cuff-2")[0].since is None
    assert (
        await web.post(f"/devices/cuff-2/wearings/{wearing.number}", data={**form, "since": "x"})
    ).status_code == 422
    page = (await web.get("/devices/cuff-2")).text
    assert page.count("<li>") == 1
    same = await web.post(f"/devices/cuff-2/wearings/{wearing.number}", data=form)
    assert (same.status_code, "nothing is corrected" in same.text) == (422, True)
    same = await web.patch(f"/api/v1/devices/cuff-2/wearings/{wearing.number}", json={"by": "Wu", "since": None})
    assert same.json()["detail"] == (
        f"nothing is corrected: wearing {wearing.number} has this patient and this beginning already; name another"
    )
    assert len(furnished.people.corrections("cuff-2")) == 1
    assert (await web.get("/devices/cuff-9")).status_code == 404

"""Staff, shifts, absences and everybody's contacts, by the API and on the pages."""

from __future__ import annotations

import html
from dataclasses import replace
from datetime import time, timedelta
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from alerts.alert import Act, ActKind, Audience, Outcome, Priority, Text, together
from alerts.book import Try
from alerts.channels import ChannelError, Message, Speaker
from alerts.first_aid import advice_late
from alerts.machine import hear_findings
from alerts.team import Contact, QuietHours, Role
from gateway.guard import WebSettings
from tests.alerts.telling import LI, shift
from tests.gateway.small_house import NOW, WANG, SmallHouse, severe_pressure, very_low
from tests.gateway.test_web import browser

BY = {"by": "Head nurse Chen"}
NURSE: dict[str, Any] = {"id": "wang", "name": "王丽", "roles": ["nurse"], "language": "zh_CN", **BY}
DOCTOR: dict[str, Any] = {"id": "li", "name": "Dr Li", "roles": ["doctor"], **BY}
DAY: dict[str, Any] = {"staff": "wang", "role": "nurse", "start": "08:00", "end": "20:00", **BY}
APP = [{"channel": "app", "address": "me"}]
NIGHT = {**DAY, "start": "20:00", "end": "08:00"}


async def ask(web: httpx.AsyncClient, method: str, path: str, status: int = 200, **body: Any) -> Any:
    answer = await web.request(method, f"/api/v1/{path}", json=body or None)
    assert answer.status_code == status, answer.text
    return answer.json()


async def refused(web: httpx.AsyncClient, status: int, method: str, path: str, **body: Any) -> str:
    said: str = (await ask(web, method, path, status, **body))["detail"]
    return said


def audited(house: SmallHouse, subject: str) -> list[tuple[str, str | None]]:
    """What was done, and by whom; the newest first."""
    return [(each.what, each.who) for each in house.audit(subject=subject)]


class Ear:
    """A channel that hears, or does not."""

    trusted = False
    reaches_people = True
    replies = True
    audiences: frozenset[Audience] = frozenset()
    reaches = frozenset(Audience)
    name = "app"

    def __init__(self) -> None:
        self.cut = False
        self.fault = "nobody is known there"
        self.heard: list[Message] = []

    async def deliver(self, message: Message) -> None:
        if self.cut:
            raise ChannelError(self.fault)
        self.heard.append(message)


def speak(house: SmallHouse) -> Ear:
    ear = Ear()
    house.duty.speaker = Speaker(
        house.book, [], base_url="https://hub.example", clock=house.now, outbox=house.duty.outbox, personal=[ear]
    )
    return ear


# Staff


async def test_staff_are_registered_changed_and_leave_and_the_audit_says_who_said_so(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    assert await ask(web, "GET", "staff") == []
    contacts = [{"channel": "app", "address": " wang "}, {"channel": "telephone", "address": "+86 138 0000 0000"}]
    quiet = {"start": "22:00", "end": "07:00"}
    made = await ask(web, "POST", "staff", 201, **NURSE, contacts=contacts, quiet=quiet)
    assert made == {
        "id": "wang",
        "name": "王丽",
        "roles": ["nurse"],
        "language": "zh_CN",
        "zone": "Asia/Shanghai",  # the clinic's
        "active": True,
        "contacts": [
            {"channel": "app", "address": "wang", "usable": True},
            {"channel": "telephone", "address": "+86 138 0000 0000", "usable": True},
        ],
        "quiet": quiet,
    }
    assert await ask(web, "GET", "staff") == [made]
    changed = await ask(web, "PATCH", "staff/wang", roles=["nurse", "coordinator"], zone="Europe/Berlin", by="Zhao")
    assert changed == {**made, "roles": ["coordinator", "nurse"], "zone": "Europe/Berlin"}
    assert (await ask(web, "PATCH", "staff/wang", active=False, by="Zhao"))["active"] is False
    assert await ask(web, "GET", "staff") == []
    (left,) = await ask(web, "GET", "staff?left=true")
    assert left["contacts"] == made["contacts"]
    assert audited(house, "staff:wang") == [("changed", "Zhao"), ("changed", "Zhao"), ("added", "Head nurse Chen")]
    assert audited(house, "contacts:staff:wang") == [("added", "Head nurse Chen")]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"zone": "Mars/Base"}, "zone: no time zone is called 'Mars/Base'; use an IANA name such as Asia/Shanghai"),
        ({"roles": []}, "roles: "),
        ({"roles": ["surgeon"]}, "roles.0: use one of 'doctor', 'nurse',"),
        ({"language": "fr"}, "language: "),
        ({"id": "王"}, "id: "),
        ({"by": " "}, "by: "),
        (
            {"contacts": [{"channel": "fax", "address": "1"}]},
            "contact 1: no channel called fax is configured that reaches staff; use app, sms, telephone",
        ),
        (
            {"contacts": [{"channel": "app", "address": "x"}, {"channel": "telephone", "address": "call me"}]},
            "contact 2: call me is no telephone number; write all its digits, like +86 138 0000 0000 or",
        ),
        (
            {"contacts": [{"channel": "app", "address": "x"}, {"channel": "app", "address": " x"}]},
            "contact 2: it stands there already; leave it out",
        ),
        (
            {"contacts": [{"channel": "sms", "address": "wang.clinic"}]},
            "contact 1: wang.clinic is no e-mail address; write it like name@clinic.example",
        ),
        ({"contacts": [{"channel": "app", "address": "a\nb"}]}, "write it in one line"),
        ({"quiet": {"start": "22:00", "end": "22:00"}}, "quiet: quiet hours cannot end when they begin"),
        ({"quiet": {"start": "9:00", "end": "22:00"}}, "quiet.start: "),
    ],
)
async def test_what_cannot_be_registered_is_a_422_that_says_where_and_what_can(
    house: SmallHouse, web: httpx.AsyncClient, changed: dict[str, Any], said: str
) -> None:
    house.duty.mailboxes = frozenset({"sms"})  # as if it were a mailbox
    assert said in await refused(web, 422, "POST", "staff", **{**NURSE, **changed})
    assert await ask(web, "GET", "staff") == []


@pytest.mark.parametrize(
    ("number", "of_patient", "of_staff"),
    [
        ("13800", False, True),
        ("1352", False, True),
        ("138000", False, True),
        ("1380000", False, False),
        ("1380000000", False, False),
        ("+86 1380000", False, False),
        ("0086 1380000", False, False),
        ("8012", False, True),
        ("66 1234", False, True),
        ("12", False, False),
        ("+123456789012345", True, True),
        ("+1234567890123456", False, False),
        ("call 13800000000", False, False),
        ("138 0000 0000", True, True),
        ("138 000 0000", False, False),
        ("(+86) 138 0000 0000", True, True),
        ("(+86) 138 0000 000", False, False),
        ("13 432 10 00", True, True),
        ("1800 123 456", True, True),
        ("13800000000/13900000000", False, False),
        ("138-0000-0000", True, True),
        ("＋86 １３８ ００００ ００００", True, True),
        ("0086 138 0000 0000", True, True),
        ("86 138 0000 0000", True, True),
        ("6655 4433", True, True),
        ("(010) 6655-4433", True, True),
        ("（0571）6655 4433 转 801", True, True),
        ("400-800-1234#2", True, True),
        ("+86 10 6655 4433", True, True),
        ("+1 (555) 010-4433 ext. 12", True, True),
        ("+44 20 7946 0018 x7", True, True),
    ],
)
async def test_a_telephone_has_a_number_that_can_be_dialled_of_staff_also_within_the_house(
    web: httpx.AsyncClient, number: str, of_patient: bool, of_staff: bool
) -> None:
    await ask(web, "POST", "staff", 201, **DOCTOR)
    contacts = {"contacts": [{"channel": "telephone", "address": number}], **BY}
    for whose, taken in ((f"patients/{WANG.id}", of_patient), ("staff/li", of_staff)):
        answer = await web.put(f"/api/v1/{whose}/contacts", json=contacts)
        assert answer.status_code == (200 if taken else 422), answer.text
        if not taken:
            assert "is no telephone number; write all its digits, like +86 138" in answer.json()["detail"]


async def test_a_role_and_a_person_cannot_go_while_shifts_and_absences_rest_on_them(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    for one in (NURSE, {**NURSE, "id": "bao", "name": "Bao"}):
        await ask(web, "POST", "staff", 201, **one)
    assert await refused(web, 409, "POST", "staff", **NURSE) == (
        "staff wang exists already; change that one, or choose another id"
    )
    shift = await ask(web, "POST", "shifts", 201, **DAY)
    rests = f"王丽 has shift {shift['id']} as nurse: every day 08:00–20:00 (Asia/Shanghai). End that shift first."
    assert await refused(web, 409, "PATCH", "staff/wang", roles=["doctor"], **BY) == rests
    assert await refused(web, 409, "PATCH", "staff/wang", active=False, **BY) == rests
    away = {"staff": "wang", "start": "2026-03-04T00:00:00+08:00", "end": "2026-03-06T00:00:00+08:00"}
    await ask(web, "POST", "absences", 201, **away, substitute="bao", **BY)
    assert await refused(web, 409, "PATCH", "staff/bao", active=False, **BY) == (
        "Bao stands in for 王丽: 2026-03-04 00:00–2026-03-06 00:00 (Asia/Shanghai) (absence 1). "
        "Name somebody else there."
    )
    await ask(web, "PATCH", "absences/1", substitute=None, **BY)
    await ask(web, "PATCH", "staff/bao", active=False, **BY)
    await ask(web, "POST", f"shifts/{shift['id']}/end", to="2026-03-02", **BY)
    await ask(web, "PATCH", "staff/wang", active=False, **BY)
    assert "王丽 has left. Take 王丽 back first" in await refused(web, 409, "POST", "shifts", **DAY)


# Shifts


async def test_shifts_are_added_changed_and_ended(house: SmallHouse, web: httpx.AsyncClient) -> None:
    await ask(web, "POST", "staff", 201, **NURSE, contacts=APP)
    days = ["mon", "wed"]
    made = await ask(web, "POST", "shifts", 201, **NIGHT, weekdays=days, to="2026-06-30")
    assert made == {
        "id": 1, "staff": "wang", "role": "nurse", "weekdays": days, "start": "20:00", "end": "08:00",
        "zone": "Asia/Shanghai", "from": "2026-03-03", "to": "2026-06-30",
        "warning": None,
    }  # fmt: skip
    changed = await ask(web, "PATCH", "shifts/1", start="19:30", to=None, zone="Europe/Berlin", by="Zhao")
    assert changed == {**made, "start": "19:30", "to": None, "zone": "Europe/Berlin"}
    assert await ask(web, "GET", "shifts?staff=wang&role=nurse") == [changed]
    assert await ask(web, "GET", "shifts?role=doctor") == []
    ended = await ask(web, "POST", "shifts/1/end", by="Zhao")
    assert ended["to"] == "2026-03-03"
    house.time += timedelta(days=1)
    assert await ask(web, "GET", "shifts") == []
    assert await ask(web, "GET", "shifts?ended=true") == [ended]
    gone = "Shift 1 has ended, on 2026-03-03. Add a new one instead."
    assert await refused(web, 409, "POST", "shifts/1/end", **BY) == gone
    assert await refused(web, 409, "PATCH", "shifts/1", start="18:00", **BY) == gone
    assert audited(house, "shift:1") == [("changed", "Zhao"), ("changed", "Zhao"), ("added", "Head nurse Chen")]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"staff": "nobody"}, 404, "nobody of the staff has the id nobody"),
        ({"start": "8:00"}, 422, "start: "),
        ({"start": "25:00"}, 422, "start: "),
        ({"weekdays": []}, 422, "weekdays: "),
        ({"weekdays": ["monday"]}, 422, "weekdays.0: use one of 'mon', 'tue'"),
        ({"zone": "Shanghai"}, 422, "zone: no time zone is called 'Shanghai'"),
        (
            {"from": "2026-04-01", "to": "2026-03-31"},
            422,
            "it would end on 2026-03-31, before it begins on 2026-04-01",
        ),
        ({"role": "doctor"}, 409, "王丽 is not registered as doctor but as nurse. Add the role first"),
        (
            {"start": "07:00", "end": "08:30", "weekdays": ["tue"]},
            409,
            "王丽 has shift 1 at the same time: every day 20:00–08:00 (Asia/Shanghai). End that one first",
        ),
    ],
)
async def test_a_shift_that_cannot_be_is_refused_with_what_can(
    web: httpx.AsyncClient, body: dict[str, Any], status: int, said: str
) -> None:
    await ask(web, "POST", "staff", 201, **NURSE)
    await ask(web, "POST", "shifts", 201, **NIGHT)
    assert said in await refused(web, status, "POST", "shifts", **{**DAY, **body})
    assert len(await ask(web, "GET", "shifts")) == 1


async def test_a_shift_may_be_moved_where_it_stands_itself_and_a_new_one_follows_one_that_ends(
    web: httpx.AsyncClient,
) -> None:
    await ask(web, "POST", "staff", 201, **NURSE)
    await ask(web, "POST", "shifts", 201, **DAY, to="2026-03-31")
    await ask(web, "PATCH", "shifts/1", start="09:00", **BY)
    await ask(web, "POST", "shifts", 201, **{**DAY, "from": "2026-04-01"})
    assert "shift 2 at the same time" in await refused(web, 409, "PATCH", "shifts/1", to=None, **BY)


# Absences


async def test_absences_are_added_changed_and_ended(house: SmallHouse, web: httpx.AsyncClient) -> None:
    for one in (NURSE, {**NURSE, "id": "bao", "name": "Bao", "roles": ["nurse", "coordinator"], "contacts": APP}):
        await ask(web, "POST", "staff", 201, **one)
    away = {"staff": "wang", "start": "2026-03-03T00:00:00Z", "end": "2026-03-05T00:00:00Z", "substitute": "bao"}
    made = await ask(web, "POST", "absences", 201, **away, **BY)
    assert made == {
        "id": 1, "staff": "wang", "substitute": "bao",
        "start": "2026-03-03T08:00:00+08:00", "end": "2026-03-05T08:00:00+08:00", "warning": None,
    }  # fmt: skip
    longer = await ask(web, "PATCH", "absences/1", end="2026-03-06T00:00:00Z", by="Zhao")
    assert (longer["end"], longer["substitute"]) == ("2026-03-06T08:00:00+08:00", "bao")
    late = {"end": "2026-03-07T00:00:00Z", **BY}
    assert "absence 1 ends before that anyway" in await refused(web, 422, "POST", "absences/1/end", **late)
    back = await ask(web, "POST", "absences/1/end", by="王丽")
    assert back["end"] == NOW.astimezone(house.zone).isoformat()
    assert await ask(web, "GET", "absences") == []
    assert await ask(web, "GET", "absences?over=true&staff=wang") == [back]
    over = "Absence 1 is over. Add a new one instead."
    assert await refused(web, 409, "POST", "absences/1/end", **BY) == over
    assert await refused(web, 409, "PATCH", "absences/1", substitute=None, **BY) == over
    assert audited(house, "absence:1") == [("changed", "王丽"), ("changed", "Zhao"), ("added", "Head nurse Chen")]
    ahead = {**away, "start": "2026-04-01T00:00:00Z", "end": "2026-04-05T00:00:00Z", **BY}
    await ask(web, "POST", "absences", 201, **ahead)
    never = await ask(web, "POST", "absences/2/end", **BY)
    assert never["start"] == never["end"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"staff": "nobody"}, 404, "nobody of the staff has the id nobody"),
        ({"substitute": "nobody"}, 404, "nobody of the staff has the id nobody"),
        ({"substitute": "wang"}, 422, "nobody stands in for themselves; choose somebody else, or nobody"),
        ({"end": "2026-03-09T00:00:00Z"}, 422, "the absence ends before it begins; turn the two moments round"),
        ({"start": "2026-03-10T00:00:00"}, 422, "start: "),
        (
            {"substitute": "li"},
            409,
            "Dr Li (doctor) has no role of 王丽 (nurse). Choose somebody who has, or nobody.",
        ),
        (
            {"substitute": "bao"},
            409,
            "Bao is away then too: 2026-03-11 08:00–2026-03-20 08:00 (Asia/Shanghai). Choose somebody else",
        ),
        (
            {"staff": "bao"},
            409,
            "Bao is away then already: 2026-03-11 08:00–2026-03-20 08:00 (Asia/Shanghai) (absence 1). End that",
        ),
        (
            {"staff": "liu"},
            409,
            "Liu stands in for Bao then: 2026-03-11 08:00–2026-03-20 08:00 (Asia/Shanghai) (absence 1). End that",
        ),
        (
            {"staff": "liu", "substitute": "wang"},
            409,
            "Liu stands in for Bao then",
        ),
    ],
)
async def test_an_absence_that_cannot_be_is_refused_with_what_can(
    web: httpx.AsyncClient, body: dict[str, Any], status: int, said: str
) -> None:
    for one in (NURSE, DOCTOR, {**NURSE, "id": "bao", "name": "Bao"}, {**NURSE, "id": "liu", "name": "Liu"}):
        await ask(web, "POST", "staff", 201, **one)
    away = {"start": "2026-03-10T00:00:00Z", "end": "2026-03-12T00:00:00Z", **BY}
    await ask(
        web, "POST", "absences", 201, staff="bao", substitute="liu",
        start="2026-03-11T00:00:00Z", end="2026-03-20T00:00:00Z", **BY,
    )  # fmt: skip
    assert said in await refused(web, status, "POST", "absences", **{"staff": "wang", **away, **body})
    assert len(await ask(web, "GET", "absences")) == 1


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "staff/x", "nobody of the staff has the id x"),
        ("PATCH", "staff/x", "nobody of the staff has the id x"),
        ("GET", "staff/x/contacts", "nobody of the staff has the id x"),
        ("GET", "patients/x/contacts", "no patient has the id x"),
        ("POST", "shifts/9/end", "there is no shift 9"),
        ("PATCH", "absences/9", "there is no absence 9"),
    ],
)
async def test_what_there_is_not_is_a_404(web: httpx.AsyncClient, method: str, path: str, said: str) -> None:
    assert await refused(web, 404, method, path, **({} if method == "GET" else BY)) == said


async def test_who_is_put_on_the_rota_and_cannot_be_told_is_named_there_and_then(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    for one in (NURSE, {**NURSE, "id": "bao", "name": "Bao"}):
        await ask(web, "POST", "staff", 201, **one)
    house.duty.team.put_contacts("staff:bao", [Contact(channel="pager", address="1")], now=NOW)  # configured once
    shift = await ask(web, "POST", "shifts", 201, **DAY)
    assert shift["warning"] == {
        "en": "王丽 cannot be told of anything: no contact is entered that can be used. "
        "Open the page Team, then 王丽, and add one under Contacts.",
        "zh": "王丽 目前无法收到任何通知：没有可用的联系方式。请在“团队”页面打开 王丽，在“联系方式”下添加。",
    }
    away = {"staff": "wang", "start": "2026-03-04T00:00:00Z", "end": "2026-03-05T00:00:00Z"}
    made = await ask(web, "POST", "absences", 201, **away, substitute="bao", **BY)
    assert made["warning"]["en"].startswith("Bao cannot be told of anything: ")
    assert (await ask(web, "GET", "shifts")) == [shift]  # it is kept all the same
    both = ["王丽", "Bao"]
    for path, named in (("/team", both), ("/team/staff/wang", both), ("/team/staff/bao", ["Bao"])):
        for language, said in (("en", "cannot be told of anything: "), ("zh-CN", "目前无法收到任何通知：")):
            page = (await web.get(path, headers={"Accept-Language": language})).text
            assert [name for name in both if f"{name} {said}" in page] == named
    assert '<a href="/team/staff/bao#contacts">' in (await web.get("/team/staff/wang")).text

    for name in ("wang", "bao"):
        await ask(web, "PUT", f"staff/{name}/contacts", contacts=APP, **BY)
    assert (await ask(web, "PATCH", "shifts/1", start="09:00", **BY))["warning"] is None
    assert [each["warning"] for each in await ask(web, "GET", "absences")] == [None]
    assert "cannot be told of anything" not in (await web.get("/team")).text


# Who is on duty


async def test_who_is_on_duty_now_and_next_and_when_nobody_is(house: SmallHouse, web: httpx.AsyncClient) -> None:
    for one in (NURSE, DOCTOR, {**NURSE, "id": "bao", "name": "Bao"}):
        await ask(web, "POST", "staff", 201, **one)
        house.duty.team.put_contacts(f"staff:{one['id']}", [Contact(channel="app", address="me")], now=NOW)
    await ask(web, "POST", "shifts", 201, **DAY)
    await ask(web, "POST", "shifts", 201, **NIGHT)
    await ask(
        web, "POST", "absences", 201, staff="wang", substitute="bao",
        start="2026-03-04T00:00:00+08:00", end="2026-03-05T00:00:00+08:00", **BY,
    )  # fmt: skip
    doctor, nurse = await ask(web, "GET", "duty")
    assert (doctor["role"], doctor["now"], doctor["next"]) == ("doctor", [], None)
    assert doctor["gaps"] == [{"start": "2026-03-03T14:30:00+08:00", "end": "2026-03-10T00:00:00+08:00"}]
    assert nurse["now"] == [
        {"staff": "wang", "name": "王丽", "instead_of": None,
         "start": "2026-03-03T08:00:00+08:00", "end": "2026-03-03T20:00:00+08:00"}
    ]  # fmt: skip
    assert (nurse["next"]["staff"], nurse["next"]["start"]) == ("wang", "2026-03-03T20:00:00+08:00")
    assert nurse["gaps"] == []
    house.time += timedelta(hours=12)  # 02:30 of the day on which Bao stands in
    (there,) = (await ask(web, "GET", "duty"))[1]["now"]
    assert (there["staff"], there["instead_of"], there["start"]) == ("bao", "wang", "2026-03-04T00:00:00+08:00")


# Contacts


async def test_a_patients_page_does_not_say_that_a_very_low_glucose_waits_for_quiet_hours(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    await ask(web, "POST", "staff", 201, **NURSE)
    of_staff, of_patient = "put off what is of low or medium priority", "put off only what is of low priority"
    for page, says, says_not in (
        ("/team/staff/wang", of_staff, of_patient),
        (f"/patients/{WANG.id}", of_patient, of_staff),
    ):
        text = (await web.get(page)).text
        assert says in text
        assert says_not not in text


@pytest.mark.parametrize("owner", ["staff/wang", f"patients/{WANG.id}"])
async def test_contacts_are_replaced_tried_and_their_delivery_is_shown(
    house: SmallHouse, web: httpx.AsyncClient, owner: str
) -> None:
    ear = speak(house)
    await ask(web, "POST", "staff", 201, **NURSE)
    empty = await ask(web, "GET", f"{owner}/contacts")
    assert empty == {"contacts": [], "quiet": None, "channels": ["app", "sms", "telephone"]}
    contacts = [{"channel": "app", "address": "wang"}, {"channel": "telephone", "address": "+86 138 0000 0000"}]
    quiet = {"start": "14:00", "end": "15:00"}  # now
    set_now = await ask(web, "PUT", f"{owner}/contacts", contacts=contacts, quiet=quiet, **BY)
    assert set_now["quiet"] == quiet
    assert [each["channel"] for each in set_now["contacts"]] == ["app", "telephone"]
    kind = "staff:wang" if owner.startswith("staff") else f"patient:{WANG.id}"
    assert audited(house, f"contacts:{kind}")[0][1] == "Head nurse Chen"

    made = await ask(web, "POST", f"{owner}/contacts/trials", 201, **contacts[0], **BY)
    assert (made["channel"], made["tries"], made["delivered_at"]) == ("app", 0, None)
    assert await house.duty.speaker.speak() == 1
    (message,) = ear.heard
    assert (message.address, message.said(message.subject)) == ("wang", "Homeward 测试消息")
    assert message.said(message.body) == "诊所正在测试消息能否通过此方式送达给您。无需任何操作。"
    assert message.link == ""
    assert audited(house, f"contacts:{kind}")[0] == ("tried", "Head nurse Chen")
    (shown,) = await ask(web, "GET", f"{owner}/contacts/trials")
    assert (shown["notice"], shown["tries"], shown["error"]) == (made["notice"], 1, None)
    assert shown["delivered_at"] == "2026-03-03T14:30:00+08:00"

    by_hand = await refused(web, 409, "POST", f"{owner}/contacts/trials", **contacts[1], **BY)
    assert by_hand == "a telephone is dialled by a person: call this number yourself to try it"
    gone = await refused(web, 409, "POST", f"{owner}/contacts/trials", channel="sms", address="1", **BY)
    assert gone == "there is no such contact any more; look at the page again"


async def test_a_wrong_address_is_tried_twice_and_then_given_up_so_that_its_channel_is_not_dead(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    ear = speak(house)
    ear.cut = True
    await ask(web, "POST", "staff", 201, **NURSE, contacts=[{"channel": "app", "address": "x"}])
    await ask(web, "POST", "staff/wang/contacts/trials", 201, channel="app", address="x", **BY)
    for _ in range(6):
        await house.duty.speaker.speak()
        house.time += timedelta(minutes=10)
    (shown,) = await ask(web, "GET", "staff/wang/contacts/trials")
    assert (shown["tries"], shown["delivered_at"], shown["error"]) == (2, None, "nobody is known there")
    assert shown["given_up_at"] == "2026-03-03T14:40:00+08:00"
    web.headers["Accept-Language"] = "zh-CN"
    assert '<span class="soft" lang="en">nobody is known there</span>' in (await web.get("/team/staff/wang")).text
    ear.fault = "webhook app answered HTTP 500"
    await ask(web, "POST", "staff/wang/contacts/trials", 201, channel="app", address="x", **BY)
    await house.duty.speaker.speak()
    assert '<span class="soft">webhook app 返回错误代码 HTTP 500</span>' in (await web.get("/team/staff/wang")).text
    assert house.duty.speaker.dead() == {}


async def test_not_more_than_six_messages_go_to_one_person_at_once(house: SmallHouse, web: httpx.AsyncClient) -> None:
    await ask(web, "POST", "staff", 201, **NURSE, contacts=[{"channel": "app", "address": "x"}])
    this = {"channel": "app", "address": "x", **BY}
    for _ in range(6):
        await ask(web, "POST", "staff/wang/contacts/trials", 201, **this)
        house.time += timedelta(seconds=20)
    said = await refused(web, 409, "POST", "staff/wang/contacts/trials", **this)
    assert said == "6 messages went to this person within 10 min. Try again in 8 min."


# The API describes itself


async def test_every_body_has_an_example_that_its_schema_takes(web: httpx.AsyncClient) -> None:
    schema = await ask(web, "GET", "openapi.json")
    named = schema["components"]["schemas"]
    bodies = 0
    for methods in schema["paths"].values():
        for operation in methods.values():
            if "team" not in operation.get("tags", ()):
                continue
            assert operation["description"]
            for each in operation.get("requestBody", {}).get("content", {}).values():
                shape = named[each["schema"]["$ref"].rsplit("/", 1)[-1]]
                assert shape["examples"]
                for example in shape["examples"]:
                    Draft202012Validator({**shape, "components": schema["components"]}).validate(example)
                bodies += 1
    assert bodies == 12


# The pages


STAFF_FORM = {"name": "王丽", "id": "wang", "role-nurse": "on", "language": "zh_CN", "zone": "Asia/Shanghai", **BY}
WEEK = {f"day-{day}": "on" for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
SHIFT_FORM = {
    "staff": "wang",
    "role": "nurse",
    **WEEK,
    "start": "08:00",
    "end": "20:00",
    "zone": "Asia/Shanghai",
    **BY,
}


@pytest.mark.parametrize(
    ("language", "empty", "told"),
    [
        ("en", "No staff yet: alerts go to the channels of the house alone", "Nobody is on duty who can be told:"),
        ("zh-CN", "尚无工作人员：警报只发往机构的公共渠道", "无可通知者值班的时段："),
    ],
)
async def test_from_the_empty_page_to_a_nurse_on_duty_who_was_sent_a_test_message(
    house: SmallHouse, web: httpx.AsyncClient, language: str, empty: str, told: str
) -> None:
    ear = speak(house)
    web.headers["Accept-Language"] = language
    assert empty in (await web.get("/team")).text
    made = await web.post("/team", data=STAFF_FORM)
    assert (made.status_code, made.headers["location"]) == (303, "/team/staff/wang#contacts")
    at = "/team/staff/wang"
    for form in ({"channel": "app", "address": "wang"}, {"channel": "telephone", "address": "+86 138 0000 0000"}):
        assert (await web.post(f"{at}/contacts", data={**form, **BY})).status_code == 303
    dial = {"channel": "telephone", "address": "+86 138 0000 0000", **BY}
    assert (await web.post(f"{at}/contacts/change", data={**dial, "do": "first"})).status_code == 303
    assert [each["channel"] for each in (await ask(web, "GET", "staff/wang"))["contacts"]] == ["telephone", "app"]
    tried = {"channel": "app", "address": "wang", "do": "try", **BY}
    assert (await web.post(f"{at}/contacts/change", data=tried)).status_code == 303
    await house.duty.speaker.speak()
    assert len(ear.heard) == 1
    shown = (await web.get(at)).text
    assert ("已送达" if language == "zh-CN" else "delivered") in shown.split('id="trials"')[1]
    assert (await web.post(f"{at}/contacts/change", data={**dial, "do": "remove"})).status_code == 303
    assert (await web.post(f"{at}/quiet", data={"start": "22:00", "end": "07:00", **BY})).status_code == 303
    found = await ask(web, "GET", "staff/wang")
    assert found["quiet"] == {"start": "22:00", "end": "07:00"}
    assert [each["channel"] for each in found["contacts"]] == ["app"]
    assert (await web.post("/team/shifts", data=SHIFT_FORM)).status_code == 303
    page = (await web.get("/team")).text
    assert told in page
    gap = {"en": "3 Mar 2026, 20:00 UTC+8</time> – ", "zh-CN": "2026年3月3日 20:00 UTC+8</time> – "}[language]
    assert page.count(gap) == 1
    assert 'style="left:4.762%;width:7.143%"' in page  # the bar of today, from 08:00 to 20:00
    assert audited(house, "staff:wang") == [("added", "Head nurse Chen")]


@pytest.mark.parametrize(
    ("path", "form", "status", "said"),
    [
        ("/team", {**STAFF_FORM, "zone": "火星"}, 422, "时区：没有名为 '火星' 的时区"),
        ("/team", {**STAFF_FORM, "role-nurse": ""}, 422, "角色：请至少选择一项"),
        ("/team", {**STAFF_FORM, "id": "li"}, 409, "工作人员 li 已存在；请修改该人员，或另选编号"),
        ("/team/shifts", {**SHIFT_FORM, "staff": "li", "start": "8 点"}, 422, "开始：请按 08:30 的格式填写时间"),
        (
            "/team/shifts",
            {**SHIFT_FORM, "staff": "li"},
            409,
            "Dr Li 登记的角色是医生，不是护士。请先添加该角色，或另选他人。",
        ),
        (
            "/team/absences",
            {"staff": "li", "start": "2026-03-09T08:00", "end": "2026-03-08T08:00", **BY},
            422,
            "缺勤的结束早于开始；请对调两个时间",
        ),
        (
            "/team/absences",
            {"staff": "li", "start": "2026-03-09", "end": "morgen", **BY},
            422,
            "结束：这不是时间；请写作 2026-03-01T08:00",
        ),
        (
            "/team/staff/li/contacts",
            {"channel": "telephone", "address": "打给我", **BY},
            422,
            "联系方式 1：打给我 不是完整的电话号码；请填写全部数字，例如 +86 138 0000 0000 或 010-6655 4433 转 12",
        ),
        ("/team/staff/li/quiet", {"start": "22:00", **BY}, 422, "结束：必填"),
        (
            f"/patients/{WANG.id}/contacts",
            {"channel": "fax", "address": "1", **BY},
            422,
            "联系方式 1：未配置可联系患者的渠道 fax；可用的有：app, sms, telephone",
        ),
    ],
)
async def test_a_refused_form_comes_back_as_it_was_typed_with_the_reason(
    web: httpx.AsyncClient, path: str, form: dict[str, str], status: int, said: str
) -> None:
    await ask(web, "POST", "staff", 201, **DOCTOR)
    web.headers["Accept-Language"] = "zh-CN"
    sent = {name: text for name, text in form.items() if text}
    answer = await web.post(path, data=sent)
    assert answer.status_code == status, answer.text
    page = html.unescape(answer.text)
    assert said in page.split('<p class="warning refused"')[1].split("</p>")[0]
    typed = page.split(f'action="{path}"')[1].split("</form>")[0]
    for name in ("id", "start", "address"):
        if name in sent:
            assert f'value="{sent[name]}"' in typed
    assert 'value="Head nurse Chen"' in typed


async def test_shifts_end_and_people_come_back_leave_and_are_taken_back_on_their_page(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    for one in (NURSE, {**NURSE, "id": "bao", "name": "Bao"}):
        await ask(web, "POST", "staff", 201, **one)
    await ask(web, "POST", "shifts", 201, **DAY)
    away = {"staff": "wang", "start": "2026-03-03T08:00", "end": "2026-03-05T08:00", "substitute": "bao", **BY}
    assert (await web.post("/team/absences", data=away)).status_code == 303
    (absence,) = await ask(web, "GET", "absences")
    assert absence["start"] == "2026-03-03T08:00:00+08:00"  # on the clinic's clock
    page = (await web.get("/team/staff/wang")).text
    assert "Bao stands in" in page
    assert "every day 08:00–20:00 (Asia/Shanghai)" in page
    assert "instead of 王丽" in (await web.get("/team")).text
    late = await web.post("/team/staff/wang/active", data={"active": "false", **BY})
    assert (late.status_code, "End that shift first." in late.text) == (409, True)
    assert (await web.post("/team/absences/1/end", data=BY)).headers["location"] == "/team/staff/wang#absences"
    assert (await web.post("/team/shifts/1/end", data={"to": "2026-03-02", **BY})).status_code == 303
    changed = {"name": "王莉", "role-doctor": "on", "language": "en", "zone": "UTC", **BY}
    assert (await web.post("/team/staff/wang", data=changed)).status_code == 303
    assert (await web.post("/team/staff/wang/active", data={"active": "false", **BY})).status_code == 303
    gone = await ask(web, "GET", "staff/wang")
    assert (gone["name"], gone["roles"], gone["active"]) == ("王莉", ["doctor"], False)
    assert "Has left: is told of nothing" in (await web.get("/team/staff/wang")).text
    assert (await web.post("/team/staff/wang/active", data={"active": "true", **BY})).status_code == 303
    assert [each["id"] for each in await ask(web, "GET", "staff")] == ["bao", "wang"]


@pytest.mark.parametrize(
    ("language", "correct", "remove"), [("en", "Correct…", "Remove"), ("zh-CN", "更正…", "移除")]
)
async def test_shifts_and_absences_are_corrected_and_removed_on_the_page_of_their_person(
    house: SmallHouse, web: httpx.AsyncClient, language: str, correct: str, remove: str
) -> None:
    web.headers["Accept-Language"] = language
    for one in (NURSE, {**NURSE, "id": "bao", "name": "Bao"}):
        await ask(web, "POST", "staff", 201, **one)
    await ask(web, "POST", "shifts", 201, **DAY, weekdays=["mon", "wed"], to="2026-06-30")
    await ask(web, "POST", "shifts", 201, **{**NIGHT, "from": "2026-04-01"})
    away = {"staff": "wang", "start": "2026-03-04T00:00:00Z", "end": "2026-03-05T00:00:00Z", "substitute": "bao"}
    await ask(web, "POST", "absences", 201, **away, **BY)
    team = (await web.get("/team")).text
    for part in ("shifts", "absences"):
        assert f'<a href="/team/staff/wang#{part}">' in team
    page = (await web.get("/team/staff/wang")).text
    assert page.count(correct) == 3
    form = page.split('action="/team/shifts/1"')[1].split("</form>")[0]
    assert [day for day in WEEK if f'name="{day}" checked' in form] == ["day-mon", "day-wed"]
    assert 'value="2026-06-30"' in form
    form = page.split('action="/team/absences/1"')[1].split("</form>")[0]
    assert 'name="start" value="2026-03-04T08:00"' in form
    assert '<option value="bao" selected>' in form

    new = {"day-tue": "on", "start": "01:00", "end": "09:00", "from": "2026-03-03", "zone": "UTC", "by": "Zhao"}
    at = "/team/staff/wang"
    assert (await web.post("/team/shifts/1", data=new)).headers["location"] == f"{at}#shifts"
    (shift, _) = await ask(web, "GET", "shifts")
    assert (shift["weekdays"], shift["start"], shift["end"]) == (["tue"], "01:00", "09:00")
    assert (shift["from"], shift["to"], shift["zone"]) == ("2026-03-03", None, "UTC")
    longer = {"start": "2026-03-04T09:00", "end": "2026-03-07T09:00", "by": "Zhao"}
    assert (await web.post("/team/absences/1", data=longer)).headers["location"] == f"{at}#absences"
    (absence,) = await ask(web, "GET", "absences")
    assert (absence["end"], absence["substitute"]) == ("2026-03-07T09:00:00+08:00", None)
    for subject in ("shift:1", "absence:1"):
        assert audited(house, subject) == [("changed", "Zhao"), ("added", "Head nurse Chen")]

    seen = {"Referer": f"http://localhost:8080{at}"}
    back = await web.post("/team/shifts/1", data={**new, "to": "2026-03-01"}, headers=seen)
    assert back.status_code == 422
    assert '<details open><summary class="button">' in back.text.split('id="shifts"')[1].split("</ul>")[0]
    before = (await web.get(at)).text
    for path in ("shifts/2", "absences/1"):
        assert remove in before.split(f'action="/team/{path}/end"')[1].split("</form>")[0]
        assert (await web.post(f"/team/{path}/end", data={"by": "Zhao"})).status_code == 303
        assert f'action="/team/{path}"' not in (await web.get(at)).text
    assert [each["id"] for each in await ask(web, "GET", "shifts")] == [1]
    assert await ask(web, "GET", "absences") == []


async def test_the_patients_page_shows_and_changes_contacts_quiet_hours_language_and_the_plan_of_care(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    at = f"/patients/{WANG.id}"
    empty = (await web.get(at)).text
    assert "No contact yet. Add one below, and send a test message." in empty
    assert "No plan of care" in empty
    await ask(web, "PUT", f"patients/{WANG.id}/care-plans/hypertension", role="nurse", author="Dr Li")
    added = await web.post(f"{at}/contacts", data={"channel": "sms", "address": "+8613", **BY})
    assert added.headers["location"] == f"{at}#contacts"
    quiet = {"start": "21:00", "end": "08:00", "language": "en", **BY}
    assert (await web.post(f"{at}/quiet", data=quiet)).status_code == 303
    page = (await web.get(at)).text
    assert "<b>sms</b> +8613" in page
    assert 'name="start" value="21:00"' in page
    patient = house.people.patient(WANG.id)
    assert patient is not None
    assert patient.language == "en"
    assert "High blood pressure" in page.split('id="care-plan"')[1]
    assert audited(house, f"contacts:patient:{WANG.id}") == [
        ("changed", "Head nurse Chen"),
        ("added", "Head nurse Chen"),
    ]


async def test_what_a_patient_was_told_by_the_own_contacts_is_shown_as_delivered(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    speak(house)
    await ask(web, "PUT", f"patients/{WANG.id}/contacts", contacts=[{"channel": "app", "address": "w"}], **BY)
    await ask(web, "POST", f"patients/{WANG.id}/contacts/trials", 201, channel="app", address="w", **BY)
    await house.duty.speaker.speak()
    told = (await web.get(f"/patients/{WANG.id}")).text.split('id="told"')[1].split("</div>")[0]
    assert "app: delivered" in told
    assert "not told" not in told


@pytest.mark.parametrize(
    ("contacts", "cut", "quiet", "says"),
    [
        ([], False, None, '<span class="missing">not told: no contact that can be used</span>'),
        (["app"], False, None, "app: delivered"),
        (["app"], True, None, 'app: <span class="missing">not delivered yet, 1 try</span>'),
        (
            ["app"],
            False,
            QuietHours(start=time(14), end=time(15)),
            "</span>; waits until 3 Mar 2026, 15:00 UTC+8 (quiet hours, ",
        ),
        (["telephone"], False, None, '<span class="soft"><span>staff were asked to telephone</span></span>'),
    ],
)
async def test_what_a_rule_says_is_shown_as_told_only_where_it_reaches_the_patient(
    house: SmallHouse, web: httpx.AsyncClient, contacts: list[str], cut: bool, quiet: QuietHours | None, says: str
) -> None:
    ear = speak(house)
    ear.cut = cut
    ways = [Contact(channel=channel, address="w") for channel in contacts]
    house.duty.team.put_contacts(f"patient:{WANG.id}", ways, quiet, now=NOW)
    asked = very_low(
        rule="bp-severe",
        problem="blood-pressure-high",
        audience=Audience.PATIENT,
        priority=Priority.LOW,
        because=Text(en="Please measure.", zh="请测量。"),
    )
    (notice,) = hear_findings({}, [asked], house.time).notices
    house.book.record((), [notice])
    house.book.note_try(Try(notice=notice.id, channel="log", at=NOW, error=None), due=None, reaches_people=False)
    page = (await web.get(f"/patients/{WANG.id}")).text
    assert ("not told yet" in page) == bool(contacts)
    await house.duty.go()
    await house.duty.speaker.speak()
    told = (await web.get(f"/patients/{WANG.id}")).text.split('id="told"')[1].split("</div>")[0]
    assert says in told
    assert "log: " not in told
    assert ("not told: " in told) == (not contacts)


@pytest.mark.parametrize(
    ("language", "waits", "needless"),
    [
        (
            "en",
            "put off, not told yet; waits until 3 Mar 2026, 08:00 UTC+1 (quiet hours, ",
            "put off, and not needed any more",
        ),
        ("zh-CN", "已推迟，尚未告知; 等待至 2026年3月3日 08:00 UTC+1（免打扰时段、", "已推迟，现已无需告知"),
    ],
)
async def test_what_was_put_off_is_to_be_told_only_as_long_as_the_alert_is_open(
    house: SmallHouse, web: httpx.AsyncClient, language: str, waits: str, needless: str
) -> None:
    speak(house)
    quiet = QuietHours(start=time(14), end=time(15))
    house.duty.team.put(replace(LI, roles=frozenset({Role.NURSE}), quiet=quiet), now=NOW)
    house.duty.team.add_shift(shift("li", Role.NURSE), now=NOW)
    alert = house.find(severe_pressure())
    await house.duty.go()

    async def listed() -> str:
        page = await web.get(f"/alerts/{alert.id}", headers={"Accept-Language": language})
        return page.text.split('id="notices"')[1].split("</div>")[0]

    assert f"; {waits}" in await listed()
    closed = Act(
        kind=ActKind.CLOSE, alert=alert.id, by="Li", at=house.time, outcome=Outcome.EMERGENCY, note="called 120"
    )
    await house.act(closed)
    shown = await listed()
    assert f"; {needless}</span>" in shown
    assert waits not in shown


@pytest.mark.parametrize(
    ("language", "says"),
    [("en", "told in the message about the alert of the same moment"), ("zh-CN", "已包含在同时发出的警报消息中")],
)
async def test_what_was_told_in_the_message_about_an_alert_is_listed_and_says_so(
    house: SmallHouse, web: httpx.AsyncClient, language: str, says: str
) -> None:
    speak(house)
    house.duty.team.put(LI, now=NOW)
    await ask(web, "PUT", f"patients/{WANG.id}/contacts", contacts=[{"channel": "app", "address": "w"}], **BY)
    found = very_low(because=Text(en="Glucose 2.8 mmol/L at 14:10.", zh="14:10 血糖 2.8 mmol/L。"))
    because = together((found.because, advice_late(very_low=True)), Text(en="", zh=""))
    own = replace(found, audience=Audience.PATIENT, because=because)
    heard = hear_findings({}, [found, own], house.time)
    house.book.record(heard.changes, heard.notices)
    await house.duty.go()
    await house.duty.speaker.speak()
    page = await web.get(f"/patients/{WANG.id}", headers={"Accept-Language": language})
    rows = page.text.split('id="told"')[1].split("</div>")[0].split("<li>")[1:]
    assert [says in row for row in rows].count(True) == 1
    assert len(rows) == 2


async def test_without_the_token_nobody_sees_or_changes_the_team(house: SmallHouse) -> None:
    house.duty.team.put(LI, now=NOW)
    async with browser(house, WebSettings(token="secret")) as stranger:
        for path in ("/team", "/team/staff/li"):
            assert (await stranger.get(path)).headers["location"].startswith("/login")
        for path in ("staff", "shifts", "absences", "duty", "staff/li/contacts", f"patients/{WANG.id}/contacts"):
            assert (await stranger.get(f"/api/v1/{path}")).status_code == 401
        assert (await stranger.post("/api/v1/staff", json=NURSE)).status_code == 401
        assert (await stranger.post("/team/staff/li/active", data={"active": "false", **BY})).status_code == 303
    async with browser(house, **{"Sec-Fetch-Site": "cross-site"}) as lured:
        assert (await lured.post("/team/staff/li/active", data={"active": "false", **BY})).status_code == 403
    assert house.duty.team.staff() == [LI]

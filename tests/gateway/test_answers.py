from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.alert import Act, ActKind, Alert, Audience, Notice, Priority, Verdict
from alerts.channels import Speaker
from alerts.follow_up import What, Why
from alerts.team import Contact, Practitioner, QuietHours, Role, patient, staff
from gateway.guard import WebSettings
from gateway.replies import ReplyResult, acknowledges
from gateway.web import create_app
from tests.alerts.telling import shift
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, severe_pressure, very_low
from tests.gateway.test_duty import Ear, speak_through

LI = Practitioner(
    id="li",
    name="李医生",
    roles=frozenset({Role.DOCTOR, Role.NURSE}),
    zone="Asia/Shanghai",
    contacts=(Contact(channel="app", address="+8613"),),
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    house = SmallHouse(tmp_path)
    house.people.add_patient(WANG, now=NOW)
    house.people.add_patient(MILLER, now=NOW)
    house.duty.team.put(LI, now=NOW)
    for role in (Role.NURSE, Role.DOCTOR):
        house.duty.team.add_shift(shift("li", role), now=NOW)
    yield house
    house.close()


@pytest.fixture
async def web(house: SmallHouse) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody outside, who does not know the token of the house."""
    app = create_app(house, WebSettings(token="secret"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


async def told(house: SmallHouse) -> tuple[Alert, Notice]:
    """An alert, and the notice about it to the doctor."""
    alert = house.find(very_low())
    await house.duty.go()
    (notice,) = {each.id: each for each in house.book.notices(alert.id) if each.recipient == "staff:li"}.values()
    return alert, notice


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", {"to 李医生", "to 王芳", "to the channels of the house"}),
        ("zh-CN", {"收件人：李医生", "收件人：王芳", "收件人：机构的公共渠道"}),
    ],
)
async def test_the_alerts_page_says_to_whom_each_message_went(
    house: SmallHouse, web: httpx.AsyncClient, language: str, said: set[str]
) -> None:
    house.duty.team.put_contacts(patient("p-017"), [Contact(channel="app", address="wang")], None, now=NOW)
    alert, _ = await told(house)
    web.headers.update({"Authorization": "Bearer secret", "Accept-Language": language})
    page = (await web.get(f"/alerts/{alert.id}")).text
    listed = page.partition('id="notices"')[2].partition("</ul>")[0]
    assert set(re.findall(r'<span class="soft">(.*?)</span></li>', listed)) == said


def path(house: SmallHouse, notice: Notice) -> str:
    return house.duty.link(notice).removeprefix("https://hub.example")


async def test_a_get_changes_nothing_and_a_post_acknowledges(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert, notice = await told(house)
    link = path(house, notice)
    for _ in range(2):  # a mail scanner, then the person
        page = await web.get(link)
        assert page.status_code == 200
        assert "Acknowledge as 李医生" in page.text
        assert "2.8" not in page.text
        before = house.book.alert(alert.id)
        assert before is not None
        assert before.acknowledged_at is None
    page = await web.post(link)
    assert page.status_code == 200
    assert "李医生 has acknowledged this alert." in page.text
    follow_up = house.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    assert f'href="/follow-ups/{follow_up.id}"' in page.text
    seen = house.book.alert(alert.id)
    assert seen is not None
    assert (seen.acknowledged_by, seen.acknowledged_at) == ("李医生", NOW)


async def test_a_second_use_says_who_acknowledged(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert, notice = await told(house)
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Nurse Bao", at=NOW))
    page = await web.post(path(house, notice), headers={"Accept-Language": "zh"})
    assert page.status_code == 200
    assert "Nurse Bao 已确认此警报。" in page.text
    assert "<button" not in page.text.split("<main")[1]
    seen = house.book.alert(alert.id)
    assert seen is not None
    assert seen.acknowledged_by == "Nurse Bao"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("李医生 acknowledged what this link was sent for.", "acknowledges nothing any more", "or sign in.")),
        ("zh", ("李医生 已确认此链接所告知的情况。", "此链接已不能用于确认", "或登录后确认。")),
    ],
)
async def test_a_link_acknowledges_the_episode_of_its_message_once(
    house: SmallHouse, web: httpx.AsyncClient, language: str, said: tuple[str, ...]
) -> None:
    alert, notice = await told(house)
    used = path(house, notice)
    assert (await web.post(used)).status_code == 200
    relapse(house)
    await house.duty.go()
    web.headers["Accept-Language"] = language
    for answer in (await web.get(used), await web.post(used)):
        assert answer.status_code == (200 if answer.request.method == "GET" else 409)
        assert [each in answer.text for each in said] == [True] * 3
        assert "<button" not in answer.text.split("<main")[1]
        assert '<a href="/">' in answer.text
        times = re.findall(r'<time datetime="(.*?)"', answer.text)
        assert [datetime.fromisoformat(each) for each in times] == [NOW, house.time]
    seen = house.book.alert(alert.id)
    assert seen is not None
    assert seen.acknowledged_at is None
    newest = house.book.notices(alert.id)[-1]
    assert (await web.post(path(house, newest))).status_code == 200
    assert (await web.get(used)).status_code == 200
    seen = house.book.alert(alert.id)
    assert seen is not None
    assert seen.acknowledged_at == house.time


async def test_an_unused_link_of_an_earlier_episode_acknowledges_nothing(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    alert, notice = await told(house)
    relapse(house)
    answer = await web.post(path(house, notice))
    assert answer.status_code == 409
    assert "acknowledged what this link" not in answer.text
    assert [fact.what for fact in house.book.history(alert.id) if fact.by] == []


async def test_an_answer_to_the_message_of_an_earlier_episode_acknowledges_nothing(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    alert, notice = await told(house)
    relapse(house)
    await house.duty.go()
    said = {"from": "+8613", "text": "收到"}
    answer = await reply(web, **said, in_reply_to=notice.id)
    assert answer["result"] == "noted"
    assert f"/alerts/{alert.id}" in answer["detail"]
    answer = await reply(web, **said, in_reply_to=house.book.notices(alert.id)[-1].id)
    assert (answer["result"], answer["alert"]) == ("acknowledged", alert.id)


async def test_a_link_serves_on_where_staff_were_told_nothing_new(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert, notice = await told(house)
    house.time += timedelta(minutes=20)
    house.find(replace(very_low(), verdict=Verdict.CLEAR, known_at=house.time))
    await house.duty.go()
    assert "Condition over" in house.book.notices(alert.id)[-1].subject.en
    assert (await web.post(path(house, notice))).status_code == 200
    seen = house.book.alert(alert.id)
    assert seen is not None
    assert seen.acknowledged_by == "李医生"


def relapse(house: SmallHouse) -> None:
    """The low is over after an hour, and there is another one 20 h later."""
    house.time = NOW + timedelta(hours=1)
    house.find(replace(very_low(), verdict=Verdict.CLEAR, known_at=house.time))
    house.time = NOW + timedelta(hours=20)
    house.find(replace(very_low(), since=house.time, known_at=house.time))


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda link: link[:-4] + "AAAA", "not complete or not from here"), (lambda _: "/answer/x", "not from here")],
)
async def test_a_wrong_link_is_refused(house: SmallHouse, web: httpx.AsyncClient, change: Any, said: str) -> None:
    _, notice = await told(house)
    for method in (web.get, web.post):
        page = await method(change(path(house, notice)))
        assert page.status_code == 404
        assert said in page.text


async def test_an_old_link_is_refused(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert, notice = await told(house)
    house.time = NOW + timedelta(hours=48)
    page = await web.post(path(house, notice))
    assert page.status_code == 404
    assert "this link has expired" in page.text
    seen = house.book.alert(alert.id)
    assert seen is not None
    assert seen.acknowledged_at is None


@pytest.mark.parametrize("text", ["OK", "ok!", " 1 ", "1。", "收到", "收到！", "“确认”"])
def test_what_acknowledges(text: str) -> None:
    assert acknowledges(text)


@pytest.mark.parametrize("text", ["", "no", "ok?no", "11", "not ok", "未收到", "好", "1 2"])
def test_what_does_not(text: str) -> None:
    assert not acknowledges(text)


async def reply(web: httpx.AsyncClient, **body: str) -> dict[str, Any]:
    answer = await web.post("/api/v1/replies", json=body, headers={"Authorization": "Bearer secret"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_reply_acknowledges_for_whom_the_address_is(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert, notice = await told(house)
    assert await reply(web, **{"from": "+8613", "text": "收到", "in_reply_to": notice.id}) == {
        "result": "acknowledged",
        "alert": alert.id,
        "detail": "Acknowledged by 李医生.",
    }
    again = await reply(web, **{"from": "+8613", "text": "OK", "in_reply_to": alert.id})
    assert again["result"] == "already"
    assert re.search(r"was acknowledged by 李医生 at 2026-03-03 14:30 UTC\+8", again["detail"])
    assert [each.result for each in house.duty.replies.last()] == [ReplyResult.ALREADY, ReplyResult.ACKNOWLEDGED]


async def test_without_saying_to_what_the_only_alert_is_meant(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert, _ = await told(house)
    assert (await reply(web, **{"from": "+8613", "text": "1"}))["alert"] == alert.id


async def test_what_was_put_off_and_not_told_yet_is_not_meant(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.duty.team.put(replace(LI, quiet=QuietHours(start=time(14), end=time(16))), now=NOW)
    house.find(very_low(MILLER, priority=Priority.MEDIUM))
    alert, _ = await told(house)
    assert (await reply(web, **{"from": "+8613", "text": "OK"}))["alert"] == alert.id
    assert (await reply(web, **{"from": "+8613", "text": "OK"}))["result"] == "noted"
    house.time = NOW + timedelta(hours=2)
    await house.duty.go()
    (other,) = [each for each in house.book.open_alerts() if each.patient == MILLER.id]
    assert (await reply(web, **{"from": "+8613", "text": "OK"}))["alert"] == other.id


async def test_where_two_may_be_meant_none_is_acknowledged(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.find(severe_pressure())
    await told(house)
    answer = await reply(web, **{"from": "+8613", "text": "1"})
    assert (answer["result"], answer["alert"]) == ("noted", None)
    assert all(alert.acknowledged_at is None for alert in house.book.open_alerts())


@pytest.mark.parametrize("sender", ["+8613", "+4999"])
async def test_anything_else_is_kept_and_a_person_is_told(
    house: SmallHouse, web: httpx.AsyncClient, sender: str
) -> None:
    _, notice = await told(house)
    answer = await reply(web, **{"from": sender, "text": "Who is this?", "in_reply_to": notice.id})
    assert answer["result"] == "noted"
    (kept,) = house.duty.replies.last()
    assert (kept.sender, kept.text, kept.result) == (sender, "Who is this?", ReplyResult.NOTED)
    waiting = [delivery.notice for delivery in house.duty.outbox.pending_notices("app", house.time)]
    assert ["Who is this?" in notice.body.en for notice in waiting].count(True) == 1


async def test_a_patient_acknowledges_nothing(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert, _ = await told(house)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="app", address="+8614")], now=NOW)
    answer = await reply(web, **{"from": "+8614", "text": "OK", "in_reply_to": alert.id})
    assert answer["result"] == "noted"


async def test_a_reply_from_a_contact_of_somebody_who_is_not_in_the_register_is_told(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    house.duty.team.put_contacts(patient("gone"), [Contact(channel="app", address="+8614")], now=NOW)
    assert (await reply(web, **{"from": "+8614", "text": "头晕"}))["result"] == "noted"
    (waiting,) = house.duty.outbox.pending_notices("app", house.time)
    assert (waiting.notice.patient, waiting.notice.follow_up) == ("gone", None)
    assert "头晕" in waiting.notice.body.zh


async def test_who_is_told_of_a_reply_of_a_patient_finds_the_patient_without_trust(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    house.duty.team.put_contacts(patient(WANG.id), [Contact(channel="app", address="+8614")], now=NOW)
    await reply(web, **{"from": "+8614", "text": "头晕"})
    app = Ear("app")
    app.trusted = False
    await speak_through(house, app).speak()
    (message,) = app.heard
    assert message.body.zh == f"中优先级，患者 {WANG.id}。详情请登录查看。"
    (task,) = house.follow_ups.open_of(WANG.id)
    assert message.link == f"https://hub.example/follow-ups/{task.id}"


@pytest.mark.parametrize("number", ["010-6655", None])
async def test_who_is_told_of_a_reply_of_a_patient_by_a_trusted_channel_reads_whom_to_call_and_what_to_do(
    house: SmallHouse, web: httpx.AsyncClient, number: str | None
) -> None:
    contacts = [Contact(channel="app", address="+8614")]
    if number:
        contacts.append(Contact(channel="telephone", address=number))
    house.duty.team.put_contacts(patient(WANG.id), contacts, now=NOW)
    await reply(web, **{"from": "+8614", "text": "头晕，手抖"})
    app = Ear("app")
    await speak_through(house, app).speak()
    (message,) = app.heard
    assert message.subject.zh == f"患者 {WANG.id} 已回复"
    assert message.subject.en == f"Patient {WANG.id} has answered"
    call = f"电话 {number}。" if number else "未登记电话号码，请在患者页面登记。"
    assert message.body.zh == (
        f"患者：{WANG.name}；{call}\n“头晕，手抖”\n"
        "已列入随访列表：请领取并致电患者，询问目前情况，并记录结果。如情况紧急，请立即呼叫急救（中国大陆 120）。"
    )
    assert message.body.en.endswith(
        "It is in the list of follow-ups: take it, call the patient, ask how things are now, and note what came of "
        "it. In an emergency have the emergency number (120 in China) called."
    )


async def test_what_a_patient_writes_is_in_one_follow_up(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.duty.team.put_contacts(patient(WANG.id), [Contact(channel="app", address="+8614")], now=NOW)
    for text in ("头晕", "救命"):
        await reply(web, **{"from": "+8614", "text": text})
        house.time += timedelta(minutes=1)
    (task,) = house.follow_ups.open_of(WANG.id)
    assert (task.why, task.role, task.priority) == (Why.PATIENT, Role.NURSE, Priority.MEDIUM)
    assert (task.because.zh, task.due_at) == ("患者来信：“头晕”", NOW + timedelta(hours=4))
    assert [(fact.what, fact.note) for fact in house.follow_ups.history(task.id)] == [
        (What.OPENED, ""),
        (What.PATIENT_WROTE, "救命"),
    ]
    web.headers.update({"Authorization": "Bearer secret", "Accept-Language": "zh-CN"})
    page = (await web.get(f"/follow-ups/{task.id}")).text
    assert "患者来信。" in page
    assert "<q>救命</q>" in page
    house.find(very_low())
    await reply(web, **{"from": "+8614", "text": "快"})
    (task,) = house.follow_ups.open_of(WANG.id)
    assert (task.priority, task.due_at) == (Priority.HIGH, house.time + timedelta(minutes=30))
    await reply(web, **{"from": "+8614", "text": "OK"})
    assert len(house.follow_ups.history(task.id)) == 3


async def test_an_ok_that_may_mean_several_alerts_is_told_with_all_of_them_and_how_to_acknowledge_one(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    alerts = [house.find(very_low()), house.find(severe_pressure())]
    await house.duty.go()
    answer = await reply(web, **{"from": "+8613", "text": "收到"})
    assert (answer["result"], answer["alert"]) == ("noted", None)
    waiting = [delivery.notice for delivery in house.duty.outbox.pending_notices("app", house.time, 50)]
    (notice,) = [each for each in waiting if "收到" in each.body.zh and each.alert is None]
    for each in alerts:
        assert f"患者 {each.patient}：https://hub.example/alerts/{each.id}" in notice.body.zh
        assert f"patient {each.patient}: https://hub.example/alerts/{each.id}" in notice.body.en
    assert "请打开其中一项的链接确认" in notice.body.zh
    assert house.duty.link(notice, trusted=False) == "https://hub.example/alerts"


async def test_a_hub_with_no_staff_and_no_channel_says_that_nobody_can_be_told(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    house.duty.team.put(replace(LI, active=False), now=NOW)
    answer = await reply(web, **{"from": "+8614", "text": "头晕"})
    assert "nobody can be told now" in answer["detail"]
    pager = Ear("pager", frozenset({Audience.STAFF}))
    house.duty.speaker = Speaker(house.book, [pager], base_url="https://hub.example", clock=house.now)
    answer = await reply(web, **{"from": "+8614", "text": "头晕"})
    assert "the clinic is told" in answer["detail"]


@pytest.mark.parametrize("reserve", [True, False])
async def test_where_nobody_on_duty_can_be_reached_the_others_are_told_or_nobody_is_said_to_be(
    house: SmallHouse, web: httpx.AsyncClient, reserve: bool
) -> None:
    team = house.duty.team
    chen = Practitioner(id="chen", name="陈护士", roles=frozenset({Role.NURSE}), zone="Asia/Shanghai")
    team.put(chen, now=NOW)
    team.put_contacts(patient(WANG.id), [Contact(channel="app", address="+8614")], now=NOW)
    for each in team.rota().shifts:
        team.change_shift(replace(each, practitioner="chen"), now=NOW)
    if not reserve:
        team.put_contacts(staff("li"), [], now=NOW)
    answer = await reply(web, **{"from": "+8614", "text": "我头晕，救命"})
    assert ("the clinic is told" in answer["detail"]) is reserve
    assert ("nobody can be told now" in answer["detail"]) is not reserve
    waiting = [delivery.notice for delivery in house.duty.outbox.pending_notices("app", house.time)]
    assert [(each.recipient, each.patient) for each in waiting] == ([(staff("li"), WANG.id)] if reserve else [])
    assert len(house.follow_ups.open_of(WANG.id)) == 1


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_who_says_ok_to_several_alerts_is_answered_and_told_which_are_open_and_how_to_acknowledge_each(
    house: SmallHouse, web: httpx.AsyncClient, language: str
) -> None:
    chen = Practitioner(
        id="chen",
        name="陈护士",
        roles=frozenset({Role.NURSE}),
        zone="Asia/Shanghai",
        contacts=(Contact(channel="app", address="+8615"),),
    )
    house.duty.team.put(chen, now=NOW)
    alerts = [house.find(very_low()), house.find(severe_pressure())]
    await house.duty.go()
    for each in house.duty.team.rota().shifts:  # the doctor goes off duty
        house.duty.team.change_shift(replace(each, practitioner="chen"), now=NOW)
    web.headers["Accept-Language"] = language
    answer = await reply(web, **{"from": "+8613", "text": "OK"})
    for each in alerts:
        assert f"{each.patient}" in answer["detail"]
        assert f"https://hub.example/alerts/{each.id}" in answer["detail"]
    says = {
        "en": "Open the link of one and acknowledge it there, or answer OK to the message about it (in_reply_to: ",
        "zh-CN": "请打开其中一项的链接确认，或直接回复该警报的消息“收到”（in_reply_to 填警报编号）。",
    }[language]
    assert says in answer["detail"]
    waiting = [each.notice for each in house.duty.outbox.pending_notices("app", house.time, 50)]
    asked = [each for each in waiting if "请打开其中一项的链接确认" in each.body.zh]
    assert {each.recipient for each in asked} == {"staff:chen", "staff:li"}, "off duty too, who has answered"


async def test_a_reply_is_in_the_audit_and_answered_in_the_language_asked_for(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    alert, notice = await told(house)
    house.duty.team.put_contacts(patient(WANG.id), [Contact(channel="app", address="+8614")], now=NOW)
    web.headers["Accept-Language"] = "zh-CN"
    said = [
        (await reply(web, **{"from": sender, "text": text, "in_reply_to": about}))["detail"]
        for sender, text, about in (
            ("+8613", "收到", notice.id),
            ("+8613", "OK", alert.id),
            ("+8614", "头晕", "n-unknown"),
            ("+4999", "Who is this?", "n-unknown"),
        )
    ]
    assert said[0] == "李医生 已确认。"
    assert "已由 李医生" in said[1]
    assert said[2:] == ["该回复未确认任何警报；回复已保存，并已通知诊所。"] * 2
    kept = [each for each in house.audit(limit=50) if each.what == "replied"]
    assert [(each.subject, each.who, each.at, each.before) for each in reversed(kept)] == [
        (f"alert:{alert.id}", "李医生", NOW, None),
        (f"alert:{alert.id}", "李医生", NOW, None),
        ("patient:p-017", "p-017", NOW, None),
        ("reply:4", "+4999", NOW, None),
    ]
    first = {"sender": "+8613", "person": "staff:li", "alert": alert.id, "text": "收到", "result": "acknowledged"}
    assert kept[-1].after == first


async def test_replies_need_the_token(web: httpx.AsyncClient) -> None:
    assert (await web.post("/api/v1/replies", json={"from": "+8613", "text": "OK"})).status_code == 401

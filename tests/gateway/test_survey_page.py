"""The questions to a patient: sent once by the own contacts, answered behind a signed link without signing in."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import time, timedelta

import httpx
import pytest

from alerts.alert import Act, ActKind, Alert, Outcome, Priority
from alerts.follow_up import PLEASE_CALL, Attempt, Close, Result
from alerts.team import Contact, QuietHours, Role
from gateway.people import Patient
from gateway.signed import Claim
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, very_low
from tests.gateway.test_duty import BAO, Ear, shift, speak_through
from tests.gateway.test_web import browser

SENT = "https://hub.example"


@pytest.fixture
def web(telephone: httpx.AsyncClient) -> httpx.AsyncClient:
    return telephone


async def reached(house: SmallHouse, alert: Alert) -> None:
    """Somebody speaks with the patient, and closes."""
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Li", at=house.time))
    follow_up = house.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    tried = Attempt(follow_up=follow_up.id, by="Li", at=house.time, channel="telephone", result=Result.REACHED)
    await house.care(tried)
    end = {"by": "Li", "at": house.time, "note": "ate", "outcome": Outcome.ADVICE}
    await house.act(Act(kind=ActKind.CLOSE, alert=alert.id, **end))


async def asked(house: SmallHouse, patient: str, quiet: QuietHours | None = None) -> Ear:
    """What a patient hears who was reached."""
    house.duty.team.put_contacts(f"patient:{patient}", [Contact(channel="app", address="me")], quiet, now=NOW)
    app = Ear("app")
    app.trusted = False
    speaker = speak_through(house, app)
    await house.duty.go()
    await speaker.speak()
    return app


@pytest.mark.parametrize(
    ("patient", "title", "solved", "subject", "body"),
    [
        (
            WANG, "您对这次随访满意吗？", "问题解决了吗？", "您对这次随访满意吗？",
            "诊所近日与您联系过。请打开链接回答几个简短的问题：只需一分钟，无需登录。",
        ),
        (
            MILLER, "How was it?", "Is the problem solved?", "How was it?",
            ("Your clinic has been in touch with you. Please open the link and answer some short questions: it takes "
            "a minute, and nobody has to sign in."),
        ),
    ],
)  # fmt: skip
async def test_a_patient_answers_in_the_own_language_and_a_poor_answer_opens_a_task(
    house: SmallHouse, web: httpx.AsyncClient, patient, title: str, solved: str, subject: str, body: str
) -> None:
    await reached(house, house.find(very_low(patient)))
    house.time += timedelta(hours=1)  # 08:30 in Berlin
    app = await asked(house, patient.id)
    (message,) = app.heard
    assert (message.said(message.subject), message.said(message.body)) == (subject, body)
    path = message.link.removeprefix(SENT)
    for _ in range(2):  # whoever prefetches it changes nothing
        page = await web.get(path)
        assert page.status_code == 200
        assert title in page.text
        assert solved in page.text
        assert "worklist" not in page.text.lower()
    (survey,) = house.follow_ups.surveys(NOW - timedelta(days=1), NOW + timedelta(days=1))
    assert (survey.sent_at, survey.answered_at) == (house.time, None)
    refused = await web.post(path, data={"score": "9"})
    assert refused.status_code == 422
    flaw = {"zh_CN": "所提交的内容：不得大于 5", "en": "What was sent along: use 5 or less"}
    assert flaw[patient.language] in refused.text
    thanks = await web.post(path, data={"solved": "false", "score": "2", "text": "头晕", "call_again": "true"})
    assert thanks.status_code == 200
    assert {"zh_CN": "谢谢", "en": "Thank you"}[patient.language] in thanks.text
    (task,) = house.follow_ups.due()
    assert (task.patient, task.why, task.priority) == (patient.id, "patient", Priority.MEDIUM)
    assert "评分 2/5" in task.because.zh
    for answer in (await web.post(path, data={"score": "5"}), await web.get(path)):
        assert {"zh_CN": "您已经回答过了", "en": "You have answered already"}[patient.language] in answer.text
    assert len(house.follow_ups.due()) == 1


@pytest.mark.parametrize(
    ("patient", "first"), [(WANG, "请至少回答一个问题"), (MILLER, "answer at least one question")]
)
async def test_an_empty_answer_uses_nothing_up(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient, first: str
) -> None:
    await reached(house, house.find(very_low(patient)))
    house.time += timedelta(hours=1)  # 08:30 in Berlin
    (message,) = (await asked(house, patient.id)).heard
    path = message.link.removeprefix(SENT)
    for nothing in ({}, {"text": "  "}):
        refused = await web.post(path, data=nothing)
        assert refused.status_code == 409
        assert first in refused.text
        assert f'action="{path}"' in refused.text, "it can still be answered"
    assert (await web.post(path, data={"call_again": "true"})).status_code == 200
    (task,) = house.follow_ups.due()
    assert task.patient == patient.id


@pytest.mark.parametrize("contacts", [(Contact(channel="app", address="bao"),), ()])
async def test_who_wants_to_be_called_again_is_told_of_at_once(
    house: SmallHouse, web: httpx.AsyncClient, contacts: tuple[Contact, ...]
) -> None:
    house.duty.team.put(replace(BAO, contacts=contacts), now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    await reached(house, house.find(very_low()))
    (message,) = (await asked(house, WANG.id)).heard
    thanks = await web.post(message.link.removeprefix(SENT), data={"score": "1", "call_again": "true"})
    assert ("诊所会有人在 2026年3月3日 18:30 UTC+8 前给您打电话。" in thanks.text) is bool(contacts)
    assert ("目前无法通知到诊所人员" in thanks.text) is (not contacts)
    (task,) = house.follow_ups.due()
    waiting = [delivery.notice for delivery in house.duty.outbox.pending_notices("app", house.time)]
    told = [(each.recipient, each.follow_up, each.body.zh) for each in waiting if each.follow_up == task.id]
    said = (
        "患者：王芳；未登记电话号码，请在患者页面登记。\n"
        "患者请求再次致电，评分 1/5。已列入随访列表：请领取、致电并记录结果。"
    )
    assert told == ([("staff:bao", task.id, said)] if contacts else [])


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_by_telephone_a_nurse_reads_the_questions_and_writes_the_answers_down(
    house: SmallHouse, language: str
) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    alert = house.find(very_low())
    await reached(house, alert)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="telephone", address="13800000000")], now=NOW)
    app = Ear("app")
    speaker = speak_through(house, app)
    await house.duty.go()
    await speaker.speak()
    (asked,) = (each for each in app.heard if "13800000000" in each.subject.en)
    assert asked.body.en == (
        f"{WANG.name} is to be told by telephone. It was about: How was it?\n"
        "1. Was our call helpful?\n2. Is the problem solved?\n3. How was it, from 1 (poor) to 5 (very good)?\n"
        "4. Is there anything you want to tell us?\n5. Shall we call you again?\n"
        "Please telephone 13800000000, ask these questions, and note the answers on the page of the follow-up: "
        "“Answers by telephone”."
    )
    assert "2. 问题解决了吗？\n" in asked.body.zh
    assert "请拨打 13800000000 逐项询问，并在随访页面的“电话回答”中记录。" in asked.body.zh
    done = house.follow_ups.of_alert(alert.id)
    assert done
    at = f"/follow-ups/{done.id}"
    assert asked.link == SENT + at
    (survey,) = house.follow_ups.surveys(NOW - timedelta(days=1), NOW + timedelta(days=1))
    async with browser(house, **{"Accept-Language": language}) as web:
        page = await web.get(at)
        assert {"en": "Answers by telephone…", "zh-CN": "电话回答…"}[language] in page.text
        nobody = await web.post(f"{at}/answers", data={"solved": "false"})
        assert nobody.status_code == 422
        empty = await web.post(f"{at}/answers", data={"by": "Bao"})
        assert empty.status_code == 409
        assert {"en": "answer at least one question", "zh-CN": "请至少回答一个问题"}[language] in empty.text
        answers = {"by": "Bao", "solved": "false", "score": "2", "text": "头晕"}
        assert (await web.post(f"{at}/answers", data=answers)).status_code == 303
        page = await web.get(at)
        said = {"en": "by telephone; written down by Bao", "zh-CN": "电话回答，由 Bao 记录"}[language]
        assert said in page.text
        assert f'action="{at}/answers"' not in page.text
        assert (await web.post(f"{at}/answers", data=answers)).status_code == 409
        (told,) = (await web.get("/api/v1/surveys")).json()
        assert (told["answered_by"], told["answer"]["solved"]) == ("Bao", False)
        other = house.follow_ups.due()[0].id
        assert (await web.post(f"/follow-ups/{other}/answers", data=answers)).status_code == 404
    (task,) = house.follow_ups.due()
    assert (task.why, task.patient) == ("patient", WANG.id)
    assert "评分 2/5" in task.because.zh
    (entry,) = house.audit(subject=f"survey:{survey.id}")
    assert (entry.what, entry.who) == ("answered", "Bao")


@pytest.mark.parametrize("before", [{}, {"solved": "false"}])
@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_who_is_asked_can_have_the_clinic_call_whatever_the_answer_is(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient, before: dict[str, str]
) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    await reached(house, house.find(very_low(patient)))
    house.time += timedelta(hours=1)  # 08:30 in Berlin
    link = next(each.link for each in (await asked(house, patient.id)).heard if "/survey/" in each.link)
    path = link.removeprefix(SENT)
    page = await web.post(path, data=before) if before else await web.get(path)
    assert f'action="{path}/call"' in page.text
    for _ in range(2):
        page = await web.post(f"{path}/call")
        assert {"zh_CN": "诊所会有人给您打电话", "en": "Somebody of your clinic will call you"}[
            patient.language
        ] in page.text
        assert f'action="{path}/call"' not in page.text
    (task,) = [each for each in house.follow_ups.open_of(patient.id) if each.problem == PLEASE_CALL]
    waiting = [each.notice for each in house.duty.outbox.pending_notices("app", house.time)]
    assert [each.recipient for each in waiting if each.follow_up == task.id] == ["staff:bao"]
    again = await web.get(path)
    assert f'action="{path}/call"' not in again.text


async def test_who_has_asked_in_the_answer_is_not_offered_a_second_call(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    await reached(house, house.find(very_low()))
    (message,) = (await asked(house, WANG.id)).heard
    path = message.link.removeprefix(SENT)
    thanks = await web.post(path, data={"call_again": "true"})
    for page in (thanks, await web.get(path)):
        assert f"{path}/call" not in page.text


async def test_who_opens_the_page_again_still_reads_by_when_the_call_comes(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    await reached(house, house.find(very_low()))
    (message,) = (await asked(house, WANG.id)).heard
    path = message.link.removeprefix(SENT)
    await web.post(path, data={"call_again": "true"})
    for page in (await web.get(path), await web.post(path, data={"score": "5"})):
        assert "诊所会有人在 2026年3月3日 18:30 UTC+8 前给您打电话。" in page.text
    house.time += timedelta(hours=5)
    late = (await web.get(path)).text
    assert "您已于 2026年3月3日 14:30 UTC+8 请求回电" in late
    assert "18:30" not in late, "no promise of what is past"
    (task,) = house.follow_ups.due()
    await house.care(
        Close(follow_up=task.id, by="Li", at=house.time, outcome=Outcome.NO_ACTION, note="is well again")
    )
    assert "诊所已处理" in (await web.get(path)).text


async def test_it_is_sent_once_and_not_in_quiet_hours(house: SmallHouse) -> None:
    await reached(house, house.find(very_low()))
    quiet = QuietHours(start=time(14), end=time(15))  # 14:30 in Shanghai
    assert (await asked(house, WANG.id, quiet)).heard == []
    house.time += timedelta(minutes=30)
    assert len((await asked(house, WANG.id, quiet)).heard) == 1
    house.time += timedelta(minutes=2)
    assert (await asked(house, WANG.id, quiet)).heard == []


async def test_a_link_for_something_else_or_too_old_is_refused(house: SmallHouse, web: httpx.AsyncClient) -> None:
    await reached(house, house.find(very_low()))
    (message,) = (await asked(house, WANG.id)).heard
    path = message.link.removeprefix(SENT)
    assert (await web.get(path.replace("/survey/", "/answer/"))).status_code == 404
    assert (await web.get(path[:-2])).status_code == 404
    house.time += timedelta(days=14)
    assert (await web.post(path, data={"score": "5"})).status_code == 404


@pytest.mark.parametrize(
    ("language", "because"), [("zh-CN", "此链接不完整"), ("en", "this link is not complete or not from here")]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/survey/damaged", "/message/damaged", "/survey/", "/survey/a/b"])
async def test_whose_link_is_damaged_is_shown_no_page_of_the_staff(
    web: httpx.AsyncClient, path: str, method: str, language: str, because: str
) -> None:
    page = await web.request(method, path, headers={"Accept-Language": language, "Referer": "http://127.0.0.1/"})
    assert page.status_code == 404
    leads = re.findall('(?:href|action|data-page)="([^"]*)"', page.text)
    assert leads == ["/static/icon.svg", "/static/style.css", *([path] if method == "POST" else [])]
    assert (because in page.text) is path.endswith("/damaged")


@pytest.mark.parametrize("link", ["survey", "message"])
async def test_an_answer_that_cannot_be_shows_no_page_of_the_staff(
    house: SmallHouse, web: httpx.AsyncClient, link: str
) -> None:
    until = house.time + timedelta(days=1)
    claim = Claim(purpose=link, subject="gone", person=f"patient:{WANG.id}", expires_at=until)
    path = f"/{link}/{house.duty.links.sign(claim)}"
    page = await web.post(path, data={"score": "9"}, headers={"Referer": f"http://127.0.0.1{path}"})
    assert page.status_code == {"survey": 422, "message": 404}[link]
    assert "操作未成功" in page.text  # in the patient's language, which no browser has to ask for
    assert "/alerts" not in page.text
    assert "/follow-ups" not in page.text

"""What is given to read: the patient's own conditions first in the form, then a message with a link to the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from alerts.follow_up import PLEASE_CALL
from alerts.survey import MATERIALS
from alerts.team import Contact, Role
from gateway.care_api import OpenIn, open_follow_up
from gateway.people import MeasuringPlan, Patient
from ingest.vital import Vital
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, furnish, very_low
from tests.gateway.test_duty import BAO, Ear, shift, speak_through
from tests.gateway.test_message_page import hear, read
from tests.gateway.test_survey_page import reached

SENT = "https://hub.example"
TEXT = MATERIALS["measure-pressure"]
TRUSTED = {
    "en": (
        "To read: Measuring at home",
        (
            f"{TEXT.body.en}\nSource: {TEXT.source.en}\nOpen the link to read it in large type, or to have your "
            "clinic call you: nobody has to sign in."
        ),
    ),
    "zh_CN": (
        "请阅读：在家测血压",
        f"{TEXT.body.zh}\n来源：{TEXT.source.zh}\n打开链接可用大字阅读，也可请诊所给您回电，无需登录。",
    ),
}
UNTRUSTED = {
    "en": (
        "Something to read from your clinic",
        (
            "Your clinic has given you something to read; it is not urgent. Please open the link: nobody has to sign "
            "in. If it does not open, ask your clinic."
        ),
    ),
    "zh_CN": (
        "诊所给您的阅读资料",
        "诊所给您提供了一份阅读资料（不紧急）。请打开链接查看，无需登录；如无法打开，请咨询诊所。",
    ),
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    house = SmallHouse(tmp_path)
    house.time = NOW + timedelta(hours=2)  # 16:30 in Shanghai, 09:30 in Berlin
    furnish(house)
    yield house
    house.close()


async def opened(house: SmallHouse, patient: Patient) -> str:
    wanted = OpenIn(patient=patient.id, because="asked how to measure", role=Role.NURSE, by="Bao")
    return f"/follow-ups/{(await open_follow_up(house, wanted)).id}"


async def give(web: httpx.AsyncClient, follow_up: str) -> None:
    form = {"by": "Bao", "material": TEXT.id}
    assert (await web.post(f"{follow_up}/education", data=form)).status_code == 303


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_what_is_given_goes_to_the_patient_once_with_a_link_to_its_text(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient, trusted: bool
) -> None:
    house.duty.team.put_contacts(
        f"patient:{patient.id}",
        [Contact(channel="telephone", address="+491"), Contact(channel="app", address="me")],
        now=NOW,
    )
    app = Ear("app")
    app.trusted = trusted
    follow_up = await opened(house, patient)
    for _ in range(2):
        await give(web, follow_up)
    await hear(house, app)
    (message,) = app.heard
    said = (message.said(message.subject), message.said(message.body))
    assert said == (TRUSTED if trusted else UNTRUSTED)[patient.language]
    assert message.link.startswith(f"{SENT}/education/")
    page = await web.get(message.link.removeprefix(SENT), headers={"Accept-Language": "de"})
    assert page.status_code == 200
    assert 'class="survey"' in page.text  # in large type
    assert "<nav" not in page.text
    lines = read(page)
    assert (message.said(TEXT.title), message.said(TEXT.body)) == (lines[1], lines[2])
    assert {"en": "Please call me", "zh_CN": "请给我打电话"}[patient.language] in lines
    assert [each.material for each in house.follow_ups.given(patient.id)] == [TEXT.id]


async def test_who_reads_it_can_ask_to_be_called(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="sms", address="me")], now=NOW)
    sms = Ear("sms")
    await give(web, await opened(house, WANG))
    await hear(house, sms)
    (message,) = sms.heard
    path = message.link.removeprefix(SENT)
    for _ in range(2):
        assert "诊所会有人给您打电话" in (await web.post(path)).text
    (task,) = [each for each in house.follow_ups.open_of(WANG.id) if each.problem == PLEASE_CALL]
    assert task.because.zh == "患者阅读消息“请阅读：在家测血压”后请求回电。"
    for wrong in (path.replace("/education/", "/message/"), path[:-2]):
        assert (await web.get(wrong)).status_code == 404
    house.time += timedelta(days=14)
    assert (await web.get(path)).status_code == 404


async def test_in_the_night_it_waits_for_the_morning(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.time = NOW + timedelta(hours=8)  # 22:30 in Shanghai
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="sms", address="me")], now=NOW)
    sms = Ear("sms")
    await give(web, await opened(house, WANG))
    await hear(house, sms)
    assert sms.heard == []
    house.time += timedelta(hours=9, minutes=30)
    await hear(house, sms)
    (message,) = sms.heard
    assert message.subject.zh == "请阅读：在家测血压"


async def test_what_is_given_in_the_night_is_telephoned_by_nobody(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.time = NOW + timedelta(hours=8)  # 22:30 in Shanghai
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    contacts = [Contact(channel="telephone", address="+86138"), Contact(channel="sms", address="me")]
    house.duty.team.put_contacts(f"patient:{WANG.id}", contacts, now=NOW)
    app, sms = Ear("app"), Ear("sms")
    await give(web, await opened(house, WANG))
    await hear(house, app, sms)
    house.time += timedelta(hours=9, minutes=30)
    await hear(house, app, sms)
    assert [each.subject.en for each in app.heard if "telephone" in each.subject.en] == []
    assert [each.subject.zh for each in sms.heard] == ["请阅读：在家测血压"]


@pytest.mark.parametrize("trusted", [True, False])
async def test_of_what_the_night_put_off_each_has_its_own_link(
    house: SmallHouse, web: httpx.AsyncClient, trusted: bool
) -> None:
    house.time = NOW + timedelta(hours=8)  # 22:30 in Shanghai
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="sms", address="me")], now=NOW)
    sms = Ear("sms")
    sms.trusted = trusted
    task = await opened(house, WANG)
    for material in (TEXT.id, "glucose-goals"):
        form = {"by": "Chen", "material": material}
        assert (await web.post(f"{task}/education", data=form)).status_code == 303
    meeting = {"by": "Chen", "start": "2026-03-10T09:30:00+08:00", "place": "Room 3", "whom": "Dr Li"}
    made = await web.post(f"/api/v1{task}/appointments", json=meeting)
    assert made.status_code == 201
    house.time += timedelta(hours=9, minutes=30)
    await hear(house, sms)
    subjects = sorted(each.subject.zh for each in sms.heard)
    titles = ["请阅读：在家测血压", f"请阅读：{MATERIALS['glucose-goals'].title.zh}"]
    assert subjects == sorted(["您的预约", *titles] if trusted else ["来自您诊所的消息", *["诊所给您的阅读资料"] * 2])
    links = [each.link.removeprefix(SENT) for each in sms.heard if "/education/" in each.link]
    house.time += timedelta(days=13)
    texts = [read(await web.get(link))[1] for link in links]
    assert sorted(texts) == sorted([TEXT.title.zh, MATERIALS["glucose-goals"].title.zh])
    if not trusted:
        (link,) = [each.link.removeprefix(SENT) for each in sms.heard if "/message/" in each.link]
        assert (await web.get(f"{link}/appointment.ics")).status_code == 200
    assert not any("立即" in each.body.zh or "120" in each.body.zh for each in sms.heard if not trusted)


async def test_who_can_only_be_telephoned_is_sent_nothing(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="telephone", address="+86138")], now=NOW)
    follow_up = await opened(house, WANG)
    said = "The patient has no contact to which it can be sent"
    assert said in (await web.get(follow_up)).text
    await give(web, follow_up)
    app = Ear("app")
    await hear(house, app)
    assert app.heard == [], "and no nurse is asked to read it out by telephone"
    assert TEXT.body.en in (await web.get(follow_up)).text


async def test_the_form_begins_with_what_the_patient_has(house: SmallHouse, web: httpx.AsyncClient) -> None:
    day = date(2026, 3, 1)
    plan = MeasuringPlan(
        vital=Vital.BLOOD_PRESSURE, times=1, days=5, first=day, last=None, author="Li", entered_at=NOW
    )
    house.people.set_plan(MILLER.id, Vital.BLOOD_PRESSURE, plan, now=NOW)
    for patient, first in ((WANG, "glucose-goals"), (MILLER, "measure-pressure")):
        page = await web.get(await opened(house, patient))
        values = re.findall(r'<option value="([a-z-]+)"', page.text[page.text.index('name="material"') :])
        assert next(each for each in values if each in MATERIALS) == first


async def test_the_survey_lists_what_was_given(house: SmallHouse, web: httpx.AsyncClient) -> None:
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="sms", address="me")], now=NOW)
    await give(web, await opened(house, WANG))
    await reached(house, house.find(very_low()))
    sms = Ear("sms")
    speaker = speak_through(house, sms)
    await house.duty.go()
    await speaker.speak()
    (link,) = [each.link for each in sms.heard if "/survey/" in each.link]
    lines = read(await web.get(link.removeprefix(SENT)))
    assert lines[lines.index("给您的阅读资料") + 1 :][:2] == [TEXT.title.zh, TEXT.body.zh]

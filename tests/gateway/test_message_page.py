"""A message to a patient behind a signed link, by which the patient can ask to be called."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from alerts.alert import Audience, Finding, Priority, Text
from alerts.channels import Message
from alerts.follow_up import PLEASE_CALL, Close, Outcome, State, Why
from alerts.machine import hear_findings
from alerts.team import Contact, Role
from gateway.people import Patient
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, very_low
from tests.gateway.test_duty import BAO, Ear, shift, speak_through

SENT = "https://hub.example"
SUBJECT = {"en": "A message from your clinic", "zh_CN": "来自您诊所的消息"}
BODY = {
    "en": "Your clinic has a message for you. Please open the link now and read it: nobody has to sign in. If it "
    "does not open, call your clinic. If you feel unwell, call your clinic, or the emergency number (120 in "
    "China).",
    "zh_CN": "诊所有一条消息给您。请立即打开链接查看，无需登录；如无法打开，请致电诊所。"
    "如感不适，请联系诊所或拨打急救电话（中国大陆 120）。",
}
IN_FULL = {
    "en": [
        "A message from your clinic",
        "3 Mar 2026, 07:30 UTC+1",
        "Please look after yourself now: Very low glucose",
        "Glucose 2.8 mmol/L at 07:10, below 3.0 mmol/L for 15 min (Battelino 2019, level 2)",
        (
            "Please eat or drink 15 to 20 g of fast sugar (half a glass of juice, 150 ml, or 3 to 4 sugar cubes; "
            "with acarbose: glucose) now and measure again in 15 min; if it is not better, do so again and call for "
            "help. Do not stay alone. Who is drowsy or unconscious gets nothing by mouth: call the emergency number "
            "(120 in China) at once. Your clinic is being told."
        ),
        "Please call me",
        "In an emergency call the emergency number (120 in China); nobody waits for answers here.",
    ],
    "zh_CN": [
        "来自您诊所的消息",
        "2026年3月3日 14:30 UTC+8",
        "请立即关注：血糖严重偏低",
        "14:10 血糖 2.8 mmol/L，低于 3.0 mmol/L 已 15 分钟（Battelino 2019 共识 2 级）",
        "读数：14:20 7.5 mmol/L，14:25 7.3 mmol/L，14:30 7.2 mmol/L。",
        (
            "请现在测指尖血糖；如仍偏低或有不适，"
            "请立即进食速效糖 15 至 20 克（如果汁半杯 150 ml，或方糖 3 至 4 块；服用阿卡波糖者须用葡萄糖），"
            "15 分钟后复测；如未好转，请再次补糖并呼救。请勿独处。"
            "如嗜睡或意识不清，切勿喂食，请他人立即拨打急救电话（中国大陆 120）。正在通知您的诊所。"
        ),
        "请给我打电话",
        "紧急情况请拨打急救电话（中国大陆 120）；此处的回答不会被即时查看。",
    ],
}


@pytest.fixture
def web(telephone: httpx.AsyncClient) -> httpx.AsyncClient:
    return telephone


async def told(
    house: SmallHouse, patient: Patient, *, trusted: bool = False, alone: Finding | None = None
) -> Message:
    """What the patient's own channel says of a low. alone: what a rule says to the patient and to nobody else."""
    house.duty.team.put_contacts(f"patient:{patient.id}", [Contact(channel="sms", address="me")], now=NOW)
    sms = Ear("sms")
    sms.trusted = trusted
    if alone:
        house.book.record((), hear_findings({}, [alone], house.time).notices)
    else:
        house.find(very_low(patient))
    await hear(house, sms)
    (message,) = sms.heard
    return message


async def hear(house: SmallHouse, *ears: Ear) -> None:
    speaker = speak_through(house, *ears)
    await house.duty.go()
    await speaker.speak()


def read(page: httpx.Response) -> list[str]:
    """The sentences of a page, tags left out."""
    main = page.text[page.text.index("<main") : page.text.index("</main>")]
    return [line.strip() for line in re.sub("<[^>]+>", "\n", main).splitlines() if line.strip()]


@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_the_message_says_nothing_of_health_and_the_page_behind_its_link_all(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient
) -> None:
    message = await told(house, patient)
    said = (message.said(message.subject), message.said(message.body))
    assert said == (SUBJECT[patient.language], BODY[patient.language])
    assert message.link.startswith(f"{SENT}/message/")
    page = await web.get(message.link.removeprefix(SENT))
    assert page.status_code == 200
    assert read(page) == IN_FULL[patient.language]
    assert page.headers["Content-Language"] == patient.language.replace("_", "-")
    assert (page.headers["Cache-Control"], page.headers["Referrer-Policy"]) == ("no-store", "same-origin")
    assert 'class="survey"' in page.text  # in large type
    assert "<nav" not in page.text


@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_what_a_rule_says_to_the_patient_alone_stands_behind_a_link_as_well(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient
) -> None:
    said = Text(en="Glucose 3.5 mmol/L: eat 15 g of sugar now.", zh="血糖 3.5 mmol/L：请立即进食 15 克糖。")
    finding = very_low(patient, audience=Audience.PATIENT, priority=Priority.MEDIUM, because=said)
    message = await told(house, patient, alone=finding)
    assert message.said(message.body) == BODY[patient.language]
    path = message.link.removeprefix(SENT)
    page = await web.get(path)
    assert page.status_code == 200
    assert message.said(said) in read(page)
    await web.post(path)
    assert [task.problem for task in house.follow_ups.open_of(patient.id)] == [PLEASE_CALL]


async def test_the_link_of_what_is_not_urgent_holds_as_long_as_its_matter(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    said = Text(en="The battery of the cuff is low.", zh="血压计电量低。")
    low = very_low(WANG, rule="battery-low", problem="battery-low", audience=Audience.PATIENT, because=said)
    message = await told(house, WANG, alone=replace(low, priority=Priority.LOW))
    assert message.body.zh.startswith("诊所有一条消息给您（不紧急）。")
    path = message.link.removeprefix(SENT)
    house.time += timedelta(days=13)
    assert said.zh in read(await web.get(path))
    house.time += timedelta(days=2)
    assert (await web.get(path)).status_code == 404


@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_a_channel_that_is_trusted_says_it_itself_and_leads_to_a_call(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient
) -> None:
    message = await told(house, patient, trusted=True)
    assert message.said(message.subject) == IN_FULL[patient.language][2]
    assert message.said(message.body).splitlines() == [
        *IN_FULL[patient.language][3:-2],
        {
            "en": "To have your clinic call you, open the link: nobody has to sign in.",
            "zh_CN": "如需诊所给您打电话，请打开链接，无需登录。",
        }[patient.language],
    ]
    path = message.link.removeprefix(SENT)
    assert read(await web.get(path)) == IN_FULL[patient.language]
    await web.post(path)
    (task,) = house.follow_ups.open_of(patient.id)
    assert (task.problem, task.priority) == (PLEASE_CALL, Priority.HIGH)


async def test_a_trusted_message_has_no_link_that_no_telephone_can_open(house: SmallHouse) -> None:
    house.duty.base_url = "http://127.0.0.1:8090"
    message = await told(house, WANG, trusted=True)
    assert (message.link, "链接" in message.body.zh) == ("", False)


@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_please_call_me_opens_one_follow_up_and_tells_the_nurse_on_duty(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient
) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    path = (await told(house, patient)).link.removeprefix(SENT)
    for _ in range(2):  # whoever prefetches it changes nothing
        await web.get(path)
    assert house.follow_ups.open_of(patient.id) == []
    for _ in range(2):
        page = await web.post(path)
        assert page.status_code == 200
        assert {"zh_CN": "诊所会有人给您打电话", "en": "Somebody of your clinic will call you"}[
            patient.language
        ] in page.text
        assert "<button" not in page.text
    (task,) = house.follow_ups.open_of(patient.id)
    assert (task.why, task.problem, task.role, task.priority) == (Why.PATIENT, PLEASE_CALL, Role.NURSE, Priority.HIGH)
    assert (task.state, task.due_at) == (State.OPEN, NOW + timedelta(minutes=30))
    assert task.because.en == (
        "The patient asks to be called about the message “Please look after yourself now: Very low glucose”."
    )
    assert task.because.zh == "患者阅读消息“请立即关注：血糖严重偏低”后请求回电。"
    app = Ear("app")
    app.trusted = False
    await hear(house, app)
    (asked,) = [each for each in app.heard if "call" in each.notice.subject.en]
    assert asked.notice.subject.en == f"Please call patient {patient.id}"
    assert asked.body.zh == f"高优先级，患者 {patient.id}。详情请登录查看。"
    assert (asked.notice.priority, asked.link) == (Priority.HIGH, f"{SENT}/follow-ups/{task.id}")
    await house.care(Close(follow_up=task.id, by="Bao", at=NOW, outcome=Outcome.ADVICE, note="called"))
    after = await web.post(path)
    assert {"zh_CN": "诊所已处理", "en": "the clinic has seen to it"}[patient.language] in after.text
    assert house.follow_ups.open_of(patient.id) == []


async def test_who_asks_to_be_called_is_told_when_nobody_can_be_told(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    house.duty.team.put(replace(BAO, contacts=()), now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    page = await web.post((await told(house, WANG)).link.removeprefix(SENT))
    assert "目前无法通知到诊所人员" in page.text
    assert "诊所会有人给您打电话" not in page.text
    assert len(house.follow_ups.open_of(WANG.id)) == 1


async def test_a_link_for_something_else_or_too_old_is_refused(house: SmallHouse, web: httpx.AsyncClient) -> None:
    path = (await told(house, WANG)).link.removeprefix(SENT)
    for wrong in (path.replace("/message/", "/answer/"), path.replace("/message/", "/survey/"), path[:-2]):
        assert (await web.get(wrong)).status_code == 404
    house.time += timedelta(hours=48)
    for answer in (await web.get(path), await web.post(path)):
        assert answer.status_code == 404
        assert "patients call the clinic" in answer.text
    assert house.follow_ups.open_of(WANG.id) == []

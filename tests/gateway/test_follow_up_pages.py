"""The pages of follow-ups: whom to reach next, and one follow-up from the first try to the outcome."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from icalendar import Calendar
from sqlalchemy import event

from alerts.alert import Act, ActKind, Alert, Outcome, Priority
from alerts.follow_up import Attempt, HandOver, Open, Result, Text, Why, opened, worsened
from alerts.team import Contact, Practitioner, Role
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, no_data, severe_pressure, very_low
from tests.gateway.test_web import browser

LI = Practitioner(id="li", name="Dr Li", roles=frozenset({Role.DOCTOR}))
MIN = Practitioner(id="min", name="赵敏", roles=frozenset({Role.NURSE}))
LANGUAGES = ("en", "zh-CN")


class _Fields(HTMLParser):
    """The fields of a page that no label, and the buttons that no word, says the meaning of."""

    def __init__(self) -> None:
        super().__init__()
        self.unnamed: list[str] = []
        self._labels = 0
        self._button: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs).get("type")
        self._labels += tag == "label"
        if tag in {"input", "select", "textarea"} and kind != "hidden" and not self._labels:
            self.unnamed.append(str(attrs))
        if tag == "button":
            self._button = ""

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self._button += data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._labels -= tag == "label"
        if tag == "button":
            if not self._button:
                self.unnamed.append("button")
            self._button = None


def unnamed(page: str) -> list[str]:
    fields = _Fields()
    fields.feed(page)
    return fields.unnamed


def said(page: httpx.Response) -> str:
    """What stands on a page, tags and white space left out."""
    main = page.text[page.text.index("<main") : page.text.index("</main>")]
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", main)))


def refusal(page: httpx.Response) -> str:
    (told,) = re.findall(r'<p class="warning refused"[^>]*>(.*?)</p>', page.text)
    return unescape(told)


async def seen(house: SmallHouse, alert: Alert, by: str = "Nurse Chen") -> str:
    """The alert is acknowledged; the address of its follow-up."""
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by=by, at=house.time))
    follow_up = house.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    return f"/follow-ups/{follow_up.id}"


def wanted(house: SmallHouse, hours: float, words: str, role: Role = Role.NURSE, **more: Any) -> str:
    """Staff want a patient followed up within some hours; the address."""
    step = opened(
        Open(
            patient=WANG.id,
            why=Why.STAFF,
            key=words,
            because=Text(en=words, zh=words),
            at=house.time,
            role=role,
            due_at=house.time + timedelta(hours=hours),
            by="Dr Li",
            **more,
        )
    )
    house.follow_ups.record((step,))
    return f"/follow-ups/{step.follow_up.id}"


LISTED = {
    "en": (
        "Overdue 王芳 Low priority visit Staff wanted it by Dr Li 3 Mar 2026, 14:30 UTC+8 0 "
        "3 Mar 2026, 13:30 UTC+8 nurse As agreed. "
        "Due today 王芳 High priority Glucose 2.8 mmol/L at 14:10, below 3.0 mmol/L for 15 min (Battelino 2019, "
        "level 2) An alert by Nurse Chen 3 Mar 2026, 14:30 UTC+8 1 · telephone: no answer 3 Mar 2026, 14:30 UTC+8 "
        "3 Mar 2026, 14:45 UTC+8 Nurse Chen Not reached: try again in 15 min. "
        "Later 王芳 Low priority cuff Staff wanted it by Dr Li 3 Mar 2026, 14:30 UTC+8 0 "
        "4 Mar 2026, 20:30 UTC+8 nurse As agreed."
    ),
    "zh-CN": (
        "已逾期 王芳 低优先级 visit 医护人员新建 Dr Li 2026年3月3日 14:30 UTC+8 0 "
        "2026年3月3日 13:30 UTC+8 护士 按约定。 "
        "今日到期 王芳 高优先级 14:10 血糖 2.8 mmol/L，低于 3.0 mmol/L 已 15 分钟（Battelino 2019 共识 2 级） 警报 "
        "Nurse Chen 2026年3月3日 14:30 UTC+8 1 · 电话：无人接听 2026年3月3日 14:30 UTC+8 "
        "2026年3月3日 14:45 UTC+8 Nurse Chen 未联系到：请在 15 分钟后再试。 "
        "以后 王芳 低优先级 cuff 医护人员新建 Dr Li 2026年3月3日 14:30 UTC+8 0 "
        "2026年3月4日 20:30 UTC+8 护士 按约定。"
    ),
}
NO_NUMBER = {"en": "no telephone number is entered", "zh-CN": "未登记电话号码"}
HEADS = {
    "en": "Patient What happened Why opened Tries Next try by ",
    "zh-CN": "患者 情况 新建原因 联系次数 下次联系期限 ",
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_overdue_first_then_today_then_later_each_with_what_happened_and_the_last_try(
    house: SmallHouse, language: str
) -> None:
    wanted(house, 30, "cuff")
    wanted(house, -1, "visit")
    follow_up = (await seen(house, house.find(very_low()))).rpartition("/")[2]
    tried = {"by": "Nurse Chen", "at": NOW, "channel": "telephone"}
    await house.care(Attempt(follow_up=follow_up, result=Result.NO_ANSWER, **tried))
    async with browser(house, **{"Accept-Language": language}) as web:
        page = await web.get("/follow-ups")
    assert LISTED[language].replace("王芳", f"王芳 {NO_NUMBER[language]}") in said(page).replace(HEADS[language], "")


async def test_mine_my_role_and_all(house: SmallHouse) -> None:
    house.duty.team.put(LI, now=NOW)
    wanted(house, 1, "for nurses")
    wanted(house, 1, "for Li", assigned_to="Dr Li")
    wanted(house, 1, "for doctors", role=Role.DOCTOR)
    async with browser(house) as web:
        assert "once this browser knows your name" in said(await web.get("/follow-ups?of=mine"))
        everybody = said(await web.get("/follow-ups"))
        assert all(each in everybody for each in ("for nurses", "for Li", "for doctors", "Dietitian"))
        await web.post("/me", data={"by": "Dr Li"})
        mine = await web.get("/follow-ups")
        assert 'href="/follow-ups?of=mine" aria-current="true"' in mine.text
        assert ("for Li" in said(mine), "for nurses" in said(mine), "for doctors" in said(mine)) == (
            True,
            False,
            False,
        )
        assert re.findall(r'href="/follow-ups\?of=(\w+)"', mine.text) == ["mine", "doctor", "all"]
        role = said(await web.get("/follow-ups?of=doctor"))
        assert ("for doctors" in role, "for nurses" in role) == (True, False)


@pytest.mark.parametrize(
    ("language", "address", "words"),
    [
        ("en", "/follow-ups?of=all", "Here stands whom somebody is to reach next, and by when"),
        ("en", "/follow-ups?of=nurse", "This team has no open follow-up."),
        ("zh-CN", "/follow-ups?of=all", "此处显示接下来须在何时之前联系哪位患者"),
        ("zh-CN", "/follow-ups?of=mine", "填写姓名后，此处将显示由您负责的随访。"),
    ],
)
async def test_an_empty_list_says_what_it_would_show(
    house: SmallHouse, language: str, address: str, words: str
) -> None:
    async with browser(house, **{"Accept-Language": language}) as web:
        assert words in said(await web.get(address))


async def test_the_list_goes_on_on_the_next_page(house: SmallHouse) -> None:
    for number in range(51):
        wanted(house, number, f"number {number}")
    async with browser(house) as web:
        first = await web.get("/follow-ups?of=nurse")
        assert "number 49" in first.text
        assert "number 50" not in first.text
        (further,) = re.findall(r'href="(/follow-ups\?of=nurse&amp;after=[^"]+)"', first.text)
        second = await web.get(unescape(further))
        assert ("number 50" in second.text, "number 49" in second.text) == (True, False)
        assert "after=" not in second.text.partition("<main")[2]
        assert (await web.get("/follow-ups?after=f-9")).status_code == 404
        assert (await web.get("/follow-ups?of=porter")).status_code == 422


async def test_a_full_page_asks_the_database_no_oftener_than_a_line(house: SmallHouse) -> None:
    asked: list[str] = []
    event.listen(house.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    async with browser(house) as web:

        async def questions() -> int:
            asked.clear()
            assert (await web.get("/follow-ups?of=all")).status_code == 200
            return len(asked)

        await seen(house, house.find(very_low()))
        one = await questions()
        await seen(house, house.find(very_low(MILLER)))
        for number in range(60):
            wanted(house, number, f"number {number}")
        assert await questions() == one


@pytest.mark.parametrize(("language", "word"), [("en", "Telephone"), ("zh-CN", "电话")])
async def test_the_numbers_of_the_patient_stand_on_the_list_and_on_the_page(
    house: SmallHouse, language: str, word: str
) -> None:
    at = await seen(house, house.find(very_low()))
    ways = [
        ("telephone", "(020) 7946-0000"),
        ("app", "wang"),
        ("sms", "+86 138 0000 0001"),
        ("wecom", "1380000"),
        ("sms", "13800000002"),
        ("telephone", "010-6655 4433 ext. 12"),
        ("telephone", "010-6655 4433 转 12"),
        ("telephone", "１３８００００００００"),
        ("telephone", "+86 (0)10 6655 4433"),
        ("telephone", "13800000000/13900000000"),
    ]
    contacts = [Contact(channel=channel, address=address) for channel, address in ways]
    house.duty.team.put_contacts(f"patient:{WANG.id}", contacts, now=house.time)
    async with browser(house, **{"Accept-Language": language}) as web:
        page, listed = await web.get(at), await web.get("/follow-ups?of=all")
    assert f"{word} (020) 7946-0000 , +86 138 0000 0001 , 13800000002 , 010-6655 4433 ext. 12 , " in said(page)
    assert "13800000000/13900000000" in said(page), "what cannot be dialled by a link is read"
    for shown in (page, listed):
        links = re.findall(r'<a href="(tel:[^"]*)">([^<]*)</a>', shown.text)
        assert links == [
            ("tel:02079460000", "(020) 7946-0000"),
            ("tel:+8613800000001", "+86 138 0000 0001"),
            ("tel:13800000002", "13800000002"),
            ("tel:01066554433", "010-6655 4433 ext. 12"),
            ("tel:01066554433", "010-6655 4433 转 12"),
            ("tel:13800000000", "１３８００００００００"),
            ("tel:+861066554433", "+86 (0)10 6655 4433"),
        ]


@pytest.mark.parametrize(
    ("language", "steps"),
    [
        ("en", ["Homeward opened it: somebody is to reach the patient.", "Nurse Chen took it."]),
        ("zh-CN", ["由 Homeward 新建：须有人联系患者。", "Nurse Chen 接手负责。"]),
    ],
)
async def test_what_was_opened_before_anybody_acknowledged_the_alert_says_so(
    house: SmallHouse, language: str, steps: list[str]
) -> None:
    alert = house.find(very_low())
    about = {"patient": WANG.id, "because": alert.because, "role": Role.NURSE, "alert": alert.id, "key": alert.id}
    house.follow_ups.record((opened(Open(why=Why.ALERT, at=house.time, **about)),))
    at = await seen(house, alert)
    async with browser(house, **{"Accept-Language": language}) as web:
        shown = said(await web.get(at)).partition({"en": "step by step", "zh-CN": "处理过程"}[language])[2]
    assert all(step in shown for step in steps), shown
    assert {"en": "acknowledged the alert", "zh-CN": "确认警报"}[language] not in shown


async def test_where_somebody_has_tried_no_page_says_that_nobody_has_acknowledged(house: SmallHouse) -> None:
    alert = house.find(very_low())
    about = {"patient": WANG.id, "because": alert.because, "role": Role.NURSE, "alert": alert.id, "key": alert.id}
    step = opened(Open(why=Why.ALERT, at=house.time, **about))
    house.follow_ups.record((step,))
    pages = f"/alerts/{alert.id}", f"/follow-ups/{step.follow_up.id}", "/", f"/patients/{WANG.id}"
    tried = Attempt(
        follow_up=step.follow_up.id, by="王丽", at=house.time, channel="telephone", result=Result.NO_ANSWER
    )
    async with browser(house) as web:
        assert all(["by nobody yet" in said(await web.get(page)) for page in pages])
        await house.care(tried)
        assert not any(["by nobody yet" in said(await web.get(page)) for page in pages])
        await house.care(replace(tried, result=Result.REACHED))
        assert all(["Acknowledged by 王丽" in said(await web.get(page)) for page in pages])


@pytest.mark.parametrize("language", LANGUAGES)
async def test_from_acknowledging_to_the_outcome(house: SmallHouse, language: str) -> None:
    alert = house.find(very_low())
    async with browser(house, **{"Accept-Language": language}) as web:
        answer = await web.post(f"/alerts/{alert.id}/acknowledge", data={"by": "Nurse Chen", "next": "/"})
        at = answer.headers["location"]
        assert re.fullmatch("/follow-ups/f-[0-9a-f]{16}", at)
        shown = said(await web.get(f"/alerts/{alert.id}"))
        assert {
            "en": "In follow-up by Nurse Chen , next try by 3 Mar 2026, 15:00 UTC+8",
            "zh-CN": "由 Nurse Chen 随访中 , 下次联系期限 2026年3月3日 15:00 UTC+8",
        }[language] in shown

        async def send(act: str, **fields: str) -> None:
            done = await web.post(f"{at}/{act}", data={"by": "Nurse Chen", **fields})
            assert (done.status_code, done.headers["location"]) == (303, at)

        await send("attempts", channel="telephone", result="no-answer")
        house.time += timedelta(minutes=20)
        assert {"en": "overdue", "zh-CN": "已逾期"}[language] in said(await web.get(at))
        await send("hand-over", role="doctor", person="Dr Li", note="Lives alone")
        await send("attempts", channel="telephone", result="reached", note="ate 15 g", by="Dr Li")
        await send("education", material="glucose-goals")
        await send("care-time", minutes="１２", live="true")
        await send("close", outcome="advice", note="Eat before the walk", by="Dr Li")
        page = await web.get(at)
    steps = {
        "en": [
            "3 Mar 2026, 14:30 UTC+8 Nurse Chen acknowledged the alert and has the follow-up.",
            "Nurse Chen tried to reach the patient by telephone: no answer. Not reached: try again in 15 min. (",
            "3 Mar 2026, 14:50 UTC+8 Nurse Chen handed it over to: Dr Li (doctor). Lives alone",
            "Dr Li tried to reach the patient by telephone: reached. ate 15 g",
            "Dr Li closed it: Advice given. Eat before the walk",
            "Given to read 3 Mar 2026, 14:50 UTC+8 What the numbers mean · Nurse Chen",
            "12 min · Nurse Chen · spoke with the patient",
        ],
        "zh-CN": [
            "2026年3月3日 14:30 UTC+8 Nurse Chen 确认警报并负责随访。",
            "Nurse Chen 通过电话联系患者：无人接听。 未联系到：请在 15 分钟后再试。 ( 2026年3月3日 14:45 UTC+8 )",
            "2026年3月3日 14:50 UTC+8 Nurse Chen 已转交给：Dr Li（医生）。 Lives alone",
            "Dr Li 通过电话联系患者：已联系到。 ate 15 g",
            "Dr Li 结束随访：已给予建议。 Eat before the walk",
            "已发放的宣教资料 2026年3月3日 14:50 UTC+8 看懂血糖数值 · Nurse Chen",
            "12 分钟 · Nurse Chen · 已与患者直接交谈",
        ],
    }[language]
    shown = said(page)
    places = [shown.index(each) for each in steps]
    assert places == sorted(places)
    ended = house.book.alert(alert.id)
    assert ended is not None
    assert (ended.outcome, ended.closed_by, ended.closing_note) == (Outcome.ADVICE, "Dr Li", "Eat before the walk")
    assert 'name="outcome"' not in page.text


async def test_only_what_became_more_urgent_is_said_to_have(house: SmallHouse) -> None:
    at, alert = wanted(house, 48, "cuff", assigned_to="Nurse Chen"), house.find(severe_pressure())
    for priority in (Priority.LOW, Priority.MEDIUM, Priority.MEDIUM):
        (known,) = house.follow_ups.open_of(WANG.id)
        house.follow_ups.record(worsened(replace(alert, priority=priority), known, house.time))
    async with browser(house) as web:
        english = said(await web.get(at))
        chinese = said(await web.get(at, headers={"Accept-Language": "zh"}))
    found = re.findall(r"The alert was told again[:.](?: it became more urgent\.)?", english)
    assert found == ["The alert was told again.", f"{found[0][:-1]}: it became more urgent.", found[0]]
    assert re.findall("再次报警[：。](?:优先级提高。)?(?= )", chinese) == [
        "再次报警。",
        "再次报警：优先级提高。",
        "再次报警。",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_number_that_was_found_wrong_is_marked_until_somebody_has_put_it_right(
    house: SmallHouse, language: str
) -> None:
    house.duty.team.put_contacts(
        f"patient:{WANG.id}", [Contact(channel="telephone", address="010-1234")], None, now=NOW
    )
    at = await seen(house, house.find(very_low()))
    wrong, when = {
        "en": ("The contact for telephone is wrong, says Nurse Chen.", "14:30"),
        "zh-CN": ("Nurse Chen 反映电话联系方式有误，请核实。", "14:30"),
    }[language]
    async with browser(house, **{"Accept-Language": language}) as web:
        for path in (at, "/follow-ups?of=all"):
            assert f'class="missing">{wrong}' not in (await web.get(path)).text
        tried = {"by": "Nurse Chen", "channel": "telephone", "result": "wrong-number"}
        assert (await web.post(f"{at}/attempts", data=tried)).status_code == 303
        (task,) = (each for each in house.follow_ups.open_of(WANG.id) if each.problem == "contact-data")
        for path in (at, "/follow-ups?of=all"):
            marked = (await web.get(path)).text.partition("010-1234")[2][:400]
            assert f'<span class="missing">{wrong}' in marked
            assert f'href="/follow-ups/{task.id}"' in marked
            assert when in marked
        done = {"by": "Bao", "outcome": "no-action", "note": "010-5678"}
        assert (await web.post(f"/follow-ups/{task.id}/close", data=done)).status_code == 303
        for path in (at, "/follow-ups?of=all"):
            assert f'class="missing">{wrong}' not in (await web.get(path)).text


@pytest.mark.parametrize(("language", "says"), NO_NUMBER.items())
async def test_a_patient_without_any_number_is_said_to_have_none(house: SmallHouse, language: str, says: str) -> None:
    at = await seen(house, house.find(very_low()))
    async with browser(house, **{"Accept-Language": language}) as web:
        pages = [(await web.get(path)).text for path in (at, "/follow-ups?of=all")]
        assert all(says in page for page in pages)
        assert f'href="/patients/{WANG.id}#contacts"' in pages[0]
        house.duty.team.put_contacts(
            f"patient:{WANG.id}", [Contact(channel="telephone", address="010-1")], None, now=NOW
        )
        assert not any([says in (await web.get(path)).text for path in (at, "/follow-ups?of=all")])


@pytest.mark.parametrize("language", LANGUAGES)
async def test_it_is_handed_to_one_of_the_team_in_a_role_that_they_have(house: SmallHouse, language: str) -> None:
    gone = Practitioner(id="wu", name="Dr Wu", roles=frozenset({Role.DOCTOR}), active=False)
    for one in (LI, MIN, gone):
        house.duty.team.put(one, now=NOW)
    at = wanted(house, 1, "cuff", assigned_to="Nurse Chen")
    possible = {
        "en": {"doctor": "Possible: Dr Li (doctor).", "": "Possible: Dr Li (doctor), 赵敏 (nurse)."},
        "zh-CN": {"doctor": "可选：Dr Li（医生）。", "": "可选：Dr Li（医生）、赵敏（护士）。"},
    }[language]
    async with browser(house, **{"Accept-Language": language}) as web:
        for role, person, en, zh in (
            (
                "doctor",
                "赵敏",
                "赵敏 is not registered as doctor but as nurse. ",
                "赵敏 登记的角色是护士，不是医生。",
            ),
            ("doctor", "Dr Lee", "Dr Lee is not, or no longer, in the team. ", "团队中现无“Dr Lee”。"),
            ("", "Dr Wu", "Dr Wu is not, or no longer, in the team. ", "团队中现无“Dr Wu”。"),
            (
                "dietitian",
                "Dr Li",
                "Dr Li is not registered as dietitian but as doctor. ",
                "Dr Li 登记的角色是医生，",
            ),
        ):
            data = {"by": "Nurse Chen", "note": "n", "role": role, "person": person}
            refused = await web.post(f"{at}/hand-over", data=data)
            assert refused.status_code == 409
            assert {"en": en, "zh-CN": zh}[language] in refusal(refused)
            assert possible.get(role, {"en": "The team has no", "zh-CN": "团队中没有"}[language]) in refusal(refused)
        for person, held in (("min", ("赵敏", Role.NURSE)), ("Dr Li", ("Dr Li", Role.DOCTOR))):
            given = await web.post(f"{at}/hand-over", data={"by": "Dr Li", "note": "n", "person": person})
            assert given.status_code == 303
            (kept,) = house.follow_ups.open_of(WANG.id)
            assert (kept.assigned_to, kept.role) == held, "by id too, and in the role that they have"
        for role, en, zh in (("dietitian", "dietitian", "营养师"), ("coordinator", "coordinator", "协调员")):
            data = {"by": "Nurse Chen", "note": "n", "role": role, "person": ""}
            refused = await web.post(f"{at}/hand-over", data=data)
            assert refused.status_code == 409
            unfilled = {
                "en": f"The team has no {en}. Choose a role that somebody has: doctor, nurse.",
                "zh-CN": f"团队中没有{zh}。请选择有人担任的角色：医生、护士。",
            }
            assert refusal(refused) == unfilled[language]
        assert house.follow_ups.open_of(WANG.id) == [kept]
        body = {"patient": WANG.id, "because": "call", "role": "doctor", "to": "赵敏", "by": "Dr Li"}
        assert (await web.post("/api/v1/follow-ups", json=body)).status_code == 409


@pytest.mark.parametrize("way", ["/api/v1", ""])
@pytest.mark.parametrize("language", LANGUAGES)
async def test_where_a_team_is_entered_nobody_else_acknowledges_takes_tries_or_closes(
    house: SmallHouse, way: str, language: str
) -> None:
    for one in (LI, MIN):
        house.duty.team.put(one, now=NOW)
    alert, at = house.find(very_low()), wanted(house, 1, "cuff")
    says = {
        "en": "某某 is not, or no longer, in the team. Possible: Dr Li (doctor), 赵敏 (nurse).",
        "zh-CN": "团队中现无“某某”。可选：Dr Li（医生）、赵敏（护士）。",
    }[language]
    tried = {"channel": "telephone", "result": "no-answer"}
    ended = {"outcome": "advice", "note": "juice"}
    acts = (
        (f"/alerts/{alert.id}/acknowledge", {}),
        (f"/alerts/{alert.id}/close", ended),
        (f"{at}/claim", {}),
        (f"{at}/attempts", tried),
        (f"{at}/close", ended),
    )
    async with browser(house, **{"Accept-Language": language}) as web:
        web.cookies.set("homeward_name", quote("某某"))

        async def sent(path: str, by: str, fields: dict[str, str]) -> httpx.Response:
            body = {"by": by, **fields}
            return await web.post(way + path, **({"json": body} if way else {"data": body}))

        for path, fields in acts:
            refused = await sent(path, "某某", fields)
            assert refused.status_code == 409
            assert (refused.json()["detail"] if way else refusal(refused)) == says
            assert way or 'value="某某" required' in refused.text, "the name can be corrected where it was typed"
        kept = house.book.alert(alert.id)
        (free,) = house.follow_ups.open_of(WANG.id)
        assert (kept, free.assigned_to, free.attempts) == (alert, None, 0)
        for path, fields in (acts[0], acts[2], acts[3], acts[4]):
            assert (await sent(path, "li", fields)).status_code in {200, 303}
    kept, held = house.book.alert(alert.id), house.follow_ups.of_alert(alert.id)
    assert kept is not None
    assert held is not None
    assert (kept.acknowledged_by, held.assigned_to) == ("Dr Li", "Dr Li"), "by id too, and called by name"
    closed = house.follow_ups.get(free.id)
    assert closed is not None
    assert (closed.assigned_to, closed.closed_by) == ("Dr Li", "Dr Li")


@pytest.mark.parametrize(
    ("language", "says"),
    [("en", "赵敏 cannot be told of anything: no contact is entered"), ("zh-CN", "赵敏 目前无法收到任何通知：")],
)
async def test_who_is_given_a_follow_up_and_cannot_be_told_is_named_there_and_then(
    house: SmallHouse, language: str, says: str
) -> None:
    for one in (MIN, replace(LI, contacts=(Contact(channel="app", address="li"),))):
        house.duty.team.put(one, now=NOW)
    async with browser(house, **{"Accept-Language": language}) as web:
        body = {"patient": WANG.id, "because": "call", "role": "nurse", "to": "赵敏", "by": "Dr Li"}
        made = (await web.post("/api/v1/follow-ups", json=body)).json()
        assert says in made["warning"]["en" if language == "en" else "zh"]
        assert says in (await web.get(f"/follow-ups/{made['id']}")).text
        at = f"/api/v1/follow-ups/{made['id']}/hand-over"
        given = (await web.post(at, json={"by": "赵敏", "note": "n", "role": "doctor", "to": "Dr Li"})).json()
        assert (given["assigned_to"], given["warning"]) == ("Dr Li", None)
        assert "warning" in (await web.post(at, json={"by": "Dr Li", "note": "n", "to": "赵敏"})).json()
        house.duty.team.put(replace(MIN, contacts=(Contact(channel="app", address="min"),)), now=NOW)
        assert says not in (await web.get(f"/follow-ups/{made['id']}")).text


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_field_that_is_left_empty_is_called_as_its_form_calls_it(house: SmallHouse, language: str) -> None:
    alert = house.find(no_data(WANG))
    at = wanted(house, 1, "cuff", assigned_to="Nurse Chen")
    async with browser(house, **{"Accept-Language": language}) as web:
        for page, path in (
            (f"/alerts/{alert.id}", f"/alerts/{alert.id}/snooze"),
            *(
                (at, f"{at}/{act}")
                for act in ("attempts", "hand-over", "postpone", "appointments", "care-time", "close")
            ),
        ):
            form = (await web.get(page)).text.partition(f'action="{path}"')[2].partition("</form>")[0]
            labels = [
                re.sub(r"<select.*|<[^>]+>", "", each).strip()
                for each in re.findall("<label[^>]*>(.*?)</label>", form, re.DOTALL)
            ]
            refused = await web.post(path)
            assert refused.status_code == 422
            for flaw in re.split("[;；] ?", refusal(refused)):
                field = re.split("[:：] ?", flaw)[0]
                assert any(label.startswith(field) for label in labels), (path, flaw, labels)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_is_refused_says_what_is_possible_and_stays_as_it_was_typed(
    house: SmallHouse, language: str
) -> None:
    at = wanted(house, 1, "cuff", assigned_to="Nurse Chen", priority=Priority.MEDIUM)
    typed = {"by": "Dr Li", "note": "travels <far>", "until": "2026-03-09T09:00", "channel": "sms"}
    typed |= {"start": "soon", "minutes": "20"}
    async with browser(house, **{"Accept-Language": language}) as web:
        for act, more, status, en, zh in (
            ("claim", {}, 409, "Have it handed over to you", "请通过转交接手"),
            (
                "postpone",
                {},
                409,
                "at most 1 d: until 2026-03-04 14:30 UTC+8.",
                "1 天：不晚于 2026-03-04 14:30 UTC+8。",
            ),
            ("postpone", {"until": "2026-03-03T14:29"}, 409, "until a moment that is past", "推迟时间已过"),
            ("appointments", {"start": "2026-03-03T14:29"}, 409, "would begin in the past", "开始时间已过"),
            ("hand-over", {}, 409, "needs a role or a person", "须选择角色或人员"),
            ("attempts", {"result": "declined", "note": ""}, 409, "needs a note", "患者拒绝时"),
            ("attempts", {}, 422, "What came of it: this is needed", "联系结果：必填"),
            ("appointments", {}, 422, "Begin: this is not a moment", "开始：这不是时间"),
            ("education", {"material": "x"}, 422, "there is nothing to read called", "没有名为"),
            ("care-time", {"minutes": "0"}, 422, "Minutes: use 1 or more", "分钟数：不得小于 1"),
            ("close", {"outcome": "x"}, 422, "Outcome: choose one of the list", "处理结果：请从列表中选择"),
        ):
            refused = await web.post(f"{at}/{act}", data={**typed, **more})
            assert refused.status_code == status, act
            assert {"en": en, "zh-CN": zh}[language] in refusal(refused)
            form = refused.text.partition(f'action="{at}/{act}"')[2].partition("</form>")[0]
            if act != "claim":  # there is no such form where somebody has it
                assert 'value="Dr Li"' in form
            if act in {"postpone", "hand-over", "care-time", "close"}:
                assert ">travels &lt;far&gt;</textarea>" in form
    (kept,) = house.follow_ups.open_of(WANG.id)
    assert (kept.version, kept.attempts) == (1, 0)


@pytest.mark.parametrize(
    ("language", "asks", "confirms"),
    [
        ("en", "is much (more than 120 min)", "It did take 900 min"),
        ("zh-CN", "偏长（超过 120 分钟）", "确实用了 900 分钟"),
    ],
)
async def test_many_minutes_of_care_are_asked_about_before_they_are_written_down(
    house: SmallHouse, language: str, asks: str, confirms: str
) -> None:
    at = wanted(house, 1, "cuff")
    typed = {"by": "Nurse Chen", "minutes": "900", "note": "all day"}
    async with browser(house, **{"Accept-Language": language}) as web:
        assert 'name="confirm"' not in (await web.get(at)).text
        asked = await web.post(f"{at}/care-time", data=typed)
        assert asked.status_code == 409
        assert asks in refusal(asked)
        form = asked.text.partition(f'action="{at}/care-time"')[2].partition("</form>")[0]
        assert confirms in form
        assert 'name="confirm" value="true">' in form  # not ticked by itself
        assert "900 min" not in said(await web.get(at))
        assert (await web.post(f"{at}/care-time", data={**typed, "confirm": "true"})).status_code == 303
        page = await web.get(at)
        assert {"en": "900 min", "zh-CN": "900 分钟"}[language] in said(page)
        (path,) = re.findall(f'action="({at}/care-time/[0-9]+/correct)"', page.text)
        unsaid = await web.post(path, data={"by": "Dr Li", "minutes": "90"})
        assert {"en": "Why: this is needed", "zh-CN": "理由：必填"}[language] in refusal(unsaid)
        typed = {"by": "Dr Li", "minutes": "9０", "because": "one 0 too many", "live": "true"}
        assert (await web.post(path, data=typed)).status_code == 303
        told = {
            "en": "90 min · Nurse Chen · spoke with the patient all day 3 Mar 2026, 14:30 UTC+8 Dr Li corrected 900 "
            "min to 90 min one 0 too many",
            "zh-CN": "Dr Li 将 900 分钟更正为 90 分钟 one 0 too many",
        }
        assert told[language] in said(await web.get(at))


async def test_who_comes_too_late_keeps_the_text_and_hears_who_was_first(house: SmallHouse) -> None:
    at = await seen(house, house.find(very_low()))
    first = {"by": "Dr Li", "outcome": "no-action", "reason": "treated-before", "note": "ate"}
    async with browser(house) as web:
        await web.post(f"{at}/close", data=first)
        late = await web.post(f"{at}/close", data={"by": "Dr Wu", "outcome": "advice", "note": "called her"})
    assert late.status_code == 409
    assert refusal(late) == (
        "Dr Li has closed this follow-up already, on 3 Mar 2026, 14:30 UTC+8 (No action needed, because: treated "
        "before anybody was in contact: ate). Nothing can be done with it any more; open a new one on the patient's "
        "page."
    )
    assert "called her</textarea>" in late.text


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_claims_a_contact_is_offered_once_the_patient_was_reached(
    house: SmallHouse, language: str
) -> None:
    at = await seen(house, house.find(very_low()))
    hint = {"en": "once a try has reached the patient", "zh-CN": "须先记录联系到患者的那次联系"}[language]
    async with browser(house, **{"Accept-Language": language}) as web:
        await web.post(f"{at}/attempts", data={"by": "Li", "channel": "telephone", "result": "no-answer"})
        page = await web.get(at)
        assert hint in said(page)
        assert '<option value="advice"' not in page.text
        assert '<option value="no-action"' in page.text
        refused = await web.post(f"{at}/close", data={"by": "Li", "outcome": "advice", "note": "rest"})
        assert refused.status_code == 409
        assert {"en": "no try has reached the patient", "zh-CN": "没有联系到患者的记录"}[language] in refusal(refused)
        await web.post(f"{at}/attempts", data={"by": "Li", "channel": "telephone", "result": "reached"})
        page = await web.get(at)
        assert hint not in said(page)
        assert '<option value="advice"' in page.text
        done = await web.post(f"{at}/close", data={"by": "Li", "outcome": "advice", "note": "rest"})
        assert done.status_code == 303


def offered(page: httpx.Response, action: str) -> list[str]:
    """The outcomes that a form offers."""
    form = page.text.partition(f'action="{action}"')[2].partition("</form>")[0]
    return re.findall('<option value="([a-z-]+)"', form.partition('name="outcome"')[2].partition("</sel")[0])


@pytest.mark.parametrize("language", LANGUAGES)
async def test_no_form_offers_an_outcome_that_would_be_refused(house: SmallHouse, language: str) -> None:
    alert = house.find(very_low())
    medium = house.find(replace(very_low(MILLER), priority=Priority.MEDIUM))
    why = {"en": "An appointment can be the outcome once", "zh-CN": "以“已预约就诊”结束，须先在随访中预约"}[language]
    reach = {"en": "once a try has reached the patient", "zh-CN": "须先记录联系到患者的那次联系"}[language]
    close = f"/alerts/{alert.id}/close"
    async with browser(house, **{"Accept-Language": language}) as web:
        for path in ("/", f"/alerts/{alert.id}"):
            page = await web.get(path)
            assert offered(page, close) == ["emergency", "no-action"]
            assert (why in said(page), reach in said(page)) == (True, True)
        assert offered(await web.get("/"), f"/alerts/{medium.id}/close")[:2] == ["advice", "medication-changed"]
        at = await seen(house, alert)
        assert offered(await web.get(at), f"{at}/close") == ["emergency", "no-action"]
        made = await web.post(f"{at}/appointments", data={"by": "Li", "start": "2026-03-10T09:30"})
        assert made.status_code == 303
        for path, form in (("/", close), (f"/alerts/{alert.id}", close), (at, f"{at}/close")):
            assert offered(await web.get(path), form) == ["appointment", "emergency", "no-action"]
        await web.post(f"{at}/attempts", data={"by": "Li", "channel": "telephone", "result": "reached"})
        page = await web.get(f"/alerts/{alert.id}")
        assert offered(page, close) == ["advice", "medication-changed", "appointment", "emergency", "no-action"]
        assert (why in said(page), reach in said(page)) == (False, False)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_severe_pressure_asks_for_symptoms_and_any_of_them_leaves_one_outcome(
    house: SmallHouse, language: str
) -> None:
    alert = house.find(severe_pressure())
    at = await seen(house, alert)
    low = await seen(house, house.find(very_low()))
    asked = {"en": "With any of these it is an emergency", "zh-CN": "有以下任一症状即为急症"}[language]
    async with browser(house, **{"Accept-Language": language}) as web:
        assert (await web.get(at)).text.count(asked) == 2  # at a try, and at the end
        assert asked not in (await web.get(low)).text
        tried = {"by": "Nurse Chen", "channel": "telephone", "result": "reached", "symptom-chest-pain": "on"}
        await web.post(f"{at}/attempts", data=tried)
        page = await web.get(at)
        assert {"en": "Symptoms: chest pain.", "zh-CN": "症状：胸痛。"}[language] in said(page)
        called = {
            "en": "The patient has chest pain: have the emergency number",
            "zh-CN": "患者有胸痛：请立即呼叫急救",
        }
        for card in ("/", f"/alerts/{alert.id}"):
            assert said(await web.get(card)).count(called[language]) == 1
        assert re.findall(
            '<option value="([a-z-]+)"', page.text.partition('name="outcome"')[2].partition("</sel")[0]
        ) == ["emergency"]
        assert f'action="{at}/postpone"' not in page.text
        refused = await web.post(f"{at}/close", data={"by": "Dr Li", "outcome": "advice", "note": "rest"})
        assert refused.status_code == 409
        assert {"en": "is an emergency", "zh-CN": "属于急症"}[language] in refusal(refused)
        done = await web.post(f"{at}/close", data={"by": "Dr Li", "outcome": "emergency", "note": "120 called"})
        assert done.status_code == 303


@pytest.mark.parametrize(("language", "subject"), [("en", "Appointments"), ("zh-CN", "预约")])
async def test_an_appointment_is_made_downloaded_moved_and_called_off(
    house: SmallHouse, language: str, subject: str
) -> None:
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="email", address="w@home.example")], now=NOW)
    at, other = wanted(house, 1, "tablets"), wanted(house, 1, "cuff")
    async with browser(house, **{"Accept-Language": language}) as web:
        body = {"by": "Dr Li", "start": "2026-03-10T09:30", "minutes": "20", "place": "Room 3"}
        assert (await web.post(f"{at}/appointments", data=body)).status_code == 303
        page = await web.get(at)
        assert subject in said(page)
        assert 'value="w@home.example"' in page.text
        (path,) = re.findall(f'action="({at}/appointments/m-[0-9a-f]+)/invitation"', page.text)
        sent = await web.post(f"{path}/invitation", data={"organizer": "ward@clinic.example", "attendee": ""})
        assert sent.headers["content-disposition"] == 'attachment; filename="appointment.ics"'
        (event,) = Calendar.from_ical(sent.content).walk("VEVENT")
        assert event["dtstart"].dt == NOW.replace(day=10, hour=1, minute=30)  # 09:30 in Shanghai
        wrong = await web.post(f"{path}/invitation", data={"organizer": "nobody"})
        assert wrong.status_code == 422
        assert {"en": "E-mail address of the clinic: write an e-mail address", "zh-CN": "请填写电子邮箱"}[
            language
        ] in refusal(wrong)
        assert 'value="nobody"' in wrong.text
        form = page.text.partition(f'action="{path}/move"')[2].partition("</form>")[0]
        assert re.findall('name="(start|minutes|place)" value="([^"]*)"', form) == [
            ("start", "2026-03-10T09:30"), ("minutes", "20"), ("place", "Room 3")
        ]  # fmt: skip
        later = {"by": "Nurse Chen", "start": "2026-03-11T08:00", "minutes": "20", "place": ""}
        assert (await web.post(path.replace(at, other) + "/move", data=later)).status_code == 404
        past = await web.post(f"{path}/move", data={**later, "start": "2026-03-01T08:00"})
        assert past.status_code == 409
        assert 'value="2026-03-01T08:00"' in past.text
        assert (await web.post(f"{path}/move", data=later)).status_code == 303
        (moved,) = house.follow_ups.appointments(at.rpartition("/")[2])
        assert (moved.start, moved.place) == (NOW.replace(day=11, hour=0, minute=0), "")
        coming = subject.removesuffix("s")
        home = f"/patients/{WANG.id}"
        assert f"{coming}: " + {"en": "11 Mar 2026, 08:00", "zh-CN": "2026年3月11日 08:00"}[language] in said(
            await web.get(home)
        )
        house.time = moved.start + moved.length - timedelta(seconds=1)
        assert f"{coming}: " in said(await web.get(home))
        house.time = moved.start + moved.length
        assert f"{coming}: " not in said(await web.get(home))
        house.time = NOW
        assert (await web.post(path.replace(at, other) + "/cancel", data={"by": "Li"})).status_code == 404
        nameless = await web.post(f"{path}/cancel")
        assert nameless.status_code == 422
        assert {"en": "Your name: this is needed", "zh-CN": "您的姓名：必填"}[language] in refusal(nameless)
        assert (await web.post(f"{path}/cancel", data={"by": "Dr Li"})).status_code == 303
        assert {"en": "called off", "zh-CN": "已取消"}[language] in said(await web.get(at))
        assert (await web.post(f"{path}/cancel", data={"by": "Dr Li"})).status_code == 409
        assert f"{coming}: " not in said(await web.get(home))
        assert [each.who for each in house.audit(subject=f"appointment:{moved.id}")] == [
            "Dr Li",
            "Nurse Chen",
            "Dr Li",
        ]
        ended = await web.post(f"{path}/invitation", data={"organizer": "ward@clinic.example"})
        assert b"METHOD:CANCEL" in ended.content


@pytest.mark.parametrize("language", LANGUAGES)
async def test_staff_open_one_on_the_patients_page(house: SmallHouse, language: str) -> None:
    at = f"/patients/{MILLER.id}"
    typed = {"by": "Dr Li", "why": "patient", "priority": "medium", "because": "New <tablets>"}
    async with browser(house, **{"Accept-Language": language}) as web:
        empty = {"en": "Nothing is open.", "zh-CN": "目前没有未结束的随访。"}[language]
        assert empty in said(await web.get(at))
        refused = await web.post(f"{at}/follow-ups", data=typed)
        assert refused.status_code == 422
        assert {"en": "Role: this is needed", "zh-CN": "角色：必填"}[language] in refusal(refused)
        assert ">New &lt;tablets&gt;</textarea>" in refused.text
        made = await web.post(f"{at}/follow-ups", data={**typed, "role": "dietitian", "person": "Bo"})
        (task,) = house.follow_ups.open_of(MILLER.id)
        assert made.headers["location"] == f"/follow-ups/{task.id}"
        assert (task.role, task.assigned_to, task.why, task.opened_by) == (Role.DIETITIAN, "Bo", Why.PATIENT, "Dr Li")
        page = said(await web.get(at))
        assert "New <tablets>" in page
        assert {"en": "In follow-up by Bo , next try by", "zh-CN": "由 Bo 随访中 , 下次联系期限"}[language] in page
        assert (await web.post("/patients/p-9/follow-ups", data=typed)).status_code == 404


async def test_a_follow_up_that_nobody_has_is_taken_with_one_click_by_whom_the_browser_knows(
    house: SmallHouse,
) -> None:
    at = wanted(house, 1, "cuff")
    async with browser(house) as web:
        assert "nobody yet; for: nurse" in said(await web.get(at))
        await web.post("/me", data={"by": "Nurse Chen"})
        form = (await web.get(at)).text.partition(f'action="{at}/claim"')[2].partition("</form>")[0]
        assert '<input type="hidden" name="by" value="Nurse Chen">' in form
        assert (await web.post(f"{at}/claim", data={"by": "Nurse Chen"})).status_code == 303
        assert "Nurse Chen; in the list of: nurse" in said(await web.get(at))


@pytest.mark.parametrize(
    ("language", "says"), [("en", "Dr Li; in the list of: nurse"), ("zh-CN", "Dr Li；列在护士的随访列表中")]
)
async def test_a_doctor_who_takes_what_is_for_nurses_is_not_called_a_nurse(
    house: SmallHouse, language: str, says: str
) -> None:
    at = wanted(house, 1, "cuff")
    async with browser(house, **{"Accept-Language": language}) as web:
        await web.post(f"{at}/claim", data={"by": "Dr Li"})
        assert says in said(await web.get(at))


async def test_every_field_has_a_label(house: SmallHouse) -> None:
    at = await seen(house, house.find(severe_pressure()))
    free = wanted(house, 1, "cuff")
    async with browser(house) as web:
        await web.post(f"{at}/appointments", data={"by": "Dr Li", "start": "2026-03-10T09:30"})
        for address in ("/follow-ups", at, free, f"/patients/{MILLER.id}"):
            page = await web.get(address)
            assert page.text.count("<input") + page.text.count("<select") > 0 or address == "/follow-ups"
            assert unnamed(page.text) == [], address


async def test_what_is_handed_to_a_role_is_told_with_the_role(house: SmallHouse) -> None:
    at = wanted(house, 1, "cuff")
    deed = HandOver(follow_up=at.rpartition("/")[2], by="Nurse Chen", at=NOW, note="diet", role=Role.DIETITIAN)
    await house.care(deed)
    async with browser(house, **{"Accept-Language": "zh-CN"}) as web:
        assert "Nurse Chen 已转交给：营养师。" in said(await web.get(at))

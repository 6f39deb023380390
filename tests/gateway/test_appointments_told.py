"""A patient is told when an appointment is made, moved or called off, and reminded of it the day before."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import httpx
import pytest
from icalendar import Calendar
from sqlalchemy import delete, event, select, update

from alerts.alert import Outcome, Priority
from alerts.channels import Message
from alerts.database import METADATA
from alerts.follow_up import FollowUp
from alerts.team import Absence, Contact, Practitioner, QuietHours, Role
from gateway.guard import WebSettings
from gateway.people import Patient
from gateway.web import create_app
from ingest.reading import to_us
from tests.alerts.telling import shift
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse
from tests.gateway.test_care_web import post
from tests.gateway.test_duty import BAO, Ear, speak_through
from tests.gateway.test_message_page import SENT, read
from tests.gateway.test_web import browser

SMS = Contact(channel="sms", address="me")
HOUR = timedelta(hours=1)


class Told:
    """What a patient's own channel says, from one look to the next."""

    def __init__(
        self, house: SmallHouse, patient: Patient = WANG, *, trusted: bool = True, quiet: QuietHours | None = None
    ) -> None:
        house.duty.team.put_contacts(f"patient:{patient.id}", [SMS], quiet, now=NOW)
        self.sms, self._house = Ear("sms"), house
        self.sms.trusted = trusted
        self._speaker = speak_through(house, self.sms)

    async def at(self, moment: datetime) -> list[Message]:
        """What comes until a moment, hour by hour."""
        before = len(self.sms.heard)
        while True:
            await self._house.duty.go()
            await self._speaker.speak()
            if self._house.time >= moment:
                return self.sms.heard[before:]
            self._house.time = min(moment, self._house.time + HOUR)

    async def now(self) -> list[Message]:
        return await self.at(self._house.time)


async def made(web: httpx.AsyncClient, start: str, patient: Patient = WANG, **body: Any) -> str:
    task = await post(
        web, "follow-ups", 201, patient=patient.id, because="tablets", role="nurse", by=body.get("by", "Li")
    )
    body = {"by": "Chen", "start": start, "place": "Room 3", "whom": "Dr Li", **body}
    appointment = await post(web, f"follow-ups/{task['id']}/appointments", 201, **body)
    return f"/api/v1/appointments/{appointment['id']}"


def parts(messages: list[Message]) -> list[tuple[str, str]]:
    return [(each.said(each.subject), each.said(each.body)) for each in messages]


PLAIN = {
    "en": (
        "Your clinic has a message for you; it is not urgent. Please open the link today and read it: nobody has to "
        "sign in. If it does not open, call your clinic."
    ),
    "zh_CN": "诊所有一条消息给您（不紧急）。请在今天内打开链接查看，无需登录；如无法打开，请致电诊所。",
}
CALL_OFF = {"en": "\nIf you cannot come, please call your clinic.", "zh_CN": "\n如不能前来，请致电诊所。"}
CALL_ME = {
    "en": "\nTo have your clinic call you, open the link: nobody has to sign in.",
    "zh_CN": "\n如需诊所给您打电话，请打开链接，无需登录。",
}
TOLD = {
    "zh_CN": [
        ("您的预约", "时间：3月10日 09:30 UTC+8（星期二），约 20 分钟。\n地点：Room 3。\n接诊人：Dr Li。"),
        ("您的预约有变更", "以下为最新安排。\n时间：3月11日 08:00 UTC+8（星期三），约 20 分钟。\n接诊人：Chen。"),
        ("您的预约已取消", "已取消：3月11日 08:00 UTC+8（星期三），接诊人：Chen。\n如需重新预约，请致电诊所。"),
    ],
    "en": [
        ("Your appointment", "When: Tuesday, 10 Mar 02:30 UTC+1 (20 min).\nWhere: Room 3.\nWith: Dr Li."),
        (
            "Your appointment was changed",
            "This holds now.\nWhen: Wednesday, 11 Mar 01:00 UTC+1 (20 min).\nWith: Chen.",
        ),
        (
            "Your appointment is called off",
            (
                "Called off: Wednesday, 11 Mar 01:00 UTC+1, with Chen.\n"
                "Please call your clinic if you want another appointment."
            ),
        ),
    ],
}


@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_what_is_made_moved_and_called_off_is_told_once_each(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient
) -> None:
    (first, first_body), (moved, moved_body), off = TOLD[patient.language]
    if_not = CALL_OFF[patient.language] + CALL_ME[patient.language]
    off = off[0], off[1] + CALL_ME[patient.language]
    house.time += HOUR  # 08:30 in Berlin
    told = Told(house, patient)
    path = await made(web, "2026-03-10T09:30:00+08:00", patient)
    messages = await told.now()
    assert parts(messages) == [(first, first_body + if_not)]
    assert messages[0].link.startswith(f"{SENT}/message/")
    assert await told.at(house.time + HOUR) == []
    changed = {"by": "Li", "start": "2026-03-11T08:00:00+08:00", "place": "", "whom": ""}
    assert (await web.put(path, json=changed)).json()["whom"] == "Chen"
    assert parts(await told.now()) == [(moved, moved_body + if_not)]
    assert (await web.delete(f"{path}?by=Li")).status_code == 200
    assert parts(await told.now()) == [off]
    assert await told.at(house.time + timedelta(days=9)) == [], "nobody is reminded of what was called off"


@pytest.mark.parametrize("patient", [WANG, MILLER])
async def test_by_an_untrusted_channel_goes_a_link_alone_to_a_page_with_a_file_for_the_calendar(
    house: SmallHouse, web: httpx.AsyncClient, patient: Patient
) -> None:
    house.time += HOUR
    told = Told(house, patient, trusted=False)
    path = await made(web, "2026-03-10T09:30:00+08:00", patient)
    (message,) = await told.now()
    assert message.said(message.body) == PLAIN[patient.language]
    app = create_app(house, WebSettings(token="secret"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as phone:
        link = message.link.removeprefix(SENT)
        page = await phone.get(link)
        assert {"en": "Where: Room 3.", "zh_CN": "地点：Room 3。"}[patient.language] in read(page)
        assert f'href="{link}/appointment.ics"' in page.text
        entry = await phone.get(f"{link}/appointment.ics")
        assert entry.headers["content-type"].startswith("text/calendar")
        assert b"METHOD" not in entry.content, "it asks for no answer"
        (event,) = Calendar.from_ical(entry.content).walk("VEVENT")
        assert (event["dtstart"].dt, event["location"]) == (NOW.replace(day=10, hour=1, minute=30), "Room 3")
        house.time += timedelta(days=5)
        await web.put(path, json={"by": "Li", "start": "2026-03-11T09:30:00+08:00"})
        changed = {"en": "It was changed since. Now: 11 Mar 2026", "zh_CN": "该预约此后有变更。现为：2026年3月11日"}
        assert changed[patient.language] in (await phone.get(link)).text
        await web.delete(f"{path}?by=Li")
        gone = {"en": "It was called off since.", "zh_CN": "该预约此后已取消。"}[patient.language]
        page = await phone.get(link)
        last = read(page)
        place = {"en": "Where: Room 3.", "zh_CN": "地点：Room 3。"}[patient.language]
        assert last.index(gone) < last.index(place), "it is read before what does not hold any more"
        assert "appointment.ics" not in page.text, "nobody enters it now"
        (event,) = Calendar.from_ical((await phone.get(f"{link}/appointment.ics")).content).walk("VEVENT")
        assert (event["status"], event["sequence"]) == ("CANCELLED", 2)


async def test_quiet_hours_and_the_night_put_it_off_unless_it_is_soon(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    told = Told(house, quiet=QuietHours(start=time(14), end=time(16)))  # 14:30 in Shanghai
    path = await made(web, "2026-03-10T09:30:00+08:00")
    assert await told.at(NOW + HOUR) == []
    await web.put(path, json={"by": "Li", "start": "2026-03-10T10:00:00+08:00"})
    (message,) = await told.at(NOW + 2 * HOUR)
    assert "3月10日 10:00" in message.body.zh, "the newest alone"
    assert message.subject.zh == "您的预约", "nothing was told of it as it was before"
    house.time = NOW + 8 * HOUR  # 22:30
    await web.put(path, json={"by": "Li", "start": "2026-03-10T11:00:00+08:00"})
    assert await told.at(NOW + 17 * HOUR) == []
    assert len(await told.at(NOW + 18 * HOUR)) == 1
    house.time = NOW + 32 * HOUR  # 22:30
    await made(web, "2026-03-05T09:00:00+08:00")
    (soon,) = await told.now()
    assert soon.notice.priority is Priority.MEDIUM


async def test_what_was_put_off_is_told_in_the_order_in_which_it_was_written(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    told = Told(house, quiet=QuietHours(start=time(14), end=time(16)))  # 14:30 in Shanghai
    for day in range(14, 9, -1):
        await made(web, f"2026-03-{day}T09:30:00+08:00")
        await told.now()
        house.time += timedelta(minutes=1)
    messages = await told.at(NOW + 2 * HOUR)
    days = [day for each in messages for day in re.findall(r"3月(\d+)日", each.said(each.body))]
    assert days == ["14", "13", "12", "11", "10"]


async def test_of_what_was_never_told_a_change_is_told_as_new_and_its_end_not_at_all(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    told = Told(house)
    night, morning = NOW + 8 * HOUR, NOW + 18 * HOUR  # 22:30, 08:30
    house.time = night
    gone = await made(web, "2026-03-10T09:30:00+08:00")
    house.time += timedelta(seconds=1)
    stays = await made(web, "2026-03-10T15:30:00+08:00")
    assert await told.now() == []
    house.time += HOUR
    await web.delete(f"{gone}?by=Li")
    await web.put(stays, json={"by": "Li", "start": "2026-03-11T10:00:00+08:00"})
    (new,) = await told.at(morning)
    assert new.subject.zh == "您的预约"
    assert "3月11日 10:00" in new.body.zh
    assert "最新安排" not in new.body.zh
    await web.put(stays, json={"by": "Li", "start": "2026-03-12T10:00:00+08:00"})
    assert [each.subject.zh for each in await told.now()] == ["您的预约有变更"]
    house.time = night + 24 * HOUR
    await web.put(stays, json={"by": "Li", "start": "2026-03-13T10:00:00+08:00"})
    assert await told.now() == []
    await web.delete(f"{stays}?by=Li")
    assert [each.subject.zh for each in await told.at(morning + 24 * HOUR)] == ["您的预约已取消"]


async def test_who_is_to_be_telephoned_and_was_not_yet_is_told_of_a_change_as_new(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="telephone", address="13800000000")], now=NOW)
    path = await made(web, "2026-03-10T09:30:00+08:00", by=BAO.id)

    async def call() -> FollowUp | None:
        await house.duty.go()
        return next((each for each in house.follow_ups.open_of(WANG.id) if each.problem), None)

    async def moved(day: int) -> FollowUp:
        house.time += HOUR
        body = {"by": BAO.id, "start": f"2026-03-{day}T09:30:00+08:00"}
        assert (await web.put(path, json=body)).status_code == 200
        task = await call()
        assert task is not None
        return task

    assert await call() is not None
    again = await moved(11)
    assert "最新安排" not in again.because.zh
    assert "3月11日" in again.because.zh
    await post(web, f"follow-ups/{again.id}/attempts", 200, by=BAO.id, channel="telephone", result="reached")
    assert "以下为最新安排" in (await moved(12)).because.zh
    house.time += HOUR
    await web.delete(f"{path}?by={BAO.id}")
    called_off = await call()
    assert called_off is not None
    assert "已取消" in called_off.because.zh
    untold = await made(web, "2026-03-13T09:30:00+08:00", by=BAO.id)
    assert await call() is not None
    await post(web, f"follow-ups/{called_off.id}/close", 200, by=BAO.id, outcome="no-action", note="knows")
    house.time += HOUR
    await web.delete(f"{untold}?by={BAO.id}")
    assert await call() is None


async def test_what_is_called_off_is_the_date_that_the_patient_knows(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    for trusted in (True, False):
        told = Told(house, trusted=trusted)
        path = await made(web, "2026-03-10T15:30:00+08:00")
        assert len(await told.now()) == 1
        house.time += 8 * HOUR  # 22:30
        moves = {"by": "Li", "start": "2026-03-12T11:00:00+08:00", "place": "Room 9", "whom": "Dr Wu"}
        await web.put(path, json=moves)
        await told.at(house.time + HOUR)
        await web.put(path, json=moves | {"start": "2026-03-13T11:00:00+08:00"})
        await web.delete(f"{path}?by=Li")
        (off,) = await told.at(house.time + 9 * HOUR)
        said = "已取消：3月10日 15:30 UTC+8（星期二），Room 3，接诊人：Dr Li。"
        if trusted:
            assert said in off.body.zh
        else:
            async with browser(house) as phone:
                assert said in read(await phone.get(off.link.removeprefix(SENT)))
        house.time += 7 * HOUR  # by day


async def test_what_is_called_off_by_telephone_is_the_date_that_the_patient_knows_and_before_it(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="telephone", address="13800000000")], now=NOW)
    path = await made(web, "2026-03-04T15:30:00+08:00", by=BAO.id)

    async def call() -> FollowUp:
        await house.duty.go()
        (task,) = (each for each in house.follow_ups.open_of(WANG.id) if each.problem)
        return task

    first = await call()
    await post(web, f"follow-ups/{first.id}/attempts", 200, by=BAO.id, channel="telephone", result="reached")
    house.time += HOUR
    await web.put(path, json={"by": BAO.id, "start": "2026-03-20T16:00:00+08:00"})
    moved = await call()
    assert "3月20日 16:00" in moved.because.zh
    assert moved.due_at - house.time == timedelta(hours=6), "a quarter of the time until the patient would come"
    house.time += HOUR
    await web.delete(f"{path}?by={BAO.id}")
    off = await call()
    assert "已取消：3月4日 15:30" in off.because.zh
    assert off.due_at - house.time == timedelta(hours=5)


async def test_what_is_as_the_patient_knows_it_is_no_change(house: SmallHouse, web: httpx.AsyncClient) -> None:
    told = Told(house)
    path = await made(web, "2026-03-10T15:30:00+08:00")
    assert len(await told.now()) == 1
    house.time += HOUR
    for body in ({}, {"minutes": 20, "place": " Room 3", "whom": "Dr Li"}):
        again = await web.put(path, json={"by": "Wu", "start": "2026-03-10T07:30:00Z", **body})
        assert (again.status_code, again.json()["sequence"]) == (200, 0)
    house.time += 8 * HOUR  # in the night
    for sequence, day in enumerate((12, 10), 1):
        moves = {"by": "Wu", "start": f"2026-03-{day}T15:30:00+08:00"}
        assert (await web.put(path, json=moves)).json()["sequence"] == sequence
        house.time += timedelta(minutes=1)
    assert await told.at(house.time + 12 * HOUR) == []
    reminded = await told.at(NOW.replace(day=9, hour=2))
    assert [each.subject.en for each in reminded] == ["Reminder of your appointment"]
    assert (await web.put(path, json=moves | {"minutes": 30})).json()["sequence"] == 3
    assert [each.subject.en for each in await told.now()] == ["Your appointment was changed"]


async def test_one_is_reminded_on_the_day_before_of_what_is_more_than_a_day_away(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    told = Told(house)
    path = await made(web, "2026-03-10T09:30:00+08:00")
    assert len(await told.now()) == 1
    day_before = NOW.replace(day=9, hour=2, minute=0)  # 10:00 in Shanghai
    assert await told.at(day_before - timedelta(seconds=1)) == []
    said = TOLD["zh_CN"][0][1] + CALL_OFF["zh_CN"] + CALL_ME["zh_CN"]
    assert parts(await told.at(day_before)) == [("预约提醒", said)]
    await web.put(path, json={"by": "Li", "start": "2026-03-13T09:30:00+08:00"})
    assert [each.subject.en for each in await told.at(day_before + timedelta(days=7))] == [
        "Your appointment was changed",
        "Reminder of your appointment",
    ]
    await made(web, "2026-03-17T09:00:00+08:00")
    assert [each.subject.en for each in await told.at(day_before + timedelta(days=9))] == ["Your appointment"]


async def test_of_one_that_an_older_homeward_made_there_is_a_reminder_and_whether_it_was_kept_is_asked(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    told = Told(house)
    path = await made(web, "2026-03-10T09:30:00+08:00")
    await told.now()
    of_runs, name = METADATA.tables["escalations"], path.rpartition("/")[2]
    with house.engine.begin() as db:
        planned = db.execute(select(of_runs).where(of_runs.c.subject == name, of_runs.c.kind != "appointment")).all()
        db.execute(delete(of_runs).where(of_runs.c.subject == name))
    for _ in range(2):  # as each of two hubs starts
        house.duty.escalation.plan_appointments(house.time)
    with house.engine.begin() as db:
        assert db.execute(select(of_runs).where(of_runs.c.subject == name)).all() == planned
    day_before = NOW.replace(day=9, hour=3)
    house.time = day_before - HOUR
    assert [each.subject.zh for each in await told.at(day_before)] == ["预约提醒"]
    house.duty.escalation.plan_appointments(house.time)
    assert await told.at(day_before + HOUR) == []
    await web.delete(f"{path}?by=Li")
    assert [each.subject.zh for each in await told.now()] == ["您的预约已取消"]


async def test_one_that_an_older_homeward_made_is_said_to_be_changed_where_it_is(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    told = Told(house)
    path = await made(web, "2026-03-10T09:30:00+08:00")
    of_runs = METADATA.tables["escalations"]
    with house.engine.begin() as db:
        db.execute(delete(of_runs).where(of_runs.c.subject == path.rpartition("/")[2]))
    house.duty.escalation.plan_appointments(house.time)
    await web.put(path, json={"by": "Li", "start": "2026-03-11T09:30:00+08:00"})
    assert [each.subject.zh for each in await told.now()] == ["您的预约有变更"]


async def test_one_that_cannot_be_planned_keeps_nobody_from_being_told_and_no_other_from_being_planned(
    house: SmallHouse, web: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [await made(web, "2026-03-10T09:30:00+08:00", patient=each) for each in (WANG, MILLER)]
    names = [path.rpartition("/")[2] for path in paths]
    of_runs, appointments = METADATA.tables["escalations"], METADATA.tables["appointments"]
    beyond = to_us(datetime(9999, 12, 31, 10, tzinfo=UTC))
    with house.engine.begin() as db:
        db.execute(delete(of_runs))
        db.execute(update(appointments).where(appointments.c.id == names[0]).values(start_us=beyond))

    def planned() -> list[tuple[str, str]]:
        with house.engine.begin() as db:
            of_all = select(of_runs.c.subject, of_runs.c.kind).where(of_runs.c.subject.in_(names))
            return [tuple(row) for row in db.execute(of_all.order_by(of_runs.c.kind))]

    at_each_cycle: list[int] = []

    async def go() -> None:
        at_each_cycle.append(len(planned()))
        if len(at_each_cycle) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(house.duty, "go", go)
    with pytest.raises(asyncio.CancelledError):
        await house.duty.run()
    assert at_each_cycle == [0, 2], "the first cycle waits for no plan"
    assert planned() == [(names[1], "kept"), (names[1], "reminder")]
    assert f"appointment {names[0]} could not be planned" in caplog.text
    with house.engine.begin() as db:
        db.execute(delete(appointments).where(appointments.c.id == names[0]))
    asked: list[str] = []
    event.listen(house.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    house.duty.escalation.plan_appointments(house.time)
    assert len(asked) == 1, "at a later start nothing is read of what is planned"


async def test_who_has_a_telephone_alone_is_called_by_a_nurse_before_it(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="telephone", address="13800000000")], now=NOW)
    app = Ear("app")
    speaker = speak_through(house, app)
    path = await made(web, "2026-03-04T14:30:00+08:00", by=BAO.name)
    await house.duty.go()
    await speaker.speak()
    (asked,) = app.heard
    assert "时间：3月4日 14:30 UTC+8（星期三），约 20 分钟。" in asked.body.zh
    (call,) = (each for each in house.follow_ups.open_of(WANG.id) if each.role is Role.NURSE and each.problem)
    assert asked.link == f"{SENT}/follow-ups/{call.id}"
    assert (call.why, call.due_at) == ("staff", NOW + timedelta(hours=6))
    house.time += HOUR
    await web.put(path, json={"by": BAO.name, "start": "2026-03-06T09:30:00+08:00"})
    await house.duty.go()
    await speaker.speak()
    outdated = house.follow_ups.get(call.id)
    assert outdated is not None
    assert (outdated.closed_by, outdated.outcome) == (BAO.name, Outcome.NO_ACTION)
    (again,) = (each for each in house.follow_ups.open_of(WANG.id) if each.problem)
    assert "3月6日 09:30" in again.because.zh
    assert len(app.heard) == 2
    house.time = NOW.replace(day=5, hour=3)  # 11:00 on the day before
    await house.duty.go()
    await speaker.speak()
    calls = [each for each in app.heard if "13800000000" in each.subject.zh]
    assert [each.link for each in calls[1:]] == [f"{SENT}/follow-ups/{again.id}"], "the reminder asks no second time"
    assert [each.id for each in house.follow_ups.open_of(WANG.id) if each.problem] == [again.id]
    house.time = NOW.replace(day=7, hour=1)  # 09:00 on the day after
    await house.duty.go()
    past = house.follow_ups.get(again.id)
    assert past is not None
    assert (past.closed_by, past.closing_note) == ("Homeward", "The day of the appointment is past. 预约日期已过。")
    (asks,) = (each for each in house.follow_ups.open_of(WANG.id) if each.problem)
    assert "患者是否到诊" in asks.because.zh


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_who_made_it_is_asked_on_the_day_after_whether_it_was_kept(house: SmallHouse, language: str) -> None:
    async with browser(house, **{"Accept-Language": language}) as web:
        path = await made(web, "2026-03-10T09:30:00+08:00")
        house.time += timedelta(seconds=1)
        other = await made(web, "2026-03-10T10:30:00+08:00", by="Wu")
        early = await web.post(f"{other}/kept", json={"by": "Wu", "kept": True})
        assert early.status_code == 409
        house.time = NOW.replace(day=10, hour=4)
        assert (await web.post(f"{other}/kept", json={"by": "Wu", "kept": False})).json()["kept"] is False
        house.time = NOW.replace(day=10, hour=23, minute=59)
        await house.duty.go()
        assert house.follow_ups.due(person="Chen") == []
        house.time = NOW.replace(day=11, hour=0, minute=0)  # 08:00 in Shanghai
        await house.duty.go()
        await house.duty.go()
        assert house.follow_ups.due(person="Wu") == []
        (task,) = house.follow_ups.due(person="Chen")
        assert task.because.zh == "3月10日 09:30 UTC+8 的预约，Room 3：患者是否到诊？请在本随访页面记录。"
        assert task.due_at == house.time + timedelta(hours=12)
        await web.post("/me", data={"by": "Chen"})
        said = {"en": task.because.en, "zh-CN": task.because.zh}[language]
        assert said in (await web.get("/follow-ups")).text, "it is due today, of her own"
        at = f"/follow-ups/{task.id}"
        (form,) = re.findall(f'action="({at}/appointments/m-[0-9a-f]+/kept)"', (await web.get(at)).text)
        refused = await web.post(form, data={"by": "Chen"})
        assert refused.status_code == 422
        needed = {"en": "Whether it was kept: this is needed", "zh-CN": "是否到诊：必填"}[language]
        assert needed in refused.text
        assert (await web.post(form, data={"by": "Chen", "kept": "true"})).status_code == 303
        closed = house.follow_ups.get(task.id)
        assert closed is not None
        assert (closed.closed_by, closed.outcome) == ("Chen", Outcome.NO_ACTION)
        assert {"en": "<b>kept</b>", "zh-CN": "<b>已到诊</b>"}[language] in (await web.get(at)).text
        appointment = house.follow_ups.appointment(path.rpartition("/")[2])
        assert appointment is not None
        assert appointment.kept is True
        newest, *_ = house.audit(subject=f"appointment:{appointment.id}")
        assert (newest.what, newest.who) == ("kept", "Chen")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_whether_it_was_kept_is_closed_by_the_answer_alone_and_put_off_by_no_try(
    house: SmallHouse, language: str
) -> None:
    async with browser(house, **{"Accept-Language": language}) as web:
        path = await made(web, "2026-03-10T09:30:00+08:00")
        house.time = NOW.replace(day=11, hour=0, minute=0)
        await house.duty.go()
        (task,) = house.follow_ups.due(person="Chen")
        for result in ("no-answer", "reached"):
            tried = await post(
                web, f"follow-ups/{task.id}/attempts", 200, by="Chen", channel="telephone", result=result
            )
            assert datetime.fromisoformat(tried["due_at"]) == task.due_at
        at = f"/follow-ups/{task.id}"
        for outcome in Outcome:
            body = {"by": "Chen", "outcome": outcome.value, "note": "x"}
            for refused in (
                await web.post(f"/api/v1{at}/close", json=body),
                await web.post(f"{at}/close", data=body),
            ):
                assert refused.status_code == 409, refused.text
                assert {"en": "and the answer closes it", "zh-CN": "记录答案后即结束"}[language] in refused.text
        assert f'action="{at}/close"' not in (await web.get(at)).text
        assert (await web.post(f"{path}/kept", json={"by": "Chen", "kept": False})).status_code == 200
        closed = house.follow_ups.get(task.id)
        assert closed is not None
        assert closed.closing_note == "The appointment was not kept. 患者未到诊。"


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_who_makes_one_reads_that_the_patient_cannot_be_told(house: SmallHouse, language: str) -> None:
    async with browser(house, **{"Accept-Language": language}) as web:
        path = await made(web, "2026-03-10T09:30:00+08:00")
        appointment = house.follow_ups.appointment(path.rpartition("/")[2])
        assert appointment is not None
        untold = {"en": "The patient has no contact that can be used", "zh-CN": "患者没有可用的联系方式"}[language]
        at = f"/follow-ups/{appointment.follow_up}"
        assert (await web.get(at)).text.count(untold) == 2, "in the form, and above the appointments"
        house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="gone", address="x")], now=NOW)
        assert untold in (await web.get(at)).text
        for way in (SMS, Contact(channel="telephone", address="13800000000")):
            house.duty.team.put_contacts(f"patient:{WANG.id}", [way], now=NOW)
            assert untold not in (await web.get(at)).text


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_none_but_the_team_makes_moves_calls_off_notes_gives_or_answers(
    house: SmallHouse, language: str
) -> None:
    async with browser(house, **{"Accept-Language": language}) as web:
        path = await made(web, "2026-03-10T09:30:00+08:00")
        task = house.follow_ups.open_of(WANG.id)[0].id
        other = await post(web, "follow-ups", 201, patient=WANG.id, because="x", role="nurse", by="Dr Li")
        await post(web, f"follow-ups/{other['id']}/attempts", by="Li", channel="telephone", result="reached")
        await post(web, f"follow-ups/{other['id']}/close", by="Li", outcome="advice", note="rest")
        survey = house.follow_ups.survey_after(other["id"])
        assert survey is not None
        number = {"limit": {"value": 4.4, "unit": "mmol/L", "author": "Dr Li"}}
        patient = f"/api/v1/patients/{WANG.id}"
        patched = await web.patch(patient, json={"limits": {"low-event-1": number}})
        assert patched.status_code == 200, patched.text
        planned = await web.put(f"{patient}/plans/glucose", json={"times": 2, "days": 7, "author": "Dr Li"})
        (plan,) = planned.json()
        house.duty.team.put(BAO, now=NOW)
        before = house.follow_ups.appointment(path.rpartition("/")[2])
        assert before is not None
        new = f"/api/v1/follow-ups/{task}"
        start = "2026-03-11T09:30:00+08:00"
        answered = f"/api/v1/surveys/{survey.id}/answer"
        for call in (
            lambda by: web.post(f"{new}/appointments", json={"by": by, "start": start}),
            lambda by: web.post(f"/follow-ups/{task}/appointments", data={"by": by, "start": "2026-03-11T09:30"}),
            lambda by: web.put(path, json={"by": by, "start": start}),
            lambda by: web.post(f"{new}/education", json={"by": by, "material": "measure-pressure"}),
            lambda by: web.post(answered, json={"by": by, "score": 1}),
            lambda by: web.delete(f"{path}?by={by}"),
            lambda by: web.post(
                "/api/v1/follow-ups", json={"patient": WANG.id, "because": "x", "role": "nurse", "by": by}
            ),
            lambda by: web.put(f"{patient}/care-plans/diabetes", json={"role": "nurse", "author": by}),
            lambda by: web.delete(f"{patient}/care-plans/diabetes?by={by}"),
            lambda by: web.put(f"{patient}/plans/glucose", json={"times": 1, "days": 7, "author": by}),
            lambda by: web.delete(f"{patient}/plans/{plan['number']}?by={by}"),
            lambda by: web.patch(f"{patient}?by={by}", json={"limits": {}}),
            lambda by: web.patch(
                patient,
                json={
                    "limits": {
                        "low-event-1": number,
                        "low-event-2": {"limit": {**number["limit"], "value": 2.9, "author": by}},
                    }
                },
            ),
            lambda by: web.post(
                f"/patients/{WANG.id}/limits",
                data={"which": "low-event-1 limit mmol/L", "value": "4.2", "author": by},
            ),
            lambda by: web.post(
                f"/patients/{WANG.id}/plans", data={"vital": "glucose", "times": "1", "days": "7", "author": by}
            ),
        ):
            refused = await call("某某")
            assert refused.status_code == 409, refused.text
            assert {"en": "某某 is not, or no longer, in the team. Possible: ", "zh-CN": "团队中现无“某某”。可选："}[
                language
            ] in refused.text
        said = {
            "limits": {
                "low-event-1": number,
                "low-event-2": {"limit": {**number["limit"], "value": 2.9, "author": "bao"}},
            }
        }
        assert (await web.patch(patient, json=said)).status_code == 200, "a number of who was there before stays"
        for unnamed in (
            await web.delete(f"{patient}/plans/{plan['number']}"),
            await web.patch(patient, json={"limits": {"low-event-1": number}}),
        ):
            assert unnamed.status_code == 422, unnamed.text
        assert {"en": "say who ends it", "zh-CN": "注明由谁结束"}[language] in unnamed.text
        assert (await web.patch(f"{patient}?by=bao", json={"limits": {"low-event-1": number}})).status_code == 200
        (former,) = (await web.get(f"{patient}/limits/former")).json()
        assert (former["rule"], former["ended_by"]) == ("low-event-2", BAO.name)
        assert (await web.patch(patient, json={"limits": {"low-event-1": number}})).status_code == 200, "as it was"
        assert (await web.put(f"{patient}/plans/glucose", json={"times": 1, "days": 7, "author": "bao"})).json()[-1][
            "author"
        ] == BAO.name
        house.time = before.start
        assert (await web.post(f"{path}/kept", json={"by": "某某", "kept": True})).status_code == 409
        assert house.follow_ups.appointment(before.id) == before
        assert (len(house.follow_ups.appointments(task)), house.follow_ups.given(WANG.id)) == (1, [])
        assert house.follow_ups.survey(survey.id).answer is None
        kept = await web.post(f"{path}/kept", json={"by": BAO.id, "kept": True})
        assert kept.json()["kept"] is True
        newest, *_ = house.audit(subject=f"appointment:{before.id}")
        assert newest.who == BAO.name


LI = Practitioner(id="li", name="李护士", roles=frozenset({Role.NURSE}), language="zh_CN", zone="Asia/Shanghai")
ASKS = "3月10日 09:30 UTC+8 的预约，Room 3：患者是否到诊？请在本随访页面记录。"


@pytest.mark.parametrize("maker", ["there", "off", "away", "gone"])
async def test_whether_it_was_kept_is_asked_of_who_made_it_or_is_there_and_again_when_it_is_overdue(
    house: SmallHouse, web: httpx.AsyncClient, maker: str
) -> None:
    team = house.duty.team
    for one, hour in ((BAO, 16 if maker == "off" else 7), (LI, 7)):
        contact = Contact(channel="app", address=one.id)
        team.put(replace(one, contacts=(contact,)), now=NOW)
        team.add_shift(shift(one.id, Role.NURSE, hour, hour + 5), now=NOW)
    app = Ear("app")
    speaker = speak_through(house, app)
    await made(web, "2026-03-10T09:30:00+08:00", by=BAO.id)
    if maker == "away":
        team.add_absence(Absence(practitioner=BAO.id, start=NOW, end=NOW + 30 * 24 * HOUR), now=NOW)
    elif maker == "gone":
        team.put(replace(BAO, active=False), now=NOW)
    asker = BAO if maker == "there" else LI
    house.time = NOW.replace(day=11, hour=0, minute=0)  # 08:00 in Shanghai
    for _ in range(3):
        await house.duty.go()
        await speaker.speak()
    (task,) = (each for each in house.follow_ups.open_of(WANG.id) if each.asks_kept)
    assert (task.assigned_to, task.role) == (BAO.name if maker == "there" else None, Role.NURSE)
    (told,) = (each for each in app.heard if ASKS in each.body.zh)
    assert told.address == asker.id
    assert "尝试联系" not in told.body.zh
    app.heard.clear()
    for house.time in (NOW.replace(day=11, hour=12), NOW.replace(day=12, hour=0)):  # 20:30, and 08:30
        for _ in range(3):
            await house.duty.go()
            await speaker.speak()
    (late, *_) = (each for each in app.heard if each.address == asker.id and ASKS in each.body.zh)
    (part,) = (each for each in late.body.zh.split("\n- ") if ASKS in each)
    assert "起逾期，患者" in part
    assert "并在本随访页面记录“已到诊”或“未到诊”" in part
    assert "联系患者" not in part


async def test_whether_it_was_kept_is_asked_of_who_comes_next_where_nobody_is_there(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    team = house.duty.team
    for one in (BAO, LI):
        team.put(replace(one, contacts=(Contact(channel="app", address=one.id),)), now=NOW)
    team.add_shift(shift(LI.id, Role.NURSE, 10, 12), now=NOW)
    app = Ear("app")
    speaker = speak_through(house, app)
    await made(web, "2026-03-10T09:30:00+08:00", by=BAO.id)
    team.add_absence(Absence(practitioner=BAO.id, start=NOW, end=NOW + 30 * 24 * HOUR), now=NOW)
    told_at = []
    morning = NOW.replace(day=11, hour=0, minute=0)  # 08:00 in Shanghai
    for minutes in range(0, 181, 15):
        house.time = morning + timedelta(minutes=minutes)
        for _ in range(3):
            await house.duty.go()
            await speaker.speak()
        told_at += [house.time for each in app.heard if each.address == LI.id and ASKS in each.body.zh]
        app.heard.clear()
    assert told_at == [NOW.replace(day=11, hour=2, minute=0)]

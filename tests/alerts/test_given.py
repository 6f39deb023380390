"""A follow-up that somebody gives to another one, or to a role: who has it now is told at once, with the note."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.alert import Audience, Outcome, Priority, Text
from alerts.follow_up import Attempt, Claim, Close, FollowUp, HandOver, Open, Result, Why
from alerts.team import Role
from tests.alerts.telling import BAO, BASE, Clinic
from tests.alerts.test_telling import Ear, app, clinic, opened, sms
from tests.alerts.ward import START

__all__ = ["app", "clinic", "opened", "sms"]

BECAUSE = Text(en="Blood pressure 189/127 mmHg at 14:39.", zh="14:39 血压 189/127 mmHg。")


def opening(**changed: object) -> Open:
    plain = Open(
        patient="p-1",
        why=Why.STAFF,
        key="k",
        because=BECAUSE,
        at=START,
        role=Role.NURSE,
        priority=Priority.HIGH,
        assigned_to="王丽",
        by="王丽",
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def handing(clinic: Clinic, follow_up: FollowUp, **to: object) -> HandOver:
    plain = HandOver(follow_up=follow_up.id, by="王丽", at=clinic.now, note="我在抢救，请立即处理")
    return replace(plain, **to)  # type: ignore[arg-type]


async def test_who_is_handed_one_is_told_at_once_with_the_note_and_who_wrote_it(clinic: Clinic, app: Ear) -> None:
    follow_up = clinic.open(opening())
    await clinic.skip(5)
    assert app.whom() == []  # who opens one for herself knows
    clinic.care(handing(clinic, follow_up, to="Li"))
    await clinic.skip(6)
    assert app.whom() == ["li"]
    message = app.heard[0][1]
    assert message.link == f"{BASE}/follow-ups/{follow_up.id}"
    assert message.subject == Text(
        en="High priority: 王丽 gives a follow-up to Li, patient p-1", zh="高优先级：王丽 将一项随访交给 Li，患者 p-1"
    )
    assert message.body == Text(
        en="Patient: 张伟; no telephone number is entered. Enter one on the patient's page.\n"
        "What it is about: Blood pressure 189/127 mmHg at 14:39.\n"
        "王丽 says: 我在抢救，请立即处理\n"
        "To be done by 2 Mar 02:30. To be acted on within 30 min.\n"
        "Tries to reach the patient: 0.",
        zh="患者：张伟；未登记电话号码，请在患者页面登记。\n"
        "事由：14:39 血压 189/127 mmHg。\n王丽 的说明：我在抢救，请立即处理\n"
        "请于 3月2日 02:30 前处理。须在 30 分钟内处理。\n已尝试联系 0 次。",
    )
    await clinic.skip(25)
    assert app.whom() == ["li"]


async def test_what_is_opened_for_another_one_or_a_role_is_told_to_them_and_not_to_who_wrote_it(
    clinic: Clinic, app: Ear
) -> None:
    clinic.open(opening(by="Li"))
    clinic.open(opening(key="2", assigned_to=None, by="Li"))
    clinic.open(opening(key="3", assigned_to=None, by="王丽"))
    clinic.open(opening(key="4", by=None))  # by the house, which tells it otherwise
    await clinic.skip(1)
    assert app.whom() == ["wang", "wang"]
    assert {each.subject.en for _, each in app.heard} == {
        "High priority: Li gives a follow-up to 王丽, patient p-1",
        "High priority: Li gives a follow-up to nurse, patient p-1",
    }


async def test_what_nobody_is_reached_for_goes_to_coordinators_who_are_told(clinic: Clinic, app: Ear) -> None:
    follow_up = clinic.open(opening(priority=Priority.MEDIUM))
    wrong = Attempt(follow_up=follow_up.id, by="王丽", at=START, channel="telephone", result=Result.WRONG_NUMBER)
    clinic.care(wrong)
    await clinic.skip(1)
    assert app.whom() == ["bao"]
    assert "The contact for telephone is wrong, says 王丽." in app.heard[0][1].body.en
    for minute in (2, 3, 4):
        await clinic.skip(minute)
        clinic.care(replace(wrong, at=clinic.now, result=Result.NO_ANSWER))
    await clinic.skip(5)
    assert app.whom() == ["bao", "bao"]
    assert "the last 3 without an answer" in app.heard[1][1].body.en


@pytest.mark.parametrize("deed", ["claimed", "closed", "handed on"])
async def test_who_does_not_have_it_any_more_is_not_told(clinic: Clinic, app: Ear, deed: str) -> None:
    follow_up = clinic.open(opening())
    clinic.care(handing(clinic, follow_up, role=Role.DOCTOR, to=None))
    if deed == "claimed":
        clinic.care(Claim(follow_up=follow_up.id, by="Li", at=clinic.now))
    elif deed == "closed":
        clinic.care(
            Close(follow_up=follow_up.id, by="Li", at=clinic.now, outcome=Outcome.NO_ACTION, note="a mistake")
        )
    else:
        clinic.now += timedelta(seconds=1)
        clinic.care(handing(clinic, follow_up, by="Li", to=BAO.name, role=Role.COORDINATOR))
    await clinic.skip(1)
    assert app.whom() == {"handed on": ["bao"]}.get(deed, [])


async def test_one_that_is_overdue_is_told_once_as_such_with_the_note(clinic: Clinic, app: Ear) -> None:
    follow_up = clinic.open(opening())
    await clinic.skip(32)
    assert app.whom() == ["wang"]
    clinic.care(handing(clinic, follow_up, to="Li"))
    await clinic.skip(33)
    assert app.whom() == ["wang", "li"]
    message = app.heard[1][1]
    assert message.subject.en.startswith("High priority: a follow-up is overdue")
    assert "王丽 says: 我在抢救，请立即处理\n" in message.body.en
    assert "王丽 的说明：我在抢救，请立即处理\n" in message.body.zh
    assert "says:" not in app.heard[0][1].body.en


async def test_nobody_on_duty_is_looked_for_again_and_the_untold_one_is_known(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = opened(app, sms)
    clinic.team.put(BAO, now=clinic.now)
    follow_up = clinic.open(opening(by="Bao", assigned_to=None, priority=Priority.MEDIUM))
    await clinic.skip(1)
    assert app.whom() == []
    assert clinic.escalation.untold([follow_up.id]) == [follow_up.id]
    clinic.staff()
    await clinic.skip(60)
    assert app.whom() == ["wang"]
    assert clinic.escalation.untold([follow_up.id]) == []


async def test_a_restart_and_a_second_look_tell_it_once(opened: Callable[..., Clinic], app: Ear, sms: Ear) -> None:
    clinic = opened(app, sms)
    clinic.staff()
    follow_up = clinic.open(opening())
    clinic.care(handing(clinic, follow_up, to="Li"))
    clinic.close()
    clinic = opened(app, sms)
    await clinic.skip(2)
    await clinic.skip(20)
    assert app.whom() == ["li"]


async def test_what_can_wait_is_told_in_the_morning_unless_it_is_done_by_then(clinic: Clinic, app: Ear) -> None:
    night = START + timedelta(hours=20)  # 22:00 in Shanghai
    kept = clinic.open(opening(key="a", at=night, by="Li", priority=Priority.LOW))
    gone = clinic.open(opening(key="b", at=night, by="Li", priority=Priority.LOW))
    clinic.now = night
    await clinic.skip(20 * 60 + 2)
    assert app.whom() == []
    clinic.care(
        Close(follow_up=gone.id, by="王丽", at=clinic.now, outcome=Outcome.NO_ACTION, note="told the patient already")
    )
    await clinic.skip(30 * 60 - 1)
    assert app.whom() == []
    await clinic.skip(30 * 60 + 1)
    assert app.whom() == ["wang"]
    assert app.heard[0][1].link == f"{BASE}/follow-ups/{kept.id}"


async def test_a_channel_that_is_not_trusted_hears_of_whom_and_no_more(
    opened: Callable[..., Clinic], sms: Ear
) -> None:
    clinic = opened(sms)
    clinic.staff()
    for one in clinic.team.staff():
        clinic.team.put(
            replace(one, contacts=tuple(replace(each, channel="sms") for each in one.contacts[:1])), now=clinic.now
        )
    follow_up = clinic.open(opening())
    note = "To be done by his wife.\nTo be done by Wu.\n请于 今晚 前处理。"
    clinic.care(handing(clinic, follow_up, to="Li", note=note))
    await clinic.skip(1)
    ((_, message),) = sms.heard
    assert message.subject == Text(
        en="A follow-up was given to you or your role", zh="有一项随访交给您或您所属的岗位"
    )
    assert message.body == Text(
        en="High priority, patient p-1: to be done by 2 Mar 02:30. Open the link, sign in and read what it is about.",
        zh="高优先级，患者 p-1：请于 3月2日 02:30 前处理。请打开链接，登录查看事由。",
    )
    assert message.notice.audience is Audience.STAFF
    assert message.link == f"{BASE}/follow-ups/{follow_up.id}"

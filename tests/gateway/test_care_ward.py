"""Alerts and follow-ups in the real house: what is done with one happens to the other, also after a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.alert import Act, ActKind, Audience, Finding, IllegalAct, Outcome, Priority, Text, Verdict
from alerts.care_plan import Condition, planned
from alerts.follow_up import Attempt, Claim, Close, FollowUp, Result, State, What, Why, of_alert, opened
from alerts.team import Role
from gateway.house import House
from gateway.people import DeviceKind
from tests.real_house import HandClock, enrol, real_house


def found(clock: HandClock, rule: str = "bp-session-high", priority: Priority = Priority.LOW) -> Finding:
    return Finding(
        patient="anna",
        rule=rule,
        problem="blood-pressure-high",
        verdict=Verdict.RAISE,
        priority=priority,
        audience=Audience.STAFF,
        because=Text(en=f"{rule}.", zh=f"{rule}。"),
        since=clock.now(),
        known_at=clock.now(),
    )


async def acknowledged(house: House, clock: HandClock) -> FollowUp:
    await house.path.round(lambda: house.ward.hear([found(clock)]))
    (alert,) = house.book.open_alerts()
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Nurse Chen", at=clock.now()))
    made = house.follow_ups.of_alert(alert.id)
    assert made is not None
    return made


async def test_from_one_to_the_other_and_over_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        anna = house.people.patient("anna")
        assert anna is not None
        house.people.change_patient(replace(anna, programme="bp"), now=clock.now())
        made = await acknowledged(house, clock)
        assert (made.assigned_to, made.programme, made.due_at) == (
            "Nurse Chen",
            "bp",
            clock.now() + timedelta(hours=48),
        )
    clock.advance(timedelta(minutes=5))
    async with real_house(tmp_path, clock) as house:
        tried = await house.care(
            Attempt(
                follow_up=made.id,
                by="Nurse Chen",
                at=clock.now(),
                channel="telephone",
                result=Result.REACHED,
                symptoms=frozenset(),
            )
        )
        assert tried.attempts == 1
        closed = await house.care(
            Close(follow_up=made.id, by="Nurse Chen", at=clock.now(), outcome=Outcome.ADVICE, note="rest")
        )
        assert closed.state is State.CLOSED
        alert = house.book.alert(str(made.alert))
        assert alert is not None
        assert (alert.outcome, alert.closed_by, alert.closing_note) == (Outcome.ADVICE, "Nurse Chen", "rest")
        assert len(house.follow_ups.surveys(house.now() - timedelta(days=1), house.now() + timedelta(days=1))) == 1
        with pytest.raises(IllegalAct, match="was closed by Nurse Chen"):
            await house.care(
                Close(follow_up=made.id, by="Dr Li", at=clock.now(), outcome=Outcome.ADVICE, note="again")
            )


@pytest.mark.parametrize("result", [None, Result.REACHED, Result.DECLINED, Result.NO_ANSWER])
async def test_who_takes_the_follow_up_of_an_alert_or_reaches_the_patient_has_acknowledged_it(
    tmp_path: Path, result: Result | None
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        await house.path.round(lambda: house.ward.hear([found(clock)]))
        (alert,) = house.book.open_alerts()
        act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="x", at=clock.now())
        made = opened(replace(of_alert(alert, act), assigned_to=None, by=None))
        house.follow_ups.record([made])
        deed = {"follow_up": made.follow_up.id, "by": "Nurse Chen", "at": clock.now(), "note": "awake"}
        tried = Attempt(**deed, channel="telephone", result=result) if result else Claim(**deed)
        assert (await house.care(tried)).assigned_to == "Nurse Chen"
        seen = house.book.alert(alert.id)
        assert seen is not None
        assert seen.acknowledged_by == (None if result is Result.NO_ANSWER else "Nurse Chen")
        again = Attempt(**deed, channel="telephone", result=Result.REACHED)
        assert (await house.care(again)).attempts == (2 if result else 1)


async def test_an_alert_that_gets_worse_hurries_who_follows_it_up(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        made = await acknowledged(house, clock)
        clock.advance(timedelta(hours=1))
        worse = found(clock, "bp-severe", Priority.HIGH)
        await house.path.round(lambda: house.ward.hear([worse]))
        now = house.follow_ups.get(made.id)
        assert now is not None
        assert (now.priority, now.due_at) == (Priority.HIGH, clock.now() + timedelta(minutes=30))
        assert now.asks_symptoms
        assert [fact.what for fact in house.follow_ups.history(made.id)] == [What.OPENED, What.WORSENED]
        with pytest.raises(IllegalAct, match="Ask for chest pain"):
            await house.act(
                Act(
                    kind=ActKind.CLOSE,
                    alert=str(made.alert),
                    by="Dr Li",
                    at=clock.now(),
                    note="n",
                    outcome=Outcome.ADVICE,
                )
            )
        assert len(house.book.open_alerts()) == 1, "the alert stays open with it"


async def test_what_comes_again_is_followed_up_for_what_came_now(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        made = await acknowledged(house, clock)
        over = replace(found(clock), verdict=Verdict.CLEAR)
        await house.path.round(lambda: house.ward.hear([over]))
        clock.advance(timedelta(days=1))
        said = Text(en="182/92 again.", zh="又是 182/92。")
        again = replace(found(clock, "bp-severe"), audience=Audience.PATIENT, because=said)
        await house.path.round(lambda: house.ward.hear([again]))
        now = house.follow_ups.get(made.id)
        assert now is not None
        assert now.rule.en.startswith("182/92 again. It was told again: ")
        assert now.rule.zh.startswith("又是 182/92。再次报警：")


async def test_a_new_episode_gives_what_is_overdue_a_new_time_once_staff_are_told_of_it(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        made = await acknowledged(house, clock)
        over = replace(found(clock), verdict=Verdict.CLEAR)
        await house.path.round(lambda: house.ward.hear([over]))
        clock.advance(timedelta(days=3))
        for audience, due_at in (
            (Audience.PATIENT, made.due_at),
            (Audience.STAFF, clock.now() + timedelta(hours=48)),
        ):
            again = replace(found(clock), audience=audience)
            await house.path.round(lambda again=again: house.ward.hear([again]))
            now = house.follow_ups.get(made.id)
            assert now is not None
            assert now.due_at == due_at


async def test_a_plan_opens_its_follow_up_when_time_comes(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        plan = planned("anna", Condition.HYPERTENSION, role=Role.NURSE, author="Dr Li", now=clock.now())
        house.follow_ups.set_plan(plan)
        await house.tick()
        assert house.follow_ups.due() == []
        clock.advance(timedelta(weeks=3))
        for _ in range(2):
            await house.tick()
            (made,) = house.follow_ups.due()
            assert (made.why, made.due_at, made.role) == (Why.PLAN, plan.due_at, Role.NURSE)

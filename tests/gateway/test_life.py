"""The life of an alert in the real house and on its pages: put off, and what keeps what quiet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from alerts.alert import Act, ActKind, Audience, Priority
from alerts.follow_up import HandOver, decide
from alerts.machine import FactKind
from alerts.team import Contact, Practitioner, Role
from gateway.guard import WebSettings
from gateway.house import House
from gateway.people import DeviceKind
from gateway.web import create_app
from tests.gateway.small_house import SmallHouse, furnish, no_data, severe_pressure, very_low
from tests.gateway.test_ward import SLOWLY_LOW, STAFF_AT_SIX_HOURS, send
from tests.real_house import HandClock, enrol, real_house

MINUTE = timedelta(minutes=1)


# Putting off


@pytest.fixture
def furnished(tmp_path: Path) -> Iterator[SmallHouse]:
    house = SmallHouse(tmp_path)
    furnish(house)
    yield house
    house.close()


def browser(house: SmallHouse) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(house, WebSettings())), base_url="http://localhost:8080"
    )


async def test_an_alert_is_put_off_over_the_api_and_what_cannot_be_says_why(furnished: SmallHouse) -> None:
    low, urgent, severe = (furnished.find(each) for each in (no_data(), very_low(), severe_pressure()))
    until = (furnished.time + timedelta(hours=24)).isoformat()
    body = {"by": " Dr Li ", "until": until, "note": "new sensor tonight"}
    async with browser(furnished) as web:
        made = (await web.post(f"/api/v1/alerts/{low.id}/snooze", json=body)).json()
        assert (made["snoozed_by"], made["snoozed_note"]) == ("Dr Li", "new sensor tonight")
        assert made["snoozed_until"] == "2026-03-04T07:30:00+01:00"
        again = await web.post(f"/api/v1/alerts/{low.id}/snooze", json=body)
        assert again.status_code == 409
        assert again.json()["detail"] == (
            f"Alert {low.id} is put off until 2026-03-04 07:30 UTC+1 by Dr Li. Acknowledge it to act sooner, "
            "or close it."
        )
        refused = await web.post(f"/api/v1/alerts/{urgent.id}/snooze", json=body)
        assert refused.status_code == 409
        assert refused.json()["detail"].startswith(
            f"Alert {urgent.id} is of high priority and cannot be put off. Acknowledge it and act"
        )
        asked = await web.post(f"/api/v1/alerts/{severe.id}/snooze", json=body)
        assert f"{severe.id} is about a severe blood pressure, of which the patient has" in asked.json()["detail"]
        (fact,) = (await web.get(f"/api/v1/alerts/{low.id}")).json()["history"][1:]
        assert (fact["what"], fact["by"], fact["until"]) == ("snoozed", "Dr Li", "2026-03-04T07:30:00+01:00")


async def test_the_page_of_an_alert_offers_to_put_it_off_where_that_is_possible(furnished: SmallHouse) -> None:
    low, urgent, severe = (furnished.find(each) for each in (no_data(), very_low(), severe_pressure()))
    async with browser(furnished) as web:
        for alert in (urgent, severe):
            assert "/snooze" not in (await web.get(f"/alerts/{alert.id}")).text
        assert '<option value="24">24 h</option>' in (await web.get(f"/alerts/{low.id}")).text
        chinese = (await web.get(f"/alerts/{low.id}", headers={"accept-language": "zh"})).text
        assert "暂缓多久" in chinese
        assert "24 小时" in chinese
        empty = await web.post(f"/alerts/{low.id}/snooze", data={"by": "李医生", "hours": "12"})
        assert empty.status_code == 422
        assert '<option value="12" selected>' in empty.text
        form = {"by": "李医生", "hours": "12", "note": "明天换传感器", "next": f"/alerts/{low.id}"}
        assert (await web.post(f"/alerts/{low.id}/snooze", data=form)).status_code == 303
        page = (await web.get(f"/alerts/{low.id}", headers={"accept-language": "zh"})).text
        assert "暂缓至" in page
        assert page.count("明天换传感器") == 2  # the facts, and the history
        assert "/snooze" not in page
        worklist = (await web.get("/")).text
        assert "2 alerts wait for an answer." in worklist
        assert worklist.index("Acknowledged or put off, still open") < worklist.index(low.id)
    kept = furnished.book.alert(low.id)
    assert kept is not None
    assert kept.snoozed_until == furnished.time + timedelta(hours=12)


async def test_what_was_put_off_is_told_anew_by_the_tick_after_its_time_also_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=STAFF_AT_SIX_HOURS)
        clock.advance(timedelta(hours=7))
        await house.tick()
        (alert,) = house.book.open_alerts()
        until = clock.now() + timedelta(hours=2)
        await house.act(
            Act(kind=ActKind.SNOOZE, alert=alert.id, by="Dr Li", at=clock.now(), note="travels", until=until)
        )
        clock.advance(timedelta(hours=2) - MINUTE)
        await house.tick()
        assert staff_were_told(house, alert.id) == 1
    clock.advance(MINUTE)
    async with real_house(tmp_path, clock) as house:
        for _ in range(2):
            await house.tick()
            assert staff_were_told(house, alert.id) == 2
        assert house.book.notices(alert.id)[1].subject.en == "Low priority, put off no longer: No data"
        assert house.book.history(alert.id)[-1].what is FactKind.SNOOZE_ENDED


# An acknowledged alert without an act


async def test_the_hub_notes_in_its_own_cycle_what_is_overdue_and_says_when_nobody_can_be_told(
    furnished: SmallHouse,
) -> None:
    bao = Practitioner(id="bao", name="Bao", roles=frozenset({Role.NURSE, Role.COORDINATOR}))
    furnished.duty.team.put(bao, now=furnished.time)
    alert = furnished.find(very_low())
    await furnished.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Bao", at=furnished.time))
    follow_up = furnished.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    furnished.time += timedelta(minutes=31)
    await furnished.duty.go()
    assert furnished.duty.trouble is not None
    assert f"Nobody of the staff could be told of follow-up {follow_up.id}: nobody" in furnished.duty.trouble
    furnished.duty.team.put(replace(bao, contacts=(Contact(channel="app", address="bao"),)), now=furnished.time)
    furnished.time += timedelta(minutes=5)
    await furnished.duty.go()
    assert furnished.duty.trouble is None
    told = furnished.book.notices(alert.id)[-1]
    assert told.subject.en.startswith("High priority: a follow-up is overdue since 3 Mar 07:00")
    assert furnished.duty.link(told) == f"https://hub.example/alerts/{alert.id}"
    assert furnished.duty.link(replace(told, alert=None)) == f"https://hub.example/follow-ups/{follow_up.id}"


async def test_the_link_of_a_follow_up_that_was_given_acknowledges_no_alert(furnished: SmallHouse) -> None:
    app = (Contact(channel="app", address="bao"),)
    bao = Practitioner(id="bao", name="Bao", roles=frozenset({Role.NURSE}), contacts=app)
    furnished.duty.team.put(bao, now=furnished.time)
    alert = furnished.find(very_low())
    await furnished.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Wu", at=furnished.time))
    follow_up = furnished.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    handed = HandOver(follow_up=follow_up.id, by="Wu", at=furnished.time, to="Bao", note="please visit")
    furnished.follow_ups.record(decide(follow_up, handed))
    await furnished.duty.go()
    told = furnished.book.notices(alert.id)[-1]
    assert told.subject.en == "High priority: Wu gives a follow-up to Bao, patient p-017"
    assert furnished.duty.link(told) == f"https://hub.example/alerts/{alert.id}"


# What keeps what quiet


def staff_were_told(house: House, alert: str) -> int:
    return sum(each.audience is Audience.STAFF for each in house.book.notices(alert))


def patient_was_told(house: House) -> list[str]:
    return [notice.subject.en.removeprefix("For you: ") for notice, _ in house.book.to_patient("anna", 100)][::-1]


async def test_a_very_low_glucose_is_one_alert_and_the_milder_low_behind_it_tells_nobody_again(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, "cgm-1", clock.now(), *[100, 101] * 150, *SLOWLY_LOW)
        (alert,) = house.book.open_alerts()
        told = staff_were_told(house, alert.id)
        for _ in range(12):  # level 1 for an hour
            clock.advance(5 * MINUTE)
            await send(house, "cgm-1", clock.now(), 62)
            await house.tick()
        (now,) = house.book.open_alerts()
        assert (now.id, now.priority) == (alert.id, alert.priority)
        assert now.priority >= Priority.MEDIUM
        assert staff_were_told(house, alert.id) == told


FALLING = [180, 160, 140, 122, 106, 92, 80]


async def test_what_a_silent_sensor_sends_late_foretells_nothing_and_the_same_in_time_does(tmp_path: Path) -> None:
    told = {}
    for late in (False, True):
        clock = HandClock()
        async with real_house(tmp_path / str(late), clock) as house:
            await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=STAFF_AT_SIX_HOURS)
            await send(house, "cgm-1", clock.now(), *[180, 181] * 150)
            clock.advance(timedelta(hours=7))
            await house.tick()
            assert [alert.problem for alert in house.book.open_alerts()] == ["no-data"]
            before = len(patient_was_told(house))
            taken = clock.now() - timedelta(hours=1) * late
            await send(house, "cgm-1", taken, *FALLING, came=clock.now())
            await house.tick()
            told[late] = {*patient_was_told(house)[before:]}
    ahead = {"Low glucose ahead", "Very low glucose ahead", "Glucose falls fast"}
    assert told[False] & ahead
    assert not told[True] & ahead


async def test_what_was_foretold_or_low_before_a_silence_is_not_raised_again_by_time_but_no_data_is(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, "cgm-1", clock.now(), *[100, 101] * 150, *SLOWLY_LOW)
        (low,) = house.book.open_alerts()
        facts, told = house.book.history(low.id), patient_was_told(house)
    for _ in range(60):  # each hour, and with a hub that was started anew each twelve
        async with real_house(tmp_path, clock) as house:
            for _ in range(12):
                clock.advance(timedelta(hours=1))
                await house.tick()
            if clock.now() - low.opened_at > timedelta(days=3):
                break
    async with real_house(tmp_path, clock) as house:
        assert house.book.history(low.id) == facts
        assert sorted(alert.problem for alert in house.book.open_alerts()) == ["glucose-low", "no-data"]
        assert {*patient_was_told(house)[len(told) :]} == {"No data"}

"""Two hubs on one PostgreSQL, of which only one hears a patient's devices: both know that they are heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text

from alerts.alert import Act, ActKind, Alert, Audience
from alerts.audit import audited
from alerts.book import Book
from alerts.devices import LastHeard
from gateway.house import House
from gateway.people import DeviceKind, MeasuringPlan, Patient, People
from gateway.schema import open_database
from ingest.reading import Packet
from ingest.vital import Vital
from tests.gateway.test_rounds import MONDAY, local
from tests.gateway.test_ward import STAFF_AT_SIX_HOURS, send
from tests.real_house import NOW, HandClock, enrol, real_house

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
Opener = Callable[[str, HandClock], AbstractAsyncContextManager[House]]


@pytest.fixture
def opened(tmp_path: Path, postgresql_url: str) -> Opener:
    @asynccontextmanager
    async def opened(name: str, clock: HandClock) -> AsyncIterator[House]:
        async with real_house(tmp_path / name, clock, database={"url": postgresql_url}) as house:
            # They have not begun. Which hub looks first is for the test to say.
            for task in asyncio.all_tasks():
                if task.get_name() in {"tick", "rounds"}:
                    task.cancel()
            yield house

    return opened


@asynccontextmanager
async def two(opened: Opener, clock: HandClock) -> AsyncIterator[tuple[House, House]]:
    """Two hubs that know one patient, whose device they expect within six hours."""
    async with opened("a", clock) as one:
        await enrol(one, "anna", "cgm-1", DeviceKind.CGM, limits=STAFF_AT_SIX_HOURS)
        async with opened("b", clock) as other:
            yield one, other


async def pass_by(clock: HandClock, duration: timedelta, *houses: House) -> None:
    """Time goes by in steps of a quarter of an hour, and every hub looks at its patients."""
    end = clock.now() + duration
    while clock.now() < end:
        clock.advance(min(15 * MINUTE, end - clock.now()))
        for house in houses:
            await house.tick()


def silences(house: House) -> list[Alert]:
    return [alert for alert in house.book.alerts() if alert.problem == "no-data"]


def told(house: House) -> list[str]:
    """Who was told of a silence."""
    to_staff = [notice for alert in silences(house) for notice in house.book.notices(alert.id)]
    to_patient = [notice for notice, _ in house.book.to_patient("anna", 10) if "No data" in notice.subject.en]
    return sorted({notice.id: notice.audience.value for notice in (*to_staff, *to_patient)}.values())


async def test_a_device_that_one_of_two_hubs_hears_is_heard(opened: Opener) -> None:
    clock = HandClock()
    async with two(opened, clock) as (one, other):
        for _ in range(16):
            await send(one, "cgm-1", clock.now(), 100)
            await pass_by(clock, HOUR, one, other)
        assert told(other) == []


async def test_whom_one_hub_enrols_the_other_one_knows_while_it_runs(opened: Opener) -> None:
    clock = HandClock()
    async with opened("a", clock) as one, opened("b", clock) as other:
        for house in (one, other):
            await house.tick()
        await enrol(one, "anna", "cgm-1", DeviceKind.CGM, limits=STAFF_AT_SIX_HOURS)
        await send(other, "cgm-1", clock.now(), 100)
        assert [letter.device for letter in other.journal.letters()] == ["cgm-1"]
        await other.tick()
        assert other.journal.letters() == [], "it had waited for its patient"
        assert other.journal.tail() == 1
        heard = clock.now()
        await pass_by(clock, 6 * HOUR, other)
        assert [alert.opened_at for alert in silences(other)] == [heard + 6 * HOUR]
        limits = {"no-data": {"staff-after-cgm_glucose": {"value": 1440, "unit": "min"}}}
        await one.change_patient("anna", lambda anna: replace(anna, limits=limits))
        await other.tick()
        assert other.ward._beds["anna"].limits.minutes("no-data", "staff-after-cgm_glucose") == 24 * HOUR
        await one.unpair("cgm-1")
        await pass_by(clock, 7 * HOUR, other)
        assert other.ward._beds["anna"].expected == ()


def test_what_was_changed_is_read_in_one_statement_also_of_who_writes_it_down_later(hubs: tuple[Book, Book]) -> None:
    engine = hubs[0]._engine
    people = People(engine)
    anna = Patient(id="anna", name="Anna", zone="Asia/Shanghai")
    slow = engine.connect()
    number = slow.execute(text("SELECT nextval('audit_seq_seq')")).scalar_one()
    people.add_patient(anna, now=NOW)
    known = people.changed(None)
    assert list(known.values()) == ["patient:anna"]
    slow.execute(
        text("INSERT INTO audit (seq, at_us, what, subject) VALUES (:seq, 0, 'added', 'device:cgm-1')"),
        {"seq": number},
    )
    slow.commit()
    slow.close()
    with engine.begin() as db:
        audited(db, "opened", "alert:a-1", at=NOW, who=None)
    asked = list[str]()

    def note(*said: object) -> None:
        asked.append(str(said[2]))

    event.listen(engine, "before_cursor_execute", note)
    found = people.changed(max(known))
    assert [found[each] for each in sorted(found.keys() - known.keys())] == ["device:cgm-1", "alert:a-1"]
    assert len(asked) == 1


async def test_silence_at_both_is_told_once_and_at_its_time(opened: Opener) -> None:
    clock = HandClock()
    async with two(opened, clock) as (one, other):
        await pass_by(clock, 4 * HOUR, one, other)
        heard = clock.now()
        await send(one, "cgm-1", heard, 100)
        await pass_by(clock, 6 * HOUR - MINUTE, one, other)
        assert told(one) == []
        await pass_by(clock, MINUTE, other, one)
        (alert,) = silences(one)
        assert (alert.opened_at, alert.since) == (heard + 6 * HOUR, heard + 6 * HOUR)
        await pass_by(clock, 6 * HOUR, one, other)
        assert [each.id for each in silences(other)] == [alert.id]
        assert told(other) == [Audience.PATIENT, Audience.STAFF]


async def test_of_a_hub_that_dies_the_other_one_tells_and_it_is_over_when_the_first_is_back(opened: Opener) -> None:
    clock = HandClock()
    async with AsyncExitStack() as stack:
        async with opened("a", clock) as one:
            await enrol(one, "anna", "cgm-1", DeviceKind.CGM, limits=STAFF_AT_SIX_HOURS)
            other = await stack.enter_async_context(opened("b", clock))
            await pass_by(clock, 3 * HOUR, one, other)
            heard = clock.now()
            await send(one, "cgm-1", heard, 100)
            await pass_by(clock, MINUTE, one, other)
        await pass_by(clock, 6 * HOUR - 2 * MINUTE, other)
        assert told(other) == []
        await pass_by(clock, MINUTE, other)
        (alert,) = silences(other)
        assert (alert.opened_at, alert.condition_gone_at) == (heard + 6 * HOUR, None)
        async with opened("a", clock) as one:
            await pass_by(clock, MINUTE, one, other)
            assert [each.condition_gone_at for each in silences(other)] == [None]
            await send(one, "cgm-1", clock.now(), 100)
            back = clock.now()
            await pass_by(clock, MINUTE, one, other)
            await pass_by(clock, 5 * HOUR, one, other)
            assert [(each.id, each.condition_gone_at) for each in silences(other)] == [(alert.id, back)]


async def test_who_told_of_a_silence_sees_that_another_hub_heard_the_device(opened: Opener) -> None:
    clock = HandClock()
    async with two(opened, clock) as (one, other):
        await one.tick()
        for _ in range(7):
            await send(one, "cgm-1", clock.now(), 100)
            await pass_by(clock, HOUR, other)  # the first one is kept from writing anything down
        (alert,) = silences(other)
        assert alert.condition_gone_at is None
        await one.tick()
        await pass_by(clock, MINUTE, other)
        assert [each.condition_gone_at for each in silences(one)] == [clock.now()]


async def test_what_the_hub_that_knows_the_patient_told_sooner_is_not_over_for_the_other_one(opened: Opener) -> None:
    clock = HandClock()
    async with opened("a", clock) as one:
        await enrol(one, "anna", "cgm-1", DeviceKind.CGM)
        async with opened("b", clock) as other:
            await other.tick()
            await send(one, "cgm-1", clock.now(), *[100, 101] * 50, 65, 64)
            await pass_by(clock, 12 * HOUR, one, other)
            (alert,) = silences(one)
            assert alert.opened_at == clock.now(), "staff hear after 12 h of one who was low, else after 72 h"
            act = Act(
                kind=ActKind.SNOOZE,
                alert=alert.id,
                by="Dr Li",
                at=clock.now(),
                note="called",
                until=clock.now() + 9 * HOUR,
            )
            for each in (act, replace(act, kind=ActKind.ACKNOWLEDGE, until=None)):
                await other.act(each)  # and then this hub looks at the patient
                await pass_by(clock, HOUR, other)
            assert [(each.id, each.condition_gone_at) for each in silences(other)] == [(alert.id, None)]


async def test_the_silence_of_one_who_was_low_at_a_hub_that_died_is_told_by_the_other_as_soon(opened: Opener) -> None:
    clock = HandClock()
    async with AsyncExitStack() as stack:
        async with opened("a", clock) as one:
            await enrol(one, "anna", "cgm-1", DeviceKind.CGM)
            other = await stack.enter_async_context(opened("b", clock))
            await pass_by(clock, HOUR, other)
            await send(one, "cgm-1", clock.now(), *[100, 101] * 50, 65, 64)
            heard = clock.now()
            await one.tick()
        await pass_by(clock, 12 * HOUR - MINUTE, other)
        assert Audience.STAFF not in told(other)
        await pass_by(clock, MINUTE, other)
        (alert,) = silences(other)
        assert (alert.opened_at, alert.since) == (heard + 12 * HOUR, heard + 12 * HOUR)
        assert "staff are told after 12 h" in alert.because.en
        await pass_by(clock, HOUR, other)
        assert [each.condition_gone_at for each in silences(other)] == [None]


async def test_one_who_was_well_again_at_another_hub_is_not_told_of_sooner(opened: Opener) -> None:
    clock = HandClock()
    async with opened("a", clock) as one:
        await enrol(one, "anna", "cgm-1", DeviceKind.CGM)
        async with opened("b", clock) as other:
            await send(other, "cgm-1", clock.now(), *[100, 101] * 50, 65, 64)
            await pass_by(clock, HOUR, other)
            await send(one, "cgm-1", clock.now(), *[100, 101] * 50)
            await one.tick()
            await pass_by(clock, 13 * HOUR, other)
            assert Audience.STAFF not in told(other)


async def test_values_that_nobody_can_use_are_not_heard_by_the_other_hub_either(opened: Opener) -> None:
    clock = HandClock()
    async with two(opened, clock) as (one, other):
        await send(one, "cgm-1", clock.now(), 100)
        heard = clock.now()
        for _ in range(6):
            await pass_by(clock, HOUR, other, one)
            assert other.book.heard_elsewhere(clock.now()) == {"cgm-1": LastHeard(heard)}
            await one.path.deliver(broken(clock.now()), lambda: None)
        assert [alert.since for alert in silences(other)] == [heard + 6 * HOUR]


def broken(now: datetime) -> Packet:
    """A value of a sensor that says itself that it is out of order."""
    reading = {
        "kind": "cgm_glucose",
        "value": 100,
        "unit": "mg/dL",
        "time": now.isoformat(),
        "flags": ["sensor-malfunction"],
    }
    data = json.dumps({"version": 1, "device": "cgm-1", "readings": [reading]}).encode()
    return Packet(link="listener", sender="cgm-1", channel="json", data=data, received_at=now)


@pytest.fixture
def hubs(postgresql_url: str) -> tuple[Book, Book]:
    engine = open_database(postgresql_url)
    return Book(engine, routes={}, hub="hub-a"), Book(engine, routes={}, hub="hub-b")


def test_what_was_heard_only_moves_on_and_each_hub_reads_the_others(hubs: tuple[Book, Book]) -> None:
    one, other = hubs
    one.record(heard={"cgm-1": LastHeard(NOW, unwell=True), "cgm-2": LastHeard(NOW)})
    one.record(heard={"cgm-1": LastHeard(NOW - HOUR), "cgm-2": LastHeard(NOW + MINUTE)})
    later = NOW + HOUR
    assert other.heard_elsewhere(later) == {"cgm-1": LastHeard(NOW, unwell=True), "cgm-2": LastHeard(NOW + MINUTE)}
    assert other.heard_elsewhere(later, {"cgm-1"}) == {"cgm-1": LastHeard(NOW, unwell=True)}
    assert (one.heard_elsewhere(later), other.heard_elsewhere(later, ())) == ({}, {})
    newest = {"cgm-1": LastHeard(NOW + 2 * MINUTE)}
    other.record(heard=newest)
    assert Book(one._engine, routes={}, hub="hub-c").heard_elsewhere(later, {"cgm-1"}) == newest


def test_a_clock_that_was_ahead_hides_no_silence(hubs: tuple[Book, Book]) -> None:
    one, other = hubs
    one.record(heard={"cgm-1": LastHeard(NOW + 400 * 24 * HOUR), "cgm-2": LastHeard(NOW + 30 * MINUTE / 60)})
    assert other.heard_elsewhere(NOW) == {"cgm-2": LastHeard(NOW)}, "clocks of two computers differ by some seconds"
    one.begin_hearing({"cgm-1": NOW - HOUR, "cgm-2": NOW - HOUR}, NOW)
    assert other.heard_elsewhere(NOW) == {"cgm-1": LastHeard(NOW - HOUR), "cgm-2": LastHeard(NOW - HOUR)}


def test_a_start_notes_what_the_journal_knew_before_and_leaves_what_is_noted(hubs: tuple[Book, Book]) -> None:
    one, other = hubs
    one.record(heard={"cgm-1": LastHeard(NOW - HOUR)})
    one.begin_hearing({"cgm-1": NOW, "cgm-2": NOW}, NOW)
    assert other.heard_elsewhere(NOW) == {"cgm-1": LastHeard(NOW - HOUR), "cgm-2": LastHeard(NOW)}


async def test_a_hub_that_is_alone_asks_and_writes_nothing_of_it(tmp_path: Path) -> None:
    clock, asked = HandClock(), list[str]()

    def note(*said: object) -> None:
        asked.append(str(said[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        async with real_house(tmp_path, clock) as house:
            await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
            await send(house, "cgm-1", clock.now(), 100)
            await pass_by(clock, 7 * HOUR, house)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert asked
    assert not [said for said in asked if "device_heard" in said and "TABLE device_heard" not in said]
    assert not [said for said in asked if "SELECT audit" in said]


TUESDAY, WEDNESDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)


async def heard_until_tuesday(house: House, clock: HandClock) -> None:
    """A sensor from Monday morning to Tuesday evening, at one hub."""
    await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
    while clock.now() < local(TUESDAY, 22):
        clock.advance(2 * HOUR)
        await send(house, "cgm-1", clock.now(), *[110, 120] * 12)
    await house.tick()


def day_of(house: House) -> tuple[date, bool] | None:
    """Of which day it is written how the patient stands, and whether by readings."""
    standing = house.reviews.standings(["anna"]).get("anna")
    return None if standing is None else (standing.day, standing.week is not None)


@pytest.mark.parametrize("hearing_goes", ["first", "last"])
async def test_the_hub_that_hears_a_patient_says_how_they_stand(opened: Opener, hearing_goes: str) -> None:
    clock = HandClock(local(MONDAY, 8))
    async with opened("a", clock) as one:
        await heard_until_tuesday(one, clock)
        async with opened("b", clock) as other:
            for house in (one, other):
                await house.go_round()
            assert day_of(one) == (TUESDAY, True)
            clock.set(local(WEDNESDAY, 6))  # after the last visit of the night
            if hearing_goes == "last":
                await other.go_round()
                assert day_of(one) == (TUESDAY, True)
            await one.go_round()
            assert day_of(one) == (WEDNESDAY, True)
            await other.go_round()
            assert day_of(one) == (WEDNESDAY, True)


async def test_who_has_moved_to_another_hub_is_visited_by_it(opened: Opener) -> None:
    clock = HandClock(local(MONDAY, 8))
    async with opened("b", clock) as other:
        await enrol(other, "anna", "cgm-0", DeviceKind.CGM)
        await send(other, "cgm-0", clock.now(), 100, 101)
        async with opened("a", clock) as one:
            await heard_until_tuesday(one, clock)
            await other.go_round()
            assert day_of(one) is None
            await one.go_round()
            assert day_of(one) == (TUESDAY, True)


async def test_a_patient_whom_no_hub_has_heard_is_visited_by_any(opened: Opener) -> None:
    clock = HandClock(local(MONDAY, 8))
    async with opened("a", clock) as one:
        await enrol(one, "anna", "cgm-1", DeviceKind.CGM)
        async with opened("b", clock) as other:
            await other.go_round()
            assert day_of(one) == (MONDAY, False)


@pytest.mark.parametrize("is_heard", [True, False])
async def test_who_measures_at_another_hub_is_not_asked_to_measure_by_this_one(
    opened: Opener, postgresql_url: str, is_heard: bool
) -> None:
    clock = HandClock(local(MONDAY))
    async with opened("a", clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        agreed = MeasuringPlan(
            vital=Vital.GLUCOSE, times=2, days=7, first=MONDAY, last=None, author="Dr Li", entered_at=clock.now()
        )
        await house.set_plan("anna", Vital.GLUCOSE, agreed)
    clock.set(local(MONDAY + timedelta(days=7), 8))
    if is_heard:
        Book(open_database(postgresql_url), routes={}, hub="hub-a").record(heard={"meter-1": LastHeard(clock.now())})
    async with opened("b", clock) as house:
        await house.go_round()
        asked = [notice for notice, _ in house.book.to_patient("anna", 10)]
    assert len(asked) == (0 if is_heard else 1)

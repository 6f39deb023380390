"""A glucose too high to be believed becomes no reading, and is told like one: once, until a newer one ends it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from alerts.alert import Audience
from alerts.book import _notices
from gateway.house import House
from gateway.path import judge
from gateway.people import DeviceKind
from ingest.journal import Arrival, LetterState
from ingest.reading import Packet
from tests.real_house import NOW, HandClock, enrol, real_house

MINUTE = timedelta(minutes=1)


def packet(clock: HandClock, *records: tuple[float, float]) -> Packet:
    """Of a meter, (minutes after NOW, mg/dL) each, as they come now."""
    readings = [
        {"kind": "glucose", "value": value, "unit": "mg/dL", "time": (NOW + at * MINUTE).isoformat()}
        for at, value in records
    ]
    data = json.dumps({"version": 1, "device": "meter-1", "readings": readings}).encode()
    return Packet(link="listener", sender="meter-1", channel="json", data=data, received_at=clock.now())


async def send(house: House, clock: HandClock, *records: tuple[float, float]) -> None:
    """Through the door; returns when they were watched."""
    await house.path.deliver(packet(clock, *records), lambda: None)
    await watched(house)


async def watched(house: House) -> None:
    async def nothing() -> None:
        return

    await house.path.errand(nothing, last=True)


def told(house: House, audience: Audience) -> list[str]:
    with house.book._engine.connect() as db:
        query = select(_notices.c.subject_en).where(_notices.c.audience == audience.value)
        return list(db.execute(query.order_by(_notices.c.written_at_us)).scalars())


CRISIS = "Medium priority: Extremely high glucose on the meter"
OVER = "Condition over: Extremely high glucose on the meter"


async def test_only_a_newer_value_ends_what_was_too_high_to_be_believed(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, clock, (-60, 120))
        await send(house, clock, (0, 1200))
        assert told(house, Audience.STAFF) == [CRISIS]
        (alert,) = house.book.open_alerts()
        assert "was set aside" in alert.because.en
        for _ in range(2):
            clock.advance(MINUTE)
            await house.tick()
        await send(house, clock, (-30, 130))  # taken before, and comes now
        assert told(house, Audience.STAFF) == [CRISIS]
    clock.advance(13 * 60 * MINUTE)
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        assert house.book.open_alerts()[0].condition_gone_at is None
        await send(house, clock, (13 * 60, 125))
        assert told(house, Audience.STAFF) == [CRISIS, OVER]
        assert told(house, Audience.PATIENT) == ["For you: Extremely high glucose on the meter"]


async def test_what_is_read_again_from_the_meters_memory_is_not_told_again(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, clock, (0, 1200))
        clock.advance(10 * MINUTE)
        await send(house, clock, (10, 120))
        assert told(house, Audience.STAFF) == [CRISIS, OVER]
        await send(house, clock, (10, 120), (0, 1200))
        await house.tick()
        assert told(house, Audience.STAFF) == [CRISIS, OVER]
    async with real_house(tmp_path, clock) as house:
        await send(house, clock, (0, 1200), (10, 120))
        await house.tick()
        assert told(house, Audience.STAFF) == [CRISIS, OVER]


async def test_what_was_kept_and_not_yet_told_when_the_house_stopped_is_told_once(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, clock, (-60, 120))
        one = packet(clock, (0, 1200))
        house.journal.append([Arrival(packet=one, outcomes=judge(one, house.path.roster))])
    for _ in range(2):
        clock.advance(MINUTE)
        async with real_house(tmp_path, clock) as house:
            await watched(house)
            await house.tick()
            assert told(house, Audience.STAFF) == [CRISIS]
            assert told(house, Audience.PATIENT) == ["For you: Extremely high glucose on the meter"]


async def test_a_newer_value_that_came_with_it_ends_it_but_it_is_told(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        clock.advance(20 * MINUTE)
        await send(house, clock, (0, 1200), (20, 140))
        assert told(house, Audience.STAFF) == [CRISIS, OVER]


async def test_what_a_better_value_followed_is_told_though_the_write_failed_once(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, clock, (-40, 120))
        clock.advance(20 * MINUTE)
        record, left = house.book.record, [True]

        def fails_once(*args: object, **more: object) -> object:
            if left:
                left.pop()
                raise ValueError("once")
            return record(*args, **more)  # type: ignore[arg-type]

        house.book.record = fails_once  # type: ignore[assignment, method-assign]
        await send(house, clock, (5, 1200), (20, 140))
        for _ in range(2):
            clock.advance(MINUTE)
            await house.tick()
        assert not left
        assert told(house, Audience.STAFF) == [CRISIS, OVER]


async def test_what_a_better_value_followed_is_told_once_though_the_power_went(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, clock, (-40, 120))
        clock.advance(20 * MINUTE)
        one = packet(clock, (5, 1200), (20, 140))
        house.journal.append([Arrival(packet=one, outcomes=judge(one, house.path.roster))])
    for _ in range(2):
        clock.advance(MINUTE)
        async with real_house(tmp_path, clock) as house:
            await watched(house)
            await house.tick()
            assert told(house, Audience.STAFF) == [CRISIS, OVER]


async def test_what_the_meter_corrects_to_a_value_that_can_be_believed_is_over(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, clock, (0, 1200))
        clock.advance(MINUTE)
        await send(house, clock, (0, 120))
        assert told(house, Audience.STAFF) == [CRISIS, OVER]


async def test_a_low_is_not_ended_by_what_cannot_be_believed(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, clock, (0, 35))
        clock.advance(10 * MINUTE)
        await send(house, clock, (10, 1200))
        alerts = {each.problem: each.condition_gone_at for each in house.book.open_alerts()}
        assert alerts == {"glucose-low": None, "glucose-high": None}


async def test_what_waited_for_a_patient_is_told_when_the_meter_is_given_to_one(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await send(house, clock, (0, 1200))
        clock.advance(MINUTE)
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await watched(house)
        assert told(house, Audience.STAFF) == [CRISIS]
        (letter,) = house.journal.letters(LetterState.WAITING)
        assert letter.reason == "impossible"

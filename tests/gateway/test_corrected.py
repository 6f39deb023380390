"""A value that a patient acted on, and that the device corrects afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from alerts.alert import Audience
from alerts.book import _notices
from gateway.house import House
from gateway.people import DeviceKind
from ingest.journal import Arrival
from ingest.reading import Flag, Packet
from simulators.publisher import Publisher, blood_pressure, glucose
from tests.real_house import NOW, HandClock, enrol, real_house

CORRECTED = "For you: A value was corrected"


async def publish(house: House, *readings: dict[str, object]) -> None:
    """A meter's or a cuff's; returns when they were watched."""
    assert house.listener is not None
    async with Publisher("device-1", "127.0.0.1", house.listener.port) as device:
        for each in readings:
            await device.publish(each)

    async def nothing() -> None:
        return

    await house.path.errand(nothing, last=True)


def told(house: House, audience: Audience = Audience.PATIENT) -> list[tuple[str, str]]:
    with house.book._engine.connect() as db:
        query = select(_notices.c.subject_en, _notices.c.body_en).where(_notices.c.audience == audience.value)
        return [tuple(row) for row in db.execute(query.order_by(_notices.c.written_at_us))]


def mmol(value: str) -> dict[str, object]:
    return glucose(Decimal(value), NOW, kind="glucose", unit="mmol/L", sequence=7)


async def test_who_acted_on_a_low_that_was_none_is_told_once(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, mmol("2.3"))
        clock.advance(timedelta(minutes=5))
        await publish(house, mmol("6.3"), mmol("2.3"), mmol("6.3"))
        await house.tick()
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        low, corrected = told(house)
        assert low[0] == "For you: Very low glucose on the meter"
        assert corrected[0] == CORRECTED
        assert corrected[1].startswith(
            "What your device showed at 2026-03-02 20:00 was wrong: it has corrected 2.3 mmol/L (41 mg/dL) to 6.3 "
            "mmol/L (113 mg/dL, corrected by the device). What you were asked to do because of it no longer holds."
        )
        assert told(house, Audience.STAFF) == []


async def test_staff_who_were_told_hear_that_it_was_corrected(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, mmol("1.9"))
        clock.advance(timedelta(minutes=5))
        await publish(house, mmol("6.3"))
        assert [subject for subject, _ in told(house)] == ["For you: Very low glucose on the meter", CORRECTED]
        _, over = told(house, Audience.STAFF)
        assert over[0] == "Condition over: Very low glucose on the meter"
        assert "6.3 mmol/L (113 mg/dL, corrected by the device)" in over[1]


@pytest.mark.parametrize(("first", "then"), [("6.3", "6.4"), ("2.3", "2.4"), ("11.4", "9.4")])
async def test_a_correction_that_changes_nothing_that_was_asked_for_at_once_is_told_nobody(
    tmp_path: Path, first: str, then: str
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, mmol(first))
        clock.advance(timedelta(minutes=5))
        await publish(house, mmol(then))
        assert CORRECTED not in [subject for subject, _ in told(house)]


@pytest.mark.parametrize(("first", "then", "rule"), [("2.5", "3.4", "Low glucose"), ("30.0", "27.2", "High glucose")])
async def test_what_still_asks_for_the_same_takes_nothing_back(
    tmp_path: Path, first: str, then: str, rule: str
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, mmol(first))
        clock.advance(timedelta(minutes=3))
        await publish(house, mmol(then))
        assert [subject for subject, _ in told(house)][1:] == [f"For you: {rule} on the meter"]


async def test_a_low_that_is_corrected_half_a_day_later_and_is_as_low_takes_nothing_back(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, mmol("1.9"))
        clock.advance(timedelta(hours=13))
        await publish(house, mmol("2.0"))
        assert CORRECTED not in [subject for subject, _ in told(house)]


async def test_a_value_that_was_set_aside_and_is_corrected_is_told_as_corrected(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, mmol("66.6"))
        clock.advance(timedelta(minutes=3))
        await publish(house, mmol("6.7"))
        assert [subject for subject, _ in told(house)][1:] == [CORRECTED]


async def test_of_two_corrections_that_come_at_once_the_patient_hears(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, mmol("2.5"))
        clock.advance(timedelta(minutes=3))
        records = [{**mmol(value), "value": float(value)} for value in ("6.1", "6.3")]
        data = json.dumps({"version": 1, "device": "device-1", "readings": records}, default=str).encode()
        packet = Packet(link="listener", sender="device-1", channel="json", data=data, received_at=clock.now())
        await house.path.deliver(packet, lambda: None)
        await publish(house)
        corrected = [body for subject, body in told(house) if subject == CORRECTED]
        assert len(corrected) == 1
        assert "2.5 mmol/L (45 mg/dL) to 6.3 mmol/L" in corrected[0]


async def test_a_severe_pressure_that_was_none_is_told_as_corrected_days_later(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", DeviceKind.CUFF)
        await publish(house, blood_pressure(Decimal(192), Decimal(121), NOW, sequence=7))
        clock.advance(timedelta(days=2))
        await publish(house, blood_pressure(Decimal(129), Decimal(81), NOW, sequence=7))
        (corrected,) = [body for subject, body in told(house) if subject == CORRECTED]
        assert "it has corrected 192/121 mmHg to 129/81 mmHg" in corrected


async def test_a_reading_stored_before_its_meal_was_called_unknown_is_no_other_one_when_it_comes_again(
    tmp_path: Path,
) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "device-1", DeviceKind.METER)
        await publish(house, {**mmol("2.3"), "context": {"meal": "elevenses"}})
        ((_, reading),) = house.journal.since(0, 10)
        assert (reading.flags, reading.context) == ({Flag.MEAL_UNKNOWN}, {"meal": "elevenses"})
        packet = Packet(link="listener", sender="device-1", channel="json", data=b"", received_at=NOW)
        as_before = replace(reading, flags=frozenset())
        assert house.journal.append([Arrival(packet=packet, outcomes=(as_before,))]).new == []

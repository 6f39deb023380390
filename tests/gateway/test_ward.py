"""The ward costs nothing for those about whom there is nothing to say, and misses nobody about whom there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.agenda import Agenda
from gateway.house import House
from gateway.path import judge
from gateway.people import DeviceKind
from ingest.journal import Arrival
from ingest.reading import Packet, Reading
from simulators.publisher import Publisher, blood_pressure
from tests.real_house import AT_ONCE, NOW, HandClock, enrol, real_house, until

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 20)), max_size=60))
def test_a_name_comes_up_at_the_earliest_moment_it_was_given(steps: list[tuple[str, int, int]]) -> None:
    agenda, expected = Agenda(), dict[str, int]()
    for name, moment, now in steps:
        agenda.add(name, START + timedelta(minutes=moment))
        expected[name] = min(moment, expected.get(name, moment))
        due = {each for each, at in expected.items() if at <= now}
        if due:
            assert agenda.is_due(START + timedelta(minutes=now))
        assert set(agenda.due(START + timedelta(minutes=now), 10)) == due
        expected = {each: at for each, at in expected.items() if each not in due}


def cgm_payload(device: str, values: Sequence[tuple[datetime, float]]) -> bytes:
    readings = [
        {"kind": "cgm_glucose", "value": value, "unit": "mg/dL", "time": at.isoformat()} for at, value in values
    ]
    return json.dumps({"version": 1, "device": device, "readings": readings}).encode()


async def send(house: House, device: str, now: datetime, *values: float) -> None:
    """A sensor's last readings, one each five minutes, through the door; returns when they were watched."""
    moments = [now - timedelta(minutes=5 * number) for number in range(len(values))]
    data = cgm_payload(device, list(zip(reversed(moments), values, strict=True)))
    one = Packet(link="listener", sender=device, channel="json", data=data, received_at=now)
    await house.path.deliver(one, lambda: None)

    async def nothing() -> None:
        return

    await house.path.errand(nothing, last=True)


SLOWLY_LOW = [95, 90, 85, 80, 75, 70, 65, 60, 57, *[50] * 8]


async def test_who_is_not_heard_has_no_bed_and_who_is_low_is_told_of(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        for name in ("idle", "calm", "low"):
            await enrol(house, name, f"cgm-{name}", DeviceKind.CGM)
    clock.advance(timedelta(minutes=1))
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        await send(house, "cgm-calm", clock.now(), *[100, 101] * 150)
        await send(house, "cgm-low", clock.now(), *[100, 101] * 150, *SLOWLY_LOW)
        beds = house.ward._beds
        assert set(beds) == {"calm", "low"}
        assert [alert.patient for alert in house.book.open_alerts()] == ["low"]
        # The calm one stirs.
        clock.advance(timedelta(minutes=85))
        await send(house, "cgm-calm", clock.now(), *SLOWLY_LOW)
        assert {alert.patient for alert in house.book.open_alerts()} == {"calm", "low"}
        clock.advance(timedelta(hours=24))
        await house.tick()
        silent = {alert.patient for alert in house.book.open_alerts() if alert.problem == "no-data"}
        assert silent == {"idle", "calm", "low"}


async def test_a_reading_that_comes_late_is_judged_in_its_place(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, "cgm-1", clock.now() - timedelta(minutes=85), *[100, 101] * 150)
        low = SLOWLY_LOW[:-2]
        await send(house, "cgm-1", clock.now() - timedelta(minutes=5), *low)
        assert house.book.open_alerts() == []  # 25 minutes
        await send(house, "cgm-1", clock.now() + timedelta(minutes=5), 90)
        assert house.book.open_alerts() == []
        await send(house, "cgm-1", clock.now(), 50)
        (alert,) = house.book.open_alerts()
        assert "low-event-2" in alert.raising


async def test_a_reading_that_the_device_revises_is_judged_anew(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, "cgm-1", clock.now(), *[100, 101] * 150)
        await send(house, "cgm-1", clock.now(), *SLOWLY_LOW)
        (alert,) = house.book.open_alerts()
        assert (alert.patient, alert.condition_gone_at) == ("anna", None)
        await send(house, "cgm-1", clock.now(), *[102] * 17)
        (alert,) = house.book.open_alerts()
        assert alert.condition_gone_at == clock.now()


async def test_who_was_asked_for_a_second_pressure_is_not_forgotten_by_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        assert house.listener is not None
        async with Publisher("cuff-1", "127.0.0.1", house.listener.port) as cuff:
            await cuff.publish(blood_pressure(Decimal(192), Decimal(121), clock.now()))
        await house.tick()
        assert house.book.open_alerts() == []
    clock.advance(timedelta(minutes=16))
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        assert [alert.problem for alert in house.book.open_alerts()] == ["blood-pressure-high"]


async def test_silence_told_by_a_wrong_clock_is_over_when_the_clock_is_right_again(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, "cgm-1", clock.now(), *[100] * 20)
        clock.set(NOW + timedelta(days=400))
        await house.tick()
        (alert,) = house.book.open_alerts()
        assert (alert.problem, alert.condition_gone_at) == ("no-data", None)
        clock.set(NOW + timedelta(minutes=5))
        await house.tick()
        await until(lambda: house.book.open_alerts()[0].condition_gone_at is not None)


async def test_what_is_stored_and_not_yet_watched_is_left_to_be_watched(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        await send(house, "cgm-1", clock.now() - timedelta(minutes=60), *[100, 101] * 150)
        # As while the straight path commits faster than it watches: a low that was over by the last reading.
        values = [95, 90, 85, 80, 72, 50, 50, 50, 50, 80, 90, 95]
        commits = [committed(house, "cgm-1", clock.now() - timedelta(minutes=55), values[:2])]
        commits.append(committed(house, "cgm-1", clock.now() - timedelta(minutes=45), values[2:]))
        house.ward.forget(["anna"])
        for entries in commits:
            await house.ward.see(entries)
        (alert,) = house.book.open_alerts()
        assert alert.because.en.startswith("Sensor glucose below 54 mg/dL (3.0 mmol/L) since 2026-03-02 19:30")
        assert "low-event-2" not in alert.raising  # over as well
        assert house.ward.cursor == house.journal.tail()


def committed(house: House, device: str, start: datetime, values: list[float]) -> list[tuple[int, Reading]]:
    """Readings of a sensor, one each five minutes from `start` on, committed but not watched."""
    arrivals = []
    for number, value in enumerate(values):
        at = start + timedelta(minutes=5 * number)
        data = cgm_payload(device, [(at, value)])
        packet = Packet(link="listener", sender=device, channel="json", data=data, received_at=at)
        arrivals.append(Arrival(packet=packet, outcomes=judge(packet, house.path.roster)))
    return house.journal.append(arrivals).new

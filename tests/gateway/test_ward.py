"""The ward costs nothing for those about whom there is nothing to say, and misses nobody about whom there is."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from alerts.alert import HOUSE, Audience, Finding
from alerts.bed import Bed
from alerts.book import _notices
from alerts.rule import Group
from alerts.rules import Applied, RuleBook, parse_book
from alerts.spot import Taken
from gateway import ward as ward_module
from gateway.agenda import Agenda
from gateway.house import JOURNAL, House
from gateway.own_limits import Holdings, limits_on, with_number
from gateway.path import judge
from gateway.people import DeviceKind, MeasuringPlan, Patient
from gateway.stored import StoredReadings
from gateway.ward import Ward
from ingest.journal import Arrival, Journal
from ingest.reading import Packet, Reading
from ingest.vital import Vital
from simulators.publisher import Publisher, blood_pressure, glucose
from tests.real_house import AT_ONCE, NOW, HandClock, enrol, real_house, ticking, until

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


def lows(device: str, now: datetime) -> Packet:
    """A level 2 low of a sensor."""
    return packet(device, now, 50, 50, 50)


def packet(device: str, now: datetime, *values: float, came: datetime | None = None) -> Packet:
    """A sensor's last readings, one each five minutes.

    now: by the sensor's clock. came: by the house's, where that is another moment.
    """
    readings = [
        {
            "kind": "cgm_glucose",
            "value": value,
            "unit": "mg/dL",
            "time": (now - timedelta(minutes=5 * (len(values) - 1 - number))).isoformat(),
        }
        for number, value in enumerate(values)
    ]
    data = json.dumps({"version": 1, "device": device, "readings": readings}).encode()
    return Packet(link="listener", sender=device, channel="json", data=data, received_at=came or now)


async def send(house: House, device: str, now: datetime, *values: float, came: datetime | None = None) -> None:
    """The same through the door; returns when they were watched."""
    await house.path.deliver(packet(device, now, *values, came=came), lambda: None)

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
        # Who was low when last heard is missed sooner.
        for hours, missed in ((24, {"calm", "low"}), (48, {"idle", "calm", "low"})):
            clock.advance(timedelta(hours=hours))
            await house.tick()
            silent = {alert.patient for alert in house.book.open_alerts() if alert.problem == "no-data"}
            assert silent == missed


async def test_a_silence_that_staff_were_told_of_early_is_not_over_by_a_restart_days_later(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "low", "cgm-low", DeviceKind.CGM)
        await send(house, "cgm-low", clock.now(), *[100, 101] * 50, 65, 64)
        clock.advance(timedelta(hours=20))
        await house.tick()
        assert [alert.problem for alert in house.book.open_alerts()] == ["no-data"]
    clock.advance(timedelta(hours=40))
    async with real_house(tmp_path, clock) as house:
        for _ in range(2):
            await house.tick()
            assert [alert.condition_gone_at for alert in house.book.open_alerts()] == [None]
            clock.advance(timedelta(minutes=16))


STAFF_AT_SIX_HOURS = {"no-data": {"staff-after-cgm_glucose": {"value": 360, "unit": "min"}}}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("sensor_is_ahead", [False, True])
async def test_a_clock_that_was_ahead_for_a_while_does_not_hide_the_silence_after_it(
    tmp_path: Path, sensor_is_ahead: bool, restarted: bool
) -> None:
    clock, ahead = HandClock(), NOW + timedelta(days=400)
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=STAFF_AT_SIX_HOURS)
        await send(house, "cgm-1", NOW, 100)
        clock.set(ahead)
        await send(house, "cgm-1", ahead if sensor_is_ahead else NOW + timedelta(minutes=5), 100, came=ahead)
        await house.tick()
        clock.set(NOW + timedelta(minutes=10))
        if not restarted:
            await house.tick()
            await said_to_be_silent_in_time(house, clock)
    if restarted:
        async with real_house(tmp_path, clock) as house:
            await house.tick()
            await said_to_be_silent_in_time(house, clock)


async def said_to_be_silent_in_time(house: House, clock: HandClock) -> None:
    """The sensor is heard once more, and then no longer."""
    assert house.journal.last_arrival("cgm-1") == NOW + timedelta(days=400)
    clock.advance(timedelta(minutes=5))
    await send(house, "cgm-1", clock.now(), 100)
    assert house.journal.last_arrival("cgm-1") == clock.now()
    clock.advance(timedelta(minutes=359))
    await house.tick()
    assert not any(alert.raising for alert in house.book.open_alerts() if alert.problem == "no-data")
    clock.advance(timedelta(minutes=1))
    await house.tick()
    assert "no-data" in {alert.problem for alert in house.book.open_alerts() if alert.raising}


async def test_what_comes_is_kept_while_the_book_of_alerts_is_locked_and_what_it_led_to_is_told_afterwards(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        with closing(sqlite3.connect(tmp_path / "data" / "hub.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for minute, value in enumerate((50, 50, 50, 51, 52, 53)):
                kept = asyncio.Event()
                one = packet("cgm-1", clock.now() + timedelta(minutes=5 * minute), value)
                await house.path.deliver(one, kept.set)
                async with asyncio.timeout(3):  # the book's writer waits ten times as long for the lock
                    await kept.wait()
                if minute == 3:
                    ticking = asyncio.create_task(house.tick())
            assert len(house.journal.since(0, 10)) == 6
            assert house.book.open_alerts() == []
        await ticking
        await house.tick()
        assert [alert.patient for alert in house.book.open_alerts()] == ["anna"]


async def test_what_could_not_be_written_down_is_told_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    faults = [ValueError("a fault of ours")] * 2
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        await house.tick()
        record = house.book.record

        def recorded(*what: Any) -> Any:
            if faults:
                raise faults.pop()
            return record(*what)

        monkeypatch.setattr(house.book, "record", recorded)
        await send(house, "cgm-1", clock.now(), 50, 50, 50)
        assert house.ward.trouble is not None
        await house.tick()
        assert house.ward.trouble is not None
        assert house.book.cursor() == 0
        # Nothing more comes of the sensor: what it said before is judged again.
        await house.tick()
        assert [alert.patient for alert in house.book.open_alerts()] == ["anna"]
        assert house.ward.trouble is None
        assert house.book.cursor() == house.journal.tail() == 3


async def test_nothing_is_lost_when_the_journal_has_to_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    spot, errors = StoredReadings.spot, [sqlite3.OperationalError("disk I/O error")]

    def fails_once(stored: StoredReadings) -> Taken:
        if stored._patient == "ben" and errors:
            raise errors.pop()
        return spot(stored)

    async with real_house(tmp_path, clock) as house:
        for name in ("anna", "ben"):
            await enrol(house, name, f"cgm-{name}", DeviceKind.CGM, limits=AT_ONCE)
        await house.tick()
        monkeypatch.setattr(StoredReadings, "spot", fails_once)
        house.ward.forget(["ben"])
        for name in ("anna", "ben"):  # delivered in one go, so they are watched in one go
            await house.path.deliver(lows(f"cgm-{name}", clock.now()), lambda: None)
        async with ticking(clock):
            await until(lambda: len(house.book.open_alerts()) == 2)
        assert not errors


def notices_to_patients(house: House) -> list[str]:
    with house.book._engine.connect() as db:
        return list(db.scalars(select(_notices.c.subject_en).where(_notices.c.audience == Audience.PATIENT)))


_SILENT_AFTER_AN_HOUR = (
    '[{of}.no-data]\nsilence-cgm_glucose = {{ value = 60, unit = "min", author = "Dr Wu"{since} }}\n'
)


@pytest.mark.parametrize(
    ("of", "since"),
    [("clinic", ""), ("programme.insulin", ""), ("patient.anna", ""), ("clinic", f', from = "{NOW.date()}"')],
)
async def test_a_shorter_silence_of_the_rule_file_is_told_in_time_after_a_restart(
    tmp_path: Path, of: str, since: str
) -> None:
    rules = tmp_path / "rules.toml"
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        anna = house.people.patient("anna")
        assert anna is not None
        house.people.change_patient(
            replace(anna, programme="insulin" if "programme" in of else None), now=clock.now()
        )
        await send(house, "cgm-1", clock.now(), 100)
    rules.write_text(_SILENT_AFTER_AN_HOUR.format(of=of, since=since))
    async with real_house(tmp_path, clock, clinic={"rules": str(rules)}) as house:
        await house.tick()
        clock.advance(timedelta(minutes=59))
        await house.tick()
        assert notices_to_patients(house) == []
        clock.advance(timedelta(minutes=1))
        await house.tick()
        assert notices_to_patients(house) == ["For you: No data"]


async def test_limits_that_begin_to_hold_are_minded_of_who_has_no_bed(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    tomorrow = NOW.date() + timedelta(days=1)
    rules.write_text(_SILENT_AFTER_AN_HOUR.format(of="clinic", since=f', from = "{tomorrow}"'))
    midnight = datetime.combine(tomorrow, datetime.min.time(), UTC)
    clock = HandClock(midnight - timedelta(minutes=90))
    async with real_house(tmp_path, clock, clinic={"rules": str(rules)}) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, zone="UTC")
        await send(house, "cgm-1", clock.now(), 100)
    async with real_house(tmp_path, clock, clinic={"rules": str(rules)}) as house:
        await house.tick()
        clock.set(midnight - timedelta(seconds=1))
        await house.tick()
        assert notices_to_patients(house) == []
        clock.set(midnight)
        await house.tick()
        assert notices_to_patients(house) == ["For you: No data"]


def test_limits_are_found_once_for_all_who_have_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def counted(rules: RuleBook, person: Patient, day: date) -> Applied:
        found.append(person.id)
        return limits_on(rules, person, day)

    monkeypatch.setattr("gateway.own_limits.limits_on", counted)
    clinic = parse_book({"clinic": {"no-data": {"silence-cgm_glucose": {"value": 60, "unit": "min"}}}})
    holdings, day = Holdings(clinic), NOW.date()
    several = [Patient(id=f"p-{number}", name="", zone="UTC") for number in range(5)]
    older = replace(several[0], id="old", population=Group.OLDER)
    own = replace(several[0], id="own", limits={"no-data": {"silence-cgm_glucose": {"value": 90, "unit": "min"}}})
    silences = [
        holdings.on(each, day).applied.limits.minutes("no-data", "silence-cgm_glucose") / timedelta(minutes=1)
        for each in (*several, older, own, older)
    ]
    assert silences == [60] * 6 + [90, 60]
    assert found == ["p-0", "old", "own"]


async def test_own_limits_that_contradict_the_clinics_are_a_trouble_and_the_others_hold(tmp_path: Path) -> None:
    clock, by = HandClock(), {"author": "Dr Li"}
    own = {
        "low-event-1": {"limit": {"value": 62, "unit": "mg/dL", **by}},
        "low-event-2": {"staff-after": {"value": 15, "unit": "min", **by}},
    }
    rules = tmp_path / "rules.toml"
    rules.write_text('[clinic.low-event-2]\nlimit = { value = 64, unit = "mg/dL", author = "Chief" }\n')
    async with real_house(tmp_path, clock, clinic={"rules": str(rules)}) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=own)
        await house.tick()
        assert "Limits set for patient anna do not hold: low-event-2.limit is 64" in (house.ward.trouble or "")
        assert "anna" in house.health()["parts"]["watch"]["detail"]
        assert house.health()["parts"]["watch"]["detail"].count("Change one of the two.") == 1  # in one unit
        anna = house.people.patient("anna")
        assert anna is not None
        assert house.limits(anna).limits.value("low-event-2", "staff-after", "min") == 15
        await house.change_patient("anna", lambda anna: replace(anna, limits={"low-event-2": own["low-event-2"]}))
        await house.tick()
        assert house.ward.trouble is None


@pytest.mark.parametrize(("days", "silent_after"), [(None, 3), (7, 3), (1, 8)])
async def test_who_measures_by_a_plan_is_silent_when_it_is_not_kept(
    tmp_path: Path, days: int | None, silent_after: int
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        if days:
            agreed = MeasuringPlan(
                vital=Vital.GLUCOSE,
                times=1,
                days=days,
                first=clock.now().date(),
                last=None,
                author="Dr Li",
                entered_at=clock.now(),
            )
            await house.set_plan("anna", Vital.GLUCOSE, agreed)
        clock.advance(timedelta(days=silent_after) - timedelta(minutes=1))
        await house.tick()
        assert house.book.open_alerts() == []
        clock.advance(timedelta(minutes=1))
        await house.tick()
        assert [alert.problem for alert in house.book.open_alerts()] == ["no-data"]


async def test_one_patient_who_cannot_be_judged_keeps_nobody_else_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    take = Bed.take

    def fails(bed: Bed, reading: Reading, now: datetime) -> Sequence[Finding]:
        if bed.patient == "anna":
            raise ValueError("a fault of ours")
        return take(bed, reading, now)

    async with real_house(tmp_path, clock) as house:
        for name in ("anna", "ben"):
            await enrol(house, name, f"cgm-{name}", DeviceKind.CGM, limits=AT_ONCE)
            await send(house, f"cgm-{name}", clock.now() - timedelta(minutes=15), 100)
        monkeypatch.setattr(Bed, "take", fails)
        for name in ("anna", "ben"):
            await send(house, f"cgm-{name}", clock.now(), 50, 50, 50)
        assert [alert.patient for alert in house.book.open_alerts()] == ["ben"]
        assert "patient anna cannot be judged" in (house.ward.trouble or "")
        assert "a fault of ours" in caplog.text
        monkeypatch.setattr(Bed, "take", take)
        await house.tick()
        assert house.ward.trouble is None
        clock.advance(timedelta(minutes=5))
        await send(house, "cgm-anna", clock.now(), 50)
        assert {alert.patient for alert in house.book.open_alerts()} == {"anna", "ben"}


class Killed(BaseException):
    """As if the process were ended there."""


async def test_who_was_not_judged_when_the_house_was_killed_is_judged_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    names = ("anna", "ben", "cleo")
    slices: list[Sequence[str]] = []
    judge = Ward._judge_slice

    async def one_and_no_more(ward: Ward, patients: Sequence[str], *, anew: bool) -> None:
        slices.append(patients)
        if len(slices) == 2:
            raise Killed
        await judge(ward, patients, anew=anew)

    async with real_house(tmp_path, clock) as house:
        for name in names:
            await enrol(house, name, f"cgm-{name}", DeviceKind.CGM, limits=AT_ONCE)

    async def live_until_killed() -> None:
        async with real_house(tmp_path, clock) as house:
            for name in names:  # delivered in one go, so they are watched in one go
                await house.path.deliver(lows(f"cgm-{name}", clock.now()), lambda: None)
            await asyncio.Event().wait()

    monkeypatch.setattr(ward_module, "SLICE", 1)
    monkeypatch.setattr(Ward, "_judge_slice", one_and_no_more)
    with pytest.raises(BaseExceptionGroup, match="unhandled"):
        await live_until_killed()
    monkeypatch.setattr(Ward, "_judge_slice", judge)
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        assert len(house.journal.since(0, 20)) == 9
        assert {alert.patient for alert in house.book.open_alerts()} == set(names)


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


@pytest.mark.parametrize(
    ("kind", "reading", "problem"),
    [
        (DeviceKind.CUFF, blood_pressure(Decimal(192), Decimal(121), NOW), "blood-pressure-high"),
        (DeviceKind.METER, glucose(Decimal("-inf"), NOW, kind="glucose", flags=["strip-error"]), "glucose-low"),
        (DeviceKind.METER, glucose(Decimal("inf"), NOW, kind="glucose", flags=["strip-error"]), "glucose-high"),
        (DeviceKind.METER, glucose(Decimal(500), NOW, kind="glucose", flags=["strip-error"]), "glucose-high"),
        (DeviceKind.CUFF, blood_pressure(Decimal(60), Decimal(35), NOW), "blood-pressure-low"),
        (DeviceKind.METER, glucose(Decimal(45), NOW, kind="glucose"), "glucose-low"),
        (DeviceKind.METER, glucose(Decimal("2.9"), NOW, kind="glucose", unit="mmol/L"), "glucose-low"),
    ],
)
async def test_who_was_asked_for_a_second_measurement_is_not_forgotten_by_a_restart(
    tmp_path: Path, kind: DeviceKind, reading: Mapping[str, object], problem: str
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "device-1", kind)
        assert house.listener is not None
        async with Publisher("device-1", "127.0.0.1", house.listener.port) as device:
            await device.publish(reading)
        await house.tick()
        assert house.book.open_alerts() == []
    clock.advance(timedelta(minutes=31))
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        assert [alert.problem for alert in house.book.open_alerts()] == [problem]


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
        assert alert.because.en.startswith("Sensor glucose was below 3.0 mmol/L (54 mg/dL) from 2026-03-02 19:30 on")
        assert "low-event-2" not in alert.raising  # over as well
        assert house.ward.cursor == house.journal.tail()


def committed(house: House, device: str, start: datetime, values: list[float]) -> list[tuple[int, Reading]]:
    """Readings of a sensor, one each five minutes from `start` on, committed but not watched."""
    arrivals = []
    for number, value in enumerate(values):
        at = start + timedelta(minutes=5 * number)
        one = packet(device, at, value)
        arrivals.append(Arrival(packet=one, outcomes=judge(one, house.path.roster)))
    return house.journal.append(arrivals).new


async def test_what_was_committed_while_the_ward_was_busy_is_seen_at_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, free = HandClock(), asyncio.Event()
    done: list[int | str] = []
    looks: list[int] = []
    see = Ward.see

    async def busy(ward: Ward, entries: Sequence[tuple[int, Reading]]) -> None:
        done.extend(seq for seq, _ in entries)
        looks.append(len(entries))
        await free.wait()
        await see(ward, entries)

    async def errand() -> None:
        done.append("errand")

    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)

        async def commit(*minutes: int) -> None:
            for ago in minutes:
                settled = asyncio.Event()
                await house.path.deliver(packet("cgm-1", clock.now() - timedelta(minutes=ago), 100), settled.set)
                await settled.wait()

        monkeypatch.setattr(Ward, "see", busy)
        await commit(100)
        await until(lambda: bool(done))
        await commit(*range(95, 55, -5))
        going = asyncio.create_task(house.path.round(errand))
        await asyncio.sleep(0)
        await commit(*range(55, 10, -5))
        free.set()
        await going
        await house.path.errand(errand)
    assert done == [*range(1, 10), "errand", *range(10, 19), "errand"]
    assert len(looks) <= 6  # at 18 commits: the first, and some more where errands of the house come between


async def test_a_reading_that_leads_to_nothing_asks_nothing_of_the_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await send(house, "cgm-1", clock.now() - timedelta(minutes=5), 100)
        await house.tick()
        asked: list[str] = []

        def noting(name: str) -> Callable[..., Any]:
            work = getattr(house.book, name)

            def noted(*what: Any) -> Any:
                if what != ([HOUSE],):  # the duty, which looks after channels meanwhile
                    asked.append(name)
                return work(*what)

            return noted

        for name in ("standing", "record"):
            monkeypatch.setattr(house.book, name, noting(name))
        await send(house, "cgm-1", clock.now(), 101)
        await house.path.deliver(meter("meter-1", clock.now() - timedelta(minutes=40), 5.6), lambda: None)
        await house.path.errand(_nothing)
        assert house.journal.tail() == 3
        assert asked == []
        await house.path.deliver(meter("meter-1", clock.now(), 2.0), lambda: None)
        await house.path.errand(_nothing)
        assert asked == ["standing", "record"]


async def _nothing() -> None:
    """For who only waits for what comes before it."""


def meter(device: str, at: datetime, mmol_l: float) -> Packet:
    """A meter's reading, taken and sent at this moment."""
    reading = {"kind": "glucose", "value": mmol_l, "unit": "mmol/L", "time": at.isoformat()}
    data = json.dumps({"version": 1, "device": device, **reading}).encode()
    return Packet(link="listener", sender=device, channel="json", data=data, received_at=at)


async def test_of_two_changes_at_once_neither_is_lost(tmp_path: Path) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)

        def setting(rule: str, value: float) -> Callable[[Patient], Patient]:
            entry = {"value": value, "unit": "mg/dL", "author": "Dr Li"}
            return lambda anna: with_number(anna, rule, "limit", entry, NOW.date())

        await asyncio.gather(
            house.change_patient("anna", setting("low-event-1", 72)),
            house.change_patient("anna", setting("high-event-1", 200)),
        )
        anna = house.people.patient("anna")
        assert anna is not None
        given = house.limits(anna).limits.given
        assert {key.rule: value for key, value in given.items()} == {"low-event-1": 72, "high-event-1": 200}


def told(house: House) -> list[tuple[str, str]]:
    """Whom a notice is for, and its subject."""
    with house.book._engine.connect() as db:
        rows = db.execute(select(_notices.c.audience, _notices.c.subject_en).order_by(_notices.c.audience))
        return [(audience, subject) for audience, subject in rows]


@pytest.mark.parametrize(("mmol_l", "letters"), [(34.0, 0), (55.5, 0), (55.6, 1), (90.0, 1)])
async def test_a_glucose_beyond_what_most_meters_show_is_heard_by_the_patient_and_by_staff(
    tmp_path: Path, mmol_l: float, letters: int
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        for _ in range(2):  # a redelivery tells nothing new
            await house.path.deliver(meter("meter-1", clock.now(), mmol_l), lambda: None)
            await house.path.errand(_nothing, last=True)
        (alert,) = house.book.open_alerts()
        assert (alert.patient, alert.problem, alert.since) == ("anna", "glucose-high", clock.now())
        assert f"{mmol_l} mmol/L" in alert.because.en
        crisis = "Extremely high glucose on the meter"
        assert told(house) == [("patient", f"For you: {crisis}"), ("staff", f"Medium priority: {crisis}")]
        assert (house.journal.tail(), len(house.journal.letters())) == (1 - letters, letters)
        clock.advance(timedelta(minutes=20))
        await house.tick()
        await house.path.deliver(meter("meter-1", clock.now(), 8.0), lambda: None)
        await house.path.errand(_nothing, last=True)
        (alert,) = house.book.open_alerts()
        assert alert.condition_gone_at == clock.now()


async def test_a_test_solution_and_what_is_old_are_no_emergency(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        of_old = replace(meter("meter-1", clock.now() - timedelta(days=2), 90.0), received_at=clock.now())
        await house.path.deliver(of_old, lambda: None)
        await house.path.errand(_nothing, last=True)
        assert told(house) == []
        assert len(house.journal.letters()) == 1


async def test_an_emergency_that_comes_13_h_late_is_told_once_and_not_from_before_the_meter_was_given(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        before = clock.now() - timedelta(minutes=5)
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        taken = clock.now() + timedelta(minutes=5)
        clock.advance(timedelta(hours=13))
        for at, expected in (
            (before, []),
            (taken, [("patient", "For you: A dangerous value came too late"),
                     ("staff", "Low priority: A dangerous value came too late")]),
        ):  # fmt: skip
            for _ in range(2):  # a redelivery tells nothing new
                came = replace(meter("meter-1", at, 2.0), received_at=clock.now())
                await house.path.deliver(came, lambda: None)
                await house.path.errand(_nothing, last=True)
            assert told(house) == expected


async def test_of_readings_that_come_together_the_patient_is_told_the_worst(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-anna", DeviceKind.CGM)
        await send(house, "cgm-anna", clock.now(), *[100, 101] * 150)
        clock.advance(timedelta(minutes=45))
        await send(house, "cgm-anna", clock.now(), 110, 95, 80, 66, 50, 48, 45, 43, 40)
        assert notices_to_patients(house) == ["For you: Very low glucose"]


async def test_what_was_withheld_beside_worse_is_not_told_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    very_low = "For you: Very low glucose"
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-anna", DeviceKind.CGM)
        await send(house, "cgm-anna", clock.now(), *[100, 101] * 150)
        clock.advance(timedelta(minutes=45))
        await send(house, "cgm-anna", clock.now(), 110, 95, 80, 66, 50, 48, 45, 43, 42)
        assert notices_to_patients(house) == [very_low]
    async with real_house(tmp_path, clock) as house:
        for value in (43, 44):
            clock.advance(timedelta(minutes=5))
            await send(house, "cgm-anna", clock.now(), value)
        assert notices_to_patients(house) == [very_low]


async def test_an_emergency_of_a_meter_that_could_not_be_written_down_is_told_at_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        record, failed = house.book.record, []

        def fails_once(*step: Any, **named: Any) -> Any:
            if not failed:
                failed.append(step)
                raise ValueError("once")
            return record(*step, **named)

        monkeypatch.setattr(house.book, "record", fails_once)
        await house.path.deliver(replace(meter("meter-1", clock.now(), 1.9), received_at=clock.now()), lambda: None)
        await house.path.errand(_nothing, last=True)
        assert failed
        clock.advance(timedelta(seconds=15))
        await house.tick()
        assert sorted(audience for audience, _ in told(house)) == ["patient", "staff"]


TOO_LATE = [
    ("patient", "For you: A dangerous value came too late"),
    ("staff", "Low priority: A dangerous value came too late"),
]


async def test_what_waited_13_h_for_a_patient_is_told_once_it_has_one(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await house.path.deliver(meter("meter-1", clock.now(), 6.1), lambda: None)
        clock.advance(timedelta(hours=1))
        await house.path.deliver(meter("meter-1", clock.now(), 2.0), lambda: None)
        await house.path.errand(_nothing, last=True)
        clock.advance(timedelta(hours=13))
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await house.path.errand(_nothing, last=True)
        assert told(house) == TOO_LATE


async def test_an_emergency_that_was_committed_when_the_power_went_for_13_h_is_told(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        roster = house.path.roster
    one = meter("meter-1", clock.now(), 2.0)
    with closing(Journal(tmp_path / "data" / JOURNAL)) as journal:
        journal.append([Arrival(packet=one, outcomes=judge(one, roster))])
    clock.advance(timedelta(hours=13))
    for _ in range(2):
        async with real_house(tmp_path, clock) as house:
            await house.path.errand(_nothing, last=True)
            await house.tick()
            assert told(house) == TOO_LATE


async def test_a_late_emergency_that_could_not_be_written_down_is_told_at_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await house.tick()
        taken = clock.now()
        clock.advance(timedelta(hours=13))
        record, failed = house.book.record, []

        def fails_once(*step: Any, **named: Any) -> Any:
            if not failed:
                failed.append(step)
                raise ValueError("once")
            return record(*step, **named)

        monkeypatch.setattr(house.book, "record", fails_once)
        await house.path.deliver(replace(meter("meter-1", taken, 2.0), received_at=clock.now()), lambda: None)
        await house.path.errand(_nothing, last=True)
        assert failed
        clock.advance(timedelta(seconds=15))
        await house.tick()
        assert told(house) == TOO_LATE


@pytest.mark.parametrize("fails", [False, True])
async def test_a_sensors_low_that_had_passed_when_the_phone_was_back_is_told_to_staff_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, "cgm-1", clock.now(), *[100, 101] * 150)
        clock.advance(timedelta(hours=7))
        record, left = house.book.record, [fails]

        def fails_once(*step: Any, **named: Any) -> Any:
            if left and left.pop():
                raise ValueError("once")
            return record(*step, **named)

        monkeypatch.setattr(house.book, "record", fails_once)
        await send(house, "cgm-1", clock.now(), *[45] * 20, *[110, 111] * 30)
        clock.advance(timedelta(seconds=15))
        await house.tick()
        assert told(house) == [
            ("staff", "Low priority: A dangerous value came too late"),
            ("staff", "Condition over: A dangerous value came too late"),
        ]


async def limit(house: House, rule: str, parameter: str, mmol_l: float) -> None:
    own = {rule: {parameter: {"value": mmol_l, "unit": "mmol/L", "author": "Dr Li"}}}
    await house.change_patient("anna", lambda patient: replace(patient, limits=own))


async def measured(house: House, clock: HandClock, mmol_l: float) -> None:
    await house.path.deliver(meter("meter-1", clock.now(), mmol_l), lambda: None)
    await house.path.errand(_nothing, last=True)


async def test_a_changed_limit_judges_what_its_rule_looks_back_at_and_says_when_that_was_measured(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await measured(house, clock, 4.2)
        clock.advance(timedelta(hours=3))
        await limit(house, "meter-low", "limit", 4.4)
        await house.tick()
        assert told(house) == [("patient", "For you: Low glucose on the meter")]
        with house.book._engine.connect() as db:
            (body,) = db.scalars(select(_notices.c.body_en))
        assert "at 2026-03-02 20:00" in body


async def test_an_emergency_that_was_told_before_a_limit_was_changed_stays_one(tmp_path: Path) -> None:
    clock, very_low = HandClock(), "Very low glucose on the meter"
    both = [("patient", f"For you: {very_low}"), ("staff", f"High priority: {very_low}")]
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await measured(house, clock, 2.1)
        assert told(house) == both
        clock.advance(timedelta(seconds=15))
        await limit(house, "meter-very-low", "at-once", 1.7)
        await house.tick()
        clock.advance(timedelta(minutes=5))
        await house.tick()
        assert told(house) == both
        assert house.book.open_alerts()[0].condition_gone_at is None


async def press(house: House, clock: HandClock, systolic: int, diastolic: int = 90, **more: object) -> None:
    one = {**blood_pressure(Decimal(systolic), Decimal(diastolic), clock.now()), **more}
    data = json.dumps({"version": 1, "device": "cuff-1", "readings": [one]}).encode()
    packet = Packet(link="listener", sender="cuff-1", channel="json", data=data, received_at=clock.now())
    await house.path.deliver(packet, lambda: None)
    await house.path.errand(_nothing, last=True)


def severe_from(systolic: int) -> dict[str, dict[str, Any]]:
    return {"bp-severe": {"systolic": {"value": systolic, "unit": "mmHg", "author": "Dr Li"}}}


async def test_a_changed_limit_of_another_rule_loses_no_pending_emergency(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        await press(house, clock, 205, 125)
        clock.advance(timedelta(minutes=5))
        await limit(house, "high-event-1", "limit", 11.0)
        await house.tick()
        clock.advance(timedelta(minutes=1))
        await press(house, clock, 150, 95, flags=["body-movement"])
        clock.advance(timedelta(minutes=30))
        await house.tick()
        assert ("staff", "Medium priority: Severe blood pressure") in told(house)


async def test_a_limit_that_held_for_two_minutes_raises_nothing_afterwards(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        await press(house, clock, 165)
        for limits in (severe_from(160), {}):
            clock.advance(timedelta(minutes=2))
            await house.change_patient("anna", lambda patient, own=limits: replace(patient, limits=own))
            await house.tick()
        before = told(house)
        for _ in range(4):
            clock.advance(timedelta(minutes=20))
            await house.tick()
        assert told(house) == before
        assert [each for each in before if each[0] == "staff"] == []


async def test_what_raised_an_alert_does_not_end_it_by_another_limit(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF, limits=severe_from(160))
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        for systolic in (172, 170):
            await press(house, clock, systolic)
            clock.advance(timedelta(minutes=3))
        usual = severe_from(180)
        await house.change_patient("anna", lambda patient: replace(patient, limits=usual))
        await house.tick()
        clock.advance(timedelta(hours=14))
        await measured(house, clock, 6.1)
        await house.tick()
        over = ("staff", "Condition over: Severe blood pressure")
        assert over not in told(house)
        clock.advance(timedelta(hours=1))
        await press(house, clock, 140, 80)
        assert over in told(house)


async def test_what_is_measured_after_a_change_ends_what_was_found_before_it_for_good(tmp_path: Path) -> None:
    clock, by = HandClock(), {"unit": "mmHg", "author": "Dr Li"}

    async def pressed(house: House, systolic: int, diastolic: int = 90) -> None:
        one = blood_pressure(Decimal(systolic), Decimal(diastolic), clock.now())
        data = json.dumps({"version": 1, "device": "cuff-1", "readings": [one]}).encode()
        packet = Packet(link="listener", sender="cuff-1", channel="json", data=data, received_at=clock.now())
        await house.path.deliver(packet, lambda: None)
        await house.path.errand(_nothing, last=True)
        clock.advance(timedelta(minutes=2))

    async with real_house(tmp_path, clock) as house:
        strict = {"bp-severe": {"systolic": {"value": 160, **by}}}
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF, limits=strict)
        for _ in range(2):
            await pressed(house, 165)
        usual = {"bp-severe": {"systolic": {"value": 180, **by}}}
        await house.change_patient("anna", lambda patient: replace(patient, limits=usual))
        await house.tick()
        (alert,) = house.book.open_alerts()
        assert alert.condition_gone_at is None
        clock.advance(timedelta(minutes=1))
        for _ in range(2):
            await pressed(house, 120, 70)
        for _ in range(3):
            clock.advance(timedelta(minutes=20))
            await house.tick()
        staff = [subject for audience, subject in told(house) if audience == "staff"]
        assert staff == ["Medium priority: Severe blood pressure", "Condition over: Severe blood pressure"]


async def test_a_late_low_that_waits_for_more_is_told_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-anna", DeviceKind.CGM)
        await send(house, "cgm-anna", clock.now(), *[100, 101] * 150)
        taken = clock.now() + timedelta(hours=1)
        clock.advance(timedelta(hours=4))
        await send(house, "cgm-anna", taken, *[45] * 12)
        assert told(house) == []
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        clock.advance(timedelta(minutes=6))
        await house.tick()
        assert ("staff", "Low priority: A dangerous value came too late") in told(house)

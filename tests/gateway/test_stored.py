"""What the ward reads of a patient when a bed is made."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy.exc

from alerts import spot
from alerts.alert import Audience
from alerts.bed import Bed
from alerts.book import Book
from alerts.devices import Expected
from alerts.forecast import Forecast
from alerts.ladder import Plan
from alerts.rules import DEFAULTS
from alerts.scene import Scene
from alerts.sensor import built
from gateway.schema import open_database
from gateway.stored import StoredReadings
from ingest.journal import Arrival, Journal
from ingest.reading import Flag, Packet, Reading, TimeBasis
from ingest.vital import Unit, Vital, canonical
from tests.alerts.ward import START, ZONE, cgm, meter, minute
from tests.real_house import NOW


def three_days() -> list[Reading]:
    """Of a sensor that shows mmol/L, one each five minutes, and LO now and then."""
    found = []
    for number in range(864):
        at = NOW - timedelta(minutes=5 * (864 - number))
        # Restless at first, calm on the last day.
        value = round(8 + (5.5 if number < 564 else 1) * math.sin(number / 9), 1)
        low = value < 2.6
        found.append(
            Reading(
                patient="anna",
                device="cgm-1",
                vital=Vital.CGM,
                values=(None,) if low else canonical(Vital.CGM, (value,), Unit.MMOL_L),
                sent=(None,) if low else (value,),
                unit=Unit.MMOL_L,
                taken_at=at,
                time_basis=TimeBasis.DEVICE,
                received_at=at,
                device_time=at,
                flags=frozenset({Flag.BELOW_RANGE}) if low else frozenset(),
            )
        )
    return found


def known(forecast: Forecast) -> list[float]:
    """What a forecast knows of a patient."""
    state = forecast.state
    shares = [share for near in state.near for share in (near.near, near.below)]
    return [state.mean, state.spread, state.pace, state.noise, *shares]


def test_what_was_known_of_a_patient_is_known_when_the_bed_is_made_anew(tmp_path: Path) -> None:
    plan, readings = Plan(DEFAULTS), three_days()
    others = [replace(each, device="cgm-2", taken_at=each.taken_at + timedelta(minutes=1)) for each in readings[::3]]
    packet = Packet(link="listener", sender="x", channel="json", data=b"{}", received_at=NOW)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.append([Arrival(packet=packet, outcomes=(*readings, *others))])
        stored = StoredReadings(journal, "anna", NOW)
        recent, earlier = stored.sensor("cgm-1"), stored.earlier()["cgm-1"]
    live = built(plan, "cgm-1", UTC, readings)
    assert known(built(plan, "cgm-1", UTC, recent, earlier).forecast) == pytest.approx(known(live.forecast))
    assert built(plan, "cgm-1", UTC, recent).forecast.state.spread < 0.8 * live.forecast.state.spread


def test_staff_hear_of_a_very_low_also_of_a_meter_that_sends_every_second(tmp_path: Path) -> None:
    taken = tuple(meter(second / 60, 50) for second in range(31 * 60))
    packet = Packet(link="listener", sender="meter-1", channel="json", data=b"{}", received_at=START)
    now = taken[-1].received_at
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.append([Arrival(packet=packet, outcomes=taken)])
        stored = StoredReadings(journal, "p-1", now).spot()
    judged = spot.judge(Scene("p-1", DEFAULTS, now, ZONE), stored)
    assert [(each.audience, each.priority.name) for each in judged.findings if each.rule == "meter-very-low"] == [
        (Audience.PATIENT, "HIGH"),  # the answer of these five minutes: call the emergency number
        (Audience.STAFF, "HIGH"),
    ]


@pytest.mark.parametrize(
    ("ahead", "as_if_at"),
    [(timedelta(milliseconds=86), NOW), (timedelta(hours=3), NOW - timedelta(minutes=20))],
    ids=["it comes while the ward looks", "it came while the clock was ahead"],
)
def test_when_a_reading_came_that_is_from_the_future(tmp_path: Path, ahead: timedelta, as_if_at: datetime) -> None:
    taken = NOW - timedelta(minutes=20)
    late = replace(meter(0, 45), taken_at=taken, device_time=taken, received_at=NOW + ahead)
    packet = Packet(link="listener", sender="x", channel="json", data=b"{}", received_at=NOW + ahead)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.append([Arrival(packet=packet, outcomes=(late,))])
        (found,) = StoredReadings(journal, late.patient, NOW).spot()[Vital.GLUCOSE]
    assert found.received_at == as_if_at


def test_how_long_a_clock_was_wrong_is_known_from_the_journal(tmp_path: Path) -> None:
    wrong = {"time_basis": TimeBasis.CORRECTED, "clock_offset": timedelta(hours=-3)}
    taken = tuple(replace(meter(60 * hour, 110), **wrong) for hour in (8, 20, 32))  # 10:00 of the second day
    packet = Packet(link="listener", sender="meter-1", channel="json", data=b"{}", received_at=START)
    now, day = taken[-1].received_at, timedelta(days=1)
    worn = Expected(
        device="meter-1",
        vital=Vital.GLUCOSE,
        silence=day,
        staff_after=day,
        staff_after_low=day,
        since=START,
        not_before=START,
    )
    bed = Bed("p-1", plan=Plan(DEFAULTS), zone=ZONE, expected=(worn,))
    bed.start({}, {})
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.append([Arrival(packet=packet, outcomes=taken)])
        (found,) = bed.look(StoredReadings(journal, "p-1", now), now)
    assert (found.rule, found.audience) == ("clock-wrong", Audience.PATIENT)
    assert "is 3 h behind" in found.because.en


# What a sensor sent is judged in its place (one came late), or as a whole (all of it came together and is old).
@pytest.mark.parametrize(("order", "came"), [((0, 10, 5), 11.0), ((0, 5, 10), 31.0)])
def test_what_was_found_of_a_sensor_is_not_lost_where_the_book_is_locked(
    tmp_path: Path, order: tuple[int, ...], came: float
) -> None:
    now, day = minute(came), timedelta(days=1)
    calm = [cgm(5 * number, 100) for number in range(-12, 0)]
    low = [cgm(at, 50, arrives=now) for at in order]
    dangerous = meter(came - 13 * 60, 35, arrives=now)  # of it the book is asked whether it was told
    worn = Expected(
        device="meter-1",
        vital=Vital.GLUCOSE,
        silence=day,
        staff_after=day,
        staff_after_low=day,
        since=now,
        not_before=now,
        worn_since=now - day,
    )
    packet = Packet(link="listener", sender="x", channel="json", data=b"{}", received_at=now)
    file = tmp_path / "hub.db"
    engine = open_database(f"sqlite:///{file}?timeout=0")
    engine.dispose()
    bed = Bed("p-1", plan=Plan(DEFAULTS), zone=ZONE, expected=(worn,))
    bed.start({}, {})
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.append([Arrival(packet=packet, outcomes=(*calm, *low, dangerous))])
        stored = StoredReadings(journal, "p-1", now, Book(engine, routes={}))
        for each in (*calm, *low, dangerous):
            bed.take(each, each.received_at)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode=EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(sqlalchemy.exc.OperationalError, match="database is locked"):
                bed.look(stored, now)
        found = {each.rule for each in bed.look(stored, now)}
    engine.dispose()
    assert {"low-event-2", "late-emergency"} <= found

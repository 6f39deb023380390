"""The register: patients, devices, and who wears what from when to when."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from sqlalchemy import Engine, event

from gateway.people import (
    AlreadyKnown,
    Correction,
    Device,
    DeviceKind,
    DeviceLink,
    MeasuringPlan,
    Patient,
    People,
    UnknownPerson,
)
from gateway.schema import open_database
from ingest.admit import Wearing
from ingest.vital import Unit, Vital

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ANNA = Patient(id="anna", name="Anna Berg", zone="Europe/Berlin", limits={"no-data": {}})
BO = Patient(id="bo", name="王波", zone="Asia/Shanghai", language="zh_CN", glucose_unit=Unit.MG_DL)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def people(engine: Engine) -> People:
    register = People(engine)
    for patient in (ANNA, BO):
        register.add_patient(patient, now=NOW)
    for device in ("cgm-1", "cgm-2", "meter-1"):
        kind = DeviceKind.METER if device.startswith("meter") else DeviceKind.CGM
        register.add_device(Device(id=device, kind=kind, link=DeviceLink.MQTT), now=NOW)
    return register


def test_patients_come_back_as_they_were_also_after_reopening(people: People, engine: Engine) -> None:
    assert People(engine).patients() == [ANNA, BO]
    assert people.patient("bo") == BO
    assert people.patient("nobody") is None


def test_pseudonyms_differ_and_say_nothing() -> None:
    assert ANNA.pseudonym != BO.pseudonym
    assert "anna" not in ANNA.pseudonym


def test_a_change_keeps_the_pseudonym(people: People) -> None:
    people.change_patient(Patient(id="anna", name="Anna Berg-Li", zone="Asia/Shanghai"), now=NOW)
    changed = people.patient("anna")
    assert changed is not None
    assert (changed.name, changed.zone, changed.pseudonym) == ("Anna Berg-Li", "Asia/Shanghai", ANNA.pseudonym)


def test_what_is_known_is_not_added_twice(people: People) -> None:
    with pytest.raises(AlreadyKnown, match="anna"):
        people.add_patient(ANNA, now=NOW)
    with pytest.raises(AlreadyKnown, match="cgm-1"):
        people.add_device(Device(id="cgm-1", kind=DeviceKind.CGM, link=DeviceLink.BLE), now=NOW)


def test_an_unknown_zone_is_refused(people: People) -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        people.add_patient(Patient(id="c", name="C", zone="Mars/One"), now=NOW)


def test_the_first_wearing_begins_with_the_first_record(people: People) -> None:
    wearing = people.assign("cgm-1", "anna", since=None, now=NOW)
    assert wearing.since is None
    at = people.roster().at("cgm-1", NOW - timedelta(days=300))
    assert at is not None
    assert (at.patient, at.zone, at.assigned_at) == ("anna", ZoneInfo("Europe/Berlin"), NOW)


def test_a_device_is_handed_over_with_its_history_intact(people: People) -> None:
    people.assign("cgm-1", "anna", since=None, now=NOW)
    with pytest.raises(AlreadyKnown, match="anna wears device cgm-1"):
        people.assign("cgm-1", "bo", since=None, now=NOW)
    people.release("cgm-1", now=NOW + timedelta(days=1))
    people.assign("cgm-1", "bo", since=None, now=NOW + timedelta(days=2))
    roster = people.roster()
    wearers = [roster.at("cgm-1", NOW + timedelta(days=days)) for days in (0.5, 1.5, 2.5)]
    assert [wearer and wearer.patient for wearer in wearers] == ["anna", None, "bo"]


def test_a_wearing_cannot_begin_inside_an_earlier_one(people: People) -> None:
    people.assign("cgm-1", "anna", since=None, now=NOW)
    people.release("cgm-1", now=NOW)
    with pytest.raises(AlreadyKnown, match="at that time"):
        people.assign("cgm-1", "bo", since=NOW - timedelta(days=1), now=NOW)


def test_slots_number_the_devices_of_a_kind(people: People) -> None:
    assert people.assign("cgm-1", "anna", since=None, now=NOW).slot == 0
    assert people.assign("meter-1", "anna", since=None, now=NOW).slot == 0
    assert people.assign("cgm-2", "anna", since=None, now=NOW).slot == 1
    people.release("cgm-1", now=NOW)
    people.add_device(Device(id="cgm-3", kind=DeviceKind.CGM, link=DeviceLink.MQTT), now=NOW)
    assert people.assign("cgm-3", "anna", since=None, now=NOW).slot == 0


def test_the_slot_of_a_meter_is_never_given_to_another(people: People) -> None:
    people.assign("meter-1", "anna", since=None, now=NOW)
    people.release("meter-1", now=NOW)
    people.add_device(Device(id="meter-2", kind=DeviceKind.METER, link=DeviceLink.MQTT), now=NOW)
    assert people.assign("meter-2", "anna", since=None, now=NOW).slot == 1
    assert people.assign("meter-1", "anna", since=NOW, now=NOW).slot == 0


def test_unknown_people_and_devices_are_named(people: People) -> None:
    with pytest.raises(UnknownPerson, match="no device has the id cgm-9"):
        people.assign("cgm-9", "anna", since=None, now=NOW)
    with pytest.raises(UnknownPerson, match="no patient has the id carl"):
        people.assign("cgm-1", "carl", since=None, now=NOW)
    with pytest.raises(UnknownPerson, match="nobody wears device cgm-1"):
        people.release("cgm-1", now=NOW)
    with pytest.raises(UnknownPerson, match="zed"):
        people.change_patient(Patient(id="zed", name="Z", zone="UTC"), now=NOW)


def test_a_retired_device_keeps_its_history_and_comes_back_by_being_worn(people: People) -> None:
    people.assign("cgm-1", "anna", since=None, now=NOW)
    retired = people.retire("cgm-1", now=NOW + timedelta(days=1))
    assert retired.retired_at == NOW + timedelta(days=1)
    assert people.device("cgm-1") == retired
    assert people.retire("cgm-1", now=NOW + timedelta(days=2)) == retired
    (wearing,) = people.wearings(device="cgm-1")
    assert (wearing.patient, wearing.until) == ("anna", NOW + timedelta(days=1))
    people.assign("cgm-1", "bo", since=None, now=NOW + timedelta(days=3))
    back = people.device("cgm-1")
    assert back is not None
    assert back.retired_at is None
    assert [wearing.patient for wearing in people.wearings(device="cgm-1")] == ["anna", "bo"]
    with pytest.raises(UnknownPerson, match="no device has the id cgm-9"):
        people.retire("cgm-9", now=NOW)


# As Homeward 0.1 made it, before devices could be retired.
FORMER_DATABASE = """
CREATE TABLE devices (id VARCHAR(64) NOT NULL, kind VARCHAR(16) NOT NULL, link VARCHAR(8) NOT NULL,
    model VARCHAR(200) NOT NULL, PRIMARY KEY (id));
CREATE TABLE patients (id VARCHAR(64) NOT NULL, name VARCHAR(200) NOT NULL, zone VARCHAR(64) NOT NULL,
    language VARCHAR(8) NOT NULL, glucose_unit VARCHAR(8) NOT NULL, pseudonym VARCHAR(32) NOT NULL,
    limits JSON NOT NULL, PRIMARY KEY (id), UNIQUE (pseudonym));
CREATE TABLE wearings (id INTEGER NOT NULL, device VARCHAR(64) NOT NULL, patient VARCHAR(64) NOT NULL,
    since_us BIGINT, until_us BIGINT, slot INTEGER NOT NULL, assigned_us BIGINT NOT NULL, PRIMARY KEY (id),
    FOREIGN KEY(device) REFERENCES devices (id), FOREIGN KEY(patient) REFERENCES patients (id));
INSERT INTO devices VALUES ('C0:26:DA:00:12:34', 'meter', 'ble', 'Contour');
INSERT INTO patients VALUES ('anna', 'Anna Berg', 'Europe/Berlin', 'en', 'mmol/L', 'f00d', '{}');
INSERT INTO wearings VALUES (1, 'C0:26:DA:00:12:34', 'anna', NULL, NULL, 0, 1772438400000000);
"""


def test_a_database_of_the_version_before_is_used_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "hub.db")) as db:
        db.executescript(FORMER_DATABASE)
    people = People(open_database(f"sqlite:///{tmp_path / 'hub.db'}"))
    known = Device(id="C0:26:DA:00:12:34", kind=DeviceKind.METER, link=DeviceLink.BLE, model="Contour")
    assert people.devices() == [known]
    assert people.retire(known.id, now=NOW).retired_at == NOW
    assert [wearing.until for wearing in people.wearings()] == [NOW]


def test_the_start_and_the_wearer_of_a_wearing_are_corrected_and_by_whom(people: People) -> None:
    at = [NOW + timedelta(days=day) for day in range(6)]
    people.assign("cgm-1", "anna", since=at[0], now=at[0])
    people.release("cgm-1", now=at[1])
    second = people.assign("cgm-1", "anna", since=None, now=at[3])
    assert people.wearings("cgm-1")[1].number == second.number
    earlier = people.correct(replace(second, since=at[2]), by="Wu", note="typed late", now=at[4])
    assert people.wearings("cgm-1")[1] == earlier
    assert (earlier.since, earlier.until, earlier.assigned_at) == (at[2], None, at[3])
    others = people.correct(replace(earlier, patient="bo"), by="Li", note="", now=at[5])
    assert people.wearings("cgm-1")[1] == others
    assert (others.patient, others.zone.key) == ("bo", "Asia/Shanghai")
    assert people.corrections("cgm-1") == [
        Correction(
            wearing=second.number, at=at[4], by="Wu", note="typed late",
            patient_before="anna", since_before=at[3], patient="anna", since=at[2],
        ),
        Correction(
            wearing=second.number, at=at[5], by="Li", note="",
            patient_before="anna", since_before=at[2], patient="bo", since=at[2],
        ),
    ]  # fmt: skip
    assert people.corrections("cgm-2") == []


def test_a_wearing_is_not_corrected_into_another_one_or_beyond_its_end(people: People) -> None:
    first = people.assign("cgm-1", "anna", since=NOW, now=NOW)
    people.release("cgm-1", now=NOW + timedelta(days=1))
    second = people.assign("cgm-1", "bo", since=None, now=NOW + timedelta(days=1))
    other = people.assign("cgm-2", "bo", since=None, now=NOW)

    def correct(wanted: Wearing) -> None:
        people.correct(wanted, by="Wu", note="", now=NOW)

    for since in (NOW + timedelta(hours=23), None):
        with pytest.raises(
            AlreadyKnown, match=r"anna wears device cgm-1 at that time, until 2026-03-03 09:00 UTC\+1"
        ):
            correct(replace(second, since=since))
    with pytest.raises(AlreadyKnown, match=r"over at 2026-03-03 09:00 UTC\+1"):
        correct(replace(first, since=NOW + timedelta(days=1)))
    with pytest.raises(UnknownPerson, match="device cgm-1 has no wearing"):
        correct(replace(other, device="cgm-1"))
    with pytest.raises(UnknownPerson, match="no patient has the id carl"):
        correct(replace(second, patient="carl"))
    correct(replace(first, since=None))
    correct(replace(second, since=NOW + timedelta(days=1)))
    assert [w.since for w in people.wearings("cgm-1")] == [None, NOW + timedelta(days=1)]
    assert len(people.corrections("cgm-1")) == 2


def at_once(
    people: People,
    database_url: str,
    table: str,
    first: Callable[[People], object],
    second: Callable[[People], object],
) -> list[object]:
    """Two hubs: while the first one is about to write, the second one begins. What each gave or raised."""
    other = open_database(database_url)
    with ThreadPoolExecutor(max_workers=1) as thread:
        begun: list[Future[object]] = []

        def begin(_db: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith(f"INSERT INTO {table}") and not begun:
                begun.append(thread.submit(second, People(other)))
                wait(begun, timeout=0.5)  # it is done by now, unless it waits for the first one

        event.listen(people._engine, "before_cursor_execute", begin)
        outcomes = []
        for call in (lambda: first(people), lambda: begun[0].result()):
            try:
                outcomes.append(call())
            except AlreadyKnown as error:
                outcomes.append(error)
    other.dispose()
    return outcomes


def test_two_hubs_never_give_one_device_to_two_patients(people: People, database_url: str) -> None:
    worn, refused = at_once(
        people,
        database_url,
        "wearings",
        lambda one: one.assign("cgm-1", "anna", since=NOW, now=NOW),
        lambda other: other.assign("cgm-1", "bo", since=NOW, now=NOW),
    )
    assert isinstance(worn, Wearing)
    assert isinstance(refused, AlreadyKnown)
    assert people.wearings() == [worn]


def test_two_hubs_never_give_two_sensors_one_slot(people: People, database_url: str) -> None:
    both = at_once(
        people,
        database_url,
        "wearings",
        lambda one: one.assign("cgm-1", "anna", since=NOW, now=NOW),
        lambda other: other.assign("cgm-2", "anna", since=NOW, now=NOW),
    )
    assert people.wearings() == both
    assert [wearing.slot for wearing in people.wearings()] == [0, 1]


def test_of_two_plans_that_two_hubs_set_at_once_one_stands(people: People, database_url: str) -> None:
    plans = [
        MeasuringPlan(
            vital=Vital.GLUCOSE, times=times, days=7, first=NOW.date(), last=None, author="Dr Li", entered_at=NOW
        )
        for times in (2, 4)
    ]
    at_once(
        people,
        database_url,
        "plans",
        lambda one: one.set_plan("anna", Vital.GLUCOSE, plans[0], now=NOW),
        lambda other: other.set_plan("anna", Vital.GLUCOSE, plans[1], now=NOW),
    )
    written = people.plans(["anna"])["anna"]
    assert [(plan.times, plan.ended_at) for plan in written] == [(2, NOW), (4, None)]

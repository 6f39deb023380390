"""From real bytes to an alert: each way in, compared reading by reading with what the device meant."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from sqlalchemy import event

from alerts.alert import Act, ActKind, IllegalAct, Outcome, Priority
from gateway.cli import main
from gateway.house import House, HouseError, Radio
from gateway.people import AlreadyKnown, Device, DeviceKind, DeviceLink, Patient
from ingest.journal import Appended, Arrival, Letter, LetterState
from ingest.reading import Flag, Packet, Reading, TimeBasis
from ingest.vital import Unit, Vital
from simulators import publisher
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.bodies import replay_glucose, synthetic_pressure
from simulators.cgm import CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseContext, GlucoseRecord, PressureRecord
from simulators.gatt_server import DeviceClock
from simulators.meter import GlucoseMeter
from simulators.publisher import Publisher, RefusedError, blood_pressure, glucose, ketone
from tests.accounts import assert_all_accounted_for, assert_balanced
from tests.influx_facade import Bucket
from tests.peers import mosquitto_broker
from tests.real_house import (
    AT_ONCE,
    NOW,
    HandClock,
    all_sent,
    enrol,
    real_house,
    same_in_both_stores,
    stored,
    until,
)

_IMPATIENT = "PRAGMA busy_timeout=50"
SHANGHAI = ZoneInfo("Asia/Shanghai")
METER, CGM, CUFF = "C4:00:00:00:00:01", "C4:00:00:00:00:02", "C4:00:00:00:00:03"
TIMINGS = replace(Radio().timings, first_indication=2.0, next_indication=0.5, rest=0.1, retry=0.1, roster=0.1)


def local(moment: datetime) -> datetime:
    return moment.astimezone(SHANGHAI).replace(tzinfo=None)


def influxdb(bucket: Bucket) -> dict[str, str]:
    settings = bucket.settings
    return {"url": settings.url, "token": settings.token, "org": settings.org, "bucket": settings.bucket}


def low_trace() -> list[tuple[datetime, Decimal]]:
    """Two hours of a real trace that falls below 54 mg/dL, up to now."""
    trace = list(islice(replay_glucose("cgm_very_low"), 12))
    return [(NOW - timedelta(minutes=round(trace[-1][0] - minute)), value) for minute, value in trace]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def air() -> AsyncIterator[Air]:
    async with Air() as air:
        yield air


@pytest.fixture
async def radio(air: Air) -> Radio:
    central = await Central.open(air)
    return Radio(scanner_kwargs=central.scanner_kwargs, client_kwargs=central.client_kwargs, timings=TIMINGS)


# Bluetooth ----------------------------------------------------------------------------------------------------------


async def _meter(air: Air, clock: DeviceClock) -> GlucoseMeter:
    meter = GlucoseMeter(await air.device("meter", METER), clock)
    for number in range(1, 41):
        meter.add(
            GlucoseRecord(
                sequence=number,
                base_time=clock.read().replace(microsecond=0) - timedelta(hours=41 - number),
                concentration=Decimal(90 + number).scaleb(-5) if number % 2 else Decimal(50 + number).scaleb(-4),
                unit="kg/L" if number % 2 else "mol/L",
                time_offset_min=-30 if number % 5 == 0 else None,
                context=GlucoseContext(meal=2) if number % 4 == 0 else None,
            )
        )
    await meter.start()
    return meter


async def _sensor(air: Air, clock: DeviceClock) -> CgmSensor:
    start = local(NOW - timedelta(hours=2))
    sensor = CgmSensor(await air.device("cgm", CGM), clock, session_start=start, zone_quarters=32, dst=0, crc=True)
    for moment, value in low_trace():
        offset = (moment - (NOW - timedelta(hours=2))) // timedelta(minutes=1)
        sensor.add(CgmRecord(offset_min=offset, glucose=value))
    await sensor.start()
    return sensor


async def _cuff(air: Air, clock: DeviceClock) -> BloodPressureCuff:
    cuff = BloodPressureCuff(await air.device("cuff", CUFF), clock, hangs_up=True)
    nan = Decimal("NaN")
    for minutes, kpa in ((20, False), (10, True)):
        cuff.add(
            PressureRecord(
                systolic=Decimal("18.9") if kpa else Decimal(138),
                diastolic=Decimal("11.0") if kpa else Decimal(88),
                mean=nan if kpa else Decimal(105),
                unit="kPa" if kpa else "mmHg",
                time=local(NOW) - timedelta(minutes=minutes),
                pulse=Decimal(61),
                status=0x0004 if kpa else None,
            )
        )
    await cuff.start()
    return cuff


async def test_bluetooth_devices_to_journal_influxdb_and_alert(
    tmp_path: Path, clock: HandClock, air: Air, radio: Radio, influx_bucket: Bucket
) -> None:
    watch = DeviceClock(lambda: local(clock.now()))
    slow = DeviceClock(lambda: local(clock.now()), -timedelta(minutes=7))
    meter, sensor, cuff = await _meter(air, slow), await _sensor(air, watch), await _cuff(air, watch)
    async with real_house(tmp_path, clock, radio=radio, influxdb=influxdb(influx_bucket)) as house:
        await enrol(house, "anna", METER, DeviceKind.METER, DeviceLink.BLE)
        await enrol(house, "bo", CGM, DeviceKind.CGM, DeviceLink.BLE, limits=AT_ONCE)
        await enrol(house, "chen", CUFF, DeviceKind.CUFF, DeviceLink.BLE)
        readings = await stored(house, 40 + 12 + 2)

        by_device = {device: [r for r in readings if r.device == device] for device in (METER, CGM, CUFF)}
        _compare_meter(meter, by_device[METER])
        _compare_sensor(sensor, by_device[CGM])
        _compare_cuff(cuff, by_device[CUFF])

        await all_sent(house)
        assert await same_in_both_stores(house, "anna", Vital.GLUCOSE) == 40
        assert await same_in_both_stores(house, "bo", Vital.CGM) == 12
        assert await same_in_both_stores(house, "chen", Vital.BLOOD_PRESSURE) == 2

        await until(lambda: bool(house.book.alerts(patient="bo")))
        (alert,) = house.book.alerts(patient="bo")
        assert (alert.problem, alert.priority) == ("glucose-low", Priority.HIGH)  # LO for 15 min
        assert all(key.startswith("cgm_glucose/") for key in alert.evidence)

        # A live value of the sensor, and only what is new of the meter.
        clock.advance(timedelta(minutes=5))
        await sensor.measure(Decimal(58))
        # A record that is added while the meter is read makes its numbers doubtful, and all are read once more.
        await until(lambda: meter.connection is None)
        meter.add(GlucoseRecord(sequence=41, base_time=slow.read(), concentration=Decimal("0.00101")))
        latest = (await stored(house, 56))[-2:]
        assert {(r.device, r.values[0]) for r in latest} == {(CGM, 58.0), (METER, 101.0)}
        assert house.journal.counts().get("duplicate", 0) == 0
        assert house.journal.letters() == []


def _compare_meter(meter: GlucoseMeter, readings: list[Reading]) -> None:
    assert [r.sequence for r in readings] == list(range(1, 41))
    for record, reading in zip(meter.records, readings, strict=True):
        assert record.concentration is not None
        assert (reading.vital, reading.patient) == (Vital.GLUCOSE, "anna")
        assert reading.sent == (float(record.concentration),)
        assert reading.unit == Unit(record.unit)
        assert isinstance(record.base_time, datetime)
        shown = record.base_time + timedelta(minutes=record.time_offset_min or 0)
        assert reading.device_time == shown
        # Its clock is seven minutes slow: read before the records, and taken off.
        assert reading.time_basis is TimeBasis.CORRECTED
        assert reading.clock_offset is not None
        assert abs(reading.clock_offset + timedelta(minutes=7)) < timedelta(seconds=1)
        assert reading.taken_at == (shown.replace(tzinfo=SHANGHAI) - reading.clock_offset).astimezone(UTC)
        assert ("meal" in reading.context) is (record.context is not None)


def _compare_sensor(sensor: CgmSensor, readings: list[Reading]) -> None:
    assert [r.taken_at for r in readings] == [moment for moment, _ in low_trace()]
    for record, reading in zip(sensor.records, readings, strict=True):
        assert (reading.vital, reading.patient, reading.unit) == (Vital.CGM, "bo", Unit.MG_DL)
        assert reading.sequence == record.offset_min
        assert reading.time_basis is TimeBasis.DEVICE
        if record.glucose.is_infinite():
            assert (reading.sent, reading.flags) == ((None,), {Flag.BELOW_RANGE})
        else:
            assert reading.sent == (float(record.glucose),)


def _compare_cuff(cuff: BloodPressureCuff, readings: list[Reading]) -> None:
    plain, kpa = readings
    assert (plain.sent, plain.unit) == ((138.0, 88.0, 105.0, 61.0), Unit.MMHG)
    assert (kpa.sent, kpa.unit, kpa.flags) == ((18.9, 11.0, None, 61.0), Unit.KPA, {Flag.IRREGULAR_PULSE})
    assert kpa.values == (141.761718, 82.50682, None, 61.0)
    assert [r.device_time for r in readings] == [record.time for record in cuff.records]


# MQTT ---------------------------------------------------------------------------------------------------------------


def mqtt_messages() -> list[tuple[str, publisher.Reading]]:
    """What three devices say: a sensor's real low, a meter in mmol/L with HI, a cuff in kPa."""
    said = [
        ("cgm-1", glucose(value, moment.astimezone(SHANGHAI), kind="cgm_glucose", sequence=n))
        for n, (moment, value) in enumerate(low_trace())
    ]
    mmol = [Decimal("5.6"), Decimal("3.9"), Decimal("Infinity"), Decimal("11.1")]
    for hours, value in enumerate(mmol):
        at = NOW - timedelta(hours=hours, microseconds=hours)
        said.append(("meter-1", glucose(value, at, kind="glucose", unit="mmol/L", context={"meal": "fasting"})))
    for n, (minute, taken) in enumerate(islice(synthetic_pressure(3), 4)):
        at = NOW - timedelta(days=3) + timedelta(minutes=minute)
        said.append(("cuff-1", blood_pressure(taken.systolic, taken.diastolic, at, pulse=taken.pulse, sequence=n)))
    said.append(
        ("cuff-1", blood_pressure(Decimal("18.9"), Decimal("11.0"), NOW, unit="kPa", flags=["irregular-pulse"]))
    )
    return said


def meant(device: str, message: publisher.Reading) -> tuple[object, ...]:
    """What the message means, written apart from the decoder."""
    if message["kind"] == "blood_pressure":
        sent = tuple(message.get(name) for name in ("systolic", "diastolic", "mean", "pulse"))
    else:
        sent = (None,) if message["value"] in {"HI", "LO"} else (message["value"],)
    flags = {"HI": {"above-range"}, "LO": {"below-range"}}.get(str(message.get("value")), set())
    return (
        device,
        message["kind"],
        sent,
        message["unit"],
        datetime.fromisoformat(str(message["time"])),
        message.get("sequence"),
        frozenset(flags | set(message["flags"])),  # type: ignore[call-overload]
        tuple(message["context"].items()),  # type: ignore[attr-defined]
    )


def believed(reading: Reading) -> tuple[object, ...]:
    assert reading.taken_at == reading.device_time
    assert reading.time_basis is TimeBasis.DEVICE
    return (
        reading.device,
        reading.vital.value,
        reading.sent,
        reading.unit.value,
        reading.taken_at,
        reading.sequence,
        frozenset(flag.value for flag in reading.flags),
        tuple(reading.context.items()),
    )


async def publish_and_compare(house: House, port: int, protocol: MQTTProtocolVersion) -> None:
    """Singles and one batch, from three devices, each compared with what was meant; and a redelivery of it all."""
    for device, kind in (("cgm-1", DeviceKind.CGM), ("meter-1", DeviceKind.METER), ("cuff-1", DeviceKind.CUFF)):
        await enrol(house, f"wearer of {device}".replace(" ", "-"), device, kind, limits=AT_ONCE)
    messages = mqtt_messages()
    for _ in ("first", "again"):
        for device in ("cgm-1", "meter-1", "cuff-1"):
            own = [message for sender, message in messages if sender == device]
            async with Publisher(device, "127.0.0.1", port, protocol=protocol) as sender:
                await sender.publish(*own[:3])
                for message in own[3:]:
                    await sender.publish(message)
    readings = await stored(house, len(messages))
    assert Counter(map(believed, readings)) == Counter(meant(*message) for message in messages)
    await until(lambda: house.journal.counts().get("duplicate", 0) == len(messages))
    await until(lambda: bool(house.book.alerts(patient="wearer-of-cgm-1")))


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
async def test_the_listener_to_journal_influxdb_and_alert(
    tmp_path: Path, clock: HandClock, influx_bucket: Bucket, protocol: MQTTProtocolVersion
) -> None:
    async with real_house(tmp_path, clock, influxdb=influxdb(influx_bucket)) as house:
        assert house.listener is not None
        await publish_and_compare(house, house.listener.port, protocol)
        await all_sent(house)
        assert await same_in_both_stores(house, "wearer-of-cgm-1", Vital.CGM) == 12
        assert await same_in_both_stores(house, "wearer-of-meter-1", Vital.GLUCOSE) == 4
        assert await same_in_both_stores(house, "wearer-of-cuff-1", Vital.BLOOD_PRESSURE) == 5


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_mosquitto_to_journal_influxdb_and_alert(
    tmp_path: Path, clock: HandClock, influx_bucket: Bucket, mosquitto: str, protocol: str
) -> None:
    with mosquitto_broker(mosquitto, tmp_path) as broker:
        way_in = {"host": "127.0.0.1", "port": broker.port, "version": protocol}
        async with real_house(tmp_path, clock, broker=way_in, influxdb=influxdb(influx_bucket)) as house:
            link = house.broker
            assert link is not None
            await until(lambda: link.trouble is None)
            await publish_and_compare(house, broker.port, MQTTProtocolVersion.MQTTv5)
            await all_sent(house)
            assert await same_in_both_stores(house, "wearer-of-cgm-1", Vital.CGM) == 12


# What goes wrong ----------------------------------------------------------------------------------------------------


def _payload(**changes: object) -> bytes:
    fine = {"version": 1, "device": "d-1", "kind": "glucose", "value": 5.6, "unit": "mmol/L"}
    return json.dumps({**fine, "time": "2026-03-02T12:00:00Z", **changes}).encode()


HOSTILE = [
    b"",
    b"{",
    b"\xff\xfe not text",
    b"null",
    _payload(version=2),
    _payload(unit="mmHg"),
    _payload(time="2026-03-02 12:00"),
    _payload(device="d-2"),
    _payload(value=float("nan")),
    _payload(value=99),
    _payload(context={"\ud800": "\ud800"}),
    b"[" * 100_000,
    b"x" * 300_000,
]


async def test_nothing_hostile_stops_the_gateway_and_all_of_it_is_kept_and_listed(
    tmp_path: Path, clock: HandClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "d-1", DeviceKind.METER)
        assert house.listener is not None
        async with Publisher("d-1", "127.0.0.1", house.listener.port) as device:
            for payload in HOSTILE:
                # What breaks a rule of the listener itself is refused to the device's face, and kept all the same.
                with suppress(RefusedError):
                    await device.publish_bytes(payload)
            for topic in ("homeward/v1/../readings", "homeward/v1/d 1/readings", "a/b", "homeward/v1/d-1/readings/x"):
                device.topic = topic
                with suppress(RefusedError):
                    await device.publish_bytes(_payload())
            device.topic = "homeward/v1/d-1/readings"
            await device.publish_bytes(_payload(time="2026-03-02T11:00:00+08:00"))
        async with Publisher("unheard-of", "127.0.0.1", house.listener.port) as stranger:
            await stranger.publish(glucose(Decimal(99), NOW, kind="glucose"))
        (reading,) = await stored(house, 1)
        assert reading.taken_at == datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
        letters = house.journal.letters()
        assert len(letters) == len(HOSTILE) + 4 + 1
        assert all(letter.because for letter in letters)
        counts = house.journal.counts()
        assert counts["undecodable"] == len(HOSTILE) - 1 + 4
        assert (counts["refused.impossible"], counts["refused.unassigned"]) == (1, 1)
        assert house.health()["parts"]["journal"]["status"] == "ok"
        assert_balanced(house)
    assert main(["letters", "--data", str(tmp_path / "data")]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(letters)
    assert "unassigned: device unheard-of is not assigned to a patient" in listed[0]


async def test_a_reading_of_an_unknown_device_waits_and_is_admitted_with_its_own_time(
    tmp_path: Path, clock: HandClock
) -> None:
    async with real_house(tmp_path, clock) as house:
        assert house.listener is not None
        async with Publisher("meter-9", "127.0.0.1", house.listener.port) as device:
            await device.publish(glucose(Decimal(45), NOW - timedelta(hours=3), kind="glucose", sequence=1))
            await device.publish(glucose(Decimal(37), NOW, kind="glucose", sequence=2))
        assert len(house.journal.letters()) == 2
        clock.advance(timedelta(minutes=30))
        await enrol(house, "anna", "meter-9", DeviceKind.METER)
        readings = await stored(house, 2)
        assert [(r.patient, r.taken_at) for r in readings] == [("anna", NOW - timedelta(hours=3)), ("anna", NOW)]
        assert house.journal.letters() == []
        assert len(house.journal.letters(LetterState.ADMITTED)) == 2
        (alert,) = house.book.open_alerts()
        assert alert.problem == "glucose-low"
        with pytest.raises(AlreadyKnown, match="unpair it first"):
            await house.pair("meter-9", "anna")
        await house.unpair("meter-9")
        async with Publisher("meter-9", "127.0.0.1", house.listener.port) as device:
            await device.publish(glucose(Decimal(99), clock.now(), kind="glucose", sequence=3))
        (letter,) = house.journal.letters()
        assert "nobody wore device meter-9" in letter.because


# Stop, start, crash -------------------------------------------------------------------------------------------------


async def low(house: House, device: str = "cgm-1") -> None:
    assert house.listener is not None
    async with Publisher(device, "127.0.0.1", house.listener.port) as sender:
        for moment, value in low_trace():
            await sender.publish(glucose(value, moment, kind="cgm_glucose"))


async def test_an_acknowledgement_survives_a_restart_and_the_episode_goes_on(
    tmp_path: Path, clock: HandClock
) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        await low(house)
        await until(lambda: bool(house.book.open_alerts()))
        (opened,) = house.book.open_alerts()
        act = Act(kind=ActKind.ACKNOWLEDGE, alert=opened.id, by="Dr. Li", at=clock.now(), note="calling her")
        await house.act(act)
    clock.advance(timedelta(minutes=3))
    async with real_house(tmp_path, clock) as house:
        (alert,) = house.book.open_alerts()
        assert (alert.id, alert.acknowledged_by, alert.acknowledged_note) == (opened.id, "Dr. Li", "calling her")
        with pytest.raises(IllegalAct, match=r"Dr\. Li"):
            await house.act(act)
        await low(house)  # the sensor sends everything again: the same episode, no second alert
        assert house.journal.counts()["duplicate"] == 12
        clock.advance(timedelta(minutes=30))
        assert house.listener is not None
        async with Publisher("cgm-1", "127.0.0.1", house.listener.port) as sensor:
            for minutes in (20, 10, 5, 0):
                at = clock.now() - timedelta(minutes=minutes)
                await sensor.publish(glucose(Decimal(110), at, kind="cgm_glucose"))
        await until(lambda: house.book.open_alerts()[0].condition_gone_at is not None)
        closed = await house.act(
            Act(
                kind=ActKind.CLOSE,
                alert=alert.id,
                by="Dr. Li",
                at=clock.now(),
                note="ate, recovered",
                outcome=Outcome.EMERGENCY,
            )
        )
        assert closed.outcome is Outcome.EMERGENCY
        assert house.book.open_alerts() == []


async def test_what_was_committed_but_not_watched_is_watched_at_the_next_start(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)

        async def crash(_entries: object) -> None:
            return

        # As if the process had died between the commit and the watch.
        monkeypatch.setattr(house.ward, "see", crash)
        await low(house)
        assert len(await stored(house, 12)) == 12
        assert house.book.open_alerts() == []
    async with real_house(tmp_path, clock) as house:
        await until(lambda: len(house.book.open_alerts()) == 1)


async def test_a_pairing_that_was_cut_short_admits_at_the_next_start(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock) as house:
        assert house.listener is not None
        async with Publisher("meter-9", "127.0.0.1", house.listener.port) as device:
            await device.publish(glucose(Decimal(99), NOW, kind="glucose", sequence=1))
        house.people.add_patient(Patient(id="anna", name="Anna", zone="UTC"), now=house.now())
        house.people.add_device(Device(id="meter-9", kind=DeviceKind.METER, link=DeviceLink.MQTT), now=house.now())
        # As if the process had died after the assignment was written and before the letters were tried again.
        house.people.assign("meter-9", "anna", since=None, now=NOW)
    async with real_house(tmp_path, clock) as house:
        assert len(await stored(house, 1)) == 1
        assert house.journal.letters() == []


async def test_a_locked_book_is_waited_for(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        with sqlite3.connect(tmp_path / "data" / "hub.db", isolation_level=None) as other:
            event.listen(house.book._engine, "connect", lambda connection, _: connection.execute(_IMPATIENT))
            house.book._engine.dispose()  # so that the new connections do not wait for 30 s in this test
            other.execute("BEGIN IMMEDIATE")  # a backup, say
            sending = asyncio.create_task(low(house))
            await until(lambda: house.ward.patience.trouble is not None)
            assert "locked" in str(house.ward.patience.trouble)
            other.execute("ROLLBACK")
        clock.advance(timedelta(seconds=30))
        await sending
        await until(lambda: bool(house.book.open_alerts()))
        await until(lambda: house.ward.patience.trouble is None)


async def test_influxdb_is_followed_on_after_a_restart_and_after_an_outage(
    tmp_path: Path, clock: HandClock, influx_bucket: Bucket
) -> None:
    facade = influx_bucket.facade
    facade.token = "another"  # 401 for everything: the follower pauses, the house goes on
    async with real_house(tmp_path, clock, influxdb=influxdb(influx_bucket)) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        await low(house)
        follower = house.influx
        assert follower is not None
        await until(lambda: follower.trouble is not None)
        await house.feel()
        assert house.health()["status"] == "degraded"
        assert "token" in house.health()["parts"]["influxdb"]["detail"]
    facade.token = influx_bucket.settings.token
    async with real_house(tmp_path, clock, influxdb=influxdb(influx_bucket)) as house:
        await all_sent(house)
        assert await same_in_both_stores(house, "anna", Vital.CGM) == 12
        line = influx_bucket.facade.writes[-1].decode()
        patient = house.people.patient("anna")
        assert patient is not None
        assert patient.pseudonym in line
        assert "anna" not in line
        assert_balanced(house)
    assert_all_accounted_for(tmp_path / "data" / "journal.db")


async def test_two_houses_do_not_share_one_data_directory(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock):
        with pytest.raises(HouseError, match="another Homeward uses"):
            async with real_house(tmp_path, clock):
                pytest.fail("it opened")


@pytest.mark.parametrize("name", ["journal.db", "hub.db"])
async def test_a_store_that_is_none_is_said_in_one_sentence(tmp_path: Path, clock: HandClock, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"not a database" * 100)
    with pytest.raises(HouseError, match=f"cannot use .*{name}.*not a database"):
        async with real_house(tmp_path, clock):
            pytest.fail("it opened")


async def test_a_port_that_is_taken_is_said_in_one_sentence(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path / "a", clock) as house:
        assert house.listener is not None
        with pytest.raises(HouseError, match=r"choose another \[listener\] port"):
            async with real_house(tmp_path / "b", clock, listener={"port": house.listener.port}):
                pytest.fail("it opened")


# Silence, second readings, notices ----------------------------------------------------------------------------------


async def test_silence_opens_an_alert_and_a_reading_ends_it(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        clock.advance(timedelta(hours=71, minutes=59))
        await house.tick()
        assert house.book.open_alerts() == []
        clock.advance(timedelta(minutes=1))
        await house.tick()
        (alert,) = house.book.open_alerts()
        assert (alert.problem, alert.condition_gone_at) == ("no-data", None)
        assert "cgm-1" in alert.because.en
        assert "cgm-1" in alert.because.zh
        assert house.listener is not None
        async with Publisher("cgm-1", "127.0.0.1", house.listener.port) as sensor:
            await sensor.publish(glucose(Decimal(110), clock.now(), kind="cgm_glucose"))
        await until(lambda: house.book.open_alerts()[0].condition_gone_at is not None)


async def test_a_restart_is_not_taken_for_the_patients_silence(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
    clock.advance(timedelta(days=4))
    async with real_house(tmp_path, clock) as house:
        await house.tick()
        assert house.book.open_alerts() == []
        clock.advance(timedelta(minutes=15))
        await house.tick()
        assert [alert.problem for alert in house.book.open_alerts()] == ["no-data"]


@pytest.mark.parametrize("second", [None, (186, 118), (128, 80)])
async def test_a_severe_blood_pressure_is_asked_for_again(
    tmp_path: Path, clock: HandClock, caplog: pytest.LogCaptureFixture, second: tuple[int, int] | None
) -> None:
    caplog.set_level("INFO", "homeward.notices")
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cuff-1", DeviceKind.CUFF)
        assert house.listener is not None
        async with Publisher("cuff-1", "127.0.0.1", house.listener.port) as cuff:
            await cuff.publish(blood_pressure(Decimal(192), Decimal(121), clock.now()))
            await house.tick()
            assert house.book.open_alerts() == []
            await until(lambda: any(r.name == "homeward.notices" for r in caplog.records))
            (asked,) = (r.getMessage() for r in caplog.records if r.name == "homeward.notices")
            assert "audience=patient" in asked
            clock.advance(timedelta(minutes=3))
            if second:
                await cuff.publish(blood_pressure(Decimal(second[0]), Decimal(second[1]), clock.now()))
        await house.tick()
        confirmed = second == (186, 118)
        assert len(house.book.open_alerts()) == confirmed
        clock.advance(timedelta(minutes=12, seconds=1))
        await house.tick()
        alerts = house.book.open_alerts()
        if second == (128, 80):
            assert alerts == []
        else:
            (alert,) = alerts
            assert alert.problem == "blood-pressure-high"
            assert len(alert.evidence) == (2 if confirmed else 1)


async def test_a_ketone_of_a_meter_opens_an_alert(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        assert house.listener is not None
        async with Publisher("meter-1", "127.0.0.1", house.listener.port) as meter:
            await meter.publish(ketone(Decimal("3.2"), clock.now()))
        await until(lambda: bool(house.book.open_alerts()))
        (alert,) = house.book.open_alerts()
        assert (alert.raising, alert.priority) == ({"ketone"}, Priority.HIGH)
        assert "3.2 mmol/L" in alert.because.en


async def test_a_patients_own_limit_is_used_from_the_next_reading(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        anna = house.people.patient("anna")
        assert anna is not None
        assert house.listener is not None
        async with Publisher("cgm-1", "127.0.0.1", house.listener.port) as sensor:
            for minutes in (20, 15, 10, 5):
                at = NOW - timedelta(minutes=minutes)
                await sensor.publish(glucose(Decimal("3.5"), at, kind="cgm_glucose", unit="mmol/L"))
            limit = {**AT_ONCE["low-event-2"], "limit": {"value": 3.6, "unit": "mmol/L"}}
            await house.change_patient("anna", lambda anna: replace(anna, limits={**AT_ONCE, "low-event-2": limit}))
            await sensor.publish(glucose(Decimal("3.5"), NOW, kind="cgm_glucose", unit="mmol/L"))
        await until(lambda: bool(house.book.open_alerts()))
        assert "3.6 mmol/L" in house.book.open_alerts()[0].because.en


async def test_a_patient_is_added_and_an_unknown_device_is_refused(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path, clock) as house:
        house.people.add_patient(Patient(id="p", name="P", zone="UTC"), now=house.now())
        house.people.add_device(Device(id="d", kind=DeviceKind.METER, link=DeviceLink.MQTT), now=house.now())
        wearing = await house.pair("d", "p")
        assert wearing.assigned_at == NOW
        with pytest.raises(KeyError):
            await house.pair("nothing", "p")
        with pytest.raises(KeyError):
            await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert="a-none", by="Dr. Li", at=NOW))


async def test_the_disk_is_full_and_then_it_is_not(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        pages = house.journal._db.execute("PRAGMA page_count").fetchone()[0]
        house.journal._db.execute(f"PRAGMA max_page_count={pages}")
        sending = asyncio.create_task(low(house))
        many = asyncio.create_task(_fill(house))
        await until(lambda: house.path.patience.trouble is not None)
        assert "full" in str(house.path.patience.trouble)
        assert not many.done()  # its PUBACK waits: nothing is acknowledged that is not on disk
        house.journal._db.execute("PRAGMA max_page_count=1000000")
        clock.advance(timedelta(seconds=30))
        await asyncio.gather(sending, many)
        assert house.path.patience.trouble is None
        assert len(await stored(house, 12 + 900)) == 912
        assert_balanced(house)
    assert_all_accounted_for(tmp_path / "data" / "journal.db")


async def test_of_a_batch_that_is_stored_one_by_one_nothing_is_stored_again_when_the_disk_is_full_meanwhile(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        append, alone, watched, settled = house.journal.append, 0, list[int](), list[int]()

        def sick(arrivals: Sequence[Arrival]) -> Appended:
            nonlocal alone
            alone += len(arrivals) == 1
            if len(arrivals) > 1:
                raise sqlite3.IntegrityError("one of these cannot be stored")
            if alone == 3:
                raise sqlite3.OperationalError("database or disk is full")
            return append(arrivals)

        async def see(entries: Sequence[tuple[int, Reading]]) -> None:
            watched.extend(seq for seq, _ in entries)

        monkeypatch.setattr(house.journal, "append", sick)
        monkeypatch.setattr(house.ward, "see", see)
        for minute in range(4):
            packet = _said(minute, clock.now())
            await house.path.deliver(packet, lambda minute=minute: settled.append(minute))
        await until(lambda: house.path.patience.trouble is not None)
        clock.advance(timedelta(seconds=1))
        await until(lambda: len(watched) == 4)
        assert watched == [1, 2, 3, 4]
        assert settled == [0, 1, 2, 3]
        assert "duplicate" not in house.journal.counts()


def _said(minute: int, now: datetime) -> Packet:
    said = {"kind": "cgm_glucose", "value": 100, "unit": "mg/dL", "time": f"{NOW - timedelta(minutes=minute):%FT%TZ}"}
    data = json.dumps({"version": 1, "device": "cgm-1", **said}).encode()
    return Packet(link="listener", sender="cgm-1", channel="json", data=data, received_at=now)


async def test_letters_of_devices_that_nobody_wore_are_not_read_and_those_of_others_a_page_at_a_time(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.path.LETTERS", 2)
    async with real_house(tmp_path, clock) as house:
        for device in ("cgm-1", "cgm-2"):
            await low(house, device)
        read = list[list[str]]()
        page = house.journal.oldest_letters

        def spy(device: str, reason: str, after: int, limit: int) -> list[Letter]:
            found = page(device, reason, after, limit)
            read.append([letter.device for letter in found])
            return found

        monkeypatch.setattr(house.journal, "oldest_letters", spy)
        house.people.add_patient(Patient(id="anna", name="Anna", zone="UTC"), now=house.now())
        house.people.add_device(Device(id="cgm-1", kind=DeviceKind.CGM, link=DeviceLink.MQTT), now=house.now())
        house.people.assign("cgm-1", "anna", since=NOW - timedelta(days=1), now=NOW)
        house._learn()
        await house.path.errand(house.path.readmit)
        assert read == [["cgm-1"] * 2] * 6 + [[]]
        readings = await stored(house, 12)
        assert readings == sorted(readings, key=lambda one: one.taken_at)
        assert {letter.device for letter in house.journal.letters()} == {"cgm-2"}


async def test_a_house_with_a_full_disk_can_be_stopped(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.house.LAST_WORK_S", 0.2)
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM, limits=AT_ONCE)
        pages = house.journal._db.execute("PRAGMA page_count").fetchone()[0]
        house.journal._db.execute(f"PRAGMA max_page_count={pages}")
        many = asyncio.create_task(_fill(house))
        await until(lambda: house.path.patience.trouble is not None)
    assert_all_accounted_for(tmp_path / "data" / "journal.db")
    many.cancel()
    with suppress(asyncio.CancelledError):
        await many
    assert many.cancelled()


def test_the_data_is_for_its_owners_eyes_only(tmp_path: Path, clock: HandClock) -> None:
    async def open_and_close() -> None:
        async with real_house(tmp_path / "deep", clock):
            pass

    asyncio.run(open_and_close())
    made = [tmp_path / "deep", tmp_path / "deep" / "data", *(tmp_path / "deep" / "data").iterdir()]
    assert [path for path in made if path.stat().st_mode & 0o077] == []


async def _fill(house: House) -> None:
    assert house.listener is not None
    async with Publisher("cgm-1", "127.0.0.1", house.listener.port) as sensor:
        await sensor.publish(
            *(
                glucose(
                    Decimal(100), NOW - timedelta(days=10, minutes=n), kind="cgm_glucose", context={"n": "x" * 60}
                )
                for n in range(900)
            )
        )

"""InfluxDB follows the journal, against the real engine; InfluxQL reads back what was written, bit for bit."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

from ingest import line_protocol
from ingest.influx import (
    BACKLOG,
    BATCH,
    CATCH_UP,
    PROBE_EVERY,
    InfluxError,
    InfluxFollower,
    InfluxSeries,
    InfluxSettings,
    probe,
    resend,
)
from ingest.journal import Arrival, Journal
from ingest.progress import Progress, Stretch
from ingest.reading import Flag, Packet, Reading, TimeBasis, from_us, to_us
from ingest.vital import COMPONENTS, Unit, Vital, canonical
from tests.influx_facade import TOKEN, Bucket, Facade, Fault, statement

NOON = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
DAY = timedelta(days=1)
ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def cgm(minute: int, mg_dl: float | None = 112.0, **changes: object) -> Reading:
    taken = NOON + timedelta(minutes=minute)
    reading = Reading(
        patient="mei",
        device="sensor 7",
        vital=Vital.CGM,
        values=(mg_dl,),
        sent=(mg_dl,),
        unit=Unit.MG_DL,
        taken_at=taken,
        time_basis=TimeBasis.DEVICE,
        received_at=taken + timedelta(seconds=3),
        device_time=taken,
        sequence=minute,
    )
    return replace(reading, **changes)  # type: ignore[arg-type]


def pressure(minute: int, sent: tuple[float | None, ...], unit: Unit) -> Reading:
    values = canonical(Vital.BLOOD_PRESSURE, sent, unit)
    return cgm(minute, vital=Vital.BLOOD_PRESSURE, device="cuff", values=values, sent=sent, unit=unit)


def label(reading: Reading | line_protocol.Point) -> tuple[str, str]:
    return f"p-{reading.patient}", f"{reading.device.replace(' ', '')}-0"


class Pauses:
    """A clock moved by hand: notes each wait and lets the test change the world instead of waiting."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.meanwhile: list[Callable[[], object]] = []

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        await asyncio.sleep(0)


class Ward:
    """A real journal and a follower of it; the test hears of each of its steps."""

    def __init__(self, home: Path, bucket: Bucket) -> None:
        self.journal = Journal(home / "journal.db")
        self.bucket = bucket
        self.pauses = Pauses()
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._seen: Progress | None = None
        self.points, self.tail, self.rejected = self.journal.points, self.journal.tail, self.journal.rejected
        self.set_aside = self.journal.set_aside

    def progress(self, follower: str) -> Progress:
        self._seen = self.journal.progress(follower)
        self._loop.call_soon_threadsafe(self._moved.set)
        return self._seen

    def confirm(self, follower: str, stretch: Stretch, *, came_from: Progress) -> None:
        self.journal.confirm(follower, stretch, came_from=came_from)
        self.progress(follower)

    def admit(self, readings: Iterable[Reading]) -> None:
        packet = Packet(link="http", sender="test", channel="json", data=b"", received_at=NOON)
        self.journal.append([Arrival(packet=packet, outcomes=tuple(readings))])

    def follower(self, settings: InfluxSettings | None = None) -> InfluxFollower:
        where = settings or self.bucket.settings
        self.forget_place()
        return InfluxFollower(where, self, label, now=lambda: NOON, pause=self.pauses, jitter=lambda: 0.5)

    def forget_place(self) -> None:
        """Until the follower has asked again where it stands."""
        self._seen = None

    async def caught_up(self) -> None:
        async with asyncio.timeout(20):
            while True:
                self._moved.clear()
                if self._seen == Progress(upto=self.journal.tail()):
                    return
                await self._moved.wait()

    @property
    def set_aside_lines(self) -> list[bytes]:
        return [letter.packet.data for letter in self.journal.letters(reason="rejected")]


@asynccontextmanager
async def following(follower: InfluxFollower) -> AsyncIterator[None]:
    task = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([task])
        assert task.cancelled(), task.exception()


@pytest.fixture
async def ward(tmp_path: Path, influx_bucket: Bucket) -> AsyncIterator[Ward]:
    ward = Ward(tmp_path, influx_bucket)
    yield ward
    ward.journal.close()


@pytest.fixture
def series(influx_bucket: Bucket) -> Iterator[InfluxSeries]:
    source = InfluxSeries(influx_bucket.settings, lambda patient: f"p-{patient}")
    yield source
    source.close()


@pytest.fixture
def series_by_pseudonym(influx_bucket: Bucket) -> Iterator[InfluxSeries]:
    source = InfluxSeries(influx_bucket.settings, str)
    yield source
    source.close()


async def send(ward: Ward, readings: Iterable[Reading], follower: InfluxFollower | None = None) -> InfluxFollower:
    ward.admit(readings)
    follower = follower or ward.follower()
    async with following(follower):
        await ward.caught_up()
    return follower


# --- one reading, one line


def test_a_line_says_everything_in_a_fixed_order() -> None:
    reading = cgm(0, 100.887304, sent=(5.6,), unit=Unit.MMOL_L, flags=frozenset({Flag.BATTERY_LOW}))
    assert line_protocol.encode(line_protocol.point(reading), "p-1", "cgm-0") == (
        b"cgm_glucose,device=cgm-0,patient=p-1 glucose=100.887304,sent_glucose=5.6,"
        b'unit="mmol/L",time_basis="device",received_us=1772366403123457i,serial="sensor 7",'
        b'flags="battery-low" 1772366400123457'
    )


def test_a_whole_number_is_still_a_float_and_the_flags_are_sorted() -> None:
    reading = cgm(0, 112, flags=frozenset({Flag.SENSOR_MALFUNCTION, Flag.BATTERY_LOW}))  # a driver returned an int
    line = line_protocol.encode(line_protocol.point(reading), "p", "d")
    assert b" glucose=112.0," in line
    assert b'flags="battery-low,sensor-malfunction"' in line


# --- what was written is what is read


async def test_every_reading_is_read_back_bit_for_bit(ward: Ward, series: InfluxSeries) -> None:
    readings = [
        cgm(0, 0.1 + 0.2),
        cgm(5, 55.849999999999994, sent=(3.1,), unit=Unit.MMOL_L),
        cgm(10, None, flags=frozenset({Flag.BELOW_RANGE})),
        cgm(-600, 1e-7),
        cgm(15, 120.0, device="sensor 8"),
        cgm(15, 121.0),
        cgm(20, 90.0, patient="lan"),
        pressure(1, (16.0, 10.666, None, 61.0), Unit.KPA),
        pressure(2, (181.0, 111.0, 134.0, None), Unit.MMHG),
    ]
    follower = await send(ward, readings)
    for vital in (Vital.CGM, Vital.BLOOD_PRESSURE):
        ours = ward.journal.series("mei", vital, NOON - DAY, NOON + DAY)
        theirs = series.series("mei", vital, NOON - DAY, NOON + DAY)
        assert theirs.taken_us.dtype == np.int64
        np.testing.assert_array_equal(theirs.taken_us, ours.taken_us)
        np.testing.assert_array_equal(np.sort(theirs.values, axis=0), np.sort(ours.values, axis=0))
    assert [row["flags"] for row in ward.bucket.rows("cgm_glucose") if row["glucose"] is None] == ["below-range"]
    health = await follower.health()
    assert (health.ok, health.lag, health.stored, health.last_success) == (True, 0, 9, NOON)


async def test_the_interval_is_half_open_and_an_empty_one_has_the_right_shape(
    ward: Ward, series: InfluxSeries
) -> None:
    assert series.series("mei", Vital.CGM, NOON, NOON + DAY).taken_us.size == 0
    await send(ward, [cgm(0), cgm(5), cgm(10)])
    found = series.series("mei", Vital.CGM, NOON, NOON + timedelta(minutes=10))
    assert found.taken_us.tolist() == [to_us(cgm(0).taken_at), to_us(cgm(5).taken_at)]
    assert series.series("mei", Vital.CGM, *ALWAYS).taken_us.size == 3
    assert series.series("mei", Vital.BLOOD_PRESSURE, NOON, NOON + DAY).values.shape == (0, 4)


def test_two_readings_of_one_moment_stay_two(influx_bucket: Bucket, series: InfluxSeries) -> None:
    twins = [cgm(0, 90.0), cgm(0, 95.0, twin=1)]
    influx_bucket.write(*[line_protocol.encode(line_protocol.point(reading), "p-mei", "m-0") for reading in twins])
    found = series.series("mei", Vital.CGM, NOON, NOON + DAY)
    assert sorted(found.values[:, 0]) == [90.0, 95.0]


async def test_sending_again_changes_nothing(ward: Ward) -> None:
    readings = [cgm(minute, 100.0 + minute) for minute in range(20)]
    await send(ward, readings)
    before = ward.bucket.rows("cgm_glucose")
    again = replace(ward.bucket.settings, org="the same ward, so another cursor")
    async with following(ward.follower(again)):
        await ward.caught_up()
    assert len(ward.bucket.facade.writes) == 2
    assert ward.bucket.facade.writes[0] == ward.bucket.facade.writes[1]
    assert ward.bucket.rows("cgm_glucose") == before
    assert len(before) == 20


async def test_influxdb_clients_own_points_give_the_same_rows(ward: Ward) -> None:
    reading = pressure(0, (16.0, 10.666, 12.5, 61.0), Unit.KPA)
    await send(ward, [reading])
    ours = ward.bucket.rows("blood_pressure")
    point = Point("blood_pressure").tag("device", "cuff-0").tag("patient", "p-mei")
    for component, value, sent in zip(COMPONENTS[reading.vital], reading.values, reading.sent, strict=True):
        point = point.field(component.name, value).field(f"sent_{component.name}", sent)
    point = (
        point.field("unit", "kPa")
        .field("time_basis", "device")
        .field("received_us", to_us(reading.received_at))
        .field("serial", "cuff")
        .time(to_us(reading.taken_at), WritePrecision.US)
    )
    statement(ward.bucket.engine, 'DROP MEASUREMENT "blood_pressure"', db=ward.bucket.name)
    with InfluxDBClient(ward.bucket.settings.url, TOKEN, org="ward") as client:
        client.write_api(write_options=SYNCHRONOUS).write(ward.bucket.name, record=point)
    assert ward.bucket.rows("blood_pressure") == ours


# Few weeks, for the engine makes a shard of each; and both sides of its zero.
MOMENTS = (
    st.datetimes(datetime(2026, 2, 20), datetime(2026, 3, 10))
    | st.datetimes(datetime(1969, 12, 31), datetime(1970, 1, 2))
    | st.just(datetime(2199, 12, 31, 23, 59, 59, 999999))
).map(lambda moment: moment.replace(tzinfo=UTC))
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
NAMES = st.text(min_size=1, max_size=20)


@st.composite
def any_reading(draw: st.DrawFn) -> Reading:
    vital = draw(st.sampled_from(Vital))
    numbers = st.tuples(*[NUMBERS] * len(COMPONENTS[vital]))
    return Reading(
        patient="anybody",
        device=draw(NAMES),
        vital=vital,
        values=draw(numbers),
        sent=draw(numbers),
        unit=draw(st.sampled_from(Unit)),
        taken_at=draw(MOMENTS),
        time_basis=draw(st.sampled_from(TimeBasis)),
        received_at=draw(MOMENTS),
        flags=draw(st.frozensets(st.sampled_from(Flag), max_size=3)),
    )


def as_float(number: float | None) -> float | None:
    return None if number is None else float(number)  # JSON writes a large float without a point


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    readings=st.lists(any_reading(), min_size=1, max_size=20, unique_by=lambda reading: reading.taken_at),
    patient=NAMES,
    slot=NAMES,
)
def test_the_engine_reads_any_line_as_it_was_meant(
    influx_bucket: Bucket, series_by_pseudonym: InfluxSeries, readings: list[Reading], patient: str, slot: str
) -> None:
    lines = [line_protocol.encode(line_protocol.point(reading), patient, slot) for reading in readings]
    assert lines == [
        line_protocol.encode(line_protocol.point(replace(reading)), patient, slot) for reading in readings
    ]
    assert all(b"\n" not in line for line in lines)
    influx_bucket.write(*lines)
    try:
        for vital in Vital:
            stored = influx_bucket.rows(vital)
            meant = sorted((r for r in readings if r.vital is vital), key=lambda reading: reading.taken_at)
            assert [row["time"] for row in stored] == [to_us(reading.taken_at) for reading in meant]
            for row, reading in zip(stored, meant, strict=True):
                assert (row["patient"], row["device"]) == (line_protocol.tag(patient), line_protocol.tag(slot))
                for at, component in enumerate(COMPONENTS[vital]):
                    assert as_float(row.get(component.name)) == as_float(reading.values[at])
                    assert as_float(row.get(f"sent_{component.name}")) == as_float(reading.sent[at])
                assert row["unit"] == reading.unit
                assert row["received_us"] == to_us(reading.received_at)
                assert row.get("flags") == (",".join(sorted(reading.flags)) or None)
                if reading.device.isprintable():
                    assert row["serial"] == reading.device
            source = InfluxSeries(influx_bucket.settings, lambda _: patient)
            found = source.series(
                "anybody", vital, datetime(1890, 1, 1, tzinfo=UTC), datetime(2210, 1, 1, tzinfo=UTC)
            )
            source.close()
            assert [from_us(int(us)) for us in found.taken_us] == [reading.taken_at for reading in meant]
    finally:
        for vital in Vital:
            statement(influx_bucket.engine, f'DROP MEASUREMENT "{vital}"', db=influx_bucket.name)


@given(NAMES, NAMES)
def test_two_names_never_become_one_tag(one: str, other: str) -> None:
    assert (line_protocol.tag(one) == line_protocol.tag(other)) == (one == other)


# --- refusals


async def test_a_type_conflict_costs_only_the_readings_that_have_it(ward: Ward) -> None:
    ward.bucket.write(f"glucose,device=x,patient=y glucose=1i {to_us(NOON)}".encode())
    bad = cgm(3, 80.0, vital=Vital.GLUCOSE, device="meter")
    follower = await send(ward, [*(cgm(minute) for minute in range(40)), bad, cgm(50)])
    assert len(ward.bucket.rows("cgm_glucose")) == 41
    assert ward.set_aside_lines == [line_protocol.encode(line_protocol.point(bad), *label(bad))]
    [letter] = ward.journal.letters(reason="rejected")
    assert "422" in letter.because
    assert "field type conflict" in letter.because
    health = await follower.health()
    assert not health.ok
    assert "refused 1 readings" in health.says
    assert (health.lag, health.stored, health.set_aside) == (0, 41, 1)


async def test_a_malformed_line_is_found_and_set_aside(ward: Ward) -> None:
    nobody = cgm(7, device="nobody's")
    follower = InfluxFollower(
        ward.bucket.settings,
        ward,
        lambda reading: ("" if reading.device == "nobody's" else "p", "cgm-0"),
        now=lambda: NOON,
        pause=ward.pauses,
    )
    await send(ward, [cgm(minute, device="a") for minute in range(100)] + [nobody], follower)
    assert len(ward.bucket.rows("cgm_glucose")) == 100
    assert ward.set_aside_lines == [line_protocol.encode(line_protocol.point(nobody), "", "cgm-0")]
    assert len(ward.bucket.facade.writes) <= 2 * 7 + 1  # halving, not line by line


async def test_a_body_that_is_too_large_is_halved(ward: Ward) -> None:
    ward.bucket.facade.faults.append(Fault(status=413, body=b"<html>nginx</html>"))
    await send(ward, [cgm(minute) for minute in range(10)])
    assert [body.count(b"\n") + 1 for body in ward.bucket.facade.writes] == [10, 5, 5]
    assert len(ward.bucket.rows("cgm_glucose")) == 10
    assert ward.set_aside_lines == []


async def test_a_proxys_400_sets_nothing_aside(ward: Ward) -> None:
    page = b"<html>400 The plain HTTP request was sent to HTTPS port</html>"
    ward.bucket.facade.faults.append(Fault(status=400, body=page))
    follower = await send(ward, [cgm(0)])
    assert ward.pauses.waited == [PROBE_EVERY]
    assert len(ward.bucket.rows("cgm_glucose")) == 1
    assert ward.set_aside_lines == []
    assert "does not answer like InfluxDB (400)" in ((await follower.health()).last_error or "")


async def test_of_what_influxdb_3_refuses_only_the_lines_it_names_are_set_aside(ward: Ward) -> None:
    """The body is that of 3.x as documented; the engine here is 1.6.7."""
    readings = [cgm(minute) for minute in range(20)]
    lines = [line_protocol.encode(line_protocol.point(reading), *label(reading)) for reading in readings]
    refused = [
        {"original_line": lines[at].decode(), "line_number": at + 1, "error_message": f"invalid column {at}"}
        for at in (3, 19)
    ]
    body = json.dumps({"error": "partial write of line protocol occurred", "data": refused}).encode()
    ward.bucket.facade.faults.append(Fault(status=400, body=body))
    await send(ward, readings)
    assert sorted(ward.set_aside_lines) == sorted([lines[3], lines[19]])
    assert {letter.because.rpartition(" ")[2] for letter in ward.journal.letters(reason="rejected")} == {"3", "19"}
    assert [write.count(b"\n") + 1 for write in ward.bucket.facade.writes] == [20, 18]
    assert len(ward.bucket.rows("cgm_glucose")) == 18


@pytest.mark.parametrize(
    "data",
    [
        None,
        [{"line_number": 1}],
        [{"original_line": "another", "line_number": 1, "error_message": "no"}],
        [{"original_line": "cgm_glucose", "line_number": 0, "error_message": "no"}],
        [{"original_line": "cgm_glucose", "line_number": 5, "error_message": "no"}],
    ],
)
async def test_an_answer_that_names_no_line_of_ours_costs_no_reading(ward: Ward, data: object) -> None:
    body = json.dumps({"error": "partial write of line protocol occurred", "data": data}).encode()
    ward.bucket.facade.faults.append(Fault(status=400, body=body))
    await send(ward, [cgm(minute) for minute in range(4)])
    assert [write.count(b"\n") + 1 for write in ward.bucket.facade.writes] == [4, 2, 2]
    assert len(ward.bucket.rows("cgm_glucose")) == 4
    assert ward.set_aside_lines == []


async def test_a_line_that_was_set_aside_can_be_sent_again(ward: Ward) -> None:
    ward.bucket.write(f"glucose,device=x,patient=y glucose=1i {to_us(NOON)}".encode())
    follower = await send(ward, [cgm(3, 80.0, vital=Vital.GLUCOSE, device="meter")])
    [line] = ward.set_aside_lines
    assert "refuses it still (422)" in (resend(ward.bucket.settings, line) or "")
    assert "does not know the token" in (resend(replace(ward.bucket.settings, token="wrong"), line) or "")
    statement(ward.bucket.engine, 'DROP MEASUREMENT "glucose"', db=ward.bucket.name)
    assert resend(ward.bucket.settings, line) is None
    [letter] = ward.journal.letters(reason="rejected")
    ward.journal.settle(letter.id)
    assert (await follower.health()).ok
    assert [row["glucose"] for row in ward.bucket.rows("glucose")] == [80.0]


# --- revisions


async def test_a_revision_is_a_point_of_its_own_and_the_newest_is_read_back(ward: Ward, series: InfluxSeries) -> None:
    await send(ward, [cgm(0, 90.0), cgm(5, 95.0), cgm(5, 99.0, device="sensor 8")])
    await send(ward, [cgm(5, 96.0), cgm(5, 97.0)])
    assert {(row["glucose"], row["rev"]) for row in ward.bucket.rows("cgm_glucose")} == {
        (90.0, None),
        (99.0, None),
        (95.0, None),
        (96.0, "2"),
        (97.0, "3"),
    }
    theirs = series.series("mei", Vital.CGM, *ALWAYS)
    ours = ward.journal.series("mei", Vital.CGM, *ALWAYS)
    assert theirs.taken_us.tolist() == ours.taken_us.tolist()
    assert sorted(theirs.values[:, 0]) == sorted(ours.values[:, 0]) == [90.0, 97.0, 99.0]


# --- outages


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("Sun, 01 Mar 2026 12:00:09 GMT", pytest.approx(8.876543)),
        ("Sun, 01 Mar 2020 12:00:09 GMT", 0.0),
        ("soon", 0.125),
    ],
)
async def test_retry_after_may_be_a_date(ward: Ward, asked: str, waited: float) -> None:
    ward.bucket.facade.faults.append(Fault(status=503, retry_after=asked))
    await send(ward, [cgm(0)])
    assert ward.pauses.waited == [waited]


async def test_a_busy_server_is_tried_again_until_it_has_everything(ward: Ward) -> None:
    ward.bucket.facade.faults += [
        Fault(status=503, retry_after=7),
        Fault(status=429, retry_after=100_000),
        *[Fault(status=500)] * 10,
    ]
    follower = await send(ward, [cgm(minute) for minute in range(10)])
    # Retry-After, capped; then half (the jitter here) of 0.25 s doubled each time, capped.
    assert ward.pauses.waited == [7.0, 300.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert len(ward.bucket.rows("cgm_glucose")) == 10
    assert ward.set_aside_lines == []
    health = await follower.health()
    assert health.ok
    assert "busy or failing (500)" in (health.last_error or "")


async def test_a_wrong_token_pauses_and_is_named_until_it_is_right(ward: Ward) -> None:
    follower = ward.follower()
    seen: list[str] = []

    def person_corrects() -> None:
        seen.append(follower.trouble or "")
        ward.bucket.facade.token = TOKEN

    ward.bucket.facade.token = "another"
    ward.pauses.meanwhile = [lambda: None, person_corrects]
    await send(ward, [cgm(0)], follower)
    assert ward.pauses.waited == [PROBE_EVERY, PROBE_EVERY]
    assert "does not know the token (401)" in seen[0]
    assert len(ward.bucket.rows("cgm_glucose")) == 1
    assert (await follower.health()).ok


async def test_a_missing_bucket_is_waited_for(ward: Ward) -> None:
    later = f"{ward.bucket.name}_later"
    create = f'CREATE DATABASE "{later}"'
    ward.pauses.meanwhile = [lambda: statement(ward.bucket.engine, create)]
    follower = await send(ward, [cgm(0)], ward.follower(replace(ward.bucket.settings, bucket=later)))
    assert ward.pauses.waited == [PROBE_EVERY]
    assert f"has no bucket '{later}'" in ((await follower.health()).last_error or "")
    assert len(replace(ward.bucket, name=later).rows("cgm_glucose")) == 1
    statement(ward.bucket.engine, f'DROP DATABASE "{later}"')


async def test_a_server_that_is_away_is_lag_and_not_loss(ward: Ward, influx_engine: str) -> None:
    gone = Facade(influx_engine)
    port = gone.server_address[1]
    gone.server_close()
    away = replace(ward.bucket.settings, url=f"http://127.0.0.1:{port}")
    with ExitStack() as stack:

        def server_returns() -> None:
            stack.enter_context(Facade(influx_engine, port).serving())

        ward.pauses.meanwhile = [lambda: None, lambda: ward.admit([cgm(5)]), server_returns]
        follower = await send(ward, [cgm(0)], ward.follower(away))
    assert ward.pauses.waited == [0.125, 0.25, 0.5]
    assert "cannot be reached" in ((await follower.health()).last_error or "")
    assert len(ward.bucket.rows("cgm_glucose")) == 2


async def test_it_stops_at_once_in_the_middle_of_an_outage(ward: Ward) -> None:
    ward.bucket.facade.faults.append(Fault(status=503))
    waiting = asyncio.Event()

    async def for_ever(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    ward.admit([cgm(0)])
    follower = InfluxFollower(ward.bucket.settings, ward, label, now=lambda: NOON, pause=for_ever)
    async with following(follower), asyncio.timeout(10):
        await waiting.wait()
    health = await follower.health()
    assert (health.ok, health.lag, health.stored) == (False, 1, 0)


async def test_a_reading_that_cannot_be_made_ready_keeps_back_nothing_before_it_and_is_told(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.influx.BATCH", 2)
    known = {"sensor 7"}

    def registered(point: line_protocol.Point) -> tuple[str, str]:
        if point.device not in known:
            raise KeyError(point.device)
        return label(point)

    follower = InfluxFollower(ward.bucket.settings, ward, registered, now=lambda: NOON, pause=ward.pauses)
    ward.admit([cgm(0), cgm(5), cgm(10, device="stray")])
    with pytest.raises(KeyError, match="stray"):
        await follower.run()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(ward.bucket.rows("cgm_glucose")) == 2
    health = await follower.health()
    assert (health.ok, health.lag) == (False, 1)
    assert "KeyError('stray')" in health.says
    known.add("stray")
    await send(ward, [], follower)
    assert len(ward.bucket.rows("cgm_glucose")) == 3
    assert (await follower.health()).ok


async def test_a_locked_journal_is_no_trouble_any_more_when_nothing_is_left_to_send(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked() -> int:
        raise sqlite3.OperationalError("database is locked")

    follower = ward.follower()
    with monkeypatch.context() as locking:
        locking.setattr(ward, "tail", locked)
        with pytest.raises(sqlite3.OperationalError):
            await follower.run()
    assert "database is locked" in (await follower.health()).says
    async with following(follower), asyncio.timeout(10):
        while not (await follower.health()).ok:  # noqa: ASYNC110  it has no event of its own
            await asyncio.sleep(0)


# --- the cursor


async def test_news_wakes_it_and_a_restart_goes_on_at_the_cursor(ward: Ward) -> None:
    follower = ward.follower()
    async with following(follower):
        ward.admit([cgm(0)])
        follower.news.set()
        await ward.caught_up()
        ward.admit([cgm(5)])
        follower.news.set()
        await ward.caught_up()
    await send(ward, [cgm(10), cgm(15)])
    writes = [body.count(b"\n") + 1 for body in ward.bucket.facade.writes]
    assert writes == [1, 1, 2]
    assert len(ward.bucket.rows("cgm_glucose")) == 4


def sent(ward: Ward) -> list[tuple[int, int]]:
    """The minutes of the first and the last reading of each write."""
    minutes = []
    for body in ward.bucket.facade.writes:
        lines = body.split(b"\n")
        times = [(int(line.rpartition(b" ")[2]) - to_us(NOON)) // 60_000_000 for line in (lines[0], lines[-1])]
        assert len(lines) == times[1] - times[0] + 1
        minutes.append((times[0], times[1]))
    return minutes


def count(ward: Ward) -> int:
    stored = statement(ward.bucket.engine, 'SELECT count("glucose") FROM "cgm_glucose"', db=ward.bucket.name)
    return int(stored["series"][0]["values"][0][1])


async def test_a_short_backlog_goes_in_whole_batches_in_order_and_at_once(ward: Ward) -> None:
    await send(ward, [cgm(minute) for minute in range(BACKLOG)])
    assert sent(ward) == [(0, BATCH - 1), (BATCH, BACKLOG - 1)]
    assert count(ward) == BACKLOG
    assert ward.pauses.waited == []


async def test_of_a_long_backlog_the_newest_goes_first_and_the_rest_holds_back(ward: Ward) -> None:
    backlog = BACKLOG + BATCH + 100
    await send(ward, [cgm(minute) for minute in range(backlog)])
    assert sent(ward) == [
        (backlog - BATCH, backlog - 1),
        (0, BATCH - 1),
        (BATCH, 2 * BATCH - 1),
        (2 * BATCH, backlog - BATCH - 1),
    ]
    assert count(ward) == backlog
    # It holds back after each batch of the rest; what follows the last one is nobody's matter.
    assert len(ward.pauses.waited) in {2, 3}
    assert all(0 <= waited <= BATCH / CATCH_UP for waited in ward.pauses.waited)


async def test_while_it_holds_back_it_sends_what_is_new_and_nothing_old(ward: Ward) -> None:
    held_back, go_on = asyncio.Event(), asyncio.Event()

    async def hold_back(_: float) -> None:
        held_back.set()
        await go_on.wait()

    follower = InfluxFollower(ward.bucket.settings, ward, label, now=lambda: NOON, pause=hold_back)
    backlog = BACKLOG + 2 * BATCH
    ward.admit(cgm(minute) for minute in range(backlog))
    async with following(follower):
        await held_back.wait()
        for minute in range(backlog, backlog + 3):
            ward.admit([cgm(minute)])
            follower.news.set()
            await up_to_date(ward, follower)
        assert sent(ward)[1:] == [(0, BATCH - 1), *((minute, minute) for minute in range(backlog, backlog + 3))]
        health = await follower.health()
        assert (health.ok, health.lag, health.older) == (True, backlog - 2 * BATCH, backlog - 2 * BATCH)
        go_on.set()
        await ward.caught_up()
    health = await follower.health()
    assert (health.lag, health.older) == (0, 0)
    assert count(ward) == backlog + 3


async def up_to_date(ward: Ward, follower: InfluxFollower) -> None:
    """Everything new is sent, whatever is still behind."""
    async with asyncio.timeout(10):
        while ward.journal.progress(follower.place).head < ward.journal.tail():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_second_outage_leaves_a_second_gap_and_a_restart_knows_both(ward: Ward) -> None:
    outage = BACKLOG + BATCH
    never = asyncio.Event()

    async def for_ever(_: float) -> None:
        await never.wait()

    for begin in (0, outage):
        ward.admit(cgm(minute) for minute in range(begin, begin + outage))
        follower = InfluxFollower(ward.bucket.settings, ward, label, now=lambda: NOON, pause=for_ever)
        async with following(follower):
            await up_to_date(ward, follower)
    progress = ward.journal.progress(ward.follower().place)
    assert progress.head == 2 * outage
    assert len(progress.gaps) == 2
    await send(ward, [])
    assert count(ward) == 2 * outage
    assert sent(ward)[-1][1] == 2 * outage - BATCH - 1


async def test_the_same_lines_are_the_same_octets_and_many_are_compressed(ward: Ward) -> None:
    readings = [cgm(minute) for minute in range(200)]
    await send(ward, readings)
    ward.journal.start_over(ward.follower().place)
    await send(ward, [])
    first, second = ward.bucket.facade.bodies
    assert first == second
    assert len(first) < len(ward.bucket.facade.writes[0]) / 3


async def test_a_bucket_that_was_emptied_is_filled_again_when_its_cursor_is_set_back(ward: Ward) -> None:
    follower = ward.follower()
    ward.admit(cgm(minute) for minute in range(20))
    async with following(follower):
        await ward.caught_up()
        statement(ward.bucket.engine, 'DROP MEASUREMENT "cgm_glucose"', db=ward.bucket.name)
        ward.journal.start_over(follower.place)
        ward.forget_place()
        ward.admit([cgm(30)])
        follower.news.set()
        await ward.caught_up()
    assert len(ward.bucket.rows("cgm_glucose")) == 21


async def test_a_new_bucket_is_filled_from_the_first_day(ward: Ward) -> None:
    await send(ward, [cgm(0), cgm(5)])
    new = f"{ward.bucket.name}_new"
    statement(ward.bucket.engine, f'CREATE DATABASE "{new}"')
    async with following(ward.follower(replace(ward.bucket.settings, bucket=new))):
        await ward.caught_up()
    assert len(replace(ward.bucket, name=new).rows("cgm_glucose")) == 2
    statement(ward.bucket.engine, f'DROP DATABASE "{new}"')


# --- before it runs


def test_the_probe_says_what_to_do_and_stores_nothing(influx_bucket: Bucket) -> None:
    right = influx_bucket.settings
    assert probe(right) is None
    assert "does not know the token (401)" in (probe(replace(right, token="wrong")) or "")
    assert "has no bucket 'nowhere'" in (probe(replace(right, bucket="nowhere")) or "")
    # The engine itself is a 1.6, which knows /write alone.
    assert "has no /api/v2/write (404): InfluxDB 1.8 or newer" in (
        probe(replace(right, url=influx_bucket.engine)) or ""
    )
    influx_bucket.facade.faults.append(Fault(status=403))
    assert "give it the permission" in (probe(right) or "")
    influx_bucket.facade.faults.append(Fault(status=302, body=b""))
    assert "is the address right?" in (probe(right) or "")
    with Facade(influx_bucket.engine).serving() as gone:
        address = gone.url
    assert "cannot be reached" in (probe(replace(right, url=address)) or "")
    assert "series" not in statement(influx_bucket.engine, "SHOW MEASUREMENTS", db=influx_bucket.name)


def test_the_token_stays_out_of_what_is_printed(influx_bucket: Bucket) -> None:
    assert TOKEN not in repr(influx_bucket.settings)


def test_a_series_that_cannot_be_read_is_an_error_and_not_an_empty_series(
    influx_bucket: Bucket, series: InfluxSeries
) -> None:
    missing = InfluxSeries(replace(influx_bucket.settings, bucket="nowhere"), str)
    with pytest.raises(InfluxError, match="database not found"):
        missing.series("mei", Vital.CGM, NOON, NOON + DAY)
    missing.close()
    influx_bucket.facade.token = "another"
    with pytest.raises(InfluxError, match="401"):
        series.series("mei", Vital.CGM, NOON, NOON + DAY)


async def test_twins_of_the_journal_stay_two(ward: Ward, series: InfluxSeries) -> None:
    await send(ward, [cgm(0, 90.0), cgm(0, 95.0, sequence=1)])
    assert sorted(series.series("mei", Vital.CGM, *ALWAYS).values[:, 0]) == [90.0, 95.0]

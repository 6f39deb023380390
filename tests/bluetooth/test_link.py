"""The link's manners over every radio: what it does when a device, a house or an adapter is not as it should be."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason
from bumble import gatt

from ingest.links import ble_gatt
from ingest.links.ble import DeviceHealth, probe
from ingest.links.ble_faults import NO_ANSWER, SWITCHED_OFF
from ingest.reading import Packet
from simulators import encode
from simulators.encode import CgmRecord, GlucoseRecord
from simulators.gatt_server import service
from simulators.meter import GlucoseMeter
from simulators.record_access import Fault, Misbehaviour
from tests.bluetooth.radio import SLOWER
from tests.bluetooth.ward import (
    BRISK,
    CGM,
    CUFF,
    METER,
    NOON,
    NOW,
    Ward,
    a_clock,
    a_record,
    known,
    of_meter,
    of_sensor,
)

A_METER, A_CGM, A_CUFF = known("meter", METER), known("cgm", CGM), known("cuff", CUFF)
ABSENT = "C4:00:00:00:00:99"


async def test_what_was_not_committed_is_read_again(ward: Ward) -> None:
    meter = await ward.meter(5)
    ward.commits = False
    async with ward.reading(A_METER, timings=replace(BRISK, kept=0.05 * SLOWER)):
        await ward.until(lambda: ward.sessions_ended)
        assert ward.health(METER).last_read is None
        ward.commits = True
        await ward.until(lambda: ward.stored.get(METER) == 5)
    assert ward.data(METER)[-5:] == of_meter(meter)


async def test_a_full_house_holds_every_device_up_and_loses_nothing(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked for more, no clock is set and no session ends until there is room."""
    room = asyncio.Event()
    waiting: list[Packet] = []

    async def deliver(packet: Packet, settled: Callable[[], None]) -> None:
        waiting.append(packet)
        await room.wait()
        await keep(packet, settled)

    keep = ward.deliver
    monkeypatch.setattr(ward, "deliver", deliver)
    meter, sensor = await ward.meter(30), await ward.sensor(12)
    meter.clock.error = slow = -timedelta(hours=3)
    async with ward.reading(A_METER, A_CGM):
        await ward.until(lambda: len(waiting) == 2)
        await several_looks(ward)
        assert [packet.sender for packet in waiting].count(METER) == 1
        assert len(waiting) == 2
        assert (ward.packets, ward.sessions_ended, meter.clock.error) == ([], 0, slow)
        room.set()
        await ward.until(lambda: len(ward.of(METER)) == 30 and len(ward.of(CGM)) == 12)
    assert ward.data(METER) == of_meter(meter)
    assert ward.data(CGM) == of_sensor(sensor)


async def several_looks(ward: Ward) -> None:
    """Let the link go round a few times."""
    rounds = 0

    def asked() -> bool:
        nonlocal rounds
        rounds += 1
        return rounds > 5

    await ward.until(asked)


async def test_a_device_that_sends_more_than_may_wait_is_read_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ble_gatt, "MOST_WAITING", 10)
    room = asyncio.Event()

    async def deliver(packet: Packet, settled: Callable[[], None]) -> None:
        await room.wait()
        await keep(packet, settled)

    keep = ward.deliver
    monkeypatch.setattr(ward, "deliver", deliver)
    meter = await ward.meter(30)
    reported = 0
    report = meter.access._report

    async def counted(record: GlucoseRecord) -> None:
        nonlocal reported
        await report(record)
        reported += 1

    meter.access._report = counted  # type: ignore[method-assign]
    async with ward.reading(A_METER):
        await ward.until(lambda: reported == 30)
        await several_looks(ward)
        room.set()
        await ward.until(lambda: "more than 10 values" in (ward.health(METER).error or ""))
        await ward.until(lambda: ward.stored.get(METER) == 30)
    assert set(ward.data(METER)) == set(of_meter(meter))


async def test_a_clock_is_not_set_before_what_it_measured_is_on_disk(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, the gateway would read the same records by another clock, and move them."""
    meter = await ward.meter(5)
    meter.clock.error = slow = -timedelta(hours=3)
    settle: list[Callable[[], None]] = []

    async def deliver(packet: Packet, settled: Callable[[], None]) -> None:
        settle.append(settled)
        await keep(packet, lambda: None)

    keep = ward.deliver
    monkeypatch.setattr(ward, "deliver", deliver)
    async with ward.reading(A_METER, timings=replace(BRISK, kept=0.05 * SLOWER)):
        await ward.until(lambda: ward.sessions_ended)
        assert len(settle) == 5
        assert meter.clock.error == slow, "the disk was too slow"
    settle.clear()
    ward.stored.clear()
    async with ward.reading(A_METER, timings=replace(BRISK, kept=BRISK.session)):
        await ward.until(lambda: len(settle) == 5)
        assert meter.clock.error == slow
        for settled in settle:
            settled()
        await ward.until(lambda: ward.sessions_ended == 2)
        assert meter.clock.error == timedelta(0)


async def test_a_sensor_without_a_session_is_left_alone_longer_and_longer(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    sensor = await ward.sensor(3)
    sensor.session_start = None
    async with ward.reading(A_CGM):
        await ward.until(lambda: ward.health(CGM).failures >= 3)
        assert "no session runs" in (ward.health(CGM).error or "")
    said = [line for line in caplog.messages if "no session runs" in line]
    assert len(said) == 1, "it is told once, and not with every try"


async def test_a_record_is_not_passed_on_without_its_context_when_the_link_breaks(ward: Ward) -> None:
    meter = await ward.meter(4)
    report = meter._report

    async def break_off(record: GlucoseRecord) -> None:
        if record.sequence < 4:
            await report(record)
        else:
            await meter.notify(meter._measurement, encode.glucose_measurement(record))
            await meter.hang_up()

    meter.access._report = break_off
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.health(METER).failures)
        assert len(ward.packets) == 3
        meter.access._report = report
        await ward.until(lambda: len(ward.packets) == 4)
    assert ward.data(METER) == of_meter(meter)


async def test_a_report_broken_off_by_the_meter_is_continued(ward: Ward) -> None:
    meter = await ward.meter(20)
    meter.access.fault = Fault(kind=Misbehaviour.FAIL, after=8)
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.stored.get(METER) == 20)
    assert sorted(set(ward.data(METER))) == sorted(of_meter(meter))


async def test_a_session_has_one_deadline(ward: Ward) -> None:
    meter = await ward.meter(5)
    meter.access.fault = Fault(kind=Misbehaviour.SILENCE, after=2)
    session = 0.5 * SLOWER
    async with ward.reading(A_METER, timings=replace(BRISK, session=session, silence=60.0)):
        await ward.until(lambda: ward.health(METER).failures)
        assert ward.health(METER).error == f"the session was not finished after {session:g} s"
        await ward.until(lambda: ward.sessions_ended)


async def test_a_house_that_is_slow_is_no_silence_of_the_device(ward: Ward) -> None:
    """Back-pressure holds the records in the link for longer than the procedure's timer allows for silence."""
    meter = await ward.meter(3)
    deliver = ward.deliver

    async def slowly(packet: Packet, settled: Callable[[], None]) -> None:
        held_up = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * BRISK.silence, held_up.set)
        await held_up.wait()
        await deliver(packet, settled)

    ward.deliver = slowly  # type: ignore[method-assign]
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.sessions_ended)
        assert ward.health(METER).error is None
    assert ward.data(METER) == of_meter(meter)


async def test_an_absent_device_keeps_nobody_waiting(ward: Ward) -> None:
    await ward.meter(2)
    async with ward.reading(known("cuff", ABSENT), A_METER):
        await ward.until(lambda: ward.sessions_ended)
        absent = ward.health(ABSENT)
    assert len(ward.packets) == 2
    assert absent == DeviceHealth(address=ABSENT, kind="cuff")


async def test_a_device_that_vanishes_between_sight_and_connection_is_said_to_be_away(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = await ward.meter(2)
    vanished = False

    class Late(BleakClient):
        async def connect(self, **kwargs: Any) -> None:
            nonlocal vanished
            if not vanished:
                vanished = True
                await ward.radio.air.remove(meter.device)
            await super().connect(**kwargs)

    monkeypatch.setattr("ingest.links.ble_device.BleakClient", Late)
    async with ward.reading(A_METER, timings=replace(BRISK, connect=0.1 * SLOWER)):
        await ward.until(lambda: ward.health(METER).failures)
        assert ward.health(METER).error == NO_ANSWER
        back = await ward.meter(2)
        await ward.until(lambda: ward.stored.get(METER) == 2)
    assert ward.data(METER) == of_meter(back)


async def test_a_device_paired_while_the_link_runs_is_read_and_a_retired_one_is_left(ward: Ward) -> None:
    meter = await ward.meter(1)
    async with ward.reading():
        ward.known = [A_METER]
        await ward.until(lambda: ward.sessions_ended)
        assert len(ward.packets) == 1
        ward.known = []
        await ward.until(lambda: not ward.link.health().devices)
        await meter.measure(Decimal("0.00112"))
        ward.known = [A_METER]
        await ward.until(lambda: ward.stored.get(METER) == 2)  # and the first once more, for a new task knows nothing


class TwoControlPoints(GlucoseMeter):
    """As the Accu-Chek family: its maker's own service has a 2A52 too."""

    def services(self) -> list[gatt.Service]:
        makers = self.characteristic(0x2A52, write=lambda _link, _request: None, indicate=True)
        return [service(0xFFF0, [makers]), *super().services()]


async def test_a_second_control_point_of_the_maker_is_left_alone(ward: Ward) -> None:
    meter = TwoControlPoints(await ward.radio.air.device("meter+2", METER), a_clock())
    meter.add(a_record(4))
    await ward.started(meter)
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.packets)
    assert ward.data(METER) == of_meter(meter)


async def test_a_device_of_another_kind_is_named(ward: Ward) -> None:
    await ward.meter(1)
    async with ward.reading(known("cuff", METER)):
        await ward.until(lambda: ward.health(METER).failures)
        assert ward.health(METER).error == "this is no blood pressure cuff: it lacks the service 1810"


async def test_a_cuff_with_nothing_to_tell_is_left_after_a_while(ward: Ward) -> None:
    await ward.cuff()
    async with ward.reading(A_CUFF):
        await ward.until(lambda: ward.sessions_ended)
        assert ward.health(CUFF).error is None
    assert not ward.packets


async def test_a_live_value_stored_ahead_of_a_backfill_that_breaks_leaves_no_hole(ward: Ward) -> None:
    sensor = await ward.sensor(12)
    report = sensor.access._report

    async def break_off(record: CgmRecord) -> None:
        await report(record)
        if record.offset_min == 57:
            sensor.access._report = report
            await sensor.measure(Decimal(77))
            await ward.until(lambda: ward.stored[CGM] == 60)
            await sensor.hang_up()

    async with ward.reading(A_CGM):
        await ward.until(lambda: len(ward.packets) == 12)
        sensor.access._report = break_off
        for offset_min in (56, 57, 58, 59):
            sensor.add(CgmRecord(offset_min=offset_min, glucose=Decimal(80)))
        await sensor.hang_up()
        await ward.until(lambda: set(of_sensor(sensor)) <= set(ward.data(CGM)))
    assert of_sensor(sensor)[-1] in ward.data(CGM)[:15]


async def test_a_new_sensor_session_is_read_from_its_beginning(ward: Ward) -> None:
    sensor = await ward.sensor(12)
    async with ward.reading(A_CGM):
        await ward.until(lambda: len(ward.packets) == 12)
        sensor.records[:] = [
            CgmRecord(offset_min=0, glucose=Decimal(101)),
            CgmRecord(offset_min=5, glucose=Decimal(99)),
        ]
        sensor.session_start = NOON
        await sensor.hang_up()
        await ward.until(lambda: len(ward.packets) == 14)
    assert ward.packets[-1].session is not None
    assert ward.packets[-1].session.session_start == NOW


async def test_a_sensor_that_falls_silent_is_connected_anew(ward: Ward) -> None:
    await ward.sensor(12)
    silence = 0.2 * SLOWER
    async with ward.reading(A_CGM, timings=replace(BRISK, live_silence=silence)):
        await ward.until(lambda: ward.health(CGM).error)
        assert ward.health(CGM).error == f"connected, but no notification for {silence:g} s"
        await ward.until(lambda: ward.sessions_ended == 2)


async def test_the_stay_with_a_sensor_ends(ward: Ward) -> None:
    await ward.sensor(12)
    async with ward.reading(A_CGM, timings=replace(BRISK, stay=0.05)):
        await ward.until(lambda: ward.sessions_ended == 2)
        assert ward.health(CGM).error is None
    assert len(ward.packets) == 12


async def test_an_adapter_at_fault_is_reported_and_tried_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await ward.meter(1)
    failing = True

    class Failing(BleakScanner):
        async def start(self) -> None:
            if failing:
                raise BleakBluetoothNotAvailableError("off", BleakBluetoothNotAvailableReason.POWERED_OFF)
            await super().start()

    monkeypatch.setattr("ingest.links.ble_scan.BleakScanner", Failing)
    async with ward.reading(A_METER):
        await ward.until(lambda: ward.link.health().adapter)
        assert ward.link.health().adapter == SWITCHED_OFF
        failing = False
        await ward.until(lambda: ward.sessions_ended)
        await ward.until(lambda: ward.link.health().adapter is None)
    assert [record.message for record in caplog.records if "adapter" in record.message] == [
        f"Bluetooth: {SWITCHED_OFF}",
        "Bluetooth: the adapter works again",
    ]


async def test_the_probe_is_content_with_an_adapter_that_scans(ward: Ward) -> None:
    assert await probe(ward.radio.scanner_kwargs) is None

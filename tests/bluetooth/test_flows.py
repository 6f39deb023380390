"""Whole sessions of the Bluetooth link over every radio: what the device has arrives, each record once."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ingest.decode import decode
from ingest.reading import DecodeError
from simulators.encode import CgmRecord
from simulators.gatt_server import STANDARD, Security
from simulators.record_access import Fault, Misbehaviour
from tests.bluetooth.person import Person
from tests.bluetooth.ward import BRISK, CGM, CUFF, METER, NOW, Ward, known, of_cuff, of_meter, of_sensor


async def test_a_thousand_records_with_their_contexts(ward: Ward) -> None:
    meter = await ward.meter(1000)
    meter.clock.error = timedelta(minutes=-7)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.sessions_ended)
        assert ward.health(METER).error is None
        assert (ward.health(METER).last_seen, ward.health(METER).last_read) == (NOW, NOW)
        assert ward.health(METER).packets == 1000
    assert ward.data(METER) == of_meter(meter)
    assert sum(packet.companion is not None for packet in ward.packets) == 250
    packet = ward.packets[-1]
    assert (packet.link, packet.sender, packet.received_at) == ("ble", METER, NOW)
    assert packet.session is not None
    assert packet.session.clock_offset == timedelta(minutes=-7)


async def test_a_link_lost_in_the_middle_costs_no_record(ward: Ward) -> None:
    meter = await ward.meter(300)
    meter.access.fault = Fault(kind=Misbehaviour.HANG_UP, after=100)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.health(METER).failures)
        assert "lost before the device had reported all" in (ward.health(METER).error or "")
        meter.access.fault = None
        await ward.until(lambda: ward.stored.get(METER) == 300)
    assert ward.data(METER) == of_meter(meter), "read on from the last stored record"


async def test_a_meter_that_vanishes_in_the_middle_is_read_when_it_is_back(ward: Ward) -> None:
    meter = await ward.meter(300)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: len(ward.packets) > 20)
        await ward.radio.air.remove(meter.device)
        await ward.until(lambda: ward.health(METER).failures)
        back = await ward.meter(300)
        await ward.until(lambda: ward.stored.get(METER) == 300)
    assert list(dict.fromkeys(ward.data(METER))) == of_meter(back)


async def test_a_silent_meter_is_left_and_read_later(ward: Ward) -> None:
    meter = await ward.meter(5)
    meter.access.fault = Fault(kind=Misbehaviour.SILENCE, after=2)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.health(METER).failures)
        said = f"the device began to report its records and then said nothing for {BRISK.silence:g} s"
        assert ward.health(METER).error == said
        assert len(ward.packets) == 2
        meter.access.fault = None
        await ward.until(lambda: ward.stored.get(METER) == 5)
        await ward.until(lambda: ward.health(METER).error is None)
    assert ward.data(METER) == of_meter(meter)


async def test_a_later_session_reads_only_what_is_newer(ward: Ward) -> None:
    meter = await ward.meter(10)
    async with ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.sessions_ended == 2)
        assert len(ward.packets) == 10
        await meter.measure(Decimal("0.00112"))
        await ward.until(lambda: len(ward.packets) == 11)
        assert ward.health(METER).error is None
    assert ward.data(METER) == of_meter(meter)


async def test_a_meter_that_wants_a_bond_is_paired_and_read_again(ward: Ward) -> None:
    meter = await ward.meter(6, replace(STANDARD, security=Security.ENCRYPTED))
    async with ward.radio.offer(Person()), ward.reading(known("meter", METER)):
        await ward.until(lambda: ward.sessions_ended == 2)
        assert ward.health(METER).error is None
    assert ward.data(METER) == of_meter(meter)


async def test_a_cuff_hangs_up_and_comes_again(ward: Ward) -> None:
    cuff = await ward.cuff(118, 131, 145, make=replace(STANDARD, sleeps=True), hangs_up=True)
    await cuff.wake()
    async with ward.reading(known("cuff", CUFF)):
        await ward.until(lambda: len(ward.packets) == 3)
        await ward.until(lambda: ward.sessions_ended)
        await cuff.measure(Decimal(122), Decimal(79))
        await ward.until(lambda: len(ward.packets) == 4)
        await ward.until(lambda: ward.sessions_ended == 2)
        assert ward.health(CUFF).error is None
    assert ward.data(CUFF) == of_cuff(cuff)


@pytest.mark.parametrize("crc", [False, True])
async def test_a_sensor_tells_its_past_each_value_live_and_what_was_missed(ward: Ward, crc: bool) -> None:
    sensor = await ward.sensor(12, crc=crc)
    async with ward.reading(known("cgm", CGM)):
        await ward.until(lambda: len(ward.packets) == 12)
        await sensor.measure(Decimal(54))
        await ward.until(lambda: len(ward.packets) == 13)
        await sensor.hang_up()
        sensor.add(CgmRecord(offset_min=65, glucose=Decimal(52)))
        await ward.until(lambda: len(ward.packets) == 14)
    assert ward.data(CGM) == of_sensor(sensor)
    assert not any(isinstance(value, DecodeError) for packet in ward.packets for value in decode(packet))
    session = ward.packets[0].session
    assert session is not None
    assert session.session_start == NOW - timedelta(hours=1)
    assert session.clock_offset == timedelta(0)


async def test_three_kinds_side_by_side(ward: Ward) -> None:
    meter, cuff, sensor = await ward.meter(50), await ward.cuff(118, 131), await ward.sensor(12)
    everyone = known("meter", METER), known("cuff", CUFF), known("cgm", CGM)
    async with ward.reading(*everyone, timings=replace(BRISK, rest=5.0)):
        await ward.until(lambda: len(ward.packets) == 64)
    assert ward.data(METER) == of_meter(meter)
    assert ward.data(CUFF) == of_cuff(cuff)
    assert ward.data(CGM) == of_sensor(sensor)

"""The simulated devices, read by a plain Bumble central over the virtual air: no code of the gateway takes part."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from bumble.att import ATT_Error
from bumble.device import Advertisement, Device
from bumble.pairing import PairingConfig, PairingDelegate

from simulators import encode
from simulators.air import Air
from simulators.cgm import CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseContext, GlucoseRecord, PressureRecord
from simulators.gatt_server import Make, Security
from simulators.meter import GlucoseMeter
from simulators.record_access import Fault, Misbehaviour
from tests.simulators.conftest import NOON, PATIENCE_S, Client, HandMovedTime

PAIRS = json.loads((Path(__file__).parent.parent / "vectors" / "ble.json").read_text())["control_point_pairs"][
    "pairs"
]
REPORT_ALL = b"\x01\x01"
ABORT = b"\x03\x00"
OWN_STEPS = {
    "abort while reporting",
    "write without the indication CCCD",
    "write while a procedure runs",
    "SOCP start twice",
    "SOCP stop session",
    "SOCP without CRC, CRC required",
    "SOCP bad CRC",
}


async def meter_with(air: Air, time: HandMovedTime, count: int, make: Make | None = None) -> GlucoseMeter:
    """A meter on the air with so many records, of which every fourth has a context."""
    device = await air.device("meter+0001", "C4:00:00:00:00:01")
    meter = GlucoseMeter(device, time.clock(), make or Make())
    for sequence in range(1, count + 1):
        meter.add(
            GlucoseRecord(
                sequence=sequence,
                base_time=NOON + timedelta(minutes=sequence),
                concentration=Decimal(40 + sequence % 400).scaleb(-5),
                context=GlucoseContext(meal=1 + sequence % 5) if sequence % 4 == 0 else None,
            )
        )
    await meter.start()
    return meter


async def sensor_with(air: Air, time: HandMovedTime, *, crc: bool, running: bool) -> CgmSensor:
    device = await air.device("cgm-1", "C4:00:00:00:00:03")
    sensor = CgmSensor(device, time.clock(), session_start=NOON if running else None, crc=crc)
    await sensor.start()
    return sensor


async def cuff_with(
    air: Air, time: HandMovedTime, *, hangs_up: bool = False, make: Make | None = None
) -> BloodPressureCuff:
    device = await air.device("cuff-1", "C4:00:00:00:00:02")
    cuff = BloodPressureCuff(device, time.clock(), make or Make(), hangs_up=hangs_up)
    await cuff.start()
    return cuff


async def refusal(client: Client, uuid: int, value: bytes) -> int:
    with pytest.raises(ATT_Error) as caught:
        await client.write(uuid, value)
    return int(caught.value.error_code)


# Record access: the request and answer pairs


@pytest.mark.parametrize(
    "pair",
    [pair for pair in PAIRS if pair["uuid"] == "2a52" and pair["case"] not in OWN_STEPS],
    ids=lambda pair: pair["case"],
)
async def test_record_access_pair(pair: dict[str, str], air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 1000)
    client = await Client.of(central, meter)
    await client.subscribe(0x2A18, 0x2A34, 0x2A52)
    answer = await client.answer(0x2A52, bytes.fromhex(pair["write"]))
    assert answer.hex() == pair["answer"]
    records = {"1 record": 1, "2 records": 2, "11 records": 11, "none": 0, "after 1000 x 2A18 and 250 x 2A34": 1000}
    assert len(client.values(0x2A18)) == records.get(pair.get("note", ""), 0)


async def test_all_records_arrive_as_they_are_meant(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 1000)
    client = await Client.of(central, meter)
    await client.subscribe(0x2A18, 0x2A34, 0x2A52)
    assert await client.answer(0x2A52, REPORT_ALL) == b"\x06\x00\x01\x01"
    assert client.values(0x2A18) == [encode.glucose_measurement(record) for record in meter.records]
    assert len(client.values(0x2A34)) == 250
    assert client.heard[3:5] == [
        (0x2A18, encode.glucose_measurement(meter.records[3])),
        (0x2A34, encode.glucose_context(4, GlucoseContext(meal=5))),
    ]


async def test_abort_while_reporting(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 1000)
    client = await Client.of(central, meter)
    await client.subscribe(0x2A18, 0x2A52)
    await client.write(0x2A52, REPORT_ALL)
    await client.until(lambda: client.values(0x2A18))
    assert await client.answer(0x2A52, ABORT) == b"\x06\x00\x03\x01"
    stopped_at = len(client.values(0x2A18))
    assert stopped_at < 1000
    assert await client.answer(0x2A52, b"\x04\x01") == b"\x05\x00\xe8\x03"
    assert len(client.values(0x2A18)) == stopped_at
    assert len(client.values(0x2A52)) == 2


async def test_write_without_the_indication_cccd(air: Air, central: Device, time: HandMovedTime) -> None:
    client = await Client.of(central, await meter_with(air, time, 1))
    assert await refusal(client, 0x2A52, REPORT_ALL) == 0xFD


async def test_write_while_a_procedure_runs(air: Air, central: Device, time: HandMovedTime) -> None:
    client = await Client.of(central, await meter_with(air, time, 1000))
    await client.subscribe(0x2A18, 0x2A52)
    await client.write(0x2A52, REPORT_ALL)
    assert await refusal(client, 0x2A52, REPORT_ALL) == 0xFE


async def test_delete_forgets_records(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 5)
    client = await Client.of(central, meter)
    await client.subscribe(0x2A52)
    assert await client.answer(0x2A52, bytes.fromhex("02020103 00".replace(" ", ""))) == b"\x06\x00\x02\x01"
    assert [record.sequence for record in meter.records] == [4, 5]
    assert await client.answer(0x2A52, bytes.fromhex("0202010300")) == b"\x06\x00\x02\x06"


# Faults


async def test_hang_up_after_three_records(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 10)
    meter.access.fault = Fault(kind=Misbehaviour.HANG_UP, after=3)
    client = await Client.of(central, meter)
    await client.subscribe(0x2A18, 0x2A52)
    await client.write(0x2A52, REPORT_ALL)
    await client.until(client.ended.is_set)
    assert len(client.values(0x2A18)) == 3
    meter.access.fault = None
    again = await Client.of(central, meter)
    await again.subscribe(0x2A18, 0x2A52)
    assert await again.answer(0x2A52, bytes.fromhex("0103010400")) == b"\x06\x00\x01\x01"
    assert len(again.values(0x2A18)) == 7


async def test_not_completed_after_two_records(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 10)
    meter.access.fault = Fault(kind=Misbehaviour.FAIL, after=2)
    client = await Client.of(central, meter)
    await client.subscribe(0x2A18, 0x2A52)
    assert await client.answer(0x2A52, REPORT_ALL) == b"\x06\x00\x01\x08"
    assert len(client.values(0x2A18)) == 2


async def test_silent_procedure_runs_until_aborted(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 10)
    meter.access.fault = Fault(kind=Misbehaviour.SILENCE)
    client = await Client.of(central, meter)
    await client.subscribe(0x2A18, 0x2A52)
    await client.write(0x2A52, REPORT_ALL)
    assert await refusal(client, 0x2A52, REPORT_ALL) == 0xFE
    assert await client.answer(0x2A52, ABORT) == b"\x06\x00\x03\x01"
    assert client.values(0x2A18) == []


async def test_a_device_off_the_air_ends_the_link(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 1)
    client = await Client.of(central, meter)
    await air.remove(meter.device)
    await client.until(client.ended.is_set)


# What every device tells of itself


async def test_identity_and_battery(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(
        air, time, 0, Make(manufacturer="A maker with a name longer than 23", model="M", serial="S7")
    )
    meter.battery_pct = 37
    client = await Client.of(central, meter)
    assert await client.read(0x2A29) == b"A maker with a name longer than 23"
    assert [await client.read(uuid) for uuid in (0x2A24, 0x2A25, 0x2A26)] == [b"M", b"S7", b"1.0"]
    assert await client.read(0x2A19) == b"\x25"
    assert client.connection.att_mtu == 23


async def test_advertises_its_service_and_name(air: Air, central: Device, time: HandMovedTime) -> None:
    await meter_with(air, time, 0)
    seen: asyncio.Queue[Advertisement] = asyncio.Queue()
    central.on("advertisement", seen.put_nowait)
    await central.start_scanning()
    async with asyncio.timeout(PATIENCE_S):
        advertisement = await seen.get()
    assert advertisement.data_bytes == b"\x02\x01\x06" + b"\x03\x03\x08\x18" + b"\x0b\x09meter+0001"


async def test_clock_is_wrong_until_it_is_set(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 0)
    meter.clock.error = timedelta(hours=-1)
    client = await Client.of(central, meter)
    assert (await client.read(0x2A08)).hex() == "ea070b150b0000"
    assert (await client.read(0x2A2B)).hex() == "ea070b150b0000060000"  # a Saturday
    await client.write(0x2A08, encode.date_time(NOON))
    assert meter.clock.error == timedelta(0)
    await client.write(0x2A2B, encode.current_time(NOON + timedelta(days=1)))
    assert meter.clock.error == timedelta(days=1)


async def test_date_time_of_6_octets(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 0)
    client = await Client.of(central, meter)
    assert await refusal(client, 0x2A08, bytes.fromhex("ea0701020304")) == 0x0D
    assert await refusal(client, 0x2A08, bytes.fromhex("ea070d01000000")) == 0xFF
    assert meter.clock.error == timedelta(0)


async def test_a_device_without_a_clock(air: Air, central: Device, time: HandMovedTime) -> None:
    client = await Client.of(central, await meter_with(air, time, 0, Make(has_clock=False)))
    assert not {"2A08", "2A2B"} & {c.uuid.to_hex_str() for s in client.peer.services for c in s.characteristics}


async def test_what_is_not_offered_is_refused(air: Air, central: Device, time: HandMovedTime) -> None:
    client = await Client.of(central, await meter_with(air, time, 1))
    with pytest.raises(ATT_Error) as caught:
        await client.read(0x2A18)
    assert caught.value.error_code == 0x02
    assert await refusal(client, 0x2A51, b"\x00\x00") == 0x03


async def test_a_fault_of_the_device_is_answered(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 1)
    meter.battery_pct = 300
    client = await Client.of(central, meter)
    with pytest.raises(ATT_Error) as caught:
        await client.read(0x2A19)
    assert caught.value.error_code == 0x0E


async def test_a_sleeping_meter_wakes_to_measure(air: Air, central: Device, time: HandMovedTime) -> None:
    meter = await meter_with(air, time, 0, Make(sleeps=True))
    assert not meter.device.is_advertising
    record = await meter.measure(Decimal("0.0056"), unit="mol/L")
    assert record == GlucoseRecord(sequence=1, base_time=NOON, concentration=Decimal("0.0056"), unit="mol/L")
    client = await Client.of(central, meter)
    await client.subscribe(0x2A18, 0x2A52)
    await client.answer(0x2A52, REPORT_ALL)
    assert client.values(0x2A18) == [encode.glucose_measurement(record)]
    await client.connection.disconnect()
    assert not meter.device.is_advertising
    assert (await meter.measure(Decimal("0.0057"), unit="mol/L")).sequence == 2
    assert meter.device.is_advertising


# Security


class PasskeyReader(PairingDelegate):
    """A person who types what they read on the device."""

    def __init__(self, passkey: int) -> None:
        super().__init__(PairingDelegate.IoCapability.KEYBOARD_INPUT_ONLY)
        self.passkey = passkey

    async def get_number(self) -> int:
        return self.passkey


async def test_just_works_opens_an_encrypted_device(air: Air, central: Device, time: HandMovedTime) -> None:
    client = await Client.of(central, await meter_with(air, time, 1, Make(security=Security.ENCRYPTED)))
    assert await refusal(client, 0x2A52, REPORT_ALL) == 0x05
    with pytest.raises(ATT_Error):
        await client.subscribe(0x2A52)
    central.pairing_config_factory = lambda _connection: PairingConfig(mitm=False)
    await client.connection.pair()
    await client.subscribe(0x2A52)
    assert await client.answer(0x2A52, b"\x04\x01") == b"\x05\x00\x01\x00"


async def test_just_works_does_not_open_a_passkey_device(air: Air, central: Device, time: HandMovedTime) -> None:
    client = await Client.of(central, await meter_with(air, time, 1, Make(security=Security.PASSKEY)))
    central.pairing_config_factory = lambda _connection: PairingConfig(mitm=False)
    await client.connection.pair()
    assert client.connection.encryption
    assert await refusal(client, 0x2A52, REPORT_ALL) == 0x05


async def test_the_passkey_opens_a_passkey_device(air: Air, central: Device, time: HandMovedTime) -> None:
    make = Make(security=Security.PASSKEY, passkey=907312)
    client = await Client.of(central, await meter_with(air, time, 1, make))
    central.pairing_config_factory = lambda _connection: PairingConfig(delegate=PasskeyReader(907312))
    await client.connection.pair()
    await client.subscribe(0x2A52)
    assert await client.answer(0x2A52, b"\x04\x01") == b"\x05\x00\x01\x00"


# Cuff


async def test_a_cuff_sends_what_it_has_and_hangs_up(air: Air, central: Device, time: HandMovedTime) -> None:
    cuff = await cuff_with(air, time, hangs_up=True)
    nan = Decimal("NaN")
    cuff.add(PressureRecord(systolic=Decimal(128), diastolic=Decimal(82), mean=Decimal(97), pulse=Decimal(66)))
    cuff.add(
        PressureRecord(systolic=Decimal("18.9"), diastolic=Decimal(11), mean=Decimal("15.9"), unit="kPa", status=4)
    )
    cuff.add(PressureRecord(systolic=nan, diastolic=nan, mean=nan, time=NOON))
    client = await Client.of(central, cuff)
    assert await client.read(0x2A49) == b"\x00\x00"
    await client.subscribe(0x2A35)
    await client.until(client.ended.is_set)
    assert client.values(0x2A35) == [encode.blood_pressure(record) for record in cuff.records]
    assert not cuff.unsent


async def test_a_cuff_shows_its_pressure_and_sends_each_value_once(
    air: Air, central: Device, time: HandMovedTime
) -> None:
    cuff = await cuff_with(air, time)
    client = await Client.of(central, cuff)
    await client.subscribe(0x2A36, 0x2A35)
    first = await cuff.measure(Decimal(182), Decimal(121), pulse=Decimal(80))
    await client.until(lambda: client.values(0x2A35))
    assert client.heard[0] == (0x2A36, bytes.fromhex("002800ff07ff07"))
    assert client.values(0x2A35) == [encode.blood_pressure(first)]
    assert first.time == NOON
    await client.connection.disconnect()
    second = await cuff.measure(Decimal(140), Decimal(90))
    again = await Client.of(central, cuff)
    await again.subscribe(0x2A35)
    await again.until(lambda: again.values(0x2A35))
    assert again.values(0x2A35) == [encode.blood_pressure(second)]


# CGM


async def test_specific_ops_pairs(air: Air, central: Device, time: HandMovedTime) -> None:
    sensor = await sensor_with(air, time, crc=False, running=False)
    client = await Client.of(central, sensor)
    assert await refusal(client, 0x2AAC, b"\x1a") == 0xFD
    await client.subscribe(0x2AAC)
    told = [pair for pair in PAIRS if pair["uuid"] == "2aac" and "CRC" not in pair["case"]]
    assert [pair["case"] for pair in told] == [
        "SOCP start session",
        "SOCP start twice",
        "SOCP op 8 not supported",
        "SOCP stop session",
    ]
    for pair in told:
        assert (await client.answer(0x2AAC, bytes.fromhex(pair["write"]))).hex() == pair["answer"]
    assert await client.answer(0x2AAC, b"\x02") == b"\x03\x05"
    assert await client.answer(0x2AAC, b"\x01\x0a") == b"\x1c\x01\x01"
    assert await client.answer(0x2AAC, b"\x01") == b"\x1c\x01\x03"
    assert sensor.interval_min == 10


async def test_specific_ops_with_crc(air: Air, central: Device, time: HandMovedTime) -> None:
    client = await Client.of(central, await sensor_with(air, time, crc=True, running=False))
    await client.subscribe(0x2AAC)
    assert await refusal(client, 0x2AAC, b"\x1a") == 0x80
    assert await refusal(client, 0x2AAC, b"\x1a\x00\x00") == 0x81
    answer = await client.answer(0x2AAC, encode.with_crc(b"\x1a"))
    assert answer == encode.with_crc(b"\x1c\x1a\x01")


@pytest.mark.parametrize("crc", [False, True])
async def test_a_sensor_notifies_live_and_keeps_its_session(
    crc: bool, air: Air, central: Device, time: HandMovedTime
) -> None:
    sensor = await sensor_with(air, time, crc=crc, running=True)
    sensor.zone_quarters, sensor.dst = 32, 0
    sensor.add(CgmRecord(offset_min=0, glucose=Decimal(101)))
    time.now += timedelta(minutes=5)
    await sensor.measure(Decimal(97))
    client = await Client.of(central, sensor)
    await client.subscribe(0x2AA7, 0x2A52)
    assert await client.answer(0x2A52, bytes.fromhex("0103010500")) == b"\x06\x00\x01\x01"
    time.now += timedelta(minutes=5)
    live = await sensor.measure(Decimal(53), trend=Decimal("-1.2"), quality_pct=Decimal(98), status=0x02)
    assert live.offset_min == 10
    await client.until(lambda: len(client.values(0x2AA7)) == 2)
    assert client.values(0x2AA7) == [encode.cgm_measurement(record, crc=crc) for record in sensor.records[1:]]
    assert await client.read(0x2AA9) == encode.cgm_status(10, (0, 0, 0), crc=crc)
    assert await client.read(0x2AAA) == encode.cgm_session_start(NOON, 32, 0, crc=crc)
    assert (await client.read(0x2AA8))[3] == 0x59
    assert (await client.read(0x2AAB))[:2] == b"\x50\x01"


async def test_session_start_follows_from_the_present_time(air: Air, central: Device, time: HandMovedTime) -> None:
    sensor = await sensor_with(air, time, crc=True, running=True)
    sensor.clock.error = timedelta(0)
    time.now += timedelta(minutes=30)
    present = datetime(2026, 11, 21, 20, 0)
    client = await Client.of(central, sensor)
    await client.write(0x2AAA, encode.cgm_session_start(present, 4, 4, crc=True))
    assert sensor.session_start == present - timedelta(minutes=30)
    assert await client.read(0x2AAA) == encode.cgm_session_start(sensor.session_start, 4, 4, crc=True)
    assert await refusal(client, 0x2AAA, b"\x00\x00\x00") == 0x81

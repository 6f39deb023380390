"""The request and answer pairs of the control points, asked through bleak's public API over every radio."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import pytest
from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str

from simulators import encode
from simulators.cgm import CgmSensor
from simulators.encode import GlucoseContext, GlucoseRecord
from simulators.gatt_server import DeviceClock
from simulators.meter import GlucoseMeter
from tests.bluetooth.radio import SLOWER, Radio

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "ble.json").read_text())
PAIRS: list[dict[str, str]] = VECTORS["control_point_pairs"]["pairs"]
RECORDS_SENT = {
    "after 1000 x 2A18 and 250 x 2A34": 1000,
    "1 record": 1,
    "2 records": 2,
    "11 records": 11,
    "none": 0,
}
WITH_CRC = ("SOCP without CRC, CRC required", "SOCP bad CRC")
SESSION_RUNS = ("SOCP start twice", "SOCP stop session")
AFTER_A_REPORT_BEGAN = ("abort while reporting", "write while a procedure runs")

NOON = datetime(2026, 11, 21, 12, 0)
METER, SENSOR = "C4:00:00:00:00:01", "C4:00:00:00:00:02"
PATIENCE_S = 10.0 * SLOWER


class Conversation:
    """A connected client. `heard` gathers every value that came, in order, as (UUID, value)."""

    def __init__(self, client: BleakClient) -> None:
        self._client = client
        self._news = asyncio.Event()
        self.heard: list[tuple[str, bytes]] = []

    @classmethod
    @asynccontextmanager
    async def with_device(cls, radio: Radio, address: str) -> AsyncIterator[Self]:
        found = await BleakScanner.find_device_by_address(address, timeout=PATIENCE_S, **radio.scanner_kwargs)
        assert found is not None
        async with BleakClient(found, timeout=PATIENCE_S, **radio.client_kwargs) as client:
            yield cls(client)

    async def subscribe(self, *uuids: str) -> None:
        for uuid in uuids:

            def heard(_characteristic: Any, value: bytearray, uuid: str = uuid) -> None:
                self.heard.append((uuid, bytes(value)))
                self._news.set()

            await self._client.start_notify(self._find(uuid), heard)

    async def write(self, uuid: str, value: str) -> None:
        await self._client.write_gatt_char(self._find(uuid), bytes.fromhex(value), response=True)

    async def result(self, uuid: str, value: str) -> str:
        """What a write leads to: the next indication, or the ATT error."""
        before = len(self.values(uuid))
        try:
            await self.write(uuid, value)
        except BleakGATTProtocolError as error:
            return f"ATT error 0x{int(error.code):02X}"
        await self.until(uuid, before + 1)
        return self.values(uuid)[before].hex()

    async def until(self, uuid: str, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.values(uuid)) < count:
                self._news.clear()
                await self._news.wait()

    def values(self, uuid: str) -> list[bytes]:
        return [value for source, value in self.heard if source == uuid]

    def _find(self, uuid: str) -> BleakGATTCharacteristic:
        found = self._client.services.get_characteristic(normalize_uuid_str(uuid))
        assert found is not None
        return found


async def a_meter(radio: Radio) -> GlucoseMeter:
    """With the thousand records that the pairs are about; every fourth one has a context."""
    meter = GlucoseMeter(await radio.air.device("meter+0001", METER), DeviceClock(lambda: NOON))
    for sequence in range(1, 1001):
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


async def a_sensor(radio: Radio, *, running: bool, crc: bool) -> CgmSensor:
    device = await radio.air.device("cgm-1", SENSOR)
    sensor = CgmSensor(device, DeviceClock(lambda: NOON), session_start=NOON if running else None, crc=crc)
    await sensor.start()
    return sensor


def case(pair: dict[str, str]) -> str:
    return pair["case"]


def test_all_pairs_are_asked() -> None:
    assert len(PAIRS) == 26
    assert {pair["uuid"] for pair in PAIRS} == {"2a52", "2aac", "2a08"}


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair["uuid"] != "2aac"], ids=case)
async def test_a_meter_answers(radio: Radio, pair: dict[str, str]) -> None:
    meter = await a_meter(radio)
    async with Conversation.with_device(radio, METER) as talk:
        if pair["case"] != "write without the indication CCCD":
            await talk.subscribe("2a18", "2a34", "2a52")
        if pair["case"] in AFTER_A_REPORT_BEGAN:
            await talk.write("2a52", "0101")
            await talk.until("2a18", 1)
        assert await talk.result(pair["uuid"], pair["write"]) == pair["answer"]
        if pair["case"] == "abort while reporting":
            assert len(talk.values("2a18")) < 1000
            assert await talk.result("2a52", "0401") == "0500e803", "the report was not answered as well"
        if (count := RECORDS_SENT.get(pair.get("note", ""))) is not None:
            assert len(talk.values("2a18")) == count
        if count == 1000:
            assert talk.heard == [*everything(meter), ("2a52", bytes.fromhex(pair["answer"]))]


def everything(meter: GlucoseMeter) -> list[tuple[str, bytes]]:
    values = []
    for record in meter.records:
        values.append(("2a18", encode.glucose_measurement(record)))
        if record.context is not None:
            values.append(("2a34", encode.glucose_context(record.sequence, record.context)))
    return values


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair["uuid"] == "2aac"], ids=case)
async def test_a_sensor_answers(radio: Radio, pair: dict[str, str]) -> None:
    await a_sensor(radio, running=pair["case"] in SESSION_RUNS, crc=pair["case"] in WITH_CRC)
    async with Conversation.with_device(radio, SENSOR) as talk:
        await talk.subscribe("2aac")
        assert await talk.result("2aac", pair["write"]) == pair["answer"]


async def test_a_session_is_started_with_a_crc_where_the_sensor_wants_one(radio: Radio) -> None:
    await a_sensor(radio, running=False, crc=True)
    async with Conversation.with_device(radio, SENSOR) as talk:
        await talk.subscribe("2aac")
        assert await talk.result("2aac", encode.with_crc(b"\x1a").hex()) == encode.with_crc(b"\x1c\x1a\x01").hex()

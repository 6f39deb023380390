"""The publishing device against a real Mosquitto, and its payload against the house's own reader of it."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from ingest.payload import measurements
from ingest.reading import Flag, Measurement
from simulators.bodies import HI, LO
from simulators.publisher import Publisher, RefusedError, blood_pressure, glucose
from tests.peers import Mosquitto, mosquitto_broker

MORNING = datetime(2026, 11, 21, 8, 0, tzinfo=timezone(timedelta(hours=8)))
PATIENCE_S = 10.0


@pytest.fixture
def broker(mosquitto: str, tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto_broker(mosquitto, tmp_path) as running:
        yield running


@contextmanager
def listening(port: int) -> Iterator[queue.Queue[MQTTMessage]]:
    heard: queue.Queue[MQTTMessage] = queue.Queue()
    ready: queue.Queue[None] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: heard.put(message)
    client.on_subscribe = lambda *_: ready.put(None)
    client.connect("127.0.0.1", port)
    client.subscribe("homeward/v1/+/readings", qos=1)
    client.loop_start()
    ready.get(timeout=PATIENCE_S)
    yield heard
    client.disconnect()
    client.loop_stop()


async def next_of(heard: queue.Queue[MQTTMessage]) -> tuple[str, tuple[Measurement, ...]]:
    message = await asyncio.to_thread(heard.get, timeout=PATIENCE_S)
    read = measurements(bytes(message.payload), message.topic.split("/")[2])
    good = tuple(one for one in read if isinstance(one, Measurement))
    assert len(good) == len(read), read
    return message.topic, good


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
async def test_what_is_published_is_what_is_read(broker: Mosquitto, protocol: MQTTProtocolVersion) -> None:
    with listening(broker.port) as heard:
        async with Publisher("cgm-1", "127.0.0.1", broker.port, protocol=protocol) as publisher:
            await publisher.publish(glucose(Decimal("5.6"), MORNING, kind="cgm_glucose", unit="mmol/L", sequence=12))
            topic, (one,) = await next_of(heard)
            assert topic == "homeward/v1/cgm-1/readings"
            assert (one.device, one.sent, one.unit, one.sequence) == ("cgm-1", (5.6,), "mmol/L", 12)
            assert one.device_time == MORNING
            await publisher.publish(
                *(glucose(value, MORNING, kind="glucose", sequence=1) for value in (HI, LO, Decimal(104)))
            )
            _, (high, low, plain) = await next_of(heard)
            assert (high.sent, low.sent, plain.sent) == ((None,), (None,), (104.0,))
            assert (high.flags, low.flags) == (frozenset({Flag.ABOVE_RANGE}), frozenset({Flag.BELOW_RANGE}))


async def test_blood_pressure_travels_whole(broker: Mosquitto) -> None:
    with listening(broker.port) as heard:
        async with Publisher("cuff-1", "127.0.0.1", broker.port) as publisher:
            reading = blood_pressure(
                Decimal("18.9"),
                Decimal(11),
                MORNING.astimezone(UTC),
                pulse=Decimal(60),
                unit="kPa",
                flags=["irregular-pulse"],
                context={"arm": "left"},
            )
            await publisher.publish(reading)
            _, (one,) = await next_of(heard)
    assert one.sent == (18.9, 11.0, None, 60.0)
    assert one.flags == {Flag.IRREGULAR_PULSE}
    assert one.context == {"arm": "left"}


async def test_a_broker_that_returns_gets_what_was_not_acknowledged(broker: Mosquitto) -> None:
    async with Publisher("cgm-1", "127.0.0.1", broker.port) as publisher:
        broker.stop()
        late = asyncio.create_task(publisher.publish(glucose(Decimal(99), MORNING, kind="cgm_glucose")))
        broker.start()
        async with asyncio.timeout(PATIENCE_S):
            await late


async def test_a_number_that_json_has_not_is_not_sent(broker: Mosquitto) -> None:
    async with Publisher("cuff-1", "127.0.0.1", broker.port) as publisher:
        with pytest.raises(ValueError, match="JSON"):
            await publisher.publish(blood_pressure(Decimal("NaN"), Decimal("NaN"), MORNING))


async def test_a_stranger_is_refused(mosquitto: str, tmp_path: Path) -> None:
    with (
        mosquitto_broker(mosquitto, tmp_path, "allow_anonymous false") as closed,
        pytest.raises(RefusedError, match=r"[Nn]ot authori[sz]ed"),
    ):
        async with Publisher("cgm-1", "127.0.0.1", closed.port):
            pytest.fail("connected")

"""Other people's MQTT clients against the listener of a real house: what they sent is stored, each reading once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import gmqtt
import paho.mqtt.client as paho
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.house import House
from gateway.people import DeviceKind
from tests.conftest import need
from tests.peers import certificate
from tests.real_house import NOW, PATIENCE, HandClock, enrol, real_house, stored, until

DEVICE = "gm-1"
TOPIC = f"homeward/v1/{DEVICE}/readings"
PASSWORD = "sweet"
CUTS = (4_000, 2_500, 9_000)  # octets after which a connection is cut; the next one stands
MQTTJS = Path(__file__).parent / "mqttjs"


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a client is to come in. ca: PEM of the listener's certificate, None for no TLS."""

    port: int
    version: int
    qos: int
    ca: Path | None = None


Publisher: TypeAlias = Callable[[Way, list[bytes]], Awaitable[None]]


async def with_paho(way: Way, payloads: list[bytes]) -> None:
    def publish() -> None:
        v5 = way.version == 5
        client = paho.Client(
            CallbackAPIVersion.VERSION2, "paho", None if v5 else False, protocol=paho.MQTTv5 if v5 else paho.MQTTv311
        )
        client.reconnect_delay_set(1, 1)
        client.username_pw_set(DEVICE, PASSWORD)
        if way.ca is not None:
            client.tls_set(str(way.ca))
        if v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            client.connect("localhost", way.port, clean_start=False, properties=properties)
        else:
            client.connect("localhost", way.port)
        client.loop_start()
        sent = [client.publish(TOPIC, payload, qos=way.qos) for payload in payloads]
        for message in sent:
            message.wait_for_publish(PATIENCE)
        client.disconnect()
        client.loop_stop()
        assert all(message.is_published() for message in sent)

    await asyncio.to_thread(publish)


async def with_gmqtt(way: Way, payloads: list[bytes]) -> None:
    client = gmqtt.Client("gmqtt", clean_session=False, session_expiry_interval=3600)
    client.set_config({"reconnect_retries": -1, "reconnect_delay": 0})
    client.set_auth_credentials(DEVICE, PASSWORD)
    context = None if way.ca is None else ssl.create_default_context(cafile=str(way.ca))
    version = MQTTv50 if way.version == 5 else MQTTv311
    await client.connect("localhost", way.port, ssl=context or False, version=version)
    for payload in payloads:
        client.publish(TOPIC, payload, qos=way.qos)
    async with asyncio.timeout(PATIENCE):
        await client._persistent_storage.wait_empty()  # its own public calls do not say when all is acknowledged
    await client.disconnect()


async def with_mqttjs(way: Way, payloads: list[bytes]) -> None:
    how = f"node and npm, `npm ci` on {MQTTJS}/package-lock.json gives node_modules/.bin/mqtt_pub"
    node, environment = need("node", how), {**os.environ, "NODE_PATH": _modules(need("mqtt_pub", how))}
    options: dict[str, Any] = {
        "protocolVersion": way.version,
        "clientId": "mqttjs",
        "clean": False,
        "username": DEVICE,
        "password": PASSWORD,
        **({"properties": {"sessionExpiryInterval": 3600}} if way.version == 5 else {}),
        **({"ca": str(way.ca)} if way.ca else {}),
    }
    url = f"{'mqtts' if way.ca else 'mqtt'}://localhost:{way.port}"
    asked = json.dumps({"url": url, "qos": way.qos, "topic": TOPIC, "options": options})
    await _run(payloads, node, str(MQTTJS / "publish.js"), asked, env=environment)


def _modules(mqtt_pub: str) -> str:
    """The node_modules in which MQTT.js was installed: the program is a link into it."""
    return str(Path(mqtt_pub).resolve().parents[3])


async def with_mosquitto_pub(way: Way, payloads: list[bytes]) -> None:
    program = need("mosquitto_pub", "`apt-get install mosquitto-clients`")
    version = "5" if way.version == 5 else "311"
    arguments = ["-V", version, "-p", str(way.port), "-q", str(way.qos), "-t", TOPIC, "-u", DEVICE, "-P", PASSWORD]
    arguments += ["-l", "-h", "localhost", *(["--cafile", str(way.ca)] if way.ca else [])]
    await _run(payloads, program, *arguments)


async def _run(payloads: list[bytes], *command: str, env: dict[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=env,
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate(b"\n".join(payloads) + b"\n")
    assert (process.returncode, said) == (0, b"")


def readings(count: int) -> list[bytes]:
    return [
        json.dumps(
            {
                "version": 1,
                "device": DEVICE,
                "kind": "glucose",
                "value": 100 + number % 40,
                "unit": "mg/dL",
                "time": (NOW - timedelta(minutes=number)).isoformat(),
                "sequence": number,
            }
        ).encode()
        for number in range(1, count + 1)
    ]


@asynccontextmanager
async def ward(folder: Path, **listener: Any) -> AsyncIterator[House]:
    section = {"port": 0, "logins": {DEVICE: PASSWORD}, **listener}
    async with real_house(folder, HandClock(), listener=section) as house:
        await enrol(house, "ann", DEVICE, DeviceKind.METER)
        yield house


@asynccontextmanager
async def cutting_wire(port: int, cuts: tuple[int, ...]) -> AsyncIterator[int]:
    """A wire to a port that breaks: each of the first connections after so many octets from the client."""
    left, tasks = list(cuts), set[asyncio.Task[None]]()

    async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter, budget: float) -> None:
        with contextlib.suppress(ConnectionError):
            while budget > 0 and (octets := await source.read(512)):
                sink.write(octets)
                await sink.drain()
                budget -= len(octets)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", port)
        budget = left.pop(0) if left else float("inf")
        ways = {asyncio.ensure_future(pour(reader, here, budget)), asyncio.ensure_future(pour(there, writer, 1e9))}
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, here):
            end.transport.abort()
        await asyncio.wait(ways)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(connect(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1")
    async with server:
        yield server.sockets[0].getsockname()[1]
    assert not left, "the wire was not cut often enough"
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE)


async def sent_is_stored(house: House, payloads: list[bytes]) -> None:
    await until(lambda: house.listener is not None and house.listener.intake.unsettled == 0)
    kept = await stored(house, len(payloads))
    assert sorted(reading.sequence or 0 for reading in kept) == [json.loads(sent)["sequence"] for sent in payloads]


everyone = pytest.mark.parametrize(
    "publish", [with_paho, with_gmqtt, with_mqttjs, with_mosquitto_pub], ids=lambda client: client.__name__[5:]
)
both = pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])


@everyone
@both
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_sent_is_stored(tmp_path: Path, publish: Publisher, version: int, qos: int) -> None:
    payloads = readings(150)
    async with ward(tmp_path) as house:
        assert house.listener is not None
        await publish(Way(port=house.listener.port, version=version, qos=qos), payloads)
        await sent_is_stored(house, payloads)
        assert house.listener.counts.messages == len(payloads)


@everyone
@both
async def test_over_tls(tmp_path: Path, publish: Publisher, version: int) -> None:
    files, payloads = certificate(tmp_path), readings(50)
    async with ward(tmp_path, tls_certificate=files.certificate, tls_key=files.key) as house:
        assert house.listener is not None
        await publish(Way(port=house.listener.port, version=version, qos=1, ca=files.certificate), payloads)
        await sent_is_stored(house, payloads)


@pytest.mark.parametrize("publish", [with_paho, with_gmqtt, with_mqttjs], ids=lambda client: client.__name__[5:])
@both
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_wire_that_breaks_loses_and_doubles_nothing(
    tmp_path: Path, publish: Publisher, version: int, qos: int
) -> None:
    payloads = readings(150)
    async with ward(tmp_path) as house:
        assert house.listener is not None
        async with cutting_wire(house.listener.port, CUTS) as port:
            await publish(Way(port=port, version=version, qos=qos), payloads)
        await sent_is_stored(house, payloads)
        assert house.listener.counts.accepted > len(CUTS)
        if qos == 2 and publish is not with_gmqtt:  # gmqtt sends a message again whose PUBREC it has seen
            assert house.listener.counts.messages == len(payloads)

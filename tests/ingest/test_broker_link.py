"""The client of the clinic's broker, against a real Mosquitto."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.links.broker import BrokerLink, BrokerSettings, probe
from ingest.links.mqtt_wire import Publish
from ingest.links.topics import KEPT_OCTETS, MAX_PAYLOAD
from tests.ingest.house import NOW, PATIENCE, House, now, until
from tests.peers import Mosquitto, certificate, free_port, mosquitto_broker

TOPIC = "homeward/v1/gm-1/readings"

Version = Literal["5", "3.1.1"]
both = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.fixture
def broker(mosquitto: str, tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto_broker(mosquitto, tmp_path) as running:
        yield running


def settings(broker: Mosquitto, version: Version = "5", **more: Any) -> BrokerSettings:
    return BrokerSettings(
        host="127.0.0.1",
        port=broker.port,
        client_id="hub-1",
        version=version,
        retry_first=0.05,
        retry_longest=0.2,
        stop_timeout=0.2,
        **more,
    )


async def connected(link: BrokerLink) -> None:
    await until(lambda: link.trouble is None)


async def publish(broker: Mosquitto, *messages: tuple[str, bytes], qos: int = 1) -> None:
    """Publish as a device does and wait for the broker's word that it has them all."""

    def send() -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="device")
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        for sent in [client.publish(topic, payload, qos=qos) for topic, payload in messages]:
            sent.wait_for_publish(PATIENCE)
            assert sent.is_published()
        # QoS 0 has no word of the broker: that of a last message says that all before it were read.
        client.publish("elsewhere", qos=1).wait_for_publish(PATIENCE)
        client.disconnect()
        client.loop_stop()

    await asyncio.to_thread(send)


@both
async def test_messages_arrive_in_order_and_are_acknowledged_after_settled(
    broker: Mosquitto, version: Version
) -> None:
    house = House()
    link = BrokerLink(settings(broker, version), house.deliver, now)
    async with link.running():
        await connected(link)
        await publish(broker, *((TOPIC, b"%d" % number) for number in range(100)))
        taken = await house.take_many(100)
        assert [packet.data for packet, _ in taken] == [b"%d" % number for number in range(100)]
        assert {(packet.link, packet.sender, packet.fault) for packet, _ in taken} == {("broker", "gm-1", None)}
        assert link.counts.acknowledged == 0
        for _, settled in reversed(taken[1:]):
            settled()
        await asyncio.sleep(0)
        assert link.counts.acknowledged == 0
        taken[0][1]()
        await until(lambda: link.counts.acknowledged == 100)


@both
async def test_what_was_not_acknowledged_comes_again_after_a_restart_of_ours(
    broker: Mosquitto, version: Version
) -> None:
    first = House()
    link = BrokerLink(settings(broker, version), first.deliver, now)
    async with link.running():
        await connected(link)
        await publish(broker, (TOPIC, b"a"), (TOPIC, b"b"), (TOPIC, b"c"))
        taken = await first.take_many(3)
        taken[0][1]()
        taken[2][1]()  # settled, but b before it is not: neither may be acknowledged
    await publish(broker, (TOPIC, b"while away"))
    second = House(prompt=True)
    async with BrokerLink(settings(broker, version), second.deliver, now).running():
        again = [packet.data for packet, _ in await second.take_many(3)]
    assert again == [b"b", b"c", b"while away"]


@both
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nothing_is_lost_when_the_broker_restarts_in_the_middle(
    broker: Mosquitto, version: Version, end: Literal["stop", "kill"]
) -> None:
    house = House()
    link = BrokerLink(settings(broker, version), house.deliver, now)
    async with link.running():
        await connected(link)
        await publish(broker, *((TOPIC, b"%d" % number) for number in range(50)))
        before = await house.take_many(50)
        for _, settled in before[:20]:
            settled()
        await until(lambda: link.counts.acknowledged == 20)
        await asyncio.to_thread(getattr(broker, end))
        await until(lambda: link.trouble is not None)
        # These come too late for the connection they belong to: nothing may be acknowledged for them now.
        for _, settled in before[20:]:
            settled()
        await asyncio.sleep(0)
        assert link.counts.acknowledged == 20
        house.prompt = True
        await asyncio.to_thread(broker.start)
        await connected(link)
        await publish(broker, *((TOPIC, b"%d" % number) for number in range(50, 80)))
        await until(lambda: any(packet.data == b"79" for packet in house.packets))
    arrived = {int(packet.data) for packet in house.packets}
    assert arrived == set(range(80))
    if end == "stop":  # a killed Mosquitto forgets: its persistence is a snapshot
        again = [int(packet.data) for packet in house.packets[50:]]
        assert again[-60:] == list(range(20, 80))  # before them, what the broker had not read our word for


async def test_an_absent_broker_is_tried_again_and_said_once(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    broker.stop()
    house = House(prompt=True)
    link = BrokerLink(settings(broker), house.deliver, now)
    with caplog.at_level(logging.INFO, "ingest.links.broker"):
        async with link.running():
            await until(lambda: "refuses connections" in (link.trouble or ""))
            dials = link.counts.failures
            await until(lambda: link.counts.failures >= dials + 3)
            await asyncio.to_thread(broker.start)
            await connected(link)
            await publish(broker, (TOPIC, b"5.5"))
            await house.take()
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "refuses connections" in line]) == 1
    assert said[-1].startswith("connected")


async def test_the_window_is_as_large_as_asked(mosquitto: str, tmp_path: Path) -> None:
    with mosquitto_broker(mosquitto, tmp_path) as broker:
        house = House()
        link = BrokerLink(settings(broker, receive_maximum=500), house.deliver, now)
        async with link.running():
            await connected(link)
            await publish(broker, *((TOPIC, b"%d" % number) for number in range(600)))
            taken = await house.take_many(500)
            await publish(broker, ("homeward/v1/other/readings", b"later"))
            assert len(house.packets) == 500
            for _, settled in taken:
                settled()
            assert len(await house.take_many(101)) == 101


async def test_a_flood_of_qos_0_waits_at_the_socket(broker: Mosquitto) -> None:
    house = House()
    house.door_open.clear()
    link = BrokerLink(settings(broker, receive_maximum=10), house.deliver, now)
    async with link.running():
        await connected(link)
        await publish(broker, *((TOPIC, b"%d" % number) for number in range(500)), qos=0)
        await until(lambda: len(link) == 10)
        await publish(broker, (TOPIC, b"last"))
        assert len(link) == 10
        house.prompt = True
        house.door_open.set()
        await until(lambda: bool(house.packets) and house.packets[-1].data == b"last")
    assert [packet.data for packet in house.packets] == [b"%d" % number for number in range(500)] + [b"last"]


async def test_what_is_wrong_is_kept_and_acknowledged(broker: Mosquitto) -> None:
    house = House(prompt=True)
    link = BrokerLink(settings(broker), house.deliver, now)
    async with link.running():
        await connected(link)
        await publish(
            broker,
            ("homeward/v1/a b/readings", b"1"),
            ("homeward", b"2"),
            (TOPIC, b"7" * (MAX_PAYLOAD + 1)),
            ("homeward/v1/" + "x" * 65 + "/readings", b""),
            (TOPIC, b"5.5"),
        )
        packets = [packet for packet, _ in await house.take_many(5)]
        await until(lambda: link.counts.acknowledged == 5)
    assert [packet.fault is None for packet in packets] == [False, False, False, False, True]
    assert [packet.sender for packet in packets] == ["a_b", "topic:homeward", "gm-1", "x" * 64, "gm-1"]
    assert packets[2].data == b"7" * KEPT_OCTETS
    assert (link.counts.messages, link.counts.faults) == (5, 4)


async def test_a_prefix_of_the_clinic(broker: Mosquitto) -> None:
    house = House(prompt=True)
    link = BrokerLink(settings(broker, topic_prefix="clinic/ward-3/homeward"), house.deliver, now)
    async with link.running():
        await connected(link)
        await publish(
            broker,
            (TOPIC, b"of another house"),
            ("clinic/ward-3/homeward/v1/gm-1/readings", b"5.5"),
            ("clinic/ward-3/homeward/v1/gm-2/reading", b"5.6"),
        )
        packets = [packet for packet, _ in await house.take_many(2)]
    assert [(packet.sender, packet.fault is None) for packet in packets] == [("gm-1", True), ("gm-2", False)]


async def test_another_program_with_our_client_id_is_suspected(broker: Mosquitto) -> None:
    house = House(prompt=True)
    link = BrokerLink(replace(settings(broker), retry_first=PATIENCE, retry_longest=PATIENCE), house.deliver, now)
    async with link.running():
        await connected(link)
        other = paho.Client(CallbackAPIVersion.VERSION2, client_id="hub-1", protocol=paho.MQTTv5)
        await asyncio.to_thread(other.connect, "127.0.0.1", broker.port)
        await until(lambda: "client_id" in (link.trouble or ""))
        other.disconnect()


async def test_a_smaller_grant_is_said(mosquitto: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mosquitto_broker(mosquitto, tmp_path, "max_qos 0") as broker:
        link = BrokerLink(settings(broker), House(prompt=True).deliver, now)
        async with link.running():
            await connected(link)
            assert "QoS 0" in link.warnings[0]
        assert "QoS 0" in caplog.text


# Written by `mosquitto_passwd -c -b FILE hub sweet`.
PASSWORDS = (
    "hub:$7$101$vDZHknH+yAxxcly9$N0/khgPNHDyXmWT8WiXvyM6R6GTisTkzkT5Ug9g3Ok"
    "/LSN3bwED6JRjlF2b1FVWylyd4ZQzPcp4drb4Zh+kbAQ==\n"
)


@both
async def test_login_and_tls(mosquitto: str, tmp_path: Path, version: Version) -> None:
    files = certificate(tmp_path)
    (tmp_path / "passwords").write_text(PASSWORDS)
    with mosquitto_broker(
        mosquitto,
        tmp_path,
        "allow_anonymous false",
        f"password_file {tmp_path}/passwords",
        f"certfile {files.certificate}",
        f"keyfile {files.key}",
    ) as broker:
        good = settings(broker, version, username="hub", password="sweet", tls=True, tls_ca=files.certificate)
        house = House(prompt=True)
        link = BrokerLink(good, house.deliver, now)
        async with link.running():
            await connected(link)

            def send() -> None:
                client = paho.Client(CallbackAPIVersion.VERSION2)
                client.username_pw_set("hub", "sweet")
                client.tls_set(str(files.certificate))
                client.connect("127.0.0.1", broker.port)
                client.loop_start()
                for number in range(200):
                    last = client.publish(TOPIC, b"%d" % number + bytes(2000), qos=1)
                last.wait_for_publish(PATIENCE)
                client.disconnect()
                client.loop_stop()

            await asyncio.to_thread(send)
            await house.take_many(200)
            await until(lambda: link.counts.acknowledged == 200)
        for wrong, said in [
            (replace(good, password="salty"), "check username and password"),
            (replace(good, username=None, password=None), "no user name was given"),
            (replace(good, tls_ca=None), "set tls_ca"),
            (replace(good, tls_ca=tmp_path / "nowhere.pem"), "does not exist"),
            (replace(good, tls=False), "expect TLS"),
        ]:
            assert said in (await probe(wrong) or "all is well")


async def test_probe_says_what_is_wrong_and_what_to_do(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    good = settings(broker)
    assert await probe(good) is None
    assert "max_inflight_messages" in (await probe(replace(good, version="3.1.1")) or "all is well")
    monkeypatch.setattr("ingest.links.broker._ANSWER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for wrong, said in [
            (replace(good, port=free_port()), "start the broker there"),
            (replace(good, host="broker.invalid"), "is unknown"),
            (replace(good, host="broker..invalid"), "is unknown"),
            (replace(good, tls=True), "TLS"),
            (replace(good, port=silent.getsockname()[1]), "does not answer in MQTT"),
        ]:
            assert said in (await probe(wrong) or "all is well")


async def test_probe_leaves_the_session_of_the_link_alone(broker: Mosquitto) -> None:
    house = House(prompt=True)
    link = BrokerLink(settings(broker), house.deliver, now)
    async with link.running():
        await connected(link)
        assert await probe(link.settings) is None
        await publish(broker, (TOPIC, b"5.5"))
        await house.take()
        assert link.counts.connections == 1


async def test_what_the_queues_of_the_broker_have_lost_is_said(
    mosquitto: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto_broker(mosquitto, tmp_path, "sys_interval 1", "max_queued_messages 10") as broker:
        away = BrokerLink(settings(broker), House(prompt=True).deliver, now)
        async with away.running():
            await connected(away)
            assert away.warnings == ()
        await publish(broker, *((TOPIC, b"%d" % number) for number in range(30)))
        house = House(prompt=True)
        back = BrokerLink(settings(broker), house.deliver, now)
        async with back.running():
            await house.take_many(10)
            await until(lambda: bool(back.warnings))
        assert [int(packet.data) for packet in house.packets] == list(range(10))
        assert "has dropped 20 messages" in back.warnings[0]
        assert "max_queued_messages" in caplog.text


async def test_what_was_dropped_is_told_for_a_day_also_after_our_restart_and_logged_once(
    mosquitto: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moment, heard = NOW, 0
    remembered = tmp_path / "broker.json"

    class Counting(BrokerLink):
        def _on_dropped(self, message: Publish) -> None:
            nonlocal heard
            heard += 1
            super()._on_dropped(message)

    def link_of(broker: Mosquitto) -> BrokerLink:
        return Counting(settings(broker), House(prompt=True).deliver, lambda: moment, memory_file=remembered)

    with mosquitto_broker(mosquitto, tmp_path, "sys_interval 1", "max_queued_messages 10") as broker:
        async with link_of(broker).running():
            await until(remembered.exists)
        await publish(broker, *((TOPIC, b"%d" % number) for number in range(30)))
        async with (first := link_of(broker)).running():
            await until(lambda: first.memory.dropped == 20)
        caplog.clear()
        heard = 0
        moment += timedelta(hours=23)
        again = link_of(broker)
        assert "has dropped 20 messages" in again.warnings[0], "before the broker has said it once more"
        async with again.running():
            await until(lambda: heard > 0)
        moment += timedelta(hours=1)
        assert again.warnings == ()
        assert "dropped" not in caplog.text
    assert remembered.stat().st_mode & 0o077 == 0


async def test_a_broker_that_forgot_our_session_is_said(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = BrokerLink(settings(broker), House(prompt=True).deliver, now)
    async with link.running():
        await connected(link)
        await asyncio.to_thread(broker.stop)
        await until(lambda: link.trouble is not None)
        assert "forgotten" not in caplog.text
        (tmp_path / "mosquitto.db").unlink()
        await asyncio.to_thread(broker.start)
        await connected(link)
        assert "forgotten our session" in caplog.text


@both
async def test_a_session_that_was_forgotten_while_we_were_away_too_is_said(
    broker: Mosquitto, version: Version, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moment = NOW
    remembered = tmp_path / "hub" / "broker.json"
    remembered.parent.mkdir()

    def link_of(**changed: Any) -> BrokerLink:
        where = settings(broker, version, **changed)
        return BrokerLink(where, House(prompt=True).deliver, lambda: moment, memory_file=remembered)

    async with (first := link_of()).running():
        await connected(first)
    await publish(broker, (TOPIC, b"5.5"))
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    async with (second := link_of()).running():
        await connected(second)
        assert "forgotten our session" in caplog.text
        assert "had forgotten our session at 2026-03-01 12:00 UTC" in second.warnings[-1]
    caplog.clear()
    async with (third := link_of()).running():
        await connected(third)
        assert len(third.warnings) == 1, "it is told for a day"
        moment += timedelta(days=1)
        assert third.warnings == ()
    remembered.write_text("{", encoding="utf-8")
    async with (ignorant := link_of()).running():
        await connected(ignorant)
    assert "forgotten" not in caplog.text
    assert "cannot be read" in caplog.text


async def test_a_broker_that_falls_silent_is_left() -> None:
    """A host that lost its power says nothing more; our keep-alive notices."""
    connack, suback = b"\x20\x06\x00\x00\x03\x13\x00\x01", b"\x90\x04\x00\x01\x00\x01"

    async def broker_of_two_words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(connack)  # a keep-alive of one second is the broker's wish
        await reader.readuntil(b"homeward/#")
        writer.write(suback)

    server = await asyncio.start_server(broker_of_two_words, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    link = BrokerLink(BrokerSettings(host="127.0.0.1", port=port), House().deliver, now)
    async with server, link.running():
        await connected(link)
        await until(lambda: "fallen silent" in (link.trouble or ""))

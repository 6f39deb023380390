"""The listener, judged by other people's clients and by raw octets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import gmqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.links.listener import Listener, ListenerSettings
from ingest.links.topics import KEPT_OCTETS, MAX_PAYLOAD
from tests.conftest import need
from tests.ingest import octets
from tests.ingest.house import NOW, PATIENCE, House, now, until
from tests.ingest.raw_client import Client, dialled, greeted
from tests.peers import certificate

TOPIC = "homeward/v1/gm-1/readings"
SETTINGS = ListenerSettings(port=0, stop_timeout=0.1)
BAD_TOPICS = [
    "homeward/v1/gm-1",
    "homeward/v2/gm-1/readings",
    "homeward/v1//readings",
    "homeward/v1/a b/readings",
    "homeward/v1/../../etc/passwd/readings",
    "homeward/v1/" + "x" * 65 + "/readings",
    "homeward/v1/gm-1/readings\n",
    "homeward/v1/gm-٣/readings",
    "$SYS/broker/load",
    "homeward/v1/+/readings",
    "#",
    "/" * 60_000,
]


async def run(program: str, *arguments: str, payload: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate(payload)
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.fixture
def mosquitto_pub() -> str:
    return need("mosquitto_pub", "`apt-get install mosquitto-clients`")


# An acknowledgement means "committed".


@pytest.mark.parametrize("version", [4, 5])
async def test_puback_comes_only_after_settled(version: int) -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener, version) as client:
        client.send(octets.publish(TOPIC, b"5.5", 0x0102, version=version))
        packet, settled = await house.take()
        assert (packet.link, packet.sender, packet.channel, packet.data) == ("listener", "gm-1", "json", b"5.5")
        assert (packet.received_at, packet.fault) == (NOW, None)
        await client.said_nothing()
        settled()
        assert await client.packet() == b"\x40\x02\x01\x02"
        assert listener.counts.acknowledged == 1


async def test_acknowledgements_keep_the_order_of_receipt_and_share_a_write() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener) as client:
        client.send(*(octets.publish(TOPIC, b"%d" % number, number) for number in (1, 2, 3)))
        taken = await house.take_many(3)
        taken[2][1]()
        taken[1][1]()
        await client.said_nothing()
        taken[0][1]()
        assert await client.packet() + await client.packet() + await client.packet() == bytes.fromhex(
            "40020001 40020002 40020003"
        )


async def test_mosquitto_pub_waits_for_the_commit(mosquitto_pub: str) -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        for version in ("311", "5"):
            sending = asyncio.create_task(
                run(
                    mosquitto_pub, "-V", version, "-p", str(listener.port), "-q", "1", "-t", TOPIC, "-s",
                    payload=b'{"glucose":5.5}',
                )
            )  # fmt: skip
            packet, settled = await house.take()
            assert packet.data == b'{"glucose":5.5}'
            assert not sending.done()
            settled()
            assert await sending == (0, "")


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
async def test_paho_publishes(version: Any) -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():

        def publish() -> None:
            client = paho.Client(CallbackAPIVersion.VERSION2, client_id="gm-1", protocol=version)
            client.connect("127.0.0.1", listener.port)
            client.loop_start()
            sent = [client.publish(TOPIC, json.dumps({"n": number}), qos=1) for number in range(300)]
            for message in sent:
                message.wait_for_publish(PATIENCE)
            client.disconnect()
            client.loop_stop()
            assert all(message.is_published() for message in sent)

        await asyncio.to_thread(publish)
    assert [json.loads(packet.data)["n"] for packet in house.packets] == list(range(300))


async def test_gmqtt_publishes() -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        client = gmqtt.Client("cuff-1")
        await client.connect("127.0.0.1", listener.port)
        for number in range(50):
            client.publish("homeward/v1/cuff-1/readings", {"n": number}, qos=1)
        await until(lambda: listener.counts.acknowledged == 50)
        await client.disconnect()
    assert [json.loads(packet.data)["n"] for packet in house.packets] == list(range(50))


async def test_what_was_not_settled_is_not_acknowledged_on_a_new_connection() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        async with greeted(listener) as client:
            client.send(octets.publish(TOPIC, b"old", 1))
            _, settle_old = await house.take()
        await until(lambda: listener.counts.connections == 0)
        async with greeted(listener) as client:
            client.send(octets.publish(TOPIC, b"new", 1))
            _, settle_new = await house.take()
            settle_old()
            await client.said_nothing()
            settle_new()
            assert await client.packet() == b"\x40\x02\x00\x01"


async def test_pipelined_messages_and_a_farewell_are_kept() -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running():
        async with dialled(listener, octets.connect(), octets.publish(TOPIC, b"a"), octets.DISCONNECT) as client:
            await client.rest()
        await house.take()
    assert [packet.data for packet in house.packets] == [b"a"]


# What is wrong is kept with its reason, acknowledged, and stops nobody.


@pytest.mark.parametrize("version", [4, 5])
async def test_hostile_topics_become_letters_and_are_acknowledged(version: int) -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener, version) as client:
        for number, topic in enumerate(BAD_TOPICS, 1):
            client.send(octets.publish(topic, b"x", number, version=version))
            packet, settled = await house.take()
            assert packet.fault is not None, topic
            assert len(packet.fault) < 250
            assert packet.fault.isprintable()
            assert 1 <= len(packet.sender) <= 64
            assert packet.data == b"x"
            await client.said_nothing()
            settled()
            refused = b"\x03%c%c\x90" if version == 5 else b"\x02%c%c"
            assert await client.packet() == b"\x40" + refused % (0, number)
        client.send(octets.publish(TOPIC, b"good", 99, version=version))
        packet, _ = await house.take()
        assert packet.fault is None
        assert (listener.counts.messages, listener.counts.faults) == (len(BAD_TOPICS) + 1, len(BAD_TOPICS))


async def test_an_oversized_payload_is_kept_in_part_and_acknowledged() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener) as client:
        client.send(octets.publish(TOPIC, b"7" * (MAX_PAYLOAD + 1), 1), octets.publish(TOPIC, b"7" * MAX_PAYLOAD, 2))
        packet, settled = await house.take()
        assert (packet.sender, packet.data) == ("gm-1", b"7" * KEPT_OCTETS)
        assert packet.fault is not None
        assert "262145" in packet.fault
        settled()
        assert await client.packet() == b"\x40\x03\x00\x01\x97"
        packet, settled = await house.take()
        assert (len(packet.data), packet.fault) == (MAX_PAYLOAD, None)


@pytest.mark.parametrize(("version", "farewell"), [(4, b""), (5, b"\xe0\x01\x95")])
async def test_a_packet_too_large_ends_the_connection_and_is_kept(version: int, farewell: bytes) -> None:
    house = House(prompt=True)
    listener = Listener(replace(SETTINGS, max_packet=500), house.deliver, now)
    async with listener.running(), greeted(listener, version) as client:
        client.send(octets.publish(TOPIC, bytes(600), version=version))
        assert await client.rest() == farewell
        packet, _ = await house.take()
        assert packet.sender == "client:meter"
        assert packet.fault is not None
        assert "larger than the 500 allowed" in packet.fault
        assert packet.fault.endswith("which device sent it is not known")
        assert TOPIC.encode() in packet.data


@pytest.mark.parametrize(
    ("login", "client_id", "filed"),
    [("gm-1", "phone", "gm-1"), (None, "phone", "client:phone"), (None, "", "address:127.0.0.1")],
)
async def test_a_packet_that_cannot_be_read_is_filed_under_what_is_known_of_its_sender(
    login: str | None, client_id: str, filed: str
) -> None:
    house = House(prompt=True)
    check = only_gm_1 if login else None
    listener = Listener(replace(SETTINGS, max_packet=500), house.deliver, now, check_login=check)
    greeting = octets.connect(client_id=client_id, username=login, password=b"sweet" if login else None)
    async with listener.running(), dialled(listener, greeting, octets.publish(TOPIC, bytes(600))) as client:
        await client.rest()
        packet, _ = await house.take()
        assert packet.sender == filed
        assert packet.fault is not None
        assert ("which device sent it is not known" in packet.fault) is (login is None)


@pytest.mark.parametrize(("version", "answer"), [(4, "9004000780 80"), (5, "90050007008787")])
async def test_a_subscription_is_refused(version: int, answer: str) -> None:
    listener = Listener(SETTINGS, House().deliver, now)
    async with listener.running(), greeted(listener, version) as client:
        client.send(octets.subscribe(7, "#", TOPIC, version=version))
        assert await client.packet() == bytes.fromhex(answer)
        client.send(octets.unsubscribe(8, "#", version=version))
        assert (await client.packet())[0] == 0xB0


async def test_mosquitto_sub_is_refused() -> None:
    program = need("mosquitto_sub", "`apt-get install mosquitto-clients`")
    listener = Listener(SETTINGS, House().deliver, now)
    async with listener.running():
        for version in ("311", "5"):
            _, said = await run(program, "-V", version, "-p", str(listener.port), "-t", "#", "-E")
            assert "denied" in said.lower() or "rejected" in said.lower(), said


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x00" * 64, b"\xff" * 64],
    ids=["http", "tls", "zeros", "ones"],
)
async def test_garbage_of_a_stranger_ends_his_connection_and_no_other(garbage: bytes) -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener) as good:
        async with dialled(listener, garbage) as stranger:
            assert await stranger.rest() == b""
        good.send(octets.publish(TOPIC, b"5.5", 1))
        packet, _ = await house.take()
        assert packet.data == b"5.5"
        assert listener.counts.violations == 1


async def test_garbage_of_a_known_client_is_kept() -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener) as client:
        client.send(octets.publish(TOPIC, b"5.5", 1), b"\xf7\x00garbage")
        packets = [packet for packet, _ in await house.take_many(2)]
        assert (packets[0].data, packets[1].data) == (b"5.5", b"\xf7\x00garbage")
        assert packets[1].fault is not None
        assert (await client.rest()).endswith(b"\xe0\x01\x82")


async def test_a_second_connect_leaves_a_letter_without_octets_that_says_why() -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)
    async with listener.running(), greeted(listener) as client:
        client.send(octets.connect(username="cuff", password=b"open sesame"))
        ((packet, _),) = [await house.take()]
        assert packet.data == b""
        assert (packet.fault or "").endswith("its octets are not kept, for there may be a password among them")


async def test_half_a_packet_waits_for_its_other_half() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    message = octets.publish(TOPIC, b"5.5", 1)
    async with listener.running(), greeted(listener) as client, greeted(listener, client_id="other") as other:
        client.send(message[:9])
        other.send(octets.publish(TOPIC, b"from the other", 1))
        assert (await house.take())[0].data == b"from the other"
        client.send(message[9:])
        assert (await house.take())[0].data == b"5.5"


async def test_an_old_protocol_is_refused_in_its_own_words() -> None:
    listener = Listener(SETTINGS, House().deliver, now)
    async with listener.running(), dialled(listener, octets.connect(3)) as client:
        assert await client.rest() == b"\x20\x02\x00\x01"


# Who may come in.


async def only_gm_1(device: str, password: bytes) -> bool:
    return (device, password) == ("gm-1", b"sweet")


@pytest.mark.parametrize(("version", "refusal"), [(4, bytes.fromhex("20020004")), (5, bytes.fromhex("2003008600"))])
async def test_a_wrong_password_is_refused(version: int, refusal: bytes) -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now, check_login=only_gm_1)
    greetings = [
        octets.connect(version),
        octets.connect(version, username="gm-1", password=b"salty"),
        octets.connect(version, username="gm-2", password=b"sweet"),
    ]
    async with listener.running():
        for greeting in greetings:
            async with dialled(listener, greeting, octets.publish(TOPIC, b"5.5", 1, version=version)) as client:
                assert await client.rest() == refusal
        async with greeted(listener, version, username="gm-1", password=b"sweet"):
            pass
    assert house.packets == []
    assert listener.counts.logins_refused == 3


async def test_mosquitto_pub_logs_in(mosquitto_pub: str) -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now, check_login=only_gm_1)
    async with listener.running():
        common = ("-p", str(listener.port), "-q", "1", "-t", TOPIC, "-m", "5.5", "-u", "gm-1", "-P")
        assert (await run(mosquitto_pub, *common, "sweet"))[0] == 0
        code, said = await run(mosquitto_pub, *common, "salty")
        assert code != 0
        assert "refused" in said.lower()


async def test_a_login_is_bound_to_its_device() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now, check_login=only_gm_1)
    async with listener.running(), greeted(listener, username="gm-1", password=b"sweet") as client:
        client.send(octets.publish("homeward/v1/gm-2/readings", b"5.5", 1), octets.publish(TOPIC, b"5.6", 2))
        packet, settled = await house.take()
        assert (packet.sender, packet.data) == ("gm-1", b"5.5")
        assert packet.fault is not None
        assert "gm-2" in packet.fault
        settled()
        assert await client.packet() == b"\x40\x03\x00\x01\x87"
        packet, _ = await house.take()
        assert (packet.sender, packet.fault) == ("gm-1", None)


async def test_what_is_sent_behind_connect_waits_for_the_login() -> None:
    house, checked = House(prompt=True), asyncio.Event()

    async def slowly(device: str, password: bytes) -> bool:
        await checked.wait()
        return True

    listener = Listener(SETTINGS, house.deliver, now, check_login=slowly)
    async with (
        listener.running(),
        dialled(listener, octets.connect(username="gm-1"), octets.publish(TOPIC, b"5.5", 1)) as client,
    ):
        await until(lambda: listener.counts.connections == 1)
        assert house.packets == []
        checked.set()
        assert (await client.packet())[0] == 0x20
        assert await client.packet() == b"\x40\x02\x00\x01"


async def test_tls(tmp_path: Path, mosquitto_pub: str) -> None:
    files = certificate(tmp_path)
    house = House(prompt=True)
    settings = replace(SETTINGS, tls_certificate=files.certificate, tls_key=files.key)
    listener = Listener(settings, house.deliver, now)
    async with listener.running():
        arguments = ("-p", str(listener.port), "-q", "1", "-t", TOPIC, "-m", "5.5")
        assert (await run(mosquitto_pub, *arguments, "--cafile", str(files.certificate)))[0] == 0
        assert (await run(mosquitto_pub, *arguments))[0] != 0
        context = ssl.create_default_context(cafile=str(files.certificate))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
        client = Client(reader, writer)
        client.send(octets.connect(), *(octets.publish(TOPIC, bytes(3000), number) for number in range(1, 400)))
        await client.packet()
        for number in range(1, 400):
            assert await client.packet() == b"\x40\x02" + number.to_bytes(2, "big")
        await client.close()
    assert len(house.packets) == 400


async def test_who_does_not_begin_tls_takes_a_place_and_is_let_go(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    settings = replace(SETTINGS, tls_certificate=files.certificate, tls_key=files.key, max_connections=3)
    listener = Listener(settings, House(prompt=True).deliver, now)
    context = ssl.create_default_context(cafile=str(files.certificate))
    async with listener.running(), contextlib.AsyncExitStack() as stack:
        silent, gone, confused = [await stack.enter_async_context(dialled(listener)) for _ in range(3)]
        await until(lambda: listener.counts.connections == 3)
        assert "all 3 connections are taken" in str(listener.trouble)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
        assert listener.counts.turned_away == 1
        gone.abort()
        confused.send(octets.connect())
        await until(lambda: listener.counts.connections == 1)
        client = Client(*await asyncio.open_connection("127.0.0.1", listener.port, ssl=context))
        client.send(octets.connect())
        assert (await client.packet())[3] == 0
        await client.close()
    assert await silent.rest() == b""


async def test_who_takes_too_long_to_begin_tls_is_let_go(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    settings = replace(SETTINGS, tls_certificate=files.certificate, tls_key=files.key, connect_timeout=0.05)
    listener = Listener(settings, House(prompt=True).deliver, now)
    async with listener.running():
        async with dialled(listener) as silent:
            assert await silent.rest() == b""
        await until(lambda: listener.counts.connections == 0)


# Sessions.


async def test_a_session_is_present_when_it_was_kept(tmp_path: Path) -> None:
    clock = [NOW]
    sessions = tmp_path / "sessions.db"
    expiry = b"\x11\x00\x00\x00\x3c"

    async def present(listener: Listener, **options: Any) -> int:
        async with dialled(listener, octets.connect(**options)) as client:
            answer = await client.packet()
            client.send(octets.DISCONNECT)
            await client.rest()
        await until(lambda: listener.counts.connections == 0)
        return answer[2]

    first = Listener(SETTINGS, House().deliver, lambda: clock[0], session_file=sessions)
    async with first.running():
        assert await present(first, clean=False, properties=expiry) == 0
        assert await present(first, clean=False, properties=expiry) == 1
        assert await present(first, clean=True, properties=expiry) == 0
        assert await present(first, clean=False, properties=expiry) == 1
        assert await present(first, clean=False) == 1
        assert await present(first, clean=False, properties=expiry) == 0
        assert await present(first, version=4, client_id="old", clean=False) == 0
        assert await present(first, version=4, client_id="old", clean=False) == 1
    clock[0] += timedelta(seconds=59)
    second = Listener(SETTINGS, House().deliver, lambda: clock[0], session_file=sessions)
    async with second.running():
        assert await present(second, clean=False, properties=expiry) == 1
        clock[0] += timedelta(seconds=61)
        assert await present(second, clean=False, properties=expiry) == 0


async def test_a_second_connection_of_a_client_ends_the_first() -> None:
    listener = Listener(SETTINGS, House().deliver, now)
    async with listener.running(), greeted(listener) as first, greeted(listener) as second:
        assert await first.rest() == b"\xe0\x01\x8e"
        await second.said_nothing()


async def test_a_client_without_a_name_gets_one() -> None:
    listener = Listener(SETTINGS, House().deliver, now)
    async with listener.running():
        async with dialled(listener, octets.connect(client_id="")) as client:
            assert b"hw-" in await client.packet()
        async with dialled(listener, octets.connect(4, client_id="", clean=False)) as client:
            assert await client.rest() == b"\x20\x02\x00\x02"


@pytest.mark.parametrize(("version", "refusal"), [(4, b"\x20\x02\x00\x02"), (5, b"\x20\x03\x00\x85\x00")])
async def test_a_client_id_is_no_place_to_store_things(version: int, refusal: bytes) -> None:
    listener = Listener(SETTINGS, House().deliver, now)
    async with listener.running():
        async with dialled(listener, octets.connect(version, client_id="x" * 257)) as client:
            assert await client.rest() == refusal
        assert len(listener.sessions) == 0
        async with greeted(listener, version, client_id="x" * 256):
            assert len(listener.sessions) == 1


# Limits.


@pytest.mark.parametrize("version", [4, 5])
async def test_who_sends_more_than_allowed_at_once_is_read_as_it_is_committed(version: int) -> None:
    """paho sends its whole backlog after a reconnect; to hang up on it brought the same backlog again, for ever."""
    house = House()
    listener = Listener(replace(SETTINGS, window=3), house.deliver, now)
    async with listener.running(), greeted(listener, version) as client:
        client.send(*(octets.publish(TOPIC, b"", number, version=version) for number in range(1, 10)))
        for _, settled in await house.take_many(9):
            settled()
        assert [await client.packet() for _ in range(9)] == [b"\x40\x02\x00" + bytes([n]) for n in range(1, 10)]
        client.send(octets.PING)
        assert await client.packet() == b"\xd0\x00"


@pytest.mark.parametrize("version", [4, 5])
async def test_a_full_window_stops_reading_until_something_is_settled(version: int) -> None:
    house = House()
    listener = Listener(replace(SETTINGS, window=3), house.deliver, now)
    async with listener.running(), greeted(listener, version) as client:
        client.send(*(octets.publish(TOPIC, b"", number, version=version) for number in range(1, 4)))
        taken = await house.take_many(3)
        client.send(octets.PING)
        async with greeted(listener, client_id="other") as other:
            await other.said_nothing()
        taken[0][1]()
        assert await client.packet() == b"\x40\x02\x00\x01"
        assert await client.packet() == b"\xd0\x00"
        for _, settled in taken[1:]:
            settled()


async def test_a_full_house_stops_all_reading_until_half_is_settled() -> None:
    house = House()
    listener = Listener(replace(SETTINGS, max_unsettled=4), house.deliver, now)
    async with listener.running(), greeted(listener) as one, greeted(listener, client_id="other") as other:
        one.send(*(octets.publish(TOPIC, b"", number) for number in range(1, 5)))
        taken = await house.take_many(4)
        assert listener.trouble is not None
        other.send(octets.publish(TOPIC, b"late", 1))
        taken[0][1]()
        assert await one.packet() == b"\x40\x02\x00\x01"
        assert len(house.packets) == 4
        taken[1][1]()
        packet, settled = await house.take()
        assert packet.data == b"late"
        assert listener.trouble is None
        for _, settle in [*taken[2:], (packet, settled)]:
            settle()


async def test_awaiting_deliver_is_the_back_pressure() -> None:
    house = House(prompt=True)
    house.door_open.clear()
    listener = Listener(replace(SETTINGS, max_unsettled=10), house.deliver, now)
    async with listener.running(), greeted(listener, 4) as client:
        client.send(*(octets.publish(TOPIC, b"%d" % number, number, version=4) for number in range(1, 1001)))
        await until(lambda: listener.intake.full)
        house.door_open.set()
        await house.take_many(1000)
    assert [packet.data for packet in house.packets] == [b"%d" % number for number in range(1, 1001)]


async def test_no_more_connections_than_allowed() -> None:
    listener = Listener(replace(SETTINGS, max_connections=1), House().deliver, now)
    async with listener.running():
        async with greeted(listener):
            assert listener.trouble is not None
            with contextlib.suppress(ConnectionError):
                async with dialled(listener, octets.connect(client_id="one too many")) as client:
                    assert await client.rest() == b""
            assert listener.counts.turned_away == 1
        await until(lambda: listener.counts.connections == 0)
        assert listener.trouble is None
        async with greeted(listener) as client:
            await client.said_nothing()


async def test_who_says_nothing_is_let_go() -> None:
    listener = Listener(replace(SETTINGS, connect_timeout=0.05), House().deliver, now)
    async with listener.running(), dialled(listener, b"\x10") as client:
        with contextlib.suppress(ConnectionError):
            assert await client.rest() == b""
        assert listener.counts.timeouts == 1


async def test_who_does_not_keep_alive_is_let_go() -> None:
    listener = Listener(SETTINGS, House().deliver, now)
    async with listener.running(), greeted(listener, keep_alive=1) as client:
        assert await client.rest() == b"\xe0\x01\x8d"
        assert listener.counts.timeouts == 1


async def test_two_hundred_devices_at_once() -> None:
    house = House(prompt=True)
    listener = Listener(SETTINGS, house.deliver, now)

    async def device(number: int) -> None:
        async with greeted(listener, 4 + number % 2, client_id=f"d-{number}") as client:
            for packet_id in range(1, 6):
                topic, payload = f"homeward/v1/d-{number}/readings", b"%d" % packet_id
                client.send(octets.publish(topic, payload, packet_id, version=4 + number % 2))
            for packet_id in range(1, 6):
                assert await client.packet() == b"\x40\x02\x00%c" % packet_id

    async with listener.running():
        await asyncio.gather(*map(device, range(200)))
    arrived = sorted((packet.sender, packet.data) for packet in house.packets)
    assert arrived == sorted((f"d-{number}", b"%d" % reading) for number in range(200) for reading in range(1, 6))


# The end.


async def test_stopping_settles_what_is_in_flight_then_says_farewell() -> None:
    house = House()
    listener = Listener(replace(SETTINGS, stop_timeout=PATIENCE), house.deliver, now)
    running = listener.running()
    await running.__aenter__()
    async with greeted(listener) as client:
        client.send(octets.publish(TOPIC, b"5.5", 1))
        _, settled = await house.take()
        stopping = asyncio.create_task(running.__aexit__(None, None, None))
        with pytest.raises(ConnectionError):
            await until_refused(listener)
        assert not stopping.done()
        settled()
        assert await client.rest() == b"\x40\x02\x00\x01\xe0\x01\x8b"
        await stopping


async def until_refused(listener: Listener) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.close()


async def test_stopping_does_not_wait_for_ever() -> None:
    house = House()
    listener = Listener(SETTINGS, house.deliver, now)
    async with asyncio.timeout(PATIENCE), listener.running(), greeted(listener) as client:
        client.send(octets.publish(TOPIC, b"5.5", 1))
        await house.take()
    assert listener.intake.unsettled == 1


async def test_an_error_of_the_house_ends_the_listener() -> None:
    async def broken(_packet: object, _settled: Callable[[], None]) -> None:
        raise RuntimeError("the house is on fire")

    listener = Listener(SETTINGS, broken, now)

    async def serve() -> None:
        async with listener.running(), greeted(listener) as client:
            client.send(octets.publish(TOPIC, b"5.5", 1))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await serve()
    assert caught.group_contains(RuntimeError, match="on fire")

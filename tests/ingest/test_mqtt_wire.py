from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.links.mqtt_wire import (
    CONNECT_LIMIT,
    Connect,
    Decoder,
    Disconnect,
    Incoming,
    MqttError,
    PingRequest,
    Publish,
    Reason,
    Release,
    Subscribe,
    Terms,
    Unsubscribe,
    Will,
    connack,
    disconnect,
    puback,
    pubcomp,
    pubrec,
    refusal,
    suback,
    unsuback,
)
from tests.ingest import octets

TOPIC = "homeward/v1/gm-1/readings"
MAX_PACKET = 4096

versions = st.sampled_from([4, 5])
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
payloads = st.binary(max_size=300)
packet_ids = st.integers(1, 65535)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Incoming]]:
    """A whole session of a well-behaved client and what a server should understand of it."""
    version = draw(versions)
    client_id, topics = draw(names), st.one_of(st.just(TOPIC), names.filter(bool))
    stream = octets.connect(version, client_id)
    meant: list[Incoming] = [
        Connect(
            version=version,
            client_id=client_id,
            clean_start=True,
            session_expiry=0,
            keep_alive=0,
            username=None,
            password=b"",
            will=None,
        )
    ]
    for kind in draw(
        st.lists(st.sampled_from(["publish", "publish", "release", "ping", "subscribe", "unsubscribe"]))
    ):
        if kind == "publish":
            topic, payload, qos = draw(topics), draw(payloads), draw(st.integers(0, 2))
            packet_id = draw(packet_ids) if qos else 0
            stream += octets.publish(topic, payload, packet_id, version=version, qos=qos)
            meant.append(Publish(topic, payload, qos, packet_id))
        elif kind == "release":
            packet_id = draw(packet_ids)
            stream += octets.release(packet_id)
            meant.append(Release(packet_id))
        elif kind == "ping":
            stream += octets.PING
            meant.append(PingRequest())
        else:
            packet_id, filters = draw(packet_ids), draw(st.lists(names, min_size=1, max_size=3))
            write = octets.subscribe if kind == "subscribe" else octets.unsubscribe
            stream += write(packet_id, *filters, version=version)
            meant.append((Subscribe if kind == "subscribe" else Unsubscribe)(packet_id, len(filters)))
    if draw(st.booleans()):
        stream += octets.DISCONNECT
        meant.append(Disconnect())
    return stream, meant


def plain(packets: list[Incoming]) -> list[object]:
    return [(packet.code, packet.reason) if isinstance(packet, MqttError) else packet for packet in packets]


def in_blocks(stream: bytes, cuts: list[int]) -> list[Incoming]:
    decoder, packets = Decoder(MAX_PACKET), []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, stop in pairwise(edges):
        packets += decoder.feed(stream[start:stop])
    return packets


def violation(*blocks: bytes, max_packet: int = MAX_PACKET) -> MqttError:
    decoder, packets = Decoder(max_packet), []
    for block in blocks:
        packets += decoder.feed(block)
    assert isinstance(packets[-1], MqttError), packets
    assert decoder.feed(octets.PING) == []
    return packets[-1]


@given(streams(), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_split_of_a_session_gives_the_packets_that_were_meant(
    session: tuple[bytes, list[Incoming]], cuts: list[int]
) -> None:
    stream, meant = session
    assert in_blocks(stream, cuts) == meant


@given(streams(), st.data())
def test_any_split_of_a_damaged_session_gives_the_same_packets_and_the_same_error(
    session: tuple[bytes, list[Incoming]], data: st.DataObject
) -> None:
    stream = bytearray(session[0])
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cuts = data.draw(st.lists(st.integers(0, 1 << 20), max_size=12))
    whole = in_blocks(bytes(stream), [])
    assert plain(in_blocks(bytes(stream), cuts)) == plain(whole)
    assert not any(isinstance(packet, MqttError) for packet in whole[:-1])


@given(st.binary(max_size=400), versions)
def test_any_octets_are_packets_or_a_declared_error(garbage: bytes, version: int) -> None:
    for decoder, start in ((Decoder(MAX_PACKET), b""), (Decoder(MAX_PACKET), octets.connect(version))):
        decoder.feed(start)
        for packet in decoder.feed(garbage):
            assert isinstance(packet, Incoming.__args__)


@given(st.lists(st.sampled_from([0x10, 0x30, 0x32, 0x34, 0x3B, 0x62, 0x82, 0xA2, 0xC0, 0xE0]), min_size=1), st.data())
def test_any_bodies_in_true_frames_are_packets_or_a_declared_error(kinds: list[int], data: st.DataObject) -> None:
    decoder = Decoder(MAX_PACKET)
    decoder.feed(octets.connect(data.draw(versions)))
    stream = b"".join(octets.packet(kind, data.draw(st.binary(max_size=40))) for kind in kinds)
    for packet in decoder.feed(stream):
        assert isinstance(packet, Incoming.__args__)


def test_connect_with_everything() -> None:
    properties = b"\x11\x00\x00\x0e\x10" + b"\x21\x00\x14" + b"\x26" + octets.field("a") + octets.field("b")
    stream = octets.connect(
        5,
        "cuff",
        clean=False,
        keep_alive=30,
        properties=properties,
        will=("homeward/v1/cuff/gone", b"!"),
        username="cuff",
        password=b"\x00\xff",
    )
    assert Decoder(MAX_PACKET).feed(stream) == [
        Connect(
            version=5,
            client_id="cuff",
            clean_start=False,
            session_expiry=3600,
            keep_alive=30,
            username="cuff",
            password=b"\x00\xff",
            will=Will(topic="homeward/v1/cuff/gone", payload=b"!", qos=0, retain=False),
        )
    ]


def test_a_311_client_without_clean_session_wants_it_for_ever() -> None:
    (packet,) = Decoder(MAX_PACKET).feed(octets.connect(4, clean=False))
    assert isinstance(packet, Connect)
    assert (packet.session_expiry, packet.clean_start) == (0xFFFFFFFF, False)


def test_a_farewell_may_ask_for_the_will() -> None:
    decoder = Decoder(MAX_PACKET)
    assert decoder.feed(octets.connect() + b"\xe0\x01\x04")[1:] == [Disconnect(with_will=True)]


def test_topic_alias_stands_for_its_topic() -> None:
    alias = b"\x23\x00\x02"
    decoder = Decoder(MAX_PACKET)
    packets = decoder.feed(
        octets.connect()
        + octets.publish(TOPIC, b"1", 1, properties=alias)
        + octets.publish("", b"2", 2, properties=alias)
        + octets.publish("other", b"3", 3, properties=alias)
        + octets.publish("", b"4", 4, properties=alias)
    )
    assert [packet.topic for packet in packets if isinstance(packet, Publish)] == [TOPIC, TOPIC, "other", "other"]


def test_the_password_is_not_in_the_repr() -> None:
    (packet,) = Decoder(MAX_PACKET).feed(octets.connect(username="cuff", password=b"open sesame"))
    assert "sesame" not in repr(packet)
    assert violation(octets.connect(), octets.connect(username="cuff", password=b"open sesame")).kept == b""


@pytest.mark.parametrize(
    ("reason", "stream"),
    [
        (Reason.PROTOCOL_ERROR, octets.PING),
        (Reason.PROTOCOL_ERROR, b"GET / HTTP/1.1\r\n\r\n"),
        (Reason.PROTOCOL_ERROR, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (Reason.UNSUPPORTED_PROTOCOL_VERSION, octets.connect(3)),
        (Reason.UNSUPPORTED_PROTOCOL_VERSION, octets.connect(6)),
        (Reason.UNSUPPORTED_PROTOCOL_VERSION, octets.packet(0x10, octets.field("MQIsdp") + b"\x03\x02\x00\x00")),
        (Reason.PACKET_TOO_LARGE, b"\x10" + octets.varint(CONNECT_LIMIT)),
        (Reason.MALFORMED_PACKET, b"\x10\xff\xff\xff\xff"),
        (Reason.MALFORMED_PACKET, octets.packet(0x10, octets.field("MQTT") + b"\x05")),
        (Reason.MALFORMED_PACKET, octets.packet(0x10, octets.field("MQTT") + b"\x04\x03\x00\x00\x00\x01m")),
        (Reason.MALFORMED_PACKET, octets.connect(4, password=b"without a name")),
        (
            Reason.MALFORMED_PACKET,
            octets.packet(0x10, octets.field("MQTT") + b"\x04\x1e\x00\x00\x00\x01m\x00\x01w\0\0"),
        ),
        (Reason.BAD_AUTHENTICATION_METHOD, octets.connect(properties=b"\x15" + octets.field("SCRAM-SHA-1"))),
        (Reason.PROTOCOL_ERROR, octets.connect(properties=b"\x11\0\0\0\x01" * 2)),
        (Reason.PROTOCOL_ERROR, octets.connect() * 2),
        (Reason.PACKET_TOO_LARGE, octets.connect() + b"\x30" + octets.varint(MAX_PACKET)),
        (Reason.PROTOCOL_ERROR, octets.connect() + octets.publish(TOPIC, b"", 0, qos=2)),
        (Reason.PROTOCOL_ERROR, octets.connect() + b"\x62\x02\x00\x00"),
        (Reason.MALFORMED_PACKET, octets.connect() + b"\x60\x02\x00\x01"),
        (Reason.MALFORMED_PACKET, octets.connect(4) + b"\x62\x03\x00\x01\x00"),
        (Reason.MALFORMED_PACKET, octets.connect() + octets.publish(TOPIC, b"", 7, qos=3)),
        (Reason.PROTOCOL_ERROR, octets.connect() + octets.publish(TOPIC, b"", 0, qos=1)),
        (Reason.PROTOCOL_ERROR, octets.connect() + octets.publish("", b"")),
        (Reason.PROTOCOL_ERROR, octets.connect(4) + octets.publish("", b"", version=4)),
        (Reason.PROTOCOL_ERROR, octets.connect() + octets.publish("", b"", properties=b"\x23\x00\x01")),
        (Reason.TOPIC_ALIAS_INVALID, octets.connect() + octets.publish(TOPIC, b"", properties=b"\x23\x00\x00")),
        (Reason.TOPIC_ALIAS_INVALID, octets.connect() + octets.publish(TOPIC, b"", properties=b"\x23\x01\x00")),
        (Reason.MALFORMED_PACKET, octets.connect() + octets.publish(b"\xff\xfe", b"")),
        (Reason.MALFORMED_PACKET, octets.connect() + octets.publish(b"homeward\0", b"")),
        (Reason.MALFORMED_PACKET, octets.connect() + octets.publish(b"\xed\xa0\x80", b"")),
        (Reason.MALFORMED_PACKET, octets.connect() + b"\x32\x03\x00\x05a"),
        (Reason.MALFORMED_PACKET, octets.connect() + b"\x30\x01\x00"),
        (Reason.MALFORMED_PACKET, octets.connect() + b"\x81" + octets.subscribe(1, "a")[1:]),
        (Reason.PROTOCOL_ERROR, octets.connect() + octets.packet(0x82, b"\x00\x01\x00")),
        (Reason.PROTOCOL_ERROR, octets.connect() + b"\x40\x02\x00\x01"),
        (Reason.PROTOCOL_ERROR, octets.connect() + b"\x20\x02\x00\x00"),
    ],
)
def test_violations_end_with_the_reason_of_the_specification(reason: Reason, stream: bytes) -> None:
    assert violation(stream).code is reason


def test_what_came_before_a_violation_is_not_lost() -> None:
    decoder = Decoder(MAX_PACKET)
    packets = decoder.feed(octets.connect() + octets.publish(TOPIC, b"5.5", 9) + b"\xff\x00")
    assert packets[1] == Publish(TOPIC, b"5.5", 1, 9)
    assert isinstance(packets[2], MqttError)
    assert packets[2].kept == b"\xff\x00"


def test_nothing_is_read_after_a_farewell() -> None:
    decoder = Decoder(MAX_PACKET)
    assert decoder.feed(octets.connect() + b"\xe0\x07\x00\x05\x11\x00\x00\x00\x3c" + octets.PING)[1:] == [
        Disconnect(60)
    ]
    assert decoder.feed(octets.PING) == []


def test_a_padded_length_is_understood() -> None:
    decoder = Decoder(MAX_PACKET)
    assert decoder.feed(octets.connect() + b"\xc0\x80\x80\x00")[1:] == [PingRequest()]


def test_an_octet_at_a_time_costs_no_square() -> None:
    decoder = Decoder(1 << 20)
    decoder.feed(octets.connect())
    message = octets.publish(TOPIC, bytes(1 << 19), 3)
    packets = [packet for at in range(len(message)) for packet in decoder.feed(message[at : at + 1])]
    assert len(packets) == 1  # half a million copies of half a megabyte would take minutes


@pytest.mark.parametrize(
    ("octets_out", "written"),
    [
        (
            "20020100",
            connack(
                4, Terms(session_present=True, session_expiry=0, receive_maximum=1, max_packet=1, assigned_id=None)
            ),
        ),
        (
            "201d00001a110000003c2103e8270010000022001028002900 2a00 120001 78",
            connack(
                5,
                Terms(
                    session_present=False,
                    session_expiry=60,
                    receive_maximum=1000,
                    max_packet=1 << 20,
                    assigned_id="x",
                ),
            ),
        ),
        ("20020004", refusal(4, Reason.BAD_USER_NAME_OR_PASSWORD)),
        ("2003008600", refusal(5, Reason.BAD_USER_NAME_OR_PASSWORD)),
        ("20020001", refusal(0, Reason.UNSUPPORTED_PROTOCOL_VERSION)),
        ("", refusal(4, Reason.MALFORMED_PACKET)),
        ("40021234", puback(5, 0x1234)),
        ("4003123487", puback(5, 0x1234, Reason.NOT_AUTHORIZED)),
        ("40021234", puback(4, 0x1234, Reason.NOT_AUTHORIZED)),
        ("50021234", pubrec(5, 0x1234)),
        ("5003123490", pubrec(5, 0x1234, Reason.TOPIC_NAME_INVALID)),
        ("70021234", pubcomp(0x1234)),
        ("9005000700 8787", suback(5, Subscribe(7, 2))),
        ("900400078080", suback(4, Subscribe(7, 2))),
        ("b00400070011", unsuback(5, Unsubscribe(7, 1))),
        ("b0020007", unsuback(4, Unsubscribe(7, 1))),
        ("e0018b", disconnect(5, Reason.SERVER_SHUTTING_DOWN)),
        ("", disconnect(4, Reason.SERVER_SHUTTING_DOWN)),
        ("90 8401 0007 00" + "87" * 129, suback(5, Subscribe(7, 129))),
    ],
)
def test_answers_are_written_as_the_specification_says(octets_out: str, written: bytes) -> None:
    assert written.hex() == octets_out.replace(" ", "")

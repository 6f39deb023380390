"""The client's half of MQTT: what it writes is read by our server's half, what it reads is any broker's octets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.links import mqtt_client as client
from ingest.links.mqtt_client import ClientDecoder, Connack, Farewell, PingResponse, Suback
from ingest.links.mqtt_wire import Connect, Decoder, MqttError, PingRequest, Publish, Reason, Subscribe
from tests.ingest import octets

TOPIC = "homeward/v1/gm-1/readings"
versions = st.sampled_from([4, 5])
ANSWERS: list[tuple[str, client.Incoming]] = [
    ("2003010000", Connack(session_present=True, code=0)),
    ("2003008700", Connack(session_present=False, code=Reason.NOT_AUTHORIZED)),
    (
        "20100000 0d 110000003c 130014 1f0002 6e6f",
        Connack(session_present=False, code=0, session_expiry=60, keep_alive=20, said="no"),
    ),
    ("9004000100 01", Suback(1, b"\x01")),
    ("d000", PingResponse()),
]


@pytest.mark.parametrize("version", [4, 5])
def test_what_a_client_writes_is_understood_by_a_server(version: int) -> None:
    stream = client.connect(
        version, "hub-1", clean_start=False, keep_alive=60, session_expiry=3600, receive_maximum=1000,
        username="hub", password="sweet",
    )  # fmt: skip
    stream += client.subscribe(version, 1, "homeward/#", 1) + client.PINGREQ
    assert Decoder(4096).feed(stream) == [
        Connect(
            version=version,
            client_id="hub-1",
            clean_start=False,
            session_expiry=3600 if version == 5 else 0xFFFFFFFF,
            keep_alive=60,
            username="hub",
            password=b"sweet",
            will=None,
        ),
        Subscribe(1, 1),
        PingRequest(),
    ]


@pytest.mark.parametrize(("written", "meant"), ANSWERS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_broker_answers(written: str, meant: client.Incoming) -> None:
    assert ClientDecoder(5).feed(bytes.fromhex(written)) == [meant]


@pytest.mark.parametrize(
    ("code", "meant"),
    [(1, Reason.UNSUPPORTED_PROTOCOL_VERSION), (4, Reason.BAD_USER_NAME_OR_PASSWORD), (77, Reason.UNSPECIFIED)],
)
def test_return_codes_of_311_have_the_names_of_5(code: int, meant: Reason) -> None:
    assert ClientDecoder(4).feed(bytes((0x20, 2, 0, code))) == [Connack(session_present=False, code=meant)]


def test_after_a_farewell_nothing_is_read() -> None:
    decoder = ClientDecoder(5)
    assert decoder.feed(b"\xe0\x01\x8e\xd0\x00") == [Farewell(Reason.SESSION_TAKEN_OVER)]
    assert decoder.feed(b"\xd0\x00") == []


def test_a_bad_topic_that_the_broker_let_through_does_not_end_the_connection() -> None:
    (message,) = ClientDecoder(5).feed(octets.publish(b"homeward/\xff", b"5.5", 1))
    assert message == Publish("homeward/\N{REPLACEMENT CHARACTER}", b"5.5", 1, 1)


@pytest.mark.parametrize("stream", [b"\x10\x00", b"\x82\x00", b"\x40\x02\x00\x01", octets.publish("", b"", 1)])
def test_what_a_broker_must_not_send(stream: bytes) -> None:
    for version in (4, 5):
        (error,) = ClientDecoder(version).feed(stream)
        assert isinstance(error, MqttError)


def test_a_311_broker_says_no_farewell() -> None:
    (error,) = ClientDecoder(4).feed(b"\xe0\x00")
    assert isinstance(error, MqttError)


messages = st.builds(
    lambda payload, packet_id, version: octets.publish(TOPIC, payload, packet_id, version=version),
    st.binary(max_size=300),
    st.integers(0, 65535),
    versions,
)
answers = st.sampled_from([bytes.fromhex(written) for written, _ in ANSWERS])


@given(
    st.lists(messages | answers | st.binary(max_size=30)), st.lists(st.integers(0, 1 << 20), max_size=12), versions
)
def test_any_octets_in_any_blocks_are_the_same_packets_or_the_same_error(
    parts: list[bytes], cuts: list[int], version: int
) -> None:
    stream = b"".join(parts)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    split = ClientDecoder(version)
    in_blocks = [packet for start, stop in pairwise(edges) for packet in split.feed(stream[start:stop])]
    whole = ClientDecoder(version).feed(stream)
    assert list(map(shown, in_blocks)) == list(map(shown, whole))
    assert not any(isinstance(packet, MqttError) for packet in whole[:-1])


def shown(packet: client.Incoming) -> object:
    return (packet.code, packet.reason) if isinstance(packet, MqttError) else packet

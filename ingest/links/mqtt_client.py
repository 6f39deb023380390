"""MQTT 3.1.1 and 5.0 as a subscribing client sees it: octets in, packets out, octets back. No I/O.

The counterpart of `mqtt_wire`, for the clinic's broker. Sources: OASIS MQTT 3.1.1 and MQTT 5.0; section numbers in
comments are those of 5.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from ingest.links.mqtt_wire import (
    V5,
    V311,
    Cursor,
    Framing,
    MqttError,
    Publish,
    Reason,
    field_of,
    packet_of,
    read_properties,
)

PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"
LARGEST_PACKET: Final = 268_435_460  # octets; MQTT knows none larger (2.1.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    """The broker's answer to CONNECT.

    code: 0 or why not; the return codes of 3.1.1 stand here as those of 5.0. session_expiry and keep_alive: seconds
    that the broker decided on, None where it takes ours. said: its own words, if any.
    """

    session_present: bool
    code: int
    session_expiry: int | None = None
    keep_alive: int | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Suback:
    """The answer to SUBSCRIBE: for each filter the granted QoS, or an error from 0x80 on."""

    packet_id: int
    codes: bytes


@dataclass(frozen=True, slots=True)
class PingResponse:
    """A sign of life."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """DISCONNECT of a version 5 broker: its reason code and its own words, if any."""

    code: int
    said: str = ""


Incoming: TypeAlias = Connack | Publish | Suback | PingResponse | Farewell | MqttError


class ClientDecoder(Framing[Incoming]):
    """Packets of a broker, as its client reads them. No topic aliases are offered, so none are understood."""

    def __init__(self, version: int) -> None:
        super().__init__(version, LARGEST_PACKET, aliases=0)

    def _parser(self, first: int) -> Callable[[Cursor], Incoming]:
        parse = _PARSERS.get(first)
        if parse is None or (first == 0xE0 and self.version == V311):
            raise MqttError(Reason.PROTOCOL_ERROR, f"a broker's packet with the first octet 0x{first:02x}")
        return partial(parse, self)

    def _topic(self, octets: bytes) -> str:
        # To end the connection for a bad name that the broker let through would bring the message back for ever.
        return str(octets, "utf-8", "replace")

    def _connack(self, cursor: Cursor) -> Connack:
        flags, code = cursor.u8(), cursor.u8()
        properties = read_properties(cursor, _IN_CONNACK) if self.version == V5 and cursor.at < cursor.stop else {}
        cursor.end()
        expiry, keep_alive = properties.get(0x11), properties.get(0x13)
        return Connack(
            session_present=bool(flags & 1),
            code=code if self.version == V5 else _CODES_311.get(code, Reason.UNSPECIFIED),
            session_expiry=None if expiry is None else int(expiry),
            keep_alive=None if keep_alive is None else int(keep_alive),
            said=str(properties.get(0x1F, "")),
        )

    def _suback(self, cursor: Cursor) -> Suback:
        packet_id = cursor.u16()
        if self.version == V5:
            read_properties(cursor, _IN_SUBACK)
        return Suback(packet_id, cursor.take(cursor.stop - cursor.at))

    def _ping_response(self, cursor: Cursor) -> PingResponse:
        cursor.end()
        return PingResponse()

    def _farewell(self, cursor: Cursor) -> Farewell:
        self._ended = True
        if cursor.at == cursor.stop:
            return Farewell(Reason.SUCCESS)
        code = cursor.u8()
        properties = read_properties(cursor, _IN_DISCONNECT) if cursor.at < cursor.stop else {}
        cursor.end()
        return Farewell(code, str(properties.get(0x1F, "")))


_PARSERS: Final[dict[int, Callable[[ClientDecoder, Cursor], Incoming]]] = {
    0x20: ClientDecoder._connack,
    0x90: ClientDecoder._suback,
    0xD0: ClientDecoder._ping_response,
    0xE0: ClientDecoder._farewell,
}
_IN_CONNACK: Final = frozenset(
    {0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A}
)
_IN_SUBACK: Final = frozenset({0x1F, 0x26})
_IN_DISCONNECT: Final = frozenset({0x11, 0x1C, 0x1F, 0x26})
_CODES_311: Final = {
    0: Reason.SUCCESS,
    1: Reason.UNSUPPORTED_PROTOCOL_VERSION,
    2: Reason.CLIENT_IDENTIFIER_NOT_VALID,
    3: Reason.SERVER_UNAVAILABLE,
    4: Reason.BAD_USER_NAME_OR_PASSWORD,
    5: Reason.NOT_AUTHORIZED,
}


def connect(
    version: int,
    client_id: str,
    *,
    clean_start: bool,
    keep_alive: int,
    session_expiry: int,
    receive_maximum: int,
    username: str | None,
    password: str | None,
) -> bytes:
    """CONNECT. keep_alive and session_expiry are seconds; the latter and receive_maximum are unknown to 3.1.1."""
    flags = clean_start << 1 | (username is not None) << 7 | (password is not None) << 6
    body = field_of(b"MQTT") + bytes((version, flags)) + keep_alive.to_bytes(2, "big")
    if version == V5:
        properties = b"\x11" + session_expiry.to_bytes(4, "big") + b"\x21" + receive_maximum.to_bytes(2, "big")
        body += bytes((len(properties),)) + properties
    body += b"".join(field_of(text.encode()) for text in (client_id, username, password) if text is not None)
    return packet_of(0x10, body)


def subscribe(version: int, packet_id: int, topic_filter: str, qos: int) -> bytes:
    """SUBSCRIBE to one filter with a QoS of 0 or 1."""
    body = packet_id.to_bytes(2, "big") + (b"\0" if version == V5 else b"")
    return packet_of(0x82, body + field_of(topic_filter.encode()) + bytes((qos,)))

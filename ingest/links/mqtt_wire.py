"""MQTT 3.1.1 and 5.0 as a publish-only server sees it: octets in, packets out, octets back. No I/O.

`Decoder.feed` takes blocks as they come off a socket and returns every packet that has become complete. A violation
of the protocol is returned as the last item, an `MqttError`, so that the packets before it are not lost; after it,
and after DISCONNECT, nothing more is read. The functions below `Decoder` build the answers. What a client and a
server read alike stands in `Framing`, `Cursor` and `read_properties`; the client's side is `mqtt_client`.

Sources: OASIS MQTT 3.1.1 (2014-10-29) and MQTT 5.0 (2019-03-07); section numbers in comments are those of 5.0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Final, Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

V311: Final = 4
V5: Final = 5

TOPIC_ALIASES: Final = 16
CONNECT_LIMIT: Final = 65_536  # octets that a stranger may make us hold


class Reason(IntEnum):
    """Reason codes of MQTT 5.0 (section 2.4) that we send or must understand."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    NO_SUBSCRIPTION_EXISTED = 0x11
    UNSPECIFIED = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_NAME_INVALID = 0x90
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    PAYLOAD_FORMAT_INVALID = 0x99


class MqttError(Exception):
    """The peer broke the protocol and the connection must end.

    code: what a peer that speaks MQTT 5.0 is told. kept: the first octets of the packet at fault, empty
    for a CONNECT, which may hold a password.
    """

    def __init__(self, code: Reason, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.kept = b""


class Publish(NamedTuple):
    """One message. A tuple, because there is one per reading and a frozen dataclass costs three times as much.

    qos is 0, 1 or 2; packet_id is 0 for QoS 0. A topic alias has already been replaced by its topic.
    """

    topic: str
    payload: bytes
    qos: int
    packet_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the client wants said when it is gone without a farewell; delay: seconds to wait before (3.1.3.2.2)."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    delay: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A client's request to open a session.

    session_expiry: seconds that the session shall outlive the connection; 0xFFFFFFFF is for ever (and stands for a
    3.1.1 client without clean session). keep_alive: seconds, 0 for none. will: None when there is none.
    """

    version: int
    client_id: str
    clean_start: bool
    session_expiry: int
    keep_alive: int
    username: str | None
    password: bytes = field(repr=False)
    will: Will | None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A request for messages, which a publish-only server refuses: its packet id and how many filters it names."""

    packet_id: int
    filters: int


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The withdrawal of such a request."""

    packet_id: int
    filters: int


@dataclass(frozen=True, slots=True)
class PingRequest:
    """A sign of life."""


@dataclass(frozen=True, slots=True)
class Release:
    """PUBREL: the client has seen our PUBREC of this QoS 2 message and will not send it again."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The client's farewell. session_expiry: seconds, None when it stays as it was. with_will: it wants it said."""

    session_expiry: int | None = None
    with_will: bool = False


Incoming: TypeAlias = Connect | Publish | Release | Subscribe | Unsubscribe | PingRequest | Disconnect | MqttError
AnyPacket = TypeVar("AnyPacket")


class Framing(ABC, Generic[AnyPacket]):
    """Whole packets out of the blocks of one connection; what they mean is `_parser`'s to say.

    version: 0 until it is known; no PUBLISH is understood before. limit: octets of a whole packet, from its first to
    its last; a larger one is an error as soon as its length is known. aliases: the highest topic alias.
    """

    def __init__(self, version: int, limit: int, aliases: int) -> None:
        self.version = version
        self._limit = limit
        self._rest = bytearray()
        self._need = 0
        self._ended = False
        self._alias_maximum = aliases
        self._aliases: dict[int, str] = {}

    @property
    def unfinished(self) -> int:
        """Octets held of a packet that is not yet whole."""
        return len(self._rest)

    def abandon(self) -> bytes:
        """Read nothing more; the beginning of the packet that is not whole, which is not held any longer."""
        self._ended = True
        begun = bytes(self._rest[:4096])
        self._rest.clear()
        return begun

    def feed(self, data: bytes) -> list[AnyPacket | Publish | MqttError]:
        """Every packet that these octets complete, in order; an MqttError, if any, is the last."""
        if self._ended:
            return []
        if self._rest:
            # Nothing is looked at again before the packet is whole: an octet at a time must not cost its square.
            self._rest += data
            if len(self._rest) < self._need:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        packets: list[AnyPacket | Publish | MqttError] = []
        at, end = 0, len(data)
        try:
            while at < end:
                if end - at < 2:
                    self._need = 2
                    break
                first, size, start = data[at], data[at + 1], at + 2
                if size > 0x7F:
                    size, start = _long_size(data, at + 1)
                    if start == 0:
                        self._need = end - at + 1
                        break
                stop = start + size
                if stop - at > self._limit:
                    self._refuse_size(stop - at)
                if first & 0xF0 == 0x30 and self.version:
                    if stop > end:
                        self._need = stop - at
                        break
                    packets.append(self._publish(first, data, start, stop))
                else:
                    parse = self._parser(first)
                    if stop > end:
                        self._need = stop - at
                        break
                    packets.append(parse(Cursor(data, start, stop)))
                    if self._ended:
                        break
                at = stop
        except MqttError as error:
            error.kept = b"" if data[at] == 0x10 else data[at : at + 4096]
            packets.append(error)
            self._ended = True
        if not self._ended:
            self._rest += data[at:]
        return packets

    def _refuse_size(self, size: int) -> NoReturn:
        raise MqttError(
            Reason.PACKET_TOO_LARGE, f"a packet of {size} octets is larger than the {self._limit} allowed"
        )

    @abstractmethod
    def _parser(self, first: int) -> Callable[[Cursor], AnyPacket]:
        """What reads a packet with this first octet, in this state; raises MqttError when it has no place here."""

    def _publish(self, first: int, data: bytes, start: int, stop: int) -> Publish:
        qos = first >> 1 & 3
        if qos == 3:
            raise MqttError(Reason.MALFORMED_PACKET, "a PUBLISH with QoS 3")
        topic_at = start + 2
        at = topic_end = topic_at + (data[start] << 8 | data[start + 1]) if stop - start >= 2 else stop + 1
        packet_id = 0
        if qos:
            at += 2
            if at <= stop:
                packet_id = data[topic_end] << 8 | data[topic_end + 1]
                if not packet_id:
                    raise MqttError(Reason.PROTOCOL_ERROR, f"a PUBLISH with QoS {qos} and packet id 0")
        if at > stop:
            raise MqttError(Reason.MALFORMED_PACKET, "a PUBLISH that ends inside its header")
        topic = self._topic(data[topic_at:topic_end])
        if self.version == V5:
            if at < stop and data[at] == 0:
                at += 1
            else:
                cursor = Cursor(data, at, stop)
                topic = self._aliased(topic, read_properties(cursor, _IN_PUBLISH).get(_TOPIC_ALIAS))
                at = cursor.at
        if not topic:
            raise MqttError(Reason.PROTOCOL_ERROR, "a PUBLISH without a topic")
        return Publish(topic, data[at:stop], qos, packet_id)

    def _topic(self, octets: bytes) -> str:
        return _text(octets)

    def _aliased(self, topic: str, alias: int | str | bytes | None) -> str:
        if alias is None:
            return topic
        if not isinstance(alias, int) or not 1 <= alias <= self._alias_maximum:
            raise MqttError(Reason.TOPIC_ALIAS_INVALID, f"topic alias {alias!r} is not 1 to {self._alias_maximum}")
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            raise MqttError(Reason.PROTOCOL_ERROR, f"topic alias {alias} has not been introduced")
        return self._aliases[alias]


class Decoder(Framing[Incoming]):
    """Packets of a client, as its server reads them. max_packet: octets, told in the CONNACK."""

    def __init__(self, max_packet: int) -> None:
        super().__init__(0, CONNECT_LIMIT, TOPIC_ALIASES)
        self._max_packet = max_packet

    def _parser(self, first: int) -> Callable[[Cursor], Incoming]:
        if not self.version:
            if first != 0x10:
                raise MqttError(Reason.PROTOCOL_ERROR, f"the first octet is 0x{first:02x}, not that of a CONNECT")
            return self._connect
        if first == 0x10:
            raise MqttError(Reason.PROTOCOL_ERROR, "a second CONNECT")
        parse = _PARSERS.get(first)
        if parse is None:
            raise MqttError(
                Reason.MALFORMED_PACKET if first & 0xF0 in _OUR_TYPES else Reason.PROTOCOL_ERROR,
                f"a packet with the first octet 0x{first:02x} has no place in a publishing session",
            )
        return partial(parse, self)

    def _connect(self, cursor: Cursor) -> Connect:
        name, version = cursor.binary(), cursor.u8()
        if name != b"MQTT" or version not in {V311, V5}:
            raise MqttError(
                Reason.UNSUPPORTED_PROTOCOL_VERSION,
                f"protocol {name[:16]!r} level {version}; spoken here are MQTT 3.1.1 and 5.0",
            )
        self.version = version
        self._limit = self._max_packet
        flags = cursor.u8()
        keep_alive = cursor.u16()
        properties = read_properties(cursor, _IN_CONNECT) if version == V5 else {}
        client_id = cursor.text()
        will = self._will(cursor, flags)
        username = cursor.text() if flags & 0x80 else None
        password = cursor.binary() if flags & 0x40 else b""
        cursor.end()
        if flags & 1 or (version == V311 and flags & 0xC0 == 0x40):
            raise MqttError(Reason.MALFORMED_PACKET, f"connect flags 0x{flags:02x}")
        if _AUTHENTICATION_METHOD in properties:
            raise MqttError(Reason.BAD_AUTHENTICATION_METHOD, "extended authentication is not offered")
        clean_start = bool(flags & 2)
        if version == V5:
            session_expiry = int(properties.get(_SESSION_EXPIRY, 0))
        else:
            session_expiry = 0 if clean_start else 0xFFFFFFFF
        return Connect(
            version=version,
            client_id=client_id,
            clean_start=clean_start,
            session_expiry=session_expiry,
            keep_alive=keep_alive,
            username=username,
            password=password,
            will=will,
        )

    def _will(self, cursor: Cursor, flags: int) -> Will | None:
        qos = flags >> 3 & 3
        if not flags & 4:
            if flags & 0x38:
                raise MqttError(
                    Reason.MALFORMED_PACKET, f"connect flags 0x{flags:02x} describe a will that is absent"
                )
            return None
        if qos == 3:
            raise MqttError(Reason.MALFORMED_PACKET, "a will with QoS 3")
        properties = read_properties(cursor, _IN_WILL) if self.version == V5 else {}
        return Will(
            topic=cursor.text(),
            payload=cursor.binary(),
            qos=qos,
            retain=bool(flags & 0x20),
            delay=int(properties.get(_WILL_DELAY, 0)),
        )

    def _release(self, cursor: Cursor) -> Release:
        packet_id = cursor.u16()
        if self.version == V5 and cursor.at < cursor.stop:
            cursor.u8()
            if cursor.at < cursor.stop:
                read_properties(cursor, _IN_RELEASE)
        cursor.end()
        if not packet_id:
            raise MqttError(Reason.PROTOCOL_ERROR, "a PUBREL with packet id 0")
        return Release(packet_id)

    def _subscribe(self, cursor: Cursor) -> Subscribe:
        return Subscribe(*self._filters(cursor, _IN_SUBSCRIBE, options=1))

    def _unsubscribe(self, cursor: Cursor) -> Unsubscribe:
        return Unsubscribe(*self._filters(cursor, _IN_UNSUBSCRIBE, options=0))

    def _filters(self, cursor: Cursor, allowed: frozenset[int], options: int) -> tuple[int, int]:
        packet_id = cursor.u16()
        if self.version == V5:
            read_properties(cursor, allowed)
        filters = 0
        while cursor.at < cursor.stop:
            cursor.text()
            cursor.take(options)
            filters += 1
        if not packet_id or not filters:
            raise MqttError(Reason.PROTOCOL_ERROR, "a SUBSCRIBE or UNSUBSCRIBE without a packet id or a filter")
        return packet_id, filters

    def _ping(self, cursor: Cursor) -> PingRequest:
        cursor.end()
        return PingRequest()

    def _disconnect(self, cursor: Cursor) -> Disconnect:
        session_expiry = None
        with_will = False
        if self.version == V5 and cursor.at < cursor.stop:
            with_will = cursor.u8() == Reason.DISCONNECT_WITH_WILL
            if cursor.at < cursor.stop:
                expiry = read_properties(cursor, _IN_DISCONNECT).get(_SESSION_EXPIRY)
                session_expiry = None if expiry is None else int(expiry)
        cursor.end()
        self._ended = True
        return Disconnect(session_expiry, with_will)


_PARSERS: Final[dict[int, Callable[[Decoder, Cursor], Incoming]]] = {
    0x62: Decoder._release,
    0x82: Decoder._subscribe,
    0xA2: Decoder._unsubscribe,
    0xC0: Decoder._ping,
    0xE0: Decoder._disconnect,
}
_OUR_TYPES: Final = frozenset(first & 0xF0 for first in _PARSERS)


def _long_size(data: bytes, at: int) -> tuple[int, int]:
    """A Variable Byte Integer of two octets or more and where the rest begins; (0, 0) while octets are missing.

    Needless leading zeros are let through: small firmware often pads the length to a fixed width.
    """
    size = shift = 0
    for position, octet in enumerate(data[at : at + 4], at + 1):
        size |= (octet & 0x7F) << shift
        if octet < 0x80:
            return size, position
        shift += 7
    if shift == 28:
        raise MqttError(Reason.MALFORMED_PACKET, "a length of more than four octets")
    return 0, 0


def _text(octets: bytes) -> str:
    """A UTF-8 Encoded String (1.5.4): no ill-formed sequences, no null character."""
    try:
        text = str(octets, "utf-8")
    except UnicodeDecodeError as error:
        raise MqttError(Reason.MALFORMED_PACKET, f"text that is not UTF-8: {error.reason}") from None
    if "\0" in text:
        raise MqttError(Reason.MALFORMED_PACKET, "text with a null character")
    return text


class Cursor:
    """Reads the fields of one packet; running past its end is an MqttError."""

    __slots__ = ("_data", "at", "stop")

    def __init__(self, data: bytes, at: int, stop: int) -> None:
        self._data = data
        self.at = at
        self.stop = stop

    def take(self, size: int) -> bytes:
        """The next so many octets."""
        at = self.at
        self.at += size
        if self.at > self.stop:
            raise MqttError(Reason.MALFORMED_PACKET, "a packet that ends inside a field")
        return self._data[at : self.at]

    def u8(self) -> int:
        """One octet."""
        return self.take(1)[0]

    def u16(self) -> int:
        """A Two Byte Integer."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """A Four Byte Integer."""
        return int.from_bytes(self.take(4), "big")

    def size(self) -> int:
        """A Variable Byte Integer."""
        value = shift = 0
        while shift < 28:
            octet = self.u8()
            value |= (octet & 0x7F) << shift
            if octet < 0x80:
                return value
            shift += 7
        raise MqttError(Reason.MALFORMED_PACKET, "a number of more than four octets")

    def binary(self) -> bytes:
        """Binary Data."""
        return self.take(self.u16())

    def text(self) -> str:
        """A UTF-8 Encoded String."""
        return _text(self.binary())

    def pair(self) -> str:
        """A UTF-8 String Pair, as name=value."""
        return f"{self.text()}={self.text()}"

    def end(self) -> None:
        """Nothing may follow."""
        if self.at != self.stop:
            raise MqttError(Reason.MALFORMED_PACKET, f"{self.stop - self.at} octets after the end of a packet")


_SESSION_EXPIRY: Final = 0x11
_AUTHENTICATION_METHOD: Final = 0x15
_WILL_DELAY: Final = 0x18
_TOPIC_ALIAS: Final = 0x23
_USER_PROPERTY: Final = 0x26

# Every property (2.2.2.2), and how it is written.
_PROPERTIES: Final[dict[int, Callable[[Cursor], int | str | bytes]]] = {
    0x01: Cursor.u8,  # payload format
    0x02: Cursor.u32,  # message expiry
    0x03: Cursor.text,  # content type
    0x08: Cursor.text,  # response topic
    0x09: Cursor.binary,  # correlation data
    0x0B: Cursor.size,  # subscription identifier
    _SESSION_EXPIRY: Cursor.u32,
    0x12: Cursor.text,  # assigned client identifier
    0x13: Cursor.u16,  # server keep alive
    _AUTHENTICATION_METHOD: Cursor.text,
    0x16: Cursor.binary,  # authentication data
    0x17: Cursor.u8,  # request problem information
    _WILL_DELAY: Cursor.u32,
    0x19: Cursor.u8,  # request response information
    0x1A: Cursor.text,  # response information
    0x1C: Cursor.text,  # server reference
    0x1F: Cursor.text,  # reason string
    0x21: Cursor.u16,  # receive maximum
    0x22: Cursor.u16,  # topic alias maximum
    _TOPIC_ALIAS: Cursor.u16,
    0x24: Cursor.u8,  # maximum QoS
    0x25: Cursor.u8,  # retain available
    _USER_PROPERTY: Cursor.pair,
    0x27: Cursor.u32,  # maximum packet size
    0x28: Cursor.u8,  # wildcard subscription available
    0x29: Cursor.u8,  # subscription identifier available
    0x2A: Cursor.u8,  # shared subscription available
}
_IN_CONNECT: Final = frozenset({_SESSION_EXPIRY, _AUTHENTICATION_METHOD, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27})
_IN_WILL: Final = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, _WILL_DELAY, 0x26})
_IN_PUBLISH: Final = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, _TOPIC_ALIAS, 0x26})
_IN_SUBSCRIBE: Final = frozenset({0x0B, 0x26})
_IN_UNSUBSCRIBE: Final = frozenset({0x26})
_IN_RELEASE: Final = frozenset({0x1F, 0x26})
_IN_DISCONNECT: Final = frozenset({_SESSION_EXPIRY, 0x1F, 0x26})


def read_properties(cursor: Cursor, allowed: frozenset[int]) -> dict[int, int | str | bytes]:
    """The properties at the cursor, each checked to be allowed here and (but for user properties) unique."""
    size = cursor.size()
    inner = Cursor(cursor._data, cursor.at, cursor.at + size)
    cursor.take(size)
    found: dict[int, int | str | bytes] = {}
    while inner.at < inner.stop:
        identifier = inner.u8()
        if identifier not in allowed or (identifier in found and identifier != _USER_PROPERTY):
            raise MqttError(Reason.PROTOCOL_ERROR, f"property 0x{identifier:02x} is out of place or repeated")
        found[identifier] = _PROPERTIES[identifier](inner)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the server grants a client, as MQTT 5.0 tells it (3.2.2.3). session_expiry: seconds."""

    session_present: bool
    session_expiry: int
    receive_maximum: int
    max_packet: int
    assigned_id: str | None


PINGRESP: Final = b"\xd0\x00"


def connack(version: int, terms: Terms) -> bytes:
    """The answer that opens the session."""
    flags = int(terms.session_present)
    if version == V311:
        return bytes((0x20, 2, flags, 0))
    properties = b"".join(
        (
            b"\x11" + terms.session_expiry.to_bytes(4, "big"),
            b"\x21" + terms.receive_maximum.to_bytes(2, "big"),
            b"\x27" + terms.max_packet.to_bytes(4, "big"),
            b"\x22" + TOPIC_ALIASES.to_bytes(2, "big"),
            b"\x28\x00\x29\x00\x2a\x00",  # no wildcards, subscription identifiers or shared subscriptions
            b"" if terms.assigned_id is None else b"\x12" + field_of(terms.assigned_id.encode()),
        )
    )
    return packet_of(0x20, bytes((flags, 0)) + bytes((len(properties),)) + properties)


_REFUSED_311: Final = {
    Reason.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Reason.CLIENT_IDENTIFIER_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.BAD_USER_NAME_OR_PASSWORD: 4,
    Reason.NOT_AUTHORIZED: 5,
}


def refusal(version: int, code: Reason) -> bytes:
    """The CONNACK that refuses the session; empty where the version has no words for it."""
    if version == V5:
        return bytes((0x20, 3, 0, code, 0))
    return bytes((0x20, 2, 0, _REFUSED_311[code])) if code in _REFUSED_311 else b""


def puback(version: int, packet_id: int, code: Reason = Reason.SUCCESS) -> bytes:
    """The acknowledgement of one QoS 1 message; 3.1.1 has no way to say that it was refused."""
    if code and version == V5:
        return bytes((0x40, 3, packet_id >> 8, packet_id & 0xFF, code))
    return bytes((0x40, 2, packet_id >> 8, packet_id & 0xFF))


def pubrec(version: int, packet_id: int, code: Reason = Reason.SUCCESS) -> bytes:
    """The word that a QoS 2 message is kept; with an error code, that it is not and its packet id is free again."""
    return b"\x50" + puback(version, packet_id, code)[1:]


def pubcomp(packet_id: int) -> bytes:
    """The end of a QoS 2 message: its packet id is free again."""
    return bytes((0x70, 2, packet_id >> 8, packet_id & 0xFF))


def suback(version: int, asked: Subscribe) -> bytes:
    """The refusal of each filter of a SUBSCRIBE."""
    code = Reason.NOT_AUTHORIZED if version == V5 else Reason.UNSPECIFIED
    return _answer(0x90, version, asked.packet_id, bytes((code,)) * asked.filters)


def unsuback(version: int, asked: Unsubscribe) -> bytes:
    """The answer to an UNSUBSCRIBE where nothing was subscribed."""
    codes = bytes((Reason.NO_SUBSCRIPTION_EXISTED,)) * asked.filters if version == V5 else b""
    return _answer(0xB0, version, asked.packet_id, codes)


def disconnect(version: int, code: Reason) -> bytes:
    """The server's farewell with its reason; empty for 3.1.1, where a server just closes."""
    return bytes((0xE0, 1, code)) if version == V5 else b""


def _answer(first: int, version: int, packet_id: int, codes: bytes) -> bytes:
    return packet_of(first, packet_id.to_bytes(2, "big") + (b"\0" if version == V5 else b"") + codes)


def field_of(octets: bytes) -> bytes:
    """Binary Data (1.5.6), or a string already encoded: two octets of length in front. At most 65 535 octets."""
    return len(octets).to_bytes(2, "big") + octets


def packet_of(first: int, body: bytes) -> bytes:
    """A whole packet: first octet, length, body."""
    size = bytearray()
    rest = len(body)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    return bytes((first, *size)) + body

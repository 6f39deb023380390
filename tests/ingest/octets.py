"""MQTT packets as a client writes them: apart from the code under test, and able to write wrong ones."""

from __future__ import annotations


def field(octets: bytes | str) -> bytes:
    octets = octets.encode() if isinstance(octets, str) else octets
    return len(octets).to_bytes(2, "big") + octets


def varint(value: int) -> bytes:
    octets = b""
    while value > 127:
        octets += bytes((value % 128 + 128,))
        value //= 128
    return octets + bytes((value,))


def packet(first: int, body: bytes = b"") -> bytes:
    return bytes((first,)) + varint(len(body)) + body


def connect(
    version: int = 5,
    client_id: str = "meter",
    *,
    clean: bool = True,
    keep_alive: int = 0,
    properties: bytes = b"",
    will: tuple[str, bytes] | None = None,
    username: str | None = None,
    password: bytes | None = None,
) -> bytes:
    flags = clean << 1 | (will is not None) << 2 | (username is not None) << 7 | (password is not None) << 6
    body = field("MQTT") + bytes((version, flags)) + keep_alive.to_bytes(2, "big")
    if version == 5:
        body += varint(len(properties)) + properties
    body += field(client_id)
    if will is not None:
        body += (b"\0" if version == 5 else b"") + field(will[0]) + field(will[1])
    body += b"" if username is None else field(username)
    body += b"" if password is None else field(password)
    return packet(0x10, body)


def publish(
    topic: str | bytes,
    payload: bytes,
    packet_id: int = 0,
    *,
    version: int = 5,
    properties: bytes = b"",
    qos: int = -1,
) -> bytes:
    qos = (1 if packet_id else 0) if qos < 0 else qos
    body = field(topic) + (packet_id.to_bytes(2, "big") if qos else b"")
    if version == 5:
        body += varint(len(properties)) + properties
    return packet(0x30 | qos << 1, body + payload)


def subscribe(packet_id: int, *filters: str, version: int = 5) -> bytes:
    body = packet_id.to_bytes(2, "big") + (b"\0" if version == 5 else b"")
    return packet(0x82, body + b"".join(field(name) + b"\x01" for name in filters))


def unsubscribe(packet_id: int, *filters: str, version: int = 5) -> bytes:
    body = packet_id.to_bytes(2, "big") + (b"\0" if version == 5 else b"")
    return packet(0xA2, body + b"".join(map(field, filters)))


def release(packet_id: int) -> bytes:
    return packet(0x62, packet_id.to_bytes(2, "big"))


PING = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

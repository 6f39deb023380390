"""Where readings go to in the end: for InfluxDB, for Node-RED's HTTP server and for a ThingsBoard at once.

It answers at once, keeps what it got in memory and counts readings, so that it costs as little as can be.
`python -m benchmarks.sink HTTP_PORT MQTT_PORT`; GET /count and /keys tell what came.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

_ZIPPED: Final = b"content-encoding: gzip"
_ANSWER: Final = b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b"
_NO_LIMITS: Final = b'{"maxPayloadSize":65536,"rateLimits":{},"gatewayRateLimits":{}}'
_CONNECT, _PUBLISH, _SUBSCRIBE, _PING = 1, 3, 8, 12


class Kept:
    """Bodies as they came."""

    def __init__(self) -> None:
        self.lines = 0
        self.bodies: list[bytes] = []

    def count(self) -> int:
        """Readings so far: each has one sequence."""
        return self.lines + sum(body.count(b'"sequence"') for body in self.bodies)

    def keys(self) -> list[tuple[str, int]]:
        """Device and sequence of what Node-RED and ThingsBoard's gateway sent."""
        return [key for body in self.bodies for key in _keys(json.loads(body))]


def _keys(said: Any) -> Iterator[tuple[str, int]]:
    if isinstance(said, list):
        for reading in said:
            yield reading["device"], int(reading["sequence"])
    else:
        for device, points in said.items():
            for point in points:
                if "sequence" in point["values"]:  # of an undecodable message it sends an empty point
                    yield device, int(point["values"]["sequence"])


class Http(asyncio.Protocol):
    """As much of HTTP/1.1 as the three senders use: Content-Length, or chunks."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            if len(self._buffer) < end + 4 + length:
                if b"100-continue" in head:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1], gzip.decompress(body) if _ZIPPED in head.lower() else body)

    def _answer(self, path: bytes, body: bytes) -> None:
        said = b""
        if path == b"/count":
            said = str(self._kept.count()).encode()
        elif path == b"/keys":
            said = json.dumps(self._kept.keys()).encode()
        elif path.startswith(b"/api/v2/write"):
            self._kept.lines += body.count(b"\n") + (not body.endswith(b"\n"))
        else:
            self._kept.bodies.append(body)
        self._transport.write(_ANSWER % (200 if said else 204, len(said), said))


async def things_board(kept: Kept, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One gateway's MQTT connection: everything is acknowledged, telemetry is kept."""
    properties = b""
    try:
        while True:
            kind, body = await _packet(reader)
            if kind >> 4 == _CONNECT:
                properties = b"\x00" if body[6] == 5 else b""
                writer.write(b"\x20" + bytes([2 + len(properties)]) + b"\x00\x00" + properties)
            elif kind >> 4 == _SUBSCRIBE:
                writer.write(b"\x90" + bytes([3 + len(properties)]) + body[:2] + properties + b"\x01")
            elif kind >> 4 == _PING:
                writer.write(b"\xd0\x00")
            elif kind >> 4 == _PUBLISH:
                name = 2 + int.from_bytes(body[:2], "big")
                payload = body[name:]
                if kind & 6:
                    writer.write(b"\x40\x02" + payload[:2])
                    payload = payload[2:]
                payload = payload[1 + payload[0] :] if properties else payload
                if b"getSessionLimits" in payload:
                    answer = b"v1/devices/me/rpc/response/" + body[2:name].rpartition(b"/")[2]
                    said = len(answer).to_bytes(2, "big") + answer + properties + _NO_LIMITS
                    writer.write(b"\x30" + bytes([len(said)]) + said)
                if body[2:name] == b"v1/gateway/telemetry":
                    kept.bodies.append(payload)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        octet = (await reader.readexactly(1))[0]
        length |= (octet & 127) << shift
        shift += 7
        if octet < 128:
            return kind, await reader.readexactly(length)


async def main(http: int, mqtt: int) -> None:
    """Serve until killed."""
    kept = Kept()
    await asyncio.get_running_loop().create_server(lambda: Http(kept), "127.0.0.1", http)
    await asyncio.start_server(lambda reader, writer: things_board(kept, reader, writer), "127.0.0.1", mqtt)
    print("sink is ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

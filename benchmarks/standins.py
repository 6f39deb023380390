"""Small servers that stand for others: the floor of an event stream, and a broker that keeps strictly to its window.

`standins.py events PORT`, `standins.py broker PORT LOAD WINDOW...`; each a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from itertools import count
from pathlib import Path
from typing import Any, Final

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 2000\n\n"
_PACKET_IDS: Final = 65_000


class Events(asyncio.Protocol):
    """GET opens a stream; POST tells one alert to all of them."""

    streams: Final[set[Any]] = set()

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """See asyncio."""
        self.streams.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """One request in one block, as a benchmark on loopback sends it."""
        if data.startswith(b"GET"):
            self.streams.add(self._transport)
            self._transport.write(_HEAD)
            return
        frame = b"id: 1\nevent: alert\ndata: " + json.dumps({"type": "alert", "alert": "a" * 24}).encode() + b"\n\n"
        for stream in self.streams:
            stream.write(frame)


class StrictBroker(asyncio.Protocol):
    """MQTT 5 towards one subscriber: never more than the window unacknowledged; one run of the load a window."""

    def __init__(self, messages: list[bytes], windows: list[int]) -> None:
        self._messages, self._windows = messages, windows
        self._buffer = b""
        self._ids = count()

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer whole packets."""
        self._buffer += data
        while (packet := self._take()) is not None:
            kind, body = packet
            if kind == 1:
                self._transport.write(b"\x20\x03\x00\x00\x00")
            elif kind == 8:
                self._transport.write(b"\x90\x04" + body[:2] + b"\x00\x01")
                if b"$SYS" not in body:  # what is asked for on a connection of its own, and here never said
                    self._begin()
            elif kind == 12:
                self._transport.write(b"\xd0\x00")
            elif kind == 4:
                self._acknowledged()

    def _take(self) -> tuple[int, bytes] | None:
        length, shift, at = 0, 0, 1
        while at < len(self._buffer):
            octet = self._buffer[at]
            length |= (octet & 127) << shift
            at, shift = at + 1, shift + 7
            if octet < 128:
                break
        else:
            return None
        if len(self._buffer) < at + length:
            return None
        packet = self._buffer[0] >> 4, self._buffer[at : at + length]
        self._buffer = self._buffer[at + length :]
        return packet

    def _begin(self) -> None:
        if not self._windows:
            print("all sent", flush=True)
            return
        self._window = self._windows.pop(0)
        share = len(self._messages) // (len(self._windows) + 1)
        self._load, self._messages = deque(self._messages[:share]), self._messages[share:]
        self._done, self._total = 0, share
        self._began = time.monotonic()
        self._send(min(self._window, share))

    def _send(self, number: int) -> None:
        for _ in range(number):
            self._transport.write(_numbered(self._load.popleft(), next(self._ids) % _PACKET_IDS + 1))

    def _acknowledged(self) -> None:
        self._done += 1
        if self._load:
            self._send(1)
        elif self._done == self._total:
            seconds = time.monotonic() - self._began
            print(json.dumps({"window": self._window, "per_second": self._total / seconds}), flush=True)
            asyncio.get_running_loop().call_later(0.3, self._begin)


def _numbered(packet: bytes, number: int) -> bytes:
    """Put its packet identifier into a PUBLISH that was prepared with the octets FF FF in its place."""
    return packet.replace(b"\xff\xff", number.to_bytes(2, "big"), 1)


async def main(what: str, port: int, *rest: str) -> None:
    """Serve until killed."""
    if what == "events":
        await asyncio.get_running_loop().create_server(Events, "127.0.0.1", port, backlog=2048)
    else:
        load = await asyncio.to_thread(Path(rest[0]).read_text)
        messages, windows = [bytes.fromhex(line) for line in load.split()], [int(window) for window in rest[1:]]
        serve = asyncio.get_running_loop().create_server
        await serve(lambda: StrictBroker(messages, windows), "127.0.0.1", port)
    print("stand-in is ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))

"""Open pages: event streams of the house, listened to by one process, and when each was told of an alert."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from typing import Final, Self

from benchmarks.machine import BenchError

_REQUEST: Final = b"GET /api/v1/events?type=alert HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
_PATIENCE_S: Final = 60.0


class Page:
    """One stream; remembers when each patient's first alert was seen."""

    def __init__(self, port: int) -> None:
        self.seen: dict[str, float] = {}
        self._socket = _opened(port)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _listen(self) -> None:
        rest = b""
        while data := self._socket.recv(65536):
            now = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    self.seen.setdefault(event.get("patient", "?"), now)


class Pages:
    """Many streams at once."""

    def __init__(self, port: int, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = [_opened(port) for _ in range(count)]
        for stream in self._sockets:
            self._selector.register(stream, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._sockets:
            stream.close()
        self._selector.close()

    def told(self) -> tuple[float, float]:
        """When the first and the last of them heard of an alert. Raises BenchError."""
        waiting = set(self._sockets)
        first = now = 0.0
        while waiting:
            ready = self._selector.select(_PATIENCE_S)
            if not ready:
                raise BenchError(f"{len(waiting)} of {len(self._sockets)} streams were told nothing")
            for key, _ in ready:
                stream = key.fileobj
                assert isinstance(stream, socket.socket)
                if b"event: alert" in stream.recv(65536):
                    now = time.monotonic()
                    first = first or now
                    waiting.discard(stream)
        return first, now


def _opened(port: int) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
    stream.sendall(_REQUEST)
    heard = b""
    while b"retry: 2000" not in heard:
        if not (data := stream.recv(4096)):
            raise BenchError(f"the event stream of port {port} did not open: {heard[:200]!r}")
        heard += data
    stream.settimeout(None)
    return stream

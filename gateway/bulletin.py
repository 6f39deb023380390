"""What the house tells open pages: events encoded once, with one bounded queue for each client.

Events are small facts ("this alert changed"), not state: a client that hears one asks for what it shows. So a slow
client may lose its backlog: the next thing it hears is "resync", and it asks for everything it shows.

Event shapes (each a flat object that JSON can hold; moments as RFC 3339 text):
- {"type": "alert", "alert": ID, "patient": ID}: an alert was opened, changed or closed.
- {"type": "reading", "patient": ID, "vital": VITAL}: readings were kept; once per patient and vital of a batch.
- {"type": "follow-up", "follow_up": ID, "patient": ID}: a follow-up was opened, changed or closed.
- {"type": "health"}: the health of a part changed.
- {"type": "resync"}: sent by the bulletin itself.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Final

Event = Mapping[str, str]

DEPTH: Final = 256
HEARTBEAT_S: Final = 15.0
_LOOK_S: Final = 1.0
_HEARTBEAT: Final = b": still here\n\n"


class Subscription:
    """An async iterator of server-sent event frames (bytes); it ends when the bulletin closes, or after `end`."""

    def __init__(self, patient: str | None, depth: int) -> None:
        self.patient = patient
        # A deque and a future: an asyncio.Queue takes twice the time, which counts when a thousand are told.
        self._depth = depth
        self._frames: deque[bytes] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._spoke = self._loop.time()
        self._beat = self._loop.call_later(HEARTBEAT_S, self._break_silence)

    def put(self, frame: bytes, instead: bytes) -> None:
        """Queue a frame; when the client is a whole queue behind, `instead` takes the place of its backlog."""
        if len(self._frames) >= self._depth:
            self._frames.clear()
            frame = instead
        self._frames.append(frame)
        self._wake()

    def end(self) -> None:
        """Nothing more is told, not even what waits."""
        self._beat.cancel()
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._arrival and not self._arrival.done():
            self._arrival.set_result(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> bytes:
        """The next frame, or a comment after HEARTBEAT_S of silence (so that proxies keep the connection)."""
        if not self._frames and not self._ended:
            self._arrival = self._loop.create_future()
            await self._arrival
        if self._ended:
            raise StopAsyncIteration
        self._spoke = self._loop.time()
        return self._frames.popleft()

    def _break_silence(self) -> None:
        # One timer a client that looks now and then, for one a frame costs as much as the frame.
        silent = self._loop.time() - self._spoke
        if silent >= HEARTBEAT_S and not self._frames:
            self.put(_HEARTBEAT, _HEARTBEAT)
        self._beat = self._loop.call_later(max(HEARTBEAT_S - silent, _LOOK_S), self._break_silence)


class Bulletin:
    """The board on which the house writes and from which pages read. Use it on the event loop only."""

    def __init__(self, *, depth: int = DEPTH) -> None:
        self._depth = depth
        self._run = secrets.token_hex(4)  # ids of an earlier run are never taken for this run's
        self._count = 0
        # By the type they want, "" for those who want all: most events are readings, and few pages want them.
        self._clients: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._closed = False

    @property
    def clients(self) -> int:
        """How many clients listen now."""
        return len(set().union(*self._clients.values()))

    def publish(self, event: Event) -> None:
        """Tell every client that wants it; never waits."""
        self._count += 1
        listening = chain(self._clients.get(event["type"], ()), self._clients.get("", ()))
        wanting = [client for client in listening if client.patient in {None, event.get("patient")}]
        if not wanting:
            return
        frame, resync = self._frame(event), self._frame({"type": "resync"})
        for client in wanting:
            client.put(frame, resync)

    @contextmanager
    def subscribe(
        self,
        *,
        types: frozenset[str] = frozenset(),
        patient: str | None = None,
        last_event_id: str | None = None,
    ) -> Iterator[Subscription]:
        """Listen to some types (all when empty) about one patient (or everybody) until the block is left.

        last_event_id: the id of the last event the client heard before it lost the connection; when anything was
        told since, the first frame is a resync.
        """
        client = Subscription(patient, self._depth)
        if last_event_id is not None and last_event_id != self._id():
            resync = self._frame({"type": "resync"})
            client.put(resync, resync)
        if self._closed:
            client.end()
        for kind in types or {""}:
            self._clients[kind].add(client)
        try:
            yield client
        finally:
            for kind in types or {""}:
                self._clients[kind].discard(client)
                if not self._clients[kind]:
                    del self._clients[kind]
            client.end()

    def close(self) -> None:
        """End every subscription, so that a stopping server does not wait for its pages."""
        self._closed = True
        for client in chain(*self._clients.values()):
            client.end()

    def _id(self) -> str:
        return f"{self._run}-{self._count}"

    def _frame(self, event: Event) -> bytes:
        data = json.dumps(dict(event), ensure_ascii=False, separators=(",", ":"))
        return f"id: {self._id()}\nevent: {event['type']}\ndata: {data}\n\n".encode()

"""Devices under load: strict MQTT 3.1.1 publishers on a socket of their own, and what they meant to say.

A device keeps each message until its PUBACK and sends it again after every lost connection, as the standard demands.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from ingest.journal import Journal
from ingest.reading import Reading, to_us
from tests.influx_facade import Bucket

Said: TypeAlias = tuple[str, int, int, float]
"""A reading as its device means it: device, number, moment in microseconds UTC, mg/dL."""

_WINDOW = 20


def seeded() -> random.Random:
    """Chance whose seed is shown where a test fails."""
    seed = random.randrange(2**32)
    logging.getLogger("chance").warning("seed %d", seed)
    return random.Random(seed)


@dataclass(frozen=True, slots=True)
class Message:
    """One publication and the readings in it."""

    payload: bytes
    readings: tuple[Said, ...]


def history(device: str, last: datetime, count: int, *, each: int = 1, step: timedelta) -> list[Message]:
    """The last `count` readings of a sensor up to `last`, oldest first, `each` in one message."""
    first = last - (count - 1) * step
    return [
        message(readings_of(device, first, range(at, min(at + each, count)), step=step))
        for at in range(0, count, each)
    ]


def readings_of(device: str, first: datetime, numbers: Iterable[int], *, step: timedelta) -> list[Said]:
    """The readings of these numbers of a sensor whose number 0 is of the moment `first`."""
    return [
        (device, number, to_us(first + number * step), float(70 + (number * 7 + hash_of(device)) % 180))
        for number in numbers
    ]


def hash_of(device: str) -> int:
    return sum(device.encode())


def message(readings: Sequence[Said]) -> Message:
    device = readings[0][0]
    said = [
        {
            "kind": "cgm_glucose",
            "sequence": number,
            "time": (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat(),
            "value": value,
            "unit": "mg/dL",
        }
        for _, number, us, value in readings
    ]
    body: dict[str, object] = {"version": 1, "device": device}
    body |= said[0] if len(said) == 1 else {"readings": said}
    return Message(json.dumps(body).encode(), tuple(readings))


def meant(messages: Iterable[Message]) -> set[Said]:
    return {reading for one in messages for reading in one.readings}


class Device:
    """Publishes its messages in order until all are acknowledged.

    acknowledged: how many are. sent: how many have been sent at least once. repeats: how often one was sent again.
    """

    def __init__(
        self,
        name: str,
        messages: Sequence[Message],
        *,
        port: Callable[[], int],
        open_now: asyncio.Event | None = None,
        progress: Callable[[], None] = lambda: None,
        login: str | None = None,
        window: int = _WINDOW,
    ) -> None:
        self.name = name
        self.messages = messages
        self.acknowledged = 0
        self.sent = 0
        self.repeats = 0
        self._port = port
        self._open_now = open_now
        self._progress = progress
        self._login = login
        self._window = window

    async def run(self) -> None:
        while self.acknowledged < len(self.messages):
            if self._open_now:
                await self._open_now.wait()
            try:
                await self._connection()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port())
        try:
            writer.write(self._connect())
            if (await reader.readexactly(4))[3]:
                raise AssertionError(f"{self.name} was refused")
            at = self.acknowledged
            self.repeats += self.sent - at
            while self.acknowledged < len(self.messages):
                while at < min(len(self.messages), self.acknowledged + self._window):
                    writer.write(self._publish(at))
                    at += 1
                self.sent = max(self.sent, at)
                await writer.drain()
                receipt = await reader.readexactly(4)
                assert receipt[:2] == b"\x40\x02", receipt
                assert int.from_bytes(receipt[2:], "big") == self.acknowledged % 65535 + 1, "out of order"
                self.acknowledged += 1
                self._progress()
            writer.write(b"\xe0\x00")
        finally:
            writer.close()

    def _connect(self) -> bytes:
        login = b"" if self._login is None else _field(self.name) + _field(self._login)
        flags = 0x02 if self._login is None else 0xC2
        return _packet(0x10, b"\x00\x04MQTT\x04" + bytes((flags,)) + b"\x00\x3c" + _field(self.name) + login)

    def _publish(self, index: int) -> bytes:
        head = _field(f"homeward/v1/{self.name}/readings") + (index % 65535 + 1).to_bytes(2, "big")
        return _packet(0x32, head + self.messages[index].payload)


def _field(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def _packet(first: int, body: bytes) -> bytes:
    size, rest = bytearray(), len(body)
    while rest > 127:
        size.append(rest & 127 | 128)
        rest >>= 7
    return bytes((first, *size, rest)) + body


# What was stored ----------------------------------------------------------------------------------------------------


def kept(journal: Journal) -> list[Reading]:
    """All readings in the order in which they were committed."""
    return [reading for _, reading in journal.since(0, 100_000_000)]


def said(reading: Reading) -> Said:
    assert reading.sequence is not None
    assert reading.device_time is not None
    assert reading.sent[0] is not None
    return reading.device, reading.sequence, to_us(reading.device_time), reading.sent[0]


def assert_each_once(journal: Journal, sent: set[Said]) -> list[Reading]:
    """Stored = sent, each once; the readings in the order of commit."""
    readings = kept(journal)
    found = [said(reading) for reading in readings]
    assert set(found) == sent
    assert len(found) == len(sent), "something is stored twice"
    return readings


def assert_same_in_influx(journal: Journal, bucket: Bucket) -> None:
    """InfluxDB holds exactly the points of the journal."""
    points = {(row["serial"], row["time"], row["glucose"]) for row in bucket.rows("cgm_glucose")}
    assert points == {(r.device, to_us(r.taken_at), r.values[0]) for r in kept(journal)}

"""Devices under load: strict MQTT 3.1.1 publishers on a socket of their own, and what they meant to say.

A device keeps each message until its PUBACK and sends it again after every lost connection, as the standard demands.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, overload

from ingest.journal import Journal
from ingest.reading import Reading, to_us
from ingest.vital import Vital
from tests.influx_facade import Bucket, statement

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


class History(Sequence[Message]):
    """The last `count` readings of a sensor up to `last`, oldest first, `each` in one message.

    Made when they are asked for: those of a region would fill the memory.
    """

    def __init__(self, device: str, last: datetime, count: int, *, each: int = 1, step: timedelta) -> None:
        self._device, self._first, self._count = device, last - (count - 1) * step, count
        self._each, self._step = each, step

    def __len__(self) -> int:
        return -(-self._count // self._each)

    @overload
    def __getitem__(self, at: int) -> Message: ...
    @overload
    def __getitem__(self, at: slice) -> list[Message]: ...
    def __getitem__(self, at: int | slice) -> Message | list[Message]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        numbers = range(self._count)[at * self._each : (at + 1) * self._each]
        if not numbers:
            raise IndexError(at)
        return message(
            [
                (
                    self._device,
                    number,
                    to_us(self._first + number * self._step),
                    float(70 + (number * 7 + hash_of(self._device)) % 180),
                )
                for number in numbers
            ]
        )


def history(device: str, last: datetime, count: int, *, each: int = 1, step: timedelta) -> list[Message]:
    """The same, at once."""
    return list(History(device, last, count, each=each, step=step))


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


def assert_each_once_everywhere(
    journal: Journal, bucket: Bucket, span: tuple[datetime, datetime], sent: Mapping[str, set[Said]]
) -> None:
    """What these sensors sent in a span of time is in the journal and in InfluxDB, each once.

    For more readings than memory is to hold at once. The patients are those of `tests.faults.houses.furnish`.
    """
    wearers = "|".join(f"w-{name}" for name in sent)
    query = f'SELECT "glucose", "serial" FROM "cgm_glucose" WHERE "patient" =~ /^({wearers})$/'
    points: dict[str, list[tuple[int, float]]] = {name: [] for name in sent}
    for time, value, name in statement(bucket.engine, query, db=bucket.name)["series"][0]["values"]:
        points[name].append((time, value))
    for name, meant_by_it in sent.items():
        readings = journal.readings(f"p-{name}", Vital.CGM, *span)
        assert {said(reading) for reading in readings} == meant_by_it
        assert len(readings) == len(meant_by_it), "something is stored twice"
        assert points[name] == [(to_us(reading.taken_at), reading.values[0]) for reading in readings]


def assert_same_in_influx(journal: Journal, bucket: Bucket) -> None:
    """InfluxDB holds exactly the points of the journal."""
    points = {(row["serial"], row["time"], row["glucose"]) for row in bucket.rows("cgm_glucose")}
    assert points == {(r.device, to_us(r.taken_at), r.values[0]) for r in kept(journal)}

"""The load: readings as devices publish them, prepared before the clock runs, and the publisher that sends them.

80 % CGM, 20 % blood pressure, 1 % sent twice, 0.1 % undecodable; seeded, so that every program of a round gets the
same. The publisher is a process of its own (`python -m benchmarks.load`) on one raw socket: the octets are ready, it
only sends and counts PUBACKs, so that what is measured is the receiver.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from benchmarks.machine import BenchError, Program, module

Key = tuple[str, int]
"""Device and sequence: what a reading is known by, in every program that is measured."""

WINDOW: Final = 1000
STEP: Final = timedelta(minutes=1)
# Nearer together they were one sitting. Still some ten times as many as a patient takes in a day.
CUFF_STEP: Final = timedelta(minutes=11)
HORIZON: Final = timedelta(hours=47)  # more than all rounds of a case take, and within two days
TWICE, BROKEN = 0.01, 0.001
_IDS: Final = 65_000


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH: the topic below the prefix, the payload, and the readings that are in it (none: undecodable)."""

    topic: str
    payload: bytes
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A patient of the load and the devices that the patient wears: id -> kind."""

    patient: str
    devices: Mapping[str, str]


@dataclass(slots=True)
class Ward:
    """The simulated patients; what it gives is never given twice.

    probes: patients with a meter each, one very low value of which opens an alert at once.
    """

    patients: int
    seed: int = 4  # of the mix
    probes: int = 0
    step: timedelta = STEP
    horizon: timedelta = HORIZON
    _start: datetime = field(init=False)
    _next: dict[str, int] = field(default_factory=dict)
    _random: random.Random = field(init=False)
    _turn: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._start = datetime.now(UTC) - self.horizon
        self._random = random.Random(self.seed)
        self._turn = cycle(range(self.patients))

    def enrolled(self) -> Iterator[Enrolled]:
        """Everybody who has to be known to the house."""
        for i in range(self.patients):
            yield Enrolled(f"p{i:06}", {f"cgm-{i:06}": "cgm", f"cuff-{i:06}": "cuff"})
        for i in range(self.probes):
            yield Enrolled(f"probe-{i:06}", {f"meter-{i:06}": "meter"})

    def singles(self, count: int) -> list[Message]:
        """So many messages of one reading each, some twice and some broken."""
        messages: list[Message] = []
        while len(messages) < count:
            chance = self._random.random()
            if chance < BROKEN:
                junk = f'{{"version": 1, "device": "cgm-000000", "value": {self._random.random()}'
                messages.append(Message("v1/cgm-000000/readings", junk.encode(), ()))
            elif chance < BROKEN + TWICE and messages:
                messages.append(messages[-1])
            else:
                i = next(self._turn)
                # Every fifth of a patient's: drawn by lot, some cuffs would run out of past.
                taken = self._next.get(f"cgm-{i:06}", 0) + self._next.get(f"cuff-{i:06}", 0)
                kind = "cuff" if (i + taken) % 5 == 0 else "cgm"
                messages.append(_message(f"{kind}-{i:06}", [self._reading(kind, i)]))
        return messages

    def one_each(self) -> list[Message]:
        """A reading of each device of every patient: after it the house knows them all."""
        return [
            _message(f"{kind}-{i:06}", [self._reading(kind, i)])
            for kind in ("cgm", "cuff")
            for i in range(self.patients)
        ]

    def batches(self, count: int, size: int = 50) -> list[Message]:
        """So many messages of `size` readings of one sensor each."""
        turns = islice(self._turn, count)
        return [_message(f"cgm-{i:06}", [self._reading("cgm", i) for _ in range(size)]) for i in turns]

    def probe(self, i: int) -> Message:
        """A value of a meter so low that staff hear of it at once, taken just now."""
        meter = f"meter-{i:06}"
        low = {
            "kind": "glucose",
            "value": 2.0,
            "unit": "mmol/L",
            "time": datetime.now(UTC).isoformat(),
            "sequence": 1,
        }
        return _message(meter, [low])

    def _reading(self, kind: str, i: int) -> dict[str, object]:
        device = f"{kind}-{i:06}"
        n = self._next[device] = self._next.get(device, 0) + 1
        since = n * (max(self.step, CUFF_STEP) if kind == "cuff" else self.step)
        if since > self.horizon:
            raise BenchError(f"{device} has no past left for another reading; begin the load with a longer horizon")
        when = {"time": (self._start + since).isoformat(), "sequence": n}
        if kind == "cuff":
            upper = {"systolic": 112 + (i + n) % 18, "diastolic": 66 + (i + 2 * n) % 12}
            return {"kind": "blood_pressure", **upper, "unit": "mmHg", "pulse": 60 + n % 20, **when}
        # One in fifty runs high, so that some alerts stand, as in a real ward.
        value = (105 if i % 50 else 205) + (7 * i + 3 * n) % 45
        return {"kind": "cgm_glucose", "value": value, "unit": "mg/dL", **when}


def _message(device: str, readings: Sequence[Mapping[str, object]]) -> Message:
    head = {"version": 1, "device": device}
    body = {**head, **readings[0]} if len(readings) == 1 else {**head, "readings": readings}
    keys = tuple((device, int(str(reading["sequence"]))) for reading in readings)
    return Message(f"v1/{device}/readings", json.dumps(body).encode(), keys)


def distinct(messages: Sequence[Message]) -> set[Key]:
    """The readings in messages, each once: what must be stored in the end."""
    return {key for message in messages for key in message.keys}


@dataclass(frozen=True, slots=True)
class Sent:
    """What the publisher saw. Times in seconds of the machine's monotonic clock, by message; 0 = not acknowledged."""

    at: array[float]
    acked: array[float]

    @property
    def seconds(self) -> float:
        """From the first octet sent to the last PUBACK."""
        return max(self.acked) - self.at[0]

    def latencies(self) -> list[float]:
        """Milliseconds from sending to PUBACK."""
        return [(done - sent) * 1000 for sent, done in zip(self.at, self.acked, strict=True)]


@dataclass(slots=True)
class Publisher:
    """Messages made ready in a file, to be sent to a port at a rate (0: as fast as the window lets them)."""

    messages: Sequence[Message]
    prefix: str
    folder: Path
    _path: Path = field(init=False)
    _program: Program | None = None

    def __post_init__(self) -> None:
        self._path = self.folder / f"load-{time.monotonic_ns()}"
        with self._path.open("wb") as file:
            for i, message in enumerate(self.messages):
                packet = publish(f"{self.prefix}/{message.topic}", message.payload, i % _IDS + 1)
                file.write(len(packet).to_bytes(4, "big") + packet)

    def start(self, port: int, rate: float = 0, window: int = WINDOW) -> None:
        """Begin to send."""
        command = module("benchmarks.load", port, rate, window, self._path)
        self._program = Program(command, self._path.with_suffix(".log"))

    def finish(self, seconds: float = 300.0) -> Sent:
        """When the last PUBACK has come. Raises BenchError."""
        assert self._program is not None
        self._program.wait(seconds)
        return self.sent()

    def sent(self) -> Sent:
        """What it wrote down when it ended, also when its receiver was killed."""
        count = len(self.messages)
        found = array("d", self._path.with_suffix(".times").read_bytes())
        for path in self.folder.glob(f"{self._path.name}*"):
            path.unlink()
        return Sent(found[:count], found[count:])

    def run(self, port: int, rate: float = 0, window: int = WINDOW) -> Sent:
        """Send everything and wait for the last PUBACK."""
        self.start(port, rate, window)
        return self.finish()


def publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    """A PUBLISH of MQTT 3.1.1 with QoS 1."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + packet_id.to_bytes(2, "big") + payload
    return b"\x32" + remaining_length(len(body)) + body


def connect(client: str, *, clean: bool = True, version: int = 4) -> bytes:
    """A CONNECT of MQTT 3.1.1 (4) without keep-alive."""
    name = client.encode()
    flags = 2 if clean else 0
    body = b"\x00\x04MQTT" + bytes([version, flags, 0, 0]) + len(name).to_bytes(2, "big") + name
    return b"\x10" + remaining_length(len(body)) + body


def remaining_length(number: int) -> bytes:
    """MQTT's variable byte integer."""
    octets = bytearray()
    while True:
        number, low = divmod(number, 128)
        octets.append(low | (128 if number else 0))
        if not number:
            return bytes(octets)


def _packets(path: Path) -> list[bytes]:
    data = path.read_bytes()
    packets, place = [], 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        packets.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return packets


class _Sender:
    """One connection; every PUBACK of MQTT 3.1.1 is four octets."""

    def __init__(self, port: int, packets: list[bytes]) -> None:
        self.packets = packets
        self.at = array("d", bytes(8 * len(packets)))
        self.acked = array("d", bytes(8 * len(packets)))
        self.sent = self.done = 0
        self._rest = b""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(connect("publisher"))
        if self._socket.recv(4) != b"\x20\x02\x00\x00":
            raise ConnectionError("the connection was refused")

    def send(self, until: int) -> None:
        now = time.monotonic()
        for i in range(self.sent, until):
            self.at[i] = now
        self._socket.sendall(b"".join(self.packets[self.sent : until]))
        self.sent = until

    def listen(self, seconds: float) -> None:
        if not select.select([self._socket], [], [], seconds)[0]:
            return
        data = self._rest + self._socket.recv(65536)
        now = time.monotonic()
        if len(data) == len(self._rest):
            raise ConnectionError("the connection was closed")
        whole = len(data) & ~3
        self._rest = data[whole:]
        # Identifiers come again after _IDS messages, far more than the window.
        for place in range(2, whole, 4):
            i = int.from_bytes(data[place : place + 2], "big") - 1
            i += (max(self.done, i) - i) // _IDS * _IDS
            while self.acked[i]:
                i += _IDS
            self.acked[i] = now
            self.done += 1


def main(port: int, rate: float, window: int, path: Path) -> int:
    """Send the file's packets and write both times of each beside it; 0 when all were acknowledged."""
    sender = _Sender(port, _packets(path))
    count = len(sender.packets)
    start = time.monotonic()
    try:
        while sender.done < count:
            due = count if not rate else min(count, int((time.monotonic() - start) * rate) + 1)
            until = min(due, sender.done + window, sender.sent + 200)
            if until > sender.sent:
                sender.send(until)
            full = sender.sent in {count, sender.done + window}
            sender.listen(0.0005 if rate and not full else 1.0 if full else 0.0)
    except ConnectionError:
        return 0
    finally:
        path.with_suffix(".times").write_bytes(sender.at.tobytes() + sender.acked.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))

"""What all cases share: how much of everything, a place to work in, and a load that must arrive whole."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Key, Message, Publisher, Sent, distinct
from benchmarks.machine import BenchError, external
from benchmarks.programs import Homeward, Receiver, Watched
from tests.peers import Mosquitto, mosquitto_broker

BROKER_SETTINGS: Final = ("max_queued_messages 0",)


CPU, RATE, P50, P99 = "CPU of 100 000 readings", "durable readings", "p50", "p99"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything.

    patients: for the growth, smallest first. alerts: open, closed. due: timers at once.
    """

    rounds: int
    singles: int
    batches: int
    rates: Sequence[int]
    seconds: float
    streams: int
    window: int
    follow: int
    stored: int
    patients: Sequence[int]
    alerts: tuple[int, int]
    due: int
    peers: bool


FULL: Final = Size(
    rounds=5, singles=30_000, batches=500, rates=(1000, 5000, 10_000), seconds=3, streams=1000, window=5000,
    follow=100_000, stored=10_000_000, patients=(1000, 10_000, 100_000), alerts=(100_000, 1_000_000), due=1000,
    peers=True,
)  # fmt: skip


SHORT: Final = Size(
    rounds=5, singles=1000, batches=40, rates=(1000,), seconds=0.3, streams=200, window=800, follow=5000,
    stored=100_000, patients=(200, 1000), alerts=(1000, 5000), due=100,
    peers=False,
)  # fmt: skip


@dataclass(slots=True)
class Bench:
    """What all cases share: sizes, a folder to work in, a seeded shuffle."""

    size: Size
    folder: Path
    chance: random.Random = field(default_factory=lambda: random.Random(4))
    say: Callable[[str], None] = print
    _folders: int = 0

    @property
    def patients(self) -> int:
        """How many there are where their number is not the matter."""
        return self.size.patients[0]

    def place(self, name: str) -> Path:
        """A fresh folder."""
        self._folders += 1
        path = self.folder / f"{self._folders:03}-{name}"
        path.mkdir()
        return path

    def rounds(self, *what: Any) -> Iterator[Any]:
        """Each of them once a round, in another order each time."""
        for number in range(self.size.rounds):
            self.say(f"  round {number + 1} of {self.size.rounds}")
            yield from self.chance.sample(what, len(what))

    @contextmanager
    def broker(self) -> Iterator[Mosquitto]:
        """A Mosquitto of its own."""
        program = external("mosquitto", "`apt-get install mosquitto`")
        with mosquitto_broker(program, self.place("mosquitto"), *BROKER_SETTINGS) as broker:
            yield broker


@dataclass(frozen=True, slots=True)
class Delivered:
    """One load that arrived whole. seconds: from the first octet to the last reading durable."""

    readings: int
    seconds: float
    cpu: float
    sent: Sent
    durable: dict[Key, float]


def deliver(
    receiver: Receiver, port: int, messages: Sequence[Message], folder: Path, rate: float = 0, *, loses: bool = False
) -> Delivered:
    """Send a load, wait until all of it is durable and what follows is done. Raises BenchError if any is missing.

    loses: the receiver is known to, and is measured all the same.
    """
    wanted = distinct(messages)
    number = sum(len(message.keys) for message in messages) if receiver.copies else len(wanted)
    publisher = Publisher(messages, receiver.prefix, folder)
    watched, before = Watched(receiver), receiver.program.cpu()
    publisher.start(port, rate)
    end = watched.until(number)
    sent = publisher.finish()
    receiver.program.settle()
    cpu = receiver.program.cpu() - before
    durable = watched.moments()
    if (missing := wanted - durable.keys()) and not loses:
        raise BenchError(f"{receiver.prefix}: {len(missing)} of {len(wanted)} readings are not where they belong")
    if strange := durable.keys() - wanted:
        raise BenchError(f"{receiver.prefix}: {len(strange)} readings were stored that nobody sent")
    return Delivered(number, end - sent.at[0], cpu, sent, durable)


def until(true: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for something that another process does. Raises BenchError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise BenchError(f"{what} did not get there within {seconds:.0f} s")
        time.sleep(0.01)


def subscribed(house: Homeward) -> None:
    """Until the house hears the broker: a broker drops what nobody has subscribed to."""
    house.program.wait_for("connected to the broker", 20)

"""From callbacks to `deliver`: packets go on in the order of receipt and are counted until they are settled.

A socket hands over bytes in a callback, which cannot wait; `deliver` can. `Intake` stands between them, says when it
is full so that the sockets stop reading, and knows when everything is settled. `Receipts` holds the acknowledgements
of one connection and releases them in the order of receipt, as MQTT demands (MQTT 5.0, section 4.6), several at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ingest.links.delivery import Deliver
from ingest.reading import Packet

Answer = TypeVar("Answer")


class Intake:
    """Packets on their way from the sockets of one link to the house.

    limit: packets, octet_limit: octets of their data, both counted from receipt until they and all before them on
    their connection are settled. on_full is called
    with True when either is reached and with False once both have fallen to half: then the sockets may read again.
    """

    def __init__(self, deliver: Deliver, *, limit: int, octet_limit: int, on_full: Callable[[bool], None]) -> None:
        self._deliver = deliver
        self._limit = limit
        self._octet_limit = octet_limit
        self._on_full = on_full
        self._waiting: deque[tuple[Packet, Callable[[], None]]] = deque()
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.unsettled = 0
        self.octets = 0
        self.full = False

    def put(self, packet: Packet, settled: Callable[[], None]) -> None:
        """Take one packet on; `settled` must lead to `done` with the packet and its octets."""
        if not self.unsettled:
            self._empty.clear()
        self.unsettled += 1
        self.octets += len(packet.data)
        if not self._waiting:
            self._arrived.set()
        self._waiting.append((packet, settled))
        if not self.full and (self.unsettled >= self._limit or self.octets >= self._octet_limit):
            self.full = True
            self._on_full(True)

    def done(self, packets: int, octets: int) -> None:
        """So many packets, of so many octets together, are settled."""
        self.unsettled -= packets
        self.octets -= octets
        if not self.unsettled:
            self._empty.set()
        if self.full and self.unsettled * 2 <= self._limit and self.octets * 2 <= self._octet_limit:
            self.full = False
            self._on_full(False)

    async def run(self) -> None:
        """Hand packets on until cancelled. An error of `deliver` is the house's own and ends this."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                packet, settled = self._waiting.popleft()
                await self._deliver(packet, settled)
            self._arrived.clear()

    async def wait_settled(self, timeout: float | None) -> bool:  # noqa: ASYNC109 (the answer matters, not an exception)
        """Wait until nothing is unsettled, at most `timeout` seconds (None: for ever); whether it came about."""
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True


class Receipts(Generic[Answer]):
    """Acknowledgements of one connection, released in the order of receipt once their packets are settled.

    release gets the answers of a batch in one call, on the loop. It is also called after the connection has gone,
    and must then send nothing: the answers belong to that connection and no other.
    """

    def __init__(self, intake: Intake, release: Callable[[list[Answer]], None]) -> None:
        self._intake = intake
        self._release = release
        self._held: deque[_Receipt[Answer]] = deque()
        self._loop = asyncio.get_running_loop()
        self._due = False

    def __len__(self) -> int:
        return len(self._held)

    def take(self, packet: Packet, answer: Answer) -> None:
        """Hand a packet on; its answer is released once it and all before it are settled."""
        receipt = _Receipt(self, answer, len(packet.data))
        self._held.append(receipt)
        self._intake.put(packet, receipt)

    def settle(self) -> None:
        """One packet, whose receipt says so, is settled."""
        if not self._due:
            # One release for all that the house settles in this turn of the loop: one write instead of many.
            self._due = True
            self._loop.call_soon(self._release_settled)

    def _release_settled(self) -> None:
        self._due = False
        answers = []
        octets = 0
        held = self._held
        while held and held[0].settled:
            receipt = held.popleft()
            octets += receipt.octets
            answers.append(receipt.answer)
        if answers:
            self._intake.done(len(answers), octets)
            self._release(answers)


class _Receipt(Generic[Answer]):
    """What the house calls when a packet is settled."""

    __slots__ = ("_receipts", "answer", "octets", "settled")

    def __init__(self, receipts: Receipts[Answer], answer: Answer, octets: int) -> None:
        self._receipts = receipts
        self.octets = octets
        self.answer = answer
        self.settled = False

    def __call__(self) -> None:
        self.settled = True
        self._receipts.settle()

"""The door: what waits to be worked on, in two lanes, so that what is urgent does not stand behind a backfill.

A device of which much waits is sending history: after a few packets, or with a large one, it is put into the second
lane until nothing of it waits there any more. Each lane is first in, first out, and a device never has newer packets
in the first lane than in the second, so the order of each device is kept. While both lanes have something they take
turns, and the second gives little at a time. Both are bounded: whoever brings more waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from ingest.reading import Packet

BATCH: Final = 1000  # packets of one commit
OCTETS: Final = 1_048_576  # of their data
# Of history, so much that whoever comes meanwhile does not wait long; and as much when somebody is waiting.
HISTORY_OCTETS: Final = 262_144
SLICE: Final = 250
SLICE_OCTETS: Final = 65_536
# More than all links together may have unsettled, or the packets of a link would stand in line before the lanes.
ROOM: Final = 24_000
_FEW: Final = 4
_LARGE: Final = 4096


class Delivery(NamedTuple):
    """A packet of a link, and what to call when its fate is committed. A tuple, for there is one for each packet."""

    packet: Packet
    settled: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to be done in order with the packets: an act, a tick, a change of the roster.

    of_ward: it concerns the ward alone, not what is stored.
    """

    run: Callable[[], Awaitable[object]]
    done: asyncio.Future[object] = field(compare=False)
    of_ward: bool = False


Item: TypeAlias = Delivery | Errand


class _Lane:
    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.by_sender: dict[str, int] = {}
        self._room = asyncio.Event()

    async def put(self, item: Item) -> None:
        """Awaiting it is the back-pressure."""
        while len(self.items) >= ROOM:
            self._room.clear()
            await self._room.wait()
        self.items.append(item)
        if isinstance(item, Delivery):
            sender = item.packet.sender
            self.by_sender[sender] = self.by_sender.get(sender, 0) + 1

    def take(self, packets: int, octets: int, before: Collection[str] = ()) -> list[Item]:
        """From the front, so many packets with so many octets of data, up to one that others have to go before.

        before: the senders of packets that came earlier.
        """
        taken: list[Item] = []
        items, by_sender = self.items, self.by_sender
        while items and len(taken) < packets and octets > 0:
            item = items[0]
            if before and (not isinstance(item, Delivery) or item.packet.sender in before):
                break
            taken.append(items.popleft())
            if isinstance(item, Delivery):
                packet = item.packet
                octets -= len(packet.data)
                if left := by_sender[packet.sender] - 1:
                    by_sender[packet.sender] = left
                else:
                    del by_sender[packet.sender]
        self._room.set()
        return taken


class Door:
    """The two lanes. One worker takes; any number of links put."""

    def __init__(self) -> None:
        self._fresh = _Lane()
        self._history = _Lane()
        self._arrived = asyncio.Event()
        self._turn_of_history = False

    @property
    def waiting(self) -> int:
        """How many wait in the first lane."""
        return len(self._fresh.items)

    async def deliver(self, delivery: Delivery) -> None:
        """Put a packet in; awaiting it is the back-pressure."""
        await self._lane(delivery.packet).put(delivery)
        self._arrived.set()

    async def send(self, errand: Errand, *, last: bool = False) -> None:
        """Put an errand in behind what waits in the first lane; last: behind everything."""
        await (self._history if last else self._fresh).put(errand)
        self._arrived.set()

    async def arrived(self) -> None:
        """Wait until something waits."""
        await self._arrived.wait()

    def take(self) -> tuple[list[Item], bool]:
        """What is to be done next, of one lane, in its order; and whether it is of the second."""
        fresh, history = self._fresh, self._history
        items: list[Item] = []
        if self._turn_of_history or not fresh.items:
            sizes = (SLICE, SLICE_OCTETS) if fresh.items else (BATCH, HISTORY_OCTETS)
            items = history.take(*sizes, before=fresh.by_sender)
        is_history = bool(items)
        self._turn_of_history = not is_history
        items = items or fresh.take(BATCH, OCTETS)
        if not (fresh.items or history.items):
            self._arrived.clear()
        return items, is_history

    def _lane(self, packet: Packet) -> _Lane:
        """The history of a device is in line behind its own, and so is everything else of it."""
        sender, history = packet.sender, self._history
        if sender in history.by_sender or len(packet.data) > _LARGE:
            return history
        return history if self._fresh.by_sender.get(sender, 0) >= _FEW else self._fresh

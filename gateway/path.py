"""The straight path: what is done with everything that waits at the door.

Packets, acts and ticks enter one bounded queue and leave it in order, in batches. Each batch is decoded, admitted,
committed once, acknowledged to its sources, watched, and what follows from it is written down before it is said.
Watching follows the journal by a cursor of its own, so a crash between commit and watch is made good at the start.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway.clock import Clock
from gateway.patience import Patience
from gateway.ward import Ward
from ingest.admit import Roster, admit
from ingest.decode import decode
from ingest.journal import Arrival, Journal, Letter, Outcome
from ingest.reading import DecodeError, Packet, Reading, RefusalReason

BATCH: Final = 1000
QUEUE: Final = 4000  # packets that may wait; then the links wait, and with them their sources
OCTETS: Final = 1_048_576
CATCH_UP: Final = 5000
LETTERS: Final = 500
_UNASSIGNED: Final = RefusalReason.UNASSIGNED.value


@dataclass(frozen=True, slots=True)
class _Delivery:
    packet: Packet
    settled: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Errand:
    """Something to be done in order with the packets: an act, a tick, a change of the roster."""

    run: Callable[[], Awaitable[object]]
    done: asyncio.Future[object] = field(compare=False)


_Item: TypeAlias = _Delivery | _Errand


class StraightPath:
    """The one worker between the links and the people. stored() is called on the loop after each commit."""

    def __init__(
        self, journal: Journal, ward: Ward, clock: Clock, roster: Roster, *, stored: Callable[[], None]
    ) -> None:
        self.roster = roster
        self.patience = Patience("journal", clock)
        self._journal = journal
        self._ward = ward
        self._stored = stored
        self._door: asyncio.Queue[_Item] = asyncio.Queue(QUEUE)

    async def deliver(self, packet: Packet, settled: Callable[[], None]) -> None:
        """See `ingest.links.delivery.Deliver`."""
        await self._door.put(_Delivery(packet, settled))

    async def errand(self, run: Callable[[], Awaitable[object]]) -> object:
        """Do something in order with the packets, on the worker; its result or its exception comes back."""
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        await self._door.put(_Errand(run, done))
        return await done

    async def run(self) -> None:
        """Make good what a crash left undone, then work until cancelled."""
        while entries := await self.patience.call(self._journal.since, self._ward.cursor, CATCH_UP):
            await self._ward.see(entries)
        await self.readmit()
        while True:
            await self._work(await self._take())

    async def readmit(self, device: str | None = None) -> None:
        """Try the letters again that wait for an assignment, of one device or of all, oldest first."""
        waiting = await self.patience.call(self._journal.letters, device=device, reason=_UNASSIGNED, limit=-1)
        known = [letter for letter in reversed(waiting) if self.roster.of(letter.device)]
        for first in range(0, len(known), LETTERS):
            chunk = known[first : first + LETTERS]
            new = await self.patience.call(self._retry, chunk)
            self._stored()
            await self._ward.see(new)

    def _retry(self, letters: Sequence[Letter]) -> list[tuple[int, Reading]]:
        return self._journal.readmit([(letter, self._judge(letter.packet)) for letter in letters]).new

    async def _take(self) -> list[_Item]:
        """All that waits, as long as one commit can take it without keeping the others waiting."""
        items = [await self._door.get()]
        octets = _size(items[0])
        while len(items) < BATCH and octets < OCTETS and not self._door.empty():
            items.append(self._door.get_nowait())
            octets += _size(items[-1])
        return items

    async def _work(self, items: Sequence[_Item]) -> None:
        """One batch, in order: an errand sees what came before it and nothing that came after."""
        deliveries: list[_Delivery] = []
        for item in items:
            if isinstance(item, _Delivery):
                deliveries.append(item)
                continue
            await self._keep(deliveries)
            deliveries = []
            await _run(item)
        await self._keep(deliveries)

    async def _keep(self, deliveries: Sequence[_Delivery]) -> None:
        if not deliveries:
            return
        new = await self.patience.call(self._store, [one.packet for one in deliveries])
        for one in deliveries:
            one.settled()
        self._stored()
        await self._ward.see(new)

    def _judge(self, packet: Packet) -> tuple[Outcome, ...]:
        return tuple(
            part if isinstance(part, DecodeError) else admit(part, packet, self.roster) for part in decode(packet)
        )

    def _store(self, packets: Sequence[Packet]) -> list[tuple[int, Reading]]:
        """Decode, admit and commit. Off the loop, for a large batch would hold up every connection."""
        arrivals = [Arrival(packet=packet, outcomes=self._judge(packet)) for packet in packets]
        try:
            return self._journal.append(arrivals).new
        except sqlite3.OperationalError:
            raise
        except (sqlite3.Error, OverflowError, ValueError):
            # Something in the batch cannot be stored: only that packet becomes a letter, the others are kept.
            return [kept for arrival in arrivals for kept in self._store_one(arrival)]

    def _store_one(self, arrival: Arrival) -> list[tuple[int, Reading]]:
        try:
            return self._journal.append([arrival]).new
        except sqlite3.OperationalError:
            raise
        except (sqlite3.Error, OverflowError, ValueError) as error:
            unstorable = DecodeError("invalid", f"it cannot be stored: {error}")
            outcomes = (unstorable,) * len(arrival.outcomes)
            return self._journal.append([Arrival(packet=arrival.packet, outcomes=outcomes)]).new


def _size(item: _Item) -> int:
    return len(item.packet.data) if isinstance(item, _Delivery) else 0


async def _run(errand: _Errand) -> None:
    try:
        result = await errand.run()
    except Exception as error:  # noqa: BLE001  it belongs to whoever asked; the worker goes on
        if not errand.done.cancelled():
            errand.done.set_exception(error)
    else:
        if not errand.done.cancelled():
            errand.done.set_result(result)

"""The straight path: what is done with everything that waits at the door.

Packets, acts and ticks enter one bounded queue and leave it in order, in batches. Each batch is decoded, admitted,
committed once, acknowledged to its sources, watched, and what follows from it is written down before it is said.
Watching follows the journal by a cursor of its own, so a crash between commit and watch is made good at the start.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeAlias

from gateway.clock import Clock
from gateway.ward import Ward
from ingest.admit import Roster, admit
from ingest.decode import decode
from ingest.journal import Arrival, Journal, Letter, Outcome
from ingest.reading import DecodeError, Packet, Reading, RefusalReason

_log = logging.getLogger(__name__)

BATCH: Final = 1000
QUEUE: Final = 4000  # packets that may wait; then the links wait, and with them their sources
CATCH_UP: Final = 5000
_FIRST_RETRY: Final = timedelta(seconds=1)
_LONGEST_RETRY: Final = timedelta(seconds=30)


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
        self._journal = journal
        self._ward = ward
        self._clock = clock
        self._stored = stored
        self._door: asyncio.Queue[_Item] = asyncio.Queue(QUEUE)
        self.trouble: str | None = None

    @property
    def waiting(self) -> int:
        """How many packets and errands stand at the door."""
        return self._door.qsize()

    async def deliver(self, packet: Packet, settled: Callable[[], None]) -> None:
        """See `ingest.links.delivery.Deliver`."""
        await self._door.put(_Delivery(packet, settled))

    async def errand(self, run: Callable[[], Awaitable[object]]) -> object:
        """Do something in order with the packets, on the worker; its result or its exception comes back."""
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        await self._door.put(_Errand(run, done))
        return await done

    async def run(self) -> None:
        """Watch what a crash left unwatched, then work until cancelled."""
        await self._catch_up()
        while True:
            await self._work(await self._take())

    async def change_roster(self, roster: Roster, device: str) -> None:
        """Put a new roster into force and admit what waited for that device."""
        self.roster = roster
        await self.retry(await asyncio.to_thread(self._journal.letters, device=device, limit=-1))

    async def retry(self, letters: Sequence[Letter]) -> None:
        """Try letters again that waited for an assignment, oldest first."""
        for letter in sorted(letters, key=lambda letter: letter.id):
            if letter.reason == RefusalReason.UNASSIGNED:
                appended = await asyncio.to_thread(self._journal.readmit, letter, self._judge(letter.packet))
                self._stored()
                await self._ward.see(appended.new)

    async def _take(self) -> list[_Item]:
        items = [await self._door.get()]
        while len(items) < BATCH and not self._door.empty():
            items.append(self._door.get_nowait())
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
        arrivals = [Arrival(packet=one.packet, outcomes=self._judge(one.packet)) for one in deliveries]
        new = await self._commit(arrivals)
        for one in deliveries:
            one.settled()
        self._stored()
        await self._ward.see(new)

    def _judge(self, packet: Packet) -> tuple[Outcome, ...]:
        return tuple(
            part if isinstance(part, DecodeError) else admit(part, packet, self.roster) for part in decode(packet)
        )

    async def _commit(self, arrivals: Sequence[Arrival]) -> list[tuple[int, Reading]]:
        """Append until it is on disk: a full disk or a locked file is waited for, sources are not acknowledged."""
        pause = _FIRST_RETRY
        while True:
            try:
                appended = await asyncio.to_thread(self._journal.append, arrivals)
            except sqlite3.OperationalError as error:
                self._complain(f"the journal cannot be written: {error}; free the disk or mend the file")
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_RETRY)
            except (sqlite3.Error, OverflowError, ValueError) as error:
                return await self._one_by_one(arrivals, error)
            else:
                self.trouble = None
                return appended.new

    async def _one_by_one(self, arrivals: Sequence[Arrival], error: Exception) -> list[tuple[int, Reading]]:
        """Something in the batch cannot be stored; only that packet becomes a letter, the others are kept."""
        if len(arrivals) > 1:
            return [kept for arrival in arrivals for kept in await self._commit([arrival])]
        (arrival,) = arrivals
        if all(isinstance(outcome, DecodeError) for outcome in arrival.outcomes):
            raise error
        unstorable = DecodeError("invalid", f"it cannot be stored: {error}")
        return await self._commit([Arrival(packet=arrival.packet, outcomes=(unstorable,) * len(arrival.outcomes))])

    async def _catch_up(self) -> None:
        while entries := await asyncio.to_thread(self._journal.since, self._ward.cursor, CATCH_UP):
            await self._ward.see(entries)

    def _complain(self, sentence: str) -> None:
        if sentence != self.trouble:
            _log.error("%s", sentence)
        self.trouble = sentence


async def _run(errand: _Errand) -> None:
    try:
        result = await errand.run()
    except Exception as error:  # noqa: BLE001  it belongs to whoever asked; the worker goes on
        if not errand.done.cancelled():
            errand.done.set_exception(error)
    else:
        if not errand.done.cancelled():
            errand.done.set_result(result)

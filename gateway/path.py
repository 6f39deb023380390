"""The straight path: what is done with everything that waits at the door.

Packets, acts and ticks come in by the door (`gateway.door`) and are worked on in order, in batches. Each batch is
decoded, admitted, committed once, acknowledged to its sources, watched, and what follows from it is written down
before it is said.
Watching goes on beside the next commits, in the same order, so that no reading waits for what another one led to; it
follows the journal by a cursor of its own, so a crash between commit and watch is made good at the start. History is
stored only when all before it was watched, so that what is urgent has no backfill before it there either.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from gateway.clock import Clock
from gateway.door import BATCH, Delivery, Door, Errand, Item
from gateway.language import Sentence
from gateway.patience import Patience
from gateway.stored import SET_ASIDE
from gateway.ward import Ward
from ingest.admit import Roster, admit
from ingest.decode import decode
from ingest.journal import Arrival, Journal, Letter, Outcome
from ingest.reading import DecodeError, Packet, Reading, Refusal, RefusalReason

CATCH_UP: Final = 5000
# From so many readings that are committed and not yet watched on the commits wait, and with them the sources.
BEHIND: Final = 5000
LETTERS: Final = 100  # that are read and tried again at once; each may be 256 KiB
_UNASSIGNED: Final = RefusalReason.UNASSIGNED.value
_UNSTORABLE: Final = (sqlite3.Error, OverflowError, ValueError)  # but for an OperationalError, which waiting mends


# Linger: so many packets are worth a wait, any number is where commits are dear; a wait that brought nothing (the
# sources wait for their acknowledgements) is not tried again for some batches.
LINGER_S: Final = 0.001
_LITTLE: Final = 20
_DEAR_S: Final = 0.005
_RESTRAINT: Final = 16


class StraightPath:
    """The one worker between the links and the people. stored() is called on the loop after each commit.

    keep_first: what has to keep packets before the journal does (it blocks, and raises like the journal), or None.
    """

    def __init__(
        self, journal: Journal, ward: Ward, clock: Clock, roster: Roster, *, stored: Callable[[], None]
    ) -> None:
        self.roster = roster
        self.patience = Patience(Sentence("journal"), clock)
        self.keep_first: Callable[[Sequence[Packet]], None] | None = None
        self._journal = journal
        self._ward = ward
        self._now = clock.now
        self._stored = stored
        self._door = Door()
        self._too_high: list[Reading] = []  # refused by what is being committed, and to be told
        self._unseen: deque[list[tuple[int, Reading]] | Errand] = deque()
        self._behind = 0  # readings that are committed and not yet watched
        self._news = asyncio.Event()
        self._watched = asyncio.Event()  # all that is committed
        self._watched.set()
        self._commit_s = 0.0  # what the last little commit took
        self._restrained = 0  # batches for which no lingering is tried

    def deliver(self, packet: Packet, settled: Callable[[], None]) -> Awaitable[None]:
        """See `ingest.links.delivery.Deliver`."""
        return self._door.deliver(Delivery(packet, settled))

    async def errand(self, run: Callable[[], Awaitable[object]], *, last: bool = False) -> object:
        """Do something in order with the packets, on the worker; its result or its exception comes back.

        last: behind every packet that waits, also those of a backfill.
        """
        return await self._send(run, last=last)

    async def round(self, run: Callable[[], Awaitable[object]]) -> object:
        """The same for what concerns the ward alone: commits go on meanwhile, however long it takes."""
        return await self._send(run, of_ward=True)

    async def _send(
        self, run: Callable[[], Awaitable[object]], *, last: bool = False, of_ward: bool = False
    ) -> object:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        await self._door.send(Errand(run, done, of_ward=of_ward), last=last)
        return await done

    async def run(self) -> None:
        """Make good what a crash left undone, then work until cancelled."""
        self._ward.recall_set_aside(await self.patience.call(self._set_aside_before))
        while entries := await self.patience.call(self._journal.since, self._ward.cursor, CATCH_UP):
            await self._ward.see(entries)
        await self.readmit()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            while True:
                await self._door.arrived()
                await self._linger()
                await self._work(*self._door.take())

    async def readmit(self, device: str | None = None) -> None:
        """Try the letters again that wait for an assignment, of one device or of all, its oldest first."""
        devices = [device] if device else await self.patience.call(self._journal.waiting_devices, _UNASSIGNED)
        for each in devices:
            if self.roster.of(each):
                await self._readmit(each)

    async def _readmit(self, device: str) -> None:
        after = 0
        while page := await self.patience.call(self._journal.oldest_letters, device, _UNASSIGNED, after, LETTERS):
            await self.retry(page)
            after = page[-1].id

    async def retry(self, letters: Sequence[Letter]) -> None:
        """Try these letters again, whatever they wait for; in order with the packets when called as an errand."""
        new = await self.patience.call(self._retry, letters)
        self._stored()
        await self._ward.see(new)
        await self._ward.see_set_aside(self._taken_too_high())

    def _retry(self, letters: Sequence[Letter]) -> list[tuple[int, Reading]]:
        tried = [(letter, judge(letter.packet, self.roster)) for letter in letters]
        new = self._journal.readmit(tried).new
        self._too_high += [reading for letter, outcomes in tried for reading in _too_high(outcomes, letter.parts)]
        return new

    def _set_aside_before(self) -> list[Reading]:
        """What was too high to be believed, of the letters of the last days."""
        found: list[Reading] = []
        after, since = 0, self._now() - SET_ASIDE
        while page := self._journal.letters_since(RefusalReason.IMPOSSIBLE, since, after, LETTERS):
            for letter in page:
                found += _too_high(judge(letter.packet, self.roster), letter.parts)
            after = page[-1].id
        return found

    def _taken_too_high(self) -> list[Reading]:
        refused, self._too_high = self._too_high, []
        return refused

    async def _linger(self) -> None:
        """Wait a moment for more, where a larger batch is worth it."""
        waiting = self._door.waiting
        if waiting >= BATCH or (waiting < _LITTLE and self._commit_s < _DEAR_S):
            return
        if self._restrained:
            self._restrained -= 1
            return
        await asyncio.sleep(LINGER_S)
        if self._door.waiting == waiting:
            self._restrained = _RESTRAINT

    async def _work(self, items: Sequence[Item], is_history: bool) -> None:
        """One batch, in order: an errand sees what came before it and nothing that came after."""
        if is_history or self._behind >= BEHIND:
            await self._watched.wait()
        deliveries: list[Delivery] = []
        for item in items:
            if isinstance(item, Delivery):
                deliveries.append(item)
                continue
            await self._keep(deliveries)
            deliveries = []
            if item.of_ward:
                self._to_watch(item)
            else:
                await self._watched.wait()
                await _run(item)
        await self._keep(deliveries)

    async def _keep(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        packets = [one.packet for one in deliveries]
        began = asyncio.get_running_loop().time()
        if self.keep_first:
            await self.patience.call(self.keep_first, packets)
        new = await self._commit(packets)
        if len(deliveries) < _LITTLE:
            self._commit_s = asyncio.get_running_loop().time() - began
        for one in deliveries:
            one.settled()
        self._stored()
        if new:
            self._behind += len(new)
            self._to_watch(new)
        if refused := self._taken_too_high():
            told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            self._to_watch(Errand(partial(self._ward.see_set_aside, refused), told, of_ward=True))

    def _to_watch(self, what: list[tuple[int, Reading]] | Errand) -> None:
        self._unseen.append(what)
        self._watched.clear()
        self._news.set()

    async def _watch(self) -> None:
        """Have the ward see what is committed, until cancelled."""
        while True:
            await self._news.wait()
            while self._unseen:
                what = self._unseen.popleft()
                if isinstance(what, Errand):
                    await _run(what)
                else:
                    readings = self._with_what_followed(what)
                    await self._ward.see(readings)
                    self._behind -= len(readings)
            self._news.clear()
            self._watched.set()

    def _with_what_followed(self, committed: list[tuple[int, Reading]]) -> list[tuple[int, Reading]]:
        """With what was committed since, up to the next errand; about one large batch at most.

        The ward pays for each look at its stores. Little commits that follow each other faster than it looks would
        else leave it ever further behind.
        """
        readings = list(committed)
        while self._unseen and len(readings) < BATCH:
            if isinstance(self._unseen[0], Errand):
                break
            readings += self._unseen[0]
            self._unseen.popleft()
        return readings

    async def _commit(self, packets: Sequence[Packet]) -> list[tuple[int, Reading]]:
        """Keep packets, however long it takes; what is new of them."""
        try:
            return await self.patience.call(self._store, packets)
        except _UNSTORABLE:
            # Something in the batch cannot be stored: only that packet becomes a letter, the others are kept. Each is
            # waited for by itself, so that none is stored again because a later one finds the disk full.
            return [kept for packet in packets for kept in await self.patience.call(self._store_one, packet)]

    def _store(self, packets: Sequence[Packet]) -> list[tuple[int, Reading]]:
        """Decode, admit and commit. Off the loop, for a large batch would hold up every connection."""
        arrivals = [Arrival(packet=packet, outcomes=judge(packet, self.roster)) for packet in packets]
        new = self._journal.append(arrivals).new
        for arrival in arrivals:
            self._too_high += _too_high(arrival.outcomes)
        return new

    def _store_one(self, packet: Packet) -> list[tuple[int, Reading]]:
        try:
            return self._store([packet])
        except sqlite3.OperationalError:
            raise
        except _UNSTORABLE as error:
            unstorable = DecodeError("invalid", f"it cannot be stored: {error}")
            outcomes = (unstorable,) * len(judge(packet, self.roster))
            return self._journal.append([Arrival(packet=packet, outcomes=outcomes)]).new


def judge(packet: Packet, roster: Roster) -> tuple[Outcome, ...]:
    """Decode a packet and admit its parts; one outcome for each."""
    return tuple([part if isinstance(part, DecodeError) else admit(part, packet, roster) for part in decode(packet)])


def _too_high(outcomes: Sequence[Outcome], parts: Sequence[int] | None = None) -> list[Reading]:
    """What is too high to be believed of a packet, or of these parts of it."""
    refused = outcomes if parts is None else [outcomes[part] for part in parts if part < len(outcomes)]
    return [each.too_high for each in refused if isinstance(each, Refusal) and each.too_high]


async def _run(errand: Errand) -> None:
    try:
        result = await errand.run()
    except Exception as error:  # noqa: BLE001  it belongs to whoever asked; the worker goes on
        if not errand.done.cancelled():
            errand.done.set_exception(error)
    else:
        if not errand.done.cancelled():
            errand.done.set_result(result)

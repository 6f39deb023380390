"""Housekeeping of the journal: old readings go when every follower has them, and a full disk stops its growth.

Nothing goes that a follower or the hub of a home post has not confirmed. For want of room alone, nothing goes that
nobody else has: then the disk is a matter for a person, and the health says so, days before. Letters that have become
readings or that a person has discarded are kept for a while, and are the first to go.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from gateway.language import Sentence
from gateway.steady import Steady
from ingest.journal import Journal, Size
from ingest.packet_log import PacketLog
from ingest.progress import Progress

CLOCK: Final = "clock.json"
WATCH: Final = "watch"  # the follower that keeps no copy
WARN: Final = 0.7  # of the disk
FULL: Final = 0.9
LITTLE: Final = 256 * 1_048_576  # octets: what is left of a disk that is as good as full, however large it is
ROOM: Final = 0.1  # of the file that is kept free from FULL on, so that new readings find room in it
LEAST: Final = timedelta(days=30)  # a want of room drops no younger reading
CLOSED: Final = timedelta(days=90)  # a letter that waits no more is kept so long after it came, if there is room
SOON: Final = timedelta(days=7)  # a disk that will be full by then is told
_PACE: Final = timedelta(days=1)  # over which it is seen, how fast the disk fills
_CHUNK: Final = 1000  # readings a transaction: new ones do not wait longer than for a batch of theirs
_LETTERS: Final = 100  # the same of letters, each of which may be 256 KiB
_EVER: Final = 1e6  # times a span of days is longer than anybody plans
_CHUNKS: Final = 20  # at a time; the next time is a tick later


class Disk(Protocol):
    """What `shutil.disk_usage` gives: octets that are used, and those that are free for us."""

    @property
    def used(self) -> int:
        """The used ones."""
        ...

    @property
    def free(self) -> int:
        """The free ones."""
        ...


class Keeper:
    """Looks after the journal. `look` is called at every tick.

    followers: how far each has come, by name; blocks. keep: how long a reading is kept after it came, None for
    ever. now, elapsed: see `gateway.clock.Clock`. `used`: the share of the disk that is taken, `free`: octets that
    are left of it, as last measured.
    """

    def __init__(
        self,
        journal: Journal,
        followers: Callable[[], Mapping[str, Progress]],
        *,
        data: Path,
        keep: timedelta | None,
        now: Callable[[], datetime],
        elapsed: Callable[[], timedelta],
        disk: Callable[[Path], Disk] = shutil.disk_usage,
    ) -> None:
        self._journal = journal
        self._followers = followers
        self._data = data
        self._keep = keep
        self._now = now
        self._clock = Steady(data / CLOCK, now, elapsed)
        self._disk = disk
        self._tail = -1
        self._log: PacketLog | None = None
        self._hub = ""
        self._looks: deque[tuple[datetime, int]] = deque()  # octets used, once in _PACE, the last days
        self.used = 0.0
        self.free = LITTLE
        self.lasts: timedelta | None = None  # the disk, at the pace of the last days; None: for long, or not known
        self.copied = True  # whether someone besides the journal keeps the readings
        self.size = Size(octets=0, spare=0, wal=0)

    @property
    def ok(self) -> bool:
        """Whether there is room, today and for some days, and no doubt about what may go."""
        return self._has_room and self._doubt is None

    @property
    def _has_room(self) -> bool:
        return not is_scarce(self.used, self.free) and (self.lasts is None or self.lasts > SOON)

    @property
    def _doubt(self) -> str | None:
        """What speaks against the clock, where something is to go for its age."""
        return self._clock.doubt if self._keep is not None or self.used >= FULL else None

    def keep_room_in(self, log: PacketLog, hub: str) -> None:
        """Look after the log of a home post as well, whose hub has the cursor of this name."""
        self._log, self._hub = log, hub

    async def look(self) -> None:
        """Do what is to be done now. Off the loop."""
        await asyncio.to_thread(self._look)

    def measure(self) -> Disk:
        """See how much room there is. Blocks for a moment."""
        disk = self._disk(self._data)
        self.used, self.free = share(disk), disk.free
        self.size = self._journal.size()
        return disk

    def detail(self) -> str:
        """How it is, in a sentence, with what to do."""
        size = self.size
        said = Sentence(
            "The disk is {room}; the journal takes {octets}",
            room=room(self.used, self.free),
            octets=_words(size.octets),
        )
        if size.wal:
            said = Sentence("{said} and its write-ahead log {octets}", said=said, octets=_words(size.wal))
        if self.lasts is not None:
            days = self.lasts / timedelta(days=1)
            said = Sentence("{said}; at the pace of the last days it will be full in {n:.1f} days", said=said, n=days)
        if self._doubt is not None:
            said = Sentence("{one}; {other}", one=said, other=self._doubt)
        if self.used < WARN and self._has_room:
            return Sentence("{said}.", said=said)
        if self._log is not None:
            return Sentence(
                "{said}: make room, or bring the hub back. What it has goes where there is none, and what it has not "
                "yet is kept.",
                said=said,
            )
        if self.used < FULL:
            return Sentence("{said}: make room, or set `keep_days` in [journal].", said=said)
        if self.copied:
            return Sentence(
                "{said}: make room. Readings that every follower has and that are older than 30 days now go.",
                said=said,
            )
        return Sentence(
            "{said}: make room, for nothing else keeps these readings and none is dropped for want of it.", said=said
        )

    def _look(self) -> None:
        self.lasts = self._forecast(self.measure())
        followers = self._followers()
        self.copied = self._log is not None or bool(followers.keys() - {WATCH})
        slowest = min(progress.upto for progress in followers.values())
        now = self._clock.look()
        if now is not None:
            self._by_chunks(partial(self._journal.drop_letters, now - CLOSED), _LETTERS, lambda: True)
        if now is not None and self._keep is not None:
            self._drop(slowest, now, self._keep, lambda: True)
        if self.used >= FULL:
            self._by_chunks(partial(self._journal.drop_letters, None), _LETTERS, self._is_tight)
        if self.used >= FULL and self.copied:
            if now is not None:
                self._drop(slowest, now, LEAST, self._is_tight)
            self._forget()
        if self._log is not None:
            self._log.keep_reserve()
        tail = self._journal.tail()
        if tail == self._tail and self._journal.size().wal:
            self._journal.checkpoint()
        self._tail = tail
        self.size = self._journal.size()

    def _forecast(self, disk: Disk) -> timedelta | None:
        """When the disk is full, at the pace of the last SOON; None where it is not filling."""
        now = self._now()
        if self._looks and now < self._looks[-1][0]:
            self._looks.clear()  # the clock was set back
        if not self._looks or now - self._looks[-1][0] >= _PACE:
            self._looks.append((now, disk.used))
        while now - self._looks[0][0] > SOON + _PACE:
            self._looks.popleft()
        since, used = self._looks[0]
        if now - since < _PACE or disk.used <= used:
            return None
        lasts = (now - since) * min(disk.free / (disk.used - used), _EVER)
        return lasts if lasts < LEAST else None

    def _forget(self) -> None:
        """Have the log of a home post take new packets into the room of those that the hub has."""
        try:
            for _ in range(_CHUNKS):
                if self._log is None or not _tight(*self._log.size()):
                    return
                if self._log.make_room(self._hub, _CHUNK) < _CHUNK:
                    return
        except sqlite3.OperationalError:  # locked or full: at the next tick
            return

    def _drop(self, slowest: int, now: datetime, keep: timedelta, go_on: Callable[[], bool]) -> None:
        drop = partial(self._journal.drop, slowest, now - keep, now=now)
        self._by_chunks(drop, _CHUNK, go_on)

    def _by_chunks(self, drop: Callable[[int], int], chunk: int, go_on: Callable[[], bool]) -> None:
        """Drop a chunk after the other, until there is no whole one any more or it is enough."""
        try:
            for _ in range(_CHUNKS):
                if not go_on() or drop(chunk) < chunk:
                    return
        except sqlite3.OperationalError:  # locked or full: at the next tick
            return

    def _is_tight(self) -> bool:
        size = self._journal.size()
        return _tight(size.octets, size.spare)


def share(disk: Disk) -> float:
    """How much of a disk is taken, from 0 to 1, as df says it: what is reserved counts for neither."""
    return disk.used / max(disk.used + disk.free, 1)


def is_scarce(used: float, free: int) -> bool:
    """Whether there is too little room on a disk of which this share is taken and so many octets are free."""
    return used >= FULL or free < LITTLE


def room(used: float, free: int) -> str:
    """The same in words."""
    return Sentence("{used:.0%} full, {octets} are free", used=used, octets=_words(free))


def _words(octets: int) -> str:
    return f"{octets / 1e9:.1f} GB" if octets >= 1e9 else f"{octets / 1e6:.1f} MB"


def _tight(octets: int, spare: int) -> bool:
    return spare < ROOM * octets

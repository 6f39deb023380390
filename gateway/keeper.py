"""Housekeeping of the journal: old readings go when every follower has them, and a full disk stops its growth.

Nothing goes that a follower has not confirmed. For want of room alone, nothing goes that only the journal has: then
the disk is a matter for a person, and the health says so.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from ingest.journal import Journal, Size
from ingest.progress import Progress

WATCH: Final = "watch"  # the follower that keeps no copy
WARN: Final = 0.7  # of the disk
FULL: Final = 0.9
ROOM: Final = 0.1  # of the file that is kept free from FULL on, so that new readings find room in it
LEAST: Final = timedelta(days=30)  # a want of room drops nothing younger
_CHUNK: Final = 1000  # readings a transaction: new ones do not wait longer than for a batch of theirs
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
    ever. `used`: the share of the disk that is taken, as last seen.
    """

    def __init__(
        self,
        journal: Journal,
        followers: Callable[[], Mapping[str, Progress]],
        *,
        data: Path,
        keep: timedelta | None,
        now: Callable[[], datetime],
        disk: Callable[[Path], Disk] = shutil.disk_usage,
    ) -> None:
        self._journal = journal
        self._followers = followers
        self._data = data
        self._keep = keep
        self._now = now
        self._disk = disk
        self._tail = -1
        self.used = 0.0
        self.copied = True  # whether someone besides the journal keeps the readings
        self.size = Size(octets=0, spare=0, wal=0)

    async def look(self) -> None:
        """Do what is to be done now. Off the loop."""
        await asyncio.to_thread(self._look)

    def detail(self) -> str:
        """How it is, in a sentence, with what to do."""
        said = f"The disk is {self.used:.0%} full; the journal takes {self.size.octets / 1e6:.1f} MB of it"
        if self.used < WARN:
            return f"{said}."
        if self.used < FULL:
            return f"{said}: make room, or set `keep_days` in [journal]."
        if self.copied:
            return f"{said}: make room. Readings that every follower has and that are older than 30 days now go."
        return f"{said}: make room, for nothing else keeps these readings and none is dropped for want of it."

    def _look(self) -> None:
        disk = self._disk(self._data)
        self.used = disk.used / (disk.used + disk.free)  # as df says it: what is reserved counts for neither
        followers = self._followers()
        self.copied = bool(followers.keys() - {WATCH})
        slowest = min(progress.upto for progress in followers.values())
        if self._keep is not None:
            self._drop(slowest, self._now() - self._keep, lambda: True)
        if self.used >= FULL and self.copied:
            self._drop(slowest, self._now() - LEAST, self._is_tight)
        tail = self._journal.tail()
        if tail == self._tail and self._journal.size().wal:
            self._journal.checkpoint()
        self._tail = tail
        self.size = self._journal.size()

    def _drop(self, slowest: int, before: datetime, go_on: Callable[[], bool]) -> None:
        try:
            for _ in range(_CHUNKS):
                if not go_on() or self._journal.drop(slowest, before, _CHUNK) < _CHUNK:
                    return
        except sqlite3.OperationalError:  # locked or full: at the next tick
            return

    def _is_tight(self) -> bool:
        size = self._journal.size()
        return size.spare < ROOM * size.octets

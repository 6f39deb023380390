"""The only place that asks the time.

A clock may run faster than the world, so that a tester sees a night in minutes; everything else is given `now`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_log = logging.getLogger(__name__)

LARGE_STEP: Final = timedelta(minutes=1)


class Clock(Protocol):
    """What the house needs of a clock."""

    def now(self) -> datetime:
        """The present moment, aware UTC."""
        ...

    def elapsed(self) -> timedelta:
        """How long this clock runs, by a count that nobody can set."""
        ...

    def runtime(self) -> timedelta:
        """How long the program runs in the world, by a count that nobody can set, however fast this clock goes."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait until `duration` has passed on this clock."""
        ...


class SystemClock:
    """The system's clock, or one that left it at `start` and runs `speed` times as fast.

    A small step back of the system's time (NTP) is waited out, so that no order of events is reversed for it. A large
    one means that the time was wrong before: it is followed, and said in the log.
    """

    def __init__(self, *, start: datetime | None = None, speed: float = 1.0) -> None:
        self._left_at = datetime.now(UTC)
        self._began_s = time.monotonic()
        self._start = start or self._left_at
        self._speed = speed
        self._latest = self._start

    def now(self) -> datetime:
        """See Clock."""
        moment = self._start + (datetime.now(UTC) - self._left_at) * self._speed
        if self._latest - moment > LARGE_STEP * self._speed:
            _log.warning("the system's time was set back from %s to %s", self._latest, moment)
        elif moment < self._latest:
            return self._latest
        self._latest = moment
        return moment

    def elapsed(self) -> timedelta:
        """See Clock."""
        return self.runtime() * self._speed

    def runtime(self) -> timedelta:
        """See Clock."""
        return timedelta(seconds=time.monotonic() - self._began_s)

    async def sleep(self, duration: timedelta) -> None:
        """See Clock."""
        await asyncio.sleep(max(0.0, duration.total_seconds() / self._speed))

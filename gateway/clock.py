"""The only place that asks the time.

A clock may run faster than the world, so that a tester sees a night in minutes; everything else is given `now`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the house needs of a clock."""

    def now(self) -> datetime:
        """The present moment, aware UTC; never goes backwards."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait until `duration` has passed on this clock."""
        ...


class SystemClock:
    """The system's clock, or one that left it at `start` and runs `speed` times as fast.

    When the system's time is set back, this clock stands still until it is reached again: an order of events that
    was seen is never reversed.
    """

    def __init__(self, *, start: datetime | None = None, speed: float = 1.0) -> None:
        self._left_at = datetime.now(UTC)
        self._start = start or self._left_at
        self._speed = speed
        self._latest = self._start

    def now(self) -> datetime:
        """See Clock."""
        moment = self._start + (datetime.now(UTC) - self._left_at) * self._speed
        self._latest = max(self._latest, moment)
        return self._latest

    async def sleep(self, duration: timedelta) -> None:
        """See Clock."""
        await asyncio.sleep(max(0.0, duration.total_seconds() / self._speed))

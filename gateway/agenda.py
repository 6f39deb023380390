"""What is to be looked at when: names with moments, the earliest first. Pure."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush


class Agenda:
    """Each name stands here once, with the earliest moment it was given since it was last due."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []
        self._moments: dict[str, datetime] = {}

    def add(self, name: str, moment: datetime) -> None:
        """Have a name come up at a moment (aware), or earlier if it stands so already."""
        known = self._moments.get(name)
        if known is None or moment < known:
            self._moments[name] = moment
            heappush(self._heap, (moment, name))

    def due(self, now: datetime, limit: int) -> list[str]:
        """At most so many of the names whose moment has come, the longest due first; they are taken off."""
        names: list[str] = []
        while len(names) < limit and self._heap and self._heap[0][0] <= now:
            moment, name = heappop(self._heap)
            # One that was moved forward stands in the heap twice.
            if self._moments.get(name) == moment:
                del self._moments[name]
                names.append(name)
        return names

    def is_due(self, now: datetime) -> bool:
        """Whether any moment has come."""
        return bool(self._heap) and self._heap[0][0] <= now

"""The rhythm in which a sensor's readings come, learnt as they come. Pure; about 300 bytes.

How many readings stand for 15 minutes is a question of the rhythm: 3 at 5 minutes, 1 at 15 (as iglu counts). Two
rhythms are known: the median of all intervals, which is that of the scorer `eval_hypo.py`, and the median of the last
33, which follows a sensor that was changed. The one that asks for fewer readings counts, so that a change of rhythm
never makes a low wait. On the eight public sets (4 160 days, 544 level-2 lows) this finds the events of the scorer,
which knows each series to its end, without one missed or added; the last 33 alone miss nine, at most where traces
of two rhythms were merged.

Three intervals in a row that are longer than the usual gap are no gaps but a rhythm, of a sensor that loses most of
its readings: what is low in every one that comes is low, though the consensus would not call it an event.
"""

from __future__ import annotations

import math
from array import array
from datetime import timedelta
from functools import lru_cache
from typing import Final

_LONGEST: Final = 31  # minutes; longer intervals count as this
_LONGEST_S: Final = 60.0 * _LONGEST
_PER_MINUTE: Final = 1 / 60
_RECENT: Final = 33
_NEWEST: Final = _RECENT - 1
_STEADY: Final = tuple((minutes, minutes, 0) for minutes in range(_LONGEST + 1))  # where all are the same
_USUAL: Final = 5
_FEWEST: Final = 3  # intervals in a row that make a rhythm
_MINUTE: Final = timedelta(minutes=1)
GAP: Final = timedelta(minutes=20)


class Rhythm:
    """Intervals between neighbouring readings, by whole minutes."""

    __slots__ = ("_all", "_at", "_known", "_recent")

    def __init__(self) -> None:
        self._all = array("I", bytes(4 * (_LONGEST + 1)))
        self._recent = bytearray()
        self._at = 0
        # The medians of all and of the last, and what is sparse, once asked for.
        self._known: tuple[int, int, int] | None = None

    def note(self, seconds: float) -> None:
        """Take the time from one reading to the next, in seconds."""
        minutes = int(seconds * _PER_MINUTE + 0.5) if seconds < _LONGEST_S else _LONGEST
        self._all[minutes] += 1
        at, recent = self._at, self._recent
        if at < len(recent):
            recent[at] = minutes
        else:
            recent.append(minutes)
        self._at = at + 1 if at < _NEWEST else 0
        # One more of a median leaves it where it is, whatever it pushes out. What is sparse never exceeds the newest.
        known = self._known
        if known is not None and known != _STEADY[minutes]:
            self._known = None

    def adopt(self, other: Rhythm) -> None:
        """Take over all the intervals of another, but not which were the last."""
        self._all = array("I", other._all)
        self._known = None

    @property
    def total(self) -> int:
        """How many intervals are known."""
        return sum(self._all)

    def readings(self, hold: timedelta) -> int:
        """How many readings in a row stand for a time."""
        every, recent, sparse = self._known or self._learn()
        return min(_count(hold, every), _count(hold, max(recent, sparse)))

    @property
    def cadence(self) -> timedelta:
        """The usual time between readings."""
        every, _, _ = self._known or self._learn()
        return max(1, every) * _MINUTE

    @property
    def gap(self) -> timedelta:
        """Longer than this without a reading, and what was low before is not still low."""
        every, _, sparse = self._known or self._learn()
        return max(GAP, 2.5 * max(every, sparse) * _MINUTE)

    def _learn(self) -> tuple[int, int, int]:
        self._known = known = self._median(), self._recent_median(), self._sparse()
        return known

    def _median(self) -> int:
        half = self.total // 2
        if not self.total:
            return _USUAL
        minutes = 0
        below = self._all[0]
        while below <= half:
            minutes += 1
            below += self._all[minutes]
        return minutes

    def _sparse(self) -> int:
        """The shortest of the last three intervals, if all are longer than the usual gap; else 0."""
        if len(self._recent) < _FEWEST:
            return 0
        shortest = min(self._recent[(self._at - back) % _RECENT] for back in range(1, _FEWEST + 1))
        return shortest if shortest * _MINUTE > GAP else 0

    def _recent_median(self) -> int:
        last = self._last()
        return last[len(last) // 2] if last else _USUAL

    def _last(self) -> list[int]:
        return sorted(self._recent)

    def __eq__(self, other: object) -> bool:
        """Whether both know the same intervals; which of the last came first does not matter."""
        if not isinstance(other, Rhythm):
            return NotImplemented
        return self._all == other._all and self._last() == other._last()

    __hash__ = None  # type: ignore[assignment]


@lru_cache(1024)
def _count(hold: timedelta, minutes: int) -> int:
    return max(1, math.ceil(hold / (minutes * _MINUTE))) if minutes else 1

"""What happens to readings on their way: gaps, late and shuffled deliveries, repeats. Pure, and the same for a seed.

The figures are those of an ordinary bad week: a sensor out of reach of its phone, a phone without network, a bridge
that sends again what was not acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final, NamedTuple

from gateway.replay.table import Row

_MISSING: Final = 0.02  # readings that are never delivered, one by one
_LATE: Final = 0.05  # that come 1 to 14 min after they were taken
_REPEATED: Final = 0.05  # that come again, up to 2 h after
_GAP_EVERY: Final = timedelta(days=3)  # nothing is measured for 25 to 180 min
_OUTAGE_EVERY: Final = timedelta(
    days=2
)  # what is measured for 20 to 90 min comes within its next minute, in any order
_SECOND: Final = timedelta(seconds=1)


class _Stretch(NamedTuple):
    start: datetime
    end: datetime


class _Stretches:
    """Stretches of so many minutes, one in each `every` from start to end."""

    def __init__(
        self, random: Random, start: datetime, end: datetime, every: timedelta, minutes: tuple[int, int]
    ) -> None:
        self._start, self._every = start, every
        self._all: list[_Stretch] = []
        for n in range((end - start) // every + 1):
            begins = start + n * every + timedelta(seconds=random.randrange(every // _SECOND))
            self._all.append(_Stretch(begins, begins + timedelta(minutes=random.randint(*minutes))))

    def around(self, moment: datetime) -> _Stretch | None:
        """The stretch in which a moment lies; it may have begun in the `every` before."""
        n = (moment - self._start) // self._every
        return next((each for each in self._all[max(0, n - 1) : n + 1] if each.start <= moment < each.end), None)


def disturb(rows: Sequence[Row], seed: str) -> list[Row]:
    """The rows as they are delivered, in the order of their arrival."""
    if not rows:
        return []
    random = Random(seed)  # noqa: S311  a repeatable mishap, no secret
    start, end = min(row.taken_at for row in rows), max(row.taken_at for row in rows)
    gaps = _Stretches(random, start, end, _GAP_EVERY, (25, 180))
    outages = _Stretches(random, start, end, _OUTAGE_EVERY, (20, 90))
    delivered: list[Row] = []
    for row in rows:
        if random.random() < _MISSING or gaps.around(row.taken_at):
            continue
        came = row._replace(received_at=_arrival(random, row, outages))
        delivered.append(came)
        if random.random() < _REPEATED:
            again = came.received_at + random.randint(60, 7200) * _SECOND
            delivered.append(came._replace(received_at=again))
    return sorted(delivered, key=lambda row: row.received_at)


def _arrival(random: Random, row: Row, outages: _Stretches) -> datetime:
    late = random.randint(60, 840) if random.random() < _LATE else 0
    arrival = row.received_at + late * _SECOND
    outage = outages.around(arrival)
    return outage.end + random.randint(0, 60) * _SECOND if outage else arrival

"""Low and high glucose events of the consensus, found in many traces at once, and the hours of the night they return.

"For 15 minutes" means so many readings in a row that readings times cadence is at least 15 minutes: 3 at 5 minutes,
1 at 15 minutes, as iglu counts. The cadence is the median of the trace, in whole minutes. A gap longer than 20
minutes and than 2.5 cadences ends an event, for nobody knows what happened in it. LO and HI are beyond every limit.
Sources, with marks: docs/metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from alerts import segments
from alerts.metrics import DAY_US, ENOUGH_WEAR, HIGH_1, HIGH_2, LOW_1, LOW_2, MINUTE_US, Limit, Traces
from alerts.segments import Bools, Floats, Longs

NIGHT_HOURS: Final = 6  # 00:00 to 05:59, the consensus' time block for sleep
_HOUR_US: Final = 60 * MINUTE_US
_GAP_US: Final = 20 * MINUTE_US
_GAP_CADENCES: Final = 2.5
_RECOVERY_MIN: Final = 15.0
_SETTLING_US: Final = 30 * MINUTE_US


class Kind(NamedTuple):
    """What makes an event: values beyond `limit` for `minutes`; it ends when they are back at `end` for 15 min.

    low: beyond is below and back is at or above; else above, and at or below. longer: more than the minutes, not
    at least. within: None when the readings must follow each other, else minutes in which they may be scattered.
    """

    limit: Limit
    end: Limit
    low: bool
    minutes: float
    longer: bool = False
    within: float | None = None


# Danne 2017 (10.2337/dc17-1600) and Battelino 2023 (10.1016/S2213-8587(22)00319-9); level 2 ends as Danne has it.
LEVEL_1_LOW: Final = Kind(LOW_1, LOW_1, low=True, minutes=15.0)
LEVEL_2_LOW: Final = Kind(LOW_2, LOW_1, low=True, minutes=15.0)
PROLONGED_LOW: Final = Kind(LOW_2, LOW_1, low=True, minutes=120.0)
EXTENDED_LOW: Final = Kind(LOW_1, LOW_1, low=True, minutes=120.0, longer=True)
LEVEL_1_HIGH: Final = Kind(HIGH_1, HIGH_1, low=False, minutes=15.0)
LEVEL_2_HIGH: Final = Kind(HIGH_2, HIGH_1, low=False, minutes=15.0)
EXTENDED_HIGH: Final = Kind(HIGH_2, HIGH_1, low=False, minutes=90.0, within=120.0)
KINDS: Final = {
    "level-1-low": LEVEL_1_LOW,
    "level-2-low": LEVEL_2_LOW,
    "prolonged-low": PROLONGED_LOW,
    "extended-low": EXTENDED_LOW,
    "level-1-high": LEVEL_1_HIGH,
    "level-2-high": LEVEL_2_HIGH,
    "extended-high": EXTENDED_HIGH,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Events:
    """Events of one kind, by trace and time, (events,) each.

    trace: which of the traces. first, stop: its readings are [first:stop] of the flat arrays. start_us: its first
    reading. end_us: the first of the readings that recovered, or the last reading where the trace broke off.
    recovered: False where it broke off. settled: it began 30 min or more after the trace began or a gap ended.
    """

    trace: Longs
    first: Longs
    stop: Longs
    start_us: Longs
    end_us: Longs
    recovered: Bools
    settled: Bools

    @property
    def minutes(self) -> Floats:
        """How long each lasted, up to the first recovered reading."""
        return (self.end_us - self.start_us) / MINUTE_US

    def per_trace(self, traces: int) -> Longs:
        """Number of events of each trace, (traces,)."""
        return np.bincount(self.trace, minlength=traces)


class Finder:
    """Finds events of several kinds in the same traces, and looks for their gaps once."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        # A sensor that keeps 4:58 is a five-minute sensor.
        self._cadence_min = np.rint(traces.cadence_us / MINUTE_US)
        breaks = np.zeros(len(traces.shown), dtype=bool)
        limit = np.repeat(np.maximum(_GAP_US, _GAP_CADENCES * traces.cadence_us), traces.readings)
        breaks[1:] = np.diff(traces.taken_us) > limit[1:]
        breaks[traces.offsets[:-1][traces.readings > 0]] = True
        self._heads = np.flatnonzero(breaks)

    def find(self, kind: Kind) -> Events:
        """All events of a kind; one that is still going on at the end of its trace is among them, not recovered."""
        traces = self._traces
        beyond = traces.below(kind.limit) if kind.low else traces.above(kind.limit)
        away = beyond if kind.limit == kind.end else traces.below(kind.end) if kind.low else traces.above(kind.end)
        back, length = self._runs(~away)
        back = back[length >= self._needed(back, _RECOVERY_MIN)]
        stops = np.union1d(back, np.append(self._heads, len(traces.shown)))
        if kind.within is None:
            starts, length = self._runs(beyond)
            starts = starts[length >= self._needed(starts, kind.minutes, longer=kind.longer)]
        else:
            starts = self._scattered(np.flatnonzero(beyond), stops, kind.minutes, kind.within)
        return self._events(starts, stops, back)

    def _runs(self, marked: Bools) -> tuple[Longs, Longs]:
        """First reading and length of each unbroken row of marked readings."""
        fresh = marked.copy()
        fresh[1:] &= ~marked[:-1]
        heads = self._heads
        fresh[heads] = marked[heads]
        over = marked.copy()
        over[:-1] &= ~marked[1:]
        tails = np.append(heads, len(marked))[1:] - 1
        over[tails] = marked[tails]
        starts = np.flatnonzero(fresh)
        return starts, np.flatnonzero(over) + 1 - starts

    def _needed(self, at: Longs, minutes: float, *, longer: bool = False) -> Longs:
        """How many readings stand for the minutes in the traces of these readings."""
        cadence = np.maximum(self._cadence_min, 1.0)
        count = np.floor(minutes / cadence) + 1 if longer else np.ceil(minutes / cadence)
        # Below half a minute there is no cadence to count by: one reading is as good as another at the same minute.
        whole: Longs = np.where(self._cadence_min > 0, count, 1.0).astype(np.int64)
        return np.take(whole, self._trace_of(at))

    def _trace_of(self, at: Longs) -> Longs:
        after: Longs = np.searchsorted(self._traces.offsets, at, side="right")
        return after - 1

    def _scattered(self, beyond: Longs, stops: Longs, minutes: float, within: float) -> Longs:
        """Those readings beyond from which enough others follow within the time and before the next stop."""
        last = np.arange(len(beyond)) + self._needed(beyond, minutes) - 1
        inside = last < len(beyond)
        first, final = beyond[inside], beyond[last[inside]]
        # Each reading stands for one cadence. Half of it is grace, for sensors do not keep their minutes.
        room = within * MINUTE_US - self._traces.cadence_us[self._trace_of(first)] / 2
        before_stop = final < stops[np.searchsorted(stops, first, side="right")]
        in_time = self._traces.taken_us[final] - self._traces.taken_us[first] <= room
        return np.compress(before_stop & in_time, first)

    def _events(self, starts: Longs, stops: Longs, back: Longs) -> Events:
        traces = self._traces
        index = np.searchsorted(stops, starts, side="right")
        # What starts again before the recovery is the same event.
        fresh = np.diff(index, prepend=-1) != 0
        first, stop = starts[fresh], stops[index[fresh]]
        recovered = np.isin(stop, back) & ~np.isin(stop, self._heads)
        end = np.where(recovered, stop, stop - 1)
        stretch = self._heads[np.searchsorted(self._heads, first, side="right") - 1]
        taken = traces.taken_us
        return Events(
            trace=self._trace_of(first),
            first=first,
            stop=stop,
            start_us=taken[first],
            end_us=taken[end],
            recovered=recovered,
            settled=taken[first] - taken[stretch] >= _SETTLING_US,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NightLows:
    """In how many nights glucose was low at which hour.

    nights: (traces,), nights (00:00 to 05:59 on the wearer's clock) with at least 70 % of the expected readings.
    lows: (traces, NIGHT_HOURS), nights, whether well covered or not, in which a level-1 low event lay in that hour.
    """

    nights: Longs
    lows: Longs


def night_lows(traces: Traces, events: Events) -> NightLows:
    """Count the nights with lows by hour; events: the level-1 (or other low) events of the same traces."""
    who = segments.owners(traces.offsets)
    day, hour = traces.clock_us // DAY_US, traces.clock_us % DAY_US // _HOUR_US
    first_day = int(day.min(initial=0))
    days = int(day.max(initial=0)) - first_day + 1
    night = who * days + day - first_day
    asleep = hour < NIGHT_HOURS
    seen, readings = np.unique(night[asleep], return_counts=True)
    cadence = traces.cadence_us[seen // days]
    covered = 100.0 * readings * cadence >= ENOUGH_WEAR * NIGHT_HOURS * _HOUR_US
    low = asleep & traces.below(LOW_1) & _inside(events, len(who))
    hours = np.unique(night[low] * NIGHT_HOURS + hour[low])
    cells = hours // NIGHT_HOURS // days * NIGHT_HOURS + hours % NIGHT_HOURS
    return NightLows(
        nights=np.bincount(seen[covered] // days, minlength=len(traces)),
        lows=np.bincount(cells, minlength=len(traces) * NIGHT_HOURS).reshape(len(traces), NIGHT_HOURS),
    )


def _inside(events: Events, readings: int) -> Bools:
    """Which readings belong to an event."""
    edges = np.zeros(readings + 1, dtype=np.int64)
    np.add.at(edges, events.first, 1)
    np.add.at(edges, events.stop, -1)
    return np.cumsum(edges)[:-1] > 0

"""Home blood pressure by protocol, for many patients at once: means, variability, and what the measuring lacks.

A session is a row of readings each within 10 minutes of the one before; its value is the mean of its last two (of its
only one). A day begins at 04:00, so that who measures late is not counted to the next day. The first day is dropped,
and the home mean is the mean of the other sessions. Morning is 04:00 to 12:00 and evening 16:00 to 04:00, by the
wearer's clock; a session in between counts for the mean and the day only. Readings that a cuff takes by itself while
the patient sleeps are no home readings and must not be among them. Sources, with marks: docs/metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from alerts import segments
from alerts.metrics import DAY_US, MINUTE_US
from alerts.segments import Bools, Floats, Longs

ENOUGH_READINGS: Final = 12
ENOUGH_DAYS: Final = 3
_SESSION_US: Final = 10 * MINUTE_US
_HOUR_US: Final = 60 * MINUTE_US
_DAY_BEGINS_US: Final = 4 * _HOUR_US
# Hours since the day began.
_MORNING_ENDS: Final = 8  # 12:00
_EVENING_BEGINS: Final = 12  # 16:00


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pressures:
    """Readings of home blood pressure; patient p is [offsets[p]:offsets[p + 1]] of each of the others, oldest first.

    offsets: (patients + 1,). taken_us, clock_us: (n,), as in `alerts.metrics.Traces`. systolic, diastolic: (n,),
    mmHg. Raises ValueError when lengths differ, a patient's readings are not in order, or a value is not finite.
    """

    offsets: Longs
    taken_us: Longs
    clock_us: Longs
    systolic: Floats
    diastolic: Floats

    def __post_init__(self) -> None:
        size = len(self.systolic)
        if any(len(each) != size for each in (self.taken_us, self.clock_us, self.diastolic)):
            raise ValueError("taken_us, clock_us, systolic and diastolic differ in length")
        if (
            not len(self.offsets)
            or self.offsets[0] != 0
            or self.offsets[-1] != size
            or (np.diff(self.offsets) < 0).any()
        ):
            raise ValueError(f"offsets do not ascend from 0 to {size}")
        who = segments.owners(self.offsets)
        if ((np.diff(self.taken_us) < 0) & (np.diff(who) == 0)).any():
            raise ValueError("readings of a patient are not in the order in which they were taken")
        if not (np.isfinite(self.systolic).all() and np.isfinite(self.diastolic).all()):
            raise ValueError("a pressure is not a finite number")


class Lack(StrEnum):
    """Why a home mean does not stand for the patient."""

    READINGS = "readings"  # fewer than 12 readings in the sessions that count
    DAYS = "days"  # measured on fewer than 3 days, the dropped one included
    MORNING = "morning"  # no morning session
    EVENING = "evening"  # no evening session


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Component:
    """One of the two pressures, mmHg, (patients,) each; NaN where there is nothing to compute it from.

    mean, morning, evening: of session values. day_sd: sample SD (n - 1) of the daily means. arv: average real
    variability, the mean absolute difference of daily means that follow each other. first_excess: first less second
    reading of the sessions that have both, on all days, their mean; first_excess_sd: their sample SD.
    """

    mean: Floats
    morning: Floats
    evening: Floats
    day_sd: Floats
    arv: Floats
    first_excess: Floats
    first_excess_sd: Floats

    @property
    def morning_less_evening(self) -> Floats:
        """Morning mean less evening mean."""
        return self.morning - self.evening


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HomePressure:
    """Home blood pressure of each patient, (patients,) each.

    readings: those that the session values are made of, so at most two of a session. sessions, days: that count.
    days_measured: the dropped day included. pairs: sessions with a second reading, of all days.
    """

    readings: Longs
    sessions: Longs
    days: Longs
    days_measured: Longs
    mornings: Longs
    evenings: Longs
    pairs: Longs
    systolic: Component
    diastolic: Component

    @property
    def sufficient(self) -> Bools:
        """Whether nothing lacks."""
        return (
            (self.readings >= ENOUGH_READINGS)
            & (self.days_measured >= ENOUGH_DAYS)
            & (self.mornings > 0)
            & (self.evenings > 0)
        )

    def lacks(self, patient: int) -> tuple[Lack, ...]:
        """What the measuring of one patient lacks."""
        found = {
            Lack.READINGS: self.readings[patient] < ENOUGH_READINGS,
            Lack.DAYS: self.days_measured[patient] < ENOUGH_DAYS,
            Lack.MORNING: self.mornings[patient] == 0,
            Lack.EVENING: self.evenings[patient] == 0,
        }
        return tuple(lack for lack, is_so in found.items() if is_so)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sessions:
    """Sessions, (sessions,) each; first, final: their first and last reading. pair: there is more than one.

    offsets: (patients + 1,). day: of the wearer, beginning at 04:00. hour: since it began. counts: in a home mean.
    """

    offsets: Longs
    first: Longs
    final: Longs
    pair: Bools
    day: Longs
    hour: Longs
    counts: Bools


def home_pressure(pressures: Pressures, *, drop_first_day: bool = True) -> HomePressure:
    """Home blood pressure of readings that the caller chose, usually of 7 days.

    drop_first_day=False is for a week in the middle of steady measuring, where no day is the first.
    """
    sessions = _sessions(pressures, drop_first_day=drop_first_day)
    counts, hour = sessions.counts, sessions.hour
    mornings, evenings = counts & (hour < _MORNING_ENDS), counts & (hour >= _EVENING_BEGINS)
    used = np.where(counts, 1 + sessions.pair, 0)
    return HomePressure(
        readings=segments.sums(used, sessions.offsets).astype(np.int64),
        sessions=segments.counts(counts, sessions.offsets),
        days=segments.counts(_new_day(sessions, counts), sessions.offsets),
        days_measured=segments.counts(_new_day(sessions, np.ones_like(counts)), sessions.offsets),
        mornings=segments.counts(mornings, sessions.offsets),
        evenings=segments.counts(evenings, sessions.offsets),
        pairs=segments.counts(sessions.pair, sessions.offsets),
        systolic=_component(sessions, pressures.systolic, mornings, evenings),
        diastolic=_component(sessions, pressures.diastolic, mornings, evenings),
    )


def _sessions(pressures: Pressures, *, drop_first_day: bool) -> _Sessions:
    who = segments.owners(pressures.offsets)
    apart = np.concatenate([[0], np.cumsum((np.diff(pressures.taken_us) > _SESSION_US) | (np.diff(who) > 0))])
    edges = segments.offsets_of(apart[: len(who)])
    first, final = edges[:-1], edges[1:] - 1
    offsets = np.searchsorted(who[first], np.arange(len(pressures.offsets)))
    since = pressures.clock_us[first] - _DAY_BEGINS_US
    # A clock set back around 04:00 must not take a session back to the day before.
    day = _ascending(since // DAY_US, offsets)
    hour = since % DAY_US // _HOUR_US
    later = day > _first_days(day, offsets)
    counts = later if drop_first_day else np.ones_like(later)
    return _Sessions(offsets=offsets, first=first, final=final, pair=final > first, day=day, hour=hour, counts=counts)


def _ascending(day: Longs, offsets: Longs) -> Longs:
    if not len(day):
        return day
    low = int(day.min())
    span = int(day.max()) - low + 1
    latest: Longs = np.maximum.accumulate(segments.owners(offsets) * span + day - low)
    return latest % span + low


def _first_days(day: Longs, offsets: Longs) -> Longs:
    """For each session the first day of its patient."""
    full = np.diff(offsets) > 0
    return np.repeat(np.take(day, offsets[:-1][full]), np.diff(offsets)[full])


def _new_day(sessions: _Sessions, marked: Bools) -> Bools:
    """The first marked session of each day."""
    places = np.flatnonzero(marked)
    who = segments.owners(sessions.offsets)[places]
    fresh = np.ones(len(places), dtype=bool)
    fresh[1:] = (np.diff(who) != 0) | (np.diff(sessions.day[places]) != 0)
    out = np.zeros(len(marked), dtype=bool)
    out[places[fresh]] = True
    return out


def _component(sessions: _Sessions, values: Floats, mornings: Bools, evenings: Bools) -> Component:
    last = values[sessions.final]
    value = np.where(sessions.pair, (values[sessions.final - sessions.pair] + last) / 2.0, last)
    days, day_offsets = _daily(sessions, value)
    step = np.abs(np.diff(days, prepend=np.nan))
    step[day_offsets[:-1][np.diff(day_offsets) > 0]] = 0.0
    excess = values[sessions.first] - values[sessions.first + sessions.pair]
    excess_offsets = _kept(sessions.pair, sessions.offsets)
    return Component(
        mean=_mean(value, sessions.counts, sessions.offsets),
        morning=_mean(value, mornings, sessions.offsets),
        evening=_mean(value, evenings, sessions.offsets),
        day_sd=segments.deviations(days, day_offsets),
        arv=segments.ratio(segments.sums(step, day_offsets), np.diff(day_offsets) - 1),
        first_excess=segments.means(excess[sessions.pair], excess_offsets),
        first_excess_sd=segments.deviations(excess[sessions.pair], excess_offsets),
    )


def _daily(sessions: _Sessions, value: Floats) -> tuple[Floats, Longs]:
    """Mean of the sessions that count of each day, and to which patients the days belong."""
    counts = sessions.counts
    edges = np.append(np.flatnonzero(_new_day(sessions, counts)[counts]), np.count_nonzero(counts))
    first = np.flatnonzero(counts)[edges[:-1]]
    return segments.means(value[counts], edges), np.searchsorted(first, sessions.offsets)


def _mean(value: Floats, marked: Bools, offsets: Longs) -> Floats:
    return segments.means(value[marked], _kept(marked, offsets))


def _kept(marked: Bools, offsets: Longs) -> Longs:
    """The offsets among the marked values alone."""
    kept: Longs = np.searchsorted(np.flatnonzero(marked), offsets)
    return kept

"""A sensor's week in figures: from Monday to Monday, or the last seven days, each beside the week before. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

import numpy as np

from alerts.home_pressure import Pressures, home_pressure
from alerts.metrics import ENOUGH_WEAR, Population, Summary, Traces, summarise
from alerts.segments import Floats, Longs
from ingest.reading import to_us

WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one week of a sensor adds up to, as in `alerts.metrics.Summary`.

    wear, tir, tbr, tbr_2, tar, tar_2, cv, gmi: %. mean: mg/dL. lbgi, hbgi, gri: no unit.
    """

    readings: int
    wear: float
    tir: float
    tbr: float
    tbr_2: float
    tar: float
    tar_2: float
    mean: float
    cv: float
    gmi: float
    lbgi: float
    hbgi: float
    gri: float

    @property
    def known(self) -> int:
        """The wear in whole percent, never more than it is: 69.9 % are not yet 70 %."""
        return math.floor(self.wear)

    @property
    def enough(self) -> bool:
        """Whether there are enough readings to speak for the week."""
        return self.wear >= ENOUGH_WEAR


class Pressure(NamedTuple):
    """A week's home mean, mmHg, and of how many readings (the last two of each session)."""

    systolic: float
    diastolic: float
    readings: int


def last_monday(now: datetime, zone: tzinfo) -> date:
    """The first day of the last ISO week that is over on the clock of a zone."""
    today = now.astimezone(zone).date()
    return today - timedelta(days=today.weekday()) - WEEK


def midnight_us(day: date, zone: tzinfo) -> int:
    """When a day begins on the clock of a zone, in microseconds since 1970-01-01 UTC."""
    return to_us(datetime(day.year, day.month, day.day, tzinfo=zone))


def halves(traces: Traces, start_us: int, middle_us: int, end_us: int) -> tuple[Traces, slice]:
    """The one trace that is given as two: from start to middle, and to the end. And where both lie in it."""
    cuts = np.searchsorted(traces.taken_us, (start_us, middle_us, end_us))
    inside = slice(int(cuts[0]), int(cuts[2]))
    two = Traces(
        offsets=cuts - cuts[0],
        taken_us=traces.taken_us[inside],
        clock_us=traces.clock_us[inside],
        shown=traces.shown[inside],
        mmol=traces.mmol[inside],
    )
    return two, inside


def figures(two: Traces, population: Population) -> tuple[Figures | None, Figures | None]:
    """Figures of the two weeks that `halves` gives; None for a week with fewer than two readings."""
    summary = summarise(two, WEEK, population)
    return _figures(summary, 0), _figures(summary, 1)


def pressures(
    taken_us: Longs, clock_us: Longs, values: Floats, start_us: int, middle_us: int, end_us: int
) -> tuple[Pressure | None, Pressure | None]:
    """Home means from start to middle, and to the end; None without a session.

    taken_us, clock_us: (n,), ascending, as in `alerts.metrics.Traces`. values: (n, 2 or more), systolic and diastolic
    in mmHg; readings that lack one are left out. No day is dropped: this is a week in the middle of the measuring.
    """
    known = np.isfinite(values[:, :2]).all(axis=1)
    taken_us, clock_us, values = taken_us[known], clock_us[known], values[known]
    cuts = np.searchsorted(taken_us, (start_us, middle_us, end_us))
    inside = slice(int(cuts[0]), int(cuts[2]))
    two = Pressures(
        offsets=cuts - cuts[0],
        taken_us=taken_us[inside],
        clock_us=clock_us[inside],
        systolic=values[inside, 0],
        diastolic=values[inside, 1],
    )
    home = home_pressure(two, drop_first_day=False)
    before, week = (
        Pressure(float(home.systolic.mean[half]), float(home.diastolic.mean[half]), int(home.readings[half]))
        if home.sessions[half]
        else None
        for half in (0, 1)
    )
    return before, week


def _figures(summary: Summary, half: int) -> Figures | None:
    if summary.readings[half] < 2:
        return None
    time = summary.time
    return Figures(
        readings=int(summary.readings[half]),
        wear=float(summary.wear[half]),
        tir=float(time.tir[half]),
        tbr=float(time.tbr[half]),
        tbr_2=float(time.tbr_2[half]),
        tar=float(time.tar[half]),
        tar_2=float(time.tar_2[half]),
        mean=float(summary.mean[half]),
        cv=float(summary.cv[half]),
        gmi=float(summary.gmi[half]),
        lbgi=float(summary.lbgi[half]),
        hbgi=float(summary.hbgi[half]),
        gri=float(summary.gri[half]),
    )

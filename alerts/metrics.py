"""Glucose metrics of the international consensus, for many patients at once.

How time is weighted: as the consensus does it, every reading counts once. Half of the readings in range is called
half of the time, whatever lies between them. So a gap belongs to nobody, and where a patient changes from a 15-minute
to a 5-minute sensor, or scans between stored values, the denser hours weigh more. `Summary.wear` says how much of the
span was covered at all, and a summary that covers too little says so (`Summary.lacks`).

Means, SD and what is made of them use the canonical mg/dL, with a display's LO and HI as 39 and 401 mg/dL;
`Summary.out_of_range` counts those, for they blunt a mean. Times in ranges compare each value in the unit received.

Sources, with formulas and marks: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta, tzinfo
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts import segments
from alerts.segments import Bools, Floats, Longs
from ingest.reading import Flag, Reading, from_us, to_us
from ingest.vital import MG_DL_PER_MMOL_L, Unit, family

MINUTE_US: Final = 60_000_000
DAY_US: Final = 1440 * MINUTE_US
QUARTER_US: Final = 15 * MINUTE_US
# The codes under which exports carry the words.
LO_MG_DL: Final = 39.0
HI_MG_DL: Final = 401.0

REPORT_DAYS: Final = 14
ENOUGH_WEAR: Final = 70.0  # %
_USUAL_CADENCE_US: Final = 5 * MINUTE_US
# The slowest sensor. Without this a meter's few readings would pass for a sensor that is worn all day.
_SLOWEST_US: Final = 15 * MINUTE_US
# What a journey or the end of daylight saving adds to a span that was counted on the wearer's clock.
_CLOCK_MOVES_US: Final = DAY_US

BINS: Final = DAY_US // QUARTER_US
PERCENTILES: Final = (5, 25, 50, 75, 95)
ENOUGH_IN_BIN: Final = 5
_MICRO: Final = 1e6


class Limit(NamedTuple):
    """A limit as a display shows it in either unit: 70 mg/dL, and 3.9 mmol/L, which is 70.26 mg/dL."""

    mg_dl: float
    mmol_l: float


LOW_2: Final = Limit(54.0, 3.0)
LOW_1: Final = Limit(70.0, 3.9)
HIGH_1: Final = Limit(180.0, 10.0)
HIGH_2: Final = Limit(250.0, 13.9)
_NEVER: Final = Limit(np.inf, np.inf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traces:
    """Glucose traces, one after the other: trace p is [offsets[p]:offsets[p + 1]] of each of the others.

    A trace is one device of one patient (or one week of it), oldest first, each moment once; of two sensors worn at
    once each is a trace. offsets: (traces + 1,). taken_us: (n,), microseconds since 1970-01-01 UTC. clock_us: (n,),
    what the wearer's own clock showed, as microseconds since its 1970-01-01 00:00 (`wall_clock`). shown: (n,), the
    value in the unit received (mg/dL or mmol/L, never kg/L or mol/L), -inf for LO and +inf for HI. mmol: (n,), True
    where that unit is mmol/L. Raises ValueError when this does not hold; `arrange` sorts and removes repeats.

    Made of these: mg_dl: (n,), canonical, LO as 39 and HI as 401. cadence_us: (traces,), the usual time between
    readings, which is the median, or 5 minutes where there are not two.
    """

    offsets: Longs
    taken_us: Longs
    clock_us: Longs
    shown: Floats
    mmol: Bools
    mg_dl: Floats = field(init=False)
    cadence_us: Floats = field(init=False)

    def __post_init__(self) -> None:
        size = len(self.shown)
        if any(len(each) != size for each in (self.taken_us, self.clock_us, self.mmol)):
            raise ValueError("taken_us, clock_us, shown and mmol differ in length")
        if (
            not len(self.offsets)
            or self.offsets[0] != 0
            or self.offsets[-1] != size
            or (np.diff(self.offsets) < 0).any()
        ):
            raise ValueError(f"offsets do not ascend from 0 to {size}")
        later = np.diff(self.taken_us) > 0
        later[self._heads() - 1] = True
        if not later.all():
            raise ValueError(f"reading {int(np.argmin(later)) + 1} is not later than the one before it")
        mg_dl = (
            np.where(self.mmol, np.round(self.shown * MG_DL_PER_MMOL_L, 6), self.shown)
            if self.mmol.any()
            else self.shown
        )
        mg_dl = np.where(np.isneginf(mg_dl), LO_MG_DL, np.where(np.isposinf(mg_dl), HI_MG_DL, mg_dl))
        if not (mg_dl > 1.0).all() or (mg_dl * _MICRO > segments.LARGEST).any():
            raise ValueError("a value is NaN or no possible glucose")
        object.__setattr__(self, "mg_dl", mg_dl)
        object.__setattr__(self, "cadence_us", self._cadence())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def readings(self) -> Longs:
        """Readings of each trace, (traces,)."""
        return np.diff(self.offsets)

    def below(self, limit: Limit) -> Bools:
        """Which values are below a limit, compared in the unit received, (n,)."""
        return self.shown < self._limits(limit)

    def above(self, limit: Limit) -> Bools:
        """Which values are above a limit, compared in the unit received, (n,)."""
        return self.shown > self._limits(limit)

    def _limits(self, limit: Limit) -> Floats | float:
        return np.where(self.mmol, limit.mmol_l, limit.mg_dl) if self.mmol.any() else limit.mg_dl

    def _cadence(self) -> Floats:
        steps = np.diff(self.taken_us)
        # The step into the first reading of a trace is none of its own.
        inside = np.ones(len(steps), dtype=bool)
        inside[self._heads() - 1] = False
        who = segments.owners(self.offsets)[1:][inside]
        median, _ = segments.quantiles(who, np.minimum(steps[inside], segments.LARGEST), len(self), (0.5,))
        return np.where(np.isnan(median[:, 0]), _USUAL_CADENCE_US, median[:, 0])

    def _heads(self) -> Longs:
        """First readings of all traces but the first."""
        return self.offsets[(self.offsets > 0) & (self.offsets < len(self.shown))]


def arrange(who: Longs, traces: int, *, taken_us: Longs, clock_us: Longs, shown: Floats, mmol: Bools) -> Traces:
    """Traces of readings in any order; of those of one trace at one moment the first is kept.

    who: (n,), to which trace each reading belongs, 0 to traces - 1. The others are as in `Traces`.
    """
    order = np.lexsort((taken_us, who))
    who, taken_us = who[order], taken_us[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (who[1:] != who[:-1]) | (taken_us[1:] != taken_us[:-1])
    kept = order[first]
    return Traces(
        offsets=np.searchsorted(who[first], np.arange(traces + 1)),
        taken_us=taken_us[first],
        clock_us=clock_us[kept],
        shown=shown[kept],
        mmol=mmol[kept],
    )


def gather(worn: Iterable[tuple[Sequence[Reading], tzinfo]]) -> Traces:
    """Traces of readings of glucose, each with the zone its wearer lives in; readings without any value are left out.

    Control solution and what was not admitted must not be among them.
    """
    who: list[int] = []
    taken: list[int] = []
    shown: list[float] = []
    mmol: list[bool] = []
    clocks: list[Longs] = []
    count = 0
    for number, (readings, zone) in enumerate(worn):
        count, start = number + 1, len(taken)
        for reading in readings:
            value, unit = _shown(reading)
            if value is not None:
                who.append(number)
                taken.append(to_us(reading.taken_at))
                shown.append(value)
                mmol.append(unit is Unit.MMOL_L)
        clocks.append(wall_clock(np.array(taken[start:], dtype=np.int64), zone))
    return arrange(
        np.array(who, dtype=np.int64),
        count,
        taken_us=np.array(taken, dtype=np.int64),
        clock_us=np.concatenate([*clocks, np.zeros(0, dtype=np.int64)]),
        shown=np.array(shown, dtype=np.float64),
        mmol=np.array(mmol, dtype=np.bool_),
    )


def _shown(reading: Reading) -> tuple[float | None, Unit]:
    value = reading.sent[0]
    if value is not None:
        return family(value, reading.unit)
    if Flag.BELOW_RANGE in reading.flags:
        return -np.inf, reading.unit
    return (np.inf if Flag.ABOVE_RANGE in reading.flags else None), reading.unit


def wall_clock(taken_us: Longs, zone: tzinfo) -> Longs:
    """What a clock in that zone showed, as microseconds since its own 1970-01-01 00:00; same shape as taken_us."""
    # Every zone in use moves its clocks at a quarter of an hour of UTC.
    quarters, back = np.unique(taken_us // QUARTER_US, return_inverse=True)
    moments = (from_us(int(quarter) * QUARTER_US).astimezone(zone) for quarter in quarters)
    ahead = [(moment.utcoffset() or timedelta()) // timedelta(microseconds=1) for moment in moments]
    return taken_us + np.array(ahead, dtype=np.int64)[back]


class Population(StrEnum):
    """For whom ranges and targets are meant."""

    ADULT = "adult"  # type 1 and type 2
    OLDER = "older"  # older or at high risk
    PREGNANCY_TYPE_1 = "pregnancy-type-1"
    PREGNANCY = "pregnancy"  # type 2 and gestational


class Bands(NamedTuple):
    """TBR 2 < low_2 <= TBR 1 < low <= TIR <= high < TAR 1 <= high_2 < TAR 2."""

    low_2: Limit
    low: Limit
    high: Limit
    high_2: Limit


_USUAL: Final = Bands(LOW_2, LOW_1, HIGH_1, HIGH_2)
# The consensus names no second level above in pregnancy, so TAR 2 is 0.
_PREGNANT: Final = Bands(LOW_2, Limit(63.0, 3.5), Limit(140.0, 7.8), _NEVER)
BANDS: Final = {
    Population.ADULT: _USUAL,
    Population.OLDER: _USUAL,
    Population.PREGNANCY_TYPE_1: _PREGNANT,
    Population.PREGNANCY: _PREGNANT,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeInRanges:
    """Share of the readings in each band, %, (traces,) each; the five add up to 100, all are NaN without readings."""

    tbr_2: Floats
    tbr_1: Floats
    tir: Floats
    tar_1: Floats
    tar_2: Floats

    @property
    def tbr(self) -> Floats:
        """All time below the range."""
        return self.tbr_1 + self.tbr_2

    @property
    def tar(self) -> Floats:
        """All time above the range."""
        return self.tar_1 + self.tar_2


class Target(NamedTuple):
    """What the consensus asks of one share: more than (`at_least`) or less than the percentage."""

    share: str  # an attribute of TimeInRanges
    percent: float
    at_least: bool = False

    def missed(self, time: TimeInRanges) -> Bools:
        """Which traces do not reach it, (traces,); without readings nothing is missed."""
        share: Floats = getattr(time, self.share)
        return share <= self.percent if self.at_least else share >= self.percent


# Battelino 2019 (10.2337/dci19-0028). That of pregnancy with type 2 or gestational diabetes is not firm there.
TARGETS: Final = {
    Population.ADULT: (
        Target("tir", 70.0, at_least=True),
        Target("tbr", 4.0),
        Target("tbr_2", 1.0),
        Target("tar", 25.0),
        Target("tar_2", 5.0),
    ),
    Population.OLDER: (Target("tir", 50.0, at_least=True), Target("tbr", 1.0), Target("tar_2", 10.0)),
    Population.PREGNANCY_TYPE_1: (
        Target("tir", 70.0, at_least=True),
        Target("tbr", 4.0),
        Target("tbr_2", 1.0),
        Target("tar", 25.0),
    ),
    Population.PREGNANCY: (Target("tbr", 5.0), Target("tar", 10.0)),
}


def time_in_ranges(traces: Traces, population: Population = Population.ADULT) -> TimeInRanges:
    """Share of the readings in the bands of a population."""
    bands = BANDS[population]
    total = traces.readings
    low_2, low = (segments.counts(traces.below(limit), traces.offsets) for limit in (bands.low_2, bands.low))
    high, high_2 = (segments.counts(traces.above(limit), traces.offsets) for limit in (bands.high, bands.high_2))
    in_bands = (low_2, low - low_2, total - low - high, high - high_2, high_2)
    tbr_2, tbr_1, tir, tar_1, tar_2 = (segments.ratio(100.0 * each, total) for each in in_bands)
    return TimeInRanges(tbr_2=tbr_2, tbr_1=tbr_1, tir=tir, tar_1=tar_1, tar_2=tar_2)


class Lack(StrEnum):
    """Why a summary does not stand for the patient."""

    DAYS = "days"  # the span is shorter than 14 days
    READINGS = "readings"  # less than 70 % of the expected readings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """Metrics of each trace over a span, (traces,) each; NaN where there are too few readings to compute them.

    wear: share of the span that readings stand for, %. out_of_range: readings that were LO or HI.
    mean, sd: mg/dL, sd with n - 1. cv: %. gmi, ea1c: %. gmi_mmol_mol: mmol/mol. lbgi, hbgi, gri: no unit.
    `time` is by the bands of the population asked for; GRI is always by 54, 70, 180 and 250 mg/dL.
    """

    span: timedelta
    readings: Longs
    wear: Floats
    out_of_range: Longs
    mean: Floats
    sd: Floats
    cv: Floats
    gmi: Floats
    gmi_mmol_mol: Floats
    ea1c: Floats
    time: TimeInRanges
    lbgi: Floats
    hbgi: Floats
    gri: Floats

    @property
    def mean_mmol_l(self) -> Floats:
        """The mean in mmol/L."""
        return self.mean / MG_DL_PER_MMOL_L

    @property
    def worn_enough(self) -> Bools:
        """At least 70 % of the expected readings, whatever the span."""
        return self.wear >= ENOUGH_WEAR

    @property
    def sufficient(self) -> Bools:
        """At least 14 days with at least 70 % of the expected readings: what the consensus asks of a report."""
        return self.worn_enough & (self.span >= timedelta(days=REPORT_DAYS))

    def lacks(self, trace: int) -> tuple[Lack, ...]:
        """What one trace lacks to be sufficient."""
        short = (Lack.DAYS,) if self.span < timedelta(days=REPORT_DAYS) else ()
        return short if self.worn_enough[trace] else (*short, Lack.READINGS)


def summarise(traces: Traces, span: timedelta, population: Population = Population.ADULT) -> Summary:
    """Metrics of traces that hold all readings of a span of time, such as the last 14 days.

    The span is asked for because a sensor worn for three days looks complete from its first reading to its last.
    Raises ValueError when a trace is longer than the span. Of a meter's readings everything but the wear holds.
    """
    mean = segments.means(traces.mg_dl, traces.offsets)
    sd = segments.deviations(traces.mg_dl, traces.offsets)
    lbgi, hbgi = _risk_indices(traces)
    usual = time_in_ranges(traces)
    return Summary(
        span=span,
        readings=traces.readings,
        wear=_wear(traces, span),
        out_of_range=segments.counts(np.isinf(traces.shown), traces.offsets),
        mean=mean,
        sd=sd,
        cv=100.0 * sd / mean,
        gmi=3.31 + 0.02392 * mean,
        gmi_mmol_mol=12.71 + 4.70587 * mean / MG_DL_PER_MMOL_L,
        ea1c=(mean + 46.7) / 28.7,
        time=usual if BANDS[population] == _USUAL else time_in_ranges(traces, population),
        lbgi=lbgi,
        hbgi=hbgi,
        gri=np.minimum(100.0, 3.0 * usual.tbr_2 + 2.4 * usual.tbr_1 + 1.6 * usual.tar_2 + 0.8 * usual.tar_1),
    )


def _wear(traces: Traces, span: timedelta) -> Floats:
    """Each reading stands for the time since the one before it, but for no more than the cadence after a gap.

    For an even trace this is the readings over the expected readings; scans in between do not count twice.
    """
    span_us = span // timedelta(microseconds=1)
    full = traces.offsets[:-1][traces.readings > 0]
    last = (traces.offsets[1:] - 1)[traces.readings > 0]
    if (traces.taken_us[last] - traces.taken_us[full] > span_us + _CLOCK_MOVES_US).any():
        raise ValueError(f"a trace is longer than {span}")
    cadence = np.repeat(np.minimum(traces.cadence_us, _SLOWEST_US), traces.readings)
    step = np.diff(traces.taken_us, prepend=0).astype(np.float64)
    step[full] = cadence[full]
    covered = segments.sums(np.where(step < 1.5 * cadence, step, cadence), traces.offsets)
    return np.minimum(100.0, 100.0 * covered / span_us)


def _risk_indices(traces: Traces) -> tuple[Floats, Floats]:
    """LBGI and HBGI (Kovatchev), means over all readings of 10 f^2 on either side of 112.5 mg/dL, where f is 0."""
    scaled = 1.509 * (np.log(traces.mg_dl) ** 1.084 - 5.381)
    risk = 10.0 * scaled * scaled
    low, high = (segments.sums(np.where(side, risk, 0.0), traces.offsets) for side in (scaled < 0, scaled > 0))
    return segments.ratio(low, traces.readings), segments.ratio(high, traces.readings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """The ambulatory glucose profile: PERCENTILES of each quarter of an hour of the wearer's clock.

    counts: (traces, BINS), readings in each bin. raw: (traces, BINS, percentiles), mg/dL, NaN in a bin with fewer
    than 5 readings. smoothed: the same after a moving mean over the bin and its two neighbours, around midnight too;
    a neighbour that is NaN is left out of it, a bin that is NaN stays so.
    """

    counts: Longs
    raw: Floats
    smoothed: Floats


def profile(traces: Traces) -> Profile:
    """The ambulatory glucose profile of each trace, usually of 14 days; `summarise` says whether they suffice."""
    bins = traces.clock_us % DAY_US // QUARTER_US + segments.owners(traces.offsets) * BINS
    micro = np.round(traces.mg_dl * _MICRO).astype(np.int64)
    found, lengths = segments.quantiles(bins, micro, len(traces) * BINS, [each / 100.0 for each in PERCENTILES])
    found[lengths < ENOUGH_IN_BIN] = np.nan
    raw = found.reshape(len(traces), BINS, len(PERCENTILES)) / _MICRO
    return Profile(counts=lengths.reshape(len(traces), BINS), raw=raw, smoothed=_smoothed(raw))


def _smoothed(raw: Floats) -> Floats:
    around = np.stack([np.roll(raw, 1, axis=1), raw, np.roll(raw, -1, axis=1)])
    known = ~np.isnan(around)
    mean = segments.ratio(np.where(known, around, 0.0).sum(axis=0), known.sum(axis=0))
    mean[np.isnan(raw)] = np.nan
    return mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weeks:
    """Metrics by ISO week (Monday to Sunday on the wearer's clock), for each trace and each week with readings.

    trace: (weeks,), which of the traces. monday: (weeks,), datetime64[D]. summary: over 7 days, (weeks,) each; ask
    `summary.worn_enough` before any of it is used.
    """

    trace: Longs
    monday: NDArray[np.datetime64]
    summary: Summary

    def change(self, metric: Floats) -> Floats:
        """A metric of `summary` less that of the week before, NaN unless both have enough readings, (weeks,)."""
        kept = np.where(self.summary.worn_enough, metric, np.nan)
        out = np.full(len(kept), np.nan)
        follows = (np.diff(self.trace) == 0) & (np.diff(self.monday) == np.timedelta64(7, "D"))
        out[1:][follows] = np.diff(kept)[follows]
        return out


def weeks(traces: Traces, population: Population = Population.ADULT) -> Weeks:
    """Metrics of each trace by ISO week; a week that is not over yet shows the wear of a part of it."""
    # Day 0, 1970-01-01, was a Thursday.
    week = (traces.clock_us // DAY_US + 3) // 7
    span = int(week.max(initial=0)) + 1
    # A clock set back around midnight on Monday opens no second Sunday.
    key = np.maximum.accumulate(segments.owners(traces.offsets) * span + week)
    offsets = segments.offsets_of(key)
    first = key[offsets[:-1]]
    pieces = Traces(
        offsets=offsets, taken_us=traces.taken_us, clock_us=traces.clock_us, shown=traces.shown, mmol=traces.mmol
    )
    return Weeks(
        trace=first // span,
        monday=(first % span * 7 - 3).astype("datetime64[D]"),
        summary=summarise(pieces, timedelta(days=7), population),
    )

"""The weekly review: what a sensor's week says about one patient, against that patient's targets. Pure.

A week is an ISO week (Monday to Sunday) on the patient's own clock, judged once, when it is over, together with the
week before. Every rule answers: RAISE for the weekly list, CLEAR, or HOLD with the reason why it cannot tell. Nothing
here opens an alert: a pattern of weeks is changed at a visit or by a call, and what is urgent in it was told when it
happened.

- **Sufficiency.** A share of time stands for the week from 70 % of the expected readings on; what compares two weeks
  asks that of both. Every sentence says how much there was.
- **Ranges** are those of the patient's population, compared in the unit received (`alerts.metrics`).
- **Recurring lows.** The same hour of at least "nights" nights of the two weeks lies in a low event of the consensus
  (< 70 mg/dL for 15 min), and of one night of the week itself. Three nights: 11 % of the weeks of type 2 diabetes in
  the public traces, 17 to 57 % of type 1, none without diabetes.
- **Two sensors at once** are read as one trace, so the hours that both saw weigh more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from alerts.alert import Finding, Text, Verdict
from alerts.glucose_events import LEVEL_1_LOW, Events, Finder, Kind, night_lows
from alerts.metrics import BANDS, DAY_US, MINUTE_US, Bands, Limit, Population, Traces
from alerts.review_rules import (
    NIGHTS,
    POINTS,
    REVIEW_RULES,
    WEEK_CV,
    WEEK_NOCTURNAL_LOWS,
    WEEK_TAR,
    WEEK_TBR,
    WEEK_TIR,
    WEEK_TIR_FALLING,
    WEEK_WEAR,
)
from alerts.rule import OWN, PERCENT, Group, Limits, Rule
from alerts.segments import Bools
from alerts.week import WEEK, Figures, figures, halves, midnight_us
from ingest.reading import from_us
from ingest.vital import Unit, Vital

# Of the nights of two weeks so many must be known before it can be said that no low comes back.
ENOUGH_NIGHTS: Final = 10
_MOST_EVIDENCE: Final = 20
_SILENT: Final = timedelta(days=1)
_HOUR_US: Final = 60 * MINUTE_US

# Whose ranges hold for whom. The targets of pregnancy with type 1 diabetes stand for every pregnancy: for the others
# the consensus has none that is firm.
RANGES: Final[Mapping[Group, Population]] = MappingProxyType(
    {
        Group.ADULT: Population.ADULT,
        Group.OLDER: Population.OLDER,
        Group.PREGNANCY: Population.PREGNANCY_TYPE_1,
    }
)


class Done(NamedTuple):
    """A named person has dealt with a line of the weekly list."""

    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One patient's week. monday: its first day. Figures are None for a week without two readings.

    findings: one of each rule of REVIEW_RULES, in that order, then what meter and cuff said of the week. done: which
    of them somebody has dealt with, by rule.
    """

    patient: str
    monday: date
    made_at: datetime
    week: Figures | None
    before: Figures | None
    findings: tuple[Finding, ...]
    done: Mapping[str, Done] = field(default_factory=dict)

    @property
    def raised(self) -> tuple[Finding, ...]:
        """What the weekly list says."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.RAISE)

    @property
    def judged(self) -> bool:
        """Whether any pattern could be judged; how much the sensor gave is none."""
        return any(each.verdict is not Verdict.HOLD and each.rule != WEEK_WEAR.name for each in self.findings)


def review(
    patient: str,
    traces: Traces,
    devices: Sequence[str],
    monday: date,
    limits: Limits,
    *,
    population: Population = Population.ADULT,
    zone: tzinfo,
    now: datetime,
    unit: Unit | None = None,
) -> Review:
    """Judge the week that begins with `monday`, at the moment `now` (aware).

    traces: one trace, all sensor readings of the patient of that week and the one before; others are left aside.
    devices: what device took each reading, for the evidence. limits, population: what holds for the
    patient (`RANGES`). zone: where the patient lives. unit: in which the patient reads glucose,
    None: that of most readings.
    """
    before_us, start_us, end_us = (midnight_us(monday + weeks * WEEK, zone) for weeks in (-1, 0, 1))
    two, inside = halves(traces, before_us, start_us, end_us)
    before, week = figures(two, population)
    case = _Case(
        limits=limits,
        bands=BANDS[population],
        monday=monday,
        zone=zone,
        start_us=start_us,
        end_us=end_us,
        week=week,
        before=before,
        two=two,
        mmol=unit is Unit.MMOL_L if unit else len(two.mmol) == 0 or bool(np.mean(two.mmol) > 0.5),
    )
    findings = []
    for rule in REVIEW_RULES:
        said = _RULES[rule.name](case)
        findings.append(
            Finding(
                patient=patient,
                rule=rule.name,
                problem=rule.problem,
                verdict=said.verdict,
                priority=rule.priority,
                audience=rule.audience,
                because=said.because,
                since=from_us(start_us),
                known_at=now,
                evidence=tuple(_key(two, devices[inside], index) for index in sorted(set(said.evidence))),
            )
        )
    return Review(patient=patient, monday=monday, made_at=now, week=week, before=before, findings=tuple(findings))


def _key(traces: Traces, devices: Sequence[str], index: int) -> str:
    """The same as `ingest.reading.Reading.key`."""
    return f"{Vital.CGM}/{from_us(int(traces.taken_us[index])):%Y-%m-%dT%H:%M:%S.%fZ}/{devices[index]}"


class _Case(NamedTuple):
    """One patient's week from start to end. two: the week before and the week, as two traces.

    mmol: whether sentences speak of mmol/L.
    """

    limits: Limits
    bands: Bands
    monday: date
    zone: tzinfo
    start_us: int
    end_us: int
    week: Figures | None
    before: Figures | None
    two: Traces
    mmol: bool

    def value(self, rule: Rule, parameter: str = "limit", unit: str = PERCENT) -> float:
        """The number that holds for the patient."""
        return self.limits.value(rule.name, parameter, unit)

    def source(self, rule: Rule, parameter: str = "limit", unit: str = PERCENT) -> Text:
        """Where it comes from."""
        return self.limits.source(rule.name, parameter, unit)

    def level(self, limit: Limit) -> str:
        """A limit of glucose in the unit of the patient's devices."""
        return f"{limit.mmol_l:.1f} mmol/L" if self.mmol else f"{limit.mg_dl:g} mg/dL"

    @property
    def first(self) -> int:
        """The first reading of the week."""
        return int(self.two.offsets[1])

    @property
    def last(self) -> int:
        """The last reading of the week."""
        return int(self.two.offsets[2]) - 1

    @property
    def edges(self) -> tuple[int, ...]:
        """Both, if there are any."""
        return (self.first, self.last) if self.last >= self.first else ()

    @property
    def sunday(self) -> date:
        """The last day of the week."""
        return self.monday + timedelta(days=6)

    @property
    def dates(self) -> Text:
        """When the week was."""
        return Text(
            en=f"in the week from {self.monday} to {self.sunday}", zh=f"{self.monday} 至 {self.sunday} 一周内"
        )


class _Said(NamedTuple):
    """evidence: indices of readings."""

    verdict: Verdict
    because: Text
    evidence: tuple[int, ...] = ()


def _raise_if(missed: bool) -> Verdict:
    return Verdict.RAISE if missed else Verdict.CLEAR


def _covered(week: Figures) -> Text:
    return Text(en=f"The sensor gave {week.known} % of its readings.", zh=f"传感器数据完整度 {week.known}%。")


def _enough(case: _Case, week: Figures | None) -> bool:
    return week is not None and week.wear >= case.value(WEEK_WEAR)


def _too_little(case: _Case, subject: Text, *, before: bool = False) -> _Said:
    week = case.before if before else case.week
    wear = week.known if week else 0
    which = Text(en="the week before", zh="前一周") if before else Text(en="the week", zh="本周")
    needed, source = case.value(WEEK_WEAR), case.source(WEEK_WEAR)
    return _Said(
        Verdict.HOLD,
        Text(
            en=f"{subject.en} cannot be judged {case.dates.en}: the sensor gave {wear} % of the readings of "
            f"{which.en}, at least {needed:g} % are needed ({source.en}).",
            zh=f"{case.dates.zh}{subject.zh}无法评估：{which.zh}传感器数据完整度 {wear}%，"
            f"至少需 {needed:g}%（{source.zh}）。",
        ),
    )


def _tir(case: _Case) -> _Said:
    span = f"{case.level(case.bands.low).split()[0]}-{case.level(case.bands.high)}"
    subject = Text(en=f"Time in range ({span})", zh=f"目标范围内时间（{span}）")
    week, before = case.week, case.before
    if week is None or not _enough(case, week):
        return _too_little(case, subject)
    aim, source, covered = case.value(WEEK_TIR), case.source(WEEK_TIR), _covered(week)
    then = Text(en="", zh="")
    if before is not None and _enough(case, before):
        then = Text(en=f"; the week before {before.tir:.1f} %", zh=f"；前一周 {before.tir:.1f}%")
    return _Said(
        _raise_if(week.tir <= aim),
        Text(
            en=f"{subject.en} was {week.tir:.1f} % {case.dates.en}, target above {aim:g} % ({source.en}){then.en}. "
            f"{covered.en}",
            zh=f"{case.dates.zh}{subject.zh}为 {week.tir:.1f}%，目标高于 {aim:g}%（{source.zh}）{then.zh}。"
            f"{covered.zh}",
        ),
        case.edges,
    )


def _tbr(case: _Case) -> _Said:
    said = _beyond(case, WEEK_TBR, _BELOW, (case.bands.low, case.bands.low_2), ("tbr", "tbr_2"))
    if said.verdict is not Verdict.RAISE:
        return said
    events = _lows(case)
    inside = events.trace == 1
    return said._replace(evidence=_lowest(case, events, inside) or case.edges)


def _tar(case: _Case) -> _Said:
    return _beyond(case, WEEK_TAR, _ABOVE, (case.bands.high, case.bands.high_2), ("tar", "tar_2"))


_BELOW: Final = Text(en="below", zh="低于")
_ABOVE: Final = Text(en="above", zh="高于")


def _beyond(case: _Case, rule: Rule, side: Text, levels: tuple[Limit, Limit], shares: tuple[str, str]) -> _Said:
    """Time on one side of the range, and of it the time beyond the second level, where the population has one."""
    level, level_2 = (case.level(each) for each in levels)
    subject = Text(en=f"Time {side.en} {level}", zh=f"{side.zh} {level} 的时间")
    week = case.week
    if week is None or not _enough(case, week):
        return _too_little(case, subject)
    share, share_2 = (float(getattr(week, each)) for each in shares)
    aim, aim_2, source = case.value(rule), case.value(rule, "limit-level-2"), case.source(rule)
    of_it, and_of_it = Text(en="", zh=""), Text(en="", zh="")
    if math.isfinite(levels[1].mg_dl):
        of_it = Text(
            en=f", of it {share_2:.1f} % {side.en} {level_2}", zh=f"，其中{side.zh} {level_2} 占 {share_2:.1f}%"
        )
        and_of_it = Text(en=f" and below {aim_2:g} %", zh=f"且后者低于 {aim_2:g}%")
    covered = _covered(week)
    return _Said(
        _raise_if(share >= aim or share_2 >= aim_2),
        Text(
            en=f"{subject.en} was {share:.1f} % {case.dates.en}{of_it.en}; target below {aim:g} %{and_of_it.en} "
            f"({source.en}). {covered.en}",
            zh=f"{case.dates.zh}{subject.zh}占 {share:.1f}%{of_it.zh}；目标低于 {aim:g}%{and_of_it.zh}"
            f"（{source.zh}）。{covered.zh}",
        ),
        case.edges,
    )


def _cv(case: _Case) -> _Said:
    subject = Text(en="The variation of glucose (CV)", zh="血糖变异系数（CV）")
    week = case.week
    if week is None or not _enough(case, week):
        return _too_little(case, subject)
    aim, source, covered = case.value(WEEK_CV), case.source(WEEK_CV), _covered(week)
    return _Said(
        _raise_if(week.cv > aim),
        Text(
            en=f"{subject.en} was {week.cv:.1f} % {case.dates.en}, stable up to {aim:g} % ({source.en}). "
            f"{covered.en}",
            zh=f"{case.dates.zh}{subject.zh}为 {week.cv:.1f}%，不高于 {aim:g}% 为稳定（{source.zh}）。{covered.zh}",
        ),
        case.edges,
    )


def _tir_falling(case: _Case) -> _Said:
    subject = Text(en="The change of time in range", zh="目标范围内时间的变化")
    week, before = case.week, case.before
    if week is None or not _enough(case, week):
        return _too_little(case, subject)
    if before is None or not _enough(case, before):
        return _too_little(case, subject, before=True)
    limit, source = case.value(WEEK_TIR_FALLING, unit=POINTS), case.source(WEEK_TIR_FALLING, unit=POINTS)
    fall = before.tir - week.tir
    moved = Text(en=f"fell by {fall:.1f} points", zh=f"下降 {fall:.1f} 个百分点")
    if fall < 0:
        moved = Text(en=f"rose by {-fall:.1f} points", zh=f"上升 {-fall:.1f} 个百分点")
    return _Said(
        _raise_if(fall >= limit),
        Text(
            en=f"Time in range {moved.en} {case.dates.en}, from {before.tir:.1f} % the week before to "
            f"{week.tir:.1f} %; a fall of {limit:g} points is flagged ({source.en}). The sensor gave "
            f"{before.known} % and {week.known} % of its readings.",
            zh=f"{case.dates.zh}目标范围内时间{moved.zh}，由前一周的 {before.tir:.1f}% 变为 {week.tir:.1f}%；"
            f"下降 {limit:g} 个百分点即提示（{source.zh}）。"
            f"两周传感器数据完整度分别为 {before.known}% 和 {week.known}%。",
        ),
        case.edges,
    )


def _nocturnal_lows(case: _Case) -> _Said:
    needed = case.value(WEEK_NOCTURNAL_LOWS, "nights", NIGHTS)
    source = case.source(WEEK_NOCTURNAL_LOWS, "nights", NIGHTS)
    events = _lows(case)
    nights = night_lows(case.two, events)
    known, lows = int(nights.nights.sum()), nights.lows.sum(axis=0)
    # What did not come back in the week itself was told before.
    back = (lows >= needed) & (nights.lows[1] > 0)
    if not back.any():
        return _no_nocturnal_lows(case, known, needed)
    hours: list[int] = np.flatnonzero(back).tolist()
    level, most = case.level(case.bands.low), int(lows[back].max())
    return _Said(
        Verdict.RAISE,
        Text(
            en=f"Glucose was below {level} at the same hours of the night ({_spans(hours)}) in {most} nights of the "
            f"two weeks up to {case.sunday}; {needed:g} are flagged ({source.en}). {known} of 14 nights have enough "
            "readings.",
            zh=f"截至 {case.sunday} 的两周内，夜间同一时段（{_spans(hours)}）有 {most} 晚血糖低于 {level}；"
            f"{needed:g} 晚即提示（{source.zh}）。14 晚中 {known} 晚数据充分。",
        ),
        _lowest(case, events, _lies_in(case, events, hours)),
    )


def _no_nocturnal_lows(case: _Case, known: int, needed: float) -> _Said:
    level = case.level(case.bands.low)
    if known >= ENOUGH_NIGHTS:
        return _Said(
            Verdict.CLEAR,
            Text(
                en=f"No hour of the night came back with a low (below {level}) in {needed:g} nights of the two weeks "
                f"up to {case.sunday}; {known} of 14 nights have enough readings.",
                zh=f"截至 {case.sunday} 的两周内，没有夜间时段在 {needed:g} 晚反复低于 {level}；"
                f"14 晚中 {known} 晚数据充分。",
            ),
        )
    return _Said(
        Verdict.HOLD,
        Text(
            en=f"Whether lows come back at night cannot be judged {case.dates.en}: {known} of the 14 nights up to "
            f"its end have enough readings, at least {ENOUGH_NIGHTS} are needed ({OWN.en}).",
            zh=f"{case.dates.zh}无法评估夜间低血糖是否反复：截至周末的 14 晚中 {known} 晚数据充分，"
            f"至少需 {ENOUGH_NIGHTS} 晚（{OWN.zh}）。",
        ),
    )


def _wear(case: _Case) -> _Said:
    week = case.week
    if week is None:
        return _Said(
            Verdict.HOLD,
            Text(en=f"No sensor was heard {case.dates.en}.", zh=f"{case.dates.zh}未收到传感器数据。"),
        )
    since, until = _worn(case)
    wear = min(100.0, week.wear * (WEEK / (until - since)))
    limit, source = case.value(WEEK_WEAR), case.source(WEEK_WEAR)
    begun, ended = (f"{moment.astimezone(case.zone):%Y-%m-%d %H:%M}" for moment in (since, until))
    return _Said(
        _raise_if(wear < limit),
        Text(
            en=f"The sensor gave {math.floor(wear)} % of its readings while it was worn {case.dates.en}, from "
            f"{begun} to {ended}; at least {limit:g} % are needed to judge a week ({source.en}).",
            zh=f"{case.dates.zh}传感器佩戴期间（{begun} 至 {ended}）数据完整度 {math.floor(wear)}%，"
            f"评估一周至少需 {limit:g}%（{source.zh}）。",
        ),
        case.edges,
    )


def _worn(case: _Case) -> tuple[datetime, datetime]:
    """From when to when a sensor was worn: one put on, or come to its end, in the week has not lost its readings.

    That a sensor is silent is told by no-data, long before the week is over.
    """
    start, end = from_us(case.start_us), from_us(case.end_us)
    first, last = (from_us(int(case.two.taken_us[index])) for index in (case.first, case.last))
    return first if case.before is None else start, last if end - last >= _SILENT else end


_RULES: Final[Mapping[str, Callable[[_Case], _Said]]] = MappingProxyType(
    {
        WEEK_TIR.name: _tir,
        WEEK_TBR.name: _tbr,
        WEEK_TAR.name: _tar,
        WEEK_CV.name: _cv,
        WEEK_TIR_FALLING.name: _tir_falling,
        WEEK_NOCTURNAL_LOWS.name: _nocturnal_lows,
        WEEK_WEAR.name: _wear,
    }
)


def _lows(case: _Case) -> Events:
    """Low events of at least 15 minutes below the population's range, in both weeks."""
    return Finder(case.two).find(Kind(case.bands.low, case.bands.low, low=True, minutes=LEVEL_1_LOW.minutes))


def _lies_in(case: _Case, events: Events, hours: Sequence[int]) -> Bools:
    """Which events have a reading in one of these hours of the wearer's clock."""
    hour = case.two.clock_us % DAY_US // _HOUR_US
    inside = np.append(0, np.cumsum(np.isin(hour, hours)))
    return np.asarray(inside[events.stop] > inside[events.first])


def _lowest(case: _Case, events: Events, wanted: Bools) -> tuple[int, ...]:
    """The lowest reading of each of the wanted events; of the newest, if there are many."""
    edges = zip(events.first[wanted].tolist(), events.stop[wanted].tolist(), strict=True)
    return tuple(first + int(np.argmin(case.two.mg_dl[first:stop])) for first, stop in list(edges)[-_MOST_EVIDENCE:])


def _spans(hours: Sequence[int]) -> str:
    """Hours of a day as spans: [1, 2, 5] is 01:00-03:00, 05:00-06:00."""
    spans: list[tuple[int, int]] = []
    for hour in hours:
        if spans and spans[-1][1] == hour:
            spans[-1] = spans[-1][0], hour + 1
        else:
            spans.append((hour, hour + 1))
    return ", ".join(f"{first:02}:00-{end:02}:00" for first, end in spans)

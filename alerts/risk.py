"""Whom to look at first: what is open, what changed and what is due, as points that add up. Pure.

Nothing is learnt or hidden: each reason has its points and a sentence with the numbers, the limit and the source, and
the sum is the place in the list. The limits are published; the points are Homeward's own, chosen by three rules:

1. An alert of high priority that nobody has answered stands before everything else, whatever the points of others
   add up to (100), one of medium priority before any single figure (40).
2. Low glucose weighs more than high glucose, and what changed more than what has long been so.
3. Of a patient about whom little is known no figure is believed: below 40 % of the readings of a week (three days) no
   level counts, below 70 % in either week no change, and that so little is known of the time in which a
   sensor was worn is a reason itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import floor
from typing import Final

from alerts.alert import Alert, Priority, Text
from alerts.machine import PRIORITY_WORDS
from alerts.metrics import ENOUGH_WEAR
from alerts.week import Figures, Pressure

# Limits in falling order, each with the points of what reaches it.
Steps = tuple[tuple[float, int], ...]

UNANSWERED: Final = {Priority.HIGH: 100, Priority.MEDIUM: 40, Priority.LOW: 10}
ANSWERED: Final = {Priority.HIGH: 30, Priority.MEDIUM: 12, Priority.LOW: 3}
OVERDUE: Final = {Priority.HIGH: 20, Priority.MEDIUM: 10, Priority.LOW: 5}
# When an answer is overdue; usual tiers of programmes, no standard names them.
ANSWER_WITHIN: Final = {
    Priority.HIGH: timedelta(hours=1),
    Priority.MEDIUM: timedelta(hours=4),
    Priority.LOW: timedelta(hours=72),
}
LBGI: Final[Steps] = ((5.0, 15), (2.5, 8), (1.1, 2))
HBGI: Final[Steps] = ((9.0, 8), (4.5, 4))
GRI: Final[Steps] = ((80.0, 12), (60.0, 8), (40.0, 5), (20.0, 2))
TIR_FALL: Final[Steps] = ((15.0, 12), (10.0, 8), (5.0, 4))
LBGI_RISE: Final[Steps] = ((1.0, 4),)
NIGHT_LOWS: Final = 6
LITTLE_DATA: Final = 6
NO_DATA: Final = 8
ENOUGH_FOR_LEVELS: Final = 40.0  # %
# Systolic, diastolic, points.
PRESSURE: Final = ((145.0, 90.0, 10), (135.0, 85.0, 5))
PRESSURE_RISE: Final = (10.0, 7.0, 8)
ENOUGH_PRESSURES: Final = 8

_KOVATCHEV: Final = Text(en="Kovatchev's risk classes", zh="Kovatchev 风险分级")
_KLONOFF: Final = Text(en="GRI zones, Klonoff 2022", zh="GRI 分区，Klonoff 2022")
_CONSENSUS: Final = Text(en="5 points are meaningful, Battelino 2019", zh="Battelino 2019：5 个百分点即有意义")
_OWN: Final = Text(en="Homeward's own limit", zh="Homeward 自定")
_HOME: Final = Text(en="home limit, ESH 2023, China 2024", zh="家庭血压标准，ESH 2023、中国 2024 指南")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the last fourteen days of a patient add up to, made once a day.

    day: the patient's own, on which it was made. week, before: the sensor's seven days up to it and those before;
    pressure, pressure_before: the cuff's. None where nothing came. sensor: over what share of the
    seven days one was worn that is worn now, 0 to 1. night_lows: whether the last weekly review found lows that come
    back at night. asks_at: until when waits what the patient is to be asked for; None: for nothing.
    """

    patient: str
    day: date
    made_at: datetime
    week: Figures | None = None
    before: Figures | None = None
    pressure: Pressure | None = None
    pressure_before: Pressure | None = None
    sensor: float = 0.0
    night_lows: bool = False
    asks_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason to look at a patient, and its points."""

    name: str
    points: int
    because: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """A patient's place in the list. reasons: those with the most points first."""

    patient: str
    reasons: tuple[Reason, ...] = ()

    @property
    def points(self) -> int:
        """The sum of the reasons' points."""
        return sum(reason.points for reason in self.reasons)

    @property
    def calls(self) -> bool:
        """Whether nobody has answered an alert of high priority."""
        return any(
            reason.name == "alert-unanswered" and reason.points == UNANSWERED[Priority.HIGH]
            for reason in self.reasons
        )


def risk(patient: str, standing: Standing | None, alerts: Iterable[Alert], now: datetime) -> Risk:
    """Why to look at a patient at the moment `now` (aware). alerts: the open ones of the patient."""
    reasons = [reason for alert in alerts for reason in _alert(alert, now)]
    if standing is not None:
        reasons += _of_standing(standing)
    return Risk(patient=patient, reasons=tuple(sorted(reasons, key=lambda reason: -reason.points)))


@lru_cache(maxsize=20_000)
def _of_standing(standing: Standing) -> tuple[Reason, ...]:
    """Does not hang on the moment, and a standing stays for a day; the worklist is looked at all day."""
    return (
        *_known_too_little(standing),
        *_levels(standing.week),
        *_changes(standing.week, standing.before),
        *_pressures(standing.pressure, standing.pressure_before),
        *_nights(standing),
    )


def ranked(risks: Iterable[Risk]) -> list[Risk]:
    """Those with an unanswered alert of high priority first, then the most points, then by patient."""
    return sorted(risks, key=lambda each: (not each.calls, -each.points, each.patient))


def _alert(alert: Alert, now: datetime) -> Iterator[Reason]:
    word = PRIORITY_WORDS[alert.priority]
    if alert.acknowledged_at is not None:
        yield Reason(
            name="alert-answered",
            points=ANSWERED[alert.priority],
            because=Text(
                en=f"{word.en}, acknowledged by {alert.acknowledged_by}, still open: {alert.because.en}",
                zh=f"{word.zh}，{alert.acknowledged_by} 已确认，尚未关闭：{alert.because.zh}",
            ),
        )
        return
    yield Reason(
        name="alert-unanswered",
        points=UNANSWERED[alert.priority],
        because=Text(
            en=f"{word.en}, nobody has answered: {alert.because.en}", zh=f"{word.zh}，尚无人确认：{alert.because.zh}"
        ),
    )
    waits, within = now - alert.opened_at, ANSWER_WITHIN[alert.priority]
    if waits >= within:
        yield Reason(
            name="answer-overdue",
            points=OVERDUE[alert.priority],
            because=Text(
                en=f"The answer is overdue: it waits {_hours(waits)} h, usual is {_hours(within)} h at this priority "
                f"({_OWN.en}).",
                zh=f"确认已逾期：已等待 {_hours(waits)} 小时，该优先级通常在 {_hours(within)} 小时内（{_OWN.zh}）。",
            ),
        )


def _hours(span: timedelta) -> int:
    return span // timedelta(hours=1)


def _known_too_little(standing: Standing) -> Iterator[Reason]:
    """Of the time in which a sensor was worn; that a new one is silent is told by `no-data`."""
    week = standing.week
    if week is None and standing.sensor == 1:
        yield Reason(
            name="no-data",
            points=NO_DATA,
            because=Text(
                en="A sensor is worn, and nothing came from it in the last 7 days.",
                zh="佩戴传感器，但近 7 天没有数据。",
            ),
        )
    elif week is not None and standing.sensor and (wear := min(100.0, week.wear / standing.sensor)) < ENOUGH_WEAR:
        yield Reason(
            name="little-data",
            points=LITTLE_DATA,
            because=Text(
                en=f"The sensor gave {floor(wear)} % of its readings while it was worn in the last 7 days; "
                f"{ENOUGH_WEAR:g} % are needed to judge them (Battelino 2019).",
                zh=f"近 7 天传感器佩戴期间数据完整度 {floor(wear)}%，"
                f"评估至少需 {ENOUGH_WEAR:g}%（Battelino 2019 共识）。",
            ),
        )


def _levels(week: Figures | None) -> Iterator[Reason]:
    if week is None or week.wear < ENOUGH_FOR_LEVELS:
        return
    for name, value, steps, what, source in (
        ("lbgi", week.lbgi, LBGI, Text(en="Risk of lows (LBGI)", zh="低血糖风险指数（LBGI）"), _KOVATCHEV),
        ("hbgi", week.hbgi, HBGI, Text(en="Risk of highs (HBGI)", zh="高血糖风险指数（HBGI）"), _KOVATCHEV),
        ("gri", week.gri, GRI, Text(en="Glycemia risk index (GRI)", zh="血糖风险指数（GRI）"), _KLONOFF),
    ):
        reached = _step(value, steps)
        if reached:
            limit, points = reached
            yield Reason(
                name=name,
                points=points,
                because=Text(
                    en=f"{what.en} {value:.1f} in the last 7 days, {limit:g} or more ({source.en}); "
                    f"{week.known} % of the readings.",
                    zh=f"近 7 天{what.zh} {value:.1f}，达到 {limit:g}（{source.zh}）；数据完整度 {week.known}%。",
                ),
            )


def _changes(week: Figures | None, before: Figures | None) -> Iterator[Reason]:
    if week is None or before is None or not (week.enough and before.enough):
        return
    fall = _step(before.tir - week.tir, TIR_FALL)
    if fall:
        yield Reason(
            name="tir-falling",
            points=fall[1],
            because=Text(
                en=f"Time in range fell from {before.tir:.1f} % to {week.tir:.1f} % within a week ({_CONSENSUS.en}).",
                zh=f"一周内目标范围内时间由 {before.tir:.1f}% 降至 {week.tir:.1f}%（{_CONSENSUS.zh}）。",
            ),
        )
    rise = _step(week.lbgi - before.lbgi, LBGI_RISE)
    if rise and week.lbgi >= LBGI[-1][0]:
        yield Reason(
            name="lbgi-rising",
            points=rise[1],
            because=Text(
                en=f"Risk of lows (LBGI) rose from {before.lbgi:.1f} to {week.lbgi:.1f} within a week ({_OWN.en}).",
                zh=f"一周内低血糖风险指数（LBGI）由 {before.lbgi:.1f} 升至 {week.lbgi:.1f}（{_OWN.zh}）。",
            ),
        )


def _pressures(now: Pressure | None, before: Pressure | None) -> Iterator[Reason]:
    if now is None or now.readings < ENOUGH_PRESSURES:
        return
    mean = f"{now.systolic:.0f}/{now.diastolic:.0f} mmHg"
    for systolic, diastolic, points in PRESSURE:
        if now.systolic >= systolic or now.diastolic >= diastolic:
            yield Reason(
                name="pressure",
                points=points,
                because=Text(
                    en=f"Home blood pressure {mean}, mean of {now.readings} readings of the last 7 days, at or above "
                    f"{systolic:.0f}/{diastolic:.0f} mmHg ({_HOME.en}).",
                    zh=f"近 7 天 {now.readings} 次家庭血压均值 {mean}，"
                    f"达到 {systolic:.0f}/{diastolic:.0f} mmHg（{_HOME.zh}）。",
                ),
            )
            break
    if before is None or before.readings < ENOUGH_PRESSURES:
        return
    systolic, diastolic, points = PRESSURE_RISE
    if now.systolic - before.systolic >= systolic or now.diastolic - before.diastolic >= diastolic:
        yield Reason(
            name="pressure-rising",
            points=points,
            because=Text(
                en=f"Home blood pressure rose from {before.systolic:.0f}/{before.diastolic:.0f} to {mean} within a "
                f"week; {systolic:.0f}/{diastolic:.0f} mmHg are beyond its noise ({_OWN.en}).",
                zh=f"一周内家庭血压均值由 {before.systolic:.0f}/{before.diastolic:.0f} 升至 {mean}；"
                f"升高 {systolic:.0f}/{diastolic:.0f} mmHg 超出波动范围（{_OWN.zh}）。",
            ),
        )


def _nights(standing: Standing) -> Sequence[Reason]:
    if not standing.night_lows:
        return ()
    because = Text(
        en="The last weekly review found lows that come back at the same hours of the night.",
        zh="最近一次周回顾发现夜间同一时段反复低血糖。",
    )
    return (Reason(name="nocturnal-lows", points=NIGHT_LOWS, because=because),)


def _step(value: float, steps: Steps) -> tuple[float, int] | None:
    """The highest limit that a value reaches, and its points."""
    return next((step for step in steps if value >= step[0]), None)

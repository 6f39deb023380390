"""Glucose detectors: one rule on one device's readings, by consensus events (a start, a hold time, an end)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median_low
from typing import Final, NamedTuple

from alerts.alert import Audience, Finding, Priority, Text, Verdict
from alerts.rules import Comparison, Limits, Rule
from alerts.scene import MINUTE, SPOT_GAP, VITALS, Scene, last_arrival
from ingest.reading import Flag, Reading
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital, family

_SENSOR_GAP: Final = timedelta(minutes=20)
_CLEAR_HOLD: Final = timedelta(minutes=15)
_USUAL_CADENCE: Final = timedelta(minutes=5)
_CADENCE_FROM: Final = 9  # readings

_WORDS: Final = {
    Comparison.BELOW: Text(en="below", zh="低于"),
    Comparison.ABOVE: Text(en="above", zh="高于"),
    Comparison.AT_LEAST: Text(en="at or above", zh="不低于"),
}


class Trace(NamedTuple):
    """One device's readings (at least one, oldest first) and the rhythm in which they come.

    cadence: usual time between readings, zero for a meter. gap: longer than this without a reading breaks a run.
    """

    vital: Vital
    readings: Sequence[Reading]
    cadence: timedelta
    gap: timedelta

    @classmethod
    def of(cls, vital: Vital, readings: Sequence[Reading]) -> Trace:
        """The trace of a device, its cadence taken from its last readings."""
        if vital is Vital.GLUCOSE:
            return cls(vital, readings, timedelta(), SPOT_GAP)
        cadence = _cadence(readings)
        return cls(vital, readings, cadence, max(_SENSOR_GAP, 2.5 * cadence))

    @property
    def newest(self) -> Reading:
        """The reading taken last."""
        return self.readings[-1]

    def count(self, hold: timedelta) -> int:
        """Readings that stand for the time: 3 at 5 min for 15 min, 1 at 15 min, 1 of a meter (as iglu counts)."""
        return max(1, math.ceil(hold / self.cadence)) if self.cadence else 1


def _cadence(readings: Sequence[Reading]) -> timedelta:
    recent = readings[-_CADENCE_FROM:]
    steps = [later.taken_at - earlier.taken_at for earlier, later in pairwise(recent)]
    step = median_low(steps) if steps else _USUAL_CADENCE
    return max(MINUTE, round(step / MINUTE) * MINUTE)


def _shown(reading: Reading) -> tuple[float, Unit]:
    """The value in the unit family received: HI is +inf, LO is -inf, no value at all is NaN (beyond no limit)."""
    sent = reading.sent[0]
    value, unit = family(math.nan if sent is None else sent, reading.unit)
    if sent is None and Flag.ABOVE_RANGE in reading.flags:
        value = math.inf
    elif sent is None and Flag.BELOW_RANGE in reading.flags:
        value = -math.inf
    return value, unit


def judge(scene: Scene, rule: Rule, trace: Trace, *, only_raise: bool = False) -> tuple[datetime, Finding | None]:
    """Judge one rule on one device: (moment of its newest reading, finding); only_raise: None for any other."""
    limits, readings = scene.limits, trace.readings
    meter = trace.vital is Vital.GLUCOSE
    hold = timedelta() if meter else scene.minutes(rule, "hold")

    bounds = {unit: _bounds(limits, rule, unit) for unit in (Unit.MG_DL, Unit.MMOL_L)}

    def beyond(reading: Reading) -> bool:
        value, unit = _shown(reading)
        limit, _ = bounds[unit]
        if rule.comparison is Comparison.BELOW:
            return value < limit
        return value >= limit if rule.comparison is Comparison.AT_LEAST else value > limit

    def recovered(reading: Reading) -> bool:
        value, unit = _shown(reading)
        _, clear = bounds[unit]
        # A limit that is itself "at least" is not cleared by standing on it.
        if rule.comparison is Comparison.BELOW:
            return value >= clear
        return value <= clear and not beyond(reading)

    start = _after_recovery(trace, recovered)
    finding: Finding | None = None
    if start == len(readings):
        finding = None if only_raise else _clear(scene, rule, trace)
    elif not scene.fresh(rule, "fresh-meter" if meter else "fresh-sensor", trace.newest):
        finding = None if only_raise else _hold(scene, rule, trace, stale=True)
    elif run := _first_run(trace, start, beyond, hold):
        finding = _raise(scene, rule, trace, run, _staff_run(scene, rule, trace, start, beyond))
    elif not only_raise:
        finding = _hold(scene, rule, trace, stale=False)
    return trace.newest.taken_at, finding


def _bounds(limits: Limits, rule: Rule, unit: Unit) -> tuple[float, float]:
    return limits.value(rule.name, "limit", unit), limits.value(rule.name, "clear", unit)


def _after_recovery(trace: Trace, recovered: Callable[[Reading], bool]) -> int:
    """Index of the first reading after the last recovery or gap; the number of readings if the newest recovered."""
    readings, need = trace.readings, trace.count(_CLEAR_HOLD)
    run = 0
    for index in range(len(readings) - 1, -1, -1):
        if index + 1 < len(readings) and readings[index + 1].taken_at - readings[index].taken_at > trace.gap:
            return index + 1
        run = run + 1 if recovered(readings[index]) else 0
        if run == need:
            return index + need
    return 0


def _first_run(
    trace: Trace, start: int, beyond: Callable[[Reading], bool], hold: timedelta
) -> tuple[Sequence[Reading], Sequence[Reading]] | None:
    """(the readings that completed the hold time, all readings since the first of them), or None."""
    readings, need = trace.readings, trace.count(min(hold, _CLEAR_HOLD))
    first = start
    for index in range(start, len(readings)):
        if not beyond(readings[index]):
            first = index + 1
        # Half a cadence of grace, for sensors do not keep their minutes to the second.
        elif index + 1 - first >= need and _covered(trace, first, index) + trace.cadence / 2 >= hold:
            return readings[first : index + 1], readings[first:]
    return None


def _covered(trace: Trace, first: int, last: int) -> timedelta:
    """Time for which these readings stand, the last one's own interval included."""
    return trace.readings[last].taken_at - trace.readings[first].taken_at + trace.cadence


def _staff_run(
    scene: Scene, rule: Rule, trace: Trace, start: int, beyond: Callable[[Reading], bool]
) -> Sequence[Reading]:
    """The readings that stayed beyond the limit for "staff-after" and so make the patient's own warning staff's."""
    if trace.vital is Vital.GLUCOSE or rule.audience is Audience.STAFF:
        return ()
    run = _first_run(trace, start, beyond, scene.minutes(rule, "staff-after"))
    return run[0] if run else ()


def _raise(
    scene: Scene,
    rule: Rule,
    trace: Trace,
    run: tuple[Sequence[Reading], Sequence[Reading]],
    staff_run: Sequence[Reading],
) -> Finding:
    proof, event = run
    onset, newest = event[0], event[-1]
    lasted = newest.taken_at - onset.taken_at
    names = {parameter.name for parameter in rule.parameters}
    audience = (rule.meter_audience if trace.vital is Vital.GLUCOSE else None) or rule.audience
    unrecovered = "unrecovered" in names and lasted >= scene.minutes(rule, "unrecovered")
    return scene.finding(
        rule,
        Verdict.RAISE,
        _because(scene, rule, trace, event),
        onset.taken_at,
        (*proof, newest),
        known_at=last_arrival(staff_run or proof),
        priority=Priority.HIGH if unrecovered else rule.priority,
        audience=Audience.STAFF if staff_run else audience,
    )


def _because(scene: Scene, rule: Rule, trace: Trace, event: Sequence[Reading]) -> Text:
    vital, words = VITALS[trace.vital], _WORDS[rule.comparison]
    _, unit = _shown(event[-1])
    limit = _limit(scene, rule, "limit", unit)
    source = scene.limits.source(rule.name, "limit", unit)
    low = rule.comparison is Comparison.BELOW
    worst = (min if low else max)(event, key=lambda reading: _worseness(reading, low=low))
    now, extreme = _words(event[-1]), _words(worst)
    since, count = scene.clock(event[0].taken_at), len(event)
    if count == 1:
        return Text(
            en=f"{vital.en} {now.en} at {since}: {words.en} {limit}. Limit: {source.en}.",
            zh=f"{since} {vital.zh} {now.zh}：{words.zh} {limit}。限值依据：{source.zh}。",
        )
    minutes = (event[-1].taken_at - event[0].taken_at) // MINUTE
    return Text(
        en=f"{vital.en} {words.en} {limit} since {since}, not yet recovered: {minutes} min, {count} readings, "
        f"{'lowest' if low else 'highest'} {extreme.en}; now {now.en}. Limit: {source.en}.",
        zh=f"{vital.zh}自 {since} 起{words.zh} {limit}，尚未恢复：{minutes} 分钟，{count} 次读数，"
        f"{'最低' if low else '最高'} {extreme.zh}；目前 {now.zh}。限值依据：{source.zh}。",
    )


def _worseness(reading: Reading, *, low: bool) -> float:
    """The canonical value, for one device may change its unit within an event."""
    value = reading.values[0]
    if value is not None:
        return value
    shown, _ = _shown(reading)
    if math.isnan(shown):
        return math.inf if low else -math.inf
    return shown


def _words(reading: Reading) -> Text:
    value, unit = _shown(reading)
    if math.isnan(value):
        return Text(en="without a value", zh="无数值")
    if math.isinf(value):
        return (
            Text(en="HI (above the device's range)", zh="HI（高于设备量程）")
            if value > 0
            else Text(en="LO (below the device's range)", zh="LO（低于设备量程）")
        )
    here, there = _number(value, unit), _converted(value, unit)
    return Text(en=f"{here} ({there})", zh=f"{here}（{there}）")


def _number(value: float, unit: Unit) -> str:
    """With the decimals that were sent, but 3 mmol/L as the 3.0 that every display shows."""
    return f"{value:.1f} {unit}" if unit is Unit.MMOL_L and value == round(value) else f"{value:g} {unit}"


def _converted(value: float, unit: Unit) -> str:
    """For eyes used to the other unit; nothing is ever compared by it."""
    if unit is Unit.MMOL_L:
        return f"{value * MG_DL_PER_MMOL_L:.0f} {Unit.MG_DL}"
    return f"{value / MG_DL_PER_MMOL_L:.1f} {Unit.MMOL_L}"


def _limit(scene: Scene, rule: Rule, parameter: str, unit: Unit) -> str:
    """The limit in the unit received, with its own value in the other one."""
    other = Unit.MG_DL if unit is Unit.MMOL_L else Unit.MMOL_L
    here, there = (scene.limits.value(rule.name, parameter, each) for each in (unit, other))
    return f"{_number(here, unit)} ({_number(there, other)})"


def _clear(scene: Scene, rule: Rule, trace: Trace) -> Finding:
    need = trace.count(_CLEAR_HOLD)
    proof = trace.readings[-need:]
    now, unit = _words(trace.newest), _shown(trace.newest)[1]
    clear = _limit(scene, rule, "clear", unit)
    source, vital = scene.limits.source(rule.name, "clear", unit), VITALS[trace.vital]
    low, since = rule.comparison is Comparison.BELOW, scene.clock(proof[0].taken_at)
    return scene.finding(
        rule,
        Verdict.CLEAR,
        Text(
            en=f"{vital.en} {now.en}, {'at or above' if low else 'at or below'} {clear} since {since}. "
            f"Limit: {source.en}.",
            zh=f"{vital.zh} {now.zh}，自 {since} 起{'不低于' if low else '不高于'} {clear}。限值依据：{source.zh}。",
        ),
        proof[0].taken_at,
        proof,
    )


def _hold(scene: Scene, rule: Rule, trace: Trace, *, stale: bool) -> Finding:
    newest, vital = trace.newest, VITALS[trace.vital]
    now, at = _words(newest), scene.clock(newest.taken_at)
    because = Text(
        en=f"{vital.en} {now.en} at {at}: {'too old to judge by' if stale else 'neither raised nor over'}.",
        zh=f"{at} {vital.zh} {now.zh}：{'读数过旧，无法判断' if stale else '未达到报警条件，也未恢复'}。",
    )
    return scene.finding(rule, Verdict.HOLD, because, newest.taken_at, (newest,))

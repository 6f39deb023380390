"""A patient's plan of measuring, and what is missing against it. Pure.

A measurement is an occasion: readings within ten minutes of each other are one, however many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from alerts.alert import Audience, Finding, Text, Verdict
from alerts.rule import PERCENT
from alerts.scene import VITALS, Judged, Scene
from alerts.spot_rules import MISSED_MEASUREMENT, PLAN_NOT_KEPT
from ingest.reading import Reading
from ingest.vital import Vital

_DAY: Final = timedelta(days=1)
_OCCASION: Final = timedelta(minutes=10)
_WEEK: Final = 7
# Late enough that the day's measurements are done, early enough to make good the last one.
_ASKED_AT: Final = time(20)
# Nobody is woken for what can wait. These are the hours in which 47 CFR 64.1200(c)(1) lets strangers telephone.
_WAKES: Final = time(8)
_RESTS: Final = time(21)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often a patient is to measure a vital: `times` a day on `days` of any seven.

    since: when it was agreed (aware). Raises ValueError for a plan that no week can hold.
    """

    vital: Vital
    times: int
    days: int
    since: datetime

    def __post_init__(self) -> None:
        if not 1 <= self.times <= 24 or not 1 <= self.days <= _WEEK:
            raise ValueError(
                f"a plan of {self.times} times on {self.days} days: choose 1 to 24 times a day and 1 to 7 days a week"
            )


def awake(scene: Scene) -> datetime:
    """From when on the patient may be asked for something that can wait: now, or when the next waking hours begin."""
    day, clock = scene.day(scene.now), scene.now.astimezone(scene.zone).time()
    if _WAKES <= clock < _RESTS:
        return scene.now
    return _at(scene, day if clock < _WAKES else day + _DAY, _WAKES)


def judge(scene: Scene, plan: Plan, taken: Iterable[Reading]) -> Judged:
    """What is missing in the last seven days, for the patient; taken: of the plan's vital, of at least 8 days.

    The day under way counts from 20:00 by the patient's clock, when the reminder may still be of use. What is asked
    for later, as when the house was down at that hour, belongs to that evening and its week.
    """
    rule, today = MISSED_MEASUREMENT, scene.day(scene.now)
    last = today if scene.now >= _at(scene, today, _ASKED_AT) else today - _DAY
    asked, again = (_at(scene, day, _ASKED_AT) for day in (last, last + _DAY))
    first, expected, kept, proof = _kept(scene, plan, taken, last)
    missing = expected - kept
    because = _words(plan, kept, expected, first, last)
    advice = Text(en=" Please measure today.", zh="请今天测量。")
    finding = scene.finding(
        rule,
        Verdict.RAISE if missing > 0 else Verdict.CLEAR,
        Text(en=because.en + advice.en, zh=because.zh + advice.zh) if missing > 0 else because,
        scene.week_of(asked) if missing > 0 else scene.now,
        proof,
        known_at=asked if missing > 0 else None,
        audience=Audience.PATIENT,
    )
    return Judged((finding,), again)


def review(scene: Scene, plan: Plan, taken: Iterable[Reading]) -> Finding:
    """Whether so much is missing that the plan itself is in question, for the weekly list."""
    rule, last = PLAN_NOT_KEPT, scene.day(scene.now) - _DAY
    first, expected, kept, proof = _kept(scene, plan, taken, last)
    share = scene.number(rule, "share", PERCENT)
    raised = expected > 0 and 100 * kept < share * expected
    because = _words(plan, kept, expected, first, last)
    stand = Text(
        en=f" Limit: {'less' if raised else 'not less'} than {share:g} % of the plan.",
        zh=f"限值：{'低于' if raised else '不低于'}计划的 {share:g}%。",
    )
    return scene.finding(
        rule,
        Verdict.RAISE if raised else Verdict.CLEAR,
        Text(en=because.en + stand.en, zh=because.zh + stand.zh),
        scene.week_of(scene.now) if raised else scene.now,
        proof,
        audience=Audience.WEEKLY,
    )


def together(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each rule: what is missing of several vitals is told at once, and not ended by the others."""
    by_rule: dict[str, list[Finding]] = {}
    for each in findings:
        by_rule.setdefault(each.rule, []).append(each)
    return [_one([each for each in found if each.verdict is Verdict.RAISE] or found) for found in by_rule.values()]


def _one(found: Sequence[Finding]) -> Finding:
    return replace(
        found[0],
        because=Text(en=" ".join(each.because.en for each in found), zh="".join(each.because.zh for each in found)),
        known_at=max(each.known_at for each in found),
        evidence=tuple(key for each in found for key in each.evidence),
    )


def _at(scene: Scene, day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, scene.zone).astimezone(UTC)


def _kept(scene: Scene, plan: Plan, taken: Iterable[Reading], last: date) -> tuple[date, int, int, Sequence[Reading]]:
    """Of the seven days up to `last`, without those before the plan: first, number asked for, kept, readings."""
    first = max(last - (_WEEK - 1) * _DAY, scene.day(plan.since) + _DAY)
    span = (last - first).days + 1
    expected = max(0, span - (_WEEK - plan.days))
    proof = [each for each in taken if first <= scene.day(each.taken_at) <= last]
    occasions: Counter[date] = Counter()
    before: datetime | None = None
    for each in proof:
        if before is None or each.taken_at - before > _OCCASION:
            occasions[scene.day(each.taken_at)] += 1
        before = each.taken_at
    kept = sum(count >= plan.times for count in occasions.values())
    return first, expected, min(kept, expected), proof


def _words(plan: Plan, kept: int, expected: int, first: date, last: date) -> Text:
    vital, often = VITALS[plan.vital], "once" if plan.times == 1 else f"{plan.times} times"
    if not expected:
        return Text(
            en=f"{vital.en}: the plan ({often} a day) asks for no day up to {last}.",
            zh=f"{vital.zh}：截至 {last}，计划（每天 {plan.times} 次）未要求测量。",
        )
    days = "day" if expected == 1 else "days"
    span = (
        Text(en=f"{first} to {last}", zh=f"{first} 至 {last}") if first < last else Text(en=f"{last}", zh=f"{last}")
    )
    return Text(
        en=f"{vital.en}: measured as planned ({often} a day) on {kept} of the {expected} {days} that "
        f"the plan asks for, {span.en}.",
        zh=f"{vital.zh}：{span.zh} 计划测量 {expected} 天（每天 {plan.times} 次），其中 {kept} 天按计划完成。",
    )

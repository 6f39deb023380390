"""What a cuff says over days: home blood pressure against its goal, trend, mornings, nights, quality. Pure.

Home means are those of `alerts.home_pressure`: of session values, the first day dropped where the measuring began in
the week, at least 12 readings. Measuring by night, which only a cuff that starts by itself does, is told by three
times or more within one night; one or two at three o'clock are somebody who is awake.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from alerts.alert import Audience, Finding, Text, Verdict
from alerts.cuff import MISUSE, Pressure, limit_words, pressures, reached_words, reaches
from alerts.home_pressure import ENOUGH_READINGS, HomePressure, Pressures, home_pressure
from alerts.rule import COUNT, DAYS, MMHG, PERCENT, Rule
from alerts.scene import Scene
from alerts.spot_rules import (
    BP_CUFF_ERROR,
    BP_IRREGULAR_PULSE,
    BP_MORNING,
    BP_NON_DIPPING,
    BP_NOT_AT_GOAL,
    BP_RISING,
    BP_VARIABILITY,
)
from ingest.reading import Flag, Reading, to_us

_WEEK: Final = timedelta(days=7)
_US: Final = timedelta(microseconds=1)
# ESH: fixed hours that leave out those in which people go to bed and rise.
_NIGHT: Final = range(1, 6)
_DAYTIME: Final = range(9, 21)
_NIGHT_TIMES: Final = 3
_ONE_TIME: Final = timedelta(minutes=10)


class Mean(NamedTuple):
    """A mean blood pressure of `readings` readings, mmHg."""

    systolic: float
    diastolic: float
    readings: int

    @property
    def words(self) -> str:
        """Systolic/diastolic, as shown."""
        return f"{self.systolic:.0f}/{self.diastolic:.0f} mmHg"


class Home(NamedTuple):
    """Home blood pressure of a stretch of days, as `alerts.home_pressure` defines it; NaN where nothing was measured.

    morning, day_sd: (systolic, diastolic). evening: systolic. sufficient: whether the mean stands for the patient.
    """

    mean: Mean
    sufficient: bool
    days: int
    day_sd: tuple[float, float]
    mornings: int
    morning: tuple[float, float]
    evening: float


def review(scene: Scene, readings: Sequence[Reading], failed: Sequence[datetime] = ()) -> tuple[Finding, ...]:
    """Judge the days before `now`; readings: of a cuff, of the last `spot.REVIEW_SPAN`, oldest first.

    failed: when measurements that gave no value came in.
    """
    taken = [each for each in pressures(readings) if scene.now - each.at < 2 * _WEEK]
    if not taken:
        return (_cuff_error(scene, (), failed),) if failed else ()
    nights = _automatic_nights(scene, taken)
    asleep = {id(each) for night in nights.values() for each in night}
    awake = [each for each in taken if not each.doubtful and math.isfinite(each.systolic) and id(each) not in asleep]
    week, before = _weeks(scene, awake)
    of_week, of_before, of_both = homes(scene, week, before, awake)
    protocol = of_week if before else homes(scene, week, drop_first_day=True)[0]
    return (
        not_at_goal(scene, protocol, week),
        _morning(scene, protocol, week),
        rising(scene, of_before.mean, of_week.mean, week),
        _variability(scene, of_both, awake),
        _non_dipping(scene, nights, awake),
        _irregular_pulse(scene, taken),
        _cuff_error(scene, taken, failed),
    )


def _weeks(scene: Scene, taken: Sequence[Pressure]) -> tuple[list[Pressure], list[Pressure]]:
    """The readings of the last 7 days by the patient's clock, and of the 7 days before."""
    today = scene.day(scene.now)
    ages = [(today - scene.day(each.at), each) for each in taken]
    return [each for age, each in ages if age < _WEEK], [each for age, each in ages if _WEEK <= age < 2 * _WEEK]


def homes(scene: Scene, *stretches: Sequence[Pressure], drop_first_day: bool = False) -> list[Home]:
    """Home blood pressure of each stretch of readings, each oldest first.

    drop_first_day: where the measuring began with the stretch.
    """
    taken = [each for stretch in stretches for each in stretch]
    taken_us = np.array([to_us(each.at) for each in taken], dtype=np.int64)
    ahead = [(each.at.astimezone(scene.zone).utcoffset() or timedelta()) // _US for each in taken]
    whole = Pressures(
        offsets=np.cumsum([0, *(len(stretch) for stretch in stretches)], dtype=np.int64),
        taken_us=taken_us,
        clock_us=taken_us + np.array(ahead, dtype=np.int64),
        systolic=np.array([each.systolic for each in taken], dtype=np.float64),
        diastolic=np.array([each.diastolic for each in taken], dtype=np.float64),
    )
    found = home_pressure(whole, drop_first_day=drop_first_day)
    return [_home_of(found, place) for place in range(len(stretches))]


def _home_of(found: HomePressure, place: int) -> Home:
    systolic, diastolic = found.systolic, found.diastolic
    return Home(
        mean=Mean(float(systolic.mean[place]), float(diastolic.mean[place]), int(found.readings[place])),
        sufficient=bool(found.sufficient[place]),
        days=int(found.days[place]),
        day_sd=(float(systolic.day_sd[place]), float(diastolic.day_sd[place])),
        mornings=int(found.mornings[place]),
        morning=(float(systolic.morning[place]), float(diastolic.morning[place])),
        evening=float(systolic.evening[place]),
    )


def _span(scene: Scene, taken: Sequence[Pressure]) -> str:
    return f"{scene.clock(taken[0].at)[:10]} to {scene.clock(taken[-1].at)[:10]}"


def _about(
    scene: Scene,
    rule: Rule,
    verdict: Verdict,
    because: Text,
    taken: Sequence[Pressure],
    audience: Audience | None = None,
) -> Finding:
    """A finding about days. One a week: the same in every review of the week, though its days pass."""
    since = scene.week_of(taken[-1].at) if taken else scene.now
    evidence = [each.reading for each in taken]
    return scene.finding(rule, verdict, because, since, evidence, audience=audience or rule.audience)


# Goal, mornings, trend


def not_at_goal(scene: Scene, home: Home, week: Sequence[Pressure]) -> Finding:
    """Judge a home mean against the goal; week: the readings it was made of, for the evidence."""
    rule, mean = BP_NOT_AT_GOAL, home.mean
    if not week or not home.sufficient:
        return _too_little(scene, rule, week, mean.readings, ENOUGH_READINGS)
    span, counted = _span(scene, week), mean.readings
    if reaches(scene, rule, *mean[:2], "uncontrolled-"):
        verdict, audience, limit = (
            Verdict.RAISE,
            Audience.STAFF,
            reached_words(scene, rule, [mean[:2]], "uncontrolled-"),
        )
    else:
        audience, (raised, limit) = Audience.WEEKLY, _stands(scene, rule, *mean[:2])
        verdict = Verdict.RAISE if raised else Verdict.HOLD
        if not reaches(scene, rule, *mean[:2], "clear-"):
            verdict, limit = Verdict.CLEAR, limit_words(scene, rule, "clear-")
    stand = Text(en="at or above", zh="达到或高于") if verdict is Verdict.RAISE else Text(en="below", zh="低于")
    because = Text(
        en=f"Home blood pressure {mean.words}, mean of {counted} readings of {span}: {stand.en} {limit.en}.",
        zh=f"家庭血压 {mean.words}（{span.replace(' to ', ' 至 ')}，{counted} 次平均）：{stand.zh} {limit.zh}。",
    )
    return _about(scene, rule, verdict, because, week, audience)


def _stands(scene: Scene, rule: Rule, systolic: float, diastolic: float) -> tuple[bool, Text]:
    """Whether either pressure is at or above its limit, and which limits are meant."""
    if reaches(scene, rule, systolic, diastolic):
        return True, reached_words(scene, rule, [(systolic, diastolic)])
    return False, limit_words(scene, rule)


def _too_little(scene: Scene, rule: Rule, taken: Sequence[Pressure], found: int, needed: int) -> Finding:
    because = Text(
        en=f"{found} readings that count of the last days, mornings and evenings taken together: at least {needed} "
        "are needed, of both and of 3 days.",
        zh=f"近日可用读数 {found} 次：至少需要 {needed} 次，早晚均有，且不少于 3 天。",
    )
    return _about(scene, rule, Verdict.HOLD, because, taken)


def _morning(scene: Scene, home: Home, week: Sequence[Pressure]) -> Finding:
    rule, mornings = BP_MORNING, home.mornings
    if mornings < scene.number(rule, "mornings", DAYS):
        because = Text(
            en=f"{mornings} morning sessions in the last 7 days: too few.",
            zh=f"近 7 天清晨测量 {mornings} 次：不足。",
        )
        return _about(scene, rule, Verdict.HOLD, because, week)
    (systolic, diastolic), evening = home.morning, home.evening
    excess = systolic - evening
    raised, limit = _stands(scene, rule, systolic, diastolic)
    much = raised and excess >= scene.number(rule, "excess", MMHG)
    more = Text(
        en=f", {excess:.0f} mmHg above the evenings ({evening:.0f})" if much else "",
        zh=f"，较晚间（{evening:.0f}）高 {excess:.0f} mmHg" if much else "",
    )
    stand = Text(en="at or above", zh="达到或高于") if raised else Text(en="below", zh="低于")
    because = Text(
        en=f"Morning blood pressure {systolic:.0f}/{diastolic:.0f} mmHg, mean of {mornings} sessions of "
        f"{_span(scene, week)}{more.en}: {stand.en} {limit.en}.",
        zh=f"清晨血压 {systolic:.0f}/{diastolic:.0f} mmHg（{_span(scene, week).replace(' to ', ' 至 ')}，"
        f"{mornings} 次平均）{more.zh}：{stand.zh} {limit.zh}。",
    )
    return _about(scene, rule, Verdict.RAISE if raised else Verdict.CLEAR, because, week)


def rising(scene: Scene, before: Mean, now: Mean, week: Sequence[Pressure]) -> Finding:
    """Judge the difference of two weekly means; week: the readings of the later one, for the evidence."""
    rule = BP_RISING
    needed = int(scene.number(rule, "readings", COUNT))
    if min(before.readings, now.readings) < needed:
        return _too_little(scene, rule, week, min(before.readings, now.readings), needed)
    systolic, diastolic = now.systolic - before.systolic, now.diastolic - before.diastolic
    raised, limit = _stands(scene, rule, systolic, diastolic)
    stand = Text(en="at or above", zh="达到或超过") if raised else Text(en="below", zh="小于")
    because = Text(
        en=f"Home blood pressure {now.words} in the last 7 days ({now.readings} readings) after {before.words} in "
        f"the 7 days before ({before.readings}): a change of {systolic:+.1f}/{diastolic:+.1f}, "
        f"{stand.en} {limit.en}.",
        zh=f"近 7 天家庭血压 {now.words}（{now.readings} 次），此前 7 天 {before.words}（{before.readings} 次）："
        f"变化 {systolic:+.1f}/{diastolic:+.1f}，{stand.zh} {limit.zh}。",
    )
    return _about(scene, rule, Verdict.RAISE if raised else Verdict.CLEAR, because, week)


# Variability, nights


def _variability(scene: Scene, home: Home, taken: Sequence[Pressure]) -> Finding:
    rule, needed, days = BP_VARIABILITY, scene.number(BP_VARIABILITY, "days", DAYS), home.days
    if days < needed:
        because = Text(
            en=f"{days} days measured in the last 14: too few, {needed:g} are needed.",
            zh=f"近 14 天测量 {days} 天：不足 {needed:g} 天。",
        )
        return _about(scene, rule, Verdict.HOLD, because, taken)
    systolic, diastolic = home.day_sd
    raised, limit = _stands(scene, rule, systolic, diastolic)
    stand = Text(en="at or above", zh="达到或超过") if raised else Text(en="below", zh="小于")
    because = Text(
        en=f"Home blood pressure varies from day to day with an SD of {systolic:.1f}/{diastolic:.1f} mmHg over "
        f"{days} days of {_span(scene, taken)}: {stand.en} {limit.en}.",
        zh=f"家庭血压日间标准差 {systolic:.1f}/{diastolic:.1f} mmHg（{_span(scene, taken).replace(' to ', ' 至 ')}，"
        f"{days} 天）：{stand.zh} {limit.zh}。",
    )
    return _about(scene, rule, Verdict.RAISE if raised else Verdict.CLEAR, because, taken)


def _automatic_nights(scene: Scene, taken: Sequence[Pressure]) -> dict[date, list[Pressure]]:
    """The readings of each night on which a cuff measured by itself."""
    nights: defaultdict[date, list[Pressure]] = defaultdict(list)
    for each in taken:
        if each.at.astimezone(scene.zone).hour in _NIGHT and not each.doubtful:
            nights[scene.day(each.at)].append(each)
    return {day: night for day, night in nights.items() if _times(night) >= _NIGHT_TIMES}


def _times(night: Sequence[Pressure]) -> int:
    """How often somebody or something measured; readings a few minutes apart are one time."""
    return 1 + sum(later.at - earlier.at > _ONE_TIME for earlier, later in pairwise(night))


def _non_dipping(scene: Scene, nights: dict[date, list[Pressure]], awake: Sequence[Pressure]) -> Finding:
    rule = BP_NON_DIPPING
    days = [each for each in awake if each.at.astimezone(scene.zone).hour in _DAYTIME]
    asleep = [each for night in nights.values() for each in night]
    if len(nights) < scene.number(rule, "nights", DAYS) or len(days) < len(nights):
        because = Text(
            en=f"{len(nights)} nights measured in the last 14: too few to judge by.",
            zh=f"近 14 天夜间测量 {len(nights)} 晚：不足以判断。",
        )
        return _about(scene, rule, Verdict.HOLD, because, asleep)
    by_night, by_day = _plain_mean(asleep), _plain_mean(days)
    dip, least = 100 * (by_day.systolic - by_night.systolic) / by_day.systolic, scene.number(rule, "dip", PERCENT)
    raised, source = dip < least, scene.limits.source(rule.name, "dip", PERCENT)
    kind = Text(en="rises", zh="升高") if dip < 0 else Text(en="falls", zh="下降")
    stand = Text(en="less than", zh="小于") if raised else Text(en="at least", zh="不小于")
    because = Text(
        en=f"Blood pressure {kind.en} by {abs(dip):.0f} % by night: {by_night.words} in {len(nights)} nights after "
        f"{by_day.words} by day ({by_night.readings} and {by_day.readings} readings), a fall of {stand.en} "
        f"{least:g} %. Limit: {source.en}.",
        zh=f"夜间血压{kind.zh} {abs(dip):.0f}%：{len(nights)} 晚 {by_night.words}，日间 {by_day.words}"
        f"（{by_night.readings} 次与 {by_day.readings} 次），下降{stand.zh} {least:g}%。限值依据：{source.zh}。",
    )
    return _about(scene, rule, Verdict.RAISE if raised else Verdict.CLEAR, because, asleep)


def _plain_mean(taken: Sequence[Pressure]) -> Mean:
    count = len(taken)
    return Mean(sum(each.systolic for each in taken) / count, sum(each.diastolic for each in taken) / count, count)


# What the cuff says about pulse and use


def _by_day(scene: Scene, taken: Sequence[Pressure]) -> Iterator[list[Pressure]]:
    days: dict[date, list[Pressure]] = {}
    for each in taken:
        days.setdefault(scene.day(each.at), []).append(each)
    yield from days.values()


def _irregular_pulse(scene: Scene, taken: Sequence[Pressure]) -> Finding:
    """A day counts when two of three readings in a row carry the flag, or the only two."""
    rule = BP_IRREGULAR_PULSE
    flagged = [
        [each for each in day if Flag.IRREGULAR_PULSE in each.reading.flags]
        for day in _by_day(scene, taken)
        if any(
            sum(Flag.IRREGULAR_PULSE in each.reading.flags for each in day[first : first + 3]) >= 2
            for first in range(len(day))
        )
    ]
    needed, source = int(scene.number(rule, "days", DAYS)), scene.limits.source(rule.name, "days", DAYS)
    if len(flagged) < needed:
        because = Text(
            en=f"The cuff found an irregular pulse in 2 of 3 readings on {len(flagged)} of the last 14 days: fewer "
            f"than {needed}.",
            zh=f"近 14 天中 {len(flagged)} 天血压计在 3 次中有 2 次提示脉搏不齐：少于 {needed} 天。",
        )
        verdict = Verdict.HOLD if flagged else Verdict.CLEAR
        return scene.finding(rule, verdict, because, taken[-1].at, ())
    proof = [each for day in flagged for each in day]
    days = ", ".join(scene.clock(day[0].at)[:10] for day in flagged)
    because = Text(
        en=f"The cuff found an irregular pulse in at least 2 of 3 readings on {len(flagged)} days ({days}): an ECG "
        f"would show what it is. Rule: {source.en}.",
        zh=f"血压计在 {len(flagged)} 天（{days.replace(', ', '、')}）的 3 次测量中至少 2 次提示脉搏不齐："
        f"心电图可明确其性质。依据：{source.zh}。",
    )
    return scene.finding(rule, Verdict.RAISE, because, flagged[needed - 1][-1].at, [each.reading for each in proof])


_MISUSE_WORDS: Final = {
    Flag.BODY_MOVEMENT: Text(en="sit still and do not talk", zh="静坐、不说话"),
    Flag.CUFF_LOOSE: Text(en="close the cuff so that two fingers fit below it", zh="袖带以能插入两指为宜"),
    Flag.IMPROPER_POSITION: Text(en="keep the cuff at the height of the heart", zh="袖带与心脏同高"),
}


def _cuff_error(scene: Scene, taken: Sequence[Pressure], failed: Sequence[datetime]) -> Finding:
    """Measurements that gave no value are refused at admission, but here they count."""
    rule = BP_CUFF_ERROR
    week = [each for each in taken if scene.now - each.at < _WEEK]
    wrong = [each for each in week if each.reading.flags & MISUSE]
    empty = [moment for moment in failed if scene.now - moment < _WEEK]
    count, among = len(wrong) + len(empty), len(week) + len(empty)
    least, share = scene.number(rule, "readings", COUNT), scene.number(rule, "share", PERCENT)
    newest = max([*(each.at for each in taken), *failed])
    if count < least or 100 * count < share * among:
        because = Text(
            en=f"{count} of {among} measurements of the last 7 days with a fault of the cuff's use.",
            zh=f"近 7 天 {among} 次测量中 {count} 次提示使用不当。",
        )
        return scene.finding(rule, Verdict.CLEAR, because, newest, (), audience=Audience.PATIENT)
    source = scene.limits.source(rule.name, "readings", COUNT)
    named = [said for flag, said in _MISUSE_WORDS.items() if any(flag in each.reading.flags for each in wrong)]
    advice = named or list(_MISUSE_WORDS.values())
    without = Text(en="", zh="")
    if empty:
        without = Text(en=f", {len(empty)} of them without a value", zh=f"（其中 {len(empty)} 次无数值）")
    because = Text(
        en=f"Your cuff reported a fault in {count} of {among} measurements of the last 7 days{without.en}, at least "
        f"{least:g} and {share:g} % ({source.en}). Please {', and '.join(each.en for each in advice)}.",
        zh=f"近 7 天 {among} 次测量中血压计 {count} 次提示有误{without.zh}，不少于 {least:g} 次且不低于 {share:g}%"
        f"（{source.zh}）。请{'，'.join(each.zh for each in advice)}。",
    )
    readings = [each.reading for each in wrong]
    return scene.finding(
        rule,
        Verdict.RAISE,
        because,
        scene.week_of(max([*empty, *(each.taken_at for each in readings)])),
        readings,
        known_at=max([*empty, *(each.received_at for each in readings)]),
        audience=rule.audience,
    )

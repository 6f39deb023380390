"""What a cuff says as it measures: a severe reading that is never judged alone, sessions, and low pressures. Pure.

- **Severe.** The first reading asks the patient for a second, and so does each that came since and does not count. A
  second severe one within minutes makes a pair, of which staff hear, and the patient is told whom to call; one below
  ends the case unheard, also where it contradicts the first: then the patient is asked for a third. If none comes,
  staff hear of the first alone: after 15 min where it is above 180/120, after 45 min below that, since a repetition
  half an hour later is then still in time. A pair is over by two in a row below, whatever came between; one alone by
  one.
- **Session.** Readings of which each follows the one before within 10 min; its value is the mean of the last two. A
  mean that only the first of the two carries over the limit raises nothing, for first readings are often too high.
  The patient is told once a week; staff when it is 160/100 on three days of seven.
- **Low.** The patient is asked to measure again; staff hear of two of one session, and of a very low one after which
  15 min bring nothing better.
- A reading taken with the arm moving, the cuff loose or in the wrong place, or with a pulse pressure outside 15 to
  130 mmHg, is doubtful: it asks for another one, but neither confirms nor ends anything, and enters no mean. Two that
  agree do away with the doubt of their pulse pressure, for old age and a failing heart have such ones; the sentence
  names it. One of which the time is not known ends nothing: it may be from before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from alerts.alert import Audience, Finding, Priority, Text, Verdict, together
from alerts.rule import DAYS, MMHG, Limits, Rule
from alerts.scene import MINUTE, SPOT_GAP, Judged, Scene, answers, came_together, is_answered, is_heard, late_words
from alerts.spot_rules import BP_LOW, BP_SESSION_HIGH, BP_SEVERE, PRIORITY
from ingest.reading import Flag, Reading
from ingest.vital import Unit

_NOTHING: Final = Text(en="", zh="")
_INSTANT: Final = timedelta(microseconds=1)
_WEEK: Final = timedelta(days=7)
_MISUSE_WORDS: Final = {
    Flag.BODY_MOVEMENT: Text(en="the arm moved", zh="测量时手臂移动"),
    Flag.CUFF_LOOSE: Text(en="the cuff was loose", zh="袖带过松"),
    Flag.IMPROPER_POSITION: Text(en="the cuff was in the wrong place", zh="袖带位置不当"),
}
MISUSE: Final = frozenset(_MISUSE_WORDS)
# Outside of it the cuff has mostly found something else than a pulse (mmHg).
_PULSE_PRESSURE: Final = (15.0, 130.0)
# Two readings agree when they differ by no more than four times the spread of such differences (mmHg), see
# `alerts.contradiction`.
_AGREE: Final = (35.0, 20.0)


class Pressure(NamedTuple):
    """A reading with both pressures in mmHg; HI is +inf, LO is -inf.

    doubtful: whether the cuff says, or the numbers show, that it was not measured well.
    """

    reading: Reading
    systolic: float
    diastolic: float
    doubtful: bool = False

    @property
    def at(self) -> datetime:
        """When it was taken."""
        return self.reading.taken_at

    @property
    def words(self) -> str:
        """Systolic/diastolic in the unit received; every limit is in mmHg, so kPa are said in mmHg too."""
        if math.isinf(self.systolic):
            return "HI" if self.systolic > 0 else "LO"
        systolic, diastolic = self.reading.sent[:2]
        said = f"{systolic:g}/{diastolic:g} {self.reading.unit}"
        return said if self.reading.unit is Unit.MMHG else f"{said} ({self.systolic:.0f}/{self.diastolic:.0f} mmHg)"

    @property
    def odd(self) -> bool:
        """Whether its pulse pressure is one that hardly anybody has."""
        lowest, highest = _PULSE_PRESSURE
        return math.isfinite(self.systolic) and not lowest <= self.systolic - self.diastolic <= highest

    def agrees(self, other: Pressure) -> bool:
        """Whether another one, not long before or after it, says the same."""
        systolic, diastolic = _AGREE
        return (
            abs(self.at - other.at) <= SPOT_GAP
            and abs(self.systolic - other.systolic) <= systolic
            and abs(self.diastolic - other.diastolic) <= diastolic
        )


def pressures(readings: Iterable[Reading]) -> list[Pressure]:
    """The readings that have both pressures or a word in their place, in the same order."""
    whole = []
    for reading in readings:
        systolic, diastolic = reading.values[:2]
        if systolic is not None and diastolic is not None:
            whole.append(Pressure(reading, systolic, diastolic))
        elif Flag.ABOVE_RANGE in reading.flags:
            whole.append(Pressure(reading, math.inf, math.inf))
        elif Flag.BELOW_RANGE in reading.flags:
            whole.append(Pressure(reading, -math.inf, -math.inf))
    return [each._replace(doubtful=_is_doubtful(whole, place)) for place, each in enumerate(whole)]


def _is_doubtful(taken: Sequence[Pressure], place: int) -> bool:
    newest = taken[place]
    if newest.reading.flags & MISUSE:
        return True
    beside = (*taken[max(place - 1, 0) : place], *taken[place + 1 : place + 2])
    return newest.odd and not any(newest.agrees(each) for each in beside if not each.reading.flags & MISUSE)


def _doubt(proof: Iterable[Pressure]) -> Text:
    """What is odd about readings that are believed because they agree."""
    spans = [f"{each.systolic - each.diastolic:.0f} mmHg" for each in proof if each.odd]
    if not spans:
        return _NOTHING
    lowest, highest = _PULSE_PRESSURE
    return Text(
        en=f" Pulse pressure {' and '.join(spans)}, outside {lowest:g} to {highest:g} mmHg: measured wrongly, or a "
        "sign itself.",
        zh=f"脉压 {'、'.join(spans)}，超出 {lowest:g} 至 {highest:g} mmHg：可能测量有误，也可能是病情表现。",
    )


class Unremarkable(NamedTuple):
    """Pressures in mmHg that lead to nothing by themselves: from low to below high. apart: the length of a session.

    Most readings are of them, and need no other readings to be judged by.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    apart: timedelta

    @classmethod
    def within(cls, limits: Limits) -> Unremarkable:
        """For a patient with these limits."""

        def of(rule: Rule) -> tuple[float, float]:
            return limits.value(rule.name, "systolic", MMHG), limits.value(rule.name, "diastolic", MMHG)

        (systolic, diastolic), severe = of(BP_SESSION_HIGH), of(BP_SEVERE)
        high = min(systolic, severe[0]), min(diastolic, severe[1])
        return cls(of(BP_LOW), high, limits.minutes(BP_SESSION_HIGH.name, "session"))

    def includes(self, reading: Reading, before: datetime | None) -> bool:
        """Whether `judge` would find nothing, but that what stands is over.

        before: when the newest of the readings before this one was taken, None where that is not known.
        """
        systolic, diastolic = reading.values[:2]
        least, most = _PULSE_PRESSURE
        return (
            not reading.flags
            and systolic is not None
            and diastolic is not None
            and before is not None
            and reading.taken_at - before > self.apart
            and self.low[0] <= systolic < self.high[0]
            and self.low[1] <= diastolic < self.high[1]
            and least <= systolic - diastolic <= most
        )


def judge(scene: Scene, readings: Sequence[Reading], *, raising: Collection[str] | None = None) -> Judged:
    """Judge the readings of a cuff, oldest first, of the last `spot.SPAN`; raising: as in `spot`."""
    taken = pressures(readings)
    if not taken:
        return Judged((), None)
    severe, second_by = _severe(scene, taken, raising)
    sessions = _sessions(scene, taken)
    low, better_by = _low(scene, taken, sessions, raising)
    findings = (*severe, _session_high(scene, sessions, raising), *low)
    moments = (each for each in (second_by, better_by) if each)
    return Judged(tuple(each for each in findings if each), min(moments, default=None))


def is_grave(scene: Scene, reading: Reading) -> bool:
    """Whether a pressure may be an emergency with another one."""
    return any(
        reaches(scene, BP_SEVERE, each.systolic, each.diastolic) or _is_very_low(scene, each)
        for each in pressures((reading,))
    )


def emergency_advice(scene: Scene, pressure: Pressure) -> Text | None:
    """What to do about a pressure that is an emergency, while another one contradicts it."""
    if reaches(scene, BP_SEVERE, pressure.systolic, pressure.diastolic):
        return Text(en=f" Already now: {_SYMPTOMS.en}", zh=f"在此之前，{_SYMPTOMS.zh}")
    return _IF_FAINT if _is_very_low(scene, pressure) else None


def reaches(scene: Scene, rule: Rule, systolic: float, diastolic: float, prefix: str = "") -> bool:
    """Whether either pressure is at or above its limit of the rule."""
    return systolic >= scene.number(rule, f"{prefix}systolic", MMHG) or diastolic >= scene.number(
        rule, f"{prefix}diastolic", MMHG
    )


def limit_words(scene: Scene, rule: Rule, prefix: str = "") -> Text:
    """Both limits of a rule with their source."""
    systolic, diastolic = (scene.number(rule, f"{prefix}{name}", MMHG) for name in ("systolic", "diastolic"))
    source = scene.limits.source(rule.name, f"{prefix}systolic", MMHG)
    return Text(
        en=f"{systolic:g}/{diastolic:g} mmHg ({source.en})", zh=f"{systolic:g}/{diastolic:g} mmHg（{source.zh}）"
    )


_SIDES: Final = {
    "systolic": Text(en="{limit} mmHg systolic ({source})", zh="{limit} mmHg（收缩压；{source}）"),
    "diastolic": Text(en="{limit} mmHg diastolic ({source})", zh="{limit} mmHg（舒张压；{source}）"),
}


def reached_words(scene: Scene, rule: Rule, pressures: Sequence[tuple[float, float]], prefix: str = "") -> Text:
    """The limits of a rule that pressures (systolic, diastolic) are at or above, at least one of them."""
    reached = {
        name: [each[place] >= scene.number(rule, f"{prefix}{name}", MMHG) for each in pressures]
        for place, name in enumerate(_SIDES)
    }
    return _broken_words(scene, rule, reached, prefix)


def _broken_words(scene: Scene, rule: Rule, broken: Mapping[str, Sequence[bool]], prefix: str = "") -> Text:
    """The limits that readings are beyond: one of the two where all are beyond it alone. broken: by pressure."""
    if all(all(each) for each in broken.values()):
        return limit_words(scene, rule, prefix)
    sides = [name for name, each in broken.items() if all(each)] or [
        name for name, each in broken.items() if any(each)
    ]
    said = [_side_words(scene, rule, name, prefix) for name in sides]
    return Text(en=" or ".join(each.en for each in said), zh="或 ".join(each.zh for each in said))


def _side_words(scene: Scene, rule: Rule, name: str, prefix: str) -> Text:
    """The limit of one of the two pressures, with its source."""
    parameter, form = f"{prefix}{name}", _SIDES[name]
    limit, source = scene.number(rule, parameter, MMHG), scene.limits.source(rule.name, parameter, MMHG)
    return Text(
        en=form.en.format(limit=f"{limit:g}", source=source.en),
        zh=form.zh.format(limit=f"{limit:g}", source=source.zh),
    )


# Severe


class _Stage(Enum):
    """How far the case of a severe blood pressure has come."""

    ASKED = "one severe reading; the patient is asked for a second"
    ALONE = "one severe reading, and no second came in time"
    PAIR = "two severe readings, the newest two are the proof"


class _Case(NamedTuple):
    """A stage, the readings that prove it, and when it was known that staff or the patient must hear of it.

    paired_at: when the one was taken of which the patient hears last: the second of the first pair, one by which it
    became worse, or one that was measured again as asked. calm: readings that were not severe since a pair; two of
    them end it. discounted: what came after the first and does not count. before: a pair that was not over when this
    began, and is not by what ends this alone.
    """

    stage: _Stage
    proof: tuple[Pressure, ...]
    since: datetime
    known_at: datetime
    paired_at: datetime | None = None
    calm: int = 0
    discounted: tuple[Pressure, ...] = ()
    before: _Case | None = None


def _severe(
    scene: Scene, taken: Sequence[Pressure], raising: Collection[str] | None
) -> tuple[list[Finding], datetime | None]:
    rule, newest = BP_SEVERE, taken[-1]
    case = _case(scene, taken)
    if case is None or not scene.fresh(rule, "fresh-meter", newest.reading):
        calm = _not_severe(scene, taken, raising, over=case is None and _shows_end(scene, taken))
        return [calm] if calm else [], None
    said, asked = _severe_words(scene, case), case.stage is _Stage.ASKED
    told = [(Audience.PATIENT, said, _asked_at(case)) if asked else (Audience.STAFF, said, case.since)]
    if case.paired_at is not None:
        # Where both came together, the patient has not been asked for the second.
        call = _CALL_LATE if _is_late(scene, case.proof[-1]) else _CALL
        told.append((Audience.PATIENT, together((said, call), _NOTHING), case.paired_at))
    findings = [
        scene.finding(
            rule,
            Verdict.RAISE,
            because,
            since,
            [pressure.reading for pressure in case.proof],
            known_at=case.known_at,
            priority=_priority(scene, case),
            audience=audience,
            emergencies=() if case.paired_at is None else [each.reading for each in case.proof],
        )
        for audience, because, since in told
    ]
    return findings, _deadline(scene, case.proof[0]) + _INSTANT if asked else None


def _asked_at(case: _Case) -> datetime:
    """The measurement that the patient is asked to repeat: what came since and does not count is answered."""
    answered = answers(each.reading for each in case.discounted)
    return answered[-1].taken_at if answered else case.since


def _case(scene: Scene, taken: Sequence[Pressure]) -> _Case | None:
    """The case as it stands now, None where there is none."""
    systolic, diastolic = (scene.number(BP_SEVERE, name, MMHG) for name in ("systolic", "diastolic"))
    case: _Case | None = None
    for pressure in taken:
        severe = pressure.systolic >= systolic or pressure.diastolic >= diastolic
        if case or severe:
            case = _next(scene, _overdue(scene, case, pressure.at), pressure, severe=severe)
    return _overdue(scene, case, scene.now)


def _shows_end(scene: Scene, taken: Sequence[Pressure]) -> bool:
    """Whether the newest of readings, by which there is no case, counts; where none is severe any more, two of them.

    What began before all of them may have been a pair.
    """
    sure = [each for each in taken if not each.doubtful and Flag.TIME_FAULT not in each.reading.flags]
    known = any(reaches(scene, BP_SEVERE, each.systolic, each.diastolic) for each in taken)
    return taken[-1:] == sure[-1:] and (known or len(sure) > 1)


def _not_severe(
    scene: Scene, taken: Sequence[Pressure], raising: Collection[str] | None, *, over: bool
) -> Finding | None:
    if not is_heard(BP_SEVERE, raising):
        return None
    newest, limit = taken[-1], limit_words(scene, BP_SEVERE)
    before = [each for each in taken[-2:-1] if not each.doubtful and newest.at - each.at <= SPOT_GAP]
    calm = [*(each for each in before if not reaches(scene, BP_SEVERE, each.systolic, each.diastolic)), newest]
    still = _still_high(scene, newest) if over else _NOTHING
    values = [(each.words, scene.clock(each.at)) for each in calm]
    stand = Text(en="too old or too little to judge by", zh="读数过旧或依据不足，无法判断")
    if over:
        stand = Text(en="below the limit, severe no more", zh="低于限值，已非重度")
    because = Text(
        en=f"Blood pressure {' and '.join(f'{value} at {at}' for value, at in values)}: {stand.en}. "
        f"Limit: {limit.en}.{still.en}",
        zh=f"{'，'.join(f'{at} 血压 {value}' for value, at in values)}：{stand.zh}。限值：{limit.zh}。{still.zh}",
    )
    verdict = Verdict.CLEAR if over else Verdict.HOLD
    return scene.finding(BP_SEVERE, verdict, because, newest.at, [each.reading for each in calm])


def _still_high(scene: Scene, newest: Pressure) -> Text:
    """That a pressure which is severe no more is above the limit of the patient's own rule."""
    pressure = newest.systolic, newest.diastolic
    if not reaches(scene, BP_SESSION_HIGH, *pressure):
        return _NOTHING
    limit = reached_words(scene, BP_SESSION_HIGH, [pressure])
    return Text(en=f" It was still at or above {limit.en}.", zh=f"仍达到或高于 {limit.zh}。")


def _is_crisis(scene: Scene, pressure: Pressure) -> tuple[bool, bool]:
    """Whether the systolic and whether the diastolic pressure is above the limit of a crisis."""
    return (
        pressure.systolic > scene.number(BP_SEVERE, "crisis-systolic", MMHG),
        pressure.diastolic > scene.number(BP_SEVERE, "crisis-diastolic", MMHG),
    )


def _wait(scene: Scene, first: Pressure) -> timedelta:
    return scene.minutes(BP_SEVERE, "wait" if any(_is_crisis(scene, first)) else "wait-severe")


def _deadline(scene: Scene, first: Pressure) -> datetime:
    """Nobody can be asked before the reading has come."""
    return max(first.at, first.reading.received_at) + _wait(scene, first)


def _overdue(scene: Scene, case: _Case | None, moment: datetime) -> _Case | None:
    """A patient who was asked and did not measure in time: the first reading stands alone."""
    if case and case.stage is _Stage.ASKED and moment > (deadline := _deadline(scene, case.proof[0])):
        return case._replace(stage=_Stage.ALONE, known_at=deadline)
    return case


def _next(scene: Scene, case: _Case | None, newest: Pressure, *, severe: bool) -> _Case | None:
    """The case after one more reading."""
    if case is None or (severe and newest.at - case.proof[-1].at > SPOT_GAP):
        before = case if case and case.stage is _Stage.PAIR else case and case.before
        return (
            _Case(_Stage.ASKED, (newest,), newest.at, newest.reading.received_at, before=before) if severe else None
        )
    if newest.doubtful or (Flag.TIME_FAULT in newest.reading.flags and not severe):
        return case._replace(discounted=(*case.discounted, newest))
    if case.stage is _Stage.PAIR:
        if severe:
            return _again(scene, case, case._replace(proof=(case.proof[-1], newest), calm=0))
        return None if case.calm else case._replace(calm=1)
    if newest.at - case.proof[0].at < scene.minutes(BP_SEVERE, "apart"):
        return case._replace(discounted=(*case.discounted, newest))
    if not severe:
        return case.before._replace(calm=1) if case.before else None
    proof, known_at = (case.proof[0], newest), newest.reading.received_at
    return case._replace(stage=_Stage.PAIR, proof=proof, known_at=known_at, paired_at=newest.at)


def _again(scene: Scene, before: _Case, case: _Case) -> _Case:
    """A pair of which one more is severe: whoever measured again as asked, or is worse off, is answered anew."""
    newest, told = case.proof[-1].at, before.paired_at
    asked = told is None or is_answered(told, newest)
    return case._replace(paired_at=newest) if asked or _priority(scene, case) > _priority(scene, before) else case


def _priority(scene: Scene, case: _Case) -> Priority:
    """HIGH when one of the pair is above the limits of a crisis in both pressures; no symptoms are known here."""
    if case.stage is not _Stage.PAIR:
        return BP_SEVERE.priority
    if any(all(_is_crisis(scene, each)) for each in case.proof):
        return Priority.HIGH
    return Priority(int(scene.number(BP_SEVERE, "confirmed", PRIORITY)))


_SYMPTOMS: Final = Text(
    en="with chest or back pain, breathlessness, numbness or weakness, bad headache, or trouble seeing or speaking, "
    "call the emergency number (120 in China) now.",
    zh="如有胸痛或背痛、气促、肢体麻木或无力、剧烈头痛、视物或言语不清，请立即拨打急救电话（中国大陆 120）。",
)
_CALL: Final = Text(
    en=f" Please sit still, call your doctor or clinic now, and measure again in 5 minutes; {_SYMPTOMS.en}",
    zh=f"请静坐，立即联系医生或诊所，5 分钟后再测一次；{_SYMPTOMS.zh}",
)
_CALL_LATE: Final = Text(
    en=" Please sit still and measure again now, and call your doctor or clinic if it is still as high; "
    f"{_SYMPTOMS.en}",
    zh=f"请静坐，现在再测一次，如仍如此之高，请联系医生或诊所；{_SYMPTOMS.zh}",
)


def _is_late(scene: Scene, newest: Pressure) -> bool:
    """Whether it came when a repetition would not have been in time any more."""
    return newest.reading.received_at - newest.at > scene.minutes(BP_SEVERE, "wait-severe")


def _late_words(scene: Scene, newest: Pressure) -> Text:
    return late_words(scene, newest.reading, scene.minutes(BP_SEVERE, "wait-severe"))


def _severe_words(scene: Scene, case: _Case) -> Text:
    first = case.proof[0]
    limit = reached_words(scene, BP_SEVERE, [(each.systolic, each.diastolic) for each in case.proof])
    at, late = scene.clock(first.at), _late_words(scene, case.proof[-1])
    if case.stage is _Stage.ASKED:
        when = Text(en="now", zh="现在") if late.en else Text(en="in 1 to 5 minutes", zh="1 至 5 分钟后")
        then = together((late, _misuse_words(case.proof), _discounted_words(scene, case)), _NOTHING)
        return Text(
            en=f"Blood pressure {first.words} at {at}, at or above {limit.en}.{then.en} Please sit still and measure "
            f"again {when.en}; {_SYMPTOMS.en}",
            zh=f"{at} 血压 {first.words}，达到或高于 {limit.zh}。{then.zh}请静坐，{when.zh}再测一次；{_SYMPTOMS.zh}",
        )
    if case.stage is _Stage.ALONE:
        came = Text(en="that counts came", zh="有效的") if case.discounted else Text(en="came", zh="")
        crisis, wait = _crisis_words(scene, first), _wait(scene, first) // MINUTE
        what = together((late, _misuse_words(case.proof), _discounted_words(scene, case)), _NOTHING)
        return Text(
            en=f"Blood pressure {first.words} at {at}, at or above {limit.en}{crisis.en}, on one reading alone: "
            f"the patient was asked for a second and none {came.en} within {wait} min.{what.en}",
            zh=f"{at} 血压 {first.words}，达到或高于 {limit.zh}{crisis.zh}，仅一次读数："
            f"已请患者复测，{wait} 分钟内未收到{came.zh}第二次。{what.zh}",
        )
    second = case.proof[1]
    then = together((_doubt(case.proof), _misuse_words(case.proof), late), _NOTHING)
    return Text(
        en=f"Blood pressure {first.words} at {at} and {second.words} at {scene.clock(second.at)}, "
        f"both at or above {limit.en}.{then.en}",
        zh=f"{at} 血压 {first.words}，{scene.clock(second.at)} 复测 {second.words}，"
        f"均达到或高于 {limit.zh}。{then.zh}",
    )


def _crisis_words(scene: Scene, first: Pressure) -> Text:
    """The limit by which staff hear of one reading alone so soon."""
    above = dict(zip(_SIDES, ([each] for each in _is_crisis(scene, first)), strict=True))
    if not any(_is_crisis(scene, first)):
        return _NOTHING
    limit = _broken_words(scene, BP_SEVERE, above, "crisis-")
    return Text(en=f" and above {limit.en}", zh=f"，且高于 {limit.zh}")


def _misuse_words(proof: Iterable[Pressure]) -> Text:
    """What the cuff itself says was wrong with readings that are told all the same."""
    parts = [
        Text(en=f" Of {each.words} the cuff says: {said.en}.", zh=f"{each.words} 测量时血压计提示：{said.zh}。")
        for each in proof
        for flag, said in _MISUSE_WORDS.items()
        if flag in each.reading.flags
    ]
    return together(dict.fromkeys(parts), _NOTHING)


def _discounted_words(scene: Scene, case: _Case) -> Text:
    """What came after a severe reading and does not count, and why."""
    if not case.discounted:
        return _NOTHING
    parts = [
        (each.words, scene.clock(each.at)[-5:], _why_discounted(each, each.at - case.proof[0].at))
        for each in case.discounted
    ]
    return Text(
        en=f" Not counted: {'; '.join(f'{value} at {at} ({why.en})' for value, at, why in parts)}.",
        zh=f"未计入：{'；'.join(f'{at} {value}（{why.zh}）' for value, at, why in parts)}。",
    )


def _why_discounted(pressure: Pressure, after: timedelta) -> Text:
    for flag, said in _MISUSE_WORDS.items():
        if flag in pressure.reading.flags:
            return said
    if pressure.doubtful:
        return Text(
            en=f"pulse pressure {pressure.systolic - pressure.diastolic:.0f} mmHg",
            zh=f"脉压 {pressure.systolic - pressure.diastolic:.0f} mmHg",
        )
    if Flag.TIME_FAULT in pressure.reading.flags:
        return Text(en="time uncertain", zh="时间存疑")
    return Text(
        en=f"only {after.total_seconds():.0f} s after the first", zh=f"距第一次仅 {after.total_seconds():.0f} 秒"
    )


# Sessions


def _sessions(scene: Scene, taken: Sequence[Pressure]) -> list[list[Pressure]]:
    apart = scene.minutes(BP_SESSION_HIGH, "session")
    sessions: list[list[Pressure]] = []
    for pressure in taken:
        if sessions and pressure.at - sessions[-1][-1].at <= apart:
            sessions[-1].append(pressure)
        else:
            sessions.append([pressure])
    return sessions


def _judged(session: Sequence[Pressure]) -> Sequence[Pressure]:
    """The last two of a session that are in no doubt; fewer where there are not two."""
    return [each for each in session if not each.doubtful and math.isfinite(each.systolic)][-2:]


def _mean(pair: Sequence[Pressure]) -> tuple[float, float]:
    first, second = pair
    return (first.systolic + second.systolic) / 2, (first.diastolic + second.diastolic) / 2


def _is_high(scene: Scene, session: Sequence[Pressure]) -> bool:
    pair = _judged(session)
    return (
        len(pair) == 2
        and pair[0].agrees(pair[1])
        and reaches(scene, BP_SESSION_HIGH, *_mean(pair))
        and reaches(scene, BP_SESSION_HIGH, pair[1].systolic, pair[1].diastolic)
    )


def _is_very_high(scene: Scene, session: Sequence[Pressure]) -> bool:
    return _is_high(scene, session) and reaches(scene, BP_SESSION_HIGH, *_mean(_judged(session)), "staff-")


_GO_ON: Final = Text(
    en=" Please rest, and go on measuring at your usual times; bring these values to your next visit.",
    zh="请休息，并按平时的时间继续测量；下次就诊时请出示这些数值。",
)


def _session_high(
    scene: Scene, sessions: Sequence[Sequence[Pressure]], raising: Collection[str] | None
) -> Finding | None:
    rule, session = BP_SESSION_HIGH, sessions[-1]
    if not _is_high(scene, session) or not scene.fresh(rule, "fresh-meter", session[-1].reading):
        return _not_high(scene, session, raising)
    limit = reached_words(scene, rule, [_mean(_judged(session))])
    said = _session_words(scene, session, Text(en="at or above", zh="达到或高于"), limit)
    very_high = [each for each in sessions if scene.now - each[0].at < _WEEK and _is_very_high(scene, each)]
    days = {scene.day(each[0].at) for each in very_high}
    lasts = _is_very_high(scene, session) and len(days) >= scene.number(rule, "staff-days", DAYS)
    if lasts:
        limit = reached_words(scene, rule, [_mean(_judged(each)) for each in very_high], "staff-")
        said = Text(
            en=f"{said.en} On {len(days)} of the last 7 days at or above {limit.en}.",
            zh=f"{said.zh}近 7 天中有 {len(days)} 天达到或高于 {limit.zh}。",
        )
    else:
        said = Text(en=said.en + _GO_ON.en, zh=said.zh + _GO_ON.zh)
    return scene.finding(
        rule,
        Verdict.RAISE,
        said,
        _onset(scene, sessions, _is_very_high if lasts else _is_high),
        [each.reading for each in _judged(session)],
        audience=Audience.STAFF if lasts else Audience.PATIENT,
    )


def _not_high(scene: Scene, session: Sequence[Pressure], raising: Collection[str] | None) -> Finding | None:
    rule, pair, newest = BP_SESSION_HIGH, _judged(session), session[-1]
    if not is_heard(rule, raising):
        return None
    verdict = Verdict.HOLD
    if len(pair) < 2:
        at = scene.clock(newest.at)
        because = Text(
            en=f"Blood pressure {newest.words} at {at}: one good reading alone is not judged; two in a session are "
            "averaged.",
            zh=f"{at} 血压 {newest.words}：仅一次可靠读数不作判断，每次测量取两次平均。",
        )
    elif not pair[0].agrees(pair[1]):
        at, (first, second) = scene.clock(session[0].at), (each.words for each in pair)
        because = Text(
            en=f"Blood pressure {first} and {second}, session of {at}: they contradict each other and have no mean.",
            zh=f"{at} 血压 {first} 与 {second}：相互矛盾，不取平均。",
        )
    elif reaches(scene, rule, *_mean(pair), "clear-"):
        stand = Text(en="too old or too little to raise, not yet below", zh="读数过旧或依据不足，尚未低于")
        because = _session_words(scene, session, stand, limit_words(scene, rule, "clear-"))
    else:
        verdict, stand = Verdict.CLEAR, Text(en="below", zh="低于")
        because = _session_words(scene, session, stand, limit_words(scene, rule, "clear-"))
    evidence = [each.reading for each in pair] or [newest.reading]
    return scene.finding(rule, verdict, because, session[0].at, evidence, audience=Audience.PATIENT)


def _session_words(scene: Scene, session: Sequence[Pressure], stand: Text, limit: Text) -> Text:
    pair, at = _judged(session), scene.clock(session[0].at)
    (systolic, diastolic), (first, second) = _mean(pair), (each.words for each in pair)
    return Text(
        en=f"Home blood pressure {systolic:.0f}/{diastolic:.0f} mmHg (mean of {first} and {second}, session of "
        f"{at}), {stand.en} {limit.en}.",
        zh=f"家庭血压 {systolic:.0f}/{diastolic:.0f} mmHg（{at} 测量，{first} 与 {second} 的平均值），"
        f"{stand.zh} {limit.zh}。",
    )


def _onset(
    scene: Scene, sessions: Sequence[Sequence[Pressure]], is_so: Callable[[Scene, Sequence[Pressure]], bool]
) -> datetime:
    """The first such session of the patient's week, so that a trouble of most days is told once a week."""
    week = scene.week_of(sessions[-1][0].at)
    return next(each[0].at for each in sessions if each[0].at >= week and is_so(scene, each))


# Low


def _is_low(scene: Scene, pressure: Pressure) -> bool:
    return pressure.systolic < scene.number(BP_LOW, "systolic", MMHG) or pressure.diastolic < scene.number(
        BP_LOW, "diastolic", MMHG
    )


def _low_row(taken: Sequence[Pressure], is_low: Callable[[Pressure], bool]) -> list[Pressure]:
    """The newest low readings, oldest first, up to one in no doubt that is not low."""
    row: list[Pressure] = []
    for each in reversed(taken):
        if row and row[-1].at - each.at > SPOT_GAP:
            break
        if is_low(each):
            row.append(each)
        elif not each.doubtful and Flag.TIME_FAULT not in each.reading.flags:
            break
    return row[::-1]


def _low(
    scene: Scene, taken: Sequence[Pressure], sessions: Sequence[Sequence[Pressure]], raising: Collection[str] | None
) -> tuple[list[Finding], datetime | None]:
    rule, row = BP_LOW, _low_row(taken, lambda each: _is_low(scene, each))
    if not row or not scene.fresh(rule, "fresh-meter", row[-1].reading):
        calm = _not_low(scene, taken[-1], raising)
        return [calm] if calm else [], None
    sure = [each for each in row if not each.doubtful][-2:]
    confirmed = len(sure) == 2 and sure[1].at - sure[0].at <= scene.minutes(BP_SESSION_HIGH, "session")
    deadline = _low_deadline(scene, row)
    alone = not confirmed and deadline is not None and scene.now > deadline
    proof = sure if confirmed else row[-2:] if alone else row[-1:]
    very = alone or (confirmed and any(_is_very_low(scene, each) for each in proof))
    for_staff, since = confirmed or alone, _low_since(scene, sessions, row)
    audiences = [Audience.STAFF] if for_staff else []
    # Where both came together, the patient has not been asked for the second.
    if not for_staff or (confirmed and came_together(each.reading for each in row)):
        audiences.append(Audience.PATIENT)
    findings = [
        scene.finding(
            rule,
            Verdict.RAISE,
            _low_words(scene, proof, asked=audience is Audience.PATIENT, alone=alone),
            _asked_since(scene, row, since) if audience is Audience.PATIENT else since,
            [each.reading for each in proof],
            known_at=deadline if alone else None,
            priority=Priority.MEDIUM if very else rule.priority,
            audience=audience,
            emergencies=[each.reading for each in proof if _is_very_low(scene, each)] if very else (),
        )
        for audience in audiences
    ]
    return findings, deadline + _INSTANT if deadline and not for_staff else None


_IF_FAINT: Final = Text(en=" If you faint or feel very unwell, call for help.", zh="如晕倒或明显不适，请呼救。")


def _is_very_low(scene: Scene, pressure: Pressure) -> bool:
    return pressure.systolic < scene.number(BP_LOW, "very-low-systolic", MMHG)


def _low_deadline(scene: Scene, row: Sequence[Pressure]) -> datetime | None:
    """By when something better is to come; None where none of the row is very low."""
    first = next((each for each in row if _is_very_low(scene, each)), None)
    return max(first.at, first.reading.received_at) + scene.minutes(BP_LOW, "wait") if first else None


def _low_since(scene: Scene, sessions: Sequence[Sequence[Pressure]], row: Sequence[Pressure]) -> datetime:
    """The first low session of the patient's week, as with those that are high."""
    week = scene.week_of(sessions[-1][0].at)
    return min([row[-1].at, *(each[0].at for each in sessions if each[0].at >= week and _is_low(scene, each[-1]))])


def _asked_since(scene: Scene, row: Sequence[Pressure], since: datetime) -> datetime:
    """Of a very low one the patient hears each time, and not once a week: staff are told that they were asked."""
    return next((each.at for each in row if _is_very_low(scene, each)), since)


def _low_words(scene: Scene, proof: Sequence[Pressure], *, asked: bool, alone: bool) -> Text:
    doubt = _doubt(proof)
    least = {name: scene.number(BP_LOW, name, MMHG) for name in _SIDES}
    limit = _broken_words(
        scene, BP_LOW, {name: [getattr(each, name) < least[name] for each in proof] for name in _SIDES}
    )
    wait = scene.minutes(BP_LOW, "wait") // MINUTE
    more, late = _NOTHING, _late_words(scene, proof[-1])
    if asked and late.en:
        more = Text(
            en=" Please sit or lie down and measure again now; if you faint or feel very unwell, call for help.",
            zh="请坐下或躺下，现在再测一次；如晕倒或明显不适，请呼救。",
        )
    elif asked:
        more = Text(
            en=" Please sit or lie down, drink a glass of water and measure again in 5 min; if you faint or feel "
            "very unwell, call for help.",
            zh="请坐下或躺下，饮一杯水，5 分钟后复测；如晕倒或明显不适，请呼救。",
        )
    elif alone:
        more = Text(
            en=f" The patient was asked to measure again, and nothing better came within {wait} min.",
            zh=f"已请患者复测，{wait} 分钟内未见好转的读数。",
        )
    moments = [(each.words, scene.clock(each.at)) for each in proof]
    then = together((_very_low_words(scene, proof), doubt, _misuse_words(proof), late, more), _NOTHING)
    return Text(
        en=f"Blood pressure {' and '.join(f'{value} at {at}' for value, at in moments)}: below {limit.en}.{then.en}",
        zh=f"{'，'.join(f'{at} 血压 {value}' for value, at in moments)}：低于 {limit.zh}。{then.zh}",
    )


def _very_low_words(scene: Scene, proof: Iterable[Pressure]) -> Text:
    """The limit by which one alone is enough, or a pair more urgent."""
    if not any(_is_very_low(scene, each) for each in proof):
        return _NOTHING
    limit = _side_words(scene, BP_LOW, "systolic", "very-low-")
    return Text(en=f" Very low: below {limit.en}.", zh=f"严重偏低：低于 {limit.zh}。")


def _not_low(scene: Scene, newest: Pressure, raising: Collection[str] | None) -> Finding | None:
    if not is_heard(BP_LOW, raising):
        return None
    least = [scene.number(BP_LOW, f"clear-{name}", MMHG) for name in ("systolic", "diastolic")]
    over = not newest.doubtful and newest.systolic >= least[0] and newest.diastolic >= least[1]
    stand = Text(en="not low" if over else "near the limit, or old", zh="不低" if over else "接近限值，或读数过旧")
    at, limit = scene.clock(newest.at), limit_words(scene, BP_LOW)
    because = Text(
        en=f"Blood pressure {newest.words} at {at}: {stand.en}. Limit: {limit.en}.",
        zh=f"{at} 血压 {newest.words}：{stand.zh}。限值：{limit.zh}。",
    )
    verdict = Verdict.CLEAR if over else Verdict.HOLD
    return scene.finding(BP_LOW, verdict, because, newest.at, (newest.reading,), audience=Audience.PATIENT)

"""Blood-pressure detectors: the mean of a session, and a severe reading that is never judged alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from alerts.alert import Audience, Finding, Priority, Text, Verdict
from alerts.rules import BLOOD_PRESSURE_HIGH, BLOOD_PRESSURE_SEVERE, MMHG, Rule
from alerts.scene import MINUTE, SPOT_GAP, Scene
from ingest.reading import Reading


class Pressure(NamedTuple):
    """A reading with both pressures, in mmHg."""

    reading: Reading
    systolic: float
    diastolic: float

    @property
    def at(self) -> datetime:
        """When it was taken."""
        return self.reading.taken_at

    @property
    def words(self) -> str:
        """Systolic/diastolic in the unit received."""
        systolic, diastolic = self.reading.sent[:2]
        return f"{systolic:g}/{diastolic:g} {self.reading.unit}"


def pressures(readings: Iterable[Reading]) -> list[Pressure]:
    """The readings that have both pressures, in the same order."""
    whole = []
    for reading in readings:
        systolic, diastolic = reading.values[:2]
        if systolic is not None and diastolic is not None:
            whole.append(Pressure(reading, systolic, diastolic))
    return whole


def high(scene: Scene, taken: Sequence[Pressure]) -> Finding:
    """Judge the mean of the last two readings of the newest session; taken: at least one, oldest first.

    First readings are often too high: a mean that only the first of the two carries over the limit raises nothing.
    """
    rule = BLOOD_PRESSURE_HIGH
    session = _last_session(scene, taken)
    if len(session) == 1:
        return _one_reading(scene, session[0])
    first, second = session[-2:]
    mean = ((first.systolic + second.systolic) / 2, (first.diastolic + second.diastolic) / 2)
    raised = _reaches(scene, rule, *mean)
    confirmed = raised and _reaches(scene, rule, second.systolic, second.diastolic)
    if confirmed and scene.fresh(rule, "fresh-meter", second.reading):
        verdict, limit, stand = Verdict.RAISE, _limit(scene, rule), Text(en="at or above", zh="达到或高于")
    elif raised or _reaches(scene, rule, *mean, prefix="clear-"):
        verdict, limit = Verdict.HOLD, _limit(scene, rule, "clear-")
        stand = Text(en="too old or too little to raise, not yet below", zh="读数过旧或依据不足，尚未低于")
    else:
        verdict, limit, stand = Verdict.CLEAR, _limit(scene, rule, "clear-"), Text(en="below", zh="低于")
    at = scene.clock(session[0].at)
    because = Text(
        en=f"Home blood pressure {mean[0]:.0f}/{mean[1]:.0f} mmHg (mean of {first.words} and {second.words}, "
        f"session of {at}), {stand.en} {limit.en}.",
        zh=f"家庭血压 {mean[0]:.0f}/{mean[1]:.0f} mmHg（{at} 测量，{first.words} 与 {second.words} 的平均值），"
        f"{stand.zh} {limit.zh}。",
    )
    return scene.finding(rule, verdict, because, session[0].at, (first.reading, second.reading))


def _one_reading(scene: Scene, one: Pressure) -> Finding:
    at = scene.clock(one.at)
    because = Text(
        en=f"Blood pressure {one.words} at {at}: one reading alone is not judged; two in a session are averaged.",
        zh=f"{at} 血压 {one.words}：仅一次读数不作判断，每次测量取两次平均。",
    )
    return scene.finding(BLOOD_PRESSURE_HIGH, Verdict.HOLD, because, one.at, (one.reading,))


def _reaches(scene: Scene, rule: Rule, systolic: float, diastolic: float, *, prefix: str = "") -> bool:
    limits = scene.limits
    return systolic >= limits.value(rule.name, f"{prefix}systolic", MMHG) or diastolic >= limits.value(
        rule.name, f"{prefix}diastolic", MMHG
    )


def _limit(scene: Scene, rule: Rule, prefix: str = "") -> Text:
    limits = scene.limits
    systolic, diastolic = (limits.value(rule.name, f"{prefix}{name}", MMHG) for name in ("systolic", "diastolic"))
    source = limits.source(rule.name, f"{prefix}systolic", MMHG)
    return Text(
        en=f"{systolic:g}/{diastolic:g} mmHg ({source.en})", zh=f"{systolic:g}/{diastolic:g} mmHg（{source.zh}）"
    )


def _last_session(scene: Scene, taken: Sequence[Pressure]) -> Sequence[Pressure]:
    """The newest readings of which each follows the one before within the session time."""
    apart = scene.minutes(BLOOD_PRESSURE_HIGH, "session")
    first = len(taken) - 1
    while first and taken[first].at - taken[first - 1].at <= apart:
        first -= 1
    return taken[first:]


class _Stage(Enum):
    """How far the case of a severe blood pressure has come."""

    ASKED = "one severe reading; the patient is asked for a second"
    ALONE = "one severe reading, and no second came in time"
    PAIR = "two severe readings, the newest two are the proof"


class _Case(NamedTuple):
    """A stage, the readings that prove it, and when it was known that staff or the patient must hear of it."""

    stage: _Stage
    proof: tuple[Pressure, ...]
    since: datetime
    known_at: datetime


def severe(scene: Scene, taken: Sequence[Pressure]) -> Finding:
    """Judge severe readings; taken: at least one, oldest first.

    The first one asks the patient for a second. A second severe one raises on the pair, none within the waiting time
    raises on the first alone, and a second that is not severe ends the case. A severe reading that comes long after
    the last severe one begins a new case.
    """
    rule, newest = BLOOD_PRESSURE_SEVERE, taken[-1]
    case: _Case | None = None
    for index, pressure in enumerate(taken):
        case = _next(scene, _overdue(scene, case, pressure.at), taken[: index + 1])
    case = _overdue(scene, case, scene.now)
    if case is None:
        limit, at = _limit(scene, rule), scene.clock(newest.at)
        because = Text(
            en=f"Blood pressure {newest.words} at {at}: not severe, or not confirmed by a second reading. "
            f"Limit: {limit.en}.",
            zh=f"{at} 血压 {newest.words}：未达重度，或复测未确认。限值：{limit.zh}。",
        )
        return scene.finding(rule, Verdict.CLEAR, because, newest.at, (newest.reading,))
    if not scene.fresh(rule, "fresh-meter", newest.reading):
        at = scene.clock(newest.at)
        because = Text(
            en=f"Blood pressure {newest.words} at {at}: too old to judge by.",
            zh=f"{at} 血压 {newest.words}：读数过旧，无法判断。",
        )
        return scene.finding(rule, Verdict.HOLD, because, newest.at, (newest.reading,))
    return scene.finding(
        rule,
        Verdict.RAISE,
        _because(scene, case),
        case.since,
        [pressure.reading for pressure in case.proof],
        known_at=case.known_at,
        priority=_priority(scene, case),
        audience=Audience.PATIENT if case.stage is _Stage.ASKED else Audience.STAFF,
    )


def _overdue(scene: Scene, case: _Case | None, moment: datetime) -> _Case | None:
    """A patient who was asked and did not measure in time: the first reading stands alone."""
    if case and case.stage is _Stage.ASKED and moment > (deadline := _deadline(scene, case.proof[0])):
        return case._replace(stage=_Stage.ALONE, known_at=deadline)
    return case


def _deadline(scene: Scene, first: Pressure) -> datetime:
    """Nobody can be asked before the reading has come."""
    return max(first.at, first.reading.received_at) + scene.minutes(BLOOD_PRESSURE_SEVERE, "wait")


def _next(scene: Scene, case: _Case | None, taken: Sequence[Pressure]) -> _Case | None:
    """The case after the newest of these readings."""
    newest = taken[-1]
    is_severe = _reaches(scene, BLOOD_PRESSURE_SEVERE, newest.systolic, newest.diastolic)
    if case is None or (is_severe and newest.at - case.proof[-1].at > SPOT_GAP):
        return _Case(_Stage.ASKED, (newest,), newest.at, newest.reading.received_at) if is_severe else None
    if case.stage is _Stage.PAIR:
        if is_severe:
            return case._replace(proof=(case.proof[-1], newest))
        return None if _calm_session(scene, taken) else case
    if newest.at - case.proof[0].at < scene.minutes(BLOOD_PRESSURE_SEVERE, "apart"):
        return case
    if not is_severe:
        return None
    return case._replace(stage=_Stage.PAIR, proof=(case.proof[0], newest), known_at=newest.reading.received_at)


def _calm_session(scene: Scene, taken: Sequence[Pressure]) -> bool:
    """Two readings raised it, so two of one session must end it."""
    last = _last_session(scene, taken)[-2:]
    return len(last) == 2 and not any(_reaches(scene, BLOOD_PRESSURE_SEVERE, each[1], each[2]) for each in last)


def _priority(scene: Scene, case: _Case) -> Priority:
    """HIGH when both readings are above the crisis limits in systolic and diastolic; no symptoms are known here."""
    limits, rule = scene.limits, BLOOD_PRESSURE_SEVERE
    systolic, diastolic = (limits.value(rule.name, f"crisis-{name}", MMHG) for name in ("systolic", "diastolic"))
    crisis = all(each.systolic > systolic and each.diastolic > diastolic for each in case.proof)
    return Priority.HIGH if case.stage is _Stage.PAIR and crisis else rule.priority


def _because(scene: Scene, case: _Case) -> Text:
    first, limit = case.proof[0], _limit(scene, BLOOD_PRESSURE_SEVERE)
    at, wait = scene.clock(first.at), scene.minutes(BLOOD_PRESSURE_SEVERE, "wait") // MINUTE
    if case.stage is _Stage.ASKED:
        return Text(
            en=f"Blood pressure {first.words} at {at}, at or above {limit.en}: please sit still and measure again "
            "in 1 to 5 minutes; with chest pain, breathlessness, weakness, or trouble seeing or speaking, "
            "call the emergency number now.",
            zh=f"{at} 血压 {first.words}，达到或高于 {limit.zh}：请静坐，1 至 5 分钟后再测一次；"
            "如有胸痛、气促、肢体无力、视物或言语不清，请立即拨打急救电话。",
        )
    if case.stage is _Stage.ALONE:
        return Text(
            en=f"Blood pressure {first.words} at {at}, at or above {limit.en}, on one reading alone: "
            f"the patient was asked for a second and none came within {wait} min.",
            zh=f"{at} 血压 {first.words}，达到或高于 {limit.zh}，仅一次读数："
            f"已请患者复测，{wait} 分钟内未收到第二次。",
        )
    second = case.proof[1]
    return Text(
        en=f"Blood pressure {first.words} at {at} and {second.words} at {scene.clock(second.at)}, "
        f"both at or above {limit.en}.",
        zh=f"{at} 血压 {first.words}，{scene.clock(second.at)} 复测 {second.words}，均达到或高于 {limit.zh}。",
    )

"""Spot measurements, a few a day: what to judge at each new one, at deadlines, and in the review of the days. Pure.

`judge` looks at a short list of recent readings, whenever one more has come and when `Judged.again` has passed. What
it finds is how the patient is; an emergency that was over when its readings came, for better ones came with them or
before them, staff hear of by `passed`.
What came only when it was too old to be told, staff and the patient hear of by `late`.
`review` looks at two weeks, once a day or once a week; what it asks the patient for waits for the waking hours
(`reminders`). Nothing is remembered: the same readings and the same moment give the same findings, in whatever order
they came. A reading that came twice is to be given once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from alerts import contradiction, cuff, cuff_review, meter, plan
from alerts.alert import Audience, Finding, Text, Verdict, together
from alerts.plan import Plan
from alerts.scene import SPOT_GAP, Judged, Scene, one_after_the_other
from alerts.spot_rules import KETONE, LATE_EMERGENCY
from ingest.reading import EPOCH, Reading
from ingest.vital import Vital

# How far back `judge` looks. A trouble of most days is told once a week, so most readings reach back for one.
SPAN: Final[Mapping[Vital, timedelta]] = {
    Vital.GLUCOSE: timedelta(days=8),
    Vital.KETONE: timedelta(days=8),
    Vital.BLOOD_PRESSURE: timedelta(days=8),
    Vital.CGM: timedelta(minutes=30),
}
# The newest of a vital that are judged, so that a device gone mad, which sends one after the other, keeps nobody else
# waiting. Of one that sends every second they reach back for the half hour after which staff hear of a very low.
MOST: Final = 2000
# Of a device gone mad so many ends of rows are looked at, the newest; each takes as long as all its readings do.
_MOST_ENDS: Final = 50
REVIEW_SPAN: Final = timedelta(days=15)
# What is older when it comes is past, and nothing is to be done about it.
_LATEST: Final = timedelta(days=7)
_TOLD: Final = 3  # of emergencies that came late together; the others are counted
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_NOTHING: Final = Text(en="", zh="")
NOBODY: Final[Mapping[str, datetime]] = {}

Taken = Mapping[Vital, Sequence[Reading]]
_IS_GRAVE: Final[Mapping[Vital, Callable[[Scene, Reading], bool]]] = {
    Vital.GLUCOSE: meter.is_grave,
    Vital.KETONE: meter.is_grave,
    Vital.BLOOD_PRESSURE: cuff.is_grave,
}


def judge(
    scene: Scene,
    taken: Taken,
    *,
    raising: Collection[str] | None = None,
    low_since: Callable[[datetime], datetime] = meter.as_measured,
) -> Judged:
    """Judge recent readings, oldest first, by vital.

    A sensor's are those since the low ones of the meter began, and the newest; they only end and contradict here.
    raising: the rules that hold up an alert of the patient; of the others only a RAISE is found, for nothing else of
    them is heard. None: every finding. low_since: as in `meter`.
    """
    glucose, sensor, pressures = (taken.get(vital, ()) for vital in (Vital.GLUCOSE, Vital.CGM, Vital.BLOOD_PRESSURE))
    ketones = taken.get(Vital.KETONE, ())
    of_meter = meter.judge(scene, glucose, ketones, sensor, raising=raising, low_since=low_since)
    of_cuff = cuff.judge(scene, pressures, raising=raising)
    against = contradiction.judge(scene, glucose, sensor, pressures, ketones, raising=raising)
    doubted = contradiction.in_doubt(scene, glucose, sensor, pressures, ketones)
    moments = [each.again for each in (of_meter, of_cuff) if each.again]
    of_strips = [
        _held(each, Vital.KETONE if each.rule == KETONE.name else Vital.GLUCOSE, doubted)
        for each in of_meter.findings
    ]
    of_pressures = [_held(each, Vital.BLOOD_PRESSURE, doubted) for each in of_cuff.findings]
    findings = (*of_strips, *of_pressures, *against)
    return Judged(_heard(findings, raising), min(moments, default=None))


def row_began(glucose: Sequence[Reading]) -> datetime:
    """When the first was taken of the readings up to the newest that follow each other so that they are one trouble.

    No longer ago than a day, after which nothing is told of them.
    """
    began = glucose[-1].taken_at
    for each in reversed(glucose):
        if began - each.taken_at > SPOT_GAP or glucose[-1].taken_at - each.taken_at > _DAY:
            break
        began = each.taken_at
    return began


def _held(finding: Finding, vital: Vital, doubted: Collection[Vital]) -> Finding:
    """A value that cannot be believed beside another one ends nothing, until a third says which is right."""
    over = finding.verdict is Verdict.CLEAR and vital in doubted
    return replace(finding, verdict=Verdict.HOLD) if over else finding


def passed(scene: Scene, taken: Taken, came: frozenset[str]) -> list[Finding]:
    """The emergencies of which staff would have heard, had each reading been judged before the next was taken.

    taken: as for `judge`. came: keys of the readings that came since it judged last; nothing is found that the others
    show as well. Each emergency is found once, by its rule and onset.
    """
    found: dict[tuple[str, datetime], Finding] = {}
    for then in _as_it_was(scene, taken, came):
        emergencies = _emergencies(scene, then)
        if not emergencies:
            continue
        known = _emergencies(
            scene, {vital: [each for each in readings if each.key not in came] for vital, readings in then.items()}
        )
        for each in emergencies:
            if not any(_says_as_much(one, each) for one in known):
                found[each.rule, each.since] = each
    return list(found.values())


def _emergencies(scene: Scene, taken: Taken) -> list[Finding]:
    return [each for each in judge(scene, taken, raising=()).findings if _for_staff(each) and each.emergency_at]


def _says_as_much(one: Finding, other: Finding) -> bool:
    same = one.rule == other.rule and not set(one.evidence).isdisjoint(other.evidence)
    return same and one.priority >= other.priority


def _as_it_was(scene: Scene, taken: Taken, came: frozenset[str]) -> Iterator[Taken]:
    """What had been taken when a row of readings ended that may be an emergency, and at the reading behind it.

    From the first that came on. The reading behind may be milder and still show that nothing is over.
    """
    for vital, is_grave in _IS_GRAVE.items():
        readings = taken.get(vital, ())
        grave = [is_grave(scene, each) for each in readings]
        near = [later.taken_at - each.taken_at <= SPOT_GAP for each, later in pairwise(readings)]
        first = next((place for place, each in enumerate(readings) if each.key in came), len(readings))
        ends = []
        for place in range(first, len(readings)):
            goes_on = place < len(near) and near[place] and grave[place + 1]
            behind = place > 0 and near[place - 1] and grave[place - 1]
            if (grave[place] or behind) and not goes_on:
                ends.append(place + 1)
        for end in ends[-_MOST_ENDS:]:
            yield {vital: readings[:end], **_sensor_before(taken, vital, readings[end - 1])}


def _sensor_before(taken: Taken, vital: Vital, last: Reading) -> Taken:
    """What a sensor had shown of glucose by then."""
    if vital is not Vital.GLUCOSE:
        return {}
    return {Vital.CGM: [each for each in taken.get(Vital.CGM, ()) if each.taken_at <= last.taken_at]}


def late(
    scene: Scene, taken: Taken, came: frozenset[str], worn: Mapping[str, datetime], raising: Collection[str]
) -> list[Finding]:
    """The emergencies that were too old to be told when they came, as one for staff and one for the patient.

    worn: since when each device is known to be worn; what was measured before is past. The patient is asked only
    about what nothing newer has followed. Over when the newest of no vital may be an emergency.
    """
    told, asked = [], []
    for newest, found in _too_late(scene, taken, came, worn):
        told += [each for each in found if _for_staff(each)]
        if newest is _newest(taken, newest.vital):
            asked += [each.because for each in found if asks_patient(each)]
    found = [_told_late(scene, told)] if told else []
    if asked:
        arrival = found[0].since
        # Of what a device sends in several messages the patient hears once.
        since = arrival - (arrival - EPOCH) % _HOUR
        because = together(asked)
        found.append(replace(found[0], because=because, since=since, audience=Audience.PATIENT, emergency_at=None))
    if (told or LATE_EMERGENCY.name in raising) and (over := _is_over(scene, taken)):
        found.append(over)
    return found


def _too_late(
    scene: Scene, taken: Taken, came: frozenset[str], worn: Mapping[str, datetime]
) -> Iterator[tuple[Reading, list[Finding]]]:
    """The last reading of each row that was too old when it came, and what would have been told of it in its time."""
    told = {key for each in _emergencies(scene, taken) for key in each.evidence}
    for then in _as_it_was(scene, taken, came):
        newest = next(iter(then.values()))[-1]
        known = worn.get(newest.device)
        if known is None or newest.taken_at < known or newest.key in told:
            continue
        if scene.now - newest.taken_at > _LATEST or _emergencies(scene._replace(now=newest.received_at), then):
            continue
        found = judge(scene._replace(now=newest.taken_at), then, raising=()).findings
        grave = {each.rule for each in found if _for_staff(each) and each.emergency_at}
        if grave:
            yield newest, [each for each in found if each.rule in grave]


def _newest(taken: Taken, vital: Vital) -> Reading | None:
    """The newest that says how it is with a vital: of glucose, a sensor's as well."""
    vitals = (vital, Vital.CGM) if vital is Vital.GLUCOSE else (vital,)
    last = [readings[-1] for each in vitals if (readings := taken.get(each))]
    return max(last, key=lambda each: each.taken_at, default=None)


def _told_late(scene: Scene, told: Sequence[Finding]) -> Finding:
    """Several as one. It begins with its arrival, so that what comes after a closing is told."""
    named = sorted(told, key=lambda each: each.since)[-_TOLD:]
    said = one_after_the_other([each.because for each in named], scene.zone)
    first = Text(en="Too old to be told as urgent when it came: ", zh="到达时已过久，未能及时通知：")
    rest = len(told) - len(named)
    more = Text(en=f" Others in the same delivery: {rest}.", zh=f"同批另有 {rest} 项。") if rest else _NOTHING
    came = max(each.known_at for each in told)
    return replace(
        named[-1],
        rule=LATE_EMERGENCY.name,
        problem=LATE_EMERGENCY.problem,
        priority=LATE_EMERGENCY.priority,
        because=together((first, said, more), _NOTHING),
        since=came,
        known_at=came,
        evidence=tuple(dict.fromkeys(key for each in told for key in each.evidence)),
        emergency_at=came,
    )


def _is_over(scene: Scene, taken: Taken) -> Finding | None:
    newest = [each for vital in _IS_GRAVE if (each := _newest(taken, vital))]
    if not newest or any(each.vital in _IS_GRAVE and _IS_GRAVE[each.vital](scene, each) for each in newest):
        return None
    last = max(newest, key=lambda each: each.taken_at)
    at = scene.clock(last.taken_at)
    because = Text(
        en=f"Measured again: the newest value, of {at}, is no longer dangerous.",
        zh=f"已复测：{at} 的最新数值已不危险。",
    )
    return scene.finding(LATE_EMERGENCY, Verdict.CLEAR, because, last.taken_at, (last,))


def _late_in_the_week(scene: Scene, taken: Taken, worn: Mapping[str, datetime]) -> list[Finding]:
    """A line of the weekly list."""
    week = frozenset(
        each.key
        for readings in taken.values()
        for each in readings
        if timedelta() <= scene.now - each.received_at < _LATEST
    )
    late_ones = [(newest, found) for newest, found in _too_late(scene, taken, week, worn)]
    if not late_ones:
        return []
    readings = [newest for newest, _ in late_ones]
    moments = [scene.clock(each.taken_at) for each in readings[-_TOLD:]]
    because = Text(
        en=f"Dangerous values that came too late to be told in time, in the last 7 days: {len(readings)} (measured "
        f"{', '.join(moments)}). See why this device is read so late.",
        zh=f"近 7 天迟到而未能及时通知的危险数值：{len(readings)} 项（测量于 {'、'.join(moments)}）。"
        "请查明该设备上传迟缓的原因。",
    )
    since = scene.week_of(readings[-1].received_at)
    return [scene.finding(LATE_EMERGENCY, Verdict.RAISE, because, since, readings, audience=Audience.WEEKLY)]


def with_what_passed(found: Iterable[Finding], past: Iterable[Finding], scene: Scene) -> list[Finding]:
    """Findings of a moment with emergencies that have passed: what staff hear of a rule is said in one sentence."""
    told = {each.rule: each for each in found if _for_staff(each)}
    before: dict[str, list[Finding]] = {}
    for each in past:
        if each.rule not in told or each.since < told[each.rule].since:
            before.setdefault(each.rule, []).append(each)
    whole = [_told_as_one([*before.get(rule, ()), each], scene) for rule, each in told.items()]
    over = [_told_as_one(each, scene) for rule, each in before.items() if rule not in told]
    return [*over, *whole, *(each for each in found if not _for_staff(each))]


def _for_staff(finding: Finding) -> bool:
    return finding.verdict is Verdict.RAISE and finding.audience is Audience.STAFF


def _told_as_one(findings: Sequence[Finding], scene: Scene) -> Finding:
    """Several of one rule, the newest last."""
    newest = findings[-1]
    if len(findings) == 1:
        return newest
    return replace(
        newest,
        because=one_after_the_other([each.because for each in findings], scene.zone),
        priority=max(each.priority for each in findings),
        evidence=tuple(dict.fromkeys(key for each in findings for key in each.evidence)),
        emergency_at=max(filter(None, (each.emergency_at for each in findings)), default=None),
    )


def review(
    scene: Scene,
    taken: Taken,
    plans: Iterable[Plan] = (),
    *,
    failed: Sequence[datetime] = (),
    worn: Mapping[str, datetime] = NOBODY,
    raising: Collection[str] | None = None,
) -> Judged:
    """Judge the readings of `REVIEW_SPAN`, oldest first, by vital; `again`: the next reminder of a plan.

    plans: what the patient agreed to measure, at most one for each vital. failed: when the patient's cuffs reported
    measurements that gave no value. worn: as for `late`. raising: as for `judge`.
    """
    findings = [
        *meter.review(scene, taken.get(Vital.GLUCOSE, ())),
        *cuff_review.review(scene, taken.get(Vital.BLOOD_PRESSURE, ()), failed),
        *_late_in_the_week(scene, taken, worn),
    ]
    moments = []
    of_plans: list[Finding] = []
    for each in plans:
        readings = taken.get(each.vital, ())
        reminder = plan.judge(scene, each, readings)
        of_plans += [*reminder.findings, plan.review(scene, each, readings)]
        moments += [reminder.again] if reminder.again else []
    findings += plan.together(of_plans)
    return Judged(_heard(findings, raising), min(moments, default=None))


def asks_patient(finding: Finding) -> bool:
    """Whether the patient is asked for something; of what `review` finds, it never is urgent."""
    return finding.verdict is Verdict.RAISE and finding.audience is Audience.PATIENT


def reminders(scene: Scene, reviewed: Judged) -> Judged:
    """What the patient is to be asked for now, of what `review` has found for this moment; nothing out of hours.

    again: when to review once more for it.
    """
    asked = tuple(filter(asks_patient, reviewed.findings))
    wakes = plan.awake(scene)
    if not asked or wakes <= scene.now:
        return Judged(asked, reviewed.again)
    return Judged((), min(wakes, reviewed.again or wakes))


def _heard(findings: Iterable[Finding], raising: Collection[str] | None) -> tuple[Finding, ...]:
    if raising is None:
        return tuple(findings)
    return tuple(
        each
        for each in findings
        if each.verdict is Verdict.RAISE or (each.verdict is Verdict.CLEAR and each.rule in raising)
    )

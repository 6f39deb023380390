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

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from alerts import contradiction, cuff, cuff_review, meter, plan
from alerts.alert import Audience, Finding, Text, Verdict, together
from alerts.devices import UNRELIABLE
from alerts.ladder import EVENT
from alerts.plan import Plan
from alerts.scene import SPOT_GAP, Judged, Scene, one_after_the_other
from alerts.sensor_rules import LOW_EVENT_2
from alerts.shown import shown
from alerts.spot_rules import BP_LOW, BP_SEVERE, KETONE, LATE_EMERGENCY, METER_CRISIS, METER_VERY_LOW
from ingest.reading import Reading
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
LATEST: Final = timedelta(days=7)
_TOLD: Final = 3  # of emergencies that came late, in full; of the others the moment alone
_INSTANT: Final = timedelta(microseconds=1)
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
    unsure = contradiction.unsure(scene, glucose)
    of_meter = meter.judge(scene, glucose, ketones, sensor, raising=raising, low_since=low_since, unsure=unsure)
    of_cuff = cuff.judge(scene, pressures, raising=raising)
    against = contradiction.judge(scene, glucose, sensor, pressures, ketones, raising=raising)
    moments = [each.again for each in (of_meter, of_cuff) if each.again]
    of_strips = [
        _held(each, Vital.KETONE if each.rule == KETONE.name else Vital.GLUCOSE, against.doubted)
        for each in of_meter.findings
    ]
    of_pressures = [_held(each, Vital.BLOOD_PRESSURE, against.doubted) for each in of_cuff.findings]
    findings = (*of_strips, *of_pressures, *against.findings)
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


def passed(scene: Scene, taken: Taken, came: Mapping[str, datetime]) -> list[Finding]:
    """The emergencies of which staff would have heard, had each reading been judged before the next was taken.

    taken: as for `judge`. came: the readings that came since it judged last, by key, and when each was taken; nothing
    is found that the others show as well. Each emergency is found once, by its rule and onset.
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


def _as_it_was(scene: Scene, taken: Taken, came: Mapping[str, datetime]) -> Iterator[Taken]:
    """What had been taken when a row of readings ended that may be an emergency, and at the reading behind it.

    From the first that came on. The reading behind may be milder and still show that nothing is over.
    """
    for vital, is_grave in _IS_GRAVE.items():
        readings = taken.get(vital, ())
        first = _first_of(readings, came)
        before = max(first - 1, 0)
        looked_at = readings[before:]
        grave = [is_grave(scene, each) for each in looked_at]
        near = [later.taken_at - each.taken_at <= SPOT_GAP for each, later in pairwise(looked_at)]
        ends = []
        for place in range(first - before, len(looked_at)):
            goes_on = place < len(near) and near[place] and grave[place + 1]
            behind = place > 0 and near[place - 1] and grave[place - 1]
            if (grave[place] or behind) and not goes_on:
                ends.append(before + place + 1)
        for end in ends[-_MOST_ENDS:]:
            yield {vital: readings[:end], **_sensor_before(taken, vital, readings[end - 1])}


def _first_of(readings: Sequence[Reading], came: Mapping[str, datetime]) -> int:
    """The place of the first that came; the number of readings where none of them did."""
    since = min(came.values(), default=None)
    if since is None:
        return len(readings)
    start = bisect_left(readings, since, key=lambda each: each.taken_at)
    return next((place for place in range(start, len(readings)) if readings[place].key in came), len(readings))


def _sensor_before(taken: Taken, vital: Vital, last: Reading) -> Taken:
    """What a sensor had shown of glucose by then."""
    if vital is not Vital.GLUCOSE:
        return {}
    return {Vital.CGM: [each for each in taken.get(Vital.CGM, ()) if each.taken_at <= last.taken_at]}


class Late(NamedTuple):
    """An emergency that was too old to be told when it came.

    told: as staff would have heard of it in its time. asked: the same for the patient, None where something newer
    has followed.
    """

    told: Finding
    asked: Finding | None


def late(scene: Scene, taken: Taken, came: Mapping[str, datetime], worn: Mapping[str, datetime]) -> list[Late]:
    """The emergencies that were too old to be told when they came, as `told_late` tells them.

    came: the readings to look for it in, as for `passed`. worn: since when each device is known to be worn; what was
    measured before is past. What a device measured that was given back meanwhile was admitted, and counts.
    """
    return [
        Late(each, _asked(each.rule, found) if newest is _newest(taken, newest.vital) else None)
        for newest, found in _too_late(scene, taken, came, worn)
        for each in found
        if _for_staff(each)
    ]


def _asked(rule: str, found: Iterable[Finding]) -> Finding | None:
    return next((each for each in found if each.rule == rule and asks_patient(each)), None)


def _too_late(
    scene: Scene, taken: Taken, came: Mapping[str, datetime], worn: Mapping[str, datetime]
) -> Iterator[tuple[Reading, list[Finding]]]:
    """The last reading of each row that was too old when it came, and what would have been told of it in its time."""
    rows = list(_as_it_was(scene, taken, came))
    told = {key for each in _emergencies(scene, taken) for key in each.evidence} if rows else ()
    for then in rows:
        newest = next(iter(then.values()))[-1]
        known = worn.get(newest.device)
        if (known is not None and newest.taken_at < known) or newest.key in told:
            continue
        if scene.now - newest.taken_at > LATEST or _emergencies(scene._replace(now=newest.received_at), then):
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


def told_late(scene: Scene, new: Sequence[Late], before: Sequence[Finding]) -> list[Finding]:
    """Emergencies that came too late, as one for staff and one for the patient.

    before: those of which an alert stands already, so that it goes on to say them.
    """
    if not new:
        return []
    found = [_as_one(scene, [*before, *(each.told for each in new)], max(each.told.known_at for each in new))]
    if asked := [each for each in new if each.asked]:
        because = together([each.asked.because for each in asked if each.asked])
        # Of one emergency that comes in several messages the patient hears once, and of each other one.
        since = max(each.told.since + _KINDS.index(each.told.rule) * _INSTANT for each in asked)
        found.append(replace(found[0], because=because, since=since, audience=Audience.PATIENT, emergency_at=None))
    return found


# What is of one moment and not of one kind is told for itself.
_KINDS: Final = tuple(each.name for each in (METER_VERY_LOW, METER_CRISIS, KETONE, BP_SEVERE, BP_LOW, LOW_EVENT_2))


def _as_one(scene: Scene, told: Sequence[Finding], came: datetime) -> Finding:
    """Several as one. It begins with its arrival, so that what comes after a closing is told."""
    in_order = sorted(told, key=lambda each: each.since)
    said = one_after_the_other([each.because for each in in_order[-_TOLD:]], scene.zone)
    first = Text(en="Too old to be told as urgent when it came: ", zh="到达时已过久，未能及时通知：")
    more, others = _NOTHING, [scene.clock(each.since) for each in in_order[:-_TOLD]]
    if others:
        more = Text(
            en=f" Others, of {', '.join(others)}: {len(others)}.",
            zh=f"另有 {len(others)} 项（{'、'.join(others)}）。",
        )
    return replace(
        in_order[-1],
        rule=LATE_EMERGENCY.name,
        problem=LATE_EMERGENCY.problem,
        priority=LATE_EMERGENCY.priority,
        because=together((first, said, more), _NOTHING),
        since=came,
        known_at=came,
        evidence=tuple(dict.fromkeys(key for each in told for key in each.evidence)),
        emergency_at=came,
    )


def late_is_over(scene: Scene, taken: Taken) -> Finding | None:
    """That nothing which was late goes on: the newest value of no device may be an emergency."""
    last = [each for vital in _IS_GRAVE for each in _last_words(taken, vital)]
    if not last or any(_may_be_grave(scene, each) for each in last):
        return None
    newest = max(last, key=lambda each: each.taken_at)
    at = scene.clock(newest.taken_at)
    because = Text(
        en=f"Measured again: the newest value, of {at}, is no longer dangerous.",
        zh=f"已复测：{at} 的最新数值已不危险。",
    )
    return scene.finding(LATE_EMERGENCY, Verdict.CLEAR, because, newest.taken_at, (newest,))


def _last_words(taken: Taken, vital: Vital) -> list[Reading]:
    """Of a vital (of glucose, sensors too) the newest of each device that was heard last, or hardly before."""
    vitals = (vital, Vital.CGM) if vital is Vital.GLUCOSE else (vital,)
    newest = {
        each.device: each
        for one in vitals
        for each in taken.get(one, ())
        if one is not Vital.CGM or UNRELIABLE.isdisjoint(each.flags)
    }
    last = max((each.taken_at for each in newest.values()), default=None)
    return [each for each in newest.values() if last and last - each.taken_at <= EVENT]


def _may_be_grave(scene: Scene, reading: Reading) -> bool:
    if reading.vital is not Vital.CGM:
        return _IS_GRAVE[reading.vital](scene, reading)
    value, unit = shown(reading)
    return value < scene.number(LOW_EVENT_2, "limit", unit) or meter.is_grave(scene, reading)


def _late_in_the_week(scene: Scene, taken: Taken, worn: Mapping[str, datetime]) -> list[Finding]:
    """A line of the weekly list."""
    week = {
        each.key: each.taken_at
        for readings in taken.values()
        for each in readings
        if timedelta() <= scene.now - each.received_at < LATEST
    }
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

"""What a glucose meter says: lows, levels by meal, the referral level, and ketones; and the patterns of a week. Pure.

- **Low** (level 1) is the patient's own: eat sugar, measure again. A second low reading a quarter of an hour later
  says that it does not pass, and goes to staff. **Very low** (level 2) likewise, also where the second is better but
  still low, and staff also hear when no second comes within half an hour, for silence after such a reading is no good
  sign. What is still very low at the second and has not recovered in half an hour is of high priority. Below 40 mg/dL
  nobody can be expected to act alone: that is of high priority at once and begins anew, so that whoever has answered
  the milder low hears of it, and the patient is asked again. Whoever measures again as asked and is still low is
  answered each time, with the next step.
- **Referral level** (China's public health service, in that region): staff, once until the check within two weeks
  that it asks for. A very low reading counts when it has recovered in time; otherwise staff hear of it as very low.
- **High twice**: elsewhere staff hear of two readings of a day that are as high; one alone is the patient's own.
- **Above the goal** of its meal: the patient's own, once a week, and very high once a day; from the level of
  referral on each time it is measured again.
- **Crisis**: staff at once of a reading beyond what many devices show, HI included; of high priority when a second
  one says the same. It is no referral beside that. One that is too high to be believed, and became no reading
  (`believed`), is told as well, since it may be true; it proves no other one, and to all other rules it is unknown.
- Of a high glucose and a ketone beside it the patient hears the more urgent alone.
- A reading of which the meter itself says that something was wrong with strip or sample proves and ends nothing. One
  that would be an emergency asks for another at once, with a new strip; staff hear of it alone where a quarter of an
  hour brings none that counts.
- A sensor raises nothing here, but its newest reading ends a low as a meter's would, once its lag is over. A recovery
  that only a sensor saw between two low readings lets the later one begin anew, so that it is told; it is no less
  urgent for it, since the sensor may be wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import fmean
from typing import Final, NamedTuple

from alerts.alert import Audience, Finding, Priority, Text, Verdict, together
from alerts.first_aid import FOR_STAFF, advice, advice_asked, advice_doubted, advice_late
from alerts.rule import DAYS, MMOL_L, PERCENT, SWITCH, Rule
from alerts.scene import (
    MINUTE,
    SPOT_GAP,
    Judged,
    Scene,
    answers,
    came_together,
    is_heard,
    last_arrival,
    late_words,
    span,
)
from alerts.shown import limit_words, shown, value_words, words
from alerts.spot_rules import (
    KETONE,
    METER_CRISIS,
    METER_HIGH,
    METER_HIGH_TWICE,
    METER_LOW,
    METER_REFERRAL,
    METER_REPEATED_HIGH,
    METER_REPEATED_LOW,
    METER_VERY_LOW,
)
from ingest.reading import Flag, Reading
from ingest.vital import COMPONENTS, MG_DL_PER_MMOL_L, Unit, Vital, is_too_high

_SENSOR_LAG: Final = timedelta(minutes=15)
_DAY: Final = timedelta(days=1)
_INSTANT: Final = timedelta(microseconds=1)
_HOUR: Final = timedelta(hours=1)
_APART: Final = timedelta(minutes=30)  # nearer to each other, two high readings are one
_KETONE_GAP: Final = timedelta(hours=24)
_NOTHING: Final = Text(en="", zh="")
_DOUBT_WORDS: Final = {
    Flag.SENSOR_MALFUNCTION: Text(en="it had a fault", zh="仪器故障"),
    Flag.SAMPLE_INSUFFICIENT: Text(en="there was too little blood on the strip", zh="采血量不足"),
    Flag.STRIP_ERROR: Text(en="something was wrong with the strip", zh="试纸异常"),
    Flag.TEMPERATURE_ERROR: Text(en="it was too cold or too warm", zh="温度过低或过高"),
}
_DOUBTS: Final = frozenset(_DOUBT_WORDS)
# After a low, of a value that the meter itself doubts.
_SURE: Final = Text(
    en=" Please measure again now; if it is still low, do as before.",
    zh="请现在再测一次；若仍偏低，请按之前的提示处理。",
)
_BEFORE_MEAL: Final = frozenset({"before-meal", "fasting"})
_MEALS: Final = {
    "before-meal": Text(en=", before a meal", zh="餐前"),
    "fasting": Text(en=", fasting", zh="空腹"),
    "after-meal": Text(en=", after a meal", zh="餐后"),
    "bedtime": Text(en=", at bedtime", zh="睡前"),
    "casual": Text(en="", zh="随机"),
}
_GROUPS: Final = {
    "before-meal": Text(en="before meals", zh="餐前"),
    "after-meal": Text(en="after meals and at other times", zh="餐后及其他时间"),
}


def as_measured(at: datetime) -> datetime:
    """Since when a low goes on that no sensor has shown before: since it was measured."""
    return at


def judge(
    scene: Scene,
    glucose: Sequence[Reading],
    ketones: Sequence[Reading] = (),
    sensor: Sequence[Reading] = (),
    *,
    raising: Collection[str] | None = None,
    low_since: Callable[[datetime], datetime] = as_measured,
    unsure: Reading | None = None,
) -> Judged:
    """Judge the readings of a meter, oldest first, of the last `spot.SPAN`; sensor: a sensor's, likewise.

    unsure: the newest, where it contradicts the one before it, so that it ends no low. raising: as in `spot`.
    low_since: since when a low goes on that the meter shows at a moment, for a sensor may have shown it before.
    """
    findings: list[Finding | None] = []
    again = None
    whole, glucose = glucose, believed(glucose)
    if glucose:
        if unsure is not None and not _is_recovered(scene, unsure, METER_LOW):
            unsure = None
        taken = [each for each in glucose if each is not unsure]
        if sensor and sensor[-1].taken_at - taken[-1].taken_at >= _SENSOR_LAG:
            taken.append(sensor[-1])
        danger = _danger(scene, _low_episode(scene, METER_VERY_LOW, taken))
        very_low, again = _very_low(scene, taken, sensor, raising, low_since, unsure)
        low = _low(scene, taken, sensor, raising, danger, low_since)
        # The patient is asked once, by the worse.
        if any(each.verdict is Verdict.RAISE for each in very_low):
            low = [each for each in low if each.audience is not Audience.PATIENT]
        findings += [
            *low,
            *very_low,
            _referral(scene, glucose, raising, unsure),
            _high_twice(scene, glucose, raising),
            _high(scene, glucose, raising),
        ]
    if whole:
        crisis, counts_by = _crisis(scene, whole, raising)
        findings += crisis
        again = min(filter(None, (again, counts_by)), default=None)
    if ketones:
        findings += _ketone(scene, ketones, glucose, raising)
    found = [each for each in findings if each]
    if whole and ketones and abs(whole[-1].taken_at - ketones[-1].taken_at) <= SPOT_GAP:
        found = _asked_once(found)
    return Judged(tuple(found), again)


def _asked_once(found: Sequence[Finding]) -> list[Finding]:
    """Beside a ketone that asks for no less a patient is not told what a glucose that came no later asks for."""
    asked = [each for each in found if each.audience is Audience.PATIENT and each.verdict is Verdict.RAISE]
    ketone = next((each for each in asked if each.rule == KETONE.name), None)
    if ketone is None:
        return list(found)
    lesser = {
        id(each)
        for each in asked
        if each.rule in {METER_HIGH.name, METER_CRISIS.name}
        and each.priority <= ketone.priority
        and each.known_at <= ketone.known_at
    }
    return [each for each in found if id(each) not in lesser]


def believed(glucose: Sequence[Reading]) -> Sequence[Reading]:
    """Without those too high to be believed, which were set aside: the value or its unit may be wrong."""
    return [each for each in glucose if not is_too_high(each.vital, each.values)]


def is_doubted(reading: Reading) -> bool:
    """Whether the meter itself says that something was wrong with strip, sample or itself."""
    return not _DOUBTS.isdisjoint(reading.flags)


def is_grave(scene: Scene, reading: Reading) -> bool:
    """Whether a glucose or ketone may be an emergency, alone or with others."""
    if reading.vital is Vital.KETONE:
        return _ketone_level(scene, reading) == "emergency"
    return _is_below(scene, reading, METER_VERY_LOW, "limit") or _is_crisis(scene, reading)


def emergency_advice(scene: Scene, reading: Reading) -> Text | None:
    """What to do about a glucose or ketone that is an emergency, beside being asked for another one."""
    if reading.vital is Vital.KETONE:
        return _KETONE_MEANWHILE if _ketone_level(scene, reading) == "emergency" else None
    if _is_below(scene, reading, METER_VERY_LOW, "limit"):
        return advice_asked()
    return _CRISIS_MEANWHILE if _is_extreme(scene, reading) else None


# Lows


def _episode(
    taken: Sequence[Reading],
    beyond: Callable[[Reading], bool],
    recovered: Callable[[Reading], bool],
    gap: timedelta = SPOT_GAP,
) -> Sequence[Reading]:
    """The readings since the trouble began that has not ended; empty where there is none."""
    first = len(taken)
    for index in range(len(taken) - 1, -1, -1):
        apart = index + 1 < len(taken) and taken[index + 1].taken_at - taken[index].taken_at > gap
        if apart or recovered(taken[index]):
            break
        if beyond(taken[index]):
            first = index
    return taken[first:]


def _is_below(scene: Scene, reading: Reading, rule: Rule, parameter: str) -> bool:
    value, unit = shown(reading)
    return value < scene.number(rule, parameter, unit)


def _is_recovered(scene: Scene, reading: Reading, rule: Rule) -> bool:
    """A value that may be from before the low, for its time is not known, or that the meter doubts ends nothing."""
    return _is_back(scene, reading, rule) and reading.flags.isdisjoint({Flag.TIME_FAULT, *_DOUBTS})


def _is_back(scene: Scene, reading: Reading, rule: Rule) -> bool:
    value, unit = shown(reading)
    return value >= scene.number(rule, "clear", unit)


def _low_episode(scene: Scene, rule: Rule, taken: Sequence[Reading]) -> Sequence[Reading]:
    """Since the first reading of the meter below the limit; empty when it recovered, or is too old to judge by."""
    event = _since_low(scene, rule, taken)
    return event if event and scene.fresh(rule, "fresh-meter", event[-1]) else ()


def _since_low(scene: Scene, rule: Rule, taken: Sequence[Reading]) -> Sequence[Reading]:
    return _episode(
        taken,
        lambda reading: reading.vital is Vital.GLUCOSE and _is_below(scene, reading, rule, "limit"),
        lambda reading: _is_recovered(scene, reading, rule),
    )


def _lasts(scene: Scene, rule: Rule, event: Sequence[Reading], parameter: str) -> bool:
    """Whether a reading of the meter that is in no doubt is below the limit so long after the first."""
    since = event[0].taken_at + scene.minutes(rule, parameter)
    return any(each.taken_at >= since for each in _believed(scene, event, "limit", rule))


class _Relapse(NamedTuple):
    """Low readings (`row`) after a recovery that only a sensor showed; before: the meter's last one before it."""

    before: Reading
    shown: Reading
    row: Sequence[Reading]


def _relapse(scene: Scene, rule: Rule, event: Sequence[Reading], sensor: Sequence[Reading]) -> _Relapse | None:
    """The newest; a recovery is a quarter of an hour, after the sensor's lag."""
    for place in range(len(event) - 1, 0, -1):
        before, later = event[place - 1], event[place]
        start, end = before.taken_at + _SENSOR_LAG, later.taken_at
        if later.vital is Vital.GLUCOSE and end - start >= _SENSOR_LAG:
            between = [each for each in sensor if start <= each.taken_at < end]
            if seen := _stays_recovered(scene, rule, between):
                return _Relapse(before, seen, event[place:])
    return None


def _stays_recovered(scene: Scene, rule: Rule, readings: Iterable[Reading]) -> Reading | None:
    since: datetime | None = None
    for each in readings:
        if not _is_recovered(scene, each, rule):
            since = None
        elif since is None:
            since = each.taken_at
        elif each.taken_at - since >= _SENSOR_LAG:
            return each
    return None


def _relapse_words(scene: Scene, relapse: _Relapse) -> Text:
    before, seen = words(scene, relapse.before), words(scene, relapse.shown)
    then, at = scene.clock(relapse.before.taken_at), scene.clock(relapse.shown.taken_at)
    return Text(
        en=f" This is low again: the meter showed {before.en} at {then}, and the sensor {seen.en} at {at}.",
        zh=f"此为再次偏低：{then} 指尖血糖 {before.zh}，{at} 传感器血糖 {seen.zh}。",
    )


def _low(
    scene: Scene,
    taken: Sequence[Reading],
    sensor: Sequence[Reading],
    raising: Collection[str] | None,
    danger: Reading | None,
    low_since: Callable[[datetime], datetime],
) -> list[Finding]:
    """danger: the first so low that staff hear at once of it as very low."""
    rule = METER_LOW
    event = _low_episode(scene, rule, taken)
    if not event:
        return _not_low(scene, rule, taken, raising)
    relapse = _relapse(scene, rule, event, sensor)
    row = relapse.row if relapse else event
    said, found = _low_words(scene, rule, row), [_to_patient(scene, rule, row, danger)]
    if danger is None and _lasts(scene, rule, event, "recheck"):
        late = _usual_late(scene, event[-1])
        again = _relapse_words(scene, relapse) if relapse else _NOTHING
        told = together((said, again, late if late.en else FOR_STAFF), _NOTHING)
        found.append(scene.finding(rule, Verdict.RAISE, told, _begun(row, danger, low_since), event))
    return found


def _to_patient(scene: Scene, rule: Rule, event: Sequence[Reading], danger: Reading | None) -> Finding:
    """Each measurement that is still low is answered; what nobody acts on alone has an answer of its own."""
    of_meter = _of_meter(event)
    answered = of_meter[of_meter.index(answers(of_meter)[-1]) :]
    because = _with_advice(scene, rule, _low_words(scene, rule, event), event)
    since = (danger if danger in answered else answered[0]).taken_at
    urgent = _calls(scene, event) or any(_is_below(scene, each, METER_VERY_LOW, "at-once") for each in answered)
    priority = Priority.HIGH if urgent else rule.priority
    return scene.finding(rule, Verdict.RAISE, because, since, event, priority=priority, audience=Audience.PATIENT)


def _of_meter(event: Sequence[Reading]) -> list[Reading]:
    return [each for each in event if each.vital is Vital.GLUCOSE]


def _begun(event: Sequence[Reading], danger: Reading | None, low_since: Callable[[datetime], datetime]) -> datetime:
    """What nobody acts on alone begins with itself, whatever was shown before it."""
    return danger.taken_at if danger else low_since(event[0].taken_at)


def _very_low(
    scene: Scene,
    taken: Sequence[Reading],
    sensor: Sequence[Reading],
    raising: Collection[str] | None,
    low_since: Callable[[datetime], datetime],
    unsure: Reading | None,
) -> tuple[list[Finding], datetime | None]:
    rule = METER_VERY_LOW
    event = _low_episode(scene, rule, taken)
    if not event:
        return _not_low(scene, rule, taken, raising), None
    deadline, danger = _deadline(scene, event), _danger(scene, event)
    overdue, shown_twice = scene.now > deadline, danger is not None or _lingers(scene, event)
    relapse = _relapse(scene, rule, event, sensor)
    row = relapse.row if relapse else event
    of_row = _danger(scene, row)
    found = [_to_patient(scene, rule, row, of_row)]
    if shown_twice or overdue:
        grave = danger is not None or (overdue and _lasts(scene, rule, event, "recheck"))
        found.append(
            scene.finding(
                rule,
                Verdict.RAISE,
                _very_low_words(scene, row, of_row, relapse, unsure),
                _begun(row, of_row, low_since),
                event,
                known_at=last_arrival(event) if shown_twice else deadline,
                priority=Priority.HIGH if grave else rule.priority,
                emergencies=_believed(scene, event, "limit"),
            )
        )
    return found, None if overdue else deadline + _INSTANT


def _very_low_words(
    scene: Scene,
    event: Sequence[Reading],
    danger: Reading | None,
    relapse: _Relapse | None,
    unsure: Reading | None,
) -> Text:
    """For staff: with the limit that called them, when it came, and what was not seen since."""
    said = [_low_words(scene, METER_VERY_LOW, event)]
    if danger is not None:
        unit = shown(danger)[1]
        limit, value = limit_words(scene, METER_VERY_LOW, "at-once", unit), words(scene, danger)
        source = scene.limits.source(METER_VERY_LOW.name, "at-once", unit)
        said.append(
            Text(
                en=f" {value.en} is below {limit.en}, of which staff hear at once ({source.en}).",
                zh=f"{value.zh} 低于 {limit.zh}，须立即通知医护（{source.zh}）。",
            )
        )
    late = _usual_late(scene, event[-1])
    said += [_relapse_words(scene, relapse) if relapse else _NOTHING, late]
    if scene.now > _deadline(scene, event):
        asked = span(scene.now - _asked_at(event[0]))
        if unsure is not None:
            value, at = words(scene, unsure), scene.clock(unsure.taken_at)
            said.append(
                Text(
                    en=f" {value.en} at {at} contradicts the value before it, and no third one has come.",
                    zh=f"{at} {value.zh} 与前一数值相互矛盾，未收到第三次测量。",
                )
            )
        said.append(
            Text(
                en=f" The patient was asked to measure again; no recovery was seen in {asked.en}.",
                zh=f"已请患者复测，{asked.zh}内未见恢复。",
            )
        )
    return together((*said, _NOTHING if late.en else FOR_STAFF), _NOTHING)


def _usual_late(scene: Scene, newest: Reading) -> Text:
    """That a reading came when its advice was too late."""
    return late_words(scene, newest, scene.minutes(METER_VERY_LOW, "recheck"))


def _asked_at(onset: Reading) -> datetime:
    """Nobody can be asked before the reading has come."""
    return max(onset.taken_at, onset.received_at)


def _deadline(scene: Scene, event: Sequence[Reading]) -> datetime:
    """Until when a recovery is waited for; after a value in doubt at which nobody acts alone, a second one."""
    usual = _asked_at(event[0]) + scene.minutes(METER_VERY_LOW, "unrecovered")
    doubted = _in_doubt(event, lambda each: _is_below(scene, each, METER_VERY_LOW, "at-once"))
    return min(usual, _asked_at(doubted[0]) + scene.minutes(METER_VERY_LOW, "recheck")) if doubted else usual


def _in_doubt(taken: Sequence[Reading], beyond: Callable[[Reading], bool]) -> Sequence[Reading]:
    """The readings since the first one beyond a limit which the meter itself doubts, with none that counts since."""
    return _episode(
        taken,
        lambda each: bool(_DOUBTS & each.flags) and beyond(each),
        lambda each: each.flags.isdisjoint({Flag.TIME_FAULT, *_DOUBTS}),
    )


def _lingers(scene: Scene, event: Sequence[Reading]) -> bool:
    """Whether a second measurement after a very low one, which is in no doubt, is still low."""
    again = event[0].taken_at + scene.minutes(METER_VERY_LOW, "recheck")
    return any(each.taken_at >= again for each in _believed(scene, event, "limit", METER_LOW))


def _danger(scene: Scene, event: Sequence[Reading]) -> Reading | None:
    """The first reading of the meter that is in no doubt and so low that no second one is waited for."""
    return next(_believed(scene, event, "at-once"), None)


def _believed(
    scene: Scene, event: Sequence[Reading], parameter: str, rule: Rule = METER_VERY_LOW
) -> Iterator[Reading]:
    """The readings of the meter that are in no doubt and below a limit."""
    for each in event:
        if each.vital is Vital.GLUCOSE and not _DOUBTS & each.flags and _is_below(scene, each, rule, parameter):
            yield each


def _with_advice(scene: Scene, rule: Rule, said: Text, event: Sequence[Reading]) -> Text:
    """Sugar for a value of now; by one that came late nobody knows whether it is still low."""
    newest, very_low = event[-1], rule is METER_VERY_LOW
    strip = _new_strip(newest)
    if _usual_late(scene, newest).en:
        todo = advice_late(very_low=very_low)
        return Text(
            en=f"{said.en} This value came late.{strip.en}{todo.en}",
            zh=f"{said.zh}该数值上传较晚。{strip.zh}{todo.zh}",
        )
    if strip.en and _is_back(scene, newest, rule):
        return together((said, strip, _SURE), _NOTHING)
    if strip.en and _is_below(scene, newest, METER_VERY_LOW, "at-once"):
        return together((said, _still_words(scene, event), strip, advice_doubted()), _NOTHING)
    todo = advice(very_low=very_low, minutes=scene.minutes(rule, "recheck") / MINUTE)
    return together((said, _still_words(scene, event), strip, todo), _NOTHING)


def _times(event: Sequence[Reading]) -> int:
    """How often the patient was asked and has measured, with the first."""
    of_meter = _of_meter(event)
    return 1 if came_together(of_meter) else len(answers(of_meter))


def _calls(scene: Scene, event: Sequence[Reading]) -> bool:
    """Whether it did not help, and is still so low that an ambulance is called."""
    times, newest = _times(event), _of_meter(event)[-1]
    return times > 1 and _is_below(scene, newest, METER_VERY_LOW, "at-once" if times == 2 else "limit")


def _still_words(scene: Scene, event: Sequence[Reading]) -> Text:
    """The next step of whoever has done as asked, and measures that it did not help: whom to call."""
    times = _times(event)
    if times == 1:
        return _NOTHING
    if _calls(scene, event):
        return Text(
            en=" It is still very low: please call the emergency number (120 in China) now, and somebody who can "
            "come to you.",
            zh="血糖仍严重偏低：请立即拨打急救电话（中国大陆 120），并请人到您身边。",
        )
    if times == 2:
        return Text(en=" It is still low.", zh="血糖仍偏低。")
    return Text(
        en=" It is still low: please call your doctor or clinic now, and somebody who can come to you.",
        zh="血糖仍偏低：请立即联系医生或诊所，并请人到您身边。",
    )


def _fault_words(scene: Scene, readings: Iterable[Reading]) -> Text:
    """What the meter itself says was wrong with readings that are told all the same."""
    parts = [
        Text(en=f" Of {value.en} the meter says: {said.en}.", zh=f"{value.zh} 测量时血糖仪提示：{said.zh}。")
        for value, flags in ((words(scene, each), each.flags) for each in readings)
        for flag, said in _DOUBT_WORDS.items()
        if flag in flags
    ]
    return together(dict.fromkeys(parts), _NOTHING)


def _new_strip(newest: Reading) -> Text:
    return Text(en=" Please use a new strip.", zh="请使用新试纸。") if _DOUBTS & newest.flags else _NOTHING


def _low_words(scene: Scene, rule: Rule, event: Sequence[Reading]) -> Text:
    unit = shown(event[0])[1]
    limit, source = limit_words(scene, rule, "limit", unit), scene.limits.source(rule.name, "limit", unit)
    first, newest, since = words(scene, event[0]), words(scene, event[-1]), scene.clock(event[0].taken_at)
    fault = _fault_words(scene, event[:: max(len(event) - 1, 1)])
    if len(event) == 1:
        return Text(
            en=f"Meter glucose {first.en} at {since}: below {limit.en}. Limit: {source.en}.{fault.en}",
            zh=f"{since} 指尖血糖 {first.zh}：低于 {limit.zh}。限值依据：{source.zh}。{fault.zh}",
        )
    lasted = span(event[-1].taken_at - event[0].taken_at)
    so = Text(en="not recovered by then", zh="当时尚未恢复")
    if _DOUBTS & event[-1].flags and _is_back(scene, event[-1], rule):
        so = Text(en="whether it recovered is not sure", zh="是否已恢复尚不能确定")
    return Text(
        en=f"Meter glucose {first.en} at {since}, below {limit.en}, and {newest.en} after {lasted.en}: {so.en}. "
        f"Limit: {source.en}.{fault.en}",
        zh=f"{since} 指尖血糖 {first.zh}，低于 {limit.zh}，{lasted.zh}后 {newest.zh}：{so.zh}。"
        f"限值依据：{source.zh}。{fault.zh}",
    )


def _not_low(scene: Scene, rule: Rule, taken: Sequence[Reading], raising: Collection[str] | None) -> list[Finding]:
    if not is_heard(rule, raising):
        return []
    newest = taken[-1]
    now, at = words(scene, newest), scene.clock(newest.taken_at)
    limit = limit_words(scene, rule, "clear", shown(newest)[1])
    over = _is_recovered(scene, newest, rule)
    because = (
        Text(en=f"Glucose {now.en} at {at}: at or above {limit.en}.", zh=f"{at} 血糖 {now.zh}：不低于 {limit.zh}。")
        if over
        else _undecided(scene, newest, at)
    )
    return [scene.finding(rule, Verdict.CLEAR if over else Verdict.HOLD, because, newest.taken_at, (newest,))]


def _undecided(scene: Scene, newest: Reading, at: str) -> Text:
    now = words(scene, newest)
    return Text(
        en=f"Glucose {now.en} at {at}: too old to judge by, or neither raised nor over.",
        zh=f"{at} 血糖 {now.zh}：读数过旧，或未达到报警条件、也未恢复。",
    )


# Referral, and high twice


def _is_on(scene: Scene, rule: Rule) -> bool:
    return scene.number(rule, "on", SWITCH) == 1


def _reaches(scene: Scene, rule: Rule, reading: Reading) -> bool:
    """Whether a reading that is in no doubt is at or above the high level of a rule."""
    value, unit = shown(reading)
    return value >= scene.number(rule, "high", unit) and not _DOUBTS & reading.flags


def _at_referral(scene: Scene, reading: Reading) -> str | None:
    """The side on which a reading that is in no doubt reaches the referral level, "low" or "high"."""
    value, unit = shown(reading)
    if value <= scene.number(METER_REFERRAL, "low", unit) and not _DOUBTS & reading.flags:
        return "low"
    return "high" if _reaches(scene, METER_REFERRAL, reading) else None


def _newest(scene: Scene, rule: Rule, glucose: Sequence[Reading], is_so: Callable[[Reading], object]) -> int | None:
    """The place of the newest fresh reading of which it is so; a crisis is told as such."""
    oldest = scene.now - scene.minutes(rule, "fresh-meter")
    fresh = takewhile(lambda n: glucose[n].taken_at >= oldest, range(len(glucose) - 1, -1, -1))
    return next((n for n in fresh if is_so(glucose[n]) and not _is_crisis(scene, glucose[n])), None)


def _referral(
    scene: Scene, glucose: Sequence[Reading], raising: Collection[str] | None, unsure: Reading | None
) -> Finding | None:
    rule = METER_REFERRAL
    if not _is_on(scene, rule):
        return None
    place = _newest(scene, rule, glucose, lambda each: _at_referral(scene, each))
    if place is None or (known := _known_at(scene, glucose, place, unsure)) is None:
        # Whether two weeks have passed without such a reading, the review says.
        return _held(scene, rule, glucose[-1], raising)
    newest, side = glucose[place], _at_referral(scene, glucose[place]) or "low"
    earlier = _reached_before(scene, rule, glucose[: place + 1]) if side == "high" else None
    return scene.finding(
        rule,
        Verdict.RAISE,
        _level_words(scene, rule, side, newest, earlier),
        (earlier or newest).taken_at,
        (earlier, newest) if earlier else (newest,),
        known_at=known,
        priority=Priority.MEDIUM if earlier else rule.priority,
    )


def _high_twice(scene: Scene, glucose: Sequence[Reading], raising: Collection[str] | None) -> Finding | None:
    rule = METER_HIGH_TWICE
    if not _is_on(scene, rule):
        return None
    place = _newest(scene, rule, glucose, lambda each: _reaches(scene, rule, each))
    earlier = None if place is None else _reached_before(scene, rule, glucose[: place + 1])
    if place is None or earlier is None:
        # Whether it stayed away, the review says.
        return _held(scene, rule, glucose[-1], raising)
    said = _level_words(scene, rule, "high", glucose[place], earlier)
    return scene.finding(rule, Verdict.RAISE, said, earlier.taken_at, (earlier, glucose[place]))


def _reached_before(scene: Scene, rule: Rule, glucose: Sequence[Reading]) -> Reading | None:
    """The first as high on the day before the newest."""
    return next((each for each in _of_one_day(glucose) if _reaches(scene, rule, each)), None)


def _level_words(scene: Scene, rule: Rule, side: str, newest: Reading, earlier: Reading | None) -> Text:
    unit, at, now = shown(newest)[1], scene.clock(newest.taken_at), words(scene, newest)
    limit, source = limit_words(scene, rule, side, unit), scene.limits.source(rule.name, side, unit)
    stand = Text(en="at or below", zh="不高于") if side == "low" else Text(en="at or above", zh="不低于")
    before = Text(en="", zh="")
    if earlier:
        then, first = scene.clock(earlier.taken_at), words(scene, earlier)
        before = Text(en=f" after {first.en} at {then}", zh=f"（此前 {then} 为 {first.zh}）")
    late = _usual_late(scene, newest)
    return Text(
        en=f"Meter glucose {now.en} at {at}{before.en}: {stand.en} {limit.en}. Limit: {source.en}.{late.en}",
        zh=f"{at} 指尖血糖 {now.zh}{before.zh}：{stand.zh} {limit.zh}。限值依据：{source.zh}。{late.zh}",
    )


def _known_at(scene: Scene, glucose: Sequence[Reading], place: int, unsure: Reading | None) -> datetime | None:
    """When a reading at referral level is known to be no more; None while, or if, staff hear of it as very low.

    unsure: as in `judge`.
    """
    event = _since_low(scene, METER_VERY_LOW, glucose[: place + 1])
    if not event:
        return glucose[place].received_at
    later = (n for n in range(place + 1, len(glucose)) if glucose[n] is not unsure)
    end = next((n for n in later if _is_recovered(scene, glucose[n], METER_VERY_LOW)), None)
    if end is None:
        return None
    whole = glucose[place + 1 - len(event) : end]
    told = _danger(scene, whole) or _lingers(scene, whole) or glucose[end].received_at > _deadline(scene, whole)
    return None if told else glucose[end].received_at


def _held(scene: Scene, rule: Rule, newest: Reading, raising: Collection[str] | None) -> Finding | None:
    if raising is not None:
        return None
    because = _undecided(scene, newest, scene.clock(newest.taken_at))
    return scene.finding(rule, Verdict.HOLD, because, newest.taken_at, (newest,))


def _of_one_day(glucose: Sequence[Reading]) -> Iterator[Reading]:
    """The readings of the day before the newest that are no mere repetition of it."""
    newest = glucose[-1]
    for reading in glucose[:-1]:
        if _APART <= newest.taken_at - reading.taken_at <= _DAY:
            yield reading


# Crisis


def _is_extreme(scene: Scene, reading: Reading) -> bool:
    value, unit = shown(reading)
    return value >= scene.number(METER_CRISIS, "limit", unit)


def _is_crisis(scene: Scene, reading: Reading) -> bool:
    return _is_extreme(scene, reading) and not _DOUBTS & reading.flags


def _is_below_crisis(scene: Scene, reading: Reading) -> bool:
    """Whether it ends one; a value in doubt, or one that may be from before, does not."""
    return _is_below(scene, reading, METER_CRISIS, "clear") and not reading.flags & {Flag.TIME_FAULT, *_DOUBTS}


def _crisis(
    scene: Scene, glucose: Sequence[Reading], raising: Collection[str] | None
) -> tuple[list[Finding], datetime | None]:
    rule = METER_CRISIS
    event = _episode(glucose, lambda each: _is_crisis(scene, each), lambda each: _is_below_crisis(scene, each))
    crises = [each for each in event if _is_crisis(scene, each)]
    proof = crises[-2:]
    doubted, counts_by = _crisis_in_doubt(scene, glucose)
    if not proof or not scene.fresh(rule, "fresh-meter", event[-1]):
        calm = None if doubted else _not_crisis(scene, glucose[-1], raising)
        return [calm] if calm else doubted, counts_by
    said = together(
        (_crisis_words(scene, proof), _set_aside_words(scene, proof), _usual_late(scene, proof[-1])), _NOTHING
    )
    found = [
        scene.finding(
            rule,
            Verdict.RAISE,
            said,
            event[0].taken_at,
            proof,
            priority=Priority.HIGH if believed(crises[1:]) else rule.priority,
            emergencies=proof,
        )
    ]
    if proof[-1] is glucose[-1]:
        answered = answers(event)[-1]
        still = len(proof) > 1 and proof[0].taken_at < answered.taken_at and not came_together(proof)
        todo = _STILL_EXTREME if still else _MEASURE_AGAIN
        found.append(_asked_of_crisis(scene, together((said, todo), _NOTHING), event, proof))
    return [*found, *(each for each in doubted if each.audience is Audience.PATIENT)], None


def _asked_of_crisis(scene: Scene, because: Text, event: Sequence[Reading], proof: Sequence[Reading]) -> Finding:
    """Each measurement is answered."""
    answered = answers([each for each in event if each.taken_at <= proof[-1].taken_at])[-1]
    return scene.finding(
        METER_CRISIS,
        Verdict.RAISE,
        because,
        answered.taken_at,
        proof,
        priority=Priority.HIGH,
        audience=Audience.PATIENT,
    )


def _crisis_in_doubt(scene: Scene, glucose: Sequence[Reading]) -> tuple[list[Finding], datetime | None]:
    """The newest readings, where one would be a crisis but for what the meter says was wrong with it.

    The patient is asked for another one; staff hear where none that counts comes in time, and until when that is.
    """
    rule = METER_CRISIS
    event = _in_doubt(glucose, lambda each: _is_extreme(scene, each))
    if not event or not scene.fresh(rule, "fresh-meter", event[-1]):
        return [], None
    wait = scene.minutes(rule, "wait")
    first, deadline = event[0], _asked_at(event[0]) + wait
    proof = [each for each in event if _is_extreme(scene, each)][-1:]
    said = together(
        (
            _crisis_words(scene, proof),
            _set_aside_words(scene, proof),
            _fault_words(scene, proof),
            _usual_late(scene, proof[-1]),
        ),
        _NOTHING,
    )
    found = [_asked_of_crisis(scene, together((said, _new_strip(proof[-1]), _MEASURE_AGAIN), _NOTHING), event, proof)]
    if scene.now <= deadline:
        return found, deadline + _INSTANT
    because = Text(
        en=f"{said.en} The patient was asked to measure again; none that counts came within {wait // MINUTE} min.",
        zh=f"{said.zh}已请患者复测，{wait // MINUTE} 分钟内未收到有效的第二次。",
    )
    alone = scene.finding(rule, Verdict.RAISE, because, first.taken_at, proof, known_at=deadline, emergencies=proof)
    return [alone, *found], None


def _crisis_words(scene: Scene, proof: Sequence[Reading]) -> Text:
    rule, unit = METER_CRISIS, shown(proof[0])[1]
    limit, source = limit_words(scene, rule, "limit", unit), scene.limits.source(rule.name, "limit", unit)
    values = [(words(scene, each), scene.clock(each.taken_at)) for each in proof]
    said = Text(
        en=" and ".join(f"{value.en} at {at}" for value, at in values),
        zh="、".join(f"{at} {value.zh}" for value, at in values),
    )
    counts = Text(en="", zh="不低于 ")
    if any(math.isinf(shown(each)[0]) for each in proof):
        # Where a meter's range ends is not known, and may be below the limit.
        counts = Text(en="HI counts as ", zh="HI 视为不低于 ")
    return Text(
        en=f"Meter glucose {said.en}: {counts.en}at or above {limit.en}. Limit: {source.en}.",
        zh=f"指尖血糖 {said.zh}：{counts.zh}{limit.zh}。限值依据：{source.zh}。",
    )


def _set_aside_words(scene: Scene, proof: Sequence[Reading]) -> Text:
    if len(believed(proof)) == len(proof):
        return _NOTHING
    (glucose,) = COMPONENTS[Vital.GLUCOSE]
    highest = _mean_words(scene, glucose.highest, shown(proof[-1])[1])
    return Text(
        en=f" What is above {highest.en} is higher than can be believed and was set aside: the value or its unit may "
        "be wrong, or the glucose extremely high.",
        zh=f"高于 {highest.zh}的数值超出可信范围，已搁置：数值或单位可能有误，也可能血糖极高。",
    )


def _not_crisis(scene: Scene, newest: Reading, raising: Collection[str] | None) -> Finding | None:
    rule = METER_CRISIS
    if not _is_below_crisis(scene, newest):
        return _held(scene, rule, newest, raising)
    if not is_heard(rule, raising):
        return None
    now, at, limit = (
        words(scene, newest),
        scene.clock(newest.taken_at),
        limit_words(scene, rule, "clear", shown(newest)[1]),
    )
    because = Text(en=f"Glucose {now.en} at {at}: below {limit.en}.", zh=f"{at} 血糖 {now.zh}：低于 {limit.zh}。")
    return scene.finding(rule, Verdict.CLEAR, because, newest.taken_at, (newest,))


# Goals by meal


def _goal(reading: Reading) -> str:
    """The parameter of the goal that holds for the reading's meal."""
    return "before-meal" if reading.context.get("meal") in _BEFORE_MEAL else "after-meal"


def _above(scene: Scene, reading: Reading, parameter: str) -> bool:
    """Above its goal: before meals the goal includes its limit, after meals it ends below it."""
    value, unit = shown(reading)
    limit = scene.number(METER_HIGH, parameter, unit)
    return value >= limit if parameter == "after-meal" else value > limit


def _high(scene: Scene, glucose: Sequence[Reading], raising: Collection[str] | None) -> Finding | None:
    rule, newest = METER_HIGH, glucose[-1]
    goal = _goal(newest)
    if not _above(scene, newest, goal):
        return _not_high(scene, newest, goal, raising)
    if not scene.fresh(rule, "fresh-meter", newest) or _is_extreme(scene, newest):
        return _held(scene, rule, newest, raising)
    at, now, meal = scene.clock(newest.taken_at), words(scene, newest), _meal(newest)
    limit, source, todo, priority = _high_level(scene, newest, goal)
    fault, late, strip = _fault_words(scene, (newest,)), _usual_late(scene, newest), _new_strip(newest)
    more = together((fault, late, strip, todo), _NOTHING)
    stand = Text(en="above", zh="高于")
    if _as_at_referral(scene, newest):
        stand = Text(en="at or above", zh="不低于")
    return scene.finding(
        rule,
        Verdict.RAISE,
        Text(
            en=f"Meter glucose {now.en} at {at}{meal.en}: {stand.en} {limit.en}. Limit: {source.en}.{more.en}",
            zh=f"{at} {meal.zh}指尖血糖 {now.zh}：{stand.zh} {limit.zh}。限值依据：{source.zh}。{more.zh}",
        ),
        _first_high(scene, glucose),
        (newest,),
        priority=priority,
        audience=Audience.PATIENT,
    )


_NOT_AT_ONCE: Final = Text(
    en=" Nothing needs to be done at once: please measure again before your next meal.",
    zh="无需立即处理：请在下一餐前复测。",
)
_MEASURE_AGAIN: Final = Text(
    en=" Please wash your hands and measure again now, ketones too; if it is still so high, or you feel ill "
    "or drowsy, call the emergency number (120 in China) now.",
    zh="请洗手后立即复测，并测血酮；如仍如此高，或有不适、嗜睡，请立即拨打急救电话（中国大陆 120）。",
)
_CRISIS_MEANWHILE: Final = Text(
    en=" Please measure ketones too; if it is still so high, or you feel ill or drowsy, call the emergency number "
    "(120 in China) now.",
    zh="请同时测血酮；如仍如此高，或有不适、嗜睡，请立即拨打急救电话（中国大陆 120）。",
)
_STILL_EXTREME: Final = Text(
    en=" It is still so high: please call the emergency number (120 in China) or have yourself brought to a hospital "
    "now, also if you feel well.",
    zh="血糖仍如此之高：即使没有不适，也请立即拨打急救电话（中国大陆 120）或由他人送往医院。",
)


def _as_at_referral(scene: Scene, reading: Reading) -> bool:
    """Whether it reaches the level at which staff may hear of two of a day, or of one by China's rule."""
    return _reaches(scene, METER_REFERRAL if _is_on(scene, METER_REFERRAL) else METER_HIGH_TWICE, reading)


def _high_level(scene: Scene, newest: Reading, goal: str) -> tuple[Text, Text, Text, Priority]:
    """The highest limit that a reading is beyond, its source, what to do now, and how urgent that is."""
    referral, rule, parameter, priority = _as_at_referral(scene, newest), METER_HIGH, goal, METER_HIGH.priority
    late = _asked_at(newest) - newest.taken_at > timedelta(hours=2)
    then = Text(en="now", zh="现在") if late else Text(en="in 2 h", zh="2 小时后")
    todo = _NOT_AT_ONCE
    if referral:
        rule = METER_REFERRAL if _is_on(scene, METER_REFERRAL) else METER_HIGH_TWICE
        parameter, priority = "high", Priority.MEDIUM
        todo = Text(
            en=f" Please drink water, measure ketones if you can, wash your hands and measure again {then.en}; if it "
            "is still so high, call your doctor or clinic the same day; if you vomit, breathe hard or feel drowsy, "
            "call the emergency number (120 in China) now.",
            zh=f"请饮水，如有条件请测血酮，洗手后{then.zh}复测；如仍如此高，请当日联系医生或诊所；"
            "如有呕吐、呼吸费力或嗜睡，请立即拨打急救电话（中国大陆 120）。",
        )
    elif _above(scene, newest, "very-high"):
        parameter = "very-high"
        todo = Text(
            en=f" Please drink water, wash your hands and measure again {then.en}; if you feel ill, measure ketones "
            "too.",
            zh=f"请饮水，洗手后{then.zh}复测；如有不适，请同时测血酮。",
        )
    unit = shown(newest)[1]
    limit, source = limit_words(scene, rule, parameter, unit), scene.limits.source(rule.name, parameter, unit)
    return limit, source, todo, priority


def _first_high(scene: Scene, glucose: Sequence[Reading]) -> datetime:
    """The first such reading of the patient's week, or day if very high: a patient is told no oftener.

    From the level of referral on it is the first of its hour, for whoever was asked to measure again is answered.
    """
    newest = glucose[-1]
    if _as_at_referral(scene, newest):
        return answers([each for each in glucose if _as_at_referral(scene, each)], _HOUR)[-1].taken_at
    if _above(scene, newest, "very-high"):
        today = [each for each in glucose if scene.day(each.taken_at) == scene.day(newest.taken_at)]
        return next(each.taken_at for each in today if _above(scene, each, "very-high"))
    week = scene.week_of(newest.taken_at)
    return next(each.taken_at for each in glucose if each.taken_at >= week and _above(scene, each, _goal(each)))


def _not_high(scene: Scene, newest: Reading, goal: str, raising: Collection[str] | None) -> Finding | None:
    rule = METER_HIGH
    if not is_heard(rule, raising):
        return None
    value, unit = shown(newest)
    at, now, meal, limit = (
        scene.clock(newest.taken_at),
        words(scene, newest),
        _meal(newest),
        limit_words(scene, rule, goal, unit),
    )
    return scene.finding(
        rule,
        Verdict.HOLD if math.isnan(value) else Verdict.CLEAR,
        Text(
            en=f"Glucose {now.en} at {at}{meal.en}: not above its goal of {limit.en}.",
            zh=f"{at} {meal.zh}血糖 {now.zh}：未高于目标 {limit.zh}。",
        ),
        newest.taken_at,
        (newest,),
    )


def _meal(reading: Reading) -> Text:
    if Flag.MEAL_UNKNOWN in reading.flags:
        return Text(en=", meal unknown", zh="餐别未知")
    return _MEALS.get(str(reading.context.get("meal")), _MEALS["casual"])


# Ketones

_KETONE_LEVELS: Final = {"watch": Priority.LOW, "call": Priority.MEDIUM, "emergency": Priority.HIGH}
_KETONE_ADVICE: Final = {
    "emergency": Text(
        en=" This is an emergency: please call the emergency number (120 in China) or have yourself brought to a "
        "hospital now, also if you feel well.",
        zh="这属于紧急情况：即使没有不适，也请立即拨打急救电话（中国大陆 120）或由他人送往医院。",
    ),
    "call": Text(
        en=" Please call your doctor or clinic now, drink water, and measure glucose and ketone again in 2 h; if you "
        "vomit, breathe hard or feel drowsy, call the emergency number (120 in China) now.",
        zh="请立即联系医生或诊所，饮水，2 小时后复测血糖和血酮；如有呕吐、呼吸费力或嗜睡，"
        "请立即拨打急救电话（中国大陆 120）。",
    ),
    "watch": Text(
        en=" Please drink water and measure glucose and ketone again in 2 h.", zh="请饮水，2 小时后复测血糖和血酮。"
    ),
}

_KETONE_MEANWHILE: Final = Text(
    en=" Until it says otherwise this is an emergency: please call the emergency number (120 in China) or have "
    "yourself brought to a hospital now, also if you feel well.",
    zh="在结果表明并非如此之前，仍属紧急情况：即使没有不适，也请立即拨打急救电话（中国大陆 120）或由他人送往医院。",
)
_KETONE_LATE: Final = Text(
    en=" Please measure ketone and glucose again now; if ketone is still so high, call your doctor or clinic; if you "
    "vomit, breathe hard or feel drowsy, call the emergency number (120 in China) now.",
    zh="请现在复测血酮和血糖；如血酮仍如此高，请联系医生或诊所；"
    "如有呕吐、呼吸费力或嗜睡，请立即拨打急救电话（中国大陆 120）。",
)


def _ketone(
    scene: Scene, ketones: Sequence[Reading], glucose: Sequence[Reading], raising: Collection[str] | None
) -> list[Finding]:
    """The patient is told what to do at each level, whenever it is reached; staff hear of the upper two.

    What falls from a level to a lower one is told as what it was: nobody is told to do less. Whoever measures again
    and is still at the level of an emergency is answered each time, and staff's alert says so.
    """
    rule, newest = KETONE, ketones[-1]
    watch = scene.number(rule, "watch", MMOL_L)
    value, at, now = shown(newest)[0], scene.clock(newest.taken_at), words(scene, newest)
    level = _ketone_level(scene, newest)
    if level is None or not scene.fresh(rule, "fresh-meter", newest):
        if not is_heard(rule, raising):
            return []
        over = value < watch
        because = Text(
            en=f"Blood ketone {now.en} at {at}: {f'below {watch:g} mmol/L' if over else 'too old to judge by'}.",
            zh=f"{at} 血酮 {now.zh}：{f'低于 {watch:g} mmol/L' if over else '读数过旧，无法判断'}。",
        )
        verdict = Verdict.CLEAR if over else Verdict.HOLD
        return [scene.finding(rule, verdict, because, newest.taken_at, (newest,))]
    row = _since_above(ketones, scene.number(rule, level, MMOL_L))
    reached = max(filter(None, (_ketone_level(scene, each) for each in row)), key=list(_KETONE_LEVELS).index)
    whole = _since_above(ketones, watch)
    worst = max(filter(None, (_ketone_level(scene, each) for each in whole)), key=list(_KETONE_LEVELS).index)
    told = [(Audience.PATIENT, reached, row)]
    if worst != "watch":
        told.append((Audience.STAFF, worst, whole))
    return [_of_ketone(scene, each, name, audience, glucose) for audience, name, each in told]


def _ketone_level(scene: Scene, reading: Reading) -> str | None:
    reached = [each for each in _KETONE_LEVELS if shown(reading)[0] >= scene.number(KETONE, each, MMOL_L)]
    return reached[-1] if reached else None


def _since_above(ketones: Sequence[Reading], limit: float) -> Sequence[Reading]:
    """The newest readings, as far back as none was below a limit."""
    return _episode(ketones, lambda each: shown(each)[0] >= limit, lambda each: shown(each)[0] < limit, _KETONE_GAP)


def _of_ketone(
    scene: Scene, event: Sequence[Reading], level: str, audience: Audience, glucose: Sequence[Reading]
) -> Finding:
    """What is told of the worst level that an event has reached."""
    rule, limit = KETONE, scene.number(KETONE, level, MMOL_L)
    source = scene.limits.source(rule.name, level, MMOL_L)
    at_level = [each for each in event if shown(each)[0] >= limit]
    last, newest = at_level[-1], event[-1]
    # The patient is told of each time it was reached, and of each emergency; staff of the trouble as a whole.
    reached = _since_above(event[: event.index(last) + 1], limit)
    answered = answers(reached)[-1] if level == "emergency" else reached[0]
    onset = at_level[0] if audience is Audience.STAFF else answered
    beside = _beside(last, glucose)
    said = _beside_words(scene, level, beside)
    if audience is Audience.PATIENT:
        said = _KETONE_LATE if _asked_at(newest) - newest.taken_at > SPOT_GAP else _KETONE_ADVICE[level]
    after = Text(en="", zh="")
    if newest is not last:
        now, at = words(scene, newest), scene.clock(newest.taken_at)
        after = Text(en=f", and {now.en} at {at}", zh=f"，{at} {now.zh}")
    at, value, late = scene.clock(last.taken_at), words(scene, last), _usual_late(scene, newest)
    return scene.finding(
        rule,
        Verdict.RAISE,
        Text(
            en=f"Blood ketone {value.en} at {at}: at or above {limit:g} mmol/L{after.en}.{late.en}{said.en} "
            f"Limit: {source.en}.",
            zh=f"{at} 血酮 {value.zh}：不低于 {limit:g} mmol/L{after.zh}。{late.zh}{said.zh}限值依据：{source.zh}。",
        ),
        _reached_at(onset) if audience is Audience.PATIENT else onset.taken_at,
        (last,) if beside is None else (beside, last),
        known_at=newest.received_at,
        priority=_KETONE_LEVELS[level],
        audience=audience,
        emergencies=at_level if level == "emergency" else (),
        renews=True,
    )


def _reached_at(onset: Reading) -> datetime:
    """Each correction by the device is an onset of its own, for what was told of the moment was of another value."""
    return onset.taken_at + (onset.rev - 1) * _INSTANT


def _beside(ketone: Reading, glucose: Sequence[Reading]) -> Reading | None:
    """The glucose measured nearest to a ketone."""
    near = [each for each in glucose if abs(each.taken_at - ketone.taken_at) <= SPOT_GAP]
    return min(near, key=lambda each: abs(each.taken_at - ketone.taken_at), default=None)


def _beside_words(scene: Scene, level: str, beside: Reading | None) -> Text:
    if beside is None:
        return Text(en=" No glucose was measured beside it.", zh="未同时测血糖。")
    value, unit = shown(beside)
    meets = level == "emergency" and value >= scene.number(KETONE, "ketoacidosis", unit)
    glucose = words(scene, beside)
    if meets:
        return Text(
            en=f" With glucose {glucose.en} this meets the ketone and glucose criteria of ketoacidosis; whether "
            "there is acidosis is not known.",
            zh=f"同时血糖 {glucose.zh}，血酮和血糖均达到酮症酸中毒标准；是否存在酸中毒未知。",
        )
    return Text(en=f" Glucose beside it: {glucose.en}.", zh=f"同时血糖 {glucose.zh}。")


# Patterns


def review(scene: Scene, glucose: Sequence[Reading]) -> tuple[Finding, ...]:
    """The patterns of the last 7 days, and what needs days to be over; glucose: of the last 14 days, oldest first."""
    if not glucose:
        return ()
    week = [each for each in glucose if scene.now - each.taken_at < 7 * _DAY]
    return (_repeated_high(scene, week), _repeated_low(scene, week), *_over_for_days(scene, glucose))


def _repeated_high(scene: Scene, week: Sequence[Reading]) -> Finding:
    rule = METER_REPEATED_HIGH
    days, share = scene.number(rule, "days", DAYS), scene.number(rule, "share", PERCENT)
    groups: defaultdict[str, list[Reading]] = defaultdict(list)
    for reading in week:
        if not _DOUBTS & reading.flags:
            groups[_goal(reading)].append(reading)
    proof: list[Reading] = []
    parts: list[Text] = []
    for goal in _GROUPS:
        high = [each for each in groups[goal] if _above(scene, each, goal)]
        if len(_days_of(scene, high)) >= days and 100 * len(high) >= share * len(groups[goal]):
            proof += high
            parts.append(_group_words(scene, goal, groups[goal], high))
    if not parts:
        return _no_pattern(scene, rule, week)
    return scene.finding(
        rule,
        Verdict.RAISE,
        Text(
            en=f"Meter glucose in the last 7 days {'; '.join(each.en for each in parts)}.",
            zh=f"近 7 天指尖血糖{'；'.join(each.zh for each in parts)}。",
        ),
        _onset(scene, proof),
        proof,
        audience=Audience.WEEKLY,
    )


def _group_words(scene: Scene, goal: str, all_of_it: Sequence[Reading], high: Sequence[Reading]) -> Text:
    unit, when = shown(high[-1])[1], _GROUPS[goal]
    limit, source = limit_words(scene, METER_HIGH, goal, unit), scene.limits.source(METER_HIGH.name, goal, unit)
    known = [each.values[0] for each in all_of_it if each.values[0] is not None]
    mean = _mean_words(scene, fmean(known), unit) if known else Text(en="?", zh="?")
    days = len(_days_of(scene, high))
    return Text(
        en=f"{when.en}: {len(high)} of {len(all_of_it)} readings on {days} days above {limit.en}, "
        f"mean {mean.en} "
        f"(limit: {source.en})",
        zh=f"{when.zh}：{len(all_of_it)} 次中 {len(high)} 次（{days} 天）高于 {limit.zh}，平均 {mean.zh}"
        f"（限值依据：{source.zh}）",
    )


def _mean_words(scene: Scene, mg_dl: float, unit: Unit) -> Text:
    """A mean as the patient's meter would show it, in both units."""
    mean = round(mg_dl / MG_DL_PER_MMOL_L, 1) if unit is Unit.MMOL_L else round(mg_dl)
    return value_words(scene, mean, unit)


def _repeated_low(scene: Scene, week: Sequence[Reading]) -> Finding:
    rule = METER_REPEATED_LOW
    low = [each for each in week if _is_below(scene, each, METER_LOW, "limit") and not _DOUBTS & each.flags]
    days = len(_days_of(scene, low))
    if days < scene.number(rule, "days", DAYS):
        return _no_pattern(scene, rule, week)
    unit = shown(low[-1])[1]
    limit, source = limit_words(scene, METER_LOW, "limit", unit), scene.limits.source(METER_LOW.name, "limit", unit)
    lowest = words(scene, min(low, key=lambda each: -math.inf if each.values[0] is None else each.values[0]))
    return scene.finding(
        rule,
        Verdict.RAISE,
        Text(
            en=f"Meter glucose in the last 7 days: {len(low)} of {len(week)} readings on {days} days below "
            f"{limit.en}, lowest {lowest.en}. Limit: {source.en}.",
            zh=f"近 7 天指尖血糖：{len(week)} 次中 {len(low)} 次（{days} 天）低于 {limit.zh}，最低 {lowest.zh}。"
            f"限值依据：{source.zh}。",
        ),
        _onset(scene, low),
        low,
        audience=Audience.WEEKLY,
    )


def _days_of(scene: Scene, readings: Sequence[Reading]) -> set[object]:
    return {scene.day(each.taken_at) for each in readings}


def _onset(scene: Scene, proof: Sequence[Reading]) -> datetime:
    """One pattern a week: the same in every review of the week, though its days pass."""
    return scene.week_of(max(each.taken_at for each in proof))


def _no_pattern(scene: Scene, rule: Rule, week: Sequence[Reading]) -> Finding:
    because = Text(
        en=f"{len(week)} meter readings in the last 7 days: no such pattern.",
        zh=f"近 7 天指尖血糖 {len(week)} 次：未见此规律。",
    )
    verdict = Verdict.CLEAR if week else Verdict.HOLD
    return scene.finding(rule, verdict, because, scene.now, week[-1:], audience=Audience.WEEKLY)


def _over_for_days(scene: Scene, glucose: Sequence[Reading]) -> Iterator[Finding]:
    """Of the rules that are over when no reading was at their level for so many days."""
    limit = limit_words(scene, METER_HIGH_TWICE, "high", shown(glucose[-1])[1])
    for rule, is_at, level in (
        (METER_REFERRAL, _at_referral, Text(en="at referral level", zh="达到转诊标准")),
        (METER_HIGH_TWICE, _is_high, Text(en=f"at or above {limit.en}", zh=f"达到 {limit.zh}")),
    ):
        days = scene.number(rule, "follow-up", DAYS)
        if any(is_at(scene, each) and scene.now - each.taken_at < days * _DAY for each in glucose):
            continue
        because = Text(
            en=f"No meter reading {level.en} for {days:g} days.", zh=f"{days:g} 天内指尖血糖未{level.zh}。"
        )
        yield scene.finding(rule, Verdict.CLEAR, because, scene.now, glucose[-1:])


def _is_high(scene: Scene, reading: Reading) -> bool:
    return _reaches(scene, METER_HIGH_TWICE, reading)

"""Readings that cannot both be right: a meter and a sensor, two of a meter, two of a cuff, two ketones. Pure.

The bounds are Homeward's own, wide enough that a good device crosses them in fewer than one of a hundred pairs:

- *meter and sensor*, 15 minutes apart at most: the meter is outside of everything the sensor showed in that time by
  more than 40 mg/dL (2.2 mmol/L) and 40 %. Integrated sensors keep 99 % within 40 % (21 CFR 862.1355).
- *two of a meter*, 15 minutes apart at most: they differ by more than 30 mg/dL (1.7 mmol/L), by 30 %, and by
  more than blood can change in the time (4 mg/dL a minute). Each may be wrong by 15 mg/dL or 15 % (ISO 15197).
- *two of a cuff*, in a row in one session: they differ by more than 35 systolic or 20 diastolic. That is four times
  the spread of such differences (7.4 mmHg).
- *two ketones*, 15 minutes apart at most: they differ by more than 0.6 mmol/L and by 40 %. Ketones fall by less than
  that in an hour of treatment.

HI and LO stand for all that is beyond the end of the range, so they contradict only what is too far from that end.

Nobody can say which of the two is wrong, so the patient is asked for a third, which outvotes one. What each of
them raised stays raised meanwhile, however long no third one comes (`doubted`). Where one of the two is an emergency
the patient is told once more what to do about it, and with high priority, for this may be the last that is heard;
where both are the same emergency a third one would change nothing, and is not asked for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from alerts.alert import Audience, Finding, Priority, Text, Verdict, together
from alerts.cuff import Pressure, limit_words, pressures
from alerts.cuff import emergency_advice as cuff_emergency_advice
from alerts.meter import believed, emergency_advice, is_doubted
from alerts.rule import MG_DL, MMHG, MMOL_L, PERCENT
from alerts.scene import MINUTE, Scene, is_heard
from alerts.shown import shown, words
from alerts.spot_rules import BP_SESSION_HIGH, CONTRADICTION
from ingest.reading import Flag, Reading
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital

_CHANGE_MG_DL: Final = 4.0  # a minute
# Where HI and LO begin (mg/dL): the ends of the range that most meters, and most sensors, can show.
_RANGE: Final = {Vital.GLUCOSE: (20.0, 600.0), Vital.CGM: (40.0, 400.0), Vital.KETONE: (0.0, 8.0)}  # mmol/L
# Of three readings in this time two that agree outvote the third.
_VOTE: Final = timedelta(minutes=30)
_FEW: Final = 6  # readings in which to find three that are in no doubt


class Against(NamedTuple):
    """What the patient is asked, or that nothing is asked any more, and what contradicts another reading.

    doubted: the vitals of which the newest reading contradicts another one, however long ago: it ends nothing alone.
    """

    findings: tuple[Finding, ...]
    doubted: frozenset[Vital]


def judge(
    scene: Scene,
    glucose: Sequence[Reading],
    sensor: Sequence[Reading],
    cuff: Sequence[Reading],
    ketones: Sequence[Reading] = (),
    *,
    raising: Collection[str] | None = None,
) -> Against:
    """Judge the newest readings of a meter and a cuff, each oldest first, of the last `spot.SPAN`.

    sensor: those within `apart` (15 min) of the newest reading of the meter, and may be more. raising: as in `spot`.
    """
    asked = _asked(scene, glucose, sensor, cuff, ketones)
    newest = [each[-1] for each in (glucose, cuff, ketones) if each]
    return Against(_told(scene, asked.values(), newest, raising), frozenset(asked))


def _told(
    scene: Scene, asked: Iterable[Finding], newest: Sequence[Reading], raising: Collection[str] | None
) -> tuple[Finding, ...]:
    """Of what the patient is asked the newest that is fresh, or that there is none. newest: of each vital."""
    found = [each for each in asked if _is_fresh(scene, each)]
    if found:
        # The newest, which outlasts the other one: none comes to light when that grows old.
        return (max(found, key=lambda each: each.since),)
    if not newest or not is_heard(CONTRADICTION, raising):
        return ()
    because = Text(en="The newest readings do not contradict each other.", zh="最近的读数相互一致。")
    evidence = (max(newest, key=lambda each: each.taken_at),)
    return (scene.finding(CONTRADICTION, Verdict.CLEAR, because, scene.now, evidence, audience=Audience.PATIENT),)


def _asked(
    scene: Scene,
    glucose: Sequence[Reading],
    sensor: Sequence[Reading],
    cuff: Sequence[Reading],
    ketones: Sequence[Reading],
) -> dict[Vital, Finding]:
    """What the patient is asked of each vital, also where it is not fresh any more."""
    glucose = believed(glucose)
    asked = {
        Vital.GLUCOSE: _sensor(scene, glucose, sensor) or _meter(scene, glucose),
        Vital.BLOOD_PRESSURE: _cuff(scene, pressures(cuff[-_FEW:])),
        Vital.KETONE: _ketone(scene, ketones),
    }
    return {vital: each for vital, each in asked.items() if each}


def _is_fresh(scene: Scene, found: Finding) -> bool:
    return scene.now - found.since <= scene.minutes(CONTRADICTION, "fresh-meter")


def _raise(
    scene: Scene, because: Text, evidence: Sequence[Reading], urgent: tuple[Text | None, Text | None]
) -> Finding | None:
    """urgent: what to do about each of the two, where it is an emergency."""
    one, other = urgent
    if one and one == other:
        return None
    because = together([because, *filter(None, urgent)], Text(en="", zh=""))
    newest = max(evidence, key=lambda each: each.taken_at)
    return scene.finding(
        CONTRADICTION,
        Verdict.RAISE,
        because,
        newest.taken_at,
        evidence,
        priority=Priority.HIGH if any(urgent) else CONTRADICTION.priority,
        audience=Audience.PATIENT,
    )


class _Span(NamedTuple):
    """Between what a value is, in mg/dL (a ketone in mmol/L): a number is both, HI and LO have one end."""

    lowest: float
    highest: float

    def apart(self, other: _Span) -> float:
        """The least by which both differ."""
        return max(self.lowest - other.highest, other.lowest - self.highest, 0.0)


def _value(reading: Reading) -> _Span | None:
    """None where there is none."""
    value, (lowest, highest) = reading.values[0], _RANGE[reading.vital]
    if value is not None:
        return _Span(value, value)
    if Flag.ABOVE_RANGE in reading.flags:
        return _Span(highest, math.inf)
    return _Span(-math.inf, lowest) if Flag.BELOW_RANGE in reading.flags else None


def _sensor(scene: Scene, glucose: Sequence[Reading], sensor: Sequence[Reading]) -> Finding | None:
    if not glucose or (value := _value(glucose[-1])) is None:
        return None
    meter, apart = glucose[-1], scene.minutes(CONTRADICTION, "apart")
    near = [
        (other, each)
        for each in sensor
        if abs(each.taken_at - meter.taken_at) <= apart and (other := _value(each)) is not None
    ]
    values = [other for other, _ in near]
    if (
        not near
        or _Span(min(each.lowest for each in values), max(each.highest for each in values)).apart(value) == 0
        or any(_agree(scene, value, each, "sensor") for each in values)
    ):
        return None
    _, closest = min(near, key=lambda each: value.apart(each[0]))
    one, nearest, at = words(scene, meter), words(scene, closest), scene.clock(meter.taken_at)
    bound = _bound(scene, "sensor", meter)
    return _raise(
        scene,
        Text(
            en=f"Your meter showed {one.en} at {at} and your sensor nothing nearer than {nearest.en} within "
            f"{apart // MINUTE} min: they differ by more than {bound.en}. Please wash your "
            "hands and measure again; if the meter is right, the sensor needs to be calibrated or replaced.",
            zh=f"{at} 血糖仪 {one.zh}，传感器前后 {apart // MINUTE} 分钟内最接近的为 {nearest.zh}："
            f"相差超过 {bound.zh}。请洗手后复测；如血糖仪无误，传感器需校准或更换。",
        ),
        (closest, meter),
        (emergency_advice(scene, meter), None),
    )


def unsure(scene: Scene, glucose: Sequence[Reading]) -> Reading | None:
    """The newest of a meter, where it contradicts the one before it, which the meter itself does not doubt."""
    found = _of_meter(scene, believed(glucose))
    return None if found is None or is_doubted(found[0]) else found[1]


def _of_meter(scene: Scene, glucose: Sequence[Reading]) -> tuple[Reading, Reading] | None:
    """The newest two, where they contradict each other."""
    if len(glucose) < 2:
        return None
    first, second = glucose[-2:]
    apart = second.taken_at - first.taken_at
    if apart > scene.minutes(CONTRADICTION, "apart") or _meters_agree(scene, first, second):
        return None
    if any(
        second.taken_at - each.taken_at <= _VOTE and _meters_agree(scene, each, second) for each in glucose[-3:-2]
    ):
        return None
    return first, second


def _meter(scene: Scene, glucose: Sequence[Reading]) -> Finding | None:
    found = _of_meter(scene, glucose)
    if found is None:
        return None
    first, second = found
    apart = second.taken_at - first.taken_at
    one, other, at = words(scene, first), words(scene, second), scene.clock(second.taken_at)
    bound = _bound(scene, "meter", first)
    return _raise(
        scene,
        Text(
            en=f"Your meter showed {one.en} and {apart // MINUTE} min later, at {at}, {other.en}: they differ by "
            f"more than {bound.en}. Please measure a third time, with clean hands.",
            zh=f"血糖仪先后显示 {one.zh} 和 {other.zh}（{at}，相隔 {apart // MINUTE} 分钟）："
            f"相差超过 {bound.zh}。请洗手后再测一次。",
        ),
        (first, second),
        (emergency_advice(scene, first), emergency_advice(scene, second)),
    )


def _meters_agree(scene: Scene, first: Reading, second: Reading) -> bool:
    one, other = _value(first), _value(second)
    change = _CHANGE_MG_DL * ((second.taken_at - first.taken_at) / MINUTE)
    return one is None or other is None or _agree(scene, one, other, "meter", change)


def _agree(scene: Scene, one: _Span, other: _Span, kind: str, change: float = 0.0) -> bool:
    """Whether two values (mg/dL) are as near as two good devices, and the change meanwhile, can explain."""
    share = scene.number(CONTRADICTION, f"{kind}-share", PERCENT) / 100
    return one.apart(other) <= max(_least(scene, kind), share * max(one.lowest, other.lowest), change)


def _least(scene: Scene, kind: str) -> float:
    return scene.number(CONTRADICTION, kind, MG_DL)


def _bound(scene: Scene, kind: str, reading: Reading) -> Text:
    least, share = _least(scene, kind), scene.number(CONTRADICTION, f"{kind}-share", PERCENT)
    in_mmol = scene.unit(shown(reading)[1]) is Unit.MMOL_L
    number = f"{f'{least / MG_DL_PER_MMOL_L:.1f} mmol/L' if in_mmol else f'{least:g} mg/dL'} / {share:g} %"
    source = scene.limits.source(CONTRADICTION.name, kind, MG_DL)
    return Text(en=f"{number} ({source.en})", zh=f"{number}（{source.zh}）")


def _ketone(scene: Scene, ketones: Sequence[Reading]) -> Finding | None:
    if len(ketones) < 2:
        return None
    first, second = ketones[-2:]
    apart = second.taken_at - first.taken_at
    if apart > scene.minutes(CONTRADICTION, "apart") or _ketones_agree(scene, first, second):
        return None
    if any(
        second.taken_at - each.taken_at <= _VOTE and _ketones_agree(scene, each, second) for each in ketones[-3:-2]
    ):
        return None
    one, other, at = words(scene, first), words(scene, second), scene.clock(second.taken_at)
    least, share = _ketone_bounds(scene)
    source = scene.limits.source(CONTRADICTION.name, "ketone", MMOL_L)
    return _raise(
        scene,
        Text(
            en=f"Your blood ketone was {one.en} and {apart // MINUTE} min later, at {at}, {other.en}: they differ by "
            f"more than {least:g} mmol/L / {share:g} % ({source.en}). Please measure a third time, with clean hands "
            "and a new strip.",
            zh=f"血酮先后为 {one.zh} 和 {other.zh}（{at}，相隔 {apart // MINUTE} 分钟）：相差超过 {least:g} mmol/L / "
            f"{share:g} %（{source.zh}）。请洗手后换新试纸再测一次。",
        ),
        (first, second),
        (emergency_advice(scene, first), emergency_advice(scene, second)),
    )


def _ketones_agree(scene: Scene, first: Reading, second: Reading) -> bool:
    one, other = _value(first), _value(second)
    least, share = _ketone_bounds(scene)
    if one is None or other is None:
        return True
    return one.apart(other) <= max(least, share / 100 * max(one.lowest, other.lowest))


def _ketone_bounds(scene: Scene) -> tuple[float, float]:
    return scene.number(CONTRADICTION, "ketone", MMOL_L), scene.number(CONTRADICTION, "ketone-share", PERCENT)


def _cuff(scene: Scene, taken: Sequence[Pressure]) -> Finding | None:
    sure = [each for each in taken if not each.doubtful and math.isfinite(each.systolic)][-3:]
    if len(sure) < 2 or sure[-1] is not taken[-1]:
        return None
    first, second = sure[-2:]
    if second.at - first.at > scene.minutes(BP_SESSION_HIGH, "session") or _cuffs_agree(scene, first, second):
        return None
    if any(second.at - each.at <= _VOTE and _cuffs_agree(scene, each, second) for each in sure[:-2]):
        return None
    at, later = scene.clock(second.at), (second.at - first.at) // MINUTE
    limit = limit_words(scene, CONTRADICTION)
    return _raise(
        scene,
        Text(
            en=f"Your cuff showed {first.words} and {later} min later, at {at}, {second.words}: they differ by more "
            f"than {limit.en}. Please sit still for 5 min and measure a third time.",
            zh=f"血压计先后显示 {first.words} 和 {second.words}（{at}，相隔 {later} 分钟）："
            f"相差超过 {limit.zh}。请静坐 5 分钟后再测一次。",
        ),
        (first.reading, second.reading),
        (cuff_emergency_advice(scene, first), cuff_emergency_advice(scene, second)),
    )


def _cuffs_agree(scene: Scene, one: Pressure, other: Pressure) -> bool:
    systolic, diastolic = (scene.number(CONTRADICTION, name, MMHG) for name in ("systolic", "diastolic"))
    return abs(one.systolic - other.systolic) <= systolic and abs(one.diastolic - other.diastolic) <= diastolic

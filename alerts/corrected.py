"""What a patient was asked to do because of a value that the device has corrected since. Pure.

Whoever ate sugar by a 2.3 that was a 6.3 has to know. Staff hear it where the alert is over by it; there, and
wherever else such a value is told, it is marked as corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Final

from alerts import spot
from alerts.alert import Audience, Finding, Text, Verdict, together
from alerts.cuff import pressures
from alerts.scene import Scene
from alerts.shown import words
from alerts.spot_rules import BP_LOW, BP_SEVERE, CORRECTED, KETONE, METER_CRISIS, METER_LOW, METER_VERY_LOW
from ingest.reading import Reading
from ingest.vital import Vital

# By which a patient is asked to do something at once.
_AT_ONCE: Final = frozenset(
    rule.name for rule in (METER_LOW, METER_VERY_LOW, METER_CRISIS, KETONE, BP_SEVERE, BP_LOW)
)
_INSTANT: Final = timedelta(microseconds=1)


def judge(
    scene: Scene, taken: spot.Taken, came: Collection[str], said_before: Callable[[Reading], Reading | None]
) -> list[Finding]:
    """taken: as for `spot.judge`. came: keys of the readings that came since. said_before: of a corrected one."""
    told: list[tuple[Reading, Text]] = []
    for vital, readings in taken.items():
        for place, newest in enumerate(readings):
            if vital is Vital.CGM or newest.rev == 1 or newest.key not in came:
                continue
            before = said_before(newest)
            if before and _asked(scene, [*readings[:place], before]) - _asked(scene, [*readings[:place], newest]):
                told.append((newest, _words(scene, before, newest)))
    if not told:
        return []
    last, _ = told[-1]
    return [
        scene.finding(
            CORRECTED,
            Verdict.RAISE,
            together([*(each for _, each in told), _MEASURE]),
            last.taken_at + (last.rev - 1) * _INSTANT,
            [each for each, _ in told],
            audience=Audience.PATIENT,
        )
    ]


def _asked(scene: Scene, readings: Sequence[Reading]) -> set[str]:
    """The rules by which the patient was asked for something when the newest of these readings came."""
    newest = readings[-1]
    then = scene._replace(now=max(newest.taken_at, newest.received_at))
    found = spot.judge(then, {newest.vital: readings}, raising=()).findings
    return {each.rule for each in found if spot.asks_patient(each) and newest.key in each.evidence} & _AT_ONCE


def _words(scene: Scene, before: Reading, newest: Reading) -> Text:
    at, was, now = scene.clock(newest.taken_at), _value(scene, before), _value(scene, newest)
    return Text(
        en=f"What your device showed at {at} was wrong: it has corrected {was.en} to {now.en}. What you were asked "
        "to do because of it no longer holds.",
        zh=f"设备 {at} 的读数有误：已由 {was.zh} 更正为 {now.zh}。此前据此提出的要求不再有效。",
    )


def _value(scene: Scene, reading: Reading) -> Text:
    if reading.vital is not Vital.BLOOD_PRESSURE:
        return words(scene, reading)
    said = next((each.words for each in pressures((reading,))), "?")
    return Text(en=said, zh=said)


_MEASURE: Final = Text(
    en="Please measure again now, and call your doctor or clinic if you do not feel well.",
    zh="请现在复测；如有不适，请联系医生或诊所。",
)

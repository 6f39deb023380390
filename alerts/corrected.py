"""What a patient was asked to do because of a value that the device has corrected since. Pure.

Whoever ate sugar by a 2.3 that was a 6.3 has to know. Staff hear it where the alert is over by it; there, and
wherever else such a value is told, it is marked as corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from alerts import spot
from alerts.alert import Audience, Finding, Priority, Text, Verdict, together
from alerts.cuff import pressures
from alerts.scene import Scene
from alerts.shown import words
from alerts.spot_rules import (
    BP_LOW,
    BP_SEVERE,
    CORRECTED,
    KETONE,
    METER_CRISIS,
    METER_HIGH,
    METER_LOW,
    METER_VERY_LOW,
)
from ingest.reading import Reading
from ingest.vital import Vital

# By which a patient is asked to do something at once, and the kind of what is asked: a value that is corrected and
# asks for the same takes nothing back.
_AT_ONCE: Final[Mapping[str, str]] = {
    METER_LOW.name: "low",
    METER_VERY_LOW.name: "low",
    METER_CRISIS.name: "high",
    KETONE.name: "ketone",
    BP_SEVERE.name: "severe",
    BP_LOW.name: "low pressure",
}
_INSTANT: Final = timedelta(microseconds=1)


def judge(
    scene: Scene, taken: spot.Taken, came: Collection[str], said_before: Callable[[Reading], Reading | None]
) -> list[Finding]:
    """taken: as for `spot.judge`. came: keys of the readings that came since.

    said_before: what the device had said of a reading before, None where it had said nothing else.
    """
    told: list[tuple[Reading, Reading]] = []
    for vital, readings in taken.items():
        for newest in readings:
            if vital is Vital.CGM or newest.key not in came:
                continue
            if asked := _asked_by(scene, newest, said_before):
                before, kinds = asked
                if not kinds <= _asks(scene, newest):
                    told.append((before, newest))
    if not told:
        return []
    before, last = told[-1]
    return [
        scene.finding(
            CORRECTED,
            Verdict.RAISE,
            together([*(_words(scene, *each) for each in told), _MEASURE]),
            # Once for each value that has asked for something, however often it is corrected.
            last.taken_at + before.rev * _INSTANT,
            [newest for _, newest in told],
            audience=Audience.PATIENT,
        )
    ]


def _asked_by(
    scene: Scene, newest: Reading, said_before: Callable[[Reading], Reading | None]
) -> tuple[Reading, set[str]] | None:
    """What the device had said last by which the patient was asked for something, and the kinds of that."""
    before = said_before(newest)
    while before:
        # What came with the correction nobody has seen.
        if before.received_at < newest.received_at:
            kinds = {
                _AT_ONCE[each.rule] for each in _asked(scene, before, before.received_at) if each.rule in _AT_ONCE
            }
            if kinds:
                return before, kinds
        before = said_before(before)
    return None


def _asks(scene: Scene, newest: Reading) -> set[str]:
    """The kinds of what the patient is asked by the corrected value, in the words of its own rules.

    Of a high glucose that is whom to call, from the level of referral on.
    """
    asked = _asked(scene, newest, newest.taken_at)
    high = any(each.rule == METER_HIGH.name and each.priority >= Priority.MEDIUM for each in asked)
    return {_AT_ONCE[each.rule] for each in asked if each.rule in _AT_ONCE} | ({"high"} if high else set())


def _asked(scene: Scene, reading: Reading, moment: datetime) -> list[Finding]:
    """What the patient is asked by a value alone, seen at a moment."""
    then = scene._replace(now=max(reading.taken_at, moment))
    found = spot.judge(then, {reading.vital: [reading]}, raising=()).findings
    return [each for each in found if spot.asks_patient(each)]


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

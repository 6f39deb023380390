"""A glucose or ketone as its sender's display shows it, and as it is said to people; nothing is compared converted.

A glucose is said in both units, first the one in which the patient reads it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from alerts.alert import Text
from alerts.rule import Rule
from alerts.scene import Scene
from ingest.reading import Flag, Reading
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital, family

_ABOVE: Final = Text(en="above the device's range", zh="高于设备量程")
_BELOW: Final = Text(en="below the device's range", zh="低于设备量程")
_UNCERTAIN: Final = Text(en="time uncertain", zh="时间存疑")
_CORRECTED: Final = Text(en="corrected by the device", zh="设备已更正")


def shown(reading: Reading) -> tuple[float, Unit]:
    """The value in the unit family received: HI is +inf, LO is -inf, no value at all is NaN (beyond no limit)."""
    sent = reading.sent[0]
    value, unit = family(math.nan if sent is None else sent, reading.unit)
    if sent is None and Flag.ABOVE_RANGE in reading.flags:
        value = math.inf
    elif sent is None and Flag.BELOW_RANGE in reading.flags:
        value = -math.inf
    return value, unit


def words(scene: Scene, reading: Reading) -> Text:
    """The value, a glucose in both units, the one that is read first; HI and LO as words.

    With it that its time is not certain, and that the device has told another one before.
    """
    marks = (Flag.TIME_FAULT in reading.flags, reading.rev > 1)
    value, unit = shown(reading)
    if reading.vital is Vital.KETONE:
        return _value_words(value, unit, None, marks)
    return _value_words(value, unit, scene.unit(unit), marks)


def value_words(scene: Scene, value: float, unit: Unit) -> Text:
    """A glucose as `shown` gives it, in both units, the one that is read first; HI and LO as words."""
    return _value_words(value, unit, scene.unit(unit), (False, False))


# Values are whole mg/dL or tenths of mmol/L, so a few hundred of them make all sentences.
@lru_cache(4096)
def _value_words(value: float, unit: Unit, reads: Unit | None, marks: tuple[bool, bool]) -> Text:
    """reads: None of what has one unit alone. marks: whether its time is uncertain, and whether it was corrected."""
    said = [mark for mark, holds in zip((_UNCERTAIN, _CORRECTED), marks, strict=True) if holds]
    en, zh = [each.en for each in said], [each.zh for each in said]
    if math.isnan(value):
        here = Text(en="without a value", zh="无数值")
    elif math.isinf(value):
        here = Text(en="HI", zh="HI") if value > 0 else Text(en="LO", zh="LO")
        beyond = _ABOVE if value > 0 else _BELOW
        en, zh = [beyond.en, *en], [beyond.zh, *zh]
    elif reads is None:
        here = Text(en=number(value, unit), zh=number(value, unit))
    else:
        first, other = number(value, unit), converted(value, unit)
        if reads is not unit:
            first, other = other, first
        here = Text(en=first, zh=first)
        en, zh = [other, *en], [other, *zh]
    return Text(
        en=f"{here.en} ({', '.join(en)})" if en else here.en, zh=f"{here.zh}（{'，'.join(zh)}）" if zh else here.zh
    )


def limit_words(scene: Scene, rule: Rule, parameter: str, unit: Unit) -> Text:
    """A limit in both units with its own value in each, first the one that is read. unit: the one received."""
    first = scene.unit(unit)
    other = Unit.MG_DL if first is Unit.MMOL_L else Unit.MMOL_L
    return _both(scene.number(rule, parameter, first), first, scene.number(rule, parameter, other), other)


@lru_cache(1024)
def _both(here: float, first: Unit, there: float, other: Unit) -> Text:
    return Text(
        en=f"{number(here, first)} ({number(there, other)})", zh=f"{number(here, first)}（{number(there, other)}）"
    )


def number(value: float, unit: Unit) -> str:
    """With the decimals that were sent, but 3 mmol/L as the 3.0 that every display shows."""
    return f"{value:.1f} {unit}" if unit is Unit.MMOL_L and value == round(value) else f"{value:g} {unit}"


def converted(value: float, unit: Unit) -> str:
    """A glucose in the other unit, for eyes used to that."""
    if unit is Unit.MMOL_L:
        return f"{value * MG_DL_PER_MMOL_L:.0f} {Unit.MG_DL}"
    return f"{value / MG_DL_PER_MMOL_L:.1f} {Unit.MMOL_L}"

"""A glucose value as its sender's display shows it, and as it is said to people; nothing is compared converted.

It is said in both units, first the one in which the patient reads glucose.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from alerts.alert import Text
from alerts.rule import Rule
from alerts.scene import Scene
from ingest.reading import Flag, Reading
from ingest.vital import MG_DL_PER_MMOL_L, Unit, family

_ABOVE: Final = Text(en="above the device's range", zh="高于设备量程")
_BELOW: Final = Text(en="below the device's range", zh="低于设备量程")


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
    """The value in both units, the one that is read first; HI and LO as words; and that its time is not certain."""
    return value_words(scene, *shown(reading), sure=Flag.TIME_FAULT not in reading.flags)


def value_words(scene: Scene, value: float, unit: Unit, *, sure: bool = True) -> Text:
    """A value as `shown` gives it, in both units, the one that is read first; HI and LO as words.

    sure: whether its time is.
    """
    return _value_words(value, unit, scene.unit(unit), sure)


# Values are whole mg/dL or tenths of mmol/L, so a few hundred of them make all sentences.
@lru_cache(4096)
def _value_words(value: float, unit: Unit, reads: Unit, sure: bool) -> Text:
    en, zh = ([], []) if sure else (["time uncertain"], ["时间存疑"])
    if math.isnan(value):
        here = Text(en="without a value", zh="无数值")
    elif math.isinf(value):
        here = Text(en="HI", zh="HI") if value > 0 else Text(en="LO", zh="LO")
        beyond = _ABOVE if value > 0 else _BELOW
        en, zh = [beyond.en, *en], [beyond.zh, *zh]
    else:
        first, other = number(value, unit), _converted(value, unit)
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


def _converted(value: float, unit: Unit) -> str:
    """For eyes used to the other unit."""
    if unit is Unit.MMOL_L:
        return f"{value * MG_DL_PER_MMOL_L:.0f} {Unit.MG_DL}"
    return f"{value / MG_DL_PER_MMOL_L:.1f} {Unit.MMOL_L}"

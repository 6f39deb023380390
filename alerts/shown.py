"""A glucose value as its sender's display shows it, and as it is said to people; nothing is compared converted."""

from __future__ import annotations

import math

from alerts.alert import Text
from alerts.rule import Rule
from alerts.scene import Scene
from ingest.reading import Flag, Reading
from ingest.vital import MG_DL_PER_MMOL_L, Unit, family


def shown(reading: Reading) -> tuple[float, Unit]:
    """The value in the unit family received: HI is +inf, LO is -inf, no value at all is NaN (beyond no limit)."""
    sent = reading.sent[0]
    value, unit = family(math.nan if sent is None else sent, reading.unit)
    if sent is None and Flag.ABOVE_RANGE in reading.flags:
        value = math.inf
    elif sent is None and Flag.BELOW_RANGE in reading.flags:
        value = -math.inf
    return value, unit


def words(reading: Reading) -> Text:
    """The value in both units, the one received first; HI and LO as words; and that its time is not certain."""
    said = value_words(*shown(reading))
    if Flag.TIME_FAULT not in reading.flags:
        return said
    return Text(en=f"{said.en}, time uncertain,", zh=f"{said.zh}（时间存疑）")


def value_words(value: float, unit: Unit) -> Text:
    """A value as `shown` gives it, in both units, its own first; HI and LO as words."""
    if math.isnan(value):
        return Text(en="without a value", zh="无数值")
    if math.isinf(value):
        return (
            Text(en="HI (above the device's range)", zh="HI（高于设备量程）")
            if value > 0
            else Text(en="LO (below the device's range)", zh="LO（低于设备量程）")
        )
    here, there = number(value, unit), _converted(value, unit)
    return Text(en=f"{here} ({there})", zh=f"{here}（{there}）")


def limit_words(scene: Scene, rule: Rule, parameter: str, unit: Unit) -> Text:
    """A limit in the unit received, with its own value in the other one."""
    other = Unit.MG_DL if unit is Unit.MMOL_L else Unit.MMOL_L
    here, there = (number(scene.number(rule, parameter, each), each) for each in (unit, other))
    return Text(en=f"{here} ({there})", zh=f"{here}（{there}）")


def number(value: float, unit: Unit) -> str:
    """With the decimals that were sent, but 3 mmol/L as the 3.0 that every display shows."""
    return f"{value:.1f} {unit}" if unit is Unit.MMOL_L and value == round(value) else f"{value:g} {unit}"


def _converted(value: float, unit: Unit) -> str:
    """For eyes used to the other unit."""
    if unit is Unit.MMOL_L:
        return f"{value * MG_DL_PER_MMOL_L:.0f} {Unit.MG_DL}"
    return f"{value / MG_DL_PER_MMOL_L:.1f} {Unit.MMOL_L}"

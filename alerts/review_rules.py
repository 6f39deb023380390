"""The rules of a sensor's week as data. All are patterns: they make lines of the weekly list, and no alert."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from alerts.alert import Audience, Priority, Text
from alerts.rule import OWN, PERCENT, Comparison, Group, Parameter, Rule, Variant
from ingest.vital import Vital

POINTS: Final = "points"
NIGHTS: Final = "nights"

_CONSENSUS: Final = Text(en="Battelino 2019", zh="Battelino 2019 共识")
_OLDER: Final = Text(en="Battelino 2019, older or at high risk", zh="Battelino 2019 共识，老年或高风险")
_CHINA: Final = Text(en="Chinese AGP template 2023", zh="中国 AGP 报告模板 2023")
_TIDE: Final = Text(
    en="TIDE flag; 5 points are meaningful, Battelino 2019", zh="TIDE 标准；Battelino 2019：5 个百分点即有意义"
)


def _rule(name: str, title: Text, comparison: Comparison, *parameters: Parameter) -> Rule:
    return Rule(
        name=name,
        title=title,
        problem=name,
        vitals=(Vital.CGM,),
        comparison=comparison,
        priority=Priority.LOW,
        audience=Audience.WEEKLY,
        parameters=parameters,
    )


def _percent(
    name: str, default: float, lower: float, upper: float, variants: Mapping[Group, Variant] | None = None
) -> Parameter:
    return Parameter(
        name=name,
        unit=PERCENT,
        default=default,
        lower=lower,
        upper=upper,
        source=_CONSENSUS,
        variants=variants or {},
    )


WEEK_TIR: Final = _rule(
    "week-tir",
    Text(en="Time in range below target", zh="目标范围内时间未达标"),
    Comparison.AT_MOST,
    _percent("limit", 70, 30, 95, {Group.OLDER: Variant(50, _OLDER)}),
)
WEEK_TBR: Final = _rule(
    "week-tbr",
    Text(en="Too much time below range", zh="低于目标范围时间过长"),
    Comparison.AT_LEAST,
    _percent("limit", 4, 0.5, 10, {Group.OLDER: Variant(1, _OLDER)}),
    _percent("limit-level-2", 1, 0.2, 4),
)
# The consensus names no first level for older people; theirs is what more than 50 % in range leaves.
WEEK_TAR: Final = _rule(
    "week-tar",
    Text(en="Too much time above range", zh="高于目标范围时间过长"),
    Comparison.AT_LEAST,
    _percent("limit", 25, 5, 70, {Group.OLDER: Variant(50, _OLDER)}),
    _percent("limit-level-2", 5, 1, 40, {Group.OLDER: Variant(10, _OLDER)}),
)
WEEK_CV: Final = _rule(
    "week-cv",
    Text(en="Glucose varies widely", zh="血糖波动过大"),
    Comparison.ABOVE,
    _percent("limit", 36, 30, 50, {Group.CHINA: Variant(33, _CHINA)}),
)
WEEK_TIR_FALLING: Final = _rule(
    "week-tir-falling",
    Text(en="Time in range is falling", zh="目标范围内时间下降"),
    Comparison.AT_LEAST,
    Parameter(name="limit", unit=POINTS, default=15, lower=5, upper=30, source=_TIDE),
)
WEEK_NOCTURNAL_LOWS: Final = _rule(
    "week-nocturnal-lows",
    Text(en="Lows at the same hours of the night", zh="夜间同一时段反复低血糖"),
    Comparison.AT_LEAST,
    Parameter(name="nights", unit=NIGHTS, default=3, lower=2, upper=7, source=OWN),
)
WEEK_WEAR: Final = _rule(
    "week-wear",
    Text(en="Too few readings of the sensor", zh="传感器数据不足"),
    Comparison.BELOW,
    _percent("limit", 70, 30, 90),
)
REVIEW_RULES: Final = (
    WEEK_TIR,
    WEEK_TBR,
    WEEK_TAR,
    WEEK_CV,
    WEEK_TIR_FALLING,
    WEEK_NOCTURNAL_LOWS,
    WEEK_WEAR,
)

# (this number, that number): this must not be above that, in every unit both have.
NOT_ABOVE: Final = (
    (("week-tbr", "limit-level-2"), ("week-tbr", "limit")),
    (("week-tar", "limit-level-2"), ("week-tar", "limit")),
)
# A number that was not given moves along with this one where it would stand on its wrong side.
FOLLOWS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {("week-tbr", "limit-level-2"): "limit", ("week-tar", "limit-level-2"): "limit"}
)

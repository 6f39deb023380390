"""The rules for a glucose sensor, and the load that decided who hears of what.

A trouble climbs a ladder while it lasts: an event is *known* (the consensus' 15 minutes; it counts in the reviews),
then *told to the patient*, who can act at once, then *handed to staff*. The steps are parameters of the rule.

On the traces of ShanghaiT2DM (49 patients, 549 days) a level-2 low begins 0.06 times a patient-day and on those of
people without diabetes (Hall 2018, an old sensor) just as often, so a level-2 low alone says little about who needs a
doctor. What separates them is that it lasts: at 30 minutes it is not recovered (IEC: high priority) in two thirds of
the first and a quarter of the second. So the patient is told of every one, and staff of those that last.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from alerts.alert import Audience, Priority, Text
from alerts.rule import (
    COUNT,
    OWN,
    RATE,
    Comparison,
    Group,
    Parameter,
    Rule,
    Variant,
    both,
    minutes,
    switch,
)
from ingest.vital import Vital

_LEVEL_1_LOW: Final = Text(en="Battelino 2019, level 1; CDS 2024", zh="Battelino 2019 共识 1 级；CDS 2024 指南")
_LEVEL_2_LOW: Final = Text(en="Battelino 2019, level 2; CDS 2024", zh="Battelino 2019 共识 2 级；CDS 2024 指南")
_LEVEL_1_HIGH: Final = Text(en="Battelino 2019, level 1", zh="Battelino 2019 共识 1 级")
_LEVEL_2_HIGH: Final = Text(en="Battelino 2019, level 2", zh="Battelino 2019 共识 2 级")
_PREGNANT: Final = Text(
    en="Battelino 2019, range in pregnancy 63-140 mg/dL (3.5-7.8 mmol/L)",
    zh="Battelino 2019 共识：妊娠期目标范围 3.5-7.8 mmol/L",
)
_LOW_ENDS: Final = Text(
    en="Danne 2017: a low ends at 70 mg/dL held 15 min", zh="Danne 2017：恢复至 3.9 mmol/L 并持续 15 分钟"
)
_HIGH_ENDS: Final = Text(
    en="Battelino 2023: ends at 180 mg/dL held 15 min", zh="Battelino 2023：降至 10.0 mmol/L 并持续 15 分钟"
)
_CONSENSUS_15: Final = Text(en="Danne 2017: an event lasts 15 min", zh="Danne 2017：事件持续 15 分钟")
_PROLONGED: Final = Text(en="Danne 2017, prolonged low", zh="Danne 2017 长时间低血糖")
_EXTENDED: Final = Text(en="Battelino 2023, extended event", zh="Battelino 2023 延长事件")
_CHINA_REFERRAL: Final = Text(
    en="China basic public health service: referral at 16.7 mmol/L (300 mg/dL)",
    zh="国家基本公共卫生服务规范：≥16.7 mmol/L 需处理并转诊",
)
_STAFF_300: Final = Text(
    en="Homeward default, to be confirmed by the clinic: so high for hours fits a doctor's queue",
    zh="Homeward 默认值，由医疗机构确认：持续数小时如此之高应由医生处理",
)
_KETONES: Final = Text(
    en="Homeward default, to be confirmed by the clinic: ketones and loss of water build up in hours",
    zh="Homeward 默认值，由医疗机构确认：酮体与脱水在数小时内加重",
)
_IEC: Final = Text(en="priority after IEC 60601-1-8", zh="优先级参照 IEC 60601-1-8")
_DOUBLE_ARROW: Final = Text(en="double arrow of a Dexcom sensor", zh="Dexcom 传感器双箭头")
_OREF0: Final = Text(en="oref0 calls such data too flat", zh="oref0：数据过平")
_WARM_UP: Final = Text(en="warm-up of Libre and Sibionics sensors, 1 h", zh="Libre、硅基传感器预热时间 1 小时")
_AT_RISK: Final = Text(
    en="at high risk staff hear of a confirmed level-2 low at once (Homeward default)",
    zh="高危人群：2 级低血糖一经确认即通知医护（Homeward 默认值）",
)

_AT_ONCE: Final = Text(
    en="Homeward default, to be confirmed by the clinic: so low nobody can be expected to act alone; most sensors "
    "show LO below it",
    zh="Homeward 默认值，由医疗机构确认：如此之低时患者可能无法自救；多数传感器低于此值显示 LO",
)

_DAY: Final = timedelta(days=1)
# A sensor's reading loses its meaning within the hour: an older one raises nothing.
_FRESH: Final = minutes("fresh-sensor", 60, 15, 240, OWN)
_HOLD: Final = minutes("hold", 15, 0, 60, _CONSENSUS_15)
_LOW_CLEAR: Final = tuple(
    both(
        "clear",
        _LOW_ENDS,
        (70, 60, 126),
        (3.9, 3.3, 7.0),
        {Group.PREGNANCY: (63, 3.5, _PREGNANT)},
    )
)
_HIGH_CLEAR: Final = tuple(
    both(
        "clear",
        _HIGH_ENDS,
        (180, 100, 250),
        (10.0, 5.6, 13.9),
        {Group.PREGNANCY: (140, 7.8, _PREGNANT)},
    )
)


def _rule(
    name: str,
    en: str,
    zh: str,
    problem: str,
    comparison: Comparison,
    *parameters: Parameter,
    priority: Priority = Priority.LOW,
    audience: Audience = Audience.PATIENT,
    quiet: timedelta = timedelta(),
    fresh: Parameter = _FRESH,
) -> Rule:
    return Rule(
        name=name,
        title=Text(en=en, zh=zh),
        problem=problem,
        vitals=(Vital.CGM,),
        comparison=comparison,
        priority=priority,
        audience=audience,
        parameters=(*parameters, fresh),
        quiet=quiet,
    )


_BELOW, _ABOVE, _AT_LEAST = Comparison.BELOW, Comparison.ABOVE, Comparison.AT_LEAST

LOW_EVENT_1: Final = _rule(
    "low-event-1",
    "Low glucose",
    "低血糖",
    "glucose-low",
    _BELOW,
    *both("limit", _LEVEL_1_LOW, (70, 60, 100), (3.9, 3.3, 5.6), {Group.PREGNANCY: (63, 3.5, _PREGNANT)}),
    *_LOW_CLEAR,
    _HOLD,
)
LOW_EXTENDED: Final = _rule(
    "low-extended",
    "Low glucose that lasts",
    "持续低血糖",
    "glucose-low",
    _BELOW,
    minutes("hold", 120, 60, 360, _EXTENDED),
    minutes("staff-after", 480, 60, 720, OWN, {Group.OLDER: Variant(180, OWN), Group.PREGNANCY: Variant(180, OWN)}),
)
LOW_EVENT_2: Final = _rule(
    "low-event-2",
    "Very low glucose",
    "血糖严重偏低",
    "glucose-low",
    _BELOW,
    *both("limit", _LEVEL_2_LOW, (54, 45, 70), (3.0, 2.5, 3.9)),
    *both("clear", _LOW_ENDS, (70, 45, 100), (3.9, 2.5, 5.6), {Group.PREGNANCY: (63, 3.5, _PREGNANT)}),
    minutes("hold", 15, 0, 30, _CONSENSUS_15),
    minutes(
        "staff-after",
        30,
        15,
        120,
        OWN,
        {Group.OLDER: Variant(15, _AT_RISK), Group.PREGNANCY: Variant(15, _AT_RISK)},
    ),
    minutes("unrecovered", 30, 15, 120, _IEC),
    minutes("after-closing", 30, 15, 120, OWN),
    priority=Priority.MEDIUM,
)
LOW_CRITICAL: Final = _rule(
    "low-critical",
    "Critically low glucose",
    "血糖低至危急值",
    "glucose-low",
    _BELOW,
    *both("limit", _AT_ONCE, (40, 30, 54), (2.2, 1.7, 3.0)),
    *both("clear", _LOW_ENDS, (70, 45, 100), (3.9, 2.5, 5.6), {Group.PREGNANCY: (63, 3.5, _PREGNANT)}),
    minutes("hold", 15, 0, 30, _CONSENSUS_15),
    minutes("staff-after-doubt", 30, 15, 60, OWN),
    priority=Priority.HIGH,
    audience=Audience.STAFF,
)
LOW_PROLONGED: Final = _rule(
    "low-prolonged",
    "Very low glucose that lasts",
    "血糖长时间严重偏低",
    "glucose-low",
    _BELOW,
    minutes("hold", 120, 60, 240, _PROLONGED),
    priority=Priority.HIGH,
    audience=Audience.STAFF,
)
HIGH_EVENT_1: Final = _rule(
    "high-event-1",
    "High glucose",
    "高血糖",
    "glucose-high",
    _ABOVE,
    *both("limit", _LEVEL_1_HIGH, (180, 120, 250), (10.0, 6.7, 13.9), {Group.PREGNANCY: (140, 7.8, _PREGNANT)}),
    *_HIGH_CLEAR,
    _HOLD,
    minutes("patient-after", 240, 15, 720, OWN, {Group.PREGNANCY: Variant(120, OWN)}),
    minutes("staff-after", 2880, 60, 10080, OWN),
    audience=Audience.WEEKLY,
    quiet=_DAY,
)
HIGH_EVENT_2: Final = _rule(
    "high-event-2",
    "Very high glucose",
    "血糖很高",
    "glucose-high",
    _ABOVE,
    *both("limit", _LEVEL_2_HIGH, (250, 160, 350), (13.9, 8.9, 19.4)),
    *_HIGH_CLEAR,
    _HOLD,
    audience=Audience.WEEKLY,
    quiet=_DAY,
)
HIGH_EXTENDED: Final = _rule(
    "high-extended",
    "Very high glucose that lasts",
    "血糖持续很高",
    "glucose-high",
    _ABOVE,
    minutes("hold", 90, 60, 120, _EXTENDED),
    minutes("staff-after", 600, 60, 1440, OWN, {Group.OLDER: Variant(480, OWN), Group.PREGNANCY: Variant(180, OWN)}),
    quiet=_DAY,
)
GLUCOSE_REFERRAL: Final = _rule(
    "glucose-referral",
    "Far too high glucose that lasts",
    "血糖持续严重偏高",
    "glucose-high",
    _AT_LEAST,
    *both(
        "limit",
        _STAFF_300,
        (300, 200, 400),
        (16.7, 11.1, 22.2),
        {Group.CHINA: (300, 16.7, _CHINA_REFERRAL)},
    ),
    *both("clear", _LEVEL_2_HIGH, (250, 180, 400), (13.9, 10.0, 22.2)),
    minutes("hold", 120, 15, 360, _EXTENDED),
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
)
HIGH_PROLONGED: Final = _rule(
    "high-prolonged",
    "Far too high glucose for hours",
    "血糖严重偏高达数小时",
    "glucose-high",
    _AT_LEAST,
    minutes("hold", 360, 180, 720, _KETONES, {Group.PREGNANCY: Variant(240, _KETONES)}),
    priority=Priority.HIGH,
    audience=Audience.STAFF,
)


def _predicted(name: str, en: str, zh: str, priority: Priority) -> Rule:
    """What is ahead is for the patient's own device: of such warnings more are false than true (docs/forecast.md).

    The level looked ahead for is the limit of low-event-1 or of low-event-2.
    """
    return _rule(
        name,
        en,
        zh,
        "predicted-low",
        _BELOW,
        switch(OWN),
        minutes("warm-up", 60, 0, 1440, _WARM_UP),
        priority=priority,
        fresh=minutes("fresh-sensor", 15, 15, 30, OWN),
    )


PREDICTED_LOW: Final = _predicted("predicted-low", "Low glucose ahead", "即将发生低血糖", Priority.LOW)
PREDICTED_URGENT_LOW: Final = _predicted(
    "predicted-urgent-low", "Very low glucose ahead", "血糖即将严重偏低", Priority.MEDIUM
)


def _rate(name: str, en: str, zh: str, comparison: Comparison) -> Rule:
    return _rule(
        name,
        en,
        zh,
        name,
        comparison,
        Parameter(name="limit", unit=RATE, default=3, lower=2, upper=5, source=_DOUBLE_ARROW),
    )


FALLING_FAST: Final = _rate("falling-fast", "Glucose falls fast", "血糖快速下降", _BELOW)
RISING_FAST: Final = _rate("rising-fast", "Glucose rises fast", "血糖快速上升", _ABOVE)
SENSOR_WARM_UP: Final = _rule(
    "sensor-warm-up",
    "First day of a sensor",
    "传感器首日",
    "sensor-warm-up",
    _BELOW,
    minutes("first-day", 1440, 0, 2880, OWN),
    minutes("staff-after", 120, 15, 240, OWN),
    audience=Audience.WEEKLY,
)
SENSOR_COMPRESSION: Final = _rule(
    "sensor-compression",
    "Low from pressure on the sensor",
    "传感器受压假性低血糖",
    "sensor-compression",
    _BELOW,
    Parameter(name="fall", unit=RATE, default=2, lower=1, upper=4, source=OWN),
    minutes("staff-after", 60, 15, 120, OWN),
    audience=Audience.WEEKLY,
)
SENSOR_JUMP: Final = _rule(
    "sensor-jump",
    "Sensor value jumps",
    "传感器数值跳变",
    "sensor-jump",
    _ABOVE,
    Parameter(name="limit", unit=RATE, default=5, lower=3, upper=10, source=OWN),
    audience=Audience.WEEKLY,
)
SENSOR_STUCK: Final = _rule(
    "sensor-stuck",
    "Sensor value does not move",
    "传感器数值不变",
    "sensor-stuck",
    _AT_LEAST,
    Parameter(name="count", unit=COUNT, default=12, lower=4, upper=48, source=_OREF0),
    minutes("hold", 60, 15, 240, OWN),
)

SENSOR_RULES: Final = (
    LOW_EVENT_1,
    LOW_EVENT_2,
    LOW_CRITICAL,
    LOW_PROLONGED,
    LOW_EXTENDED,
    HIGH_EVENT_1,
    HIGH_EVENT_2,
    HIGH_EXTENDED,
    GLUCOSE_REFERRAL,
    HIGH_PROLONGED,
    PREDICTED_LOW,
    PREDICTED_URGENT_LOW,
    FALLING_FAST,
    RISING_FAST,
    SENSOR_WARM_UP,
    SENSOR_COMPRESSION,
    SENSOR_JUMP,
    SENSOR_STUCK,
)

# (this number, that number): this must not be above that, in every unit both have.
NOT_ABOVE: Final = (
    (("low-event-1", "limit"), ("low-event-1", "clear")),
    (("low-event-2", "limit"), ("low-event-2", "clear")),
    (("low-event-2", "limit"), ("low-event-1", "limit")),
    (("low-critical", "limit"), ("low-critical", "clear")),
    (("low-critical", "limit"), ("low-event-2", "limit")),
    (("low-event-2", "staff-after"), ("low-prolonged", "hold")),
    (("low-event-2", "staff-after"), ("low-extended", "staff-after")),
    (("low-extended", "hold"), ("low-extended", "staff-after")),
    (("high-extended", "hold"), ("high-extended", "staff-after")),
    (("glucose-referral", "hold"), ("high-prolonged", "hold")),
    (("low-event-1", "limit"), ("high-event-1", "limit")),
    (("low-event-1", "clear"), ("high-event-1", "limit")),
    (("low-event-2", "clear"), ("high-event-1", "limit")),
    (("low-critical", "clear"), ("high-event-1", "limit")),
    (("high-event-1", "clear"), ("high-event-1", "limit")),
    (("high-event-2", "clear"), ("high-event-2", "limit")),
    (("glucose-referral", "clear"), ("glucose-referral", "limit")),
    (("high-event-1", "limit"), ("high-event-2", "limit")),
    (("high-event-2", "limit"), ("glucose-referral", "limit")),
    (("high-event-1", "patient-after"), ("high-event-1", "staff-after")),
)
# A number that was not given moves along with this one where it would stand on its wrong side.
FOLLOWS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("low-event-1", "clear"): "limit",
        ("low-event-2", "clear"): "limit",
        ("low-critical", "clear"): "limit",
        ("high-event-1", "clear"): "limit",
        ("high-event-2", "clear"): "limit",
        ("glucose-referral", "clear"): "limit",
        ("high-event-1", "staff-after"): "patient-after",
        ("low-extended", "staff-after"): "hold",
        ("high-extended", "staff-after"): "hold",
    }
)

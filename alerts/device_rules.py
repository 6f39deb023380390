"""The rules about devices: not heard, too late, clock wrong, battery low."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from alerts.alert import Audience, Priority, Text
from alerts.rule import OWN, Comparison, Group, Rule, Variant, minutes
from ingest.vital import Vital

_WELL: Final = Text(
    en="Homeward default, as for a meter or cuff",
    zh="Homeward 默认值，与血糖仪、血压计相同",
)
_AT_RISK: Final = Text(
    en="at high risk staff hear of a silent sensor on the same day (Homeward default)",
    zh="高危人群：传感器静默当日通知医护（Homeward 默认值）",
)

NO_DATA: Final = Rule(
    name="no-data",
    title=Text(en="No data", zh="没有数据"),
    problem="no-data",
    vitals=tuple(Vital),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(
        minutes("silence-cgm_glucose", 360, 30, 2880, OWN),
        minutes("silence-glucose", 2880, 360, 20160, OWN),
        minutes("silence-blood_pressure", 2880, 360, 20160, OWN),
        minutes(
            "staff-after-cgm_glucose",
            4320,
            60,
            4320,
            _WELL,
            {Group.OLDER: Variant(720, _AT_RISK), Group.PREGNANCY: Variant(720, _AT_RISK)},
        ),
        minutes("staff-after-low-cgm_glucose", 720, 60, 4320, _AT_RISK),
        # The patient has a day to see to it.
        minutes("staff-after-glucose", 4320, 360, 20160, OWN),
        minutes("staff-after-blood_pressure", 4320, 360, 20160, OWN),
    ),
)
LATE_DATA: Final = Rule(
    name="late-data",
    title=Text(en="Data comes too late", zh="数据迟到"),
    problem="late-data",
    vitals=tuple(Vital),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    parameters=(),
    quiet=timedelta(days=1),
)
CLOCK_WRONG: Final = Rule(
    name="clock-wrong",
    title=Text(en="Clock of a device is wrong", zh="设备时钟有误"),
    problem="clock-wrong",
    vitals=tuple(Vital),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    # A clock that can be set over the air is right at the next reading; one wrong a day later somebody has to set.
    parameters=(minutes("hold", 1440, 60, 20160, OWN),),
)
BATTERY_LOW: Final = Rule(
    name="battery-low",
    title=Text(en="Battery low", zh="电量不足"),
    problem="battery-low",
    vitals=tuple(Vital),
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(),
)

# About the house itself and no patient; raised by whoever speaks. The channel's name stands behind the problem.
CHANNEL_DEAD: Final = Rule(
    name="channel-dead",
    title=Text(en="A channel does not deliver", zh="通知渠道无法送达"),
    problem="channel-dead",
    vitals=(),
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    parameters=(),
)

DEVICE_RULES: Final = (NO_DATA, LATE_DATA, CLOCK_WRONG, BATTERY_LOW)

_TIMES: Final = tuple(
    (f"silence-{vital}", f"staff-after-{vital}") for vital in (Vital.CGM, Vital.GLUCOSE, Vital.BLOOD_PRESSURE)
)
_SOONER: Final = "staff-after-low-cgm_glucose", "staff-after-cgm_glucose"
NOT_ABOVE: Final = tuple(((NO_DATA.name, this), (NO_DATA.name, that)) for this, that in (*_TIMES, _SOONER))
# A number that was not given moves along with this one where it would stand on its wrong side.
FOLLOWS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {**{(NO_DATA.name, after): silence for silence, after in _TIMES}, (NO_DATA.name, _SOONER[0]): _SOONER[1]}
)

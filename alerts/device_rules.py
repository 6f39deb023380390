"""The rules about devices: not heard, too late, battery low."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from alerts.alert import Audience, Priority, Text
from alerts.rule import OWN, Comparison, Rule, minutes
from ingest.vital import Vital

NO_DATA: Final = Rule(
    name="no-data",
    title=Text(en="No data", zh="没有数据"),
    problem="no-data",
    vitals=tuple(Vital),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    parameters=(
        minutes("silence-cgm_glucose", 360, 30, 2880, OWN),
        minutes("silence-glucose", 2880, 360, 20160, OWN),
        minutes("silence-blood_pressure", 2880, 360, 20160, OWN),
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

DEVICE_RULES: Final = (NO_DATA, LATE_DATA, BATTERY_LOW)

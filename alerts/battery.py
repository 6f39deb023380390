"""A device whose battery is low: the patient is asked to see to it, once for each time it runs low. Pure."""

from __future__ import annotations

from datetime import datetime

from alerts.alert import Finding, Text, Verdict
from alerts.device_rules import BATTERY_LOW
from alerts.scene import DEVICES
from ingest.vital import Vital


def low_battery(patient: str, device: str, vital: Vital, since: datetime) -> Finding:
    """A finding for the patient. The same device and since (aware UTC) give the same notice."""
    name = DEVICES[vital]
    return Finding(
        patient=patient,
        rule=BATTERY_LOW.name,
        problem=BATTERY_LOW.problem,
        verdict=Verdict.RAISE,
        priority=BATTERY_LOW.priority,
        audience=BATTERY_LOW.audience,
        because=Text(
            en=f"The battery of your {name.en} ({device}) is low. Please change or charge it.",
            zh=f"您的{name.zh}（{device}）电量不足，请更换电池或充电。",
        ),
        since=since,
        known_at=since,
    )

"""A patient at home whose readings and clock the tests move by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from alerts.alert import Audience, Finding, Priority, Text, Verdict
from alerts.rules import DEFAULTS, RULES, Limits
from alerts.watch import Expected, watch
from alerts.window import Window
from ingest.reading import Flag, Reading, TimeBasis
from ingest.vital import Unit, Vital, canonical

START = datetime(2026, 3, 1, 18, 0, tzinfo=UTC)  # 02:00 the next day in Shanghai
ZONE = ZoneInfo("Asia/Shanghai")


def minute(count: float) -> datetime:
    return START + timedelta(minutes=count)


def reading(
    vital: Vital,
    at: datetime,
    sent: tuple[float | None, ...],
    unit: Unit,
    *,
    device: str,
    arrives: datetime | None = None,
    flags: frozenset[Flag] = frozenset(),
) -> Reading:
    return Reading(
        patient="p-1",
        device=device,
        vital=vital,
        values=canonical(vital, sent, unit),
        sent=sent,
        unit=unit,
        taken_at=at,
        time_basis=TimeBasis.DEVICE,
        received_at=arrives or at,
        device_time=at.replace(tzinfo=None),
        flags=flags,
    )


def cgm(at: float, value: float | None, unit: Unit = Unit.MG_DL, *, device: str = "cgm-1", **more: object) -> Reading:
    return reading(Vital.CGM, minute(at), (value,), unit, device=device, **more)  # type: ignore[arg-type]


def meter(at: float, value: float | None, unit: Unit = Unit.MG_DL, **more: object) -> Reading:
    return reading(Vital.GLUCOSE, minute(at), (value,), unit, device="meter-1", **more)  # type: ignore[arg-type]


def cuff(at: float, systolic: float, diastolic: float, unit: Unit = Unit.MMHG, **more: object) -> Reading:
    sent = (systolic, diastolic, None, 72.0)
    return reading(Vital.BLOOD_PRESSURE, minute(at), sent, unit, device="cuff-1", **more)  # type: ignore[arg-type]


def trace(
    values: Sequence[float | None], *, every: float = 5, start: float = 0, unit: Unit = Unit.MG_DL
) -> list[Reading]:
    """A sensor's readings, None for one that is missing."""
    return [cgm(start + every * n, value, unit) for n, value in enumerate(values) if value is not None]


class Ward:
    """One patient: readings are taken in, and the findings of any minute are asked for by rule."""

    def __init__(self, limits: Limits = DEFAULTS, expected: Sequence[Expected] = ()) -> None:
        self.window = Window("p-1")
        self.limits = limits
        self.expected = expected

    def take(self, *readings: Reading) -> Ward:
        for each in readings:
            self.window.add(each)
        return self

    def at(self, now: float | datetime) -> dict[str, Finding]:
        moment = now if isinstance(now, datetime) else minute(now)
        found = watch(self.window, self.limits, self.expected, moment, zone=ZONE)
        assert len({finding.rule for finding in found}) == len(found)
        return {finding.rule: finding for finding in found}

    def verdict(self, rule: str, now: float) -> Verdict:
        return self.at(now)[rule].verdict


def finding(
    rule: str = "glucose-very-low",
    verdict: Verdict = Verdict.RAISE,
    *,
    priority: Priority | None = None,
    audience: Audience = Audience.STAFF,
    since: datetime = START,
    known_at: datetime | None = None,
    patient: str = "p-1",
    evidence: tuple[str, ...] = ("r-1",),
) -> Finding:
    return Finding(
        patient=patient,
        rule=rule,
        problem=RULES[rule].problem,
        verdict=verdict,
        priority=priority or RULES[rule].priority,
        audience=audience,
        because=Text(en=f"{rule} {verdict}.", zh=f"{rule} {verdict}。"),
        since=since,
        known_at=known_at or since,
        evidence=evidence,
    )

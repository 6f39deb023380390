"""A patient who measures a few times a day: readings are laid down, and the findings of any minute are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from alerts import spot
from alerts.alert import Audience, Finding, Verdict
from alerts.plan import Plan
from alerts.rule import POPULATIONS, REGIONS, Group, Key, Limits
from alerts.rules import Override, limits_for
from alerts.scene import Judged, Scene
from ingest.reading import Flag, Reading, TimeBasis
from ingest.vital import Unit, Vital, canonical

ZONE = ZoneInfo("Asia/Shanghai")
# Monday 07:00 in Shanghai.
START = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)


def minute(count: float) -> datetime:
    return START + timedelta(minutes=count)


def day(number: int, clock: str = "07:00") -> float:
    """The minute of a clock time in Shanghai on day `number` (0 is the first, a Monday)."""
    hour, minutes = map(int, clock.split(":"))
    return number * 1440 + (hour - 7) * 60 + minutes


def limits(*groups: Group, given: Mapping[Key, float] | None = None) -> Limits:
    overrides = [Override(given=given, scope="patient")] if given else []
    population = next((group for group in groups if group in POPULATIONS), Group.ADULT)
    region = next((group for group in groups if group in REGIONS), Group.INTERNATIONAL)
    return limits_for(overrides, population=population, region=region)


def reading(
    vital: Vital,
    at: float,
    sent: tuple[float | None, ...],
    unit: Unit,
    *,
    device: str = "",
    arrives: float | None = None,
    flags: Collection[Flag] = (),
    meal: str | None = None,
) -> Reading:
    return Reading(
        patient="p-1",
        device=device or f"{vital}-1",
        vital=vital,
        values=canonical(vital, sent, unit),
        sent=sent,
        unit=unit,
        taken_at=minute(at),
        time_basis=TimeBasis.DEVICE,
        received_at=minute(at if arrives is None else arrives),
        flags=frozenset(flags),
        context={} if meal is None else {"meal": meal},
    )


def meter(at: float, value: float | str, unit: Unit = Unit.MG_DL, **more: object) -> Reading:
    return _worded(Vital.GLUCOSE, at, value, unit, more)


def sensor(at: float, value: float | str, unit: Unit = Unit.MG_DL, **more: object) -> Reading:
    return _worded(Vital.CGM, at, value, unit, more)


def ketone(at: float, value: float | str, **more: object) -> Reading:
    return _worded(Vital.KETONE, at, value, Unit.MMOL_L, more)


def cuff(at: float, systolic: float | str, diastolic: float = 0, unit: Unit = Unit.MMHG, **more: object) -> Reading:
    if isinstance(systolic, str):
        flag = Flag.ABOVE_RANGE if systolic == "HI" else Flag.BELOW_RANGE
        flags = {flag, *more.pop("flags", ())}  # type: ignore[misc]
        return reading(Vital.BLOOD_PRESSURE, at, (None,) * 4, unit, flags=flags, **more)  # type: ignore[arg-type]
    return reading(Vital.BLOOD_PRESSURE, at, (systolic, diastolic, None, 72), unit, **more)  # type: ignore[arg-type]


def _worded(vital: Vital, at: float, value: float | str, unit: Unit, more: dict[str, object]) -> Reading:
    if isinstance(value, str):
        flag = Flag.ABOVE_RANGE if value == "HI" else Flag.BELOW_RANGE
        more["flags"] = {flag, *more.get("flags", ())}  # type: ignore[misc]
        return reading(vital, at, (None,), unit, **more)  # type: ignore[arg-type]
    return reading(vital, at, (value,), unit, **more)  # type: ignore[arg-type]


def at_home(number: int, *readings: tuple[float, float], clock: str = "07:30") -> list[Reading]:
    """A session of a cuff, a minute between its readings."""
    return [cuff(day(number, clock) + place, *each) for place, each in enumerate(readings)]


class Home:
    """One patient's readings; what is judged at a minute is what has come by then."""

    def __init__(self, *groups: Group, given: Mapping[Key, float] | None = None, plans: Iterable[Plan] = ()) -> None:
        self.limits = limits(*groups, given=given)
        self.plans = tuple(plans)
        self.reads: Unit | None = None
        self.readings: list[Reading] = []

    def take(self, *readings: Reading) -> Home:
        self.readings += readings
        return self

    def judged(self, now: float, **more: Collection[str]) -> Judged:
        taken = {
            vital: self._come(now, vital, minute(now) - span)
            for vital, span in spot.SPAN.items()
            if vital is not Vital.CGM
        }
        taken[Vital.CGM] = self._come(now, Vital.CGM, minute(now) - timedelta(days=2))
        return spot.judge(self._scene(now), taken, **more)

    def reviewed(self, now: float) -> Judged:
        taken = {vital: self._come(now, vital, minute(now) - spot.REVIEW_SPAN) for vital in Vital}
        return spot.review(self._scene(now), taken, self.plans)

    def reminders(self, now: float) -> Judged:
        return spot.reminders(self._scene(now), self.reviewed(now))

    def at(self, now: float) -> dict[str, Finding]:
        return _by_rule(self.judged(now).findings)

    def asked(self, now: float) -> dict[str, Finding]:
        """What the patient is told, by rule."""
        found = self.judged(now).findings
        return _by_rule(each for each in found if each.verdict is Verdict.RAISE and each.audience is Audience.PATIENT)

    def review(self, now: float) -> dict[str, Finding]:
        return _by_rule(self.reviewed(now).findings)

    def verdict(self, rule: str, now: float) -> Verdict:
        return self.at(now)[rule].verdict

    def _come(self, now: float, vital: Vital, start: datetime) -> list[Reading]:
        return sorted(
            (
                each
                for each in self.readings
                if each.vital is vital and each.received_at <= minute(now) and each.taken_at > start
            ),
            key=lambda each: each.taken_at,
        )

    def _scene(self, now: float) -> Scene:
        return Scene("p-1", self.limits, minute(now), ZONE, self.reads)


def _by_rule(findings: Iterable[Finding]) -> dict[str, Finding]:
    """What staff hear of a rule, where the patient hears of it as well."""
    findings = sorted(findings, key=lambda each: each.audience is Audience.STAFF)
    assert len({(finding.rule, finding.audience) for finding in findings}) == len(findings)
    return {finding.rule: finding for finding in findings}

"""A patient at home whose readings and clock the tests move by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from alerts import spot
from alerts.alert import Audience, Finding, Priority, Text, Verdict
from alerts.bed import Bed
from alerts.devices import Expected
from alerts.ladder import Plan
from alerts.rule import Limits
from alerts.rules import DEFAULTS, RULES
from alerts.sensor import HISTORY
from alerts.spot import Taken
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


class Memory:
    """The stored readings of one patient, as the journal gives them: each once, in the order of their moments."""

    def __init__(self) -> None:
        self.kept: dict[tuple[object, ...], Reading] = {}
        self.told: list[Finding] = []  # what opens an alert
        self.now = START

    def add(self, reading: Reading) -> bool:
        """Whether it is new."""
        key = (reading.device, reading.vital, reading.sequence, reading.device_time or reading.taken_at, reading.sent)
        if key in self.kept:
            return False
        self.kept[key] = reading
        return True

    def _of(self, vital: Vital, start: datetime, end: datetime) -> list[Reading]:
        found = [each for each in self.kept.values() if each.vital is vital and start <= each.taken_at < end]
        return sorted(found, key=lambda each: (each.taken_at, each.device))

    def sensor(self, device: str) -> list[Reading]:
        start = self.now - HISTORY
        before = self._of(Vital.CGM, start - timedelta(days=1), start)[-1:]
        return [each for each in before + self._of(Vital.CGM, start, self.now + HISTORY) if each.device == device]

    def spot(self) -> Taken:
        end = self.now + HISTORY
        taken = {vital: self._of(vital, self.now - span, end)[-spot.MOST :] for vital, span in spot.SPAN.items()}
        if taken[Vital.GLUCOSE]:
            start = min(spot.row_began(taken[Vital.GLUCOSE]), self.now) - spot.SPAN[Vital.CGM]
            taken[Vital.CGM] = self._of(Vital.CGM, start, end)
        return taken

    def sensors_since(self, start: datetime) -> list[Reading]:
        return self._of(Vital.CGM, start, self.now + HISTORY)

    def watched(self, keys: Collection[str]) -> frozenset[str]:
        return frozenset(key for each in self.told for key in each.evidence).intersection(keys)

    def said_before(self, reading: Reading) -> Reading | None:
        same = [each for each in self.kept.values() if (each.key, each.rev) == (reading.key, reading.rev - 1)]
        return same[0] if same else None


class Ward:
    """One patient: readings come in at their moments, and what is found of them is kept."""

    def __init__(
        self, limits: Limits = DEFAULTS, expected: Sequence[Expected] = (), reads: Unit | None = None
    ) -> None:
        self.limits = limits
        self.reads = reads
        self.expected = tuple(expected)
        self.stored = Memory()
        self.found: list[Finding] = []
        self.standing: Mapping[str, datetime] = {}
        self.bed = self._make()

    def _make(self) -> Bed:
        return Bed("p-1", plan=Plan(self.limits), zone=ZONE, expected=self.expected, reads=self.reads)

    def restart(self, now: float | datetime) -> None:
        """The house was down: the bed is made from what is stored."""
        self.stored.now = now if isinstance(now, datetime) else minute(now)
        devices = {each.device for each in self.stored.kept.values() if each.vital is Vital.CGM}
        self.bed = self._make()
        self.bed.start({device: self.stored.sensor(device) for device in sorted(devices)}, self.standing)

    def comes(self, *readings: Reading) -> list[Finding]:
        """Readings come in one by one, at the moments of their arrival; what is found."""
        found = []
        for each in readings:
            found += [finding for group in self.groups(each) for finding in group]
            self.bed.settle(self.standing, self.stored.now)
        return found

    def packet(self, *readings: Reading) -> list[Finding]:
        """Readings come in together; what is found."""
        new = [each for each in readings if self.stored.add(each)]
        self.stored.now = max(self.stored.now, *(each.received_at for each in readings))
        found = [finding for each in new for finding in self.bed.take(each, self.stored.now)]
        found += self.bed.taken_together(self.stored.now)
        found += self.bed.look(self.stored, self.stored.now)
        self.bed.settle(self.standing, self.stored.now)
        self._keep(found)
        return found

    def groups(self, *readings: Reading) -> list[Sequence[Finding]]:
        """The same, by reading, before anybody has heard of it."""
        groups: list[Sequence[Finding]] = []
        for each in readings:
            if self.stored.add(each):
                self.stored.now = max(self.stored.now, each.received_at)
                groups.append(self.bed.take(each, self.stored.now))
                groups.append(self.bed.taken_together(self.stored.now))
                if self.bed.asks:
                    groups.append(self.bed.look(self.stored, self.stored.now))
        self._keep([each for group in groups for each in group])
        return groups

    def at(self, now: float | datetime) -> Sequence[Finding]:
        """What the clock brings about."""
        self.stored.now = now if isinstance(now, datetime) else minute(now)
        found = self.bed.look(self.stored, self.stored.now)
        self._keep(found)
        return found

    def _keep(self, found: Sequence[Finding]) -> None:
        self.found += found
        self.stored.told += [
            each for each in found if each.audience is Audience.STAFF and each.verdict is Verdict.RAISE
        ]


def said(found: Sequence[Finding], rule: str) -> list[Finding]:
    """Those of a rule."""
    return [each for each in found if each.rule == rule]


def finding(
    rule: str = "low-event-2",
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

"""The calm path: what a reading cannot change need not be judged. Pure.

Nearly every reading of a ward changes nothing. `Bed` says so without `alerts.watch`, by these arguments:

- **Only a RAISE, and a CLEAR of a rule that holds an alert up, is heard** (`alerts.machine`). So as long as no rule
  can RAISE and no alert of the patient is present, judging brings nothing.
- **Rest.** A glucose rule RAISEs on readings beyond its limit that came after the last recovery, or after a gap. A
  recovery is at most REST readings in a row on the right side of the clear limit, since no cadence is below a
  minute; a meter's is one. So after REST readings inside the limits and the clear limits of *every* rule, in the
  unit received, nothing older is ever looked at, whatever the cadence and the gaps, and nothing among them can
  RAISE, however late it is. A further reading inside keeps that so, in order or not, early or late.
- **Blood pressure.** "high" RAISEs only when the newest reading reaches its limit, "severe" only on a severe reading,
  which may be any in the window. A pressure below the limits of both keeps the newest below and adds none.
- **Late data** RAISEs on the third late arrival in a row, which is counted here as in the window.
- **Time** raises no-data, from a moment that arrivals only put off, and turns "asked for a second" into "none came".
  For the rest it takes a RAISE away, as readings grow old. So between readings a patient need only be looked at when
  `due` has come: the next silence, and while something is raised, the next reading to grow old and the next deadline.

What is older than REST readings inside is not needed to judge what came after them either, so a bed holds no readings
while the patient rests, and little more than the trouble itself while not (`needed`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from alerts.alert import Finding, Verdict
from alerts.rules import (
    BLOOD_PRESSURE_HIGH,
    BLOOD_PRESSURE_SEVERE,
    DEFAULTS,
    MIN,
    MMHG,
    RULES,
    Comparison,
    Limits,
)
from alerts.scene import MINUTE
from alerts.watch import AGREE, Expected, watch
from alerts.window import LATE_COUNT, Arrivals, Window, after
from ingest.reading import Reading
from ingest.vital import Unit, Vital, family

REST: Final = {Vital.CGM: 15, Vital.GLUCOSE: 1}
NEVER: Final = datetime.max.replace(tzinfo=UTC)
_FIRST: Final = 16  # readings asked for at first; each time too few, four times as many
_INSTANT: Final = timedelta(microseconds=1)
_GLUCOSE_RULES: Final = [rule for rule in RULES.values() if rule.meter_audience]
_FRESH: Final = [
    (rule, parameter.name)
    for rule in RULES.values()
    for parameter in rule.parameters
    if parameter.name[:6] == "fresh-"
]


class _Band(NamedTuple):
    """Glucose values that no rule minds: lowest and highest included, top not."""

    lowest: float
    highest: float
    top: float


class Calm:
    """What no rule minds under a patient's limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bands = {unit: _band(limits, unit) for unit in (Unit.MG_DL, Unit.MMOL_L)}
        self._severe = _pressures(limits, BLOOD_PRESSURE_SEVERE.name)
        high = _pressures(limits, BLOOD_PRESSURE_HIGH.name)
        self._systolic, self._diastolic = map(min, high, self._severe)

    def keeps(self, reading: Reading) -> bool:
        """Whether a patient who rests still rests after this reading, whenever it was taken."""
        if reading.vital is Vital.BLOOD_PRESSURE:
            systolic, diastolic = reading.values[:2]
            if systolic is None or diastolic is None:
                return False
            return systolic < self._systolic and diastolic < self._diastolic
        if reading.vital is Vital.KETONE:
            return True
        value, unit = reading.sent[0], reading.unit
        if value is None:
            return False
        if unit not in self._bands:
            value, unit = family(value, unit)
        lowest, highest, top = self._bands[unit]
        return lowest <= value <= highest and value < top

    def rests(self, window: Window) -> bool:
        """Whether no rule can RAISE on any value in the window, at any time."""
        for vital, rest in REST.items():
            for _, readings in window.traces(vital):
                if not all(map(self.keeps, readings[-rest:])):
                    return False
        for _, readings in window.traces(Vital.BLOOD_PRESSURE):
            if not self.keeps(readings[-1]) or any(map(self.is_severe, readings)):
                return False
        return True

    def is_severe(self, reading: Reading) -> bool:
        """Whether a blood pressure reaches the limits of severe."""
        return any(
            value is not None and value >= limit for value, limit in zip(reading.values, self._severe, strict=False)
        )

    def needed(self, vital: Vital, newest: Callable[[int], Sequence[Reading]]) -> Sequence[Reading]:
        """As many of the newest readings of a vital as are needed to judge it now and later, oldest first.

        newest: gives at most so many of the readings of the window's span.
        """
        limit = _FIRST
        while True:
            readings = newest(limit)
            if len(readings) < limit or self._suffice(vital, readings):
                return readings
            limit *= 4

    def _suffice(self, vital: Vital, readings: Sequence[Reading]) -> bool:
        if vital not in REST:
            return vital is Vital.KETONE
        # A device that is not among them must be too old to have a say beside the newest.
        if readings[-1].taken_at - readings[0].taken_at <= AGREE:
            return False
        by_device: defaultdict[str, list[bool]] = defaultdict(list)
        for reading in readings:
            by_device[reading.device].append(self.keeps(reading))
        return all(_longest_run(kept) >= REST[vital] for kept in by_device.values())


def _band(limits: Limits, unit: Unit) -> _Band:
    lowest, highest, top = float("-inf"), float("inf"), float("inf")
    for rule in _GLUCOSE_RULES:
        limit, clear = (limits.value(rule.name, name, unit) for name in ("limit", "clear"))
        if rule.comparison is Comparison.BELOW:
            lowest = max(lowest, limit, clear)
        else:
            highest = min(highest, limit, clear)
        if rule.comparison is Comparison.AT_LEAST:
            top = min(top, limit)
    return _Band(lowest, highest, top)


def _pressures(limits: Limits, rule: str) -> tuple[float, float]:
    return limits.value(rule, "systolic", MMHG), limits.value(rule, "diastolic", MMHG)


def _longest_run(kept: Iterable[bool]) -> int:
    longest = run = 0
    for each in kept:
        run = run + 1 if each else 0
        longest = max(longest, run)
    return longest


DEFAULT_CALM: Final = Calm(DEFAULTS)


class Bed:
    """One patient in the ward: limits, zone and expected devices, and the readings while they matter.

    window: None while the patient rests, or when it has to be put in again before `look`. rests: whether nothing can
    be heard until a reading says otherwise or `due` comes.
    """

    __slots__ = ("_arrivals", "_calm", "due", "expected", "patient", "rests", "window", "zone")

    def __init__(self, patient: str, *, calm: Calm, zone: tzinfo, expected: tuple[Expected, ...]) -> None:
        self.patient = patient
        self.zone = zone
        self.expected = expected
        self.rests = False
        self.due = NEVER
        self.window: Window | None = None
        self._calm = calm
        self._arrivals: dict[str, Arrivals] | None = None

    def take(self, reading: Reading, now: datetime) -> bool:
        """Take a reading in; whether the patient has to be looked at."""
        keeps = self._calm.keeps(reading)
        if self.window is not None:
            newest = self.window.newest(reading.vital, reading.device)
            self.window.add(reading)
            if newest is None or (not keeps and reading.taken_at <= newest.taken_at):
                # Older readings of the device may matter now, which were not put in or not kept.
                self.put_away()
            return True
        if self._arrivals is None:
            return True
        arrivals = self._arrivals[reading.device] = after(self._arrivals.get(reading.device), reading)
        if not (self.rests and keeps and len(arrivals.late) < LATE_COUNT) or self.is_due(now):
            self.rests = False
        return not self.rests

    def fill(self, newest: Callable[[Vital, int], Sequence[Reading]]) -> None:
        """Put the readings in that are needed.

        newest: at most so many of the newest readings of a vital, of two SPANs before now and later, oldest first.
        """
        readings = [
            reading
            for vital in Vital
            for reading in self._calm.needed(vital, lambda limit, vital=vital: newest(vital, limit))  # type: ignore[misc]
        ]
        self.window = Window(self.patient, readings, arrivals=self._arrivals)

    def look(self, now: datetime, raising: Collection[str]) -> tuple[Finding, ...]:
        """Judge the patient (see `alerts.watch`); the window must be there."""
        assert self.window is not None  # noqa: S101  put in by the caller
        return watch(self.window, self._calm.limits, self.expected, now, zone=self.zone, raising=raising)

    def settle(self, findings: Sequence[Finding], *, present: bool, changed: bool, now: datetime) -> None:
        """Note what looking has led to.

        present: whether an alert of the patient is held up. changed: whether an alert was changed; then the same
        findings may be heard otherwise (a patient's own warning joins an alert that another one has opened).
        """
        window = self.window
        assert window is not None  # noqa: S101  the findings came from it
        raised = any(finding.verdict is Verdict.RAISE for finding in findings)
        self.rests = not raised and not present and self._calm.rests(window)
        moments = self._moments(window, raised=raised)
        self.due = now if changed else min((moment for moment in moments if moment > now), default=NEVER)
        if self.rests:
            self.put_away()

    def is_due(self, now: datetime) -> bool:
        """Whether time alone asks for a look. Arrivals may have put it off: then `due` is reckoned again."""
        if self.due <= now and self.rests and self._arrivals is not None:
            self.due = min(_silences(self.expected, self._arrivals), default=NEVER)
        return self.due <= now

    def put_away(self) -> None:
        """Forget the readings; they are put in again before the next look."""
        if self.window is not None:
            self._arrivals = self.window.all_arrivals()
            self.window = None

    def _moments(self, window: Window, *, raised: bool) -> Iterable[datetime]:
        """When time alone may change what is found."""
        yield from _silences(self.expected, window.all_arrivals())
        if not raised:
            return
        limits = self._calm.limits
        for vital in Vital:
            for _, readings in window.traces(vital):
                for rule, name in _FRESH:
                    yield readings[-1].taken_at + limits.value(rule.name, name, MIN) * MINUTE + _INSTANT
        wait = limits.value(BLOOD_PRESSURE_SEVERE.name, "wait", MIN) * MINUTE
        for reading in window.readings(Vital.BLOOD_PRESSURE):
            if self._calm.is_severe(reading):
                yield max(reading.taken_at, reading.received_at) + wait + _INSTANT


def _silences(expected: Sequence[Expected], arrivals: Mapping[str, Arrivals]) -> Iterable[datetime]:
    for each in expected:
        heard = arrivals.get(each.device)
        yield each.silence + (max(each.since, heard.received_at) if heard else each.since)

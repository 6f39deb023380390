"""Admission: whose a measurement is, when it was taken, and whether it can be true.

Pure. A measurement becomes a Reading, or a Refusal that says what a person can do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ingest.device_clock import offset_of, place
from ingest.reading import BEYOND_RANGE, MEALS, Flag, Measurement, Packet, Reading, Refusal, RefusalReason, TimeBasis
from ingest.vital import Vital, canonical, impossible, is_too_high

# A name of its own, because to ask an enumeration for a member takes as long as the rest of a comparison.
_ARRIVAL: Final = TimeBasis.ARRIVAL
# How many of the first components a measurement must have; the others of a blood pressure are extras.
_NEEDED: Final = {vital: 2 if vital is Vital.BLOOD_PRESSURE else 1 for vital in Vital}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wearing:
    """One person wears or uses one device from `since` (None: from its first record) until `until` (None: still).

    zone: where the wearer lives; a device clock without a zone shows this local time.
    slot: number of the device among the wearer's devices of its kind at that time (0 for the first); it names the
    device in InfluxDB, where serial numbers would make a new series for every sensor.
    assigned_at: when somebody said so; from then on the device is expected to be heard. number: in the register.
    """

    device: str
    patient: str
    zone: ZoneInfo
    since: datetime | None = None
    until: datetime | None = None
    slot: int = 0
    assigned_at: datetime | None = None
    number: int = field(default=0, compare=False)

    def covers(self, moment: datetime) -> bool:
        """Whether the device was worn at that moment (aware)."""
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)


class Roster:
    """Who wears which device, from when to when. Immutable: a change makes a new roster."""

    def __init__(self, wearings: Iterable[Wearing] = ()) -> None:
        self._by_device: dict[str, list[Wearing]] = {}
        for wearing in wearings:
            self._by_device.setdefault(wearing.device, []).append(wearing)

    def changed(self, device: str, wearings: Iterable[Wearing]) -> Roster:
        """The roster in which a device has these wearings, all others as they are."""
        roster = Roster()
        roster._by_device = {**self._by_device, device: list(wearings)}
        return roster

    def of(self, device: str) -> list[Wearing]:
        """All wearings of a device, past ones included."""
        return self._by_device.get(device, [])

    def at(self, device: str, moment: datetime) -> Wearing | None:
        """The wearing of a device at a moment (aware), or None."""
        return next((w for w in self.of(device) if w.covers(moment)), None)


def admit(measurement: Measurement, packet: Packet, roster: Roster) -> Reading | Refusal:
    """Make a reading of what a device claims, or say why not.

    The wearer is who wore the device when the reading was taken, which is not always who wears it now.
    """
    placed = _place(measurement, packet, roster)
    if placed is None:
        return _refuse(measurement, RefusalReason.UNASSIGNED, _unassigned(measurement.device, roster))
    values = canonical(measurement.vital, measurement.sent, measurement.unit)
    flaw = _flaw(measurement, values)
    if flaw is not None and not (flaw[0] is RefusalReason.IMPOSSIBLE and is_too_high(measurement.vital, values)):
        return _refuse(measurement, *flaw)
    wearing, taken_at, basis = placed
    timeless = basis is _ARRIVAL and measurement.device_time is not None
    reading = Reading(
        patient=wearing.patient,
        device=measurement.device,
        vital=measurement.vital,
        values=values,
        sent=measurement.sent,
        unit=measurement.unit,
        taken_at=taken_at,
        time_basis=basis,
        received_at=packet.received_at,
        device_time=measurement.device_time,
        sequence=measurement.sequence,
        clock_offset=_clock_error(packet, wearing.zone),
        flags=_flags(measurement, timeless=timeless),
        context=measurement.context,
        raw=measurement.raw,
        named=packet.is_named,
    )
    return reading if flaw is None else replace(_refuse(measurement, *flaw), too_high=reading)


def _flags(measurement: Measurement, *, timeless: bool) -> frozenset[Flag]:
    """What the device says, and what is doubtful about how it says it."""
    flags = measurement.flags
    if timeless:
        flags |= {Flag.TIME_FAULT}
    if measurement.context and measurement.vital is Vital.GLUCOSE:
        meal = measurement.context.get("meal")
        if meal is not None and meal not in MEALS:
            flags |= {Flag.MEAL_UNKNOWN}
    return flags


def _refuse(measurement: Measurement, reason: RefusalReason, because: str) -> Refusal:
    return Refusal(
        reason=reason,
        because=because,
        device=measurement.device,
        sequence=measurement.sequence,
        anonymous=measurement.sequence is None and measurement.device_time is None,
    )


def _unassigned(device: str, roster: Roster) -> str:
    if roster.of(device):
        return f"nobody wore device {device} when this was taken; correct since when it is worn, and this is admitted"
    return f"device {device} is not assigned to a patient; pair it, and what it sent is admitted"


def _place(measurement: Measurement, packet: Packet, roster: Roster) -> tuple[Wearing, datetime, TimeBasis] | None:
    """Find the wearing in which the reading was taken, with the moment and how it is known."""
    for wearing in roster.of(measurement.device):
        taken_at, basis = _moment(measurement.device_time, packet, wearing.zone)
        if wearing.covers(taken_at):
            return wearing, taken_at, basis
    return None


def _moment(claim: datetime | None, packet: Packet, zone: ZoneInfo) -> tuple[datetime, TimeBasis]:
    """When it was taken by the device's clock (`ingest.device_clock`), else when it arrived."""
    placed = None
    if claim is not None:
        start = packet.session.session_start if packet.session else None
        if start is None:
            placed = place(claim, _ahead(packet, zone), zone, packet.received_at)
        else:
            placed = place(start, _ahead(packet, zone), zone, packet.received_at, since_start=claim - start)
    return placed or (packet.received_at, _ARRIVAL)


def _ahead(packet: Packet, zone: ZoneInfo) -> timedelta | None:
    """How far the device's clock was ahead of UTC when it was read."""
    session = packet.session
    if session is None or session.clock_offset is None:
        return None
    then = offset_of(zone, packet.received_at) if session.utc_offset is None else session.utc_offset
    return then + session.clock_offset


def _clock_error(packet: Packet, zone: ZoneInfo) -> timedelta | None:
    """The clock's error in this wearer's zone: where it was read, the wearer may not have been known."""
    ahead = _ahead(packet, zone)
    return None if ahead is None else ahead - offset_of(zone, packet.received_at)


def _flaw(measurement: Measurement, values: tuple[float | None, ...]) -> tuple[RefusalReason, str] | None:
    """Say what keeps the measurement from being a value of a living person, or None."""
    if measurement.flags and Flag.CONTROL_SOLUTION in measurement.flags:
        return RefusalReason.CONTROL_SOLUTION, "a test with control solution says nothing about the patient"
    if None in measurement.sent[: _NEEDED[measurement.vital]] and not measurement.flags & BEYOND_RANGE:
        said = ", ".join(sorted(measurement.flags)) or "nothing more"
        return RefusalReason.NO_VALUE, f"the device reports a failed measurement ({said}); ask for a new one"
    problem = impossible(measurement.vital, values, measurement.unit)
    return (RefusalReason.IMPOSSIBLE, problem) if problem else None

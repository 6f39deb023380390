"""Admission: whose a measurement is, when it was taken, and whether it can be true.

Pure. A measurement becomes a Reading, or a Refusal that says what a person can do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ingest.reading import Flag, Measurement, Packet, Reading, Refusal, RefusalReason, TimeBasis
from ingest.vital import Vital, canonical, impossible

# A clock this close is believed as it is: meters show whole minutes, and correcting by a second or two would give
# one record a slightly different moment each time it is read.
CLOCK_TOLERANCE: Final = timedelta(seconds=60)
# Nobody measures in the future; the slack is for a device whose clock error could not be read.
FUTURE_TOLERANCE: Final = timedelta(minutes=10)
# Older than any meter's memory: the clock has fallen back to its factory date.
OLDEST: Final = timedelta(days=3 * 366)

_NO_NUMBER_BUT_A_VALUE: Final = frozenset({Flag.ABOVE_RANGE, Flag.BELOW_RANGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wearing:
    """One person wears or uses one device from `since` (None: from its first record) until `until` (None: still).

    zone: where the wearer lives; a device clock without a zone shows this local time.
    slot: number of the device among the wearer's devices of its kind at that time (0 for the first); it names the
    device in InfluxDB, where serial numbers would make a new series for every sensor.
    assigned_at: when somebody said so; from then on the device is expected to be heard.
    """

    device: str
    patient: str
    zone: ZoneInfo
    since: datetime | None = None
    until: datetime | None = None
    slot: int = 0
    assigned_at: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        """Whether the device was worn at that moment (aware)."""
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)


class Roster:
    """Who wears which device, from when to when. Immutable: a change makes a new roster."""

    def __init__(self, wearings: Iterable[Wearing] = ()) -> None:
        self._by_device: dict[str, list[Wearing]] = {}
        for wearing in wearings:
            self._by_device.setdefault(wearing.device, []).append(wearing)

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
    flaw = _flaw(measurement)
    if flaw is not None:
        return _refuse(measurement, *flaw)
    wearing, taken_at, basis = placed
    return Reading(
        patient=wearing.patient,
        device=measurement.device,
        vital=measurement.vital,
        values=canonical(measurement.vital, measurement.sent, measurement.unit),
        sent=measurement.sent,
        unit=measurement.unit,
        taken_at=taken_at,
        time_basis=basis,
        received_at=packet.received_at,
        device_time=measurement.device_time,
        sequence=measurement.sequence,
        clock_offset=packet.session.clock_offset if packet.session else None,
        flags=measurement.flags,
        context=measurement.context,
        raw=measurement.raw,
    )


def _refuse(measurement: Measurement, reason: RefusalReason, because: str) -> Refusal:
    return Refusal(reason=reason, because=because, device=measurement.device, sequence=measurement.sequence)


def _unassigned(device: str, roster: Roster) -> str:
    if roster.of(device):
        return f"nobody wore device {device} when this was taken; check from when to when it is assigned"
    return f"device {device} is not assigned to a patient; pair it, and what it sent is admitted"


def _place(measurement: Measurement, packet: Packet, roster: Roster) -> tuple[Wearing, datetime, TimeBasis] | None:
    """Find the wearing in which the reading was taken, with the moment and how it is known."""
    offset = packet.session.clock_offset if packet.session else None
    for wearing in roster.of(measurement.device):
        taken_at, basis = _moment(measurement.device_time, offset, wearing.zone, packet.received_at)
        if wearing.covers(taken_at):
            return wearing, taken_at, basis
    return None


def _moment(
    claimed: datetime | None, offset: timedelta | None, zone: ZoneInfo, received_at: datetime
) -> tuple[datetime, TimeBasis]:
    """Decide which clock to believe: the device's, the device's corrected by its measured error, or the arrival's."""
    if claimed is None:
        return received_at, TimeBasis.ARRIVAL
    local = claimed if claimed.tzinfo else claimed.replace(tzinfo=zone)
    try:
        moment, basis = local.astimezone(UTC), TimeBasis.DEVICE
        if offset is not None and abs(offset) > CLOCK_TOLERANCE:
            moment, basis = moment - offset, TimeBasis.CORRECTED
    except OverflowError:  # before the year 1 or after 9999, which a device may well claim
        return received_at, TimeBasis.ARRIVAL
    if received_at - OLDEST <= moment <= received_at + FUTURE_TOLERANCE:
        return moment, basis
    return received_at, TimeBasis.ARRIVAL


def _flaw(measurement: Measurement) -> tuple[RefusalReason, str] | None:
    """Say what keeps the measurement from being a value of a living person, or None."""
    if Flag.CONTROL_SOLUTION in measurement.flags:
        return RefusalReason.CONTROL_SOLUTION, "a test with control solution says nothing about the patient"
    needed = 2 if measurement.vital is Vital.BLOOD_PRESSURE else 1
    if None in measurement.sent[:needed] and not measurement.flags & _NO_NUMBER_BUT_A_VALUE:
        said = ", ".join(sorted(measurement.flags)) or "nothing more"
        return RefusalReason.NO_VALUE, f"the device reports a failed measurement ({said}); ask for a new one"
    problem = impossible(measurement.vital, canonical(measurement.vital, measurement.sent, measurement.unit))
    return (RefusalReason.IMPOSSIBLE, problem) if problem else None

"""A patient's recent readings, kept in the order in which they were taken."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import merge
from typing import Final, NamedTuple

from ingest.reading import Reading
from ingest.vital import Vital

SPAN: Final = timedelta(hours=48)
# 48 h of a sensor that measures every two minutes. A faster one keeps less than 48 h.
COUNT: Final = 1440

# Later than this after it was taken, a reading comes late. No patient can be given a shorter time for which readings
# are fresh ("fresh-sensor", "fresh-meter"), so that no device comes late and still too early to be told.
LATE: Final = {
    Vital.CGM: timedelta(minutes=15),
    Vital.GLUCOSE: timedelta(hours=6),
    Vital.KETONE: timedelta(hours=6),
    Vital.BLOOD_PRESSURE: timedelta(hours=6),
}
# So many late arrivals in a row are no accident.
LATE_COUNT: Final = 3

Identity = tuple[object, ...]


class Arrivals(NamedTuple):
    """How a device's readings come in; all but taken_at by the house's clock.

    late: the first arrivals, up to LATE_COUNT, of a row in which every reading came late and none came faster than
    twice the pace at which they were taken, as what was stored during an outage does. Empty after one in time.
    """

    received_at: datetime
    taken_at: datetime
    late: tuple[datetime, ...]

    @property
    def behind(self) -> timedelta:
        """How old the newest reading was when it came."""
        return self.received_at - self.taken_at


class Window:
    """What `alerts.watch` looks at: the last 48 h of each device of one patient.

    Appending in time order is O(1). A late reading is put in its place, a repeated one is refused, and one that is
    older than the window is only noted as an arrival.
    arrivals: how the devices' readings came in, where it is known better than from these readings.
    """

    def __init__(
        self,
        patient: str,
        readings: Iterable[Reading] = (),
        *,
        span: timedelta = SPAN,
        arrivals: Mapping[str, Arrivals] | None = None,
    ) -> None:
        self.patient = patient
        self._span = span
        self._traces: dict[tuple[Vital, str], _Trace] = {}
        self._arrivals: dict[str, Arrivals] = {}
        for reading in readings:
            self.add(reading)
        if arrivals is not None:
            self._arrivals = dict(arrivals)

    def add(self, reading: Reading) -> bool:
        """Take a reading in. False when it was there already or is too old to be kept.

        Raises ValueError for another patient's reading.
        """
        if reading.patient != self.patient:
            raise ValueError(f"a reading of patient {reading.patient} does not belong to patient {self.patient}")
        self._arrivals[reading.device] = after(self._arrivals.get(reading.device), reading)
        trace = self._traces.setdefault((reading.vital, reading.device), _Trace())
        return trace.add(reading, self._span)

    def traces(self, vital: Vital) -> tuple[tuple[str, Sequence[Reading]], ...]:
        """(device, its readings, oldest first) for every device that has readings of the vital, by device."""
        return tuple(
            (device, trace.readings) for (kind, device), trace in sorted(self._traces.items()) if kind is vital
        )

    def readings(self, vital: Vital) -> list[Reading]:
        """The readings of all devices, oldest first."""
        return list(merge(*(readings for _, readings in self.traces(vital)), key=lambda reading: reading.taken_at))

    def arrivals(self, device: str) -> Arrivals | None:
        """How the device's readings come in, or None if none came."""
        return self._arrivals.get(device)

    def all_arrivals(self) -> dict[str, Arrivals]:
        """The arrivals of all devices, by device."""
        return self._arrivals

    def newest(self, vital: Vital, device: str) -> Reading | None:
        """The reading of a device that was taken last, or None if there is none."""
        trace = self._traces.get((vital, device))
        return trace.readings[-1] if trace else None


def after(before: Arrivals | None, reading: Reading) -> Arrivals:
    """The arrivals of a device after this one; what came before the newest, or came with it, changes nothing."""
    received, taken = reading.received_at, reading.taken_at
    if before and (received, taken) <= (before.received_at, before.taken_at):
        return before
    if received - taken <= LATE[reading.vital]:
        return Arrivals(received, taken, ())
    if (
        before
        and received > before.received_at
        and timedelta() <= taken - before.taken_at <= 2 * (received - before.received_at)
    ):
        return Arrivals(received, taken, (*before.late, received)[:LATE_COUNT])
    return Arrivals(received, taken, (received,))


class _Trace:
    """One device's readings of one vital, sorted by moment; those of one moment by sequence, then as they came."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self._identities: set[Identity] = set()

    def add(self, reading: Reading, span: timedelta) -> bool:
        identity = _identity(reading)
        if identity in self._identities:
            return False
        readings = self.readings
        if not readings or _place(reading) >= _place(readings[-1]):
            readings.append(reading)
        elif reading.taken_at < readings[-1].taken_at - span or (
            len(readings) >= COUNT and _place(reading) < _place(readings[0])
        ):
            return False
        else:
            readings.insert(bisect_right(readings, _place(reading), key=_place), reading)
        self._identities.add(identity)
        self._forget(readings[-1].taken_at - span)
        return True

    def _forget(self, before: datetime) -> None:
        readings = self.readings
        old = max(0, len(readings) - COUNT)
        while readings[old].taken_at < before:
            old += 1
        if old:
            self._identities.difference_update(map(_identity, readings[:old]))
            del readings[:old]


def _identity(reading: Reading) -> Identity:
    # A device without sequence and clock tells its readings apart by the moment they came and what they say alone.
    if reading.sequence is None and reading.device_time is None:
        return reading.taken_at, reading.sent, reading.unit, reading.flags
    return reading.sequence, reading.device_time


def _place(reading: Reading) -> tuple[datetime, int, datetime]:
    sequence = -1 if reading.sequence is None else reading.sequence
    return reading.taken_at, sequence, reading.received_at

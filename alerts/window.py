"""A patient's recent readings, kept in the order in which they were taken."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from heapq import merge
from typing import Final

from ingest.reading import Reading
from ingest.vital import Vital

SPAN: Final = timedelta(hours=48)
# 48 h of a sensor that measures every two minutes. A faster one keeps less than 48 h.
COUNT: Final = 1440

Identity = tuple[int | None, datetime | None]


class Window:
    """What `alerts.watch` looks at: the last 48 h of each device of one patient.

    Appending in time order is O(1). A late reading is put in its place, a repeated one is refused, and one that is
    older than the window is only noted as an arrival.
    """

    def __init__(self, patient: str, readings: Iterable[Reading] = (), *, span: timedelta = SPAN) -> None:
        self.patient = patient
        self._span = span
        self._traces: dict[tuple[Vital, str], _Trace] = {}
        self._arrivals: dict[str, datetime] = {}
        for reading in readings:
            self.add(reading)

    def add(self, reading: Reading) -> bool:
        """Take a reading in. False when it was there already or is too old to be kept.

        Raises ValueError for another patient's reading.
        """
        if reading.patient != self.patient:
            raise ValueError(f"a reading of patient {reading.patient} does not belong to patient {self.patient}")
        self.arrived(reading.device, reading.received_at)
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

    def arrived(self, device: str, at: datetime) -> None:
        """Note that the device was heard at that moment, as the journal knows it of readings no longer kept here."""
        self._arrivals[device] = max(at, self._arrivals.get(device, at))

    def last_arrival(self, device: str) -> datetime | None:
        """When the device's newest reading came in (aware UTC), or None if none came."""
        return self._arrivals.get(device)


class _Trace:
    """One device's readings of one vital, sorted by moment; readings of one moment by sequence."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self._identities: set[Identity | datetime] = set()

    def add(self, reading: Reading, span: timedelta) -> bool:
        identity = _identity(reading)
        if identity in self._identities:
            return False
        readings = self.readings
        if not readings or _place(reading) > _place(readings[-1]):
            readings.append(reading)
        elif reading.taken_at < readings[-1].taken_at - span or (
            len(readings) >= COUNT and _place(reading) < _place(readings[0])
        ):
            return False
        else:
            readings.insert(bisect_left(readings, _place(reading), key=_place), reading)
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


def _identity(reading: Reading) -> Identity | datetime:
    # A device without sequence and clock can only be told apart by the moment its readings came.
    if reading.sequence is None and reading.device_time is None:
        return reading.taken_at
    return reading.sequence, reading.device_time


def _place(reading: Reading) -> tuple[datetime, int, datetime]:
    sequence = -1 if reading.sequence is None else reading.sequence
    return reading.taken_at, sequence, reading.received_at

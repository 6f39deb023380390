"""Patients' readings in the journal, as `alerts.bed` wants them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from alerts import spot
from alerts.sensor import HISTORY
from ingest.journal import Journal
from ingest.reading import Reading, to_us
from ingest.vital import Vital

_DAY: Final = timedelta(days=1)


class StoredReadings:
    """What has come of one patient by now (aware)."""

    def __init__(self, journal: Journal, patient: str, now: datetime) -> None:
        self._journal = journal
        self._patient = patient
        self._now = now

    def sensors(self) -> list[Reading]:
        """Of all sensors, the last hours and the one reading before, oldest first."""
        start, end = self._now - HISTORY, self._now + _DAY
        before = self._journal.readings(self._patient, Vital.CGM, start - _DAY, start, 1)
        return before + self._journal.readings(self._patient, Vital.CGM, start, end)

    def sensor(self, device: str) -> Sequence[Reading]:
        """See `alerts.bed.Stored`."""
        return [reading for reading in self.sensors() if reading.device == device]

    def spot(self) -> spot.Taken:
        """See `alerts.bed.Stored`."""
        end = self._now + _DAY
        taken = {
            vital: self._journal.readings(self._patient, vital, self._now - span, end)
            for vital, span in spot.SPAN.items()
        }
        if taken[Vital.GLUCOSE]:
            at, about = taken[Vital.GLUCOSE][-1].taken_at, spot.SPAN[Vital.CGM]
            then = self._journal.readings(self._patient, Vital.CGM, at - about, min(at + about, self._now - about))
            taken[Vital.CGM] = then + taken[Vital.CGM]
        return taken


class Unseen:
    """Which of these patients' sensor readings are stored already, but come after a cursor."""

    def __init__(self, journal: Journal, cursor: int, patients: Collection[str], now: datetime) -> None:
        self._journal = journal
        self._patients = patients
        self._start = now - HISTORY - _DAY
        self._upto = cursor
        self._keys: set[tuple[str, int, int]] = set()

    def left_out_of(self, readings: Iterable[Reading]) -> Iterator[Reading]:
        """Those of stored readings that come before the cursor.

        The journal is asked now, after they were read, so that none that was committed meanwhile is missed.
        """
        self._upto, keys = self._journal.arrived(self._upto, self._patients, Vital.CGM, self._start)
        self._keys |= keys
        return (each for each in readings if (each.device, to_us(each.taken_at), each.twin) not in self._keys)

"""A patient's readings in the journal, as `alerts.bed.Stored` wants them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from alerts import spot
from alerts.sensor import HISTORY
from ingest.journal import Journal
from ingest.reading import Reading
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

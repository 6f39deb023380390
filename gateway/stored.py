"""Patients' readings in the journal, as `alerts.bed` wants them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from alerts import spot
from alerts.book import Book
from alerts.forecast import ABOVE_RANGE, BELOW_RANGE, MEMORY
from alerts.sensor import HISTORY
from gateway.clock import LARGE_STEP
from ingest.journal import Journal
from ingest.reading import Reading, to_us
from ingest.vital import MG_DL_PER_MMOL_L, Vital

_DAY: Final = timedelta(days=1)
SET_ASIDE: Final = spot.SPAN[Vital.GLUCOSE]  # for so long what was set aside is looked at


class StoredReadings:
    """What has come of one patient by now (aware).

    book: what was told, None where nobody is told anything. set_aside: glucose too high to become a reading.
    """

    def __init__(
        self,
        journal: Journal,
        patient: str,
        now: datetime,
        book: Book | None = None,
        set_aside: Sequence[Reading] = (),
    ) -> None:
        self._journal = journal
        self._patient = patient
        self._now = now
        self._book = book
        self._set_aside = set_aside

    def sensors(self) -> list[Reading]:
        """Of all sensors, the last hours and the one reading before, oldest first."""
        start, end = self._now - HISTORY, self._now + _DAY
        return self._readings(Vital.CGM, start - _DAY, start, 1) + self._readings(Vital.CGM, start, end)

    def earlier(self) -> Mapping[str, Sequence[tuple[float, float]]]:
        """By sensor, what came before `sensors` in the time over which a patient is known, oldest first.

        Minutes since 1970 and mg/dL, as `alerts.forecast.Forecast.take` wants them.
        """
        start, end = self._now - timedelta(minutes=MEMORY), self._now - HISTORY
        found = self._journal.glucose(self._patient, Vital.CGM, start, end)
        mg_dl = np.where(found.mmol, found.shown * MG_DL_PER_MMOL_L, found.shown)
        mg_dl = np.nan_to_num(mg_dl, neginf=BELOW_RANGE, posinf=ABOVE_RANGE)
        by_sensor: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for device, minute, value in zip(found.devices, found.taken_us / 60e6, mg_dl, strict=True):
            by_sensor[device].append((float(minute), float(value)))
        return by_sensor

    def sensor(self, device: str) -> Sequence[Reading]:
        """See `alerts.bed.Stored`."""
        return [reading for reading in self.sensors() if reading.device == device]

    def sensors_since(self, start: datetime) -> Sequence[Reading]:
        """See `alerts.bed.Stored`."""
        return self._readings(Vital.CGM, start, self._now + _DAY)

    def watched(self, keys: Collection[str]) -> frozenset[str]:
        """See `alerts.bed.Stored`."""
        return self._book.watched(self._patient, keys) if self._book else frozenset()

    def said_before(self, reading: Reading) -> Reading | None:
        """See `alerts.bed.Stored`; what was set aside was said too."""
        stored = self._journal.said_before(reading) if reading.rev > 1 else None
        aside = [each for each in self._set_aside if each.key == reading.key]
        earlier = [each for each in (stored, *aside) if each and each.received_at < reading.received_at]
        return max(earlier, key=lambda each: each.received_at, default=stored)

    def spot(self) -> spot.Taken:
        """See `alerts.bed.Stored`."""
        end = self._now + _DAY
        taken = {vital: self._readings(vital, self._now - span, end, spot.MOST) for vital, span in spot.SPAN.items()}
        if taken[Vital.GLUCOSE]:
            at, about = taken[Vital.GLUCOSE][-1].taken_at, spot.SPAN[Vital.CGM]
            then = self._readings(
                Vital.CGM, spot.row_began(taken[Vital.GLUCOSE]) - about, min(at + about, self._now - about)
            )
            taken[Vital.CGM] = then + taken[Vital.CGM]
        if self._set_aside:
            taken[Vital.GLUCOSE] = self._with_set_aside(taken[Vital.GLUCOSE])
        return taken

    def spot_after(self, cursor: int) -> list[Reading]:
        """Of those that `spot` gives of meters and cuffs, what came after a sequence number of the journal."""
        return [
            each
            for vital, readings in self.spot().items()
            if vital is not Vital.CGM and readings
            for keys in [self._journal.arrived(cursor, [self._patient], vital, readings[0].taken_at)[1]]
            for each in readings
            if (each.device, to_us(each.taken_at), each.twin) in keys
        ]

    def _with_set_aside(self, glucose: Iterable[Reading]) -> list[Reading]:
        """Without those that the meter has corrected to what can be believed."""
        kept = {each.key: each for each in glucose}
        aside = [
            _as_it_may_have_come(each, self._now)
            for each in self._set_aside
            if each.key not in kept or kept[each.key].received_at < each.received_at
        ]
        return sorted([*glucose, *aside], key=lambda each: each.taken_at)

    def _readings(self, vital: Vital, start: datetime, end: datetime, limit: int | None = None) -> list[Reading]:
        found = self._journal.readings(self._patient, vital, start, end, limit)
        return [_as_it_may_have_come(each, self._now) for each in found]


class SetAside:
    """Glucose of the last days that is too high to have become a reading: of each patient every record once."""

    def __init__(self) -> None:
        self._records: defaultdict[str, dict[tuple[object, ...], Reading]] = defaultdict(dict)

    def of(self, patient: str) -> Sequence[Reading]:
        """In the order in which they came."""
        return tuple(self._records.get(patient, {}).values())

    def take(self, readings: Iterable[Reading], now: datetime) -> list[Reading]:
        """Those that are new, and recent enough to be looked at; a meter's memory may be read more than once."""
        new = []
        for each in readings:
            known, record = self._records[each.patient], _record(each)
            if record in known or now - each.taken_at > SET_ASIDE:
                continue
            new.append(each)
            known[record] = each
            while len(known) > spot.MOST or now - next(iter(known.values())).taken_at > SET_ASIDE:
                del known[next(iter(known))]
        return new


def _record(reading: Reading) -> tuple[object, ...]:
    """What tells a record of a device from its others; where it has neither number nor time, its arrival does."""
    at = reading.taken_at if reading.sequence is None and reading.device_time is None else reading.device_time
    return reading.device, reading.sequence, at, reading.sent


class Unseen:
    """Which of these patients' sensor readings are stored already, but come after a cursor."""

    def __init__(self, journal: Journal, cursor: int, patients: Collection[str], now: datetime) -> None:
        self._journal = journal
        self._patients = patients
        self._start = now - HISTORY - _DAY
        self._upto = cursor
        self._keys: set[tuple[str, int, int]] = set()

    def split(self, stored: Iterable[Reading]) -> tuple[list[Reading], list[Reading]]:
        """Those of stored readings that come before the cursor, and those that come after it.

        The journal is asked now, after they were read, so that none that was committed meanwhile is missed.
        """
        self._upto, keys = self._journal.arrived(self._upto, self._patients, Vital.CGM, self._start)
        self._keys |= keys
        before: list[Reading] = []
        after: list[Reading] = []
        for each in stored:
            (after if (each.device, to_us(each.taken_at), each.twin) in self._keys else before).append(each)
        return before, after


def _as_it_may_have_come(reading: Reading, now: datetime) -> Reading:
    """What comes while the ward looks comes now; while the clock was ahead, when it was taken, for all one knows."""
    ahead = reading.received_at - now
    if ahead <= timedelta(0):
        return reading
    return replace(reading, received_at=now if ahead <= LARGE_STEP else min(reading.taken_at, now))

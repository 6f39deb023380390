"""The quality report and the months of monitoring, put together from the database and the journal.

Days are the clinic's for alerts, follow-ups and surveys, and each patient's own for readings and care time. What is
not awaited reads much and blocks: call it off the loop.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from alerts.follow_up import FollowUp
from alerts.home_pressure import Pressures, home_pressure
from alerts.metrics import Population, Traces, summarise, wall_clock
from alerts.monitoring import Care, CareTime, Correction, Monitored, Window, monitored, windows
from alerts.quality import AlertRow, ControlRow, Measure, MonitoredRow, Quality, QualityRows, quality
from alerts.quality_book import QualityBook
from alerts.review import RANGES
from alerts.rules import RuleBook
from alerts.week import midnight_us
from gateway.own_limits import care_of
from gateway.people import Patient, People
from ingest.journal import Journal
from ingest.reading import from_us
from ingest.vital import Vital

# As long as the consensus asks of a report of a sensor.
COMPARED: Final = timedelta(days=14)
# For so long a report is not made again: a page asks for it, and then for each of its charts.
FRESH: Final = timedelta(minutes=1)
# Each takes two fortnights of readings, 12 ms each of a sensor. Of more patients these are compared, by chance.
MOST_COMPARED: Final = 150
_DAY: Final = timedelta(days=1)
# What the troubles are about by which control is measured: how they begin.
_TROUBLES: Final = {Vital.CGM: "glucose-", Vital.BLOOD_PRESSURE: "blood-pressure-"}


_MEASURES: Final = {Vital.CGM: (Measure.TIR,), Vital.BLOOD_PRESSURE: (Measure.SYSTOLIC, Measure.DIASTOLIC)}


class _Span(NamedTuple):
    """From the first opening of a patient's alerts to the last closing."""

    opened_at: datetime
    closed_at: datetime


class Report(NamedTuple):
    """A report, and how it was asked for. first, last: both included. compared_of: how many could be compared."""

    first: date
    last: date
    programme: str | None
    made: Quality
    compared: int
    compared_of: int


class QualityDesk:
    """Who puts the figures together: one report at a time, which is the same for a minute whoever asks."""

    def __init__(self, journal: Journal, people: People, book: QualityBook, rules: RuleBook, zone: ZoneInfo) -> None:
        self._journal = journal
        self._people = people
        self._book = book
        self._rules = rules
        self._zone = zone
        self._turn = asyncio.Lock()
        self._kept: dict[tuple[date, date, str | None], Report] = {}

    async def report(self, first: date, last: date, now: datetime, programme: str | None = None) -> Report:
        """The report of these days, both included, as known by now (aware). programme: of its patients alone."""
        asked = first, last, programme
        async with self._turn:
            self._kept = {key: kept for key, kept in self._kept.items() if abs(now - kept.made.as_of) < FRESH}
            if asked not in self._kept:
                self._kept[asked] = await asyncio.to_thread(self.put_together, first, last, now, programme)
            return self._kept[asked]

    def put_together(self, first: date, last: date, now: datetime, programme: str | None) -> Report:
        """The same, anew. Blocks."""
        start, end = (from_us(midnight_us(day, self._zone)) for day in (first, last + _DAY))
        everybody = {patient.id: patient for patient in self._people.patients()}
        programmes = {patient.id: self._programme(patient) for patient in everybody.values()}

        def ours(name: str | None) -> bool:
            return programme is None or name == programme

        alerts = [alert for alert in self._book.alerts(start, end, programmes) if ours(alert.programme)]
        care = self._book.care(start, end, programmes)
        follow_ups = [each for each in care.follow_ups if ours(each.programme)]
        names = {each.id for each in follow_ups}
        watched = [patient for patient in everybody.values() if ours(programmes[patient.id])]
        closed = {key: span for key, span in _closed(alerts).items() if key[0] in everybody}
        chosen = sorted(closed, key=lambda key: blake2b(key[0].encode()).digest())
        made = quality(
            QualityRows(
                start=start,
                end=end,
                as_of=now,
                zone=self._zone,
                alerts=alerts,
                follow_ups=follow_ups,
                attempts=[each for each in care.attempts if each.follow_up in names],
                surveys=[each for each in care.surveys if ours(each.programme)],
                monitored=[
                    MonitoredRow(
                        patient=patient.id,
                        days=len(self._days(patient, first, last)),
                        programme=programmes[patient.id],
                    )
                    for patient in watched
                ],
                controls=[
                    row
                    for name, vital in chosen[:MOST_COMPARED]
                    for row in self._controls(everybody[name], vital, closed[name, vital], now)
                ],
            )
        )
        return Report(first, last, programme, made, min(len(chosen), MOST_COMPARED), len(chosen))

    def months(
        self, first: date, last: date, kind: Window, programme: str | None = None
    ) -> list[tuple[Patient, Monitored]]:
        """The windows that begin in these days, of each patient by name."""
        spans = list(windows(first, last, kind))
        begins, ends = spans[0][0], spans[-1][1]
        # A patient's day may begin up to 14 h before it does in UTC, and end 12 h after.
        start, end = (from_us(midnight_us(day, ZoneInfo("UTC"))) for day in (begins - _DAY, ends + 2 * _DAY))
        times: defaultdict[str, list[CareTime]] = defaultdict(list)
        for time in self._book.care_times(start, end):
            times[time.patient].append(time)
        spoken: defaultdict[str, list[datetime]] = defaultdict(list)
        for patient, at in self._book.spoken(start, end):
            spoken[patient].append(at)
        return [
            (person, row)
            for person in self._people.patients()
            if programme is None or self._programme(person) == programme
            for row in monitored(
                Care(
                    patient=person.id,
                    zone=ZoneInfo(person.zone),
                    programme=self._programme(person),
                    days=self._days(person, begins, ends),
                    times=times[person.id],
                    spoken_at=spoken[person.id],
                ),
                first,
                last,
                kind,
            )
        ]

    def programmes(self) -> list[str]:
        """The programmes in which there are patients."""
        return sorted({name for patient in self._people.patients() if (name := self._programme(patient))})

    def knows(self, programme: str) -> bool:
        """Whether there is such a programme in the rule file, or ever was a patient in it."""
        return (
            programme in self._rules.programmes
            or programme in self.programmes()
            or self._book.has_programme(programme)
        )

    def note_care(self, time: CareTime, now: datetime) -> CareTime:
        """Write minutes of care down; the entry with its number."""
        return self._book.note_care(time, now)

    def correct_care(self, number: int, correction: Correction) -> CareTime:
        """Have an entry count as corrected; see `QualityBook.correct_care`."""
        return self._book.correct_care(number, correction)

    def care_time(self, number: int) -> CareTime | None:
        """One entry by its number, or None."""
        return self._book.care_time(number)

    def care_of(self, patient: Patient, first: date, last: date) -> list[CareTime]:
        """A patient's minutes of care on these days of the patient's clock, both included, oldest first."""
        zone = ZoneInfo(patient.zone)
        start, end = (from_us(midnight_us(day, zone)) for day in (first, last + _DAY))
        return self._book.care_times(start, end, patient=patient.id)

    def care_in(self, follow_up: FollowUp, now: datetime) -> list[CareTime]:
        """The minutes of care of a follow-up since it was opened, oldest first."""
        return self._book.care_times(follow_up.opened_at, now + timedelta(microseconds=1), follow_up=follow_up.id)

    def _programme(self, patient: Patient) -> str | None:
        return self._rules.care(patient.id, care_of(patient)).programme

    def _days(self, patient: Patient, first: date, last: date) -> frozenset[date]:
        zone = ZoneInfo(patient.zone)
        days = [first + _DAY * number for number in range((last - first).days + 1)]
        edges = [from_us(midnight_us(day, zone)) for day in (*days, last + _DAY)]
        found = self._journal.measured(patient.id, list(pairwise(edges)))
        return frozenset(day for day, measured in zip(days, found, strict=True) if measured)

    # Control

    def _controls(self, patient: Patient, vital: Vital, span: _Span, now: datetime) -> Iterator[ControlRow]:
        """Before the first alert of the period, and after the last closing."""
        fortnights = ((span.opened_at - COMPARED, span.opened_at), (span.closed_at, span.closed_at + COMPARED))
        too_early = fortnights[1][1] > now
        look = self._tir if vital is Vital.CGM else self._pressure
        before, after = (look(patient, *fortnight) for fortnight in fortnights)
        for measure in _MEASURES[vital]:
            yield ControlRow(
                patient=patient.id,
                measure=measure,
                before=before.get(measure),
                after=after.get(measure),
                too_early=too_early,
            )

    def _tir(self, patient: Patient, start: datetime, end: datetime) -> Mapping[Measure, float]:
        """Time in range, %; nothing where the sensor gave less than 70 % of its readings."""
        series = self._journal.glucose(patient.id, Vital.CGM, start, end)
        traces = Traces(
            offsets=np.array([0, len(series.taken_us)], dtype=np.int64),
            taken_us=series.taken_us,
            clock_us=series.taken_us,
            shown=series.shown,
            mmol=series.mmol,
        )
        summary = summarise(traces, end - start, self._population(patient))
        return {Measure.TIR: float(summary.time.tir[0])} if summary.sufficient[0] else {}

    def _pressure(self, patient: Patient, start: datetime, end: datetime) -> Mapping[Measure, float]:
        """The home mean, mmHg; nothing where the measuring lacks what a home mean needs."""
        series = self._journal.series(patient.id, Vital.BLOOD_PRESSURE, start, end)
        known = np.isfinite(series.values[:, :2]).all(axis=1)
        taken_us = series.taken_us[known]
        home = home_pressure(
            Pressures(
                offsets=np.array([0, len(taken_us)], dtype=np.int64),
                taken_us=taken_us,
                clock_us=wall_clock(taken_us, ZoneInfo(patient.zone)),
                systolic=series.values[known, 0],
                diastolic=series.values[known, 1],
            ),
            drop_first_day=False,
        )
        if not home.sufficient[0]:
            return {}
        return {Measure.SYSTOLIC: float(home.systolic.mean[0]), Measure.DIASTOLIC: float(home.diastolic.mean[0])}

    def _population(self, patient: Patient) -> Population:
        return RANGES[self._rules.care(patient.id, care_of(patient)).population or self._rules.population]


def _closed(alerts: Collection[AlertRow]) -> Mapping[tuple[str, Vital], _Span]:
    """The patients of whose alerts about a vital at least one was closed."""
    found: defaultdict[tuple[str, Vital], list[AlertRow]] = defaultdict(list)
    for alert in alerts:
        for vital, trouble in _TROUBLES.items():
            if alert.problem.startswith(trouble):
                found[alert.patient, vital].append(alert)
    closings = {key: [each.closed_at for each in rows if each.closed_at] for key, rows in found.items()}
    return {
        key: _Span(min(each.opened_at for each in found[key]), max(closed))
        for key, closed in closings.items()
        if closed
    }

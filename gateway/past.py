"""A patient's last weeks as the journal has them, and the night hour at which they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np

from alerts import spot
from alerts.alert import Audience, Finding, Verdict
from alerts.metrics import Population, Traces, wall_clock
from alerts.plan import Plan
from alerts.review import Review, review
from alerts.rule import Limits
from alerts.scene import Judged, Scene
from alerts.week import WEEK, last_monday, midnight_us
from gateway.people import MeasuringPlan, kept_since, plans_on
from ingest.journal import Journal
from ingest.reading import from_us
from ingest.series import GlucoseSeries
from ingest.vital import Unit, Vital

# What was measured until midnight has come in by then, where a device is read at all at night.
NIGHT_HOUR: Final = 3
SPREAD: Final = timedelta(hours=2)
_DAY: Final = timedelta(days=1)
_INSTANT: Final = timedelta(microseconds=1)


class Round(NamedTuple):
    """A patient's visit of one day. at: when it was due (UTC). monday: the week that was over by then.

    next_at: when the next day's is due.
    """

    at: datetime
    day: date
    monday: date
    next_at: datetime


def round_of(patient: str, zone: tzinfo, now: datetime) -> Round:
    """The last visit of a patient that was due by now (aware), on the clock of the patient's zone."""
    spread = SPREAD * (int.from_bytes(blake2b(patient.encode(), digest_size=4).digest()) / 2**32)
    day = now.astimezone(zone).date()
    while (at := _night(day, zone) + spread) > now:
        day -= _DAY
    return Round(at, day, last_monday(at, zone), _night(day + _DAY, zone) + spread)


def _night(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, NIGHT_HOUR, tzinfo=zone).astimezone(UTC)


class Past:
    """What the journal says of one patient's last weeks.

    limits: those that hold on a day. cuffs: those the patient wears, and since when; worn: all devices. plans: what
    the patient is to measure. unit: in which the patient reads glucose, None: as most readings.
    """

    def __init__(
        self,
        journal: Journal,
        patient: str,
        zone: tzinfo,
        *,
        population: Population,
        limits: Callable[[date], Limits],
        cuffs: Mapping[str, datetime],
        worn: Mapping[str, datetime],
        plans: Sequence[MeasuringPlan] = (),
        unit: Unit | None = None,
    ) -> None:
        self._journal = journal
        self._patient = patient
        self._zone = zone
        self._population = population
        self._unit = unit
        self._limits = limits
        self._cuffs = cuffs
        self._worn = worn
        self._plans = plans

    def review(self, due: Round, now: datetime) -> Review | None:
        """The review of the week that was over; None where nothing was measured."""
        sunday = due.monday + WEEK
        of_spot = tuple(
            finding
            for finding in self.spot(sunday)
            if finding.audience is Audience.WEEKLY and finding.verdict is not Verdict.HOLD
        )
        series = self._series(due)
        if (series.taken_us < midnight_us(sunday, self._zone)).any():
            made = review(
                self._patient,
                self._traces(series),
                series.devices,
                due.monday,
                self._limits(due.day),
                population=self._population,
                zone=self._zone,
                now=now,
                unit=self._unit,
            )
            return replace(made, findings=made.findings + of_spot)
        if not of_spot:
            return None
        return Review(patient=self._patient, monday=due.monday, made_at=now, week=None, before=None, findings=of_spot)

    def spot(self, day: date) -> tuple[Finding, ...]:
        """What meter and cuff say over the days before this one."""
        return self._reviewed(self._scene(from_us(midnight_us(day, self._zone)) - _INSTANT, day)).findings

    def reminders(self, now: datetime) -> Judged:
        """What the patient is to be asked for now, and when to look again; see `alerts.spot.reminders`."""
        scene = self._scene(now, now.astimezone(self._zone).date())
        return spot.reminders(scene, self._reviewed(scene))

    def _scene(self, now: datetime, day: date) -> Scene:
        return Scene(self._patient, self._limits(day), now, self._zone, self._unit)

    def _reviewed(self, scene: Scene) -> Judged:
        end = scene.now + _INSTANT
        taken = {
            vital: self._journal.readings(self._patient, vital, end - spot.REVIEW_SPAN, end)
            for vital in (Vital.GLUCOSE, Vital.KETONE, Vital.BLOOD_PRESSURE)
        }
        failed = [
            moment
            for device, since in self._cuffs.items()
            for moment in self._journal.failures(device, max(since, end - spot.REVIEW_SPAN), end)
        ]
        plans = [
            Plan(vital=each.vital, times=each.times, days=each.days, since=self._agreed(each, scene.now))
            for each in plans_on(self._plans, scene.day(scene.now)).values()
        ]
        if not any(taken.values()) and not failed and not plans:
            return Judged((), None)
        return spot.review(scene, taken, plans, failed=failed, worn=self._worn)

    def _agreed(self, plan: MeasuringPlan, now: datetime) -> datetime:
        """The last moment before what counts; `Plan` leaves the day of it out, so that only whole days count."""
        return kept_since(plan, self._plans, self._zone, now) - _INSTANT

    def traces(self, due: Round) -> Traces:
        """All that the review of the week and the last fourteen days need of the sensor."""
        return self._traces(self._series(due))

    def _series(self, due: Round) -> GlucoseSeries:
        start, end = (from_us(midnight_us(day, self._zone)) for day in (due.monday - WEEK, due.day))
        return self._journal.glucose(self._patient, Vital.CGM, start, end)

    def _traces(self, series: GlucoseSeries) -> Traces:
        return Traces(
            offsets=np.array([0, len(series.taken_us)], dtype=np.int64),
            taken_us=series.taken_us,
            clock_us=wall_clock(series.taken_us, self._zone),
            shown=series.shown,
            mmol=series.mmol,
        )

"""The rounds: every night each patient's last weeks are read from the journal and judged as a whole.

At the patient's own night hour, spread over two hours, and once for each day: how the patient stands (`alerts.risk`),
and what meter and cuff say over days (`alerts.spot.review`), which the ward hears; once for each week that is over:
its review, of sensor, meter and cuff (`alerts.review`). What the patient is asked for by it, and the reminder of a
plan, wait for the waking hours (`alerts.spot.reminders`). What fell due while the house was down is done after the
start, of missed weeks the last one, and what is written is never done again. Of several hubs on one database the one
that has heard a patient's devices makes the visit; the others have nothing to read. The rounds read the journal
beside the straight path, and rest longer than they work, so that no reading waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from alerts.alert import Finding
from alerts.devices import LastHeard
from alerts.metrics import Traces, wall_clock
from alerts.review import RANGES, Review
from alerts.review_book import ReviewBook
from alerts.review_rules import WEEK_NOCTURNAL_LOWS
from alerts.risk import Standing
from alerts.rule import Group
from alerts.rules import PLAIN, RuleBook
from alerts.spot import asks_patient
from alerts.week import WEEK, Pressure, figures, halves, midnight_us, pressures
from gateway.agenda import Agenda
from gateway.clock import Clock
from gateway.language import Sentence
from gateway.own_limits import care_of, limits_on
from gateway.past import Past, Round, round_of
from gateway.patience import Patience
from gateway.people import DeviceKind, Patient, People
from ingest.admit import Wearing
from ingest.journal import Journal
from ingest.reading import from_us, to_us
from ingest.vital import Vital

logger = logging.getLogger(__name__)

SLICE: Final = 100
# Rest after each patient, in times of the work it took: a catch-up takes a fifth of one core.
_REST: Final = 4.0
_DAY: Final = timedelta(days=1)


class _Seen(NamedTuple):
    """What a visit has found. review: None where the week has one, or nothing was measured in it."""

    standing: Standing
    review: Review | None
    found: tuple[Finding, ...]


# How other hubs heard these devices last, at that moment at the latest; see `alerts.book.Book.heard_elsewhere`.
Elsewhere = Callable[[datetime, Collection[str]], Mapping[str, LastHeard]]


class Rounds:
    """Visits the patients who wear or wore a device. hear() is given what the alerts have to hear of.

    elsewhere: says what other hubs on the same database have heard; None where there is none.
    """

    def __init__(
        self,
        journal: Journal,
        people: People,
        book: ReviewBook,
        *,
        clock: Clock,
        hear: Callable[[Sequence[Finding]], Awaitable[object]],
        judge: Callable[[Review], None],
        rules: RuleBook = PLAIN,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.patience = Patience(Sentence("book of reviews"), clock)
        self._journal = journal
        self._people = people
        self._book = book
        self._now = clock.now
        self._hear = hear
        self._judge = judge
        self._elsewhere = elsewhere
        self._rules = rules
        self._agenda = Agenda()
        self._went_at: datetime | None = None
        self._faulty: set[str] = set()

    @property
    def trouble(self) -> str | None:
        """Who could not be visited the last time, in a sentence; None when everybody could."""
        if not self._faulty:
            return None
        return Sentence(
            "patient {patient} cannot be reviewed; the log says why, and this is to be reported",
            patient=min(self._faulty),
        )

    def expect(self, patients: Iterable[str]) -> None:
        """See whether these patients are due: they are new, live elsewhere now, or have another plan."""
        for patient in patients:
            self._agenda.add(patient, self._now())

    async def go(self) -> bool:
        """Visit those who are due, at most SLICE of them; True when more are waiting."""
        now = self._now()
        if self._went_at is None or now < self._went_at:
            # The start, or the time was wrong before, and so is what was noted by it.
            await self.patience.call(self._begin, now)
        self._went_at = now
        loop = asyncio.get_running_loop()
        for patient in self._agenda.due(now, SLICE):
            began = loop.time()
            self._agenda.add(patient, await self._visit(patient, now))
            await asyncio.sleep(_REST * (loop.time() - began))
        return self._agenda.is_due(now)

    def _begin(self, now: datetime) -> None:
        days, waiting = self._book.days(), self._book.waiting()
        zones = {patient.id: ZoneInfo(patient.zone) for patient in self._people.patients()}
        self._agenda = Agenda()
        # A plan may be another one than when its patient was seen last.
        planned = self._people.planned()
        for patient in {wearing.patient for wearing in self._people.wearings()} | planned:
            due = round_of(patient, zones[patient], now)
            seen = patient not in planned and days.get(patient) == due.day
            self._agenda.add(patient, min(due.next_at, waiting.get(patient, due.next_at)) if seen else now)

    async def _visit(self, patient: str, now: datetime) -> datetime:
        """Visit a patient; when to come again. A fault of ours in one must not keep the others from being seen."""
        again = now + _DAY
        try:
            person = await self.patience.call(self._people.patient, patient)
            if person is not None:
                due = round_of(patient, ZoneInfo(person.zone), now)
                again = due.next_at
                if not await self.patience.call(self._is_heard_elsewhere, patient, now):
                    again = await self._see(person, due, now)
        except Exception:  # a fault of ours, told in the health; the other patients are to be seen
            logger.exception("patient %s could not be reviewed", patient)
            self._faulty.add(patient)
        else:
            self._faulty.discard(patient)
        return again

    def _is_heard_elsewhere(self, patient: str, now: datetime) -> bool:
        """Whether another hub is the one to visit a patient: it heard a device of theirs a day or more after us."""
        if self._elsewhere is None:
            return False
        wearings = self._people.wearings(patient=patient)
        devices = {each.device for each in wearings}
        here = {device: at for device in devices if (at := self._journal.last_arrival(device))}
        there = {device: heard.at for device, heard in self._elsewhere(now, devices).items()}
        ours, theirs = _last_of(wearings, here), _last_of(wearings, there)
        return theirs is not None and (ours is None or theirs - ours >= _DAY)

    async def _see(self, person: Patient, due: Round, now: datetime) -> datetime:
        past = await self.patience.call(self._past, person)
        done = await self.patience.call(self._is_done, person.id, due)
        seen = None if done else await self.patience.call(self._look_at, person, past, due, now)
        # Heard before it is written that the patient was seen: heard twice is harmless.
        if seen and seen.found:
            await self._hear(seen.found)
        asked, again = await self.patience.call(past.reminders, now)
        if asked:
            await self._hear(asked)
        if seen:
            if seen.review:  # before it is written that the week was reviewed: judged twice is harmless
                await self.patience.call(self._judge, seen.review)
            await self.patience.call(self._book.write, replace(seen.standing, asks_at=again), seen.review)
        return min(due.next_at, again or due.next_at)

    def _is_done(self, patient: str, due: Round) -> bool:
        standing = self._book.standings([patient]).get(patient)
        return standing is not None and standing.day == due.day and self._book.reviewed(patient, due.monday)

    def _past(self, person: Patient) -> Past:
        worn = self._people.worn([person.id])
        return Past(
            self._journal,
            person.id,
            ZoneInfo(person.zone),
            population=RANGES[self._group(person)],
            unit=person.glucose_unit,
            limits=lambda day: limits_on(self._rules, person, day).limits,
            cuffs={each.device: each.assigned_at for each in worn if each.kind is DeviceKind.CUFF},
            worn={each.device: each.worn_since for each in worn},
            plans=self._people.plans([person.id]).get(person.id, ()),
        )

    def _look_at(self, person: Patient, past: Past, due: Round, now: datetime) -> _Seen:
        """How a patient stands, the review of the week if there is none, and what is to be heard of at night."""
        made = None if self._book.reviewed(person.id, due.monday) else past.review(due, now)
        found = tuple(each for each in past.spot(due.day) if not asks_patient(each))
        return _Seen(self._standing(person, due, past.traces(due), made, now), made, found)

    def _standing(self, person: Patient, due: Round, traces: Traces, made: Review | None, now: datetime) -> Standing:
        zone = ZoneInfo(person.zone)
        start_us, middle_us, end_us = (midnight_us(due.day - weeks * WEEK, zone) for weeks in (2, 1, 0))
        two, _ = halves(traces, start_us, middle_us, end_us)
        before, week = figures(two, RANGES[self._group(person)])
        pressure_before, pressure = self._pressures(person.id, zone, start_us, middle_us, end_us)
        last = made or next(iter(self._book.of_patient(person.id, 1)), None)
        return Standing(
            patient=person.id,
            day=due.day,
            made_at=now,
            week=week,
            before=before,
            pressure=pressure,
            pressure_before=pressure_before,
            sensor=self._sensor(person.id, middle_us, end_us, follows=before is not None and week is not None),
            night_lows=last is not None
            and last.monday == due.monday
            and any(finding.rule == WEEK_NOCTURNAL_LOWS.name for finding in last.raised),
        )

    def _sensor(self, patient: str, start_us: int, end_us: int, *, follows: bool) -> float:
        """Over what share of a week a sensor was worn that is worn now. follows: it follows on another one."""
        since = [to_us(worn.assigned_at) for worn in self._people.worn([patient]) if worn.kind is DeviceKind.CGM]
        if since and follows:
            return 1.0
        return (end_us - min(max(start_us, min(since, default=end_us)), end_us)) / (end_us - start_us)

    def _pressures(
        self, patient: str, zone: tzinfo, start_us: int, middle_us: int, end_us: int
    ) -> tuple[Pressure | None, Pressure | None]:
        found = self._journal.series(patient, Vital.BLOOD_PRESSURE, from_us(start_us), from_us(end_us))
        clock_us = wall_clock(found.taken_us, zone)
        return pressures(found.taken_us, clock_us, found.values, start_us, middle_us, end_us)

    def _group(self, person: Patient) -> Group:
        """The population of a patient."""
        return self._rules.care(person.id, care_of(person)).population or self._rules.population


def _last_of(wearings: Iterable[Wearing], heard: Mapping[str, datetime]) -> datetime | None:
    """When one person's devices were heard last while they were that person's; None where none was."""
    came = ((each, heard[each.device]) for each in wearings if each.device in heard)
    return max(
        (min(at, each.until or at) for each, at in came if each.since is None or each.since <= at), default=None
    )

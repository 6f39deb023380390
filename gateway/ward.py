"""The ward: every patient has a bed, and is judged when a reading or the time asks for it (`alerts.calm`).

Patients who rest cost a few microseconds a reading and no memory for readings: what judging needs is read from the
journal when they stir. Beds are made on demand, those of an idle patient not before something is due, and the ones
not used for longest are dropped.
What follows is written into the book before anything is said. Only the straight path calls it, one call after the
other, so that a patient is never judged twice at once.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy.exc

from alerts.alert import Act, Alert, Finding, Notice, Verdict
from alerts.battery import low_battery
from alerts.book import Book
from alerts.calm import DEFAULT_CALM, NEVER, Bed, Calm
from alerts.machine import Change, hear, hear_findings
from alerts.rules import BLOOD_PRESSURE_SEVERE, DEFAULTS, MIN, NO_DATA, Limits, LimitsError, parse_limits
from alerts.watch import Expected
from alerts.window import SPAN
from gateway.agenda import Agenda
from gateway.bulletin import Bulletin
from gateway.clock import Clock
from gateway.patience import Patience
from gateway.people import DeviceKind, People, Worn
from ingest.journal import Journal
from ingest.reading import Flag, Reading
from ingest.vital import Vital

logger = logging.getLogger(__name__)

VITAL_OF: Final = {
    DeviceKind.METER: Vital.GLUCOSE,
    DeviceKind.CGM: Vital.CGM,
    DeviceKind.CUFF: Vital.BLOOD_PRESSURE,
}
# After a start devices get this long to be heard again before their silence, which may be our own, is told.
GRACE: Final = timedelta(minutes=15)
# Readings may be watched again after a crash: that is harmless, and cheaper than writing the cursor for each batch.
_UNWRITTEN: Final = 10_000
_TOLD_AT_ONCE: Final = 100  # events; then others have their turn of the loop
# Patients judged at once: others are not kept waiting, and what is asked for by name has few names.
SLICE: Final = 500
# Beds in memory, about 1 KB each, and those of them that hold readings, up to 300 KB each.
_BEDS: Final = 250_000
_WINDOWS: Final = 2000
# The most that a patient's limits can make of "fresh-meter", and the least of a severe blood pressure (mmHg).
_FRESH: Final = timedelta(days=1)
_SEVERE: Final = tuple(
    parameter.lower for parameter in BLOOD_PRESSURE_SEVERE.parameters if parameter.name in {"systolic", "diastolic"}
)
_BATTERY_NEWS: Final = timedelta(days=1)


class Ward:
    """Watches the patients. told() is called on the loop after notices were written, so that they are spoken."""

    def __init__(
        self,
        journal: Journal,
        people: People,
        book: Book,
        bulletin: Bulletin,
        *,
        clock: Clock,
        told: Callable[[], None],
    ) -> None:
        self.patience = Patience("book of alerts", clock)
        self._journal = journal
        self._people = people
        self._book = book
        self._bulletin = bulletin
        self._now = clock.now
        self._told = told
        self._beds: dict[str, Bed] = {}  # the one used last at the end
        self._opened: dict[str, Bed] = {}  # of these, the beds that hold readings
        self._agenda = Agenda()
        self._again: set[str] = set()  # to be judged at the next tick whatever time it is
        self._ticked_at: datetime | None = None
        self.batteries: dict[str, bool] = {}  # by device: whether its newest reading calls its battery low
        self._started_at = clock.now()
        # Taken in; judged, with what follows in the book; and the latter as the book has it.
        self.cursor = self._judged = self._written = book.cursor()
        self._unjudged: set[str] = set()  # what followed of them could not be written down
        self._faulty: set[str] = set()  # cannot be judged for a fault of ours

    @property
    def trouble(self) -> str | None:
        """What keeps the ward from its work, in a sentence; None when all is well."""
        if self._unjudged:
            return "alerts could not be written down; the log says why, and this is to be reported"
        if self._faulty:
            return f"patient {min(self._faulty)} cannot be judged; the log says why, and this is to be reported"
        return None

    async def see(self, entries: Sequence[tuple[int, Reading]]) -> None:
        """Judge the patients of new readings, given with their sequence numbers in order."""
        if not entries:
            return
        self.cursor = max(self.cursor, entries[-1][0])
        # A window holds each record once: the journal gives it again with the revision instead.
        self.forget({reading.patient for _, reading in entries if reading.rev > 1})
        self._look_at_batteries(reading for _, reading in entries)
        await self._judge(self._stirred(reading for _, reading in entries))
        for number, (patient, vital) in enumerate(sorted({(each.patient, each.vital) for _, each in entries})):
            self._bulletin.publish({"type": "reading", "patient": patient, "vital": vital})
            if number % _TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def tick(self) -> bool:
        """Judge those for whom time has brought something about, a slice of them; True when more are waiting."""
        now = self._now()
        if self._ticked_at is None or now < self._ticked_at:
            # The start, or the time was wrong before, and so is what was noted by it.
            self._started_at = min(self._started_at, now)
            await self.patience.call(self._begin)
            self.forget(list(self._beds) if self._ticked_at else ())
        self._ticked_at = now
        for patient in self._agenda.due(now, SLICE):
            bed = self._beds.get(patient)
            if bed is None or bed.is_due(now):
                self._again.add(patient)
            else:
                self._agenda.add(patient, bed.due)
        patients = sorted(self._again)[:SLICE]
        self._again.difference_update(patients)
        unfinished = bool(self._again)
        await self._judge(patients, write_cursor=True)
        self._told()
        return unfinished or self._agenda.is_due(now)

    async def ask_for_battery(self, device: str, since: datetime) -> None:
        """Ask whoever wears a device to see to its battery; once, however often it is called with the same since."""
        known = await self.patience.call(self._people.device, device)
        wearings = await self.patience.call(self._people.wearings, device)
        findings = [
            low_battery(wearing.patient, device, VITAL_OF[known.kind], since)
            for wearing in wearings
            if known and wearing.until is None
        ]
        await self._write((), hear_findings({}, findings, self._now()).notices)

    async def act(self, act: Act) -> Alert:
        """Do what a person decided. Raises IllegalAct, or KeyError for an unknown alert."""
        alert = await self.patience.call(self._book.alert, act.alert)
        if alert is None:
            raise KeyError(act.alert)
        changes = hear(alert, act, act.at).changes
        await self._write(changes, ())
        self._again.add(alert.patient)
        return changes[-1].alert

    def forget(self, patients: Iterable[str]) -> None:
        """Read limits, zone and devices of these patients again before the next look: they have changed."""
        for patient in patients:
            self._drop(patient)
            self._again.add(patient)

    async def close(self) -> None:
        """Write down how far the readings were watched; where that fails, they are watched once more."""
        with suppress(sqlalchemy.exc.OperationalError):
            await asyncio.to_thread(self._book.record, (), (), self._judged)

    def _look_at_batteries(self, readings: Iterable[Reading]) -> None:
        """Note what the newest readings say. What was stored long ago says nothing about the battery of today."""
        now = self._now()
        newest: dict[str, Reading] = {}
        for reading in readings:
            known = newest.get(reading.device)
            if known is None or reading.taken_at >= known.taken_at:
                newest[reading.device] = reading
        for device, reading in newest.items():
            if now - reading.taken_at < _BATTERY_NEWS:
                self.batteries[device] = Flag.BATTERY_LOW in reading.flags

    def _stirred(self, readings: Iterable[Reading]) -> set[str]:
        """Take readings in; the patients who have to be judged."""
        now = self._now()
        stirred = set()
        for reading in readings:
            bed = self._beds.pop(reading.patient, None)
            if bed is None:
                stirred.add(reading.patient)
                continue
            self._beds[reading.patient] = bed
            try:
                stirs = bed.take(reading, now)
            except Exception:  # noqa: BLE001  told there
                self._cannot_judge(reading.patient)
                continue
            if stirs:
                stirred.add(reading.patient)
        return stirred

    async def _judge(self, patients: Iterable[str], *, write_cursor: bool = False) -> None:
        """Judge patients on what is in the journal. What fails here is done again at the next tick."""
        names = sorted(patients)
        for first in range(0, len(names), SLICE):
            part = names[first : first + SLICE]
            try:
                await self._judge_slice(part)
            except Exception:
                logger.exception("what follows from new readings could not be written down")
                self._again.update(part)
                self._unjudged.update(part)
            else:
                self._unjudged.difference_update(part)
        # A crash must not leave anybody behind the cursor who has not been judged.
        if not self._unjudged:
            self._judged = self.cursor
            await self._note_cursor(now=write_cursor)

    async def _note_cursor(self, *, now: bool) -> None:
        behind = self._judged - self._written
        if behind >= _UNWRITTEN or (now and behind):
            try:
                await self._write((), ())
            except Exception:
                logger.exception("how far the readings were watched could not be written down")

    async def _judge_slice(self, patients: Sequence[str]) -> None:
        now = self._now()
        standing = await self.patience.call(self._book.standing, patients)
        findings = await self.patience.call(self._findings, patients, standing, now)
        heard = hear_findings(standing, _audible(findings), now)
        await self._write(heard.changes, heard.notices)
        self._settle(findings, standing, heard.changes, now)

    def _findings(
        self, patients: Sequence[str], standing: Mapping[tuple[str, str], Alert], now: datetime
    ) -> dict[str, tuple[Finding, ...]]:
        """Judge one patient after the other. A fault of ours in one must not take the ward from all the others."""
        findings = {}
        raising: defaultdict[str, set[str]] = defaultdict(set)
        for (patient, _), alert in standing.items():
            raising[patient] |= alert.raising
        self._make_beds([patient for patient in patients if patient not in self._beds], standing)
        for patient in patients:
            try:
                findings[patient] = self._look_at(patient, raising[patient], now)
            except (sqlite3.OperationalError, sqlalchemy.exc.OperationalError):
                raise
            except Exception:  # noqa: BLE001  told there
                self._cannot_judge(patient)
        return findings

    def _cannot_judge(self, patient: str) -> None:
        """A fault of ours: the patient is tried again at each tick, and it is told. Called while it is handled."""
        logger.exception("patient %s could not be judged", patient)
        self._faulty.add(patient)
        self._drop(patient)
        self._again.add(patient)

    def _look_at(self, patient: str, raising: Collection[str], now: datetime) -> tuple[Finding, ...]:
        bed = self._beds[patient]
        if bed.window is None:
            start, end = now - 2 * SPAN, now + SPAN
            bed.fill(
                lambda vital, limit: [
                    _as_it_may_have_come(reading, now)
                    for reading in self._journal.readings(patient, vital, start, end, limit)
                ]
            )
            self._opened[patient] = bed
        return bed.look(now, raising)

    def _settle(
        self,
        findings: Mapping[str, Sequence[Finding]],
        standing: Mapping[tuple[str, str], Alert],
        changes: Sequence[Change],
        now: datetime,
    ) -> None:
        """Note what judging these patients has led to, and when to look at each of them again."""
        alerts = {**standing, **{(change.alert.patient, change.alert.problem): change.alert for change in changes}}
        present = {alert.patient for alert in alerts.values() if alert.raising}
        changed = {change.alert.patient for change in changes}
        self._faulty.difference_update(findings)
        for patient, found in findings.items():
            bed = self._beds[patient]
            bed.settle(found, present=patient in present, changed=patient in changed, now=now)
            if bed.due is not NEVER:
                self._agenda.add(patient, bed.due)
            self._opened.pop(patient, None)
            if bed.window is not None:
                self._opened[patient] = bed
        while len(self._opened) > _WINDOWS:
            self._opened.pop(next(iter(self._opened))).put_away()
        while len(self._beds) > _BEDS:
            self._drop(next(iter(self._beds)))

    def _drop(self, patient: str) -> None:
        self._beds.pop(patient, None)
        self._opened.pop(patient, None)

    async def _write(self, changes: Sequence[Change], notices: Sequence[Notice]) -> None:
        cursor = self._judged if self._judged > self._written else None
        if not (changes or notices or cursor):
            return
        new = await self.patience.call(self._book.record, changes, notices, cursor)
        self._written = cursor or self._written
        if new:
            self._told()
        for alert in {change.alert.id: change.alert for change in changes}.values():
            self._bulletin.publish({"type": "alert", "alert": alert.id, "patient": alert.patient})

    def _begin(self) -> None:
        """Have everybody looked at about whom time may have brought something about while we were away.

        These are the patients about whom something stands, those who may have been asked for a second blood
        pressure, and, when its time comes, whoever wears a device that is not heard.
        """
        limits = {patient.id: _limits(patient.limits) for patient in self._people.with_limits()}
        arrivals = self._journal.last_arrivals()
        for worn in self._people.worn():
            silence = _silence(limits.get(worn.patient, DEFAULTS), worn)
            since = self._since(worn, arrivals.get(worn.device), silence, silent=False)
            self._agenda.add(worn.patient, since + silence)
        self._again.update(patient for patient, _ in self._book.standing())
        severe = self._journal.patients_reaching(Vital.BLOOD_PRESSURE, self._started_at - _FRESH, _SEVERE)
        self._again.update(severe)

    def _make_beds(self, patients: Sequence[str], standing: Mapping[tuple[str, str], Alert]) -> None:
        if not patients:
            return
        known = {patient.id: patient for patient in self._people.some(patients)}
        wearings: dict[str, list[Worn]] = {}
        for worn in self._people.worn(patients):
            wearings.setdefault(worn.patient, []).append(worn)
        for patient in patients:
            person = known.get(patient)
            limits = _limits(person.limits) if person else DEFAULTS
            no_data = standing.get((patient, NO_DATA.problem))
            silent = no_data is not None and bool(no_data.raising)
            self._beds[patient] = Bed(
                patient,
                calm=DEFAULT_CALM if limits is DEFAULTS else Calm(limits),
                zone=ZoneInfo(person.zone if person else "UTC"),
                expected=tuple(self._expect(worn, limits, silent=silent) for worn in wearings.get(patient, ())),
            )

    def _expect(self, worn: Worn, limits: Limits, *, silent: bool) -> Expected:
        silence = _silence(limits, worn)
        since = self._since(worn, self._journal.last_arrival(worn.device), silence, silent=silent)
        return Expected(device=worn.device, vital=VITAL_OF[worn.kind], silence=silence, since=since)

    def _since(self, worn: Worn, arrival: datetime | None, silence: timedelta, *, silent: bool) -> datetime:
        """From when silence counts; one that was told before the start is not over because we were away.

        What is noted for a moment to come was noted while the clock was ahead, and says nothing.
        """
        now = self._now()
        known = [moment for moment in (worn.assigned_at, arrival) if moment is not None and moment <= now]
        graced = [] if silent else [self._started_at - silence + GRACE]
        return max(known + graced, default=now)


def _audible(findings: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    return [finding for found in findings.values() for finding in found if finding.verdict is not Verdict.HOLD]


def _as_it_may_have_come(reading: Reading, now: datetime) -> Reading:
    """A reading that came while the clock was ahead came when it was taken, for all that is known."""
    return reading if reading.received_at <= now else replace(reading, received_at=min(reading.taken_at, now))


def _silence(limits: Limits, worn: Worn) -> timedelta:
    return timedelta(minutes=limits.value(NO_DATA.name, f"silence-{VITAL_OF[worn.kind]}", MIN))


def _limits(stored: Mapping[str, Any]) -> Limits:
    """A patient's limits; the defaults where an older Homeward wrote down what this one refuses."""
    if not stored:
        return DEFAULTS
    try:
        return parse_limits(stored)
    except LimitsError as error:
        logger.warning("a patient's own limits are not used: %s", error)
        return DEFAULTS

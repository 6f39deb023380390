"""The ward: every patient's recent readings in memory, judged when readings come and when time passes.

What follows is written into the book before anything is said. Only the worker of the straight path calls it, so that
a patient is never judged twice at once.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy.exc

from alerts.alert import Act, Alert, Finding, Notice, Verdict
from alerts.battery import low_battery
from alerts.book import Book
from alerts.machine import Change, hear, hear_findings
from alerts.rules import DEFAULTS, MIN, NO_DATA, Limits, LimitsError, parse_limits
from alerts.watch import Expected, watch
from alerts.window import SPAN, Window
from gateway.bulletin import Bulletin
from gateway.clock import Clock
from gateway.patience import Patience
from gateway.people import DeviceKind, People
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
_UNWRITTEN: Final = 1000
# From so many patients on, asking for everything that stands is cheaper than naming them.
_MANY: Final = 500
_BATTERY_NEWS: Final = timedelta(days=1)


@dataclass(slots=True)
class _Bed:
    """What judging one patient takes beside the moment."""

    window: Window
    limits: Limits
    zone: ZoneInfo
    expected: tuple[Expected, ...]


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
        self._beds: dict[str, _Bed] = {}
        self.trouble: str | None = None
        self.batteries: dict[str, bool] = {}  # by device: whether its newest reading calls its battery low
        self._started_at = clock.now()
        self.cursor = self._written = book.cursor()

    async def see(self, entries: Sequence[tuple[int, Reading]]) -> None:
        """Judge the patients of new readings, given with their sequence numbers in order."""
        if not entries:
            return
        by_patient: dict[str, list[Reading]] = {}
        for _, reading in entries:
            by_patient.setdefault(reading.patient, []).append(reading)
        self.cursor = max(self.cursor, entries[-1][0])
        self._look_at_batteries(reading for _, reading in entries)
        await self._judge(by_patient)
        for patient, vital in sorted({(reading.patient, reading.vital) for _, reading in entries}):
            self._bulletin.publish({"type": "reading", "patient": patient, "vital": vital})

    async def tick(self) -> None:
        """Judge everybody who is expected to be heard, and everybody about whom something stands."""
        wearings = await self.patience.call(self._people.wearings)
        standing = await self.patience.call(self._book.standing)
        patients = {w.patient for w in wearings if w.until is None} | {patient for patient, _ in standing}
        await self._judge(dict.fromkeys(patients, ()), write_cursor=True)
        self._told()

    async def ask_for_battery(self, device: str, since: datetime) -> None:
        """Ask whoever wears a device to see to its battery; once, however often it is called with the same since."""
        kinds = {known.id: known.kind for known in await self.patience.call(self._people.devices)}
        wearings = await self.patience.call(self._people.wearings, device)
        findings = [
            low_battery(wearing.patient, device, VITAL_OF[kinds[device]], since)
            for wearing in wearings
            if wearing.until is None
        ]
        await self._write((), hear_findings({}, findings, self._now()).notices)

    async def act(self, act: Act) -> Alert:
        """Do what a person decided. Raises IllegalAct, or KeyError for an unknown alert."""
        alert = await self.patience.call(self._book.alert, act.alert)
        if alert is None:
            raise KeyError(act.alert)
        changes = hear(alert, act, act.at).changes
        await self._write(changes, ())
        return changes[-1].alert

    def forget(self, patients: Iterable[str]) -> None:
        """Read limits, zone and devices of these patients again before the next look: they have changed."""
        for patient in patients:
            self._beds.pop(patient, None)

    async def close(self) -> None:
        """Write down how far the readings were watched; where that fails, they are watched once more."""
        with suppress(sqlalchemy.exc.OperationalError):
            await asyncio.to_thread(self._book.record, (), (), self.cursor)

    def _look_at_batteries(self, readings: Iterable[Reading]) -> None:
        """Note what the newest readings say. What was stored long ago says nothing about the battery of today."""
        now = self._now()
        for reading in sorted(readings, key=lambda reading: reading.taken_at):
            if now - reading.taken_at < _BATTERY_NEWS:
                self.batteries[reading.device] = Flag.BATTERY_LOW in reading.flags

    async def _judge(self, news: Mapping[str, Sequence[Reading]], *, write_cursor: bool = False) -> None:
        """Judge patients, each with the readings that are new. What fails here is found again at the next tick."""
        now = self._now()
        try:
            findings = await self.patience.call(self._findings, news, now)
            standing = await self.patience.call(self._book.standing, news if len(news) < _MANY else None)
            heard = hear_findings(standing, findings, now)
            await self._write(heard.changes, heard.notices, write_cursor=write_cursor)
        except Exception:
            logger.exception("what follows from new readings could not be written down")
            self.trouble = "alerts could not be written down; the log says why, and this is to be reported"

    def _findings(self, news: Mapping[str, Sequence[Reading]], now: datetime) -> list[Finding]:
        """Judge one patient after the other. A fault of ours in one must not take the ward from all the others."""
        findings: list[Finding] = []
        for patient, readings in sorted(news.items()):
            try:
                findings += self._look_at(patient, readings, now)
            except (sqlite3.OperationalError, sqlalchemy.exc.OperationalError):
                raise
            except Exception:
                logger.exception("patient %s could not be judged", patient)
                self.trouble = f"patient {patient} cannot be judged; the log says why, and this is to be reported"
        return findings

    def _look_at(self, patient: str, readings: Sequence[Reading], now: datetime) -> list[Finding]:
        if patient not in self._beds:
            self._beds[patient] = self._make_bed(patient)
        bed = self._beds[patient]
        for reading in readings:
            bed.window.add(reading)
        findings = watch(bed.window, bed.limits, bed.expected, now, zone=bed.zone)
        return [finding for finding in findings if finding.verdict is not Verdict.HOLD]

    async def _write(
        self, changes: Sequence[Change], notices: Sequence[Notice], *, write_cursor: bool = False
    ) -> None:
        due = self.cursor - self._written >= _UNWRITTEN or (write_cursor and self.cursor > self._written)
        cursor = self.cursor if changes or due else None
        new = await self.patience.call(self._book.record, changes, notices, cursor)
        if cursor is not None:
            self._written = cursor
        if new:
            self._told()
        for alert in {change.alert.id: change.alert for change in changes}.values():
            self._bulletin.publish({"type": "alert", "alert": alert.id, "patient": alert.patient})

    def _make_bed(self, patient: str) -> _Bed:
        known = self._people.patient(patient)
        limits = _limits(known.limits) if known else DEFAULTS
        now = self._now()
        window = Window(patient)
        for vital in Vital:
            for reading in self._journal.readings(patient, vital, now - SPAN, now + SPAN):
                window.add(reading)
        return _Bed(
            window=window,
            limits=limits,
            zone=ZoneInfo(known.zone if known else "UTC"),
            expected=tuple(self._expected(patient, limits)),
        )

    def _expected(self, patient: str, limits: Limits) -> Iterable[Expected]:
        kinds = {device.id: device.kind for device in self._people.devices()}
        standing = self._book.standing([patient]).get((patient, NO_DATA.problem))
        silent = standing is not None and bool(standing.raising)
        for wearing in self._people.wearings(patient=patient):
            if wearing.until is None:
                vital = VITAL_OF[kinds[wearing.device]]
                silence = timedelta(minutes=limits.value(NO_DATA.name, f"silence-{vital}", MIN))
                # A silence that was told before the start is not over because we were away.
                graced = None if silent else self._started_at - silence + GRACE
                known = (wearing.assigned_at, self._journal.last_arrival(wearing.device), graced)
                yield Expected(
                    device=wearing.device,
                    vital=vital,
                    silence=silence,
                    since=max(moment for moment in known if moment is not None),
                )


def _limits(stored: Mapping[str, Any]) -> Limits:
    """A patient's limits; the defaults where an older Homeward wrote down what this one refuses."""
    try:
        return parse_limits(stored)
    except LimitsError as error:
        logger.warning("a patient's own limits are not used: %s", error)
        return DEFAULTS

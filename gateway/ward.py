"""The ward: every patient's recent readings in memory, judged when readings come and when time passes.

What follows is written into the book before anything is said. Only the worker of the straight path calls it, so that
a patient is never judged twice at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from alerts.alert import Act, Alert, Finding, Notice, Verdict
from alerts.book import Book
from alerts.machine import Change, hear
from alerts.rules import MIN, NO_DATA, Limits, parse_limits
from alerts.watch import Expected, watch
from alerts.window import SPAN, Window
from gateway.bulletin import Bulletin
from gateway.people import DeviceKind, People
from ingest.journal import Journal
from ingest.reading import Reading
from ingest.vital import Vital

VITAL_OF: Final = {
    DeviceKind.METER: Vital.GLUCOSE,
    DeviceKind.CGM: Vital.CGM,
    DeviceKind.CUFF: Vital.BLOOD_PRESSURE,
}
# After a start devices get this long to be heard again before their silence, which may be our own, is told.
GRACE: Final = timedelta(minutes=15)
# Readings may be watched again after a crash: that is harmless, and cheaper than writing the cursor for each batch.
_UNWRITTEN: Final = 1000


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
        now: Callable[[], datetime],
        told: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._people = people
        self._book = book
        self._bulletin = bulletin
        self._now = now
        self._told = told
        self._beds: dict[str, _Bed] = {}
        self._started_at = now()
        self.cursor = self._written = book.cursor()

    async def see(self, entries: Sequence[tuple[int, Reading]]) -> None:
        """Judge the patients of new readings, given with their sequence numbers in order."""
        if not entries:
            return
        for _, reading in entries:
            (await self._bed(reading.patient)).window.add(reading)
        self.cursor = max(self.cursor, entries[-1][0])
        await self._judge({reading.patient for _, reading in entries})
        for patient, vital in sorted({(reading.patient, reading.vital) for _, reading in entries}):
            self._bulletin.publish({"type": "reading", "patient": patient, "vital": vital})

    async def tick(self) -> None:
        """Judge everybody who is expected to be heard, and everybody about whom something stands."""
        wearers = await asyncio.to_thread(lambda: {w.patient for w in self._people.wearings() if w.until is None})
        standing = await asyncio.to_thread(self._book.standing)
        await self._judge(wearers | {patient for patient, _ in standing}, write_cursor=True)
        self._told()

    async def act(self, act: Act) -> Alert:
        """Do what a person decided. Raises IllegalAct, or KeyError for an unknown alert."""
        alert = await asyncio.to_thread(self._book.alert, act.alert)
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
        """Write down how far the readings were watched."""
        await self._write((), (), write_cursor=True)

    async def _judge(self, patients: Collection[str], *, write_cursor: bool = False) -> None:
        now = self._now()
        findings = [finding for patient in sorted(patients) for finding in _judged(await self._bed(patient), now)]
        changes, notices = await self._hear(patients, findings, now)
        await self._write(changes, notices, write_cursor=write_cursor)

    async def _hear(
        self, patients: Collection[str], findings: Sequence[Finding], now: datetime
    ) -> tuple[list[Change], list[Notice]]:
        standing = await asyncio.to_thread(self._book.standing, patients)
        changes: list[Change] = []
        notices: list[Notice] = []
        for finding in findings:
            key = (finding.patient, finding.problem)
            heard = hear(standing.get(key), finding, now)
            for change in heard.changes:
                standing[key] = change.alert
            changes += heard.changes
            notices += heard.notices
        return changes, notices

    async def _write(
        self, changes: Sequence[Change], notices: Sequence[Notice], *, write_cursor: bool = False
    ) -> None:
        due = self.cursor - self._written >= _UNWRITTEN or (write_cursor and self.cursor > self._written)
        if not changes and not notices and not due:
            return
        new = await asyncio.to_thread(self._book.record, changes, notices, self.cursor)
        self._written = self.cursor
        if new:
            self._told()
        for alert in {change.alert.id: change.alert for change in changes}.values():
            self._bulletin.publish({"type": "alert", "alert": alert.id, "patient": alert.patient})

    async def _bed(self, patient: str) -> _Bed:
        if patient not in self._beds:
            self._beds[patient] = await asyncio.to_thread(self._make_bed, patient)
        return self._beds[patient]

    def _make_bed(self, patient: str) -> _Bed:
        known = self._people.patient(patient)
        limits = parse_limits(known.limits) if known else Limits()
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
        for wearing in self._people.wearings(patient=patient):
            if wearing.until is None:
                vital = VITAL_OF[kinds[wearing.device]]
                silence = timedelta(minutes=limits.value(NO_DATA.name, f"silence-{vital}", MIN))
                graced = self._started_at - silence + GRACE
                known = (wearing.assigned_at, self._journal.last_arrival(wearing.device), graced)
                yield Expected(
                    device=wearing.device,
                    vital=vital,
                    silence=silence,
                    since=max(moment for moment in known if moment is not None),
                )


def _judged(bed: _Bed, now: datetime) -> list[Finding]:
    findings = watch(bed.window, bed.limits, bed.expected, now, zone=bed.zone)
    return [finding for finding in findings if finding.verdict is not Verdict.HOLD]

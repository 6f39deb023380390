"""The ward: every patient has a bed, and is judged when a reading or the time asks for it (`alerts.bed`).

A sensor's reading is judged in memory, as it comes; what needs stored readings is read from the journal. Beds are
made on demand, those of an idle patient not before something is due, and the ones not used for longest are dropped.
What follows is written into the book before anything is said. Only the straight path calls it, one call after the
other, so that a patient is never judged twice at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, time, timedelta
from functools import partial
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy.exc

from alerts.alert import HOUSE, Act, Alert, Finding, IllegalAct, Notice, Text, together
from alerts.battery import low_battery
from alerts.bed import Bed
from alerts.book import Book, Overtaken
from alerts.delivery import worst_for_patients
from alerts.device_rules import NO_DATA
from alerts.devices import Expected, LastHeard, after_low, is_usable
from alerts.follow_up import Deed, FollowUp, Step, acting, decide, follow, worsened
from alerts.follow_up_book import FollowUpBook
from alerts.ladder import Plan
from alerts.machine import Change, FactKind, hear, hear_findings, wake, withheld
from alerts.rule import MG_DL, MIN, MMHG, MMOL_L, Key, Limits
from alerts.rules import PLAIN, RuleBook
from alerts.sensor import NEVER
from alerts.sensor_rules import LOW_EVENT_2
from alerts.spot_rules import BP_LOW, BP_SEVERE, METER_CRISIS, METER_VERY_LOW
from gateway.agenda import Agenda
from gateway.bulletin import Bulletin
from gateway.clock import Clock
from gateway.language import Sentence
from gateway.own_limits import Holdings, care_of
from gateway.patience import Patience
from gateway.people import DeviceKind, MeasuringPlan, Patient, People, Worn, plans_on
from gateway.stored import SetAside, StoredReadings, Unseen
from ingest.journal import Journal
from ingest.reading import Flag, Reading
from ingest.vital import MG_DL_PER_MMOL_L, Vital

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
_BEDS: Final = 250_000  # in memory, some KB each
# The most that a patient's limits can make of "fresh-meter", and beyond what a reading may ask for a second one: the
# least severe blood pressure, the highest of the very low and the least extreme glucose that anybody can have (mmHg,
# mg/dL).
_FRESH: Final = timedelta(days=1)
_SEVERE: Final = (BP_SEVERE.bounds("systolic", MMHG)[0], BP_SEVERE.bounds("diastolic", MMHG)[0])
_LOW_PRESSURE: Final = BP_LOW.bounds("very-low-systolic", MMHG)[1]
_LOW_GLUCOSE: Final = max(
    METER_VERY_LOW.bounds("limit", MG_DL)[1], METER_VERY_LOW.bounds("limit", MMOL_L)[1] * MG_DL_PER_MMOL_L
)
_LOW_SENSOR: Final = max(
    LOW_EVENT_2.bounds("limit", MG_DL)[1], LOW_EVENT_2.bounds("limit", MMOL_L)[1] * MG_DL_PER_MMOL_L
)
_HIGH_GLUCOSE: Final = METER_CRISIS.bounds("limit", MG_DL)[0]
NO_PLANS: Final[Mapping[Vital, timedelta]] = {}
_BATTERY_NEWS: Final = timedelta(days=1)
_OVERTAKEN_AT_MOST: Final = 10  # times in a row by other hubs; then it is tried again at the next tick
_T = TypeVar("_T")


class Ward:
    """Watches the patients. told() is called on the loop after notices were written, so that they are spoken."""

    def __init__(
        self,
        journal: Journal,
        people: People,
        book: Book,
        follow_ups: FollowUpBook,
        bulletin: Bulletin,
        *,
        clock: Clock,
        told: Callable[[], None],
        rules: RuleBook = PLAIN,
    ) -> None:
        self.patience = Patience(Sentence("book of alerts"), clock)
        self._holdings = Holdings(rules)
        self._journal = journal
        self._people = people
        self._book = book
        self._follow_ups = follow_ups
        self._rules = rules
        self._bulletin = bulletin
        self._now = clock.now
        self._told = told
        self._beds: dict[str, Bed] = {}  # the one used last at the end
        self._plans: dict[frozenset[tuple[Key, float]], Plan] = {}
        self._new: defaultdict[str, list[Reading]] = defaultdict(list)  # of patients who have no bed
        self._found: defaultdict[str, list[Sequence[Finding]]] = defaultdict(list)  # what was not yet heard
        self._set_aside = SetAside()
        self._aside_unjudged: defaultdict[str, list[Reading]] = defaultdict(list)  # of what was set aside, by patient
        self._agenda = Agenda()
        self._heard: dict[str, LastHeard] = {}  # how devices were, since the other hubs were told last
        self._missed: set[str] = set()  # of whose devices staff are told that they are not heard
        self._again: set[str] = set()  # to be judged at the next tick whatever time it is
        self._ticked_at: datetime | None = None
        self.batteries: dict[str, bool] = {}  # by device: whether its newest reading calls its battery low
        self._started_at = clock.now()
        # Taken in; judged, with what follows in the book; and the latter as the book has it.
        self.cursor = self._judged = self._written = book.cursor()
        self._unjudged: set[str] = set()  # what followed of them could not be written down
        self._faulty: set[str] = set()  # cannot be judged for a fault of ours
        self._left_out: dict[str, Sequence[Text]] = {}  # of a patient's own limits, and why

    @property
    def trouble(self) -> str | None:
        """What keeps the ward from its work, in a sentence; None when all is well."""
        if self._unjudged:
            return Sentence("alerts could not be written down; the log says why, and this is to be reported")
        if self._faulty:
            return Sentence(
                "patient {patient} cannot be judged; the log says why, and this is to be reported",
                patient=min(self._faulty),
            )
        if self._left_out:
            patient, why = min(self._left_out.items())
            said = Sentence("Limits set for patient {patient} do not hold: {why}", patient=patient, why=together(why))
            if len(self._left_out) == 1:
                return said
            return Sentence("{said} Patients of whom this is so: {count}.", said=said, count=len(self._left_out))
        return None

    async def see(self, entries: Sequence[tuple[int, Reading]]) -> None:
        """Judge the patients of new readings, given with their sequence numbers in order."""
        if not entries:
            return
        # A bed has judged what a reading said before its revision: it is made anew from what is stored now.
        self.forget({reading.patient for _, reading in entries if reading.rev > 1})
        self._look_at_batteries(reading for _, reading in entries)
        await self._judge(self._take(reading for _, reading in entries))
        if self._book.is_shared:
            self._note_heard(reading for _, reading in entries)
        # Not before: a bed that is made for them is made of what came before them.
        await self._note_judged(max(self.cursor, entries[-1][0]))
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
            if bed is not None and bed.until <= now:
                self._drop(patient)
                bed = None
            if bed is None or bed.due(now) <= now:
                self._again.add(patient)
            else:
                self._agenda.add(patient, bed.due(now))
        if self._missed:
            self._again |= await self.patience.call(self._heard_elsewhere, self._missed, now)
        patients = sorted(self._again)[:SLICE]
        self._again.difference_update(patients)
        unfinished = bool(self._again)
        await self._judge(patients, anew=True)
        await self._note_judged(self.cursor, write=True)
        for alert in await self.patience.call(self._book.snoozed_until, now):
            await _unless_overtaken(partial(self._wake, alert.id))
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
        notices = hear_findings({}, findings, self._now()).notices
        await _unless_overtaken(partial(self._write, (), notices))

    async def see_set_aside(self, refused: Iterable[Reading]) -> None:
        """Judge the patients of glucose that became no reading because it is too high to be believed."""
        if new := self._set_aside.take(refused, self._now()):
            for each in new:
                self._aside_unjudged[each.patient].append(each)
            await self._judge(self._take(new))

    def recall_set_aside(self, refused: Iterable[Reading]) -> None:
        """Take in what was refused so before the start, oldest first; its patients are judged at the next tick."""
        for each in self._set_aside.take(refused, self._now()):
            # What stands in an alert was told before the start.
            if not self._book.watched(each.patient, [each.key]):
                self._aside_unjudged[each.patient].append(each)
            self._again.add(each.patient)

    async def hear(self, findings: Sequence[Finding]) -> None:
        """Have the alerts hear findings that were made elsewhere."""
        patients = sorted({finding.patient for finding in findings})
        await self._hear(patients, [findings], self._now())

    async def act(self, act: Act) -> Alert:
        """Do what a person decided, and what it does to the alert's follow-up.

        Raises IllegalAct, or KeyError for an unknown alert.
        """
        return await _unless_overtaken(partial(self._act, act))

    async def _act(self, act: Act) -> Alert:
        alert = await self.patience.call(self._book.alert, act.alert)
        if alert is None:
            raise KeyError(act.alert)
        changes = hear(alert, act, act.at).changes
        known = await self.patience.call(self._follow_ups.of_alert, alert.id)
        programme = await self.patience.call(self._programme, alert.patient)
        if alert.patient == HOUSE:  # nobody to follow up, or to judge
            await self._write(changes, (), [alert])
            return changes[-1].alert
        steps = follow(changes[-1].alert, act, known, programme=programme)
        await self._write(changes, (), [alert], steps)
        self._again.add(alert.patient)
        return changes[-1].alert

    async def _wake(self, name: str) -> None:
        """An alert that was put off until now is told anew, if its condition lasts."""
        if alert := await self.patience.call(self._book.alert, name):
            heard = wake(alert, self._now())
            await self._write(heard.changes, heard.notices, [alert])

    async def care(self, deed: Deed) -> FollowUp:
        """Do what a person decided about a follow-up, and what it does to its alert. Raises IllegalAct.

        One that is closed closes its alert; who takes it, or reaches the patient, has acknowledged the alert.
        """
        return await _unless_overtaken(partial(self._care, deed))

    async def _care(self, deed: Deed) -> FollowUp:
        steps = decide(await self.patience.call(self._follow_ups.get, deed.follow_up), deed)
        changes: Sequence[Change] = ()
        seen: Sequence[Alert] = ()
        name = steps[0].follow_up.alert
        alert = await self.patience.call(self._book.alert, name) if name else None
        if alert and (act := acting(steps, alert)):
            changes, seen = hear(alert, act, act.at).changes, [alert]
            self._again.add(alert.patient)
        await self._write(changes, (), seen, steps)
        return steps[0].follow_up

    async def open_planned(self) -> bool:
        """Open the follow-ups of plans whose time has come; True when there may be more."""
        made = await self.patience.call(self._follow_ups.open_due, self._now(), SLICE)
        self._tell_of(made)
        return len(made) == SLICE

    def _programme(self, patient: str) -> str | None:
        known = self._people.patient(patient)
        return self._rules.care(patient, care_of(known)).programme if known else None

    def _tell_of(self, follow_ups: Iterable[FollowUp]) -> None:
        for each in {each.id: each for each in follow_ups}.values():
            self._bulletin.publish({"type": "follow-up", "follow_up": each.id, "patient": each.patient})

    def forget(self, patients: Iterable[str]) -> None:
        """Read limits, zone and devices of these patients again before the next look: they have changed."""
        for patient in patients:
            self._drop(patient)
            self._again.add(patient)

    async def close(self) -> None:
        """Write down how far the readings were watched; where that fails, they are watched once more."""
        with suppress(sqlalchemy.exc.OperationalError):
            await asyncio.to_thread(self._book.record, (), (), self._judged, None, None, self._heard)

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

    def _note_heard(self, readings: Iterable[Reading]) -> None:
        """Called once their patients are judged, for how one is goes with it."""
        newest: dict[str, Reading] = {}
        for reading in readings:
            known = newest.get(reading.device)
            if (known is None or reading.received_at > known.received_at) and is_usable(reading):
                newest[reading.device] = reading
        for device, reading in newest.items():
            bed, known_so = self._beds.get(reading.patient), self._heard.get(device)
            if known_so is None or reading.received_at >= known_so.at:  # of one moment the later says how one is
                self._heard[device] = LastHeard(reading.received_at, bed is not None and bed.is_unwell)

    def _heard_elsewhere(self, patients: Iterable[str], now: datetime) -> set[str]:
        """Have beds know how another hub heard their devices last; the patients for whom that is news. Blocks."""
        beds = {patient: self._beds[patient] for patient in patients if patient in self._beds}
        devices = {each.device for bed in beds.values() for each in bed.expected}
        heard = self._book.heard_elsewhere(now, devices)
        return {patient for patient, bed in beds.items() if bed.hear_elsewhere(heard)}

    def _take(self, readings: Iterable[Reading]) -> set[str]:
        """Take readings in; the patients of whom there is more to do."""
        now = self._now()
        stirred, holding, faulty = set[str](), set[str](), set[str]()
        for reading in readings:
            patient = reading.patient
            bed = self._beds.pop(patient, None)
            if bed is None:
                self._new[patient].append(reading)
                stirred.add(patient)
                continue
            self._beds[patient] = bed
            try:
                found = bed.take(reading, now)
            except Exception:  # noqa: BLE001  told there
                self._cannot_judge(patient)
                faulty.add(patient)
                continue
            if found:
                self._found[patient].append(found)
                stirred.add(patient)
            elif bed.asks:
                stirred.add(patient)
            if bed.holds:
                holding.add(patient)
        for patient in holding - faulty:
            with self._alone(patient):
                if found := self._beds[patient].taken_together(now):
                    self._found[patient].append(found)
                    stirred.add(patient)
                continue
            faulty.add(patient)
        for patient in faulty:
            self._drop(patient)  # what came after the fault is judged with the rest
        return stirred - faulty

    async def _judge(self, patients: Iterable[str], *, anew: bool = False) -> None:
        """Judge patients on what is in the journal. What fails here is done again at the next tick.

        anew: what stands is read again of all of them, for a person's act may have changed it.
        """
        names = sorted(patients)
        for first in range(0, len(names), SLICE):
            part = names[first : first + SLICE]
            try:
                await self._judge_slice(part, anew=anew)
            except Exception:  # of any kind: it must not keep the slices behind it from being judged
                logger.exception("what follows from new readings could not be written down")
                # Their beds believe that it was told, so they are made anew.
                self.forget(part)
                self._unjudged.update(part)
            else:
                self._unjudged.difference_update(part)

    async def _note_judged(self, cursor: int, *, write: bool = False) -> None:
        """All up to this number was taken in, and is judged but for those who could not be."""
        self.cursor = cursor
        # A crash must not leave anybody behind the cursor who has not been judged.
        if not self._unjudged:
            self._judged = cursor
        behind = self._judged - self._written
        if behind >= _UNWRITTEN or (write and (behind or self._heard)):
            try:
                await self._write((), ())
            except Exception:  # only the cursor: what follows was written, and the readings are watched once more
                logger.exception("how far the readings were watched could not be written down")

    async def _judge_slice(self, patients: Sequence[str], *, anew: bool) -> None:
        now = self._now()
        found = await self.patience.call(self._findings, patients, now)
        # Most readings lead to nothing: of their patients neither the book is asked nor anything written.
        concerned = [patient for patient, groups in found.items() if anew or any(groups)]
        groups = [group for patient in concerned for group in found[patient]]
        alerts = await self._hear(concerned, groups, now) if concerned else {}
        self._settle(found, alerts, concerned, now)

    async def _hear(
        self, patients: Sequence[str], groups: Sequence[Sequence[Finding]], now: datetime
    ) -> Mapping[tuple[str, str], Alert]:
        """Have the alerts hear findings, a group of one moment after the other; what then stands."""

        async def heard() -> Mapping[tuple[str, str], Alert]:
            standing = await self.patience.call(self._book.standing, patients)
            alerts, changes, notices = _heard(standing, groups, now)
            if changes or notices:
                steps = await self._worsened(changes)
                try:
                    await self._write(changes, notices, standing.values(), steps)
                except IllegalAct as error:  # somebody acted on a follow-up meanwhile
                    raise Overtaken(error.text.en) from error
            return alerts

        return await _unless_overtaken(heard)

    async def _worsened(self, changes: Sequence[Change]) -> Sequence[Step]:
        """What alerts that are told again do to the follow-ups that are under way."""
        again = {FactKind.WORSENED, FactKind.RELAPSED}
        # Of each the last: it is what the alert has come to.
        told = {each.alert.id: each for each in changes if each.fact.what in again}
        if not told:
            return ()
        found = await self.patience.call(self._follow_ups.of_alerts, told)
        pairs = [(told[alert], follow_up) for alert, follow_up in found.items()]
        return [
            step
            for one, follow_up in pairs
            for step in worsened(
                one.alert,
                follow_up,
                one.fact.at,
                one.fact.because,
                # Of what came back for the patient alone nobody of the staff is told.
                anew=one.fact.what is FactKind.RELAPSED and one.alert.untold_since is None,
            )
        ]

    def _findings(self, patients: Sequence[str], now: datetime) -> dict[str, list[Sequence[Finding]]]:
        """What is to be heard of each patient who can be judged, in groups of one moment each."""
        if without := [patient for patient in patients if patient not in self._beds]:
            self._make_beds(without, self._book.standing(without), now)
        if self._book.is_shared:
            self._heard_elsewhere(self._who_miss(patients, now), now)
        found = {}
        for patient in (patient for patient in patients if patient in self._beds):
            with self._alone(patient):
                found[patient] = self._look_at(patient, now)
        return found

    def _who_miss(self, patients: Iterable[str], now: datetime) -> list[str]:
        return [patient for patient in patients if patient in self._beds and self._beds[patient].misses(now)]

    @contextmanager
    def _alone(self, patient: str) -> Iterator[None]:
        """A fault of ours in one patient must not take the ward from all the others."""
        try:
            yield
        except (sqlite3.OperationalError, sqlalchemy.exc.OperationalError):
            raise
        except Exception:  # noqa: BLE001  told there
            self._cannot_judge(patient)

    def _cannot_judge(self, patient: str) -> None:
        """A fault of ours: the patient is tried again at each tick, and it is told. Called while it is handled."""
        logger.exception("patient %s could not be judged", patient)
        self._faulty.add(patient)
        self.forget([patient])

    def _look_at(self, patient: str, now: datetime) -> list[Sequence[Finding]]:
        bed = self._beds[patient]
        stored = StoredReadings(self._journal, patient, now, self._book, self._set_aside.of(patient))
        groups = self._found[patient]
        groups += [bed.take(reading, now) for reading in self._new.pop(patient, ())]
        groups.append(bed.look(stored, now))
        return groups  # they stay until all is settled, for the journal may have to be asked again

    def _settle(
        self, found: Iterable[str], alerts: Mapping[tuple[str, str], Alert], concerned: Iterable[str], now: datetime
    ) -> None:
        """Note when to look again at each who was judged. alerts: what stands of those who are concerned."""
        read = set(concerned)
        self._faulty.difference_update(found)
        for patient in found:
            self._found.pop(patient, None)
            self._aside_unjudged.pop(patient, None)
            bed = self._beds[patient]
            if patient in read:
                due = bed.settle(_rules_up(alerts, patient), now, _closed_low(alerts, patient))
            else:
                due = bed.settle(bed.standing, now, bed.closed)
            if due is not NEVER:
                self._agenda.add(patient, due)
            if self._book.is_shared and NO_DATA.name in bed.standing:
                self._missed.add(patient)
            else:
                self._missed.discard(patient)
        while len(self._beds) > _BEDS:
            self._drop(next(iter(self._beds)))

    def _drop(self, patient: str) -> None:
        self._beds.pop(patient, None)
        self._found.pop(patient, None)
        self._new.pop(patient, None)

    async def _write(
        self,
        changes: Sequence[Change],
        notices: Sequence[Notice],
        seen: Iterable[Alert] | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        """seen: as `Book.record` has it. Raises IllegalAct where somebody has acted on a follow-up of the steps."""
        cursor = self._judged if self._judged > self._written else None
        if not (changes or notices or cursor or steps or self._heard):
            return
        also = self._follow_ups.writing(steps)
        new = await self.patience.call(self._book.record, changes, notices, cursor, seen, also, self._heard)
        self._written = cursor or self._written
        self._heard = {}
        if new:
            self._told()
        for alert in {change.alert.id: change.alert for change in changes}.values():
            self._bulletin.publish({"type": "alert", "alert": alert.id, "patient": alert.patient})
        self._tell_of(step.follow_up for step in steps)

    def _begin(self) -> None:
        """Have everybody looked at about whom time may have brought something about while we were away.

        These are the patients about whom something stands, those who may have been asked for a second measurement or
        whose low may have waited,
        and, when its time comes, whoever wears a device that is not heard, or will have other limits.
        """
        now, wearings, arrivals = self._now(), self._people.worn(), self._journal.last_arrivals()
        self._book.begin_hearing(arrivals, now)
        elsewhere = self._book.heard_elsewhere(now)
        holding = {
            patient.id: self._limits(patient.id, patient, ZoneInfo(patient.zone), now)
            for patient in self._people.patients()
        }
        for worn in wearings:
            limits, until = holding[worn.patient]
            expected = self._expect(worn, arrivals.get(worn.device), limits, silent=False)
            if there := elsewhere.get(worn.device):
                expected = expected.of_one_heard(there)
            self._agenda.add(worn.patient, min(*expected.told_at({}), until))
        self._again.update(patient for patient, _ in self._book.standing() if patient != HOUSE)
        start, beyond = self._started_at - _FRESH, self._journal.patients_beyond
        self._again.update(beyond(Vital.BLOOD_PRESSURE, start, below=_LOW_PRESSURE, reaching=_SEVERE))
        self._again.update(beyond(Vital.GLUCOSE, start, below=_LOW_GLUCOSE, reaching=(_HIGH_GLUCOSE, math.inf)))
        # A low that came late may have waited for more.
        self._again.update(beyond(Vital.CGM, start, below=_LOW_SENSOR))

    def _make_beds(self, patients: Sequence[str], standing: Mapping[tuple[str, str], Alert], now: datetime) -> None:
        known = {patient.id: patient for patient in self._people.some(patients)}
        plans = self._people.plans(patients)
        wearings: dict[str, list[Worn]] = {}
        for worn in self._people.worn(patients):
            wearings.setdefault(worn.patient, []).append(worn)
        unseen = Unseen(self._journal, self.cursor, patients, now)
        lost = Unseen(self._journal, self._judged, self._unjudged.intersection(patients), now)
        for patient in patients:
            with self._alone(patient):
                measures = plans.get(patient, ())
                bed = self._bed(patient, known.get(patient), wearings.get(patient, ()), measures, standing, now)
                journal = StoredReadings(self._journal, patient, now)
                earlier = journal.earlier()
                stored, _ = unseen.split(journal.sensors())
                if patient in self._unjudged:
                    # What followed of these was not written down, so they are taken once more.
                    stored, again = lost.split(stored)
                    self._new[patient][:0] = [*again, *journal.spot_after(self._judged)]
                if aside := self._aside_unjudged.get(patient):
                    taken = {each.key for each in self._new[patient]}
                    self._new[patient][:0] = [each for each in aside if each.key not in taken]
                sensors: defaultdict[str, list[Reading]] = defaultdict(list)
                for reading in stored:
                    sensors[reading.device].append(reading)
                bed.start(sensors, _rules_up(standing, patient), earlier, closed=_closed_low(standing, patient))
                self._beds[patient] = bed

    def _bed(
        self,
        patient: str,
        person: Patient | None,
        wearings: Sequence[Worn],
        plans: Sequence[MeasuringPlan],
        standing: Mapping[tuple[str, str], Alert],
        now: datetime,
    ) -> Bed:
        zone = ZoneInfo(person.zone if person else "UTC")
        limits, until = self._limits(patient, person, zone, now)
        silent = NO_DATA.name in _rules_up(standing, patient)
        today = now.astimezone(zone).date()
        apart = {vital: plan.apart for vital, plan in plans_on(plans, today).items()}
        if changing := [day for plan in plans for day in plan.changes_after(today)]:
            until = min(until, datetime.combine(min(changing), time(), zone))
        return Bed(
            patient,
            plan=self._plan(limits),
            zone=zone,
            expected=tuple(
                self._expect(worn, self._journal.last_arrival(worn.device), limits, apart, silent=silent)
                for worn in wearings
            ),
            until=until,
            reads=person.glucose_unit if person else None,
        )

    def _limits(self, patient: str, person: Patient | None, zone: ZoneInfo, now: datetime) -> tuple[Limits, datetime]:
        """The numbers that hold for a patient today, and until when."""
        day = now.astimezone(zone).date()
        known = person or Patient(id=patient, name="", zone=zone.key)
        applied, until = self._holdings.on(known, day)
        before = self._left_out.pop(patient, ())
        if applied.left_out:
            self._left_out[patient] = applied.left_out
            if applied.left_out != before:
                logger.warning("limits set for patient %s do not hold: %s", patient, together(applied.left_out).en)
        return applied.limits, datetime.combine(until, time(), zone) if until else NEVER

    def _plan(self, limits: Limits) -> Plan:
        key = frozenset(limits.values.items())
        if key not in self._plans:
            self._plans[key] = Plan(limits)
        return self._plans[key]

    def _expect(
        self,
        worn: Worn,
        arrival: datetime | None,
        limits: Limits,
        apart: Mapping[Vital, timedelta] = NO_PLANS,
        *,
        silent: bool,
    ) -> Expected:
        """silent: staff were told before the start; that is not over because we were away.

        Nor is it because the readings that told how the patient was are too old by now to be looked at.

        apart: who measures by a plan is not silent before it is certainly not kept, unless a time was set for the
        patient.

        What is noted for a moment to come was noted while the clock was ahead, and says nothing.
        """
        vital, now = VITAL_OF[worn.kind], self._now()
        usual = {
            name: limits.minutes(NO_DATA.name, f"{name}-{vital}")
            if Key(NO_DATA.name, f"{name}-{vital}", MIN) in limits.given
            else max(limits.minutes(NO_DATA.name, f"{name}-{vital}"), apart.get(vital, timedelta()))
            for name in ("silence", "staff-after")
        }
        known = [moment for moment in (worn.assigned_at, arrival) if moment is not None and moment <= now]
        since = max(known, default=now)
        staff_after = max(usual.values())
        staff_after_low = after_low(limits, vital, staff_after)
        return Expected(
            device=worn.device,
            vital=vital,
            silence=usual["silence"],
            staff_after=staff_after_low if silent else staff_after,
            staff_after_low=staff_after_low,
            since=since,
            not_before=since if silent else self._started_at + GRACE,
            worn_since=worn.worn_since,
        )


async def _unless_overtaken(step: Callable[[], Awaitable[_T]]) -> _T:
    """Take a step, and once more where another hub was faster: the step then meets what that one has written."""
    for _ in range(_OVERTAKEN_AT_MOST):
        with suppress(Overtaken):
            return await step()
    return await step()


def _heard(
    standing: Mapping[tuple[str, str], Alert], groups: Sequence[Sequence[Finding]], now: datetime
) -> tuple[dict[tuple[str, str], Alert], list[Change], list[Notice]]:
    """What then stands, and what is to be written down."""
    changes: list[Change] = []
    notices: list[Notice] = []
    alerts = dict(standing)
    for group, told in zip(groups, worst_for_patients(groups), strict=True):
        heard = hear_findings(alerts, told, now)
        alerts.update({(change.alert.patient, change.alert.problem): change.alert for change in heard.changes})
        changes += heard.changes
        notices += heard.notices
        kept = {id(each) for each in told}
        notices += [withheld(each, now) for each in group if id(each) not in kept]
    return alerts, changes, notices


def _rules_up(alerts: Mapping[tuple[str, str], Alert], patient: str) -> dict[str, datetime]:
    """The rules that hold alerts of a patient up, and since when."""
    return {rule: alert.since for (whose, _), alert in alerts.items() if whose == patient for rule in alert.raising}


def _closed_low(alerts: Mapping[tuple[str, str], Alert], patient: str) -> Alert | None:
    """The alert about a low of a patient that was closed while its condition is present."""
    alert = alerts.get((patient, LOW_EVENT_2.problem))
    return alert if alert and alert.closed_at and alert.raising else None

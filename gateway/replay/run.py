"""Rows become findings: the clock of each subject is moved by the data, and nothing is known before it has arrived.

In each round every subject is brought its next arrivals, those of one moment. They are admitted and committed to a
journal of their own, then watched; before them and after them come the looks that time alone asks for. A subject's
part of the journal so never holds anything of its future. Patients do not touch each other, so that no order among
the subjects is needed.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from alerts.alert import Finding, Verdict
from alerts.ladder import Plan
from alerts.rule import Key, Limits
from alerts.rules import RuleBook
from gateway.language import Sentence
from gateway.replay.bedside import NOTHING, Bedside, News
from gateway.replay.table import BadRow, ReplayError, Row, Table
from ingest.admit import Roster, Wearing, admit
from ingest.journal import Arrival, Journal, LetterState
from ingest.reading import EPOCH, Measurement, Packet, Reading
from ingest.vital import Unit, Vital

# What was asked for with the last reading may still come due; no silence is told so soon.
AFTERWARDS: Final = timedelta(minutes=60)
# A hub looks no more often.
_TICK: Final = timedelta(seconds=15)
_SENSOR_GAP: Final = timedelta(minutes=20)


# What admission says of a row that it refuses: a letter keeps the English alone.
_REFUSALS: Final = (
    "{name} {said} is outside the possible {low} to {high} ({other_low} to {other_high})",
    "{name} {said} is outside the possible {low} to {high}",
    "systolic {systolic} is not above diastolic {diastolic}",
    "a test with control solution says nothing about the patient",
)


class Told(NamedTuple):
    """A finding and the moment at which it was made."""

    at: datetime
    finding: Finding


class Lasted(NamedTuple):
    """A trouble from its first finding on; end: when it was found to be over, None where nobody was to hear of it."""

    told: Told
    end: datetime | None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a replay gave.

    told: raised findings, by time. items: of these what opened an item in the doctor's queue or brought one back,
    where every item is closed as soon as its condition is over. lasted: each trouble from its first finding on.
    days: patient-days with data. repeats: rows that were known already. refused: rows that admission or journal
    refused.
    """

    told: list[Told] = field(default_factory=list)
    items: list[Told] = field(default_factory=list)
    lasted: list[Lasted] = field(default_factory=list)
    subjects: int = 0
    readings: int = 0
    repeats: int = 0
    days: float = 0.0
    refused: list[BadRow] = field(default_factory=list)


def limits_tried(rules: RuleBook, subject: str) -> Limits:
    """The numbers to which the rules come in the end: what is tried is not tried in its own time."""
    return rules.limits(subject, (), date.max)


def replay(
    table: Table,
    rules: RuleBook,
    *,
    only: Collection[str],
    progress: Callable[[int], None],
) -> Outcome:
    """Run the rows of a table through admission, journal and watch.

    only: names of the rules whose findings are wanted, each of which then tells of its own; if empty, all,
    and a patient is told the worst of a moment, as in a hub. progress: called with the number of rows done.
    Raises ReplayError where there is no room for the journal.
    """
    with TemporaryDirectory(prefix="homeward-replay-") as folder:
        journal = Journal(Path(folder) / "journal.db", durable=False)
        try:
            return _Replay(table, rules, journal, only).run(progress)
        except sqlite3.OperationalError as error:
            said = Sentence(
                "the journal in {folder} cannot be written: {error}; check the disk", folder=folder, error=error
            )
            raise ReplayError(said) from error
        finally:
            journal.close()


class _Replay:
    def __init__(self, table: Table, rules: RuleBook, journal: Journal, only: Collection[str]) -> None:
        self._vital, self._unit = table.vital, table.unit
        self._journal = journal
        self._only = only
        zone = table.clock.zone
        worn_in = zone if isinstance(zone, ZoneInfo) else ZoneInfo("UTC")  # every time is a moment already
        self._roster = Roster(
            [
                Wearing(device=device, patient=name, zone=worn_in)
                for name, rows in table.rows.items()
                for device in sorted({_device(name, row) for row in rows})
            ]
        )
        plans: dict[frozenset[tuple[Key, float]], Plan] = {}
        self._subjects = []
        for name, rows in table.rows.items():
            limits = limits_tried(rules, name)
            plan = plans.setdefault(frozenset(limits.values.items()), Plan(limits))
            bed = Bedside(
                name,
                table.vital,
                plan,
                zone,
                journal,
                population=rules.care(name).population or rules.population,
                since=min(row.received_at for row in rows),
                together=not only,
            )
            self._subjects.append(_Subject(name, _moments(rows), bed))
        self._outcome = Outcome(
            subjects=len(table.rows), days=sum(_days(table.vital, rows) for rows in table.rows.values())
        )

    def run(self, progress: Callable[[int], None]) -> Outcome:
        """Bring every subject its arrivals, one moment a round; then let what is due come due."""
        outcome, done = self._outcome, 0
        here = self._subjects
        while here := [subject for subject in here if subject.goes_on()]:
            self._round(here)
            done += sum(len(subject.rows) for subject in here)
            progress(done)
        for subject in self._subjects:
            self._hear(subject, subject.wait(subject.now + AFTERWARDS))
            outcome.lasted += subject.lasting()
        outcome.told.sort(key=attrgetter("at"))
        outcome.items.sort(key=attrgetter("at"))
        for letter in self._journal.letters(LetterState.WAITING, limit=-1):
            outcome.refused.append(BadRow(int(letter.packet.data), _sentence(letter.because)))
        outcome.refused.sort()
        return outcome

    def _round(self, subjects: Sequence[_Subject]) -> None:
        for subject in subjects:
            self._hear(subject, subject.wait(subject.now))
        appended = self._journal.append([self._arrival(subject, row) for subject in subjects for row in subject.rows])
        self._outcome.readings += len(appended.new)
        self._outcome.repeats += appended.duplicates
        new: defaultdict[str, list[Reading]] = defaultdict(list)
        for _, reading in appended.new:
            new[reading.patient].append(reading)
        for subject in subjects:
            if subject.name in new:
                self._hear(subject, [(subject.now, subject.bed.take(new[subject.name], subject.now))])

    def _arrival(self, subject: _Subject, row: Row) -> Arrival:
        packet = Packet(
            link="replay",
            sender=subject.name,
            channel="csv",
            data=str(row.line).encode(),  # all that a letter has to tell here
            received_at=row.received_at,
        )
        measurement = Measurement(
            device=_device(subject.name, row),
            vital=Vital.KETONE if row.ketone else self._vital,
            sent=row.sent,
            unit=Unit.MMOL_L if row.ketone else self._unit,
            device_time=row.taken_at,
            flags=row.flags,
            context=row.context,
        )
        return Arrival(packet=packet, outcomes=(admit(measurement, packet, self._roster),))

    def _hear(self, subject: _Subject, looks: Iterable[tuple[datetime, News]]) -> None:
        outcome = self._outcome
        for now, news in looks:
            if news is NOTHING:
                continue
            findings, items = map(self._wanted, news)
            outcome.told += [Told(now, finding) for finding in findings if finding.verdict is Verdict.RAISE]
            outcome.items += [Told(now, finding) for finding in items]
            outcome.lasted += subject.over(findings, now)

    def _wanted(self, findings: Sequence[Finding]) -> list[Finding]:
        return [finding for finding in findings if not self._only or finding.rule in self._only]


class _Subject:
    """One subject on the way through the data: what comes next, the bed, and the items in the doctor's queue."""

    def __init__(self, name: str, moments: Iterator[tuple[datetime, list[Row]]], bed: Bedside) -> None:
        self.name = name
        self.bed = bed
        self.now = EPOCH
        self.rows: list[Row] = []
        self._moments = moments
        self._looked = EPOCH
        self._raised: dict[str, Told] = {}

    def goes_on(self) -> bool:
        """Move to the next moment at which something arrives; False when nothing more does."""
        self.now, self.rows = next(self._moments, (self.now, []))
        return bool(self.rows)

    def wait(self, until: datetime) -> Iterator[tuple[datetime, News]]:
        """(moment, news) of each look that time asks for before a moment; what comes at it may be what is awaited."""
        while (moment := max(self.bed.due(self._looked), self._looked + _TICK)) < until:
            self._looked = moment
            yield moment, self.bed.tick(moment)

    def over(self, findings: Sequence[Finding], now: datetime) -> Iterator[Lasted]:
        """The troubles of which these findings say that they are over, or that they begin anew."""
        for finding in findings:
            before = self._raised.get(finding.rule)
            raised = finding.verdict is Verdict.RAISE
            if before and (not raised or finding.since > before.finding.since):
                del self._raised[finding.rule]
                yield Lasted(before, None if raised else now)
            if raised:
                self._raised.setdefault(finding.rule, Told(now, finding))

    def lasting(self) -> Iterator[Lasted]:
        """The troubles that are not over."""
        return (Lasted(told, None) for told in self._raised.values())


def _sentence(because: str) -> str:
    """A reason of admission as a sentence that can be said in other languages."""
    for message in _REFUSALS:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(message))
        if found := re.fullmatch(pattern, because):
            places = found.groupdict()
            return Sentence(
                message, **{key: Sentence(each) if key == "name" else each for key, each in places.items()}
            )
    return because


def _device(subject: str, row: Row) -> str:
    """Blood ketone has a meter of its own, which is not missed: that a sensor is silent is found all the same."""
    return f"{subject} ketone" if row.ketone else subject


def _moments(rows: Sequence[Row]) -> Iterator[tuple[datetime, list[Row]]]:
    """(moment, what arrives at it), in order."""
    by_arrival = sorted(rows, key=attrgetter("received_at"))
    for moment, together in groupby(by_arrival, key=attrgetter("received_at")):
        yield moment, list(together)


def _days(vital: Vital, rows: Sequence[Row]) -> float:
    """Days with data: a sensor's time less its gaps (over 20 min and 2.5 usual steps), else the days of readings."""
    if vital is not Vital.CGM:
        return float(len({row.taken_at.date() for row in rows}))
    taken = sorted({row.taken_at for row in rows if not row.ketone})
    steps = [later - earlier for earlier, later in pairwise(taken)]
    longest = max(_SENSOR_GAP, 2.5 * sorted(steps)[len(steps) // 2]) if steps else _SENSOR_GAP
    return sum((min(step, longest) for step in steps), timedelta()) / timedelta(days=1)

"""What a replay says: its findings as a CSV file, a table of them, and the rows that went no further."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Final
from unicodedata import east_asian_width

from alerts.alert import Audience
from alerts.rule import Group
from alerts.rules import RuleBook
from gateway.language import Language, Sentence
from gateway.replay.cells import MEALS, WORD_OF
from gateway.replay.run import Outcome, Told
from gateway.replay.table import BadRow, Clock, Row, Table
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital, canonical

COLUMNS: Final = ("subject", "time", "rule", "severity", "audience", "because")
_SHOWN: Final = 20
_A_DAY: Final = timedelta(days=1)  # a clock somewhere may be that far ahead
_RULE, _AUDIENCE = Sentence("rule"), Sentence("audience")
_FINDINGS, _PER_DAY = Sentence("findings"), Sentence("per patient-day")
AUDIENCES: Final = {
    Audience.PATIENT: Sentence("patient"),
    Audience.STAFF: Sentence("staff"),
    Audience.WEEKLY: Sentence("weekly"),
}
ITEMS: Final = Sentence("items in the doctor queue")


def write_findings(path: Path, told: Iterable[Told], clock: Clock, language: Language) -> None:
    """One row per finding, never earlier than it was made; severity is its IEC 60601-1-8 priority."""
    _write_csv(path, COLUMNS, (_finding(each, clock, language) for each in told))


def write_bad_rows(path: Path, bad: Iterable[BadRow], language: Language) -> None:
    """Every row that went no further, with its line."""
    _write_csv(path, ("line", "because"), ((line, language.sentence(because)) for line, because in bad))


def write_rows(path: Path, table: Table) -> None:
    """The rows as they are delivered, in that order; the file can be replayed again, and scored."""
    numbers = ["systolic", "diastolic", "pulse"] if table.vital is Vital.BLOOD_PRESSURE else ["glucose", "ketone"]
    deliveries = [(subject, row) for subject, rows in table.rows.items() for row in rows]
    deliveries.sort(key=lambda each: each[1].received_at)
    header = ("subject", "time", *numbers, "received", "meal", "flags")
    _write_csv(path, header, (_delivery(subject, row, table) for subject, row in deliveries))


def clock_line(clock: Clock, *, given: bool) -> str:
    """How the times of the file were understood."""
    if clock.offsets:
        if given:
            return Sentence(
                "Times have an offset from UTC; days, nights and sentences are on the clock of {zone}.",
                zone=clock.zone,
            )
        return Sentence(
            "Times have an offset from UTC; days and nights are those of UTC, for no --zone says whose they are."
        )
    if given:
        return Sentence("Times have no offset: each is what a clock in {zone} showed.", zone=clock.zone)
    return Sentence(
        "Times have no offset: each is what the subject's clock showed; no hour of it is left out or repeated."
    )


def limits_line(rules: RuleBook, path: Path | None) -> str:
    """Whose limits are replayed."""
    places = {"region": rules.region, "population": rules.population}
    if path is None and rules.region is Group.CHINA:
        return Sentence(
            "Limits: Homeward's defaults of the region {region} for the population {population}; --rules FILE "
            "replays others.",
            **places,
        )
    if path is None:
        return Sentence(
            "Limits: Homeward's defaults of the region {region} for the population {population}; --region china and "
            "--rules FILE replay others.",
            **places,
        )
    return Sentence("Limits: {path}, region {region}, usual population {population}.", path=path, **places)


def doubts(table: Table, today: datetime) -> Iterator[str]:
    """What may have been taken in another way than it was meant. today: a moment (aware) of it."""
    if table.encoding != "utf-8-sig":
        yield Sentence("The file is no UTF-8 and was read as GB 18030; see whether the names are right.")
    if table.mixed:
        yield Sentence(
            "Some times have an offset (the first in line {one}) and some have none (line {other}): the latter were "
            "taken as what a clock in {zone} showed.",
            one=table.mixed[0],
            other=table.mixed[1],
            zone=table.clock.zone,
        )
    if table.doubtful:
        yield Sentence(
            "Rows with a time that a clock in {zone} showed twice, or never, for it was set then: {count}, the first "
            "in line {line}. The first of both was taken; times with an offset leave no doubt.",
            zone=table.clock.zone,
            count=len(table.doubtful),
            line=table.doubtful[0],
        )
    if table.serials:
        yield Sentence(
            "Times that are numbers were taken as days since the end of 1899, as spreadsheets count them (not those "
            "of 1904): {count} rows, the first in line {line}.",
            count=len(table.serials),
            line=table.serials[0],
        )
    for word, lines in table.meals.items():
        yield Sentence(
            "There is no meal {word!r}; the readings ({count}, the first in line {line}) were taken as of no meal. "
            "The words are {words}, or 空腹, 餐前, 餐后, 睡前, 随机.",
            word=word,
            count=len(lines),
            line=lines[0],
            words=", ".join(MEALS),
        )
    if later := [row.line for rows in table.rows.values() for row in rows if row.taken_at > today + _A_DAY]:
        yield Sentence(
            "Rows with a time later than today: {count}, the first in line {line}. They were taken as they are.",
            count=len(later),
            line=min(later),
        )
    if likely := table.likely_unit():
        yield Sentence(
            "Nearly all values look like {likely}, and were taken as {unit}: if so, say --unit {likely}.{question}",
            likely=likely,
            unit=table.unit,
            question="" if table.unit_said else _question(table, likely),
        )


def _question(table: Table, likely: Unit) -> str:
    """What comes of a unit that nobody has said, by the first value that is a number."""
    rows = (row for rows in table.rows.values() for row in rows if row.sent[0] is not None and not row.ketone)
    first = min(rows, key=attrgetter("line"))
    (value,) = first.sent
    (shown,) = canonical(table.vital, first.sent, table.unit)
    assert value is not None and shown is not None  # noqa: S101, PT018  they were chosen so
    return Sentence(
        " Neither the file nor --unit says in which unit they are: {value:g} in line {line} was taken as {value:g} "
        "{unit}, which is {other:.2g} {likely}, and what is found may be false. Which unit is it?",
        value=value,
        line=first.line,
        unit=table.unit,
        other=shown / MG_DL_PER_MMOL_L,
        likely=likely,
    )


def summary(outcome: Outcome, bad: int, say: Language) -> Iterator[str]:
    """The lines of the table at the end. bad: number of rows that were not used."""
    yield amount(outcome, bad)
    counts = Counter((each.finding.rule, each.finding.audience) for each in outcome.told)
    head = [say.sentence(each) for each in (_RULE, _AUDIENCE, _FINDINGS, _PER_DAY)]
    yield f"{padded(head[0], 28)} {padded(head[1], 9)} {padded(head[2], -9)} {padded(head[3], -16)}"
    for (rule, audience), count in sorted(counts.items()):
        whom = padded(say.sentence(AUDIENCES[audience]), 9)
        yield f"{rule:<28} {whom} {count:>9} {_rate(count, outcome.days):>16}"
    items = padded(say.sentence(ITEMS), 38)
    yield f"{items} {len(outcome.items):>9} {_rate(len(outcome.items), outcome.days):>16}"


def padded(text: str, width: int) -> str:
    """Filled up with blanks to a width, before it where that is negative; Chinese signs are two wide."""
    wide = sum(east_asian_width(each) in "WF" for each in text)
    blanks = " " * (abs(width) - len(text) - wide)
    return text + blanks if width > 0 else blanks + text


def amount(outcome: Outcome, bad: int) -> str:
    """How much was replayed."""
    return Sentence(
        "{subjects} subjects, {readings} readings, {days:.1f} patient-days with data; {repeats} rows were repeated, "
        "{bad} could not be used",
        subjects=outcome.subjects,
        readings=outcome.readings,
        days=outcome.days,
        repeats=outcome.repeats,
        bad=bad,
    )


def bad_lines(bad: Sequence[BadRow]) -> Iterator[str]:
    """The rows that went no further; of many, the first."""
    for line, because in bad[:_SHOWN]:
        yield Sentence("line {line}: {because}", line=line, because=because)
    if len(bad) > _SHOWN:
        yield Sentence(
            "... and {more} more rows that are not used; --bad-rows FILE lists all {count}.",
            more=len(bad) - _SHOWN,
            count=len(bad),
        )


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _finding(told: Told, clock: Clock, language: Language) -> tuple[str, ...]:
    at, finding = told
    severity = finding.priority.name.lower()
    whole = at if not at.microsecond else at.replace(microsecond=0) + timedelta(seconds=1)
    because = language.text(finding.because)
    return finding.patient, clock.shows(whole), finding.rule, severity, finding.audience, because


def _delivery(subject: str, row: Row, table: Table) -> tuple[object, ...]:
    clock = table.clock
    word = next((WORD_OF[flag] for flag in row.flags if flag in WORD_OF), None)
    numbers = row.sent if table.vital is not Vital.BLOOD_PRESSURE else (row.sent[0], row.sent[1], row.sent[3])
    shown = [word] if word else ["" if number is None else f"{number:.10g}" for number in numbers]
    if table.vital is not Vital.BLOOD_PRESSURE:
        shown = ["", *shown] if row.ketone else [*shown, ""]
    flags = " ".join(sorted(flag for flag in row.flags if flag not in WORD_OF))
    meal = row.context.get("meal", "")
    return subject, clock.shows(row.taken_at), *shown, clock.shows(row.received_at), meal, flags


def _rate(count: int, days: float) -> str:
    return f"{count / days:.3f}" if days else "-"

"""What a replay says: its findings as a CSV file, a table of them, and the rows that went no further."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from gateway.language import Language
from gateway.replay.run import Outcome, Told
from gateway.replay.table import WORD_OF, BadRow, Clock, Row, Table
from ingest.vital import Vital

COLUMNS: Final = ("subject", "time", "rule", "severity", "audience", "because")
_SHOWN: Final = 20


def write_findings(path: Path, told: Iterable[Told], clock: Clock, language: Language) -> None:
    """One row per finding, never earlier than it was made; severity is its IEC 60601-1-8 priority."""
    _write_csv(path, COLUMNS, (_finding(each, clock, language) for each in told))


def write_bad_rows(path: Path, bad: Iterable[BadRow]) -> None:
    """Every row that went no further, with its line."""
    _write_csv(path, ("line", "because"), bad)


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
            return f"Times have an offset from UTC; days, nights and sentences are on the clock of {clock.zone}."
        return "Times have an offset from UTC; days and nights are those of UTC, for no --zone says whose they are."
    if given:
        return f"Times have no offset: each is what a clock in {clock.zone} showed."
    return "Times have no offset: each is what the subject's clock showed; no hour of it is left out or repeated."


def doubts(table: Table) -> Iterator[str]:
    """What may have been taken in another way than it was meant."""
    if table.encoding != "utf-8-sig":
        yield "The file is no UTF-8 and was read as GB 18030; see whether the names are right."
    if table.mixed:
        yield (
            f"Some times have an offset (the first in line {table.mixed[0]}) and some have none (line "
            f"{table.mixed[1]}): the latter were taken as what a clock in {table.clock.zone} showed."
        )
    if table.doubtful:
        yield (
            f"Rows with a time that a clock in {table.clock.zone} showed twice, or never, for it was set then: "
            f"{len(table.doubtful)}, the first in line {table.doubtful[0]}. The first of both was taken; times with "
            "an offset leave no doubt."
        )
    if likely := table.likely_unit():
        yield f"Nearly all values look like {likely}, and were taken as {table.unit}: if so, say --unit {likely}."


def summary(outcome: Outcome, bad: int) -> Iterator[str]:
    """The lines of the table at the end. bad: number of rows that were not used."""
    yield amount(outcome, bad)
    counts = Counter((each.finding.rule, each.finding.audience) for each in outcome.told)
    yield f"{'rule':<28} {'audience':<9} {'findings':>9} {'per patient-day':>16}"
    for (rule, audience), count in sorted(counts.items()):
        yield f"{rule:<28} {audience:<9} {count:>9} {_rate(count, outcome.days):>16}"
    yield f"{'items in the doctor queue':<38} {len(outcome.items):>9} {_rate(len(outcome.items), outcome.days):>16}"


def amount(outcome: Outcome, bad: int) -> str:
    """How much was replayed."""
    return (
        f"{outcome.subjects} subjects, {outcome.readings} readings, {outcome.days:.1f} patient-days with data; "
        f"{outcome.repeats} rows were repeated, {bad} could not be used"
    )


def bad_lines(bad: Sequence[BadRow]) -> Iterator[str]:
    """The rows that went no further; of many, the first."""
    for line, because in bad[:_SHOWN]:
        yield f"line {line}: {because}"
    if len(bad) > _SHOWN:
        yield f"... and {len(bad) - _SHOWN} more rows that are not used; --bad-rows FILE lists all {len(bad)}."


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

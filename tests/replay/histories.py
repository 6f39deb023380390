"""Small histories, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from alerts.rules import PLAIN, RuleBook, parse_book
from gateway.replay.run import Outcome, Told, replay
from gateway.replay.table import Table, read_table

VERY_LOW, LOW, SEVERE, NO_DATA = "low-event-2", "low-event-1", "bp-severe", "no-data"
START = datetime(2026, 3, 1, 8, 0)

# Every 5 min from 08:00: two readings below 54 are no event, three from 08:30 on are; it is over at 08:55.
LOWS = (110, 100, 90, 53, 52, 80, 53, 50, 49, 72, 75, 80, 82, 90, 95, 101, 104, 108)


def at(minute: float) -> str:
    return str(START + timedelta(minutes=minute))


def glucose_lines(values: Sequence[object], *, subject: str = "p-1", every: float = 5) -> list[str]:
    return [f"{subject},{at(n * every)},{value}" for n, value in enumerate(values)]


def file(tmp_path: Path, lines: Sequence[str], header: str = "subject,time,glucose") -> Path:
    path = tmp_path / "data.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def table(tmp_path: Path, lines: Sequence[str], header: str = "subject,time,glucose", **how: object) -> Table:
    return read_table(file(tmp_path, lines, header), **how)  # type: ignore[arg-type]


def outcome(what: Table, rules: RuleBook = PLAIN, only: Sequence[str] = ()) -> Outcome:
    return replay(what, rules, only=frozenset(only), progress=lambda _: None)


def said(told: Sequence[Told]) -> list[tuple[str, str, str, str]]:
    """(subject, local time, rule, audience) of each."""
    return [(finding.patient, f"{moment:%H:%M}", finding.rule, str(finding.audience)) for moment, finding in told]


def low_at(mg_dl: float) -> RuleBook:
    """A clinic's rules: level-1 lows begin below another limit."""
    return parse_book({"clinic": {LOW: {"limit": {"value": mg_dl, "unit": "mg/dL"}}}})

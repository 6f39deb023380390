"""`homeward replay`: options in, files and a table out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from alerts.rule import LimitsError
from alerts.rules import PLAIN, RULES, RuleBook
from gateway.language import Language
from gateway.replay.compare import comparison
from gateway.replay.disturb import disturb
from gateway.replay.report import (
    bad_lines,
    clock_line,
    doubts,
    summary,
    write_bad_rows,
    write_findings,
    write_rows,
)
from gateway.replay.run import Outcome, replay
from gateway.replay.table import ReplayError, Table, read_table
from gateway.rule_file import load_rules
from gateway.terminal import printable
from ingest.vital import Unit


def run(options: argparse.Namespace) -> int:
    """Do what the options say. Raises ReplayError with a sentence for whoever typed them."""
    _try_files(options)
    only = _known(options.only)
    rules = read_rules(options.rules)
    others = read_rules(options.compare) if options.compare else None
    table = _table(options)
    _say(clock_line(table.clock, given=options.zone is not None))
    if table.unused:
        _say(f"Columns that are not read: {', '.join(table.unused)}.")
    for line in doubts(table):
        _say(line, error=True)
    outcome = _replayed(table, rules, only)
    bad = sorted([*table.bad, *outcome.refused])
    for line in bad_lines(bad):
        _say(line, error=True)
    _write(options.bad_rows, lambda path: write_bad_rows(path, bad))
    if bad and not outcome.readings:
        raise ReplayError(f"None of the {len(bad)} rows could be used, so there is nothing to find.")
    language = Language("zh_CN" if options.lang == "zh" else "en")
    _write(options.findings, lambda path: write_findings(path, outcome.told, table.clock, language))
    if options.chart:
        from gateway.replay.chart import write_chart  # here: it loads the library of charts, which only it needs

        _write(options.chart, lambda path: write_chart(path, table, outcome, rules, language))
    if others is None:
        _say(*summary(outcome, len(bad)))
    else:
        names = (str(options.rules or "defaults"), str(options.compare))
        _say(*comparison((outcome, _replayed(table, others, only)), names, table.clock, len(bad)))
    return 0


def read_rules(path: Path | None) -> RuleBook:
    """A rule file, the defaults without one. Raises ReplayError."""
    try:
        return load_rules(path) if path else PLAIN
    except LimitsError as error:
        raise ReplayError(str(error)) from error


def _known(names: Sequence[str]) -> frozenset[str]:
    for name in names:
        if name not in RULES:
            raise ReplayError(f"there is no rule {name}; the rules are {', '.join(RULES)}")
    return frozenset(names)


def _table(options: argparse.Namespace) -> Table:
    unit = Unit(options.unit) if options.unit else None
    table = read_table(options.data, unit=unit, zone=options.zone, meter=options.meter)
    if strangers := sorted(set(options.subject) - set(table.rows)):
        raise ReplayError(f"{options.data} has no subject {', '.join(strangers)}")
    if options.subject:
        table = replace(table, rows={name: table.rows[name] for name in options.subject})
    if options.disturb is not None:
        rows = {name: disturb(rows, f"{options.disturb} {name}") for name, rows in table.rows.items()}
        table = replace(table, rows={name: delivered for name, delivered in rows.items() if delivered})
    _write(options.disturbed, lambda path: write_rows(path, table))
    return table


def _replayed(table: Table, rules: RuleBook, only: Collection[str]) -> Outcome:
    progress = _Progress(len(table))
    try:
        return replay(table, rules, only=only, progress=progress.show)
    finally:
        progress.end()


class _Progress:
    """How much is done, on standard error: in place at a terminal, else a line for each tenth."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._at_terminal = sys.stderr.isatty()
        self._step = 1 if self._at_terminal else 10
        self._told = 0

    def show(self, done: int) -> None:
        percent = 100 * done // self._total
        if percent >= self._told + self._step:
            self._told = percent - percent % self._step
            end = "\r" if self._at_terminal else "\n"
            print(f"{self._told:>3} %, {done} of {self._total} readings", end=end, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._at_terminal and self._told:
            print(file=sys.stderr)


def _try_files(options: argparse.Namespace) -> None:
    """Refuse before the work what could not be written after it, and what would be written over another file."""
    taken = [options.data.resolve()]
    for path in filter(None, (options.findings, options.chart, options.bad_rows, options.disturbed)):
        if path.is_file() or not path.exists():
            if path.resolve() in taken:
                raise ReplayError(f"{path} is the file that is read, or is named twice; name another one")
            taken.append(path.resolve())
        with _written(path):
            pass


def _write(path: Path | None, write: Callable[[Path], Iterable[str] | None]) -> None:
    """Write a file, where one is wanted, and say what there is to say about it."""
    if path is None:
        return
    with _written(path) as part:
        said = write(part)
        if part != path:
            part.replace(path.resolve())
    _say(*(said or ()))


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Where to write what is to become a file: beside it, so that there is all of it or what was there before.

    What is no regular file, such as /dev/stdout, is written itself. Raises ReplayError where that cannot be.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    whole = path.resolve()
    part = whole.with_name(f".{whole.name}.{os.getpid()}.part")
    try:
        if whole.exists():
            whole.open("ab").close()  # a directory, or protected: it is not replaced
        part.touch(exist_ok=False)
        yield part
    except OSError as error:
        raise ReplayError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it has its name now, or was never there
            part.unlink()


def _say(*lines: str, error: bool = False) -> None:
    for line in lines:
        print(printable(line), file=sys.stderr if error else sys.stdout)

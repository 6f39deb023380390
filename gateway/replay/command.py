"""`homeward replay`: options in, files and a table out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from alerts.rule import Group, LimitsError
from alerts.rules import PLAIN, RULES, RuleBook
from gateway.clock import SystemClock
from gateway.language import Language, Sentence
from gateway.replay.compare import comparison
from gateway.replay.disturb import disturb
from gateway.replay.report import (
    bad_lines,
    clock_line,
    doubts,
    limits_line,
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
    """Do what the options say, in the language that they name; the exit status."""
    language = Language("zh_CN" if options.lang == "zh" else "en")
    try:
        _run(options, language, _Voice(language))
    except ReplayError as error:
        print(printable(language.sentence(error.args[0])), file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace, language: Language, voice: _Voice) -> None:
    _try_files(options)
    only = _known(options.only)
    rules = read_rules(options.rules, options.region)
    others = read_rules(options.compare) if options.compare else None
    table = _table(options)
    voice.say(clock_line(table.clock, given=options.zone is not None), limits_line(rules, options.rules))
    if others is not None:
        voice.say(limits_line(others, options.compare))
    if len(table.whose) > 1:
        voice.say(
            Sentence(
                "Whose a reading is, the column {one} says alone, and not {others}.",
                one=table.whose[0],
                others=", ".join(table.whose[1:]),
            )
        )
    if table.unused:
        voice.say(Sentence("Columns that are not read: {names}.", names=", ".join(table.unused)))
    voice.warn(*doubts(table, SystemClock().now()))
    outcome = _replayed(table, rules, only, voice)
    bad = sorted([*table.bad, *outcome.refused])
    voice.warn(*bad_lines(bad))
    _write(options.bad_rows, lambda path: write_bad_rows(path, bad, language))
    if bad and not outcome.readings:
        raise ReplayError(
            Sentence("None of the {count} rows could be used, so there is nothing to find.", count=len(bad))
        )
    _write(options.findings, lambda path: write_findings(path, outcome.told, table.clock, language))
    if options.chart:
        from gateway.replay.chart import write_chart  # here: it loads the library of charts, which only it needs

        _write(options.chart, lambda path: voice.say(*write_chart(path, table, outcome, rules, language)))
    if others is None:
        voice.say(*summary(outcome, len(bad), language))
        return
    other, of_b = _replayed(table, others, only, voice), _of_b(options)
    _write(of_b, lambda path: write_findings(path, other.told, table.clock, language))
    if of_b:
        voice.say(Sentence("Findings of A are in {a}, those of B in {b}.", a=options.findings, b=of_b))
    names = (str(options.rules or "defaults"), str(options.compare))
    voice.say(*comparison((outcome, other), names, table.clock, len(bad), language))


class _Voice:
    """Says lines in one language."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def say(self, *lines: str) -> None:
        for line in lines:
            print(printable(self.language.sentence(line)))

    def warn(self, *lines: str) -> None:
        for line in lines:
            print(printable(self.language.sentence(line)), file=sys.stderr)


def _of_b(options: argparse.Namespace) -> Path | None:
    """Where the findings of the second rule file are written: beside those of the first."""
    if not (options.compare and options.findings):
        return None
    first: Path = options.findings
    return first.with_name(f"{first.stem}.B{first.suffix}") if first.is_file() or not first.exists() else None


def read_rules(path: Path | None, region: str | None = None) -> RuleBook:
    """A rule file, the defaults of a region without one. Raises ReplayError."""
    if path is None:
        return replace(PLAIN, region=Group(region)) if region else PLAIN
    if region:
        raise ReplayError(Sentence("{path} says itself what its region is; leave --region out", path=path))
    try:
        return load_rules(path)
    except LimitsError as error:
        raise ReplayError(error.text) from error


def _known(names: Sequence[str]) -> frozenset[str]:
    for name in names:
        if name not in RULES:
            raise ReplayError(
                Sentence("there is no rule {name}; the rules are {rules}", name=name, rules=", ".join(RULES))
            )
    return frozenset(names)


def _table(options: argparse.Namespace) -> Table:
    unit = Unit(options.unit) if options.unit else None
    table = read_table(options.data, unit=unit, zone=options.zone, meter=options.meter)
    if strangers := sorted(set(options.subject) - set(table.rows)):
        raise ReplayError(Sentence("{path} has no subject {names}", path=options.data, names=", ".join(strangers)))
    if options.subject:
        table = replace(table, rows={name: table.rows[name] for name in options.subject})
    if options.disturb is not None:
        rows = {name: disturb(rows, f"{options.disturb} {name}") for name, rows in table.rows.items()}
        table = replace(table, rows={name: delivered for name, delivered in rows.items() if delivered})
    _write(options.disturbed, lambda path: write_rows(path, table))
    return table


def _replayed(table: Table, rules: RuleBook, only: Collection[str], voice: _Voice) -> Outcome:
    progress = _Progress(len(table), voice.language)
    try:
        return replay(table, rules, only=only, progress=progress.show)
    finally:
        progress.end()


class _Progress:
    """How much is done, on standard error: in place at a terminal, else a line for each tenth."""

    def __init__(self, total: int, language: Language) -> None:
        self._total = total
        self._language = language
        self._at_terminal = sys.stderr.isatty()
        self._step = 1 if self._at_terminal else 10
        self._told = 0

    def show(self, done: int) -> None:
        percent = 100 * done // self._total
        if percent >= self._told + self._step:
            self._told = percent - percent % self._step
            end = "\r" if self._at_terminal else "\n"
            said = Sentence(
                "{percent:>3} %, {done} of {total} readings", percent=self._told, done=done, total=self._total
            )
            print(self._language.sentence(said), end=end, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._at_terminal and self._told:
            print(file=sys.stderr)


def _try_files(options: argparse.Namespace) -> None:
    """Refuse before the work what could not be written after it, and what would be written over another file."""
    taken = [options.data.resolve()]
    for path in filter(None, (options.findings, _of_b(options), options.chart, options.bad_rows, options.disturbed)):
        if path.is_file() or not path.exists():
            if path.resolve() in taken:
                raise ReplayError(
                    Sentence("{path} is the file that is read, or is named twice; name another one", path=path)
                )
            taken.append(path.resolve())
        with _written(path):
            pass


def _write(path: Path | None, write: Callable[[Path], None]) -> None:
    """Write a file, where one is wanted."""
    if path is None:
        return
    with _written(path) as part:
        write(part)
        if part != path:
            part.replace(path.resolve())


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
        because = error.strerror or error
        raise ReplayError(Sentence("{path} cannot be written: {because}", path=path, because=because)) from error
    finally:
        with suppress(OSError):  # it has its name now, or was never there
            part.unlink()

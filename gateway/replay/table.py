"""The CSV file of a replay becomes rows; what cannot become one is listed with its line and the reason.

Columns, by name and in any order: `subject`, `time` and either `glucose` or `systolic`, `diastolic` (or `pressure`:
both, as 120/80) and, if known, `pulse`. Optional: `ketone` beside glucose (blood ketone in mmol/L; one of both may be
empty), `received` (when the row reached us; without it, when it was taken), `date` (where `time` is the time of day
alone), `meal` (as in docs/payload.md) and `flags` (names of `ingest.reading.Flag`, apart by blanks). Other columns
are not used. What the columns and cells of Chinese spreadsheets mean is told by `gateway.replay.cells`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final, NamedTuple, TextIO
from zoneinfo import ZoneInfo

from alerts.scene import OWN_CLOCK
from gateway.language import Sentence
from gateway.replay import cells as cell
from ingest.reading import BEYOND_RANGE, CONTRADICTION, NO_CONTEXT, Flag
from ingest.vital import COMPONENTS, Unit, Vital

_UNITS: Final = {
    Vital.CGM: (Unit.MG_DL, Unit.MMOL_L),
    Vital.GLUCOSE: (Unit.MG_DL, Unit.MMOL_L),
    Vital.BLOOD_PRESSURE: (Unit.MMHG, Unit.KPA),
}
_OPTIONAL: Final = ("date", "received", "meal", "flags")
# What Chinese spreadsheets write when they are not asked for UTF-8; it takes few octets of other encodings.
_ENCODINGS: Final = ("utf-8-sig", "gb18030")
_SMALL: Final = 36  # sensors show 40 mg/dL to 400 (a meter 20 to 600), 2.2 mmol/L to 33.3
_NEARLY_ALL: Final = 0.95  # a few misprints, or rows of another meter, hide no wrong unit


class ReplayError(Exception):
    """The replay cannot be done. The text says why and what to do."""


class Row(NamedTuple):
    """One reading of one subject. The times are aware UTC; sent: one number per component of the vital.

    ketone: it is a blood ketone in mmol/L, and not of the table's vital and unit.
    """

    line: int
    taken_at: datetime
    received_at: datetime
    sent: tuple[float | None, ...]
    flags: frozenset[Flag] = cell.NO_FLAGS
    context: Mapping[str, str | float] = NO_CONTEXT
    ketone: bool = False


class BadRow(NamedTuple):
    """A row that went no further, and why."""

    line: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The subjects' clock: their zone, and whether times of the file carry an offset from UTC.

    Times without an offset are what a clock in the zone showed; where none was given it is `OWN_CLOCK`, on which each
    day has its 24 hours and what was an hour apart stays so.
    """

    zone: tzinfo
    offsets: bool

    def shows(self, moment: datetime) -> str:
        """A moment (aware) as the file writes it."""
        local = moment.astimezone(self.zone)
        return (local if self.offsets else local.replace(tzinfo=None)).isoformat(sep=" ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the file holds. rows: by subject, in the order of the file. unused: columns that are not read.

    doubtful: lines whose time the clock of the zone showed twice, or never, for it was set then; of two moments the
    first was taken. mixed: the first line with an offset in a time, and the first without, where there are both.
    serials: lines whose time is a number of days. meals: words for a meal that are not known, with their lines.
    whose: the columns that say whose a reading is; the first of them counts. unit_said: by the file or who reads it.
    """

    vital: Vital
    unit: Unit
    clock: Clock
    rows: Mapping[str, Sequence[Row]]
    bad: Sequence[BadRow] = ()
    unused: Sequence[str] = ()
    doubtful: Sequence[int] = ()
    mixed: tuple[int, int] | None = None
    serials: Sequence[int] = ()
    meals: Mapping[str, Sequence[int]] = field(default_factory=dict)
    encoding: str = _ENCODINGS[0]
    whose: Sequence[str] = ()
    unit_said: bool = True

    def __len__(self) -> int:
        """Number of rows."""
        return sum(map(len, self.rows.values()))

    def likely_unit(self) -> Unit | None:
        """The unit that nearly all the values look to be in, if that is another one."""
        values = [
            row.sent[0] for rows in self.rows.values() for row in rows if row.sent[0] is not None and not row.ketone
        ]
        if not values or self.vital is Vital.BLOOD_PRESSURE:
            return None
        likely = Unit.MG_DL if self.unit is Unit.MMOL_L else Unit.MMOL_L
        alike = sum((value < _SMALL) is (likely is Unit.MMOL_L) for value in values)
        return likely if alike >= _NEARLY_ALL * len(values) else None


def read_table(path: Path, *, unit: Unit | None = None, zone: ZoneInfo | None = None, meter: bool = False) -> Table:
    """Read the file. meter: its glucose is a meter's and not a sensor's. Raises ReplayError."""
    for encoding in _ENCODINGS:
        try:
            with path.open(newline="", encoding=encoding) as file:
                return replace(_read(file, unit, zone, meter=meter), encoding=encoding)
        except OSError as error:
            because = error.strerror or error
            raise ReplayError(Sentence("{path} cannot be read: {because}", path=path, because=because)) from error
        except UnicodeDecodeError:
            continue
    raise ReplayError(Sentence("{path} is neither UTF-8 nor GB 18030; save it as CSV in UTF-8", path=path))


def _read(file: TextIO, unit: Unit | None, zone: ZoneInfo | None, *, meter: bool) -> Table:
    lines = _lines(file)
    _, first = next(lines, (1, []))
    names = [] if isinstance(first, csv.Error) else [name.strip().lower() for name in first]
    header = [cell.column(name)[0] for name in names]
    known_by = next((each for each in cell.WHOSE if each in header), "subject")
    whose = [name for name, plain in zip(names, header, strict=True) if plain in cell.WHOSE]
    whose.sort(key=lambda name: cell.column(name)[0] != known_by)  # of two that are as sure the first stays first
    header = ["subject" if name == known_by else "" if name in cell.WHOSE else name for name in header]
    if "time" not in header:
        header = ["time" if name == "date" else name for name in header]
    vital = _vital(header, names, meter=meter)
    said = next((unit for name, unit in map(cell.column, names) if unit in _UNITS[vital] and name != "ketone"), None)
    if unit is not None and said is not None and unit is not said:
        raise ReplayError(
            Sentence(
                "the first line says that values are in {said}, not in {unit}; leave one out", said=said, unit=unit
            )
        )
    reader = _Rows(header, whose[0], vital, zone or ZoneInfo("UTC"), _unit(vital, unit) if unit else said)
    rows: dict[str, list[Row]] = {}
    for subject, row in reader.all(lines):
        rows.setdefault(subject, []).append(row)
    mixed = (reader.with_offset, reader.without) if reader.with_offset and reader.without else None
    if mixed and zone is None:
        raise ReplayError(
            Sentence(
                "the time in line {one} has an offset from UTC and that in line {other} has none: say with --zone on "
                "which clock the latter was read, such as --zone Asia/Shanghai, or write all of them alike",
                one=mixed[0],
                other=mixed[1],
            )
        )
    return Table(
        vital=vital,
        unit=reader.unit or _unit(vital, None),
        clock=Clock(
            zone=OWN_CLOCK if zone is None and not reader.with_offset else reader.zone, offsets=reader.with_offset > 0
        ),
        rows=rows,
        bad=reader.bad,
        unused=[name for n, name in enumerate(names) if n not in reader.columns.values()],
        doubtful=reader.doubtful,
        mixed=mixed,
        serials=reader.serials,
        meals=reader.meals,
        whose=whose,
        unit_said=reader.unit is not None,
    )


def _lines(file: TextIO) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """(number, cells) of every line that is not empty, with the error of one that is no CSV."""
    reader = csv.reader(file)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, error
        else:
            if cells:
                yield number, cells


def _vital(header: Sequence[str], names: Sequence[str], *, meter: bool) -> Vital:
    glucose = "glucose" in header
    pressure = "pressure" in header or {"systolic", "diastolic"} <= set(header)
    if glucose and pressure:
        raise ReplayError(
            Sentence(
                "the file has glucose and blood pressure, and a replay takes one of them: save it twice, once "
                "without the columns of the pressure and once without that of the glucose, and replay each"
            )
        )
    if not {"subject", "time"} <= set(header) or not (glucose or pressure):
        said = ",".join(names)
        if ";" in said:
            apart: str = Sentence(". Its columns are apart by semicolons: save it with commas")
        else:
            apart = Sentence(". Its columns are apart by tabs: save it with commas") if "\t" in said else ""
        raise ReplayError(
            Sentence(
                "the first line must name the columns subject,time,glucose or subject,time,systolic,diastolic,pulse; "
                "it says {said}{apart}",
                said=said.replace("\t", " | ") or Sentence("nothing"),
                apart=apart,
            )
        )
    if pressure:
        return Vital.BLOOD_PRESSURE
    return Vital.GLUCOSE if meter else Vital.CGM


def _unit(vital: Vital, wanted: Unit | None) -> Unit:
    units = _UNITS[vital]
    if wanted is not None and wanted not in units:
        raise ReplayError(
            Sentence(
                "these readings are in {one} or {other}, not in {unit}", one=units[0], other=units[1], unit=wanted
            )
        )
    return wanted or units[0]


@dataclass(slots=True)
class _Rows:
    """Lines become rows. with_offset, without: the first line of which a time has an offset from UTC, or has none.

    whose: how the file calls the column of the subjects. unit: that of the values, as far as it has been said: for
    all of them, or with the first that says one.
    """

    header: Sequence[str]
    whose: str
    vital: Vital
    zone: ZoneInfo
    unit: Unit | None
    with_offset: int = 0
    without: int = 0
    bad: list[BadRow] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)
    serials: list[int] = field(default_factory=list)
    meals: dict[str, list[int]] = field(default_factory=dict)
    columns: dict[str, int] = field(init=False)
    more: bool = field(init=False)

    def __post_init__(self) -> None:
        used = ("subject", "time", *self._numbers(), *_OPTIONAL)
        self.columns = {name: self.header.index(name) for name in used if name in self.header}
        self.more = any(name in self.columns for name in _OPTIONAL)

    def _numbers(self) -> tuple[str, ...]:
        if self.vital is Vital.BLOOD_PRESSURE:
            whole = {"systolic", "diastolic"} <= set(self.header)
            return (*(("systolic", "diastolic") if whole else ("pressure",)), "pulse")
        return "glucose", "ketone"

    def all(self, lines: Iterable[tuple[int, list[str] | csv.Error]]) -> Iterator[tuple[str, Row]]:
        """(subject, row) of every reading of every good line."""
        for line, cells in lines:
            try:
                yield from self._rows(line, cells)
            except ValueError as error:
                self.bad.append(BadRow(line, error.args[0]))

    def _rows(self, line: int, cells: list[str] | csv.Error) -> list[tuple[str, Row]]:
        if isinstance(cells, csv.Error):
            said = Sentence("no line of a CSV file: a quotation mark was left open, or a cell is far too long")
            raise ValueError(said)  # noqa: TRY004  it is the content that is wrong
        if len(cells) != len(self.header):
            counts = {"count": len(cells), "columns": len(self.header)}
            raise ValueError(Sentence("{count} cells where the first line has {columns}", **counts))
        columns = self.columns
        subject = cells[columns["subject"]].strip()
        if not subject:
            raise ValueError(Sentence("no {name}", name=self.whose))
        found = self._sent(cells)
        day, received, meal, named = (self._optional(cells, each) for each in _OPTIONAL) if self.more else [""] * 4
        more = cell.flags(named)
        context = {"meal": self._meal(meal, line)} if meal else NO_CONTEXT
        taken_at = self._moment(f"{day} {cells[columns['time']].strip()}".strip(), line)
        received_at = self._moment(received, line) if received else taken_at
        if any(flags | more >= BEYOND_RANGE for flags, _, _ in found):
            raise ValueError(Sentence(CONTRADICTION))
        return [
            (subject, Row(line, taken_at, received_at, sent, flags | more, context, ketone))
            for flags, sent, ketone in found
        ]

    def _optional(self, cells: Sequence[str], name: str) -> str:
        index = self.columns.get(name)
        return "" if index is None else cells[index].strip()

    def _meal(self, text: str, line: int) -> str:
        meal = cell.meal(text)
        if meal not in cell.MEALS:
            self.meals.setdefault(text, []).append(line)
        return meal

    def _moment(self, text: str, line: int) -> datetime:
        try:
            moment = cell.moment(text.strip())
            if cell.is_serial(text.strip()) and line not in self.serials[-1:]:
                self.serials.append(line)
            if moment.tzinfo is not None:
                known = moment.astimezone(UTC)
                self.with_offset = self.with_offset or line
                return known
            self.without = self.without or line
            local = moment.replace(tzinfo=self.zone)
            if local.utcoffset() != local.replace(fold=1).utcoffset() and line not in self.doubtful[-1:]:
                self.doubtful.append(line)
            return local.astimezone(UTC)
        except (ValueError, OverflowError):
            said = Sentence("{text!r} is no time such as 2026-11-21 08:05:00", text=text.strip())
            raise ValueError(said) from None

    def _sent(self, cells: Sequence[str]) -> list[tuple[frozenset[Flag], tuple[float | None, ...], bool]]:
        """(flags, numbers, whether it is a ketone) of each reading of a line."""
        if self.vital is not Vital.BLOOD_PRESSURE:
            glucose, ketone = cells[self.columns["glucose"]].strip(), self._optional(cells, "ketone")
            glucose = self._in_unit("glucose", glucose)
            unit = self.unit or _unit(self.vital, None)
            found = [(*cell.measured("glucose", glucose, unit), False)] if glucose or not ketone else []
            if not ketone:
                return found
            ketone, said = cell.split_unit(ketone)
            if said not in {None, Unit.MMOL_L}:
                raise ValueError(
                    Sentence("{name} is in {said}, not in {unit}", name=Sentence("ketone"), said=said, unit="mmol/L")
                )
            return [*found, (*cell.measured("ketone", ketone, Unit.MMOL_L), True)]
        if "pressure" in self.columns:
            written = cell.pressures(self._in_unit("pressure", cells[self.columns["pressure"]]))
        else:
            written = cells[self.columns["systolic"]], cells[self.columns["diastolic"]]
        systolic, diastolic = (
            cell.number(name, self._in_unit(name, text.strip()))
            for name, text in zip(("systolic", "diastolic"), written, strict=True)
        )
        pulse = self._optional(cells, "pulse")
        sent = (systolic, diastolic, None, cell.number("pulse", cell.split_unit(pulse)[0]) if pulse else None)
        assert len(sent) == len(COMPONENTS[self.vital])  # noqa: S101  as the vital is made
        return [(cell.NO_FLAGS, sent, False)]

    def _in_unit(self, name: str, text: str) -> str:
        """A value without its unit, which is that of the file."""
        value, said = cell.split_unit(text)
        if said is not None and self.unit is None and said in _UNITS[self.vital]:
            self.unit = said
        if said not in {None, self.unit}:
            raise ValueError(
                Sentence("{name} is in {said}, not in {unit}", name=Sentence(name), said=said, unit=self.unit)
            )
        return value

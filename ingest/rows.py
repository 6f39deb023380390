"""How a reading lies in the journal's table: its columns, there and back, and what makes two rows the same.

Pure. `COLUMNS` is the order of every row here; in a row that was read, the number of its revision follows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import numpy as np

from ingest.reading import NO_CONTEXT, Flag, Reading, TimeBasis, from_us, to_us
from ingest.series import GlucoseSeries
from ingest.vital import COMPONENTS, Unit, Vital, family

MOST_COMPONENTS: Final = 4
COLUMNS: Final = (
    "series, taken_us, device, n, v0, v1, v2, v3, unit, s0, s1, s2, s3, basis, offset_us, claim_us, claim_zone_s, "
    "sequence, flags, context, received_us, raw"
)
BASIS, CLAIM, CLAIM_ZONE, SEQUENCE, FLAGS, RECEIVED, REV = 13, 15, 16, 17, 18, 20, 22

_US: Final = timedelta(microseconds=1)
# Tables, because calling an enumeration takes ten times as long.
_VITALS: Final = {str(vital): vital for vital in Vital}
_UNITS: Final = {str(unit): unit for unit in Unit}
_BASES: Final = {str(basis): basis for basis in TimeBasis}
_ALL_MISSING: Final = (None,) * MOST_COMPONENTS
_MISSING: Final = [_ALL_MISSING[width:] for width in range(MOST_COMPONENTS + 1)]
# Claims have no NULL in their key, or two absent sequences would count as different.
_NONE: Final = -(2**62)
_MMOL: Final = frozenset({Unit.MMOL_L, Unit.MOL_L})
_DISPLAYED: Final = frozenset({Unit.MG_DL, Unit.MMOL_L})

Row = tuple[Any, ...]


def _wall(moment: datetime | None) -> tuple[int | None, int | None]:
    """The wall clock of a device time as if it were UTC (us), and its zone's offset (s) if it has one."""
    if moment is None:
        return None, None
    offset = moment.utcoffset()
    if offset is None:
        return to_us(moment.replace(tzinfo=UTC)), None
    seconds = offset.days * 86_400 + offset.seconds
    return to_us(moment) + seconds * 1_000_000 + offset.microseconds, seconds


def to_row(reading: Reading, series: int, device: int) -> Row:
    """The row of a reading, in the order of COLUMNS, under the given numbers of its series and its device."""
    values, sent = reading.values, reading.sent
    missing = _MISSING[len(values)]
    if sent == values:
        sent = _ALL_MISSING[: len(values)]
    offset, flags, context = reading.clock_offset, reading.flags, reading.context
    claim_us, claim_zone_s = _wall(reading.device_time)
    return (
        series, to_us(reading.taken_at), device, 0, *values, *missing, str(reading.unit), *sent, *missing,
        str(reading.time_basis), None if offset is None else offset // _US, claim_us, claim_zone_s, reading.sequence,
        " ".join(sorted(flags)) if flags else None,
        json.dumps(dict(context)) if context else None,
        to_us(reading.received_at), reading.raw or None,
    )  # fmt: skip


def from_row(row: Row) -> Reading:
    """The reading of a row of COLUMNS and its revision, followed by the names of patient, vital and device."""
    (_, taken, _, twin, v0, v1, v2, v3, unit, s0, s1, s2, s3, basis, offset, claim, zone, sequence, flags, context,
     received, raw, rev, patient, vital_name, device) = row  # fmt: skip
    vital = _VITALS[vital_name]
    width = len(COMPONENTS[vital])
    values, sent = (v0, v1, v2, v3)[:width], (s0, s1, s2, s3)[:width]
    return Reading(
        patient=patient,
        device=device,
        vital=vital,
        values=values,
        sent=values if all(s is None for s in sent) else sent,
        unit=_UNITS[unit],
        taken_at=from_us(taken),
        time_basis=_BASES[basis],
        received_at=from_us(received),
        device_time=_claim_time(claim, zone),
        sequence=sequence,
        clock_offset=None if offset is None else timedelta(microseconds=offset),
        flags=frozenset(Flag(flag) for flag in flags.split()) if flags else frozenset(),
        context=json.loads(context) if context else NO_CONTEXT,
        raw=raw or b"",
        twin=twin,
        rev=rev,
    )


def to_glucose(rows: Iterable[Row]) -> GlucoseSeries:
    """The series of rows (taken_us, value sent, unit, flags, device) in time order; of one moment the first row.

    A row that has neither a number nor HI or LO is left out.
    """
    taken: list[int] = []
    shown: list[float] = []
    mmol: list[bool] = []
    devices: list[str] = []
    for taken_us, sent, unit, flags, device in rows:
        if sent is not None and unit not in _DISPLAYED:
            sent, _ = family(sent, Unit(unit))
        value = _word(flags) if sent is None else sent
        if value is None or (taken and taken[-1] == taken_us):
            continue
        taken.append(taken_us)
        shown.append(value)
        mmol.append(unit in _MMOL)
        devices.append(device)
    return GlucoseSeries(
        taken_us=np.array(taken, dtype=np.int64),
        shown=np.array(shown, dtype=np.float64),
        mmol=np.array(mmol, dtype=np.bool_),
        devices=tuple(devices),
    )


def _word(flags: str | None) -> float | None:
    if flags is None:
        return None
    said = flags.split()
    if Flag.BELOW_RANGE in said:
        return -math.inf
    return math.inf if Flag.ABOVE_RANGE in said else None


def _claim_time(claim_us: int | None, zone_s: int | None) -> datetime | None:
    if claim_us is None:
        return None
    wall = from_us(claim_us).replace(tzinfo=None)
    if zone_s is None:
        return wall
    return wall.replace(tzinfo=timezone(timedelta(seconds=zone_s)))


def identity(row: Row) -> tuple[Any, ...]:
    """(sequence, claim, claim's zone); device and vital are in the key already."""
    return row[SEQUENCE], row[CLAIM], row[CLAIM_ZONE]


def is_anonymous(row: Row) -> bool:
    """Whether the device gave neither number nor time: then nothing tells a repetition from a new reading."""
    return row[SEQUENCE] is None and row[CLAIM] is None


def same_value(known: Row, row: Row) -> bool:
    """Whether both rows hold the same value as sent."""
    return known[8:13] == row[8:13] and known[4:8] == row[4:8] and _said_flags(known) == _said_flags(row)


def revised(known: Row, row: Row) -> Row:
    """The row of a known record with what is said of it now: it keeps its place and the way its moment was found."""
    flags = set((row[FLAGS] or "").split()) - {Flag.TIME_FAULT}
    flags |= set((known[FLAGS] or "").split()) & {Flag.TIME_FAULT}
    now_said = " ".join(sorted(flags)) or None
    return (*known[:4], *row[4:BASIS], *known[BASIS:FLAGS], now_said, *row[FLAGS + 1 : REV], known[REV] + 1)


def _said_flags(row: Row) -> set[str]:
    """The flags but for those that admission adds: the same record can fit the clock of one session only."""
    return set((row[FLAGS] or "").split()) - {Flag.TIME_FAULT, Flag.MEAL_UNKNOWN}


def claim_key(vital: str, row: Row) -> tuple[Any, ...]:
    """The key of a reading of a vital in `claims`: device, vital and identity."""
    absent = [_NONE if value is None else value for value in identity(row)]
    return (row[2], str(vital), *absent)

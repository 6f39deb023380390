"""A reading as one line of InfluxDB line protocol, and the names a query needs to find it again.

The measurement is the vital, the tags are the device slot and the patient's pseudonym, the time is an integer of
microseconds, and every measured number is a float field whatever the driver returned: InfluxDB refuses a point whose
field changes its type. The same reading gives the same bytes, so sending it again changes nothing.
Syntax: docs.influxdata.com, InfluxDB v2, "Line protocol"; it is the same in 1.x and 3.x.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from ingest.reading import Reading, to_us
from ingest.vital import COMPONENTS

# A tag cannot carry these: a backslash swallows the separator after it, a newline ends the line, and half a
# surrogate pair has no UTF-8. The percent sign is written so too, which keeps two names from becoming one.
_UNFIT_FOR_TAG: Final = re.compile(r"[\x00-\x1f\x7f\\%\ud800-\udfff]")
_SEPARATOR: Final = re.compile(r"([,= ])")
_QUOTED: Final = re.compile(r'(["\\])')
_REMEMBERED: Final = 50_000  # names, as they have to be written
_NAMES: Final = {str(vital): [component.name for component in components] for vital, components in COMPONENTS.items()}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Point(NamedTuple):
    """What of a reading becomes a line: the journal's own columns, for there is one of each reading.

    Times are microseconds since 1970, UTC. v0 to v3: the components in canonical units; s0 to s3: as sent. flags:
    joined by blanks in alphabetical order, None when there are none.
    """

    seq: int
    vital: str
    patient: str
    device: str
    taken_us: int
    twin: int
    rev: int
    v0: float | None
    v1: float | None
    v2: float | None
    v3: float | None
    s0: float | None
    s1: float | None
    s2: float | None
    s3: float | None
    unit: str
    time_basis: str
    received_us: int
    flags: str | None


def point(reading: Reading, seq: int = 0) -> Point:
    """The point of a reading."""
    missing = [None] * (4 - len(reading.values))
    values, sent = (
        [None if number is None else float(number) for number in numbers]
        for numbers in (reading.values, reading.sent)
    )
    return Point._make(
        (seq, reading.vital, reading.patient, reading.device, to_us(reading.taken_at), reading.twin, reading.rev,
         *values, *missing, *sent, *missing, reading.unit, reading.time_basis, to_us(reading.received_at),
         " ".join(sorted(reading.flags)) or None)
    )  # fmt: skip


def encode(point: Point, patient: str, device: str) -> bytes:
    """One line without a newline, time in microseconds (write it with precision "us").

    patient: pseudonym. device: slot, such as "cgm-0"; devices worn at the same time need different slots, for
    InfluxDB knows a point by vital, tags and time alone; where one device took several readings at the same moment,
    all but the first carry the tag "twin", and a revision is a point of its own with the tag "rev" (2, 3, ...), for
    what is written over a point need not win in InfluxDB 3. Fields: each component in its canonical unit
    ("glucose"), as sent ("sent_glucose", with "unit"), "time_basis", "received_us", "serial" (the device's own id)
    and, where there are any, "flags" joined by commas. A reading without a number keeps the rest.
    """
    (_, vital, _, serial, taken_us, twin, rev, v0, v1, v2, v3, s0, s1, s2, s3, unit, basis, received_us,
     flags) = point  # fmt: skip
    names = _NAMES[vital]
    if len(names) == 1:  # nearly always
        (name,) = names
        numbers = ("" if v0 is None else f"{name}={v0!r},") + ("" if s0 is None else f"sent_{name}={s0!r},")
    else:
        fields = [*zip(names, (v0, v1, v2, v3), strict=False)]
        fields += zip([f"sent_{name}" for name in names], (s0, s1, s2, s3), strict=False)
        numbers = "".join([f"{name}={number!r}," for name, number in fields if number is not None])
    more = (f",rev={rev}" if rev > 1 else "") + (f",twin={twin}" if twin else "")
    said = f',flags="{flags.replace(" ", ",")}"' if flags else ""
    return (
        f"{vital},device={_tag_value(device)},patient={_tag_value(patient)}{more} "
        f'{numbers}unit="{unit}",time_basis="{basis}",received_us={received_us}i,serial="{_text(serial)}"{said} '
        f"{taken_us}"
    ).encode()


def tag(name: str) -> str:
    """The name as InfluxDB stores it in a tag: what a tag cannot carry is percent-encoded."""
    return _UNFIT_FOR_TAG.sub(lambda found: f"%{ord(found[0]):02X}", name)


@lru_cache(_REMEMBERED)
def _tag_value(name: str) -> str:
    return _SEPARATOR.sub(r"\\\1", tag(name))


@lru_cache(_REMEMBERED)
def _text(free: str) -> str:
    return _QUOTED.sub(r"\\\1", _CONTROL.sub(" ", free))

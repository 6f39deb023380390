"""A reading as one line of InfluxDB line protocol, and the names a query needs to find it again.

The measurement is the vital, the tags are the device slot and the patient's pseudonym, the time is an integer of
microseconds, and every measured number is a float field whatever the driver returned: InfluxDB refuses a point whose
field changes its type. The same reading gives the same bytes, so sending it again changes nothing.
Syntax: docs.influxdata.com, InfluxDB v2, "Line protocol"; it is the same in 1.x and 3.x.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ingest.reading import Reading, to_us
from ingest.vital import COMPONENTS

# A tag cannot carry these: a backslash swallows the separator after it, a newline ends the line, and half a
# surrogate pair has no UTF-8. The percent sign is written so too, which keeps two names from becoming one.
_UNFIT_FOR_TAG: Final = re.compile(r"[\x00-\x1f\x7f\\%\ud800-\udfff]")
_SEPARATOR: Final = re.compile(r"([,= ])")
_QUOTED: Final = re.compile(r'(["\\])')
_NAMES: Final = 50_000  # that are remembered as they have to be written
_FIELDS: Final = {
    str(vital): [f"{prefix}{component.name}" for prefix in ("", "sent_") for component in components]
    for vital, components in COMPONENTS.items()
}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Point(NamedTuple):
    """What of a reading becomes a line; from the journal's own columns, for there is one of each reading.

    values and sent: one number per component. taken_us, received_us: microseconds since 1970, UTC. flags: joined by
    blanks in alphabetical order, None when there are none. patient and device are the house's own names.
    """

    vital: str
    patient: str
    device: str
    taken_us: int
    values: Sequence[float | None]
    sent: Sequence[float | None]
    unit: str
    time_basis: str
    received_us: int
    flags: str | None
    twin: int
    rev: int


def point(reading: Reading) -> Point:
    """The point of a reading."""
    return Point(
        vital=reading.vital,
        patient=reading.patient,
        device=reading.device,
        taken_us=to_us(reading.taken_at),
        values=reading.values,
        sent=reading.sent,
        unit=reading.unit,
        time_basis=reading.time_basis,
        received_us=to_us(reading.received_at),
        flags=" ".join(sorted(reading.flags)) or None,
        twin=reading.twin,
        rev=reading.rev,
    )


def encode(point: Point, patient: str, device: str) -> bytes:
    """One line without a newline, time in microseconds (write it with precision "us").

    patient: pseudonym. device: slot, such as "cgm-0"; devices worn at the same time need different slots, for
    InfluxDB knows a point by vital, tags and time alone; where one device took several readings at the same moment,
    all but the first carry the tag "twin", and a revision is a point of its own with the tag "rev" (2, 3, ...), for
    what is written over a point need not win in InfluxDB 3. Fields: each component in its canonical unit
    ("glucose"), as sent ("sent_glucose", with "unit"), "time_basis", "received_us", "serial" (the device's own id)
    and, where there are any, "flags" joined by commas. A reading without a number keeps the rest.
    """
    vital, _, serial, taken_us, values, sent, unit, basis, received_us, flags, twin, rev = point
    revision = f",rev={rev}" if rev > 1 else ""
    nth = f",twin={twin}" if twin else ""
    fields = "".join(
        [
            f"{name}={float(number)!r},"
            for name, number in zip(_FIELDS[vital], (*values, *sent), strict=True)
            if number is not None
        ]
    )
    said = f',flags="{flags.replace(" ", ",")}"' if flags else ""
    return (
        f"{vital},device={_tag_value(device)},patient={_tag_value(patient)}{revision}{nth} "
        f'{fields}unit="{unit}",time_basis="{basis}",received_us={received_us}i,serial="{_text(serial)}"{said} '
        f"{taken_us}"
    ).encode()


def tag(name: str) -> str:
    """The name as InfluxDB stores it in a tag: what a tag cannot carry is percent-encoded."""
    return _UNFIT_FOR_TAG.sub(lambda found: f"%{ord(found[0]):02X}", name)


@lru_cache(_NAMES)
def _tag_value(name: str) -> str:
    return _SEPARATOR.sub(r"\\\1", tag(name))


@lru_cache(_NAMES)
def _text(free: str) -> str:
    return _QUOTED.sub(r"\\\1", _CONTROL.sub(" ", free))

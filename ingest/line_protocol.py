"""A reading as one line of InfluxDB line protocol, and the names a query needs to find it again.

The measurement is the vital, the tags are the device slot and the patient's pseudonym, the time is an integer of
microseconds, and every measured number is a float field whatever the driver returned: InfluxDB refuses a point whose
field changes its type. The same reading gives the same bytes, so sending it again changes nothing.
Syntax: docs.influxdata.com, InfluxDB v2, "Line protocol"; it is the same in 1.x and 3.x.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ingest.reading import Reading, to_us
from ingest.vital import COMPONENTS

# A tag cannot carry these: a backslash swallows the separator after it, a newline ends the line, and half a
# surrogate pair has no UTF-8. The percent sign is written so too, which keeps two names from becoming one.
_UNFIT_FOR_TAG: Final = re.compile(r"[\x00-\x1f\x7f\\%\ud800-\udfff]")
_SEPARATOR: Final = re.compile(r"([,= ])")
_QUOTED: Final = re.compile(r'(["\\])')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def encode(reading: Reading, patient: str, device: str) -> bytes:
    """One line without a newline, time in microseconds (write it with precision "us").

    patient: pseudonym. device: slot, such as "cgm-0"; devices worn at the same time need different slots, for
    InfluxDB knows a point by vital, tags and time alone; where one device took several readings at the same moment,
    all but the first carry the tag "twin", and a revision is a point of its own with the tag "rev" (2, 3, ...), for
    what is written over a point need not win in InfluxDB 3. Fields: each component in its canonical unit
    ("glucose"), as sent ("sent_glucose", with "unit"), "time_basis", "received_us", "serial" (the device's own id)
    and, where there are any, "flags" joined by commas. A reading without a number keeps the rest.
    """
    tags = f"device={_separable(tag(device))},patient={_separable(tag(patient))}"
    if reading.rev > 1:
        tags += f",rev={reading.rev}"
    if reading.twin:
        tags += f",twin={reading.twin}"
    return f"{reading.vital},{tags} {','.join(_fields(reading))} {to_us(reading.taken_at)}".encode()


def tag(name: str) -> str:
    """The name as InfluxDB stores it in a tag: what a tag cannot carry is percent-encoded."""
    return _UNFIT_FOR_TAG.sub(lambda found: f"%{ord(found[0]):02X}", name)


def _fields(reading: Reading) -> Iterator[str]:
    for prefix, numbers in (("", reading.values), ("sent_", reading.sent)):
        for component, number in zip(COMPONENTS[reading.vital], numbers, strict=True):
            if number is not None:
                yield f"{prefix}{component.name}={float(number)!r}"
    yield f'unit="{reading.unit}"'
    yield f'time_basis="{reading.time_basis}"'
    yield f"received_us={to_us(reading.received_at)}i"
    yield f'serial="{_text(reading.device)}"'
    if reading.flags:
        yield f'flags="{",".join(sorted(reading.flags))}"'


def _separable(name: str) -> str:
    return _SEPARATOR.sub(r"\\\1", name)


def _text(free: str) -> str:
    return _QUOTED.sub(r"\\\1", _CONTROL.sub(" ", free))

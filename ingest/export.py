"""Readings as rows of a table and as JSON objects, every number with its unit and every time with its zone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from ingest.reading import Reading
from ingest.vital import COMPONENTS, Unit

COLUMNS: Final = (
    "patient", "patient_zone", "device", "vital", "component", "value", "unit", "sent", "sent_unit", "revision",
    "taken_at", "time_basis", "device_time", "received_at", "clock_offset_s", "sequence", "twin", "flags", "raw",
)  # fmt: skip


def rows(reading: Reading, zone: str) -> Iterator[tuple[Any, ...]]:
    """One row of COLUMNS for each component that has a number, or one without where none has.

    zone: IANA name of where the patient lives, "" when it is not known. taken_at and received_at are UTC; device_time
    is the device's own clock, with its offset when the device knows one, else in the patient's local time. A
    display's HI or LO is a row without a number, with a flag.
    """
    common = _common(reading, zone)
    for number in _numbers(reading) or [dict.fromkeys(("component", "value", "unit", "sent", "sent_unit"))]:
        cells = {**common, **number, "flags": " ".join(sorted(reading.flags)), "raw": reading.raw.hex()}
        yield tuple(cells[column] for column in COLUMNS)


def document(reading: Reading, zone: str) -> dict[str, Any]:
    """One reading as a JSON object, see `rows`; `numbers` has one entry for each component that has a number."""
    return {
        **_common(reading, zone),
        "numbers": _numbers(reading),
        "flags": sorted(reading.flags),
        "context": dict(reading.context),
        "raw": reading.raw.hex(),
    }


def _common(reading: Reading, zone: str) -> dict[str, Any]:
    offset = reading.clock_offset
    return {
        "patient": reading.patient,
        "patient_zone": zone,
        "device": reading.device,
        "vital": reading.vital.value,
        "revision": reading.rev,
        "taken_at": _iso(reading.taken_at),
        "time_basis": reading.time_basis.value,
        "device_time": _iso(reading.device_time),
        "received_at": _iso(reading.received_at),
        "clock_offset_s": None if offset is None else offset.total_seconds(),
        "sequence": reading.sequence,
        "twin": reading.twin,
    }


def _numbers(reading: Reading) -> list[dict[str, Any]]:
    return [
        {
            "component": component.name,
            "value": value,
            "unit": component.unit.value,
            "sent": sent,
            # A pulse is per minute whatever the unit of the pressures.
            "sent_unit": (component.unit if component.unit is Unit.PER_MIN else reading.unit).value,
        }
        for component, value, sent in zip(COMPONENTS[reading.vital], reading.values, reading.sent, strict=True)
        if value is not None
    ]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()

"""Encoders of the Bluetooth SIG's health characteristics, written from the specification.

They share no code with the decoders of `ingest`, so that a misread specification cannot round-trip. Records hold what
a device means as plain values; every function returns the attribute value as it travels (little-endian).

Numbers are `Decimal`, because an SFLOAT is one: a mantissa times a power of ten. `Decimal("1.90")` travels as 190e-2
and `Decimal("1.9")` as 19e-1. `Decimal("NaN")` is "not a number", `Decimal("sNaN")` "not at this resolution", and the
two infinities are what a display shows as HI and LO. A value that SFLOAT cannot hold exactly raises ValueError.

Sources: GATT Specification Supplement; Glucose Service 1.0.1, Blood Pressure Service 1.1.1, Continuous Glucose
Monitoring Service 1.0.2; IEEE 11073-20601 (SFLOAT).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from struct import pack
from typing import Final, Literal, TypeAlias

# A device's clock: naive wearer's time, or year, month, day, hours, minutes, seconds where 0 is "not known".
DateTime: TypeAlias = datetime | tuple[int, int, int, int, int, int]

_SPECIAL: Final = {"NaN": 0x07FF, "sNaN": 0x0800, "Infinity": 0x07FE, "-Infinity": 0x0802}
_RESERVED: Final = {0x07FE, 0x07FF, 0x0800, 0x0801, 0x0802}


@dataclass(frozen=True, slots=True, kw_only=True)
class GlucoseContext:
    """Glucose Measurement Context (2A34), without its sequence number. None = field absent.

    carbohydrate in kg (kind: 1 breakfast ... 7 brunch), medication in kg or L, exercise in seconds and per cent.
    """

    meal: int | None = None
    carbohydrate: tuple[int, Decimal] | None = None
    tester_health: tuple[int, int] | None = None
    exercise: tuple[int, int] | None = None
    medication: tuple[int, Decimal] | None = None
    medication_unit: Literal["kg", "L"] = "kg"
    hba1c_pct: Decimal | None = None
    extended_flags: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GlucoseRecord:
    """One stored value of a meter (2A18), and its context if it has one. None = field absent.

    base_time on the meter's clock; the wearer's time is base_time + time_offset_min. concentration in `unit`.
    sample: type (1 capillary whole blood ... 10 control solution) and location (1 finger ... 15 not available).
    status: 16 bits of the sensor status annunciation.
    """

    sequence: int
    base_time: DateTime
    concentration: Decimal | None
    unit: Literal["kg/L", "mol/L"] = "kg/L"
    time_offset_min: int | None = None
    sample: tuple[int, int] = (1, 1)
    status: int | None = None
    context: GlucoseContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureRecord:
    """One value of a cuff (2A35; 2A36 with the cuff pressure as systolic). None = field absent; unknown = NaN."""

    systolic: Decimal
    diastolic: Decimal
    mean: Decimal
    unit: Literal["mmHg", "kPa"] = "mmHg"
    time: DateTime | None = None
    pulse: Decimal | None = None
    user: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CgmRecord:
    """One value of a sensor (2AA7): glucose in mg/dL, offset in minutes from the start of its session. None = absent.

    status, calibration, warning: the three octets of the annunciation. trend in mg/dL/min, quality in per cent.
    """

    offset_min: int
    glucose: Decimal
    status: int | None = None
    calibration: int | None = None
    warning: int | None = None
    trend: Decimal | None = None
    quality_pct: Decimal | None = None


def sfloat(value: Decimal) -> bytes:
    """IEEE 11073-20601 SFLOAT: exponent in the high 4 bits, mantissa in the low 12, both two's complement."""
    if not value.is_finite():
        return pack("<H", _SPECIAL[str(value)])
    sign, digits, power = value.as_tuple()
    exponent = int(power)
    mantissa = int("".join(map(str, digits))) * (-1 if sign else 1)
    while (abs(mantissa) > 2047 or exponent < -8) and mantissa % 10 == 0 and exponent < 7:
        mantissa, exponent = mantissa // 10, exponent + 1
    while exponent > 7 and abs(mantissa) < 205:
        mantissa, exponent = mantissa * 10, exponent - 1
    word = (exponent & 0xF) << 12 | mantissa & 0xFFF
    if not (-2048 <= mantissa <= 2047 and -8 <= exponent <= 7) or word in _RESERVED:
        raise ValueError(f"an SFLOAT cannot hold {value} exactly")
    return pack("<H", word)


def date_time(moment: DateTime) -> bytes:
    """Date Time (2A08), 7 octets."""
    if isinstance(moment, datetime):
        moment = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    return pack("<H5B", *moment)


def current_time(moment: datetime) -> bytes:
    """Current Time (2A2B), 10 octets: Date Time, weekday (Monday 1), 1/256 s, reason of adjustment (none)."""
    return date_time(moment) + bytes((moment.isoweekday(), moment.microsecond * 256 // 1_000_000, 0))


def glucose_measurement(record: GlucoseRecord) -> bytes:
    """Glucose Measurement (2A18)."""
    flags, body = 0, b""
    if record.time_offset_min is not None:
        flags |= 0x01
        body += pack("<h", record.time_offset_min)
    if record.concentration is not None:
        flags |= 0x02 | (0x04 if record.unit == "mol/L" else 0)
        body += sfloat(record.concentration) + _nibbles(*record.sample)
    if record.status is not None:
        flags |= 0x08
        body += pack("<H", record.status)
    if record.context is not None:
        flags |= 0x10
    return pack("<BH", flags, record.sequence) + date_time(record.base_time) + body


def glucose_context(sequence: int, context: GlucoseContext) -> bytes:
    """Glucose Measurement Context (2A34) of the record with this sequence number."""
    flags, body = 0, b""
    if context.extended_flags is not None:
        flags |= 0x80
        body += bytes((context.extended_flags,))
    if context.carbohydrate is not None:
        flags |= 0x01
        body += bytes((context.carbohydrate[0],)) + sfloat(context.carbohydrate[1])
    if context.meal is not None:
        flags |= 0x02
        body += bytes((context.meal,))
    if context.tester_health is not None:
        flags |= 0x04
        body += _nibbles(*context.tester_health)
    if context.exercise is not None:
        flags |= 0x08
        body += pack("<HB", *context.exercise)
    if context.medication is not None:
        flags |= 0x10 | (0x20 if context.medication_unit == "L" else 0)
        body += bytes((context.medication[0],)) + sfloat(context.medication[1])
    if context.hba1c_pct is not None:
        flags |= 0x40
        body += sfloat(context.hba1c_pct)
    return pack("<BH", flags, sequence) + body


def blood_pressure(record: PressureRecord) -> bytes:
    """Blood Pressure Measurement (2A35) and Intermediate Cuff Pressure (2A36)."""
    flags = 0x01 if record.unit == "kPa" else 0
    body = sfloat(record.systolic) + sfloat(record.diastolic) + sfloat(record.mean)
    if record.time is not None:
        flags |= 0x02
        body += date_time(record.time)
    if record.pulse is not None:
        flags |= 0x04
        body += sfloat(record.pulse)
    if record.user is not None:
        flags |= 0x08
        body += bytes((record.user,))
    if record.status is not None:
        flags |= 0x10
        body += pack("<H", record.status)
    return bytes((flags,)) + body


def cgm_measurement(record: CgmRecord, *, crc: bool) -> bytes:
    """One CGM Measurement (2AA7). Its first octet counts every octet, itself and the E2E-CRC included."""
    flags, body = 0, b""
    for bit, octet in ((0x80, record.status), (0x40, record.calibration), (0x20, record.warning)):
        if octet is not None:
            flags |= bit
            body += bytes((octet,))
    for bit, value in ((0x01, record.trend), (0x02, record.quality_pct)):
        if value is not None:
            flags |= bit
            body += sfloat(value)
    size = 6 + len(body) + (2 if crc else 0)
    message = bytes((size, flags)) + sfloat(record.glucose) + pack("<H", record.offset_min) + body
    return with_crc(message) if crc else message


def cgm_feature(features: int, sample: tuple[int, int]) -> bytes:
    """CGM Feature (2AA8). Its CRC field is always there: 0xFFFF unless feature bit 12 (E2E-CRC) is set."""
    body = features.to_bytes(3, "little") + _nibbles(*sample)
    return with_crc(body) if features & 1 << 12 else body + b"\xff\xff"


def cgm_status(offset_min: int, octets: tuple[int, int, int], *, crc: bool) -> bytes:
    """CGM Status (2AA9): offset from the start of the session, then status, calibration and warning octets."""
    body = pack("<H3B", offset_min, *octets)
    return with_crc(body) if crc else body


def cgm_session_start(start: DateTime, zone_quarters: int, dst: int, *, crc: bool) -> bytes:
    """CGM Session Start Time (2AAA).

    zone_quarters: zone in units of 15 min, -128 unknown. dst: 0, 2, 4 or 8 for 0, 30, 60 or 120 min, 255 unknown.
    """
    body = date_time(start) + pack("<bB", zone_quarters, dst)
    return with_crc(body) if crc else body


def cgm_run_time(hours: int, *, crc: bool) -> bytes:
    """CGM Session Run Time (2AAB), in hours."""
    body = pack("<H", hours)
    return with_crc(body) if crc else body


def record_access_response(op: int, code: int) -> bytes:
    """RACP (2A52): the end of a procedure."""
    return bytes((0x06, 0x00, op, code))


def record_access_count(count: int) -> bytes:
    """RACP (2A52): the number of stored records; none is 0, not an error."""
    return pack("<BBH", 0x05, 0x00, count)


def specific_ops_response(op: int, code: int) -> bytes:
    """CGM Specific Ops Control Point (2AAC): the end of a procedure, without its CRC."""
    return bytes((0x1C, op, code))


def with_crc(message: bytes) -> bytes:
    """Append the E2E-CRC: CRC-16 of polynomial 0x1021 reflected, initial 0xFFFF, least octet first (CGMS 3.11)."""
    crc = 0xFFFF
    for octet in message:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return message + pack("<H", crc)


def _nibbles(low: int, high: int) -> bytes:
    return bytes((high << 4 | low,))

"""Decoders of the Bluetooth SIG characteristics that health devices send: octets in, plain facts out.

Pure functions. Each takes the whole attribute value as it stood in the ATT PDU (little-endian fields) and gives
frozen records, or raises DecodeError: "too_short" when octets are missing, "invalid" when this is no such message.
Nothing is judged here: 30 kg/L of glucose decodes; admission refuses it. Nothing is converted either.

Numbers are SFLOATs (IEEE 11073-20601): a float, or a Special, which is no number. A date is a datetime, or its six
numbers when one of them is unknown (0) or the date does not exist; it has no zone unless the layout carries one.
`describe` gives the same facts as JSON-ready dictionaries, absent fields left out.

Octets after the last field that the flags announce are refused, not skipped: flags and layout then contradict each
other, and the meters known to do so (Beurer BM series: an unannounced user id, pulse and status big-endian) would be
misread. `ingest.quirks` puts right what is known of a device; the bytes are kept for what is not known yet. Reserved
flag bits are ignored.

Sources: Bluetooth SIG GATT Specification Supplement as YAML (bitbucket bluetooth-SIG/public, gss/: date_time,
current_time, glucose_measurement, glucose_measurement_context, glucose_feature, record_access_control_point,
blood_pressure_measurement, intermediate_cuff_pressure, blood_pressure_feature, cgm_measurement, cgm_feature,
cgm_status, cgm_session_start_time, cgm_session_run_time, cgm_specific_ops_control_point); E2E-CRC: Continuous Glucose
Monitoring Service 1.0.2, section 3.11. The order of the CGM annunciation octets (status, calibration, warning) is the
SIG's; Nordic's nRF5 SDK differs. `tests/vectors/ble.json` names the origin of every example.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Final, Literal

from ingest.reading import DecodeError
from ingest.vital import Unit


class Special(StrEnum):
    """SFLOAT values that are not numbers."""

    NAN = "NaN"
    NOT_AT_THIS_RESOLUTION = "NRes"
    POSITIVE_INFINITY = "+INF"
    NEGATIVE_INFINITY = "-INF"
    RESERVED = "RFU"


Number = float | Special
DateTime = datetime | tuple[int, ...]
Crc = Literal["ok", "bad", "none"]

# Special only with exactly these sixteen bits: 0x17FF is the number 20470, and 0xFFFF is -0.1.
_SPECIALS: Final = {
    0x07FF: Special.NAN,
    0x0800: Special.NOT_AT_THIS_RESOLUTION,
    0x07FE: Special.POSITIVE_INFINITY,
    0x0802: Special.NEGATIVE_INFINITY,
    0x0801: Special.RESERVED,
}

# The calendar of the SIG's Date Time begins with the Gregorian reform; 0 means unknown.
_FIRST_YEAR: Final = 1582


@dataclass(frozen=True, slots=True, kw_only=True)
class GlucoseMeasurement:
    """2A18. concentration in `unit` (kg/L or mol/L, never what the display shows); time_offset_min: minutes, as sent.

    type and location: the nibbles of the SIG's sample type and location. status: the 16 annunciation bits.
    """

    flags: int
    sequence: int
    base_time: DateTime
    time_offset_min: int | None = None
    concentration: Number | None = None
    unit: Unit | None = None
    type: int | None = None
    location: int | None = None
    status: int | None = None
    context_follows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GlucoseContext:
    """2A34. carb in kilograms, medication in `medication_unit` (kilogram or litre), exercise_s 65535 = overrun."""

    flags: int
    sequence: int
    extended_flags: int | None = None
    carb_id: int | None = None
    carb: Number | None = None
    meal: int | None = None
    tester: int | None = None
    health: int | None = None
    exercise_s: int | None = None
    exercise_pct: int | None = None
    medication_id: int | None = None
    medication: Number | None = None
    medication_unit: Literal["kg", "L"] | None = None
    hba1c_pct: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """2A51 and 2A49: the numbers of the bits that are set, ascending."""

    bits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BloodPressure:
    """2A35, and 2A36 where `systolic` is the pressure in the cuff. Pressures in `unit`, pulse per minute.

    user_id 255 = unknown. status: the 16 measurement status bits.
    """

    flags: int
    systolic: Number
    diastolic: Number
    map: Number
    unit: Unit
    timestamp: DateTime | None = None
    pulse: Number | None = None
    user_id: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """2A08: the device's clock, without zone."""

    value: DateTime


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTime:
    """2A2B: local time with 1/256 s, Monday = 1, and why it was last adjusted (bits)."""

    value: DateTime
    day_of_week: int
    fractions256: int
    adjust_reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CgmMeasurement:
    """One record of a 2AA7. glucose in mg/dL, trend in mg/dL per minute, time_offset_min since the session start.

    size counts the record's octets, itself included. crc_ok is None when the record carries no E2E-CRC.
    """

    size: int
    flags: int
    glucose: Number
    time_offset_min: int
    status: int | None = None
    cal_temp: int | None = None
    warning: int | None = None
    trend: Number | None = None
    quality_pct: Number | None = None
    crc_ok: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CgmFeature:
    """2AA8: 24 feature bits (12: E2E-CRC supported), sample type and location."""

    features: int
    type: int
    location: int
    crc: Crc


@dataclass(frozen=True, slots=True, kw_only=True)
class CgmStatus:
    """2AA9: minutes since the session start and the three annunciation octets."""

    time_offset_min: int
    status: int
    cal_temp: int
    warning: int
    crc: Crc


@dataclass(frozen=True, slots=True, kw_only=True)
class CgmSessionStart:
    """2AAA: local time, zone (quarters of an hour; -128 unknown), summer time (0, 2, 4, 8 quarters; 255 unknown)."""

    value: DateTime
    tz_quarters: int
    dst: int
    crc: Crc

    @property
    def moment(self) -> datetime | None:
        """The session start: aware when the sensor knows its zone, naive when not, None when the date is unknown."""
        if not isinstance(self.value, datetime):
            return None
        if -48 <= self.tz_quarters <= 56 and self.dst in (0, 2, 4, 8):
            return self.value.replace(tzinfo=timezone(timedelta(minutes=15 * (self.tz_quarters + self.dst))))
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class CgmRunTime:
    """2AAB: hours for which the session can run."""

    hours: int
    crc: Crc


@dataclass(frozen=True, slots=True, kw_only=True)
class CgmOperation:
    """2AAC: one operation of the CGM control point, or its answer (op 28). level in mg/dL, or mg/dL per minute."""

    op: int
    request: int | None = None
    code: int | None = None
    interval_min: int | None = None
    level: Number | None = None
    time_min: int | None = None
    type: int | None = None
    location: int | None = None
    next_min: int | None = None
    record: int | None = None
    status: int | None = None
    crc: Crc


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCount:
    """2A52, answer to "how many": the number of stored records."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResponse:
    """2A52, the end of a procedure: the op code it answers and the response code (1 = success, 6 = no records)."""

    request: int
    code: int


Record = (
    GlucoseMeasurement
    | GlucoseContext
    | Features
    | BloodPressure
    | Clock
    | CurrentTime
    | CgmMeasurement
    | CgmFeature
    | CgmStatus
    | CgmSessionStart
    | CgmRunTime
    | CgmOperation
    | RecordCount
    | RecordResponse
)


def e2e_crc(data: bytes) -> int:
    """E2E-CRC of the octets: polynomial 0x1021, start 0xFFFF, reflected (CRC-16/MCRF4XX); sent least octet first."""
    crc = 0xFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return crc


def sfloat(bits: int) -> Number:
    """The value of sixteen SFLOAT bits: the float nearest to mantissa x 10^exponent, or a Special."""
    special = _SPECIALS.get(bits)
    if special is not None:
        return special
    exponent, mantissa = bits >> 12, bits & 0x0FFF
    if mantissa >= 0x0800:
        mantissa -= 0x1000
    # Both operands are exact, so there is one rounding only: 112 / 10**5 is 0.00112, 112 * 10**-5 is not.
    return float(mantissa * 10**exponent) if exponent < 8 else mantissa / 10 ** (16 - exponent)


class _Octets:
    """A cursor over the octets from `at` up to `end` that says which field it misses."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        return self.end - self.at

    def unsigned(self, size: int, field: str) -> int:
        if self.left < size:
            raise DecodeError("too_short", f"{field} needs {size} octets, {self.left} are left", self.at)
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "little")

    def u8(self, field: str) -> int:
        return self.unsigned(1, field)

    def u16(self, field: str) -> int:
        return self.unsigned(2, field)

    def signed(self, size: int, field: str) -> int:
        value = self.unsigned(size, field)
        return value - (1 << 8 * size) if value >> (8 * size - 1) else value

    def sfloat(self, field: str) -> Number:
        return sfloat(self.u16(field))

    def nibbles(self, field: str) -> tuple[int, int]:
        octet = self.u8(field)
        return octet & 0x0F, octet >> 4

    def date_time(self, field: str) -> DateTime:
        if self.left < 7:
            raise DecodeError("too_short", f"{field} needs 7 octets, {self.left} are left", self.at)
        year, month, day = self.u16(field), self.u8(field), self.u8(field)
        hour, minute, second = self.u8(field), self.u8(field), self.u8(field)
        if year >= _FIRST_YEAR:
            with suppress(ValueError):
                return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  (the layout has no zone)
        return year, month, day, hour, minute, second

    def finish(self) -> None:
        if self.left:
            raise DecodeError("invalid", f"{self.left} octets follow the last announced field", self.at)

    def crc(self, start: int = 0) -> Crc:
        """The optional E2E-CRC at the end, over the octets since `start`."""
        if not self.left:
            return "none"
        expected = e2e_crc(self.data[start : self.at])
        found = self.u16("E2E-CRC")
        self.finish()
        return "ok" if found == expected else "bad"


def glucose_measurement(data: bytes) -> GlucoseMeasurement:
    """Decode 2A18."""
    octets = _Octets(data)
    flags = octets.u8("flags")
    sequence = octets.u16("sequence number")
    base_time = octets.date_time("base time")
    time_offset_min = octets.signed(2, "time offset") if flags & 0x01 else None
    concentration = unit = sample_type = location = None
    if flags & 0x02:
        concentration = octets.sfloat("concentration")
        unit = Unit.MOL_L if flags & 0x04 else Unit.KG_L
        sample_type, location = octets.nibbles("type and sample location")
    status = octets.u16("sensor status") if flags & 0x08 else None
    octets.finish()
    return GlucoseMeasurement(
        flags=flags,
        sequence=sequence,
        base_time=base_time,
        time_offset_min=time_offset_min,
        concentration=concentration,
        unit=unit,
        type=sample_type,
        location=location,
        status=status,
        context_follows=bool(flags & 0x10),
    )


def glucose_context(data: bytes) -> GlucoseContext:
    """Decode 2A34."""
    octets = _Octets(data)
    flags = octets.u8("flags")
    sequence = octets.u16("sequence number")
    extended_flags = octets.u8("extended flags") if flags & 0x80 else None
    carb_id = octets.u8("carbohydrate id") if flags & 0x01 else None
    carb = octets.sfloat("carbohydrate") if flags & 0x01 else None
    meal = octets.u8("meal") if flags & 0x02 else None
    tester, health = octets.nibbles("tester and health") if flags & 0x04 else (None, None)
    exercise_s = octets.u16("exercise duration") if flags & 0x08 else None
    exercise_pct = octets.u8("exercise intensity") if flags & 0x08 else None
    medication_id = octets.u8("medication id") if flags & 0x10 else None
    medication = octets.sfloat("medication") if flags & 0x10 else None
    hba1c_pct = octets.sfloat("HbA1c") if flags & 0x40 else None
    octets.finish()
    return GlucoseContext(
        flags=flags,
        sequence=sequence,
        extended_flags=extended_flags,
        carb_id=carb_id,
        carb=carb,
        meal=meal,
        tester=tester,
        health=health,
        exercise_s=exercise_s,
        exercise_pct=exercise_pct,
        medication_id=medication_id,
        medication=medication,
        medication_unit=None if medication is None else "L" if flags & 0x20 else "kg",
        hba1c_pct=hba1c_pct,
    )


def features(data: bytes) -> Features:
    """Decode 2A51 or 2A49."""
    octets = _Octets(data)
    feature = octets.u16("features")
    octets.finish()
    return Features(bits=tuple(bit for bit in range(16) if feature >> bit & 1))


def blood_pressure(data: bytes) -> BloodPressure:
    """Decode 2A35 or 2A36."""
    octets = _Octets(data)
    flags = octets.u8("flags")
    systolic = octets.sfloat("systolic")
    diastolic = octets.sfloat("diastolic")
    mean = octets.sfloat("mean arterial pressure")
    timestamp = octets.date_time("time stamp") if flags & 0x02 else None
    pulse = octets.sfloat("pulse rate") if flags & 0x04 else None
    user_id = octets.u8("user id") if flags & 0x08 else None
    status = octets.u16("measurement status") if flags & 0x10 else None
    octets.finish()
    return BloodPressure(
        flags=flags,
        systolic=systolic,
        diastolic=diastolic,
        map=mean,
        unit=Unit.KPA if flags & 0x01 else Unit.MMHG,
        timestamp=timestamp,
        pulse=pulse,
        user_id=user_id,
        status=status,
    )


def clock(data: bytes) -> Clock:
    """Decode 2A08."""
    octets = _Octets(data)
    value = octets.date_time("date and time")
    octets.finish()
    return Clock(value=value)


def current_time(data: bytes) -> CurrentTime:
    """Decode 2A2B."""
    octets = _Octets(data)
    value = octets.date_time("date and time")
    day_of_week, fractions256 = octets.u8("day of week"), octets.u8("fractions")
    adjust_reason = octets.u8("adjust reason")
    octets.finish()
    return CurrentTime(value=value, day_of_week=day_of_week, fractions256=fractions256, adjust_reason=adjust_reason)


def cgm_measurements(data: bytes) -> Iterator[CgmMeasurement]:
    """Decode 2AA7 record by record; the records before a broken one are still given before it raises."""
    at = 0
    while at < len(data) or not data:
        record = _cgm_measurement(data, at)
        yield record
        at += record.size


def _cgm_measurement(data: bytes, at: int) -> CgmMeasurement:
    size = _Octets(data, at).u8("record size")
    if size < 6:
        raise DecodeError("invalid", f"a record of {size} octets, the smallest has 6", at)
    if at + size > len(data):
        raise DecodeError("too_short", f"a record of {size} octets, {len(data) - at} are left", at)
    octets = _Octets(data, at + 1, at + size)
    flags = octets.u8("flags")
    glucose = octets.sfloat("glucose")
    time_offset_min = octets.u16("time offset")
    status = octets.u8("status annunciation") if flags & 0x80 else None
    cal_temp = octets.u8("calibration and temperature annunciation") if flags & 0x40 else None
    warning = octets.u8("warning annunciation") if flags & 0x20 else None
    trend = octets.sfloat("trend") if flags & 0x01 else None
    quality_pct = octets.sfloat("quality") if flags & 0x02 else None
    crc = octets.crc(at)
    return CgmMeasurement(
        size=size,
        flags=flags,
        glucose=glucose,
        time_offset_min=time_offset_min,
        status=status,
        cal_temp=cal_temp,
        warning=warning,
        trend=trend,
        quality_pct=quality_pct,
        crc_ok=None if crc == "none" else crc == "ok",
    )


def cgm_feature(data: bytes) -> CgmFeature:
    """Decode 2AA8. Its CRC field always exists and is 0xFFFF when the feature E2E-CRC (bit 12) is not supported."""
    octets = _Octets(data)
    feature = octets.unsigned(3, "features")
    sample_type, location = octets.nibbles("type and sample location")
    crc: Crc = "none"
    if octets.left < 2:
        raise DecodeError("too_short", f"E2E-CRC needs 2 octets, {octets.left} are left", octets.at)
    if feature & 1 << 12:
        crc = octets.crc()
    elif octets.u16("E2E-CRC") != 0xFFFF:
        raise DecodeError("invalid", "E2E-CRC is not supported, so its field must be 0xFFFF", octets.at - 2)
    octets.finish()
    return CgmFeature(features=feature, type=sample_type, location=location, crc=crc)


def cgm_status(data: bytes) -> CgmStatus:
    """Decode 2AA9."""
    octets = _Octets(data)
    time_offset_min = octets.u16("time offset")
    status, cal_temp, warning = octets.u8("status"), octets.u8("calibration and temperature"), octets.u8("warning")
    return CgmStatus(
        time_offset_min=time_offset_min, status=status, cal_temp=cal_temp, warning=warning, crc=octets.crc()
    )


def cgm_session_start(data: bytes) -> CgmSessionStart:
    """Decode 2AAA."""
    octets = _Octets(data)
    value = octets.date_time("session start")
    tz_quarters, dst = octets.signed(1, "time zone"), octets.u8("summer time")
    return CgmSessionStart(value=value, tz_quarters=tz_quarters, dst=dst, crc=octets.crc())


def cgm_run_time(data: bytes) -> CgmRunTime:
    """Decode 2AAB."""
    octets = _Octets(data)
    hours = octets.u16("session run time")
    return CgmRunTime(hours=hours, crc=octets.crc())


_RESPONSE: Final = 0x1C
_SET_INTERVAL: Final = 0x01
_INTERVAL: Final = 0x03
_CALIBRATIONS: Final = frozenset({0x04, 0x06})
_GET_CALIBRATION: Final = 0x05
_LEVELS: Final = frozenset({0x07, 0x09, 0x0A, 0x0C, 0x0D, 0x0F, 0x10, 0x12, 0x13, 0x15, 0x16, 0x18})
_WITHOUT_OPERAND: Final = frozenset({0x02, 0x08, 0x0B, 0x0E, 0x11, 0x14, 0x17, 0x19, 0x1A, 0x1B})


def cgm_operation(data: bytes) -> CgmOperation:
    """Decode 2AAC, what either side writes."""
    octets = _Octets(data)
    op = octets.u8("op code")
    if op in _CALIBRATIONS:
        return _calibration(octets, op)
    if op == _RESPONSE:
        request, code = octets.u8("request op code"), octets.u8("response code")
        return CgmOperation(op=op, request=request, code=code, crc=octets.crc())
    if op in _LEVELS:
        level = octets.sfloat("level")
        return CgmOperation(op=op, level=level, crc=octets.crc())
    if op in (_SET_INTERVAL, _INTERVAL):
        # The Supplement gives the answer sixteen bits and Nordic eight; the length tells, with and without CRC.
        interval = octets.u16("interval") if op == _INTERVAL and octets.left in (2, 4) else octets.u8("interval")
        return CgmOperation(op=op, interval_min=interval, crc=octets.crc())
    if op == _GET_CALIBRATION:
        record = octets.u16("calibration record number")
        return CgmOperation(op=op, record=record, crc=octets.crc())
    if op in _WITHOUT_OPERAND:
        return CgmOperation(op=op, crc=octets.crc())
    raise DecodeError("invalid", f"op code 0x{op:02X} is not one of the CGM control point", 0)


def _calibration(octets: _Octets, op: int) -> CgmOperation:
    level = octets.sfloat("calibration value")
    time_min = octets.u16("calibration time")
    sample_type, location = octets.nibbles("type and sample location")
    next_min = octets.u16("next calibration time")
    record = octets.u16("calibration record number")
    status = octets.u8("calibration status")
    return CgmOperation(
        op=op,
        level=level,
        time_min=time_min,
        type=sample_type,
        location=location,
        next_min=next_min,
        record=record,
        status=status,
        crc=octets.crc(),
    )


_NUMBER_OF_RECORDS: Final = 0x05
_RECORD_RESPONSE: Final = 0x06


def record_access(data: bytes) -> RecordCount | RecordResponse:
    """Decode an answer of 2A52; a request is not an answer."""
    octets = _Octets(data)
    op = octets.u8("op code")
    if op not in (_NUMBER_OF_RECORDS, _RECORD_RESPONSE):
        raise DecodeError("invalid", f"op code {op} is not an answer (5: count, 6: response)", 0)
    operator = octets.u8("operator")
    if operator != 0:
        raise DecodeError("invalid", f"an answer has the null operator, not {operator}", 1)
    answer: RecordCount | RecordResponse
    if op == _NUMBER_OF_RECORDS:
        # Sixteen bits in the Glucose Service; some servers count in thirty-two.
        answer = RecordCount(count=octets.unsigned(4 if octets.left == 4 else 2, "number of records"))
    else:
        request, code = octets.u8("request op code"), octets.u8("response code")
        answer = RecordResponse(request=request, code=code)
    octets.finish()
    return answer


def _alone(decoder: Callable[[bytes], Record]) -> Callable[[bytes], tuple[Record, ...]]:
    return lambda data: (decoder(data),)


CHARACTERISTICS: Final[dict[str, Callable[[bytes], tuple[Record, ...]]]] = {
    "2a08": _alone(clock),
    "2a18": _alone(glucose_measurement),
    "2a2b": _alone(current_time),
    "2a34": _alone(glucose_context),
    "2a35": _alone(blood_pressure),
    "2a36": _alone(blood_pressure),
    "2a49": _alone(features),
    "2a51": _alone(features),
    "2a52": _alone(record_access),
    "2aa7": lambda data: tuple(cgm_measurements(data)),
    "2aa8": _alone(cgm_feature),
    "2aa9": _alone(cgm_status),
    "2aaa": _alone(cgm_session_start),
    "2aab": _alone(cgm_run_time),
    "2aac": _alone(cgm_operation),
}

_BASE_UUID: Final = "-0000-1000-8000-00805f9b34fb"


def describe(
    name: str, data: bytes, *, correct: Callable[[str, bytes], bytes] | None = None
) -> list[dict[str, object]]:
    """The facts in the octets of a characteristic as JSON-ready dictionaries, one per record.

    name: "2a18" in any case, "0x2a18", the full UUID, or "sfloat" (two octets), or "crc" (the E2E-CRC of any octets).
    correct: from a device that differs (`ingest.quirks`), what its octets would be; `flags` are told as it sent them.
    Raises DecodeError, also ("invalid") for a name without decoder.
    """
    short = _short_name(name)
    if short == "crc":
        return [{"crc": e2e_crc(data)}]
    if short == "sfloat":
        octets = _Octets(data)
        value = octets.sfloat("SFLOAT")
        octets.finish()
        return [{"value": value}]
    decoder = CHARACTERISTICS.get(short)
    if decoder is None:
        raise DecodeError(
            "invalid", f"no decoder for {name[:40]!r}; known: {', '.join(CHARACTERISTICS)}, sfloat, crc"
        )
    corrected = correct(short, data) if correct else data
    facts = [_as_json(record) for record in decoder(corrected)]
    if correct and "flags" in facts[0] and short != "2aa7":  # whose first octet is a size, and which keeps its flags
        facts[0]["flags"] = data[0]
    return facts


def _short_name(name: str) -> str:
    short = name.strip().lower().removeprefix("0x").removesuffix(_BASE_UUID)
    if len(short) == 8 and short.startswith("0000") and set(short) <= set(string.hexdigits):
        return short[4:]
    return short


def _as_json(record: Record) -> dict[str, object]:
    facts: dict[str, object] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, datetime):
            facts[field.name] = value.isoformat()
        elif isinstance(value, tuple):
            facts[field.name] = list(value)
        elif value is not None:
            facts[field.name] = value
    return facts

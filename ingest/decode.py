"""Packets become measurements: what a device claims, in the words of the house, for every channel it may speak on.

`decode` is pure and never raises. What cannot be read stands in the result as a DecodeError at its own position, so
one broken record costs no other. Nothing is judged or converted here: values keep the unit they were sent in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from ingest import gatt, payload, quirks
from ingest.reading import BEYOND_RANGE, CONTRADICTION, DecodeError, Flag, Measurement, Packet
from ingest.vital import Unit, Vital

Outcome = Measurement | DecodeError

# Bits of the annunciation fields that a person or a rule acts on, by octet where the layout has octets.
_GLUCOSE_STATUS: Final = {
    0: Flag.BATTERY_LOW,
    1: Flag.SENSOR_MALFUNCTION,
    2: Flag.SAMPLE_INSUFFICIENT,
    3: Flag.STRIP_ERROR,  # inserted wrongly
    4: Flag.STRIP_ERROR,  # wrong type
    5: Flag.ABOVE_RANGE,
    6: Flag.BELOW_RANGE,
    7: Flag.TEMPERATURE_ERROR,  # too high
    8: Flag.TEMPERATURE_ERROR,  # too low
    9: Flag.STRIP_ERROR,  # pulled too soon
    10: Flag.SENSOR_MALFUNCTION,  # general device fault
    11: Flag.TIME_FAULT,
}
_CGM_STATUS: Final = {
    0: Flag.SESSION_STOPPED,
    1: Flag.BATTERY_LOW,
    2: Flag.SENSOR_MALFUNCTION,  # sensor type incorrect for the device
    3: Flag.SENSOR_MALFUNCTION,
    5: Flag.SENSOR_MALFUNCTION,  # general device fault
}
_CGM_CALIBRATION: Final = {
    0: Flag.TIME_FAULT,  # time synchronisation required
    2: Flag.CALIBRATION_NEEDED,  # recommended
    3: Flag.CALIBRATION_NEEDED,  # required
    4: Flag.TEMPERATURE_ERROR,  # too high
    5: Flag.TEMPERATURE_ERROR,  # too low
}
# Bits 0 to 5 repeat the patient's levels set in the sensor; the house compares with its own.
_CGM_WARNING: Final = {6: Flag.BELOW_RANGE, 7: Flag.ABOVE_RANGE}
_PRESSURE_STATUS: Final = {
    0: Flag.BODY_MOVEMENT,
    1: Flag.CUFF_LOOSE,
    2: Flag.IRREGULAR_PULSE,
    5: Flag.IMPROPER_POSITION,
}
_PULSE_RANGE: Final = {1: Flag.PULSE_ABOVE_RANGE, 2: Flag.PULSE_BELOW_RANGE}

_NOT_AVAILABLE: Final = 15
_SAMPLE_TYPES: Final = {
    1: "capillary-whole-blood",
    2: "capillary-plasma",
    3: "venous-whole-blood",
    4: "venous-plasma",
    5: "arterial-whole-blood",
    6: "arterial-plasma",
    7: "undetermined-whole-blood",
    8: "undetermined-plasma",
    9: "interstitial-fluid",
    10: "control-solution",
}
_SAMPLE_LOCATIONS: Final = {
    1: "finger",
    2: "alternate-site",
    3: "earlobe",
    4: "control-solution",
    5: "subcutaneous-tissue",
    _NOT_AVAILABLE: None,
}
_CARBOHYDRATES: Final = {
    1: "breakfast",
    2: "lunch",
    3: "dinner",
    4: "snack",
    5: "drink",
    6: "supper",
    7: "brunch",
}
_MEALS: Final = {1: "before-meal", 2: "after-meal", 3: "fasting", 4: "casual", 5: "bedtime"}
_TESTERS: Final = {1: "self", 2: "health-care-professional", 3: "laboratory", _NOT_AVAILABLE: None}
_HEALTH: Final = {
    1: "minor-issues",
    2: "major-issues",
    3: "menses",
    4: "stress",
    5: "no-issues",
    _NOT_AVAILABLE: None,
}
_MEDICATIONS: Final = {
    1: "rapid-acting-insulin",
    2: "short-acting-insulin",
    3: "intermediate-acting-insulin",
    4: "long-acting-insulin",
    5: "premixed-insulin",
}
_CONTROL_SOLUTION_TYPE: Final = 10
_CONTROL_SOLUTION_LOCATION: Final = 4
_UNKNOWN_USER: Final = 0xFF
_EXERCISE_OVERRUN: Final = 0xFFFF
_OFFSET_OVERRUN: Final = 0x7FFF
_OFFSET_UNDERRUN: Final = -0x8000


def decode(packet: Packet) -> tuple[Outcome, ...]:
    """The measurements in a packet; the position in the tuple is the part of the packet. Never raises.

    Empty when the packet is understood and holds no measurement (the intermediate pressure of an inflating cuff).
    """
    if packet.fault is not None:
        return (DecodeError("invalid", packet.fault),)
    channel = _CHANNELS.get(packet.channel)
    if channel is None:
        return (DecodeError("invalid", f"nothing is read from channel {packet.channel[:40]!r}"),)
    name = packet.session.quirk if packet.session else None
    try:
        if name is None:
            return channel(packet, packet.data)
        quirk = quirks.named(name)
        outcomes = channel(packet, quirk.corrected(packet.channel, packet.data))
    except DecodeError as error:
        return (error,)
    return tuple(_claimed(outcome, packet, quirk) for outcome in outcomes)


def _claimed(outcome: Outcome, packet: Packet, quirk: quirks.Quirk) -> Outcome:
    """What a measurement means on a device that is known to mean something else."""
    if quirk.claim is None or not isinstance(outcome, Measurement):
        return outcome
    try:
        return quirk.claim(outcome, packet)
    except DecodeError as error:
        return error


# Each takes the packet, and its octets as the specification would have them; the raw octets kept are those sent.


def _json(packet: Packet, data: bytes) -> tuple[Outcome, ...]:
    return payload.measurements(data, packet.sender)


def _glucose(packet: Packet, data: bytes) -> tuple[Outcome, ...]:
    claim = gatt.glucose_measurement(data)
    context, error = _companion(packet.companion, claim.sequence)
    base = claim.base_time if isinstance(claim.base_time, datetime) else None
    flags = _raised(claim.status, _GLUCOSE_STATUS) | _beyond(claim.concentration)
    if claim.type == _CONTROL_SOLUTION_TYPE or claim.location == _CONTROL_SOLUTION_LOCATION:
        flags |= {Flag.CONTROL_SOLUTION}
    if claim.time_offset_min in (_OFFSET_OVERRUN, _OFFSET_UNDERRUN):
        # The wearer's clock is more than 22 days from base time, and nobody knows how much more.
        base, flags = None, flags | {Flag.TIME_FAULT}
    if flags >= BEYOND_RANGE:
        raise DecodeError("invalid", CONTRADICTION)
    measurement = Measurement(
        device=packet.sender,
        vital=Vital.GLUCOSE,
        sent=(_measured(claim.concentration, flags),),
        unit=claim.unit or Unit.MG_DL,
        device_time=_later(base, claim.time_offset_min or 0),
        sequence=claim.sequence,
        flags=flags,
        context=_sample(claim.type, claim.location) | context,
        raw=packet.data,
    )
    return (measurement,) if error is None else (measurement, error)


def _companion(data: bytes | None, sequence: int) -> tuple[dict[str, str | float], DecodeError | None]:
    """The words of a context; a broken or foreign one becomes a part of its own and leaves the glucose alone."""
    if data is None:
        return {}, None
    try:
        context = gatt.glucose_context(data)
    except DecodeError as error:
        return {}, error
    if context.sequence != sequence:
        reason = f"the context belongs to record {context.sequence}, the glucose is record {sequence}"
        return {}, DecodeError("invalid", reason, 1)
    return _circumstances(context), None


def _circumstances(context: gatt.GlucoseContext) -> dict[str, str | float]:
    in_litres = context.medication_unit == "L"
    return _present(
        {
            "carbohydrate": _word(context.carb_id, _CARBOHYDRATES),
            "carbohydrate_g": _scaled(context.carb, 3),
            "meal": _word(context.meal, _MEALS),
            "tester": _word(context.tester, _TESTERS),
            "health": _word(context.health, _HEALTH),
            "exercise_s": "overrun" if context.exercise_s == _EXERCISE_OVERRUN else context.exercise_s,
            "exercise_intensity_pct": context.exercise_pct,
            "medication": _word(context.medication_id, _MEDICATIONS),
            "medication_ml": _scaled(context.medication, 3) if in_litres else None,
            "medication_mg": None if in_litres else _scaled(context.medication, 6),
            "hba1c_pct": _number(context.hba1c_pct),
        }
    )


def _blood_pressure(packet: Packet, data: bytes) -> tuple[Outcome, ...]:
    claim = gatt.blood_pressure(data)
    flags = _raised(claim.status, _PRESSURE_STATUS) | _beyond(claim.systolic) | _beyond(claim.diastolic)
    pulse_range = _PULSE_RANGE.get((claim.status or 0) >> 3 & 0b11)
    if pulse_range is not None:
        flags |= {pulse_range}
    user_id = None if claim.user_id == _UNKNOWN_USER else claim.user_id
    measurement = Measurement(
        device=packet.sender,
        vital=Vital.BLOOD_PRESSURE,
        # Cuffs send 0 for a mean or a pulse that they do not work out.
        sent=(
            _number(claim.systolic),
            _number(claim.diastolic),
            _number(claim.map) or None,
            _number(claim.pulse) or None,
        ),
        unit=claim.unit,
        device_time=claim.timestamp if isinstance(claim.timestamp, datetime) else None,
        flags=flags,
        context=_present({"user_id": user_id}),
        raw=packet.data,
    )
    return (measurement,)


def _cuff_pressure(_packet: Packet, data: bytes) -> tuple[Outcome, ...]:
    gatt.blood_pressure(data)
    return ()


def _cgm(packet: Packet, data: bytes) -> tuple[Outcome, ...]:
    start = packet.session.session_start if packet.session else None
    if start is None:
        return (DecodeError("invalid", "no session start is known, so the time of a CGM record is not"),)
    return tuple(_cgm_records(packet, data, start))


def _cgm_records(packet: Packet, data: bytes, start: datetime) -> Iterator[Outcome]:
    at = 0
    try:
        for claim in gatt.cgm_measurements(data):
            yield _cgm_record(packet, start, claim, at)
            at += claim.size
    except DecodeError as error:
        yield error


def _cgm_record(packet: Packet, start: datetime, claim: gatt.CgmMeasurement, at: int) -> Outcome:
    if claim.crc_ok is False:
        return DecodeError("invalid", "the E2E-CRC of the record does not fit its octets", at)
    if claim.crc_ok is None and packet.session is not None and packet.session.e2e_crc:
        return DecodeError("invalid", "the record lacks the E2E-CRC that the sensor promises", at)
    flags = (
        _raised(claim.status, _CGM_STATUS)
        | _raised(claim.cal_temp, _CGM_CALIBRATION)
        | _raised(claim.warning, _CGM_WARNING)
        | _beyond(claim.glucose)
    )
    if flags >= BEYOND_RANGE:
        return DecodeError("invalid", CONTRADICTION, at)
    return Measurement(
        device=packet.sender,
        vital=Vital.CGM,
        sent=(_measured(claim.glucose, flags),),
        unit=Unit.MG_DL,
        device_time=_later(start, claim.time_offset_min),
        sequence=claim.time_offset_min,
        flags=flags,
        context=_present({"trend_mg_dl_min": _number(claim.trend), "quality_pct": _number(claim.quality_pct)}),
        raw=packet.data[at : at + claim.size],
    )


_CHANNELS: Final[dict[str, Callable[[Packet, bytes], tuple[Outcome, ...]]]] = {
    "json": _json,
    "2a18": _glucose,
    "2a35": _blood_pressure,
    "2a36": _cuff_pressure,
    "2aa7": _cgm,
}


def _raised(status: int | None, meaning: Mapping[int, Flag]) -> frozenset[Flag]:
    return frozenset(flag for bit, flag in meaning.items() if (status or 0) >> bit & 1)


def _beyond(number: gatt.Number | None) -> frozenset[Flag]:
    if number is gatt.Special.POSITIVE_INFINITY:
        return frozenset({Flag.ABOVE_RANGE})
    if number is gatt.Special.NEGATIVE_INFINITY:
        return frozenset({Flag.BELOW_RANGE})
    return frozenset()


def _measured(number: gatt.Number | None, flags: frozenset[Flag]) -> float | None:
    """The glucose, unless the device says that it could not measure it: the number then sent is a placeholder.

    A LO that carries 0 mg/dL would else be refused as impossible, and the patient's hypoglycaemia with it.
    """
    return None if flags & BEYOND_RANGE else _number(number)


def _number(number: gatt.Number | None) -> float | None:
    return None if isinstance(number, gatt.Special) else number


def _scaled(number: gatt.Number | None, exponent: int) -> float | None:
    """A number times a power of ten, without binary noise."""
    value = _number(number)
    return None if value is None else float(Decimal(repr(value)).scaleb(exponent))


def _later(moment: datetime | None, minutes: int) -> datetime | None:
    try:
        return moment and moment + timedelta(minutes=minutes)
    except OverflowError:
        return None


def _word(code: int | None, words: Mapping[int, str | None]) -> str | None:
    """The word of a code. A reserved code keeps its number: some makers give it a meaning of their own."""
    return None if code is None else words.get(code, f"reserved-{code}")


def _sample(sample_type: int | None, location: int | None) -> dict[str, str | float]:
    return _present(
        {"sample_type": _word(sample_type, _SAMPLE_TYPES), "sample_location": _word(location, _SAMPLE_LOCATIONS)}
    )


def _present(context: Mapping[str, str | float | None]) -> dict[str, str | float]:
    return {key: value for key, value in context.items() if value is not None}

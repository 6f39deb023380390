"""Homeward's own JSON payload, version 1: one reading, or a batch of readings of one device.

`measurements` is what the house calls; `schema` is the contract for device makers, published as
`docs/payload.schema.json` and printed by `python -m ingest.payload`. The types below are both the contract and the
validator: typed dictionaries, because pydantic fills them in half the time of a model.

Numbers are strict ("5.6" is refused); unknown fields (a typo must not vanish), a field that stands twice, NaN and
Infinity are refused.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.config import JsonDict, JsonValue
from pydantic_core import ErrorDetails, from_json
from typing_extensions import TypedDict

from ingest.reading import BEYOND_RANGE, CONTRADICTION, NO_CONTEXT, DecodeError, Flag, Measurement
from ingest.vital import Unit, Vital

_RFC3339: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Time = Annotated[
    str,
    Field(
        pattern=_RFC3339,
        description="When the value was taken, by the device's clock: RFC 3339 with seconds and zone.",
        examples=["2026-10-05T07:30:00+08:00", "2026-10-04T23:30:00.250Z"],
    ),
]
_Sequence = Annotated[
    int,
    Field(ge=0, le=2**63 - 1, description="The device's own record number; never used again for another reading."),
]
_Flags = Annotated[
    list[Annotated[Flag, Field(strict=False)]],
    Field(max_length=len(Flag), description="What the device says about the value."),
]
_Context = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=64)],
        Annotated[str, Field(max_length=256)] | _Number,
    ],
    Field(
        max_length=16,
        description="Circumstances, kept beside the reading. A glucose is judged by the goal of its meal: "
        "before-meal, fasting, after-meal, bedtime or casual; one with another word gets the flag meal-unknown.",
        examples=[{"meal": "before-meal", "carbohydrate_g": 45}],
    ),
]
_Device = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$", description="The device, the same name as in the topic.")
]
_Version = Annotated[int, Field(ge=1, le=1, description="Version of this format.")]

# Without either a redelivery could not be told from a new reading.
_TIME_OR_SEQUENCE: Final[list[JsonValue]] = [
    {"required": ["time"], "properties": {"time": {"type": "string"}}},
    {"required": ["sequence"], "properties": {"sequence": {"type": "integer"}}},
]
_ABOVE: Final[JsonDict] = {"contains": {"const": Flag.ABOVE_RANGE.value}}
_BELOW: Final[JsonDict] = {"contains": {"const": Flag.BELOW_RANGE.value}}
_CONTRADICTIONS: Final[list[JsonValue]] = [
    {"required": ["flags"], "properties": {"flags": {"allOf": [_ABOVE, _BELOW]}}},
    {"required": ["flags"], "properties": {"value": {"const": "HI"}, "flags": _BELOW}},
    {"required": ["flags"], "properties": {"value": {"const": "LO"}, "flags": _ABOVE}},
]
_VALUE_RULES: Final[JsonDict] = {
    "anyOf": _TIME_OR_SEQUENCE,
    "not": {"anyOf": _CONTRADICTIONS},
    "if": {"properties": {"value": {"type": "number"}}},
    "then": {"required": ["unit"]},
}
_strict_value = ConfigDict(strict=True, extra="forbid", json_schema_extra=_VALUE_RULES)
_strict_pressure = ConfigDict(strict=True, extra="forbid", json_schema_extra={"anyOf": _TIME_OR_SEQUENCE})
_strict = ConfigDict(strict=True, extra="forbid")


@with_config(_strict_value)
class GlucoseReading(TypedDict):
    """A glucose value from a meter (glucose) or a sensor (cgm_glucose)."""

    kind: Literal["glucose", "cgm_glucose"]
    time: NotRequired[_Time | None]
    sequence: NotRequired[_Sequence | None]
    value: Annotated[
        _Number | Literal["HI", "LO"],
        Field(description="A number in `unit`, or the word on the display when it shows no number."),
    ]
    unit: NotRequired[Literal["mg/dL", "mmol/L"]]
    flags: NotRequired[_Flags]
    context: NotRequired[_Context]


@with_config(_strict_value)
class KetoneReading(TypedDict):
    """A blood ketone (beta-hydroxybutyrate) from a meter."""

    kind: Literal["ketone"]
    time: NotRequired[_Time | None]
    sequence: NotRequired[_Sequence | None]
    value: Annotated[
        _Number | Literal["HI", "LO"],
        Field(description="A number in `unit`, or the word on the display when it shows no number."),
    ]
    unit: NotRequired[Literal["mmol/L"]]
    flags: NotRequired[_Flags]
    context: NotRequired[_Context]


@with_config(_strict_pressure)
class BloodPressureReading(TypedDict):
    """A blood pressure, all pressures in `unit`; pulse in beats per minute."""

    kind: Literal["blood_pressure"]
    time: NotRequired[_Time | None]
    sequence: NotRequired[_Sequence | None]
    systolic: _Number
    diastolic: _Number
    mean: NotRequired[_Number | None]
    pulse: NotRequired[_Number | None]
    unit: Literal["mmHg", "kPa"]
    flags: NotRequired[_Flags]
    context: NotRequired[_Context]


@with_config(_strict_value)
class SingleGlucose(GlucoseReading):
    """One glucose value with its device."""

    version: _Version
    device: _Device


@with_config(_strict_value)
class SingleKetone(KetoneReading):
    """One ketone value with its device."""

    version: _Version
    device: _Device


@with_config(_strict_pressure)
class SingleBloodPressure(BloodPressureReading):
    """One blood pressure with its device."""

    version: _Version
    device: _Device


_Reading = Annotated[GlucoseReading | KetoneReading | BloodPressureReading, Field(discriminator="kind")]
_Single = Annotated[SingleGlucose | SingleKetone | SingleBloodPressure, Field(discriminator="kind")]


@with_config(_strict)
class Batch(TypedDict):
    """Readings of one device, in any order."""

    version: _Version
    device: _Device
    readings: Annotated[list[_Reading], Field(min_length=1, max_length=1000)]


@with_config(_strict)
class _Envelope(TypedDict):
    """A batch whose readings are looked at one by one, because one of them is bad."""

    version: _Version
    device: _Device
    readings: Annotated[list[Any], Field(min_length=1, max_length=1000)]


_SINGLE: Final[TypeAdapter[SingleGlucose | SingleKetone | SingleBloodPressure]] = TypeAdapter(_Single)
_BATCH: Final = TypeAdapter(Batch)
_ENVELOPE: Final = TypeAdapter(_Envelope)
_READING: Final[TypeAdapter[GlucoseReading | KetoneReading | BloodPressureReading]] = TypeAdapter(_Reading)

# Tables, because calling an enumeration costs as much as validating a field.
_VITALS: Final = {"glucose": Vital.GLUCOSE, "cgm_glucose": Vital.CGM, "ketone": Vital.KETONE}
_UNITS: Final = {"mg/dL": Unit.MG_DL, "mmol/L": Unit.MMOL_L, "mmHg": Unit.MMHG, "kPa": Unit.KPA}
_WORDS: Final = {"HI": Flag.ABOVE_RANGE, "LO": Flag.BELOW_RANGE}
_NO_FLAGS: Final[frozenset[Flag]] = frozenset()
_KINDS: Final = ("glucose", "cgm_glucose", "ketone", "blood_pressure")

EXAMPLES: Final[tuple[dict[str, Any], ...]] = (
    {
        "version": 1,
        "device": "meter-0017",
        "kind": "glucose",
        "time": "2026-10-05T07:30:00+08:00",
        "sequence": 412,
        "value": 5.6,
        "unit": "mmol/L",
        "context": {"meal": "before-meal"},
    },
    {
        "version": 1,
        "device": "meter-0017",
        "kind": "glucose",
        "time": "2026-10-05T07:31:00+08:00",
        "value": "LO",
    },
    {
        "version": 1,
        "device": "sensor-0003",
        "readings": [
            {"kind": "cgm_glucose", "time": "2026-10-05T07:30:00Z", "sequence": 90, "value": 104, "unit": "mg/dL"},
            {"kind": "cgm_glucose", "time": "2026-10-05T07:35:00Z", "sequence": 95, "value": 101, "unit": "mg/dL"},
        ],
    },
    {
        "version": 1,
        "device": "cuff-0008",
        "kind": "blood_pressure",
        "time": "2026-10-05T07:32:10+08:00",
        "systolic": 18.4,
        "diastolic": 11.2,
        "unit": "kPa",
        "pulse": 71,
        "flags": ["irregular-pulse"],
    },
    {
        "version": 1,
        "device": "meter-0017",
        "kind": "ketone",
        "time": "2026-10-05T07:34:00+08:00",
        "value": 1.2,
        "unit": "mmol/L",
    },
)


def measurements(data: bytes, sender: str) -> tuple[Measurement | DecodeError, ...]:
    """The readings in a payload from `sender`, in their order; a bad one in a batch stands as its own DecodeError.

    Never raises. A payload that speaks for another device than its sender is one DecodeError.
    """
    try:
        # Only a guess, to parse once: where it is wrong validation fails, and `_piecewise` looks properly. It looks
        # as well where there are more commas than what was kept can have: a field stands twice, or one is in a text.
        if b'"readings"' in data:
            batch = _BATCH.validate_json(data)
            readings = batch["readings"]
            commas = data.count(b",") - len(batch) + 2 - sum(map(len, readings))
            if batch["device"] == sender and (commas == 0 or commas == sum(map(_inner_commas, readings))):
                return tuple([_outcome(sender, reading) for reading in readings])
        else:
            single = _SINGLE.validate_json(data)
            commas = data.count(b",") - len(single) + 1
            if single["device"] == sender and (commas == 0 or commas == _inner_commas(single)):
                return (_outcome(sender, single),)
    except ValidationError:
        pass  # said in words by `_piecewise`
    return _piecewise(data, sender)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a payload."""
    payload: TypeAdapter[Any] = TypeAdapter(_Single | Batch)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:homeward:payload:1",
        "title": "Homeward payload, version 1",
        "description": "What a device publishes to homeward/v1/<device>/readings: one reading, or a batch.",
        "examples": list(EXAMPLES),
        **payload.json_schema(),
    }


def _outcome(
    device: str, reading: GlucoseReading | KetoneReading | BloodPressureReading
) -> Measurement | DecodeError:
    time, sequence = reading.get("time"), reading.get("sequence")
    if time is None and sequence is None:
        return _refusal("time or sequence: one of them is needed to tell a redelivery from a new reading")
    try:
        moment = None if time is None else datetime.fromisoformat(time)
    except ValueError:
        return _refusal(f"time: {time} does not exist")
    named = reading.get("flags")
    flags = frozenset(named) if named else _NO_FLAGS
    context: Mapping[str, str | float] = reading.get("context", NO_CONTEXT)
    if reading["kind"] == "blood_pressure":
        return Measurement(
            device=device,
            vital=Vital.BLOOD_PRESSURE,
            sent=(reading["systolic"], reading["diastolic"], reading.get("mean"), reading.get("pulse")),
            unit=_UNITS[reading["unit"]],
            device_time=moment,
            sequence=sequence,
            flags=flags,
            context=context,
        )
    value: float | str | None = reading["value"]
    unit = reading.get("unit")
    if isinstance(value, str):
        flags |= {_WORDS[value]}
        value, unit = None, unit or ("mmol/L" if reading["kind"] == "ketone" else "mg/dL")
    if unit is None:
        return _refusal("unit: is missing beside a number")
    if flags:
        if flags >= BEYOND_RANGE:
            return _refusal(CONTRADICTION)
        if flags & BEYOND_RANGE:
            value = None  # a number beside one of them is what fits on the display, not what was measured
    return Measurement(
        device=device,
        vital=_VITALS[reading["kind"]],
        sent=(value,),
        unit=_UNITS[unit],
        device_time=moment,
        sequence=sequence,
        flags=flags,
        context=context,
    )


def _inner_commas(reading: GlucoseReading | KetoneReading | BloodPressureReading) -> int:
    """How many commas stand between the flags and between the words of the context."""
    return max(len(reading.get("flags", ())) - 1, 0) + max(len(reading.get("context", ())) - 1, 0)


def _piecewise(data: bytes, sender: str) -> tuple[Measurement | DecodeError, ...]:
    """The same as `measurements` for a payload with something wrong in it: find what, and save the rest."""
    try:
        from_json(data)  # says best what is wrong with the JSON, and how deep it may be
        payload = json.loads(data, object_pairs_hook=_fields)
        if isinstance(payload, _Twice):
            return (_refusal(payload.sentence),)
        in_batch = isinstance(payload, dict) and "readings" in payload
        whole: Any = (_ENVELOPE if in_batch else _SINGLE).validate_python(payload)
    except ValidationError as error:
        return (_refusal(_sentence(error)),)
    except ValueError as error:
        return (_syntax_error(data, str(error)),)
    if whole["device"] != sender:
        return (_refusal(f"the payload speaks for device {whole['device'][:40]!r}, but {sender!r} sent it"),)
    if not in_batch:
        return (_outcome(sender, whole),)
    outcomes: list[Measurement | DecodeError] = []
    for item in whole["readings"]:
        if isinstance(item, _Twice):
            outcomes.append(_refusal(item.sentence))
            continue
        try:
            outcomes.append(_outcome(sender, _READING.validate_python(item)))
        except ValidationError as error:
            outcomes.append(_refusal(_sentence(error)))
    return tuple(outcomes)


@dataclass(frozen=True, slots=True)
class _Twice:
    """Stands for an object in which a field stands twice, or that holds such an object."""

    sentence: str


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        return _Twice(f"{twice[:40]}: stands twice; which of the two is meant would be a guess")
    return next((value for value in fields.values() if isinstance(value, _Twice)), fields)


def _refusal(sentence: str) -> DecodeError:
    # The words may be the sender's: they stay short and cannot break a line of a log or a terminal.
    return DecodeError("invalid", "".join(char if char.isprintable() else "?" for char in sentence[:300]))


def _syntax_error(data: bytes, message: str) -> DecodeError:
    place = re.search(r" at line (\d+) column (\d+)$", message)
    if place is None:
        return _refusal(f"not JSON: {message}")
    line, column = int(place[1]), int(place[2])
    offset = sum(len(text) + 1 for text in data.split(b"\n")[: line - 1]) + max(column - 1, 0)
    cut_off = message.startswith("EOF")
    return DecodeError("too_short" if cut_off else "invalid", f"not JSON: {message[: place.start()]}", offset)


def _sentence(error: ValidationError) -> str:
    """What is wrong, field by field. Input is not repeated: it may be long, and it is a patient's."""
    problems: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = detail["loc"][1:] if detail["loc"][:1] and detail["loc"][0] in _KINDS else detail["loc"]
        field = str(path[0])[:40] if path else "payload"
        problems.setdefault(field, []).append(_problem(field, detail))
    return "; ".join(f"{field}: {' or '.join(dict.fromkeys(texts))}" for field, texts in problems.items())


def _problem(field: str, detail: ErrorDetails) -> str:
    if detail["type"].startswith("union_tag"):
        return f"kind should be one of {', '.join(_KINDS)}"
    if detail["type"] == "extra_forbidden":
        return "is not a field of this payload"
    if detail["type"] == "missing":
        return "is missing"
    if field == "version":
        return "should be 1, the only version so far"
    if field == "time":
        return (
            "should be RFC 3339 with seconds and zone, such as 2026-10-05T07:30:00+08:00; "
            "without the zone nobody could tell when it was"
        )
    return detail["msg"].removeprefix("Input ")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")

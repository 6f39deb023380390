"""The JSON payload: what is understood, what is refused in which words; the published schema says the same."""

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ingest import payload
from ingest.reading import DecodeError, Flag, Measurement
from ingest.vital import Unit, Vital

DOCS = Path(__file__).parent.parent.parent / "docs"
GLUCOSE = {
    "version": 1,
    "device": "meter-1",
    "kind": "glucose",
    "time": "2026-10-05T07:30:00+08:00",
    "value": 5.6,
    "unit": "mmol/L",
}
KETONE = {
    "version": 1,
    "device": "meter-1",
    "kind": "ketone",
    "time": "2026-10-05T07:30:00+08:00",
    "value": 1.2,
    "unit": "mmol/L",
}
PRESSURE = {
    "version": 1,
    "device": "meter-1",
    "kind": "blood_pressure",
    "sequence": 3,
    "systolic": 18.4,
    "diastolic": 11.2,
    "unit": "kPa",
}


def without(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


def batch(*readings):
    return {"version": 1, "device": "meter-1", "readings": list(readings)}


ITEM = without(GLUCOSE, "version", "device")


def read(fields, sender="meter-1"):
    return payload.measurements(json.dumps(fields).encode(), sender)


def refusal_of(fields):
    outcomes = read(fields)
    assert [type(outcome) for outcome in outcomes] == [DecodeError]
    return outcomes[0].reason


GOOD = [
    GLUCOSE,
    PRESSURE,
    GLUCOSE | {"value": 6},
    GLUCOSE | {"kind": "cgm_glucose", "sequence": 2**63 - 1},
    GLUCOSE | {"time": None, "sequence": 0},
    without(GLUCOSE, "unit") | {"value": "HI"},
    GLUCOSE | {"time": "2026-10-05T07:30:00.123456789Z"},
    GLUCOSE | {"value": "LO", "flags": ["below-range"]},
    GLUCOSE | {"flags": ["battery-low", "time-fault"], "context": {"meal": "fasting", "carbohydrate_g": 40}},
    GLUCOSE | {"context": {"readings": 1, '"readings"': 2}},
    PRESSURE | {"mean": None, "pulse": 71},
    KETONE,
    without(KETONE, "unit") | {"value": "HI"},
    batch(ITEM, without(KETONE, "version", "device"), without(PRESSURE, "version", "device")),
    *payload.EXAMPLES,
]
BAD = [
    (without(GLUCOSE, "time"), "time or sequence: one of them is needed"),
    (GLUCOSE | {"time": None}, "time or sequence"),
    (GLUCOSE | {"time": "2026-10-05T07:30:00"}, "time: should be RFC 3339 with seconds and zone"),
    (GLUCOSE | {"time": "2026-10-05"}, "without the zone nobody could tell when it was"),
    (GLUCOSE | {"time": "1700000000"}, "time: should be RFC 3339"),
    (GLUCOSE | {"time": 1700000000}, "time: should be RFC 3339"),
    (GLUCOSE | {"value": "5.6"}, "value: should be a valid number or should be 'HI' or 'LO'"),
    (GLUCOSE | {"value": True}, "value: should be a valid number"),
    (GLUCOSE | {"value": None}, "value: should be a valid number"),
    (without(GLUCOSE, "value"), "value: is missing"),
    (without(GLUCOSE, "unit"), "unit: is missing beside a number"),
    (
        GLUCOSE | {"value": "LO", "flags": ["above-range"]},
        "above and below the range at once; a guess is not a number",
    ),
    (GLUCOSE | {"value": "HI", "flags": ["battery-low", "below-range"]}, "above and below the range at once"),
    (GLUCOSE | {"flags": ["below-range", "above-range"]}, "above and below the range at once"),
    (GLUCOSE | {"unit": "mg/dl"}, "unit: should be 'mg/dL' or 'mmol/L'"),
    (GLUCOSE | {"unit": "mmHg"}, "unit: should be"),
    (GLUCOSE | {"sequence": -1}, "sequence: should be greater than or equal to 0"),
    (GLUCOSE | {"sequence": 2**63}, "sequence: should be less"),
    (GLUCOSE | {"sequence": "7"}, "sequence: should be a valid integer"),
    (GLUCOSE | {"sequnce": 7}, "sequnce: is not a field of this payload"),
    (GLUCOSE | {"flags": ["tired"]}, "flags: should be"),
    (GLUCOSE | {"context": {"meal": True}}, "context: "),
    (GLUCOSE | {"context": {"nested": {}}}, "context: "),
    (GLUCOSE | {"context": {str(i): i for i in range(17)}}, "context: "),
    (GLUCOSE | {"context": {"note": "x" * 257}}, "context: "),
    (GLUCOSE | {"kind": "weight"}, "kind should be one of glucose, cgm_glucose, ketone, blood_pressure"),
    (without(GLUCOSE, "kind"), "kind should be one of"),
    (GLUCOSE | {"version": 2}, "version: should be 1"),
    (GLUCOSE | {"version": True}, "version: should be 1"),
    (without(GLUCOSE, "version"), "version: is missing"),
    (GLUCOSE | {"device": ""}, "device: "),
    (KETONE | {"unit": "mg/dL"}, "unit: should be 'mmol/L'"),
    (without(KETONE, "unit"), "unit: is missing beside a number"),
    (without(PRESSURE, "diastolic"), "diastolic: is missing"),
    (PRESSURE | {"value": 5}, "value: is not a field"),
    (batch(), "readings: "),
    (batch(*[ITEM] * 1001), "readings: "),
    (batch(ITEM) | {"kind": "glucose"}, "kind: is not a field"),
    (batch(ITEM | {"device": "other"}), "device: is not a field"),
    ([GLUCOSE], "payload: "),
    (5, "payload: "),
]


@pytest.mark.parametrize("fields", GOOD, ids=str)
def test_a_good_payload_is_understood_and_fits_the_schema(fields):
    outcomes = read(fields, fields["device"])
    assert len(outcomes) == len(fields.get("readings", [fields]))
    assert all(isinstance(outcome, Measurement) for outcome in outcomes)
    assert Draft202012Validator(payload.schema()).is_valid(fields)


@pytest.mark.parametrize(("fields", "words"), BAD, ids=lambda case: str(case)[:80])
def test_a_bad_payload_is_refused_in_words_and_by_the_schema(fields, words):
    reason = refusal_of(fields)
    assert words in reason
    assert len(reason) <= 300
    assert not Draft202012Validator(payload.schema()).is_valid(fields)


def test_glucose_keeps_the_number_the_unit_and_the_zone_as_sent():
    fields = GLUCOSE | {"sequence": 412, "flags": ["battery-low"], "context": {"meal": "fasting"}}
    assert read(fields) == (
        Measurement(
            device="meter-1",
            vital=Vital.GLUCOSE,
            sent=(5.6,),
            unit=Unit.MMOL_L,
            device_time=datetime(2026, 10, 5, 7, 30, tzinfo=timezone(timedelta(hours=8))),
            sequence=412,
            flags=frozenset({Flag.BATTERY_LOW}),
            context={"meal": "fasting"},
        ),
    )


def test_blood_pressure_is_systolic_diastolic_mean_pulse():
    (pressure,) = read(PRESSURE | {"pulse": 71})
    assert (pressure.vital, pressure.unit) == (Vital.BLOOD_PRESSURE, Unit.KPA)
    assert pressure.sent == (18.4, 11.2, None, 71.0)
    assert (pressure.device_time, pressure.sequence) == (None, 3)


def test_a_ketone_is_one_in_mmol_per_litre_also_when_the_display_says_hi():
    number, word = read(KETONE)[0], read(without(KETONE, "unit") | {"value": "HI"})[0]
    assert (number.vital, number.sent, number.unit) == (Vital.KETONE, (1.2,), Unit.MMOL_L)
    assert (word.sent, word.unit, word.flags) == ((None,), Unit.MMOL_L, {Flag.ABOVE_RANGE})


@pytest.mark.parametrize(("word", "flag"), [("HI", Flag.ABOVE_RANGE), ("LO", Flag.BELOW_RANGE)])
def test_a_display_word_is_no_number_but_a_flag(word, flag):
    (reading,) = read(GLUCOSE | {"value": word})
    assert (reading.sent, reading.unit, reading.flags) == ((None,), Unit.MMOL_L, {flag})
    (flagged,) = read(GLUCOSE | {"value": 0, "flags": [flag]})
    assert (flagged.sent, flagged.flags) == ((None,), {flag})


def test_one_bad_reading_of_a_batch_costs_no_other():
    bad = (ITEM | {"value": "5.6"}, ITEM | {"time": "2026-02-30T00:00:00Z"}, 5, without(ITEM, "time"))
    outcomes = read(batch(ITEM, *bad, ITEM | {"value": 7.0}))
    assert [type(outcome) for outcome in outcomes] == [Measurement, *[DecodeError] * 4, Measurement]
    assert outcomes[0].sent == (5.6,)
    assert outcomes[-1].sent == (7.0,)
    assert "value: should be a valid number" in outcomes[1].reason
    assert "2026-02-30T00:00:00Z does not exist" in outcomes[2].reason


def test_a_sensor_that_writes_nan_loses_that_reading_only():
    text = json.dumps(batch(ITEM, ITEM | {"value": float("nan")}, ITEM | {"value": float("inf")})).encode()
    good, nan, infinity = payload.measurements(text, "meter-1")
    assert isinstance(good, Measurement)
    assert "finite" in nan.reason
    assert "finite" in infinity.reason


@pytest.mark.parametrize(
    ("once", "twice", "name"),
    [
        ('"value": 5.6', '"value": 5.6, "unit": "mmol/L", "value" :7.7', "value"),
        ('"kind"', '"context": {"meal": "fasting"}, "context": {}, "kind"', "context"),
        ('"kind"', '"context": {"note": 1, "note": 2}, "kind"', "note"),
        ('"kind"', '"\\u006bind": "cgm_glucose", "kind"', "kind"),
    ],
)
@pytest.mark.parametrize("whole", [GLUCOSE, batch(ITEM, ITEM)], ids=["single", "batch"])
def test_a_field_that_stands_twice_is_refused(whole, once, twice, name):
    fields = without(whole, "unit") if "unit" in twice else whole
    text = json.dumps(fields).replace(once, twice, 1)
    first, *others = payload.measurements(text.encode(), "meter-1")
    assert f"{name}: stands twice; which of the two is meant would be a guess" in first.reason
    assert all(isinstance(other, Measurement) for other in others)


@pytest.mark.parametrize("name", ["device", "readings"])
def test_an_envelope_with_a_field_twice_is_refused_as_one(name):
    text = json.dumps(batch(ITEM, ITEM))
    (refusal,) = payload.measurements(f'{text[:-1]}, "{name}": {json.dumps(batch(ITEM)[name])}}}'.encode(), "meter-1")
    assert refusal.reason.startswith(f"{name}: stands twice")


@pytest.mark.parametrize("note", ["a, b", 'say "x", "x"', "x"])
def test_commas_in_a_text_are_no_second_field(note):
    fields = GLUCOSE | {"flags": ["battery-low", "time-fault"], "context": {"note": note, "meal": "fasting"}}
    (reading,) = read(fields)
    assert reading.context["note"] == note


@pytest.mark.parametrize(
    "fields", [GLUCOSE, batch(ITEM), batch(ITEM, 5)], ids=["single", "batch", "with a bad reading"]
)
def test_no_device_speaks_for_another(fields):
    (refusal,) = read(fields, "meter-2")
    assert "speaks for device 'meter-1', but 'meter-2' sent it" in refusal.reason


@pytest.mark.parametrize(
    ("text", "kind", "offset"),
    [
        (b"", "too_short", 0),
        (b'{"version": 1, "dev', "too_short", 18),
        (b'{\n"version": 1,\n}', "invalid", 16),
        (b"\xff\xfe", "invalid", 0),
        (b"[" * 5000, "invalid", 201),
    ],
    ids=["empty", "cut off", "trailing comma", "not UTF-8", "deep"],
)
def test_broken_json_says_where(text, kind, offset):
    (refusal,) = payload.measurements(text, "meter-1")
    assert (refusal.kind, refusal.offset) == (kind, offset)
    assert refusal.reason.startswith("not JSON: ")


def test_a_hostile_field_name_cannot_break_a_log_line():
    reason = refusal_of(GLUCOSE | {"\x1b[2J\nERROR forged" + "x" * 5000: 1})
    assert reason.isprintable()
    assert len(reason) <= 300


def test_the_committed_schema_is_the_generated_one():
    committed = json.loads((DOCS / "payload.schema.json").read_text(encoding="utf-8"))
    assert committed == payload.schema(), "run: python -m ingest.payload > docs/payload.schema.json"
    Draft202012Validator.check_schema(committed)


def test_the_examples_of_the_page_are_understood():
    examples = re.findall(r"```json\n(.*?)```", (DOCS / "payload.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        device = json.loads(example)["device"]
        assert all(isinstance(o, Measurement) for o in payload.measurements(example.encode(), device))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from([*GLUCOSE, *PRESSURE, "flags", "context", "mean", "pulse"]), VALUES),
    st.booleans(),
)
def test_any_value_in_any_field_is_an_outcome(fields, in_batch):
    whole = batch(ITEM | fields) if in_batch else GLUCOSE | fields
    outcomes = payload.measurements(json.dumps(whole).encode(), "meter-1")
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Measurement | DecodeError)

"""The decoders against octets of real devices, of other projects' tests, and of no device at all."""

import json
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import gatt
from ingest.reading import DecodeError

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "ble.json").read_text(encoding="utf-8"))["vectors"]
PLAIN = [vector for vector in VECTORS if "quirk" not in vector]
ACCEPTED = [vector for vector in PLAIN if "expect" in vector]
REFUSED = [vector for vector in PLAIN if "error" in vector]
BENT = [vector for vector in VECTORS if "quirk" in vector]


def by_id(vector):
    return vector["id"]


@pytest.mark.parametrize("vector", ACCEPTED, ids=by_id)
def test_a_vector_decodes_to_exactly_its_fields(vector):
    expected = vector["expect"] if isinstance(vector["expect"], list) else [vector["expect"]]
    described = gatt.describe(vector["uuid"], bytes.fromhex(vector["hex"]))
    assert described == expected
    assert json.loads(json.dumps(described, allow_nan=False)) == expected


@pytest.mark.parametrize("vector", REFUSED, ids=by_id)
def test_a_bad_vector_is_refused_with_its_kind(vector):
    with pytest.raises(DecodeError) as refusal:
        gatt.describe(vector["uuid"], bytes.fromhex(vector["hex"]))
    assert refusal.value.kind == vector["error"]
    assert 0 <= refusal.value.offset <= len(vector["hex"]) // 2


@pytest.mark.parametrize("vector", BENT, ids=by_id)
def test_a_device_that_bends_its_format_is_refused_rather_than_misread(vector):
    with pytest.raises(DecodeError, match="follow the last announced field"):
        gatt.describe(vector["uuid"], bytes.fromhex(vector["hex"]))


def test_every_sfloat_is_the_nearest_double_of_its_decimal():
    numbers = 0
    for bits in range(0x10000):
        value = gatt.sfloat(bits)
        if isinstance(value, gatt.Special):
            continue
        mantissa = (bits & 0xFFF) - (0x1000 if bits & 0x800 else 0)
        exponent = (bits >> 12) - (0x10 if bits & 0x8000 else 0)
        assert value == float(f"{mantissa}e{exponent}")
        numbers += 1
    assert numbers == 0x10000 - len(gatt.Special)
    assert repr(gatt.sfloat(0xB070)) == "0.00112"


@pytest.mark.parametrize(
    "name", ["2a18", "2A18", "0x2A18", "00002a18", str(uuid.UUID(f"{0x2A18:08x}" + gatt._BASE_UUID))]
)
def test_a_characteristic_is_found_under_each_of_its_names(name):
    octets = bytes.fromhex("030600e407040d10260a000078b0f1")
    assert gatt.describe(name, octets) == gatt.describe("2a18", octets)


@pytest.mark.parametrize("name", ["", "2a19", "heart rate", "x" * 10_000])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(DecodeError, match="2a18") as refusal:
        gatt.describe(name, b"")
    assert len(refusal.value.reason) < 300


@pytest.mark.parametrize("name", ["2a18", "2a34", "2a35"])
def test_each_cut_of_a_full_measurement_says_where_octets_are_missing(name):
    vector = max((v for v in ACCEPTED if v["uuid"] == name), key=lambda v: len(v["hex"]))
    octets = bytes.fromhex(vector["hex"])
    for length in range(len(octets)):
        with pytest.raises(DecodeError) as refusal:
            gatt.describe(name, octets[:length])
        assert refusal.value.kind == "too_short"
        assert refusal.value.offset <= length


def test_blood_pressure_features_are_bit_numbers():
    assert gatt.describe("2a49", b"\x41\x01") == [{"bits": [0, 6, 8]}]


def test_a_calibration_interval_of_sixteen_bits_is_told_by_its_length():
    long = b"\x03\x2c\x01"
    assert gatt.describe("2aac", long) == [{"op": 3, "interval_min": 300, "crc": "none"}]
    checked = long + gatt.e2e_crc(long).to_bytes(2, "little")
    assert gatt.describe("2aac", checked) == [{"op": 3, "interval_min": 300, "crc": "ok"}]


def test_a_cgm_feature_without_its_crc_field_is_too_short():
    with pytest.raises(DecodeError) as refusal:
        gatt.cgm_feature(bytes.fromhex("6e8e0116"))
    assert refusal.value.kind == "too_short"


def test_records_before_a_broken_cgm_record_are_still_given():
    records = gatt.cgm_measurements(bytes.fromhex("06000c100500 0f000c100600"))
    assert next(records).time_offset_min == 5
    with pytest.raises(DecodeError, match="15 octets, 6 are left") as refusal:
        next(records)
    assert (refusal.value.kind, refusal.value.offset) == ("too_short", 6)


@pytest.mark.parametrize(
    ("octets", "offset"),
    [
        ("e20704180d08180804", timedelta(hours=3)),  # UTC+2 and summer time
        ("e20704180d08180800", timedelta(hours=2)),
        ("e20704180d081808ff", None),  # summer time unknown
        ("e20704180d08188000", None),  # zone unknown
    ],
)
def test_a_session_start_is_aware_when_the_sensor_knows_its_zone(octets, offset):
    moment = gatt.cgm_session_start(bytes.fromhex(octets)).moment
    assert moment is not None
    assert moment.replace(tzinfo=None) == datetime(2018, 4, 24, 13, 8, 24)
    assert moment.utcoffset() == offset


def test_a_session_start_without_year_is_no_moment():
    assert gatt.cgm_session_start(bytes.fromhex("000004180d08180802")).moment is None


@given(st.sampled_from([*gatt.CHARACTERISTICS, "sfloat", "crc"]), st.binary(max_size=40))
def test_any_octets_decode_or_are_refused(name, octets):
    try:
        described = gatt.describe(name, octets)
    except DecodeError as error:
        refusal = error
    else:
        assert described
        json.dumps(described, allow_nan=False)
        return
    assert 0 <= refusal.offset <= len(octets)

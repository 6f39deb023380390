"""Quirks: who has one, what it puts right, and that the list for people says the same."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import main
from ingest import decode as decoding
from ingest import gatt, quirks
from ingest.decode import decode
from ingest.quirks import QUIRKS, DeviceIdentity, named, quirk_of
from ingest.reading import DecodeError, Measurement, Packet, Session
from simulators.quirky import MAKES

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "quirks.json").read_text(encoding="utf-8"))["vectors"]
BENT = [
    vector
    for vector in json.loads((ROOT / "tests" / "vectors" / "ble.json").read_text(encoding="utf-8"))["vectors"]
    if "quirk" in vector
]
START = datetime(2026, 9, 14, 8)

# Names as they stand in public code and issue threads; None: such a device needs no quirk.
NAMES = {
    "A&D_UA-651BLE_87DF1B": "and_ua651ble",
    "BLESmart_00000480EF66214013B0": "omron_blesmart",
    "BLEsmart_0000011": "omron_blesmart",
    "Contour7830H5779094": "contour_next_one",
    "meter+06647277": "accu_chek",
    "BM85": "beurer_bm85",
    "CareSens N Premier BLE": "caresens",
    "CareSens Dual 1A2B": "caresens",
    "ReliOn 2395": "caresens",
    "TNG VOICE": "taidoc",
    "TAIDOC TD3128": "taidoc",
    "FORA P60": "taidoc",
    "My Glucose": "my_glucose",
    "Nordic_CGMS": "cgm_warning_first",
    "CGM Simulator": "cgm_warning_second",
    "Nordic Glucose Sensor": None,
    "meter+01": None,
    "Philips DL8765": None,
    "": None,
}


def packet(vector):
    companion = vector.get("companion")
    return Packet(
        link="ble",
        sender="AA:BB",
        channel=vector["channel"],
        data=bytes.fromhex(vector["hex"]),
        received_at=datetime(2026, 9, 14, 12, tzinfo=UTC),
        companion=bytes.fromhex(companion) if companion else None,
        session=Session(session_start=START, quirk=vector["quirk"]),
    )


def told(measurement):
    time = measurement.device_time
    return {
        "vital": measurement.vital,
        "sent": list(measurement.sent),
        "unit": measurement.unit,
        "device_time": time and time.isoformat(),
        "sequence": measurement.sequence,
        "flags": sorted(measurement.flags),
        "context": dict(measurement.context),
    }


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_what_a_device_sends_becomes_what_it_means(vector):
    (outcome,) = decode(packet(vector))
    if "error" in vector:
        assert isinstance(outcome, DecodeError)
        assert vector["error"] in outcome.reason
        return
    assert isinstance(outcome, Measurement), outcome
    assert told(outcome) == vector["measurement"]
    assert outcome.raw.hex() == vector["hex"], "what is kept are the octets as sent"


@pytest.mark.parametrize("vector", BENT, ids=lambda vector: vector["id"])
def test_the_captures_of_bent_formats_decode_with_their_quirk(vector, capsys):
    described = gatt.describe(vector["uuid"], bytes.fromhex(vector["hex"]), correct=named(vector["quirk"]).corrected)
    assert described == [vector["expect"]]
    assert main(["decode", vector["uuid"].upper(), vector["hex"], "--quirk", vector["quirk"]]) == 0
    assert json.loads(capsys.readouterr().out) == vector["expect"]


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)
def test_every_quirk_has_a_vector_a_simulated_device_and_a_channel_that_is_read(quirk):
    assert any(vector["quirk"] == quirk.name for vector in VECTORS)
    assert quirk.name in MAKES
    assert set(quirk.octets) <= set(decoding._CHANNELS)
    assert named(quirk.name) is quirk


def test_names_are_names_of_one():
    assert len({quirk.name for quirk in QUIRKS}) == len(QUIRKS)


def test_an_unknown_quirk_is_refused_with_the_known_ones(capsys):
    vector = VECTORS[0] | {"quirk": "contour_next_two"}
    (refusal,) = decode(packet(vector))
    assert isinstance(refusal, DecodeError)
    assert "'contour_next_two'" in refusal.reason
    assert all(quirk.name in refusal.reason for quirk in QUIRKS)
    assert main(["decode", "2A35", vector["hex"], "--quirk", "contour_next_two"]) == 2
    assert "beurer_bm85" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_a_device_is_known_by_its_name(name, expected):
    quirk = quirk_of(DeviceIdentity(name=name, manufacturer="somebody", model="X-1", firmware="1.0"))
    assert (quirk and quirk.name) == expected


@pytest.mark.parametrize(("name", "made"), MAKES.items())
def test_a_simulated_device_is_known_by_what_it_says_of_itself(name, made):
    make = made.make
    identity = DeviceIdentity(
        name=made.name, manufacturer=make.manufacturer, model=make.model, firmware=make.firmware
    )
    quirk = quirk_of(identity)
    assert quirk is not None
    assert quirk.name == name


PATTERNS = [quirk.match.name.pattern for quirk in QUIRKS if quirk.match.name]


@given(st.sampled_from(PATTERNS).flatmap(lambda pattern: st.from_regex(pattern, fullmatch=True)))
def test_no_name_belongs_to_two(name):
    assert quirk_of(DeviceIdentity(name=name)) is not None


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_any_identity_is_one_devices_or_nobodys(name, manufacturer, model, firmware):
    quirk_of(DeviceIdentity(name=name, manufacturer=manufacturer, model=model, firmware=firmware))


def test_two_quirks_that_fit_are_an_error(monkeypatch):
    monkeypatch.setattr(quirks, "QUIRKS", (*QUIRKS, QUIRKS[0]))
    with pytest.raises(ValueError, match="and_ua651ble, and_ua651ble all claim"):
        quirk_of(DeviceIdentity(name="A&D_UA-651BLE_000000"))


@given(st.sampled_from(QUIRKS), st.sampled_from(sorted(gatt.CHARACTERISTICS)), st.binary(max_size=40))
def test_a_correction_keeps_the_length(quirk, channel, data):
    """Records are cut out of the octets as sent where the corrected ones were read."""
    assert len(quirk.corrected(channel, data)) == len(data)


def test_the_list_for_people_is_the_list_in_the_code():
    text = (ROOT / "docs" / "quirks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert [(name, device, differs, source) for name, device, differs, _, source in rows] == [
        (quirk.name, quirk.device, quirk.reason, quirk.source) for quirk in QUIRKS
    ]
    for (_, _, _, does, _), quirk in zip(rows, QUIRKS, strict=True):
        manner = quirk.manner
        for word, meant in (
            ("pairs first", manner.bond_first),
            (f"waits {manner.pause:g} s before each request", manner.pause > 0),
            ("sets the clock", manner.clock_write is not quirks.ClockWrite.NEVER and manner != quirks.Manner()),
            ("reads everything each time", not manner.selects_newer),
            ("corrects the octets", bool(quirk.octets)),
            ("corrects the claim", quirk.claim is not None),
            ("stays away", manner.rest is not None),
        ):
            assert (word in does) == meant, (quirk.name, word)

"""What is asked of a sensor and what it answers, octet by octet."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cgm_control import (
    GET_INTERVAL,
    RESET_DEVICE_ALERT,
    START_SESSION,
    STOP_SESSION,
    ControlError,
    Level,
    Operation,
    answer,
    get_level,
    set_interval,
    set_level,
    sfloat_octets,
    with_crc,
)
from ingest.gatt import cgm_operation, sfloat
from simulators import encode


@pytest.mark.parametrize(
    ("operation", "octets"),
    [
        (START_SESSION, "1a"),
        (STOP_SESSION, "1b"),
        (RESET_DEVICE_ALERT, "19"),
        (GET_INTERVAL, "02"),
        (set_interval(5), "0105"),
        (set_level(Level.PATIENT_HIGH, Decimal(180)), "07b400"),
        (set_level(Level.RATE_OF_DECREASE, Decimal("-2.5")), "13e7ff"),
        (get_level(Level.HYPO), "0e"),
    ],
)
def test_requests(operation: Operation, octets: str) -> None:
    assert operation.octets(crc=False).hex() == octets
    assert operation.octets(crc=True) == encode.with_crc(bytes.fromhex(octets))
    cgm_operation(operation.octets(crc=True))


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        set_interval(256)
    with pytest.raises(ValueError, match="exactly"):
        set_level(Level.HYPO, Decimal("54.321"))


def test_answers() -> None:
    assert answer(START_SESSION, bytes.fromhex("1c1a01"), crc=False) is not None
    told = answer(GET_INTERVAL, with_crc(bytes.fromhex("0305")), crc=True)
    assert told is not None
    assert told.interval_min == 5
    told = answer(get_level(Level.HYPO), bytes.fromhex("0f3600"), crc=False)
    assert told is not None
    assert told.level == 54.0


@pytest.mark.parametrize("octets", ["1c1b01", "1c0201", "0305"])
def test_an_answer_to_something_else_is_none(octets: str) -> None:
    assert answer(START_SESSION, bytes.fromhex(octets), crc=False) is None


@pytest.mark.parametrize(
    ("octets", "crc", "words"),
    [
        ("1c1a04", False, "will not start its session: it could not carry it out now"),
        ("1c1a63", False, r"unknown reason \(code 99\)"),
        ("1c1a01", True, "damaged"),
        ("1c1a010000", False, "damaged"),
        ("1c1a", False, "cannot be read"),
    ],
)
def test_refusals_and_damage_are_said(octets: str, crc: bool, words: str) -> None:
    with pytest.raises(ControlError, match=words):
        answer(START_SESSION, bytes.fromhex(octets), crc=crc)


@given(st.binary(max_size=20), st.booleans())
def test_any_answer_is_an_answer_none_or_an_error(data: bytes, crc: bool) -> None:
    try:
        found = answer(GET_INTERVAL, data, crc=crc)
    except ControlError:
        return
    assert found is None or found.interval_min is not None


@given(st.integers(-2045, 2045), st.integers(-8, 7))
def test_an_sfloat_says_what_was_meant(mantissa: int, exponent: int) -> None:
    value = Decimal(mantissa).scaleb(exponent)
    assert sfloat(int.from_bytes(sfloat_octets(value), "little")) == float(value)

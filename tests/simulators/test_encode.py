"""The encoders against bytes that others published: what a vector says must travel as its octets."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import encode
from simulators.encode import CgmRecord, DateTime, GlucoseContext, GlucoseRecord, PressureRecord

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "ble.json").read_text())["vectors"]
Expected = dict[str, Any]


def number(value: float | str) -> Decimal:
    return Decimal({"+INF": "Infinity", "-INF": "-Infinity", "NRes": "sNaN"}.get(str(value), str(value)))


def optional_number(value: float | str | None) -> Decimal | None:
    return None if value is None else number(value)


def moment(value: str | list[int]) -> DateTime:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    year, month, day, hour, minute, second = value
    return year, month, day, hour, minute, second


def glucose(expect: Expected) -> bytes:
    return encode.glucose_measurement(
        GlucoseRecord(
            sequence=expect["sequence"],
            base_time=moment(expect["base_time"]),
            time_offset_min=expect.get("time_offset_min"),
            concentration=optional_number(expect.get("concentration")),
            unit=expect.get("unit", "kg/L"),
            sample=(expect.get("type", 0), expect.get("location", 0)),
            status=expect.get("status"),
            context=GlucoseContext() if expect["context_follows"] else None,
        )
    )


def pair(expect: Expected, first: str, second: str) -> tuple[int, Any] | None:
    return (expect[first], expect[second]) if first in expect else None


def context(expect: Expected) -> bytes:
    def amount(kind: str, quantity: str) -> tuple[int, Decimal] | None:
        return (expect[kind], number(expect[quantity])) if kind in expect else None

    return encode.glucose_context(
        expect["sequence"],
        GlucoseContext(
            extended_flags=expect.get("extended_flags"),
            carbohydrate=amount("carb_id", "carb"),
            meal=expect.get("meal"),
            tester_health=pair(expect, "tester", "health"),
            exercise=pair(expect, "exercise_s", "exercise_pct"),
            medication=amount("medication_id", "medication"),
            medication_unit=expect.get("medication_unit", "kg"),
            hba1c_pct=optional_number(expect.get("hba1c_pct")),
        ),
    )


def pressure(expect: Expected) -> bytes:
    return encode.blood_pressure(
        PressureRecord(
            systolic=number(expect["systolic"]),
            diastolic=number(expect["diastolic"]),
            mean=number(expect["map"]),
            unit=expect["unit"],
            time=moment(expect["timestamp"]) if "timestamp" in expect else None,
            pulse=optional_number(expect.get("pulse")),
            user=expect.get("user_id"),
            status=expect.get("status"),
        )
    )


def cgm(expect: list[Expected]) -> bytes:
    return b"".join(
        encode.cgm_measurement(
            CgmRecord(
                offset_min=one["time_offset_min"],
                glucose=number(one["glucose"]),
                status=one.get("status"),
                calibration=one.get("cal_temp"),
                warning=one.get("warning"),
                trend=optional_number(one.get("trend")),
                quality_pct=optional_number(one.get("quality_pct")),
            ),
            crc=one.get("crc_ok", False),
        )
        for one in expect
    )


def record_access(expect: Expected) -> bytes:
    if "count" in expect:
        return encode.record_access_count(expect["count"])
    return encode.record_access_response(expect["request"], expect["code"])


def specific_ops(expect: Expected) -> bytes:
    answer = encode.specific_ops_response(expect["request"], expect["code"])
    return encode.with_crc(answer) if expect["crc"] == "ok" else answer


def session_start(expect: Expected) -> bytes:
    crc = expect["crc"] == "ok"
    return encode.cgm_session_start(moment(expect["value"]), expect["tz_quarters"], expect["dst"], crc=crc)


def status(expect: Expected) -> bytes:
    octets = (expect["status"], expect["cal_temp"], expect["warning"])
    return encode.cgm_status(expect["time_offset_min"], octets, crc=expect["crc"] == "ok")


ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "sfloat": lambda expect: encode.sfloat(number(expect["value"])),
    "2a08": lambda expect: encode.date_time(moment(expect["value"])),
    "2a2b": lambda expect: encode.current_time(datetime.fromisoformat(expect["value"])),
    "2a18": glucose,
    "2a34": context,
    "2a35": pressure,
    "2a36": pressure,
    "2a52": record_access,
    "2aa7": cgm,
    "2aa8": lambda expect: encode.cgm_feature(expect["features"], (expect["type"], expect["location"])),
    "2aa9": status,
    "2aaa": session_start,
    "2aab": lambda expect: encode.cgm_run_time(expect["hours"], crc=expect["crc"] == "ok"),
    "2aac": specific_ops,
}

# What a simulator never says, or says with other octets of the same meaning.
NOT_OURS = {
    "sfloat-reserved": "the reserved value has no meaning to encode",
    "racp-count-u32": "only meters with more than 65535 records count so",
}

# JSON numbers do not tell 190e-2 from 19e-1: the mantissa and exponent of the octets.
AS_SENT = {
    "sfloat-1.90": "1.90",
    "gm-nordic-full": "30",
    "gm-plx-652": "0.00120",
    "cgm-double": "12E+1",
    "cgm-crc-right": "12E+1",
}


def expected(row: Expected) -> Any:
    """The expectation of a row with its number as it was sent."""
    if row["id"] not in AS_SENT:
        return row["expect"]
    key = {"sfloat": "value", "2a18": "concentration", "2aa7": "glucose"}[row["uuid"]]
    if isinstance(row["expect"], list):
        return [one | {key: AS_SENT[row["id"]]} for one in row["expect"]]
    return row["expect"] | {key: AS_SENT[row["id"]]}


def encodable(row: Expected) -> bool:
    expect = row.get("expect", {})
    return (
        row["uuid"] in ENCODERS
        and "error" not in row
        and "quirk" not in row
        and row["id"] not in NOT_OURS
        and (isinstance(expect, list) or expect.get("crc") != "bad")
        and not (isinstance(expect, list) and expect[0].get("crc_ok") is False)
        and (row["uuid"] != "2aac" or expect["op"] == 0x1C)
    )


ROWS = [row for row in VECTORS if encodable(row)]


def test_most_vectors_are_encodable() -> None:
    assert len(ROWS) >= 55


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_vector(row: Expected) -> None:
    assert ENCODERS[row["uuid"]](expected(row)).hex() == row["hex"]


@pytest.mark.parametrize("row", [row for row in VECTORS if row["uuid"] == "crc"], ids=lambda row: row["id"])
def test_crc(row: Expected) -> None:
    message = bytes.fromhex(row["hex"])
    assert encode.with_crc(message) == message + row["expect"]["crc"].to_bytes(2, "little")


def test_sfloat_keeps_the_exponent() -> None:
    assert encode.sfloat(Decimal("1.90")).hex() == "bee0"
    assert encode.sfloat(Decimal("1.9")).hex() == "13f0"


@pytest.mark.parametrize("value", ["2047", "2046", "-2046", "-2048", "2049", "1E+11", "1E-9", "0.12345"])
def test_sfloat_refuses_what_it_cannot_hold(value: str) -> None:
    with pytest.raises(ValueError, match="exactly"):
        encode.sfloat(Decimal(value))


@given(st.integers(-2048, 2047), st.integers(-8, 7))
def test_sfloat_is_mantissa_and_exponent(mantissa: int, exponent: int) -> None:
    value = Decimal(mantissa).scaleb(exponent)
    try:
        word = int.from_bytes(encode.sfloat(value), "little")
    except ValueError:
        assert exponent == 0
        assert mantissa in {2047, 2046, -2046, -2047, -2048}
    else:
        assert word & 0xFFF == mantissa & 0xFFF
        assert word >> 12 == exponent & 0xF


@given(st.integers(1, 9), st.integers(8, 10))
def test_sfloat_moves_digits_into_a_small_mantissa(mantissa: int, exponent: int) -> None:
    if mantissa * 10 ** (exponent - 7) <= 2047:
        word = int.from_bytes(encode.sfloat(Decimal(mantissa).scaleb(exponent)), "little")
        assert word >> 12 == 7
        assert word & 0xFFF == mantissa * 10 ** (exponent - 7)

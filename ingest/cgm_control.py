"""The CGM Specific Ops Control Point (2AAC) from the collector's side: what can be asked, and what an answer means.

Pure. Sources: GATT Specification Supplement (CGM specific ops control point); Continuous Glucose Monitoring Service
1.0.2 (E2E-CRC on requests and answers of a sensor that promises it).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

from ingest.gatt import CgmOperation, cgm_operation, e2e_crc
from ingest.reading import DecodeError

_RESPONSE: Final = 0x1C
_SUCCESS: Final = 1
_CODES: Final = {
    2: "it does not know this operation",
    3: "it does not accept the value",
    4: "it could not carry it out now",
    5: "the value is out of its range",
}


class ControlError(Exception):
    """The sensor did not do what it was asked to. The text is a sentence for a person."""


class Level(Enum):
    """An alert level of the sensor by its op codes: to set, to get, the answer's. In mg/dL, rates in mg/dL/min."""

    PATIENT_HIGH = (0x07, 0x08, 0x09)
    PATIENT_LOW = (0x0A, 0x0B, 0x0C)
    HYPO = (0x0D, 0x0E, 0x0F)
    HYPER = (0x10, 0x11, 0x12)
    RATE_OF_DECREASE = (0x13, 0x14, 0x15)
    RATE_OF_INCREASE = (0x16, 0x17, 0x18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing to ask of a sensor. what: it, in words. answer: the op code with which a value comes back."""

    what: str
    op: int
    operand: bytes = b""
    answer: int = _RESPONSE

    def octets(self, *, crc: bool) -> bytes:
        """The request as it is written, with its E2E-CRC where the sensor promises to check one."""
        request = bytes((self.op,)) + self.operand
        return with_crc(request) if crc else request


START_SESSION: Final = Operation(what="start its session", op=0x1A)
STOP_SESSION: Final = Operation(what="stop its session", op=0x1B)
RESET_DEVICE_ALERT: Final = Operation(what="reset its alert", op=0x19)
GET_INTERVAL: Final = Operation(what="tell how often it sends a value", op=0x02, answer=0x03)

FASTEST: Final = 0xFF
DISABLED: Final = 0x00


def set_interval(minutes: int) -> Operation:
    """Minutes between two live values, 1 to 254; DISABLED: none are sent; FASTEST: as often as the sensor can.

    Raises ValueError beyond that.
    """
    if not DISABLED <= minutes <= FASTEST:
        raise ValueError(f"a communication interval has 0 to 255 minutes, not {minutes}")
    return Operation(what=f"send a value every {minutes} min", op=0x01, operand=bytes((minutes,)))


def set_level(level: Level, value: Decimal) -> Operation:
    """Set an alert level. Raises ValueError for a value that an SFLOAT cannot hold exactly."""
    return Operation(what=f"alert at {value}", op=level.value[0], operand=sfloat_octets(value))


def get_level(level: Level) -> Operation:
    """Ask for an alert level."""
    return Operation(what="tell an alert level", op=level.value[1], answer=level.value[2])


def answer(operation: Operation, data: bytes, *, crc: bool) -> CgmOperation | None:
    """What the sensor's indication answers to the operation; None when it answers something else.

    Raises ControlError when it refuses, or when the answer is damaged (crc: one is promised).
    """
    try:
        found = cgm_operation(data)
    except DecodeError as error:
        raise ControlError(f"the sensor answered what cannot be read ({error}); ask again") from error
    if found.crc == "bad" or (crc and found.crc == "none"):
        raise ControlError("the sensor's answer arrived damaged (E2E-CRC); ask again")
    if found.op == _RESPONSE:
        if found.request != operation.op:
            return None
        if found.code != _SUCCESS:
            reason = _CODES.get(found.code or 0, "unknown reason")
            raise ControlError(f"the sensor will not {operation.what}: {reason} (code {found.code})")
    return found if found.op == operation.answer else None


def with_crc(message: bytes) -> bytes:
    """The octets followed by their E2E-CRC."""
    return message + e2e_crc(message).to_bytes(2, "little")


def sfloat_octets(value: Decimal) -> bytes:
    """A number as SFLOAT, least octet first. Raises ValueError for one that it cannot hold exactly."""
    for exponent in sorted(range(-8, 8), key=abs):
        mantissa = value.scaleb(-exponent)
        # What lies beyond means "no number" when the exponent is 0.
        if mantissa == mantissa.to_integral_value() and -2045 <= mantissa <= 2045:
            return ((exponent & 0x0F) << 12 | int(mantissa) & 0x0FFF).to_bytes(2, "little")
    raise ValueError(f"an SFLOAT cannot hold {value} exactly")

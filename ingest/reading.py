"""The nouns of the straight path: Packet, Measurement, Reading, and the two ways a packet can end elsewhere.

Packet: what came. Measurement: what the device claims. Reading: what we believe, and whose it is.
DecodeError and Refusal are outcomes with a reason; the bytes then wait as a letter and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from ingest.quick import quick
from ingest.vital import Unit, Vital

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UPLINK: Final = "uplink "  # how the link of a forwarded packet begins; the name of the home post follows
NO_CONTEXT: Final[Mapping[str, str | float]] = MappingProxyType({})


def to_us(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exact (no float on the way)."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(microseconds: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01 UTC, exact."""
    return EPOCH + timedelta(microseconds=microseconds)


class Flag(StrEnum):
    """What a device says about a value. Names follow the Bluetooth SIG's status bits."""

    ABOVE_RANGE = "above-range"  # the display showed HI; there is no number
    BELOW_RANGE = "below-range"  # the display showed LO; there is no number
    BATTERY_LOW = "battery-low"
    SENSOR_MALFUNCTION = "sensor-malfunction"
    SAMPLE_INSUFFICIENT = "sample-insufficient"
    STRIP_ERROR = "strip-error"
    TEMPERATURE_ERROR = "temperature-error"
    TIME_FAULT = "time-fault"
    CONTROL_SOLUTION = "control-solution"  # a test of the meter, not of the patient
    BODY_MOVEMENT = "body-movement"
    CUFF_LOOSE = "cuff-loose"
    IRREGULAR_PULSE = "irregular-pulse"
    PULSE_ABOVE_RANGE = "pulse-above-range"
    PULSE_BELOW_RANGE = "pulse-below-range"
    IMPROPER_POSITION = "improper-position"
    SESSION_STOPPED = "session-stopped"
    CALIBRATION_NEEDED = "calibration-needed"
    MEAL_UNKNOWN = "meal-unknown"  # the meal in its context is none of MEALS; said by admission


# The meals by which a glucose is judged; the words of the context's `meal`.
MEALS: Final = frozenset({"before-meal", "after-meal", "fasting", "casual", "bedtime"})
# What the display shows in place of a number. Both at once contradict each other: there is nothing to believe.
BEYOND_RANGE: Final = frozenset({Flag.ABOVE_RANGE, Flag.BELOW_RANGE})
CONTRADICTION: Final = "the value is said to be above and below the range at once; a guess is not a number"


class TimeBasis(StrEnum):
    """How the moment of a reading is known."""

    DEVICE = "device"  # the device's own clock, believed
    CORRECTED = "corrected"  # the device's clock less its known error
    BEFORE_RESET = "before-reset"  # the device's clock as it was before somebody set or reset it
    ARRIVAL = "arrival"  # the device gave no time, or an unbelievable one


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a link learnt about the device before it read: needed to place its times.

    clock_offset: device clock minus true time, measured in this session; None when the device has no readable clock.
    utc_offset: how far the wearer's local time was ahead of UTC when the clock was read; None with no clock_offset.
    session_start: start of the CGM session (2AAA), aware when the sensor knows its zone, else naive wearer's time.
    e2e_crc: the sensor's features (2AA8) promise a CRC on each record, so one without it is damaged.
    quirk: name of the rule of `ingest.quirks` that the device needs, None for one that keeps to the specification.
    """

    clock_offset: timedelta | None = None
    utc_offset: timedelta | None = None
    session_start: datetime | None = None
    e2e_crc: bool = False
    quirk: str | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """Bytes as a link delivered them, stamped with their arrival (aware UTC).

    link: "ble", "broker", "listener" or "http", or UPLINK and the home post that had it first. sender: BLE address,
    or the device named by the topic.
    channel: four lower-case hex digits of a characteristic ("2a18"), or "json".
    companion: the Glucose Measurement Context (2A34) that belongs to a 2A18, joined by the link.
    fault: set by a link that could not deliver the whole (too large, hostile topic): what was wrong, in a sentence;
    data then holds what was kept of it.
    """

    link: str
    sender: str
    channel: str
    data: bytes
    received_at: datetime
    companion: bytes | None = None
    session: Session | None = None
    fault: str | None = None

    @property
    def is_named(self) -> bool:
        """Whether its stamp tells it from every other packet of its sender: a home post sees to that."""
        return self.link.startswith(UPLINK)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the device claims, exactly as sent.

    sent: one number per component of the vital, in `unit`; None where the device gave no value.
    device_time: naive = wearer's local time on the device's clock, aware = the device knows its zone,
    None = the device has no (believable) time. sequence: the device's own record number.
    raw: the octets of this one measurement where the format is binary, else empty.
    """

    device: str
    vital: Vital
    sent: tuple[float | None, ...]
    unit: Unit
    device_time: datetime | None
    sequence: int | None = None
    flags: frozenset[Flag] = frozenset()
    context: Mapping[str, str | float] = field(default_factory=lambda: NO_CONTEXT)
    raw: bytes = b""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What we believe, and whose it is.

    values: canonical units, one per component (`ingest.vital.COMPONENTS`); sent and unit: as received.
    A display's HI or LO is a value of None with the flag ABOVE_RANGE or BELOW_RANGE.
    taken_at and received_at are aware UTC; taken_at is known by `time_basis`. clock_offset is the device's
    clock error at the time of reading it (None = not known), whether or not it had to be corrected.
    Its identity is (device, vital, sequence, device_time): a redelivery or a backfill is the same reading.
    named: its packet is, so that received_at belongs to the identity of one that has neither number nor time.
    twin: 0, or 1, 2, ... where the device took several at the same moment, as the journal counted them.
    rev: 1, or 2, 3, ... where the device told the same record again with another value; the highest is believed.
    """

    patient: str
    device: str
    vital: Vital
    values: tuple[float | None, ...]
    sent: tuple[float | None, ...]
    unit: Unit
    taken_at: datetime
    time_basis: TimeBasis
    received_at: datetime
    device_time: datetime | None = None
    sequence: int | None = None
    clock_offset: timedelta | None = None
    flags: frozenset[Flag] = frozenset()
    context: Mapping[str, str | float] = field(default_factory=lambda: NO_CONTEXT)
    raw: bytes = b""
    named: bool = field(default=False, compare=False)
    twin: int = field(default=0, compare=False)
    rev: int = field(default=1, compare=False)

    @property
    def key(self) -> str:
        """How evidence names this reading: vital, moment (UTC, microseconds) and device."""
        return reading_key(self.vital, self.taken_at, self.device)


def reading_key(vital: Vital, taken_at: datetime, device: str) -> str:
    """How evidence names the reading of a device at a moment (UTC)."""
    return f"{vital}/{taken_at.isoformat(timespec='microseconds')[:26]}Z/{device}"


def of_key(key: str) -> tuple[Vital, datetime, str]:
    """What `reading_key` made it of; the moment is aware UTC. Raises ValueError where it names no reading."""
    vital, taken_at, device = key.split("/", 2)
    return Vital(vital), datetime.fromisoformat(taken_at), device


class DecodeError(Exception):
    """Octets that are not the message they claim to be.

    kind: "too_short" (octets are missing) or "invalid" (not this message). offset: the octet (or character of a
    JSON text) at which decoding stopped, 0 also where no single one is to blame. The text says what was expected and
    what was found.
    """

    def __init__(self, kind: Literal["too_short", "invalid"], reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} (at offset {offset})" if offset else reason)
        self.kind = kind
        self.reason = reason
        self.offset = offset


class RefusalReason(StrEnum):
    """Why a measurement was not admitted. Each is a letter's `reason` and a counter's label."""

    UNASSIGNED = "unassigned"  # nobody is known to wear the device; admitted once it is paired
    NO_VALUE = "no-value"  # the device reports a failed measurement
    CONTROL_SOLUTION = "control-solution"
    IMPOSSIBLE = "impossible"  # outside the bounds of the possible


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A measurement that was understood but not admitted, with a sentence that a person can act on.

    anonymous: the device gave it neither a number nor a time, so that its arrival alone tells it from an equal one.
    too_high: what it would have been, where it is a blood glucose too high to be believed.
    """

    reason: RefusalReason
    because: str
    device: str
    sequence: int | None = None
    anonymous: bool = False
    too_high: Reading | None = None

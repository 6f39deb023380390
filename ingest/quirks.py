"""Devices that differ from the specification: each difference is a value with a reason and a source.

A quirk says how a device is recognised, what has to be put right in what it sends, and how a session with it must
be held. The raw octets are always kept, so a quirk found later can be applied to what came before it.

None of these devices was at hand: what is known of them comes from public code and issue threads, named in `source`,
which also says what is a guess. docs/quirks.md is this list for people; `tests/vectors/quirks.json` has its octets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from ingest import gatt
from ingest.reading import DecodeError, Flag, Measurement, Packet
from ingest.vital import Unit, Vital


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """What a device says of itself: its advertised name, its Device Information (180A); "" where it says nothing."""

    name: str = ""
    manufacturer: str = ""
    model: str = ""
    firmware: str = ""


class ClockWrite(StrEnum):
    """When a device's clock may be set."""

    AFTER_RECORDS = "after-records"  # the rule: what is stored was measured by the clock as it was
    ON_NOTIFICATION = "on-notification"  # only when the clock (2A2B) itself notifies
    WITH_RECORDS = "with-records"  # when the first record is here: the device hangs up right after the last
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorClock:
    """A clock behind a maker's own characteristic. head: octets before the Date Time (2A08 layout)."""

    service: str
    characteristic: str
    head: bytes = b""
    utc: bool = False  # shows UTC, followed by the wearer's offset from it (i16, minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorWrite:
    """Octets for a maker's own characteristic (full lower-case UUIDs)."""

    service: str
    characteristic: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a session with the device must be held; the default is the specification's.

    bond_first: pair before anything else is asked. pause: seconds to wait before each request (and before the
    subscriptions). clock_write, clock_slack: when the clock may be set, and only if it is further off than this.
    vendor_clock: where it is set when the standard characteristics do not. selects_newer: False = it can only report
    everything. ask: to be written, after the subscriptions, to make it send. part: to be written when all is read.
    rest: seconds to stay away after a session, None = as for any device.
    """

    bond_first: bool = False
    pause: float = 0.0
    clock_write: ClockWrite = ClockWrite.AFTER_RECORDS
    clock_slack: timedelta = timedelta(seconds=60)
    vendor_clock: VendorClock | None = None
    selects_newer: bool = True
    ask: VendorWrite | None = None
    part: VendorWrite | None = None
    rest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How a device is recognised: every pattern given must match the whole text."""

    name: re.Pattern[str] | None = None
    manufacturer: re.Pattern[str] | None = None
    model: re.Pattern[str] | None = None
    firmware: re.Pattern[str] | None = None

    def fits(self, identity: DeviceIdentity) -> bool:
        """Whether the device is meant."""
        wanted = (
            (self.name, identity.name),
            (self.manufacturer, identity.manufacturer),
            (self.model, identity.model),
            (self.firmware, identity.firmware),
        )
        return all(pattern is None or pattern.fullmatch(said) for pattern, said in wanted)


Correction: TypeAlias = Callable[[bytes], bytes]
"""Octets of one characteristic as the specification would have them: as many as were sent, whatever was sent."""

Claim: TypeAlias = Callable[[Measurement, Packet], Measurement]
"""What a decoded measurement means on this device. Raises DecodeError when that cannot be told."""

_NO_CORRECTION: Final[Mapping[str, Correction]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """One rule. name: as stored with what it was applied to. device, reason, source: for a person.

    octets: by channel ("2a18"), what is put right before decoding. claim: what is put right after it.
    """

    name: str
    device: str
    match: Match
    reason: str
    source: str
    octets: Mapping[str, Correction] = field(default_factory=lambda: _NO_CORRECTION)
    claim: Claim | None = None
    manner: Manner = field(default_factory=Manner)

    def corrected(self, channel: str, data: bytes) -> bytes:
        """The octets of a channel as the specification would have them; of the same length."""
        correction = self.octets.get(channel)
        return correction(data) if correction else data


def named(name: str) -> Quirk:
    """The quirk of that name. Raises DecodeError, which lists the names, when there is none."""
    for quirk in QUIRKS:
        if quirk.name == name:
            return quirk
    known = ", ".join(quirk.name for quirk in QUIRKS)
    raise DecodeError("invalid", f"no quirk is called {name[:40]!r}; known: {known}")


def quirk_of(identity: DeviceIdentity) -> Quirk | None:
    """The quirk of a device, None for one that keeps to the specification.

    Raises ValueError when two fit: which of them holds must not be left to chance.
    """
    fitting = [quirk for quirk in QUIRKS if quirk.match.fits(identity)]
    if len(fitting) > 1:
        raise ValueError(f"{', '.join(quirk.name for quirk in fitting)} all claim the device {identity}")
    return fitting[0] if fitting else None


# --- blood pressure (2A35): flags, three pressures, time stamp at 7 to 13, pulse at 14, user at 16, status at 17

_BEURER_FLAGS: Final = 0x56  # reserved bit 6, status, pulse, time stamp; the user id that follows is not announced
_BEURER_SIZE: Final = 19
_USER_ID: Final = 0x08


def _beurer_pressure(data: bytes) -> bytes:
    """Announce the user id, and turn pulse and status round."""
    if len(data) != _BEURER_SIZE or data[0] & ~0x01 != _BEURER_FLAGS:
        return data
    pulse, user, status = data[14:16], data[16:17], data[17:19]
    return bytes((data[0] | _USER_ID,)) + data[1:14] + pulse[::-1] + user + status[::-1]


# --- glucose (2A18): flags, sequence at 1, base time at 3 (month at 5), [offset], [concentration, type and location]

_MONTH: Final = 5
_TIME_OFFSET, _CONCENTRATION = 0x01, 0x02
_ALL_ONES, _NAN = b"\xff\xff", b"\xff\x07"


def _thirteenth_month(data: bytes) -> bytes:
    """January for month 13."""
    return data[:_MONTH] + b"\x01" + data[_MONTH + 1 :] if data[_MONTH : _MONTH + 1] == b"\x0d" else data


def _no_concentration(data: bytes) -> bytes:
    """Not a number for a concentration of FFFF."""
    if not data or not data[0] & _CONCENTRATION:
        return data
    at = 12 if data[0] & _TIME_OFFSET else 10
    return data[:at] + _NAN + data[at + 2 :] if data[at : at + 2] == _ALL_ONES else data


_KETONE_MEAL: Final = "reserved-6"
_KETONE_HIGHEST: Final = 8.0  # mmol/L; the display shows HI above it
_TENTHS_OF_MG_DL: Final = 4  # the power of ten that makes them of kg/L


def _ketone(measurement: Measurement, packet: Packet) -> Measurement:
    """A ketone is sent as a glucose of ten times as many mg/dL; only the context tells them apart.

    Where the context is missing it stays a glucose: a ketone taken for a hypoglycaemia is soon cleared up, a
    hypoglycaemia that waits as a letter is not.
    """
    if packet.channel != "2a18":
        return measurement
    meal, (sent,) = measurement.context.get("meal"), measurement.sent
    per_litre = Decimal(repr(sent)) if sent is not None and measurement.unit is Unit.KG_L else None
    mmol_l = None if per_litre is None else float(per_litre.scaleb(_TENTHS_OF_MG_DL))
    if meal != _KETONE_MEAL:
        return measurement
    if measurement.unit is not Unit.KG_L:
        raise DecodeError("invalid", f"a ketone in {measurement.unit}: how this meter scales it is not known")
    beyond = mmol_l is not None and mmol_l > _KETONE_HIGHEST
    return replace(
        measurement,
        vital=Vital.KETONE,
        sent=(None if beyond else mmol_l,),
        unit=Unit.MMOL_L,
        flags=measurement.flags | ({Flag.ABOVE_RANGE} if beyond else set()),
        context={key: value for key, value in measurement.context.items() if key != "meal"},
    )


def _unnumbered(measurement: Measurement, _packet: Packet) -> Measurement:
    """Without its number, which another record will bear after the next measurement."""
    return replace(measurement, sequence=None)


# --- CGM (2AA7): size, flags, glucose, time offset; at 6 the annunciation octets that the flags announce

_STATUS, _CALIBRATION, _WARNING = 0x80, 0x40, 0x20
_SIG_ORDER: Final = (_STATUS, _CALIBRATION, _WARNING)
_ANNUNCIATION: Final = 6
_TREND_AND_QUALITY: Final = 0x03


def _annunciation_sent(order: tuple[int, int, int]) -> Correction:
    """Put the annunciation octets, sent in `order`, into the order of the SIG; a CRC that fitted fits again."""

    def reordered(record: bytes) -> bytes:
        flags = record[1]
        said = dict(zip((bit for bit in order if flags & bit), record[_ANNUNCIATION:], strict=False))
        end = _ANNUNCIATION + len(said)
        turned = record[:_ANNUNCIATION] + bytes(said[bit] for bit in _SIG_ORDER if bit in said) + record[end:]
        has_crc = len(record) == end + 2 * (flags & _TREND_AND_QUALITY).bit_count() + 2
        if has_crc and gatt.e2e_crc(record[:-2]).to_bytes(2, "little") == record[-2:]:
            return turned[:-2] + gatt.e2e_crc(turned[:-2]).to_bytes(2, "little")
        return turned

    def correction(data: bytes) -> bytes:
        records, at = b"", 0
        while at < len(data):
            size = data[at]
            if size < _ANNUNCIATION or at + size > len(data):
                return records + data[at:]
            records += reordered(data[at : at + size])
            at += size
        return records

    return correction


# --- the devices


def _of_name(pattern: str) -> Match:
    return Match(name=re.compile(pattern))


_AND_SERVICE: Final = "233bf000-5a34-1b6d-975c-000d5690abe4"
_AND_COMMANDS: Final = "233bf001-5a34-1b6d-975c-000d5690abe4"

QUIRKS: Final[tuple[Quirk, ...]] = (
    Quirk(
        name="and_ua651ble",
        device="A&D UA-651BLE",
        match=_of_name(r"A&D_UA-651BLE.*"),
        reason="sends what it has not sent yet, after it was asked to or its time was set, and hangs up by itself",
        source="obniz@5e6bab2 UA651BLE; weliem/blessed-bluez@4354c6d (40 s before the next connection)",
        manner=Manner(
            clock_write=ClockWrite.WITH_RECORDS,
            ask=VendorWrite(service=_AND_SERVICE, characteristic=_AND_COMMANDS, data=b"\x02\x00\xe1"),
            rest=40.0,
        ),
    ),
    Quirk(
        name="omron_blesmart",
        device="Omron Evolv, Connect and X series",
        match=_of_name(r"BLE[Ss]mart_.*"),
        reason="drops a link without a bond; its clock can be set only when it notifies it, and only if 10 min off",
        source="weliem/blessed-android@44bba83 BluetoothHandler; eigger/hass-omron@d6758ed issues 11, 20, 91, 92",
        manner=Manner(bond_first=True, clock_write=ClockWrite.ON_NOTIFICATION, clock_slack=timedelta(minutes=10)),
    ),
    Quirk(
        name="contour_next_one",
        device="Ascensia Contour Next One",
        match=_of_name(r"Contour\d{4}.*"),
        reason="asks twice to be paired unless that comes first; its clock is set in UTC in a service of its maker",
        source="weliem/blessed-android@44bba83 writeContourClock; NightscoutFoundation/xDrip issue 1076; "
        "advertised names such as Contour7830H5779094 in public code",
        manner=Manner(
            bond_first=True,
            vendor_clock=VendorClock(
                service="00000000-0002-11e2-9e96-0800200c9a66",
                characteristic="00001026-0002-11e2-9e96-0800200c9a66",
                head=b"\x01",
                utc=True,
            ),
        ),
    ),
    Quirk(
        name="accu_chek",
        device="Accu-Chek Guide, Guide Me, Instant and Aviva Connect",
        match=_of_name(r"meter\+\d{8}"),
        reason="gives records to a bonded peer only (six digits on its display); has a second 2A52 in a service of "
        "Roche; announces contexts that it does not always send",
        source="NightscoutFoundation/xDrip issues 208, 308; weliem/blessed-android issue 35; "
        "innoveit/react-native-ble-manager issue 1162",
        manner=Manner(bond_first=True),
    ),
    Quirk(
        name="beurer_bm85",
        device="Beurer BM85 and other BM cuffs",
        match=_of_name(r"(Beurer )?BM ?\d{2}.*"),
        reason="sends a user id that it does not announce, pulse and status with the high octet first; needs a rest "
        "before it is asked for anything",
        source="derdilla/blood-pressure-monitor-fl@17aba3d (captures of a BM85); the layout is corrected only where "
        "the octets show it. The names, other models and the length of the rest are guesses",
        octets=MappingProxyType({"2a35": _beurer_pressure}),
        manner=Manner(pause=1.0),
    ),
    Quirk(
        name="caresens",
        device="i-SENS CareSens, ReliOn of the same maker",
        match=_of_name(r"(CareSens|ReliOn (2395|0015)).*"),
        reason="sends month 13 for January, and a ketone as a glucose of ten times as many mg/dL whose context says "
        "meal 6; loses requests that follow one another within half a second; clock in a service of its maker",
        source="tidepool-org/ble-glucose@c904612, uploader@3651507 bluetoothLEDriver (names, ketone, 500 ms, FFF1); "
        "NightscoutFoundation/xDrip@c2a0ba1 caresens. Which year month 13 carries is not known: kept as sent",
        octets=MappingProxyType({"2a18": _thirteenth_month}),
        claim=_ketone,
        manner=Manner(
            pause=0.5,
            vendor_clock=VendorClock(
                service="0000fff0-0000-1000-8000-00805f9b34fb",
                characteristic="0000fff1-0000-1000-8000-00805f9b34fb",
                head=b"\xc0\x03\x01\x00",
            ),
        ),
    ),
    Quirk(
        name="taidoc",
        device="TaiDoc and Fora",
        match=_of_name(r"(?i:taidoc|fora|tng).*"),
        reason="numbers its records from the newest, so that a number means another record tomorrow; has no clock to "
        "be read or set, and cannot select newer records",
        source="tidepool-org/uploader@3651507 (reversed sequence, no clock, no delta; the name TNG VOICE). That the "
        "numbers move and the other names are guesses",
        claim=_unnumbered,
        manner=Manner(clock_write=ClockWrite.NEVER, selects_newer=False),
    ),
    Quirk(
        name="my_glucose",
        device='the meter that calls itself "My Glucose"',
        match=_of_name(r"My ?Glucose.*"),
        reason="sends FFFF, which is -0.1, as the concentration of a failed measurement. It also sends ketones as "
        "2A18 with nothing that tells them from glucose: those cannot be put right",
        source="pullrequest.ru/14028530; the advertised name is a guess",
        octets=MappingProxyType({"2a18": _no_concentration}),
    ),
    Quirk(
        name="cgm_warning_first",
        device="sensors built on Nordic's nRF5 SDK",
        match=_of_name(r"Nordic_CGMS.*"),
        reason="sends the annunciation octets as warning, calibration, status",
        source="Nordic nRF5 SDK nrf_ble_cgms; ble_app_cgms (the name: a product made with it has its own)",
        octets=MappingProxyType({"2aa7": _annunciation_sent((_WARNING, _CALIBRATION, _STATUS))}),
    ),
    Quirk(
        name="cgm_warning_second",
        device="UHN's CGM simulator",
        match=_of_name(r"CGM Simulator.*"),
        reason="sends the annunciation octets as status, warning, calibration",
        source="uhnmdi/BLECgmSim; its name from uhnmdi/CCContinuousGlucose",
        octets=MappingProxyType({"2aa7": _annunciation_sent((_STATUS, _WARNING, _CALIBRATION))}),
    ),
)

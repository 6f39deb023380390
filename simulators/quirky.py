"""Simulated devices of known makes, each with the differences from the specification that public code reports of it.

`MAKES` has one for each name of a quirk. What they send is written here from the captures and the sources, apart
from the rules that read it: octets are bent after the encoders of `simulators.encode` have made them right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from struct import pack, unpack
from typing import Any, ClassVar, Final, Literal, TypeVar

from bumble import att, gatt
from bumble.device import Connection, Device

from simulators import encode
from simulators.air import Air
from simulators.cgm import CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseRecord
from simulators.gatt_server import (
    CURRENT_TIME,
    STANDARD,
    DeviceClock,
    GattServer,
    Guarded,
    Make,
    Security,
    parse_date_time,
    service,
)
from simulators.meter import GlucoseMeter
from simulators.record_access import Code, Operator, RecordAccess, _RefusedError

_T = TypeVar("_T")

REFUSED: Final = 0x80
"""The ATT error of an application, with which these devices refuse what they will not do now."""


class AndCuff(BloodPressureCuff):
    """A&D UA-651BLE: sends what is unsent once it was asked to or its time was set, then hangs up.

    LINGER_S: how long it stays after the last record; over a radio every record alone takes a fifth of that.
    """

    ASK: ClassVar[bytes] = b"\x02\x00\xe1"
    LINGER_S: ClassVar[float] = 0.2

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD) -> None:
        super().__init__(device, clock, make, hangs_up=True)
        self._released = False

    def services(self) -> list[gatt.Service]:
        """Blood pressure, and the commands of the maker."""
        commands = self.characteristic("233bf001-5a34-1b6d-975c-000d5690abe4", write=self._on_command)
        return [*super().services(), service("233bf000-5a34-1b6d-975c-000d5690abe4", [commands])]

    def _on_command(self, _connection: Connection, value: bytes) -> None:
        if value == self.ASK:
            self._release()

    def _set_date_time(self, connection: Connection, value: bytes) -> None:
        super()._set_date_time(connection, value)
        self._release()

    async def hang_up(self) -> None:
        """End the link a moment after everything was sent."""
        await asyncio.sleep(self.LINGER_S)
        await super().hang_up()

    def _release(self) -> None:
        self._released = True
        self.spawn(self._deliver())

    async def _deliver(self) -> None:
        if self._released:
            await super()._deliver()

    def _on_disconnection(self, reason: int) -> None:
        self._released = False
        super()._on_disconnection(reason)


class OmronCuff(BloodPressureCuff):
    """Omron: drops a link that asks for anything without a bond; takes its time only right after it has shown it.

    dropped: how often it hung up for want of a bond.
    """

    LEAST_ERROR: ClassVar[timedelta] = timedelta(minutes=10)

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD) -> None:
        self.dropped = 0
        self._shown: Guarded | None = None
        self._may_be_set = False
        super().__init__(device, clock, make)

    def characteristic(self, uuid: int | str, **offered: Any) -> Guarded:
        """One that answers a bonded peer only."""
        for access in ("read", "write"):
            if offered.get(access):
                offered[access] = self._bonded(offered[access])
        if offered.get("security") is Security.OPEN or not (offered.get("notify") or offered.get("indicate")):
            offered["security"] = Security.OPEN  # it hangs up instead of asking for a bond
        return super().characteristic(uuid, **offered)

    def _bonded(self, handler: Callable[..., _T]) -> Callable[..., _T]:
        def guarded(*values: Any) -> _T:
            if self.connection is not None and not self.connection.encryption:
                self.dropped += 1
                self.spawn(self.hang_up())
                raise att.ATT_Error(REFUSED)
            return handler(*values)

        return guarded

    def date_time(self) -> list[Guarded]:
        """None: the clock is in its service only."""
        return []

    def _current_time_service(self) -> list[gatt.Service]:
        self._shown = self.characteristic(
            0x2A2B, read=lambda: encode.current_time(self.clock.read()), write=self._set_current_time, notify=True
        )
        self._shown.on(Guarded.EVENT_SUBSCRIPTION, lambda *_: self.spawn(self._show()))
        return [service(CURRENT_TIME, [self._shown])]

    async def _show(self) -> None:
        if self._shown is not None and self.subscribed(self._shown):
            self._may_be_set = self.subscribed(self._measurement)
            await self.notify(self._shown, encode.current_time(self.clock.read()))

    def _set_current_time(self, connection: Connection, value: bytes) -> None:
        if not self._may_be_set or abs(self.clock.error) <= self.LEAST_ERROR:
            raise att.ATT_Error(REFUSED)
        self._may_be_set = False
        super()._set_current_time(connection, value)


class BeurerCuff(BloodPressureCuff):
    """Beurer BM85: a user id that the flags do not announce, pulse and status with the high octet first."""

    USER: ClassVar[int] = 1

    async def indicate(self, characteristic: Guarded, value: bytes) -> None:
        """Indicate the measurement in the layout of the captures; it needs time, pulse and status to be given."""
        pressures, time, pulse, status = value[1:7], value[7:14], value[14:16], value[16:18]
        bent = b"\x56" + pressures + time + pulse[::-1] + bytes((self.USER,)) + status[::-1]
        await super().indicate(characteristic, bent)


class ContourMeter(GlucoseMeter):
    """Contour Next One: a clock that is read in 1805 and set, in UTC, in the service of its maker."""

    def services(self) -> list[gatt.Service]:
        """Glucose, and the maker's own."""
        clock = self.characteristic("00001026-0002-11e2-9e96-0800200c9a66", write=self._set_vendor_clock, notify=True)
        return [*super().services(), service("00000000-0002-11e2-9e96-0800200c9a66", [clock])]

    def date_time(self) -> list[Guarded]:
        """None."""
        return []

    def _set_current_time(self, _connection: Connection, _value: bytes) -> None:
        raise att.ATT_Error(REFUSED)

    def _set_vendor_clock(self, _connection: Connection, value: bytes) -> None:
        if len(value) != 10 or value[0] != 0x01:
            raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)
        (offset_min,) = unpack("<h", value[8:])
        self.clock.set(parse_date_time(value[1:8], 7) + timedelta(minutes=offset_min))


class AccuChekMeter(GlucoseMeter):
    """Accu-Chek Guide: six digits on its display, a second 2A52, contexts announced and not sent.

    forgets: the sequence numbers whose context it announces and does not send.
    """

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD) -> None:
        super().__init__(device, clock, make)
        self.forgets: set[int] = set()

    def services(self) -> list[gatt.Service]:
        """Glucose, and a service of Roche that has a control point too."""
        second = self.characteristic(0x2A52, write=self._set_nothing, indicate=True)
        return [service("00000000-0000-1000-1000-000000000000", [second]), *super().services()]

    def _set_nothing(self, _connection: Connection, _value: bytes) -> None:
        raise att.ATT_Error(REFUSED)

    async def _report(self, record: GlucoseRecord) -> None:
        if record.sequence in self.forgets:
            await self.notify(self._measurement, encode.glucose_measurement(record))
        else:
            await super()._report(record)


class CareSensMeter(GlucoseMeter):
    """CareSens: month 13 for January, no requests close upon one another, a clock in the service of its maker.

    gap: what must lie between two requests, in seconds. hurried: how many it refused.
    """

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD, *, gap: float = 0.5) -> None:
        self.gap = gap
        self.hurried = 0
        self._asked_at = float("-inf")
        super().__init__(device, clock, make)

    def characteristic(self, uuid: int | str, **offered: Any) -> Guarded:
        """One that refuses a request that follows another too soon."""
        for access in ("read", "write"):
            if offered.get(access):
                offered[access] = self._unhurried(offered[access])
        return super().characteristic(uuid, **offered)

    def services(self) -> list[gatt.Service]:
        """Glucose, and the maker's own."""
        clock = self.characteristic(0xFFF1, write=self._set_vendor_clock, notify=True)
        return [*super().services(), service(0xFFF0, [clock])]

    async def notify(self, characteristic: Guarded, value: bytes) -> None:
        """Notify, a measurement of January as one of month 13."""
        if characteristic is self._measurement and value[5] == 1:
            value = value[:5] + b"\x0d" + value[6:]
        await super().notify(characteristic, value)

    def _unhurried(self, handler: Callable[..., _T]) -> Callable[..., _T]:
        def guarded(*values: Any) -> _T:
            now, before = asyncio.get_running_loop().time(), self._asked_at
            self._asked_at = now
            if now - before < self.gap:
                self.hurried += 1
                raise att.ATT_Error(REFUSED)
            return handler(*values)

        return guarded

    def _set_vendor_clock(self, _connection: Connection, value: bytes) -> None:
        if len(value) != 11 or not value.startswith(b"\xc0\x03\x01\x00"):
            raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)
        self.clock.set(parse_date_time(value[4:], 7))


class _AllOrNothing(RecordAccess[GlucoseRecord]):
    def _select(self, operator: int, operand: bytes) -> list[GlucoseRecord]:
        if operator != Operator.ALL:
            raise _RefusedError(Code.OPERATOR_NOT_SUPPORTED)
        return super()._select(operator, operand)


class TaiDocMeter(GlucoseMeter):
    """TaiDoc: the newest record is number 1 and comes first; nothing can be selected; there is no clock to be had."""

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD) -> None:
        super().__init__(device, clock, make)
        self.access = _AllOrNothing(self, self.records, key=lambda record: record.sequence, report=self._report)

    def add(self, record: GlucoseRecord) -> None:
        """Store a record as the newest, which gives every other the next number."""
        self.records.insert(0, record)
        self.records[:] = [replace(kept, sequence=number) for number, kept in enumerate(self.records, start=1)]


class MyGlucoseMeter(GlucoseMeter):
    """The meter "My Glucose": FFFF where there is no concentration to tell."""

    async def notify(self, characteristic: Guarded, value: bytes) -> None:
        """Notify, not-a-number as FFFF (records of this meter have no time offset)."""
        if characteristic is self._measurement and value[10:12] == b"\xff\x07":
            value = value[:10] + b"\xff\xff" + value[12:]
        await super().notify(characteristic, value)


class _BentSensor(CgmSensor):
    """One that encodes the annunciation octets in an order of its own."""

    order: ClassVar[tuple[str, str, str]]

    async def _report(self, record: CgmRecord) -> None:
        said = {"status": record.status, "calibration": record.calibration, "warning": record.warning}
        bent = bytes(octet for name in self.order if (octet := said[name]) is not None)
        right = encode.cgm_measurement(record, crc=False)
        size = pack("<B", right[0] + (2 if self.crc else 0))
        octets = size + right[1:6] + bent + right[6 + len(bent) :]
        await self.notify(self._measurement, encode.with_crc(octets) if self.crc else octets)


class NordicSensor(_BentSensor):
    """Nordic's nRF5 SDK: warning, calibration, status."""

    order = ("warning", "calibration", "status")


class UhnSensor(_BentSensor):
    """UHN's simulator: status, warning, calibration."""

    order = ("status", "warning", "calibration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A make of device: how it is built, what it advertises, what it says of itself, and what kind it is."""

    server: type[GattServer]
    name: str
    make: Make
    kind: Literal["meter", "cuff", "cgm"]

    async def on(self, air: Air, address: str, clock: DeviceClock, **own: Any) -> Any:
        """One of them on the air, not started yet. own: what its class takes beside clock and make."""
        return self.server(await air.device(self.name, address), clock, self.make, **own)


def _made(server: type[GattServer], kind: Literal["meter", "cuff", "cgm"], name: str, **make: Any) -> Simulated:
    return Simulated(server=server, kind=kind, name=name, make=Make(**make))


MAKES: Final[dict[str, Simulated]] = {
    "and_ua651ble": _made(
        AndCuff,
        "cuff",
        "A&D_UA-651BLE_87DF1B",
        manufacturer="A&D Medical",
        model="UA-651BLE",
        security=Security.ENCRYPTED,
    ),
    "omron_blesmart": _made(
        OmronCuff,
        "cuff",
        "BLEsmart_00000480EF66214013B0",
        manufacturer="OMRON HEALTHCARE",
        model="HEM-7600T",
        security=Security.ENCRYPTED,
    ),
    "contour_next_one": _made(
        ContourMeter,
        "meter",
        "Contour7830H5779094",
        manufacturer="Ascensia Diabetes Care",
        model="7830",
        security=Security.ENCRYPTED,
    ),
    "accu_chek": _made(
        AccuChekMeter,
        "meter",
        "meter+06647277",
        manufacturer="Roche",
        model="925",
        security=Security.PASSKEY,
        passkey=271828,
    ),
    "beurer_bm85": _made(BeurerCuff, "cuff", "BM85", manufacturer="Beurer GmbH", model="BM85"),
    "caresens": _made(
        CareSensMeter, "meter", "CareSens Dual 1A2B", manufacturer="i-SENS", model="CareSens Dual", has_clock=False
    ),
    "taidoc": _made(TaiDocMeter, "meter", "TNG VOICE", manufacturer="", model="TD-4289", has_clock=False),
    "my_glucose": _made(MyGlucoseMeter, "meter", "My Glucose", manufacturer="", model=""),
    "cgm_warning_first": _made(NordicSensor, "cgm", "Nordic_CGMS", manufacturer="NordicSemiconductor", model=""),
    "cgm_warning_second": _made(UhnSensor, "cgm", "CGM Simulator", manufacturer="UHN", model=""),
}
"""By the name of the quirk that such a device needs."""

"""A simulated sensor: the Continuous Glucose Monitoring Service (181F)."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from struct import unpack
from typing import ClassVar, Final

from bumble import att, gatt
from bumble.device import Connection, Device

from simulators import encode
from simulators.encode import CgmRecord
from simulators.gatt_server import STANDARD, DeviceClock, GattServer, Make, parse_date_time, service
from simulators.record_access import RecordAccess

_MISSING_CRC: Final = 0x80
_INVALID_CRC: Final = 0x81
_E2E_CRC: Final = 1 << 12
_MULTIPLE_SESSIONS: Final = 1 << 14
_INTERSTITIAL_FLUID_SUBCUTANEOUS: Final = (9, 5)
_SESSION_STOPPED: Final = 0x01
_MINUTE: Final = timedelta(minutes=1)
_SET_LEVEL: Final = frozenset((0x07, 0x0A, 0x0D, 0x10, 0x13, 0x16))
ZONE_UNKNOWN: Final = -128
DST_UNKNOWN: Final = 255


class SpecificOp(IntEnum):
    """Operations of the CGM Specific Ops Control Point that this sensor has."""

    SET_INTERVAL = 0x01
    GET_INTERVAL = 0x02
    INTERVAL = 0x03
    RESET_ALERT = 0x19
    START_SESSION = 0x1A
    STOP_SESSION = 0x1B


class SpecificCode(IntEnum):
    """How such an operation ended."""

    SUCCESS = 1
    OP_NOT_SUPPORTED = 2
    INVALID_OPERAND = 3
    NOT_COMPLETED = 4


class CgmSensor(GattServer):
    """A sensor that notifies each value to a subscribed central and keeps all values of its session.

    records: the values of the session, oldest first. session_start: on the sensor's clock; None = no session runs.
    zone_quarters and dst: as in 2AAA. levels: alert levels that were set, by the op that sets them. crc: every value
    but the control point of records carries an E2E-CRC.
    """

    service_uuid: ClassVar[int] = 0x181F

    def __init__(
        self,
        device: Device,
        clock: DeviceClock,
        make: Make = STANDARD,
        *,
        session_start: datetime | None = None,
        zone_quarters: int = ZONE_UNKNOWN,
        dst: int = DST_UNKNOWN,
        crc: bool = False,
    ) -> None:
        super().__init__(device, clock, make)
        self.session_start = session_start
        self.zone_quarters = zone_quarters
        self.dst = dst
        self.crc = crc
        self.interval_min = 5
        self.levels: dict[int, bytes] = {}
        self.records: list[CgmRecord] = []
        self._measurement = self.characteristic(0x2AA7, notify=True)
        self._specific_ops = self.characteristic(0x2AAC, write=self._on_specific_op, indicate=True)
        self.access = RecordAccess(self, self.records, key=lambda record: record.offset_min, report=self._report)

    def services(self) -> list[gatt.Service]:
        """Continuous Glucose Monitoring."""
        features = _MULTIPLE_SESSIONS | (_E2E_CRC if self.crc else 0)
        characteristics = [
            self._measurement,
            self.characteristic(0x2AA8, read=lambda: encode.cgm_feature(features, _INTERSTITIAL_FLUID_SUBCUTANEOUS)),
            self.characteristic(0x2AA9, read=self._status),
            self.characteristic(0x2AAA, read=self._session_start, write=self._set_session_start),
            self.characteristic(0x2AAB, read=lambda: encode.cgm_run_time(14 * 24, crc=self.crc)),
            self.access.characteristic,
            self._specific_ops,
        ]
        return [service(self.service_uuid, characteristics)]

    def add(self, record: CgmRecord) -> None:
        """Store a record as it is."""
        self.records.append(record)

    async def measure(
        self,
        glucose: Decimal,
        *,
        status: int | None = None,
        warning: int | None = None,
        trend: Decimal | None = None,
        quality_pct: Decimal | None = None,
    ) -> CgmRecord:
        """Measure now (mg/dL): store a record, notify it to a subscribed central. A session must run."""
        record = CgmRecord(
            offset_min=self._offset_min(),
            glucose=glucose,
            status=status,
            warning=warning,
            trend=trend,
            quality_pct=quality_pct,
        )
        await self.emit(record)
        return record

    async def emit(self, record: CgmRecord) -> None:
        """Store a record as it is and notify it to a subscribed central."""
        self.add(record)
        await self._report(record)
        await self.wake()

    async def _report(self, record: CgmRecord) -> None:
        await self.notify(self._measurement, encode.cgm_measurement(record, crc=self.crc))

    def _offset_min(self) -> int:
        if self.session_start is None:
            raise ValueError("the sensor has no session running")
        return (self.clock.read() - self.session_start) // _MINUTE

    def _status(self) -> bytes:
        if self.session_start is None:
            return encode.cgm_status(0, (_SESSION_STOPPED, 0, 0), crc=self.crc)
        return encode.cgm_status(self._offset_min(), (0, 0, 0), crc=self.crc)

    def _session_start(self) -> bytes:
        start: encode.DateTime = self.session_start or (0, 0, 0, 0, 0, 0)
        return encode.cgm_session_start(start, self.zone_quarters, self.dst, crc=self.crc)

    def _set_session_start(self, _connection: Connection, value: bytes) -> None:
        """Take the client's present time; the start follows from the minutes that have passed (CGMS 3.4)."""
        value = self._checked(value)
        moment = parse_date_time(value, 9)
        elapsed = self._offset_min() * _MINUTE
        self.clock.set(moment)
        self.session_start = moment - elapsed
        self.zone_quarters, self.dst = unpack("<bB", value[7:])

    def _on_specific_op(self, _connection: Connection, value: bytes) -> None:
        request = self._checked(value)
        if not request:
            raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)
        if not self.subscribed(self._specific_ops):
            raise att.ATT_Error(att.ErrorCode.CCCD_IMPROPERLY_CONFIGURED)
        answer = self._specific_op(request[0], request[1:])
        self.spawn(self.indicate(self._specific_ops, encode.with_crc(answer) if self.crc else answer))

    def _specific_op(self, op: int, operand: bytes) -> bytes:
        code = SpecificCode.SUCCESS
        match op:
            case _ if op in _SET_LEVEL and len(operand) == 2:
                self.levels[op] = operand
            case _ if op - 1 in self.levels:
                return bytes((op + 1,)) + self.levels[op - 1]
            case SpecificOp.GET_INTERVAL:
                return bytes((SpecificOp.INTERVAL, self.interval_min))
            case SpecificOp.SET_INTERVAL if len(operand) == 1:
                self.interval_min = operand[0]
            case SpecificOp.SET_INTERVAL:
                code = SpecificCode.INVALID_OPERAND
            case SpecificOp.RESET_ALERT:
                pass
            case SpecificOp.START_SESSION if self.session_start is None:
                self.session_start = self.clock.read().replace(microsecond=0)
                self.records.clear()
            case SpecificOp.STOP_SESSION if self.session_start is not None:
                self.session_start = None
            case SpecificOp.START_SESSION | SpecificOp.STOP_SESSION:
                code = SpecificCode.NOT_COMPLETED
            case _:
                code = SpecificCode.OP_NOT_SUPPORTED
        return encode.specific_ops_response(op, code)

    def _checked(self, value: bytes) -> bytes:
        """What the client wrote, without its CRC."""
        if not self.crc:
            return value
        if len(value) < 3:
            raise att.ATT_Error(_MISSING_CRC)
        if encode.with_crc(value[:-2]) != value:
            raise att.ATT_Error(_INVALID_CRC)
        return value[:-2]

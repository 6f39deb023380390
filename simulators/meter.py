"""A simulated glucose meter: the Glucose Service (1808) with its Record Access Control Point."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Literal

from bumble import gatt
from bumble.device import Device

from simulators import encode
from simulators.encode import GlucoseContext, GlucoseRecord
from simulators.gatt_server import STANDARD, DeviceClock, GattServer, Make, service
from simulators.record_access import RecordAccess


class GlucoseMeter(GattServer):
    """A meter that keeps its measurements until they are deleted.

    records: what is stored, oldest first; may be changed between links. access: the control point, with its faults.
    step: from one sequence number to the next; -1 = it counts downwards.
    """

    service_uuid: ClassVar[int] = 0x1808

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD, *, step: int = 1) -> None:
        super().__init__(device, clock, make)
        self.step = step
        self.records: list[GlucoseRecord] = []
        self._measurement = self.characteristic(0x2A18, notify=True)
        self._context = self.characteristic(0x2A34, notify=True)
        self.access = RecordAccess(self, self.records, key=lambda record: record.sequence, report=self._report)

    def services(self) -> list[gatt.Service]:
        """Glucose, with the clock as Date Time inside it as in the Accu-Chek Aviva Connect."""
        feature = self.characteristic(0x2A51, read=lambda: b"\x00\x00")
        characteristics = [self._measurement, self._context, feature, self.access.characteristic, *self.date_time()]
        return [service(self.service_uuid, characteristics)]

    def add(self, record: GlucoseRecord) -> None:
        """Store a record as it is."""
        self.records.append(record)

    async def measure(
        self,
        concentration: Decimal,
        *,
        unit: Literal["kg/L", "mol/L"] = "kg/L",
        status: int | None = None,
        context: GlucoseContext | None = None,
    ) -> GlucoseRecord:
        """Measure now: store a record with the next sequence number and the device's time, and wake up."""
        record = GlucoseRecord(
            sequence=(self.records[-1].sequence + self.step) & 0xFFFF if self.records else 1,
            base_time=self.clock.read().replace(microsecond=0),
            concentration=concentration,
            unit=unit,
            status=status,
            context=context,
        )
        self.add(record)
        await self.wake()
        return record

    async def _report(self, record: GlucoseRecord) -> None:
        await self.notify(self._measurement, encode.glucose_measurement(record))
        if record.context is not None:
            await self.notify(self._context, encode.glucose_context(record.sequence, record.context))

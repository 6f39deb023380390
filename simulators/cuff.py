"""A simulated blood-pressure cuff: the Blood Pressure Service (1810)."""

from __future__ import annotations

import asyncio
from collections import deque
from decimal import Decimal
from typing import ClassVar, Final, Literal

from bumble import gatt
from bumble.device import Device

from simulators import encode
from simulators.encode import PressureRecord
from simulators.gatt_server import STANDARD, DeviceClock, GattServer, Guarded, Make, service

_NAN: Final = Decimal("NaN")
_INFLATION_STEP_MMHG: Final = 40


class BloodPressureCuff(GattServer):
    """A cuff that indicates each stored value once, as soon as a central subscribes to them.

    records: every value measured, oldest first; those not yet confirmed by a central wait in `unsent`.
    hangs_up: the cuff ends the link when all are sent, as the A&D UA-651BLE does.
    """

    service_uuid: ClassVar[int] = 0x1810

    def __init__(self, device: Device, clock: DeviceClock, make: Make = STANDARD, *, hangs_up: bool = False) -> None:
        super().__init__(device, clock, make)
        self.hangs_up = hangs_up
        self.records: list[PressureRecord] = []
        self.unsent: deque[PressureRecord] = deque()
        self._delivering = asyncio.Lock()
        self._measurement = self.characteristic(0x2A35, indicate=True)
        self._cuff_pressure = self.characteristic(0x2A36, notify=True)
        self._measurement.on(Guarded.EVENT_SUBSCRIPTION, lambda *_: self.spawn(self._deliver()))

    def services(self) -> list[gatt.Service]:
        """Blood pressure, with the clock as Date Time inside it as in the A&D UA-651BLE."""
        feature = self.characteristic(0x2A49, read=lambda: b"\x00\x00")
        return [service(self.service_uuid, [self._measurement, self._cuff_pressure, feature, *self.date_time()])]

    def add(self, record: PressureRecord) -> None:
        """Store a record as it is, to be sent."""
        self.records.append(record)
        self.unsent.append(record)

    async def measure(
        self,
        systolic: Decimal,
        diastolic: Decimal,
        *,
        mean: Decimal = _NAN,
        unit: Literal["mmHg", "kPa"] = "mmHg",
        pulse: Decimal | None = None,
        status: int | None = None,
    ) -> PressureRecord:
        """Measure now: show the cuff filling, store a record with the device's time, send it or wake up."""
        record = PressureRecord(
            systolic=systolic,
            diastolic=diastolic,
            mean=mean,
            unit=unit,
            time=self.clock.read().replace(microsecond=0),
            pulse=pulse,
            status=status,
        )
        for pressure in range(_INFLATION_STEP_MMHG, 200, _INFLATION_STEP_MMHG):
            shown = PressureRecord(systolic=Decimal(pressure), diastolic=_NAN, mean=_NAN)
            await self.notify(self._cuff_pressure, encode.blood_pressure(shown))
        self.add(record)
        if self.connection is not None:
            self.spawn(self._deliver())
        await self.wake()
        return record

    async def _deliver(self) -> None:
        async with self._delivering:
            while self.unsent and self.subscribed(self._measurement):
                await self.indicate(self._measurement, encode.blood_pressure(self.unsent[0]))
                self.unsent.popleft()
            if self.hangs_up and not self.unsent:
                await self.hang_up()

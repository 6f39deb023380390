"""A device's clock over its connection: read before the records, and set when all of them are here.

How a clock's error places the records is told in `ingest.device_clock`. A sensor's clock is not set here: its records
count from the start of its session, which the sensor itself would move with the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from bleak.exc import BleakError

from ingest import gatt
from ingest.device_clock import (
    CLOCK_TOLERANCE,
    ahead_of_utc,
    current_time_octets,
    date_time_octets,
    offset_of,
)
from ingest.links.ble_gatt import CURRENT_TIME, Attributes, SessionError
from ingest.quirks import Manner, VendorClock
from ingest.reading import DecodeError

_logger = logging.getLogger(__name__)


def shown_time(channel: str, octets: bytes) -> datetime | None:
    """The naive local time in a Date Time (2A08) or Current Time (2A2B), None if the device does not know it."""
    try:
        shown = gatt.current_time(octets).value if channel == "2a2b" else gatt.clock(octets).value
    except DecodeError:
        return None
    return shown if isinstance(shown, datetime) else None


class ClockOnAir:
    """The clock of one device in one session.

    ahead: how far it was ahead of UTC when it was last read before being set; None when it cannot be read. was_set:
    True = it was set and shows it, False = it would not take the time, None = nothing was set, or it cannot be read.
    """

    def __init__(self, attributes: Attributes, own: str, *, now: Callable[[], datetime]) -> None:
        self._attributes = attributes
        self._places = ((CURRENT_TIME, "2a2b"), (own, "2a08"), (CURRENT_TIME, "2a08"))
        self._now = now
        self._zone: tzinfo = UTC
        self._manner = Manner()
        self.ahead: timedelta | None = None
        self.was_set: bool | None = None

    @property
    def error(self) -> timedelta | None:
        """The clock less the wearer's local time."""
        return None if self.ahead is None else self.ahead - offset_of(self._zone, self._now())

    async def read(self, zone: tzinfo, manner: Manner) -> None:
        """Learn how far the clock is off. zone: the wearer's; manner: how the device wants its clock to be set."""
        self._zone, self._manner = zone, manner
        self.ahead = await self._read()

    def notified(self, data: bytes) -> None:
        """The clock (2A2B) told its time by itself."""
        shown = shown_time("2a2b", data)
        if shown is not None and self.ahead is None:
            self.ahead = ahead_of_utc(shown, self._now())

    @property
    def to_be_set(self) -> bool:
        """Whether it is off, or cannot be read, and nobody has tried to set it yet."""
        if self.was_set is not None or self._attributes.hung_up():
            return False
        return self.error is None or abs(self.error) > self._manner.clock_slack

    async def correct(self) -> None:
        """Set the clock to the wearer's local time if it is off, and read it back. A refusal is no fault."""
        if not self.to_be_set:
            return
        try:
            if await self._write():
                ahead = await self._read()
                if ahead is not None:
                    self.was_set = abs(ahead - offset_of(self._zone, self._now())) <= CLOCK_TOLERANCE
        except (BleakError, SessionError) as refusal:
            _logger.debug("the clock cannot be set: %s", refusal)
            self.was_set = None if self._attributes.hung_up() else False

    async def _read(self) -> timedelta | None:
        for service, channel in self._places:
            shown = shown_time(channel, await self._attributes.read(service, channel) or b"")
            if shown is not None:
                return ahead_of_utc(shown, self._now())
        return None

    async def _write(self) -> bool:
        """Write the time where it can be written; whether there is such a place."""
        now = self._now()
        local = now.astimezone(self._zone)
        if vendor := self._manner.vendor_clock:
            await self._attributes.write(vendor.service, vendor.characteristic, _vendor_octets(vendor, local))
            return True
        for service, channel in self._places:
            if self._attributes.offers(service, channel, "write"):
                octets = current_time_octets(local) if channel == "2a2b" else date_time_octets(local)
                await self._attributes.write(service, channel, octets)
                return True
        return False


def _vendor_octets(vendor: VendorClock, local: datetime) -> bytes:
    if not vendor.utc:
        return vendor.head + date_time_octets(local)
    offset = local.utcoffset() or timedelta(0)
    minutes = offset // timedelta(minutes=1)
    return vendor.head + date_time_octets(local - offset) + minutes.to_bytes(2, "little", signed=True)

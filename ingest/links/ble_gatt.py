"""One connection's characteristics: read, written and heard, each request with a time limit of its own.

What the device sends by itself, and the end of the connection, wait in one queue in the order in which they came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final, TypeAlias

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import BleakDBusError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str

_logger = logging.getLogger(__name__)


MOST_WAITING: Final = 50_000  # events of one connection; no device is known that stores as many records


class SessionError(Exception):
    """The session cannot go on. The text is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One notification or indication. `tick` is its monotonic time, by which silence is judged."""

    channel: str
    data: bytes
    received_at: datetime
    tick: float


class Sign(Enum):
    """What may come instead of a value."""

    LOST = auto()  # the connection ended; nothing comes after this
    STOP = auto()  # whoever asked for the reading does not want the rest


Event: TypeAlias = Heard | Sign


class Attributes:
    """The characteristics of one connected device, found through their services.

    limit: seconds for one request; a stack may forget a request whose pairing failed. pause: seconds to wait before
    each request, for devices that lose one that comes too soon.
    """

    def __init__(self, *, now: Callable[[], datetime], limit: float) -> None:
        self._now = now
        self._limit = limit
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()  # None: more came, and was not kept
        self._client: BleakClient
        self.pause = 0.0
        self._hung_up = False
        self._flooded = False

    def attach(self, client: BleakClient) -> None:
        """Speak through this connected client from now on."""
        self._client = client

    @property
    def name(self) -> str:
        """The name under which the device is known."""
        return self._client.name

    def hung_up(self) -> bool:
        """Whether the connection has ended."""
        return self._hung_up

    def put(self, sign: Sign) -> None:
        """Tell whoever waits for the device that its connection ended, or that nobody wants the rest."""
        self._hung_up |= sign is Sign.LOST
        self._events.put_nowait(sign)

    async def next(self, until: float | None) -> Event | None:
        """The next event, or None when `until` has passed. What already waits counts, however late it is fetched.

        Raises SessionError where something that came could not be kept.
        """
        try:
            async with asyncio.timeout_at(until):
                event = await self._events.get()
        except TimeoutError:
            return None
        if event is Sign.LOST:
            self._events.put_nowait(event)  # whoever asks next must hear of it too
        if event is None:
            raise SessionError(
                f"the device sent more than {MOST_WAITING} values before they could be stored; it is read again"
            )
        return event

    def offers(self, service: str, channel: str, what: str | None = None) -> bool:
        """Whether there is such a characteristic, with this property ("read", "write", "notify") if one is named."""
        found = self._find(service, channel)
        return found is not None and (what is None or what in found.properties)

    async def pair(self) -> None:
        """Pair, unless the device is bonded already."""
        async with self._request("the pairing"):
            await self._client.pair()

    async def read(self, service: str, channel: str) -> bytes | None:
        """A characteristic's value, or None when the device lacks it or will not tell."""
        characteristic = self._find(service, channel)
        if characteristic is None or "read" not in characteristic.properties:
            return None
        try:
            async with self._request(channel):
                return bytes(await self._client.read_gatt_char(characteristic))
        except (BleakGATTProtocolError, BleakDBusError) as error:
            _logger.debug("%s cannot be read: %s", channel, error)
            return None

    async def write(self, service: str, channel: str, data: bytes) -> None:
        """Write, with response. Raises BleakGATTProtocolError when the device refuses."""
        characteristic = self._own(service, channel)
        async with self._request(channel):
            await self._client.write_gatt_char(characteristic, data, response=True)

    async def subscribe(self, service: str, channel: str) -> None:
        """Have the characteristic's notifications or indications put into the queue."""

        def heard(_characteristic: BleakGATTCharacteristic, data: bytearray) -> None:
            # A notification cannot be held back, so what waits while the house is full needs a bound of its own.
            if self._events.qsize() < MOST_WAITING:
                self._events.put_nowait(Heard(channel, bytes(data), self._now(), asyncio.get_running_loop().time()))
            elif not self._flooded:
                self._flooded = True
                self._events.put_nowait(None)

        characteristic = self._own(service, channel)
        async with self._request(channel):
            await self._client.start_notify(characteristic, heard)

    @asynccontextmanager
    async def _request(self, what: str) -> AsyncIterator[None]:
        await asyncio.sleep(self.pause)
        try:
            async with asyncio.timeout(self._limit):
                yield
        except TimeoutError as error:
            raise SessionError(
                f"the device left a request ({what}) unanswered for {self._limit:g} s; if it goes on, pair it again"
            ) from error

    def _find(self, service: str, channel: str) -> BleakGATTCharacteristic | None:
        # Through its service: some meters have a second 2A52 in a service of their maker.
        found = self._client.services.get_service(service)
        return found.get_characteristic(normalize_uuid_str(channel)) if found else None

    def _own(self, service: str, channel: str) -> BleakGATTCharacteristic:
        characteristic = self._find(service, channel)
        if characteristic is None:
            raise SessionError(f"the device lacks the characteristic {channel} in its service {service[4:8]}")
        return characteristic


CURRENT_TIME: Final = normalize_uuid_str("1805")
BATTERY: Final = normalize_uuid_str("180f")
DEVICE_INFORMATION: Final = normalize_uuid_str("180a")

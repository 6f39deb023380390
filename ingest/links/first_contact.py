"""The first contact with a device, while a person stands beside it: see it, bond, ask what it is, read one record.

    for nearby in await look_around(8.0, {}): ...
    async with contact(nearby, {}, now) as device:
        await device.bond()
        identity = await device.identity()
        record = await device.first_record()

What bleak raises passes through; `ingest.links.ble_faults` has the sentences.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from ingest.gatt import RecordResponse, record_access
from ingest.links.ble_faults import NO_ANSWER, NOT_PAIRED, RADIO_ERRORS
from ingest.links.ble_gatt import DEVICE_INFORMATION, Attributes, SessionError, Sign
from ingest.links.ble_session import SERVICES, Kind
from ingest.quirks import DeviceIdentity
from ingest.racp import FIRST, report
from ingest.reading import DecodeError

_CONNECT_S: Final = 30.0
_ANSWER_S: Final = 30.0  # SMP gives a person as long, and ATT each request
_BOND_S: Final = 90.0
_STRAGGLER_S: Final = 1.0
_CHANNELS: Final[dict[Kind, str]] = {"meter": "2a18", "cgm": "2aa7"}
_CONTROL: Final = "2a52"
_PRESSURE_FEATURE: Final = "2a49"
_SUCCESS, _NO_RECORDS = 1, 6
_CANNOT_SELECT: Final = frozenset((3, 4, 5, 9))  # invalid or unsupported operator or operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearby:
    """A device that advertises. rssi: dBm, -30 is beside the antenna. kind: by the services it names, if any."""

    device: BLEDevice
    name: str
    rssi: int
    kind: Kind | None

    @property
    def address(self) -> str:
        """In upper case, as the register has it."""
        return self.device.address.upper()


async def look_around(
    seconds: float, scanner_kwargs: Mapping[str, Any], *, address: str | None = None
) -> list[Nearby]:
    """What advertises within so many seconds (or until `address` does): what can be read first, the nearest first."""
    found: dict[str, Nearby] = {}
    met = asyncio.Event()

    def heard(device: BLEDevice, said: AdvertisementData) -> None:
        kind = next((kind for kind, service in SERVICES.items() if service in said.service_uuids), None)
        nearby = Nearby(device=device, name=said.local_name or "", rssi=said.rssi, kind=kind)
        found[nearby.address] = nearby
        if nearby.address == address:
            met.set()

    async with BleakScanner(heard, **scanner_kwargs):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await met.wait()
    return sorted(found.values(), key=lambda nearby: (nearby.kind is None, -nearby.rssi))


async def forget(nearby: Nearby, client_kwargs: Mapping[str, Any]) -> None:
    """Remove this computer's bond with a device. Raises BleakDeviceNotFoundError when there is none."""
    await BleakClient(nearby.device, **client_kwargs).unpair()


@asynccontextmanager
async def contact(
    nearby: Nearby, client_kwargs: Mapping[str, Any], now: Callable[[], datetime]
) -> AsyncIterator[FirstContact]:
    """Connect to a device for as long as the context lasts. now: aware UTC."""
    attributes = Attributes(now=now, limit=_ANSWER_S)
    client = BleakClient(
        nearby.device, lambda _client: attributes.put(Sign.LOST), timeout=_CONNECT_S, **client_kwargs
    )
    try:
        await client.connect()
        attributes.attach(client)
        yield FirstContact(client, attributes, nearby)
    finally:
        with suppress(*RADIO_ERRORS):
            async with asyncio.timeout(_ANSWER_S):
                await client.disconnect()


class FirstContact:
    """A connected device. Each request has a time limit; SessionError says in a sentence what went wrong."""

    def __init__(self, client: BleakClient, attributes: Attributes, nearby: Nearby) -> None:
        self._client = client
        self._attributes = attributes
        self._nearby = nearby
        services = client.services
        self.kind: Kind | None = next((kind for kind, uuid in SERVICES.items() if services.get_service(uuid)), None)

    @property
    def connected(self) -> bool:
        """Whether the connection lives."""
        return self._client.is_connected

    @property
    def address(self) -> str:
        """In upper case; a device that hides behind changing addresses has its true one after the bond."""
        return self._client.address.upper()

    async def bond(self) -> None:
        """Make a bond that outlasts the connection, with the questions that this takes; nothing when there is one."""
        async with asyncio.timeout(_BOND_S):
            await self._client.pair()
        details = self._nearby.device.details
        if isinstance(details, dict) and "path" in details:  # BlueZ, which asks an agent less for what it may trust
            from ingest.links.bluez_agent import trust

            with suppress(*RADIO_ERRORS):
                await trust(details["path"])

    async def identity(self) -> DeviceIdentity:
        """What the device says of itself; "" where it says nothing."""
        manufacturer, model, firmware = [await self._text(channel) for channel in ("2a29", "2a24", "2a26")]
        return DeviceIdentity(name=self._nearby.name, manufacturer=manufacturer, model=model, firmware=firmware)

    async def first_record(self, *, pause: float = 0.0) -> bytes | None:
        """The octets of the oldest record (2A18, 2AA7), None when nothing is stored. pause: before each request.

        A cuff tells each record once and then forgets it: none is asked for here, where nothing would keep it.
        """
        kind, attributes = self.kind, self._attributes
        if kind is None:
            raise SessionError("the device offers no records that could be read")
        attributes.pause = pause
        if kind == "cuff":
            feature = SERVICES["cuff"], _PRESSURE_FEATURE
            if attributes.offers(*feature) and await attributes.read(*feature) is None:
                raise SessionError(NOT_PAIRED)
            return None
        for channel in (_CHANNELS[kind], _CONTROL):
            await attributes.subscribe(SERVICES[kind], channel)
        for request in (report(FIRST), report()):
            await attributes.write(SERVICES[kind], _CONTROL, request.octets)
            answer = await self._answer()
            if isinstance(answer, bytes):
                return answer
            if answer not in _CANNOT_SELECT:
                break
        if answer == _NO_RECORDS:
            return None
        raise SessionError(f"the device refused to report a record (code {int(answer)})")

    async def _answer(self) -> bytes | int:
        """The first record that comes, or the code with which the device answers instead."""
        clock = asyncio.get_running_loop().time
        limit = clock() + _ANSWER_S
        while True:
            event = await self._attributes.next(limit)
            if event is None or isinstance(event, Sign):
                raise SessionError(NO_ANSWER)
            if event.channel != _CONTROL:
                return event.data
            code = _code(event.data)
            if code != _SUCCESS:
                return code
            limit = clock() + _STRAGGLER_S  # it may have overtaken the record

    async def _text(self, channel: str) -> str:
        octets = await self._attributes.read(DEVICE_INFORMATION, channel)
        return (octets or b"").decode("utf-8", "replace").strip("\0 ")


def _code(octets: bytes) -> int:
    try:
        answer = record_access(octets)
    except DecodeError as error:
        raise SessionError(f"the device answered what is no answer ({error})") from error
    return answer.code if isinstance(answer, RecordResponse) else _SUCCESS

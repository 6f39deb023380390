"""The first contact with a device, while a person stands beside it: see it, bond, ask what it is, read one record.

    for nearby in await look_around(8.0, {}): ...
    async with contact(nearby, {}) as device:
        await device.bond()
        identity = await device.identity()
        record = await device.first_record()

What bleak raises passes through; `ingest.links.ble_faults` has the sentences.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakDBusError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str

from ingest.gatt import RecordResponse, record_access
from ingest.links.ble_faults import RADIO_ERRORS
from ingest.links.ble_session import SERVICES, Kind, SessionError
from ingest.quirks import DeviceIdentity
from ingest.racp import ALL
from ingest.reading import DecodeError

_CONNECT_S: Final = 30.0
_ANSWER_S: Final = 30.0  # SMP gives a person as long, and ATT each request
_BOND_S: Final = 90.0
_STRAGGLER_S: Final = 1.0
_INFORMATION: Final = normalize_uuid_str("180a")
_TEXTS: Final = {"manufacturer": "2a29", "model": "2a24", "firmware": "2a26"}
_CHANNELS: Final[dict[Kind, str]] = {"meter": "2a18", "cgm": "2aa7"}
_CONTROL: Final = "2a52"
_PRESSURE_FEATURE: Final = "2a49"
_FIRST: Final = bytes((0x01, 0x05))
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
async def contact(nearby: Nearby, client_kwargs: Mapping[str, Any]) -> AsyncIterator[FirstContact]:
    """Connect to a device for as long as the context lasts."""
    client = BleakClient(nearby.device, timeout=_CONNECT_S, **client_kwargs)
    try:
        await client.connect()
        yield FirstContact(client, nearby)
    finally:
        with suppress(*RADIO_ERRORS):
            async with asyncio.timeout(_ANSWER_S):
                await client.disconnect()


class FirstContact:
    """A connected device."""

    def __init__(self, client: BleakClient, nearby: Nearby) -> None:
        self._client = client
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
        if isinstance(self._nearby.device.details, dict):  # BlueZ, which asks an agent less for what it may trust
            from ingest.links.bluez_agent import trust

            with suppress(BleakDBusError):
                await trust(self._nearby.device.details["path"])

    async def identity(self) -> DeviceIdentity:
        """What the device says of itself; "" where it says nothing."""
        texts = {name: await self._text(channel) for name, channel in _TEXTS.items()}
        return DeviceIdentity(name=self._nearby.name, **texts)

    async def first_record(self, *, pause: float = 0.0) -> bytes | None:
        """The octets of the oldest record (2A18, 2AA7), None when nothing is stored. pause: before each request.

        A cuff tells each record once and then forgets it: none is asked for here, where nothing would keep it.
        """
        kind = self.kind
        if kind is None:
            raise SessionError("the device offers no records that could be read")
        if kind == "cuff":
            if feature := self._find(SERVICES["cuff"], _PRESSURE_FEATURE):
                async with asyncio.timeout(_ANSWER_S):
                    await self._client.read_gatt_char(feature)
            return None
        heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        for channel in (_CHANNELS[kind], _CONTROL):
            await asyncio.sleep(pause)
            await self._subscribe(kind, channel, heard)
        for request in (_FIRST, ALL):
            await asyncio.sleep(pause)
            answer = await self._ask(self._own(kind, _CONTROL), request, heard)
            if isinstance(answer, bytes):
                return answer
            if answer not in _CANNOT_SELECT:
                break
        if answer == _NO_RECORDS:
            return None
        raise SessionError(f"the device refused to report a record (code {int(answer)})")

    async def _ask(
        self, control: BleakGATTCharacteristic, request: bytes, heard: asyncio.Queue[tuple[str, bytes]]
    ) -> bytes | int:
        """The first record that comes, or the code with which the device answers instead."""
        async with asyncio.timeout(_ANSWER_S) as limit:
            await self._client.write_gatt_char(control, request, response=True)
            while True:
                channel, octets = await heard.get()
                if channel != _CONTROL:
                    return octets
                code = _code(octets)
                if code != _SUCCESS:
                    return code
                # It may have overtaken the record.
                limit.reschedule(asyncio.get_running_loop().time() + _STRAGGLER_S)

    async def _subscribe(self, kind: Kind, channel: str, heard: asyncio.Queue[tuple[str, bytes]]) -> None:
        async with asyncio.timeout(_ANSWER_S):
            await self._client.start_notify(
                self._own(kind, channel), lambda _characteristic, value: heard.put_nowait((channel, bytes(value)))
            )

    async def _text(self, channel: str) -> str:
        characteristic = self._find(_INFORMATION, channel)
        if characteristic is None:
            return ""
        try:
            async with asyncio.timeout(_ANSWER_S):
                octets = await self._client.read_gatt_char(characteristic)
        except (BleakGATTProtocolError, BleakDBusError):
            return ""
        return octets.decode("utf-8", "replace").strip("\0 ")

    def _find(self, service: str, channel: str) -> BleakGATTCharacteristic | None:
        found = self._client.services.get_service(service)
        return found.get_characteristic(normalize_uuid_str(channel)) if found else None

    def _own(self, kind: Kind, channel: str) -> BleakGATTCharacteristic:
        characteristic = self._find(SERVICES[kind], channel)
        if characteristic is None:
            raise SessionError(f"the device lacks the characteristic {channel}")
        return characteristic


def _code(octets: bytes) -> int:
    try:
        answer = record_access(octets)
    except DecodeError as error:
        raise SessionError(f"the device answered what is no answer ({error})") from error
    return answer.code if isinstance(answer, RecordResponse) else _SUCCESS

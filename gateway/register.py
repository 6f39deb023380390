"""The register of patients and devices as another program reaches it: through the hub that runs, or in its files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from gateway.check import address_of_hub, is_running
from gateway.config import Config
from gateway.house import sole_tenant
from gateway.people import AlreadyKnown, Device, DeviceKind, DeviceLink, Patient, People, UnknownPerson
from gateway.schema import SchemaError, open_database
from ingest.vital import Unit

_PATIENCE_S = 15.0


class RegisterError(Exception):
    """The register refuses or cannot be reached. The text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A device of the register. wearer: the patient who wears it now."""

    device: Device
    wearer: str | None


class Register(Protocol):
    """What can be asked of the register and written into it. All raise RegisterError."""

    async def patients(self) -> list[Patient]:
        """All patients by name."""
        ...

    async def entry(self, device: str) -> Entry | None:
        """A known device."""
        ...

    async def add_patient(self, patient: Patient) -> None:
        """A new patient."""
        ...

    async def give(self, device: Device, patient: str) -> None:
        """Write a device down if it is new, take it from whoever wears it, and give it to a patient."""
        ...


@asynccontextmanager
async def open_register(config: Config, now: datetime) -> AsyncIterator[Register]:
    """The register of a configuration: through the API while a hub uses its data, else directly."""
    if not is_running(config.data):
        with _files(config) as people:
            yield _InFiles(people, now)
        return
    token = config.web.token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    async with httpx.AsyncClient(
        base_url=f"{address_of_hub(config)}/api/v1", headers=headers, timeout=_PATIENCE_S, trust_env=False
    ) as client:
        yield _ThroughHub(client)


@contextmanager
def _files(config: Config) -> Iterator[People]:
    with sole_tenant(config.data):
        try:
            engine = open_database(config.database_url)
        except SchemaError as error:
            raise RegisterError(str(error)) from error
        try:
            yield People(engine)
        finally:
            engine.dispose()


class _InFiles:
    def __init__(self, people: People, now: datetime) -> None:
        self._people = people
        self._now = now

    async def patients(self) -> list[Patient]:
        return await asyncio.to_thread(self._people.patients)

    async def entry(self, device: str) -> Entry | None:
        return await asyncio.to_thread(self._entry, device)

    async def add_patient(self, patient: Patient) -> None:
        try:
            await asyncio.to_thread(self._people.add_patient, patient, now=self._now)
        except AlreadyKnown as error:
            raise RegisterError(str(error)) from error

    async def give(self, device: Device, patient: str) -> None:
        try:
            await asyncio.to_thread(self._give, device, patient)
        except (AlreadyKnown, UnknownPerson) as error:
            raise RegisterError(str(error)) from error

    def _entry(self, device: str) -> Entry | None:
        known = self._people.device(device)
        wearers = (worn.patient for worn in self._people.wearings(device=device) if worn.until is None)
        return Entry(device=known, wearer=next(wearers, None)) if known else None

    def _give(self, device: Device, patient: str) -> None:
        entry = self._entry(device.id)
        if entry is None:
            self._people.add_device(device, now=self._now)
        elif entry.wearer == patient:
            return
        elif entry.wearer is not None:
            self._people.release(device.id, now=self._now)
        self._people.assign(device.id, patient, since=None, now=self._now)


class _ThroughHub:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def patients(self) -> list[Patient]:
        return [_patient(found) for found in await self._call("GET", "/patients")]

    async def entry(self, device: str) -> Entry | None:
        found = next((known for known in await self._call("GET", "/devices") if known["id"] == device), None)
        return found and _entry(found)

    async def add_patient(self, patient: Patient) -> None:
        fields = ("id", "name", "zone", "language", "glucose_unit")
        await self._call("POST", "/patients", {field: getattr(patient, field) for field in fields})

    async def give(self, device: Device, patient: str) -> None:
        entry = await self.entry(device.id)
        if entry is None:
            fields = ("id", "kind", "link", "model")
            await self._call("POST", "/devices", {field: getattr(device, field) for field in fields})
        elif entry.wearer not in {None, patient}:
            await self._call("POST", f"/devices/{quote(device.id)}/unpair")
        if entry is None or entry.wearer != patient:
            await self._call("POST", f"/devices/{quote(device.id)}/pair", {"patient": patient})
        # A hub that waits for somebody to pair it anew would leave it alone for minutes to come. One that has no
        # Bluetooth, or has not taken up the new device yet, refuses: nothing is lost by that.
        with suppress(RegisterError):
            await self._call("POST", f"/devices/{quote(device.id)}/read-fully")

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            answer = await self._client.request(method, path, json=body)
            said = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RegisterError(
                f"a Homeward uses the data directory, but does not answer at {self._client.base_url} ({error}); name "
                "its configuration with -c, or stop it"
            ) from error
        if answer.is_error:
            raise RegisterError(str(said.get("detail", said)))
        return said


def _patient(found: dict[str, Any]) -> Patient:
    return Patient(
        id=found["id"],
        name=found["name"],
        zone=found["zone"],
        language=found["language"],
        glucose_unit=Unit(found["glucose_unit"]),
        limits=found["limits"],
    )


def _entry(found: dict[str, Any]) -> Entry:
    retired = found["retired_at"]
    device = Device(
        id=found["id"],
        kind=DeviceKind(found["kind"]),
        link=DeviceLink(found["link"]),
        model=found["model"],
        retired_at=retired and datetime.fromisoformat(retired),
    )
    return Entry(device=device, wearer=found["wearing"] and found["wearing"]["patient"])

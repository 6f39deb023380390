"""The words in which scenarios are written: who is there, what the sensor says, what people do and are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import httpx

from alerts.team import EVERY_DAY, Absence, Contact, Practitioner, QuietHours, Role, Shift, patient
from alerts.team_book import TeamBook
from gateway.people import Device, DeviceKind, DeviceLink, Patient, People
from gateway.schema import open_database
from ingest.vital import Unit
from simulators.publisher import Publisher, glucose
from tests.real_house import PATIENCE
from tests.scenarios.hub import Hub
from tests.scenarios.receivers import BASE, Message, Receivers

_MINUTE: Final = timedelta(minutes=1)
_EVERY: Final = timedelta(minutes=5)  # the sensor
SENSOR: Final = "cgm-1"
_WORN: Final = timedelta(days=3)  # before the scene begins: a sensor in its first day is doubted


class Words(NamedTuple):
    """What the pages say: the button by which one of the staff acknowledges, what stands there then, and thanks."""

    acknowledge: str
    acknowledged: str
    thanks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinic:
    """Who there is. staff: the first in a role is who is expected to act.

    trace: what the sensor says, every 5 min, the last at the time of the low; then comes recovery, then it swings.
    detour: minutes after which the first contact that works is tried.
    """

    patient: Patient
    contacts: Sequence[Contact]
    quiet: QuietHours | None = None
    staff: Sequence[Practitioner]
    shifts: Sequence[Shift]
    absences: Sequence[Absence] = ()
    low: datetime
    trace: str
    recovery: str
    words: Words
    detour: int = 0

    @property
    def begins(self) -> datetime:
        """When the scene opens (aware UTC): with the first of the trace."""
        return self.low.astimezone(UTC) - (len(self.trace.split()) - 1) * _EVERY

    def one(self, role: Role) -> Practitioner:
        """The first of the staff in a role."""
        return next(each for each in self.staff if role in each.roles)


def shift(role: Role, who: str, zone: str, start: str = "00:00", end: str = "00:00") -> Shift:
    """Every day, midnight to midnight by itself."""
    return Shift(
        role=role,
        practitioner=who,
        weekdays=EVERY_DAY,
        start=time.fromisoformat(start),
        end=time.fromisoformat(end),
        zone=zone,
        first=date(2026, 1, 1),
    )


class Scene:
    """What happens at a clinic, minute by minute. now: aware UTC. wall: how it is shown there."""

    def __init__(self, clinic: Clinic, url: str, receivers: Receivers, folder: Path, hubs: int) -> None:
        self.clinic = clinic
        self.told = receivers
        self.now = clinic.begins
        self._next = -24  # number of a reading: two hours before the scene begins
        self._engine = open_database(url)
        self.hubs = [Hub(_sections(folder / f"hub-{number}", url, clinic, receivers.ports)) for number in range(hubs)]
        self._enrol()

    @property
    def wall(self) -> datetime:
        return self.now.astimezone(ZoneInfo(self.clinic.patient.zone))

    def _enrol(self) -> None:
        people, team, known, now = People(self._engine), TeamBook(self._engine), self.clinic, self.now
        people.add_patient(known.patient, now=now)
        people.add_device(Device(id=SENSOR, kind=DeviceKind.CGM, link=DeviceLink.MQTT), now=now)
        people.assign(SENSOR, known.patient.id, since=now - _WORN, now=now)
        for one in known.staff:
            team.put(one, now=now)
        for each in known.shifts:
            team.add_shift(each, now=now)
        for absence in known.absences:
            team.add_absence(absence, now=now)
        team.put_contacts(patient(known.patient.id), known.contacts, known.quiet, now=now)

    async def close(self) -> None:
        await self.kill()
        self._engine.dispose()

    # The hubs

    @property
    def open_hubs(self) -> list[Hub]:
        return [hub for hub in self.hubs if hub.is_open]

    async def start(self) -> None:
        """All hubs that do not run; and what they find to be due is done."""
        for hub in self.hubs:
            if not hub.is_open:
                await hub.start(self.now)
        await self._settle()

    async def stop(self) -> None:
        for hub in self.open_hubs:
            await hub.stop()

    async def kill(self) -> None:
        for hub in self.open_hubs:
            await hub.kill()

    # Time, and the sensor

    async def goes_on_to(self, minutes: int, *, by: int = 1) -> None:
        """Go on to so many minutes after the low, by so many at a time."""
        end = self._minute(minutes)
        while self.now < end:
            self.now = min(end, self.now + by * _MINUTE)
            await self._does_what_is_due()

    async def goes_on_until_told(self, to: str) -> None:
        """Go on until something more has come to an address, whether or not whoever sent it knows so."""
        before = len(self.heard(to))
        while len(self.heard(to)) == before:
            self.now += _MINUTE
            done = asyncio.create_task(self._does_what_is_due())
            while not done.done() and len(self.heard(to)) == before:
                self.told.came.clear()
                came = asyncio.create_task(self.told.came.wait())
                await asyncio.wait([done, came], return_when=asyncio.FIRST_COMPLETED)
                came.cancel()
            done.cancel()

    async def _does_what_is_due(self) -> None:
        await self._settle()
        if await self._sensor_speaks():
            await self._settle()

    def _minute(self, minutes: int) -> datetime:
        return self.clinic.low.astimezone(UTC) + minutes * _MINUTE

    async def _settle(self) -> None:
        """Every hub does what is due by now."""
        await asyncio.gather(*(hub.move(self.now) for hub in self.open_hubs))

    async def _sensor_speaks(self) -> bool:
        """What the sensor has measured since the last time comes to every hub, as by the clinic's broker."""
        due = list(self._measured())
        for hub in self.open_hubs if due else ():
            async with Publisher(SENSOR, "127.0.0.1", hub.port) as sensor:
                await sensor.publish(*due)
        return bool(due)

    def _measured(self) -> Iterator[Any]:
        begins = self.clinic.begins
        unit: Literal["mg/dL", "mmol/L"] = "mg/dL" if self.clinic.patient.glucose_unit is Unit.MG_DL else "mmol/L"
        while (at := begins + self._next * _EVERY) <= self.now:
            minute = (at - begins + _WORN) // _MINUTE
            yield glucose(self._value(self._next), at, kind="cgm_glucose", unit=unit, sequence=minute)
            self._next += 1

    def _value(self, number: int) -> Decimal:
        """In the patient's unit, the number-th since the begin."""
        values = f"{self.clinic.trace} {self.clinic.recovery}".split()
        if 0 <= number < len(values):
            return Decimal(values[number])
        calm = Decimal(values[0] if number < 0 else values[-1])
        return (calm * (100 + (number * number) % 7) / 100).quantize(calm)

    # People

    async def page(self, link: str) -> str:
        """What stands behind a link."""
        async with self._browser() as web:
            return _text(await web.get(link.removeprefix(BASE)))

    async def send(self, link: str, **form: str) -> str:
        """Fill in the form behind a link, and press its button."""
        async with self._browser() as web:
            return _text(await web.post(link.removeprefix(BASE), data=form))

    async def ask(self, path: str) -> Any:
        """Of the API."""
        async with self._browser() as web:
            return json.loads(_text(await web.get(f"/api/v1/{path}")))

    async def alerts(self, state: str) -> Any:
        """Of the patient."""
        return await self.ask(f"alerts?state={state}&patient={self.clinic.patient.id}")

    async def write(self, path: str, **said: Any) -> Any:
        """Into the API."""
        async with self._browser() as web:
            return json.loads(_text(await web.post(f"/api/v1/{path}", json=said)))

    def _browser(self) -> httpx.AsyncClient:
        """In the clinic's language; at the last hub that is there."""
        return httpx.AsyncClient(
            base_url=self.open_hubs[-1].address,
            headers={"Accept-Language": self.clinic.patient.language.partition("_")[0]},
            trust_env=False,
            verify=False,  # there is no TLS, and reading all authorities takes its time
            timeout=PATIENCE,
        )

    # What was told

    def address(self, role: Role) -> str:
        """Of the first of the staff in a role."""
        return _address(self.clinic.one(role).contacts)

    @property
    def patient(self) -> str:
        """The patient's address."""
        return _address(self.clinic.contacts)

    def link(self, to: str) -> str:
        """The last link that was sent to an address."""
        return next(each.link for each in reversed(self.heard(to)) if each.link)

    def moment(self, minutes: int) -> str:
        """So many minutes after the low, as the API writes it."""
        return self._minute(minutes).astimezone(self.wall.tzinfo).isoformat()

    async def are_told(self, minutes: int, *who: str) -> None:
        """So many minutes after the low these are told, and nobody else; by a detour some minutes later."""
        await self.goes_on_to(minutes, by=5)
        await self.goes_on_to(minutes + self.clinic.detour)
        first, last = self._minute(minutes), self._minute(minutes + self.clinic.detour)
        assert {each.to for each in self.told.heard if first <= each.came <= last} == set(who)

    def heard(self, to: str) -> list[Message]:
        """What came to an address."""
        return [each for each in self.told.heard if each.to == to]

    def transcript(self) -> str:
        """All that was told, in the order of the minutes, and within one by who was told; each message once."""
        first = {(each.way, each.to, each.id): each for each in reversed(self.told.heard)}
        in_order = sorted(first.values(), key=lambda each: (each.came, each.to, each.way, each.words))
        return "\n".join(
            f"== {each.came.astimezone(self.wall.tzinfo):%H:%M} {each.way} to {each.to}\n{each.words.strip()}\n"
            for each in in_order
        )


@asynccontextmanager
async def scene(clinic: Clinic, url: str, folder: Path, *, hubs: int = 1) -> AsyncIterator[Scene]:
    """A clinic with its hubs open."""
    async with AsyncExitStack() as stack:
        receivers = await stack.enter_async_context(Receivers(lambda: there.wall).open())
        there = Scene(clinic, url, receivers, folder, hubs)
        stack.push_async_callback(there.close)
        await there.start()
        yield there


def _text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.text


def _address(contacts: Sequence[Contact]) -> str:
    """Of the first contact that works."""
    return next(each.address for each in contacts if each.channel != "pager")


def _sections(data: Path, url: str, clinic: Clinic, ports: dict[str, int]) -> dict[str, Any]:
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    return {
        "data": str(data),
        "clinic": {"zone": clinic.patient.zone},
        "web": {"port": 0, "base_url": BASE},
        "listener": {"port": 0},
        **({} if url.startswith("sqlite") else {"database": {"url": url}}),
        "email": {
            "host": "127.0.0.1",
            "port": ports["mail"],
            "security": "none",
            "sender": "ward@ward.example",
            "recipients": ["desk@ward.example"],
            "trusted": True,
        },
        "channel": [
            {"name": "mail", "kind": "mail", "trusted": True, "replies": True},
            {
                "name": "sms",
                "kind": "apprise",
                "url": f"json://{at['sms']}/sms/{{address}}",
                "trusted": True,
                "replies": True,
            },
            {
                "name": "app",
                "kind": "webhook",
                "url": f"http://{at['app']}/app/{{address}}",
                "trusted": True,
                "replies": True,
            },
            {
                "name": "pager",
                "kind": "webhook",
                "url": f"http://{at['pager']}/{{address}}",
                "trusted": True,
                "replies": True,
            },
        ],
    }

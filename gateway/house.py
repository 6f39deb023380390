"""The house: everything is put together here, in a straight line, and taken down in reverse order."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import socket
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from alerts.alert import Act, Alert, Finding
from alerts.audit import entries
from alerts.book import Book
from alerts.channels import Channel, LogChannel, PersonalChannel, Speaker, personal_routes, routes
from alerts.database import hurried
from alerts.follow_up import Deed, FollowUp
from alerts.follow_up_book import FollowUpBook
from alerts.quality_book import QualityBook
from alerts.review_book import ReviewBook
from alerts.rules import PLAIN, Applied, RuleBook
from gateway.bulletin import Bulletin
from gateway.check import local_address, nearest
from gateway.clock import Clock
from gateway.config import BOOK, Config
from gateway.device_book import DeviceBook, DeviceState
from gateway.duty import Duty
from gateway.health import TICK, Fall, Pulse
from gateway.heartbeat import READY, Heartbeat, notify
from gateway.hub_name import hub_name
from gateway.keeper import WATCH, Keeper, room, share
from gateway.language import Sentence
from gateway.metrics import measure
from gateway.own_limits import care_of, limits_on, refuse_change
from gateway.path import StraightPath
from gateway.people import Device, DeviceLink, MeasuringPlan, Patient, People, UnknownPerson
from gateway.quality_desk import QualityDesk
from gateway.rounds import Rounds
from gateway.rule_file import load_rules
from gateway.schema import SchemaError, open_database
from gateway.view import NotReadable, NotWaiting, SeriesStore, StoreAway, UnknownLetter
from gateway.ward import Ward
from gateway.web import create_app
from ingest.accounts import Accounts
from ingest.admit import Wearing
from ingest.influx import NAME as INFLUX
from ingest.influx import InfluxError, InfluxFollower, InfluxSeries, resend
from ingest.journal import REJECTED, Journal, JournalError, Letter, LetterState
from ingest.line_protocol import Point
from ingest.links.ble import BleLink, DeviceHealth, KnownDevice, Wiring
from ingest.links.ble_scan import AdapterControl, system_adapters
from ingest.links.ble_session import Timings
from ingest.links.broker import BrokerLink
from ingest.links.listener import Listener
from ingest.links.pairing import Offer, Unattended, keep_offered, offer_to_system
from ingest.links.uplink import Uplink
from ingest.packet_log import PacketLog
from ingest.progress import Progress
from ingest.reading import Reading, from_us
from ingest.series import Series
from ingest.vital import Vital

logger = logging.getLogger(__name__)

JOURNAL: Final = "journal.db"
PACKETS: Final = "packets.db"
SESSIONS: Final = "sessions.db"
BROKER: Final = "broker.json"
LOCK: Final = "lock"
LAST_WORK_S: Final = 10.0
_ROOM_TO_OPEN: Final = 1_048_576  # octets: more than all stores take before anything is written into them
ANSWER_S: Final = 5.0  # within which a person is told what came of an act


_WHEREABOUTS: Final = {
    LetterState.WAITING: Sentence("it waits"),
    LetterState.ADMITTED: Sentence("it is admitted"),
    LetterState.REPLACED: Sentence("it is replaced"),
    LetterState.DISCARDED: Sentence("it is discarded"),
}


class HouseError(Exception):
    """The house cannot open. The text says what is in the way and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """A Bluetooth radio for bleak; the default is this machine's own adapter.

    offer: where it asks during a pairing; None = what a simulated radio does when nobody answers. control: what tells
    of its adapters and switches them.
    """

    offer: Offer | None = None
    control: AdapterControl | None = None
    scanner_kwargs: Mapping[str, Any] = field(default_factory=dict)
    client_kwargs: Mapping[str, Any] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)


SYSTEM_RADIO: Final = Radio(offer=offer_to_system, control=system_adapters())


class House:
    """What the API, the pages and the demonstration see of the house (`gateway.view.HouseView`)."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        journal: Journal,
        people: People,
        book: Book,
        device_book: DeviceBook,
        reviews: ReviewBook,
        follow_ups: FollowUpBook,
        quality: QualityBook,
        duty: Duty,
        engine: Engine,
    ) -> None:
        self.audit = partial(entries, engine)
        self.people = people
        self.book = book
        self.reviews = reviews
        self.follow_ups = follow_ups
        self.duty = duty
        duty.book = book
        self.journal = journal
        self.bulletin = Bulletin()
        self.address = ""
        self.listener: Listener | None = None
        self.broker: BrokerLink | None = None
        self.ble: BleLink | None = None
        self.influx: InfluxFollower | None = None
        self.uplink: Uplink | None = None
        self.packets: PacketLog | None = None
        self._influx_series: InfluxSeries | None = None
        self._influx_settings = config.influxdb.settings() if config.influxdb else None
        # Who follows the journal: a short name, and the one under which it keeps how far that has come.
        self.followers: dict[str, str] = {}
        self.fallen: dict[str, Fall] = {}
        self.keeper = Keeper(
            journal,
            self.progress,
            data=config.data,
            keep=config.journal.keep(),
            now=clock.now,
            elapsed=clock.elapsed,
        )
        self._clock = clock
        self._devices: dict[str, Device] = {}
        self._pseudonyms: dict[str, str] = {}
        self._stop = asyncio.Event()
        self.zone = ZoneInfo(config.clinic.zone)
        self._device_book = device_book
        self._states = device_book.states()
        self._written = dict(self._states)
        self._unwritten: set[str] = set()  # devices whose state may differ from what is written
        # Told through attributes, because the channels that speak and the follower that sends are made after these.
        self.speaker: Speaker
        self.rules = rules = _rules(config)
        self.ward = Ward(journal, people, book, follow_ups, self.bulletin, clock=clock, told=self._wake, rules=rules)
        self.path = StraightPath(journal, self.ward, clock, people.roster(), stored=self._stored)
        self.quality = QualityDesk(journal, people, quality, rules, self.zone)
        self.rounds = Rounds(
            journal,
            people,
            reviews,
            clock=clock,
            hear=self._hear,
            judge=follow_ups.judge,
            rules=rules,
            elsewhere=book.heard_elsewhere if book.is_shared else None,
        )
        self.heartbeat = Heartbeat(
            config.heartbeat.url.get_secret_value() if config.heartbeat else None,
            moves=lambda: not duty.hangs,
            works=self._works,
        )
        self.pulse = Pulse(self)
        self._told: dict[str, str] = {}
        # What is known of the register, by number; before it is read, for what changes meanwhile is read once more.
        self._changed = people.changed(None) if book.is_shared else {}
        self._learn()

    def now(self) -> datetime:
        """See HouseView."""
        return self._clock.now()

    def limits(self, patient: Patient) -> Applied:
        """See HouseView."""
        return limits_on(self.rules, patient, self.now().astimezone(ZoneInfo(patient.zone)).date())

    def health(self) -> Mapping[str, Any]:
        """See HouseView."""
        return self.pulse.state()

    async def stopped(self) -> None:
        """Wait for SIGTERM or Ctrl-C."""
        loop = asyncio.get_running_loop()
        for kind in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(kind, self._stop.set)
        await self._stop.wait()

    async def pair(self, device: str, patient: str, since: datetime | None = None) -> Wearing:
        """See HouseView."""

        async def assign() -> Wearing:
            wearing = await asyncio.to_thread(self.people.assign, device, patient, since=since, now=self._clock.now())
            await self._roster_changed(device, {patient})
            return wearing

        return cast(Wearing, await self._errand(assign))

    async def correct(self, before: Wearing, wanted: Wearing, *, by: str, note: str) -> Wearing:
        """See HouseView."""

        async def correct() -> Wearing:
            corrected = await asyncio.to_thread(self.people.correct, wanted, by=by, note=note, now=self._clock.now())
            await self._roster_changed(wanted.device, {before.patient, wanted.patient})
            return corrected

        return cast(Wearing, await self._errand(correct))

    async def unpair(self, device: str, by: str | None = None) -> Wearing:
        """See HouseView."""

        async def release() -> Wearing:
            wearing = await asyncio.to_thread(self.people.release, device, now=self._clock.now(), by=by)
            await self._roster_changed(device, {wearing.patient})
            return wearing

        return cast(Wearing, await self._errand(release))

    async def retire(self, device: str, by: str | None = None) -> Device:
        """See HouseView."""

        async def retire() -> Device:
            worn = await asyncio.to_thread(self.people.wearings, device)
            retired = await asyncio.to_thread(self.people.retire, device, now=self._clock.now(), by=by)
            await asyncio.to_thread(self._learn_device, device)
            self._states[device] = self._state_of(retired)
            self._unwritten.add(device)
            self.ward.forget({wearing.patient for wearing in worn})
            return retired

        return cast(Device, await self._errand(retire))

    async def change_patient(self, patient: str, change: Callable[[Patient], Patient], by: str | None = None) -> None:
        """See HouseView."""
        now = self.now()

        async def changed() -> None:
            before = await asyncio.to_thread(self.people.patient, patient)
            if before is None:
                raise UnknownPerson(Sentence("no patient has the id {id}", id=patient))
            after = change(before)
            if (before.limits, care_of(before)) != (after.limits, care_of(after)):
                refuse_change(self.rules, before, after, now.astimezone(ZoneInfo(after.zone)).date())
            await asyncio.to_thread(partial(self.people.change_patient, after, now=now, by=by))
            for worn in await asyncio.to_thread(self.people.wearings, patient=patient):
                await asyncio.to_thread(self._learn_device, worn.device)
            self.ward.forget([patient])
            self.rounds.expect([patient])

        await self._errand(changed)

    async def set_plan(self, patient: str, vital: Vital, plan: MeasuringPlan) -> None:
        """See HouseView."""
        await self._change_plans(patient, partial(self.people.set_plan, patient, vital, plan))

    async def end_plan(self, patient: str, number: int, by: str | None) -> None:
        """See HouseView."""
        await self._change_plans(patient, partial(self.people.end_plan, patient, number, by=by))

    async def _change_plans(self, patient: str, change: Callable[..., None]) -> None:
        async def changed() -> None:
            await asyncio.to_thread(partial(change, now=self.now()))
            self.ward.forget([patient])
            self.rounds.expect([patient])

        await self._errand(changed)

    async def act(self, act: Act) -> Alert:
        """See HouseView."""
        return cast(Alert, await self._in_time(partial(self.ward.act, act)))

    async def care(self, deed: Deed) -> FollowUp:
        """See HouseView."""
        return cast(FollowUp, await self._in_time(partial(self.ward.care, deed)))

    async def _in_time(self, run: Callable[[], Awaitable[object]]) -> object:
        """Have the ward do what a person asks for: soon or not at all, and the person is told which."""
        begun = given_up = False

        async def once() -> object:
            nonlocal begun
            if given_up:
                return None
            begun = True
            with self.ward.patience.hurried(), hurried():
                return await run()

        try:
            async with asyncio.timeout(ANSWER_S):
                return await self.path.round(once)
        except TimeoutError:
            given_up = True
            came = (
                Sentence("it may still be done: look before you do it again")
                if begun
                else Sentence("it was not done: do it again later")
            )
            raise self._no_answer(came) from None

    async def _errand(self, run: Callable[[], Awaitable[object]]) -> object:
        """Do what a person asks for in order with the packets; where that cannot be begun soon, say so instead."""
        if refusal := self.path.patience.refusal:
            raise StoreAway(Sentence("{because}; this was not done: do it again then", because=refusal))

        async def once() -> object:
            if limit.expired():
                return None
            limit.reschedule(None)
            with hurried():
                return await run()

        try:
            async with asyncio.timeout(ANSWER_S) as limit:
                return await self.path.errand(once)
        except TimeoutError:
            raise self._no_answer(Sentence("this was not done: do it again later")) from None

    def _no_answer(self, came: str) -> StoreAway:
        trouble = self.path.patience.trouble or self.ward.patience.trouble or Sentence("there is much to do")
        return StoreAway(
            Sentence("no answer within {s:g} s ({because}); {came}", s=ANSWER_S, because=trouble, came=came)
        )

    async def readings(
        self, patient: str, vital: Vital, start: datetime, end: datetime, limit: int | None = None
    ) -> Sequence[Reading]:
        """See HouseView."""
        return await asyncio.to_thread(self.journal.readings, patient, vital, start, end, limit)

    async def series(
        self, patient: str, vital: Vital, start: datetime, end: datetime, source: SeriesStore = "journal"
    ) -> Series:
        """See HouseView."""
        if source == "journal":
            return await asyncio.to_thread(self.journal.series, patient, vital, start, end)
        if self._influx_series is None:
            raise StoreAway("InfluxDB is not configured; add a section [influxdb], or ask the journal")
        try:
            return await asyncio.to_thread(self._influx_series.series, patient, vital, start, end)
        except InfluxError as error:
            raise StoreAway(str(error)) from error

    async def letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Letter]:
        """See HouseView."""
        return await asyncio.to_thread(self.journal.letters, state, device, reason, before, limit)

    async def count_letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
    ) -> int:
        """See HouseView."""
        return await asyncio.to_thread(self.journal.count_letters, state, device, reason, before)

    async def retry_letter(self, number: int) -> Letter:
        """See HouseView."""

        async def again() -> None:
            with self.path.patience.hurried():
                await self.path.retry([letter])

        letter = await self._letter(number)
        if letter.state is LetterState.DISCARDED and not await asyncio.to_thread(self.journal.take_back, number):
            raise NotWaiting(
                Sentence("letter {number} is discarded, and the same waits as another letter", number=number)
            )
        if letter.state in {LetterState.ADMITTED, LetterState.REPLACED}:
            raise _does_not_wait(letter)
        if letter.reason == REJECTED:
            await self._resend(letter)
        else:
            await self._errand(again)
        return await self._letter(number)

    async def discard_letter(self, number: int, because: str) -> Letter:
        """See HouseView."""
        letter = await self._letter(number)
        if not await asyncio.to_thread(self.journal.discard, number, because):
            raise _does_not_wait(letter)
        return await self._letter(number)

    async def _letter(self, number: int) -> Letter:
        letter = await asyncio.to_thread(self.journal.letter, number)
        if letter is None:
            raise UnknownLetter(Sentence("there is no letter {number}", number=number))
        return letter

    async def _resend(self, letter: Letter) -> None:
        if self._influx_settings is None or letter.packet.link != INFLUX:
            raise StoreAway(Sentence("{store} refused it, and is not configured any more", store=letter.packet.link))
        if trouble := await asyncio.to_thread(resend, self._influx_settings, letter.packet.data):
            raise StoreAway(Sentence("not stored: {because}", because=trouble))
        await asyncio.to_thread(self.journal.settle, letter.id)

    async def metrics(self) -> str:
        """See HouseView."""
        return await measure(self)

    def progress(self) -> dict[str, Progress]:
        """How far each follower of the journal has come, by its short name. Blocks."""
        followers = {name: self.journal.progress(place) for name, place in self.followers.items()}
        return {WATCH: Progress(upto=self.book.cursor()), **followers}

    def accounts(self) -> Accounts:
        """What came, what became of it, and who has it. Blocks."""
        found = self.journal.accounts(self.progress())
        if self.uplink is None or self.packets is None:
            return found
        return replace(found, uplink=self.packets.forwarded(self.uplink.place))

    async def tick(self) -> None:
        """What time alone brings about, in order with the packets: silence, a second reading that did not come."""
        if self.book.is_shared:
            await self.path.round(self._learn_from_others)
        while await self.path.round(self.ward.tick):
            pass  # others had their turn
        while await self.path.round(self.ward.open_planned):
            pass  # likewise
        await self.path.round(self._look_after_devices)

    async def go_round(self) -> None:
        """What is done for each patient once a night, beside the worker."""
        while await self.rounds.go():
            pass  # others had their turn

    async def upkeep(self) -> None:
        """What the house does for itself, whatever the worker waits for: health, room, the followers."""
        await self.feel()
        await self.keeper.look()
        self._stored()  # a follower whose cursor was set back by another program sees it now

    def device_states(self) -> Mapping[str, DeviceState]:
        """See HouseView."""
        read = self._read_states()
        return {device.id: read.get(device.id) or self._state_of(device) for device in self._devices.values()}

    async def count_readings(self, wearing: Wearing) -> int:
        """See HouseView."""
        return await asyncio.to_thread(
            self.journal.count, wearing.patient, wearing.device, wearing.since, wearing.until
        )

    async def last_arrivals(self) -> Mapping[str, datetime | None]:
        """See HouseView."""
        arrivals = await asyncio.to_thread(self.journal.last_arrivals)
        return {device: arrivals.get(device) for device in self._devices}

    def read_fully(self, device: str) -> None:
        """See HouseView."""
        if self.ble is None:
            raise NotReadable(Sentence("Bluetooth is not configured; add a section [bluetooth]"))
        try:
            self.ble.read_fully(device)
        except KeyError:
            raise NotReadable(
                Sentence("device {id} is not read over Bluetooth; it sends by itself", id=device)
            ) from None
        logger.info("device %s was asked for everything it has stored", device)

    def _state_of(self, device: Device, health: DeviceHealth | None = None) -> DeviceState:
        known = self._states.get(device.id, DeviceState())
        if device.retired_at is not None:
            return known.retired()
        return known.followed_by(health, self._clock.now()) if health else known

    def _read_states(self) -> dict[str, DeviceState]:
        """The states of the devices that are read over Bluetooth, as they are now."""
        health = self.ble.health().devices if self.ble else ()
        return {
            each.address: self._state_of(self._devices[each.address], each)
            for each in health
            if each.address in self._devices
        }

    async def _look_after_devices(self) -> None:
        """Keep what is known of the devices, and have low batteries seen to; never beside a pairing."""
        now = self._clock.now()
        flags, self.ward.batteries = self.ward.batteries, {}
        states = self._read_states()
        for device in flags.keys() & self._devices.keys():
            known = states.get(device) or self._state_of(self._devices[device])
            states[device] = known.with_flag(low=flags[device], now=now)
        for device, state in states.items():
            if state.battery_low and state.battery_low != self._states.get(device, DeviceState()).battery_low:
                await self.ward.ask_for_battery(device, state.battery_low)
        self._states |= states
        self._unwritten |= states.keys()
        news = {
            device: self._states[device]
            for device in self._unwritten
            if self._states[device].differs(self._written.get(device, DeviceState()))
        }
        if news:
            await asyncio.to_thread(self._device_book.write, news)
            self._written |= news
        self._unwritten.clear()

    async def feel(self) -> None:
        """See HouseView. Tells the pages when it has changed."""
        await self.pulse.feel()
        told, self._told = self._told, self._words()
        if told != self._told:
            self.bulletin.publish({"type": "health"})

    def _words(self) -> dict[str, str]:
        """The state of each part in a word."""
        return {name: part["status"] for name, part in self.health()["parts"].items()}

    def follow(self, follower: InfluxFollower, series: InfluxSeries) -> None:
        """Take an InfluxDB in."""
        self.influx, self._influx_series = follower, series
        self.followers[INFLUX] = follower.place

    def forward(self, uplink: Uplink, log: PacketLog) -> None:
        """Keep every packet in the log from now on, for the hub."""
        self.uplink, self.packets = uplink, log
        self.path.keep_first = partial(log.append, hub=uplink.place)
        self.keeper.keep_room_in(log, uplink.place)

    def pseudonym(self, patient: str) -> str:
        """What stands for a patient in InfluxDB. Raises InfluxError for one who has no readings there."""
        if patient not in self._pseudonyms:
            raise InfluxError(f"patient {patient} has sent nothing yet")
        return self._pseudonyms[patient]

    def label(self, point: Point) -> tuple[str, str]:
        """(pseudonym, device slot) of a reading, see `ingest.influx.Label`."""
        wearing = self.path.roster.at(point.device, from_us(point.taken_us))
        slot = wearing.slot if wearing else 0
        return self.pseudonym(point.patient), f"{self._devices[point.device].kind}-{slot}"

    def ble_devices(self) -> list[KnownDevice]:
        """The devices to be read over Bluetooth, asked for again and again."""
        return [
            KnownDevice(address=device.id, kind=device.kind.value)
            for device in self._devices.values()
            if device.link is DeviceLink.BLE and device.retired_at is None
        ]

    def reads(self, address: str) -> bool:
        """Whether a device is one to be read over Bluetooth."""
        return any(device.address == address for device in self.ble_devices())

    def zone_of(self, device: str) -> tzinfo:
        """Where the wearer of a device lives."""
        wearing = self.path.roster.at(device, self.now())
        return wearing.zone if wearing else self.zone

    def _learn(self) -> None:
        """Read the register: what is asked for with every packet is answered from memory."""
        self._pseudonyms = {patient.id: patient.pseudonym for patient in self.people.patients()}
        self._devices = {device.id: device for device in self.people.devices()}
        self.path.roster = self.people.roster()

    def _learn_device(self, device: str) -> None:
        """Read again what is known of a device and of those who ever wore it."""
        known = self.people.device(device)
        wearings = self.people.wearings(device)
        if known is not None:
            self._devices = {**self._devices, device: known}
        wearers = self.people.some({worn.patient for worn in wearings})
        self._pseudonyms = {**self._pseudonyms, **{patient.id: patient.pseudonym for patient in wearers}}
        self.path.roster = self.path.roster.changed(device, wearings)

    async def _learn_from_others(self) -> None:
        """What other hubs on the same database have entered or changed of patients and devices."""
        found = await self.ward.patience.call(self.people.changed, max(self._changed, default=None))
        news = [found[number].partition(":") for number in found.keys() - self._changed.keys()]
        devices = {name for kind, _, name in news if kind == "device"}
        patients = {name for kind, _, name in news if kind == "patient"}
        for patient in sorted(patients):
            devices |= {worn.device for worn in await asyncio.to_thread(self.people.wearings, patient=patient)}
        for device in sorted(devices):
            worn = await asyncio.to_thread(self.people.wearings, device)
            await self._roster_changed(device, {each.patient for each in worn})
        if patients:
            self.ward.forget(patients)
            self.rounds.expect(patients)
        self._changed = found or self._changed

    async def _roster_changed(self, device: str, patients: set[str]) -> None:
        await asyncio.to_thread(self._learn_device, device)
        self.ward.forget(patients)
        self.rounds.expect(patients)
        await self.path.readmit(device)

    async def _hear(self, findings: Sequence[Finding]) -> None:
        """Have the alerts hear what the rounds have found."""
        await self.path.round(partial(self.ward.hear, findings))

    def _works(self) -> bool:
        """Whether people are told, and readings are kept and watched as they come."""
        return (
            not self.duty.stands_still and self.path.patience.trouble is None and self.ward.patience.trouble is None
        )

    def _wake(self) -> None:
        """There may be somebody to tell."""
        self.speaker.wake()
        self.duty.wake()

    def _stored(self) -> None:
        if self.influx:
            self.influx.news.set()
        if self.uplink:
            self.uplink.news.set()


@asynccontextmanager
async def keep_house(config: Config, clock: Clock, *, radio: Radio | None = None) -> AsyncIterator[House]:
    """Open the house, keep it while the block runs, and close it so that the next start goes on where this ends.

    radio: a virtual one; without it Bluetooth is used when it is configured. Raises HouseError.
    """
    try:
        async with _standing(config, clock, radio) as house:
            yield house
    except JournalError as error:
        raise HouseError(_hindrance(config.data, str(error))) from error
    except ExceptionGroup as group:
        # What kept the house from opening is one sentence; anything else is a fault of ours and stays whole.
        if hindrance := group.subgroup(HouseError):
            raise hindrance.exceptions[0] from None
        raise


@asynccontextmanager
async def _standing(config: Config, clock: Clock, radio: Radio | None) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_tenant(config.data))
        channels, personal = _channels(config), config.personal_channels()
        house = House(config, clock, *_open_stores(stack, config, clock, channels, personal))
        door = _open_door(stack, config, house)
        base_url = config.web.base_url or house.address
        house.duty.base_url = base_url
        house.speaker = house.duty.speaker = Speaker(
            house.book,
            channels,
            base_url=base_url,
            clock=clock.now,
            outbox=house.duty.outbox,
            personal=personal,
            link=house.duty.link,
        )
        shift = _Shift(stack, await stack.enter_async_context(asyncio.TaskGroup()))
        shift.start(house.speaker.run(), "speaker")
        stack.push_async_callback(house.ward.close)
        _start_followers(shift, config, house, clock)
        await _start_worker(shift, house)
        await _open_links(shift, config, house, clock, radio)
        works = (
            ("tick", house.tick),
            ("upkeep", house.upkeep),
            ("rounds", house.go_round),
            ("duty", house.duty.run),
            ("heartbeat", house.heartbeat.beat),
        )
        for name, work in works:
            shift.start(_kept_going(name, work, house, clock), name)
        server = _Server(_server_config(create_app(house, config.web.guard())))
        stack.push_async_callback(_close_web, server, house.bulletin, shift.group.create_task(server.serve([door])))
        logger.info("open at %s, data in %s", house.address, config.data)
        notify(READY)
        yield house
        logger.info("closing")


def _does_not_wait(letter: Letter) -> NotWaiting:
    others = ", ".join(map(str, letter.followed_by))
    where = Sentence("it goes on as letter {others}", others=others) if others else _WHEREABOUTS[letter.state]
    return NotWaiting(Sentence("letter {number} does not wait: {where}", number=letter.id, where=where))


class _Shift(NamedTuple):
    """Who works while the house stands: tasks of the group, each ended when the stack is taken down to it."""

    stack: AsyncExitStack
    group: asyncio.TaskGroup

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.stack.push_async_callback(_cancel, self.group.create_task(work, name=name))


def _channels(config: Config) -> list[Channel]:
    channels: list[Channel] = [LogChannel()]
    if config.webhook:
        channels.append(config.webhook.channel())
    if config.email:
        channels += config.email.channels()
    return channels


def _rules(config: Config) -> RuleBook:
    return load_rules(config.clinic.rules) if config.clinic.rules else PLAIN


def _open_stores(
    stack: AsyncExitStack,
    config: Config,
    clock: Clock,
    channels: Sequence[Channel],
    personal: Sequence[PersonalChannel],
) -> tuple[Journal, People, Book, DeviceBook, ReviewBook, FollowUpBook, QualityBook, Duty, Engine]:
    journal = Journal(config.data / JOURNAL, checkpoints="beside it")
    stack.callback(journal.close)
    try:
        hub = hub_name(config)
        engine = open_database(config.database_url)
    except (SchemaError, OSError) as error:
        raise HouseError(_hindrance(config.data, str(error))) from error
    stack.callback(engine.dispose)
    people = People(engine)
    duty = Duty(
        engine,
        people,
        journal,
        clock,
        rules=_rules(config),
        channels=personal_routes(personal),
        mailboxes=[each.name for each in config.channel if each.kind == "mail"],
        ladders=config.ladders(),
        zone=config.clinic.zone,
        hub=hub,
    )
    book = Book(engine, routes=routes(channels), hub=hub, beside=[duty.escalation.beside])
    reviews, follow_ups, quality = (
        ReviewBook(engine),
        FollowUpBook(engine, [duty.escalation.beside_care]),
        QualityBook(engine),
    )
    return journal, people, book, DeviceBook(engine), reviews, follow_ups, quality, duty, engine


def _open_door(stack: AsyncExitStack, config: Config, house: House) -> socket.socket:
    """Take the address of the page, and tell it to the commands of this computer, which may know no more than it."""
    door = stack.enter_context(_door(config.web.host, config.web.port))
    house.address = local_address(config.web.host, door.getsockname()[1])
    try:
        (config.data / LOCK).write_text(house.address, encoding="ascii")
    except OSError as error:
        raise HouseError(_hindrance(config.data, f"cannot write {config.data / LOCK}: {error}")) from error
    return door


def _start_followers(shift: _Shift, config: Config, house: House, clock: Clock) -> None:
    """InfluxDB, which follows the journal, and the hub, to which every packet goes."""

    async def pause(seconds: float) -> None:
        await clock.sleep(timedelta(seconds=seconds))

    if config.influxdb:
        settings = config.influxdb.settings()
        series = InfluxSeries(settings, house.pseudonym)
        shift.stack.callback(series.close)
        follower = InfluxFollower(settings, house.journal, house.label, now=clock.now, pause=pause)
        house.follow(follower, series)
        shift.start(_kept_going("influxdb", follower.run, house, clock), "influxdb")
    if config.uplink:
        log = PacketLog(config.data / PACKETS)
        shift.stack.callback(log.close)
        uplink = Uplink(config.uplink.settings(), log, now=clock.now, pause=pause)
        house.forward(uplink, log)
        shift.start(_kept_going("uplink", uplink.run, house, clock), "uplink")


async def _start_worker(shift: _Shift, house: House) -> None:
    # Before anything is watched: on a full disk the worker waits with the first of it, and the page is open then.
    shift.stack.push_async_callback(house.pulse.close)
    await house.feel()
    worker = shift.group.create_task(house.path.run(), name="straight path")
    shift.stack.push_async_callback(_cancel, worker)
    shift.stack.push_async_callback(_finish, house.path, worker)


async def _open_links(shift: _Shift, config: Config, house: House, clock: Clock, radio: Radio | None) -> None:
    """The ways by which packets come in."""
    if config.listener:
        house.listener = Listener(
            config.listener.settings(),
            house.path.deliver,
            clock.now,
            check_login=config.listener.admits if config.listener.logins or config.listener.posts else None,
            posts=config.listener.posts,
            session_file=config.data / SESSIONS,
        )
        await _open(shift.stack, house.listener, config.listener.host, config.data)
    if config.broker:
        house.broker = BrokerLink(
            config.broker.settings(), house.path.deliver, clock.now, memory_file=config.data / BROKER
        )
        await shift.stack.enter_async_context(house.broker.running())
    if radio or config.bluetooth:
        radio = radio or SYSTEM_RADIO
        house.ble = BleLink(house.ble_devices, _wiring(house, radio))
        shift.start(_kept_going("bluetooth", house.ble.run, house, clock), "bluetooth")
        if radio.offer:
            agent = Unattended(house.reads)
            shift.start(keep_offered(agent, radio.offer, pause=TICK.total_seconds()), "pairing agent")


async def _kept_going(name: str, work: Callable[[], Awaitable[None]], house: House, clock: Clock) -> None:
    """Again and again. What goes wrong, mostly on a locked or full store, is told, and keeps nothing else."""
    while True:
        try:
            await work()
        except Exception as error:
            house.fallen[name] = Fall(clock.now(), str(error))
            ours = not isinstance(error, sqlite3.OperationalError | OperationalError)
            logger.error("%s stopped: %s; it is started again in %s", name, error, TICK, exc_info=ours)  # noqa: TRY400
        await clock.sleep(TICK)


def _wiring(house: House, radio: Radio) -> Wiring:
    return Wiring(
        deliver=house.path.deliver,
        now=house.now,
        zone_of=house.zone_of,
        resume=house.journal.resume_point,
        timings=radio.timings,
        scanner_kwargs=radio.scanner_kwargs,
        client_kwargs=radio.client_kwargs,
        control=radio.control,
    )


async def _open(stack: AsyncExitStack, listener: Listener, host: str, data: Path) -> None:
    try:
        await stack.enter_async_context(listener.running())
    except (ssl.SSLError, FileNotFoundError) as error:
        raise HouseError(f"the certificate or key of the MQTT listener cannot be used: {error}") from error
    except sqlite3.Error as error:
        said = (
            f"the sessions of MQTT devices cannot be used: {error}; check the disk, or delete {SESSIONS} in the data "
            "directory: devices then begin new sessions"
        )
        raise HouseError(_hindrance(data, said)) from error
    except OSError as error:
        raise HouseError(
            f"the MQTT listener cannot open at {host}:{listener.settings.port}: {error.strerror or error}; "
            "another broker may stand there: choose another [listener] port"
        ) from error


def _hindrance(data: Path, said: str) -> str:
    """Why a store cannot be used. SQLite has many words for a full disk, and none of its files is to blame for it."""
    disk = shutil.disk_usage(nearest(data))
    if disk.free >= _ROOM_TO_OPEN:
        return said
    return (
        f"the disk that holds {data} is {room(share(disk), disk.free)}: make room there and start again; "
        "no file of Homeward has to be deleted"
    )


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _finish(path: StraightPath, worker: asyncio.Task[None]) -> None:
    """Let the worker do what stands at the door, unless it is the one that has failed."""

    async def nothing() -> None:
        return

    last = asyncio.ensure_future(path.errand(nothing, last=True))
    # With a full disk it would wait for ever; what was not acknowledged comes again.
    await asyncio.wait([last, worker], return_when=asyncio.FIRST_COMPLETED, timeout=LAST_WORK_S)
    last.cancel()


def clear(data: Path) -> None:
    """Forget all that is kept in a data directory. Raises HouseError while a house uses it."""
    if not data.exists():
        return
    with sole_tenant(data):
        for path in data.iterdir():
            if path.name != LOCK:
                path.unlink()


@contextmanager
def sole_tenant(data: Path) -> Iterator[None]:
    """Two houses on one data directory would send every notice twice. What is in it is for its owner's eyes only."""
    mask = os.umask(0o077)
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data / LOCK).open("a")  # what a hub that runs has written there stays
        for name in (JOURNAL, BOOK, SESSIONS):
            (data / name).touch(mode=0o600)
    except OSError as error:
        said = f"the data directory {data} cannot be used: {error}; choose another `data`"
        raise HouseError(_hindrance(data, said)) from error
    finally:
        os.umask(mask)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HouseError(f"another Homeward uses {data}; stop it, or choose another `data`") from error
        yield


@contextmanager
def _door(host: str, port: int) -> Iterator[socket.socket]:
    try:
        door = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise HouseError(
            f"the page cannot open at {host}:{port}: {error.strerror or error}; choose another [web] port"
        ) from error
    with door:
        yield door


class _Server(uvicorn.Server):
    """uvicorn inside a house that has its own way to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server_config(app: Callable[..., Any]) -> uvicorn.Config:
    return uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=3)


async def _close_web(server: uvicorn.Server, bulletin: Bulletin, serving: asyncio.Task[None]) -> None:
    bulletin.close()
    server.should_exit = True
    await asyncio.wait([serving])

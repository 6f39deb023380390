"""A house without links: real people, journal, book and bulletin; findings come by hand; the clock stands still."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from alerts.alert import HOUSE, Act, Alert, Audience, Finding, Priority, Text, Verdict
from alerts.audit import entries
from alerts.book import Book
from alerts.channels import Speaker
from alerts.follow_up import Deed, FollowUp, Step, acting, decide, follow
from alerts.follow_up_book import FollowUpBook
from alerts.machine import Heard, hear
from alerts.quality_book import QualityBook
from alerts.review_book import ReviewBook
from alerts.rules import PLAIN, Applied
from gateway import metrics
from gateway.bulletin import Bulletin
from gateway.device_book import DeviceState
from gateway.duty import Duty
from gateway.own_limits import limits_on, refuse_change
from gateway.people import Device, DeviceKind, DeviceLink, MeasuringPlan, Patient, People, UnknownPerson
from gateway.quality_desk import QualityDesk
from gateway.schema import open_database
from gateway.view import NotReadable, NotWaiting, SeriesStore, StoreAway, UnknownLetter
from ingest.admit import Wearing
from ingest.journal import Arrival, Journal, Letter, LetterState
from ingest.progress import Progress
from ingest.reading import DecodeError, Flag, Packet, Reading, TimeBasis
from ingest.series import Series
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital

NOW = datetime(2026, 3, 3, 6, 30, tzinfo=UTC)  # 14:30 in Shanghai
SHANGHAI = ZoneInfo("Asia/Shanghai")
WANG = Patient(id="p-017", name="王芳", zone="Asia/Shanghai", language="zh_CN")
MILLER = Patient(id="p-018", name="Anna Miller", zone="Europe/Berlin", glucose_unit=Unit.MG_DL)


class StandingClock:
    """The house's time, which tests move by hand."""

    def __init__(self, house: SmallHouse) -> None:
        self._house = house

    def now(self) -> datetime:
        return self._house.time

    def elapsed(self) -> timedelta:
        return self._house.time - NOW

    runtime = elapsed

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nothing waits here")


class SmallHouse:
    zone = SHANGHAI
    rules = PLAIN

    def __init__(self, folder: Path, url: str = "") -> None:
        self.engine = open_database(url or f"sqlite:///{folder / 'hub.sqlite'}")
        self.people = People(self.engine)
        self.journal = Journal(folder / "journal.sqlite")
        self.time = NOW
        self.duty = Duty(
            self.engine,
            self.people,
            self.journal,
            StandingClock(self),
            rules=PLAIN,
            channels=dict.fromkeys(Audience, ("app", "sms")),
        )
        self.duty.base_url = "https://hub.example"
        self.book = Book(self.engine, routes={Audience.PATIENT: ("log",)}, beside=[self.duty.escalation.beside])
        self.duty.book = self.book
        self.duty.speaker = Speaker(self.book, [], base_url="https://hub.example", clock=self.now)
        self.reviews = ReviewBook(self.engine)
        self.follow_ups = FollowUpBook(self.engine, [self.duty.escalation.beside_care])
        self.audit = partial(entries, self.engine)
        self.quality = QualityDesk(self.journal, self.people, QualityBook(self.engine), self.rules, self.zone)
        self.bulletin = Bulletin()
        self.felt_at = NOW
        self.trouble = ""
        self.states: dict[str, DeviceState] = {}
        self.asked_fully: list[str] = []

    def close(self) -> None:
        self.bulletin.close()
        self.journal.close()
        self.engine.dispose()

    def now(self) -> datetime:
        return self.time

    def health(self) -> dict[str, Any]:
        influx = {"status": "degraded" if self.trouble else "ok", "detail": self.trouble or "0 readings behind"}
        return {
            "status": influx["status"],
            "as_of": self.felt_at,
            "parts": {"journal": {"status": "ok", "detail": "open"}, "influxdb": influx},
        }

    async def feel(self) -> None:
        self.felt_at = self.time

    def device_states(self) -> dict[str, DeviceState]:
        return {device.id: self.states.get(device.id, DeviceState()) for device in self.people.devices()}

    async def last_arrivals(self) -> dict[str, datetime | None]:
        return {device.id: self.journal.last_arrival(device.id) for device in self.people.devices()}

    def read_fully(self, device: str) -> None:
        if device.startswith("cgm"):
            raise NotReadable(f"device {device} is not read over Bluetooth; it sends by itself")
        self.asked_fully.append(device)

    async def pair(self, device: str, patient: str, since: datetime | None = None) -> Wearing:
        return self.people.assign(device, patient, since=since, now=self.time)

    async def correct(self, before: Wearing, wanted: Wearing, *, by: str, note: str) -> Wearing:
        return self.people.correct(wanted, by=by, note=note, now=self.time)

    async def count_readings(self, wearing: Wearing) -> int:
        return self.journal.count(wearing.patient, wearing.device, wearing.since, wearing.until)

    async def unpair(self, device: str, by: str | None = None) -> Wearing:
        return self.people.release(device, now=self.time, by=by)

    async def retire(self, device: str, by: str | None = None) -> Device:
        return self.people.retire(device, now=self.time, by=by)

    async def change_patient(self, patient: str, change: Callable[[Patient], Patient], by: str | None = None) -> None:
        before = self.people.patient(patient)
        if before is None:
            raise UnknownPerson(f"no patient has the id {patient}")
        after = change(before)
        refuse_change(self.rules, before, after, self.time.date())
        self.people.change_patient(after, now=self.time, by=by)

    async def set_plan(self, patient: str, vital: Vital, plan: MeasuringPlan) -> None:
        self.people.set_plan(patient, vital, plan, now=self.time)

    async def end_plan(self, patient: str, number: int, by: str | None) -> None:
        self.people.end_plan(patient, number, by=by, now=self.time)

    def limits(self, patient: Patient) -> Applied:
        return limits_on(self.rules, patient, self.time.date())

    async def act(self, act: Act) -> Alert:
        heard = hear(self.book.alert(act.alert), act, act.at)
        if heard.changes[-1].alert.patient == HOUSE:
            return self._write(heard)
        return self._write(heard, follow(heard.changes[-1].alert, act, self.follow_ups.of_alert(act.alert)))

    async def care(self, deed: Deed) -> FollowUp:
        steps = decide(self.follow_ups.get(deed.follow_up), deed)
        alert = self.book.alert(steps[0].follow_up.alert or "")
        if alert and (act := acting(steps, alert)):
            self._write(hear(alert, act, act.at), steps)
        else:
            self.follow_ups.record(steps)
        return steps[0].follow_up

    async def readings(
        self, patient: str, vital: Vital, start: datetime, end: datetime, limit: int | None = None
    ) -> Sequence[Reading]:
        return await asyncio.to_thread(self.journal.readings, patient, vital, start, end, limit)

    async def series(
        self, patient: str, vital: Vital, start: datetime, end: datetime, source: SeriesStore = "journal"
    ) -> Series:
        if source == "influxdb":
            raise StoreAway("InfluxDB is not configured; add [influxdb] to the configuration")
        return await asyncio.to_thread(self.journal.series, patient, vital, start, end)

    async def letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Letter]:
        return await asyncio.to_thread(self.journal.letters, state, device, reason, before, limit)

    async def count_letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
    ) -> int:
        return await asyncio.to_thread(self.journal.count_letters, state, device, reason, before)

    async def discard_letter(self, number: int, because: str) -> Letter:
        if not self.journal.discard(number, because):
            raise NotWaiting(f"letter {number} does not wait")
        letter = self.journal.letter(number)
        assert letter is not None
        return letter

    async def metrics(self) -> str:
        found = self.journal.accounts({"watch": Progress(upto=self.book.cursor())})
        return metrics.exposition([*metrics.of_accounts(found)])

    async def retry_letter(self, number: int) -> Letter:
        letter = self.journal.letter(number)
        if letter is None:
            raise UnknownLetter(f"there is no letter {number}")
        if letter.state is LetterState.DISCARDED:
            self.journal.take_back(number)
        elif letter.state is not LetterState.WAITING:
            raise NotWaiting(f"letter {number} does not wait: {letter.whereabouts}")
        return self.journal.letter(number) or letter

    def find(self, finding: Finding, minutes_ago: int = 0) -> Alert:
        """A rule has found something."""
        standing = self.book.standing().get((finding.patient, finding.problem))
        return self._write(hear(standing, finding, self.time - timedelta(minutes=minutes_ago)))

    def _write(self, heard: Heard, steps: Sequence[Step] = ()) -> Alert:
        self.book.record(heard.changes, heard.notices, also=self.follow_ups.writing(steps))
        alert = heard.changes[-1].alert
        self.bulletin.publish({"type": "alert", "alert": alert.id, "patient": alert.patient})
        return alert


def very_low(patient: Patient = WANG, minutes_ago: int = 20, **changed: Any) -> Finding:
    since = NOW - timedelta(minutes=minutes_ago)
    local = since.astimezone(ZoneInfo(patient.zone))
    plain = Finding(
        patient=patient.id,
        rule="low-event-2",
        problem="glucose-low",
        verdict=Verdict.RAISE,
        priority=Priority.HIGH,
        audience=Audience.STAFF,
        because=Text(
            en=f"Glucose 2.8 mmol/L at {local:%H:%M}, below 3.0 mmol/L for 15 min (Battelino 2019, level 2)",
            zh=f"{local:%H:%M} 血糖 2.8 mmol/L，低于 3.0 mmol/L 已 15 分钟（Battelino 2019 共识 2 级）",
        ),
        since=since,
        known_at=since,
        evidence=(f"cgm_glucose/{since:%Y-%m-%dT%H:%M:%S.%fZ}/cgm-1",),
    )
    return replace(plain, **changed)


def severe_pressure(patient: Patient = MILLER) -> Finding:
    return very_low(
        patient,
        45,
        rule="bp-severe",
        problem="blood-pressure-high",
        priority=Priority.MEDIUM,
        because=Text(
            en="Blood pressure 186/112 mmHg at 06:45, at or above 180/110 mmHg twice (grade 3)",
            zh="06:45 血压 186/112 mmHg，两次达到 180/110 mmHg（3 级高血压）",
        ),
    )


def no_data(patient: Patient = MILLER, *, rule: str = "no-data", problem: str = "no-data") -> Finding:
    return very_low(
        patient,
        300,
        rule=rule,
        problem=problem,
        priority=Priority.LOW,
        because=Text(
            en="No glucose from the sensor for 5 h, expected every 5 min",
            zh="传感器已 5 小时没有血糖数据，预期每 5 分钟一次",
        ),
        evidence=(),
    )


def over(finding: Finding) -> Finding:
    return replace(finding, verdict=Verdict.CLEAR)


def reading(vital: Vital, taken_at: datetime, *sent: float | None, **changed: Any) -> Reading:
    device, unit = {
        Vital.CGM: ("cgm-1", Unit.MMOL_L),
        Vital.GLUCOSE: ("C0:26:DA:00:12:34", Unit.MOL_L),
        Vital.KETONE: ("C0:26:DA:00:12:34", Unit.MMOL_L),
        Vital.BLOOD_PRESSURE: ("cuff-1", Unit.MMHG),
    }[vital]
    factor = {Unit.MMOL_L: MG_DL_PER_MMOL_L, Unit.MOL_L: 1000 * MG_DL_PER_MMOL_L, Unit.MMHG: 1.0}[unit]
    plain = Reading(
        patient=WANG.id,
        device=device,
        vital=vital,
        values=tuple(value and round(value * factor, 6) for value in sent),
        sent=sent,
        unit=unit,
        taken_at=taken_at,
        time_basis=TimeBasis.DEVICE,
        received_at=taken_at + timedelta(seconds=20),
        device_time=taken_at,
    )
    return replace(plain, **changed)


def furnish(house: SmallHouse) -> None:
    """Two patients; one with a day of sensor, meter and cuff readings, a silence, a HI, and letters."""
    for patient in (WANG, MILLER):
        house.people.add_patient(patient, now=house.now())
    for device, kind, link, model in (
        ("cgm-1", DeviceKind.CGM, DeviceLink.MQTT, "GS1"),
        ("C0:26:DA:00:12:34", DeviceKind.METER, DeviceLink.BLE, "Contour"),
        ("cuff-1", DeviceKind.CUFF, DeviceLink.MQTT, ""),
        ("cuff-2", DeviceKind.CUFF, DeviceLink.BLE, ""),
    ):
        house.people.add_device(Device(id=device, kind=kind, link=link, model=model), now=house.now())
    for device in ("cgm-1", "C0:26:DA:00:12:34", "cuff-1"):
        house.people.assign(device, WANG.id, since=NOW - timedelta(days=14), now=NOW)
    found = [
        reading(Vital.CGM, NOW - timedelta(minutes=5 * i), round(7.2 + 3.9 * math.sin(i / 30) - (i == 3) * 0.2, 1))
        for i in range(2 * 24 * 12)
        if not 60 < i % 288 < 90
    ]
    found[20] = replace(found[20], values=(None,), sent=(None,), flags=frozenset({Flag.ABOVE_RANGE}))
    found += [reading(Vital.GLUCOSE, NOW - timedelta(hours=6 * i + 1), 0.0061 + 0.0001 * (i % 9)) for i in range(9)]
    found += [
        reading(
            Vital.BLOOD_PRESSURE, NOW - timedelta(hours=12 * i + 2), 138.0 + i % 7, 86.0 - i % 5, None, 70.0 + i % 6
        )
        for i in range(28)
    ]
    found.sort(key=lambda each: each.received_at)
    arrivals = [Arrival(packet=_packet(r.device, b"{}", r.received_at), outcomes=(r,)) for r in found]
    broken = _packet("cgm-9", b'{"version":1,"value":"5.6"', NOW - timedelta(hours=1))
    arrivals.append(Arrival(packet=broken, outcomes=(DecodeError("invalid", "the JSON text ends early", 26),)))
    house.journal.append(arrivals)


def _packet(sender: str, data: bytes, at: datetime) -> Packet:
    return Packet(link="listener", sender=sender, channel="json", data=data, received_at=at)

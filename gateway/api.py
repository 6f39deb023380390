"""The JSON API under /api/v1. Every number carries its unit, every moment its offset from UTC.

Errors are RFC 9457 problem details whose `detail` is a sentence, in English or, where Accept-Language asks for it, in
Chinese; fields keep their names. Ranges of time are half open: start <= t < end.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from alerts.alert import (
    HOUSE,
    REASON_WORDS,
    Act,
    ActKind,
    Alert,
    Audience,
    IllegalAct,
    Notice,
    Outcome,
    Priority,
    Reason,
    Symptom,
    Text,
)
from alerts.devices import LastHeard
from alerts.follow_up import FollowUp
from alerts.machine import Fact, FactKind
from alerts.rule import Group, LimitsError
from alerts.rules import parse_overrides
from alerts.staffing import one_of
from alerts.team import Role
from gateway.card import Card, cards
from gateway.device_book import DeviceState
from gateway.language import Sentence
from gateway.people import (
    BLUETOOTH_ADDRESS,
    Correction,
    Device,
    DeviceKind,
    DeviceLink,
    MeasuringPlan,
    Patient,
    authors_of_new,
    is_taken_back,
)
from gateway.stream import EventStream
from gateway.view import HouseView, SeriesStore
from gateway.words import REASONS
from ingest.admit import Wearing
from ingest.journal import Letter, LetterState
from ingest.links.ble import Bond
from ingest.reading import Flag, Reading, TimeBasis, from_us
from ingest.vital import COMPONENTS, Component, Unit, Vital

PAGE: Final = 100
_DEFAULT_SPAN: Final = timedelta(days=1)
_EVENT: Final = (
    'id: 5f2c-18\nevent: alert\ndata: {"type": "alert", "alert": "a-a3439c58d9035e25", "patient": "p-017"}\n\n'
)
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as JSON writes it
_WHO_ENDS: Final = Sentence("this would end a limit of the patient: say who ends it, as ?by=NAME")
NO_NUL: Final = Sentence("the text holds a NUL character, which cannot be kept; leave it out")
# Every clock and every store can express these and a day beside them.
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def _house(request: Request) -> HouseView:
    house: HouseView = request.app.state.house
    return house


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            Sentence("no time zone is called {name!r}; use an IANA name such as Asia/Shanghai", name=name)
        ) from error
    return name


def _known_limits(limits: dict[str, Any]) -> dict[str, Any]:
    try:
        given = parse_overrides(limits, "patient")
    except (OverflowError, RecursionError) as error:
        raise ValueError(Sentence("a limit is larger or deeper than anything that can be computed with")) from error
    for override in given:
        if not override.author:
            names = ", ".join(f"{key.rule}.{key.parameter}" for key in override.given)
            raise LimitsError(
                Text(en=f'{names}: say who sets it, with "author".', zh=f"{names}：请用 author 写明由谁设定。")
            )
    return limits


def _known_reason(reason: str) -> str:
    if reason not in REASONS:
        reasons = ", ".join(REASONS)
        raise ValueError(
            Sentence("no letter has the reason {name!r}; the reasons are {reasons}", name=reason, reasons=reasons)
        )
    return reason


def _within_reach(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError(Sentence("use a moment from the years 1900 to 2199"))
    return moment


def _year_within_reach(day: date) -> date:
    if not _EARLIEST.year <= day.year < _LATEST.year:
        raise ValueError(Sentence("use a day of the years 1900 to 2199"))
    return day


House = Annotated[HouseView, Depends(_house)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="Letters, digits and _ . : -")]
Zone = Annotated[str, AfterValidator(_known_zone), Field(description="IANA time zone", examples=["Asia/Shanghai"])]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many")]
LetterId = Annotated[int, Query(ge=1, le=2**63 - 1, description="Id of the last letter of the page before")]
LetterReason = Annotated[str, AfterValidator(_known_reason), Query(description=f"One of {', '.join(REASONS)}")]
LetterNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]
PlanNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]
Moment = Annotated[AwareDatetime, AfterValidator(_within_reach)]
CalendarDay = Annotated[date, AfterValidator(_year_within_reach)]
GlucoseUnit = Literal[Unit.MMOL_L, Unit.MG_DL]
PlannedVital = Literal[Vital.GLUCOSE, Vital.BLOOD_PRESSURE]
Population = Literal[Group.ADULT, Group.OLDER, Group.PREGNANCY]


class Door(BaseModel):
    """What comes in: an unknown field is refused, so that a typing error does not vanish."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, body: object) -> object:
        """JSON can name half of a surrogate pair, which no store takes and pydantic cannot name in an error."""
        try:
            said = json.dumps(body, ensure_ascii=False, default=str)
            said.encode()
        except (UnicodeEncodeError, RecursionError) as error:
            raise ValueError(Sentence("the text holds half of a surrogate pair, or is nested too deeply")) from error
        if _NUL.search(said):  # PostgreSQL takes none
            raise ValueError(NO_NUL)
        return body


class PatientIn(Door):
    """A new patient."""

    id: Identifier
    name: Name
    zone: Zone
    language: Literal["en", "zh_CN"] = "en"
    glucose_unit: GlucoseUnit = Unit.MMOL_L

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "p-017", "name": "王芳", "zone": "Asia/Shanghai", "language": "zh_CN"}],
        }
    )

    def patient(self) -> Patient:
        """The patient inside the house."""
        return Patient(**self.model_dump())


class PatientPatch(Door):
    """What changes; everything left out stays.

    `limits` replaces all of the patient's own limits: each that stays as it was keeps the moment at which it was
    entered, and one that is left out ends and is kept as a former one. population, programme: null is what the rule
    file says.
    """

    name: Name | None = None
    zone: Zone | None = None
    language: Literal["en", "zh_CN"] | None = None
    glucose_unit: GlucoseUnit | None = None
    limits: Annotated[dict[str, Any], AfterValidator(_known_limits)] | None = Field(
        default=None,
        description="The patient's own limits, by rule and parameter, each with its unit and who set it; `from` and "
        "`to` are days on the patient's clock, both included",
        examples=[
            {"low-event-1": {"limit": {"value": 4.4, "unit": "mmol/L", "author": "Dr Li", "from": "2026-03-01"}}}
        ],
    )
    population: Population | None = None
    programme: Name | None = Field(default=None, description="One of the rule file")


class PlanIn(Door):
    """What a patient is to measure. Days are on the patient's clock, both included; `from` left out: from today."""

    times: int = Field(ge=1, le=24, description="How often on such a day")
    days: int = Field(ge=1, le=7, description="On how many days of any seven")
    first: CalendarDay | None = Field(default=None, alias="from")
    last: CalendarDay | None = Field(default=None, alias="to")
    author: Name

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"times": 2, "days": 7, "from": "2026-03-01", "author": "Dr Li"}]}
    )

    def plan(self, vital: Vital, today: date, now: datetime) -> MeasuringPlan:
        """The plan inside the house. An HTTP 422 where it would end before it begins."""
        first = self.first or today
        if self.last and self.last < first:
            raise HTTPException(
                422, Sentence("it would end on {last}, before it begins on {first}", last=self.last, first=first)
            )
        return MeasuringPlan(
            vital=vital,
            times=self.times,
            days=self.days,
            first=first,
            last=self.last,
            author=self.author.strip(),
            entered_at=now,
        )


class PlanOut(BaseModel):
    """What a patient is or was to measure. entered_at, ended_at (replaced or taken back) in UTC.

    ended_by: null where nobody said who did it. number: names it where it is ended.
    """

    number: int
    vital: Vital
    times: int
    days: int
    first: date = Field(serialization_alias="from")
    last: date | None = Field(serialization_alias="to")
    author: str
    entered_at: datetime
    ended_at: datetime | None
    ended_by: str | None

    model_config = ConfigDict(from_attributes=True)


class FormerLimitOut(BaseModel):
    """A number of a patient's own that was replaced or taken back. entry: as it was set.

    ended_at: when (in UTC), or when its last day was over, if that was before; ended_by: null then, and where nobody
    said who did it.
    """

    rule: str
    parameter: str
    entry: Mapping[str, Any]
    ended_at: datetime
    ended_by: str | None

    model_config = ConfigDict(from_attributes=True)


class WearingOut(BaseModel):
    """Who wears which device. since null: from its first record; until null: still.

    number: names it for a correction.
    """

    number: int
    device: str
    patient: str
    since: datetime | None
    until: datetime | None
    zone: str

    @classmethod
    def of(cls, wearing: Wearing) -> WearingOut:
        """Moments on the wearer's clock."""
        return cls(
            number=wearing.number,
            device=wearing.device,
            patient=wearing.patient,
            since=wearing.since and wearing.since.astimezone(wearing.zone),
            until=wearing.until and wearing.until.astimezone(wearing.zone),
            zone=wearing.zone.key,
        )


class CorrectionOut(BaseModel):
    """When, by whom and why a wearing was corrected; moments in UTC. since null: from the device's first record."""

    at: datetime
    by: str
    note: str
    patient_before: str
    since_before: datetime | None
    patient: str
    since: datetime | None

    @classmethod
    def of(cls, correction: Correction) -> CorrectionOut:
        """The correction."""
        return cls(**{name: getattr(correction, name) for name in cls.model_fields})


class WearingDetail(BaseModel):
    """A wearing with what was corrected of it, oldest first."""

    wearing: WearingOut
    corrections: list[CorrectionOut]


class CorrectedOut(BaseModel):
    """A corrected wearing."""

    wearing: WearingOut
    stay: int = Field(
        description="Readings that were admitted before and do not fit the wearing any more, for it is another "
        "patient's or begins later: they stay with the patient who was named then"
    )


class PatientOut(BaseModel):
    """A patient with the devices worn now and before."""

    id: str
    name: str
    zone: str
    language: str
    glucose_unit: Unit
    limits: Mapping[str, Any]
    population: Group | None = Field(description="As set for the patient; null: as the rule file says")
    programme: str | None
    wearings: list[WearingOut]

    @classmethod
    def of(cls, patient: Patient, wearings: Sequence[Wearing]) -> PatientOut:
        """The patient, without the pseudonym, which stands in InfluxDB alone."""
        return cls(
            id=patient.id,
            name=patient.name,
            zone=patient.zone,
            language=patient.language,
            glucose_unit=patient.glucose_unit,
            limits=patient.limits,
            population=patient.population,
            programme=patient.programme,
            wearings=[WearingOut.of(wearing) for wearing in wearings if wearing.patient == patient.id],
        )


class DeviceIn(Door):
    """A new device."""

    id: Identifier = Field(description="Bluetooth address, kept in upper case, or the name it publishes under")
    kind: DeviceKind
    link: DeviceLink
    model: str = Field(default="", max_length=200)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "C0:26:DA:00:12:34", "kind": "meter", "link": "ble", "model": "X1"}]}
    )

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if self.link is DeviceLink.BLE:
            self.id = self.id.upper()  # as the radio gives it; otherwise the device would never be found
            if not BLUETOOTH_ADDRESS.fullmatch(self.id):
                raise ValueError(
                    Sentence(
                        "{id} is no Bluetooth address; write it like C0:26:DA:00:12:34 (on macOS the UUID that "
                        "stands in its place)",
                        id=self.id,
                    )
                )
        return self

    def device(self) -> Device:
        """The device inside the house."""
        return Device(**self.model_dump())


class DeviceHealthOut(BaseModel):
    """How a device does, as far as it is known; null where it tells nothing. Moments are on the wearer's clock.

    last_seen: when it last advertised, was connected or brought a reading; null for a device that only publishes.
    last_read: when it last brought a new reading. heard_elsewhere: when another hub on the same database heard it
    last, as far as that has noted it. clock_error_s: how far its clock was ahead when it was last read. clock_set:
    true = set right since, false = it would not take the time. failures: sessions failed in a row, for the reason in
    `fault`. bond: null where the system does not tell. sensor: why a sensor has no values to give.
    """

    zone: str
    last_seen: datetime | None
    last_read: datetime | None
    heard_elsewhere: datetime | None
    battery_pct: int | None = Field(description="Charge in percent")
    battery_low_since: datetime | None
    bond: Bond | None
    clock_error_s: float | None = Field(description="Seconds")
    clock_set: bool | None
    failures: int
    fault: str | None
    manufacturer: str
    model: str
    serial: str
    firmware: str
    quirk: str | None
    session_ends: datetime | None
    sensor: str | None

    @classmethod
    def of(
        cls, state: DeviceState, last_read: datetime | None, there: LastHeard | None, zone: ZoneInfo
    ) -> DeviceHealthOut:
        """The state, with the last reading from the journal."""
        facts = state.facts
        return cls(
            zone=zone.key,
            last_seen=_on_clock(_last_seen(state, last_read), zone),
            last_read=_on_clock(last_read, zone),
            heard_elsewhere=_on_clock(there and there.at, zone),
            battery_pct=facts.battery_pct,
            battery_low_since=_on_clock(state.battery_low, zone),
            bond=state.bond,
            clock_error_s=None if facts.clock_offset is None else facts.clock_offset.total_seconds(),
            clock_set=facts.clock_set,
            failures=state.failures,
            fault=state.fault,
            manufacturer=facts.manufacturer,
            model=facts.model,
            serial=facts.serial,
            firmware=facts.firmware,
            quirk=facts.quirk,
            session_ends=_on_clock(facts.session_ends, zone),
            sensor=facts.sensor,
        )


def _last_seen(state: DeviceState, last_read: datetime | None) -> datetime | None:
    """A sensor that stays connected does not advertise: then its readings show that it is there."""
    return max(state.last_seen, last_read) if state.last_seen and last_read else state.last_seen


class DeviceOut(BaseModel):
    """A device and who wears it now. retired_at: out of use since then (UTC), null while it is in use."""

    id: str
    kind: DeviceKind
    link: DeviceLink
    model: str
    retired_at: datetime | None
    wearing: WearingOut | None
    health: DeviceHealthOut | None = Field(default=None, description="Null for a device that was just added")

    @classmethod
    def of(cls, device: Device, wearings: Sequence[Wearing]) -> DeviceOut:
        """The device with its current wearing, if any."""
        current = next((w for w in wearings if w.device == device.id and w.until is None), None)
        return cls(
            id=device.id,
            kind=device.kind,
            link=device.link,
            model=device.model,
            retired_at=device.retired_at,
            wearing=current and WearingOut.of(current),
        )


class PairIn(Door):
    """Who wears the device from now on, or from `since`."""

    patient: str
    since: Moment | None = Field(
        default=None,
        description="From when; left out: now, or, for a device nobody has worn yet, from its first record",
    )


class TakeBackIn(Door):
    """Who takes a device back, or out of use. Left out, the audit names nobody."""

    by: Name | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Nurse Wu"}]})


class WearingPatch(Door):
    """What a named person corrects of a wearing; what is left out stays. The note says why."""

    by: Name
    patient: Identifier | None = None
    since: Moment | None = Field(default=None, description="null: from the device's first record")
    note: str = Field(default="", max_length=2000)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"by": "Nurse Wu", "since": "2026-03-01T08:00:00+08:00", "note": "typed late"}]
        }
    )


class Quantity(BaseModel):
    """A number with its name and unit; value null where the device gave none (HI and LO are flags)."""

    name: str
    value: float | None
    unit: Unit


_WHY: Final = {
    TimeBasis.DEVICE: "the device's own time: its clock was right, or could not be checked",
    TimeBasis.CORRECTED: "the device's clock was wrong when it was read, and its error has been taken off",
    TimeBasis.BEFORE_RESET: "the device's own time as it was before its clock was set anew",
    TimeBasis.ARRIVAL: "when it arrived here: the device gave no time, or one that cannot be",
}


def _why(reading: Reading) -> str:
    """Why `taken_at` is believed, for a person."""
    if reading.time_basis is not TimeBasis.CORRECTED or reading.clock_offset is None:
        return _WHY[reading.time_basis]
    direction = "ahead" if reading.clock_offset > timedelta(0) else "behind"
    return f"{_WHY[reading.time_basis]} ({abs(reading.clock_offset)} {direction})"


class ReadingOut(BaseModel):
    """One reading: in the canonical unit, and exactly as the device sent it."""

    patient: str
    device: str
    vital: Vital
    values: list[Quantity]
    sent: list[Quantity]
    taken_at: datetime
    zone: str
    time_basis: TimeBasis
    why: str
    received_at: datetime
    sequence: int | None
    flags: list[Flag]
    context: Mapping[str, str | float]

    @classmethod
    def of(cls, reading: Reading, zone: ZoneInfo) -> ReadingOut:
        """The reading with its moments on the patient's clock."""
        components = COMPONENTS[reading.vital]
        return cls(
            patient=reading.patient,
            device=reading.device,
            vital=reading.vital,
            values=[
                Quantity(name=part.name, value=value, unit=part.unit)
                for part, value in zip(components, reading.values, strict=True)
            ],
            sent=[
                Quantity(name=part.name, value=value, unit=_unit_sent(part, reading))
                for part, value in zip(components, reading.sent, strict=True)
            ],
            taken_at=reading.taken_at.astimezone(zone),
            zone=zone.key,
            time_basis=reading.time_basis,
            why=_why(reading),
            received_at=reading.received_at.astimezone(zone),
            sequence=reading.sequence,
            flags=sorted(reading.flags),
            context=reading.context,
        )


class Column(BaseModel):
    """All values of one component, in the order of `taken_at`; null where there is no number."""

    name: str
    unit: Unit
    values: list[float | None]


class SeriesOut(BaseModel):
    """A patient's series as columns, oldest first."""

    patient: str
    vital: Vital
    source: SeriesStore
    start: datetime
    end: datetime
    zone: str
    taken_at: list[datetime]
    columns: list[Column]


class SentenceOut(BaseModel):
    """One sentence in both languages."""

    en: str
    zh: str

    @classmethod
    def of(cls, text: Text) -> SentenceOut:
        """The sentence of a finding or a notice."""
        return cls(en=text.en, zh=text.zh)


PriorityName = Literal["low", "medium", "high"]
AlertState = Literal["open", "closed", "all"]
EventType = Literal["alert", "follow-up", "reading", "health"]


class EpisodeOut(BaseModel):
    """When an episode of an alert became known, and what was said of it."""

    at: datetime
    because: SentenceOut | None

    @classmethod
    def of(cls, fact: Fact, zone: ZoneInfo) -> EpisodeOut:
        """The episode with its moment on the patient's clock."""
        return cls(at=fact.at.astimezone(zone), because=fact.because and SentenceOut.of(fact.because))


class AlertCareOut(BaseModel):
    """The follow-up of an alert: who has it, and by when they are to act."""

    follow_up: str = Field(description="Its id")
    role: Role
    assigned_to: str | None = Field(description="null: nobody has it")
    attempts: int = Field(description="Tries to reach the patient so far")
    due_at: datetime
    overdue_since: datetime | None = Field(description="null: in time, or closed")
    closed_at: datetime | None

    @classmethod
    def of(cls, follow_up: FollowUp, zone: ZoneInfo, overdue_since: datetime | None) -> AlertCareOut:
        """The follow-up with its moments on the patient's clock."""
        return cls(
            follow_up=follow_up.id,
            role=follow_up.role,
            assigned_to=follow_up.assigned_to,
            attempts=follow_up.attempts,
            due_at=follow_up.due_at.astimezone(zone),
            overdue_since=_on_clock(overdue_since, zone),
            closed_at=_on_clock(follow_up.closed_at, zone),
        )


class AlertOut(BaseModel):
    """One trouble of one patient as dated facts; a fact that has not happened is null."""

    id: str
    patient: str = Field(description=f"{HOUSE}: about the house itself, such as a channel that does not deliver")
    zone: str
    problem: str
    priority: PriorityName
    because: SentenceOut
    evidence: list[str] = Field(description="Keys of the readings it rests on: vital/moment/device")
    raising: list[str] = Field(description="Rules that hold the condition up; empty once it has gone")
    since: datetime
    opened_at: datetime
    updated_at: datetime
    notified_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_note: str | None
    snoozed_at: datetime | None
    snoozed_until: datetime | None = Field(description="Until then staff are not told of it as it is now")
    snoozed_by: str | None
    snoozed_note: str | None
    condition_gone_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    outcome: Outcome | None
    reason: Reason | None = Field(description="Why nothing was done; of the outcome no-action alone")
    closing_note: str | None
    newest: ReadingOut | None = Field(description="The newest reading of what it is about, since `since`")
    worst: ReadingOut | None = Field(description="The lowest or the highest of them")
    doubted: ReadingOut | None = Field(description="One still lower or higher, which the device itself doubts")
    glucose: ReadingOut | None = Field(description="Of a ketone, the newest glucose measured with it or since")
    waiting_since: datetime | None = Field(description="Since when nobody has acknowledged it")
    care: AlertCareOut | None = Field(description="Who follows it up; null: it has no follow-up")
    episodes: list[EpisodeOut] = Field(description="The newest first, each with its own sentence")

    @classmethod
    def of(cls, alert: Alert, zone: ZoneInfo, card: Card) -> AlertOut:
        """The alert with its moments on the patient's clock."""
        return cls(
            id=alert.id,
            patient=alert.patient,
            zone=zone.key,
            problem=alert.problem,
            priority=priority_name(alert.priority),
            because=SentenceOut.of(alert.because),
            evidence=list(alert.evidence),
            raising=sorted(alert.raising),
            since=alert.since.astimezone(zone),
            opened_at=alert.opened_at.astimezone(zone),
            updated_at=alert.updated_at.astimezone(zone),
            notified_at=_on_clock(alert.notified_at, zone),
            acknowledged_at=_on_clock(alert.acknowledged_at, zone),
            acknowledged_by=alert.acknowledged_by,
            acknowledged_note=alert.acknowledged_note,
            snoozed_at=_on_clock(alert.snoozed_at, zone),
            snoozed_until=_on_clock(alert.snoozed_until, zone),
            snoozed_by=alert.snoozed_by,
            snoozed_note=alert.snoozed_note,
            condition_gone_at=_on_clock(alert.condition_gone_at, zone),
            closed_at=_on_clock(alert.closed_at, zone),
            closed_by=alert.closed_by,
            outcome=alert.outcome,
            reason=alert.reason,
            closing_note=alert.closing_note,
            newest=card.newest and ReadingOut.of(card.newest, zone),
            worst=card.worst and ReadingOut.of(card.worst, zone),
            doubted=card.doubted and ReadingOut.of(card.doubted, zone),
            glucose=card.glucose and ReadingOut.of(card.glucose, zone),
            waiting_since=_on_clock(card.waiting_since, zone),
            care=card.follow_up and AlertCareOut.of(card.follow_up, zone, card.overdue_since),
            episodes=[EpisodeOut.of(fact, zone) for fact in reversed(card.episodes)],
        )


class NoticeOut(BaseModel):
    """One message that was written down to be sent."""

    id: str
    audience: Audience
    priority: PriorityName
    subject: SentenceOut
    written_at: datetime

    @classmethod
    def of(cls, notice: Notice, zone: ZoneInfo) -> NoticeOut:
        """The notice with its moment on the patient's clock."""
        return cls(
            id=notice.id,
            audience=notice.audience,
            priority=priority_name(notice.priority),
            subject=SentenceOut.of(notice.subject),
            written_at=notice.written_at.astimezone(zone),
        )


class FactOut(BaseModel):
    """One dated fact of an alert's history. by is null for what the house did itself."""

    at: datetime
    what: FactKind
    by: str | None
    because: SentenceOut | None
    note: str
    until: datetime | None = Field(description="Until when it was put off")

    @classmethod
    def of(cls, fact: Fact, zone: ZoneInfo) -> FactOut:
        """The fact with its moments on the patient's clock."""
        return cls(
            at=fact.at.astimezone(zone),
            what=fact.what,
            by=fact.by,
            because=fact.because and SentenceOut.of(fact.because),
            note=fact.note,
            until=_on_clock(fact.until, zone),
        )


class AlertDetail(BaseModel):
    """An alert with all that is written down about it, oldest first."""

    alert: AlertOut
    history: list[FactOut]
    notices: list[NoticeOut]


SymptomsIn = Annotated[
    list[Symptom] | None,
    Field(description="Those that the patient has; [] where none was found; null where nobody asked"),
]


ReasonIn = Annotated[
    Reason | None,
    Field(
        description="Why nothing was done: required with no-action of a patient's alert, refused otherwise. "
        + "; ".join(f"{each}: {words.en}" for each, words in REASON_WORDS.items())
    ),
]


class AcknowledgeIn(Door):
    """A named person has seen the alert."""

    by: Name
    note: str = Field(default="", max_length=2000)

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Dr Li", "note": "Calling her now"}]})


class SnoozeIn(Door):
    """A named person puts the alert off. The note says why it can wait."""

    by: Name
    until: Moment
    note: str = Field(min_length=1, max_length=2000, pattern=r"\S")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"by": "Dr Li", "until": "2026-03-03T18:00:00+08:00", "note": "Changes the sensor tonight"}]
        }
    )


class CloseIn(Door):
    """A named person ends the alert. The note says what was done, or why nothing was.

    Of an alert about the house itself (patient "-") the outcome is mended, false-alarm or no-action; about a patient
    it is another than mended and false-alarm, and no-action takes a reason.
    """

    by: Name
    outcome: Outcome
    reason: ReasonIn = None
    note: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    symptoms: SymptomsIn = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"by": "Dr Li", "outcome": "advice", "note": "Ate 15 g sugar, 5.8 mmol/L"},
                {
                    "by": "Dr Li",
                    "outcome": "no-action",
                    "reason": "false-reading",
                    "note": "Lay on the sensor; 6.2 mmol/L on the meter",
                },
            ]
        }
    )


class LetterOut(BaseModel):
    """Bytes that could not be admitted, with the reason. data: hexadecimal, or the text of a JSON payload."""

    id: int
    state: LetterState
    reason: str
    because: str
    device: str
    parts: list[int] = Field(
        description="Which parts of the packet wait (of a batch, which readings), counted from 0; for people from 1"
    )
    followed_by: list[int] = Field(description="Letters in which what is left of a replaced one waits")
    link: str
    channel: str
    received_at: datetime
    data: str

    @classmethod
    def of(cls, letter: Letter) -> LetterOut:
        """The letter as a person can read it."""
        packet = letter.packet
        return cls(
            id=letter.id,
            state=letter.state,
            reason=letter.reason,
            because=letter.because,
            device=letter.device,
            parts=list(letter.parts),
            followed_by=list(letter.followed_by),
            link=packet.link,
            channel=packet.channel,
            received_at=packet.received_at,
            data=readable(packet.data, packet.channel),
        )


class DiscardIn(Door):
    """A named person takes a letter off the waiting list. The text says why."""

    by: Name
    because: str = Field(min_length=1, max_length=2000, pattern=r"\S")

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Nurse Wu", "because": "a test in the ward"}]})


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


router = APIRouter(
    prefix="/api/v1",
    responses={status: {"model": Problem} for status in (401, 404, 409, 422, 503)},
)


@router.get("/patients", tags=["patients"])
async def list_patients(house: House) -> list[PatientOut]:
    """All patients by name."""
    patients, wearings = await asyncio.to_thread(lambda: (house.people.patients(), house.people.wearings()))
    return [PatientOut.of(patient, wearings) for patient in patients]


@router.post("/patients", tags=["patients"], status_code=201)
async def add_patient(house: House, body: PatientIn) -> PatientOut:
    """Add a patient."""
    patient = body.patient()
    await asyncio.to_thread(house.people.add_patient, patient, now=house.now())
    return PatientOut.of(patient, ())


@router.get("/patients/{patient_id}", tags=["patients"])
async def get_patient(house: House, patient_id: str) -> PatientOut:
    """One patient."""
    return await _patient_out(house, patient_id)


@router.patch("/patients/{patient_id}", tags=["patients"])
async def change_patient(
    house: House,
    patient_id: str,
    body: PatientPatch,
    by: Annotated[Name | None, Query(description="Who ends a limit; needed where a team is entered")] = None,
) -> PatientOut:
    """Change a patient, the patient's own limits among it."""
    said = body.model_dump(exclude_unset=True)
    changes = {
        name: value for name, value in said.items() if value is not None or name in {"population", "programme"}
    }
    staff = await asyncio.to_thread(house.duty.team.staff)

    limits = changes.get("limits")
    is_team = any(one.active for one in staff)
    ends = by and one_of(staff, by.strip())

    def changed(known: Patient) -> Patient:
        for author in authors_of_new(known.limits, limits or {}):
            one_of(staff, author)
        if is_team and not ends and limits is not None and is_taken_back(known.limits, limits):
            raise HTTPException(422, _WHO_ENDS)
        return replace(known, **changes)

    await house.change_patient(patient_id, changed, by=ends)
    return await _patient_out(house, patient_id)


@router.get("/patients/{patient_id}/plans", tags=["patients"])
async def list_plans(house: House, patient_id: str) -> list[PlanOut]:
    """What the patient is to measure, and was before, in the order in which it was written."""
    patient = await find_patient(house, patient_id)
    plans = await asyncio.to_thread(house.people.plans, [patient.id])
    return [PlanOut.model_validate(each) for each in plans.get(patient.id, ())]


@router.put("/patients/{patient_id}/plans/{vital}", tags=["patients"])
async def set_plan(house: House, patient_id: str, vital: PlannedVital, body: PlanIn) -> list[PlanOut]:
    """Say what a patient is to measure of a vital; those to which it leaves no day end, others hold again."""
    await agree(house, await find_patient(house, patient_id), vital, body)
    return await list_plans(house, patient_id)


@router.delete("/patients/{patient_id}/plans/{number}", tags=["patients"])
async def end_plan(
    house: House,
    patient_id: str,
    number: PlanNumber,
    by: Annotated[Name, Query(description="Who ends it")],
) -> list[PlanOut]:
    """End one plan; it stays as a former one, and one that has ended already stays as it is."""
    await stop(house, await find_patient(house, patient_id), number, by)
    return await list_plans(house, patient_id)


async def agree(house: HouseView, patient: Patient, vital: Vital, body: PlanIn) -> None:
    """Have a patient measure by a plan."""
    now = house.now()
    today = now.astimezone(ZoneInfo(patient.zone)).date()
    plan = replace(body.plan(vital, today, now), author=await who_acts(house, body.author))
    await house.set_plan(patient.id, vital, plan)


async def stop(house: HouseView, patient: Patient, number: int, by: str) -> None:
    """End a plan, and keep who did it; an HTTP 404 where the patient has none of this number."""
    plans = await asyncio.to_thread(house.people.plans, [patient.id])
    if number not in {plan.number for plan in plans.get(patient.id, ())}:
        raise HTTPException(
            404, Sentence("patient {id} has no plan of the number {number}", id=patient.id, number=number)
        )
    await house.end_plan(patient.id, number, await who_acts(house, by))


@router.get("/patients/{patient_id}/limits/former", tags=["patients"])
async def list_former_limits(house: House, patient_id: str) -> list[FormerLimitOut]:
    """The patient's own limits that were replaced or taken back, oldest first."""
    patient = await find_patient(house, patient_id)
    found = await asyncio.to_thread(house.people.former_limits, patient.id)
    return [FormerLimitOut.model_validate(each) for each in found]


@router.get("/patients/{patient_id}/readings", tags=["readings"])
async def list_readings(
    house: House,
    patient_id: str,
    vital: Vital,
    start: Moment | None = None,
    end: Moment | None = None,
    limit: Limit = PAGE,
) -> list[ReadingOut]:
    """Readings of one vital, oldest first; when more than `limit` fit, the newest. Default: the last 24 hours."""
    patient = await find_patient(house, patient_id)
    first, last = _span(house, start, end)
    readings = await house.readings(patient.id, vital, first, last, limit)
    return [ReadingOut.of(reading, ZoneInfo(patient.zone)) for reading in readings]


@router.get("/patients/{patient_id}/series", tags=["readings"])
async def get_series(
    house: House,
    patient_id: str,
    vital: Vital,
    start: Moment | None = None,
    end: Moment | None = None,
    source: SeriesStore = "journal",
) -> SeriesOut:
    """The same as columns in canonical units, from the journal or read back from InfluxDB."""
    patient = await find_patient(house, patient_id)
    zone = ZoneInfo(patient.zone)
    first, last = _span(house, start, end)
    series = await house.series(patient.id, vital, first, last, source)
    return SeriesOut(
        patient=patient.id,
        vital=vital,
        source=source,
        start=first.astimezone(zone),
        end=last.astimezone(zone),
        zone=zone.key,
        taken_at=[from_us(us).astimezone(zone) for us in series.taken_us.tolist()],
        columns=[
            Column(
                name=part.name,
                unit=part.unit,
                values=[None if math.isnan(value) else value for value in series.values[:, i].tolist()],
            )
            for i, part in enumerate(COMPONENTS[vital])
        ],
    )


@router.get("/devices", tags=["devices"])
async def list_devices(house: House) -> list[DeviceOut]:
    """All devices by id, with who wears each now and how each does."""
    devices, wearings = await asyncio.to_thread(lambda: (house.people.devices(), house.people.wearings()))
    health = await device_health(house, wearings)
    return [DeviceOut.of(device, wearings).model_copy(update={"health": health.get(device.id)}) for device in devices]


@router.post("/devices", tags=["devices"], status_code=201)
async def add_device(house: House, body: DeviceIn) -> DeviceOut:
    """Add a device; then pair it."""
    device = body.device()
    await asyncio.to_thread(house.people.add_device, device, now=house.now())
    return DeviceOut.of(device, ())


@router.post("/devices/{device_id}/pair", tags=["devices"])
async def pair(house: House, device_id: str, body: PairIn) -> WearingOut:
    """Give a device to a patient; readings that wait for it are admitted with their own times."""
    return WearingOut.of(await give(house, device_id, body))


@router.post("/devices/{device_id}/unpair", tags=["devices"])
async def unpair(house: House, device_id: str, body: TakeBackIn | None = None) -> WearingOut:
    """End the wearing of a device; its history stays with the patient."""
    return WearingOut.of(await house.unpair(device_id, await _who_takes(house, body)))


@router.get("/devices/{device_id}/wearings", tags=["devices"])
async def list_wearings(house: House, device_id: str) -> list[WearingDetail]:
    """Who wore it from when to when, in the order in which it was written, with what was corrected."""
    wearings, corrections = await wearings_of(house, device_id)
    return [
        WearingDetail(
            wearing=WearingOut.of(wearing),
            corrections=[CorrectionOut.of(one) for one in corrections if one.wearing == wearing.number],
        )
        for wearing in wearings
    ]


@router.patch("/devices/{device_id}/wearings/{number}", tags=["devices"])
async def correct_wearing(house: House, device_id: str, number: int, body: WearingPatch) -> CorrectedOut:
    """Correct who wore it, or since when; readings that wait for an assignment are tried again."""
    wearing, stay = await correct(house, device_id, number, body)
    return CorrectedOut(wearing=WearingOut.of(wearing), stay=stay)


@router.post("/devices/{device_id}/retire", tags=["devices"])
async def retire(house: House, device_id: str, body: TakeBackIn | None = None) -> DeviceOut:
    """Take a device out of use, and from its wearer. Its history stays; paired again, it is in use again."""
    return DeviceOut.of(await house.retire(device_id, await _who_takes(house, body)), ())


async def _who_takes(house: HouseView, body: TakeBackIn | None) -> str | None:
    return await who_acts(house, body.by) if body and body.by else None


@router.post("/devices/{device_id}/read-fully", tags=["devices"], status_code=202)
async def read_fully(house: House, device_id: str) -> None:
    """Have a Bluetooth device tell everything it has stored when it is next in reach; what is known is dropped."""
    await ask_fully(house, device_id)


@router.get("/alerts", tags=["alerts"])
async def list_alerts(
    house: House,
    state: AlertState = "open",
    patient: str | None = None,
    limit: Limit = PAGE,
    before: Annotated[str | None, Query(description="Id of the last alert of the page before")] = None,
) -> list[AlertOut]:
    """Alerts, newest first."""
    found = await find_alerts(house, state, patient, limit, before)
    zones, shown = await _zones(house, found), await cards(house, found)
    return [AlertOut.of(alert, zones[alert.patient], shown[alert.id]) for alert in found]


@router.get("/alerts/{alert_id}", tags=["alerts"])
async def get_alert(house: House, alert_id: str) -> AlertDetail:
    """One alert with its history and the notices written about it."""
    alert = await find_alert(house, alert_id)
    zone = (await _zones(house, [alert]))[alert.patient]
    facts, notices = await asyncio.to_thread(lambda: (house.book.history(alert_id), house.book.notices(alert_id)))
    return AlertDetail(
        alert=AlertOut.of(alert, zone, (await cards(house, [alert]))[alert.id]),
        history=[FactOut.of(fact, zone) for fact in facts],
        notices=[NoticeOut.of(notice, zone) for notice in notices],
    )


_NO_SNOOZE: Final = {
    "type": "about:blank",
    "title": "Conflict",
    "status": 409,
    "detail": "Alert a-0123456789abcdef is of high priority and cannot be put off. Acknowledge it and act, "
    "or acknowledge it and hand its follow-up over to who can.",
}


@router.post("/alerts/{alert_id}/acknowledge", tags=["alerts"])
async def acknowledge(house: House, alert_id: str, body: AcknowledgeIn) -> AlertOut:
    """Say that a named person has seen it; once."""
    return await _as_it_is(house, await act(house, ActKind.ACKNOWLEDGE, alert_id, body))


@router.post(
    "/alerts/{alert_id}/snooze",
    tags=["alerts"],
    responses={409: {"model": Problem, "content": {"application/json": {"example": _NO_SNOOZE}}}},
)
async def snooze(house: House, alert_id: str, body: SnoozeIn) -> AlertOut:
    """Put it off until a moment, for this trouble as it is now: at most 4 h, of low priority 24 h.

    It ends by itself and is then told anew if the condition lasts; sooner when it gets worse or comes back. What is
    of high priority, an emergency or about a severe blood pressure cannot be put off.
    """
    return await _as_it_is(house, await act(house, ActKind.SNOOZE, alert_id, body))


@router.post("/alerts/{alert_id}/close", tags=["alerts"])
async def close(house: House, alert_id: str, body: CloseIn) -> AlertOut:
    """End it with an outcome."""
    return await _as_it_is(house, await act(house, ActKind.CLOSE, alert_id, body))


async def _as_it_is(house: HouseView, alert: Alert) -> AlertOut:
    return AlertOut.of(alert, (await _zones(house, [alert]))[alert.patient], (await cards(house, [alert]))[alert.id])


@router.get("/health", tags=["house"])
async def health(house: House) -> Mapping[str, Any]:
    """`status` is "ok" or "degraded"; each part says in a sentence how it is, asked now (`as_of`).

    Always 200: look at `status`.
    """
    await house.feel()
    return house.health()


@router.get("/letters", tags=["house"])
async def list_letters(
    house: House,
    state: LetterState = LetterState.WAITING,
    device: str | None = None,
    reason: LetterReason | None = None,
    limit: Limit = PAGE,
    before: LetterId | None = None,
) -> list[LetterOut]:
    """What came and could not be admitted, newest first."""
    return [LetterOut.of(letter) for letter in await house.letters(state, device, reason, before, limit)]


@router.post("/letters/{letter_id}/retry", tags=["house"])
async def retry_letter(house: House, letter_id: LetterNumber) -> LetterOut:
    """Try it again, after a correction, also when it was discarded; look at `state` for what came of it."""
    return LetterOut.of(await house.retry_letter(letter_id))


@router.post("/letters/{letter_id}/discard", tags=["house"])
async def discard_letter(house: House, letter_id: LetterNumber, body: DiscardIn) -> LetterOut:
    """Take it off the waiting list; its octets stay, and a retry takes it back."""
    return LetterOut.of(await discard(house, letter_id, body))


@router.get(
    "/events",
    tags=["house"],
    status_code=200,
    response_class=EventStream,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}}}},
)
async def events(
    house: House,
    type: Annotated[  # noqa: A002
        list[EventType] | None,
        Query(description="Only these", examples=[["alert", "follow-up"]]),
    ] = None,
    patient: Annotated[str | None, Query(description="Only about this patient", examples=["p-017"])] = None,
    last_event_id: Annotated[str | None, Header(examples=["5f2c-17"])] = None,
) -> EventStream:
    """Server-sent events, each with an id: `alert`, `follow-up`, `reading`, `health`, `resync`.

    An event says what changed, not how it is now: ask for that. After `resync` ask for everything you show.
    """
    wanted = frozenset(type or ())
    return EventStream(house.bulletin.subscribe(types=wanted, patient=patient, last_event_id=last_event_id))


async def find_patient(house: HouseView, patient_id: str) -> Patient:
    """The patient, or an HTTP 404 that says which is missing."""
    patient = await asyncio.to_thread(house.people.patient, patient_id)
    if patient is None:
        raise HTTPException(404, Sentence("no patient has the id {id}", id=patient_id))
    return patient


async def find_alert(house: HouseView, alert_id: str) -> Alert:
    """The alert, or an HTTP 404 that says which is missing."""
    alert = await asyncio.to_thread(house.book.alert, alert_id)
    if alert is None:
        raise HTTPException(404, Sentence("no alert has the id {id}", id=alert_id))
    return alert


async def find_alerts(
    house: HouseView, state: AlertState, patient: str | None, limit: int, before: str | None
) -> list[Alert]:
    """Alerts, newest first; an HTTP 404 when there is no alert `before`."""
    if before is not None:
        await find_alert(house, before)
    wanted = None if state == "all" else state
    return await asyncio.to_thread(house.book.alerts, state=wanted, patient=patient, limit=limit, before=before)


async def give(house: HouseView, device_id: str, body: PairIn) -> Wearing:
    """Pair a device; an HTTP 422 when that is to begin in the future. UnknownPerson, AlreadyKnown pass through."""
    _refuse_the_future(house, body.since)
    return await house.pair(device_id, body.patient, body.since)


async def correct(house: HouseView, device_id: str, number: int, body: WearingPatch) -> tuple[Wearing, int]:
    """Correct a wearing; with it how many readings do not fit it now and stay with the patient who was named before.

    An HTTP 404 for an unknown one, a 422 for one of the future and for what is so already. UnknownPerson and
    AlreadyKnown pass through.
    """
    wearings, _ = await wearings_of(house, device_id)
    before = next((wearing for wearing in wearings if wearing.number == number), None)
    if before is None:
        raise HTTPException(404, Sentence("device {id} has no wearing {number}", id=device_id, number=number))
    _refuse_the_future(house, body.since)
    wanted = replace(
        before,
        patient=body.patient or before.patient,
        since=body.since if "since" in body.model_fields_set else before.since,
    )
    if wanted == before:
        raise HTTPException(
            422,
            Sentence(
                "nothing is corrected: wearing {number} has this patient and this beginning already; name another",
                number=number,
            ),
        )
    corrected = await house.correct(before, wanted, by=body.by.strip(), note=body.note.strip())
    return corrected, await _count_outside(house, before, corrected)


async def _count_outside(house: HouseView, before: Wearing, corrected: Wearing) -> int:
    """How many readings were admitted for a wearing as it was, and do not belong to it as it is now."""
    if corrected.patient != before.patient:
        return await house.count_readings(before)
    if corrected.since is None or (before.since is not None and corrected.since <= before.since):
        return 0
    return await house.count_readings(replace(before, until=corrected.since))


async def wearings_of(house: HouseView, device_id: str) -> tuple[list[Wearing], list[Correction]]:
    """The wearings of a device with what was corrected; an HTTP 404 for an unknown device."""
    device, wearings, corrections = await asyncio.to_thread(
        lambda: (
            house.people.device(device_id),
            house.people.wearings(device=device_id),
            house.people.corrections(device_id),
        )
    )
    if device is None:
        raise HTTPException(404, Sentence("no device has the id {id}", id=device_id))
    return wearings, corrections


def _refuse_the_future(house: HouseView, since: datetime | None) -> None:
    if since is not None and since > house.now():
        raise HTTPException(
            422,
            Sentence(
                "since {since} is in the future; leave it out, and the device is worn from now on",
                since=since.isoformat(),
            ),
        )


async def device_health(house: HouseView, wearings: Sequence[Wearing]) -> dict[str, DeviceHealthOut]:
    """How each device does, by id; on its wearer's clock, or the clinic's."""
    zones = {wearing.device: wearing.zone for wearing in wearings if wearing.until is None}
    arrivals = await house.last_arrivals()
    there = await asyncio.to_thread(house.book.heard_elsewhere, house.now())
    return {
        device: DeviceHealthOut.of(state, arrivals.get(device), there.get(device), zones.get(device, house.zone))
        for device, state in house.device_states().items()
    }


async def ask_fully(house: HouseView, device_id: str) -> None:
    """Have everything read again; an HTTP 404 for an unknown device. NotReadable passes through."""
    if await asyncio.to_thread(house.people.device, device_id) is None:
        raise HTTPException(404, Sentence("no device has the id {id}", id=device_id))
    house.read_fully(device_id)


async def discard(house: HouseView, letter_id: int, body: DiscardIn) -> Letter:
    """Discard a letter, with who and why. UnknownLetter and NotWaiting pass through."""
    return await house.discard_letter(letter_id, f"{body.because.strip()} ({body.by.strip()})")


async def act(house: HouseView, kind: ActKind, alert_id: str, body: AcknowledgeIn | SnoozeIn | CloseIn) -> Alert:
    """Do what a person decided, now. An unknown alert is an HTTP 404; IllegalAct is on the patient's clock."""
    alert = await find_alert(house, alert_id)
    decided = Act(
        kind=kind,
        alert=alert_id,
        by=await who_acts(house, body.by),
        at=house.now(),
        note=body.note.strip(),
        outcome=body.outcome if isinstance(body, CloseIn) else None,
        reason=body.reason if isinstance(body, CloseIn) else None,
        symptoms=frozenset(body.symptoms) if isinstance(body, CloseIn) and body.symptoms is not None else None,
        until=body.until if isinstance(body, SnoozeIn) else None,
    )
    try:
        return await house.act(decided)
    except IllegalAct as error:
        zones = await _zones(house, [alert])
        raise error.on_clock(zones.get(alert.patient, house.zone)) from None


async def who_acts(house: HouseView, by: str) -> str:
    """Who says so, as the facts call them. Raises IllegalAct where a team is entered and nobody is called so."""
    return one_of(await asyncio.to_thread(house.duty.team.staff), by.strip())


def priority_name(priority: Priority) -> PriorityName:
    """The word for a priority."""
    return ("low", "medium", "high")[priority - 1]


def readable(data: bytes, channel: str) -> str:
    """Octets for people: JSON as text, everything else as hexadecimal."""
    return data.decode("utf-8", "replace") if channel in {"json", "line"} else data.hex(" ")


async def _patient_out(house: HouseView, patient_id: str) -> PatientOut:
    patient = await find_patient(house, patient_id)
    return PatientOut.of(patient, await asyncio.to_thread(house.people.wearings, patient=patient_id))


async def _zones(house: HouseView, alerts: Iterable[Alert]) -> dict[str, ZoneInfo]:
    patients = await asyncio.to_thread(house.people.some, {alert.patient for alert in alerts})
    return {HOUSE: house.zone, **{patient.id: ZoneInfo(patient.zone) for patient in patients}}


def _span(house: HouseView, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    last = end or house.now()
    first = start or last - _DEFAULT_SPAN
    if first >= last:
        said = Sentence("start {start} is not before end {end}", start=first.isoformat(), end=last.isoformat())
        raise HTTPException(422, said)
    return first, last


def _on_clock(moment: datetime | None, zone: tzinfo) -> datetime | None:
    return moment and moment.astimezone(zone)


def _unit_sent(part: Component, reading: Reading) -> Unit:
    return part.unit if part.unit is Unit.PER_MIN else reading.unit

"""Patients, their devices, and who wears which device from when to when.

Kept in the hub's database with SQLAlchemy, beside the alerts. Blocking and small: a call is one short transaction.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Date,
    Engine,
    ForeignKey,
    Integer,
    Row,
    String,
    Table,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from alerts.alert import minute_on
from alerts.audit import audited, changed
from alerts.database import METADATA, among, reading, writing
from alerts.rule import Group
from alerts.rules import read_overrides
from gateway.language import Sentence
from ingest.admit import Roster, Wearing
from ingest.reading import from_us, to_us
from ingest.vital import Unit, Vital

# A MAC address, or the UUID that macOS gives in its place.
BLUETOOTH_ADDRESS: Final = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}|[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")

# Moments are stored as integer microseconds UTC, as in the journal: exact, sortable, the same on every database.
_patients = Table(
    "patients",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("language", String(8), nullable=False),
    Column("glucose_unit", String(8), nullable=False),
    Column("pseudonym", String(32), nullable=False, unique=True),
    Column("limits", JSON, nullable=False),
)
_devices = Table(
    "devices",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("link", String(8), nullable=False),
    Column("model", String(200), nullable=False),
)
# Tables of their own: they come into being beside the patients of a database that an older Homeward has made.
_care = Table(
    "care",
    METADATA,
    Column("patient", ForeignKey("patients.id"), primary_key=True),
    Column("population", String(16)),
    Column("programme", String(200)),
)
# A patient's own numbers that were replaced or taken back, as they were, and when.
_former_limits = Table(
    "former_limits",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("patient", ForeignKey("patients.id"), nullable=False, index=True),
    Column("rule", String(64), nullable=False),
    Column("parameter", String(64), nullable=False),
    Column("entry", JSON, nullable=False),
    Column("ended_us", BigInteger, nullable=False),
)
# Who ended a number, where it was said. A table of its own: databases of an older Homeward have the one above.
_limit_ends = Table(
    "former_limit_ends",
    METADATA,
    Column("former", ForeignKey("former_limits.id"), primary_key=True),
    Column("by", String(200), nullable=False),
)
# What a patient is to measure; one that is replaced or taken back stays, with its end.
_plans = Table(
    "plans",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("patient", ForeignKey("patients.id"), nullable=False, index=True),
    Column("vital", String(32), nullable=False),
    Column("times", Integer, nullable=False),
    Column("days", Integer, nullable=False),
    Column("first", Date, nullable=False),
    Column("last", Date),
    Column("author", String(200), nullable=False),
    Column("entered_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
)
# Who ended a plan, where it was said. A table of its own, as `_limit_ends` is.
_plan_ends = Table(
    "plan_ends",
    METADATA,
    Column("plan", ForeignKey("plans.id"), primary_key=True),
    Column("by", String(200), nullable=False),
)
# A table of its own: it comes into being beside the devices of a database that an older Homeward has made.
_retirements = Table(
    "retirements",
    METADATA,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("retired_us", BigInteger, nullable=False),
)
_wearings = Table(
    "wearings",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", ForeignKey("devices.id"), nullable=False, index=True),
    Column("patient", ForeignKey("patients.id"), nullable=False, index=True),
    Column("since_us", BigInteger),
    Column("until_us", BigInteger),
    Column("slot", Integer, nullable=False),
    Column("assigned_us", BigInteger, nullable=False),
)

# What a wearing was before a person corrected it, and what it was from then on.
_corrections = Table(
    "wearing_corrections",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("wearing", ForeignKey("wearings.id"), nullable=False, index=True),
    Column("at_us", BigInteger, nullable=False),
    Column("by", String(200), nullable=False),
    Column("note", String(2000), nullable=False),
    Column("patient_before", ForeignKey("patients.id"), nullable=False),
    Column("since_before_us", BigInteger),
    Column("patient", ForeignKey("patients.id"), nullable=False),
    Column("since_us", BigInteger),
)

_PATIENTS: Final = select(_patients, _care.c.population, _care.c.programme).outerjoin(_care)
_PLANS: Final = select(_plans, _plan_ends.c.by).outerjoin(_plan_ends)
_DEVICES: Final = select(_devices, _retirements.c.retired_us).outerjoin(_retirements)


class DeviceKind(StrEnum):
    """What a device measures with; decides how it is read over Bluetooth."""

    METER = "meter"
    CGM = "cgm"
    CUFF = "cuff"


class DeviceLink(StrEnum):
    """How a device reaches Homeward."""

    BLE = "ble"
    MQTT = "mqtt"


def _new_pseudonym() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A person at home.

    zone: IANA name. language: "en" or "zh_CN". glucose_unit: how staff and patient read glucose.
    pseudonym: random, stands for the patient in InfluxDB. limits: overrides of rule parameters, as
    `alerts.rules.parse_overrides` reads them. population, programme: set over what the rule file says; None: as
    there.
    """

    id: str
    name: str
    zone: str
    language: str = "en"
    glucose_unit: Unit = Unit.MMOL_L
    pseudonym: str = field(default_factory=_new_pseudonym)
    limits: Mapping[str, Any] = field(default_factory=dict)
    population: Group | None = None
    programme: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringPlan:
    """What a patient is to measure: `times` a day on `days` of any seven, from `first` to `last` (None: on and on).

    Days are on the patient's clock, both included. entered_at, ended_at (aware UTC): when it was written down, and
    replaced or taken back, by whom where that was said; one whose last day is over stays as it is. number: names it,
    0 until it is written down.
    """

    vital: Vital
    times: int
    days: int
    first: date
    last: date | None
    author: str
    entered_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None
    number: int = 0

    def holds(self, day: date) -> bool:
        """Whether it is to be kept on this day, if none that was written later stands over it."""
        return self.ended_at is None and self.first <= day and (self.last is None or day <= self.last)

    def changes_after(self, day: date) -> list[date]:
        """The later days on which it begins or has ended."""
        days = [self.first, self.last + timedelta(days=1)] if self.last else [self.first]
        return [] if self.ended_at else [each for each in days if each > day]

    def leaves_no_day(self, other: MeasuringPlan, today: date) -> bool:
        """Whether this one holds on every day from today on on which the other one does."""
        begins = self.first <= max(other.first, today)
        return begins and (self.last is None or (other.last is not None and other.last <= self.last))

    def over_at(self, zone: tzinfo) -> datetime | None:
        """When it ended, or its last day on the clock of a zone will be over; None: never. Aware UTC."""
        ends = [self.ended_at] if self.ended_at else []
        if self.last:
            ends.append(datetime.combine(self.last + timedelta(days=1), time(), zone).astimezone(UTC))
        return min(ends, default=None)

    def begins_at(self, zone: tzinfo) -> datetime:
        """When it was written down, or its first day on the clock of a zone begins, if that is later. Aware UTC."""
        return max(datetime.combine(self.first, time(), zone).astimezone(UTC), self.entered_at)

    @property
    def apart(self) -> timedelta:
        """After so long without a measurement it is certainly not kept: the day of the next one is over."""
        return timedelta(days=9 - self.days)


def plans_on(plans: Iterable[MeasuringPlan], day: date) -> dict[Vital, MeasuringPlan]:
    """What is to be kept of each vital on a day. plans: of one patient, in the order in which they were written."""
    return {plan.vital: plan for plan in plans if plan.holds(day)}


def kept_since(plan: MeasuringPlan, plans: Iterable[MeasuringPlan], zone: tzinfo, now: datetime) -> datetime:
    """Since when a plan that counts now has counted without a break (aware UTC). plans: all of the patient."""
    later = (each for each in plans if each.vital is plan.vital and each.number > plan.number)
    stood_over = ((each.begins_at(zone), each.over_at(zone)) for each in later)
    return max([plan.begins_at(zone), *(over for begun, over in stood_over if over and begun < over <= now)])


class FormerLimit(NamedTuple):
    """A number of a patient's own that was replaced or taken back. entry: as it was set.

    ended_at: when (aware UTC), or when its last day was over, if that was before; ended_by: who did it, None where
    nobody said so and where it was over before.
    """

    rule: str
    parameter: str
    entry: Mapping[str, Any]
    ended_at: datetime
    ended_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device known to Homeward. id: Bluetooth address in upper case, or the name it publishes under.

    retired_at: since when it is out of use (aware UTC), None while it is in use. A retired device is not read.
    """

    id: str
    kind: DeviceKind
    link: DeviceLink
    model: str = ""
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A wearing was corrected: when (aware UTC), by whom and why; whose and since when it was before, and is now.

    since None: from the device's first record.
    """

    wearing: int
    at: datetime
    by: str
    note: str
    patient_before: str
    since_before: datetime | None
    patient: str
    since: datetime | None


class Worn(NamedTuple):
    """A device that is worn now, since somebody said so (assigned_at). since: None from its first record."""

    patient: str
    device: str
    kind: DeviceKind
    assigned_at: datetime
    since: datetime | None

    @property
    def worn_since(self) -> datetime:
        """For all that is known."""
        return self.since or self.assigned_at


class UnknownPerson(KeyError):
    """No such patient or device. The text says which."""

    def __str__(self) -> str:
        return str(self.args[0])


class AlreadyKnown(ValueError):
    """A patient or device of that id exists, or the device is worn by somebody else. The text says which."""


@contextmanager
def refused_as(known: Sentence) -> Iterator[None]:
    """What another hub on the same database writes in the same moment is AlreadyKnown too."""
    try:
        yield
    except IntegrityError as error:
        raise AlreadyKnown(known) from error


class People:
    """The register of patients, devices and wearings."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def changed(self, after: int | None) -> dict[int, str]:
        """What was changed of the register: "patient:ID" or "device:ID", by number; see `alerts.audit.changed`."""
        return changed(self._engine, ("patient", "device"), after)

    def patients(self) -> list[Patient]:
        """All patients by name."""
        with reading(self._engine) as db:
            return [_patient(row) for row in db.execute(_PATIENTS.order_by(_patients.c.name))]

    def patient(self, patient: str) -> Patient | None:
        """One patient, or None."""
        with reading(self._engine) as db:
            row = db.execute(_PATIENTS.where(_patients.c.id == patient)).one_or_none()
            return _patient(row) if row else None

    def add_patient(self, patient: Patient, *, now: datetime, by: str | None = None) -> None:
        """Write a new patient down. by: who says so, None where nobody did.

        Raises AlreadyKnown, or ZoneInfoNotFoundError for an unknown time zone.
        """
        ZoneInfo(patient.zone)
        with self._engine.begin() as db:
            known = Sentence("a patient with the id {id} exists already; choose another id", id=patient.id)
            if db.execute(select(_patients.c.id).where(_patients.c.id == patient.id)).one_or_none():
                raise AlreadyKnown(known)
            with refused_as(known):
                db.execute(insert(_patients).values(**_patient_row(patient)))
            _write_care(db, patient)
            audited(db, "added", f"patient:{patient.id}", at=now, who=by, after=_to_audit(patient))

    def change_patient(self, patient: Patient, *, now: datetime, by: str | None = None) -> None:
        """Replace what is known of a patient; the pseudonym stays. Raises UnknownPerson.

        A limit that is new is dated; one that is not there any more stays as a former one, ended by whom.
        """
        ZoneInfo(patient.zone)
        row = {k: v for k, v in _patient_row(patient).items() if k not in {"id", "pseudonym"}}
        with self._alone(patient=patient.id) as db:
            found = db.execute(_PATIENTS.where(_patients.c.id == patient.id)).one_or_none()
            if found is None:
                raise UnknownPerson(Sentence("no patient has the id {id}", id=patient.id))
            before = _patient(found)
            row["limits"], ended = dated(patient.limits, before.limits, now)
            db.execute(update(_patients).where(_patients.c.id == patient.id).values(**row))
            for rule, parameter, entry in ended:
                over = _over(rule, parameter, entry, now.astimezone(ZoneInfo(patient.zone)))
                values = {"rule": rule, "parameter": parameter, "entry": entry, "ended_us": to_us(over or now)}
                former = insert(_former_limits).values(patient=patient.id, **values).returning(_former_limits.c.id)
                number = db.scalar(former)
                if by and not over:
                    db.execute(insert(_limit_ends).values(former=number, by=by))
            _write_care(db, patient)
            was, now_so = _to_audit(before), _to_audit(replace(patient, limits=row["limits"]))
            if was != now_so:
                audited(db, "changed", f"patient:{patient.id}", at=now, who=by, before=was, after=now_so)

    def former_limits(self, patient: str) -> list[FormerLimit]:
        """What was set for a patient and was replaced or taken back, oldest first."""
        query = (
            select(_former_limits, _limit_ends.c.by)
            .outerjoin(_limit_ends)
            .where(_former_limits.c.patient == patient)
            .order_by(_former_limits.c.id)
        )
        with reading(self._engine) as db:
            return [
                FormerLimit(row.rule, row.parameter, row.entry, from_us(row.ended_us), row.by)
                for row in db.execute(query)
            ]

    def set_plan(self, patient: str, vital: Vital, plan: MeasuringPlan, *, now: datetime) -> None:
        """Write down what a patient is to measure of a vital; those to which it leaves no day end.

        It stands over the others on its days, and they hold again afterwards.
        """
        with self._alone(patient=patient) as db:
            today = _today(db, patient, now)
            lasting = _PLANS.where(*_lasting(patient, today), _plans.c.vital == vital)
            for before in map(_plan, db.execute(lasting).all()):
                if plan.leaves_no_day(before, today):
                    _end_plan(db, patient, before.number, now, plan.author)
            values = {name: getattr(plan, name) for name in ("vital", "times", "days", "first", "last", "author")}
            number = db.scalar(
                insert(_plans)
                .values(patient=patient, entered_us=to_us(plan.entered_at), **values)
                .returning(_plans.c.id)
            )
            said = {**values, "first": _day(plan.first), "last": _day(plan.last), "plan": number}
            audited(db, "plan-set", f"patient:{patient}", at=now, who=plan.author, after=said)

    def end_plan(self, patient: str, number: int, *, by: str | None, now: datetime) -> None:
        """End one plan of a patient, which stays as a former one; one that has ended already stays as it is.

        by: who ends it, None where nobody said so.
        """
        with self._alone(patient=patient) as db:
            lasting = (*_lasting(patient, _today(db, patient, now)), _plans.c.id == number)
            if db.scalar(select(_plans.c.id).where(*lasting)) is not None:
                _end_plan(db, patient, number, now, by)

    def plans(self, patients: Iterable[str]) -> dict[str, list[MeasuringPlan]]:
        """What these patients are and were to measure, by patient, in the order in which it was written."""
        query = _PLANS.where(among(_plans.c.patient, patients)).order_by(_plans.c.id)
        found: dict[str, list[MeasuringPlan]] = {}
        with reading(self._engine) as db:
            for row in db.execute(query):
                found.setdefault(row.patient, []).append(_plan(row))
        return found

    def planned(self) -> set[str]:
        """The patients whose measuring is planned, now or for days to come."""
        with reading(self._engine) as db:
            return set(db.scalars(select(_plans.c.patient).where(_plans.c.ended_us.is_(None))))

    def devices(self) -> list[Device]:
        """All devices by id."""
        with reading(self._engine) as db:
            return [_device(row) for row in db.execute(_DEVICES.order_by(_devices.c.id))]

    def device(self, device: str) -> Device | None:
        """One device, or None."""
        with reading(self._engine) as db:
            row = db.execute(_DEVICES.where(_devices.c.id == device)).one_or_none()
            return _device(row) if row else None

    def add_device(self, device: Device, *, now: datetime, by: str | None = None) -> None:
        """Write a new device down. by: as in `add_patient`. Raises AlreadyKnown."""
        with self._engine.begin() as db:
            known = Sentence("a device with the id {id} exists already; pair that one", id=device.id)
            if db.execute(select(_devices.c.id).where(_devices.c.id == device.id)).one_or_none():
                raise AlreadyKnown(known)
            row = {"id": device.id, "kind": device.kind, "link": device.link, "model": device.model}
            with refused_as(known):
                db.execute(insert(_devices).values(**row))
            audited(db, "added", f"device:{device.id}", at=now, who=by, after=row)

    def wearings(self, device: str | None = None, patient: str | None = None) -> list[Wearing]:
        """Wearings in the order they were written, past ones included."""
        query = select(_wearings, _patients.c.zone).join(_patients).order_by(_wearings.c.id)
        if device is not None:
            query = query.where(_wearings.c.device == device)
        if patient is not None:
            query = query.where(_wearings.c.patient == patient)
        with reading(self._engine) as db:
            return [_wearing(row) for row in db.execute(query)]

    def some(self, patients: Iterable[str]) -> list[Patient]:
        """Those of these patients who are known."""
        query = _PATIENTS.where(among(_patients.c.id, patients))
        with reading(self._engine) as db:
            return [_patient(row) for row in db.execute(query).all()]

    def worn(self, patients: Iterable[str] | None = None) -> list[Worn]:
        """What these patients (None: all) wear now, in the order in which it was written."""
        query = (
            select(
                _wearings.c.patient,
                _wearings.c.device,
                _devices.c.kind,
                _wearings.c.assigned_us,
                _wearings.c.since_us,
            )
            .join(_devices)
            .where(_wearings.c.until_us.is_(None))
            .order_by(_wearings.c.id)
        )
        if patients is not None:
            query = query.where(among(_wearings.c.patient, patients))
        with reading(self._engine) as db:
            return [
                Worn(patient, device, DeviceKind(kind), from_us(assigned), _moment(since))
                for patient, device, kind, assigned, since in db.execute(query)
            ]

    def roster(self) -> Roster:
        """Who wears what, for admission."""
        return Roster(self.wearings())

    def assign(
        self, device: str, patient: str, *, since: datetime | None, now: datetime, by: str | None = None
    ) -> Wearing:
        """Give a device to a patient; a retired one is in use again. by: as in `add_patient`.

        since None: from now on, or, for a device nobody has worn yet, from its first record, so that what waits
        unassigned is admitted. Raises UnknownPerson; AlreadyKnown while somebody else wears it.
        """
        with self._alone(device=device, patient=patient) as db:
            return self._assign(db, device, patient, since=since, now=now, by=by)

    def _assign(
        self, db: Connection, device: str, patient: str, *, since: datetime | None, now: datetime, by: str | None
    ) -> Wearing:
        known, person = self.device(device), self.patient(patient)
        if known is None:
            raise UnknownPerson(Sentence("no device has the id {id}; add it first", id=device))
        if person is None:
            raise UnknownPerson(Sentence("no patient has the id {id}; add the patient first", id=patient))
        earlier = self.wearings(device=device)
        start = since if since or not earlier else now
        for wearing in earlier:
            if wearing.until is None or start is None or start < wearing.until:
                raise AlreadyKnown(_worn_then(wearing))
        wearing = Wearing(
            device=device,
            patient=patient,
            zone=ZoneInfo(person.zone),
            since=start,
            slot=self._free_slot(known, patient),
            assigned_at=now,
        )
        db.execute(delete(_retirements).where(_retirements.c.device == device))
        number = db.scalar(
            insert(_wearings)
            .values(device=device, patient=patient, since_us=_us(start), slot=wearing.slot, assigned_us=to_us(now))
            .returning(_wearings.c.id)
        )
        wearing = replace(wearing, number=number)
        was = {"retired_at": _said(known.retired_at)} if known.retired_at else None
        audited(db, "assigned", f"device:{device}", at=now, who=by, before=was, after=_worn_so(wearing))
        return wearing

    def correct(self, wanted: Wearing, *, by: str, note: str, now: datetime) -> Wearing:
        """Correct whose a wearing (of this number) was and since when; its end stays.

        Raises UnknownPerson; AlreadyKnown where the device was worn by somebody then, or the wearing over before.
        """
        with self._alone(device=wanted.device, patient=wanted.patient) as db:
            return self._correct(db, wanted, by=by, note=note, now=now)

    def _correct(self, db: Connection, wanted: Wearing, *, by: str, note: str, now: datetime) -> Wearing:
        wearings = {wearing.number: wearing for wearing in self.wearings(device=wanted.device)}
        known, device, person = (
            wearings.pop(wanted.number, None),
            self.device(wanted.device),
            self.patient(wanted.patient),
        )
        if known is None or device is None:
            raise UnknownPerson(
                Sentence("device {id} has no wearing {number}", id=wanted.device, number=wanted.number)
            )
        if person is None:
            raise UnknownPerson(Sentence("no patient has the id {id}; add the patient first", id=wanted.patient))
        if wanted.since and known.until and wanted.since >= known.until:
            raise AlreadyKnown(
                Sentence("that wearing was over at {until}; name an earlier time", until=_minute(known, known.until))
            )
        for other in wearings.values():
            if _both(wanted.since, known.until, other):
                raise AlreadyKnown(_worn_then(other))
        slot = known.slot if person.id == known.patient else self._free_slot(device, person.id)
        db.execute(
            update(_wearings)
            .where(_wearings.c.id == known.number)
            .values(patient=person.id, since_us=_us(wanted.since), slot=slot)
        )
        db.execute(
            insert(_corrections).values(
                wearing=known.number,
                at_us=to_us(now),
                by=by,
                note=note,
                patient_before=known.patient,
                since_before_us=_us(known.since),
                patient=person.id,
                since_us=_us(wanted.since),
            )
        )
        corrected = replace(known, patient=person.id, since=wanted.since, slot=slot, zone=ZoneInfo(person.zone))
        was, now_so = _worn_so(known), {**_worn_so(corrected), "note": note}
        audited(db, "corrected", f"device:{device.id}", at=now, who=by, before=was, after=now_so)
        return corrected

    def corrections(self, device: str) -> list[Correction]:
        """What was corrected of the wearings of a device, oldest first."""
        query = select(_corrections).join(_wearings).where(_wearings.c.device == device).order_by(_corrections.c.id)
        with reading(self._engine) as db:
            return [_correction(row) for row in db.execute(query)]

    def release(self, device: str, *, now: datetime, by: str | None = None) -> Wearing:
        """End the current wearing of a device; its history stays. Raises UnknownPerson when nobody wears it.

        by: as in `add_patient`.
        """
        with self._alone(device=device) as db:
            current = next((w for w in self.wearings(device=device) if w.until is None), None)
            if current is None:
                raise UnknownPerson(Sentence("nobody wears device {id}", id=device))
            return _end_wearing(db, current, now, by)

    def retire(self, device: str, *, now: datetime, by: str | None = None) -> Device:
        """Take a device out of use, and from its wearer; its history stays. Raises UnknownPerson.

        Retired once more, it stays retired since the first time. by: as in `add_patient`.
        """
        with self._alone(device=device) as db:
            known = self.device(device)
            if known is None:
                raise UnknownPerson(Sentence("no device has the id {id}", id=device))
            if known.retired_at is not None:
                return known
            worn = next((w for w in self.wearings(device=device) if w.until is None), None)
            if worn is not None:
                _end_wearing(db, worn, now, by)
            db.execute(insert(_retirements).values(device=device, retired_us=to_us(now)))
            was, now_so = {"retired_at": None}, {"retired_at": _said(now)}
            audited(db, "retired", f"device:{device}", at=now, who=by, before=was, after=now_so)
        return replace(known, retired_at=now.astimezone(UTC))

    @contextmanager
    def _alone(self, *, device: str | None = None, patient: str | None = None) -> Iterator[Connection]:
        """A transaction in which nobody else changes these: another hub may be asked for the same at this moment."""
        with writing(self._engine) as db:
            for table, name in ((_devices, device), (_patients, patient)):
                if name is not None:
                    db.execute(select(table.c.id).where(table.c.id == name).with_for_update(key_share=True))
            yield db

    def _free_slot(self, device: Device, patient: str) -> int:
        """The device's own slot if it had one, else the lowest that no device of its kind holds.

        Sensors follow each other, and a slot of an ended one is free again. A meter or a cuff may still hold records
        of the time when another was worn, so their slots are never given to another device.
        """
        wearings = self.wearings(patient=patient)
        query = select(_devices.c.id).where(
            _devices.c.id.in_({w.device for w in wearings}), _devices.c.kind == device.kind
        )
        with reading(self._engine) as db:
            kind = set(db.scalars(query))
        alike = [w for w in wearings if w.device in kind]
        own = next((w.slot for w in alike if w.device == device.id), None)
        taken = {w.slot for w in alike if w.until is None or device.kind is not DeviceKind.CGM}
        if own is not None and (device.kind is not DeviceKind.CGM or own not in taken):
            return own
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)


def _end_wearing(db: Connection, wearing: Wearing, now: datetime, by: str | None) -> Wearing:
    over = replace(wearing, until=now.astimezone(UTC))
    db.execute(update(_wearings).where(_wearings.c.id == wearing.number).values(until_us=to_us(now)))
    was, now_so = _worn_so(wearing), _worn_so(over)
    audited(db, "released", f"device:{wearing.device}", at=now, who=by, before=was, after=now_so)
    return over


def _both(since: datetime | None, until: datetime | None, other: Wearing) -> bool:
    """Whether there is a moment in this time at which the other is worn."""
    begins_before = since is None or other.until is None or since < other.until
    ends_after = other.since is None or until is None or other.since < until
    return begins_before and ends_after


def _worn_then(wearing: Wearing) -> str:
    who = {"patient": wearing.patient, "device": wearing.device}
    if wearing.until is None:
        return Sentence("patient {patient} wears device {device} at that time; unpair it first", **who)
    return Sentence(
        "patient {patient} wears device {device} at that time, until {until}; "
        "name a later one, or correct that wearing first",
        until=_minute(wearing, wearing.until),
        **who,
    )


def _minute(wearing: Wearing, moment: datetime) -> str:
    """A moment on the clock of the wearer."""
    return minute_on(moment.astimezone(wearing.zone))


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def _said(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _to_audit(patient: Patient) -> dict[str, Any]:
    """Without the pseudonym, which only this database is to join with a name."""
    row = {name: value for name, value in _patient_row(patient).items() if name != "pseudonym"}
    return {**row, "population": patient.population, "programme": patient.programme}


def _worn_so(wearing: Wearing) -> dict[str, Any]:
    return {
        "wearing": wearing.number,
        "patient": wearing.patient,
        "since": _said(wearing.since),
        "until": _said(wearing.until),
    }


def _patient_row(patient: Patient) -> dict[str, Any]:
    return {
        "id": patient.id,
        "name": patient.name,
        "zone": patient.zone,
        "language": patient.language,
        "glucose_unit": patient.glucose_unit,
        "pseudonym": patient.pseudonym,
        "limits": dict(patient.limits),
    }


def _patient(row: Row[Any]) -> Patient:
    population = Group(row.population) if row.population else None
    return Patient(**{**row._mapping, "glucose_unit": Unit(row.glucose_unit), "population": population})


def _plan(row: Row[Any]) -> MeasuringPlan:
    return MeasuringPlan(
        vital=Vital(row.vital),
        times=row.times,
        days=row.days,
        first=row.first,
        last=row.last,
        author=row.author,
        entered_at=from_us(row.entered_us),
        ended_at=_moment(row.ended_us),
        ended_by=row.by,
        number=row.id,
    )


def _end_plan(db: Connection, patient: str, number: int, now: datetime, by: str | None) -> None:
    db.execute(update(_plans).where(_plans.c.id == number).values(ended_us=to_us(now)))
    was, now_so = {"plan": number, "ended_at": None}, {"plan": number, "ended_at": _said(now)}
    audited(db, "plan-ended", f"patient:{patient}", at=now, who=by, before=was, after=now_so)
    if by:
        db.execute(insert(_plan_ends).values(plan=number, by=by))


def _today(db: Connection, patient: str, now: datetime) -> date:
    """The day on the clock of a patient, who is known."""
    zone = db.execute(select(_patients.c.zone).where(_patients.c.id == patient)).scalar_one()
    return now.astimezone(ZoneInfo(zone)).date()


def _lasting(patient: str, today: date) -> tuple[ColumnElement[bool], ...]:
    """The plans of a patient that have not ended."""
    unfinished = or_(_plans.c.last.is_(None), _plans.c.last >= today)
    return _plans.c.patient == patient, _plans.c.ended_us.is_(None), unfinished


def _over(rule: str, parameter: str, entry: Any, now: datetime) -> datetime | None:
    """When the last day of a number was over. now: on the patient's clock."""
    for override in read_overrides({rule: {parameter: entry}}, "patient")[0]:
        if override.last and override.last < now.date():
            return datetime.combine(override.last + timedelta(days=1), time(), now.tzinfo)
    return None


def _write_care(db: Connection, patient: Patient) -> None:
    db.execute(delete(_care).where(_care.c.patient == patient.id))
    if patient.population or patient.programme:
        values = {"population": patient.population, "programme": patient.programme}
        db.execute(insert(_care).values(patient=patient.id, **values))


Entry = tuple[str, str, Any]


def dated(
    limits: Mapping[str, Any], before: Mapping[str, Any], now: datetime
) -> tuple[dict[str, dict[str, list[Any]]], list[Entry]]:
    """Limits with the moment at which each number was entered, and those of before that are not among them.

    The moment of one that was there before stays; what the limits themselves say of it counts for nothing.
    """
    known = list(entries(before))
    out: dict[str, dict[str, list[Any]]] = {}
    for rule, parameter, entry in entries(limits):
        said = _undated(entry)
        same = next((one for one in known if one[:2] == (rule, parameter) and _undated(one[2]) == said), None)
        if same:
            known.remove(same)
        kept = same[2] if same else {**said, "entered_at": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        out.setdefault(rule, {}).setdefault(parameter, []).append(kept)
    return out, known


def entries(limits: Mapping[str, Any]) -> Iterator[Entry]:
    """(rule, parameter, entry) of each number; what is not written as one is the value of one without a unit."""
    for rule, parameters in limits.items():
        for parameter, said in (parameters if isinstance(parameters, Mapping) else {"?": parameters}).items():
            for entry in said if isinstance(said, list) else [said]:
                yield rule, parameter, entry if isinstance(entry, Mapping) else {"value": entry}


def authors_of_new(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Who has set the numbers that were not there before; each once."""
    known = [(rule, parameter, _undated(entry)) for rule, parameter, entry in entries(before)]
    new = (each for each in entries(after) if (each[0], each[1], _undated(each[2])) not in known)
    return list(dict.fromkeys(str(entry.get("author", "")) for _, _, entry in new))


def is_taken_back(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a number that was there before ends, and none of the same name is new in its place."""
    old, now = (
        [(rule, parameter, _undated(entry)) for rule, parameter, entry in entries(each)] for each in (before, after)
    )
    new = {each[:2] for each in now if each not in old}
    return any(each not in now and each[:2] not in new for each in old)


def _undated(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "entered_at"}


def _device(row: Row[Any]) -> Device:
    return Device(
        id=row.id,
        kind=DeviceKind(row.kind),
        link=DeviceLink(row.link),
        model=row.model,
        retired_at=_moment(row.retired_us),
    )


def _wearing(row: Row[Any]) -> Wearing:
    return Wearing(
        device=row.device,
        patient=row.patient,
        zone=ZoneInfo(row.zone),
        since=_moment(row.since_us),
        until=_moment(row.until_us),
        slot=row.slot,
        assigned_at=from_us(row.assigned_us),
        number=row.id,
    )


def _correction(row: Row[Any]) -> Correction:
    return Correction(
        wearing=row.wearing,
        at=from_us(row.at_us),
        by=row.by,
        note=row.note,
        patient_before=row.patient_before,
        since_before=_moment(row.since_before_us),
        patient=row.patient,
        since=_moment(row.since_us),
    )

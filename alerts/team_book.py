"""The register of staff, their shifts and absences, and of everybody's contacts. Blocking: call it off the loop.

Patients themselves are registered elsewhere; here stand only the ways to them, under "patient:ID". Nobody is
deleted: who leaves becomes inactive, for notices and facts name them. Addresses are personal data and go into no log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    Engine,
    ForeignKey,
    Integer,
    String,
    Table,
    delete,
    exists,
    insert,
    literal,
    select,
    update,
)

from alerts.audit import audited
from alerts.database import METADATA, among, reading
from alerts.team import Absence, Contact, Practitioner, QuietHours, Role, Rota, Shift, patient, staff
from ingest.reading import from_us, to_us

_practitioners = Table(
    "practitioners",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("roles", JSON, nullable=False),
    Column("language", String(8), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("active", Boolean, nullable=False),
)
# owner: "staff:ID" or "patient:ID". position: 0 is the preferred one. folded: the address whatever its case.
_contacts = Table(
    "contacts",
    METADATA,
    Column("owner", String(80), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("address", String(200), nullable=False),
    Column("folded", String(200), nullable=False, index=True),
)
# Wall clock of the owner's zone, "HH:MM".
_quiet = Table(
    "quiet_hours",
    METADATA,
    Column("owner", String(80), primary_key=True),
    Column("start", String(5), nullable=False),
    Column("end", String(5), nullable=False),
)
_shifts = Table(
    "shifts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("practitioner", ForeignKey("practitioners.id"), nullable=False, index=True),
    Column("weekdays", JSON, nullable=False),
    Column("start", String(5), nullable=False),
    Column("end", String(5), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("first", Date, nullable=False),
    Column("last", Date),
)
_absences = Table(
    "absences",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("practitioner", ForeignKey("practitioners.id"), nullable=False, index=True),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("substitute", ForeignKey("practitioners.id")),
)
# What the audit calls a row of a table.
_CALLED: Final = {"shifts": "shift", "absences": "absence"}

# Looks at the rota as it is when something is to be written, and raises what refuses it.
Check: TypeAlias = Callable[[Rota], None]
Ways: TypeAlias = tuple[tuple[Contact, ...], QuietHours | None]


class UnknownPractitioner(LookupError):
    """No such person is registered. The text says who."""


class TeamBook:
    """Who is there, on duty when, and by which ways each person is reached."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def staff(self) -> list[Practitioner]:
        """All of them, also those who have left, by id."""
        with reading(self._engine) as db:
            return staff_in(db)

    def rota(self) -> Rota:
        """Who is on duty when."""
        with reading(self._engine) as db:
            return rota_in(db)

    def practitioner(self, name: str) -> Practitioner:
        """One of the staff by id. Raises UnknownPractitioner."""
        found = next((one for one in self.staff() if one.id == name), None)
        if found is None:
            raise UnknownPractitioner(f"nobody of the staff has the id {name}")
        return found

    def put(self, one: Practitioner, *, now: datetime, by: str | None = None, check: Check = lambda _: None) -> None:
        """Register one of the staff, or change what is registered, contacts and quiet hours included.

        by: who says so, None where nobody did; here and below. check: may refuse it, here and below.
        """
        row = {
            "id": one.id,
            "name": one.name,
            "roles": sorted(one.roles),
            "language": one.language,
            "zone": one.zone,
            "active": one.active,
        }
        with self._engine.begin() as db:
            check(rota_in(db))
            before = db.execute(select(_practitioners).where(_practitioners.c.id == one.id).with_for_update()).first()
            if before:
                db.execute(update(_practitioners).where(_practitioners.c.id == one.id).values(**row))
            else:
                db.execute(insert(_practitioners).values(**row))
            _audit_change(db, staff(one.id), dict(before._mapping) if before else None, row, now, by)
            _put_contacts(db, staff(one.id), one.contacts, one.quiet, now, by)

    def is_kept(self) -> bool:
        """Whether a clinic keeps a register of its staff at all."""
        with reading(self._engine) as db:
            return anybody_in(db)

    def contacts(self, owner: str) -> Ways:
        """The ways to a person ("staff:ID", "patient:ID"), the preferred one first, and the quiet hours."""
        with reading(self._engine) as db:
            return contacts_in(db, [owner]).get(owner, ((), None))

    def contacts_of(self, owners: Collection[str]) -> dict[str, tuple[Contact, ...]]:
        """The contacts of those of some people who have any, by owner, the preferred one first."""
        with reading(self._engine) as db:
            return {owner: contacts for owner, (contacts, _) in contacts_in(db, owners).items()}

    def put_contacts(
        self,
        owner: str,
        contacts: Sequence[Contact],
        quiet: QuietHours | None = None,
        *,
        now: datetime,
        by: str | None = None,
    ) -> None:
        """Replace the ways to a person."""
        with self._engine.begin() as db:
            _put_contacts(db, owner, contacts, quiet, now, by)

    def change_contacts(
        self, owner: str, change: Callable[[Ways], Ways], *, now: datetime, by: str | None = None
    ) -> Ways:
        """Change the ways to a person as they are then; as they are now. What `change` raises changes nothing."""
        with self._engine.begin() as db:
            contacts, quiet = change(contacts_in(db, [owner]).get(owner, ((), None)))
            _put_contacts(db, owner, contacts, quiet, now, by)
        return contacts, quiet

    def owners_of(self, address: str) -> list[str]:
        """Whose contact an address is, whatever the channel; letters in either case."""
        same = select(_contacts.c.owner).where(_contacts.c.folded == _folded(address))
        with reading(self._engine) as db:
            return sorted(set(db.scalars(same)))

    def add_shift(
        self, shift: Shift, *, now: datetime, by: str | None = None, check: Check = lambda _: None
    ) -> Shift:
        """Write a shift down; it comes back with its id. Raises UnknownPractitioner."""
        self.practitioner(shift.practitioner)
        row = _shift_row(shift)
        with self._engine.begin() as db:
            check(rota_in(db))
            key = db.execute(insert(_shifts).values(**row)).inserted_primary_key
            made = {**row, "id": key[0] if key else 0}
            _audit_change(db, f"shift:{made['id']}", None, made, now, by)
        return _shift(made)

    def change_shift(
        self, shift: Shift, *, now: datetime, by: str | None = None, check: Check = lambda _: None
    ) -> None:
        """Have a shift that is known by its id be as given from now on; the past is told by the audit alone."""
        with self._engine.begin() as db:
            check(rota_in(db))
            _change(db, _shifts, shift.id, _shift_row(shift), now, by)

    def end_shift(self, number: int, last: date, *, now: datetime, by: str | None = None) -> None:
        """Have a shift begin for the last time on this day, or on none where that lies before its first."""
        with self._engine.begin() as db:
            _change(db, _shifts, number, {"last": last}, now, by)

    def add_absence(
        self, absence: Absence, *, now: datetime, by: str | None = None, check: Check = lambda _: None
    ) -> Absence:
        """Write an absence down; it comes back with its id. Raises UnknownPractitioner, ValueError."""
        if absence.end <= absence.start:
            raise ValueError(
                f"the absence of {absence.practitioner} ends before it begins; turn the two moments round"
            )
        for name in filter(None, (absence.practitioner, absence.substitute)):
            self.practitioner(name)
        row = _absence_row(absence)
        with self._engine.begin() as db:
            check(rota_in(db))
            key = db.execute(insert(_absences).values(**row)).inserted_primary_key
            made = {**row, "id": key[0] if key else 0}
            _audit_change(db, f"absence:{made['id']}", None, made, now, by)
        return _absence(made)

    def change_absence(
        self, absence: Absence, *, now: datetime, by: str | None = None, check: Check = lambda _: None
    ) -> None:
        """Have an absence that is known by its id be as given."""
        with self._engine.begin() as db:
            check(rota_in(db))
            _change(db, _absences, absence.id, _absence_row(absence), now, by)

    def end_absence(self, number: int, end: datetime, *, now: datetime, by: str | None = None) -> None:
        """Somebody is back at a moment (aware)."""
        with self._engine.begin() as db:
            _change(db, _absences, number, {"end_us": to_us(end)}, now, by)


def anybody_in(db: Connection) -> bool:
    """Whether a clinic keeps a register of its staff at all."""
    return db.execute(select(_practitioners.c.id).where(_practitioners.c.active).limit(1)).first() is not None


def is_reached(name: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the patient of a row has a contact."""
    return exists().where(_contacts.c.owner == literal(patient("")).concat(name))


def staff_in(db: Connection) -> list[Practitioner]:
    """See TeamBook.staff; within a transaction."""
    rows = db.execute(select(_practitioners).order_by(_practitioners.c.id)).all()
    ways = contacts_in(db, [staff(row.id) for row in rows])
    found = []
    for row in rows:
        contacts, quiet = ways.get(staff(row.id), ((), None))
        found.append(
            Practitioner(
                id=row.id,
                name=row.name,
                roles=frozenset(map(Role, row.roles)),
                language=row.language,
                zone=row.zone,
                contacts=contacts,
                quiet=quiet,
                active=row.active,
            )
        )
    return found


def rota_in(db: Connection) -> Rota:
    """See TeamBook.rota; within a transaction."""
    shifts = [_shift(row._mapping) for row in db.execute(select(_shifts).order_by(_shifts.c.id))]
    absences = [_absence(row._mapping) for row in db.execute(select(_absences).order_by(_absences.c.id))]
    return Rota(staff=staff_in(db), shifts=shifts, absences=absences)


def contacts_in(db: Connection, owners: Collection[str]) -> dict[str, Ways]:
    """The contacts and quiet hours of those who have any; within a transaction."""
    ways: dict[str, list[Contact]] = {}
    for row in db.execute(select(_contacts).where(among(_contacts.c.owner, owners)).order_by(_contacts.c.position)):
        ways.setdefault(row.owner, []).append(Contact(channel=row.channel, address=row.address))
    quiet = {
        row.owner: QuietHours(start=time.fromisoformat(row.start), end=time.fromisoformat(row.end))
        for row in db.execute(select(_quiet).where(among(_quiet.c.owner, owners)))
    }
    return {owner: (tuple(ways.get(owner, ())), quiet.get(owner)) for owner in ways.keys() | quiet.keys()}


def _change(
    db: Connection, table: Table, number: int, values: Mapping[str, Any], now: datetime, by: str | None
) -> None:
    """Change a shift or an absence, and the audit with it; one that is not known stays so."""
    row = db.execute(select(table).where(table.c.id == number).with_for_update()).first()
    if row is None:
        return
    db.execute(update(table).where(table.c.id == number).values(**values))
    before = dict(row._mapping)
    _audit_change(db, f"{_CALLED[table.name]}:{number}", before, {**before, **values}, now, by)


def _audit_change(
    db: Connection,
    subject: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    now: datetime,
    by: str | None,
) -> None:
    was, now_so = before and _to_audit(before), _to_audit(after)
    if was != now_so:
        audited(db, "changed" if was else "added", subject, at=now, who=by, before=was, after=now_so)


def _to_audit(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}


def _told(contacts: Sequence[Contact], quiet: QuietHours | None) -> dict[str, Any]:
    return {
        "contacts": [[contact.channel, contact.address] for contact in contacts],
        "quiet": quiet and f"{_clock(quiet.start)}-{_clock(quiet.end)}",
    }


def _put_contacts(
    db: Connection,
    owner: str,
    contacts: Sequence[Contact],
    quiet: QuietHours | None,
    now: datetime,
    by: str | None,
) -> None:
    known = contacts_in(db, [owner]).get(owner)
    _audit_change(db, f"contacts:{owner}", known and _told(*known), _told(contacts, quiet), now, by)
    db.execute(delete(_contacts).where(_contacts.c.owner == owner))
    db.execute(delete(_quiet).where(_quiet.c.owner == owner))
    for position, contact in enumerate(contacts):
        at = {"channel": contact.channel, "address": contact.address, "folded": _folded(contact.address)}
        db.execute(insert(_contacts).values(owner=owner, position=position, **at))
    if quiet:
        db.execute(insert(_quiet).values(owner=owner, start=_clock(quiet.start), end=_clock(quiet.end)))


def _folded(address: str) -> str:
    return address.strip().casefold()[:200]


def _clock(wall: time) -> str:
    return f"{wall:%H:%M}"


def _shift_row(shift: Shift) -> dict[str, Any]:
    return {
        "role": shift.role,
        "practitioner": shift.practitioner,
        "weekdays": sorted(shift.weekdays),
        "start": _clock(shift.start),
        "end": _clock(shift.end),
        "zone": shift.zone,
        "first": shift.first,
        "last": shift.last,
    }


def _absence_row(absence: Absence) -> dict[str, Any]:
    return {
        "practitioner": absence.practitioner,
        "start_us": to_us(absence.start),
        "end_us": to_us(absence.end),
        "substitute": absence.substitute,
    }


def _shift(row: Any) -> Shift:
    return Shift(
        id=row["id"],
        role=Role(row["role"]),
        practitioner=row["practitioner"],
        weekdays=frozenset(row["weekdays"]),
        start=time.fromisoformat(row["start"]),
        end=time.fromisoformat(row["end"]),
        zone=row["zone"],
        first=row["first"],
        last=row["last"],
    )


def _absence(row: Any) -> Absence:
    return Absence(
        id=row["id"],
        practitioner=row["practitioner"],
        start=from_us(row["start_us"]),
        end=from_us(row["end_us"]),
        substitute=row["substitute"],
    )

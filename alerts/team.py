"""Who is there to be told: staff with roles and contacts, shifts on the wall clock of their zone, absences. Pure.

The nouns are those of HL7 FHIR (Practitioner, PractitionerRole, ContactPoint). A shift is written on the wall clock,
so that the night shift of the last Sunday of March is an hour short and that of October an hour long. Where a clock
is put forward over the begin of a shift, it begins when the old offset says so; where an hour comes twice, it begins
in the first. Two shifts that meet on the wall clock therefore meet on every day of the year.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from alerts.alert import Audience, Text

# Of whatever channel: with the country's code, or a mobile of mainland China.
_SURE_NUMBER: Final = re.compile(r"\+[0-9][0-9 ()./-]{5,30}|1[3-9][0-9]{9}")
TELEPHONE: Final = "telephone"  # a contact that a person dials, unless a channel of this name is configured
_DAY: Final = timedelta(days=1)
_AHEAD: Final = 8  # days in which a shift of every week comes round
EVERY_DAY: Final = frozenset(range(7))


class Role(StrEnum):
    """What a person of the staff is there for."""

    DOCTOR = "doctor"
    NURSE = "nurse"
    DIETITIAN = "dietitian"
    PSYCHOLOGIST = "psychologist"
    COORDINATOR = "coordinator"


ROLE_WORDS: Final[Mapping[Role, Text]] = {
    Role.DOCTOR: Text(en="doctor", zh="医生"),
    Role.NURSE: Text(en="nurse", zh="护士"),
    Role.DIETITIAN: Text(en="dietitian", zh="营养师"),
    Role.PSYCHOLOGIST: Text(en="psychologist", zh="心理师"),
    Role.COORDINATOR: Text(en="coordinator", zh="协调员"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One way to a person: the name of a configured channel, and the address there."""

    channel: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """From start to end on the person's wall clock, over midnight where the end is not after the start."""

    start: time
    end: time

    def until(self, moment: datetime, zone: ZoneInfo) -> datetime | None:
        """When the quiet hours of a moment (aware) end, aware UTC; None when it lies in none."""
        today = moment.astimezone(zone).date()
        for day in (today - _DAY, today):
            begin, end = _span(day, self.start, self.end, zone)
            if begin <= moment < end:
                return end
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Somebody who can be told. owner: "staff:ID" or "patient:ID". contacts: the preferred one first."""

    owner: str
    name: str
    language: str
    zone: str
    contacts: tuple[Contact, ...] = ()
    quiet: QuietHours | None = None

    @property
    def is_patient(self) -> bool:
        """Whether it is the patient and not one of the staff."""
        return self.owner.startswith("patient:")

    @property
    def audience(self) -> Audience:
        """Whose notices are for such a person."""
        return Audience.PATIENT if self.is_patient else Audience.STAFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Practitioner:
    """One of the staff. language: "en" or "zh_CN". zone: IANA name. contacts: the preferred one first."""

    id: str
    name: str
    roles: frozenset[Role]
    language: str = "en"
    zone: str = "UTC"
    contacts: tuple[Contact, ...] = ()
    quiet: QuietHours | None = None
    active: bool = True

    def recipient(self) -> Recipient:
        """As one who can be told."""
        return Recipient(
            owner=staff(self.id),
            name=self.name,
            language=self.language,
            zone=self.zone,
            contacts=self.contacts,
            quiet=self.quiet,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """When somebody is on duty in a role, week by week.

    weekdays: of the day on which it begins, Monday is 0. start, end: on the wall clock of the zone; an end that is
    not after the start is of the next day. first, last: days on which it may begin, both included; None: on and on.
    """

    role: Role
    practitioner: str
    weekdays: frozenset[int]
    start: time
    end: time
    zone: str
    first: date
    last: date | None = None
    id: int = 0

    def spans(self, first: date, days: int) -> Iterator[tuple[datetime, datetime]]:
        """From when to when (aware UTC) it goes, of the shifts that begin on so many days from the first."""
        zone = ZoneInfo(self.zone)
        for number in range(days):
            day = first + number * _DAY
            if day.weekday() in self.weekdays and self.first <= day and (self.last is None or day <= self.last):
                yield _span(day, self.start, self.end, zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Somebody is away from start to end (aware UTC, half open). substitute: who stands in, None: nobody."""

    practitioner: str
    start: datetime
    end: datetime
    substitute: str | None = None
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rota:
    """Who is on duty when."""

    staff: Sequence[Practitioner]
    shifts: Sequence[Shift] = ()
    absences: Sequence[Absence] = ()

    def on_duty(self, role: Role, moment: datetime) -> tuple[Practitioner, ...]:
        """Who has a shift in this role at a moment (aware), or stands in for one who is away; each once, by name."""
        known = {one.id: one for one in self.staff if one.active}
        there = (self._there(shift.practitioner, moment) for shift in self.shifts if _goes(shift, role, moment))
        return _by_name({name: known[name] for name in there if name in known}.values())

    def all_of(self, role: Role, moment: datetime) -> tuple[Practitioner, ...]:
        """All who have the role and are not away at a moment, on duty or not."""
        return _by_name(
            one for one in self.staff if one.active and role in one.roles and not self._absence(one.id, moment)
        )

    def next_shift(self, role: Role, moment: datetime) -> datetime | None:
        """When the next shift in this role begins after a moment (aware UTC); None when none does within a week."""
        starts = [
            start
            for shift in self.shifts
            if shift.role is role
            for start, _ in shift.spans(moment.astimezone(ZoneInfo(shift.zone)).date(), _AHEAD)
            if start > moment
        ]
        return min(starts, default=None)

    def there(self, practitioner: str, moment: datetime) -> Practitioner | None:
        """Somebody by id, or who stands in at a moment; None when nobody active does."""
        name = self._there(practitioner, moment)
        return next((one for one in self.staff if one.id == name and one.active), None)

    def _there(self, name: str | None, moment: datetime) -> str | None:
        """Who is there for somebody; substitutes may be away themselves."""
        asked: set[str] = set()
        while name is not None and name not in asked:
            asked.add(name)
            absence = self._absence(name, moment)
            if absence is None:
                return name
            name = absence.substitute
        return None

    def _absence(self, name: str, moment: datetime) -> Absence | None:
        """Of several that overlap, the one that was entered last says who stands in."""
        away = [each for each in self.absences if each.practitioner == name and each.start <= moment < each.end]
        return max(away, key=lambda each: each.id, default=None)


def staff(practitioner: str) -> str:
    """One of the staff as the owner of contacts and the recipient of notices."""
    return f"staff:{practitioner}"


def patient(name: str) -> str:
    """A patient as the owner of contacts and the recipient of notices."""
    return f"patient:{name}"


def _goes(shift: Shift, role: Role, moment: datetime) -> bool:
    if shift.role is not role:
        return False
    yesterday = moment.astimezone(ZoneInfo(shift.zone)).date() - _DAY
    return any(start <= moment < end for start, end in shift.spans(yesterday, 2))


def _span(day: date, start: time, end: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    last = day if end > start else day + _DAY
    return datetime.combine(day, start, zone).astimezone(UTC), datetime.combine(last, end, zone).astimezone(UTC)


def _by_name(found: Iterable[Practitioner]) -> tuple[Practitioner, ...]:
    return tuple(sorted(found, key=lambda one: (one.name, one.id)))


def numbers_among(contacts: Iterable[Contact]) -> list[str]:
    """The telephone numbers among the contacts of a person, as they were written; each once."""
    found = (each.address for each in contacts if each.channel == TELEPHONE or _SURE_NUMBER.fullmatch(each.address))
    return list(dict.fromkeys(found))

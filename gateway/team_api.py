"""The API of who is there to be told: staff, shifts and absences, and who is on duty."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Annotated, Final, Literal, get_args
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from alerts.alert import Audience
from alerts.staffing import (
    Outlook,
    Watch,
    outlook,
    refuse_absence,
    refuse_change,
    refuse_ended_absence,
    refuse_ended_shift,
    refuse_shift,
    roles_watched,
    untold,
)
from alerts.team import Absence, Practitioner, Role, Rota, Shift
from gateway.api import CalendarDay, Door, House, Identifier, Moment, Name, Problem, SentenceOut, Zone
from gateway.contact_api import (
    MOST_CONTACTS,
    WAYS,
    By,
    ContactIn,
    ContactOut,
    ContactsOut,
    QuietIn,
    QuietOut,
    WallClock,
    channels_for,
    find_staff,
    usable,
)
from gateway.language import Sentence
from gateway.people import AlreadyKnown, refused_as
from gateway.view import HouseView

OUTLOOK_DAYS: Final = 7
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]  # HL7 FHIR, days-of-week
WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)
LanguageCode = Literal["en", "zh_CN"]
RecordNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
Days = Annotated[
    list[Weekday],
    Field(min_length=1, max_length=7, description="Days on which it begins; left out: every day"),
]
Roles = Annotated[list[Role], Field(min_length=1, max_length=len(Role))]


class StaffIn(Door):
    """A new member of the staff. zone left out: the clinic's."""

    id: Identifier
    name: Name
    roles: Roles
    language: LanguageCode = "en"
    zone: Zone | None = None
    contacts: Annotated[list[ContactIn], Field(max_length=MOST_CONTACTS)] = Field(default_factory=list)
    quiet: QuietIn | None = None
    by: By

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "wang",
                    "name": "王丽",
                    "roles": ["nurse"],
                    "language": "zh_CN",
                    "zone": "Asia/Shanghai",
                    **WAYS,
                    "by": "Head nurse Chen",
                }
            ]
        }
    )


class StaffPatch(Door):
    """What changes; everything left out stays. active: false for who leaves, true for who comes back."""

    name: Name | None = None
    roles: Roles | None = None
    language: LanguageCode | None = None
    zone: Zone | None = None
    active: bool | None = None
    by: By

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"roles": ["nurse", "coordinator"], "by": "Head nurse Chen"}]}
    )


class StaffOut(BaseModel):
    """One of the staff. active: false for who has left; nobody is deleted, for notices and facts name them."""

    id: str
    name: str
    roles: list[Role]
    language: str
    zone: str
    active: bool
    contacts: list[ContactOut]
    quiet: QuietOut | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "wang",
                    "name": "王丽",
                    "roles": ["nurse"],
                    "language": "zh_CN",
                    "zone": "Asia/Shanghai",
                    "active": True,
                    "contacts": [{"channel": "app", "address": "wang", "usable": True}],
                    "quiet": None,
                }
            ]
        }
    )

    @classmethod
    def of(cls, one: Practitioner, channels: Sequence[str]) -> StaffOut:
        """As registered."""
        ways = ContactsOut.of((one.contacts, one.quiet), channels)
        plain = ("id", "name", "language", "zone", "active")
        return cls(
            **{name: getattr(one, name) for name in plain},
            roles=sorted(one.roles),
            contacts=ways.contacts,
            quiet=ways.quiet,
        )


class ShiftIn(Door):
    """When somebody is on duty, week by week, on the wall clock of a zone (left out: the clinic's).

    An end that is not after the start is of the next day. from left out: from today; to left out: on and on.
    """

    staff: Identifier
    role: Role
    weekdays: Days = Field(default_factory=lambda: list(WEEKDAYS))
    start: WallClock
    end: WallClock
    zone: Zone | None = None
    first: CalendarDay | None = Field(default=None, alias="from")
    last: CalendarDay | None = Field(default=None, alias="to")
    by: By

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "staff": "wang",
                    "role": "nurse",
                    "weekdays": ["mon", "tue", "wed", "thu", "fri"],
                    "start": "20:00",
                    "end": "08:00",
                    "zone": "Asia/Shanghai",
                    "from": "2026-03-02",
                    "by": "Head nurse Chen",
                }
            ]
        }
    )


class ShiftPatch(Door):
    """What changes; everything left out stays. to: null is on and on. Whose shift it is, and in which role, stays."""

    weekdays: Days | None = None
    start: WallClock | None = None
    end: WallClock | None = None
    zone: Zone | None = None
    first: CalendarDay | None = Field(default=None, alias="from")
    last: CalendarDay | None = Field(default=None, alias="to")
    by: By

    model_config = ConfigDict(json_schema_extra={"examples": [{"start": "19:30", "by": "Head nurse Chen"}]})


class EndShiftIn(Door):
    """The last day on which it begins (left out: today in its zone); before its first day: it never does."""

    last: CalendarDay | None = Field(default=None, alias="to")
    by: By

    model_config = ConfigDict(json_schema_extra={"examples": [{"to": "2026-03-31", "by": "Head nurse Chen"}]})


class ShiftOut(BaseModel):
    """A shift; from and to are the days on which it may begin, both included.

    warning: that whose shift it is cannot be told, and what to do; null: can be.
    """

    id: int
    staff: str
    role: Role
    weekdays: list[Weekday]
    start: str
    end: str
    zone: str
    first: date = Field(serialization_alias="from")
    last: date | None = Field(serialization_alias="to")
    warning: SentenceOut | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 7,
                    "staff": "wang",
                    "role": "nurse",
                    "weekdays": ["mon", "tue"],
                    "start": "20:00",
                    "end": "08:00",
                    "zone": "Asia/Shanghai",
                    "from": "2026-03-02",
                    "to": None,
                    "warning": None,
                }
            ]
        }
    )

    @classmethod
    def of(cls, shift: Shift, warning: SentenceOut | None) -> ShiftOut:
        """As written down."""
        return cls(
            id=shift.id,
            staff=shift.practitioner,
            role=shift.role,
            weekdays=[WEEKDAYS[day] for day in sorted(shift.weekdays)],
            start=f"{shift.start:%H:%M}",
            end=f"{shift.end:%H:%M}",
            zone=shift.zone,
            first=shift.first,
            last=shift.last,
            warning=warning,
        )


class AbsenceIn(Door):
    """Somebody is away from start to end. substitute: who stands in; null: nobody."""

    staff: Identifier
    start: Moment
    end: Moment
    substitute: Identifier | None = None
    by: By

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "staff": "wang",
                    "start": "2026-03-09T00:00:00+08:00",
                    "end": "2026-03-16T00:00:00+08:00",
                    "substitute": "liu",
                    "by": "王丽",
                }
            ]
        }
    )


class AbsencePatch(Door):
    """What changes; everything left out stays. substitute: null is nobody."""

    start: Moment | None = None
    end: Moment | None = None
    substitute: Identifier | None = None
    by: By

    model_config = ConfigDict(json_schema_extra={"examples": [{"substitute": "zhao", "by": "王丽"}]})


class EndAbsenceIn(Door):
    """Somebody is back, now or at a moment; before the absence began: it never was."""

    end: Moment | None = None
    by: By

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "王丽"}]})


class AbsenceOut(BaseModel):
    """An absence, on the clock of whose it is.

    warning: that who stands in cannot be told, and what to do; null: can be, or nobody stands in.
    """

    id: int
    staff: str
    start: datetime
    end: datetime
    substitute: str | None
    warning: SentenceOut | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 3,
                    "staff": "wang",
                    "start": "2026-03-09T00:00:00+08:00",
                    "end": "2026-03-16T00:00:00+08:00",
                    "substitute": "liu",
                    "warning": None,
                }
            ]
        }
    )

    @classmethod
    def of(cls, absence: Absence, zone: ZoneInfo, warning: SentenceOut | None) -> AbsenceOut:
        """As written down."""
        return cls(
            id=absence.id,
            staff=absence.practitioner,
            start=absence.start.astimezone(zone),
            end=absence.end.astimezone(zone),
            substitute=absence.substitute,
            warning=warning,
        )


class WatchOut(BaseModel):
    """Somebody is on duty from start to end. instead_of: whose shift it is, where somebody is stood in for."""

    staff: str
    name: str
    start: datetime
    end: datetime
    instead_of: str | None

    @classmethod
    def of(cls, watch: Watch, zone: ZoneInfo) -> WatchOut:
        """On the clinic's clock."""
        return cls(
            staff=watch.practitioner.id,
            name=watch.practitioner.name,
            start=watch.start.astimezone(zone),
            end=watch.end.astimezone(zone),
            instead_of=watch.instead_of,
        )


class GapOut(BaseModel):
    """From when to when nobody is on duty who can be told."""

    start: datetime
    end: datetime


class OutlookOut(BaseModel):
    """How a role is manned in the coming 7 days: who is on duty now, who comes next, and when nobody is there."""

    role: Role
    there: list[WatchOut] = Field(serialization_alias="now")
    then: WatchOut | None = Field(serialization_alias="next")
    gaps: list[GapOut]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "role": "nurse",
                    "now": [
                        {
                            "staff": "liu",
                            "name": "刘敏",
                            "start": "2026-03-09T08:00:00+08:00",
                            "end": "2026-03-09T20:00:00+08:00",
                            "instead_of": "wang",
                        }
                    ],
                    "next": None,
                    "gaps": [{"start": "2026-03-09T20:00:00+08:00", "end": "2026-03-16T00:00:00+08:00"}],
                }
            ]
        }
    )

    @classmethod
    def of(cls, found: Outlook, zone: ZoneInfo) -> OutlookOut:
        """On the clinic's clock."""
        return cls(
            role=found.role,
            there=[WatchOut.of(each, zone) for each in found.there],
            then=found.then and WatchOut.of(found.then, zone),
            gaps=[GapOut(start=start.astimezone(zone), end=end.astimezone(zone)) for start, end in found.gaps],
        )


router = APIRouter(
    prefix="/api/v1", tags=["team"], responses={status: {"model": Problem} for status in (401, 404, 409, 422, 503)}
)


# Staff


@router.get("/staff")
async def list_staff(
    house: House, left: Annotated[bool, Query(description="Those who have left as well")] = False
) -> list[StaffOut]:
    """The staff by id."""
    found = await asyncio.to_thread(house.duty.team.staff)
    channels = channels_for(house, Audience.STAFF)
    return [StaffOut.of(one, channels) for one in found if one.active or left]


@router.get("/staff/{staff_id}")
async def get_staff(house: House, staff_id: str) -> StaffOut:
    """One of the staff."""
    return StaffOut.of(await find_staff(house, staff_id), channels_for(house, Audience.STAFF))


@router.post("/staff", status_code=201)
async def add_staff(house: House, body: StaffIn) -> StaffOut:
    """Register one of the staff. Who was here before is taken back by a change."""
    one = Practitioner(
        id=body.id,
        name=body.name.strip(),
        roles=frozenset(body.roles),
        language=body.language,
        zone=body.zone or house.zone.key,
        contacts=usable(house, Audience.STAFF, body.contacts),
        quiet=body.quiet.quiet() if body.quiet else None,
    )
    known = Sentence("staff {id} exists already; change that one, or choose another id", id=one.id)

    def new(rota: Rota) -> None:
        if any(other.id == one.id for other in rota.staff):
            raise AlreadyKnown(known)

    with refused_as(known):
        await asyncio.to_thread(partial(house.duty.team.put, one, now=house.now(), by=body.by.strip(), check=new))
    return await get_staff(house, one.id)


@router.patch("/staff/{staff_id}")
async def change_staff(house: House, staff_id: str, body: StaffPatch) -> StaffOut:
    """Change one of the staff; a role, or the person, cannot go while shifts rest on it."""
    said = body.model_dump(exclude={"by", "roles", "name"}, exclude_none=True)
    if body.roles is not None:
        said["roles"] = frozenset(body.roles)
    if body.name is not None:
        said["name"] = body.name.strip()
    after = replace(await find_staff(house, staff_id), **said)
    now = house.now()
    check = partial(refuse_change, after=after, now=now)
    await asyncio.to_thread(partial(house.duty.team.put, after, now=now, by=body.by.strip(), check=check))
    return await get_staff(house, staff_id)


# Shifts


@router.get("/duty")
async def get_duty(house: House) -> list[OutlookOut]:
    """Who is on duty now and next, and when nobody is, role by role; moments on the clinic's clock."""
    now = house.now()
    return [OutlookOut.of(each, house.zone) for each in await outlooks(house, await rota_of(house), now)]


@router.get("/shifts")
async def list_shifts(
    house: House,
    staff: Annotated[str | None, Query(description="Only of this person")] = None,
    role: Role | None = None,
    ended: Annotated[bool, Query(description="Those that have ended as well")] = False,
) -> list[ShiftOut]:
    """Shifts in the order in which they were written down."""
    rota, now = await rota_of(house), house.now()
    return [
        _shift_out(house, rota, shift)
        for shift in rota.shifts
        if staff in {None, shift.practitioner} and role in {None, shift.role} and (ended or not is_ended(shift, now))
    ]


@router.post("/shifts", status_code=201)
async def add_shift(house: House, body: ShiftIn) -> ShiftOut:
    """Have somebody on duty week by week."""
    await find_staff(house, body.staff)
    zone = body.zone or house.zone.key
    now = house.now()
    shift = Shift(
        role=body.role,
        practitioner=body.staff,
        weekdays=frozenset(map(WEEKDAYS.index, body.weekdays)),
        start=time.fromisoformat(body.start),
        end=time.fromisoformat(body.end),
        zone=zone,
        first=body.first or now.astimezone(ZoneInfo(zone)).date(),
        last=body.last,
    )
    _refuse_turned_days(shift)
    check = partial(refuse_shift, shift=shift)
    add = partial(house.duty.team.add_shift, shift, now=now, by=body.by.strip(), check=check)
    made = await asyncio.to_thread(add)
    return _shift_out(house, await rota_of(house), made)


@router.patch("/shifts/{number}")
async def change_shift(house: House, number: RecordNumber, body: ShiftPatch) -> ShiftOut:
    """Change a shift. It is changed as a whole: end it and add another one where the past is to stay on the rota."""
    before, now = await find_shift(house, number), house.now()
    refuse_ended_shift(before, now.astimezone(ZoneInfo(before.zone)).date())
    changes = {name: value for name in ("zone", "first") if (value := getattr(body, name)) is not None}
    after = replace(
        before,
        **changes,
        weekdays=frozenset(map(WEEKDAYS.index, body.weekdays)) if body.weekdays else before.weekdays,
        start=time.fromisoformat(body.start) if body.start else before.start,
        end=time.fromisoformat(body.end) if body.end else before.end,
        last=body.last if "last" in body.model_fields_set else before.last,
    )
    _refuse_turned_days(after)
    check = partial(refuse_shift, shift=after)
    await asyncio.to_thread(partial(house.duty.team.change_shift, after, now=now, by=body.by.strip(), check=check))
    return _shift_out(house, await rota_of(house), after)


@router.post("/shifts/{number}/end")
async def end_shift(house: House, number: RecordNumber, body: EndShiftIn) -> ShiftOut:
    """Have a shift begin for the last time."""
    shift, now = await find_shift(house, number), house.now()
    today = now.astimezone(ZoneInfo(shift.zone)).date()
    refuse_ended_shift(shift, today)
    last = body.last or today
    await asyncio.to_thread(partial(house.duty.team.end_shift, number, last, now=now, by=body.by.strip()))
    return _shift_out(house, await rota_of(house), replace(shift, last=last))


# Absences


@router.get("/absences")
async def list_absences(
    house: House,
    staff: Annotated[str | None, Query(description="Only of this person")] = None,
    over: Annotated[bool, Query(description="Those that are over as well")] = False,
) -> list[AbsenceOut]:
    """Absences in the order in which they were written down."""
    rota, now = await rota_of(house), house.now()
    return [
        _absence_out(house, rota, absence)
        for absence in rota.absences
        if staff in {None, absence.practitioner} and (over or not is_over(absence, now))
    ]


@router.post("/absences", status_code=201)
async def add_absence(house: House, body: AbsenceIn) -> AbsenceOut:
    """Somebody is away, and somebody stands in, or nobody."""
    one = await find_staff(house, body.staff)
    absence = Absence(practitioner=one.id, start=body.start, end=body.end, substitute=body.substitute)
    await _refuse_turned_moments(house, absence)
    check = partial(refuse_absence, absence=absence)
    add = partial(house.duty.team.add_absence, absence, now=house.now(), by=body.by.strip(), check=check)
    made = await asyncio.to_thread(add)
    return _absence_out(house, await rota_of(house), made)


@router.patch("/absences/{number}")
async def change_absence(house: House, number: RecordNumber, body: AbsencePatch) -> AbsenceOut:
    """Change an absence, or who stands in."""
    before, now = await find_absence(house, number), house.now()
    refuse_ended_absence(before, now)
    after = replace(
        before,
        start=body.start or before.start,
        end=body.end or before.end,
        substitute=body.substitute if "substitute" in body.model_fields_set else before.substitute,
    )
    await _refuse_turned_moments(house, after)
    check = partial(refuse_absence, absence=after)
    await asyncio.to_thread(partial(house.duty.team.change_absence, after, now=now, by=body.by.strip(), check=check))
    return _absence_out(house, await rota_of(house), after)


@router.post("/absences/{number}/end")
async def end_absence(house: House, number: RecordNumber, body: EndAbsenceIn) -> AbsenceOut:
    """Somebody is back."""
    absence, now = await find_absence(house, number), house.now()
    refuse_ended_absence(absence, now)
    end = max(absence.start, body.end or now)
    if end > absence.end:
        raise HTTPException(
            422,
            Sentence(
                "absence {number} ends before that anyway; change it where somebody stays away for longer",
                number=number,
            ),
        )
    await asyncio.to_thread(partial(house.duty.team.end_absence, number, end, now=now, by=body.by.strip()))
    return _absence_out(house, await rota_of(house), replace(absence, end=end))


# What they share


def untold_on(house: HouseView, rota: Rota, staff: str | None) -> SentenceOut | None:
    """That one of the staff cannot be told, and what to do; None where they can be, or it is nobody."""
    one = next((known for known in rota.staff if known.id == staff), None)
    said = one and untold(one, rota.staff, house.duty.escalation.channels(Audience.STAFF))
    return SentenceOut.of(said) if said else None


def _shift_out(house: HouseView, rota: Rota, shift: Shift) -> ShiftOut:
    return ShiftOut.of(shift, untold_on(house, rota, shift.practitioner))


def _absence_out(house: HouseView, rota: Rota, absence: Absence) -> AbsenceOut:
    zone = next(ZoneInfo(one.zone) for one in rota.staff if one.id == absence.practitioner)
    return AbsenceOut.of(absence, zone, untold_on(house, rota, absence.substitute))


async def find_shift(house: HouseView, number: int) -> Shift:
    """A shift, or an HTTP 404."""
    found = next((shift for shift in (await rota_of(house)).shifts if shift.id == number), None)
    if found is None:
        raise HTTPException(404, Sentence("there is no shift {number}", number=number))
    return found


async def find_absence(house: HouseView, number: int) -> Absence:
    """An absence, or an HTTP 404."""
    found = next((each for each in (await rota_of(house)).absences if each.id == number), None)
    if found is None:
        raise HTTPException(404, Sentence("there is no absence {number}", number=number))
    return found


async def rota_of(house: HouseView) -> Rota:
    """Who is on duty when."""
    return await asyncio.to_thread(house.duty.team.rota)


def is_ended(shift: Shift, now: datetime) -> bool:
    """Whether a shift does not begin any more, or never does."""
    today = now.astimezone(ZoneInfo(shift.zone)).date()
    return shift.last is not None and shift.last < max(shift.first, today)


def is_over(absence: Absence, now: datetime) -> bool:
    """Whether somebody is back, or never is away."""
    return absence.end <= max(absence.start, now)


async def outlooks(house: HouseView, rota: Rota, now: datetime) -> list[Outlook]:
    """How each role is manned from the begin of the clinic's day for 7 days."""
    start, end = outlook_span(house, now)
    roles = roles_watched(house.duty.escalation.ladders, rota)
    channels = house.duty.escalation.channels(Audience.STAFF)
    return await asyncio.to_thread(lambda: [outlook(rota, role, start, now, end, channels) for role in roles])


def outlook_span(house: HouseView, now: datetime) -> tuple[datetime, datetime]:
    """The days that are looked at, from midnight to midnight on the clinic's clock."""
    today = now.astimezone(house.zone).date()
    first, last = (datetime.combine(today + timedelta(days=days), time(), house.zone) for days in (0, OUTLOOK_DAYS))
    return first, last


def _refuse_turned_days(shift: Shift) -> None:
    if shift.last is not None and shift.last < shift.first:
        raise HTTPException(
            422,
            Sentence("it would end on {last}, before it begins on {first}", last=shift.last, first=shift.first),
        )


async def _refuse_turned_moments(house: HouseView, absence: Absence) -> None:
    if absence.end <= absence.start:
        raise HTTPException(422, Sentence("the absence ends before it begins; turn the two moments round"))
    if absence.substitute == absence.practitioner:
        raise HTTPException(422, Sentence("nobody stands in for themselves; choose somebody else, or nobody"))
    if absence.substitute is not None:
        await find_staff(house, absence.substitute)

"""The pages of the team: who is on duty and when nobody is, and forms for staff, shifts, absences and contacts.

The forms for the contacts of a patient, which stand on the patient's page, are taken here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Final, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo, available_timezones

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from alerts.alert import Audience, Text
from alerts.staffing import WEEKDAY_WORDS, Outlook, shift_words, untold
from alerts.team import Contact, Recipient, Role, Rota
from alerts.team_book import Ways
from gateway.api import Door, House
from gateway.contact_api import (
    MOST_CONTACTS,
    Address,
    By,
    ContactIn,
    QuietIn,
    TrialIn,
    contacts_of,
    find_staff,
    patient_person,
    staff_person,
    trials_of,
    try_contact,
    usable,
)
from gateway.language import Language, Sentence
from gateway.pages import _desk, fields_of, go, remember_name, take
from gateway.quality_words import ROLES
from gateway.team_api import (
    OUTLOOK_DAYS,
    WEEKDAYS,
    AbsenceIn,
    AbsencePatch,
    EndAbsenceIn,
    EndShiftIn,
    LanguageCode,
    RecordNumber,
    ShiftIn,
    ShiftPatch,
    StaffIn,
    StaffPatch,
    add_absence,
    add_shift,
    add_staff,
    change_absence,
    change_shift,
    change_staff,
    end_absence,
    end_shift,
    is_ended,
    is_over,
    outlook_span,
    outlooks,
    rota_of,
)
from gateway.view import HouseView

# Left and width in percent of the days that are drawn.
Bar = tuple[float, float]
_NOBODY: Final = ""

router = APIRouter(include_in_schema=False)


class ContactForm(ContactIn):
    """One more way to a person."""

    by: By


class ContactChange(Door):
    """What becomes of a contact."""

    channel: str
    address: Address
    do: Literal["try", "first", "remove"]
    by: By


class QuietForm(Door):
    """Quiet hours as a form has them: both, or neither."""

    start: str = ""
    end: str = ""
    language: LanguageCode | None = None
    by: By


# The pages


@router.get("/team")
async def team(request: Request, house: House) -> Response:
    """Who is on duty now and next, the coming days, the staff, and forms."""
    now, rota = house.now(), await rota_of(house)
    start, end = outlook_span(house, now)
    desk = _desk(request)
    return desk.page(
        request,
        "team.html",
        **_shown(house, rota, now),
        roles=[(each, _drawn(each, start, end)) for each in await outlooks(house, rota, now)],
        days=_days(start, end, desk.language(request)),
        now_at=_percent(now - start, end - start),
        shifts=[(shift, shift_words(shift)) for shift in rota.shifts if not is_ended(shift, now)],
        absences=[away for away in rota.absences if not is_over(away, now)],
        left=[one for one in rota.staff if not one.active],
    )


@router.get("/team/staff/{staff_id}")
async def one_of_staff(request: Request, house: House, staff_id: str) -> Response:
    """One of the staff: contacts, quiet hours, shifts, absences."""
    one, now, rota = await find_staff(house, staff_id), house.now(), await rota_of(house)
    mine = [shift for shift in rota.shifts if shift.practitioner == one.id and not is_ended(shift, now)]
    return _desk(request).page(
        request,
        "staff.html",
        **{**_shown(house, rota, now), "usual_role": min(one.roles, default="")},
        one=one,
        shifts=[(shift, shift_words(shift)) for shift in mine],
        absences=[away for away in rota.absences if away.practitioner == one.id and not is_over(away, now)],
        ways=await contacts_of(house, one.recipient()),
        trials=await trials_of(house, one.recipient()),
    )


def _shown(house: HouseView, rota: Rota, now: datetime) -> dict[str, Any]:
    """What both pages and their forms need."""
    return {
        "events": "/api/v1/events?type=health",  # with which the page is also looked at each minute
        "now": now,
        "staff": sorted((one for one in rota.staff if one.active), key=lambda one: (one.name, one.id)),
        "names": {one.id: one.name for one in rota.staff},
        "untold": _untold(house, rota, now),
        "role_words": ROLES,
        "weekdays": list(zip(WEEKDAYS, WEEKDAY_WORDS, strict=True)),
        "usual_role": Role.NURSE,
        "today": now.astimezone(house.zone).date(),
        "zones": sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")),
    }


def _untold(house: HouseView, rota: Rota, now: datetime) -> dict[str, Text]:
    """Who has a shift or stands in, and cannot be told: by id, and what to do."""
    needed = {shift.practitioner for shift in rota.shifts if not is_ended(shift, now)}
    needed |= {away.substitute for away in rota.absences if away.substitute and not is_over(away, now)}
    channels = house.duty.escalation.channels(Audience.STAFF)
    return {one.id: said for one in rota.staff if one.id in needed and (said := untold(one, rota.staff, channels))}


def _drawn(found: Outlook, start: datetime, end: datetime) -> list[tuple[str, list[Bar]]]:
    """A row of bars for each person of a role, by name, and one for when nobody is there."""
    rows: dict[tuple[str, str], list[Bar]] = {}
    for each in found.watches:
        one = each.practitioner
        rows.setdefault((one.name, one.id), []).append(_bar(each.start, each.end, start, end))
    empty = [_bar(first, last, start, end) for first, last in found.gaps]
    return [*((name, bars) for (name, _), bars in sorted(rows.items())), *([(_NOBODY, empty)] if empty else [])]


def _days(start: datetime, end: datetime, language: Language) -> list[tuple[float, float, str]]:
    """The days that are drawn, from midnight to midnight."""
    first = start.date()
    days = [first + timedelta(days=number) for number in range(OUTLOOK_DAYS + 1)]
    edges = [datetime.combine(day, start.time(), start.tzinfo) for day in days]
    return [
        (*_bar(edge, later, start, end), f"{language.text(WEEKDAY_WORDS[day.weekday()])} {day.day}")
        for day, (edge, later) in zip(days, pairwise(edges), strict=False)
    ]


def _bar(first: datetime, last: datetime, start: datetime, end: datetime) -> Bar:
    span = _elapsed(start, end)
    return _percent(_elapsed(start, first), span), _percent(_elapsed(first, last), span)


def _elapsed(start: datetime, end: datetime) -> timedelta:
    """The time that passes, also where the clock is set between two moments of one zone."""
    return timedelta(seconds=end.timestamp() - start.timestamp())


def _percent(part: timedelta, whole: timedelta) -> float:
    return round(100 * (part / whole), 3)


# Staff, shifts and absences


@router.post("/team")
async def register(request: Request, house: House) -> Response:
    """The form for one more; then the contacts are asked for."""
    fields = await fields_of(request)
    body = take(StaffIn, {**fields, "roles": _ticked(fields, "role-", list(Role))})
    made = await add_staff(house, body)
    return remember_name(go(request, f"{_page_of(made.id)}#contacts"), request, body.by)


@router.post("/team/staff/{staff_id}")
async def change(request: Request, house: House, staff_id: str) -> Response:
    """The form that changes one of the staff."""
    fields = await fields_of(request)
    known = {name: text for name, text in fields.items() if name != "active"}  # that has a button of its own
    body = take(StaffPatch, {**known, "roles": _ticked(fields, "role-", list(Role))})
    await change_staff(house, staff_id, body)
    return remember_name(go(request, _page_of(staff_id)), request, body.by)


@router.post("/team/staff/{staff_id}/active")
async def leave(request: Request, house: House, staff_id: str) -> Response:
    """The button of who leaves, and of who comes back."""
    fields = await fields_of(request)
    body = take(StaffPatch, {name: fields[name] for name in ("active", "by") if name in fields})
    await change_staff(house, staff_id, body)
    return remember_name(go(request, _page_of(staff_id)), request, body.by)


@router.post("/team/shifts")
async def new_shift(request: Request, house: House) -> Response:
    """The form for a shift."""
    fields = await fields_of(request)
    body = take(ShiftIn, {**fields, "weekdays": _ticked(fields, "day-", WEEKDAYS)})
    await add_shift(house, body)
    return remember_name(go(request, "/team"), request, body.by)


@router.post("/team/shifts/{number}")
async def correct_shift(request: Request, house: House, number: RecordNumber) -> Response:
    """The form that corrects a shift; without a last day it goes on and on."""
    fields = await fields_of(request)
    body = take(ShiftPatch, {"to": None, **fields, "weekdays": _ticked(fields, "day-", WEEKDAYS)})
    corrected = await change_shift(house, number, body)
    return remember_name(go(request, f"{_page_of(corrected.staff)}#shifts"), request, body.by)


@router.post("/team/shifts/{number}/end")
async def no_more_shift(request: Request, house: House, number: RecordNumber) -> Response:
    """The form that ends a shift."""
    body = take(EndShiftIn, await fields_of(request))
    ended = await end_shift(house, number, body)
    return remember_name(go(request, f"{_page_of(ended.staff)}#shifts"), request, body.by)


@router.post("/team/absences")
async def new_absence(request: Request, house: House) -> Response:
    """The form for an absence; its moments are on the clinic's clock."""
    body = take(AbsenceIn, _on_clocks(await fields_of(request), house.zone))
    await add_absence(house, body)
    return remember_name(go(request, "/team"), request, body.by)


@router.post("/team/absences/{number}")
async def correct_absence(request: Request, house: House, number: RecordNumber) -> Response:
    """The form that corrects an absence, or who stands in; nobody does where nobody is chosen."""
    body = take(AbsencePatch, {"substitute": None, **_on_clocks(await fields_of(request), house.zone)})
    corrected = await change_absence(house, number, body)
    return remember_name(go(request, f"{_page_of(corrected.staff)}#absences"), request, body.by)


@router.post("/team/absences/{number}/end")
async def is_back(request: Request, house: House, number: RecordNumber) -> Response:
    """The button of who is back."""
    body = take(EndAbsenceIn, await fields_of(request))
    ended = await end_absence(house, number, body)
    return remember_name(go(request, f"{_page_of(ended.staff)}#absences"), request, body.by)


def _ticked(fields: Mapping[str, str], prefix: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if f"{prefix}{name}" in fields]


def _on_clocks(fields: Mapping[str, str], zone: ZoneInfo) -> dict[str, str]:
    of_clock = {"start", "end"}
    return {name: _on_clock(text, zone) if name in of_clock else text for name, text in fields.items()}


def _on_clock(text: str, zone: ZoneInfo) -> str:
    """What a field for a local time holds, as a moment; what is none is told with the other fields."""
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if local.tzinfo else local.replace(tzinfo=zone).isoformat()


def _page_of(staff_id: str) -> str:
    return f"/team/staff/{quote(staff_id)}"


# Contacts


@router.post("/team/staff/{staff_id}/contacts")
async def add_staff_contact(request: Request, house: House, staff_id: str) -> Response:
    """The form for one more way to one of the staff."""
    return await _add_contact(request, house, await staff_person(house, staff_id), _page_of(staff_id))


@router.post("/patients/{patient_id}/contacts")
async def add_patient_contact(request: Request, house: House, patient_id: str) -> Response:
    """The form for one more way to a patient."""
    return await _add_contact(request, house, await patient_person(house, patient_id), _patients_page(patient_id))


@router.post("/team/staff/{staff_id}/contacts/change")
async def change_staff_contact(request: Request, house: House, staff_id: str) -> Response:
    """The buttons beside a contact of one of the staff."""
    return await _change_contact(request, house, await staff_person(house, staff_id), _page_of(staff_id))


@router.post("/patients/{patient_id}/contacts/change")
async def change_patient_contact(request: Request, house: House, patient_id: str) -> Response:
    """The buttons beside a contact of a patient."""
    return await _change_contact(request, house, await patient_person(house, patient_id), _patients_page(patient_id))


@router.post("/team/staff/{staff_id}/quiet")
async def set_staff_quiet(request: Request, house: House, staff_id: str) -> Response:
    """The form for the quiet hours of one of the staff."""
    return await _set_quiet(request, house, await staff_person(house, staff_id), f"{_page_of(staff_id)}#quiet")


@router.post("/patients/{patient_id}/quiet")
async def set_patient_quiet(request: Request, house: House, patient_id: str) -> Response:
    """The form for the quiet hours and the language of a patient."""
    person = await patient_person(house, patient_id)
    answer = await _set_quiet(request, house, person, f"{_patients_page(patient_id)}#contacts")
    body = take(QuietForm, await fields_of(request))
    if body.language and body.language != person.language:
        spoken = body.language
        await house.change_patient(patient_id, lambda known: replace(known, language=spoken), by=body.by.strip())
    return answer


async def _add_contact(request: Request, house: HouseView, person: Recipient, page: str) -> Response:
    body = take(ContactForm, await fields_of(request))

    def added(ways: Ways) -> Ways:
        contacts, quiet = ways
        if len(contacts) >= MOST_CONTACTS:
            raise HTTPException(409, Sentence("{n} contacts stand there already; remove one first", n=MOST_CONTACTS))
        return usable(house, person.audience, [body], contacts), quiet

    change = partial(house.duty.team.change_contacts, person.owner, added, now=house.now(), by=body.by.strip())
    await asyncio.to_thread(change)
    return remember_name(go(request, f"{page}#contacts"), request, body.by)


async def _change_contact(request: Request, house: HouseView, person: Recipient, page: str) -> Response:
    body = take(ContactChange, await fields_of(request))
    this = Contact(channel=body.channel, address=body.address)

    def changed(ways: Ways) -> Ways:
        contacts, quiet = ways
        if this not in contacts:
            raise HTTPException(409, Sentence("there is no such contact any more; look at the page again"))
        rest = tuple(each for each in contacts if each != this)
        return ((this, *rest) if body.do == "first" else rest), quiet

    if body.do == "try":
        await try_contact(house, person, TrialIn(**body.model_dump(exclude={"do"})))
    else:
        change = partial(house.duty.team.change_contacts, person.owner, changed, now=house.now(), by=body.by.strip())
        await asyncio.to_thread(change)
    return remember_name(go(request, f"{page}#contacts"), request, body.by)


async def _set_quiet(request: Request, house: HouseView, person: Recipient, page: str) -> Response:
    body = take(QuietForm, await fields_of(request))
    hours = {name: text for name, text in (("start", body.start), ("end", body.end)) if text}
    quiet = take(QuietIn, hours).quiet() if hours else None
    change = partial(
        house.duty.team.change_contacts,
        person.owner,
        lambda ways: (ways[0], quiet),
        now=house.now(),
        by=body.by.strip(),
    )
    await asyncio.to_thread(change)
    return remember_name(go(request, page), request, body.by)


def _patients_page(patient_id: str) -> str:
    return f"/patients/{quote(patient_id)}"

"""The pages of follow-ups: the list of what is to be done next, and one follow-up with all that can be done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request
from pydantic import Field
from starlette.responses import Response

from alerts.alert import Audience, IllegalAct, Outcome, Text
from alerts.care_plan import CONDITION_WORDS, Condition
from alerts.follow_up import CHANNEL_WORDS, PUT_OFF, Attempt, FollowUp, State, channel_word
from alerts.invitation import Appointment
from alerts.monitoring import UNUSUAL
from alerts.survey import MATERIALS, QUESTIONS, materials_for, refusal
from alerts.team import TELEPHONE, Practitioner, Role
from alerts.team import patient as reached
from gateway import care_api
from gateway.api import Door, House, Name, find_patient
from gateway.card import cards, headlines
from gateway.care_api import (
    AnswerIn,
    AppointmentIn,
    AttemptIn,
    ClaimIn,
    CloseFollowUpIn,
    GiveIn,
    HandOverIn,
    KeptIn,
    MailAddress,
    MoveIn,
    OpenIn,
    PostponeIn,
    find_follow_up,
    untold_holder,
)
from gateway.care_words import RESULTS, WHYS, symptoms_told, told
from gateway.contact_api import numbers_of, patient_person
from gateway.language import Language, Sentence
from gateway.pages import _desk, closing_of, fields_of, go, name_of, on_clock, remember_name, take
from gateway.people import Patient
from gateway.quality_api import CareCorrectionIn, CareTimeIn, CareTimeNumber, correct_care_time, note_care_time
from gateway.quality_words import ROLES
from gateway.view import HouseView
from gateway.words import outcome_word
from ingest.vital import Vital

_ON_A_PAGE: Final = 50
_OF_VITAL: Final = {Vital.GLUCOSE: Condition.DIABETES, Vital.BLOOD_PRESSURE: Condition.HYPERTENSION}
_OF_PROBLEM: Final = {
    "glucose": Condition.DIABETES,
    "ketone": Condition.DIABETES,
    "blood-pressure": Condition.HYPERTENSION,
}
Whose = Literal["mine", "all"] | Role

router = APIRouter(include_in_schema=False)


class OpenForm(OpenIn):
    """A follow-up that staff open. person: who has it at once."""

    to: Name | None = Field(default=None, alias="person")


class HandOverForm(HandOverIn):
    """Given to a team, or to a person."""

    to: Name | None = Field(default=None, alias="person")


class CancelForm(Door):
    """Who calls an appointment off."""

    by: Name


class AnswerForm(AnswerIn):
    """What a patient answered by telephone, and who writes it down."""

    by: Name


class InvitationForm(Door):
    """Between whom an appointment is."""

    organizer: MailAddress
    attendee: MailAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the list. what: the sentence of the alert's card, else why it was opened. last: the last try.

    numbers: by which the patient is telephoned, with their links. doubts: the tasks to put right what was found wrong
    of the patient's contacts.
    """

    follow_up: FollowUp
    patient: Patient
    zone: ZoneInfo
    what: Text
    last: Attempt | None
    numbers: Mapping[str, str]
    doubts: Sequence[FollowUp]


@router.get("/follow-ups")
async def worklist(request: Request, house: House, of: Whose | None = None, after: str | None = None) -> Response:
    """The open follow-ups by when they are to be acted on: of the signed-in person, of a role, or all of them."""
    if after is not None:
        await find_follow_up(house, after)
    me, now = name_of(request), house.now()
    whose = of or ("mine" if me else "all")
    person, role = me if whose == "mine" else None, whose if isinstance(whose, Role) else None
    staff, found, rows = await asyncio.to_thread(_listed, house, person, role, after)
    mine = next((one.roles for one in staff if one.name == me), None)
    return _desk(request).page(
        request,
        "follow_ups.html",
        events="/api/v1/events?type=follow-up",
        now=now,
        whose=whose,
        sections=_sections(rows, now, house.zone),
        results=RESULTS,
        whys=WHYS,
        channel_word=channel_word,
        choices=[each for each in Role if mine is None or each in mine],
        role_names=ROLES,
        first=after is None,
        further=urlencode({"of": whose, "after": found[-1].id}) if len(found) == _ON_A_PAGE else None,
    )


def _listed(
    house: HouseView, person: str | None, role: Role | None, after: str | None
) -> tuple[list[Practitioner], list[FollowUp], list[Row]]:
    found = house.follow_ups.due(now=house.now(), person=person, role=role, limit=_ON_A_PAGE, after=after)
    people = {patient.id: patient for patient in house.people.some({each.patient for each in found})}
    said = headlines(house, {each.alert for each in found if each.alert})
    tries = house.follow_ups.last_attempts(each.id for each in found)
    ways = house.duty.team.contacts_of({reached(each.patient) for each in found})
    doubts = house.follow_ups.doubts({each.patient for each in found})
    rows = [
        Row(
            follow_up=each,
            patient=people[each.patient],
            zone=ZoneInfo(people[each.patient].zone),
            what=said.get(each.alert or "", each.because),
            last=tries.get(each.id),
            numbers=numbers_of(ways.get(reached(each.patient), ())),
            doubts=doubts.get(each.patient, ()),
        )
        for each in found
    ]
    return house.duty.team.staff(), found, rows


def _sections(rows: Iterable[Row], now: datetime, zone: ZoneInfo) -> dict[str, list[Row]]:
    """What is overdue, due today (on the clinic's clock), and later."""
    today = now.astimezone(zone).date()
    sections: dict[str, list[Row]] = {"overdue": [], "today": [], "later": []}
    for row in rows:
        due = row.follow_up.due_at
        name = "overdue" if due < now else "today" if due.astimezone(zone).date() <= today else "later"
        sections[name].append(row)
    return {name: found for name, found in sections.items() if found}


@router.get("/follow-ups/{follow_up_id}")
async def one_follow_up(request: Request, house: House, follow_up_id: str) -> Response:
    """One follow-up: what happened, what was done, and what can be done next."""
    follow_up = await find_follow_up(house, follow_up_id)
    patient = await find_patient(house, follow_up.patient)
    desk = _desk(request)
    now, zone, language = house.now(), ZoneInfo(patient.zone), desk.language(request)
    person = await patient_person(house, patient.id)
    history, appointments, given, minutes, alert, staff, ways, survey, doubts, has = await asyncio.to_thread(
        lambda: (
            house.follow_ups.history(follow_up.id),
            house.follow_ups.appointments(follow_up.id),
            [each for each in house.follow_ups.given(patient.id) if each.follow_up == follow_up.id],
            house.quality.care_in(follow_up, now),
            house.book.alert(follow_up.alert) if follow_up.alert else None,
            [one for one in house.duty.team.staff() if one.active],
            house.duty.team.contacts(person.owner)[0],
            house.follow_ups.survey_after(follow_up.id),
            house.follow_ups.doubts([patient.id]).get(patient.id, ()),
            _conditions(house, follow_up),
        )
    )
    stands = any(each.follow_up == follow_up.id and not each.cancelled for each in appointments)
    most = PUT_OFF.get(follow_up.priority)
    is_emergency = follow_up.emergency is not None
    return desk.page(
        request,
        "follow_up.html",
        events=f"/api/v1/events?type=follow-up&type=alert&type=reading&patient={quote(patient.id)}",
        now=now,
        follow_up=follow_up,
        patient=patient,
        zone=zone,
        alert=alert,
        cards=await cards(house, [alert] if alert else []),
        told=partial(told, zone=zone, language=language),
        symptoms_told=partial(symptoms_told, language=language),
        history=history,
        untold=untold_holder(house, staff, follow_up.assigned_to),
        is_free=follow_up.state is State.OPEN,
        possible=[each for each in follow_up.possible if each is not Outcome.APPOINTMENT or stands],
        until=None if most is None or is_emergency else now + most,
        whys=WHYS,
        results=RESULTS,
        channels=CHANNEL_WORDS,
        role_names=ROLES,
        staff=staff,
        appointments=appointments,
        is_told=any(each.channel in _usable(house) for each in ways),
        materials=MATERIALS,
        survey=survey,
        is_asked=survey is not None and survey.sent_at is not None and refusal(survey, now) is None,
        questions=QUESTIONS,
        to_give=materials_for(has),
        conditions=CONDITION_WORDS,
        can_be_sent=house.duty.escalation.can_be_sent(replace(person, contacts=ways)),
        given=given,
        minutes=minutes,
        unusual=UNUSUAL,
        address=next((each.address for each in ways if "@" in each.address), ""),
        numbers=numbers_of(ways),
        doubts=doubts,
    )


def _usable(house: HouseView) -> set[str]:
    """The channels by which a patient can be told; a telephone is dialled by a person."""
    return {*house.duty.escalation.channels(Audience.PATIENT), TELEPHONE}


def _conditions(house: HouseView, follow_up: FollowUp) -> set[Condition]:
    """What the patient has, by what is measured or followed up, and by what this follow-up is about. Blocks."""
    plans = house.people.plans([follow_up.patient]).get(follow_up.patient, [])
    measured = {_OF_VITAL[plan.vital] for plan in plans if plan.vital in _OF_VITAL and plan.ended_at is None}
    followed = {plan.condition for plan in house.follow_ups.plans(follow_up.patient)}
    about = {has for problem, has in _OF_PROBLEM.items() if (follow_up.problem or "").startswith(problem)}
    return measured | followed | about


@router.post("/patients/{patient_id}/follow-ups")
async def open_follow_up(request: Request, house: House, patient_id: str) -> Response:
    """The form by which staff open a follow-up."""
    patient = await find_patient(house, patient_id)
    body = take(OpenForm, {**await fields_of(request), "patient": patient.id})
    made = await care_api.open_follow_up(house, body)
    return remember_name(go(request, f"/follow-ups/{quote(made.id)}"), request, body.by)


async def _note_minutes(house: HouseView, follow_up_id: str, body: CareTimeIn) -> object:
    follow_up = await find_follow_up(house, follow_up_id)
    return await note_care_time(house, follow_up.patient, body.model_copy(update={"follow_up": follow_up.id}))


_Form = ClaimIn | AttemptIn | HandOverIn | PostponeIn | AppointmentIn | GiveIn | CareTimeIn | CloseFollowUpIn
# By the last part of the form's address.
_ACTS: Final[Mapping[str, tuple[type[_Form], Callable[[HouseView, str, Any], Awaitable[object]]]]] = {
    "claim": (ClaimIn, care_api.claim),
    "attempts": (AttemptIn, care_api.note_attempt),
    "hand-over": (HandOverForm, care_api.hand_over),
    "postpone": (PostponeIn, care_api.postpone),
    "appointments": (AppointmentIn, care_api.make_appointment),
    "education": (GiveIn, care_api.give_education),
    "care-time": (CareTimeIn, _note_minutes),
    "close": (CloseFollowUpIn, care_api.close),
}
Act = Literal["claim", "attempts", "hand-over", "postpone", "appointments", "education", "care-time", "close"]


@router.post("/follow-ups/{follow_up_id}/answers")
async def note_answers(request: Request, house: House, follow_up_id: str) -> Response:
    """The form that notes what the patient answered by telephone to the questions after a follow-up."""
    follow_up = await find_follow_up(house, follow_up_id)
    body = take(AnswerForm, await fields_of(request))
    survey = await asyncio.to_thread(house.follow_ups.survey_after, follow_up.id)
    if survey is None:
        raise HTTPException(404, Sentence("after this follow-up the patient is asked nothing"))
    await care_api.answer(house, survey.id, body.said, body.by.strip())
    return remember_name(go(request, f"/follow-ups/{quote(follow_up.id)}"), request, body.by)


@router.post("/follow-ups/{follow_up_id}/{act}")
async def do(request: Request, house: House, follow_up_id: str, act: Act) -> Response:
    """The forms on the page of a follow-up; local times in them are on the patient's clock."""
    follow_up = await find_follow_up(house, follow_up_id)
    patient = await find_patient(house, follow_up.patient)
    form, done = _ACTS[act]
    fields: Mapping[str, str | None] = await fields_of(request)
    for name in ("until", "start"):
        fields = on_clock(fields, name, ZoneInfo(patient.zone))
    body = take(form, closing_of(fields))
    try:
        await done(house, follow_up.id, body)
    except IllegalAct:
        language = _desk(request).language(request)
        await _say_who_closed_it(house, follow_up.id, ZoneInfo(patient.zone), language)
        raise
    return remember_name(go(request, f"/follow-ups/{quote(follow_up.id)}"), request, body.by)


async def _say_who_closed_it(house: HouseView, follow_up_id: str, zone: ZoneInfo, language: Language) -> None:
    """An HTTP 409 on the clock of the page where it is closed."""
    follow_up = await find_follow_up(house, follow_up_id)
    if follow_up.closed_at is None or follow_up.outcome is None:
        return
    said = Sentence(
        "{name} has closed this follow-up already, on {moment} ({outcome}: {note}). Nothing can be done with it any "
        "more; open a new one on the patient's page.",
        name=follow_up.closed_by,
        moment=language.moment(follow_up.closed_at, zone),
        outcome=outcome_word(language, follow_up.outcome, follow_up.reason),
        note=follow_up.closing_note,
    )
    raise HTTPException(409, said)


@router.post("/follow-ups/{follow_up_id}/care-time/{number}/correct")
async def correct_minutes(request: Request, house: House, follow_up_id: str, number: CareTimeNumber) -> Response:
    """The form that corrects minutes of care."""
    follow_up = await find_follow_up(house, follow_up_id)
    body = take(CareCorrectionIn, {"live": "false", **await fields_of(request)})
    await correct_care_time(house, follow_up.patient, number, body)
    return remember_name(go(request, f"/follow-ups/{quote(follow_up.id)}"), request, body.by)


@router.post("/follow-ups/{follow_up_id}/appointments/{appointment_id}/cancel")
async def cancel(request: Request, house: House, follow_up_id: str, appointment_id: str) -> Response:
    """The form that calls an appointment off."""
    await _find_appointment(house, follow_up_id, appointment_id)
    body = take(CancelForm, await fields_of(request))
    await care_api.cancel_appointment(house, appointment_id, body.by)
    return remember_name(go(request, f"/follow-ups/{quote(follow_up_id)}"), request, body.by)


@router.post("/follow-ups/{follow_up_id}/appointments/{appointment_id}/move")
async def move(request: Request, house: House, follow_up_id: str, appointment_id: str) -> Response:
    """The form that moves an appointment, with its place as it is to be: emptied, there is none.

    So with whom it is: emptied, it is with who made it.
    """
    appointment = await _find_appointment(house, follow_up_id, appointment_id)
    patient = await find_patient(house, appointment.patient)
    fields = {"place": "", "whom": "", **await fields_of(request)}
    body = take(MoveIn, on_clock(fields, "start", ZoneInfo(patient.zone)))
    await care_api.move_appointment(house, appointment_id, body)
    return remember_name(go(request, f"/follow-ups/{quote(follow_up_id)}"), request, body.by)


@router.post("/follow-ups/{follow_up_id}/appointments/{appointment_id}/kept")
async def kept(request: Request, house: House, follow_up_id: str, appointment_id: str) -> Response:
    """The form that notes whether an appointment was kept."""
    await _find_appointment(house, follow_up_id, appointment_id)
    body = take(KeptIn, await fields_of(request))
    await care_api.note_kept(house, appointment_id, body)
    return remember_name(go(request, f"/follow-ups/{quote(follow_up_id)}"), request, body.by)


@router.post("/follow-ups/{follow_up_id}/appointments/{appointment_id}/invitation")
async def download(request: Request, house: House, follow_up_id: str, appointment_id: str) -> Response:
    """The form that gives an appointment, or its cancelling, as a file for calendars."""
    await _find_appointment(house, follow_up_id, appointment_id)
    body = take(InvitationForm, await fields_of(request))
    answer = await care_api.get_invitation(house, appointment_id, body.organizer, body.attendee)
    answer.headers["Content-Disposition"] = 'attachment; filename="appointment.ics"'
    return answer


async def _find_appointment(house: HouseView, follow_up_id: str, appointment_id: str) -> Appointment:
    """An HTTP 404 where the follow-up has no such appointment."""
    for made in await asyncio.to_thread(house.follow_ups.appointments, follow_up_id):
        if made.id == appointment_id:
            return made
    raise HTTPException(404, Sentence("no appointment has the id {id}", id=appointment_id))

"""The API of what is done about patients: follow-ups, plans of care, appointments, surveys, things to read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from alerts.alert import Audience, IllegalAct, Outcome, Priority, Reason, Symptom, Text
from alerts.care_plan import CarePlan, Condition, Control, planned
from alerts.follow_up import (
    CHANNEL_WORDS,
    Attempt,
    Claim,
    Close,
    Deed,
    Fact,
    FollowUp,
    HandOver,
    Open,
    Postpone,
    Result,
    State,
    What,
    Why,
    digest,
    has_written,
    joined,
    opened,
    refuse_long_past,
)
from alerts.follow_up_book import Given
from alerts.invitation import MEDIA_TYPE, Appointment, cancelled, invitation, moved, noted, refuse_past
from alerts.messages import Doubts, please_call_message
from alerts.monitoring import LIVE
from alerts.staffing import holder, refuse_unfilled, unfilled, untold
from alerts.survey import LONGEST_TEXT, MATERIALS, Answer, Material, Survey
from alerts.team import Practitioner, Recipient, Role
from gateway.api import (
    PAGE,
    Door,
    House,
    Limit,
    Moment,
    Name,
    PriorityName,
    Problem,
    ReasonIn,
    SentenceOut,
    SymptomsIn,
    find_patient,
    who_acts,
)
from gateway.api import priority_name as _priority_name
from gateway.contact_api import channels_for, patient_person
from gateway.language import Sentence
from gateway.own_limits import care_of
from gateway.people import Patient
from gateway.view import HouseView

_JOINED: Final = frozenset({Why.ALERT, Why.PATIENT})  # follow-ups at which the patient is spoken with anyhow
_BECAUSE: Final[JsonDict] = {
    "en": "Glucose 2.8 mmol/L at 02:10, below 3.0 mmol/L for 15 min (Battelino 2019, level 2)",
    "zh": "02:10 血糖 2.8 mmol/L，低于 3.0 mmol/L 已 15 分钟（Battelino 2019 共识 2 级）",
}
_FOLLOW_UP: Final[JsonDict] = {
    "id": "f-0f3a7c1b9d5e2468",
    "patient": "p-017",
    "zone": "Asia/Shanghai",
    "state": "in-progress",
    "overdue": False,
    "why": "alert",
    "because": _BECAUSE,
    "priority": "high",
    "problem": "glucose-low",
    "alert": "a-5b1c0d9e8f7a6b5c",
    "programme": None,
    "opened_at": "2026-03-03T02:25:00+08:00",
    "opened_by": "Dr Li",
    "role": "nurse",
    "assigned_to": "Dr Li",
    "due_at": "2026-03-03T02:42:00+08:00",
    "rule": {"en": "Not reached: try again in 15 min.", "zh": "未联系到：请在 15 分钟后再试。"},
    "asks_symptoms": False,
    "attempts": 1,
    "unanswered": 1,
    "reached_at": None,
    "declined_at": None,
    "symptoms": None,
    "closed_at": None,
    "closed_by": None,
    "outcome": None,
    "reason": None,
    "closing_note": None,
}
_PRIORITIES: Final[Mapping[str, Priority]] = {"low": Priority.LOW, "medium": Priority.MEDIUM, "high": Priority.HIGH}
_LONGEST_S: Final = 2000

Note = Annotated[str, Field(min_length=1, max_length=_LONGEST_S, pattern=r"\S")]
FreeNote = Annotated[str, Field(max_length=_LONGEST_S)]
MailAddress = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^\s@:]+@[^\s@:]+$")]
WhichDue = Literal["all", "overdue", "today"]


def _known_material(name: str) -> str:
    if name not in MATERIALS:
        known = ", ".join(MATERIALS)
        raise ValueError(
            Sentence("there is nothing to read called {name!r}; there is {known}", name=name, known=known)
        )
    return name


class FollowUpOut(BaseModel):
    """What is done about a patient; moments on the patient's clock.

    due_at: when it is to be acted on, and rule why then. attempts: tries so far; unanswered: those in a row that
    reached nobody.
    """

    id: str
    patient: str
    zone: str
    state: State
    overdue: bool
    why: Why
    because: SentenceOut
    priority: PriorityName
    problem: str | None
    alert: str | None
    programme: str | None
    opened_at: datetime
    opened_by: str | None
    role: Role
    assigned_to: str | None
    due_at: datetime
    rule: SentenceOut
    asks_symptoms: bool
    attempts: int
    unanswered: int
    reached_at: datetime | None
    declined_at: datetime | None
    symptoms: list[Symptom] | None
    closed_at: datetime | None
    closed_by: str | None
    outcome: Outcome | None
    reason: Reason | None
    closing_note: str | None

    model_config = ConfigDict(json_schema_extra={"examples": [_FOLLOW_UP]})

    @classmethod
    def of(cls, follow_up: FollowUp, zone: ZoneInfo, now: datetime) -> FollowUpOut:
        """The follow-up on the patient's clock."""
        plain = ("id", "patient", "why", "problem", "alert", "programme", "opened_by", "role", "assigned_to")
        counted = ("attempts", "unanswered", "asks_symptoms", "state")
        ended = ("closed_by", "outcome", "reason", "closing_note")
        moments = ("opened_at", "due_at", "reached_at", "declined_at", "closed_at")
        return cls(
            **{name: getattr(follow_up, name) for name in (*plain, *counted, *ended)},
            **{name: _on_clock(getattr(follow_up, name), zone) for name in moments},
            zone=zone.key,
            overdue=follow_up.is_overdue(now),
            because=SentenceOut.of(follow_up.because),
            priority=_priority_name(follow_up.priority),
            rule=SentenceOut.of(follow_up.rule),
            symptoms=_sorted(follow_up.symptoms),
        )


class AssignedOut(FollowUpOut):
    """A follow-up as it was given. warning: that who has it now cannot be told, and what to do; null: can be."""

    warning: SentenceOut | None

    model_config = ConfigDict(json_schema_extra={"examples": [{**_FOLLOW_UP, "warning": None}]})


class CareFactOut(BaseModel):
    """One dated fact of a follow-up, and what was true after it. by is null for what the house did itself."""

    at: datetime
    what: What
    by: str | None
    role: Role
    assigned_to: str | None
    due_at: datetime
    rule: SentenceOut
    note: str
    channel: str | None
    result: Result | None
    outcome: Outcome | None
    reason: Reason | None
    symptoms: list[Symptom] | None

    @classmethod
    def of(cls, fact: Fact, zone: ZoneInfo) -> CareFactOut:
        """The fact on the patient's clock."""
        plain = ("what", "by", "role", "assigned_to", "note", "channel", "result", "outcome", "reason")
        return cls(
            **{name: getattr(fact, name) for name in plain},
            at=fact.at.astimezone(zone),
            due_at=fact.due_at.astimezone(zone),
            rule=SentenceOut.of(fact.rule),
            symptoms=_sorted(fact.symptoms),
        )


class AppointmentOut(BaseModel):
    """An appointment, on the patient's clock. whom: with whom it is. sequence: how often it was changed.

    kept: whether the patient came; null: nobody has noted it.
    """

    id: str
    follow_up: str
    patient: str
    start: datetime
    minutes: int
    place: str
    whom: str
    made_by: str
    sequence: int
    cancelled: bool
    kept: bool | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "m-1c2d3e4f5a6b7c8d",
                    "follow_up": "f-0f3a7c1b9d5e2468",
                    "patient": "p-017",
                    "start": "2026-03-10T09:30:00+08:00",
                    "minutes": 20,
                    "place": "Clinic, room 3",
                    "whom": "Dr Li",
                    "made_by": "Nurse Chen",
                    "sequence": 0,
                    "cancelled": False,
                    "kept": None,
                }
            ]
        }
    )

    @classmethod
    def of(cls, appointment: Appointment, zone: ZoneInfo) -> AppointmentOut:
        """The appointment on the patient's clock."""
        plain = ("id", "follow_up", "patient", "place", "made_by", "sequence", "cancelled", "kept")
        return cls(
            **{name: getattr(appointment, name) for name in plain},
            start=appointment.start.astimezone(zone),
            minutes=round(appointment.length.total_seconds() / 60),
            whom=appointment.with_whom,
        )


class FollowUpDetail(BaseModel):
    """A follow-up with all that is written down about it, oldest first."""

    follow_up: FollowUpOut
    history: list[CareFactOut]
    appointments: list[AppointmentOut]


class OpenIn(Door):
    """Have a patient followed up: staff wants it, or the patient has asked to be called."""

    patient: str
    why: Literal[Why.STAFF, Why.PATIENT] = Why.STAFF
    because: Note
    role: Role
    priority: PriorityName = "low"
    due_at: Moment | None = None
    to: Name | None = Field(default=None, description="Who has it at once")
    by: Name

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patient": "p-017",
                    "why": "patient",
                    "because": "Asked to be called about the new tablets",
                    "role": "nurse",
                    "priority": "medium",
                    "by": "Reception",
                }
            ]
        }
    )


class ClaimIn(Door):
    """A named person takes it."""

    by: Name
    note: FreeNote = ""

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Nurse Chen"}]})


class HandOverIn(Door):
    """Given to a role, or to a person, with what they have to know."""

    by: Name
    role: Role | None = None
    to: Name | None = None
    note: Note

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "by": "Nurse Chen",
                    "role": "dietitian",
                    "note": "Skips supper after the evening tablets; wants advice",
                }
            ]
        }
    )


class AttemptIn(Door):
    """A try to reach the patient."""

    by: Name
    channel: str = Field(min_length=1, max_length=64, pattern=r"\S", examples=["telephone"])
    result: Result
    note: FreeNote = ""
    symptoms: SymptomsIn = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"by": "Nurse Chen", "channel": "telephone", "result": "no-answer"},
                {
                    "by": "Nurse Chen",
                    "channel": "telephone",
                    "result": "reached",
                    "symptoms": [],
                    "note": "Feels well",
                },
            ]
        }
    )


class PostponeIn(Door):
    """Put off until a moment."""

    by: Name
    until: Moment
    note: Note

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"by": "Nurse Chen", "until": "2026-03-05T09:00:00+08:00", "note": "Travels until then"}]
        }
    )


class CloseFollowUpIn(Door):
    """The end, with an outcome; of an alert's follow-up also that of the alert. mended, false-alarm: of none."""

    by: Name
    outcome: Outcome
    reason: ReasonIn = None
    note: Note
    symptoms: SymptomsIn = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"by": "Nurse Chen", "outcome": "advice", "note": "Will eat before the evening walk"}]
        }
    )


class AppointmentIn(Door):
    """An appointment in a follow-up; the patient is told of it. whom: with whom it is; empty: with who makes it."""

    by: Name
    start: Moment
    minutes: int = Field(default=20, ge=5, le=480)
    place: str = Field(default="", max_length=200)
    whom: str = Field(default="", max_length=200)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "by": "Nurse Chen",
                    "start": "2026-03-10T09:30:00+08:00",
                    "minutes": 20,
                    "place": "Clinic, room 3",
                    "whom": "Dr Li",
                }
            ]
        }
    )


class MoveIn(Door):
    """An appointment's new time, and what else is to be different: what is left out stays as it is."""

    by: Name
    start: Moment
    minutes: int | None = Field(default=None, ge=5, le=480)
    place: str | None = Field(default=None, max_length=200)
    whom: str | None = Field(default=None, max_length=200)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"by": "Nurse Chen", "start": "2026-03-11T09:30:00+08:00"}]}
    )


class KeptIn(Door):
    """Whether the patient came to an appointment."""

    by: Name
    kept: bool

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Nurse Chen", "kept": True}]})


class CarePlanIn(Door):
    """How often a condition is followed up. every_days left out: by rule, from control."""

    role: Role
    author: Name
    every_days: int | None = Field(default=None, ge=1, le=366)

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "nurse", "author": "Dr Li"}]})


class CarePlanOut(BaseModel):
    """When a condition of a patient is followed up next, and why then. interval: the rule; null where it was set.

    told: what the last weekly review said. missed: follow-ups in a row at which it was not controlled. warning: that
    nobody of the team has the role, and what to do; null: somebody has.
    """

    patient: str
    condition: Condition
    role: Role
    author: str
    entered_at: datetime
    every_days: int | None
    interval: str | None
    due_at: datetime
    because: SentenceOut
    control: Control
    told: SentenceOut | None
    missed: int
    follow_up: str | None = Field(description="The one that is open for it")
    warning: SentenceOut | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patient": "p-017",
                    "condition": "hypertension",
                    "role": "nurse",
                    "author": "Dr Li",
                    "entered_at": "2026-03-03T14:30:00+08:00",
                    "every_days": None,
                    "interval": "missed",
                    "due_at": "2026-03-17T14:30:00+08:00",
                    "because": {
                        "en": "High blood pressure, not controlled: follow-up after 14 d (China, basic public health "
                        "service).",
                        "zh": "高血压，未达标：14 天后随访（国家基本公共卫生服务规范）。",
                    },
                    "control": "not-controlled",
                    "told": None,
                    "missed": 0,
                    "follow_up": None,
                    "warning": None,
                }
            ]
        }
    )

    @classmethod
    def of(cls, plan: CarePlan, zone: ZoneInfo, staff: Iterable[Practitioner]) -> CarePlanOut:
        """The plan on the patient's clock. staff: all of it."""
        plain = ("patient", "condition", "role", "author", "control", "missed", "follow_up")
        rule, lacks = plan.interval, unfilled(staff, plan.role)
        return cls(
            **{name: getattr(plan, name) for name in plain},
            entered_at=plan.entered_at.astimezone(zone),
            due_at=plan.due_at.astimezone(zone),
            every_days=plan.every.days if plan.every else None,
            interval=rule.name.lower().replace("_", "-") if rule else None,
            because=SentenceOut.of(plan.because),
            told=SentenceOut.of(plan.told) if plan.told else None,
            warning=SentenceOut.of(lacks) if lacks else None,
        )


class AnswerIn(Door):
    """What a patient answered. by: who writes down what the patient said by telephone."""

    helpful: bool | None = None
    solved: bool | None = None
    score: int | None = Field(default=None, ge=1, le=5, description="1 (poor) to 5 (very good)")
    text: str = Field(default="", max_length=LONGEST_TEXT)
    call_again: bool | None = None
    by: Name | None = None

    @property
    def said(self) -> Answer:
        """What the patient said."""
        return Answer(**self.model_dump(exclude={"by"}))

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"helpful": True, "solved": False, "score": 2, "text": "Still dizzy", "call_again": True}]
        }
    )


class AnswerOut(BaseModel):
    """An answer."""

    helpful: bool | None
    solved: bool | None
    score: int | None
    text: str
    call_again: bool | None
    poor: bool = Field(description="It has opened a follow-up")

    model_config = ConfigDict(from_attributes=True)


class SurveyOut(BaseModel):
    """The questions to a patient after a follow-up, and the answer; moments on the patient's clock.

    answered_by: who wrote down what the patient answered by telephone; null: the patient.
    """

    id: str
    follow_up: str
    patient: str
    made_at: datetime
    sent_at: datetime | None
    expires_at: datetime
    answered_at: datetime | None
    answered_by: str | None
    answer: AnswerOut | None

    @classmethod
    def of(cls, survey: Survey, zone: ZoneInfo) -> SurveyOut:
        """The survey on the patient's clock."""
        return cls(
            id=survey.id,
            follow_up=survey.follow_up,
            patient=survey.patient,
            made_at=survey.made_at.astimezone(zone),
            sent_at=_on_clock(survey.sent_at, zone),
            expires_at=survey.expires_at.astimezone(zone),
            answered_at=_on_clock(survey.answered_at, zone),
            answered_by=survey.answered_by,
            answer=AnswerOut.model_validate(survey.answer) if survey.answer else None,
        )


class MaterialOut(BaseModel):
    """Something short to read, with its source."""

    id: str
    condition: Condition
    title: SentenceOut
    body: SentenceOut
    source: SentenceOut

    @classmethod
    def of(cls, material: Material) -> MaterialOut:
        """The material."""
        return cls(
            id=material.id,
            condition=material.condition,
            title=SentenceOut.of(material.title),
            body=SentenceOut.of(material.body),
            source=SentenceOut.of(material.source),
        )


class GiveIn(Door):
    """Something to read is given to the patient."""

    by: Name
    material: Annotated[str, AfterValidator(_known_material)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Nurse Chen", "material": "measure-pressure"}]})


class GivenOut(BaseModel):
    """What was given to a patient to read, in which follow-up, by whom and when (UTC)."""

    patient: str
    follow_up: str
    material: str
    by: str
    at: datetime

    model_config = ConfigDict(from_attributes=True)


router = APIRouter(
    prefix="/api/v1", tags=["care"], responses={status: {"model": Problem} for status in (401, 404, 409, 422, 503)}
)


# Follow-ups


@router.get("/follow-ups")
async def list_follow_ups(
    house: House,
    due: Annotated[
        WhichDue, Query(description="overdue: by now; today: within 24 h, the overdue among them")
    ] = "all",
    role: Role | None = None,
    person: Annotated[str | None, Query(description="Who has it")] = None,
    patient: Annotated[str | None, Query(description="Only of this patient", examples=["p-017"])] = None,
    limit: Limit = PAGE,
    after: Annotated[str | None, Query(description="Id of the last one of the page before")] = None,
) -> list[FollowUpOut]:
    """The open follow-ups: the overdue ones by priority, then the longest due first."""
    if after is not None:
        await find_follow_up(house, after)
    now = house.now()
    until = {"all": None, "overdue": now, "today": now + timedelta(days=1)}[due]
    found = await asyncio.to_thread(
        partial(house.follow_ups.due, now=now, until=until, role=role, person=person, patient=patient),
        limit=limit,
        after=after,
    )
    return await _many_out(house, found)


@router.post("/follow-ups", status_code=201)
async def open_follow_up(house: House, body: OpenIn) -> AssignedOut:
    """Have a patient followed up."""
    patient = await find_patient(house, body.patient)
    now, because = house.now(), body.because.strip()
    if body.due_at is not None:
        refuse_long_past(body.due_at, now)
    by = await who_acts(house, body.by)
    to, role = await _holder(house, body.to, body.role, body.role)
    step = opened(
        Open(
            patient=patient.id,
            why=body.why,
            key=f"{by} {now.isoformat()} {because}",
            because=Text(en=because, zh=because),  # a person's own words have no translation
            at=now,
            role=role or body.role,
            priority=_PRIORITIES[body.priority],
            programme=house.rules.care(patient.id, care_of(patient)).programme,
            due_at=body.due_at,
            assigned_to=to,
            by=by,
        )
    )
    await asyncio.to_thread(house.follow_ups.record, (step,))
    _tell(house, step.follow_up)
    return await _assigned(house, FollowUpOut.of(step.follow_up, ZoneInfo(patient.zone), now))


@router.get("/follow-ups/{follow_up_id}")
async def get_follow_up(house: House, follow_up_id: str) -> FollowUpDetail:
    """One follow-up with its history and appointments."""
    follow_up = await find_follow_up(house, follow_up_id)
    zone = await _zone(house, follow_up.patient)
    facts, appointments = await asyncio.to_thread(
        lambda: (house.follow_ups.history(follow_up.id), house.follow_ups.appointments(follow_up.id))
    )
    return FollowUpDetail(
        follow_up=FollowUpOut.of(follow_up, zone, house.now()),
        history=[CareFactOut.of(fact, zone) for fact in facts],
        appointments=[AppointmentOut.of(each, zone) for each in appointments],
    )


@router.get("/patients/{patient_id}/follow-ups")
async def list_of_patient(house: House, patient_id: str, limit: Limit = PAGE) -> list[FollowUpOut]:
    """A patient's follow-ups, newest first, closed ones included."""
    patient = await find_patient(house, patient_id)
    return await _many_out(house, await asyncio.to_thread(house.follow_ups.of_patient, patient.id, limit))


@router.post("/follow-ups/{follow_up_id}/claim")
async def claim(house: House, follow_up_id: str, body: ClaimIn) -> FollowUpOut:
    """Take one that nobody has."""
    return await care(
        house, Claim(follow_up=follow_up_id, by=body.by.strip(), at=house.now(), note=body.note.strip())
    )


@router.post("/follow-ups/{follow_up_id}/hand-over")
async def hand_over(house: House, follow_up_id: str, body: HandOverIn) -> AssignedOut:
    """Give it to a role or a person, with what they have to know; of a team, one who has the role."""
    follow_up = await find_follow_up(house, follow_up_id)
    to, role = await _holder(house, body.to, body.role, follow_up.role)
    given = await care(
        house,
        HandOver(
            follow_up=follow_up_id,
            by=body.by.strip(),
            at=house.now(),
            note=body.note.strip(),
            role=role,
            to=to,
        ),
    )
    return await _assigned(house, given)


@router.post("/follow-ups/{follow_up_id}/attempts")
async def note_attempt(house: House, follow_up_id: str, body: AttemptIn) -> FollowUpOut:
    """Write down a try to reach the patient; `due_at` and `rule` then say when to try again, and why then.

    The channel is telephone, voice, video, visit, app, sms, email, wecom, or one of the house that reaches patients.
    """
    channel = body.channel.strip()
    known = dict.fromkeys((*CHANNEL_WORDS, *sorted(LIVE), *channels_for(house, Audience.PATIENT)))
    if channel not in known:
        raise HTTPException(
            422,
            Sentence(
                "channel: no patient is reached by {name}; use one of {known}", name=channel, known=", ".join(known)
            ),
        )
    return await care(
        house,
        Attempt(
            follow_up=follow_up_id,
            by=body.by.strip(),
            at=house.now(),
            channel=channel,
            result=body.result,
            note=body.note.strip(),
            symptoms=_set(body.symptoms),
        ),
    )


@router.post("/follow-ups/{follow_up_id}/postpone")
async def postpone(house: House, follow_up_id: str, body: PostponeIn) -> FollowUpOut:
    """Put it off."""
    return await care(
        house,
        Postpone(
            follow_up=follow_up_id, by=body.by.strip(), at=house.now(), until=body.until, note=body.note.strip()
        ),
    )


@router.post("/follow-ups/{follow_up_id}/close")
async def close(house: House, follow_up_id: str, body: CloseFollowUpIn) -> FollowUpOut:
    """End it with an outcome; its alert is closed with it."""
    return await care(
        house,
        Close(
            follow_up=follow_up_id,
            by=body.by.strip(),
            at=house.now(),
            outcome=body.outcome,
            reason=body.reason,
            note=body.note.strip(),
            symptoms=_set(body.symptoms),
        ),
    )


# Appointments and things to read


@router.post("/follow-ups/{follow_up_id}/appointments", status_code=201)
async def make_appointment(house: House, follow_up_id: str, body: AppointmentIn) -> AppointmentOut:
    """Make an appointment with the patient."""
    follow_up = await find_follow_up(house, follow_up_id)
    now = house.now()
    refuse_past(body.start, now)
    made = Appointment(
        id="m-" + digest(follow_up.id, now.isoformat()),
        follow_up=follow_up.id,
        patient=follow_up.patient,
        start=body.start,
        length=timedelta(minutes=body.minutes),
        place=body.place.strip(),
        made_by=await who_acts(house, body.by),
        changed_at=now,
        whom=body.whom.strip(),
    )
    zone = await _zone(house, made.patient)
    try:
        await _put_appointment(house, made, None, by=made.made_by)
    except IllegalAct as error:
        raise error.on_clock(zone) from None
    return AppointmentOut.of(made, zone)


@router.put("/appointments/{appointment_id}")
async def move_appointment(house: House, appointment_id: str, body: MoveIn) -> AppointmentOut:
    """Have it at another time or place; a place that is not named stays, and an empty one is none.

    Where nothing is different, nothing is changed and nobody is told.
    """
    by = await who_acts(house, body.by)
    before = await _find_appointment(house, appointment_id)
    zone = await _zone(house, before.patient)
    length = before.length if body.minutes is None else timedelta(minutes=body.minutes)
    place = before.place if body.place is None else body.place.strip()
    whom = before.whom if body.whom is None else body.whom.strip()
    try:
        now = moved(before, start=body.start, length=length, place=place, whom=whom, at=house.now())
    except IllegalAct as error:
        raise error.on_clock(zone) from None
    if now.says_same(before):
        return AppointmentOut.of(before, zone)
    await _put_appointment(house, now, before, by=by)
    return AppointmentOut.of(now, zone)


@router.delete("/appointments/{appointment_id}")
async def cancel_appointment(
    house: House, appointment_id: str, by: Annotated[Name, Query(description="Who calls it off")]
) -> AppointmentOut:
    """Call it off."""
    by = await who_acts(house, by)
    before = await _find_appointment(house, appointment_id)
    zone = await _zone(house, before.patient)
    try:
        now = cancelled(before, house.now())
    except IllegalAct as error:
        raise error.on_clock(zone) from None
    await _put_appointment(house, now, before, by=by)
    return AppointmentOut.of(now, zone)


@router.post("/appointments/{appointment_id}/kept")
async def note_kept(house: House, appointment_id: str, body: KeptIn) -> AppointmentOut:
    """Note whether the patient came; who was asked for it is not asked any more."""
    before, at = await _find_appointment(house, appointment_id), house.now()
    by = await who_acts(house, body.by)
    zone = await _zone(house, before.patient)
    try:
        now = noted(before, kept=body.kept, at=at)
    except IllegalAct as error:
        raise error.on_clock(zone) from None
    await asyncio.to_thread(house.follow_ups.note_kept, now, at=at, by=by)
    return AppointmentOut.of(now, zone)


async def _put_appointment(house: HouseView, now: Appointment, before: Appointment | None, *, by: str) -> None:
    """Write it down, and have the patient told. before: as it was."""
    tell = partial(house.duty.escalation.beside_appointment, appointment=now, before=before)
    await asyncio.to_thread(house.follow_ups.put_appointment, now, by=by, also=tell)
    house.duty.wake()


@router.get(
    "/appointments/{appointment_id}/invitation",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
)
async def get_invitation(
    house: House,
    appointment_id: str,
    organizer: Annotated[MailAddress, Query()],
    attendee: Annotated[MailAddress | None, Query()] = None,
) -> Response:
    """The invitation, its change or its cancelling as an iCalendar file; organizer, attendee: e-mail addresses."""
    appointment = await _find_appointment(house, appointment_id)
    patient = await find_patient(house, appointment.patient)
    made = invitation(appointment, summary=summary_for(patient), organizer=organizer, attendee=attendee)
    method = "CANCEL" if appointment.cancelled else "REQUEST"
    return Response(made, media_type=f"{MEDIA_TYPE}; method={method}; charset=utf-8")


def summary_for(patient: Patient) -> str:
    """What an appointment is called in the calendar, in the patient's language: nothing about health."""
    return "门诊预约" if patient.language == "zh_CN" else "Appointment at the clinic"


@router.get("/education")
async def list_education(condition: Condition | None = None) -> list[MaterialOut]:
    """What there is to read, of one condition or of all."""
    return [MaterialOut.of(each) for each in MATERIALS.values() if condition in {None, each.condition}]


@router.post("/follow-ups/{follow_up_id}/education", status_code=201)
async def give_education(house: House, follow_up_id: str, body: GiveIn) -> list[GivenOut]:
    """Give the patient something to read; all that the patient was given comes back, newest first.

    It goes to the patient's own contacts, but for the telephone, with a link to the text.
    """
    follow_up = await find_follow_up(house, follow_up_id)
    given = Given(
        patient=follow_up.patient,
        follow_up=follow_up.id,
        material=body.material,
        by=await who_acts(house, body.by),
        at=house.now(),
    )
    try:
        await asyncio.to_thread(house.follow_ups.give, given, house.duty.escalation.sending(given))
    except IllegalAct as error:
        raise error.on_clock(await _zone(house, given.patient)) from None
    house.duty.speaker.wake()
    return await list_given(house, follow_up.patient)


@router.get("/patients/{patient_id}/education")
async def list_given(house: House, patient_id: str) -> list[GivenOut]:
    """What a patient was given to read, newest first."""
    patient = await find_patient(house, patient_id)
    given = await asyncio.to_thread(house.follow_ups.given, patient.id)
    return [GivenOut.model_validate(each) for each in given]


# Plans of care


@router.get("/patients/{patient_id}/care-plans")
async def list_care_plans(house: House, patient_id: str) -> list[CarePlanOut]:
    """When a patient is followed up next, by condition, and why then."""
    patient = await find_patient(house, patient_id)
    plans, staff = await asyncio.to_thread(lambda: (house.follow_ups.plans(patient.id), house.duty.team.staff()))
    return [CarePlanOut.of(plan, ZoneInfo(patient.zone), staff) for plan in plans]


@router.put("/patients/{patient_id}/care-plans/{condition}")
async def set_care_plan(house: House, patient_id: str, condition: Condition, body: CarePlanIn) -> CarePlanOut:
    """Have a condition followed up, or change by whom and how often."""
    patient = await find_patient(house, patient_id)
    author = await who_acts(house, body.author)

    def agree() -> CarePlanOut:
        plan = planned(
            patient.id,
            condition,
            role=body.role,
            author=author,
            now=house.now(),
            every=timedelta(days=body.every_days) if body.every_days else None,
            before=house.follow_ups.plan(patient.id, condition),
            review=next(iter(house.reviews.of_patient(patient.id, 1)), None),
            recent=house.follow_ups.of_patient(patient.id),
        )
        house.follow_ups.set_plan(plan)
        return CarePlanOut.of(plan, ZoneInfo(patient.zone), house.duty.team.staff())

    return await asyncio.to_thread(agree)


@router.delete("/patients/{patient_id}/care-plans/{condition}", status_code=204)
async def end_care_plan(
    house: House,
    patient_id: str,
    condition: Condition,
    by: Annotated[Name, Query(description="Who takes it back")],
) -> None:
    """Take a plan back. A follow-up that it opened stays open."""
    patient = await find_patient(house, patient_id)
    by = await who_acts(house, by)
    end = partial(house.follow_ups.end_plan, patient.id, condition, now=house.now(), by=by)
    if not await asyncio.to_thread(end):
        raise HTTPException(
            404,
            Sentence(
                "patient {patient} has no plan of care for {condition}", patient=patient.id, condition=condition
            ),
        )


# Surveys


@router.get("/surveys")
async def list_surveys(
    house: House, start: Moment | None = None, end: Moment | None = None, limit: Limit = PAGE
) -> list[SurveyOut]:
    """Surveys made from start until before end (the last 30 days), newest first, with what was answered."""
    last = end or house.now() + timedelta(seconds=1)
    first = start or last - timedelta(days=30)
    found = await asyncio.to_thread(house.follow_ups.surveys, first, last, limit)
    zones = await _zones(house, (each.patient for each in found))
    return [SurveyOut.of(each, zones[each.patient]) for each in found]


@router.post("/surveys/{survey_id}/answer")
async def answer_survey(house: House, survey_id: Annotated[str, Path(max_length=64)], body: AnswerIn) -> SurveyOut:
    """Write down what a patient answered; once, and not nothing at all. A poor answer opens a follow-up."""
    survey, zone, _ = await answer(house, survey_id, body.said, body.by.strip() if body.by else None)
    return SurveyOut.of(survey, zone)


class Wish(NamedTuple):
    """A patient asks to be called. due_at: by when, on the patient's clock. told: whether anybody could be told."""

    due_at: datetime
    told: bool


async def answer(
    house: HouseView, survey_id: str, said: Answer, by: str | None = None
) -> tuple[Survey, ZoneInfo, Wish | None]:
    """Write an answer down, now; with it the patient's zone, and the wish to be called again, which is told at once.

    by: who writes down what the patient said by telephone. An unknown survey is an HTTP 404; IllegalAct passes.
    """
    by = None if by is None else await who_acts(house, by)
    try:
        survey, follow_up = await asyncio.to_thread(house.follow_ups.answer, survey_id, said, house.now(), by)
    except KeyError as error:
        raise HTTPException(404, Sentence("no survey has the id {id}", id=survey_id)) from error
    if follow_up:
        _tell(house, follow_up)
    zone, wish = await _zone(house, survey.patient), None
    if follow_up and said.call_again:
        told = await tell_to_call(house, f"call-again {survey.id}", follow_up)
        wish = Wish(follow_up.due_at.astimezone(zone), told)
    return survey, zone, wish


async def open_for_patient(house: HouseView, act: Open) -> FollowUp:
    """Have what a patient asks for done; where that was opened before, it is as it was."""
    with suppress(IllegalAct):  # another hub is opening it at this moment
        if await asyncio.to_thread(house.follow_ups.get, act.follow_up) is None:
            step = opened(act)
            await asyncio.to_thread(house.follow_ups.record, (step,))
            _tell(house, step.follow_up)
    return await find_follow_up(house, act.follow_up)


async def tell_to_call(house: HouseView, key: str, follow_up: FollowUp) -> bool:
    """Tell the role that has it, and coordinators, that a patient asks to be called; see `Duty.tell`."""
    whose, doubts = await who_is_called(house, follow_up.patient)
    written = please_call_message(follow_up, whose, zone=house.zone.key, doubts=doubts)
    return await house.duty.tell(
        key,
        written,
        about=follow_up.patient,
        follow_up=follow_up.id,
        priority=follow_up.priority,
        roles=(follow_up.role, Role.COORDINATOR),
    )


async def who_is_called(house: HouseView, patient_id: str) -> tuple[Recipient, Doubts]:
    """A patient who is to be called, with the contacts, and what was said of those that are wrong."""
    person = await patient_person(house, patient_id)
    contacts, _ = await asyncio.to_thread(house.duty.team.contacts, person.owner)
    doubts = (await asyncio.to_thread(house.follow_ups.doubts, [patient_id])).get(patient_id, [])
    return replace(person, contacts=contacts), [(each.opened_at, each.because) for each in doubts]


async def hear_patient(house: HouseView, patient: Patient, text: str) -> FollowUp:
    """Have somebody see to what a patient has written: by what is open for the patient's alert or wish, else anew."""
    open_alerts = await asyncio.to_thread(house.book.open_alerts, [patient.id])
    wrote = has_written(
        patient.id,
        text,
        house.now(),
        max((each.priority for each in open_alerts), default=Priority.MEDIUM),
        programme=house.rules.care(patient.id, care_of(patient)).programme,
    )
    waiting = [each for each in await asyncio.to_thread(house.follow_ups.open_of, patient.id) if each.why in _JOINED]
    with suppress(IllegalAct):  # somebody acts on it at this moment: it gets one of its own
        if waiting:
            step = joined(max(waiting, key=lambda each: each.priority), wrote, text)
            await asyncio.to_thread(house.follow_ups.record, (step,))
            _tell(house, step.follow_up)
            return step.follow_up
    return await open_for_patient(house, wrote)


# What they share


async def care(house: HouseView, deed: Deed) -> FollowUpOut:
    """Do what one of the staff decided, now. An unknown follow-up is an HTTP 404.

    IllegalAct is on the patient's clock, also of who is not of the staff, see `who_acts`.
    """
    zone = await _zone(house, (await find_follow_up(house, deed.follow_up)).patient)
    decided = replace(deed, by=await who_acts(house, deed.by))
    try:
        return FollowUpOut.of(await house.care(decided), zone, house.now())
    except IllegalAct as error:
        raise error.on_clock(zone) from None


async def _holder(house: HouseView, to: str | None, role: Role | None, usual: Role) -> tuple[str | None, Role | None]:
    """Who is to have it and in which role, see `staffing.holder`; nobody is named: the role, which somebody has."""
    staff = await asyncio.to_thread(house.duty.team.staff)
    if to is not None:
        return holder(staff, to.strip(), role, usual)
    if role is not None:
        refuse_unfilled(staff, role)
    return None, role


async def _assigned(house: HouseView, given: FollowUpOut) -> AssignedOut:
    staff = await asyncio.to_thread(house.duty.team.staff)
    said = untold_holder(house, staff, given.assigned_to)
    return AssignedOut(**dict(given), warning=SentenceOut.of(said) if said else None)


def untold_holder(house: HouseView, staff: Iterable[Practitioner], name: str | None) -> Text | None:
    """That who has a follow-up is of the staff and cannot be told, and what to do; else None."""
    team = list(staff)
    one = next((each for each in team if each.active and each.name == name), None)
    return untold(one, team, house.duty.escalation.channels(Audience.STAFF)) if one else None


async def find_follow_up(house: HouseView, follow_up_id: str) -> FollowUp:
    """The follow-up, or an HTTP 404 that says which is missing."""
    found = await asyncio.to_thread(house.follow_ups.get, follow_up_id)
    if found is None:
        raise HTTPException(404, Sentence("no follow-up has the id {id}", id=follow_up_id))
    return found


async def _find_appointment(house: HouseView, appointment_id: str) -> Appointment:
    found = await asyncio.to_thread(house.follow_ups.appointment, appointment_id)
    if found is None:
        raise HTTPException(404, Sentence("no appointment has the id {id}", id=appointment_id))
    return found


async def _many_out(house: HouseView, found: Sequence[FollowUp]) -> list[FollowUpOut]:
    zones, now = await _zones(house, (each.patient for each in found)), house.now()
    return [FollowUpOut.of(each, zones[each.patient], now) for each in found]


async def _zones(house: HouseView, patients: Iterable[str]) -> dict[str, ZoneInfo]:
    known = await asyncio.to_thread(house.people.some, set(patients))
    return {patient.id: ZoneInfo(patient.zone) for patient in known}


async def _zone(house: HouseView, patient: str) -> ZoneInfo:
    return (await _zones(house, [patient]))[patient]


def _tell(house: HouseView, follow_up: FollowUp) -> None:
    house.bulletin.publish({"type": "follow-up", "follow_up": follow_up.id, "patient": follow_up.patient})


def _on_clock(moment: datetime | None, zone: ZoneInfo) -> datetime | None:
    return moment and moment.astimezone(zone)


def _sorted(symptoms: Iterable[Symptom] | None) -> list[Symptom] | None:
    return None if symptoms is None else sorted(symptoms)


def _set(symptoms: Sequence[Symptom] | None) -> frozenset[Symptom] | None:
    return None if symptoms is None else frozenset(symptoms)

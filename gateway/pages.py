"""The pages for doctors and nurses: plain HTML that works without JavaScript; `page.js` keeps it up to date."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, Field, Json, ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from alerts.alert import (
    HOUSE,
    REASON_WORDS,
    ActKind,
    Alert,
    IllegalAct,
    Notice,
    Outcome,
    Symptom,
    Text,
    together,
)
from alerts.book import COUNTED, Way
from alerts.care_plan import CarePlan
from alerts.channels import LogChannel
from alerts.escalation import Result
from alerts.follow_up import SYMPTOM_WORDS, asks_symptoms, channel_word
from alerts.machine import snooze_at_most, title
from alerts.outbox import PersonalWay
from alerts.rule import POPULATIONS, Rule
from alerts.rules import PROBLEMS, RULES
from alerts.staffing import unfilled
from alerts.team import ROLE_WORDS, TELEPHONE, staff
from alerts.team import patient as owner_of
from gateway.adherence import goals_of
from gateway.api import (
    NO_NUL,
    PAGE,
    AcknowledgeIn,
    AlertState,
    CalendarDay,
    CloseIn,
    DeviceIn,
    DiscardIn,
    Door,
    House,
    LetterId,
    LetterNumber,
    LetterReason,
    Name,
    PairIn,
    PatientIn,
    PatientPatch,
    PlanIn,
    PlannedVital,
    PlanNumber,
    SnoozeIn,
    WearingPatch,
    act,
    agree,
    ask_fully,
    correct,
    device_health,
    discard,
    find_alert,
    find_alerts,
    find_patient,
    give,
    priority_name,
    readable,
    stop,
    wearings_of,
    who_acts,
)
from gateway.card import cards
from gateway.charts import Span, glucose_figure, pressure_figure
from gateway.contact_api import contacts_of, patient_person, trials_of
from gateway.forms import Forms, Refusal, half_width, numbers_named
from gateway.guard import LOGIN_COOKIE, WebSettings, login_value, same_token
from gateway.health_words import known, part_word
from gateway.language import LANGUAGES, Language, Sentence, Translated, choose, listed, load_languages
from gateway.own_limits import OwnNumber, own_numbers, unreadable_numbers, with_number, without_number
from gateway.people import DeviceKind, DeviceLink, Patient, plans_on
from gateway.quality_words import ROLES
from gateway.review_api import Day, DoneIn, ranking, tick, week_name, weekly_list
from gateway.signed import OF_PATIENTS
from gateway.terminal import printable
from gateway.view import HouseView
from gateway.words import (
    BONDS,
    FACTS,
    GROUPS,
    KINDS,
    LINKS,
    N_,
    PARAMETERS,
    REASONS,
    UNITS,
    VITALS,
    WAYS,
    WHAT_HELPS,
    clock_word,
    outcome_word,
    shown,
)
from ingest.journal import Letter, LetterState
from ingest.reading import EPOCH, Reading, RefusalReason, from_us, of_key
from ingest.series import Series
from ingest.vital import Unit, Vital

_YEAR_S: Final = 365 * 24 * 3600
_NAME_COOKIE: Final = "homeward_name"
_LANGUAGE_COOKIE: Final = "homeward_language"
_RANGES: Final = {"24h": timedelta(days=1), "3d": timedelta(days=3), "14d": timedelta(days=14)}
_NEWEST: Final = 12
_SHOWN: Final = 15  # of the worklist, of those that wait and of those that do not
# What a trouble or a rule is called.
_TITLES: Final = {**PROBLEMS, **{rule.name: rule.title for rule in RULES.values()}}
_WEEKS: Final = 4
_TICK: Final = timedelta(microseconds=1)
_SNOOZE_HOURS: Final = (1, 2, 4, 12, 24)
# Devices run a little ahead of the house at times; what they send is shown all the same.
_AHEAD: Final = timedelta(hours=1)

_Form = TypeVar("_Form", bound=BaseModel)


class PlanForm(PlanIn):
    """A plan, and which vital it is about."""

    vital: PlannedVital


class SnoozeForm(Door):
    """For how long an alert is put off."""

    hours: int = Field(ge=1, le=max(_SNOOZE_HOURS))


class TakeBackForm(Door):
    """Who takes a device back, or out of use."""

    by: Name


class LimitForm(Door):
    """A number for a patient. which: rule, parameter and unit. Days are on the patient's clock, both included."""

    which: str = Field(pattern=r"^\S+ \S+ \S.*$")
    value: float = Field(allow_inf_nan=False)
    first: CalendarDay | None = Field(default=None, alias="from")
    last: CalendarDay | None = Field(default=None, alias="to")
    author: Name


class LimitChoice(AcknowledgeIn):
    """Which number of a patient ends, and who ends it. entry: as it was written down."""

    rule: str
    parameter: str
    entry: Json[dict[str, Any]]


router = APIRouter(include_in_schema=False)


class Desk:
    """The templates in every language."""

    def __init__(self) -> None:
        self._languages = load_languages()
        self._rooms = {code: _environment(language) for code, language in self._languages.items()}

    def language(self, request: Request) -> Language:
        """The language of this person: of the patient for whom a signed link was made, or the one asked for."""
        spoken: str | None = getattr(request.state, "spoken", None)
        code = spoken or choose(request.cookies.get(_LANGUAGE_COOKIE), request.headers.get("accept-language"))
        return self._languages[code]

    def page(self, request: Request, template: str, status: int = 200, **shown: Any) -> HTMLResponse:
        """The page for this person. `shown`: the template's own values."""
        language = self.language(request)
        refusal: Refusal | None = getattr(request.state, "refusal", None)
        frame = {
            "here": request.url.path,
            "next": _again(request),
            "me": name_of(request),
            "events": None,
            "now": None,
            "points": None,
            "cards": {},
            "clinic_zone": request.app.state.house.zone,
            "form_at": Forms(refusal, language),
        }
        text = self._rooms[language.code].get_template(template).render({**frame, **shown})
        headers = {"Content-Language": language.html, "Vary": "Accept-Language, Cookie"}
        return HTMLResponse(text, refusal.status if refusal else status, headers=headers)


def _environment(language: Language) -> Environment:
    say = language.gettext
    room = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Translated],
    )
    room.filters["zone"] = ZoneInfo
    room.globals.update(
        _=say,
        ngettext=language.ngettext,
        language=language,
        languages=LANGUAGES,
        kinds=list(DeviceKind),
        links=list(DeviceLink),
        priority_name=priority_name,
        HOUSE=HOUSE,
        readable=lambda data, channel: printable(readable(data, channel)),
        alert_word=partial(_alert_title, language),
        problem_word=partial(_title, language),
        symptoms=SYMPTOM_WORDS,
        roles=ROLE_WORDS,
        asks_symptoms=asks_symptoms,
        outcome_word=partial(outcome_word, language),
        no_action_reasons=REASON_WORDS,
        value_word=lambda reading, unit: _value_word(reading, unit, language),
        kind_word=lambda kind: say(KINDS[kind]),
        link_word=lambda link: say(LINKS[link]),
        bond_word=lambda bond: say(BONDS[bond]),
        clock_word=lambda health: clock_word(health.clock_error_s, health.clock_set, language),
        ble=DeviceLink.BLE,
        parameter_word=lambda parameter: say(PARAMETERS.get(parameter, parameter)),
        fact_word=lambda what: say(FACTS[what]),
        vital_word=lambda vital: say(VITALS[vital]),
        population_word=lambda group: say(GROUPS[group]),
        reason_word=lambda reason: say(REASONS.get(reason, reason)),
        help_word=lambda reason: say(WHAT_HELPS[reason]) if reason in WHAT_HELPS else "",
        numbers_named=lambda said: numbers_named(said, language),
        pattern_word=partial(_title, language),
        week_name=week_name,
        part_word=lambda part: part_word(part, language),
        unit_word=lambda unit: say(UNITS[str(unit)]) if str(unit) in UNITS else unit,
        way_word=partial(_way_word, language),
        known=known,
        is_sentence=lambda said: isinstance(said, Sentence),
    )
    return room


def _title(language: Language, name: str) -> str:
    """What a trouble or a rule is called; its own name where it is one of another Homeward."""
    return language.text(_TITLES[name]) if name in _TITLES else name


def _way_word(language: Language, channel: str) -> str:
    """What a channel is called, with the address where it has one of its own."""
    kind, _, address = channel.partition(" ")
    word = language.gettext(WAYS[kind]) if kind in WAYS else language.text(channel_word(kind))
    return f"{word} {address}".rstrip()


def _value_word(reading: Reading, unit: Unit, language: Language) -> str:
    """A reading's value in the patient's unit of glucose, with what the device says of it."""
    said = shown(reading, unit, language)
    return f"{said.label} {said.value} {said.unit}".rstrip() + (f" ({said.remarks})" if said.remarks else "")


def _alert_title(language: Language, alert: Alert) -> str:
    """What an alert is called, as in its messages."""
    return language.text(title(alert))


def show_refusal(request: Request, status: int, because: str | Text) -> Response:
    """What was refused: of a form the page on which it stands, with what was typed and why; else the reason alone.

    A patient, who comes by a signed link, is shown no way to the pages of the staff.
    """
    patients = request.scope["path"].split("/")[1] in OF_PATIENTS
    refusal = getattr(request.state, "refusal", None)  # of a form whose page cannot be shown either
    if refusal is None:
        refusal = Refusal(request.scope["path"], getattr(request.state, "fields", {}), because, status)
        if request.method == "POST" and not patients and (page := _page_of_form(request, refusal)):
            return page
    request.state.refusal = refusal
    posted = request.method == "POST"
    if patients:
        return _desk(request).page(request, "linked_error.html", back=request.url.path if posted else None)
    return _desk(request).page(request, "error.html", back=_again(request) if posted else "/")


class _Page(Response):
    """A page, asked for within the request of a form."""

    def __init__(self, route: BaseRoute, asked: Scope) -> None:
        self._route = route
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._route.handle({**scope, **self._asked}, receive, send)


def _page_of_form(request: Request, refusal: Refusal) -> _Page | None:
    """The page from which a form came, else the nearest one above its address; None where there is none."""
    action = PurePosixPath(refusal.action)
    above = [quote(str(each)) for each in (action, *action.parents) if each.name]
    for address in (_ours(request.headers.get("referer", ""), request), *above):
        path, _, query = (address or "").partition("?")
        asked = {
            "method": "GET",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "state": {"refusal": refusal},
        }
        for route in request.app.state.page_routes:
            match, found = route.matches({**request.scope, **asked})
            if match is Match.FULL:
                return _Page(route, {**asked, **found})
    return None


@router.get("/")
async def worklist(request: Request, house: House) -> Response:
    """Open alerts: those that wait for an answer, the most urgent first; among them by the patient's risk.

    Of many those that are shown are the most urgent and newest.
    """
    waiting, handled = await asyncio.to_thread(house.book.worklist, _SHOWN)
    opened = [*waiting.alerts, *handled.alerts]
    # Side by side: while the database looks for the one, another is made of what it has found.
    (places, _), rows, of_cards = await asyncio.gather(
        asyncio.to_thread(ranking, house, sorted({alert.patient for alert in opened})),
        _with_patients(house, opened),
        cards(house, opened),
    )
    points = {place.patient: place.points for place in places}
    rows.sort(key=lambda row: (row[0].priority, points[row[0].patient], row[0].opened_at), reverse=True)
    health = house.health()
    return _desk(request).page(
        request,
        "worklist.html",
        events="/api/v1/events?type=alert&type=follow-up&type=health",
        now=house.now(),
        points=points,
        cards=of_cards,
        waiting=[row for row in rows if not _is_handled(row[0])],
        handled=[row for row in rows if _is_handled(row[0])],
        waiting_in_all=waiting.in_all,
        handled_in_all=handled.in_all,
        counted=COUNTED,
        degraded=listed(part["detail"] for part in health["parts"].values() if part["status"] != "ok"),
    )


def _is_handled(alert: Alert) -> bool:
    """Whether somebody has seen it, or put it off."""
    return alert.acknowledged_at is not None or alert.snoozed_until is not None


@router.get("/alerts")
async def all_alerts(
    request: Request, house: House, state: AlertState = "all", patient: str | None = None, before: str | None = None
) -> Response:
    """Alerts, open and closed, newest first."""
    found = await find_alerts(house, state, patient, PAGE, before)
    return _desk(request).page(
        request,
        "alerts.html",
        now=house.now(),
        state=state,
        rows=await _with_patients(house, found),
        older=found[-1].id if len(found) == PAGE else None,
    )


@router.get("/alerts/{alert_id}")
async def one_alert(request: Request, house: House, alert_id: str) -> Response:
    """One alert with its dated facts."""
    alert = await find_alert(house, alert_id)
    ((_, patient, zone),) = await _with_patients(house, [alert])
    return _desk(request).page(
        request,
        "alert.html",
        events=f"/api/v1/events?type=alert&type=follow-up&type=reading&patient={quote(alert.patient)}",
        now=house.now(),
        alert=alert,
        cards=await cards(house, [alert]),
        patient=patient,
        zone=zone,
        snooze_hours=_snooze_hours(alert),
        history=await asyncio.to_thread(house.book.history, alert_id),
        notices=await asyncio.to_thread(_with_recipients, house, alert_id, patient),
        evidence=await asyncio.to_thread(_evidence, house, alert),
    )


def _evidence(house: HouseView, alert: Alert) -> list[tuple[Vital, datetime, str, Reading | None]]:
    """The readings that an alert rests on, each with what it says now; None: it is not kept any more. Blocks."""
    found = []
    for key in alert.evidence:
        with suppress(ValueError):  # what the house says of itself rests on no reading
            vital, at, device = of_key(key)
            kept = house.journal.readings(alert.patient, vital, at, at + _TICK)
            found.append((vital, at, device, next((each for each in kept if each.device == device), None)))
    return found


def _with_recipients(
    house: HouseView, alert: str, patient: Patient
) -> list[tuple[Notice, str | None, str, datetime | None]]:
    """The notices about an alert, each with the name of the person to whom it goes; None: to no single one.

    And with what is to be said of one that was put off and not told, and until when it waits.
    """
    names = {staff(one.id): one.name for one in house.duty.team.staff()} | {owner_of(patient.id): patient.name}
    found = house.book.notices(alert)
    put_off = house.duty.escalation.put_off([each.id for each in found], house.now())
    until = _waits_until(house, put_off)
    return [
        (
            each,
            each.recipient and names.get(each.recipient, each.recipient),
            _PUT_OFF.get(put_off[each.id], "") if each.id in put_off else "",
            until.get(each.id),
        )
        for each in found
    ]


def _waits_until(house: HouseView, put_off: Mapping[str, str | None]) -> Mapping[str, datetime]:
    """Until when each of those waits that were put off and are to be told still. Blocks."""
    return house.duty.outbox.waits_until(name for name, into in put_off.items() if into is None)


def _snooze_hours(alert: Alert) -> list[int]:
    """For how many hours the form offers to put an alert off; none where that is not possible now."""
    most = snooze_at_most(alert)
    if most is None or alert.acknowledged_at or alert.snoozed_until or alert.closed_at or not alert.raising:
        return []
    return [hours for hours in _SNOOZE_HOURS if timedelta(hours=hours) <= most]


@router.post("/alerts/{alert_id}/acknowledge")
async def acknowledge(request: Request, house: House, alert_id: str) -> Response:
    """The form beside an alert; who acknowledges goes on with its follow-up."""
    fields = await fields_of(request)
    body = take(AcknowledgeIn, fields)
    await _decide(request, house, ActKind.ACKNOWLEDGE, alert_id, body)
    follow_up = await asyncio.to_thread(house.follow_ups.of_alert, alert_id)
    onward = f"/follow-ups/{follow_up.id}" if follow_up else fields.get("next", "/")
    return remember_name(go(request, onward), request, body.by)


@router.post("/alerts/{alert_id}/snooze")
async def snooze(request: Request, house: House, alert_id: str) -> Response:
    """The form that puts an alert off for some hours."""
    fields = await fields_of(request)
    hours = take(SnoozeForm, fields).hours
    body = take(SnoozeIn, {**fields, "until": house.now() + timedelta(hours=hours)})
    await _decide(request, house, ActKind.SNOOZE, alert_id, body)
    return remember_name(go(request, fields.get("next", "/")), request, body.by)


@router.post("/alerts/{alert_id}/close")
async def close(request: Request, house: House, alert_id: str) -> Response:
    """The form that ends an alert."""
    fields = await fields_of(request)
    body = take(CloseIn, closing_of(fields))
    await _decide(request, house, ActKind.CLOSE, alert_id, body)
    return remember_name(go(request, fields.get("next", "/")), request, body.by)


async def _decide(
    request: Request, house: HouseView, kind: ActKind, alert_id: str, body: AcknowledgeIn | SnoozeIn | CloseIn
) -> None:
    """Do what a form says. Who comes too late is told who was there before, on the patient's clock."""
    try:
        await act(house, kind, alert_id, body)
    except IllegalAct:
        ((alert, patient, zone),) = await _with_patients(house, [await find_alert(house, alert_id)])
        language = _desk(request).language(request)
        which = {"problem": _alert_title(language, alert), "patient": patient.name}
        if alert.closed_at:
            said = Sentence(
                "{name} has closed the alert “{problem}” of {patient} already, on {moment} ({outcome}: {note}). "
                "Nothing can be added to it; a new episode opens a new alert.",
                name=alert.closed_by,
                moment=language.moment(alert.closed_at, zone),
                outcome=outcome_word(language, alert.outcome, alert.reason) if alert.outcome else "",
                note=alert.closing_note,
                **which,
            )
        elif kind is ActKind.ACKNOWLEDGE and alert.acknowledged_at:
            said = Sentence(
                "{name} has acknowledged the alert “{problem}” of {patient} already, on {moment}. It can be closed.",
                name=alert.acknowledged_by,
                moment=language.moment(alert.acknowledged_at, zone),
                **which,
            )
        else:
            raise
        raise HTTPException(409, said) from None


@router.get("/patients")
async def patients(request: Request, house: House) -> Response:
    """All patients, those to look at first on top with the reasons, and a form for a new one."""
    people, worn, opened, (places, _) = await asyncio.to_thread(
        lambda: (house.people.patients(), house.people.worn(), house.book.open_alerts(), ranking(house))
    )
    devices: defaultdict[str, list[str]] = defaultdict(list)
    for each in worn:
        devices[each.patient].append(each.device)
    open_count = Counter(alert.patient for alert in opened)
    by_id = {patient.id: patient for patient in people}
    rows = [
        (by_id[place.patient], place, devices[place.patient], open_count[place.patient])
        for place in sorted(places, key=lambda place: (not place.calls, -place.points, by_id[place.patient].name))
        if place.patient in by_id
    ]
    return _desk(request).page(
        request,
        "patients.html",
        now=house.now(),
        patients=rows,
        zone=house.zone.key,
        zones=sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")),
    )


@router.get("/weekly")
async def weekly(request: Request, house: House, week: Day | None = None) -> Response:
    """The weekly list: whose week had a pattern to talk about, in the order of risk."""
    weeks = await asyncio.to_thread(house.reviews.weeks)
    reviews, people, places = await weekly_list(house, week)
    shown_week = week - timedelta(days=week.weekday()) if week else next(iter(weeks), None)
    return _desk(request).page(
        request,
        "weekly.html",
        now=house.now(),
        weeks=weeks,
        week=shown_week,
        rows=[(review, people[review.patient], places[review.patient]) for review in reviews],
    )


@router.post("/weekly/{patient_id}/{monday}/{rule}/done")
async def mark_done(request: Request, house: House, patient_id: str, monday: date, rule: str) -> Response:
    """The form beside a line of the weekly list."""
    body = take(DoneIn, await fields_of(request))
    try:
        await tick(house, patient_id, monday, rule, body)
    except IllegalAct:
        raise HTTPException(409, await _done_before(request, house, patient_id, monday, rule)) from None
    return remember_name(go(request, f"/weekly?week={monday}#{quote(patient_id)}"), request, body.by)


async def _done_before(request: Request, house: HouseView, patient_id: str, monday: date, rule: str) -> str:
    """Who has dealt with a line of the weekly list before, on the patient's clock."""
    language, patient = _desk(request).language(request), await find_patient(house, patient_id)
    reviews = await asyncio.to_thread(house.reviews.weekly_list, monday)
    done = next(review for review in reviews if review.patient == patient_id).done[rule]
    return Sentence(
        "{name} has dealt with “{problem}” of {patient} already, on {moment}.",
        name=done.by,
        problem=_title(language, rule),
        patient=patient.name,
        moment=language.moment(done.at, ZoneInfo(patient.zone)),
    )


@router.post("/patients")
async def add_patient(request: Request, house: House) -> Response:
    """The form for a new patient."""
    patient = take(PatientIn, await fields_of(request)).patient()
    await asyncio.to_thread(house.people.add_patient, patient, now=house.now())
    return go(request, f"/patients/{quote(patient.id)}")


@router.get("/patients/{patient_id}")
async def one_patient(request: Request, house: House, patient_id: str, range: str = "24h") -> Response:  # noqa: A002
    """One patient: newest values, open alerts, charts, devices."""
    patient = await find_patient(house, patient_id)
    language = _desk(request).language(request)
    newest = {vital: await _newest(house, patient, vital) for vital in VITALS}
    wearings, devices, opened = await asyncio.to_thread(
        lambda: (
            house.people.wearings(patient=patient.id),
            house.people.devices(),
            house.book.open_alerts([patient.id]),
        )
    )
    kinds = {device.id: device for device in devices}
    say = language.gettext
    charts = []
    if newest[Vital.CGM] or newest[Vital.GLUCOSE]:
        charts.append({"name": "glucose", "title": say("Glucose")})
    if newest[Vital.BLOOD_PRESSURE]:
        charts.append({"name": "pressure", "title": say("Blood pressure")})
    every = sorted((r for found in newest.values() for r in found), key=lambda r: r.taken_at, reverse=True)[:_NEWEST]
    ((place,), _), reviews = await asyncio.to_thread(
        lambda: (ranking(house, [patient.id]), house.reviews.of_patient(patient.id, _WEEKS))
    )
    planned, former = await asyncio.to_thread(
        lambda: (house.people.plans([patient.id]).get(patient.id, []), house.people.former_limits(patient.id))
    )
    person = await patient_person(house, patient.id)
    applied, today, unreadable = house.limits(patient), _today(house, patient), unreadable_numbers(patient)
    told = {each.because for each in unreadable}
    counting = plans_on(planned, today).values()

    def in_force(own: OwnNumber) -> bool:
        return own.override.holds(today) and applied.limits.given.get(own.key) == own.value

    return _desk(request).page(
        request,
        "patient.html",
        events=f"/api/v1/events?patient={quote(patient.id)}",
        now=house.now(),
        patient=patient,
        zone=ZoneInfo(patient.zone),
        alerts=[row[0] for row in await _with_patients(house, opened)],
        cards=await cards(house, opened),
        follow_ups=await asyncio.to_thread(house.follow_ups.open_of, patient.id),
        appointments=await asyncio.to_thread(house.follow_ups.coming, patient.id, house.now()),
        tiles=[shown(found[-1], patient.glucose_unit, language) for found in newest.values() if found],
        newest=[shown(reading, patient.glucose_unit, language, sent=True) for reading in every],
        charts=charts,
        ranges=[("24h", say("24 hours")), ("3d", say("3 days")), ("14d", say("14 days"))],
        range=range if range in _RANGES else "24h",
        devices=[(wearing, kinds[wearing.device]) for wearing in reversed(wearings)],
        limits=[(own, in_force(own)) for own in own_numbers(patient)],
        usual=applied.usual.value,
        rules=_by_vital(language),
        former=former[::-1],
        unreadable=unreadable,
        left_out=together(each for each in applied.left_out if each not in told),
        written=_written,
        today=today,
        populations=POPULATIONS,
        plans=[(plan, plan in counting) for plan in planned if plan.holds(max(today, plan.first))],
        former_plans=[plan for plan in reversed(planned) if not plan.holds(max(today, plan.first))],
        plannable=[Vital.GLUCOSE, Vital.BLOOD_PRESSURE],
        programmes=sorted(house.rules.programmes),
        place=place,
        reviews=reviews,
        told=await asyncio.to_thread(_told, house, patient.id),
        ways=await contacts_of(house, person),
        trials=await trials_of(house, person),
        role_words=ROLES,
        care_plans=await asyncio.to_thread(_care_plans, house, patient.id),
        goals=await goals_of(house, patient),
    )


def _care_plans(house: HouseView, patient: str) -> list[tuple[CarePlan, Text | None]]:
    """A patient's plans of care, each with what is said where nobody of the team has its role."""
    plans = house.follow_ups.plans(patient)
    staff = house.duty.team.staff() if plans else ()
    return [(plan, unfilled(staff, plan.role)) for plan in plans]


@router.post("/patients/{patient_id}/care")
async def set_care(request: Request, house: House, patient_id: str) -> Response:
    """The form that says where a patient belongs; nothing chosen is what the rule file says."""
    patient = await find_patient(house, patient_id)
    fields = await fields_of(request)
    body = take(PatientPatch, {name: fields.get(name) for name in ("population", "programme")})
    await house.change_patient(
        patient.id, lambda known: replace(known, population=body.population, programme=body.programme)
    )
    return go(request, f"/patients/{quote(patient.id)}")


@router.post("/patients/{patient_id}/limits")
async def set_limit(request: Request, house: House, patient_id: str) -> Response:
    """The form that sets a number for a patient; those of the same name to which it leaves no day end."""
    patient = await find_patient(house, patient_id)
    body = take(LimitForm, await fields_of(request))
    rule, parameter, unit = body.which.split(" ", 2)
    days = {name: day.isoformat() for name, day in (("from", body.first), ("to", body.last)) if day}
    author = await who_acts(house, body.author)
    entry = {"value": body.value, "unit": unit, "author": author, **days}
    today = _today(house, patient)
    await house.change_patient(patient.id, lambda known: with_number(known, rule, parameter, entry, today), by=author)
    return remember_name(go(request, f"/patients/{quote(patient.id)}#limits"), request, body.author)


@router.post("/patients/{patient_id}/limits/end")
async def end_limit(request: Request, house: House, patient_id: str) -> Response:
    """The button that ends a number of a patient; it stays as a former one."""
    patient = await find_patient(house, patient_id)
    body = take(LimitChoice, await fields_of(request))

    def ended(known: Patient) -> Patient:
        try:
            return without_number(known, body.rule, body.parameter, body.entry)
        except ValueError:
            said = Sentence("this limit has ended or was changed meanwhile; look at the page again")
            raise HTTPException(409, said) from None

    await house.change_patient(patient.id, ended, by=await who_acts(house, body.by))
    return remember_name(go(request, f"/patients/{quote(patient.id)}#limits"), request, body.by)


@router.post("/patients/{patient_id}/plans")
async def set_plan(request: Request, house: House, patient_id: str) -> Response:
    """The form that says what a patient is to measure."""
    patient = await find_patient(house, patient_id)
    body = take(PlanForm, await fields_of(request))
    await agree(house, patient, Vital(body.vital), body)
    return remember_name(go(request, f"/patients/{quote(patient.id)}#plans"), request, body.author)


@router.post("/patients/{patient_id}/plans/{number}/end")
async def end_plan(request: Request, house: House, patient_id: str, number: PlanNumber) -> Response:
    """The button that ends a plan."""
    patient = await find_patient(house, patient_id)
    body = take(AcknowledgeIn, await fields_of(request))
    await stop(house, patient, number, body.by)
    return remember_name(go(request, f"/patients/{quote(patient.id)}#plans"), request, body.by)


@router.get("/patients/{patient_id}/figure/{name}")
async def figure(
    request: Request,
    house: House,
    patient_id: str,
    name: str,
    range: str = "24h",  # noqa: A002
) -> Response:
    """A chart as Plotly JSON."""
    patient = await find_patient(house, patient_id)
    say = _desk(request).language(request).gettext
    end = house.now()
    span = Span(start=end - _RANGES.get(range, _RANGES["24h"]), end=end, zone=ZoneInfo(patient.zone))
    limits = house.limits(patient).limits

    async def series(vital: Vital) -> Series:
        return await house.series(patient.id, vital, span.start, end + _AHEAD)

    if name == "glucose":
        glucose = {vital: await series(vital) for vital in (Vital.CGM, Vital.GLUCOSE)}
        off_scale = await _off_scale(house, patient, glucose)
        drawn = await asyncio.to_thread(
            glucose_figure,
            glucose[Vital.CGM],
            glucose[Vital.GLUCOSE],
            off_scale,
            limits,
            patient.glucose_unit,
            span,
            say,
        )
    elif name == "pressure":
        drawn = await asyncio.to_thread(pressure_figure, await series(Vital.BLOOD_PRESSURE), limits, span, say)
    else:
        raise HTTPException(404, Sentence("no chart is called {name}", name=name))
    return Response(drawn.to_json(), media_type="application/json")


# Enough to see every device that was heard lately, few enough for a page.
_STRANGERS: Final = 1000


@router.get("/devices")
async def devices(request: Request, house: House, asked: str = "") -> Response:
    """All devices with their wearers, and forms to add one and to give it to a patient.

    asked: the device that was just asked for everything.
    """
    known, people, wearings = await asyncio.to_thread(
        lambda: (house.people.devices(), house.people.patients(), house.people.wearings())
    )
    by_id = {patient.id: patient for patient in people}
    wearers = {wearing.device: by_id[wearing.patient] for wearing in wearings if wearing.until is None}
    health = await device_health(house, wearings)
    rows = [(device, wearers.get(device.id), health.get(device.id)) for device in known]
    waiting = await house.letters(limit=_STRANGERS)
    return _desk(request).page(
        request,
        "devices.html",
        now=house.now(),
        devices=rows,
        patients=people,
        strangers=_strangers(waiting, {device.id for device in known}),
        asked=next((device.id for device in known if device.id == asked), None),
    )


def _strangers(letters: Sequence[Letter], known: set[str]) -> list[tuple[Letter, DeviceKind]]:
    """The newest letter of each device that was heard and is not known, and what the device seems to be."""
    heard = {
        letter.device: letter
        for letter in reversed(letters)
        if letter.reason == RefusalReason.UNASSIGNED and letter.device not in known
    }
    return [(letter, _seeming_kind(letter.packet.data)) for letter in reversed(heard.values())]


def _seeming_kind(payload: bytes) -> DeviceKind:
    """A guess for the form: what the payload says of itself."""
    if f'"{Vital.CGM}"'.encode() in payload:
        return DeviceKind.CGM
    return DeviceKind.CUFF if f'"{Vital.BLOOD_PRESSURE}"'.encode() in payload else DeviceKind.METER


@router.post("/devices")
async def add_device(request: Request, house: House) -> Response:
    """The form for a new device."""
    device = take(DeviceIn, await fields_of(request)).device()
    await asyncio.to_thread(house.people.add_device, device, now=house.now())
    return go(request, "/devices")


@router.post("/devices/{device_id}/pair")
async def pair(request: Request, house: House, device_id: str) -> Response:
    """The form that gives a device to a patient."""
    fields = await _on_the_wearers_clock(house, await fields_of(request))
    await give(house, device_id, take(PairIn, fields))
    return go(request, "/devices")


@router.get("/devices/{device_id}")
async def one_device(
    request: Request, house: House, device_id: str, stay: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
) -> Response:
    """Who wore a device from when to when, and forms that correct it. stay: what the last correction left outside."""
    wearings, corrections = await wearings_of(house, device_id)
    people = await asyncio.to_thread(house.people.patients)
    return _desk(request).page(
        request,
        "device.html",
        now=house.now(),
        device=device_id,
        wearings=wearings[::-1],
        corrections=corrections[::-1],
        patients=people,
        names={patient.id: patient.name for patient in people},
        local=_local_time,
        stay=stay,
    )


@router.post("/devices/{device_id}/wearings/{number}")
async def correct_wearing(request: Request, house: House, device_id: str, number: int) -> Response:
    """The form that corrects who wore a device, and since when. An empty time: from its first record."""
    fields: dict[str, str | None] = {"since": None, **await fields_of(request)}
    wearings, _ = await wearings_of(house, device_id)
    shown_before = next((_local_time(w.since, w.zone) for w in wearings if w.since and w.number == number), None)
    if fields["since"] == shown_before:
        del fields["since"]  # the form shows whole seconds: what nobody has touched stays as it is
    body = take(WearingPatch, await _on_the_wearers_clock(house, fields))
    _, stay = await correct(house, device_id, number, body)
    return remember_name(go(request, f"/devices/{quote(device_id)}?stay={stay}"), request, body.by)


@router.post("/devices/{device_id}/read-fully")
async def read_fully(request: Request, house: House, device_id: str) -> Response:
    """The button that has a device tell everything again."""
    await ask_fully(house, device_id)
    return go(request, f"/devices?asked={quote(device_id)}")


@router.post("/devices/{device_id}/unpair")
async def unpair(request: Request, house: House, device_id: str) -> Response:
    """The form that takes a device back."""
    by = take(TakeBackForm, await fields_of(request)).by
    await house.unpair(device_id, await who_acts(house, by))
    return remember_name(go(request, "/devices"), request, by)


@router.post("/devices/{device_id}/retire")
async def retire(request: Request, house: House, device_id: str) -> Response:
    """The form that takes a device out of use."""
    by = take(TakeBackForm, await fields_of(request)).by
    await house.retire(device_id, await who_acts(house, by))
    return remember_name(go(request, "/devices"), request, by)


@router.get("/letters")
async def letters(
    request: Request,
    house: House,
    state: LetterState = LetterState.WAITING,
    device: str | None = None,
    reason: LetterReason | None = None,
    before: LetterId | None = None,
    tried: LetterId | None = None,
) -> Response:
    """What came and could not become a reading. tried: the letter that was just tried again."""
    found = await house.letters(state, device, reason, before, PAGE)
    such = {name: value for name, value in (("device", device), ("reason", reason)) if value}
    count = await house.count_letters(state, device, reason, before)
    return _desk(request).page(
        request,
        "letters.html",
        now=house.now(),
        letters=found,
        count=count,
        older=urlencode({"state": state, **such, "before": found[-1].id}) if found and len(found) < count else None,
        state=state,
        such=such,
        tried=tried,
        still=any(letter.id == tried for letter in found),
    )


@router.post("/letters/{letter_id}/retry")
async def retry_letter(request: Request, house: House, letter_id: LetterNumber) -> Response:
    """The button that has a letter tried again."""
    letter = await house.retry_letter(letter_id)
    return go(request, f"/letters?tried={letter.id}")


@router.post("/letters/{letter_id}/discard")
async def discard_letter(request: Request, house: House, letter_id: LetterNumber) -> Response:
    """The form that takes a letter off the list."""
    body = take(DiscardIn, await fields_of(request))
    await discard(house, letter_id, body)
    return remember_name(go(request, "/letters"), request, body.by)


@router.get("/health")
async def health(request: Request, house: House) -> Response:
    """How each part of Homeward is."""
    await house.feel()
    found = house.health()
    return _desk(request).page(
        request, "health.html", events="/api/v1/events?type=health", now=found["as_of"], health=found
    )


@router.get("/language/{code}")
async def change_language(request: Request, code: str, next: str = "/") -> Response:  # noqa: A002
    """Choose the language of the pages for this browser."""
    answer = go(request, next)
    if code in LANGUAGES:
        answer.set_cookie(_LANGUAGE_COOKIE, code, max_age=_YEAR_S, samesite="lax")
    return answer


@router.get("/me")
async def my_name(request: Request) -> Response:
    """The name that this browser writes beside acts."""
    return _desk(request).page(request, "me.html")


@router.post("/me")
async def change_my_name(request: Request) -> Response:
    """Remember the name."""
    body = take(AcknowledgeIn, await fields_of(request))
    return remember_name(go(request, "/"), request, body.by)


@router.get("/login")
async def ask_token(request: Request, next: str = "/") -> Response:  # noqa: A002
    """The form that asks for the token."""
    return _desk(request).page(request, "login.html", wrong=False, wanted=next)


@router.post("/login")
async def check_token(request: Request) -> Response:
    """Give the cookie to who knows the token."""
    settings: WebSettings = request.app.state.settings
    fields = await fields_of(request)
    wanted = fields.get("next", "/")
    if settings.token is None:
        return go(request, wanted)
    if not same_token(fields.get("token", ""), settings.token):
        return _desk(request).page(request, "login.html", 401, wrong=True, wanted=wanted)
    answer = go(request, wanted)
    # Not "strict": the link in an e-mail about an alert has to open the alert.
    answer.set_cookie(
        LOGIN_COOKIE, login_value(settings.token), httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )
    return answer


def name_of(request: Request) -> str:
    """The name that this browser writes beside acts, "" where nobody has said it."""
    return unquote(request.cookies.get(_NAME_COOKIE, ""))


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form; empty ones count as left out. The guard has bounded the body."""
    sent = parse_qsl((await request.body()).decode("utf-8", "replace"))
    request.state.fields = fields = {name: half_width(name, text) for name, text in sent}
    if any("\0" in each for field in sent for each in field):
        raise HTTPException(422, NO_NUL)
    return fields


def symptoms_of(fields: Mapping[str, object]) -> dict[str, list[Symptom]]:
    """What was ticked of the symptoms that a severe pressure asks for; nothing where nothing was, not even "none"."""
    found = [symptom for symptom in Symptom if f"symptom-{symptom}" in fields]
    return {"symptoms": found} if found or "no-symptom" in fields else {}


def closing_of(fields: Mapping[str, object]) -> dict[str, object]:
    """What a form says of how something ends: with its symptoms, and with a reason only where nothing was done."""
    is_asked = fields.get("outcome") == Outcome.NO_ACTION
    left = {name: value for name, value in fields.items() if name != "reason" or is_asked}
    return {**left, **symptoms_of(fields)}


async def _on_the_wearers_clock(house: HouseView, fields: Mapping[str, str | None]) -> dict[str, str | None]:
    """The fields with the local time of a form as a moment, in the zone of its patient."""
    patient = await asyncio.to_thread(house.people.patient, fields.get("patient") or "")
    return on_clock(fields, "since", ZoneInfo(patient.zone)) if patient else dict(fields)


def on_clock(fields: Mapping[str, str | None], name: str, zone: ZoneInfo) -> dict[str, str | None]:
    """The fields of a form with the local time in one of them as a moment."""
    with suppress(ValueError):  # it is told with the other fields
        local = datetime.fromisoformat(fields.get(name) or "")
        if local.tzinfo is None:
            return {**fields, name: local.replace(tzinfo=zone).isoformat()}
    return dict(fields)


def _local_time(moment: datetime, zone: ZoneInfo) -> str:
    """As a field for a local date and time takes it."""
    return f"{moment.astimezone(zone):%Y-%m-%dT%H:%M:%S}"


def take(form: type[_Form], fields: Mapping[str, object]) -> _Form:
    """The fields that the form knows, checked. Raises RequestValidationError, which is shown as a sentence."""
    known = {each.alias or name for name, each in form.model_fields.items()}
    try:
        return form.model_validate({name: value for name, value in fields.items() if name in known})
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def go(request: Request, path: str) -> RedirectResponse:
    """On to a page of ours."""
    return RedirectResponse(_local(path, request), 303)


def _ours(address: str, request: Request) -> str | None:
    """The path and query of an address of ours; None for every other."""
    own = f"{request.url.scheme}://{request.url.netloc}"
    path = address.removeprefix(own)
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else None


def _local(path: str, request: Request) -> str:
    """A path of ours: nobody is sent to another site by a form of ours."""
    return _ours(path, request) or "/"


def _again(request: Request) -> str:
    """The page that is asked for, or the one of the form that was sent: the form's own address shows nothing."""
    if request.method == "POST":
        return _local(request.headers.get("referer", "/"), request)
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def remember_name(answer: RedirectResponse, request: Request, name: str) -> RedirectResponse:
    """Have this browser write the name beside further acts."""
    answer.set_cookie(
        _NAME_COOKIE, quote(name.strip()), max_age=_YEAR_S, samesite="lax", secure=request.url.scheme == "https"
    )
    return answer


def _by_vital(language: Language) -> list[tuple[str, Rule]]:
    """The rules that have numbers, with what they judge, by vital; those that judge several last."""
    order = list(VITALS)
    found = [rule for rule in RULES.values() if rule.parameters]
    found.sort(key=lambda rule: (len(rule.vitals) > 1, [order.index(vital) for vital in rule.vitals]))
    return [(", ".join(language.gettext(VITALS[vital]) for vital in rule.vitals), rule) for rule in found]


def _written(entry: Mapping[str, Any]) -> str:
    """A number of a patient's own as a form names it."""
    return json.dumps(entry, ensure_ascii=False)


def _today(house: HouseView, patient: Patient) -> date:
    """The day on the patient's clock."""
    return house.now().astimezone(ZoneInfo(patient.zone)).date()


async def _with_patients(house: HouseView, alerts: Sequence[Alert]) -> list[tuple[Alert, Patient, ZoneInfo]]:
    named = await asyncio.to_thread(house.people.some, {alert.patient for alert in alerts})
    people = {patient.id: patient for patient in (Patient(id=HOUSE, name="Homeward", zone=house.zone.key), *named)}
    return [(alert, people[alert.patient], ZoneInfo(people[alert.patient].zone)) for alert in alerts]


class _Told(NamedTuple):
    """What was to be told a patient: by which ways that reach people, and what else is to be said of it."""

    notice: Notice
    ways: Sequence[Way | PersonalWay]
    remark: str
    until: datetime | None  # it was put off, and is told then

    @property
    def is_untold(self) -> bool:
        """Whether it reaches nobody."""
        return self.remark == _UNTOLD


_UNTOLD: Final = N_("not told: no contact that can be used")
_PUT_OFF: Final = {None: N_("put off, not told yet"), "": N_("put off, and not needed any more")}


def _told(house: HouseView, patient: str) -> list[_Told]:
    """What was to be told a patient, the newest first. Blocks."""
    found = house.book.to_patient(patient, _NEWEST)
    names = [notice.id for notice, _ in found]
    handed_on = house.duty.escalation.handed_on(names)
    put_off = house.duty.escalation.put_off(names, house.now())
    until = _waits_until(house, put_off)
    told = []
    for notice, of_house in found:
        own = [way for way in house.duty.outbox.ways(notice.id) if way.released_at]
        in_use = [way for way in own if not way.withdrawn_at] or own  # one that was given up says so as well
        ways: list[Way | PersonalWay] = [way for way in of_house if way.channel != LogChannel.name]
        by_hand = [
            way for way in in_use if way.channel == TELEPHONE and TELEPHONE not in house.duty.escalation.dialled
        ]
        ways += [way for way in in_use if way not in by_hand]
        became = handed_on.get(notice.id, Result.NOBODY)
        if became is Result.TOLD_WITH_ALERT:
            remark = N_("told in the message about the alert of the same moment")
        elif by_hand and not any(way.delivered_at for way in in_use):
            remark = N_("staff were asked to telephone")
        elif ways:
            remark = ""
        elif notice.id in put_off:
            remark = _PUT_OFF.get(put_off[notice.id], N_("told later, in one message with others"))
        else:
            remark = N_("not told yet") if became is None else _UNTOLD
        told.append(_Told(notice, ways, remark, until.get(notice.id)))
    return told


async def _newest(house: HouseView, patient: Patient, vital: Vital) -> Sequence[Reading]:
    return await house.readings(patient.id, vital, EPOCH, house.now() + _AHEAD, _NEWEST)


async def _off_scale(house: HouseView, patient: Patient, glucose: Mapping[Vital, Series]) -> list[Reading]:
    """The readings without a number: a series does not say whether the display showed HI or LO."""
    found: list[Reading] = []
    for vital, series in glucose.items():
        empty = series.taken_us[np.isnan(series.values[:, 0])]
        if len(empty):
            first, last = from_us(int(empty[0])), from_us(int(empty[-1]) + 1)
            found += await house.readings(patient.id, vital, first, last)
    return [reading for reading in found if reading.values[0] is None]

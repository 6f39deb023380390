"""The API of the quality report and of the months of monitoring, as JSON and as tables for spreadsheets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from alerts.alert import FALSE_ALARMS, OUTCOME_WORDS, REASON_WORDS, Outcome, Reason
from alerts.monitoring import LATEST_ENTERED, SOURCE, UNUSUAL, CareTime, Correction, Window
from alerts.quality import (
    BUDGET,
    LEAST_ACTED_ON,
    MOST_PER_DAY,
    REACHED,
    Control,
    Figures,
    Measure,
    Quality,
    Reasons,
    RuleFigures,
    Satisfaction,
    Times,
    Verb,
    reason_words,
)
from gateway.api import CalendarDay, Door, House, Moment, Name, Problem, SentenceOut, find_patient, who_acts
from gateway.care_api import Note, find_follow_up
from gateway.language import Language, Sentence, load_languages
from gateway.quality_desk import Report
from gateway.quality_words import FIGURES, MEASURES, ROLES, SECTIONS, UNITS, VERBS, title_of
from gateway.spreadsheet import Cell, download, table
from gateway.view import HouseView

USUAL: Final = timedelta(days=30)
LONGEST: Final = timedelta(days=366)
_DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)
_LANGUAGES: Final = load_languages()

First = Annotated[
    CalendarDay | None, Query(alias="from", description="First day, on the clinic's clock; left out: 30 days in all")
]
Last = Annotated[CalendarDay | None, Query(alias="to", description="Last day, included; left out: today")]
Programme = Annotated[
    str | None,
    Query(max_length=200, description="Its patients only, by its name in the rule file", examples=["pregnancy"]),
]
CareTimeNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]
WindowKind = Annotated[Window, Query(description="Calendar months, or 30 days each from `from` on")]
LanguageCode = Annotated[Literal["en", "zh_CN"], Query(description="Of names and sentences")]


def _minutes(span: object) -> object:
    return round(span / _MINUTE, 1) if isinstance(span, timedelta) else span


def _rounded(value: object) -> object:
    return round(value, 2) if isinstance(value, float) else value


def _to_thousandths(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _percent(share: object) -> object:
    return round(100 * share, 1) if isinstance(share, float) else share


Minutes = Annotated[float | None, BeforeValidator(_minutes)]
Rounded = Annotated[float | None, BeforeValidator(_rounded)]
Percent = Annotated[float | None, BeforeValidator(_percent)]


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


_FALSE: Final = "Closed without an action, with a reason that makes it a false alarm"


class TimesOut(_Out):
    """How long something took since the alert was opened, in minutes.

    Medians and 90th percentiles are estimated with the open ones, which have waited at least so long (Kaplan and
    Meier); null where too many are open to tell.
    """

    n: int = Field(description="So often it happened")
    open: int = Field(description="So often it may yet happen (censored)")
    without: int = Field(description="So often the alert was closed without it")
    median_min: Minutes = Field(validation_alias="median")
    p90_min: Minutes = Field(validation_alias="p90")


class AlertFiguresOut(_Out):
    """What the alerts of a group add up to."""

    alerts: int
    patient_days: int | None = Field(description="Days on which a patient's readings were taken, on his or her clock")
    per_patient_day: Annotated[float | None, BeforeValidator(_to_thousandths)]
    closed: int
    acted_on: int = Field(description="Closed with another outcome than no action")
    acted_on_pct: Percent = Field(validation_alias="acted_on_share", description="Of the closed ones")
    false_alarms: int = Field(description=_FALSE)
    outcomes: Mapping[Outcome, int]
    unanswered: int = Field(description="Nobody has acknowledged or closed them yet")
    unanswered_high: int = Field(description="Of those, of high priority")
    escalated: int = Field(description="A later step of the ladder was taken")
    worsened: int = Field(description="Became more urgent")
    notify: TimesOut
    acknowledge: TimesOut = Field(description="Closing is an answer too")
    contact: TimesOut = Field(description="Until the patient was first reached")
    close: TimesOut


class GroupOut(BaseModel):
    """The figures of a programme, or of the alerts whose follow-up a role has or had; name null: of neither."""

    name: str | None
    figures: AlertFiguresOut


class ReasonOut(BaseModel):
    """Why nothing was done, and how often. reason null: closed before it was asked for."""

    reason: Reason | None
    title: SentenceOut
    false_alarm: bool = Field(description="Whether there was nothing in the patient to raise an alert for")
    n: int


class NoteOut(BaseModel):
    """A note as it was written, and how often."""

    note: str
    n: int


class ReachOut(_Out):
    """What it took to reach patients, in the follow-ups that were opened in the period."""

    follow_ups: int
    attempts: int
    reached: int
    per_reach: Rounded = Field(description="Attempts for each that reached the patient")
    results: Mapping[str, int]


class SatisfactionOut(_Out):
    """What patients said. Shares are of those who answered the question."""

    monday: date | None = Field(
        default=None, description="Of the week in which they were asked, on the clinic's clock"
    )
    programme: str | None = None
    role: str | None = None
    asked: int
    answered: int
    score: Rounded = Field(description="1 (poor) to 5 (very good), mean")
    helpful_pct: Percent = Field(validation_alias="helpful")
    solved_pct: Percent = Field(validation_alias="solved")
    call_again: int


class ControlOut(_Out):
    """How patients stood 14 days before the first alert of the period and 14 days after the last closing.

    Each patient counts once. tir in % of the sensor's readings (at least 70 % of those expected), pressures in mmHg
    (home means of at least 12 readings on 3 days, with mornings and evenings).
    """

    measure: Measure
    n: int = Field(description="Patients with enough data of both")
    insufficient: int
    too_early: int = Field(description="The 14 days after are not over")
    before: Rounded
    after: Rounded
    change: Rounded


class AdviceOut(_Out):
    """What the closed alerts of a rule speak for."""

    verb: Verb
    parameter: str | None
    because: SentenceOut


class RuleQualityOut(BaseModel):
    """What the alerts that a rule opened came to."""

    rule: str | None
    title: SentenceOut | None
    alerts: int
    closed: int
    no_action: int
    false_alarms: int = Field(description=_FALSE)
    emergencies: int
    escalated: int
    worsened: int
    reasons: list[ReasonOut]
    advice: AdviceOut | None = None

    @classmethod
    def of(cls, found: RuleFigures) -> RuleQualityOut:
        """The figures with the rule's title."""
        title = title_of(found.rule)
        counts = ("rule", "alerts", "closed", "no_action", "false_alarms", "emergencies", "escalated", "worsened")
        return cls(
            title=SentenceOut.of(title) if title else None,
            reasons=_counted(found.reasons),
            advice=found.advice and AdviceOut.model_validate(found.advice, from_attributes=True),
            **{name: getattr(found, name) for name in counts},
        )


class BudgetOut(BaseModel):
    """What a clinic may compare its figures with; Homeward's own proposal."""

    alerts_per_patient_day: float
    acted_on_pct: float
    source: SentenceOut


_TIMES: Final[JsonDict] = {"n": 38, "open": 2, "without": 0, "median_min": 6.5, "p90_min": 41.0}
_FIGURES: Final[JsonDict] = {
    "alerts": 40,
    "patient_days": 812,
    "per_patient_day": 0.05,
    "closed": 36,
    "acted_on": 27,
    "acted_on_pct": 75.0,
    "false_alarms": 6,
    "outcomes": {"advice": 20, "medication-changed": 5, "appointment": 1, "emergency": 1, "no-action": 9},
    "unanswered": 1,
    "unanswered_high": 0,
    "escalated": 3,
    "worsened": 2,
    **dict.fromkeys(("notify", "acknowledge", "contact", "close"), _TIMES),
}
_FALSE_READINGS: Final[JsonDict] = {
    "reason": "false-reading",
    "title": {"en": REASON_WORDS[Reason.FALSE_READING].en, "zh": REASON_WORDS[Reason.FALSE_READING].zh},
    "false_alarm": True,
    "n": 6,
}
_OTHERS: Final[JsonDict] = {
    "reason": "other",
    "title": {"en": REASON_WORDS[Reason.OTHER].en, "zh": REASON_WORDS[Reason.OTHER].zh},
    "false_alarm": False,
    "n": 3,
}
_EXAMPLE: Final[JsonDict] = {
    "from": "2026-03-01",
    "to": "2026-03-30",
    "zone": "Asia/Shanghai",
    "as_of": "2026-04-14T08:00:00+08:00",
    "programme": None,
    "budget": {
        "alerts_per_patient_day": 0.1,
        "acted_on_pct": 60.0,
        "source": {"en": BUDGET.en, "zh": BUDGET.zh},
    },
    "total": _FIGURES,
    "by_programme": [{"name": "bp-12-weeks", "figures": _FIGURES}],
    "by_role": [{"name": "nurse", "figures": _FIGURES}],
    "reasons": [_FALSE_READINGS, {**_OTHERS, "n": 3}],
    "notes": [{"note": "sensor changed", "n": 3}],
    "reach": {
        "follow_ups": 38,
        "attempts": 52,
        "reached": 33,
        "per_reach": 1.58,
        "results": {"no-answer": 19, "reached": 33},
    },
    "satisfaction": [
        {
            "monday": "2026-03-02",
            "programme": "bp-12-weeks",
            "role": "nurse",
            "asked": 9,
            "answered": 6,
            "score": 4.33,
            "helpful_pct": 83.3,
            "solved_pct": 66.7,
            "call_again": 1,
        }
    ],
    "satisfaction_total": {
        "monday": None,
        "programme": None,
        "role": None,
        "asked": 31,
        "answered": 20,
        "score": 4.25,
        "helpful_pct": 85.0,
        "solved_pct": 70.0,
        "call_again": 2,
    },
    "control": [
        {"measure": "tir", "n": 12, "insufficient": 4, "too_early": 3, "before": 61.2, "after": 66.0, "change": 4.8}
    ],
    "compared": 19,
    "compared_of": 19,
    "rules": [
        {
            "rule": "sensor-stuck",
            "title": {"en": "Sensor value does not change", "zh": "传感器数值不变"},
            "alerts": 12,
            "closed": 12,
            "no_action": 9,
            "false_alarms": 6,
            "emergencies": 0,
            "escalated": 0,
            "worsened": 0,
            "reasons": [_FALSE_READINGS, {**_OTHERS, "n": 3}],
            "advice": None,
        }
    ],
}


class QualityOut(BaseModel):
    """The quality report of the alerts that were opened in a period, as known at `as_of`."""

    first: date = Field(serialization_alias="from", description="On the clinic's clock, as `to`, which is included")
    last: date = Field(serialization_alias="to")
    zone: str
    as_of: datetime
    programme: str | None = Field(default=None, description="Of whose patients alone; null: of all")
    budget: BudgetOut
    total: AlertFiguresOut
    by_programme: list[GroupOut]
    by_role: list[GroupOut]
    reasons: list[ReasonOut] = Field(description="Why nothing was done, the commonest first")
    notes: list[NoteOut] = Field(description="Of those, what the list of reasons has no word for, as it was written")
    reach: ReachOut
    satisfaction: list[SatisfactionOut]
    satisfaction_total: SatisfactionOut
    control: list[ControlOut]
    compared: int = Field(description="Patients whose control was compared, glucose and pressure apart")
    compared_of: int = Field(description="Of so many; more than 150 take too long, and are chosen by chance")
    rules: list[RuleQualityOut]

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    @classmethod
    def of(cls, report: Report, zone: ZoneInfo) -> QualityOut:
        """The report on the clinic's clock."""
        made = report.made
        return cls(
            first=report.first,
            last=report.last,
            zone=zone.key,
            as_of=made.as_of.astimezone(zone),
            programme=report.programme,
            budget=BudgetOut(
                alerts_per_patient_day=MOST_PER_DAY,
                acted_on_pct=100 * LEAST_ACTED_ON,
                source=SentenceOut.of(BUDGET),
            ),
            total=_figures(made.total),
            by_programme=[GroupOut(name=name, figures=_figures(each)) for name, each in made.by_programme.items()],
            by_role=[GroupOut(name=name, figures=_figures(each)) for name, each in made.by_role.items()],
            reasons=_counted(made.reasons),
            notes=[NoteOut(note=note, n=n) for note, n in made.notes],
            reach=ReachOut.model_validate(made.reach),
            satisfaction=[SatisfactionOut.model_validate(each) for each in made.satisfaction],
            satisfaction_total=SatisfactionOut.model_validate(made.satisfaction_total),
            control=[ControlOut.model_validate(each) for each in made.control],
            compared=report.compared,
            compared_of=report.compared_of,
            rules=[RuleQualityOut.of(each) for each in made.rules],
        )


def _figures(figures: Figures) -> AlertFiguresOut:
    return AlertFiguresOut.model_validate(figures)


def _counted(reasons: Reasons) -> list[ReasonOut]:
    return [
        ReasonOut(reason=reason, title=SentenceOut.of(reason_words(reason)), false_alarm=reason in FALSE_ALARMS, n=n)
        for reason, n in reasons
    ]


class CareTimeIn(Door):
    """Minutes that a named person spent on a patient's care.

    live: patient and person spoke with each other. at left out: now; at most 90 days back.
    """

    by: Name
    minutes: int = Field(ge=1, le=24 * 60)
    live: bool = False
    note: str = Field(default="", max_length=2000)
    at: Moment | None = None
    follow_up: str | None = Field(default=None, max_length=24)
    confirm: bool = Field(default=False, description="More than 120 minutes are meant; a 409 asks for it")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"by": "Nurse Zhao", "minutes": 12, "live": True, "note": "went through the week's lows"}]
        }
    )


class CareCorrectionIn(Door):
    """What counts instead of an entry's minutes, and why. minutes 0: nothing. live left out: as it is."""

    by: Name
    minutes: int = Field(ge=0, le=24 * 60)
    live: bool | None = None
    because: Note
    confirm: bool = Field(default=False, description="More than 120 minutes are meant; a 409 asks for it")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"by": "Nurse Zhao", "minutes": 10, "because": "typed 100 for 10"}]}
    )


class CareCorrectionOut(_Out):
    """A correction, at on the patient's clock."""

    at: datetime
    by: str
    minutes: int
    live: bool
    because: str


class CareTimeOut(_Out):
    """Minutes of care as they were written down, and what they were corrected to; at on the patient's clock."""

    id: int = Field(validation_alias="number")
    patient: str
    at: datetime
    by: str
    minutes: int
    live: bool
    note: str
    follow_up: str | None
    corrections: list[CareCorrectionOut] = Field(description="Oldest first; where there are any, the last one counts")

    @classmethod
    def of(cls, time: CareTime, zone: ZoneInfo) -> CareTimeOut:
        """The entry on the patient's clock."""
        made = [replace(each, at=each.at.astimezone(zone)) for each in time.corrections]
        return cls.model_validate(replace(time, at=time.at.astimezone(zone), corrections=tuple(made)))


router = APIRouter(
    prefix="/api/v1", tags=["quality"], responses={status: {"model": Problem} for status in (401, 422)}
)
_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "UTF-8 with a byte order mark"}
}


@router.get("/quality")
async def show_quality(
    house: House, first: First = None, last: Last = None, programme: Programme = None
) -> QualityOut:
    """How the alerts of a period ended, how long people took, and what that says about each rule.

    Asked again within a minute it is the same report. Days of the future count nothing.
    """
    report = await asked(house, first, last, programme)
    return QualityOut.of(report, house.zone)


@router.get("/quality.csv", response_class=Response, responses=_CSV)
async def table_quality(
    house: House,
    first: First = None,
    last: Last = None,
    programme: Programme = None,
    language: LanguageCode = "en",
) -> Response:
    """The same as a table: a row for each figure, with its section, group and unit."""
    report = await asked(house, first, last, programme)
    text = await asyncio.to_thread(_as_table, report.made, _LANGUAGES[language])
    return download(f"quality-{report.first}-{report.last}.csv", text)


@router.get("/monitoring.csv", response_class=Response, responses=_CSV)
async def table_monitoring(
    house: House,
    first: First = None,
    last: Last = None,
    programme: Programme = None,
    window: Annotated[
        Window, Query(description="Calendar months, or 30 days each from the first day")
    ] = Window.MONTH,
    language: LanguageCode = "en",
) -> Response:
    """Days with data, minutes of care and the live contact of each patient, by calendar month or 30 days.

    The thresholds of US Medicare 2026 are information with their source, never advice on billing.
    """
    begin, end = period(house, first, last)
    await _refuse_unknown(house, programme)
    rows = await asyncio.to_thread(house.quality.months, begin, end, window, programme or None)
    said = _LANGUAGES[language]
    columns = (
        "patient", "name", "programme", "window", "first", "last", "days", "minutes", "live", "threshold", "source",
    )  # fmt: skip
    text = table(
        [said.gettext(SECTIONS[name]) for name in columns],
        [
            (
                person.id,
                person.name,
                row.programme,
                said.gettext(SECTIONS[row.window]),
                row.first,
                row.last,
                row.days,
                row.minutes,
                row.live,
                said.text(row.threshold),
                said.text(SOURCE),
            )
            for person, row in rows
        ],
    )
    return download(f"monitoring-{begin}-{end}.csv", text)


@router.post(
    "/patients/{patient_id}/care-time",
    status_code=201,
    responses={status: {"model": Problem} for status in (404, 409)},
)
async def note_care_time(house: House, patient_id: str, body: CareTimeIn) -> CareTimeOut:
    """Write down minutes spent on a patient's care; they count in the month of `at`, on the patient's clock."""
    patient = await find_patient(house, patient_id)
    now = house.now()
    if body.at and body.at > now:
        raise HTTPException(422, Sentence("this is in the future; write down what was done"))
    if body.at and body.at < now - LATEST_ENTERED:
        raise HTTPException(
            422, Sentence("this is more than {days} days back; look at the date again", days=LATEST_ENTERED.days)
        )
    if body.follow_up and (await find_follow_up(house, body.follow_up)).patient != patient.id:
        raise HTTPException(
            422,
            Sentence("follow-up {id} is not of patient {patient}", id=body.follow_up, patient=patient.id),
        )
    _ask_about(body.minutes, body.confirm)
    time = CareTime(
        patient=patient.id,
        at=body.at or now,
        by=await who_acts(house, body.by),
        minutes=body.minutes,
        live=body.live,
        note=body.note.strip(),
        follow_up=body.follow_up,
    )
    noted = await asyncio.to_thread(house.quality.note_care, time, now)
    return CareTimeOut.of(noted, ZoneInfo(patient.zone))


@router.get("/patients/{patient_id}/care-time", responses={404: {"model": Problem}})
async def list_care_time(house: House, patient_id: str, first: First = None, last: Last = None) -> list[CareTimeOut]:
    """Minutes spent on a patient's care, oldest first, with their corrections; on days of the patient's clock."""
    patient = await find_patient(house, patient_id)
    zone = ZoneInfo(patient.zone)
    days = period(house, first, last or house.now().astimezone(zone).date())
    found = await asyncio.to_thread(house.quality.care_of, patient, *days)
    return [CareTimeOut.of(each, zone) for each in found]


@router.post(
    "/patients/{patient_id}/care-time/{number}/corrections",
    status_code=201,
    responses={status: {"model": Problem} for status in (404, 409)},
)
async def correct_care_time(
    house: House, patient_id: str, number: CareTimeNumber, body: CareCorrectionIn
) -> CareTimeOut:
    """Correct minutes that were written down, or take them back with 0; what they were stays, beside the reason."""
    patient = await find_patient(house, patient_id)
    known = await asyncio.to_thread(house.quality.care_time, number)
    if known is None or known.patient != patient.id:
        raise HTTPException(404, Sentence("no minutes of care have the number {number}", number=number))
    _ask_about(body.minutes, body.confirm)
    correction = Correction(
        at=house.now(),
        by=await who_acts(house, body.by),
        minutes=body.minutes,
        live=known.said_live if body.live is None else body.live,
        because=body.because.strip(),
    )
    corrected = await asyncio.to_thread(house.quality.correct_care, number, correction)
    return CareTimeOut.of(corrected, ZoneInfo(patient.zone))


def _ask_about(minutes: int, is_confirmed: bool) -> None:
    """An HTTP 409 for minutes that are more likely a slip of the pen, until they are confirmed."""
    if minutes > UNUSUAL and not is_confirmed:
        raise HTTPException(
            409,
            Sentence(
                "{minutes} min in one entry is much (more than {most} min), and nothing was written down. Correct "
                "the number, or confirm that it took so long.",
                minutes=minutes,
                most=UNUSUAL,
            ),
        )


def period(house: HouseView, first: date | None, last: date | None) -> tuple[date, date]:
    """The days that are asked for, both included. An HTTP 422 where they end before they begin, or are too many."""
    end = last or house.now().astimezone(house.zone).date()
    begin = first or end - USUAL + _DAY
    if end < begin:
        raise HTTPException(
            422, Sentence("it would end on {last}, before it begins on {first}", last=end, first=begin)
        )
    if end - begin >= LONGEST:
        raise HTTPException(422, Sentence("ask for at most {days} days at once", days=LONGEST.days))
    return begin, end


async def asked(house: HouseView, first: date | None, last: date | None, programme: str | None) -> Report:
    """The report of these days; see `period`."""
    days = period(house, first, last)
    await _refuse_unknown(house, programme)
    return await house.quality.report(*days, house.now(), programme or None)


async def _refuse_unknown(house: HouseView, programme: str | None) -> None:
    """An HTTP 422 for a programme that there is not: an empty report would say that all is well in it."""
    if programme and not await asyncio.to_thread(house.quality.knows, programme):
        known = ", ".join(await asyncio.to_thread(house.quality.programmes))
        raise HTTPException(
            422,
            Sentence(
                "there is no programme {name}; patients are in: {known}",
                name=programme,
                known=known or Sentence("none"),
            ),
        )


# The table


def _as_table(made: Quality, said: Language) -> str:
    head = [said.gettext(SECTIONS[name]) for name in ("section", "group", "figure", "value", "unit")]
    return table(head, _rows(made, said))


def _rows(made: Quality, said: Language) -> Iterator[tuple[Cell, ...]]:
    """Section, group, figure, value, unit."""

    def row(section: str, group: str | None, figure: str, value: Cell) -> tuple[Cell, ...]:
        name, unit = FIGURES[figure]
        return said.gettext(SECTIONS[section]), group, said.gettext(name), value, unit and said.gettext(UNITS[unit])

    def team(role: str | None) -> str:
        return said.gettext(ROLES[role]) if role in ROLES else role or ""

    groups = [("total", "", made.total)]
    groups += [("programme", name or said.gettext("none"), each) for name, each in made.by_programme.items()]
    groups += [("role", team(role), each) for role, each in made.by_role.items()]
    for section, group, figures in groups:
        for name, value in _of_figures(figures):
            yield row(section, group, name, value)
    for outcome, n in made.total.outcomes.items():
        yield row("outcome", said.text(OUTCOME_WORDS[outcome]), "alerts", n)
    for reason, n in made.reasons:
        yield row("reason", said.text(reason_words(reason)), "alerts", n)
    for note, n in made.notes:
        yield row("note", note, "alerts", n)
    for name in ("follow_ups", "attempts", REACHED, "per_reach"):
        yield row("reach", None, name, _plain(getattr(made.reach, name)))
    for each in (made.satisfaction_total, *made.satisfaction):
        week = (each.monday.isoformat() if each.monday else "", each.programme, each.role and team(each.role))
        for name, value in _of_satisfaction(each):
            yield row("satisfaction", " · ".join(filter(None, week)), name, value)
    for control in made.control:
        for name, value in _of_control(control):
            yield row("control", said.gettext(MEASURES[control.measure]), name, value)
    for rule in made.rules:
        title = title_of(rule.rule)
        name_of_rule = said.text(title) if title else rule.rule
        for name in ("alerts", "closed", "no_action", "false_alarms", "emergencies", "escalated", "worsened"):
            yield row("rule", name_of_rule, name, getattr(rule, name))
        for reason, n in rule.reasons:
            yield row("reason", f"{name_of_rule} · {said.text(reason_words(reason))}", "alerts", n)
        if rule.advice:
            verb = said.gettext(VERBS[rule.advice.verb])
            yield row("rule", name_of_rule, "advice", f"{verb}: {said.text(rule.advice.because)}")


def _of_figures(figures: Figures) -> Iterator[tuple[str, Cell]]:
    for name in ("alerts", "patient_days", "per_patient_day", "closed", "acted_on"):
        yield name, _plain(getattr(figures, name))
    yield "acted_on_share", _in_percent(figures.acted_on_share)
    for name in ("false_alarms", "unanswered", "unanswered_high", "escalated", "worsened"):
        yield name, getattr(figures, name)
    for name in ("notify", "acknowledge", "contact", "close"):
        times: Times = getattr(figures, name)
        for which in ("median", "p90"):
            span: timedelta | None = getattr(times, which)
            yield f"{name}_{which}", None if span is None else round(span / _MINUTE, 1)
        for which in ("n", "open", "without"):
            if f"{name}_{which}" in FIGURES:
                yield f"{name}_{which}", getattr(times, which)


def _of_satisfaction(said: Satisfaction) -> Iterator[tuple[str, Cell]]:
    for name in ("asked", "answered", "score", "call_again"):
        yield name, _plain(getattr(said, name))
    for name in ("helpful", "solved"):
        yield name, _in_percent(getattr(said, name))


def _of_control(control: Control) -> Iterator[tuple[str, Cell]]:
    unit = "pct" if control.measure is Measure.TIR else "mmhg"
    for name in ("n", "insufficient", "too_early"):
        yield f"control_{name}", getattr(control, name)
    for name in ("before", "after", "change"):
        yield f"{name}_{unit}", _plain(getattr(control, name))


def _plain(value: Any) -> Cell:
    return round(value, 3) if isinstance(value, float) else value


def _in_percent(share: float | None) -> Cell:
    return None if share is None else round(100 * share, 1)

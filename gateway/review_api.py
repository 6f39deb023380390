"""The API of what is looked at as a whole: who comes first and why, and what the weeks said."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from alerts.alert import Alert, Finding, IllegalAct, Verdict
from alerts.review import Done, Review
from alerts.risk import Reason, Risk, Standing, ranked, risk
from alerts.rules import RULES
from alerts.week import Figures
from gateway.api import (
    PAGE,
    CalendarDay,
    Door,
    House,
    Limit,
    Name,
    PriorityName,
    Problem,
    SentenceOut,
    find_patient,
    priority_name,
)
from gateway.language import Sentence
from gateway.people import Patient
from gateway.view import HouseView

_SENTENCE: Final[JsonDict] = {
    "en": "Risk of lows (LBGI) 3.4 in the last 7 days, 2.5 or more (Kovatchev's risk classes); 93 % of the readings.",
    "zh": "近 7 天低血糖风险指数（LBGI） 3.4，达到 2.5（Kovatchev 风险分级）；数据完整度 93%。",
}
_FIGURES: Final[JsonDict] = {
    "readings": 1875,
    "wear_pct": 93.0,
    "tir_pct": 58.2,
    "tbr_pct": 6.1,
    "tbr_2_pct": 1.4,
    "tar_pct": 35.7,
    "tar_2_pct": 8.0,
    "mean_mg_dl": 158.3,
    "cv_pct": 38.1,
    "gmi_pct": 7.1,
    "lbgi": 3.4,
    "hbgi": 7.2,
    "gri": 44.6,
}
_FIGURES_BEFORE: Final[JsonDict] = {**_FIGURES, "tir_pct": 62.0, "tar_pct": 31.9, "mean_mg_dl": 153.0, "lbgi": 3.1}


Day = Annotated[CalendarDay, Query(description="Any day of the week; left out: the newest week")]


class FiguresOut(BaseModel):
    """What seven days of a sensor add up to. Shares are in percent of the readings, the mean in mg/dL."""

    readings: int
    wear_pct: float = Field(description="Readings that came, of those expected")
    tir_pct: float
    tbr_pct: float
    tbr_2_pct: float
    tar_pct: float
    tar_2_pct: float
    mean_mg_dl: float
    cv_pct: float
    gmi_pct: float
    lbgi: float
    hbgi: float
    gri: float

    model_config = ConfigDict(json_schema_extra={"examples": [_FIGURES]})

    @classmethod
    def of(cls, figures: Figures | None) -> FiguresOut | None:
        """The figures, rounded to what they are worth; None where there are none."""
        if figures is None:
            return None
        shares = ("wear", "tir", "tbr", "tbr_2", "tar", "tar_2", "cv", "gmi")
        return cls(
            readings=figures.readings,
            mean_mg_dl=round(figures.mean, 1),
            **{f"{name}_pct": round(getattr(figures, name), 1) for name in shares},
            **{name: round(getattr(figures, name), 2) for name in ("lbgi", "hbgi", "gri")},
        )


class ReasonOut(BaseModel):
    """One reason to look at a patient, and its points."""

    name: str
    points: int
    because: SentenceOut

    @classmethod
    def of(cls, reason: Reason) -> ReasonOut:
        """The reason of a place in the list."""
        return cls(name=reason.name, points=reason.points, because=SentenceOut.of(reason.because))


class RiskOut(BaseModel):
    """A patient's place in the list: the points are the sum of the reasons' points.

    standing_day: the patient's own day for which the figures were made, null before the first night.
    """

    patient: str
    points: int
    reasons: list[ReasonOut]
    standing_day: date | None
    week: FiguresOut | None = Field(description="The sensor's seven days up to that day")
    before: FiguresOut | None = Field(description="The seven days before those")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patient": "p-017",
                    "points": 8,
                    "reasons": [{"name": "lbgi", "points": 8, "because": _SENTENCE}],
                    "standing_day": "2026-03-09",
                    "week": _FIGURES,
                    "before": _FIGURES_BEFORE,
                }
            ]
        }
    )

    @classmethod
    def of(cls, found: Risk, standing: Standing | None) -> RiskOut:
        """The place with the figures it rests on."""
        return cls(
            patient=found.patient,
            points=found.points,
            reasons=[ReasonOut.of(reason) for reason in found.reasons],
            standing_day=standing and standing.day,
            week=FiguresOut.of(standing.week) if standing else None,
            before=FiguresOut.of(standing.before) if standing else None,
        )


class DoneIn(Door):
    """A named person has dealt with a line of the weekly list."""

    by: Name

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Dr Li"}]})


class PatternOut(BaseModel):
    """What one rule says of a week: raise (it is on the weekly list), clear, or hold (it cannot tell, and why)."""

    rule: str
    title: SentenceOut
    verdict: Verdict
    priority: PriorityName
    because: SentenceOut
    evidence: list[str] = Field(description="Keys of readings: vital/moment/device")
    done_by: str | None = Field(description="Who has dealt with it")
    done_at: datetime | None

    @classmethod
    def of(cls, finding: Finding, done: Done | None, zone: ZoneInfo) -> PatternOut:
        """A finding of a review."""
        return cls(
            rule=finding.rule,
            title=SentenceOut.of(RULES[finding.rule].title),
            verdict=finding.verdict,
            priority=priority_name(finding.priority),
            because=SentenceOut.of(finding.because),
            evidence=list(finding.evidence),
            done_by=done and done.by,
            done_at=done and done.at.astimezone(zone),
        )


class ReviewOut(BaseModel):
    """One patient's week, from Monday to Sunday on the patient's clock, judged once when it was over."""

    patient: str
    zone: str
    week: str = Field(description="ISO 8601 week", examples=["2026-W10"])
    monday: date
    made_at: datetime
    figures: FiguresOut | None
    before: FiguresOut | None = Field(description="The week before")
    findings: list[PatternOut]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patient": "p-017",
                    "zone": "Asia/Shanghai",
                    "week": "2026-W10",
                    "monday": "2026-03-02",
                    "made_at": "2026-03-09T03:41:07+08:00",
                    "figures": _FIGURES,
                    "before": _FIGURES_BEFORE,
                    "findings": [
                        {
                            "rule": "week-tir",
                            "title": {"en": "Time in range below target", "zh": "目标范围内时间未达标"},
                            "verdict": "raise",
                            "priority": "low",
                            "because": {
                                "en": "Time in range (3.9-10.0 mmol/L) was 58.2 % in the week from 2026-03-02 to "
                                "2026-03-08, target above 70 % (Battelino 2019). The sensor gave 93 % of its "
                                "readings.",
                                "zh": "2026-03-02 至 2026-03-08 一周内目标范围内时间（3.9-10.0 mmol/L）为 58.2%，"
                                "目标高于 70%（Battelino 2019 共识）。传感器数据完整度 93%。",
                            },
                            "evidence": ["cgm_glucose/2026-03-01T16:02:11.000000Z/cgm-1"],
                            "done_by": "Dr Li",
                            "done_at": "2026-03-09T10:12:00+08:00",
                        }
                    ],
                }
            ]
        }
    )

    @classmethod
    def of(cls, review: Review, zone: ZoneInfo) -> ReviewOut:
        """The review with its moments on the patient's clock."""
        return cls(
            patient=review.patient,
            zone=zone.key,
            week=week_name(review.monday),
            monday=review.monday,
            made_at=review.made_at.astimezone(zone),
            figures=FiguresOut.of(review.week),
            before=FiguresOut.of(review.before),
            findings=[PatternOut.of(finding, review.done.get(finding.rule), zone) for finding in review.findings],
        )


router = APIRouter(
    prefix="/api/v1", tags=["reviews"], responses={status: {"model": Problem} for status in (401, 422)}
)


@router.get("/risk")
async def list_risk(house: House, limit: Limit = PAGE) -> list[RiskOut]:
    """Whom to look at first and why: what is open, what changed and what is due, the most points first."""
    places, standings = await asyncio.to_thread(ranking, house)
    return [RiskOut.of(place, standings.get(place.patient)) for place in places[:limit]]


@router.get("/weekly")
async def list_weekly(house: House, week: Day | None = None) -> list[ReviewOut]:
    """The weekly list: patients whose week had a pattern to talk about, in the order of their risk."""
    reviews, patients, _ = await weekly_list(house, week)
    return [ReviewOut.of(review, ZoneInfo(patients[review.patient].zone)) for review in reviews]


@router.get("/patients/{patient_id}/reviews", responses={404: {"model": Problem}})
async def list_reviews(house: House, patient_id: str, limit: Limit = 12) -> list[ReviewOut]:
    """A patient's weekly reviews, the newest first, with what every rule said."""
    patient = await find_patient(house, patient_id)
    reviews = await asyncio.to_thread(house.reviews.of_patient, patient.id, limit)
    return [ReviewOut.of(review, ZoneInfo(patient.zone)) for review in reviews]


@router.post(
    "/patients/{patient_id}/reviews/{monday}/{rule}/done",
    responses={status: {"model": Problem} for status in (404, 409)},
)
async def mark_done(house: House, patient_id: str, monday: date, rule: str, body: DoneIn) -> ReviewOut:
    """Say that a named person has dealt with a line of the weekly list; once."""
    review = await tick(house, patient_id, monday, rule, body)
    patient = await find_patient(house, patient_id)
    return ReviewOut.of(review, ZoneInfo(patient.zone))


async def tick(house: HouseView, patient: str, monday: date, rule: str, body: DoneIn) -> Review:
    """Tick a line off, now. One that there is not is an HTTP 404; IllegalAct passes through."""
    by, at = body.by.strip(), house.now()
    try:
        return await asyncio.to_thread(house.reviews.tick, patient, monday, rule, by=by, at=at)
    except KeyError as error:
        said = Sentence(
            "the weekly list of {monday} has no {rule} of patient {patient}",
            monday=monday,
            rule=rule,
            patient=patient,
        )
        raise HTTPException(404, said) from error
    except IllegalAct as error:
        raise error.on_clock(ZoneInfo((await find_patient(house, patient)).zone)) from None


def week_name(monday: date) -> str:
    """The ISO 8601 name of a week."""
    year, week, _ = monday.isocalendar()
    return f"{year}-W{week:02}"


def ranking(house: HouseView, patients: Sequence[str] | None = None) -> tuple[list[Risk], Mapping[str, Standing]]:
    """The places of these patients (None: all), and how they stand by patient. Blocks."""
    alerts: defaultdict[str, list[Alert]] = defaultdict(list)
    for alert in house.book.open_alerts(patients):
        alerts[alert.patient].append(alert)
    names = [patient.id for patient in house.people.patients()] if patients is None else patients
    standings, now = house.reviews.standings(patients), house.now()
    return ranked(risk(name, standings.get(name), alerts[name], now) for name in names), standings


async def weekly_list(
    house: HouseView, day: date | None
) -> tuple[list[Review], Mapping[str, Patient], Mapping[str, Risk]]:
    """The list of the week that holds a day (None: of the newest), by risk; who the patients are, and their risk."""

    def look() -> tuple[list[Review], Mapping[str, Patient], Mapping[str, Risk]]:
        monday = next(iter(house.reviews.weeks(1)), None) if day is None else day - timedelta(days=day.weekday())
        reviews = [] if monday is None else house.reviews.weekly_list(monday)
        names = [review.patient for review in reviews]
        places = {place.patient: place for place in ranking(house, names)[0]}
        order = {name: number for number, name in enumerate(places)}
        return (
            sorted(reviews, key=lambda review: order[review.patient]),
            {patient.id: patient for patient in house.people.some(names)},
            places,
        )

    return await asyncio.to_thread(look)

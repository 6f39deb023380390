"""The page of the quality report, and its charts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from alerts.alert import FALSE_ALARMS
from alerts.monitoring import Window
from alerts.quality import LEAST_ACTED_ON, MOST_PER_DAY, reason_words
from gateway.api import House
from gateway.language import Sentence
from gateway.pages import _desk
from gateway.quality_api import First, Last, Programme, asked
from gateway.quality_charts import FIGURES, drawn
from gateway.quality_words import MEASURES, ROLES, TIMES, VERBS
from gateway.words import N_

_DAY: Final = timedelta(days=1)
_SPANS: Final = (7, 30, 90, 365)  # days
_HEADINGS: Final = {
    "times": N_("How long it took"),
    "outcomes": N_("How alerts ended"),
    "rules": N_("What came of each rule"),
    "satisfaction": N_("What patients said"),
    "control": N_("Control before and after"),
}

router = APIRouter(include_in_schema=False)


@router.get("/quality")
async def quality(
    request: Request, house: House, first: First = None, last: Last = None, programme: Programme = None
) -> Response:
    """How alerts ended, how long people took, and which rules to look at."""
    report = await asked(house, first, last, programme)
    desk = _desk(request)
    language = desk.language(request)
    query = {"from": report.first, "to": report.last, "programme": report.programme or ""}
    today = house.now().astimezone(house.zone).date()
    return desk.page(
        request,
        "quality.html",
        report=report,
        made=report.made,
        charts=[(name, language.gettext(_HEADINGS[name])) for name in drawn(report.made)],
        query=urlencode(query),
        table=urlencode(query | {"language": language.code}),
        windows={window: urlencode(query | {"language": language.code, "window": window}) for window in Window},
        spans=[
            (days, today - (days - 1) * _DAY, urlencode(query | {"from": today - (days - 1) * _DAY, "to": today}))
            for days in _SPANS
        ],
        today=today,
        programmes=await asyncio.to_thread(house.quality.programmes),
        time_words=TIMES,
        role_words=ROLES,
        verb_words=VERBS,
        measure_words=MEASURES,
        reason_words=reason_words,
        false_alarms=FALSE_ALARMS,
        most_per_day=MOST_PER_DAY,
        least_acted_on=LEAST_ACTED_ON,
        now=report.made.as_of,
    )


@router.get("/quality/figure/{name}")
async def figure(
    request: Request, house: House, name: str, first: First = None, last: Last = None, programme: Programme = None
) -> Response:
    """A chart as Plotly JSON."""
    if name not in FIGURES:
        raise HTTPException(404, Sentence("no chart is called {name}", name=name))
    report = await asked(house, first, last, programme)
    made = await asyncio.to_thread(FIGURES[name], report.made, _desk(request).language(request))
    return Response(made.to_json(), media_type="application/json")

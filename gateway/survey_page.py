"""The questions to a patient behind a signed link: no signing in, large type, in the patient's language.

A GET changes nothing, for mail scanners and messengers open links.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

from alerts.alert import IllegalAct, Text
from alerts.survey import MATERIALS, QUESTIONS, Question, Survey, call_again, refusal
from gateway.api import House, find_patient
from gateway.care_api import AnswerIn, Wish, answer, find_follow_up
from gateway.language import Sentence
from gateway.linked import Call, ask_for_call, call_about, claimed, find_notice, patients_page
from gateway.signed import SURVEY, Claim
from gateway.view import HouseView

router = APIRouter(include_in_schema=False)


SurveyClaim = Annotated[Claim, claimed(SURVEY)]


@router.get("/survey/{token}")
async def ask(request: Request, house: House, token: str, claim: SurveyClaim) -> Response:
    """The questions; or why they cannot be answered any more."""
    return await _page(request, house, token, claim)


@router.post("/survey/{token}")
async def take(request: Request, house: House, token: str, claim: SurveyClaim) -> Response:
    """Write the answer down, once."""
    fields = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    try:
        said = AnswerIn.model_validate(_known(fields)).said
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    try:
        _, _, wish = await answer(house, claim.subject, said)
    except IllegalAct as error:
        return await _page(request, house, token, claim, refused=error.text)
    return await _page(request, house, token, claim, thanks=True, wish=wish)


@router.post("/survey/{token}/call")
async def call_me(request: Request, house: House, token: str, claim: SurveyClaim) -> Response:
    """Have somebody call the patient, whatever the answer is, and tell who is on duty."""
    call = await ask_for_call(house, await find_notice(house, claim))
    return await _page(request, house, token, claim, call=call)


def _known(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in fields.items() if name in set(Question)}


async def _page(
    request: Request,
    house: HouseView,
    token: str,
    claim: Claim,
    *,
    refused: Text | None = None,
    thanks: bool = False,
    wish: Wish | None = None,
    call: Call | None = None,
) -> Response:
    """refused: why an answer was not taken; the questions stay where they can still be answered.

    wish: to be called again, as it was just taken. call: what was asked for beside the answer, just now. What was
    asked for before is looked up.
    """
    survey = await asyncio.to_thread(house.follow_ups.survey, claim.subject)
    if survey is None:
        raise HTTPException(404, Sentence("no survey has the id {id}", id=claim.subject))
    given = await asyncio.to_thread(house.follow_ups.given, survey.patient)
    if wish is None and call is None:
        if survey.answer and survey.answer.call_again:
            wish, call = await _called_again(house, survey)
        else:
            call = await call_about(house, await find_notice(house, claim))
    return await patients_page(
        request,
        house,
        claim,
        "survey.html",
        encourages=thanks,
        token=token,
        over=None if thanks else refusal(survey, house.now()),
        refused=refused,
        thanks=thanks,
        wish=wish,
        call=call,
        questions=QUESTIONS,
        given=[MATERIALS[name] for name in dict.fromkeys(each.material for each in given) if name in MATERIALS],
        status=409 if refused else 200,
    )


async def _called_again(house: HouseView, survey: Survey) -> tuple[Wish | None, Call | None]:
    """What was asked for in the answer: by when somebody is to call, or what became of it where that is past."""
    wanted = call_again(survey, await find_follow_up(house, survey.follow_up))
    task = await asyncio.to_thread(house.follow_ups.get, wanted.follow_up) if wanted else None
    if task and task.closed_at is None and house.now() < task.due_at:
        patient = await find_patient(house, survey.patient)
        # Whether anybody could be told then is not kept; by that time somebody is to call all the same.
        return Wish(task.due_at.astimezone(ZoneInfo(patient.zone)), told=True), None
    return None, Call(task)

"""What the pages behind signed links share: a link is read for one purpose, and a patient reads the own language.

Who may open one is in the link itself (`gateway.signed`), and the guard lets these paths pass without signing in. It
also has them, as every page, cached by nobody and named to no other site.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import Depends, HTTPException, Request
from starlette.responses import Response

from alerts.alert import Notice
from alerts.follow_up import FollowUp, asked_to_call
from gateway.adherence import goals_of
from gateway.api import House, find_patient
from gateway.care_api import open_for_patient, tell_to_call
from gateway.language import Sentence
from gateway.own_limits import care_of
from gateway.people import Patient
from gateway.signed import BadLink, Claim
from gateway.view import HouseView


class Call(NamedTuple):
    """What a patient has asked for about a message, None: nothing yet. told: whether anybody could be told."""

    follow_up: FollowUp | None
    told: bool = True


def claimed(purpose: str) -> Any:
    """The dependency that says what a link for this purpose holds; one that is not good is an HTTP 404 with why.

    What a patient sends by it is answered in the patient's language, also what is refused.
    """

    async def claim(request: Request, house: House, token: str) -> Claim:
        try:
            found = await asyncio.to_thread(house.duty.links.read, token, purpose, house.now())
        except BadLink as error:
            raise HTTPException(404, error.args[0]) from None
        if patient := await _patient(house, found):
            request.state.spoken = patient.language
        return found

    return Depends(claim)


async def patients_page(
    request: Request, house: HouseView, claim: Claim, template: str, *, encourages: bool = True, **shown: Any
) -> Response:
    """A page for the patient for whom the link was made, in the patient's language.

    encourages: whether the days with readings stand there.
    """
    patient = await _patient(house, claim)
    response: Response = request.app.state.desk.page(
        request,
        template,
        zone=ZoneInfo(patient.zone) if patient else house.zone,
        goals=await goals_of(house, patient) if patient and encourages else [],
        **shown,
    )
    return response


async def _patient(house: HouseView, claim: Claim) -> Patient | None:
    """The patient for whom a link was made; None for one of the staff, or who is not registered any more."""
    kind, _, name = claim.person.partition(":")
    return await asyncio.to_thread(house.people.patient, name) if kind == "patient" else None


async def find_notice(house: HouseView, claim: Claim) -> Notice:
    """The message for which a link was made; an HTTP 404 where it is not kept any more."""
    notice = await asyncio.to_thread(house.book.notice, claim.subject)
    if notice is None:
        raise HTTPException(404, Sentence("this message is not kept any more; call the clinic"))
    return notice


async def call_about(house: HouseView, notice: Notice) -> Call:
    """Whether the patient has asked to be called about a message; it changes nothing."""
    asked = asked_to_call(notice, house.now())
    return Call(await asyncio.to_thread(house.follow_ups.get, asked.follow_up))


async def ask_for_call(house: HouseView, notice: Notice) -> Call:
    """Have somebody call the patient about a message, once for each, and tell who is on duty."""
    patient = await find_patient(house, notice.patient)
    programme = house.rules.care(patient.id, care_of(patient)).programme
    follow_up = await open_for_patient(house, asked_to_call(notice, house.now(), programme=programme))
    return Call(follow_up, await tell_to_call(house, f"please-call {notice.id}", follow_up))

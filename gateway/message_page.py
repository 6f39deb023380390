"""A message to a patient behind a signed link, where the channel that brought the link is not trusted with the text.

A GET changes nothing, for mail scanners and messengers open links. The button asks the clinic to call; once for each
message.
"""

from __future__ import annotations

import asyncio
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from alerts.alert import Notice
from alerts.follow_up import FollowUp, asked_to_call
from alerts.invitation import APPOINTMENT_ID, MEDIA_TYPE, Appointment, invitation
from gateway.api import House, find_patient
from gateway.care_api import open_for_patient, summary_for, tell_to_call
from gateway.language import Sentence
from gateway.linked import claimed, patients_page
from gateway.own_limits import care_of
from gateway.signed import MESSAGE, Claim
from gateway.view import HouseView

router = APIRouter(include_in_schema=False)

MessageClaim = Annotated[Claim, claimed(MESSAGE)]


@router.get("/message/{token}")
async def read(request: Request, house: House, token: str, claim: MessageClaim) -> Response:
    """The message in full."""
    notice = await _notice(house, claim)
    asked = asked_to_call(notice, house.now())
    follow_up = await asyncio.to_thread(house.follow_ups.get, asked.follow_up)
    return await _page(request, house, token, claim, notice, follow_up)


@router.post("/message/{token}")
async def call_me(request: Request, house: House, token: str, claim: MessageClaim) -> Response:
    """Have somebody call the patient, and tell who is on duty."""
    notice = await _notice(house, claim)
    patient = await find_patient(house, notice.patient)
    programme = house.rules.care(patient.id, care_of(patient)).programme
    follow_up = await open_for_patient(house, asked_to_call(notice, house.now(), programme=programme))
    told = await tell_to_call(house, f"please-call {notice.id}", follow_up)
    return await _page(request, house, token, claim, notice, follow_up, told=told)


@router.get("/message/{token}/appointment.ics")
async def take_along(house: House, claim: MessageClaim) -> Response:
    """The appointment that the message is about, as it is by now, as an entry for the patient's calendar."""
    notice = await _notice(house, claim)
    appointment = await _appointment(house, notice)
    if appointment is None:
        raise HTTPException(404, Sentence("this message is about no appointment"))
    entry = invitation(appointment, summary=summary_for(await find_patient(house, notice.patient)))
    as_file = {"Content-Disposition": 'attachment; filename="appointment.ics"'}
    return Response(entry, media_type=f"{MEDIA_TYPE}; charset=utf-8", headers=as_file)


async def _appointment(house: HouseView, notice: Notice) -> Appointment | None:
    if not notice.id.startswith(APPOINTMENT_ID):
        return None
    return await asyncio.to_thread(house.follow_ups.appointment, notice.id.rpartition("-")[0])


async def _notice(house: HouseView, claim: Claim) -> Notice:
    notice = await asyncio.to_thread(house.book.notice, claim.subject)
    if notice is None:
        raise HTTPException(404, Sentence("this message is not kept any more; call the clinic"))
    return notice


async def _page(
    request: Request,
    house: HouseView,
    token: str,
    claim: Claim,
    notice: Notice,
    follow_up: FollowUp | None,
    *,
    told: bool = True,
) -> Response:
    """follow_up: what the patient has asked for already. told: whether anybody could be told of it just now."""
    patient = await find_patient(house, notice.patient)
    return await patients_page(
        request,
        house,
        claim,
        "message.html",
        token=token,
        notice=notice,
        follow_up=follow_up,
        appointment=await _appointment(house, notice),
        told=told,
        zone=ZoneInfo(patient.zone),
    )

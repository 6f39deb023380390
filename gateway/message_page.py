"""A message to a patient behind a signed link: in full, also where its channel is not trusted with it.

A GET changes nothing, for mail scanners and messengers open links. The button asks the clinic to call; once for each
message.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from alerts.alert import Notice, Priority
from alerts.invitation import APPOINTMENT_ID, MEDIA_TYPE, Appointment, invitation
from gateway.api import House, find_patient
from gateway.care_api import summary_for
from gateway.language import Sentence
from gateway.linked import Call, ask_for_call, call_about, claimed, find_notice, patients_page
from gateway.signed import MESSAGE, Claim
from gateway.view import HouseView

router = APIRouter(include_in_schema=False)

MessageClaim = Annotated[Claim, claimed(MESSAGE)]


@router.get("/message/{token}")
async def read(request: Request, house: House, claim: MessageClaim) -> Response:
    """The message in full."""
    notice = await find_notice(house, claim)
    call = await call_about(house, notice)
    return await _page(request, house, claim, notice, call)


@router.post("/message/{token}")
async def call_me(request: Request, house: House, claim: MessageClaim) -> Response:
    """Have somebody call the patient, and tell who is on duty."""
    notice = await find_notice(house, claim)
    call = await ask_for_call(house, notice)
    return await _page(request, house, claim, notice, call)


@router.get("/message/{token}/appointment.ics")
async def take_along(house: House, claim: MessageClaim) -> Response:
    """The appointment that the message is about, as it is by now, as an entry for the patient's calendar."""
    notice = await find_notice(house, claim)
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


async def _page(request: Request, house: HouseView, claim: Claim, notice: Notice, call: Call) -> Response:
    """Where there is something to be done now, nothing else is spoken of."""
    return await patients_page(
        request,
        house,
        claim,
        "message.html",
        encourages=notice.priority < Priority.HIGH,
        notice=notice,
        call=call,
        appointment=await _appointment(house, notice),
    )

"""A message to a patient behind a signed link, where the channel that brought the link is not trusted with the text.

A GET changes nothing, for mail scanners and messengers open links. The button asks the clinic to call; once for each
message.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from alerts.alert import Notice, Priority
from gateway.api import House
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
    )

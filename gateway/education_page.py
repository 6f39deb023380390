"""What a patient was given to read, behind a signed link: no signing in, large type, in the patient's language.

A GET changes nothing, for mail scanners and messengers open links. The button asks the clinic to call.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from alerts.survey import MATERIALS, Material
from gateway.api import House
from gateway.language import Sentence
from gateway.linked import ask_for_call, call_about, claimed, find_notice, patients_page
from gateway.signed import EDUCATION, Claim
from gateway.view import HouseView

router = APIRouter(include_in_schema=False)

EducationClaim = Annotated[Claim, claimed(EDUCATION)]


@router.get("/education/{token}")
async def read(request: Request, house: House, claim: EducationClaim) -> Response:
    """The text in full."""
    call = await call_about(house, await find_notice(house, claim))
    material = await _given(house, claim)
    return await patients_page(request, house, claim, "education.html", material=material, call=call)


@router.post("/education/{token}")
async def call_me(request: Request, house: House, claim: EducationClaim) -> Response:
    """Have somebody call the patient, and tell who is on duty."""
    material = await _given(house, claim)
    call = await ask_for_call(house, await find_notice(house, claim))
    return await patients_page(request, house, claim, "education.html", material=material, call=call)


async def _given(house: HouseView, claim: Claim) -> Material:
    given = await asyncio.to_thread(house.follow_ups.given, claim.person.partition(":")[2])
    for each in given:
        if each.id == claim.subject and each.material in MATERIALS:
            return MATERIALS[each.material]
    raise HTTPException(404, Sentence("this message is not kept any more; call the clinic"))

"""What the pages behind signed links share: a link is read for one purpose, and a patient reads the own language.

Who may open one is in the link itself (`gateway.signed`), and the guard lets these paths pass without signing in. It
also has them, as every page, cached by nobody and named to no other site.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Depends, HTTPException, Request
from starlette.responses import Response

from gateway.api import House
from gateway.signed import BadLink, Claim
from gateway.view import HouseView


def claimed(purpose: str) -> Any:
    """The dependency that says what a link for this purpose holds; one that is not good is an HTTP 404 with why."""

    async def claim(house: House, token: str) -> Claim:
        try:
            return await asyncio.to_thread(house.duty.links.read, token, purpose, house.now())
        except BadLink as error:
            raise HTTPException(404, error.args[0]) from None

    return Depends(claim)


async def patients_page(request: Request, house: HouseView, claim: Claim, template: str, **shown: Any) -> Response:
    """A page for the patient for whom the link was made, in the patient's language."""
    patient = await asyncio.to_thread(house.people.patient, claim.person.partition(":")[2])
    response: Response = request.app.state.desk.page(
        request, template, spoken=patient.language if patient else None, **shown
    )
    return response

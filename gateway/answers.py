"""Answers without signing in: signed links by which staff acknowledge, and replies that a provider hands over.

Mail scanners open links: a GET changes nothing and shows a form, whose POST acknowledges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from alerts.alert import HOUSE, SEVERAL, Act, ActKind, Alert, IllegalAct, Priority, Text
from alerts.follow_up import FollowUp
from alerts.machine import FactKind, title
from alerts.messages import reply_message
from alerts.team import patient
from gateway.api import Door, House, Problem
from gateway.care_api import hear_patient, who_is_called
from gateway.language import Language, Sentence, listed
from gateway.linked import claimed
from gateway.people import Patient
from gateway.replies import Reply, ReplyResult, acknowledges
from gateway.signed import ACKNOWLEDGE, Claim
from gateway.view import HouseView
from gateway.words import N_

router = APIRouter()

_TOLD: Final = N_("It acknowledged nothing; it was kept, and the clinic is told.")
_UNTOLD: Final = N_(
    "It acknowledged nothing; it was kept, but nobody can be told now: nobody who is on duty, no coordinator and no "
    "doctor has a contact. Reach the clinic another way; enter contacts on the page Team."
)


class ReplyIn(Door):
    """An inbound message of a person. in_reply_to: the id of the notice ("n-...") or alert ("a-...") it answers."""

    sender: Annotated[str, Field(alias="from", min_length=1, max_length=200)]
    text: Annotated[str, Field(max_length=4000)]
    in_reply_to: Annotated[str | None, Field(max_length=64)] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"from": "+8613800000000", "text": "收到", "in_reply_to": "n-0123456789abcdef"}]
        }
    )


class ReplyOut(Door):
    """What became of it. detail: in the language asked for, also which alerts are open where several may be meant."""

    result: ReplyResult
    alert: str | None
    detail: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"result": "acknowledged", "alert": "a-0123456789abcdef", "detail": "Acknowledged by 王丽."},
            ]
        }
    )


LinkClaim = Annotated[Claim, claimed(ACKNOWLEDGE)]


@router.get("/answer/{token}", include_in_schema=False)
async def ask(request: Request, house: House, token: str, claim: LinkClaim) -> Response:
    """The page behind a signed link; it changes nothing."""
    return await _page(request, house, token, claim)


@router.post("/answer/{token}", include_in_schema=False)
async def answer(request: Request, house: House, token: str, claim: LinkClaim) -> Response:
    """Acknowledge for whom the link was made: the episode of which its message told, once."""
    alert = await _alert(house, claim.subject)
    if not _is_open(alert):
        return await _page(request, house, token, claim)
    if await asyncio.to_thread(house.duty.outdated, alert, token, claim) is not None:
        return await _page(request, house, token, claim, status=409)
    try:
        await house.act(await _acknowledgement(house, alert.id, claim.person, ""))
    except IllegalAct:
        pass  # somebody was first in this moment: the page says who
    else:
        await asyncio.to_thread(house.duty.links.use, token, house.now())
    return await _page(request, house, token, claim)


@router.post("/api/v1/replies", tags=["alerts"], responses={status: {"model": Problem} for status in (401, 422, 503)})
async def reply(request: Request, response: Response, house: House, body: ReplyIn) -> ReplyOut:
    """Take an inbound message: "OK", "1", "收到" or "确认" acknowledges the alert for the person whose address it is.

    Without `in_reply_to` it acknowledges the one alert that this person was told of and nobody has acknowledged;
    where there are several, none, and who answered is told which, with a link to acknowledge each. Whatever else is
    kept, and nurses and coordinators on duty are told; where none of them can be reached, all coordinators and
    doctors. Whatever else a patient writes is in a follow-up as well. All of it is in the audit.
    """
    result, alert, said = await _take(house, body)
    language: Language = request.app.state.desk.language(request)
    response.headers.update({"Content-Language": language.html, "Vary": "Accept-Language, Cookie"})
    return ReplyOut(result=result, alert=alert, detail=language.sentence(said))


async def _take(house: HouseView, body: ReplyIn) -> tuple[ReplyResult, str | None, str | Text]:
    """What became of a reply, the id of the alert it is about, and what is answered."""
    owners = await asyncio.to_thread(house.duty.team.owners_of, body.sender)
    person = next((owner for owner in owners if owner.startswith("staff:")), next(iter(owners), None))
    alert = await asyncio.to_thread(_meant, house, person, body.in_reply_to) if person else None
    if person and alert and person.startswith("staff:") and acknowledges(body.text):
        return await _acknowledge(house, body, person, alert)
    await _note(house, body, person, alert.id if alert else None, ReplyResult.NOTED)
    who = await _who(house, body, person)
    meant = {} if alert else await asyncio.to_thread(_may_be_meant, house, person, body.text)
    # A contact may be left of somebody who is not in the register any more.
    known = await asyncio.to_thread(house.people.patient, _about(person, None)) if _is_patient(person) else None
    follow_up = await _follow_up(house, body, known)
    whose, doubts = await who_is_called(house, known.id) if known else (None, ())
    written = reply_message(
        body.text,
        who=who,
        zone=house.zone.key,
        alert=alert.id if alert else None,
        open_alerts=meant,
        whose=whose,
        doubts=doubts,
        is_listed=follow_up is not None,
    )
    told = await house.duty.tell(
        f"reply {body.sender} {house.now().isoformat()}",
        written,
        about=SEVERAL if meant else _about(person, alert),
        follow_up=follow_up.id if follow_up else None,
        priority=follow_up.priority if follow_up else Priority.MEDIUM,
        also=person if meant else None,
    )
    kept = Sentence(_TOLD if told else _UNTOLD)
    return ReplyResult.NOTED, alert.id if alert else None, _which(kept, meant) if meant else kept


def _which(kept: Sentence, meant: Mapping[str, Alert]) -> Sentence:
    """What is answered where several alerts may be meant. meant: by their pages."""
    alerts = [
        Sentence(
            "{problem}, {patient} ({alert}): {link}",
            problem=title(each),
            patient=each.patient,
            alert=each.id,
            link=link,
        )
        for link, each in meant.items()
    ]
    return Sentence(
        "{kept} These alerts are open: {alerts}. Open the link of one and acknowledge it there, or answer OK to the "
        "message about it (in_reply_to: its id).",
        kept=kept,
        alerts=listed(alerts),
    )


async def _acknowledge(
    house: HouseView, body: ReplyIn, person: str, alert: Alert
) -> tuple[ReplyResult, str, str | Text]:
    try:
        seen = await house.act(await _acknowledgement(house, alert.id, person, body.text))
    except IllegalAct as error:
        await _note(house, body, person, alert.id, ReplyResult.ALREADY)
        return ReplyResult.ALREADY, alert.id, error.on_clock(house.zone).text
    await _note(house, body, person, alert.id, ReplyResult.ACKNOWLEDGED)
    return ReplyResult.ACKNOWLEDGED, alert.id, Sentence("Acknowledged by {name}.", name=seen.acknowledged_by)


async def _acknowledgement(house: HouseView, alert: str, person: str, note: str) -> Act:
    name = await asyncio.to_thread(_name, house, person)
    return Act(kind=ActKind.ACKNOWLEDGE, alert=alert, by=name, at=house.now(), note=note)


async def _follow_up(house: HouseView, body: ReplyIn, known: Patient | None) -> FollowUp | None:
    """By which somebody sees to what a patient has written; None for an "OK", and for all that others write."""
    if known is None or acknowledges(body.text):
        return None
    return await hear_patient(house, known, body.text.strip())


async def _note(house: HouseView, body: ReplyIn, person: str | None, alert: str | None, result: ReplyResult) -> None:
    kept = Reply(at=house.now(), sender=body.sender, person=person, alert=alert, text=body.text, result=result)
    await asyncio.to_thread(house.duty.replies.add, kept, await _who(house, body, person))


async def _who(house: HouseView, body: ReplyIn, person: str | None) -> str:
    return await asyncio.to_thread(_name, house, person) if person else body.sender


def _meant(house: HouseView, person: str, in_reply_to: str | None) -> Alert | None:
    """Which alert a reply is about; None where that is not certain."""
    if in_reply_to is not None:
        notice = house.book.notice(in_reply_to)
        alert = house.book.alert(notice.alert or "" if notice else in_reply_to)
        if notice and alert and _is_open(alert) and person.startswith("staff:"):
            # What was told of an earlier episode says nothing of this one.
            return alert if notice.written_at >= house.book.told_anew_at(alert) else None
        return alert
    waiting = house.duty.outbox.told_to(person)
    return waiting[0] if len(waiting) == 1 else None


def _may_be_meant(house: HouseView, person: str | None, text: str) -> dict[str, Alert]:
    """The open alerts to which one of the staff may have said yes, by the pages where each is acknowledged."""
    if person is None or not person.startswith("staff:") or not acknowledges(text):
        return {}
    base_url = house.duty.base_url.rstrip("/")
    return {f"{base_url}/alerts/{each.id}": each for each in house.duty.outbox.told_to(person)}


def _about(person: str | None, alert: Alert | None) -> str:
    """Which patient a reply is about; HOUSE where that is not known."""
    if alert:
        return alert.patient
    _, _, name = (person or "").partition(":")
    return name if person == patient(name) else HOUSE


def _is_patient(person: str | None) -> bool:
    return person is not None and person.startswith(patient(""))


def _name(house: HouseView, person: str) -> str:
    """What somebody is called in the facts."""
    kind, _, name = person.partition(":")
    if person == patient(name):
        return name
    return next((one.name for one in house.duty.team.staff() if one.id == name), f"{kind}:{name}")


async def _alert(house: HouseView, name: str) -> Alert:
    alert = await asyncio.to_thread(house.book.alert, name)
    if alert is None:
        raise HTTPException(404, Sentence("there is no alert {id}", id=name))
    return alert


def _is_open(alert: Alert) -> bool:
    """Whether somebody can acknowledge it."""
    return alert.acknowledged_at is None and alert.closed_at is None


async def _page(request: Request, house: HouseView, token: str, claim: Claim, status: int = 200) -> Response:
    alert = await _alert(house, claim.subject)
    person = await asyncio.to_thread(_name, house, claim.person)
    outdated = await asyncio.to_thread(house.duty.outdated, alert, token, claim) if _is_open(alert) else None
    history = await asyncio.to_thread(house.book.history, alert.id) if outdated else []
    response: Response = request.app.state.desk.page(
        request,
        "answer.html",
        status=status,
        outdated=outdated,
        seen=next((each for each in reversed(history) if each.what is FactKind.ACKNOWLEDGED), None),
        alert=alert,
        follow_up=await asyncio.to_thread(house.follow_ups.of_alert, alert.id),
        person=person,
        token=token,
        zone=house.zone,
    )
    return response

"""The API of the ways to people, staff and patients: contacts in their order, quiet hours, and test messages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, time
from functools import partial
from typing import Annotated, Final, Self
from unicodedata import normalize
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from alerts.alert import Audience
from alerts.outbox import Trial
from alerts.team import TELEPHONE, Contact, Practitioner, QuietHours, Recipient, numbers_among, patient
from alerts.team_book import Ways
from gateway.api import Door, House, Name, Problem, find_patient
from gateway.language import Sentence
from gateway.view import HouseView
from gateway.words import AUDIENCES

MOST_CONTACTS: Final = 8
TRIALS: Final = 10
_MAIL: Final = re.compile(r"[^\s@:]+@[^\s@:]+\.[^\s@:]+")
# Digits as people group them, and an extension; a bracket may stand about the country's code.
_NUMBER: Final = re.compile(
    r"\(?(\+|00)?([0-9(][0-9 ()./\u2010\u2013-]{2,30}?)(?: *(?:ext\.?|x|#|,|转|分机) *[0-9]{1,6})?",
    re.ASCII | re.IGNORECASE,
)
_MOBILE: Final = re.compile("1[3-9]")  # so each begins in China, and has 11 digits; abroad +1 has as many
# What begins so too, as no mobile is grouped: 13 432 10 00 in Poland, 1800 123 456 in Australia.
_OF_ELSEWHERE: Final = re.compile(r"1[0-9] [0-9]{3}( [0-9]{2}){2}|1[0-9]{3}( [0-9]{3}){2}")
_WITHIN: Final = 6  # digits; so many have the numbers within a house

By = Annotated[Name, Field(description="Who says so; the audit names them")]


def _stripped(text: str) -> str:
    text = text.strip()
    if not text.isprintable():
        raise ValueError(Sentence("write it in one line, without signs that cannot be seen"))
    return text


WallClock = Annotated[
    str,
    Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="HH:MM on the wall clock", examples=["08:30"]),
]
Address = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), AfterValidator(_stripped)]


class ContactIn(Door):
    """One way to a person: the name of a configured [[channel]], or "telephone", and the address there."""

    channel: str = Field(min_length=1, max_length=64)
    address: Address


class QuietIn(Door):
    """From start to end on the person's wall clock, over midnight where the end is before the start."""

    start: WallClock
    end: WallClock

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.start == self.end:
            raise ValueError(
                Sentence("quiet hours cannot end when they begin; write another time, or leave both out")
            )
        return self

    def quiet(self) -> QuietHours:
        """Inside the house."""
        return QuietHours(start=time.fromisoformat(self.start), end=time.fromisoformat(self.end))


WAYS: Final[JsonDict] = {
    "contacts": [
        {"channel": "app", "address": "wang"},
        {"channel": "telephone", "address": "+86 138 0000 0000"},
    ],
    "quiet": {"start": "22:00", "end": "07:00"},
}


class ContactsIn(Door):
    """All ways to a person, the preferred one first, and the quiet hours; null: none."""

    contacts: Annotated[list[ContactIn], Field(max_length=MOST_CONTACTS)]
    quiet: QuietIn | None = None
    by: By

    model_config = ConfigDict(json_schema_extra={"examples": [{**WAYS, "by": "Nurse Chen"}]})


class QuietOut(BaseModel):
    """From start to end on the person's wall clock."""

    start: str
    end: str


class ContactOut(BaseModel):
    """One way to a person. usable: whether a channel of this name is configured and may reach such a person."""

    channel: str
    address: str
    usable: bool


class ContactsOut(BaseModel):
    """The ways to a person, the preferred one first. channels: those that a contact may name."""

    contacts: list[ContactOut]
    quiet: QuietOut | None
    channels: list[str]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "contacts": [{"channel": "app", "address": "wang", "usable": True}],
                    "quiet": {"start": "22:00", "end": "07:00"},
                    "channels": ["app", "telephone"],
                }
            ]
        }
    )

    @classmethod
    def of(cls, ways: Ways, channels: Sequence[str]) -> ContactsOut:
        """As they are."""
        contacts, quiet = ways
        return cls(
            contacts=[
                ContactOut(channel=each.channel, address=each.address, usable=each.channel in channels)
                for each in contacts
            ],
            quiet=QuietOut(start=f"{quiet.start:%H:%M}", end=f"{quiet.end:%H:%M}") if quiet else None,
            channels=list(channels),
        )


class TrialIn(Door):
    """Which contact is tried."""

    channel: str = Field(min_length=1, max_length=64)
    address: Address
    by: By

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"channel": "app", "address": "wang", "by": "Head nurse Chen"}]}
    )


class TrialOut(BaseModel):
    """A test message on its way, on the clock of whom it is for.

    given_up_at: it failed a few times and is not tried any more. error: what the last try said.
    """

    notice: str
    channel: str
    address: str
    sent_at: datetime
    tries: int
    delivered_at: datetime | None
    given_up_at: datetime | None
    error: str | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "notice": "c-0123456789abcdef",
                    "channel": "app",
                    "address": "wang",
                    "sent_at": "2026-03-03T14:30:00+08:00",
                    "tries": 1,
                    "delivered_at": "2026-03-03T14:30:02+08:00",
                    "given_up_at": None,
                    "error": None,
                }
            ]
        }
    )


router = APIRouter(
    prefix="/api/v1", tags=["team"], responses={status: {"model": Problem} for status in (401, 404, 409, 422, 503)}
)


@router.get("/staff/{staff_id}/contacts")
async def get_staff_contacts(house: House, staff_id: str) -> ContactsOut:
    """The ways to one of the staff."""
    return await contacts_of(house, await staff_person(house, staff_id))


@router.put("/staff/{staff_id}/contacts")
async def set_staff_contacts(house: House, staff_id: str, body: ContactsIn) -> ContactsOut:
    """Replace the ways to one of the staff, and the quiet hours."""
    return await _set_contacts(house, await staff_person(house, staff_id), body)


@router.post("/staff/{staff_id}/contacts/trials", status_code=201)
async def try_staff_contact(house: House, staff_id: str, body: TrialIn) -> TrialOut:
    """Send a test message by one contact of one of the staff."""
    return await try_contact(house, await staff_person(house, staff_id), body)


@router.get("/staff/{staff_id}/contacts/trials")
async def list_staff_trials(house: House, staff_id: str) -> list[TrialOut]:
    """The last test messages to one of the staff, newest first, and how far each came."""
    return await trials_of(house, await staff_person(house, staff_id))


@router.get("/patients/{patient_id}/contacts")
async def get_patient_contacts(house: House, patient_id: str) -> ContactsOut:
    """The ways to a patient."""
    return await contacts_of(house, await patient_person(house, patient_id))


@router.put("/patients/{patient_id}/contacts")
async def set_patient_contacts(house: House, patient_id: str, body: ContactsIn) -> ContactsOut:
    """Replace the ways to a patient, and the quiet hours."""
    return await _set_contacts(house, await patient_person(house, patient_id), body)


@router.post("/patients/{patient_id}/contacts/trials", status_code=201)
async def try_patient_contact(house: House, patient_id: str, body: TrialIn) -> TrialOut:
    """Send a test message by one contact of a patient."""
    return await try_contact(house, await patient_person(house, patient_id), body)


@router.get("/patients/{patient_id}/contacts/trials")
async def list_patient_trials(house: House, patient_id: str) -> list[TrialOut]:
    """The last test messages to a patient, newest first, and how far each came."""
    return await trials_of(house, await patient_person(house, patient_id))


async def contacts_of(house: HouseView, person: Recipient) -> ContactsOut:
    """The ways to somebody, as they are now."""
    ways = await asyncio.to_thread(house.duty.team.contacts, person.owner)
    return ContactsOut.of(ways, channels_for(house, person.audience))


async def _set_contacts(house: HouseView, person: Recipient, body: ContactsIn) -> ContactsOut:
    contacts = usable(house, person.audience, body.contacts)
    quiet = body.quiet.quiet() if body.quiet else None
    await asyncio.to_thread(
        partial(house.duty.team.put_contacts, person.owner, contacts, quiet, now=house.now(), by=body.by.strip())
    )
    return await contacts_of(house, person)


async def try_contact(house: HouseView, person: Recipient, body: TrialIn) -> TrialOut:
    """Send a test message by one contact of somebody. An HTTP 409 where there is no such contact to be sent to."""
    contact = Contact(channel=body.channel, address=body.address)
    contacts, _ = await asyncio.to_thread(house.duty.team.contacts, person.owner)
    if contact not in contacts:
        raise HTTPException(409, Sentence("there is no such contact any more; look at the page again"))
    if contact.channel not in house.duty.escalation.channels(person.audience):
        raise HTTPException(
            409,
            Sentence("a telephone is dialled by a person: call this number yourself to try it")
            if contact.channel == TELEPHONE
            else _unknown_channel(house, person.audience, contact.channel),
        )
    send = partial(house.duty.escalation.try_out, person, contact, house.now(), body.by.strip())
    notice = await asyncio.to_thread(send)
    house.duty.speaker.wake()
    return next(each for each in await trials_of(house, person) if each.notice == notice.id)


async def trials_of(house: HouseView, person: Recipient) -> list[TrialOut]:
    """The last test messages to somebody, newest first, on the person's clock."""
    zone = ZoneInfo(person.zone)

    def read() -> list[TrialOut]:
        return [_trial_out(house, each, zone) for each in house.duty.outbox.trials(person.owner, TRIALS)]

    return await asyncio.to_thread(read)


def _trial_out(house: HouseView, trial: Trial, zone: ZoneInfo) -> TrialOut:
    tries = house.book.tries(trial.notice)
    way = trial.way
    return TrialOut(
        notice=trial.notice,
        channel=way.channel,
        address=way.address,
        sent_at=trial.written_at.astimezone(zone),
        tries=way.tries,
        delivered_at=way.delivered_at and way.delivered_at.astimezone(zone),
        given_up_at=way.withdrawn_at and way.withdrawn_at.astimezone(zone),
        error=tries[-1].error if tries else None,
    )


# What they share


def channels_for(house: HouseView, audience: Audience) -> list[str]:
    """What a contact of staff or of a patient may name: the channels that reach them, and the telephone."""
    return list(dict.fromkeys((*house.duty.escalation.channels(audience), TELEPHONE)))


def numbers_of(contacts: Iterable[Contact]) -> dict[str, str]:
    """The telephone numbers among the contacts of a person as they were written, each with the link that dials it.

    The link leaves an extension to the person who dials; "" where it is not sure what is to be dialled.
    """
    found = {number: _dialled(number) for number in numbers_among(contacts)}
    return {number: f"tel:{''.join(parts)}" if parts else "" for number, parts in found.items()}


def _dialled(number: str) -> tuple[str, str] | None:
    """What says that a country's code follows ("" if nothing does), and the digits; without the extension.

    None for what is no number, or has other than 3 to 15 digits (ITU-T E.164: 15 at most).
    """
    found = _NUMBER.fullmatch(normalize("NFKC", number))
    if found is None:
        return None
    country, grouped = found[1] or "", found[2]
    # +86 (0)10: that 0 is dialled within the country alone
    digits = "".join(filter(str.isdecimal, grouped.replace("(0)", "") if country else grouped))
    return (country, digits) if 3 <= len(digits) <= 15 else None


def usable(
    house: HouseView, audience: Audience, contacts: Sequence[ContactIn], before: Sequence[Contact] = ()
) -> tuple[Contact, ...]:
    """Contacts inside the house, after those before; an HTTP 422 that says which cannot be used, and what can."""
    found = list(before)
    for number, each in enumerate(contacts, len(found) + 1):
        contact = Contact(channel=each.channel, address=each.address)
        if flaw := _flaw(house, audience, contact, found):
            raise HTTPException(422, Sentence("contact {number}: {flaw}", number=number, flaw=flaw))
        found.append(contact)
    return tuple(found)


def _flaw(house: HouseView, audience: Audience, contact: Contact, before: Sequence[Contact]) -> Sentence | None:
    if contact.channel not in channels_for(house, audience):
        return _unknown_channel(house, audience, contact.channel)
    if contact in before:
        return Sentence("it stands there already; leave it out")
    if contact.channel in house.duty.mailboxes and not _MAIL.fullmatch(contact.address):
        return Sentence("{address} is no e-mail address; write it like name@clinic.example", address=contact.address)
    if contact.channel == TELEPHONE and not _can_be_dialled(contact.address, audience):
        return Sentence(
            "{address} is no telephone number; write all its digits, like +86 138 0000 0000 or 010-6655 4433 ext. 12",
            address=contact.address,
        )
    return None


def _can_be_dialled(number: str, audience: Audience) -> bool:
    """Whether a person can dial it: 7 to 15 digits (ITU-T E.164), of staff also a short number within the house."""
    parts = _dialled(number)
    if parts is None:
        return False
    country, digits = parts
    if len(digits) <= _WITHIN:
        return audience is Audience.STAFF and not country
    national = digits.removeprefix("86") if country else digits
    return len(national) == 11 or not _MOBILE.match(national) or bool(_OF_ELSEWHERE.fullmatch(number))


def _unknown_channel(house: HouseView, audience: Audience, name: str) -> Sentence:
    return Sentence(
        "no channel called {name} is configured that reaches {whom}; use {known}",
        name=name,
        whom=Sentence(AUDIENCES[audience]),
        known=", ".join(channels_for(house, audience)),
    )


async def find_staff(house: HouseView, staff_id: str) -> Practitioner:
    """One of the staff, or an HTTP 404 that says who is missing."""
    found = next((one for one in await asyncio.to_thread(house.duty.team.staff) if one.id == staff_id), None)
    if found is None:
        raise HTTPException(404, Sentence("nobody of the staff has the id {id}", id=staff_id))
    return found


async def staff_person(house: HouseView, staff_id: str) -> Recipient:
    """One of the staff as one who can be told, or an HTTP 404."""
    return (await find_staff(house, staff_id)).recipient()


async def patient_person(house: HouseView, patient_id: str) -> Recipient:
    """A patient as one who can be told, or an HTTP 404; contacts are asked for by themselves."""
    known = await find_patient(house, patient_id)
    return Recipient(owner=patient(known.id), name=known.name, language=known.language, zone=known.zone)

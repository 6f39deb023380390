"""On duty: what is due of the escalation is done, at each tick and when something was written down, and watched over.

It measures itself: a cycle that does not come round, or in which something fails, is told in the health, and so is an
alert of which nobody could be told. A channel that does not deliver is told by the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from alerts.alert import HOUSE, Alert, Audience, Finding, Notice, Priority, Text, Verdict
from alerts.book import Book, Overtaken
from alerts.channels import Speaker, page_of
from alerts.device_rules import CHANNEL_DEAD, NO_DATA
from alerts.devices import is_usable, silent_in
from alerts.escalation import Ladder
from alerts.escalation_book import EscalationBook, PatientFile
from alerts.follow_up_book import FollowUpBook
from alerts.invitation import APPOINTMENT_ID
from alerts.machine import for_patient, hear_findings
from alerts.messages import GIVEN_ID, OVERDUE_ID, TRIAL_ID, Situation, Written, is_no_low, is_plain, situation_of
from alerts.outbox import Outbox
from alerts.rules import RULES, RuleBook
from alerts.survey import EDUCATION_ID, SURVEY_ID, VALID
from alerts.team import Recipient, Role, patient
from alerts.team_book import TeamBook
from gateway.clock import Clock
from gateway.guard import LOOPBACK_NAMES
from gateway.health_words import known
from gateway.language import Language, Sentence
from gateway.own_limits import care_of
from gateway.people import Patient, People
from gateway.replies import Replies
from gateway.signed import ACKNOWLEDGE, EDUCATION, MESSAGE, SURVEY, Claim, SignedLinks
from ingest.journal import Journal
from ingest.reading import Reading
from ingest.vital import Vital

PAUSE: Final = timedelta(seconds=5)
STALL: Final = timedelta(minutes=2)  # without a cycle; of the world, for a fast clock makes no work faster
LINK_HOLDS: Final = timedelta(hours=48)
SURVEYS_APART: Final = timedelta(minutes=1)  # between looks for surveys that are to be sent
_ABOUT: Final = timedelta(days=1)  # so old may a reading be that is told with an alert
_READINGS: Final = 3
_STORED: Final = timedelta(days=14)  # so long may a device have kept what it brings
_LOOKED_AT: Final = 200
_EXPECTED: Final = (
    Vital.CGM,
    Vital.GLUCOSE,
    Vital.BLOOD_PRESSURE,
)  # whose devices may be silent
_OF_LOWS: Final = frozenset(
    for_patient(rule.title) for rule in RULES.values() if rule.problem in {"glucose-low", "predicted-low"}
)
_OF_THE_HOUSE: Final = (Role.NURSE, Role.COORDINATOR)  # who hears of the house's own troubles


class Duty:
    """Staff, ladders, timers, personal notices and links in one place; `run` keeps them going.

    book and speaker are given later, because they are made after this. base_url: how links begin. mailboxes: the
    channels whose addresses are of e-mail.
    """

    book: Book
    speaker: Speaker

    def __init__(
        self,
        engine: Engine,
        people: People,
        journal: Journal,
        clock: Clock,
        *,
        rules: RuleBook,
        channels: Mapping[Audience, Sequence[str]],
        mailboxes: Collection[str] = (),
        ladders: Sequence[Ladder] = (),
        zone: str = "UTC",
        hub: str | None = None,
    ) -> None:
        self.team = TeamBook(engine)
        self._hub = hub
        self.outbox = Outbox(engine, hub=hub)
        self.links = SignedLinks(engine)
        self.replies = Replies(engine)
        self.escalation = EscalationBook(
            engine,
            channels=channels,
            patients_of=self._patients,
            situation=self._situation,
            ladders=ladders,
            page=self._page,
            stands=self._stands,
        )
        self.base_url = ""
        self.mailboxes = frozenset(mailboxes)
        self._people = people
        self._journal = journal
        self._clock = clock
        self._rules = rules
        self._zone = zone
        self._woken = asyncio.Event()
        self._beat = clock.runtime()
        self._step_at: timedelta | None = None  # when what is being done now began
        self._faults = 0
        self._untold: list[str] = []
        self._mark = (f"hub/{hub or ''}",)  # by which of several hubs an alert of a channel is
        self._follow_ups = FollowUpBook(engine)
        self._asked_at: datetime | None = None

    @property
    def hangs(self) -> bool:
        """Whether a look at what is due has begun and does not end; one that fails (a store is away) has ended."""
        return self._step_at is not None and self._clock.runtime() - self._step_at > STALL

    @property
    def stands_still(self) -> bool:
        """Whether what is due is not done any more: a look at it has not come to its end for too long."""
        return self._clock.runtime() - self._beat > STALL

    @property
    def trouble(self) -> str | None:
        """What keeps people from being told, in a sentence; None when all is well."""
        if self.stands_still:
            return Sentence(
                "Escalation stands still since {n} s: nobody else is told of alerts. See the log, and start Homeward "
                "again.",
                n=(self._clock.runtime() - self._beat) // timedelta(seconds=1),
            )
        if self._faults:
            return Sentence(
                "Somebody could not be told for a fault of ours; it is tried again, and the log says why."
            )
        if self._untold:
            return Sentence(
                "Nobody of the staff could be told of {what}: nobody is on duty with a contact. Enter shifts and "
                "contacts; it is tried again.",
                what=_named(self._untold[0]),
            )
        return None

    def link(self, notice: Notice, trusted: bool = True) -> str:
        """What one of the staff acknowledges an alert by without signing in, and a patient answers a survey by.

        A patient reads behind one what was given to read, and the message itself, also what a rule says to the
        patient, which names no recipient, and asks to be called there; a test message says all where its channel is
        trusted with it, as does any other where no telephone can open a link. What is only to be seen to stands
        behind signing in. The same for the same notice; "" where there is nothing to answer or to read.
        """
        if notice.audience is Audience.PATIENT:
            person = notice.recipient or patient(notice.patient)
            if notice.id.startswith(SURVEY_ID):
                return self._signed(SURVEY, notice.id, person, notice.written_at + VALID)
            if notice.id.startswith(EDUCATION_ID):
                return self._signed(EDUCATION, notice.id, person, notice.written_at + VALID)
            if trusted and (notice.id.startswith(TRIAL_ID) or not self._is_reached_by_patients):
                return ""
            holds = VALID if notice.id.startswith(APPOINTMENT_ID) or is_plain(notice) else LINK_HOLDS
            return self._signed(MESSAGE, notice.id, person, notice.written_at + holds)
        if notice.recipient is None:
            return ""
        if notice.alert is None or notice.id.startswith((OVERDUE_ID, GIVEN_ID)):
            return self._page(notice)
        return self._signed(ACKNOWLEDGE, notice.alert, notice.recipient, notice.written_at + LINK_HOLDS)

    @property
    def _is_reached_by_patients(self) -> bool:
        """Whether links lead anywhere but to the machine on which they are opened."""
        return urlsplit(self.base_url).hostname not in LOOPBACK_NAMES

    def _page(self, notice: Notice) -> str:
        return page_of(notice, self.base_url.rstrip("/"))

    def _signed(self, purpose: str, subject: str, person: str, expires: datetime) -> str:
        claim = Claim(purpose=purpose, subject=subject, person=person, expires_at=expires.replace(microsecond=0))
        return f"{self.base_url.rstrip('/')}/{purpose}/{self.links.sign(claim)}"

    def outdated(self, alert: Alert, token: str, claim: Claim) -> datetime | None:
        """Since when a link acknowledges an alert no more, None where it does.

        It is for the episode of its message (to the second), and for one acknowledgement.
        """
        told = self.book.told_anew_at(alert)
        is_earlier = claim.expires_at - LINK_HOLDS < told.replace(microsecond=0)
        return told if is_earlier or self.links.used_at(token) else None

    def wake(self) -> None:
        """Something was written down. Call it on the loop."""
        self._woken.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        await asyncio.to_thread(self.escalation.begin_handovers, self._clock.now(), self._hub)
        await self.go()  # what fell due before the start waits for no plan
        await asyncio.to_thread(self.escalation.plan_appointments, self._clock.now())
        while True:
            await self.go()
            await self._pause()

    async def go(self) -> None:
        """Do all that is due now."""
        self._step_at = self._clock.runtime()
        try:
            await self._go()
        finally:
            self._step_at = None

    async def _go(self) -> None:
        noted = await asyncio.to_thread(self.escalation.note_overdue, self._clock.now(), self.book.put_for_house)
        taken, faults = noted, 0
        nobody = set(self._untold)
        while True:
            self._step_at = self._clock.runtime()
            cycle = await asyncio.to_thread(self.escalation.run_due, self._clock.now(), list(self.speaker.dead()))
            faults += cycle.faults
            nobody |= cycle.nobody
            taken += cycle.taken + cycle.released
            if not cycle.taken and not cycle.released:
                break
        self._faults = faults
        if nobody:
            self._untold = await asyncio.to_thread(self.escalation.untold, nobody)
        taken += await self._send_surveys()
        await self._tell_of_channels()
        self._beat = self._clock.runtime()
        if taken:
            self.speaker.wake()

    async def _pause(self) -> None:
        waits = asyncio.create_task(self._clock.sleep(PAUSE))
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait([waits, woken], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits.cancel()
            woken.cancel()
        self._woken.clear()

    async def _send_surveys(self) -> int:
        """Ask the patients who were reached how it was, by their own contacts; how many."""
        now = self._clock.now()
        if self._asked_at is not None and timedelta() <= now - self._asked_at < SURVEYS_APART:
            return 0
        self._asked_at = now
        unsent = await asyncio.to_thread(self._follow_ups.unsent_surveys, now)
        return sum([await asyncio.to_thread(self.escalation.send_survey, survey, now) for survey in unsent])

    async def _tell_of_channels(self) -> None:
        """A channel that is dead is an alert of the house itself, told by the others; over when it delivers again.

        Of several hubs each ends what it has opened itself: another one may well deliver.
        """
        dead = self.speaker.dead()
        standing = await asyncio.to_thread(self.book.standing, [HOUSE])
        present = {alert.problem: alert for alert in standing.values() if alert.raising}
        found = [
            self._of_channel(name, Verdict.RAISE, error)
            for name, error in dead.items()
            if _problem(name) not in present
        ]
        for alert in present.values():
            _, _, name = alert.problem.partition(":")
            if alert.evidence == self._mark and name not in dead and self.speaker.delivers(name):
                found.append(self._of_channel(name, Verdict.CLEAR))
        if not found:
            return
        heard = hear_findings(standing, found, self._clock.now())
        with suppress(Overtaken):  # by another hub, or by a person: seen at the next cycle
            await asyncio.to_thread(self.book.record, heard.changes, heard.notices, None, standing.values())
        self.wake()
        self.speaker.wake()

    def _of_channel(self, name: str, verdict: Verdict, error: str = "") -> Finding:
        now = self._clock.now()
        local, fault = now.astimezone(ZoneInfo(self._zone)), known(error)
        en, zh = f"{local.day} {local:%b %H:%M}", f"{local.month}月{local.day}日 {local:%H:%M}"
        said = {
            Verdict.RAISE: Text(
                en=f"The channel {name} has not delivered since {en}: {fault}.",
                zh=f"渠道 {name} 自 {zh} 起无法送达：{_chinese().sentence(fault)}。",
            ),
            Verdict.CLEAR: Text(
                en=f"The channel {name} delivers again since {en}.", zh=f"渠道 {name} 自 {zh} 起已恢复送达。"
            ),
        }
        return Finding(
            patient=HOUSE,
            rule=CHANNEL_DEAD.name,
            problem=_problem(name),
            verdict=verdict,
            priority=CHANNEL_DEAD.priority,
            audience=CHANNEL_DEAD.audience,
            because=said[verdict],
            since=now,
            known_at=now,
            evidence=self._mark,
        )

    async def tell(
        self,
        key: str,
        written: Written,
        *,
        about: str = HOUSE,
        follow_up: str | None = None,
        priority: Priority = Priority.MEDIUM,
        roles: Collection[Role] = _OF_THE_HOUSE,
        also: str | None = None,
    ) -> bool:
        """Tell the channels of the house, and who is on duty in some roles, of a patient or of the house itself.

        about: the patient. follow_up: the id of one that is about the same. also: one of the staff who is told
        beside them ("staff:ID"). The same key is told once. False where
        a team is entered and nobody of it can be told, see `EscalationBook.tell`; without one, where no channel
        of the house reaches staff.
        """
        now = self._clock.now()
        notice = Notice(
            id="n-" + sha256(key.encode()).hexdigest()[:16],
            alert=None,
            patient=about,
            audience=Audience.STAFF,
            priority=priority,
            subject=written.subject,
            body=written.body,
            written_at=now,
            follow_up=follow_up,
        )
        await asyncio.to_thread(self.book.record, (), (notice,))
        told = await asyncio.to_thread(partial(self.escalation.tell, key, notice, roles=roles, also=also, now=now))
        self.speaker.wake()
        return told and (self.speaker.tells_staff or await asyncio.to_thread(self.team.is_kept))

    def _patients(self, names: Collection[str]) -> dict[str, PatientFile]:
        """Who these patients are, of those who are registered; the house has no contacts of its own."""
        found = {known.id: self._file(known) for known in self._people.some(names)}
        if HOUSE in names:
            nobody = Recipient(owner=patient(HOUSE), name="Homeward", language="en", zone=self._zone)
            found[HOUSE] = PatientFile(recipient=nobody, programme=HOUSE)
        return found

    def _file(self, known: Patient) -> PatientFile:
        recipient = Recipient(owner=patient(known.id), name=known.name, language=known.language, zone=known.zone)
        programme = self._rules.care(known.id, care_of(known)).programme
        return PatientFile(recipient=recipient, programme=programme, glucose_unit=known.glucose_unit)

    def _situation(self, alert: Alert, known: PatientFile | None) -> Situation:
        """The last readings of the vital that the alert rests on, as the alert's sentence says them.

        With ketones the newest glucose goes: the sentence knows only what was measured near to them.
        """
        vital = alert.evidence[-1].partition("/")[0] if alert.evidence else ""
        if vital not in list(Vital):
            return Situation()
        now = self._clock.now()
        readings = self._journal.readings(alert.patient, Vital(vital), now - _ABOUT, now + _ABOUT, _READINGS)
        glucose = self._newest_glucose(alert.patient, now - _ABOUT) if vital == Vital.KETONE else None
        zone = known.recipient.zone if known else "UTC"
        return situation_of(readings, zone, known.glucose_unit if known else None, now, glucose=glucose)

    def _newest_glucose(self, patient: str, since: datetime) -> Reading | None:
        until = self._clock.now() + _ABOUT
        newest = [
            each
            for vital in (Vital.CGM, Vital.GLUCOSE)
            for each in self._journal.readings(patient, vital, since, until, 1)
        ]
        return max(newest, key=lambda each: each.taken_at, default=None)

    def _stands(self, notice: Notice) -> bool:
        """Whether a device that a patient is asked about is silent, or a glucose low, still, for all we know."""
        if notice.subject == for_patient(NO_DATA.title):
            silent = silent_in(notice.body)
            return not silent or not silent <= self._heard_since(notice, silent)
        if notice.subject not in _OF_LOWS:
            return True
        newest = self._newest_glucose(notice.patient, notice.written_at)
        return newest is None or not is_no_low(newest)

    def _heard_since(self, notice: Notice, devices: Collection[str]) -> set[str]:
        """The devices of a patient that have brought a value that can be used since a notice was written."""
        now = self._clock.now()
        heard = {name for name, how in self.book.heard_elsewhere(now, devices).items() if how.at > notice.written_at}
        for vital in _EXPECTED:
            newest = self._journal.readings(notice.patient, vital, now - _STORED, now + _ABOUT, _LOOKED_AT)
            heard |= {each.device for each in newest if each.received_at > notice.written_at and is_usable(each)}
        return heard


@cache
def _chinese() -> Language:
    return Language("zh_CN")


def _problem(channel: str) -> str:
    """What the alert of a channel is about; as long as a problem may be."""
    return f"{CHANNEL_DEAD.problem}:{channel}"[:64]


def _named(subject: str) -> Sentence:
    if subject.startswith("f-"):
        return Sentence("follow-up {id}", id=subject)
    return Sentence("alert {id}", id=subject)

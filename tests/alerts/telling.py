"""A clinic whose staff and patients are told: real stores, real channels, a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path

from alerts.alert import Act, ActKind, Alert, Finding, Notice, Outcome, Priority, Text, Verdict
from alerts.book import Book
from alerts.channels import Channel, PersonalChannel, Speaker, page_of, personal_routes, routes
from alerts.escalation import Ladder, Timer
from alerts.escalation_book import EscalationBook, PatientFile
from alerts.follow_up import Deed, FollowUp, Open, Step, decide, follow, opened, worsened
from alerts.follow_up_book import FollowUpBook
from alerts.machine import FactKind, hear, wake
from alerts.messages import Situation
from alerts.outbox import Outbox
from alerts.team import EVERY_DAY, Contact, Practitioner, QuietHours, Recipient, Role, Shift
from alerts.team_book import TeamBook
from gateway.schema import open_database
from tests.alerts.ward import START, finding

BASE = "https://hub.example"
WANG = Practitioner(
    id="wang",
    name="王丽",
    roles=frozenset({Role.NURSE}),
    language="zh_CN",
    zone="Asia/Shanghai",
    contacts=(Contact(channel="app", address="wang"), Contact(channel="sms", address="+8613")),
)
LI = Practitioner(
    id="li",
    name="Li",
    roles=frozenset({Role.DOCTOR}),
    zone="Asia/Shanghai",
    contacts=(Contact(channel="app", address="li"),),
)
BAO = Practitioner(
    id="bao",
    name="Bao",
    roles=frozenset({Role.COORDINATOR}),
    zone="Asia/Shanghai",
    contacts=(Contact(channel="app", address="bao"),),
)
SITUATION = Situation(
    numbers=Text(en="02:00 3.1 mmol/L, 02:05 2.7 mmol/L", zh="02:00 3.1 mmol/L，02:05 2.7 mmol/L"),
    trend=Text(en="falling by 0.08 mmol/L per minute.", zh="每分钟下降 0.08 mmol/L。"),
)


def shift(who: str, role: Role, start: int = 0, end: int = 0) -> Shift:
    """On the wall clock of Shanghai, every day; midnight to midnight by itself."""
    return Shift(
        role=role,
        practitioner=who,
        weekdays=EVERY_DAY,
        start=time(start),
        end=time(end),
        zone="Asia/Shanghai",
        first=date(2026, 1, 1),
    )


class Clinic:
    def __init__(
        self,
        path: Path,
        personal: Sequence[PersonalChannel] = (),
        broadcast: Sequence[Channel] = (),
        *,
        ladders: Sequence[Ladder] = (),
        hub: str = "hub",
    ) -> None:
        self.engine = open_database(f"sqlite:///{path / 'hub.sqlite'}")
        self.now = START
        self.team = TeamBook(self.engine)
        self.outbox = Outbox(self.engine, hub=hub)
        self.escalation = EscalationBook(
            self.engine,
            channels=personal_routes(personal),
            patients_of=self.patients_of,
            situation=lambda _alert, _known: SITUATION,
            ladders=ladders,
            page=lambda notice: page_of(notice, BASE),
        )
        self.book = Book(self.engine, routes=routes(broadcast), beside=[self.escalation.beside])
        self.follow_ups = FollowUpBook(self.engine, [self.escalation.beside_care])
        self.speaker = Speaker(
            self.book, broadcast, base_url=BASE, clock=lambda: self.now, outbox=self.outbox, personal=personal
        )

    def close(self) -> None:
        self.engine.dispose()

    @staticmethod
    def patients_of(names: Collection[str]) -> dict[str, PatientFile]:
        return {
            name: PatientFile(
                recipient=Recipient(owner=f"patient:{name}", name="张伟", language="zh_CN", zone="Asia/Shanghai")
            )
            for name in names
        }

    def staff(self, *, doctor: tuple[int, int] = (0, 0), nurse: tuple[int, int] = (0, 0)) -> None:
        """A nurse and a doctor with their hours on duty, and a coordinator."""
        for one in (WANG, LI, BAO):
            self.team.put(one, now=self.now)
        self.team.add_shift(shift("wang", Role.NURSE, *nurse), now=self.now)
        self.team.add_shift(shift("li", Role.DOCTOR, *doctor), now=self.now)

    def reach_patient(self, *contacts: Contact, quiet: QuietHours | None = None) -> None:
        self.team.put_contacts("patient:p-1", contacts, quiet, now=self.now)

    def hear(self, found: Finding) -> list[Notice]:
        standing = self.book.standing([found.patient])
        heard = hear(standing.get((found.patient, found.problem)), found, self.now)
        return self.book.record(heard.changes, heard.notices)

    def hear_again(self, found: Finding) -> tuple[Step, ...]:
        """The same of an alert that has its follow-up, and is told anew by it; what becomes of the follow-up."""
        standing = self.book.standing([found.patient])[(found.patient, found.problem)]
        heard = hear(standing, found, self.now)
        (change,) = heard.changes
        assert change.fact.what is FactKind.RELAPSED
        followed = self.follow_ups.of_alert(standing.id)
        assert followed is not None
        steps = worsened(change.alert, followed, self.now, change.fact.because, anew=True)
        self.book.record(heard.changes, heard.notices, also=self.follow_ups.writing(steps))
        return steps

    def alarm(self, priority: Priority = Priority.HIGH, patient: str = "p-1") -> Alert:
        since = self.now
        self.hear(replace(finding(patient=patient, priority=priority), since=since, known_at=since))
        (alert,) = self.book.alerts(patient=patient, limit=1)
        return alert

    def act(self, alert: str, kind: ActKind, by: str = "Li") -> None:
        closes = kind is ActKind.CLOSE
        act = Act(
            kind=kind,
            alert=alert,
            by=by,
            at=self.now,
            note="called" if closes else "",
            outcome=Outcome.ADVICE if closes else None,
        )
        self.book.record(hear(self.book.alert(alert), act, self.now).changes)

    def take(self, alert: str, by: str) -> None:
        """Acknowledge an alert, and have its follow-up."""
        act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert, by=by, at=self.now)
        changes = hear(self.book.alert(alert), act, self.now).changes
        self.book.record(changes, also=self.follow_ups.writing(follow(changes[-1].alert, act, None)))

    def open(self, act: Open) -> FollowUp:
        step = opened(act)
        self.follow_ups.record([step])
        return step.follow_up

    def care(self, deed: Deed) -> FollowUp:
        steps = decide(self.follow_ups.get(deed.follow_up), deed)
        self.follow_ups.record(steps)
        return steps[0].follow_up

    def put_off(self, alert: str, hours: float = 4) -> None:
        until = self.now + timedelta(hours=hours)
        act = Act(kind=ActKind.SNOOZE, alert=alert, by="Li", at=self.now, note="new sensor tonight", until=until)
        self.book.record(hear(self.book.alert(alert), act, self.now).changes)

    def wake(self) -> None:
        for alert in self.book.snoozed_until(self.now):
            heard = wake(alert, self.now)
            self.book.record(heard.changes, heard.notices)

    def over(self) -> None:
        self.hear(finding(verdict=Verdict.CLEAR))

    def run(self) -> int:
        """Do all that is due now; how many timers were taken."""
        taken = self.escalation.note_overdue(self.now, self.book.put_for_house)
        while (cycle := self.escalation.run_due(self.now, self.speaker.dead())).taken or cycle.released:
            assert not cycle.faults
            taken += cycle.taken
        return taken

    async def at(self, minutes: float) -> None:
        """Go on to so many minutes after the start, doing all that falls due on the way when it does."""
        end = START + timedelta(minutes=minutes)
        while True:
            self.wake()
            for _ in range(2):  # what fails may release the next contact
                self.run()
                while await self.speaker.speak():
                    pass
            if self.now >= end:
                return
            self.now = min(end, self.now + timedelta(minutes=1))

    async def skip(self, minutes: float) -> None:
        """Go on to so many minutes after the start at once, as a house does that was down, and a minute more."""
        self.now = max(self.now, START + timedelta(minutes=minutes - 1))
        await self.at(minutes)

    def told(self, alert: str) -> list[tuple[str, datetime]]:
        return [(each.recipient or "all", each.written_at) for each in self.book.notices(alert)]

    def results(self, alert: str) -> list[tuple[str, str]]:
        return [
            (each.step.to if each.step else "", str(each.result))
            for each in self.timers(alert)
            if each.kind == "step"
        ]

    def timers(self, alert: str) -> list[Timer]:
        return self.escalation.timers(alert)

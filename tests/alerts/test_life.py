"""The whole life: findings, acts, time, restarts and a channel that fails, in any order, on real stores."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from alerts.alert import (
    HOUSE,
    Act,
    ActKind,
    Audience,
    Finding,
    IllegalAct,
    Notice,
    Outcome,
    Priority,
    Reason,
    Symptom,
    Verdict,
)
from alerts.audit import entries
from alerts.book import Book, rebuilt
from alerts.channels import Speaker, personal_routes
from alerts.delivery import worst_for_patients
from alerts.follow_up import Attempt, Claim, Close, Deed, Fact, HandOver, Postpone, Result, What, replay
from alerts.follow_up_book import FollowUpBook
from alerts.machine import snooze_at_most
from alerts.record import differences, tally
from alerts.rules import PLAIN, RULES
from alerts.team import Contact, Role
from gateway.bulletin import Bulletin
from gateway.duty import Duty
from gateway.people import Patient, People
from gateway.schema import open_database
from gateway.ward import Ward
from ingest.journal import Journal
from tests.alerts.telling import BAO, LI, WANG, shift
from tests.alerts.test_telling import Ear
from tests.alerts.trouble import Trouble
from tests.alerts.ward import START, finding

MINUTE: Final = timedelta(minutes=1)
# What docs/telling.md promises of high priority; by the ladder of this clinic the nurse on duty is told at once.
TOLD_WITHIN: Final = timedelta(minutes=15)
# After everything was cut, back-off and the next repetition of the ladder: half an hour, and what a step may take.
AFTER_A_FAULT: Final = timedelta(minutes=40)
# Minutes from one look of the house to the next; the last are longer than any ladder may leave staff untold.
A_WHILE: Final = ((), (1,), (1, 3), (1, 4, 5, 10))
PATIENTS: Final = ("p-1", "p-2")
RULES_USED: Final = ("low-event-2", "low-event-1", "low-extended", "bp-low", "bp-severe", "ketone", "late-data")
LATE: Final = "late-data"  # a rule, and its problem
REACHES: Final = {Result.REACHED, Result.DECLINED}
NAMES: Final = ("王丽", "Li", "Bao", "somebody else")
SOME_NAME, SOME_TEXT = st.sampled_from(NAMES), st.sampled_from(["", " ", "a note"])
SOME_OUTCOME = st.sampled_from([None, *Outcome])
SOME_REASON = st.sampled_from([None, *Reason])
SOME_SYMPTOMS = st.sampled_from([None, frozenset(), frozenset({Symptom.CHEST_PAIN})])


def tells(notice: Notice, since: datetime) -> bool:
    """Whether it tells of an alert of high priority as it is since then; what is to be done about it is another."""
    is_of_alert = notice.follow_up is None and not notice.subject.en.startswith("Condition over: ")
    return is_of_alert and notice.priority is Priority.HIGH and notice.written_at >= since


def rules_about(problem: str) -> Sequence[str]:
    return [each for each in RULES_USED if RULES[each].problem == problem]


class HandClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def elapsed(self) -> timedelta:
        return self.time - START

    runtime = elapsed

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nothing waits here")


class Hub:
    """What decides, tells and writes of a house, on the stores of a folder."""

    def __init__(self, folder: Path, clock: HandClock, *channels: Ear) -> None:
        self.engine = open_database(f"sqlite:///{folder / 'hub.sqlite'}")
        self.people, self.journal = People(self.engine), Journal(folder / "journal.sqlite")
        ways = personal_routes(channels)
        self.duty = Duty(self.engine, self.people, self.journal, clock, rules=PLAIN, channels=ways)
        self.book = Book(self.engine, routes={}, beside=[self.duty.escalation.beside])
        self.follow_ups = FollowUpBook(self.engine, [self.duty.escalation.beside_care])
        self.speaker = Speaker(
            self.book, [], base_url="https://hub", clock=clock.now, outbox=self.duty.outbox, personal=channels
        )
        self.duty.book, self.duty.speaker = self.book, self.speaker
        self.ward = Ward(
            self.journal, self.people, self.book, self.follow_ups, Bulletin(), clock=clock, told=lambda: None
        )

    async def go(self) -> None:
        """Do all that is due."""
        while await self.ward.tick():
            pass
        for _ in range(2):  # what fails may release the next contact
            await self.duty.go()
            while await self.speaker.speak():
                pass

    def close(self) -> None:
        self.journal.close()
        self.engine.dispose()


@cache
def furnished() -> Path:
    """The stores of a clinic with its staff on duty all day and two patients, made once."""
    folder = Path(tempfile.mkdtemp(prefix="life-"))
    hub = Hub(folder, HandClock())
    for one in (WANG, LI, BAO):
        hub.duty.team.put(one, now=START)
    hub.duty.team.add_shift(shift("wang", Role.NURSE), now=START)
    hub.duty.team.add_shift(shift("li", Role.DOCTOR), now=START)
    for name in PATIENTS:
        hub.people.add_patient(Patient(id=name, name=name, zone="Asia/Shanghai"), now=START)
    hub.duty.team.put_contacts("patient:p-1", [Contact(channel="app", address="p")], now=START)
    hub.close()
    return folder


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.clock = HandClock()
        self.app, self.sms = Ear("app"), Ear("sms", trusted=False)
        self.troubles: dict[tuple[str, str], Trouble] = {}
        self.listened = {self.app.name: 0, self.sms.name: 0}  # how many messages were looked at
        self.cut_at = self.hindered_at = self.deaf_until = self.looked_at = START - MINUTE
        self.names: set[str] = set()

    @initialize()
    def begin(self) -> None:
        shutil.copytree(furnished(), self.folder, dirs_exist_ok=True)
        self.hub = Hub(self.folder, self.clock, self.app, self.sms)

    def teardown(self) -> None:
        self.hub.close()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def now(self) -> datetime:
        """No two things happen at one moment."""
        self.clock.time += timedelta(seconds=1)
        return self.clock.time

    # What happens

    @rule(data=st.data(), then=st.sampled_from(A_WHILE))
    def is_found(self, data: st.DataObject, then: Sequence[int]) -> None:
        """One after the other, in one step: as what a sensor, a meter and the time say."""
        now = self.now()
        self.hears([self.some_finding(data, now) for _ in range(data.draw(st.integers(1, 3)))], now)
        self.passes(then)

    @rule(
        name=st.sampled_from(RULES_USED),
        patient=st.sampled_from(PATIENTS),
        mild=st.sampled_from([Priority.LOW, Priority.MEDIUM]),
        first=st.sampled_from(A_WHILE[1:3]),
        then=st.sampled_from(A_WHILE),
    )
    def gets_worse(self, name: str, patient: str, mild: Priority, first: Sequence[int], then: Sequence[int]) -> None:
        """One episode, of high priority after a while."""
        since = self.clock.time
        for priority, minutes in ((mild, first), (Priority.HIGH, then)):
            now = self.now()
            self.hears([finding(name, priority=priority, since=since, known_at=now, patient=patient)], now)
            self.passes(minutes)

    def hears(self, found: Sequence[Finding], now: datetime) -> None:
        self.run(self.hub.ward._hear(PATIENTS, [[each] for each in found], now))
        standing = self.hub.book.standing(PATIENTS)
        heard = [each for each in found if each.verdict is not Verdict.HOLD]
        for each in {(each.patient, each.rule): each for each in heard}.values():
            if each.verdict is Verdict.RAISE and each.audience is Audience.STAFF:
                alert = standing[each.patient, each.problem]
                assert each.rule in alert.raising, "it is in an alert"
                assert alert.closed_at is None or each.priority <= alert.priority, "or a closed one covers it"
        # A patient who is told of worse does not hear of the rest, and neither does an alert.
        for each in [one for told in worst_for_patients([[one] for one in found]) for one in told]:
            trouble = each.patient, each.problem
            if known := Trouble.hears(self.troubles.get(trouble), each, now):
                self.troubles[trouble] = known
                known.alert = standing[trouble].id if trouble in standing else known.alert
        for trouble, known in self.troubles.items():
            if known.is_closed and not known.raising:
                assert trouble not in standing
                continue
            alert = standing[trouble]
            assert (alert.priority, alert.raising) == (known.priority, frozenset(known.raising))
            assert bool(alert.acknowledged_at or alert.closed_at) == (known.seen_at is not None)

    def some_finding(self, data: st.DataObject, now: datetime) -> Finding:
        # As often about what is known as about anything: what stands gets worse, and what was over comes again.
        known = data.draw(st.none() | st.sampled_from(sorted(self.troubles))) if self.troubles else None
        patient = known[0] if known else data.draw(st.sampled_from(PATIENTS))
        name = data.draw(st.sampled_from(rules_about(known[1]) if known else RULES_USED))
        since = now - data.draw(st.sampled_from([timedelta(), 20 * MINUTE, timedelta(hours=6)]))
        plain = finding(
            name,
            data.draw(st.sampled_from([Verdict.RAISE, Verdict.RAISE, Verdict.HOLD, Verdict.CLEAR])),
            priority=data.draw(st.sampled_from(Priority)),
            audience=data.draw(st.sampled_from([Audience.STAFF, Audience.STAFF, Audience.PATIENT])),
            since=since,
            known_at=now,
            patient=patient,
            evidence=(f"r-{now.isoformat()}",),
        )
        emergency = plain.priority > Priority.LOW and data.draw(st.integers(0, 3)) == 0
        return replace(plain, emergency_at=now if emergency else None)

    @rule(data=st.data(), by=SOME_NAME, note=SOME_TEXT, outcome=SOME_OUTCOME, symptoms=SOME_SYMPTOMS)
    def somebody_acts_on_an_alert(
        self, data: st.DataObject, by: str, note: str, outcome: Outcome | None, symptoms: Any
    ) -> None:
        alerts = self.hub.book.alerts()
        if not alerts:
            return
        now = self.now()
        kind = data.draw(st.sampled_from(ActKind))
        act = Act(
            kind=kind,
            alert=data.draw(st.sampled_from(alerts)).id,
            by=by,
            at=now,
            note=note,
            outcome=outcome if kind is ActKind.CLOSE else None,
            reason=data.draw(SOME_REASON) if kind is ActKind.CLOSE and outcome is Outcome.NO_ACTION else None,
            symptoms=symptoms if kind is ActKind.CLOSE else None,
            until=now + data.draw(st.sampled_from([-MINUTE, 10 * MINUTE, timedelta(hours=4), timedelta(hours=24)])),
        )
        known = self.trouble_of(act.alert)
        if not self.attempted(self.hub.ward.act(act)) or not known:
            return
        if kind is ActKind.ACKNOWLEDGE:
            known.sees(now)
        elif kind is ActKind.CLOSE:
            known.closes(now)
        elif act.until:
            known.waits(now, act.until)

    @rule(data=st.data(), by=SOME_NAME, note=SOME_TEXT, outcome=SOME_OUTCOME, symptoms=SOME_SYMPTOMS)
    def somebody_acts_on_a_follow_up(
        self, data: st.DataObject, by: str, note: str, outcome: Outcome | None, symptoms: Any
    ) -> None:
        known = [each for name in PATIENTS for each in self.hub.follow_ups.of_patient(name)]
        if not known:
            return
        follow_up = data.draw(st.sampled_from(known))
        now, name = self.now(), follow_up.id
        reason = data.draw(SOME_REASON) if outcome is Outcome.NO_ACTION else None
        deeds: list[Deed] = [
            Claim(follow_up=name, by=by, at=now),
            HandOver(follow_up=name, by=by, at=now, note=note, role=data.draw(st.sampled_from(Role))),
            HandOver(follow_up=name, by=by, at=now, note=note, to=data.draw(SOME_NAME)),
            Attempt(
                follow_up=name,
                by=by,
                at=now,
                channel="telephone",
                result=data.draw(st.sampled_from(Result)),
                note=note,
                symptoms=symptoms,
            ),
            Postpone(follow_up=name, by=by, at=now, until=now + timedelta(hours=3), note=note),
            Close(follow_up=name, by=by, at=now, outcome=outcome, note=note, symptoms=symptoms, reason=reason),
        ]
        deed = data.draw(st.sampled_from(deeds))
        trouble = self.trouble_of(follow_up.alert)
        if not self.attempted(self.hub.ward.care(deed)) or not trouble or trouble.is_closed:
            return
        takes = isinstance(deed, Claim) or (isinstance(deed, Attempt) and deed.result in REACHES)
        if isinstance(deed, Close):
            trouble.closes(now)
        elif takes and not trouble.seen_at:
            trouble.sees(now)

    def attempted(self, deed: Coroutine[Any, Any, Any]) -> bool:
        with suppress(IllegalAct):
            self.run(deed)
            return True
        return False

    def trouble_of(self, alert: str | None) -> Trouble | None:
        return next((each for each in self.troubles.values() if each.alert == alert), None)

    @rule(minutes=st.sampled_from(A_WHILE[1:]))
    def time_passes(self, minutes: Sequence[int]) -> None:
        self.passes(minutes)

    def passes(self, minutes: Sequence[int]) -> None:
        """The house looks after so many minutes each, and who hears of what is seen after each look."""
        for each in minutes:
            self.clock.time += each * MINUTE
            self.run(self.hub.go())
            self.looked_at = self.clock.time
            self.house_has_looked()
            self.no_urgent_one_stays_untold()

    def house_has_looked(self) -> None:
        """What time alone brings about: what was put off is so no longer, and data that came late do so no more."""
        for trouble in self.troubles.values():
            trouble.wakes(self.clock.time)
        late = {name: known for name in PATIENTS if (known := self.troubles.get((name, LATE))) and known.raising}
        standing = self.hub.book.standing(late) if late else {}
        for name, known in late.items():
            if (name, LATE) not in standing or not standing[name, LATE].raising:
                known.hears(known, finding(LATE, Verdict.CLEAR, patient=name), self.clock.time)

    @rule(span=st.sampled_from([timedelta(minutes=20), timedelta(hours=4), timedelta(hours=50)]))
    def the_house_is_down(self, span: timedelta) -> None:
        self.starts_anew()
        self.clock.time += span
        self.hindered_at = self.clock.time

    @rule()
    def starts_anew(self) -> None:
        self.hub.close()
        self.hub = Hub(self.folder, self.clock, self.app, self.sms)

    @rule(cut=st.sampled_from([(False, False), (True, False), (False, True), (True, True)]))
    def a_channel_fails_or_delivers_again(self, cut: tuple[bool, bool]) -> None:
        now, before = self.now(), (self.app.cut, self.sms.cut)
        self.app.cut, self.sms.cut = cut
        if cut != before:
            self.cut_at = now
        if any(is_cut and not was_cut for is_cut, was_cut in zip(cut, before, strict=True)):
            self.hindered_at = now
        if all(before):
            self.deaf_until = now

    # What holds

    @invariant()
    def none_is_closed_without_an_outcome_a_person_and_a_note(self) -> None:
        alerts = self.hub.book.alerts(limit=1000)
        assert self.names <= {each.id for each in alerts}, "none is lost"
        self.names = {each.id for each in alerts}
        closed = {each.id: each for each in alerts if each.closed_at}
        follow_ups = self.hub.follow_ups.of_alerts(closed)
        for name, each in closed.items():
            assert each.closed_by
            assert each.outcome
            assert each.closing_note
            assert each.closing_note.strip()
            if each.patient != HOUSE:  # a dead channel is nobody's follow-up
                assert (follow_ups[name].outcome, follow_ups[name].closing_note) == (each.outcome, each.closing_note)
                assert follow_ups[name].reason == each.reason
                assert (each.reason is not None) == (each.outcome is Outcome.NO_ACTION)

    @invariant()
    def no_urgent_one_stays_untold(self) -> None:
        """By what was found and done, and by what came to one of the staff since: of it, as it is, not of its end."""
        for ear in (self.app, self.sms):
            heard, self.listened[ear.name] = ear.heard[self.listened[ear.name] :], len(ear.heard)
            for address, message in heard:
                trouble = self.trouble_of(message.notice.alert)
                if trouble and trouble.owed_since and address != "p" and tells(message.notice, trouble.owed_since):
                    trouble.owed_since = None
        for trouble in self.troubles.values():
            if trouble.owed_since and not (self.app.cut and self.sms.cut):
                assert self.looked_at <= self.latest(trouble.owed_since), f"{trouble.alert} stays untold"

    def latest(self, owed_since: datetime) -> datetime:
        """Until when somebody of the staff is told of what is owed since then."""
        if self.deaf_until >= owed_since:
            return max(self.deaf_until + AFTER_A_FAULT, self.hindered_at + TOLD_WITHIN)
        whole = not (self.app.cut or self.sms.cut or max(self.cut_at, self.hindered_at) >= owed_since)
        return owed_since + MINUTE if whole else max(owed_since, self.hindered_at) + TOLD_WITHIN

    @invariant()
    def nothing_urgent_is_put_off_and_what_is_tells_no_staff(self) -> None:
        for alert in self.hub.book.open_alerts():
            if alert.snoozed_until is None or alert.snoozed_at is None:
                continue
            most = snooze_at_most(alert)
            assert most is not None
            assert alert.priority is not Priority.HIGH
            assert alert.acknowledged_at is None
            assert alert.snoozed_at < alert.snoozed_until <= alert.snoozed_at + most
            told = [each for each in self.hub.book.notices(alert.id) if each.written_at > alert.snoozed_at]
            to_staff = [each for each in told if each.recipient and each.audience is Audience.STAFF]
            assert all(each.subject.en.startswith("Condition over: ") for each in to_staff)

    @invariant()
    def what_is_overdue_is_noted_once_for_each_time(self) -> None:
        for each in self.follow_ups():
            noted: Fact | None = None
            since: set[What] = set()
            for fact in self.hub.follow_ups.history(each.id):
                if fact.what is What.OVERDUE:
                    assert fact.at > fact.due_at
                    anew = since & {What.HANDED_OVER, What.WORSENED}
                    assert noted is None or noted.due_at != fact.due_at or anew
                    noted, since = fact, set()
                else:
                    since.add(fact.what)

    @invariant()
    def the_record_makes_what_stands(self) -> None:
        for each in self.follow_ups():
            assert replay(self.hub.follow_ups.history(each.id)) == each
        for alert in self.hub.book.alerts(limit=1000):
            record = entries(self.hub.engine, subject=f"alert:{alert.id}", limit=1000)[::-1]
            assert [each.what for each in record] == [fact.what for fact in self.hub.book.history(alert.id)]
            assert rebuilt(record) == replace(alert, evidence=())
        assert list(differences(self.hub.engine, tally(self.hub.engine), lambda _: None)) == []

    def follow_ups(self) -> list[Any]:
        return [each for name in PATIENTS for each in self.hub.follow_ups.of_patient(name, limit=1000)]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

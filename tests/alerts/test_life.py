"""The whole life: findings, acts, time, restarts and a channel that fails, in any order, on real stores."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
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
    Alert,
    Audience,
    Finding,
    IllegalAct,
    Outcome,
    Priority,
    Reason,
    Symptom,
    Verdict,
)
from alerts.audit import entries
from alerts.book import Book, _alert_row, _to_audit
from alerts.channels import Speaker, personal_routes
from alerts.escalation import CRITICAL_WITHIN
from alerts.follow_up import Attempt, Claim, Close, Deed, Fact, HandOver, Postpone, Result, What, replay
from alerts.follow_up_book import FollowUpBook
from alerts.machine import FactKind, snooze_at_most
from alerts.rules import PLAIN
from alerts.team import Contact, Role
from gateway.bulletin import Bulletin
from gateway.duty import Duty
from gateway.people import Patient, People
from gateway.schema import open_database
from gateway.ward import Ward
from ingest.journal import Journal
from ingest.reading import to_us
from tests.alerts.telling import BAO, LI, WANG, shift
from tests.alerts.test_telling import Ear
from tests.alerts.ward import START, finding

MINUTE: Final = timedelta(minutes=1)
# After everything was cut, back-off and the next repetition of the ladder: half an hour, and what a step may take.
AFTER_A_FAULT: Final = timedelta(minutes=40)
PATIENTS: Final = ("p-1", "p-2")
RULES_USED: Final = ("low-event-2", "low-event-1", "low-extended", "bp-low", "bp-severe", "ketone", "late-data")
NAMES: Final = ("王丽", "Li", "Bao", "somebody else")
SOME_NAME, SOME_TEXT = st.sampled_from(NAMES), st.sampled_from(["", " ", "a note"])
SOME_OUTCOME = st.sampled_from([None, *Outcome])
SOME_REASON = st.sampled_from([None, *Reason])
SOME_SYMPTOMS = st.sampled_from([None, frozenset(), frozenset({Symptom.CHEST_PAIN})])


class HandClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def elapsed(self) -> timedelta:
        return self.time - START

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
        self.steady_since = START  # nothing was cut, and nothing stood still
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

    @rule(data=st.data())
    def is_found(self, data: st.DataObject) -> None:
        """One after the other, in one step: as what a sensor, a meter and the time say."""
        now = self.now()
        found = [self.some_finding(data, now) for _ in range(data.draw(st.integers(1, 3)))]
        self.run(self.hub.ward._hear(PATIENTS, [[each] for each in found], now))
        standing = self.hub.book.standing(PATIENTS)
        heard = [each for each in found if each.verdict is not Verdict.HOLD]
        for each in {(each.patient, each.rule): each for each in heard}.values():
            if each.verdict is Verdict.RAISE and each.audience is Audience.STAFF:
                alert = standing[each.patient, each.problem]
                assert each.rule in alert.raising, "it is in an alert"
                assert alert.closed_at is None or each.priority <= alert.priority, "or a closed one covers it"

    def some_finding(self, data: st.DataObject, now: datetime) -> Finding:
        name = data.draw(st.sampled_from(RULES_USED))
        since = now - data.draw(st.sampled_from([timedelta(), 20 * MINUTE, timedelta(hours=6)]))
        plain = finding(
            name,
            data.draw(st.sampled_from([Verdict.RAISE, Verdict.RAISE, Verdict.HOLD, Verdict.CLEAR])),
            priority=data.draw(st.sampled_from(Priority)),
            audience=data.draw(st.sampled_from([Audience.STAFF, Audience.STAFF, Audience.PATIENT])),
            since=since,
            known_at=now,
            patient=data.draw(st.sampled_from(PATIENTS)),
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
        self.attempted(self.hub.ward.act(act))

    @rule(data=st.data(), by=SOME_NAME, note=SOME_TEXT, outcome=SOME_OUTCOME, symptoms=SOME_SYMPTOMS)
    def somebody_acts_on_a_follow_up(
        self, data: st.DataObject, by: str, note: str, outcome: Outcome | None, symptoms: Any
    ) -> None:
        known = [each for name in PATIENTS for each in self.hub.follow_ups.of_patient(name)]
        if not known:
            return
        now, name = self.now(), data.draw(st.sampled_from(known)).id
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
        self.attempted(self.hub.ward.care(data.draw(st.sampled_from(deeds))))

    def attempted(self, deed: Coroutine[Any, Any, Any]) -> None:
        with suppress(IllegalAct):
            self.run(deed)

    @rule(minutes=st.integers(1, 6))
    def time_passes(self, minutes: int) -> None:
        for _ in range(minutes):
            self.clock.time += MINUTE
            self.run(self.hub.go())

    @rule(span=st.sampled_from([timedelta(minutes=20), timedelta(hours=4), timedelta(hours=50)]))
    def the_house_is_down(self, span: timedelta) -> None:
        self.starts_anew()
        self.clock.time += span
        self.steady_since = self.clock.time

    @rule()
    def starts_anew(self) -> None:
        self.hub.close()
        self.hub = Hub(self.folder, self.clock, self.app, self.sms)

    @rule(cut=st.sampled_from([(False, False), (True, False), (False, True), (True, True)]))
    def a_channel_fails_or_delivers_again(self, cut: tuple[bool, bool]) -> None:
        self.app.cut, self.sms.cut = cut
        self.steady_since = self.clock.time

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
        reached = {}
        for address, message in (*self.app.heard, *self.sms.heard):
            if address != "p" and message.notice.alert:
                at = reached.setdefault(message.notice.alert, message.notice.written_at)
                reached[message.notice.alert] = max(at, message.notice.written_at)
        for alert in self.hub.book.open_alerts():
            if alert.priority is not Priority.HIGH or alert.acknowledged_at or (self.app.cut and self.sms.cut):
                continue
            anew = self.told_anew(alert)
            latest = anew + CRITICAL_WITHIN if self.steady_since <= anew else self.steady_since + AFTER_A_FAULT
            assert self.clock.time <= latest + MINUTE or reached.get(alert.id, START) >= anew, alert.id

    def told_anew(self, alert: Alert) -> datetime:
        """When the last run of its ladder began, by its facts."""
        what = {FactKind.OPENED, FactKind.WORSENED, FactKind.RELAPSED, FactKind.SNOOZE_ENDED}
        runs = {timer.run for timer in self.hub.duty.escalation.timers(alert.id) if timer.kind == "begin"}
        told = [fact.at for fact in self.hub.book.history(alert.id) if fact.what in what and fact.at in runs]
        assert told, f"{alert.id} has never had a ladder"
        return max(told)

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
            made = {name: value for each in record for name, value in (each.after or {}).items() if name != "channel"}
            now = _to_audit(_alert_row(alert)) | {"notified_at_us": alert.notified_at and to_us(alert.notified_at)}
            assert {**dict.fromkeys(now), **made} == now

    def follow_ups(self) -> list[Any]:
        return [each for name in PATIENTS for each in self.hub.follow_ups.of_patient(name, limit=1000)]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

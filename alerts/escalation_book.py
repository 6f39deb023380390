"""The timers of escalation, stored; and what is done when they are due.

`beside` is called in the transaction of each step of the book of alerts (`alerts.book.Beside`): what begins and ends
runs is written with the facts that say so. `run_due` does what is due, in one transaction for the timers, the notices
they write, and the timers that follow: a crash repeats nothing and skips nothing. Two hubs on one database never take
the same timer. Every call blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, lru_cache, partial
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from alerts.alert import Alert, Audience, IllegalAct, Notice, Priority, Text, together
from alerts.audit import audited
from alerts.book import (
    alerts_in,
    ended_in,
    last_end_in,
    lasting_in,
    notices_in,
    notices_to_in,
    owed_an_end_in,
    unacknowledged_names,
)
from alerts.database import METADATA, among, reading, writing
from alerts.device_rules import DEVICE_RULES
from alerts.escalation import (
    BESIDE_RUNS,
    MESSAGES_WITHIN,
    MOST_MESSAGES,
    MOST_STEPS,
    PATIENT,
    PREFERRED,
    Ladder,
    Next,
    Result,
    Step,
    Timer,
    TimerKind,
    Until,
    after_check,
    after_telling,
    after_waiting,
    begin,
    ends,
    is_day,
    is_handed_over,
    is_over,
    lacks_handover,
    ladder_for,
    morning,
    next_look,
    overdue_ladder,
    people,
    put_off_until,
    roles_to_hand_over,
    waits_until,
    ways,
)
from alerts.follow_up import ACT_WITHIN, CALL_WITHIN, FollowUp, Open, Why, follow_up_of, is_given
from alerts.follow_up import Fact as CareFact
from alerts.follow_up_book import (
    HOMEWARD,
    Given,
    appointments_in,
    as_it_was,
    called_about,
    close_tasks,
    coming_names,
    doubts_in,
    follow_ups_in,
    given_in,
    given_up_in,
    is_overdue_unnoted,
    join_call_in,
    note_overdue,
    of_alerts_in,
    open_in,
    overdue_beside,
    overdue_names,
    take_survey,
    tasks_in,
)
from alerts.invitation import APPOINTMENT_ID, Appointment, asked_at, is_soon, reminder_at
from alerts.machine import Change, FactKind, for_patient
from alerts.messages import (
    CALL_ID,
    GIVEN_ID,
    OVERDUE_ID,
    PLAIN_ID,
    TRIAL_ID,
    Doubts,
    Situation,
    Written,
    alert_message,
    all_clear_message,
    appointment_message,
    call_message,
    digest_message,
    given_message,
    is_end,
    is_plain,
    overdue_message,
    says_all_of,
    was_it_kept,
    write,
)
from alerts.outbox import (
    Call,
    Outgoing,
    delivered_in,
    is_release_due,
    joined,
    note_joined,
    put_off_in,
    release_due,
    timer_of_put_off,
    told_in,
    told_later_in,
    tried_in,
    waiting_for,
)
from alerts.rule import Rule
from alerts.rules import RULES
from alerts.staffing import is_told_at_once
from alerts.survey import EDUCATION_ID, MATERIALS, SURVEY_ID, Survey
from alerts.team import TELEPHONE, Contact, Practitioner, QuietHours, Recipient, Role, Rota, patient, staff
from alerts.team_book import anybody_in, contacts_in, rota_in
from ingest.reading import from_us, to_us
from ingest.vital import Unit

logger: Final = logging.getLogger(__name__)

_Ways = tuple[tuple[Contact, ...], QuietHours | None]
_Tell = Callable[[str, Recipient], Result]
_AT_ONCE: Final = 250  # timers of one transaction
_OF_DEVICE: Final = frozenset(for_patient(rule.title) for rule in DEVICE_RULES)
_MOST_IN_FULL: Final = 5  # messages that another one repeats to staff
_TOGETHER: Final = timedelta(minutes=2)  # what is told to one person within is told once
_WITH_OTHERS: Final = timedelta(minutes=15)  # half of the time after which what is overdue is told again
_AFTER_A_FAULT: Final = timedelta(minutes=1)
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)  # the run of what is done once
_IN_RESERVE: Final = (Role.COORDINATOR, Role.DOCTOR)  # who is told where nobody on duty can be
_LOW: Final = "glucose-low"
_PAST: Final = "The day of the appointment is past. 预约日期已过。"
_HOUR: Final = timedelta(hours=1)
_TO_NOTE: Final = timedelta(hours=12)  # whether an appointment was kept: until the evening of the day after
_REMINDER: Final = "r"  # how the id of a notice ends by which a patient is reminded of an appointment
_OF_WAY: Final = 0.25  # of the time until an appointment, in which the patient is to be told of it by telephone
_SAID: Final = frozenset({Result.TOLD, Result.NOT_DELIVERED, Result.DELIVERED})
# Facts with which staff are told anew, where they are told.
_ANEW: Final = frozenset({FactKind.OPENED, FactKind.WORSENED, FactKind.RELAPSED, FactKind.SNOOZE_ENDED})

_timers = Table(
    "escalations",
    METADATA,
    Column("id", String(24), primary_key=True),
    Column("subject", String(80), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("run_us", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("step", JSON),
    Column("due_us", BigInteger, nullable=False),
    Column("done_us", BigInteger),
    Column("result", String(16)),
    Column("who", JSON, nullable=False),
)
_is_left: Final = _timers.c.done_us.is_(None)
Index("escalations_due", _timers.c.due_us, sqlite_where=_is_left, postgresql_where=_is_left)
Index("escalations_of", _timers.c.subject, _timers.c.run_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFile:
    """What has to be known of a patient to tell him or her: the person without contacts, the programme, the unit."""

    recipient: Recipient
    programme: str | None = None
    glucose_unit: Unit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """What came of one transaction.

    lag: how late the first of its timers was taken. faults: timers that failed. nobody: alerts and follow-ups of
    which a step found nobody of the staff.
    """

    taken: int = 0
    released: int = 0
    lag: timedelta = timedelta()
    faults: int = 0
    nobody: frozenset[str] = frozenset()


class EscalationBook:
    """The timers. channels: names of the personal channels that are configured, by whom they may reach.

    patients_of: who some patients are, of those who are registered. situation: the last readings about an alert, on
    the patient's own wall clock; it may fail, and the message then goes without. page: where staff who sign in see
    what a notice is about, "" where there is no such page. stands: whether what a rule said to a patient is so
    still, as far as readings show it; asked of what was put off.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        channels: Mapping[Audience, Collection[str]],
        patients_of: Callable[[Collection[str]], Mapping[str, PatientFile]],
        situation: Callable[[Alert, PatientFile | None], Situation] = lambda _alert, _known: Situation(),
        ladders: Sequence[Ladder] = (),
        page: Callable[[Notice], str] = lambda _notice: "",
        stands: Callable[[Notice], bool] = lambda _notice: True,
    ) -> None:
        self._engine = engine
        self._channels = channels
        self.patients_of = patients_of
        self.situation = situation
        self.ladders = ladders
        self.page = page
        self.stands = stands

    def beside(self, db: Connection, changes: Sequence[Change], notices: Sequence[Notice]) -> None:
        """Begin and end runs as alerts change, and have the patients' own contacts told what is for them."""
        told = {notice.alert for notice in notices if notice.audience is Audience.STAFF}
        # An alert may be told anew twice in one step: by a sensor it opens, by a meter it gets worse. One run begins.
        anew = {each.alert.id: each for each in changes if each.fact.what in _ANEW and each.alert.id in told}
        for change in changes:
            alert, fact = change.alert, change.fact
            if fact.what in _ANEW:
                if anew.get(alert.id) is change:
                    _end(db, alert.id, Result.TOLD_ANEW, fact.at)
                    if anybody_in(db) or _is_reached(db, alert.patient):
                        _plan(db, [_one(alert.id, TimerKind.BEGIN, fact.at, alert.priority)])
            elif fact.what is FactKind.ACKNOWLEDGED:
                _end(db, alert.id, Result.ACKNOWLEDGED, fact.at)
            elif fact.what is FactKind.SNOOZED:
                _end(db, alert.id, Result.SNOOZED, fact.at)
            elif fact.what is FactKind.CONDITION_GONE:
                _end(db, alert.id, Result.CONDITION_GONE, fact.at)
                _plan(db, [_one(alert.id, TimerKind.ALL_CLEAR, fact.at, alert.priority)])
            elif fact.what in {FactKind.CLOSED, FactKind.SUPERSEDED}:
                _end(db, alert.id, Result.CLOSED, fact.at)
        _plan(
            db,
            [
                _one(notice.id, TimerKind.NOTICE, notice.written_at, notice.priority)
                for notice in notices
                if notice.audience is Audience.PATIENT
                and notice.recipient is None
                and _is_reached(db, notice.patient)
            ],
        )

    def ways(self, recipient: Recipient, channel: str = PREFERRED) -> tuple[Contact, ...]:
        """The contacts of somebody that can be used, in the order in which they are tried."""
        return ways(recipient, channel, self._channels.get(recipient.audience, ()))

    def channels(self, audience: Audience) -> tuple[str, ...]:
        """The channels that may reach somebody of an audience."""
        return tuple(self._channels.get(audience, ()))

    @property
    def dialled(self) -> frozenset[str]:
        """All channels that are configured, a telephone maybe among them."""
        return frozenset(name for names in self._channels.values() for name in names)

    def next_due(self) -> datetime | None:
        """When the next timer is due (aware UTC), None when there is none."""
        with reading(self._engine) as db:
            found = db.execute(select(func.min(_timers.c.due_us)).where(_is_left)).scalar()
        return None if found is None else from_us(found)

    def timers(self, subject: str) -> list[Timer]:
        """All timers of an alert, in the order of their moments."""
        query = select(_timers).where(_timers.c.subject == subject)
        with reading(self._engine) as db:
            return [
                _timer(row) for row in db.execute(query.order_by(_timers.c.run_us, _timers.c.due_us, _timers.c.id))
            ]

    def handed_on(self, notices: Collection[str]) -> dict[str, Result | None]:
        """What became of notices by which a rule says something to a patient, None while they wait for their turn.

        Not of those whose patient had no contact when they were written.
        """
        query = select(_timers.c.subject, _timers.c.result).where(among(_timers.c.subject, notices))
        with reading(self._engine) as db:
            return {row.subject: Result(row.result) if row.result else None for row in db.execute(query)}

    def put_off(self, notices: Collection[str], now: datetime) -> dict[str, str | None]:
        """Those of some notices that were put off, as `outbox.put_off_in`; "" also where it will not be needed."""
        with reading(self._engine) as db:
            found, desk = put_off_in(db, notices), _Desk(db, self, [], now)
            waiting = notices_in(db, [name for name, into in found.items() if into is None])
            return found | {name: "" for name, notice in waiting.items() if desk.is_needless(notice)}

    def untold(self, subjects: Collection[str]) -> list[str]:
        """Those of some alerts and follow-ups of which nobody of the staff could be told: nobody has a contact."""
        return sorted(subject for subject in subjects if self._is_untold(subject))

    def _is_untold(self, subject: str) -> bool:
        timers = self.timers(subject)
        run = max((timer.run for timer in timers), default=None)
        taken = {
            timer.result
            for timer in timers
            if timer.run == run
            and (timer.kind is TimerKind.GIVEN or (timer.is_for_staff and timer.kind is TimerKind.STEP))
        }
        return Result.NOBODY in taken and taken <= {Result.NOBODY, Result.WAITS, None}

    def beside_care(self, db: Connection, fact: CareFact) -> None:
        """Have who was given a follow-up by somebody told of it."""
        if is_given(fact):
            _plan(db, [_one(fact.follow_up, TimerKind.GIVEN, fact.at, fact.priority)])

    def beside_appointment(self, db: Connection, appointment: Appointment, before: Appointment | None) -> None:
        """Have the patient told of an appointment that was made or changed, and reminded of it. before: as it was."""
        known = self.patients_of([appointment.patient]).get(appointment.patient)
        priority = Priority.MEDIUM if is_soon(appointment, before) else Priority.LOW
        told = _one(appointment.id, TimerKind.APPOINTMENT, appointment.changed_at, priority)
        _plan(db, [replace(told, number=appointment.sequence), *_later(appointment, known)])

    def plan_appointments(self, now: datetime) -> None:
        """Have patients reminded of, and staff asked about, coming appointments that an older Homeward has made.

        As the house starts: what is planned stays as it is, also where another hub does so at the same moment.
        """
        coming = coming_names(now).subquery()
        is_of = _timers.c.subject == coming.c.id, _timers.c.number == coming.c.sequence
        planned = select(_timers.c.id).where(*is_of, _timers.c.kind == TimerKind.KEPT).exists()
        with reading(self._engine) as db:
            names = db.scalars(select(coming.c.id).where(~planned).order_by(coming.c.start_us)).all()
        for at in range(0, len(names), _AT_ONCE):
            timers = self._later_of(names[at : at + _AT_ONCE])
            with suppress(IntegrityError), writing(self._engine) as db:
                _plan(db, timers)

    def _later_of(self, names: Sequence[str]) -> list[Timer]:
        """What is planned for some appointments; one that fails for a fault of ours keeps no other."""
        try:
            with reading(self._engine) as db:
                found = appointments_in(db, names).values()
            known = self.patients_of({each.patient for each in found})
            return [timer for each in found for timer in _later(each, known.get(each.patient))]
        except DBAPIError:  # of the database, not of one of them
            raise
        except Exception:  # whatever it is, the others are to be planned
            if len(names) > 1:
                return [timer for name in names for timer in self._later_of([name])]
            logger.exception("appointment %s could not be planned: no reminder, nor whether it was kept", names[0])
            return []

    def run_due(self, now: datetime, dead: Collection[str] = ()) -> Cycle:
        """Do what is due, so much of it as one transaction holds; call it until nothing was taken.

        dead: channels that do not deliver. A timer that fails for a fault of ours is tried again after a minute and
        keeps no other one.
        """
        due = and_(_is_left, _timers.c.due_us <= to_us(now))
        first = select(_timers.c.id).where(due).limit(1)
        with reading(self._engine) as db:
            if db.execute(first).first() is None and not is_release_due(db, now, dead):
                return Cycle()
        # What is due of one alert is taken together, as far as it is as urgent and as late.
        order = _timers.c.priority.desc(), _timers.c.due_us, _timers.c.subject, _timers.c.number
        query = select(_timers).where(due).order_by(*order)
        with writing(self._engine) as db:
            rows = db.execute(query.limit(_AT_ONCE).with_for_update(skip_locked=True)).all()
            timers = [_timer(row) for row in rows]
            taken = _take(db, self, [*timers, *_soon_repeated(db, timers, now)], now)
            released = _Desk(db, self, [], now).release(dead)
        lag = now - from_us(min(row.due_us for row in rows)) if rows else timedelta()
        nobody = frozenset(alert for each in taken if each for alert in each)
        return Cycle(taken=len(rows), released=released, lag=lag, faults=taken.count(None), nobody=nobody)

    def begin_handovers(self, now: datetime, hub: str | None = None) -> int:
        """Have it looked for who comes on duty in runs that an older Homeward began without it; how many.

        As the house starts, once for each hub: a timer that is done says so. Looking for them keeps nobody from
        writing, and they are given it in short transactions. Where another hub does so at the same moment, what it
        has done stays, and the next start looks again.
        """
        looked = _one(f"handovers {hub or ''}", TimerKind.BEGIN, _EVER, Priority.LOW)
        with reading(self._engine) as db:
            if db.execute(select(_timers.c.id).where(_timers.c.id == looked.id)).first():
                return 0
            names = db.scalars(_lacking_handover()).all()
        given = [self._give_handovers(names[at : at + _AT_ONCE], now) for at in range(0, len(names), _AT_ONCE)]
        if None not in given:
            with writing(self._engine) as db:
                _plan(db, [replace(looked, done_at=now, result=Result.DONE)])
        return sum(each or 0 for each in given)

    def _give_handovers(self, names: Collection[str], now: datetime) -> int | None:
        """Give it to those of some alerts and follow-ups that lack it still; None where another hub does so now."""
        with suppress(IntegrityError), writing(self._engine) as db:
            runs = _runs_of(db, names).values()
            lacking = [one for timers in runs if (one := lacks_handover(timers.values()))]
            _Desk(db, self, [], now).begin_handovers(lacking)
            return len(lacking)
        return None

    def note_overdue(self, now: datetime, to_house: Callable[[Connection, Sequence[Notice]], None]) -> int:
        """Note the follow-ups whose time has passed, and have it told; so many as one transaction holds. How many.

        to_house: writes down what the channels of the house are told, where no staff are registered.
        """
        with reading(self._engine) as db:
            if not is_overdue_unnoted(db, now):
                return 0
        with writing(self._engine) as db:
            desk = _Desk(db, self, [], now)
            noted = note_overdue(db, now, _AT_ONCE)
            desk.begin_overdue(noted)
            desk.write()
            if not anybody_in(db):
                urgent = [each for each in noted if each.priority is not Priority.LOW]
                to_house(db, [_overdue_notice(each, now, whose=desk.patient(each.patient)) for each in urgent])
        return len(noted)

    def tell(
        self, kind: str, about: Notice, *, roles: Iterable[Role], now: datetime, also: str | None = None
    ) -> bool:
        """Tell those on duty in some roles what the house hears; kind makes it one message.

        Where none of them has a contact that needs nobody to dial, all coordinators and doctors are told as well.
        also: one of the staff who is told beside them. False where nobody else of a team that is entered has such a
        contact.
        """
        with writing(self._engine) as db:
            desk = _Desk(db, self, [], now)
            there = [one for role in roles for one in desk.rota.on_duty(role, now)]
            if not any(map(self._is_told_at_once, there)):
                there += [one for role in _IN_RESERVE for one in desk.rota.all_of(role, now)]
            beside = [one for one in desk.rota.staff if one.active and staff(one.id) == also]
            for recipient in {one.id: one.recipient() for one in (*there, *beside)}.values():
                written = Written(subject=about.subject, body=about.body)
                notice = _notice(kind, recipient, None, about.patient, about.priority, written, now)
                desk.send(replace(notice, follow_up=about.follow_up), recipient, PREFERRED)
            desk.write()
            return any(map(self._is_told_at_once, there)) or not anybody_in(db)

    def _is_told_at_once(self, one: Practitioner) -> bool:
        return is_told_at_once(one, self._channels.get(Audience.STAFF, ()))

    def try_out(self, recipient: Recipient, contact: Contact, now: datetime, by: str) -> Notice:
        """Send a test message by one contact of somebody and by no other, whatever the hour. by: who wants it.

        Raises IllegalAct when there is no room for one more message to this person now.
        """
        key = f"trial {contact.channel} {contact.address} {now.isoformat()}"
        whom = recipient.owner.removeprefix(patient("")) if recipient.is_patient else "-"
        notice = _notice(key, recipient, None, whom, Priority.LOW, write("trial", recipient.zone), now)
        notice = replace(notice, id=TRIAL_ID + notice.id.partition("-")[2])
        with writing(self._engine) as db:
            outgoing = Outgoing(db, now, self.dialled)
            if until := outgoing.full_until(recipient.owner):
                raise IllegalAct(_enough(until - now))
            outgoing.send(notice, recipient, [contact])
            outgoing.write()
            tried = {"notice": notice.id, "channel": contact.channel, "address": contact.address}
            audited(db, "tried", f"contacts:{recipient.owner}", at=now, who=by, after=tried)
        return notice

    def send_survey(self, survey: Survey, now: datetime) -> bool:
        """Have the questions of a survey go to the patient's own contacts; False where they do not, or did before.

        In the night and in quiet hours they do not: it is to be tried again.
        """
        with writing(self._engine) as db:
            desk = _Desk(db, self, [], now)
            recipient = desk.patient(survey.patient)
            if not self.ways(recipient) or not is_day(recipient, now):
                return False
            if not take_survey(db, survey.id, now):
                return False
            asked = write("survey", recipient.zone)
            notice = _notice(survey.id, recipient, None, survey.patient, Priority.LOW, asked, now)
            desk.send(replace(notice, id=survey.id, follow_up=survey.follow_up), recipient, PREFERRED)
            desk.write()
        return True

    def sending(self, given: Given) -> Callable[[Connection], None]:
        """What has something to read go to the patient's own contacts, in the transaction in which it is given.

        By day and not in quiet hours, see `can_be_sent`; nobody is asked to telephone for it.
        """

        def send(db: Connection) -> None:
            desk = _Desk(db, self, [], given.at)
            recipient = _written_to(desk.patient(given.patient))
            material = MATERIALS[given.material]
            places = {"title": material.title, "text": material.body, "source": material.source}
            said = write("education", recipient.zone, **places)
            notice = _notice(given.id, recipient, None, given.patient, Priority.LOW, said, given.at)
            desk.offer_by_day(replace(notice, id=given.id), recipient)
            desk.write()

        return send

    def can_be_sent(self, recipient: Recipient) -> bool:
        """Whether somebody has a contact by which something to read can go."""
        return bool(self.ways(_written_to(recipient)))


def _take(db: Connection, book: EscalationBook, timers: Sequence[Timer], now: datetime) -> list[set[str] | None]:
    """Do what is due: all at once, and where that fails for a fault of ours each by itself, so as to keep no other.

    Of what was done the alerts of which a step found nobody, None for each timer that failed.
    """
    try:
        with db.begin_nested():
            desk = _Desk(db, book, timers, now)
            desk.take(timers)
    except Exception:  # whatever it is, the other timers are to be done
        if len(timers) > 1:
            return [each for timer in timers for each in _take(db, book, [timer], now)]
        logger.exception("what was due about %s could not be done", timers[0].subject)
        later = {"due_us": to_us(now + _AFTER_A_FAULT)}
        db.execute(update(_timers).where(_timers.c.id == timers[0].id).values(**later))
        return [None]
    return [desk.nobody]


class _Desk:
    """What is at hand while timers are taken in one transaction; read for all of them, and written, at once."""

    def __init__(self, db: Connection, book: EscalationBook, timers: Sequence[Timer], now: datetime) -> None:
        self._db = db
        self._book = book
        self._now = now
        self._outgoing = Outgoing(db, now, book.dialled)
        subjects = {timer.subject for timer in timers}
        self._alerts = alerts_in(db, subjects) if subjects else {}
        self._cared = of_alerts_in(db, self._alerts) if self._alerts else {}
        others = subjects - set(self._alerts)
        self._follow_ups = follow_ups_in(db, others) if others else {}
        self._appointments: dict[str, Appointment] = {}
        self._learn_appointments(others)
        about = {each.alert for each in self._follow_ups.values() if each.alert}
        self._about = alerts_in(db, about) if about else {}
        known = [*self._alerts, *self._follow_ups]
        self._runs = _runs_of(db, known) if known else {}
        self._changed: dict[str, Timer] = {}
        self._forward: dict[str, Timer] = {}
        self._planned: dict[str, Timer] = {}
        self._files: dict[str, PatientFile | None] = {}
        self._doubts: dict[str, list[FollowUp]] = {}
        self._situations: dict[str, Situation] = {}
        checked = [_step_of(timer) for timer in timers if timer.kind is TimerKind.CHECK]
        asked = {each.id for each in checked}
        asked |= {
            each.id for run in self._runs.values() for each in run.values() if each.result is Result.NOT_DELIVERED
        }
        of_care = {each.id for each in checked if each.subject in self._follow_ups}
        self._delivered = delivered_in(db, asked, of_care) if asked else set()
        handed = [each for timer in timers if timer.kind is TimerKind.HANDOVER for each in self._run(timer)]
        taken = [each for timer in timers if timer.kind is TimerKind.STEP for each in self._just_taken(timer)]
        # What is to come has told nobody yet.
        tellers = {each.id for each in (*handed, *taken) if each.done_at}
        self._told = told_in(db, tellers) if tellers else {}
        self._contacts: dict[str, _Ways] = {}
        patients = {alert.patient for alert in self._alerts.values()}
        patients |= {follow_up.patient for follow_up in self._follow_ups.values()}
        self._learn_contacts(map(patient, patients))
        self._learn_files(patients)
        self.nobody: set[str] = set()
        self._late: dict[tuple[str, str], tuple[Recipient, list[Notice]]] = {}  # overdue, by person and patient
        # By patient and moment: runs that are to tell the patient at once, and what such runs have said.
        self._begun: set[tuple[str, datetime]] = set()
        self._said: dict[tuple[str, datetime], list[tuple[Notice, Alert]]] = {}

    @cached_property
    def rota(self) -> Rota:
        return rota_in(self._db)

    @cached_property
    def _mornings(self) -> dict[str, datetime]:
        """Until when what is of low priority waits, for each of the staff."""
        return {staff(one.id): morning(one.recipient(), self._now) for one in self.rota.staff}

    @cached_property
    def _working_hours(self) -> dict[str, datetime]:
        """The same of what waits for no other day."""
        people = {one.owner: one for one in (each.recipient() for each in self.rota.staff)}
        return {name: self._now if is_day(one, self._now) else self._mornings[name] for name, one in people.items()}

    @cached_property
    def _next_look(self) -> datetime:
        return next_look(self.rota, self._now)

    @cached_property
    def _staffed(self) -> bool:
        return anybody_in(self._db)

    def take(self, timers: Iterable[Timer]) -> None:
        """Do what is due."""
        for timer in timers:
            self._do(timer)
        self.write()

    def release(self, dead: Collection[str]) -> int:
        """Release further contacts."""
        calls, last = release_due(self._db, self._now, dead, self._book.dialled)
        self._ask_to_call(calls)
        for notice in notices_in(self._db, last).values():
            tried = tried_in(self._db, notice.id)
            ways = "; ".join(f"{channel} {address} ({tries})" for channel, address, tries in tried)
            self._have_followed_up(
                notice,
                Text(
                    en=f"No contact of the patient has delivered (tries): {ways}.",
                    zh=f"患者的所有联系方式均未送达（尝试次数）：{ways}。",
                ),
            )
        self.write()
        return len(calls)

    def send(self, notice: Notice, recipient: Recipient, channel: str, timer: str | None = None) -> bool:
        """Have a notice go to somebody; False where there is no contact. It is written by `write`."""
        contacts = self._book.ways(recipient, channel)
        if contacts:
            self._outgoing.send(notice, recipient, contacts, timer=timer)
            self._note_told(timer, recipient)
        return bool(contacts)

    def write(self) -> None:
        """Write down what was gathered."""
        self._tell_as_one()
        while calls := self._outgoing.write():
            self._ask_to_call(calls)
        _plan(self._db, self._planned.values())
        for timers, names in ((self._changed, ("done_us", "result", "who")), (self._forward, ("due_us",))):
            if timers:
                of_it: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
                rows = [_changed_row(timer, names) for timer in timers.values()]
                self._db.execute(update(_timers).where(_timers.c.id == bindparam("timer")).values(**of_it), rows)
        self._planned, self._changed, self._forward = {}, {}, {}

    def _tell_as_one(self) -> None:
        """Have what is told somebody of several overdue follow-ups of a patient go as one message.

        An emergency goes by itself.
        """
        late, self._late = self._late, {}
        for recipient, notices in late.values():
            for parts in self._outgoing.by_contacts(notices) if len(notices) > 1 else ():
                if len(parts) > 1:
                    self._outgoing.join(self._in_one(parts, recipient), parts)

    def _do(self, timer: Timer) -> None:
        if timer.kind is TimerKind.JOIN:
            self._join(timer)
        elif timer.kind is TimerKind.NOTICE:
            self._hand_on(timer)
        elif alert := self._alerts.get(timer.subject):
            if timer.kind is TimerKind.ALL_CLEAR:
                self._all_clear(timer, alert)
            elif over := _is_over(timer, alert):
                self._finish(timer, over)
            elif timer.kind is TimerKind.BEGIN:
                self._begin(timer, alert)
            elif timer.kind is TimerKind.CHECK:
                self._check(timer)
            elif timer.kind is TimerKind.HANDOVER:
                self._hand_over(timer, alert)
            else:
                self._step(timer, alert)
        elif follow_up := self._follow_ups.get(timer.subject):
            self._remind(timer, follow_up)
        elif appointment := self._appointments.get(timer.subject):
            if timer.kind is TimerKind.KEPT:
                self._ask_whether_kept(timer, appointment)
            else:
                self._tell_of_appointment(timer, appointment)
        else:
            self._finish(timer, Result.CLOSED)

    def _begin(self, timer: Timer, alert: Alert) -> None:
        known = self._file(alert.patient)
        ladder = ladder_for(self._book.ladders, alert.priority, known.programme if known else None)
        staffed = self._staffed and alert.snoozed_until is None
        steps = begin(alert.id, ladder, timer.run, staffed=staffed)
        self._plan(steps)
        if any(step.tells_patient_at_once for step in steps):
            self._begun.add((alert.patient, timer.run))
        if staffed and is_handed_over(ladder):
            self._plan_handover(alert.id, timer.run, ladder.priority)
        self._finish(timer, Result.DONE)

    def _plan_handover(self, subject: str, run: datetime, priority: Priority) -> None:
        self._plan([replace(_one(subject, TimerKind.HANDOVER, run, priority), due=self._next_look)])

    def begin_handovers(self, runs: Iterable[Timer]) -> None:
        """Have it looked for who comes on duty in the runs of some timers."""
        for timer in runs:
            self._plan_handover(timer.subject, timer.run, timer.priority)
        self.write()

    def begin_overdue(self, follow_ups: Sequence[FollowUp]) -> None:
        """Have it told that follow-ups are overdue: to who has each, else to the role on duty.

        Of high priority also to who had it until too many tries gave it to the coordinator. Coordinators who are
        still to be told of the same lateness are told no later, whoever has it now.
        """
        self._runs |= _runs_of(self._db, [each.id for each in follow_ups]) if follow_ups else {}
        had_it = given_up_in(self._db, [each.id for each in follow_ups if each.priority is Priority.HIGH])
        for follow_up in follow_ups:
            had = self._colleague(had_it.get(follow_up.id))
            holders = [self._holder(follow_up), *([had] if had else [])]
            waiting = [
                each.due - self._now
                for each in self._runs.get(follow_up.id, {}).values()
                if each.is_pending_step and each.step and each.step.after and each.run >= follow_up.due_at
            ]
            after = max(timedelta(), min([ACT_WITHIN[follow_up.priority], *waiting]))
            emergency = follow_up.emergency is not None
            ladder = overdue_ladder(follow_up.priority, holders, follow_up.role, after=after, emergency=emergency)
            self._plan(begin(follow_up.id, ladder, self._now, staffed=self._staffed))
            if self._staffed and is_handed_over(ladder):
                self._plan_handover(follow_up.id, self._now, follow_up.priority)

    def _colleague(self, name: str | None) -> str | None:
        """To whom a step goes that is for somebody of this name or id; None where there is nobody such."""
        active = (one for one in self.rota.staff if one.active)
        return next((staff(one.id) for one in active if name in (one.name, one.id)), None)

    def _holder(self, follow_up: FollowUp) -> str:
        """For whom a step about it is: who has it, where that is one of the team, else the role."""
        return self._colleague(follow_up.assigned_to) or follow_up.role.value

    def _given(self, timer: Timer, follow_up: FollowUp) -> CareFact | None:
        """How a follow-up was given to who is to be told so; None where it is closed or somebody else has it.

        Nor where it is overdue: who has it is told that, and the same with it.
        """
        is_past = follow_up.closed_at is not None or follow_up.is_overdue(self._now)
        given = None if is_past else given_in(self._db, follow_up)
        return given if given and given.at == timer.run else None

    def _tell_given(self, timer: Timer, follow_up: FollowUp, given: CareFact) -> None:
        """Tell who was given a follow-up; who gave it knows."""

        def tell(channel: str, recipient: Recipient) -> Result:
            elsewhere = self._is_elsewhere(follow_up, recipient)
            written = given_message(
                follow_up,
                given,
                zone=recipient.zone,
                now=self._now,
                elsewhere=elsewhere,
                whose=self.patient(follow_up.patient),
                doubts=self._doubts_of(follow_up.patient, follow_up.id),
            )
            about = follow_up.alert, follow_up.patient, follow_up.priority
            notice = _notice(timer.id, recipient, *about, written, self._now)
            notice = replace(notice, id=GIVEN_ID + notice.id.partition("-")[2], follow_up=follow_up.id)
            if follow_up.asks_kept and self._is_there(recipient, channel):
                return self.offer_by_day(notice, recipient, timer.id)
            return self._offer_of_care(notice, recipient, channel, timer.id)

        to = self._holder(follow_up)
        # Coordinators have no shifts in most clinics.
        step = Step(to=to, after=timedelta(), everyone=to == Role.COORDINATOR)
        there = self._whom(step, follow_up, self._working_hours if follow_up.asks_kept else None)
        others = [one for one in there if given.by not in (one.name, one.owner.removeprefix(staff("")))]
        if there and not others:
            self._finish(timer, Result.DONE)
        elif follow_up.asks_kept and not there:
            self._look_again(timer)  # it is asked for one day: who comes next is told, not who is there hours later
        else:
            self._tell_all(replace(timer, step=step), others, follow_up.patient, tell, present=False)

    def _remind(self, timer: Timer, follow_up: FollowUp) -> None:
        """What is to be told of a follow-up: that it was given to somebody, or is overdue, if both is so still."""
        if timer.kind is TimerKind.GIVEN:
            if given := self._given(timer, follow_up):
                self._tell_given(timer, follow_up, given)
            else:
                self._finish(timer, Result.DONE)
        elif follow_up.overdue_at != timer.run:
            self._finish(timer, Result.DONE)
        elif timer.kind is TimerKind.CHECK:
            self._check(timer)
        elif timer.kind is TimerKind.HANDOVER:
            self._hand_over_overdue(timer, follow_up)
        else:
            tell, present = partial(self._tell_overdue, timer, follow_up), self._is_unmet(follow_up)
            whom = self._whom(timer.step, follow_up) if timer.step else None
            self._tell_step(timer, follow_up.patient, tell, present=present, whom=whom)

    def _whom(self, step: Step, about: FollowUp, waits: Mapping[str, datetime] | None = None) -> Sequence[Recipient]:
        """Whom a step about a follow-up is for; of low priority, which waits for the morning, who is there then.

        waits: until when it waits for each of the staff, where that is not the morning.
        """
        of_patient = self.patient(about.patient)
        if about.priority is Priority.LOW:
            waits = waits or self._mornings
            moments = sorted({*waits.values()})
            found = [(at, one) for at in moments for one in people(step, self.rota, of_patient, at)]
            if there := [one for at, one in found if waits[one.owner] == at]:
                return there
        return people(step, self.rota, of_patient, self._now)

    def _is_unmet(self, follow_up: FollowUp) -> bool:
        """Whether what is overdue is told again: nobody has spoken with the patient, and what it is about lasts.

        An emergency always is.
        """
        if follow_up.emergency:
            return True
        alert = self._about.get(follow_up.alert) if follow_up.alert else None
        return not follow_up.is_reached and (alert is None or alert.condition_gone_at is None)

    def _step(self, timer: Timer, alert: Alert) -> None:
        if alert.priority is Priority.LOW and alert.condition_gone_at is not None:
            self._finish(timer, Result.CONDITION_GONE)
            return
        if until := waits_until(timer, self.rota, self._now):
            self._finish(timer, Result.WAITS)
            self._follow(after_waiting(timer, until))
            return
        # Once somebody has acknowledged it, what goes on until it is closed is told to each once.
        present = alert.condition_gone_at is None and alert.acknowledged_at is None
        self._tell_step(timer, alert.patient, self._telling(timer, alert), present=present)

    def _telling(self, timer: Timer, alert: Alert) -> _Tell:
        """How somebody is told of an alert by a timer."""
        run = self._asked_to_call(self._tried_by_now(timer), self.patient(alert.patient))

        @cache
        def written(zone: str, *, to_patient: bool) -> Written:
            """For all who read it on the same clock."""
            return alert_message(
                alert,
                to_patient=to_patient,
                zone=zone,
                situation=self._situation(alert),
                run=run,
                follow_up=self._followed(alert),
                whose=self.patient(alert.patient),
                doubts=self._doubts_of(alert.patient),
            )

        def tell(channel: str, recipient: Recipient) -> Result:
            message = written(recipient.zone, to_patient=recipient.is_patient)
            notice = _notice(timer.id, recipient, alert.id, alert.patient, alert.priority, message, self._now)
            result = self._offer(notice, recipient, channel, timer.id)
            if result is Result.TOLD and timer.tells_patient_at_once and self._is_usual(recipient, channel):
                self._said.setdefault((alert.patient, timer.run), []).append((notice, alert))
            return result

        return tell

    def _hand_over(self, timer: Timer, alert: Alert) -> None:
        """Tell who has come on duty of an alert that nobody has acknowledged; of one that is over the first alone.

        Not while it is back for the patient alone: staff are not told of that episode.
        """
        told = alert.untold_since is None and self._tell_who_came(
            timer, roles_to_hand_over(self._run(timer)), alert.patient, lambda by: self._telling(by, alert)
        )
        if told and alert.condition_gone_at is not None:
            self._finish(timer, Result.TOLD)
        else:
            self._look_again(timer)

    def _hand_over_overdue(self, timer: Timer, follow_up: FollowUp) -> None:
        """Tell who is on duty in the role of an overdue follow-up, where of them nobody has been told."""
        known = self._told_in_run(timer)
        there = self.rota.on_duty(follow_up.role, self._now)
        if not any(staff(one.id) in known for one in there):
            self._tell_who_came(
                timer, {follow_up.role}, follow_up.patient, lambda by: partial(self._tell_overdue, by, follow_up)
            )
        self._look_again(timer)

    def _tell_who_came(
        self, timer: Timer, roles: Collection[Role], of_patient: str, telling: Callable[[Timer], _Tell]
    ) -> bool:
        """Tell who is on duty in some roles and has not been told in this run; whether there is anybody such."""
        known = self._told_in_run(timer)
        count = sum(each.kind is TimerKind.STEP and each.number == MOST_STEPS for each in self._run(timer))
        before = count
        for role in (each for each in Role if each in roles):
            there = [one.recipient() for one in self.rota.on_duty(role, self._now)]
            came = [one for one in there if one.owner not in known and self._is_there(one, PREFERRED)]
            if came:
                step = Step(to=role, after=self._now - timer.run)
                by = replace(timer, kind=TimerKind.STEP, due=self._now, number=MOST_STEPS, count=count, step=step)
                self._plan([by])
                self._tell_all(by, came, of_patient, telling(by), present=False)
                known |= {one.owner for one in came}
                count += 1
        return count > before

    def _told_in_run(self, timer: Timer) -> set[str]:
        """Whom any timer of a run has told, or is to tell later; in this transaction as well."""
        return {owner for each in self._run(timer) for owner in self._told.get(each.id, ())}

    def _note_told(self, timer: str | None, recipient: Recipient) -> None:
        if timer is not None:
            self._told.setdefault(timer, set()).add(recipient.owner)

    def _look_again(self, timer: Timer) -> None:
        self._note(self._forward, replace(timer, due=self._next_look))

    def _tell_step(
        self,
        timer: Timer,
        of_patient: str,
        tell: _Tell,
        *,
        present: bool,
        whom: Sequence[Recipient] | None = None,
    ) -> None:
        """Tell all whom a step is for. whom: they, where they are not those of now."""
        if timer.step is None:
            raise ValueError(f"timer {timer.id} is a step without a step")
        there = people(timer.step, self.rota, self.patient(of_patient), self._now) if whom is None else whom
        told = {owner for each in self._just_taken(timer) for owner in self._told.get(each.id, ())}
        left = [one for one in there if one.owner not in told]
        if there and not left:
            self._finish(timer, Result.DONE)
            self._follow(after_telling(timer, Result.DONE, self._run(timer), self._now, present=present))
        else:
            self._tell_all(timer, left, of_patient, tell, present=present)

    def _just_taken(self, timer: Timer) -> list[Timer]:
        """Other steps of its run by which staff were told just now by the same channel, as at a change of shift."""
        return [
            each
            for each in self._run(timer)
            if each.done_at
            and self._now - each.done_at < _TOGETHER
            and each.kind is TimerKind.STEP
            and each.id != timer.id
            and each.is_for_staff
            and each.step
            and timer.step
            and each.step.channel == timer.step.channel
        ]

    def _tell_all(
        self, timer: Timer, whom: Iterable[Recipient], of_patient: str, tell: _Tell, *, present: bool
    ) -> None:
        """Tell some people by the channel of a step, and plan what follows."""
        found = []
        for recipient in whom:
            result = tell(timer.step.channel if timer.step else PREFERRED, recipient)
            if result is not Result.NOBODY:
                found.append((result, recipient.name if not recipient.is_patient else of_patient))
        results = [each for each, _ in found]
        result = Result.TOLD if Result.TOLD in results else results[0] if results else Result.NOBODY
        # Whom quiet hours keep from being told with the others is not said to be told.
        names = [name for each, name in found if each is result]
        if result is Result.NOBODY and timer.is_for_staff:
            self.nobody.add(timer.subject)
        self._finish(timer, result, names)
        self._follow(after_telling(timer, result, self._run(timer), self._now, present=present))

    def _tell_overdue(self, timer: Timer, about: FollowUp, channel: str, recipient: Recipient) -> Result:
        notice = _overdue_notice(
            about,
            self._now,
            recipient,
            given_in(self._db, about),
            elsewhere=self._is_elsewhere(about, recipient),
            whose=self.patient(about.patient),
            doubts=self._doubts_of(about.patient, about.id),
        )
        if about.emergency is None:
            _, told = self._late.setdefault((recipient.owner, about.patient), (recipient, []))
            told.append(notice)
        return self._offer_of_care(notice, recipient, channel, timer.id)

    def _is_elsewhere(self, about: FollowUp, recipient: Recipient) -> bool:
        """Whether who reads it has another clock than the patient."""
        return self.patient(about.patient).zone != recipient.zone

    def _offer_of_care(self, notice: Notice, recipient: Recipient, channel: str, timer: str) -> Result:
        if notice.priority is Priority.LOW and self._is_there(recipient, channel):
            return self._put_off(notice, recipient, morning(recipient, self._now), timer)
        return self._offer(notice, recipient, channel, timer)

    def _offer(self, notice: Notice, recipient: Recipient, channel: str, timer: str | None) -> Result:
        """Send a notice, or put it off."""
        if not self._is_there(recipient, channel):
            return Result.NOBODY
        until = put_off_until(recipient, notice.priority, self._now)
        if until is None and notice.priority is not Priority.HIGH:
            until = self._outgoing.full_until(recipient.owner)
        if until is None:
            self.send(notice, recipient, channel, timer)
            return Result.TOLD
        return self._put_off(notice, recipient, until, timer)

    def _is_there(self, recipient: Recipient, channel: str) -> bool:
        """Whether somebody can be told: not one of the staff whose telephone nobody can be asked to dial."""
        found = self._book.ways(recipient, channel)
        if recipient.is_patient or any(each.channel in self._book.dialled for each in found):
            return bool(found)
        return bool(found) and bool(self._callers(recipient.owner))

    def _is_usual(self, recipient: Recipient, channel: str) -> bool:
        """Whether a channel leads to the same contacts as what is sent by none in particular."""
        return self._book.ways(recipient, channel) == self._book.ways(recipient, PREFERRED)

    def _put_off(self, notice: Notice, recipient: Recipient, until: datetime, timer: str | None) -> Result:
        self._outgoing.put_off(notice, recipient, until, timer)
        self._note_told(timer, recipient)
        self._plan([_one(recipient.owner, TimerKind.JOIN, until, Priority.LOW)])
        return Result.PUT_OFF

    def _check(self, timer: Timer) -> None:
        step = _step_of(timer)
        delivered = step.id in self._delivered
        taken = self._runs.get(timer.subject, {}).get(step.id)
        if not delivered and taken and taken.result is Result.TOLD:
            self._change(replace(taken, result=Result.NOT_DELIVERED))
        self._finish(timer, Result.DELIVERED if delivered else Result.NOT_DELIVERED)
        self._follow(after_check(timer, self._run(timer), delivered=delivered))

    def _all_clear(self, timer: Timer, alert: Alert) -> None:
        """Tell all who were told since the last end; what was put off for them and not yet told is joined with it."""
        self.write()  # who was told just now is told of the end as well
        if alert.condition_gone_at is not None:
            said = last_end_in(self._db, alert.id)
            followed = self._followed(alert)
            care = followed.care if followed else None
            for owner in owed_an_end_in(self._db, alert.id):
                if recipient := self._person(owner, alert.patient):
                    zone, to_patient = recipient.zone, recipient.is_patient
                    written = all_clear_message(alert, said, to_patient=to_patient, zone=zone, care=care)
                    notice = _notice(timer.id, recipient, alert.id, alert.patient, alert.priority, written, self._now)
                    self._offer(notice, recipient, PREFERRED, timer.id)
        self._finish(timer, Result.DONE)

    def _hand_on(self, timer: Timer) -> None:
        """Have what a rule says to a patient go to the patient's own contacts, unless the alert's message says it.

        It is left out only in the transaction in which that message is written: whatever keeps that one back, this
        one goes.
        """
        notice = notices_in(self._db, [timer.subject]).get(timer.subject)
        if notice is None:
            self._finish(timer, Result.NOBODY)
            return
        moment = notice.patient, notice.written_at
        if moment in self._begun:
            return  # the ladder has its turn first: this is still due, and comes behind its first step
        if any(says_all_of(notice, message, alert) for message, alert in self._said.get(moment, ())):
            self._finish(timer, Result.TOLD_WITH_ALERT)
        else:
            self._finish(timer, self._hand_to(self.patient(notice.patient), notice, timer.id))

    def _tell_of_appointment(self, timer: Timer, appointment: Appointment) -> None:
        """Tell the patient of it, or remind; not where it was changed since, is over, or is as the patient knows it.

        What is called off is what the patient knows of it; where that is nothing, nothing is told.
        """
        is_news = self._is_news(timer, appointment)
        known = self._as_known(appointment) if is_news else None
        if not is_news or (appointment.cancelled and known is None):
            self._finish(timer, Result.DONE)
            return
        recipient, reminds = self.patient(appointment.patient), timer.kind is TimerKind.REMINDER
        if known and known.says_same(appointment) and not reminds:
            self._finish(timer, Result.DONE)
            return
        said = replace(known, cancelled=True) if known and appointment.cancelled else appointment
        written = appointment_message(
            said, zone=recipient.zone, now=self._now, reminds=reminds, known=known is not None
        )
        notice = _notice(timer.id, recipient, None, appointment.patient, timer.priority, written, self._now)
        self._finish(timer, self._hand_to(recipient, replace(notice, id=_name_of_news(timer)), timer.id))

    def _as_known(self, appointment: Appointment) -> Appointment | None:
        """It as the patient was told of it last before it was changed last, by a message or a person; None: never.

        Who makes one for a patient whom no message can reach says so, and so did people before Homeward itself told
        of them, see `docs/follow_up.md`.
        """
        if not appointment.sequence:
            return None
        of_it = (_timers.c.subject == appointment.id, _timers.c.number < appointment.sequence)
        before = [_timer(row) for row in self._db.execute(select(_timers).where(*of_it))]
        names = {_name_of_news(each): each.number for each in before if each.result in {Result.TOLD, Result.PUT_OFF}}
        put_off = put_off_in(self._db, names) if names else {}
        called = called_about(self._db, appointment) if names else set()
        told = {each.number for each in before if each.result is Result.NOBODY}
        came = {name for name in names if put_off.get(name, name) and self._came(name, appointment.patient, called)}
        told |= {names[name] for name in came}
        news = (each.number for each in before if each.kind is TimerKind.APPOINTMENT)
        last = max([*told, min(news, default=appointment.sequence) - 1])
        return as_it_was(self._db, appointment, last) if last >= 0 else None

    def _came(self, news: str, of_patient: str, called: Collection[str]) -> bool:
        """Whether news of an appointment came to the patient. called: the follow-ups in which somebody telephoned."""
        channels = {channel for channel, _, _ in tried_in(self._db, news)}
        if channels - ({TELEPHONE} - self._book.dialled):
            return True
        return bool(channels) and follow_up_of(Why.STAFF, of_patient, news) in called

    def _ask_whether_kept(self, timer: Timer, appointment: Appointment) -> None:
        """Have who made it note whether it was kept, and nobody telephone about it any more.

        Not where it was changed since, nor where that is noted: who notes it ends the calls as well.
        """
        if timer.number == appointment.sequence and appointment.kept is None:
            close_tasks(self._db, appointment, at=self._now, by=HOMEWARD, note=_PAST)
            made_in = follow_ups_in(self._db, [appointment.follow_up]).get(appointment.follow_up)
            act = Open(
                patient=appointment.patient,
                why=Why.STAFF,
                key=timer.id,
                because=was_it_kept(appointment, ZoneInfo(self.patient(appointment.patient).zone)),
                at=self._now,
                role=made_in.role if made_in else Role.NURSE,
                problem=appointment.asks_kept,
                programme=made_in.programme if made_in else None,
                within=_TO_NOTE,
                by=HOMEWARD,
            )
            act = replace(act, assigned_to=self._who_notes(appointment.made_by, act.role))
            open_in(self._db, act, self._now)
            self._plan([_one(act.follow_up, TimerKind.GIVEN, self._now, act.priority)])
        self._finish(timer, Result.DONE)

    def _who_notes(self, made_by: str, role: Role) -> str | None:
        """Who made it; None, the role, where that is nobody of the team, away, or off where others are there."""
        one = next((each for each in self.rota.staff if each.active and made_by in (each.name, each.id)), None)
        if one is None:
            return None if self._staffed else made_by
        others = self.rota.on_duty(role, self._now)
        has_shifts = any(each.practitioner == one.id for each in self.rota.shifts)
        is_off = has_shifts and not any(one in self.rota.on_duty(each, self._now) for each in one.roles)
        return None if self.rota.there(one.id, self._now) != one or (is_off and others) else made_by

    def _is_news(self, timer: Timer, appointment: Appointment) -> bool:
        ends = appointment.start if timer.kind is TimerKind.REMINDER else appointment.start + appointment.length
        return timer.number == appointment.sequence and self._now < ends

    def _appointment_of(self, notice: Notice) -> Appointment | None:
        """The appointment that a notice is about."""
        if not notice.id.startswith(APPOINTMENT_ID):
            return None
        name = notice.id.rpartition("-")[0]
        if name not in self._appointments:
            self._learn_appointments([name])
        return self._appointments.get(name)

    def _learn_appointments(self, names: Iterable[str]) -> None:
        asked = [name for name in names if name.startswith(APPOINTMENT_ID)]
        self._appointments |= appointments_in(self._db, asked) if asked else {}

    def _hand_to(self, recipient: Recipient, notice: Notice, timer: str) -> Result:
        """What is of the device or of an appointment alone wakes nobody: it waits for the morning."""
        can_wait = notice.subject in _OF_DEVICE or notice.id.startswith(APPOINTMENT_ID)
        if notice.priority is Priority.LOW and can_wait:
            return self.offer_by_day(notice, recipient, timer)
        return self._offer(notice, recipient, PREFERRED, timer)

    def offer_by_day(self, notice: Notice, recipient: Recipient, timer: str | None = None) -> Result:
        """Send a notice, or put it off; in the night until the morning."""
        earliest = put_off_until(recipient, notice.priority, self._now) or self._now
        if not is_day(recipient, earliest) and self._book.ways(recipient, PREFERRED):
            return self._put_off(notice, recipient, morning(recipient, self._now), timer)
        return self._offer(notice, recipient, PREFERRED, timer)

    def _join(self, timer: Timer) -> None:
        """Tell somebody what was put off; in one message where it is more than one."""
        self.write()  # what was put off just now is joined as well
        waiting = waiting_for(self._db, timer.subject, self._now)
        last = {_state_of(each): each.id for each in waiting}
        # Of one alert the newest says how it is: what was written before it is told by it. So of what is overdue.
        newest = [each for each in waiting if last[_state_of(each)] == each.id]
        needless = {each.id for each in newest if self._is_dropped(each)}
        left = [each for each in newest if each.id not in needless]
        recipient = self._person(timer.subject, left[0].patient) if left else None
        note_joined(self._db, [each for each in waiting if last[_state_of(each)] in needless], "")
        if recipient is not None:
            for parts in _by_message(left):
                told = parts[0] if len(parts) == 1 else self._in_one(parts, recipient)
                self.send(told, _written_to(recipient) if told.id.startswith(EDUCATION_ID) else recipient, PREFERRED)
                names = {each.id for each in parts}
                note_joined(self._db, [each for each in waiting if last[_state_of(each)] in names], told.id)
        self._finish(timer, Result.DONE)

    def _is_dropped(self, notice: Notice) -> bool:
        """Whether what was put off is not to be told; the log says why."""
        if why := self._why_needless(notice):
            logger.info("notice %s was put off and is not told: %s", notice.id, why)
        return why is not None

    def _in_one(self, notices: Sequence[Notice], recipient: Recipient) -> Notice:
        elsewhere = any(self.patient(each.patient).zone != recipient.zone for each in notices)
        late = self._overdue_since(notices)
        in_order = sorted(notices, key=lambda one: late.get(one.id, self._now))  # the longest overdue first
        since = min(late.values(), default=None)
        told = _digest(in_order, recipient, self._now, self._book.page, elsewhere=elsewhere, since=since)
        # That an alert is over is not to be outdated by this.
        return told if self._lasting(told) else replace(told, alert=None)

    def _overdue_since(self, notices: Sequence[Notice]) -> dict[str, datetime]:
        """Since when each of some follow-ups is overdue, by notice; none where not all are of overdue ones."""
        if not all(each.id.startswith(OVERDUE_ID) for each in notices):
            return {}
        names = {each.follow_up for each in notices if each.follow_up}
        others = names - self._follow_ups.keys()
        known = self._follow_ups | (follow_ups_in(self._db, others) if others else {})
        return {each.id: known[each.follow_up].due_at for each in notices if each.follow_up in known}

    def is_needless(self, notice: Notice) -> bool:
        """Whether what was put off for somebody need not be told any more."""
        return self._why_needless(notice) is not None

    def _why_needless(self, notice: Notice) -> str | None:
        """Why what was put off need not be told any more: it is not so by now; a snoozed alert is told anew.

        Who was told of an alert is told of its end, also where somebody has closed it; staff in any case else.
        """
        if timer := self._timer_of(notice):
            if appointment := self._appointment_of(notice):
                return None if self._is_news(timer, appointment) else "the appointment was changed or is past"
            follow_up = follow_ups_in(self._db, [timer.subject]).get(timer.subject)
            if follow_up is not None and timer.kind is TimerKind.GIVEN:
                return None if self._given(timer, follow_up) else "the follow-up is closed or somebody else's"
            if follow_up is not None:
                return None if follow_up.overdue_at == timer.run else "the follow-up is no longer overdue as it was"
        if notice.alert is None:
            return self._why_not_so(notice)
        alert = alerts_in(self._db, [notice.alert]).get(notice.alert)
        if alert is None or notice.follow_up is not None:
            return "the alert is closed" if alert and alert.closed_at else None
        is_staff = notice.audience is Audience.STAFF
        if is_end(notice):
            is_news = is_staff and alert.closed_at is None
            return None if is_news or self._was_told(notice) else "nothing was told of what is over"
        if alert.closed_at is not None:
            return "the alert is closed"
        if alert.condition_gone_at is not None and notice.written_at < alert.condition_gone_at:
            return "the condition is over, which is told by itself"
        return "somebody has put the alert off" if is_staff and alert.snoozed_until is not None else None

    def _was_told(self, end: Notice) -> bool:
        """Whether who is to be told of an end was told of the alert before."""
        before = [name for name in notices_to_in(self._db, end.alert or "", end.recipient or "") if name != end.id]
        put_off = put_off_in(self._db, before)
        return any(put_off.get(name, name) for name in before)

    def _why_not_so(self, notice: Notice) -> str | None:
        """The same of what a rule says to a patient, as far as readings or an alert show it."""
        if notice.audience is not Audience.PATIENT:
            return None
        if not self._book.stands(notice):
            return "what came since then shows that it is over"
        # The alert of a device may end while another one is silent.
        problems = {rule.problem for rule in _rules(notice) if rule.holds_up and notice.subject not in _OF_DEVICE}
        is_over = ended_in(self._db, notice.patient, problems, notice.written_at)
        return "the condition is over" if is_over else None

    def _timer_of(self, notice: Notice) -> Timer | None:
        name = timer_of_put_off(self._db, notice.id)
        row = self._db.execute(select(_timers).where(_timers.c.id == name)).first() if name else None
        return _timer(row) if row else None

    def _ask_to_call(self, calls: Sequence[Call]) -> None:
        """Ask who is on duty to telephone people, for nothing dials by itself; a patient once about an alert."""
        notices = notices_in(self._db, {call.notice for call in calls})
        same: dict[tuple[str, str, str], list[Call]] = {}
        for call in sorted(calls, key=lambda each: _first_said(notices[each.notice])):
            about = notices[call.notice]
            alert = self._concerned(about) if call.recipient == patient(about.patient) else None
            same.setdefault((call.recipient, call.number, alert.id if alert else about.id), []).append(call)
        for first, *others in same.values():
            self._ask_for_call(first, notices[first.notice], [notices[each.notice] for each in others])

    def _ask_for_call(self, call: Call, about: Notice, besides: Sequence[Notice]) -> None:
        """Have one call made. besides: what else is to be said in it."""
        alert, follow_up = self._lasting(about), about.follow_up
        doubts: Doubts = ()
        urgency = max(map(_urgency, (about, *besides)))
        about = replace(about, priority=max(each.priority for each in (about, *besides)))
        if call.recipient == patient(about.patient):
            if not besides and (self._joins_call(about) or self._reminds_of_call(about)):
                return
            said = Text(en=f"Please telephone the patient: {call.number}.", zh=f"请致电患者：{call.number}。")
            follow_up = self._have_followed_up(about, said) or follow_up
            doubts = self._doubts_of(about.patient)
        whom = self._person(call.recipient, about.patient)
        for recipient in self._callers(call.recipient):
            written = call_message(
                about,
                alert,
                name=whom.name if whom else about.patient,
                number=call.number,
                zone=recipient.zone,
                situation=self._situation(alert) if alert else Situation(),
                failed=call.position > 0,
                besides=[each.body for each in besides],
                of_patient=self.patient(about.patient).zone,
                doubts=doubts,
            )
            key = f"call {call.notice} {call.position}"
            notice = _notice(key, recipient, about.alert, about.patient, urgency, written, self._now)
            notice = replace(notice, id=CALL_ID + notice.id.partition("-")[2], follow_up=follow_up)
            self.send(notice, recipient, PREFERRED)

    def _joins_call(self, notice: Notice) -> bool:
        """Whether what a device asks of a patient is said in a call about the same that nobody has made yet."""
        if notice.subject not in _OF_DEVICE or self._concerned(notice):
            return False
        problem = next(iter(_problems(notice)))
        return join_call_in(self._db, notice.patient, problem, notice.priority, notice.body, self._now)

    def _reminds_of_call(self, notice: Notice) -> bool:
        """Whether a patient is reminded of an appointment about which somebody was asked to telephone and has not."""
        appointment = self._appointment_of(notice) if notice.id.endswith(_REMINDER) else None
        return appointment is not None and bool(tasks_in(self._db, appointment))

    def _lasting(self, notice: Notice) -> Alert | None:
        """The alert that a notice is about, unless it is over."""
        alert = alerts_in(self._db, [notice.alert]).get(notice.alert) if notice.alert else None
        return None if alert is None or alert.closed_at or alert.condition_gone_at else alert

    def _concerned(self, notice: Notice) -> Alert | None:
        """The same; of what a rule says to the patient, the alert of the same trouble, where that is as urgent."""
        if notice.alert or notice.audience is not Audience.PATIENT:
            return self._lasting(notice)
        problems = _problems(notice)
        found = lasting_in(self._db, notice.patient, problems) if problems else []
        return next((alert for alert in found if alert.priority >= notice.priority), None)

    def _have_followed_up(self, notice: Notice, why: Text) -> str | None:
        """A nurse is to see to a patient whom no message reaches: by the alert's own follow-up, where it has one.

        Not for an alert that is over, nor for a survey, something to read or a test message. The id of the follow-up,
        None where it is not to be. One about an appointment leaves time to dial before that.
        """
        alert, appointment = self._concerned(notice), self._appointment_of(notice)
        if notice.id.startswith((SURVEY_ID, EDUCATION_ID, TRIAL_ID)) or (notice.alert and alert is None):
            return None
        if appointment and (_is_outdated(notice, appointment) or appointment.is_over(self._now)):
            return None
        if appointment and (waiting := tasks_in(self._db, appointment)):
            return waiting[0].id  # who has not called yet says both in one call
        known = self._file(notice.patient)
        about = alert.because if alert and notice.alert else notice.body
        urgency = _urgency(notice)
        act = Open(
            patient=notice.patient,
            why=Why.STAFF if appointment else Why.ALERT,
            key=alert.id if alert else notice.id,
            because=together((why, about)),
            at=self._now,
            role=Role.NURSE,
            priority=max(alert.priority, urgency) if alert else urgency,
            problem=subject.problem if (subject := alert or appointment) else next(iter(_problems(notice)), None),
            alert=alert.id if alert else None,
            programme=known.programme if known else None,
            within=self._call_within(urgency, self._begins(appointment) if appointment else None),
        )
        open_in(self._db, act, notice.written_at)
        return act.follow_up

    def _begins(self, appointment: Appointment) -> datetime:
        """When the patient would come at the earliest: as it is, or as the patient knows it."""
        return min(each.start for each in (appointment, self._as_known(appointment)) if each)

    def _call_within(self, urgency: Priority, begins: datetime | None) -> timedelta | None:
        """Within what time somebody is to telephone a patient; None: as an act of low priority. Whole hours."""
        if urgency is not Priority.LOW:
            return CALL_WITHIN
        if begins is None:
            return None
        hours = (begins - self._now) * _OF_WAY // _HOUR
        return min(ACT_WITHIN[urgency], max(CALL_WITHIN, hours * _HOUR))

    def _callers(self, but: str) -> tuple[Recipient, ...]:
        """Who can be asked to telephone somebody, without being telephoned for it: nurses, else coordinators."""
        nurses, now = self.rota.on_duty(Role.NURSE, self._now), self._now
        for found in (nurses, self.rota.all_of(Role.COORDINATOR, now), self.rota.all_of(Role.NURSE, now)):
            there = [
                replace(one.recipient(), contacts=_without_telephone(one.contacts))
                for one in found
                if staff(one.id) != but
            ]
            if reached := tuple(one for one in there if self._book.ways(one, PREFERRED)):
                return reached
        return ()

    def patient(self, name: str) -> Recipient:
        """A patient with the contacts; plain where not registered."""
        known = self._file(name)
        recipient = known.recipient if known else Recipient(owner=patient(name), name=name, language="en", zone="UTC")
        if recipient.owner not in self._contacts:
            self._learn_contacts([recipient.owner])
        contacts, quiet = self._contacts[recipient.owner]
        return replace(recipient, contacts=contacts, quiet=quiet)

    def _person(self, owner: str, of_patient: str) -> Recipient | None:
        if owner == patient(of_patient):
            return self.patient(of_patient)
        return next((one.recipient() for one in self.rota.staff if staff(one.id) == owner), None)

    def _learn_contacts(self, owners: Iterable[str]) -> None:
        asked, none = list(owners), ((), None)
        self._contacts |= dict.fromkeys(asked, none) | (contacts_in(self._db, asked) if asked else {})

    def _learn_files(self, patients: Collection[str]) -> None:
        self._files |= dict.fromkeys(patients) | (dict(self._book.patients_of(patients)) if patients else {})

    def _file(self, name: str) -> PatientFile | None:
        if name not in self._files:
            self._learn_files([name])
        return self._files[name]

    def _doubts_of(self, name: str, but: str = "") -> Doubts:
        """What was said of a patient's contacts that are wrong, but for one follow-up; read for all at once."""
        if name not in self._doubts:
            asked = {name, *self._files} - self._doubts.keys()
            self._doubts |= {each: [] for each in asked} | doubts_in(self._db, asked)
        return [(each.opened_at, each.because) for each in self._doubts[name] if each.id != but]

    def _situation(self, alert: Alert) -> Situation:
        if alert.id not in self._situations:
            try:
                self._situations[alert.id] = self._book.situation(alert, self._file(alert.patient))
            except Exception:  # a message without the last readings is better than none
                logger.exception("the last readings of patient %s could not be read for a message", alert.patient)
                self._situations[alert.id] = Situation()
        return self._situations[alert.id]

    def _followed(self, alert: Alert) -> FollowUp | None:
        """The follow-up of an alert, as far as it is open."""
        found = self._cared.get(alert.id)
        return found if found and found.closed_at is None else None

    def _run(self, timer: Timer) -> list[Timer]:
        """All timers of its run, as they are by now."""
        return [each for each in self._runs.get(timer.subject, {}).values() if each.run == timer.run]

    def _tried_by_now(self, timer: Timer) -> list[Timer]:
        """Its run, where what was not delivered in time may have been since, and what was put off told."""
        run = self._run(timer)
        before = [each.id for each in run if each.result is Result.PUT_OFF and each.done_at != self._now]
        told = told_later_in(self._db, before, self._now) if before else {}
        return [self._by_now(each, told.get(each.id)) for each in run]

    def _by_now(self, timer: Timer, told_at: datetime | None) -> Timer:
        if timer.result is Result.PUT_OFF and told_at:
            return replace(timer, result=Result.TOLD, done_at=told_at)
        if timer.result is Result.NOT_DELIVERED and timer.id in self._delivered:
            return replace(timer, result=Result.DELIVERED)
        return timer

    def _asked_to_call(self, run: Sequence[Timer], recipient: Recipient) -> list[Timer]:
        """A run, where a patient whom nobody but a person dials is not said to be told by it."""
        return [
            replace(each, result=Result.TO_BE_CALLED)
            if each.step
            and each.step.is_for_patient
            and each.result in _SAID
            and self._is_by_hand(recipient, each.step)
            else each
            for each in run
        ]

    def _is_by_hand(self, recipient: Recipient, step: Step) -> bool:
        first = next(iter(self._book.ways(recipient, step.channel)), None)
        return first is not None and first.channel == TELEPHONE and TELEPHONE not in self._book.dialled

    def _plan(self, timers: Iterable[Timer]) -> None:
        for timer in timers:
            if timer.id not in self._runs.setdefault(timer.subject, {}):
                self._planned[timer.id] = self._runs[timer.subject][timer.id] = timer

    def _follow(self, then: Next) -> None:
        self._plan(then.plans)
        for timer in then.brings_forward:
            self._note(self._forward, replace(timer, due=min(timer.due, self._now)))

    def _finish(self, timer: Timer, result: Result, who: Sequence[str] = ()) -> None:
        self._change(replace(timer, done_at=self._now, result=result, who=tuple(who)))

    def _change(self, timer: Timer) -> None:
        self._note(self._changed, timer)

    def _note(self, changes: dict[str, Timer], timer: Timer) -> None:
        """A timer is another one from now on; one that is not written yet is written so."""
        (self._planned if timer.id in self._planned else changes)[timer.id] = timer
        self._runs.setdefault(timer.subject, {})[timer.id] = timer


def _step_of(check: Timer) -> Timer:
    """The step of which is seen whether it has reached anybody."""
    return replace(check, kind=TimerKind.STEP)


def _is_reached(db: Connection, name: str) -> bool:
    """Whether a patient has any contact. A clinic that registers none goes on with its own channels alone."""
    return bool(contacts_in(db, [patient(name)]))


def _one(subject: str, kind: TimerKind, at: datetime, priority: Priority) -> Timer:
    return Timer(subject=subject, kind=kind, run=at, due=at, priority=priority)


def _later(appointment: Appointment, known: PatientFile | None) -> list[Timer]:
    """When the patient is reminded of an appointment, and when it is asked whether it was kept."""
    zone = ZoneInfo(known.recipient.zone if known else "UTC")
    later = {TimerKind.REMINDER: reminder_at(appointment, zone), TimerKind.KEPT: asked_at(appointment, zone)}
    return [
        replace(
            _one(appointment.id, kind, appointment.changed_at, Priority.LOW), due=due, number=appointment.sequence
        )
        for kind, due in later.items()
        if due
    ]


def _plan(db: Connection, timers: Iterable[Timer]) -> None:
    """Write timers down; one that is known stays as it is."""
    rows = {timer.id: _row(timer) for timer in timers}
    if rows:
        known = set(db.scalars(select(_timers.c.id).where(among(_timers.c.id, rows))))
        if new := [row for key, row in rows.items() if key not in known]:
            db.execute(insert(_timers), new)


def _end(db: Connection, alert: str, result: Result, at: datetime) -> None:
    """End what an event ends of the runs of an alert."""
    query = select(_timers).where(_timers.c.subject == alert, _is_left)
    ended = [timer.id for timer in map(_timer, db.execute(query)) if ends(timer, result)]
    if ended:
        db.execute(update(_timers).where(among(_timers.c.id, ended)).values(done_us=to_us(at), result=result))


def _is_over(timer: Timer, alert: Alert) -> Result | None:
    return is_over(
        timer,
        acknowledged_at=alert.acknowledged_at,
        closed_at=alert.closed_at,
        snoozed=alert.snoozed_until is not None,
        gone=alert.condition_gone_at is not None,  # maybe before its run began, when there was no step to end
    )


def _lacking_handover() -> Select[Any]:
    """The ids of unacknowledged alerts and overdue follow-ups whose newest run lacks one, as `lacks_handover`."""
    names = union_all(unacknowledged_names(), overdue_names()).subquery()
    run, handover, step = _timers.alias(), _timers.alias(), _timers.alias()
    newest = (
        select(func.max(run.c.run_us))
        .where(run.c.subject == names.c.id, run.c.kind.not_in(BESIDE_RUNS))
        .correlate(names)
        .scalar_subquery()
    )
    is_repeated = and_(step.c.priority == Priority.MEDIUM, step.c.step["repeat_s"].as_float().is_not(None))
    return (
        select(names.c.id)
        .where(
            ~exists().where(
                handover.c.subject == names.c.id,
                handover.c.run_us >= newest,
                handover.c.kind == TimerKind.HANDOVER,
            ),
            exists().where(
                step.c.subject == names.c.id,
                step.c.run_us == newest,
                step.c.kind == TimerKind.STEP,
                step.c.step["to"].as_string() != PATIENT,
                or_(step.c.priority == Priority.HIGH, is_repeated),
            ),
        )
        .order_by(names.c.id)
    )


def _runs_of(db: Connection, alerts: Iterable[str]) -> dict[str, dict[str, Timer]]:
    """All timers of some alerts, by alert and name; but no checks that are done: their step says what they saw."""
    found: dict[str, dict[str, Timer]] = {}
    tells = or_(_is_left, _timers.c.kind != TimerKind.CHECK)
    for row in db.execute(select(_timers).where(among(_timers.c.subject, alerts), tells)).all():
        found.setdefault(row.subject, {})[row.id] = _timer(row)
    return found


def _soon_repeated(db: Connection, due: Sequence[Timer], now: datetime) -> list[Timer]:
    """What is to be told again soon of other overdue follow-ups of a patient, where one is told the same people now.

    It is told with that one, so that it is one message, and goes on being one: all of its steps are, or none. Who is
    told by two of them would be told twice else, as where one of them is for somebody the first time, which is not
    for others to hasten.
    """
    steps: dict[str, list[Step | None]] = {}
    for timer in due:
        if timer.kind is TimerKind.STEP:
            steps.setdefault(timer.subject, []).append(timer.step)
    late = [subject for subject in steps if subject.startswith("f-")]
    if not late or not (beside := overdue_beside(db, late)):
        return []
    query = select(_timers).where(
        _is_left,
        _timers.c.due_us > to_us(now),
        _timers.c.due_us <= to_us(now + _WITH_OTHERS),
        _timers.c.kind == TimerKind.STEP,
        among(_timers.c.subject, beside),
    )
    soon = [_timer(row) for row in db.execute(query.with_for_update(skip_locked=True))]
    told = {name: {_whom(step) for other in others for step in steps[other]} for name, others in beside.items()}
    told_again = {timer.subject for timer in soon if _whom(timer.step) in told[timer.subject]}
    told_again -= {timer.subject for timer in soon if timer.is_pending_step}
    return [timer for timer in soon if timer.subject in told_again]


def _whom(step: Step | None) -> tuple[str, str, bool] | None:
    """For whom a step is, and how; the same for those that tell the same people at the same moment."""
    return (step.to, step.channel, step.everyone) if step else None


def _changed_row(timer: Timer, names: Iterable[str]) -> dict[str, Any]:
    row = _row(timer)
    return {"timer": timer.id, **{f"new_{name}": row[name] for name in names}}


def _notice(
    key: str,
    recipient: Recipient,
    alert: str | None,
    of_patient: str,
    priority: Priority,
    written: Written,
    now: datetime,
) -> Notice:
    """A notice to one person; the same key gives the same one."""
    return Notice(
        id="n-" + sha256(f"{key}\x1f{recipient.owner}".encode()).hexdigest()[:16],
        alert=alert,
        patient=of_patient,
        audience=recipient.audience,
        priority=priority,
        subject=written.subject,
        body=written.body,
        written_at=now,
        recipient=recipient.owner,
    )


def _name_of_news(timer: Timer) -> str:
    """The id of the notice by which a patient is told of an appointment, or reminded."""
    return f"{timer.subject}-{timer.number}{_REMINDER if timer.kind is TimerKind.REMINDER else ''}"


def _is_outdated(notice: Notice, appointment: Appointment) -> bool:
    """Whether an appointment was changed after what a notice says of it."""
    return notice.id.rpartition("-")[2].rstrip(_REMINDER) != str(appointment.sequence)


def _first_said(notice: Notice) -> tuple[bool, int]:
    """By which of those that are said in one call comes first: of an alert, then the most urgent."""
    return notice.alert is None, -notice.priority


def _state_of(notice: Notice) -> str:
    """Of which alert, or overdue follow-up, it says how that is; itself where it says something that stays so."""
    of = notice.follow_up if notice.id.startswith(OVERDUE_ID) else None if notice.follow_up else notice.alert
    return of or notice.id


def _by_message(notices: Sequence[Notice]) -> list[list[Notice]]:
    """What was put off, by what is joined: what has a page of its own to be read on goes by itself, with its link."""
    alone = [[each] for each in notices if each.id.startswith((APPOINTMENT_ID, EDUCATION_ID))]
    others = [each for each in notices if [each] not in alone]
    return [others, *alone] if others else alone


def _problems(notice: Notice) -> set[str]:
    """The trouble of which a rule says something to a patient; none of any other notice."""
    return {rule.problem for rule in _rules(notice)}


def _rules(notice: Notice) -> list[Rule]:
    return [rule for rule in RULES.values() if for_patient(rule.title) == notice.subject]


def _urgency(notice: Notice) -> Priority:
    """How urgent it is that a person says what a message would have: sugar now is nothing for another day."""
    return max(notice.priority, Priority.MEDIUM) if _LOW in _problems(notice) else notice.priority


def _overdue_notice(
    follow_up: FollowUp,
    now: datetime,
    recipient: Recipient | None = None,
    given: CareFact | None = None,
    *,
    elsewhere: bool = True,
    whose: Recipient,
    doubts: Doubts = (),
) -> Notice:
    """To a person, one at a moment by however many steps, or to the channels of the house.

    elsewhere: whether the reader has another clock than the patient. whose: the patient, with the contacts. doubts:
    see `Doubts`.
    """
    zone = recipient.zone if recipient else "UTC"
    written = overdue_message(
        follow_up, zone=zone, now=now, given=given, elsewhere=elsewhere, whose=whose, doubts=doubts
    )
    owner = recipient.owner if recipient else None
    return Notice(
        id=OVERDUE_ID + sha256(f"{follow_up.id}\x1f{owner}\x1f{now.isoformat()}".encode()).hexdigest()[:16],
        alert=follow_up.alert,
        patient=follow_up.patient,
        audience=Audience.STAFF,
        priority=follow_up.priority,
        subject=written.subject,
        body=written.body,
        written_at=now,
        recipient=owner,
        follow_up=follow_up.id,
    )


def _digest(
    notices: Sequence[Notice],
    recipient: Recipient,
    now: datetime,
    page: Callable[[Notice], str],
    *,
    elsewhere: bool,
    since: datetime | None = None,
) -> Notice:
    """Some notices in one, the most urgent first; a long one says of the others only where to read them.

    elsewhere: whether any of the patients lives by another clock. since: the first is overdue, where all are.
    """
    of_patient, priority, _ = joined(notices)
    items = [
        {
            "at": each.written_at,
            "patient": "" if recipient.is_patient else each.patient,
            "subject": each.subject,
            "body": each.body if place < _MOST_IN_FULL or recipient.is_patient else None,
            "link": "" if recipient.is_patient else page(each),
        }
        for place, each in enumerate(sorted(notices, key=lambda one: -one.priority))
    ]
    local = now.astimezone(ZoneInfo(recipient.zone))
    written = digest_message(
        items,
        zone=recipient.zone,
        now=local,
        elsewhere=elsewhere,
        priority=priority,
        patient=of_patient,
        since=since,
    )
    key = " ".join(["digest", *(each.id for each in notices)])
    # Where all are about one alert or one follow-up, so is this: it is answered, and found, as each of them is.
    alerts, follow_ups = ({getattr(each, name) for each in notices} for name in ("alert", "follow_up"))
    alert, follow_up = (found.pop() if len(found) == 1 else None for found in (alerts, follow_ups))
    told = replace(_notice(key, recipient, alert, of_patient, priority, written, now), follow_up=follow_up)
    name = told.id.partition("-")[2]
    if all(map(is_plain, notices)):
        return replace(told, id=PLAIN_ID + name)
    return replace(told, id=OVERDUE_ID + name) if since else told


def _enough(wait: timedelta) -> Text:
    minutes = -(-wait // timedelta(minutes=1))
    most, within = MOST_MESSAGES, MESSAGES_WITHIN // timedelta(minutes=1)
    return Text(
        en=f"{most} messages went to this person within {within} min. Try again in {minutes} min.",
        zh=f"{within} 分钟内已向此人发送 {most} 条消息。请在 {minutes} 分钟后再试。",
    )


def _written_to(recipient: Recipient) -> Recipient:
    """Somebody without the contacts by which nothing can be read."""
    return replace(recipient, contacts=_without_telephone(recipient.contacts))


def _without_telephone(contacts: Sequence[Contact]) -> tuple[Contact, ...]:
    return tuple(each for each in contacts if each.channel != TELEPHONE)


def _row(timer: Timer) -> Mapping[str, Any]:
    return {
        "id": timer.id,
        "subject": timer.subject,
        "kind": timer.kind,
        "run_us": to_us(timer.run),
        "number": timer.number,
        "count": timer.count,
        "priority": int(timer.priority),
        "step": _step_row(timer.step) if timer.step else None,
        "due_us": to_us(timer.due),
        "done_us": timer.done_at and to_us(timer.done_at),
        "result": timer.result,
        "who": list(timer.who),
    }


def _step_row(step: Step) -> Mapping[str, Any]:
    return {
        "to": step.to,
        "after_s": step.after.total_seconds(),
        "channel": step.channel,
        "until": step.until,
        "repeat_s": step.repeat.total_seconds() if step.repeat else None,
        "everyone": step.everyone,
        "next_shift": step.next_shift,
    }


@lru_cache(maxsize=1024)  # the steps of a ladder are those of every alert
def _step(
    *, to: str, after_s: float, channel: str, until: str, repeat_s: float | None, everyone: bool, next_shift: bool
) -> Step:
    return Step(
        to=to,
        after=timedelta(seconds=after_s),
        channel=channel,
        until=Until(until),
        repeat=timedelta(seconds=repeat_s) if repeat_s else None,
        everyone=everyone,
        next_shift=next_shift,
    )


def _timer(row: Row[Any]) -> Timer:
    _, subject, kind, run_us, number, count, priority, step, due_us, done_us, result, who = tuple(row)
    return Timer(
        subject=subject,
        kind=TimerKind(kind),
        run=from_us(run_us),
        priority=Priority(priority),
        due=from_us(due_us),
        number=number,
        count=count,
        step=_step(**step) if step else None,
        done_at=from_us(done_us) if done_us is not None else None,
        result=Result(result) if result else None,
        who=tuple(who),
    )

"""The book of follow-ups: what was done about patients, when they are due next, and what they said of it.

In the house's database. Facts are only ever added; a follow-up's row is what its facts make (`follow_up.replay`), and
is written with them. Each row says how many facts it has, and a step that was decided on fewer is refused: of two
people who act at once one is told so. Every call blocks for one short transaction, so call it off the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy import (
    Text as LongText,
)
from sqlalchemy.exc import IntegrityError

from alerts.alert import IllegalAct, Outcome, Priority, Reason, Symptom, Symptoms, Text, outcomes_told
from alerts.audit import audited, records_in
from alerts.care_plan import CarePlan, Condition, Control, followed, judged, opening
from alerts.database import METADATA, among, reading, writing
from alerts.follow_up import (
    CONTACT_DATA,
    Attempt,
    Close,
    Fact,
    FollowUp,
    Open,
    Opening,
    Result,
    Step,
    What,
    Why,
    decide,
    digest,
    is_given,
    opened,
    overdue,
    overdue_by_any_rule,
    refuse_closed,
    replay,
    unreached,
)
from alerts.invitation import ABOUT, KEPT, Appointment
from alerts.review import Review
from alerts.survey import EDUCATION_ID, VALID, Answer, Survey, answered, call_again, survey_of
from alerts.team import Role, patient
from alerts.team_book import is_reached
from ingest.reading import from_us, to_us

# Moments are integer microseconds UTC, as in the journal: exact, sortable, the same on every database.
_follow_ups = Table(
    "follow_ups",
    METADATA,
    Column("id", String(24), primary_key=True),
    Column("patient", String(64), nullable=False),
    Column("why", String(16), nullable=False),
    Column("because_en", LongText, nullable=False),
    Column("because_zh", LongText, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("problem", String(64)),
    Column("alert", String(24), index=True),
    Column("programme", String(200)),
    Column("opened_at_us", BigInteger, nullable=False),
    Column("opened_by", String(200)),
    Column("role", String(16), nullable=False),
    Column("assigned_to", String(200)),
    Column("due_at_us", BigInteger, nullable=False),
    Column("rule_en", LongText, nullable=False),
    Column("rule_zh", LongText, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("unanswered", Integer, nullable=False),
    Column("reached_at_us", BigInteger),
    Column("declined_at_us", BigInteger),
    Column("symptoms", JSON(none_as_null=True)),
    Column("overdue_at_us", BigInteger),
    Column("closed_at_us", BigInteger),
    Column("closed_by", String(200)),
    Column("outcome", String(32)),
    Column("reason", String(32)),
    Column("closing_note", LongText),
)
_is_open: Final = _follow_ups.c.closed_at_us.is_(None)
for _name, _columns in {
    "follow_ups_due": (_follow_ups.c.due_at_us, _follow_ups.c.id),
    "follow_ups_due_by_role": (_follow_ups.c.role, _follow_ups.c.due_at_us, _follow_ups.c.id),
    "follow_ups_due_by_person": (_follow_ups.c.assigned_to, _follow_ups.c.due_at_us, _follow_ups.c.id),
}.items():
    Index(_name, *_columns, sqlite_where=_is_open, postgresql_where=_is_open)
_is_unnoted: Final = and_(_is_open, _follow_ups.c.overdue_at_us.is_(None))
Index("follow_ups_unnoted", _follow_ups.c.due_at_us, sqlite_where=_is_unnoted, postgresql_where=_is_unnoted)
Index("follow_ups_by_patient", _follow_ups.c.patient, _follow_ups.c.opened_at_us)
Index("follow_ups_by_time", _follow_ups.c.opened_at_us)
_facts = Table(
    "follow_up_facts",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("follow_up", String(24), nullable=False, index=True),
    Column("what", String(16), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("by", String(200)),
    Column("priority", Integer, nullable=False),
    Column("role", String(16), nullable=False),
    Column("assigned_to", String(200)),
    Column("due_at_us", BigInteger, nullable=False),
    Column("rule_en", LongText, nullable=False),
    Column("rule_zh", LongText, nullable=False),
    Column("note", LongText, nullable=False),
    Column("opening", JSON(none_as_null=True)),
    Column("outcome", String(32)),
    Column("reason", String(32)),
    Column("symptoms", JSON(none_as_null=True)),
)
# What an attempt has besides; its fact has the rest.
_attempts = Table(
    "attempts",
    METADATA,
    Column("fact", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("follow_up", String(24), nullable=False, index=True),
    Column("at_us", BigInteger, nullable=False, index=True),
    Column("channel", String(64), nullable=False),
    Column("result", String(16), nullable=False),
)
_surveys = Table(
    "surveys",
    METADATA,
    Column("id", String(24), primary_key=True),
    Column("follow_up", String(24), nullable=False, unique=True),
    Column("patient", String(64), nullable=False),
    Column("made_at_us", BigInteger, nullable=False, index=True),
    Column("expires_at_us", BigInteger, nullable=False),
    Column("sent_at_us", BigInteger),
    Column("answered_at_us", BigInteger),
    Column("helpful", Boolean),
    Column("solved", Boolean),
    Column("score", Integer),
    Column("text", LongText),
    Column("call_again", Boolean),
    Column("answered_by", String(200)),
)
Index("surveys_by_patient", _surveys.c.patient, _surveys.c.made_at_us)
_is_unsent: Final = _surveys.c.sent_at_us.is_(None)
Index("surveys_unsent", _surveys.c.made_at_us, sqlite_where=_is_unsent, postgresql_where=_is_unsent)
_education = Table(
    "education_given",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("patient", String(64), nullable=False, index=True),
    Column("follow_up", String(24), nullable=False),
    Column("material", String(64), nullable=False),
    Column("by", String(200), nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
_appointments = Table(
    "appointments",
    METADATA,
    Column("id", String(24), primary_key=True),
    Column("follow_up", String(24), nullable=False, index=True),
    Column("patient", String(64), nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("length_s", Integer, nullable=False),
    Column("place", LongText, nullable=False),
    Column("made_by", String(200), nullable=False),
    Column("changed_at_us", BigInteger, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("whom", String(200), nullable=False, server_default=""),
    Column("kept", Boolean),
)
_plans = Table(
    "care_plans",
    METADATA,
    Column("patient", String(64), primary_key=True),
    Column("condition", String(16), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("author", String(200), nullable=False),
    Column("entered_at_us", BigInteger, nullable=False),
    Column("every_days", Integer),
    Column("since_us", BigInteger, nullable=False),
    Column("due_at_us", BigInteger, nullable=False),
    Column("open_at_us", BigInteger, nullable=False),
    Column("because_en", LongText, nullable=False),
    Column("because_zh", LongText, nullable=False),
    Column("control", String(16), nullable=False),
    Column("told_en", LongText),
    Column("told_zh", LongText),
    Column("sensor", Boolean, nullable=False),
    Column("judged_at_us", BigInteger),
    Column("missed", Integer, nullable=False),
    Column("outcome", String(32)),
    Column("alarmed_at_us", BigInteger),
    Column("alarm_en", LongText),
    Column("alarm_zh", LongText),
    Column("follow_up", String(24)),
    Column("version", Integer, nullable=False),
)
_waits: Final = _plans.c.follow_up.is_(None)
Index("care_plans_to_open", _plans.c.open_at_us, sqlite_where=_waits, postgresql_where=_waits)

_KEPT: Final = {True: "The appointment was kept. 患者已到诊。", False: "The appointment was not kept. 患者未到诊。"}
HOMEWARD: Final = "Homeward"  # who closes what nobody is to do any more
_ASKED_BY_HOUSE: Final = {What.OPENED, What.UNREACHED}  # what is in a follow-up before a person does anything in it
_IN_THE_ALERTS: Final = "The follow-up of the alert has all of this. 警报的随访已包含此事。"
_CHANGED_SINCE: Final = "The appointment was changed since. 预约此后已变更。"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was given to a patient to read, in which follow-up. material: as in `survey.MATERIALS`."""

    patient: str
    follow_up: str
    material: str
    by: str
    at: datetime

    @property
    def id(self) -> str:
        """The same for the same material in the same follow-up, which goes to the patient once."""
        return EDUCATION_ID + digest(self.follow_up, self.material)


class FollowUpBook:
    """The follow-ups, plans of care and surveys of all patients.

    beside: what others write of a person's step, in the same transaction.
    """

    def __init__(self, engine: Engine, beside: Sequence[Callable[[Connection, Fact], None]] = ()) -> None:
        self._engine = engine
        self._beside = beside

    # Follow-ups

    def get(self, follow_up: str) -> FollowUp | None:
        """One follow-up by id, or None."""
        return next(iter(self._found(select(_follow_ups).where(_follow_ups.c.id == follow_up))), None)

    def of_alert(self, alert: str) -> FollowUp | None:
        """The follow-up of an alert, or None."""
        return next(iter(self._found(select(_follow_ups).where(_follow_ups.c.alert == alert))), None)

    def of_alerts(self, alerts: Iterable[str]) -> dict[str, FollowUp]:
        """The follow-ups of these alerts, by alert."""
        query = select(_follow_ups).where(among(_follow_ups.c.alert, alerts))
        return {each.alert: each for each in self._found(query) if each.alert}

    def due(
        self,
        *,
        now: datetime | None = None,
        until: datetime | None = None,
        role: Role | None = None,
        person: str | None = None,
        patient: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[FollowUp]:
        """The open ones: what is overdue now by its priority, then the longest due first.

        now: None to have all by their time alone. until: only those due before. after: id of the last one of the page
        before. Raises KeyError where it is not known.
        """
        order = _follow_ups.c.due_at_us, _follow_ups.c.id
        query = select(_follow_ups).where(_is_open).order_by(*order)
        if until is not None:
            query = query.where(_follow_ups.c.due_at_us < to_us(until))
        if role is not None:
            query = query.where(_follow_ups.c.role == role.value)
        if person is not None:
            query = query.where(_follow_ups.c.assigned_to == person)
        if patient is not None:
            query = query.where(_follow_ups.c.patient == patient)
        last = self._known(after) if after is not None else None
        parts = _URGENCIES if now else (None,)
        found: list[FollowUp] = []
        for part in parts if last is None else parts[parts.index(_urgency(last, now)) :]:
            page = query.where(_has_urgency(part, now))
            if last is not None and part == _urgency(last, now):
                page = page.where(tuple_(*order) > (to_us(last.due_at), last.id))
            found += self._found(page.limit(limit - len(found)))
            if len(found) == limit:
                break
        return found

    def of_patient(self, patient: str, limit: int = 100) -> list[FollowUp]:
        """A patient's follow-ups, newest first, closed ones included."""
        query = select(_follow_ups).where(_follow_ups.c.patient == patient)
        return self._found(query.order_by(_follow_ups.c.opened_at_us.desc(), _follow_ups.c.id).limit(limit))

    def open_of(self, patient: str) -> list[FollowUp]:
        """A patient's open follow-ups, the longest due first."""
        query = select(_follow_ups).where(_follow_ups.c.patient == patient, _is_open)
        return self._found(query.order_by(_follow_ups.c.due_at_us, _follow_ups.c.id))

    def doubts(self, patients: Iterable[str]) -> dict[str, list[FollowUp]]:
        """See `doubts_in`."""
        with reading(self._engine) as db:
            return doubts_in(db, patients)

    def opened_in(self, start: datetime, end: datetime) -> list[FollowUp]:
        """Those that were opened from start until before end, oldest first."""
        span = (_follow_ups.c.opened_at_us >= to_us(start), _follow_ups.c.opened_at_us < to_us(end))
        return self._found(select(_follow_ups).where(*span).order_by(_follow_ups.c.opened_at_us))

    def history(self, follow_up: str) -> list[Fact]:
        """The dated facts of a follow-up, in the order in which they were written."""
        query = _with_attempts().where(_facts.c.follow_up == follow_up).order_by(_facts.c.seq)
        with reading(self._engine) as db:
            return [_fact(row) for row in db.execute(query)]

    def attempts(self, start: datetime, end: datetime) -> list[Attempt]:
        """Every try to reach a patient from start until before end, oldest first."""
        query = _with_attempts().where(_attempts.c.at_us >= to_us(start), _attempts.c.at_us < to_us(end))
        return self._tries(query.order_by(_attempts.c.at_us, _facts.c.seq))

    def last_attempts(self, follow_ups: Iterable[str]) -> dict[str, Attempt]:
        """The last try of each of these follow-ups that has one, by follow-up."""
        last = select(func.max(_attempts.c.fact)).where(among(_attempts.c.follow_up, follow_ups))
        tries = self._tries(_with_attempts().where(_facts.c.seq.in_(last.group_by(_attempts.c.follow_up))))
        return {each.follow_up: each for each in tries}

    def count_open(self, now: datetime) -> tuple[int, int]:
        """How many are open, and how many of those are overdue."""
        overdue = func.count().filter(_follow_ups.c.due_at_us < to_us(now))
        with reading(self._engine) as db:
            row = db.execute(select(func.count(), overdue).select_from(_follow_ups).where(_is_open)).one()
            return int(row[0]), int(row[1])

    # Writing

    def record(self, steps: Sequence[Step]) -> None:
        """Write steps down with what follows of them, all or nothing. Raises IllegalAct, see `writing`."""
        if steps:
            with writing(self._engine) as db:
                self.write(db, steps)

    def writing(self, steps: Sequence[Step]) -> Callable[[Connection], None] | None:
        """What writes these steps in a transaction of `alerts.book.Book.record`; None where there are none.

        It raises IllegalAct, and all is undone, where somebody else has acted on the same follow-up meanwhile.
        """
        return (lambda db: self.write(db, steps)) if steps else None

    def write(self, db: Connection, steps: Sequence[Step]) -> None:
        """The same within a transaction."""
        closed = {step.follow_up.id for step in steps if step.fact.what is What.CLOSED}
        for step in steps:
            _refuse_no_appointment(db, step)
            if _put(db, step):
                if step.fact.what is What.OPENED and step.follow_up.alert and step.follow_up.id not in closed:
                    _end_forerunners(db, step.follow_up)
                if step.fact.what is What.CLOSED:
                    _after_closing(db, step.follow_up)
                for write in self._beside:
                    write(db, step.fact)

    def open_due(self, now: datetime, limit: int = 100) -> list[FollowUp]:
        """Open the follow-ups of the plans whose time has come, at most so many; those opened.

        Two hubs never open the same ones: what one of them holds the other leaves.
        """
        query = select(_plans).where(_waits, _plans.c.open_at_us <= to_us(now)).order_by(_plans.c.open_at_us)
        query = query.with_for_update(skip_locked=True)
        made = []
        with self._engine.begin() as db:
            for row in db.execute(query.limit(limit)).all():
                plan = _plan(row)
                if act := opening(plan, now):
                    step = opened(act)
                    _put(db, step)
                    _put_plan(db, replace(plan, follow_up=act.follow_up))
                    made.append(step.follow_up)
        return made

    # Plans of care

    def plan(self, patient: str, condition: Condition) -> CarePlan | None:
        """The plan for a patient's condition, or None."""
        return next((plan for plan in self.plans(patient) if plan.condition is condition), None)

    def plans(self, patient: str) -> list[CarePlan]:
        """A patient's plans of care, by condition."""
        with reading(self._engine) as db:
            return _plans_of(db, patient)

    def set_plan(self, plan: CarePlan) -> None:
        """Write a new plan down, or what became of a known one. Raises IllegalAct where it was changed meanwhile."""
        with self._engine.begin() as db:
            _put_plan(db, plan)

    def end_plan(self, patient: str, condition: Condition, *, now: datetime, by: str) -> bool:
        """Take a plan back; False where there is none. A follow-up that it opened stays. by: who takes it back."""
        this = (_plans.c.patient == patient, _plans.c.condition == condition.value)
        with self._engine.begin() as db:
            before = db.execute(select(_plans).where(*this).with_for_update()).first()
            if before is None:
                return False
            db.execute(delete(_plans).where(*this))
            audited(db, "ended", _plan_name(_plan(before)), at=now, who=by, before=_plan_set(dict(before._mapping)))
        return True

    def judge(self, review: Review) -> None:
        """Have a patient's plans follow a weekly review. What somebody does to a plan meanwhile is not undone."""
        for plan in self.plans(review.patient):
            now = judged(plan, review)
            while now != plan:
                try:
                    self.set_plan(now)
                except IllegalAct:
                    newest = self.plan(plan.patient, plan.condition)
                    if newest is None:
                        break
                    plan, now = newest, judged(newest, review)
                else:
                    break

    # Surveys, things to read, appointments

    def survey(self, survey: str) -> Survey | None:
        """One survey by id, or None."""
        return next(iter(self._surveys(select(_surveys).where(_surveys.c.id == survey))), None)

    def survey_after(self, follow_up: str) -> Survey | None:
        """The survey after a follow-up, or None."""
        return next(iter(self._surveys(select(_surveys).where(_surveys.c.follow_up == follow_up))), None)

    def unsent_surveys(self, now: datetime, limit: int = 100) -> list[Survey]:
        """Surveys that can be answered and whose link has not gone out, of patients with a contact, oldest first."""
        # By the index: of patients without a contact many have expired unsent.
        is_new = _surveys.c.made_at_us > to_us(now - VALID)
        open_now = (_is_unsent, is_new, _surveys.c.expires_at_us > to_us(now), is_reached(_surveys.c.patient))
        return self._surveys(select(_surveys).where(*open_now).order_by(_surveys.c.made_at_us).limit(limit))

    def surveys(self, start: datetime, end: datetime, limit: int | None = None) -> list[Survey]:
        """Surveys made from start until before end, newest first."""
        query = select(_surveys).where(_surveys.c.made_at_us >= to_us(start), _surveys.c.made_at_us < to_us(end))
        return self._surveys(query.order_by(_surveys.c.made_at_us.desc(), _surveys.c.id).limit(limit))

    def answer(
        self, survey: str, answer: Answer, at: datetime, by: str | None = None
    ) -> tuple[Survey, FollowUp | None]:
        """Write a patient's answer down, and what a poor one opens. Raises KeyError, IllegalAct.

        by: who writes down what the patient said by telephone, which the audit keeps; None: the patient.
        """
        with self._engine.begin() as db:
            row = db.execute(select(_surveys).where(_surveys.c.id == survey)).first()
            if row is None:
                raise KeyError(survey)
            now = answered(_survey(row), answer, at, by)
            first = update(_surveys).where(_surveys.c.id == survey, _surveys.c.answered_at_us.is_(None))
            if not db.execute(first.values(**_survey_row(now))).rowcount:
                raise _at_once(survey)
            audited(
                db,
                "answered",
                f"survey:{survey}",
                at=at,
                who=by or patient(now.patient),
                before=dict(row._mapping),
                after=_survey_row(now),
            )
            before = db.execute(select(_follow_ups).where(_follow_ups.c.id == now.follow_up)).one()
            act = call_again(now, _follow_up(before))
            if act is None:
                return now, None
            step = opened(act)
            _put(db, step)
            return now, step.follow_up

    def give(self, given: Given, also: Callable[[Connection], None] = lambda _db: None) -> None:
        """Write down what was given to a patient to read, once. Raises IllegalAct where the follow-up is over.

        also: what has it go to the patient, in the same transaction.
        """
        row = {"patient": given.patient, "follow_up": given.follow_up, "material": given.material, "by": given.by}
        with writing(self._engine) as db:
            _refuse_closed(db, given.follow_up)
            of_patient = _education.c.patient == given.patient  # by the index
            same = of_patient, _education.c.follow_up == given.follow_up, _education.c.material == given.material
            if db.execute(select(_education.c.seq).where(*same)).first() is None:
                db.execute(insert(_education).values(**row, at_us=to_us(given.at)))
                audited(db, "education-given", f"follow-up:{given.follow_up}", at=given.at, who=given.by, after=row)
            also(db)

    def given(self, patient: str) -> list[Given]:
        """What was given to a patient to read, newest first."""
        query = select(_education).where(_education.c.patient == patient).order_by(_education.c.seq.desc())
        with reading(self._engine) as db:
            return [
                Given(
                    patient=row.patient,
                    follow_up=row.follow_up,
                    material=row.material,
                    by=row.by,
                    at=from_us(row.at_us),
                )
                for row in db.execute(query)
            ]

    def appointment(self, appointment: str) -> Appointment | None:
        """One appointment by id, or None."""
        with reading(self._engine) as db:
            row = db.execute(select(_appointments).where(_appointments.c.id == appointment)).first()
            return _appointment(row) if row else None

    def appointments(self, follow_up: str) -> list[Appointment]:
        """The appointments made in a follow-up, and the one that it is about, by their start."""
        about = [
            select(func.substr(_follow_ups.c.problem, len(kind) + 1)).where(
                _follow_ups.c.id == follow_up, _follow_ups.c.problem.startswith(kind)
            )
            for kind in (ABOUT, KEPT)
        ]
        query = select(_appointments).where(
            or_(_appointments.c.follow_up == follow_up, *(_appointments.c.id.in_(each) for each in about))
        )
        with reading(self._engine) as db:
            return [_appointment(row) for row in db.execute(query.order_by(_appointments.c.start_us))]

    def with_appointment(self, follow_ups: Iterable[str]) -> set[str]:
        """In which of these follow-ups an appointment was made that stands."""
        with reading(self._engine) as db:
            return {row.follow_up for row in db.execute(_with_appointment(follow_ups))}

    def coming(self, patient: str, now: datetime) -> list[Appointment]:
        """A patient's appointments that are not over and not called off, by their start."""
        of_patient = _appointments.c.follow_up.in_(select(_follow_ups.c.id).where(_follow_ups.c.patient == patient))
        ends = _appointments.c.start_us + _appointments.c.length_s * 1_000_000
        query = select(_appointments).where(of_patient, ends > to_us(now), ~_appointments.c.cancelled)
        with reading(self._engine) as db:
            return [_appointment(row) for row in db.execute(query.order_by(_appointments.c.start_us))]

    def put_appointment(
        self, appointment: Appointment, *, by: str, also: Callable[[Connection], None] = lambda _db: None
    ) -> None:
        """Write a new appointment down, or its next change, which the audit keeps with who has made it.

        also: what else is written in the same transaction. Raises IllegalAct where it was changed meanwhile, and for
        a new one where the follow-up is over.
        """
        row, this = _appointment_row(appointment), _appointments.c.id == appointment.id
        with writing(self._engine) as db:
            before = db.execute(select(_appointments).where(this).with_for_update()).first()
            if appointment.sequence == 0:
                _refuse_closed(db, appointment.follow_up)
                _insert(db, _appointments, row, appointment.id)
            else:
                same = and_(_appointments.c.sequence == appointment.sequence - 1, _appointments.c.kept.is_(None))
                if not db.execute(update(_appointments).where(this, same).values(**row)).rowcount:
                    raise _at_once(appointment.id)
            audited(
                db,
                "cancelled" if appointment.cancelled else "moved" if before else "made",
                f"appointment:{appointment.id}",
                at=appointment.changed_at,
                who=by,
                before=_to_audit(dict(before._mapping)) if before else None,
                after=_to_audit(row),
            )
            close_tasks(db, appointment, at=appointment.changed_at, by=by, note=_CHANGED_SINCE)
            also(db)

    def note_kept(self, appointment: Appointment, *, at: datetime, by: str) -> None:
        """Write down whether an appointment was kept, which the audit keeps, and close who was asked for it.

        Raises IllegalAct where it was changed meanwhile.
        """
        same = (_appointments.c.id == appointment.id, _appointments.c.sequence == appointment.sequence)
        what = "kept" if appointment.kept else "missed"
        with self._engine.begin() as db:
            if not db.execute(update(_appointments).where(*same).values(kept=appointment.kept)).rowcount:
                raise _at_once(appointment.id)
            audited(db, what, f"appointment:{appointment.id}", at=at, who=by, after={"kept": appointment.kept})
            close_tasks(db, appointment, at=at, by=by, note=_KEPT[bool(appointment.kept)])

    def _found(self, query: Select[Any]) -> list[FollowUp]:
        with reading(self._engine) as db:
            return [_follow_up(row) for row in db.execute(query).all()]

    def _tries(self, query: Select[Any]) -> list[Attempt]:
        with reading(self._engine) as db:
            facts = [_fact(row) for row in db.execute(query)]
        return [
            Attempt(
                follow_up=fact.follow_up,
                by=fact.by or "",
                at=fact.at,
                channel=fact.channel or "",
                result=fact.result,
                note=fact.note,
                symptoms=fact.symptoms,
            )
            for fact in facts
            if fact.result is not None
        ]

    def _surveys(self, query: Select[Any]) -> list[Survey]:
        with reading(self._engine) as db:
            return [_survey(row) for row in db.execute(query)]

    def _known(self, follow_up: str) -> FollowUp:
        found = self.get(follow_up)
        if found is None:
            raise KeyError(follow_up)
        return found


# In this order what is to be done is listed: what is overdue by its priority, and None, what is not. Each is read by
# itself, by the index of what is due: sorted by both, all that is open would have to be read.
_URGENCIES: Final = (*sorted(Priority, reverse=True), None)


def _urgency(follow_up: FollowUp, now: datetime | None) -> Priority | None:
    return follow_up.priority if now is not None and follow_up.due_at < now else None


def _has_urgency(urgency: Priority | None, now: datetime | None) -> ColumnElement[bool]:
    if now is None:
        return true()
    is_late = _follow_ups.c.due_at_us < to_us(now)
    return ~is_late if urgency is None else and_(is_late, _follow_ups.c.priority == int(urgency))


def open_in(db: Connection, act: Open, said_at: datetime) -> None:
    """Open a follow-up within a transaction, or have what it is for join the one that was opened before.

    said_at: when the message was written of which it is; who reached the patient since has nothing to do for it.
    """
    step = opened(act)
    if _put(db, step):
        if act.alert:
            _end_forerunners(db, step.follow_up)
        return
    query = select(_follow_ups).where(_follow_ups.c.id == act.follow_up).with_for_update()
    known = _follow_up(db.execute(query).one())
    if not known.closed_at and (known.reached_at is None or known.reached_at < said_at):
        _put(db, unreached(known, act))


def join_call_in(db: Connection, patient: str, problem: str, priority: Priority, because: Text, at: datetime) -> bool:
    """Have something be said in the call that a patient is owed of the same trouble; False where there is none.

    Not in one that is less urgent, nor where the patient was reached: that is told anew. Within a transaction.
    """
    same = (
        _follow_ups.c.patient == patient,
        _follow_ups.c.problem == problem,
        _follow_ups.c.why == Why.ALERT,
        _follow_ups.c.alert.is_(None),
        _follow_ups.c.priority >= int(priority),
        _follow_ups.c.reached_at_us.is_(None),
    )
    query = select(_follow_ups).where(_is_open, *same).order_by(_follow_ups.c.opened_at_us).limit(1)
    row = db.execute(query.with_for_update()).first()
    if row is None:
        return False
    known, note = _follow_up(row), f"{because.en} {because.zh}"
    also = Open(
        patient=patient,
        why=known.why,
        key=known.id,
        because=because,
        at=at,
        role=known.role,
        priority=priority,
        note=note,
    )
    _put(db, unreached(known, also))
    return True


def doubts_in(db: Connection, patients: Iterable[str]) -> dict[str, list[FollowUp]]:
    """By patient, the open tasks to put contacts right that somebody has found to be wrong, the oldest first."""
    is_doubt = (_is_open, among(_follow_ups.c.patient, patients), _follow_ups.c.problem == CONTACT_DATA)
    found: dict[str, list[FollowUp]] = {}
    for row in db.execute(select(_follow_ups).where(*is_doubt).order_by(_follow_ups.c.opened_at_us)):
        found.setdefault(row.patient, []).append(_follow_up(row))
    return found


def appointments_in(db: Connection, names: Iterable[str]) -> dict[str, Appointment]:
    """Appointments by id, within a transaction."""
    found = db.execute(select(_appointments).where(among(_appointments.c.id, names)))
    return {row.id: _appointment(row) for row in found}


def coming_names(now: datetime) -> Select[tuple[str, int, int]]:
    """All appointments that have not begun and were not called off, as a part of another query."""
    one = _appointments.c
    return select(one.id, one.sequence, one.start_us).where(one.start_us > to_us(now), ~one.cancelled)


def take_survey(db: Connection, survey: str, at: datetime) -> bool:
    """Write down that the link of a survey goes out, within a transaction; False where it did before."""
    return bool(
        db.execute(update(_surveys).where(_surveys.c.id == survey, _is_unsent).values(sent_at_us=to_us(at))).rowcount
    )


def beside_record(db: Connection, after: str, limit: int) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The follow-ups that come after this id, as they are and as their facts make them.

    By the rules of an older Homeward where those explain what is otherwise. None for one whose facts do not make one.
    Within a transaction.
    """
    page = db.execute(select(_follow_ups).where(_follow_ups.c.id > after).order_by(_follow_ups.c.id).limit(limit))
    rows = {row.id: row for row in page}
    facts: dict[str, list[Row[Any]]] = {name: [] for name in rows}
    for row in db.execute(_with_attempts().where(among(_facts.c.follow_up, rows)).order_by(_facts.c.seq)):
        facts[row.follow_up].append(row)
    found: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    for name, row in rows.items():
        made: dict[str, Any] | None = None
        with suppress(ValueError):
            known = [_fact(each) for each in facts[name]]
            made = _follow_up_row(replay(known))
            made |= _made_before(row, made, known)
        found.append((dict(row._mapping), made))
    return found


def _made_before(row: Row[Any], made: Mapping[str, Any], facts: Sequence[Fact]) -> dict[str, Any]:
    """What an older Homeward has made otherwise of the same facts, for its rules were others. made: by today's."""
    found: dict[str, Any] = {}
    if _moment(row.overdue_at_us) in overdue_by_any_rule(facts):
        found["overdue_at_us"] = row.overdue_at_us
    # That there were none was kept where the alert was told again.
    if row.symptoms == [] and made["symptoms"] is None and any(fact.symptoms == frozenset() for fact in facts):
        found["symptoms"] = row.symptoms
    return found


def is_overdue_unnoted(db: Connection, now: datetime) -> bool:
    """Whether `note_overdue` would find anything."""
    query = select(_follow_ups.c.id).where(_is_unnoted, _follow_ups.c.due_at_us < to_us(now))
    return db.execute(query.limit(1)).first() is not None


def note_overdue(db: Connection, now: datetime, limit: int) -> list[FollowUp]:
    """Note, within a transaction, what has become overdue; at most so many, the longest due first.

    Two hubs never note the same ones: what one of them holds the other leaves.
    """
    query = select(_follow_ups).where(_is_unnoted, _follow_ups.c.due_at_us < to_us(now))
    query = query.order_by(_follow_ups.c.due_at_us).limit(limit).with_for_update(skip_locked=True)
    steps = [overdue(_follow_up(row), now) for row in db.execute(query).all()]
    for step in steps:
        _put(db, step)
    return [step.follow_up for step in steps]


def overdue_names() -> Select[tuple[str]]:
    """The ids of all follow-ups that were noted to be overdue, as a part of another query."""
    return select(_follow_ups.c.id).where(_is_open, _follow_ups.c.overdue_at_us.is_not(None))


def overdue_beside(db: Connection, names: Collection[str]) -> dict[str, list[str]]:
    """The other follow-ups noted to be overdue of the patients of some, each with those of them beside it."""
    one, other = _follow_ups.alias(), _follow_ups.alias()
    of_same = and_(other.c.patient == one.c.patient, other.c.id != one.c.id)
    query = select(other.c.id, one.c.id.label("beside")).select_from(one.join(other, of_same))
    found: dict[str, list[str]] = {}
    is_late = other.c.closed_at_us.is_(None), other.c.overdue_at_us.is_not(None)
    for row in db.execute(query.where(one.c.id.in_(names), *is_late)):
        found.setdefault(row.id, []).append(row.beside)
    return found


def given_up_in(db: Connection, names: Iterable[str]) -> dict[str, str]:
    """Who had each of some follow-ups, by id, from whom too many tries without an answer took it."""
    query = select(_facts.c.follow_up, _facts.c.what, _facts.c.assigned_to).where(among(_facts.c.follow_up, names))
    had: dict[str, str] = {}
    found: dict[str, str] = {}
    for row in db.execute(query.order_by(_facts.c.seq)):
        if row.assigned_to:
            had[row.follow_up] = row.assigned_to
        if row.assigned_to or row.what == What.HANDED_OVER:
            found.pop(row.follow_up, None)
        elif row.what == What.ATTEMPTED and row.follow_up in had:
            found[row.follow_up] = had[row.follow_up]
    return found


def follow_ups_in(db: Connection, names: Iterable[str]) -> dict[str, FollowUp]:
    """Follow-ups by id, within a transaction."""
    found = db.execute(select(_follow_ups).where(among(_follow_ups.c.id, names)))
    return {row.id: _follow_up(row) for row in found}


def given_in(db: Connection, follow_up: FollowUp) -> Fact | None:
    """How somebody has given a follow-up to who has it now, within a transaction; None where nobody has."""
    facts = _with_attempts().where(_facts.c.follow_up == follow_up.id).order_by(_facts.c.seq.desc())
    for fact in map(_fact, db.execute(facts)):
        if (fact.role, fact.assigned_to) != (follow_up.role, follow_up.assigned_to):
            return None
        if is_given(fact):
            return fact
    return None


def of_alerts_in(db: Connection, alerts: Iterable[str]) -> dict[str, FollowUp]:
    """The follow-ups of some alerts, by alert, within a transaction."""
    found = db.execute(select(_follow_ups).where(among(_follow_ups.c.alert, alerts)))
    return {row.alert: _follow_up(row) for row in found}


def _refuse_closed(db: Connection, follow_up: str) -> None:
    """Raises IllegalAct where a follow-up is over; one that is not stays so until the transaction ends."""
    found = db.execute(select(_follow_ups).where(_follow_ups.c.id == follow_up).with_for_update()).first()
    if found:
        refuse_closed(_follow_up(found))


def _put(db: Connection, step: Step) -> bool:
    """Write one step down; False where it opens what was opened before."""
    follow_up, row = step.follow_up, _follow_up_row(step.follow_up)
    this = _follow_ups.c.id == follow_up.id
    before = db.execute(select(_follow_ups).where(this).with_for_update()).first()
    if step.fact.what is What.OPENED:
        if before:
            return False
        _insert(db, _follow_ups, row, follow_up.id)
    elif not db.execute(
        update(_follow_ups).where(this, _follow_ups.c.version == follow_up.version - 1).values(**row)
    ).rowcount:
        raise _at_once(follow_up.id)
    written = db.execute(insert(_facts).values(**_fact_row(step.fact)))
    audited(
        db,
        step.fact.what.value,
        f"follow-up:{follow_up.id}",
        at=step.fact.at,
        who=step.fact.by,
        before=_to_audit(dict(before._mapping)) if before else None,
        after=_to_audit(row),
    )
    if step.fact.result is not None:
        seq = written.inserted_primary_key
        db.execute(
            insert(_attempts).values(
                fact=seq[0] if seq else None,
                follow_up=follow_up.id,
                at_us=to_us(step.fact.at),
                channel=step.fact.channel,
                result=step.fact.result.value,
            )
        )
    return True


def _after_closing(db: Connection, follow_up: FollowUp) -> None:
    """What follows of a closed one: when the patient is due next, and what the patient is asked.

    With that of an alert ends what the house had opened of the same trouble before there was the alert.
    """
    if follow_up.alert:
        _close_forerunners(db, follow_up)
    for plan in _plans_of(db, follow_up.patient):
        if (now := followed(plan, follow_up)) != plan:
            _put_plan(db, now)
    last_us = db.execute(
        select(func.max(_surveys.c.made_at_us)).where(_surveys.c.patient == follow_up.patient)
    ).scalar()
    if survey := survey_of(follow_up, _moment(last_us)):
        db.execute(insert(_surveys).values(**_survey_row(survey)))


def tasks_in(db: Connection, appointment: Appointment) -> list[FollowUp]:
    """The open follow-ups that ask somebody to see to an appointment; within a transaction."""
    asked = appointment.problem, appointment.asks_kept
    same = (_follow_ups.c.patient == appointment.patient, _follow_ups.c.problem.in_(asked))
    return [_follow_up(row) for row in db.execute(select(_follow_ups).where(_is_open, *same)).all()]


def called_about(db: Connection, appointment: Appointment) -> set[str]:
    """The follow-ups in which somebody who was to telephone a patient about it has; within a transaction.

    Who closed that otherwise than by changing the appointment has said that it was done.
    """
    same = (_follow_ups.c.patient == appointment.patient, _follow_ups.c.problem == appointment.problem)
    is_done = and_(_follow_ups.c.closed_at_us.is_not(None), _follow_ups.c.closing_note != _CHANGED_SINCE)
    done = or_(_follow_ups.c.reached_at_us.is_not(None), is_done)
    return set(db.scalars(select(_follow_ups.c.id).where(*same, done)))


def as_it_was(db: Connection, appointment: Appointment, sequence: int) -> Appointment:
    """An appointment as it was after so many changes, fewer than it has, by the audit; within a transaction."""
    subject = f"appointment:{appointment.id}"
    changes = [each for each in records_in(db, [subject])[subject] if each.what in {"moved", "cancelled"}]
    row = _appointment_row(appointment)
    for change in reversed(changes[sequence - appointment.sequence :]):
        row |= change.before or {}
    return replace(
        appointment,
        start=from_us(row["start_us"]),
        length=timedelta(seconds=row["length_s"]),
        place=row["place"],
        whom=row["whom"],
        sequence=sequence,
        cancelled=row["cancelled"],
    )


def close_tasks(db: Connection, appointment: Appointment, *, at: datetime, by: str, note: str) -> None:
    """What asks somebody to see to an appointment as it was before is not needed any more."""
    for task in tasks_in(db, appointment):
        _end_as_needless(db, task, at=at, by=by, note=note)


def _with_appointment(follow_ups: Iterable[str]) -> Select[tuple[str]]:
    return select(_appointments.c.follow_up).where(
        among(_appointments.c.follow_up, follow_ups), ~_appointments.c.cancelled
    )


def _refuse_no_appointment(db: Connection, step: Step) -> None:
    """Raises IllegalAct for the outcome `appointment` where none stands that was made in the follow-up.

    The one that stands is not called off until the transaction ends.
    """
    if step.fact.outcome is not Outcome.APPOINTMENT:
        return
    if db.execute(_with_appointment([step.follow_up.id]).limit(1).with_for_update()).first() is None:
        others = outcomes_told(each for each in step.follow_up.possible if each is not Outcome.APPOINTMENT)
        raise IllegalAct(
            Text(
                en="No appointment stands that was made in this follow-up. Make one on the page of the follow-up (of "
                f"an alert: acknowledge it first), then close with this outcome, or choose another: {others.en}.",
                zh="本次随访中没有有效的预约。请先在随访页面预约（警报须先确认），再以此结果结束；"
                f"或改选其他处理结果：{others.zh}。",
            )
        )


def _forerunners(db: Connection, follow_up: FollowUp) -> list[FollowUp]:
    """What the house had opened of the trouble of an alert before there was the alert; not what is more urgent."""
    same = (
        _follow_ups.c.patient == follow_up.patient,
        _follow_ups.c.problem == follow_up.problem,
        _follow_ups.c.why == Why.ALERT,
        _follow_ups.c.alert.is_(None),
        _follow_ups.c.priority <= int(follow_up.priority),
    )
    return [_follow_up(row) for row in db.execute(select(_follow_ups).where(_is_open, *same)).all()]


def _end_forerunners(db: Connection, follow_up: FollowUp) -> None:
    """With the follow-up of an alert ends what nobody has begun to say: it takes over what is asked, and by when.

    What somebody has, has tried or has put off, or what is due by now, goes on by itself, with all that came of it.
    """
    own, at = follow_up, follow_up.opened_at
    for each in _forerunners(db, follow_up):
        query = _with_attempts().where(_facts.c.follow_up == each.id).order_by(_facts.c.seq)
        facts = [_fact(row) for row in db.execute(query)]
        if each.due_at <= at or each.assigned_to or {fact.what for fact in facts} - _ASKED_BY_HOUSE:
            continue
        said = (each.because.en, each.because.zh, *(fact.note for fact in facts if fact.note))
        also = Open(
            patient=own.patient,
            why=own.why,
            key=each.id,
            because=each.because,
            at=at,
            role=own.role,
            priority=each.priority,
            within=each.due_at - at,
            note=" ".join(said),
        )
        step = unreached(own, also)
        _put(db, step)
        own = step.follow_up
        _end_as_needless(db, each, at=at, by=HOMEWARD, note=_IN_THE_ALERTS)


def _end_as_needless(db: Connection, task: FollowUp, *, at: datetime, by: str, note: str) -> None:
    """Unless somebody has something else to do in it."""
    with suppress(IllegalAct):
        ended = Close(follow_up=task.id, by=by, at=at, outcome=Outcome.NO_ACTION, note=note, needless=True)
        for step in decide(task, ended):
            _put(db, step)


def _close_forerunners(db: Connection, closed: FollowUp) -> None:
    """Unless they are more urgent, or somebody has something else to do in them."""
    for each in _forerunners(db, closed):
        deed = Close(
            follow_up=each.id,
            by=closed.closed_by or "",
            at=closed.updated_at,
            outcome=closed.outcome,
            note=closed.closing_note or "",
            symptoms=closed.symptoms,
        )
        with suppress(IllegalAct):
            for step in decide(each, deed):
                _put(db, step)


def _at_once(what: str) -> IllegalAct:
    return IllegalAct(
        Text(
            en=f"Somebody else has just acted on {what}; nothing of yours was written. Look at it, and do it again "
            "if it is still needed.",
            zh=f"{what} 刚被他人处理，您的操作未保存。请查看最新情况，如仍需要请重新操作。",
        )
    )


def _with_attempts() -> Select[Any]:
    extra = (_attempts.c.channel, _attempts.c.result)
    return select(_facts, *extra).select_from(_facts.outerjoin(_attempts, _attempts.c.fact == _facts.c.seq))


def _plans_of(db: Connection, patient: str) -> list[CarePlan]:
    query = select(_plans).where(_plans.c.patient == patient).order_by(_plans.c.condition)
    return [_plan(row) for row in db.execute(query)]


def _put_plan(db: Connection, plan: CarePlan) -> None:
    this = (_plans.c.patient == plan.patient, _plans.c.condition == plan.condition.value)
    before = db.execute(select(_plans).where(*this).with_for_update()).first()
    if plan.version == 0:
        _insert(db, _plans, _plan_row(plan), f"{plan.patient}/{plan.condition}")
    else:
        same = _plans.c.version == plan.version
        if not db.execute(update(_plans).where(*this, same).values(**_plan_row(plan))).rowcount:
            raise _at_once(f"{plan.patient}/{plan.condition}")
    was, now_so = _plan_set(dict(before._mapping)) if before else None, _plan_set(_plan_row(plan))
    if was != now_so:
        audited(db, "set", _plan_name(plan), at=plan.entered_at, who=plan.author, before=was, after=now_so)


def _plan_name(plan: CarePlan) -> str:
    return f"care-plan:{plan.patient}/{plan.condition}"


def _plan_set(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a person has set of a plan, without what follows of it by rule."""
    return {name: row[name] for name in ("role", "author", "entered_at_us", "every_days")}


def _to_audit(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only counts, or is the moment of the entry itself."""
    counted = {"updated_at_us", "version", "changed_at_us", "sequence"}
    return {name: value for name, value in row.items() if name not in counted}


def _insert(db: Connection, table: Table, row: Mapping[str, Any], what: str) -> None:
    try:
        db.execute(insert(table).values(**row))
    except IntegrityError as error:  # another hub was first
        raise _at_once(what) from error


# Rows

_MOMENTS: Final = ("opened_at", "due_at", "updated_at", "reached_at", "declined_at", "overdue_at", "closed_at")
_PLAIN: Final = (
    "id",
    "patient",
    "problem",
    "alert",
    "programme",
    "opened_by",
    "assigned_to",
    "version",
    "attempts",
    "unanswered",
    "closed_by",
    "closing_note",
)


def _follow_up_row(follow_up: FollowUp) -> dict[str, Any]:
    return {
        **{name: getattr(follow_up, name) for name in _PLAIN},
        **{f"{name}_us": _us(getattr(follow_up, name)) for name in _MOMENTS},
        "why": follow_up.why.value,
        "because_en": follow_up.because.en,
        "because_zh": follow_up.because.zh,
        "priority": int(follow_up.priority),
        "role": follow_up.role.value,
        "rule_en": follow_up.rule.en,
        "rule_zh": follow_up.rule.zh,
        "symptoms": _names(follow_up.symptoms),
        "outcome": follow_up.outcome and follow_up.outcome.value,
        "reason": follow_up.reason and follow_up.reason.value,
    }


def _follow_up(row: Row[Any]) -> FollowUp:
    plain: dict[str, Any] = {name: row._mapping[name] for name in _PLAIN}
    return FollowUp(
        **plain,
        **{name: _moment(row._mapping[f"{name}_us"]) for name in _MOMENTS},
        why=Why(row.why),
        because=Text(en=row.because_en, zh=row.because_zh),
        priority=Priority(row.priority),
        role=Role(row.role),
        rule=Text(en=row.rule_en, zh=row.rule_zh),
        symptoms=_symptoms(row.symptoms),
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=Reason(row.reason) if row.reason else None,
    )


def _fact_row(fact: Fact) -> dict[str, Any]:
    start = fact.opening
    return {
        "follow_up": fact.follow_up,
        "what": fact.what.value,
        "at_us": to_us(fact.at),
        "by": fact.by,
        "priority": int(fact.priority),
        "role": fact.role.value,
        "assigned_to": fact.assigned_to,
        "due_at_us": to_us(fact.due_at),
        "rule_en": fact.rule.en,
        "rule_zh": fact.rule.zh,
        "note": fact.note,
        "opening": start
        and {
            "patient": start.patient,
            "why": start.why.value,
            "en": start.because.en,
            "zh": start.because.zh,
            "problem": start.problem,
            "alert": start.alert,
            "programme": start.programme,
        },
        "outcome": fact.outcome and fact.outcome.value,
        "reason": fact.reason and fact.reason.value,
        "symptoms": _names(fact.symptoms),
    }


def _fact(row: Row[Any]) -> Fact:
    start = row.opening
    return Fact(
        follow_up=row.follow_up,
        what=What(row.what),
        at=from_us(row.at_us),
        by=row.by,
        priority=Priority(row.priority),
        role=Role(row.role),
        assigned_to=row.assigned_to,
        due_at=from_us(row.due_at_us),
        rule=Text(en=row.rule_en, zh=row.rule_zh),
        note=row.note,
        opening=start
        and Opening(
            patient=start["patient"],
            why=Why(start["why"]),
            because=Text(en=start["en"], zh=start["zh"]),
            problem=start["problem"],
            alert=start["alert"],
            programme=start["programme"],
        ),
        channel=row.channel,
        result=Result(row.result) if row.result else None,
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=Reason(row.reason) if row.reason else None,
        symptoms=_symptoms(row.symptoms),
    )


def _survey_row(survey: Survey) -> dict[str, Any]:
    said = survey.answer
    return {
        "id": survey.id,
        "follow_up": survey.follow_up,
        "patient": survey.patient,
        "made_at_us": to_us(survey.made_at),
        "expires_at_us": to_us(survey.expires_at),
        "sent_at_us": _us(survey.sent_at),
        "answered_at_us": _us(survey.answered_at),
        "answered_by": survey.answered_by,
        **(_said(said) if said else {}),
    }


def _said(answer: Answer | None) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in ("helpful", "solved", "score", "text", "call_again")}


def _survey(row: Row[Any]) -> Survey:
    answer = None
    if row.answered_at_us is not None:
        answer = Answer(
            helpful=row.helpful, solved=row.solved, score=row.score, text=row.text, call_again=row.call_again
        )
    return Survey(
        id=row.id,
        follow_up=row.follow_up,
        patient=row.patient,
        made_at=from_us(row.made_at_us),
        expires_at=from_us(row.expires_at_us),
        sent_at=_moment(row.sent_at_us),
        answered_at=_moment(row.answered_at_us),
        answer=answer,
        answered_by=row.answered_by,
    )


def _plan_row(plan: CarePlan) -> dict[str, Any]:
    return {
        "patient": plan.patient,
        "condition": plan.condition.value,
        "role": plan.role.value,
        "author": plan.author,
        "entered_at_us": to_us(plan.entered_at),
        "every_days": plan.every and plan.every.days,
        "since_us": to_us(plan.since),
        "due_at_us": to_us(plan.due_at),
        "open_at_us": to_us(plan.open_at),
        "because_en": plan.because.en,
        "because_zh": plan.because.zh,
        "control": plan.control.value,
        "told_en": plan.told and plan.told.en,
        "told_zh": plan.told and plan.told.zh,
        "sensor": plan.sensor,
        "judged_at_us": _us(plan.judged_at),
        "missed": plan.missed,
        "outcome": plan.outcome and plan.outcome.value,
        "alarmed_at_us": _us(plan.alarmed_at),
        "alarm_en": plan.alarm and plan.alarm.en,
        "alarm_zh": plan.alarm and plan.alarm.zh,
        "follow_up": plan.follow_up,
        "version": plan.version + 1,
    }


def _plan(row: Row[Any]) -> CarePlan:
    return CarePlan(
        patient=row.patient,
        condition=Condition(row.condition),
        role=Role(row.role),
        author=row.author,
        entered_at=from_us(row.entered_at_us),
        every=timedelta(days=row.every_days) if row.every_days else None,
        since=from_us(row.since_us),
        due_at=from_us(row.due_at_us),
        because=Text(en=row.because_en, zh=row.because_zh),
        control=Control(row.control),
        told=None if row.told_en is None else Text(en=row.told_en, zh=row.told_zh),
        sensor=row.sensor,
        judged_at=_moment(row.judged_at_us),
        missed=row.missed,
        outcome=Outcome(row.outcome) if row.outcome else None,
        alarmed_at=_moment(row.alarmed_at_us),
        alarm=None if row.alarm_en is None else Text(en=row.alarm_en, zh=row.alarm_zh),
        follow_up=row.follow_up,
        version=row.version,
    )


def _appointment_row(appointment: Appointment) -> dict[str, Any]:
    return {
        "id": appointment.id,
        "follow_up": appointment.follow_up,
        "patient": appointment.patient,
        "start_us": to_us(appointment.start),
        "length_s": round(appointment.length.total_seconds()),
        "place": appointment.place,
        "made_by": appointment.made_by,
        "changed_at_us": to_us(appointment.changed_at),
        "sequence": appointment.sequence,
        "cancelled": appointment.cancelled,
        "whom": appointment.whom,
        "kept": appointment.kept,
    }


def _appointment(row: Row[Any]) -> Appointment:
    return Appointment(
        id=row.id,
        follow_up=row.follow_up,
        patient=row.patient,
        start=from_us(row.start_us),
        length=timedelta(seconds=row.length_s),
        place=row.place,
        made_by=row.made_by,
        changed_at=from_us(row.changed_at_us),
        sequence=row.sequence,
        cancelled=row.cancelled,
        whom=row.whom,
        kept=row.kept,
    )


def _names(symptoms: Symptoms | None) -> list[str] | None:
    return None if symptoms is None else sorted(symptoms)


def _symptoms(names: Sequence[str] | None) -> Symptoms | None:
    return None if names is None else frozenset(map(Symptom, names))


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _moment(us: int | None) -> Any:
    return None if us is None else from_us(us)

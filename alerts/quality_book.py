"""What the quality report is made of, from the house's database; and the minutes that staff spend on care.

The time of the period selects by index, so that what is long over costs nothing. Blocks: call it off the loop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnClause,
    ColumnElement,
    Connection,
    Engine,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    TableClause,
    and_,
    column,
    func,
    insert,
    or_,
    select,
    table,
)
from sqlalchemy import (
    Text as LongText,
)

from alerts.alert import HOUSE, Audience, Outcome, Priority, Reason
from alerts.audit import audited
from alerts.database import METADATA, reading
from alerts.machine import FactKind
from alerts.monitoring import LIVE, CareTime, Correction
from alerts.quality import REACHED, AlertRow, AttemptRow, FollowUpRow, SurveyRow
from alerts.rules import RULES
from ingest.reading import from_us, to_us


def _written(name: str, columns: str, *more: ColumnClause[Any]) -> TableClause:
    return table(name, *map(column, columns.split()), *more)


# Moments are integer microseconds UTC, as in the journal: exact, sortable, the same on every database.
_care_time: Final = Table(
    "care_time",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("patient", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("by", String(200), nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("note", LongText, nullable=False),
    Column("follow_up", String(24)),
    Column("entered_us", BigInteger, nullable=False),
)
Index("care_time_by_time", _care_time.c.at_us)
# Only ever added to: what was written down first stays.
_corrections: Final = Table(
    "care_time_corrections",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("care_time", BigInteger, nullable=False, index=True),
    Column("at_us", BigInteger, nullable=False),
    Column("by", String(200), nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("because", LongText, nullable=False),
)

# What other books write, as they have it: alerts/book.py, alerts/follow_up_book.py, alerts/escalation_book.py.
_alerts: Final = _written(
    "alerts",
    "id patient problem priority opened_at_us notified_at_us acknowledged_at_us closed_at_us outcome reason "
    "closing_note",
)
_facts: Final = _written("alert_facts", "alert what at_us")
_notices: Final = _written("notices", "alert audience subject_en written_at_us")
_follow_ups: Final = _written("follow_ups", "id patient alert programme role opened_at_us")
_attempts: Final = _written("attempts", "follow_up at_us channel result")
_surveys: Final = _written("surveys", "follow_up made_at_us answered_at_us helpful solved score call_again")
_timers: Final = _written("escalations", "subject kind result", column("step", JSON))

# A notice is called by its priority and, behind this, by the title of its rule; see `alerts.machine`.
_BEFORE_TITLE: Final = ": "
_RULE_OF: Final = {rule.title.en: rule.name for rule in RULES.values()}

Programmes = Mapping[str, str | None]  # by patient


@dataclass(frozen=True, slots=True, kw_only=True)
class CareRows:
    """Follow-ups with the attempts and surveys of a period."""

    follow_ups: Collection[FollowUpRow] = ()
    attempts: Collection[AttemptRow] = ()
    surveys: Collection[SurveyRow] = ()


class QualityBook:
    """The figures of a period: start <= moment < end, aware."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def alerts(self, start: datetime, end: datetime, programmes: Programmes) -> list[AlertRow]:
        """The alerts that were opened in the period."""
        with reading(self._engine) as db:
            first, worse = _firsts(db, start, end)
            steps = _steps(db, start, end)
            found: dict[str, AlertRow] = {}
            for row in db.execute(alerts_opened(start, end)):
                rule = _RULE_OF.get((row.subject_en or "").partition(_BEFORE_TITLE)[2])
                if row.id not in found or rule:
                    found[row.id] = _alert(row, rule, programmes, first.get(row.id), row.id in worse, steps)
        return list(found.values())

    def care(self, start: datetime, end: datetime, programmes: Programmes) -> CareRows:
        """The follow-ups of the period and of its alerts, their attempts, and the surveys of the period."""
        with reading(self._engine) as db:
            return CareRows(
                follow_ups=[
                    FollowUpRow(
                        id=row.id,
                        role=row.role,
                        programme=row.programme or programmes.get(row.patient),
                        alert=row.alert,
                        in_period=bool(row.in_period),
                    )
                    for row in db.execute(_follow_ups_of(start, end))
                ],
                attempts=[
                    AttemptRow(follow_up=row.follow_up, at=from_us(row.at_us), result=row.result)
                    for row in db.execute(_attempts_of(start, end))
                ],
                surveys=[_survey(row, programmes) for row in db.execute(_surveys_of(start, end))],
            )

    def has_programme(self, name: str) -> bool:
        """Whether any follow-up was opened in this programme."""
        query = select(_follow_ups.c.id).where(_follow_ups.c.programme == name).limit(1)
        with reading(self._engine) as db:
            return db.execute(query).first() is not None

    # Care time

    def note_care(self, time: CareTime, entered_at: datetime) -> CareTime:
        """Write minutes down; the entry with its number. entered_at (aware): when it was said."""
        row = {name: getattr(time, name) for name in ("patient", "by", "minutes", "live", "note", "follow_up")}
        row["at_us"] = to_us(time.at)
        with self._engine.begin() as db:
            made = insert(_care_time).values(**row, entered_us=to_us(entered_at))
            number = db.execute(made.returning(_care_time.c.id)).scalar_one()
            audited(db, "noted", f"care-time:{number}", at=entered_at, who=time.by, after=row)
        return replace(time, number=number)

    def correct_care(self, number: int, correction: Correction) -> CareTime:
        """Have an entry count as corrected; what it was before stays. Raises KeyError where there is none."""
        this = _care_time.c.id == number
        with self._engine.begin() as db:
            if db.execute(select(_care_time.c.id).where(this).with_for_update()).first() is None:
                raise KeyError(number)
            (before,) = _care_times(db, this)
            row = {name: getattr(correction, name) for name in ("by", "minutes", "live", "because")}
            db.execute(insert(_corrections).values(**row, care_time=number, at_us=to_us(correction.at)))
            audited(
                db,
                "corrected",
                f"care-time:{number}",
                at=correction.at,
                who=correction.by,
                before={"minutes": before.counted, "live": before.spoke},
                after={name: row[name] for name in ("minutes", "live", "because")},
            )
        return replace(before, corrections=(*before.corrections, correction))

    def care_time(self, number: int) -> CareTime | None:
        """One entry by its number, or None."""
        with reading(self._engine) as db:
            return next(iter(_care_times(db, _care_time.c.id == number)), None)

    def care_times(
        self, start: datetime, end: datetime, *, follow_up: str | None = None, patient: str | None = None
    ) -> list[CareTime]:
        """The minutes of a period, oldest first; those of one follow-up or patient, where one is given."""
        wanted = [_within(_care_time.c.at_us, start, end)]
        if follow_up is not None:
            wanted.append(_care_time.c.follow_up == follow_up)
        if patient is not None:
            wanted.append(_care_time.c.patient == patient)
        with reading(self._engine) as db:
            return _care_times(db, and_(*wanted))

    def spoken(self, start: datetime, end: datetime) -> list[tuple[str, datetime]]:
        """Which patients were reached live in a period, and when."""
        query = (
            select(_follow_ups.c.patient, _attempts.c.at_us)
            .join(_follow_ups, _follow_ups.c.id == _attempts.c.follow_up)
            .where(
                _attempts.c.at_us >= to_us(start),
                _attempts.c.at_us < to_us(end),
                _attempts.c.result == REACHED,
                _attempts.c.channel.in_(sorted(LIVE)),
            )
            .order_by(_attempts.c.at_us)
        )
        with reading(self._engine) as db:
            return [(row.patient, from_us(row.at_us)) for row in db.execute(query)]


def alerts_opened(start: datetime, end: datetime) -> Select[Any]:
    """Alerts of a period with the subjects of the notices that told of their opening, or None."""
    opening = and_(
        _notices.c.alert == _alerts.c.id,
        _notices.c.audience == Audience.STAFF.value,
        _notices.c.written_at_us == _alerts.c.opened_at_us,
    )
    return select(_alerts, _notices.c.subject_en).outerjoin(_notices, opening).where(_opened(start, end))


def facts_of_opened(start: datetime, end: datetime) -> Select[Any]:
    """When alerts of a period were first acknowledged, and first became worse: alert, what, at_us."""
    wanted = (FactKind.ACKNOWLEDGED.value, FactKind.WORSENED.value)
    return (
        select(_facts.c.alert, _facts.c.what, func.min(_facts.c.at_us).label("at_us"))
        .join(_alerts, _alerts.c.id == _facts.c.alert)
        .where(_opened(start, end), _facts.c.what.in_(wanted))
        .group_by(_facts.c.alert, _facts.c.what)
    )


def _care_times(db: Connection, wanted: ColumnElement[bool]) -> list[CareTime]:
    """Entries with their corrections, both oldest first."""
    joined = _care_time.c.id == _corrections.c.care_time
    corrected: defaultdict[int, list[Correction]] = defaultdict(list)
    for row in db.execute(select(_corrections).join(_care_time, joined).where(wanted).order_by(_corrections.c.id)):
        said = Correction(at=from_us(row.at_us), by=row.by, minutes=row.minutes, live=row.live, because=row.because)
        corrected[row.care_time].append(said)
    return [
        CareTime(
            patient=row.patient,
            at=from_us(row.at_us),
            by=row.by,
            minutes=row.minutes,
            live=row.live,
            note=row.note,
            follow_up=row.follow_up,
            number=row.id,
            corrections=tuple(corrected[row.id]),
        )
        for row in db.execute(select(_care_time).where(wanted).order_by(_care_time.c.at_us, _care_time.c.id))
    ]


def _within(moment: ColumnElement[Any], start: datetime, end: datetime) -> ColumnElement[bool]:
    return and_(moment >= to_us(start), moment < to_us(end))


def _opened(start: datetime, end: datetime) -> ColumnElement[bool]:
    """What is about the house itself is no item of a patient-day."""
    return and_(_within(_alerts.c.opened_at_us, start, end), _alerts.c.patient != HOUSE)


def _firsts(db: Connection, start: datetime, end: datetime) -> tuple[dict[str, int], set[str]]:
    """When each was first acknowledged, and which became worse."""
    first: dict[str, int] = {}
    worse: set[str] = set()
    for alert, what, at_us in db.execute(facts_of_opened(start, end)):
        if what == FactKind.WORSENED:
            worse.add(alert)
        else:
            first[alert] = at_us
    return first, worse


def _steps(db: Connection, start: datetime, end: datetime) -> Mapping[str, int]:
    """How many steps of its ladder that come after a while were taken for each alert."""
    query = (
        select(_timers.c.subject, _timers.c.step)
        .join(_alerts, _alerts.c.id == _timers.c.subject)
        .where(_opened(start, end), _timers.c.kind == "step", _timers.c.result == "told")
    )
    return Counter(subject for subject, step in db.execute(query) if step["after_s"] > 0)


def _alert(
    row: Row[Any], rule: str | None, programmes: Programmes, first: int | None, worse: bool, steps: Mapping[str, int]
) -> AlertRow:
    return AlertRow(
        id=row.id,
        patient=row.patient,
        problem=row.problem,
        priority=Priority(row.priority),
        opened_at=from_us(row.opened_at_us),
        programme=programmes.get(row.patient),
        rule=rule,
        notified_at=_moment(row.notified_at_us),
        acknowledged_at=_moment(first if first is not None else row.acknowledged_at_us),
        closed_at=_moment(row.closed_at_us),
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=Reason(row.reason) if row.reason else None,
        note=row.closing_note or "",
        worsened=worse,
        steps=steps.get(row.id, 0),
    )


def _ours(start: datetime, end: datetime) -> ColumnElement[bool]:
    """The follow-ups of the period, and of its alerts."""
    alerts = select(_alerts.c.id).where(_opened(start, end))
    return or_(_within(_follow_ups.c.opened_at_us, start, end), _follow_ups.c.alert.in_(alerts))


def _follow_ups_of(start: datetime, end: datetime) -> Select[Any]:
    in_period = _within(_follow_ups.c.opened_at_us, start, end).label("in_period")
    return select(_follow_ups, in_period).where(_ours(start, end))


def _attempts_of(start: datetime, end: datetime) -> Select[Any]:
    joined = _follow_ups.c.id == _attempts.c.follow_up
    return select(_attempts).join(_follow_ups, joined).where(_ours(start, end))


def _surveys_of(start: datetime, end: datetime) -> Select[Any]:
    return (
        select(_surveys, _follow_ups.c.role, _follow_ups.c.programme, _follow_ups.c.patient)
        .join(_follow_ups, _follow_ups.c.id == _surveys.c.follow_up)
        .where(_within(_surveys.c.made_at_us, start, end))
    )


def _survey(row: Row[Any], programmes: Programmes) -> SurveyRow:
    return SurveyRow(
        made_at=from_us(row.made_at_us),
        role=row.role,
        programme=row.programme or programmes.get(row.patient),
        answered=row.answered_at_us is not None,
        helpful=_answer(row.helpful),
        solved=_answer(row.solved),
        score=row.score,
        call_again=bool(row.call_again),
    )


def _answer(said: Any) -> bool | None:
    return None if said is None else bool(said)


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)

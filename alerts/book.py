"""The book: alerts, their dated facts, notices and every try to deliver them, in one SQL database.

SQLite by default (WAL, synchronous=FULL, foreign keys), PostgreSQL by URL. Facts and tries are only ever added. What
a step changes, says and has watched is written in one transaction: after a crash the watch goes on where it was, and
nothing is said that was not written down. Every call blocks for one short transaction, so call it off the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    and_,
    create_engine,
    event,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import (
    Text as LongText,
)

from alerts.alert import Alert, Audience, Notice, Outcome, Priority, Text
from alerts.machine import Change, Fact, FactKind
from alerts.rules import RULES
from ingest.reading import from_us, to_us

METADATA: Final = MetaData()

# Moments are integer microseconds UTC, as in the journal: exact, sortable, the same on every database.
_alerts = Table(
    "alerts",
    METADATA,
    Column("id", String(24), primary_key=True),
    Column("patient", String(64), nullable=False),
    Column("problem", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("because_en", LongText, nullable=False),
    Column("because_zh", LongText, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("raising", JSON, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("opened_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("notified_at_us", BigInteger),
    Column("acknowledged_at_us", BigInteger),
    Column("acknowledged_by", String(200)),
    Column("acknowledged_note", LongText),
    Column("condition_gone_at_us", BigInteger),
    Column("closed_at_us", BigInteger),
    Column("closed_by", String(200)),
    Column("outcome", String(32)),
    Column("closing_note", LongText),
)
_is_open: Final = _alerts.c.closed_at_us.is_(None)
_is_standing: Final = or_(_is_open, _alerts.c.present)
Index("alerts_by_time", _alerts.c.opened_at_us, _alerts.c.id)
Index("alerts_by_patient", _alerts.c.patient, _alerts.c.opened_at_us)
# At most one alert of a (patient, problem) is open or holds its condition: the database itself sees to it.
Index(
    "alerts_standing",
    _alerts.c.patient,
    _alerts.c.problem,
    unique=True,
    sqlite_where=_is_standing,
    postgresql_where=_is_standing,
)
_facts = Table(
    "alert_facts",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("alert", ForeignKey("alerts.id"), nullable=False, index=True),
    Column("what", String(32), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("by", String(200)),
    Column("because_en", LongText),
    Column("because_zh", LongText),
    Column("note", LongText, nullable=False),
)
_notices = Table(
    "notices",
    METADATA,
    Column("id", String(24), primary_key=True),
    Column("alert", ForeignKey("alerts.id"), index=True),
    Column("patient", String(64), nullable=False),
    Column("audience", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("subject_en", LongText, nullable=False),
    Column("subject_zh", LongText, nullable=False),
    Column("body_en", LongText, nullable=False),
    Column("body_zh", LongText, nullable=False),
    Column("written_at_us", BigInteger, nullable=False),
)
_OF_PATIENT: Final = Index("notices_of_patient", _notices.c.patient, _notices.c.written_at_us)
_deliveries = Table(
    "deliveries",
    METADATA,
    Column("notice", ForeignKey("notices.id"), primary_key=True),
    Column("channel", String(64), primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("due_us", BigInteger),  # NULL once delivered
    Column("delivered_at_us", BigInteger),
)
Index("deliveries_due", _deliveries.c.channel, _deliveries.c.due_us)
_tries = Table(
    "delivery_tries",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("notice", ForeignKey("notices.id"), nullable=False, index=True),
    Column("channel", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("error", LongText),
)
_cursor = Table("watch_cursor", METADATA, Column("name", String(16), primary_key=True), Column("seq", BigInteger))

# How long a file that another program holds is waited for, ms. A person is answered within 5 s: by the file's own
# error, which says that nothing was done, rather than by the end of that time.
_PATIENT_MS: Final = 30_000
_HURRIED_MS: Final = 4_000
_busy_ms: ContextVar[int] = ContextVar("busy_ms", default=_PATIENT_MS)

AlertState = Literal["open", "closed"]
# Channels by audience: a notice waits for every channel that its audience had when it was written.
Routes = Mapping[Audience, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice on its way through one channel. tries: how often it was tried before."""

    notice: Notice
    channel: str
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How far a notice has come through one channel. tries: so far; delivered_at (aware UTC): None until then."""

    channel: str
    tries: int
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try to deliver a notice. error: None when it was delivered."""

    notice: str
    channel: str
    at: datetime
    error: str | None


def connect(url: str) -> Engine:
    """An engine for the house's database, with SQLite made durable. Raises sqlalchemy.exc.ArgumentError."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _make_durable)
        event.listen(engine, "checkout", _be_patient)
    return engine


@contextmanager
def hurried() -> Iterator[None]:
    """In the block, and in the threads it starts, SQLite waits no longer for a locked file than a person does."""
    token = _busy_ms.set(_HURRIED_MS)
    try:
        yield
    finally:
        _busy_ms.reset(token)


def _make_durable(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_PATIENT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _be_patient(connection: Any, record: Any, _: Any) -> None:
    wanted = _busy_ms.get()
    if record.info.get("busy_ms", _PATIENT_MS) != wanted:
        connection.execute(f"PRAGMA busy_timeout={wanted}")
        record.info["busy_ms"] = wanted


class Book:
    """The alerts of all patients. routes: the channels of each audience, for notices written from now on."""

    def __init__(self, engine: Engine, *, routes: Routes) -> None:
        self._engine = engine
        self._routes = routes

    def create(self) -> None:
        """Make the tables that are missing, and the index that databases of an older Homeward have not."""
        METADATA.create_all(self._engine)
        _OF_PATIENT.create(self._engine, checkfirst=True)

    # Alerts

    def alert(self, alert: str) -> Alert | None:
        """One alert by id, or None."""
        return next(iter(self._alerts(select(_alerts).where(_alerts.c.id == alert))), None)

    def open_alerts(self) -> list[Alert]:
        """The worklist: every open alert, the most urgent first, then the oldest."""
        order = _alerts.c.priority.desc(), _alerts.c.opened_at_us, _alerts.c.id
        return self._alerts(select(_alerts).where(_is_open).order_by(*order))

    def alerts(
        self,
        *,
        state: AlertState | None = None,
        patient: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Alert]:
        """Alerts, newest first. before: id of the last alert of the page before. Raises KeyError if unknown."""
        query = select(_alerts).order_by(_alerts.c.opened_at_us.desc(), _alerts.c.id.desc()).limit(limit)
        if state:
            query = query.where(_is_open if state == "open" else ~_is_open)
        if patient:
            query = query.where(_alerts.c.patient == patient)
        if before:
            query = query.where(tuple_(_alerts.c.opened_at_us, _alerts.c.id) < self._place(before))
        return self._alerts(query)

    def standing(self, patients: Iterable[str] | None = None) -> dict[tuple[str, str], Alert]:
        """What `machine.hear` must know, by (patient, problem): alerts that are open or whose condition is present.

        Where this has none, the last alert is closed and over, and a new episode opens a new one.
        """
        query = select(_alerts).where(_is_standing)
        if patients is not None:
            query = query.where(_alerts.c.patient.in_(list(patients)))
        return {(alert.patient, alert.problem): alert for alert in self._alerts(query)}

    def history(self, alert: str) -> list[Fact]:
        """The dated facts of an alert, in the order in which they were written."""
        with self._engine.connect() as db:
            rows = db.execute(select(_facts).where(_facts.c.alert == alert).order_by(_facts.c.seq))
            return [_fact(row) for row in rows]

    def histories(self, alerts: Sequence[str]) -> dict[str, list[Fact]]:
        """The dated facts of several alerts, each as `history` gives them."""
        found: dict[str, list[Fact]] = {}
        with self._engine.connect() as db:
            for row in db.execute(select(_facts).where(_facts.c.alert.in_(alerts)).order_by(_facts.c.seq)):
                found.setdefault(row.alert, []).append(_fact(row))
        return found

    # Writing

    def cursor(self) -> int:
        """The journal's sequence up to which readings were watched; 0 at first."""
        with self._engine.connect() as db:
            return db.execute(select(_cursor.c.seq)).scalar() or 0

    def record(
        self, changes: Sequence[Change] = (), notices: Sequence[Notice] = (), cursor: int | None = None
    ) -> list[Notice]:
        """Write one step down, all or nothing; the notices that were new come back.

        A notice of a known id was written before and is left as it is. A step without news costs no write.
        """
        known = self._known([notice.id for notice in notices])
        new = list({notice.id: notice for notice in notices if notice.id not in known}.values())
        if changes or new or cursor is not None:
            with self._engine.begin() as db:
                self._write(db, changes, new, cursor)
        return new

    def _write(
        self, db: Connection, changes: Sequence[Change], notices: Sequence[Notice], cursor: int | None
    ) -> None:
        for change in changes:
            _put(db, change.alert)
            db.execute(insert(_facts).values(**_fact_row(change.fact)))
        for notice in notices:
            db.execute(insert(_notices).values(**_notice_row(notice)))
            for channel in self._routes.get(notice.audience, ()) if notice.audience is not Audience.WEEKLY else ():
                db.execute(
                    insert(_deliveries).values(
                        notice=notice.id, channel=channel, tries=0, due_us=to_us(notice.written_at)
                    )
                )
        if cursor is not None and not db.execute(update(_cursor).values(seq=cursor)).rowcount:
            db.execute(insert(_cursor).values(name="watch", seq=cursor))

    # Notices

    def notices(self, alert: str) -> list[Notice]:
        """Notices about an alert, oldest first."""
        query = select(_notices).where(_notices.c.alert == alert).order_by(_notices.c.written_at_us, _notices.c.id)
        with self._engine.connect() as db:
            return [_notice(row) for row in db.execute(query)]

    def to_patient(self, patient: str, limit: int) -> list[tuple[Notice, list[Way]]]:
        """The last notices to a patient, newest first, each with its channels by name."""
        to_patient = (_notices.c.patient == patient, _notices.c.audience == Audience.PATIENT.value)
        query = select(_notices).where(*to_patient).order_by(_notices.c.written_at_us.desc(), _notices.c.id)
        with self._engine.connect() as db:
            ways: dict[str, list[Way]] = {}
            found = [(_notice(row), ways.setdefault(row.id, [])) for row in db.execute(query.limit(limit))]
            of_these = select(_deliveries).where(_deliveries.c.notice.in_(list(ways))).order_by(_deliveries.c.channel)
            for row in db.execute(of_these):
                way = Way(channel=row.channel, tries=row.tries, delivered_at=_moment(row.delivered_at_us))
                ways[row.notice].append(way)
        return found

    def was_told(self, patient: str, rule: str, since: datetime) -> bool:
        """Whether the patient was sent a notice of a rule since a moment."""
        query = select(_notices.c.id).where(
            _notices.c.patient == patient,
            _notices.c.audience == Audience.PATIENT.value,
            _notices.c.written_at_us >= to_us(since),
            _notices.c.subject_en.endswith(RULES[rule].title.en, autoescape=True),
        )
        with self._engine.connect() as db:
            return db.execute(query.limit(1)).first() is not None

    def pending_notices(self, channel: str, now: datetime, limit: int = 100) -> list[Delivery]:
        """What is due for a channel, the most urgent first, then the longest due."""
        query = (
            select(_deliveries.c.tries, _notices)
            .join(_notices)
            .where(_deliveries.c.channel == channel, _deliveries.c.due_us <= to_us(now))
            .order_by(_notices.c.priority.desc(), _deliveries.c.due_us, _notices.c.id)
            .limit(limit)
        )
        with self._engine.connect() as db:
            return [Delivery(notice=_notice(row), channel=channel, tries=row.tries) for row in db.execute(query)]

    def note_try(self, tried: Try, *, due: datetime | None, reaches_people: bool) -> None:
        """Write a try down. due: when to try again, None when it was delivered.

        The first delivery to staff by a channel that reaches people is the alert's moment of notification.
        """
        key = and_(_deliveries.c.notice == tried.notice, _deliveries.c.channel == tried.channel)
        delivered_at_us = to_us(tried.at) if tried.error is None else None
        with self._engine.begin() as db:
            db.execute(
                insert(_tries).values(
                    notice=tried.notice, channel=tried.channel, at_us=to_us(tried.at), error=tried.error
                )
            )
            db.execute(
                update(_deliveries)
                .where(key)
                .values(
                    tries=_deliveries.c.tries + 1,
                    due_us=None if due is None else to_us(due),
                    delivered_at_us=delivered_at_us,
                )
            )
            if tried.error is None and reaches_people:
                _note_notified(db, tried)

    def tries(self, notice: str) -> list[Try]:
        """Every try to deliver a notice, oldest first."""
        query = select(_tries).where(_tries.c.notice == notice).order_by(_tries.c.seq)
        with self._engine.connect() as db:
            return [
                Try(notice=row.notice, channel=row.channel, at=from_us(row.at_us), error=row.error)
                for row in db.execute(query)
            ]

    def undelivered(self) -> dict[str, int]:
        """How many notices wait for each channel."""
        query = (
            select(_deliveries.c.channel, func.count().label("waiting"))
            .where(_deliveries.c.due_us.is_not(None))
            .group_by(_deliveries.c.channel)
        )
        with self._engine.connect() as db:
            return {row.channel: row.waiting for row in db.execute(query)}

    def _alerts(self, query: Select[Any]) -> list[Alert]:
        with self._engine.connect() as db:
            return [_alert(row) for row in db.execute(query)]

    def _place(self, alert: str) -> tuple[int, str]:
        found = self.alert(alert)
        if found is None:
            raise KeyError(alert)
        return to_us(found.opened_at), found.id

    def _known(self, notices: Sequence[str]) -> set[str]:
        if not notices:
            return set()
        with self._engine.connect() as db:
            return set(db.scalars(select(_notices.c.id).where(_notices.c.id.in_(notices))))


def _put(db: Connection, alert: Alert) -> None:
    row = _alert_row(alert)
    if not db.execute(update(_alerts).where(_alerts.c.id == alert.id).values(**row)).rowcount:
        db.execute(insert(_alerts).values(**row))


def _note_notified(db: Connection, tried: Try) -> None:
    staff: ColumnElement[bool] = _notices.c.audience == Audience.STAFF.value
    alert = select(_notices.c.alert).where(_notices.c.id == tried.notice, staff).scalar_subquery()
    first = update(_alerts).where(_alerts.c.id == alert, _alerts.c.notified_at_us.is_(None))
    if db.execute(first.values(notified_at_us=to_us(tried.at))).rowcount:
        db.execute(
            insert(_facts).values(alert=alert, what=FactKind.NOTIFIED, at_us=to_us(tried.at), note=tried.channel)
        )


_MOMENTS: Final = (
    "since",
    "opened_at",
    "updated_at",
    "acknowledged_at",
    "condition_gone_at",
    "closed_at",
)
_PLAIN: Final = ("id", "patient", "problem", "acknowledged_by", "acknowledged_note", "closed_by", "closing_note")


def _alert_row(alert: Alert) -> dict[str, Any]:
    """Everything but notified_at, which belongs to `note_try`: an alert in hand may not know of it yet."""
    moments = {f"{name}_us": _us(getattr(alert, name)) for name in _MOMENTS}
    return {
        **{name: getattr(alert, name) for name in _PLAIN},
        **moments,
        "priority": int(alert.priority),
        "because_en": alert.because.en,
        "because_zh": alert.because.zh,
        "evidence": list(alert.evidence),
        "raising": sorted(alert.raising),
        "present": bool(alert.raising),
        "outcome": alert.outcome,
    }


def _alert(row: Row[Any]) -> Alert:
    moments = {name: _moment(row._mapping[f"{name}_us"]) for name in (*_MOMENTS, "notified_at")}
    plain: dict[str, Any] = {name: row._mapping[name] for name in _PLAIN}
    return Alert(
        **plain,
        **moments,
        priority=Priority(row.priority),
        because=Text(en=row.because_en, zh=row.because_zh),
        evidence=tuple(row.evidence),
        raising=frozenset(row.raising),
        outcome=Outcome(row.outcome) if row.outcome else None,
    )


def _fact_row(fact: Fact) -> dict[str, Any]:
    return {
        "alert": fact.alert,
        "what": fact.what,
        "at_us": to_us(fact.at),
        "by": fact.by,
        "because_en": fact.because.en if fact.because else None,
        "because_zh": fact.because.zh if fact.because else None,
        "note": fact.note,
    }


def _fact(row: Row[Any]) -> Fact:
    return Fact(
        alert=row.alert,
        what=FactKind(row.what),
        at=from_us(row.at_us),
        by=row.by,
        because=None if row.because_en is None else Text(en=row.because_en, zh=row.because_zh),
        note=row.note,
    )


def _notice_row(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "alert": notice.alert,
        "patient": notice.patient,
        "audience": notice.audience,
        "priority": int(notice.priority),
        "subject_en": notice.subject.en,
        "subject_zh": notice.subject.zh,
        "body_en": notice.body.en,
        "body_zh": notice.body.zh,
        "written_at_us": to_us(notice.written_at),
    }


def _notice(row: Row[Any]) -> Notice:
    return Notice(
        id=row.id,
        alert=row.alert,
        patient=row.patient,
        audience=Audience(row.audience),
        priority=Priority(row.priority),
        subject=Text(en=row.subject_en, zh=row.subject_zh),
        body=Text(en=row.body_en, zh=row.body_zh),
        written_at=from_us(row.written_at_us),
    )


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _moment(us: int | None) -> Any:
    return None if us is None else from_us(us)

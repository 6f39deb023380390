"""The book: alerts, their dated facts, notices and every try to deliver them, in one SQL database.

Facts and tries are only ever added. What a step changes, says and has watched is written in one transaction: after a
crash the watch goes on where it was, and nothing is said that was not written down. Every call blocks for one short
transaction, so call it off the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Exists,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    and_,
    delete,
    exists,
    false,
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
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from alerts.alert import Alert, Audience, Notice, Outcome, Priority, Reason, Text
from alerts.audit import Entry, audited, records_in
from alerts.database import METADATA, among, reading
from alerts.devices import LastHeard
from alerts.machine import OVER, Change, Fact, FactKind
from alerts.messages import OVERDUE_ID, Written
from ingest.reading import from_us, to_us

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
    Column("snoozed_at_us", BigInteger),
    Column("snoozed_until_us", BigInteger),
    Column("snoozed_by", String(200)),
    Column("snoozed_note", LongText),
    Column("emergency_at_us", BigInteger),
    Column("condition_gone_at_us", BigInteger),
    Column("untold_since_us", BigInteger),
    Column("closed_at_us", BigInteger),
    Column("closed_by", String(200)),
    Column("outcome", String(32)),
    Column("reason", String(32)),
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
COUNTED: Final = 1000  # open alerts; counting more of them takes longer than it tells anybody
# The worklist's first page is read from these, however many alerts are open or closed.
_waits: Final = and_(_is_open, _alerts.c.acknowledged_at_us.is_(None), _alerts.c.snoozed_until_us.is_(None))
_is_handled: Final = and_(
    _is_open, or_(_alerts.c.acknowledged_at_us.is_not(None), _alerts.c.snoozed_until_us.is_not(None))
)
for _name, _columns, _which in (
    ("alerts_open_by_time", (_alerts.c.opened_at_us, _alerts.c.id), _is_open),
    ("alerts_waiting", (_alerts.c.priority, _alerts.c.opened_at_us, _alerts.c.id), _waits),
    ("alerts_handled", (_alerts.c.priority, _alerts.c.opened_at_us, _alerts.c.id), _is_handled),
):
    Index(_name, *_columns, sqlite_where=_which, postgresql_where=_which)
_is_snoozed: Final = _alerts.c.snoozed_until_us.is_not(None)
Index("alerts_snoozed", _alerts.c.snoozed_until_us, sqlite_where=_is_snoozed, postgresql_where=_is_snoozed)
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
    Column("until_us", BigInteger),
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
    Column("recipient", String(80)),
    # The place among those of its alert, from 1, and 0 without one: a clock may be set back.
    Column("number", Integer, nullable=False, server_default="0"),
    Column("follow_up", String(24)),  # of `follow_ups`, which is created elsewhere
)
Index("notices_of_patient", _notices.c.patient, _notices.c.written_at_us)
_deliveries = Table(
    "deliveries",
    METADATA,
    Column("notice", ForeignKey("notices.id"), primary_key=True),
    Column("channel", String(64), primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("due_us", BigInteger),  # NULL once delivered
    Column("delivered_at_us", BigInteger),
    # Which of several hubs on one database has taken it upon itself, and until when it is nobody else's.
    Column("claimed_by", String(16)),
    Column("claimed_until_us", BigInteger),
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
    Column("address", String(200)),
)
# Each hub follows its own journal. One that is alone on its database needs no name.
_ALONE: Final = "watch"
_cursor = Table("watch_cursor", METADATA, Column("name", String(16), primary_key=True), Column("seq", BigInteger))
# The newest arrival of a value that can be used, as each of several hubs has it.
_heard = Table(
    "device_heard",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("hub", String(16), primary_key=True),
    Column("arrival_us", BigInteger, nullable=False),
    Column("unwell", Boolean, nullable=False, server_default=false()),
)

# A hub that dies leaves what it has claimed to the others after this time. It begins no delivery in the second half.
CLAIM: Final = timedelta(minutes=2)
_END: Final = OVER.en.removesuffix("{title}")  # how the subject of a notice begins that a condition is over
# The clocks of two hubs may differ by so much. What was heard later than that was noted by a clock that is wrong.
_APART: Final = timedelta(minutes=1)
NOTHING_HEARD: Final[Mapping[str, LastHeard]] = {}
# What changes an alert; a reply about it is in its record as well, and changes nothing.
_OF_ITS_LIFE: Final = frozenset(FactKind)
# So often a notice is tried, in about an hour, before the end of its alert waits for it no more.
_HOPELESS: Final = 8

AlertState = Literal["open", "closed"]
# Channels by audience: a notice waits for every channel that its audience had when it was written.
Routes = Mapping[Audience, Sequence[str]]
# What else is written in the transaction of a step.
Beside = Callable[[Connection, Sequence[Change], Sequence[Notice]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice on its way through one channel. tries: how often it was tried before.

    begin_by: not to be begun later (aware UTC), for it is another hub's before it would be done; None: at any time.
    address, language: of the person whose contact it goes to, "" where the channel has one address for all.
    """

    notice: Notice
    channel: str
    tries: int
    begin_by: datetime | None = None
    address: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How far a notice has come through one channel. tries: so far; delivered_at (aware UTC): None until then."""

    channel: str
    tries: int
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try to deliver a notice. error: None when it was delivered. address: as in Delivery."""

    notice: str
    channel: str
    at: datetime
    error: str | None
    address: str = ""


class Listed(NamedTuple):
    """The first of some alerts, and how many there are in all."""

    alerts: list[Alert]
    in_all: int


class Overtaken(Exception):
    """Another hub on the same database has changed what a step is based on: read it again, and take the step anew."""


class Book:
    """The alerts of all patients. routes: the channels of each audience, for notices written from now on.

    hub: the name of this one among several hubs on one database (16 characters at most); None where it is alone.
    beside: what else is written in the transaction of each step.
    """

    def __init__(
        self, engine: Engine, *, routes: Routes, hub: str | None = None, beside: Sequence[Beside] = ()
    ) -> None:
        self._engine = engine
        self._routes = routes
        self._hub = hub
        self._beside = beside
        self._own_cursor = _cursor.c.name == (hub or _ALONE)
        self.is_shared = hub is not None

    # Alerts

    def alert(self, alert: str) -> Alert | None:
        """One alert by id, or None."""
        return next(iter(self._alerts(select(_alerts).where(_alerts.c.id == alert))), None)

    def some(self, alerts: Iterable[str]) -> dict[str, Alert]:
        """These alerts, by id."""
        with reading(self._engine) as db:
            return alerts_in(db, alerts)

    def open_alerts(self, patients: Iterable[str] | None = None) -> list[Alert]:
        """Every open alert of these patients (None: of all), the most urgent first, then the oldest."""
        order = _alerts.c.priority.desc(), _alerts.c.opened_at_us, _alerts.c.id
        query = select(_alerts).where(_is_open).order_by(*order)
        if patients is not None:
            query = query.where(_is_standing, among(_alerts.c.patient, patients))
        return self._alerts(query)

    def worklist(self, limit: int) -> tuple[Listed, Listed]:
        """Open alerts that nobody has acknowledged or put off, and those that somebody has.

        The most urgent come first, of those the newest. They are counted as far as COUNTED, and one beyond.
        """
        with reading(self._engine) as db:
            return _listed(db, _waits, limit), _listed(db, _is_handled, limit)

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
            query = query.where(among(_alerts.c.patient, patients))
        return {(alert.patient, alert.problem): alert for alert in self._alerts(query)}

    def snoozed_until(self, now: datetime) -> list[Alert]:
        """Alerts that were put off until now or before, the longest due first."""
        due = and_(_is_snoozed, _alerts.c.snoozed_until_us <= to_us(now))
        return self._alerts(select(_alerts).where(due).order_by(_alerts.c.snoozed_until_us, _alerts.c.id))

    def history(self, alert: str) -> list[Fact]:
        """The dated facts of an alert, in the order in which they were written."""
        with reading(self._engine) as db:
            rows = db.execute(select(_facts).where(_facts.c.alert == alert).order_by(_facts.c.seq))
            return [_fact(row) for row in rows]

    def histories(self, alerts: Sequence[str]) -> dict[str, list[Fact]]:
        """The dated facts of several alerts, each as `history` gives them."""
        found: dict[str, list[Fact]] = {}
        with reading(self._engine) as db:
            for row in db.execute(select(_facts).where(among(_facts.c.alert, alerts)).order_by(_facts.c.seq)).all():
                found.setdefault(row.alert, []).append(_fact(row))
        return found

    # Writing

    def cursor(self) -> int:
        """The journal's sequence up to which readings were watched; 0 at first."""
        with reading(self._engine) as db:
            return db.execute(select(_cursor.c.seq).where(self._own_cursor)).scalar() or 0

    def record(
        self,
        changes: Sequence[Change] = (),
        notices: Sequence[Notice] = (),
        cursor: int | None = None,
        seen: Iterable[Alert] | None = None,
        also: Callable[[Connection], None] | None = None,
        heard: Mapping[str, LastHeard] = NOTHING_HEARD,
    ) -> list[Notice]:
        """Write one step down, all or nothing; the notices that were new come back.

        A notice of a known id was written before and is left as it is. A step without news costs no write.
        seen: the alerts as they were read when the step was taken; None: nobody else writes. Raises Overtaken.
        also: what another book writes in the same transaction; what it raises undoes all. heard: how devices were
        heard last, for the other hubs.
        """
        known = self._known([notice.id for notice in notices])
        new = list({notice.id: notice for notice in notices if notice.id not in known}.values())
        if changes or new or cursor is not None or also or heard:
            try:
                with self._engine.begin() as db:
                    before = _rows_of(db, changes)
                    if seen is not None:
                        _refuse_overtaken(before, seen)
                    _write_changes(db, changes, before)
                    self.put_for_house(db, new)
                    if cursor is not None:
                        self._note_cursor(db, cursor)
                    self._note_heard(db, heard)
                    for write in self._beside:
                        write(db, changes, new)
                    if also:
                        also(db)
            except IntegrityError as error:  # the same alert or notice was written by another hub at the same time
                raise Overtaken(str(error.orig)) from error
        return new

    def put_for_house(self, db: Connection, notices: Sequence[Notice]) -> None:
        """Write notices down for the channels of the house, within a transaction."""
        for notice in notices:
            put_notice(db, notice)
            for channel in self._routes.get(notice.audience, ()) if notice.audience is not Audience.WEEKLY else ():
                db.execute(
                    insert(_deliveries).values(
                        notice=notice.id, channel=channel, tries=0, due_us=to_us(notice.written_at)
                    )
                )

    def _note_cursor(self, db: Connection, cursor: int) -> None:
        if not db.execute(update(_cursor).where(self._own_cursor).values(seq=cursor)).rowcount:
            db.execute(insert(_cursor).values(name=self._hub or _ALONE, seq=cursor))

    # What several hubs hear

    def heard_elsewhere(self, now: datetime, devices: Collection[str] | None = None) -> dict[str, LastHeard]:
        """How any other hub heard these devices (None: all) last, as far as it has noted that; now at the latest.

        What is noted for a moment to come was noted while a clock was ahead, and says nothing.
        """
        if not self.is_shared or (devices is not None and not devices):
            return {}
        others = (_heard.c.hub != self._hub, _heard.c.arrival_us <= to_us(now + _APART))
        query = select(_heard).where(*others).order_by(_heard.c.arrival_us)  # of each device the newest remains
        if devices is not None:
            query = query.where(among(_heard.c.device, devices))
        with reading(self._engine) as db:
            return {row.device: LastHeard(min(from_us(row.arrival_us), now), row.unwell) for row in db.execute(query)}

    def begin_hearing(self, arrivals: Mapping[str, datetime], now: datetime) -> None:
        """Note the arrivals that the journal knows, of devices of which this hub has noted none.

        What it has noted for a moment to come, while its clock was ahead, is forgotten.
        """
        if not self.is_shared:
            return
        own = _heard.c.hub == self._hub
        with self._engine.begin() as db:
            db.execute(delete(_heard).where(own, _heard.c.arrival_us > to_us(now)))
            known = set(db.scalars(select(_heard.c.device).where(own)))
            new = {name: LastHeard(at) for name, at in arrivals.items() if name not in known and at <= now}
            self._note_heard(db, new)

    def _note_heard(self, db: Connection, heard: Mapping[str, LastHeard]) -> None:
        """Moments only move forward: what a home post had kept comes late."""
        if not heard:
            return
        put = postgresql.insert(_heard)  # nothing else has several hubs
        newer = put.excluded.arrival_us >= _heard.c.arrival_us
        then = {"arrival_us": put.excluded.arrival_us, "unwell": put.excluded.unwell}
        forward = put.on_conflict_do_update(index_elements=_heard.primary_key, set_=then, where=newer)
        noted = ((name, to_us(each.at), each.unwell) for name, each in heard.items())
        db.execute(
            forward,
            [{"device": name, "hub": self._hub, "arrival_us": at, "unwell": unwell} for name, at, unwell in noted],
        )

    # Notices

    def notices(self, alert: str) -> list[Notice]:
        """Notices about an alert, oldest first."""
        query = select(_notices).where(_notices.c.alert == alert).order_by(_notices.c.number, _notices.c.id)
        with reading(self._engine) as db:
            return [_notice(row) for row in db.execute(query)]

    def notice(self, notice: str) -> Notice | None:
        """One notice by id, or None."""
        with reading(self._engine) as db:
            return notices_in(db, [notice]).get(notice)

    def told_anew_at(self, alert: Alert) -> datetime:
        """When staff were last told of an alert anew: opened, worse, back, or put off no longer (aware UTC)."""
        of_house = (_notices.c.alert == alert.id, _notices.c.recipient.is_(None), ~_is_end(_notices))
        told = select(func.max(_notices.c.written_at_us)).where(
            *of_house, ~_notices.c.id.startswith(OVERDUE_ID, autoescape=True)
        )
        with reading(self._engine) as db:
            found = db.execute(told).scalar()
        return alert.opened_at if found is None else from_us(found)

    def to_patient(self, patient: str, limit: int) -> list[tuple[Notice, list[Way]]]:
        """The last notices to a patient, newest first, each with its channels by name."""
        to_patient = (_notices.c.patient == patient, _notices.c.audience == Audience.PATIENT.value)
        query = select(_notices).where(*to_patient).order_by(_notices.c.written_at_us.desc(), _notices.c.id)
        with reading(self._engine) as db:
            ways: dict[str, list[Way]] = {}
            found = [(_notice(row), ways.setdefault(row.id, [])) for row in db.execute(query.limit(limit))]
            of_these = select(_deliveries).where(among(_deliveries.c.notice, ways)).order_by(_deliveries.c.channel)
            for row in db.execute(of_these):
                way = Way(channel=row.channel, tries=row.tries, delivered_at=_moment(row.delivered_at_us))
                ways[row.notice].append(way)
        return found

    def watched(self, patient: str, keys: Collection[str]) -> frozenset[str]:
        """Those of the keys of a patient's readings that are evidence of an alert."""
        query = select(_alerts.c.evidence).where(_alerts.c.patient == patient)
        with reading(self._engine) as db:
            return frozenset(key for evidence in db.scalars(query) for key in evidence).intersection(keys)

    def pending_notices(self, channel: str, now: datetime, limit: int = 100) -> list[Delivery]:
        """What is due for a channel, the most urgent first, then the longest due.

        That an alert's condition is over is not due before all that was said of it before has been delivered, but for
        what cannot be.
        Among several hubs it is this one's alone for the time of `CLAIM`, and none of them is given it meanwhile.
        """
        query = (
            select(_deliveries.c.tries, _notices)
            .join(_notices)
            .where(_deliveries.c.channel == channel, _deliveries.c.due_us <= to_us(now), ~_ends_too_soon(channel))
            .order_by(_notices.c.priority.desc(), _deliveries.c.due_us, _notices.c.id)
        )
        if self._hub is None:
            with reading(self._engine) as db:
                rows = db.execute(query.limit(limit)).all()
            return [Delivery(notice=_notice(row), channel=channel, tries=row.tries) for row in rows]
        with self._engine.begin() as db:
            claimed = db.scalars(_claim(self._hub, channel, query.limit(limit), now)).all()
            rows = db.execute(query.where(among(_deliveries.c.notice, claimed))).all()
        begin_by = now + CLAIM / 2
        return [Delivery(notice=_notice(row), channel=channel, tries=row.tries, begin_by=begin_by) for row in rows]

    def note_try(self, tried: Try, *, due: datetime | None, reaches_people: bool) -> None:
        """Write a try down. due: when to try again, None when it was delivered.

        The first delivery to staff by a channel that reaches people is the alert's moment of notification. Where what
        came after an end was delivered first, the end is delivered no more: it is over no longer. Nor is what came
        before an end that was.
        """
        # What another hub has delivered meanwhile, because this one took too long, stays delivered; and what was
        # given up meanwhile stays so.
        key = and_(
            _deliveries.c.notice == tried.notice,
            _deliveries.c.channel == tried.channel,
            _deliveries.c.delivered_at_us.is_(None),
            *(() if tried.error is None else (_deliveries.c.due_us.is_not(None),)),
        )
        delivered_at_us = to_us(tried.at) if tried.error is None else None
        with self._engine.begin() as db:
            put_try(db, tried)
            db.execute(
                update(_deliveries)
                .where(key)
                .values(
                    tries=_deliveries.c.tries + 1,
                    due_us=None if due is None else to_us(due),
                    delivered_at_us=delivered_at_us,
                    claimed_by=None,
                    claimed_until_us=None,
                )
            )
            if tried.error is None:
                db.execute(update(_deliveries).where(_is_outdated_by(tried)).values(due_us=None))
                if reaches_people:
                    note_notified(db, tried)

    def tries(self, notice: str) -> list[Try]:
        """Every try to deliver a notice, oldest first."""
        query = select(_tries).where(_tries.c.notice == notice).order_by(_tries.c.seq)
        with reading(self._engine) as db:
            return [
                Try(
                    notice=row.notice,
                    channel=row.channel,
                    at=from_us(row.at_us),
                    error=row.error,
                    address=row.address or "",
                )
                for row in db.execute(query)
            ]

    def undelivered(self) -> dict[str, int]:
        """How many notices wait for each channel."""
        query = (
            select(_deliveries.c.channel, func.count().label("waiting"))
            .where(_deliveries.c.due_us.is_not(None))
            .group_by(_deliveries.c.channel)
        )
        with reading(self._engine) as db:
            return {row.channel: row.waiting for row in db.execute(query)}

    def _alerts(self, query: Select[Any]) -> list[Alert]:
        with reading(self._engine) as db:
            return [_alert(row) for row in db.execute(query).all()]

    def _place(self, alert: str) -> tuple[int, str]:
        found = self.alert(alert)
        if found is None:
            raise KeyError(alert)
        return to_us(found.opened_at), found.id

    def _known(self, notices: Sequence[str]) -> set[str]:
        if not notices:
            return set()
        with reading(self._engine) as db:
            return set(db.scalars(select(_notices.c.id).where(among(_notices.c.id, notices))))


def _ends_too_soon(channel: str) -> Exists:
    """Whether a notice is the end of an alert of which something else waits for a channel: told before, or again.

    It does not wait for what cannot be delivered, where that came after something that was.
    """
    other, delivery = _notices.alias(), _deliveries.alias()
    told, delivered = _notices.alias(), _deliveries.alias()
    is_known = (
        exists(delivered.c.notice)
        .where(
            delivered.c.notice == told.c.id,
            told.c.alert == other.c.alert,
            told.c.number < other.c.number,
            delivered.c.channel == channel,
            delivered.c.delivered_at_us.is_not(None),
        )
        .correlate(other)
    )
    is_hopeless = and_(delivery.c.tries >= _HOPELESS, other.c.number < _notices.c.number, is_known)
    return exists(
        select(delivery.c.notice)
        .join(other, other.c.id == delivery.c.notice)
        .where(
            _is_end(_notices),
            other.c.alert == _notices.c.alert,
            delivery.c.channel == channel,
            delivery.c.due_us.is_not(None),
            ~_is_end(other),
            ~is_hopeless,
        )
        .correlate(_notices)
    )


def _listed(db: Connection, these: ColumnElement[bool], limit: int) -> Listed:
    order = _alerts.c.priority.desc(), _alerts.c.opened_at_us.desc(), _alerts.c.id.desc()
    found = [_alert(row) for row in db.execute(select(_alerts).where(these).order_by(*order).limit(limit)).all()]
    if len(found) < limit:
        return Listed(found, len(found))
    counted = select(_alerts.c.id).where(these).limit(COUNTED + 1).subquery()
    return Listed(found, db.execute(select(func.count()).select_from(counted)).scalar_one())


def _is_end(notices: FromClause) -> ColumnElement[bool]:
    return notices.c.subject_en.startswith(_END, autoescape=True)


def _is_outdated_by(tried: Try) -> ColumnElement[bool]:
    """What waits for a channel when what came later in the same alert was told, if one of the two is an end."""
    this = _notices.alias()
    before = (
        select(_notices.c.id)
        .join(this, this.c.alert == _notices.c.alert)
        .where(this.c.id == tried.notice, _notices.c.number < this.c.number, or_(_is_end(_notices), _is_end(this)))
    )
    return and_(
        _deliveries.c.channel == tried.channel, _deliveries.c.due_us.is_not(None), _deliveries.c.notice.in_(before)
    )


def _claim(hub: str, channel: str, due: Select[Any], now: datetime) -> ReturningUpdate[Any]:
    """Take upon this hub what of the due deliveries no other hub has; the ids of their notices."""
    free = or_(
        _deliveries.c.claimed_by.is_(None),
        _deliveries.c.claimed_by == hub,
        _deliveries.c.claimed_until_us <= to_us(now),
    )
    # PostgreSQL: what another hub is claiming at this moment is passed over, not waited for.
    free_and_due = due.where(free).with_for_update(of=_deliveries, skip_locked=True).cte("free_and_due")
    return (
        update(_deliveries)
        .where(_deliveries.c.channel == channel, _deliveries.c.notice.in_(select(free_and_due.c.id)))
        .values(claimed_by=hub, claimed_until_us=to_us(now + CLAIM))
        .returning(_deliveries.c.notice)
    )


def _rows_of(db: Connection, changes: Sequence[Change]) -> dict[str, Row[Any]]:
    """The alerts of changes as they are before them, locked until they are written.

    In one order, so that two hubs never wait for each other.
    """
    if not changes:
        return {}
    known = select(_alerts).where(_alerts.c.id.in_({change.alert.id for change in changes}))
    return {row.id: row for row in db.execute(known.order_by(_alerts.c.id).with_for_update())}


def _refuse_overtaken(before: Mapping[str, Row[Any]], seen: Iterable[Alert]) -> None:
    known = {alert.id: replace(alert, notified_at=None) for alert in seen}
    for name, row in before.items():
        if known.get(name) != replace(_alert(row), notified_at=None):
            raise Overtaken(name)


def _write_changes(db: Connection, changes: Sequence[Change], before: Mapping[str, Row[Any]]) -> None:
    """The alerts, their facts, and the audit of both."""
    was: dict[str, dict[str, Any]] = {name: dict(row._mapping) for name, row in before.items()}
    for change in changes:
        alert, fact, row = change.alert.id, change.fact, _alert_row(change.alert)
        if alert in was:
            db.execute(update(_alerts).where(_alerts.c.id == alert).values(**row))
        else:
            db.execute(insert(_alerts).values(**row))
        db.execute(insert(_facts).values(**_fact_row(fact)))
        old = _to_audit(was[alert]) if alert in was else None
        audited(db, fact.what, f"alert:{alert}", at=fact.at, who=fact.by, before=old, after=_to_audit(row))
        was[alert] = row


def _to_audit(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only grows (evidence) or is the moment of the entry itself, and what `note_try` writes."""
    return {name: value for name, value in row.items() if name not in {"evidence", "updated_at_us", "notified_at_us"}}


def rebuilt(record: Sequence[Entry]) -> Alert:
    """The alert that the entries of the audit about it make, all of them, the oldest first; without its evidence.

    Raises ValueError where they do not begin with its opening, which is so of an alert of before the audit.
    """
    if not record or record[0].what != FactKind.OPENED:
        raise ValueError("the record does not begin with the opening of an alert")
    made: dict[str, Any] = dict.fromkeys(_COLUMNS)
    for entry in record:
        if entry.what not in _OF_ITS_LIFE:
            continue
        made |= {name: value for name, value in (entry.after or {}).items() if name in made}
        if entry.what != FactKind.NOTIFIED:
            made["updated_at_us"] = to_us(entry.at)
    return _alert(tuple((made | {"evidence": []}).values()))


def beside_record(db: Connection, after: str, limit: int) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The alerts that follow this id, as they are and as their records make them, without evidence.

    None for one whose record does not begin with its opening. Within a transaction.
    """
    page = db.execute(select(_alerts).where(_alerts.c.id > after).order_by(_alerts.c.id).limit(limit)).all()
    records = records_in(db, [f"alert:{row.id}" for row in page])
    found: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    for row in page:
        made: dict[str, Any] | None = None
        with suppress(ValueError):
            alert = rebuilt(records[f"alert:{row.id}"])
            made = {**_alert_row(alert), "notified_at_us": _us(alert.notified_at)}
            del made["evidence"]
        found.append(({name: value for name, value in row._mapping.items() if name != "evidence"}, made))
    return found


def put_notice(db: Connection, notice: Notice) -> None:
    """Write a notice down, within a transaction."""
    put_notices(db, [notice])


def put_notices(db: Connection, notices: Sequence[Notice]) -> None:
    """Write notices down in their order, within a transaction."""
    named = {notice.alert for notice in notices if notice.alert}
    last = select(_notices.c.alert, func.max(_notices.c.number)).where(among(_notices.c.alert, named))
    numbers = {row[0]: row[1] for row in db.execute(last.group_by(_notices.c.alert))} if named else {}
    rows = []
    for notice in notices:
        number = numbers[notice.alert] = numbers.get(notice.alert, 0) + 1 if notice.alert else 0
        rows.append({**_notice_row(notice), "number": number})
    if rows:
        db.execute(insert(_notices), rows)


def put_try(db: Connection, tried: Try) -> None:
    """Add to the log of tries, within a transaction."""
    db.execute(
        insert(_tries).values(
            notice=tried.notice,
            channel=tried.channel,
            at_us=to_us(tried.at),
            error=tried.error,
            address=tried.address or None,
        )
    )


def alerts_in(db: Connection, names: Iterable[str]) -> dict[str, Alert]:
    """Alerts by id, within a transaction."""
    return {row.id: _alert(row) for row in db.execute(select(_alerts).where(among(_alerts.c.id, names)))}


def unacknowledged_names() -> Select[tuple[str]]:
    """The ids of all open alerts that nobody has acknowledged, as a part of another query."""
    return select(_alerts.c.id).where(_is_open, _alerts.c.acknowledged_at_us.is_(None))


def unacknowledged_told_in(db: Connection, recipient: str, untold: Select[tuple[str]]) -> list[Alert]:
    """Open alerts that nobody has acknowledged and of which a person was told, the newest first; in a transaction.

    untold: the ids of notices that have told nobody.
    """
    told = select(_notices.c.alert).where(_notices.c.recipient == recipient, _notices.c.id.not_in(untold))
    unseen = and_(_alerts.c.id.in_(unacknowledged_names()), _alerts.c.id.in_(told))
    query = select(_alerts).where(unseen).order_by(_alerts.c.opened_at_us.desc(), _alerts.c.id)
    return [_alert(row) for row in db.execute(query)]


def lasting_in(db: Connection, patient: str, problems: Collection[str]) -> list[Alert]:
    """A patient's open alerts of some problems whose condition is not over; within a transaction."""
    lasts = and_(_is_open, _alerts.c.condition_gone_at_us.is_(None))
    query = select(_alerts).where(lasts, _alerts.c.patient == patient, _alerts.c.problem.in_(problems))
    return [_alert(row) for row in db.execute(query)]


def ended_in(db: Connection, patient: str, problems: Collection[str], since: datetime) -> bool:
    """Whether the condition of an alert of a patient about one of some problems has ended since a moment."""
    ended = and_(_alerts.c.patient == patient, _alerts.c.problem.in_(problems))
    query = select(_alerts.c.id).where(ended, _alerts.c.condition_gone_at_us >= to_us(since))
    return bool(problems) and db.execute(query.limit(1)).first() is not None


def notices_to_in(db: Connection, alert: str, recipient: str) -> list[str]:
    """The ids of all notices about an alert to one person."""
    query = select(_notices.c.id).where(_notices.c.alert == alert, _notices.c.recipient == recipient)
    return list(db.scalars(query))


def notices_in(db: Connection, names: Iterable[str]) -> dict[str, Notice]:
    """Notices by id, within a transaction."""
    return {row.id: _notice(row) for row in db.execute(select(_notices).where(among(_notices.c.id, names)))}


def last_end_in(db: Connection, alert: str) -> Written:
    """What there is to say of the newest end of an alert's condition; within a transaction.

    Its fact says how it is now, for the channels of the house hear of no end after a closing, nor of what was untold.
    It has the name under which they heard of the alert last.
    """
    of_house = and_(_notices.c.alert == alert, _notices.c.recipient.is_(None))
    told = select(_notices).where(of_house, ~_notices.c.id.startswith(OVERDUE_ID, autoescape=True))
    ends = select(_facts).where(_facts.c.alert == alert, _facts.c.what == FactKind.CONDITION_GONE)
    last = db.execute(told.order_by(_notices.c.number.desc()).limit(1)).one()
    end = db.execute(ends.order_by(_facts.c.seq.desc()).limit(1)).one()
    return Written(
        subject=Text(
            en=OVER.en.format(title=last.subject_en.partition(": ")[2]),
            zh=OVER.zh.format(title=last.subject_zh.partition("：")[2]),
        ),
        body=Text(en=end.because_en, zh=end.because_zh),
    )


def owed_an_end_in(db: Connection, alert: str) -> list[str]:
    """All persons who were told of an alert, and not since then that its condition is over; within a transaction.

    That a follow-up is overdue tells of no episode to who knows how the last one ended.
    """
    of_persons = and_(_notices.c.alert == alert, _notices.c.recipient.is_not(None))
    told = select(_notices.c.recipient, _notices.c.id, _is_end(_notices).label("is_end")).where(of_persons)
    knows: dict[str, bool] = {}
    for row in db.execute(told.order_by(_notices.c.number)):
        if row.recipient not in knows or not row.id.startswith(OVERDUE_ID):
            knows[row.recipient] = row.is_end
    return sorted(recipient for recipient, of_the_end in knows.items() if not of_the_end)


def note_notified(db: Connection, tried: Try) -> None:
    """The first delivery to staff is the alert's moment of notification; within a transaction."""
    of_staff = (_notices.c.id == tried.notice, _notices.c.audience == Audience.STAFF.value)
    alert = db.scalar(select(_notices.c.alert).where(*of_staff))
    first = update(_alerts).where(_alerts.c.id == alert, _alerts.c.notified_at_us.is_(None))
    at_us = to_us(tried.at)
    if not db.execute(first.values(notified_at_us=at_us)).rowcount:
        return
    db.execute(insert(_facts).values(alert=alert, what=FactKind.NOTIFIED, at_us=at_us, note=tried.channel))
    was, told = {"notified_at_us": None}, {"notified_at_us": at_us, "channel": tried.channel}
    audited(db, FactKind.NOTIFIED, f"alert:{alert}", at=tried.at, who=None, before=was, after=told)


_MOMENTS: Final = (
    "since",
    "opened_at",
    "updated_at",
    "acknowledged_at",
    "snoozed_at",
    "snoozed_until",
    "emergency_at",
    "condition_gone_at",
    "untold_since",
    "closed_at",
)
_PLAIN: Final = (
    "id",
    "patient",
    "problem",
    "acknowledged_by",
    "acknowledged_note",
    "snoozed_by",
    "snoozed_note",
    "closed_by",
    "closing_note",
)


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
        "reason": alert.reason,
    }


_COLUMNS: Final = tuple(_alerts.c.keys())
_STORED_MOMENTS: Final = tuple((name, f"{name}_us") for name in (*_MOMENTS, "notified_at"))


def _alert(row: Sequence[Any]) -> Alert:
    """Of a row with all columns; a page reads a hundred, and a plain dictionary is read fastest."""
    found = dict(zip(_COLUMNS, row, strict=True))
    moments: dict[str, Any] = {
        name: None if (us := found[column]) is None else from_us(us) for name, column in _STORED_MOMENTS
    }
    outcome, reason = found["outcome"], found["reason"]
    return Alert(
        **{name: found[name] for name in _PLAIN},
        **moments,
        priority=Priority(found["priority"]),
        because=Text(en=found["because_en"], zh=found["because_zh"]),
        evidence=tuple(found["evidence"]),
        raising=frozenset(found["raising"]),
        outcome=Outcome(outcome) if outcome else None,
        reason=Reason(reason) if reason else None,
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
        "until_us": _us(fact.until),
    }


def _fact(row: Row[Any]) -> Fact:
    return Fact(
        alert=row.alert,
        what=FactKind(row.what),
        at=from_us(row.at_us),
        by=row.by,
        because=None if row.because_en is None else Text(en=row.because_en, zh=row.because_zh),
        note=row.note,
        until=_moment(row.until_us),
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
        "recipient": notice.recipient,
        "follow_up": notice.follow_up,
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
        recipient=row.recipient,
        follow_up=row.follow_up,
    )


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _moment(us: int | None) -> Any:
    return None if us is None else from_us(us)

"""Personal notices on their way: to each person by the contacts in the person's order, one after the other.

The first contact is **released** when the notice is written, each further one when the one before has failed twice,
has not delivered within `alerts.escalation.PATIENCE`, or its channel is dead. What was released is tried on until one
of them has delivered; then the rest are withdrawn. A telephone that nothing dials is never released to a channel: a
person is asked to dial it. What is put off (quiet hours, too many messages at once) waits here, and is joined into
one message.

Deliveries are claimed before they are tried, so that of two hubs on one database only one sends; the claims of a hub
that died end by themselves. Its own claims a hub may take up again: after a crash nothing waits for their end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Index,
    Integer,
    String,
    Table,
    and_,
    func,
    insert,
    or_,
    select,
    update,
)

from alerts.alert import SEVERAL, Alert, Audience, Notice, Priority
from alerts.book import (
    CLAIM,
    Delivery,
    Try,
    note_notified,
    notices_in,
    put_notices,
    put_try,
    unacknowledged_told_in,
)
from alerts.database import METADATA, among, reading, writing
from alerts.escalation import MESSAGES_WITHIN, MOST_MESSAGES, PATIENCE
from alerts.messages import TRIAL_ID
from alerts.team import TELEPHONE, Contact, Recipient, patient
from ingest.reading import from_us, to_us

_ALONE: Final = "alone"
_AT_ONCE: Final = 5  # deliveries of one round, so that what is urgent does not wait behind many that hang
_TRIES: Final = 2  # failures after which the next contact is tried as well

# due_us: NULL before the release, and once delivered or withdrawn. next_us: when the next contact is released, NULL
# where there is none or it was; of a patient's last one when it is said that none has delivered. notice: of
# `notices`, which is created elsewhere.
_deliveries = Table(
    "personal_deliveries",
    METADATA,
    Column("notice", String(24), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("recipient", String(80), nullable=False),
    Column("timer", String(24), index=True),
    Column("priority", Integer, nullable=False),
    Column("channel", String(64), nullable=False),
    Column("address", String(200), nullable=False),
    Column("language", String(8), nullable=False),
    Column("written_us", BigInteger, nullable=False),
    Column("released_us", BigInteger),
    Column("next_us", BigInteger),
    Column("tries", Integer, nullable=False),
    Column("due_us", BigInteger),
    Column("delivered_us", BigInteger),
    Column("withdrawn_us", BigInteger),
    Column("claimed_by", String(16)),
    Column("claimed_until_us", BigInteger),
)
Index("personal_deliveries_due", _deliveries.c.channel, _deliveries.c.due_us)
Index("personal_deliveries_next", _deliveries.c.next_us)
Index("personal_deliveries_to", _deliveries.c.recipient, _deliveries.c.written_us)
# joined: the notice by which it was told in the end, its own where it was alone; "" where that was not needed.
_put_off = Table(
    "put_off_notices",
    METADATA,
    Column("notice", String(24), primary_key=True),
    Column("recipient", String(80), nullable=False, index=True),
    Column("timer", String(24), index=True),
    Column("until_us", BigInteger, nullable=False),
    Column("joined", String(24)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Somebody is to be telephoned by a person, because nothing dials by itself."""

    notice: str
    position: int
    recipient: str
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalWay:
    """How far a notice has come by one contact of a person; moments are aware UTC, None: not (yet)."""

    channel: str
    address: str
    tries: int
    released_at: datetime | None
    delivered_at: datetime | None
    withdrawn_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A message that only tries whether a contact works; it is withdrawn when it has failed a few times."""

    notice: str
    written_at: datetime
    way: PersonalWay


class Outbox:
    """What waits for the personal channels, as `alerts.channels.Speaker` asks for it.

    hub: who claims, as in `alerts.book.Book`.
    """

    def __init__(self, engine: Engine, *, hub: str | None = None) -> None:
        self._engine = engine
        self._hub = hub or _ALONE

    def pending_notices(self, channel: str, now: datetime, limit: int = _AT_ONCE) -> list[Delivery]:
        """What is due for a channel and claimed by this hub, the most urgent first, then the longest due.

        Of what is due at one moment, as all that was put off until then, the first goes that was written first.
        """
        free = or_(
            _deliveries.c.claimed_by.is_(None),
            _deliveries.c.claimed_by == self._hub,
            _deliveries.c.claimed_until_us <= to_us(now),
        )
        query = (
            select(_deliveries)
            .where(_deliveries.c.channel == channel, _deliveries.c.due_us <= to_us(now), free)
            .order_by(_deliveries.c.priority.desc(), _deliveries.c.due_us, _written_us(), _deliveries.c.notice)
            .limit(limit)
        )
        with reading(self._engine) as db:
            if db.execute(query).first() is None:
                return []
        with writing(self._engine) as db:
            rows = db.execute(query.with_for_update(skip_locked=True)).all()
            for row in rows:
                claim = {"claimed_by": self._hub, "claimed_until_us": to_us(now + CLAIM)}
                db.execute(update(_deliveries).where(_is(row.notice, row.position)).values(**claim))
            notices = notices_in(db, {row.notice for row in rows})
        return [
            Delivery(
                notice=notices[row.notice],
                channel=channel,
                tries=row.tries,
                begin_by=now + CLAIM / 2,
                address=row.address,
                language=row.language,
            )
            for row in rows
        ]

    def note_try(self, tried: Try, *, due: datetime | None, reaches_people: bool) -> None:
        """Write a try down. due: when to try again, None when it was delivered."""
        at = to_us(tried.at)
        this = and_(
            _deliveries.c.notice == tried.notice,
            _deliveries.c.channel == tried.channel,
            _deliveries.c.address == tried.address,
        )
        free = {"claimed_by": None, "claimed_until_us": None, "tries": _deliveries.c.tries + 1}
        with writing(self._engine) as db:
            put_try(db, tried)
            if due is None:
                db.execute(update(_deliveries).where(this).values(**free, due_us=None, delivered_us=at, next_us=None))
                _withdraw(db, tried.notice, at)
                if reaches_people:
                    note_notified(db, tried)
                return
            is_wanted = _deliveries.c.due_us.is_not(None)  # it may have been withdrawn meanwhile
            db.execute(update(_deliveries).where(this, is_wanted).values(**free, due_us=to_us(due)))
            if tried.notice.startswith(TRIAL_ID):
                _give_up(db, this, at)
            failed = and_(this, _deliveries.c.tries >= _TRIES, _deliveries.c.next_us > at)
            db.execute(update(_deliveries).where(failed).values(next_us=at))

    def told_to(self, recipient: str) -> list[Alert]:
        """Open alerts that nobody has acknowledged and of which a person was told, the newest first.

        Not of one that was only put off: it waits, or was not needed any more.
        """
        waits_or_not_needed = or_(_put_off.c.joined.is_(None), _put_off.c.joined == "")
        untold = select(_put_off.c.notice).where(_put_off.c.recipient == recipient, waits_or_not_needed)
        with reading(self._engine) as db:
            return unacknowledged_told_in(db, recipient, untold)

    def waits_until(self, notices: Iterable[str]) -> dict[str, datetime]:
        """Until when each of some notices is put off that has told nobody yet."""
        waits = and_(among(_put_off.c.notice, notices), _put_off.c.joined.is_(None))
        with reading(self._engine) as db:
            rows = db.execute(select(_put_off.c.notice, _put_off.c.until_us).where(waits))
            return {row.notice: from_us(row.until_us) for row in rows}

    def trials(self, recipient: str, limit: int) -> list[Trial]:
        """The last test messages to somebody, newest first."""
        is_trial = and_(_deliveries.c.recipient == recipient, _deliveries.c.notice.startswith(TRIAL_ID))
        query = select(_deliveries).where(is_trial).order_by(_deliveries.c.written_us.desc(), _deliveries.c.notice)
        with reading(self._engine) as db:
            return [
                Trial(notice=row.notice, written_at=from_us(row.written_us), way=_way(row))
                for row in db.execute(query.limit(limit))
            ]

    def undelivered(self) -> dict[str, int]:
        """How many deliveries wait for each channel."""
        query = (
            select(_deliveries.c.channel, func.count().label("waiting"))
            .where(_deliveries.c.due_us.is_not(None))
            .group_by(_deliveries.c.channel)
        )
        with reading(self._engine) as db:
            return {row.channel: row.waiting for row in db.execute(query)}

    def ways(self, notice: str) -> list[PersonalWay]:
        """How far a notice has come by each contact, the preferred one first."""
        query = select(_deliveries).where(_deliveries.c.notice == notice).order_by(_deliveries.c.position)
        with reading(self._engine) as db:
            return [_way(row) for row in db.execute(query)]


# Within a transaction


class Outgoing:
    """What one transaction has for persons, gathered and then written by `write` all at once.

    now: the moment of the transaction. dialled: see `release_due`.
    """

    def __init__(self, db: Connection, now: datetime, dialled: Collection[str]) -> None:
        self._db = db
        self._now = now
        self._dialled = dialled
        self._notices: dict[str, Notice] = {}
        self._sent: dict[str, list[dict[str, Any]]] = {}
        self._put_off: dict[str, dict[str, Any]] = {}
        self._recent: dict[str, list[int]] = {}

    def send(
        self, notice: Notice, recipient: Recipient, contacts: Sequence[Contact], *, timer: str | None = None
    ) -> None:
        """Have a notice written down, unless it is known, with its deliveries. timer: what `delivered_in` names."""
        if notice.id in self._sent:
            return
        self._notices[notice.id] = notice
        rows: list[dict[str, Any]] = [
            {
                "notice": notice.id,
                "position": position,
                "recipient": recipient.owner,
                "timer": timer,
                "priority": int(notice.priority),
                "channel": contact.channel,
                "address": contact.address,
                "language": recipient.language,
                "written_us": to_us(self._now),
                "released_us": None,
                "due_us": None,
                "next_us": None,
                "tries": 0,
            }
            for position, contact in enumerate(_each_once(contacts))
        ]
        rows[0] |= _released(rows[0], self._now, self._dialled, behind=len(rows) > 1)
        self._sent[notice.id] = rows
        if recipient.owner in self._recent:
            self._recent[recipient.owner].insert(0, to_us(self._now))

    def put_off(self, notice: Notice, recipient: Recipient, until: datetime, timer: str | None) -> None:
        """Have a notice written down that is to be told later, joined with others."""
        self._notices[notice.id] = notice
        row = {"notice": notice.id, "recipient": recipient.owner, "timer": timer, "until_us": to_us(until)}
        self._put_off.setdefault(notice.id, row | {"joined": None})

    def by_contacts(self, notices: Iterable[Notice]) -> list[list[Notice]]:
        """Those of some notices that are not written yet, by the contacts by which they go."""
        found: dict[tuple[tuple[str, str], ...], list[Notice]] = {}
        for notice in notices:
            if rows := self._sent.get(notice.id):
                found.setdefault(tuple((row["channel"], row["address"]) for row in rows), []).append(notice)
        return list(found.values())

    def join(self, told: Notice, notices: Sequence[Notice]) -> None:
        """Have one message go in the place of some to the same person by the same contacts."""
        gone = [self._sent.pop(notice.id) for notice in notices]
        first, *behind = max(gone, key=lambda rows: int(rows[0]["priority"]))  # whose next contact comes soonest
        as_told = {"notice": told.id, "timer": None}
        self._notices[told.id] = told
        self._sent[told.id] = [row | as_told for row in (first, *behind)]
        for (row, *_), notice in zip(gone, notices, strict=True):
            kept = {"notice": notice.id, "recipient": row["recipient"], "timer": row["timer"]}
            self._put_off[notice.id] = kept | {"until_us": to_us(self._now), "joined": told.id}

    def full_until(self, recipient: str) -> datetime | None:
        """When there is room for one more message to a person; None: now."""
        if recipient not in self._recent:
            first = _deliveries.c.position == 0
            recent = _deliveries.c.written_us > to_us(self._now - MESSAGES_WITHIN)
            query = select(_deliveries.c.written_us).where(_deliveries.c.recipient == recipient, first, recent)
            newest = self._db.scalars(query.order_by(_deliveries.c.written_us.desc()).limit(MOST_MESSAGES))
            here = [rows[0]["written_us"] for rows in self._sent.values() if rows[0]["recipient"] == recipient]
            self._recent[recipient] = sorted([*here, *newest], reverse=True)
        written = self._recent[recipient]
        return from_us(written[MOST_MESSAGES - 1]) + MESSAGES_WITHIN if len(written) >= MOST_MESSAGES else None

    def write(self) -> list[Call]:
        """Write what was gathered; who is to be telephoned at once."""
        notices, sent, waiting = self._notices, self._sent, self._put_off
        self._notices, self._sent, self._put_off = {}, {}, {}
        if not notices:
            return []
        known = notices_in(self._db, notices)
        put_notices(self._db, [notice for name, notice in notices.items() if name not in known])
        calls = []
        if new := _unknown(self._db, _deliveries, sent):
            self._db.execute(insert(_deliveries), [row for rows in new.values() for row in rows])
            calls = [_call(rows[0]) for rows in new.values() if rows[0]["due_us"] is None]
        if put_off := _unknown(self._db, _put_off, waiting):
            self._db.execute(insert(_put_off), list(put_off.values()))
        return calls


_Rows = TypeVar("_Rows")


def _unknown(db: Connection, table: Table, rows: Mapping[str, _Rows]) -> dict[str, _Rows]:
    """What is written of notices, by notice, and does not stand in a table yet."""
    if not rows:
        return {}
    known = set(db.scalars(select(table.c.notice).where(among(table.c.notice, rows))))
    return {notice: each for notice, each in rows.items() if notice not in known}


def release_due(
    db: Connection, now: datetime, dead: Collection[str], dialled: Collection[str]
) -> tuple[list[Call], list[str]]:
    """Release the next contacts of those whose time has come.

    Gives who is to be telephoned, and the notices that have no further contact. dead: channels that do not deliver.
    dialled: channels that are configured, a telephone maybe among them.
    """
    query = select(_deliveries.c.notice, _deliveries.c.position).where(_is_late(now, dead))
    calls, last = [], []
    for row in db.execute(query.with_for_update(skip_locked=True)).all():
        db.execute(update(_deliveries).where(_is(row.notice, row.position)).values(next_us=None))
        released = _release(db, row.notice, row.position + 1, now, dialled)
        if released is None:
            last.append(row.notice)
        else:
            calls += released
    return calls, last


def is_release_due(db: Connection, now: datetime, dead: Collection[str]) -> bool:
    """Whether `release_due` would find anything."""
    return db.execute(select(_deliveries.c.notice).where(_is_late(now, dead)).limit(1)).first() is not None


def _is_late(now: datetime, dead: Collection[str]) -> ColumnElement[bool]:
    """Whether the next contact is to be released. With a dead channel all that wait have to be looked at."""
    is_late = _deliveries.c.next_us <= to_us(now)
    of_dead = and_(_deliveries.c.next_us.is_not(None), among(_deliveries.c.channel, dead))
    return or_(is_late, of_dead) if dead else is_late


def delivered_in(db: Connection, timers: Collection[str], joined: Collection[str] = ()) -> set[str]:
    """Those of some timers of which any notice has reached its person. joined: of which one may have, with others."""
    is_delivered = _deliveries.c.delivered_us.is_not(None)
    found = set(db.scalars(select(_deliveries.c.timer).where(among(_deliveries.c.timer, timers), is_delivered)))
    if left := set(joined) - found:
        with_others = select(_put_off.c.timer).join(_deliveries, _deliveries.c.notice == _put_off.c.joined)
        found |= set(db.scalars(with_others.where(among(_put_off.c.timer, left), is_delivered)))
    return found


def told_in(db: Connection, timers: Collection[str]) -> dict[str, set[str]]:
    """Whom each of some timers has told, or is to tell later."""
    found: dict[str, set[str]] = {}
    for table in (_deliveries, _put_off):
        for row in db.execute(select(table.c.timer, table.c.recipient).where(among(table.c.timer, timers))):
            found.setdefault(row.timer, set()).add(row.recipient)
    return found


def tried_in(db: Connection, notice: str) -> list[tuple[str, str, int]]:
    """By which contacts a notice went out: channel, address and how often it was tried, the preferred one first."""
    query = select(_deliveries.c.channel, _deliveries.c.address, _deliveries.c.tries)
    released = and_(_deliveries.c.notice == notice, _deliveries.c.released_us.is_not(None))
    return [(row.channel, row.address, row.tries) for row in db.execute(query.where(released))]


def waiting_for(db: Connection, recipient: str, now: datetime) -> list[Notice]:
    """What was put off for a person until now, oldest first."""
    due = and_(_put_off.c.recipient == recipient, _put_off.c.joined.is_(None), _put_off.c.until_us <= to_us(now))
    notices = notices_in(db, db.scalars(select(_put_off.c.notice).where(due)))
    return sorted(notices.values(), key=lambda each: (each.written_at, each.id))


def put_off_in(db: Connection, notices: Collection[str]) -> dict[str, str | None]:
    """Those of some notices that were put off: the notice that told each in the end, "" where it was not needed.

    None: it still waits.
    """
    query = select(_put_off.c.notice, _put_off.c.joined).where(among(_put_off.c.notice, notices))
    return {row.notice: row.joined for row in db.execute(query)}


def told_later_in(db: Connection, timers: Collection[str], now: datetime) -> dict[str, datetime]:
    """When the last of what some timers put off was told in the end; of those of which nothing waits any more.

    now: when what is about to be written is told.
    """
    is_it = and_(_deliveries.c.notice == _put_off.c.joined, _deliveries.c.position == 0)
    query = select(_put_off.c.timer, _put_off.c.joined, _deliveries.c.written_us).where(
        among(_put_off.c.timer, timers)
    )
    rows = db.execute(query.select_from(_put_off.outerjoin(_deliveries, is_it))).all()
    waiting = {row.timer for row in rows if row.joined is None}
    told: dict[str, datetime] = {}
    for row in rows:
        if row.joined and row.timer not in waiting:
            told[row.timer] = max(told.get(row.timer, from_us(0)), _moment(row.written_us) or now)
    return told


def timer_of_put_off(db: Connection, notice: str) -> str | None:
    """The timer by which a notice was put off, or None."""
    return db.scalar(select(_put_off.c.timer).where(_put_off.c.notice == notice))


def note_joined(db: Connection, notices: Sequence[Notice], into: str) -> None:
    """What was put off is told by another notice; "" where it is not needed any more."""
    these = _put_off.c.notice.in_([notice.id for notice in notices])
    db.execute(update(_put_off).where(these).values(joined=into))


def joined(notices: Sequence[Notice]) -> tuple[str, Priority, Audience]:
    """What holds for the message that joins some: the patient, or SEVERAL; and the most urgent."""
    patients = {notice.patient for notice in notices}
    return (
        patients.pop() if len(patients) == 1 else SEVERAL,
        max(notice.priority for notice in notices),
        notices[0].audience,
    )


def _release(
    db: Connection, notice: str, position: int, now: datetime, dialled: Collection[str]
) -> list[Call] | None:
    """Who is to be telephoned; None where there is no such contact."""
    row: Any = db.execute(select(_deliveries).where(_is(notice, position))).first()
    if row is None:
        return None
    if row.withdrawn_us is not None or row.delivered_us is not None:
        return []
    behind = db.execute(select(_deliveries.c.notice).where(_is(notice, position + 1))).first() is not None
    values = _released(row._mapping, now, dialled, behind=behind)
    db.execute(update(_deliveries).where(_is(notice, position)).values(**values))
    return [_call(row._mapping)] if values["due_us"] is None else []


def _released(
    row: Mapping[str, Any], now: datetime, dialled: Collection[str], *, behind: bool
) -> dict[str, int | None]:
    """What becomes of a contact whose turn it is; due_us is None where a person has to dial it.

    That a patient's last one fails is to be known as well, unless a person is asked to dial it.
    """
    by_hand = row["channel"] == TELEPHONE and TELEPHONE not in dialled
    awaited = behind or (row["recipient"].startswith(patient("")) and not by_hand)
    return {
        "released_us": to_us(now),
        "due_us": None if by_hand else to_us(now),
        "next_us": to_us(now + PATIENCE[Priority(row["priority"])]) if awaited else None,
    }


def _call(row: Mapping[str, Any]) -> Call:
    return Call(notice=row["notice"], position=row["position"], recipient=row["recipient"], number=row["address"])


def _withdraw(db: Connection, notice: str, at_us: int) -> None:
    rest = and_(
        _deliveries.c.notice == notice, _deliveries.c.delivered_us.is_(None), _deliveries.c.withdrawn_us.is_(None)
    )
    db.execute(update(_deliveries).where(rest).values(due_us=None, next_us=None, withdrawn_us=at_us))


def _give_up(db: Connection, this: ColumnElement[bool], at_us: int) -> None:
    """A wrong address that somebody tries is not tried on until its channel counts as dead."""
    failed = and_(this, _deliveries.c.tries >= _TRIES)
    db.execute(update(_deliveries).where(failed).values(due_us=None, withdrawn_us=at_us))


def _way(row: Any) -> PersonalWay:
    return PersonalWay(
        channel=row.channel,
        address=row.address,
        tries=row.tries,
        released_at=_moment(row.released_us),
        delivered_at=_moment(row.delivered_us),
        withdrawn_at=_moment(row.withdrawn_us),
    )


def _each_once(contacts: Sequence[Contact]) -> list[Contact]:
    return list(dict.fromkeys(contacts))


def _written_us() -> Any:
    """When the notice of a delivery was written, which of what was put off is long before the delivery."""
    notices = METADATA.tables["notices"]
    return select(notices.c.written_at_us).where(notices.c.id == _deliveries.c.notice).scalar_subquery()


def _is(notice: str, position: int) -> Any:
    return and_(_deliveries.c.notice == notice, _deliveries.c.position == position)


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)

"""The audit: who changed what, when, what it was before and what it is since. Only ever added to.

A change writes its entry in its own transaction, so neither is there without the other. The database itself refuses
to change or delete an entry (triggers, `gateway/migrations`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    Row,
    String,
    Table,
    func,
    insert,
    or_,
    select,
)

from alerts.database import METADATA, among, reading
from ingest.reading import from_us, to_us

_audit = Table(
    "audit",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("who", String(200)),
    Column("what", String(64), nullable=False),
    Column("subject", String(96), nullable=False),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
)
Index("audit_of_subject", _audit.c.subject, _audit.c.seq)

# No transaction is so long that others write more entries than these between its own and its end.
_WRITTEN_LATER: Final = 10_000
_NOTHING: Final = object()
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change. at: aware UTC. who: None where nobody said so, or Homeward itself did it.

    subject: kind and id, such as "alert:a-0123". before, after: what differs, None where there was nothing or is
    nothing any more.
    """

    seq: int
    at: datetime
    who: str | None
    what: str
    subject: str
    before: Values | None
    after: Values | None


def audited(
    db: Connection,
    what: str,
    subject: str,
    *,
    at: datetime,
    who: str | None,
    before: Values | None = None,
    after: Values | None = None,
) -> None:
    """Write down, in the transaction of a change, what it changes; the values are such as JSON has."""
    values = {"before": _apart(before, after), "after": _apart(after, before)}
    db.execute(insert(_audit).values(at_us=to_us(at), who=who, what=what, subject=subject, **values))


def entries(
    engine: Engine, *, subject: str | None = None, before: int | None = None, limit: int = 100
) -> list[Entry]:
    """What was changed, the newest first. before: the number of the last entry of the page before."""
    query = select(_audit).order_by(_audit.c.seq.desc()).limit(limit)
    if subject is not None:
        query = query.where(_audit.c.subject == subject)
    if before is not None:
        query = query.where(_audit.c.seq < before)
    with reading(engine) as db:
        return [_entry(row) for row in db.execute(query)]


def records_in(db: Connection, subjects: Iterable[str]) -> dict[str, list[Entry]]:
    """All entries of each of these subjects, the oldest first; within a transaction."""
    records: dict[str, list[Entry]] = {subject: [] for subject in subjects}
    for row in db.execute(select(_audit).where(among(_audit.c.subject, records)).order_by(_audit.c.seq)):
        records[row.subject].append(_entry(row))
    return records


def opened_after(db: Connection, seq: int, kinds: Collection[str], limit: int) -> dict[int, str]:
    """The next subjects of these kinds that were opened, by the number of that entry; within a transaction."""
    is_one = or_(*(_audit.c.subject.startswith(f"{kind}:") for kind in kinds))
    query = select(_audit.c.seq, _audit.c.subject).where(_audit.c.seq > seq, _audit.c.what == "opened", is_one)
    return {row.seq: row.subject for row in db.execute(query.order_by(_audit.c.seq).limit(limit))}


def began_us(db: Connection) -> int | None:
    """The moment of the first entry of all, None where there is none; within a transaction."""
    return db.scalar(select(_audit.c.at_us).order_by(_audit.c.seq).limit(1))


def changed(engine: Engine, kinds: Collection[str], after: int | None) -> dict[int, str]:
    """The subjects of these kinds that were changed after an entry (None: lately), and that of the last entry of all.

    By the number of the entry, oldest first. Some from before are among them as well: who took a number earlier may
    have written it down later.
    """
    last = select(func.max(_audit.c.seq)).scalar_subquery()
    is_one = or_(*(_audit.c.subject.startswith(f"{kind}:") for kind in kinds), _audit.c.seq == last)
    is_new = _audit.c.seq > (last if after is None else after) - _WRITTEN_LATER
    with reading(engine) as db:
        rows = db.execute(select(_audit.c.seq, _audit.c.subject).where(is_new, is_one).order_by(_audit.c.seq))
        return {row.seq: row.subject for row in rows}


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        seq=row.seq,
        at=from_us(row.at_us),
        who=row.who,
        what=row.what,
        subject=row.subject,
        before=row.before,
        after=row.after,
    )


def _apart(these: Values | None, others: Values | None) -> dict[str, Any] | None:
    """What of these values is not so among the others."""
    if these is None:
        return None
    return {name: value for name, value in these.items() if (others or {}).get(name, _NOTHING) != value}

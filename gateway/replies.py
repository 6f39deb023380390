"""What people answer to a message, as a provider's inbound message: kept whole, whatever becomes of it.

Each is in the audit as well: of the alert that it is about, else of who wrote it, else by its own number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    String,
    Table,
    insert,
    select,
)
from sqlalchemy import (
    Text as LongText,
)

from alerts.audit import audited
from alerts.database import METADATA, reading
from ingest.reading import from_us, to_us

_replies = Table(
    "replies",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("sender", String(200), nullable=False),
    Column("person", String(80), index=True),
    Column("alert", String(24), index=True),
    Column("text", LongText, nullable=False),
    Column("result", String(16), nullable=False),
)
# What acknowledges, whatever its case and the signs around it.
_YES: Final = frozenset({"ok", "1", "收到", "确认"})
_AROUND: Final = re.compile(r"^[\s\W_]+|[\s\W_]+$")


class ReplyResult(StrEnum):
    """What became of a reply."""

    ACKNOWLEDGED = "acknowledged"
    ALREADY = "already"  # somebody had acknowledged it before, or it is closed
    NOTED = "noted"  # kept, and a person was told


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An inbound message. person: "staff:ID" or "patient:ID", None for an address that nobody has."""

    at: datetime
    sender: str
    person: str | None
    alert: str | None
    text: str
    result: ReplyResult


def acknowledges(text: str) -> bool:
    """Whether a reply says that an alert was seen: OK, 1, 收到 or 确认, and nothing else."""
    return _AROUND.sub("", text).casefold() in _YES


class Replies:
    """The replies that came. Blocks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, reply: Reply, who: str) -> None:
        """Keep a reply. who: what the facts call its sender."""
        row = {
            "at_us": to_us(reply.at),
            "sender": reply.sender,
            "person": reply.person,
            "alert": reply.alert,
            "text": reply.text,
            "result": reply.result,
        }
        with self._engine.begin() as db:
            (number,) = db.execute(insert(_replies).values(**row)).inserted_primary_key or (None,)
            subject = f"alert:{reply.alert}" if reply.alert else reply.person or f"reply:{number}"
            said = {name: value for name, value in row.items() if name != "at_us"}
            audited(db, "replied", subject, at=reply.at, who=who, after=said)

    def last(self, limit: int = 100) -> list[Reply]:
        """The last ones, newest first."""
        query = select(_replies).order_by(_replies.c.id.desc()).limit(limit)
        with reading(self._engine) as db:
            return [
                Reply(
                    at=from_us(row.at_us),
                    sender=row.sender,
                    person=row.person,
                    alert=row.alert,
                    text=row.text,
                    result=ReplyResult(row.result),
                )
                for row in db.execute(query)
            ]

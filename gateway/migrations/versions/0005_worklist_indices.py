"""The first page of the worklist is read from indices of the open alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_OPEN = "closed_at_us IS NULL"
_INDICES = (
    ("alerts_open_by_time", ["opened_at_us", "id"], _OPEN),
    ("alerts_waiting", ["priority", "opened_at_us", "id"], f"{_OPEN} AND acknowledged_at_us IS NULL"),
    ("alerts_handled", ["priority", "opened_at_us", "id"], f"{_OPEN} AND acknowledged_at_us IS NOT NULL"),
)


def upgrade() -> None:
    for name, columns, which in _INDICES:
        op.create_index(name, "alerts", columns, sqlite_where=sa.text(which), postgresql_where=sa.text(which))

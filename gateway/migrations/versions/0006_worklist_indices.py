"""The first page of the worklist is read from indices of the open alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_OPEN = "closed_at_us IS NULL"
_WAITS = "acknowledged_at_us IS NULL AND snoozed_until_us IS NULL"
_HANDLED = "(acknowledged_at_us IS NOT NULL OR snoozed_until_us IS NOT NULL)"
_INDICES = (
    ("alerts_open_by_time", ["opened_at_us", "id"], _OPEN),
    ("alerts_waiting", ["priority", "opened_at_us", "id"], f"{_OPEN} AND {_WAITS}"),
    ("alerts_handled", ["priority", "opened_at_us", "id"], f"{_OPEN} AND {_HANDLED}"),
)


def upgrade() -> None:
    for name, columns, which in _INDICES:
        op.create_index(name, "alerts", columns, sqlite_where=sa.text(which), postgresql_where=sa.text(which))

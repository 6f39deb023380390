"""An alert may be put off, and a follow-up notes that its time has passed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SNOOZED = sa.text("snoozed_until_us IS NOT NULL")
_UNNOTED = sa.text("closed_at_us IS NULL AND overdue_at_us IS NULL")


def upgrade() -> None:
    for name in ("snoozed_at_us", "snoozed_until_us", "emergency_at_us"):
        op.add_column("alerts", sa.Column(name, sa.BigInteger()))
    op.add_column("alerts", sa.Column("snoozed_by", sa.String(200)))
    op.add_column("alerts", sa.Column("snoozed_note", sa.Text()))
    op.create_index(
        "alerts_snoozed", "alerts", ["snoozed_until_us"], sqlite_where=_SNOOZED, postgresql_where=_SNOOZED
    )
    op.add_column("alert_facts", sa.Column("until_us", sa.BigInteger()))
    op.add_column("follow_ups", sa.Column("overdue_at_us", sa.BigInteger()))
    op.create_index(
        "follow_ups_unnoted", "follow_ups", ["due_at_us"], sqlite_where=_UNNOTED, postgresql_where=_UNNOTED
    )

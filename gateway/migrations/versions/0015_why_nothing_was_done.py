"""What is closed without an action says why, by a closed list; what was closed before has no such reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    for table in ("alerts", "follow_ups", "follow_up_facts"):
        op.add_column(table, sa.Column("reason", sa.String(32)))

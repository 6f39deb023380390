"""A notice knows the follow-up that it is about, so that its link leads there where it is about no alert."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("notices", sa.Column("follow_up", sa.String(24)))

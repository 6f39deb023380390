"""What was put off is found by the timer that did it, for each step that is due, however much there is."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_index("ix_put_off_notices_timer", "put_off_notices", ["timer"])

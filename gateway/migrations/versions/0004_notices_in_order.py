"""Notices of an alert have a number, for a clock may be set back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NUMBERED = """
UPDATE notices SET number = (
    SELECT count(*) FROM notices AS other
    WHERE other.alert = notices.alert
    AND (other.written_at_us < notices.written_at_us
         OR (other.written_at_us = notices.written_at_us AND other.id <= notices.id))
) WHERE alert IS NOT NULL
"""


def upgrade() -> None:
    op.add_column("notices", sa.Column("number", sa.Integer(), nullable=False, server_default="0"))
    op.execute(_NUMBERED)

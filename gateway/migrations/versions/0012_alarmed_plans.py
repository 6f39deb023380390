"""A plan of care knows of the alert of high priority that makes its next follow-up early."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("care_plans", sa.Column("alarmed_at_us", sa.BigInteger()))
    op.add_column("care_plans", sa.Column("alarm_en", sa.Text()))
    op.add_column("care_plans", sa.Column("alarm_zh", sa.Text()))

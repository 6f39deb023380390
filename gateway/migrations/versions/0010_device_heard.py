"""Each of several hubs on one database notes when it heard a device last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "device_heard",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("hub", sa.String(16), nullable=False),
        sa.Column("arrival_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device", "hub"),
    )

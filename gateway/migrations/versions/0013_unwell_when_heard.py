"""What a hub notes of a device that it heard says whether the patient was not well then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("device_heard", sa.Column("unwell", sa.Boolean(), nullable=False, server_default=sa.false()))

"""With whom an appointment is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("appointments", sa.Column("whom", sa.String(200), nullable=False, server_default=""))

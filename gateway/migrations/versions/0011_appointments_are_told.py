"""With whom an appointment is and whether it was kept, and who wrote down what a patient answered by telephone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("appointments", sa.Column("whom", sa.String(200), nullable=False, server_default=""))
    op.add_column("appointments", sa.Column("kept", sa.Boolean()))
    op.add_column("surveys", sa.Column("answered_by", sa.String(200)))

"""An alert knows that it came back for the patient alone, and staff have not been told of that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("alerts", sa.Column("untold_since_us", sa.BigInteger()))

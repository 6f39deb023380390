"""SQLite refuses to replace an entry of the audit too: REPLACE runs no trigger of a delete there."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"

# Of an entry that has no number yet, SQLite says -1 here.
_SQLITE = """CREATE TRIGGER IF NOT EXISTS audit_no_replace BEFORE INSERT ON audit
    WHEN NEW.seq > 0 AND EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
    BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(_SQLITE)

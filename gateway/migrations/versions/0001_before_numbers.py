"""What Homeward kept before its schemas had numbers; a database of that time gets what it lacks of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("problem", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("because_en", sa.Text(), nullable=False),
        sa.Column("because_zh", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("raising", sa.JSON(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("opened_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("notified_at_us", sa.BigInteger()),
        sa.Column("acknowledged_at_us", sa.BigInteger()),
        sa.Column("acknowledged_by", sa.String(200)),
        sa.Column("acknowledged_note", sa.Text()),
        sa.Column("condition_gone_at_us", sa.BigInteger()),
        sa.Column("closed_at_us", sa.BigInteger()),
        sa.Column("closed_by", sa.String(200)),
        sa.Column("outcome", sa.String(32)),
        sa.Column("closing_note", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("alerts_by_patient", "alerts", ["patient", "opened_at_us"], if_not_exists=True)
    op.create_index("alerts_by_time", "alerts", ["opened_at_us", "id"], if_not_exists=True)
    op.create_index(
        "alerts_standing",
        "alerts",
        ["patient", "problem"],
        unique=True,
        sqlite_where=sa.text("closed_at_us IS NULL OR present = 1"),
        postgresql_where=sa.text("closed_at_us IS NULL OR present"),
        if_not_exists=True,
    )
    op.create_table(
        "device_states",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("last_seen_us", sa.BigInteger()),
        sa.Column("bond", sa.String(8)),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("fault", sa.String()),
        sa.Column("manufacturer", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("firmware", sa.String(), nullable=False),
        sa.Column("battery_pct", sa.Integer()),
        sa.Column("clock_offset_us", sa.BigInteger()),
        sa.Column("clock_set", sa.Boolean()),
        sa.Column("quirk", sa.String()),
        sa.Column("session_ends_us", sa.BigInteger()),
        sa.Column("sensor", sa.String()),
        sa.Column("battery_low_us", sa.BigInteger()),
        sa.Column("battery_flag_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("device"),
        if_not_exists=True,
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("link", sa.String(8), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "patients",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("language", sa.String(8), nullable=False),
        sa.Column("glucose_unit", sa.String(8), nullable=False),
        sa.Column("pseudonym", sa.String(32), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("pseudonym"),
        if_not_exists=True,
    )
    op.create_table(
        "reviews",
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("monday", sa.String(10), nullable=False),
        sa.Column("made_at_us", sa.BigInteger(), nullable=False),
        sa.Column("raised", sa.Integer(), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("patient", "monday"),
        if_not_exists=True,
    )
    op.create_index("reviews_by_week", "reviews", ["monday", "raised"], if_not_exists=True)
    op.create_table(
        "reviews_done",
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("monday", sa.String(10), nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("patient", "monday", "rule"),
        if_not_exists=True,
    )
    op.create_table(
        "standings",
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("made_at_us", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("patient"),
        if_not_exists=True,
    )
    op.create_table(
        "watch_cursor",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "alert_facts",
        sa.Column("seq", _NUMBER, nullable=False),
        sa.Column("alert", sa.String(24), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(200)),
        sa.Column("because_en", sa.Text()),
        sa.Column("because_zh", sa.Text()),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["alert"], ["alerts.id"]),
        sa.PrimaryKeyConstraint("seq"),
        if_not_exists=True,
    )
    op.create_index("ix_alert_facts_alert", "alert_facts", ["alert"], if_not_exists=True)
    op.create_table(
        "care",
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("population", sa.String(16)),
        sa.Column("programme", sa.String(200)),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"]),
        sa.PrimaryKeyConstraint("patient"),
        if_not_exists=True,
    )
    op.create_table(
        "former_limits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("parameter", sa.String(64), nullable=False),
        sa.Column("entry", sa.JSON(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"]),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("ix_former_limits_patient", "former_limits", ["patient"], if_not_exists=True)
    op.create_table(
        "notices",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("alert", sa.String(24)),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("audience", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("subject_en", sa.Text(), nullable=False),
        sa.Column("subject_zh", sa.Text(), nullable=False),
        sa.Column("body_en", sa.Text(), nullable=False),
        sa.Column("body_zh", sa.Text(), nullable=False),
        sa.Column("written_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["alert"], ["alerts.id"]),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("ix_notices_alert", "notices", ["alert"], if_not_exists=True)
    op.create_index("notices_of_patient", "notices", ["patient", "written_at_us"], if_not_exists=True)
    op.create_table(
        "plans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("vital", sa.String(32), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("first", sa.Date(), nullable=False),
        sa.Column("last", sa.Date()),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("entered_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger()),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"]),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("ix_plans_patient", "plans", ["patient"], if_not_exists=True)
    op.create_table(
        "retirements",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("retired_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"]),
        sa.PrimaryKeyConstraint("device"),
        if_not_exists=True,
    )
    op.create_table(
        "wearings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("since_us", sa.BigInteger()),
        sa.Column("until_us", sa.BigInteger()),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("assigned_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"]),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"]),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("ix_wearings_device", "wearings", ["device"], if_not_exists=True)
    op.create_index("ix_wearings_patient", "wearings", ["patient"], if_not_exists=True)
    op.create_table(
        "deliveries",
        sa.Column("notice", sa.String(24), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_us", sa.BigInteger()),
        sa.Column("delivered_at_us", sa.BigInteger()),
        sa.ForeignKeyConstraint(["notice"], ["notices.id"]),
        sa.PrimaryKeyConstraint("notice", "channel"),
        if_not_exists=True,
    )
    op.create_index("deliveries_due", "deliveries", ["channel", "due_us"], if_not_exists=True)
    op.create_table(
        "delivery_tries",
        sa.Column("seq", _NUMBER, nullable=False),
        sa.Column("notice", sa.String(24), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.ForeignKeyConstraint(["notice"], ["notices.id"]),
        sa.PrimaryKeyConstraint("seq"),
        if_not_exists=True,
    )
    op.create_index("ix_delivery_tries_notice", "delivery_tries", ["notice"], if_not_exists=True)
    op.create_table(
        "former_limit_ends",
        sa.Column("former", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["former"], ["former_limits.id"]),
        sa.PrimaryKeyConstraint("former"),
        if_not_exists=True,
    )
    op.create_table(
        "plan_ends",
        sa.Column("plan", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["plan"], ["plans.id"]),
        sa.PrimaryKeyConstraint("plan"),
        if_not_exists=True,
    )
    op.create_table(
        "wearing_corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("wearing", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("patient_before", sa.String(64), nullable=False),
        sa.Column("since_before_us", sa.BigInteger()),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("since_us", sa.BigInteger()),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"]),
        sa.ForeignKeyConstraint(["patient_before"], ["patients.id"]),
        sa.ForeignKeyConstraint(["wearing"], ["wearings.id"]),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("ix_wearing_corrections_wearing", "wearing_corrections", ["wearing"], if_not_exists=True)

"""Follow-ups, plans of care and surveys; staff, shifts, contacts, timers and what is on its way to persons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "appointments",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("follow_up", sa.String(24), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("length_s", sa.Integer(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(200), nullable=False),
        sa.Column("changed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_appointments_follow_up", "appointments", ["follow_up"])
    op.create_table(
        "attempts",
        sa.Column("fact", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("follow_up", sa.String(24), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("result", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("fact"),
    )
    op.create_index("ix_attempts_at_us", "attempts", ["at_us"])
    op.create_index("ix_attempts_follow_up", "attempts", ["follow_up"])
    op.create_table(
        "care_plans",
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("condition", sa.String(16), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("entered_at_us", sa.BigInteger(), nullable=False),
        sa.Column("every_days", sa.Integer()),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("due_at_us", sa.BigInteger(), nullable=False),
        sa.Column("open_at_us", sa.BigInteger(), nullable=False),
        sa.Column("because_en", sa.Text(), nullable=False),
        sa.Column("because_zh", sa.Text(), nullable=False),
        sa.Column("control", sa.String(16), nullable=False),
        sa.Column("told_en", sa.Text()),
        sa.Column("told_zh", sa.Text()),
        sa.Column("sensor", sa.Boolean(), nullable=False),
        sa.Column("judged_at_us", sa.BigInteger()),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(32)),
        sa.Column("follow_up", sa.String(24)),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("patient", "condition"),
    )
    op.create_index(
        "care_plans_to_open",
        "care_plans",
        ["open_at_us"],
        sqlite_where=sa.text("follow_up IS NULL"),
        postgresql_where=sa.text("follow_up IS NULL"),
    )
    op.create_table(
        "care_time",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("follow_up", sa.String(24)),
        sa.Column("entered_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("care_time_by_time", "care_time", ["at_us"])
    op.create_table(
        "contacts",
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("address", sa.String(200), nullable=False),
        sa.Column("folded", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("owner", "position"),
    )
    op.create_index("ix_contacts_folded", "contacts", ["folded"])
    op.create_table(
        "education_given",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("follow_up", sa.String(24), nullable=False),
        sa.Column("material", sa.String(64), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_education_given_patient", "education_given", ["patient"])
    op.create_table(
        "escalations",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("run_us", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("step", sa.JSON()),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.Column("done_us", sa.BigInteger()),
        sa.Column("result", sa.String(16)),
        sa.Column("who", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "escalations_due",
        "escalations",
        ["due_us"],
        sqlite_where=sa.text("done_us IS NULL"),
        postgresql_where=sa.text("done_us IS NULL"),
    )
    op.create_index("escalations_of", "escalations", ["subject", "run_us"])
    op.create_table(
        "follow_up_facts",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("follow_up", sa.String(24), nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(200)),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("assigned_to", sa.String(200)),
        sa.Column("due_at_us", sa.BigInteger(), nullable=False),
        sa.Column("rule_en", sa.Text(), nullable=False),
        sa.Column("rule_zh", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("opening", sa.JSON()),
        sa.Column("outcome", sa.String(32)),
        sa.Column("symptoms", sa.JSON()),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_follow_up_facts_follow_up", "follow_up_facts", ["follow_up"])
    op.create_table(
        "follow_ups",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("why", sa.String(16), nullable=False),
        sa.Column("because_en", sa.Text(), nullable=False),
        sa.Column("because_zh", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(64)),
        sa.Column("alert", sa.String(24)),
        sa.Column("programme", sa.String(200)),
        sa.Column("opened_at_us", sa.BigInteger(), nullable=False),
        sa.Column("opened_by", sa.String(200)),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("assigned_to", sa.String(200)),
        sa.Column("due_at_us", sa.BigInteger(), nullable=False),
        sa.Column("rule_en", sa.Text(), nullable=False),
        sa.Column("rule_zh", sa.Text(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("unanswered", sa.Integer(), nullable=False),
        sa.Column("reached_at_us", sa.BigInteger()),
        sa.Column("declined_at_us", sa.BigInteger()),
        sa.Column("symptoms", sa.JSON()),
        sa.Column("closed_at_us", sa.BigInteger()),
        sa.Column("closed_by", sa.String(200)),
        sa.Column("outcome", sa.String(32)),
        sa.Column("closing_note", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("follow_ups_by_patient", "follow_ups", ["patient", "opened_at_us"])
    op.create_index("follow_ups_by_time", "follow_ups", ["opened_at_us"])
    op.create_index(
        "follow_ups_due",
        "follow_ups",
        ["due_at_us", "id"],
        sqlite_where=sa.text("closed_at_us IS NULL"),
        postgresql_where=sa.text("closed_at_us IS NULL"),
    )
    op.create_index(
        "follow_ups_due_by_person",
        "follow_ups",
        ["assigned_to", "due_at_us", "id"],
        sqlite_where=sa.text("closed_at_us IS NULL"),
        postgresql_where=sa.text("closed_at_us IS NULL"),
    )
    op.create_index(
        "follow_ups_due_by_role",
        "follow_ups",
        ["role", "due_at_us", "id"],
        sqlite_where=sa.text("closed_at_us IS NULL"),
        postgresql_where=sa.text("closed_at_us IS NULL"),
    )
    op.create_index("ix_follow_ups_alert", "follow_ups", ["alert"])
    op.create_table(
        "personal_deliveries",
        sa.Column("notice", sa.String(24), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(80), nullable=False),
        sa.Column("timer", sa.String(24)),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("address", sa.String(200), nullable=False),
        sa.Column("language", sa.String(8), nullable=False),
        sa.Column("written_us", sa.BigInteger(), nullable=False),
        sa.Column("released_us", sa.BigInteger()),
        sa.Column("next_us", sa.BigInteger()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_us", sa.BigInteger()),
        sa.Column("delivered_us", sa.BigInteger()),
        sa.Column("withdrawn_us", sa.BigInteger()),
        sa.Column("claimed_by", sa.String(16)),
        sa.Column("claimed_until_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("notice", "position"),
    )
    op.create_index("ix_personal_deliveries_timer", "personal_deliveries", ["timer"])
    op.create_index("personal_deliveries_due", "personal_deliveries", ["channel", "due_us"])
    op.create_index("personal_deliveries_next", "personal_deliveries", ["next_us"])
    op.create_index("personal_deliveries_to", "personal_deliveries", ["recipient", "written_us"])
    op.create_table(
        "practitioners",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("language", sa.String(8), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "put_off_notices",
        sa.Column("notice", sa.String(24), nullable=False),
        sa.Column("recipient", sa.String(80), nullable=False),
        sa.Column("timer", sa.String(24)),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("joined", sa.String(24)),
        sa.PrimaryKeyConstraint("notice"),
    )
    op.create_index("ix_put_off_notices_recipient", "put_off_notices", ["recipient"])
    op.create_table(
        "quiet_hours",
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("start", sa.String(5), nullable=False),
        sa.Column("end", sa.String(5), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )
    op.create_table(
        "replies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.String(200), nullable=False),
        sa.Column("person", sa.String(80)),
        sa.Column("alert", sa.String(24)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("result", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_replies_alert", "replies", ["alert"])
    op.create_index("ix_replies_person", "replies", ["person"])
    op.create_table(
        "signed_link_uses",
        sa.Column("link", sa.String(64), nullable=False),
        sa.Column("used_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("link"),
    )
    op.create_table(
        "signing_secrets",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "surveys",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("follow_up", sa.String(24), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("made_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
        sa.Column("sent_at_us", sa.BigInteger()),
        sa.Column("answered_at_us", sa.BigInteger()),
        sa.Column("helpful", sa.Boolean()),
        sa.Column("solved", sa.Boolean()),
        sa.Column("score", sa.Integer()),
        sa.Column("text", sa.Text()),
        sa.Column("call_again", sa.Boolean()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("follow_up"),
    )
    op.create_index("ix_surveys_made_at_us", "surveys", ["made_at_us"])
    op.create_index("surveys_by_patient", "surveys", ["patient", "made_at_us"])
    op.create_index(
        "surveys_unsent",
        "surveys",
        ["made_at_us"],
        sqlite_where=sa.text("sent_at_us IS NULL"),
        postgresql_where=sa.text("sent_at_us IS NULL"),
    )
    op.create_table(
        "absences",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("practitioner", sa.String(64), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("substitute", sa.String(64)),
        sa.ForeignKeyConstraint(
            ["practitioner"],
            ["practitioners.id"],
        ),
        sa.ForeignKeyConstraint(
            ["substitute"],
            ["practitioners.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_absences_practitioner", "absences", ["practitioner"])
    op.create_table(
        "shifts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("practitioner", sa.String(64), nullable=False),
        sa.Column("weekdays", sa.JSON(), nullable=False),
        sa.Column("start", sa.String(5), nullable=False),
        sa.Column("end", sa.String(5), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("first", sa.Date(), nullable=False),
        sa.Column("last", sa.Date()),
        sa.ForeignKeyConstraint(
            ["practitioner"],
            ["practitioners.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_shifts_practitioner", "shifts", ["practitioner"])
    op.add_column("delivery_tries", sa.Column("address", sa.String(200)))
    op.add_column("notices", sa.Column("recipient", sa.String(80)))

"""Deadlines: when a job has failed if it has not ended by then."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BEGUN_WAS_CLAIMED = "ck_jobs_begun_was_claimed"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("deadline_at", sa.DateTime(timezone=True)))
    op.drop_constraint(op.f(BEGUN_WAS_CLAIMED), "jobs", type_="check")
    op.create_check_constraint(
        op.f(BEGUN_WAS_CLAIMED),
        "jobs",
        "state IN ('queued', 'cancelled') OR attempt >= 1"
        " OR (state = 'failed' AND deadline_at IS NOT NULL AND deadline_at <= finished_at)",
    )
    op.create_check_constraint(op.f("ck_jobs_deadline_at"), "jobs", "deadline_at > created_at")
    op.create_index(
        "ix_jobs_queued_deadline_at", "jobs", ["deadline_at"], postgresql_where=sa.text("state = 'queued'")
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_queued_deadline_at", "jobs")
    op.drop_constraint(op.f("ck_jobs_deadline_at"), "jobs", type_="check")
    # A job whose deadline passed before anybody claimed it does not fit into the older schema, and never changes.
    op.drop_constraint(op.f(BEGUN_WAS_CLAIMED), "jobs", type_="check")
    op.execute(
        f"ALTER TABLE jobs ADD CONSTRAINT {BEGUN_WAS_CLAIMED}"
        " CHECK (state IN ('queued', 'cancelled') OR attempt >= 1) NOT VALID"
    )
    op.drop_column("jobs", "deadline_at")

"""Shares of a running job's search that any worker may score."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_shares",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("share", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("work", JSONB(), nullable=False),
        sa.Column("worker", sa.Text()),
        sa.Column("losses", sa.LargeBinary()),
        sa.Column("open", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "round", "share", name="pk_job_shares"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_shares_job_id"),
        *(
            sa.CheckConstraint(sql, name=op.f(f"ck_job_shares_{name}"))
            for name, sql in {
                "numbers": "round >= 0 AND share >= 0",
                "work": "jsonb_typeof(work) = 'object'",
                "losses": "losses IS NULL OR (worker IS NOT NULL AND NOT open)",
            }.items()
        ),
    )


def downgrade() -> None:
    op.drop_table("job_shares")

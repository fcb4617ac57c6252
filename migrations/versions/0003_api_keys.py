"""API keys, and an index to count what each has queued."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "api_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("max_queued_jobs", sa.Integer(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=False),
        sa.Column("created_at", moment, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("last_used_at", moment),
        sa.Column("revoked_at", moment),
        sa.PrimaryKeyConstraint("name", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        *(
            sa.CheckConstraint(sql, name=op.f(f"ck_api_keys_{name}"))
            for name, sql in {
                "name": "name ~ '^[a-z0-9][a-z0-9._-]{0,62}$' AND name <> 'anonymous'",
                "digest": "digest ~ '^[0-9a-f]{64}$'",
                "scopes": "cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'submit', 'admin']",
                "quotas": "max_queued_jobs > 0 AND requests_per_minute > 0",
            }.items()
        ),
    )
    op.create_index(
        "ix_jobs_queued_by", "jobs", ["submitted_by"], postgresql_where=sa.text("state = 'queued'")
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_queued_by", "jobs")
    op.drop_table("api_keys")

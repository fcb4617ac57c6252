"""Jobs and their events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    now = sa.func.clock_timestamp()
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16)),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("eta_seconds", sa.Integer()),
        sa.Column("request", JSONB(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("ratio", sa.Double(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("submitted_by", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("lease_expires_at", moment),
        sa.Column("worker", sa.Text()),
        sa.Column("cancel_requested_at", moment),
        sa.Column("available_at", moment, server_default=now, nullable=False),
        sa.Column("woken_at", moment),
        sa.Column("created_at", moment, server_default=now, nullable=False),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("dtype", sa.Text()),
        sa.Column("perplexity_before", sa.Double()),
        sa.Column("perplexity_after", sa.Double()),
        sa.Column("parameters_before", sa.BigInteger()),
        sa.Column("parameters_after", sa.BigInteger()),
        sa.Column("cut", JSONB()),
        sa.Column("artifact", JSONB()),
        sa.Column("error", JSONB()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        *_checks(
            "jobs",
            state="state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
            stage="stage IN ('loading', 'calibrating', 'pruning', 'evaluating', 'publishing')",
            lease_iff_running="num_nonnulls(lease_token, lease_expires_at, worker, stage)"
            " = CASE WHEN state = 'running' THEN 4 ELSE 0 END",
            eta_only_while_running="eta_seconds IS NULL OR (state = 'running' AND eta_seconds >= 0)",
            queued_is_claimable="state <> 'queued'"
            " OR (attempt < max_attempts AND progress = 0 AND cancel_requested_at IS NULL)",
            begun_was_claimed="state IN ('queued', 'cancelled') OR attempt >= 1",
            claimed_has_started="attempt = 0 OR started_at IS NOT NULL",
            finished_iff_terminal="(finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))",
            succeeded_is_complete="state <> 'succeeded' OR (progress = 1 AND num_nulls(artifact, cut, dtype,"
            " perplexity_before, perplexity_after, parameters_before, parameters_after) = 0)",
            result_only_if_succeeded="state = 'succeeded'"
            " OR num_nonnulls(artifact, cut, perplexity_after, parameters_after) = 0",
            error_iff_failed="(error IS NOT NULL) = (state = 'failed')",
            cancel_was_requested="state <> 'cancelled' OR cancel_requested_at IS NOT NULL",
            progress="progress BETWEEN 0 AND 1",
            attempt="max_attempts >= 1 AND attempt BETWEEN 0 AND max_attempts",
            method="method IN ('osscar', 'depth')",
            ratio="ratio > 0 AND ratio < 1",
            perplexity_before="perplexity_before > 0 AND perplexity_before < 'Infinity'",
            perplexity_after="perplexity_after > 0 AND perplexity_after < 'Infinity'",
            parameters_before="parameters_before > 0",
            parameters_after="parameters_after > 0 AND parameters_after <= parameters_before",
            request="jsonb_typeof(request) = 'object'",
            cut="jsonb_typeof(cut) = 'object'",
            artifact="jsonb_typeof(artifact) = 'object'",
            error="jsonb_typeof(error) = 'object'",
            request_digest="request_digest ~ '^[0-9a-f]{64}$'",
            model="octet_length(model) BETWEEN 1 AND 1024",
            idempotency_key="octet_length(idempotency_key) BETWEEN 1 AND 255",
            submitted_by="octet_length(submitted_by) BETWEEN 1 AND 255",
        ),
    )
    op.create_index(
        "uq_jobs_idempotency_key",
        "jobs",
        ["submitted_by", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_queue", "jobs", ["created_at", "id"], postgresql_where=sa.text("state = 'queued'")
    )
    op.create_index(
        "ix_jobs_lease_expires_at",
        "jobs",
        ["lease_expires_at"],
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("ix_jobs_page", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_page_of_state", "jobs", ["state", "created_at", "id"])
    op.create_index("ix_jobs_page_of_model", "jobs", ["model", "created_at", "id"])
    op.create_index("ix_jobs_page_of_method", "jobs", ["method", "created_at", "id"])

    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", moment, server_default=now, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_events"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id"),
        *_checks(
            "job_events", attempt="attempt >= 0", kind="kind <> ''", data="jsonb_typeof(data) = 'object'"
        ),
    )
    op.create_index("ix_job_events_job_id", "job_events", ["job_id", "id"])

    op.execute("""\
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        MESSAGE = TG_OP || ' refused, rows of ' || TG_TABLE_NAME || ' that tell the past never change',
        ERRCODE = 'restrict_violation';
END
$$""")
    op.execute("""\
CREATE TRIGGER finished_jobs_never_change BEFORE UPDATE OR DELETE ON jobs FOR EACH ROW
WHEN (OLD.state IN ('succeeded', 'failed', 'cancelled')) EXECUTE FUNCTION refuse_change()""")
    op.execute("""\
CREATE TRIGGER events_never_change BEFORE UPDATE OR DELETE ON job_events FOR EACH ROW
EXECUTE FUNCTION refuse_change()""")


def downgrade() -> None:
    op.drop_table("job_events")
    op.drop_table("jobs")
    op.execute("DROP FUNCTION refuse_change()")


def _checks(table: str, **conditions: str) -> list[sa.CheckConstraint]:
    return [sa.CheckConstraint(sql, name=op.f(f"ck_{table}_{name}")) for name, sql in conditions.items()]

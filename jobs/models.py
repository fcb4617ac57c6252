"""The job record, its events, the shares of its search and the keys of those who submit, as Postgres holds them.

What a job may look like in each state is a CHECK here, so that a bug in the store is an error and never a
row that lies. `migrations/` repeats this schema as history; a test holds the two equal.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    event,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobs.api_keys import KEY_NAME, NO_KEY, Scope
from jobs.states import Stage, State

# An index entry has to fit a third of an 8 KiB page, and these texts are indexed.
MAX_MODEL_BYTES = 1024
MAX_KEY_BYTES = 255


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's declarative attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        float: Double(),
        list[str]: ARRAY(Text()),
        str: Text(),
        bytes: LargeBinary(),
    }


def _words(enum: type[StrEnum]) -> Enum:
    """Text and a CHECK: Alembic leaves native enum types behind on downgrade."""
    return Enum(
        enum,
        name=enum.__name__.lower(),
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


class Job(Base):
    """One request to prune, from its submission to its result."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    state: Mapped[State] = mapped_column(_words(State))
    stage: Mapped[Stage | None] = mapped_column(_words(Stage))
    progress: Mapped[float]
    eta_seconds: Mapped[int | None]

    request: Mapped[dict[str, Any]]
    request_digest: Mapped[str]
    model: Mapped[str]
    method: Mapped[str]
    ratio: Mapped[float]
    dataset: Mapped[str]
    idempotency_key: Mapped[str | None]
    submitted_by: Mapped[str]

    # How many claims were not handed back: what `max_attempts` limits.
    attempt: Mapped[int]
    max_attempts: Mapped[int]
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None]
    cancel_requested_at: Mapped[datetime | None]
    available_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    woken_at: Mapped[datetime | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    deadline_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    dtype: Mapped[str | None]
    perplexity_before: Mapped[float | None]
    perplexity_after: Mapped[float | None]
    parameters_before: Mapped[int | None] = mapped_column(BigInteger)
    parameters_after: Mapped[int | None] = mapped_column(BigInteger)
    cut: Mapped[dict[str, Any] | None]
    artifact: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint(
            "num_nonnulls(lease_token, lease_expires_at, worker, stage)"
            " = CASE WHEN state = 'running' THEN 4 ELSE 0 END",
            name="lease_iff_running",
        ),
        CheckConstraint(
            "eta_seconds IS NULL OR (state = 'running' AND eta_seconds >= 0)", name="eta_only_while_running"
        ),
        CheckConstraint(
            "state <> 'queued' OR (attempt < max_attempts AND progress = 0 AND cancel_requested_at IS NULL)",
            name="queued_is_claimable",
        ),
        CheckConstraint(
            "state IN ('queued', 'cancelled') OR attempt >= 1"
            " OR (state = 'failed' AND deadline_at IS NOT NULL AND deadline_at <= finished_at)",
            name="begun_was_claimed",
        ),
        CheckConstraint("deadline_at > created_at", name="deadline_at"),
        CheckConstraint("attempt = 0 OR started_at IS NOT NULL", name="claimed_has_started"),
        CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))",
            name="finished_iff_terminal",
        ),
        CheckConstraint(
            "state <> 'succeeded' OR (progress = 1 AND num_nulls(artifact, cut, dtype, perplexity_before,"
            " perplexity_after, parameters_before, parameters_after) = 0)",
            name="succeeded_is_complete",
        ),
        CheckConstraint(
            "state = 'succeeded' OR num_nonnulls(artifact, cut, perplexity_after, parameters_after) = 0",
            name="result_only_if_succeeded",
        ),
        CheckConstraint("(error IS NOT NULL) = (state = 'failed')", name="error_iff_failed"),
        CheckConstraint(
            "state <> 'cancelled' OR cancel_requested_at IS NOT NULL", name="cancel_was_requested"
        ),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
        CheckConstraint("max_attempts >= 1 AND attempt BETWEEN 0 AND max_attempts", name="attempt"),
        CheckConstraint("method IN ('osscar', 'depth')", name="method"),
        CheckConstraint("ratio > 0 AND ratio < 1", name="ratio"),
        # Postgres sorts NaN above Infinity, so the upper bound refuses both.
        CheckConstraint("perplexity_before > 0 AND perplexity_before < 'Infinity'", name="perplexity_before"),
        CheckConstraint("perplexity_after > 0 AND perplexity_after < 'Infinity'", name="perplexity_after"),
        CheckConstraint("parameters_before > 0", name="parameters_before"),
        CheckConstraint(
            "parameters_after > 0 AND parameters_after <= parameters_before", name="parameters_after"
        ),
        CheckConstraint("jsonb_typeof(request) = 'object'", name="request"),
        CheckConstraint("jsonb_typeof(cut) = 'object'", name="cut"),
        CheckConstraint("jsonb_typeof(artifact) = 'object'", name="artifact"),
        CheckConstraint("jsonb_typeof(error) = 'object'", name="error"),
        CheckConstraint("request_digest ~ '^[0-9a-f]{64}$'", name="request_digest"),
        CheckConstraint(f"octet_length(model) BETWEEN 1 AND {MAX_MODEL_BYTES}", name="model"),
        CheckConstraint(
            f"octet_length(idempotency_key) BETWEEN 1 AND {MAX_KEY_BYTES}", name="idempotency_key"
        ),
        CheckConstraint(f"octet_length(submitted_by) BETWEEN 1 AND {MAX_KEY_BYTES}", name="submitted_by"),
        Index(
            "uq_jobs_idempotency_key",
            "submitted_by",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("ix_jobs_queue", "created_at", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_queued_by", "submitted_by", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_queued_deadline_at", "deadline_at", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_lease_expires_at", "lease_expires_at", postgresql_where=text("state = 'running'")),
        # Pages run from the newest job to the oldest: Postgres reads these backwards. There is one for each combination
        # of filters: by any other, a page of a rare combination reads all jobs that only half of it fits.
        Index("ix_jobs_page", "created_at", "id"),
        Index("ix_jobs_page_of_state", "state", "created_at", "id"),
        Index("ix_jobs_page_of_model", "model", "created_at", "id"),
        Index("ix_jobs_page_of_method", "method", "created_at", "id"),
        Index("ix_jobs_page_of_state_model", "state", "model", "created_at", "id"),
        Index("ix_jobs_page_of_state_method", "state", "method", "created_at", "id"),
        Index("ix_jobs_page_of_model_method", "model", "method", "created_at", "id"),
        Index("ix_jobs_page_of_state_model_method", "state", "model", "method", "created_at", "id"),
    )


class JobEvent(Base):
    """Something that happened to a job. Rows are only ever added."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]

    __table_args__ = (
        CheckConstraint("attempt >= 0", name="attempt"),
        CheckConstraint("kind <> ''", name="kind"),
        CheckConstraint("jsonb_typeof(data) = 'object'", name="data"),
        Index("ix_job_events_job_id", "job_id", "id"),
    )


class EventTally(Base):
    """How many events of a kind there were: a scrape of the metrics cannot count them all. A trigger writes it."""

    __tablename__ = "event_tallies"

    kind: Mapped[str] = mapped_column(primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    events: Mapped[int] = mapped_column(BigInteger)


class JobShare(Base):
    """A share of the search that a running job does, for any worker to score.

    It belongs to the job's present lease: who lets the job go, or ends the round, deletes it.
    """

    __tablename__ = "job_shares"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    share: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    work: Mapped[dict[str, Any]]
    worker: Mapped[str | None]
    losses: Mapped[bytes | None]
    # Whether losses may still come.
    open: Mapped[bool] = mapped_column(server_default=true())

    __table_args__ = (
        CheckConstraint("round >= 0 AND share >= 0", name="numbers"),
        CheckConstraint("jsonb_typeof(work) = 'object'", name="work"),
        CheckConstraint("losses IS NULL OR (worker IS NOT NULL AND NOT open)", name="losses"),
    )


class ApiKey(Base):
    """Who may do what. Never deleted: jobs name the key that submitted them."""

    __tablename__ = "api_keys"

    name: Mapped[str] = mapped_column(primary_key=True)
    prefix: Mapped[str]
    digest: Mapped[str]
    scopes: Mapped[list[str]]
    max_queued_jobs: Mapped[int]
    requests_per_minute: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(f"name ~ '{KEY_NAME}' AND name <> '{NO_KEY}'", name="name"),
        CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest"),
        CheckConstraint(
            "cardinality(scopes) > 0 AND scopes <@ ARRAY[" + ", ".join(f"'{scope}'" for scope in Scope) + "]",
            name="scopes",
        ),
        CheckConstraint("max_queued_jobs > 0 AND requests_per_minute > 0", name="quotas"),
        UniqueConstraint("digest"),
    )


_TRIGGERS = (
    """\
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        MESSAGE = TG_OP || ' refused, rows of ' || TG_TABLE_NAME || ' that tell the past never change',
        ERRCODE = 'restrict_violation';
END
$$""",
    """\
CREATE TRIGGER finished_jobs_never_change BEFORE UPDATE OR DELETE ON jobs FOR EACH ROW
WHEN (OLD.state IN ('succeeded', 'failed', 'cancelled')) EXECUTE FUNCTION refuse_change()""",
    """\
CREATE TRIGGER events_never_change BEFORE UPDATE OR DELETE ON job_events FOR EACH ROW
EXECUTE FUNCTION refuse_change()""",
    # At the end of short transactions, so that two of one kind hardly wait for each other.
    """\
CREATE FUNCTION tally_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_tallies (kind, method, events) SELECT NEW.kind, method, 1 FROM jobs WHERE id = NEW.job_id
    ON CONFLICT (kind, method) DO UPDATE SET events = event_tallies.events + 1;
    RETURN NULL;
END
$$""",
    """\
CREATE TRIGGER events_are_tallied AFTER INSERT ON job_events FOR EACH ROW
WHEN (NEW.kind IN ('claimed', 'handed_back', 'lease_expired', 'succeeded', 'failed', 'cancelled'))
EXECUTE FUNCTION tally_event()""",
)


@event.listens_for(Base.metadata, "after_create")
def _create_triggers(_metadata: MetaData, connection: Connection, **_options: Any) -> None:
    for statement in _TRIGGERS:
        connection.execute(text(statement))

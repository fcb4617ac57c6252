"""A count of the events that the metrics tell of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event_tallies",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "method", name="pk_event_tallies"),
    )
    op.execute("""\
CREATE FUNCTION tally_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_tallies (kind, method, events) SELECT NEW.kind, method, 1 FROM jobs WHERE id = NEW.job_id
    ON CONFLICT (kind, method) DO UPDATE SET events = event_tallies.events + 1;
    RETURN NULL;
END
$$""")
    # From here until the commit no event is added, so none is counted twice or missed.
    op.execute("""\
CREATE TRIGGER events_are_tallied AFTER INSERT ON job_events FOR EACH ROW
WHEN (NEW.kind IN ('claimed', 'handed_back', 'lease_expired', 'succeeded', 'failed', 'cancelled'))
EXECUTE FUNCTION tally_event()""")
    op.execute("""\
INSERT INTO event_tallies (kind, method, events)
SELECT kind, method, count(*) FROM job_events JOIN jobs ON jobs.id = job_id
WHERE kind IN ('claimed', 'handed_back', 'lease_expired', 'succeeded', 'failed', 'cancelled')
GROUP BY kind, method""")


def downgrade() -> None:
    op.execute("DROP TRIGGER events_are_tallied ON job_events")
    op.execute("DROP FUNCTION tally_event()")
    op.drop_table("event_tallies")

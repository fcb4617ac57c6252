"""An index for each combination of filters that pages of jobs can have."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COMBINATIONS = (("state", "model"), ("state", "method"), ("model", "method"), ("state", "model", "method"))


def upgrade() -> None:
    for filters in COMBINATIONS:
        op.create_index(f"ix_jobs_page_of_{'_'.join(filters)}", "jobs", [*filters, "created_at", "id"])


def downgrade() -> None:
    for filters in COMBINATIONS:
        op.drop_index(f"ix_jobs_page_of_{'_'.join(filters)}", "jobs")

"""Jobs, their specs, their results, and blobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _create_jobs()
    op.create_table(
        "specs",
        sa.Column("job_sequence", _SERIAL, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "chunks",
        sa.Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("entry", sa.BigInteger, nullable=False),
        sa.Column("first_row", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("job_id", "entry", "first_row", name="chunks_rows"),
        sqlite_autoincrement=True,
    )
    op.create_index("chunks_in_order", "chunks", ["job_id", "sequence"])
    op.create_table(
        "blobs",
        sa.Column("tenant", sa.String(63), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("blobs_by_expiry", "blobs", ["expires_at"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("spec_digest", sa.String(64), nullable=False),
        sa.Column("qpu", sa.String(50), nullable=False),
        sa.Column("placement", sa.Text, nullable=False),
        sa.Column("seed", sa.String(20), nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("circuits", sa.BigInteger, nullable=False),
        sa.Column("circuits_finished", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("submitted_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("finished_at", sa.Float(53)),
        sa.Column("expires_at", sa.Float(53)),
        sa.Column("result_ttl_seconds", sa.Float(53), nullable=False),
        sa.Column("qpu_seconds", sa.Float(53), nullable=False),
        sa.UniqueConstraint("tenant", "idempotency_key", name="jobs_idempotency"),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_state", "jobs", ["state", "tenant"])
    op.create_index("jobs_by_tenant", "jobs", ["tenant", "sequence"])
    expiring = sa.text("expires_at IS NOT NULL")
    op.create_index(
        "jobs_by_expiry",
        "jobs",
        ["expires_at"],
        sqlite_where=expiring,
        postgresql_where=expiring,
    )


def downgrade() -> None:
    for table in ("blobs", "chunks", "specs", "jobs"):
        op.drop_table(table)

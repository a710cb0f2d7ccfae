"""Where slots live, who holds them, and whose jobs end with their pod."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "slots",
        sa.Column("qpu", sa.String(50), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("node", sa.String(253), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.Column("pod", sa.String(253), nullable=False),
        sa.Column("container", sa.String(63), nullable=False),
        sa.Column("pod_uid", sa.String(64), nullable=False),
        sa.Column("pinned_at", sa.Float(53), nullable=False),
    )
    for column in (
        sa.Column("pod", sa.String(253), nullable=False, server_default=""),
        sa.Column("pod_uid", sa.String(64), nullable=False, server_default=""),
        sa.Column("follows_pod", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("jobs", column)


def downgrade() -> None:
    for column in ("follows_pod", "pod_uid", "pod"):
        op.drop_column("jobs", column)
    op.drop_table("slots")

"""Who serves the gateway from a server, and how far it came."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "writers",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("transactions", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("writers")

"""What is set aside, and which restore points were pruned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("seq", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("lifted_at", sa.String(length=32), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("id", name=op.f("uq_quarantine_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_quarantine_lifted_at"), "quarantine", ["lifted_at"], unique=False)
    op.add_column("restore_points", sa.Column("pruned_at", sa.String(length=32), nullable=True))
    op.add_column("restore_points", sa.Column("cleared_at", sa.String(length=32), nullable=True))

"""Rehearsals: what they showed, by the digest of what they depend on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "rehearsals",
        sa.Column("seq", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("resource", sa.String(length=200), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_rehearsals")),
        sa.UniqueConstraint("key", name=op.f("uq_rehearsals_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_rehearsals_resource_seq"), "rehearsals", ["resource", "seq"], unique=False)

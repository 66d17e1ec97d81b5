"""The first tables.

Written out in full, not made from ``tables.py``: a migration that was run must never change.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Append-only is kept by the database itself, so that no later bug of ours can rewrite history.
_REFUSALS = (
    ("journal", "UPDATE", ""),
    ("journal", "DELETE", ""),
    ("audit", "UPDATE", ""),
    ("audit", "DELETE", ""),
    ("audit_head", "DELETE", ""),
    ("audit_head", "UPDATE", "WHEN NEW.id <> OLD.id OR NEW.sequence <> OLD.sequence + 1"),
)


def upgrade() -> None:
    _releases()
    _rollouts()
    _ways_back()
    _locks_and_wishes()
    _incidents()
    _audit()
    if op.get_bind().dialect.name != "sqlite":
        return
    for table, act, when in _REFUSALS:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_{act.lower()} BEFORE {act} ON {table} {when} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def downgrade() -> None:
    raise NotImplementedError("the first revision has nothing before it")


def _seq() -> Any:
    return sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def _releases() -> None:
    op.create_table(
        "releases",
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("commit_id", sa.String(length=200), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_releases")),
    )
    op.create_table(
        "current_releases",
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["release"],
            ["releases.digest"],
            name=op.f("fk_current_releases_release"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("unit", name=op.f("pk_current_releases")),
    )
    op.create_table(
        "plans",
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("shown_at", sa.String(length=32), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_plans")),
    )


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("finished_at", sa.String(length=32), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=True),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_rollouts")),
        sa.UniqueConstraint("id", name=op.f("uq_rollouts_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_rollouts_state"), "rollouts", ["state"], unique=False)
    op.create_index(op.f("ix_rollouts_unit_seq"), "rollouts", ["unit", "seq"], unique=False)
    op.create_table(
        "journal",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("rollout", sa.String(length=200), nullable=False),
        sa.Column("step", sa.String(length=200), nullable=False),
        sa.Column("mark", sa.String(length=20), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_journal")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_journal_rollout_seq"), "journal", ["rollout", "seq"], unique=False)
    op.create_index(op.f("ix_journal_unit_kind_seq"), "journal", ["unit", "kind", "seq"], unique=False)


def _ways_back() -> None:
    op.create_table(
        "restore_points",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release"],
            ["releases.digest"],
            name=op.f("fk_restore_points_release"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_restore_points")),
        sa.UniqueConstraint("id", name=op.f("uq_restore_points_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_restore_points_unit_seq"), "restore_points", ["unit", "seq"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("resource", sa.String(length=200), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_snapshots")),
        sa.UniqueConstraint("id", name=op.f("uq_snapshots_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_snapshots_resource_seq"), "snapshots", ["resource", "seq"], unique=False)


def _locks_and_wishes() -> None:
    op.create_table(
        "locks",
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("rollout", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_locks")),
    )
    op.create_index(op.f("ix_locks_rollout"), "locks", ["rollout"], unique=False)
    op.create_table(
        "stop_requests",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("rollout", sa.String(length=200), nullable=False),
        sa.Column("wish", sa.String(length=40), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_stop_requests")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_stop_requests_rollout"), "stop_requests", ["rollout"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("rollout", sa.String(length=200), nullable=False),
        sa.Column("started", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
        sa.UniqueConstraint("rollout", name=op.f("uq_outbox_rollout")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_outbox_started"), "outbox", ["started"], unique=False)


def _incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_incidents")),
        sa.UniqueConstraint("id", name=op.f("uq_incidents_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_incidents_unit_seq"), "incidents", ["unit", "seq"], unique=False)
    op.create_table(
        "freezes",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("scope", sa.String(length=200), nullable=False),
        sa.Column("lifted_at", sa.String(length=32), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_freezes")),
        sa.UniqueConstraint("id", name=op.f("uq_freezes_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_freezes_scope_lifted_at"), "freezes", ["scope", "lifted_at"], unique=False)
    op.create_table(
        "samples",
        sa.Column("seq", _seq(), nullable=False),
        sa.Column("rollout", sa.String(length=200), nullable=False),
        sa.Column("criterion", sa.String(length=200), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("since", sa.String(length=32), nullable=False),
        sa.Column("good", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_samples")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_samples_rollout_at"), "samples", ["rollout", "at"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("rollout", sa.String(length=200), nullable=False),
        sa.Column("step", sa.String(length=200), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "step", name=op.f("pk_cursors")),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("verb", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("phase", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=80), nullable=False),
        sa.Column("hash", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_subject_sequence"), "audit", ["subject", "sequence"], unique=False)
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=80), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )

"""Which unit was given which version of a secret, and what was revoked.

What units were given until now is read from the deploys that were accepted and from the baselines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def _seq() -> sa.Column[Any]:
    return sa.Column("seq", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False)


def upgrade() -> None:
    sealings = op.create_table(
        "sealings",
        _seq(),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("unit", sa.String(length=200), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("renewed", sa.Boolean(create_constraint=False), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_sealings")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sealings_unit_name_seq"), "sealings", ["unit", "name", "seq"], unique=False)
    op.create_table(
        "revocations",
        _seq(),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_revocations")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_revocations_name_version")),
        sqlite_autoincrement=True,
    )
    newest: dict[tuple[str, str], str] = {}
    for unit, name, version, at, by in _given(op.get_bind()):
        if newest.get((unit, name)) != version:
            newest[unit, name] = version
            values = {"name": name, "version": version, "unit": unit, "at": at, "by": by, "renewed": False}
            op.execute(sealings.insert().values(values))


def _given(connection: sa.Connection) -> Iterator[tuple[str, str, str, str, str]]:
    """(unit, name, version, when, by whom), oldest first; baselines come before everything."""
    points = sa.text("SELECT unit, release, document FROM restore_points ORDER BY seq")
    for unit, release, document in connection.execute(points).all():
        point = json.loads(document)
        if point["kind"] == "baseline":
            for name, version in _secrets(connection, release):
                yield unit, name, version, _moment(point["created_at"]), "lastgood"
    rollouts = sa.text("SELECT unit, document FROM rollouts ORDER BY seq")
    for unit, document in connection.execute(rollouts).all():
        rollout = json.loads(document)
        if rollout["kind"] == "deploy":
            for name, version in _secrets(connection, rollout["target"]):
                by = rollout["change"]["requested_by"]
                yield unit, name, version, _moment(rollout["created_at"]), by


def _secrets(connection: sa.Connection, release: str) -> list[tuple[str, str]]:
    query = sa.text("SELECT document FROM releases WHERE digest = :digest")
    found = connection.scalar(query, {"digest": release})
    return [(s["name"], s["version"]) for s in json.loads(found)["secrets"]] if found else []


def _moment(at: str) -> str:
    """As the column keeps it: with microseconds, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromisoformat(at).astimezone(UTC).isoformat(timespec="microseconds")

"""The tables, in types that SQLite and PostgreSQL share.

``seq`` is the order in which rows were written. It decides what is newest: a wall clock may be set
back, and the newest restore point must still be the last one kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from lastgood.store import codec

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """A time as fixed-width ISO 8601 in UTC, so that text order is time order."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone can't be kept")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Document(TypeDecorator[Any]):
    """A domain object or plain data as JSON text; read back as plain data."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else codec.text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else codec.parse(value)


class Words(TypeDecorator[str]):
    """Text from outside, which may hold bytes that were never UTF-8; those become question marks."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else well_formed(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(value)


def well_formed(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _seq() -> Column[int]:
    return Column("seq", Integer().with_variant(BigInteger(), "postgresql"), primary_key=True)


def _unit(**options: Any) -> Column[str]:
    return Column("unit", String(200), nullable=False, **options)


def _release(name: str, **options: Any) -> Column[str]:
    return Column(
        name,
        String(80),
        # Deferred: within one transaction the order of writing is the caller's business.
        ForeignKey("releases.digest", deferrable=True, initially="DEFERRED"),
        nullable=False,
        **options,
    )


releases = Table(
    "releases",
    metadata,
    Column("digest", String(80), primary_key=True),
    _unit(),
    Column("commit_id", String(200), nullable=False),
    Column("document", Document, nullable=False),
)

current_releases = Table(
    "current_releases",
    metadata,
    _unit(primary_key=True),
    _release("release"),
    Column("at", Moment, nullable=False),
)

plans = Table(
    "plans",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("shown_at", Moment, nullable=False),
    Column("document", Document, nullable=False),
    Column("release", Document, nullable=False),
    Column("base", Document),
)

rollouts = Table(
    "rollouts",
    metadata,
    _seq(),
    Column("id", String(200), nullable=False, unique=True),
    _unit(),
    Column("state", String(40), nullable=False),
    Column("finished_at", Moment),
    Column("outcome", Document, nullable=False),
    Column("gate", Document),
    # step id -> kind, so that the journal need not load a plan to know what it records
    Column("kinds", Document, nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "unit", "seq"),
    Index(None, "state"),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    _seq(),
    Column("id", String(200), nullable=False, unique=True),
    Column("state", String(40), nullable=False),
    Column("finished_at", Moment),
    Column("outcome", Document, nullable=False),
    Column("undoes", String(200), nullable=False),
    Column("kinds", Document, nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "state"),
    Index(None, "undoes", "seq"),
    sqlite_autoincrement=True,
)

journal = Table(
    "journal",
    metadata,
    _seq(),
    Column("rollout", String(200), nullable=False),
    Column("step", String(200), nullable=False),
    Column("mark", String(20), nullable=False),
    Column("at", Moment, nullable=False),
    Column("data", Document, nullable=False),
    _unit(),
    Column("kind", String(40), nullable=False),
    Index(None, "rollout", "seq"),
    Index(None, "unit", "kind", "seq"),
    sqlite_autoincrement=True,
)

restore_points = Table(
    "restore_points",
    metadata,
    _seq(),
    Column("id", String(200), nullable=False, unique=True),
    _unit(),
    _release("release"),
    Column("document", Document, nullable=False),
    Column("pruned_at", Moment),
    Column("cleared_at", Moment),
    Index(None, "unit", "seq"),
    sqlite_autoincrement=True,
)

snapshots = Table(
    "snapshots",
    metadata,
    _seq(),
    Column("id", String(200), nullable=False, unique=True),
    Column("resource", String(200), nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "resource", "seq"),
    sqlite_autoincrement=True,
)

captures = Table(
    "captures",
    metadata,
    _seq(),
    Column("snapshot", String(200), nullable=False, unique=True),
    Column("resource", String(200), nullable=False),
    Column("ended_at", Moment),
    Column("document", Document, nullable=False),
    Index(None, "ended_at"),
    sqlite_autoincrement=True,
)

rehearsals = Table(
    "rehearsals",
    metadata,
    _seq(),
    Column("key", String(80), nullable=False, unique=True),
    Column("resource", String(200), nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "resource", "seq"),
    sqlite_autoincrement=True,
)

locks = Table(
    "locks",
    metadata,
    Column("name", String(300), primary_key=True),
    Column("rollout", String(200), nullable=False, index=True),
)

incidents = Table(
    "incidents",
    metadata,
    _seq(),
    Column("id", String(200), nullable=False, unique=True),
    _unit(),
    Column("document", Document, nullable=False),
    Index(None, "unit", "seq"),
    sqlite_autoincrement=True,
)

freezes = Table(
    "freezes",
    metadata,
    _seq(),
    Column("id", String(200), nullable=False, unique=True),
    Column("scope", String(200), nullable=False),
    Column("lifted_at", Moment),
    Column("document", Document, nullable=False),
    Index(None, "scope", "lifted_at"),
    sqlite_autoincrement=True,
)

quarantine = Table(
    "quarantine",
    metadata,
    _seq(),
    Column("id", String(200), nullable=False, unique=True),
    Column("lifted_at", Moment, index=True),
    Column("document", Document, nullable=False),
    sqlite_autoincrement=True,
)

sealings = Table(
    "sealings",
    metadata,
    _seq(),
    Column("name", String(200), nullable=False),
    Column("version", String(80), nullable=False),
    _unit(),
    Column("at", Moment, nullable=False),
    Column("by", Words, nullable=False),
    Column("renewed", Boolean(create_constraint=False), nullable=False),
    Index(None, "unit", "name", "seq"),
    sqlite_autoincrement=True,
)

revocations = Table(
    "revocations",
    metadata,
    _seq(),
    Column("name", String(200), nullable=False),
    Column("version", String(80), nullable=False),
    Column("at", Moment, nullable=False),
    Column("by", Words, nullable=False),
    Column("reason", Words, nullable=False),
    UniqueConstraint("name", "version"),
    sqlite_autoincrement=True,
)

stop_requests = Table(
    "stop_requests",
    metadata,
    _seq(),
    Column("rollout", String(200), nullable=False, index=True),
    Column("wish", String(40), nullable=False),
    Column("by", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("at", Moment, nullable=False),
    sqlite_autoincrement=True,
)

outbox = Table(
    "outbox",
    metadata,
    _seq(),
    Column("rollout", String(200), nullable=False, unique=True),
    Column("started", Boolean(create_constraint=False), nullable=False, index=True),
    sqlite_autoincrement=True,
)

samples = Table(
    "samples",
    metadata,
    _seq(),
    Column("rollout", String(200), nullable=False),
    Column("criterion", String(200), nullable=False),
    Column("at", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    Column("good", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("value", Float),
    Column("error", Words, nullable=False),
    Index(None, "rollout", "at"),
    sqlite_autoincrement=True,
)

cursors = Table(
    "cursors",
    metadata,
    Column("rollout", String(200), primary_key=True),
    Column("step", String(200), primary_key=True),
    Column("document", Document, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("actor", Words, nullable=False),
    Column("origin", Words, nullable=False),
    Column("verb", String(80), nullable=False),
    Column("subject", Words, nullable=False),
    Column("phase", String(20), nullable=False),
    Column("reason", Words, nullable=False),
    Column("data", Document, nullable=False),
    Column("previous", String(80), nullable=False),
    Column("hash", String(80), nullable=False),
    Index(None, "subject", "sequence"),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, nullable=False),
    Column("hash", String(80), nullable=False),
    Column("at", Moment, nullable=False),
)

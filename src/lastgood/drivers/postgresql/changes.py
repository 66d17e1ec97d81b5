"""What a logical replication slot holds, as changes of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from lastgood.drivers.postgresql.connection import Connection


class Kind(str, Enum):
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True)
class Relation:
    """A table as it was when the change was made; ``key``: the columns of its replica identity."""

    schema: str
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """One row. Values are the server's text form, None is NULL. ``old``: the key before (for an update only
    when it changed; empty for an insert). ``new`` lacks columns whose large value did not change.
    """

    kind: Kind
    relation: Relation
    old: Mapping[str, str | None]
    new: Mapping[str, str | None]


@dataclass(frozen=True)
class Transaction:
    """A committed one, whole. ``end`` is the log position after its commit, ``seconds`` since the epoch."""

    xid: int
    end: str
    seconds: float
    changes: tuple[Change, ...]


def transactions(
    connection: Connection, slot: str, publication: str, *, after: str = "", up_to: str = ""
) -> Iterator[Transaction]:
    """In order of commit, without consuming them; those that ended at ``after`` or before are left out.

    Nothing larger than a transaction is held in memory. Raises psycopg.Error.
    """
    raise NotImplementedError

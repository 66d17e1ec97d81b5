"""Which tables a capture watches: a publication that never stands in anybody's way.

A published table without a replica identity would refuse UPDATE and DELETE, a column list would refuse ALTER
and DROP: so only tables whose rows can be told apart are published, whole, and each migration takes out, in
its own transaction, what it left without a key. What is not watched is noted with the reason, in the comment
of the publication, which is undone together with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from psycopg import sql

from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql.connection import Connection, one

OURS = "^lastgood_[0-9a-f]{12}_[0-9a-f]{16}$"
"""Publications and slots of captures: ``lastgood_``, digests of the resource and of the snapshot."""

REASONS: Mapping[str, str] = {
    "key": N_("table {table} has no primary key that tells its rows apart: its writes are not known"),
    "generated": N_("the key of table {table} holds a generated column: its writes are not known"),
    "unlogged": N_("table {table} is unlogged: its writes are not known"),
    "owner": N_("table {table} belongs to a role that '{user}' is no member of: its writes are not known"),
    "late": N_("table {table} came later, and not by a migration: its writes are not known"),
    "dropped": N_("table {table} was dropped, and not by a migration: its rows are not known"),
    "part": N_("partition {table} was dropped, emptied or rewritten by hand: its rows are not known"),
}

_PART = "part"
"""State of a table; and of a partition that is gone, the reason."""

# The server's own rule for an identity (RelationGetIndexList), and generated columns never get into the log.
_TABLES = """
WITH tables AS MATERIALIZED (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, c.relispartition,
           c.relfilenode,
           pg_has_role(c.relowner, 'USAGE') AS mine,
           c.relreplident = 'f' OR i.indexrelid IS NOT NULL AS keyed,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> ''
                   AND NOT a.attisdropped AND (c.relreplident = 'f' OR a.attnum = ANY (i.indkey))) AS made
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indisunique AND i.indimmediate
         AND i.indpred IS NULL
         AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
    WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lastgood')
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
), parts AS MATERIALIZED (
    SELECT r.oid AS root, t.relid::oid AS part FROM tables r CROSS JOIN LATERAL pg_partition_tree(r.oid) t
    WHERE r.relkind = 'p' AND NOT r.relispartition
), whole AS MATERIALIZED (
    SELECT p.root FROM parts p JOIN tables r ON r.oid = p.root LEFT JOIN tables t ON t.oid = p.part
    GROUP BY p.root HAVING bool_and(coalesce(r.mine AND t.keyed AND NOT t.made AND t.relkind <> 'f'
        AND t.relpersistence = 'p' AND t.relreplident = r.relreplident AND t.relreplident <> 'i', false))
)
SELECT oid::bigint, nspname, relname,
       CASE WHEN oid IN (SELECT root FROM whole) THEN ''
            WHEN relkind = 'p' OR oid IN (SELECT part FROM parts JOIN whole USING (root)) THEN 'part'
            WHEN relpersistence = 'u' THEN 'unlogged' WHEN NOT keyed THEN 'key' WHEN made THEN 'generated'
            WHEN NOT mine THEN 'owner' ELSE '' END, relfilenode::bigint
FROM tables WHERE relkind = 'r' OR relkind = 'p' AND NOT relispartition ORDER BY 2, 3
"""
_PUBLISHED = """
SELECT r.prrelid::bigint FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE p.pubname = %s
"""


@dataclass(frozen=True)
class Table:
    """``state``: empty when it can be watched, ``part`` when the topmost table is watched instead or, of a
    topmost one, its parts each for itself; else a key of REASONS. ``file``: 0 when it has no rows of its own.
    """

    oid: int
    schema: str
    name: str
    state: str
    file: int

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def only(self) -> sql.Composed:
        """Without the tables that inherit from it; partitions belong to their table all the same."""
        return sql.SQL("ONLY {}").format(sql.Identifier(self.schema, self.name))


@dataclass
class Notes:
    """``tables``: those watched without a gap, by oid, with their names at the cut or when they came.
    ``gaps``: those that were not, with the reason. ``parts``: names and files of partitions, because TRUNCATE
    of one is not told under the name of its table.
    """

    tables: dict[int, str] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    parts: dict[int, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, text: str) -> Notes:
        kept = json.loads(text)
        parts = {int(oid): (name, file) for oid, (name, file) in kept["parts"].items()}
        return cls({int(oid): name for oid, name in kept["tables"].items()}, kept["gaps"], parts)

    def dump(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def follow(self, there: Iterable[Table], *, ours: bool) -> None:
        """Become what is true of the tables that are there now. ``ours``: what changed since was changed
        by this very transaction, so that nothing was written unseen.
        """
        known = {table.oid: table for table in there}
        parts = {t.oid: (t.full_name, t.file) for t in known.values() if t.state == _PART and t.file}
        for oid, (name, file) in self.parts.items():
            if not ours and parts.get(oid, ("", 0))[1] != file:
                self.gaps.setdefault(name, _PART)
        self.parts = parts
        for oid in self.tables.keys() - known.keys():
            name = self.tables.pop(oid)
            if not ours:
                self.gaps.setdefault(name, "dropped")
        for oid, table in known.items():
            if table.state == _PART:
                self.tables.pop(oid, None)
            elif table.state:
                self.gaps.setdefault(self.tables.pop(oid, table.full_name), table.state)
            elif oid not in self.tables:
                if not ours:
                    self.gaps.setdefault(table.full_name, "late")
                self.tables[oid] = table.full_name

    def reasons(self, user: str) -> tuple[Message, ...]:
        return tuple(
            Message(REASONS[reason], {"table": short(name), "user": user})
            for name, reason in sorted(self.gaps.items())
        )


def capture_prefix(resource: str) -> str:
    return f"lastgood_{_digest(resource, 12)}_"


def capture_name(resource: str, snapshot: str) -> str:
    """Of the publication and of the slot of the capture that was opened with the snapshot of that id."""
    return capture_prefix(resource) + _digest(snapshot, 16)


def short(name: str) -> str:
    """``public`` goes without saying."""
    return name.removeprefix("public.")


def look(connection: Connection) -> list[Table]:
    """Every table with rows of its own and every topmost partitioned one, but not our own."""
    return [Table(*row) for row in connection.execute(_TABLES)]


def create(connection: Connection, name: str) -> None:
    """In the caller's transaction."""
    there = look(connection)
    notes = Notes()
    notes.follow(there, ours=True)
    connection.execute(
        sql.SQL("CREATE PUBLICATION {} WITH (publish_via_partition_root = true)").format(sql.Identifier(name))
    )
    _alter(connection, name, "ADD", [table for table in there if not table.state])
    _note(connection, name, notes)


def read(connection: Connection, name: str) -> Notes | None:
    """None when there is no such publication, or one whose notes somebody overwrote."""
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_publication') FROM pg_publication WHERE pubname = %s", (name,)
    ).fetchone()
    try:
        return Notes.load(row[0]) if row else None
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


def follow(connection: Connection, *, ours: bool) -> None:
    """Have every publication of ours publish what can be watched now; in the caller's transaction.

    Before a migration's script with ``ours`` False, after it with True.
    """
    names = open_captures(connection)
    if not names:
        return
    there = look(connection)
    for name in names:
        published = {row[0] for row in connection.execute(_PUBLISHED, (name,))}
        drop = [table for table in there if table.oid in published and table.state]
        add = [table for table in there if table.oid not in published and not table.state]
        _alter(connection, name, "DROP", drop)
        _alter(connection, name, "ADD", add)
        notes = read(connection, name)
        if notes is not None:
            before = notes.dump()
            notes.follow(there, ours=ours)
            if notes.dump() != before:
                _note(connection, name, notes)


def give_way(connection: Connection, oids: Iterable[int]) -> None:
    """Publish these tables no more, until the next ``follow`` in the same transaction."""
    wanted = set(oids)
    if not wanted:
        return
    for name in open_captures(connection):
        published = {row[0] for row in connection.execute(_PUBLISHED, (name,))}
        _alter(connection, name, "DROP", [t for t in look(connection) if t.oid in wanted & published])


def in_the_way(connection: Connection, message: str) -> frozenset[int]:
    """Published tables for which a statement was perhaps refused with ``message``, by oid."""
    published = {row[0] for n in open_captures(connection) for row in connection.execute(_PUBLISHED, (n,))}
    # The server names the table in the words of its language, and a partition instead of its table.
    named = {table.oid for table in look(connection) if table.oid in published and table.name in message}
    return frozenset(named or published)


def open_captures(connection: Connection) -> tuple[str, ...]:
    """Publications of ours in this database; one of a role that we are not may not be touched."""
    rows = connection.execute(
        "SELECT pubname FROM pg_publication WHERE pubname ~ %s AND pg_has_role(pubowner, 'USAGE') ORDER BY 1",
        (OURS,),
    )
    return tuple(row[0] for row in rows)


def drop(connection: Connection, names: Iterable[str]) -> None:
    for name in names:
        connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))


def rows_of(connection: Connection, oid: int, name: str, rows: Mapping[str, int]) -> int:
    """What ``rows`` (by full name) says of a table, or of its partitions together."""
    if name in rows:
        return rows[name]
    parts = one(
        connection,
        "SELECT coalesce(array_agg(n.nspname || '.' || c.relname), '{}') FROM pg_partition_tree(%s) t "
        "JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace",
        oid,
    )
    return sum(rows.get(part, 0) for part in parts)


def _alter(connection: Connection, name: str, verb: str, tables: list[Table]) -> None:
    if tables:
        connection.execute(
            sql.SQL("ALTER PUBLICATION {} {} TABLE {}").format(
                sql.Identifier(name), sql.SQL(verb), sql.SQL(", ").join(table.only for table in tables)
            )
        )


def _note(connection: Connection, name: str, notes: Notes) -> None:
    connection.execute(
        sql.SQL("COMMENT ON PUBLICATION {} IS {}").format(sql.Identifier(name), sql.Literal(notes.dump()))
    )


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]

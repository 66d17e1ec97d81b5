"""Records each row that a migration changes, so that its undo can tell whether somebody changed it since.

A row trigger, made in a short transaction of its own, because the lock for it must not be held while the
migration runs. It is silent for everybody else: its WHEN asks for a setting that only the migration's
transaction has. It is ENABLE ALWAYS, its name sorts before others, and it says who a row was by ``ctid``: so
several changes of one row, of its key too, become one. What a death leaves is a silent trigger, swept next
time. Tables that are written by way of a trigger, a function or a cascade are found by the transaction's own
statistics; then all is tried again with those recorded as well. A table that is emptied is refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.clauses import Clause, by_comma
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.locks import blockers
from lastgood.drivers.postgresql.scan import UNDO_ROWS, Statement, marks
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.blockers import describe

TRIGGER = "!lastgood"
SETTING = "lastgood.recording"
ROUNDS = 5
"""How often tables that are written on the way are added."""

_CREATE = """
CREATE SCHEMA IF NOT EXISTS lastgood;
CREATE TABLE IF NOT EXISTS lastgood.undo_events (
    n bigint GENERATED ALWAYS AS IDENTITY, relation oid NOT NULL, statement int NOT NULL,
    old_tid tid, new_tid tid, was text, now text
);
CREATE TABLE IF NOT EXISTS lastgood.undo (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, migration text NOT NULL, "schema" text NOT NULL,
    relation text NOT NULL, columns text[] NOT NULL, key text[] NOT NULL, rows bigint NOT NULL,
    recorded_by text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    undone bigint, undone_by text, undone_at timestamptz
);
CREATE TABLE IF NOT EXISTS lastgood.undo_runs (migration text PRIMARY KEY, recorded_by text NOT NULL);
CREATE TABLE IF NOT EXISTS lastgood.undo_conflicts (
    undo bigint NOT NULL REFERENCES lastgood.undo, key jsonb NOT NULL, was jsonb, deployed jsonb, found jsonb,
    reason text NOT NULL
);
CREATE OR REPLACE FUNCTION lastgood.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = off SET datestyle = 'ISO, YMD'
SET intervalstyle = postgres SET timezone = 'UTC' SET extra_float_digits = 1 SET bytea_output = hex
AS $record$
DECLARE
    number CONSTANT int := current_setting('lastgood.recording')::int;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'TRUNCATE leaves nothing to undo row by row' USING ERRCODE = 'feature_not_supported';
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO lastgood.undo_events (relation, statement, new_tid, now)
        VALUES (TG_RELID, number, NEW.ctid, NEW::text);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO lastgood.undo_events (relation, statement, old_tid, was)
        VALUES (TG_RELID, number, OLD.ctid, OLD::text);
    ELSE
        INSERT INTO lastgood.undo_events (relation, statement, old_tid, new_tid, was, now)
        VALUES (TG_RELID, number, OLD.ctid, NEW.ctid, OLD::text, NEW::text);
    END IF;
    RETURN NULL;
END $record$
"""
_LOCK = "SELECT pg_advisory_lock(hashtextextended('lastgood recording', 0))"
# Tables with rows of their own, with their key where it tells rows apart.
_TABLES = """
SELECT c.oid::bigint, n.nspname, c.relname, pg_relation_filenode(c.oid)::bigint,
       coalesce(array(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
                      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                      ORDER BY k.place), '{}'),
       array(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       array(SELECT a.attnum || ' ' || a.atttypid FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid
     AND NOT EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND g.attnum = ANY (i.indkey)
                     AND g.attgenerated <> '')
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lastgood')
  AND c.oid = ANY (%s)
"""
_WITH_PARTS = """
WITH RECURSIVE parts(oid) AS (
    SELECT to_regclass(name)::oid FROM unnest(%s::text[]) name
    UNION SELECT inhrelid FROM pg_inherits JOIN parts ON inhparent = parts.oid
) SELECT oid::bigint FROM parts WHERE oid IS NOT NULL
"""
_WRITTEN = """
SELECT relid::bigint FROM pg_stat_xact_user_tables
WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 AND schemaname <> 'lastgood'
"""
NO_KEY = N_("table {table} has no primary key that tells its rows apart: {file} can't undo its rows")


@dataclass(frozen=True)
class Table:
    """A table with rows of its own; ``parts`` number and type of each column."""

    oid: int
    schema: str
    name: str
    file: int
    key: tuple[str, ...]
    columns: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def label(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


class Unrecorded(Exception):
    """These tables were written, and nothing recorded it."""

    def __init__(self, tables: frozenset[int]) -> None:
        super().__init__()
        self.tables = tables


def wanted(migration: MigrationScript) -> bool:
    """Whether its revert.sql asks to undo rows. Raises InvalidInput when it can't be read."""
    return UNDO_ROWS in marks(migration.revert, f"revert.sql of {migration.name}")


def obstacle(
    connection: Connection, migration: MigrationScript, statements: Sequence[Statement]
) -> Message | None:
    """Why rows of the tables that deploy.sql names could not be undone."""
    for table in _tables(connection, _named(connection, statements)):
        if not table.key:
            return Message(NO_KEY, {"table": table.label, "file": f"revert.sql of {migration.name}"})
    return None


_WRITING = (
    ("UPDATE",), ("DELETE", "FROM"), ("INSERT", "INTO"), ("MERGE", "INTO"), ("TRUNCATE", "TABLE"),
    ("TRUNCATE",),
)  # fmt: skip


def _named(connection: Connection, statements: Sequence[Statement]) -> list[int]:
    """Tables that the statements write at first sight, with all that are part of them."""
    names: list[str] = []
    for statement in statements:
        clause = Clause.of(statement.text)
        if any(clause.take(*words) for words in _WRITING):
            several = by_comma(clause.rest()) if statement.words[0] == "TRUNCATE" else [clause.rest()]
            for part in several:
                table = Clause(part)
                table.take("ONLY")
                names.append(table.name().text)
    return [oid for (oid,) in connection.execute(_WITH_PARTS, (names,))]


def _tables(connection: Connection, oids: Sequence[int]) -> list[Table]:
    rows = connection.execute(_TABLES, (list(oids),))
    return [Table(*row[:4], *map(tuple, row[4:])) for row in rows.fetchall()]


@dataclass
class Recorder:
    """Records what ``migration`` does, one attempt after the other."""

    server: Server
    migration: MigrationScript
    _shapes: dict[int, dict[int, Table]] = field(default_factory=dict)
    """Recorded tables as they were before each statement."""
    _there: set[int] = field(default_factory=set)
    """Recorded tables; those that the script makes itself are none."""

    @contextlib.contextmanager
    def installed(self, statements: Sequence[Statement]) -> Iterator[None]:
        """With triggers on the tables that the statements name. Raises Rejected: a lock, or no key."""
        with self.server.patient_session() as connection:
            connection.execute(_LOCK)
            # Asked first, because CREATE … IF NOT EXISTS demands rights even when it is there.
            if not one(connection, "SELECT to_regclass('lastgood.undo_conflicts') IS NOT NULL"):
                connection.execute(_CREATE)
            if one(connection, "SELECT current_setting('track_counts') = 'off'"):
                what = N_("the server counts no writes (track_counts): {file} can't undo rows")
                raise self._refused(Message(what))
            self._sweep(connection)
            try:
                self.watch(_named(connection, statements), connection)
                yield
            finally:
                # A trigger that stays is silent, and goes the next time.
                with contextlib.suppress(Rejected, psycopg.Error):
                    self._sweep(connection)

    def watch(self, oids: Sequence[int], connection: Connection | None = None) -> None:
        """Record these as well."""
        if connection is None:
            with self.server.patient_session() as another:
                self.watch(oids, another)
            return
        for table in _tables(connection, [o for o in oids if o not in self._there]):
            if not table.key:
                raise self._refused(Message(NO_KEY, {"table": table.label}))
            self._briefly(connection, _make(table))
            self._there.add(table.oid)

    def before(self, connection: Connection, number: int) -> None:
        """The statement of that number comes next."""
        if number == 0:
            self._shapes.clear()
        self._shapes[number] = {t.oid: t for t in _tables(connection, sorted(self._there))}
        connection.execute("SELECT set_config(%s, %s, true)", (SETTING, str(number)))

    def gather(self, connection: Connection, key: str, known: Mapping[int, object]) -> None:
        """After the script: one line for each row. ``known``: tables that were there before it. Raises
        Unrecorded, and Rejected when a table changed its shape under its rows.
        """
        connection.execute("SELECT set_config(%s, '', true)", (SETTING,))
        written = {oid for (oid,) in connection.execute(_WRITTEN)} & set(known)
        if written - self._there:
            raise Unrecorded(frozenset(written - self._there))
        found = connection.execute("SELECT DISTINCT relation::bigint, statement FROM lastgood.undo_events")
        used: dict[int, list[int]] = {}
        for relation, statement in found.fetchall():
            used.setdefault(relation, []).append(statement)
        now = {t.oid: t for t in _tables(connection, list(used))}
        for relation, numbers in used.items():
            shapes = {n: self._shapes[n][relation] for n in numbers}
            table = now.get(relation)
            if table is None or not table.key or any(not _fits(shape, table) for shape in shapes.values()):
                label = next(iter(shapes.values())).label
                what = N_("table {table} is changed after its rows were: {file} can't undo them")
                raise self._refused(Message(what, {"table": label}))
            _settle(connection, self.migration.name, key, table, shapes)
        connection.execute("TRUNCATE lastgood.undo_events")
        connection.execute(
            "INSERT INTO lastgood.undo_runs VALUES (%s, %s) "
            "ON CONFLICT (migration) DO UPDATE SET recorded_by = excluded.recorded_by",
            (self.migration.name, key),
        )

    def _refused(self, what: Message) -> Rejected:
        return Rejected(
            what.template,
            todo=N_(
                "Give the table a key, change its shape in another migration, or don't ask to undo rows."
            ),
            where=self.server.spot.address,
            cause=Cause.SCRIPT_ERROR,
            **{"file": f"revert.sql of {self.migration.name}", **what.params},
        )

    def _sweep(self, connection: Connection) -> None:
        rows = connection.execute(
            "SELECT DISTINCT n.nspname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.tgname LIKE %s",
            (f"{TRIGGER}%",),
        )
        for schema, name in rows.fetchall():
            self._briefly(connection, _unmake(sql.Identifier(schema, name)))
        self._there.clear()

    def _briefly(self, connection: Connection, work: sql.Composed) -> None:
        """In a transaction of its own, tried again while somebody holds the table."""
        deadline = time.monotonic() + self.server.settings.lock_deadline
        while True:
            try:
                with connection.transaction():
                    connection.execute(self.server.guards())
                    connection.execute(work)
                return
            except psycopg.errors.InsufficientPrivilege as error:
                spot = replace(self.server.spot, statement="CREATE TRIGGER")
                raise failures.translate(error, spot) from None
            except psycopg.errors.LockNotAvailable as error:
                if time.monotonic() >= deadline:
                    named = describe(blockers(connection, connection.info.backend_pid))
                    raise failures.table_lock(failures.text(error), named, self.server.spot) from None
            time.sleep(0.05)


def _make(table: Table) -> sql.Composed:
    return sql.SQL(
        "CREATE TRIGGER {rows} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
        "WHEN (pg_catalog.current_setting({setting}, true) <> '') EXECUTE FUNCTION lastgood.record();"
        "CREATE TRIGGER {all} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT "
        "WHEN (pg_catalog.current_setting({setting}, true) <> '') EXECUTE FUNCTION lastgood.record();"
        "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {rows}, ENABLE ALWAYS TRIGGER {all}"
    ).format(
        rows=sql.Identifier(TRIGGER), all=sql.Identifier(f"{TRIGGER} truncate"), table=table.identifier,
        setting=sql.Literal(SETTING),
    )  # fmt: skip


def _unmake(table: sql.Identifier) -> sql.Composed:
    return sql.SQL("DROP TRIGGER IF EXISTS {} ON {table}; DROP TRIGGER IF EXISTS {} ON {table}").format(
        sql.Identifier(TRIGGER), sql.Identifier(f"{TRIGGER} truncate"), table=table
    )


def _fits(shape: Table, now: Table) -> bool:
    """Columns may have been added and renamed; none dropped, retyped, and the rows not written anew."""
    return shape.file == now.file and set(shape.parts) <= set(now.parts)


def _settle(
    connection: Connection, migration: str, key: str, table: Table, shapes: Mapping[int, Table]
) -> None:
    """Many changes of a row become one: what it was at first, and what it is in the end."""
    number = one(
        connection,
        'INSERT INTO lastgood.undo (migration, "schema", relation, columns, key, rows, recorded_by) '
        "VALUES (%s, %s, %s, %s, %s, 0, %s) RETURNING id",
        migration, table.schema, table.name, list(table.columns), list(table.key), key,
    )  # fmt: skip
    store = sql.Identifier("lastgood", f"undo_{number}")
    parsed = sql.SQL(" UNION ALL ").join(_parsed(connection, table, n, shape) for n, shape in shapes.items())
    places = [table.columns.index(column) + 1 for column in table.key]
    keyed = sql.SQL("ARRAY[{}]")
    was = keyed.format(sql.SQL(", ").join(sql.SQL("was[{}]").format(sql.Literal(p)) for p in places))
    now = keyed.format(sql.SQL(", ").join(sql.SQL("now[{}]").format(sql.Literal(p)) for p in places))
    connection.execute(
        sql.SQL(
            """
CREATE TABLE {store} AS
WITH RECURSIVE events AS MATERIALIZED ({parsed}),
chains AS (
    SELECT e.was, e.now, e.new_tid FROM events e
    WHERE e.old_tid IS NULL OR NOT EXISTS (SELECT FROM events b WHERE b.new_tid = e.old_tid)
    UNION ALL
    SELECT c.was, e.now, e.new_tid FROM chains c JOIN events e ON e.old_tid = c.new_tid
), rows AS (
    SELECT was, now FROM chains c
    WHERE NOT EXISTS (SELECT FROM events e WHERE e.old_tid = c.new_tid)
), gone AS (SELECT was, {was} AS key_was FROM rows WHERE now IS NULL),
born AS (SELECT now, {now} AS key_now FROM rows WHERE was IS NULL)
SELECT row_number() OVER () AS n, was, now, key_was, key_now, NULL::text AS state, NULL::text AS reason FROM (
    SELECT was, now, {was} AS key_was, {now} AS key_now FROM rows WHERE was IS NOT NULL AND now IS NOT NULL
    UNION ALL
    SELECT was, now, key_was, key_now FROM gone FULL JOIN born ON key_was = key_now
) x WHERE (was IS NOT NULL OR now IS NOT NULL) AND was IS DISTINCT FROM now
"""
        ).format(store=store, parsed=parsed, was=was, now=now)
    )
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (n)").format(store))
    connection.execute(
        sql.SQL("UPDATE lastgood.undo SET rows = (SELECT count(*) FROM {}) WHERE id = {}").format(
            store, sql.Literal(number)
        )
    )


def _parsed(connection: Connection, table: Table, number: int, shape: Table) -> sql.Composed:
    """Events of one statement, as arrays in the order of the table's columns as they are in the end."""
    kind = sql.Identifier("pg_temp", f"lastgood_{table.oid}_{number}")
    fields = [sql.SQL("c{} text").format(sql.SQL(str(n))) for n in range(len(shape.parts))]
    connection.execute(sql.SQL("DROP TYPE IF EXISTS {}").format(kind))
    connection.execute(sql.SQL("CREATE TYPE {} AS ({})").format(kind, sql.SQL(", ").join(fields)))
    place = {part: n for n, part in enumerate(shape.parts)}

    def image(side: str) -> sql.Composed:
        values = [
            sql.SQL("(e.{}::{}).c{}").format(sql.Identifier(side), kind, sql.SQL(str(place[part])))
            if part in place else sql.SQL("NULL::text")
            for part in table.parts
        ]  # fmt: skip
        return sql.SQL("CASE WHEN e.{} IS NOT NULL THEN ARRAY[{}] END").format(
            sql.Identifier(side), sql.SQL(", ").join(values)
        )

    return sql.SQL(
        "SELECT old_tid, new_tid, {} AS was, {} AS now FROM lastgood.undo_events e "
        "WHERE relation = {} AND statement = {}"
    ).format(image("was"), image("now"), sql.Literal(table.oid), sql.Literal(number))

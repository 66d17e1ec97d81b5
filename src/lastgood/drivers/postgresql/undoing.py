"""Puts rows back that a migration changed, where nobody changed them since; the rest is listed.

A row is one thing: where one of the columns that the migration changed holds another value now, none of them
is put back. Columns that the migration left alone keep what was written since. A row that the migration made
goes only while it is as it was made and nothing refers to it; one that it deleted returns only while its
key is free. What stands against it becomes a conflict with the three values and the reason; nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import aside, batches, contents
from lastgood.drivers.postgresql.connection import Connection, one
from lastgood.ports.undoing import Undone
from lastgood.sql.undoing import CHANGED, GONE, NO_COLUMN, NO_TABLE, REFERRED, TAKEN

UNDONE = "undone"

_FIELDS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attgenerated <> ''
FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
# Foreign keys to the table or to what it is a part of; a part's own copies are found through their parents.
_REFERENCES = """
WITH RECURSIVE above(oid) AS (
    SELECT to_regclass(%s)::oid UNION SELECT inhparent FROM pg_inherits JOIN above ON inhrelid = above.oid
)
SELECT n.nspname, c.relname,
       array(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY k(num, place)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.num ORDER BY k.place),
       array(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY k(num, place)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.num ORDER BY k.place)
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.confrelid IN (SELECT oid FROM above) AND f.conparentid = 0
"""


@dataclass(frozen=True)
class Lot:
    """Rows of one table that a migration changed."""

    id: int
    schema: str
    relation: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.relation)

    @property
    def store(self) -> sql.Identifier:
        return sql.Identifier("lastgood", f"undo_{self.id}")

    @property
    def label(self) -> str:
        return self.relation if self.schema == "public" else f"{self.schema}.{self.relation}"


def undo(connection: Connection, migration: str, key: str, address: str) -> None:
    """Before revert.sql, in its transaction. Raises Rejected when nothing was recorded, psycopg.Error."""
    lots = _pending(connection, migration)
    if lots is None:
        raise Rejected(
            N_("nothing was recorded when {name} was deployed, so that its rows can't be undone"),
            todo=N_("Take it back with lastgood restore, or by a migration that mends what it did."),
            where=address,
            cause=Cause.SCRIPT_ERROR,
            name=migration,
        )
    contents.whole_rows(connection)
    # It takes as long as there are rows: trying again would end alike. Locks still time out.
    patience = one(connection, "SELECT current_setting('statement_timeout')")
    connection.execute("SET LOCAL statement_timeout = 0")
    # Triggers of the tables find what they name as in any other session.
    connection.execute("RESET search_path")
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    rows = [_Rows(connection, lot) for lot in lots]
    for one_lot in rows:
        one_lot.look()
    progress = True
    while progress:  # A row may need that another one goes, or returns, first.
        progress = False
        for one_lot in rows:
            progress |= one_lot.step()
    for one_lot in rows:
        one_lot.finish(key)
    aside.reset(connection)
    connection.execute("SELECT set_config('statement_timeout', %s, true)", (patience,))


def report(connection: Connection, migration: str, key: str) -> Undone:
    """What the step ``key`` undid, and what it had to leave, by table."""
    if not one(connection, "SELECT to_regclass('lastgood.undo') IS NOT NULL"):
        return Undone()
    rows = connection.execute(
        'SELECT "schema", relation, undone, '
        "(SELECT count(*) FROM lastgood.undo_conflicts c WHERE c.undo = u.id) "
        "FROM lastgood.undo u WHERE migration = %s AND undone_by = %s ORDER BY id",
        (migration, key),
    ).fetchall()
    found = [(name if schema == "public" else f"{schema}.{name}", n, left) for schema, name, n, left in rows]
    return Undone({name: n for name, n, _ in found if n}, {name: left for name, _, left in found if left})


def _pending(connection: Connection, migration: str) -> list[Lot] | None:
    """Of the newest deploy; None: nothing was recorded."""
    if not one(connection, "SELECT to_regclass('lastgood.undo') IS NOT NULL"):
        return None
    run = connection.execute(
        "DELETE FROM lastgood.undo_runs WHERE migration = %s RETURNING recorded_by", (migration,)
    ).fetchone()
    if run is None:
        return None
    rows = connection.execute(
        'SELECT id, "schema", relation, columns, key FROM lastgood.undo '
        "WHERE migration = %s AND recorded_by = %s AND undone_at IS NULL ORDER BY id DESC",
        (migration, run[0]),
    ).fetchall()
    return [Lot(row[0], row[1], row[2], tuple(row[3]), tuple(row[4])) for row in rows]


class _Rows:
    """The rows of one lot on their way back."""

    def __init__(self, connection: Connection, lot: Lot) -> None:
        self._connection = connection
        self.lot = lot
        name = lot.table.as_string(connection)
        fields = connection.execute(_FIELDS, (name,)).fetchall()
        self._types: dict[str, str] = {column: kind for column, kind, _ in fields}
        self._computed = {column for column, _, generated in fields if generated}
        self._references = connection.execute(_REFERENCES, (name,)).fetchall()
        self._place = {column: n for n, column in enumerate(lot.columns, 1)}
        self._there = set(lot.key) <= self._types.keys()
        connection.execute(sql.SQL("ANALYZE {}").format(lot.store))
        self._changed = self._differing()

    def look(self) -> None:
        """What can't be put back at all; and rows that go must get no new references meanwhile."""
        if not self._there:
            self._mark(sql.SQL("true"), NO_TABLE)
            return
        for column in self._changed:
            if column not in self._types:
                both = sql.SQL("was IS NOT NULL AND now IS NOT NULL AND {}")
                self._mark(both.format(self._differs(column)), NO_COLUMN)
        going = sql.SQL("SELECT FROM ONLY {} t, {} k WHERE {} AND k.was IS NULL FOR UPDATE OF t")
        self._connection.execute(going.format(self.lot.table, self.lot.store, self._matches("key_now")))

    def step(self) -> bool:
        """Whether some row came nearer to what it was."""
        if not self._there:
            return False
        acts = [self._delete, self._insert, *([self._update] if self._updated() else [])]
        return sum(self._attempt(act) for act in acts) > 0

    def finish(self, key: str) -> None:
        """List what is left."""
        connection, lot = self._connection, self.lot
        found: sql.Composable = sql.SQL("NULL::jsonb")
        join: sql.Composable = sql.SQL("")
        if self._there:
            # Gone already, or put back by a cascade: as it should be.
            self._mark(sql.SQL("was IS NULL AND NOT {}").format(self._exists("key_now")), UNDONE)
            self._mark(sql.SQL("was IS NOT NULL AND {}").format(self._as_before()), UNDONE)
            kept = sql.SQL("was IS NULL AND {} AND {}")
            self._mark(kept.format(self._referred(), self._unchanged()), REFERRED)
            self._mark(sql.SQL("now IS NULL AND {}").format(self._exists("key_was")), TAKEN)
            self._mark(sql.SQL("now IS NOT NULL AND NOT {}").format(self._exists("key_now")), GONE)
            found = sql.SQL("to_jsonb(t)")
            join = sql.SQL("LEFT JOIN ONLY {} t ON {}").format(lot.table, self._matches("key_now", "key_was"))
        connection.execute(
            sql.SQL(
                "INSERT INTO lastgood.undo_conflicts (undo, key, was, deployed, found, reason) "
                "SELECT {id}, to_jsonb(coalesce(k.key_now, k.key_was)), "
                "jsonb_object({columns}::text[], k.was), jsonb_object({columns}::text[], k.now), {found}, "
                "coalesce(k.state, k.reason, {changed}) "
                "FROM {store} k {join} WHERE k.state IS DISTINCT FROM {undone}"
            ).format(
                id=sql.Literal(lot.id), columns=sql.Literal(list(lot.columns)), found=found,
                changed=sql.Literal(CHANGED), store=lot.store, join=join, undone=sql.Literal(UNDONE),
            )
        )  # fmt: skip
        connection.execute(
            sql.SQL(
                "UPDATE lastgood.undo SET undone_by = {}, undone_at = clock_timestamp(), undone = "
                "(SELECT count(*) FROM {} WHERE state = {}) WHERE id = {}"
            ).format(sql.Literal(key), lot.store, sql.Literal(UNDONE), sql.Literal(lot.id))
        )
        connection.execute(sql.SQL("DROP TABLE {}").format(lot.store))

    def _attempt(self, act: batches.Act) -> int:
        """Rows that it put back."""
        before = self._left()
        batches.put_back(self._connection, self.lot.store, act)
        return before - self._left()

    def _left(self) -> int:
        question = sql.SQL("SELECT count(*) FROM {} WHERE state IS NULL")
        return int(one(self._connection, question.format(self.lot.store)))

    def _delete(self, which: sql.Composable) -> sql.Composed:
        return sql.SQL(
            "WITH done AS (DELETE FROM ONLY {table} t USING {store} k WHERE {matches} AND k.was IS NULL "
            "AND {same} AND NOT {referred} AND {which} RETURNING k.n) {mark}"
        ).format(
            table=self.lot.table, store=self.lot.store, matches=self._matches("key_now"),
            same=self._all_same("now"), referred=self._referred(), which=which, mark=self._done(),
        )  # fmt: skip

    def _insert(self, which: sql.Composable) -> sql.Composed:
        columns = [c for c in self.lot.columns if c in self._types and c not in self._computed]
        return sql.SQL(
            "WITH done AS (SELECT k.n, k.was FROM {store} k WHERE k.now IS NULL AND NOT {there} "
            "AND {which}), put AS (INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE "
            "SELECT {values} FROM done k) {mark}"
        ).format(
            store=self.lot.store, there=self._exists("key_was"), which=which, table=self.lot.table,
            names=sql.SQL(", ").join(sql.Identifier(c) for c in columns),
            values=sql.SQL(", ").join(self._value("was", c) for c in columns), mark=self._done(),
        )  # fmt: skip

    def _update(self, which: sql.Composable) -> sql.Composed:
        columns = self._updated()
        sets = [
            sql.SQL("{0} = CASE WHEN {1} THEN {2} ELSE t.{0} END").format(
                sql.Identifier(c), self._differs(c), self._value("was", c)
            )
            for c in columns
        ]
        same = [sql.SQL("(NOT {} OR {})").format(self._differs(c), self._same(c)) for c in columns]
        return sql.SQL(
            "WITH done AS (UPDATE ONLY {table} t SET {sets} FROM {store} k WHERE {matches} "
            "AND k.was IS NOT NULL AND {same} AND {which} RETURNING k.n) {mark}"
        ).format(
            table=self.lot.table, sets=sql.SQL(", ").join(sets), store=self.lot.store,
            matches=self._matches("key_now"), same=sql.SQL(" AND ").join(same), which=which,
            mark=self._done(),
        )  # fmt: skip

    def _done(self) -> sql.Composed:
        return sql.SQL("UPDATE {} k SET state = {} FROM done WHERE k.n = done.n AND k.state IS NULL").format(
            self.lot.store, sql.Literal(UNDONE)
        )

    def _differing(self) -> list[str]:
        """Columns that the migration changed in some row."""
        question = sql.SQL(
            "SELECT DISTINCT p FROM {}, generate_subscripts(was, 1) p "
            "WHERE now IS NOT NULL AND was[p] IS DISTINCT FROM now[p] ORDER BY p"
        ).format(self.lot.store)
        return [self.lot.columns[p - 1] for (p,) in self._connection.execute(question)]

    def _updated(self) -> list[str]:
        return [c for c in self._changed if c in self._types and c not in self._computed]

    def _differs(self, column: str) -> sql.Composed:
        return sql.SQL("(k.was[{0}] IS DISTINCT FROM k.now[{0}])").format(sql.Literal(self._place[column]))

    def _value(self, side: str, column: str) -> sql.Composed:
        kind = sql.SQL(self._types[column])
        return sql.SQL("k.{}[{}]::{}").format(sql.Identifier(side), sql.Literal(self._place[column]), kind)

    def _same(self, column: str, side: str = "now") -> sql.Composed:
        return sql.SQL(
            "(CASE WHEN t.{0} IS NOT NULL THEN pg_catalog.format('%s', t.{0}) END "
            "IS NOT DISTINCT FROM k.{2}[{1}])"
        ).format(sql.Identifier(column), sql.Literal(self._place[column]), sql.Identifier(side))

    def _all_same(self, side: str) -> sql.Composed:
        found = [
            self._same(c, side) for c in self.lot.columns if c in self._types and c not in self._computed
        ]
        return sql.SQL(" AND ").join(found)

    def _as_before(self) -> sql.Composed:
        """The row is there as it was, in what the migration changed of it."""
        changed: list[sql.Composable] = [
            sql.SQL("(NOT {} OR {})").format(self._differs(c), self._same(c, "was")) for c in self._updated()
        ]
        return sql.SQL(
            "EXISTS (SELECT FROM ONLY {} t WHERE {} AND CASE WHEN k.now IS NULL THEN {} ELSE {} END)"
        ).format(
            self.lot.table, self._matches("key_was"), self._all_same("was"),
            sql.SQL(" AND ").join(changed or [sql.SQL("true")]),
        )  # fmt: skip

    def _unchanged(self) -> sql.Composed:
        return sql.SQL("EXISTS (SELECT FROM ONLY {} t WHERE {} AND {})").format(
            self.lot.table, self._matches("key_now"), self._all_same("now")
        )

    def _matches(self, *sides: str) -> sql.Composed:
        """The row ``t`` is that of ``k``, by the first of its keys that it has."""
        key = sql.SQL("coalesce({})").format(
            sql.SQL(", ").join(sql.SQL("k.{}").format(sql.Identifier(s)) for s in sides)
        )
        return sql.SQL(" AND ").join(
            sql.SQL("t.{} = ({})[{}]::{}").format(
                sql.Identifier(column), key, sql.Literal(n), sql.SQL(self._types[column])
            )
            for n, column in enumerate(self.lot.key, 1)
        )

    def _exists(self, side: str) -> sql.Composed:
        return sql.SQL("EXISTS (SELECT FROM ONLY {} t WHERE {})").format(self.lot.table, self._matches(side))

    def _referred(self) -> sql.Composed:
        """Whether another row refers to what the row of ``k`` is now."""
        found: list[sql.Composable] = [sql.SQL("false")]
        for schema, relation, columns, targets in self._references:
            if not set(targets) <= self._place.keys() & self._types.keys():
                continue
            refers = [
                sql.SQL("c.{} = {}").format(sql.Identifier(c), self._value("now", t))
                for c, t in zip(columns, targets, strict=True)
            ]
            if (schema, relation) == (self.lot.schema, self.lot.relation):
                itself = [
                    sql.SQL("c.{} = {}").format(sql.Identifier(c), self._value("now", c))
                    for c in self.lot.key
                ]
                refers.append(sql.SQL("NOT ({})").format(sql.SQL(" AND ").join(itself)))
            found.append(
                sql.SQL("EXISTS (SELECT FROM {} c WHERE {})").format(
                    sql.Identifier(schema, relation), sql.SQL(" AND ").join(refers)
                )
            )
        return sql.SQL("({})").format(sql.SQL(" OR ").join(found))

    def _mark(self, condition: sql.Composable, state: str) -> None:
        self._connection.execute(
            sql.SQL("UPDATE {} k SET state = {} WHERE k.state IS NULL AND {}").format(
                self.lot.store, sql.Literal(state), condition
            )
        )

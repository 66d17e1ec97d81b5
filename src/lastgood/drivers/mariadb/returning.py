"""What a revert put aside comes back with its migration, where its row still is and nobody wrote since.

In the transaction that ends the deploy. What can't come back stays kept.
"""

from __future__ import annotations

import contextlib

import pymysql

from lastgood.drivers.mariadb import failures, kept
from lastgood.drivers.mariadb.connection import Connection, one, quoted, run
from lastgood.drivers.mariadb.kept import RETYPED, TABLE, WAS, Field, Kept

_WHOLE = ("tinyint", "smallint", "mediumint", "int", "bigint")


def bring_back(connection: Connection, migration: str, key: str) -> dict[str, int]:
    """Places of which nothing could come back, with 0; ``kept.report`` tells the others. Raises
    pymysql.Error: locks, time-outs, a lost session.
    """
    pending = kept.pending(connection, migration, settled=True)
    if not pending:
        return {}
    mode = one(connection, "SELECT @@SESSION.sql_mode")
    # A row with the number 0 is that row, and not the next one.
    run(connection, "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")
    try:
        return _bring_back(connection, pending, key)
    finally:
        # A session that is lost has no settings.
        with contextlib.suppress(pymysql.Error):
            run(connection, "SET SESSION sql_mode = %s", mode)


def _bring_back(connection: Connection, pending: list[Kept], key: str) -> dict[str, int]:
    failed: dict[str, int] = {}
    progress = True
    while pending and progress:  # A table may need the rows of another one first.
        progress = False
        for one_kept in list(pending):
            number = _try(connection, one_kept)
            if number is None:
                failed.setdefault(one_kept.place, 0)
                continue
            progress = True
            failed.pop(one_kept.place, None)
            pending.remove(one_kept)
            run(
                connection,
                f"UPDATE {kept.REGISTRY} SET returned = %s, returned_by = %s, returned_at = UTC_TIMESTAMP(6) "
                "WHERE id = %s",
                number, key, one_kept.id,
            )  # fmt: skip
    return failed


def _try(connection: Connection, one_kept: Kept) -> int | None:
    """Rows that came back; None when it can't be."""
    fields = {n: f for n, f in kept.read_fields(connection, one_kept.relation).items() if not f.generated}
    run(connection, "SAVEPOINT lastgood_back")
    try:
        if one_kept.kind == TABLE:
            number = _insert(connection, one_kept, fields)
        else:
            number = _update(connection, one_kept, fields)
    except pymysql.Error as error:
        code = failures.number(error)
        if failures.lost(error) or failures.locked(error) or code in failures.TIMED_OUT | failures.KILLED:
            raise
        run(connection, "ROLLBACK TO SAVEPOINT lastgood_back")
        number = None
    run(connection, "RELEASE SAVEPOINT lastgood_back")
    return number


def _update(connection: Connection, one_kept: Kept, fields: dict[str, Field]) -> int | None:
    field = fields.get(one_kept.column)
    if field is None or not one_kept.key or not {*one_kept.key} <= fields.keys():
        return None
    table, store = one_kept.relation, one_kept.kept_in
    matches = " AND ".join(f"{fields[n].of(table)} = {fields[n].of(store)}" for n in one_kept.key)
    joined = f"{quoted(table)} JOIN {quoted(store)} ON {matches}"
    untouched = field.untouched(table)
    if one_kept.kind == RETYPED:
        was = quoted(store, WAS)
        untouched = f"{field.bytes_of(table)} <=> {was}"
        if not field.charset and field.kind not in _WHOLE:
            # Written otherwise, and the same: 1.50 and 1.5000.
            untouched = f"({untouched} OR {field.of(table)} <=> CONVERT({was} USING utf8mb4))"
    run(connection, f"UPDATE {joined} SET {field.of(table)} = {field.of(store)} WHERE {untouched}")
    same = f"{field.bytes_of(table)} <=> {field.bytes_of(store)}"
    return int(one(connection, f"SELECT COUNT(*) FROM {joined} WHERE {same}"))


def _insert(connection: Connection, one_kept: Kept, fields: dict[str, Field]) -> int | None:
    if not fields:
        return None
    table, store = quoted(one_kept.relation), quoted(one_kept.kept_in)
    if not one_kept.key and one(connection, f"SELECT 1 FROM {table} LIMIT 1") is not None:
        return None  # Without a key nothing tells which of the rows are there already.
    stored = kept.read_fields(connection, one_kept.kept_in)
    common = [name for name in fields if name in stored]
    if not common:
        return None
    names = ", ".join(map(quoted, common))
    first = quoted(one_kept.relation, common[0])
    return run(
        connection,
        f"INSERT INTO {table} ({names}) SELECT {names} FROM {store} "
        f"ON DUPLICATE KEY UPDATE {first} = {first}",
    )

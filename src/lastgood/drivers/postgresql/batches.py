"""Puts rows back at once where none is refused, and round a refused one batch by batch.

One act for all rows is quickest. Where a row is refused, only the rows of its batch are tried each by itself,
in a subtransaction a row, so that one row in a million costs no million subtransactions.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import sql

from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.connection import Connection

ROWS = 1000
"""Rows of a batch."""

Act = Callable[[sql.Composable], sql.Composed]
"""The statement that puts back the rows of a condition on ``k``, which is a row of the store."""

# Not the row's doing: clashes, an end that somebody wished, a full disk. Classes of SQLSTATEs.
_NOT_THE_ROWS = ("40", "53", "57", "58")
# In the row's own subtransaction; what refuses it is its reason, until another way is found.
_EACH = sql.SQL("""
DO $undo$ DECLARE lot record; BEGIN
FOR lot IN SELECT n FROM {store} WHERE state IS NULL AND n BETWEEN {low} AND {high} ORDER BY n LOOP
    BEGIN
        {act};
    EXCEPTION WHEN lock_not_available OR transaction_rollback OR insufficient_resources
        OR operator_intervention OR query_canceled OR system_error THEN
        RAISE;
    WHEN OTHERS OR assert_failure THEN
        UPDATE {store} SET reason = SQLERRM WHERE n = lot.n;
    END;
END LOOP;
END $undo$
""")


def put_back(connection: Connection, store: sql.Identifier, act: Act) -> None:
    """Of the rows that ``store`` has without a state; those that are refused get a reason. Triggers may
    refuse with any SQLSTATE. Raises psycopg.Error for what is not a row's doing.
    """
    if _at_once(connection, act(sql.SQL("k.state IS NULL"))):
        return
    each = act(sql.SQL("k.n = lot.n"))
    for low, high in _batches(connection, store):
        some = sql.SQL("k.state IS NULL AND k.n BETWEEN {} AND {}").format(low, high)
        if not _at_once(connection, act(some)):
            connection.execute(_EACH.format(store=store, act=each, low=low, high=high))


def _at_once(connection: Connection, act: sql.Composed) -> bool:
    """Whether no row was refused."""
    connection.execute("SAVEPOINT lastgood_undo")
    try:
        connection.execute(act)
    except psycopg.Error as error:
        if failures.lost(error) or failures.locked(error) or (error.sqlstate or "")[:2] in _NOT_THE_ROWS:
            raise
        connection.execute("ROLLBACK TO SAVEPOINT lastgood_undo; RELEASE SAVEPOINT lastgood_undo")
        return False
    connection.execute("RELEASE SAVEPOINT lastgood_undo")
    return True


def _batches(connection: Connection, store: sql.Identifier) -> list[tuple[int, int]]:
    """First and last ``n`` of each."""
    question = sql.SQL(
        "SELECT min(n), max(n) FROM (SELECT n, (row_number() OVER (ORDER BY n) - 1) / {} AS batch "
        "FROM {} WHERE state IS NULL) x GROUP BY batch ORDER BY 1"
    ).format(ROWS, store)
    return [(low, high) for low, high in connection.execute(question)]

"""Numbers handed out by the failed database are never handed out again by the one that takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from lastgood.drivers.postgresql.connection import Connection
from lastgood.drivers.postgresql.shapes import label

_SEQUENCES = """
SELECT n.nspname, c.relname, s.seqincrement, s.seqmin, s.seqmax,
       CASE WHEN has_sequence_privilege(c.oid, 'SELECT') THEN pg_sequence_last_value(c.oid) END,
       has_sequence_privilege(c.oid, 'SELECT'),
       coalesce(tn.nspname, ''), coalesce(t.relname, ''), coalesce(a.attname, '')
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refobjsubid > 0
     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'lastgood' AND c.relpersistence <> 't' ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Sequence:
    """``last``: the number handed out last, None when there was none or (not ``readable``) it is not shown.
    ``owner``: schema, table and column that it numbers, empty when none.
    """

    schema: str
    name: str
    step: int
    lowest: int
    highest: int
    last: int | None
    readable: bool
    owner: tuple[str, str, str]

    @property
    def column(self) -> str:
        """As in ``entries.highest``."""
        return f"{label(*self.owner[:2])}.{self.owner[2]}"


def read(connection: Connection) -> list[Sequence]:
    return [
        Sequence(schema, name, step, lowest, highest, last, readable, (of_schema, of_table, of_column))
        for schema, name, step, lowest, highest, last, readable, of_schema, of_table, of_column in (
            connection.execute(_SEQUENCES)
        )
    ]


def serials(connection: Connection) -> dict[tuple[str, str], tuple[str, ...]]:
    """Columns that a sequence numbers, by table."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for sequence in read(connection):
        schema, table, column = sequence.owner
        if column:
            found[schema, table] = (*found.get((schema, table), ()), column)
    return found


def surpass(copy: Connection, failed: list[Sequence], numbers: Mapping[str, int]) -> None:
    """Put the copy's sequences where those of the failed database are or beyond: by name, by the column
    they number, and by the numbers seen in rows (``entries.highest``). Raises psycopg.Error.
    """
    for own in read(copy):
        others = [
            f.last
            for f in failed
            if f.last is not None
            and ((f.schema, f.name) == (own.schema, own.name) or (own.owner[2] and f.owner == own.owner))
        ]
        if own.owner[2] and own.column in numbers:
            others.append(numbers[own.column])
        if not others:
            continue
        # A sequence that counted further than this one can says that it is used up.
        ahead = min(max(others), own.highest) if own.step > 0 else max(min(others), own.lowest)
        if own.last is None or (ahead > own.last if own.step > 0 else ahead < own.last):
            name = sql.Identifier(own.schema, own.name).as_string(copy)
            copy.execute("SELECT setval(%s::text::regclass, %s)", (name, ahead))

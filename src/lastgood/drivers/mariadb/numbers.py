"""Numbers handed out by the failed database are never handed out again by the one that takes its place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pymysql

from lastgood.drivers.mariadb import failures
from lastgood.drivers.mariadb.connection import Connection, one, quoted, rows, run
from lastgood.drivers.mariadb.shapes import Shapes

SPARE = 1_000
"""Numbers left out where the server does not let us see how far it has come while the database is closed."""

_NEXT = "SELECT table_name, auto_increment FROM information_schema.tables WHERE table_schema = %s"
_PLAIN = re.compile(r"[0-9A-Za-z_]+")
_DENIED = (1227, 1142, 1044)


@dataclass(frozen=True)
class Numbers:
    """``next`` by table of the live database; ``sequences``: the next number that was not set aside."""

    next: Mapping[str, int]
    sequences: Mapping[str, int]


def read(connection: Connection, shapes: Shapes) -> Numbers:
    """From ``shapes`` just read, and its sequences asked. Waits for whoever locks them."""
    sequences = {
        s.name: int(one(connection, f"SELECT next_not_cached_value FROM {quoted(shapes.schema, s.name)}"))
        for s in shapes.tables.values()
        if s.kind == "SEQUENCE"
    }
    return Numbers({s.name: s.auto_increment for s in shapes.tables.values() if s.auto_increment}, sequences)


def closed(connection: Connection, before: Numbers, schema: str) -> Numbers:
    """While nobody can look into the tables: what InnoDB itself says, which takes no lock. Where the right
    PROCESS is missing, or a name is not plain, some numbers more than before.
    """
    exact: dict[str, int] = {}
    with contextlib.suppress(_Denied):
        for name, number in _inside(connection):
            database, _, table = name.partition("/")
            if database == schema and _PLAIN.fullmatch(table):
                exact[table] = number
    found = {table: max(number, exact.get(table) or number + SPARE) for table, number in before.next.items()}
    new = {table: number for table, number in exact.items() if number and table not in found}
    return Numbers({**found, **new}, before.sequences)


def surpass(copy: Connection, shapes: Shapes, failed: Numbers, seen: Mapping[str, int]) -> None:
    """Put the copy's tables where those of the failed database are or beyond; ``seen``: the highest number
    that was given to a row, and the next one of a sequence. Raises pymysql.Error.
    """
    own = {str(name): int(number or 0) for name, number in rows(copy, _NEXT, shapes.schema)}
    for shape in shapes.tables.values():
        name = quoted(shapes.schema, shape.name)
        if shape.kind == "SEQUENCE":
            wanted = max(failed.sequences.get(shape.name, 0), seen.get(shape.name, 0))
            if wanted > int(one(copy, f"SELECT next_not_cached_value FROM {name}")):
                run(copy, f"SELECT SETVAL({name}, {wanted}, 0)")
        elif shape.numbered:
            wanted = max(failed.next.get(shape.name, 0), seen.get(shape.name, 0) + 1)
            if wanted > own.get(shape.name, 0):
                run(copy, f"ALTER TABLE {name} AUTO_INCREMENT = {wanted}")


class _Denied(Exception):
    """A right is missing."""


def _inside(connection: Connection) -> list[tuple[str, int]]:
    try:
        found = rows(connection, "SELECT name, autoinc FROM information_schema.innodb_sys_tablestats")
    except pymysql.Error as error:
        if failures.number(error) in _DENIED:
            raise _Denied from None
        raise
    return [(str(name), int(number)) for name, number in found]

"""Journeys on MariaDB: one transaction each, as far as the server has one.

It ends a transaction at each definition, and a name with a database in front reaches that one: neither is
run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pymysql

from lastgood.domain.errors import DriverError, InvalidInput
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import failures
from lastgood.drivers.mariadb.connection import Connection, Server, rows, run
from lastgood.drivers.mariadb.scan import Kind, Statement, runnable, split, tokens, unquoted
from lastgood.ports.rehearsing import Journey
from lastgood.sql.journeys import name_of, refuse_schema


@dataclass(frozen=True)
class Writer:
    """Writes in the database of ``server``, and in no other of ``databases``. ``folds``: the server takes any
    case for a name, and keeps it in small letters.
    """

    server: Server
    databases: Collection[str]
    folds: bool = False

    def run(self, journey: Journey, *, times: int, keep: bool) -> DriverError | None:
        """Source of ``sql.journeys.Writer.run``; raises Rejected when it would change the schema."""
        statements = self._fit(journey)
        with self.server.session() as connection:
            run(connection, "START TRANSACTION READ WRITE")
            for statement in list(statements) * times:
                failed = self._done(connection, statement, journey)
                if failed is not None:
                    return failed
            run(connection, "COMMIT" if keep else "ROLLBACK")
        return None

    def _done(self, connection: Connection, statement: Statement, journey: Journey) -> DriverError | None:
        try:
            run(connection, statement.text)
        except pymysql.Error as error:
            if failures.lost(error):
                raise
            spot = replace(
                self.server.spot, file=name_of(journey), line=statement.line, statement=statement.text
            )
            return failures.translate(error, spot)
        if statement.kind is Kind.SESSION:
            self.server.guard(connection, keep_mode=True)
        return None

    def _fit(self, journey: Journey) -> Sequence[Statement]:
        file = name_of(journey)
        for statement in split(journey.script, file):
            if statement.words[:1] and statement.words[0] in _SCHEMA:
                raise refuse_schema(
                    f"{' '.join(statement.words[:3])}, line {statement.line}", self.server.spot.address
                )
        statements = runnable(journey.script, file)
        tables = self._tables() if any(s.before_dots for s in statements) else frozenset()
        for statement in statements:
            place: dict[str, Any] = {
                "file": file,
                "line": statement.line,
                "words": " ".join(statement.words[:3]),
            }
            if statement.kind is Kind.DEFINITION:
                raise InvalidInput(
                    N_("{file} has a statement that can't run in a transaction in line {line} ({words})"),
                    todo=N_("Let it write rows only; what changes the schema is a migration."),
                    where=f"{file}:{statement.line}",
                    **place,
                )
            named = sorted(self._elsewhere(statement, tables))
            if named:
                raise InvalidInput(
                    N_("{file} names the database {database} in line {line}"),
                    todo=N_("Leave it out: a rehearsal runs the script in a copy with another name."),
                    where=f"{file}:{statement.line}",
                    database=named[0],
                    **place,
                )
        return statements

    def _elsewhere(self, statement: Statement, tables: Collection[str]) -> Iterator[str]:
        """Databases that a statement reaches by name. One that a table is called like is one where a table
        follows: else it is that table, and a column.
        """
        bare = [t for t in tokens(statement.text, "") if t.kind not in ("space", "line", "block")]
        for before, dot, behind in zip(bare, bare[1:], bare[2:], strict=False):
            if dot.text != "." or before.kind not in ("word", "name"):
                continue
            name, following = unquoted(before.text), unquoted(behind.text)
            there = name in self.databases or (self.folds and name.lower() in self.databases)
            if there and (name not in tables or following in tables):
                yield name

    def _tables(self) -> frozenset[str]:
        with self.server.session() as connection:
            return frozenset(str(name) for (name,) in rows(connection, "SHOW TABLES"))


_SCHEMA = frozenset({"CREATE", "ALTER", "DROP", "RENAME"})

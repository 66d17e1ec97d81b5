"""Which scripts are not even begun: what they do could not be known, or not be taken back."""

from __future__ import annotations

from dataclasses import replace

import pymysql

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import failures, revisions
from lastgood.drivers.mariadb.connection import Connection, Server, rows, run
from lastgood.drivers.mariadb.scan import Kind
from lastgood.drivers.mariadb.walk import Script


def refuse_empty(server: Server, script: Script) -> None:
    if not script.statements:
        raise Rejected(
            N_("{file} is empty: it would take nothing back"),
            todo=N_("Write the statements that undo deploy.sql."),
            where=server.spot.address,
            cause=Cause.SCRIPT_ERROR,
            file=script.file,
        )


def refuse_unlockable(server: Server, connection: Connection) -> None:
    """What a revert puts aside it can only put aside under a lock: nobody should find that out then."""
    statement = f"LOCK TABLES {revisions.TABLE} WRITE"
    try:
        run(connection, statement)
        run(connection, "UNLOCK TABLES")
    except pymysql.Error as error:
        raise failures.translate(error, replace(server.spot, statement=statement)) from None


def refuse_elsewhere(server: Server, connection: Connection, *scripts: Script) -> None:
    """What names a database is done in that one also when it is rehearsed in a copy."""
    databases = {str(name) for (name,) in rows(connection, "SHOW DATABASES")} | {server.settings.database}
    tables = {str(name) for (name,) in rows(connection, "SHOW TABLES")}
    for script in scripts:
        for statement in script.statements:
            named = sorted((databases & statement.before_dots) - tables - {"information_schema"})
            if named:
                raise InvalidInput(
                    N_("{file} names the database {database} in line {line}"),
                    todo=N_("Leave it out: a rehearsal runs the script in a copy with another name."),
                    where=f"{script.file}:{statement.line}",
                    file=script.file,
                    database=named[0],
                    line=statement.line,
                )


def refuse_untransactional(connection: Connection, script: Script) -> None:
    """Rows of such a table are changed for good with each statement."""
    query = (
        "SELECT t.TABLE_NAME, t.ENGINE FROM information_schema.TABLES t "
        "JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE "
        "WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE = 'BASE TABLE' "
        "AND COALESCE(e.TRANSACTIONS, 'NO') <> 'YES'"
    )
    engines: dict[str, str] = dict(rows(connection, query))
    for statement in script.statements:
        named = sorted(engines.keys() & statement.names)
        if statement.kind is Kind.ROWS and statement.words[:1] != ("SELECT",) and named:
            raise Rejected(
                N_("{file} changes rows of {table} in line {line}, and {engine} has no transactions"),
                todo=N_("Convert the table first, in a migration of its own: ALTER TABLE … ENGINE=InnoDB."),
                where=f"{script.file}:{statement.line}",
                cause=Cause.SCRIPT_ERROR,
                file=script.file,
                table=named[0],
                line=statement.line,
                engine=engines[named[0]],
            )

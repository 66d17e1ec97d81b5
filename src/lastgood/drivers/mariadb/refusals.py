"""What is in the way of a restore, found before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pymysql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import failures
from lastgood.drivers.mariadb.connection import Connection, Server, quoted, rows, run
from lastgood.drivers.mariadb.shapes import Shapes, read_shapes
from lastgood.sql.listing import Listing

LONGEST_NAME = 36
"""Characters of a database's name that leave room for what is added."""

STAYING = ("view", "function", "procedure", "event", "trigger")
"""Kinds of objects that stay where they are when tables change their names."""

_TRIGGERS = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s ORDER BY 1"
_REFERRING = """
SELECT DISTINCT CONCAT(table_schema, '.', table_name) FROM information_schema.key_column_usage
WHERE referenced_table_schema = %s AND table_schema <> %s ORDER BY 1
"""


def refuse(live: Connection, server: Server, listing: Listing, now: Listing, keep: Sequence[str]) -> None:
    """``listing``: the schema at the cut. Raises Rejected with the first thing in the way."""
    if len(server.database) > LONGEST_NAME:
        raise _rejected(
            server,
            N_("the name {name} is too long: the copy beside it needs a longer one"),
            N_("Rename the database to a name of at most {most} characters."),
            name=server.database, most=LONGEST_NAME,
        )  # fmt: skip
    shapes = read_shapes(live, server.database)
    _refuse_rights(live, server)
    _refuse_keep(server, listing, shapes, keep)
    triggers = _names(live, _TRIGGERS, server.database)
    if triggers:
        raise _rejected(
            server,
            N_("the server does not swap tables that have triggers: {triggers}"),
            N_("Drop the triggers, restore, and make them again; or go back by the migration's revert.sql."),
            triggers=triggers,
        )
    referring = _names(live, _REFERRING, server.database, server.database)
    if referring:
        raise _rejected(
            server,
            N_("tables of other databases refer to this one and would follow the failed tables: {tables}"),
            N_("Drop those foreign keys; after the restore they have to be made again."),
            tables=referring,
        )
    versioned = ", ".join(s.name for s in shapes.tables.values() if s.kind == "SYSTEM VERSIONED")
    if versioned:
        raise _rejected(
            server,
            N_("tables with system versioning can't be carried over: {tables}"),
            N_("Go back by the migration's revert.sql."),
            tables=versioned,
        )
    _refuse_changed(server, listing, now)


def missing(shapes: Shapes, keep: Iterable[str]) -> Mapping[str, str]:
    """Tables that kept ones refer to, and that are not kept; each with one that refers to it."""
    kept = set(keep)
    found: dict[str, str] = {}
    for reference in shapes.references:
        if reference.child in kept and reference.parent not in kept:
            found.setdefault(reference.parent, reference.child)
    return found


def _refuse_changed(server: Server, listing: Listing, now: Listing) -> None:
    """What stays in its place while the tables change has to be what it was at the cut."""
    changed = sorted(
        f"{kind} {name}"
        for kind, name in {*listing, *now}
        if kind in STAYING and listing.get((kind, name)) != now.get((kind, name))
    )
    if changed:
        raise _rejected(
            server,
            N_("these are not what they were at the snapshot, and the server does not swap them: {objects}"),
            N_("Put them back by hand first, or go back by the migration's revert.sql."),
            objects=", ".join(changed),
        )


def _refuse_rights(live: Connection, server: Server) -> None:
    """Tried out: what a role or a pattern grants is not said anywhere else."""
    name = f"{server.database}_restored_try"
    try:
        run(live, f"CREATE DATABASE IF NOT EXISTS {quoted(name)}")
        run(live, f"DROP DATABASE {quoted(name)}")
    except pymysql.Error as error:
        if failures.number(error) not in failures.RIGHTS:
            raise
        raise Rejected(
            N_("'{user}' lacks a right that a restore of {address} needs: {right}"),
            todo=N_("Give it that right, or use a user that has it; nothing was done."),
            where=server.spot.address,
            cause=Cause.PERMISSION,
            user=server.user,
            address=server.spot.address,
            right=f"ALL ON `{server.database}\\_%`.*",
        ) from None


def _refuse_keep(server: Server, listing: Listing, shapes: Shapes, keep: Sequence[str]) -> None:
    there = {name for kind, name in listing if kind == "table"} | set(shapes.tables)
    unknown = [name for name in keep if name not in there]
    if unknown:
        raise _rejected(
            server,
            N_("tables to be kept are not there: {tables}"),
            N_("Correct 'keep'."),
            tables=", ".join(unknown),
        )
    needed = missing(shapes, keep) if keep else {}
    if needed:
        raise _rejected(
            server,
            N_("tables that are kept refer to tables that are not: {tables}"),
            N_("Add them to 'keep': a row can't be carried over without the one it refers to."),
            tables=", ".join(f"{child} → {parent}" for parent, child in needed.items()),
        )


def _names(connection: Connection, question: str, *parameters: str) -> str:
    return ", ".join(str(row[0]) for row in rows(connection, question, *parameters))


def _rejected(server: Server, what: str, todo: str, **params: Any) -> Rejected:
    address = server.spot.address
    return Rejected(what, todo=todo, where=address, address=address, **params)

"""A schema as a listing: each object, and each line of a table, as the server itself would write it again."""

from __future__ import annotations

import re

import pymysql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import failures
from lastgood.drivers.mariadb.connection import PREFIX, Connection, one, quoted, rows
from lastgood.drivers.mariadb.scan import unquoted
from lastgood.sql.listing import Listing, Part

INVALID_VIEW = 1356
TABLE, COLUMN, ORDER, INDEX, CONSTRAINT = "table", "column", "column order", "index", "constraint"
VIEW, TRIGGER, EVENT, SEQUENCE = "view", "trigger", "event", "sequence"

_NAME = r"`(?:[^`]|``)*`"
_COLUMN = re.compile(rf"(?P<name>{_NAME}) ")
_KEY = re.compile(rf"(?:UNIQUE |FULLTEXT |SPATIAL |VECTOR )?KEY (?P<name>{_NAME})")
_CONSTRAINT = re.compile(rf"CONSTRAINT (?P<name>{_NAME})")
_NUMBER = re.compile(r" AUTO_INCREMENT=\d+")
_TOKEN = re.compile(rf"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|{_NAME}\.?", re.DOTALL)


def read_listing(connection: Connection) -> Listing:
    """Everything of the present database's schema but lastgood's own. Raises pymysql.Error, and Rejected when
    a definition is hidden from this user."""
    database = str(one(connection, "SELECT DATABASE()"))
    found: dict[tuple[str, str], Part] = {}
    for name, kind in rows(connection, "SHOW FULL TABLES"):
        if name.startswith(PREFIX):
            continue
        if kind == "VIEW":
            found[VIEW, name] = Part("", _view(connection, database, name))
        elif kind == "SEQUENCE":
            found[SEQUENCE, name] = Part("", _shown(connection, "SEQUENCE", name))
        else:
            found |= _table(name, _shown(connection, "TABLE", name))
    found |= _programs(connection, database)
    return found


def _table(name: str, definition: str) -> dict[tuple[str, str], Part]:
    """The lines of SHOW CREATE TABLE: the server escapes every line break inside of one."""
    _head, *lines = definition.split("\n")
    end = next(i for i, line in enumerate(lines) if line.startswith(")"))
    options = "\n".join(lines[end:])
    before, comment, text = options.partition(" COMMENT=")
    parts = {(TABLE, name): Part("", _NUMBER.sub("", before) + comment + text)}
    columns: list[str] = []
    for line in lines[:end]:
        line = line.strip().removesuffix(",")
        kind, own = _line(line)
        if kind == COLUMN:
            columns.append(own)
        parts[kind, f"{name}.{own}"] = Part(name, line)
    parts[ORDER, name] = Part(name, ", ".join(columns))
    return parts


def _line(line: str) -> tuple[str, str]:
    """Kind and name of what a line defines."""
    for kind, pattern in ((COLUMN, _COLUMN), (INDEX, _KEY), (CONSTRAINT, _CONSTRAINT)):
        match = pattern.match(line)
        if match:
            return kind, unquoted(match["name"])
    return INDEX if line.startswith("PRIMARY KEY") else CONSTRAINT, line.split(" (", 1)[0]


def _view(connection: Connection, database: str, name: str) -> str:
    try:
        return _local(_shown(connection, "VIEW", name), database)
    except pymysql.Error as error:
        if failures.number(error) != INVALID_VIEW:
            raise
    query = "SELECT VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
    return "invalid: " + _local(str(one(connection, query, database, name)), database)


def _local(definition: str, database: str) -> str:
    """Without the database's own name, so that a copy under another one has the same definition."""
    own = quoted(database) + "."
    return _TOKEN.sub(lambda match: "" if match[0] == own else match[0], definition)


def _programs(connection: Connection, database: str) -> dict[tuple[str, str], Part]:
    """Routines, triggers and events, each with the mode it runs in."""
    found: dict[tuple[str, str], Part] = {}
    routines = "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s"
    for kind, name in rows(connection, routines, database):
        found[kind.lower(), name] = Part("", _program(connection, kind, name, 2, 1))
    triggers = (
        "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_ORDER FROM information_schema.TRIGGERS "
        "WHERE TRIGGER_SCHEMA = %s"
    )
    for name, table, order in rows(connection, triggers, database):
        definition = _local(_program(connection, "TRIGGER", name, 2, 1), database)
        found[TRIGGER, name] = Part(table, f"{definition}; in place {order}")
    events = "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s"
    for (name,) in rows(connection, events, database):
        found[EVENT, name] = Part("", _program(connection, "EVENT", name, 3, 1))
    return found


def _program(connection: Connection, kind: str, name: str, body: int, mode: int) -> str:
    answer = rows(connection, f"SHOW CREATE {kind} {quoted(name)}")[0]
    if answer[body] is None:
        raise Rejected(
            N_("the definition of {kind} {name} is hidden from this user"),
            todo=N_("Give it the missing right ({right}), or use a user that has it."),
            cause=Cause.PERMISSION,
            kind=kind.lower(),
            name=name,
            right="SELECT on `mysql`.`proc`",
        )
    return f"{answer[body]}; sql_mode {answer[mode]}"


def _shown(connection: Connection, kind: str, name: str) -> str:
    return str(rows(connection, f"SHOW CREATE {kind} {quoted(name)}")[0][1])


def statement_of(definition: str) -> str:
    """The statement that makes a program again, of its part in a listing."""
    return definition.rpartition("; sql_mode ")[0]

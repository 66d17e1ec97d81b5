"""Why the writes of a database can't be captured, with what would change that."""

from __future__ import annotations

import pymysql

from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.drivers.mariadb import binlog, changes, failures
from lastgood.drivers.mariadb.connection import Connection, Server, is_mariadb, one, rows

SHORTEST = 86_400
"""Seconds for which the server has to keep its log: a guard window and the night in which nobody looks."""

_MONITOR = N_(
    "'{user}' may not see where the log of {address} is, the right BINLOG MONITOR is missing: "
    "GRANT BINLOG MONITOR ON *.* TO {user}"
)
_READ = N_(
    "'{user}' may not read the log of {address}, the right REPLICATION SLAVE is missing: "
    "GRANT REPLICATION SLAVE ON *.* TO {user}"
)
RIGHTS = frozenset({_MONITOR, _READ})

_DENIED = (1227, 1045, 1044, 1142)


def find(server: Server) -> Message | None:
    """The first one in the way. Raises DriverError."""
    with server.session() as connection:
        return (
            _by_settings(connection, server)
            or named_otherwise(connection, server)
            or _by_trying(connection, server)
        )


def named_otherwise(connection: Connection, server: Server) -> Message | None:
    """Some servers take any case for a name, and write it in small letters into the log."""
    if not one(connection, "SELECT @@GLOBAL.lower_case_table_names"):
        return None
    there = str(one(connection, "SELECT LOWER(%s)", server.database))
    if there == server.database:
        return None
    return Message(
        N_("the server knows database {database} as {there}, and so does its log: write {there} in the url"),
        {"database": server.database, "there": there},
    )


def _by_settings(connection: Connection, server: Server) -> Message | None:
    params = {"address": server.spot.address, "user": server.user}
    if not is_mariadb(connection):
        return Message(N_("{address} is not MariaDB: its log is not read yet"), params)
    if not one(connection, "SELECT @@GLOBAL.log_bin"):
        return Message(
            N_("{address} keeps no log of what is written: set log_bin in its configuration and restart it"),
            params,
        )
    for name, wanted in (
        ("binlog_format", "ROW"), ("binlog_row_image", "FULL"), ("binlog_row_metadata", "FULL"),
    ):  # fmt: skip
        value = str(one(connection, f"SELECT @@GLOBAL.{name}"))
        if value != wanted:
            return Message(
                N_(
                    "the log of {address} holds too little ({name} is {value}): "
                    "SET GLOBAL {name} = {wanted}, and the same in its configuration; sessions that are open "
                    "keep what they have"
                ),
                {**params, "name": name, "value": value, "wanted": wanted},
            )
    if one(connection, "SELECT @@GLOBAL.log_bin_compress"):
        return Message(
            N_("the log of {address} is compressed, which is not read: SET GLOBAL log_bin_compress = OFF"),
            params,
        )
    kept = int(one(connection, "SELECT @@GLOBAL.binlog_expire_logs_seconds"))
    if 0 < kept < SHORTEST:
        return Message(
            N_(
                "{address} keeps its log for {kept} seconds only: "
                "SET GLOBAL binlog_expire_logs_seconds = {wanted}, and the same in its configuration"
            ),
            {**params, "kept": kept, "wanted": SHORTEST},
        )
    return None


def _by_trying(connection: Connection, server: Server) -> Message | None:
    params = {"address": server.spot.address, "user": server.user, "database": server.database}
    try:
        status = rows(connection, "SHOW MASTER STATUS")
        rows(connection, "SHOW BINARY LOGS")
    except pymysql.Error as error:
        if failures.number(error) not in _DENIED:
            raise
        return Message(_MONITOR, params)
    only, not_these = (set(filter(None, str(status[0][n] or "").split(","))) for n in (2, 3))
    if (only and server.database not in only) or server.database in not_these:
        return Message(
            N_("the log of {address} leaves out {database}: see binlog_do_db and binlog_ignore_db"), params
        )
    here = changes.now(connection)
    first = binlog.Position.at(here.file, 4)
    try:
        for _ in binlog.read(server.connect, first, here):
            break
    except (pymysql.Error, OSError, DriverError) as error:
        if isinstance(error, DriverError) or failures.number(error) not in _DENIED:
            raise
        return Message(_READ, params)
    return None

"""How one database is reached. Every error of PyMySQL leaves this driver through ``failures``.

Every name of ours in the database begins with ``PREFIX``: the server has no schemas inside a database.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pymysql
from pymysql.cursors import Cursor

from lastgood.drivers.mariadb.failures import translate
from lastgood.drivers.mariadb.settings import MariadbSettings
from lastgood.ports.content import Vault
from lastgood.sql.blockers import Ended
from lastgood.sql.failures import Spot

Connection: TypeAlias = "pymysql.Connection[Cursor]"
Row = tuple[Any, ...]

PREFIX = "lastgood_"
APPLICATION = "lastgood"
CONNECT_TIMEOUT = 5
LOGIN_TIMEOUT = 20
"""Seconds to connect; and until each answer while logging in."""
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 35_000}
"""A server that is cut off without a word is noticed after 35 s (the last is in milliseconds), also by a call
that waits as long as it takes; not every system has each of them.
"""
# Scripts are split by the rules of the server's own default, in which a backslash escapes; and what does
# not fit is refused, not cut.
MODE = (
    "CONCAT(REPLACE(REPLACE(@@GLOBAL.sql_mode, 'NO_BACKSLASH_ESCAPES', ''), 'ANSI_QUOTES', ''), "
    "',STRICT_TRANS_TABLES')"
)
PATIENCE = 31_536_000
"""Seconds that stand for "no limit" where the server has none: a year."""


@dataclass(frozen=True)
class Server:
    """One database on one server, as ``settings`` say; ``database`` may be another one there, ``""`` none."""

    settings: MariadbSettings
    vault: Vault
    database: str
    ended: Ended = field(default_factory=Ended, compare=False)

    def at(self, database: str) -> Server:
        return Server(self.settings, self.vault, database, self.ended)

    @property
    def user(self) -> str:
        return self.settings.user

    @property
    def spot(self) -> Spot:
        return Spot(f"{self.settings.address}/{self.database}", self.user)

    def password(self) -> str:
        """In clear; for connecting only. Raises DriverError when the vault can't open it."""
        return self.vault.unseal(self.settings.password) if self.settings.password else ""

    def connect(self) -> Connection:
        """A new session in autocommit mode, guarded; transactions are begun by hand. Raises DriverError."""
        settings = self.settings
        arguments: dict[str, Any] = {
            "user": settings.user, "password": self.password(), "charset": "utf8mb4",
            "autocommit": True, "connect_timeout": CONNECT_TIMEOUT, "read_timeout": LOGIN_TIMEOUT,
            "program_name": APPLICATION,
        }  # fmt: skip
        if self.database:
            arguments["database"] = self.database
        if settings.socket:
            arguments["unix_socket"] = settings.socket
        else:
            arguments |= {"host": settings.host, "port": settings.port}
        if settings.authority:
            arguments |= {"ssl_ca": settings.authority, "ssl_verify_cert": True, "ssl_verify_identity": True}
        else:
            # Else PyMySQL reads all the system's certificates for each session, to encrypt without knowing
            # whom it talks to: that takes longer than a fence.
            arguments["ssl_disabled"] = True
        with self.errors():
            connection = pymysql.connect(**arguments)
            _answer_in_time(connection)
            self.guard(connection)
        return connection

    @contextlib.contextmanager
    def session(self) -> Iterator[Connection]:
        """A session for one piece of work; errors in the block are mapped."""
        connection = self.connect()
        try:
            with self.errors():
                yield connection
        finally:
            close(connection)

    @contextlib.contextmanager
    def patient_session(self) -> Iterator[Connection]:
        """A session whose work takes as long as it takes, also between two statements."""
        with self.session() as connection:
            self.guard(connection, lock_timeout=PATIENCE, statement_timeout=0)
            run(connection, f"SET SESSION wait_timeout = {PATIENCE}")
            run(connection, f"SET SESSION net_write_timeout = {PATIENCE}")
            yield connection

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raises what ``failures`` makes of an error of PyMySQL in the block."""
        try:
            yield
        except (pymysql.Error, OSError) as error:
            raise translate(error, self.spot) from None

    def guard(
        self,
        connection: Connection,
        *,
        lock_timeout: float | None = None,
        statement_timeout: float | None = None,
        keep_mode: bool = False,
    ) -> None:
        """Set the session's time-outs (seconds; statement 0: none): nobody waits behind us any longer; and
        how it reads what is sent, unless ``keep_mode``.

        Locks are bounded in whole seconds. MySQL bounds only the time of statements that read.
        """
        locks = self.settings.lock_timeout if lock_timeout is None else lock_timeout
        statement = self.settings.statement_timeout if statement_timeout is None else statement_timeout
        whole = max(1, math.ceil(locks))
        limit = f"max_statement_time = {statement}"
        if not is_mariadb(connection) and not rows(connection, "SHOW VARIABLES LIKE 'max_statement_time'"):
            limit = f"max_execution_time = {round(statement * 1000)}"
        run(
            connection,
            f"SET NAMES utf8mb4, SESSION lock_wait_timeout = {whole}, "
            f"SESSION innodb_lock_wait_timeout = {whole}, SESSION {limit}",
        )
        if not keep_mode:
            run(connection, f"SET SESSION sql_mode = {MODE}")

    @contextlib.contextmanager
    def reading(self, *, statement_timeout: float | None = None) -> Iterator[Connection]:
        """A session inside one read-only transaction that sees one state of every InnoDB table."""
        with self.session() as connection:
            if statement_timeout is not None:
                self.guard(connection, statement_timeout=statement_timeout)
            run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            run(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            yield connection
            run(connection, "ROLLBACK")


def _answer_in_time(connection: Connection) -> None:
    """From now on an answer may take long, unless the other side is gone."""
    untyped: Any = connection
    untyped._read_timeout = None
    if untyped._sock.family in (socket.AF_INET, socket.AF_INET6):
        untyped._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                untyped._sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def run(connection: Connection, statement: str, *parameters: Any) -> int:
    """Rows that the statement touched, as the server counts them."""
    with connection.cursor() as cursor:
        return int(cursor.execute(statement, parameters or None))


def rows(connection: Connection, query: str, *parameters: Any) -> list[Row]:
    """All rows of the answer."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return list(cursor.fetchall())


def one(connection: Connection, query: str, *parameters: Any) -> Any:
    """The first column of the first row, None when there is no row."""
    found = rows(connection, query, *parameters)
    return found[0][0] if found else None


def quoted(*names: str) -> str:
    """An identifier, its parts joined by dots."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def is_mariadb(connection: Connection) -> bool:
    """Else it is MySQL, or calls itself so, as a server behind a proxy or with another ``version`` does."""
    untyped: Any = connection
    return "mariadb" in str(untyped.server_version).lower()


def lock_no_source(connection: Connection) -> None:
    """So that nobody waits for rows from which others are made; a server that logs statements refuses it."""
    if one(connection, "SELECT @@SESSION.binlog_format") != "STATEMENT":
        run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


def session_id(connection: Connection) -> int:
    """The server's number of this session."""
    untyped: Any = connection
    return int(untyped.thread_id())


def close(connection: Connection) -> None:
    """Also when it is broken already."""
    with contextlib.suppress(pymysql.Error, OSError):
        connection.close()

"""Sessions of one database file.

Nothing in this driver opens a live file but the library: closing any descriptor of it would let go of the
locks that our own sessions hold on it (POSIX locks belong to the process).
"""

from __future__ import annotations

import contextlib
import getpass
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.drivers.sqlite import failures
from lastgood.drivers.sqlite.settings import SqliteSettings
from lastgood.sql.failures import Spot

Connection = sqlite3.Connection

PREFIX = "lastgood_"
"""Names of our own tables in somebody's database begin so."""
OLDEST = (3, 37, 0)
"""Of the library: the first that lists virtual tables with what they are made of (PRAGMA table_list)."""
_STEPS = 10_000
"""Instructions of the library's machine between two looks at the clock."""


@dataclass(frozen=True)
class Store:
    """The file ``path``; ``settings`` may be those of another file of which this is a copy."""

    settings: SqliteSettings
    path: Path

    @property
    def spot(self) -> Spot:
        return Spot(str(self.path), _user())

    def at(self, path: Path) -> Store:
        return Store(self.settings, path)

    def connect(self, *, lock_timeout: float | None = None, only_read: bool = False) -> Connection:
        """Raises Rejected when there is no such file. ``only_read``: one that nobody writes to."""
        if not self.path.is_file():
            raise failures.no_file(str(self.path))
        mode = "mode=ro&immutable=1" if only_read else "mode=rw"
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{mode}",
            uri=True,
            timeout=self.settings.lock_timeout if lock_timeout is None else lock_timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.text_factory = _text
        # They neither act nor refuse here, whatever the library was built with: see ``migrate``.
        connection.execute("PRAGMA foreign_keys = OFF")
        return connection

    @contextlib.contextmanager
    def session(self, *, lock_timeout: float | None = None, only_read: bool = False) -> Iterator[Connection]:
        """Closed at its end; what is open is rolled back. Raises DriverError."""
        _refuse_old()
        with self.errors():
            connection = self.connect(lock_timeout=lock_timeout, only_read=only_read)
            try:
                yield connection
            finally:
                connection.close()

    @contextlib.contextmanager
    def reading(self, *, only_read: bool = False) -> Iterator[Connection]:
        """A view of one moment."""
        with self.session(only_read=only_read) as connection:
            begin_reading(connection)
            yield connection

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise failures.translate(error, self.spot) from None


@contextlib.contextmanager
def nowhere() -> Iterator[Connection]:
    """A session of no file, for attaching some. Raises sqlite3.Error."""
    _refuse_old()
    with contextlib.closing(sqlite3.connect(":memory:", uri=True, isolation_level=None)) as connection:
        connection.text_factory = _text
        yield connection


def begin_reading(connection: Connection) -> None:
    """A transaction begins with its first look only."""
    if not connection.in_transaction:
        connection.execute("BEGIN")
    one(connection, "SELECT count(*) FROM sqlite_schema")


def rows(connection: Connection, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    return connection.execute(query, parameters).fetchall()


def one(connection: Connection, query: str, *parameters: object) -> Any:
    """The first value of the first row, None without one."""
    row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def quoted(*names: str) -> str:
    """An identifier, perhaps after that of its schema."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def exists(connection: Connection, table: str) -> bool:
    return one(connection, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", table) is not None


def is_wal(connection: Connection) -> bool:
    """Whether writers don't wait for readers."""
    return str(one(connection, "PRAGMA journal_mode")).lower() == "wal"


def size(connection: Connection) -> int:
    """Bytes that the database takes."""
    return int(one(connection, "PRAGMA page_count")) * int(one(connection, "PRAGMA page_size"))


@contextlib.contextmanager
def bounded(connection: Connection, seconds: float) -> Iterator[None]:
    """A statement that takes longer is interrupted."""
    connection.set_progress_handler(_until(time.monotonic() + seconds), _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def _until(deadline: float) -> Callable[[], int]:
    return lambda: int(time.monotonic() > deadline)


def _text(value: bytes) -> str:
    """Also of a program that wrote what is no UTF-8."""
    return value.decode("utf-8", "surrogateescape")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "?"


def _refuse_old() -> None:
    if sqlite3.sqlite_version_info < OLDEST:
        raise Rejected(
            N_("the SQLite library of this Python is too old: {version}"),
            todo=N_("Use a Python with SQLite {wanted} or later."),
            version=sqlite3.sqlite_version,
            wanted=".".join(map(str, OLDEST)),
        )

"""A few connections shared by the request threads, to PostgreSQL or to MariaDB as the URL says."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import urlsplit


class Unavailable(Exception):
    """All connections are taken."""


def _drivers() -> Iterator[Any]:
    """A shop brings the one that its database needs."""
    for name in ("psycopg", "pymysql"):
        with suppress(ImportError):
            yield import_module(name)


_DRIVERS = {module.__name__: module for module in _drivers()}
Error = (Unavailable, *(module.Error for module in _DRIVERS.values()))
"""What a database raises."""
Unreachable = (Unavailable, *(module.OperationalError for module in _DRIVERS.values()))
"""Of these, what may be over in a moment."""


class Connection(Protocol):
    """What psycopg's connections can do, as far as the shop uses them."""

    @property
    def closed(self) -> bool: ...

    @property
    def broken(self) -> bool: ...

    def execute(self, query: Any, params: Sequence[Any] = ()) -> Any: ...

    def transaction(self) -> AbstractContextManager[Any]: ...

    def close(self) -> None: ...


class MariaDb:
    """A connection to MariaDB that looks like psycopg's."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = _DRIVERS["pymysql"].connect(
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            database=parts.path[1:],
            connect_timeout=5,
            autocommit=True,
            charset="utf8mb4",
        )
        # Names in double quotes, as in every other database, and no locks on rows that are not there.
        self.execute("set session sql_mode = concat(@@sql_mode, ',ANSI_QUOTES')")
        self.execute("set session transaction isolation level read committed")

    @property
    def closed(self) -> bool:
        return not self._connection.open

    @property
    def broken(self) -> bool:
        return self.closed

    def execute(self, query: Any, params: Sequence[Any] = ()) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(query, params or None)
        return cursor

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.begin()
        try:
            yield
        except BaseException:
            with suppress(*Error):
                self._connection.rollback()
            raise
        self._connection.commit()

    def close(self) -> None:
        with suppress(*Error):
            self._connection.close()


def connect(url: str) -> Connection:
    """Commits each statement outside of a transaction. Raises one of ``Unreachable``."""
    if url.startswith("mysql:"):
        return MariaDb(url)
    connection: Connection = _DRIVERS["psycopg"].connect(url, autocommit=True, connect_timeout=5)
    return connection


def clock(connection: Connection) -> str:
    """How its SQL asks for the time."""
    return "now(6)" if isinstance(connection, MariaDb) else "clock_timestamp()"


def insert_once(connection: Connection, rest: str, params: Sequence[Any]) -> bool:
    """``insert into`` ``rest``, unless the key is there already; says whether it was new."""
    query = (
        f"insert ignore into {rest}"
        if isinstance(connection, MariaDb)
        else f"insert into {rest} on conflict do nothing"
    )
    return bool(connection.execute(query, params).rowcount)


class Pool:
    """At most ``size`` connections; a request waits for a free one up to ``patience`` seconds."""

    def __init__(self, url: str, size: int = 4, patience: float = 5.0) -> None:
        self._url = url
        self._patience = patience
        # A slot holds a connection or None: connections are made when first needed.
        self._slots: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(size):
            self._slots.put(None)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commits when the block ends, rolls back when it raises. Raises one of ``Unreachable``."""
        try:
            connection = self._slots.get(timeout=self._patience)
        except queue.Empty:
            raise Unavailable("no free database connection") from None
        try:
            if connection is None or connection.closed:
                connection = connect(self._url)
            with connection.transaction():
                yield connection
        finally:
            broken = connection is None or connection.closed or connection.broken
            if broken and connection is not None:
                connection.close()
            self._slots.put(None if broken else connection)

"""A few connections shared by the request threads."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

Connection = psycopg.Connection[tuple[object, ...]]


class Pool:
    """At most ``size`` connections; a request waits for a free one up to ``patience`` seconds."""

    def __init__(self, url: str, size: int = 4, patience: float = 5.0) -> None:
        self._url = url
        self._patience = patience
        # A slot holds a connection or None: connections are made when first needed.
        self._slots: queue.LifoQueue[psycopg.Connection | None] = queue.LifoQueue()
        for _ in range(size):
            self._slots.put(None)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """Commits when the block ends, rolls back when it raises. Raises psycopg.OperationalError."""
        try:
            connection = self._slots.get(timeout=self._patience)
        except queue.Empty:
            raise psycopg.OperationalError("no free database connection") from None
        try:
            if connection is None or connection.closed:
                connection = psycopg.connect(self._url, connect_timeout=5)
            with connection.transaction():
                yield connection
        finally:
            broken = connection is None or connection.closed or connection.broken
            if broken and connection is not None:
                connection.close()
            self._slots.put(None if broken else connection)

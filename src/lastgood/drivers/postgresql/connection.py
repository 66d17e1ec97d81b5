"""How one database is reached. Every error of psycopg leaves this driver through ``failures``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from lastgood.drivers.postgresql.failures import translate
from lastgood.drivers.postgresql.settings import PostgresqlSettings
from lastgood.ports.content import Vault
from lastgood.sql.blockers import Ended
from lastgood.sql.failures import Spot

Connection = psycopg.Connection[tuple[Any, ...]]

APPLICATION = "lastgood"
_LIBPQ: Mapping[str, int] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
# Not every version has all of them.
_PATIENT: Mapping[str, str] = {
    "statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0", "transaction_timeout": "0",
    "tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3",
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """One database on one server, as ``settings`` say; ``database`` may be another one there."""

    settings: PostgresqlSettings
    vault: Vault
    database: str
    ended: Ended = field(default_factory=Ended, compare=False)

    def at(self, database: str) -> Server:
        return Server(self.settings, self.vault, database, self.ended)

    @property
    def user(self) -> str:
        return self.settings.parameters.get("user", "")

    @property
    def spot(self) -> Spot:
        return Spot(f"{self.settings.address}/{self.database}", self.user)

    def parameters(self) -> dict[str, str]:
        """What libpq needs, without the password."""
        return {**self.settings.parameters, "dbname": self.database, "application_name": APPLICATION}

    def password(self) -> str:
        """In clear; for connecting only. Raises DriverError when the vault can't open it."""
        return self.vault.unseal(self.settings.password) if self.settings.password else ""

    def connect(self) -> Connection:
        """A new session in autocommit mode; transactions are begun by hand. Raises DriverError."""
        parameters: dict[str, Any] = {**_LIBPQ, **self.parameters()}
        password = self.password()
        if password:
            parameters["password"] = password
        with self.errors():
            connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
        # An orphaned statement must not hold its locks when we are killed; not every platform has it.
        with contextlib.suppress(psycopg.errors.DataError, psycopg.errors.UndefinedObject), self.errors():
            connection.execute("SET client_connection_check_interval = '1s'")
        return connection

    @contextlib.contextmanager
    def session(self) -> Iterator[Connection]:
        """A session for one piece of work; errors in the block are mapped."""
        connection = self.connect()
        try:
            with self.errors():
                yield connection
        finally:
            connection.close()

    @contextlib.contextmanager
    def patient_session(self) -> Iterator[Connection]:
        """A session whose work takes as long as it takes, also between two statements; the server ends it,
        with what it holds, within seconds when our host is gone.
        """
        with self.session() as connection:
            names, values = list(_PATIENT), list(_PATIENT.values())
            connection.execute(
                "SELECT set_config(name, value, false) FROM pg_settings "
                "JOIN unnest(%s::text[], %s::text[]) AS wanted(name, value) USING (name)",
                (names, values),
            )
            yield connection

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raises what ``failures`` makes of a psycopg error in the block."""
        try:
            yield
        except psycopg.Error as error:
            raise translate(error, self.spot) from None

    def guards(self, *, statement_timeout: float | None = None) -> sql.Composed:
        """Time-outs for the present transaction: nobody waits behind us longer than ``lock_timeout``."""
        statement = self.settings.statement_timeout if statement_timeout is None else statement_timeout
        return sql.SQL("SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}").format(
            sql.Literal(round(self.settings.lock_timeout * 1000)), sql.Literal(round(statement * 1000))
        )

    @contextlib.contextmanager
    def reading(self, *, statement_timeout: float | None = None) -> Iterator[Connection]:
        """A session inside one read-only transaction that sees one state."""
        with self.session() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(self.guards(statement_timeout=statement_timeout))
            yield connection
            connection.execute("ROLLBACK")


def one(connection: Connection, query: LiteralString | sql.Composed, *parameters: Any) -> Any:
    """The first column of the first row."""
    row = connection.execute(query, parameters or None).fetchone()
    assert row is not None, "the query always answers with a row"
    return row[0]

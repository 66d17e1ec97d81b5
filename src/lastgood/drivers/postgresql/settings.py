"""What the estate says about one database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.domain.warm_copy import Asked
from lastgood.sql.settings import password, seconds

KEYS = frozenset(
    ("url", "password", "resource", "lock_timeout", "statement_timeout", "lock_deadline", "binaries")
) | {"rehearse_whole", "copy", "copy_room"}
SIGNAL_KEYS = frozenset({"query", "database"})
"""A signal's settings may come together with those of the database it asks."""


@dataclass(frozen=True)
class PostgresqlSettings:
    """Times are seconds. ``parameters`` is what libpq needs to connect, without the password.

    ``rehearse_whole`` is in MiB: a rehearsal copies all of a database that is not larger, else a sample.
    ``copy`` says how the copy of a change that moves data is kept; ``copy_room``, in MiB, how much of the
    server's disk such copies may take, 0 for what can be seen there.
    """

    resource: str
    parameters: Mapping[str, str]
    password: SecretVersion | None = None
    lock_timeout: float = 2.0
    statement_timeout: float = 60.0
    lock_deadline: float = 15.0
    binaries: Path | None = None
    rehearse_whole: int = 10240
    copy: Asked = Asked.AUTO
    copy_room: int = 0

    @property
    def database(self) -> str:
        return self.parameters["dbname"]

    @property
    def host(self) -> str:
        return self.parameters.get("host", "localhost")

    @property
    def address(self) -> str:
        """Where the server is, for people: ``host:port``."""
        return f"{self.host}:{self.parameters.get('port', '5432')}"

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> PostgresqlSettings:
        """Raises InvalidInput naming the setting that is wrong, missing or unknown."""
        unknown = sorted(set(settings) - KEYS - SIGNAL_KEYS)
        if unknown:
            raise InvalidInput(
                N_("unknown setting '{key}' of the postgresql driver"),
                todo=N_("Use one of: {known}."),
                key=unknown[0],
                known=", ".join(sorted(KEYS)),
            )
        parameters = _parameters(settings.get("url"))
        binaries = settings.get("binaries")
        return cls(
            resource=str(settings.get("resource") or parameters["dbname"]),
            parameters=parameters,
            password=password(settings.get("password"), "postgresql"),
            lock_timeout=seconds(settings, "lock_timeout", 2.0, "postgresql"),
            statement_timeout=seconds(settings, "statement_timeout", 60.0, "postgresql"),
            lock_deadline=seconds(settings, "lock_deadline", 15.0, "postgresql"),
            binaries=Path(str(binaries)) if binaries else None,
            rehearse_whole=_mebibytes(settings, "rehearse_whole", 10240),
            copy=_asked(settings.get("copy", Asked.AUTO.value)),
            copy_room=_mebibytes(settings, "copy_room", 0),
        )


def _parameters(url: object) -> Mapping[str, str]:
    example = "postgresql://user@host:5432/database"
    if not isinstance(url, str) or not url.startswith(("postgresql://", "postgres://")):
        raise InvalidInput(
            N_("the setting 'url' of the postgresql driver is missing or no PostgreSQL URL"),
            todo=N_("Write it like {example}."),
            example=example,
        )
    try:
        parameters = {key: str(value) for key, value in conninfo_to_dict(url).items() if value}
    except psycopg.ProgrammingError as error:
        raise InvalidInput(
            N_("the setting 'url' of the postgresql driver can't be read"),
            todo=N_("Write it like {example}."),
            example=example,
        ) from error.with_traceback(None)
    ports = parameters.get("port", "5432").split(",")
    if not all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise InvalidInput(
            N_("the setting 'url' of the postgresql driver has the port '{port}'"),
            todo=N_("Write it like {example}."),
            port=parameters["port"],
            example=example,
        )
    if "password" in parameters:
        raise InvalidInput(
            N_("the setting 'url' of the postgresql driver holds a password"),
            todo=N_("Take it out, and name a secret in the setting 'password'."),
        )
    if "dbname" not in parameters:
        raise InvalidInput(
            N_("the setting 'url' of the postgresql driver names no database"),
            todo=N_("Write it like {example}."),
            example=example,
        )
    return parameters


def _asked(value: object) -> Asked:
    try:
        return Asked(value)
    except ValueError:
        raise InvalidInput(
            N_("the setting 'copy' of the postgresql driver is '{value}'"),
            todo=N_("Use one of: {known}."),
            value=value,
            known=", ".join(one.value for one in Asked),
        ) from None


def _mebibytes(settings: Mapping[str, Any], key: str, default: int) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(
            N_("the setting '{key}' of the postgresql driver is no number of MiB: '{value}'"),
            todo=N_("Write a whole number, for example {default}; 0 copies a sample of any database."),
            key=key,
            value=value,
            default=default,
        )
    return value

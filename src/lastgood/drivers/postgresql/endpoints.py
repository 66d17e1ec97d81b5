"""Where something beside the database is reached: a pooler in front of it, a replica behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.sql.settings import password

KEYS: Mapping[str, frozenset[str]] = {
    "poolers": frozenset(("url", "password", "database")),
    "replicas": frozenset(("url", "password")),
}


@dataclass(frozen=True)
class Endpoint:
    """``parameters`` is what libpq needs to connect, without the password. ``database``: the name that a
    pooler has for the database, empty where it has that of the server.
    """

    parameters: Mapping[str, str]
    password: SecretVersion | None = None
    database: str = ""

    @property
    def address(self) -> str:
        """For people: ``host:port``."""
        return f"{self.parameters.get('host', 'localhost')}:{self.parameters.get('port', '5432')}"

    @property
    def place(self) -> str:
        """What tells it from the others: one pooler may be declared once for each name."""
        return f"{self.address}/{self.database}"


def endpoints(settings: Mapping[str, Any], key: str) -> tuple[Endpoint, ...]:
    """Those under ``key``. Raises InvalidInput naming what is wrong."""
    found = settings.get(key) or ()
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, Mapping) for one in found):
        raise InvalidInput(
            N_("the setting '{key}' of the postgresql driver is no list of urls"),
            todo=N_("Write it like {example}."),
            key=key,
            example=f'{key}: [{{url: "postgresql://user@host:5432/…"}}]',
        )
    for one in found:
        unknown = sorted(set(one) - KEYS[key])
        if unknown:
            raise InvalidInput(
                N_("unknown setting '{key}' of the postgresql driver"),
                todo=N_("Use one of: {known}."),
                key=f"{key}.{unknown[0]}",
                known=", ".join(sorted(KEYS[key])),
            )
    return tuple(
        Endpoint(
            parameters(one.get("url"), f"{key}.url"),
            password(one.get("password"), "postgresql"),
            str(one.get("database") or ""),
        )
        for one in found
    )


def parameters(url: object, key: str = "url") -> Mapping[str, str]:
    """What libpq reads in a url with a database and without a password. Raises InvalidInput."""
    example = "postgresql://user@host:5432/database"
    if not isinstance(url, str) or not url.startswith(("postgresql://", "postgres://")):
        raise InvalidInput(
            N_("the setting '{key}' of the postgresql driver is missing or no PostgreSQL URL"),
            todo=N_("Write it like {example}."),
            key=key,
            example=example,
        )
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(url).items() if value}
    except psycopg.ProgrammingError as error:
        raise InvalidInput(
            N_("the setting '{key}' of the postgresql driver can't be read"),
            todo=N_("Write it like {example}."),
            key=key,
            example=example,
        ) from error.with_traceback(None)
    ports = found.get("port", "5432").split(",")
    if not all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise InvalidInput(
            N_("the setting '{key}' of the postgresql driver has the port '{port}'"),
            todo=N_("Write it like {example}."),
            key=key,
            port=found["port"],
            example=example,
        )
    if "password" in found:
        raise InvalidInput(
            N_("the setting '{key}' of the postgresql driver holds a password"),
            todo=N_("Take it out, and name a secret in the setting 'password'."),
            key=key,
        )
    if "dbname" not in found:
        raise InvalidInput(
            N_("the setting '{key}' of the postgresql driver names no database"),
            todo=N_("Write it like {example}."),
            key=key,
            example=example,
        )
    return found

"""What the estate says about one database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.sql.settings import days, end_idle_after, mebibytes, password, resident, seconds

KEYS = frozenset(
    {
        "url",
        "password",
        "resource",
        "lock_timeout",
        "statement_timeout",
        "lock_deadline",
        "end_idle_after",
        "binaries",
        "keep_days",
        "resident",
        "rehearse_whole",
    }
)
SIGNAL_KEYS = frozenset({"query", "database"})
"""A signal's settings may come together with those of the database it asks."""
EXAMPLE = "mysql://user@host:3306/database"
SCHEMES = ("mysql", "mariadb")
NAME_LENGTH = 64
"""Characters of a database's name, as the server bounds it."""


@dataclass(frozen=True)
class MariadbSettings:
    """Times are seconds. ``socket`` is the path of a unix socket, empty: ``host`` and ``port`` by TCP.

    ``authority`` is a file with the certificates that the server's must be signed by; empty: not encrypted.
    ``binaries`` is the directory of mariadb-dump and mariadb, None: where PATH has them.
    ``end_idle_after`` 0: nobody's session is ended.
    ``rehearse_whole`` is in MiB: a rehearsal copies all of a database that is not larger, else a sample.
    """

    resource: str
    database: str
    user: str
    host: str = "localhost"
    port: int = 3306
    socket: str = ""
    authority: str = ""
    password: SecretVersion | None = None
    lock_timeout: float = 2.0
    statement_timeout: float = 60.0
    lock_deadline: float = 15.0
    end_idle_after: float = 0.0
    binaries: Path | None = None
    rehearse_whole: int = 10240
    keep_days: int = 0
    resident: Path | None = None

    @property
    def address(self) -> str:
        """Where the server is, for people: ``host:port``, or the path of the socket."""
        return self.socket or f"{self.host}:{self.port}"

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> MariadbSettings:
        """Raises InvalidInput naming the setting that is wrong, missing or unknown."""
        unknown = sorted(set(settings) - KEYS - SIGNAL_KEYS)
        if unknown:
            raise InvalidInput(
                N_("unknown setting '{key}' of the mariadb driver"),
                todo=N_("Use one of: {known}."),
                key=unknown[0],
                known=", ".join(sorted(KEYS)),
            )
        place = _place(settings.get("url"))
        binaries = settings.get("binaries")
        return cls(
            resource=str(settings.get("resource") or place["database"]),
            **place,
            password=password(settings.get("password"), "mariadb"),
            lock_timeout=seconds(settings, "lock_timeout", 2.0, "mariadb"),
            statement_timeout=seconds(settings, "statement_timeout", 60.0, "mariadb"),
            lock_deadline=seconds(settings, "lock_deadline", 15.0, "mariadb"),
            end_idle_after=end_idle_after(settings, "mariadb"),
            binaries=Path(str(binaries)) if binaries else None,
            rehearse_whole=mebibytes(settings, "rehearse_whole", 10240, "mariadb"),
            keep_days=days(settings, "mariadb"),
            resident=resident(settings, "mariadb"),
        )


def _place(url: object) -> dict[str, Any]:
    """Where the database is, as the fields of the settings are called."""
    if not isinstance(url, str) or not url.startswith(tuple(f"{s}://" for s in SCHEMES)):
        raise InvalidInput(
            N_("the setting 'url' of the mariadb driver is missing or no MariaDB URL"),
            todo=N_("Write it like {example}."),
            example=EXAMPLE,
        )
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
    except ValueError:
        raise _unreadable() from None
    if parts.password is not None:
        raise InvalidInput(
            N_("the setting 'url' of the mariadb driver holds a password"),
            todo=N_("Take it out, and name a secret in the setting 'password'."),
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    socket, authority = options.pop("unix_socket", ""), options.pop("ssl_ca", "")
    if options:
        raise InvalidInput(
            N_("the setting 'url' of the mariadb driver has the unknown option '{option}'"),
            todo=N_("Use one of: {known}."),
            option=sorted(options)[0],
            known="ssl_ca, unix_socket",
        )
    database = unquote(parts.path.removeprefix("/"))
    if not database or len(database) > NAME_LENGTH or "/" in database or "\0" in database:
        raise InvalidInput(
            N_("the setting 'url' of the mariadb driver names no database"),
            todo=N_("Write it like {example}."),
            example=EXAMPLE,
        )
    if not parts.username:
        raise InvalidInput(
            N_("the setting 'url' of the mariadb driver names no user"),
            todo=N_("Write it like {example}."),
            example=EXAMPLE,
        )
    return {
        "database": database, "user": unquote(parts.username), "host": parts.hostname or "localhost",
        "port": port, "socket": socket, "authority": authority,
    }  # fmt: skip


def _unreadable() -> InvalidInput:
    return InvalidInput(
        N_("the setting 'url' of the mariadb driver can't be read"),
        todo=N_("Write it like {example}."),
        example=EXAMPLE,
    )

"""What the estate says about one database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.domain.warm_copy import Asked
from lastgood.drivers.postgresql.endpoints import Endpoint, endpoints, parameters
from lastgood.sql.settings import days, end_idle_after, mebibytes, password, resident, seconds

KEYS = frozenset(
    (
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
    )
) | {"rehearse_whole", "poolers", "replicas", "copy", "copy_room"}
SIGNAL_KEYS = frozenset({"query", "database"})
"""A signal's settings may come together with those of the database it asks."""


@dataclass(frozen=True)
class PostgresqlSettings:
    """Times are seconds. ``parameters`` is what libpq needs to connect, without the password.

    ``end_idle_after`` 0: nobody's session is ended.
    ``rehearse_whole`` is in MiB: a rehearsal copies all of a database that is not larger, else a sample.
    ``copy`` says how the copy of a change that moves data is kept; ``copy_room``, in MiB, how much of the
    server's disk such copies may take, 0 for what can be seen there.
    ``poolers``: consoles of PgBouncer in front of the server. ``replicas``: servers that follow it.
    """

    resource: str
    parameters: Mapping[str, str]
    password: SecretVersion | None = None
    lock_timeout: float = 2.0
    statement_timeout: float = 60.0
    lock_deadline: float = 15.0
    end_idle_after: float = 0.0
    binaries: Path | None = None
    keep_days: int = 0
    resident: Path | None = None
    rehearse_whole: int = 10240
    copy: Asked = Asked.AUTO
    copy_room: int = 0
    poolers: tuple[Endpoint, ...] = ()
    replicas: tuple[Endpoint, ...] = ()

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
        found = parameters(settings.get("url"))
        binaries = settings.get("binaries")
        return cls(
            resource=str(settings.get("resource") or found["dbname"]),
            parameters=found,
            password=password(settings.get("password"), "postgresql"),
            lock_timeout=seconds(settings, "lock_timeout", 2.0, "postgresql"),
            statement_timeout=seconds(settings, "statement_timeout", 60.0, "postgresql"),
            lock_deadline=seconds(settings, "lock_deadline", 15.0, "postgresql"),
            end_idle_after=end_idle_after(settings, "postgresql"),
            binaries=Path(str(binaries)) if binaries else None,
            keep_days=days(settings, "postgresql"),
            resident=resident(settings, "postgresql"),
            rehearse_whole=mebibytes(settings, "rehearse_whole", 10240, "postgresql"),
            copy=_asked(settings.get("copy", Asked.AUTO.value)),
            copy_room=mebibytes(settings, "copy_room", 0, "postgresql"),
            poolers=endpoints(settings, "poolers"),
            replicas=endpoints(settings, "replicas"),
        )


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

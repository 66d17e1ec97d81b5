"""What the estate says about one database file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.sql.settings import days, resident, seconds

KEYS = frozenset(
    {"url", "resource", "lock_timeout", "statement_timeout", "lock_deadline", "keep_days", "resident"}
)
SIGNAL_KEYS = frozenset({"query", "database"})
"""A signal's settings may come together with those of the database it asks."""
SCHEME = "sqlite://"
EXAMPLE = "sqlite:///var/lib/erp/sync.db"


@dataclass(frozen=True)
class SqliteSettings:
    """Times are seconds."""

    resource: str
    path: Path
    lock_timeout: float = 2.0
    statement_timeout: float = 60.0
    lock_deadline: float = 15.0
    keep_days: int = 0
    resident: Path | None = None

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> SqliteSettings:
        """Raises InvalidInput naming the setting that is wrong, missing or unknown."""
        unknown = sorted(set(settings) - KEYS - SIGNAL_KEYS)
        if unknown:
            raise InvalidInput(
                N_("unknown setting '{key}' of the sqlite driver"),
                todo=N_("Use one of: {known}."),
                key=unknown[0],
                known=", ".join(sorted(KEYS)),
            )
        path = _path(settings.get("url"))
        return cls(
            resource=str(settings.get("resource") or path.stem),
            path=path,
            lock_timeout=seconds(settings, "lock_timeout", 2.0, "sqlite"),
            statement_timeout=seconds(settings, "statement_timeout", 60.0, "sqlite"),
            lock_deadline=seconds(settings, "lock_deadline", 15.0, "sqlite"),
            keep_days=days(settings, "sqlite"),
            resident=resident(settings, "sqlite"),
        )


def _path(url: object) -> Path:
    """Of ``sqlite:///a/path``; a fourth slash, as others write an absolute path, changes nothing."""
    if not isinstance(url, str) or not url.startswith(f"{SCHEME}/"):
        raise InvalidInput(
            N_("the setting 'url' of the sqlite driver is missing or names no absolute path"),
            todo=N_("Write it like {example}."),
            example=EXAMPLE,
        )
    rest = url.removeprefix(SCHEME)
    path = Path("/" + unquote(rest).lstrip("/"))
    if "?" in rest or "#" in rest or "\0" in str(path) or path.name in ("", ".."):
        raise InvalidInput(
            N_("the setting 'url' of the sqlite driver can't be read"),
            todo=N_("Write it like {example}."),
            example=EXAMPLE,
        )
    return path

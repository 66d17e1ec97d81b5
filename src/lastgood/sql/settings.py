"""Settings that every driver of a database reads alike. Raises InvalidInput naming the setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion


def password(value: object, driver: str) -> SecretVersion | None:
    """The secret that holds it, None for none."""
    if value is None or value == "":
        return None
    if not isinstance(value, Mapping) or not value.get("secret") or not value.get("version"):
        raise InvalidInput(
            N_("the setting 'password' of the {driver} driver is no secret"),
            todo=N_("Name a secret declared in the service; a value is never written here."),
            driver=driver,
        )
    return SecretVersion(str(value["secret"]), str(value["version"]))


def seconds(settings: Mapping[str, Any], key: str, default: float, driver: str) -> float:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 86400:
        raise InvalidInput(
            N_("the setting '{key}' of the {driver} driver is no number of seconds: '{value}'"),
            todo=N_("Write a number greater than 0, for example {default}."),
            key=key,
            driver=driver,
            value=value,
            default=default,
        )
    return float(value)


def mebibytes(settings: Mapping[str, Any], key: str, default: int, driver: str) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(
            N_("the setting '{key}' of the {driver} driver is no number of MiB: '{value}'"),
            todo=N_("Write a whole number, for example {default}; 0 copies a sample of any database."),
            key=key,
            driver=driver,
            value=value,
            default=default,
        )
    return value

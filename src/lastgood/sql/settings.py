"""Settings that every driver of a database reads alike. Raises InvalidInput naming the setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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


def end_idle_after(settings: Mapping[str, Any], driver: str) -> float:
    """0 where nothing is said: then nobody's session is ended."""
    return seconds(settings, "end_idle_after", 60.0, driver) if "end_idle_after" in settings else 0.0


def mebibytes(settings: Mapping[str, Any], key: str, default: int, driver: str) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(
            N_("the setting '{key}' of the {driver} driver is no number of MiB: '{value}'"),
            todo=N_("Write a whole number, for example 10240."),
            key=key,
            driver=driver,
            value=value,
        )
    return value


def days(settings: Mapping[str, Any], driver: str) -> int:
    """After how many days copies are discarded (``keep_days``), 0: never by themselves."""
    value = settings.get("keep_days", 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 36500:
        raise InvalidInput(
            N_("the setting 'keep_days' of the {driver} driver is no number of days: '{value}'"),
            todo=N_("Write a whole number, for example 30; 0 keeps copies until a person discards them."),
            driver=driver,
            value=value,
        )
    return value


def resident(settings: Mapping[str, Any], driver: str) -> Path | None:
    """The directory that copies never leave, None where nothing is said."""
    value = settings.get("resident")
    if value is None:
        return None
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise InvalidInput(
            N_("the setting 'resident' of the {driver} driver is no absolute path: '{value}'"),
            todo=N_("Name the directory that copies of this database must not leave, for example /srv/eu."),
            driver=driver,
            value=value,
        )
    return Path(value)

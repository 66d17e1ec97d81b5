"""Reads single settings: each function takes where it stands and its value, and says what is right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

SIZE = re.compile(r"([0-9]+)(b|k|m|g|kb|mb|gb)?", re.IGNORECASE)
UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def wrong(where: str, key: str, todo: str) -> InvalidInput:
    return InvalidInput(
        N_("the setting '{key}' of the driver docker is wrong"), todo=todo, where=where, key=key
    )


def refuse_unknown(where: str, under: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises InvalidInput for the first key that is not ``known``; ``under`` is the dotted key above."""
    for key in given:
        if key not in known:
            raise InvalidInput(
                N_("the driver docker has no setting '{key}'"),
                todo=N_("Remove it, or use one of: {known}."),
                where=where,
                key=f"{under}{key}",
                known=", ".join(known),
            )


def mapping(where: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(where, key, N_("Write names with their values below it."))
    return value


def text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise wrong(where, key, N_("Write a text."))
    return value


def flag(where: str, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(where, key, N_("Write true or false."))
    return value


def whole(where: str, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(where, key, N_("Write a whole number greater than 0."))
    return value


def number(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 100_000:
        raise wrong(where, key, N_("Write a number greater than 0, for example 0.5."))
    return float(value)


def port(where: str, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise wrong(where, key, N_("Write a port: a number from 1 to 65535."))
    return value


def size(where: str, key: str, value: Any) -> int:
    """Bytes of ``256m``, ``1g``, ``65536`` …; k, m and g count in 1024, as Docker's own do."""
    matched = None if isinstance(value, bool) else SIZE.fullmatch(str(value))
    found = int(matched[1]) * UNITS[(matched[2] or "b")[0].lower()] if matched else 0
    if found < 1:
        raise wrong(where, key, N_("Write a size such as 256m or 1g."))
    return found


def words(where: str, key: str, value: Any) -> tuple[str, ...]:
    """Names in a list."""
    found = texts(where, key, value)
    if not all(WORD.fullmatch(item) for item in found):
        raise wrong(where, key, N_("Use letters, digits, dots, dashes and underscores."))
    return found


def texts(where: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) and v for v in value):
        raise wrong(where, key, N_("Write a list of texts."))
    return tuple(value)


def inside(where: str, key: str, value: Any) -> str:
    """An absolute, normalised path in a container."""
    path = text(where, key, value)
    parts = path.split("/")[1:]
    if not path.startswith("/") or path == "/" or any(part in ("", ".", "..") for part in parts):
        raise wrong(
            where, key, N_("Write an absolute path such as /etc/lastgood, without a slash at its end.")
        )
    return path


def file(where: str, key: str, value: Any) -> Path:
    """A file of this machine that can be read."""
    path = Path(text(where, key, value))
    if not path.is_absolute() or not path.is_file():
        raise wrong(where, key, N_("Write the absolute path of a file that is there."))
    return path

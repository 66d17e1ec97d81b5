"""Domain objects to JSON and back, so that what is loaded has the digest of what was kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from lastgood.domain.digest import plain
from lastgood.domain.errors import Cause, DriverError
from lastgood.domain.message import N_, Message

T = TypeVar("T")


def text(value: Any, *, invalid: str = "backslashreplace") -> str:
    """JSON with sorted keys. Bytes that were never UTF-8 (lone surrogates) stay as JSON escapes, or
    become question marks with ``invalid="replace"``.
    """
    made = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return made.encode("utf-8", invalid).decode()


def parse(stored: str) -> Any:
    """What ``text`` wrote. Raises DriverError when it is not JSON."""
    try:
        return json.loads(stored)
    except ValueError as error:
        raise _damaged("JSON") from error


def dump(value: Any) -> dict[str, Any]:
    """A domain object as plain data: enums to values, times to ISO 8601, paths and tuples to JSON's own."""
    made: dict[str, Any] = json.loads(text(value))
    return made


def load(cls: type[T], data: Mapping[str, Any]) -> T:
    """The object that ``dump`` made ``data`` of. Raises DriverError (wrong path) when it does not fit."""
    try:
        return _converter.structure(data, cls)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(cls.__name__) from error


def _damaged(kind: str) -> DriverError:
    return DriverError(
        N_("what is kept as {kind} cannot be read: the state database is damaged"),
        todo=N_("Check it with `sqlite3 lastgood.db 'PRAGMA integrity_check'` and put back a backup of it."),
        cause=Cause.WRONG_PATH,
        kind=kind,
    )


def _as_it_is(value: Any, cls: type[Any]) -> Any:
    """Numbers keep the type they were written with: 1 read back as 1.0 would be another digest."""
    if issubclass(cls, Enum):  # our enums are str as well, and the converter finds str first
        return cls(value)
    allowed = (int, float) if cls is float else cls
    if not isinstance(value, allowed):
        raise TypeError(f"{cls.__name__} expected, {type(value).__name__} found")
    return value


def _message(value: Any, _: Any) -> Message:
    params = {key: _parameter(param) for key, param in value["params"].items()}
    return Message(_as_it_is(value["template"], str), params)


def _parameter(value: Any) -> Any:
    """A sentence may be filled with a sentence, which JSON alone can't tell from a mapping."""
    if isinstance(value, dict) and value.keys() == {"template", "params"}:
        return _message(value, Message)
    return value


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for primitive in (str, int, float, bool):
        converter.register_structure_hook(primitive, _as_it_is)
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_structure_hook(Message, _message)
    return converter


_converter = _make_converter()

"""One canonical form of plain data, so that the same content always has the same name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import Any

Json = Mapping[str, Any]

LATER: Mapping[str, Any] = {"later": True}
"""``field(default=…, metadata=LATER)``: a field that came after the first version. At its default it is left
out of the canonical form, so that what was kept before has the digest it had.
"""

_SCALARS = frozenset({str, int, float, bool, type(None)})
_FIELDS: dict[type, tuple[str, ...]] = {}
"""Field names by dataclass: asking for them each time is most of the cost of a digest."""
_DEFAULTS: dict[type, dict[str, Any]] = {}
"""The defaults of the fields that came later, by dataclass."""


def plain(value: Any) -> Any:
    """Domain objects as what JSON can hold: dataclasses to dicts, enums to values, times to ISO 8601."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is tuple or kind is list:
        return [v if type(v) in _SCALARS else plain(v) for v in value]
    if kind is dict:
        return {str(k): v if type(v) in _SCALARS else plain(v) for k, v in value.items()}
    names = _FIELDS.get(kind)
    if names is None:
        if not dataclasses.is_dataclass(kind):
            return _plain_other(value)
        names = _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(kind))
        _DEFAULTS[kind] = {f.name: _default(f) for f in dataclasses.fields(kind) if f.metadata.get("later")}
    made = {name: plain(getattr(value, name)) for name in names}
    for name, default in _DEFAULTS[kind].items():
        if getattr(value, name) == default:
            del made[name]
    return made


def _default(field: dataclasses.Field[Any]) -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def _plain_other(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    return value


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no white space, UTF-8."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """``sha256:…`` of the canonical form."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def digest_bytes(content: bytes) -> str:
    """``sha256:…`` of raw content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def short(name: str) -> str:
    """The first twelve hex digits, for people."""
    return name.removeprefix("sha256:")[:12]

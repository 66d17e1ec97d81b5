"""Values in layers: base < environment < site < environment/site, and which layer set what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood.domain.message import N_
from lastgood.estate.problems import Invalid, unknown
from lastgood.estate.yamlfile import Document, Path
from lastgood.ports.estate import Provenance


@dataclass(frozen=True)
class Layer:
    """One file of values; ``name`` is what people call it (``site us``)."""

    name: str
    file: str
    document: Document

    @property
    def values(self) -> dict[str, Any]:
        return self.document.data or {}


def merge(below: Any, above: Any) -> Any:
    """``above`` over ``below``: mappings key by key, everything else replaced. Neither is changed."""
    if isinstance(below, dict) and isinstance(above, dict):
        if not above:
            return below
        merged = dict(below)
        for key, value in above.items():
            merged[key] = merge(below[key], value) if key in below else value
        return merged
    return above


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The values of a unit."""
    result: dict[str, Any] = {}
    for layer in layers:
        result = merge(result, layer.values)
    return result


def paths(value: Any, above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every key of nested mappings with its value, mappings themselves included."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield (*above, key), below
            yield from paths(below, (*above, key))


def tips(value: Any, above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The keys of nested mappings that hold no further keys."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from tips(below, (*above, key))
    elif above:
        yield above, value


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def at(value: Any, path: Path) -> tuple[bool, Any]:
    """(is there, value) of a path."""
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def provenance(layers: Sequence[Layer], key: str) -> Provenance:
    """Who set ``key``. Raises Invalid when no layer does; near names are offered."""
    result = merged(layers)
    known = {dotted(path): path for path, _ in paths(result)}
    path = known.get(key)
    if path is None:
        file = layers[0].file if layers else ""
        raise Invalid(unknown(file, 0, N_("no layer sets the key '{word}'"), key, known))
    setters: list[tuple[str, str, int, Any]] = []
    for layer in layers:
        there, value = at(layer.values, path)
        if there:
            setters.append((layer.name, layer.file, layer.document.line(path), value))
        elif _masks(layer.values, path):
            setters.clear()
    return Provenance(key, at(result, path)[1], tuple(setters))


def _masks(values: Any, path: Path) -> bool:
    """Whether a layer replaces something above ``path`` by what has no keys: lower layers don't count."""
    for length in range(1, len(path)):
        there, value = at(values, path[:length])
        if not there:
            return False
        if not isinstance(value, dict):
            return True
    return False

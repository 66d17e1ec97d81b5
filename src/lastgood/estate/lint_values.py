"""Values: what sites may not change, what nothing uses, what looks like a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.estate import loader, model
from lastgood.estate.layers import Layer, at, dotted, merged, tips
from lastgood.estate.opened import OpenEstate
from lastgood.estate.problems import WARNING, problem
from lastgood.estate.render import Text
from lastgood.estate.yamlfile import Path
from lastgood.ports.estate import Problem

_SECRET = re.compile(
    r"(^|[_.-])(password|passwd|passphrase|secret|token|api_?key|private_?key|credentials?)$", re.IGNORECASE
)
_TELLING = re.compile(r"://[^/@\s:]*:[^/@\s]+@|-----BEGIN [A-Z ]*PRIVATE KEY-----")


def _covered(path: Path, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches a key or something above it."""
    keys = [dotted(path[:length]) for length in range(1, len(path) + 1)]
    return any(fnmatchcase(key, pattern) for pattern in patterns for key in keys)


def differences(
    estate: OpenEstate, service: model.ServiceDeclared, units: Iterable[UnitId]
) -> Iterator[Problem]:
    """Keys in which a site differs though the service doesn't list them under ``may_differ``."""
    allowed: dict[Path, bool] = {}
    below: dict[tuple[str, ...], dict[str, object]] = {}
    done: set[tuple[str, str]] = set()
    for unit in units:
        files = loader.layer_files(unit.service, unit.environment, unit.site)
        lower_files = {files[0][1], files[1][1]}
        layers = estate.layers(unit)
        lower = tuple(layer.file for layer in layers if layer.file in lower_files)
        for layer in layers:
            # A site's layer is held against each environment, one of a single unit only against its own.
            if layer.file in lower_files or (layer.file, unit.environment) in done:
                continue
            done.add((layer.file, unit.environment))
            if lower not in below:
                below[lower] = merged([one for one in layers if one.file in lower_files])
            yield from _differing(service, layer, below[lower], unit.site, allowed)


def _differing(
    service: model.ServiceDeclared,
    layer: Layer,
    below: dict[str, object],
    site: str,
    allowed: dict[Path, bool],
) -> Iterator[Problem]:
    for path, value in tips(layer.values):
        if path not in allowed:
            allowed[path] = _covered(path, service.may_differ)
        if allowed[path] or at(below, path) == (True, value):
            continue
        yield problem(
            layer.file,
            layer.document.line(path),
            N_("the site '{site}' may not differ in '{key}'"),
            N_("List '{key}' under 'may_differ' in {file}, or set it in values.yaml or for an environment."),
            site=site,
            key=dotted(path),
            file=service.file,
        )


def unused(estate: OpenEstate, units: Iterable[UnitId], texts: list[Text]) -> Iterator[Problem]:
    """Keys that no template of the service uses, told at the lowest layer that sets each."""
    if any(text.whole for text in texts):
        return
    used = {key for text in texts for key in text.keys}
    above = {key[:length] for key in used for length in range(1, len(key) + 1)}
    told: set[Path] = set()
    seen: set[str] = set()
    for unit in units:
        for layer in estate.layers(unit):
            if layer.file in seen:
                continue
            seen.add(layer.file)
            for path, _ in tips(layer.values):
                known = path in above or any(path[:length] in used for length in range(1, len(path)))
                if not known and path not in told:
                    told.add(path)
                    yield problem(
                        layer.file,
                        layer.document.line(path),
                        N_("nothing uses the key '{key}'"),
                        N_("Remove it, or look whether a template spells it differently."),
                        severity=WARNING,
                        key=dotted(path),
                    )


def literals(service: model.ServiceDeclared, layers: Iterable[Layer]) -> Iterator[Problem]:
    """Values that look like secrets; what they are is never shown."""
    for layer in layers:
        for path, value in tips(layer.values):
            if _looks_secret(str(path[-1]), value):
                yield _secret(layer.file, layer.document.line(path), dotted(path))
    for role in service.roles:
        for name, value in role.environment.items():
            if _looks_secret(name, value):
                place: Path = ("roles", role.role.value, "environment", name)
                yield _secret(service.file, service.document.line(place), dotted(place))


def _looks_secret(key: str, value: object) -> bool:
    if not isinstance(value, str) or not value or "{{" in value:
        return False
    return _TELLING.search(value) is not None or _SECRET.search(key) is not None


def _secret(file: str, line: int, key: str) -> Problem:
    return problem(
        file,
        line,
        N_("'{key}' looks like a secret in clear"),
        N_("Take it out, name it under 'secrets' in service.yaml, and change it: Git remembers."),
        severity=WARNING,
        key=key,
    )

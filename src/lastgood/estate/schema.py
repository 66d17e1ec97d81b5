"""The JSON Schemas of the estate's files, and their mistakes in words with file, line and mend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any, cast

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from lastgood.domain.message import N_
from lastgood.estate.layers import dotted
from lastgood.estate.problems import nearest, problem
from lastgood.estate.yamlfile import Document, Path
from lastgood.ports.estate import Problem

NAMES = ("estate", "service", "database")
_TYPES = {
    "object": N_("a mapping"),
    "array": N_("a list"),
    "string": N_("a text"),
    "integer": N_("a whole number"),
    "number": N_("a number"),
    "boolean": N_("true or false"),
    "null": N_("nothing"),
}


@lru_cache
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of ``estate``, ``service`` or ``database`` files."""
    text = resources.files("lastgood.estate").joinpath("schemas", f"{name}.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _whole(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    """``$`` as JSON Schema means it: the very end, not the place before a last line break."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError("does not match the pattern")


Strict: Any = validators.extend(Draft202012Validator, {"pattern": _whole})  # type: ignore[no-untyped-call]


@lru_cache
def _validator(name: str) -> Any:
    return Strict(schema(name))


def check(name: str, document: Document, file: str, above: Path = ()) -> list[Problem]:
    """Every way in which a document (or the part of it at ``above``) breaks its schema."""
    data: Any = document.data
    for part in above:
        data = data[part]
    return [
        found
        for error in _validator(name).iter_errors(data)
        for found in _worded(error, document, file, above)
    ]


def _worded(error: ValidationError, document: Document, file: str, above: Path) -> Iterator[Problem]:
    path = (*above, *error.absolute_path)
    line, key = document.line(path), dotted(path) or file
    kind = str(error.validator)
    limit: Any = error.validator_value
    instance: Any = error.instance
    properties: dict[str, Any] = cast(dict[str, Any], error.schema).get("properties", {})
    if kind == "additionalProperties":
        for extra in [k for k in instance if k not in properties]:
            yield _extra(file, document.line((*path, extra)), extra, dotted(path), list(properties))
    elif kind == "required":
        for missing in [k for k in limit if k not in instance]:
            what, mend = N_("'{key}' has no '{missing}'"), N_("Add '{missing}'. {about}")
            about = properties.get(missing, {}).get("description", "")
            yield problem(file, line, what, mend, key=key, missing=missing, about=about)
    elif error.parent is None and kind == "pattern" and "propertyNames" in error.absolute_schema_path:
        name, what = str(instance), N_("'{name}' is not a name that can be used here")
        line = document.line((*path, name))
        yield problem(file, line, what, N_("Rename it. {about}"), name=name[:100], about=_about(error))
    else:
        what, mend, params = _rule(kind, limit, instance)
        yield problem(file, line, what, mend, key=key, about=_about(error), **params)


def _rule(kind: str, limit: Any, instance: Any) -> tuple[str, str, dict[str, str]]:
    """(what, mend, params) for a value that breaks a rule about itself."""
    if kind == "type":
        wanted = [limit] if isinstance(limit, str) else list(limit)
        params = {"wanted": " / ".join(_TYPES[w] for w in wanted), "found": _found(instance)}
        return N_("'{key}' must be {wanted}, not {found}"), N_("Write it so. {about}"), params
    if kind == "enum":
        params = {"allowed": ", ".join(map(str, limit))}
        return N_("'{key}' must be one of: {allowed}"), N_("Choose one of them. {about}"), params
    rule = kind if isinstance(limit, (dict, list)) else f"{kind}: {limit}"
    return N_("'{key}' is not valid ({rule})"), N_("Change it. {about}"), {"rule": rule}


def _about(error: ValidationError) -> str:
    found = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    return str(found)


def _extra(file: str, line: int, word: str, where: str, known: list[str]) -> Problem:
    near = nearest(word, known)
    mend = N_("Did you mean '{near}'?") if near else N_("Remove it; known here are: {known}.")
    what = N_("'{inside}' has no setting '{word}'") if where else N_("there is no setting '{word}'")
    return problem(file, line, what, mend, word=word, inside=where, near=near, known=", ".join(known))


def _found(value: Any) -> str:
    for kind, name in ((bool, "boolean"), (dict, "object"), (list, "array"), (str, "string")):
        if isinstance(value, kind):
            return _TYPES[name]
    return _TYPES["null"] if value is None else _TYPES["number"]

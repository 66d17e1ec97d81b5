"""YAML as data with the line of every key; the dangerous parts of YAML are errors.

Scalars follow the core schema of YAML 1.2 (``no`` is a word, not False). PyYAML's C parser reads the
events, twenty times faster than a Python one; when it is not there, or finds a mistake, ruamel.yaml
reads the file again, so that every mistake is described by the same parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lastgood.domain.message import N_
from lastgood.estate.problems import Invalid, invalid

try:
    import yaml as _c  # type: ignore[import-untyped]

    _fast = bool(_c.__with_libyaml__)
except ImportError:
    _fast = False

LARGEST = 1024 * 1024
NODES = 100_000
DEPTH = 64
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """Plain data and the line (from 1) of each path in it."""

    data: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of a path, or of the nearest part above it that has one."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return self.lines.get((), 0)


def load(content: bytes, file: str) -> Document:
    """Read one YAML document. Raises Invalid with file, line and mend."""
    if len(content) > LARGEST:
        raise invalid(
            file,
            0,
            N_("the file is {size} bytes; YAML files may have at most {largest}"),
            N_("Split it, or move bulk data into a template or the artifact."),
            size=len(content),
            largest=LARGEST,
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = content.count(b"\n", 0, broken.start) + 1
        raise invalid(
            file, line, N_("the file is not UTF-8"), N_("Save it as UTF-8."),
        ) from broken  # fmt: skip
    if _fast:
        try:
            return _Builder(file).build(_c.parse(text, Loader=_c.CSafeLoader))
        except _c.YAMLError:
            pass
    return _Builder(file).build(_described(text, file))


def _described(text: str, file: str) -> Iterator[Any]:
    """Events of the Python parser, its errors as Invalid."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        if mark and wrong.context_mark and mark.line >= text.count("\n"):
            # What was begun is never ended: where it begins says more than the end of the file.
            mark = wrong.context_mark
        line = mark.line + 1 if mark else 0
        raise _syntax(text, file, line, str(wrong.problem or wrong.context or "")) from wrong
    except YAMLError as wrong:
        position = getattr(wrong, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
        raise _syntax(text, file, line, str(getattr(wrong, "reason", "") or wrong)) from wrong


def _syntax(text: str, file: str, line: int, words: str) -> Invalid:
    lines = text.splitlines()
    near = lines[max(0, line - 2) : line]
    for number, shown in enumerate(near, max(1, line - 1)):
        if "\t" in shown[: len(shown) - len(shown.lstrip())]:
            return invalid(
                file,
                number,
                N_("a tab is used to indent; YAML allows only spaces"),
                N_("Replace the tabs at the beginning of the line by spaces."),
            )
    return invalid(
        file,
        line,
        N_("this is not YAML: {words}"),
        N_("Mend the line; look at indentation, quotes, and a colon without a space after it."),
        words=words.replace("\n", " ")[:300],
    )


class _Builder:
    """Makes data out of parse events, counting what aliases would expand to."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.anchors: dict[str, tuple[Any, int] | None] = {}
        self.nodes = 0

    def build(self, events: Iterator[Any]) -> Document:
        data: Any = None
        documents = 0
        iterator = iter(events)
        for event in iterator:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise self._bad(
                        event,
                        N_("the file holds more than one document"),
                        N_("Remove the '---' that begins another."),
                    )
            elif kind.startswith(("Stream", "Document", "Comment")):
                continue
            else:
                data = self._node(event, iterator, (), 0)
        return Document(data, self.lines)

    def _bad(self, event: Any, what: str, mend: str, **params: Any) -> Invalid:
        return invalid(self.file, event.start_mark.line + 1, what, mend, **params)

    def _count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > NODES:
            raise self._bad(
                event,
                N_("the file expands to more than {most} nodes"),
                N_("Write less, and don't nest anchors and aliases."),
                most=NODES,
            )

    def _node(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> Any:
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event)
        if depth > DEPTH:
            raise self._bad(
                event,
                N_("this is nested deeper than {most} levels"),
                N_("Make the structure flatter."),
                most=DEPTH,
            )
        before = self.nodes
        self._count(event, 1)
        self.lines.setdefault(path, event.start_mark.line + 1)
        anchor = event.anchor
        if anchor:
            self.anchors[anchor] = None
        value: Any
        if kind == "ScalarEvent":
            value = self._scalar(event)
        elif kind == "MappingStartEvent":
            self._tag(event, "tag:yaml.org,2002:map")
            value = self._mapping(events, path, depth)
        else:
            self._tag(event, "tag:yaml.org,2002:seq")
            value = []
            for item in events:
                if type(item).__name__ == "SequenceEndEvent":
                    break
                value.append(self._node(item, events, (*path, len(value)), depth + 1))
        if anchor:
            self.anchors[anchor] = (value, self.nodes - before)
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            raise self._bad(
                event,
                N_("there is no anchor '{anchor}' above"),
                N_("Define it first, or write the value out."),
                anchor=event.anchor,
            )
        known = self.anchors[event.anchor]
        if known is None:
            raise self._bad(
                event,
                N_("the alias '{anchor}' is inside what it stands for: a cycle"),
                N_("Write the value out instead of the alias."),
                anchor=event.anchor,
            )
        self._count(event, known[1])
        return known[0]

    def _mapping(self, events: Iterator[Any], path: Path, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for event in events:
            if type(event).__name__ == "MappingEndEvent":
                break
            key = self._key(event)
            if key in value:
                raise self._bad(
                    event,
                    N_("the key '{key}' is there twice (first in line {first})"),
                    N_("Remove one of them."),
                    key=key,
                    first=self.lines[(*path, key)],
                )
            below = (*path, key)
            self.lines[below] = event.start_mark.line + 1
            value[key] = self._node(next(events), events, below, depth + 1)
        return value

    def _key(self, event: Any) -> str:
        key = self._scalar(event) if type(event).__name__ == "ScalarEvent" else None
        if key == "<<" and not event.style:
            raise self._bad(
                event,
                N_("merge keys ('<<') are not supported"),
                N_("Write the keys out, or put what is shared into a lower layer."),
            )
        if not isinstance(key, str):
            raise self._bad(event, N_("a key here is not a string"), N_("Put the key into quotes."))
        return key

    def _tag(self, event: Any, allowed: str) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None and str(tag) not in (allowed, "!"):
            raise self._bad(
                event,
                N_("the tag '{tag}' is not allowed"),
                N_("Remove it: an estate holds plain data only."),
                tag=str(tag),
            )

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.tag is not None:
            self._tag(event, "tag:yaml.org,2002:str")
            return text
        if event.style:
            return text
        if text in _WORDS:
            return _WORDS[text]
        first = text[0]
        if not (first.isdigit() or first in "+-."):
            return text
        if _INT.fullmatch(text) and len(text) <= 300:
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if number - number == 0:
                return number
        elif not _SPECIAL.fullmatch(text):
            return text
        raise self._bad(
            event,
            N_("'{text}' is not a number that can be kept"),
            N_("Write a finite number, or quote it."),
            text=text[:50],
        )

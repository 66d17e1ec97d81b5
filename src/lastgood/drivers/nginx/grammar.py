"""Reads what somebody else wrote in nginx's language, as far as taking over a location needs it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lastgood.drivers.nginx.routes import BEGIN, END

TOKEN = re.compile(
    r"""
    \#[^\n]* | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'
    | [{};] | (?:\\.|\$\{[^}]*\}|[^\s{};"'\\])+ | \s+ | .
    """,
    re.VERBOSE | re.DOTALL,
)
FILE = re.compile(r"^# configuration file (.+):$", re.MULTILINE)


@dataclass(frozen=True)
class Statement:
    """``words`` up to a semicolon or a block, at ``begin`` to ``end`` of the text. ``body`` is what stands
    between the braces, None without.
    """

    words: tuple[str, ...]
    begin: int
    end: int
    body: str | None = None


def statements(text: str) -> Iterator[Statement]:
    """Those of the outermost level; what is left open is left out."""
    words: list[str] = []
    begin = depth = opened = 0
    for match in TOKEN.finditer(text):
        token = match.group()
        if token.isspace() or token.startswith("#"):
            continue
        if token == "{":
            depth += 1
            opened = match.end() if depth == 1 else opened
        elif token == "}":
            depth -= 1
            if depth == 0 and words:
                yield Statement(tuple(words), begin, match.end(), text[opened : match.start()])
                words = []
        elif depth:
            continue
        elif token == ";":
            if words:
                yield Statement(tuple(words), begin, match.end())
            words = []
        else:
            begin = match.start() if not words else begin
            words.append(token.strip("\"'"))


def files(dump: str) -> dict[str, str]:
    """The text of each file that ``nginx -T`` shows."""
    marks = list(FILE.finditer(dump))
    ends = [*(mark.start() for mark in marks[1:]), len(dump)]
    return {mark.group(1): dump[mark.end() : end] for mark, end in zip(marks, ends, strict=False)}


def upstream_body(text: str, name: str) -> str | None:
    """The inside of ``upstream NAME`` at any depth of one file."""
    for statement in statements(text):
        if statement.body is None:
            continue
        if statement.words[:2] == ("upstream", name):
            return statement.body
        if (
            statement.words[:1] != ("upstream",)
            and (inner := upstream_body(statement.body, name)) is not None
        ):
            return inner
    return None


def servers(body: str) -> tuple[str, ...]:
    """Addresses of an upstream block that take requests, sorted; a port that is not written is 80."""
    found = [s.words for s in statements(body) if s.words[:1] == ("server",) and len(s.words) > 1]
    return tuple(sorted(with_port(words[1]) for words in found if "down" not in words[2:]))


def with_port(address: str) -> str:
    has_port = address.startswith("unix:") or re.search(r":\d+$", address.rpartition("]")[2])
    return address if has_port else f"{address}:80"


def is_ours(text: str) -> bool:
    return BEGIN in text and END in text


def answering(text: str) -> Statement | None:
    """The statement that answers a location's requests now: one of the ``_pass``, or a return."""
    return next((s for s in statements(text) if s.words[0].endswith(("_pass", "return"))), None)


def taken_over(text: str, lines: str) -> str:
    """``text`` of a location with ``lines`` in the place of what answers its requests, or of our older lines;
    all else stays as it is.
    """
    if is_ours(text):
        begin, end = text.index(BEGIN), text.index(END) + len(END)
    elif (statement := answering(text)) is not None:
        begin, end = statement.begin, statement.end
    else:
        begin = end = len(text)
        lines = lines if not text or text.endswith("\n") else f"\n{lines}"
    return f"{text[:begin]}{lines}{text[end:] or chr(10)}"


def our_lines(text: str) -> str:
    return text[text.index(BEGIN) : text.index(END) + len(END)] if is_ours(text) else ""

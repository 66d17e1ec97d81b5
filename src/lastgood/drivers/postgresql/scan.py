"""Splits a script into statements, knowing strings, dollar quotes, comments and SQL function bodies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.sql.marks import marks as read_marks

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?P<estring>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<string>(?:[uU]&|[bBxXnN])?'(?:[^']|'')*')
    | (?P<name>(?:[uU]&)?"(?:[^"]|"")*")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<number>\d[\w.]*)
    | (?P<cast>::)
    | (?P<open>[(\[])
    | (?P<close>[)\]])
    | (?P<semicolon>;)
    | (?P<backslash>\\)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_CONTROL = {"BEGIN", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"}
_OPENING = {"BEGIN", "BEGIN WORK", "BEGIN TRANSACTION", "START TRANSACTION"}
_CLOSING = {f"{word}{rest}" for word in ("COMMIT", "END") for rest in ("", " WORK", " TRANSACTION")}
_ALONE = {"VACUUM", "CHECKPOINT"}
_ALONE_PAIRS = {
    ("CREATE", "DATABASE"), ("DROP", "DATABASE"), ("CREATE", "TABLESPACE"), ("DROP", "TABLESPACE"),
    ("ALTER", "SYSTEM"), ("DISCARD", "ALL"), ("REINDEX", "DATABASE"), ("REINDEX", "SYSTEM"),
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    """``kind`` is a group of the scanner; ``start`` counts characters from the script's begin."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True)
class Statement:
    """``text`` is exactly what is sent; ``line`` (from 1) is where it starts; ``words`` are its bare
    words in capitals, those inside strings, names and comments left out."""

    text: str
    line: int
    words: tuple[str, ...]

    def line_of(self, position: int) -> int:
        """The script's line of a character (from 1) of this statement, as the server reports it."""
        return self.line + self.text.count("\n", 0, max(position - 1, 0))

    @property
    def touches_settings(self) -> bool:
        """Whether it may change our time-outs."""
        return self.words[:1] in (("SET",), ("RESET",)) or "SET_CONFIG" in self.words


def tokens(script: str, file: str) -> list[Token]:
    """Every token; nothing is dropped. Raises InvalidInput when a quote or comment never ends."""
    found: list[Token] = []
    position = 0
    while position < len(script):
        match = _TOKEN.match(script, position)
        assert match is not None, "the last alternative matches anything"
        kind, end = match.lastgroup or "other", match.end()
        if kind == "block":
            end = _block_end(script, position)
        elif kind == "dollar":
            end = script.find(match[0], end)
            end = end + len(match[0]) if end >= 0 else -1
        if end < 0 or (kind == "other" and match[0] in "'\""):
            raise InvalidInput(
                N_("{file} has a quote or comment that never ends, begun in line {line}"),
                todo=N_("Close it."),
                where=f"{file}:{_line(script, position)}",
                file=file,
                line=_line(script, position),
            )
        found.append(Token(kind, script[position:end], position))
        position = end
    return found


def marks(script: str, file: str) -> frozenset[str]:
    """What the script asks of us in comments: ``-- lastgood: no transaction``. Raises InvalidInput."""
    return read_marks(tokens(script, file))


def split(script: str, file: str) -> tuple[Statement, ...]:
    """The statements of ``script``; comments and white space alone are none, and neither are a BEGIN and a
    COMMIT around everything: that is what a migration is here anyway. Raises InvalidInput.
    """
    statements: list[Statement] = []
    current: list[Token] = []
    nesting = Nesting()
    for token in tokens(script, file):
        if token.kind == "semicolon" and nesting.outside:
            _finish(script, current, statements)
            current, nesting = [], Nesting()
            continue
        nesting.see(token)
        if current or token.kind not in ("space", "line", "block"):
            current.append(token)
    _finish(script, current, statements)
    return _unwrapped(tuple(statements))


class Nesting:
    """Knows which semicolons end a statement: not those in parentheses (rules) nor in ``BEGIN ATOMIC``."""

    def __init__(self) -> None:
        self._depth = 0
        self._blocks = 0
        self._words: list[str] = []

    @property
    def outside(self) -> bool:
        return self._depth <= 0 and self._blocks == 0

    def see(self, token: Token) -> None:
        if token.kind == "open":
            self._depth += 1
        elif token.kind == "close":
            self._depth -= 1
        elif token.kind == "word":
            word = token.text.upper()
            routine = self._words[:1] == ["CREATE"] and any(
                w in ("FUNCTION", "PROCEDURE") for w in self._words[1:4]
            )
            if (routine and word == "ATOMIC" and self._words[-1:] == ["BEGIN"]) or (
                self._blocks and word == "CASE"
            ):
                self._blocks += 1
            elif self._blocks and word == "END":
                self._blocks -= 1
            self._words.append(word)


def runnable(script: str, file: str) -> tuple[Statement, ...]:
    """The statements, when all of them can run inside our transaction. Raises InvalidInput."""
    for token in tokens(script, file):
        if token.kind == "backslash":
            line = _line(script, token.start)
            raise _unfit(N_("{file} has a psql command (backslash) in line {line}"), file, line, "\\")
    statements = split(script, file)
    for statement in statements:
        template = _unfit_template(statement.words)
        if template:
            raise _unfit(template, file, statement.line, " ".join(statement.words[:3]))
    return statements


def _unwrapped(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Many tools write BEGIN and COMMIT around their scripts; only the bare words, which change nothing."""
    edges = [" ".join(s.text.upper().split()) for s in (*statements[:1], *statements[-1:])]
    if len(statements) > 1 and edges[0] in _OPENING and edges[1] in _CLOSING:
        return statements[1:-1]
    return statements


def _unfit_template(words: Sequence[str]) -> str:
    first, second = (*words[:2], "", "")[:2]
    if first in _CONTROL or (first, second) in (("START", "TRANSACTION"), ("PREPARE", "TRANSACTION")):
        return N_("{file} controls the transaction itself in line {line} ({words})")
    if first == "COPY" and ("STDIN" in words or "STDOUT" in words):
        return N_("{file} copies from or to the client in line {line}")
    concurrent = "CONCURRENTLY" in words and first in ("CREATE", "DROP", "REINDEX", "ALTER")
    if concurrent or first in _ALONE or (first, second) in _ALONE_PAIRS:
        return N_("{file} has a statement that can't run in a transaction in line {line} ({words})")
    return ""


def _unfit(template: str, file: str, line: int, words: str) -> InvalidInput:
    return InvalidInput(
        template,
        todo=N_(
            "Take it out: a migration runs in one transaction, which lastgood begins and ends. A single "
            "statement CONCURRENTLY may stand alone under the line -- lastgood: no transaction"
        ),
        where=f"{file}:{line}",
        file=file,
        line=line,
        words=words,
    )


def _finish(script: str, current: list[Token], statements: list[Statement]) -> None:
    while current and current[-1].kind in ("space", "line", "block"):
        current.pop()
    if current:
        start = current[0].start
        text = script[start : current[-1].start + len(current[-1].text)]
        words = tuple(t.text.upper() for t in current if t.kind == "word")
        statements.append(Statement(text, _line(script, start), words))


def _block_end(script: str, position: int) -> int:
    """Comments nest in PostgreSQL."""
    depth = 0
    for edge in _BLOCK_EDGE.finditer(script, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return -1


def _line(script: str, position: int) -> int:
    return script.count("\n", 0, position) + 1

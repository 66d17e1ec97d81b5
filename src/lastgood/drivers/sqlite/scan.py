"""Splits a script into statements, knowing strings, names, comments and the bodies of triggers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<line>--[^\n]*)
    | (?P<block>/\*.*?\*/)
    | (?P<string>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<number>\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
    | (?P<semicolon>;)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
BLANK = ("space", "line", "block")
_CONTROL = {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"}


@dataclass(frozen=True)
class Token:
    """``kind`` is a group of the scanner; ``start`` counts characters from the script's begin."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True)
class Statement:
    """``text`` is exactly what is sent; ``line`` (from 1) is where it starts; ``words`` are its bare words in
    capitals, those inside strings, names and comments left out.
    """

    text: str
    line: int
    words: tuple[str, ...]


def tokens(script: str, file: str) -> list[Token]:
    """Every token; nothing is dropped. Raises InvalidInput when a quote or comment never ends."""
    found: list[Token] = []
    position = 0
    while position < len(script):
        match = _TOKEN.match(script, position)
        assert match is not None, "the last alternative matches anything"
        kind = match.lastgroup or "other"
        if kind == "other" and (match[0] in "'\"`[" or script.startswith("/*", position)):
            line = script.count("\n", 0, position) + 1
            raise InvalidInput(
                N_("{file} has a quote or comment that never ends, begun in line {line}"),
                todo=N_("Close it."),
                where=f"{file}:{line}",
                file=file,
                line=line,
            )
        found.append(Token(kind, match[0], position))
        position = match.end()
    return found


def split(script: str, file: str) -> tuple[Statement, ...]:
    """The statements of ``script``; comments and white space alone are none. Raises InvalidInput."""
    statements: list[Statement] = []
    current: list[Token] = []
    for token in tokens(script, file):
        if token.kind == "semicolon" and not _in_trigger(current):
            _finish(script, current, statements)
            current = []
        elif current or token.kind not in BLANK:
            current.append(token)
    _finish(script, current, statements)
    return tuple(statements)


def runnable(script: str, file: str) -> tuple[Statement, ...]:
    """The statements, when all of them can be run in one transaction of ours. Raises InvalidInput."""
    statements = split(script, file)
    for statement in statements:
        what, todo = _unfit(statement)
        if what:
            raise InvalidInput(
                what,
                todo=todo,
                where=f"{file}:{statement.line}",
                file=file,
                line=statement.line,
                words=" ".join(statement.words[:3]) or statement.text.split()[0],
            )
    return statements


def plain(token: Token) -> str:
    """A name without its quotes, a word as it is."""
    if token.kind != "name":
        return token.text
    quote = token.text[-1]
    return token.text[1:-1] if quote == "]" else token.text[1:-1].replace(quote * 2, quote)


def _in_trigger(current: Sequence[Token]) -> bool:
    """Whether a semicolon is one between the statements of a trigger: it ends at ``; END ;``."""
    bare = [t for t in current if t.kind not in BLANK]
    words = [t.text.upper() if t.kind == "word" else "" for t in bare]
    if words[:1] != ["CREATE"] or "TRIGGER" not in words[1:3]:
        return False
    return not (words[-1] == "END" and bare[-2].kind == "semicolon")


def _unfit(statement: Statement) -> tuple[str, str]:
    """What is wrong with it, and what to do; empty when it is fit."""
    first, second = (*statement.words[:2], "", "")[:2]
    if first in _CONTROL:
        return (
            N_("{file} controls the transaction itself in line {line} ({words})"),
            N_("Take it out: each migration runs in one transaction with its revision."),
        )
    if first == "PRAGMA":
        return (
            N_("{file} has a PRAGMA in line {line}, which does nothing or harm inside a transaction"),
            N_("Take it out: foreign keys do not act while a migration runs, and are checked at its end."),
        )
    if first in ("ATTACH", "DETACH", "VACUUM"):
        return (
            N_("{file} reaches beyond the transaction of this database in line {line} ({words})"),
            N_("Take it out, and run it by hand where it is needed."),
        )
    if first == "CREATE" and second in ("TEMP", "TEMPORARY"):
        return (
            N_("{file} uses what only its session has in line {line} ({words})"),
            N_("Use WITH, or a table that the script drops again."),
        )
    if statement.text.startswith("."):
        return (
            N_("{file} has a command of the client in line {line} ({words})"),
            N_("Write it as SQL."),
        )
    return "", ""


def _finish(script: str, current: list[Token], statements: list[Statement]) -> None:
    while current and current[-1].kind in BLANK:
        current.pop()
    if not current:
        return
    start = current[0].start
    text = script[start : current[-1].start + len(current[-1].text)]
    words = tuple(t.text.upper() for t in current if t.kind == "word")
    statements.append(Statement(text, script.count("\n", 0, start) + 1, words))

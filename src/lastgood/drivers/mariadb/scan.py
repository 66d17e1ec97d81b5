"""Splits a script into statements, knowing strings, comments and the bodies of routines.

Strings are read as in the server's default ``sql_mode``, which every session of ours has: a backslash
escapes, and double quotes hold a string.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.sql.marks import AFTER_THE_LAST_WAVE, NO_TRANSACTION, UNDO_ROWS, marks

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<line>\#[^\n]*|--(?=\s|$)[^\n]*)
    | (?P<executed>/\*M?!)
    | (?P<block>/\*.*?\*/)
    | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    | (?P<name>`(?:[^`]|``)*`)
    | (?P<setting>@@[\w$.]+)
    | (?P<variable>@[\w$.]+)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<number>\d[\w.]*)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<semicolon>;)
    | (?P<backslash>\\)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ASKED = {"deploy": frozenset({AFTER_THE_LAST_WAVE}), "revert": frozenset({UNDO_ROWS})}
_ROUTINES = {"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT"}
_LOOPS = {"IF", "LOOP", "WHILE", "REPEAT", "FOR"}
_CONTROL = {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "XA", "LOCK", "UNLOCK", "USE"}
_HIDDEN = {"CALL", "PREPARE", "EXECUTE", "DEALLOCATE", "HANDLER"}
_SERVER = {
    "SHUTDOWN", "KILL", "FLUSH", "RESET", "CHANGE", "INSTALL", "UNINSTALL", "PURGE", "BACKUP", "BINLOG",
    "CACHE", "STOP",
}  # fmt: skip
_MODES = {"AUTOCOMMIT", "TRANSACTION", "COMPLETION_TYPE"}
_CLIENT = {"DELIMITER", "SOURCE"}
# The log has such rows with the statement's text, and without the mark that tells ours from the shop's.
_FILLED = N_(
    "{file} creates a table from a query in line {line} ({words}): a restore would take its rows for the "
    "application's"
)
_LISTED = {"TABLE", "TABLES", "VIEW", "SEQUENCE"}
_BLANK = ("space", "line", "block")
_ROWS = {"INSERT", "UPDATE", "DELETE", "REPLACE", "SELECT", "WITH", "VALUES", "TABLE", "DO"}
_LOOKS = {"SHOW", "DESCRIBE", "DESC", "EXPLAIN", "HELP"}
READS = {"SELECT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "HELP", "VALUES", "TABLE", "DO"}
"""First words of statements that write nothing."""
_REPEATABLE = {"ANALYZE", "OPTIMIZE", "CHECK", "REPAIR", "GRANT", "REVOKE"}


class Kind(str, Enum):
    """How a statement takes part in a transaction: ``definition`` ends one, and can't be rolled back."""

    ROWS = "rows"
    SESSION = "session"
    DEFINITION = "definition"


@dataclass(frozen=True)
class Token:
    """``kind`` is a group of the scanner; ``start`` counts characters from the script's begin."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True)
class Statement:
    """``text`` is exactly what is sent; ``line`` (from 1) is where it starts; ``words`` are its bare
    words in capitals, those inside strings, names and comments left out; ``names`` are words and names
    that may be those of tables, as they are written; ``before_dots`` are those that may be of a database;
    ``variables``: it uses variables of the session.
    """

    text: str
    line: int
    words: tuple[str, ...]
    names: frozenset[str] = frozenset()
    variables: bool = False
    before_dots: frozenset[str] = frozenset()

    @property
    def kind(self) -> Kind:
        first = self.words[0] if self.words else ""
        if first == "SET":
            return Kind.SESSION
        return Kind.ROWS if first in _ROWS | _LOOKS or not first else Kind.DEFINITION

    @property
    def repeatable(self) -> bool:
        """Doing it twice is doing it once."""
        return self.words[:1] != () and self.words[0] in _REPEATABLE


def tokens(script: str, file: str) -> list[Token]:
    """Every token; nothing is dropped. Raises InvalidInput when a quote or comment never ends."""
    found: list[Token] = []
    position = 0
    while position < len(script):
        match = _TOKEN.match(script, position)
        assert match is not None, "the last alternative matches anything"
        kind = match.lastgroup or "other"
        line = script.count("\n", 0, position) + 1
        if kind == "executed":
            raise _unfit(
                N_("{file} has a comment that the server executes in line {line}"), file, line, "/*!"
            )
        if kind == "other" and (match[0] in "'\"`" or script.startswith("/*", position)):
            raise InvalidInput(
                N_("{file} has a quote or comment that never ends, begun in line {line}"),
                todo=N_("Close it."),
                where=f"{file}:{line}",
                file=file,
                line=line,
            )
        if kind == "variable" and found and found[-1].kind in ("string", "name", "word"):
            kind = "other"  # The host of an account.
        found.append(Token(kind, match[0], position))
        position = match.end()
    return found


def split(script: str, file: str) -> tuple[Statement, ...]:
    """The statements of ``script``; comments and white space alone are none. Raises InvalidInput."""
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
    return tuple(statements)


class Nesting:
    """Knows which semicolons end a statement: not those between ``BEGIN`` and ``END`` of a routine."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._blocks = 0
        self._ended = False

    @property
    def outside(self) -> bool:
        # What the last END ended is known by the word after it; a semicolon there: a block.
        return self._blocks - self._ended <= 0

    def see(self, token: Token) -> None:
        if token.kind in ("space", "line", "block"):
            return
        word = token.text.upper() if token.kind == "word" else ""
        if self._ended:
            self._ended = False
            if word not in _LOOPS:
                self._blocks -= 1
            if word in _LOOPS or word == "CASE":
                self._words.append(word)
                return
        if word:
            routine = self._words[:1] == ["CREATE"] and bool(_ROUTINES & set(self._words[:8]))
            if routine and (word == "BEGIN" or (word == "CASE" and self._blocks)):
                self._blocks += 1
            elif self._blocks and word == "END":
                self._ended = True
            self._words.append(word)


def runnable(script: str, file: str, *, definitions: bool = True, part: str = "") -> tuple[Statement, ...]:
    """The statements, when lastgood can run all of them and know what became of each.

    ``definitions`` False: none that ends a transaction; ``part``: which script of a migration it is, for what
    it may ask. Raises InvalidInput.
    """
    found = tokens(script, file)
    for mark in sorted(marks(found) - _ASKED.get(part, frozenset())):
        raise _unmarked(mark, file)
    for token in found:
        if token.kind == "backslash":
            line = script.count("\n", 0, token.start) + 1
            raise _unfit(N_("{file} has a command of the client in line {line} ({words})"), file, line, "\\")
    statements = split(script, file)
    mixed = len({s.kind for s in statements} - {Kind.SESSION}) > 1
    for statement in statements:
        template = _unfit_template(statement, definitions=definitions, mixed=mixed)
        if template:
            raise _unfit(template, file, statement.line, " ".join(statement.words[:3]))
    return tuple(single for statement in statements for single in one_each(statement))


def one_each(statement: Statement) -> tuple[Statement, ...]:
    """A DROP of several objects as one of each, with the line of its name: killed between two of them, the
    server has dropped some, and that would be taken for all.
    """
    if statement.words[:1] != ("DROP",) or not _LISTED & set(statement.words[1:2]):
        return (statement,)
    text = statement.text
    bare = [t for t in tokens(text, "") if t.kind not in _BLANK]
    first = 4 if [t.text.upper() for t in bare[2:4]] == ["IF", "EXISTS"] else 2
    commas = [position for position, token in enumerate(bare) if token.text == ","]
    if not commas or commas[-1] + 1 >= len(bare):
        return (statement,)
    end = commas[-1] + 2
    while end + 1 < len(bare) and bare[end].text == ".":
        end += 2
    head, tail = text[: bare[first].start], text[bare[end - 1].start + len(bare[end - 1].text) :]
    found: list[Statement] = []
    for begin, behind in zip((first, *(comma + 1 for comma in commas)), (*commas, end), strict=True):
        start = bare[begin].start
        name = text[start : bare[behind - 1].start + len(bare[behind - 1].text)]
        line = statement.line + text.count("\n", 0, start)
        found.append(replace(split(head + name + tail, "")[0], line=line))
    return tuple(found)


def _unfit_template(statement: Statement, *, definitions: bool, mixed: bool) -> str:
    words = statement.words
    first, second = (*words[:2], "", "")[:2]
    if first in _CONTROL or (first, second) == ("START", "TRANSACTION"):
        return N_("{file} controls the transaction itself in line {line} ({words})")
    if first == "SET" and (
        {"AUTOCOMMIT", "TRANSACTION", "COMPLETION_TYPE"} & set(words) or second == "STATEMENT"
    ):
        return N_("{file} controls the transaction itself in line {line} ({words})")
    if first in _CLIENT:
        return N_("{file} has a command of the client in line {line} ({words})")
    if first in _HIDDEN or first == "LOAD" or (first == "SELECT" and "INTO" in words):
        return N_("{file} has a statement whose effect can't be seen afterwards in line {line} ({words})")
    if first == "TRUNCATE":
        return N_(
            "{file} truncates a table in line {line}, which nothing takes back: DELETE FROM does the same"
        )
    if _fills(words):
        return _FILLED
    whole = {"DATABASE", "SCHEMA"} & set(words[1:4])
    if first in _SERVER or (first in ("CREATE", "ALTER", "DROP") and whole) or _is_global(words):
        return N_("{file} changes more than this database in line {line} ({words})")
    if second == "TEMPORARY" or words[1:4] == ("OR", "REPLACE", "TEMPORARY"):
        return N_("{file} uses what only its session has in line {line} ({words})")
    if mixed and statement.variables and statement.kind is not Kind.DEFINITION:
        return N_("{file} uses what only its session has in line {line} ({words})")
    if not definitions and statement.kind is Kind.DEFINITION:
        return N_("{file} changes definitions in line {line} ({words}): a verify script only looks")
    return ""


def _unmarked(mark: str, file: str) -> InvalidInput:
    """What is asked for and not done must not pass for a comment."""
    what = N_("{file} asks for '{mark}', which lastgood does not know")
    todo = N_("Take the line out, or write what was meant.")
    if mark == NO_TRANSACTION:
        what = N_(
            "{file} asks for '{mark}', and MariaDB has no transaction for definitions that it could leave"
        )
        todo = N_("Take the line out: here each definition runs alone anyway.")
    elif mark == UNDO_ROWS:
        what = N_("{file} asks for '{mark}', which is asked for in revert.sql only")
        todo = N_("Put the line into revert.sql.")
    elif mark == AFTER_THE_LAST_WAVE:
        what = N_("{file} asks for '{mark}', which is asked for in deploy.sql only")
        todo = N_("Put the line into deploy.sql.")
    return InvalidInput(what, todo=todo, where=file, file=file, mark=mark)


def _fills(words: Sequence[str]) -> bool:
    """Whether a table is made of the rows of a query. Partitions are defined by VALUES as well."""
    if words[:2] != ("CREATE", "TABLE") and words[:4] != ("CREATE", "OR", "REPLACE", "TABLE"):
        return False
    following = zip(words, (*words[1:], ""), strict=True)
    return "SELECT" in words or any(w == "VALUES" and n not in ("LESS", "IN") for w, n in following)


def _is_global(words: Sequence[str]) -> bool:
    return words[:1] == ("SET",) and bool({"GLOBAL", "PERSIST", "PASSWORD", "ROLE"} & set(words[1:]))


def _unfit(template: str, file: str, line: int, words: str) -> InvalidInput:
    todo = N_("Take it out: what became of a migration must be known whenever it breaks off.")
    if template == _FILLED:
        todo = N_("Write two statements: CREATE TABLE, then INSERT … SELECT.")
    return InvalidInput(
        template,
        todo=todo,
        where=f"{file}:{line}",
        file=file,
        line=line,
        words=words,
    )


def _finish(script: str, current: list[Token], statements: list[Statement]) -> None:
    while current and current[-1].kind in ("space", "line", "block"):
        current.pop()
    if not current:
        return
    start = current[0].start
    text = script[start : current[-1].start + len(current[-1].text)]
    words = tuple(t.text.upper() for t in current if t.kind == "word")
    names = frozenset(unquoted(t.text) for t in current if t.kind in ("word", "name"))
    variables = any(t.kind == "variable" for t in current)
    bare = [t for t in current if t.kind not in ("space", "line", "block")]
    before_dots = frozenset(
        unquoted(token.text)
        for token, following in itertools.pairwise(bare)
        if following.text == "." and token.kind in ("word", "name")
    )
    line = script.count("\n", 0, start) + 1
    if words[:2] == ("DROP", "TABLES"):
        # The same, and known by the other word to all that reads it.
        begin = bare[1].start - start
        text, words = f"{text[:begin]}TABLE{text[begin + len('TABLES') :]}", ("DROP", "TABLE", *words[2:])
    statements.append(Statement(text, line, words, names, variables, before_dots))


def unquoted(name: str) -> str:
    """An identifier without its backticks."""
    return name[1:-1].replace("``", "`") if name.startswith("`") else name

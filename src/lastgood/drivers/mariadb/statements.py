"""What a statement that the log has as its text does to the rows of one database's tables.

The server logs rows as rows. As text it logs definitions, and what sessions write that have another
``binlog_format`` than the server. What is not known for sure counts as the latter.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|\#[^\n]*|--(?=\s|$)[^\n]*|/\*M?!\d*|/\*(?!M?!).*?\*/|\*/)
    | (?P<string>'(?:[^'\\]|\\.|'')*')
    | (?P<name>`(?:[^`]|``)*`|"(?:[^"\\]|\\.|"")*")
    | (?P<word>[\w$\x80-\U0010ffff]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_HARMLESS = frozenset({
    "", "CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "GRANT", "REVOKE", "ANALYZE", "OPTIMIZE", "REPAIR",
    "CHECK", "FLUSH", "SET", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "INSTALL", "UNINSTALL",
})  # fmt: skip
"""First words of statements that write no rows, or of which it is found out below."""

Pair = tuple[str, str]


class Incomplete(Exception):
    """The log does not tell everything that was written; the text says what."""


@dataclass(frozen=True)
class Effect:
    """``emptied``: tables whose rows are gone, and ``dropped``: they are too; ``renamed``: from and to, one
    after the other; ``made``: a new table; ``untold``: what it does to rows that the log does not tell,
    empty: nothing.
    """

    emptied: tuple[str, ...] = ()
    renamed: tuple[Pair, ...] = ()
    made: str = ""
    dropped: bool = False
    untold: str = ""

    def like(self, other: Effect) -> bool:
        """Whether both may be one statement: the server logs some in words of its own."""
        mine, others = ((e.emptied, e.renamed, e.made) for e in (self, other))
        return mine == others and any(mine)


class _Cursor:
    """Goes through the tokens of a statement; ``schema`` was the default."""

    def __init__(self, text: str, schema: str) -> None:
        self.schema = schema
        self.tokens = [
            (m.lastgroup or "", plain(m[0])) for m in _TOKEN.finditer(text) if m.lastgroup != "blank"
        ]
        self.at = 0

    @property
    def word(self) -> str:
        """In capitals, ``""`` when there is none or it is quoted."""
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        return text.upper() if kind in ("word", "other") else ""

    @property
    def left(self) -> bool:
        return self.at < len(self.tokens)

    def take(self, *words: str) -> bool:
        """Step behind these if they are next."""
        begin = self.at
        for word in words:
            if self.word != word:
                self.at = begin
                return False
            self.at += 1
        return True

    def any_of(self, *words: str) -> str:
        found = self.word if self.word in words else ""
        self.at += bool(found)
        return found

    def place(self) -> Pair:
        """Database and table."""
        first = self._name()
        return (first, self._name()) if self.take(".") else (self.schema, first)

    def words(self) -> Iterator[str]:
        """The rest."""
        while self.left:
            yield self.word
            self.at += 1

    def _name(self) -> str:
        found = self.tokens[self.at][1] if self.left else ""
        self.at += 1
        return found


def effect(text: str, schema: str, ours: str) -> Effect:
    """On tables of ``ours``, of a statement sent while ``schema`` was the default. Raises Incomplete when it
    writes rows.
    """
    cursor = _Cursor(text, schema)
    if cursor.take("SET", "STATEMENT"):
        while cursor.left and not cursor.take("FOR"):
            cursor.at += 1
    first = cursor.word if cursor.left else ""
    if first not in _HARMLESS or (cursor.left and not first):
        if schema == ours or any(t.casefold() == ours.casefold() for _, t in cursor.tokens):
            raise Incomplete("rows were written by statements that the log has as text only")
        return Effect()
    cursor.at += 1
    what = {
        "TRUNCATE": _truncate, "DROP": _drop, "CREATE": _create, "RENAME": _rename, "ALTER": _alter,
    }.get(first)  # fmt: skip
    return what(cursor, ours) if what else Effect()


def _truncate(cursor: _Cursor, ours: str) -> Effect:
    cursor.take("TABLE")
    schema, table = cursor.place()
    return Effect(emptied=(table,)) if schema == ours else Effect()


def _drop(cursor: _Cursor, ours: str) -> Effect:
    if cursor.any_of("DATABASE", "SCHEMA"):
        cursor.take("IF", "EXISTS")
        return Effect(untold=f"database {ours} was dropped") if cursor.place()[1] == ours else Effect()
    if not cursor.any_of("TABLE", "TABLES"):
        return Effect()
    cursor.take("IF", "EXISTS")
    places = [cursor.place()]
    while cursor.take(","):
        places.append(cursor.place())
    gone = tuple(table for schema, table in places if schema == ours)
    return Effect(emptied=gone, dropped=bool(gone))


def _create(cursor: _Cursor, ours: str) -> Effect:
    anew = cursor.take("OR", "REPLACE")
    if not cursor.take("TABLE"):
        return Effect()
    cursor.take("IF", "NOT", "EXISTS")
    schema, table = cursor.place()
    if schema != ours:
        return Effect()
    filled = "SELECT" in cursor.words()
    return Effect(
        emptied=(table,) if anew else (),
        made=table,
        untold=f"table {table} was filled by a statement that the log has as text only" if filled else "",
    )


def _rename(cursor: _Cursor, ours: str) -> Effect:
    if not cursor.any_of("TABLE", "TABLES"):
        return Effect()
    cursor.take("IF", "EXISTS")
    pairs: list[Pair] = []
    while cursor.left:
        here = cursor.place()
        if cursor.any_of("WAIT", "NOWAIT") and cursor.word != "TO":
            cursor.at += 1
        if not cursor.take("TO"):
            break
        pairs += _moved(here, cursor.place(), ours)
        if not cursor.take(","):
            break
    return Effect(renamed=tuple(pairs))


def _alter(cursor: _Cursor, ours: str) -> Effect:
    cursor.take("ONLINE")
    ignore = cursor.take("IGNORE")
    if not cursor.take("TABLE"):
        return Effect()
    cursor.take("IF", "EXISTS")
    here = cursor.place()
    begin = cursor.at
    words = list(cursor.words())
    pairs = itertools.pairwise(words)
    moves = ignore or any(
        (second == "PARTITION" and first in ("DROP", "TRUNCATE", "EXCHANGE", "CONVERT"))
        or (second == "TABLESPACE" and first in ("DISCARD", "IMPORT"))
        or (first, second) == ("CONVERT", "TABLE")
        for first, second in pairs
    )
    if moves and (ours in (here[0], cursor.schema) or any(text == ours for _, text in cursor.tokens)):
        return Effect(untold=f"rows of table {here[1]} went or came with a definition")
    return Effect(renamed=tuple(_new_names(cursor, begin, here, ours)))


def _new_names(cursor: _Cursor, begin: int, here: Pair, ours: str) -> Iterator[Pair]:
    """Of an ALTER TABLE; as a whole it has one at most."""
    cursor.at = begin
    depth = 0
    while cursor.left:
        depth += (cursor.word == "(") - (cursor.word == ")")
        if depth or not cursor.take("RENAME"):
            cursor.at += 1
        elif not cursor.any_of("COLUMN", "INDEX", "KEY"):
            cursor.any_of("TO", "AS", "=")
            yield from _moved(here, cursor.place(), ours)


def _moved(here: Pair, there: Pair, ours: str) -> Iterator[Pair]:
    if here[0] == there[0] == ours:
        yield here[1], there[1]
    elif ours in (here[0], there[0]):
        raise Incomplete("tables were moved from one database to another")


def plain(name: str) -> str:
    """A name as a statement writes it, without its quotes."""
    if name[:1] in ("`", '"') and len(name) > 1:
        return name[1:-1].replace(name[0] * 2, name[0])
    return name


@dataclass
class Places:
    """Which tables are there, at the place in the log that was read last: the server logs a DROP … IF EXISTS
    and a RENAME … IF EXISTS also where there is nothing.

    ``absent``: names that nothing has since it was dropped or renamed; ``replaced``: those that what came
    later has, because a migration dropped the table of the cut, or somebody renamed it.
    """

    absent: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)

    def drop(self, name: str, *, own: bool) -> None:
        if own and name not in self.absent:
            self.replaced.add(name)
        self.absent.add(name)

    def seen(self, name: str) -> None:
        """It is there: it was made, or rows of it were written."""
        self.absent.discard(name)

    def rename(self, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        """Those that were renamed indeed."""
        done: list[Pair] = []
        for here, there in pairs:
            if here in self.absent:
                continue
            done.append((here, there))
            self.absent.add(here)
            self.replaced.add(here)
            self.absent.discard(there)
            self.replaced.discard(there)
        return tuple(done)


def follow(names: MutableMapping[str, str], pairs: Sequence[Pair], tables: Collection[str]) -> None:
    """``names``: what tables that were renamed are called in the copy, which has ``tables``.

    A new table that takes the place of one of the copy's is that one from then on, and whatever had its name
    before is no table of the copy any more.
    """
    for here, there in pairs:
        home = names.pop(here, here)
        if home not in tables and there in tables:
            home = there
        for name in [n for n, h in names.items() if h == home]:
            del names[name]
        names.pop(there, None)
        if there != home:
            names[there] = home

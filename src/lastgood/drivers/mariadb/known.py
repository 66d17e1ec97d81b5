"""What the migrations so far made: as much of the schema as their scripts tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lastgood.sql.clauses import Clause, Name, columns, written
from lastgood.sql.statements import Token

CONSTRAINTS = (
    "CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "INDEX", "KEY", "FULLTEXT", "SPATIAL", "PERIOD",
)  # fmt: skip
_ALIASES = {
    "integer": "int", "int4": "int", "int8": "bigint", "int2": "smallint", "int3": "mediumint",
    "bool": "tinyint", "boolean": "tinyint", "dec": "decimal", "numeric": "decimal", "fixed": "decimal",
    "real": "double", "float8": "double", "float4": "float", "character": "char", "json": "longtext",
}  # fmt: skip
_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "year"})
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})
_WIDTHS = {"latin1": 1, "ascii": 1, "binary": 1, "utf8": 3, "utf8mb3": 3, "ucs2": 2}
"""Bytes of a character at most; 4 where it is not known."""


@dataclass(frozen=True)
class Column:
    """``kind`` is the server's own word for the type, ``size`` what stands in its parentheses, ``values``
    those of an enum or set. ``charset`` and ``collation`` empty: the table's. ``computed``: VIRTUAL, STORED
    or not.
    """

    kind: str
    size: tuple[int, ...] = ()
    values: tuple[str, ...] = ()
    unsigned: bool = False
    charset: str = ""
    collation: str = ""
    required: bool = False
    computed: str = ""
    numbered: bool = False


@dataclass
class Table:
    """``whole``: its CREATE TABLE was read."""

    columns: dict[str, Column] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    charset: str = ""
    collation: str = ""
    engine: str = ""
    fulltext: bool = False
    indexed: set[str] = field(default_factory=set)
    whole: bool = False

    @property
    def virtual(self) -> set[str]:
        return {name for name, column in self.columns.items() if column.computed == "VIRTUAL"}


@dataclass
class Known:
    """By ``Name.key``."""

    tables: dict[str, Table] = field(default_factory=dict)

    def table(self, name: Name) -> Table:
        """What is known of it; nothing, of one that came about otherwise."""
        return self.tables.setdefault(name.key, Table())

    def create(self, name: Name, parts: Sequence[Sequence[Token]], options: Clause) -> None:
        """CREATE TABLE with these columns and constraints, and what stands behind them."""
        table = self.tables[name.key] = Table(whole=True)
        given = options_of(options)
        table.charset, table.collation = given.get("charset", ""), given.get("collation", "")
        table.engine = given.get("engine", "")
        for part in parts:
            clause = Clause(part)
            if any(clause.peek(word) for word in CONSTRAINTS):
                self.constrain(table, clause)
            else:
                self.add(table, clause)

    def add(self, table: Table, clause: Clause) -> Name:
        """A column's definition, from its name on."""
        name = clause.name()
        column = column_of(clause.again())
        table.columns[name.key] = column
        if clause.has("PRIMARY", "KEY"):
            table.key = (name.key,)
        if clause.has("PRIMARY", "KEY") or clause.has("UNIQUE"):
            table.indexed.add(name.key)
        return name

    def constrain(self, table: Table, clause: Clause) -> None:
        """A table's constraint or index, from its first word on."""
        if clause.take("CONSTRAINT") and not any(clause.peek(word) for word in CONSTRAINTS):
            clause.name()
        if clause.take("PRIMARY", "KEY"):
            table.key = tuple(c.key for c in columns(clause.group()))
            table.indexed |= set(table.key)
        elif clause.take("FULLTEXT"):
            table.fulltext = True
        elif clause.any_of("UNIQUE", "INDEX", "KEY"):
            clause.any_of("INDEX", "KEY")
            if not clause.peek("("):
                clause.name()
            table.indexed |= {c.key for c in columns(clause.group())}

    def rename(self, was: Name, now: Name) -> None:
        if was.key in self.tables:
            self.tables[now.key] = self.tables.pop(was.key)


def column_of(clause: Clause) -> Column:
    """A column's definition, from its type on."""
    kind = clause.name().key
    kind = _ALIASES.get(kind, kind)
    if kind == "double":
        clause.take("PRECISION")
    if kind == "char" and clause.take("VARYING"):
        kind = "varchar"
    inside = clause.group()
    values = tuple(t.text for t in inside if t.kind == "string")
    size = tuple(int(t.text) for t in inside if t.kind == "number" and t.text.isdigit())
    if kind in _INTEGERS:
        size = ()
    given = options_of(clause.again())
    computed = ""
    if clause.has("AS", "("):
        computed = "STORED" if clause.has("STORED") or clause.has("PERSISTENT") else "VIRTUAL"
    return Column(
        kind,
        size,
        values,
        clause.has("UNSIGNED"),
        given.get("charset", "") if kind in _TEXTS else "",
        given.get("collation", "") if kind in _TEXTS else "",
        clause.has("NOT", "NULL") or clause.has("PRIMARY", "KEY"),
        computed,
        clause.has("AUTO_INCREMENT"),
    )


_AFTER_TYPE = frozenset({
    "NOT", "NULL", "DEFAULT", "COMMENT", "AUTO_INCREMENT", "UNIQUE", "PRIMARY", "KEY", "CHECK", "REFERENCES",
    "AS", "GENERATED", "FIRST", "AFTER", "ON", "INVISIBLE", "CHARACTER", "CHARSET", "COLLATE", "WITH",
    "WITHOUT", "CONSTRAINT", "STORED", "PERSISTENT", "VIRTUAL",
})  # fmt: skip
"""Where the type of a column ends."""


def typed(clause: Clause) -> tuple[str, str]:
    """The type that comes next as it is written, and what stands behind it."""
    found = clause.rest()
    end = next(
        (n for n, t in enumerate(found) if n and t.kind == "word" and t.text.upper() in _AFTER_TYPE),
        len(found),
    )
    return written(found[:end]), written(found[end:])


_CHARSET = re.compile(r"\b(?:CHARACTER SET|CHARSET)\s*=?\s*['\"]?(\w+)", re.IGNORECASE)
_COLLATE = re.compile(r"\bCOLLATE\s*=?\s*['\"]?(\w+)", re.IGNORECASE)
_ENGINE = re.compile(r"\bENGINE\s*=?\s*['\"]?(\w+)", re.IGNORECASE)
_FOUND = (("charset", _CHARSET), ("collation", _COLLATE), ("engine", _ENGINE))


def options_of(clause: Clause) -> dict[str, str]:
    """Character set, collation and engine that are named, in small letters."""
    text = written([t for t in clause.rest() if t.kind != "name"])
    found = ((name, pattern.search(text)) for name, pattern in _FOUND)
    given = {name: match[1].lower() for name, match in found if match}
    if "collation" in given and "charset" not in given:
        given["charset"] = given["collation"].split("_")[0]
    return given


INSTANT, ONLINE, COPIES = "instant", "online", "copies"
"""How the server changes a table: its definition only; all rows, while others write; all rows, while nobody
writes.
"""


def change(was: Column, now: Column, table: Table) -> str:
    """How a column becomes another one."""
    if was.computed or now.computed:
        same = was.computed == now.computed == "VIRTUAL"
        return INSTANT if same else COPIES
    if (was.kind, was.unsigned) != (now.kind, now.unsigned) or (now.numbered and not was.numbered):
        return COPIES
    sets = {_charset(was, table), _charset(now, table)} if was.kind in _TEXTS else set()
    if len(sets) > 1 and (sets != {"utf8mb3", "utf8mb4"} or _charset(now, table) != "utf8mb4"):
        return COPIES
    if (was.size != now.size or len(sets) > 1) and not _widens(was, now, table):
        return COPIES
    if was.values != now.values and now.values[: len(was.values)] != was.values:
        return COPIES
    return INSTANT if was.required == now.required else ONLINE


def _charset(column: Column, table: Table) -> str:
    found = column.charset or table.charset
    return "utf8mb3" if found == "utf8" else found


def _widens(was: Column, now: Column, table: Table) -> bool:
    """Only the length's own length may not change: it is one byte up to 255, and the server can tell which it
    is where the text was 127 at most.
    """
    if was.kind not in ("varchar", "varbinary") or not was.size or not now.size or now.size < was.size:
        return False
    old, new = (one.size[0] * _width(one, table) for one in (was, now))
    return new <= 255 or old <= 127 or old > 255


def _width(column: Column, table: Table) -> int:
    return 1 if column.kind == "varbinary" else _WIDTHS.get(_charset(column, table), 4)

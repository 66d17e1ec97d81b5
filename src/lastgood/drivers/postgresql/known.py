"""What the migrations so far made: as much of the schema as their scripts tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lastgood.sql.clauses import NOBODY, Clause, Name, columns, written
from lastgood.sql.statements import Token

CONSTRAINTS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE", "LIKE")
# Where the type of a column ends.
_AFTER_TYPE = {
    "DEFAULT", "NOT", "NULL", "PRIMARY", "UNIQUE", "REFERENCES", "CHECK", "GENERATED", "CONSTRAINT",
    "COLLATE", "STORAGE", "COMPRESSION", "USING", "DEFERRABLE",
}  # fmt: skip


@dataclass
class Table:
    """Types by column; ``required`` ones hold no NULL; ``leading``: columns of each index, in order."""

    types: dict[str, str] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    leading: list[tuple[str, ...]] = field(default_factory=list)
    key: tuple[str, ...] = ()
    checks: int = 0
    checked: set[str] = field(default_factory=set)
    """Columns that a valid CHECK says hold no NULL."""
    unproven: dict[str, set[str]] = field(default_factory=dict)
    """The same of a CHECK that is not validated, by its name."""

    def indexed(self, wanted: Sequence[str]) -> bool:
        """Whether an index begins with these columns, in any order."""
        return any(set(found[: len(wanted)]) == set(wanted) for found in self.leading)


@dataclass
class Known:
    """By ``Name.key``; ``volatile`` functions, and the table of each index."""

    tables: dict[str, Table] = field(default_factory=dict)
    volatile: set[str] = field(default_factory=set)
    indexes: dict[str, Name] = field(default_factory=dict)

    def table(self, name: Name) -> Table:
        """What is known of it; nothing, of one that came about otherwise."""
        return self.tables.setdefault(name.key, Table())

    def create(self, name: Name, parts: Sequence[Sequence[Token]]) -> None:
        """CREATE TABLE with these columns and constraints."""
        table = self.tables[name.key] = Table()
        for part in parts:
            clause = Clause(part)
            if any(clause.peek(word) for word in CONSTRAINTS):
                self.constrain(table, clause)
            else:
                self.column(table, clause)

    def column(self, table: Table, clause: Clause) -> Name:
        """A column's definition."""
        name = clause.name()
        table.types[name.key] = type_of(clause)
        if clause.has("NOT", "NULL") or clause.has("PRIMARY", "KEY"):
            table.required.add(name.key)
        if clause.has("PRIMARY", "KEY"):
            table.key = (name.key,)
        if clause.has("PRIMARY", "KEY") or clause.has("UNIQUE"):
            table.leading.append((name.key,))
        table.checks += clause.has("CHECK")
        return name

    def constrain(self, table: Table, clause: Clause) -> None:
        """A table's constraint, from CONSTRAINT or its kind on."""
        name = clause.name() if clause.take("CONSTRAINT") else NOBODY
        if clause.take("PRIMARY", "KEY"):
            table.key = tuple(c.key for c in columns(clause.group()))
            table.leading.append(table.key)
            table.required |= set(table.key)
        elif clause.take("UNIQUE"):
            table.leading.append(tuple(c.key for c in columns(clause.group())))
        elif clause.take("CHECK"):
            table.checks += 1
            column = without_null(clause.group())
            if column and clause.has("NOT", "VALID"):
                table.unproven.setdefault(name.key, set()).add(column)
            elif column:
                table.checked.add(column)

    def rename(self, was: Name, now: Name) -> None:
        schema, dot, _ = was.key.rpartition(".")
        if was.key in self.tables:
            self.tables[schema + dot + now.key] = self.tables.pop(was.key)


def type_of(clause: Clause) -> str:
    """The type that comes next, in lower case: ``character varying(20)``."""
    found: list[Token] = []
    for token in clause.rest():
        if token.kind == "word" and token.text.upper() in _AFTER_TYPE:
            break
        found.append(token)
    return written(found).lower()


def without_null(condition: Sequence[Token]) -> str:
    """The column of ``column IS NOT NULL``; empty when the condition is another one."""
    clause = Clause(condition)
    while clause.peek("("):
        clause = Clause(clause.group())
    name = clause.name()
    return name.key if clause.take("IS", "NOT", "NULL") and clause.over else ""


_ALIASES = (
    (r"^character varying|^char varying", "varchar"), (r"^decimal", "numeric"), (r"^character", "char"),
    (r"^int4$|^int$|^serial4?$", "integer"), (r"^int8$|^bigserial$", "bigint"), (r"^bool$", "boolean"),
    (r"^int2$|^smallserial$", "smallint"), (r"^bit varying", "varbit"), (r"\s*\(\s*", "("),
    (r"^timestamptz(.*)", r"timestamp\1 with time zone"), (r" without time zone$", ""),
    (r"\s*,\s*", ","), (r"\s*\)", ")"), (r"^pg_catalog\.", ""),
)  # fmt: skip
_WIDENS = ("varchar", "varbit", "timestamp", "time", "interval")
_SIZE = re.compile(r"\(([\d,]+)\)")
UNKNOWN_BUT_LIKELY = ("text", "varchar", "numeric")
"""Targets that mostly widen: of a column whose type is not known, that is no news."""


def rewrites(was: str, now: str) -> bool:
    """Whether ALTER COLUMN TYPE has to write every row anew. ``was`` empty: not known.

    Source: ALTER TABLE, "Notes", and the binary-coercible casts and length coercions of pg_cast (15 to 18).
    """
    old, new = _normal(was), _normal(now)
    if not old:
        return _base(new) not in UNKNOWN_BUT_LIKELY
    if old == new:
        return False
    base, target = _base(old), _base(new)
    size, wider = _size(old), _size(new)
    if target in ("text", "varchar") and base in ("text", "varchar"):
        return bool(wider) and not (base == "varchar" and size and wider >= size)
    if base != target:
        return (base, target) not in (("cidr", "inet"), ("xml", "text"))
    if base == "numeric":
        return bool(wider) and not (len(size) == len(wider) and size[1:] == wider[1:] and wider >= size)
    return not (base in _WIDENS and (not wider or (bool(size) and wider >= size)))


def _normal(kind: str) -> str:
    text = " ".join(kind.lower().split())
    for pattern, plain in _ALIASES:
        text = re.sub(pattern, plain, text)
    return text


def _base(kind: str) -> str:
    return _SIZE.sub("", kind).strip()


def _size(kind: str) -> tuple[int, ...]:
    found = _SIZE.search(kind)
    return tuple(int(n) for n in found[1].split(",")) if found else ()

"""What takes one statement back, found by comparing the schema before it and after it. No I/O.

What the statement itself says is needed only where the schema doesn't tell: that something was renamed, or
that rows were lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from lastgood.drivers.mariadb.connection import quoted
from lastgood.drivers.mariadb.fingerprint import (
    COLUMN,
    CONSTRAINT,
    EVENT,
    INDEX,
    ORDER,
    SEQUENCE,
    TABLE,
    TRIGGER,
    VIEW,
    statement_of,
)
from lastgood.drivers.mariadb.progress import Owned, Undo
from lastgood.drivers.mariadb.scan import Statement, Token, tokens, unquoted
from lastgood.drivers.mariadb.types import fits
from lastgood.sql.aside import Added
from lastgood.sql.listing import Listing, Part

_ROUTINES = ("procedure", "function", "package", "package body")
_PROGRAMS = (TRIGGER, EVENT, *_ROUTINES)
_ORDERED = re.compile(r"; in place \d+$")


@dataclass(frozen=True)
class Lost:
    """``words`` for people; ``rows``: those of the table, or values of its ``column``."""

    table: str
    words: str
    column: str = ""
    rows: bool = False


@dataclass
class Reversal:
    """``statements`` take it back in their order; ``lost`` is what they don't bring back."""

    statements: list[Undo] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)


@dataclass
class Renames:
    """New name by old name; columns and indexes by (table's old name, old name)."""

    tables: dict[str, str] = field(default_factory=dict)
    columns: dict[tuple[str, str], str] = field(default_factory=dict)


def reversal(
    statement: Statement, before: Listing, after: Listing, owned_before: Collection[Owned] = ()
) -> Reversal:
    """How ``statement``, which made ``after`` of ``before``, is taken back; the migration itself had made
    ``owned_before``.
    """
    found = Reversal()
    renames = _renames(statement)
    tables = {
        old: new for old, new in renames.tables.items() if (TABLE, new) in after or (VIEW, new) in after
    }
    if tables:
        pairs = ", ".join(f"{quoted(n)} TO {quoted(o)}" for o, n in reversed(tables.items()))
        own = {table for table, column in owned_before if not column}
        # What the migration made it may drop again, and then there is nothing to rename.
        exists = "IF EXISTS " if own & set(tables) else ""
        found.statements.append(Undo(f"RENAME TABLE {exists}{pairs}"))
    after = _renamed(after, {new: old for old, new in tables.items()})
    _programs(before, after, found, dropping=True)
    _made(before, after, found)
    for name in sorted(n for kind, n in before.keys() & after.keys() if kind == TABLE):
        _table(name, before, after, renames, found)
    _missing(before, after, found)
    _programs(before, after, found, dropping=False)
    words = statement.words
    if words[:4] == ("CREATE", "OR", "REPLACE", "TABLE"):
        found.lost += [
            Lost(n, f"the rows of {n}")
            for kind, n in sorted(before)
            if kind == TABLE and n in statement.names
        ]
    if words[:2] == ("ALTER", "TABLE") and "PARTITION" in words and {"DROP", "COALESCE"} & set(words):
        found.lost.append(Lost("", "rows in partitions"))
    if words[:1] in (("GRANT",), ("REVOKE",)) or {"USER", "ROLE"} & set(words[1:4]):
        found.lost.append(Lost("", "rights as they were"))
    return found


def removed(statements: Iterable[Statement], before: Listing) -> Added:
    """What a revert removes that ``before`` has, by its words: of migrations of which nobody noted what they
    added.
    """
    tables: set[tuple[str, ...]] = set()
    columns: set[tuple[str, ...]] = set()
    retyped: set[tuple[str, ...]] = set()
    for statement in statements:
        table = target(statement)
        if (TABLE, table) not in before:
            continue
        if statement.words[0] != "ALTER":
            tables.add((table,))
            continue
        listed, words = _listed(statement)
        for position, word in enumerate(words):
            at = position + 1 + (words[position + 1 : position + 2] == ["COLUMN"])
            column = (table, _name(listed, _behind(words, at)))
            if (COLUMN, ".".join(column)) in before:
                columns |= {column} if word == "DROP" else set()
                retyped |= {column} if word in ("MODIFY", "CHANGE") else set()
    return Added(*(tuple(sorted(parts)) for parts in (tables, columns, retyped)))


def target(statement: Statement) -> str:
    """The table that it alters, drops or replaces; empty: none."""
    listed, words = _listed(statement)
    replaces = words[:3] == ["CREATE", "OR", "REPLACE"]
    if "TABLE" not in words[1:4] or not (words[0] in ("ALTER", "DROP") or replaces):
        return ""
    return _last(listed, _behind(words, words.index("TABLE") + 1))


def _listed(statement: Statement) -> tuple[list[Token], list[str]]:
    """Its tokens, and each as a word."""
    listed = [t for t in tokens(statement.text, "") if t.kind not in ("space", "line", "block")]
    return listed, [t.text.upper() if t.kind == "word" else t.text for t in listed]


def _behind(words: list[str], position: int) -> int:
    """Behind IF EXISTS, where it is there."""
    return position + 2 * (words[position : position + 2] == ["IF", "EXISTS"])


def recreated(table: str, before: Listing) -> list[Undo]:
    """What makes a table anew that ``before`` has, without its rows; its triggers have to come after them."""
    parts = _parts(before, table)
    lines = [parts[key].definition for key in _columns_in_order(parts)]
    lines += [p.definition for (kind, _), p in sorted(parts.items()) if kind in (INDEX, CONSTRAINT)]
    listed = ", ".join(lines)
    return [Undo(f"CREATE TABLE {quoted(table)} ({listed} {parts[TABLE, ''].definition}")]


def triggers_of(table: str, before: Listing) -> list[Undo]:
    """What makes the triggers of a table anew."""
    return [
        Undo(statement_of(definition), definition.rpartition("; sql_mode ")[2])
        for (kind, _), part in sorted(before.items())
        if kind == TRIGGER and part.parent == table
        for definition in (_ORDERED.sub("", part.definition),)
    ]


def called(places: Iterable[Owned], statements: Iterable[Statement]) -> dict[Owned, Owned]:
    """What tables and columns are called after ``statements``, by what they were called before."""
    found = {place: place for place in places}
    for statement in statements:
        renames = _renames(statement)
        if not renames.tables and not renames.columns:
            continue
        for place, (table, column) in found.items():
            column = renames.columns.get((table, column), column)
            for old, new in renames.tables.items():
                table = new if table == old else table
            found[place] = table, column
    return found


def owned(own: Iterable[Owned], statement: Statement, before: Listing, after: Listing) -> list[Owned]:
    """What a migration has made itself, after ``statement``: tables and sequences (with no column), and
    columns of others. What it renamed is not made by it.
    """
    renames = _renames(statement)
    moved = _moved(renames, after)
    found = {(moved.get(t, t), renames.columns.get((t, c), c)) for t, c in own}
    back = {new: old for old, new in moved.items()}
    for kind, name in after:
        table = after[kind, name].parent
        if kind in (TABLE, SEQUENCE) and (kind, back.get(name, name)) not in before:
            found.add((name, ""))
        elif kind == COLUMN and (TABLE, back.get(table, table)) in before:
            old, column = back.get(table, table), name[len(table) + 1 :]
            if (COLUMN, f"{old}.{column}") not in before and column not in _new_names(renames, old):
                found.add((table, column))
    there = {name for kind, name in after if kind in (TABLE, SEQUENCE)}
    return sorted(item for item in found if item[0] in there)


def _moved(renames: Renames, after: Listing) -> dict[str, str]:
    """Tables and views that really have their new names."""
    there = {name for kind, name in after if kind in (TABLE, VIEW)}
    return {old: new for old, new in renames.tables.items() if new in there}


def _made(before: Listing, after: Listing, found: Reversal) -> None:
    for kind, name in sorted(after.keys() - before.keys(), reverse=True):
        if kind in (TABLE, VIEW, SEQUENCE):
            found.statements.append(Undo(f"DROP {kind.upper()} IF EXISTS {quoted(name)}"))


def _missing(before: Listing, after: Listing, found: Reversal) -> None:
    """Views come back, also changed ones; tables and sequences do not."""
    for kind, name in sorted(before):
        part = after.get((kind, name))
        if kind == VIEW and part != before[kind, name]:
            text = before[kind, name].definition.replace("CREATE ", "CREATE OR REPLACE ", 1)
            found.statements.append(Undo(text))
        elif kind == TABLE and part is None:
            found.lost.append(Lost(name, f"the rows of {name}", rows=True))
        elif kind == SEQUENCE and part is None:
            found.lost.append(Lost(name, f"the numbers of {name}"))


def _programs(before: Listing, after: Listing, found: Reversal, *, dropping: bool) -> None:
    """Triggers, routines and events: those that came go first, those that went come last."""
    for kind, name in sorted(before.keys() | after.keys()):
        old, new = before.get((kind, name)), after.get((kind, name))
        if kind not in _PROGRAMS or old == new:
            continue
        table_gone = kind == TRIGGER and new is not None and (TABLE, new.parent) not in before
        if dropping and new is not None and not table_gone:
            found.statements.append(Undo(f"DROP {kind.upper()} IF EXISTS {quoted(name)}"))
        if not dropping and old is not None and not (kind == TRIGGER and (TABLE, old.parent) not in after):
            definition = _ORDERED.sub("", old.definition)
            found.statements.append(Undo(statement_of(definition), definition.rpartition("; sql_mode ")[2]))


def _table(name: str, before: Listing, after: Listing, renames: Renames, found: Reversal) -> None:
    old, new = _parts(before, name), _parts(after, name)
    clauses: list[str] = []
    first: list[str] = []
    for kind, part in sorted(new.keys() - old.keys(), key=_constraints_first):
        if kind != COLUMN or (part not in _new_names(renames, name)):
            clauses.append(_drop(kind, part, new[kind, part]))
    for kind, part in sorted(old, key=lambda k: (k[0] != COLUMN, k)):
        was, now = old[kind, part], new.get((kind, part))
        if kind in (ORDER, TABLE) or was == now:
            continue
        if kind == COLUMN:
            renamed = renames.columns.get((name, part))
            if now is None and renamed is not None and (COLUMN, renamed) in new:
                now, part_now = new[COLUMN, renamed], renamed
            else:
                part_now = part
            if now is None:
                found.lost.append(Lost(name, f"the values of {name}.{part}", part, rows=True))
                clauses.append(f"ADD COLUMN {was.definition}")
                continue
            if not fits(was.definition, now.definition):
                words = f"values of {name}.{part} that were rewritten in another type"
                found.lost.append(Lost(name, words, part, rows=True))
            clauses.append(f"CHANGE COLUMN {quoted(part_now)} {was.definition}")
        else:
            if now is not None:
                # The server takes no constraint of a name that the same statement drops.
                (first if kind == CONSTRAINT else clauses).append(_drop(kind, part, now))
            clauses.append(f"ADD {was.definition}")
    clauses += _options(old[TABLE, ""].definition, new[TABLE, ""].definition, name, found)
    for group in (first, clauses, list(_order(name, old, new, renames))):
        if group:
            found.statements.append(Undo(f"ALTER TABLE {quoted(name)} {', '.join(group)}", table=name))


def _parts(listing: Listing, table: str) -> dict[tuple[str, str], Part]:
    """Of one table, by kind and their own name; the table itself has none."""
    found = {(TABLE, ""): listing[TABLE, table]}
    for (kind, name), part in listing.items():
        if part.parent == table and kind in (COLUMN, INDEX, CONSTRAINT, ORDER):
            found[kind, "" if kind == ORDER else name[len(table) + 1 :]] = part
    return found


def _new_names(renames: Renames, table: str) -> set[str]:
    return {new for (owner, _), new in renames.columns.items() if owner == table}


def _constraints_first(key: tuple[str, str]) -> tuple[int, str]:
    return (CONSTRAINT, INDEX, COLUMN).index(key[0]) if key[0] in (CONSTRAINT, INDEX, COLUMN) else 3, key[1]


def _drop(kind: str, name: str, part: Part) -> str:
    if kind == COLUMN:
        return f"DROP COLUMN {quoted(name)}"
    if kind == INDEX:
        return "DROP PRIMARY KEY" if name == "PRIMARY KEY" else f"DROP INDEX {quoted(name)}"
    foreign = "FOREIGN KEY" in part.definition.split("(", 1)[0]
    return f"DROP {'FOREIGN KEY' if foreign else 'CONSTRAINT'} {quoted(name)}"


def _order(
    table: str, old: dict[tuple[str, str], Part], new: dict[tuple[str, str], Part], renames: Renames
) -> Iterator[str]:
    """Columns back to their places, where the others' order differs or one comes back."""
    wanted = [n for k, n in _columns_in_order(old)]
    back = {new_name: o for (owner, o), new_name in renames.columns.items() if owner == table}
    there = [back.get(n, n) for k, n in _columns_in_order(new)]
    if [n for n in there if n in wanted] == wanted:
        return
    for position, name in enumerate(wanted):
        place = f"AFTER {quoted(wanted[position - 1])}" if position else "FIRST"
        yield f"MODIFY COLUMN {old[COLUMN, name].definition} {place}"


def _columns_in_order(parts: dict[tuple[str, str], Part]) -> list[tuple[str, str]]:
    order = parts[ORDER, ""].definition.split(", ")
    return [(COLUMN, name) for name in order if (COLUMN, name) in parts]


def _options(old: str, new: str, name: str, found: Reversal) -> Iterator[str]:
    if old == new:
        return
    if "PARTITION BY" in old + new:
        found.lost.append(Lost(name, f"the partitions of {name}"))
        return
    text = old.removeprefix(")").strip()
    for option, default in (("COMMENT=", "COMMENT=''"), ("ROW_FORMAT=", "ROW_FORMAT=DEFAULT")):
        if option in new and option not in old:
            text += f" {default}"
    yield text


def _renamed(listing: Listing, back: dict[str, str]) -> Listing:
    """With tables under their old names."""
    if not back:
        return listing
    found: dict[tuple[str, str], Part] = {}
    for (kind, name), part in listing.items():
        parent = back.get(part.parent, part.parent)
        if kind in (TABLE, VIEW, ORDER):
            name = back.get(name, name)
        elif part.parent in back and kind in (COLUMN, INDEX, CONSTRAINT):
            name = parent + name[len(part.parent) :]
        definition = part.definition
        if kind == CONSTRAINT:
            for new, old in back.items():
                definition = definition.replace(f" REFERENCES {quoted(new)} ", f" REFERENCES {quoted(old)} ")
        found[kind, name] = Part(parent, definition)
    return found


def _renames(statement: Statement) -> Renames:
    """What the statement itself says of new names."""
    found = Renames()
    listed, words = _listed(statement)
    if words[:1] == ["RENAME"] and words[1:2] in (["TABLE"], ["TABLES"]):
        for position, word in enumerate(words):
            if word == "TO":
                found.tables[_name(listed, position - 1)] = _name(listed, position + 1)
    elif words[:1] == ["ALTER"] and "TABLE" in words[:4]:
        start = words.index("TABLE") + 1
        if words[start : start + 2] == ["IF", "EXISTS"]:
            start += 2
        table = _last(listed, start)
        for position, word in enumerate(words[start:], start):
            if word == "RENAME":
                _rename_clause(found, table, listed, words, position)
            elif word == "CHANGE":
                at = position + 1 + (words[position + 1] == "COLUMN")
                at += 2 * (words[at : at + 2] == ["IF", "EXISTS"])
                old, new = _name(listed, at), _name(listed, at + 1)
                if old != new:
                    found.columns[table, old] = new
    return found


def _rename_clause(found: Renames, table: str, listed: list[Token], words: list[str], position: int) -> None:
    following = words[position + 1]
    if following == "COLUMN":
        at = position + 2 + 2 * (words[position + 2 : position + 4] == ["IF", "EXISTS"])
        found.columns[table, _name(listed, at)] = _name(listed, at + 2)
    elif following not in ("INDEX", "KEY"):
        at = position + 1 + (following in ("TO", "AS"))
        found.tables[table] = _last(listed, at)


def _name(listed: list[Token], position: int) -> str:
    return unquoted(listed[position].text) if 0 <= position < len(listed) else ""


def _last(listed: list[Token], position: int) -> str:
    """The name there, without the database it may be written with."""
    while position + 2 < len(listed) and listed[position + 1].text == ".":
        position += 2
    return _name(listed, position)

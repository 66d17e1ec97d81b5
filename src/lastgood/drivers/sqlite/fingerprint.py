"""A schema as a listing: each object, and each part of a table, in one way of writing it.

The library keeps the text of each definition as somebody wrote it, and edits it when a column comes or goes.
So what counts are its words, without comments, quotes that are not needed, and upper or lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lastgood.drivers.sqlite.connection import PREFIX, Connection, rows
from lastgood.drivers.sqlite.scan import BLANK, Token, plain, tokens
from lastgood.sql.listing import Listing, Part

TABLE, COLUMN, ORDER, CONSTRAINT = "table", "column", "column order", "constraint"
INDEX, VIEW, TRIGGER = "index", "view", "trigger"

_RULES = frozenset({"constraint", "primary", "unique", "check", "foreign"})
_SIMPLE = re.compile(r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*")
_QUERY = """
SELECT s.type, s.name, s.tbl_name, s.sql, coalesce(l.type, '') FROM sqlite_schema s
LEFT JOIN pragma_table_list l ON l.schema = 'main' AND l.name = s.name AND s.type = 'table'
WHERE s.sql IS NOT NULL ORDER BY s.rowid
"""


def read_listing(connection: Connection) -> Listing:
    """Everything of the schema but lastgood's own and the library's. Raises sqlite3.Error."""
    found: dict[tuple[str, str], Part] = {}
    for kind, name, table, text, sort in rows(connection, _QUERY):
        if name.startswith((PREFIX, "sqlite_")) or sort == "shadow":
            continue
        if kind == TABLE and sort == "table":
            found |= _table(name, text)
        else:
            parent = table if kind in (INDEX, TRIGGER) else ""
            found[kind, name] = Part(parent, " ".join(_words(_bare(text))))
    return found


def _table(name: str, text: str) -> dict[tuple[str, str], Part]:
    body, options = _body(_bare(text))
    parts = {(TABLE, name): Part("", " ".join(sorted(_words(options))))}
    columns: list[str] = []
    for tokens_ in _items(body):
        words = list(_words(tokens_))
        first = tokens_[0]
        if first.kind == "word" and first.text.lower() in _RULES:
            own = words[1] if words[0] == "constraint" else " ".join(words)
            parts[CONSTRAINT, f"{name}.{own}"] = Part(name, " ".join(words))
        else:
            columns.append(plain(first))
            parts[COLUMN, f"{name}.{plain(first)}"] = Part(name, " ".join(words))
    parts[ORDER, name] = Part(name, ", ".join(columns))
    return parts


def _bare(text: str) -> list[Token]:
    return [token for token in tokens(text, "") if token.kind not in BLANK]


def _body(found: Sequence[Token]) -> tuple[list[Token], list[Token]]:
    """What is in the outer parentheses of a CREATE TABLE, and what follows them."""
    depth, begin = 0, 0
    for at, token in enumerate(found):
        if token.text == "(" and token.kind == "other":
            depth += 1
            begin = begin or at + 1
        elif token.text == ")" and token.kind == "other":
            depth -= 1
            if not depth:
                return list(found[begin:at]), list(found[at + 1 :])
    return [], []


def _items(body: Sequence[Token]) -> Iterator[list[Token]]:
    """Split at commas that are in no parentheses."""
    depth, item = 0, list[Token]()
    for token in body:
        depth += (token.text == "(") - (token.text == ")") if token.kind == "other" else 0
        if token.text == "," and not depth:
            yield item
            item = []
        else:
            item.append(token)
    if item:
        yield item


def _words(found: Sequence[Token]) -> Iterator[str]:
    for token in found:
        if token.kind == "string":
            yield token.text
        elif token.kind == "name" and not _SIMPLE.fullmatch(plain(token)):
            yield '"' + plain(token).lower().replace('"', '""') + '"'
        else:
            yield plain(token).lower()

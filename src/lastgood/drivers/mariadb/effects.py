"""Which rows a statement touches, as far as it says so itself. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Collection

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lastgood.drivers.mariadb.fingerprint import COLUMN, TRIGGER
from lastgood.drivers.mariadb.progress import Owned
from lastgood.drivers.mariadb.scan import READS, Statement
from lastgood.sql.listing import Listing, Part

# It warns on standard error about each statement that it only knows as a command.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


def parse(statement: Statement) -> exp.Expr | None:
    """None when it can't be read, or is more than one."""
    try:
        trees = [t for t in sqlglot.parse(statement.text, read="mysql") if t is not None]
    except (SqlglotError, RecursionError):
        return None
    return trees[0] if len(trees) == 1 else None


def harmless(statement: Statement, own: Collection[Owned], seen: Listing) -> bool:
    """Whether all that it writes is in ``own``: whoever drops that has taken it back."""
    if statement.words[:1] and statement.words[0] in READS:
        return True
    tree = parse(statement)
    target = tree.find(exp.Table) if isinstance(tree, exp.Insert) else None
    if isinstance(tree, exp.Delete) and not tree.args.get("tables"):
        target = tree.this if isinstance(tree.this, exp.Table) else None
    if target is not None:
        return (target.name, "") in own and not _has_trigger(seen, target.name)
    if isinstance(tree, exp.Update) and isinstance(tree.this, exp.Table) and not tree.this.args.get("joins"):
        table = tree.this.name
        if any(_writes_along(kind, part, table) for (kind, _), part in seen.items()):
            return False
        columns = [e.this.name for e in tree.expressions if isinstance(e, exp.EQ)]
        made = (table, "") in own or all((table, column) in own for column in columns)
        return made and len(columns) == len(tree.expressions)
    return False


def _has_trigger(seen: Listing, table: str) -> bool:
    return any(kind == TRIGGER and part.parent == table for (kind, _), part in seen.items())


def _writes_along(kind: str, part: Part, table: str) -> bool:
    """Whether an update of any column of ``table`` may write another one too."""
    return part.parent == table and (kind == TRIGGER or (kind == COLUMN and " ON UPDATE " in part.definition))

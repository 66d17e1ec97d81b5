"""Reads the statements of a migration and says how each can be undone. No I/O.

Source: PostgreSQL's own reference of each command; parsed by sqlglot's postgres dialect. What is not
known to be harmless is forward only.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.plan import Reversibility
from lastgood.drivers.postgresql.clauses import Clause, by_comma
from lastgood.drivers.postgresql.scan import UNDO_ROWS, Statement, marks, split
from lastgood.ports.drivers import Classification, MigrationScript

# It warns on standard error about each statement that it only knows as a command.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

EXACT = Reversibility.EXACT
BY_SNAPSHOT = Reversibility.BY_SNAPSHOT
FORWARD_ONLY = Reversibility.FORWARD_ONLY
_RANK = (EXACT, BY_SNAPSHOT, FORWARD_ONLY)

Verdict = tuple[Reversibility, str]

_ADDITIVE: Verdict = (EXACT, N_("it only adds"))
_DEFINITION: Verdict = (EXACT, N_("it changes definitions, no data"))
_MOVES: Verdict = (BY_SNAPSHOT, N_("it changes or removes rows"))
_UNDONE: Verdict = (EXACT, N_("its rows are put back where nobody changed them since"))
_EMPTIES: Verdict = (BY_SNAPSHOT, N_("it empties a table, which can't be undone row by row"))
_REMOVES: Verdict = (BY_SNAPSHOT, N_("it removes what a revert can't fill again"))
_LOOSENS: Verdict = (BY_SNAPSHOT, N_("it drops a rule that later rows may break"))
_RETYPES: Verdict = (BY_SNAPSHOT, N_("it rewrites values in another type"))
_UNKNOWN: Verdict = (FORWARD_ONLY, N_("it is not known what it does"))
_UNPARSED: Verdict = (FORWARD_ONLY, N_("it can't be parsed"))
_CALLS: Verdict = (FORWARD_ONLY, N_("it calls a function that may do anything"))

_CREATED = {"TABLE", "VIEW", "INDEX", "SCHEMA", "SEQUENCE", "TYPE", "FUNCTION", "PROCEDURE", "TRIGGER"}
_ADDED = ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE")
# Leading words of additive statements that sqlglot only knows as commands.
_COMMANDS = (
    ("CREATE", "DOMAIN"), ("CREATE", "EXTENSION"), ("CREATE", "POLICY"), ("CREATE", "STATISTICS"),
    ("CREATE", "COLLATION"), ("CREATE", "AGGREGATE"), ("LOCK", "TABLE"),
)  # fmt: skip


def classify(migration: MigrationScript) -> Classification:
    """The worst class among the statements of deploy.sql, and the first statement that has it."""
    try:
        statements = split(migration.deploy, f"deploy.sql of {migration.name}")
        undo = split(migration.revert, f"revert.sql of {migration.name}")
        undoes = UNDO_ROWS in marks(migration.revert, f"revert.sql of {migration.name}")
    except InvalidInput as error:
        return Classification(FORWARD_ONLY, "", str(error))
    if statements and not undo and not undoes:
        return Classification(FORWARD_ONLY, statements[0].text, N_("revert.sql is empty"))
    worst = Classification(EXACT, statements[0].text if statements else "", _ADDITIVE[1])
    created: set[str] = set()
    undone = False
    for statement in statements:
        verdict = _judge(statement, created)
        reversibility, reason = _UNDONE if undoes and verdict == _MOVES else verdict
        undone = undone or (reversibility, reason) == _UNDONE
        first_undone = reason == _UNDONE[1] and worst.reason != reason
        if _RANK.index(reversibility) > _RANK.index(worst.reversibility) or (
            first_undone and worst.reversibility is EXACT
        ):
            worst = Classification(reversibility, statement.text, reason)
    return replace(worst, undoes_rows=undone and worst.reversibility is EXACT)


def _judge(statement: Statement, created: set[str]) -> Verdict:
    """``created`` collects the tables this script made: filling those moves nobody's data."""
    if _arranges(statement):
        return _DEFINITION
    try:
        trees = [t for t in sqlglot.parse(statement.text, read="postgres") if t is not None]
    except (SqlglotError, RecursionError):
        return _UNPARSED
    if len(trees) != 1:
        return _UNPARSED
    tree = trees[0]
    if isinstance(tree, exp.Create) and (tree.kind or "").upper() == "TABLE":
        table = tree.find(exp.Table)
        if table is not None and not tree.args.get("exists"):
            created.add(_key(table))
    if isinstance(tree, exp.Command):
        return _command(statement)
    if isinstance(tree, exp.Alter):
        return _alter(tree, statement)
    judge = _JUDGES.get(type(tree))
    return judge(tree, created) if judge else _UNKNOWN


def _arranges(statement: Statement) -> bool:
    """ALTER TABLE that only adds constraints, or attaches and detaches partitions: the parser does not know
    every form of it.
    """
    clause = Clause.of(statement.text)
    if not clause.take("ALTER", "TABLE"):
        return False
    clause.take("IF", "EXISTS")
    clause.take("ONLY")
    clause.name()
    actions = [Clause(part) for part in by_comma(clause.rest())]
    return bool(actions) and all(
        action.peek("ATTACH", "PARTITION")
        or action.peek("DETACH", "PARTITION")
        or any(action.peek("ADD", word) for word in _ADDED)
        for action in actions
    )


def _command(statement: Statement) -> Verdict:
    words = statement.words
    if words[:2] in _COMMANDS:
        return _ADDITIVE
    if words[:2] == ("SET", "CONSTRAINTS"):
        return _DEFINITION  # It says when they speak; what they forbid stays forbidden.
    if words[:2] == ("ALTER", "TABLE") and "VALIDATE" in words and "CONSTRAINT" in words:
        harmless = "," not in statement.text and not {"DROP", "TYPE", "DETACH"} & set(words)
        return _DEFINITION if harmless else _UNKNOWN
    return _UNKNOWN


def _create(tree: exp.Expr, created: set[str]) -> Verdict:
    assert isinstance(tree, exp.Create)
    kind = (tree.kind or "").upper()
    if kind not in _CREATED:
        return _UNKNOWN
    query = tree.args.get("expression")
    if kind in ("TABLE", "VIEW") and isinstance(query, exp.Query):
        moved = _moves_rows(tree) or _calls(query)
        if moved:
            return moved
    return _DEFINITION if tree.args.get("replace") else _ADDITIVE


def _drop(tree: exp.Expr, created: set[str]) -> Verdict:
    assert isinstance(tree, exp.Drop)
    kind = (tree.args.get("kind") or "").upper()
    return _LOOSENS if kind in ("CONSTRAINT", "INDEX", "TRIGGER") else _REMOVES


def _alter(tree: exp.Alter, statement: Statement) -> Verdict:
    actions = tree.args.get("actions") or []
    if not actions:
        return _UNKNOWN
    # DROP NOT NULL, which lets NULLs in, and DROP DEFAULT look alike to the parser; the words tell.
    pairs = list(itertools.pairwise(statement.words))
    only_defaults = pairs.count(("DROP", "DEFAULT")) == sum(map(_drops_property, actions))
    verdicts = [
        _DEFINITION if only_defaults and _drops_property(action) else _action(action) for action in actions
    ]
    return max(verdicts, key=lambda verdict: _RANK.index(verdict[0]))


def _drops_property(action: exp.Expr) -> bool:
    """Of a column: its default, or what it may not be."""
    alters = isinstance(action, exp.AlterColumn) and not action.args.get("dtype")
    return bool(alters and action.args.get("drop") and not action.args.get("default"))


def _action(action: exp.Expr) -> Verdict:
    if isinstance(action, (exp.ColumnDef, exp.AddConstraint)):
        return _ADDITIVE
    if isinstance(action, exp.Drop):
        return _drop(action, set())
    if isinstance(action, exp.AlterColumn):
        if action.args.get("dtype"):
            return _RETYPES
        return _LOOSENS if _drops_property(action) else _DEFINITION
    if isinstance(action, (exp.AlterRename, exp.RenameColumn)):
        return _DEFINITION
    return _UNKNOWN


def _write(tree: exp.Expr, created: set[str]) -> Verdict:
    target = tree.find(exp.Table) if isinstance(tree, exp.Insert) else None
    if target is not None and _key(target) in created and not _moves_rows(tree, beside=tree):
        return _calls(tree) or _ADDITIVE
    return _MOVES


def _empty(tree: exp.Expr, created: set[str]) -> Verdict:
    return _EMPTIES


def _query(tree: exp.Expr, created: set[str]) -> Verdict:
    moved = _moves_rows(tree)
    if moved:
        return moved
    called = _calls(tree)
    if called:
        return called
    return _ADDITIVE if tree.find(exp.Into) else (EXACT, N_("it only reads"))


def _definition(tree: exp.Expr, created: set[str]) -> Verdict:
    return _DEFINITION


def _moves_rows(tree: exp.Expr, *, beside: exp.Expr | None = None) -> Verdict | None:
    """A statement that writes may hide in a WITH."""
    found = (
        node for node in tree.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge) if node is not beside
    )
    return _MOVES if next(found, None) else None


def _calls(tree: exp.Expr) -> Verdict | None:
    """Functions that sqlglot doesn't know by name may write."""
    return _CALLS if tree.find(exp.Anonymous) else None


def _key(table: exp.Table) -> str:
    return f"{table.db}.{table.name}"


_JUDGES: Mapping[type, Callable[[exp.Expr, set[str]], Verdict]] = {
    exp.Create: _create,
    exp.Drop: _drop,
    exp.Insert: _write,
    exp.Update: _write,
    exp.Delete: _write,
    exp.Merge: _write,
    exp.TruncateTable: _empty,
    exp.Select: _query,
    exp.Union: _query,
    exp.Grant: _definition,
    exp.Revoke: _definition,
    exp.Comment: _definition,
    exp.Set: _definition,
    exp.Analyze: _definition,
}

"""How each statement of a migration can be undone, by its tree. No I/O.

What is not known to be harmless is forward only.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.plan import Reversibility
from lastgood.ports.drivers import Classification, MigrationScript
from lastgood.sql.statements import Statement

# It warns on standard error about each statement that it only knows as a command.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

EXACT = Reversibility.EXACT
BY_SNAPSHOT = Reversibility.BY_SNAPSHOT
FORWARD_ONLY = Reversibility.FORWARD_ONLY
_RANK = (EXACT, BY_SNAPSHOT, FORWARD_ONLY)

Verdict = tuple[Reversibility, str]

ADDITIVE: Verdict = (EXACT, N_("it only adds"))
DEFINITION: Verdict = (EXACT, N_("it changes definitions, no data"))
UNDONE: Verdict = (EXACT, N_("its rows are put back where nobody changed them since"))
MOVES: Verdict = (BY_SNAPSHOT, N_("it changes or removes rows"))
EMPTIES: Verdict = (BY_SNAPSHOT, N_("it empties a table, which can't be undone row by row"))
REMOVES: Verdict = (BY_SNAPSHOT, N_("it removes what a revert can't fill again"))
LOOSENS: Verdict = (BY_SNAPSHOT, N_("it drops a rule that later rows may break"))
RETYPES: Verdict = (BY_SNAPSHOT, N_("it rewrites values in another type"))
UNKNOWN: Verdict = (FORWARD_ONLY, N_("it is not known what it does"))
UNPARSED: Verdict = (FORWARD_ONLY, N_("it can't be parsed"))
CALLS: Verdict = (FORWARD_ONLY, N_("it calls a function that may do anything"))


@dataclass(frozen=True)
class Dialect:
    """What one kind of server adds: ``name`` is sqlglot's, ``split`` takes a script and its name for people
    (raises InvalidInput), ``created`` are the kinds that CREATE only adds, ``command`` judges what sqlglot
    does not read, ``known`` what is known without it, and ``action`` a part of ALTER; None: as everywhere.
    ``undoes`` tells a migration whose changes of rows are undone row by row (raises InvalidInput).
    ``functions`` only compute, in capitals.
    """

    name: str
    split: Callable[[str, str], Sequence[Statement]]
    created: frozenset[str]
    command: Callable[[Statement], Verdict]
    known: Callable[[Statement], Verdict | None] = lambda statement: None
    undoes: Callable[[MigrationScript], bool] = lambda migration: False
    action: Callable[[exp.Expr], Verdict | None] = lambda action: None
    functions: frozenset[str] = frozenset()


def classify(migration: MigrationScript, dialect: Dialect) -> Classification:
    """The worst class among the statements of deploy.sql, and the first statement that has it."""
    try:
        statements = dialect.split(migration.deploy, f"deploy.sql of {migration.name}")
        undo = dialect.split(migration.revert, f"revert.sql of {migration.name}")
        undoes = dialect.undoes(migration)
    except InvalidInput as error:
        return Classification(FORWARD_ONLY, "", str(error))
    if statements and not undo and not undoes:
        return Classification(FORWARD_ONLY, statements[0].text, N_("revert.sql is empty"))
    worst = Classification(EXACT, statements[0].text if statements else "", ADDITIVE[1])
    judge = _Judge(dialect, set())
    undone = False
    for statement in statements:
        verdict = judge.judge(statement)
        reversibility, reason = UNDONE if undoes and verdict == MOVES else verdict
        undone = undone or (reversibility, reason) == UNDONE
        first_undone = reason == UNDONE[1] and worst.reason != reason
        if _RANK.index(reversibility) > _RANK.index(worst.reversibility) or (
            first_undone and worst.reversibility is EXACT
        ):
            worst = Classification(reversibility, statement.text, reason)
    return replace(worst, undoes_rows=undone and worst.reversibility is EXACT)


@dataclass
class _Judge:
    """Of one script: ``made`` are the tables it made so far; filling those moves nobody's data."""

    dialect: Dialect
    made: set[str]

    def judge(self, statement: Statement) -> Verdict:
        known = self.dialect.known(statement)
        if known is not None:
            return known
        try:
            trees = [t for t in sqlglot.parse(statement.text, read=self.dialect.name) if t is not None]
        except (SqlglotError, RecursionError):
            return UNPARSED
        if len(trees) != 1:
            return UNPARSED
        tree = trees[0]
        if isinstance(tree, exp.Create) and (tree.kind or "").upper() == "TABLE":
            table = tree.find(exp.Table)
            if table is not None and not tree.args.get("exists"):
                self.made.add(_key(table))
        if isinstance(tree, exp.Command):
            return self.dialect.command(statement)
        if isinstance(tree, exp.Alter):
            return self._alter(tree, statement)
        if isinstance(tree, exp.TruncateTable):
            return EMPTIES
        for kinds, judge in (
            (exp.Create, self._create),
            (exp.Drop, _drop),
            ((exp.Insert, exp.Update, exp.Delete, exp.Merge), self._write),
            ((exp.Select, exp.Union), self._query),
        ):
            if type(tree) in (kinds if isinstance(kinds, tuple) else (kinds,)):
                return judge(tree)
        return DEFINITION if type(tree) in _DEFINITIONS else UNKNOWN

    def _create(self, tree: exp.Expr) -> Verdict:
        assert isinstance(tree, exp.Create)
        kind = (tree.kind or "").upper()
        if kind not in self.dialect.created:
            return UNKNOWN
        query = tree.args.get("expression")
        if kind in ("TABLE", "VIEW") and isinstance(query, exp.Query):
            moved = _moves_rows(tree) or self._calls(query)
            if moved:
                return moved
        if tree.args.get("replace"):
            return REMOVES if kind == "TABLE" else DEFINITION
        return ADDITIVE

    def _alter(self, tree: exp.Alter, statement: Statement) -> Verdict:
        actions = tree.args.get("actions") or []
        if not actions:
            return UNKNOWN
        # DROP NOT NULL, which lets NULLs in, and DROP DEFAULT look alike to the parser; the words tell.
        pairs = list(itertools.pairwise(statement.words))
        only_defaults = pairs.count(("DROP", "DEFAULT")) == sum(map(_drops_property, actions))
        verdicts = [
            DEFINITION
            if only_defaults and _drops_property(action)
            else self.dialect.action(action) or _action(action)
            for action in actions
        ]
        return max(verdicts, key=lambda verdict: _RANK.index(verdict[0]))

    def _write(self, tree: exp.Expr) -> Verdict:
        target = tree.find(exp.Table) if isinstance(tree, exp.Insert) else None
        if target is not None and _key(target) in self.made and not _moves_rows(tree, beside=tree):
            return self._calls(tree) or ADDITIVE
        return MOVES

    def _query(self, tree: exp.Expr) -> Verdict:
        moved = _moves_rows(tree) or self._calls(tree)
        if moved:
            return moved
        return ADDITIVE if tree.find(exp.Into) else (EXACT, N_("it only reads"))

    def _calls(self, tree: exp.Expr) -> Verdict | None:
        """Functions that nobody knows by name may write."""
        unknown = (n for n in tree.find_all(exp.Anonymous) if n.name.upper() not in self.dialect.functions)
        return CALLS if next(unknown, None) else None


_DEFINITIONS = (exp.Grant, exp.Revoke, exp.Comment, exp.Set, exp.Analyze)


def _drop(tree: exp.Expr) -> Verdict:
    kind = (tree.args.get("kind") or "").upper()
    return LOOSENS if kind in ("CONSTRAINT", "INDEX", "TRIGGER") else REMOVES


def _drops_property(action: exp.Expr) -> bool:
    """Of a column: its default, or what it may not be."""
    alters = isinstance(action, exp.AlterColumn) and not action.args.get("dtype")
    return bool(alters and action.args.get("drop") and not action.args.get("default"))


def _action(action: exp.Expr) -> Verdict:
    if isinstance(action, (exp.ColumnDef, exp.AddConstraint)):
        return ADDITIVE
    if isinstance(action, exp.Drop):
        return _drop(action)
    if isinstance(action, exp.AlterColumn):
        if action.args.get("dtype"):
            return RETYPES
        return LOOSENS if _drops_property(action) else DEFINITION
    if isinstance(action, (exp.AlterRename, exp.RenameColumn)):
        return DEFINITION
    return UNKNOWN


def _moves_rows(tree: exp.Expr, *, beside: exp.Expr | None = None) -> Verdict | None:
    """A statement that writes may hide in a WITH."""
    found = (
        node for node in tree.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge) if node is not beside
    )
    return MOVES if next(found, None) else None


def _key(table: exp.Table) -> str:
    return f"{table.db}.{table.name}"

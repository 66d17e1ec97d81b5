"""Reads the statements of a migration and says how each can be undone. No I/O.

Source: MariaDB's own reference of each command; parsed by sqlglot's mysql dialect. What is not known to be
harmless is forward only. How a failed migration is taken back is another question, answered while it runs.
"""

from __future__ import annotations

from sqlglot import exp

from lastgood.domain.errors import InvalidInput
from lastgood.drivers.mariadb.recording import wanted
from lastgood.drivers.mariadb.scan import runnable, split
from lastgood.ports.drivers import Classification, MigrationScript
from lastgood.sql import reversibility
from lastgood.sql.reversibility import (
    ADDITIVE,
    DEFINITION,
    FORWARD_ONLY,
    LOOSENS,
    MOVES,
    RETYPES,
    UNKNOWN,
    Dialect,
    Verdict,
)
from lastgood.sql.statements import Statement

_CREATED = frozenset({"TABLE", "VIEW", "INDEX", "SEQUENCE", "FUNCTION", "PROCEDURE", "TRIGGER"})
# Leading words of additive statements that sqlglot only knows as commands.
_ADDING = (
    ("CREATE", "FULLTEXT", "INDEX"), ("CREATE", "SPATIAL", "INDEX"), ("CREATE", "SEQUENCE"),
)  # fmt: skip
_DEFINING = (("RENAME", "TABLE"), ("OPTIMIZE", "TABLE"), ("CHECK", "TABLE"))
# They only compute; sqlglot doesn't know them by name.
_FUNCTIONS = frozenset(
    {"IFNULL", "FIELD", "ELT", "INET_ATON", "INET_NTOA", "SEC_TO_TIME", "TIME_TO_SEC", "QUOTE"}
)


def classify(migration: MigrationScript) -> Classification:
    """The worst class among the statements of deploy.sql, and the first statement that has it."""
    try:
        runnable(migration.deploy, f"deploy.sql of {migration.name}", part="deploy")
        runnable(migration.revert, f"revert.sql of {migration.name}", part="revert")
    except InvalidInput as error:
        return Classification(FORWARD_ONLY, "", str(error))
    return reversibility.classify(migration, _DIALECT)


def _command(statement: Statement) -> Verdict:
    words = tuple(w for w in statement.words if w not in ("OR", "REPLACE") or statement.words[0] == w)
    if any(words[: len(leading)] == leading for leading in _ADDING):
        return DEFINITION if "REPLACE" in statement.words[:4] else ADDITIVE
    if words[:2] == ("CREATE", "DEFINER"):
        return ADDITIVE if "VIEW" in words[:6] else UNKNOWN
    if words[:2] in _DEFINING:
        return DEFINITION
    if words[:1] == ("REPLACE",):
        return MOVES
    if words[:2] == ("ALTER", "TABLE") and "ADD" in words and "CHECK" in words:
        others = {"DROP", "MODIFY", "CHANGE", "CONVERT", "PARTITION", "ENGINE"}
        return UNKNOWN if others & set(words) else ADDITIVE
    if words[:2] == ("ALTER", "TABLE") and "CONVERT" in words:
        return RETYPES
    return UNKNOWN


def _program(statement: Statement) -> Verdict | None:
    """A body has statements of its own, which run when it is called."""
    words = statement.words[:8]
    if words[:1] != ("CREATE",) or not {"TRIGGER", "EVENT", "FUNCTION", "PROCEDURE"} & set(words):
        return None
    if {"TABLE", "VIEW", "INDEX"} & set(words[:4]):
        return None
    return DEFINITION if "REPLACE" in words[:3] else ADDITIVE


def _action(action: exp.Expr) -> Verdict | None:
    if isinstance(action, exp.ModifyColumn):
        return RETYPES
    if isinstance(action, exp.RenameIndex):
        return DEFINITION
    dropped = action.args.get("kind") if isinstance(action, exp.Drop) else None
    if isinstance(action, exp.DropPrimaryKey) or dropped in ("FOREIGN KEY", "KEY", "CHECK"):
        return LOOSENS
    return None


_DIALECT = Dialect(
    "mysql", split, _CREATED, _command, known=_program, undoes=wanted, action=_action, functions=_FUNCTIONS
)

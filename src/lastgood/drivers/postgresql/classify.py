"""Reads the statements of a migration and says how each can be undone. No I/O.

Source: PostgreSQL's own reference of each command; parsed by sqlglot's postgres dialect. What is not
known to be harmless is forward only.
"""

from __future__ import annotations

from lastgood.drivers.postgresql.scan import marks, split, tokens
from lastgood.ports.drivers import Classification, MigrationScript
from lastgood.sql import reversibility
from lastgood.sql.clauses import Clause, by_comma
from lastgood.sql.marks import UNDO_ROWS
from lastgood.sql.reversibility import ADDITIVE, DEFINITION, UNKNOWN, Dialect, Verdict
from lastgood.sql.statements import Statement

_CREATED = frozenset(
    {"TABLE", "VIEW", "INDEX", "SCHEMA", "SEQUENCE", "TYPE", "FUNCTION", "PROCEDURE", "TRIGGER"}
)
_ADDED = ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE")
# Leading words of additive statements that sqlglot only knows as commands.
_COMMANDS = (
    ("CREATE", "DOMAIN"), ("CREATE", "EXTENSION"), ("CREATE", "POLICY"), ("CREATE", "STATISTICS"),
    ("CREATE", "COLLATION"), ("CREATE", "AGGREGATE"), ("LOCK", "TABLE"),
)  # fmt: skip


def classify(migration: MigrationScript) -> Classification:
    """The worst class among the statements of deploy.sql, and the first statement that has it."""
    return reversibility.classify(migration, _DIALECT)


def _arranges(statement: Statement) -> Verdict | None:
    """ALTER TABLE that only adds constraints, or attaches and detaches partitions: the parser does not know
    every form of it.
    """
    clause = Clause.of(tokens(statement.text, ""))
    if not clause.take("ALTER", "TABLE"):
        return None
    clause.take("IF", "EXISTS")
    clause.take("ONLY")
    clause.name()
    actions = [Clause(part) for part in by_comma(clause.rest())]
    arranges = bool(actions) and all(
        action.peek("ATTACH", "PARTITION")
        or action.peek("DETACH", "PARTITION")
        or any(action.peek("ADD", word) for word in _ADDED)
        for action in actions
    )
    return DEFINITION if arranges else None


def _command(statement: Statement) -> Verdict:
    words = statement.words
    if words[:2] in _COMMANDS:
        return ADDITIVE
    if words[:2] == ("SET", "CONSTRAINTS"):
        return DEFINITION  # It says when they speak; what they forbid stays forbidden.
    if words[:2] == ("ALTER", "TABLE") and "VALIDATE" in words and "CONSTRAINT" in words:
        harmless = "," not in statement.text and not {"DROP", "TYPE", "DETACH"} & set(words)
        return DEFINITION if harmless else UNKNOWN
    return UNKNOWN


def _undoes(migration: MigrationScript) -> bool:
    return UNDO_ROWS in marks(migration.revert, f"revert.sql of {migration.name}")


_DIALECT = Dialect("postgres", split, _CREATED, _command, known=_arranges, undoes=_undoes)

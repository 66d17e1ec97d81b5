"""Reads the statements of a migration and says how each can be undone. No I/O.

Source: SQLite's own reference of each statement; parsed by sqlglot's sqlite dialect. What is not known to be
harmless is forward only.
"""

from __future__ import annotations

from collections.abc import Sequence

from lastgood.domain.errors import InvalidInput
from lastgood.drivers.sqlite.scan import runnable, split
from lastgood.ports.drivers import Classification, MigrationScript
from lastgood.ports.reviewing import Review
from lastgood.sql import reversibility
from lastgood.sql.reversibility import (
    ADDITIVE,
    DEFINITION,
    FORWARD_ONLY,
    MOVES,
    UNKNOWN,
    Dialect,
    Verdict,
)
from lastgood.sql.statements import Statement

_CREATED = frozenset({"TABLE", "VIEW", "INDEX", "TRIGGER"})
# They only compute; sqlglot doesn't know them by name.
_FUNCTIONS = frozenset(
    {"IFNULL", "IIF", "PRINTF", "FORMAT", "QUOTE", "RANDOMBLOB", "ZEROBLOB", "JULIANDAY", "UNICODE", "INSTR",
     "GLOB", "LIKELY", "UNLIKELY", "TYPEOF", "CHANGES", "TOTAL", "UNIXEPOCH"}
)  # fmt: skip


def classify(migration: MigrationScript) -> Classification:
    """The worst class among the statements of deploy.sql, and the first statement that has it."""
    try:
        runnable(migration.deploy, f"deploy.sql of {migration.name}")
        runnable(migration.revert, f"revert.sql of {migration.name}")
    except InvalidInput as error:
        return Classification(FORWARD_ONLY, "", str(error))
    return reversibility.classify(migration, _DIALECT)


def review(migrations: Sequence[MigrationScript]) -> Sequence[Review]:
    """Source of ``Reviews.review``: the classes. While a migration writes, everybody who writes waits,
    whatever its statements are.
    """
    return [_review(migration) for migration in migrations]


def _review(migration: MigrationScript) -> Review:
    seen = classify(migration)
    try:
        statements = split(migration.deploy, f"deploy.sql of {migration.name}")
    except InvalidInput:
        statements = ()  # The class says so.
    line = next((s.line for s in statements if seen.statement and s.text == seen.statement), 0)
    return Review(migration.name, seen, line)


def _command(statement: Statement) -> Verdict:
    words = statement.words
    if words[:1] in (("REINDEX",), ("ANALYZE",)):
        return DEFINITION
    if words[:1] == ("REPLACE",):
        return MOVES
    return UNKNOWN


def _known(statement: Statement) -> Verdict | None:
    """A trigger's body has statements of its own, which run when it is called."""
    words = statement.words
    if words[:2] == ("CREATE", "TRIGGER"):
        return ADDITIVE
    if words[:3] == ("CREATE", "VIRTUAL", "TABLE"):
        return ADDITIVE
    return None


_DIALECT = Dialect("sqlite", split, _CREATED, _command, known=_known, functions=_FUNCTIONS)

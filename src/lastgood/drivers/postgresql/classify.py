"""Reads the statements of a migration and says how each can be undone. No I/O.

Source: PostgreSQL's own reference of each command; parsed by sqlglot's postgres dialect. What is not
known to be harmless is forward only.
"""

from __future__ import annotations

from lastgood.drivers.postgresql.scan import split
from lastgood.ports.drivers import Classification, MigrationScript
from lastgood.sql import reversibility
from lastgood.sql.reversibility import ADDITIVE, DEFINITION, UNKNOWN, Dialect, Statement, Verdict

_CREATED = frozenset(
    {"TABLE", "VIEW", "INDEX", "SCHEMA", "SEQUENCE", "TYPE", "FUNCTION", "PROCEDURE", "TRIGGER"}
)
# Leading words of additive statements that sqlglot only knows as commands.
_COMMANDS = (
    ("CREATE", "DOMAIN"), ("CREATE", "EXTENSION"), ("CREATE", "POLICY"), ("CREATE", "STATISTICS"),
    ("CREATE", "COLLATION"), ("CREATE", "AGGREGATE"), ("LOCK", "TABLE"),
)  # fmt: skip


def classify(migration: MigrationScript) -> Classification:
    """The worst class among the statements of deploy.sql, and the first statement that has it."""
    return reversibility.classify(migration, _DIALECT)


def _command(statement: Statement) -> Verdict:
    words = statement.words
    if words[:2] in _COMMANDS:
        return ADDITIVE
    if words[:2] == ("ALTER", "TABLE") and "VALIDATE" in words and "CONSTRAINT" in words:
        harmless = "," not in statement.text and not {"DROP", "TYPE", "DETACH"} & set(words)
        return DEFINITION if harmless else UNKNOWN
    return UNKNOWN


_DIALECT = Dialect("postgres", split, _CREATED, _command)

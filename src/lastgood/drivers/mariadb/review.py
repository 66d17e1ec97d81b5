"""Reads migrations as a DBA does: how each goes back, and which statements hurt while they run. No I/O.

The server ends a transaction at each definition, so no lock of one statement is held while the next one runs.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from lastgood.domain.errors import InvalidInput
from lastgood.domain.finding import Finding
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import acts
from lastgood.drivers.mariadb.acts import ROWS_READ, ROWS_WRITTEN, SHARED, Act, Scene
from lastgood.drivers.mariadb.altering import alter_table, renamed
from lastgood.drivers.mariadb.classify import classify
from lastgood.drivers.mariadb.known import Known
from lastgood.drivers.mariadb.scan import Statement, split, tokens
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.reviewing import Review
from lastgood.sql.clauses import Clause, Name, by_comma, columns, written
from lastgood.sql.findings import finding, line_of

ROWS = 10_000
"""Rows of one small step in what is offered."""
_EVERY_ROW = re.compile(r"(true|1|1 ?= ?1|[\w`.]+ is null)", re.IGNORECASE)
_WHOLE_NUMBERS = ("int", "bigint", "mediumint", "smallint")
_UNCHECKED = re.compile(r"\b(foreign_key_checks)\s*:?=\s*(0|off|false|1|on|true|default)\b", re.IGNORECASE)
_STEPS = N_(
    "One statement is one transaction. Have the service, or a job of it, do it in small steps that are "
    "committed one by one, and let a later migration rely on it:"
)


def review(migrations: Sequence[MigrationScript]) -> Sequence[Review]:
    """Source of ``Reviews.review``."""
    known = Known()
    return [_review(migration, known) for migration in migrations]


def _review(migration: MigrationScript, known: Known) -> Review:
    seen = classify(migration)
    findings: list[Finding] = []
    line = 0
    made: set[str] = set()
    for script, text in (("deploy", migration.deploy), ("revert", migration.revert)):
        try:
            statements = split(text, f"{script}.sql of {migration.name}")
        except InvalidInput:
            continue  # The class says so.
        if script == "deploy":
            line = line_of(seen, statements)
        # What the way back does is no news to later migrations.
        scene = Scene(script, known if script == "deploy" else copy.deepcopy(known), set(made))
        findings += _script(statements, scene)
        made |= scene.created
    return Review(migration.name, seen, line, tuple(findings))


def _script(statements: Sequence[Statement], scene: Scene) -> Iterator[Finding]:
    for statement in statements:
        for act in read(statement, scene):
            if act.what and act.table.key not in scene.created:
                yield finding(scene.script, statement, act)


def read(statement: Statement, scene: Scene) -> Iterator[Act]:
    """What is not known to hurt is left out."""
    clause = Clause.of(tokens(statement.text, ""))
    for words, reader in _READERS.items():
        if clause.take(*words):
            yield from reader(clause, scene)
            return


def _create_table(clause: Clause, scene: Scene) -> Iterator[Act]:
    maybe = clause.take("IF", "NOT", "EXISTS")
    name = clause.name()
    if clause.take("LIKE") or (clause.peek("(", "LIKE") and Clause(clause.group()).take("LIKE")):
        source = scene.known.table(clause.name())
        scene.known.tables[name.key] = copy.deepcopy(source)
    elif not maybe or name.key not in scene.known.tables:
        scene.known.create(name, by_comma(clause.group()), clause)
    if not maybe:
        scene.created.add(name.key)
    return iter(())


def _drop_table(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("IF", "EXISTS")
    for name in columns(clause.rest()):
        scene.known.tables.pop(name.key, None)
        if scene.script != "revert":
            what = N_("drops table {table}, which the old release may still read")
            yield acts.breaking(name, what, acts.NOT_READ)


def _rename_table(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("IF", "EXISTS")
    for part in by_comma(clause.rest()):
        one = Clause(part)
        table = one.name()
        one.take("TO")
        yield from renamed(table, one.name(), scene)


def _index(clause: Clause, scene: Scene) -> Iterator[Act]:
    """An index is built while others write."""
    clause.take("IF", "NOT", "EXISTS")
    clause.name()
    if clause.take("USING"):
        clause.name()
    clause.take("ON")
    table = clause.name()
    scene.known.table(table).indexed |= {c.key for c in columns(clause.group())}
    return iter(())


def _text_index(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("IF", "NOT", "EXISTS")
    clause.name()
    clause.take("ON")
    table = clause.name()
    scene.known.table(table).fulltext = True
    if not (clause.has("LOCK", "=", "NONE") or clause.has("LOCK", "NONE")):
        what = N_("builds a full text or spatial index on {table}")
        yield acts.slow(table, SHARED, what, acts.NO_FORM)


def _update(clause: Clause, scene: Scene) -> Iterator[Act]:
    table = clause.name()
    if not clause.peek("SET"):
        return  # Joined to others: which rows that are is in its conditions.
    whole = clause.rest()
    where = _where(clause)
    rest = clause.rest()
    head = whole[: len(whole) - len(rest) - 1] if where else whole
    if _all_rows(where, whole):
        what = N_("writes every row of {table} in one transaction")
        yield _rows(table, scene, f"UPDATE {table.text} {written(head)}", where, what)


def _delete(clause: Clause, scene: Scene) -> Iterator[Act]:
    table = clause.name()
    whole = clause.rest()
    where = _where(clause)
    if _all_rows(where, whole) and (where or not whole):
        what = N_("deletes every row of {table} in one transaction")
        yield _rows(table, scene, f"DELETE FROM {table.text}", where, what)


def _where(clause: Clause) -> str:
    """What stands behind WHERE, and ``clause`` there; empty without one."""
    return written(clause.rest()) if clause.skip_to("WHERE") else ""


def _all_rows(where: str, whole: Sequence[object]) -> bool:
    limited = any(getattr(t, "text", "").upper() == "LIMIT" for t in whole)
    return not limited and (not where or _EVERY_ROW.fullmatch(where) is not None)


def _rows(table: Name, scene: Scene, change: str, where: str, what: str) -> Act:
    known = scene.known.table(table)
    key = known.key[0] if len(known.key) == 1 else ""
    column = known.columns.get(key)
    number = column is not None and column.kind in _WHOLE_NUMBERS
    condition = f" AND {where}" if "null" in where.lower() else ""
    safer = [f"{change} WHERE {key} BETWEEN 1 AND {ROWS}{condition};"] if number else []
    return acts.slow(table, ROWS_WRITTEN, what, _STEPS, *safer)


def _insert(clause: Clause, scene: Scene) -> Iterator[Act]:
    """Rows that are read for a write are locked, so that the log could repeat it in the same order."""
    clause.any_of("LOW_PRIORITY", "HIGH_PRIORITY")
    clause.take("IGNORE")
    clause.take("INTO")
    clause.name()
    if not clause.skip_to("SELECT") or not clause.skip_to("FROM"):
        return
    source = clause.name()
    whole = clause.rest()
    if source.key and source.key not in scene.created and _all_rows(_where(clause), whole):
        what = N_("locks every row of {table} that it reads: whoever writes one waits until it is over")
        yield acts.slow(source, ROWS_READ, what, _STEPS)


def _set(clause: Clause, scene: Scene) -> Iterator[Act]:
    for name, value in _UNCHECKED.findall(written(clause.rest())):
        if value.lower() in ("0", "off", "false"):
            scene.unchecked.add(name.lower())
        else:
            scene.unchecked.discard(name.lower())
    return iter(())


_READERS: Mapping[tuple[str, ...], Callable[[Clause, Scene], Iterator[Act]]] = {
    ("CREATE", "TABLE"): _create_table,
    ("CREATE", "OR", "REPLACE", "TABLE"): _create_table,
    ("CREATE", "INDEX"): _index,
    ("CREATE", "UNIQUE", "INDEX"): _index,
    ("CREATE", "FULLTEXT", "INDEX"): _text_index,
    ("CREATE", "SPATIAL", "INDEX"): _text_index,
    ("ALTER", "TABLE"): alter_table,
    ("ALTER", "IGNORE", "TABLE"): alter_table,
    ("DROP", "TABLE"): _drop_table,
    ("RENAME", "TABLE"): _rename_table,
    ("RENAME", "TABLES"): _rename_table,
    ("UPDATE",): _update,
    ("DELETE", "FROM"): _delete,
    ("INSERT",): _insert,
    ("REPLACE",): _insert,
    ("SET",): _set,
}
"""ALTER ONLINE TABLE is not among them: the server refuses it rather than make others wait."""

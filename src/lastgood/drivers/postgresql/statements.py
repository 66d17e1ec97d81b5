"""One statement of a migration: which tables it locks how, and for how long."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from lastgood.domain.finding import Blocks
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import acts
from lastgood.drivers.postgresql.acts import (
    ACCESS_EXCLUSIVE,
    EXCLUSIVE,
    ROW_EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Act,
    Scene,
)
from lastgood.drivers.postgresql.altering import alter_table
from lastgood.drivers.postgresql.scan import Statement, tokens
from lastgood.sql.clauses import NOBODY, Clause, Name, by_comma, columns, written

_MODES = ("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", SHARE_UPDATE_EXCLUSIVE, SHARE_ROW_EXCLUSIVE,
          ACCESS_EXCLUSIVE, EXCLUSIVE, SHARE)  # fmt: skip
_EVERY_ROW = re.compile(r"(true|[\w\".]+ is null)", re.IGNORECASE)
_WHOLE_NUMBERS = ("integer", "bigint", "int", "smallint", "serial", "bigserial")
ROWS = 10_000
"""Rows of one small step in what is offered."""


def read(statement: Statement, scene: Scene) -> Iterator[Act]:
    """In the order in which the locks are taken. What is not known to lock is left out."""
    clause = Clause.of(tokens(statement.text, ""))
    yield from _added_values(statement, scene)
    for words, reader in _READERS.items():
        if clause.take(*words):
            yield from reader(clause, scene)
            return


def _create_table(clause: Clause, scene: Scene) -> Iterator[Act]:
    maybe = clause.take("IF", "NOT", "EXISTS")
    name = clause.name()
    if not maybe:
        scene.created.add(name.key)
    parts = by_comma(clause.group())
    scene.known.create(name, parts)
    for part in parts:
        definition = Clause(part)
        if definition.peek("CONSTRAINT") or definition.peek("FOREIGN"):
            definition.skip_to("KEY")
            local = columns(definition.group())
        else:
            local = (definition.name(),)
        if definition.skip_to("REFERENCES"):
            yield acts.quick(definition.name(), SHARE_ROW_EXCLUSIVE)
            text = ", ".join(c.text for c in local)
            scene.unindexed.append((name, tuple(c.key for c in local), text))
    if clause.take("PARTITION", "OF"):
        yield acts.quick(clause.name(), SHARE_UPDATE_EXCLUSIVE)
    elif clause.take("AS") and (clause.skip_to("FROM")):
        yield Act(NOBODY, long=clause.name().key not in scene.created)


def _index(clause: Clause, scene: Scene, *, unique: bool = False) -> Iterator[Act]:
    concurrently = clause.take("CONCURRENTLY")
    clause.take("IF", "NOT", "EXISTS")
    index = NOBODY if clause.peek("ON") else clause.name()
    clause.take("ON")
    clause.take("ONLY")
    table = clause.name()
    definition = written(clause.rest())
    if clause.take("USING"):
        clause.name()
    known = scene.known.table(table)
    wanted = columns(clause.group())
    if not clause.has("WHERE"):
        known.leading.append(tuple(c.key for c in wanted))
    scene.known.indexes[index.key] = table
    if concurrently:
        yield acts.quick(table, SHARE_UPDATE_EXCLUSIVE)
        return
    name = index.text or f"{table.bare}_{'_'.join(c.bare for c in wanted)}_idx"
    kind = "UNIQUE INDEX" if unique else "INDEX"
    yield acts.slow(
        table,
        SHARE,
        N_("builds an index on {table}"),
        acts.CONCURRENTLY,
        f"{acts.ALONE}CREATE {kind} CONCURRENTLY {name} ON {table.text} {definition};",
    )


def _unique_index(clause: Clause, scene: Scene) -> Iterator[Act]:
    yield from _index(clause, scene, unique=True)


def _drop_index(clause: Clause, scene: Scene) -> Iterator[Act]:
    if not clause.take("CONCURRENTLY"):
        clause.take("IF", "EXISTS")
        yield acts.quick(scene.known.indexes.get(clause.name().key, NOBODY), ACCESS_EXCLUSIVE)


def _drop_table(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("IF", "EXISTS")
    for name in columns(clause.rest()):
        if scene.script == "revert":
            yield acts.quick(name, ACCESS_EXCLUSIVE)
        else:
            yield acts.breaking(
                name, N_("drops table {table}, which the old release may still read"), acts.NOT_READ
            )


def _reindex(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.group()
    kind = clause.any_of("TABLE", "INDEX", "SCHEMA")
    if clause.take("CONCURRENTLY"):
        return
    name = clause.name()
    table = scene.known.indexes.get(name.key, name) if kind == "INDEX" else name
    what = N_("builds indexes of {table} anew; queries wait for them, and writes for the table")
    advice = N_("There is no migration for it: run it by hand, where no transaction is around it:")
    safer = f"REINDEX {kind} CONCURRENTLY {name.text};"
    act = acts.slow(table, SHARE, what, advice, safer)
    yield Act(act.table, SHARE, True, act.what, act.advice, act.safer, Blocks.EVERYTHING)


def _cluster(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.group()
    clause.take("VERBOSE")
    yield acts.slow(clause.name(), ACCESS_EXCLUSIVE, N_("rewrites the whole table {table}"), acts.NO_FORM)


def _refresh(clause: Clause, scene: Scene) -> Iterator[Act]:
    if clause.take("CONCURRENTLY"):
        yield Act(clause.name(), EXCLUSIVE, long=True)
        return
    view = clause.name()
    if clause.has("NO", "DATA"):
        yield acts.quick(view, ACCESS_EXCLUSIVE)
        return
    yield acts.slow(
        view,
        ACCESS_EXCLUSIVE,
        N_("computes materialized view {table} anew while nobody can read it"),
        N_("With a unique index over plain columns of the view, it can be read meanwhile:"),
        f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view.text};",
    )


def _lock(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("TABLE")
    clause.take("ONLY")
    names = [n for n in columns(clause.again().rest()) if n.text]
    mode = ACCESS_EXCLUSIVE
    if clause.skip_to("IN"):
        mode = next((m for m in _MODES if clause.take(*m.split(), "MODE")), ACCESS_EXCLUSIVE)
    for name in names:
        if acts.BLOCKS.get(mode, Blocks.NOTHING) is Blocks.NOTHING:
            continue
        yield acts.slow(
            name,
            mode,
            N_("locks {table} until the migration is committed"),
            N_("Leave it out: each statement takes the lock that it needs. To let nobody write beside it:"),
            *([f"LOCK TABLE {name.text} IN SHARE ROW EXCLUSIVE MODE;"] if mode == ACCESS_EXCLUSIVE else []),
        )


def _created(clause: Clause, scene: Scene) -> Iterator[Act]:
    if not clause.take("IF", "NOT", "EXISTS"):
        scene.created.add(clause.name().key)
    return iter(())


def _trigger(clause: Clause, scene: Scene) -> Iterator[Act]:
    if clause.skip_to("ON"):
        yield acts.quick(clause.name(), SHARE_ROW_EXCLUSIVE)


def _drop_trigger(clause: Clause, scene: Scene) -> Iterator[Act]:
    if clause.skip_to("ON"):
        yield acts.quick(clause.name(), ACCESS_EXCLUSIVE)


def _truncate(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("TABLE")
    clause.take("ONLY")
    for name in columns(clause.rest()):
        yield acts.quick(name, ACCESS_EXCLUSIVE)


def _update(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("ONLY")
    table = clause.name()
    body = clause.again()
    change = f"UPDATE {table.text} {_until_where(body)}"
    yield from _rows(table, clause, scene, change, N_("writes every row of {table} in one transaction"))


def _delete(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.take("ONLY")
    table = clause.name()
    change = f"DELETE FROM {table.text}"
    yield from _rows(table, clause, scene, change, N_("deletes every row of {table} in one transaction"))


def _until_where(body: Clause) -> str:
    whole = body.rest()
    rest = body.rest() if body.skip_to("WHERE") else []
    return written(whole[: len(whole) - len(body.rest()) - 1] if rest else whole)


def _rows(table: Name, clause: Clause, scene: Scene, change: str, what: str) -> Iterator[Act]:
    """Others wait for the rows, and the server keeps both versions of all of them until it has cleaned up."""
    where = written(clause.rest()) if clause.skip_to("WHERE") else ""
    if where and not _EVERY_ROW.fullmatch(where):
        return
    known = scene.known.table(table)
    key = known.key[0] if len(known.key) == 1 else ""
    number = key and known.types.get(key, "").split(" ")[0] in _WHOLE_NUMBERS
    advice = N_(
        "A migration is one transaction. Have the service, or a job of it, do it in small steps that are "
        "committed one by one, and let a later migration rely on it:"
    )
    condition = f" AND {where}" if where and where.lower() != "true" else ""
    safer = [f"{change} WHERE {key} BETWEEN 1 AND {ROWS}{condition};"] if number else []
    act = acts.slow(table, ROW_EXCLUSIVE, what, advice, *safer)
    yield Act(table, ROW_EXCLUSIVE, True, act.what, act.advice, act.safer, Blocks.WRITES)


def _insert(clause: Clause, scene: Scene) -> Iterator[Act]:
    clause.name()
    if clause.skip_to("SELECT") and clause.skip_to("FROM"):
        yield Act(NOBODY, long=clause.name().key not in scene.created)


def _function(clause: Clause, scene: Scene) -> Iterator[Act]:
    name = clause.name()
    if clause.has("IMMUTABLE") or clause.has("STABLE"):
        scene.known.volatile.discard(name.key)
    else:
        scene.known.volatile.add(name.key)
    return iter(())


def _alter_type(clause: Clause, scene: Scene) -> Iterator[Act]:
    name = clause.name()
    if clause.take("ADD", "VALUE"):
        clause.take("IF", "NOT", "EXISTS")
        scene.values[written(clause.rest()[:1])] = name.text
    return iter(())


def _added_values(statement: Statement, scene: Scene) -> Iterator[Act]:
    for value, enum in scene.values.items():
        if value in statement.text and statement.words[:2] != ("ALTER", "TYPE"):
            yield acts.advised(
                Name(enum, enum),
                N_("uses the value {value} of {table} in the transaction that adds it: it is refused"),
                N_("Put what uses the new value into a migration of its own, which follows:"),
                f"{statement.text};",
                value=value,
            )


_READERS: Mapping[tuple[str, ...], Callable[[Clause, Scene], Iterator[Act]]] = {
    ("CREATE", "TABLE"): _create_table,
    ("CREATE", "UNLOGGED", "TABLE"): _create_table,
    ("CREATE", "MATERIALIZED", "VIEW"): _created,
    ("CREATE", "INDEX"): _index,
    ("CREATE", "UNIQUE", "INDEX"): _unique_index,
    ("CREATE", "TRIGGER"): _trigger,
    ("CREATE", "OR", "REPLACE", "TRIGGER"): _trigger,
    ("CREATE", "CONSTRAINT", "TRIGGER"): _trigger,
    ("CREATE", "FUNCTION"): _function,
    ("CREATE", "OR", "REPLACE", "FUNCTION"): _function,
    ("ALTER", "TABLE"): alter_table,
    ("ALTER", "TYPE"): _alter_type,
    ("DROP", "INDEX"): _drop_index,
    ("DROP", "TABLE"): _drop_table,
    ("DROP", "TRIGGER"): _drop_trigger,
    ("REINDEX",): _reindex,
    ("CLUSTER",): _cluster,
    ("REFRESH", "MATERIALIZED", "VIEW"): _refresh,
    ("LOCK",): _lock,
    ("TRUNCATE",): _truncate,
    ("UPDATE",): _update,
    ("DELETE", "FROM"): _delete,
    ("INSERT", "INTO"): _insert,
}

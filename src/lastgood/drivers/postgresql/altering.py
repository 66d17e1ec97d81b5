"""ALTER TABLE, action by action: what each locks, and what reads or writes the whole table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lastgood.domain.message import N_
from lastgood.drivers.postgresql import acts, adding
from lastgood.drivers.postgresql.acts import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Act, Scene
from lastgood.drivers.postgresql.known import CONSTRAINTS, rewrites, type_of
from lastgood.sql.clauses import NOBODY, Clause, Name, by_comma, written
from lastgood.sql.statements import Token

# Actions that take less than ACCESS EXCLUSIVE, and are quick.
_WEAK = {
    ("VALIDATE",): SHARE_UPDATE_EXCLUSIVE, ("CLUSTER",): SHARE_UPDATE_EXCLUSIVE,
    ("SET", "WITHOUT", "CLUSTER"): SHARE_UPDATE_EXCLUSIVE, ("SET", "("): SHARE_UPDATE_EXCLUSIVE,
    ("RESET", "("): SHARE_UPDATE_EXCLUSIVE, ("ENABLE", "TRIGGER"): acts.SHARE_ROW_EXCLUSIVE,
    ("DISABLE", "TRIGGER"): acts.SHARE_ROW_EXCLUSIVE,
}  # fmt: skip


def alter_table(clause: Clause, scene: Scene) -> Iterator[Act]:
    """From behind ALTER TABLE."""
    clause.take("IF", "EXISTS")
    clause.take("ONLY")
    table = clause.name()
    clause.take("*")
    for part in by_comma(clause.rest()):
        yield from _action(table, Clause(part), part, scene)


def _action(table: Name, clause: Clause, part: Sequence[Token], scene: Scene) -> Iterator[Act]:
    if clause.take("ADD"):
        yield from _add(table, clause, scene)
    elif clause.take("ALTER"):
        clause.take("COLUMN")
        yield _column(table, clause, scene)
    elif clause.take("DROP"):
        yield _drop(table, clause, scene)
    elif clause.take("RENAME"):
        yield _rename(table, clause, scene)
    elif clause.take("ATTACH", "PARTITION"):
        yield _attach(table, clause, scene)
    elif clause.take("DETACH", "PARTITION"):
        yield _detach(table, clause)
    elif clause.take("SET", "TABLESPACE"):
        yield acts.slow(table, ACCESS_EXCLUSIVE, N_("copies the whole table {table}"), acts.NO_FORM)
    elif any(clause.take("SET", *w) for w in (("LOGGED",), ("UNLOGGED",), ("ACCESS", "METHOD"))):
        yield acts.slow(table, ACCESS_EXCLUSIVE, N_("rewrites the whole table {table}"), acts.NO_FORM)
    elif clause.take("VALIDATE", "CONSTRAINT"):
        known = scene.known.table(table)
        known.checked |= known.unproven.get(clause.name().key, set())
        yield Act(table, SHARE_UPDATE_EXCLUSIVE, long=True)
    else:
        weak = next((lock for words, lock in _WEAK.items() if clause.peek(*words)), ACCESS_EXCLUSIVE)
        yield acts.quick(table, weak)


def _add(table: Name, clause: Clause, scene: Scene) -> Iterator[Act]:
    if any(clause.peek(word) for word in CONSTRAINTS):
        yield from adding.constraint(table, clause, scene)
        return
    clause.take("COLUMN")
    clause.take("IF", "NOT", "EXISTS")
    yield from adding.column(table, clause, scene)


def _column(table: Name, clause: Clause, scene: Scene) -> Act:
    column = clause.name()
    known = scene.known.table(table)
    if clause.take("SET", "NOT", "NULL"):
        proven = column.key in known.checked or column.key in known.required
        known.required.add(column.key)
        return acts.quick(table, ACCESS_EXCLUSIVE) if proven else _required(table, column)
    if clause.take("TYPE") or clause.take("SET", "DATA", "TYPE"):
        kind = type_of(clause)
        was, known.types[column.key] = known.types.get(column.key, ""), kind
        using = clause.again()
        cast = not using.skip_to("USING") or _only_casts(using, column)
        if not rewrites(was, kind) and cast:
            return acts.quick(table, ACCESS_EXCLUSIVE)
        return _retyped(table, column, kind)
    if clause.take("SET", "EXPRESSION"):
        what = N_("computes column {column} of every row of {table} anew")
        return acts.slow(table, ACCESS_EXCLUSIVE, what, acts.NO_FORM, column=column.text)
    if clause.take("DROP", "NOT", "NULL"):
        known.required.discard(column.key)
    if clause.peek("SET", "STATISTICS") or clause.peek("SET", "("):
        return acts.quick(table, SHARE_UPDATE_EXCLUSIVE)
    return acts.quick(table, ACCESS_EXCLUSIVE)


def _only_casts(using: Clause, column: Name) -> bool:
    """``USING column`` or ``USING column::type``."""
    return using.name().key == column.key and (using.over or using.peek("::"))


def _required(table: Name, column: Name) -> Act:
    what = N_("reads the whole table {table} for NULLs in {column}")
    steps = adding.not_null(table, column)
    return acts.slow(table, ACCESS_EXCLUSIVE, what, acts.APART, *steps, column=column.text)


def _retyped(table: Name, column: Name, kind: str) -> Act:
    return acts.slow(
        table,
        ACCESS_EXCLUSIVE,
        N_("rewrites the whole table {table}, and its indexes, for another type of {column}"),
        N_(
            "Add a second column, have the new release write both, fill it in small steps that are committed "
            "one by one, and use it in a later release:"
        ),
        f"ALTER TABLE {table.text} ADD COLUMN {column.bare}_new {kind};",
        column=column.text,
    )


def _drop(table: Name, clause: Clause, scene: Scene) -> Act:
    if clause.take("CONSTRAINT"):
        return acts.quick(table, ACCESS_EXCLUSIVE)
    clause.take("COLUMN")
    clause.take("IF", "EXISTS")
    column = clause.name()
    scene.known.table(table).types.pop(column.key, None)
    if scene.script == "revert":
        return acts.quick(table, ACCESS_EXCLUSIVE)
    what = N_("drops column {column} of {table}, which the old release may still read")
    return acts.breaking(table, what, acts.NOT_READ, column=column.text)


def _rename(table: Name, clause: Clause, scene: Scene) -> Act:
    if clause.take("CONSTRAINT"):
        return acts.quick(table, ACCESS_EXCLUSIVE)
    if clause.take("TO"):
        new = clause.name()
        scene.known.rename(table, new)
        what, column = N_("renames table {table}, which the old release still calls by its name"), NOBODY
    else:
        clause.take("COLUMN")
        column = clause.name()
        types = scene.known.table(table).types
        if clause.take("TO") and column.key in types:
            types[clause.name().key] = types.pop(column.key)
        what = N_("renames column {column} of {table}, which the old release still calls by its name")
    if scene.script == "revert":
        return acts.quick(table, ACCESS_EXCLUSIVE)
    return acts.breaking(table, what, acts.OLD_CODE, column=column.text)


def _attach(table: Name, clause: Clause, scene: Scene) -> Act:
    part = clause.name()
    if part.key in scene.created or scene.known.table(part).checks:
        return acts.quick(table, SHARE_UPDATE_EXCLUSIVE)
    bounds = written(clause.rest())
    check = f"{part.bare}_bounds"
    condition = "/* the bounds, with IS NOT NULL */"
    return acts.slow(
        part,
        ACCESS_EXCLUSIVE,
        N_("reads the whole table {table}, to see that its rows are within the bounds"),
        N_("Add a CHECK with the same bounds first, and validate it; then the lock is short:"),
        f"ALTER TABLE {part.text} ADD CONSTRAINT {check} CHECK ({condition}) NOT VALID;",
        f"ALTER TABLE {part.text} VALIDATE CONSTRAINT {check};",
        f"ALTER TABLE {table.text} ATTACH PARTITION {part.text} {bounds};",
    )


def _detach(table: Name, clause: Clause) -> Act:
    part = clause.name()
    if clause.take("CONCURRENTLY") or clause.take("FINALIZE"):
        return acts.quick(table, SHARE_UPDATE_EXCLUSIVE)
    return acts.slow(
        table,
        ACCESS_EXCLUSIVE,
        N_("waits for everybody who reads any partition of {table}, and lets nobody in meanwhile"),
        N_("Detach it in a migration of its own that runs in no transaction:"),
        f"{acts.ALONE}ALTER TABLE {table.text} DETACH PARTITION {part.text} CONCURRENTLY;",
    )

"""Columns and constraints that are added to a table which has rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from lastgood.domain.message import N_
from lastgood.drivers.postgresql import acts
from lastgood.drivers.postgresql.acts import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, Act, Scene
from lastgood.drivers.postgresql.known import type_of, without_null
from lastgood.sql.clauses import NOBODY, Clause, Name, columns, written

VOLATILE = {
    "random", "clock_timestamp", "timeofday", "gen_random_uuid", "uuidv4", "uuidv7", "nextval", "setval",
    "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "gen_random_bytes", "random_normal",
}  # fmt: skip
_SERIAL = re.compile(r"^(small|big)?serial[248]?$")


def column(table: Name, clause: Clause, scene: Scene) -> Iterator[Act]:
    """ADD COLUMN, from the column's name on."""
    definition = clause.again()
    name = scene.known.column(scene.known.table(table), clause)
    definition.name()
    kind = type_of(definition)
    stored = definition.has("GENERATED") and definition.has("STORED")
    identity = definition.has("AS", "IDENTITY")
    if stored or identity or _SERIAL.match(kind) or _volatile(definition, scene):
        yield _rewriting(table, name, kind, written(definition.rest()), computed=stored)
    elif definition.has("CHECK"):
        what = N_("reads the whole table {table} for the CHECK of {column}")
        yield acts.slow(
            table,
            ACCESS_EXCLUSIVE,
            what,
            N_("Add the column alone, then the CHECK as NOT VALID, and validate that in a later one."),
            column=name.text,
        )
    else:
        yield acts.quick(table, ACCESS_EXCLUSIVE)
    if definition.has("UNIQUE") or definition.has("PRIMARY", "KEY"):
        primary = definition.has("PRIMARY", "KEY")
        yield _keyed(table, (name,), primary=primary, named=NOBODY, required={name.key})
    if definition.skip_to("REFERENCES"):
        yield acts.quick(definition.name(), SHARE_ROW_EXCLUSIVE)
        scene.unindexed.append((table, (name.key,), name.text))


def _volatile(definition: Clause, scene: Scene) -> bool:
    default = definition.again()
    if not default.skip_to("DEFAULT"):
        return False
    found = default.rest()
    called = {t.text.lower() for t, n in pairwise(found) if t.kind == "word" and n.text == "("}
    return bool(called & (VOLATILE | scene.known.volatile))


def _rewriting(table: Name, column: Name, kind: str, rest: str, *, computed: bool) -> Act:
    what = N_("rewrites the whole table {table}, to fill {column} in every row")
    if computed:
        return acts.slow(
            table,
            ACCESS_EXCLUSIVE,
            what,
            N_("Compute it in the query or in a view, or add a plain column which the new release fills:"),
            f"ALTER TABLE {table.text} ADD COLUMN {column.text} {kind};",
            column=column.text,
        )
    kind = {"serial": "integer", "bigserial": "bigint", "smallserial": "smallint"}.get(kind, kind)
    later = rest[rest.upper().find("DEFAULT") :] if "DEFAULT" in rest.upper() else ""
    later = re.sub(r"(?i)\s*\b(NOT\s+NULL|UNIQUE|PRIMARY\s+KEY)\b", "", later)
    safer = [f"ALTER TABLE {table.text} ADD COLUMN {column.text} {kind};"]
    if "GENERATED" in rest.upper() or not later:
        sequence = f"{table.bare}_{column.bare}_seq"
        safer.append(
            f"CREATE SEQUENCE {sequence} OWNED BY {table.text}.{column.text};\n"
            f"ALTER TABLE {table.text} ALTER COLUMN {column.text} SET DEFAULT nextval('{sequence}');"
        )
    else:
        safer.append(f"ALTER TABLE {table.text} ALTER COLUMN {column.text} SET {later};")
    return acts.slow(
        table,
        ACCESS_EXCLUSIVE,
        what,
        N_(
            "Add it empty, give new rows the default in a second migration, and fill the old in small steps "
            "that are committed one by one:"
        ),
        *safer,
        column=column.text,
    )


def constraint(table: Name, clause: Clause, scene: Scene) -> Iterator[Act]:
    """ADD CONSTRAINT, or the constraint's kind alone."""
    whole = written(clause.rest())
    required = frozenset(scene.known.table(table).required)
    scene.known.constrain(scene.known.table(table), clause.again())
    name = clause.name() if clause.take("CONSTRAINT") else NOBODY
    if clause.take("FOREIGN", "KEY"):
        yield from _foreign(table, clause, whole, name, scene)
    elif clause.take("CHECK"):
        condition = clause.group()
        first = without_null(condition)[:40] or "rule"
        named = name.text or f"{table.bare}_{first}_check"
        yield _checked(table, clause, f"CHECK ({written(condition)})", named)
    elif clause.take("NOT", "NULL"):
        column = clause.name()
        yield _checked(
            table, clause, f"NOT NULL {column.text}", name.text or f"{table.bare}_{column.bare}_not_null"
        )
    elif clause.take("EXCLUDE"):
        what = N_("builds the index of an exclusion constraint on {table}")
        yield acts.slow(table, ACCESS_EXCLUSIVE, what, acts.NO_FORM)
    else:
        primary = bool(clause.any_of("PRIMARY", "UNIQUE") == "PRIMARY")
        clause.take("KEY")
        clause.take("NULLS", "NOT", "DISTINCT")
        wanted = columns(clause.group())
        if wanted:
            yield _keyed(table, wanted, primary=primary, named=name, required=required)
        else:
            yield acts.quick(table, ACCESS_EXCLUSIVE)


def _checked(table: Name, clause: Clause, rule: str, name: str) -> Act:
    if clause.has("NOT", "VALID"):
        return acts.quick(table, ACCESS_EXCLUSIVE)
    return acts.slow(
        table,
        ACCESS_EXCLUSIVE,
        N_("reads the whole table {table} for a constraint"),
        acts.APART,
        f"ALTER TABLE {table.text} ADD CONSTRAINT {name} {rule} NOT VALID;",
        f"ALTER TABLE {table.text} VALIDATE CONSTRAINT {name};",
    )


def _foreign(table: Name, clause: Clause, whole: str, name: Name, scene: Scene) -> Iterator[Act]:
    local = columns(clause.group())
    clause.take("REFERENCES")
    parent = clause.name()
    text = ", ".join(c.text for c in local)
    scene.unindexed.append((table, tuple(c.key for c in local), text))
    yield acts.quick(parent, SHARE_ROW_EXCLUSIVE)
    if clause.has("NOT", "VALID"):
        yield acts.quick(table, SHARE_ROW_EXCLUSIVE)
        return
    named = name.text or f"{table.bare}_{'_'.join(c.bare for c in local)}_fkey"
    rule = whole if name.text else f"CONSTRAINT {named} {whole}"
    yield acts.slow(
        table,
        SHARE_ROW_EXCLUSIVE,
        N_("reads the whole table {table} for a foreign key, and stops writes to {parent} as well"),
        acts.APART,
        f"ALTER TABLE {table.text} ADD {rule} NOT VALID;",
        f"ALTER TABLE {table.text} VALIDATE CONSTRAINT {named};",
        parent=parent.text,
    )


def _keyed(
    table: Name, wanted: Sequence[Name], *, primary: bool, named: Name, required: Collection[str]
) -> Act:
    """``required``: columns that hold no NULL; a primary key looks for some in the others."""
    kind = "PRIMARY KEY" if primary else "UNIQUE"
    suffix = "pkey" if primary else f"{'_'.join(c.bare for c in wanted)}_key"
    name = named.text or f"{table.bare}_{suffix}"
    proven = [
        step
        for column in (wanted if primary else ())
        if column.key not in required
        for step in not_null(table, column)
    ]
    what = N_("builds the index of a constraint on {table}")
    text = ", ".join(c.text for c in wanted)
    return acts.slow(
        table,
        ACCESS_EXCLUSIVE,
        what,
        N_("Build the index first, in a migration of its own that runs in no transaction:"),
        *proven,
        f"{acts.ALONE}CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table.text} ({text});",
        f"ALTER TABLE {table.text} ADD CONSTRAINT {name} {kind} USING INDEX {name};",
    )


def not_null(table: Name, column: Name) -> tuple[str, ...]:
    """Scripts that prove it first, so that SET NOT NULL need not look."""
    check = f"{table.bare}_{column.bare}_not_null"
    return (
        f"ALTER TABLE {table.text} ADD CONSTRAINT {check} CHECK ({column.text} IS NOT NULL) NOT VALID;",
        f"ALTER TABLE {table.text} VALIDATE CONSTRAINT {check};",
        f"ALTER TABLE {table.text} ALTER COLUMN {column.text} SET NOT NULL;",
    )


def unindexed(scene: Scene) -> Iterator[Act]:
    """Foreign keys of the script that no index leads, once all of it is read."""
    for table, wanted, text in scene.unindexed:
        if scene.known.table(table).indexed(wanted):
            continue
        index = f"{table.bare}_{'_'.join(wanted)}_idx"
        create = f"CREATE INDEX {index} ON {table.text} ({text});"
        if table.key not in scene.created:
            create = f"{acts.ALONE}CREATE INDEX CONCURRENTLY {index} ON {table.text} ({text});"
        yield acts.advised(
            table,
            N_("no index leads the foreign key ({columns}) of {table}: each DELETE there reads all of this"),
            N_("Give it an index:"),
            create,
            columns=text,
        )

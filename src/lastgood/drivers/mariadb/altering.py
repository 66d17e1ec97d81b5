"""ALTER TABLE, action by action: what the server does in place, and what it does while others wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lastgood.domain.message import N_
from lastgood.drivers.mariadb import acts
from lastgood.drivers.mariadb.acts import COPY, EXCLUSIVE, SHARED, Act, Scene
from lastgood.drivers.mariadb.known import (
    CONSTRAINTS,
    COPIES,
    Column,
    Table,
    change,
    column_of,
    options_of,
    typed,
)
from lastgood.sql.clauses import Clause, Name, by_comma, columns, written
from lastgood.sql.statements import Token

GUARD = "ALGORITHM=NOCOPY, LOCK=NONE"
_FILLS_EACH = frozenset({"UUID", "UUID_SHORT", "SYS_GUID", "NEXTVAL"})
"""Functions by which each row that is there gets a value of its own."""


@dataclass(frozen=True)
class Alter:
    """One statement: its table, and what of it is asked for by name."""

    table: Name
    scene: Scene
    whole: str

    @property
    def moves(self) -> bool:
        """Into another engine: then the server takes ALGORITHM=INSTANT, and copies."""
        return "ENGINE" in self.whole.upper()

    @property
    def known(self) -> Table:
        return self.scene.known.table(self.table)

    def copied(self, what: str, advice: str, *safer: str, **params: str) -> Act:
        return acts.slow(self.table, COPY, what, advice, *safer, **params)

    def shared(self, what: str, advice: str, *safer: str, **params: str) -> Act:
        return acts.slow(self.table, SHARED, what, advice, *safer, **params)

    def alone(self, action: str) -> str:
        """A statement with this action."""
        return f"ALTER TABLE {self.table.text} {action};"


def alter_table(clause: Clause, scene: Scene) -> Iterator[Act]:
    """From behind ALTER TABLE."""
    clause.take("IF", "EXISTS")
    table = clause.name()
    if clause.take("WAIT"):
        clause = Clause(clause.rest()[1:])
    clause.take("NOWAIT")
    parts = by_comma(clause.rest())
    asked = {written(part).upper().replace(" ", "").replace("=", "") for part in parts}
    found: list[Act] = []
    alter = Alter(table, scene, written(clause.rest()))
    adds_key = any(Clause(part).has("ADD") and Clause(part).has("PRIMARY", "KEY") for part in parts)
    for part in parts:
        found += _action(alter, Clause(part), part, adds_key=adds_key)
    yield from _asked(alter, asked, found)


def _asked(alter: Alter, asked: set[str], found: Sequence[Act]) -> Iterator[Act]:
    """What an ALGORITHM or a LOCK in the statement makes of it. A server that is asked for less than it needs
    refuses, and makes nobody wait.
    """
    if "LOCKNONE" in asked or ("ALGORITHMINSTANT" in asked and not alter.moves):
        yield from (act for act in found if not act.lock)
        return
    yield from found
    if any(act.lock for act in found):
        return
    if "LOCKEXCLUSIVE" in asked:
        what = N_("lets nobody use table {table} while it runs, because it asks for that")
        yield acts.slow(alter.table, EXCLUSIVE, what, N_("Leave LOCK=EXCLUSIVE out."))
    elif "ALGORITHMCOPY" in asked or "LOCKSHARED" in asked:
        what = N_("lets nobody write to table {table} while it runs, because it asks for that")
        yield alter.copied(what, N_("Leave ALGORITHM and LOCK out, or ask for LOCK=NONE."))


def _action(alter: Alter, clause: Clause, part: Sequence[Token], *, adds_key: bool) -> Iterator[Act]:
    if clause.take("ADD"):
        yield from _add(alter, clause)
    elif clause.take("MODIFY"):
        clause.take("COLUMN")
        clause.take("IF", "EXISTS")
        yield from _retype(alter, clause.name(), clause)
    elif clause.take("CHANGE"):
        yield from _change(alter, clause)
    elif clause.take("DROP"):
        yield from _drop(alter, clause, adds_key=adds_key)
    elif clause.take("RENAME"):
        yield from _rename(alter, clause)
    elif clause.take("CONVERT", "TO"):
        yield from _convert(alter, clause)
    elif any(clause.peek(*words) for words in _PARTITIONS):
        yield alter.copied(N_("rewrites the whole table {table} into other partitions"), acts.NO_FORM)
    elif clause.peek("ORDER", "BY"):
        yield alter.copied(N_("rewrites the whole table {table} in another order"), acts.NO_FORM)
    elif clause.peek("FORCE") or clause.has("ENGINE"):
        yield from _rebuild(alter, clause)


_PARTITIONS = (
    ("PARTITION", "BY"), ("REMOVE", "PARTITIONING"), ("REORGANIZE", "PARTITION"), ("COALESCE", "PARTITION"),
)  # fmt: skip


def _rebuild(alter: Alter, clause: Clause) -> Iterator[Act]:
    known = alter.known
    engine = options_of(clause.again()).get("engine", "")
    other = engine and engine != (known.engine or "innodb")
    if other:
        known.engine = engine
        what = N_("rewrites the whole table {table} into another engine")
        yield alter.copied(what, acts.NO_FORM)
    elif known.fulltext:
        yield alter.shared(N_("rewrites the whole table {table}, for it has a full text index"), acts.NO_FORM)


def _convert(alter: Alter, clause: Clause) -> Iterator[Act]:
    known = alter.known
    given = options_of(clause.again())
    later = Table(charset=given.get("charset", ""), collation=given.get("collation", ""))
    texts = [c for c in known.columns.values() if c.values or "char" in c.kind or "text" in c.kind]
    changes = [change(one, replace(one, charset=later.charset), known) for one in texts]
    grows = any("text" in one.kind for one in texts)
    if not known.whole or COPIES in changes or grows:
        what = N_("rewrites the whole table {table} in another character set")
        yield alter.copied(what, acts.NO_FORM)
    known.charset, known.collation = later.charset, later.collation


def _add(alter: Alter, clause: Clause) -> Iterator[Act]:
    known = alter.known
    if clause.take("SYSTEM", "VERSIONING"):
        yield alter.copied(N_("rewrites the whole table {table}, to keep its history"), acts.NO_FORM)
    elif clause.peek("PARTITION") or clause.peek("PERIOD"):
        return
    elif any(clause.peek(word) for word in CONSTRAINTS):
        alter.scene.known.constrain(known, clause.again())
        yield from _constraint(alter, clause)
    else:
        clause.take("COLUMN")
        clause.take("IF", "NOT", "EXISTS")
        for part in by_comma(clause.group()) or [clause.rest()]:
            yield from _column(alter, Clause(part))


def _constraint(alter: Alter, clause: Clause) -> Iterator[Act]:
    whole = written(clause.rest())
    named = clause.take("CONSTRAINT")
    name = "" if not named or any(clause.peek(w) for w in CONSTRAINTS) else clause.name().text
    if clause.take("FULLTEXT") or clause.take("SPATIAL"):
        yield alter.shared(N_("builds a full text or spatial index on {table}"), acts.NO_FORM)
    elif clause.take("CHECK"):
        yield alter.copied(
            N_("copies the whole table {table}, to look at each row for a CHECK"), acts.NO_FORM
        )
    elif clause.take("FOREIGN", "KEY") and "foreign_key_checks" not in alter.scene.unchecked:
        yield _foreign(alter, clause, whole, name)


def _foreign(alter: Alter, clause: Clause, whole: str, name: str) -> Act:
    if not clause.peek("("):
        clause.name()
    local = columns(clause.group())
    clause.take("REFERENCES")
    parent = clause.name()
    there = columns(clause.group())
    rule = whole if name else f"CONSTRAINT {alter.table.bare}_{'_'.join(c.bare for c in local)}_fk {whole}"
    equal = " AND ".join(
        f"p.{y.text} = c.{x.text}" for x, y in zip(local, there, strict=False)
    )  # fmt: skip
    said = " AND ".join(f"c.{x.text} IS NOT NULL" for x in local)
    return alter.copied(
        N_("copies the whole table {table}, to look at each row for a foreign key to {parent}"),
        N_(
            "Let the server add it without a look, which copies nothing. It does not see then which rows "
            "have no parent: look for them yourself, before and after, with the query of the first line:"
        ),
        f"-- SELECT c.* FROM {alter.table.text} c WHERE {said} AND NOT EXISTS "
        f"(SELECT 1 FROM {parent.text} p WHERE {equal});\n"
        f"SET foreign_key_checks = 0;\n{alter.alone(f'ADD {rule}, {GUARD}')}\nSET foreign_key_checks = 1;",
        parent=parent.text,
    )


def _column(alter: Alter, clause: Clause) -> Iterator[Act]:
    """ADD COLUMN, from the column's name on."""
    known, whole = alter.known, clause.again()
    before = Table(dict(known.columns), fulltext=known.fulltext, indexed=set(known.indexed))
    name = alter.scene.known.add(known, clause.again())
    clause.name()
    kind, _ = typed(clause)
    computed = known.columns[name.key].computed
    if computed == "STORED":
        virtual = " ".join("VIRTUAL" if t.text.upper() in _KEPT else t.text for t in whole.rest())
        what = N_("rewrites the whole table {table}, to compute {column} in every row")
        advice = N_("Have it computed when it is read:")
        yield alter.copied(what, advice, alter.alone(f"ADD COLUMN {virtual}, {GUARD}"), column=name.text)
    elif clause.has("AUTO_INCREMENT"):
        what = N_("rewrites the whole table {table}, to number its rows by {column}")
        yield alter.shared(what, acts.NO_FORM, column=name.text)
    elif clause.has("REFERENCES"):
        what = N_("copies the whole table {table}, to look at each row for the foreign key of {column}")
        advice = N_(
            "Add the column alone. lint shows how a foreign key is added without a look: ADD FOREIGN KEY."
        )
        yield alter.copied(what, advice, column=name.text)
    elif _fills_each(clause.again(), before):
        yield _filled(alter, name, kind, clause.again())
    elif not computed:
        yield from _placed(alter, before, whole)


_KEPT = frozenset({"STORED", "PERSISTENT"})


def _fills_each(clause: Clause, table: Table) -> bool:
    if not clause.skip_to("DEFAULT") or not clause.peek("("):
        return False
    found = {t.text.upper() for t in clause.group() if t.kind in ("word", "name")}
    return bool(found & _FILLS_EACH or {w.strip("`").lower() for w in found} & table.columns.keys())


def _filled(alter: Alter, name: Name, kind: str, clause: Clause) -> Act:
    clause.skip_to("DEFAULT")
    default = written(clause.group())
    return alter.copied(
        N_("rewrites the whole table {table}, to fill {column} in every row"),
        N_(
            "Add it empty, give new rows the default in a second migration, and fill the old in small steps "
            "that are committed one by one:"
        ),
        alter.alone(f"ADD COLUMN {name.text} {kind}, {GUARD}"),
        alter.alone(f"ALTER COLUMN {name.text} SET DEFAULT ({default}), {GUARD}"),
        column=name.text,
    )


def _placed(alter: Alter, table: Table, whole: Clause) -> Iterator[Act]:
    """A plain column, in a table that has what stands in its way."""
    found = whole.rest()
    place = next((n for n, t in enumerate(found) if t.text.upper() in ("FIRST", "AFTER")), 0)
    virtual = table.virtual
    if place and virtual:
        what = N_("copies the whole table {table}, for a column before one that is computed")
        last = written(found[:place])
        yield alter.copied(what, N_("Add it at the end:"), alter.alone(f"ADD COLUMN {last}, {GUARD}"))
    elif table.fulltext:
        what = N_("rewrites the whole table {table}, for it has a full text index")
        yield alter.shared(what, acts.NO_FORM)
    elif virtual & table.indexed:
        what = N_("rewrites the whole table {table}, for it has an index on a computed column")
        yield alter.shared(what, acts.NO_FORM)


def _change(alter: Alter, clause: Clause) -> Iterator[Act]:
    clause.take("COLUMN")
    clause.take("IF", "EXISTS")
    old = clause.name()
    new = clause.name()
    if new.key != old.key:
        yield from _renamed(alter, old, new)
    yield from _retype(alter, new, clause)


def _renamed(alter: Alter, old: Name, new: Name) -> Iterator[Act]:
    known = alter.known.columns
    if old.key in known:
        known[new.key] = known.pop(old.key)
    if alter.scene.script != "revert":
        what = N_("renames column {column} of {table}, which the old release still calls by its name")
        yield acts.breaking(alter.table, what, acts.OLD_CODE, column=old.text)


def _rename(alter: Alter, clause: Clause) -> Iterator[Act]:
    if clause.any_of("INDEX", "KEY"):
        return
    if clause.take("COLUMN"):
        old = clause.name()
        clause.take("TO")
        yield from _renamed(alter, old, clause.name())
        return
    clause.any_of("TO", "AS")
    yield from renamed(alter.table, clause.name(), alter.scene)


def renamed(table: Name, new: Name, scene: Scene) -> Iterator[Act]:
    """A table gets another name."""
    scene.known.rename(table, new)
    if scene.script != "revert":
        what = N_("renames table {table}, which the old release still calls by its name")
        yield acts.breaking(table, what, acts.OLD_CODE)


def _drop(alter: Alter, clause: Clause, *, adds_key: bool) -> Iterator[Act]:
    known = alter.known
    if clause.take("PRIMARY", "KEY"):
        known.key = ()
        if not adds_key:
            what = N_("copies the whole table {table}, which is kept in the order of its primary key")
            yield alter.copied(
                what, N_("Put the new key into the same statement: DROP PRIMARY KEY, ADD PRIMARY KEY.")
            )
        return
    if clause.take("SYSTEM", "VERSIONING"):
        yield alter.shared(N_("rewrites the whole table {table}, without its history"), acts.NO_FORM)
        return
    if any(
        clause.peek(word)
        for word in ("INDEX", "KEY", "FOREIGN", "CONSTRAINT", "CHECK", "PARTITION", "PERIOD")
    ):
        return
    clause.take("COLUMN")
    clause.take("IF", "EXISTS")
    column = clause.name()
    known.columns.pop(column.key, None)
    if alter.scene.script != "revert":
        what = N_("drops column {column} of {table}, which the old release may still read")
        yield acts.breaking(alter.table, what, acts.NOT_READ, column=column.text)


def _retype(alter: Alter, name: Name, clause: Clause) -> Iterator[Act]:
    """``clause`` from the column's type on."""
    known = alter.known
    was, now = known.columns.get(name.key), column_of(clause.again())
    known.columns[name.key] = now
    if was is None:
        what = N_("may rewrite the whole table {table}: what {column} was is not known from the scripts")
        guarded = f"ALTER TABLE {alter.table.text} {alter.whole}, {GUARD};"
        yield alter.copied(what, acts.REFUSED, guarded, column=name.text)
    elif change(was, now, known) == COPIES:
        yield _retyped(alter, name, was, now, clause)


def _retyped(alter: Alter, name: Name, was: Column, now: Column, clause: Clause) -> Act:
    kind, rest = typed(clause)
    if (
        was.charset
        and not now.charset
        and change(was, replace(now, charset=was.charset), alter.known) != COPIES
    ):
        mended = f"MODIFY {name.text} {kind} CHARACTER SET {was.charset} {rest}".strip()
        return alter.copied(
            N_(
                "rewrites the whole table {table}, for {column} gets the table's character set instead of "
                "{charset}"
            ),
            N_("Name the character set that it has:"),
            alter.alone(f"{mended}, {GUARD}"),
            column=name.text,
            charset=was.charset,
        )
    if now.values and set(was.values) <= set(now.values):
        return alter.copied(
            N_("rewrites the whole table {table}, for the values of {column} get other numbers"),
            N_("Write new values behind those that are there."),
            column=name.text,
        )
    return alter.copied(
        N_("rewrites the whole table {table}, and its indexes, for another type of {column}"),
        N_(
            "Add a second column, have the new release write both, fill it in small steps that are committed "
            "one by one, and use it in a later release:"
        ),
        alter.alone(f"ADD COLUMN {name.bare}_new {kind}, {GUARD}"),
        column=name.text,
    )

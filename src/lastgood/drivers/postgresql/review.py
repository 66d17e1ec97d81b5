"""Reads migrations as a DBA does: how each goes back, and which statements hurt while they run. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lastgood.domain.errors import InvalidInput
from lastgood.domain.finding import Blocks, Finding
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import acts, adding
from lastgood.drivers.postgresql.acts import Act, Scene
from lastgood.drivers.postgresql.alone import work_of
from lastgood.drivers.postgresql.classify import classify
from lastgood.drivers.postgresql.known import Known
from lastgood.drivers.postgresql.scan import Statement, marks, split
from lastgood.drivers.postgresql.statements import read
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.reviewing import Review
from lastgood.sql.clauses import NOBODY
from lastgood.sql.findings import finding, line_of
from lastgood.sql.marks import NO_TRANSACTION

_ORDER = (Blocks.NOTHING, Blocks.WRITES, Blocks.EVERYTHING)


@dataclass(frozen=True)
class _Held:
    """A lock that the script's transaction holds from ``statement`` on."""

    statement: Statement
    act: Act


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
        scene = Scene(script, known if script == "deploy" else Known(), set(made))
        findings += _misplaced(script, text, statements)
        findings += _script(statements, scene)
        made |= scene.created
    return Review(migration.name, seen, line, tuple(findings))


def _script(statements: Sequence[Statement], scene: Scene) -> Iterator[Finding]:
    held: list[_Held] = []
    told: set[str] = set()
    last = None
    for last in statements:
        for act in read(last, scene):
            if act.table.key in scene.created:
                continue
            if act.what:
                yield finding(scene.script, last, act)
            if act.long:
                yield from _waited(scene.script, last, act, held, told)
            if act.blocked is not Blocks.NOTHING and act.blocks is None and act.table.key:
                held.append(_Held(last, act))
    if last is not None and scene.script == "deploy":
        for act in adding.unindexed(scene):
            yield finding(scene.script, last, act)


def _misplaced(script: str, text: str, statements: Sequence[Statement]) -> Iterator[Finding]:
    """Statements that need to run in no transaction, and do not say so or have company."""
    marked = NO_TRANSACTION in marks(text, script)
    alone = [s for s in statements if work_of(s) is not None]
    if marked and len(alone) == len(statements) == 1:
        return
    for statement in statements if marked else alone:
        act = acts.advised(
            NOBODY,
            N_("it needs to stand alone, under a line which says that it runs in no transaction"),
            acts.APART,
            acts.ALONE + _ended(statement.text) if work_of(statement) else _ended(statement.text),
        )
        yield finding(script, statement, act)


def _waited(
    script: str, statement: Statement, act: Act, held: Sequence[_Held], told: set[str]
) -> Iterator[Finding]:
    """Locks of quick statements that are held while a long one runs, each table once. A long one that is told
    to leave the script, because its safer form is another migration, holds nobody up then.
    """
    if act.safer and act.blocks is None:
        return
    for one in held:
        if one.act.table.key in told or one.act.long or one.statement is statement:
            continue
        same = one.act.table.key == act.table.key
        if same and _ORDER.index(act.blocked) >= _ORDER.index(one.act.blocked) and act.blocks is None:
            continue  # The long one stops them by itself.
        told.add(one.act.table.key)
        waiting = acts.slow(
            one.act.table,
            one.act.lock,
            N_("keeps its lock on {table} while line {line} runs long, for a migration is one transaction"),
            N_("Put the statement of line {line} into a migration of its own, which follows:"),
            _ended(statement.text),
            line=statement.line,
        )
        yield finding(script, one.statement, waiting)


def _ended(text: str) -> str:
    return f"{text};"

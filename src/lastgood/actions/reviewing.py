"""What a plan says of the locks that its migrations take, from their scripts, and of the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lastgood.actions.abilities import cautions_of, reviews_of, undoes_of
from lastgood.actions.context import Context
from lastgood.domain.errors import NotReversible
from lastgood.domain.finding import Blocks
from lastgood.domain.message import N_, Message
from lastgood.domain.release import DatabaseTarget, Migration, Release
from lastgood.planning.schema import SchemaMove
from lastgood.ports.content import Objects
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.reviewing import Review

LOCKED = {
    Blocks.EVERYTHING: N_(
        "{file}:{line} {what}: {lock}, blocks reads and writes. The safer form: lastgood lint"
    ),
    Blocks.WRITES: N_("{file}:{line} {what}: {lock}, blocks writes. The safer form: lastgood lint"),
}

UNDOES = N_("{name} moves data, and going back undoes it row by row: {reason}. Decided by: {statement}")


def lock_notes(context: Context, release: Release, schemas: Sequence[SchemaMove]) -> list[Message]:
    """A sentence for each statement of a pending migration, there or back, that others wait for, and one for
    each migration whose rows are undone.
    """
    notes: list[Message] = []
    for schema in schemas:
        pending = {m.name for m in schema.pending}
        for review in _reviews(context, release, schema.database) if pending else ():
            if review.migration in pending:
                notes += _notes(review)
    return notes


def server_notes(context: Context, release: Release, schemas: Sequence[SchemaMove]) -> list[Message]:
    """What is not sure on the server of a database that is to be migrated."""
    asked = [cautions_of(context.drivers, release, one.database) for one in schemas if one.pending]
    found = [driver.caution() for driver in asked if driver is not None]
    return [caution for caution in found if caution is not None]


def refuse_undo(context: Context, release: Release, schemas: Sequence[SchemaMove]) -> None:
    """Raises NotReversible for a pending migration that asks for an undo of rows which could not be done.

    Only the next one is asked: what a later one finds, the rehearsal tells.
    """
    for schema in schemas:
        undoes = undoes_of(context.drivers, release, schema.database) if schema.pending else None
        for migration in schema.pending[:1] if undoes is not None else ():
            obstacle = undoes.undo_obstacle(script_of(context.objects, migration)) if undoes else None
            if obstacle is not None:
                raise NotReversible(
                    N_("migration {name} can't be undone: {reason}"),
                    todo=N_("Give the table a primary key first, or don't ask to undo rows in revert.sql."),
                    where=schema.database.resource,
                    name=migration.name,
                    reason=obstacle,
                )


def _notes(review: Review) -> Iterator[Message]:
    seen = review.classification
    if seen.undoes_rows:
        words = {"name": review.migration, "reason": seen.reason, "statement": seen.statement}
        yield Message(UNDOES, words)
    for one in review.findings:
        if one.blocks is not Blocks.NOTHING:
            file = f"{review.migration}/{one.script}.sql"
            place = {"file": file, "line": one.line, "what": one.what, "lock": one.lock}
            yield Message(LOCKED[one.blocks], place)


def _reviews(context: Context, release: Release, database: DatabaseTarget) -> Sequence[Review]:
    reviewer = reviews_of(context.drivers, release, database)
    if reviewer is None:
        return ()
    return reviewer.review([script_of(context.objects, m) for m in database.migrations])


def script_of(objects: Objects, migration: Migration) -> MigrationScript:
    """With its texts, which are kept by digest."""
    names = (migration.deploy, migration.verify, migration.revert)
    texts = [objects.get(name).decode() for name in names]
    return MigrationScript(migration.name, migration.digest, *texts)

"""What a plan says of the locks that its migrations take, from their scripts."""

from __future__ import annotations

from collections.abc import Sequence

from lastgood.actions.abilities import reviews_of
from lastgood.actions.context import Context
from lastgood.domain.finding import Blocks
from lastgood.domain.message import N_, Message
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.planning.schema import SchemaMove
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.reviewing import Review

LOCKED = {
    Blocks.EVERYTHING: N_(
        "{file}:{line} {what}: {lock}, blocks reads and writes. The safer form: lastgood lint"
    ),
    Blocks.WRITES: N_("{file}:{line} {what}: {lock}, blocks writes. The safer form: lastgood lint"),
}


def lock_notes(context: Context, release: Release, schemas: Sequence[SchemaMove]) -> list[Message]:
    """A sentence for each statement of a pending migration, there or back, that others wait for."""
    notes = []
    for schema in schemas:
        pending = {m.name for m in schema.pending}
        for review in _reviews(context, release, schema.database) if pending else ():
            for one in review.findings if review.migration in pending else ():
                if one.blocks is not Blocks.NOTHING:
                    file = f"{review.migration}/{one.script}.sql"
                    words = {"file": file, "line": one.line, "what": one.what, "lock": one.lock}
                    notes.append(Message(LOCKED[one.blocks], words))
    return notes


def _reviews(context: Context, release: Release, database: DatabaseTarget) -> Sequence[Review]:
    reviewer = reviews_of(context.drivers, release, database)
    if reviewer is None:
        return ()
    scripts = []
    for migration in database.migrations:
        names = (migration.deploy, migration.verify, migration.revert)
        texts = [context.objects.get(name).decode() for name in names]
        scripts.append(MigrationScript(migration.name, migration.digest, *texts))
    return reviewer.review(scripts)

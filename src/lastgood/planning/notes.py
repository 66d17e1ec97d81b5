"""What the reader of a plan must know of its databases, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lastgood.domain.message import N_, Message
from lastgood.domain.unit import UnitId
from lastgood.planning.schema import Classes, SchemaMove, moving

NOT_KEPT = Message(N_("this driver does not keep what is written after a snapshot"))
STAYS = N_("{name} stays in {resource}: {units} need it or what lies above it")
REVERTED = N_(
    "{name} is reverted in {resource}: what was written since into what it added is put aside in the "
    "database; deploying {name} again brings back what still has its row"
)
LEFT_THERE = N_("{name} stays in {resource}: it moved data, or its scripts are not known here")
MOVES_DATA = N_(
    "{name} moves data ({reason}): going back leaves its schema and data in place. The data as it was, with "
    "what was written since, comes back with: lastgood restore {unit}. Decided by: {statement}"
)
NOT_CARRIED = N_(
    "{name} moves data ({reason}): going back leaves its schema and data in place, and the data as it "
    "was is in the snapshot only; writes after the cut could not be carried over: {obstacle}. Decided by: "
    "{statement}"
)


def schema_notes(
    unit: UnitId,
    schemas: Sequence[SchemaMove],
    classes: Classes,
    reverts: Mapping[str, tuple[str, ...]],
    captures: Mapping[str, Message | None],
) -> list[Message]:
    """``captures``: as in ``Move``."""
    notes: list[Message] = []
    for schema in schemas:
        resource = schema.database.resource
        for name, units in schema.kept.items():
            words = {"name": name, "resource": resource, "units": ", ".join(units) or "-"}
            notes.append(Message(STAYS, words))
        taken = reverts.get(resource, ())
        notes += [Message(REVERTED, {"name": name, "resource": resource}) for name in taken]
        left = schema.extra[len(taken) :] if reverts else ()
        notes += [Message(LEFT_THERE, {"name": name, "resource": resource}) for name in left]
        notes += _moves_data(unit, schema, classes, captures.get(resource, NOT_KEPT))
    return notes


def _moves_data(
    unit: UnitId, schema: SchemaMove, classes: Classes, obstacle: Message | None
) -> list[Message]:
    notes = []
    for migration in moving(schema, classes):
        _, statement, reason = classes[migration.name]
        words = {"name": migration.name, "reason": reason, "statement": statement}
        if obstacle is None:
            notes.append(Message(MOVES_DATA, {**words, "unit": str(unit)}))
        else:
            notes.append(Message(NOT_CARRIED, {**words, "obstacle": obstacle}))
    return notes

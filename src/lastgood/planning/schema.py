"""Which migrations a move runs, and which of them the way back may take out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lastgood.domain.errors import Conflict, NotReversible
from lastgood.domain.message import N_
from lastgood.domain.plan import Reversibility
from lastgood.domain.release import DatabaseTarget, Migration, Release

Classes = Mapping[str, tuple[Reversibility, str, str]]
"""Migration name → (reversibility, deciding statement, reason)."""


@dataclass(frozen=True)
class SchemaState:
    """A database as observed: migrations ``applied`` (name, digest), oldest first; ``needed_by`` maps a
    migration's name to the other units whose current release has it.
    """

    applied: tuple[tuple[str, str], ...]
    needed_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class SchemaMove:
    """``pending`` is deployed oldest first, ``extra`` (there, but not in the target) reverted newest first.

    ``kept`` is extra that stays because another unit needs it.
    """

    database: DatabaseTarget
    pending: tuple[Migration, ...]
    standing: tuple[Migration, ...]
    extra: tuple[str, ...]
    kept: Mapping[str, tuple[str, ...]]


def schema_move(database: DatabaseTarget, state: SchemaState) -> SchemaMove:
    """Compare what is there with what the target wants.

    Raises Conflict when a deployed migration's scripts were edited afterwards, or when the order differs.
    """
    wanted = {m.name: m for m in database.migrations}
    applied = dict(state.applied)
    for name, digest in state.applied:
        if name in wanted and wanted[name].digest != digest:
            raise Conflict(
                N_("migration {name} was edited after it was deployed to {resource}"),
                todo=N_("Restore its scripts from Git and write a new migration for what you want changed."),
                where=database.resource,
                name=name,
                resource=database.resource,
            )
    pending = tuple(m for m in database.migrations if m.name not in applied)
    standing = tuple(m for m in database.migrations if m.name in applied)
    extra = tuple(name for name, _ in reversed(state.applied) if name not in wanted)
    removable, kept = _split(extra, state.needed_by)
    return SchemaMove(database, pending, standing, removable, kept)


def _split(
    extra: Sequence[str], needed_by: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]]:
    """Newest first, up to the first that somebody needs: what lies under it has to stay as well."""
    removable: list[str] = []
    for position, name in enumerate(extra):
        if needed_by.get(name):
            return tuple(removable), {n: needed_by.get(n, ()) for n in extra[position:]}
        removable.append(name)
    return tuple(removable), {}


def moving(move: SchemaMove, classes: Classes) -> tuple[Migration, ...]:
    """Those of the pending ones that move data: no script takes that back."""
    return tuple(m for m in move.pending if classes[m.name][0] is Reversibility.BY_SNAPSHOT)


def refuse_forward_only(move: SchemaMove, classes: Classes) -> None:
    """Raises NotReversible for a pending migration without a way back that can be proven (R11)."""
    for migration in move.pending:
        reversibility, statement, reason = classes[migration.name]
        if reversibility is Reversibility.FORWARD_ONLY:
            raise NotReversible(
                N_("migration {name} can't be undone: {reason}"),
                todo=N_("Write it with statements that have a reverse. It was decided by: {statement}"),
                where=move.database.resource,
                name=migration.name,
                reason=reason,
                statement=statement,
            )


def lacking_users(release: Release) -> tuple[str, ...]:
    """Databases that do not list this service among their users."""
    service = release.unit.service
    return tuple(d.resource for d in release.databases if d.users and service not in d.users)

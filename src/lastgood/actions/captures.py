"""What servers keep of the writes after a snapshot: from a change that moves data until it is good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.actions.abilities import captures_of, warm_of
from lastgood.actions.renewing import with_valid_secrets
from lastgood.domain.capture import Capture, DataLeft
from lastgood.domain.errors import LastgoodError, OutcomeUnknown
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Reversibility, StepKind
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.rollout import Mark, Rollout
from lastgood.domain.salvage import WritesSince
from lastgood.domain.unit import UnitId
from lastgood.domain.warm_copy import CopyRoom
from lastgood.planning.notes import NOT_KEPT
from lastgood.planning.schema import Classes, SchemaMove, moving
from lastgood.ports.clock import Clock
from lastgood.ports.content import Vault
from lastgood.ports.drivers import Drivers
from lastgood.ports.persistence import Store, UnitOfWork

NEWER = N_("a newer capture of {resource} was opened")


def capture_obstacles(
    drivers: Drivers | None, target: Release, schemas: Sequence[SchemaMove], classes: Classes
) -> Mapping[str, Message | None]:
    """Of each database whose data the move changes: why later writes can't be kept, None where they can.

    Without ``drivers`` it is a way back: nothing that follows would ever end what it opened.
    """
    found: dict[str, Message | None] = {}
    for schema in schemas:
        if not moving(schema, classes):
            continue
        if drivers is None:
            obstacle: Message | None = Message(N_("they are kept for a change, not for a way back"))
        else:
            captures = captures_of(drivers, target, schema.database)
            obstacle = captures.capture_obstacle() if captures else NOT_KEPT
        found[schema.database.resource] = obstacle
    return found


def copy_rooms(
    drivers: Drivers, target: Release, obstacles: Mapping[str, Message | None]
) -> Mapping[str, CopyRoom]:
    """Of each captured database whose driver can have a copy stand by. ``obstacles``: those to a capture."""
    found: dict[str, CopyRoom] = {}
    for database in target.databases:
        if obstacles.get(database.resource, NOT_KEPT) is not None:
            continue
        keeps = warm_of(drivers, target, database)
        if keeps is not None:
            found[database.resource] = keeps.copy_room()
    return found


def keep_capture(unit: UnitOfWork, capture: Capture) -> None:
    """Write down that it was opened; the server has ended what it kept of this resource before."""
    for older in unit.captures.list():
        if older.resource == capture.resource and older.snapshot != capture.snapshot:
            end_in(unit, older, Message(NEWER, {"resource": capture.resource}), capture.opened_at)
    unit.captures.put(capture)


def end_in(unit: UnitOfWork, capture: Capture, because: Message, now: datetime) -> None:
    unit.captures.put(replace(capture, ended_at=now, ended_because=because))


@dataclass(frozen=True)
class Servers:
    """Where captures are written down, and how the servers that keep them are reached."""

    store: Store
    drivers: Drivers
    vault: Vault


def end_capture(
    servers: Servers, release: Release, capture: Capture, because: Message, now: datetime
) -> Message | None:
    """Have the server keep nothing for it any more. Returns why it could not be told; it is open then."""
    snapshot = snapshot_of(servers.store, capture)
    try:
        release = with_valid_secrets(servers.store, servers.vault, release)
        database = release.database(capture.resource)
        captures = captures_of(servers.drivers, release, database) if database else None
        if captures is not None:
            captures.end_capture(snapshot)
    except LastgoodError as error:
        if error.own_state:
            raise
        return error.what
    with servers.store.write() as unit:
        end_in(unit, capture, because, now)
    return None


def snapshot_of(store: Store, capture: Capture) -> Snapshot:
    with store.read() as unit:
        return next(s for s in unit.points.snapshots(capture.resource) if s.id == capture.snapshot)


def writes_of(
    drivers: Drivers, release: Release, database: DatabaseTarget, snapshot: Snapshot
) -> WritesSince:
    """Counted now. ``release``: with secrets that may be used."""
    captures = captures_of(drivers, release, database)
    if captures is None:
        reason = Message(N_("the driver of {resource} keeps no writes"), {"resource": database.resource})
        return WritesSince(snapshot.id, complete=False, reasons=(reason,))
    return captures.writes_since(snapshot, database.keep)


def settled_by(unit: UnitOfWork, rollout: str, good: Release) -> list[Capture]:
    """Those that nobody needs once ``good`` is there: its own, and older ones of its unit that lie behind
    migrations it needs.
    """
    databases = {database.resource: database for database in good.databases}
    return [
        capture
        for capture in unit.captures.list()
        if capture.rollout == rollout
        or (
            capture.unit == str(good.unit)
            and capture.resource in databases
            and capture.lacks(databases[capture.resource])
        )
    ]


def opened_by(unit: UnitOfWork, rollouts: Iterable[str]) -> list[Capture]:
    wanted = frozenset(rollouts)
    return [capture for capture in unit.captures.list() if capture.rollout in wanted]


def captures_on(unit: UnitOfWork, release: Release) -> list[Capture]:
    """Those open on the databases of ``release``, and those its unit opened, newest first: the change that
    brought a database may have been taken back.
    """
    resources = {database.resource for database in release.databases}
    return [
        capture
        for capture in unit.captures.list()
        if capture.resource in resources or capture.unit == str(release.unit)
    ]


def reaching(unit: UnitOfWork, release: Release, capture: Capture) -> Release:
    """The release by which the database is reached: ``release``, or where that does not name it, the one that
    the capture was opened for.
    """
    if release.database(capture.resource) is not None:
        return release
    return unit.releases.get(unit.rollouts.get(capture.rollout).target)


def data_left(unit: UnitOfWork, release: Release) -> tuple[DataLeft, ...]:
    """Databases of ``release`` with data as a migration left it that ``release`` does not have."""
    found = []
    for capture in captures_on(unit, release):
        database = release.database(capture.resource)
        known = {m.name for m in database.migrations} if database else set()
        names = [name for name in capture.moving if name not in known and _may_have_run(unit, capture, name)]
        snapshots = unit.points.snapshots(capture.resource)
        snapshot = next((s for s in snapshots if s.id == capture.snapshot), None)
        if names and snapshot is not None:
            found.append(_left(names, snapshot, restorable=True))
    return tuple(found)


def _may_have_run(unit: UnitOfWork, capture: Capture, migration: str) -> bool:
    """What failed left the database as it was, unless its answer was lost."""
    last = unit.journal.last(capture.rollout, f"migrate:{capture.resource}:{migration}")
    if last is None:
        return False
    return last.mark is not Mark.FAILED or last.data["error"] == OutcomeUnknown.__name__


def end_needless(store: Store, drivers: Drivers, vault: Vault, clock: Clock) -> None:
    """End those of changes that are over and moved nothing: their servers keep writes for nobody.

    Where a server can't be told it is tried again when the next program ends.
    """
    with store.read() as unit:
        needless = []
        for capture in unit.captures.list():
            rollout = unit.rollouts.get(capture.rollout)
            moved = any(_may_have_run(unit, capture, name) for name in capture.moving)
            if not rollout.state.is_open and not moved:
                needless.append((capture, unit.releases.get(rollout.target)))
    for capture, release in needless:
        because = Message(N_("{rollout} ended before it moved data"), {"rollout": capture.rollout})
        end_capture(Servers(store, drivers, vault), release, capture, because, clock.now())


def data_left_by(unit: UnitOfWork, failed: Rollout) -> tuple[DataLeft, ...]:
    """What the migrations of ``failed`` moved where no writes were kept."""
    done = {e.step: e.data for e in unit.journal.entries(failed.id) if e.mark is Mark.DONE}
    moved: dict[str, list[str]] = {}
    for step in failed.plan.steps:
        by_snapshot = step.reversibility is Reversibility.BY_SNAPSHOT
        if step.kind is StepKind.MIGRATE and by_snapshot and step.id in done:
            moved.setdefault(str(step.params["resource"]), []).append(str(step.params["migration"]))
    kept = {capture.resource for capture in opened_by(unit, [failed.id])}
    found = []
    for resource, names in moved.items():
        taken = done.get(f"snapshot:{resource}", {}).get("snapshot")
        snapshot = next((s for s in unit.points.snapshots(resource) if s.id == taken), None)
        if resource not in kept and snapshot is not None:
            found.append(_left(names, snapshot, restorable=False))
    return tuple(found)


def _left(names: Sequence[str], snapshot: Snapshot, *, restorable: bool) -> DataLeft:
    return DataLeft(
        snapshot.resource, ", ".join(names), snapshot.id, snapshot.created_at, snapshot.path, restorable
    )


def left_notes(left: Iterable[DataLeft], unit_id: UnitId) -> tuple[Message, ...]:
    """What a way back does not bring back, before it begins."""
    template = N_(
        "the data of {resource} stays as {name} left it; then it goes back to {at}, with what was written "
        "since, by: lastgood restore {unit}"
    )
    return tuple(Message(template, _words(one, unit_id)) for one in left)


def before_notes(left: Iterable[DataLeft], unit_id: UnitId) -> tuple[Message, ...]:
    """What a deploy builds on, and what it may take away."""
    template = N_(
        "the data of {resource} is still as {name} left it, and this change builds on that: once it moves "
        "data there or is verified good, what was written since {at} may be kept no more. To go back first: "
        "lastgood restore {unit}"
    )
    return tuple(Message(template, _words(one, unit_id)) for one in left)


def _words(one: DataLeft, unit_id: UnitId) -> Mapping[str, str]:
    return {
        "resource": one.resource,
        "name": one.name,
        "unit": str(unit_id),
        "at": f"{one.since:%Y-%m-%d %H:%M:%S}",
    }


def tell_left(outcome: Message, left: Iterable[DataLeft], unit_id: UnitId) -> Message:
    """``outcome``, and what is not back with it."""
    restorable = N_(
        "{outcome}. The data of {resource} is still as {name} left it; to go back to {at} with what was "
        "written since: lastgood restore {unit}"
    )
    lost = N_(
        "{outcome}. The data of {resource} is still as {name} left it; as it was at {at}, without what was "
        "written since, it is in {path} only"
    )
    for one in left:
        words = {"outcome": outcome, "path": one.path, **_words(one, unit_id)}
        outcome = Message(restorable if one.restorable else lost, words)
    return outcome

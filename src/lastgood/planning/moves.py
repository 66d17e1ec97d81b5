"""The order of steps, forward and back. Law 14 lives here: the way back is decided with the plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lastgood.domain.digest import short
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Difference, Estimate, Plan, PlanKind, Reversibility, Step, StepKind
from lastgood.domain.release import Release
from lastgood.planning import steps as build
from lastgood.planning.canary import canary, canary_notes, serves, split_ids
from lastgood.planning.notes import NOT_KEPT, schema_notes
from lastgood.planning.schema import Classes, SchemaMove, moving
from lastgood.ports.traffic import Leave

Timings = Callable[[StepKind], Sequence[float]]
"""Seconds that steps of a kind took on this unit before, newest first."""


@dataclass(frozen=True)
class Move:
    """Everything a plan is computed from. ``drains``: the proxy knows what is still open at a generation."""

    base: Release
    target: Release
    schemas: tuple[SchemaMove, ...]
    classes: Classes
    timings: Timings
    changes: Difference
    reverts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Resource → migrations that the way to ``target`` takes out again, newest first."""
    drains: bool = False
    captures: Mapping[str, Message | None] = field(default_factory=dict)
    """Databases whose data is moved: why later writes could not be carried over, None where they could."""

    @property
    def captured(self) -> Mapping[str, tuple[str, ...]]:
        """Databases of which every write after the cut is kept, and their migrations that move data."""
        return {
            schema.database.resource: tuple(m.name for m in moving(schema, self.classes))
            for schema in self.schemas
            if self.captures.get(schema.database.resource, NOT_KEPT) is None
        }


def plan_deploy(move: Move) -> Plan:
    """A change: prepare without effect, migrate, start beside the old one, shift, watch, guard."""
    base, target = move.base, move.target
    steps = [
        build.observe("observe", N_("Check that nothing was changed by hand"), base.digest),
        *build.check_room(target, base),
        *build.fetch_image(target),
        *build.prepare_schema(target, move.schemas, move.captured),
        *build.place(target),
        *build.migrate(target, move.schemas, move.classes, move.captured),
        *build.start("start", N_("Start the new generation beside the old one"), target),
        *canary(target, base),
        *build.switch_files("switch", N_("Switch the configuration"), target, base),
        *build.shift_traffic("shift", N_("Shift the traffic"), target, base, Leave.DRAIN),
        *build.switch_workers("workers", N_("Old workers stop, new ones start"), target, base),
        *_watched(move),
        *build.write_bundle(target),
        *build.stop_generation("retire", N_("Stop the old generation"), base, target),
        *build.prune(target),
    ]
    notes = (*canary_notes(target, base), *_notes(move))
    return _plan(PlanKind.DEPLOY, move, steps, way_back(move), notes)


def _watched(move: Move) -> list[Step]:
    """Watch, let the old generation's requests end, guard, keep.

    What is open at the old generation had the watch to end by itself; the rest, and visitors whom a cookie
    binds to it, come over before the guard, which then judges the new generation by everybody.
    """
    target, windows = move.target, move.target.windows
    guard = N_("Guard window: the old generation stays warm")
    return [
        build.watch("watch", StepKind.WATCH, N_("Watch the criteria"), target, windows.watch),
        *(build.drain(target, move.base) if move.drains and serves(move.base) else ()),
        build.watch("guard", StepKind.GUARD, guard, target, windows.guard),
        build.keep(target),
    ]


def plan_rollback(move: Move) -> Plan:
    """To a restore point, warm or cold: traffic first, then workers, files, and the schema at leisure.

    Migrations that the restore point has and the database lacks are rehearsed and deployed before.
    """
    steps = [
        *build.hold_image(move.target),
        *build.prepare_schema(move.target, move.schemas),
        *build.migrate(move.target, move.schemas, move.classes),
        *_back_to(move.target, move.base),
        *build.revert(move.base, move.reverts),
        verify(move.target),
    ]
    return _plan(PlanKind.ROLLBACK, move, steps, (), _notes(move))


def plan_heal(move: Move) -> Plan:
    """Have everything of the current release there again: files, processes, traffic (R6). Where a secret of
    it was revoked, it starts anew beside what runs, which stops at the end.
    """
    target, base = move.target, move.base
    other = base if base.digest != target.digest else None
    steps = [
        *build.hold_image(target),
        *build.place(target),
        *build.start("start", N_("Have the generation running"), target, mend=True),
        *build.switch_files("switch", N_("Switch the configuration"), target, base),
        *build.shift_traffic("shift", N_("Shift the traffic"), target, base, Leave.DRAIN),
        *build.switch_workers("workers", N_("Have the workers running"), target, other),
        *build.stop_generation("stop", N_("Stop the old generation"), base, target),
        build.observe("check", N_("Check that nothing differs any more"), move.target.digest),
    ]
    return _plan(PlanKind.HEAL, move, steps, (), ())


def way_back(move: Move) -> tuple[Step, ...]:
    """The program that takes a failed deploy back, in its order; see ``begun``."""
    taken: dict[str, tuple[str, ...]] = {}
    for schema in move.schemas:
        names: list[str] = []
        for migration in reversed(schema.pending):
            # Undoing stops at the first migration whose data only a snapshot holds; what lies under it stays.
            if move.classes[migration.name][0] is not Reversibility.EXACT:
                break
            names.append(migration.name)
        taken[schema.database.resource] = tuple(names)
    steps = [*_back_to(move.base, move.target), *build.revert(move.target, taken), verify(move.base)]
    return tuple(steps)


def begun(steps: Sequence[Step], started: frozenset[str]) -> tuple[Step, ...]:
    """Those steps of a way back that undo something which began; ``started`` holds forward step ids."""
    return tuple(
        s for s in steps if "undoes" not in s.params or any(name in started for name in s.params["undoes"])
    )


def revertible(schema: SchemaMove, classes: Classes) -> tuple[str, ...]:
    """What going back takes out, newest first, up to the first that is not exact or has no class (its
    scripts are not known): that one stays, and what it lies on.
    """

    def exact(name: str) -> bool:
        return name in classes and classes[name][0] is Reversibility.EXACT

    return tuple(itertools.takewhile(exact, schema.extra))


def _back_to(target: Release, source: Release, *, alone: bool = False) -> list[Step]:
    """Traffic, evidence, workers, files, then the failed generation stops (``alone``: before the workers);
    nothing is removed.
    """
    ready, shift = N_("Have the old generation ready"), N_("Traffic back to the old generation")
    moved = [*split_ids(source, target), "shift"]
    hand_over, switch = N_("Failed workers stop, old ones start"), N_("Switch the configuration back")
    stop = N_("Stop the failed generation, keep its logs")
    evidence = Step("back:evidence", StepKind.COLLECT_EVIDENCE, Message(N_("Collect the evidence")),
                    {"release": source.digest})  # fmt: skip
    traffic = [
        *build.start("back:start", ready, target, undoes=moved),
        *build.shift_traffic("back:shift", shift, target, source, Leave.CUT, undoes=moved),
        evidence,
    ]
    work = [
        *build.switch_workers("back:workers", hand_over, target, source, undoes=["workers"]),
        *build.switch_files("back:switch", switch, target, source, undoes=["switch"]),
    ]
    stopped = build.stop_generation("back:stop", stop, source, target, undoes=["start", "workers"])
    return [*traffic, *stopped, *work] if alone else [*traffic, *work, *stopped]


def back_cold(target: Release, source: Release) -> list[Step]:
    """The same to a release that never ran: whatever else of the unit runs stops before its workers start,
    for the generation it takes the place of may have kept its own.
    """
    return _back_to(target, source, alone=True)


def verify(release: Release) -> Step:
    """Measured again after a return."""
    title = N_("Measure the criteria again")
    return build.watch("verify", StepKind.VERIFY, title, release, release.windows.verify)


def _plan(
    kind: PlanKind, move: Move, steps: Sequence[Step], back: Sequence[Step], notes: Sequence[Message]
) -> Plan:
    return Plan(
        kind,
        move.target.unit,
        move.base.digest,
        move.target.digest,
        move.target.commit,
        tuple(_estimated(s, move.timings) for s in steps),
        tuple(_estimated(s, move.timings) for s in back),
        move.changes,
        tuple(notes),
        tuple(s.database.resource for s in move.schemas if s.pending or s.extra),
    )


def _estimated(step: Step, timings: Timings) -> Step:
    if step.kind in (StepKind.WATCH, StepKind.WATCH_CANARY, StepKind.GUARD):
        return replace(step, estimate=Estimate(float(step.params["seconds"])))
    known = sorted(timings(step.kind))
    return replace(step, estimate=Estimate(known[len(known) // 2], len(known))) if known else step


def _notes(move: Move) -> tuple[Message, ...]:
    notes = schema_notes(move.target.unit, move.schemas, move.classes, move.reverts, move.captures)
    if move.base.origin == "baseline":
        notes.append(Message(N_("The way back is a baseline: it was observed, never verified good.")))
    notes.append(Message(N_("Way back: {release}"), {"release": short(move.base.digest)}))
    return tuple(notes)

"""The order of steps, forward and back. Law 14 lives here: the way back is decided with the plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lastgood.domain.digest import short
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Difference, Estimate, Plan, PlanKind, Reversibility, Step, StepKind
from lastgood.domain.rehearsal import Rehearsed
from lastgood.domain.release import Release
from lastgood.domain.warm_copy import CopyRoom
from lastgood.planning import steps as build
from lastgood.planning.canary import canary, canary_notes, serves, split_ids
from lastgood.planning.contracting import taken_from
from lastgood.planning.copies import CopyChoice, choose, copy_notes, loading
from lastgood.planning.fence import back_fenced, cold, have_to_go, stop_writers
from lastgood.planning.notes import NOT_KEPT, schema_notes
from lastgood.planning.rehearsing import Written, left_breaking, order, rehearsal_notes, taken_note
from lastgood.planning.schema import Classes, SchemaMove, moving
from lastgood.planning.users import back_others, start_others, stop_others, users_note
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
    journeys: Mapping[str, Written] = field(default_factory=dict)
    """Databases with something to migrate, and the scripts that write into them as code does."""
    rehearsed: Mapping[str, Rehearsed] = field(default_factory=dict)
    """Databases that were rehearsed for this move."""
    rooms: Mapping[str, CopyRoom] = field(default_factory=dict)
    """Databases of which a copy could stand by."""
    undone: Mapping[str, tuple[Rehearsed, ...]] = field(default_factory=dict)
    """On a way back: what was rehearsed of the migrations that it takes out, when they were deployed."""

    left: Mapping[str, tuple[Rehearsed, ...]] = field(default_factory=dict)
    """The same of those that it passes and has to leave there."""

    others: tuple[Release, ...] = ()
    """What runs on the other units that use a database which moves behind a fence: it stops meanwhile."""

    @property
    def known(self) -> tuple[Rehearsed, ...]:
        """All rehearsals that the order rests on; the worst of them decides."""
        return (*self.rehearsed.values(), *(one for ones in self.undone.values() for one in ones))

    @property
    def takes_back(self) -> Mapping[str, tuple[str, ...]]:
        """Resource → what a way back takes out because the code to which it goes can't do with it."""
        found = {
            schema.database.resource: tuple(
                name
                for name in taken_from(self.base, self.target, schema)
                if name in self.reverts.get(schema.database.resource, ())
            )
            for schema in self.schemas
        }
        return {resource: names for resource, names in found.items() if names}

    @property
    def fenced(self) -> bool:
        """Whether some old code is not shown to run on the new schema, or others have to be started again."""
        return bool(self.takes_back or self.others) or any(not one.old.runs for one in self.known)

    @property
    def captured(self) -> Mapping[str, tuple[str, ...]]:
        """Databases of which every write after the cut is kept, and their migrations that move data."""
        return {
            schema.database.resource: tuple(m.name for m in moving(schema, self.classes))
            for schema in self.schemas
            if self.captures.get(schema.database.resource, NOT_KEPT) is None
        }

    @property
    def copies(self) -> Mapping[str, CopyChoice]:
        """How the copy of each of ``rooms`` is kept. Raises NotReversible as ``choose`` does."""
        return {
            resource: choose(room, loading(resource, self.rehearsed, self.timings), resource)
            for resource, room in self.rooms.items()
            if resource in self.captured
        }


def plan_deploy(move: Move) -> Plan:
    """A change: prepare without effect, migrate, start beside the old one, shift, watch, guard."""
    base, target, fenced = move.base, move.target, move.fenced
    start = N_("Start the new generation") if fenced else N_("Start the new generation beside the old one")
    leave = Leave.CUT if fenced else Leave.DRAIN
    steps = [
        build.observe("observe", N_("Check that nothing was changed by hand"), base.digest),
        *build.check_room(target, base),
        *build.fetch_image(target),
        *build.prepare_schema(
            target, move.schemas, move.captured, move.journeys, move.rehearsed, move.others
        ),
        *build.warm_copies(target, move.copies),
        *build.place(target),
        *(stop_writers(base, target) if fenced else ()),
        *stop_others(move.others),
        *build.migrate(target, move.schemas, move.classes, move.captured),
        *start_others(move.others),
        *build.start("start", start, target),
        *(() if fenced else canary(target, base)),
        *build.switch_files("switch", N_("Switch the configuration"), target, base),
        *build.shift_traffic("shift", N_("Shift the traffic"), target, base, leave),
        *build.switch_workers("workers", N_("Old workers stop, new ones start"), target, base),
        *_watched(move),
        *build.write_bundle(target),
        *build.stop_generation("retire", N_("Stop the old generation"), base, target),
        *build.prune(target),
    ]
    notes = [*rehearsal_notes(move.schemas, move.rehearsed), *users_note(move.others)]
    notes += [*_canary_notes(move), *_notes(move)]
    return _plan(PlanKind.DEPLOY, move, cold(steps) if fenced else steps, way_back(move), notes)


def _canary_notes(move: Move) -> list[Message]:
    if move.fenced and move.target.canary:
        return [Message(N_("No canary: the old generation is stopped before the schema moves."))]
    return canary_notes(move.target, move.base)


def _watched(move: Move) -> list[Step]:
    """Watch, let the old generation's requests end, guard, keep.

    What is open at the old generation had the watch to end by itself; the rest, and visitors whom a cookie
    binds to it, come over before the guard, which then judges the new generation by everybody.
    """
    target, windows = move.target, move.target.windows
    warm = N_("Guard window: the old generation stays warm")
    guard = N_("Guard window: the old generation stays ready to start") if move.fenced else warm
    drains = move.drains and serves(move.base) and not move.fenced
    return [
        build.watch("watch", StepKind.WATCH, N_("Watch the criteria"), target, windows.watch),
        *(build.drain(target, move.base) if drains else ()),
        build.watch("guard", StepKind.GUARD, guard, target, windows.guard),
        build.keep(target),
    ]


def plan_rollback(move: Move) -> Plan:
    """To a restore point, warm or cold: traffic first, then workers, files, and the schema at leisure; behind
    a fence where the old code is not shown to run on the schema that is there.

    Migrations that the restore point has and the database lacks are rehearsed and deployed before.
    """
    schema = have_to_go(build.revert(move.base, move.reverts), move.known, move.takes_back)
    steps = [
        *build.hold_image(move.target),
        *build.prepare_schema(move.target, move.schemas),
        *build.migrate(move.target, move.schemas, move.classes),
        *_there(move.target, move.base, schema, move),
        verify(move.target),
    ]
    deciding = [one for one in move.known if one.old.runs is not move.fenced]
    contracted = [taken_note(resource, names) for resource, names in move.takes_back.items()]
    notes = (*_left_notes(move), *contracted, *(order(one) for one in deciding), *users_note(move.others),
             *_notes(move))  # fmt: skip
    return _plan(PlanKind.ROLLBACK, move, steps, (), notes)


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
    reverts = have_to_go(build.revert(move.target, taken), move.known)
    return (*_there(move.base, move.target, reverts, move), verify(move.base))


def _there(target: Release, source: Release, schema: Sequence[Step], move: Move) -> list[Step]:
    """Everything to ``target``, and the ``schema`` where it belongs in the order."""
    if not move.fenced:
        return [*_back_to(target, source), *schema]
    return back_fenced(target, source, schema, back_others(move.others, schema))


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


def staying(schema: SchemaMove, classes: Classes) -> tuple[str, ...]:
    """What the target lacks and going back leaves there all the same, newest first."""
    return (*schema.extra[len(revertible(schema, classes)) :], *schema.kept)


def _left_notes(move: Move) -> list[Message]:
    """What the target is known not to run on, and meets."""
    return [
        left_breaking(one, [n for n in staying(s, move.classes) if n in one.pending], move.target.unit)
        for s in move.schemas
        for one in move.left.get(s.database.resource, ())
        if not one.old.runs
    ]


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
        tuple(_estimated(s, move) for s in steps),
        tuple(_estimated(s, move) for s in back),
        move.changes,
        tuple(notes),
        tuple(s.database.resource for s in move.schemas if s.pending or s.extra),
        rehearsed=move.known,
        stops=tuple(one.unit for one in move.others),
    )


def _estimated(step: Step, move: Move) -> Step:
    """What the rehearsal took says more of a migration than what others took."""
    timings = move.timings
    seconds = _rehearsed_seconds(step, move.known)
    if seconds is not None:
        return replace(step, estimate=Estimate(seconds, 1))
    if step.kind in (StepKind.WATCH, StepKind.WATCH_CANARY, StepKind.GUARD):
        return replace(step, estimate=Estimate(float(step.params["seconds"])))
    known = sorted(timings(step.kind))
    if step.kind is StepKind.WARM_COPY and not known:
        return replace(step, estimate=Estimate(move.copies[step.params["resource"]].seconds))
    return replace(step, estimate=Estimate(known[len(known) // 2], len(known))) if known else step


def _rehearsed_seconds(step: Step, rehearsed: Sequence[Rehearsed]) -> float | None:
    """On a copy of the whole database; a sample says nothing of the time."""
    if step.kind not in (StepKind.MIGRATE, StepKind.REVERT_SCHEMA):
        return None
    name = str(step.params["migration"])
    for one in rehearsed:
        taken = one.deploy_seconds if step.kind is StepKind.MIGRATE else one.revert_seconds
        if one.resource == step.params["resource"] and not one.sample and name in taken:
            return taken[name]
    return None


def _notes(move: Move) -> tuple[Message, ...]:
    notes = schema_notes(move.target.unit, move.schemas, move.classes, move.reverts, move.captures)
    notes += copy_notes(move.copies, move.timings)
    if move.base.origin == "baseline":
        notes.append(Message(N_("The way back is a baseline: it was observed, never verified good.")))
    notes.append(Message(N_("Way back: {release}"), {"release": short(move.base.digest)}))
    return tuple(notes)

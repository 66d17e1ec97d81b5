"""Going back to a snapshot with what was written since: the order of steps (laws 7 and 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lastgood.domain.capture import Capture
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Estimate, Plan, PlanKind, Reversibility, Step, StepKind
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.salvage import WritesSince
from lastgood.domain.warm_copy import WarmCopy
from lastgood.planning import steps as build
from lastgood.planning.moves import Timings

SETTLE = 2.0
"""Seconds before the criteria are measured: pools of connections find out first that theirs were ended."""
TAKEN = 1.0
"""Seconds at most in which a copy that stands by gets the name of a restore's."""
PREPARED = ("copy", "ahead", "swap")
"""Steps after which something of the restore may be on the server."""


@dataclass(frozen=True)
class CopySource:
    """Where the copy comes from. ``loaded``: how long this snapshot took to load before. ``warm``: what
    stands by; ``missed``: one was loaded, so that it is told when none does any more.
    """

    loaded: Estimate = field(default_factory=Estimate)
    warm: WarmCopy | None = None
    missed: bool = False

    @property
    def ready(self) -> bool:
        return self.warm is not None and self.warm.usable

    @property
    def title(self) -> str:
        if self.ready:
            return N_("Take the copy of {resource} at {at} that stands by")
        return N_("Load {resource} as it was at {at} beside the live one")


def plan_restore(
    release: Release,
    database: DatabaseTarget,
    capture: Capture,
    users: Sequence[Release],
    timings: Timings,
    source: CopySource,
    by: str = "",
) -> Plan:
    """Beside the live database as long as it takes; closed to ``users`` (the releases of all units that use
    it) for the tail and the swap alone. All of them are measured and looked at afterwards.

    ``release`` is where the unit is and stays.
    ``by``: digest of the release by which the database is reached, where ``release`` does not name it.
    """
    words = {"resource": capture.resource, "at": f"{capture.opened_at:%Y-%m-%d %H:%M:%S}"}
    params: Mapping[str, Any] = {
        "release": by or release.digest,
        "resource": capture.resource,
        "snapshot": capture.snapshot,
        "keep": list(database.keep),
    }

    def step(id: str, kind: StepKind, title: str, **more: Any) -> Step:
        return Step(id, kind, Message(title, words), {**params, **more})

    swap = replace(
        step("swap", StepKind.SWAP_DATABASE, N_("Close {resource}, carry over the rest, swap, open")),
        reversibility=Reversibility.BY_SNAPSHOT,
        undo=Message(N_("the failed database is kept under another name")),
    )
    steps = (
        step("check", StepKind.CHECK_RESTORE, N_("Check who needs {resource}, and that there is room"),
             applied=list(capture.applied)),
        step("copy", StepKind.PREPARE_COPY, source.title),
        step("ahead", StepKind.CARRY_OVER, N_("Carry over what was written since, ahead of the swap")),
        swap,
        step("end", StepKind.END_CAPTURE, N_("Writes of {resource} are no longer kept")),
        *_looked_after(release, users),
    )  # fmt: skip
    abandon = step("back:abandon", StepKind.ABANDON_COPY, N_("Drop the copy, {resource} stays as it is"),
                   undoes=list(PREPARED))  # fmt: skip
    return Plan(
        PlanKind.RESTORE, release.unit, release.digest, release.digest, release.commit,
        tuple(_estimated(one, timings, source) for one in steps), (abandon,),
        notes=(*_copy_notes(capture, source), *_notes(capture, users)), resources=(capture.resource,),
    )  # fmt: skip


def _looked_after(release: Release, users: Sequence[Release]) -> tuple[Step, Step]:
    """The database was closed to everybody, so everybody is measured, and looked at once that is done: a
    worker that did not bear the loss of its connection may have ended only when it asked the next time.
    """
    others = [one for one in users if one.unit != release.unit]
    seconds = max(one.windows.verify for one in (release, *others))
    alone, together = N_("Measure the criteria again"), N_("Measure the criteria of all its users again")
    verify = build.watch("verify", StepKind.VERIFY, together if others else alone, release, seconds)
    params = {**verify.params, "settle": SETTLE, "others": [one.digest for one in others]}
    look = Step(
        "users",
        StepKind.LOOK_AT_USERS,
        Message(N_("Look whether all that use it run: {units}"), {"units": _named([release, *others])}),
        {"releases": [one.digest for one in (release, *others)]},
    )
    return replace(verify, params=params), look


def _named(users: Sequence[Release]) -> str:
    """Units with the roles that lose their connections."""
    return ", ".join(
        f"{one.unit} ({', '.join(spec.role.value for spec in one.roles)})" if one.roles else str(one.unit)
        for one in users
    )


def accepting(plan: Plan, writes: WritesSince, left: Sequence[Message] = ()) -> Plan:
    """The swap may leave behind what ``writes`` says is lost or not known, and ``left``, and nothing else."""
    accepted = {
        "tables": {table.table: table.rows for table in writes.lost},
        "unknown": [str(reason) for reason in writes.reasons],
        "left": [str(one) for one in left],
    }
    steps = tuple(
        replace(step, params={**step.params, "accepted": accepted})
        if step.kind is StepKind.SWAP_DATABASE
        else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)


def _estimated(step: Step, timings: Timings, source: CopySource) -> Step:
    if step.kind is StepKind.VERIFY:
        return replace(step, estimate=Estimate(float(step.params["seconds"]) + SETTLE))
    if step.kind is StepKind.PREPARE_COPY and (source.ready or source.loaded.seconds is not None):
        # Some copies were loaded and some stood by: what others took says nothing of this one.
        return replace(step, estimate=Estimate(TAKEN) if source.ready else source.loaded)
    known = sorted(timings(step.kind))
    return replace(step, estimate=Estimate(known[len(known) // 2], len(known))) if known else step


def _copy_notes(capture: Capture, source: CopySource) -> tuple[Message, ...]:
    words, warm = {"resource": capture.resource}, source.warm
    if warm is not None and warm.usable:
        ready = N_("A warm copy of {resource} stands by ({size} MiB, {name}): nothing has to be loaded")
        return (Message(ready, {**words, "size": -(-warm.size >> 20), "name": warm.name}),)
    if warm is not None:
        touched = N_(
            "The warm copy of {resource} can't be used: {why}. The snapshot's file is loaded instead"
        )
        return (Message(touched, {**words, "why": warm.trouble}),)
    if source.missed:
        gone = N_(
            "The warm copy of {resource} is gone: dropped by somebody, or used by a restore that was given "
            "up. The snapshot's file is loaded instead"
        )
        return (Message(gone, words),)
    return ()


def _notes(capture: Capture, users: Sequence[Release]) -> tuple[Message, ...]:
    closed = N_(
        "While it is closed nobody reaches {resource}: {units}. Each loses its connections; whoever tries "
        "gets an error, and has to connect again"
    )
    failed = N_("The failed database stays on the server under another name; nothing of it is deleted")
    return (
        Message(closed, {"resource": capture.resource, "units": _named(users) or "-"}),
        Message(failed),
    )

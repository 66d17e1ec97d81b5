"""Where old code can't live with the new schema: every writer stops before the database moves (law 14)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from lastgood.domain.errors import NotReversible
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Reversibility, Step, StepKind
from lastgood.domain.rehearsal import Rehearsed
from lastgood.domain.release import Release
from lastgood.domain.unit import UnitId
from lastgood.planning import steps as build
from lastgood.planning.rehearsing import why
from lastgood.planning.schema import Classes, SchemaMove
from lastgood.planning.users import stoppable
from lastgood.ports.traffic import Leave

FENCE = "fence"
"""Id of the step; a way back that undoes it is a fenced one."""


def stop_writers(base: Release, target: Release) -> list[Step]:
    """Web as well: what is refused is tried again, what is written into a schema that moves is lost."""
    title = N_("Stop the old generation, web and workers: nobody writes while the schema moves")
    undo = Message(N_("the old generation is started again once the schema is as it was"))
    return [
        replace(step, reversibility=Reversibility.EXACT, undo=undo)
        for step in build.stop_generation(FENCE, title, base, target, close=True)
    ]


def cold(steps: Sequence[Step]) -> list[Step]:
    """Nothing is warm behind a fence."""
    undo = Message(N_("writers stop, the schema goes back, the old generation starts and has the traffic"))
    return [
        replace(step, reversibility=Reversibility.EXACT, undo=undo)
        if step.reversibility is Reversibility.WARM
        else step
        for step in steps
    ]


def back_fenced(
    target: Release, source: Release, schema: Sequence[Step], others: Sequence[Step] = ()
) -> list[Step]:
    """Evidence, snapshot, writers, database, configuration, program, traffic, workers; nothing is removed.
    ``others``: the steps that stop and start the other units on the database.

    The snapshot is taken while customers are still served: it may take long, and may fail. What is written
    after it, each revert puts aside by itself.
    """
    evidence = Step("back:evidence", StepKind.COLLECT_EVIDENCE, Message(N_("Collect the evidence")),
                    {"release": source.digest})  # fmt: skip
    stop = N_("Stop the failed generation, web and workers, keep its logs")
    start, shift = N_("Start the old generation again"), N_("Traffic back to the old generation")
    hand_over, switch = N_("Failed workers stop, old ones start"), N_("Switch the configuration back")
    return [
        evidence,
        *(step for step in schema if step.kind is StepKind.SNAPSHOT),
        *build.stop_generation("back:fence", stop, source, target, undoes=["start", "workers"], close=True),
        *(step for step in others if step.kind is StepKind.STOP_GENERATION),
        *(step for step in schema if step.kind is not StepKind.SNAPSHOT),
        *(step for step in others if step.kind is not StepKind.STOP_GENERATION),
        *build.switch_files("back:switch", switch, target, source, undoes=["switch"]),
        *build.start("back:start", start, target, undoes=[FENCE]),
        *build.shift_traffic("back:shift", shift, target, source, Leave.CUT, undoes=[FENCE, "shift"]),
        *build.switch_workers("back:workers", hand_over, target, source, undoes=[FENCE, "workers"]),
    ]


def have_to_go(
    schema: Sequence[Step],
    rehearsed: Iterable[Rehearsed],
    taken: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Step]:
    """``schema``, in which the reverts of what old code does not run on may not be left out. ``taken``: what
    took away what it needs, by resource.
    """
    breaking = {(one.resource, name) for one in rehearsed if not one.old.runs for name in one.pending}
    breaking |= {(resource, name) for resource, names in taken.items() for name in names}
    return [
        replace(step, params={**step.params, "has_to_go": True})
        if (step.params["resource"], step.params.get("migration")) in breaking
        else step
        for step in schema
    ]


@dataclass(frozen=True)
class Others:
    """The other units on a database that needs a fence: the ``releases`` they are on; ``unknown``: units that
    the estate declares and we never deployed. ``shown``: how their code alone does on the new schema.
    ``alone``: the change moves one unit only.
    """

    releases: tuple[Release, ...] = ()
    unknown: tuple[UnitId, ...] = ()
    shown: Rehearsed | None = None
    alone: bool = False


def lifts_fence(steps: Sequence[Step]) -> bool:
    """Whether a way back is a fenced one."""
    return any(FENCE in step.params.get("undoes", ()) for step in steps)


def refuse_unfenceable(
    base: Release,
    schemas: Sequence[SchemaMove],
    classes: Classes,
    rehearsed: Mapping[str, Rehearsed],
    others: Mapping[str, Others],
) -> None:
    """Raises NotReversible where old code is not shown to run on the new schema, and a fence would not do.

    ``others``: the other units that use a database.
    """
    for schema in schemas:
        one = rehearsed.get(schema.database.resource)
        if one is None or one.old.runs:
            continue
        moving = [m.name for m in schema.pending if classes[m.name][0] is not Reversibility.EXACT]
        words = {"why": why(one), "names": ", ".join(moving)}
        if moving:
            raise _refused(N_("{why} And {names} moves data: no script takes that back."), one, words)
        _refuse_others(one, others.get(one.resource, Others()))
        if base.runtime is None or base.origin == "baseline":
            raise _refused(N_("{why} And what runs now can't be stopped by lastgood."), one, words)


def _refuse_others(one: Rehearsed, others: Others) -> None:
    """A fence holds where all that write are stopped, and all that start again run on what is there then."""
    words: dict[str, Any] = {
        "why": why(one),
        "units": ", ".join(str(release.unit) for release in others.releases),
    }
    if others.unknown:
        words["units"] = ", ".join(str(unit) for unit in others.unknown)
        raise NotReversible(
            N_("{why} And {units} use it too, which lastgood never deployed, so can't stop."),
            todo=N_(
                "Deploy them first, or take those that are not there out of the estate. Nothing was changed."
            ),
            where=one.resource,
            **words,
        )
    if not others.releases:
        return
    if unstoppable := [str(release.unit) for release in others.releases if not stoppable(release)]:
        words["units"] = ", ".join(unstoppable)
        raise _refused(
            N_("{why} And {units} use it too, and what runs there was not started by lastgood."), one, words
        )
    if not others.alone:
        raise NotReversible(
            N_("{why} And {units} use it too. A fence around them all is for a change of one unit."),
            todo=N_(
                "Deploy this unit alone first (lastgood deploy UNIT): the plan then says whether the others "
                "can be stopped with it. Nothing was changed."
            ),
            where=one.resource,
            **words,
        )
    if others.shown is None or not others.shown.old.runs:
        said = why(others.shown) if others.shown is not None else why(one)
        raise _refused(
            N_("{why} And {units} use it too, and would have to run on it: {shown}"),
            one,
            {**words, "shown": said},
        )


def _refused(template: str, one: Rehearsed, words: Mapping[str, Any]) -> NotReversible:
    return NotReversible(
        template,
        todo=N_(
            "Make the change additive (expand first, contract in a later release), or deploy a release "
            "with a journey.sql first, which can show it. Nothing was changed."
        ),
        where=one.resource,
        **words,
    )

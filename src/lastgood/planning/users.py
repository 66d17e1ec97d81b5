"""The other units on a database that moves: they stop with the one that moves it, and start as they were.

A rehearsal shows that what they run works before and after, with the whole of a move behind it; what they
would write and read in between, nothing shows. So they are stopped for the schema alone, not until the new
release has the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, Reversibility, Step, StepKind
from lastgood.domain.release import Release
from lastgood.planning import steps as build
from lastgood.ports.traffic import Leave

STOPS = ("fence:", "back:fence:")
STARTS = ("lift:", "back:lift:")
"""How the ids of the steps begin, forward and back."""


def stop_others(others: Iterable[Release]) -> list[Step]:
    """Web as well, each with all that runs of it."""
    undo = Message(N_("it is started again as it was"))
    return [
        replace(_stop(f"fence:{one.unit}", one), reversibility=Reversibility.EXACT, undo=undo)
        for one in others
    ]


def start_others(others: Iterable[Release]) -> list[Step]:
    return [step for one in others for step in _start("lift", one)]


def back_others(others: Sequence[Release], schema: Sequence[Step]) -> list[Step]:
    """The same around the ``schema`` of a way back: stopped if it moved, started if they were stopped."""
    moved = [name for step in schema for name in step.params.get("undoes", ())]
    undoes = {"undoes": list(dict.fromkeys(moved))} if moved else {}
    stops = [_with(_stop(f"back:fence:{one.unit}", one), undoes) for one in others]
    starts = [
        _with(step, {"undoes": [f"fence:{one.unit}"]}) for one in others for step in _start("back:lift", one)
    ]
    return [*stops, *starts]


def of_others(steps: Iterable[Step]) -> list[Step]:
    """Those of a way back that are theirs."""
    return [step for step in steps if step.id.startswith((*STOPS, *STARTS))]


def stopped_by(plan: Plan) -> Mapping[str, str]:
    """The units that a plan stops beside its own → the releases on which it expects, and starts, them."""
    steps = (*plan.steps, *plan.way_back)
    return {
        step.id.partition("fence:")[2]: str(step.params["release"])
        for step in steps
        if step.id.startswith(STOPS)
    }


def users_note(others: Sequence[Release]) -> list[Message]:
    """For the reader of the plan."""
    if not others:
        return []
    template = N_(
        "{units} use the database too, and what they run works on both schemas. They are stopped while the "
        "schema moves, there and back, and started again at once after it; until this is over nobody else "
        "moves them"
    )
    return [Message(template, {"units": ", ".join(str(one.unit) for one in others)})]


def stoppable(release: Release) -> bool:
    """Whether we started what runs of it."""
    return release.runtime is not None and bool(release.roles) and release.origin != "baseline"


def _stop(id: str, release: Release) -> Step:
    title = Message(N_("Stop {unit}, web and workers: it uses the database that moves"), _words(release))
    return Step(id, StepKind.STOP_GENERATION, title, {"release": release.digest, "keep": "", "close": True})


def _start(prefix: str, release: Release) -> list[Step]:
    start, shift = N_("Start {unit} again"), N_("Traffic back to {unit}")
    workers = N_("Start the workers of {unit} again")
    made = [
        *build.start(f"{prefix}:start:{release.unit}", start, release),
        *build.shift_traffic(f"{prefix}:shift:{release.unit}", shift, release, None, Leave.CUT),
        *build.switch_workers(f"{prefix}:workers:{release.unit}", workers, release, None),
    ]
    undo = Message(N_("it is stopped again while the schema goes back"))
    return [
        replace(
            step,
            title=Message(step.title.template, _words(release)),
            reversibility=Reversibility.EXACT,
            undo=undo,
        )
        for step in made
    ]


def _words(release: Release) -> Mapping[str, str]:
    return {"unit": str(release.unit)}


def _with(step: Step, params: Mapping[str, list[str]]) -> Step:
    return replace(step, params={**step.params, **params})

"""The process dies at every point of a program with image, canary, drain and prune: the unit is whole then.

The points come from the program, so that a new step is covered without anybody's doing. The world outside
(fakes) goes on; only what is in the store is known to who comes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.actions.drift import detect
from lastgood.domain.image import Image
from lastgood.domain.plan import Difference, Plan, StepKind
from lastgood.domain.quarantine import QuarantineKind
from lastgood.domain.release import CanaryStep, Keep, Release, Windows
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import Role
from lastgood.engine.handlers import Probe
from lastgood.planning.moves import Move, plan_deploy
from tests.actions.theatre import UNIT, Theatre, release

MOMENTS = ("before effect", "after effect", "after outcome")
END = [("before finish", "finish"), ("after finish", "finish")]
CHANGES: dict[str, Any] = {
    "canary": (CanaryStep(25.0, 0.6),),
    "keep": Keep(restore_points=2),
    "windows": Windows(watch=0.6, guard=0.6, verify=0.6, drain=0.6),
}


IMAGE = Image("registry.example.com/shop/web", "sha256:1", "sha256:1", "sha256:2", tag="new")


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


@dataclass
class Kill:
    """Once, at one point, after it ``passes`` so many times; ``happened``: it was seen to be so."""

    moment: str
    step: str
    passes: int = 0
    happened: bool = False

    def __call__(self, moment: str, step: str) -> None:
        if (moment, step) != (self.moment, self.step) or self.happened:
            return
        if self.passes:
            self.passes -= 1
            return
        self.happened = True
        raise Killed


def program() -> Plan:
    base, target = release("old", **CHANGES), release("new", image=IMAGE, **CHANGES)
    return plan_deploy(Move(base, target, (), {}, lambda kind: (), Difference(settings=("x",)), drains=True))


FORWARD = [(moment, step.id) for step in program().steps for moment in MOMENTS] + END
BACK = [(moment, step.id, 0) for step in program().way_back for moment in MOMENTS]
ENDS = [(moment, step, passes) for moment, step in END for passes in (0, 1)]
"""Of the program that failed, and of its way back."""


def killed_and_resumed(theatre: Theatre, rollout: Rollout, probe: Probe) -> Rollout:
    with pytest.raises(Killed):
        theatre.run(rollout.id, probe)
    return theatre.run(rollout.id)


def assert_whole(theatre: Theatre, on: Release) -> None:
    """Configuration, what runs and traffic are those of the release, and of no other."""
    assert theatre.serves(on)
    assert detect(theatre.drivers, on) == ()
    assert theatre.running(Role.WEB) == theatre.running(Role.WORKER) == [generation_id(on)]
    with theatre.store.read() as unit:
        assert unit.releases.current(UNIT) == on.digest
        assert list(unit.rollouts.open()) == []
        assert unit.locks.holder(f"unit:{UNIT}") == ""
        assert unit.audit.first_broken() is None


def stand_with_history(theatre: Theatre) -> tuple[Release, Release]:
    """On ``old``, after ``older``, each with an image of its own; something is open at the proxy."""
    older = theatre.stand(theatre.release("older", image=theatre.image("older"), **CHANGES))
    theatre.runtime.stop(generation_id(older), list(Role))
    old = theatre.stand(theatre.release("old", image=theatre.image("old"), **CHANGES))
    theatre.proxy.hold(2)
    return older, old


def test_the_program_has_every_step_that_is_met_here() -> None:
    kinds = {step.kind for step in program().steps}
    assert {
        StepKind.CHECK_ROOM, StepKind.SPLIT_TRAFFIC, StepKind.WATCH_CANARY, StepKind.DRAIN_TRAFFIC,
        StepKind.PRUNE, StepKind.FETCH_IMAGE,
    } <= kinds  # fmt: skip


@pytest.mark.parametrize(("moment", "step"), FORWARD)
def test_forward(theatre: Theatre, moment: str, step: str) -> None:
    older, _ = stand_with_history(theatre)
    new = theatre.release("new", image=theatre.push("new"), **CHANGES)
    rollout = theatre.accept(new)
    assert [s.id for s in rollout.plan.steps] == [s.id for s in program().steps]
    end = killed_and_resumed(theatre, rollout, Kill(moment, step))
    assert (end.id, end.state) == (rollout.id, RolloutState.VERIFIED), str(end.outcome)
    assert_whole(theatre, new)
    assert new.image is not None
    assert theatre.images.missing(new.image) == ()
    assert theatre.runtime.has(new.image)
    assert older.image is not None
    theatre.cache.prune()
    assert not theatre.runtime.has(older.image), "the third newest was pruned"
    assert older.image not in theatre.images.images()
    with theatre.store.read() as unit:
        assert len(unit.points.list(UNIT)) == 2
        assert list(unit.points.uncleared(UNIT)) == []


@pytest.mark.parametrize(("moment", "step", "passes"), BACK + ENDS)
def test_back(theatre: Theatre, moment: str, step: str, passes: int) -> None:
    _, old = stand_with_history(theatre)
    new = theatre.release("new", image=theatre.push("new"), **CHANGES)
    rollout = theatre.accept(new)

    kill = Kill(moment, step, passes)

    def breaks(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "guard"):
            theatre.proxy.bad.add(generation_id(new))
        kill(moment, step)

    end = killed_and_resumed(theatre, rollout, breaks)
    assert kill.happened
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert_whole(theatre, old)
    with theatre.store.read() as unit:
        aside = {entry.kind: entry.name for entry in unit.quarantine.list()}
        assert [freeze.incident for freeze in unit.incidents.freezes(UNIT)] == [f"in-{rollout.id}"]
    assert new.image is not None
    assert aside == {
        QuarantineKind.IMAGE: new.image.manifest,
        QuarantineKind.RELEASE: new.digest,
        QuarantineKind.COMMIT: new.commit,
    }
    assert new.image in theatre.images.images(), "what failed is kept"

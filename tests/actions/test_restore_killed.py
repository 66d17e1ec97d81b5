"""The process dies at every point of a restore, and of what tidies up after one that failed."""

from __future__ import annotations

import pytest

from lastgood.actions.restore import restore
from lastgood.domain.errors import Rejected
from lastgood.domain.rollout import RolloutState
from tests.actions.restoring import RESOURCE, broken, program
from tests.actions.test_killed import END, MOMENTS, Kill, Killed
from tests.actions.theatre import UNIT, Theatre

FORWARD = [(moment, step.id) for step in program().steps for moment in MOMENTS] + END
ABANDON = [(moment, step.id) for step in program().way_back for moment in MOMENTS]
ABANDON += [("after outcome", "swap"), *END]


def test_the_generated_program_is_the_real_one(theatre: Theatre) -> None:
    broken(theatre)
    plan = restore(theatre.context, UNIT).plan
    assert [s.id for s in plan.steps] == [s.id for s in program().steps]
    assert [s.id for s in plan.way_back] == [s.id for s in program().way_back]


@pytest.mark.parametrize(("moment", "step"), FORWARD)
def test_it_goes_on(theatre: Theatre, moment: str, step: str) -> None:
    shop = broken(theatre)
    rollout = restore(theatre.context, UNIT)
    kill = Kill(moment, step)
    with pytest.raises(Killed):
        theatre.run(rollout.id, kill)
    late = step in ("check", "copy", "ahead") or (moment, step) == ("before effect", "swap")
    if late:
        shop.order(5, 30)
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert shop.orders() == {1: 100, 2: 100, 3: 100, 4: 70, **({5: 30} if late else {})}
    with theatre.store.read() as unit:
        assert list(unit.captures.list()) == []
        assert unit.locks.holder(f"resource:{RESOURCE}") == ""
        assert [q.name for q in unit.quarantine.list() if q.resource] != []
        assert unit.audit.first_broken() is None
    assert len(list(shop.database.path.parent.glob("*_failed_*"))) == 1


@pytest.mark.parametrize(("moment", "step"), ABANDON)
def test_it_leaves_nothing_behind(theatre: Theatre, moment: str, step: str) -> None:
    shop = broken(theatre)
    rollout = restore(theatre.context, UNIT)
    shop.database.fail_next("swap", Rejected("a session can't be ended"))
    kill = Kill(moment, step)
    with pytest.raises(Killed):
        theatre.run(rollout.id, kill)
    end = theatre.run(rollout.id)
    if end.id == rollout.id:
        end = theatre.run(f"{rollout.id}-back")
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.FAILED), str(end.outcome)
    assert shop.orders() == {1: 0, 2: 0, 3: 0, 4: 70}
    assert list(shop.database.path.parent.glob("*_restored_*")) == []
    with theatre.store.read() as unit:
        assert unit.locks.holder(f"resource:{RESOURCE}") == ""
        assert list(unit.rollouts.open()) == []

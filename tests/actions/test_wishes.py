"""A person's wish is seen at once, and looking for it costs little."""

from __future__ import annotations

from datetime import datetime

import pytest

from lastgood.actions.rollback import rollback
from lastgood.actions.steps.watching import WISH_SECONDS
from lastgood.domain.release import Windows
from lastgood.domain.rollout import Mark, RolloutState
from lastgood.engine.handlers import StepContext
from tests.actions.test_staying_up import happens_in
from tests.actions.theatre import UNIT, Theatre


def test_a_wish_to_go_back_is_seen_when_it_is_written(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    rollout = theatre.accept(theatre.release("new"))
    asked: list[datetime] = []

    def wish() -> None:
        asked.append(theatre.clock.now())
        rollback(theatre.context, UNIT)

    theatre.run(rollout.id, happens_in(theatre, "guard", wish))
    with theatre.store.read() as unit:
        entries = unit.journal.entries(rollout.id)
    (ended,) = [e.at for e in entries if e.step == "guard" and e.mark is Mark.FAILED]
    assert (ended - asked[0]).total_seconds() < 0.02


def test_writers_wake_nobody_twice_in_a_row(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else many that watch would keep each other awake."""
    theatre.stand(theatre.release("old"))
    rollout = theatre.accept(theatre.release("new", windows=Windows(watch=2.0, guard=10.0, verify=2.0)))
    looks: list[str] = []
    wish = StepContext.wish
    monkeypatch.setattr(StepContext, "wish", lambda self: looks.append(self.step.id) or wish(self))

    def write(seconds: float) -> None:
        with theatre.store.write() as unit:
            unit.wishes.started(rollout.id)

    theatre.clock.passes.append(write)
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert 10 / WISH_SECONDS < looks.count("guard") < 2.1 * 10 / WISH_SECONDS

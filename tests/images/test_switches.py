"""Twenty switches under constant load from a process of its own: nobody may notice."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest

from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import Mark, Rollout, RolloutState
from tests.images.customers import customers
from tests.images.driving import back, begin, deploy_well, until
from tests.images.running import assert_whole
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")

RATE = 1000
PAIRS = 5
"""Of each kind, a way forward and a way back: four switches make one round."""
MOVES = (StepKind.SHIFT_TRAFFIC,)


@dataclass(frozen=True)
class Switch:
    """From ``began`` to ``done`` (seconds since the epoch) requests moved to ``word``."""

    began: float
    done: float
    word: str


def switch(world: World, rollout: Rollout, word: str) -> Switch:
    """As the journal has it."""
    moving = {step.id for step in rollout.plan.steps if step.kind in MOVES}
    entries = [e for e in world.service().show(rollout.id)[0].entries if e.step in moving]
    times = {e.mark: e.at.timestamp() for e in entries}
    return Switch(times[Mark.INTENT], times[Mark.DONE], word)


def test_twenty_switches_forward_and_back_warm_and_cold_fail_no_request(world: World, tmp_path: Path) -> None:
    short = {"watch": "150ms", "guard": "150ms", "verify": "150ms", "recovery": "1m"}
    world.service_yaml["criteria"]["page"] |= {"window": "150ms", "least_sample": 5}
    world.service_yaml["windows"] = short
    deploy_well(world, "one")
    switches = []
    with customers(world.ports[DEV], tmp_path, rate=RATE, connections=20) as crowd:
        for number in range(PAIRS):
            world.service_yaml["windows"] = {**short, "guard": "60s"}
            world.commit("two", text=f"warm{number}")
            forward = begin(world)
            until(world, forward.id, RolloutState.GUARDING)
            switches.append(switch(world, forward, f"warm{number}"))
            switches.append(switch(world, back(world), "one"))
            world.service_yaml["windows"] = short
            switches.append(switch(world, deploy_well(world, "three", text=f"cold{number}"), f"cold{number}"))
            switches.append(switch(world, back(world), "one"))
    crowd.assert_unharmed()
    assert len(switches) == 4 * PAIRS
    assert crowd.result["total"] > RATE * crowd.result["seconds"] * 0.99
    assert crowd.result["statuses"] == {"200": crowd.result["total"]}
    for one, following in itertools.pairwise([*switches, Switch(1e18, 1e18, "")]):
        # What was on its way when the next switch began may rightly see either.
        between = [a for a in crowd.answers if one.done <= a["sent"] and a["received"] < following.began]
        late = [a for a in between if a["word"] != one.word]
        assert between
        assert late == [], "sent after the switch was done, and answered by the other generation"
    assert_whole(world, "one")

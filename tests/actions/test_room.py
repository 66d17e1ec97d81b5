"""Whether a second generation fits is asked before anything is prepared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.actions.abilities import generation_id, generation_of
from lastgood.domain.release import DatabaseTarget, Release, RoleSpec
from lastgood.domain.rollout import RolloutState
from lastgood.domain.unit import Role, Target
from tests.actions.theatre import UNIT, Theatre


def with_connections(release: Release, web: int, replicas: int = 2, worker: int = 50) -> Release:
    """Each instance opens so many connections to one database."""
    return replace(
        release,
        roles=(
            RoleSpec(Role.WEB, ("web",), replicas=replicas, connections=web),
            RoleSpec(Role.WORKER, ("worker",), connections=worker),
        ),
    )


def deploys(theatre: Theatre, release: Release) -> tuple[RolloutState, str]:
    """The end of a deploy that has a database only for its connections: no migrations are looked at."""
    database = DatabaseTarget("orders@prod/us", Target("database"))
    end = theatre.deploy(replace(release, databases=(database,)))
    return end.state, str(end.outcome)


def test_a_runtime_without_room_refuses_before_anything_is_done(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    new = theatre.release("new")
    theatre.runtime.needs[generation_id(new)] = 11
    end = theatre.deploy(new)
    assert end.state is RolloutState.FAILED
    assert "nothing was changed" in str(end.outcome)
    assert "11 are wanted, 10 are free" in str(end.outcome)
    assert theatre.serves(old)
    assert generation_id(new) not in {status.generation for status in theatre.runtime.status()}
    with theatre.store.read() as unit:
        assert list(unit.incidents.list(UNIT)) == []
        assert list(unit.quarantine.list()) == []


@pytest.mark.parametrize(("free", "state"), [(20, RolloutState.VERIFIED), (19, RolloutState.FAILED)])
def test_only_the_new_web_opens_connections_in_addition(
    theatre: Theatre, free: int, state: RolloutState
) -> None:
    theatre.stand(theatre.release("old"))
    theatre.database.free = free
    ended, outcome = deploys(theatre, with_connections(theatre.release("new"), web=10))
    assert ended is state, outcome
    if state is RolloutState.FAILED:
        assert "orders@prod/us takes 19 more connections, the new generation opens up to 20" in outcome


def test_what_is_not_known_is_not_short(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    theatre.database.free = 0
    assert deploys(theatre, with_connections(theatre.release("new"), web=0))[0] is RolloutState.VERIFIED


def test_what_runs_already_needs_nothing_more(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    theatre.database.free = 0
    database = DatabaseTarget("orders@prod/us", Target("database"))
    new = replace(with_connections(theatre.release("new"), web=10), databases=(database,))
    theatre.runtime.needs[generation_id(new)] = 11
    theatre.runtime.start(generation_of(theatre.drivers, new), [Role.WEB])
    assert theatre.deploy(new).state is RolloutState.VERIFIED


def test_an_image_that_can_not_be_had_changes_nothing(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    image = theatre.image("2")
    theatre.images.remove(image)
    theatre.registry.down = True
    end = theatre.deploy(theatre.release("new", image=image))
    assert end.state is RolloutState.FAILED
    assert "nothing was changed" in str(end.outcome)
    assert theatre.serves(old)
    with theatre.store.read() as unit:
        assert list(unit.incidents.list(UNIT)) == []
        assert list(unit.quarantine.list()) == []

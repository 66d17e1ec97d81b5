"""What failed once is refused on every unit, on real parts, until a person lifts it."""

from __future__ import annotations

import pytest

from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.quarantine import QuarantineKind
from lastgood.domain.rollout import RolloutState
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.page import page
from tests.journey.world import APP, DEV, PROD, World


def test_broken_then_refused_everywhere_then_lifted_then_allowed(world: World) -> None:
    deploy_well(world)
    deploy_well(world, PROD)
    # Its program is another one too, so that it is known by more than its commit.
    world.write("services/page/app/app.py", APP + "\n# second\n")
    commit = world.commit("second", text="two", broken=True)
    failed = begin(world)
    end = end_of(world, failed.id)
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    service = world.service()
    aside = {entry.kind: entry.name for entry in service.quarantines.list()}
    assert set(aside) == {QuarantineKind.RELEASE, QuarantineKind.COMMIT, QuarantineKind.ARTIFACT}
    assert aside[QuarantineKind.COMMIT] == commit
    service.unfreeze(DEV, "cause found")
    for unit in (DEV, PROD):
        with pytest.raises(Conflict) as caught:
            service.plan(unit)
        assert f"in-{failed.id}" in str(caught.value)
        assert f"lastgood quarantine lift in-{failed.id}" in str(caught.value.todo)
    # A fix with the same program is still that program.
    world.commit("fixed", text="two")
    with pytest.raises(Conflict, match="artifact"):
        begin(world)
    with pytest.raises(InvalidInput):
        service.quarantines.lift(failed.id, "")
    lifted = service.quarantines.lift(failed.id, "it was the configuration")
    assert len(lifted) == 3
    deploy_well(world)
    deploy_well(world, PROD)
    assert page(world.ports["prod"])["text"] == "two"
    assert {r.verb for r in service.audit(str(DEV))} >= {"quarantine", "quarantine lift"}


def test_what_was_verified_once_and_set_aside_by_hand_is_not_promoted(world: World) -> None:
    deploy_well(world)
    service = world.service()
    release = service.status(DEV)[0].release
    service.quarantines.add(QuarantineKind.RELEASE, release[7:17], reason="loses orders after an hour")
    assert service.status(DEV)[0].aside
    with pytest.raises(Conflict, match="not verified in dev"):
        service.plan(PROD)
    service.quarantines.lift(release[7:17], "it was the queue")
    service.quarantines.add(QuarantineKind.COMMIT, "HEAD", service="page", reason="slow")
    with pytest.raises(Conflict, match="slow"):
        service.plan(PROD)

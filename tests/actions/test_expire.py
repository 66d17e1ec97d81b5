"""Old copies of databases go: by themselves where that was declared, else when a person has seen which."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lastgood.actions.expire import expire, plan_expiry
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.release import DatabaseTarget
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.rollout import RolloutState
from lastgood.domain.unit import Target
from tests.actions.restoring import RESOURCE, Shop, broken
from tests.actions.theatre import BEGAN, UNIT, Theatre


def taken(shop: Shop, key: str, days: int, *, expires: bool = True) -> Snapshot:
    """Kept for ``days`` already."""
    at = BEGAN - timedelta(days=days)
    snapshot = replace(shop.database.snapshot(key), created_at=at, expires=expires)
    with shop.theatre.store.write() as unit:
        unit.points.add_snapshot(snapshot)
    return snapshot


def kept(theatre: Theatre) -> list[str]:
    with theatre.store.read() as unit:
        return [snapshot.id for snapshot in unit.points.snapshots(RESOURCE)]


def test_what_is_older_than_declared_goes_with_the_next_good_change(theatre: Theatre) -> None:
    shop = Shop(theatre)
    old, way_back = taken(shop, "old", 60), taken(shop, "way back", 60, expires=False)
    young, newest = taken(shop, "young", 10), taken(shop, "newest", 5)
    database = shop.good.databases[0]
    declared = DatabaseTarget(RESOURCE, Target("database", {"keep_days": 30}), database.migrations)
    end = theatre.deploy(theatre.release("better", databases=(declared,)))
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert kept(theatre) == [newest.id, young.id, way_back.id]
    assert theatre.result(end.id, "prune") == {"pruned": [], "left": {}, "discarded": [old.id]}
    assert not Path(old.path).exists()
    # What was taken on the way back may be nowhere else: a person sees it first.
    planned = plan_expiry(theatre.context, UNIT)
    assert [snapshot.id for snapshot in planned.databases[0].snapshots] == [way_back.id]
    assert Path(way_back.path).exists()
    with pytest.raises(InvalidInput, match="go with a reason only"):
        expire(theatre.context, planned, reason=" ")
    gone = expire(theatre.context, planned, reason="our retention is 30 days")
    assert gone.done
    assert kept(theatre) == [newest.id, young.id]
    assert not Path(way_back.path).exists()
    with theatre.store.read() as unit:
        intent, outcome = sorted(unit.audit.list(RESOURCE, 2), key=lambda record: record.sequence)
    assert (intent.phase.value, outcome.phase.value) == ("intent", "outcome")
    assert intent.data["snapshots"] == [way_back.id]
    assert plan_expiry(theatre.context, UNIT).empty
    assert expire(theatre.context, planned, reason="once more").empty


def test_the_newest_and_those_of_captures_stay_however_old_they_are(theatre: Theatre) -> None:
    shop = broken(theatre)
    theatre.clock.time += timedelta(days=365)
    old = taken(shop, "older", 400)
    assert len(kept(theatre)) == 2
    planned = plan_expiry(theatre.context, UNIT, days=30)
    assert planned.databases[0].snapshots == ()
    # The other one is the newest now, and the capture's is still needed.
    taken(shop, "newest", 1)
    assert [s.id for s in plan_expiry(theatre.context, UNIT, days=30).databases[0].snapshots] == [old.id]


def test_nothing_goes_unless_somebody_says_how_old_or_while_somebody_is_at_work(theatre: Theatre) -> None:
    shop = Shop(theatre)
    taken(shop, "old", 60)
    with pytest.raises(InvalidInput, match="nothing says after how many days"):
        plan_expiry(theatre.context, UNIT)
    theatre.accept(theatre.release("next", databases=shop.good.databases))
    with pytest.raises(Conflict, match="is at work on"):
        plan_expiry(theatre.context, UNIT, days=30)

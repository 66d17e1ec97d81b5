"""A change that brought a database and spoiled its data was taken back: the unit names it no more."""

from __future__ import annotations

import pytest

from lastgood.actions.restore import forget, plan_restore, writes_kept
from lastgood.actions.status import unit_statuses
from lastgood.domain.rollout import RolloutState
from tests.actions.restoring import RESOURCE, Shop, open_captures
from tests.actions.theatre import UNIT, Theatre


@pytest.fixture
def shop(theatre: Theatre) -> Shop:
    shop = Shop(theatre)
    shop.good = theatre.deploy_well(theatre.release("without"))
    end = shop.break_it()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    with theatre.store.read() as unit:
        assert unit.releases.get(unit.releases.current(UNIT)).databases == ()
    return shop


def test_status_goes_on_saying_what_is_kept(theatre: Theatre, shop: Shop) -> None:
    (status,) = unit_statuses(theatre.context, True, UNIT)
    assert [capture.resource for capture in status.captures] == [RESOURCE]
    assert [left.name for left in status.left] == ["0002_prices"]
    assert [(t.table, t.rows) for t in writes_kept(theatre.context, UNIT)[0].tables] == [("orders", 1)]


def test_it_ends_by_hand_on_the_server_too(theatre: Theatre, shop: Shop) -> None:
    with theatre.store.read() as unit:
        (snapshot,) = unit.points.snapshots(RESOURCE)
    assert shop.database.writes_since(snapshot, ()).complete
    forget(theatre.context, UNIT, reason="nobody needs it")
    assert open_captures(theatre) == []
    assert not shop.database.writes_since(snapshot, ()).complete


def test_it_can_be_restored(theatre: Theatre, shop: Shop) -> None:
    assert plan_restore(theatre.context, UNIT).capture.resource == RESOURCE
    end = shop.restore()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert shop.orders() == {1: 100, 2: 100, 3: 100, 4: 70}
    assert open_captures(theatre) == []

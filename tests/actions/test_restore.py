"""A change spoils data: the way back leaves it, a restore brings it back with what was written since."""

from __future__ import annotations

from lastgood.domain.quarantine import QuarantineKind
from lastgood.domain.rollout import RolloutState
from tests.actions.restoring import RESOURCE, Shop, broken
from tests.actions.theatre import UNIT, Theatre


def test_no_order_is_lost_on_the_way_back(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.order(5, 30)
    with shop.database.connect() as connection:
        connection.execute("UPDATE orders SET item = 'changed' WHERE id = 1")
    end = shop.restore()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert shop.orders() == {1: 100, 2: 100, 3: 100, 4: 70, 5: 30}
    assert shop.database.ask("SELECT item FROM orders WHERE id = 1") == [("changed",)]
    assert [name for name, _ in shop.database.applied()] == ["0001_init"]
    assert "with 3 rows that were written since" in str(end.outcome)
    with theatre.store.read() as unit:
        assert list(unit.captures.list()) == []
        (aside,) = [q for q in unit.quarantine.list() if q.kind is QuarantineKind.DATABASE]
        assert unit.locks.holder(f"resource:{RESOURCE}") == ""
        assert unit.releases.current(UNIT) == shop.good.digest
    assert (shop.database.path.parent / aside.name).exists()
    assert aside.resource == RESOURCE
    assert aside.until is not None


def test_the_way_back_tells_what_is_not_back_and_how_to_bring_it(theatre: Theatre) -> None:
    shop = Shop(theatre)
    end = shop.break_it()
    told = str(end.outcome)
    assert f"data of {RESOURCE} is still as 0002_prices left it" in told
    assert f"lastgood restore {UNIT}" in told

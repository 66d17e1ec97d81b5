"""What a restore leaves behind is counted, accepted by a person, and told."""

from __future__ import annotations

import pytest

from lastgood.actions.restore import plan_restore, restore
from lastgood.domain.errors import (
    NotReversible,
)
from lastgood.domain.message import Message
from lastgood.domain.rollout import RolloutState
from lastgood.domain.salvage import Neighbours
from tests.actions.restoring import WHOLE, Shop, broken
from tests.actions.test_killed import Kill, Killed
from tests.actions.theatre import UNIT, Theatre


def test_what_would_be_lost_is_refused_until_it_is_accepted(theatre: Theatre) -> None:
    shop = broken(theatre, keep=("orders",))
    with shop.database.connect() as connection:
        connection.execute("INSERT INTO visits VALUES (1, '/')")
    with pytest.raises(NotReversible, match=r"failed database only: visits \(1\)"):
        shop.restore()
    end = shop.restore(accept_loss=True)
    assert end.state is RolloutState.VERIFIED
    assert shop.orders() == WHOLE
    assert shop.database.ask("SELECT * FROM visits") == []


def visits(shop: Shop, *numbers: int) -> None:
    with shop.database.connect() as connection:
        connection.executemany("INSERT INTO visits VALUES (?, '/')", [(number,) for number in numbers])


def test_what_was_written_since_it_was_accepted_is_not_left_behind_unasked(theatre: Theatre) -> None:
    shop = broken(theatre, keep=("orders",))

    def meanwhile(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "swap"):
            visits(shop, 1, 2)

    end = shop.restore(meanwhile)
    assert end.state is RolloutState.FAILED, str(end.outcome)
    assert "that nobody accepted to leave there: visits (2)" in str(end.outcome)
    assert list(shop.database.path.parent.glob("*_restored_*")) == []
    assert shop.orders() == {1: 0, 2: 0, 3: 0, 4: 70}
    assert len(shop.database.ask("SELECT * FROM visits")) == 2
    assert shop.restore(accept_loss=True).state is RolloutState.VERIFIED


@pytest.mark.parametrize("moment", ["before effect", "after effect"])
def test_what_stays_behind_is_told_to_the_end(theatre: Theatre, moment: str) -> None:
    shop = broken(theatre, keep=("orders",))
    visits(shop, 1)
    rollout = restore(theatre.context, UNIT, accept_loss=True)
    with pytest.raises(Killed):
        theatre.run(rollout.id, Kill(moment, "swap"))
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert "As accepted, rows stayed in the failed database only: visits (1)" in str(end.outcome)


def test_what_is_not_known_any_more_is_not_accepted(theatre: Theatre) -> None:
    shop = broken(theatre)

    def meanwhile(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "swap"):
            shop.database.unknown = (Message("the table by_hand has no key"),)

    end = shop.restore(meanwhile)
    assert end.state is RolloutState.FAILED
    assert "what was written since: the table by_hand has no key" in str(end.outcome)
    end = shop.restore(accept_loss=True)
    assert end.state is RolloutState.VERIFIED
    assert "What else was written since is not known: the table by_hand has no key" in str(end.outcome)


def test_what_is_not_known_is_not_called_nothing(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.database.unknown = (Message("the slot was lost"),)
    planned = plan_restore(theatre.context, UNIT)
    assert planned.costs
    with pytest.raises(NotReversible, match="not known what was written since: the slot was lost"):
        shop.restore()


SLOT = Message("the slot cdc stays")


def test_who_stays_with_the_failed_database_is_accepted_like_a_loss(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.database.beside = Neighbours((Message("the pooler waits"),), (SLOT,))
    shop.database.undone = (Message("the replica is behind"),)
    planned = plan_restore(theatre.context, UNIT)
    assert planned.costs
    assert "the pooler waits" in [str(note) for note in planned.plan.notes]
    with pytest.raises(
        NotReversible, match=r"not everybody would follow the restored .*: the slot cdc stays"
    ):
        shop.restore()
    shop.database.unknown = (Message("the table by_hand has no key"),)
    with pytest.raises(NotReversible, match="by_hand has no key; and the slot cdc stays"):
        shop.restore()
    end = shop.restore(accept_loss=True)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    told = str(end.outcome)
    assert told.endswith("As accepted, the slot cdc stays. Still to be done: the replica is behind")


def test_who_came_since_it_was_accepted_is_not_left_behind_unasked(theatre: Theatre) -> None:
    shop = broken(theatre)

    def meanwhile(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "swap"):
            shop.database.beside = Neighbours((), (SLOT,))

    end = shop.restore(meanwhile)
    assert end.state is RolloutState.FAILED, str(end.outcome)
    assert "nobody accepted that the slot cdc stays" in str(end.outcome)
    assert shop.orders() == {1: 0, 2: 0, 3: 0, 4: 70}

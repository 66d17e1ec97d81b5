"""A change spoils data: the way back leaves it, a restore brings it back with what was written since."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.actions.accept import accept
from lastgood.actions.accepting import refuse_move
from lastgood.actions.captures import data_left
from lastgood.actions.needs import users_of
from lastgood.actions.restore import forget, plan_restore, writes_kept
from lastgood.actions.rollback import plan_way_back, rollback
from lastgood.actions.status import unit_statuses
from lastgood.domain.errors import (
    Conflict,
    InvalidInput,
    NotReversible,
    Rejected,
    Unreachable,
)
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, StepKind
from lastgood.domain.quarantine import QuarantineKind
from lastgood.domain.rollout import RolloutState
from tests.actions.restoring import RESOURCE, SPOILS, WHOLE, Shop, broken, open_captures
from tests.actions.secretive import Secretive
from tests.actions.theatre import OTHER, UNIT, Theatre


def test_no_order_is_lost_on_the_way_back(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.order(5, 30)
    with shop.database.connect() as connection:
        connection.execute("UPDATE orders SET item = 'changed' WHERE id = 1")
    end = shop.restore()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert shop.orders() == {**WHOLE, 5: 30}
    assert shop.database.ask("SELECT item FROM orders WHERE id = 1") == [("changed",)]
    assert [name for name, _ in shop.database.applied()] == ["0001_init"]
    assert "and 3 later writes were carried over" in str(end.outcome)
    assert open_captures(theatre) == []
    with theatre.store.read() as unit:
        (aside,) = [q for q in unit.quarantine.list() if q.kind is QuarantineKind.DATABASE]
        assert unit.locks.holder(f"resource:{RESOURCE}") == ""
        assert unit.releases.current(UNIT) == shop.good.digest
    assert (shop.database.path.parent / aside.name).exists(), "the failed database is kept"
    assert (aside.resource, aside.unit) == (RESOURCE, str(UNIT))
    assert aside.until is not None


def test_afterwards_the_mended_change_can_be_deployed(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.restore()
    good = ("UPDATE orders SET price = 90;\n", "SELECT 1;\n", "UPDATE orders SET price = 91;\n")
    mended = shop.release("mended", *shop.good.databases[0].migrations, shop.migration("0002_prices", good))
    with theatre.store.write() as unit:
        for freeze in unit.incidents.freezes(UNIT):
            unit.incidents.freeze(replace(freeze, lifted_at=theatre.clock.now(), lifted_by="ann"))
    assert theatre.deploy(mended).state is RolloutState.VERIFIED
    assert set(shop.orders().values()) == {90}


def test_the_way_back_tells_what_is_not_back_and_how_to_bring_it(theatre: Theatre) -> None:
    shop = Shop(theatre)
    end = shop.break_it()
    told = str(end.outcome)
    assert f"data of {RESOURCE} is still as 0002_prices left it" in told
    assert f"lastgood restore {UNIT}" in told
    (status,) = unit_statuses(theatre.context, True, UNIT)
    (left,) = status.left
    assert (left.resource, left.name, left.restorable) == (RESOURCE, "0002_prices", True)
    assert [capture.resource for capture in status.captures] == [RESOURCE]
    (writes,) = writes_kept(theatre.context, UNIT)
    assert [(t.table, t.inserted) for t in writes.tables] == [("orders", 1)]
    assert writes.held > 0


def test_what_cannot_be_captured_is_told_by_the_plan_and_by_the_way_back(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.obstacle = Message("wal_level is replica")
    rollout = theatre.accept(shop.bad)
    notes = [str(note) for note in rollout.plan.notes]
    assert any("could not be carried over: wal_level is replica" in note for note in notes)
    snapshot = next(s for s in rollout.plan.steps if s.kind is StepKind.SNAPSHOT)
    assert "moving" not in snapshot.params
    theatre.proxy.bad.add(shop.generation)
    end = theatre.run(rollout.id)
    with theatre.store.read() as unit:
        (kept,) = unit.points.snapshots(RESOURCE)
    assert f"it is in {kept.path} only" in str(end.outcome)
    with pytest.raises(NotReversible, match="no writes are being kept"):
        plan_restore(theatre.context, UNIT)


def test_an_obstacle_that_came_after_the_plan_lets_nothing_begin(theatre: Theatre) -> None:
    shop = Shop(theatre)
    rollout = theatre.accept(shop.bad)
    shop.database.obstacle = Message("no slot is free")
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.FAILED
    assert "nothing was changed: no slot is free" in str(end.outcome)


def test_no_data_is_moved_once_the_server_gave_the_capture_up(theatre: Theatre) -> None:
    shop = Shop(theatre)
    rollout = theatre.accept(shop.bad)

    def lose(_: str, step: str) -> None:
        if step == f"migrate:{RESOURCE}:0002_prices":
            with theatre.store.read() as unit:
                (kept,) = unit.points.snapshots(RESOURCE)
            shop.database.end_capture(kept)

    end = theatre.run(rollout.id, lose)
    assert (end.kind, end.state) == (PlanKind.ROLLBACK, RolloutState.VERIFIED)
    with theatre.store.read() as unit:
        assert "nothing was kept since" in str(unit.rollouts.get(rollout.id).outcome)
        assert data_left(unit, shop.good) == ()
    assert set(shop.orders().values()) == {100}


def test_a_change_that_moves_no_data_captures_nothing(theatre: Theatre) -> None:
    shop = Shop(theatre)
    gift = ("ALTER TABLE orders ADD COLUMN gift text;\n", "SELECT gift FROM orders WHERE false;\n",
            "ALTER TABLE orders DROP COLUMN gift;\n")  # fmt: skip
    added = shop.release("gift", *shop.good.databases[0].migrations, shop.migration("0002_gift", gift))
    theatre.deploy_well(added)
    with theatre.store.read() as unit:
        assert unit.captures.list(ended=True) == ()


def test_what_is_verified_good_is_kept_no_more(theatre: Theatre) -> None:
    shop = Shop(theatre)
    rollout = theatre.accept(shop.bad)
    seen = []
    theatre.run(rollout.id, lambda *_: seen.append(len(open_captures(theatre))))
    assert max(seen) == 1
    assert open_captures(theatre) == []
    with theatre.store.read() as unit:
        (ended,) = unit.captures.list(ended=True)
        (snapshot,) = unit.points.snapshots(RESOURCE)
    assert rollout.id in str(ended.ended_because)
    assert not shop.database.writes_since(snapshot, ()).complete, "nor by the server"


def test_a_server_that_is_away_does_not_spoil_a_good_end(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.fail_next("end_capture", Unreachable("away"))
    assert theatre.deploy(shop.bad).state is RolloutState.VERIFIED
    assert open_captures(theatre) == [RESOURCE], "status goes on saying it"


def test_a_person_who_accepts_ends_it_too(theatre: Theatre) -> None:
    shop = Shop(theatre)
    theatre.rate = 0
    assert theatre.deploy(shop.bad).state is RolloutState.UNVERIFIED
    assert open_captures(theatre) == [RESOURCE]
    accept(theatre.context, UNIT, reason="looked at it")
    assert open_captures(theatre) == []


def test_the_next_day_the_way_back_names_the_restore_before_it_goes(theatre: Theatre) -> None:
    shop = Shop(theatre)
    theatre.rate = 0
    theatre.deploy(shop.bad)
    plan, _ = plan_way_back(theatre.context, UNIT)
    assert any(f"by: lastgood restore {UNIT}" in str(note) for note in plan.notes)
    theatre.rate = 200.0
    end = theatre.run(rollback(theatre.context, UNIT))
    assert f"lastgood restore {UNIT}" in str(end.outcome)
    assert shop.restore().state is RolloutState.VERIFIED


def test_a_change_that_ended_before_it_moved_anything_keeps_nothing(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.fail_next("rehearse", Rejected("the revert changes nothing"))
    end = theatre.deploy(shop.bad)
    assert end.state is RolloutState.FAILED
    assert open_captures(theatre) == []


def test_a_migration_that_failed_moved_nothing(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.fail_next("deploy", Rejected("a lock"))
    shop.database.fail_next("end_capture", Unreachable("away"))
    rollout = theatre.accept(shop.bad)
    seen: list[str] = []
    end = theatre.run(rollout.id, lambda moment, step: seen.extend(open_captures(theatre)))
    assert end.state is RolloutState.VERIFIED, "taken back"
    assert "still as" not in str(end.outcome)
    assert seen != []
    assert open_captures(theatre) == [], "the second end told the server"


def test_what_is_verified_after_it_needs_no_older_capture(theatre: Theatre) -> None:
    shop = broken(theatre)
    with theatre.store.write() as unit:
        for freeze in unit.incidents.freezes(UNIT):
            unit.incidents.freeze(replace(freeze, lifted_at=theatre.clock.now(), lifted_by="ann"))
    fixed = replace(shop.bad, commit="fixed", files=theatre.release("fixed").files)
    assert theatre.deploy(fixed).state is RolloutState.VERIFIED
    assert open_captures(theatre) == []


def test_it_ends_by_hand_with_a_reason(theatre: Theatre) -> None:
    broken(theatre)
    with pytest.raises(InvalidInput, match="needs a reason"):
        forget(theatre.context, UNIT, reason=" ")
    forget(theatre.context, UNIT, reason="the prices are meant to be 0")
    assert open_captures(theatre) == []
    with theatre.store.read() as unit:
        assert data_left(unit, unit.releases.get(unit.releases.current(UNIT))) == ()
        (record,) = unit.audit.list(str(UNIT), 1)
    assert (record.verb, record.reason) == ("restore forget", "the prices are meant to be 0")
    with pytest.raises(NotReversible, match="no writes are being kept"):
        plan_restore(theatre.context, UNIT)


def test_who_needs_the_newer_shape_is_named(theatre: Theatre) -> None:
    shop = broken(theatre)
    theatre.stand(shop.release("other", *shop.bad.databases[0].migrations, unit=OTHER))
    with pytest.raises(NotReversible) as caught:
        plan_restore(theatre.context, UNIT)
    assert str(OTHER) in str(caught.value)
    assert "0002_prices" in str(caught.value)


def test_a_unit_that_is_still_on_the_bad_release_goes_back_first(theatre: Theatre) -> None:
    shop = Shop(theatre)
    theatre.rate = 0
    theatre.deploy(shop.bad)
    with pytest.raises(NotReversible) as caught:
        plan_restore(theatre.context, UNIT)
    assert f"lastgood rollback {UNIT}" in str(caught.value.todo)


def test_while_it_works_nobody_deploys_on_it_and_the_plan_names_its_users(theatre: Theatre) -> None:
    shop = broken(theatre)
    other = theatre.stand(shop.release("other", *shop.good.databases[0].migrations, unit=OTHER))
    with theatre.store.read() as unit:
        assert users_of(unit, RESOURCE) == (str(OTHER), str(UNIT))
    planned = plan_restore(theatre.context, UNIT)
    assert any(str(OTHER) in str(note) for note in planned.plan.notes)
    refused = []

    def meanwhile(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "swap"):
            wanted = shop.release("newer", *other.databases[0].migrations, unit=OTHER)
            with pytest.raises(Conflict, match="takes shop@prod back to a snapshot"):
                theatre.accept(wanted)

            with pytest.raises(Conflict, match="is at work on shop@prod/us"):
                rollback(theatre.context, UNIT)
            lacks = shop.release("lacks", *shop.bad.databases[0].migrations, unit=OTHER)
            back = Plan(PlanKind.ROLLBACK, OTHER, other.digest, lacks.digest, "c", ())
            with theatre.store.read() as unit, pytest.raises(Conflict, match="back to a snapshot"):
                refuse_move(theatre.context, unit, back, lacks)
            with theatre.store.read() as unit:
                refuse_move(theatre.context, unit, back, other)
            refused.append(step)

    assert shop.restore(meanwhile).state is RolloutState.VERIFIED
    assert refused == ["swap"]


def test_a_way_back_that_brings_a_migration_again_keeps_nothing(theatre: Theatre) -> None:
    """To a good state that has it, from one to which the database was restored without it."""
    shop = Shop(theatre)
    theatre.deploy_well(shop.bad)
    theatre.stand(shop.good)
    shop.database.revert(shop.script(shop.bad.databases[0].migrations[1], SPOILS), "by hand")
    with theatre.store.read() as unit:
        (point, *_) = [p for p in unit.points.list(UNIT) if p.release == shop.bad.digest]
    plan, _ = plan_way_back(theatre.context, UNIT, point.id)
    snapshot = next(step for step in plan.steps if step.kind is StepKind.SNAPSHOT)
    assert "moving" not in snapshot.params
    assert any("not for a way back" in str(note) for note in plan.notes)


def test_the_record_has_what_it_cost(theatre: Theatre) -> None:
    shop = broken(theatre)
    end = shop.restore(reason="prices are 0")
    assert end.kind is PlanKind.RESTORE
    with theatre.store.read() as unit:
        outcome, intent = unit.audit.list(str(UNIT), 2)
        assert unit.audit.first_broken() is None
    assert (intent.verb, intent.reason) == ("restore", "prices are 0")
    assert intent.data["written"] == {"orders": [1, 0, 0]}
    assert outcome.data["carried"] == {"orders": 1}
    assert "_failed_" in outcome.data["failed"]


def test_tables_have_the_names_that_people_use(theatre: Theatre) -> None:
    broken(theatre, called={"orders": {"en": "orders of the shop", "zh": "订单"}})
    planned = plan_restore(theatre.context, UNIT)
    assert planned.name("orders", "en") == "orders of the shop"
    assert planned.name("orders", "zh") == "订单"
    assert planned.name("visits", "zh") == "visits"


def test_nobody_restores_under_a_deploy(theatre: Theatre) -> None:
    shop = broken(theatre)
    other = theatre.stand(shop.release("other", *shop.good.databases[0].migrations, unit=OTHER))
    newer = theatre.accept(shop.release("newer", *other.databases[0].migrations, unit=OTHER))
    with pytest.raises(Conflict, match=f"{newer.id} is at work on a unit that uses {RESOURCE}"):
        shop.restore()
    assert theatre.run(newer.id).state is RolloutState.VERIFIED
    assert open_captures(theatre) == [RESOURCE], "that unit never needed what was spoiled"
    assert shop.restore().state is RolloutState.VERIFIED


def test_a_revoked_secret_is_in_nobodys_way(theatre: Theatre) -> None:
    """A restore starts nothing with it."""
    shop = broken(theatre, secrets=(theatre.context.vault.seal("TOKEN", "old"),))
    secretive = Secretive(theatre)
    secretive.renew("new")
    secretive.revoke("old")
    assert shop.restore().state is RolloutState.VERIFIED
    assert shop.orders() == WHOLE

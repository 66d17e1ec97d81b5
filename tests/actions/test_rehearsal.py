"""Rehearsed before the plan, once; and what follows for the rollout, behind a fence or not, killed or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.actions.accepting import accept_plan
from lastgood.actions.plan_change import move_between
from lastgood.actions.rehearsing import rehearse_first
from lastgood.actions.rollback import rollback
from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Conflict, NotReversible, Rejected
from lastgood.domain.message import Message
from lastgood.domain.rehearsal import OldCode, Rehearsed
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.unit import Role
from lastgood.engine.handlers import Probe, no_probe
from lastgood.planning.moves import Move, plan_deploy
from lastgood.testing.fake_database import FakeDatabase
from tests.actions.restoring import INIT, SPOILS, Shop
from tests.actions.test_killed import Kill, assert_whole, killed_and_resumed
from tests.actions.test_staying_up import fall, happens_in
from tests.actions.theatre import OTHER, UNIT, Theatre

NEXT = "(SELECT coalesce(max(id), 0) + 1 FROM orders)"
OLD = f"INSERT INTO orders (id, item, price) VALUES ({NEXT}, 'old', 1);\n" * 2
NEW = f"INSERT INTO orders (id, item, price, gift) VALUES ({NEXT}, 'new', 1, 'a rose');\n"
GIFT = (
    "ALTER TABLE orders ADD COLUMN gift text;\n",
    "SELECT gift FROM orders WHERE false;\n",
    "ALTER TABLE orders DROP COLUMN gift;\n",
)
STRICT = (
    "CREATE UNIQUE INDEX one_of_each ON orders (item);\n",
    "SELECT item FROM orders WHERE false;\n",
    "DROP INDEX one_of_each;\n",
)
RENAMED = (
    "ALTER TABLE visits RENAME TO looks;\n",
    "SELECT page FROM looks WHERE false;\n",
    "ALTER TABLE looks RENAME TO visits;\n",
)
RESOURCE = "shop@prod"
MOMENTS = ("before effect", "after effect", "after outcome")


@dataclass
class Stage:
    """A shop on ``old``, which has a journey."""

    shop: Shop
    old: Release

    @property
    def theatre(self) -> Theatre:
        return self.shop.theatre

    def release(self, text: str, scripts: tuple[str, str, str], journey: str = "") -> Release:
        shop = self.shop
        made = shop.release(text, shop.migration("0001_init", INIT), shop.migration("0002_next", scripts))
        return with_journey(self.theatre, made, journey)

    def move(self, target: Release, told: Callable[[Message], None] = lambda step: None) -> Move:
        return rehearse_first(
            self.theatre.context, move_between(self.theatre.context, self.old, target), told
        )

    def accept(self, move: Move) -> Rollout:
        context = self.theatre.context
        request = Request("test", "team", "nobody", "ann", context.clock.now())
        return accept_plan(context, plan_deploy(move), move.target, request)

    def deploy(self, target: Release, probe: Probe = no_probe) -> Rollout:
        return self.theatre.run(self.accept(self.move(target)).id, probe)

    def columns(self) -> list[object]:
        return [row[1] for row in self.shop.database.ask("PRAGMA table_info('orders')")]


def with_journey(theatre: Theatre, made: Release, journey: str) -> Release:
    if journey:
        theatre.objects.put(journey.encode())
    script = digest_bytes(journey.encode()) if journey else ""
    return replace(made, databases=(replace(made.databases[0], journey=script),))


@pytest.fixture
def stage(theatre: Theatre) -> Stage:
    theatre.objects.put(OLD.encode())
    shop = Shop(theatre, journey=digest_bytes(OLD.encode()))
    return Stage(shop, shop.good)


def test_the_same_plan_again_is_not_rehearsed_again(stage: Stage) -> None:
    target, told = stage.release("gift", GIFT, NEW), list[Message]()
    first = stage.move(target, told.append)
    assert first.rehearsed[RESOURCE].old is OldCode.PROVEN
    assert stage.move(target, told.append).rehearsed == first.rehearsed
    assert stage.shop.database.rehearsals == len(told) == 1
    assert plan_deploy(first).digest == plan_deploy(stage.move(target)).digest
    stage.move(stage.release("gift", GIFT, NEW + "-- another\n"))
    assert stage.shop.database.rehearsals == 2
    stage.shop.database.sampled = 1000
    assert stage.move(target).rehearsed[RESOURCE].sample == 1000
    assert stage.shop.database.rehearsals == 3


def test_the_rollout_looks_at_the_schema_only(stage: Stage) -> None:
    end = stage.deploy(stage.release("gift", GIFT, NEW))
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert stage.shop.database.rehearsals == 1
    assert "rehearsed" in stage.theatre.result(end.id, f"rehearse:{RESOURCE}")
    assert stage.shop.database.ask("SELECT count(*) FROM orders") == [(3,)]


@pytest.mark.parametrize(
    ("by_hand", "state"),
    [
        ("CREATE TABLE by_hand (id integer)", RolloutState.VERIFIED),
        (
            "CREATE TRIGGER closed BEFORE INSERT ON orders WHEN EXISTS (SELECT 1 FROM sqlite_master "
            "WHERE name = 'orders' AND sql LIKE '%gift%') BEGIN SELECT raise(ABORT, 'closed'); END",
            RolloutState.FAILED,
        ),
    ],
    ids=["all-the-same", "otherwise"],
)
def test_a_schema_that_changed_since_is_rehearsed_anew(
    stage: Stage, by_hand: str, state: RolloutState
) -> None:
    rollout = stage.accept(stage.move(stage.release("gift", GIFT, "")))
    stage.shop.database.ask(by_hand)
    end = stage.theatre.run(rollout.id)
    assert end.state is state, str(end.outcome)
    assert stage.shop.database.rehearsals == 2


def test_a_snapshot_of_this_very_schema_is_used_and_one_that_is_gone_does_no_harm(stage: Stage) -> None:
    taken = stage.shop.database.snapshot("kept")
    with stage.theatre.store.write() as unit:
        unit.points.add_snapshot(taken)
    stage.shop.order(4)
    stage.shop.database.discard(taken)
    assert stage.move(stage.release("gift", GIFT, NEW)).rehearsed[RESOURCE].old is OldCode.PROVEN


def test_a_schema_that_changes_meanwhile_is_a_conflict(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter(["before", "after"])
    monkeypatch.setattr(stage.shop.database, "fingerprint", lambda: next(seen))
    with pytest.raises(Conflict, match="changed while"):
        stage.move(stage.release("gift", GIFT, NEW))
    with stage.theatre.store.read() as unit:
        assert unit.rehearsals.list(RESOURCE) == ()


def test_scripts_that_fail_are_refused_before_anything(stage: Stage) -> None:
    with pytest.raises(Rejected, match="nowhere"):
        stage.move(stage.release("bad", (GIFT[0], GIFT[1], "DROP TABLE nowhere;\n"), NEW))
    more = (GIFT[0] + "CREATE TABLE x (i int);", GIFT[1], "DROP TABLE x;\n")
    leaves = stage.release("bad", more, NEW)
    with pytest.raises(NotReversible, match=r"orders\.gift was not removed"):
        stage.move(leaves)


@pytest.mark.parametrize(
    ("scripts", "old"), [(GIFT, OldCode.ADDITIVE), (RENAMED, OldCode.UNPROVEN)], ids=["adds", "renames"]
)
def test_another_unit_without_a_journey_proves_nothing(
    stage: Stage, scripts: tuple[str, str, str], old: OldCode
) -> None:
    init = stage.shop.migration("0001_init", INIT)
    other = stage.shop.release("other", init, unit=OTHER)
    stage.theatre.stand(with_journey(stage.theatre, other, ""))
    target = stage.release("next", scripts, "")
    if old.runs:
        assert stage.move(target).rehearsed[RESOURCE].old is old
    else:
        with pytest.raises(NotReversible, match=f"{OTHER} use it too"):
            stage.move(target)


def test_data_that_moves_in_a_shape_old_code_knows_goes_on_as_before(stage: Stage) -> None:
    plan = plan_deploy(stage.move(stage.release("spoils", SPOILS, OLD)))
    assert "fence" not in [step.id for step in plan.steps]
    assert plan.rehearsed[0].old is OldCode.PROVEN


class Simple(FakeDatabase):
    """A driver that rehearses in the rollout only."""

    rehearse_writes = None  # type: ignore[assignment]


def test_a_driver_that_tries_no_journeys_rehearses_in_the_rollout(stage: Stage) -> None:
    there = stage.shop.database
    simple = Simple(there.path, there.directory, there.resource)
    stage.theatre.drivers.built[UNIT, "database"] = simple
    move = stage.move(stage.release("gift", GIFT, NEW))
    assert move.rehearsed == {}
    assert any("not rehearsed yet" in str(note) for note in plan_deploy(move).notes)
    end = stage.theatre.run(stage.accept(move).id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert simple.rehearsals == 1


def strict(stage: Stage) -> Release:
    """Old code writes twice what is allowed once."""
    return stage.release("strict", STRICT, "")


def test_behind_the_fence_nobody_writes_while_the_schema_moves(stage: Stage) -> None:
    seen: dict[str, list[str]] = {}

    def looks(moment: str, step: str) -> None:
        if moment == "before effect":
            running = [*stage.theatre.running(Role.WEB), *stage.theatre.running(Role.WORKER)]
            seen[step] = running

    target = strict(stage)
    end = stage.deploy(target, looks)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert seen[f"migrate:{RESOURCE}:0002_next"] == []
    assert_whole(stage.theatre, target)
    back = stage.theatre.run(rollback(stage.theatre.context, UNIT), looks)
    assert back.state is RolloutState.VERIFIED, str(back.outcome)
    assert seen[f"back:revert:{RESOURCE}:0002_next"] == []
    assert_whole(stage.theatre, stage.old)
    assert [row[0] for row in stage.shop.database.applied()] == ["0001_init"]


POINTS = [
    (moment, step)
    for moment in MOMENTS
    for step in ("fence", f"migrate:{RESOURCE}:0002_next", "start", "shift", "workers", "watch")
]
BACK = [
    (moment, step)
    for moment in MOMENTS
    for step in (
        "back:fence", f"back:revert:{RESOURCE}:0002_next", "back:switch", "back:start", "back:shift",
        "back:workers",
    )
]  # fmt: skip


@pytest.mark.parametrize(("moment", "step"), POINTS)
def test_killed_on_the_way_behind_the_fence_it_goes_on(stage: Stage, moment: str, step: str) -> None:
    target = strict(stage)
    kill = Kill(moment, step)
    end = killed_and_resumed(stage.theatre, stage.accept(stage.move(target)), kill)
    assert kill.happened
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert_whole(stage.theatre, target)


@pytest.mark.parametrize(("moment", "step"), BACK)
def test_killed_on_the_way_back_it_is_the_old_one_whole(stage: Stage, moment: str, step: str) -> None:
    target = strict(stage)
    rollout = stage.accept(stage.move(target))
    stage.theatre.proxy.bad.add(generation_id(target))
    kill = Kill(moment, step)
    end = killed_and_resumed(stage.theatre, rollout, kill)
    end = stage.theatre.run(f"{rollout.id}-back") if end.id == rollout.id else end
    assert kill.happened
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert_whole(stage.theatre, stage.old)
    assert [row[0] for row in stage.shop.database.applied()] == ["0001_init"]


def test_a_fence_is_lifted_when_the_migration_fails(stage: Stage) -> None:
    rollout = stage.accept(stage.move(strict(stage)))
    stage.shop.database.fail_next("deploy", Rejected(Message("locked").template))
    end = stage.theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert end.id == f"{rollout.id}-back"
    assert_whole(stage.theatre, stage.old)


def by_hand(stage: Stage, target: Release) -> Rollout:
    """Where a person decides whether a broken gate goes back."""
    move, context = stage.move(target), stage.theatre.context
    plan = replace(plan_deploy(move), automatic=False)
    request = Request("test", "team", "nobody", "ann", context.clock.now())
    return accept_plan(context, plan, move.target, request)


def test_a_closed_shop_waits_for_nobody(stage: Stage) -> None:
    """A person may decide whether a broken gate goes back, but not while nobody is served."""
    rollout = by_hand(stage, strict(stage))
    stage.shop.database.fail_next("deploy", Rejected(Message("locked").template))
    end = stage.theatre.run(rollout.id)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED)
    assert_whole(stage.theatre, stage.old)


@pytest.mark.parametrize("step", ["shift", "workers"])
def test_a_shop_that_could_not_be_opened_is_closed(
    stage: Stage, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step began, and opened nothing."""
    rollout = by_hand(stage, strict(stage))

    def refuse(*asked: object) -> None:
        monkeypatch.undo()
        raise Rejected(Message("refused").template)

    def refuses(moment: str, at: str) -> None:
        if (moment, at) == ("before effect", step):
            part, verb = (
                (stage.theatre.proxy, "route") if step == "shift" else (stage.theatre.runtime, "start")
            )
            monkeypatch.setattr(part, verb, refuse)

    end = stage.theatre.run(rollout.id, refuses)
    assert stage.theatre.result(rollout.id, step)["error"] == "Rejected"
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED)
    assert_whole(stage.theatre, stage.old)


@pytest.mark.parametrize("changes", [{}, {"traffic": None}], ids=["traffic", "none"])
def test_a_shop_that_is_open_again_waits_for_a_person(stage: Stage, changes: dict[str, Any]) -> None:
    if changes:
        stage.old = stage.theatre.stand(replace(stage.old, **changes))
    target = replace(strict(stage), **changes)
    rollout = by_hand(stage, target)
    falls = happens_in(stage.theatre, "watch", fall(stage.theatre, target, Role.WEB))
    end = stage.theatre.run(rollout.id, falls)
    assert (end.id, end.state) == (rollout.id, RolloutState.FAILED)
    assert "waits for a person" in str(end.outcome)


def test_without_a_rehearsal_before_it_the_rollout_refuses_what_breaks(stage: Stage) -> None:
    end = stage.theatre.deploy(strict(stage))
    assert end.state is RolloutState.FAILED
    assert "old code does not run on the new schema" in str(end.outcome)
    assert_whole(stage.theatre, stage.old)


def test_what_showed_it_first_is_known_the_next_day(stage: Stage) -> None:
    made: list[Rehearsed] = []
    target = strict(stage)
    stage.deploy(target)
    with stage.theatre.store.read() as unit:
        made += unit.rehearsals.list(RESOURCE)
    back = move_between(stage.theatre.context, target, stage.old, back=True)
    assert back.undone == {RESOURCE: tuple(made)}
    assert back.fenced


ADDS = (
    "ALTER TABLE visits ADD COLUMN at text;\n",
    "SELECT at FROM visits WHERE false;\n",
    "ALTER TABLE visits DROP COLUMN at;\n",
)


def above(stage: Stage, below: Release, scripts: tuple[str, str, str]) -> Release:
    """``below`` is deployed; then, on top of it, one more migration."""
    end = stage.deploy(below)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    database = below.databases[0]
    three = stage.shop.migration("0003_more", scripts)
    both = stage.theatre.release(
        "more", databases=(replace(database, migrations=(*database.migrations, three)),)
    )
    oldest, stage.old = stage.old, below
    end = stage.deploy(both)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    stage.old = oldest
    return both


def test_over_several_changes_no_older_one_is_forgotten(stage: Stage) -> None:
    both = above(stage, strict(stage), ADDS)
    with stage.theatre.store.read() as unit:
        newest = unit.rehearsals.list(RESOURCE)[0]
    assert newest.old.runs
    back = move_between(stage.theatre.context, both, stage.old, back=True)
    assert [one.old for one in back.undone[RESOURCE]] == [newest.old, OldCode.BREAKS]
    assert back.fenced


def test_what_was_deployed_counts_not_what_had_its_name(stage: Stage) -> None:
    """Another migration of the name was rehearsed since, and never deployed."""
    target = strict(stage)
    stage.deploy(target)
    with stage.theatre.store.write() as unit:
        edited = replace(unit.rehearsals.list(RESOURCE)[-1], key="edited", old=OldCode.PROVEN)
        unit.rehearsals.put(edited)
    back = move_between(stage.theatre.context, target, stage.old, back=True)
    assert [one.old for one in back.undone[RESOURCE]] == [OldCode.BREAKS]

"""What a rehearsal saw decides the order of steps, forward and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import NotReversible
from lastgood.domain.message import Message
from lastgood.domain.plan import Difference, Plan, Reversibility, StepKind
from lastgood.domain.rehearsal import OldCode, Rehearsed
from lastgood.domain.release import CanaryStep, DatabaseTarget, Migration, Release, RoleSpec, SecretVersion
from lastgood.domain.unit import Role, Target, UnitId
from lastgood.planning.fence import Others, refuse_unfenceable
from lastgood.planning.moves import Move, begun, plan_deploy, plan_rollback
from lastgood.planning.rehearsing import Written, judge, refuse_different, written
from lastgood.planning.renewal import Renewal, renewed_steps
from lastgood.planning.schema import Classes, SchemaState, schema_move
from lastgood.planning.users import of_others, stopped_by
from lastgood.ports.drivers import Rehearsal

CONTENT = digest_bytes(b"text")
EXACT = (Reversibility.EXACT, "", "")
MOVES_DATA = (Reversibility.BY_SNAPSHOT, "UPDATE t", "it changes or removes rows")
RESOURCE = "shop@prod/us"
ONE, TWO = Migration("1", *[CONTENT] * 3), Migration("2", *[CONTENT] * 3)
COMPLETE = Written("new", "", (("old", CONTENT),), True)


def release(*migrations: Migration, journey: str = "", canary: bool = False) -> Release:
    return Release(
        UnitId("storefront", "prod", "us"), f"c{len(migrations)}",
        databases=(DatabaseTarget(RESOURCE, Target("postgresql"), migrations, journey=journey),),
        roles=(RoleSpec(Role.WEB, ("web",)), RoleSpec(Role.WORKER, ("worker",))),
        runtime=Target("process"), traffic=Target("caddy"),
        canary=(CanaryStep(5.0, 1.0),) if canary else (),
    )  # fmt: skip


def rehearsed(old: OldCode, sample: int = 0) -> Rehearsed:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return Rehearsed(
        "k", RESOURCE, "fp", ("2",), old, Message("it said no"), sample, at, {"2": 1.5}, {"2": 0.5}
    )


def move(old: OldCode, *, back: bool = False, sample: int = 0, canary: bool = False) -> Move:
    base, target = release(ONE), release(ONE, TWO, canary=canary)
    if back:
        base, target = target, base
    applied = tuple((m.name, m.digest) for m in base.databases[0].migrations)
    schema = schema_move(target.databases[0], SchemaState(applied))
    one = rehearsed(old, sample)
    return Move(
        base, target, (schema,), {"2": EXACT}, lambda kind: (), Difference(),
        {RESOURCE: ("2",)} if back else {}, drains=True, journeys={RESOURCE: COMPLETE},
        rehearsed={} if back else {RESOURCE: one}, undone={RESOURCE: (one,)} if back else {},
    )  # fmt: skip


def kinds(plan: Plan) -> list[StepKind]:
    return [step.kind for step in plan.steps]


@pytest.mark.parametrize(
    ("seen", "journeys", "old"),
    [
        (Rehearsal("a", "a", False, complaint=Message("no")), COMPLETE, OldCode.BREAKS),
        (Rehearsal("a", "a", True), COMPLETE, OldCode.VERIFIED),
        (Rehearsal("a", "a", True, additive=False), COMPLETE, OldCode.PROVEN),
        (Rehearsal("a", "a", True, additive=False, untried=Message("once")), COMPLETE, OldCode.UNPROVEN),
        (Rehearsal("a", "a", True, additive=True, untried=Message("once")), COMPLETE, OldCode.ADDITIVE),
        (Rehearsal("a", "a", True, additive=False), replace(COMPLETE, complete=False), OldCode.UNPROVEN),
        (Rehearsal("a", "a", True, additive=True), Written("new"), OldCode.ADDITIVE),
    ],
    ids=["fails", "tells-no-more", "passed", "unusable", "adds", "one-lacks-it", "nobody-has-one"],
)
def test_what_is_not_shown_is_not_believed(seen: Rehearsal, journeys: Written, old: OldCode) -> None:
    assert judge(seen, journeys)[0] is old


def test_every_release_that_uses_the_database_has_to_have_a_journey() -> None:
    has, lacks = release(ONE, journey=CONTENT), release(ONE)
    database = has.databases[0]
    assert written(database, has, [has, has]).old == ((f"{has.unit} {has.digest[7:19]}", CONTENT),)
    assert written(database, has, [has]).complete
    assert not written(database, has, [has, lacks]).complete
    assert not written(database, has, []).complete


@pytest.mark.parametrize("old", [OldCode.PROVEN, OldCode.ADDITIVE, OldCode.VERIFIED])
def test_where_old_code_runs_on_the_new_schema_traffic_goes_back_first(old: OldCode) -> None:
    plan = plan_deploy(move(old))
    back = [step.kind for step in plan.way_back]
    assert back.index(StepKind.SHIFT_TRAFFIC) < back.index(StepKind.REVERT_SCHEMA)
    assert "fence" not in [step.id for step in plan.steps]
    assert any("Traffic goes back first" in str(note) for note in plan.notes)


@pytest.mark.parametrize("old", [OldCode.UNPROVEN, OldCode.BREAKS])
def test_where_it_does_not_every_writer_stops_before_the_schema_moves(old: OldCode) -> None:
    plan = plan_deploy(move(old, canary=True))
    order = [step.id for step in plan.steps]
    assert order.index("rehearse:" + RESOURCE) < order.index("fence") < order.index(f"migrate:{RESOURCE}:2")
    assert order.index(f"migrate:{RESOURCE}:2") < order.index("start") < order.index("shift")
    assert not {StepKind.SPLIT_TRAFFIC, StepKind.DRAIN_TRAFFIC} & set(kinds(plan))
    assert all(step.reversibility is not Reversibility.WARM for step in plan.steps)
    back = [step.id for step in plan.way_back]
    assert back == [
        "back:evidence", f"back:snapshot:{RESOURCE}", "back:fence", f"back:revert:{RESOURCE}:2", "back:start",
        "back:shift", "back:workers", "verify",
    ]  # fmt: skip
    assert any("stop every writer first" in str(note) for note in plan.notes)
    assert any("No canary" in str(note) for note in plan.notes)


def test_a_fence_that_cannot_go_on_is_lifted_by_starting_what_was_there() -> None:
    back = begun(plan_deploy(move(OldCode.BREAKS)).way_back, frozenset({"fence"}))
    assert [step.id for step in back] == [
        "back:evidence", "back:start", "back:shift", "back:workers", "verify",
    ]  # fmt: skip


@pytest.mark.parametrize(("old", "first"), [(OldCode.PROVEN, "back:shift"), (OldCode.BREAKS, "back:revert")])
def test_a_rollback_the_next_day_knows_it_too(old: OldCode, first: str) -> None:
    order = [step.id for step in plan_rollback(move(old, back=True)).steps]
    reverts = next(step for step in order if step.startswith("back:revert"))
    assert min(order.index("back:shift"), order.index(reverts)) == next(
        position for position, step in enumerate(order) if step.startswith(first)
    )


def test_of_several_changes_taken_back_the_worst_decides() -> None:
    made = move(OldCode.PROVEN, back=True)
    worse = (rehearsed(OldCode.BREAKS), replace(rehearsed(OldCode.UNPROVEN), key="other"))
    plan = plan_rollback(replace(made, undone={RESOURCE: (*made.undone[RESOURCE], *worse)}))
    assert "back:fence" in [step.id for step in plan.steps]
    told = " ".join(str(note) for note in plan.notes)
    assert "does not run" in told
    assert "Nothing shows" in told
    assert "Traffic goes back first" not in told


def test_a_fenced_way_back_stays_one_when_a_secret_was_revoked() -> None:
    made = move(OldCode.BREAKS)
    new = replace(made.base, secrets=(SecretVersion("TOKEN", "2"),))
    back = begun(plan_deploy(made).way_back, frozenset({"fence", f"migrate:{RESOURCE}:2"}))
    steps = renewed_steps(back, Renewal(made.base, new), made.target)
    order = [step.id for step in steps]
    assert order.index("back:fence") < order.index(f"back:revert:{RESOURCE}:2") < order.index("back:start")
    assert order.index("back:start") < order.index("back:shift") < order.index("back:workers")
    assert next(s for s in steps if s.id == "back:start").params["release"] == new.digest


def test_with_another_secret_the_others_are_started_again_all_the_same() -> None:
    made = replace(move(OldCode.BREAKS), others=(ERP,))
    new = replace(made.base, secrets=(SecretVersion("TOKEN", "2"),))
    plan = plan_deploy(made)
    assert stopped_by(plan) == {str(ERP.unit): ERP.digest}
    began = frozenset({"fence", f"fence:{ERP.unit}"})
    theirs = [step.id for step in of_others(begun(plan.way_back, began))]
    assert theirs == [f"back:lift:{part}:{ERP.unit}" for part in ("start", "shift", "workers")]
    back = begun(plan.way_back, began | {f"migrate:{RESOURCE}:2"})
    order = [step.id for step in renewed_steps(back, Renewal(made.base, new), made.target)]
    stop, start = f"back:fence:{ERP.unit}", f"back:lift:start:{ERP.unit}"
    assert order.index("back:fence") < order.index(stop) < order.index(f"back:revert:{RESOURCE}:2")
    assert order.index(f"back:revert:{RESOURCE}:2") < order.index(start) < order.index("back:start")


def test_what_it_took_is_the_estimate_unless_it_was_a_sample() -> None:
    plan = plan_deploy(move(OldCode.PROVEN))
    assert [s.estimate.seconds for s in plan.steps if s.kind is StepKind.MIGRATE] == [1.5]
    assert [s.estimate.seconds for s in plan.way_back if s.kind is StepKind.REVERT_SCHEMA] == [0.5]
    assert any("a copy of the whole database: deployed in 1.5 s" in str(note) for note in plan.notes)
    sampled = plan_deploy(move(OldCode.PROVEN, sample=1000))
    assert [s.estimate.seconds for s in sampled.steps if s.kind is StepKind.MIGRATE] == [None]
    assert any("at most 1000 rows of each table" in str(note) for note in sampled.notes)


def test_what_rests_on_another_rehearsal_is_another_plan() -> None:
    made = move(OldCode.PROVEN)
    other = replace(made, rehearsed={RESOURCE: replace(rehearsed(OldCode.PROVEN), key="other")})
    assert len({plan_deploy(m).digest for m in (made, other, replace(made, rehearsed={}))}) == 3
    later = replace(rehearsed(OldCode.PROVEN), at=datetime(2027, 1, 1, tzinfo=UTC))
    assert plan_deploy(replace(made, rehearsed={RESOURCE: later})).digest == plan_deploy(made).digest


def test_without_a_rehearsal_the_plan_says_so() -> None:
    plan = plan_deploy(replace(move(OldCode.PROVEN), rehearsed={}))
    assert any("not rehearsed yet" in str(note) for note in plan.notes)
    (step,) = [s for s in plan.steps if s.kind is StepKind.REHEARSE]
    assert Written.of_params(step.params["journeys"]) == COMPLETE
    assert "fingerprint" not in step.params


ERP = replace(release(ONE), unit=UnitId("erp", "prod", "us"))


@pytest.mark.parametrize(
    ("classes", "others", "base", "told"),
    [
        ({"2": MOVES_DATA}, {}, release(ONE), "2 moves data"),
        ({"2": EXACT}, {RESOURCE: Others((ERP,))}, release(ONE), "erp@prod/us use it too"),
        ({"2": EXACT}, {}, replace(release(ONE), origin="baseline"), "can't be stopped"),
    ],
    ids=["moves-data", "shared", "baseline"],
)
def test_where_a_fence_would_not_do_it_is_refused(
    classes: Classes, others: Mapping[str, Others], base: Release, told: str
) -> None:
    made = move(OldCode.BREAKS)
    with pytest.raises(NotReversible, match=told) as caught:
        refuse_unfenceable(base, made.schemas, classes, made.rehearsed, others)
    assert "it said no" in str(caught.value)
    runs = {RESOURCE: rehearsed(OldCode.PROVEN)}
    refuse_unfenceable(base, made.schemas, classes, runs, others)


def test_a_revert_that_leaves_something_is_refused_with_it() -> None:
    with pytest.raises(NotReversible, match=r"column orders\.gift was not removed"):
        refuse_different(Rehearsal("a", "b", True, difference="column orders.gift was not removed"), RESOURCE)

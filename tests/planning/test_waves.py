"""Which unit goes when: whatever is declared, whatever order units pass in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.change import ChangePlan
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import WavePolicy
from lastgood.planning.waves import PlannedUnit, due, in_order, plan_back, plan_waves

SITES = ("us", "de", "jp", "fr")
SERVICES = ("api", "erp", "page", "shop")
RESOURCES = ("orders@prod", "stock@prod")

units = st.sets(
    st.builds(UnitId, st.sampled_from(SERVICES), st.just("prod"), st.sampled_from(SITES)), min_size=1
)
# A service needs only services that stand before it: no cycle.
needs = st.fixed_dictionaries({
    service: st.lists(st.sampled_from(SERVICES[:position]), unique=True) if position else st.just([])
    for position, service in enumerate(SERVICES)
})  # fmt: skip
policies = st.builds(
    WavePolicy,
    canary=st.sampled_from(("", *SITES)),
    size=st.integers(0, 5),
    share=st.floats(0.05, 1.0),
    concurrency=st.integers(1, 4),
)


def plan(unit: UnitId, *migrates: str, base: str = "sha256:a", target: str = "sha256:b") -> Plan:
    steps = tuple(
        Step(f"migrate:{r}", StepKind.MIGRATE, Message("m"), {"resource": r, "migration": "0002"})
        for r in migrates
    )
    return Plan(PlanKind.DEPLOY, unit, base, target, "c1", steps, resources=migrates)


@st.composite
def changes(draw: st.DrawFn) -> tuple[ChangePlan, WavePolicy, Mapping[str, Sequence[str]], list[PlannedUnit]]:
    policy, needed = draw(policies), draw(needs)
    ordered = in_order(draw(units), SITES, needed, policy.canary)
    planned, done = [], set[str]()
    for unit in ordered:
        uses = frozenset(draw(st.sets(st.sampled_from(RESOURCES))))
        # As planning does it: the first unit that has a migration pending takes it.
        planned.append(PlannedUnit(plan(unit, *sorted(uses - done)), uses))
        done |= uses
    return plan_waves(planned, policy, needed), policy, needed, planned


def below(service: str, needed: Mapping[str, Sequence[str]]) -> set[str]:
    return {n for one in needed[service] for n in (one, *below(one, needed))}


def run(change: ChangePlan, seed: int) -> tuple[list[UnitId], int]:
    """Begin and pass units in a random order; the order of beginning, and the most at work at once."""
    random, began, most = Random(seed), list[UnitId](), 0
    for wave in change.waves:
        at_work, passed = list[UnitId](), set[UnitId]()
        while len(passed) < len(wave):
            for member in due(wave, began, passed, len(at_work), change.concurrency):
                assert set(member.after) <= passed
                began.append(member.unit)
                at_work.append(member.unit)
            most = max(most, len(at_work))
            assert at_work, "a unit waits for one that never begins"
            passed.add(at_work.pop(random.randrange(len(at_work))))
    return began, most


@given(changes(), st.integers())
def test_every_unit_begins_once_and_no_more_than_allowed_at_once(
    made: tuple[ChangePlan, WavePolicy, object, list[PlannedUnit]], seed: int
) -> None:
    change, policy, _, planned = made
    began, most = run(change, seed)
    assert sorted(began) == sorted(p.unit for p in planned)
    assert most <= policy.concurrency
    assert [m.number for m in change.members()] == list(range(1, len(planned) + 1))


@given(changes())
def test_the_canary_site_comes_first_and_alone_and_waves_have_their_size(
    made: tuple[ChangePlan, WavePolicy, object, list[PlannedUnit]],
) -> None:
    change, policy, _, planned = made
    canaries = {p.unit for p in planned if p.unit.site == policy.canary}
    first, *rest = [{m.unit for m in wave} for wave in change.waves]
    if canaries:
        assert first == canaries
    else:
        rest = [first, *rest]
    size = policy.size or max(1, len(planned) * policy.share + 1)
    assert all(0 < len(wave) <= size for wave in rest)


@given(changes(), st.integers())
def test_what_is_needed_goes_before_what_needs_it_and_comes_back_after_it(
    made: tuple[ChangePlan, WavePolicy, Mapping[str, Sequence[str]], list[PlannedUnit]], seed: int
) -> None:
    change, _, needed, planned = made
    back = plan_back(change, {p.unit: f"r-{p.unit.slug}" for p in planned})
    orders = [(run(change, seed)[0], 1), (run(back, seed)[0], -1)]
    by_unit = {p.unit: p for p in planned}
    for (one, other), (order, sign) in itertools.product(itertools.permutations(by_unit, 2), orders):
        depends = one.site == other.site and other.service in below(one.service, needed)
        shares = by_unit[other].migrates & by_unit[one].uses
        if depends or shares:
            assert sign * (order.index(other) - order.index(one)) < 0, (one, other, order)


@given(changes(), st.sets(st.integers(0, 15)))
def test_a_way_back_has_the_waves_reversed_and_only_what_is_undone(
    made: tuple[ChangePlan, WavePolicy, object, list[PlannedUnit]], chosen: set[int]
) -> None:
    change, _, _, planned = made
    undone = {p.unit: f"r-{n}" for n, p in enumerate(planned) if n in chosen}
    back = plan_back(change, undone)
    assert {m.unit: m.undoes for m in back.members()} == undone
    wave_of = {m.unit: n for n, wave in enumerate(change.waves) for m in wave}
    order = [wave_of[m.unit] for m in back.members()]
    assert order == sorted(order, reverse=True)
    assert all((m.base, m.target) == ("sha256:b", "sha256:a") for m in back.members())
    assert len(back.steps) == len(back.waves)


def test_the_digest_of_a_change_binds_every_plan_and_the_order() -> None:
    us, de = UnitId("shop", "prod", "us"), UnitId("shop", "prod", "de")
    policy, planned = WavePolicy(size=1), [PlannedUnit(plan(us)), PlannedUnit(plan(de))]
    digest = plan_waves(planned, policy, {}).digest
    assert digest == plan_waves(planned, policy, {}).digest
    others = [
        plan_waves([planned[0], PlannedUnit(plan(de, target="sha256:c"))], policy, {}),
        plan_waves(planned[::-1], policy, {}),
        plan_waves(planned, WavePolicy(size=2), {}),
        plan_waves(planned, WavePolicy(size=1, concurrency=1), {}),
    ]
    assert len({digest, *(o.digest for o in others)}) == 5


def test_a_share_is_of_all_units_and_at_least_one() -> None:
    ordered = in_order([UnitId("shop", "prod", s) for s in SITES], SITES, {}, "jp")
    assert [u.site for u in ordered] == ["jp", "us", "de", "fr"]
    planned = [PlannedUnit(plan(u)) for u in ordered]
    sizes = [[len(w) for w in plan_waves(planned, WavePolicy("jp", share=s), {}).waves] for s in (0.5, 0.01)]
    assert sizes == [[1, 2, 1], [1, 1, 1, 1]]


def test_services_that_need_each_other_are_still_ordered() -> None:
    """Lint refuses it; planning must not hang on it."""
    circle = {"api": ["shop"], "shop": ["api"]}
    ordered = in_order([UnitId(s, "prod", "us") for s in ("api", "shop")], SITES, circle, "")
    change = plan_waves([PlannedUnit(plan(u)) for u in ordered], WavePolicy(size=2), circle)
    assert len(run(change, 1)[0]) == 2

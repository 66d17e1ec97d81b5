"""Units and what is declared of them → waves: who goes first, who waits for whom, who may begin now."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lastgood.domain.change import ChangePlan
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.unit import UnitId, named
from lastgood.domain.wave import Member, Wave, WavePolicy

Needs = Mapping[str, Sequence[str]]
"""Service → the services it needs, directly."""


@dataclass(frozen=True)
class PlannedUnit:
    """A unit's plan, and the databases (resources) that its release uses."""

    plan: Plan
    uses: frozenset[str] = frozenset()

    @property
    def unit(self) -> UnitId:
        return self.plan.unit

    @property
    def migrates(self) -> frozenset[str]:
        return frozenset(str(s.params["resource"]) for s in self.plan.steps if s.kind is StepKind.MIGRATE)


def in_order(units: Iterable[UnitId], sites: Sequence[str], needs: Needs, canary: str) -> tuple[UnitId, ...]:
    """The canary site first, then the sites as declared; in a site, what is needed before what needs it."""
    known = {site: position for position, site in enumerate(sites)} | {canary: -1}
    depths = _depths(needs)

    def place(unit: UnitId) -> tuple[int, str, int, str]:
        return known.get(unit.site, len(known)), unit.site, depths.get(unit.service, 0), unit.service

    return tuple(sorted(set(units), key=place))


def plan_waves(
    planned: Sequence[PlannedUnit], policy: WavePolicy, needs: Needs, left: Sequence[UnitId] = ()
) -> ChangePlan:
    """``planned`` as ``in_order`` has them, at least one, of one environment and one commit. ``left``: units
    that have nothing to do.
    """
    first = planned[0].plan
    waves = tuple(_wave(group, planned, needs) for group in _cut([p.unit for p in planned], policy))
    resources = sorted({name for one in planned for name in one.plan.resources})
    title = N_("Wave {number} of {count}: {units}")
    guard = Step("guard", StepKind.GUARD_WAVES, Message(N_("Guard windows of all units")))
    return ChangePlan(
        PlanKind.DEPLOY, first.unit.environment, first.commit, waves,
        (*_steps("wave", StepKind.ROLL_OUT_WAVE, title, waves), guard),
        policy.concurrency, policy.wait, policy.pause, tuple(resources), tuple(left), first.automatic,
    )  # fmt: skip


def plan_back(plan: ChangePlan, undone: Mapping[UnitId, str], left: Sequence[UnitId] = ()) -> ChangePlan:
    """The waves of ``plan`` from last to first, for the units of ``undone`` (unit → the rollout that is taken
    back); inside a wave, what needs others goes before what it needs. ``left``: units that stay as they are.
    """
    waves: list[Wave] = []
    number = 0
    for wave in reversed(plan.waves):
        members = []
        for member in reversed([m for m in wave if m.unit in undone]):
            number += 1
            after = tuple(m.unit for m in wave if member.unit in m.after and m.unit in undone)
            members.append(
                Member(number, member.unit, member.target, member.base, "", after, undone[member.unit])
            )
        if members:
            waves.append(tuple(members))
    title = N_("Take back {number} of {count}: {units}")
    steps = _steps("back", StepKind.TAKE_BACK_WAVE, title, waves)
    return replace(plan, kind=PlanKind.ROLLBACK, waves=tuple(waves), steps=steps, left=tuple(left))


def due(
    wave: Wave, begun: Collection[UnitId], passed: Collection[UnitId], at_work: int, concurrency: int
) -> Iterator[Member]:
    """Whose turn it is: not begun, all that it waits for has passed, no more than ``concurrency`` at work.

    ``at_work`` counts the units of the change that are at work now.
    """
    free = concurrency - at_work
    for member in wave:
        if free <= 0:
            return
        if member.unit not in begun and all(other in passed for other in member.after):
            free -= 1
            yield member


def _depths(needs: Needs) -> dict[str, int]:
    """Service → the longest chain of services below it. A cycle, which lint refuses, only ends the chain."""
    depths: dict[str, int] = {}

    def depth(service: str, above: frozenset[str]) -> int:
        if service in above:
            return 0
        if service not in depths:
            below = (depth(needed, above | {service}) for needed in needs.get(service, ()))
            depths[service] = 1 + max(below, default=-1)
        return depths[service]

    for service in sorted(needs):
        depth(service, frozenset())
    return depths


def _below(service: str, needs: Needs) -> frozenset[str]:
    """All that a service needs, and what that needs."""
    found: set[str] = set()
    waiting = list(needs.get(service, ()))
    while waiting:
        needed = waiting.pop()
        if needed not in found:
            found.add(needed)
            waiting += needs.get(needed, ())
    return frozenset(found)


def _cut(units: Sequence[UnitId], policy: WavePolicy) -> Iterator[Sequence[UnitId]]:
    canary = [unit for unit in units if unit.site == policy.canary]
    if canary:
        yield canary
    rest = units[len(canary) :]
    size = policy.size or max(1, math.ceil(len(units) * policy.share))
    for start in range(0, len(rest), size):
        yield rest[start : start + size]


def _wave(group: Sequence[UnitId], planned: Sequence[PlannedUnit], needs: Needs) -> Wave:
    """The members of one wave, each with those it waits for: earlier waves have passed anyway."""
    members: list[Member] = []
    before: list[PlannedUnit] = []
    for number, one in enumerate(planned, 1):
        if one.unit not in group:
            continue
        needed = {
            UnitId(name, one.unit.environment, one.unit.site) for name in _below(one.unit.service, needs)
        }
        # One unit migrates a database for all that share it; the others find it done.
        after = tuple(b.unit for b in before if b.unit in needed or b.migrates & one.uses)
        plan = one.plan
        members.append(Member(number, one.unit, plan.base, plan.target, plan.digest, after))
        before.append(one)
    return tuple(members)


def _steps(prefix: str, kind: StepKind, title: str, waves: Sequence[Wave]) -> tuple[Step, ...]:
    """One step for each wave; ``wave`` is its position from 0."""
    return tuple(
        Step(
            f"{prefix}:{position + 1}",
            kind,
            Message(
                title,
                {"number": position + 1, "count": len(waves), "units": named(m.unit for m in wave)},
            ),
            {"wave": position},
        )
        for position, wave in enumerate(waves)
    )

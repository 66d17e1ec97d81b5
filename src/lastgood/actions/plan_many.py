"""plan, for many units: a plan for each of them, and the waves in which they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lastgood.actions.context import Context
from lastgood.actions.images import Lookups
from lastgood.actions.plan_change import (
    NothingToChange,
    PlannedChange,
    SoFar,
    StillWaiting,
    open_estate,
    plan_unit,
    refuse_mistakes,
)
from lastgood.actions.rehearsing import Told, unheard
from lastgood.domain.change import ChangePlan
from lastgood.domain.errors import InvalidInput, LastgoodError
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.planning.waves import PlannedUnit, in_order, plan_waves
from lastgood.ports.estate import Estate


@dataclass(frozen=True)
class PlannedMany:
    """``units`` are the plans of the units, in the order of the change."""

    plan: ChangePlan
    units: tuple[PlannedChange, ...]


@dataclass(frozen=True)
class Selection:
    """Units of one environment, in the order in which they go."""

    estate: Estate
    environment: str
    units: tuple[UnitId, ...]


def select(context: Context, wanted: Sequence[str], revision: str = "HEAD") -> Selection:
    """``wanted``: units, or patterns such as ``storefront@prod/*``.

    Raises InvalidInput when one matches nothing, when they are of several environments, or when the estate
    has mistakes.
    """
    estate = open_estate(context, revision)
    units = _matching(estate.units(), wanted)
    refuse_mistakes(estate)
    environments = sorted({unit.environment for unit in units})
    if len(environments) > 1:
        raise InvalidInput(
            N_("a change moves units of one environment; these are of {environments}"),
            todo=N_("Name one environment: the next is deployed when this one was verified."),
            environments=", ".join(environments),
        )
    canary = estate.waves(environments[0]).canary
    ordered = in_order(units, [site.name for site in estate.sites], estate.needs(), canary)
    return Selection(estate, environments[0], ordered)


def plan_many(
    context: Context, selected: Selection, *, rehearse: bool = True, told: Told = unheard
) -> PlannedMany:
    """A plan for each unit, computed in the order of the waves; units that are there already are left.

    Raises what ``plan_change`` raises, about the first unit that can't be planned: then nothing runs.
    """
    planned: list[PlannedChange] = []
    left: list[UnitId] = []
    waiting: StillWaiting | None = None
    so_far = SoFar(Lookups(context), rehearse=rehearse, told=told)
    for unit_id in selected.units:
        try:
            one = plan_unit(context, selected.estate, unit_id, so_far)
        except NothingToChange as nothing:
            left.append(unit_id)
            waiting = waiting or (nothing if isinstance(nothing, StillWaiting) else None)
            continue
        except LastgoodError as error:
            error.about(str(unit_id))
            raise
        planned.append(one)
    if not planned and waiting is not None:
        raise waiting
    if not planned:
        raise InvalidInput(
            N_("nothing to change: all {count} units are on exactly this already"),
            todo=N_("Commit what you want to change, or name another revision."),
            count=len(left),
        )
    units = [PlannedUnit(p.plan, frozenset(d.resource for d in p.release.databases)) for p in planned]
    policy, needs = selected.estate.waves(selected.environment), selected.estate.needs()
    return PlannedMany(plan_waves(units, policy, needs, left), tuple(planned))


def _matching(units: Sequence[UnitId], wanted: Sequence[str]) -> set[UnitId]:
    found: set[UnitId] = set()
    for pattern in wanted:
        matching = {unit for unit in units if _matches(unit, pattern)}
        if not matching:
            near = [str(u) for u in units if u.service == pattern.partition("@")[0]][:6]
            raise InvalidInput(
                N_("the estate has no unit {unit}"),
                todo=N_("It has: {units}"),
                unit=pattern,
                units=", ".join(near) or ", ".join(sorted({u.service for u in units})),
            )
        found |= matching
    return found


def _matches(unit: UnitId, pattern: str) -> bool:
    """Part by part, so that a star does not reach over into the next."""
    service, _, rest = pattern.partition("@")
    environment, _, site = rest.partition("/")
    parts = ((unit.service, service), (unit.environment, environment), (unit.site, site))
    return all(fnmatchcase(name, part) for name, part in parts)

"""What has become of the units of a change: which rollouts took them forward and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lastgood.domain.change import Change
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState, Standing, way_back_id
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import Member
from lastgood.ports.persistence import UnitOfWork

ENDED_WELL = frozenset({RolloutState.VERIFIED, RolloutState.ACCEPTED_EARLY})


@dataclass(frozen=True)
class Followed:
    """One unit of a change. ``forward`` is the rollout that moved it, ``back`` the one that takes it back:
    its own way back, or one that a way back of the change began. None where there is none.
    """

    member: Member
    forward: Standing | None = None
    back: Standing | None = None

    @property
    def unit(self) -> UnitId:
        return self.member.unit

    @property
    def at_work(self) -> bool:
        """A rollout is open on it, whichever."""
        return any(s is not None and s.state.is_open for s in (self.forward, self.back))


def follow_units(
    unit: UnitOfWork, change: Change, ways_back: Iterable[Change] = ()
) -> Mapping[UnitId, Followed]:
    """By unit, in the order of the change. ``ways_back`` of it, newest first."""
    backs = tuple(ways_back)
    names = {m.unit: _names(change, m, backs) for m in change.plan.members()}
    known = unit.rollouts.standings(name for forward, back in names.values() for name in (forward, *back))
    found = {}
    for member in change.plan.members():
        forward, back = names[member.unit]
        standing = next((known[name] for name in back if name in known), None)
        found[member.unit] = Followed(member, known.get(forward), standing)
    return found


def _names(change: Change, member: Member, backs: Iterable[Change]) -> tuple[str, tuple[str, ...]]:
    """The id of the rollout forward, and those that may take it back, the newest first."""
    if change.kind is PlanKind.ROLLBACK:
        return member.undoes, _with_again(change.rollout_of(member), way_back_id(member.undoes))
    forward = change.rollout_of(member)
    later = (b.rollout_of(m) for b in backs for m in b.plan.members() if m.unit == member.unit)
    return forward, _with_again(*later, way_back_id(forward))


def _with_again(*names: str) -> tuple[str, ...]:
    """A way back goes once more, before it counts itself, where a secret was revoked meanwhile."""
    return tuple(found for name in names for found in (way_back_id(name), name))


def taken_back_by_hand(unit: UnitOfWork, standing: Standing) -> bool:
    """A person asked this rollout to turn back."""
    wish = unit.wishes.asked(standing.rollout)
    return wish is not None and wish.wish == "back"


def to_take_back(unit: UnitOfWork, change: Change) -> Iterator[tuple[UnitId, str]]:
    """Units that a way back of ``change`` concerns, with the rollout that it undoes: those at work, on their
    way back already, or still where the change, or a way back that stopped, left them.
    """
    for one in follow_units(unit, change, unit.changes.ways_back(change.id)).values():
        if one.forward is None:
            continue
        if one.at_work:
            yield one.unit, one.forward.rollout
        elif unit.releases.current(one.unit) == one.member.target:
            if one.back is None:
                yield one.unit, one.forward.rollout
            elif one.back.state is RolloutState.INCOMPLETE:
                yield one.unit, one.back.rollout

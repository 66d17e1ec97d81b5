"""A change: one request to move units to a commit, wave by wave; and the way back of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property

from lastgood.domain.digest import digest
from lastgood.domain.message import Message
from lastgood.domain.plan import PlanKind, Step
from lastgood.domain.rollout import Request
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import Member, Wait, Wave

PREFIX = "c-"


class ChangeState(str, Enum):
    """Where the program of a change is; what became of each unit is told by the unit's own rollouts.

    deploy: ``accepted → running → guarding → verified`` (every unit), or unverified (a unit had not enough
    evidence), stopped (a person wanted no further waves), failed (nothing to take back, or a person has to
    decide) or returned (its way back is a change of its own).
    rollback: verified, unverified, failed (a unit is back and still bad) or incomplete (one is not back).
    """

    ACCEPTED = "accepted"
    RUNNING = "running"
    GUARDING = "guarding"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    STOPPED = "stopped"
    FAILED = "failed"
    RETURNED = "returned"
    INCOMPLETE = "incomplete"

    @property
    def is_open(self) -> bool:
        return self in (ChangeState.ACCEPTED, ChangeState.RUNNING, ChangeState.GUARDING)


@dataclass(frozen=True)
class ChangePlan:
    """Which units move, in which waves. ``steps`` is the program: one step for each wave, and the guard.

    ``left`` are units that were asked for and have nothing to do; ``resources`` is what is locked beside
    the units. ``automatic`` as in a unit's plan.
    """

    kind: PlanKind
    environment: str
    commit: str
    waves: tuple[Wave, ...]
    steps: tuple[Step, ...]
    concurrency: int
    wait: Wait = Wait.WATCH
    pause: float = 0.0
    resources: tuple[str, ...] = ()
    left: tuple[UnitId, ...] = ()
    automatic: bool = True

    @cached_property
    def digest(self) -> str:
        """Binds an approval: changes when any unit's plan does, or their order."""
        how = (self.kind, self.concurrency, self.wait, self.pause, self.resources)
        return digest((*how, self.waves))

    def members(self) -> Iterator[Member]:
        for wave in self.waves:
            yield from wave


@dataclass(frozen=True)
class Change:
    """One row. ``undoes`` is the change that this one takes back, ``incident`` what made it start."""

    id: str
    plan: ChangePlan
    request: Request
    state: ChangeState
    created_at: datetime
    finished_at: datetime | None = None
    outcome: Message = field(default_factory=lambda: Message(""))
    undoes: str = ""
    incident: str = ""

    @property
    def kind(self) -> PlanKind:
        return self.plan.kind

    def rollout_of(self, member: Member) -> str:
        """The id of a unit's rollout: derived, so that it is accepted once whatever happens."""
        return f"r-{self.id.removeprefix(PREFIX)}-{member.number:02}"


def is_change(name: str) -> bool:
    """Whether an id names a change, and not a rollout."""
    return name.startswith(PREFIX)

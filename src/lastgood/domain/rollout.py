"""A unit on its way to a release: durable and resumable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from lastgood.domain.criterion import GateResult
from lastgood.domain.digest import LATER
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind
from lastgood.domain.unit import UnitId


class RolloutState(str, Enum):
    """``accepted → running → guarding → verified``, or one of the other ends.

    deploy: verified, unverified (gate inconclusive, still there), accepted_early (a person ended the
    guard window), failed (nothing was left to undo) or returned (a rollback took it back, or is about to).
    rollback: verified, unverified, failed (measured bad after the return), incomplete, or returned (a secret
    was revoked meanwhile, so that it goes once more with another one).
    """

    ACCEPTED = "accepted"
    RUNNING = "running"
    GUARDING = "guarding"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    ACCEPTED_EARLY = "accepted_early"
    FAILED = "failed"
    RETURNED = "returned"
    INCOMPLETE = "incomplete"

    @property
    def is_open(self) -> bool:
        return self in (RolloutState.ACCEPTED, RolloutState.RUNNING, RolloutState.GUARDING)


@dataclass(frozen=True)
class Request:
    """What is asked and by whom: why, who answers for it, and whom it touches (R2)."""

    reason: str
    owner: str
    impact: str
    requested_by: str
    requested_at: datetime


@dataclass(frozen=True)
class Rollout:
    """One row; ``undoes`` is the rollout that this one takes back, ``incident`` what made it start.

    ``part_of`` is the change that this unit's move belongs to, empty where it was asked for alone.
    """

    id: str
    kind: PlanKind
    unit: UnitId
    base: str
    target: str
    plan: Plan
    change: Request
    state: RolloutState
    created_at: datetime
    finished_at: datetime | None = None
    outcome: Message = field(default_factory=lambda: Message(""))
    gate: GateResult | None = None
    undoes: str = ""
    incident: str = ""
    part_of: str = field(default="", metadata=LATER)


@dataclass(frozen=True)
class Standing:
    """What has become of a rollout, without its plan. ``passed``: its criteria were measured good so far."""

    rollout: str
    state: RolloutState
    passed: bool
    finished_at: datetime | None
    outcome: Message


def way_back_id(name: str) -> str:
    """What takes a rollout (or a change) back by itself: its id derives, so it exists once."""
    return f"{name}-back"


class Mark(str, Enum):
    """What the journal can say of a step; it only ever appends."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    NOTE = "note"


@dataclass(frozen=True)
class JournalEntry:
    """``data`` is the step's result (done), its error (failed) or a progress note."""

    sequence: int
    rollout: str
    step: str
    mark: Mark
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StopRequest:
    """A wish about an open rollout or change: ``accept`` ends a guard window well, ``back`` goes back,
    ``stop`` lets a change begin no further unit.
    """

    rollout: str
    wish: str
    by: str
    reason: str
    at: datetime

"""What a person sees of a unit: where it is, and whether there is a way back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from lastgood.domain.capture import Capture, DataLeft
from lastgood.domain.change import Change
from lastgood.domain.criterion import Sample
from lastgood.domain.message import Message
from lastgood.domain.plan import Estimate, PlanKind
from lastgood.domain.quarantine import Quarantine
from lastgood.domain.rollout import JournalEntry, Rollout, RolloutState
from lastgood.domain.unit import UnitId


@dataclass(frozen=True)
class WayBack:
    """To what, whether it is warm, whether it is whole here, and how long it takes by measure.

    ``missing`` counts pieces that are not kept here; ``proven_at``: when something last stood there good.
    ``databases_kept`` counts databases with a snapshot; ``databases_proven_at`` is the oldest proof among
    their newest snapshots, None when one was never proven. ``unseen`` says why the engine could not be asked
    for the image that it alone keeps. ``renewed`` secrets come back in another version, theirs was revoked;
    those in ``lacking`` have no valid one here, so there is no going back until it is given.
    """

    point: str
    release: str
    kind: str
    warm: bool
    missing: int
    estimate: Estimate
    proven_at: datetime
    databases_kept: int = 0
    databases_proven_at: datetime | None = None
    unseen: Message | None = None
    renewed: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitStatus:
    """``rollout`` is the open one, else the newest. ``watched``: a runner is alive. ``aside`` names the
    incident (or the entry) for which something that runs here was set aside, empty when nothing was.

    ``change`` is the open one that the unit belongs to; ``waiting``: its turn has not come there.
    ``revoked`` names secrets of which it runs with a revoked version.

    ``captures`` are open on its databases and cost their servers room; ``left`` is data that is not as the
    release left it; ``failed`` are databases set aside by a restore.
    """

    unit: UnitId
    release: str
    commit: str
    since: datetime | None
    rollout: Rollout | None
    way_back: WayBack | None
    frozen: str
    incident: str
    watched: bool
    watched_until: datetime | None
    observed_at: datetime
    aside: str = ""
    change: str = ""
    waiting: bool = False
    revoked: tuple[str, ...] = ()
    captures: tuple[Capture, ...] = ()
    left: tuple[DataLeft, ...] = ()
    failed: tuple[Quarantine, ...] = ()


@dataclass(frozen=True)
class Progress:
    """What is new of a rollout since the last look."""

    rollout: Rollout
    entries: tuple[JournalEntry, ...] = ()
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class UnitProgress:
    """One unit of a change: ``rollout`` is the last of those that moved it, empty before its turn.

    ``state`` is None before that, too. ``error`` is the class of what stopped it, ``stays`` says why it was
    not taken back.
    """

    wave: int
    unit: UnitId
    rollout: str = ""
    kind: PlanKind = PlanKind.DEPLOY
    state: RolloutState | None = None
    since: datetime | None = None
    outcome: Message = field(default_factory=lambda: Message(""))
    error: str = ""
    stays: str = ""


@dataclass(frozen=True)
class ChangeProgress:
    """A change as it is now; ``back`` is the newest change that takes it back."""

    change: Change
    units: tuple[UnitProgress, ...]
    back: Change | None = None
    observed_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.change.state.is_open or (self.back is not None and self.back.state.is_open)

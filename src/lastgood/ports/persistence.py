"""Our own tables, seen from inside. One unit of work is one transaction.

Anything that must be true together is written in one ``Store.write()`` block: leaving it commits
durably, an exception leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from lastgood.domain.audit import AuditRecord, Phase
from lastgood.domain.capture import Capture
from lastgood.domain.change import Change, ChangeState
from lastgood.domain.criterion import GateResult, Sample
from lastgood.domain.incident import Freeze, Incident
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, StepKind
from lastgood.domain.quarantine import Quarantine
from lastgood.domain.rehearsal import Rehearsed
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint, Snapshot
from lastgood.domain.rollout import JournalEntry, Mark, Rollout, RolloutState, Standing, StopRequest
from lastgood.domain.secret import Revocation, Sealing
from lastgood.domain.unit import UnitId


class Releases(Protocol):
    def put(self, release: Release) -> None: ...

    def get(self, digest: str) -> Release:
        """Raises InvalidInput when unknown. ``digest`` may be a unique prefix of at least 6 hex digits."""

    def set_current(self, unit: UnitId, release: str, at: datetime) -> None:
        """What was last released (or adopted, or returned to) on this unit."""

    def current(self, unit: UnitId) -> str:
        """Digest, ``""`` when the unit was never touched."""

    def units(self) -> Sequence[UnitId]:
        """Every unit that has a current release."""


class Rollouts(Protocol):
    def add(self, rollout: Rollout) -> None: ...

    def get(self, rollout: str) -> Rollout:
        """Raises InvalidInput when unknown."""

    def move(
        self,
        rollout: str,
        state: RolloutState,
        *,
        outcome: Message | None = None,
        gate: GateResult | None = None,
        finished_at: datetime | None = None,
    ) -> None: ...

    def list(self, unit: UnitId | None = None, limit: int = 50) -> Sequence[Rollout]:
        """Newest first."""

    def open(self) -> Sequence[Rollout]:
        """Those not finished, oldest first."""

    def open_ids(self) -> Sequence[str]:
        """Their ids. Reads no plan: it is asked again and again."""

    def standings(self, rollouts: Iterable[str]) -> Mapping[str, Standing]:
        """Of those that exist, by id. Reads no plan either."""


class Changes(Protocol):
    def add(self, change: Change) -> None: ...

    def get(self, change: str) -> Change:
        """Raises InvalidInput when unknown."""

    def move(
        self,
        change: str,
        state: ChangeState,
        *,
        outcome: Message | None = None,
        finished_at: datetime | None = None,
    ) -> None: ...

    def list(self, limit: int = 50) -> Sequence[Change]:
        """Newest first."""

    def open(self) -> Sequence[Change]:
        """Those not finished, oldest first."""

    def open_ids(self) -> Sequence[str]:
        """Their ids."""

    def ways_back(self, change: str) -> Sequence[Change]:
        """Those that take it back, newest first."""


class Journal(Protocol):
    """Append-only: what was meant and what came of it, per program (a rollout or a change) and step."""

    def append(
        self, rollout: str, step: str, mark: Mark, data: Mapping[str, Any], at: datetime
    ) -> JournalEntry: ...

    def entries(self, rollout: str, after: int = 0) -> Sequence[JournalEntry]:
        """Oldest first, those with a sequence greater than ``after``."""

    def last(self, rollout: str, step: str) -> JournalEntry | None:
        """The last entry of a step that is not a note."""

    def seconds(self, unit: UnitId, kind: StepKind) -> Sequence[float]:
        """How long this kind of step took on this unit in earlier rollouts, newest first, at most 20."""


class RestorePoints(Protocol):
    def add(self, point: RestorePoint) -> None: ...

    def get(self, point: str) -> RestorePoint: ...

    def list(self, unit: UnitId, *, pruned: bool = False) -> Sequence[RestorePoint]:
        """Newest first; ``pruned``: also those that are no way back any more."""

    def uncleared(self, unit: UnitId) -> Sequence[RestorePoint]:
        """Those pruned whose content may still be there, oldest first."""

    def prune(self, point: RestorePoint) -> None:
        """Keep its ``pruned_at`` and ``cleared_at``."""

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Insert or replace by id."""

    def snapshots(self, resource: str) -> Sequence[Snapshot]:
        """Newest first, without those that were discarded."""


class OpenCaptures(Protocol):
    """What servers keep for us of the writes after a cut, and what they kept."""

    def put(self, capture: Capture) -> None:
        """Insert or replace by its snapshot."""

    def list(self, *, ended: bool = False) -> Sequence[Capture]:
        """Those that are open, newest first; ``ended``: also those that were ended."""


class Locks(Protocol):
    """Names held by rollouts and changes: ``unit:…`` and ``resource:…``."""

    def take(self, names: Iterable[str], holder: str) -> None:
        """All or none; raises Conflict naming the holder."""

    def move(self, holder: str, to: str, names: Iterable[str] | None = None) -> None:
        """Hand locks to another holder: all of them, or ``names``; raises Conflict where one is not held."""

    def release(self, holder: str, names: Iterable[str] | None = None) -> None:
        """All of them, or ``names``; what is not held is left alone."""

    def holder(self, name: str) -> str:
        """Id of a rollout or a change, ``""`` when free."""


class Incidents(Protocol):
    def put(self, incident: Incident) -> None:
        """Insert or replace by id."""

    def list(self, unit: UnitId | None = None, limit: int = 50) -> Sequence[Incident]: ...

    def freeze(self, freeze: Freeze) -> None:
        """Insert or replace by id."""

    def freezes(self, unit: UnitId) -> Sequence[Freeze]:
        """Those in force on this unit."""


class Rehearsals(Protocol):
    """What rehearsals showed, by the digest of what they depend on."""

    def put(self, rehearsed: Rehearsed) -> None:
        """Insert or replace by key."""

    def get(self, key: str) -> Rehearsed | None:
        """None when nobody rehearsed exactly this."""

    def list(self, resource: str) -> Sequence[Rehearsed]:
        """Of one database, newest first."""


class Quarantines(Protocol):
    def put(self, quarantine: Quarantine) -> None:
        """Insert or replace by id."""

    def list(self, *, lifted: bool = False) -> Sequence[Quarantine]:
        """Those in force, newest first; ``lifted``: also those that were lifted."""


class Secrets(Protocol):
    """Versions by unit, and what was revoked. Append-only."""

    def give(self, sealing: Sealing) -> None:
        """It is the unit's newest from now on; nothing where it is already."""

    def sealings(self, unit: UnitId | None = None, name: str = "") -> Sequence[Sealing]:
        """Newest first; of one unit or one secret where that is said."""

    def revoke(self, revocation: Revocation) -> None:
        """Kept once: a second one for the same version changes nothing."""

    def revocations(self) -> Sequence[Revocation]:
        """Newest first."""


class Wishes(Protocol):
    """What is asked of open rollouts and changes, and what the runner has to start."""

    def ask(self, request: StopRequest) -> None: ...

    def asked(self, rollout: str) -> StopRequest | None:
        """The last request for this rollout."""

    def enqueue(self, rollout: str) -> None: ...

    def enqueued(self) -> Sequence[str]:
        """Accepted programs not yet started, oldest first."""

    def started(self, rollout: str) -> None: ...


class Samples(Protocol):
    def add(self, rollout: str, samples: Sequence[Sample]) -> None: ...

    def list(self, rollout: str, after: datetime | None = None) -> Sequence[Sample]:
        """Oldest first."""

    def keep_cursors(self, rollout: str, step: str, cursors: Mapping[str, Any]) -> None:
        """Replace the signals' cursors of a watching step, so that it goes on after a restart."""

    def cursors(self, rollout: str, step: str) -> Mapping[str, Any]:
        """Empty when none were kept."""


class Audit(Protocol):
    """Append-only and hash-chained."""

    def append(
        self, *, actor: str, origin: str, verb: str, subject: str, phase: Phase, reason: str,
        data: Mapping[str, Any], at: datetime,
    ) -> AuditRecord: ...  # fmt: skip

    def list(self, subject: str = "", limit: int = 100) -> Sequence[AuditRecord]:
        """Newest first."""

    def first_broken(self) -> AuditRecord | None:
        """The first link whose hash does not follow, None when the chain is whole."""


class UnitOfWork(Protocol):
    @property
    def releases(self) -> Releases: ...
    @property
    def rollouts(self) -> Rollouts: ...
    @property
    def changes(self) -> Changes: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def points(self) -> RestorePoints: ...
    @property
    def captures(self) -> OpenCaptures: ...
    @property
    def rehearsals(self) -> Rehearsals: ...
    @property
    def locks(self) -> Locks: ...
    @property
    def incidents(self) -> Incidents: ...
    @property
    def quarantine(self) -> Quarantines: ...
    @property
    def secrets(self) -> Secrets: ...
    @property
    def wishes(self) -> Wishes: ...
    @property
    def samples(self) -> Samples: ...
    @property
    def audit(self) -> Audit: ...


class Store(Protocol):
    def write(self) -> AbstractContextManager[UnitOfWork]:
        """One immediate transaction; waits for another writer, raises Conflict after 30 s."""

    def read(self) -> AbstractContextManager[UnitOfWork]:
        """One consistent view."""

    def put_plan(self, plan: Plan, release: Release, base: Release | None) -> None:
        """Keep a plan that was shown, so that ``deploy`` can run exactly it."""

    def plan(self, digest: str) -> tuple[Plan, Release, Release | None]:
        """By digest or unique prefix; raises InvalidInput when unknown."""

    def changed(self) -> int:
        """A number that differs from the last one when anybody has committed since. Costs microseconds."""

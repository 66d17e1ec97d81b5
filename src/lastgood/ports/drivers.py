"""Driver abilities: a driver implements those it can honour; ``isinstance`` tells.

A driver is built for one unit by its factory (entry point group ``lastgood.drivers``) from the
settings stored in the release. Every call is safe to repeat with the same arguments. Calls raise only
``Unreachable`` (nothing was sent), ``Rejected`` (answered no), ``OutcomeUnknown`` (sent, unanswered),
``InvalidInput`` (the settings are wrong) or, for ``Migrates``, ``Conflict``; vendor errors are mapped
inside the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lastgood.domain.criterion import Signal
from lastgood.domain.image import Image
from lastgood.domain.message import Message
from lastgood.domain.observation import Drift, EvidenceItem, Observation
from lastgood.domain.plan import Reversibility
from lastgood.domain.release import Artifact, FileEntry, RoleSpec, SecretVersion
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.unit import Role, Target, UnitId
from lastgood.ports.content import DriverTools


class DriverFactory(Protocol):
    """What the entry point names: builds the driver of one unit."""

    def __call__(self, unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
        """Raises InvalidInput naming the wrong or missing setting."""


@runtime_checkable
class Observes(Protocol):
    """Sees what is really there."""

    def observe(self) -> Observation:
        """The present state with its fingerprint and the time of the look."""


@runtime_checkable
class Places(Protocol):
    """Puts rendered configuration in place as release directories with one atomic switch."""

    def place(self, release: str, files: Sequence[FileEntry]) -> Path:
        """Write (or complete) the directory of ``release``; returns it. Nothing is switched."""

    def switch(self, release: str) -> None:
        """Make ``release`` current in one atomic rename; ``""`` removes the current link."""

    def current(self) -> str:
        """The release that is current, ``""`` when there is none."""

    def drift(self, files: Sequence[FileEntry]) -> tuple[Drift, ...]:
        """How the current directory differs from ``files`` (missing, changed, unknown extra)."""

    def capture(self) -> tuple[FileEntry, ...]:
        """The current files, their content put into the object store (for a baseline)."""


@dataclass(frozen=True)
class Generation:
    """A release of a unit as something that runs. ``id`` is stable and names it for ever.

    ``config`` is the directory where a files driver placed the configuration, None without one: then
    ``files`` is what the runtime itself brings to where its roles read it.
    """

    id: str
    unit: UnitId
    roles: tuple[RoleSpec, ...]
    artifact: Artifact | None
    config: Path | None
    secrets: tuple[SecretVersion, ...] = ()
    image: Image | None = None
    files: tuple[FileEntry, ...] = ()


@dataclass(frozen=True)
class RoleStatus:
    """One role, all its instances together. ``running``: every instance that is wanted runs.

    ``pid`` is that of one that runs, 0 exactly when none does: what must not run twice asks for that. -1:
    none does now, and one will again without being asked. ``addresses`` are host:port of each running
    instance of a role that listens, sorted; ``restarts`` counts unwanted exits. ``hopeless``: waiting will
    not make it ready, as ``detail`` says.
    """

    generation: str
    role: Role
    running: bool
    pid: int = 0
    started: float = 0.0
    addresses: tuple[str, ...] = ()
    restarts: int = 0
    detail: str = ""
    hopeless: bool = False


@runtime_checkable
class Runs(Protocol):
    """Runs generations of a service side by side."""

    def prepare(self, generation: Generation) -> None:
        """Bring the artifact to where it runs, and check it against its digest."""

    def start(self, generation: Generation, roles: Sequence[Role]) -> None:
        """Have ``roles`` of it running; roles already running are left alone. Returns at once."""

    def ready(self, generation: Generation, role: Role) -> RoleStatus:
        """One look: ``running`` means ready (for ``web``: its probe passed); ``detail`` says what is amiss,
        and a pid beside it is one that runs but is not ready.
        """

    def stop(self, generation: str, roles: Sequence[Role]) -> None:
        """Have ``roles`` not running, politely within the grace, then by force; logs and files stay."""

    def status(self) -> tuple[RoleStatus, ...]:
        """Every role of every generation of this unit that is known, as observed now."""


@runtime_checkable
class HasRoom(Protocol):
    """Knows whether a second generation fits beside what runs."""

    def refuse_without_room(self, generation: Generation, roles: Sequence[Role]) -> None:
        """Raises Rejected with what is short, what is wanted and what is free. A need that was not
        declared can't be short; one that is started already needs nothing.
        """


@runtime_checkable
class HasConnections(Protocol):
    """A server that can be asked how many more connections it takes."""

    def free_connections(self) -> int:
        """For this user, now."""


@runtime_checkable
class RemovesGenerations(Protocol):
    """A runtime in which stopped generations take room until they are removed."""

    def remove(self, generation: str) -> None:
        """Remove what is left of a stopped generation. Raises Rejected when a role of it still runs."""


@runtime_checkable
class FindsDrift(Protocol):
    """Compares what is there with how this generation was made."""

    def drift(self, generation: Generation) -> tuple[Drift, ...]:
        """Instances that are missing, stopped, or were made or changed by somebody else."""


@dataclass(frozen=True)
class MigrationScript:
    """A migration with the texts of its scripts; ``digest`` is that of the triple."""

    name: str
    digest: str
    deploy: str
    verify: str
    revert: str


@dataclass(frozen=True)
class Classification:
    """How a migration can be undone, judged by its statements; ``statement`` decided it. ``undoes_rows``: it
    moves data, and its revert undoes that row by row.
    """

    reversibility: Reversibility
    statement: str = ""
    reason: str = ""
    undoes_rows: bool = False


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal on a copy saw. ``old_runs_on_new``: standing verify scripts, and old journeys that
    were tried, passed on the migrated copy, so traffic may go back before the schema does; ``complaint`` is
    what failed. Seconds by migration name.

    ``additive``: nothing of the schema that was there has changed, and old code can write as before; None
    where the driver can't say. ``untried``: why the old journeys prove nothing, empty where all were tried.
    """

    fingerprint_before: str
    fingerprint_after: str
    old_runs_on_new: bool
    deploy_seconds: Mapping[str, float] = field(default_factory=dict)
    revert_seconds: Mapping[str, float] = field(default_factory=dict)
    difference: str = ""
    """Empty when the revert restored the schema exactly; else what stayed different."""
    additive: bool | None = None
    complaint: Message = field(default_factory=lambda: Message(""))
    untried: Message = field(default_factory=lambda: Message(""))


@runtime_checkable
class Migrates(Protocol):
    """Moves the schema of one database; each migration in one transaction with its revision row."""

    def applied(self) -> tuple[tuple[str, str], ...]:
        """(name, digest) of the migrations in the revision table, oldest first."""

    def fingerprint(self) -> str:
        """Digest of the schema, without the revision table's own."""

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Deploy, bring back what an earlier revert of it put aside, verify; a migration already in the
        revision table is left alone.

        Returns rows brought back by place (``orders.gift``, ``gifts``); 0 where none could, empty when
        there was nothing to bring back. Asked again under the same ``key`` it says the same.
        Raises Rejected (script error: cause SCRIPT_ERROR; lock: cause TABLE_LOCK naming the blockers;
        rights: cause PERMISSION); the database is then as before.
        """

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Revert it and remove its row; a migration that is not there is left alone.

        What was written into what it added is put aside in the database first, in the same transaction.
        Returns rows put aside by place, as ``deploy`` does. Raises as ``deploy`` does.
        """

    def rehearse(
        self, snapshot: Snapshot, pending: Sequence[MigrationScript], standing: Sequence[MigrationScript]
    ) -> Rehearsal:
        """On a scratch database loaded from ``snapshot``: deploy ``pending``, run ``standing``'s verify
        scripts, revert, compare. Of ``standing``, oldest first, only those count that pass before anything
        is deployed, and the newest one. Raises Rejected when deploy or revert fails. The scratch database
        is dropped whatever happens.
        """


@runtime_checkable
class Classifies(Protocol):
    """Reads a migration and says how it can be undone. No I/O."""

    def classify(self, migration: MigrationScript) -> Classification: ...


@runtime_checkable
class Snapshots(Protocol):
    """Keeps a database as it was at one exact cut; going back to it is ``restoring.Restores``."""

    def snapshot(self, key: str) -> Snapshot:
        """Take one (or return the one already taken under ``key``)."""

    def prove(self, snapshot: Snapshot) -> Snapshot:
        """Load it into a scratch database, compare fingerprints, drop it; returns it with ``proven_at``."""

    def discard(self, snapshot: Snapshot) -> None: ...


@dataclass(frozen=True)
class Reading:
    """``good`` and ``total`` count since the cursor was begun; ``value`` is a gauge. All empty: no data.

    ``cursor`` replaces the one handed in; it is plain data and survives restarts.
    """

    cursor: Mapping[str, Any]
    good: int = 0
    total: int = 0
    value: float | None = None
    error: str = ""


@runtime_checkable
class Measures(Protocol):
    """Answers signals of this unit."""

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        """A cursor: what comes after this moment counts."""

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        """What was counted since the cursor was begun.

        A target that can't answer is an empty reading with ``error``, never an exception.
        """


@runtime_checkable
class GivesEvidence(Protocol):
    """Hands out what a root-cause analysis will want, before anything is removed."""

    def evidence(self) -> Sequence[EvidenceItem]: ...


class Drivers(Protocol):
    """Finds and builds the driver that a release names; implemented by the composition root."""

    def get(self, unit: UnitId, target: Target) -> object:
        """The driver of ``unit`` for ``target``, built once. Raises InvalidInput when there is none."""

"""A plan: the steps that will run, as data, computed and shown before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from lastgood.domain.digest import digest
from lastgood.domain.message import Message
from lastgood.domain.rehearsal import Rehearsed
from lastgood.domain.unit import UnitId


class Reversibility(str, Enum):
    """Whether and how a step can be undone, known at plan time."""

    NOTHING = "nothing to undo"
    WARM = "warm"
    EXACT = "exact"
    BY_SNAPSHOT = "by snapshot"
    FORWARD_ONLY = "forward only"


class StepKind(str, Enum):
    """What a step does; each kind has one handler, registered before launch."""

    OBSERVE = "observe"
    SNAPSHOT = "snapshot"
    REHEARSE = "rehearse"
    WARM_COPY = "warm_copy"
    PLACE_FILES = "place_files"
    PLACE_ARTIFACT = "place_artifact"
    FETCH_IMAGE = "fetch_image"
    HOLD_IMAGE = "hold_image"
    CHECK_ROOM = "check_room"
    MIGRATE = "migrate"
    REVERT_SCHEMA = "revert_schema"
    CHECK_RESTORE = "check_restore"
    PREPARE_COPY = "prepare_copy"
    CARRY_OVER = "carry_over"
    SWAP_DATABASE = "swap_database"
    END_CAPTURE = "end_capture"
    LOOK_AT_USERS = "look_at_users"
    ABANDON_COPY = "abandon_copy"
    START_GENERATION = "start_generation"
    SPLIT_TRAFFIC = "split_traffic"
    WATCH_CANARY = "watch_canary"
    SHIFT_TRAFFIC = "shift_traffic"
    DRAIN_TRAFFIC = "drain_traffic"
    SWITCH_WORKERS = "switch_workers"
    SWITCH_FILES = "switch_files"
    COLLECT_EVIDENCE = "collect_evidence"
    WATCH = "watch"
    GUARD = "guard"
    VERIFY = "verify"
    KEEP_RESTORE_POINT = "keep_restore_point"
    WRITE_BUNDLE = "write_bundle"
    STOP_GENERATION = "stop_generation"
    PRUNE = "prune"
    ROLL_OUT_WAVE = "roll_out_wave"
    GUARD_WAVES = "guard_waves"
    TAKE_BACK_WAVE = "take_back_wave"


class PlanKind(str, Enum):
    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    HEAL = "heal"
    RESTORE = "restore"


@dataclass(frozen=True)
class Estimate:
    """Seconds, from ``measured`` earlier runs of the same kind of step; None when there are none."""

    seconds: float | None = None
    measured: int = 0


@dataclass(frozen=True)
class Step:
    """One step: ``id`` is unique in its plan, ``params`` is all its handler needs (plain data).

    ``undo`` says in a sentence how it is undone.
    """

    id: str
    kind: StepKind
    title: Message
    params: Mapping[str, Any] = field(default_factory=dict)
    reversibility: Reversibility = Reversibility.NOTHING
    undo: Message = field(default_factory=lambda: Message(""))
    estimate: Estimate = field(default_factory=Estimate)


@dataclass(frozen=True)
class FileDifference:
    """``change`` is added, removed or changed; ``diff`` is a unified diff without secrets."""

    path: str
    change: str
    diff: str = ""


@dataclass(frozen=True)
class Difference:
    """What the move changes, for people; all empty means there is nothing to do."""

    files: tuple[FileDifference, ...] = ()
    artifact: tuple[str, str] | None = None
    image: tuple[str, str] | None = None
    secrets: tuple[str, ...] = ()
    migrations: tuple[str, ...] = ()
    reverts: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.files
            or self.artifact
            or self.image
            or self.secrets
            or self.migrations
            or self.reverts
            or self.settings
        )


@dataclass(frozen=True)
class Plan:
    """From ``base`` to ``target`` (release digests; base empty when nothing was ever there).

    ``way_back`` is the program that runs when a step fails or the gate breaks: its order is decided
    here (law 14), not at 3 a.m. ``notes`` are sentences the reader must see before approving.
    """

    kind: PlanKind
    unit: UnitId
    base: str
    target: str
    commit: str
    steps: tuple[Step, ...]
    way_back: tuple[Step, ...] = ()
    difference: Difference = field(default_factory=Difference)
    notes: tuple[Message, ...] = ()
    resources: tuple[str, ...] = ()
    automatic: bool = True
    """Whether a broken gate goes back by itself, or waits for a person (R14)."""
    rehearsed: tuple[Rehearsed, ...] = ()
    """What rehearsals of its migrations showed before it was made."""
    stops: tuple[UnitId, ...] = ()
    """Other units that it stops and starts again, because they use a database that it moves."""

    @cached_property
    def digest(self) -> str:
        """Binds an approval: changes when a step or a target does, not when an estimate does."""
        steps = [(s.id, s.kind, s.params) for s in (*self.steps, *self.way_back)]
        return digest((self.kind, self.unit, self.base, self.target, self.resources, steps))

    @property
    def seconds(self) -> float | None:
        """The estimate of all steps, None when any is unknown."""
        known = [s.estimate.seconds for s in self.steps]
        return None if any(k is None for k in known) else sum(k for k in known if k is not None)

"""States there is a way back to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from lastgood.domain.criterion import GateResult
from lastgood.domain.digest import LATER
from lastgood.domain.unit import UnitId


class PointKind(str, Enum):
    """``accepted``: a person said so; a baseline was only observed; ``renewed``: a good state with newer
    secrets that was not measured since. None of them is called verified good.
    """

    VERIFIED = "verified"
    ACCEPTED = "accepted"
    BASELINE = "baseline"
    RENEWED = "renewed"


@dataclass(frozen=True)
class RestorePoint:
    """``release`` is the digest of a release whose whole content is kept here.

    ``renews``: the point whose state this is, with newer versions of secrets. ``pruned_at``: no way back
    since then. ``cleared_at``: what only it needed is gone since then.
    """

    id: str
    unit: UnitId
    release: str
    kind: PointKind
    created_at: datetime
    rollout: str = ""
    gate: GateResult | None = None
    snapshots: tuple[str, ...] = field(default_factory=tuple)
    pruned_at: datetime | None = field(default=None, metadata=LATER)
    cleared_at: datetime | None = field(default=None, metadata=LATER)
    renews: str = field(default="", metadata=LATER)


@dataclass(frozen=True)
class Snapshot:
    """A database as it was at one exact cut, kept as a file.

    ``cut`` is the server's log position, ``fingerprint`` that of the schema at the cut. ``expires``: it is
    discarded by itself once it is as old as the resource says; one that was taken on the way back may hold
    what is nowhere else, and only a person discards it.
    """

    id: str
    resource: str
    path: str
    cut: str
    fingerprint: str
    created_at: datetime
    size: int = 0
    server_version: str = ""
    proven_at: datetime | None = None
    expires: bool = field(default=False, metadata=LATER)
    discarded_at: datetime | None = field(default=None, metadata=LATER)

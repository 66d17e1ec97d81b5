"""What was seen when a way back was proven while nothing was wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lastgood.domain.message import Message
from lastgood.domain.secret import Replacement
from lastgood.domain.unit import UnitId


@dataclass(frozen=True)
class DatabaseProof:
    """The newest snapshot of one resource, loaded and compared.

    ``snapshot`` is empty when none is kept yet, which is no failure. ``proven_at`` is that of this proof,
    None when it failed: then ``error`` says why. ``seconds`` is the time that the proof took.
    """

    resource: str
    snapshot: str = ""
    size: int = 0
    taken_at: datetime | None = None
    proven_at: datetime | None = None
    seconds: float = 0.0
    error: Message | None = None


@dataclass(frozen=True)
class ImageProof:
    """The image of one release, read whole, and mended where that was possible.

    ``lacked`` counts the blobs that were missing from our archive or damaged there, ``fetched`` the bytes
    that mended it; ``kept``: it is whole there now; ``held``: the engine has it and protects it. ``errors``
    say what could not be mended.
    """

    image: str
    digest: str
    kept: bool
    held: bool
    lacked: int = 0
    fetched: int = 0
    seconds: float = 0.0
    errors: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Proof:
    """Of the restore point ``point``, whose release is ``release``; ``current`` is where the unit is.

    ``missing`` and ``missing_current``: digests and secret versions that are not kept here, or damaged.
    ``renewed``: by restore point of the unit, what of its secrets was revoked, and with what it would come
    back instead; ``bundles`` are directories of restore bundles that still hold what was revoked.
    """

    unit: UnitId
    point: str
    kind: str
    release: str
    current: str
    missing: tuple[str, ...]
    missing_current: tuple[str, ...]
    databases: tuple[DatabaseProof, ...]
    observed_at: datetime
    images: tuple[ImageProof, ...] = ()
    renewed: Mapping[str, tuple[Replacement, ...]] = field(default_factory=dict)
    bundles: tuple[str, ...] = ()

    @property
    def lacking(self) -> tuple[Replacement, ...]:
        """Revoked secrets of the way back for which no valid version is here."""
        return tuple(one for one in self.renewed.get(self.point, ()) if not one.new)

    @property
    def good(self) -> bool:
        """Everything that was looked at is whole."""
        failed = any(database.error for database in self.databases) or any(i.errors for i in self.images)
        return not (self.missing or self.missing_current or self.lacking or failed)

"""What a rehearsal on a copy showed, as it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from lastgood.domain.digest import LATER
from lastgood.domain.message import Message


class OldCode(str, Enum):
    """Whether the old release's code runs on the new schema, and how that is known.

    ``proven``: its verify scripts and its write journey passed on the migrated copy. ``additive``: no journey
    said so, but nothing that was there has changed. ``verified``: its verify scripts passed, and the driver
    can't say more. ``unproven``: no journey, and more than additions. ``breaks``: it was tried, and failed.
    """

    PROVEN = "proven"
    ADDITIVE = "additive"
    VERIFIED = "verified"
    UNPROVEN = "unproven"
    BREAKS = "breaks"

    @property
    def runs(self) -> bool:
        return self not in (OldCode.UNPROVEN, OldCode.BREAKS)


@dataclass(frozen=True)
class Rehearsed:
    """A rehearsal of ``pending`` (names, oldest first) on a copy of ``resource``, done at ``at``.

    ``key`` is the digest of all that it depends on: ``fingerprint`` (of the live schema), migrations,
    journeys and ``sample`` (rows of each table at most that the copy had; 0: the whole database). ``reason``
    says what ``old`` rests on where that is not plain. Seconds by migration; ``seconds`` of all, with making
    the copy. ``copied_at``: when the snapshot was taken that it was loaded from, None for the live database.
    """

    key: str
    resource: str
    fingerprint: str
    pending: tuple[str, ...]
    old: OldCode
    reason: Message
    sample: int
    at: datetime
    deploy_seconds: Mapping[str, float] = field(default_factory=dict)
    revert_seconds: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    copied_at: datetime | None = field(default=None, metadata=LATER)

"""What failed and is set aside: never deployed again, on no unit, until somebody lifts it (law 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from lastgood.domain.digest import LATER
from lastgood.domain.message import Message
from lastgood.domain.release import Release


class QuarantineKind(str, Enum):
    """What is set aside. A release is that of one unit; a commit is that of one service; a database is the
    one that failed, under the name it has now.
    """

    IMAGE = "image"
    ARTIFACT = "artifact"
    RELEASE = "release"
    COMMIT = "commit"
    DATABASE = "database"


@dataclass(frozen=True)
class Quarantine:
    """One thing set aside. ``name`` is its digest, or a commit; then ``service`` says whose. Or a database;
    then ``resource`` says which it was, and ``until`` to when it is kept at least.

    ``unit`` and ``incident`` say where it failed, empty when a person set it aside.
    """

    id: str
    kind: QuarantineKind
    name: str
    reason: Message
    by: str
    at: datetime
    service: str = ""
    unit: str = ""
    incident: str = ""
    lifted_at: datetime | None = None
    lifted_by: str = ""
    lifted_reason: str = ""
    resource: str = field(default="", metadata=LATER)
    until: datetime | None = field(default=None, metadata=LATER)

    def holds(self, release: Release) -> bool:
        """Whether ``release`` would bring back what is set aside."""
        return (self.kind, self.name, self.service) in _parts(release)


def first_holding(quarantines: Iterable[Quarantine], release: Release) -> Quarantine | None:
    """The first that refuses ``release``, None when nothing does."""
    return next((q for q in quarantines if q.holds(release)), None)


def set_aside(
    failed: Release, base: Release, *, rollout: str, reason: Message, incident: str, at: datetime
) -> tuple[Quarantine, ...]:
    """What the failure of ``failed`` sets aside: the release itself, and all of it that was not running well
    in ``base`` before.
    """
    old = set(_parts(base))
    unit = str(failed.unit)
    return tuple(
        Quarantine(f"q-{rollout}-{kind.value}", kind, name, reason, "lastgood", at, service, unit, incident)
        for kind, name, service in _names(failed)
        if (kind, name, service) not in old
    )


def _names(release: Release) -> Iterator[tuple[QuarantineKind, str, str]]:
    """What a release is set aside by, each once; an image by the manifest that runs, whatever its tag."""
    if release.image:
        yield QuarantineKind.IMAGE, release.image.manifest, ""
    if release.artifact:
        yield QuarantineKind.ARTIFACT, release.artifact.digest, ""
    yield QuarantineKind.RELEASE, release.digest, ""
    if release.commit:
        yield QuarantineKind.COMMIT, release.commit, release.unit.service


def _parts(release: Release) -> Iterator[tuple[QuarantineKind, str, str]]:
    """Every name under which something in a release may have been set aside."""
    yield from _names(release)
    if release.image:
        yield QuarantineKind.IMAGE, release.image.digest, ""
        yield QuarantineKind.IMAGE, release.image.config, ""

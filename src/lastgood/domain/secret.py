"""Versions of secrets: given to units, revoked, and what a revoked one is replaced with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from lastgood.domain.message import Message
from lastgood.domain.release import SecretVersion
from lastgood.domain.unit import UnitId

SHOWN = 8
"""Digits of a version that people see."""


@dataclass(frozen=True)
class Sealing:
    """``unit`` was given a version: by a deploy that was accepted, or ``renewed`` by hand."""

    secret: SecretVersion
    unit: UnitId
    at: datetime
    by: str
    renewed: bool = False


@dataclass(frozen=True)
class Revocation:
    """From ``at`` on nothing goes back to this version, on no unit. It is not lifted: a new value has a new
    version.
    """

    secret: SecretVersion
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True)
class Replacement:
    """``new`` takes the place of the revoked version; empty where no valid one is kept here."""

    revocation: Revocation
    new: str

    @property
    def name(self) -> str:
        return self.revocation.secret.name

    @property
    def old(self) -> str:
        return self.revocation.secret.version


@dataclass(frozen=True)
class VersionStatus:
    """One version as it is known here. ``units`` run with it now, ``points`` are restore points that were
    kept with it, ``newest_for`` units would go back with it, ``bundles`` are directories that hold it.
    """

    secret: SecretVersion
    sealed_at: datetime
    units: tuple[UnitId, ...] = ()
    points: tuple[str, ...] = ()
    newest_for: tuple[UnitId, ...] = ()
    bundles: tuple[str, ...] = ()
    revocation: Revocation | None = None


@dataclass(frozen=True)
class BundleLeft:
    """A restore bundle that still holds a revoked version, and why it could not be written anew."""

    unit: UnitId
    directory: str
    why: Message


@dataclass(frozen=True)
class Revoked:
    """What came of revoking. ``known``: those of ``revocations`` that were revoked before. ``running`` units
    run with one of them still; ``without`` have no valid version to go back with.
    """

    name: str
    revocations: tuple[Revocation, ...]
    known: tuple[str, ...] = ()
    running: tuple[UnitId, ...] = ()
    without: tuple[UnitId, ...] = ()
    bundles: tuple[str, ...] = ()
    bundles_left: tuple[BundleLeft, ...] = ()


@dataclass(frozen=True)
class Renewed:
    """``secret`` is the newest valid version for ``units`` now; ``known``: it was before."""

    secret: SecretVersion
    units: tuple[UnitId, ...]
    known: bool = False
    replaces: tuple[str, ...] = field(default=())


def shown(version: str) -> str:
    """The first digits, for people."""
    return version[:SHOWN]

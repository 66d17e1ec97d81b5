"""What a driver says of a migration before anything is deployed, from its scripts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from lastgood.domain.finding import Finding
from lastgood.ports.drivers import Classification, MigrationScript


@dataclass(frozen=True)
class Review:
    """``line`` of deploy.sql is where the statement that decided the class begins; 0: none did."""

    migration: str
    classification: Classification
    line: int = 0
    findings: tuple[Finding, ...] = field(default=())


@runtime_checkable
class Reviews(Protocol):
    """Reads migrations as their author would have them read. No I/O.

    The module of a driver's factory may have it as a function: ``lint`` has no settings to build one from.
    """

    def review(self, migrations: Sequence[MigrationScript]) -> Sequence[Review]:
        """One review for each, in their order. All migrations of the database, oldest first: what an earlier
        one made is known to a later one.
        """


class Reviewers(Protocol):
    """Finds who reviews for a driver; implemented by the composition root."""

    def of(self, driver: str) -> Reviews | None:
        """None: it is not installed, or does not review."""


@dataclass(frozen=True)
class Reviewed:
    """A migration of the estate; ``path`` is that of its deploy.sql. Without ``review``: nobody could."""

    database: str
    driver: str
    migration: str
    digest: str
    path: str
    review: Review | None
    deployed: bool = False
    """Some unit is on a release that has it: its scripts are not edited any more."""

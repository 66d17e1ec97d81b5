"""Rehearsing with what code writes: an ability beside ``drivers.Migrates``, for drivers that make copies.

A driver without it rehearses in the rollout, by ``Migrates.rehearse``, and journeys are not tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lastgood.domain.restore_point import Snapshot
from lastgood.ports.drivers import MigrationScript, Rehearsal


@dataclass(frozen=True)
class Journey:
    """A script that writes rows as the code of a release does; ``whose`` names the release for people."""

    whose: str
    script: str


@dataclass(frozen=True)
class Journeys:
    """``new`` is that of the release that brings the migrations, None without one; ``old`` those of the
    releases that use the database now.
    """

    new: Journey | None = None
    old: tuple[Journey, ...] = ()


@runtime_checkable
class RehearsesWrites(Protocol):
    """Tries migrations on a copy that nobody else uses, with the rows that old and new code write."""

    def sample_rows(self) -> int:
        """How many rows of each table a copy has at most, because the database is large; 0: all of them."""

    def rehearse_writes(
        self,
        source: Snapshot | None,
        pending: Sequence[MigrationScript],
        standing: Sequence[MigrationScript],
        journeys: Journeys,
    ) -> Rehearsal:
        """On a scratch database: try that ``journeys.old`` can be repeated; deploy ``pending``; write with
        ``journeys.new``; run ``standing``'s verify scripts and ``journeys.old``; revert, compare.

        The copy is loaded from ``source``, or where that is None made for this alone, of ``sample_rows`` of
        each table. Raises Rejected when deploy, revert or the new journey fails. What it made is dropped
        whatever happens; what a killed one left is dropped by the next.
        """

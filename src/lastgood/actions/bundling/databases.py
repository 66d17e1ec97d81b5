"""The databases of a restore bundle: which snapshot goes into it, and which scripts."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from lastgood.actions.abilities import database_target, migrates_of, snapshots_of
from lastgood.actions.reviewing import script_of
from lastgood.domain.errors import DriverError, InvalidInput, NotReversible, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, Migration, Release
from lastgood.domain.restore_point import RestorePoint, Snapshot
from lastgood.ports.bundles import DUMP, BundlesDatabases, DatabasePart
from lastgood.ports.clock import Clock
from lastgood.ports.content import Objects
from lastgood.ports.drivers import Drivers, MigrationScript
from lastgood.ports.persistence import Store, UnitOfWork

RECENT = timedelta(days=1)
RESERVE = 64 << 20
"""Bytes that stay free on the disk that bundles are written to."""


@dataclass(frozen=True)
class BundledDatabase:
    """``directory``: where it is in the bundle."""

    resource: str
    part: DatabasePart

    @property
    def directory(self) -> str:
        slug = re.sub(r"[^a-z0-9]+", "-", self.resource.lower()).strip("-")
        return f"databases/{slug}-{hashlib.sha256(self.resource.encode()).hexdigest()[:6]}"

    def place(self, bundle: Path) -> None:
        """Its files, and their digests beside them: the directory may be carried away alone. Raises OSError,
        DriverError.
        """
        place = bundle / self.directory
        for path, content in self.part.files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        (place / "restore.sh").chmod(0o700)
        self.part.copy(place / DUMP)
        sums = ""
        for file in sorted(path for path in place.rglob("*") if path.is_file()):
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            sums += f"{digest}  {file.relative_to(place)}\n"
        (place / "SHA256SUMS").write_text(sums)


def bundled_databases(
    store: Store, drivers: Drivers, objects: Objects, clock: Clock, release: Release, point: RestorePoint
) -> tuple[BundledDatabase, ...]:
    """Of each database of ``release`` that can be taken back by hand: a snapshot of exactly its schema and at
    most a day old; else one that is taken now, where the live database has that schema; else the newest that
    has no migration beyond the release's.

    Raises NotReversible when there is none at all, and what taking one raises.
    """
    found = []
    for database in release.databases:
        driver = drivers.get(release.unit, database_target(release, database))
        if isinstance(driver, BundlesDatabases):
            with store.read() as unit:
                back = [script_of(objects, m) for m in reversed(_known(unit, database))]
            choice = _Choice(store, drivers, objects, clock, release, database, driver)
            found.append(BundledDatabase(database.resource, choice.part(point, back)))
    return tuple(found)


@dataclass(frozen=True)
class _Choice:
    """Of the snapshot of one database."""

    store: Store
    drivers: Drivers
    objects: Objects
    clock: Clock
    release: Release
    database: DatabaseTarget
    driver: BundlesDatabases

    def part(self, point: RestorePoint, back: Sequence[MigrationScript]) -> DatabasePart:
        with self.store.read() as unit:
            kept = unit.points.snapshots(self.database.resource)
        for snapshot in self._in_order(point, kept):
            # One that is damaged is as good as none.
            with contextlib.suppress(Rejected):
                forward = self._forward(snapshot)
                if forward is not None:
                    scripts = [script_of(self.objects, migration) for migration in forward]
                    return self.driver.bundle_database(snapshot, scripts, back)
        raise NotReversible(
            N_("there is no snapshot of {resource} from before it came to its present schema"),
            todo=N_("Bundle the restore point on which the unit is now."),
            where=self.database.resource,
            resource=self.database.resource,
        )

    def _in_order(self, point: RestorePoint, kept: Sequence[Snapshot]) -> Iterator[Snapshot]:
        fresh = [s for s in kept if self.clock.now() - s.created_at < RECENT and self._has_all(s)]
        yield from fresh
        # A server that does not answer can still be taken back to what is kept of it.
        with contextlib.suppress(Unreachable):
            migrates = migrates_of(self.drivers, self.release, self.database)
            if [name for name, _ in migrates.applied()] == [m.name for m in self.database.migrations]:
                yield self._take(point)
        yield from kept

    def _take(self, point: RestorePoint) -> Snapshot:
        key = f"bundle:{point.id}:{self.clock.now():%Y%m%d}"
        taken = replace(snapshots_of(self.drivers, self.release, self.database).snapshot(key), expires=True)
        with self.store.write() as unit:
            unit.points.add_snapshot(taken)
        return taken

    def _has_all(self, snapshot: Snapshot) -> bool:
        with contextlib.suppress(Rejected):
            return self._forward(snapshot) == ()
        return False

    def _forward(self, snapshot: Snapshot) -> tuple[Migration, ...] | None:
        """What is deployed on a copy to be where the release is; None: it is beyond that."""
        has, wanted = self.driver.snapshot_migrations(snapshot), self.database.migrations
        return wanted[len(has) :] if has == tuple(m.name for m in wanted[: len(has)]) else None


def _known(unit: UnitOfWork, database: DatabaseTarget) -> tuple[Migration, ...]:
    """All that the live database may have had, oldest first: those of whoever is on it or on the way."""
    digests = [unit.releases.current(known) for known in unit.releases.units()]
    digests += [digest for rollout in unit.rollouts.open() for digest in (rollout.base, rollout.target)]
    releases = [unit.releases.get(digest) for digest in dict.fromkeys(digests) if digest]
    others = [one.migrations for r in releases if (one := r.database(database.resource))]
    longest = sorted([database.migrations, *others], key=len, reverse=True)
    return tuple({m.name: m for migrations in longest for m in migrations}.values())


def refuse_elsewhere(databases: Sequence[BundledDatabase], to: Path) -> None:
    """Raises InvalidInput where the copy of a database would leave the place it is declared for."""
    for database in databases:
        resident = database.part.resident
        if resident is not None and not to.resolve().is_relative_to(resident.resolve()):
            raise InvalidInput(
                N_("copies of {resource} must not leave {resident}, and {path} lies outside of it"),
                todo=N_("Write the bundle below {resident}; the dump is sealed there as well."),
                where=str(to),
                resource=database.resource,
                resident=str(resident),
                path=str(to),
            )


def refuse_without_room(databases: Sequence[BundledDatabase], to: Path) -> None:
    """A dump on the same file system is linked to and takes no room. Raises DriverError, OSError."""
    there = to.stat().st_dev
    need = sum(d.part.size for d in databases if d.part.dump.stat().st_dev != there)
    free = shutil.disk_usage(to).free
    if need and free < need + RESERVE:
        raise DriverError(
            N_("the dumps of a restore bundle need {need} MiB, and {free} MiB are free in {path}"),
            todo=N_("Free space there, or name another directory; nothing was written."),
            where=str(to),
            need=(need + RESERVE) >> 20,
            free=free >> 20,
            path=str(to),
        )

"""A database at one exact cut: a copy of its file, sealed, and notes beside it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.sqlite import contents, copying, revisions
from lastgood.drivers.sqlite.connection import Store, one, size
from lastgood.drivers.sqlite.fingerprint import read_listing
from lastgood.drivers.sqlite.scratch import alone, scratch
from lastgood.ports.content import Vault
from lastgood.sql.keeping import Cut, Keeper
from lastgood.sql.listing import fingerprint
from lastgood.sql.sealing import sealing

_PIECE = 1 << 20
PATIENCE = 3600.0
"""Seconds to wait for another one that takes or restores the same snapshot."""


@dataclass(frozen=True)
class Snapshotter(Keeper):
    """Keeps snapshots of the database of ``store`` in ``directory``, sealed by ``seals``; ``locks`` has our
    own locks, ``scratch`` copies in clear while they are used.
    """

    store: Store
    directory: Path
    locks: Path
    scratch: Path
    seals: Vault

    @property
    def resource(self) -> str:
        return self.store.settings.resource

    @property
    def address(self) -> str:
        return self.store.spot.address

    @property
    def vault(self) -> Vault:
        return self.seals

    @property
    def resident(self) -> Path | None:
        return self.store.settings.resident

    def snapshot(self, key: str) -> Snapshot:
        """Take one, or return the one taken under ``key``. Source of ``Snapshots.snapshot``."""
        name = self.name(key)
        known = self.known(name)
        if known is None:
            with self._ready(name):
                known = self.known(name) or self._take(name)
        return known.snapshot

    def prove(self, snapshot: Snapshot) -> Snapshot:
        """Open it, read every page, and compare schema and row counts with what was seen at the cut."""
        cut = self.cut_of(snapshot)
        with self.opened(snapshot) as copy, copy.session(only_read=True) as connection:
            wrong = one(connection, "PRAGMA integrity_check(1)")
            if wrong != "ok":
                raise Rejected(
                    N_("snapshot {name} does not load as it was: {difference}"),
                    todo=N_("Take a new snapshot; don't rely on this one."),
                    where=self.address,
                    name=snapshot.id,
                    difference=wrong,
                )
            found = read_listing(connection)
            counted = contents.counts(connection, contents.tables(connection))
        return replace(snapshot, proven_at=self.compare(cut, found, counted).proven_at)

    def refuse_without_room(self, folder: Path) -> None:
        """For a copy in ``folder``. Raises Rejected."""
        with self.store.session() as connection:
            replace(self, directory=folder).check_space(size(connection))

    @contextlib.contextmanager
    def opened(self, snapshot: Snapshot) -> Iterator[Store]:
        """Its content, checked, as a database that nobody writes to. Raises Rejected."""
        self.cut_of(snapshot)
        dump = self.dump_of(snapshot)
        if not dump.sealed:
            yield self.store.at(dump.path)
            return
        with scratch(self.scratch) as folder:
            self.refuse_without_room(folder)
            path = folder / "snapshot.db"
            path.touch(mode=0o600)
            with dump.opened() as source, path.open("wb") as to:
                shutil.copyfileobj(source, to, _PIECE)
            yield self.store.at(path)

    @contextlib.contextmanager
    def _ready(self, name: str) -> Iterator[None]:
        with self.files(), alone(self.locks / f"{name}.lock", self.store.spot, PATIENCE):
            self.make_directory()
            yield

    def _take(self, name: str) -> Cut:
        self.refuse_without_room(self.directory)
        for stale in self.directory.glob(f"{name}.*.tmp*"):
            stale.unlink(missing_ok=True)
        temporary = self.directory / f"{name}.{secrets.token_hex(4)}.tmp"
        try:
            cut = self._copy(name, temporary)
            temporary.rename(self._dump(name))
            cut.write(self._notes(name))
        finally:
            copying.remove(temporary)
        return cut

    def _copy(self, name: str, path: Path) -> Cut:
        before = datetime.now(UTC)
        with scratch(self.scratch) as folder:
            clear = folder / "copy.db"
            copying.save(self.store, clear)
            with self.store.at(clear).session(only_read=True) as connection:
                listing = read_listing(connection)
                counted = contents.counts(connection, contents.tables(connection))
                deployed = tuple((r.name, r.digest) for r in revisions.read(connection))
            with clear.open("rb") as source, sealing(self.vault, path) as (to, written):
                shutil.copyfileobj(source, to, _PIECE)
        snapshot = Snapshot(
            id=name,
            resource=self.resource,
            path=str(self._dump(name)),
            cut=f"time:{before.isoformat()}",
            fingerprint=fingerprint(listing),
            created_at=datetime.now(UTC),
            size=written.size,
            server_version=f"SQLite {sqlite3.sqlite_version}",
        )
        return Cut(snapshot, written.digest, listing, counted, deployed)

"""A database at one exact cut, as a file that can be proven."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from lastgood.domain.digest import plain
from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.postgresql import binaries, contents, revisions
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.fingerprint import (
    Listing,
    difference,
    fingerprint,
    from_plain,
    read_listing,
    to_plain,
)
from lastgood.drivers.postgresql.locks import describe, holders
from lastgood.drivers.postgresql.scratch import scratch

RESERVE = 64 << 20
"""Bytes that stay free on our disk whatever we keep."""


@dataclass(frozen=True)
class Cut:
    """What was seen at the cut, kept beside the dump: ``digest`` is the dump file's."""

    snapshot: Snapshot
    digest: str
    listing: Listing
    rows: Mapping[str, int]
    revisions: tuple[tuple[str, str], ...]

    def write(self, path: Path) -> None:
        text = json.dumps(
            {
                "snapshot": plain(self.snapshot),
                "digest": self.digest,
                "rows": dict(self.rows),
                "revisions": self.revisions,
                "listing": to_plain(self.listing),
            }
        )
        write_durably(path, text.encode())

    @classmethod
    def load(cls, path: Path) -> Cut | None:
        """None when there is none, or one that can't be read."""
        try:
            kept: dict[str, Any] = json.loads(path.read_text())
            times = {
                k: datetime.fromisoformat(v) if v else None
                for k, v in kept["snapshot"].items()
                if k in ("created_at", "proven_at")
            }
            return cls(
                Snapshot(**{**kept["snapshot"], **times}),
                kept["digest"],
                from_plain(kept["listing"]),
                kept["rows"],
                tuple((name, digest) for name, digest in kept["revisions"]),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class Moment:
    """A state to be taken: its log position, and the name under which a session of the server exports it.
    ``keep`` is called when the dump is whole, before it counts as a snapshot.
    """

    position: str
    exported: str
    keep: Callable[[], None]


@dataclass(frozen=True)
class Snapshotter:
    """Keeps snapshots of the database of ``server`` in ``directory``."""

    server: Server
    directory: Path

    def snapshot(self, key: str) -> Snapshot:
        """Take one, or return the one taken under ``key``. Source of ``Snapshots.snapshot``."""
        name = self.name(key)
        known = self.known(name)
        if known is not None:
            return known.snapshot
        with self._ready(name) as connection:
            known = self.known(name)
            return known.snapshot if known is not None else self._take(connection, name, None)

    def retake(self, key: str, moment: Moment) -> Snapshot:
        """One of exactly ``moment`` under ``key``, instead of one that is there."""
        name = self.name(key)
        with self._ready(name) as connection:
            return self._take(connection, name, moment)

    @contextlib.contextmanager
    def _ready(self, name: str) -> Iterator[Connection]:
        with self._files(), self.server.session() as connection:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The server forgets this lock when we die; a second caller waits and then finds the file.
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
            yield connection

    def prove(self, snapshot: Snapshot) -> Snapshot:
        """Load it into a scratch database and compare schema and row counts with what was seen at the cut."""
        cut, tools = self.cut_of(snapshot), self.tools()
        with (
            scratch(self.server, self.dump_of(snapshot), tools) as copy,
            copy.reading(statement_timeout=0) as connection,
        ):
            found = read_listing(connection)
            contents.whole_rows(connection)
            rows = contents.counts(connection, contents.tables(connection))
        wrong = difference(cut.listing, found) or _count_difference(cut.rows, rows)
        if wrong:
            raise Rejected(
                N_("snapshot {name} does not load as it was: {difference}"),
                todo=N_("Take a new snapshot; don't rely on this one."),
                where=self.server.spot.address,
                name=snapshot.id,
                difference=wrong,
            )
        proven = replace(cut.snapshot, proven_at=datetime.now(UTC))
        with self._files():
            replace(cut, snapshot=proven).write(self._notes(snapshot.id))
        return replace(snapshot, proven_at=proven.proven_at)

    def discard(self, snapshot: Snapshot) -> None:
        """Notes first: without them nobody takes the dump for a snapshot."""
        with self._files():
            self._notes(snapshot.id).unlink(missing_ok=True)
            self._dump(snapshot.id).unlink(missing_ok=True)

    def known(self, name: str) -> Cut | None:
        """The complete snapshot of that name."""
        with self._files():
            cut = Cut.load(self._notes(name))
            dump = self._dump(name)
            if cut is None or not dump.is_file() or dump.stat().st_size != cut.snapshot.size:
                return None
            return cut

    def cut_of(self, snapshot: Snapshot) -> Cut:
        """Raises Rejected when the files are missing or their content is not what was written."""
        cut = self.known(snapshot.id)
        if cut is None or file_digest(self._dump(snapshot.id)) != cut.digest:
            raise Rejected(
                N_("the files of snapshot {name} are missing or damaged: {path}"),
                todo=N_("Take a new snapshot."),
                where=str(self._dump(snapshot.id)),
                cause=Cause.WRONG_PATH,
                name=snapshot.id,
                path=str(self._dump(snapshot.id)),
            )
        return cut

    def ids(self) -> Iterator[str]:
        """Of all snapshots that were ever noted here and not discarded."""
        with self._files():
            yield from (path.stem for path in self.directory.glob("*.json"))

    def dump_of(self, snapshot: Snapshot) -> Path:
        return self._dump(snapshot.id)

    def tools(self) -> binaries.Binaries:
        with self.server.session() as connection:
            return binaries.find(self.server, connection.info.server_version // 10000)

    def _take(self, connection: Connection, name: str, moment: Moment | None) -> Snapshot:
        tools = binaries.find(self.server, connection.info.server_version // 10000)
        self._check_space(connection)
        # Asked before the snapshot is taken: what is written after this position may be missing in it.
        position = str(one(connection, "SELECT pg_current_wal_lsn()::text"))
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if moment is not None:
            position = moment.position
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(moment.exported)))
        connection.execute(self.server.guards(statement_timeout=0))
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        exported = str(one(connection, "SELECT pg_export_snapshot()"))
        listing = read_listing(connection)
        contents.whole_rows(connection)
        rows = contents.counts(connection, contents.tables(connection))
        deployed = tuple((r.name, r.digest) for r in revisions.read(connection))
        for stale in self.directory.glob(f"{name}.*.tmp"):
            stale.unlink(missing_ok=True)
        temporary = self.directory / f"{name}.{secrets.token_hex(4)}.tmp"
        try:
            temporary.touch(mode=0o600)
            self._dump_to(temporary, exported, tools)
            connection.execute("ROLLBACK")
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            snapshot = Snapshot(
                id=name,
                resource=self.server.settings.resource,
                path=str(self._dump(name)),
                cut=position,
                fingerprint=fingerprint(listing),
                created_at=datetime.now(UTC),
                size=temporary.stat().st_size,
                server_version=str(one(connection, "SELECT current_setting('server_version')")),
            )
            cut = Cut(snapshot, file_digest(temporary), listing, rows, deployed)
            if moment is not None:
                # Files and slot are of one moment, or nobody takes them for a snapshot.
                self._notes(name).unlink(missing_ok=True)
                moment.keep()
            temporary.rename(self._dump(name))
            cut.write(self._notes(name))
        finally:
            temporary.unlink(missing_ok=True)
        return snapshot

    def _dump_to(self, path: Path, exported: str, tools: binaries.Binaries) -> None:
        wait = round(self.server.settings.lock_timeout * 1000)
        arguments = ["--format=custom", "--compress=1", f"--snapshot={exported}", f"--file={path}"]
        try:
            tools.run("pg_dump", [*arguments, f"--lock-wait-timeout={wait}"], self.server)
        except Rejected as error:
            if error.cause is not Cause.TABLE_LOCK:
                raise
            with self.server.session() as another:
                names = describe(holders(another))
            raise Rejected(
                N_("the snapshot of {address} waits for a table locked by another session: {blockers}"),
                todo=N_("Wait for that session to finish, or end it, then try again."),
                where=self.server.spot.address,
                cause=Cause.TABLE_LOCK,
                address=self.server.spot.address,
                blockers=names or str(error),
            ) from None

    def _check_space(self, connection: Connection) -> None:
        """A dump is smaller than its database, so its size is a bound that holds."""
        need = int(one(connection, "SELECT pg_database_size(current_database())")) + RESERVE
        free = shutil.disk_usage(self.directory).free
        if free < need:
            raise Rejected(
                N_("a snapshot of {address} may need {need} MiB, and {free} MiB are free in {path}"),
                todo=N_("Free space there, then try again; nothing was written."),
                where=str(self.directory),
                address=self.server.spot.address,
                need=need >> 20,
                free=free >> 20,
                path=str(self.directory),
            )

    @contextlib.contextmanager
    def _files(self) -> Iterator[None]:
        """Our own disk may be full or closed to us as well."""
        try:
            yield
        except OSError as error:
            raise Rejected(
                N_("the snapshots in {path} can't be read or written: {error}"),
                todo=N_("Give it space and the rights there, then try again."),
                where=str(self.directory),
                cause=Cause.PERMISSION if isinstance(error, PermissionError) else None,
                path=str(self.directory),
                error=error.strerror or str(error),
            ) from None

    def name(self, key: str) -> str:
        """The id of the snapshot taken under ``key``."""
        resource = self.server.settings.resource
        slug = re.sub(r"[^a-z0-9]+", "-", resource.lower()).strip("-")[:60]
        identity = "\0".join((resource, key))
        return f"{slug}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def _dump(self, name: str) -> Path:
        return self.directory / f"{Path(name).name}.dump"

    def _notes(self, name: str) -> Path:
        return self.directory / f"{Path(name).name}.json"


def _count_difference(wanted: Mapping[str, int], found: Mapping[str, int]) -> str:
    lines = [
        f"table {name.removeprefix('public.')} has {found.get(name, 0)} rows, not {wanted.get(name, 0)}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name, 0) != found.get(name, 0)
    ]
    return "\n".join(lines)


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Temp name, fsync, rename, fsync of the directory; readable by us alone."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

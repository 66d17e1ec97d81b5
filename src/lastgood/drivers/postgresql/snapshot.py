"""A database at one exact cut, as a file that can be proven."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from psycopg import sql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.postgresql import binaries, contents, revisions
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.fingerprint import (
    fingerprint,
    read_listing,
)
from lastgood.drivers.postgresql.locks import holders
from lastgood.drivers.postgresql.scratch import scratch
from lastgood.ports.content import Vault
from lastgood.sql.blockers import describe
from lastgood.sql.keeping import Cut, Keeper
from lastgood.sql.sealing import Written, sealing


@dataclass(frozen=True)
class Moment:
    """A state to be taken: its log position, and the name under which a session of the server exports it.
    ``keep`` is called when the dump is whole, before it counts as a snapshot.
    """

    position: str
    exported: str
    keep: Callable[[], None]


@dataclass(frozen=True)
class Snapshotter(Keeper):
    """Keeps snapshots of the database of ``server`` in ``directory``."""

    server: Server
    directory: Path

    @property
    def resource(self) -> str:
        return self.server.settings.resource

    @property
    def address(self) -> str:
        return self.server.spot.address

    @property
    def vault(self) -> Vault:
        return self.server.vault

    @property
    def resident(self) -> Path | None:
        return self.server.settings.resident

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
        with self.files(), self.server.session() as connection:
            self.make_directory()
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
        proven = self.compare(cut, found, rows, usual="public.")
        return replace(snapshot, proven_at=proven.proven_at)

    def tools(self) -> binaries.Binaries:
        with self.server.session() as connection:
            return binaries.find(self.server, connection.info.server_version // 10000)

    def _take(self, connection: Connection, name: str, moment: Moment | None) -> Snapshot:
        tools = binaries.find(self.server, connection.info.server_version // 10000)
        # A dump is smaller than its database, so its size is a bound that holds.
        self.check_space(int(one(connection, "SELECT pg_database_size(current_database())")))
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
            written = self._dump_to(temporary, exported, tools)
            connection.execute("ROLLBACK")
            snapshot = Snapshot(
                id=name,
                resource=self.server.settings.resource,
                path=str(self._dump(name)),
                cut=position,
                fingerprint=fingerprint(listing),
                created_at=datetime.now(UTC),
                size=written.size,
                server_version=str(one(connection, "SELECT current_setting('server_version')")),
            )
            cut = Cut(snapshot, written.digest, listing, rows, deployed)
            if moment is not None:
                # Files and slot are of one moment, or nobody takes them for a snapshot.
                self._notes(name).unlink(missing_ok=True)
                moment.keep()
            temporary.rename(self._dump(name))
            cut.write(self._notes(name))
        finally:
            temporary.unlink(missing_ok=True)
        return snapshot

    def _dump_to(self, path: Path, exported: str, tools: binaries.Binaries) -> Written:
        wait = round(self.server.settings.lock_timeout * 1000)
        arguments = ["--format=custom", "--compress=1", f"--snapshot={exported}"]
        try:
            with sealing(self.vault, path) as (pipe, written):
                tools.run("pg_dump", [*arguments, f"--lock-wait-timeout={wait}"], self.server, to=pipe)
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
        return written

"""A database at one exact cut, as a file that can be proven.

The dump takes its own view of the database, and so do we for what is noted beside it. Both see the same state
when the binary log did not move between a view of ours before the dump's and one after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import selectors
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pymysql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.mariadb import binaries, contents, failures, revisions
from lastgood.drivers.mariadb.connection import Connection, Server, one, rows, run
from lastgood.drivers.mariadb.fingerprint import EVENT, read_listing
from lastgood.drivers.mariadb.locks import blockers
from lastgood.drivers.mariadb.scratch import refuse_programs_of, scratch
from lastgood.ports.content import Vault
from lastgood.sql.blockers import describe
from lastgood.sql.keeping import Cut, Keeper
from lastgood.sql.listing import fingerprint
from lastgood.sql.sealing import Written, sealing

TRIES = 5
"""How often a moment without a write is looked for before writes are stopped for one."""
LONGEST = 5.0
"""Seconds for which writes are stopped at most. The server itself ends it after about twice that, when our
host has died and nobody lets go.
"""
BEGUN = "-- Setting savepoint"
"""What the dumping tool says once it has its view."""
ARGUMENTS = (
    "--single-transaction", "--quick", "--routines", "--triggers", "--hex-blob", "--no-tablespaces",
    "--verbose",
)  # fmt: skip


class Moved(Exception):
    """Something was written between two views."""


@dataclass(frozen=True)
class Snapshotter(Keeper):
    """Keeps snapshots of the database of ``server`` in ``directory``.

    A dump has no events: those of a copy would run. They are in the listing of its ``Cut``.
    """

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
            return known.snapshot if known is not None else self._take(connection, name)

    def prove(self, snapshot: Snapshot) -> Snapshot:
        """Load it into a scratch database and compare schema and row counts with what was seen at the cut."""
        cut = self.cut_of(snapshot)
        refuse_programs_of(self.server.database, cut.listing, self.server)
        with (
            scratch(self.server, self.dump_of(snapshot), self.tools()) as copy,
            copy.reading(statement_timeout=0) as connection,
        ):
            found = dict(read_listing(connection))
            counted = contents.counts(connection, contents.tables(connection))
        found |= {key: part for key, part in cut.listing.items() if key[0] == EVENT}
        return replace(snapshot, proven_at=self.compare(cut, found, counted).proven_at)

    def tools(self) -> binaries.Binaries:
        return binaries.find(self.server)

    @contextlib.contextmanager
    def _ready(self, name: str) -> Iterator[Connection]:
        with self.files(), self.server.patient_session() as connection:
            self.make_directory()
            # The server forgets this lock when we die; a second caller waits and then finds the file.
            lock = "lastgood." + hashlib.sha256(name.encode()).hexdigest()[:40]
            run(connection, "SELECT GET_LOCK(%s, 86400)", lock)
            yield connection

    def _take(self, connection: Connection, name: str) -> Snapshot:
        tools = self.tools()
        # Numbers written as text can take more room than in the database; twice has been enough.
        self.check_space(2 * contents.size(connection))
        self._refuse_untransactional(connection)
        for stale in self.directory.glob(f"{name}.*.tmp"):
            stale.unlink(missing_ok=True)
        temporary = self.directory / f"{name}.{secrets.token_hex(4)}.tmp"
        try:
            position, written = self._at_one_moment(connection, temporary, tools)
            listing = read_listing(connection)
            counted = contents.counts(connection, contents.tables(connection))
            deployed = tuple((r.name, r.digest) for r in revisions.read(connection))
            run(connection, "ROLLBACK")
            snapshot = Snapshot(
                id=name,
                resource=self.resource,
                path=str(self._dump(name)),
                cut=position,
                fingerprint=fingerprint(listing),
                created_at=datetime.now(UTC),
                size=written.size,
                server_version=str(one(connection, "SELECT VERSION()")),
            )
            cut = Cut(snapshot, written.digest, listing, counted, deployed)
            temporary.rename(self._dump(name))
            cut.write(self._notes(name))
        finally:
            temporary.unlink(missing_ok=True)
        return snapshot

    def _at_one_moment(
        self, connection: Connection, path: Path, tools: binaries.Binaries
    ) -> tuple[str, Written]:
        """Dump into ``path`` while the session's own transaction sees the same; returns the log position."""
        for _ in range(TRIES):
            with contextlib.suppress(Moved):
                return self._dump_beside(connection, path, tools, stopped=False)
        with self._writes_stopped() as locked:
            return self._dump_beside(connection, path, tools, stopped=True, release=locked)

    def _dump_beside(
        self,
        connection: Connection,
        path: Path,
        tools: binaries.Binaries,
        *,
        stopped: bool,
        release: Connection | None = None,
    ) -> tuple[str, Written]:
        position = begin(connection)
        with (
            sealing(self.vault, path) as (to, written),
            tools.start(tools.dump, ARGUMENTS, self.server, source=subprocess.DEVNULL, to=to) as running,
        ):
            try:
                words = self._wait_until_begun(running, None if release is None else LONGEST)
                if release is not None:
                    run(release, "UNLOCK TABLES")
                elif not stopped and (not position or self._position() != position):
                    raise Moved
                words += running.communicate()[1]
            except BaseException:
                running.kill()
                raise
            if running.wait() != 0:
                raise binaries.failed(tools.dump, words, self.server)
        return position or f"time:{datetime.now(UTC).isoformat()}", written

    def _wait_until_begun(self, running: subprocess.Popen[str], limit: float | None) -> str:
        """What the tool said until it had its view of the database, or ended. Raises Rejected after ``limit``
        seconds.
        """
        assert running.stderr is not None, "it is a pipe"
        deadline = None if limit is None else time.monotonic() + limit
        words = b""
        with selectors.DefaultSelector() as selector:
            selector.register(running.stderr, selectors.EVENT_READ)
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not selector.select(left):
                    raise self._hangs(limit)
                more = os.read(running.stderr.fileno(), 65_536)
                words += more
                said = words.decode(errors="replace")
                if not more or any(line.startswith(BEGUN) for line in said.splitlines()):
                    return said

    def _hangs(self, seconds: float | None) -> Rejected:
        return Rejected(
            N_(
                "{tool} did not begin its dump of {address} within {seconds} seconds, while all writes were "
                "stopped for it"
            ),
            todo=N_("Writes go on, nothing was kept. See why the tool hangs, then try again."),
            where=self.address,
            tool=Path(self.tools().dump).name,
            address=self.address,
            seconds=seconds,
        )

    def _position(self) -> str:
        with self.server.session() as another:
            return begin(another)

    @contextlib.contextmanager
    def _writes_stopped(self) -> Iterator[Connection]:
        """For the moment in which the dump begins; whoever waits for it waits no longer than the time-out."""
        with self.server.session() as connection:
            run(connection, f"SET SESSION wait_timeout = {math.ceil(2 * LONGEST)}")
            try:
                run(connection, "FLUSH TABLES WITH READ LOCK")
            except pymysql.Error as error:
                if not failures.locked(error):
                    raise
                with self.server.session() as another:
                    names = describe(blockers(another, 0))
                raise failures.table_lock(failures.text(error), names, self.server.spot) from None
            yield connection

    def _refuse_untransactional(self, connection: Connection) -> None:
        """Such a table is dumped as it is at some later moment."""
        query = (
            "SELECT t.TABLE_NAME, t.ENGINE FROM information_schema.TABLES t "
            "JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE "
            "WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE = 'BASE TABLE' "
            "AND COALESCE(e.TRANSACTIONS, 'NO') <> 'YES' ORDER BY 1"
        )
        found = rows(connection, query)
        if found:
            raise Rejected(
                N_("a snapshot of {address} can't be of one moment: {tables} has no transactions"),
                todo=N_("Convert the table first: ALTER TABLE … ENGINE=InnoDB."),
                where=self.address,
                cause=Cause.SCRIPT_ERROR,
                address=self.address,
                tables=", ".join(f"{table} ({engine})" for table, engine in found),
            )


def begin(connection: Connection) -> str:
    """A view of one moment, and its place in the binary log (``file:position``), ``""`` when there is
    none.
    """
    run(connection, "ROLLBACK")
    run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    run(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    found: dict[str, str] = dict(rows(connection, "SHOW STATUS LIKE 'binlog_snapshot_%'"))
    file = found.get("Binlog_snapshot_file", "")
    return f"{file}:{found['Binlog_snapshot_position']}" if file else ""

"""Putting a snapshot back where nothing written since would be lost: load beside, compare, swap names.

The rule, conservative on purpose: every row of every live table must be in the snapshot too, compared
over the columns that both have; columns that came later must be NULL or as ADD COLUMN filled them; large
objects can't be compared.
Anything else is refused with its reason. The live database is renamed and kept, never dropped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import errors, sql

from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import binaries, contents, failures
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.fingerprint import read_listing
from lastgood.drivers.postgresql.scratch import check_room, drop, load, make_like

MAINTENANCE = ("postgres", "template1")
PATIENCE = 10.0


@dataclass(frozen=True)
class Swap:
    """The live database of ``server`` and the loaded copy that takes its name."""

    server: Server
    copy: str

    @classmethod
    def of(cls, server: Server, snapshot: str) -> Swap:
        return cls(server, f"{server.database[:35]}_restored_{snapshot[-12:]}")

    def restore(self, dump: Path) -> None:
        """Source of ``Snapshots.restore``. Raises Rejected, the live database then as it was."""
        with self._maintenance() as admin:
            tools = binaries.find(self.server, admin.info.server_version // 10000)
            self._reopen_after_crash(admin)
            drop(admin, self.copy)
            renamed = False
            try:
                with self.server.session() as live:
                    check_room(live, self.server)
                    make_like(live, self.server, self.copy, "lastgood restore")
                    load(self.server.at(self.copy), dump, tools)
                    if self._same(live):
                        return
                    self._refuse_later_writes(live)
                    renamed = self._swap(admin, live)
            finally:
                if not renamed and not admin.closed:
                    drop(admin, self.copy)

    def later_writes(self, live: Connection) -> list[str]:
        """Why a restore would lose something, a sentence each; empty when it would not."""
        with self.server.at(self.copy).reading(statement_timeout=0) as copy:
            self._begin_reading(live)
            contents.whole_rows(copy)
            there, here = contents.tables(copy), contents.tables(live)
            reasons: list[str] = []
            for name, table in here.items():
                reasons += _later_in(live, copy, table, there.get(name))
            if one(live, "SELECT count(*) FROM pg_largeobject_metadata"):
                reasons.append("it has large objects, which can't be compared")
            if one(live, "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"):
                reasons.append("it has prepared transactions")
            live.execute("ROLLBACK")
            return reasons

    def _same(self, live: Connection) -> bool:
        """Whether the live database already is what the snapshot holds, so that there is nothing to do."""
        with self.server.at(self.copy).reading(statement_timeout=0) as copy:
            self._begin_reading(live)
            same = read_listing(live) == read_listing(copy)
            contents.whole_rows(copy)
            for table in contents.tables(live).values() if same else ():
                columns = list(table.columns)
                here, there = (contents.content(c, table, columns) for c in (live, copy))
                same = same and here == there
            live.execute("ROLLBACK")
            return same

    def _begin_reading(self, live: Connection) -> None:
        live.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        live.execute(self.server.guards(statement_timeout=0))
        contents.whole_rows(live)

    def _refuse_later_writes(self, live: Connection) -> None:
        reasons = self.later_writes(live)
        if reasons:
            raise Rejected(
                N_("restoring {address} would lose what was written after the snapshot: {reasons}"),
                todo=N_("Go back with the migration's revert.sql, which keeps later writes."),
                where=self.server.spot.address,
                address=self.server.spot.address,
                reasons="; ".join(reasons),
            )

    def _swap(self, admin: Connection, live: Connection) -> bool:
        """Fence, look again, carry over what no dump holds, rename both in one transaction."""
        name = self.server.database
        admin.execute(_allow(name, False))
        try:
            _end_sessions(admin, name, except_pid=live.info.backend_pid)
            self._refuse_later_writes(live)
            self._carry_over(live)
            live.close()
            _end_sessions(admin, self.copy, except_pid=0)
            now = datetime.now(UTC)
            failed = f"{name[:36]}_failed_{now:%Y%m%d_%H%M%S}_{now.microsecond // 1000:03}"
            self._rename(admin, failed)
        except BaseException:
            if not admin.closed:
                admin.execute(_allow(name, True))
            raise
        admin.execute(_allow(failed, True))
        return True

    def _rename(self, admin: Connection, failed: str) -> None:
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        name, copy, old = (sql.Identifier(n) for n in (self.server.database, self.copy, failed))
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                admin.execute("BEGIN")
                admin.execute(rename.format(name, old))
                admin.execute(rename.format(copy, name))
                break
            except errors.ObjectInUse:
                # A session that was ended takes a moment to be gone.
                admin.execute("ROLLBACK")
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        try:
            admin.execute("COMMIT")
        except psycopg.Error as error:
            if failures.lost(error):
                raise failures.outcome_unknown(error, self.server.spot, "restore") from None
            raise

    def _carry_over(self, live: Connection) -> None:
        """Sequences never go below a number already handed out; grants and limits follow the name."""
        question = (
            "SELECT schemaname, sequencename, last_value, increment_by FROM pg_sequences "
            "WHERE last_value IS NOT NULL AND schemaname <> 'lastgood'"
        )
        numbers = live.execute(question).fetchall()
        grants = live.execute(
            "SELECT pg_get_userbyid(nullif(a.grantee, 0)), a.privilege_type, a.is_grantable "
            "FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database()"
        ).fetchall()
        limit = one(live, "SELECT datconnlimit FROM pg_database WHERE datname = current_database()")
        with self.server.at(self.copy).session() as copy:
            there = {(s, n): v for s, n, v, _ in copy.execute(question)}
            known = {(s, n) for s, n in copy.execute("SELECT schemaname, sequencename FROM pg_sequences")}
            for schema, name, value, step in numbers:
                before = there.get((schema, name))
                ahead = before is None or (value > before if step > 0 else value < before)
                if (schema, name) in known and ahead:
                    copy.execute(
                        sql.SQL("SELECT setval({}, {})").format(
                            sql.Literal(sql.Identifier(schema, name).as_string()), sql.Literal(value)
                        )
                    )
            _grant(copy, self.copy, grants)
            subject = sql.Identifier(self.copy)
            copy.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(subject, sql.Literal(limit)))
            comment = f"restored by lastgood at {datetime.now(UTC).isoformat(timespec='seconds')}"
            copy.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(subject, sql.Literal(comment)))
            copy.execute("ANALYZE")

    def _reopen_after_crash(self, admin: Connection) -> None:
        """A fence that a crash left closed is opened: our copy beside it tells that it was ours."""
        rows: dict[str, bool] = dict(
            admin.execute(
                "SELECT datname, datallowconn FROM pg_database WHERE datname IN (%s, %s)",
                (self.server.database, self.copy),
            ).fetchall()
        )
        if rows.get(self.server.database) is False and self.copy in rows:
            admin.execute(_allow(self.server.database, True))

    @contextlib.contextmanager
    def _maintenance(self) -> Iterator[Connection]:
        """A session elsewhere on the server: a database can't be renamed from inside."""
        places = [m for m in MAINTENANCE if m != self.server.database]
        for place in places:
            try:
                connection = self.server.at(place).connect()
            except DriverError:
                if place == places[-1]:
                    raise
                continue
            with contextlib.closing(connection), self.server.errors():
                yield connection
            return


def _later_in(
    live: Connection, copy: Connection, table: contents.Table, twin: contents.Table | None
) -> list[str]:
    name = table.full_name.removeprefix("public.")
    if twin is None:
        rows = contents.content(live, table, list(table.columns)).rows
        return [f"table {name} came later and has {rows} rows"] if rows else []
    common = [c for c, kind in table.columns.items() if twin.columns.get(c) == kind]
    here, there = contents.content(live, table, common), contents.content(copy, twin, common)
    reasons = []
    if here.rows != there.rows:
        reasons.append(f"table {name} has {here.rows} rows, {there.rows} at the cut")
    elif here != there:
        reasons.append(f"rows of table {name} were changed")
    for column in table.columns.keys() - set(common):
        rows = contents.filled(live, table, column)
        if rows:
            reasons.append(f"column {name}.{column} came later and has values in {rows} rows")
    return reasons


def _allow(name: str, yes: bool) -> sql.Composed:
    return sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(yes))


def _end_sessions(admin: Connection, name: str, *, except_pid: int) -> None:
    """End every session of ``name`` but one, and wait until they are gone."""
    deadline = time.monotonic() + PATIENCE
    question = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = %s AND pid NOT IN (%s, pg_backend_pid()) AND backend_type = 'client backend'"
    )
    while one(admin, question, name, except_pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def _grant(connection: Connection, name: str, grants: list[tuple[str | None, str, bool]]) -> None:
    """The database's own grants; none at all means the default ones, which a new database has."""
    if not grants:
        return
    subject = sql.Identifier(name)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(subject))
    for role, privilege, grantable in grants:
        connection.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(privilege),
                subject,
                sql.Identifier(role) if role is not None else sql.SQL("PUBLIC"),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        )

"""How a database is taken back by hand, with ``psql`` and ``pg_restore``: its part of a restore bundle."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import conninfo, sql

from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.postgresql import revisions
from lastgood.drivers.postgresql.acts import ALONE
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.publication import OURS
from lastgood.drivers.postgresql.restore_script import BODY, CONNECTION
from lastgood.drivers.postgresql.snapshot import Snapshotter
from lastgood.ports.bundles import DatabasePart
from lastgood.ports.drivers import MigrationScript
from lastgood.sql import bundling

NEEDS = tuple(sorted((*bundling.TOOLS, "pg_restore", "psql")))
_VARIABLES = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
    "passfile": "PGPASSFILE", "service": "PGSERVICE",
}  # fmt: skip


@dataclass(frozen=True)
class Bundler:
    """Source of ``BundlesDatabases``."""

    server: Server
    snapshots: Snapshotter

    def migrations(self, snapshot: Snapshot) -> tuple[str, ...]:
        return self.snapshots.migrations_of(snapshot)

    def part(
        self, snapshot: Snapshot, forward: Sequence[MigrationScript], back: Sequence[MigrationScript]
    ) -> DatabasePart:
        cut, dump = self.snapshots.open_cut_of(snapshot), self.snapshots.dump_of(snapshot)
        database = self.server.database
        stem = bundling.plain_name(database).encode()[:35].decode(errors="ignore")
        told = bundling.Told(database, stem, cut, CONNECTION, forward, back, NEEDS)
        count = "".join(_count(table) for table in sorted(cut.rows))
        body = BODY % {
            "connection": self._where(),
            "at": shlex.quote(conninfo.make_conninfo(dbname=database)),
            "ours": OURS.replace("$", r"\$"),
            "deploy": _deploys(forward, empty=not cut.revisions),
        }
        return DatabasePart(
            bundling.files(told, body, count), NEEDS, dump.path, cut.snapshot.size, dump.copy_sealed,
            self.server.settings.resident,
        )  # fmt: skip

    def _where(self) -> str:
        """Where the server is, for libpq; whoever runs the script may say otherwise."""
        said = {
            _VARIABLES[key]: value
            for key, value in self.server.settings.parameters.items()
            if key in _VARIABLES
        }
        return "".join(
            f'[ -n "${{{name}:-}}" ] || {name}={shlex.quote(value)}\nexport {name}\n'
            for name, value in said.items()
        )


def _count(table: str) -> str:
    label = sql.Literal(table.replace("\t", " ").replace("\n", " "))
    schema, _, name = table.partition(".")
    if "." in name:
        # Which of the dots parts schema and table, the server knows.
        query = sql.SQL(
            "SELECT format('SELECT %L, count(*) FROM ONLY %I.%I', {}, nspname, relname) FROM pg_class "
            "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname || '.' || relname = {} "
            "AND relkind IN ('r', 'p') \\gexec\n"
        ).format(label, sql.Literal(table))
    else:
        query = sql.SQL("SELECT {}, count(*) FROM ONLY {};\n").format(label, sql.Identifier(schema, name))
    return query.as_string(None)


def _deploys(forward: Sequence[MigrationScript], *, empty: bool) -> str:
    """``empty``: the snapshot is from before there was a table of revisions."""
    made = f'    run "$copy" {shlex.quote(revisions.CREATE)}\n' if forward and empty else ""
    return made + "".join(_deploy(migration) for migration in forward)


def _deploy(migration: MigrationScript) -> str:
    kind = "alone" if ALONE in migration.deploy else "whole"
    return f"    deploy {shlex.quote(migration.name)} {shlex.quote(migration.digest)} {kind}\n"

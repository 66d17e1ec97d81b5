"""How a database is taken back by hand with the ``mariadb`` client alone: its part of a restore bundle."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.mariadb import revisions
from lastgood.drivers.mariadb.connection import Server, quoted
from lastgood.drivers.mariadb.refusals import LONGEST_NAME
from lastgood.drivers.mariadb.restore_script import BODY, CONNECTION
from lastgood.drivers.mariadb.snapshot import Snapshotter
from lastgood.ports.bundles import DatabasePart
from lastgood.ports.drivers import MigrationScript
from lastgood.sql import bundling

NEEDS = tuple(sorted((*bundling.TOOLS, "mariadb", "sed")))


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
        told = bundling.Told(
            database, bundling.plain_name(database)[:LONGEST_NAME], cut, CONNECTION, forward, back, NEEDS
        )
        count = "".join(_count(table) for table in sorted(cut.rows))
        connection, words = self._where()
        deploy = "".join(f"    deploy {shlex.quote(m.name)} {shlex.quote(m.digest)}\n" for m in forward)
        if forward and not cut.revisions:
            deploy = f'    run "$copy" {shlex.quote(revisions.CREATE)}\n' + deploy
        body = BODY % {"connection": connection, "words": words, "deploy": deploy}
        return DatabasePart(
            bundling.files(told, body, count), NEEDS, dump.path, cut.snapshot.size, dump.copy_sealed,
            self.server.settings.resident,
        )  # fmt: skip

    def _where(self) -> tuple[str, str]:
        """Where the server is, as lines that whoever runs the script may say otherwise, and as words."""
        settings = self.server.settings
        said = {"MYSQL_USER": settings.user}
        words = '--user="$MYSQL_USER" --default-character-set=utf8mb4'
        if settings.socket:
            said["MYSQL_UNIX_PORT"] = settings.socket
            words += ' --socket="$MYSQL_UNIX_PORT"'
        else:
            said |= {"MYSQL_HOST": settings.host, "MYSQL_TCP_PORT": str(settings.port)}
            words += ' --protocol=tcp --host="$MYSQL_HOST" --port="$MYSQL_TCP_PORT"'
        if settings.authority:
            words += f" --ssl-ca={shlex.quote(settings.authority)} --ssl-verify-server-cert"
        lines = [f'[ -n "${{{name}:-}}" ] || {name}={shlex.quote(value)}' for name, value in said.items()]
        return "\n".join(lines), words


def _count(table: str) -> str:
    label = table.replace("\t", " ").replace("\n", " ").replace("\\", "\\\\").replace("'", "''")
    return f"SELECT '{label}', COUNT(*) FROM {quoted(table)};\n"

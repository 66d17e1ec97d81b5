"""Finds the server's own client tools and runs them. They are told nothing by option files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lastgood.domain.errors import Cause, DriverError, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.mariadb.connection import Server
from lastgood.sql.sealing import Dump

DUMP = ("mariadb-dump", "mysqldump")
CLIENT = ("mariadb", "mysql")
PLACES = ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin")


@dataclass(frozen=True)
class Binaries:
    """Paths of the tool that dumps and of the client that loads."""

    dump: str
    client: str

    def start(
        self,
        tool: str,
        arguments: Sequence[str],
        server: Server,
        *,
        source: IO[bytes] | int,
        to: IO[bytes] | int,
    ) -> subprocess.Popen[str]:
        """``tool`` at work on the database of ``server``; its words come from ``stderr``."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MYSQL", "MARIADB"))}
        environment["LC_ALL"] = "C"
        password = server.password()
        if password:
            environment["MYSQL_PWD"] = password
        try:
            return subprocess.Popen(
                [tool, "--no-defaults", *_where(server), *arguments, server.database],
                env=environment,
                stdin=source,
                stdout=to,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise failed(tool, str(error), server) from None

    def load(self, dump: Dump, server: Server) -> None:
        """Fill the empty database of ``server``. Raises DriverError with the client's own words."""
        with (
            dump.opened() as source,
            self.start(self.client, (), server, source=source, to=subprocess.DEVNULL) as running,
        ):
            words = running.communicate()[1]
        if running.returncode != 0:
            raise failed(self.client, words, server)


def find(server: Server) -> Binaries:
    """Those of the directory in the settings, else of PATH. Raises Rejected when one is missing."""
    named = server.settings.binaries
    path = str(named) if named else os.pathsep.join((os.environ.get("PATH", ""), *PLACES))
    found = [next(filter(None, (shutil.which(n, path=path) for n in names)), "") for names in (DUMP, CLIENT)]
    for tool, names in zip(found, (DUMP, CLIENT), strict=True):
        if not tool:
            raise Rejected(
                N_("there is no {tool} in {path}"),
                todo=N_(
                    "Install the client (Debian: apt-get install mariadb-client), or name its directory "
                    "in 'binaries'."
                ),
                where=server.spot.address,
                cause=Cause.WRONG_PATH,
                tool=names[0],
                path=path,
            )  # fmt: skip
    return Binaries(*found)


def _where(server: Server) -> list[str]:
    settings = server.settings
    place = [f"--socket={settings.socket}"] if settings.socket else [
        "--protocol=tcp", f"--host={settings.host}", f"--port={settings.port}",
    ]  # fmt: skip
    if settings.authority:
        place += [f"--ssl-ca={settings.authority}", "--ssl-verify-server-cert"]
    return [*place, f"--user={settings.user}", "--default-character-set=utf8mb4"]


def failed(tool: str, message: str, server: Server) -> DriverError:
    """The tools' errors are the server's numbers and English words."""
    said = [line for line in message.strip().splitlines() if not line.startswith(("-- ", "--------------"))]
    text = " ".join(line.strip() for line in said if "rror" in line or len(said) < 3)[:500] or "no message"
    kind: type[DriverError] = Rejected
    cause: Cause | None = None
    if any(f"rror: {n}" in text or f"ERROR {n}" in text for n in (2002, 2003, 2006, 2013)):
        kind, cause = Unreachable, Cause.DEPENDENCY_DOWN
    elif "ccess denied" in text or "command denied" in text or "privilege" in text:
        cause = Cause.PERMISSION
    elif "Lock wait timeout" in text:
        cause = Cause.TABLE_LOCK
    return kind(
        N_("{tool} failed on {address}: {error}"),
        todo=N_("Remove the cause, then try again; nothing was changed."),
        where=server.spot.address,
        cause=cause,
        tool=Path(tool).name,
        address=server.spot.address,
        error=text,
    )

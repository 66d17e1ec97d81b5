"""Starts the real PgBouncer of the system for tests and benchmarks, on 127.0.0.1 only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from lastgood.testing.processes import free_port, tail

START_TIMEOUT = 15.0
ADMIN = "admin"
STATS = "stats"
"""Who may pause, and who may only look."""


def executable() -> str:
    """Path of the binary; raises FileNotFoundError when PgBouncer is not installed."""
    found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError("pgbouncer: install the package 'pgbouncer'")
    return found


@dataclass
class PgbouncerServer:
    """One PgBouncer. Everybody may come in; ``log`` has what it says."""

    directory: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.directory / "pgbouncer.log"

    @property
    def console(self) -> str:
        """The url of its console for who may pause."""
        return self.url("pgbouncer", ADMIN)

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def serve(self, databases: dict[str, str], users: tuple[str, ...] = ("postgres",), **more: str) -> None:
        """Start with ``databases`` (connection strings by name) and settings of ``pgbouncer.ini``; one that
        runs is stopped first.
        """
        self.stop()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(self.directory / "users.txt"),
            "admin_users": ADMIN,
            "stats_users": STATS,
            "pool_mode": "transaction",
            **({"user": "nobody"} if os.geteuid() == 0 else {}),
            **more,
        }
        names = (*users, ADMIN, STATS)
        (self.directory / "users.txt").write_text("".join(f'"{name}" ""\n' for name in names))
        lines = ["[databases]", *(f"{name} = {where}" for name, where in databases.items())]
        lines += ["[pgbouncer]", *(f"{key} = {value}" for key, value in settings.items()), ""]
        (self.directory / "pgbouncer.ini").write_text("\n".join(lines))
        self.start()

    def start(self) -> None:
        """As it was served last. Raises RuntimeError with the end of its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [executable(), str(self.directory / "pgbouncer.ini")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.ask("SHOW VERSION")
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PgBouncer did not start:\n{tail(self.log)}") from error
                time.sleep(0.01)
            else:
                return

    def ask(self, command: str) -> list[dict[str, object]]:
        """What its console answers."""
        with psycopg.connect(self.console, autocommit=True) as connection:
            cursor = connection.cursor(row_factory=psycopg.rows.dict_row).execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """At once: whoever waits in it is cut off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def pgbouncer() -> Iterator[PgbouncerServer]:
    """One that is ready to ``serve``, its files in a directory of its own; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="lastgood-pgbouncer-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        server = PgbouncerServer(Path(directory), free_port())
        try:
            yield server
        finally:
            server.stop()

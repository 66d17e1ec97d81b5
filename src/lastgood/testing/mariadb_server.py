"""Real MariaDB servers for tests and the demonstration: made, started, stopped, killed.

Nothing listens anywhere but on 127.0.0.1 and a unix socket; the kernel chooses the port. A server writes a
row-format binary log, and is described by ``server.json`` in its directory, so that another process can find
and stop it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lastgood.testing.processes import alive, free_port, tail

SOCKET_PATH_LIMIT = 100
"""sun_path holds 107 bytes with its end."""
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
PLACES = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin"


class MariadbServerFailed(Exception):
    """The server could not be made, started or stopped; the text is the end of its own log."""


@dataclass(frozen=True)
class MariadbServer:
    """A server made in ``directory``; its user ``root`` comes in without a password."""

    directory: Path
    data: Path
    socket: Path
    port: int

    def url(self, database: str = "", user: str = "root") -> str:
        """Over TCP on loopback."""
        return f"mysql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "", user: str = "root") -> str:
        """Over the unix socket."""
        return f"mysql://{user}@/{database}?unix_socket={self.socket}"

    @property
    def log(self) -> Path:
        """The server's own log of errors."""
        return self.data / "server.log"

    @property
    def pid(self) -> int:
        """Process id of mariadbd, 0 when it is not running."""
        try:
            pid = int((self.data / "server.pid").read_text())
        except (OSError, ValueError):
            return 0
        return pid if alive(pid) else 0

    def start(self) -> None:
        """Start (again) on the same port and wait until it takes connections; raises MariadbServerFailed."""
        (self.data / "server.pid").unlink(missing_ok=True)
        user = ("--user=root",) if os.geteuid() == 0 else ()
        process = subprocess.Popen(
            [find_binary("mariadbd"), f"--defaults-file={self.directory / 'my.cnf'}", *user],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if process.poll() is not None:
                raise MariadbServerFailed(tail(self.log) or f"mariadbd ended with {process.returncode}")
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise MariadbServerFailed(f"not up after {START_TIMEOUT} s: {tail(self.log)}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        """It has written its pid and greets: the first packet comes from the server."""
        if not self.pid:
            return False
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return len(connection.recv(5)) == 5
        except OSError:
            return False

    def stop(self) -> None:
        """By SIGTERM, as a system does; a server that is not running is left alone."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """``kill -9``; returns when it is gone."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        pid = self.pid
        if not pid:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + STOP_TIMEOUT
        while alive(pid):
            if time.monotonic() > deadline:
                raise MariadbServerFailed(f"mariadbd {pid} is still there: {tail(self.log)}")
            time.sleep(0.02)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    def configure(self, **settings: str) -> None:
        """Append settings to ``my.cnf``; they count from the next start on."""
        with (self.directory / "my.cnf").open("a") as file:
            file.writelines(f"{name.replace('_', '-')} = {value}\n" for name, value in settings.items())

    def ask(self, statement: str, database: str = "") -> list[tuple[str, ...]]:
        """Rows as text, by the server's own client as its ``root``; raises MariadbServerFailed."""
        done = subprocess.run(
            [find_binary("mariadb"), "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch",
             "--skip-column-names", "--default-character-set=utf8mb4", database],
            input=statement, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise MariadbServerFailed(done.stderr)
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def find_binary(name: str) -> str:
    """Path of one of the server's programs; raises FileNotFoundError when it is not installed."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":" + PLACES)
    if found is None:
        raise FileNotFoundError(f"{name}: install the package 'mariadb-server'")
    return found


@contextlib.contextmanager
def mariadb(
    directory: Path, *, durable: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[MariadbServer]:
    """A server that lives as long as the block. ``durable`` False: only a power cut may lose commits."""
    server = start_detached(directory, durable=durable, settings=settings)
    try:
        yield server
    finally:
        server.kill()
        _remove_outside(server)


def start_detached(
    directory: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None
) -> MariadbServer:
    """Have a server in ``directory`` that outlives this process; one already made there is started again.

    ``settings`` go into ``my.cnf`` of one that is made now.
    """
    directory.mkdir(parents=True, exist_ok=True)
    known = find(directory)
    if known is not None:
        if not known.pid:
            known.start()
        return known
    for attempt in range(5):
        server = _make(directory, durable, settings or {})
        try:
            server.start()
        except MariadbServerFailed:
            # Somebody else may have taken the port between our look and the server's bind.
            _forget(server)
            if attempt == 4:
                raise
            continue
        _remember(server)
        return server
    raise MariadbServerFailed("no port was free")


def find(directory: Path) -> MariadbServer | None:
    """The server described in ``directory``, None when there is none."""
    try:
        plain = json.loads((directory / "server.json").read_text())
    except FileNotFoundError:
        return None
    return MariadbServer(directory.resolve(), Path(plain["data"]), Path(plain["socket"]), int(plain["port"]))


def stop_by_directory(directory: Path) -> None:
    """Stop the server described in ``directory``; nothing there is nothing to do."""
    server = find(directory)
    if server is not None:
        server.stop()


def _make(directory: Path, durable: bool, settings: Mapping[str, str]) -> MariadbServer:
    home = directory.resolve()
    sockets = home
    if len(str(home / "socket")) > SOCKET_PATH_LIMIT:
        sockets = Path(tempfile.mkdtemp(prefix="lastgood-mariadb-"))
    server = MariadbServer(home, home / "data", sockets / "socket", free_port())
    lines = {
        "datadir": str(server.data),
        # A server that starts deletes what it takes for its own leftovers in a directory that it shares.
        "tmpdir": str(home / "tmp"),
        "socket": str(server.socket),
        "port": str(server.port),
        "bind-address": "127.0.0.1",
        "pid-file": str(server.data / "server.pid"),
        "log-error": str(server.log),
        "log-bin": str(server.data / "binlog"),
        "binlog-format": "ROW",
        "binlog-row-image": "FULL",
        "binlog-row-metadata": "FULL",
        "server-id": "1",
        "sync-binlog": "1" if durable else "0",
        "innodb-flush-log-at-trx-commit": "1" if durable else "2",
        "innodb-flush-method": "fsync" if durable else "nosync",
        "innodb-buffer-pool-size": "32M",
        "innodb-log-file-size": "16M",
        "key-buffer-size": "1M",
        "performance-schema": "OFF",
        "skip-name-resolve": "ON",
        "character-set-server": "utf8mb4",
        "default-time-zone": "+00:00",
        "innodb-undo-tablespaces": "0",
    }
    lines.update({name.replace("_", "-"): value for name, value in settings.items()})
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    (home / "tmp").mkdir(exist_ok=True)
    (home / "my.cnf").write_text(f"[mariadbd]\n{text}")
    user = ("--user=root",) if os.geteuid() == 0 else ()
    done = subprocess.run(
        [find_binary("mariadb-install-db"), "--no-defaults", f"--datadir={server.data}",
         "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
         "--innodb-log-file-size=16M", "--innodb-undo-tablespaces=0",
         "--innodb-flush-log-at-trx-commit=0", *user],
        cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "TMPDIR": str(home / "tmp")},
    )  # fmt: skip
    if done.returncode != 0:
        _forget(server)
        raise MariadbServerFailed(done.stdout + done.stderr)
    return server


def _remember(server: MariadbServer) -> None:
    plain = {"data": str(server.data), "socket": str(server.socket), "port": server.port}
    temporary = server.directory / "server.json.tmp"
    temporary.write_text(json.dumps(plain))
    temporary.rename(server.directory / "server.json")


def _forget(server: MariadbServer) -> None:
    """One that never ran leaves nothing."""
    shutil.rmtree(server.data, ignore_errors=True)
    _remove_outside(server)


def _remove_outside(server: MariadbServer) -> None:
    """What lies outside the caller's directory would otherwise stay for ever."""
    (server.directory / "server.json").unlink(missing_ok=True)
    if server.directory not in server.socket.parents:
        shutil.rmtree(server.socket.parent, ignore_errors=True)

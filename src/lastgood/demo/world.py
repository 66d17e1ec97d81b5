"""The world the demonstration plays in: servers that outlive its process.

Everything lies in one directory and is described by ``world.json`` in it.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from lastgood.demo.estate import MARIADB, POSTGRESQL, UNITS, database_name
from lastgood.demo.processes import end_all
from lastgood.domain.errors import Conflict, DriverError, NotAllowed
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.testing import mariadb_server
from lastgood.testing.caddy_server import CaddyServer
from lastgood.testing.postgres_server import ServerFailed, find, start_detached

MARK = ".lastgood-demo"
"""Only a directory that holds this file is ever emptied."""
CUSTOMERS = "customers"
"""How the names of processes begin that are no servers."""


@dataclass(frozen=True)
class ProcessMark:
    """A process is its pid and its start time (seconds since 1970): pids come again."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        return cls(pid, psutil.Process(pid).create_time())

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 0.05
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


Started = tuple[str, ProcessMark]
"""A server's address, and its process."""


@dataclass(frozen=True)
class World:
    """Where everything is. ``database_server`` is a URL without a database; ``ports`` is where customers go.

    ``servers`` are addresses of the others by name, as a driver's settings want them.
    """

    directory: Path
    database_server: str
    servers: Mapping[str, str]
    ports: Mapping[UnitId, int]
    processes: Mapping[str, ProcessMark] = field(default_factory=dict)

    @property
    def estate(self) -> Path:
        return self.directory / "estate"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def key_file(self) -> Path:
        """lastgood's sealing key, apart from the state."""
        return self.directory / "keys" / "seal.key"

    @property
    def payment_key_file(self) -> Path:
        return self.directory / "keys" / "payment.key"

    @property
    def pointers(self) -> Path:
        return self.directory / "pointers"

    @property
    def files_root(self) -> Path:
        return self.directory / "files"

    @property
    def process_root(self) -> Path:
        return self.directory / "process"

    @property
    def haproxy_state(self) -> Path:
        """Where HAProxy finds its servers as they were left."""
        return self.directory / "haproxy" / "state"

    @property
    def seen(self) -> Path:
        """What the customers wrote down."""
        return self.directory / "customers.jsonl"

    def database_url(self, unit: UnitId) -> str:
        return f"{self.database_server}/{database_name(unit)}"

    def shop_url(self, unit: UnitId) -> str:
        return f"http://127.0.0.1:{self.ports[unit]}"

    @property
    def alive(self) -> bool:
        """Whether all servers run."""
        return bool(self.processes) and all(
            mark.alive for name, mark in self.processes.items() if not name.startswith(CUSTOMERS)
        )


def default_directory() -> Path:
    """``$XDG_STATE_HOME/lastgood-demo``; for root a place that PostgreSQL's own user can enter."""
    if os.geteuid() == 0:
        return Path("/var/lib/lastgood-demo" if os.access("/var/lib", os.W_OK) else "/tmp/lastgood-demo")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "lastgood-demo"


def start_world(
    directory: Path,
    postgres_settings: Mapping[str, str] = MappingProxyType({}),
    *,
    database: str = POSTGRESQL,
) -> World:
    """A fresh world in ``directory``; what an earlier one left there is stopped and removed first.

    ``database`` is the driver of its databases. Raises Conflict when the directory holds something else,
    NotAllowed when it can't be written, DriverError when a server does not start.
    """
    directory = prepare(directory)
    ports = dict(zip(UNITS, free_ports(len(UNITS)), strict=True))
    starts: dict[str, Callable[[], Started]] = {
        "postgres": lambda: start_postgres(directory, UNITS, postgres_settings),
        "caddy": lambda: _start_caddy(directory),
    }
    if database == MARIADB:
        starts["mariadb"] = lambda: start_mariadb(directory, UNITS)
        del starts["postgres"]
    started = start_all(directory, starts)
    admin = started["caddy"][0]
    (url,) = (address for name, (address, _) in started.items() if name != "caddy")
    marks = {name: mark for name, (_, mark) in started.items()}
    world = World(directory, url, {"caddy": admin}, ports, marks)
    return settle(world)


def prepare(directory: Path) -> Path:
    """The directory, whole, empty and marked as a demonstration's. Raises as ``start_world`` does."""
    directory = directory.resolve()
    clear_world(directory)
    _prepare(directory)
    return directory


def start_all(directory: Path, starts: Mapping[str, Callable[[], Started]]) -> dict[str, Started]:
    """Start servers side by side; when one does not, end all and raise its error."""
    with ThreadPoolExecutor(max_workers=len(starts)) as pool:
        begun = {name: pool.submit(start) for name, start in starts.items()}
        outcomes = [future.exception() for future in begun.values()]
    for problem in outcomes:
        if problem is not None:
            end_all(directory)
            raise problem
    return {name: future.result() for name, future in begun.items()}


def settle(world: World) -> World:
    """Make its directories and its secret, and write it down."""
    for path in (world.estate, world.pointers, world.files_root, world.process_root):
        path.mkdir()
    world.payment_key_file.parent.mkdir(mode=0o700)
    world.payment_key_file.touch(mode=0o600)
    world.payment_key_file.write_text(f"pk_demo_{secrets.token_hex(16)}")
    _save(world)
    return world


def remember(world: World, name: str, pid: int) -> World:
    """The world with one more process written down."""
    known = replace(world, processes={**world.processes, name: ProcessMark.of(pid)})
    _save(known)
    return known


def find_world(directory: Path) -> World | None:
    """The world described in ``directory``, running or not; None when there is none."""
    try:
        plain: dict[str, Any] = json.loads((directory / "world.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return World(
        Path(plain["directory"]),
        plain["database_server"],
        plain["servers"],
        {UnitId.parse(unit): port for unit, port in plain["ports"].items()},
        {name: ProcessMark(**mark) for name, mark in plain["processes"].items()},
    )


def stop_world(directory: Path) -> int:
    """End everything that runs in ``directory``, politely first; files stay. Returns how many processes.

    Safe to repeat, and after a crash at any moment: processes are found by what they carry, not only
    by what was written down.
    """
    return end_all(directory.resolve())


def free_ports(count: int) -> list[int]:
    """Ports that are free now and that the kernel does not hand out to outgoing connections later."""
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        lowest = 32768
    found: list[int] = []
    for port in random.sample(range(min(20000, lowest - 2000), lowest), k=1500):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise DriverError(N_("no free port on 127.0.0.1"), todo=N_("Stop something that listens, and try again."))


def clear_world(directory: Path) -> None:
    """Stop everything and remove the files. Raises Conflict when it is not a demonstration's directory."""
    directory = directory.resolve()
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / MARK).exists():
        raise Conflict(
            N_("{path} holds something that is not a demonstration"),
            todo=N_("Name an empty or a new directory: --directory."),
            path=str(directory),
        )
    stop_world(directory)
    server = find(directory / "postgres")
    other = mariadb_server.find(directory / "mariadb")
    if other and not other.socket.is_relative_to(directory):
        shutil.rmtree(other.socket.parent, ignore_errors=True)
    for path in (server.data.parent, server.socket) if server else ():
        # PostgreSQL's user could not enter this directory, or its path was too long for a socket.
        if not path.is_relative_to(directory) and path.name.startswith("lastgood-pg-"):
            shutil.rmtree(path, ignore_errors=True)
    # The mark goes last: until then an interrupted removal can be repeated.
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name == MARK):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MARK).touch()
    except OSError as problem:
        raise NotAllowed(
            N_("the demonstration can't write to {path}: {words}"),
            todo=N_("Name another directory: --directory."),
            path=str(directory),
            words=problem.strerror or str(problem),
        ) from problem


def start_postgres(
    directory: Path, units: Iterable[UnitId], settings: Mapping[str, str] = MappingProxyType({})
) -> Started:
    """A server with a database for each of ``units``."""
    import psycopg

    try:
        server = start_detached(directory / "postgres", settings=settings)
    except ServerFailed as problem:
        raise not_started("PostgreSQL", directory, problem) from problem
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for unit in units:
            # Copying the template's files beats logging each of its blocks when the server is new.
            connection.execute(f'create database "{database_name(unit)}" strategy file_copy')
    return server.url().rpartition("/")[0], ProcessMark.of(server.pid)


def start_mariadb(directory: Path, units: Iterable[UnitId]) -> Started:
    """A server with a database for each of ``units``."""
    try:
        server = mariadb_server.start_detached(directory / "mariadb")
        server.ask("".join(f"CREATE DATABASE `{database_name(unit)}`;" for unit in units))
    except (mariadb_server.MariadbServerFailed, FileNotFoundError) as problem:
        raise not_started("MariaDB", directory, problem) from problem
    return server.url().rpartition("/")[0], ProcessMark.of(server.pid)


def _start_caddy(directory: Path) -> Started:
    home = directory / "caddy"
    home.mkdir()
    server = CaddyServer(home, f"http://127.0.0.1:{free_ports(1)[0]}", home / "caddy.log")
    try:
        server.start()
    except (RuntimeError, FileNotFoundError) as problem:
        raise not_started("Caddy", directory, problem) from problem
    return server.admin, ProcessMark.of(server.pid)


def not_started(server: str, directory: Path, problem: Exception) -> DriverError:
    """The error for a server of the world that does not start."""
    return DriverError(
        N_("{server} did not start: {words}"),
        todo=N_("Mend what it says, and run the demonstration again."),
        where=str(directory),
        server=server,
        words=str(problem).strip()[-800:],
    )


def _save(world: World) -> None:
    plain = {
        "directory": str(world.directory),
        "database_server": world.database_server,
        "servers": dict(world.servers),
        "ports": {str(unit): port for unit, port in world.ports.items()},
        "processes": {name: {"pid": m.pid, "started": m.started} for name, m in world.processes.items()},
    }
    half = world.directory / ".world.json.half"
    with half.open("w", encoding="utf-8") as file:
        json.dump(plain, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    half.rename(world.directory / "world.json")

"""Finds and ends every process of one demonstration, by what the process itself carries.

A list of pids misses what was started in the moment before a crash; a name hits strangers. Each
process of the demonstration has its directory in its environment or arguments, and those are looked at.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from lastgood.testing.docker_engine import DockerEngine
from lastgood.testing.docker_engine import find as find_engine
from lastgood.testing.postgres_server import find

PATIENCE = 10.0
"""Seconds between asking and forcing."""


Belongs = Callable[[list[str], dict[str, str]], bool]
"""Whether a process with these arguments and this environment is one of ours."""


def stop_shoppers(directory: Path) -> int:
    """Let the customers finish what they began, and go; returns how many processes there were."""
    return _end(_found(_shops(directory.resolve())), signal.SIGTERM)


def stop_registry(directory: Path) -> int:
    """Have no registry any more; what was pushed stays. Returns how many processes there were."""
    return _end(_found(_of("docker-registry", f"{directory}/registry/")), signal.SIGTERM)


def end_all(directory: Path) -> int:
    """Customers first, then lastgood's runner, the shops, the proxies, the container engine with its
    containers, and the database; returns how many.
    """
    ended = 0
    for belongs, number in _kinds(directory):
        ended += _end(_found(belongs), number)
    for engine in engines(directory):
        ended += engine.pid != 0
        engine.end()
    # SIGINT is PostgreSQL's fast shutdown; its children have a title for a name, and it ends them itself.
    ended += _end(_found(_postgres(directory)), signal.SIGINT)
    return ended + _end(_found(_mariadb(directory)), signal.SIGTERM)


def engines(directory: Path) -> list[DockerEngine]:
    """What was ever started in ``directory``, running or not."""
    return [find_engine(path) for path in sorted((directory / "docker").glob("*"))]


def _kinds(directory: Path) -> Iterable[tuple[Belongs, signal.Signals]]:
    processes = f"{directory}/process/"
    caddy = str(directory / "caddy" / "data")
    # A shim that is asked to end leaves its shop running, and nobody starts that again: it is asked next.
    yield _shops(directory), signal.SIGTERM
    yield (
        lambda line, env: (
            "lastgood.bootstrap.runner" in line and env.get("LASTGOOD_STATE") == str(directory / "state")
        ),
        signal.SIGTERM,
    )
    yield (
        lambda line, _: (
            any(w.endswith("process/__main__.py") for w in line) and line[-1].startswith(processes)
        ),
        signal.SIGTERM,
    )
    yield lambda _, env: env.get("LASTGOOD_RUN", "").startswith(processes), signal.SIGTERM
    yield (
        lambda line, env: env.get("XDG_DATA_HOME") == caddy and Path(line[0]).name == "caddy",
        signal.SIGTERM,
    )
    for program, files in (("haproxy", "haproxy"), ("docker-registry", "registry")):
        yield _of(program, f"{directory}/{files}/"), signal.SIGTERM


def _of(program: str, files: str) -> Belongs:
    """A program that was given one of its files in ``files``."""
    return lambda line, _: Path(line[0]).name == program and any(w.startswith(files) for w in line[1:])


def _postgres(directory: Path) -> Belongs:
    data = _data(directory)
    return lambda line, env: Path(line[0]).name == "postgres" and env.get("PGDATA") == data


def _mariadb(directory: Path) -> Belongs:
    settings = f"--defaults-file={directory}/mariadb/my.cnf"
    return lambda line, _: Path(line[0]).name == "mariadbd" and settings in line


def _data(directory: Path) -> str:
    """PostgreSQL's data directory: elsewhere when its user could not enter ours."""
    server = find(directory / "postgres")
    return str(server.data if server else directory / "postgres" / "data")


def _shops(directory: Path) -> Belongs:
    return lambda line, _: (
        "lastgood.demo.shoppers" in line and any(word.startswith(f"{directory}/") for word in line)
    )


def _found(belongs: Belongs) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _is(process, belongs)]


def _is(process: psutil.Process, belongs: Belongs) -> bool:
    try:
        line = process.cmdline()
        return bool(line) and belongs(line, process.environ())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _end(found: list[psutil.Process], number: signal.Signals) -> int:
    for process in found:
        _send(process, number)
    for process in _left(found):
        _send(process, signal.SIGKILL)
    _left(found)
    return len(found)


def _left(found: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after waiting. A zombie has ended, even while nobody has asked how."""
    deadline = time.monotonic() + PATIENCE
    while (running := [process for process in found if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return running


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    """psutil compares the start time first, so a pid that came again is left alone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)

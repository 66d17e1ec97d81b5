"""Finds and ends every process of one demonstration, by what the process itself carries.

A list of pids misses what was started in the moment before a crash; a name hits strangers. Each
process of the demonstration has its directory in its environment or arguments, and those are looked at.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from lastgood.testing.postgres_server import find

PATIENCE = 10.0
"""Seconds between asking and forcing."""


def end_all(directory: Path) -> int:
    """Customers first, then lastgood's runner, the shops, the proxy and the database; returns how many."""
    ended = 0
    for belongs, number in _kinds(directory):
        found = [process for process in psutil.process_iter() if _is(process, belongs)]
        ended += _end(found, number)
    return ended


Belongs = Callable[[list[str], dict[str, str]], bool]


def _kinds(directory: Path) -> Iterable[tuple[Belongs, signal.Signals]]:
    processes = f"{directory}/process/"
    caddy, data = str(directory / "caddy" / "data"), _data(directory)
    # A shim that is asked to end leaves its shop running, and nobody starts that again: it is asked next.
    yield lambda line, _: "lastgood.demo.shoppers" in line and _names(line, directory), signal.SIGTERM
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
    # SIGINT is PostgreSQL's fast shutdown; its children have a title for a name, and it ends them itself.
    yield lambda line, env: Path(line[0]).name == "postgres" and env.get("PGDATA") == data, signal.SIGINT


def _data(directory: Path) -> str:
    """PostgreSQL's data directory: elsewhere when its user could not enter ours."""
    server = find(directory / "postgres")
    return str(server.data if server else directory / "postgres" / "data")


def _names(line: list[str], directory: Path) -> bool:
    return any(word.startswith(f"{directory}/") for word in line)


def _is(process: psutil.Process, belongs: Belongs) -> bool:
    try:
        line = process.cmdline()
        return bool(line) and belongs(line, process.environ())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _end(found: list[psutil.Process], number: signal.Signals) -> int:
    for process in found:
        _send(process, number)
    _, stubborn = psutil.wait_procs(found, timeout=PATIENCE)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=PATIENCE)
    return len(found)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    """psutil compares the start time first, so a pid that came again is left alone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)

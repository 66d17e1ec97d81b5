"""Restores in a process of its own that kills itself at a point: url, directory, snapshot's id, point.

A point is ``module.function`` or ``module.Class.method`` of the driver, with ``<`` in front for before and
``>`` for after it has run, and perhaps ``#2`` for the second time.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.drivers.postgresql.conftest import UNIT, Tools, create
from tests.drivers.postgresql.day import RESTORE


def arm(point: str) -> None:
    """Have the process die there."""
    where, name, wanted = point[0], *((point[1:].split("#") + ["1"])[:2])
    module, *path = name.split(".")
    holder: Any = importlib.import_module(f"lastgood.drivers.postgresql.{module}")
    for part in path[:-1]:
        holder = getattr(holder, part)
    act = getattr(holder, path[-1])
    calls = 0

    @functools.wraps(act)
    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if where == "<" and calls == int(wanted):
            os.kill(os.getpid(), signal.SIGKILL)
        result = act(*arguments, **named)
        if where == ">" and calls == int(wanted):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, path[-1], dying)


if __name__ == "__main__":
    url, directory, id_, point = sys.argv[1:]
    driver = create(UNIT, {"url": url, "resource": "shop@prod/us"}, Tools(Path(directory)))
    taken = driver._snapshots.known(id_).snapshot  # type: ignore[attr-defined]
    arm(point)
    driver.prepare_copy(taken, RESTORE)  # type: ignore[attr-defined]
    driver.carry_over(taken, RESTORE, ())  # type: ignore[attr-defined]
    driver.swap(taken, RESTORE, ())  # type: ignore[attr-defined]

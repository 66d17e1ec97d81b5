"""A process that kills itself where a test wants it to, in the middle of what a driver does."""

from __future__ import annotations

import functools
import importlib
import os
import signal
from typing import Any


def arm(driver: str, point: str) -> None:
    """Have this process die at ``point``: ``module.function`` of that driver, with ``<`` in front for before
    and ``>`` for after it ran, and perhaps ``#2`` for the second time.
    """
    name, _, wanted = point[1:].partition("#")
    module, *path = name.split(".")
    holder: Any = importlib.import_module(f"lastgood.drivers.{driver}.{module}")
    for part in path[:-1]:
        holder = getattr(holder, part)
    act = getattr(holder, path[-1])
    calls = 0

    @functools.wraps(act)
    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        now = calls == int(wanted or 1)
        if now and point[0] == "<":
            os.kill(os.getpid(), signal.SIGKILL)
        result = act(*arguments, **named)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, path[-1], dying)

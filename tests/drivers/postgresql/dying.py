"""A restore that dies where a test wants it to, and what must be true once it has gone on."""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

from tests.drivers.postgresql.day import Day


def die(day: Day, point: str, act: Callable[[], object] | None = None) -> None:
    """A restore, or ``act``, in a process of its own that kills itself at ``point``: ``module.function``,
    with ``<`` in front for before and ``>`` for after it ran, and perhaps ``#2`` for the second time.
    """
    child = os.fork()
    if child == 0:
        try:
            arm(point)
            (act or day.go_back_again)()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"it did not come to {point}"


def arm(point: str) -> None:
    name, _, wanted = point[1:].partition("#")
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
        now = calls == int(wanted or 1)
        if now and point[0] == "<":
            os.kill(os.getpid(), signal.SIGKILL)
        result = act(*arguments, **named)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, path[-1], dying)


def check(day: Day) -> None:
    """Everything is there once."""
    ask = day.lab.ask
    assert ask("SELECT customer, count(*) FROM orders WHERE id > 20 GROUP BY 1 ORDER BY 1") == [
        ("after", 3),
        ("before", 1),
    ]
    assert ask("SELECT id, price, stock FROM products WHERE id < 3 ORDER BY 1") == [(1, 10, 100), (2, 20, 97)]
    assert day.lab.driver().fingerprint() == day.taken.fingerprint

"""A restore that dies where a test wants it to, and what must be true once it has gone on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.drivers.dying import arm
from tests.drivers.postgresql.day import Day


def die(day: Day, point: str, act: Callable[[], object] | None = None) -> None:
    """A restore, or ``act``, in a process of its own that kills itself at ``point``: ``module.function``,
    with ``<`` in front for before and ``>`` for after it ran, and perhaps ``#2`` for the second time.
    """
    child = os.fork()
    if child == 0:
        try:
            arm("postgresql", point)
            (act or day.go_back_again)()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"it did not come to {point}"


def check(day: Day) -> None:
    """Everything is there once."""
    ask = day.lab.ask
    assert ask("SELECT customer, count(*) FROM orders WHERE id > 20 GROUP BY 1 ORDER BY 1") == [
        ("after", 3),
        ("before", 1),
    ]
    assert ask("SELECT id, price, stock FROM products WHERE id < 3 ORDER BY 1") == [(1, 10, 100), (2, 20, 97)]
    assert day.lab.driver().fingerprint() == day.taken.fingerprint

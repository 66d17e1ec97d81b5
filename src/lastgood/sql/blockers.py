"""Who holds a session up: seen while it waits, because afterwards it is too late to ask."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

from lastgood.domain.errors import DriverError

log = logging.getLogger(__name__)
C = TypeVar("C")
B = TypeVar("B")
FIRST = 0.25
"""Seconds that quick work takes at most: it never opens the second session."""


class BlockerWatch(Generic[C, B]):
    """Asks ``look`` again and again, in a session of its own that ``session`` gives, every fifth of
    ``patience`` (seconds a lock is waited for), while the block runs. ``last``: what it saw last, empty when
    nobody was in the way.
    """

    def __init__(
        self,
        session: Callable[[], contextlib.AbstractContextManager[C]],
        look: Callable[[C], tuple[B, ...]],
        patience: float,
    ) -> None:
        self._session, self._look = session, look
        self._pause = max(patience / 5, 0.05)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="blockers")
        self.last: tuple[B, ...] = ()

    def __enter__(self) -> BlockerWatch[C, B]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._over.wait(min(self._pause, FIRST)):
            return
        # Without this look the message is poorer; the migration itself must not fail for it.
        with contextlib.suppress(DriverError), self._session() as connection:
            while True:
                self.last = self._look(connection) or self.last
                if self._over.wait(self._pause):
                    return


class Ended:
    """Sessions that were ended for holding a migration up, until somebody asks; our log has them, too."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def note(self, session: object) -> None:
        log.warning("ended, as end_idle_after says: %s", session)
        self._found.append(str(session))

    def take(self) -> tuple[str, ...]:
        found, self._found = tuple(self._found), []
        return found


def describe(found: Sequence[object]) -> str:
    return "; ".join(str(blocker) for blocker in found)

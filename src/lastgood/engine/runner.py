"""The runner: the one process per state directory that brings accepted rollouts to their end.

Crash-only: it may be killed at any moment, and SIGTERM is just a kill with a log line.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.engine.handlers import Programs
from lastgood.ports.clock import Clock
from lastgood.ports.persistence import Store

log = logging.getLogger(__name__)

POLL_SECONDS = 0.01
"""Between looks for newly accepted rollouts; a look is one PRAGMA while nothing changed."""


REVIVE_SECONDS = 5.0
"""Between looks for open programs whose workflow ended before them: our own store could not be written
for a while (disk full), and the runtime gave up."""


class RunnerLock:
    """A kernel lock on ``runner.lock``: gone with its process, however that ends."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / "runner.lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether this process now is the runner."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int:
        """Pid of the living runner, 0 when there is none."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(descriptor, 200, 0).decode(errors="replace")
            return int(json.loads(text)["pid"]) if text.startswith("{") and text.endswith("}") else -1
        else:
            return 0
        finally:
            os.close(descriptor)


class Runtime(Protocol):
    def launch(self) -> None: ...

    def start(self, program: str) -> None: ...

    def revive(self, program: str) -> None: ...

    def close(self) -> None: ...


class Runner:
    """Launches the runtime and feeds it; ends itself when nothing is open (unless ``forever``)."""

    def __init__(
        self,
        store: Store,
        programs: Programs,
        lock: RunnerLock,
        clock: Clock,
        runtime: Callable[[], Runtime],
        changed: Callable[[], int],
        *,
        forever: bool = False,
        linger: float = 3.0,
    ) -> None:
        self._store, self._programs, self._lock, self._clock = store, programs, lock, clock
        self._runtime, self._changed = runtime, changed
        self._forever, self._linger = forever, linger

    def run(self) -> None:
        """Raises Conflict when another process is the runner already."""
        if not self._acquire():
            raise Conflict(
                N_("another runner (pid {pid}) already serves this state directory"),
                todo=N_("Nothing to do: rollouts go on there. Stop it first to run it in the foreground."),
                pid=self._lock.holder(),
            )
        runtime = self._runtime()
        runtime.launch()
        left = self._programs.open()
        for program in left:
            # Not left to the runtime's own recovery, which looks at its queue once a second.
            runtime.revive(program)
        log.info("runner up, pid %s, %s programs to go on with", os.getpid(), len(left))
        self._serve(runtime)

    def _serve(self, runtime: Runtime) -> None:
        seen = -1
        idle_since = revived = self._clock.monotonic()
        while True:
            now_seen = self._changed()
            if self._clock.monotonic() - revived > REVIVE_SECONDS:
                revived = self._clock.monotonic()
                for program in self._programs.open():
                    runtime.revive(program)
            if now_seen != seen:
                seen = now_seen
                if self._feed(runtime):
                    idle_since = self._clock.monotonic()
            idle = self._clock.monotonic() - idle_since > self._linger
            if idle and not self._forever and self._retire():
                runtime.close()
                return
            self._clock.sleep(POLL_SECONDS)

    def _feed(self, runtime: Runtime) -> bool:
        """Start what was accepted; returns whether anything is open."""
        with self._store.read() as unit:
            waiting = list(unit.wishes.enqueued())
        busy = bool(self._programs.open())
        for program in waiting:
            runtime.start(program)
            with self._store.write() as unit:
                unit.wishes.started(program)
        return busy or bool(waiting)

    def _acquire(self) -> bool:
        """Somebody who only looks whether there is a runner holds the lock for a moment: try again."""
        for _ in range(10):
            if self._lock.acquire():
                return True
            self._clock.sleep(POLL_SECONDS)
        return False

    def _retire(self) -> bool:
        """Give up the lock, then look once more: who accepts after that finds no runner and starts one."""
        if self._programs.open():
            return False
        self._lock.release()
        return not (self._programs.open() and self._lock.acquire())

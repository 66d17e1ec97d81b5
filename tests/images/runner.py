"""The real runner in a child process that is there at once, held or killed at points of a program."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from lastgood.bootstrap.places import Places, make_state
from lastgood.bootstrap.runner import run, runner_pid
from lastgood.domain.errors import Conflict
from tests.journey.conftest import wait_for

Point = tuple[str, str]
"""(moment, step): ``before effect``, ``after effect`` or ``after outcome`` of a step."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["lastgood.engine.durable", "lastgood.store.database", "lastgood.actions.steps.table",
     "lastgood.drivers.docker.driver", "lastgood.drivers.haproxy.driver", "tests.images.runner"]
)  # fmt: skip


@dataclass
class Runner:
    """``kill_at``: it is killed there. ``hold_at``: it waits at each of them until ``go_on``."""

    places: Places
    kill_at: Point | None = None
    hold_at: frozenset[Point] = frozenset()
    process: BaseProcess | None = None

    def start(self) -> Runner:
        make_state(self.places)
        (self._held).unlink(missing_ok=True)
        self.process = _server.Process(target=_run, args=(self.places, self.kill_at, self.hold_at))
        self.process.daemon = True
        self.process.start()
        # One that dies at once, as it is meant to, was there all the same.
        wait_for(lambda: runner_pid(self.places) == self.pid or not self.alive)
        return self

    @property
    def pid(self) -> int:
        return int((self.process and self.process.pid) or 0)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    @property
    def _held(self) -> Path:
        return self.places.state / "held"

    def await_hold(self) -> Point:
        """Until it waits at one of its points; which one."""
        wait_for(self._held.exists, 40)
        moment, _, step = self._held.read_text().partition("|")
        return moment, step

    def go_on(self) -> None:
        self._held.unlink()

    def await_killed(self) -> None:
        """Until it was killed at its point: that is observed, not assumed."""
        assert self.process is not None
        self.process.join(40)
        assert self.process.exitcode == -signal.SIGKILL, f"not killed at {self.kill_at}"

    def kill(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.process.kill()
        if self.process is not None:
            self.process.join(10)


def killed_at(places: Places, points: Sequence[Point]) -> None:
    """One runner after the other, each killed at its point of the program that is open."""
    for point in points:
        Runner(places, kill_at=point).start().await_killed()


def _run(places: Places, kill_at: Point | None, hold_at: frozenset[Point]) -> None:
    os.setsid()
    log = places.state / "runner.log"
    logging.basicConfig(level=logging.INFO, filename=log, force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def probe(moment: str, step: str) -> None:
        if kill_at == (moment, step):
            os.kill(os.getpid(), signal.SIGKILL)
        if (moment, step) in hold_at:
            held, written = places.state / "held", places.state / "held.new"
            written.write_text(f"{moment}|{step}")
            written.rename(held)
            while held.exists():
                time.sleep(0.01)

    try:
        run(places, forever=True, probe=probe)
    except Conflict:
        logging.exception("no runner")

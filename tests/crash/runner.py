"""Runs the real runner in a child process that kills itself (-9) at one point of a program."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import run
from lastgood.domain.errors import Conflict

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["lastgood.engine.durable", "lastgood.store.database", "tests.crash.runner"])


def start_runner(places: Places, at: tuple[str, str] | None = None) -> BaseProcess:
    """A runner; ``at`` is the (moment, step) at which it is killed, None for one that lives."""
    process = _server.Process(target=_run, args=(places, at))
    process.start()
    return process


def _run(places: Places, at: tuple[str, str] | None) -> None:
    os.setsid()
    log = places.state / "runner.log"
    logging.basicConfig(level=logging.INFO, filename=log, force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def probe(moment: str, step: str) -> None:
        if at == (moment, step):
            Path(places.state / "killed").write_text(f"{moment} {step}")
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        run(places, forever=False, probe=probe)
    except Conflict:
        logging.exception("no runner")

"""The runner as a process: ``python -m lastgood.bootstrap.runner`` with the places in the environment."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from lastgood.bootstrap.places import Places, find_places, make_state
from lastgood.domain.errors import Conflict, LastgoodError
from lastgood.engine.handlers import Probe, no_probe
from lastgood.engine.runner import RunnerLock, Runtime

log = logging.getLogger("lastgood.runner")


def runner_pid(places: Places) -> int:
    """Pid of the living runner, 0 when there is none."""
    return RunnerLock(places.state).holder()


def ensure_runner(places: Places) -> None:
    """Start one, detached from this terminal, when there is none; two at once settle it by the lock."""
    if runner_pid(places):
        return
    make_state(places)
    environment: Mapping[str, str] = {
        **{name: value for name, value in os.environ.items() if name != "LASTGOOD_ESTATE"},
        "LASTGOOD_STATE": str(places.state),
        "LASTGOOD_KEY_FILE": str(places.key),
    }
    descriptor = os.open(places.runner_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        subprocess.Popen(
            [sys.executable, "-m", "lastgood.bootstrap.runner"],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def run(places: Places, *, forever: bool, probe: Probe = no_probe) -> None:
    """Be the runner until nothing is open (or for ever). Raises Conflict when another one is."""
    from lastgood.actions.captures import end_needless
    from lastgood.actions.change_programs import ChangePrograms, ProgramsByKind
    from lastgood.actions.context import Actor
    from lastgood.actions.finish import RUNNER, RolloutPrograms
    from lastgood.actions.steps.table import handlers, wave_handlers
    from lastgood.actions.steps.tools import Tools
    from lastgood.bootstrap.parts import build_context, origin
    from lastgood.clock import SystemClock
    from lastgood.engine.interpreter import Interpreter
    from lastgood.engine.runner import Runner
    from lastgood.store.database import open_store

    make_state(places)
    clock = SystemClock()
    store = open_store(places.state, clock)
    context = replace(build_context(Places(places.state, places.key), store), actor=Actor(RUNNER, origin()))
    tools = Tools(context.drivers, context.objects, context.vault, context.images, places.evidence)
    tidy = partial(end_needless, store, context.drivers, context.vault, clock)
    rollouts = RolloutPrograms(store, clock, origin(), context.vault, tidy)
    programs = ProgramsByKind(rollouts, ChangePrograms(store, clock, origin()))
    known = {**handlers(tools), **wave_handlers(context)}
    interpreter = Interpreter(store, programs, known, clock, probe)

    def durable() -> Runtime:
        from lastgood.engine.durable import DurableRuntime

        return DurableRuntime(places.durable, interpreter)

    lock = RunnerLock(places.state)
    Runner(store, programs, lock, clock, durable, store.changed, forever=forever).run()


def _stop(number: int, frame: FrameType | None) -> None:
    """Crash-only: whatever is in hand goes on at the next start."""
    log.info("stopped by signal %s; open rollouts go on at the next start", number)
    logging.shutdown()
    os._exit(0)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _stop)
    try:
        places = find_places(start=Path("/"))
        run(Places(places.state, places.key), forever=False)
    except Conflict:
        return 0
    except LastgoodError as error:
        log.error("%s %s", error.what, error.todo)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

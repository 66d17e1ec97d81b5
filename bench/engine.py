"""What the engine costs: a step, the way from acceptance to the first step, recovery, and the CLI's start.

Steps do nothing, so every millisecond is ours. Times from the journal are those of its entries.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.support.runners import Programs, kill_runner, lasting_runner, places_in
from bench.support.tables import HEAD, line, verdict
from lastgood.bootstrap.parts import build_context
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import ensure_runner

ROOT = Path(__file__).parents[1]
STEPS = 200
ROUNDS = 10
AT_ONCE = 20
HELP_AIM, STATUS_AIM = 300.0, 800.0
LASTGOOD = Path(sys.executable).parent / "lastgood"


def _stepping(mode: str) -> list[float]:
    """Milliseconds between steps, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as made:
        command = [sys.executable, "-m", "bench.support.stepping", mode, made, str(STEPS)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [float(value) for value in json.loads(done.stdout)]


def _since(start: float, moment: datetime) -> float:
    return (moment.timestamp() - start) * 1000


def _first_intent(programs: Programs, start: float, steps: int = 1) -> float:
    """Milliseconds from ``start`` to the first intent of a program accepted now."""
    rollout = programs.accept(steps)
    programs.end(rollout)
    return _since(start, programs.intents(rollout)[0])


def _warm(places: Places, programs: Programs) -> list[float]:
    found = []
    with lasting_runner(places):
        programs.end(programs.accept(1))
        for _ in range(ROUNDS * 2):
            time.sleep(0.1)  # not in the runner's own rhythm
            found.append(_first_intent(programs, time.time()))
    return found


def _cold(places: Places, programs: Programs) -> list[float]:
    """No runner: it is started as the command does, before and after accepting."""
    found = []
    for _ in range(ROUNDS):
        kill_runner(places)
        start = time.time()
        ensure_runner(places)
        rollout = programs.accept(1)
        ensure_runner(places)
        programs.end(rollout)
        found.append(_since(start, programs.intents(rollout)[0]))
    kill_runner(places)
    return found


def _at_once(places: Places, programs: Programs) -> tuple[list[float], float]:
    """Acceptance to first step of each of 20 programs, and milliseconds per step of all together."""
    with lasting_runner(places):
        programs.end(programs.accept(1))
        begin = datetime.now(UTC)
        accepted = [programs.accept(AT_ONCE) for _ in range(AT_ONCE)]
        last = max(programs.end(rollout) for rollout in accepted)
        firsts = [_since(r.created_at.timestamp(), programs.intents(r)[0]) for r in accepted]
    return firsts, (last - begin).total_seconds() * 1000 / AT_ONCE**2


def _recovery(places: Places, programs: Programs) -> list[float]:
    """kill -9 in the middle of a program, a new runner at once, to the first step that goes on."""
    found = []
    for _ in range(ROUNDS):
        ensure_runner(places)
        rollout = programs.accept(STEPS)
        programs.wait_beyond(rollout, 40)
        at = kill_runner(places)
        before = programs.last_sequence(rollout)
        ensure_runner(places)
        found.append(_since(at, programs.wait_beyond(rollout, 0, before)))
        programs.end(rollout)
        kill_runner(places)
    return found


def _wall(command: Sequence[str], environment: Mapping[str, str], missed: list[str]) -> list[float]:
    """Wall times of a process from start to end; one that fails is a missed aim. Prints them."""
    found, used = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryFile() as said:
            start = time.perf_counter()
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
            found.append((time.perf_counter() - start) * 1000)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            words = said.read().decode().strip().splitlines() or ["no message"]
        used.append((usage.ru_utime + usage.ru_stime) * 1000)
    print(line(" ".join((Path(command[0]).name, *command[1:])), found))
    print(line("  of that processor time", used))
    if process.returncode:
        missed.append(f"{' '.join(command[1:])} ended with {process.returncode} ({words[-1][:60]})")
    return found


def _command_line(places: Places, programs: Programs, missed: list[str]) -> None:
    with programs.context.store.write() as unit:
        for rollout in unit.rollouts.list(limit=AT_ONCE):
            unit.releases.set_current(rollout.unit, rollout.target, rollout.created_at)
    environment = {**os.environ, "LASTGOOD_STATE": str(places.state), "LASTGOOD_KEY_FILE": str(places.key)}
    helped = _wall([str(LASTGOOD), "--help"], environment, missed)
    asked = _wall([str(LASTGOOD), "status"], environment, missed)
    _wall([sys.executable, "-c", "pass"], environment, missed)
    for name, values, aim in (("--help", helped, HELP_AIM), ("status", asked, STATUS_AIM)):
        middle = statistics.median(values)
        if middle > aim:
            missed.append(f"lastgood {name} takes {middle:.0f} ms, {middle - aim:.0f} over {aim:.0f}")


def run() -> bool:
    """Print the table; True when the CLI starts as fast as it has to and every program ended well."""
    missed: list[str] = []
    print(HEAD)
    print(line("a step: interpreter, journal and DBOS", _stepping("engine")))
    print(line("a step: interpreter and journal alone", _stepping("bare")))
    print(line("a step: DBOS alone", _stepping("dbos")))
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as made:
        places = places_in(Path(made))
        programs = Programs(build_context(places))
        print(line("acceptance to first step, runner up", _warm(places, programs)))
        print(line("acceptance to first step, no runner", _cold(places, programs)))
        firsts, each = _at_once(places, programs)
        print(line(f"acceptance to first step, {AT_ONCE} programs at once", firsts))
        print(
            f"{f'a step, {AT_ONCE} programs of {AT_ONCE} steps at once':<50} {AT_ONCE**2:>4} {each:>6.1f} ms"
        )
        print(line("kill -9 to the first step after it", _recovery(places, programs)))
        _command_line(places, programs, missed)
    return verdict("engine", missed)

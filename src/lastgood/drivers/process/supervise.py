"""The driver's side of the shim: is it there, wake it, start it, and end what a dead one left.

All of it is called under the generation's ``change.lock``, so that nobody else starts a shim meanwhile.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lastgood.domain.errors import OutcomeUnknown
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.drivers.process import layout, logs, proc
from lastgood.ports.content import Vault

ANSWER_WITHIN = 10.0
LOOK_EVERY = 0.005
TRIES = 5


def shim_is_alive(home: str) -> bool:
    """Its kernel lock says so, whatever any file claims."""
    lock = layout.lock(layout.path(home, layout.SHIM_LOCK), wait=False)
    if lock < 0:
        return True
    os.close(lock)
    return False


def wake_or_spawn(home: str, sequence: int, secrets: Sequence[SecretVersion], vault: Vault) -> None:
    """Return when a living shim has acted on wish number ``sequence``. Raises OutcomeUnknown."""
    end = time.monotonic() + ANSWER_WITHIN
    tries = 0
    while time.monotonic() < end and tries < TRIES:
        if not shim_is_alive(home):
            tries += 1  # one that is killed before it answers is no reason to give up
            if not _spawn(home, {s.name: vault.unseal(s) for s in secrets}):
                continue
        _wake(home)
        while time.monotonic() < end and shim_is_alive(home):
            if layout.read(home, layout.STATE).get("sequence", 0) >= sequence:
                return
            time.sleep(LOOK_EVERY)
    raise _silent(home)


def _wake(home: str) -> None:
    shim = layout.read(home, layout.STATE).get("shim", {})
    proc.send(shim.get("pid", 0), shim.get("ticks", 0), signal.SIGHUP)


def _spawn(home: str, secrets: dict[str, str]) -> bool:
    """Detached for good; secret values go through its standard input, never through argv or a file.

    Whether a shim answered: this one, or one that holds the lock already.
    """
    entry = Path(__file__).with_name("__main__.py")
    errors = os.open(layout.path(home, "shim.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        shim = subprocess.Popen(
            [sys.executable, "-I", "-S", str(entry), home],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env={"LANG": "C.UTF-8"},
            start_new_session=True,
        )
    finally:
        os.close(errors)
    assert shim.stdin is not None
    assert shim.stdout is not None
    with shim.stdin, shim.stdout:
        try:
            shim.stdin.write(json.dumps(secrets).encode())
            shim.stdin.close()
        except BrokenPipeError:
            pass  # it ended; what it said is in its log
        answered, _, _ = select.select([shim.stdout], [], [], ANSWER_WITHIN)
        answer = shim.stdout.readline() if answered else b""
    shim.wait()
    return answer in (b"ok\n", b"held\n")


def _silent(home: str) -> OutcomeUnknown:
    words = logs.tail(layout.path(home, "shim.log"), 2000).decode(errors="replace").strip().splitlines()
    return OutcomeUnknown(
        N_("the shim in {directory} does not answer: {words}"),
        todo=N_("See whether it runs and whether its disk is full; then run it again."),
        where=home,
        directory=home,
        words=words[-1] if words else "-",
    )


def end_orphans(home: str, roles: Sequence[str], grace: float) -> None:
    """End roles whose shim is dead. Holds the shim's own lock, so that none can adopt them meanwhile."""
    lock = layout.lock(layout.path(home, layout.SHIM_LOCK), wait=False)
    if lock < 0:
        return
    try:
        state = layout.read(home, layout.STATE)
        slots = state.get("roles", {})

        def left() -> list[int]:
            found = []
            for role in roles:
                slot = slots.get(role, {})
                found += proc.members(slot.get("pid", 0), slot.get("ticks", 0), layout.marker(home, role))
            return found

        proc.send_all(left(), signal.SIGTERM)
        end = time.monotonic() + grace
        while (there := left()) and time.monotonic() < end + 5.0:
            if time.monotonic() >= end:
                proc.send_all(there, signal.SIGKILL)
            time.sleep(LOOK_EVERY * 4)
        for role in set(roles) & set(slots):
            slots[role] |= {"pid": 0, "ticks": 0, "phase": "down", "detail": ""}
            slots[role]["exit"] = {"stopped": True, "at": time.time()}
        if slots and not there:
            layout.write(home, layout.STATE, state)
    finally:
        os.close(lock)

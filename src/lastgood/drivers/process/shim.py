"""The shim: one small process per generation that owns its children, restarts them and outlives the runner.

It does what ``desired.json`` says and writes what is so to ``state.json``. Woken by SIGHUP and by the
end of a child (pidfd), never by a clock alone. SIGTERM ends the shim and leaves the children running:
the next shim adopts them by pid and start time. Standard library only; kept light on purpose.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

from lastgood.drivers.process import launch, layout, logs, proc

QUICK = 5.0
"""A child that lived shorter (seconds) ended quickly."""
LOOP = 8
"""So many quick ends in a row are a crash loop: no more back-off, one try in ``RETRY`` seconds."""
FIRST_PAUSE, LONGEST_PAUSE, RETRY = 0.1, 5.0, 60.0
LOOK_AT_LOGS = 5.0
ENDING_LOOK = 0.03
UP, ENDING, DOWN = "up", "ending", "down"


class Slot:
    """One role: what runs for it, and how it went so far."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.phase = DOWN
        self.wanted = False
        self.asked = -1
        self.pid = self.ticks = self.port = self.restarts = self.quick = 0
        self.own = False
        self.handle = self.claim = -1
        self.next_try = self.stop_by = self.since = 0.0
        self.exit: dict[str, Any] | None = None
        self.detail = ""

    def state(self) -> dict[str, Any]:
        return {
            "phase": self.phase, "pid": self.pid, "ticks": self.ticks, "port": self.port,
            "restarts": self.restarts, "quick": self.quick, "exit": self.exit, "detail": self.detail,
        }  # fmt: skip

    def load(self, state: dict[str, Any], same_boot: bool) -> None:
        """Take over from the shim before; a recorded process that is gone counts as an unwanted end."""
        self.port, self.restarts = state.get("port", 0), state.get("restarts", 0)
        self.quick, self.exit = state.get("quick", 0), state.get("exit")
        pid, ticks = state.get("pid", 0), state.get("ticks", 0)
        if not pid:
            return
        self.pid, self.ticks = pid, ticks
        if same_boot and proc.is_running(pid, ticks) and self._hold():
            self.phase = UP
            return
        self.pid = self.ticks = 0
        if state.get("phase") == UP:
            self.restarts += 1
            self.exit = {"code": None, "signal": "", "after": None, "at": time.time()}

    def _hold(self) -> bool:
        try:
            self.handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        return proc.is_running(self.pid, self.ticks)

    def started(self, pid: int) -> None:
        self.phase, self.own, self.exit, self.detail = UP, True, None, ""
        self.since = time.monotonic()
        self.handle = os.pidfd_open(pid)

    def let_go(self) -> None:
        """The leader is gone; nothing of it is held any longer."""
        if self.own and self.pid:
            os.waitpid(self.pid, os.WNOHANG)
        if self.handle >= 0:
            os.close(self.handle)
        self.pid = self.ticks = 0
        self.own, self.handle, self.phase = False, -1, DOWN

    def ended(self) -> dict[str, Any] | None:
        """How the leader ended, None while it lives. It is not reaped yet: its pid can't come again."""
        lived = time.monotonic() - self.since if self.own else proc.age(self.ticks)
        end: dict[str, Any] = {"code": None, "signal": "", "after": round(lived, 2), "at": time.time()}
        if not self.own:
            return None if proc.is_running(self.pid, self.ticks) else end
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        if found.si_code == os.CLD_EXITED:
            end["code"] = found.si_status
        else:
            end["signal"] = signal.Signals(found.si_status).name
        return end


class Shim:
    """The loop: read what is wished, see what ended, do one thing per role, write down, wait."""

    def __init__(self, directory: str, lock: int, secrets: dict[str, str]) -> None:
        self.directory, self.lock, self.secrets = directory, lock, secrets
        self.spec: dict[str, Any] = {}
        self.slots: dict[str, Slot] = {}
        self.sequence = self.acted_on = 0
        self.leaving = False
        self.saved: dict[str, Any] = {}
        self.unsaved = False
        self.look_at_logs = time.monotonic() + LOOK_AT_LOGS
        self.wake, wake_end = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave_soon)
        self._take_over()

    def _leave_soon(self, *_: object) -> None:
        self.leaving = True

    def _take_over(self) -> None:
        before = layout.read(self.directory, layout.STATE)
        same_boot = before.get("boot") == proc.boot()
        self.acted_on = before.get("sequence", 0)
        for role, state in before.get("roles", {}).items():
            slot = self.slots[role] = Slot(role)
            slot.load(state, same_boot)
            if slot.port and slot.phase == UP:
                slot.claim = layout.lock(self._claim_file(slot.port), wait=False)
        self._read_wishes()
        for slot in self.slots.values():
            if not slot.wanted:
                self._begin_ending(slot)
        self._try_to_save()

    def _claim_file(self, port: int) -> str:
        spec = layout.read(self.directory, layout.SPEC)
        return layout.path(spec["ports_directory"], str(port))

    def run(self) -> None:
        """Until no role is wanted and none runs, or SIGTERM."""
        while not self.leaving:
            self._read_wishes()
            for slot in self.slots.values():
                self._drive(slot)
            self.acted_on = self.sequence  # not before: a starter trusts it and goes away
            self._rotate()
            self._try_to_save()
            if all(s.phase == DOWN and not s.wanted for s in self.slots.values()) and self._may_end():
                return
            self._wait()

    def _read_wishes(self) -> None:
        wishes = layout.read(self.directory, layout.DESIRED)
        if not wishes or wishes["sequence"] == self.sequence:
            return
        self.spec = layout.read(self.directory, layout.SPEC)
        self.sequence = wishes["sequence"]
        for role, wish in wishes["roles"].items():
            slot = self.slots.setdefault(role, Slot(role))
            if slot.wanted and not wish["run"]:
                self._begin_ending(slot)
            if wish["run"] and wish["asked"] != slot.asked:
                slot.asked, slot.next_try = wish["asked"], 0.0
                slot.quick = 0 if slot.quick >= LOOP else slot.quick
            slot.wanted = wish["run"]

    def _drive(self, slot: Slot) -> None:
        now = time.monotonic()
        if slot.phase == UP and (end := slot.ended()):
            self._count(slot, end, now)
        if slot.phase == ENDING:
            left = self._members(slot)
            if not left:
                slot.let_go()
                slot.exit, slot.detail, slot.quick = {"stopped": True, "at": time.time()}, "", 0
            elif now >= slot.stop_by:
                proc.send_all(left, signal.SIGKILL)
        if slot.phase == DOWN and slot.wanted and now >= slot.next_try:
            self._launch(slot, now)

    def _members(self, slot: Slot) -> list[int]:
        return proc.members(slot.pid, slot.ticks, layout.marker(self.directory, slot.role))

    def _begin_ending(self, slot: Slot) -> None:
        grace = self.spec.get("roles", {}).get(slot.role, {}).get("grace", 5.0)
        slot.phase, slot.stop_by = ENDING, time.monotonic() + grace
        proc.send_all(self._members(slot), signal.SIGTERM)
        if slot.handle >= 0:  # a leader that ended keeps its pidfd readable: the wait would spin
            os.close(slot.handle)
            slot.handle = -1

    def _count(self, slot: Slot, end: dict[str, Any], now: float) -> None:
        proc.send_all(self._members(slot), signal.SIGKILL)
        slot.let_go()
        slot.exit = end
        slot.restarts += 1
        self._pause(slot, quick=end["after"] < QUICK, now=now)

    def _pause(self, slot: Slot, quick: bool, now: float) -> None:
        slot.quick = slot.quick + 1 if quick else 0
        if slot.quick >= LOOP:
            slot.detail = f"crash loop: {slot.quick} quick ends; next try every {RETRY:.0f} s, or by start"
            slot.next_try = now + RETRY
        else:
            slot.next_try = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, slot.quick - 1))

    def _launch(self, slot: Slot, now: float) -> None:
        def record(pid: int, ticks: int) -> None:
            slot.pid, slot.ticks, slot.phase = pid, ticks, UP
            self._try_to_save()  # on a full disk its marker alone keeps it from running twice

        left = self._members(slot)
        if left:  # somebody of an earlier life is still there: never run beside it
            proc.send_all(left, signal.SIGKILL)
            slot.next_try = now + ENDING_LOOK
            return
        try:
            if self.spec["roles"][slot.role]["listens"]:
                if slot.claim >= 0:
                    os.close(slot.claim)
                    slot.claim = -1
                slot.port, slot.claim = launch.claim_port(self.spec, slot.port)
            closing = [self.lock, self.wake]
            pid = launch.start(self.directory, self.spec, slot.role, slot.port, self.secrets, record, closing)
        except OSError as error:
            slot.pid = slot.ticks = 0
            slot.phase, slot.own = DOWN, False
            self._pause(slot, quick=True, now=now)
            slot.detail = f"can't be started: {error}"
        else:
            slot.started(pid)

    def _rotate(self) -> None:
        if time.monotonic() < self.look_at_logs:
            return
        self.look_at_logs = time.monotonic() + LOOK_AT_LOGS
        for slot in self.slots.values():
            try:
                logs.rotate(layout.path(self.directory, "logs", f"{slot.role}.log"))
            except OSError as error:
                _complain(f"log of {slot.role} can't be turned over: {error}")

    def save(self, alive: bool = True) -> None:
        """Raises OSError."""
        state = {
            "format": 1, "boot": proc.boot(), "sequence": self.acted_on,
            "shim": {"pid": os.getpid(), "ticks": proc.start_ticks(os.getpid())} if alive else {},
            "roles": {role: slot.state() for role, slot in self.slots.items()},
        }  # fmt: skip
        if state != self.saved:
            layout.write(self.directory, layout.STATE, state)
            self.saved = state

    def _try_to_save(self, alive: bool = True) -> None:
        try:
            self.save(alive)
            self.unsaved = False
        except OSError as error:  # a full disk must not end the shim; it tries again
            self.unsaved = True
            _complain(f"state can't be written: {error}")

    def _may_end(self) -> bool:
        """Under the lock of those who change wishes, so that none is made between the look and the end."""
        lock = layout.lock(layout.path(self.directory, layout.CHANGE_LOCK), wait=False)
        if lock < 0:
            return False
        wishes = layout.read(self.directory, layout.DESIRED)
        if wishes.get("sequence", 0) != self.sequence:
            os.close(lock)
            return False
        self._try_to_save(alive=False)
        os.close(self.lock)  # before the other one, which goes with this process
        return True

    def _wait(self) -> None:
        waiting = select.poll()
        waiting.register(self.wake, select.POLLIN)
        for slot in self.slots.values():
            if slot.handle >= 0:
                waiting.register(slot.handle, select.POLLIN)
        waiting.poll(max(0.0, self._next_moment() - time.monotonic()) * 1000)
        try:
            os.read(self.wake, 4096)
        except BlockingIOError:
            return

    def _next_moment(self) -> float:
        now = time.monotonic()
        moments = [self.look_at_logs]
        for slot in self.slots.values():
            if slot.phase == ENDING:
                moments.append(now + ENDING_LOOK)
            elif slot.phase == DOWN and slot.wanted:
                moments.append(slot.next_try)
        if self.unsaved:
            moments.append(now + 1.0)
        if all(s.phase == DOWN and not s.wanted for s in self.slots.values()):
            moments.append(now + ENDING_LOOK)
        return min(moments)


def main(arguments: list[str]) -> int:
    """Detach, take the lock, read the secrets from standard input, answer ``ok``, and keep house."""
    directory = arguments[0]
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    try:
        secrets = json.loads(sys.stdin.buffer.read())
    except ValueError:
        return 1  # the starter died while it told us: nothing was begun
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    lock = layout.lock(layout.path(directory, layout.SHIM_LOCK), wait=False)
    if lock >= 0:
        shim = Shim(directory, lock, secrets)
    _answer(b"ok\n" if lock >= 0 else b"held\n")
    os.dup2(null, 1)
    if lock >= 0:
        shim.run()
    return 0


def _answer(word: bytes) -> None:
    try:
        os.write(1, word)
    except BrokenPipeError:
        return  # the starter died; its wish is written down and holds


def _complain(words: str) -> None:
    try:
        os.write(2, f"{words}\n".encode())
    except OSError:
        return  # shim.log is on the same full disk

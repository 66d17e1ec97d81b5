"""The nginx that runs: testing its configuration, reloading it, and waiting until the new one serves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.nginx.settings import Settings

COMMAND_SECONDS = 60.0
RELOAD_SECONDS = 30.0
PAUSE = 0.01
SURE = 20
"""Answers in a row from the new configuration that are believed where the old workers can't be seen."""
MASTER, WORKER, LEAVING = "nginx: master process", "nginx: worker process", "is shutting down"
COMPLAINT = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*)")
PLACE = re.compile(r"(.*) in (\S+:\d+)$")
TAIL = 64 * 1024
START_TOLERANCE = 1.5
"""The start of a process is known to the second."""


@dataclass(frozen=True)
class Worker:
    """``leaving``: it takes no new connections, and ends with its last one. ``started``: seconds, epoch."""

    pid: int
    started: float
    leaving: bool


class Nginx:
    """One nginx, known by its master's pid file or by the commands that reach it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def dump(self) -> str:
        """Test the configuration on disk, and return all of it. Raises Rejected with nginx's own reason and
        place.
        """
        conf, prefix = self._settings.conf, self._settings.prefix
        more = [*(["-c", conf] if conf else []), *(["-p", prefix] if prefix else [])]
        result = self._run([*self._settings.binary, "-T", *more])
        if result.returncode == 0:
            return result.stdout
        complaints = COMPLAINT.findall(result.stderr)
        reason = complaints[-1] if complaints else result.stderr.strip()[-500:]
        place = PLACE.match(reason)
        raise Rejected(
            N_("nginx does not accept its configuration: {reason}"),
            todo=N_("Correct what nginx names, then try again; nginx goes on with what it has loaded."),
            where=place.group(2) if place else self._settings.conf or str(self._settings.file),
            cause=_cause(reason),
            reason=place.group(1) if place else reason,
        )

    def reload(self, version: str, seen: Callable[[], str]) -> None:
        """Have it load the configuration on disk, and wait until all new connections get it: no worker
        from before takes any; where workers can't be seen, ``seen`` (a question to one of them) has told
        ``version`` often enough.

        Raises Rejected when it may not be told, or writes that it refuses; OutcomeUnknown after 30 s.
        """
        before, mark = self.workers(), self._log_size()
        if self._settings.reload:
            self._command()
        else:
            self._signal(self.master())
        in_a_row = 0
        deadline = time.monotonic() + RELOAD_SECONDS
        while time.monotonic() < deadline:
            # Looked at before the question: then a new worker answers it.
            are_gone = bool(before) and not self._still_accepting(before)
            told = seen()
            in_a_row = in_a_row + 1 if told == version else 0
            if in_a_row >= SURE or (are_gone and told in (version, "")):
                return
            if are_gone:
                before = self.workers()  # these came of somebody else's reload, just before ours
            complaints = COMPLAINT.findall(self.log_since(mark))
            if complaints and not in_a_row:
                raise self._refused(complaints[-1])
            time.sleep(PAUSE if before or not in_a_row else 0)
        raise OutcomeUnknown(
            N_("nginx was told to reload, but still serves its old configuration: {reason}"),
            todo=N_("Look at nginx's error log, then run it again: it is safe to repeat."),
            where=str(self._settings.error_log or self._settings.ask),
            reason=self.log_since(mark)[-500:].strip() or "-",
        )

    def master(self) -> psutil.Process:
        """Raises Unreachable when it doesn't run, or the pid file is a stale one."""
        path = self._settings.pid
        if path is None:
            raise AssertionError("asked only where there is a pid file")
        try:
            process = psutil.Process(int(path.read_text()))
            title = " ".join(process.cmdline())
        except (PermissionError, psutil.AccessDenied) as error:
            raise Rejected(
                N_("this user may not look at nginx: {reason}"),
                todo=N_("Give it the right to read {path} and /proc, or run lastgood as root."),
                where=str(path),
                cause=Cause.PERMISSION,
                reason=str(error),
                path=str(path),
            ) from error
        except (OSError, ValueError, psutil.Error) as error:
            raise self._gone(getattr(error, "strerror", None) or str(error)) from error
        if not title.startswith(MASTER):
            raise self._gone(f"{process.pid}: {title[:80]}")
        return process

    def workers(self) -> tuple[Worker, ...]:
        """All that serve or finish; none where there is no pid file."""
        if self._settings.pid is None:
            return ()
        master = self.master()
        try:
            children = master.children()
        except psutil.NoSuchProcess as error:
            raise self._gone(str(error)) from error
        found = []
        for process in children:
            try:
                title = " ".join(process.cmdline())
                if title.startswith(WORKER):
                    found.append(Worker(process.pid, process.create_time(), LEAVING in title))
            except psutil.NoSuchProcess:
                continue
        return tuple(found)

    def has_loaded(self, path: Path) -> bool:
        """Whether ``path`` was last changed before the workers that take requests were started; True where
        one of both can't be seen.
        """
        try:
            changed = path.stat().st_ctime - START_TOLERANCE
        except OSError:
            return True
        return all(worker.started >= changed for worker in self.workers() if not worker.leaving)

    def log_since(self, offset: int | None) -> str:
        """The error log from there on, at most its last 64 KiB; empty when it can't be read."""
        path = self._settings.error_log
        if path is None or offset is None:
            return ""
        try:
            with path.open("rb") as file:
                file.seek(max(offset, os.fstat(file.fileno()).st_size - TAIL))
                return file.read(TAIL).decode("utf-8", "replace")
        except OSError:
            return ""

    def _log_size(self) -> int | None:
        path = self._settings.error_log
        try:
            return path.stat().st_size if path else None
        except OSError:
            return None

    def _still_accepting(self, before: tuple[Worker, ...]) -> bool:
        if not before:
            return False
        old = {(worker.pid, worker.started) for worker in before}
        return any((w.pid, w.started) in old and not w.leaving for w in self.workers())

    def _gone(self, reason: str) -> Unreachable:
        return Unreachable(
            N_("nginx does not run: {reason}"),
            todo=N_("Start it, or correct the setting 'pid'."),
            where=str(self._settings.pid),
            cause=Cause.DEPENDENCY_DOWN,
            reason=reason,
        )

    def _refused(self, reason: str) -> Rejected:
        return Rejected(
            N_("nginx refused the new configuration: {reason}"),
            todo=N_("Correct what nginx names, then try again; nginx goes on with what it had."),
            where=str(self._settings.error_log),
            cause=_cause(reason),
            reason=reason,
        )

    def _command(self) -> None:
        result = self._run(list(self._settings.reload))
        if result.returncode != 0:
            reason = (result.stderr.strip() or result.stdout.strip())[-500:]
            raise Rejected(
                N_("the command that reloads nginx failed: {reason}"),
                todo=N_("Run it by hand and correct what it names: {command}"),
                where=self._settings.reload[0],
                cause=_cause(reason),
                reason=reason or f"exit code {result.returncode}",
                command=" ".join(self._settings.reload),
            )

    def _signal(self, process: psutil.Process) -> None:
        try:
            process.send_signal(signal.SIGHUP)
        except psutil.AccessDenied as error:
            raise Rejected(
                N_("this user may not reload nginx (process {pid})"),
                todo=N_(
                    "Run lastgood as the user that started nginx, or give the setting 'reload' a command."
                ),
                where=str(self._settings.pid),
                cause=Cause.PERMISSION,
                pid=process.pid,
            ) from error
        except psutil.NoSuchProcess as error:
            raise self._gone(str(error)) from error

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
                env={**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            )
        except subprocess.TimeoutExpired as error:
            raise OutcomeUnknown(
                N_("'{command}' did not end within {seconds} s"),
                todo=N_("Look at nginx, then run it again: it is safe to repeat."),
                where=command[0],
                command=" ".join(command),
                seconds=f"{COMMAND_SECONDS:g}",
            ) from error
        except OSError as error:
            raise Rejected(
                N_("'{command}' can't be run: {reason}"),
                todo=N_("Correct the settings 'binary' and 'reload'."),
                where=command[0],
                cause=Cause.PERMISSION if isinstance(error, PermissionError) else Cause.WRONG_PATH,
                command=" ".join(command),
                reason=error.strerror or str(error),
            ) from error


def _cause(reason: str) -> Cause | None:
    if "(13: Permission denied)" in reason or "(1: Operation not permitted)" in reason:
        return Cause.PERMISSION
    return Cause.WRONG_PATH if "(2: No such file or directory)" in reason else None

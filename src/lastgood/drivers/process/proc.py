"""Processes as Linux shows them in /proc. A process is a pid AND its start time: pids come again.

Standard library only, and light: the shim imports it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib would double the shim's start
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def boot() -> str:
    """Names this run of the kernel; start times mean nothing beyond it."""
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/<pid>/stat after the command (state is the first); empty when it is gone."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _is_alive(pid: int, fields: list[bytes]) -> bool:
    if len(fields) < 20 or fields[0] == b"X":
        return False
    # a main thread that ended is shown as a zombie while the other threads still work
    return fields[0] != b"Z" or _threads(pid) > 1


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
    except (FileNotFoundError, ProcessLookupError):
        return 0


def start_ticks(pid: int) -> int:
    """Start time in clock ticks since boot; 0 when there is no such process, or only a zombie of it."""
    fields = _stat(pid) if pid > 0 else []
    return int(fields[19]) if _is_alive(pid, fields) else 0


def is_running(pid: int, ticks: int) -> bool:
    return ticks > 0 and start_ticks(pid) == ticks


def started_at(ticks: int) -> float:
    """Seconds since the epoch, ± 1 s, counted from the kernel's time of boot: the same at every look."""
    for line in _read("/proc/stat").splitlines():
        if line.startswith(b"btime "):
            return int(line.split()[1]) + ticks / TICKS
    return 0.0


def age(ticks: int) -> float:
    """Seconds since a start time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / TICKS


def pids() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            yield int(name)


def members(leader: int, ticks: int, marker: str) -> list[int]:
    """Living processes of one role: its session, and whoever left the session but carries its marker.

    ``leader`` 0 asks for the marker only. The marker is an environment entry ``NAME=value``.
    """
    if start_ticks(leader) not in (0, ticks):
        leader = 0  # the pid came again: its session is a stranger's
    wanted = b"\0" + marker.encode() + b"\0"
    found = []
    for pid in pids():
        fields = _stat(pid)
        if not _is_alive(pid, fields):
            continue
        if (leader and int(fields[3]) == leader) or wanted in b"\0" + _read(f"/proc/{pid}/environ"):
            found.append(pid)
    return found


def send(pid: int, ticks: int, number: int) -> bool:
    """Signal exactly the process that was meant; False when it is gone."""
    if pid <= 0 or not ticks:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not is_running(pid, ticks):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def send_all(found: list[int], number: int) -> None:
    for pid in found:
        send(pid, start_ticks(pid), number)


def listens(port: int, among: list[int]) -> bool | None:
    """Whether one of ``among`` owns a socket that listens on ``port``; None when that can't be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _read(table).splitlines()[1:]:
            fields = line.split()
            if fields[3] == b"0A" and int(fields[1].rpartition(b":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9].decode()}]")
    seen = False
    for pid in among:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                seen = True
                if os.readlink(f"/proc/{pid}/fd/{name}") in inodes:  # noqa: PTH115
                    return True
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            return None
    return False if seen else None

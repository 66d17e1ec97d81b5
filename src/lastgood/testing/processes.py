"""What every server that tests start needs: a port, the end of its log, whether it lives."""

from __future__ import annotations

import socket
from pathlib import Path


def free_port() -> int:
    """On loopback; somebody else may have it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(path: Path) -> str:
    """The end of a log, empty when there is none."""
    try:
        return path.read_text(errors="replace")[-2000:]
    except FileNotFoundError:
        return ""


def alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

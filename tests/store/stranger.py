"""Runs code in a process that may not do what we may: root is stopped by no permission bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PRELUDE = """
import os, sys
from pathlib import Path
import lastgood.store.database, lastgood.store.migrate, lastgood.store.objects, lastgood.store.resolver
import traceback, linecache
from lastgood.clock import SystemClock
from lastgood.domain.errors import *
if os.geteuid() == 0:  # after the imports: Python itself may lie where only root can read
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""


def run_as_stranger(code: str, *arguments: str) -> None:
    """Fails with the child's stack trace unless ``code`` ends well. As no root, it is only another
    process: take the rights from the owner as well (mode 0).
    """
    run = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def let_through(directory: Path) -> None:
    """pytest's own directories are closed to others."""
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o755)

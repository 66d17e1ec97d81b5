"""A person's shell: a home, an estate in it, and the commands that pages tell them to type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Shell:
    """``directory`` is the home; ``folder`` what the estate in it is called once it is there."""

    directory: Path
    folder: str
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = Path(sys.executable).parent
        who = {f"GIT_{part}_{key}": "Ann" for part in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        self.environment = {
            "PATH": f"{program}:{os.environ['PATH']}", "HOME": str(self.directory), "LANG": "C.UTF-8", **who
        }  # fmt: skip

    @property
    def estate(self) -> Path:
        return self.directory / self.folder

    def shell(self, command: str, code: int = 0) -> str:
        """What it printed; fails with all of it when the exit code is another."""
        where = self.estate if self.estate.exists() else self.directory
        done = subprocess.run(
            ["bash", "-c", command], cwd=where, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def told(self, command: str) -> Any:
        return json.loads(self.shell(f"{command} --json"))

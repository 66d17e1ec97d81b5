"""The images of these tests: one static program, compiled once, good or broken by what it is told."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lastgood.testing.images import Healthcheck, ImageBuild

SOURCE = Path(__file__).with_name("server.c")


@functools.cache
def server() -> bytes:
    """The compiled program."""
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "server"
        command = ["gcc", "-static", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-o", str(made), str(SOURCE)]
        subprocess.run(command, check=True)
        return made.read_bytes()


def image(name: str, behaviour: str = "", *, checked: bool = False, **more: Any) -> ImageBuild:
    """Answers ``name`` where no configuration says another text. ``checked``: with a health check of its own;
    ``more`` as for ImageBuild.
    """
    said = {"IMAGE": name, "TEXT": name, "BEHAVIOUR": behaviour, **more.pop("env", {})}
    check = Healthcheck(["CMD", "/server", "probe", "/healthz"]) if checked else None
    parts: dict[str, Any] = {
        "entrypoint": ["/server"], "command": ["web"], "files": {"/server": (server(), 0o755)},
        "busybox": False, "ports": [8080], "healthcheck": check,
    }  # fmt: skip
    return ImageBuild(**{**parts, **more, "env": said})

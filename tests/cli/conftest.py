"""The command line as a real process, and on an estate of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from lastgood.cli.main import main
from lastgood.testing.caddy_server import caddy, free_port
from tests.journey.conftest import stop_everything
from tests.journey.world import World


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Cli:
    """Runs ``lastgood`` in a directory, with nothing of this machine's settings; a stack trace fails."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "VIRTUAL_ENV", "JOURNEY_TOKEN")}
        home = {"HOME": str(self.directory), "XDG_CONFIG_HOME": str(self.directory / ".config")}
        git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        self.environment = {**kept, **home, **git, "LANG": "C.UTF-8", **self.environment}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "lastgood", *words]

    def process(self, *words: str, code: int = 0, **more: str) -> Done:
        """As a process of its own."""
        done = subprocess.run(
            self.command(*words), cwd=self.directory, env={**self.environment, **more},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        return self._checked(words, code, Done(done.returncode, done.stdout, done.stderr))

    def __call__(self, *words: str, code: int = 0, **more: str) -> Done:
        """The same in this process, which is quicker; its exit code must be ``code``."""
        out, err, hook = io.StringIO(), io.StringIO(), sys.excepthook
        environment = patch.dict(os.environ, {**self.environment, **more}, clear=True)
        told = redirect_stdout(out), redirect_stderr(err)
        with environment, chdir(self.directory), told[0], told[1], patch.object(sys, "stdin", io.StringIO()):
            returned = main(words)
        sys.excepthook = hook
        return self._checked(words, code, Done(returned, out.getvalue(), err.getvalue()))

    @staticmethod
    def _checked(words: tuple[str, ...], code: int, done: Done) -> Done:
        assert done.code == code, (words, done)
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def data(self, *words: str, code: int = 0) -> Any:
        """The one JSON document of a command; nothing else is on standard output."""
        return json.loads(self(*words, "--json", code=code).stdout)


@pytest.fixture(scope="session")
def scaffolded(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """An estate as ``lastgood init`` makes it; tests only read it."""
    root = tmp_path_factory.mktemp("scaffolded")
    Cli(root)("init", "shop")
    return Cli(root / "shop")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with caddy(tmp_path) as server:
        yield World(tmp_path, server.admin, {"dev": free_port(), "prod": free_port()}, watch="2s", guard="1s")
        stop_everything(tmp_path)


@pytest.fixture
def cli(world: World) -> Cli:
    """On a world of real processes behind a real proxy."""
    places = {"LASTGOOD_STATE": str(world.places.state), "LASTGOOD_KEY_FILE": str(world.places.key)}
    return Cli(world.estate, {**places, "JOURNEY_TOKEN": "journey-secret-value"})

"""A unit with a tiny shop as its artifact; whatever it started is ended by pid afterwards."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("lastgood.testing.conformance_runs")

from lastgood.domain.release import Artifact, FileEntry, Readiness, RoleSpec, SecretVersion  # noqa: E402
from lastgood.domain.unit import Role, UnitId  # noqa: E402
from lastgood.drivers.process import layout, proc  # noqa: E402
from lastgood.drivers.process.driver import ProcessDriver, create  # noqa: E402
from lastgood.ports.drivers import Generation  # noqa: E402
from lastgood.testing.conformance_runs import eventually  # noqa: E402
from lastgood.testing.fake_files import FakeTools  # noqa: E402

WEB = b"""
import http.server, os, sys
sys.stdout.reconfigure(line_buffering=True)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = self.path == "/healthz"
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(repr(sorted(os.environ.items())).encode())
    def log_message(self, *_):
        pass
print("serving with", os.environ.get("TOKEN", "no token"))
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
WORKER = b"""#!/bin/sh
echo "work begins"
exec sleep 1000
"""


class Bench:
    """One unit under test: its driver, and generations made of scripts."""

    unit = UnitId("shop", "prod", "us")

    def __init__(self, directory: Path) -> None:
        self.root = directory / "run"
        self.tools = FakeTools(directory / "state")
        self.settings: dict[str, object] = {"root": str(self.root)}

    @property
    def driver(self) -> ProcessDriver:
        made = create(self.unit, self.settings, self.tools)
        assert isinstance(made, ProcessDriver)
        return made

    def home(self, generation: str) -> Path:
        return self.root / self.unit.slug / generation

    def state(self, generation: str) -> dict[str, dict[str, dict[str, int]]]:
        return layout.read(str(self.home(generation)), layout.STATE)

    def artifact(self, **scripts: bytes) -> Artifact:
        files = {"web.py": WEB, "bin/worker": WORKER} | {f"{k}.py": v for k, v in scripts.items()}
        return Artifact.of(
            tuple(
                FileEntry(path, self.tools.objects.put(text), 0o755 if path.startswith("bin/") else 0o644)
                for path, text in files.items()
            )
        )

    def generation(
        self, id: str, *specs: RoleSpec, secrets: tuple[SecretVersion, ...] = (), **scripts: bytes
    ) -> Generation:
        roles = specs or (
            RoleSpec(Role.WEB, (sys.executable, "{artifact}/web.py"), {"COLOUR": "blue"}, Readiness()),
            RoleSpec(Role.WORKER, ("bin/worker",)),
        )
        return Generation(id, self.unit, roles, self.artifact(**scripts), None, secrets)

    def up(self, generation: Generation) -> None:
        self.driver.prepare(generation)
        self.driver.start(generation, [spec.role for spec in generation.roles])
        for spec in generation.roles:
            eventually(lambda spec=spec: self.driver.ready(generation, spec.role).running)

    def shim(self, generation: str) -> int:
        return self.state(generation)["shim"].get("pid", 0)  # type: ignore[return-value]

    def kill_shim(self, generation: str) -> None:
        pid = self.shim(generation)
        ticks = proc.start_ticks(pid)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not proc.is_running(pid, ticks))

    def processes(self, generation: str, role: Role) -> list[int]:
        """Every living process that carries the marker of a role."""
        return proc.members(0, 0, layout.marker(str(self.home(generation)), role.value))

    def end(self) -> None:
        place = self.root / self.unit.slug
        for home in place.iterdir() if place.is_dir() else ():
            pid = layout.read(str(home), layout.STATE).get("shim", {}).get("pid", 0)
            if proc.start_ticks(pid):
                os.kill(pid, signal.SIGKILL)
            for role in Role:
                marker = layout.marker(str(home), role.value)
                eventually(lambda marker=marker: not _end(marker))


def _end(marker: str) -> bool:
    found = proc.members(0, 0, marker)
    proc.send_all(found, signal.SIGKILL)
    return bool(found)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.end()

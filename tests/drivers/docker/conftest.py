"""One engine for all tests of a process; each test has a unit of its own, whose containers go afterwards."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

for suite in ("runs", "generations", "images", "bundles"):
    pytest.register_assert_rewrite(f"lastgood.testing.conformance_{suite}")

from lastgood.domain.image import Image  # noqa: E402
from lastgood.domain.release import FileEntry, Readiness, RoleSpec, SecretVersion  # noqa: E402
from lastgood.domain.unit import Role, UnitId  # noqa: E402
from lastgood.drivers.docker.driver import create  # noqa: E402
from lastgood.drivers.docker.instance import Instance, inspected  # noqa: E402
from lastgood.drivers.docker.labels import instance_name  # noqa: E402
from lastgood.drivers.docker.runtime import DockerRuntime  # noqa: E402
from lastgood.ports.drivers import Generation, RoleStatus  # noqa: E402
from lastgood.store.images import FileImages  # noqa: E402
from lastgood.testing.conformance_runs import eventually  # noqa: E402
from lastgood.testing.docker_engine import DockerEngine, docker_engine  # noqa: E402
from lastgood.testing.fake_files import FakeTools  # noqa: E402
from lastgood.testing.images import ImageBuild, keep  # noqa: E402

WEB = b"""#!/bin/sh
trap 'exit 0' TERM
echo "serving with ${TOKEN:-no token}"
httpd -f -p "$PORT" -h /www &
wait
"""
WORKER = b"""#!/bin/sh
trap 'exit 0' TERM
echo "work begins"
while :; do sleep 1000 & wait $!; done
"""
APP = {
    "/app/web": (WEB, 0o755),
    "/app/worker": (WORKER, 0o755),
    "/www/healthz": (b"ok", 0o644),
    "/www/cgi-bin/sick": (b"#!/bin/sh\nprintf 'Status: 500 no\\r\\n\\r\\n'\n", 0o755),
    "/etc/passwd": (b"root:x:0:0::/:/bin/sh\nclerk:x:1234:5678::/:/bin/sh\n", 0o644),
}
ROLES = (
    RoleSpec(Role.WEB, ("/app/web",), {"COLOUR": "blue"}, Readiness()),
    RoleSpec(Role.WORKER, ("/app/worker",)),
)
_sites = itertools.count(1)


@dataclass(frozen=True)
class ImageTools(FakeTools):
    @property
    def images(self) -> FileImages:
        return FileImages(self.directory / "images")


class Bench:
    """One unit on an engine: its driver, its generations, and its containers past the driver."""

    def __init__(self, engine: DockerEngine, directory: Path) -> None:
        self.engine = engine
        self.unit = UnitId("shop", "prod", f"s{next(_sites)}")
        directory.mkdir(exist_ok=True)
        self.tools = ImageTools(directory)
        self.settings: dict[str, Any] = {"host": engine.host}

    @property
    def driver(self) -> DockerRuntime:
        """A new one each time, as another process would have it."""
        made = create(self.unit, self.settings, self.tools)
        assert isinstance(made, DockerRuntime)
        return made

    def image(self, name: str = "web", **build: Any) -> Image:
        """Kept in the archive only; ``build`` over an app that has all roles."""
        files = {**APP, **build.pop("files", {})}
        return keep(self.tools.images, f"registry.test/shop/{name}:1", ImageBuild(files=files, **build))

    def generation(
        self, id: str = "g1", *specs: RoleSpec, image: Image | None = None, **more: Any
    ) -> Generation:
        return Generation(id, self.unit, specs or ROLES, None, None, image=image or self.image(), **more)

    def files(self, **contents: bytes) -> tuple[FileEntry, ...]:
        """``app_yaml`` is ``app.yaml``, ``nested__app_yaml`` is ``nested/app.yaml``."""
        named = {name.replace("__", "/").replace("_", "."): content for name, content in contents.items()}
        return tuple(FileEntry(path, self.tools.objects.put(content)) for path, content in named.items())

    def secret(self, name: str, value: str) -> SecretVersion:
        return self.tools.vault.seal(name, value)

    def start(self, generation: Generation, *roles: Role) -> None:
        self.driver.prepare(generation)
        self.driver.start(generation, roles or [spec.role for spec in generation.roles])

    def up(self, generation: Generation, *roles: Role) -> None:
        self.start(generation, *roles)
        for role in roles or [spec.role for spec in generation.roles]:
            eventually(lambda role=role: self.driver.ready(generation, role).running)

    def of(self, generation: str, role: Role) -> RoleStatus:
        return next(s for s in self.driver.status() if (s.generation, s.role) == (generation, role))

    def name(self, generation: str, role: Role, number: int = 1) -> str:
        return instance_name(self.unit, generation, role, number)

    def inspect(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.engine.docker("container", "inspect", name))[0]
        return found

    def instance(self, generation: str, role: Role, number: int = 1) -> Instance:
        return inspected(self.inspect(self.name(generation, role, number)))

    def names(self) -> list[str]:
        """Of all containers of this unit, running or not."""
        of_unit = f"label=dev.lastgood.unit={self.unit}"
        return sorted(
            self.engine.docker("ps", "--all", "--filter", of_unit, "--format", "{{.Names}}").splitlines()
        )

    def end(self) -> None:
        if names := self.names():
            self.engine.docker("rm", "--force", "--volumes", *names)


@pytest.fixture(scope="session")
def busybox() -> bytes:
    """A tar with Debian's static busybox as /bin/busybox."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add(Path("/bin/busybox"), "bin/busybox")
    return made.getvalue()


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    with docker_engine() as made:
        yield made


@pytest.fixture
def bench(engine: DockerEngine, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(engine, tmp_path / "state")
    yield made
    made.end()


def in_short(generation: Generation) -> Generation:
    """The same, whose roles get little time to end."""
    return replace(generation, roles=tuple(replace(spec, stop_grace=1.0) for spec in generation.roles))

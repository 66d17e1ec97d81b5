from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.image import Image, ImageReference
from lastgood.domain.release import SecretVersion
from lastgood.domain.unit import UnitId
from lastgood.drivers.registry.driver import RegistryDriver, create
from lastgood.store.images import FileImages
from lastgood.testing.fake_files import FakeTools
from lastgood.testing.images import ImageBuild, push
from lastgood.testing.registry_server import RegistryServer, registry

UNIT = UnitId("storefront", "prod", "us")


@dataclass
class Lab:
    """A registry, asked at ``address`` (its own, or that of a proxy before it), and an archive."""

    server: RegistryServer
    tools: FakeTools
    address: str
    name: str

    @property
    def archive(self) -> FileImages:
        return self.tools.images

    def driver(self, **settings: Any) -> RegistryDriver:
        return create(UNIT, settings, self.tools)

    def login(self, password: str = "") -> dict[str, Any]:
        """``hosts`` with the registry's user, its password sealed."""
        secret = self.tools.vault.seal("REGISTRY_PASSWORD", password or self.server.password)
        entry = {"username": self.server.user or "ci", "password": secret_setting(secret)}
        return {self.address: entry}

    def push(self, *builds: ImageBuild, tag: str = "1.4") -> Image:
        pushed = push(self.server, f"{self.name}:{tag}", *builds)
        return replace(pushed, repository=f"{self.address}/{self.name}")

    def reference(self, tag: str = "1.4") -> ImageReference:
        return ImageReference.parse(f"{self.address}/{self.name}:{tag}")


def secret_setting(secret: SecretVersion) -> dict[str, str]:
    return {"secret": secret.name, "version": secret.version}


def lab_of(server: RegistryServer, directory: Path, address: str = "") -> Lab:
    """With a repository of its own."""
    return Lab(server, FakeTools(directory), address or server.address, f"shop/web-{uuid.uuid4().hex[:8]}")


def small(text: bytes = b"one", **fields: Any) -> ImageBuild:
    return ImageBuild(["/x"], files={"/x": (text, 0o755)}, busybox=False, **fields)


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("open")) as server:
        yield server


@pytest.fixture(scope="session")
def basic_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("basic"), auth="basic") as server:
        yield server


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("token"), auth="token") as server:
        yield server


@pytest.fixture
def lab(open_server: RegistryServer, tmp_path: Path) -> Lab:
    return lab_of(open_server, tmp_path)

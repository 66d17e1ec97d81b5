"""The suite of ResolvesImages, live against the driver (open, with password, with tokens) and the fake."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lastgood.domain.unit import UnitId
from lastgood.drivers.registry.driver import create
from lastgood.testing.conformance_resolves import ResolvesConformance, Subject
from lastgood.testing.fake_files import FakeTools
from lastgood.testing.fake_registry import FakeRegistry
from lastgood.testing.images import push
from lastgood.testing.registry_server import registry
from tests.drivers.registry.conftest import secret_setting

UNIT = UnitId("storefront", "prod", "us")


class TestRegistryDriver(ResolvesConformance):
    @pytest.fixture(params=["", "basic", "token"], ids=["open", "basic", "token"])
    def subject(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
        tools = FakeTools(tmp_path)
        with registry(tmp_path, auth=request.param) as server:
            hosts = {}
            if server.user:
                password = secret_setting(tools.vault.seal("PASSWORD", server.password))
                hosts = {server.address: {"username": server.user, "password": password}}
            yield Subject(
                server.address, lambda: create(UNIT, {"hosts": hosts}, tools), tools.images,
                partial(push, server), server.stop, server.start,
            )  # fmt: skip


class TestFakeRegistry(ResolvesConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        tools = FakeTools(tmp_path)
        fake = FakeRegistry("registry.test:5000", tools.images)

        def turn(down: bool) -> None:
            fake.down = down

        stop, start = partial(turn, True), partial(turn, False)
        return Subject(fake.address, lambda: fake, tools.images, fake.push, stop, start)

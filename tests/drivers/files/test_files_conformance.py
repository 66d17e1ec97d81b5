"""The suite of Places, live against the driver and against the fake."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.domain.digest import digest_bytes
from lastgood.domain.unit import UnitId
from lastgood.drivers.files.driver import FilesDriver, create
from lastgood.ports.content import Objects
from lastgood.ports.drivers import Places
from lastgood.testing.conformance_places import PlacesConformance
from lastgood.testing.fake_files import FakeFiles, FakeTools


class TestFilesDriver(PlacesConformance):
    @pytest.fixture(autouse=True)
    def place_of_its_own(self, tmp_path: Path) -> None:
        self.root = tmp_path / "config"
        self.tools = FakeTools(tmp_path / "state")

    def driver(self) -> Places:
        made = create(UnitId("shop", "prod", "us"), {"root": str(self.root)}, self.tools)
        assert isinstance(made, FilesDriver)
        return made

    def objects(self) -> Objects:
        return self.tools.objects

    def edit(self, path: str, content: bytes | None) -> None:
        file = self.root / "shop.prod.us" / "current" / path
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)

    def kept_aside(self, content: bytes) -> bool:
        aside = self.root / "shop.prod.us" / "aside"
        return any(p.is_file() and p.read_bytes() == content for p in aside.rglob("*"))


class TestFakeFiles(PlacesConformance):
    @pytest.fixture(autouse=True)
    def fake_of_its_own(self, tmp_path: Path) -> None:
        self.tools = FakeTools(tmp_path)
        self.fake = FakeFiles(self.tools.objects)

    def driver(self) -> Places:
        return self.fake

    def objects(self) -> Objects:
        return self.tools.objects

    def edit(self, path: str, content: bytes | None) -> None:
        self.fake.edit(path, content)

    def kept_aside(self, content: bytes) -> bool:
        return digest_bytes(content) in {kept for _, kept in self.fake.aside}

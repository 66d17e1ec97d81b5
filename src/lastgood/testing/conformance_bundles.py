"""What every driver with the ability BundlesGenerations must write down; the fake passes it too."""

from __future__ import annotations

import subprocess
from abc import abstractmethod

from lastgood.ports.bundles import BundlePart, BundlesGenerations
from lastgood.ports.drivers import Generation
from lastgood.testing.conformance_runs import RuntimeHooks


class BundlesGenerationsConformance(RuntimeHooks):
    SECRET = "hunter2-in-clear"

    @abstractmethod
    def with_secret(self, id: str) -> Generation:
        """A generation with a secret whose value is ``SECRET``."""

    def part(self, generation: Generation) -> BundlePart:
        driver = self.driver()
        assert isinstance(driver, BundlesGenerations)
        return driver.bundle_start(generation, "image.tar")

    def test_a_posix_shell_reads_it(self) -> None:
        text = "\n".join(self.part(self.generation("g1")).lines)
        read = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
        assert (read.returncode, read.stderr) == (0, "")

    def test_it_says_where_the_traffic_goes(self) -> None:
        assert any("ADDRESSES=" in line for line in self.part(self.generation("g1")).lines)

    def test_the_same_generation_is_the_same_text(self) -> None:
        generation = self.generation("g1")
        assert self.part(generation) == self.part(generation)

    def test_no_secret_stands_in_it(self) -> None:
        part = self.part(self.with_secret("g1"))
        assert self.SECRET not in "\n".join(part.lines)
        assert all(self.SECRET.encode() not in content for content in part.files.values())

    def test_it_needs_no_lastgood_and_stays_in_its_directory(self) -> None:
        part = self.part(self.generation("g1"))
        assert "lastgood" not in part.needs
        assert not [path for path in part.files if path.startswith("/") or ".." in path.split("/")]

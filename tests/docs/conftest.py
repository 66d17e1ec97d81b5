"""A trial estate as the README makes it, on free ports, with every command run by a shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lastgood.testing.caddy_server import caddy, free_port
from tests.docs.shell import Shell
from tests.journey.conftest import stop_everything, wait_for

UNIT = "hello@dev/us"


def pytest_configure(config: pytest.Config) -> None:
    """Known without xdist as well."""
    config.addinivalue_line("markers", "xdist_group(name): tests that share servers run in one worker")


@dataclass
class Trial(Shell):
    """Where the pages are followed, with what each command of theirs is called there."""

    admin: str = ""
    port: int = 0
    other_port: int = 0
    """Of the other site."""

    def here(self, command: str) -> str:
        """A command of a page with this trial's names in the place of the page's."""
        names: dict[str, Callable[[], str]] = {
            r"http://127\.0\.0\.1:8101/": lambda: f"http://127.0.0.1:{self.port}/",
            r"storefront@prod/": lambda: UNIT.removesuffix("us"),
            r"\bc-261123-064512-3fa9\b": self.newest_change,
            r"rp-storefront\.prod\.us-": lambda: "rp-hello.dev.us-",
            r"\bROLLOUT\b|\br-261123-064512-3fa9-back\b": self.newest_rollout,
            r"\b3f9ac2\b": self.good_release,
        }
        for pattern, name in names.items():
            if re.search(pattern, command):
                command = re.sub(pattern, name(), command)
        return command

    def newest_rollout(self) -> str:
        found: str = self.told(f"lastgood history {UNIT}")["rollouts"][0]["id"]
        return found

    def newest_change(self) -> str:
        found: str = self.told("lastgood history")["changes"][0]["id"]
        return found

    def good_release(self) -> str:
        """The newest restore point's release, as short as people write it."""
        points = self.told(f"lastgood history {UNIT}")["restore_points"]
        found: str = points[0]["release"].removeprefix("sha256:")[:12]
        return found

    def settle(self) -> None:
        """Until no rollout is open."""
        wait_for(lambda: self._state() not in ("accepted", "running", "guarding"))

    def _state(self) -> str:
        found: str = self.told(f"lastgood status {UNIT}")["units"][0]["rollout"]["state"]
        return found

    def reboot(self) -> None:
        """The service and its shim end; nothing of ours is told."""
        for process in psutil.process_iter():
            try:
                if str(self.estate / "run") in " ".join(process.cmdline()):
                    process.kill()
            except psutil.Error:
                continue

    def on_free_ports(self) -> None:
        """What `init` wrote, with ports that the kernel chose and shorter watches."""
        for name, old, new in (
            ("lastgood.yaml", "http://127.0.0.1:2019", self.admin),
            ("services/hello/environments/dev/us.yaml", "8101", str(self.port)),
            ("services/hello/environments/dev/de.yaml", "8102", str(self.other_port)),
            ("services/hello/service.yaml", "watch: 5s,", "watch: 2s,"),
            ("services/hello/service.yaml", "verify: 5s,", "verify: 2s,"),
        ):  # fmt: skip
            file = self.estate / name
            text = file.read_text()
            assert old in text, f"{name} has no {old} any more: the README names it"
            file.write_text(text.replace(old, new))
        self.shell("git commit -qam 'Other ports'")


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with caddy(tmp_path) as server:
        yield Trial(tmp_path, "my-estate", admin=server.admin, port=free_port(), other_port=free_port())
        stop_everything(tmp_path)

"""The lines of a restore bundle, run by a plain shell without lastgood."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lastgood.ports.bundles import BundlesTraffic
from lastgood.ports.traffic import Destination
from tests.drivers.haproxy.conftest import Lab, eventually


def run(lab: Lab, directory: Path, addresses: str, **changes) -> subprocess.CompletedProcess[str]:
    driver = lab.build(**changes)
    assert isinstance(driver, BundlesTraffic)
    part = driver.bundle_route("red")
    assert part.needs == ("socat", "awk")
    script = directory / "back.sh"
    script.write_text("set -eu\n" + "\n".join(part.lines) + "\necho done\n")
    return subprocess.run(
        ["sh", str(script)],
        env={"PATH": "/usr/bin:/bin", "ADDRESSES": addresses},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_it_sends_traffic_to_addresses_that_are_new_or_known(lab, red, blue, tmp_path, over) -> None:
    driver = lab.build()
    driver.install()
    driver.route(blue)
    held = lab.open("/socket")
    changes = {"sockets": [lab.server.tcp]} if over == "tcp" else {}
    result = run(lab, tmp_path, " ".join(red.addresses), **changes)
    assert (result.returncode, result.stderr) == (0, "")
    assert {lab.ask() for _ in range(6)} == {(200, "red")}
    eventually(lambda: not held.is_open())
    assert driver.current() == Destination("", red.addresses)
    lab.server.restart()
    assert lab.ask() == (200, "red")
    again = run(lab, tmp_path, " ".join(blue.addresses), **changes)
    assert again.returncode == 0, again.stderr
    assert lab.ask() == (200, "blue")
    assert driver.current() == blue


def test_lastgood_takes_over_what_was_done_by_hand(lab, red, blue, tmp_path) -> None:
    driver = lab.build()
    driver.install()
    driver.route(blue)
    assert run(lab, tmp_path, " ".join(red.addresses)).returncode == 0
    driver.route(red)
    assert driver.current() == red
    assert lab.ask() == (200, "red")


def test_without_free_slots_it_fails_and_changes_nothing(bare, red, blue, tmp_path) -> None:
    bare.serve(slots=2)
    driver = bare.build()
    driver.install()
    driver.route(blue)
    result = run(bare, tmp_path, " ".join(red.addresses))
    assert result.returncode == 1
    assert "too few server slots" in result.stderr
    assert driver.current() == blue


def test_a_dead_haproxy_is_told(lab, red, tmp_path) -> None:
    lab.build().install()
    lab.server.kill()
    result = run(lab, tmp_path, " ".join(red.addresses))
    assert result.returncode != 0
    assert "done" not in result.stdout

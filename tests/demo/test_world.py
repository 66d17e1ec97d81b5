"""The world of the demonstration: real servers that outlive their starter and can always be stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lastgood.demo import world as worlds
from lastgood.demo.estate import UNITS
from lastgood.domain.errors import Conflict
from tests.demo.shop_process import wait_for


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where PostgreSQL's own user can enter, as in a real installation; pytest's directories are private."""
    above = Path(tempfile.mkdtemp(prefix="lastgood-test-"))
    above.chmod(0o755)
    yield above / "world"
    worlds.stop_world(above / "world")
    shutil.rmtree(above)


def start_elsewhere(directory: Path, after: str = "") -> subprocess.Popen[bytes]:
    """``start_world`` in a process of its own, which then runs ``after`` and ends."""
    code = f"""
        import os, signal, sys
        from pathlib import Path
        from lastgood.demo import world
        started = world.start_world(Path({str(directory)!r}))
        {after}
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], start_new_session=True)


def test_outlives_its_starter_and_stops_twice(directory: Path) -> None:
    assert start_elsewhere(directory).wait(timeout=60) == 0
    found = worlds.find_world(directory)
    assert found is not None
    assert found.alive
    for unit in UNITS:
        with psycopg.connect(found.database_url(unit)) as connection:
            assert connection.execute("select current_database()").fetchone() == (
                f"shop_{unit.environment}_{unit.site}",
            )
    with urllib.request.urlopen(found.servers["caddy"] + "/config/", timeout=5) as answer:
        assert answer.status == 200
    assert len(set(found.ports.values())) == 5
    assert worlds.stop_world(directory) == 2
    assert not found.alive
    assert worlds.stop_world(directory) == 0


def test_stops_what_a_killed_starter_left(directory: Path) -> None:
    starter = start_elsewhere(directory, after="os.kill(os.getpid(), signal.SIGKILL)")
    starter.wait(timeout=60)
    (directory / "world.json").unlink()
    (directory / "postgres" / "server.json").unlink()
    assert worlds.find_world(directory) is None
    assert worlds.stop_world(directory) == 2
    assert worlds.stop_world(directory) == 0


def test_starts_again_over_an_earlier_one(directory: Path) -> None:
    first = worlds.start_world(directory)
    (directory / "customers.jsonl").write_text("old")
    second = worlds.start_world(directory)
    assert not first.alive
    assert second.alive
    assert not second.seen.exists()
    assert second.payment_key_file.stat().st_mode & 0o777 == 0o600


def test_ends_the_customers_and_the_shops_of_this_world_only(directory: Path, tmp_path: Path) -> None:
    world = worlds.start_world(directory)
    marked = {**os.environ, "LASTGOOD_RUN": f"{world.process_root}/one/generations/g1#web"}
    other = {**os.environ, "LASTGOOD_RUN": f"{tmp_path}/other/process/g1#web"}
    shop, stranger = (subprocess.Popen(["sleep", "600"], env=env) for env in (marked, other))
    shopping = ["-m", "lastgood.demo.shoppers", "--target", "us=http://127.0.0.1:9", "--rate", "3"]
    customers = subprocess.Popen([sys.executable, *shopping, "--out", str(world.seen)])
    wait_for(world.seen.exists)
    worlds.remember(world, "customers", customers.pid)
    again = worlds.find_world(directory)
    assert again is not None
    assert again.processes["customers"].alive
    try:
        assert worlds.stop_world(directory) == 4
        assert shop.poll() is not None
        assert customers.poll() is not None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_leaves_nothing_where_postgresql_had_to_live_elsewhere(tmp_path: Path) -> None:
    place = tmp_path / "world"
    place.mkdir()
    place.chmod(0o700)
    try:
        worlds.start_world(place)
        data = Path(json.loads((place / "postgres" / "server.json").read_text())["data"])
        assert data.is_dir()
    finally:
        worlds.clear_world(place)
    assert list(place.iterdir()) == []
    assert not data.parent.exists()


def test_a_directory_of_somebody_else_is_left_alone(directory: Path) -> None:
    directory.mkdir()
    (directory / "thesis.tex").write_text("years of work")
    with pytest.raises(Conflict):
        worlds.start_world(directory)
    assert (directory / "thesis.tex").read_text() == "years of work"
    assert worlds.stop_world(directory) == 0


def test_ports_are_not_ones_that_the_kernel_gives_away() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = worlds.free_ports(20)
    assert len(set(found)) == 20
    assert max(found) < lowest

"""The world with containers: shops run in it from their images, and nothing of it stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.demo import containers
from lastgood.demo.estate import SITES, database_name
from lastgood.demo.processes import engines
from lastgood.demo.world import World, find_world, stop_world
from lastgood.domain.errors import InvalidInput, NotAllowed
from lastgood.testing.docker_engine import DockerEngine
from tests.demo.shop_process import KEY, run_sql, wait_for

CONFIG = """
[shop]
site = "us"
currency = "USD"
minor_digits = 2
language = "en"
price_rate = 1.0
tax_rate = 0.0
[database]
url = "{url}"
[payment]
timeout_ms = 800
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, where PostgreSQL's own user can enter."""
    above = Path(tempfile.mkdtemp(prefix="lgt-"))
    above.chmod(0o755)
    yield above / "world"
    stop_world(above / "world")
    shutil.rmtree(above)


def left(directory: Path) -> list[str]:
    """Processes, mounts and bridges that name the directory."""
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    lines = [*processes.splitlines(), *links.splitlines(), *Path("/proc/mounts").read_text().splitlines()]
    return [line for line in lines if str(directory) in line]


def start_elsewhere(directory: Path, after: str = "") -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from lastgood.demo.containers import start_container_world
        start_container_world(Path({str(directory)!r}))
        {after}
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], start_new_session=True)
    assert process.wait(60) == (-signal.SIGKILL if after else 0)


def run_shop(engine: DockerEngine, world: World, tag: str, *arguments: str) -> str:
    """The container's id; its settings are at /etc/shop.toml."""
    image = f"{world.servers['registry']}/shop/storefront:{tag}"
    config = world.directory / "shop.toml"
    config.write_text(CONFIG.format(url=world.database_url(SITES[0])))
    options = [
        "--env",
        f"PAYMENT_KEY={KEY}",
        "--volume",
        f"{config}:/etc/shop.toml",
        "--publish",
        "127.0.0.1::8080",
    ]
    return engine.docker(
        "run", "--detach", *options, image, *arguments, "--config", "/etc/shop.toml", "--port", "8080"
    )


def said_by(engine: DockerEngine, container: str) -> str:
    command = ["docker", "logs", container]
    return subprocess.run(command, env=engine.environment, capture_output=True, text=True, check=True).stderr


def test_shops_run_where_a_killed_start_was_and_nothing_is_left_of_either(directory: Path) -> None:
    start_elsewhere(directory, after="os.kill(os.getpid(), signal.SIGKILL)")
    (directory / "world.json").unlink()
    (killed,) = engines(directory)
    assert left(killed.directory)
    start_elsewhere(directory)
    assert left(killed.directory) == []
    world, (engine,) = find_world(directory), engines(directory)
    assert world is not None
    assert world.alive
    assert {database_name(unit) for unit in world.ports} == {"shop_prod_us", "shop_prod_de", "shop_prod_jp"}
    run_sql(world.database_url(SITES[0]), "0001_init", "deploy")
    for tag in "12":
        web = run_shop(engine, world, tag, "web")
        address = engine.docker("port", web, "8080")

        def answer(address: str = address) -> dict[str, object] | None:
            try:
                with urllib.request.urlopen(f"http://{address}/healthz", timeout=5) as response:
                    return dict(json.load(response))
            except OSError:
                return None

        assert wait_for(answer) == {"ok": True, "release": tag, "site": "us"}
    worker = run_shop(engine, world, "1", "worker")
    # The first process of a container gets no signal that it has not asked for yet.
    wait_for(lambda: "ships for us" in said_by(engine, worker))
    assert left(directory)
    assert stop_world(directory) == 5
    assert left(directory) == []
    assert not world.alive
    assert stop_world(directory) == 0


def test_what_is_missing_is_said_before_anything_begins(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match="too long"):
        containers.start_container_world(directory / ("x" * 60))
    monkeypatch.setattr(containers, "PACKAGES", {"no-such-program": "a-package", "sh": "dash"})
    with pytest.raises(InvalidInput) as missing:
        containers.start_container_world(directory)
    assert missing.value.what.params == {"packages": "a-package"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotAllowed):
        containers.start_container_world(directory)
    assert not directory.exists()

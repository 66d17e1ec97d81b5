"""The estate of the shop in containers: a good commit, a better one, and a bad one."""

from __future__ import annotations

import re
from pathlib import Path

from lastgood.demo.estate import SERVICE, add_gift_notes, commit, require_three_ds, write_files
from lastgood.demo.images import PLATFORM
from lastgood.demo.world import World

RELEASE = re.compile(r'release: "\d"')


def write_container_estate(world: World, windows: dict[str, str]) -> None:
    """As ``estate.write_estate``, for a world with containers."""
    given = {
        "database_url_base": world.database_server,
        "docker_host": world.servers["docker"],
        "registry": world.servers["registry"],
        "haproxy_socket": world.servers["haproxy"],
        "haproxy_state": str(world.haproxy_state),
        "platform": PLATFORM,
        **windows,
    }
    write_files(world.estate, "containers", given, world.ports, world.payment_key_file)


def commit_first(directory: Path) -> str:
    """Image 1 at three sites."""
    return commit(directory, "Open the shop: three sites")


def commit_second(directory: Path) -> str:
    """Image 2 and its schema; nothing is wrong with it."""
    add_gift_notes(directory)
    _release(directory, "2")
    return commit(directory, "Gift notes")


def commit_third(directory: Path) -> str:
    """Image 3 and a setting: it starts healthy, and one checkout in five fails."""
    require_three_ds(directory)
    _release(directory, "3")
    return commit(directory, "3-D Secure for real cards")


def _release(directory: Path, tag: str) -> None:
    file = directory / "services" / SERVICE / "environments" / "prod.yaml"
    file.write_text(RELEASE.sub(f'release: "{tag}"', file.read_text(encoding="utf-8")), encoding="utf-8")

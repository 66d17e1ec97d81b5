"""docs/images.md followed by a new user: a service in a plain container comes under lastgood, and goes back.

Only addresses, paths and the length of watches are other ones; the page's own blocks are what is written and
typed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.docs.docker_host import SECRET, UNIT, DockerHost, docker_host
from tests.docs.reading import Block, blocks, named
from tests.images.customers import customers, page

pytestmark = pytest.mark.xdist_group("images")

PAGE = named("docs/images.md")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[DockerHost]:
    with docker_host(tmp_path) as started:
        yield started


INCIDENT = "in-r-261125-055045-fc17"
RELOAD = "systemctl reload haproxy"


def test_a_service_comes_under_lastgood_as_the_page_says(host: DockerHost, tmp_path: Path) -> None:
    whole = blocks(PAGE)
    aside = {key: block for block in whole for key in ("pip", "restore.sh", "lift") if key in block.text}
    assert [block for block in whole if block.excluded] == list(aside.values())
    words: set[str] = set()
    visits = list(between_reloads(whole))
    for number, acts in enumerate(visits):
        # HAProxy's own reload closes what customers keep open, so none is there in that moment.
        with customers(host.port, tmp_path / f"customers-{number}", rate=400) as crowd:
            for act in acts:
                follow(host, act)
            if acts is visits[-1]:
                something_fails(host, aside["lift"])
            crowd.assert_unharmed()
        words |= {answer["word"] for answer in crowd.answers}
        host.proxy.reload()
    assert (len(visits), words) == (3, {"1.3", "1.4"})
    without_lastgood(host, aside["restore.sh"])
    assert host.unused == set(), "the page does not say this any more"


def between_reloads(whole: Sequence[Block]) -> Iterator[list[Block | str]]:
    """What to write and what to type, in the page's order."""
    acts: list[Block | str] = []
    for block in whole:
        for act in block.commands if block.language == "sh" else [block]:
            if act == RELOAD:
                yield acts
                acts = []
            elif not block.excluded:
                acts.append(act)
    yield acts


def follow(host: DockerHost, act: Block | str) -> None:
    if isinstance(act, str):
        if not act.startswith("cd "):
            check(host, act, host.type(act))
    elif act.language == "yaml":
        host.edit_service(act)
    elif act.language == "text":
        host.edit_haproxy(act)


def check(host: DockerHost, command: str, said: str) -> None:
    """What the page says of it."""
    if command.startswith("lastgood accept"):
        host.settle()
        assert all_is_said(host)
        # The old container stays until the user stops it.
        assert "web" in host.containers()
    elif '--reason "1.4"' in command:
        assert page(host.port) == (200, "1.4")
    elif command.startswith("lastgood status"):
        assert "warm" in said
    elif command.startswith("lastgood rollback"):
        assert page(host.port) == (200, "1.3")
    elif command.startswith("lastgood drift"):
        assert "nothing differs" in said
        assert page(host.port) == (200, "1.3")


def all_is_said(host: DockerHost) -> bool:
    """The containers have what service.yaml says."""
    ours = [name for name in host.containers() if name.startswith("lastgood.web.prod.us.")]
    found = json.loads(host.engine.docker("inspect", *ours))
    return len(found) == 2 and all(
        {"GREETING=Good morning", f"PAYMENT_KEY={SECRET}"} <= set(one["Config"]["Env"])
        and one["HostConfig"]["Memory"] == 256 << 20
        for one in found
    )


def something_fails(host: DockerHost, lift: Block) -> None:
    """What is set aside is seen and lifted by the page's own commands."""
    host.shell('sed -i \'s/"1.4"/"1.5"/\' services/web/values.yaml && git commit -qam 1.5')
    host.shell(f'lastgood deploy {UNIT} --reason "1.5" --owner ops --impact "prod, us" --yes', 8)
    assert page(host.port) == (200, "1.3")
    (host.names[INCIDENT],) = {entry["incident"] for entry in host.told("lastgood quarantine list")}
    for command in lift.commands:
        assert host.names[INCIDENT] in host.type(command) or "lift" in command
    assert host.told("lastgood quarantine list") == []


def without_lastgood(host: DockerHost, bundle: Block) -> None:
    host.lose_lastgood()
    assert page(host.port)[0] == 503
    host.shell(f"set -e\n{host.here(bundle.text)}")
    assert page(host.port) == (200, "1.3")
    assert all_is_said(host)

"""New images that are broken in every way: customers keep the old one, and the cause is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.errors import LastgoodError
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.testing.docker_engine import DockerEngine
from lastgood.testing.haproxy_server import haproxy
from lastgood.testing.images import push
from lastgood.testing.registry_server import RegistryServer, registry
from tests.drivers.registry.proxy import Answer, proxy
from tests.images.conftest import sweep
from tests.images.customers import customers
from tests.images.driving import begin, deploy_well, end_of
from tests.images.program import image, server
from tests.images.runner import Runner
from tests.images.running import assert_whole, portrait
from tests.images.world import DEV, Parts, World

pytestmark = pytest.mark.xdist_group("images")

RATE = 1000
LONG = "1m"
BEFORE_TRAFFIC = {
    "exit": (LONG, "exited with 3"),
    "greedy": (LONG, "ran out of its memory of 64 MiB"),
    "other-processor": (LONG, "made for other processors"),
    "no-entry": ("1s", "no such file"),
    "deaf": ("1s", "GET /healthz"),
    "broken": ("1s", "answered 500"),
    "unhealthy": ("1s", "answered 500"),
}
"""What is wrong, how long it may take to get ready, and how the outcome says it. What ends again and again is
not waited for that long. All of it is seen before a customer meets it.
"""

UNDER_TRAFFIC = {
    "lies": ("page is broken", "failed with"),
    "exit_later": ("ended by itself|page is broken", "this image ends after 3 s"),
    "hungry": ("ended by itself|page is broken", "listens on"),
}
"""What only customers can find out: how the outcome says it, and what the evidence keeps of it."""


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, engine: DockerEngine, shelf: RegistryServer
) -> Iterator[World]:
    """A world that serves image one; what is broken comes and goes."""
    directory = tmp_path_factory.mktemp("broken")
    elf = bytearray(server())
    elf[18:20] = (183).to_bytes(2, "little")  # e_machine: AArch64
    push(shelf, "shop/page:other-processor", image("x", files={"/server": (bytes(elf), 0o755)}))
    push(shelf, "shop/page:arm64", image("x", architecture="arm64"))
    push(shelf, "shop/page:no-entry", image("x", entrypoint=["/nothing"]))
    with haproxy(directory) as front:
        world = World(directory / "world", Parts(engine, shelf, front), network="bridge")
        runner = Runner(world.places).start()
        with customers(world.ports[DEV], directory, rate=50, connections=3):
            deploy_well(world, "one")
            world.service_yaml["windows"]["guard"] = "8s"
            yield world
        runner.kill()
        sweep(engine)


def break_it(world: World, name: str) -> tuple[Rollout, Rollout]:
    """Deploy the image ``name``; the failed rollout, and the last one of what followed."""
    world.commit(name)
    failed = begin(world)
    end = end_of(world, failed.id)
    for status in world.service().status(DEV):
        if status.frozen:
            world.service().unfreeze(DEV, "the next one is another image")
    return world.service().show(failed.id)[0].rollout, end


@pytest.mark.parametrize("name", BEFORE_TRAFFIC)
def test_found_before_any_customer(shop: World, tmp_path: Path, name: str) -> None:
    before = portrait(shop)
    limit, words = BEFORE_TRAFFIC[name]
    shop.service_yaml["roles"]["web"]["ready"]["timeout"] = limit
    with customers(shop.ports[DEV], tmp_path, rate=RATE, connections=20) as crowd:
        failed, end = break_it(shop, name)
    crowd.assert_unharmed()
    assert set(crowd.result["answers"]) == {"one"}, "nobody was sent to the broken one"
    assert words in str(failed.outcome)
    assert ("will not get ready" in str(failed.outcome)) is (limit == LONG)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert portrait(shop) == before
    assert_whole(shop, "one")


@pytest.mark.parametrize("name", UNDER_TRAFFIC)
def test_found_by_customers_and_taken_back_by_itself(shop: World, tmp_path: Path, name: str) -> None:
    before = portrait(shop)
    with customers(shop.ports[DEV], tmp_path, rate=RATE, connections=20) as crowd:
        failed, end = break_it(shop, name)
        end_of_fault = end.finished_at
    words, said = UNDER_TRAFFIC[name]
    assert re.search(words, str(failed.outcome))
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    evidence = b"".join(file.read_bytes() for file in (shop.places.evidence / end.id).iterdir())
    assert said.encode() in evidence
    assert b"first-secret-value" not in evidence
    assert end_of_fault is not None
    late = [a for a in crowd.answers if a["due"] > end_of_fault.timestamp() and a["error"]]
    assert late == [], "customers are well again once it says so"
    assert portrait(shop) == before
    assert_whole(shop, "one")


def test_an_image_for_other_processors_is_refused_in_the_plan(shop: World) -> None:
    shop.commit("arm64")
    with pytest.raises(LastgoodError, match="linux/amd64"):
        begin(shop)
    assert_whole(shop, "one")


def test_a_tag_that_is_not_there_is_refused_in_the_plan(shop: World) -> None:
    shop.commit("never-pushed")
    with pytest.raises(LastgoodError, match="never-pushed"):
        begin(shop)
    assert_whole(shop, "one")


def test_an_image_that_nobody_may_see_is_refused_in_the_plan(shop: World, tmp_path: Path) -> None:
    with registry(tmp_path, auth="basic") as closed:
        push(closed, "shop/page:secret", image("secret"))
        shop.commit(f"{closed.address}/shop/page:secret")
        with pytest.raises(LastgoodError) as caught:
            begin(shop)
        assert caught.value.cause is not None
        assert caught.value.cause.value == "permission"
    assert_whole(shop, "one")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(Answer(status=401), "401"), (Answer(status=404), "404"), (Answer(cut_after=10_000), "cut off")],
    ids=["401", "404", "cut off"],
)
def test_what_can_not_be_pulled_changes_nothing(
    shop: World, tmp_path: Path, answer: Answer, words: str
) -> None:
    """It was there when the change was planned, and can't be had when it is needed."""
    name = f"unheard-{words.replace(' ', '-')}"
    build = image(name, random_bytes=200_000, seed=len(name))
    made = push(shop.parts.registry, f"shop/page:{name}", build)
    layers = "|".join(digest for digest in build.built().blobs if digest != made.config)
    with (
        proxy(shop.parts.registry.address) as between,
        customers(shop.ports[DEV], tmp_path, rate=RATE, connections=20) as crowd,
    ):
        between.rules.append((f"/blobs/({layers})", answer))
        shop.commit(f"{between.address}/shop/page:{name}")
        failed = begin(shop)
        end = end_of(shop, failed.id)
    crowd.assert_unharmed()
    assert end.state is RolloutState.FAILED
    assert "nothing was changed" in str(end.outcome)
    assert words in str(end.outcome)
    assert_whole(shop, "one")

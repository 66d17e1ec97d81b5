"""What the page on databases tells a person to type is typed here, while customers order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.docs.reading import named, scripts, words_of
from tests.journey.driving import deploy_well
from tests.journey.ordering import SPOILS, customers, logical_server, ordering_world, rows, some_more
from tests.journey.world import DEV, World

CODES = {"lastgood deploy": 5, "--forget": 7}
"""The gate breaks; after the restore nothing is kept any more that could be forgotten."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with logical_server(tmp_path / "pg") as server, ordering_world(tmp_path, server) as made:
        yield made


def test_the_walk_through(world: World) -> None:
    places = world.places
    cli = Cli(world.estate, {"LASTGOOD_STATE": str(places.state), "LASTGOOD_KEY_FILE": str(places.key)})
    world.write("databases/orders/database.yaml", declared(world))
    world.commit("words", text="one")
    deploy_well(world)
    world.migration("0002_prices", SPOILS)
    world.commit("new prices", text="two", broken=True)
    told = {}
    with customers(world) as shop:
        some_more(shop)
        for command in commands():
            code = next((code for part, code in CODES.items() if part in command), 0)
            words = words_of(command.replace("storefront@prod/us", str(DEV)).replace("ROLLOUT", newest(cli)))
            told[command] = cli(*words, code=code, COLUMNS="110").stdout
        some_more(shop)
    assert len(rows(world, "SELECT id FROM orders")) >= len(shop.acknowledged)
    said = " ".join(" ".join(told.values()).split())
    for seen in PROMISED:
        assert re.search(seen, said), seen


PROMISED = (
    "0002_prices moves data",
    "is still as 0002_prices left it",
    r"ordered goods orders \d+",
    r"carried over: items \d+, orders \d+",
    "restored, verified",
)


def commands() -> list[str]:
    (block,) = [b for b in scripts(named("docs/databases.md")) if "--restore" in b.text]
    return block.commands


def newest(cli: Cli) -> str:
    found: str = cli.data("history")["rollouts"][0]["id"]
    return found


def declared(world: World) -> str:
    text = (world.estate / "databases/orders/database.yaml").read_text()
    return text + "keep: [items, orders]\ncalled: {orders: ordered goods}\n"

"""prove on the command line: what it says, its data and its exit code."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.journey.world import World

UNIT = "page@dev/us"
CHANGE = ("--reason", "test", "--owner", "team", "--impact", "nobody", "--yes", "--wait", "guard")


def test_a_way_back_is_proven_until_a_piece_is_gone(world: World, cli: Cli) -> None:
    assert "no restore point" in cli("prove", UNIT, code=7).stderr
    cli("deploy", UNIT, *CHANGE)
    world.commit("second", text="two")
    cli("deploy", UNIT, *CHANGE)
    said = cli("prove", UNIT, COLUMNS="100").stdout
    assert said.count("every piece is here and undamaged") == 2
    assert said.startswith("reading all pieces")
    proof = cli.data("prove", UNIT)
    assert (proof["good"], proof["kind"], proof["databases"]) == (True, "verified", [])
    digest = cli.data("status", UNIT)["units"][0]["way_back"]["release"]
    lost = world.service().release(digest).files[0].content
    name = lost.removeprefix("sha256:")
    (world.places.state / "objects" / name[:2] / name[2:]).unlink()
    assert lost in cli("prove", UNIT, code=7).stdout
    assert cli.data("prove", UNIT, code=7)["missing"] == [lost]

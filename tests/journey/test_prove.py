"""That a unit can be taken back, proven while nothing is wrong."""

from __future__ import annotations

import psycopg
import pytest

from lastgood.cli.status_view import status_view
from lastgood.domain.errors import NotReversible
from lastgood.domain.status import WayBack
from lastgood.domain.unit import UnitId
from lastgood.testing.postgres_server import PostgresServer
from lastgood.translation import translator
from tests.journey.driving import deploy_well
from tests.journey.page import page
from tests.journey.world import DEV, World


def way_back(world: World) -> WayBack:
    found = world.service().status(DEV)[0].way_back
    assert found is not None
    return found


def drawn(world: World) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as said:
        console.print(status_view(translator("en"), world.service().status(DEV), detailed=True))
    return said.get()


def databases(server: PostgresServer) -> set[str]:
    with psycopg.connect(server.url()) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def test_a_proof_is_kept_and_leaves_nothing_behind(shop: World, server: PostgresServer) -> None:
    deploy_well(shop)
    before, answered = databases(server), page(shop.ports["dev"])
    assert (way_back(shop).databases_kept, way_back(shop).databases_proven_at) == (1, None)
    assert "lastgood prove page@dev/us" in drawn(shop)
    told: list[str] = []
    proof = shop.service().prove(DEV, lambda step: told.append(str(step)))
    assert proof.good
    (database,) = proof.databases
    assert database.error is None
    assert database.size > 0
    assert database.seconds > 0
    assert database.proven_at is not None
    assert way_back(shop).databases_proven_at == database.proven_at
    assert "database copy proven" in drawn(shop)
    assert [step.split()[0] for step in told] == ["reading", "loading"]
    assert databases(server) == before
    assert page(shop.ports["dev"]) == answered
    noted = [r for r in shop.service().audit(str(DEV)) if r.verb == "prove"]
    assert sorted(r.phase.value for r in noted) == ["intent", "outcome"]


def test_what_is_damaged_is_named_after_the_rest_was_proven(shop: World) -> None:
    deploy_well(shop)
    (dump,) = shop.places.state.rglob("*.dump")
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 0xFF
    dump.write_bytes(content)
    proof = shop.service().prove(DEV)
    assert not proof.good
    assert (proof.missing, proof.missing_current) == ((), ())
    (database,) = proof.databases
    assert str(dump) in str(database.error)
    assert database.proven_at is None
    assert way_back(shop).databases_proven_at is None


def test_a_piece_that_is_gone_is_named_and_the_database_is_still_proven(shop: World) -> None:
    deploy_well(shop)
    shop.commit("second", text="two")
    deploy_well(shop)
    point = shop.service().release(way_back(shop).release)
    digest = point.files[0].content
    plain = digest.removeprefix("sha256:")
    (shop.places.state / "objects" / plain[:2] / plain[2:]).unlink()
    proof = shop.service().prove(DEV)
    assert proof.missing == (digest,)
    assert not proof.good
    (database,) = proof.databases
    assert database.proven_at is not None


def test_a_unit_without_a_database(world: World) -> None:
    deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    proof = world.service().prove(DEV)
    assert (proof.good, proof.kind, proof.databases) == (True, "verified", ())
    assert way_back(world).databases_kept == 0
    assert "database copy" not in drawn(world)


def test_a_database_without_a_snapshot_is_said_and_no_failure(shop: World) -> None:
    for script in sorted((shop.estate / "databases/orders/migrations").rglob("*.sql")):
        script.unlink()
    shop.commit("no migrations")
    deploy_well(shop)
    proof = shop.service().prove(DEV)
    assert proof.good
    assert [(d.resource.partition("@")[0], d.snapshot) for d in proof.databases] == [("orders", "")]


@pytest.mark.parametrize("unit", [DEV, UnitId("nothing", "dev", "us")])
def test_what_was_never_deployed_has_no_way_back(world: World, unit: UnitId) -> None:
    with pytest.raises(NotReversible):
        world.service().prove(unit)
    assert world.service().audit(str(unit)) == ()

"""A unit of the theatre with a database, and a migration that spoils its data."""

from __future__ import annotations

from typing import Any

from lastgood.actions.abilities import generation_id
from lastgood.actions.restore import restore
from lastgood.domain.capture import Capture
from lastgood.domain.digest import digest_bytes
from lastgood.domain.plan import Plan
from lastgood.domain.release import DatabaseTarget, Migration, Release, SecretVersion
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import Target, UnitId
from lastgood.engine.handlers import Probe, no_probe
from lastgood.planning.restoring import CopySource, plan_restore
from lastgood.ports.drivers import MigrationScript
from lastgood.testing.fake_database import FakeDatabase
from tests.actions.theatre import BEGAN, OTHER, UNIT, Theatre, release

RESOURCE = "shop@prod"
INIT = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, item text, price integer);\n"
    "CREATE TABLE visits (id INTEGER PRIMARY KEY, page text);\n",
    "SELECT id, item, price FROM orders WHERE false;\n",
    "DROP TABLE visits;\nDROP TABLE orders;\n",
)
SPOILS = (
    "UPDATE orders SET price = 0;\n",
    "SELECT price FROM orders WHERE false;\n",
    "UPDATE orders SET price = 1;\n",
)

WHOLE = {1: 100, 2: 100, 3: 100, 4: 70}
"""Prices as before the change, and the order that came while it was there."""


def open_captures(theatre: Theatre) -> list[str]:
    with theatre.store.read() as unit:
        return [capture.resource for capture in unit.captures.list()]


class Shop:
    """``UNIT`` stands on ``good`` with three orders; ``bad`` brings ``0002_prices``, which spoils them."""

    def __init__(self, theatre: Theatre, secrets: tuple[SecretVersion, ...] = (), **declared: Any) -> None:
        self.theatre, self.secrets, self.declared = theatre, secrets, declared
        self.database = FakeDatabase(
            theatre.directory / "db" / "shop.sqlite", theatre.directory / "snapshots", RESOURCE
        )
        for unit in (UNIT, OTHER):
            theatre.drivers.built[unit, "database"] = self.database
        init = self.migration("0001_init", INIT)
        self.database.deploy(self.script(init, INIT), "before")
        for number in (1, 2, 3):
            self.order(number)
        self.good = theatre.stand(self.release("good", init))
        self.bad = self.release("bad", init, self.migration("0002_prices", SPOILS))

    def migration(self, name: str, scripts: tuple[str, str, str]) -> Migration:
        for text in scripts:
            self.theatre.objects.put(text.encode())
        return Migration(name, *(digest_bytes(text.encode()) for text in scripts))

    @staticmethod
    def script(migration: Migration, scripts: tuple[str, str, str]) -> MigrationScript:
        return MigrationScript(migration.name, migration.digest, *scripts)

    def release(self, text: str, *migrations: Migration, unit: UnitId = UNIT) -> Release:
        database = DatabaseTarget(RESOURCE, Target("database"), migrations, **self.declared)
        return self.theatre.release(text, unit, databases=(database,), secrets=self.secrets)

    def order(self, number: int, price: int = 100) -> None:
        with self.database.connect() as connection:
            connection.execute("INSERT INTO orders VALUES (?, ?, ?)", (number, f"item {number}", price))

    def orders(self) -> dict[Any, Any]:
        return {row[0]: row[2] for row in self.database.ask("SELECT * FROM orders ORDER BY id")}

    def break_it(self) -> Rollout:
        """Deploy ``bad``; its gate breaks after an order came in. Returns the way back."""
        rollout = self.theatre.accept(self.bad)

        def breaks(moment: str, step: str) -> None:
            if (moment, step) == ("before effect", "guard"):
                self.order(4, 70)
                self.theatre.proxy.bad.add(self.generation)

        return self.theatre.run(rollout.id, breaks)

    @property
    def generation(self) -> str:
        return generation_id(self.bad)

    @property
    def good_generation(self) -> str:
        return generation_id(self.good)

    def restore(self, probe: Probe = no_probe, **asked: Any) -> Rollout:
        rollout = restore(self.theatre.context, UNIT, **asked)
        return self.theatre.run(rollout.id, probe)


def broken(theatre: Theatre, **declared: Any) -> Shop:
    """A shop whose bad change was taken back: its data is still spoiled."""
    shop = Shop(theatre, **declared)
    end = shop.break_it()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert shop.orders() == {1: 0, 2: 0, 3: 0, 4: 70}
    return shop


def program() -> Plan:
    """The plan of a restore, for the points at which it may be killed."""
    database = DatabaseTarget(RESOURCE, Target("database"))
    capture = Capture("s", RESOURCE, str(UNIT), "r", BEGAN)
    return plan_restore(release("good"), database, capture, (release("good"),), lambda kind: (), CopySource())

"""A shop whose releases have write journeys, and migrations that old code bears or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lastgood.actions.accepting import accept_plan
from lastgood.actions.plan_change import move_between
from lastgood.actions.rehearsing import rehearse_first
from lastgood.domain.digest import digest_bytes
from lastgood.domain.message import Message
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.engine.handlers import Probe, no_probe
from lastgood.planning.moves import Move, plan_deploy
from tests.actions.restoring import INIT, Shop
from tests.actions.theatre import Theatre

NEXT = "(SELECT coalesce(max(id), 0) + 1 FROM orders)"
OLD = f"INSERT INTO orders (id, item, price) VALUES ({NEXT}, 'old', 1);\n" * 2
NEW = f"INSERT INTO orders (id, item, price, gift) VALUES ({NEXT}, 'new', 1, 'a rose');\n"
GIFT = (
    "ALTER TABLE orders ADD COLUMN gift text;\n",
    "SELECT gift FROM orders WHERE false;\n",
    "ALTER TABLE orders DROP COLUMN gift;\n",
)
STRICT = (
    "CREATE UNIQUE INDEX one_of_each ON orders (item);\n",
    "SELECT item FROM orders WHERE false;\n",
    "DROP INDEX one_of_each;\n",
)
RENAMED = (
    "ALTER TABLE visits RENAME TO looks;\n",
    "SELECT page FROM looks WHERE false;\n",
    "ALTER TABLE looks RENAME TO visits;\n",
)
RESOURCE = "shop@prod"


@dataclass
class Stage:
    """A shop on ``old``, which has a journey."""

    shop: Shop
    old: Release

    @property
    def theatre(self) -> Theatre:
        return self.shop.theatre

    def release(self, text: str, scripts: tuple[str, str, str], journey: str = "") -> Release:
        shop = self.shop
        made = shop.release(text, shop.migration("0001_init", INIT), shop.migration("0002_next", scripts))
        return with_journey(self.theatre, made, journey)

    def move(self, target: Release, told: Callable[[Message], None] = lambda step: None) -> Move:
        return rehearse_first(
            self.theatre.context, move_between(self.theatre.context, self.old, target), told
        )

    def accept(self, move: Move) -> Rollout:
        context = self.theatre.context
        request = Request("test", "team", "nobody", "ann", context.clock.now())
        return accept_plan(context, plan_deploy(move), move.target, request)

    def deploy(self, target: Release, probe: Probe = no_probe) -> Rollout:
        return self.theatre.run(self.accept(self.move(target)).id, probe)

    def columns(self) -> list[object]:
        return [row[1] for row in self.shop.database.ask("PRAGMA table_info('orders')")]


def with_journey(theatre: Theatre, made: Release, journey: str) -> Release:
    if journey:
        theatre.objects.put(journey.encode())
    script = digest_bytes(journey.encode()) if journey else ""
    return replace(made, databases=(replace(made.databases[0], journey=script),))


def strict(stage: Stage) -> Release:
    """Old code writes twice what is allowed once."""
    return stage.release("strict", STRICT, "")


ADDS = (
    "ALTER TABLE visits ADD COLUMN at text;\n",
    "SELECT at FROM visits WHERE false;\n",
    "ALTER TABLE visits DROP COLUMN at;\n",
)


def above(stage: Stage, below: Release, scripts: tuple[str, str, str]) -> Release:
    """``below`` is deployed; then, on top of it, one more migration."""
    end = stage.deploy(below)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    database = below.databases[0]
    three = stage.shop.migration("0003_more", scripts)
    both = stage.theatre.release(
        "more", databases=(replace(database, migrations=(*database.migrations, three)),)
    )
    oldest, stage.old = stage.old, below
    end = stage.deploy(both)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    stage.old = oldest
    return both

"""A database that units share is migrated once per change, and reverted when nobody needs it any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lastgood.actions.change_programs import ChangePrograms
from lastgood.actions.change_status import look_at_change
from lastgood.actions.context import Actor, Context
from lastgood.actions.deploy_many import deploy_many
from lastgood.actions.finish import RUNNER, RolloutPrograms
from lastgood.actions.plan_many import plan_many, select
from lastgood.actions.rollback import plan_way_back
from lastgood.actions.rollback_many import rollback_many
from lastgood.actions.steps.table import handlers, wave_handlers
from lastgood.actions.steps.tools import Tools
from lastgood.clock import SystemClock
from lastgood.domain.change import ChangeState
from lastgood.domain.criterion import Criterion, Signal, SignalKind
from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import InvalidInput
from lastgood.domain.plan import StepKind
from lastgood.domain.release import DatabaseTarget, Migration, Release, Windows
from lastgood.domain.unit import Environment, Site, Target, UnitId
from lastgood.domain.wave import WavePolicy
from lastgood.engine.interpreter import Interpreter
from lastgood.ports.estate import Rendered
from lastgood.store.database import open_store
from lastgood.store.images import FileImages
from lastgood.store.objects import FileObjects
from lastgood.testing.fake_database import FakeDatabase

RESOURCE = "shop@prod"
SITES = ("us", "de", "jp")
UNITS = tuple(UnitId("page", "prod", site) for site in SITES)
TRIPLES = {
    "0001_init": ("CREATE TABLE orders (id integer);\n", "SELECT id FROM orders;\n", "DROP TABLE orders;\n"),
    "0002_gift": (
        "ALTER TABLE orders ADD COLUMN gift text;\n",
        "SELECT gift FROM orders;\n",
        "ALTER TABLE orders DROP COLUMN gift;\n",
    ),
    "0003_drop": ("CREATE INDEX tail ON orders (id);\n", "SELECT id FROM orders;\n", "DROP INDEX tail;\n"),
    "0004_more": (
        "ALTER TABLE orders ADD COLUMN more text;\n",
        "SELECT more FROM orders;\n",
        "ALTER TABLE orders DROP COLUMN more;\n",
    ),
    "0002_upper": (
        "UPDATE orders SET id = id + 1;\n",
        "SELECT id FROM orders;\n",
        "UPDATE orders SET id = 0;\n",
    ),
}


@dataclass
class Estate:
    """An estate at one commit, and its own reader; ``broken`` sites measure nothing but errors."""

    database: Path
    names: tuple[str, ...] = ("0001_init",)
    text: str = "one"
    broken: str = ""
    size: int = 1
    window: float = 0.3

    @property
    def commit(self) -> str:
        return self.text

    environments: Sequence[Environment] = (Environment("prod", 0),)
    sites: Sequence[Site] = tuple(Site(name) for name in SITES)

    def units(self) -> Sequence[UnitId]:
        return UNITS

    def waves(self, environment: str) -> WavePolicy:
        return WavePolicy(size=self.size)

    def needs(self) -> Mapping[str, Sequence[str]]:
        return {"page": ()}

    def lint(self) -> Sequence[Any]:
        return ()

    def render(self, unit: UnitId) -> Rendered:
        contents = {digest_bytes(s.encode()): s.encode() for n in self.names for s in TRIPLES[n]}
        migrations = tuple(
            Migration(n, *(digest_bytes(s.encode()) for s in TRIPLES[n]), contracts=n == "0003_drop")
            for n in self.names
        )
        target = Target("fake", {"path": str(self.database)})
        good = 0 if unit.site == self.broken else 10
        settings = {"resource": RESOURCE, "query": f"SELECT {good}, 10", "text": self.text}
        signal = Signal("orders", SignalKind.RATIO, "fake", settings)
        release = Release(
            unit, self.text, databases=(DatabaseTarget(RESOURCE, target, migrations),),
            criteria=(Criterion("orders", signal, 0.9, 0.1, 5),), windows=Windows(*[self.window] * 3),
        )  # fmt: skip
        return Rendered(release, (), contents)

    def at(self, commit: str) -> Estate:
        return self

    def dirty(self) -> Sequence[str]:
        return ()

    def is_ancestor(self, older: str, newer: str) -> bool:
        return True


class Clock(SystemClock):
    """Whoever waits lets what was accepted begin, each rollout in a thread of its own."""

    def __init__(self) -> None:
        self.begin: Any = lambda: None

    def sleep(self, seconds: float) -> None:
        self.begin()
        super().sleep(min(seconds, 0.02))


class Shop:
    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.store = open_store(root / "state", self.clock)
        self.database = FakeDatabase(root / "shop.sqlite", root / "snapshots", RESOURCE)
        self.estate: Any = Estate(root / "shop.sqlite")
        objects, images = FileObjects(root / "objects"), FileImages(root / "images")
        parts: Any = None
        self.context = Context(
            self.store, objects, images, parts, parts, self, self.clock, Actor("ann", "here"), root,
            self.estate,
        )  # fmt: skip
        tools = Tools(self, objects, parts, images, root / "evidence")
        runner = replace(self.context, actor=Actor(RUNNER, "test"))
        known = {**handlers(tools), **wave_handlers(runner)}
        self.changes = Interpreter(self.store, ChangePrograms(self.store, self.clock, "t"), known, self.clock)
        rollouts = RolloutPrograms(self.store, self.clock, "t", parts)
        self.rollouts = Interpreter(self.store, rollouts, known, self.clock)
        self.threads: list[threading.Thread] = []
        self.clock.begin = self.begin
        self.lock = threading.Lock()

    def get(self, unit: UnitId, target: Target) -> object:
        """The drivers: one database for all."""
        return self.database

    def begin(self) -> None:
        with self.lock, self.store.write() as unit:
            waiting = [name for name in unit.wishes.enqueued() if name.startswith("r-")]
            for name in waiting:
                unit.wishes.started(name)
        for name in waiting:
            self.threads.append(threading.Thread(target=self.rollouts.run, args=(name,), daemon=True))
            self.threads[-1].start()

    def deploy(self, *names: str, **says: Any) -> str:
        """All units to the next commit, to the end; returns the change."""
        for key, value in {"names": names, "broken": "", **says}.items():
            setattr(self.estate, key, value)
        change = deploy_many(self.context, ["page@prod/*"], reason="gifts", owner="team", impact="carts")
        self.finish(change.id)
        return change.id

    def finish(self, change: str) -> None:
        self.changes.run(change)
        with self.store.read() as unit:
            opened = list(unit.changes.open_ids())
        for name in opened:
            self.changes.run(name)
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()

    def applied(self) -> list[str]:
        return [name for name, _ in self.database.applied()]

    def state(self, change: str) -> ChangeState:
        return look_at_change(self.context, change).change.state

    def did(self, kind: StepKind) -> list[str]:
        """The units whose rollouts have such a step, oldest first."""
        with self.store.read() as unit:
            found = unit.rollouts.list(limit=100)[::-1]
        return [r.unit.site for r in found if any(s.kind is kind for s in r.plan.steps)]


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Shop]:
    """Where nothing was deployed yet."""
    made = Shop(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def shop(bare: Shop) -> Shop:
    assert bare.state(bare.deploy("0001_init")) is ChangeState.VERIFIED
    return bare


def test_the_first_unit_migrates_for_all(shop: Shop) -> None:
    for kind in (StepKind.SNAPSHOT, StepKind.REHEARSE, StepKind.MIGRATE):
        assert shop.did(kind) == ["us"]
    shop.estate.names, shop.estate.text, shop.estate.size = ("0001_init", "0002_gift"), "two", 3
    planned = plan_many(shop.context, select(shop.context, ["page@prod/*"]))
    ((us, de, jp),) = planned.plan.waves
    assert (us.after, de.after, jp.after) == ((), (UNITS[0],), (UNITS[0],))
    assert planned.plan.resources == (RESOURCE,)
    assert [one.plan.difference.migrations for one in planned.units] == [(f"{RESOURCE} 0002_gift",), (), ()]


def test_what_was_migrated_is_reverted_last_when_the_change_goes_back(shop: Shop) -> None:
    change = shop.deploy("0001_init", "0002_gift", text="two", broken="de")
    told = look_at_change(shop.context, change)
    assert told.change.state is ChangeState.RETURNED
    assert told.back is not None
    assert told.back.state is ChangeState.VERIFIED, str(told.back.outcome)
    assert shop.applied() == ["0001_init"]
    assert shop.did(StepKind.REVERT_SCHEMA) == ["us"]


def test_it_stays_while_another_unit_of_the_change_needs_it(shop: Shop) -> None:
    change = shop.deploy("0001_init", "0002_gift", text="two")
    assert shop.state(change) is ChangeState.VERIFIED
    plan, _ = plan_way_back(shop.context, UNITS[0])
    assert plan.difference.reverts == ()
    assert any("0002_gift stays" in str(note) for note in plan.notes)
    back = rollback_many(shop.context, change)
    shop.finish(back)
    assert shop.state(back) is ChangeState.VERIFIED
    assert shop.applied() == ["0001_init"]


def test_a_unit_that_cannot_be_planned_refuses_the_whole_change_and_is_named(bare: Shop) -> None:
    render = bare.estate.render

    def fails(unit: UnitId) -> Rendered:
        if unit.site == "de":
            raise InvalidInput("no value for '{key}'", key="port")
        rendered: Rendered = render(unit)
        return rendered

    bare.estate.render = fails
    with pytest.raises(InvalidInput, match="page@prod/de: no value for 'port'"):
        deploy_many(bare.context, ["*@prod/*"], reason="r", owner="o", impact="i")
    with bare.store.read() as unit:
        assert unit.changes.list() == ()


def test_what_is_there_already_is_left(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="all 3 units are on exactly this already"):
        deploy_many(shop.context, ["*@prod/*"], reason="r", owner="o", impact="i")


@pytest.mark.parametrize(
    ("wanted", "sites"),
    [
        (["page@prod/us", "page@prod/jp"], ["us", "jp"]),
        (["page@prod/[ud]*"], ["us", "de"]),
        (["*@*/jp", "page@prod/jp"], ["jp"]),
    ],
)
def test_units_and_patterns(bare: Shop, wanted: list[str], sites: list[str]) -> None:
    assert [u.site for u in select(bare.context, wanted).units] == sites


@pytest.mark.parametrize("pattern", ["page@prod/uk", "*@prod", "*", "shop@*/*", "page@*"])
def test_a_pattern_that_matches_nothing_is_named(bare: Shop, pattern: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        select(bare.context, ["page@prod/us", pattern])
    assert pattern in str(caught.value)


def open_captures(shop: Shop) -> list[str]:
    with shop.store.read() as unit:
        return [capture.resource for capture in unit.captures.list()]


def test_what_is_written_is_kept_until_all_of_the_change_is_good(shop: Shop) -> None:
    change = shop.deploy("0001_init", "0002_upper", text="two", broken="de")
    assert shop.state(change) is ChangeState.RETURNED
    assert shop.did(StepKind.MIGRATE)[-1] == "us"
    assert open_captures(shop) == [RESOURCE], "the unit that migrated was good, the change was not"
    assert shop.applied() == ["0001_init", "0002_upper"]


def test_a_change_that_is_good_keeps_nothing_any_more(shop: Shop) -> None:
    assert shop.state(shop.deploy("0001_init", "0002_upper", text="two")) is ChangeState.VERIFIED
    assert open_captures(shop) == []

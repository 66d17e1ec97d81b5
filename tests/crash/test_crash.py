"""kill -9 at every point of a program, forward and back: it gets to the next one, and is whole at the end.

The points come from the program (``points.py``): a new step is covered without anybody's doing. One change is
killed at all of its points in turn, so that each costs one start of a runner and not a change of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lastgood.actions.accept import take_as_good
from lastgood.actions.deploy import deploy
from lastgood.bootstrap.parts import build_context
from lastgood.domain.digest import short
from lastgood.domain.release import Release
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import Role
from lastgood.testing.caddy_server import caddy, free_port
from lastgood.testing.postgres_server import postgres
from tests.crash.points import END, MOMENTS, back_steps, forward_steps, program
from tests.crash.runner import start_runner
from tests.journey.conftest import stop_everything, wait_for
from tests.journey.page import page
from tests.journey.world import DEV, World

pytestmark = pytest.mark.xdist_group("crash")


class Shop:
    """One world in which change follows change; each is killed at one point and must end whole."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.context = build_context(world.places)
        self.count = 0

    def accept(self, *, broken: bool) -> Rollout:
        """Commit and accept the next change, with a migration, without any runner."""
        (status,) = self.world.service().status(DEV) or (None,)
        if status and status.rollout and status.rollout.state is RolloutState.UNVERIFIED:
            # What an earlier point left behind is that point's failure, and not everybody's.
            with self.context.store.write() as unit:
                take_as_good(self.context, unit, status.rollout)
        self.count += 1
        name = f"{self.count + 1:04}_column"
        self.world.migration(name, (
            f"ALTER TABLE orders ADD COLUMN c{self.count} text;\n",
            f"SELECT c{self.count} FROM orders WHERE false;\n",
            f"ALTER TABLE orders DROP COLUMN c{self.count};\n",
        ))  # fmt: skip
        self.world.commit(name, text=f"text {self.count}", broken=broken)
        return deploy(self.context, DEV, reason="crash test", owner="team", impact="none")

    def drop_failed(self) -> None:
        """Take the failed change out of Git again, as people do."""
        self.world.git("revert", "--no-edit", "HEAD")

    def run_killed(self, at: tuple[str, str]) -> None:
        """A runner that dies at ``at``; the kill is observed, not assumed."""
        runner = start_runner(self.world.places, at)
        runner.join(40)
        assert runner.exitcode == -signal.SIGKILL, f"was not killed at {at}: {runner.exitcode}"

    def run_to_end(self, rollout: str) -> Rollout:
        """A new runner, until the rollout and whatever follows from it is over."""
        runner = start_runner(self.world.places)
        try:
            last = [p.rollout for p in self.world.service().follow(rollout, lambda r: False)][-1]
        finally:
            os.kill(int(runner.pid or 0), signal.SIGKILL)
            runner.join(10)
        return last

    def assert_is_back(self, rollout: Rollout, text: str) -> None:
        """Run what is left of the way back of ``rollout``, which is to end where that began."""
        end = self.run_to_end(rollout.id)
        assert end.id == f"{rollout.id}-back"
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
        self.assert_whole(rollout.base, text)
        evidence = self.world.places.evidence / end.id
        assert wait_for(lambda: (evidence / "samples.json").exists())
        with self.context.store.read() as unit:
            (freeze,) = unit.incidents.freezes(DEV)
            assert freeze.incident == f"in-{rollout.id}"
        self.world.service().unfreeze(DEV, "crash test goes on")
        self.drop_failed()

    def release(self, digest: str) -> Release:
        with self.context.store.read() as unit:
            return unit.releases.get(digest)

    def assert_whole(self, digest: str, text: str) -> None:
        """Configuration, processes, traffic and schema are those of the release, and of no other."""
        release = self.release(digest)
        service = self.world.service()
        assert service.drift(DEV) == ()
        assert page(self.world.ports["dev"]) == {"status": "200", "text": text}
        runtime = self.context.drivers.get(DEV, release.runtime)  # type: ignore[arg-type]
        running = [s for s in runtime.status() if s.running]  # type: ignore[attr-defined]
        workers = [s for s in running if s.role is Role.WORKER]
        assert [s.generation for s in workers] == [f"{DEV.slug}-{short(digest)}"]
        webs = [s.generation for s in running if s.role is Role.WEB]
        assert webs == [f"{DEV.slug}-{short(digest)}"]
        with psycopg.connect(self.world.database_url) as connection:
            rows = connection.execute("SELECT name FROM lastgood.revisions ORDER BY seq").fetchall()
        assert [row[0] for row in rows] == [m.name for m in release.databases[0].migrations]
        with self.context.store.read() as unit:
            assert unit.releases.current(DEV) == digest
            assert unit.locks.holder(f"unit:{DEV}") == ""
            assert list(unit.rollouts.open()) == []
            assert unit.audit.first_broken() is None


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root: Path = tmp_path_factory.mktemp("crash")
    with postgres(root / "pg") as server, caddy(root) as proxy:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE orders")
        ports = {"dev": free_port(), "prod": free_port()}
        world = World(root, proxy.admin, ports, server.url("orders"), watch="2s", guard="2s")
        made = Shop(world)
        first = made.run_to_end(deploy(made.context, DEV, reason="first", owner="t", impact="n").id)
        assert first.state is RolloutState.VERIFIED, str(first.outcome)
        yield made
        stop_everything(root)


def named(step: str, rollout: Rollout) -> str:
    """The step of the real program for a point of the generated one: the migration has its real name."""
    pending = next(s.params["migration"] for s in rollout.plan.steps if s.id.startswith("migrate:"))
    return step.replace("NEW", str(pending))


def test_the_generated_program_is_the_real_one(shop: Shop) -> None:
    rollout = shop.accept(broken=False)
    expected = program(("NEW",))
    assert [s.id for s in rollout.plan.steps] == [named(s.id, rollout) for s in expected.steps]
    assert [s.id for s in rollout.plan.way_back] == [named(s.id, rollout) for s in expected.way_back]
    assert len(MOMENTS) == 3
    assert shop.run_to_end(rollout.id).state is RolloutState.VERIFIED


@pytest.mark.parametrize("moment", MOMENTS)
def test_forward(shop: Shop, moment: str) -> None:
    rollout = shop.accept(broken=False)
    for step in forward_steps():
        shop.run_killed((moment, named(step, rollout)))
    end = shop.run_to_end(rollout.id)
    assert end.id == rollout.id
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    shop.assert_whole(rollout.target, f"text {shop.count}")


@pytest.mark.parametrize("moment", MOMENTS)
def test_back(shop: Shop, moment: str) -> None:
    before = page(shop.world.ports["dev"])["text"]
    rollout = shop.accept(broken=True)
    for step in back_steps():
        shop.run_killed((moment, named(step, rollout)))
    shop.assert_is_back(rollout, before)


@pytest.mark.parametrize("moment", END)
def test_at_the_end(shop: Shop, moment: str) -> None:
    """Both programs have one: the forward one's is killed, then that of the way back which follows."""
    before = page(shop.world.ports["dev"])["text"]
    rollout = shop.accept(broken=True)
    shop.run_killed((moment, "finish"))
    shop.run_killed((moment, "finish"))
    shop.assert_is_back(rollout, before)

"""kill -9 at every point of the program of a change, forward and back: it goes on as was decided, and nothing
runs twice.

One change is killed at each of its points in turn; its units are configuration alone, so that it is quick.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import run
from lastgood.clock import SystemClock
from lastgood.domain.change import Change, ChangeState
from lastgood.domain.rollout import RolloutState
from lastgood.store.database import open_store
from lastgood.testing.caddy_server import caddy
from tests.crash.points import END, MOMENTS
from tests.journey.conftest import stop_everything
from tests.journey.fleet import Fleet, unit

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["lastgood.engine.durable", "lastgood.store.database", __name__])

Point = tuple[str, str]


def _run(places: Places, change: str, at: Point | None) -> None:
    """A runner that kills itself at one point of the program of ``change``."""
    os.setsid()
    store = open_store(places.state, SystemClock(), read_only=True)

    def ends(moment: str) -> bool:
        """Rollouts have an end as well, which is none of ours."""
        with store.read() as work:
            rollouts = any(name in work.rollouts.open_ids() for name in _rollouts(work.changes.get(change)))
            return not rollouts and (change in work.changes.open_ids()) == (moment == "before finish")

    def probe(moment: str, step: str) -> None:
        if at == (moment, step) and (step != "finish" or ends(moment)):
            os.kill(os.getpid(), signal.SIGKILL)

    run(places, forever=False, probe=probe)


def _rollouts(change: Change) -> list[str]:
    return [change.rollout_of(member) for member in change.plan.members()]


def points(*steps: str) -> list[Point]:
    return [(moment, step) for step in steps for moment in MOMENTS] + [(moment, "finish") for moment in END]


class Company:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.store = open_store(fleet.places.state, SystemClock())
        self.text = "one"
        """What its units say by now."""

    def die(self, change: str, at: Point) -> None:
        """The kill is observed, not assumed."""
        runner = _server.Process(target=_run, args=(self.fleet.places, change, at))
        runner.start()
        runner.join(60)
        assert runner.exitcode == -signal.SIGKILL, f"was not killed at {at}: {runner.exitcode}"

    def assert_whole(self, text: str) -> None:
        """Each unit is where it was meant to be, and nothing is held or open."""
        service = self.fleet.service()
        with self.store.read() as work:
            assert not work.rollouts.open_ids()
            assert not work.changes.open_ids()
            assert work.audit.first_broken() is None
            ends = Counter(
                r.data.get("rollout") or r.data.get("change")
                for r in work.audit.list(limit=500)
                if r.phase.value == "outcome" and r.verb in ("deploy", "rollback")
            )
            assert set(ends.values()) == {1}, ends
            for site in ("us", "de"):
                assert work.locks.holder(f"unit:{unit(f'api/{site}')}") == ""
        for site in ("us", "de"):
            assert service.drift(unit(f"api/{site}")) == ()
            files = service.release(service.status(unit(f"api/{site}"))[0].release).files
            (placed,) = files
            assert f'text = "{text}"'.encode() in self.content(placed.content)

    def content(self, digest: str) -> bytes:
        name = digest.removeprefix("sha256:")
        return next(p for p in self.fleet.places.objects.rglob(f"{name[2:]}*") if p.is_file()).read_bytes()


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    root: Path = tmp_path_factory.mktemp("changes")
    with caddy(root) as server:
        fleet = Fleet(root, server.admin, waves="{size: 1}", watch="1s", guard="1s")
        first = fleet.follow(fleet.begin("api@prod/us", "api@prod/de").id)
        assert first.change.state is ChangeState.VERIFIED, str(first.change.outcome)
        os.kill(fleet.service().runner(), signal.SIGKILL)
        made = Company(fleet)
        yield made
        made.store.close()
        stop_everything(root)


def test_forward(company: Company) -> None:
    company.fleet.commit("two")
    change = company.fleet.accept("api@prod/us", "api@prod/de")
    for at in points("wave:1", "wave:2", "guard"):
        company.die(change.id, at)
    end = company.fleet.service().many.show(change.id)
    assert end.change.state is ChangeState.VERIFIED, str(end.change.outcome)
    assert [one.state for one in end.units] == [RolloutState.VERIFIED] * 2
    company.text = "two"
    company.assert_whole(company.text)


def test_back(company: Company) -> None:
    before = company.text
    company.fleet.commit("three", "api/de")
    change = company.fleet.accept("api@prod/us", "api@prod/de")
    for at in points("wave:1", "wave:2"):
        company.die(change.id, at)
    back = f"{change.id}-back"
    for at in points("back:1", "back:2"):
        company.die(back, at)
    end = company.fleet.service().many.show(change.id)
    assert end.back is not None
    assert (end.change.state, end.back.state) == (ChangeState.RETURNED, ChangeState.VERIFIED), end
    company.assert_whole(before)

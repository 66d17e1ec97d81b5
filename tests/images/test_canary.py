"""Shares of the traffic: a bad release is met by few, and leaves at once, cookies or not."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from lastgood.domain.errors import Conflict
from lastgood.domain.rollout import RolloutState
from tests.images.customers import customers
from tests.images.driving import begin, deploy_well, end_of, wait_for
from tests.images.running import assert_whole
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")

STEPS = [{"percent": 5, "watch": "1s"}, {"percent": 25, "watch": "1s"}]
STICKY = ("cookie SRV insert indirect nocache dynamic", "dynamic-cookie-key test")


def entry_times(world: World, rollout: str, step: str) -> dict[str, float]:
    """When a step began and how it ended, seconds since the epoch."""
    entries = world.service().show(rollout)[0].entries
    return {e.mark.value: e.at.timestamp() for e in entries if e.step == step}


def test_a_good_release_gets_its_shares_one_after_the_other(world: World, tmp_path: Path) -> None:
    deploy_well(world, "one")
    world.service_yaml["canary"] = STEPS
    with customers(world.ports[DEV], tmp_path, rate=800) as crowd:
        end = deploy_well(world, "two")
    crowd.assert_unharmed()
    assert_whole(world, "two")
    for step, share in (("canary:5", 0.05), ("canary:25", 0.25)):
        times = entry_times(world, end.id, step)
        seen = [a for a in crowd.answers if times["intent"] < a["sent"] < times["done"]]
        new = sum(a["word"] == "two" for a in seen)
        assert len(seen) > 500
        assert new / len(seen) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(("name", "broken_at"), [("lies", "canary:5"), ("tires", "canary:25")])
def test_a_breach_is_met_by_its_share_only(world: World, tmp_path: Path, name: str, broken_at: str) -> None:
    deploy_well(world, "one")
    world.service_yaml["canary"] = STEPS
    world.commit(name)
    with customers(world.ports[DEV], tmp_path, rate=800) as crowd:
        failed = begin(world)
        end = end_of(world, failed.id)
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    outcome = str(world.service().show(failed.id)[0].rollout.outcome)
    assert "page is broken" in outcome
    times = entry_times(world, failed.id, broken_at)
    assert "failed" in times, f"it broke elsewhere: {outcome}"
    back = entry_times(world, end.id, "back:shift")
    during = [a for a in crowd.answers if times["intent"] < a["due"] < back["done"]]
    share = {"canary:5": 0.05, "canary:25": 0.25}[broken_at]
    assert sum(a["status"] == 500 for a in during) / len(during) < share + 0.02
    assert crowd.result["resets"] == 0
    late = [a for a in crowd.answers if a["sent"] > back["done"] and a["word"] != "one"]
    assert late == [], "after it turned back nobody meets it any more"
    assert_whole(world, "one")


class Visitor:
    """One customer with a jar for cookies, over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.cookie = ""

    def ask(self) -> tuple[int, str]:
        self._connection.request("GET", "/page", headers={"Cookie": self.cookie} if self.cookie else {})
        answer = self._connection.getresponse()
        if found := answer.getheader("Set-Cookie"):
            self.cookie = found.split(";")[0]
        return answer.status, answer.read().decode().split()[0]


def test_cookies_bind_nobody_to_a_bad_server(world: World, tmp_path: Path) -> None:
    world.serve(*STICKY)
    deploy_well(world, "one")
    world.service_yaml["windows"]["watch"] = "10s"
    world.commit("tires")
    rollout = begin(world)
    wait_for(lambda: "done" in entry_times(world, rollout.id, "shift"))
    visitors = [Visitor(world.ports[DEV]) for _ in range(8)]
    assert {visitor.ask() for visitor in visitors} == {(200, "tires")}
    bound = {visitor.cookie for visitor in visitors}
    assert len(bound) == 2, "to both of its servers"
    with customers(world.ports[DEV], tmp_path, rate=200):
        end = end_of(world, rollout.id)
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    assert {visitor.ask() for visitor in visitors} == {(200, "one")}
    assert not bound & {visitor.cookie for visitor in visitors}


def test_what_failed_is_refused_on_every_other_unit_until_it_is_lifted(two_sites: World) -> None:
    us, de = two_sites.units
    for unit in (us, de):
        deploy_well(two_sites, "one", unit)
    two_sites.commit("lies")
    failed = begin(two_sites, us)
    assert end_of(two_sites, failed.id).kind.value == "rollback"
    # Another commit, another text: the image is the same, and that is what failed.
    two_sites.commit("lies", text="other")
    with pytest.raises(Conflict, match=f"in-{failed.id}") as caught:
        begin(two_sites, de)
    assert "quarantine lift" in str(caught.value.todo)
    two_sites.service().quarantines.lift(f"in-{failed.id}", "it was the test's fault")
    assert two_sites.service().plan(de).steps
    assert_whole(two_sites, "one", us)
    assert_whole(two_sites, "one", de)

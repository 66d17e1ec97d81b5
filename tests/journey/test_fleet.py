"""One change over many units on real parts: canary first, and back in reverse when one breaks.

One company for all: each journey begins where everything says the same and was verified.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.change import ChangeState
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState
from lastgood.domain.status import ChangeProgress
from lastgood.testing.caddy_server import caddy
from tests.cli.conftest import Cli
from tests.cli.test_journey import Terminal
from tests.journey.conftest import stop_everything, wait_for
from tests.journey.fleet import REQUEST, Fleet, unit

FORWARD = ["api/us", "page/us", "api/de", "page/de", "api/jp", "page/jp"]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root: Path = tmp_path_factory.mktemp("fleet")
    with caddy(root) as server:
        made = Fleet(root, server.admin)
        first = made.follow(made.begin().id)
        assert first.change.state is ChangeState.VERIFIED, str(first.change.outcome)
        yield made
        stop_everything(root)


@pytest.fixture
def fleet(company: Fleet) -> Iterator[Fleet]:
    """Everything says the same, whatever the journey before left; afterwards nothing is held or open."""
    service = company.service()
    for status in service.status():
        if status.frozen:
            service.unfreeze(status.unit, "the next journey")
    yield company
    assert {status.change for status in service.status()} == {""}
    assert service.verify_audit() is None


@pytest.fixture
def cli(fleet: Fleet) -> Cli:
    places = {"LASTGOOD_STATE": str(fleet.places.state), "LASTGOOD_KEY_FILE": str(fleet.places.key)}
    return Cli(fleet.estate, places)


def names(progress: ChangeProgress) -> list[str]:
    return [f"{one.unit.service}/{one.unit.site}" for one in progress.units]


def state_of(progress: ChangeProgress, name: str) -> RolloutState | None:
    return next(one.state for one in progress.units if one.unit == unit(name))


def test_everything_went_canary_first_and_what_is_needed_before(company: Fleet) -> None:
    (first,) = company.service().many.list()
    told = company.service().many.show(first.id)
    assert names(told) == FORWARD
    assert [one.wave for one in told.units] == [1, 1, 2, 2, 3, 3]
    assert {one.state for one in told.units} == {RolloutState.VERIFIED}
    ended = [one.since for one in told.units if one.since]
    assert ended == sorted(ended)
    assert set(company.pages().values()) == {"one"}
    with pytest.raises(InvalidInput, match="all 6 units"):
        company.begin()


def test_a_unit_that_breaks_in_the_second_wave_takes_all_back(fleet: Fleet, cli: Cli) -> None:
    before = fleet.pages()
    fleet.commit("breaks", "de")
    shown = cli("plan", "*@prod/*", COLUMNS="80").stdout
    assert max(map(len, shown.splitlines()[:-1])) <= 80, "but for the command to copy"
    digest = shown.splitlines()[1].split()[1]
    words = [word for name, value in REQUEST.items() for word in (f"--{name}", value)]
    refused = cli("deploy", "*@prod/*", *words, "--plan", "0123456789", code=4)
    assert "not what would run now" in refused.stderr
    done = cli("deploy", "*@prod/*", *words, "--plan", digest, "--json", code=5).stdout.splitlines()
    lines = [json.loads(line) for line in done]
    assert (lines[0]["event"], lines[-1]["event"]) == ("accepted", "end")
    change = lines[0]["change"]
    _told_per_unit(lines[-1]["units"])
    assert fleet.pages() == before
    live = Terminal(cli, "show", change, "--follow")
    assert live.end() == 5
    assert "page@prod/de" in live.seen
    drawn = cli("show", change, COLUMNS="80").stdout
    assert max(map(len, drawn.splitlines())) <= 80
    assert all(str(unit(name)) in drawn for name in FORWARD)
    assert change in cli("history", COLUMNS="80").stdout
    backs = [r for r in fleet.service().history(limit=10)[0] if r.kind is PlanKind.ROLLBACK][:4]
    assert [str(r.unit) for r in backs] == [str(unit(name)) for name in FORWARD[:4]], "newest first"
    assert len({r.incident for r in backs if r.id.startswith(f"r-{change[2:]}-back")}) == 1


def _told_per_unit(units: list[dict[str, str]]) -> None:
    states = [(one["unit"], one["kind"], one["state"]) for one in units]
    back = [(str(unit(name)), "rollback", "verified") for name in FORWARD[:4]]
    assert states == [*back, *((str(unit(name)), "deploy", None) for name in FORWARD[4:])]
    assert [one["unit"] for one in units if one["error"] == "GateFailed"] == [str(unit("page/de"))]


def test_a_person_stops_it_and_the_rest_comes_later(fleet: Fleet, cli: Cli) -> None:
    fleet.waves = "{canary: us, size: 2, concurrency: 2, wait: guard}"
    fleet.commit("stopped")
    change = fleet.begin("page@prod/*")
    with pytest.raises(Conflict, match=change.id):
        fleet.begin("page@prod/jp", "api@prod/jp")
    with pytest.raises(Conflict, match=f"belongs to the change {change.id}"):
        fleet.service().deploy(unit("page/jp"), **REQUEST)
    assert change.id in cli("status", COLUMNS="80").stdout
    fleet.follow(change.id, lambda p: state_of(p, "page/us") is not None)
    cli("stop", change.id, "--reason", "complaints")
    end = fleet.follow(change.id)
    assert end.change.state is ChangeState.STOPPED, str(end.change.outcome)
    states = [state_of(end, f"page/{site}") for site in ("us", "de", "jp")]
    assert states == [RolloutState.VERIFIED, None, None]
    assert fleet.pages()["jp"] != "stopped" == fleet.pages()["us"]
    later = fleet.begin("page@prod/*")
    assert [str(u) for u in later.plan.left] == [str(unit("page/us"))]
    assert fleet.follow(later.id).change.state is ChangeState.VERIFIED
    assert set(fleet.pages().values()) == {"stopped"}


def test_the_runner_dies_in_the_second_wave_and_what_is_finished_goes_back(fleet: Fleet, cli: Cli) -> None:
    before = fleet.pages()
    fleet.waves = "{size: 1}"
    fleet.commit("after a crash")
    change = fleet.begin("page@prod/us", "page@prod/de")
    fleet.follow(change.id, lambda p: state_of(p, "page/de") is RolloutState.RUNNING)
    service = fleet.service()
    os.kill(service.runner(), signal.SIGKILL)
    wait_for(lambda: not service.runner())
    end = fleet.follow(change.id)
    assert end.change.state is ChangeState.VERIFIED, str(end.change.outcome)
    assert {s: t for s, t in fleet.pages().items() if t == "after a crash"}.keys() == {"us", "de"}
    told = cli("rollback", "--change", change.id, "--yes").stdout
    assert "back, verified" in told
    assert fleet.pages() == before
    assert "no unit is on the release" in cli("rollback", change.id, "--yes", code=4).stderr

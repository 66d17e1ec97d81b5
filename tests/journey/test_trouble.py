"""Targets that misbehave: what is told, and that the unit stays whole."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lastgood.domain.errors import LastgoodError
from lastgood.domain.rollout import RolloutState
from tests.journey.conftest import wait_for
from tests.journey.driving import begin, deploy, deploy_well, end_of
from tests.journey.page import page
from tests.journey.world import DEV, World


def test_a_process_that_never_gets_ready(world: World) -> None:
    deploy_well(world)
    world.commit("sleeps", text="two", never_ready=True)
    failed = begin(world)
    end = end_of(world, failed.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert page(world.ports["dev"])["text"] == "one"
    told = str(world.service().show(failed.id)[0].rollout.outcome)
    assert "not ready" in told
    # Customers never saw it: the fix may follow at once.
    assert world.service().status(DEV)[0].frozen == ""
    world.commit("awake", text="two")
    deploy_well(world)


def test_a_hand_edit_is_found_and_put_back_in_one_command(world: World) -> None:
    deploy_well(world)
    file = next((world.root / "files").rglob("current")) / "app.toml"
    file.chmod(0o644)
    file.write_text("broken = true\n")
    assert [d.subject for d in world.service().drift(DEV)] == ["app.toml"]
    world.commit("second", text="two")
    end = deploy(world)
    assert end.state is RolloutState.FAILED
    assert "app.toml" in str(end.outcome)
    assert page(world.ports["dev"])["text"] == "one"
    healed = world.service().heal(DEV, "put it back")
    assert end_of(world, healed.id).state is RolloutState.VERIFIED
    assert world.service().drift(DEV) == ()
    deploy_well(world)


def test_a_deleted_file_is_put_back(world: World) -> None:
    deploy_well(world)
    file = next((world.root / "files").rglob("current")) / "app.toml"
    file.parent.resolve().chmod(0o755)
    file.unlink()
    healed = world.service().heal(DEV)
    assert end_of(world, healed.id).state is RolloutState.VERIFIED
    assert file.exists()


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """The place of the configuration on a disk of 256 KiB."""
    place = world.root / "files"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_during_the_switch_leaves_the_old_release_serving(world: World, small_disk: Path) -> None:
    deploy_well(world)
    (small_disk / "filler").write_bytes(b"x" * 200_000)
    world.write("services/page/templates/large.txt", "y" * 120_000)
    world.commit("large", text="two")
    end = deploy(world)
    assert end.state is RolloutState.FAILED, str(end.outcome)
    assert page(world.ports["dev"])["text"] == "one"
    assert world.service().drift(DEV) == ()
    (small_disk / "filler").unlink()
    deploy_well(world)


def test_a_corrupt_state_database_is_told_and_not_touched(world: World) -> None:
    deploy_well(world)
    database = world.places.state / "lastgood.db"
    for leftover in world.places.state.glob("lastgood.db-*"):
        leftover.unlink()
    database.write_bytes(b"garbage" * 1000)
    before = database.read_bytes()
    with pytest.raises(LastgoodError) as caught:
        world.service().status(DEV)
    assert caught.value.todo
    assert database.read_bytes() == before
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(database).execute("SELECT count(*) FROM sqlite_master")


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 512)


@pytest.fixture
def small_state(world: World) -> Iterator[Path]:
    """The state directory on a disk of 6 MiB."""
    place = world.places.state
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_under_our_own_state_only_makes_it_wait(world: World, small_state: Path) -> None:
    deploy_well(world)
    world.watch = "4s"
    world.commit("second", text="two")
    rollout = begin(world)
    service = world.service()
    wait_for(lambda: service.show(rollout.id)[0].samples)
    filler = small_state / "filler"
    fill(filler)
    seen: list[int] = []

    def stalled() -> bool:
        """Three looks a third of a second apart saw no new sample: the runner can't write."""
        seen.append(len(service.show(rollout.id)[0].samples))
        return len(seen) > 12 and seen[-1] == seen[-12]

    wait_for(stalled, 60)
    assert service.show(rollout.id)[0].rollout.state.is_open
    filler.unlink()
    assert end_of(world, rollout.id).state is RolloutState.VERIFIED
    assert page(world.ports["dev"])["text"] == "two"


def test_a_way_back_that_stopped_goes_on_to_the_same_state_when_run_again(world: World) -> None:
    deploy_well(world)
    world.commit("second", text="two")
    good = deploy_well(world)
    world.watch = "30s"
    world.commit("bad", text="bad")
    rollout = begin(world)
    service = world.service()
    wait_for(lambda: any(e.step == "watch" for e in service.show(rollout.id)[0].entries))
    pointers = str(world.root / "pointers")
    subprocess.run(["mount", "--bind", pointers, pointers], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", pointers], check=True)
    try:
        service.rollback(DEV, reason="a customer called")
        end = end_of(world, rollout.id)
        assert end.state is RolloutState.INCOMPLETE, str(end.outcome)
        assert "back:shift" in str(end.outcome)
    finally:
        subprocess.run(["umount", pointers], check=True)
    end = end_of(world, service.rollback(DEV))
    assert (end.state, end.target) == (RolloutState.VERIFIED, good.target), str(end.outcome)
    assert page(world.ports["dev"])["text"] == "two"


def test_after_a_reboot_one_command_has_everything_running_again(world: World) -> None:
    deploy_well(world)
    wait_for(lambda: not world.service().runner())
    kill_services(world)
    assert {d.subject for d in world.service().drift(DEV)} == {"role web", "role worker"}
    healed = world.service().heal(DEV, "after a reboot")
    end = end_of(world, healed.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert page(world.ports["dev"]) == {"status": "200", "text": "one"}
    assert world.service().drift(DEV) == ()


def kill_services(world: World) -> None:
    """What a reboot does: every process of the unit and its shim are gone, the proxy stays."""
    place = f"{world.root}/process"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mine = place in " ".join(process.cmdline()) or place in process.environ().get("LASTGOOD_RUN", "")
            if mine:
                process.kill()
    wait_for(lambda: world.service().drift(DEV))

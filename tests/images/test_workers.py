"""A queue consumer: each message is handled once, and by one generation at a time."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from lastgood.domain.errors import Conflict
from lastgood.domain.rollout import RolloutState
from tests.images.driving import back, begin, deploy_well, end_of, wait_for
from tests.images.running import assert_whole
from tests.images.world import World

pytestmark = pytest.mark.xdist_group("images")


@dataclass(frozen=True)
class Handled:
    """One handling of a message by ``worker`` (generation/instance), in microseconds since the epoch."""

    message: str
    worker: str
    began: int
    ended: int


class Queue:
    """Puts a message into the spool every few milliseconds until it is closed."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._closed = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._closed.wait(0.004):
            made = self._spool / f"{self.sent:06}"
            made.write_text("an order")
            made.rename(self._spool / "in" / made.name)
            self.sent += 1

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def handled(self) -> list[Handled]:
        """All that was handled, by time; waits until the spool is empty."""
        wait_for(
            lambda: not any((self._spool / "in").iterdir()) and not any((self._spool / "taken").iterdir())
        )
        found = []
        for file in (self._spool / "done").iterdir():
            for line in file.read_text().splitlines():
                worker, began, ended = line.split()
                found.append(Handled(file.name, worker, int(began), int(ended)))
        return sorted(found, key=lambda one: one.began)


def test_every_message_is_handled_once_and_by_one_generation_at_a_time(world: World) -> None:
    deploy_well(world, "one")
    queue = Queue(world.spool())
    try:
        deploy_well(world, "two")
        back(world)
        world.commit("lies")
        end = end_of(world, begin(world).id)
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
    finally:
        queue.close()
    handled = queue.handled()
    assert sorted(one.message for one in handled) == [f"{n:06}" for n in range(queue.sent)]
    assert len({one.worker for one in handled}) == 3, "each generation had its turn"
    for one, following in itertools.pairwise(handled):
        assert one.ended <= following.began, "two were at work at once"
    assert not (world.spool() / "double").exists()
    assert_whole(world, "one")


def test_of_two_changes_at_once_one_is_refused(world: World) -> None:
    deploy_well(world, "one")
    world.service_yaml["windows"]["watch"] = "1s"
    world.commit("two")
    first = begin(world)
    world.commit("three")
    with pytest.raises(Conflict):
        begin(world)
    assert end_of(world, first.id).state is RolloutState.VERIFIED
    assert_whole(world, "two")

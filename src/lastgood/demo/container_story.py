"""The story with containers: three sites, three images, a registry that is down, and the ways back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from lastgood.demo import container_estate as estate
from lastgood.demo.acts import DE, JP, LINGER, US, Acts
from lastgood.demo.containers import prune_everything, start_container_world, start_registry
from lastgood.demo.estate import SERVICE, SITES
from lastgood.demo.processes import stop_registry
from lastgood.demo.world import World, remember
from lastgood.domain.message import N_, Message
from lastgood.domain.unit import UnitId

WINDOWS = {"watch": "3s", "guard": "3s", "verify": "3s"}


class ContainerStory(Acts):
    """Containers behind HAProxy: the canary site first, then the others."""

    def _open(self) -> World:
        self._act(N_("A world starts: PostgreSQL, a container engine, a registry, HAProxy"))
        return start_container_world(self._directory)

    def _play(self) -> None:
        self._told.in_containers = True
        estate.write_container_estate(self._world, WINDOWS)
        self._good_images()
        self._bad_image()
        self._without_registry()

    def _good_images(self) -> None:
        self._act(N_("The shop opens: image 1 goes to the canary site, then to the others"))
        estate.commit_first(self._world.estate)
        self._all_good("open", {"reason": "open the shop", "impact": "all sites"})
        self._act(N_("Gift notes: image 2 and its schema go the same way"))
        self._told.good_commit = estate.commit_second(self._world.estate)
        self._all_good("good", {"reason": "gift notes", "impact": "checkout"})

    def _bad_image(self) -> None:
        self._act(N_("Image 3 is healthy, but one checkout in five fails: the waves stop"))
        self._told.bad_commit = estate.commit_third(self._world.estate)
        rollouts = self._in_waves("bad", {"reason": "3-D Secure", "impact": "checkout"})
        self._told.failed = rollouts[US]
        time.sleep(LINGER)

    def _without_registry(self) -> None:
        self._act(N_("No registry, and somebody ran docker system prune -a: back to image 1"))
        stop_registry(self._world.directory)
        prune_everything(self._world)
        service = self._service_here()
        self._told.without_registry = service.rollback(JP, reason="gift notes are not wanted in Japan")
        self._follow("back", JP, self._told.without_registry)
        self._act(N_("What the prune took from the other sites is put back"))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._heal, (US, DE)))
        registry = start_registry(self._world)
        self._told.world = remember(self._world, "registry", registry.pid)

    def _heal(self, unit: UnitId) -> None:
        self._follow("heal", unit, self._service_here().heal(unit, "somebody pruned the engine").id)

    def _all_good(self, act: str, why: Mapping[str, str]) -> None:
        self._in_waves(act, why)
        for unit in SITES:
            self._must_be_verified(act, unit)

    def _in_waves(self, act: str, why: Mapping[str, str]) -> dict[UnitId, str]:
        """One change over all sites; returns the rollout that each of them has, or would have had."""
        service = self._service_here()
        change = service.many.deploy(
            [f"{SERVICE}@prod/*"], owner="shop-team", reason=why["reason"], impact=why["impact"]
        )
        with ThreadPoolExecutor(len(SITES)) as pool:
            followed: dict[UnitId, Future[None]] = {}
            for progress in service.many.follow(change.id, lambda p: False):
                for one in progress.units:
                    if one.rollout and one.unit not in followed:
                        followed[one.unit] = pool.submit(self._follow, act, one.unit, one.rollout)
        for future in followed.values():
            future.result()
        spared = [str(one.unit) for one in progress.units if not one.rollout]
        stopped = Message(N_("the waves stopped; never begun: {units}"), {"units": ", ".join(spared)})
        self._observer.outcome(stopped if spared else progress.change.outcome)
        return {member.unit: change.rollout_of(member) for member in change.plan.members()}

"""The story with containers: three sites, three images, a registry that is down, and the ways back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from lastgood.demo import container_estate as estate
from lastgood.demo.acts import DE, JP, LINGER, US, WINDOWS, Acts
from lastgood.demo.containers import prune_everything, start_container_world, start_registry
from lastgood.demo.processes import stop_registry
from lastgood.demo.world import World, remember
from lastgood.domain.message import N_


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
        self._in_waves("open", {"reason": "open the shop", "impact": "all sites"})
        self._act(N_("Gift notes: image 2 and its schema go the same way"))
        self._told.good_commit = estate.commit_second(self._world.estate)
        self._in_waves("good", {"reason": "gift notes", "impact": "checkout"})

    def _bad_image(self) -> None:
        self._act(N_("Image 3 is healthy, but one checkout in five fails: the waves stop"))
        self._told.bad_commit = estate.commit_third(self._world.estate)
        why = {"reason": "3-D Secure", "impact": "checkout", "owner": "shop-team"}
        self._told.failed = self._deploy("bad", US, why)
        time.sleep(LINGER)

    def _without_registry(self) -> None:
        self._act(N_("No registry, and somebody ran docker system prune -a: back to image 1"))
        stop_registry(self._world.directory)
        prune_everything(self._world)
        service = self._service_here()
        self._told.without_registry = service.rollback(JP, reason="gift notes are not wanted in Japan")
        self._follow("back", JP, self._told.without_registry)
        registry = start_registry(self._world)
        self._told.world = remember(self._world, "registry", registry.pid)

    def _in_waves(self, act: str, why: Mapping[str, str]) -> None:
        why = {**why, "owner": "shop-team"}
        for wave in ((US,), (DE, JP)):
            with ThreadPoolExecutor(len(wave)) as pool:
                list(pool.map(lambda unit: self._deploy(act, unit, why), wave))
            for unit in wave:
                self._must_be_verified(act, unit)

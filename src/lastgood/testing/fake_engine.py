"""A runtime of containers without an engine, for tests of what stands above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lastgood.domain.errors import InvalidInput, Rejected, Unreachable
from lastgood.domain.image import Image
from lastgood.domain.message import N_
from lastgood.domain.observation import Drift, DriftKind
from lastgood.domain.unit import Role
from lastgood.ports.bundles import BundlePart
from lastgood.ports.content import ImageArchive, Objects
from lastgood.ports.drivers import Generation
from lastgood.testing.fake_runtime import FakeRuntime


class FakeCache:
    """The images of an engine, which several units share: manifest digests, and who holds each.

    ``pulled``: manifests that it gets from a registry by itself; ``down``: it does not answer.
    """

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.pulled: set[str] = set()
        self.down = False
        self.holders: set[tuple[str, str]] = set()

    def prune(self) -> None:
        self.images &= {manifest for _, manifest in self.holders}


class FakeEngine(FakeRuntime):
    """Also HasRoom, RemovesGenerations, FindsDrift, KeepsImages and BundlesGenerations.

    ``free`` is room in instances, ``needs`` what generations by id take, 0 when not named there. An image is
    had from ``archive``.
    """

    def __init__(self, objects: Objects, archive: ImageArchive, cache: FakeCache, name: str = "unit") -> None:
        super().__init__(objects)
        self._archive = archive
        self._cache = cache
        self._name = name
        self.free = 10
        self.needs: dict[str, int] = {}

    def prepare(self, generation: Generation) -> None:
        super().prepare(generation)
        if generation.image is not None:
            self.hold(generation.image)

    def start(self, generation: Generation, roles: Sequence[Role]) -> None:
        if generation.image is not None and not self.has(generation.image):
            raise InvalidInput(N_("image {image} is not there"), image=str(generation.image))
        super().start(generation, roles)

    def refuse_without_room(self, generation: Generation, roles: Sequence[Role]) -> None:
        running = {s.role for s in self.status() if s.generation == generation.id and s.running}
        need = self.needs.get(generation.id, 0) * len(set(roles) - running)
        if need > self.free:
            raise Rejected(N_("{need} are wanted, {free} are free"), need=need, free=self.free)

    def remove(self, generation: str) -> None:
        mine = [key for key in self._roles if key[0] == generation]
        if any(self._roles[key].status.running for key in mine):
            raise Rejected(N_("generation {generation} still runs"), generation=generation)
        for key in mine:
            del self._roles[key]

    def drift(self, generation: Generation) -> tuple[Drift, ...]:
        running = {s.role for s in self.status() if s.generation == generation.id and s.running}
        missing = [spec.role for spec in generation.roles if spec.role not in running]
        return tuple(Drift(role.value, DriftKind.MISSING, "does not run") for role in missing)

    def end_by_hand(self, generation: str, role: Role) -> None:
        held = self._roles[generation, role]
        held.status = replace(held.status, running=False, pid=0, addresses=(), detail="exited")

    def remove_by_hand(self, generation: str, role: Role) -> None:
        del self._roles[generation, role]

    def hold(self, image: Image) -> None:
        if not self.has(image):
            if self._archive.missing(image) and image.manifest not in self._cache.pulled:
                raise Rejected(N_("image {image} can be had nowhere"), image=str(image))
            self._cache.images.add(image.manifest)
        self._cache.holders.add((self._name, image.manifest))

    def has(self, image: Image) -> bool:
        if self._cache.down:
            raise Unreachable(N_("the engine does not answer"))
        return image.manifest in self._cache.images

    def let_go(self, image: Image) -> None:
        self._cache.holders.discard((self._name, image.manifest))

    def bundle_start(self, generation: Generation, archive: str) -> BundlePart:
        roles = " ".join(spec.role.value for spec in generation.roles)
        lines = (f"echo load {archive}", f"echo start {roles} of {generation.id}", "ADDRESSES=127.0.0.1:1")
        return BundlePart(lines, ("echo",))

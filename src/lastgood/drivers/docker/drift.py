"""How the containers of a generation differ from how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lastgood.domain.errors import Rejected
from lastgood.domain.observation import Drift, DriftKind
from lastgood.domain.unit import UnitId
from lastgood.drivers.docker import compare, labels
from lastgood.drivers.docker.containers import Containers
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.images import Images
from lastgood.drivers.docker.look import state_of
from lastgood.drivers.docker.wanted import Wanted
from lastgood.ports.content import Vault


class Differences:
    """Looks at the containers of one generation of a unit."""

    def __init__(
        self, unit: UnitId, engine: Engine, containers: Containers, images: Images, vault: Vault
    ) -> None:
        self._unit = unit
        self._engine = engine
        self._containers = containers
        self._images = images
        self._vault = vault

    def find(self, wanted: Sequence[Wanted]) -> Iterator[Drift]:
        for one in wanted:
            yield from self._of(one)
        if wanted and not self._images.is_held(wanted[0].image):
            words = "nothing protects it from being pruned: somebody removed the container that did"
            yield Drift(f"image {wanted[0].image}", DriftKind.MISSING, words)
        yield from self._strangers()

    def _of(self, wanted: Wanted) -> Iterator[Drift]:
        subject = f"container {wanted.name}"
        try:
            seen = self._containers.look(wanted.name)
        except Rejected:
            yield Drift(subject, DriftKind.UNKNOWN, "somebody else's container has its name")
            return
        if seen is None:
            yield Drift(subject, DriftKind.MISSING, "there is none")
            return
        if not seen.runs:
            yield Drift(subject, DriftKind.MISSING, state_of(seen))
        if seen.spec != wanted.digest:
            yield Drift(subject, DriftKind.CHANGED, "it was made from something else")
            return
        for words in (
            *compare.other_content(wanted, seen, compare.values_of(wanted.generation.secrets, self._vault)),
            *compare.other_limits(wanted, seen, self._engine.info),
            *compare.other_networks(wanted, seen),
            *compare.other_policy(seen),
        ):
            yield Drift(subject, DriftKind.CHANGED, words)
        for path, kind in compare.other_files(wanted, seen, self._engine):
            yield Drift(f"{subject}: {path}", kind)

    def _strangers(self) -> Iterator[Drift]:
        """Containers that bear our labels under names that we did not give."""
        for seen in self._containers.all():
            if not seen.is_in_place(self._unit) and not seen.name.startswith(f"lastgood.{self._unit.slug}."):
                yield Drift(f"container {seen.name}", DriftKind.UNKNOWN, f"it bears the label {labels.UNIT}")

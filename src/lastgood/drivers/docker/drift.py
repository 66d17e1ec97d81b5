"""How containers differ from how a generation was made, and what somebody else did to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.observation import Drift, DriftKind
from lastgood.domain.release import FileEntry
from lastgood.domain.unit import UnitId
from lastgood.drivers.docker import labels
from lastgood.drivers.docker.containers import Containers
from lastgood.drivers.docker.content import files_in
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.images import Images
from lastgood.drivers.docker.instance import Instance
from lastgood.drivers.docker.look import state_of
from lastgood.drivers.docker.wanted import Wanted
from lastgood.ports.content import Vault

CHANGEABLE = ("Memory", "MemoryReservation", "NanoCpus", "PidsLimit")
"""What ``docker update`` changes in a container that is there."""
BY_HAND = ("restart", "stop", "pause", "unpause")
"""Events that no call of ours makes for a container that runs."""


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

    def find(self, wanted: Sequence[Wanted], since: float) -> Iterator[Drift]:
        """``since``: when the generation was last asked to run, by the engine's clock."""
        for one in wanted:
            yield from self._of(one, since)
        if wanted and not self._images.is_held(wanted[0].image):
            words = "nothing protects it from being pruned: somebody removed the container that did"
            yield Drift(f"image {wanted[0].image}", DriftKind.MISSING, words)
        yield from self._strangers()

    def _of(self, wanted: Wanted, since: float) -> Iterator[Drift]:
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
        for words in (*self._made_otherwise(wanted, seen), *self._handled(seen, since)):
            yield Drift(subject, DriftKind.CHANGED, words)
        yield from self._files(wanted, seen, subject)

    def _made_otherwise(self, wanted: Wanted, seen: Instance) -> Iterator[str]:
        assert seen.inspected is not None
        body = wanted.body(self._images.find(wanted.image), str(seen.port or ""), self._secrets(wanted))
        there = seen.inspected
        if there["Image"] != body["Image"]:
            yield f"it runs another image: {there['Image']}"
        env = dict(line.partition("=")[::2] for line in there["Config"]["Env"] or ())
        for name, value in (line.partition("=")[::2] for line in body["Env"]):
            if env.get(name) != value:
                yield f"its environment variable {name} differs"
        for key in CHANGEABLE:
            wants, has = body["HostConfig"].get(key) or 0, there["HostConfig"].get(key) or 0
            if wants != has:
                yield f"{key} is {has}, released was {wants}"
        if seen.runs and there["HostConfig"]["RestartPolicy"]["Name"] != "always":
            yield "it would not come back after a crash: its restart policy was changed"
        joined = set(there["NetworkSettings"]["Networks"])
        named = {wanted.settings.network, *wanted.options.networks}
        yield from (f"it is not in network {name}" for name in sorted(named - joined) if seen.runs)
        yield from (f"it is in network {name}" for name in sorted(joined - named))

    def _secrets(self, wanted: Wanted) -> Mapping[str, str]:
        """Without the key nothing can be said of them."""
        try:
            return {s.name: self._vault.unseal(s) for s in wanted.generation.secrets}
        except DriverError:
            return {}

    def _handled(self, seen: Instance, since: float) -> Iterator[str]:
        """What somebody did since, as far as the engine remembers: it forgets when it restarts."""
        happened = self._engine.events({"container": seen.id}, since) if since else []
        done = [e["Action"] for e in happened if e["Action"] in BY_HAND and e["timeNano"] / 1e9 > since]
        if done:
            yield f"somebody else did docker {done[-1]}"

    def _files(self, wanted: Wanted, seen: Instance, subject: str) -> Iterator[Drift]:
        for place, what in wanted.filled():
            if what != "files":
                continue
            tar = self._engine.get(seen.id, place)
            for path, kind in changed_files(wanted.generation.files, files_in(tar) if tar else {}):
                yield Drift(f"{subject}: {place}/{path}", kind)

    def _strangers(self) -> Iterator[Drift]:
        """Containers that bear our labels under names that we did not give."""
        for seen in self._containers.all():
            if not seen.is_in_place(self._unit) and not seen.name.startswith(f"lastgood.{self._unit.slug}."):
                yield Drift(f"container {seen.name}", DriftKind.UNKNOWN, f"it bears the label {labels.UNIT}")


def changed_files(
    wanted: Iterable[FileEntry], there: Mapping[str, tuple[bytes, int]]
) -> Iterator[tuple[str, DriftKind]]:
    """By path, how files differ in content or mode."""
    left = dict(there)
    for entry in wanted:
        content, mode = left.pop(entry.path, (None, 0))
        if content is None:
            yield entry.path, DriftKind.MISSING
        elif digest_bytes(content) != entry.content or mode != entry.mode:
            yield entry.path, DriftKind.CHANGED
    yield from ((path, DriftKind.UNKNOWN) for path in sorted(left))

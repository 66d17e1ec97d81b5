"""Images in the engine: found by digest, loaded from the archive or pulled, and held against being pruned."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.image import Image
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.drivers.docker import faults, labels
from lastgood.drivers.docker.engine import Engine
from lastgood.ports.content import ImageArchive

TRIES, PAUSE = 20, 0.1
PIECE = 1 << 18
NEVER = "/never-started-by-lastgood"
"""The command of a container that only holds an image: there is no such file, should somebody start it."""


class Images:
    """Implements ``ports.images.KeepsImages`` for one unit."""

    def __init__(self, unit: UnitId, engine: Engine, archive: ImageArchive) -> None:
        self._unit = unit
        self._engine = engine
        self._archive = archive

    def find(self, image: Image) -> str:
        """The engine's id of it, empty when it is not there.

        In an engine's classic store that is the digest of the config, in a containerd store that of the
        manifest. What is found by the digest of an index may be another platform's, so its id decides.
        """
        for name in (image.config, image.manifest, image.pinned):
            seen = self._engine.inspect_image(name)
            if seen is not None and seen["Id"] in (image.config, image.manifest, image.digest):
                return str(seen["Id"])
        return ""

    def has(self, image: Image) -> bool:
        return bool(self.find(image))

    def hold(self, image: Image) -> None:
        """Again when it is pruned in between: from the moment that the container is there, it can't be."""
        for _ in range(TRIES):
            id = self.find(image)
            if not id:
                self._bring(image)
                id = self.find(image)
            if id and self._is_held(image, id):
                return
            # While somebody else brings the same image, the engine may take it away for a moment.
            time.sleep(PAUSE)
        raise Rejected(
            N_("the docker engine was given image {image} and has it no more"),
            todo=N_("See who prunes images there (docker events), then run it again."),
            where=self._engine.host,
            image=str(image),
        )

    def is_held(self, image: Image) -> bool:
        """Whether the container that protects it is there."""
        return self._holder(image) is not None

    def let_go(self, image: Image) -> None:
        holder = self._holder(image)
        if holder is not None:
            self._engine.remove(holder["Id"])

    # Within

    def _holder(self, image: Image) -> dict[str, Any] | None:
        name = labels.hold_name(self._unit, image.manifest)
        found = self._engine.inspect(name)
        if found is not None and (found["Config"]["Labels"] or {}).get(labels.HOLDS) != image.manifest:
            raise foreign(self._engine.host, name)
        return found

    def _is_held(self, image: Image, id: str) -> bool:
        """Have the container; False when the image went away meanwhile."""
        holder = self._holder(image)
        if holder is not None and holder["Image"] != id:  # made before the engine changed its store
            self._engine.remove(holder["Id"])
            holder = None
        if holder is not None:
            return True
        try:
            self._engine.create(
                labels.hold_name(self._unit, image.manifest), holder_body(self._unit, image, id)
            )
        except Rejected:
            if self.find(image):
                raise
        return self._holder(image) is not None

    def _bring(self, image: Image) -> None:
        """From the archive when it is whole there, else from the registry."""
        lacking = self._archive.missing(image)
        why = f"{lacking[0]} is not there whole" if lacking else ""
        if not lacking:
            try:
                self._load(image)
                return
            except Rejected as error:
                why = str(error)
        refused = self._engine.pull(image.repository, image.digest, image.platform)
        if refused:
            raise _not_to_be_had(self._engine.host, image, why, refused)

    def _load(self, image: Image) -> None:
        """Through a pipe, so that nothing of its size is ever held in memory or on disk a second time."""
        reading, writing = os.pipe()
        trouble: list[DriverError] = []
        writer = threading.Thread(target=_export, args=(self._archive, image, writing, trouble), daemon=True)
        writer.start()
        try:
            with os.fdopen(reading, "rb") as tar:
                complaint = self._engine.load(iter(lambda: tar.read(PIECE), b""))
        finally:
            writer.join()
        if trouble or complaint:
            reason = str(trouble[0]) if trouble else complaint
            raise faults.answered_no(self._engine.host, "POST /images/load", 500, reason)


def holder_body(unit: UnitId, image: Image, id: str) -> dict[str, Any]:
    """A container without secrets or a command that could run, which keeps an image from being pruned."""
    return {
        "Image": id,
        "Entrypoint": [NEVER],
        "Env": [],
        "Labels": {labels.UNIT: str(unit), labels.HOLDS: image.manifest},
        "HostConfig": {"NetworkMode": "none", "RestartPolicy": {"Name": "no"}},
    }


def _export(archive: ImageArchive, image: Image, to: int, trouble: list[DriverError]) -> None:
    try:
        with os.fdopen(to, "wb") as file:
            archive.export(image, file)
    except DriverError as error:
        trouble.append(error)
    except BrokenPipeError:
        pass  # the engine does not want the rest, and has said why


def foreign(host: str, name: str) -> Rejected:
    """A container that has our name and is not ours is left alone."""
    return Rejected(
        N_("a container named {name} is there that lastgood did not make"),
        todo=N_("See what it is (docker inspect {name}), then rename or remove it."),
        where=host,
        name=name,
    )


def _not_to_be_had(host: str, image: Image, archive: str, refused: str) -> Rejected:
    error = faults.answered_no(host, f"pull {image.pinned}", 500, refused)
    return Rejected(
        N_("image {image} can't be had. The archive: {archive}. The registry: {refused}"),
        todo=error.todo.template,
        where=host,
        cause=error.cause,
        image=image.pinned,
        archive=archive,
        refused=refused,
    )

"""What a release needs to be there again, and whether we have it (law 2)."""

from __future__ import annotations

from typing import Protocol

from lastgood.actions.secrets import secrets_of_service
from lastgood.domain.release import Release
from lastgood.ports.content import ImageArchive, Objects, Vault
from lastgood.ports.estate import Rendered


class Kept(Protocol):
    """What we keep ourselves: of whoever acts, and of whoever does a step."""

    @property
    def objects(self) -> Objects: ...

    @property
    def vault(self) -> Vault: ...

    @property
    def images(self) -> ImageArchive: ...


def needed_content(release: Release) -> tuple[str, ...]:
    """Digests of all content that is kept as objects: configuration, artifact, scripts and journeys."""
    files = [f.content for f in release.files]
    artifact = [f.content for f in release.artifact.files] if release.artifact else []
    scripts = [s for d in release.databases for m in d.migrations for s in (m.deploy, m.verify, m.revert)]
    journeys = [d.journey for d in release.databases if d.journey]
    return tuple(dict.fromkeys((*files, *artifact, *scripts, *journeys)))


def keep_scripts(objects: Objects, rendered: Rendered) -> None:
    """Keep the migrations' scripts and the journeys: rehearsal and way back read them from our own store."""
    for database in rendered.release.databases:
        if database.journey:
            objects.put(rendered.contents[database.journey])
        for migration in database.migrations:
            for name in (migration.deploy, migration.verify, migration.revert):
                objects.put(rendered.contents[name])


def missing_content(kept: Kept, release: Release, sound: set[str] | None = None) -> tuple[str, ...]:
    """Digests and secret versions that are not kept here, or damaged; empty when the release is whole.

    ``sound``: digests seen to be whole a moment ago, so that units sharing an artifact or an image read it
    once; it is added to. An image that is left to the engine is not asked for here (see ``actions.images``),
    nor is the login of a registry: going back needs none.
    """
    known = sound if sound is not None else set()
    needed = [digest for digest in needed_content(release) if digest not in known]
    missing = kept.objects.missing(needed)
    known.update(set(needed) - set(missing))
    secrets = tuple(f"{s.name}:{s.version}" for s in secrets_of_service(release) if not kept.vault.has(s))
    return (*missing, *_missing_blobs(kept, release, known), *secrets)


def _missing_blobs(kept: Kept, release: Release, sound: set[str]) -> tuple[str, ...]:
    """Those of its image, where that is kept here."""
    image = release.image
    if image is None or release.keep.image != "archive" or image.manifest in sound:
        return ()
    missing = kept.images.missing(image)
    if not missing:
        sound.add(image.manifest)
    return missing

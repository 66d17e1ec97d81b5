"""What a release needs to be there again, and whether we have it (law 2)."""

from __future__ import annotations

from lastgood.domain.release import Release
from lastgood.ports.content import Objects, Vault
from lastgood.ports.estate import Rendered


def needed_content(release: Release) -> tuple[str, ...]:
    """Digests of all content: configuration, artifact and migration scripts."""
    files = [f.content for f in release.files]
    artifact = [f.content for f in release.artifact.files] if release.artifact else []
    scripts = [s for d in release.databases for m in d.migrations for s in (m.deploy, m.verify, m.revert)]
    return tuple(dict.fromkeys((*files, *artifact, *scripts)))


def keep_scripts(objects: Objects, rendered: Rendered) -> None:
    """Keep the migrations' scripts: rehearsal and way back read them from our own store."""
    for database in rendered.release.databases:
        for migration in database.migrations:
            for name in (migration.deploy, migration.verify, migration.revert):
                objects.put(rendered.contents[name])


def missing_content(
    objects: Objects, vault: Vault, release: Release, sound: set[str] | None = None
) -> tuple[str, ...]:
    """Digests and secret versions that are not kept here, or damaged; empty when the release is whole.

    ``sound``: digests seen to be whole a moment ago, so that units sharing an artifact read it once;
    it is added to.
    """
    known = sound if sound is not None else set()
    needed = [digest for digest in needed_content(release) if digest not in known]
    missing = objects.missing(needed)
    known.update(set(needed) - set(missing))
    secrets = tuple(f"{s.name}:{s.version}" for s in release.secrets if not vault.has(s))
    return (*missing, *secrets)

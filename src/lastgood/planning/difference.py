"""What a move from one release to another changes, in the user's terms."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lastgood.domain.digest import short
from lastgood.domain.image import Image
from lastgood.domain.plan import Difference, FileDifference
from lastgood.domain.release import FileEntry, Release

Read = Callable[[str], bytes]
"""Content by digest."""

DIFF_LINES = 200


def difference(
    base: Release | None,
    target: Release,
    read: Read,
    pending: Sequence[str] = (),
    reverts: Sequence[str] = (),
) -> Difference:
    """Compare two releases; ``pending`` and ``reverts`` are migrations as ``resource name``.

    Rendered files never hold secrets, so their diffs may be shown.
    """
    old_artifact = base.artifact.digest if base and base.artifact else ""
    new_artifact = target.artifact.digest if target.artifact else ""
    return Difference(
        files=_files(base.files if base else (), target.files, read),
        artifact=(short(old_artifact), short(new_artifact)) if old_artifact != new_artifact else None,
        image=_image(base.image if base else None, target.image),
        secrets=_secrets(base, target),
        migrations=tuple(pending),
        reverts=tuple(reverts),
        settings=_settings(base, target),
    )


def _files(old: Sequence[FileEntry], new: Sequence[FileEntry], read: Read) -> tuple[FileDifference, ...]:
    before: Mapping[str, FileEntry] = {f.path: f for f in old}
    after: Mapping[str, FileEntry] = {f.path: f for f in new}
    found = []
    for path in sorted(before.keys() | after.keys()):
        a, b = before.get(path), after.get(path)
        if a == b:
            continue
        change = "added" if a is None else "removed" if b is None else "changed"
        found.append(FileDifference(path, change, _diff(path, a, b, read)))
    return tuple(found)


def _diff(path: str, a: FileEntry | None, b: FileEntry | None, read: Read) -> str:
    try:
        old = read(a.content).decode().splitlines() if a else []
        new = read(b.content).decode().splitlines() if b else []
    except UnicodeDecodeError:
        return "binary"
    lines = difflib.unified_diff(old, new, path, path, lineterm="", n=1)
    return "\n".join(list(lines)[:DIFF_LINES])


def _secrets(base: Release | None, target: Release) -> tuple[str, ...]:
    old = {s.name: s.version for s in base.secrets} if base else {}
    new = {s.name: s.version for s in target.secrets}
    return tuple(name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name))


def _image(old: Image | None, new: Image | None) -> tuple[str, str] | None:
    """``1.3@8f2ac1…`` of both, with the repository where that is another one; empty for none."""
    if (old and replace(old, tag="")) == (new and replace(new, tag="")):
        return None
    here = old is not None and new is not None and old.repository == new.repository

    def named(image: Image | None) -> str:
        if image is None:
            return ""
        name = ":".join(part for part in ("" if here else image.repository, image.tag) if part)
        return "@".join(part for part in (name, short(image.digest)) if part)

    return named(old), named(new)


def _settings(base: Release | None, target: Release) -> tuple[str, ...]:
    """Names of the parts that differ besides files, artifact, image, secrets and migrations."""
    if base is None:
        return ()
    parts = (
        "roles",
        "files_target",
        "runtime",
        "traffic",
        "criteria",
        "windows",
        "canary",
        "keep",
        "registry",
    )
    found = [p for p in parts if getattr(base, p) != getattr(target, p)]
    carried = {d.resource: (d.keep, d.called) for d in base.databases}
    if any(carried.get(d.resource, (d.keep, d.called)) != (d.keep, d.called) for d in target.databases):
        found.append("databases")
    written = {d.resource: d.journey for d in base.databases}
    if any(written.get(d.resource, d.journey) != d.journey for d in target.databases):
        found.append("journeys")
    return tuple(found)

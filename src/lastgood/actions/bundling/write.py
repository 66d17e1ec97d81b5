"""Puts a bundle on disk: whole under its name, or not there at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lastgood.actions.abilities import generation_id, generation_of
from lastgood.actions.bundling import script
from lastgood.actions.bundling.databases import BundledDatabase, refuse_elsewhere, refuse_without_room
from lastgood.actions.bundling.script import Told
from lastgood.actions.content import needed_content
from lastgood.actions.secrets import secrets_of_service
from lastgood.domain.bundle import Bundle
from lastgood.domain.digest import canonical
from lastgood.domain.errors import Cause, DriverError, InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint
from lastgood.ports.bundles import BundlePart, BundlesGenerations, BundlesTraffic
from lastgood.ports.content import ImageArchive, Objects, Vault
from lastgood.ports.drivers import Drivers

IMAGE = "image.tar"


def write_bundle(
    drivers: Drivers,
    objects: Objects,
    vault: Vault,
    images: ImageArchive,
    release: Release,
    point: RestorePoint,
    to: Path,
    made: str,
    databases: Sequence[BundledDatabase],
) -> Bundle:
    """``to/<unit>-<release>/``, and ``to/<unit>`` pointing at it; the one before is removed last.

    Raises InvalidInput when the unit's drivers can't be written down as plain commands, DriverError when the
    directory can't be written or a piece is not here.
    """
    start, route = _parts(drivers, release)
    refuse_elsewhere(databases, to)
    told = Told(release, point.id, made, tuple(database.directory for database in databases))
    tools = script.needs([start, *([route] if route else [])], release)
    needed = tuple(sorted({*tools, *(tool for database in databases for tool in database.part.needs)}))
    texts: dict[str, bytes] = {
        **{path: content for part in (start, route) if part for path, content in part.files.items()},
        **{f"sealed/{secret.name}.age": vault.sealed(secret) for secret in secrets_of_service(release)},
        **{_content_name(digest): objects.get(digest) for digest in _artifact_content(release)},
        "release.json": canonical(release),
        "restore.sh": script.script(told, start, route).encode(),
        "README.txt": script.readme(told, needed).encode(),
    }
    name = f"{release.unit.slug}-{generation_id(release).rpartition('-')[2]}"
    try:
        to.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_without_room(databases, to)
        size = _place(to / name, texts, images, release, databases)
        _point_at(to, release.unit.slug, name)
    except OSError as error:
        raise _unwritable(to, error) from error
    return Bundle(release.unit, point.id, release.digest, to / name, size, needed)


def _parts(drivers: Drivers, release: Release) -> tuple[BundlePart, BundlePart | None]:
    runtime = drivers.get(release.unit, release.runtime) if release.runtime else None
    if not isinstance(runtime, BundlesGenerations):
        raise InvalidInput(
            N_("{unit} can't be bundled: its runtime {driver} has no plain commands to start it with"),
            todo=N_("Units that run as containers can. Back up the state directory and the key instead."),
            where=str(release.unit),
            unit=str(release.unit),
            driver=release.runtime.driver if release.runtime else "-",
        )
    start = runtime.bundle_start(generation_of(drivers, release), IMAGE if release.image else "")
    traffic = drivers.get(release.unit, release.traffic) if release.traffic else None
    if traffic is None:
        return start, None
    if isinstance(traffic, BundlesTraffic):
        return start, traffic.bundle_route(generation_id(release))
    lines = ('echo "Point the proxy of this unit to: $ADDRESSES / 请把该单元的反向代理指向上述地址"',)
    return start, BundlePart(lines)


def _artifact_content(release: Release) -> tuple[str, ...]:
    """What is neither configuration, image nor secret: kept under its digest."""
    configuration = {file.content for file in release.files}
    return tuple(digest for digest in needed_content(release) if digest not in configuration)


def _content_name(digest: str) -> str:
    return f"content/{digest.removeprefix('sha256:')}"


def _place(
    place: Path,
    texts: Mapping[str, bytes],
    images: ImageArchive,
    release: Release,
    databases: Sequence[BundledDatabase],
) -> int:
    """Everything into a directory beside, then one rename. A bundle of this release that is there already
    is replaced: it may have been damaged. Returns its size in bytes.
    """
    beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.new-", dir=place.parent))
    try:
        for path, content in texts.items():
            file = beside / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        if release.image is not None:
            with (beside / IMAGE).open("wb") as file_of_image:
                images.export(release.image, file_of_image)
        for database in databases:
            database.place(beside)
        (beside / "restore.sh").chmod(0o700)
        sums = [f"{_digest_of(file)}  {file.relative_to(beside)}\n" for file in _files_below(beside)]
        (beside / "SHA256SUMS").write_text("".join(sums))
        size = sum(file.stat().st_size for file in _files_below(beside))
        _sync(beside)
        _replace(beside, place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return size


def _replace(new: Path, place: Path) -> None:
    """A directory can't be renamed over one that is not empty: the old one steps aside first."""
    aside = place.with_name(f".{place.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if place.exists():
        place.rename(aside)
    new.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def _point_at(to: Path, slug: str, name: str) -> None:
    """``to/<slug>`` leads to the newest bundle; what it led to before goes once nothing leads there."""
    link, fresh = to / slug, to / f".{slug}.new"
    before = str(link.readlink()) if link.is_symlink() else ""
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.replace(link)
    if before not in ("", name) and "/" not in before:
        shutil.rmtree(to / before, ignore_errors=True)


def _files_below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(directory: Path) -> None:
    """Durable before it gets its name; ``syncfs`` would wait for what others write, too."""
    for path in (*directory.rglob("*"), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(to: Path, error: OSError) -> DriverError:
    forbidden = isinstance(error, PermissionError)
    return DriverError(
        N_("the restore bundle can't be written to {path}: {why}"),
        todo=N_("Give room and rights there, or name another directory; then: lastgood bundle UNIT --to DIR"),
        where=str(to),
        cause=Cause.PERMISSION if forbidden else Cause.WRONG_PATH,
        path=str(to),
        why=error.strerror or str(error),
    )

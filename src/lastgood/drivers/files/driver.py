"""Places rendered configuration as release directories and makes one of them current.

``root/<unit.slug>/releases/<release short>/…`` with its record ``<release short>.json`` beside it,
``current`` as a symbolic link, ``aside/<time>/…`` for what was found edited by hand.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.digest import digest, short
from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.domain.observation import Drift, DriftKind, Observation
from lastgood.domain.release import FileEntry
from lastgood.domain.unit import UnitId
from lastgood.drivers.files import tree
from lastgood.drivers.files.faults import bad_path, mapped
from lastgood.drivers.files.settings import FilesSettings
from lastgood.ports.content import DriverTools, Objects

RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
    """The driver of one unit. Raises InvalidInput naming the wrong or missing setting."""
    return FilesDriver(unit, FilesSettings.parse(settings, str(unit)), tools.objects)


def fingerprint(files: Sequence[FileEntry]) -> str:
    """What ``observe`` answers when exactly ``files`` are current."""
    return digest(tuple(sorted(files, key=lambda f: f.path)))


class FilesDriver:
    """Places and Observes. One process works on a unit at a time: a kernel lock on its directory."""

    def __init__(self, unit: UnitId, settings: FilesSettings, objects: Objects) -> None:
        self._root = settings.root
        self._place = settings.root / unit.slug
        self._releases = self._place / "releases"
        self._link = self._place / "current"
        self._objects = objects

    # Places

    def place(self, release: str, files: Sequence[FileEntry]) -> Path:
        """Write, complete or repair the directory of ``release``; what was edited by hand goes aside.

        Raises Rejected (disk full; cause PERMISSION, WRONG_PATH) and InvalidInput for an unsafe path.
        """
        directory = self._directory(release)
        wanted = self._checked(files)
        with self._guard(directory, wanted), self._locked():
            self._refuse_collision(release)
            self._complete(directory, wanted)
            self._write_record(release, wanted)
        return directory

    def switch(self, release: str) -> None:
        """One atomic rename; a damaged directory is first repaired from the object store."""
        if not release:
            self._unlink()
            return
        directory = self._directory(release)
        record = self._record(directory.name)
        if record is None or record[0] != release:
            raise Rejected(
                N_("release {release} was never completely placed"),
                todo=N_("Place it first, then switch."),
                where=str(directory),
                release=short(release),
            )
        wanted = {f.path: f for f in record[1]}
        with self._guard(directory, wanted), self._locked():
            self._complete(directory, wanted)
            target = Path("releases") / directory.name
            if self._link.is_symlink() and self._link.readlink() == target:
                return
            self._clear_link()
            half = tree.temporary(self._place)
            half.symlink_to(target)
            half.replace(self._link)
            tree.flush(self._place)

    def current(self) -> str:
        """The release that the link points to now; ``""`` too when it points to nothing of ours."""
        with self._guard(self._link, {}):
            found = self._record(self._linked())
        return found[0] if found else ""

    def drift(self, files: Sequence[FileEntry]) -> tuple[Drift, ...]:
        wanted = self._checked(files)
        with self._guard(self._link, {}):
            found = self._scan()
            link = self._link_drift(wanted)
        if found is None:
            return link
        return (*link, *_differences(wanted, found))

    def capture(self) -> tuple[FileEntry, ...]:
        """Raises Rejected for what a release can't hold, such as a symbolic link."""
        with self._guard(self._link, {}):
            found = self._scan() or {}
            for file in found.values():
                if not file.regular:
                    raise Rejected(
                        N_("{path} can't be captured: {content}"),
                        todo=N_("Put a regular file in its place or remove it, then adopt again."),
                        where=str(self._link),
                        path=file.path,
                        content=file.content,
                    )
            return tuple(
                FileEntry(f.path, self._objects.put((self._link / f.path).read_bytes()), f.mode)
                for f in found.values()
            )

    # Observes

    def observe(self) -> Observation:
        """The fingerprint covers path, mode and content of all current files and nothing else."""
        now = datetime.now(UTC)
        with self._guard(self._link, {}):
            found = self._scan()
        if found is None:
            return Observation(digest("no current directory"), now, {"release": "", "files": 0})
        entries = tuple(FileEntry(f.path, f.content, f.mode) for f in found.values())
        return Observation(fingerprint(entries), now, {"release": self.current(), "files": len(entries)})

    # Within

    def _guard(self, at: Path, wanted: Mapping[str, FileEntry]) -> AbstractContextManager[None]:
        def missing() -> int:
            return tree.space_missing(at, self._still_needed(at, wanted))

        return mapped(at, missing, lambda: short(self._current_name()))

    def _current_name(self) -> str:
        found = self._record(self._linked())
        return found[0] if found else ""

    def _still_needed(self, at: Path, wanted: Mapping[str, FileEntry]) -> int:
        sizes = [
            len(self._objects.get(f.content)) for f in wanted.values() if not os.path.lexists(at / f.path)
        ]
        return sum((-size % tree.BLOCK) + size for size in sizes) + tree.BLOCK

    def _directory(self, release: str) -> Path:
        name = short(release)
        if not RELEASE.fullmatch(name):
            raise InvalidInput(
                N_("'{release}' is not the name of a release"),
                todo=N_("Use the digest that plan or history shows."),
                where=str(self._place),
                release=release,
            )
        return self._releases / name

    def _checked(self, files: Sequence[FileEntry]) -> dict[str, FileEntry]:
        wanted = {f.path: f for f in sorted(files, key=lambda f: f.path)}
        parents = set(tree.folders(iter(wanted)))
        for path in wanted:
            if not tree.is_safe(path) or path in parents:
                raise bad_path(path, str(self._place))
        return wanted

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for folder in (self._root, self._place, self._releases):
            tree.make_folder(folder)
        descriptor = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _complete(self, directory: Path, wanted: Mapping[str, FileEntry]) -> None:
        aside = self._aside() / "releases" / directory.name
        self._make_folders(directory, wanted, aside)
        tree.remove_temporaries(directory)
        found = tree.scan(directory)
        changed = False
        for path in found.keys() - wanted.keys():
            tree.move(directory / path, aside / path)
            changed = True
        for path, file in wanted.items():
            there = found.get(path)
            if there is not None and (there.content, there.mode) == (file.content, file.mode):
                continue
            content = self._objects.get(file.content)
            if there is not None:
                tree.keep(directory / path, aside / path)
            tree.write(directory / path, content, file.mode)
            changed = True
        if changed:
            for folder in reversed(tree.folders(iter(wanted))):
                tree.flush(directory / folder)
            tree.flush(directory)
            tree.flush(self._releases)

    def _make_folders(self, directory: Path, wanted: Mapping[str, FileEntry], aside: Path) -> None:
        for folder in ("", *tree.folders(iter(wanted))):
            here = directory / folder
            if os.path.lexists(here) and (here.is_symlink() or not here.is_dir()):
                tree.move(here, aside / folder)  # writing through a link would leave our directory
            tree.make_folder(here)
        for path in wanted:
            if (directory / path).is_dir() and not (directory / path).is_symlink():
                tree.move(directory / path, aside / path)  # a directory where a file belongs

    def _aside(self) -> Path:
        return self._place / "aside" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")

    def _record_path(self, name: str) -> Path:
        return self._releases / f"{name}.json"

    def _record(self, name: str) -> tuple[str, tuple[FileEntry, ...]] | None:
        if not name:
            return None
        try:
            data = json.loads(self._record_path(name).read_bytes())
            return data["release"], tuple(FileEntry(*entry) for entry in data["files"])
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None

    def _write_record(self, release: str, wanted: Mapping[str, FileEntry]) -> None:
        if self._record(short(release)) == (release, tuple(wanted.values())):
            return
        data = {"release": release, "files": [(f.path, f.content, f.mode) for f in wanted.values()]}
        tree.write(self._record_path(short(release)), json.dumps(data).encode(), 0o644)
        tree.flush(self._releases)

    def _refuse_collision(self, release: str) -> None:
        found = self._record(short(release))
        if found and found[0] != release:
            raise Rejected(
                N_("release {other} already uses the directory of {release}"),
                todo=N_("Nothing was written; report this: two digests share their first twelve digits."),
                where=str(self._directory(release)),
                other=found[0],
                release=release,
            )

    def _linked(self) -> str:
        """The name under ``releases`` that the link points to, ``""`` for anything else."""
        if not self._link.is_symlink():
            return ""
        target = os.path.normpath(self._place / self._link.readlink())
        return os.path.basename(target) if os.path.dirname(target) == str(self._releases) else ""  # noqa: PTH119, PTH120

    def _scan(self) -> dict[str, tree.Found] | None:
        return tree.scan(self._link) if self._link.is_dir() else None

    def _link_drift(self, wanted: Mapping[str, FileEntry]) -> tuple[Drift, ...]:
        if not os.path.lexists(self._link):
            return (Drift("current", DriftKind.MISSING, "there is no current link"),) if wanted else ()
        if not self._link.is_symlink():
            return (Drift("current", DriftKind.CHANGED, "replaced by something that is not our link"),)
        record = self._record(self._linked())
        if record is None:
            return (Drift("current", DriftKind.CHANGED, f"points to {self._link.readlink()}"),)
        if record[1] != tuple(wanted.values()):
            return (Drift("current", DriftKind.CHANGED, f"points to another release, {short(record[0])}"),)
        if not self._link.is_dir():
            return (Drift("current", DriftKind.CHANGED, "points to a directory that is gone"),)
        return ()

    def _clear_link(self) -> None:
        tree_left = [p for p in self._place.iterdir() if p.name.startswith(tree.TEMPORARY)]
        for half in tree_left:
            half.unlink()
        if os.path.lexists(self._link) and not self._link.is_symlink():
            tree.move(self._link, self._aside() / "current")

    def _unlink(self) -> None:
        with self._guard(self._link, {}):
            if not os.path.lexists(self._link):
                return
            with self._locked():
                self._clear_link()
                self._link.unlink(missing_ok=True)
                tree.flush(self._place)


def _differences(wanted: Mapping[str, FileEntry], found: Mapping[str, tree.Found]) -> Iterator[Drift]:
    for path in sorted(wanted.keys() | found.keys()):
        want, there = wanted.get(path), found.get(path)
        if there is None:
            yield Drift(path, DriftKind.MISSING)
        elif want is None:
            yield Drift(path, DriftKind.UNKNOWN)
        elif not there.regular:
            yield Drift(path, DriftKind.CHANGED, there.content)
        elif there.content != want.content:
            yield Drift(path, DriftKind.CHANGED, f"content {short(there.content)}, not {short(want.content)}")
        elif there.mode != want.mode:
            yield Drift(path, DriftKind.CHANGED, f"mode {there.mode:o}, not {want.mode:o}")

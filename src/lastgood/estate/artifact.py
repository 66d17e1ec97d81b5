"""Artifacts: a folder of the commit, or a directory outside Git, as a manifest and its contents."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lastgood.domain.digest import digest_bytes
from lastgood.domain.message import N_
from lastgood.domain.release import Artifact, FileEntry
from lastgood.estate.problems import Invalid, invalid
from lastgood.estate.tree import Tree

LARGEST = 2 * 1024**3

Loaded = tuple[Artifact, dict[str, bytes]]


def from_tree(tree: Tree, service: str, path: str, file: str, line: int) -> Loaded:
    """The files below ``services/<service>/<path>/``. Raises Invalid when there are none."""
    clean = path.strip("/")
    if ".." in clean.split("/") or clean in ("", "."):
        raise invalid(
            file,
            line,
            N_("the artifact path '{path}' leaves the folder of the service"),
            N_("Name a folder beside service.yaml, or an absolute path outside Git."),
            path=path,
        )
    prefix = f"services/{service}/{clean.removeprefix('./')}/"
    found = [
        (p.removeprefix(prefix), tree.files[p])
        for p in tree.paths("services", service)
        if p.startswith(prefix)
    ]
    if not found:
        raise _nothing(file, line, path)
    return _artifact((name, entry.mode, entry.content) for name, entry in found)


def from_directory(path: str, file: str, line: int) -> Loaded:
    """The files of a directory outside Git, as they are now. Raises Invalid."""
    root = Path(path)
    if not root.is_dir():
        raise invalid(
            file,
            line,
            N_("the artifact directory '{path}' does not exist"),
            N_("Build it first, or correct the path (and look who may read it)."),
            path=path,
        )
    try:
        loaded = _artifact(_walk(root, file, line))
    except OSError as wrong:
        raise invalid(
            file, line, N_("the artifact directory '{path}' can't be read: {words}"),
            N_("Give the one who runs lastgood the right to read it."),
            path=path, words=f"{wrong.strerror} ({wrong.filename})",
        ) from wrong  # fmt: skip
    if not loaded[0].files:
        raise _nothing(file, line, path)
    return loaded


def _nothing(file: str, line: int, path: str) -> Invalid:
    return invalid(
        file,
        line,
        N_("the artifact '{path}' holds no files"),
        N_("Put the files there and commit them, or correct the path."),
        path=path,
    )


def _artifact(files: Iterator[tuple[str, int, bytes]]) -> Loaded:
    entries, contents = [], {}
    for path, mode, content in files:
        name = digest_bytes(content)
        contents[name] = content
        entries.append(FileEntry(path, name, mode))
    return Artifact.of(tuple(entries)), contents


def _raise(wrong: OSError) -> None:
    raise wrong


def _walk(root: Path, file: str, line: int) -> Iterator[tuple[str, int, bytes]]:
    total = 0
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders.sort()
        here = Path(folder)
        for name in sorted((*names, *(f for f in folders if (here / f).is_symlink()))):
            path = here / name
            mode = path.lstat().st_mode
            relative = path.relative_to(root).as_posix()
            odd = "\\" in relative or any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in relative)
            if odd or not stat.S_ISREG(mode):
                raise invalid(
                    file,
                    line,
                    N_("the artifact holds '{name}', which is not a plain file with a plain name"),
                    N_("Replace links by copies, and leave out sockets and devices."),
                    name=relative.encode("unicode_escape", "surrogatepass").decode(),
                )
            total += path.lstat().st_size
            if total > LARGEST:
                raise invalid(
                    file,
                    line,
                    N_("the artifact is larger than {most} MiB"),
                    N_("Leave out what the service doesn't need to run."),
                    most=LARGEST // 1024**2,
                )
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
                yield relative, 0o755 if mode & 0o111 else 0o644, opened.read()

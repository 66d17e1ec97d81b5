"""The files of an estate as plain content: from a commit, or as they lie in the working tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from lastgood.domain.message import N_
from lastgood.estate.git import Git
from lastgood.estate.problems import problem
from lastgood.ports.estate import Problem

ROOT = "lastgood.yaml"
FOLDERS = ("services", "databases")
_GITLINK = 0o160000


class File(NamedTuple):
    """``mode`` is 0o644 or 0o755."""

    mode: int
    content: bytes


@dataclass
class Tree:
    """Files by path (relative, ``/`` between), only those that belong to the estate.

    ``problems`` are names and kinds of files that can't be taken (links, traversal, odd names).
    """

    files: dict[str, File] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _folders: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def index(self) -> None:
        """Sort the paths into their ``services/<name>`` and ``databases/<name>`` folders."""
        self._folders = {folder: {} for folder in FOLDERS}
        for path in sorted(self.files):
            parts = path.split("/", 2)
            if len(parts) == 3 and parts[0] in self._folders:
                self._folders[parts[0]].setdefault(parts[1], []).append(path)

    def names(self, folder: str) -> list[str]:
        """The sub-folders of ``services`` or ``databases``, sorted."""
        return list(self._folders.get(folder, {}))

    def paths(self, folder: str, name: str) -> list[str]:
        """Every path below ``folder/name/``, sorted."""
        return self._folders.get(folder, {}).get(name, [])

    def problems_below(self, prefix: str) -> list[Problem]:
        return [p for p in self.problems if p.path.startswith(prefix)]


def _odd(path: str) -> str:
    """Why a path can't be taken, as an English phrase; ``""`` when it can."""
    parts = path.split("/")
    if path.startswith("/"):
        return N_("it is absolute")
    if ".." in parts or "." in parts or "" in parts:
        return N_("it leaves its folder or has empty parts")
    if any(part.lower() == ".git" for part in parts):
        return N_("it contains .git")
    if "\\" in path or any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in path):
        return N_("it contains control characters, backslashes or is not UTF-8")
    if any(part != part.strip() for part in parts):
        return N_("a part of it begins or ends with a space")
    return ""


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode().encode("unicode_escape").decode()


def build(files: Iterable[tuple[int, str, bytes]]) -> Tree:
    """A tree from (Git mode, path, content)."""
    tree = Tree()
    for mode, path, content in files:
        if path != ROOT and not path.lstrip("./").startswith(tuple(f + "/" for f in FOLDERS)):
            continue
        reason = _odd(path)
        if reason:
            tree.problems.append(
                problem(
                    _shown(path),
                    0,
                    N_("the file name '{name}' can't be used: {reason}"),
                    N_("Rename the file: plain relative names only."),
                    name=_shown(path),
                    reason=reason,
                )
            )
        elif stat.S_ISLNK(mode):
            tree.problems.append(
                problem(
                    path,
                    0,
                    N_("'{name}' is a symbolic link; an estate holds only plain files"),
                    N_("Replace the link by a copy of the file it points to."),
                    name=path,
                )
            )
        elif not stat.S_ISREG(mode):
            tree.problems.append(
                problem(
                    path,
                    0,
                    N_("'{name}' is a submodule or a special file; an estate holds only plain files"),
                    N_("Put the files themselves into the estate, or use an artifact outside Git."),
                    name=path,
                )
            )
        else:
            tree.files[path] = File(0o755 if mode & 0o111 else 0o644, content)
    tree.index()
    return tree


def read_commit(git: Git, commit: str) -> Tree:
    """Every file of a commit that belongs to the estate."""
    prefix = git.prefix()
    return build(
        (mode, raw.decode("utf-8", "surrogateescape"), content)
        for mode, _, raw, _, content in git.files(commit, prefix)
    )


def read_worktree(git: Git) -> Tree:
    """The files as they lie there: tracked or not, without the ignored ones."""
    listed = git.out("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = dict.fromkeys(n.decode("utf-8", "surrogateescape") for n in listed.split(b"\0") if n)
    return build(_lying(git, names))


def _lying(git: Git, names: Iterable[str]) -> Iterable[tuple[int, str, bytes]]:
    root = git.directory.resolve()
    for name in names:
        path = root / name
        try:
            mode = path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if path.parent.resolve() != path.parent:
            yield stat.S_IFLNK, name, b""
        elif stat.S_ISDIR(mode):
            yield _GITLINK, name, b""
        elif stat.S_ISREG(mode):
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
                yield mode, name, opened.read()
        else:
            yield mode, name, b""

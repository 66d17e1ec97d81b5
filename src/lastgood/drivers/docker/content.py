"""What is put into a container before it starts, as tar archives."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from lastgood.domain.release import FileEntry
from lastgood.ports.content import Objects


@dataclass(frozen=True)
class Owner:
    uid: int = 0
    gid: int = 0


def config_tar(files: Iterable[FileEntry], objects: Objects, directory: str) -> bytes:
    """Configuration under ``directory``. Raises what ``objects`` raises."""
    return _tar({f.path: (objects.get(f.content), f.mode) for f in files}, directory, Owner())


def secrets_tar(secrets: Mapping[str, str], owner: Owner, directory: str) -> bytes:
    """One file per secret, which its owner alone may read."""
    return _tar({name: (value.encode(), 0o400) for name, value in secrets.items()}, directory, owner)


def files_in(tar: bytes) -> dict[str, tuple[bytes, int]]:
    """Content and mode by path below the directory that was asked for."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isfile() else None
            if file is not None:
                found[member.name.partition("/")[2]] = file.read(), member.mode & 0o7777
    return found


def owner_from(passwd: bytes, user: str) -> Owner | None:
    """Numbers of ``user``, ``user:group`` or ``1000:1000``, None when the image doesn't know the name.

    A group that is named is not looked up: root's is right for a file that only its owner reads.
    """
    name, _, group = user.partition(":")
    number = int(group) if group.isdigit() else 0
    if not name or name.isdigit():
        return Owner(int(name or 0), number)
    for line in passwd.decode(errors="replace").splitlines():
        parts = line.split(":")
        if parts[0] == name and len(parts) > 3 and parts[2].isdigit() and parts[3].isdigit():
            return Owner(int(parts[2]), int(parts[3]))
    return None


def _tar(files: Mapping[str, tuple[bytes, int]], directory: str, owner: Owner) -> bytes:
    """``directory`` (relative, may be empty) with ``files`` in it; nothing is said of what lies above it."""
    made = io.BytesIO()
    base = PurePosixPath(directory)
    folders = {base / above for path in files for above in PurePosixPath(path).parents} - {PurePosixPath()}
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted(folders):
            info = tarfile.TarInfo(str(folder))
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for path, (content, mode) in sorted(files.items()):
            info = tarfile.TarInfo(str(base / path))
            info.size, info.mode, info.uid, info.gid = len(content), mode, owner.uid, owner.gid
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()

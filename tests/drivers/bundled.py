"""A database's part of a restore bundle, laid out as the bundle has it, and run where lastgood is not."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from lastgood.ports.bundles import DUMP, DatabasePart


def lay_out(part: DatabasePart, directory: Path) -> Path:
    for path, content in part.files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    part.copy(directory / DUMP)
    (directory / "restore.sh").chmod(0o700)
    found = sorted(p for p in directory.rglob("*") if p.is_file())
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(directory)}\n" for p in found]
    (directory / "SHA256SUMS").write_text("".join(sums))
    return directory


def only(tools: Path, part: DatabasePart, found: dict[str, Path]) -> Path:
    """A directory for PATH that has what the part says it needs, and of the shell's usual tools few more.

    ``found``: where those of the server are.
    """
    tools.mkdir()
    usual = ("sh", "cat", "dirname", "grep", "printf", "rm", "sed")
    for name in {*part.needs, *usual}:
        places = [*([found[name]] if name in found else []), Path("/usr/bin"), Path("/bin")]
        real = next(p / name for p in places if (p / name).exists())
        (tools / name).symlink_to(real)
    return tools


def run(
    directory: Path, path: Path, *words: str, key: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """As a person does who has the bundle, the key, and the server's own tools."""
    said = {"PATH": str(path), "HOME": str(directory), **environment}
    if key is not None:
        said["LASTGOOD_KEY_FILE"] = str(key)
    assert not any((path / name).exists() for name in ("lastgood", "python3", "python"))
    return subprocess.run(
        [str(directory / "restore.sh"), *words], env=said, cwd=os.sep, capture_output=True, text=True
    )

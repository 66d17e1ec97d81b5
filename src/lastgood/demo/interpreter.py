"""The Python that runs here, as one layer of a container image: no base image is needed, and no network.

The same installation gives the same bytes: sorted, without times and owners, compiled by content.
"""

from __future__ import annotations

import io
import json
import marshal
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path, PurePosixPath

from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_

PROGRAM = PurePosixPath("/usr/local/bin/python3")
PACKAGES = PurePosixPath("/usr/local/lib/packages")
LIBRARIES = PurePosixPath("/usr/local/lib/shared")
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/bin",
    "LD_LIBRARY_PATH": str(LIBRARIES),
    "PYTHONPATH": str(PACKAGES),
    "PYTHONUNBUFFERED": "1",
}
"""What an image on this layer has to set."""

NOT_NEEDED = {
    "test", "tests", "idlelib", "lib2to3", "turtledemo", "tkinter", "ensurepip", "pydoc_data", "distutils",
    "venv", "unittest", "site-packages", "dist-packages", "__pycache__",
}  # fmt: skip
"""Folders of the standard library that a service never opens; with the builder's own ``config-…``."""
NO_SCREEN = re.compile(r"_?(tkinter|curses\w*|readline|g?dbm|nis|test\w*|xx\w*|ctypes_test)\.")
"""Extension modules that would bring half a desktop along."""
ACCOUNTS = b"root:x:0:0:root:/:/sbin/nologin\nshop:x:10001:10001:shop:/tmp:/sbin/nologin\n"
UNCHECKED = 1
"""A flag of byte code (PEP 552): named by a hash of its source, which nobody compares."""
LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


@dataclass(frozen=True)
class _Source:
    """A file of this machine under its path in the image."""

    path: PurePosixPath
    file: Path


def interpreter_layer(distributions: Sequence[str], imports: Sequence[str], path: Path) -> bytes:
    """A tar of the running Python, its standard library, ``distributions`` (as pip names them) and all
    shared libraries that these want.

    ``imports`` are modules, found from ``path`` too, that have to work in it: what they load is compiled
    beforehand, so that a container starts fast. Raises DriverError when something is not to be found.
    """
    library = _standard_library()
    packages = [source for name in distributions for source in _distribution(name)]
    program = _Source(PROGRAM, Path(sys.executable).resolve())
    loaded = _loaded(imports, path)
    own = [program, *library, *packages]
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as tar:
        sources = {s.path: s.file for s in (*own, *_shared(own))}
        contents: dict[PurePosixPath, Path | bytes] = {**sources, PurePosixPath("/etc/passwd"): ACCOUNTS}
        contents |= _compiled([_Source(p, f) for p, f in sources.items() if f.resolve() in loaded])
        _directories(tar, contents)
        for where, content in sorted(contents.items()):
            _add(tar, where, content, executable=where == PROGRAM or ".so" in where.name)
    return written.getvalue()


def _standard_library() -> list[_Source]:
    home = Path(sysconfig.get_path("stdlib"))
    target = PROGRAM.parents[1] / "lib" / home.name
    dynamic = [Path(entry) for entry in sys.path if Path(entry).name == "lib-dynload"]
    found = [_Source(target / file.relative_to(home), file) for file in _walk(home) if file.suffix == ".py"]
    modules = [file for place in dynamic for file in place.glob("*.so") if not NO_SCREEN.match(file.name)]
    return found + [_Source(target / "lib-dynload" / file.name, file) for file in modules]


def _walk(home: Path) -> Iterator[Path]:
    for directory, below, files in os.walk(home):
        below[:] = sorted(name for name in below if name not in NOT_NEEDED and not name.startswith("config-"))
        yield from (Path(directory, name) for name in files)


def _distribution(name: str) -> list[_Source]:
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError as problem:
        raise _missing(name) from problem
    return [
        _Source(PACKAGES / file, Path(str(file.locate())))
        for file in files
        # What lies outside the packages are commands, and pip's own notes say when it installed them.
        if ".." not in file.parts and file.suffix != ".pyc" and file.name not in ("RECORD", "REQUESTED")
    ]


def _shared(own: Sequence[_Source]) -> list[_Source]:
    """The libraries that programs and modules are linked to, and the loader under the name it is asked by."""
    native = [str(source.file) for source in own if ".so" in source.file.name or source.path == PROGRAM]
    done = subprocess.run(["ldd", *native], capture_output=True, text=True, check=False)
    named = {line.strip() for line in done.stdout.splitlines()}
    if lost := sorted(line.split()[0] for line in named if line.endswith("not found")):
        raise _missing(lost[0])
    # What a package brings along it finds itself, beside its modules.
    there = {source.file.resolve() for source in own}
    found = []
    for line in sorted(named):
        match = LIBRARY.search(line)
        if match is not None and (file := Path(match[1])).resolve() not in there:
            is_loader = "=>" not in line
            found.append(_Source(PurePosixPath(file) if is_loader else LIBRARIES / line.split()[0], file))
    return found


def _loaded(imports: Sequence[str], path: Path) -> set[Path]:
    """The source files that importing ``imports`` loads, in a Python of its own."""
    code = (
        f"import sys, json, {', '.join(imports)}\n"
        "print(json.dumps([m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)]))"
    )
    found_in = os.pathsep.join([str(path), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": found_in, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise _missing(done.stderr.strip().rpartition("\n")[2])
    return {Path(file).resolve() for file in json.loads(done.stdout)}


def _compiled(sources: Sequence[_Source]) -> dict[PurePosixPath, bytes]:
    """Byte code that is taken without a look at its source: times are no part of an image."""
    made = {}
    for source in sources:
        if source.file.suffix == ".py":
            text = source.file.read_bytes()
            code = compile(text, str(source.path), "exec", dont_inherit=True, optimize=0)
            flags = UNCHECKED.to_bytes(4, "little")
            name = f"{source.path.stem}.{sys.implementation.cache_tag}.pyc"
            made[source.path.parent / "__pycache__" / name] = (
                # Later formats say which objects are shared, and that differs from one run to the next.
                MAGIC_NUMBER + flags + source_hash(text) + marshal.dumps(code, 2)
            )
    return made


def _directories(tar: tarfile.TarFile, contents: Mapping[PurePosixPath, object]) -> None:
    above = {parent for path in contents for parent in path.parents} - {PurePosixPath("/")}
    for path in sorted({*above, PurePosixPath("/tmp")}):
        entry = tarfile.TarInfo(str(path).lstrip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path.name == "tmp" else 0o755
        tar.addfile(entry)


def _add(tar: tarfile.TarFile, path: PurePosixPath, content: Path | bytes, *, executable: bool) -> None:
    data = content if isinstance(content, bytes) else content.read_bytes()
    entry = tarfile.TarInfo(str(path).lstrip("/"))
    entry.size, entry.mode = len(data), 0o755 if executable else 0o644
    tar.addfile(entry, io.BytesIO(data))


def _missing(part: str) -> DriverError:
    return DriverError(
        N_("an image of this Python can't be made: {part} is not to be found"),
        todo=N_("Set up again: scripts/bootstrap demo docker"),
        where=sys.executable,
        part=part,
    )

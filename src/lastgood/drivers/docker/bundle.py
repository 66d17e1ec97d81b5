"""A generation as lines of shell with the docker command, for the day without lastgood.

The containers get the names and labels they have with lastgood, so that it knows them again afterwards.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from lastgood.domain.release import FileEntry
from lastgood.domain.unit import Role
from lastgood.drivers.docker import bundle_script as script
from lastgood.drivers.docker import labels
from lastgood.drivers.docker.commandline import arguments, create_options
from lastgood.drivers.docker.content import config_tar
from lastgood.drivers.docker.images import holder_body
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.drivers.docker.wanted import SECRETS, Wanted
from lastgood.ports.bundles import BundlePart
from lastgood.ports.content import Objects

PORT = "@port@"
"""Stands where the script puts the port that it chooses."""
CONFIG_TAR, VOLUME_TAR = "config.tar", "config.volume.tar"


def bundle(wanted: Sequence[Wanted], archive: str, objects: Objects) -> BundlePart:
    """All roles: web first, which is in nobody's way, then workers, once those of others have stopped."""
    first = wanted[0]
    files = _files(first, objects)
    web = [one for one in wanted if one.role is Role.WEB]
    parts = [_engine(first.settings), script.HEAD, _find_image(first, archive), "ADDRESSES=\n"]
    parts += [_start(one, files) for one in web]
    parts += [_until_ready(one) for one in web[:1]]
    names = {"unit": str(first.generation.unit), "generation": first.generation.id}
    parts.append(script.OTHERS % {key: shlex.quote(name) for key, name in names.items()})
    parts += [_start(one, files) for one in wanted if one.role is not Role.WEB]
    needs = ("docker", "tar", "awk") if first.secret_files else ("docker",)
    return BundlePart(tuple("".join(parts).splitlines()), needs, _contents(wanted, files, objects))


def _engine(settings: DockerSettings) -> str:
    tls = settings.tls
    files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key} if tls else {}
    flags = script.TLS % {key: shlex.quote(str(path)) for key, path in files.items()} if files else ""
    return script.ENGINE % {"host": shlex.quote(settings.host), "tls": flags}


def _files(first: Wanted, objects: Objects) -> tuple[FileEntry, ...]:
    """Also what a files driver has placed: its directory may be gone on the day this is needed."""
    placed = first.generation.config
    if placed is None:
        return first.generation.files
    return tuple(_entry(path, placed, objects) for path in sorted(placed.rglob("*")) if path.is_file())


def _entry(path: Path, below: Path, objects: Objects) -> FileEntry:
    content = objects.put(path.read_bytes())
    return FileEntry(path.relative_to(below).as_posix(), content, path.stat().st_mode & 0o777)


def _contents(wanted: Sequence[Wanted], files: Sequence[FileEntry], objects: Objects) -> Mapping[str, bytes]:
    """The files to be read by people, and tars of the same, which the script puts in place."""
    found = {f"config/{file.path}": objects.get(file.content) for file in files}
    for one in wanted if files else ():
        name, below = _tar_of(one)
        found[name] = config_tar(files, objects, below)
    return found


def _tar_of(one: Wanted) -> tuple[str, str]:
    """(name of the tar, the directory that its paths begin with)."""
    return (VOLUME_TAR, "") if one.options.read_only else (CONFIG_TAR, one.settings.config.lstrip("/"))


def _find_image(first: Wanted, archive: str) -> str:
    image, unit = first.image, first.generation.unit
    ids = " ".join(shlex.quote(name) for name in (image.config, image.manifest, image.pinned))
    load = script.LOAD % {"archive": shlex.quote(archive)} if archive else ""
    holder = labels.hold_name(unit, image.manifest)
    options = _quoted(create_options(holder_body(unit, image, "")))
    return script.IMAGE % {"ids": ids, "load": load, "text": image, "holder": holder, "options": options}


def _start(one: Wanted, files: tuple[FileEntry, ...]) -> str:
    made = "".join(_make(one, files))
    indented = "".join(f"        {line}\n" for line in made.splitlines()).rstrip("\n")
    text = script.START % {
        "role": one.role.value,
        "number": one.number,
        "name": one.name,
        "spec": one.digest,
        "create": indented,
    }
    if one.role is not Role.WEB:
        return text
    return text + script.ADDRESS % {"address": one.settings.address}


def _make(one: Wanted, files: tuple[FileEntry, ...]) -> Iterator[str]:
    """Create, fill and connect ``$new``, in the order in which the driver does it."""
    generation = replace(one.generation, config=None, files=files)
    copied = replace(one, generation=generation)
    secrets = [secret.name for secret in generation.secrets]
    body = copied.body("", PORT if one.listens else "", dict.fromkeys(secrets, ""))
    body["Labels"][labels.SPEC] = one.digest
    if one.listens:
        low, high = one.settings.ports
        yield script.PORT % {"low": low, "range": high - low + 1, "number": one.number}
    by_environment = [] if one.secret_files else secrets
    yield script.CREATE % {
        "secrets": "".join(script.SECRET % {"name": name} for name in by_environment),
        "options": _quoted(create_options(body, by_environment)),
        "arguments": "".join(f" {_word(part)}" for part in arguments(body)),
    }
    if files:
        name, below = _tar_of(one)
        yield script.CONFIG % {"path": shlex.quote("/" if below else one.settings.config), "tar": name}
    if one.secret_files:
        yield _secret_files(one, secrets)
    for network in one.options.networks:
        yield script.CONNECT % {"network": network}


def _secret_files(one: Wanted, secrets: Sequence[str]) -> str:
    moved = "" if one.options.read_only else f"--transform 's,^,{SECRETS.lstrip('/')}/,' "
    path = SECRETS if one.options.read_only else "/"
    return script.SECRET_FILES % {"transform": moved, "names": " ".join(secrets), "path": path}


def _until_ready(web: Wanted) -> str:
    ready = web.spec.ready
    if ready is None:
        return ""
    return script.READY % {"path": shlex.quote(ready.path), "seconds": ceil(ready.timeout)}


def _quoted(words: Iterable[str]) -> str:
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    """For the shell; the port is a variable there."""
    return '"$port"'.join(shlex.quote(part) if part else "" for part in word.split(PORT)) or "''"

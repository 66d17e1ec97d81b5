"""Makes tiny container images without an engine, and brings them to a registry over HTTP.

The same build is the same bytes, so it has the same digest wherever and whenever it is made::

    web = ImageBuild(["/bin/httpd", "-f", "-p", "8080", "-h", "/www"], files={"/www/healthz": (b"ok", 0o644)})
    image = push(registry, "shop/web:1.4", web)
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from lastgood.domain.digest import digest_bytes
from lastgood.domain.image import Image, ImageReference
from lastgood.ports.content import ImageArchive
from lastgood.testing.registry_server import RegistryServer

BUSYBOX = Path("/bin/busybox")
NANOSECONDS = 1_000_000_000

OCI = {
    "index": "application/vnd.oci.image.index.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


@dataclass(frozen=True)
class Healthcheck:
    """``test`` as Docker has it: ``["CMD", "/bin/wget", …]`` or ``["CMD-SHELL", "…"]``; seconds."""

    test: Sequence[str]
    interval: float = 0.1
    timeout: float = 2.0
    start_period: float = 0.0
    retries: int = 3

    def config(self) -> Mapping[str, Any]:
        return {
            "Test": list(self.test),
            "Interval": int(self.interval * NANOSECONDS),
            "Timeout": int(self.timeout * NANOSECONDS),
            "StartPeriod": int(self.start_period * NANOSECONDS),
            "Retries": self.retries,
        }


@dataclass(frozen=True)
class ImageBuild:
    """What an image holds. ``files`` maps an absolute path to bytes and mode.

    ``busybox``: a layer with the static busybox under ``/bin``, one link per applet; all builds share it.
    ``layers`` are tars below ``files``, packed once however many builds share them.
    ``random_bytes``: a layer of so many bytes that can't be compressed, different for each ``seed``.
    ``variant`` is that of the architecture (``v8`` of arm64). ``media``: ``OCI`` or ``DOCKER`` types.
    """

    entrypoint: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    architecture: str = "amd64"
    healthcheck: Healthcheck | None = None
    command: Sequence[str] = ()
    ports: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    directory: str = "/"
    stop_signal: str = ""
    busybox: bool = True
    layers: Sequence[bytes] = field(default=(), repr=False)
    random_bytes: int = 0
    seed: int = 0
    os: str = "linux"
    variant: str = ""
    media: Mapping[str, str] = field(default_factory=lambda: OCI)

    @property
    def platform(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def built(self) -> Built:
        """The image as blobs."""
        layers = [_packed(tar) for tar in self._tars()]
        config = json.dumps(self._config([diff for _, diff in layers])).encode()
        blobs = [config, *(packed for packed, _ in layers)]
        manifest = {
            "schemaVersion": 2,
            "mediaType": self.media["manifest"],
            "config": _described(self.media["config"], config),
            "layers": [_described(self.media["layer"], packed) for packed, _ in layers],
        }
        named = {digest_bytes(blob): blob for blob in blobs}
        return Built(self, json.dumps(manifest).encode(), digest_bytes(config), named)

    def _tars(self) -> list[bytes]:
        tars = [_busybox_layer()] if self.busybox else []
        if self.random_bytes:
            tars.append(_tar({"/random": (random.Random(self.seed).randbytes(self.random_bytes), 0o644)}))
        tars += self.layers
        return [*tars, _tar(self.files)] if self.files or not tars else tars

    def _config(self, diffs: Sequence[str]) -> Mapping[str, Any]:
        said: dict[str, Any] = {
            "Entrypoint": list(self.entrypoint) or None,
            "Cmd": list(self.command) or None,
            "Env": [f"{name}={value}" for name, value in {"PATH": "/bin", **self.env}.items()],
            "WorkingDir": self.directory,
            "ExposedPorts": {f"{port}/tcp": {} for port in self.ports} or None,
            "Labels": dict(self.labels) or None,
            "User": self.user or None,
            "StopSignal": self.stop_signal or None,
            "Healthcheck": self.healthcheck.config() if self.healthcheck else None,
        }
        return {
            "architecture": self.architecture,
            **({"variant": self.variant} if self.variant else {}),
            "os": self.os,
            "created": "2020-01-01T00:00:00Z",
            "config": {key: value for key, value in said.items() if value is not None},
            "rootfs": {"type": "layers", "diff_ids": list(diffs)},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "a test"} for _ in diffs],
        }


@dataclass(frozen=True)
class Built:
    """One platform's image: ``blobs`` are config and layers by digest, without the manifest."""

    build: ImageBuild
    manifest: bytes
    config: str
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return digest_bytes(self.manifest)

    def image(self, repository: str, tag: str = "", digest: str = "") -> Image:
        """``digest``: that of the index which holds it; empty: it stands alone."""
        return Image(repository, digest or self.digest, self.digest, self.config, self.build.platform, tag)


def push(registry: RegistryServer, name: str, *builds: ImageBuild, index: bool = False) -> Image:
    """Bring an image to ``registry`` as ``name`` (``shop/web:1.4``), moving the tag if it is there already.

    Several builds become an index of several platforms, as does one with ``index``. Returns the image
    that an engine of the first build's platform would run.
    """
    where = ImageReference.parse(f"{registry.address}/{name}")
    made = [build.built() for build in builds]
    with registry.client() as client:
        for one in made:
            for digest, blob in one.blobs.items():
                _put_blob(client, where.name, digest, blob)
        if len(made) == 1 and not index:
            _put_manifest(client, where.name, where.tag, made[0].build.media["manifest"], made[0].manifest)
            return made[0].image(where.repository, where.tag)
        for one in made:
            _put_manifest(client, where.name, one.digest, one.build.media["manifest"], one.manifest)
        listed = index_of(made)
        _put_manifest(client, where.name, where.tag, made[0].build.media["index"], listed)
    return made[0].image(where.repository, where.tag, digest_bytes(listed))


def keep(archive: ImageArchive, name: str, build: ImageBuild) -> Image:
    """Have it in ``archive`` as if it had been fetched from ``name`` (``registry.test/shop/web:1.4``)."""
    where, made = ImageReference.parse(name), build.built()
    for digest, blob in {**made.blobs, made.digest: made.manifest}.items():
        archive.put_blob(digest, [blob])
    image = made.image(where.repository, where.tag)
    archive.add(image)
    return image


def _put_blob(client: httpx.Client, name: str, digest: str, blob: bytes) -> None:
    if client.head(f"/v2/{name}/blobs/{digest}").is_success:
        return
    begun = client.post(f"/v2/{name}/blobs/uploads/").raise_for_status()
    place = begun.headers["Location"]
    joined = f"{place}{'&' if '?' in place else '?'}digest={digest}"
    headers = {"Content-Type": "application/octet-stream"}
    client.put(joined, content=blob, headers=headers).raise_for_status()


def _put_manifest(client: httpx.Client, name: str, tag: str, kind: str, content: bytes) -> None:
    answer = client.put(f"/v2/{name}/manifests/{tag}", content=content, headers={"Content-Type": kind})
    answer.raise_for_status()


def index_of(made: Sequence[Built]) -> bytes:
    """The index of several platforms."""
    entries = []
    for one in made:
        build = one.build
        platform = {"os": build.os, "architecture": build.architecture}
        if build.variant:
            platform["variant"] = build.variant
        entries.append({**_described(build.media["manifest"], one.manifest), "platform": platform})
    kind = made[0].build.media["index"]
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()


def _described(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(blob), "digest": digest_bytes(blob)}


@functools.lru_cache(4)
def _packed(tar: bytes) -> tuple[bytes, str]:
    """The layer, and the digest of what is in it."""
    return gzip.compress(tar, 1, mtime=0), digest_bytes(tar)


@functools.cache
def _busybox_layer() -> bytes:
    program = BUSYBOX.read_bytes()
    listed = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout
    links = [f"/bin/{applet}" for applet in listed.split() if applet != "busybox"]
    return _tar({"/bin/busybox": (program, 0o755)}, links=links, to="busybox")


def _tar(files: Mapping[str, tuple[bytes, int]], links: Sequence[str] = (), to: str = "") -> bytes:
    """A layer: the directories on the way, ``files``, and ``links`` to ``to``; no time and no owner."""
    written = io.BytesIO()
    above = {str(p).lstrip("/") for path in (*files, *links) for p in Path(path).parents} - {""}
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted({*above, "tmp"}):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        for path, (content, mode) in sorted(files.items()):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
        for path in links:
            info = tarfile.TarInfo(path.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, to
            tar.addfile(info)
    return written.getvalue()

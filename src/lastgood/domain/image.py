"""A container image by digest: the tag only says where it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

REFERENCE = re.compile(
    r"(?P<repository>(?P<host>[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)"
    r"/[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class ImageReference:
    """An image as somebody wrote it: ``registry.example.com/shop/web:1.4``, or with ``@sha256:…``.

    ``host`` is the registry's host and port, ``name`` the repository inside it.
    """

    host: str
    name: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Raises InvalidInput. A reference without a registry is refused: which one is meant would depend
        on the engine that reads it.
        """
        match = REFERENCE.fullmatch(text)
        if match is None or not _is_host(match["host"]):
            raise InvalidInput(
                N_("'{text}' is not an image"),
                todo=N_("Write it as registry/name:tag, for example registry.example.com/shop/web:1.4."),
                text=text,
            )
        name = match["repository"].removeprefix(f"{match['host']}/")
        digest = match["digest"] or ""
        return cls(match["host"], name, match["tag"] or ("" if digest else "latest"), digest)

    @property
    def repository(self) -> str:
        return f"{self.host}/{self.name}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class Image:
    """What a reference named when it was looked up; from then on only the digest travels.

    ``digest`` is that of what the tag pointed at (a manifest, or an index of several platforms);
    ``manifest`` and ``config`` are those of the platform it runs on. ``config`` is how an engine knows an
    image whose registry is gone. ``tag`` is provenance, as a release's commit is.
    """

    repository: str
    digest: str
    manifest: str
    config: str
    platform: str = "linux/amd64"
    tag: str = ""

    @property
    def pinned(self) -> str:
        """``registry.example.com/shop/web@sha256:…``: what is pulled."""
        return f"{self.repository}@{self.digest}"

    @property
    def reference(self) -> ImageReference:
        host, _, name = self.repository.partition("/")
        return ImageReference(host, name, self.tag, self.digest)

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else self.pinned


def _is_host(text: str) -> bool:
    """As the reference grammar of containers has it: a dot, a port, or localhost."""
    return "." in text or ":" in text or text == "localhost"

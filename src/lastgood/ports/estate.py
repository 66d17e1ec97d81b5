"""The estate as the inside sees it: read from one commit, no I/O after that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lastgood.domain.finding import Finding
from lastgood.domain.message import Message
from lastgood.domain.release import Release, SecretReference
from lastgood.domain.unit import Environment, Site, UnitId
from lastgood.domain.wave import WavePolicy
from lastgood.ports.reviewing import Reviewed, Reviewers


@dataclass(frozen=True)
class Problem:
    """One lint finding: where, what, and the mend. ``severity`` is error or warning. ``finding``: the
    statement of a migration that it is about.
    """

    path: str
    line: int
    what: Message
    mend: Message
    severity: str = "error"
    finding: Finding | None = None


@dataclass(frozen=True)
class Provenance:
    """Who set a key: the winning layer and what it overrode, base first.

    ``layers`` holds (layer name, file, line, value) of every layer that sets the key.
    """

    key: str
    value: Any
    layers: tuple[tuple[str, str, int, Any], ...]


@dataclass(frozen=True)
class Rendered:
    """A unit rendered from one commit. ``release`` has no secret versions yet: they come from
    ``secrets`` when a change is accepted. ``contents`` maps digests to bytes (files, artifact, scripts).
    ``image`` is the image as the service names it, looked up when a change is planned; ``release`` has none.
    """

    release: Release
    secrets: tuple[SecretReference, ...]
    contents: Mapping[str, bytes]
    image: str = ""


class Estate(Protocol):
    """One commit of the estate, loaded."""

    @property
    def commit(self) -> str: ...

    @property
    def environments(self) -> Sequence[Environment]: ...

    @property
    def sites(self) -> Sequence[Site]: ...

    def units(self) -> Sequence[UnitId]: ...

    def waves(self, environment: str) -> WavePolicy:
        """How a change goes over many units there. Raises InvalidInput when there is no such environment."""

    def needs(self) -> Mapping[str, Sequence[str]]:
        """Service → the services that it says to need. Raises InvalidInput."""

    def render(self, unit: UnitId) -> Rendered:
        """Raises InvalidInput naming file, line and mend."""

    def explain(self, unit: UnitId, key: str) -> Provenance:
        """Raises InvalidInput when no layer sets the key (near names are offered)."""

    def lint(self) -> Sequence[Problem]:
        """Every mistake in one pass, but for what ``review`` finds."""

    def review(self, reviewers: Reviewers) -> Sequence[Reviewed]:
        """Every migration, by database and in order, as its driver sees it; nothing is connected to."""


class EstateReader(Protocol):
    """Opens an estate."""

    def at(self, commit: str) -> Estate:
        """Load a commit (any revision Git understands). Raises InvalidInput when it does not exist."""

    def worktree(self) -> Estate:
        """Load the files as they lie in the working tree; ``commit`` is ``worktree``."""

    def dirty(self) -> Sequence[str]:
        """Paths with uncommitted changes."""

    def is_ancestor(self, older: str, newer: str) -> bool: ...

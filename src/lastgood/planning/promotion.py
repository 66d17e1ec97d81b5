"""Whether a release may enter an environment: it was verified in the one before (R1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lastgood.domain.release import Release
from lastgood.domain.unit import Environment


def content_key(release: Release) -> str:
    """A release without what differs by nature between two acceptances: commit and secret versions."""
    return replace(release, secrets=()).digest


def environments_before(name: str, environments: Sequence[Environment]) -> tuple[Environment, ...]:
    """Those that come before ``name``, the nearest first."""
    ordered = sorted(environments, key=lambda e: e.position)
    position = next((i for i, e in enumerate(ordered) if e.name == name), 0)
    return tuple(reversed(ordered[:position]))


def was_verified(rendered: Iterable[Release], verified: Iterable[Release]) -> bool:
    """``rendered``: what this commit means for the units of the environment before; ``verified``: the
    releases of their verified restore points.

    Equal content is what counts, not an equal commit: a change of production's own values alone does not
    need a deploy to environments in which it changes nothing.
    """
    keys = {content_key(release) for release in verified}
    return any(content_key(release) in keys for release in rendered)

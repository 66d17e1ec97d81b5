"""Whether a release may enter an environment: it was verified in the one before (R1)."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from lastgood.domain.release import DatabaseTarget, Migration, Release
from lastgood.domain.unit import Environment


def content_key(release: Release) -> str:
    """A release without what differs by nature between two acceptances: commit and secret versions."""
    return replace(release, secrets=()).digest


def environments_before(name: str, environments: Sequence[Environment]) -> tuple[Environment, ...]:
    """Those that come before ``name``, the nearest first."""
    ordered = sorted(environments, key=lambda e: e.position)
    position = next((i for i, e in enumerate(ordered) if e.name == name), 0)
    return tuple(reversed(ordered[:position]))


Brought = tuple[str, Migration]
"""A resource, and a migration that somebody brought to it."""


def contractions(releases: Iterable[Release]) -> frozenset[Brought]:
    """What came after the last wave, as far as ``releases`` have it."""
    return frozenset(
        (database.resource, migration)
        for release in releases
        for database in release.databases
        for migration in database.migrations
        if migration.contracts
    )


def was_verified(
    rendered: Iterable[Release], verified: Iterable[Release], brought: Collection[Brought] = ()
) -> bool:
    """``rendered``: what this commit means for the units of the environment before; ``verified``: the
    releases of their verified restore points. ``brought``: what any unit there was verified with; a unit that
    waited for it stays on the release that was made without.

    Equal content is what counts, not an equal commit: a change of production's own values alone does not
    need a deploy to environments in which it changes nothing.
    """
    keys = {content_key(release) for release in verified}
    return any(content_key(one) in keys for release in rendered for one in _waited(release, brought))


def _waited(release: Release, brought: Collection[Brought]) -> Iterator[Release]:
    """``release``, and as it was while what others brought still waited."""
    for databases in itertools.product(*(_made_without(one, brought) for one in release.databases)):
        yield replace(release, databases=databases)


def _made_without(database: DatabaseTarget, brought: Collection[Brought]) -> Iterator[DatabaseTarget]:
    yield database
    left = database.migrations
    while left and left[-1].contracts and (database.resource, left[-1]) in brought:
        left = left[:-1]
        held = tuple(migration.name for migration in database.migrations[len(left) :])
        yield replace(database, migrations=left, held=held)

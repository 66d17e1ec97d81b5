"""What drivers say of files, by the name of the driver; nothing is connected to."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace

from lastgood.actions.context import Context
from lastgood.bootstrap.drivers import installed
from lastgood.estate.lint_migrations import findings
from lastgood.ports.estate import Problem
from lastgood.ports.reviewing import Reviewed, Reviews
from lastgood.ports.rewinding import Rewinds


class InstalledReviewers:
    """Implements ``ports.reviewing.Reviewers``."""

    def of(self, driver: str) -> Reviews | None:
        module = _module(driver)
        return module if isinstance(module, Reviews) else None


class InstalledRewinders:
    """Implements ``ports.rewinding.Rewinders``."""

    def of(self, driver: str) -> Rewinds | None:
        module = _module(driver)
        return module if isinstance(module, Rewinds) else None


def _module(driver: str) -> object | None:
    point = installed().get(driver)
    if point is None:
        return None
    try:
        return importlib.import_module(point.module)
    except ImportError:
        return None  # What it needs is not installed on this machine, and need not be to check files.


def review(context: Context, revision: str) -> tuple[Sequence[Reviewed], Sequence[Problem]]:
    """Every migration of the estate, and what hurts in those that can still be written otherwise."""
    reader = context.need_estate()
    estate = reader.at(revision) if revision else reader.worktree()
    found = estate.review(InstalledReviewers())
    there = _deployed(context) if found else frozenset()
    seen = [replace(one, deployed=one.digest in there) for one in found]
    return seen, findings(one for one in seen if not one.deployed)


def _deployed(context: Context) -> frozenset[str]:
    """Digests of the migrations that some unit's release has: those are never edited."""
    with context.store.read() as unit:
        current = [unit.releases.current(one) for one in unit.releases.units()]
        releases = [unit.releases.get(digest) for digest in current if digest]
    return frozenset(m.digest for r in releases for d in r.databases for m in d.migrations)

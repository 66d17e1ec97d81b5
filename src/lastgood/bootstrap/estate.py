"""The estate, opened when it is first asked: status and rollback do not wait for its imports."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from lastgood.ports.estate import Estate, EstateReader


class LazyEstateReader:
    """Implements ``ports.estate.EstateReader``."""

    def __init__(self, path: Path, state: Path) -> None:
        self._path = path
        self._state = state

    @cached_property
    def _reader(self) -> EstateReader:
        from lastgood.bootstrap.reviews import InstalledRewinders
        from lastgood.estate.reader import GitEstateReader
        from lastgood.ports.rewinding import OwnState

        return GitEstateReader(self._path, OwnState(self._state, InstalledRewinders()))

    def at(self, commit: str) -> Estate:
        return self._reader.at(commit)

    def worktree(self) -> Estate:
        return self._reader.worktree()

    def dirty(self) -> Sequence[str]:
        return self._reader.dirty()

    def is_ancestor(self, older: str, newer: str) -> bool:
        return self._reader.is_ancestor(older, newer)

"""What a driver writes into a restore bundle: plain files and shell lines, for the day without lastgood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from lastgood.domain.restore_point import Snapshot
from lastgood.ports.drivers import Generation, MigrationScript

DUMP = "dump.age"
"""The dump's name in its directory: an age file."""


@dataclass(frozen=True)
class BundlePart:
    """What a restore bundle needs of one driver: lines of POSIX shell, and files beside the script.

    The lines run under ``set -eu`` in the bundle's directory, with plain tools only. ``needs`` are commands
    that must be on PATH. ``files`` maps relative paths to content; images are added by the action.
    """

    lines: tuple[str, ...]
    needs: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class DatabasePart:
    """What a restore bundle needs of one database, in a directory of its own: ``files`` by relative path,
    of which ``restore.sh`` runs by itself, and a sealed dump of ``size`` bytes, put into a file by ``copy``
    (which may link to ``dump``, a file here). ``needs`` are commands that must be on PATH. It must not be
    written outside of ``resident``.
    """

    files: Mapping[str, bytes]
    needs: tuple[str, ...]
    dump: Path
    size: int
    copy: Callable[[Path], None]
    resident: Path | None = None


@runtime_checkable
class BundlesGenerations(Protocol):
    """Writes down how a generation is started by hand, without lastgood."""

    def bundle_start(self, generation: Generation, archive: str) -> BundlePart:
        """Load the image from ``archive`` (a file in the bundle that ``docker load`` reads, ``""`` without
        an image) and start all roles; workers of other generations stop first. Secrets are in files
        ``secrets/NAME`` when the lines run (unsealed by the script, removed at its end).
        """


@runtime_checkable
class BundlesTraffic(Protocol):
    """Writes down how traffic is sent to a generation by hand."""

    def bundle_route(self, generation: str) -> BundlePart:
        """The addresses are in the shell variable ``ADDRESSES``, space-separated, when the lines run."""


@runtime_checkable
class BundlesDatabases(Protocol):
    """Writes down how a database is taken back to a snapshot by hand, without lastgood."""

    def snapshot_migrations(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Names of those it has, oldest first; its dump is not read. Raises Rejected when it is not there."""

    def bundle_database(
        self, snapshot: Snapshot, forward: Sequence[MigrationScript], back: Sequence[MigrationScript]
    ) -> DatabasePart:
        """``restore.sh`` loads the snapshot into a database beside the live one, compares rows with the cut
        and deploys ``forward`` there; ``restore.sh swap`` exchanges the names and keeps the failed database;
        ``restore.sh revert NAME`` runs one of the reverse scripts of ``back`` on the live one. Raises
        Rejected when its files are missing or damaged.
        """

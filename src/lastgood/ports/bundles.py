"""What a driver writes into a restore bundle: plain files and shell lines, for the day without lastgood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from lastgood.ports.drivers import Generation


@dataclass(frozen=True)
class BundlePart:
    """What a restore bundle needs of one driver: lines of POSIX shell, and files beside the script.

    The lines run under ``set -eu`` in the bundle's directory, with plain tools only. ``needs`` are commands
    that must be on PATH. ``files`` maps relative paths to content; images are added by the action.
    """

    lines: tuple[str, ...]
    needs: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


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

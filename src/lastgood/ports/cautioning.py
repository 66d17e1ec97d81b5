"""What a driver knows not to be sure of on the very server that it was given."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lastgood.domain.message import Message


@runtime_checkable
class Cautions(Protocol):
    """An ability beside ``drivers.Migrates``, for drivers that reach servers of another make or age too."""

    def caution(self) -> Message | None:
        """What people should know before they agree to a plan; None: nothing. Raises DriverError."""

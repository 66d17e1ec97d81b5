"""The part of the service for what is set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lastgood.actions.context import Context
from lastgood.domain.quarantine import Quarantine, QuarantineKind


class Quarantines:
    """One method per verb, as in ``Service``."""

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def list(self, *, lifted: bool = False) -> Sequence[Quarantine]:
        """What is set aside, newest first; ``lifted``: also what was lifted again."""
        from lastgood.actions.quarantine import quarantined

        return quarantined(self._context(), lifted=lifted)

    def add(self, kind: QuarantineKind, name: str, *, service: str = "", reason: str) -> Quarantine:
        from lastgood.actions.quarantine import quarantine_add

        return quarantine_add(self._context(), kind, name, service=service, reason=reason)

    def lift(self, what: str, reason: str) -> Sequence[Quarantine]:
        """Returns what was lifted."""
        from lastgood.actions.quarantine import quarantine_lift

        return quarantine_lift(self._context(), what, reason=reason)

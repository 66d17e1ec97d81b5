"""The part of the service for databases that go back to a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lastgood.actions.context import Context
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import ensure_runner
from lastgood.domain.capture import Capture
from lastgood.domain.expiry import Expiry
from lastgood.domain.restore_plan import RestorePlan
from lastgood.domain.rollout import Rollout
from lastgood.domain.salvage import WritesSince
from lastgood.domain.unit import UnitId


class Databases:
    """One method per verb, as in ``Service``."""

    def __init__(self, places: Places, context: Callable[[], Context]) -> None:
        self._places = places
        self._context = context

    def plan_restore(self, unit: UnitId, *, database: str = "", snapshot: str = "") -> RestorePlan:
        """What it would do, and what was written since the cut, counted now."""
        from lastgood.actions.restore import plan_restore

        return plan_restore(self._context(), unit, database=database, snapshot=snapshot)

    def restore(
        self,
        unit: UnitId,
        *,
        database: str = "",
        snapshot: str = "",
        reason: str = "",
        accept_loss: bool = False,
    ) -> Rollout:
        """Accept it and see to it that a runner brings it to its end."""
        from lastgood.actions.restore import restore

        ensure_runner(self._places)
        rollout = restore(
            self._context(), unit, database=database, snapshot=snapshot, reason=reason,
            accept_loss=accept_loss,
        )  # fmt: skip
        ensure_runner(self._places)
        return rollout

    def forget(self, unit: UnitId, *, database: str = "", reason: str) -> Capture:
        """Have the server keep no more writes; nobody restores after that with what was written since."""
        from lastgood.actions.restore import forget

        return forget(self._context(), unit, database=database, reason=reason)

    def writes_kept(self, unit: UnitId) -> Sequence[WritesSince]:
        """What the servers hold for the unit's open captures, counted now."""
        from lastgood.actions.restore import writes_kept

        return writes_kept(self._context(), unit)

    def plan_expiry(self, unit: UnitId, *, days: int = 0) -> Expiry:
        """Copies that are older than ``days``, else than the databases declare, and that nothing needs."""
        from lastgood.actions.expire import plan_expiry

        return plan_expiry(self._context(), unit, days=days)

    def expire(self, planned: Expiry, *, reason: str) -> Expiry:
        """Have what was planned gone."""
        from lastgood.actions.expire import expire

        return expire(self._context(), planned, reason=reason)

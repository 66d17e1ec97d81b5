"""The part of the service for changes over many units; and how a runner is kept up while one follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from lastgood.actions.context import Context
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import ensure_runner, runner_pid
from lastgood.domain.change import Change, ChangePlan
from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan
from lastgood.domain.status import ChangeProgress

T = TypeVar("T")
Told = Callable[[Message], None]
"""Hears what begins and takes long."""


def unheard(step: Message) -> None:
    """Where nobody watches."""


class ManyUnits:
    """One method per verb, as in ``Service``. ``wanted`` are units or patterns such as ``shop@prod/*``."""

    def __init__(self, places: Places, context: Callable[[], Context]) -> None:
        self._places = places
        self._context = context

    def plan(
        self,
        wanted: Sequence[str],
        revision: str = "HEAD",
        *,
        rehearse: bool = True,
        told: Told = unheard,
    ) -> tuple[ChangePlan, Sequence[Plan]]:
        """The waves, and the plan of each unit in their order."""
        from lastgood.actions.plan_many import plan_many, select

        context = self._context()
        planned = plan_many(context, select(context, wanted, revision), rehearse=rehearse, told=told)
        return planned.plan, [one.plan for one in planned.units]

    def deploy(
        self,
        wanted: Sequence[str],
        *,
        revision: str = "HEAD",
        reason: str,
        owner: str,
        impact: str,
        plan: str = "",
        rehearse: bool = True,
        told: Told = unheard,
    ) -> Change:
        """All of them are accepted, or none."""
        from lastgood.actions.deploy import require_change
        from lastgood.actions.deploy_many import deploy_many

        require_change(reason=reason, owner=owner, impact=impact)
        ensure_runner(self._places)
        change = deploy_many(
            self._context(), wanted, revision=revision, reason=reason, owner=owner, impact=impact, plan=plan,
            rehearse=rehearse, told=told,
        )  # fmt: skip
        ensure_runner(self._places)
        return change

    def stop(self, change: str, reason: str) -> Change:
        """No further unit begins."""
        from lastgood.actions.stop import stop

        stopped = stop(self._context(), change, reason=reason)
        ensure_runner(self._places)
        return stopped

    def rollback(self, change: str, reason: str = "") -> str:
        """Take back every unit of a change; returns the id of the change to follow."""
        from lastgood.actions.rollback_many import rollback_many

        ensure_runner(self._places)
        going = rollback_many(self._context(), change, reason=reason)
        ensure_runner(self._places)
        return going

    def plan_back(self, change: str) -> ChangePlan:
        """Which units would go back, in which order."""
        from lastgood.actions.rollback_many import plan_change_back

        return plan_change_back(self._context(), change)

    def list(self, limit: int = 50) -> Sequence[Change]:
        from lastgood.actions.change_status import list_changes

        return list_changes(self._context(), limit)

    def show(self, change: str) -> ChangeProgress:
        from lastgood.actions.change_status import look_at_change

        return look_at_change(self._context(), change)

    def follow(self, change: str, wanted: Callable[[ChangeProgress], bool]) -> Iterator[ChangeProgress]:
        """Progress of each unit until ``wanted`` or the end, the way back of all included."""
        from lastgood.actions.change_status import follow_change

        followed = follow_change(self._context(), change, wanted)
        return kept_up(self._places, followed, lambda p: p.change.id if p.is_open else "")


def kept_up(places: Places, followed: Iterator[T], open_id: Callable[[T], str]) -> Iterator[T]:
    """A runner that died while something is open (``open_id`` names it) is started again.

    Raises DriverError when it does not stay up.
    """
    restarts = 0
    for looks, progress in enumerate(followed, 1):
        yield progress
        if looks % 10 == 0 and open_id(progress) and not runner_pid(places):
            restarts += 1
            if restarts > 5:
                raise DriverError(
                    N_("the runner does not stay up; {rollout} waits for it"),
                    todo=N_("See {log}, mend the cause, then: lastgood run"),
                    rollout=open_id(progress),
                    log=str(places.runner_log),
                )
            ensure_runner(places)

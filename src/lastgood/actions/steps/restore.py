"""Going back to a snapshot. Every call to the driver is one of the same restore: its key is the rollout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from lastgood.actions.abilities import neighbours_of, restores_of
from lastgood.actions.captures import Servers, end_capture, snapshot_of, writes_of
from lastgood.actions.needs import refuse_shape
from lastgood.actions.steps.tools import Handler, database_at, release_at
from lastgood.domain.capture import Capture
from lastgood.domain.errors import Conflict, LastgoodError, OutcomeUnknown, Unreachable
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.quarantine import Quarantine, QuarantineKind
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.rollout import RolloutState
from lastgood.domain.salvage import Salvage, Swapped, TableWrites
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.restoring import Restores
from lastgood.ports.warm import KeepsWarm

ROUNDS = 20
SMALL = 500
"""Rows: a round that carried fewer leaves a tail that is over at once."""
SHORT = 1.0
"""Seconds: so is what was written during a round as short as this."""
LESS = 0.9
"""A round that takes more than this part of the one before gains nothing: the shop writes as fast as we
carry, and one more would only take longer, and the fence after it as well.
"""
PATIENCE = 300.0
"""Seconds for which a server that does not answer is tried again while its database may be closed."""
KEPT = timedelta(days=30)
"""How long a failed database is kept at least."""
KNOWN = 200
"""Rollouts that are looked through for restores that stopped."""
T = TypeVar("T")


class RestoreStep(Handler):
    """Base of the steps on one restore."""

    def driver(self, context: StepContext) -> Restores:
        return restores_of(self.tools.drivers, *database_at(context, self.tools.vault))

    @staticmethod
    def capture(context: StepContext) -> Capture:
        """Raises Conflict when it was ended: what was written since is not kept any more."""
        wanted = context.step.params["snapshot"]
        with context.store.read() as unit:
            found = next((c for c in unit.captures.list() if c.snapshot == wanted), None)
        if found is None:
            raise Conflict(
                N_("the writes after the cut of {snapshot} are not kept any more"),
                todo=N_("Look again: lastgood restore {unit}"),
                snapshot=wanted, unit=str(release_at(context).unit),
            )  # fmt: skip
        return found

    def snapshot(self, context: StepContext) -> Snapshot:
        return snapshot_of(context.store, self.capture(context))

    @staticmethod
    def keep(context: StepContext) -> list[str]:
        return [str(table) for table in context.step.params["keep"]]

    @staticmethod
    def set_aside(context: StepContext, swapped: Swapped, restore: str) -> None:
        """The failed database is never deleted before its time (law 6)."""
        resource, now = str(context.step.params["resource"]), context.clock.now()
        reason = Message(N_("{resource} went back to a snapshot; this is what it was before"),
                         {"resource": resource})  # fmt: skip
        made = Quarantine(
            f"q-{restore}-database", QuarantineKind.DATABASE, swapped.failed, reason, "lastgood", now,
            resource=resource, until=now + KEPT,
        )  # fmt: skip
        with context.store.write() as unit:
            unit.quarantine.put(replace(made, unit=str(unit.rollouts.get(restore).unit)))

    def end(self, context: StepContext, restore: str) -> Result:
        """The writes since the cut are kept no more."""
        wanted = context.step.params["snapshot"]
        with context.store.read() as unit:
            capture = next((c for c in unit.captures.list() if c.snapshot == wanted), None)
        if capture is None:
            return {"ended": True}
        because = Message(N_("{rollout} went back to it"), {"rollout": restore})
        release, _ = database_at(context, self.tools.vault)
        servers = Servers(context.store, self.tools.drivers, self.tools.vault)
        why = end_capture(servers, release, capture, because, context.clock.now())
        return {"ended": why is None, "why": str(why or "")}


class CheckRestore(RestoreStep):
    """Asked again: since the plan was made somebody may have come to need what the snapshot lacks."""

    def run(self, context: StepContext) -> Result:
        capture = self.capture(context)
        with context.store.read() as unit:
            refuse_shape(unit, capture)
            stopped = [
                rollout.undoes or rollout.id
                for rollout in unit.rollouts.list(limit=KNOWN)
                if rollout.kind is PlanKind.RESTORE
                and rollout.state is RolloutState.INCOMPLETE
                and capture.resource in rollout.plan.resources
            ]
        driver = self.driver(context)
        for key in stopped:
            driver.abandon(key)
        driver.refuse_restore(self.snapshot(context), self.keep(context))
        return {"abandoned": stopped} if stopped else {}


class PrepareCopy(RestoreStep):
    def run(self, context: StepContext) -> Result:
        driver, snapshot = self.driver(context), self.snapshot(context)
        there = driver.standing_by(snapshot) if isinstance(driver, KeepsWarm) else None
        touched = {"warm_unusable": str(there.trouble)} if there is not None and not there.usable else {}
        return {"copy": driver.prepare_copy(snapshot, context.program), **touched}


class CarryOver(RestoreStep):
    """Again and again while the live database is in full use, until what is left is small.

    A shop that writes faster than can be carried over has a longer fence, not an endless restore.
    """

    def run(self, context: StepContext) -> Result:
        driver, snapshot, keep = self.driver(context), self.snapshot(context), self.keep(context)
        before, rounds, last = 0, 0, math.inf
        while True:
            began = context.clock.monotonic()
            salvage = driver.carry_over(snapshot, context.program, keep)
            rounds += 1
            rows = sum(salvage.carried.values())
            took = context.clock.monotonic() - began
            context.note(carried=rows)
            if rows - before < SMALL or took < SHORT or took > LESS * last or rounds >= ROUNDS:
                return {**_counts(salvage), "rounds": rounds}
            before, last = rows, took


class SwapDatabase(RestoreStep):
    def run(self, context: StepContext) -> Result:
        driver, snapshot, keep = self.driver(context), self.snapshot(context), self.keep(context)
        # It opens what a crash left closed: a closed database can't be counted in.
        persistently(context, lambda: driver.carry_over(snapshot, context.program, keep))
        left = self._left_behind(context, driver, snapshot)
        swapped = persistently(context, lambda: driver.swap(snapshot, context.program, keep))
        self.set_aside(context, swapped, context.program)
        return {**_told(swapped), **left}

    def _left_behind(self, context: StepContext, driver: Restores, snapshot: Snapshot) -> Result:
        """What stays in the failed database only, counted once more. Raises Conflict where that is more than
        was accepted; the copy is dropped then.
        """
        accepted = context.step.params["accepted"]
        writes = writes_of(self.tools.drivers, *database_at(context, self.tools.vault), snapshot)
        beyond = [w for w in writes.lost if w.table not in accepted["tables"]]
        unknown = [str(reason) for reason in writes.reasons]
        knows = neighbours_of(self.tools.drivers, *database_at(context, self.tools.vault))
        left = [str(one) for one in knows.neighbours(snapshot).left] if knows else []
        known = [*accepted["unknown"], *accepted.get("left", ())]
        if not beyond and {*unknown, *left} <= set(known):
            return {"stayed": {w.table: w.rows for w in writes.lost}, "unknown": unknown, "left": left}
        if persistently(context, lambda: driver.abandon(context.program)):
            # Swapped before a crash: nothing is kept of the new database that could be counted.
            return {"stayed": dict(accepted["tables"]), "unknown": list(accepted["unknown"]),
                    "left": list(accepted.get("left", ()))}  # fmt: skip
        raise _not_accepted(
            context,
            beyond,
            [why for why in unknown if why not in known],
            [one for one in left if one not in known],
        )


class EndCapture(RestoreStep):
    """The database is back: that the server is still told to keep writes is no reason to call it failed."""

    def run(self, context: StepContext) -> Result:
        return self.end(context, context.program)


class AbandonCopy(RestoreStep):
    """What a restore that failed left behind: its copy, and a database that may still be closed. Or it did
    go back, and only the answer was lost: then what belongs to the swap is done here.
    """

    def run(self, context: StepContext) -> Result:
        with context.store.read() as unit:
            failed = unit.rollouts.get(context.program).undoes
        driver = self.driver(context)
        if not persistently(context, lambda: driver.abandon(failed)):
            return {"abandoned": failed}
        try:
            snapshot, keep = self.snapshot(context), self.keep(context)
            swapped = persistently(context, lambda: driver.swap(snapshot, failed, keep))
        except LastgoodError as error:
            if error.own_state:
                raise
            return {"swapped": {"unread": str(error.what)}}
        self.set_aside(context, swapped, failed)
        self.end(context, failed)
        return {"swapped": _told(swapped)}


def persistently(context: StepContext, act: Callable[[], T]) -> T:
    """A database that is closed must not stay so because a server was away for a minute."""
    deadline, pause = context.clock.monotonic() + PATIENCE, 0.2
    while True:
        try:
            return act()
        except (Unreachable, OutcomeUnknown):
            if context.clock.monotonic() >= deadline:
                raise
        context.clock.sleep(pause)
        pause = min(pause * 2, 5.0)


def _not_accepted(
    context: StepContext, beyond: Sequence[TableWrites], unknown: Sequence[str], left: Sequence[str]
) -> Conflict:
    what = N_("nobody accepted that {left}")
    if beyond:
        what = N_("rows would stay in the failed database only that nobody accepted to leave there: {lost}")
    elif unknown:
        what = N_("it is not known any more what was written since: {unknown}")
    return Conflict(
        what,
        todo=N_("Look again: lastgood restore {unit}"),
        lost=", ".join(f"{w.table} ({w.rows})" for w in beyond), unknown="; ".join(unknown),
        left="; ".join(left),
        unit=str(release_at(context).unit),
    )  # fmt: skip


def _told(swapped: Swapped) -> dict[str, object]:
    return {
        "failed": swapped.failed,
        **_counts(swapped.salvage),
        "fence_seconds": swapped.fence_seconds,
        "swap_seconds": swapped.swap_seconds,
        "notes": [str(note) for note in swapped.notes],
    }


def _counts(salvage: Salvage) -> dict[str, object]:
    return {"carried": dict(salvage.carried), "conflicts": dict(salvage.conflicts)}

"""What the ends of programs share, and how a restore ends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lastgood.domain.criterion import Verdict
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, PlanKind, StepKind
from lastgood.domain.rollout import Mark, Rollout, RolloutState, way_back_id
from lastgood.domain.unit import UnitId
from lastgood.engine.handlers import Failure
from lastgood.planning.moves import begun
from lastgood.planning.users import STARTS, STOPS, stopped_by
from lastgood.ports.persistence import UnitOfWork

ENDED = "sessions_ended"
"""Where the result of a step says whose sessions were ended for it."""


def restore_ended(
    unit: UnitOfWork, rollout: Rollout, failure: Failure | None, now: datetime
) -> tuple[RolloutState, Message]:
    """A restore that stopped before the swap changed nothing; what it prepared is dropped by a program of its
    own, so that this, too, goes on after a crash.
    """
    if rollout.undoes:
        return _abandoned(unit, rollout, failure)
    done = swapped(unit, rollout)
    if failure is None:
        return _with_users(unit, rollout, *_restored(rollout, done))
    if done:
        return RolloutState.INCOMPLETE, with_step(N_("restored, but it stopped at {step}: {what}"), failure)
    began = started_steps(unit, rollout.id)
    steps = begun(rollout.plan.way_back, began)
    if not steps:
        return RolloutState.FAILED, with_step(N_("nothing was changed: {what}"), failure)
    plan = Plan(
        PlanKind.RESTORE, rollout.unit, rollout.base, rollout.target, rollout.plan.commit, steps,
        resources=rollout.plan.resources,
    )  # fmt: skip
    back = Rollout(
        way_back_id(rollout.id), PlanKind.RESTORE, rollout.unit, rollout.base, rollout.target, plan,
        rollout.change, RolloutState.ACCEPTED, now, undoes=rollout.id,
    )  # fmt: skip
    unit.rollouts.add(back)
    unit.locks.move(rollout.id, back.id)
    unit.wishes.enqueue(back.id)
    return RolloutState.RETURNED, with_step(N_("not restored: {what}"), failure)


def _abandoned(unit: UnitOfWork, rollout: Rollout, failure: Failure | None) -> tuple[RolloutState, Message]:
    """Whether the names were swapped is what was seen on the server, never what an error is called."""
    resource, why = ", ".join(rollout.plan.resources), unit.rollouts.get(rollout.undoes).outcome
    words: dict[str, object] = {"resource": resource, "why": why}
    if failure is not None:
        template = N_(
            "{why}. And the copy could not be dropped: {what}. The next lastgood restore does; look whether "
            "{resource} is open. {todo}"
        )
        return RolloutState.INCOMPLETE, Message(
            template, {**words, "what": failure.what, "todo": failure.todo}
        )
    done = swapped(unit, rollout)
    if not done:
        return RolloutState.FAILED, Message(N_("{why}. {resource} is as it was"), words)
    words["what"] = str(why.params.get("what", why))
    if "unread" in done:
        template = N_(
            "{resource} went back, but it stopped after that: {what}. How its failed database is called, and "
            "what was carried over, could not be read: {unread}"
        )
        return RolloutState.INCOMPLETE, Message(template, {**words, "unread": done["unread"]})
    rows, left = sum(done["carried"].values()), sum(done["conflicts"].values())
    template = N_(
        "{resource} went back, but it stopped after that: {what}. {rows} later writes were carried over, "
        "{left} rows are in conflict and listed in its table lastgood.conflicts (MariaDB, SQLite: "
        "lastgood_conflicts); the failed database is kept as {failed}. The criteria were not measured again"
    )
    words |= {"rows": rows, "left": left, "failed": done["failed"]}
    return RolloutState.INCOMPLETE, _stayed(Message(template, words), done)


def _restored(rollout: Rollout, done: dict[str, Any]) -> tuple[RolloutState, Message]:
    state, verdict = measured_again(rollout)
    rows, left = sum(done["carried"].values()), sum(done["conflicts"].values())
    words = {"resource": ", ".join(rollout.plan.resources), "verdict": verdict, "rows": rows, "left": left,
             "failed": done["failed"]}  # fmt: skip
    all_over = N_(
        "{verdict}: {resource} went back, and {rows} later writes were carried over; the failed database is "
        "kept as {failed}"
    )
    some_left = N_(
        "{verdict}: {resource} went back, and {rows} later writes were carried over; {left} rows are in "
        "conflict and listed in its table lastgood.conflicts (MariaDB, SQLite: lastgood_conflicts); the "
        "failed database is kept as {failed}"
    )
    return state, _stayed(Message(some_left if left else all_over, words), done)


def _with_users(
    unit: UnitOfWork, rollout: Rollout, state: RolloutState, outcome: Message
) -> tuple[RolloutState, Message]:
    """And who met a closed database: which criteria are not good, and what does not run since."""
    seen = result_of(unit, rollout.id, "users")
    gate = rollout.gate
    bad = [f for f in gate.findings if f.verdict is gate.verdict] if gate else []
    if len(seen.get("units", ())) > 1:
        words: dict[str, object] = {"outcome": outcome, "units": ", ".join(seen["units"])}
        outcome = Message(N_("{outcome}. It was closed to {units}"), words)
        if bad and gate and gate.verdict is not Verdict.PASSED:
            words = {"outcome": outcome, "criteria": ", ".join(f.criterion for f in bad)}
            outcome = Message(N_("{outcome}. Not good, or not known: {criteria}"), words)
    if unseen := seen.get("unseen"):
        words = {"outcome": outcome, "units": "; ".join(f"{name}: {why}" for name, why in unseen.items())}
        outcome = Message(N_("{outcome}. Whether it runs was not seen: {units}"), words)
    if down := seen.get("down"):
        first = next(iter(down)).rpartition(" ")[0]
        words = {"outcome": outcome, "first": first,
                 "roles": "; ".join(f"{name}: {why}" for name, why in down.items())}  # fmt: skip
        template = N_("{outcome}. It does not run: {roles}. Start it again: lastgood heal {first}")
        return RolloutState.FAILED, Message(template, words)
    return state, outcome


def _stayed(outcome: Message, done: dict[str, Any]) -> Message:
    """``outcome``, and what it cost, as far as that was counted just before the swap."""
    if stayed := done.get("stayed"):
        words = {"outcome": outcome, "tables": ", ".join(f"{name} ({rows})" for name, rows in stayed.items())}
        outcome = Message(
            N_("{outcome}. As accepted, rows stayed in the failed database only: {tables}"), words
        )
    if unknown := done.get("unknown"):
        words = {"outcome": outcome, "unknown": "; ".join(unknown)}
        outcome = Message(N_("{outcome}. What else was written since is not known: {unknown}"), words)
    if left := done.get("left"):
        outcome = Message(N_("{outcome}. As accepted, {left}"), {"outcome": outcome, "left": "; ".join(left)})
    if notes := done.get("notes"):
        words = {"outcome": outcome, "notes": "; ".join(notes)}
        outcome = Message(N_("{outcome}. Still to be done: {notes}"), words)
    return outcome


def swapped(unit: UnitOfWork, rollout: Rollout) -> dict[str, Any]:
    """What the swap of a restore did, empty when there was none."""
    if rollout.kind is not PlanKind.RESTORE:
        return {}
    if rollout.undoes:
        found: dict[str, Any] = result_of(unit, rollout.id, "back:abandon").get("swapped", {})
        return found
    return result_of(unit, rollout.id, "swap")


def measured_again(rollout: Rollout) -> tuple[RolloutState, Message]:
    verdict = rollout.gate.verdict if rollout.gate else Verdict.INCONCLUSIVE
    if verdict is Verdict.PASSED:
        return RolloutState.VERIFIED, Message(N_("back, and verified good"))
    if verdict is Verdict.FAILED:
        return RolloutState.FAILED, Message(
            N_("back, but the criteria are still broken: look for another cause")
        )
    return RolloutState.UNVERIFIED, Message(N_("back, but unverified: not enough evidence yet"))


def tell_conflicts(unit: UnitOfWork, rollout: Rollout, outcome: Message) -> Message:
    """``outcome``, and the rows that a revert had to leave because somebody changed them since."""
    template = N_(
        "{outcome}. Rows of {resource} were changed since and were not undone: {rows}; they are listed with "
        "all values in its table lastgood.undo_conflicts"
    )
    for step in rollout.plan.steps:
        left = result_of(unit, rollout.id, step.id).get("undo_conflicts")
        if step.kind is StepKind.REVERT_SCHEMA and left:
            rows = ", ".join(f"{table} {count}" for table, count in left.items())
            words = {"outcome": outcome, "resource": step.params["resource"], "rows": rows}
            outcome = Message(template, words)
    return outcome


def sessions_ended(unit: UnitOfWork, rollout: Rollout) -> dict[str, Any]:
    """Whose sessions a migration of it did not wait for, for the audit; empty where there are none."""
    found = [s for step in rollout.plan.steps for s in result_of(unit, rollout.id, step.id).get(ENDED, ())]
    return {ENDED: found} if found else {}


def tell_ended(outcome: Message, ended: dict[str, Any]) -> Message:
    if not ended:
        return outcome
    words = {"outcome": outcome, "sessions": "; ".join(ended[ENDED])}
    return Message(N_("{outcome}. Idle in a transaction and in its way, ended: {sessions}"), words)


def tell_stopped(unit: UnitOfWork, rollout: Rollout, outcome: Message) -> Message:
    """``outcome``, and which other units on the database stand still, because it ended in between."""
    standing = [name for name in stopped_by(rollout.plan) if _stands_still(unit, [rollout], name)]
    if not standing:
        return outcome
    template = N_(
        "{outcome}. Stopped with it: {units}. The same way once more starts them; or by hand: lastgood heal "
        "{first}"
    )
    words = {"outcome": outcome, "units": ", ".join(standing), "first": standing[0]}
    return Message(template, words)


def left_standing(unit: UnitOfWork, unit_id: UnitId) -> tuple[UnitId, ...]:
    """Units that stand still since a program of ``unit_id`` stopped them and ended before it started them
    again, and that nobody moved since.
    """
    ended = (RolloutState.FAILED, RolloutState.INCOMPLETE)
    rollouts = list(itertools.takewhile(lambda one: one.state in ended, unit.rollouts.list(unit_id)))[::-1]
    found = []
    for name in dict.fromkeys(name for one in rollouts for name in stopped_by(one.plan)):
        later = unit.rollouts.list(UnitId.parse(name), 1)
        moved = bool(later) and later[0].created_at > rollouts[-1].created_at
        if not moved and _stands_still(unit, rollouts, name):
            found.append(UnitId.parse(name))
    return tuple(found)


def _stands_still(unit: UnitOfWork, rollouts: Sequence[Rollout], name: str) -> bool:
    """Whether it was told to stop after it was last started again, by these programs, the oldest first, or
    those that they undo.
    """
    stands = False
    for rollout in rollouts:
        starts = _last_starts(rollout.plan, name)
        for entry in [e for r in (rollout.undoes, rollout.id) if r for e in unit.journal.entries(r)]:
            if not entry.step.endswith(f":{name}"):
                continue
            if entry.mark is Mark.INTENT and entry.step.startswith(STOPS):
                stands = True
            elif entry.mark is Mark.DONE and entry.step in starts:
                stands = False
    return stands


def _last_starts(plan: Plan, name: str) -> tuple[str, ...]:
    """The steps by which it has taken up all of its work, forward and back."""
    found = {}
    for step in (*plan.steps, *plan.way_back):
        if step.id.startswith(STARTS) and step.id.endswith(f":{name}"):
            found[step.id.partition("lift:")[0]] = step.id.partition("lift:")[2]
    return tuple(f"{back}lift:{rest}" for rest in found.values() for back in ("", "back:"))


def started_steps(unit: UnitOfWork, rollout: str) -> frozenset[str]:
    """Ids of the steps that may have had an effect: their intent is in the journal."""
    return frozenset(e.step for e in unit.journal.entries(rollout) if e.mark is Mark.INTENT)


def result_of(unit: UnitOfWork, rollout: str, step: str) -> dict[str, Any]:
    last = unit.journal.last(rollout, step)
    return dict(last.data) if last and last.mark is Mark.DONE else {}


def with_step(template: str, failure: Failure) -> Message:
    return Message(template, {"step": failure.step, "what": str(failure.what)})

"""The words and colours of states, times and estimates."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from lastgood.domain.change import Change, ChangeState
from lastgood.domain.criterion import Verdict
from lastgood.domain.message import N_
from lastgood.domain.plan import Estimate, PlanKind, Reversibility, Step, StepKind
from lastgood.domain.restore_point import PointKind
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.translation import Translator

STATES = {
    RolloutState.ACCEPTED: (N_("accepted"), "cyan"),
    RolloutState.RUNNING: (N_("running"), "cyan"),
    RolloutState.GUARDING: (N_("guarding"), "cyan"),
    RolloutState.VERIFIED: (N_("verified good"), "green"),
    RolloutState.UNVERIFIED: (N_("unverified"), "yellow"),
    RolloutState.ACCEPTED_EARLY: (N_("accepted by hand"), "green"),
    RolloutState.FAILED: (N_("failed"), "red"),
    RolloutState.RETURNED: (N_("taken back"), "yellow"),
    RolloutState.INCOMPLETE: (N_("incomplete"), "red"),
}
BACK_STATES = {
    **STATES,
    RolloutState.RUNNING: (N_("going back"), "yellow"),
    RolloutState.VERIFIED: (N_("back, verified"), "green"),
    RolloutState.UNVERIFIED: (N_("back, unverified"), "yellow"),
    RolloutState.FAILED: (N_("back, still bad"), "red"),
    RolloutState.RETURNED: (N_("goes once more"), "yellow"),
    RolloutState.INCOMPLETE: (N_("back stopped"), "red"),
}
RESTORE_STATES = {
    **STATES,
    RolloutState.RUNNING: (N_("going back"), "yellow"),
    RolloutState.VERIFIED: (N_("restored, verified"), "green"),
    RolloutState.UNVERIFIED: (N_("restored, unverified"), "yellow"),
    RolloutState.FAILED: (N_("restored, still bad"), "red"),
    RolloutState.RETURNED: (N_("not restored"), "red"),
}
TIDIED_STATES = {**RESTORE_STATES, RolloutState.FAILED: (N_("not restored"), "red")}
"""Of a restore that stopped before the swap, and of what drops its copy."""
CHANGE_STATES = {
    ChangeState.ACCEPTED: (N_("accepted"), "cyan"),
    ChangeState.RUNNING: (N_("rolling out"), "cyan"),
    ChangeState.GUARDING: (N_("guarding"), "cyan"),
    ChangeState.VERIFIED: (N_("verified good"), "green"),
    ChangeState.UNVERIFIED: (N_("unverified"), "yellow"),
    ChangeState.STOPPED: (N_("stopped"), "yellow"),
    ChangeState.FAILED: (N_("failed"), "red"),
    ChangeState.RETURNED: (N_("taken back"), "yellow"),
    ChangeState.INCOMPLETE: (N_("incomplete"), "red"),
}
BACK_CHANGE_STATES = {
    **CHANGE_STATES,
    ChangeState.RUNNING: (N_("going back"), "yellow"),
    ChangeState.VERIFIED: (N_("back, verified"), "green"),
    ChangeState.UNVERIFIED: (N_("back, unverified"), "yellow"),
    ChangeState.FAILED: (N_("back, still bad"), "red"),
}
KINDS = {
    PlanKind.DEPLOY: N_("deploy"),
    PlanKind.ROLLBACK: N_("rollback"),
    PlanKind.HEAL: N_("heal"),
    PlanKind.RESTORE: N_("restore"),
}
VERDICTS = {
    Verdict.PASSED: (N_("passed"), "green"),
    Verdict.FAILED: (N_("failed"), "red"),
    Verdict.INCONCLUSIVE: (N_("inconclusive"), "yellow"),
}
POINTS = {
    PointKind.VERIFIED: (N_("verified good"), "green"),
    PointKind.ACCEPTED: (N_("accepted by hand"), "green"),
    PointKind.BASELINE: (N_("baseline"), "yellow"),
    PointKind.RENEWED: (N_("renewed, not measured"), "yellow"),
}
REVERSIBLE = {
    Reversibility.NOTHING: (N_("nothing to undo"), "dim"),
    Reversibility.WARM: (N_("warm"), "green"),
    Reversibility.EXACT: (N_("exact"), "green"),
    Reversibility.BY_SNAPSHOT: (N_("by snapshot"), "yellow"),
    Reversibility.FORWARD_ONLY: (N_("forward only"), "red"),
}
DECLARED = (StepKind.WATCH_CANARY, StepKind.WATCH, StepKind.GUARD, StepKind.VERIFY)


def state_word(rollout: Rollout) -> tuple[str, str]:
    """Template and colour of what a rollout has come to."""
    if rollout.kind is PlanKind.RESTORE:
        measured = rollout.gate is not None and not rollout.undoes
        return (RESTORE_STATES if measured else TIDIED_STATES)[rollout.state]
    return (BACK_STATES if rollout.kind is PlanKind.ROLLBACK else STATES)[rollout.state]


def change_word(change: Change) -> tuple[str, str]:
    """Template and colour of what a change has come to."""
    return (BACK_CHANGE_STATES if change.kind is PlanKind.ROLLBACK else CHANGE_STATES)[change.state]


def seconds(value: float) -> str:
    """``< 0.01 s``, ``0.04 s``, ``2.3 s``, ``45 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if value < 0.005:
        return "< 0.01 s"
    if value < 0.095:
        return f"{value:.2f} s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def estimate(t: Translator, known: Estimate) -> str:
    """With the number of measurements it rests on; says so when there are none."""
    if known.seconds is None:
        return t.text(N_("no measurements yet"))
    if known.measured == 0:
        return t.text(N_("{time}, as declared"), time=seconds(known.seconds))
    return t.text(N_("≈ {time}, from {count} measured"), time=seconds(known.seconds), count=known.measured)


def together(steps: Iterable[Step]) -> Estimate:
    """The sum of what was measured; None when any step never was. The fewest measurements count."""
    known = [s.estimate for s in steps if s.kind not in DECLARED]
    if not known or any(e.seconds is None for e in known):
        return Estimate()
    return Estimate(sum(e.seconds or 0.0 for e in known), min(e.measured for e in known))


def moment(at: datetime, now: datetime | None = None) -> str:
    """Local time of day; with its date when that is not today."""
    local = at.astimezone()
    today = (now or datetime.now(tz=local.tzinfo)).astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


def percent(share: float) -> str:
    """``99.6 %``; never rounded up to 100 when it is not."""
    value = share * 100
    if value == int(value):
        return f"{int(value)} %"
    return f"{min(value, 99.99):.2f} %" if value > 99.9 else f"{value:.1f} %"


def commit(name: str) -> str:
    return name[:10] if name else "-"

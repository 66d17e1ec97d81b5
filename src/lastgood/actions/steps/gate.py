"""Watches the criteria: at each share of the requests, with all of them, through the guard window, and again
after a return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lastgood.actions.abilities import generation_id
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.actions.steps.watching import Watching
from lastgood.domain.criterion import Criterion, Finding, GateResult, SignalKind, Verdict
from lastgood.domain.errors import GateFailed, GateInconclusive
from lastgood.domain.message import N_
from lastgood.domain.plan import StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import RolloutState
from lastgood.engine.handlers import Result, StepContext
from lastgood.planning.canary import criteria_of_generation


class Watch(Handler):
    """WATCH and GUARD fail on a broken criterion; VERIFY only reports what it measured."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        kind = context.step.kind
        with context.store.write() as unit:
            unit.releases.set_current(release.unit, release.digest, context.clock.now())
            if kind is StepKind.GUARD:
                unit.rollouts.move(context.program, RolloutState.GUARDING)
        settle = float(context.step.params.get("settle", 0.0))
        if settle and context.last_note("since") is None:
            context.clock.sleep(settle)
        criteria, others = _with_others(context, release)
        watching = Watching.resume(self.tools, context, release, criteria, others)
        result, accepted = watching.until_over()
        keep_gate(context, result)
        if kind is not StepKind.VERIFY:
            refuse_broken(result, watching)
        return {"verdict": result.verdict.value, "accepted": accepted}


def _with_others(context: StepContext, release: Release) -> tuple[Sequence[Criterion], Mapping[str, Release]]:
    """And those of the step's other units, which stood still together with this one, under their names."""
    criteria, others = list(release.criteria), {}
    with context.store.read() as unit:
        theirs = [unit.releases.get(str(name)) for name in context.step.params.get("others", ())]
    for other in theirs:
        for criterion in other.criteria:
            named = replace(criterion, name=f"{other.unit} {criterion.name}")
            criteria.append(named)
            others[named.name] = other
    return criteria, others


class WatchCanary(Handler):
    """Judges the new generation by its share of the requests; the unit is still on the old release.

    A share is not enlarged without evidence: what stays inconclusive goes back.
    """

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        criteria = criteria_of_generation(release, generation_id(release))
        watching = Watching.resume(self.tools, context, release, criteria)
        result, _ = watching.until_over()
        keep_gate(context, result)
        refuse_broken(result, watching)
        if result.verdict is not Verdict.PASSED:
            raise _too_little(result, release, float(context.step.params["at_most"]))
        return {"verdict": result.verdict.value}


def keep_gate(context: StepContext, result: GateResult) -> None:
    """The rollout's gate is that of its newest watch."""
    with context.store.write() as unit:
        unit.rollouts.move(context.program, unit.rollouts.get(context.program).state, gate=result)


def refuse_broken(result: GateResult, watching: Watching) -> None:
    """Raises GateFailed with the first broken criterion, in words; all of them are in the rollout's gate. Or
    with what did not stay up.
    """
    if watching.fallen is not None:
        raise watching.fallen
    if result.verdict is not Verdict.FAILED:
        return
    finding = next(f for f in result.findings if f.verdict is Verdict.FAILED)
    raise GateFailed(
        N_("{criterion} is broken: {measured} against a limit of {limit} ({good} good of {total})"),
        todo=N_("The way back starts by itself where that is allowed; follow it with lastgood status."),
        criterion=finding.criterion,
        measured=_number(finding),
        limit=f"{finding.limit:g}",
        good=finding.good,
        total=finding.total,
    )


def _too_little(result: GateResult, release: Release, seconds: float) -> GateInconclusive:
    """Why the share can't be called good, and what gives more evidence."""
    finding = next(f for f in result.findings if f.verdict is not Verdict.PASSED)
    ratios = {c.name for c in release.criteria if c.signal.kind is SignalKind.RATIO}
    if finding.criterion in ratios and finding.total < finding.least_sample:
        return GateInconclusive(
            N_(
                "not enough requests reached the canary: {total} of at least {least} for {criterion} "
                "in {seconds} s"
            ),
            todo=N_(
                "Take a larger share or a longer watch under 'canary', or a smaller least_sample; then "
                "deploy again."
            ),
            criterion=finding.criterion,
            total=finding.total,
            least=finding.least_sample,
            seconds=f"{seconds:g}",
        )
    return GateInconclusive(
        N_("the canary could not be called good in {seconds} s: {criterion}: {reason}"),
        todo=N_("Look at its signal, then deploy again."),
        criterion=finding.criterion,
        seconds=f"{seconds:g}",
        reason=finding.reason,
    )


def _number(finding: Finding) -> str:
    return "-" if finding.measured is None else f"{finding.measured:.4g}"

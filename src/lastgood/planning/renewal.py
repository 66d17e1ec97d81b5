"""What comes back in the place of a revoked secret: the newest valid version (law 2). Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, Reversibility, Step, StepKind
from lastgood.domain.release import Release, SecretVersion
from lastgood.domain.secret import Replacement, Revocation, Sealing, shown
from lastgood.planning import steps as build
from lastgood.planning.fence import back_fenced, lifts_fence
from lastgood.planning.moves import back_cold, verify
from lastgood.planning.users import of_others

Kept = Callable[[SecretVersion], bool]
"""Whether a version can be unsealed here."""

REBUILT = frozenset({StepKind.HOLD_IMAGE, StepKind.VERIFY})
STARTS = frozenset({StepKind.START_GENERATION, StepKind.SHIFT_TRAFFIC, StepKind.SWITCH_WORKERS})
"""Steps of a way back by which the old release takes work again; without them it never gave it up."""


@dataclass(frozen=True)
class Renewal:
    """``release`` as it may come back; it is the old one itself where nothing was replaced."""

    old: Release
    release: Release
    replaced: tuple[Replacement, ...] = ()

    @property
    def changes(self) -> bool:
        return self.release.digest != self.old.digest

    @property
    def lacking(self) -> tuple[Replacement, ...]:
        """Those for which no valid version is kept here."""
        return tuple(one for one in self.replaced if not one.new)

    @property
    def notes(self) -> tuple[Message, ...]:
        """What the reader of a plan must know."""
        template = N_(
            "{name}: version {old} was revoked at {at} by {by} ({reason}); version {new} is used instead"
        )
        notes = [Message(template, words_of(one)) for one in self.replaced if one.new]
        if self.changes and self.old.roles:
            cold = N_("Because of the other secret it starts anew: what still runs is not flipped back to")
            notes.append(Message(cold))
        return tuple(notes)


def renew(
    release: Release,
    sealings: Sequence[Sealing],
    revocations: Sequence[Revocation],
    *,
    current: Release | None,
    kept: Kept,
    spared: Collection[str] = (),
) -> Renewal:
    """Replace what was revoked. ``sealings`` are those of the release's unit, newest first; ``current`` is
    what it runs now. Names in ``spared`` (logins of a registry) make no other release by themselves.
    """
    revoked = {revocation.secret: revocation for revocation in revocations}
    if not any(secret in revoked and secret.name not in spared for secret in release.secrets):
        return Renewal(release, release)
    secrets: list[SecretVersion] = []
    replaced: list[Replacement] = []
    for secret in release.secrets:
        if secret not in revoked:
            secrets.append(secret)
            continue
        new = newest_valid(secret.name, sealings, revoked, current, kept)
        if new is not None or secret.name not in spared:
            replaced.append(Replacement(revoked[secret], new.version if new else ""))
        secrets.append(new or secret)
    return Renewal(release, replace(release, secrets=tuple(secrets)), tuple(replaced))


def newest_valid(
    name: str,
    sealings: Sequence[Sealing],
    revoked: Collection[SecretVersion],
    current: Release | None,
    kept: Kept,
) -> SecretVersion | None:
    """What a unit goes back with: what it runs with now, if that is valid, unless a newer one was given by
    hand; else the newest that is valid. None when there is none.
    """
    running = [secret for secret in current.secrets if secret.name == name] if current else []
    by_hand = {s.secret for s in sealings if s.renewed}
    known = dict.fromkeys([*(s.secret for s in sealings if s.secret.name == name), *running])
    valid = [secret for secret in known if secret not in revoked and kept(secret)]
    if any(secret in valid for secret in running):
        return next(secret for secret in valid if secret in by_hand or secret in running)
    return valid[0] if valid else None


def renewed_steps(steps: Sequence[Step], renewal: Renewal, source: Release) -> tuple[Step, ...]:
    """A way back from ``source`` (its steps, as planned for the old release), to the renewed one instead."""
    old, new = renewal.old, renewal.release
    known = {step.id: step.estimate for step in steps}
    before = [s for s in steps if not s.id.startswith("back:") and s.kind not in REBUILT]
    schema = [s for s in steps if s.id.startswith(("back:snapshot:", "back:revert:"))]
    fenced = lifts_fence(steps)
    back = back_fenced(new, source, schema, of_others(steps)) if fenced else back_cold(new, source)
    there = back if fenced else [*back, *schema]
    made = [
        *build.hold_image(new),
        *(_pointed(step, old.digest, new.digest) for step in before),
        *there,
        verify(new),
    ]
    return tuple(replace(step, estimate=known.get(step.id, step.estimate)) for step in made)


def returns(steps: Sequence[Step]) -> bool:
    """Whether the old release takes work again by these steps."""
    return any(step.kind in STARTS for step in steps)


def with_cold_way_back(plan: Plan, renewal: Renewal) -> Plan:
    """A deploy whose way back starts anew, because its base has a secret that is revoked already."""
    if not renewal.changes:
        return plan
    undo = Message(N_("the old release starts anew with the newer secret, then has the traffic"))
    steps = tuple(
        replace(step, reversibility=Reversibility.EXACT, undo=undo)
        if step.reversibility is Reversibility.WARM
        else step
        for step in plan.steps
    )
    return replace(plan, steps=steps, notes=(*plan.notes, *renewal.notes))


def _pointed(step: Step, old: str, new: str) -> Step:
    return replace(step, params={k: new if v == old else v for k, v in step.params.items()})


def words_of(one: Replacement) -> dict[str, Any]:
    """What fills a sentence about it."""
    revocation = one.revocation
    return {
        "name": one.name,
        "old": shown(one.old),
        "new": shown(one.new),
        "at": f"{revocation.at:%Y-%m-%d %H:%M:%S}",
        "by": revocation.by,
        "reason": revocation.reason,
    }

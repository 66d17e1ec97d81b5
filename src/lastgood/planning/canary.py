"""The new generation's share of the requests, step by step, before it gets all of them."""

from __future__ import annotations

from dataclasses import replace

from lastgood.domain.criterion import Criterion
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Reversibility, Step, StepKind
from lastgood.domain.release import CanaryStep, Release
from lastgood.domain.unit import Role

LONGEST = 3.0
"""So many times its seconds a share is watched while there is too little evidence; then it goes back."""


def canary(release: Release, base: Release) -> list[Step]:
    """Each share is sent, then watched. Nothing where nobody else takes the other requests."""
    if not serves(base):
        return []
    return [made for share in release.canary for made in _share(release, base, share)]


def _share(release: Release, base: Release, share: CanaryStep) -> tuple[Step, Step]:
    percent = f"{share.percent:g}"
    words = {"percent": percent}
    split = {"release": release.digest, "base": base.digest, "percent": share.percent}
    watched = {
        "release": release.digest,
        "percent": share.percent,
        "seconds": share.seconds,
        "at_most": LONGEST * share.seconds,
    }
    send = Message(N_("Send {percent} % of the requests to the new generation"), words)
    undo = Message(N_("the old generation still runs: it gets all requests again"))
    watch = Message(N_("Watch the criteria at {percent} %"), words)
    return (
        Step(f"split:{percent}", StepKind.SPLIT_TRAFFIC, send, split, Reversibility.WARM, undo),
        Step(f"canary:{percent}", StepKind.WATCH_CANARY, watch, watched),
    )


def serves(base: Release) -> bool:
    """Whether the proxy sends requests to something of ``base`` that can keep its share."""
    if base.origin == "baseline":
        return bool(base.upstreams)
    return bool(base.traffic and base.runtime and base.has_role(Role.WEB))


def tells_apart(criterion: Criterion, release: Release) -> bool:
    """Whether its signal can be asked for one generation alone: the proxy knows who answered."""
    signal, traffic = criterion.signal, release.traffic
    return traffic is not None and signal.driver == traffic.driver and not signal.settings.get("resource")


def criteria_of_generation(release: Release, generation: str) -> tuple[Criterion, ...]:
    """The criteria, those that can measured for ``generation`` alone."""

    def scoped(criterion: Criterion) -> Criterion:
        if not tells_apart(criterion, release):
            return criterion
        settings = {**criterion.signal.settings, "generation": generation}
        return replace(criterion, signal=replace(criterion.signal, settings=settings))

    return tuple(scoped(criterion) for criterion in release.criteria)


def canary_notes(release: Release, base: Release) -> list[Message]:
    """What the reader of a plan must know of its shares."""
    if not release.canary:
        return []
    if not serves(base):
        nobody = N_("No canary: nothing serves here yet that the requests could be shared with.")
        return [Message(nobody)]
    longest = N_(
        "A canary share with too little evidence is watched up to {times} times as long; if it is still too "
        "little then, all requests go back: no evidence is no success."
    )
    found = [Message(longest, {"times": f"{LONGEST:g}"})]
    whole = [c.name for c in release.criteria if not tells_apart(c, release)]
    if whole:
        blind = N_(
            "While the new generation has only a share, {criteria} can't tell its answers from those of the "
            "old one: a fault has to show in all requests together."
        )
        found.append(Message(blind, {"criteria": ", ".join(whole)}))
    return found


def split_ids(release: Release, base: Release) -> list[str]:
    """Ids of the steps after which some requests go to the new generation."""
    return [s.id for s in canary(release, base) if s.kind is StepKind.SPLIT_TRAFFIC]

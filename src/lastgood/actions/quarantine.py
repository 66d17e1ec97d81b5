"""quarantine: something is set aside by hand; a person lifts it, and what failed by itself, with a reason."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lastgood.actions.context import Context
from lastgood.domain.audit import Phase
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_, Message
from lastgood.domain.quarantine import Quarantine, QuarantineKind
from lastgood.domain.release import Release
from lastgood.ports.persistence import UnitOfWork

LEAST_DIGITS = 6
KNOWN = 500
"""Rollouts that are looked through for what a few digits mean."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def quarantined(context: Context, *, lifted: bool = False) -> Sequence[Quarantine]:
    """What is set aside, newest first; ``lifted``: also what was lifted again."""
    with context.store.read() as unit:
        return unit.quarantine.list(lifted=lifted)


def quarantine_add(
    context: Context, kind: QuarantineKind, name: str, *, service: str = "", reason: str
) -> Quarantine:
    """Set aside by hand. ``name``: a digest, or its first digits where it is known here; a commit (any
    revision where there is an estate) needs its ``service``.

    Raises InvalidInput when it names nothing, or without a reason.
    """
    _need_reason(reason, N_('Say what is wrong with it: --reason "…"'))
    if kind is QuarantineKind.DATABASE:
        raise InvalidInput(
            N_("a database is set aside by the restore that replaces it, not by hand"),
            todo=N_("See lastgood restore."),
            where=name,
        )
    now = context.clock.now()
    with context.store.write() as unit:
        whole = (
            _commit(context, name, service) if kind is QuarantineKind.COMMIT else _digest(unit, kind, name)
        )
        owner = service if kind is QuarantineKind.COMMIT else ""
        entry, why = f"q-{now:%y%m%d-%H%M%S}-{secrets.token_hex(2)}", Message("{text}", {"text": reason})
        made = Quarantine(f"{entry}-{kind.value}", kind, whole, why, context.actor.name, now, owner)
        unit.quarantine.put(made)
        data = {"id": made.id, "kind": kind.value, "name": whole}
        context.audit(unit, "quarantine", owner or whole, Phase.OUTCOME, reason, data)
    return made


def quarantine_lift(context: Context, what: str, *, reason: str) -> Sequence[Quarantine]:
    """Let it be deployed again. ``what``: an entry, an incident or a rollout (all of it), a digest or commit.

    Returns what was lifted. Raises InvalidInput when that names nothing in force, or without a reason.
    """
    _need_reason(reason, N_('Say why it is good after all: --reason "…"'))
    now = context.clock.now()
    with context.store.write() as unit:
        in_force = unit.quarantine.list()
        found = [q for q in in_force if what in (q.id, q.incident) or q.incident == f"in-{what}"]
        found = found or [q for q in in_force if _begins(q.name, what)]
        if not found:
            raise InvalidInput(
                N_("nothing is set aside as {name}"),
                todo=N_("See what is: lastgood quarantine list"),
                name=what,
            )
        _refuse_several(found, what)
        by = context.actor.name
        found = [replace(q, lifted_at=now, lifted_by=by, lifted_reason=reason) for q in found]
        for quarantine in found:
            unit.quarantine.put(quarantine)
        data = {"lifted": [q.id for q in found], "names": [q.name for q in found]}
        subject = found[0].unit or found[0].service or found[0].name
        context.audit(unit, "quarantine lift", subject, Phase.OUTCOME, reason, data)
    return found


def _need_reason(reason: str, todo: str) -> None:
    if not reason.strip():
        raise InvalidInput(N_("quarantine needs a reason, here and when it is lifted"), todo=todo)


def _begins(name: str, what: str) -> bool:
    digits = what.removeprefix("sha256:")
    return len(digits) >= LEAST_DIGITS and name.removeprefix("sha256:").startswith(digits)


def _refuse_several(found: Sequence[Quarantine], what: str) -> None:
    """An incident sets several things aside; a few digits must mean one."""
    names = sorted({q.name for q in found})
    if len(names) > 1 and all(what not in (q.id, q.incident) and q.incident != f"in-{what}" for q in found):
        raise InvalidInput(
            N_("{digest} may be any of several: {candidates}"),
            todo=N_("Give more digits of it."),
            digest=what,
            candidates=", ".join(names),
        )


def _commit(context: Context, name: str, service: str) -> str:
    """The whole name of a commit, which refusing compares with."""
    if not service:
        raise InvalidInput(
            N_("a commit is set aside for one service"), todo=N_("Name it: --service storefront"), where=name
        )
    if context.estate is not None:
        return context.estate.at(name).commit
    if not COMMIT.fullmatch(name):
        raise InvalidInput(
            N_("'{name}' is not the whole name of a commit, and there is no estate here to look it up"),
            todo=N_("Give all of its hex digits, or go to the estate's directory."),
            name=name,
        )
    return name


def _digest(unit: UnitOfWork, kind: QuarantineKind, name: str) -> str:
    """A whole digest as it is; the first digits of one by what is known here."""
    if kind is QuarantineKind.RELEASE:
        return unit.releases.get(name).digest
    if DIGEST.fullmatch(name):
        return name
    known = {part for release in _known(unit) for part in _digests(release, kind) if _begins(part, name)}
    if len(known) == 1:
        return known.pop()
    raise InvalidInput(
        N_("'{name}' names no {kind} that was deployed here") if not known
        else N_("{digest} may be any of several: {candidates}"),
        todo=N_("Give the whole digest, sha256:… with 64 hex digits."),
        name=name,
        digest=name,
        kind=kind.value,
        candidates=", ".join(sorted(known)),
    )  # fmt: skip


def _digests(release: Release, kind: QuarantineKind) -> tuple[str, ...]:
    if kind is QuarantineKind.IMAGE:
        return (release.image.digest, release.image.manifest) if release.image else ()
    return (release.artifact.digest,) if release.artifact else ()


def _known(unit: UnitOfWork) -> Iterator[Release]:
    """Releases that rollouts went to lately, and those that units are on."""
    digests = [rollout.target for rollout in unit.rollouts.list(limit=KNOWN)]
    digests += [unit.releases.current(known) for known in unit.releases.units()]
    yield from (unit.releases.get(digest) for digest in dict.fromkeys(digests))

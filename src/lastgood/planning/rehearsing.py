"""What a rehearsal means for the plan: whether old code runs on the new schema, or why it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood.domain.digest import short
from lastgood.domain.errors import NotReversible
from lastgood.domain.message import N_, Message
from lastgood.domain.rehearsal import OldCode, Rehearsed
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.unit import UnitId
from lastgood.planning.schema import SchemaMove
from lastgood.ports.drivers import Rehearsal

FENCED = N_(
    "{why} So the deploy and the way back stop every writer first (web, workers, schedulers), then move the "
    "database, then configuration and program, then traffic: nobody is served from the fence until the other "
    "generation has the traffic"
)

NO_JOURNEY = N_("a release that uses it has no journey.sql")


@dataclass(frozen=True)
class Written:
    """The journeys of a database, by the digest of their scripts: ``new`` (empty without one), and ``old``
    with the release each is of. ``complete``: every release that uses the database now has one.
    """

    whose: str
    new: str = ""
    old: tuple[tuple[str, str], ...] = ()
    complete: bool = False

    @property
    def params(self) -> Mapping[str, Any]:
        """For a step."""
        return {"whose": self.whose, "new": self.new, "old": [list(o) for o in self.old],
                "complete": self.complete}  # fmt: skip

    def same(self, other: Written) -> bool:
        """Whether the same is tried, whosever it is."""
        mine, theirs = ({script for _, script in one.old} for one in (self, other))
        return (self.new, mine, self.complete) == (other.new, theirs, other.complete)

    @classmethod
    def of_params(cls, params: Mapping[str, Any]) -> Written:
        old = tuple((str(whose), str(script)) for whose, script in params["old"])
        return cls(params["whose"], params["new"], old, params["complete"])


def written(database: DatabaseTarget, target: Release, users: Iterable[Release]) -> Written:
    """``users``: the releases that use the database now."""
    found: dict[str, str] = {}
    complete = True
    used = False
    for release in users:
        used = True
        journey = _journey(release, database.resource)
        complete = complete and bool(journey)
        if journey:
            found.setdefault(journey, _named(release))
    old = tuple((whose, script) for script, whose in found.items())
    return Written(_named(target), database.journey, old, complete and used)


def _journey(release: Release, resource: str) -> str:
    database = release.database(resource)
    return database.journey if database else ""


def _named(release: Release) -> str:
    return f"{release.unit} {short(release.digest)}"


def judge(seen: Rehearsal, journeys: Written) -> tuple[OldCode, Message]:
    """Whether old code runs on the new schema, and what that rests on where a person would ask."""
    if not seen.old_runs_on_new:
        return OldCode.BREAKS, seen.complaint
    if seen.additive is None:
        return OldCode.VERIFIED, seen.untried
    if journeys.complete and not seen.untried:
        return OldCode.PROVEN, seen.untried
    return (OldCode.ADDITIVE if seen.additive else OldCode.UNPROVEN), seen.untried


def refuse_different(seen: Rehearsal, resource: str) -> None:
    """Raises NotReversible when the reverts don't bring back what was there."""
    if seen.difference or seen.fingerprint_before != seen.fingerprint_after:
        raise NotReversible(
            N_("the revert does not restore the schema of {resource}: {difference}"),
            todo=N_("Mend revert.sql until the rehearsal leaves no difference; nothing was changed."),
            where=resource,
            resource=resource,
            difference=seen.difference or "fingerprints differ",
        )


def refuse_breaking(old: OldCode, reason: Message, resource: str, *, forward: bool) -> None:
    """Raises NotReversible in a rollout whose plan knew nothing of a rehearsal, and so has no fence.

    ``forward``: a deploy, which has to show its way back; a rollback goes on where nothing shows it.
    """
    if old is OldCode.BREAKS:
        raise NotReversible(
            N_("old code does not run on the new schema of {resource}: {reason}"),
            todo=N_(
                "Plan it with a rehearsal, which orders the way back by that; or make the change additive "
                "(expand first, contract in a later release). Nothing was changed."
            ),
            where=resource,
            resource=resource,
            reason=reason or "verify.sql",
        )
    if old is OldCode.UNPROVEN and forward:
        raise NotReversible(
            N_("nothing shows that old code runs on the new schema of {resource}: {reason}"),
            todo=N_(
                "Plan it with a rehearsal and for this unit alone, which orders the way back by that; or "
                "deploy a release with a journey.sql first, or make the change additive. Nothing was changed."
            ),
            where=resource,
            resource=resource,
            reason=reason or Message(NO_JOURNEY),
        )


def rehearsal_notes(schemas: Sequence[SchemaMove], rehearsed: Mapping[str, Rehearsed]) -> list[Message]:
    """What was rehearsed and how, and the order that follows."""
    notes = []
    for schema in schemas:
        resource = schema.database.resource
        one = rehearsed.get(resource)
        if one is not None:
            notes += [_told(one), order(one)]
        elif schema.pending:
            later = N_(
                "{resource} is not rehearsed yet: the rollout does it before it changes anything, and ends "
                "there where old code does not run on the new schema, or nothing shows that it does."
            )
            notes.append(Message(later, {"resource": resource}))
    return notes


def _told(one: Rehearsed) -> Message:
    whole = Message(N_("a copy of the whole database"))
    if one.copied_at:
        at = f"{one.copied_at:%Y-%m-%d %H:%M:%S}"
        whole = Message(N_("a copy of the whole database, from its snapshot of {at}"), {"at": at})
    sample = Message(N_("its schema with at most {rows} rows of each table"), {"rows": one.sample})
    return Message(
        N_("{resource} was rehearsed on {copy}: deployed in {deploy} s, taken back in {revert} s."),
        {
            "resource": one.resource,
            "copy": sample if one.sample else whole,
            "deploy": f"{sum(one.deploy_seconds.values()):.2g}",
            "revert": f"{sum(one.revert_seconds.values()):.2g}",
        },
    )


def order(one: Rehearsed) -> Message:
    """Which way back the plan has, and why."""
    templates = {
        OldCode.PROVEN: N_(
            "Old code runs on the new schema of {resource}: its verify scripts and its write journey passed "
            "on the copy, after the new release had written there. Traffic goes back first, the schema after."
        ),
        OldCode.ADDITIVE: N_(
            "The migration of {resource} only adds, so old code runs on the new schema, although no write "
            "journey shows it ({reason}). Traffic goes back first, the schema after."
        ),
        OldCode.VERIFIED: N_(
            "The old verify scripts pass on the new schema of {resource}; more this driver can't try. "
            "Traffic goes back first, the schema after."
        ),
        OldCode.UNPROVEN: N_(
            "Nothing shows that old code runs on the new schema of {resource}: more than additions, and no "
            "write journey ({reason})."
        ),
        OldCode.BREAKS: N_("Old code does not run on the new schema of {resource}: {reason}."),
    }
    words = {"resource": one.resource, "reason": one.reason or Message(NO_JOURNEY)}
    said = Message(templates[one.old], words)
    return said if one.old.runs else Message(FENCED, {"why": said})


def taken_note(resource: str, names: Iterable[str]) -> Message:
    """On a way back to code from before a migration that came after the last wave."""
    took = N_("{names} took from {resource} what the code needs to which this goes.")
    return Message(FENCED, {"why": Message(took, {"names": ", ".join(names), "resource": resource})})


def why(one: Rehearsed) -> Message:
    """The sentence about one that does not run, without what the plan does about it."""
    said = order(one).params["why"]
    assert isinstance(said, Message)
    return said


def left_breaking(one: Rehearsed, names: Iterable[str], unit: UnitId) -> Message:
    """``names`` of ``one`` stay where a way back goes to code from before them."""
    left = N_(
        "{names} can't be taken out of {resource} and stays there. {why} That is the code to which this way "
        "back goes, so expect it to fail. Go back to a restore point that has {names} (lastgood rollback "
        "{unit} --to POINT), or the database with it (lastgood restore {unit}), or mend it by a new deploy."
    )
    return Message(
        left, {"names": ", ".join(names), "resource": one.resource, "why": why(one), "unit": str(unit)}
    )

"""Builders of the single steps, each with its reversibility and the sentence that says how it is undone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Reversibility, Step, StepKind
from lastgood.domain.rehearsal import Rehearsed
from lastgood.domain.release import Release
from lastgood.domain.unit import Role
from lastgood.planning.copies import CopyChoice
from lastgood.planning.rehearsing import Written
from lastgood.planning.schema import Classes, SchemaMove
from lastgood.ports.traffic import Leave

BACKGROUND = (Role.WORKER, Role.SCHEDULER)
"""Roles that run in exactly one generation at a time."""


def observe(id: str, title: str, release: str) -> Step:
    return Step(id, StepKind.OBSERVE, Message(title), {"release": release})


def check_room(release: Release, base: Release) -> list[Step]:
    """Asked before anything is prepared: two generations of ``web`` will run side by side."""
    if not (release.runtime and release.has_role(Role.WEB)) or release.digest == base.digest:
        return []
    title = Message(N_("Check the proxy, and that a second generation fits beside the first"))
    return [Step("room", StepKind.CHECK_ROOM, title, _pair(release, base))]


def prepare_schema(
    release: Release,
    schemas: Sequence[SchemaMove],
    captured: Mapping[str, Sequence[str]] = MappingProxyType({}),
    journeys: Mapping[str, Written] = MappingProxyType({}),
    rehearsed: Mapping[str, Rehearsed] = MappingProxyType({}),
    others: Sequence[Release] = (),
) -> list[Step]:
    """Snapshot and rehearsal for every database with something to migrate; the live one is only read.

    From the snapshot of those ``captured`` on, every write is kept; the names of their migrations that move
    data are given. Of those ``rehearsed`` only the schema is looked at again, and whether ``others`` are all
    that use it besides.
    """
    steps: list[Step] = []
    for schema in schemas:
        if not schema.pending:
            continue
        resource = schema.database.resource
        params = {"release": release.digest, "resource": resource}
        words = {"resource": resource}
        kept = resource in captured
        snapshot = N_("Snapshot {resource}, and keep what is written from then on")
        steps += [
            Step(
                f"snapshot:{resource}",
                StepKind.SNAPSHOT,
                Message(snapshot if kept else N_("Snapshot {resource}"), words),
                {**params, "moving": [*captured[resource]]} if kept else params,
            ),
            _rehearse(params, schema, journeys.get(resource), rehearsed.get(resource), others),
        ]
    return steps


def _rehearse(
    place_of: Mapping[str, Any],
    schema: SchemaMove,
    journeys: Written | None,
    rehearsed: Rehearsed | None,
    others: Sequence[Release],
) -> Step:
    resource = schema.database.resource
    params = {
        **place_of,
        "pending": [m.name for m in schema.pending],
        "standing": [m.name for m in schema.standing],
    }
    title = N_("Rehearse the migration of {resource} and its way back on a copy")
    if journeys is not None:
        params["journeys"] = journeys.params
    if rehearsed is not None:
        title = N_("Check that the schema of {resource} is still the one rehearsed")
        params |= {
            "rehearsed": rehearsed.key,
            "fingerprint": rehearsed.fingerprint,
            "old": rehearsed.old.value,
        }
        stopped = [one.digest for one in others if one.database(resource)]
        params |= {"others": stopped} if stopped else {}
    return Step(f"rehearse:{resource}", StepKind.REHEARSE, Message(title, {"resource": resource}), params)


def warm_copies(release: Release, choices: Mapping[str, CopyChoice]) -> list[Step]:
    """After the rehearsal, which may end the rollout, and before a fence: it takes as long as a load."""
    title = N_("Load a copy of {resource} beside it, as it was at the snapshot")
    return [
        Step(
            f"warm:{resource}",
            StepKind.WARM_COPY,
            Message(title, {"resource": resource}),
            {"release": release.digest, "resource": resource, "must": choice.asked},
        )
        for resource, choice in choices.items()
        if choice.warm
    ]


def fetch_image(release: Release) -> list[Step]:
    """Forward: what the tag named when this was planned, brought to where it stays."""
    return _image("image", StepKind.FETCH_IMAGE, N_("Fetch the image {image}"), release)


def hold_image(release: Release) -> list[Step]:
    """Back: what is here already. Its kind is another one, for it takes another time."""
    return _image("image", StepKind.HOLD_IMAGE, N_("Have the image {image} ready"), release)


def _image(id: str, kind: StepKind, title: str, release: Release) -> list[Step]:
    if release.image is None:
        return []
    return [Step(id, kind, Message(title, {"image": str(release.image)}), {"release": release.digest})]


def place(release: Release) -> list[Step]:
    """Content brought to where it will be used; nothing uses it yet."""
    steps = []
    params = {"release": release.digest}
    if release.runtime and release.artifact:
        steps.append(Step("artifact", StepKind.PLACE_ARTIFACT, Message(N_("Place the artifact")), params))
    if release.files_target:
        steps.append(Step("files", StepKind.PLACE_FILES, Message(N_("Place the configuration")), params))
    return steps


def migrate(
    release: Release,
    schemas: Sequence[SchemaMove],
    classes: Classes,
    captured: Collection[str] = (),
) -> list[Step]:
    exact = Message(N_("revert.sql, proven on a copy before"))
    restored = Message(N_("the schema stays, old code runs on it; the data by lastgood restore"))
    stays = Message(N_("the schema stays, old code runs on it; data only from the snapshot"))
    steps = []
    for schema in schemas:
        for migration in schema.pending:
            reversibility = classes[migration.name][0]
            resource = schema.database.resource
            back = restored if resource in captured else stays
            steps.append(
                Step(
                    f"migrate:{resource}:{migration.name}",
                    StepKind.MIGRATE,
                    Message(N_("Migrate {resource}: {name}"), {"resource": resource, "name": migration.name}),
                    {"release": release.digest, "resource": resource, "migration": migration.name},
                    reversibility,
                    exact if reversibility is Reversibility.EXACT else back,
                )
            )
    return steps


def start(id: str, title: str, release: Release, **params: Any) -> list[Step]:
    if not (release.runtime and release.has_role(Role.WEB)):
        return []
    undo = Message(N_("the new generation is stopped"))
    params = {"release": release.digest, **params}
    return [Step(id, StepKind.START_GENERATION, Message(title), params, Reversibility.EXACT, undo)]


def switch_files(id: str, title: str, release: Release, base: Release | None, **params: Any) -> list[Step]:
    if release.files_target is None and (base is None or base.files_target is None):
        return []
    undo = Message(N_("the link to the old configuration is put back"))
    params = {**_pair(release, base), **params}
    return [Step(id, StepKind.SWITCH_FILES, Message(title), params, Reversibility.EXACT, undo)]


def shift_traffic(
    id: str, title: str, release: Release, base: Release | None, leave: Leave, **params: Any
) -> list[Step]:
    """``leave``: how requests leave what they went to before."""
    if release.traffic is None and (base is None or base.traffic is None):
        return []
    undo = Message(N_("the old generation still runs: traffic flips back"))
    params = {**_pair(release, base), "leave": leave.value, **params}
    return [Step(id, StepKind.SHIFT_TRAFFIC, Message(title), params, Reversibility.WARM, undo)]


def switch_workers(id: str, title: str, release: Release, base: Release | None, **params: Any) -> list[Step]:
    if not any(r and r.has_role(role) for r in (release, base) for role in BACKGROUND):
        return []
    undo = Message(N_("the new workers stop first, then the old ones start"))
    params = {**_pair(release, base), **params}
    return [Step(id, StepKind.SWITCH_WORKERS, Message(title), params, Reversibility.EXACT, undo)]


def stop_generation(
    id: str, title: str, release: Release | None, other: Release, **params: Any
) -> list[Step]:
    """Stop ``release`` and whatever else of the unit still runs, but not ``other``. With ``close`` among
    ``params`` its traffic goes nowhere first: what comes in is refused by the proxy, to be sent again.
    """
    if release is None or release.runtime is None or not release.roles or release.digest == other.digest:
        return []
    params = {"release": release.digest, "keep": other.digest, **params}
    return [Step(id, StepKind.STOP_GENERATION, Message(title), params)]


def watch(id: str, kind: StepKind, title: str, release: Release, seconds: float) -> Step:
    return Step(id, kind, Message(title), {"release": release.digest, "seconds": seconds})


def write_bundle(release: Release) -> list[Step]:
    if not release.keep.bundles:
        return []
    title = Message(N_("Write the restore bundle to {directory}"), {"directory": release.keep.bundles})
    return [Step("bundle", StepKind.WRITE_BUNDLE, title, {"release": release.digest})]


def drain(release: Release, base: Release) -> list[Step]:
    title = Message(N_("Let what is open at the old generation end, at most {seconds} s"),
                    {"seconds": f"{release.windows.drain:g}"})  # fmt: skip
    params = {**_pair(release, base), "seconds": release.windows.drain}
    return [Step("drain", StepKind.DRAIN_TRAFFIC, title, params)]


def keep(release: Release) -> Step:
    title = Message(N_("Keep a verified restore point"))
    return Step("keep", StepKind.KEEP_RESTORE_POINT, title, {"release": release.digest})


def prune(release: Release) -> list[Step]:
    """Only where the service says how many restore points are kept, or a database for how long copies."""
    count, kept = release.keep.restore_points, days_kept(release)
    if not count and not kept:
        return []
    title = Message(N_("Prune restore points, the newest {count} stay"), {"count": count})
    if not count:
        title = Message(N_("Discard copies of databases that are older than declared"))
    days = {"days": kept} if kept else {}
    return [Step("prune", StepKind.PRUNE, title, {"release": release.digest, "keep": count, **days})]


def days_kept(release: Release) -> dict[str, int]:
    """How long copies of its databases are kept, where that is declared."""
    declared = {d.resource: d.target.settings.get("keep_days") for d in release.databases}
    return {resource: days for resource, days in declared.items() if isinstance(days, int) and days > 0}


def revert(release: Release, taken: Mapping[str, Sequence[str]]) -> list[Step]:
    """Keep a copy of what the reverts will remove (law 6), then revert, the newest migration first.

    ``release`` is the one that has the migrations; ``taken`` maps resource to names, newest first.
    """
    steps: list[Step] = []
    for resource, names in taken.items():
        if not names:
            continue
        place_of = {"release": release.digest, "resource": resource}
        forward = [f"migrate:{resource}:{name}" for name in names]
        title = Message(N_("Keep {resource} as it is before the revert"), {"resource": resource})
        params: Mapping[str, Any] = {**place_of, "undoes": forward}
        steps.append(Step(f"back:snapshot:{resource}", StepKind.SNAPSHOT, title, params))
        for name, began in zip(names, forward, strict=True):
            title = Message(N_("Revert {resource}: {name}"), {"resource": resource, "name": name})
            params = {**place_of, "migration": name, "undoes": [began]}
            steps.append(Step(f"back:revert:{resource}:{name}", StepKind.REVERT_SCHEMA, title, params))
    return steps


def _pair(release: Release, base: Release | None) -> dict[str, str]:
    return {"release": release.digest, "base": base.digest if base else ""}

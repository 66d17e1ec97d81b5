"""The service a face talks to: one method per verb. Each imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lastgood.actions.context import Context
from lastgood.bootstrap.databases import Databases
from lastgood.bootstrap.many import ManyUnits, Told, kept_up, unheard
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import ensure_runner, runner_pid
from lastgood.bootstrap.secrets import SecretVersions
from lastgood.domain.audit import AuditRecord
from lastgood.domain.bundle import Bundle
from lastgood.domain.errors import Conflict
from lastgood.domain.incident import Incident
from lastgood.domain.message import N_
from lastgood.domain.observation import Drift
from lastgood.domain.plan import Plan
from lastgood.domain.proof import Proof
from lastgood.domain.quarantine import Quarantine, QuarantineKind
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.status import Progress, UnitStatus
from lastgood.domain.unit import UnitId


class Service:
    """All verbs, for the CLI, the demonstration, and later the HTTP face. Errors are LastgoodError."""

    def __init__(self, places: Places) -> None:
        self.places = places

    @cached_property
    def _context(self) -> Context:
        from lastgood.bootstrap.parts import build_context

        return build_context(self.places)

    @cached_property
    def many(self) -> ManyUnits:
        """Changes over many units."""
        return ManyUnits(self.places, lambda: self._context)

    @cached_property
    def secrets(self) -> SecretVersions:
        """Versions of secrets."""
        return SecretVersions(lambda: self._context)

    @cached_property
    def databases(self) -> Databases:
        """Going back to a snapshot."""
        return Databases(self.places, lambda: self._context)

    # The estate ----------------------------------------------------------------------------------

    def lint(self, revision: str = "") -> Sequence[Any]:
        """Problems (path, line, what, mend, severity) of a commit, or of the working tree."""
        reader = self._context.need_estate()
        return (reader.at(revision) if revision else reader.worktree()).lint()

    def explain(self, unit: UnitId, key: str, revision: str = "") -> Any:
        """Provenance (key, value, layers) of a value."""
        reader = self._context.need_estate()
        return (reader.at(revision) if revision else reader.worktree()).explain(unit, key)

    def render(self, unit: UnitId, revision: str = "") -> tuple[Release, dict[str, bytes]]:
        """The release and its rendered files, path to content."""
        reader = self._context.need_estate()
        rendered = (reader.at(revision) if revision else reader.worktree()).render(unit)
        return rendered.release, {f.path: rendered.contents[f.content] for f in rendered.release.files}

    def release(self, digest: str) -> Release:
        """A release we keep, by digest or prefix; needs no estate."""
        with self._context.store.read() as unit:
            return unit.releases.get(digest)

    def units(self, revision: str = "HEAD") -> Sequence[UnitId]:
        return self._context.need_estate().at(revision).units()

    @staticmethod
    def init(directory: Path, name: str) -> Sequence[Path]:
        """Scaffold an estate; returns the files written."""
        from lastgood.estate.scaffold import scaffold

        return scaffold(directory, name=name)

    @staticmethod
    def init_image(
        directory: Path, name: str, *, service: str, image: str, port: int, listen: int, ready: str
    ) -> Sequence[Path]:
        """Scaffold an estate for a service that runs from ``image`` already; returns the files written."""
        from lastgood.estate.scaffold import scaffold
        from lastgood.estate.scaffold_image import image_files

        files = image_files(name, service, image, port, listen, ready)
        return scaffold(directory, name=name, files=files)

    # Changes and ways back -----------------------------------------------------------------------

    def adopt(self, unit: UnitId, reason: str = "") -> RestorePoint:
        from lastgood.actions.adopt import adopt

        return adopt(self._context, unit, reason)

    def plan(
        self, unit: UnitId, revision: str = "HEAD", *, rehearse: bool = True, told: Told = unheard
    ) -> Plan:
        """``rehearse`` tries migrations on a copy first; ``told`` hears what takes long."""
        from lastgood.actions.plan_change import plan_change

        return plan_change(self._context, unit, revision, rehearse=rehearse, told=told).plan

    def deploy(
        self,
        unit: UnitId,
        *,
        revision: str = "HEAD",
        reason: str,
        owner: str,
        impact: str,
        plan: str = "",
        rehearse: bool = True,
        told: Told = unheard,
    ) -> Rollout:
        """Accept a change and see to it that a runner brings it to its end."""
        from lastgood.actions.deploy import deploy, require_change

        require_change(reason=reason, owner=owner, impact=impact)
        ensure_runner(self.places)
        rollout = deploy(
            self._context, unit, revision=revision, reason=reason, owner=owner, impact=impact, plan=plan,
            rehearse=rehearse, told=told,
        )  # fmt: skip
        ensure_runner(self.places)
        return rollout

    def accept(self, unit: UnitId, reason: str) -> Rollout:
        from lastgood.actions.accept import accept

        rollout = accept(self._context, unit, reason=reason)
        if not rollout.state.is_open:
            return rollout
        self.resume()
        # What is accepted ends at once: whoever deploys next should not meet its guard window.
        end = [progress.rollout for progress in self.follow(rollout.id, lambda r: False)][-1]
        if end.id != rollout.id or end.state not in (RolloutState.ACCEPTED_EARLY, RolloutState.VERIFIED):
            raise Conflict(
                N_("{rollout} was not accepted: {outcome}"),
                todo=N_("See lastgood show {rollout}."),
                where=str(unit),
                rollout=rollout.id,
                outcome=str(end.outcome),
            )
        return end

    def rollback(self, unit: UnitId, *, to: str = "", reason: str = "") -> str:
        """Returns the id of the rollout to follow."""
        from lastgood.actions.rollback import rollback

        ensure_runner(self.places)
        rollout = rollback(self._context, unit, to=to, reason=reason)
        ensure_runner(self.places)
        return rollout

    def plan_rollback(self, unit: UnitId, to: str = "") -> Plan:
        from lastgood.actions.rollback import plan_way_back

        return plan_way_back(self._context, unit, to)[0]

    def unfreeze(self, unit: UnitId, reason: str) -> int:
        from lastgood.actions.unfreeze import unfreeze

        return unfreeze(self._context, unit, reason=reason)

    def quarantined(self, *, lifted: bool = False) -> Sequence[Quarantine]:
        """What is set aside, newest first; ``lifted``: also what was lifted again."""
        from lastgood.actions.quarantine import quarantined

        return quarantined(self._context, lifted=lifted)

    def quarantine_add(
        self, kind: QuarantineKind, name: str, *, service: str = "", reason: str
    ) -> Quarantine:
        from lastgood.actions.quarantine import quarantine_add

        return quarantine_add(self._context, kind, name, service=service, reason=reason)

    def quarantine_lift(self, what: str, reason: str) -> Sequence[Quarantine]:
        """Returns what was lifted."""
        from lastgood.actions.quarantine import quarantine_lift

        return quarantine_lift(self._context, what, reason=reason)

    def drift(self, unit: UnitId) -> Sequence[Drift]:
        from lastgood.actions.heal import find_drift

        return find_drift(self._context, unit)

    def heal(self, unit: UnitId, reason: str = "") -> Rollout:
        from lastgood.actions.heal import heal

        rollout = heal(self._context, unit, reason=reason)
        ensure_runner(self.places)
        return rollout

    def prove(self, unit: UnitId, told: Told = unheard) -> Proof:
        """Read the way back's pieces and load its databases' copies; ``told`` hears what begins."""
        from lastgood.actions.prove import prove

        return prove(self._context, unit, told)

    def bundle(self, unit: UnitId, to: Path, point: str = "") -> Bundle:
        from lastgood.actions.bundle import bundle

        return bundle(self._context, unit, to=to, point=point)

    # What is known -------------------------------------------------------------------------------

    def status(self, unit: UnitId | None = None) -> Sequence[UnitStatus]:
        from lastgood.actions.status import unit_statuses

        return unit_statuses(self._context, bool(runner_pid(self.places)), unit)

    def history(
        self, unit: UnitId | None = None, limit: int = 50
    ) -> tuple[Sequence[Rollout], Sequence[RestorePoint]]:
        from lastgood.actions.status import history

        return history(self._context, unit, limit)

    def show(self, rollout: str) -> tuple[Progress, Incident | None, Sequence[Rollout]]:
        from lastgood.actions.status import show

        return show(self._context, rollout)

    def follow(self, rollout: str, wanted: Callable[[Rollout], bool]) -> Iterator[Progress]:
        """Progress until ``wanted`` or the end; goes on with the rollback of a failed deploy.

        A runner that died meanwhile is started again; raises DriverError when it does not stay up.
        """
        from lastgood.actions.status import follow

        followed = follow(self._context, rollout, wanted)
        return kept_up(self.places, followed, lambda p: p.rollout.id if p.rollout.state.is_open else "")

    def audit(self, subject: str = "", limit: int = 100) -> Sequence[AuditRecord]:
        from lastgood.actions.status import audit_records

        return audit_records(self._context, subject, limit)

    def verify_audit(self) -> AuditRecord | None:
        """The first broken link, None when the chain is whole."""
        from lastgood.actions.status import first_broken_record

        return first_broken_record(self._context)

    # The runner ----------------------------------------------------------------------------------

    def runner(self) -> int:
        """Pid of the living runner, 0 when there is none."""
        return runner_pid(self.places)

    def resume(self) -> None:
        """Have a runner, so that open rollouts and guard windows go on."""
        ensure_runner(self.places)

    def run(self) -> None:
        """Be the runner in the foreground, for ever."""
        from lastgood.bootstrap.runner import run

        run(self.places, forever=True)

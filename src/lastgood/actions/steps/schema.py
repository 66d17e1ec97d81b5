"""Databases: snapshot, rehearsal, migration, and the way back by its script."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.abilities import captures_of, migrates_of, snapshots_of, undoes_of, warm_of
from lastgood.actions.captures import keep_capture, opened_by, snapshot_of
from lastgood.actions.ends import ENDED
from lastgood.actions.needs import needed_by_others, other_users
from lastgood.actions.rehearsing import journeys_of, texts_of
from lastgood.actions.steps.tools import Handler, database_at
from lastgood.domain.capture import Capture
from lastgood.domain.errors import Conflict, NotReversible, Rejected
from lastgood.domain.message import N_
from lastgood.domain.rehearsal import OldCode
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.unit import UnitId
from lastgood.engine.handlers import Result, StepContext
from lastgood.planning.notes import NOT_KEPT
from lastgood.planning.rehearsing import Written, judge, refuse_breaking, refuse_different
from lastgood.ports.drivers import Migrates, Rehearsal
from lastgood.ports.ending import EndsIdle
from lastgood.ports.rehearsing import RehearsesWrites
from lastgood.ports.undoing import Undone


class TakeSnapshot(Handler):
    def run(self, context: StepContext) -> Result:
        release, database = database_at(context, self.tools.vault)
        if "moving" in context.step.params:
            return self._captured(context, release, database)
        snapshot = snapshots_of(self.tools.drivers, release, database).snapshot(context.key)
        # What is taken before a revert may hold what is nowhere else.
        snapshot = replace(snapshot, expires=not context.step.id.startswith("back:"))
        with context.store.write() as unit:
            unit.points.add_snapshot(snapshot)
        return _told(snapshot)

    def _captured(self, context: StepContext, release: Release, database: DatabaseTarget) -> Result:
        """The plan promised that writes can be carried over: where they can't be kept now, nothing begins."""
        captures = captures_of(self.tools.drivers, release, database)
        if captures is None:
            raise Rejected(NOT_KEPT.template, todo=N_("Plan the change again."), where=database.resource)
        # Nobody else migrates meanwhile: the rollout holds the resource.
        applied = migrates_of(self.tools.drivers, release, database).applied()
        snapshot = replace(captures.capture(context.key), expires=True)
        moving = tuple(context.step.params["moving"])
        made = Capture(
            snapshot.id, database.resource, str(release.unit), context.program, snapshot.created_at,
            tuple(name for name, _ in applied), moving,
        )  # fmt: skip
        with context.store.write() as unit:
            unit.points.add_snapshot(snapshot)
            keep_capture(unit, made)
        return {**_told(snapshot), "captured": True}


class Rehearse(Handler):
    """Looks whether schema and users are still those that were rehearsed for the plan. Where they are not, or
    nothing was, deploys and reverts on a copy loaded from the snapshot, which proves the snapshot as well.
    """

    def run(self, context: StepContext) -> Result:
        release, database = database_at(context, self.tools.vault)
        driver = migrates_of(self.tools.drivers, release, database)
        params = context.step.params
        journeys = self._journeys(context, database)
        as_planned = "journeys" not in params or journeys.same(Written.of_params(params["journeys"]))
        if as_planned and "fingerprint" in params and driver.fingerprint() == params["fingerprint"]:
            return {"rehearsed": params["rehearsed"]}
        if params.get("others"):
            raise _not_as_planned(database.resource)
        seen = self._rehearse(context, driver, database, journeys)
        refuse_different(seen, database.resource)
        old, reason = judge(seen, journeys)
        if "old" not in params:
            # A rollback has no journeys: nobody may be kept where he is because nothing shows the way.
            refuse_breaking(old, reason, database.resource, forward="journeys" in params)
        elif OldCode(params["old"]).runs is not old.runs:
            raise _not_as_planned(database.resource)
        return {"deploy_seconds": dict(seen.deploy_seconds), "revert_seconds": dict(seen.revert_seconds)}

    @staticmethod
    def _journeys(context: StepContext, database: DatabaseTarget) -> Written:
        """Asked again: others may have come to use it, or be on other releases, since the plan was made."""
        params = context.step.params
        if "journeys" not in params:
            return Written("")
        with context.store.read() as unit:
            rollout = unit.rollouts.get(context.program)
            base, target = unit.releases.get(rollout.base), unit.releases.get(rollout.target)
            others = other_users(unit, rollout.unit, database.resource)
            journeys = journeys_of(unit, base, target, database)
            releases = {unit.releases.current(UnitId.parse(name)): name for name in others}
        fenced = "old" in params and not OldCode(params["old"]).runs
        new = [name for digest, name in releases.items() if digest not in params.get("others", ())]
        if fenced and new:
            raise Conflict(
                N_("{units} use {resource} too since the plan was made, and a fence does not stop them"),
                todo=N_("Plan again; nothing was changed."),
                where=database.resource,
                units=", ".join(new),
                resource=database.resource,
            )
        return journeys

    def _rehearse(
        self, context: StepContext, driver: Migrates, database: DatabaseTarget, journeys: Written
    ) -> Rehearsal:
        params = context.step.params
        scripts = {m.name: self.tools.script(m) for m in database.migrations}
        pending = [scripts[name] for name in params["pending"]]
        standing = [scripts[name] for name in params["standing"]]
        snapshot = self._snapshot(context, database.resource)
        if isinstance(driver, RehearsesWrites):
            texts = texts_of(self.tools.objects, journeys)
            return driver.rehearse_writes(snapshot, pending, standing, texts)
        return driver.rehearse(snapshot, pending, standing)

    @staticmethod
    def _snapshot(context: StepContext, resource: str) -> Snapshot:
        taken = context.result_of(f"snapshot:{resource}") or {}
        with context.store.read() as unit:
            return next(s for s in unit.points.snapshots(resource) if s.id == taken.get("snapshot"))


class LoadWarmCopy(Handler):
    """Where room and speed chose it and it fails, the snapshot's file is what a restore loads: slower, and
    nothing is lost. Where the settings ask for it, nothing begins.
    """

    def run(self, context: StepContext) -> Result:
        release, database = database_at(context, self.tools.vault)
        keeps = warm_of(self.tools.drivers, release, database)
        taken = context.result_of(f"snapshot:{database.resource}") or {}
        with context.store.read() as unit:
            snapshots = unit.points.snapshots(database.resource)
        snapshot = next(s for s in snapshots if s.id == taken.get("snapshot"))
        try:
            if keeps is None:
                raise Rejected(N_("this driver has no copy stand by"), where=database.resource)
            warm = keeps.warm_copy(snapshot)
        except Rejected as error:
            if context.step.params["must"]:
                raise
            return {"warm": "", "why": str(error.what)}
        if warm.proven_at is not None:
            with context.store.write() as unit:
                unit.points.add_snapshot(replace(snapshot, proven_at=warm.proven_at))
        return {"warm": warm.name, "bytes": warm.size}


def _not_as_planned(resource: str) -> Conflict:
    return Conflict(
        N_("the schema of {resource}, or who uses it, is not what was rehearsed, and the plan rests on that"),
        todo=N_("Plan again; nothing was changed."),
        where=resource,
        resource=resource,
    )


class Migrate(Handler):
    def run(self, context: StepContext) -> Result:
        release, database = database_at(context, self.tools.vault)
        name = context.step.params["migration"]
        migration = next(m for m in database.migrations if m.name == name)
        driver = migrates_of(self.tools.drivers, release, database)
        captures = self._relied_on(context, database.resource, name)
        if captures and name not in dict(driver.applied()):
            self._refuse_lost(context, release, database, captures)
        returned = driver.deploy(self.tools.script(migration), context.key)
        return {"revision": name, "returned": dict(returned), **_ended(driver)}

    @staticmethod
    def _relied_on(context: StepContext, resource: str, name: str) -> list[Capture]:
        """What the plan opened for this migration, because it moves data."""
        with context.store.read() as unit:
            opened = opened_by(unit, [context.program])
        return [c for c in opened if c.resource == resource and name in c.moving]

    def _refuse_lost(
        self, context: StepContext, release: Release, database: DatabaseTarget, relied_on: list[Capture]
    ) -> None:
        """The log of the rehearsal may have been more than the server keeps: then no data is moved."""
        captures = captures_of(self.tools.drivers, release, database)
        for capture in relied_on:
            if captures is not None:
                captures.refuse_lost(snapshot_of(context.store, capture))


class RevertSchema(Handler):
    def run(self, context: StepContext) -> Result:
        release, database = database_at(context, self.tools.vault)
        name = context.step.params["migration"]
        migration = next(m for m in database.migrations if m.name == name)
        with context.store.read() as unit:
            # Asked again: since the plan was made another unit may have come to need it.
            needed = needed_by_others(unit, release.unit, database.resource).get(str(name), ())
        if needed and context.step.params.get("has_to_go"):
            raise NotReversible(
                N_("{units} need {name} in {resource} since, and old code is not shown to run on it"),
                todo=N_(
                    "Nobody is served meanwhile: take them back first (lastgood rollback {first}) and run "
                    "this again, or deploy a release that runs with {name}."
                ),
                where=database.resource,
                units=", ".join(needed),
                first=needed[0],
                name=name,
                resource=database.resource,
            )
        if needed:
            return {"kept": name, "needed_by": list(needed)}
        driver = migrates_of(self.tools.drivers, release, database)
        script = self.tools.script(migration)
        result = {"reverted": name, "put_aside": dict(driver.revert(script, context.key))}
        undoes = undoes_of(self.tools.drivers, release, database)
        undone = undoes.undone(script, context.key) if undoes is not None else Undone()
        result |= _ended(driver)
        if undone.rows or undone.conflicts:
            result |= {"undone": dict(undone.rows), "undo_conflicts": dict(undone.conflicts)}
        return result


def _ended(driver: Migrates) -> Result:
    """Whose sessions the migration did not wait for."""
    ended = list(driver.sessions_ended()) if isinstance(driver, EndsIdle) else []
    return {ENDED: ended} if ended else {}


def _told(snapshot: Snapshot) -> Result:
    return {"snapshot": snapshot.id, "bytes": snapshot.size, "cut": snapshot.cut}

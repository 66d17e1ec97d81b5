"""Writes the restore point when the guard window ended well."""

from __future__ import annotations

from lastgood.actions.captures import Servers, end_capture, settled_by
from lastgood.actions.content import missing_content
from lastgood.actions.images import left_to_engine
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.domain.criterion import Verdict
from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.domain.release import Release
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.engine.handlers import Result, StepContext


class KeepRestorePoint(Handler):
    """Only what was verified (or accepted by a person) and is kept here whole becomes a restore point."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        accepted = bool((context.result_of("guard") or {}).get("accepted"))
        with context.store.read() as unit:
            gate = unit.rollouts.get(context.program).gate
        passed = gate is not None and gate.verdict is Verdict.PASSED
        if not passed and not accepted:
            return {"kept": False}
        missing = (*missing_content(self.tools, release), *left_to_engine(self.tools.drivers, release))
        if missing:
            raise DriverError(
                N_("the restore point would not be whole: {missing} is not kept here"),
                todo=N_("Check the disk under the state directory, then deploy again."),
                missing=", ".join(missing[:3]),
            )
        point = RestorePoint(
            f"rp-{context.program}",
            release.unit,
            release.digest,
            PointKind.ACCEPTED if accepted else PointKind.VERIFIED,
            context.clock.now(),
            context.program,
            gate,
        )
        with context.store.write() as unit:
            if all(known.id != point.id for known in unit.points.list(release.unit)):
                unit.points.add(point)
        return {"kept": True, "point": point.id, **self._end_captures(context, release)}

    def _end_captures(self, context: StepContext, release: Release) -> Result:
        """Nobody goes back behind what is good. A change of many units may take this one back still: its
        captures stay open until all of it is good.
        """
        with context.store.read() as unit:
            part_of = unit.rollouts.get(context.program).part_of
            opened = [] if part_of else settled_by(unit, context.program, release)
        good = Message(N_("{rollout} is verified good"), {"rollout": context.program})
        left = {}
        for capture in opened:
            now = context.clock.now()
            why = end_capture(
                Servers(context.store, self.tools.drivers, self.tools.vault), release, capture, good, now
            )
            if why is not None:
                left[capture.resource] = str(why)
        return {"still_captured": left} if left else {}

"""Looks whether what is there is what was last released; a change on top of drift would hide it."""

from __future__ import annotations

from lastgood.actions.drift import detect
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.engine.handlers import Result, StepContext


class Observe(Handler):
    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        found = detect(self.tools.drivers, release)
        if found:
            listed = ", ".join(
                f"{d.subject} {d.kind.value}" + (f" ({d.detail})" if d.detail else "") for d in found[:5]
            )
            raise Conflict(
                N_("{unit} differs from what was last released: {found}"),
                todo=N_("Put it back with lastgood heal {unit}, or take it into Git; then deploy again."),
                where=str(release.unit),
                unit=str(release.unit),
                found=listed,
            )
        return {"drift": 0}

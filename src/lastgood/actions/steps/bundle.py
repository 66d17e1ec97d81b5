"""Keeps the restore bundle of the newest restore point ready, where the service wants one."""

from __future__ import annotations

from pathlib import Path

from lastgood.actions.bundling.databases import bundled_databases
from lastgood.actions.bundling.write import write_bundle
from lastgood.actions.renewing import refuse_lacking, renewal_of
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.engine.handlers import Result, StepContext


class WriteBundle(Handler):
    """Of the restore point that this rollout kept; nothing where it kept none."""

    def run(self, context: StepContext) -> Result:
        kept = context.result_of("keep") or {}
        if not kept.get("kept"):
            return {"written": ""}
        release = release_at(context)
        with context.store.read() as unit:
            renewal = renewal_of(unit, release, self.tools.vault)
            point = next(p for p in unit.points.list(release.unit) if p.id == kept["point"])
        refuse_lacking(renewal)
        release = renewal.release
        made = f"{point.created_at:%Y-%m-%d %H:%M:%S %Z}"
        tools = self.tools
        databases = bundled_databases(
            context.store, tools.drivers, tools.objects, context.clock, release, point
        )
        written = write_bundle(
            tools.drivers, tools.objects, tools.vault, tools.images, release, point,
            Path(release.keep.bundles), made, databases,
        )  # fmt: skip
        return {"written": str(written.directory), "bytes": written.size}

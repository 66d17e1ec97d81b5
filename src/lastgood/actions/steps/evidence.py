"""Evidence: everything a root-cause analysis will want, kept before anything is removed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lastgood.actions.abilities import evidence_of
from lastgood.actions.steps.tools import Handler, Tools, release_at
from lastgood.domain.digest import canonical
from lastgood.domain.errors import DriverError
from lastgood.domain.release import Release
from lastgood.engine.handlers import Result, StepContext


class CollectEvidence(Handler):
    """A source that can't answer is noted and never stops the way back."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        directory = self.tools.evidence_directory / context.program
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        hidden = _secret_values(self.tools, release)
        names, missing = [], {}
        for source, driver in evidence_of(self.tools.drivers, release):
            try:
                items = driver.evidence()
            except DriverError as error:
                missing[source] = str(error.what)
                continue
            for item in items:
                name = f"{source}-{item.name.replace('/', '-')}"
                _keep(directory / name, item.content, hidden)
                names.append(name)
        _keep(directory / "samples.json", self._samples(context), hidden)
        return {"directory": str(directory), "files": [*names, "samples.json"], "missing": missing}

    @staticmethod
    def _samples(context: StepContext) -> bytes:
        """What the gate saw: the samples of the failed rollout, which this program takes back."""
        with context.store.read() as unit:
            rollout = unit.rollouts.get(context.program)
            failed = rollout.undoes or rollout.id
            return canonical({"rollout": failed, "samples": unit.samples.list(failed)})


def _secret_values(tools: Tools, release: Release) -> list[bytes]:
    values = []
    for secret in release.secrets:
        try:
            values.append(tools.vault.unseal(secret).encode())
        except DriverError:
            continue
    return [v for v in values if v]


def _keep(path: Path, content: bytes, hidden: Sequence[bytes]) -> None:
    """Write durably, with every known secret value taken out (law 12)."""
    for value in hidden:
        content = content.replace(value, b"[secret]")
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)

"""Evidence: everything a root-cause analysis will want, kept before anything is removed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lastgood.actions.abilities import evidence_of
from lastgood.actions.renewing import renewal_of
from lastgood.actions.secrets import secrets_of_service
from lastgood.actions.steps.tools import Handler, Tools, release_at
from lastgood.domain.digest import canonical
from lastgood.domain.errors import LastgoodError
from lastgood.domain.release import Release
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.drivers import GivesEvidence


class CollectEvidence(Handler):
    """A source that can't answer is noted and never stops the way back."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        directory = self.tools.evidence_directory / context.program
        names: list[str] = []
        missing: dict[str, str] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            _keep(directory / "samples.json", self._samples(context), [])
            with context.store.read() as unit:
                asking = renewal_of(unit, release, self.tools.vault).release
            hidden = [*_secret_values(self.tools, release), *_secret_values(self.tools, asking)]
            for source, find in evidence_of(self.tools.drivers, asking):
                self._collect(directory, source, find, hidden, names, missing)
        except OSError as error:
            missing["directory"] = error.strerror or str(error)
        except LastgoodError as error:
            if error.own_state:
                raise
            missing["secrets"] = str(error.what)
        return {"directory": str(directory), "files": [*names, "samples.json"], "missing": missing}

    @staticmethod
    def _collect(
        directory: Path,
        source: str,
        find: Callable[[], object],
        hidden: Sequence[bytes],
        names: list[str],
        missing: dict[str, str],
    ) -> None:
        """Keep what one source gives; a source that can't answer is noted."""
        try:
            driver = find()
            for item in driver.evidence() if isinstance(driver, GivesEvidence) else ():
                name = f"{source}-{item.name.replace('/', '-')}"
                _keep(directory / name, item.content, hidden)
                names.append(name)
        except LastgoodError as error:
            missing[source] = str(error.what)

    @staticmethod
    def _samples(context: StepContext) -> bytes:
        """What the gate saw: the samples of the failed rollout, which this program takes back."""
        with context.store.read() as unit:
            rollout = unit.rollouts.get(context.program)
            failed = rollout.undoes or rollout.id
            return canonical({"rollout": failed, "samples": unit.samples.list(failed)})


def _secret_values(tools: Tools, release: Release) -> list[bytes]:
    """Raises DriverError when one can't be unsealed: then nothing may be kept that could hold it."""
    return [tools.vault.unseal(secret).encode() for secret in secrets_of_service(release)]


def _keep(path: Path, content: bytes, hidden: Sequence[bytes]) -> None:
    """Write durably, with every known secret value taken out (law 12)."""
    for value in hidden:
        content = content.replace(value, b"[secret]")
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.rename(path)

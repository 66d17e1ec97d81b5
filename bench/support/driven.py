"""What is done with a world, whatever it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.support.runners import places_in, wait_for
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.service import Service
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import UnitId

LASTGOOD = Path(sys.executable).parent / "lastgood"


class Driven:
    """One unit, its estate and its state under ``root``; ``service`` is lastgood, loaded already."""

    root: Path
    unit: UnitId
    service: Service

    @property
    def places(self) -> Places:
        return places_in(self.root, self.root / "estate")

    def by_call(self) -> str:
        """Go back; returns the rollout to follow, at once."""
        return self.service.rollback(self.unit, reason="bench")

    def by_command(self) -> str:
        """The same with a process of its own."""
        command = [str(LASTGOOD), "rollback", str(self.unit), "--yes", "--json", "--detach"]
        done = subprocess.run(
            command,
            cwd=self.places.estate,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr[-500:]}")
        return self.service.history(self.unit, 1)[0][0].id

    def until_guarding(self, rollout: Rollout) -> None:
        """Wait until its guard window is open. Raises RuntimeError when it ended before."""

        def seen() -> Rollout | None:
            now = self.service.show(rollout.id)[0].rollout
            return now if now.state is RolloutState.GUARDING or not now.state.is_open else None

        last = wait_for(seen)
        if last is None or last.state is not RolloutState.GUARDING:
            raise RuntimeError(f"{rollout.id} came to no guard window: {last and last.outcome}")

    def end(self, rollout: str) -> Rollout:
        """The end of a rollout and of what follows from it. Raises RuntimeError for a bad one."""
        last = [progress.rollout for progress in self.service.follow(rollout, lambda _: False)][-1]
        if last.state is not RolloutState.VERIFIED:
            raise RuntimeError(f"{last.id}: {last.state.value}: {last.outcome}")
        return last

    def _environment(self) -> dict[str, str]:
        places = self.places
        named = {"LASTGOOD_STATE": places.state, "LASTGOOD_KEY_FILE": places.key}
        return {**os.environ, **{key: str(value) for key, value in named.items()}}

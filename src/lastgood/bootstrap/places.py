"""Where things are on this machine: the estate, the state directory, the key. Cheap to import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lastgood.domain.errors import InvalidInput, NotAllowed
from lastgood.domain.message import N_

STATE = ".lastgood"
ESTATE_FILE = "lastgood.yaml"


@dataclass(frozen=True)
class Places:
    """``estate`` is None where there is none: the way back works without."""

    state: Path
    key: Path
    estate: Path | None = None

    @property
    def objects(self) -> Path:
        return self.state / "objects"

    @property
    def images(self) -> Path:
        """Container images as an OCI layout."""
        return self.state / "images"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def evidence(self) -> Path:
        return self.state / "evidence"

    @property
    def durable(self) -> Path:
        """DBOS's own file: losing it loses nothing."""
        return self.state / "durable.db"

    @property
    def runner_log(self) -> Path:
        return self.state / "runner.log"


def find_places(
    *, estate: Path | None = None, state: Path | None = None, start: Path | None = None
) -> Places:
    """Options first, then LASTGOOD_ESTATE, LASTGOOD_STATE and LASTGOOD_KEY_FILE, then the nearest
    directory upwards with a lastgood.yaml (or a .lastgood). Raises InvalidInput when there is neither.
    """
    here = (start or Path.cwd()).resolve()
    named = estate or _from_environment("LASTGOOD_ESTATE")
    found = named.resolve() if named else _upwards(here, ESTATE_FILE)
    given = state or _from_environment("LASTGOOD_STATE")
    missing = named is not None and not (named / ESTATE_FILE).is_file()
    if missing and given is not None and estate is None:
        # The way back needs no estate: one that was only set in the environment may be gone.
        return Places(given.resolve(), key_file())
    if named is not None and missing:
        raise InvalidInput(
            N_("{path} is not an estate: it has no lastgood.yaml"),
            todo=N_("Name the directory of the estate, or start one there: lastgood init {path}"),
            path=str(named),
        )
    beside = found or _upwards(here, STATE)
    if given is None and beside is None:
        raise InvalidInput(
            N_("no estate and no state directory here"),
            todo=N_("Go to the estate's directory, name it with --estate, or start one: lastgood init."),
            where=str(here),
        )
    return Places((given or Path(str(beside)) / STATE).resolve(), key_file(), found)


def key_file() -> Path:
    """The sealing key lies apart from what it seals."""
    named = _from_environment("LASTGOOD_KEY_FILE")
    if named:
        return named.resolve()
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "lastgood" / "seal.key"


def make_state(places: Places) -> None:
    """Create the state directory, private and out of Git's sight."""
    try:
        places.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        ignore = places.state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise NotAllowed(
            N_("the state directory {path} can't be made: {why}"),
            todo=N_("Make it writable for this user, or name another with --state."),
            path=str(places.state),
            why=error.strerror or str(error),
        ) from error


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def _upwards(start: Path, name: str) -> Path | None:
    return next((d for d in (start, *start.parents) if (d / name).exists()), None)

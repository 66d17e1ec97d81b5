"""What is kept in files: which generation is behind which slot, and the servers for HAProxy's next start."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.haproxy.servers import Admin, Server, View, routing, same_address
from lastgood.drivers.haproxy.settings import Settings

FORMAT = 1
RUNNING = "2"
"""How ``show servers state`` says that a server is up."""
LEFT_OVER = 3600.0
CAUSES = {
    errno.EACCES: Cause.PERMISSION,
    errno.EPERM: Cause.PERMISSION,
    errno.EROFS: Cause.PERMISSION,
    errno.ENOENT: Cause.WRONG_PATH,
    errno.ENOTDIR: Cause.WRONG_PATH,
    errno.EISDIR: Cause.WRONG_PATH,
}


@dataclass(frozen=True)
class Holding:
    """What a slot was filled with. ``turn`` counts fillings of the unit: the least was filled first."""

    generation: str
    address: str
    turn: int = 0


@dataclass(frozen=True)
class Original:
    """A server of the user's own as it was before we changed it first."""

    address: str
    weight: int


@dataclass(frozen=True)
class Record:
    """Written before HAProxy is told, so that an address there is always known here."""

    slots: Mapping[str, Holding] = field(default_factory=dict)
    originals: Mapping[str, Original] = field(default_factory=dict)

    def owner(self, server: Server) -> tuple[str, str]:
        """(generation, address) behind a server; no generation when the slot was filled with another."""
        holding = self.slots.get(server.name)
        if holding is None or not same_address(holding.address, server.address):
            return "", server.address
        return holding.generation, holding.address


class Files:
    """The two files of one unit. Each is replaced whole and durably."""

    def __init__(self, settings: Settings) -> None:
        self._record = settings.record_file
        self._state = settings.state_file

    def record(self) -> Record | None:
        """None when the route was never installed. Raises Rejected when it can't be read."""
        try:
            data = json.loads(self._record.read_bytes())
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}")
            return Record(
                {name: Holding(**value) for name, value in data["slots"].items()},
                {name: Original(**value) for name, value in data["originals"].items()},
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(self._record, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected(
                N_("the record of the server slots is damaged: {reason}"),
                todo=N_(
                    "Move it away and deploy again; until then it is not known which generation is where."
                ),
                where=str(self._record),
                reason=str(error),
            ) from error

    def keep(self, record: Record) -> None:
        """Raises Rejected; then it is as before."""
        _replace(self._record, json.dumps({"format": FORMAT, **asdict(record)}, indent=1) + "\n")

    def holds(self, view: View) -> bool:
        """Whether HAProxy would come up again with the servers as they are in ``view``."""
        try:
            return routing(self._state.read_text()) == routing(view.state)
        except (OSError, ValueError, KeyError):
            return False

    def save(self, view: View) -> None:
        """Raises Rejected; then it is as before."""
        _replace(self._state, believed_up(view.state))


def believed_up(state: str) -> str:
    """``state`` with every server that isn't in maintenance as up: the file may be read much later, and
    HAProxy checks at once. When it starts without a file it believes so too.
    """
    columns = state.splitlines()[1].lstrip("# ").split()
    place = columns.index("srv_op_state")
    believed = {name for name, (_, admin, _) in routing(state).items() if admin is not Admin.MAINT}
    lines = []
    for line in state.splitlines():
        parts = line.split()
        if len(parts) > place and parts[columns.index("srv_name")] in believed:
            parts[place] = RUNNING
        lines.append(" ".join(parts))
    return "\n".join(lines) + "\n"


def _replace(path: Path, text: str) -> None:
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        descriptor, temporary = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # HAProxy may run as another user
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise _refused(path, error) from error


def _prefix(path: Path) -> str:
    return f".{path.name}.new-"


def _sweep(path: Path) -> None:
    """Remove what a writer killed before its rename left behind."""
    for old in path.parent.glob(f"{_prefix(path)}*"):
        if old.stat().st_mtime < time.time() - LEFT_OVER:
            old.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> Rejected:
    return Rejected(
        N_("{path} can't be used: {reason}"),
        todo=N_(
            "Make {directory} a directory with free space that this user can write and HAProxy can read."
        ),
        where=str(path),
        cause=CAUSES.get(error.errno or 0),
        path=str(path),
        reason=error.strerror or str(error),
        directory=str(path.parent),
    )

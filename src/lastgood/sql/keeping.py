"""Snapshots as files: a sealed dump, and notes of what was seen at its cut. Without them a dump is none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.digest import plain
from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.domain.restore_point import Snapshot
from lastgood.ports.content import Vault
from lastgood.sql.listing import Listing, difference, from_plain, to_plain
from lastgood.sql.sealing import Dump

RESERVE = 64 << 20
"""Bytes that stay free on our disk whatever we keep."""


@dataclass(frozen=True)
class Cut:
    """What was seen at the cut, kept beside the dump: ``digest`` is the dump file's."""

    snapshot: Snapshot
    digest: str
    listing: Listing
    rows: Mapping[str, int]
    revisions: tuple[tuple[str, str], ...]

    def write(self, path: Path) -> None:
        text = json.dumps(
            {
                "snapshot": plain(self.snapshot),
                "digest": self.digest,
                "rows": dict(self.rows),
                "revisions": self.revisions,
                "listing": to_plain(self.listing),
            }
        )
        write_durably(path, text.encode())

    @classmethod
    def load(cls, path: Path) -> Cut | None:
        """None when there is none, or one that can't be read."""
        try:
            kept: dict[str, Any] = json.loads(path.read_text())
            times = {
                k: datetime.fromisoformat(v) if v else None
                for k, v in kept["snapshot"].items()
                if k in ("created_at", "proven_at", "discarded_at")
            }
            return cls(
                Snapshot(**{**kept["snapshot"], **times}),
                kept["digest"],
                from_plain(kept["listing"]),
                kept["rows"],
                tuple((name, digest) for name, digest in kept["revisions"]),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


class Keeper(ABC):
    """Keeps the snapshots of ``resource``, which is at ``address``, in ``directory``."""

    directory: Path

    @property
    @abstractmethod
    def resource(self) -> str: ...

    @property
    @abstractmethod
    def address(self) -> str: ...

    @property
    @abstractmethod
    def vault(self) -> Vault: ...

    @property
    def resident(self) -> Path | None:
        """The directory that copies of the resource never leave, None for anywhere."""
        return None

    def make_directory(self) -> None:
        """Raises Rejected where copies of the resource may not be, OSError."""
        resident = self.resident
        if resident is not None and not resident.is_dir():
            raise Rejected(
                N_("the place of {resource}'s copies is not there: {path}"),
                todo=N_("Mount it, or correct 'resident' in database.yaml; nothing was written elsewhere."),
                where=str(resident),
                cause=Cause.WRONG_PATH,
                resource=self.resource,
                path=str(resident),
            )
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if resident is not None and not self.directory.resolve().is_relative_to(resident.resolve()):
            raise Rejected(
                N_("{path} leads out of {resident}, which copies of {resource} must not leave"),
                todo=N_("Take the link away; nothing was written there."),
                where=str(self.directory),
                cause=Cause.WRONG_PATH,
                path=str(self.directory),
                resident=str(resident),
                resource=self.resource,
            )

    def discard(self, snapshot: Snapshot) -> None:
        """Notes first: without them nobody takes the dump for a snapshot."""
        with self.files():
            self._notes(snapshot.id).unlink(missing_ok=True)
            self._dump(snapshot.id).unlink(missing_ok=True)

    def known(self, name: str) -> Cut | None:
        """The complete snapshot of that name."""
        with self.files():
            cut = Cut.load(self._notes(name))
            dump = self._dump(name)
            if cut is None or not dump.is_file() or dump.stat().st_size != cut.snapshot.size:
                return None
            return cut

    def cut_of(self, snapshot: Snapshot) -> Cut:
        """Raises Rejected when the files are missing or their content is not what was written."""
        cut = self.known(snapshot.id)
        if cut is None or file_digest(self._dump(snapshot.id)) != cut.digest:
            raise self._damaged(snapshot)
        return cut

    def open_cut_of(self, snapshot: Snapshot) -> Cut:
        """The same, where the key opens the dump: it may be another one since. Raises Rejected, OSError."""
        cut = self.cut_of(snapshot)
        if not self.dump_of(snapshot).opens:
            raise self._damaged(snapshot)
        return cut

    def seen(self, name: str) -> Cut | None:
        """What was seen at the cut of the snapshot of that name, whatever became of the dump."""
        with self.files():
            return Cut.load(self._notes(name))

    def migrations_of(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Names of those it has, oldest first; the dump is not read. Raises Rejected when it is not there."""
        cut = self.known(snapshot.id)
        if cut is None:
            raise self._damaged(snapshot)
        return tuple(name for name, _ in cut.revisions)

    def _damaged(self, snapshot: Snapshot) -> Rejected:
        return Rejected(
            N_("the files of snapshot {name} are missing or damaged: {path}"),
            todo=N_("Take a new snapshot."),
            where=str(self._dump(snapshot.id)),
            cause=Cause.WRONG_PATH,
            name=snapshot.id,
            path=str(self._dump(snapshot.id)),
        )

    def ids(self) -> Iterator[str]:
        """Of all snapshots that were ever noted here and not discarded."""
        with self.files():
            yield from (path.stem for path in self.directory.glob("*.json"))

    def dump_of(self, snapshot: Snapshot) -> Dump:
        return Dump(self._dump(snapshot.id), self.vault)

    def compare(self, cut: Cut, found: Listing, rows: Mapping[str, int], *, usual: str = "") -> Snapshot:
        """Note that it was proven by a copy that has ``found`` and ``rows``. Raises Rejected when that is not
        what was seen at the cut; ``usual`` as for ``difference``.
        """
        wrong = difference(cut.listing, found, usual=usual) or _count_difference(cut.rows, rows, usual)
        if wrong:
            raise Rejected(
                N_("snapshot {name} does not load as it was: {difference}"),
                todo=N_("Take a new snapshot; don't rely on this one."),
                where=self.address,
                name=cut.snapshot.id,
                difference=wrong,
            )
        proven = replace(cut.snapshot, proven_at=datetime.now(UTC))
        with self.files():
            replace(cut, snapshot=proven).write(self._notes(cut.snapshot.id))
        return proven

    def check_space(self, size: int) -> None:
        """Refuse when a dump of a database of ``size`` bytes could fill our disk."""
        need = size + RESERVE
        free = shutil.disk_usage(self.directory).free
        if free < need:
            raise Rejected(
                N_("a snapshot of {address} may need {need} MiB, and {free} MiB are free in {path}"),
                todo=N_("Free space there, then try again; nothing was written."),
                where=str(self.directory),
                address=self.address,
                need=need >> 20,
                free=free >> 20,
                path=str(self.directory),
            )

    @contextlib.contextmanager
    def files(self) -> Iterator[None]:
        """Our own disk may be full or closed to us as well."""
        try:
            yield
        except OSError as error:
            raise Rejected(
                N_("the snapshots in {path} can't be read or written: {error}"),
                todo=N_("Give it space and the rights there, then try again."),
                where=str(self.directory),
                cause=Cause.PERMISSION if isinstance(error, PermissionError) else None,
                path=str(self.directory),
                error=error.strerror or str(error),
            ) from None

    def name(self, key: str) -> str:
        """The id of the snapshot taken under ``key``."""
        resource = self.resource
        slug = re.sub(r"[^a-z0-9]+", "-", resource.lower()).strip("-")[:60]
        identity = "\0".join((resource, key))
        return f"{slug}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def _dump(self, name: str) -> Path:
        return self.directory / f"{Path(name).name}.dump"

    def _notes(self, name: str) -> Path:
        return self.directory / f"{Path(name).name}.json"


def _count_difference(wanted: Mapping[str, int], found: Mapping[str, int], usual: str) -> str:
    lines = [
        f"table {name.removeprefix('public.')} has {found.get(name, 0)} rows, not {wanted.get(name, 0)}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name, 0) != found.get(name, 0)
    ]
    return "\n".join(lines)


def directory_for(resident: Path | None, own: Path) -> Path:
    """Where snapshots are kept: in the declared place, else in the driver's ``own`` directory."""
    return own / "snapshots" if resident is None else resident / "lastgood-snapshots"


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Temp name, fsync, rename, fsync of the directory; readable by us alone."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

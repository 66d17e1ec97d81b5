"""What is written after the cut of a snapshot is found by comparing it with the live database. Source of
``Captures``.

A capture is a row in a table of ours in the live file, made before the snapshot is: from then on migrations
of ours note there what they do to rows (``own``). All that is different else, the shop did. Nothing is put in
the way of its programs: no triggers, no log, no cost.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_, Message
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import WritesSince
from lastgood.drivers.sqlite import copying, own
from lastgood.drivers.sqlite.connection import Connection, Store, nowhere, rows
from lastgood.drivers.sqlite.locks import begin, patiently
from lastgood.drivers.sqlite.salvage import Salvager
from lastgood.drivers.sqlite.scratch import alone, scratch
from lastgood.drivers.sqlite.snapshot import PATIENCE, Snapshotter

T = TypeVar("T")

_NO_CAPTURE = N_("no capture is open for snapshot {name}: it was ended, or the file is another one")
_VIRTUAL = N_("virtual tables can't be compared, so what is written to them would be lost: {tables}")


@dataclass(frozen=True)
class Capturer:
    """Captures of the database of ``store``, each with a snapshot of ``snapshots``; ``directory`` is for
    files of a moment.
    """

    store: Store
    snapshots: Snapshotter
    directory: Path

    def obstacle(self) -> Message | None:
        """Source of ``Captures.capture_obstacle``."""
        with self.store.session() as connection:
            found = virtual(connection)
        return Message(_VIRTUAL, {"tables": ", ".join(found)}) if found else None

    def capture(self, key: str) -> Snapshot:
        """Source of ``Captures.capture``: an older one is the way back until this one is whole."""
        id_ = self.snapshots.name(key)
        with self.alone():
            known = self.snapshots.known(id_)
            if known is not None and id_ in self._open():
                return known.snapshot
            self._refuse()
            if known is not None:
                # Taken by a call that died long ago, or ended: what was written since is not known any more.
                self.snapshots.discard(known.snapshot)
            self._write(lambda connection: _begin(connection, id_))
            taken = self.snapshots.snapshot(key)
            with self.snapshots.opened(taken) as copy, copy.session(only_read=True) as connection:
                before = own.newest(connection)
            self._write(lambda connection: _end_others(connection, id_, before))
            return taken

    def writes_since(self, snapshot: Snapshot, keep: Sequence[str]) -> WritesSince:
        """Source of ``Captures.writes_since``."""
        lost = self.lost(snapshot)
        if lost is not None:
            return WritesSince(snapshot.id, False, reasons=(lost,))
        at = datetime.now(UTC).isoformat()
        with (
            self.snapshots.opened(snapshot) as cut,
            self.frozen() as now,
            self.store.errors(),
            nowhere() as connection,
        ):
            salvager = Salvager.attach(connection, cut.path, now)
            reasons = tuple(salvager.gaps())
            tables = tuple(salvager.count(keep))
        return WritesSince(snapshot.id, not reasons, tables, reasons, at)

    def refuse_lost(self, snapshot: Snapshot) -> None:
        """Source of ``Captures.refuse_lost``."""
        lost = self.lost(snapshot)
        if lost is not None:
            raise Rejected(
                lost.template,
                todo=N_("Nothing was changed. Plan the change again: it takes a new snapshot."),
                where=self.store.spot.address,
                **lost.params,
            )

    def end(self, snapshot: Snapshot) -> None:
        """Source of ``Captures.end_capture``."""
        if snapshot.id in self._open():
            self._write(lambda connection: own.end(connection, (snapshot.id,)))

    def lost(self, snapshot: Snapshot) -> Message | None:
        """Why what was written since the cut is not known."""
        if snapshot.id in self._open():
            return None
        return Message(_NO_CAPTURE, {"name": snapshot.id})

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """The only one of ours that captures or restores this database."""
        with self.snapshots.files():
            path = self.snapshots.locks / f"{self.snapshots.name('restores')}.lock"
            with alone(path, self.store.spot, PATIENCE):
                yield

    @contextlib.contextmanager
    def frozen(self) -> Iterator[Path]:
        """A copy of the live database as it is now."""
        with self.snapshots.files(), scratch(self.directory) as folder:
            self.snapshots.refuse_without_room(folder)
            path = folder / "now.db"
            copying.save(self.store, path)
            yield path

    def _open(self) -> tuple[str, ...]:
        with self.store.session() as connection:
            return own.captures(connection)

    def _write(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with contextlib.closing(self.store.connect()) as connection:
                begin(self.store, connection)
                result = work(connection)
                connection.execute("COMMIT")
                return result

        with self.store.errors():
            return patiently(self.store, once)

    def _refuse(self) -> None:
        obstacle = self.obstacle()
        if obstacle is not None:
            raise Rejected(
                obstacle.template,
                todo=N_("Mend that, or go on without: nothing was taken."),
                where=self.store.spot.address,
                **obstacle.params,
            )


def virtual(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Their names."""
    query = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'virtual' ORDER BY name"
    return tuple(str(name) for (name,) in rows(connection, query))


def _begin(connection: Connection, snapshot: str) -> None:
    own.prepare(connection)
    connection.execute(
        f"INSERT OR REPLACE INTO {own.CAPTURES} VALUES (?, ?)", (snapshot, datetime.now(UTC).isoformat())
    )


def _end_others(connection: Connection, snapshot: str, before: int) -> None:
    """With what migrations did before the cut of this one."""
    own.end(connection, [name for name in own.captures(connection) if name != snapshot])
    own.forget(connection, before)

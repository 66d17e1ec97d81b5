"""What is written after the cut of a snapshot is kept by the server's own log. Source of ``Captures``.

The server keeps its log by its own rules, for everybody, whether lastgood is there or not. So a capture is
nothing on the server: it is a note beside the snapshot that says where in the log the cut is, and by which it
is seen whether that log is still there and still the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import TableWrites, WritesSince
from lastgood.drivers.mariadb import changes, obstacles, statements
from lastgood.drivers.mariadb.binlog import Position
from lastgood.drivers.mariadb.changes import Incomplete, Parser, Renamed
from lastgood.drivers.mariadb.connection import PREFIX, Connection, Server, one, rows
from lastgood.drivers.mariadb.shapes import read_shapes
from lastgood.drivers.mariadb.snapshot import Snapshotter
from lastgood.sql.changes import Transaction
from lastgood.sql.keeping import write_durably
from lastgood.sql.writes import Tally

_NO_CAPTURE = N_("no capture is open for snapshot {name}: it was ended, or lost with its server")
_GONE = N_("the server has no log since snapshot {name} any more: it expired or was purged")
_OTHER = N_(
    "the log of {address} is another one than at snapshot {name}: it was reset, or this is another server"
)


@dataclass(frozen=True)
class Capturer:
    """Captures of the database of ``server``, each with a snapshot of ``snapshots``; ``directory`` has the
    notes.
    """

    server: Server
    snapshots: Snapshotter
    directory: Path

    def obstacle(self) -> Message | None:
        """Source of ``Captures.capture_obstacle``."""
        return obstacles.find(self.server)

    def capture(self, key: str) -> Snapshot:
        """Source of ``Captures.capture``: an older one is the way back until this one is whole."""
        id_ = self.snapshots.name(key)
        with self.server.session() as connection, self._files():
            one(connection, "SELECT GET_LOCK(%s, 3600)", f"{PREFIX}capture {self.server.database}"[:64])
            known = self.snapshots.known(id_)
            if known is None or not self._note(id_).is_file():
                self._refuse()
                taken = self.snapshots.snapshot(key)
                self._open(connection, taken)
                if self.lost(connection, taken) is not None:
                    # Taken by a call that died long ago: what was written since is not known any more.
                    self.snapshots.discard(taken)
                    taken = self.snapshots.snapshot(key)
                    self._open(connection, taken)
            else:
                taken = known.snapshot
            for note in self.directory.glob("*.json"):
                if note.stem != id_ and self._is_ours(note):
                    note.unlink(missing_ok=True)
            return taken

    def writes_since(self, snapshot: Snapshot, keep: Sequence[str]) -> WritesSince:
        """Source of ``Captures.writes_since``."""
        with self.server.session() as connection:
            lost = self.lost(connection, snapshot)
            if lost is not None:
                return WritesSince(snapshot.id, False, reasons=(lost,))
            position = changes.now(connection)
            reasons = list(self._gaps(connection))
            tables: tuple[TableWrites, ...] = ()
            try:
                tables = self._count(connection, snapshot, position, keep)
            except Incomplete as error:
                reasons.append(incomplete(error))
            held = self._held(connection, Position.read(snapshot.cut))
            return WritesSince(snapshot.id, not reasons, tables, tuple(reasons), str(position), held)

    def refuse_lost(self, snapshot: Snapshot) -> None:
        """Source of ``Captures.refuse_lost``."""
        with self.server.session() as connection:
            lost = self.lost(connection, snapshot)
        if lost is not None:
            raise Rejected(
                lost.template,
                todo=N_("Nothing was changed. Raise binlog_expire_logs_seconds, then plan the change again."),
                where=self.server.spot.address,
                **lost.params,
            )

    def end(self, snapshot: Snapshot) -> None:
        """Source of ``Captures.end_capture``."""
        with self._files():
            self._note(snapshot.id).unlink(missing_ok=True)

    def lost(self, connection: Connection, snapshot: Snapshot) -> Message | None:
        """Why the log does not hold everything since the cut."""
        params = {"name": snapshot.id, "address": self.server.spot.address}
        other = obstacles.named_otherwise(connection, self.server)
        if other is not None:
            return other
        note = self._read(snapshot.id)
        if note is None:
            return Message(_NO_CAPTURE, params)
        cut = Position.read(snapshot.cut)
        there = {str(row[0]): int(row[1]) for row in rows(connection, "SHOW BINARY LOGS")}
        if cut.file not in there:
            return Message(_GONE, params)
        if there[cut.file] < cut.offset or self._gtid(connection, cut) != note["gtid"]:
            return Message(_OTHER, params)
        return None

    def _open(self, connection: Connection, taken: Snapshot) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        gtid = self._gtid(connection, Position.read(taken.cut))
        content = {"resource": self.server.settings.resource, "gtid": gtid, "cut": taken.cut}
        write_durably(self._note(taken.id), json.dumps(content).encode())

    def _refuse(self) -> None:
        obstacle = self.obstacle()
        if obstacle is not None:
            raise Rejected(
                obstacle.template,
                todo=N_("Mend that, or go on without: nothing was taken."),
                where=self.server.spot.address,
                cause=Cause.PERMISSION if obstacle.template in obstacles.RIGHTS else None,
                **obstacle.params,
            )

    @staticmethod
    def _gtid(connection: Connection, cut: Position) -> str:
        """Of the last transaction before the cut: what tells one log from another of the same names."""
        return str(one(connection, "SELECT BINLOG_GTID_POS(%s, %s)", cut.file, cut.offset))

    @staticmethod
    def _held(connection: Connection, cut: Position) -> int:
        sizes = {Position.at(str(r[0]), 0).number: int(r[1]) for r in rows(connection, "SHOW BINARY LOGS")}
        return sum(size for number, size in sizes.items() if number >= cut.number) - cut.offset

    def _gaps(self, connection: Connection) -> Iterator[Message]:
        """Tables of which the snapshot or the log does not hold what a restore needs."""
        shapes = read_shapes(connection, self.server.database)
        keyless = [s.name for s in shapes.tables.values() if not s.key and s.kind == "BASE TABLE"]
        others = [
            s.name for s in shapes.tables.values() if s.engine.upper() != "INNODB" and s.kind != "SEQUENCE"
        ]
        if keyless:
            yield Message(
                N_(
                    "tables without a primary key, to which what was written is listed, not carried over: "
                    "{tables}"
                ),
                {"tables": ", ".join(sorted(keyless))},
            )
        if others:
            yield Message(
                N_(
                    "tables that are not InnoDB, so that the snapshot may not have them of one moment: "
                    "{tables}"
                ),
                {"tables": ", ".join(sorted(others))},
            )

    def _count(
        self, connection: Connection, snapshot: Snapshot, position: Position, keep: Sequence[str]
    ) -> tuple[TableWrites, ...]:
        known = self.snapshots.known(snapshot.id)
        counts: Mapping[str, int] = known.rows if known else {}
        names: dict[int, str] = {}

        def transactions() -> Iterator[Transaction]:
            there = changes.sequences(connection, self.server.database)
            parser = Parser(self.server.database, changes.charsets(connection), there)
            now: dict[str, str] = {}
            stream = changes.read(self.server.connect, parser, Position.read(snapshot.cut), position)
            for found in stream:
                if isinstance(found, Renamed):
                    statements.follow(now, found.pairs, counts)
                    continue
                found = replace(found, changes=tuple(c for c in found.changes if not c.apart))
                for change in found.changes:
                    name = change.relation.name
                    names.setdefault(parser.number(now.get(name, name)), now.get(name, name))
                yield _at_home(found, parser, now) if now else found

        with contextlib.closing(Tally(lambda oid: counts.get(names[oid], 0))) as tally:
            tally.add(transactions())
            return _tables(tally, names, keep)

    def _is_ours(self, note: Path) -> bool:
        content = self._read(note.stem)
        return content is None or content["resource"] == self.server.settings.resource

    def _read(self, id_: str) -> dict[str, str] | None:
        with self._files():
            try:
                kept: dict[str, str] = json.loads(self._note(id_).read_text())
            except (FileNotFoundError, ValueError):
                return None
            return kept

    def _note(self, id_: str) -> Path:
        return self.directory / f"{Path(id_).name}.json"

    @contextlib.contextmanager
    def _files(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Rejected(
                N_("the notes of captures in {path} can't be read or written: {error}"),
                todo=N_("Give it space and the rights there, then try again."),
                where=str(self.directory),
                cause=Cause.PERMISSION if isinstance(error, PermissionError) else None,
                path=str(self.directory),
                error=error.strerror or str(error),
            ) from None


def incomplete(error: Incomplete) -> Message:
    """As a reason for people."""
    return Message(N_("the log does not tell all that was written: {error}"), {"error": str(error)})


def _at_home(found: Transaction, parser: Parser, now: Mapping[str, str]) -> Transaction:
    """With the numbers of the tables that those were at the cut."""
    return replace(
        found,
        changes=tuple(
            replace(change, relation=replace(change.relation, oid=parser.number(now[name])))
            if (name := change.relation.name) in now
            else change
            for change in found.changes
        ),
    )


def _tables(tally: Tally, names: Mapping[int, str], keep: Sequence[str]) -> tuple[TableWrites, ...]:
    found: dict[str, TableWrites] = {}
    for oid, written in tally.written().items():
        name = names[oid]
        before = found.get(name, TableWrites(name, kept=not keep or name in keep))
        found[name] = replace(
            before,
            inserted=before.inserted + written.inserted,
            updated=before.updated + written.updated,
            deleted=before.deleted + written.deleted,
        )
    return tuple(found[name] for name in sorted(found) if found[name].rows)

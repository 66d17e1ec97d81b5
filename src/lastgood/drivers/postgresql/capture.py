"""What is written after the cut of a snapshot is kept by the server's own log. Source of ``Captures``.

A capture is a publication and a replication slot, both named after the snapshot, so that they are found
again after any crash. The slot is temporary until the dump is whole: a crash before leaves a publication,
which keeps nothing; one between slot and notes leaves a slot of no known snapshot, which the next capture or
end of a capture removes. Nothing is consumed from the slot that is not put aside before (``early``): it
begins at the cut, or where that ends.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import psycopg

from lastgood.domain.errors import Cause, DriverError, Rejected
from lastgood.domain.message import N_, Message
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import TableWrites, WritesSince
from lastgood.domain.warm_copy import WarmCopy
from lastgood.drivers.postgresql import changes, early, obstacles, publication, slots
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.snapshot import Moment, Snapshotter
from lastgood.drivers.postgresql.warm import Warmer
from lastgood.sql.writes import Tally, Written

RETRY_PAUSE = 0.2


@dataclass(frozen=True)
class Capturer:
    """Captures of the database of ``server``, each with a snapshot of ``snapshots``."""

    server: Server
    snapshots: Snapshotter

    def obstacle(self) -> Message | None:
        """Source of ``Captures.capture_obstacle``."""
        return obstacles.find(self.server, self.prefix)

    def capture(self, key: str) -> Snapshot:
        """Source of ``Captures.capture``: an older one is the way back until this one is whole."""
        id_ = self.snapshots.name(key)
        name = self.name(id_)
        with self.server.session() as connection:
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (self.prefix,))
            taken = self._open(connection, id_)
            if taken is None:
                # What a death left under this name, and what stood by or was put aside for it, is of another
                # cut; refused below, nobody would come by again.
                self._remove(connection, *self._remains(connection, name))
                self._sweep(connection)
                self._refuse()
                taken = self._take(connection, key, name)
            older = [[n for n in names if not n.startswith(name)] for names in self._remains(connection)]
            self._remove(connection, *older)
            self._sweep(connection)
            return taken

    def writes_since(self, snapshot: Snapshot, keep: Sequence[str]) -> WritesSince:
        """Source of ``Captures.writes_since``."""
        name = self.name(snapshot.id)
        with self.server.session() as connection:
            slot, notes = slots.look(connection, name), publication.read(connection, name)
            lost, warm = self.lost(connection, snapshot, slot), self.warmer.look(connection, snapshot)
            if slot is None or notes is None or lost is not None:
                reason = lost or Message(_NO_CAPTURE, {"name": snapshot.id})
                return WritesSince(
                    snapshot.id, False, reasons=(reason,), held=slot.held if slot else 0, warm=warm
                )
            position = changes.now(connection)
            tables = self._count(connection, snapshot, position, dict(notes.tables), keep)
            notes.follow(publication.look(connection), ours=False)
            reasons = [*notes.reasons(self.server.user)]
            if one(connection, "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"):
                reasons.append(Message(N_("large objects are there: what was written to them is not known")))
            return WritesSince(snapshot.id, not reasons, tables, tuple(reasons), position, slot.held, warm)

    def refuse_lost(self, snapshot: Snapshot) -> None:
        """Source of ``Captures.refuse_lost``."""
        with self.server.session() as connection:
            lost = self.lost(connection, snapshot, slots.look(connection, self.name(snapshot.id)))
        if lost is not None:
            raise Rejected(
                lost.template,
                todo=N_("Nothing was changed. Raise max_slot_wal_keep_size, then plan the change again."),
                where=self.server.spot.address,
                **lost.params,
            )

    def end(self, snapshot: Snapshot) -> None:
        """Source of ``Captures.end_capture``; what crashes left of others goes too."""
        name = self.name(snapshot.id)
        with self.server.session() as connection:
            self._remove(
                connection,
                [s for s in slots.beginning_with(connection, self.prefix) if s.startswith(name)],
                [p for p in publication.open_captures(connection) if p == name],
            )
            if one(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", self.prefix):
                # Nobody is opening one, so what belongs to no snapshot was left by a crash.
                known = {self.name(id_) for id_ in self.snapshots.ids()}
                left = (
                    [n for n in names if n[: len(name)] not in known] for names in self._remains(connection)
                )
                self._remove(connection, *left)
            self._sweep(connection)

    def warm(self, snapshot: Snapshot) -> WarmCopy:
        """Source of ``KeepsWarm.warm_copy``."""
        self.refuse_lost(snapshot)
        return self.warmer.warm(snapshot)

    def _sweep(self, connection: Connection) -> None:
        """What belongs to captures that are not open."""
        open_ = self._remains(connection)[0]
        self.warmer.sweep(connection, open_)
        early.drop(connection, open_)

    def name(self, id_: str) -> str:
        """Of slot and publication, by the snapshot's id; what else begins with it goes with the capture."""
        return publication.capture_name(self.server.settings.resource, id_)

    @property
    def warmer(self) -> Warmer:
        return Warmer(self.server, self.snapshots)

    @property
    def prefix(self) -> str:
        return publication.capture_prefix(self.server.settings.resource)

    def _open(self, connection: Connection, id_: str) -> Snapshot | None:
        known, slot = self.snapshots.known(id_), slots.look(connection, self.name(id_))
        if known is None or slot is None:
            return None
        whole = early.whole(connection, self.name(id_), known.snapshot.cut, slot.begins)
        return known.snapshot if whole else None

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

    def _take(self, connection: Connection, key: str, name: str) -> Snapshot:
        done = False
        try:
            self._publish(connection, name)
            with slots.opening(self.server, name) as (position, exported):
                moment = Moment(position, exported, lambda: slots.keep(connection, name))
                taken = self.snapshots.retake(key, moment)
            done = True
            return taken
        finally:
            if not done and not connection.closed:
                with contextlib.suppress(DriverError, psycopg.Error):
                    self._remove(connection, [name], [name])

    def _publish(self, connection: Connection, name: str) -> None:
        """A table that is being altered or vacuumed is waited for."""
        deadline = time.monotonic() + self.server.settings.lock_deadline
        while True:
            try:
                with self._guarded(connection):
                    publication.create(connection, name)
                return
            except psycopg.errors.LockNotAvailable:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(RETRY_PAUSE * random.uniform(0.5, 1.5))

    def _remains(self, connection: Connection, prefix: str = "") -> tuple[list[str], list[str]]:
        """Slots and publications of this resource, or those that begin with ``prefix``."""
        prefix = prefix or self.prefix
        found = publication.open_captures(connection)
        return (
            list(slots.beginning_with(connection, prefix)),
            [name for name in found if name.startswith(prefix)],
        )

    def _remove(self, connection: Connection, named: Sequence[str], published: Sequence[str]) -> None:
        """Slots first: only they cost anything."""
        for name in named:
            slots.drop(connection, name)
        with self._guarded(connection):
            publication.drop(connection, published)

    @contextlib.contextmanager
    def _guarded(self, connection: Connection) -> Iterator[None]:
        with connection.transaction():
            connection.execute(self.server.guards())
            yield

    def lost(self, live: Connection, snapshot: Snapshot, slot: slots.Slot | None) -> Message | None:
        """Why the slot does not hold everything since the cut."""
        if slot is None:
            return Message(_NO_CAPTURE, {"name": snapshot.id})
        if slot.idle:
            return Message(
                N_("the server gave up the log since snapshot {name}: nobody read it for as long as "
                   "idle_replication_slot_timeout says"),
                {"name": snapshot.id},
            )  # fmt: skip
        if slot.lost:
            return Message(
                N_("the server gave up the log since snapshot {name}: more than it may keep was written"),
                {"name": snapshot.id},
            )
        whole = early.whole(live, self.name(snapshot.id), snapshot.cut, slot.begins)
        if slot.database != self.server.database or not whole:
            return Message(
                N_("the capture of snapshot {name} begins at {begins} of {database}, not at the cut {cut}"),
                {"name": snapshot.id, "begins": slot.begins, "database": slot.database, "cut": snapshot.cut},
            )
        return None

    def _count(
        self, connection: Connection, snapshot: Snapshot, position: str, names: dict[int, str],
        keep: Sequence[str],
    ) -> tuple[TableWrites, ...]:  # fmt: skip
        """``names``: those of tables at the cut, by oid."""
        known, name = self.snapshots.seen(snapshot.id), self.name(snapshot.id)
        rows = known.rows if known else {}
        with (
            self.server.session() as reading,
            contextlib.closing(
                Tally(lambda oid: publication.rows_of(connection, oid, names.get(oid, ""), rows))
            ) as tally,
        ):
            keys = changes.partition_keys(reading)
            stream = early.transactions(reading, name, name, up_to=position)
            tally.add(changes.rejoined(transaction, keys) for transaction in stream)
            return _tables(tally.written(), {**tally.names, **names}, keep)


_NO_CAPTURE = N_("no capture is open for snapshot {name}: it was ended, or lost with its server")


def _tables(
    written: dict[int, Written], names: dict[int, str], keep: Sequence[str]
) -> tuple[TableWrites, ...]:
    """A table dropped and made again is one."""
    wanted = {publication.short(name) for name in keep}
    found: dict[str, TableWrites] = {}
    for oid, rows in written.items():
        name = publication.short(names[oid])
        before = found.get(name, TableWrites(name, kept=not wanted or name in wanted))
        found[name] = replace(
            before,
            inserted=before.inserted + rows.inserted,
            updated=before.updated + rows.updated,
            deleted=before.deleted + rows.deleted,
        )
    return tuple(found[name] for name in sorted(found) if found[name].rows)

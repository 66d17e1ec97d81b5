"""Copies that stand by: loaded when the snapshot is taken, closed until a restore takes them.

A copy is loaded under the name of a scratch database, so that what a crash leaves is swept like one, and gets
its own name in the transaction that closes it: a database of that name is whole. Its seal is the transaction
that wrote its row in ``pg_database`` last. Nobody gets into a database that allows no connections, superusers
neither, without writing that row anew, also if it is closed again afterwards; vacuum does not (it changes the
row in place), and a crash of the server loses nothing of it. The seal stands in the comment, which is another
row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_, Message
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.warm_copy import CopyRoom, WarmCopy
from lastgood.drivers.postgresql import contents, early, publication
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.fingerprint import read_listing
from lastgood.drivers.postgresql.scratch import beside, drop, free_space, load, remove_leftovers
from lastgood.drivers.postgresql.snapshot import Snapshotter
from lastgood.sql.keeping import Cut

COMMENT = "lastgood warm copy "
ADOPTED = "lastgood warm copy, taken by "
_ALTERED = N_("{name} was opened or changed by somebody since it was made")
_RIGHTS = """
SELECT CASE WHEN NOT (r.rolsuper OR r.rolcreatedb) THEN 'CREATEDB'
            WHEN NOT pg_has_role(d.datdba, 'USAGE') THEN 'membership in ' || pg_get_userbyid(d.datdba) END,
       pg_database_size(d.oid)
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""
_LOOK = """
SELECT xmin::text, datallowconn, coalesce(shobj_description(oid, 'pg_database'), ''), pg_database_size(oid)
FROM pg_database WHERE datname = %s
"""
_ALL = """
SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database
WHERE starts_with(shobj_description(oid, 'pg_database'), %s)
"""


@dataclass(frozen=True)
class Warmer:
    """Copies of ``snapshots`` beside the database of ``server``."""

    server: Server
    snapshots: Snapshotter

    def room(self) -> CopyRoom:
        """Source of ``KeepsWarm.copy_room``."""
        settings = self.server.settings
        with self.server.session() as connection:
            row = connection.execute(_RIGHTS).fetchone()
            assert row is not None, "we are connected to it"
            right, size = row
            seen = free_space(connection, self.server)
        told = settings.copy_room << 20 if settings.copy_room else None
        free = [bytes_ for bytes_ in (seen, told) if bytes_ is not None]
        words = {"user": self.server.user, "address": self.server.spot.address, "right": str(right)}
        obstacle = Message(N_("'{user}' lacks a right on {address}: {right}"), words) if right else None
        return CopyRoom(int(size), min(free, default=None), settings.copy, obstacle)

    def warm(self, snapshot: Snapshot) -> WarmCopy:
        """Source of ``KeepsWarm.warm_copy``."""
        name, dump, tools = self.name(snapshot.id), self.snapshots.dump_of(snapshot), self.snapshots.tools()
        with self.server.patient_session() as live:
            live.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
            there = self.look(live, snapshot)
            if there is not None and there.usable:
                early.put_aside(self.server, live, self._slot(snapshot))
                return there
            cut = self.snapshots.cut_of(snapshot)
            drop(live, name)
            self._refuse_full()
            with beside(self.server, lambda made: load(made, dump, tools)) as made:
                with made.patient_session() as copy:
                    copy.execute("SET synchronous_commit = on")
                    copy.execute("ANALYZE")
                with made.reading(statement_timeout=0) as copy:
                    found = read_listing(copy)
                    contents.whole_rows(copy)
                    rows = contents.counts(copy, contents.tables(copy))
                proven = self.snapshots.compare(cut, found, rows, usual="public.")
                self._seal(live, made.database, name, snapshot)
            early.put_aside(self.server, live, self._slot(snapshot))
            there = self.look(live, snapshot)
            assert there is not None, "just made"
            return WarmCopy(there.name, there.size, there.trouble, proven.proven_at)

    def look(self, connection: Connection, snapshot: Snapshot) -> WarmCopy | None:
        """What stands by for ``snapshot``; None when nothing does."""
        name = self.name(snapshot.id)
        row = connection.execute(_LOOK, (name,)).fetchone()
        if row is None:
            return None
        written, open_, comment, size = row
        sealed = _read(comment) == self._sealed(snapshot, written)
        trouble = Message("") if sealed and not open_ else Message(_ALTERED, {"name": name})
        return WarmCopy(name, int(size), trouble)

    def adopt(self, admin: Connection, snapshot: Snapshot, name: str) -> bool:
        """Give what stands by the ``name`` of a restore's copy and open it to its owner; False when nothing
        does that can be used. All in one transaction: after a crash it stands by, or ``adopted`` tells.
        """
        there = self.look(admin, snapshot)
        if there is None or not there.usable:
            return False
        # What a crash of a load left there is none.
        drop(admin, name)
        with admin.transaction():
            there = self.look(admin, snapshot)
            if there is None or not there.usable:
                return False
            _rename(admin, there.name, name)
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
            _comment(admin, name, ADOPTED + _digest(snapshot.id))
        return True

    def cut(self, snapshot: Snapshot, warm: WarmCopy | None) -> Cut:
        """What was seen at the cut. Raises Rejected when neither the copy that stands by nor the file can be
        used.
        """
        seen = self.snapshots.seen(snapshot.id) if warm is not None and warm.usable else None
        if seen is not None:
            return seen
        try:
            return self.snapshots.cut_of(snapshot)
        except Rejected as error:
            if warm is None:
                raise
            raise Rejected(
                N_("the warm copy can't be used ({trouble}), and {why}"),
                todo=N_("Take a new snapshot."),
                where=error.where,
                cause=error.cause,
                trouble=warm.trouble or warm.name,
                why=error.what,
            ) from None

    @staticmethod
    def adopted(admin: Connection, snapshot: Snapshot, name: str) -> bool:
        """Whether the database ``name`` is one that ``adopt`` gave it, and so is whole."""
        row = admin.execute(_LOOK, (name,)).fetchone()
        return row is not None and row[2] == ADOPTED + _digest(snapshot.id)

    def sweep(self, connection: Connection, open_: Iterable[str]) -> None:
        """Drop what stands by for a capture that is not open: ``open_`` are the names of their slots."""
        known = frozenset(open_)
        for name, comment in connection.execute(_ALL, (COMMENT,)).fetchall():
            kept = _read(comment)
            if kept.get("of") == self.server.database and kept.get("slot") not in known:
                drop(connection, name)
        remove_leftovers(connection)

    def name(self, id_: str) -> str:
        return f"{beginning(self.server.database)}_warm_{_digest(self.server.database, id_)}"

    def _seal(self, live: Connection, made: str, name: str, snapshot: Snapshot) -> None:
        """Its name, its doors and its seal at once; the session is a durable one."""
        subject = sql.Identifier(name)
        with live.transaction():
            _rename(live, made, name)
            live.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(subject))
            live.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(subject))
            written = str(one(live, "SELECT xmin::text FROM pg_database WHERE datname = %s", name))
            _comment(live, name, COMMENT + json.dumps(self._sealed(snapshot, written)))

    def _sealed(self, snapshot: Snapshot, written: str) -> dict[str, str]:
        slot = self._slot(snapshot)
        return {"of": self.server.database, "snapshot": snapshot.id, "slot": slot, "seal": written}

    def _slot(self, snapshot: Snapshot) -> str:
        return publication.capture_name(self.server.settings.resource, snapshot.id)

    def _refuse_full(self) -> None:
        """Asked again: since the plan was made the room may be gone."""
        room = self.room()
        if room.free is not None and room.free < room.needed:
            raise Rejected(
                N_("a warm copy of {address} needs about {need} MiB, and {free} MiB are free on the server"),
                todo=N_("Free space on the server, or write copy: file into the settings of the database."),
                where=self.server.spot.address,
                address=self.server.spot.address,
                need=room.needed >> 20,
                free=room.free >> 20,
            )


def beginning(name: str) -> str:
    """A database's name, or as much of it as leaves room for what is added: the server cuts names at 63
    bytes. Two long ones that begin alike stay two: copies are found again by it.
    """
    whole = name.encode()
    if len(whole) <= 35:
        return name
    return f"{whole[:26].decode(errors='ignore')}_{hashlib.sha256(whole).hexdigest()[:8]}"


def _rename(connection: Connection, old: str, new: str) -> None:
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    connection.execute(statement.format(sql.Identifier(old), sql.Identifier(new)))


def _comment(connection: Connection, name: str, text: str) -> None:
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(text)))


def _read(comment: str) -> dict[str, str]:
    """Empty where somebody wrote something else there."""
    try:
        found = json.loads(comment.removeprefix(COMMENT)) if comment.startswith(COMMENT) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

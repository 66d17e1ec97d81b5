"""Back to a snapshot with what was written since: a copy beside, the writes carried over, names swapped."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from lastgood.domain.errors import DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_, Message
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Neighbours, Salvage, Swapped
from lastgood.drivers.postgresql import failures, fence, pausing, publication, sequences, slots
from lastgood.drivers.postgresql.capture import Capturer
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.ledger import Ledger
from lastgood.drivers.postgresql.refusals import prepared, refuse, refuse_short_log, slots_left
from lastgood.drivers.postgresql.replicas import Replicas
from lastgood.drivers.postgresql.salvage import Salvager
from lastgood.drivers.postgresql.scratch import check_room, drop, load, make_like
from lastgood.drivers.postgresql.snapshot import Snapshotter
from lastgood.drivers.postgresql.warm import beginning

log = logging.getLogger(__name__)

COMMENT = "lastgood restore"

# By name only: in the fence a copy takes over the comment of the live database.
_COPIES = """
SELECT datname FROM pg_database WHERE starts_with(datname, %s) AND substr(datname, %s + 1) ~ '^[0-9a-f]{12}$'
"""


@dataclass(frozen=True)
class Restorer:
    """Restores the database of ``server``. Source of ``Restores``."""

    server: Server
    snapshots: Snapshotter
    captures: Capturer

    def refuse(self, snapshot: Snapshot, keep: Sequence[str]) -> None:
        """What a crash left closed is opened first: nobody else gets that far while it is."""
        with fence.maintenance(self.server) as admin:
            copies = [name for (name,) in admin.execute(_COPIES, (self._stem, len(self._stem)))]
            if copies:
                fence.open_again(admin, self.server.database)
            self._resume(admin, *copies)
            self._poolers.refuse()
            with self.server.session() as live:
                self._refuse_lost(live, snapshot)
                warm = self.captures.warmer.look(live, snapshot)
                cut = self.captures.warmer.cut(snapshot, warm)
                loads = warm is None or not warm.usable
                refuse(live, self.server, cut, self._notes(live, snapshot), keep, loads=loads)
                if loads:
                    check_room(live, self.server)

    def neighbours(self) -> Neighbours:
        """Source of ``HasNeighbours.neighbours``."""
        with self.server.session() as live:
            replicas = Replicas(self.server).notes(live)
            return Neighbours((*self._poolers.notes(), *replicas), slots_left(live, self.server))

    def prepare(self, snapshot: Snapshot, key: str) -> str:
        """One that a crash left unfinished, or somebody dropped, is begun anew."""
        name = self._copy(key)
        with self._going_on(key) as admin:
            if self._swapped(admin, key) is not None or self._whole(admin, key):
                return name
            # One that moved on with a copy that is no more would leave out what that held.
            self._drop_slots(key)
            warmer = self.captures.warmer
            if not (warmer.adopted(admin, snapshot, name) or warmer.adopt(admin, snapshot, name)):
                self._load(admin, snapshot, name)
            with self.server.at(name).patient_session() as copy:
                copy.execute("SET synchronous_commit = on")
                Ledger.begin(copy, key, snapshot.id)
        return name

    def carry_over(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        with self._going_on(key) as admin:
            done = self._swapped(admin, key)
            if done is not None:
                return done[0].salvage
            with self.server.patient_session() as live, self._copied(admin, key) as ledger:
                return self._salvager(live, ledger, snapshot, keep).carry_over()

    def swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        with self._going_on(key) as admin:
            if self._swapped(admin, key) is None:
                self._swap(admin, snapshot, key, keep)
            done = self._swapped(admin, key)
            assert done is not None, "the names are swapped"
            return replace(done[0], notes=self._settle(admin, *done))

    def abandon(self, key: str) -> bool:
        """Source of ``Restores.abandon``. After a swap whose answer was lost, what is left of it is done."""
        with self._going_on(key) as admin:
            done = self._swapped(admin, key)
            if done is not None:
                self._settle(admin, *done)
                return True
            if not _there(admin, self._copy(key)):
                return False
            self._drop_slots(key)
            drop(admin, self._copy(key))
            return False

    def _drop_slots(self, key: str) -> None:
        with self.server.session() as live:
            for slot in slots.beginning_with(live, self.captures.prefix):
                if slot.endswith(_digest(key)):
                    slots.drop(live, slot)

    def _load(self, admin: Connection, snapshot: Snapshot, name: str) -> None:
        """From the snapshot's file."""
        dump, tools = self.snapshots.dump_of(snapshot), self.snapshots.tools()
        cut = self.snapshots.cut_of(snapshot)
        drop(admin, name)
        with self.server.session() as live:
            # Asked again: a copy stood by when the restore began, perhaps, and it was not to be loaded.
            refuse_short_log(live, self.server, cut)
            check_room(live, self.server)
            make_like(live, self.server, name, COMMENT)
        subject = sql.Identifier(name)
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(subject))
        admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(subject))
        load(self.server.at(name), dump, tools)
        with self.server.at(name).patient_session() as copy:
            copy.execute("ANALYZE")

    @contextlib.contextmanager
    def _going_on(self, key: str) -> Iterator[Connection]:
        """A fence that a crash left is opened: the copy beside it tells that it was ours."""
        with fence.maintenance(self.server) as admin:
            if _there(admin, self._copy(key)):
                fence.open_again(admin, self.server.database)
            self._resume(admin, self._copy(key))
            yield admin

    def _resume(self, admin: Connection, *copies: str) -> None:
        """Poolers that a crash left paused, by what a copy tells, or the database that it has become."""
        if not self.server.settings.poolers:
            return
        for name in (*copies, self.server.database):
            if not _there(admin, name):
                continue
            with self.server.at(name).session() as connection:
                paused = pausing.noted(connection)
                if paused:
                    self._poolers.resume(paused)
                    pausing.forget(connection)

    def _swap(self, admin: Connection, snapshot: Snapshot, key: str, keep: Sequence[str]) -> None:
        copy = self._copy(key)
        if not self._whole(admin, key):
            raise self._no_copy(key)
        with self.server.patient_session() as live, contextlib.ExitStack() as inside:
            ledger = inside.enter_context(self._copied(admin, key))
            salvager = self._salvager(live, ledger, snapshot, keep)
            salvager.catch_up()
            now = datetime.now(UTC)
            ledger.failed = (
                f"{beginning(self.server.database)}_failed_{now:%Y%m%d_%H%M%S}_{now.microsecond // 1000:03}"
            )

            def begin(paused: pausing.Noted) -> None:
                if paused:
                    pausing.note(ledger.connection, key, paused)
                ledger.fence()

            with (
                self._poolers.paused(live, begin),
                fence.closed(admin, self.server.database, but=live.info.backend_pid),
            ):
                prepared(live, self.server)
                salvager.carry_over(last=True)
                sequences.surpass(ledger.connection, sequences.read(live), ledger.numbers)
                fence.dress(admin, self.server, copy)
                live.close()
                inside.close()
                fence.end_sessions(admin, copy)
                seconds = fence.rename(admin, self.server, copy, ledger.failed)
        with _if_it_can_be(), self.server.session() as there:
            Ledger.swapped(there, key, seconds)

    def _settle(self, admin: Connection, done: Swapped, snapshot: str) -> tuple[Message, ...]:
        """After the swap: the failed database opened for whoever looks into it, its capture ended. Returns
        what could not be done.
        """
        with _if_it_can_be():
            self._resume(admin)
        with _if_it_can_be():
            if _there(admin, done.failed):
                fence.open_again(admin, done.failed)
                known = self.snapshots.seen(snapshot)
                if known is not None:
                    Capturer(self.server.at(done.failed), self.snapshots).end(known.snapshot)
        with _if_it_can_be(), self.server.session() as connection:
            Ledger.settle_down(connection)
        return Replicas(self.server).end_readers(done.failed)

    def _swapped(self, admin: Connection, key: str) -> tuple[Swapped, str] | None:
        """What was done under ``key``, when it was, and the id of the snapshot."""
        if _there(admin, self._copy(key)) or not _there(admin, self.server.database):
            return None
        with self.server.session() as connection:
            ledger = Ledger.read(connection, key)
            if ledger is None or not ledger.failed:
                return None
            seconds = ledger.fence_seconds or 0.0, ledger.swap_seconds or 0.0
            return Swapped(ledger.failed, ledger.salvage(), *seconds), ledger.snapshot

    def _whole(self, admin: Connection, key: str) -> bool:
        if not _there(admin, self._copy(key)):
            return False
        with self.server.at(self._copy(key)).session() as copy:
            return Ledger.read(copy, key) is not None

    @contextlib.contextmanager
    def _copied(self, admin: Connection, key: str) -> Iterator[Ledger]:
        if not self._whole(admin, key):
            raise self._no_copy(key)
        with self.server.at(self._copy(key)).patient_session() as copy:
            ledger = Ledger.read(copy, key)
            assert ledger is not None, "looked at just before"
            yield ledger

    def _salvager(
        self, live: Connection, ledger: Ledger, snapshot: Snapshot, keep: Sequence[str]
    ) -> Salvager:
        self._refuse_lost(live, snapshot)
        capture = self.captures.name(snapshot.id)
        kept = frozenset(publication.short(name) for name in keep)
        return Salvager(live, ledger.connection, ledger, capture, f"{capture}_{_digest(ledger.key)}", kept)

    def _refuse_lost(self, live: Connection, snapshot: Snapshot) -> None:
        lost = self.captures.lost(live, snapshot, slots.look(live, self.captures.name(snapshot.id)))
        if lost is not None:
            raise Rejected(
                lost.template,
                todo=N_(
                    "What was written since is in the live database only: go back by script, or by hand."
                ),
                where=self.server.spot.address,
                **lost.params,
            )

    def _notes(self, live: Connection, snapshot: Snapshot) -> publication.Notes:
        return publication.read(live, self.captures.name(snapshot.id)) or publication.Notes()

    def _no_copy(self, key: str) -> DriverError:
        return Rejected(
            N_("database {name}, the copy to be swapped in, is not there or not whole"),
            todo=N_("Prepare the copy first."),
            where=self.server.spot.address,
            name=self._copy(key),
        )

    def _copy(self, key: str) -> str:
        return self._stem + _digest(key)

    @property
    def _poolers(self) -> pausing.Poolers:
        return pausing.Poolers(self.server)

    @property
    def _stem(self) -> str:
        return f"{beginning(self.server.database)}_restored_"


@contextlib.contextmanager
def _if_it_can_be() -> Iterator[None]:
    """Once the names are swapped, a full disk or a missing right must not make it look as if they were not.
    A server that does not answer is asked again by whoever called.
    """
    try:
        yield
    except (Unreachable, OutcomeUnknown):
        raise
    except psycopg.Error as error:
        if failures.lost(error):
            raise
        log.warning("after the swap: %s", failures.text(error))
    except (DriverError, OSError) as error:
        log.warning("after the swap: %s", error)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def _there(admin: Connection, name: str) -> bool:
    return bool(one(admin, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)", name))

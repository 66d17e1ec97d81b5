"""Back to a snapshot with what was written since: a copy beside, the writes carried over, names swapped."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pymysql

from lastgood.domain.errors import DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Salvage, Swapped
from lastgood.drivers.mariadb import failures, fence, numbers
from lastgood.drivers.mariadb.capture import Capturer, incomplete
from lastgood.drivers.mariadb.changes import Incomplete
from lastgood.drivers.mariadb.connection import Connection, Server, quoted, run
from lastgood.drivers.mariadb.fence import AHEAD, GATE, SENTRY, Fence
from lastgood.drivers.mariadb.fingerprint import read_listing
from lastgood.drivers.mariadb.ledger import MOVED, Ledger
from lastgood.drivers.mariadb.refusals import refuse
from lastgood.drivers.mariadb.salvage import Salvager
from lastgood.drivers.mariadb.scratch import check_room, make_like
from lastgood.drivers.mariadb.shapes import read_shapes
from lastgood.drivers.mariadb.snapshot import Snapshotter

log = logging.getLogger(__name__)

_SESSION = (
    "SET SESSION time_zone = '+00:00', foreign_key_checks = 1, unique_checks = 1, "
    "sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"
)
"""Rows are written as the log has them, and never made to fit."""


@dataclass(frozen=True)
class Restorer:
    """Restores the database of ``server``. Source of ``Restores``."""

    server: Server
    snapshots: Snapshotter
    captures: Capturer

    def refuse(self, snapshot: Snapshot, keep: Sequence[str]) -> None:
        """What a crash left closed is opened first: nobody else gets that far while it is."""
        cut = self.snapshots.cut_of(snapshot)
        with fence.alone(self.server) as admin:
            fence.open_again(admin, self.server)
            with self.server.session() as live:
                self._refuse_lost(live, snapshot)
                refuse(live, self.server, cut.listing, read_listing(live), keep)
                check_room(live, self.server)

    def prepare(self, snapshot: Snapshot, key: str) -> str:
        """One that a crash left unfinished is begun anew."""
        name = self._copy(key)
        with self._going_on() as admin:
            if self._swapped(key) is not None or self._whole(key):
                return name
            self.snapshots.cut_of(snapshot)
            with self.server.session() as live:
                check_room(live, self.server)
            run(admin, f"DROP DATABASE IF EXISTS {quoted(name)}")
            with self.server.session() as live:
                make_like(live, name)
            self.snapshots.tools().load(self.snapshots.dump_of(snapshot), self.server.at(name))
            Ledger.begin(admin, name, key, snapshot.id, snapshot.cut)
        return name

    def carry_over(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        with self._going_on():
            done = self._swapped(key)
            if done is not None:
                return done.salvage
            with self._salvager(snapshot, key, keep) as salvager:
                return salvager.carry_over()

    def swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        with self._going_on() as admin:
            if self._swapped(key) is None:
                self._swap(admin, snapshot, key, keep)
            done = self._swapped(key)
            assert done is not None, "the names are swapped"
            self._settle(admin, snapshot, key, done)
            return done

    def abandon(self, key: str) -> bool:
        """Source of ``Restores.abandon``. After a swap whose answer was lost, what is left of it is done."""
        with self._going_on() as admin:
            done = self._swapped(key)
            if done is not None:
                self._settle(admin, None, key, done)
                return True
            run(admin, f"DROP DATABASE IF EXISTS {quoted(self._copy(key))}")
            return False

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[Connection]:
        """Alone; what a crash left of a fence is taken away."""
        with fence.alone(self.server) as admin:
            fence.open_again(admin, self.server)
            yield admin

    def _swap(self, admin: Connection, snapshot: Snapshot, key: str, keep: Sequence[str]) -> None:
        with self._salvager(snapshot, key, keep) as salvager:
            salvager.catch_up()
            ledger, copy = salvager.ledger, salvager.ledger.schema
            now = datetime.now(UTC)
            ledger.failed = f"{self.server.database}_failed_{now:%Y%m%d_%H%M%S}_{now.microsecond // 1000:03}"
            ledger.fence()
            handed_out = numbers.read(salvager.live, read_shapes(salvager.live, self.server.database))
            closing = Fence(self.server, copy, ledger.failed)
            with closing.closed(admin):
                begun = time.monotonic()
                salvager.carry_over()
                numbers.surpass(
                    ledger.connection,
                    salvager.shapes,
                    numbers.closed(admin, handed_out, self.server.database),
                    ledger.numbers,
                )
            fenced = time.monotonic() - begun
        with _if_it_can_be():
            Ledger.swapped(admin, self.server.database, key, fenced, closing.seconds)

    def _settle(self, admin: Connection, snapshot: Snapshot | None, key: str, done: Swapped) -> None:
        """After the swap: what was only needed on the way goes, and the capture ends."""
        with _if_it_can_be():
            copy = self._copy(key)
            if not set(fence.tables(admin, copy)) - {AHEAD, SENTRY}:
                run(admin, f"DROP DATABASE IF EXISTS {quoted(copy)}")
            for name in (AHEAD, GATE):
                run(admin, f"DROP TABLE IF EXISTS {quoted(done.failed, name)}")
            run(admin, f"DROP TABLE IF EXISTS {quoted(self.server.database, MOVED)}")
            if snapshot is not None:
                self.captures.end(snapshot)

    def _swapped(self, key: str) -> Swapped | None:
        """What was done under ``key``, when it was: the ledger has come into the live database with the
        tables.
        """
        with self.server.session() as connection:
            ledger = Ledger.read(connection, self.server.database, key)
            if ledger is None or not ledger.failed:
                return None
            seconds = ledger.fence_seconds or 0.0, ledger.swap_seconds or 0.0
            return Swapped(ledger.failed, ledger.salvage(), *seconds)

    def _whole(self, key: str) -> bool:
        with self.server.at("").session() as connection:
            return Ledger.read(connection, self._copy(key), key) is not None

    @contextlib.contextmanager
    def _salvager(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Iterator[Salvager]:
        with self.server.patient_session() as live, self.server.at("").patient_session() as copy:
            run(copy, _SESSION)
            ledger = Ledger.read(copy, self._copy(key), key)
            if ledger is None:
                raise self._no_copy(key)
            self._refuse_lost(live, snapshot)
            shapes, now = read_shapes(copy, ledger.schema), read_shapes(live, self.server.database)
            try:
                yield Salvager(live, self.server.connect, ledger, shapes, now, frozenset(keep))
            except Incomplete as error:
                reason = incomplete(error)
                raise self._lost(reason.template, **reason.params) from None

    def _refuse_lost(self, live: Connection, snapshot: Snapshot) -> None:
        lost = self.captures.lost(live, snapshot)
        if lost is not None:
            raise self._lost(lost.template, **lost.params)

    def _lost(self, what: str, **params: Any) -> Rejected:
        return Rejected(
            what,
            todo=N_("What was written since is in the live database only: go back by script, or by hand."),
            where=self.server.spot.address,
            **params,
        )

    def _no_copy(self, key: str) -> DriverError:
        return Rejected(
            N_("database {name}, the copy to be swapped in, is not there or not whole"),
            todo=N_("Prepare the copy first."),
            where=self.server.spot.address,
            name=self._copy(key),
        )

    def _copy(self, key: str) -> str:
        return f"{self.server.database}_restored_{hashlib.sha256(key.encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def _if_it_can_be() -> Iterator[None]:
    """Once the names are swapped, a full disk or a missing right must not make it look as if they were not.
    A server that does not answer is asked again by whoever called.
    """
    try:
        yield
    except (Unreachable, OutcomeUnknown):
        raise
    except pymysql.Error as error:
        if failures.lost(error):
            raise
        log.warning("after the swap: %s", failures.text(error))
    except (DriverError, OSError) as error:
        log.warning("after the swap: %s", error)

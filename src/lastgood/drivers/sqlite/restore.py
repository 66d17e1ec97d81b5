"""Back to a snapshot with what was written since: a copy beside, the rows carried into it, all of it into the
live file.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Salvage, Swapped
from lastgood.drivers.sqlite import copying, own, refusals
from lastgood.drivers.sqlite.capture import Capturer
from lastgood.drivers.sqlite.carrying import Carrier
from lastgood.drivers.sqlite.connection import Connection, Store
from lastgood.drivers.sqlite.ledger import Ledger
from lastgood.drivers.sqlite.locks import patiently
from lastgood.drivers.sqlite.salvage import Salvager
from lastgood.drivers.sqlite.snapshot import Snapshotter
from lastgood.drivers.sqlite.swap import replace_content

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restorer:
    """Source of ``Restores`` for the database of ``store``."""

    store: Store
    snapshots: Snapshotter
    captures: Capturer

    def refuse(self, snapshot: Snapshot, keep: Sequence[str]) -> None:
        with self.captures.alone(), self.snapshots.opened(snapshot) as taken, self.store.session() as live:
            self._refuse_lost(snapshot)
            with taken.session(only_read=True) as cut:
                refusals.refuse(live, cut, self.store.spot.address, keep)
            refusals.check_room(self.store)

    def prepare(self, snapshot: Snapshot, key: str) -> str:
        with self.captures.alone():
            if self._swapped(key) is None and not self._copy(key).is_file():
                refusals.check_room(self.store)
                with self.snapshots.opened(snapshot) as cut:
                    self._load(cut, snapshot, key)
            return str(self._copy(key))

    def carry_over(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        with self.captures.alone():
            done = self._swapped(key)
            if done is not None:
                return done.salvage
            self._refuse_lost(snapshot)
            with (
                self.captures.frozen() as now,
                self.snapshots.opened(snapshot) as cut,
                self._loaded(cut, snapshot, key) as copy,
            ):
                return self._carry(copy, key, keep, cut.path, now).salvage()

    def swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        with self.captures.alone():
            done = self._swapped(key)
            if done is None:
                self._refuse_lost(snapshot)
                self._swap(snapshot, key, keep)
                done = self._swapped(key)
                assert done is not None, "it came with the content"
            self._settle(key)
            return done

    def abandon(self, key: str) -> bool:
        with self.captures.alone():
            swapped = self._swapped(key) is not None
            if not swapped:
                failed = self._failed(key)
                if failed is not None:
                    copying.remove(failed)
            self._settle(key)
            return swapped

    def _swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> None:
        failed = self._failed(key) or self._beside(_moment("failed"))
        with self.snapshots.opened(snapshot) as cut, self._loaded(cut, snapshot, key, failed) as copy:

            def work(live: Connection) -> None:
                # Set aside whole before anything is written over it.
                copying.whole(live, failed)
                self._carry(copy, key, keep, cut.path, failed)

            seconds = replace_content(self.store, copy, work)
        with _if_it_can_be(), self.store.session() as live:
            patiently(self.store, lambda: Ledger(live, key).time(*seconds))

    def _carry(self, copy: Connection, key: str, keep: Sequence[str], cut: Path, now: Path) -> Ledger:
        ledger = Ledger.read(copy, key)
        assert ledger is not None, "it was loaded with the copy"
        ledger.position = datetime.now(UTC).isoformat()
        salvager = Salvager.attach(copy, cut, now)
        for gap in salvager.gaps():
            raise self._lost(gap.template, **gap.params)
        copy.execute("BEGIN")
        Carrier(salvager, ledger, frozenset(keep)).carry()
        ledger.write()
        copy.execute("COMMIT")
        salvager.detach()
        return ledger

    @contextlib.contextmanager
    def _loaded(
        self, cut: Store, snapshot: Snapshot, key: str, failed: Path | None = None
    ) -> Iterator[Connection]:
        """The copy anew, as the snapshot is. What is carried over is found by comparing, so that nothing of
        an earlier round is of any use.
        """
        if not self._copy(key).is_file():
            raise Rejected(
                N_("database {name}, the copy to be swapped in, is not there or not whole"),
                todo=N_("Prepare the copy first."),
                where=self.store.spot.address,
                name=str(self._copy(key)),
            )
        self._load(cut, snapshot, key, failed)
        with self.store.at(self._copy(key)).session() as copy:
            copy.execute("PRAGMA synchronous = OFF")
            yield copy

    def _load(self, cut: Store, snapshot: Snapshot, key: str, failed: Path | None = None) -> None:
        path = self._copy(key)
        # Known while there is no copy yet: what a kill leaves of the failed one is to be found again.
        failed = failed or self._failed(key)
        copying.remove(path)
        with self.snapshots.files(), cut.session(only_read=True) as dump:
            copying.whole(dump, path)
        with self.store.at(path).session() as copy:
            copy.execute("BEGIN")
            Ledger(copy, key, str(failed or "")).begin(snapshot.id)
            own.end(copy, own.captures(copy))
            copy.execute("COMMIT")

    def _swapped(self, key: str) -> Swapped | None:
        """What was done under ``key``, when it was: the ledger has come into the live file."""
        with self.store.session() as live:
            ledger = Ledger.read(live, key)
            return ledger.swapped() if ledger is not None else None

    def _failed(self, key: str) -> Path | None:
        """Where an attempt that did not end has put, or begun to put, the failed database."""
        if not self._copy(key).is_file():
            return None
        try:
            with self.store.at(self._copy(key)).session() as copy:
                ledger = Ledger.read(copy, key)
        except DriverError:
            return None  # Killed while it was loaded.
        return Path(ledger.failed) if ledger is not None and ledger.failed else None

    def _settle(self, key: str) -> None:
        """What was only needed on the way goes."""
        with _if_it_can_be():
            copying.remove(self._copy(key))

    def _refuse_lost(self, snapshot: Snapshot) -> None:
        lost = self.captures.lost(snapshot)
        if lost is not None:
            raise self._lost(lost.template, **lost.params)

    def _lost(self, what: str, **params: Any) -> Rejected:
        return Rejected(
            what,
            todo=N_("What was written since is in the live database only: go back by script, or by hand."),
            where=self.store.spot.address,
            **params,
        )

    def _copy(self, key: str) -> Path:
        return self._beside(f"restored_{hashlib.sha256(key.encode()).hexdigest()[:12]}")

    def _beside(self, word: str) -> Path:
        path = self.store.path
        return path.with_name(f"{path.stem}_{word}{path.suffix}")


def _moment(word: str) -> str:
    now = datetime.now(UTC)
    return f"{word}_{now:%Y%m%d_%H%M%S}_{now.microsecond // 1000:03}"


@contextlib.contextmanager
def _if_it_can_be() -> Iterator[None]:
    """Once the content is there, a full disk must not make it look as if it were not."""
    try:
        yield
    except (DriverError, OSError, sqlite3.Error) as error:
        log.warning("after the swap: %s", error)
